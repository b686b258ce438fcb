export { type CachingAgent, cachingAgent, type Installation, install } from './agent.ts'
export {
  type CacheCheck,
  type HarExportOptions,
  type HarImportOptions,
  HttpCache,
} from './cache.ts'
export type { HttpCacheOptions, MemoryOptions } from './cache-options.ts'
export { disabled, withTerms } from './context.ts'
export type { CopyOptions, CopyProgress } from './copy.ts'
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
export type { HarTarget } from './har/export.ts'
export type { HarImportResult, HarSkipReason } from './har/import.ts'
export type { HarSource } from './har/read.ts'
export type { HarExportResult } from './har/write.ts'
export type { HeadersLike } from './header-fields.ts'
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
export type { ResponseQuery, SortOrder } from './query.ts'
export type { RekeyResult } from './rekey.ts'
export type { Mode } from './rfc9111/reuse.ts'
export type { UrlRule, UrlRules } from './rules.ts'
export type { SavedContent, SavedRequest, SavedResponse } from './save.ts'
export type { Size } from './size.ts'
export type { CompressionAlgorithm } from './storage/compression.ts'
export type { KeyvAdapterLike, KeyvLike } from './storage/keyv-store.ts'
export type { StoreOption } from './storage/open-store.ts'
export type { CompressionOptions, EncryptionKey, EncryptionOptions } from './storage/sealing.ts'
export type { StoredRequest, StoredRequestBody } from './stored-request.ts'
export type {
  ListedResponse,
  StoredResponseInfo,
  StoredResponseSummary,
} from './stored-response.ts'
export type { TaggedResponse, TagSource } from './tags.ts'
export type { Terms } from './terms.ts'
export type { UrlMatcher } from './url-patterns.ts'
