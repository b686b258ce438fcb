import type { CacheEvents, HttpCache } from 'caching-agent'

/** What has been told of a cache, by the names of the events. */
export type Heard = { readonly [E in keyof CacheEvents]: CacheEvents[E][0][] }

/** Listens to everything that is told of a cache. */
export function listenTo(cache: HttpCache): Heard {
  const heard: Heard = { lookup: [], store: [], validate: [], evict: [], delete: [], error: [] }
  for (const name of Object.keys(heard) as (keyof CacheEvents)[]) {
    cache.on(name, (event) => (heard[name] as unknown[]).push(event))
  }
  return heard
}
