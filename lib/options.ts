import { inspect } from 'node:util'
import type { Dispatcher } from 'undici'
import { HTTP_CACHE_OPTIONS, HttpCache, type HttpCacheOptions, parseCacheOptions } from './cache.ts'
import { type Expiration, parseExpiration, parseStaleness } from './expiration.ts'
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
   * @default ['authorization', 'cookie']
   */
  readonly partitionBy?: readonly string[] | false
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

/** What a URL must be like for a rule to apply: a glob, a RegExp, a URLPattern or a function. */
export type UrlMatcher = string | RegExp | { test(url: string): boolean } | ((url: URL) => boolean)

/** Rules in their order, the first match decides: an object by glob, or pairs (or a Map) of matcher and value. */
export type UrlRules =
  | Readonly<Record<string, Expiration | Terms>>
  | Iterable<readonly [UrlMatcher, Expiration | Terms]>

/** The options of {@link cacheInterceptor}. */
export interface CacheOptions extends Terms, HttpCacheOptions {
  /**
   * Expirations, or whole terms, by URL. Patterns match host by labels, path by whole segments, query,
   * port and scheme only where given: `'example.com/static'`, `'*.example.com'`,
   * `'https://example.com:8443/*.png'`.
   */
  readonly urlsExpireAfter?: UrlRules
  /** A cache that already exists, to be used by several agents; instead of the options of a new one. */
  readonly cache?: HttpCache
  /**
   * Whether responses tell what the cache did, in the `Cache-Status` field (RFC 9211). Without it
   * `cacheInfo` knows nothing.
   *
   * @default true
   */
  readonly cacheStatus?: boolean
}

/** The options of {@link cachingAgent}. */
export interface AgentOptions extends CacheOptions {
  /**
   * The dispatcher that sends what the cache cannot answer.
   *
   * @default a new Agent, or a new EnvHttpProxyAgent where Node's env proxy is switched on
   */
  readonly dispatcher?: Dispatcher
}

const TERMS = [
  'expireAfter',
  'cacheControl',
  'partitionBy',
  'staleWhileRevalidate',
  'staleIfError',
  'maxContentSize',
]
const CACHE_OPTIONS = [...TERMS, 'urlsExpireAfter', ...HTTP_CACHE_OPTIONS, 'cache', 'cacheStatus']
const AGENT_OPTIONS = [...CACHE_OPTIONS, 'dispatcher']

/** Refuses what {@link cachingAgent} could not make sense of. */
export function checkAgentOptions(options: AgentOptions): void {
  checkNames('cachingAgent', options, AGENT_OPTIONS)
  const { dispatcher } = options
  if (dispatcher !== undefined && typeof dispatcher?.dispatch !== 'function') {
    refuse('dispatcher', 'an undici Dispatcher', dispatcher)
  }
}

/** Refuses what {@link cacheInterceptor} could not make sense of. */
export function checkCacheOptions(options: CacheOptions, who = 'cacheInterceptor'): void {
  checkNames(who, options, who === 'cachingAgent' ? AGENT_OPTIONS : CACHE_OPTIONS)
  checkTermValues(options, '')
  checkBoolean('cacheStatus', options.cacheStatus)
  parseCacheOptions(options)
  if (options.cache !== undefined) {
    if (!(options.cache instanceof HttpCache)) refuse('cache', 'an HttpCache', options.cache)
    const settled = HTTP_CACHE_OPTIONS.find((name) => options[name] !== undefined)
    if (settled !== undefined) {
      throw new TypeError(
        `${settled} and cache exclude each other: set it where the cache is made, new HttpCache({ ${settled} })`,
      )
    }
  }
}

/** Terms with more specific ones over them; what these leave undefined stays. */
export function mergeTerms(terms: Terms | undefined, over: Terms | undefined): Terms {
  const given = Object.entries(over ?? {}).filter(([, value]) => value !== undefined)
  return { ...terms, ...Object.fromEntries(given) }
}

/** Refuses terms with unknown names or malformed values; `where` names the option they belong to. */
export function checkTerms(terms: Terms, where: string): void {
  checkNames(where, terms, TERMS)
  checkTermValues(terms, `${where}.`)
}

function checkTermValues(terms: Terms, prefix: string): void {
  const { expireAfter, cacheControl, partitionBy } = terms
  for (const name of ['staleWhileRevalidate', 'staleIfError'] as const) {
    if (terms[name] !== undefined) parseStaleness(terms[name], `${prefix}${name}`)
  }
  if (expireAfter !== undefined) parseExpiration(expireAfter, `${prefix}expireAfter`)
  checkBoolean(`${prefix}cacheControl`, cacheControl)
  if (terms.maxContentSize !== undefined) {
    parseSize(terms.maxContentSize, `${prefix}maxContentSize`)
  }
  const names = Array.isArray(partitionBy) && partitionBy.every((name) => typeof name === 'string')
  if (partitionBy !== undefined && partitionBy !== false && !names) {
    refuse(`${prefix}partitionBy`, 'an array of field names, or false', partitionBy)
  }
}

function checkNames(who: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new TypeError(`${who}: expected an object of options, got ${inspect(options)}`)
  }
  const unknown = Object.keys(options).find((name) => !known.includes(name))
  if (unknown !== undefined) {
    throw new TypeError(`${who}: unknown option "${unknown}"; the options are ${known.join(', ')}`)
  }
}

function checkBoolean(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'boolean') refuse(name, 'a boolean', value)
}

function refuse(name: string, expected: string, value: unknown): never {
  throw new TypeError(`${name}: expected ${expected}, got ${inspect(value, { depth: 0 })}`)
}
