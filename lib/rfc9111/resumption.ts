import { fieldValue } from './fields.ts'
import type { Fields, ResponseMessage } from './message.ts'
import { contentRange, type Range } from './ranges.ts'
import { isStrong, strongLastModified } from './validators.ts'

/**
 * RFC 9110 §13.1.5: the fields of a request for a range of what is stored, or all of what there is instead;
 * undefined where nothing tells for certain whether that is the same byte by byte.
 */
export function resumptionFields(
  { status, fields }: Pick<ResponseMessage, 'status' | 'fields'>,
  { first, last }: Range,
  now: number,
): Readonly<Record<'range' | 'if-range', string>> | undefined {
  const validator = strongValidator(fields, now)
  if (status !== 200 || validator === undefined) return undefined
  return { range: `bytes=${first}-${last}`, 'if-range': validator.value }
}

/**
 * Where in the stored content that of an answer begins, in bytes; undefined where it is not of the same, or not
 * what has been asked for.
 *
 * @param length of the stored content, in bytes
 */
export function resumptionStart(
  { fields: stored }: Pick<ResponseMessage, 'fields'>,
  length: number,
  range: Range,
  { status, fields }: Pick<ResponseMessage, 'status' | 'fields'>,
  now: number,
): number | undefined {
  const validator = strongValidator(stored, now)
  if (validator === undefined || fieldValue(fields, validator.name) !== validator.value)
    return undefined
  if (fieldValue(fields, 'content-encoding') !== fieldValue(stored, 'content-encoding'))
    return undefined
  if (status === 206) {
    const isWanted = fieldValue(fields, 'content-range') === contentRange(range, length)
    return isWanted ? range.first : undefined
  }
  const isWhole = Number(fieldValue(fields, 'content-length') ?? length) === length
  return status === 200 && isWhole ? 0 : undefined
}

function strongValidator(fields: Fields, now: number) {
  const etag = fieldValue(fields, 'etag')
  if (etag !== undefined) return isStrong(etag) ? { name: 'etag', value: etag } : undefined
  const value = fieldValue(fields, 'last-modified')
  const isCertain = value !== undefined && strongLastModified(fields, now) !== undefined
  return isCertain ? { name: 'last-modified', value } : undefined
}
