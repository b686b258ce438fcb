// What needs nothing of undici at run time: for those who compose the cache on dispatchers of their own.
export { HttpCache } from './cache.ts'
export type { HttpCacheOptions } from './cache-options.ts'
export { disabled, withTerms } from './context.ts'
export {
  DO_NOT_CACHE,
  EXPIRE_IMMEDIATELY,
  type Expiration,
  type ExpirationByStatus,
  NEVER_EXPIRE,
} from './expiration.ts'
export type { ExplainedRequest } from './explain.ts'
export type {
  ExplainedResponse,
  ExplainedTerm,
  Explanation,
  JsonValue,
  Prospect,
  TermSource,
} from './explanation.ts'
export type { FilteredResponse, ResponseFilter } from './filter.ts'
export { type CacheInterceptor, cacheInterceptor } from './interceptor.ts'
export { NotStoredError } from './not-stored.ts'
export { type CacheInfo, cacheInfo, type ResponseLike } from './observe/cache-status.ts'
export type {
  CacheError,
  CacheEvents,
  DeleteEvent,
  DeletionCause,
  EvictEvent,
  LookupEvent,
  StoreEvent,
  ValidateEvent,
} from './observe/payloads.ts'
export type { Outcome, Reason } from './observe/reasons.ts'
export type { CacheStatistics, RequestStatistics } from './observe/statistics.ts'
export type { CacheOptions } from './options.ts'
export type { UrlRules } from './rules.ts'
export type { Terms } from './terms.ts'
export type { UrlMatcher } from './url-patterns.ts'
