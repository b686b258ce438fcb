import type { Dispatcher } from 'undici'
import { parseDuration } from '../expiration.ts'
import { parseCount } from '../size.ts'
import { checkNames, parseBoolean, parseFunction, parseSignal, refuse } from '../terms.ts'
import type { FoundLink } from './links.ts'

/** What to precache: URLs, and sitemaps for the URLs that they list. */
export type PrecacheTarget = PrecacheUrl | Iterable<PrecacheUrl>

/** An absolute http or https URL, or a sitemap: XML, an index of sitemaps, or a URL a line, also compressed by gzip. */
export type PrecacheUrl = string | URL | { readonly sitemap: string | URL }

/** Where a URL was found. */
export interface FoundAt {
  /** The document; undefined for a URL that was given. */
  readonly from: string | undefined
  /** How many links away from what was given. */
  readonly depth: number
}

/** The options of {@link HttpCache.precache}. */
export interface PrecacheOptions {
  /**
   * Which links are followed: those to pages (`a`, `area`, `iframe`, `link rel=next`, …), to what is loaded
   * with them (images, scripts, style sheets and what those load, …), to both, or those for which a
   * function returns true.
   *
   * @default 'all'
   */
  readonly links?: 'all' | 'pages' | 'assets' | ((link: FoundLink) => boolean)
  /**
   * How many links away from what is given: 0 for nothing else, 1 for what it links, `Infinity` for all that
   * can be reached.
   *
   * @default 1
   */
  readonly depth?: number
  /**
   * Whether links to other origins are left out: `true` for all, `'pages'` for all but assets, `false` for
   * none. A redirect is followed wherever it leads, but not the links of a page of another origin.
   *
   * @default true
   */
  readonly sameOrigin?: boolean | 'pages'
  /** Whether a URL is to be fetched; one for which it throws counts as failed. */
  readonly filter?: (url: URL, found: FoundAt) => boolean
  /**
   * How many URLs are fetched at most, including those that are in the cache already.
   *
   * @default 10_000
   */
  readonly limit?: number
  /**
   * How many requests are under way at a time.
   *
   * @default 16
   */
  readonly concurrency?: number
  /**
   * How many requests to the same origin are under way at a time.
   *
   * @default 6
   */
  readonly perOrigin?: number
  /**
   * Whether `robots.txt` (RFC 9309; as `caching-agent`, or as the `User-Agent` among `headers`),
   * `Crawl-delay` up to 10 seconds, `rel=nofollow` and `<meta name=robots>` are obeyed. What is in the
   * cache already is nobody else's business.
   *
   * @default true
   */
  readonly robots?: boolean
  /**
   * How long an origin may keep silent: milliseconds, or a duration such as `'30s'`. A response that does not
   * say how long it is has ten times as long to end.
   *
   * @default '30s'
   */
  readonly timeout?: number | string
  /**
   * How often a request is repeated that was answered with 429 or 503, after what `Retry-After` asks for (an
   * origin that asks for more than a minute is left alone), or whose connection broke.
   *
   * @default 2
   */
  readonly retry?: number
  /**
   * Request fields besides those of `fetch`. Other origins than those that were given get only
   * `Accept…` and `User-Agent` of them.
   */
  readonly headers?: Readonly<Record<string, string>>
  /** Ends it: the promise is rejected with the signal's reason. What has been stored stays; call again to go on. */
  readonly signal?: AbortSignal
  /** Told after each URL; what it throws ends precaching. */
  readonly onProgress?: (progress: PrecacheProgress) => void
  /**
   * What makes the requests, with this cache in it.
   *
   * @default the agent that the cache was made for
   */
  readonly dispatcher?: Pick<Dispatcher, 'dispatch'>
}

/** How far {@link HttpCache.precache} has come. */
export interface PrecacheProgress {
  /** How many URLs have been found. */
  readonly found: number
  /** With how many of them it is through. */
  readonly done: number
  readonly stored: number
  readonly present: number
  readonly failed: number
  readonly bytes: number
  /** The URL that was done last. */
  readonly url: string
}

/** Options that have been understood: durations in milliseconds. */
export interface ParsedPrecacheOptions {
  readonly links: (link: FoundLink) => boolean
  readonly depth: number
  readonly sameOrigin: boolean | 'pages'
  readonly filter: (url: URL, found: FoundAt) => boolean
  readonly limit: number
  readonly concurrency: number
  readonly perOrigin: number
  readonly robots: boolean
  readonly timeout: number
  readonly retry: number
  readonly headers: Headers
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: PrecacheProgress) => void
  readonly dispatcher?: Pick<Dispatcher, 'dispatch'>
}

type Parsers = {
  readonly [Name in keyof PrecacheOptions]-?: (
    value: unknown,
    option: string,
  ) => NonNullable<ParsedPrecacheOptions[Name]>
}

/** How each option is understood, and refused. */
const PARSERS: Parsers = {
  links: parseLinks,
  depth: parseNumber,
  sameOrigin: (value, option) => (value === 'pages' ? value : parseBoolean(value, option)),
  filter: parseFunction<ParsedPrecacheOptions['filter']>,
  limit: parseCount,
  concurrency: parseCount,
  perOrigin: parseCount,
  robots: parseBoolean,
  timeout: parseTimeout,
  retry: parseNumber,
  headers: parseHeaders,
  signal: parseSignal,
  onProgress: parseFunction<NonNullable<ParsedPrecacheOptions['onProgress']>>,
  dispatcher: parseDispatcher,
}

const DEFAULTS: ParsedPrecacheOptions = {
  links: () => true,
  depth: 1,
  sameOrigin: true,
  filter: () => true,
  limit: 10_000,
  concurrency: 16,
  perOrigin: 6,
  robots: true,
  timeout: 30_000,
  retry: 2,
  headers: new Headers(),
}

/** The longest that a timer can be set for, in milliseconds. */
const MAX_TIMEOUT = 2 ** 31 - 1

/**
 * Understands the options of precaching; those that are undefined are none.
 *
 * @throws TypeError where a name is unknown or a value malformed
 */
export function parsePrecacheOptions(options: PrecacheOptions): ParsedPrecacheOptions {
  const names = Object.keys(PARSERS) as (keyof PrecacheOptions)[]
  checkNames('precache', options, names)
  const given = names.filter((name) => options[name] !== undefined)
  const parsed = given.map((name) => [name, PARSERS[name](options[name], `precache.${name}`)])
  return { ...DEFAULTS, ...Object.fromEntries(parsed) }
}

function parseLinks(value: unknown, option: string): ParsedPrecacheOptions['links'] {
  if (value === 'all') return DEFAULTS.links
  if (value === 'pages') return ({ kind }) => kind === 'page'
  if (value === 'assets') return ({ kind }) => kind === 'asset'
  if (typeof value === 'function') return value as ParsedPrecacheOptions['links']
  return refuse(option, "'all', 'pages', 'assets' or a function", value)
}

function parseNumber(value: unknown, option: string): number {
  const isNumber = Number.isInteger(value) || value === Infinity
  if (isNumber && (value as number) >= 0) return value as number
  return refuse(option, 'a whole number of 0 or more, or Infinity', value)
}

function parseTimeout(value: unknown, option: string): number {
  const milliseconds = parseDuration(value)
  const isTimeout = milliseconds !== undefined && milliseconds > 0 && milliseconds <= MAX_TIMEOUT
  if (isTimeout) return milliseconds
  return refuse(
    option,
    `a number of milliseconds or a duration such as "30s", more than 0 and at most ${MAX_TIMEOUT} ms`,
    value,
  )
}

function parseHeaders(value: unknown, option: string): Headers {
  try {
    if (typeof value === 'object') return new Headers(value as Record<string, string>)
  } catch {}
  return refuse(option, 'request fields by name', value)
}

function parseDispatcher(value: unknown, option: string): Pick<Dispatcher, 'dispatch'> {
  const { dispatch } = (value ?? {}) as Partial<Dispatcher>
  if (typeof dispatch === 'function') return value as Dispatcher
  return refuse(option, 'an undici Dispatcher', value)
}

/** A URL to begin with. */
export interface Given {
  readonly url: URL
  readonly isSitemap: boolean
}

/**
 * Understands what to precache.
 *
 * @throws TypeError where something is neither an absolute http or https URL nor a sitemap
 */
export function parseTarget(target: PrecacheTarget): Given[] {
  const isOne = typeof target === 'string' || target instanceof URL || isSitemap(target)
  if (isOne) return [parseGiven(target)]
  const isMany = typeof target === 'object' && target !== null && Symbol.iterator in target
  return isMany ? [...target].map(parseGiven) : refuse('precache', EXPECTED, target)
}

const EXPECTED = 'absolute http or https URLs, or { sitemap: URL }'

function parseGiven(given: PrecacheUrl): Given {
  const sitemap = isSitemap(given)
  const text = sitemap ? given.sitemap : given
  const isText = typeof text === 'string' || text instanceof URL
  const url = isText ? URL.parse(String(text)) : null
  if (!/^https?:$/.test(url?.protocol ?? '')) refuse('precache', EXPECTED, given)
  return { url: url as URL, isSitemap: sitemap }
}

function isSitemap(value: unknown): value is { readonly sitemap: string | URL } {
  return typeof value === 'object' && value !== null && 'sitemap' in value
}
