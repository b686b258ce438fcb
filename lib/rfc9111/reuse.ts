import { directiveTime, parseCacheControl } from './cache-control.ts'
import { fieldValue } from './fields.ts'
import { currentAge, freshnessLifetime, hasValidator } from './freshness.ts'
import type { RequestMessage, StoredResponse } from './message.ts'
import { isConditional } from './validation.ts'
import { nominatedMatch } from './vary.ts'

/** Why a request is forwarded, in the words of RFC 9211 §2.2. */
export type ForwardReason = 'uri-miss' | 'vary-miss' | 'stale' | 'request'

/** What to do with a request, and the stored response that it concerns. */
export type Reuse<S extends StoredResponse> =
  | { readonly action: 'reuse'; readonly stored: S }
  | { readonly action: 'validate'; readonly stored: S; readonly reason: ForwardReason }
  | { readonly action: 'forward'; readonly reason: ForwardReason }
  | { readonly action: 'refuse' }

/** §4: whether one of the stored responses for its target URI may answer a request, and how. */
export function reuse<S extends StoredResponse>(
  request: RequestMessage,
  candidates: readonly S[],
  now: number,
): Reuse<S> {
  const directives = requestDirectives(request)
  const onlyIfCached = directives.has('only-if-cached')
  const stored = select(request, candidates)
  if (stored === undefined) {
    if (onlyIfCached) return { action: 'refuse' }
    return { action: 'forward', reason: candidates.length === 0 ? 'uri-miss' : 'vary-miss' }
  }
  const obstacle = whyNotReusable(stored, directives, now)
  if (obstacle === undefined) return { action: 'reuse', stored }
  if (onlyIfCached) return { action: 'refuse' }
  if (hasValidator(stored)) return { action: 'validate', stored, reason: obstacle }
  return { action: 'forward', reason: obstacle }
}

/** §4.1: the most recent of the stored responses whose nominated fields match the request's. */
function select<S extends StoredResponse>(
  request: RequestMessage,
  candidates: readonly S[],
): S | undefined {
  return candidates
    .filter((stored) => nominatedMatch(stored.nominated, request))
    .reduce<S | undefined>(
      (newest, stored) => (newest && newest.responseTime >= stored.responseTime ? newest : stored),
      undefined,
    )
}

/** How far the clocks of two processes that share a store may differ, in milliseconds. */
const MAX_CLOCK_SKEW = 60_000

function whyNotReusable(
  stored: StoredResponse,
  directives: ReadonlyMap<string, string>,
  now: number,
): ForwardReason | undefined {
  if (directives.has('no-cache')) return 'request'

  // A rule of the user overrules the response's own directives.
  const byRule = stored.expires !== undefined
  const response = byRule ? new Map<string, string>() : parseCacheControl(stored.fields)
  if (response.has('no-cache')) return 'stale'

  const age = currentAge(stored, now)
  const maxAge = directiveTime(directives, 'max-age') ?? Infinity
  if (age > maxAge || (maxAge === 0 && age >= 0)) return 'request'

  // The clock has been set back: nobody knows how old the response is.
  const lifetime = freshnessLifetime(stored)
  if (lifetime !== Infinity && stored.responseTime > now + MAX_CLOCK_SKEW) return 'stale'

  const remaining = lifetime - age
  if (remaining > 0) {
    return remaining >= (directiveTime(directives, 'min-fresh') ?? 0) ? undefined : 'request'
  }
  // §4.2.4: stale responses are reused only where the request asks for it and the response does not forbid it.
  if (response.has('must-revalidate')) return 'stale'
  const accepted = acceptedStaleness(directives)
  return accepted !== undefined && -remaining <= accepted ? undefined : 'stale'
}

/** §5.2.1.2: how stale a response the request accepts, in milliseconds; `max-stale` alone accepts any. */
function acceptedStaleness(directives: ReadonlyMap<string, string>): number | undefined {
  return directives.get('max-stale') === '' ? Infinity : directiveTime(directives, 'max-stale')
}

/** §5.2.1 and §5.4: the request's directives; `Pragma: no-cache` counts where there is no `Cache-Control`. */
export function requestDirectives({ fields }: RequestMessage): ReadonlyMap<string, string> {
  if (fields['cache-control'] !== undefined) return parseCacheControl(fields)
  const pragma = fieldValue(fields, 'pragma')?.toLowerCase() ?? ''
  return pragma.includes('no-cache') ? new Map([['no-cache', '']]) : new Map()
}

/** Why a request passes the cache by. */
export type BypassReason = 'method' | 'content' | 'no-store' | 'range' | 'conditional' | 'endless'

/**
 * Why a request is neither answered from the cache nor its response stored; undefined where it may be.
 *
 * @param hasContent whether the request itself has content, which a key made of the URL would ignore
 */
export function whyBypass(request: RequestMessage, hasContent: boolean): BypassReason | undefined {
  const { method, fields } = request
  if (method !== 'GET' && method !== 'HEAD') return 'method'
  if (hasContent) return 'content'
  if (parseCacheControl(fields).has('no-store')) return 'no-store'
  if (fields.range !== undefined) return 'range'
  if (isConditional(fields)) return 'conditional'
  return fieldValue(fields, 'accept')?.trim() === 'text/event-stream' ? 'endless' : undefined
}

/**
 * §4: whether a request may wait for the answer to another one that is already under way. Not where
 * it asks for an answer that was generated after it, nor where the origin is asked to take its time
 * (RFC 7240 §4.3).
 */
export function mayCollapse(request: RequestMessage): boolean {
  const directives = requestDirectives(request)
  if (directives.has('no-cache') || directiveTime(directives, 'max-age') === 0) return false
  return !/(^|[,\s])wait\s*=/i.test(fieldValue(request.fields, 'prefer') ?? '')
}
