import { fieldValue, isFieldText, isToken } from '../rfc9111/fields.ts'
import { isRetrieval } from '../rfc9111/message.ts'
import type { SavedRequest, SavedResponse } from '../save.ts'

/** Why an entry of a HAR is not stored: it is for no HTTP, there was no response, or its content is not there. */
export type HarSkip = 'malformed' | 'scheme' | 'failed' | 'content'

/** An entry of a HAR as it can be saved. */
export interface SavedEntry {
  readonly request: SavedRequest & { readonly url: string; readonly method: string }
  readonly response: SavedResponse
  /** When the request was sent and the response received, in milliseconds since the epoch; undefined where it does not say. */
  readonly requestTime: number | undefined
  readonly responseTime: number | undefined
}

/** Status codes whose responses have no content. */
const WITHOUT_CONTENT = new Set([204, 205, 304])

/** Fields that say how content was sent; a HAR has it as it was received and decoded. */
const OF_THE_TRANSFER = ['content-encoding', 'content-length', 'transfer-encoding']

/**
 * Reads an entry of a HAR (version 1.2), as browsers and other tools write them.
 *
 * @param matchFields whether it is for requests with the same header fields only
 */
export function readHarEntry(entry: unknown, matchFields: boolean): SavedEntry | HarSkip {
  const { request, response, startedDateTime, time } = record(entry)
  const { url, method, headers: sent, postData, bodySize: sentSize } = record(request)
  const { status, statusText, headers: received, content, redirectURL, bodySize } = record(response)
  if (typeof url !== 'string' || !URL.canParse(url)) return 'malformed'
  const target = new URL(url)
  if (target.protocol !== 'http:' && target.protocol !== 'https:') return 'scheme'
  if (typeof method !== 'string' || typeof status !== 'number' || status % 1 !== 0) {
    return 'malformed'
  }
  // Nothing was received: Chromium says 0, Firefox says nothing and Safari -1.
  if (status < 200 || status > 599 || record(response)._error) return 'failed'

  const headers = readFields(received)
  const bytes = readContent(record(content), status, method, headers, bodySize)
  const isSent = sentSize === -1 ? !isRetrieval(method.toUpperCase()) : Number(sentSize) > 0
  const body = requestBody(record(postData), isSent)
  if (bytes === undefined || body === null) return 'content'
  if (typeof redirectURL === 'string' && redirectURL !== '')
    headers.location ??= asSent(redirectURL)
  const requestTime = typeof startedDateTime === 'string' ? Date.parse(startedDateTime) : Number.NaN
  const responseTime = requestTime + (typeof time === 'number' && time > 0 ? time : 0)
  // There is no time beyond what a date can be.
  const isDated = !Number.isNaN(new Date(responseTime).getTime())
  return {
    request: {
      url: target.href,
      method: method.toUpperCase(),
      headers: matchFields ? readFields(sent) : contentType(readFields(sent)),
      ...(body !== undefined && { body }),
    },
    response: {
      // The browser has shown it from its cache, once the origin had confirmed it.
      status: status === 304 ? 200 : status,
      statusText: status === 304 ? 'OK' : asSent(text(statusText) ?? ''),
      headers: storable(headers, record(content), matchFields),
      body: bytes,
    },
    requestTime: isDated ? requestTime : undefined,
    responseTime: isDated ? responseTime : undefined,
  }
}

type Fields = Record<string, string | string[]>

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

/** The fields of a message. The pseudo-fields of HTTP/2 and HTTP/3 are none. */
function readFields(headers: unknown): Fields {
  const fields: Fields = Object.create(null)
  if (!Array.isArray(headers)) return fields
  for (const header of headers) {
    const { name, value } = record(header)
    if (typeof name !== 'string' || typeof value !== 'string') continue
    const key = name.toLowerCase()
    if (!isToken(key)) continue
    // Several lines are sometimes one here.
    const lines = value.split('\n').map((line) => asSent(line.trim()))
    const all = [...[fields[key] ?? []].flat(), ...lines]
    fields[key] = all.length === 1 ? (all[0] as string) : all
  }
  return fields
}

/** A text as it was on its way: browsers show what was sent in UTF-8 as the characters that it means. */
function asSent(shown: string): string {
  if (isFieldText(shown)) return shown
  return Buffer.from(shown)
    .toString('latin1')
    .replace(/[^\t -~\x80-\xff]/g, ' ')
}

/** Content decides about the key of a request by its type. */
function contentType(fields: Fields): Fields {
  const type = fields['content-type']
  return type === undefined ? {} : { 'content-type': type }
}

/**
 * The content of a request; undefined where there was none, null where there was some that is not in the HAR.
 *
 * @param isSent whether there may have been some
 */
function requestBody(
  { text: content, params, mimeType }: Readonly<Record<string, unknown>>,
  isSent: boolean,
): string | undefined | null {
  if (typeof content === 'string' && content !== '') return content
  if (!Array.isArray(params) || params.length === 0) return isSent ? null : undefined
  // Some tools have a form as what it means only.
  if (!/^application\/x-www-form-urlencoded\b/i.test(String(mimeType))) return null
  const form = new URLSearchParams()
  for (const { name, value = '' } of params.map(record)) form.append(String(name), String(value))
  return form.toString()
}

/** The content of a response; undefined where there was some that is not in the HAR. */
function readContent(
  { text: content, encoding, size }: Readonly<Record<string, unknown>>,
  status: number,
  method: string,
  headers: Fields,
  bodySize: unknown,
): Uint8Array | undefined {
  const isNone = method.toUpperCase() === 'HEAD' || (WITHOUT_CONTENT.has(status) && status !== 304)
  if (isNone) return new Uint8Array()
  if (typeof content === 'string' && (content !== '' || size === 0)) {
    return encoding === 'base64' ? Buffer.from(content, 'base64') : Buffer.from(content)
  }
  const isRedirect = status >= 300 && status < 400 && status !== 304
  const isEmpty = size === 0 || bodySize === 0 || fieldValue(headers, 'content-length') === '0'
  return isRedirect || (isEmpty && status !== 304) ? new Uint8Array() : undefined
}

/** The fields of a response that are true of its content as it is in a HAR: decoded, and text as UTF-8. */
function storable(
  headers: Fields,
  { mimeType, encoding }: Readonly<Record<string, unknown>>,
  matchFields: boolean,
): Fields {
  const fields: Fields = Object.create(null)
  for (const [name, value] of Object.entries(headers)) {
    if (!OF_THE_TRANSFER.includes(name)) fields[name] = value
  }
  const type = fieldValue(fields, 'content-type') ?? asSent(text(mimeType) ?? '')
  if (/^[\w.+-]+\/[\w.+-]+/.test(type)) {
    const isText = encoding !== 'base64'
    fields['content-type'] = isText ? type.replace(/(;\s*charset=)[^;]+/i, '$1utf-8') : type
  }
  const vary = fieldValue(fields, 'vary')
  if (vary !== undefined) {
    const left = matchFields
      ? vary.split(',').filter((name) => !/^\s*accept-encoding\s*$/i.test(name))
      : []
    if (left.length > 0) fields.vary = left.join(',')
    else delete fields.vary
  }
  return fields
}
