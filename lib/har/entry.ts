import { decodeComponent } from '../key/form.ts'
import { DEFAULT_SECRET_PARAMETERS, Parameters } from '../key/parameters.ts'
import { isDigest } from '../key.ts'
import { REDACTED, redactFields, redactQuery } from '../redaction.ts'
import { fieldValue } from '../rfc9111/fields.ts'
import type { Fields } from '../rfc9111/message.ts'
import type { Entry } from '../storage/entry.ts'

interface NameAndValue {
  readonly name: string
  readonly value: string
}

interface Cookie extends NameAndValue {
  readonly path?: string | undefined
  readonly domain?: string | undefined
  readonly expires?: string
  readonly httpOnly: boolean
  readonly secure: boolean
}

/** An entry of a HAR but for its content. */
export interface HarEntry {
  readonly startedDateTime: string
  readonly time: number
  readonly request: {
    readonly method: string
    readonly url: string
    readonly httpVersion: string
    readonly cookies: readonly Cookie[]
    readonly headers: readonly NameAndValue[]
    readonly queryString: readonly NameAndValue[]
    readonly headersSize: number
    readonly bodySize: number
  }
  readonly response: {
    readonly status: number
    readonly statusText: string
    readonly httpVersion: string
    readonly cookies: readonly Cookie[]
    readonly headers: readonly NameAndValue[]
    readonly redirectURL: string
    readonly headersSize: number
    readonly bodySize: number
  }
  /** Of the content. */
  readonly mimeType: string
  readonly timings: { readonly send: number; readonly wait: number; readonly receive: number }
}

/** What is likely to be a secret, whatever it is told by. */
const SECRETS = new Parameters(DEFAULT_SECRET_PARAMETERS, true)

/**
 * An entry of a HAR (version 1.2) for a stored response, but for its content. Of the request there is what is
 * stored of it: its method, its URL and the fields that the response differs by.
 *
 * @param isRedacted whether it is without what is likely to be a secret
 */
export function harEntry(entry: Entry, isRedacted: boolean): HarEntry {
  const url = isRedacted ? redactQuery(entry.url, (name) => SECRETS.hasParameter(name)) : entry.url
  const fields = redactFields(entry.fields)
  const headers = headersOf(fields, isRedacted)
  const time = Math.max(0, entry.responseTime - entry.requestTime)
  return {
    startedDateTime: new Date(entry.requestTime).toISOString(),
    time,
    request: {
      method: entry.method,
      url,
      httpVersion: 'HTTP/1.1',
      cookies: [],
      headers: nominatedHeaders(entry, isRedacted),
      queryString: [...new URL(url).searchParams].map(([name, value]) => ({ name, value })),
      headersSize: -1,
      bodySize: -1,
    },
    response: {
      status: entry.status,
      statusText: entry.statusText,
      httpVersion: 'HTTP/1.1',
      cookies: headers.filter(({ name }) => name === 'set-cookie').map(cookieOf),
      headers,
      redirectURL: headers.find(({ name }) => name === 'location')?.value ?? '',
      headersSize: -1,
      bodySize: entry.content.length ?? -1,
    },
    mimeType: fieldValue(fields, 'content-type') ?? 'x-unknown',
    timings: { send: 0, wait: time, receive: 0 },
  }
}

/** The fields of the request that are known: of those that hold credentials only that they were there. */
function nominatedHeaders({ nominated }: Entry, isRedacted: boolean): NameAndValue[] {
  return Object.entries(nominated).flatMap(([name, value]) => {
    if (value === null || name.startsWith(':')) return []
    if (isDigest(value)) return [{ name, value: REDACTED }]
    return [{ name, value: isRedacted ? redacted(name, value) : value }]
  })
}

function headersOf(fields: Fields, isRedacted: boolean): NameAndValue[] {
  return Object.entries(fields).flatMap(([name, value]) =>
    [value].flat().map((line) => ({ name, value: isRedacted ? redacted(name, line) : line })),
  )
}

/** Fields with URLs, in which there may be secrets. */
const WITH_URLS = new Set(['content-location', 'link', 'location', 'referer', 'refresh'])

function redacted(name: string, value: string): string {
  // A cookie may have no name.
  if (name === 'set-cookie') return value.replace(/^([^;=]*=)?[^;]*/, `$1${REDACTED}`)
  if (!WITH_URLS.has(name)) return SECRETS.hasField(name) ? REDACTED : value
  return value
    .replace(/(?<=\/\/)[^/?#@\s]+(?=@)/g, REDACTED)
    .replace(/([?&#]([^=&#>\s]+)=)[^&#>\s"]*/g, (whole, start: string, parameter: string) =>
      SECRETS.hasParameter(decodeComponent(parameter)) ? start + REDACTED : whole,
    )
}

/** A cookie as a HAR has it, from a `Set-Cookie` field (RFC 6265 §4.1). */
function cookieOf({ value: line }: NameAndValue): Cookie {
  const [pair = '', ...attributes] = line.split(';').map((part) => part.trim())
  const [name, value] = split(pair)
  const known = new Map(attributes.map(split).map(([key, text]) => [key.toLowerCase(), text]))
  const expires = new Date(known.get('expires') ?? Number.NaN)
  return {
    name,
    value,
    ...(known.has('path') && { path: known.get('path') }),
    ...(known.has('domain') && { domain: known.get('domain') }),
    ...(!Number.isNaN(expires.getTime()) && { expires: expires.toISOString() }),
    httpOnly: known.has('httponly'),
    secure: known.has('secure'),
  }
}

function split(pair: string): [name: string, value: string] {
  const end = pair.indexOf('=')
  return end === -1 ? [pair, ''] : [pair.slice(0, end), pair.slice(end + 1)]
}
