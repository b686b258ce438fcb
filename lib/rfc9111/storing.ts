import { parseCacheControl } from './cache-control.ts'
import { fieldValue, listMembers } from './fields.ts'
import {
  explicitLifetime,
  hasValidator,
  heuristicLifetime,
  isHeuristicallyCacheable,
} from './freshness.ts'
import type { Fields, RequestMessage, ResponseMessage, StoredResponse } from './message.ts'
import { nominatedNames } from './vary.ts'

/** Why a response may not be stored. */
export type NotStored =
  | 'content'
  | 'do-not-cache'
  | 'endless'
  | 'incomplete'
  | 'no-freshness'
  | 'no-store'
  | 'no-validator'
  | 'redirected'
  | 'request-no-store'
  | 'status'
  | 'vary-any'

/** Status codes that may be stored when a rule of the user decides, whatever the origin says. */
const STORABLE_BY_RULE = new Set([200, 203, 204, 300, 301, 302, 303, 307, 308])

/**
 * §3: whether a response may be stored. `response.expires` is defined where a rule of the user
 * decides: it overrules the origin's fields, but neither the request's directives nor `Vary`.
 */
export function mayStore(request: RequestMessage, response: StoredResponse): true | NotStored {
  const { status, fields, expires } = response
  if (parseCacheControl(request.fields).has('no-store')) return 'request-no-store'
  if (isEndless(response)) return 'endless'
  if (status === 206) return 'incomplete'
  if (status < 200 || status === 304) return 'status'
  if (nominatedNames(response) === '*') return 'vary-any'

  if (expires !== undefined) {
    if (!STORABLE_BY_RULE.has(status)) return 'status'
    return expires > response.responseTime || hasValidator(response) ? true : 'no-validator'
  }

  const directives = parseCacheControl(fields)
  // §5.2.2.3: `no-store` beside `must-understand` is meant for caches that do not understand the status code.
  if (directives.has('must-understand')) {
    if (!isUnderstood(status)) return 'status'
  } else if (directives.has('no-store')) return 'no-store'
  const explicit = explicitLifetime(fields, response.responseTime)
  if (explicit === undefined && !isHeuristicallyCacheable(status) && !directives.has('public')) {
    return 'status'
  }
  // What must be validated at each use, but cannot be, could never be reused either.
  if (directives.get('no-cache') === '' && !hasValidator(response)) return 'no-freshness'
  // Without freshness and without a validator a stored response could never be reused.
  if ((explicit ?? heuristicLifetime(response)) > 0 || hasValidator(response)) return true
  return 'no-freshness'
}

/** Whether the cache knows what a status code means for caching; 206 and 304 are never stored. */
function isUnderstood(status: number): boolean {
  return isHeuristicallyCacheable(status) || STORABLE_BY_RULE.has(status)
}

/** Whether the content of a response is a stream of events that has no end to wait for. */
export function isEndless({ fields }: Pick<ResponseMessage, 'fields'>): boolean {
  const [type = ''] = (fieldValue(fields, 'content-type') ?? '').toLowerCase().split(';')
  return ['text/event-stream', 'multipart/x-mixed-replace'].includes(type.trim())
}

/**
 * §3.5: whether a response to a request with credentials may be given to requests with others: it is
 * declared `public`, and sets no cookie of its own.
 */
export function isPublic({ fields }: Pick<ResponseMessage, 'fields'>): boolean {
  const directives = parseCacheControl(fields)
  const open = directives.has('public') || directives.has('s-maxage')
  return open && !directives.has('private') && fields['set-cookie'] === undefined
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

/** §3.1: the fields of a response that a cache keeps: all but those of the connection. */
export function storedFields(fields: Fields): Fields {
  const named = listMembers(fieldValue(fields, 'connection')?.toLowerCase() ?? '')
  const left = new Set([...HOP_BY_HOP, ...named])
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !left.has(name)))
}
