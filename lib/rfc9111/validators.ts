import { fieldValue, parseHttpDate } from './fields.ts'
import type { Fields } from './message.ts'

/**
 * The members of a list of entity-tags (RFC 9110 §8.8.3), each as it is written; '*' for any. Unlike in
 * a quoted string, a backslash has no meaning in an entity-tag.
 */
export function entityTags(value: string): readonly string[] | '*' {
  if (value.trim() === '*') return '*'
  const members = value.match(/(?:[^,"]|"[^"]*"?)+/g) ?? []
  return members.map((member) => member.trim()).filter((member) => member !== '')
}

/** RFC 9110 §8.8.3.2: whether two entity-tags are equivalent by weak comparison. */
export function weakMatch(a: string, b: string): boolean {
  return opaqueTag(a) === opaqueTag(b)
}

/** RFC 9110 §8.8.3.2: whether two entity-tags are equivalent by strong comparison. */
export function strongMatch(a: string, b: string): boolean {
  return a === b && isStrong(a)
}

/**
 * Whether an entity-tag says that the content is the same byte by byte (RFC 9110 §8.8.1). What is no
 * entity-tag at all says less.
 */
export function isStrong(entityTag: string): boolean {
  return entityTag.startsWith('"')
}

function opaqueTag(entityTag: string): string {
  return entityTag.startsWith('W/') ? entityTag.slice(2) : entityTag
}

/** How much later than its modification a response must have been sent for its date to be strong, in milliseconds. */
const STRONG_DATE_MARGIN = 1000

/**
 * RFC 9110 §8.8.2.2: `Last-Modified` where it is a strong validator: the origin's clock was well past
 * it when the response was sent. Undefined where it is weak, missing or not a date.
 */
export function strongLastModified(fields: Fields, now: number): number | undefined {
  const modified = parseHttpDate(fieldValue(fields, 'last-modified') ?? '', now)
  const date = parseHttpDate(fieldValue(fields, 'date') ?? '', now)
  if (modified === undefined || date === undefined) return undefined
  return date - modified >= STRONG_DATE_MARGIN ? modified : undefined
}
