import { inspect } from 'node:util'
import {
  asFallback,
  type Expiration,
  type ExpirationByStatus,
  isStatus,
  type Lifetime,
  type LifetimeByStatus,
  parseDuration,
  parseExpirations,
  parseStaleness,
  type StatusClass,
} from './expiration.ts'
import type { ResponseFilter } from './filter.ts'
import { ALL_FIELDS } from './key/fields.ts'
import type { CacheKeyFunction } from './key/identity.ts'
import { Parameters } from './key/parameters.ts'
import { isToken } from './rfc9111/fields.ts'
import type { Mode } from './rfc9111/reuse.ts'
import { parseSize, type Size } from './size.ts'
import { type ParsedTagSource, parseTagSource, type TagSource } from './tags.ts'

/** The configuration that applies to one request. All of it can be written as JSON. */
export interface Terms {
  /**
   * How long responses are fresh, whatever the origin says; with `cacheControl: true` beside it only those
   * that say nothing themselves. For the agent as a whole it is what applies where nothing more specific does.
   *
   * By status code it is an object such as `{ 404: '1m', '5xx': '5s', '*': '1h' }`: a code counts before
   * its class, and a class before `'*'`. Responses with a code or class that is named are stored, unless
   * `allowedCodes` excludes them; for those without an entry applies what is said less specifically.
   */
  readonly expireAfter?: Expiration | ExpirationByStatus
  /**
   * Whether the response's own header fields decide (RFC 9111).
   *
   * @default true unless the agent's `expireAfter` is given
   */
  readonly cacheControl?: boolean
  /**
   * The request fields that hold credentials. A response to a request that has one of them is reused
   * only for requests with the same credentials, unless it is declared public (RFC 9111 §3.5).
   * Stored as a keyed hash. `false` gives everybody's responses to everybody.
   *
   * @default 'authorization', 'cookie', the usual fields for keys and tokens, such as 'x-api-key', and those
   * that `secretParameters` names
   */
  readonly partitionBy?: readonly string[] | false
  /**
   * The methods of requests that may be cached, in any case. Other methods than GET and HEAD are keyed by
   * their content as well. A field such as `X-HTTP-Method-Override` counts as the method.
   *
   * @default ['GET', 'HEAD']
   */
  readonly allowedMethods?: readonly string[]
  /**
   * How much content a request may have that is keyed by it, as a number of bytes or a size such as
   * `'10MB'`. A request with more passes by.
   *
   * @default '1MiB'
   */
  readonly maxRequestContentSize?: Size
  /**
   * Parameters whose values do not matter: of the query, of forms, of JSON (members at the top, or paths such
   * as `'data.timestamp'` and `'items.*.id'`), and header fields. Requests that differ by nothing else share
   * their responses; whether there is such a parameter still counts. Their values are not stored.
   *
   * @default []
   */
  readonly ignoredParameters?: readonly string[]
  /**
   * Parameters whose values are secrets: of the query, of forms, of JSON at any depth, and header fields; all
   * in any case. They tell requests apart, but nothing of them is stored or told. `false` for none, which
   * leaves `Authorization` and `Cookie`. A list takes the place of the default.
   *
   * @default DEFAULT_SECRET_PARAMETERS
   */
  readonly secretParameters?: readonly string[] | false
  /**
   * Request fields by which responses are kept apart, as if all responses named them in `Vary`; `true` for all
   * fields.
   *
   * @default []
   */
  readonly matchHeaders?: readonly string[] | true
  /**
   * Makes the key of a request: any text, of which requests that share their responses have the same.
   * Methods and credentials are told apart in any case. A request passes by where it throws, or takes more
   * than 5 seconds.
   *
   * @default the method, the URL and the content
   */
  readonly cacheKey?: CacheKeyFunction
  /**
   * Whether a stale response may be used while it is being validated in the background (RFC 5861 §3):
   * always, never, or for so long after it became stale, as a number of milliseconds or a duration such
   * as `'1h'`. A request's own directive takes precedence; `must-revalidate` forbids it.
   *
   * @default what the response's `stale-while-revalidate` says
   */
  readonly staleWhileRevalidate?: boolean | number | string
  /**
   * Whether a stale response may be used where the origin cannot be reached, does not answer in time or
   * answers with a status of 500 or more (RFC 5861 §4): always, never, or for so long after it became
   * stale. A request's own directive takes precedence; `must-revalidate` forbids it.
   *
   * @default what the response's `stale-if-error` says; in a shared cache that cannot reach the origin, a day
   */
  readonly staleIfError?: boolean | number | string
  /**
   * How much content a response may have that is stored, as a number of bytes or a size such as `'10MB'`.
   * What is larger is delivered as it is.
   *
   * @default Infinity
   */
  readonly maxContentSize?: Size
  /**
   * The status codes of responses that may be stored, each as a number or as a class such as `'4xx'`. No
   * other one is stored, even where the origin decides. 1xx, 304, 412 and 416 never are, and 206 only as
   * the answer to exactly its range.
   *
   * @default 200, 203, 204, 300, 301, 302, 303, 307, 308 and those that `expireAfter` names, where a rule
   * of the user decides; else what RFC 9111 allows
   */
  readonly allowedCodes?: readonly (number | StatusClass)[]
  /**
   * Whether a response may be stored, and whether one that is stored may be used for a request. It is
   * asked about what is to be stored when all of it has been received, and nobody else is given it before
   * that. What is not to be used stays stored; the request is sent as if it were not. A filter that
   * throws, returns no boolean or takes too long (5 seconds for a use, 30 for storing) says no, which an
   * event tells.
   */
  readonly filter?: ResponseFilter
  /**
   * Whether the cache is only read: nothing is stored, freshened, invalidated or removed.
   *
   * @default false
   */
  readonly readOnly?: boolean
  /**
   * Whether requests are answered from the cache alone, as `Cache-Control: only-if-cached` asks for: with
   * what is fresh, or stale as far as `staleIfError` allows; else as `missing` says.
   *
   * @default false
   */
  readonly onlyIfCached?: boolean
  /**
   * Whether what is stored is validated, however fresh it is: by a conditional request where it has a
   * validator (ETag or Last-Modified), else by a full one.
   *
   * @default false
   */
  readonly refresh?: boolean
  /**
   * Whether requests are sent to the origin as if nothing were stored. Responses are stored as usual.
   *
   * @default false
   */
  readonly forceRefresh?: boolean
  /**
   * Whether each use of a stored response that has a validator is validated. Those without one are used
   * while they are fresh.
   *
   * @default false
   */
  readonly alwaysRevalidate?: boolean
  /**
   * Whether each use of a fresh response starts the duration anew that `expireAfter` or a rule gave it.
   *
   * @default false
   */
  readonly slidingExpiration?: boolean
  /**
   * The longest that a response may be fresh because the origin or a heuristic says so, in milliseconds
   * or as a duration; 0 for validation at each use. Expirations of the user are not limited by it.
   *
   * @default Infinity
   */
  readonly maxExpireAfter?: number | string
  /**
   * Whether responses are stored without `Set-Cookie`, so that only who caused the response gets the
   * cookies. Otherwise each stored line is replayed.
   *
   * @default false
   */
  readonly stripSetCookie?: boolean
  /**
   * - `'offline'`: nothing is sent; what is stored is used, stale or not;
   * - `'record'`: everything is sent, and all complete responses are stored for ever, whatever origin and
   *   rules say, in place of what is there;
   * - `'replay'`: nothing is sent; what is stored is used, whatever its age, and whatever it and the
   *   request say about that;
   * - `'default'`: none of these.
   *
   * @default 'default'
   */
  readonly mode?: Mode
  /**
   * What becomes of a request for which nothing may be sent and nothing is stored: a response with
   * status 504, or a {@link NotStoredError}.
   *
   * @default 'error' in the mode 'replay', else 'status'
   */
  readonly missing?: 'status' | 'error'
  /**
   * By what responses can be deleted or marked stale together: the header fields that name their tags, such
   * as `'Cache-Tag'` or `['Surrogate-Key', 'xkey']`, or a function that does.
   *
   * @default none
   */
  readonly tags?: TagSource
}

/** Terms that have been understood: durations in milliseconds, sizes in bytes, names in their one case. */
export interface ParsedTerms {
  readonly expireAfter?: Lifetime | LifetimeByStatus
  readonly cacheControl?: boolean
  readonly partitionBy?: readonly string[]
  readonly staleWhileRevalidate?: number
  readonly staleIfError?: number
  readonly maxContentSize?: number
  readonly allowedMethods?: readonly string[]
  readonly maxRequestContentSize?: number
  readonly ignoredParameters?: Parameters
  readonly secretParameters?: Parameters
  readonly matchHeaders?: readonly string[]
  readonly cacheKey?: CacheKeyFunction
  readonly allowedCodes?: ReadonlySet<string>
  readonly filter?: ResponseFilter
  readonly readOnly?: boolean
  readonly onlyIfCached?: boolean
  readonly refresh?: boolean
  readonly forceRefresh?: boolean
  readonly alwaysRevalidate?: boolean
  readonly slidingExpiration?: boolean
  readonly maxExpireAfter?: number
  readonly stripSetCookie?: boolean
  readonly mode?: Mode
  readonly missing?: 'status' | 'error'
  readonly tags?: ParsedTagSource
}

type Parsers = {
  readonly [Name in keyof Terms]-?: (
    value: unknown,
    option: string,
  ) => NonNullable<ParsedTerms[Name]>
}

/** How each term is understood, and refused. */
const PARSERS: Parsers = {
  expireAfter: parseExpirations,
  cacheControl: parseBoolean,
  partitionBy: parsePartition,
  staleWhileRevalidate: parseStaleness,
  staleIfError: parseStaleness,
  maxContentSize: parseSize,
  allowedMethods: parseMethods,
  maxRequestContentSize: parseSize,
  ignoredParameters: parseIgnored,
  secretParameters: parseSecrets,
  matchHeaders: parseMatchHeaders,
  cacheKey: parseCacheKey,
  allowedCodes: parseStatuses,
  filter: parseFilter,
  readOnly: parseBoolean,
  onlyIfCached: parseBoolean,
  refresh: parseBoolean,
  forceRefresh: parseBoolean,
  alwaysRevalidate: parseBoolean,
  slidingExpiration: parseBoolean,
  maxExpireAfter: parseCeiling,
  stripSetCookie: parseBoolean,
  mode: oneOf(['default', 'offline', 'record', 'replay']),
  missing: oneOf(['status', 'error']),
  tags: parseTagSource,
}

/** The names of all {@link Terms}. */
export const TERM_NAMES: readonly (keyof Terms)[] = Object.keys(PARSERS) as (keyof Terms)[]

/**
 * Understands terms; those that are undefined are none.
 *
 * @param where what the terms belong to, for errors
 * @throws TypeError where a name is unknown or a value malformed
 */
export function parseTerms(terms: Terms, where: string): ParsedTerms {
  checkNames(where, terms, TERM_NAMES)
  return parseTermsOf(terms, `${where}.`)
}

/** Understands those of some options that are terms. */
export function parseTermsOf(options: Terms, prefix = ''): ParsedTerms {
  const given = TERM_NAMES.filter((name) => options[name] !== undefined)
  const parsed: ParsedTerms = Object.fromEntries(
    given.map((name) => [name, PARSERS[name](options[name], prefix + name)]),
  )
  const { expireAfter, cacheControl } = parsed
  return cacheControl && expireAfter ? { ...parsed, expireAfter: asFallback(expireAfter) } : parsed
}

/** Terms within others: what they do not say, the others do; also for which status codes they do not. */
export function nestTerms(outer: ParsedTerms | undefined, inner: ParsedTerms): ParsedTerms {
  if (outer === undefined) return inner
  const nested = { ...outer, ...inner }
  const { expireAfter: otherwise } = outer
  const { expireAfter } = inner
  return expireAfter?.kind === 'by-status' && otherwise !== undefined
    ? { ...nested, expireAfter: { ...expireAfter, otherwise } }
    : nested
}

function parsePartition(value: unknown, option: string): readonly string[] {
  return value === false ? [] : parseFieldNames(value, option, 'an array of field names, or false')
}

function parseFieldNames(value: unknown, option: string, expected: string): readonly string[] {
  return parseTokens(value, option, expected).map((name) => name.toLowerCase())
}

/** Understands names as fields and methods have them. */
function parseTokens(value: unknown, option: string, expected: string): readonly string[] {
  const isName = (name: unknown) => typeof name === 'string' && isToken(name)
  return Array.isArray(value) && value.every(isName) ? value : refuse(option, expected, value)
}

function parseMethods(value: unknown, option: string): readonly string[] {
  const methods = parseTokens(value, option, 'an array of methods')
  return methods.map((method) => method.toUpperCase())
}

function parseIgnored(value: unknown, option: string): Parameters {
  return new Parameters(parseNames(value, option, 'an array of names'))
}

function parseSecrets(value: unknown, option: string): Parameters {
  const names = value === false ? [] : parseNames(value, option, 'an array of names, or false')
  return new Parameters(names, true)
}

function parseNames(value: unknown, option: string, expected: string): readonly string[] {
  const isName = (name: unknown) => typeof name === 'string' && name !== ''
  if (!Array.isArray(value) || !value.every(isName)) refuse(option, expected, value)
  const names: readonly string[] = [...value]
  // It would be taken for a pattern, and hide nothing.
  const partial = names.find((name) => name.split('.').some((part) => /[^*]\*|\*./.test(part)))
  if (partial === undefined) return names
  return refuse(option, 'names in which * stands for a whole member, as in "items.*.id"', partial)
}

function parseMatchHeaders(value: unknown, option: string): readonly string[] {
  if (value === true) return [ALL_FIELDS]
  return parseFieldNames(value, option, 'an array of field names, or true')
}

function parseCacheKey(value: unknown, option: string): CacheKeyFunction {
  return typeof value === 'function'
    ? (value as CacheKeyFunction)
    : refuse(option, 'a function', value)
}

function parseStatuses(value: unknown, option: string): ReadonlySet<string> {
  if (Array.isArray(value) && value.every(isStatus)) return new Set(value.map(String))
  return refuse(
    option,
    'an array of status codes from 200 to 599 and of classes such as "4xx"',
    value,
    1,
  )
}

function parseFilter(value: unknown, option: string): ResponseFilter {
  return typeof value === 'function'
    ? (value as ResponseFilter)
    : refuse(option, 'a function', value)
}

function parseCeiling(value: unknown, option: string): number {
  const milliseconds = parseDuration(value)
  if (milliseconds !== undefined && milliseconds >= 0) return milliseconds
  return refuse(
    option,
    'a number of milliseconds (0 or more) or a duration such as "90s" or "1h"',
    value,
  )
}

function oneOf<T extends string>(values: readonly T[]): (value: unknown, option: string) => T {
  const expected = values.map((value) => `"${value}"`).join(', ')
  return (value, option) =>
    values.includes(value as T) ? (value as T) : refuse(option, `one of ${expected}`, value)
}

/** Understands what is on or off. @throws TypeError where it is neither */
export function parseBoolean(value: unknown, option: string): boolean {
  return typeof value === 'boolean' ? value : refuse(option, 'a boolean', value)
}

/** Understands a function. @throws TypeError where it is none */
export function parseFunction<F>(value: unknown, option: string): F {
  return typeof value === 'function' ? (value as F) : refuse(option, 'a function', value)
}

/** Understands what ends something. @throws TypeError where it is no AbortSignal */
export function parseSignal(value: unknown, option: string): AbortSignal {
  return value instanceof AbortSignal ? value : refuse(option, 'an AbortSignal', value)
}

/** Refuses options with a name that is not known. @throws TypeError */
export function checkNames(who: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new TypeError(`${who}: expected an object of options, got ${inspect(options)}`)
  }
  const unknown = Object.keys(options).find((name) => !known.includes(name))
  if (unknown !== undefined) {
    throw new TypeError(`${who}: unknown option "${unknown}"; the options are ${known.join(', ')}`)
  }
}

/** @throws TypeError */
export function refuse(option: string, expected: string, value: unknown, depth = 0): never {
  throw new TypeError(`${option}: expected ${expected}, got ${inspect(value, { depth })}`)
}
