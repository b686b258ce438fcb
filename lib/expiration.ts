import { inspect } from 'node:util'
import ms from 'ms'
import { parseHttpDate } from './rfc9111/fields.ts'

/**
 * How long a response is fresh:
 *
 * - a number of milliseconds; `0` means {@link EXPIRE_IMMEDIATELY}, `-1` and `Infinity` mean {@link NEVER_EXPIRE};
 * - a duration with its unit, such as `'90s'`, `'1h'` or `'7 days'`;
 * - a point in time, as a `Date`, as an HTTP-date, or as `JSON.stringify` writes a `Date`;
 * - one of the constants {@link NEVER_EXPIRE}, {@link EXPIRE_IMMEDIATELY} and {@link DO_NOT_CACHE}.
 */
export type Expiration = number | string | Date

/** A class of status codes (RFC 9110 §15). */
export type StatusClass = '2xx' | '3xx' | '4xx' | '5xx'

/**
 * Expirations by the status code of the response: of one code, of a class, or with `'*'` of all others.
 * A code counts before its class, and a class before `'*'`.
 */
export type ExpirationByStatus = Readonly<Partial<Record<number | StatusClass | '*', Expiration>>>

/** The response stays fresh for ever. */
export const NEVER_EXPIRE = -1

/** The response is stored only if it has a validator (ETag or Last-Modified), and validated at each use. */
export const EXPIRE_IMMEDIATELY = 0

/** The cache is neither read nor written; what is stored already stays as it is. */
export const DO_NOT_CACHE = 'do-not-cache'

/** An {@link Expiration} that has been understood. */
export type Lifetime = (
  | { readonly kind: 'duration'; readonly milliseconds: number }
  | { readonly kind: 'until'; readonly time: number }
  | { readonly kind: 'do-not-cache' }
) & {
  /** Whether it is only for responses that say nothing themselves, if their own fields decide at all. */
  readonly isFallback?: true
}

/** Lifetimes by status code, by class such as `'4xx'`, and by `'*'` for all others. */
export interface LifetimeByStatus {
  readonly kind: 'by-status'
  readonly lifetimes: ReadonlyMap<string, Lifetime>
  /** What applies to status codes without an entry. */
  readonly otherwise?: Lifetime | LifetimeByStatus
}

/**
 * Understands an expiration.
 *
 * @param option the name of the option, for the error
 * @param others what the option may be besides, for the error
 * @throws TypeError where the value is not an expiration
 */
export function parseExpiration(value: unknown, option: string, others = ''): Lifetime {
  const lifetime = understand(value)
  if (lifetime !== undefined) return lifetime
  const hint =
    typeof value === 'string' && /^\s*[\d.]+\s*$/.test(value) ? ' (say the unit, as in "60s")' : ''
  throw new TypeError(
    `${option}: expected a number of milliseconds (0 or more, -1 for never), a duration such as "90s", "1h" or "7 days", ` +
      `a Date, an HTTP-date, NEVER_EXPIRE, EXPIRE_IMMEDIATELY or DO_NOT_CACHE${others}, got ${inspect(value)}${hint}`,
  )
}

/** The name of a status code that may be stored, or of a class of them. */
const STATUS = /^[2-5](\d\d|xx)$/

/** Whether a value is a status code that may be stored, or a class of them. */
export function isStatus(value: unknown): boolean {
  return STATUS.test(String(value)) && (typeof value === 'number' || typeof value === 'string')
}

/** Whether a value is an expiration for each of some status codes, even if a malformed one. */
export function isByStatus(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || value instanceof Date) return false
  return Object.keys(value).some((name) => name === '*' || isStatus(name))
}

/** What an expiration may be besides one for all status codes. */
const BY_STATUS = ', or several by status code such as { 404: "1m", "5xx": "5s", "*": "1h" }'

/**
 * Understands an expiration, or one for each of some status codes.
 *
 * @param option the name of the option, for the error
 * @throws TypeError where the value is neither
 */
export function parseExpirations(value: unknown, option: string): Lifetime | LifetimeByStatus {
  if (!isByStatus(value)) return parseExpiration(value, option, BY_STATUS)
  const lifetimes = new Map<string, Lifetime>()
  for (const [name, expiration] of Object.entries(value)) {
    if (expiration === undefined) continue
    if (name !== '*' && !isStatus(name)) {
      throw new TypeError(
        `${option}: expected status codes such as 404, classes such as "5xx", or "*" for all others, got ${inspect(name)}`,
      )
    }
    lifetimes.set(name, parseExpiration(expiration, `${option}[${inspect(name)}]`))
  }
  return { kind: 'by-status', lifetimes }
}

/** A lifetime that is only for responses that say nothing themselves. */
export function asFallback(lifetime: Lifetime | LifetimeByStatus): Lifetime | LifetimeByStatus {
  if (lifetime.kind !== 'by-status') return { ...lifetime, isFallback: true }
  const lifetimes = [...lifetime.lifetimes].map(
    ([name, one]) => [name, { ...one, isFallback: true }] as const,
  )
  return { ...lifetime, lifetimes: new Map(lifetimes) }
}

/** Whether a status code is one of some codes and classes, which are named as in {@link ExpirationByStatus}. */
export function isAmong(status: number, names: { has(name: string): boolean }): boolean {
  return names.has(String(status)) || names.has(statusClass(status))
}

function statusClass(status: number): string {
  return `${Math.floor(status / 100)}xx`
}

/** The lifetime of responses with a status code; undefined where none is said. */
export function lifetimeOf(
  lifetime: Lifetime | LifetimeByStatus | undefined,
  status: number,
): Lifetime | undefined {
  if (lifetime?.kind !== 'by-status') return lifetime
  const { lifetimes, otherwise } = lifetime
  const found = lifetimes.get(String(status)) ?? lifetimes.get(statusClass(status))
  return found ?? lifetimes.get('*') ?? lifetimeOf(otherwise, status)
}

/** Whether an expiration has an entry for a status code or its class. `'*'` is for others, and names none. */
export function namesStatus(
  lifetime: Lifetime | LifetimeByStatus | undefined,
  status: number,
): boolean {
  if (lifetime?.kind !== 'by-status') return false
  const { lifetimes, otherwise } = lifetime
  return isAmong(status, lifetimes) || namesStatus(otherwise, status)
}

/**
 * Understands for how long stale responses may be used.
 *
 * @param option the name of the option, for the error
 * @returns milliseconds: `Infinity` for any time, 0 for never
 * @throws TypeError where the value is neither a boolean nor a duration
 */
export function parseStaleness(value: unknown, option: string): number {
  if (typeof value === 'boolean') return value ? Infinity : 0
  const milliseconds = parseDuration(value)
  if (milliseconds !== undefined && milliseconds >= 0) return milliseconds
  throw new TypeError(
    `${option}: expected true, false, a number of milliseconds (0 or more) or a duration such as "90s" or "1h", got ${inspect(value)}`,
  )
}

function understand(value: unknown): Lifetime | undefined {
  if (value === DO_NOT_CACHE) return { kind: 'do-not-cache' }
  if (value === NEVER_EXPIRE) return { kind: 'duration', milliseconds: Infinity }
  if (typeof value === 'number') return duration(value)
  if (value instanceof Date) return pointInTime(value.getTime())
  if (typeof value === 'string') return duration(textDuration(value)) ?? pointInTime(dateOf(value))
  return undefined
}

function duration(milliseconds: number | undefined): Lifetime | undefined {
  return milliseconds !== undefined && milliseconds >= 0
    ? { kind: 'duration', milliseconds }
    : undefined
}

function pointInTime(time: number | undefined): Lifetime | undefined {
  return time === undefined || Number.isNaN(time) ? undefined : { kind: 'until', time }
}

/** A duration in milliseconds: a number of them, or a text with a unit; undefined where it is neither. */
export function parseDuration(value: unknown): number | undefined {
  if (typeof value === 'number' && !Number.isNaN(value)) return value
  return typeof value === 'string' ? textDuration(value) : undefined
}

/** A number without a unit could be meant in seconds or in milliseconds, so it is no duration. */
function textDuration(text: string): number | undefined {
  if (!/^\s*[\d.]+\s*[a-z]+\s*$/i.test(text)) return undefined
  return ms(text.trim() as ms.StringValue) as number | undefined
}

/** An HTTP-date, or what `JSON.stringify` makes of a `Date`. */
function dateOf(text: string): number | undefined {
  if (/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/.test(text)) return Date.parse(text)
  return parseHttpDate(text, Date.now())
}

/** The latest time that a `Date` can hold. */
const LATEST = 8.64e15

/**
 * The time at which a response received at `responseTime` expires, in milliseconds since the epoch;
 * `Infinity` for never, and for later than a `Date` can tell.
 */
export function expiresAt(
  lifetime: Exclude<Lifetime, { kind: 'do-not-cache' }>,
  responseTime: number,
): number {
  const time = lifetime.kind === 'until' ? lifetime.time : responseTime + lifetime.milliseconds
  return time > LATEST ? Infinity : time
}
