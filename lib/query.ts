import { parseDuration } from './expiration.ts'
import { isDigest } from './key.ts'
import { parseCount, parseSize, type Size } from './size.ts'
import type { Summary } from './storage/summary.ts'
import { checkNames, parseBoolean, refuse } from './terms.ts'
import { compileMatcher, type UrlMatcher } from './url-patterns.ts'

/** What stored responses can be sorted by. */
export type SortOrder = 'url' | 'size' | 'storedAt' | 'expires' | 'used'

/** One value, or several of which any will do. */
type OneOrMore<T> = T | readonly T[]

/** Which stored responses are meant: those for which all that is said here is true; and in which order. */
export interface ResponseQuery {
  /** Cache keys, as `cacheInfo` tells them. */
  readonly key?: OneOrMore<string>
  /** URLs, as a request names them: for GET and HEAD, and for the methods that are named. */
  readonly url?: OneOrMore<string | URL>
  /** What the URL is like, as in `urlsExpireAfter`: `'*.example.com/static'`, a RegExp, a URLPattern or a function. */
  readonly pattern?: OneOrMore<UrlMatcher>
  readonly method?: OneOrMore<string>
  /** Status codes such as `404`, or classes of them such as `'4xx'`. */
  readonly status?: OneOrMore<number | string>
  /** Media types without parameters, such as `'text/html'` or `'image/*'`; in any case. */
  readonly contentType?: OneOrMore<string>
  /** Whether they are fresh. */
  readonly fresh?: boolean
  /** Whether they are stale, which is the opposite of fresh. */
  readonly stale?: boolean
  /** The same as `stale`. */
  readonly expired?: boolean
  /** Received, or last validated, longer ago than this: milliseconds or a duration such as `'7d'`; or before a `Date`. */
  readonly olderThan?: number | string | Date
  /**
   * Not used for as long as this: milliseconds, or a duration such as `'30d'`. The time of the last use is
   * known to SQLite and memory stores; what other processes use they note within the hour.
   */
  readonly unusedFor?: number | string
  /** With more content than this: a number of bytes, or a size such as `'10MB'`. */
  readonly largerThan?: Size
  /** Tags, as the term `tags` gives them to responses. */
  readonly tag?: OneOrMore<string>
  /**
   * The smallest, earliest or least recently used comes first.
   *
   * @default no order
   */
  readonly sort?: SortOrder
  /** Whether the last comes first. */
  readonly descending?: boolean
  /**
   * How many at most, in their order.
   *
   * @default Infinity
   */
  readonly limit?: number
}

/** Status codes from one to another, both included. */
export interface StatusRange {
  readonly first: number
  readonly last: number
}

/** What must be true of the responses that are meant. */
export interface Conditions {
  readonly cacheKeys?: ReadonlySet<string>
  readonly patterns?: readonly ((url: URL) => boolean)[]
  readonly methods?: readonly string[]
  readonly statuses?: readonly StatusRange[]
  /** Media types, or the beginnings of some, up to their slash. */
  readonly contentTypes?: readonly string[]
  readonly isFresh?: boolean
  /** In milliseconds since the epoch. */
  readonly storedBefore?: number
  readonly usedBefore?: number
  readonly largerThan?: number
  readonly tags?: readonly string[]
}

/** A {@link ResponseQuery} that has been understood. */
export interface ParsedQuery {
  readonly conditions: Conditions
  readonly sort?: SortOrder
  readonly descending: boolean
  readonly limit: number
}

const SORT_ORDERS: readonly SortOrder[] = ['url', 'size', 'storedAt', 'expires', 'used']

const ORDER: readonly Order[] = ['sort', 'descending', 'limit']

/** What is known of the cache where a query is understood. */
export interface QueryContext {
  /** The cache keys of what is stored for the URLs of the query, as far as they are known already. */
  readonly keysOfUrls?: ReadonlySet<string> | undefined
  /** In milliseconds since the epoch. */
  readonly now: number
}

type Order = 'sort' | 'descending' | 'limit'

type ConditionParser<Name extends keyof ResponseQuery> = (
  value: NonNullable<ResponseQuery[Name]>,
  context: QueryContext,
) => Conditions

/** How each condition is understood, and refused. */
const PARSERS: {
  readonly [Name in Exclude<keyof ResponseQuery, Order>]-?: ConditionParser<Name>
} = {
  key: (value) => ({ cacheKeys: new Set(texts(value, 'key', 'a cache key').filter(isDigest)) }),
  url: (value, { keysOfUrls = new Set() }) => {
    checkUrls(list(value))
    return { cacheKeys: keysOfUrls }
  },
  pattern: (value) => ({
    patterns: list<UrlMatcher>(value).map((matcher) =>
      // What somebody forgot to fill in does not mean everything.
      matcher === ''
        ? refuse('pattern', 'a pattern such as "*"', '')
        : compileMatcher(matcher, 'pattern'),
    ),
  }),
  method: (value) => ({
    methods: texts(value, 'method', 'a method').map((method) => method.toUpperCase()),
  }),
  status: (value) => ({ statuses: list<number | string>(value).map(parseStatus) }),
  contentType: (value) => ({ contentTypes: list<string>(value).map(parseContentType) }),
  fresh: (value) => ({ isFresh: parseBoolean(value, 'fresh') }),
  stale: (value) => ({ isFresh: !parseBoolean(value, 'stale') }),
  expired: (value) => ({ isFresh: !parseBoolean(value, 'expired') }),
  olderThan: (value, { now }) => ({ storedBefore: parseTime(value, 'olderThan', now) }),
  unusedFor: (value, { now }) => {
    if (typeof value !== 'number' && typeof value !== 'string') refuse('unusedFor', DURATION, value)
    return { usedBefore: parseTime(value, 'unusedFor', now) }
  },
  largerThan: (value) => ({ largerThan: value === 0 ? 0 : parseSize(value, 'largerThan') }),
  tag: (value) => ({ tags: texts(value, 'tag', 'a tag') }),
}

const CONDITIONS = Object.keys(PARSERS) as (keyof typeof PARSERS)[]

/**
 * Understands which responses are meant.
 *
 * @param who what the query is for, for errors
 * @throws TypeError where a name is unknown, a value malformed, or two of them exclude each other
 */
export function parseQuery(query: ResponseQuery, who: string, context: QueryContext): ParsedQuery {
  checkNames(who, query, [...CONDITIONS, ...ORDER])
  const { sort, descending = false, limit = Infinity } = query
  if (sort !== undefined && !SORT_ORDERS.includes(sort)) {
    refuse('sort', SORT_ORDERS.map((name) => `"${name}"`).join(' or '), sort)
  }
  return {
    conditions: parseConditions(query, context),
    ...(sort !== undefined && { sort }),
    descending: parseBoolean(descending, 'descending'),
    limit: parseCount(limit, 'limit'),
  }
}

function parseConditions(query: ResponseQuery, context: QueryContext): Conditions {
  let parsed: Conditions = {}
  for (const name of CONDITIONS) {
    const value = query[name]
    if (value === undefined) continue
    const part = (PARSERS[name] as ConditionParser<typeof name>)(value as never, context)
    if (part.isFresh !== undefined && parsed.isFresh === !part.isFresh) {
      throw new TypeError('fresh, stale and expired: no response is fresh and stale')
    }
    parsed = { ...parsed, ...part, ...bothKeys(parsed, part) }
  }
  return parsed
}

/** The cache keys that a key and a URL have in common. */
function bothKeys({ cacheKeys: a }: Conditions, { cacheKeys: b }: Conditions): Conditions {
  return a && b ? { cacheKeys: new Set([...a].filter((key) => b.has(key))) } : {}
}

const DURATION = 'a number of milliseconds (0 or more) or a duration such as "90s" or "7d"'

function list<T>(value: OneOrMore<T>): readonly T[] {
  return Array.isArray(value) ? value : [value as T]
}

function texts(value: unknown, name: string, expected: string): readonly string[] {
  return list(value).map((text) =>
    typeof text === 'string' && text !== '' ? text : refuse(name, `${expected}, or several`, text),
  )
}

/** @throws TypeError where one is no URL */
function checkUrls(urls: readonly unknown[]): void {
  for (const url of urls) if (!URL.canParse(String(url))) refuse('url', 'absolute URLs', url)
}

function parseStatus(status: unknown): StatusRange {
  if (Number.isInteger(status) && (status as number) >= 100 && (status as number) <= 999) {
    return { first: status as number, last: status as number }
  }
  const [, digit] = (typeof status === 'string' && /^([1-9])xx$/i.exec(status)) || []
  if (digit === undefined) refuse('status', 'a status code such as 404, or "4xx"', status)
  return { first: Number(digit) * 100, last: Number(digit) * 100 + 99 }
}

function parseContentType(type: unknown): string {
  const isType = typeof type === 'string' && /^[\w!#$&^.+-]+\/([\w!#$&^.+-]+|\*)$/.test(type)
  if (!isType) refuse('contentType', 'a media type such as "text/html" or "image/*"', type)
  return type.toLowerCase().replace(/\*$/, '')
}

/** A time in milliseconds since the epoch, of which a Date or how long ago it was is told. */
function parseTime(value: unknown, name: string, now: number): number {
  const time = value instanceof Date ? value.getTime() : now - (parseAge(value) ?? Number.NaN)
  return Number.isNaN(time) ? refuse(name, DURATION, value) : time
}

function parseAge(value: unknown): number | undefined {
  const age = parseDuration(value)
  return age !== undefined && age >= 0 ? age : undefined
}

/** Whether all conditions are true of a response. */
export function matches(summary: Summary, conditions: Conditions, now: number): boolean {
  const { cacheKeys, methods, statuses, contentTypes, isFresh, tags } = conditions
  const { storedBefore, usedBefore, largerThan } = conditions
  const { status, contentType, usedAt } = summary
  if (cacheKeys && !cacheKeys.has(summary.cacheKey)) return false
  if (methods && !methods.includes(summary.method)) return false
  if (statuses && !statuses.some(({ first, last }) => status >= first && status <= last)) {
    return false
  }
  if (contentTypes && !contentTypes.some((type) => isOfType(contentType, type))) return false
  if (isFresh !== undefined && now < summary.expires !== isFresh) return false
  if (storedBefore !== undefined && summary.storedAt >= storedBefore) return false
  if (usedBefore !== undefined && (usedAt ?? Infinity) >= usedBefore) return false
  if (largerThan !== undefined && summary.size <= largerThan) return false
  if (tags && !tags.some((tag) => summary.tags.includes(tag))) return false
  return matchesPatterns(summary.url, conditions)
}

/** The cache keys that a query means, if it says nothing else. */
export function onlyKeys({
  conditions,
  sort,
  limit,
}: ParsedQuery): ReadonlySet<string> | undefined {
  const isOnly = Object.keys(conditions).length === 1 && sort === undefined && limit === Infinity
  return isOnly ? conditions.cacheKeys : undefined
}

/** Whether a query may mean what is being received at the moment: it is fresh, and has just been used. */
export function mayMeanNew({ conditions, limit }: ParsedQuery): boolean {
  const { isFresh, storedBefore, usedBefore } = conditions
  const isOld = isFresh === false || storedBefore !== undefined || usedBefore !== undefined
  return !isOld && limit === Infinity
}

function isOfType(contentType: string, wanted: string): boolean {
  return wanted.endsWith('/') ? contentType.startsWith(wanted) : contentType === wanted
}

/** Whether a URL is like one of the patterns, if there are any. */
export function matchesPatterns(url: string, { patterns }: Conditions): boolean {
  if (patterns === undefined) return true
  const parsed = URL.parse(url)
  return parsed !== null && patterns.some((isMatch) => isMatch(parsed))
}
