import {
  concernsAll,
  type Directives,
  directiveTime,
  parseCacheControl,
  requestDirectives,
  responseDirectives,
} from './cache-control.ts'
import { fieldValue } from './fields.ts'
import { currentAge, dateValue, freshnessLifetime, hasValidator } from './freshness.ts'
import { type Fields, isRetrieval, type RequestMessage, type StoredResponse } from './message.ts'
import { parseRange } from './ranges.ts'
import {
  acceptedStaleness,
  forbidsStale,
  isFromTheFuture,
  mayUseOnError,
  mayUseWhileValidating,
  type StaleTerms,
} from './staleness.ts'
import type { Validation } from './validation.ts'
import { isStrong } from './validators.ts'
import { differsByNegotiation, matchesButForCodings, nominatedMatch } from './vary.ts'

/** Why a request is forwarded, in the words of RFC 9211 §2.2. */
export type ForwardReason = 'uri-miss' | 'vary-miss' | 'stale' | 'request' | 'partial'

/**
 * What to do with a request, and the stored responses that it concerns. `stored` is the one selected
 * for it; where the request goes to the origin, that one may have to do if the origin fails.
 */
export type Reuse<S extends StoredResponse> =
  | { readonly action: 'reuse'; readonly stored: S }
  /** It is stale, and is to be validated meanwhile (RFC 5861 §3). */
  | { readonly action: 'reuse-and-validate'; readonly stored: S }
  | ({
      readonly action: 'validate'
      readonly reason: ForwardReason
    } & Validation<S>)
  | { readonly action: 'forward'; readonly reason: ForwardReason; readonly stored: S | undefined }
  | { readonly action: 'refuse' }

/** What the cache is for: see `Terms.mode`. */
export type Mode = 'default' | 'offline' | 'record' | 'replay'

/** Whether nothing is sent in a mode, but everything answered from what is stored. */
export function isOffline(mode: Mode | undefined): boolean {
  return mode === 'offline' || mode === 'replay'
}

/** What the user says about validation. */
export interface ValidationTerms {
  /** Whether requests are answered from the cache alone. */
  readonly onlyIfCached?: boolean
  /** Whether what is stored is validated, however fresh it is. */
  readonly refresh?: boolean
  /** Whether requests are sent as if nothing were stored. */
  readonly forceRefresh?: boolean
  /** Whether each use of a stored response that has a validator is validated. */
  readonly alwaysRevalidate?: boolean
  readonly mode?: Mode
}

/** What the user says about reuse. */
export interface ReuseTerms extends StaleTerms, ValidationTerms {
  /** The request fields that hold credentials. */
  readonly partitionBy: readonly string[]
  /** Further fields by which all responses are kept apart. */
  readonly matchHeaders?: readonly string[]
}

/** §4: whether one of the stored responses for its target URI may answer a request, and how. */
export function reuse<S extends StoredResponse>(
  request: RequestMessage,
  candidates: readonly S[],
  now: number,
  terms: ReuseTerms,
): Reuse<S> {
  const { mode } = terms
  if (mode === 'record') return { action: 'forward', reason: 'request', stored: undefined }
  if (isOffline(mode)) {
    const stored = selectOffline(request, candidates, terms)
    return stored ? { action: 'reuse', stored } : { action: 'refuse' }
  }
  const stored = select(request, candidates)

  const directives = requestDirectives(request)
  const isOnlyIfCached = terms.onlyIfCached || directives.has('only-if-cached')
  const isToBeValidated = stored && !isOnlyIfCached && asksForValidation(request, stored, terms)
  const obstacle = isToBeValidated ? 'request' : stored && whyNotReusable(stored, directives, now)
  if (stored && obstacle === undefined) return { action: 'reuse', stored }
  if (stored && obstacle === 'stale' && mayUseWhileValidating(request, stored, now, terms)) {
    return { action: isOnlyIfCached ? 'reuse' : 'reuse-and-validate', stored }
  }
  if (isOnlyIfCached) {
    // What the user says of errors also holds for the one that the user asks for.
    const mayBeUsed = terms.onlyIfCached && stored && mayUseOnError(request, stored, now, terms)
    return mayBeUsed ? { action: 'reuse', stored } : { action: 'refuse' }
  }

  const reason = obstacle ?? (candidates.length === 0 ? 'uri-miss' : 'vary-miss')
  const valid = terms.forceRefresh ? [] : validationCandidates(request, stored, candidates, terms)
  if (valid.length === 0) return { action: 'forward', reason, stored }
  return { action: 'validate', reason, stored, candidates: valid }
}

/**
 * §4: of the stored responses whose nominated fields match the request's (§4.1), the most recent by its
 * date. HEAD knows no parts (RFC 9110 §14.2).
 */
function select<S extends StoredResponse>(
  request: RequestMessage,
  candidates: readonly S[],
  matches: (stored: S) => boolean = ({ nominated }) => nominatedMatch(nominated, request),
): S | undefined {
  const isMatching = (stored: S) =>
    (stored.status !== 206 || request.method === 'GET') && matches(stored)
  // Mostly there is but one.
  if (candidates.length < 2) return candidates.find(isMatching)
  const matching = candidates.filter(isMatching)
  const date = (stored: S) => dateValue(stored.fields, stored.responseTime)
  return matching.sort((a, b) => date(b) - date(a) || b.responseTime - a.responseTime)[0]
}

/**
 * The response that is selected where the origin cannot be asked: if need be one that was stored for other
 * content codings, as each version of Node accepts others, if the request accepts its own.
 */
function selectOffline<S extends StoredResponse>(
  request: RequestMessage,
  candidates: readonly S[],
  { matchHeaders = [] }: ReuseTerms,
): S | undefined {
  const usable = candidates.filter(({ isToBeConfirmed }) => !isToBeConfirmed)
  const stored = select(request, usable)
  if (stored || matchHeaders.includes('accept-encoding')) return stored
  return select(request, usable, (candidate) => matchesButForCodings(candidate, request))
}

/**
 * §4.3.1: the stored responses that the origin may confirm: the selected one; or where there is none
 * those that were negotiated for other requests, by their strong entity-tags.
 */
function validationCandidates<S extends StoredResponse>(
  request: RequestMessage,
  stored: S | undefined,
  candidates: readonly S[],
  { partitionBy }: ReuseTerms,
): S[] {
  // What the caller asks about its own stored response is for the origin alone to answer.
  if (isConditional(request.fields)) return []
  // RFC 9110 §13.1.2: to other methods the origin would answer that they have failed.
  if (!isRetrieval(request.method)) return []
  if (stored) return hasValidator(stored) ? [stored] : []
  if (request.method !== 'GET' || request.fields.range !== undefined) return []
  const others = candidates.filter((candidate) => {
    const etag = fieldValue(candidate.fields, 'etag')
    // A part of the content has the entity-tag of the whole.
    const isTagged = etag !== undefined && isStrong(etag) && candidate.status !== 206
    return isTagged && differsByNegotiation(candidate, request, partitionBy)
  })
  // Some origins tag revisions of a resource instead of its representations: they tell no variants apart.
  const tags = new Set(others.map(({ fields }) => fieldValue(fields, 'etag')))
  return others.length > 1 && tags.size === others.length ? others : []
}

/** Whether the user wants a stored response to be validated, even if it could be reused. */
function asksForValidation(
  { method }: RequestMessage,
  stored: StoredResponse,
  terms: ValidationTerms,
): boolean {
  if (terms.refresh || terms.forceRefresh) return true
  return terms.alwaysRevalidate === true && isRetrieval(method) && hasValidator(stored)
}

function whyNotReusable(
  stored: StoredResponse,
  request: Directives,
  now: number,
): ForwardReason | undefined {
  if (request.has('no-cache')) return 'request'
  if (stored.isToBeConfirmed) return 'stale'

  // A rule of the user overrules the response's own directives.
  const byRule = stored.expires !== undefined
  const response: Directives = byRule ? new Map() : responseDirectives(stored)
  if (concernsAll(response, 'no-cache')) return 'stale'

  const lifetime = freshnessLifetime(stored)
  const age = currentAge(stored, now)
  const isFresh = lifetime > age
  const maxAge = directiveTime(request, 'max-age') ?? Infinity
  // RFC 8246 §2: what will not change while it is fresh need not be asked for again on a reload.
  const isImmutable = isFresh && response.has('immutable')
  if (maxAge === 0 ? !isImmutable : age > maxAge) return 'request'

  if (lifetime !== Infinity && isFromTheFuture(stored, now)) return 'stale'
  const minFresh = directiveTime(request, 'min-fresh')
  if (minFresh !== undefined && lifetime - age < minFresh) return isFresh ? 'request' : 'stale'
  if (isFresh) return undefined
  const accepted = acceptedStaleness(request)
  const isAccepted = accepted !== undefined && age - lifetime <= accepted
  return isAccepted && !forbidsStale(stored) ? undefined : 'stale'
}

/** RFC 9110 §13.1: whether the caller validates a stored response of its own. */
export function isConditional(fields: Fields): boolean {
  return fields['if-none-match'] !== undefined || fields['if-modified-since'] !== undefined
}

/** Why a request passes the cache by. */
export type BypassReason = 'method' | 'content' | 'no-store' | 'range' | 'conditional' | 'endless'

/**
 * Why a request is neither answered from the cache nor its response stored; undefined where it may be.
 *
 * @param hasContent whether the request itself has content, which means nothing to GET and HEAD
 * @param isAllowed whether requests of its method may be cached; to be recorded and replayed all may
 */
export function whyBypass(
  request: RequestMessage,
  hasContent: boolean,
  isAllowed: boolean = isRetrieval(request.method),
  mode: Mode = 'default',
): BypassReason | undefined {
  const { method, fields } = request
  const isRecorded = mode === 'record' || mode === 'replay'
  if (!isAllowed && !isRecorded) return 'method'
  if (hasContent && isRetrieval(method)) return 'content'
  // All that is left is about what the origin has now, or about what is worth keeping.
  if (isRecorded) return undefined
  if (mode !== 'offline' && parseCacheControl(fields).has('no-store')) return 'no-store'
  // RFC 9110 §13.1.1 and §13.1.4: these are about what the origin has now.
  if (fields['if-match'] !== undefined || fields['if-unmodified-since'] !== undefined) {
    return 'conditional'
  }
  // RFC 9110 §13.2.2: to other methods it would not mean that the caller has a response already.
  if (isConditional(fields) && !isRetrieval(method)) return 'conditional'
  const range = fieldValue(fields, 'range')
  if (method === 'GET' && range !== undefined && parseRange(range) === undefined) return 'range'
  return fieldValue(fields, 'accept')?.trim() === 'text/event-stream' ? 'endless' : undefined
}

/**
 * §4: whether a request may wait for the answer to another one that is already under way. Not where
 * it asks for an answer that was generated after it or for a part that can be had at once, nor where
 * the origin is asked to take its time (RFC 7240 §4.3), nor where the user wants each request to be sent.
 */
export function mayCollapse(request: RequestMessage, terms: ValidationTerms = {}): boolean {
  if (terms.refresh || terms.forceRefresh || terms.mode === 'record') return false
  const directives = requestDirectives(request)
  if (directives.has('no-cache') || directiveTime(directives, 'max-age') === 0) return false
  if (request.fields.range !== undefined) return false
  return !/(^|[,\s])wait\s*=/i.test(fieldValue(request.fields, 'prefer') ?? '')
}

/**
 * Whether others may wait for the answer to a request: it is not for the caller alone, as that to a
 * condition or for a part is.
 */
export function isForOthers({ fields }: Pick<RequestMessage, 'fields'>): boolean {
  return !isConditional(fields) && fields.range === undefined
}
