import { fieldValue } from './fields.ts'
import type { Fields, StoredResponse } from './message.ts'
import { storedFields } from './storing.ts'
import { strongMatch, weakMatch } from './validators.ts'

/**
 * §4.3.1: the precondition fields by which the origin is asked whether one of some stored responses is
 * valid. The date serves only where there is one.
 */
export function conditionalFields(
  candidates: readonly Pick<StoredResponse, 'fields'>[],
): Readonly<Record<string, string>> {
  const etags = candidates.flatMap(({ fields }) => fieldValue(fields, 'etag') ?? [])
  const [only, ...others] = candidates
  const lastModified =
    only && others.length === 0 ? fieldValue(only.fields, 'last-modified') : undefined
  return {
    ...(etags.length > 0 && { 'if-none-match': [...new Set(etags)].join(', ') }),
    ...(lastModified !== undefined && { 'if-modified-since': lastModified }),
  }
}

/**
 * §4.3.3 and §4.3.4: the stored response that a 304 confirms, of those whose validators were sent; the
 * one whose validator it names. Where it names none, the only one. Undefined where it is about another.
 */
export function confirmed<S extends Pick<StoredResponse, 'fields'>>(
  candidates: readonly S[],
  notModified: Fields,
): S | undefined {
  const etag = fieldValue(notModified, 'etag')
  const tagged = candidates.filter(({ fields }) => fields.etag !== undefined)
  if (etag !== undefined && tagged.length > 0) {
    // An origin that compresses on the fly weakens the entity-tag of a 200, but not that of a 304.
    return tagged.find(({ fields }) => weakMatch(etag, fieldValue(fields, 'etag') as string))
  }
  const [only] = candidates
  if (only === undefined || candidates.length > 1) return undefined
  const [theirs, ours] = [notModified, only.fields].map((of) => fieldValue(of, 'last-modified'))
  return theirs === undefined || ours === undefined || theirs === ours ? only : undefined
}

/** §4.3.4: whether a 304 names a stored response by a strong validator. */
export function isNamed(stored: Fields, notModified: Fields): boolean {
  const etag = fieldValue(notModified, 'etag')
  return etag !== undefined && strongMatch(etag, fieldValue(stored, 'etag') ?? '')
}

/** Fields that describe the stored content itself; the header section of a 304 must not change them (§3.2). */
const OF_THE_CONTENT = ['content-encoding', 'content-length', 'content-range', 'content-type']

/** §3.2 and §4.3.4: the fields of a stored response, freshened with those of an answer that confirmed it. */
export function freshenedFields(stored: Fields, confirmation: Fields): Fields {
  const update = Object.entries(storedFields({ fields: confirmation })).filter(
    // An entity-tag that stands for the stored one may be stronger than its content deserves.
    ([name]) => !OF_THE_CONTENT.includes(name) && !(name === 'etag' && stored.etag !== undefined),
  )
  // The age that the response had gained before it was validated is over (§4.2.3).
  const { age: _, ...kept } = stored
  return { ...kept, ...Object.fromEntries(update) }
}

/**
 * §4.3.5: whether the answer to a HEAD request is about the same content as a stored response to GET:
 * neither its validators nor its length say otherwise.
 *
 * @param length of the stored content, where it is known
 */
export function agreesWithHead(stored: Fields, length: number | undefined, head: Fields): boolean {
  for (const name of ['etag', 'last-modified']) {
    if (head[name] !== undefined && fieldValue(head, name) !== fieldValue(stored, name))
      return false
  }
  const announced = fieldValue(head, 'content-length')
  return announced === undefined || length === undefined || announced === String(length)
}
