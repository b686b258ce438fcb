import { type CacheInterceptor, type CacheOptions, cacheInterceptor } from 'caching-agent'

/** A cache as conformance runners ask for one: with an empty store of its own. */
export function create({
  mode,
  options,
}: {
  mode: 'private' | 'shared'
  options?: CacheOptions
}): CacheInterceptor {
  return cacheInterceptor({ store: 'memory:', shared: mode === 'shared', ...options })
}
