import { fieldValue, parseHttpDate, withoutFields } from './fields.ts'
import { dateValue } from './freshness.ts'
import type { Fields, RequestMessage, StoredResponse } from './message.ts'
import {
  contentRange,
  multipart,
  parseRange,
  type Range,
  rangeLength,
  satisfiableRanges,
} from './ranges.ts'
import { entityTags, strongLastModified, strongMatch, weakMatch } from './validators.ts'

/** What of a stored response answers a request that may be answered with it. */
export type Answer =
  | { readonly kind: 'whole' }
  /** The caller has it already: 304. */
  | { readonly kind: 'not-modified' }
  /** Only what was asked for: 206. */
  | { readonly kind: 'parts'; readonly ranges: readonly Range[]; readonly length: number }
  /** It has none of what was asked for: 416. */
  | { readonly kind: 'no-part'; readonly length: number }
  /** It takes the origin to answer. */
  | { readonly kind: 'none' }

const WHOLE: Answer = { kind: 'whole' }

/** More parts than this are not worth their heads; the origin decides what to do about them. */
const MAX_PARTS = 16

/**
 * §4.3.2 and RFC 9110 §13.2.2: evaluates the preconditions of a request, and its `Range` (§14.2),
 * against the stored response that is to answer it.
 *
 * @param length of the stored content; undefined while it is still arriving
 */
export function answer(
  { method, fields }: RequestMessage,
  stored: StoredResponse,
  length: number | undefined,
): Answer {
  // RFC 9110 §13.2.1: conditions are about successful responses.
  if (stored.status < 200 || stored.status > 299) return WHOLE
  if (isNotModified(fields, stored)) return { kind: 'not-modified' }

  // A stored part is the answer to exactly this range, if the caller has not begun with another content.
  if (stored.status === 206) return { kind: isSameContent(fields, stored) ? 'whole' : 'none' }
  const range = fieldValue(fields, 'range')
  if (method !== 'GET' || stored.status !== 200 || range === undefined) return WHOLE
  if (!isSameContent(fields, stored)) return { kind: 'whole' }
  const specifiers = parseRange(range)
  if (specifiers === undefined || length === undefined) return { kind: 'none' }
  // RFC 9110 §14.1.2: the end of nothing is nothing, which no part can express.
  const isEnd = specifiers.some((specifier) => 'suffix' in specifier && specifier.suffix > 0)
  if (length === 0 && isEnd) return { kind: 'whole' }
  const ranges = satisfiableRanges(specifiers, length)
  if (ranges.length === 0) return { kind: 'no-part', length }
  // A coding is one of the whole content; of parts in one multipart content it would be misunderstood.
  const isTooMuch = ranges.length > (stored.fields['content-encoding'] ? 1 : MAX_PARTS)
  return isTooMuch ? { kind: 'none' } : { kind: 'parts', ranges, length }
}

/** RFC 9110 §13.1.2 and §13.1.3: `If-Modified-Since` counts only where there is no `If-None-Match`. */
function isNotModified(fields: Fields, stored: StoredResponse): boolean {
  const tags = fieldValue(fields, 'if-none-match')
  if (tags !== undefined) {
    const known = entityTags(tags)
    const etag = fieldValue(stored.fields, 'etag')
    return known === '*' || (etag !== undefined && known.some((tag) => weakMatch(tag, etag)))
  }
  const { responseTime } = stored
  if (fields['if-modified-since'] === undefined) return false
  const since = parseHttpDate(fieldValue(fields, 'if-modified-since') ?? '', responseTime)
  const modified = parseHttpDate(fieldValue(stored.fields, 'last-modified') ?? '', responseTime)
  return since !== undefined && (modified ?? dateValue(stored.fields, responseTime)) <= since
}

/** RFC 9110 §13.1.5: whether `If-Range` names the stored content, by a strong validator. */
function isSameContent(fields: Fields, stored: StoredResponse): boolean {
  const validator = fieldValue(fields, 'if-range')
  if (validator === undefined) return true
  const etag = fieldValue(stored.fields, 'etag')
  const date = parseHttpDate(validator, stored.responseTime)
  if (date === undefined) return etag !== undefined && strongMatch(validator, etag)
  return date === strongLastModified(stored.fields, stored.responseTime)
}

/** Fields that describe the content (RFC 9110 §8), which whoever has the content knows. */
const OF_THE_CONTENT = new Set([
  'content-digest',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-length',
  'content-md5',
  'content-range',
  'content-type',
  'repr-digest',
])

/** Digests of the content of one message (RFC 9530 §2). */
const OF_THE_MESSAGE = ['content-digest', 'content-md5']

/** RFC 9110 §15.4.5: the fields of a 304 for a stored response. */
export function notModifiedFields(stored: Fields): Fields {
  const isNamed = stored.etag !== undefined
  return Object.fromEntries(
    Object.entries(stored).filter(
      ([name]) => !OF_THE_CONTENT.has(name) && !(isNamed && name === 'last-modified'),
    ),
  )
}

/**
 * RFC 9110 §15.3.7: the fields of a 206 with parts of a stored response: several are sent as multipart
 * content with a boundary. Who asks with `If-Range` has those of the content already.
 */
export function partialFields(
  request: Pick<RequestMessage, 'fields'>,
  stored: Fields,
  ranges: readonly Range[],
  length: number,
  boundary: string,
): Fields {
  const isKnown = request.fields['if-range'] !== undefined
  const kept = isKnown ? notModifiedFields(stored) : withoutFields(stored, OF_THE_MESSAGE)
  const [only, ...others] = ranges
  if (only && others.length === 0) {
    return {
      ...kept,
      'content-length': String(rangeLength(only)),
      'content-range': contentRange(only, length),
    }
  }
  const pieces = multipart(stored, ranges, length, boundary)
  const lengths = pieces.map((piece) =>
    typeof piece === 'string' ? piece.length : rangeLength(piece),
  )
  return {
    ...kept,
    'content-length': String(lengths.reduce((sum, one) => sum + one, 0)),
    'content-type': `multipart/byteranges; boundary=${boundary}`,
  }
}

/** RFC 9110 §15.5.17: the fields of a 416 for a stored response, whose freshness is not that of the answer. */
export function noPartFields(stored: Fields, length: number): Fields {
  return {
    ...(stored.date !== undefined && { date: stored.date }),
    'content-length': '0',
    'content-range': contentRange(undefined, length),
  }
}
