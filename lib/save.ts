import { inspect } from 'node:util'
import { NEVER_EXPIRE } from './expiration.ts'
import type { Received } from './handlers/storing-handler.ts'
import { type HeadersLike, readHeaderFields } from './header-fields.ts'
import type { Identities } from './identities.ts'
import { hiddenValues } from './key/fields.ts'
import { hideValues } from './redaction.ts'
import type { Request } from './request.ts'
import { fieldValue, isFieldText, listMembers, withoutFields } from './rfc9111/fields.ts'
import type { Fields, Nominated } from './rfc9111/message.ts'
import type { NotStored } from './rfc9111/storing.ts'
import { compileRules, type RequestTerms, type Rules } from './rules.ts'
import { TooLargeError } from './storage/content.ts'
import type { Responses } from './storage/responses.ts'
import { meantRequests, type StoredRequestBody } from './stored-request.ts'
import { storing } from './storing.ts'
import { parseTerms, refuse, type Terms } from './terms.ts'

/** The request that a response is saved for: a `Request`, or what it takes of one. */
export interface SavedRequest {
  readonly url: string | URL
  /** @default 'GET' */
  readonly method?: string
  readonly headers?: HeadersLike
  /**
   * Its content, where its method is none of GET and HEAD. Text is taken to be sent as `fetch` does, with a
   * `Content-Type`, where the fields name none. That of a `Request` is not read.
   */
  readonly body?: unknown
}

/** The content of a response that is saved, all at once or bit by bit. */
export type SavedContent =
  | string
  | Uint8Array
  | AsyncIterable<string | Uint8Array>
  | Iterable<string | Uint8Array>

/** A response that is saved by hand: a `Response`, or what it takes of one. */
export interface SavedResponse {
  /** @default 200 */
  readonly status?: number
  readonly statusText?: string
  readonly headers?: HeadersLike
  /** @default none */
  readonly body?: SavedContent | null
  /** Of a `Response`: where it was fetched from; empty where it was made by hand. */
  readonly url?: string
  /** Of a `Response`: whether its content has been read already. */
  readonly bodyUsed?: boolean
}

/** What the response says decides; one that says nothing stays fresh for ever. */
const BY_DEFAULT = compileRules({ cacheControl: true, expireAfter: NEVER_EXPIRE })

/** What is said to be stored is, whatever its status code. */
const ANY_STATUS: ReadonlySet<string> = new Set(['2xx', '3xx', '4xx', '5xx'])

/** Where responses are saved. */
export interface Saving {
  readonly identities: Identities
  readonly responses: Responses
  readonly shared: boolean
  /** By which requests are keyed. */
  readonly rules: Rules | undefined
}

/** When a request was sent and its response received, where that is not now: in milliseconds since the epoch. */
export interface SavedTimes {
  readonly requestTime?: number | undefined
  readonly responseTime?: number | undefined
}

/**
 * Stores a response by hand.
 *
 * @throws TypeError where something is malformed; Error where it may not be stored, or the store fails
 */
export async function save(
  saving: Saving,
  request: string | URL | SavedRequest,
  response: SavedResponse,
  terms: Terms,
): Promise<void> {
  const reason = await store(saving, request, response, terms)
  if (reason === 'method') {
    throw new TypeError('save: expected a request with GET, HEAD or another one of allowedMethods')
  }
  if (reason !== undefined) throw new Error(`save: the response may not be stored: ${reason}`)
}

/**
 * Stores a response by hand, if it may be.
 *
 * @returns why it may not be stored
 * @throws TypeError where something is malformed; Error where the store fails
 */
export async function store(
  { identities, responses, shared, rules }: Saving,
  request: string | URL | SavedRequest,
  response: SavedResponse,
  terms: Terms,
  times: SavedTimes = {},
): Promise<NotStored | 'method' | undefined> {
  const own = parseTerms(terms, 'save')
  const { url, ...meantRequest } = readSavedRequest(request)
  const meant = await meantRequests(url, meantRequest)
  const [asked] = meant.requests as [Request]
  const { content, ...received } = readSavedResponse(response, asked.method, times)
  const {
    rules: lifetimes,
    cacheControl,
    fallback,
    isByStatus,
  } = BY_DEFAULT.termsFor(asked.target, own)
  const keyed = (rules ?? BY_DEFAULT).termsFor(asked.target, own)
  // What may be recorded and replayed may be saved as well.
  const isAnyMethod = keyed.mode === 'record' || keyed.mode === 'replay'
  if (!isAnyMethod && !keyed.allowedMethods.includes(asked.method)) return 'method'
  const decided: RequestTerms = {
    ...keyed,
    // That requests only read the cache is no reason not to fill it by hand.
    readOnly: own.readOnly ?? false,
    rules: lifetimes,
    cacheControl,
    fallback,
    isByStatus,
    allowedCodes: own.allowedCodes ?? ANY_STATUS,
    mode: 'default',
  }

  const identity = await identities.identify(asked, keyed, meant.content, identities.madeSecret)
  const { cacheKey, hidden } = identity
  const fields = hideValues(received.fields, hiddenValues(asked.fields, hidden, keyed))
  const isHidden = fields !== received.fields
  const verdict = storing(
    await identities.protect(asked, keyed, hidden, identities.madeSecret),
    { ...received, fields, ...(isHidden && { hasHiddenValues: true }) },
    decided,
    { cacheKey, url: identity.url, shared, maxContentSize: responses.recorder.maxContentSize },
  )
  if (typeof verdict === 'string') return verdict
  const nominated = toldNominated(verdict.nominated, keyed.matchHeaders)
  try {
    await responses.recorder.store({ ...verdict, nominated }, content, keyed.maxContentSize)
    return undefined
  } catch (error) {
    if (error instanceof TooLargeError) return 'too-large'
    throw error
  }
}

/** The fields that clients add by themselves. */
const OF_CLIENTS = new Set([
  'accept',
  'accept-encoding',
  'accept-language',
  'sec-fetch-mode',
  'user-agent',
])

/**
 * The fields by which a response differs that was saved for a request, without those that the request does not
 * name because whoever sends it will: any value of theirs will do.
 */
function toldNominated(nominated: Nominated, matchHeaders: readonly string[]): Nominated {
  const isTold = ([name, value]: [string, string | null]) =>
    value !== null || !OF_CLIENTS.has(name) || matchHeaders.includes(name)
  return Object.fromEntries(Object.entries(nominated).filter(isTold))
}

/** @throws TypeError where it is none */
function readSavedRequest(asked: string | URL | SavedRequest): {
  readonly url: string | URL
  readonly method: string
  readonly headers: Fields
  readonly body?: StoredRequestBody
} {
  if (typeof asked === 'string' || asked instanceof URL) {
    return { url: asked, method: 'GET', headers: {} }
  }
  if (typeof asked !== 'object' || asked === null) {
    throw new TypeError(`save: expected a URL or a request, got ${inspect(asked)}`)
  }
  const { url, method = 'GET', headers = {}, body } = asked
  const isSent = body !== undefined && body !== null && !(body instanceof ReadableStream)
  const content = isSent && { body: body as StoredRequestBody }
  return { url, method, headers: readHeaderFields(headers, 'save'), ...content }
}

/** @throws TypeError where it is none, or its content has been read already */
function readSavedResponse(
  response: SavedResponse,
  method: string,
  times: SavedTimes,
): Received & { readonly content: AsyncIterable<Uint8Array> } {
  if (typeof response !== 'object' || response === null) {
    throw new TypeError(`save: expected a response, got ${inspect(response)}`)
  }
  const { status = 200, statusText = '', headers = {}, body, url = '', bodyUsed } = response
  if (!Number.isInteger(status) || status < 200 || status > 599) {
    throw new TypeError(`save: expected a final status code, got ${inspect(status)}`)
  }
  if (typeof statusText !== 'string' || !isFieldText(statusText)) {
    refuse('save', 'a status text without line breaks', statusText)
  }
  if (bodyUsed) throw new TypeError('save: the content of the response has been read already')
  const sent = readHeaderFields(headers, 'save')
  const fields = url === '' ? sent : decodedFields(sent)
  const { responseTime = Date.now(), requestTime = responseTime } = times
  const isNone = method === 'HEAD'
  return {
    status,
    statusText,
    fields,
    requestTime,
    responseTime,
    isRedirected: false,
    content: isNone ? none() : measured(contentOf(body), fieldValue(fields, 'content-length')),
  }
}

/** What `fetch` decodes, whatever version of it. */
const DECODED = new Set(['br', 'deflate', 'gzip', 'identity', 'x-gzip'])

/**
 * The fields of a fetched response without those that are not true any more of its content, which `fetch`
 * has decoded.
 */
function decodedFields(fields: Fields): Fields {
  const codings = listMembers(fieldValue(fields, 'content-encoding')?.toLowerCase() ?? '')
  const unknown = codings.find((coding) => !DECODED.has(coding))
  if (unknown !== undefined) {
    throw new TypeError(
      `save: nobody can tell whether the content of this Response is still encoded as ${unknown}; say it with { status, headers, body }`,
    )
  }
  return codings.length === 0
    ? fields
    : withoutFields(fields, ['content-encoding', 'content-length'])
}

async function* none(): AsyncGenerator<Uint8Array> {}

async function* contentOf(body: SavedResponse['body']): AsyncGenerator<Uint8Array> {
  if (body === undefined || body === null) return
  if (typeof body === 'string') yield Buffer.from(body)
  else if (body instanceof Uint8Array) yield body
  else if (Symbol.asyncIterator in body || Symbol.iterator in body) {
    for await (const some of body)
      yield typeof some === 'string' ? Buffer.from(some) : bytesOf(some)
  } else throw new TypeError(`save: expected content, got ${inspect(body, { depth: 0 })}`)
}

function bytesOf(some: unknown): Uint8Array {
  if (some instanceof Uint8Array) return some
  throw new TypeError(
    `save: expected content in texts or bytes, got ${inspect(some, { depth: 0 })}`,
  )
}

/** Content that is as long as announced. @throws where it is not */
async function* measured(
  content: AsyncIterable<Uint8Array>,
  announced: string | undefined,
): AsyncGenerator<Uint8Array> {
  let length = 0
  for await (const bytes of content) {
    length += bytes.length
    yield bytes
  }
  if (announced !== undefined && Number(announced) !== length) {
    throw new Error(`save: the content has ${length} bytes, not ${announced} as announced`)
  }
}
