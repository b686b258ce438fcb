import { domainToASCII } from 'node:url'
import { inspect } from 'node:util'
import picomatch from 'picomatch'
import {
  type Expiration,
  expiresAt,
  type Lifetime,
  parseExpiration,
  parseStaleness,
} from './expiration.ts'
import { normalisePercentEncoding } from './key.ts'
import { checkTerms, type Terms, type UrlMatcher, type UrlRules } from './options.ts'
import { responseDirectives } from './rfc9111/cache-control.ts'
import { explicitLifetime } from './rfc9111/freshness.ts'
import type { ResponseFields } from './rfc9111/message.ts'
import type { ReuseTerms } from './rfc9111/reuse.ts'
import { parseSize } from './size.ts'

/** What decides about the responses to one request. */
export interface RequestTerms extends ReuseTerms {
  /** What the request's own terms or a rule for its URL say: it decides against the origin. */
  readonly rule: Lifetime | undefined
  /** Whether the response's own fields decide where there is no rule. */
  readonly cacheControl: boolean
  /** What applies where nothing else does. */
  readonly fallback: Lifetime | undefined
  /** How much content is stored, in bytes; `Infinity` for any. */
  readonly maxContentSize: number
}

/** The rules of an agent, ready to be asked. */
export interface Rules {
  /** The terms for a URL; `own` are those of the request itself. */
  termsFor(url: URL, own: Terms | undefined): RequestTerms
}

const DEFAULT_PARTITION = ['authorization', 'cookie']

/**
 * Prepares the rules of an agent.
 *
 * @throws TypeError where a pattern or its value is malformed
 */
export function compileRules(options: Terms & { readonly urlsExpireAfter?: UrlRules }): Rules {
  const fallback =
    options.expireAfter === undefined
      ? undefined
      : parseExpiration(options.expireAfter, 'expireAfter')
  const rules = rulePairs(options.urlsExpireAfter).map(([matcher, value]) => {
    const where = `urlsExpireAfter[${inspect(matcher, { depth: 0 })}]`
    return { matches: compileMatcher(matcher, where), terms: termsOf(value, where) }
  })

  /** Resolved terms, which most requests share. */
  const resolved = new Map<Terms | undefined, RequestTerms>()

  return {
    termsFor(url, own) {
      const rule = rules.find(({ matches }) => matches(url))?.terms
      if (own !== undefined) return resolve(own, rule)
      const known = resolved.get(rule) ?? resolve(own, rule)
      resolved.set(rule, known)
      return known
    },
  }

  function resolve(own: Terms | undefined, rule: Terms | undefined): RequestTerms {
    const expireAfter = own?.expireAfter ?? rule?.expireAfter
    const maxContentSize = own?.maxContentSize ?? rule?.maxContentSize ?? options.maxContentSize
    const partitionBy =
      own?.partitionBy ?? rule?.partitionBy ?? options.partitionBy ?? DEFAULT_PARTITION
    return {
      rule: expireAfter === undefined ? undefined : parseExpiration(expireAfter, 'expireAfter'),
      cacheControl:
        own?.cacheControl ?? rule?.cacheControl ?? options.cacheControl ?? fallback === undefined,
      fallback,
      partitionBy: partitionBy === false ? [] : partitionBy.map((name) => name.toLowerCase()),
      staleWhileRevalidate: staleness('staleWhileRevalidate', own, rule, options),
      staleIfError: staleness('staleIfError', own, rule, options),
      maxContentSize: parseSize(maxContentSize ?? Infinity, 'maxContentSize'),
    }
  }
}

/** The most specific of several terms about the use of stale responses, in milliseconds. */
function staleness(
  name: 'staleWhileRevalidate' | 'staleIfError',
  ...terms: readonly (Terms | undefined)[]
): number | undefined {
  const value = terms.find((each) => each?.[name] !== undefined)?.[name]
  return value === undefined ? undefined : parseStaleness(value, name)
}

function rulePairs(rules: UrlRules | undefined): (readonly [UrlMatcher, Expiration | Terms])[] {
  if (rules === undefined) return []
  if (typeof rules !== 'object' || rules === null) {
    throw new TypeError(
      `urlsExpireAfter: expected an object, a Map or an array of pairs, got ${inspect(rules)}`,
    )
  }
  if (!(Symbol.iterator in rules)) return Object.entries(rules)
  return [...rules].map((pair) => {
    if (Array.isArray(pair) && pair.length === 2) return pair as [UrlMatcher, Expiration | Terms]
    throw new TypeError(`urlsExpireAfter: expected pairs [pattern, value], got ${inspect(pair)}`)
  })
}

function termsOf(value: unknown, where: string): Terms {
  if (typeof value === 'object' && value !== null && !(value instanceof Date)) {
    checkTerms(value, where)
    return value
  }
  parseExpiration(value, where)
  return { expireAfter: value as Expiration }
}

/**
 * The expiration that a rule of the user gives to a response, in the one order of precedence: the
 * request's terms or the rule for its URL; the response's own fields, if they decide; the fallback.
 * Undefined where the origin (or a heuristic) decides.
 *
 * @returns milliseconds since the epoch, or 'do-not-cache'
 */
export function expirationByRule(
  terms: RequestTerms,
  response: ResponseFields,
  responseTime: number,
): number | 'do-not-cache' | undefined {
  const saysSomething = terms.cacheControl && isExplicit(response, responseTime)
  const lifetime = terms.rule ?? (saysSomething ? undefined : terms.fallback)
  if (lifetime === undefined) return terms.cacheControl ? undefined : 'do-not-cache'
  return lifetime.kind === 'do-not-cache' ? 'do-not-cache' : expiresAt(lifetime, responseTime)
}

/** Whether the fields of a response say anything about storing it or about its freshness. */
function isExplicit(response: ResponseFields, responseTime: number): boolean {
  const directives = responseDirectives(response)
  return (
    directives.has('no-store') ||
    directives.has('no-cache') ||
    (response.shared === true && directives.has('private')) ||
    explicitLifetime(response, responseTime) !== undefined
  )
}

/**
 * Prepares one matcher.
 *
 * @param where what the matcher belongs to, for the error
 * @throws TypeError where it is malformed
 */
export function compileMatcher(matcher: UrlMatcher, where: string): (url: URL) => boolean {
  if (typeof matcher === 'string') return compilePattern(matcher, where)
  if (typeof matcher === 'function') {
    return (url) => {
      const matches: unknown = matcher(new URL(url))
      if (typeof matches === 'boolean') return matches
      throw new TypeError(
        `${where}: expected the function to return a boolean, got ${inspect(matches)}`,
      )
    }
  }
  // Unlike `test`, `search` does not remember where the last match of a global expression ended.
  if (matcher instanceof RegExp) return (url) => url.href.search(matcher) !== -1
  if (typeof matcher?.test === 'function') return (url) => matcher.test(url.href)
  throw new TypeError(
    `${where}: expected a pattern, a RegExp, a URLPattern or a function, got ${inspect(matcher)}`,
  )
}

const PATTERN =
  /^(?:(?<scheme>[a-z*][a-z\d+.*-]*):\/\/)?(?<host>\[[\da-f:.]+\]|[^:/?#[\]@\s]*)(?::(?<port>\d+|\*))?(?<path>\/[^?#]*)?(?:\?(?<query>[^#]*))?$/i

/** A glob for URLs: it is matched part by part, never as one string. */
function compilePattern(pattern: string, where: string): (url: URL) => boolean {
  if (pattern === '') return () => true
  const parts = PATTERN.exec(pattern)?.groups
  const { scheme, host = '', port, path, query } = parts ?? {}
  const isPossible = host === '' ? (scheme ?? port) === undefined : isHost(host)
  if (parts === undefined || !isPossible) {
    throw new TypeError(
      `${where}: expected a URL pattern such as "example.com/path", "*.example.com" or "*", got ${inspect(pattern)}`,
    )
  }
  const tests = [
    scheme && matchScheme(scheme),
    host && matchHost(host),
    port && port !== '*' && matchPort(port),
    path && matchPath(path),
    query !== undefined && matchQuery(query),
  ].filter((test) => typeof test === 'function')
  return (url) => tests.every((test) => test(url))
}

type UrlTest = (url: URL) => boolean

/** What makes a text a glob. Parentheses alone do not: paths have them. */
const GLOB = /[*?{}[\]\\]|[+@!]\(/

function glob(pattern: string, options?: picomatch.PicomatchOptions): (text: string) => boolean {
  if (!GLOB.test(pattern)) return (text) => text === pattern
  const escaped = pattern.replace(/(?<![*?+@!])\(([^()]*)\)/g, '\\($1\\)')
  return picomatch(escaped, { dot: true, nonegate: true, strictSlashes: true, ...options })
}

function matchScheme(pattern: string): UrlTest {
  const matches = glob(pattern.toLowerCase())
  return (url) => matches(url.protocol.slice(0, -1))
}

function isHostGlob(host: string): boolean {
  return !host.startsWith('[') && GLOB.test(host)
}

/** A label of a host that is a glob: in ASCII, and with nothing in braces that ends in another label. */
const LABEL_GLOB = /^(?:[!-z|~]|\{[!-z|~]+\})+$/

/** Whether a URL can have such a host at all. */
function isHost(host: string): boolean {
  if (!isHostGlob(host)) return domainToASCII(host) !== ''
  return host
    .split('.')
    .every((label) => (GLOB.test(label) ? LABEL_GLOB.test(label) : asciiLabel(label) !== ''))
}

/** Label by label, so that `*` never crosses a dot; a leading `*.` stands for one label or more. */
function matchHost(pattern: string): UrlTest {
  const host = pattern.toLowerCase().replace(/^\*+(?=\.|$)/, '*')
  if (host === '*') return () => true
  if (!isHostGlob(host)) {
    const ascii = domainToASCII(host)
    return (url) => url.hostname === ascii
  }
  const anySubdomain = host.startsWith('*.')
  const labels = (anySubdomain ? host.slice(2) : host)
    .split('.')
    .map((label) => glob(asciiLabel(label)))
  return (url) => {
    const actual = url.hostname.split('.')
    const extra = actual.length - labels.length
    if (anySubdomain ? extra < 1 : extra !== 0) return false
    return labels.every((matches, index) => matches(actual[extra + index] as string))
  }
}

/** A label as the URL parser writes it; one of digits alone would be taken for an address. */
function asciiLabel(label: string): string {
  return /[^!-~]/.test(label) ? domainToASCII(label) : label
}

function matchPort(port: string): UrlTest {
  const number = String(Number(port))
  return (url) => (url.port || (url.protocol === 'https:' ? '443' : '80')) === number
}

/** A glob over whole segments; what the path has after it does not matter. */
function matchPath(pattern: string): UrlTest {
  const encoded = pattern.replace(/[^!-~]+/g, (text) => encodeURIComponent(text.toWellFormed()))
  // A wildcard at the end stands for all that is below, even for nothing.
  const path = normalisePercentEncoding(encoded).replace(/\/\*+$/, '/')
  const directory = path.endsWith('/') ? path : `${path}/`
  if (!GLOB.test(path)) {
    return (url) => {
      const actual = normalisePercentEncoding(url.pathname)
      return actual === path || actual.startsWith(directory)
    }
  }
  // picomatch lets `**/` stand for no segment only at the very beginning, so without the first slash.
  const matches = glob(path.slice(1))
  const matchesBelow = glob(`${directory.slice(1)}**`)
  return (url) => {
    const actual = normalisePercentEncoding(url.pathname).slice(1)
    return matches(actual) || matchesBelow(actual)
  }
}

/** Each parameter of the pattern is there with a value that matches; further parameters do not matter. */
function matchQuery(pattern: string): UrlTest {
  const wanted = [...new URLSearchParams(pattern)].map(([name, value]) => {
    // A value has no segments, and may be empty.
    const matches = value === '*' ? () => true : glob(value, { bash: true })
    return [name, matches] as const
  })
  return (url) =>
    wanted.every(([name, matches]) => url.searchParams.getAll(name).some((value) => matches(value)))
}
