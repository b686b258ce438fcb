import { listMembers } from './fields.ts'
import type { Fields } from './message.ts'

/** A part of some content: the positions of its first and its last byte. */
export interface Range {
  readonly first: number
  readonly last: number
}

/** A part that is asked for (RFC 9110 §14.1.2): the last `suffix` bytes, or those from `first` to `last` or to the end. */
export type RangeSpecifier =
  | { readonly first: number; readonly last: number }
  | { readonly suffix: number }

/** The value of `Range` (RFC 9110 §14.2); undefined where it is malformed or its unit is not bytes. */
export function parseRange(value: string): readonly RangeSpecifier[] | undefined {
  const set = /^bytes=(.*)$/is.exec(value.trim())?.[1]
  const specifiers = listMembers(set ?? '').map(parseSpecifier)
  return specifiers.length > 0 && isComplete(specifiers) ? specifiers : undefined
}

function isComplete<T>(values: readonly (T | undefined)[]): values is readonly T[] {
  return !values.includes(undefined)
}

function parseSpecifier(text: string): RangeSpecifier | undefined {
  const [, first, last] = /^(\d*)-(\d*)$/.exec(text) ?? []
  if (first === undefined || last === undefined || first + last === '') return undefined
  if (first === '') return { suffix: Number(last) }
  const range = { first: Number(first), last: last === '' ? Infinity : Number(last) }
  return range.first <= range.last ? range : undefined
}

/** Ranges this close to one another are answered as one, in bytes: the head of a part is no shorter. */
const GAP = 80

/**
 * RFC 9110 §14.1.2 and §15.3.7.2: the parts of content of a known length that are asked for, in the
 * order asked for. Those that overlap, or nearly touch, become one. Empty where none can be satisfied.
 */
export function satisfiableRanges(specifiers: readonly RangeSpecifier[], length: number): Range[] {
  const ranges = specifiers.map((specifier) => resolve(specifier, length)).filter(isPart)
  let merged: Range[] = []
  for (const range of ranges) {
    const near = merged.filter((other) => isNear(range, other))
    const all = [...near, range]
    const whole = {
      first: Math.min(...all.map(({ first }) => first)),
      last: Math.max(...all.map(({ last }) => last)),
    }
    // It stands where the first of those stood that it is made of.
    const [place] = near
    merged = place
      ? merged.flatMap((other) => (other === place ? whole : near.includes(other) ? [] : other))
      : [...merged, range]
  }
  return merged
}

function isNear(a: Range, b: Range): boolean {
  return a.first <= b.last + GAP && b.first <= a.last + GAP
}

function resolve(specifier: RangeSpecifier, length: number): Range {
  if ('suffix' in specifier) {
    return { first: Math.max(0, length - specifier.suffix), last: length - 1 }
  }
  return { first: specifier.first, last: Math.min(specifier.last, length - 1) }
}

function isPart({ first, last }: Range): boolean {
  return first <= last
}

/** `Content-Range` of a part (RFC 9110 §14.4); without a part, of content that has none such. */
export function contentRange(range: Range | undefined, length: number): string {
  return `bytes ${range ? `${range.first}-${range.last}` : '*'}/${length}`
}

/** The number of bytes in a range. */
export function rangeLength({ first, last }: Range): number {
  return last - first + 1
}

/**
 * RFC 9110 §14.6: content that consists of several parts: ranges of the stored content, and the text
 * before, between and after them.
 */
export function multipart(
  fields: Fields,
  ranges: readonly Range[],
  length: number,
  boundary: string,
): (Range | string)[] {
  const type = fields['content-type']
  const contentType = type === undefined ? '' : `Content-Type: ${type}\r\n`
  const parts = ranges.flatMap((range, index) => [
    `${index === 0 ? '' : '\r\n'}--${boundary}\r\n${contentType}Content-Range: ${contentRange(range, length)}\r\n\r\n`,
    range,
  ])
  return [...parts, `\r\n--${boundary}--\r\n`]
}
