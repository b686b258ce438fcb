import {
  concernsAll,
  type Directives,
  namedFields,
  parseCacheControl,
  responseDirectives,
} from './cache-control.ts'
import { fieldValue, listMembers, withoutFields } from './fields.ts'
import {
  explicitLifetime,
  freshnessLifetime,
  hasValidator,
  isHeuristicallyCacheable,
} from './freshness.ts'
import {
  type Fields,
  isRetrieval,
  type RequestMessage,
  type ResponseFields,
  type ResponseMessage,
  type StoredResponse,
} from './message.ts'
import { parseRange } from './ranges.ts'
import { longestStaleUse, type StaleTerms } from './staleness.ts'
import { nominatedNames } from './vary.ts'

/** Why a response is not stored; 'freshened' where it went into another one that is. */
export type NotStored =
  | 'authorization'
  | 'content'
  | 'do-not-cache'
  | 'endless'
  | 'freshened'
  | 'incomplete'
  | 'invalidated'
  | 'no-freshness'
  | 'no-store'
  | 'no-validator'
  | 'private'
  | 'read-only'
  | 'redirected'
  | 'request-no-store'
  | 'request-too-large'
  | 'rule-failed'
  | 'status'
  | 'too-large'
  | 'vary-any'

/** Status codes that may be stored when a rule of the user decides, whatever the origin says. */
const STORABLE_BY_RULE = new Set([200, 203, 204, 300, 301, 302, 303, 307, 308])

/** The request fields that the responses with some status codes are about: they say nothing to requests with others. */
const ABOUT_FIELDS: Readonly<Record<number, readonly string[]>> = {
  206: ['range'],
  304: ['if-modified-since', 'if-none-match'],
  412: ['if-match', 'if-modified-since', 'if-none-match', 'if-unmodified-since'],
  416: ['range'],
}

/** The request fields that a response with this status code is about: ranges and conditions. */
export function fieldsAbout(status: number): readonly string[] {
  return ABOUT_FIELDS[status] ?? []
}

/** What the user says about storing. */
export interface StoringTerms extends StaleTerms {
  /** Whether responses with this status code may be stored; undefined where nothing is said of it. */
  readonly isStatusAllowed?: boolean | undefined
}

/**
 * §3: whether a response may be stored. `response.expires` is defined where a rule of the user
 * decides: it overrules the origin's fields, but neither the request's directives nor `Vary`.
 */
export function mayStore(
  request: RequestMessage,
  response: StoredResponse,
  terms: StoringTerms = {},
): true | NotStored {
  const { status, shared, expires } = response
  const { isStatusAllowed } = terms
  if (parseCacheControl(request.fields).has('no-store')) return 'request-no-store'
  if (isEndless(response)) return 'endless'
  if (status === 206 && !isReplayable(request, response)) return 'incomplete'
  const isForItsRequest = status !== 206 && fieldsAbout(status).length > 0
  if (status < 200 || isForItsRequest) return 'status'
  if (isStatusAllowed === false) return 'status'
  if (nominatedNames(response) === '*') return 'vary-any'

  // Only GET and HEAD can be made conditional without meaning something else (RFC 9110 §13.1.2).
  const canBeValidated = isRetrieval(request.method) && hasValidator(response)
  if (expires !== undefined) {
    if (!isStatusAllowed && !STORABLE_BY_RULE.has(status)) return 'status'
    return expires > response.responseTime || canBeValidated ? true : 'no-validator'
  }

  const directives = responseDirectives(response)
  // §5.2.2.3: `no-store` beside `must-understand` is meant for caches that do not understand the status code.
  if (directives.has('must-understand')) {
    if (!isUnderstood(status)) return 'status'
  } else if (directives.has('no-store')) return 'no-store'
  if (shared && concernsAll(directives, 'private')) return 'private'
  if (shared && request.fields.authorization !== undefined && !allowsAuthorization(directives)) {
    return 'authorization'
  }
  const explicit = explicitLifetime(response, response.responseTime)
  // RFC 9110 §9.3.3: of POST, and no more of others, what the origin does not say anything about.
  if (explicit === undefined && !isRetrieval(request.method)) return 'no-freshness'
  const isAllowed = directives.has('public') || (!shared && directives.has('private'))
  if (explicit === undefined && !isHeuristicallyCacheable(status) && !isAllowed) return 'status'
  // What must be validated at each use, but cannot be, could never be reused either.
  if (concernsAll(directives, 'no-cache') && !canBeValidated) return 'no-freshness'
  // Never fresh, without a validator, and of no use when it is stale: it could never be reused.
  const isUseful =
    freshnessLifetime(response) > 0 || canBeValidated || longestStaleUse(response, terms) > 0
  return isUseful ? true : 'no-freshness'
}

/** Whether a response may be recorded to be replayed: whatever it and the request say about storing. */
export function mayRecord(request: RequestMessage, response: StoredResponse): true | NotStored {
  const { status } = response
  if (status === 206 && !isReplayable(request, response)) return 'incomplete'
  return status < 200 ? 'status' : true
}

/** §3.5: whether a response to a request with `Authorization` may be stored by a shared cache. */
function allowsAuthorization(directives: Directives): boolean {
  return ['public', 's-maxage', 'must-revalidate'].some((name) => directives.has(name))
}

/**
 * §3.3: whether a partial response may be stored: as the answer to exactly the ranges of its request,
 * which it is distinguished by. It is never combined with others (§3.4).
 */
function isReplayable(request: RequestMessage, { fields }: StoredResponse): boolean {
  const range = fieldValue(request.fields, 'range')
  const isAsked = request.method === 'GET' && range !== undefined && parseRange(range) !== undefined
  return isAsked && /^bytes \d+-\d+\/(?:\d+|\*)$/.test(fieldValue(fields, 'content-range') ?? '')
}

/** Whether the cache knows what a status code means for caching. */
function isUnderstood(status: number): boolean {
  return isHeuristicallyCacheable(status) || STORABLE_BY_RULE.has(status)
}

/** Whether the content of a response is a stream of events that has no end to wait for. */
export function isEndless({ fields }: Pick<ResponseMessage, 'fields'>): boolean {
  const [type = ''] = (fieldValue(fields, 'content-type') ?? '').toLowerCase().split(';')
  return ['text/event-stream', 'multipart/x-mixed-replace'].includes(type.trim())
}

/**
 * §3.5: of the request fields that hold credentials those by which a response is kept apart from others,
 * so that it is not given to requests with other ones. None, where it is declared to be for everybody
 * and sets no cookie of its own.
 */
export function credentialNames(
  response: ResponseFields,
  partitionBy: readonly string[],
): readonly string[] {
  const directives = responseDirectives(response)
  if (directives.has('private') || response.fields['set-cookie'] !== undefined) return partitionBy
  if (directives.has('public')) return []
  // To a shared cache others say as much of `Authorization`, and nothing of cookies.
  const isForAll = response.shared === true && allowsAuthorization(directives)
  return isForAll ? partitionBy.filter((name) => name !== 'authorization') : partitionBy
}

const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]

/** Fields that are for all recipients, so that none of them can name them (RFC 9110 §7.6.1). */
const FOR_ALL = new Set([
  'age',
  'cache-control',
  'cdn-cache-control',
  'content-encoding',
  'content-range',
  'content-type',
  'date',
  'etag',
  'expires',
  'last-modified',
  'vary',
])

/**
 * §3.1: the fields of a response that a cache keeps: all but those of the connection, and for a shared
 * cache those that `private` names (§5.2.2.7).
 */
export function storedFields(response: ResponseFields): Fields {
  const { fields, shared } = response
  const named = listMembers(fieldValue(fields, 'connection')?.toLowerCase() ?? '')
  const ofOne = shared ? namedFields(responseDirectives(response), 'private') : []
  const left = [...named, ...ofOne].filter((name) => !FOR_ALL.has(name))
  return withoutFields(fields, [...HOP_BY_HOP, ...left])
}

/**
 * §5.2.2.4: the fields of a stored response that may be sent without having been validated: all but
 * those that `no-cache` names.
 */
export function reusableFields(stored: StoredResponse): Fields {
  if (stored.expires !== undefined) return stored.fields
  const named = namedFields(responseDirectives(stored), 'no-cache')
  const left = named.filter((name) => !FOR_ALL.has(name))
  return left.length === 0 ? stored.fields : withoutFields(stored.fields, left)
}
