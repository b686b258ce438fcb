import {
  concernsAll,
  type Directives,
  directiveTime,
  requestDirectives,
  responseDirectives,
} from './cache-control.ts'
import { remainingFreshness } from './freshness.ts'
import type { RequestMessage, StoredResponse } from './message.ts'

/**
 * For how long the user lets stale responses be used, in milliseconds: `Infinity` for any time, 0 for
 * never, undefined for what the response itself says (RFC 5861).
 */
export interface StaleTerms {
  readonly staleWhileRevalidate?: number | undefined
  readonly staleIfError?: number | undefined
}

/** The uses of stale responses that have directives of their own. */
type StaleUse = 'stale-while-revalidate' | 'stale-if-error'

/**
 * §4.2.4: whether a response forbids that it is used once it is stale without having been validated. What
 * `must-revalidate` forbids, a rule of the user for its freshness does not allow.
 *
 * @param use what it is to be used for
 */
export function forbidsStale(stored: StoredResponse, use?: StaleUse): boolean {
  if (stored.isToBeConfirmed) return true
  const directives = responseDirectives(stored)
  if (directives.has('must-revalidate')) return true
  if (stored.shared && directives.has('proxy-revalidate')) return true
  if (stored.expires !== undefined) return false
  // §5.2.2.10: to a shared cache s-maxage means proxy-revalidate, but as the origin itself allows the use.
  if (isLimited(stored) && (use === undefined || staleUse(stored, use) === 0)) return true
  return concernsAll(directives, 'no-cache')
}

/**
 * §5.2.1.2: how stale a response the request accepts, in milliseconds; `max-stale` alone accepts any.
 * Undefined where it accepts none.
 */
export function acceptedStaleness(request: Directives): number | undefined {
  return request.get('max-stale') === '' ? Infinity : directiveTime(request, 'max-stale')
}

/** How far the clocks of two processes that share a store may differ, in milliseconds. */
const MAX_CLOCK_SKEW = 60_000

/** Whether the clock has been set back since a response was received: nobody knows how old it is. */
export function isFromTheFuture(stored: StoredResponse, now: number): boolean {
  return stored.responseTime > now + MAX_CLOCK_SKEW
}

/** RFC 5861 §3: whether a stale response may be used while it is being validated. */
export function mayUseWhileValidating(
  request: Pick<RequestMessage, 'fields'>,
  stored: StoredResponse,
  now: number,
  terms: StaleTerms,
): boolean {
  return isWithin('stale-while-revalidate', request, stored, now, terms.staleWhileRevalidate)
}

/** For how long a shared cache that is disconnected uses what nobody has said anything about, in milliseconds: a day. */
const DISCONNECTED_USE = 86_400_000

/**
 * RFC 5861 §4: whether a stale response may be used instead of an error. A shared cache uses it for a day
 * where it cannot reach the origin (§4.2.4), as those in front of origins are used to.
 *
 * @param isDisconnected whether the origin has not answered at all
 */
export function mayUseOnError(
  request: Pick<RequestMessage, 'fields'>,
  stored: StoredResponse,
  now: number,
  terms: StaleTerms,
  isDisconnected = false,
): boolean {
  const said = staleUse(stored, 'stale-if-error')
  const unsaid = isDisconnected && stored.shared ? Math.max(said, DISCONNECTED_USE) : undefined
  return isWithin('stale-if-error', request, stored, now, terms.staleIfError ?? unsaid)
}

/** The most specific word counts: the request's, then the user's, then the response's. */
function isWithin(
  name: StaleUse,
  request: Pick<RequestMessage, 'fields'>,
  stored: StoredResponse,
  now: number,
  configured: number | undefined,
): boolean {
  if (forbidsStale(stored, name)) return false
  const directives = requestDirectives(request)
  const asked = directiveTime(directives, name)
  const staleness = -remainingFreshness(stored, now)
  if (asked === undefined && refusesStale(directives, staleness)) return false
  const limit = Math.min(
    asked ?? configured ?? staleUse(stored, name),
    isLimited(stored) ? staleUse(stored, name) : Infinity,
  )
  if (limit === Infinity) return true
  return limit > 0 && !isFromTheFuture(stored, now) && staleness < limit
}

/** §5.2.1: whether a request says that it does not want so stale a response, without a word about this use. */
function refusesStale(request: Directives, staleness: number): boolean {
  if (request.has('no-cache') || request.has('min-fresh')) return true
  const accepted = acceptedStaleness(request)
  return accepted === undefined ? request.has('max-age') : staleness > accepted
}

/** Whether nobody but the origin may allow the use of a stale response (§5.2.2.10). */
function isLimited(stored: StoredResponse): boolean {
  const byOrigin = stored.shared === true && stored.expires === undefined
  return byOrigin && responseDirectives(stored).has('s-maxage')
}

/** For how long a response says that it may be used once stale, in milliseconds. */
function staleUse(stored: StoredResponse, name: StaleUse): number {
  // Where a rule of the user decides when it is stale, the origin's words do not count from there.
  if (stored.expires !== undefined) return 0
  return directiveTime(responseDirectives(stored), name) ?? 0
}

/** How long after it became stale a response may still be used, in milliseconds. */
export function longestStaleUse(stored: StoredResponse, terms: StaleTerms): number {
  const limit = (use: StaleUse, configured: number | undefined) =>
    forbidsStale(stored, use) ? 0 : (configured ?? staleUse(stored, use))
  return Math.max(
    limit('stale-while-revalidate', terms.staleWhileRevalidate),
    limit('stale-if-error', terms.staleIfError),
  )
}
