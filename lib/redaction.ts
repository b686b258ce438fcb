import { decodeComponent } from './key/form.ts'
import type { Fields } from './rfc9111/message.ts'

/** What is shown in place of a value that is neither stored nor told. */
export const REDACTED = 'REDACTED'

/** A value of a request that is neither stored nor told: one that does not matter, or a secret. */
export interface HiddenValue {
  /** Which one it is: requests that share a key have the same ones, if not with the same values. */
  readonly label: string
  readonly name: string
  /** As it was understood, and as it was written. */
  readonly value: string
  readonly raw: string
  readonly isSecret: boolean
}

/** How many values of one request are looked for in the fields of its response. */
const MAX_HIDDEN = 100

/** Collects hidden values, and labels them. */
export class HiddenValues {
  readonly all: HiddenValue[]

  constructor(values: readonly HiddenValue[] = []) {
    this.all = [...values]
  }

  add(
    kind: 'query' | 'field' | 'content',
    name: string,
    value: string,
    isSecret: boolean,
    raw: string = value,
  ): void {
    if (this.all.length === MAX_HIDDEN) return
    const prefix = `${kind} ${encodeURIComponent(name.toWellFormed())}`
    const count = this.all.filter(({ label }) => label.startsWith(`${prefix} `)).length
    this.all.push({ label: `${prefix} ${count}`, name, value, raw, isSecret })
  }
}

/**
 * A URL without the values of those of its parameters that are to be hidden, and otherwise as it is.
 *
 * @param isHidden told the name of a parameter as it is meant
 */
export function redactQuery(url: string, isHidden: (name: string) => boolean): string {
  const start = url.indexOf('?')
  if (start === -1) return url
  const query = url.slice(start + 1).split('&')
  const redacted = query.map((pair) => {
    const end = pair.indexOf('=')
    const name = pair.slice(0, end)
    return end !== -1 && isHidden(decodeComponent(name)) ? `${name}=${REDACTED}` : pair
  })
  return `${url.slice(0, start)}?${redacted.join('&')}`
}

/**
 * What stands for a hidden value in the fields of a stored response. No field as it comes from the network
 * has such characters.
 */
const MARK = /‹([^‹›]*);(\w+)›/g

/** The ways to write a value, of which a response may repeat any. */
const WRITERS = {
  raw: ({ raw }: HiddenValue) => raw,
  plain: ({ value }: HiddenValue) => latin1(value),
  component: ({ value }: HiddenValue) => encodeURIComponent(value.toWellFormed()),
  form: ({ value }: HiddenValue) => new URLSearchParams([['', value]]).toString().slice(1),
} as const

/** The bytes of a text as they look in a field. */
function latin1(text: string): string {
  return Buffer.from(text).toString('latin1')
}

/** Fields that the cache itself reads, and that are about the response alone. */
const OF_THE_RESPONSE = new Set([
  'age',
  'cache-control',
  'cdn-cache-control',
  'content-encoding',
  'content-length',
  'content-range',
  'content-type',
  'date',
  'etag',
  'expires',
  'last-modified',
  'vary',
])

/** How long a value is that is recognised anywhere; a shorter one is only as a parameter of a URL. */
const MIN_LENGTH = { secret: 4, ignored: 8 }

/**
 * The fields of a response with marks in place of the values of its request that are to be hidden. The same
 * object, where it repeats none.
 */
export function hideValues(fields: Fields, hidden: readonly HiddenValue[]): Fields {
  const marks = new Map<string, string>()
  const patterns: { readonly text: string; readonly pattern: string }[] = []
  for (const one of hidden) {
    for (const [way, write] of Object.entries(WRITERS)) {
      const text = write(one)
      if (text === '' || marks.has(text)) continue
      marks.set(text, `‹${one.label};${way}›`)
      patterns.push({ text, pattern: patternOf(one, text) })
    }
  }
  if (patterns.length === 0) return fields
  // Of two that begin at the same place the longer one counts.
  patterns.sort((a, b) => b.text.length - a.text.length)
  const pattern = new RegExp(patterns.map((one) => one.pattern).join('|'), 'g')
  return mapValues(fields, (value, name) =>
    OF_THE_RESPONSE.has(name) ? value : value.replace(pattern, (text) => marks.get(text) as string),
  )
}

function patternOf({ name, isSecret }: HiddenValue, text: string): string {
  const value = escapePattern(text)
  if (text.length >= (isSecret ? MIN_LENGTH.secret : MIN_LENGTH.ignored)) {
    return `(?<![a-zA-Z\\d])${value}(?![a-zA-Z\\d])`
  }
  const names = [name, encodeURIComponent(name.toWellFormed())].map(escapePattern).join('|')
  return `(?<=[?&;](?:${names})=)${value}(?=[&;#>"',\\s]|$)`
}

/** A pattern that matches a text and nothing else. */
export function escapePattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&')
}

/**
 * Puts the values of a request into the fields of a response that was stored for it, or for one that shares
 * its key.
 *
 * @returns undefined where it has not all that it takes
 */
export function revealValues(fields: Fields, hidden: readonly HiddenValue[]): Fields | undefined {
  let isComplete = true
  const revealed = mapValues(fields, (value) =>
    value.replace(MARK, (mark, label: string, way: string) => {
      const found = hidden.find((one) => one.label === label)
      isComplete &&= found !== undefined
      return found ? WRITERS[way as keyof typeof WRITERS](found) : mark
    }),
  )
  return isComplete ? revealed : undefined
}

/** The fields of a stored response as they are shown to those who have no request for it. */
export function redactFields(fields: Fields): Fields {
  return mapValues(fields, (value) => value.replace(MARK, REDACTED))
}

/** Fields with other values; the same object, where none is another one. */
function mapValues(fields: Fields, change: (value: string, name: string) => string): Fields {
  const changed: Record<string, string | string[]> = {}
  let isChanged = false
  for (const [name, value] of Object.entries(fields)) {
    const lines = [value].flat().map((line) => change(line, name))
    changed[name] = typeof value === 'string' ? (lines[0] as string) : lines
    isChanged ||= String(lines) !== String(value)
  }
  return isChanged ? changed : fields
}
