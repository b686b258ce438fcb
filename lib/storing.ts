import type { Received } from './handlers/storing-handler.ts'
import type { Request } from './request.ts'
import type { Fields } from './rfc9111/message.ts'
import { isPublic, mayStore, type NotStored, storedFields } from './rfc9111/storing.ts'
import { freshenedFields } from './rfc9111/validation.ts'
import { nominate, nominatedNames } from './rfc9111/vary.ts'
import { expirationByRule, type RequestTerms } from './rules.ts'
import type { Entry, Freshening, NewEntry } from './storage/entry.ts'

/** What to store of a response, or why it is not stored. */
export function storing(
  request: Request,
  received: Received,
  terms: RequestTerms,
  cacheKey: string,
): NewEntry | NotStored {
  if (received.isRedirected) return 'redirected'
  const { status, statusText, fields, requestTime, responseTime } = received
  const expires = expirationByRule(terms, fields, responseTime)
  if (expires === 'do-not-cache') return 'do-not-cache'
  const names = distinguishingNames(fields, terms)
  if (names === '*') return 'vary-any'
  const entry: NewEntry = {
    cacheKey,
    method: request.method,
    url: request.url,
    status,
    statusText,
    fields: withDate(storedFields(fields), responseTime),
    requestTime,
    responseTime,
    nominated: nominate(names, request),
    ...(expires !== undefined && { expires }),
  }
  const verdict = mayStore(request, entry)
  return verdict === true ? entry : verdict
}

/**
 * The request fields by which responses differ: those that `Vary` nominates and, unless the response is
 * for everybody, the credentials.
 */
function distinguishingNames(fields: Fields, { partitionBy }: RequestTerms): string[] | '*' {
  const names = nominatedNames({ fields })
  if (names === '*') return '*'
  return [...new Set([...names, ...(isPublic({ fields }) ? [] : partitionBy)])].sort()
}

/** Whether a stored response distinguishes requests by all credentials that count for these terms. */
export function isPartitioned(stored: Entry, { partitionBy }: RequestTerms): boolean {
  return isPublic(stored) || partitionBy.every((name) => Object.hasOwn(stored.nominated, name))
}

/** §4.3.4: what a 304 changes in a stored response, and whether the result may be stored again. */
export function freshening(
  request: Request,
  stored: Entry,
  notModified: Received,
  terms: RequestTerms,
): { update: Freshening; isStorable: boolean } {
  const { requestTime, responseTime } = notModified
  const fields = freshenedFields(stored.fields, withDate(notModified.fields, responseTime))
  const expires = expirationByRule(terms, fields, responseTime)
  const update: Freshening = {
    fields,
    requestTime,
    responseTime,
    ...(typeof expires === 'number' && { expires }),
  }
  const { expires: _, ...kept } = stored
  const mayBeStored = mayStore(request, { ...kept, ...update }) === true
  // Where it is kept, and who may have it, depends on the fields by which it differs from others.
  const names = distinguishingNames(fields, terms)
  const isInPlace = String(names) === String(Object.keys(stored.nominated).sort())
  return { update, isStorable: expires !== 'do-not-cache' && mayBeStored && isInPlace }
}

/** RFC 9110 §6.6.1: a response without a date gets that of its receipt. */
function withDate(fields: Fields, responseTime: number): Fields {
  return fields.date === undefined
    ? { ...fields, date: new Date(responseTime).toUTCString() }
    : fields
}
