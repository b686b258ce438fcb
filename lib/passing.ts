import type { Dispatcher } from 'undici'
import type { HttpCache } from './cache.ts'
import type { Caching } from './cached-request.ts'
import type { RelayObserver } from './handlers/relaying-handler.ts'
import { RequestControl } from './handlers/request-control.ts'
import type { CacheStatus } from './observe/cache-status.ts'
import { asError, type ToldRequest } from './observe/events.ts'
import type { Reason } from './observe/reasons.ts'
import { refuse } from './refusal.ts'
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
  if (neverCaches(terms)) return 'do-not-cache'
  return whyBypass(request, request.content === 'some', terms.mode)
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
  options: Dispatcher.DispatchOptions,
  detail: Reason,
): void {
  const { events } = cache
  events.lookup(toldOf(cache, options), { fwd: 'bypass', detail }, Date.now(), undefined)
}

/** A request as it is told of, that has not been understood. */
function toldOf(
  { events }: HttpCache,
  { method, origin, path }: Dispatcher.DispatchOptions,
): ToldRequest {
  // What names a server may name a user as well.
  const url = `${origin ?? ''}${path ?? ''}`.replace(/\/\/[^/@]*@/, '//')
  return { method: String(method), url, key: undefined, began: events.began() }
}

/** Answers a request that would pass the cache by, where none may be sent. */
export function refusePassing(
  { cache, cacheStatus, active }: Caching,
  options: Dispatcher.DispatchOptions,
  handler: Dispatcher.DispatchHandler,
  request: Request | undefined,
  terms: RequestTerms,
  bypass: Reason,
): void {
  const control = new RequestControl(handler)
  active.add(control)
  control.begin()
  if (control.finished) return
  const told = toldOf(cache, options)
  const asked = request ? { ...told, method: request.method, url: request.url } : told
  const { body } = options
  const refused = { control, cache, cacheStatus, asked, fields: {}, body, terms, bypass }
  refuse(refused).catch((error: unknown) => {
    control.abort(asError(error))
    control.fail(asError(error))
  })
}
