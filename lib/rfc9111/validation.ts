import { fieldValue } from './fields.ts'
import type { Fields, StoredResponse } from './message.ts'
import { storedFields } from './storing.ts'

/** §4.3.1: the precondition fields with which a stored response is validated. */
export function conditionalFields(stored: StoredResponse): Readonly<Record<string, string>> {
  const etag = fieldValue(stored.fields, 'etag')
  const lastModified = fieldValue(stored.fields, 'last-modified')
  return {
    ...(etag !== undefined && { 'if-none-match': etag }),
    ...(lastModified !== undefined && { 'if-modified-since': lastModified }),
  }
}

/**
 * §4.3.4: whether a 304 is about a stored response. A strong validator that it names must be the stored
 * one; where it names none, it confirms the response whose validators were sent.
 */
export function isAbout(stored: Fields, notModified: Fields): boolean {
  const etag = fieldValue(notModified, 'etag')
  return etag === undefined || etag.startsWith('W/') || etag === fieldValue(stored, 'etag')
}

/** Fields that describe the stored content itself; the header section of a 304 must not change them (§3.2). */
const OF_THE_CONTENT = ['content-encoding', 'content-length', 'content-range', 'content-type']

/** §4.3.4: the fields of a stored response, freshened with those of the 304 that validated it. */
export function freshenedFields(stored: Fields, notModified: Fields): Fields {
  const update = Object.entries(storedFields(notModified)).filter(
    ([name]) => !OF_THE_CONTENT.includes(name),
  )
  // The age that the response had gained before it was validated is over (§4.2.3).
  const { age: _, ...kept } = stored
  return { ...kept, ...Object.fromEntries(update) }
}

/** RFC 9110 §13.1: the precondition fields with which a client validates what it holds itself. */
const PRECONDITIONS = [
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
]

/** Whether a request carries preconditions of its own. */
export function isConditional(fields: Fields): boolean {
  return PRECONDITIONS.some((name) => fields[name] !== undefined)
}
