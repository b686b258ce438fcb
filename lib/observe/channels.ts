import { type Channel, channel } from 'node:diagnostics_channel'
import type { CacheEvents } from './payloads.ts'

/** The channels of `node:diagnostics_channel` on which all caches of the process publish their events. */
export const CHANNELS: Readonly<Record<keyof CacheEvents, Channel>> = {
  lookup: channel('caching-agent:lookup'),
  store: channel('caching-agent:store'),
  validate: channel('caching-agent:validate'),
  evict: channel('caching-agent:evict'),
  delete: channel('caching-agent:delete'),
  error: channel('caching-agent:error'),
}
