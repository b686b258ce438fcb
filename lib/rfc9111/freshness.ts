import { directiveTime, responseDirectives, targetedDirectives } from './cache-control.ts'
import { fieldValue, parseDeltaSeconds, parseHttpDate } from './fields.ts'
import type { Fields, ResponseFields, ResponseMessage, StoredResponse } from './message.ts'

/** Status codes whose responses may be stored and given a heuristic lifetime (RFC 9110 §15.1). */
const HEURISTICALLY_CACHEABLE = new Set([
  200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501,
])

/** Whether a status code is defined as heuristically cacheable (RFC 9110 §15.1). */
export function isHeuristicallyCacheable(status: number): boolean {
  return HEURISTICALLY_CACHEABLE.has(status)
}

/**
 * §4.2: how long a stored response is fresh, in milliseconds from its generation (§4.2.3); where the
 * origin decides, no longer than the user lets it.
 */
export function freshnessLifetime(stored: StoredResponse): number {
  const { staleFrom } = stored
  const lifetime = originalLifetime(stored)
  if (staleFrom === undefined || staleFrom < stored.responseTime) return lifetime
  return Math.min(lifetime, currentAge(stored, staleFrom))
}

/** As long as nobody marks it as stale. */
function originalLifetime(stored: StoredResponse): number {
  if (stored.expires !== undefined) return Math.max(0, stored.expires - stored.responseTime)
  const lifetime = explicitLifetime(stored, stored.responseTime) ?? heuristicLifetime(stored)
  return Math.min(lifetime, stored.maxLifetime ?? Infinity)
}

/**
 * §4.2.1: the lifetime that the origin asks for, in milliseconds; undefined where it says nothing.
 * A date or number that cannot be understood means already stale (§5.3).
 */
export function explicitLifetime(
  response: ResponseFields,
  responseTime: number,
): number | undefined {
  const { fields, shared } = response
  const directives = responseDirectives(response)
  const maxAge =
    (shared ? directiveTime(directives, 's-maxage') : undefined) ??
    directiveTime(directives, 'max-age')
  if (maxAge !== undefined) return maxAge
  const expires = fieldValue(fields, 'expires')
  if (expires === undefined || targetedDirectives(response)) return undefined
  const time = parseHttpDate(expires, responseTime)
  return time === undefined ? 0 : Math.max(0, time - dateValue(fields, responseTime))
}

/** Heuristics never make a response fresh for longer than this, in milliseconds: a week. */
const MAX_HEURISTIC_LIFETIME = 7 * 86_400_000

/**
 * §4.2.2: a tenth of the time since the last modification, in milliseconds, at most a week; 0 where
 * no heuristic applies. URLs with a query get none: they name the results of programs.
 */
export function heuristicLifetime(stored: StoredResponse): number {
  const { fields, status, responseTime } = stored
  if (!isHeuristicallyCacheable(status) && !responseDirectives(stored).has('public')) return 0
  if (stored.url.includes('?')) return 0
  const lastModified = fieldValue(fields, 'last-modified')
  const time = lastModified && parseHttpDate(lastModified, responseTime)
  if (typeof time !== 'number') return 0
  const sinceModified = Math.max(0, dateValue(fields, responseTime) - time)
  return Math.min(sinceModified / 10, MAX_HEURISTIC_LIFETIME)
}

/** `Date` in milliseconds since the epoch; the time of receipt where it is missing or invalid. */
export function dateValue(fields: Fields, responseTime: number): number {
  return parseHttpDate(fieldValue(fields, 'date') ?? '', responseTime) ?? responseTime
}

/** §5.1: `Age` in milliseconds: the first value of a list; 0 where it is missing or invalid. */
export function ageValue(fields: Fields): number {
  const [first = ''] = (fieldValue(fields, 'age') ?? '').split(',')
  return parseDeltaSeconds(first.trim()) ?? 0
}

/**
 * §4.2.3: the age of a stored response at the time `now`, in milliseconds. Where a rule of the user
 * decided the freshness, age counts from the receipt: the origin's `Age` and `Date` play no part.
 */
export function currentAge(stored: StoredResponse, now: number): number {
  const residentTime = Math.max(0, now - stored.responseTime)
  return stored.expires === undefined ? correctedInitialAge(stored) + residentTime : residentTime
}

function correctedInitialAge(stored: StoredResponse): number {
  const { fields, requestTime, responseTime } = stored
  const apparentAge = Math.max(0, responseTime - dateValue(fields, responseTime))
  const responseDelay = Math.max(0, responseTime - requestTime)
  return Math.max(apparentAge, ageValue(fields) + responseDelay)
}

/** How long a stored response stays fresh from `now` on, in milliseconds; negative once it is stale. */
export function remainingFreshness(stored: StoredResponse, now: number): number {
  return freshnessLifetime(stored) - currentAge(stored, now)
}

/** The time at which a stored response ceases to be fresh, in milliseconds since the epoch. */
export function expirationTime(stored: StoredResponse): number {
  const { expires, responseTime, staleFrom = -Infinity } = stored
  if (expires !== undefined)
    return staleFrom < responseTime ? expires : Math.min(expires, staleFrom)
  return responseTime + freshnessLifetime(stored) - correctedInitialAge(stored)
}

/** Whether a response has a validator, so that it can be validated when it is stale (RFC 9110 §8.8). */
export function hasValidator({ fields }: Pick<ResponseMessage, 'fields'>): boolean {
  return (fields.etag !== undefined && fields.etag !== '*') || fields['last-modified'] !== undefined
}
