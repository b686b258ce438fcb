import { isDeepStrictEqual } from 'node:util'
import type { Received } from './handlers/storing-handler.ts'
import { OTHER_CREDENTIALS } from './key/fields.ts'
import type { Request } from './request.ts'
import { fieldValue, withoutFields } from './rfc9111/fields.ts'
import { expirationTime } from './rfc9111/freshness.ts'
import type { Fields, ResponseMessage, StoredResponse } from './rfc9111/message.ts'
import { longestStaleUse } from './rfc9111/staleness.ts'
import {
  credentialNames,
  fieldsAbout,
  mayRecord,
  mayStore,
  type NotStored,
  storedFields,
} from './rfc9111/storing.ts'
import { freshenedFields } from './rfc9111/validation.ts'
import { impliedNames, nominate, nominatedNames } from './rfc9111/vary.ts'
import { allowsStatus, expirationByRule, lifetimeByRule, type RequestTerms } from './rules.ts'
import { type Entry, type NewEntry, STALE_RETENTION } from './storage/entry.ts'

/** What a response is stored for: where, under what URL, and in what kind of cache. */
export interface Place {
  readonly cacheKey: string
  readonly url: string
  readonly shared: boolean
  /** How much content a response may have there, in bytes. */
  readonly maxContentSize: number
}

/** What to store of a response, or why it is not stored. */
export function storing(
  request: Request,
  received: Received,
  terms: RequestTerms,
  { cacheKey, url, shared, maxContentSize }: Place,
): NewEntry | NotStored {
  if (terms.readOnly) return 'read-only'
  const isRecording = terms.mode === 'record'
  if (received.isRedirected && !isRecording) return 'redirected'
  const { status, statusText, requestTime, responseTime } = received
  const response = { status, fields: withoutCookies(received.fields, terms), shared }
  const expires = isRecording ? Infinity : expirationByRule(terms, response, responseTime)
  if (expires === 'do-not-cache') return 'do-not-cache'
  const names = distinguishingNames(response, terms)
  if (names === '*') return 'vary-any'
  const entry = withLimits<NewEntry>(
    {
      cacheKey,
      method: request.method,
      url,
      status,
      statusText,
      fields: withDate(storedFields(response), responseTime),
      requestTime,
      responseTime,
      nominated: nominate(names, request),
      ...(shared && { shared }),
      ...(!terms.partitionBy.includes(OTHER_CREDENTIALS) && { hasOwnPartition: true }),
      ...(received.hasHiddenValues && { hasHiddenValues: true }),
      ...(expires !== undefined && { expires }),
    },
    terms,
  )
  const length = Number(fieldValue(received.fields, 'content-length') ?? 0)
  const most = Math.min(terms.maxContentSize, maxContentSize)
  if (request.method !== 'HEAD' && length > most) return 'too-large'
  const verdict = isRecording ? mayRecord(request, entry) : isStorable(request, entry, terms)
  return verdict === true ? withTags(entry, terms) : verdict
}

/** Fields without those that set cookies, if the user does not want them to be stored. */
export function withoutCookies(fields: Fields, { stripSetCookie }: RequestTerms): Fields {
  return stripSetCookie ? withoutFields(fields, SETTING_COOKIES) : fields
}

const SETTING_COOKIES = ['set-cookie', 'set-cookie2']

function isStorable(
  request: Request,
  entry: NewEntry | Entry,
  terms: RequestTerms,
): true | NotStored {
  const isStatusAllowed = allowsStatus(terms, entry.status)
  return mayStore(request, entry, { ...terms, isStatusAllowed })
}

/**
 * The request fields by which responses differ: those that `Vary` nominates, and those that the user does;
 * unless the response is for everybody, the credentials; and the ranges or conditions that it is about.
 */
function distinguishingNames(
  response: ResponseMessage,
  { partitionBy, matchHeaders, mode }: RequestTerms,
): string[] | '*' {
  const names = nominatedNames(response)
  // What is recorded is to be found again, even if no two requests are the same to its origin.
  if (names === '*' && mode !== 'record') return '*'
  const nominated = names === '*' ? impliedNames(response) : names
  const credentials = credentialNames(response, partitionBy)
  const about = fieldsAbout(response.status)
  return [...new Set([...nominated, ...credentials, ...matchHeaders, ...about])].sort()
}

/** Whether a stored response distinguishes requests by all that counts for these terms. */
export function isPartitioned(
  stored: Entry,
  { fields }: Pick<Request, 'fields'>,
  { partitionBy, matchHeaders }: RequestTerms,
): boolean {
  const isKnown = (name: string) =>
    Object.hasOwn(stored.nominated, name) ||
    (name === OTHER_CREDENTIALS && fields[name] === undefined && isOfFewCredentials(stored))
  return credentialNames(stored, partitionBy).every(isKnown) && matchHeaders.every(isKnown)
}

/** Whether a response was stored when no other credentials counted than `Authorization` and `Cookie`. */
function isOfFewCredentials(stored: Entry): boolean {
  const isKnown = (name: string) => Object.hasOwn(stored.nominated, name)
  const names = credentialNames(stored, ['authorization', 'cookie'])
  return !stored.hasOwnPartition && !isKnown(OTHER_CREDENTIALS) && names.every(isKnown)
}

/** A stored response as an answer of the origin has revised it, and whether it may be stored so. */
export interface Revision {
  readonly entry: Entry
  readonly isStorable: boolean
  /** Whether there is nothing to be written: it never expires, and nothing but its date has changed. */
  readonly isUnchanged: boolean
  /** What to keep instead where the answer names more fields by which it differs than are known. */
  readonly unrevised?: Entry
}

/** §4.3.4: a stored response, freshened by an answer that confirmed it. */
export function freshening(
  request: Request,
  stored: Entry,
  confirmation: Received,
  terms: RequestTerms,
): Revision {
  const { requestTime, responseTime } = confirmation
  const revised = {
    ...stored,
    fields: withoutCookies(
      freshenedFields(stored.fields, withDate(confirmation.fields, responseTime)),
      terms,
    ),
  }
  const expires = expirationByRule(terms, revised, responseTime)
  const {
    expires: _,
    maxLifetime: __,
    staleUse: ___,
    staleFrom: ____,
    tags: _____,
    isToBeConfirmed: ______,
    ...unlimited
  } = stored
  const limited = withLimits(
    {
      ...unlimited,
      fields: storedFields(revised),
      requestTime,
      responseTime,
      ...(typeof expires === 'number' && { expires }),
      ...(confirmation.hasHiddenValues && { hasHiddenValues: true as const }),
    },
    terms,
  )
  const revision = withTags(limited, terms)
  const mayBeStored = expires !== 'do-not-cache' && isStorable(request, revision, terms) === true
  const unknown = mayBeStored ? unknownNames(stored, revised, terms) : undefined
  const isInPlace = unknown?.length === 0
  // What has become one user's own is nothing to ask the origin about for others.
  const ofOne = credentialNames(revised, terms.partitionBy)
  const isKept = unknown !== undefined && !unknown.some((name) => ofOne.includes(name))
  // It stays where it is, for no other requests than before: that they could be more does not matter.
  const entry = isInPlace ? withVary(revision, stored.fields.vary) : revision
  return {
    entry,
    isStorable: isInPlace,
    ...(isKept && !isInPlace && { unrevised: toBeConfirmed(stored, responseTime) }),
    isUnchanged:
      stored.expires === Infinity &&
      stored.staleFrom === undefined &&
      !stored.isToBeConfirmed &&
      isDeepStrictEqual(entry.tags, stored.tags) &&
      entry.expires === Infinity &&
      isDeepStrictEqual(withoutFields(entry.fields, DATING), withoutFields(stored.fields, DATING)),
  }
}

/**
 * The fields by which a stored response differs from others once it is revised, and of which it is not known what
 * the request had that it was stored for. Undefined where it is for no other request at all.
 */
function unknownNames(
  stored: Entry,
  revised: ResponseMessage,
  terms: RequestTerms,
): readonly string[] | undefined {
  const names = distinguishingNames(revised, terms)
  if (names === '*') return undefined
  const left = isOfFewCredentials(stored) ? [OTHER_CREDENTIALS] : []
  const known = [...Object.keys(stored.nominated), ...left]
  return names.filter((name) => !known.includes(name))
}

function withVary(entry: Entry, vary: Fields[string] | undefined): Entry {
  const others = withoutFields(entry.fields, ['vary'])
  return { ...entry, fields: vary === undefined ? others : { ...others, vary } }
}

/** A stored response that is not used any more unless the origin has confirmed it for the request. */
function toBeConfirmed(stored: Entry, now: number): Entry {
  return stored.isToBeConfirmed ? stored : { ...stored, staleFrom: now, isToBeConfirmed: true }
}

/**
 * A stored response as long fresh as if the rules for it had always been what they are now. What they would
 * not let be stored is stale.
 */
export function ruledAnew(stored: Entry, terms: RequestTerms): Entry {
  const { expires: _, maxLifetime: __, staleUse: ___, staleFrom: ____, ...unlimited } = stored
  const ruled = expirationByRule(terms, stored, stored.responseTime)
  const expires = ruled === 'do-not-cache' ? stored.responseTime : ruled
  return withLimits({ ...unlimited, ...(expires !== undefined && { expires }) }, terms)
}

/** Fields that differ each time. */
const DATING = ['age', 'date']

/** §4.3.4: a response stored for other requests, which an answer has confirmed for this one. */
export function adoption(
  request: Request,
  stored: Entry,
  confirmation: Received,
  terms: RequestTerms,
): Revision {
  const { entry, isStorable } = freshening(request, stored, confirmation, terms)
  const nominated = nominate(Object.keys(stored.nominated), request)
  return { entry: { ...entry, nominated }, isStorable, isUnchanged: false }
}

/**
 * A response with how long the origin may let it be fresh, and with how long it may be used once it is
 * stale. What may be used for ever is kept as long as others.
 */
function withLimits<T extends StoredResponse>(
  response: T,
  terms: RequestTerms,
): T & Pick<Entry, 'maxLifetime' | 'staleUse'> {
  const { maxExpireAfter = Infinity } = terms
  const isLimited = response.expires === undefined && maxExpireAfter !== Infinity
  const limited = isLimited ? { ...response, maxLifetime: maxExpireAfter } : response
  const longest = longestStaleUse(limited, terms)
  if (longest === 0) return limited
  return { ...limited, staleUse: longest === Infinity ? STALE_RETENTION : longest }
}

/** The least that a use must gain to be written, as a part of the duration, and where that is little, in milliseconds. */
const GAIN = 0.01
const GAIN_AT_LEAST = 1000

/**
 * A stored response whose duration starts anew because it is used (`slidingExpiration`), if that gains
 * enough to be written: a hundredth of the duration, and a second or a tenth of what lasts less than ten.
 * Undefined where it does not, and where its expiration is none of the user's durations.
 */
export function slid(stored: Entry, terms: RequestTerms, now: number): Entry | undefined {
  if (stored.expires === undefined || expirationTime(stored) <= now) return undefined
  const lifetime = lifetimeByRule(terms, stored, stored.responseTime)
  if (lifetime?.kind !== 'duration' || lifetime.milliseconds === Infinity) return undefined
  const { milliseconds } = lifetime
  const expires = now + milliseconds
  const gain = Math.max(milliseconds * GAIN, Math.min(GAIN_AT_LEAST, milliseconds / 10))
  return expires - stored.expires >= gain ? { ...stored, expires } : undefined
}

/** A response with the tags by which it is found. @throws where a function of the user's does */
function withTags<T extends StoredResponse>(
  response: T,
  { tags: tagsOf }: RequestTerms,
): T & Pick<Entry, 'tags'> {
  const tags = tagsOf?.(response) ?? []
  return tags.length === 0 ? response : { ...response, tags }
}

/** RFC 9110 §6.6.1: a response without a date gets that of its receipt. */
function withDate(fields: Fields, responseTime: number): Fields {
  return fields.date === undefined
    ? { ...fields, date: new Date(responseTime).toUTCString() }
    : fields
}
