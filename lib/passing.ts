import type { Dispatcher } from 'undici'
import type { Caching } from './cached-request.ts'
import type { RelayObserver } from './handlers/relaying-handler.ts'
import type { CacheStatus } from './observe/cache-status.ts'
import type { ToldRequest } from './observe/events.ts'
import type { Reason } from './observe/reasons.ts'
import type { Request } from './request.ts'
import { announcedSize } from './rfc9111/fields.ts'
import { invalidatedUrls } from './rfc9111/invalidation.ts'
import { type BypassReason, whyBypass } from './rfc9111/reuse.ts'
import { neverCaches, type RequestTerms } from './rules.ts'

/** Why the cache has no part in a request; undefined where it has. */
export function whyPassBy(
  request: Request,
  terms: RequestTerms,
): BypassReason | 'do-not-cache' | undefined {
  return neverCaches(terms) ? 'do-not-cache' : whyBypass(request, request.content === 'some')
}

/** What a request that passes the cache by does to the cache. */
export function passing(
  { cache }: Caching,
  request: Request,
  status: CacheStatus,
  mayInvalidate: boolean,
): RelayObserver {
  const { method, url } = request
  const asked: ToldRequest = { method, url, key: undefined, began: cache.events.began() }
  return {
    answered(code, fields) {
      const response = { status: code, fields }
      const size = announcedSize(method, response)
      cache.events.lookup(asked, status, Date.now(), { status: code, size })
      if (!mayInvalidate) return
      for (const invalidated of invalidatedUrls(request, response)) {
        cache.invalidate({ ...request, target: new URL(invalidated) })
      }
    },
    failed(error) {
      cache.events.lookup(asked, status, Date.now(), error)
    },
    ended(bytes) {
      cache.events.statistics.of(url).bytesFromOrigin += bytes
    },
  }
}

/** A request of which the cache sees nothing but that it passes by. */
export function tellPassing(
  { cache }: Caching,
  { method, origin, path }: Dispatcher.DispatchOptions,
  detail: Reason,
): void {
  const { events } = cache
  // What names a server may name a user as well.
  const url = `${origin ?? ''}${path ?? ''}`.replace(/\/\/[^/@]*@/, '//')
  const asked: ToldRequest = { method: String(method), url, key: undefined, began: events.began() }
  events.lookup(asked, { fwd: 'bypass', detail }, Date.now(), undefined)
}
