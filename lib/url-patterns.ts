import { domainToASCII } from 'node:url'
import { inspect } from 'node:util'
import picomatch from 'picomatch'
import { normalisePercentEncoding } from './key.ts'

/** What a URL must be like for a rule to apply: a glob, a RegExp, a URLPattern or a function. */
export type UrlMatcher = string | RegExp | { test(url: string): boolean } | ((url: URL) => boolean)

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
