import type { Dispatcher } from 'undici'
import type { RelayObserver } from './handlers/relaying-handler.ts'
import { RequestControl } from './handlers/request-control.ts'
import { toldUrl } from './key/identity.ts'
import { keyTerms } from './key/terms.ts'
import type { Caching } from './lookup.ts'
import type { CacheStatus } from './observe/cache-status.ts'
import { asError, type ToldRequest } from './observe/events.ts'
import type { Reason } from './observe/reasons.ts'
import { redactQuery } from './redaction.ts'
import { refuse } from './refusal.ts'
import { effectiveMethod, type Request } from './request.ts'
import { announcedSize } from './rfc9111/fields.ts'
import { type BypassReason, whyBypass } from './rfc9111/reuse.ts'
import { neverCaches, type RequestTerms } from './rules.ts'

/** Why the cache has no part in a request; undefined where it has. */
export function whyPassBy(
  request: Request,
  terms: RequestTerms,
): BypassReason | 'do-not-cache' | undefined {
  if (neverCaches(terms)) return 'do-not-cache'
  const isAllowed = terms.allowedMethods.includes(effectiveMethod(request))
  return whyBypass(request, request.content === 'some', isAllowed, terms.mode)
}

/** What a request that passes the cache by does to the cache. */
export function passing(
  { cache }: Caching,
  request: Request,
  terms: RequestTerms,
  status: CacheStatus,
): RelayObserver {
  const { method } = request
  const url = toldUrl(request, terms, cache.shared)
  const asked: ToldRequest = { method, url, key: undefined, began: cache.events.began() }
  return {
    answered(code, fields) {
      const response = { status: code, fields }
      const size = announcedSize(method, response)
      cache.events.lookup(asked, status, Date.now(), { status: code, size })
      // What is recorded is what was received, whatever changed it later.
      const isKept = neverCaches(terms) || terms.readOnly || terms.mode === 'record'
      if (!isKept) cache.invalidateFor(request, response)
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
  caching: Caching,
  options: Dispatcher.DispatchOptions,
  detail: Reason,
): void {
  const asked = toldOf(caching, options)
  caching.cache.events.lookup(asked, { fwd: 'bypass', detail }, Date.now(), undefined)
}

/** Answers a request that would pass the cache by, where none may be sent. */
export function refusePassing(
  caching: Caching,
  options: Dispatcher.DispatchOptions,
  handler: Dispatcher.DispatchHandler,
  terms: RequestTerms,
  bypass: Reason,
): void {
  const { cache, cacheStatus, active } = caching
  const control = new RequestControl(handler)
  active.add(control)
  control.begin()
  if (control.finished) return
  const asked = toldOf(caching, options)
  const { body } = options
  const refused = { control, cache, cacheStatus, asked, fields: {}, body, terms, bypass }
  refuse(refused).catch((error: unknown) => {
    control.abort(asError(error))
    control.fail(asError(error))
  })
}

/** A request as it is told of, whether the cache understands it or not. */
function toldOf(
  { cache: { events }, rules }: Caching,
  { method, origin, path }: Dispatcher.DispatchOptions,
): ToldRequest {
  const { ignoredParameters, secretParameters } = keyTerms(rules.ofAgent)
  const isHidden = (name: string) =>
    ignoredParameters.hasParameter(name) || secretParameters.hasParameter(name)
  // What names a server may name a user as well.
  const server = String(origin ?? '').replace(/\/\/[^/@]*@/, '//')
  const url = redactQuery(`${server}${path ?? ''}`, isHidden)
  return { method: String(method), url, key: undefined, began: events.began() }
}
