import { inspect } from 'node:util'
import { type Expiration, type Lifetime, parseExpiration, parseStaleness } from './expiration.ts'
import { ALL_FIELDS } from './key/fields.ts'
import type { CacheKeyFunction } from './key/identity.ts'
import { Parameters } from './key/parameters.ts'
import { isToken } from './rfc9111/fields.ts'
import { parseSize, type Size } from './size.ts'

/** The configuration that applies to one request. All of it can be written as JSON. */
export interface Terms {
  /**
   * How long responses are fresh, whatever the origin says. For the agent as a whole it is what
   * applies where nothing more specific does, and with `cacheControl: true` only the fallback for
   * responses that say nothing themselves.
   */
  readonly expireAfter?: Expiration
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
   * Methods and credentials are told apart in any case. A request passes by where it throws.
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
}

/** Terms that have been understood: durations in milliseconds, sizes in bytes, names in their one case. */
export interface ParsedTerms {
  readonly expireAfter?: Lifetime
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
}

type Parsers = {
  readonly [Name in keyof Terms]-?: (
    value: unknown,
    option: string,
  ) => NonNullable<ParsedTerms[Name]>
}

/** How each term is understood, and refused. */
const PARSERS: Parsers = {
  expireAfter: parseExpiration,
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
  return Object.fromEntries(
    given.map((name) => [name, PARSERS[name](options[name], prefix + name)]),
  )
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
  return Array.isArray(value) && value.every(isName) ? [...value] : refuse(option, expected, value)
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

/** Understands what is on or off. @throws TypeError where it is neither */
export function parseBoolean(value: unknown, option: string): boolean {
  return typeof value === 'boolean' ? value : refuse(option, 'a boolean', value)
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
export function refuse(option: string, expected: string, value: unknown): never {
  throw new TypeError(`${option}: expected ${expected}, got ${inspect(value, { depth: 0 })}`)
}
