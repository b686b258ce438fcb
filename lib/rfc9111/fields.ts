import type { Fields } from './message.ts'

/** Request fields that hold credentials, whatever else does. */
export const CREDENTIALS: readonly string[] = ['authorization', 'cookie', 'proxy-authorization']

/** The value of a field, its lines combined with commas (RFC 9110 §5.3); undefined where absent. */
export function fieldValue(fields: Fields, name: string): string | undefined {
  // `Vary` may nominate any name, even that of a property which every object has.
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined
  if (value === undefined) return undefined
  return typeof value === 'string' ? value : value.join(', ')
}

/** RFC 9110 §8.6: how many bytes of content a response announces; undefined where it does not. */
export function announcedSize(
  method: string,
  { status, fields }: { readonly status: number; readonly fields: Fields },
): number | undefined {
  if (method === 'HEAD' || status === 204 || status === 304) return 0
  const length = fieldValue(fields, 'content-length')
  return length !== undefined && /^\d+$/.test(length) ? Number(length) : undefined
}

/** Fields without some of them. */
export function withoutFields(fields: Fields, names: readonly string[]): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)))
}

/**
 * The members of a comma-separated list (RFC 9110 §5.6.1); commas in quoted strings do not separate. A
 * quote that is never closed quotes nothing, so that it hides nothing either.
 */
export function listMembers(value: string): string[] {
  const members: string[] = []
  let start = 0
  let quote = -1
  let isQuoting = true
  for (let index = 0; index <= value.length; index++) {
    const character = value[index]
    if (quote !== -1 && character === undefined) {
      index = quote
      quote = -1
      isQuoting = false
    } else if (quote !== -1 && character === '\\' && index + 1 < value.length) index++
    else if (character === '"' && isQuoting) quote = quote === -1 ? index : -1
    else if (quote === -1 && (character === undefined || character === ',')) {
      const member = value.slice(start, index).trim()
      if (member !== '') members.push(member)
      start = index + 1
    }
  }
  return members
}

/** Whether a text is a token (RFC 9110 §5.6.2), as the names of fields are. */
export function isToken(text: string): boolean {
  return /^[\w!#$%&'*+.^`|~-]+$/.test(text)
}

/** Whether a text can be the value of a field (RFC 9110 §5.5), or a reason phrase: its characters are bytes. */
export function isFieldText(text: string): boolean {
  return /^[\t -~\x80-\xff]*$/.test(text)
}

/** The largest delta-seconds that a recipient must be able to represent (§1.2.2), in seconds. */
const MAX_DELTA_SECONDS = 2 ** 31

/** Parses delta-seconds (§1.2.2) into milliseconds; undefined where the value is not a number of seconds. */
export function parseDeltaSeconds(value: string): number | undefined {
  if (!/^\d+$/.test(value)) return undefined
  return Math.min(Number(value), MAX_DELTA_SECONDS) * 1000
}

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec']
const MONTH = `(?<month>${MONTHS.join('|')})`
const TIME = '(?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)'
const DATE_FORMATS = [
  new RegExp(`^[a-z]{3}, (?<day>\\d\\d) ${MONTH} (?<year>\\d{4}) ${TIME} gmt$`, 'i'),
  new RegExp(`^[a-z]{6,9}, (?<day>\\d\\d)-${MONTH}-(?<year>\\d\\d) ${TIME} gmt$`, 'i'),
  new RegExp(`^[a-z]{3} ${MONTH} (?<day>[ \\d]\\d) ${TIME} (?<year>\\d{4})$`, 'i'),
]

/**
 * Parses an HTTP-date in any of its three formats (RFC 9110 §5.6.7) into milliseconds since the
 * epoch; undefined where it is not one. `now` decides the century of a two-digit year.
 */
export function parseHttpDate(value: string, now: number): number | undefined {
  for (const format of DATE_FORMATS) {
    const parts = format.exec(value)?.groups as Record<string, string> | undefined
    if (parts === undefined) continue
    const month = MONTHS.indexOf((parts.month as string).toLowerCase())
    const [day, hour, minute, second] = ['day', 'hour', 'minute', 'second'].map((name) =>
      Number(parts[name]),
    ) as [number, number, number, number]
    if (day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60) return undefined
    const inYear = (year: number) =>
      ((daysSinceEpoch(year, month, day) * 24 + hour) * 60 + minute) * 60_000 + second * 1000
    const year = Number(parts.year)
    if ((parts.year as string).length === 4) return inYear(year)
    // A two-digit year that appears to be more than 50 years in the future is in the past.
    const century = inYear(2000 + year)
    return century - now > FIFTY_YEARS ? inYear(1900 + year) : century
  }
  return undefined
}

const FIFTY_YEARS = 50 * 365.25 * 86_400_000

/** Days from 1970-01-01 to a date of the Gregorian calendar; `month` counts from 0. */
function daysSinceEpoch(year: number, month: number, day: number): number {
  const shifted = month < 2 ? year - 1 : year
  const era = Math.floor(shifted / 400)
  const yearOfEra = shifted - era * 400
  const dayOfYear = Math.floor((153 * ((month + 10) % 12) + 2) / 5) + day - 1
  const dayOfEra =
    yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return era * 146_097 + dayOfEra - 719_468
}
