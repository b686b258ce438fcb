import { createHmac } from 'node:crypto'
import { LRUCache } from '../lru.ts'
import { type HiddenValue, HiddenValues, redactQuery } from '../redaction.ts'
import { CREDENTIALS, fieldValue } from '../rfc9111/fields.ts'
import type { Fields } from '../rfc9111/message.ts'
import { nominate } from '../rfc9111/vary.ts'
import { type Parameters, SECRET_FIELDS } from './parameters.ts'

/**
 * What a request has besides its own fields, in the eyes of the cache: no field has such a name. All of
 * {@link SECRET_FIELDS} in one;
 */
export const OTHER_CREDENTIALS = ':credentials'
/** which of the fields it has whose values do not matter; */
export const PRESENT_FIELDS = ':present'
/** all its fields in one. */
export const ALL_FIELDS = ':fields'

/** By what fields requests are told apart besides what `Vary` says. */
export interface FieldTerms {
  /** The fields that hold credentials. */
  readonly partitionBy: readonly string[]
  /** Further fields by which all responses are kept apart. */
  readonly matchHeaders: readonly string[]
  /** Fields of which nothing but a keyed hash is compared and kept. */
  readonly protectedFields: ReadonlySet<string>
  /** Fields of which it matters whether they are there, and not what they say. */
  readonly presentFields: readonly string[]
  readonly ignoredParameters: Parameters
  readonly secretParameters: Parameters
}

/** Whether the fields of a request cannot be compared and kept as they are. */
export function needProtection(
  fields: Fields,
  terms: FieldTerms,
  hidden: readonly HiddenValue[],
): boolean {
  const { matchHeaders, protectedFields } = terms
  for (const name in fields) {
    if (protectedFields.has(name)) return true
    if (hidden.length > 0 && repeats(String(fields[name]), hidden)) return true
    if (name === 'referer' && hasHiddenParameter(String(fields[name]), terms)) return true
  }
  return matchHeaders.length > 0 && matchHeaders.includes(ALL_FIELDS)
}

/**
 * The fields of a request as the cache compares and keeps them: with a keyed hash in place of what must not
 * be told. The secret belongs to the store, so the hashes of two stores have nothing in common.
 *
 * @param hidden further values that must not be told, where a field repeats a parameter
 */
export function protectFields(
  fields: Fields,
  terms: FieldTerms,
  secret: Buffer,
  hidden: readonly HiddenValue[] = [],
): Fields {
  const safe: Record<string, string | readonly string[]> = Object.create(null)
  for (const [name, value] of Object.entries(fields)) {
    const isProtected =
      terms.protectedFields.has(name) ||
      repeats(String(value), hidden) ||
      (name === 'referer' && hasHiddenParameter(String(value), terms))
    safe[name] = isProtected ? hashValue(value, secret) : value
  }
  const others = SECRET_FIELDS.filter((name) => fields[name] !== undefined)
  if (others.length > 0) {
    safe[OTHER_CREDENTIALS] = hashValue(
      others.map((name) => [name, fields[name]]),
      secret,
    )
  }
  const present = terms.presentFields.filter((name) => fields[name] !== undefined)
  if (present.length > 0) safe[PRESENT_FIELDS] = present.join()
  if (terms.matchHeaders.includes(ALL_FIELDS)) {
    const names = Object.keys(fields).filter(
      (name) => !OF_THE_MESSAGE.has(name) && !terms.ignoredParameters.hasField(name),
    )
    const all = nominate(names.sort(), { method: '', url: '', fields: safe })
    safe[ALL_FIELDS] = hashValue(Object.entries(all), secret)
  }
  return safe
}

/** Fields that are about the message and its way, about conditions, and about what is in the key already. */
const OF_THE_MESSAGE = new Set([
  'cache-control',
  'connection',
  'content-encoding',
  'content-language',
  'content-length',
  'content-type',
  'date',
  'expect',
  'host',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'keep-alive',
  'pragma',
  'proxy-connection',
  'range',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])

/**
 * All values of a request that are neither stored nor told.
 *
 * @param hidden those that are not in its fields
 */
export function hiddenValues(
  fields: Fields,
  hidden: readonly HiddenValue[],
  { protectedFields, ignoredParameters }: FieldTerms,
): readonly HiddenValue[] {
  const values = new HiddenValues(hidden)
  for (const name in fields) {
    if (!protectedFields.has(name)) continue
    const value = fieldValue(fields, name) ?? ''
    const isSecret = !ignoredParameters.hasField(name)
    values.add('field', name, value, isSecret)
    // RFC 9110 §11.4: what comes after the scheme may be repeated without it.
    if (name === 'authorization') values.add('field', name, value.replace(/^\S+\s+/, ''), isSecret)
  }
  return values.all
}

/** Whether a URL has a parameter whose value must not be told: that of a page need not be one of the request. */
function hasHiddenParameter(
  url: string,
  { ignoredParameters, secretParameters }: FieldTerms,
): boolean {
  const isHidden = (name: string) =>
    ignoredParameters.hasParameter(name) || secretParameters.hasParameter(name)
  return redactQuery(url, isHidden) !== url
}

/** Whether a field repeats a hidden parameter, as `Referer` may. */
function repeats(value: string, hidden: readonly HiddenValue[]): boolean {
  return hidden.some(({ name, raw }) => raw !== '' && value.includes(`${name}=${raw}`))
}

/** The hashes of values that were seen recently, which are likely to be seen again. */
const hashes = new WeakMap<Buffer, LRUCache<string, string>>()

function hashValue(value: unknown, secret: Buffer): string {
  const known = hashes.get(secret) ?? new LRUCache<string, string>({ max: 1000 })
  hashes.set(secret, known)
  const text = JSON.stringify(value)
  const hash = known.get(text) ?? createHmac('sha256', secret).update(text).digest('hex')
  known.set(text, hash)
  return hash
}

/** The names of {@link FieldTerms.protectedFields}. */
export function protectedNames(...lists: readonly (readonly string[])[]): ReadonlySet<string> {
  return new Set([...CREDENTIALS, ...SECRET_FIELDS, ...lists.flat().map((n) => n.toLowerCase())])
}
