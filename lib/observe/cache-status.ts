import { listMembers } from '../rfc9111/fields.ts'
import type { ForwardReason } from '../rfc9111/reuse.ts'
import type { Outcome, Reason } from './reasons.ts'

/** What the cache did for one response. */
export interface CacheInfo {
  readonly status: Outcome
  /**
   * Why: of a miss or a bypass, of a response that was not stored, and of one that is stale. A
   * {@link Reason}, unless another version of this cache wrote it.
   */
  readonly reason: string | undefined
  /** Whether the response is being stored. */
  readonly stored: boolean
  /** The `Age` of the response, in milliseconds; undefined where it has none. */
  readonly age: number | undefined
  /** For how long the response is still fresh, in milliseconds; `Infinity` for ever, negative once it is stale. */
  readonly ttl: number | undefined
  /** When the response expires; undefined for never, and where it is not known. */
  readonly expires: Date | undefined
  /** The cache key. */
  readonly key: string | undefined
  /** Whether the answer to another request that was under way was used for this one too. */
  readonly collapsed: boolean
}

/** What the cache tells about a response in `Cache-Status` (RFC 9211). */
export interface CacheStatus {
  readonly hit?: boolean
  /** Why the request was forwarded (RFC 9211 §2.2). */
  readonly fwd?: Forward
  /** The status code of the origin's answer (§2.3). */
  readonly fwdStatus?: number
  readonly stored?: boolean
  readonly collapsed?: boolean
  /** When the response expires, in milliseconds since the epoch; `Infinity` for never. */
  readonly expires?: number
  readonly key?: string
  /** Further explanation, as a word (§2.8). */
  readonly detail?: Reason
}

/** The words for why a request was forwarded (RFC 9211 §2.2). */
export type Forward = ForwardReason | 'bypass' | 'method'

const CACHE_NAME = 'caching-agent'

/** What became of a request, of which this is told. */
export function outcomeOf(
  {
    hit,
    fwd,
    fwdStatus,
    detail,
  }: Readonly<Pick<CacheStatus, 'hit' | 'fwd' | 'fwdStatus' | 'detail'>>,
  isStale: boolean,
): Outcome {
  if (hit) return isStale ? 'stale' : 'hit'
  if (fwd === 'bypass' || fwd === 'method') return 'bypass'
  if (detail === 'stale-if-error') return 'stale'
  return fwdStatus === 304 ? 'revalidated' : 'miss'
}

/** A member of `Cache-Status`. Besides the parameters of RFC 9211 it has `expires`: a time in seconds, or `never`. */
export function formatCacheStatus(
  status: CacheStatus,
  now: number,
  key: string | undefined = status.key,
): string {
  const { expires, fwd, fwdStatus, detail } = status
  let member = CACHE_NAME
  if (status.hit) member += '; hit'
  if (fwd !== undefined) member += `; fwd=${fwd}`
  if (fwdStatus !== undefined) member += `; fwd-status=${fwdStatus}`
  if (status.stored) member += '; stored'
  if (status.collapsed) member += '; collapsed'
  if (expires === Infinity) member += '; expires=never'
  else if (expires !== undefined) {
    member += `; ttl=${Math.floor((expires - now) / 1000)}; expires=${inSeconds(expires)}`
  }
  if (key !== undefined) member += `; key="${key}"`
  if (detail !== undefined) member += `; detail=${detail}`
  return member
}

/** A time in milliseconds as seconds, with three decimals. */
function inSeconds(time: number): string {
  const milliseconds = Math.round(time)
  const rest = milliseconds % 1000
  return rest < 0
    ? (milliseconds / 1000).toFixed(3)
    : `${Math.floor(milliseconds / 1000)}.${String(rest).padStart(3, '0')}`
}

/** The header fields of a response in any of the shapes in which the ways to make a request return them. */
export interface ResponseLike {
  readonly headers:
    | { get(name: string): string | null }
    | Readonly<Record<string, string | readonly string[] | undefined>>
}

/**
 * What the cache did for a response of `fetch`, or of undici's `request`, `stream` or `pipeline`;
 * undefined where no cache was involved or its `cacheStatus` is off. Read from `Cache-Status`.
 */
export function cacheInfo(response: ResponseLike): CacheInfo | undefined {
  // Caches append to the list, so the last one is the nearest.
  const member = listMembers(header(response, 'cache-status') ?? '').findLast(isOurs)
  if (member === undefined) return undefined
  const [, ...pairs] = member.split(';').map((text) => text.trim().split('='))
  const parameters = new Map(pairs.map(([name, value = '']) => [name, value.replace(/^"|"$/g, '')]))

  const expires = parameters.get('expires')
  const time = expires === 'never' ? Infinity : expires && Math.round(Number(expires) * 1000)
  const ttl = typeof time === 'number' ? time - Date.now() : undefined
  const age = header(response, 'age')
  const told = {
    hit: parameters.has('hit'),
    fwd: parameters.get('fwd') as Forward,
    fwdStatus: Number(parameters.get('fwd-status')),
    detail: parameters.get('detail') as Reason,
  }
  return {
    status: outcomeOf(told, parameters.get('ttl')?.startsWith('-') === true),
    reason: told.detail ?? told.fwd,
    stored: parameters.has('stored'),
    age: age !== undefined && /^\d+$/.test(age) ? Number(age) * 1000 : undefined,
    ttl,
    expires: typeof time === 'number' && time !== Infinity ? new Date(time) : undefined,
    key: parameters.get('key'),
    collapsed: parameters.has('collapsed'),
  }
}

function isOurs(member: string): boolean {
  return member === CACHE_NAME || member.startsWith(`${CACHE_NAME};`)
}

function header({ headers }: ResponseLike, name: string): string | undefined {
  if (typeof headers?.get === 'function') return headers.get(name) ?? undefined
  const value = (headers as Record<string, string | readonly string[] | undefined> | undefined)?.[
    name
  ]
  return typeof value === 'string' ? value : value?.join(', ')
}
