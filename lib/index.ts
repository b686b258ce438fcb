export { type CachingAgent, cachingAgent, type Installation, install } from './agent.ts'
export {
  HttpCache,
  type HttpCacheOptions,
  type MemoryOptions,
  type StoredResponseInfo,
} from './cache.ts'
export { disabled, withTerms } from './context.ts'
export {
  DO_NOT_CACHE,
  EXPIRE_IMMEDIATELY,
  type Expiration,
  type ExpirationByStatus,
  NEVER_EXPIRE,
  type StatusClass,
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
export type { CacheKeyFunction, KeyRequest } from './key/identity.ts'
export type { FormDataLike } from './key/multipart.ts'
export { DEFAULT_SECRET_PARAMETERS } from './key/parameters.ts'
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
export type { AgentOptions, CacheOptions } from './options.ts'
export type { FoundLink } from './precache/links.ts'
export type {
  FoundAt,
  PrecacheOptions,
  PrecacheProgress,
  PrecacheTarget,
  PrecacheUrl,
} from './precache/options.ts'
export type { PrecacheFailure, PrecacheRemark, PrecacheResult } from './precache/report.ts'
export type { Mode } from './rfc9111/reuse.ts'
export type { UrlRule, UrlRules } from './rules.ts'
export type { Size } from './size.ts'
export type { CompressionAlgorithm } from './storage/compression.ts'
export type { KeyvAdapterLike, KeyvLike } from './storage/keyv-store.ts'
export type { StoreOption } from './storage/open-store.ts'
export type { CompressionOptions, EncryptionKey, EncryptionOptions } from './storage/sealing.ts'
export type { StoredRequest, StoredRequestBody } from './stored-request.ts'
export type { Terms } from './terms.ts'
export type { UrlMatcher } from './url-patterns.ts'
