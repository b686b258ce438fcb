import { fieldValue } from './fields.ts'
import type { Fields, StoredResponse } from './message.ts'
import { storedFields } from './storing.ts'
import { strongMatch, weakMatch } from './validators.ts'

/** The stored responses that a validation is about. */
export interface Validation<S extends Pick<StoredResponse, 'fields'> = StoredResponse> {
  /** The one that is for the request. Without one the candidates are for other requests. */
  readonly stored: S | undefined
  /** Those of which the origin is asked whether one is valid for the request. */
  readonly candidates: readonly S[]
}

/**
 * §4.3.1: the precondition fields by which the origin is asked whether one of some stored responses is
 * valid. A date tells no variants apart.
 */
export function conditionalFields<S extends Pick<StoredResponse, 'fields'>>({
  stored,
  candidates,
}: Validation<S>): Readonly<Record<string, string>> {
  const etags = candidates
    .map(({ fields }) => fieldValue(fields, 'etag'))
    // As a condition it would mean any response.
    .filter((etag) => etag !== undefined && etag !== '*')
  const lastModified = stored && fieldValue(stored.fields, 'last-modified')
  return {
    ...(etags.length > 0 && { 'if-none-match': [...new Set(etags)].join(', ') }),
    ...(lastModified !== undefined && { 'if-modified-since': lastModified }),
  }
}

/**
 * §4.3.3 and §4.3.4: the stored response that a 304 confirms: the one for the request, unless the 304
 * has a validator that is not its; or the one for other requests that it names by a strong entity-tag.
 */
export function confirmed<S extends Pick<StoredResponse, 'fields'>>(
  { stored, candidates }: Validation<S>,
  notModified: Fields,
): S | undefined {
  if (stored === undefined) {
    return candidates.find((candidate) => isNamed(candidate.fields, notModified))
  }
  for (const name of ['etag', 'last-modified']) {
    const [theirs, ours] = [notModified, stored.fields].map((fields) => fieldValue(fields, name))
    if (theirs === undefined || ours === undefined) continue
    // An origin that compresses on the fly weakens the entity-tag of a 200, but not that of a 304.
    return weakMatch(theirs, ours) ? stored : undefined
  }
  return stored
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
 * §4.3.5: whether the answer to a HEAD request is about the same content as a stored response to GET. It takes a
 * validator to tell: that both say nothing, or that the length is the same, is no evidence.
 *
 * @param length of the stored content, where it is known
 */
export function comparedWithHead(
  stored: Fields,
  length: number | undefined,
  head: Fields,
): 'same' | 'other' | 'unknown' {
  const announced = fieldValue(head, 'content-length')
  const known = length === undefined ? fieldValue(stored, 'content-length') : String(length)
  if (announced !== undefined && known !== undefined && announced !== known) return 'other'
  const validators = ['etag', 'last-modified']
    .map((name) => [fieldValue(head, name), fieldValue(stored, name)] as const)
    .filter(([theirs]) => theirs !== undefined)
  if (validators.some(([theirs, ours]) => ours !== undefined && theirs !== ours)) return 'other'
  const areAllKnown = validators.every(([, ours]) => ours !== undefined)
  return validators.length > 0 && areAllKnown ? 'same' : 'unknown'
}
