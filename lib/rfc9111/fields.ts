import type { Fields } from './message.ts'
import { remembering } from './remembering.ts'

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
const MONTH = `(${MONTHS.join('|')})`
const TIME = '(\\d\\d):(\\d\\d):(\\d\\d)'

/** The formats of dates, and where in a match day, month, year, hour, minute and second are. */
const DATE_FORMATS = [
  [new RegExp(`^[a-z]{3}, (\\d\\d) ${MONTH} (\\d{4}) ${TIME} gmt$`, 'i'), [1, 2, 3, 4, 5, 6]],
  [new RegExp(`^[a-z]{6,9}, (\\d\\d)-${MONTH}-(\\d\\d) ${TIME} gmt$`, 'i'), [1, 2, 3, 4, 5, 6]],
  [new RegExp(`^[a-z]{3} ${MONTH} ([ \\d]\\d) ${TIME} (\\d{4})$`, 'i'), [2, 1, 6, 3, 4, 5]],
] as const

/**
 * Parses an HTTP-date in any of its three formats (RFC 9110 §5.6.7) into milliseconds since the
 * epoch; undefined where it is not one. `now` decides the century of a two-digit year.
 */
export function parseHttpDate(value: string, now: number): number | undefined {
  const date = dateOf(value)
  if (date === undefined || date.time !== undefined) return date?.time
  // A two-digit year that appears to be more than 50 years in the future is in the past.
  const century = date.inYear(2000 + date.year)
  return century - now > FIFTY_YEARS ? date.inYear(1900 + date.year) : century
}

/** A date as it is written: `time` is missing where that leaves the century open. */
interface WrittenDate {
  readonly time: number | undefined
  readonly year: number
  inYear(year: number): number
}

const dateOf = remembering((text: string): WrittenDate | undefined => {
  for (const [format, places] of DATE_FORMATS) {
    const match = format.exec(text)
    if (match === null) continue
    const part = (index: number) => match[places[index] as number] as string
    const month = MONTHS.indexOf(part(1).toLowerCase())
    const day = Number(part(0))
    const hour = Number(part(3))
    const minute = Number(part(4))
    const second = Number(part(5))
    if (day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60) return undefined
    const inYear = (year: number) =>
      ((daysSinceEpoch(year, month, day) * 24 + hour) * 60 + minute) * 60_000 + second * 1000
    const year = Number(part(2))
    return { time: part(2).length === 4 ? inYear(year) : undefined, year, inYear }
  }
  return undefined
})

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
