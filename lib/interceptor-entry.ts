// What needs nothing of undici at run time: for those who compose the cache on dispatchers of their own.
export { HttpCache, type HttpCacheOptions } from './cache.ts'
export { disabled, withTerms } from './context.ts'
export { DO_NOT_CACHE, EXPIRE_IMMEDIATELY, type Expiration, NEVER_EXPIRE } from './expiration.ts'
export { type CacheInterceptor, cacheInterceptor } from './interceptor.ts'
export { type CacheInfo, cacheInfo, type ResponseLike } from './observe/cache-status.ts'
export type { CacheError, CacheEvents } from './observe/events.ts'
export type { CacheOptions, Terms, UrlMatcher, UrlRules } from './options.ts'
