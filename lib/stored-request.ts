import { inspect } from 'node:util'
import { type HeadersLike, readHeaderFields } from './header-fields.ts'
import type { FormDataLike } from './key/multipart.ts'
import { type Request, readRequest } from './request.ts'
import { readContent } from './request-content.ts'
import type { Fields } from './rfc9111/message.ts'

/** Which stored response is meant. */
export interface StoredRequest {
  /** @default 'GET' */
  readonly method?: string
  /** The request's header fields, to select among several variants of a response. */
  readonly headers?: HeadersLike
  /** The request's content, where its method is none of GET and HEAD. */
  readonly body?: StoredRequestBody
}

/** The content of a request, as `fetch` or `request` is given it. */
export type StoredRequestBody =
  | string
  | ArrayBuffer
  | ArrayBufferView
  | Blob
  | FormDataLike
  | URLSearchParams

/** The requests that may be meant, as `fetch` and as `request` would make them, and their content. */
export interface MeantRequests {
  readonly requests: readonly Request[]
  readonly content: Buffer | undefined
}

/**
 * Reads which requests are meant.
 *
 * @throws TypeError where the URL is none, the header fields are none, or the content nothing that can be sent twice
 */
export async function meantRequests(
  url: string | URL,
  { method, headers: given = {}, body }: StoredRequest,
): Promise<MeantRequests> {
  const headers = readHeaderFields(given, 'headers')
  const sent = body instanceof URLSearchParams ? body.toString() : body
  const reading = readContent(sent, {}, Infinity)
  const read = 'stop' in reading ? await reading.content : reading
  if (!read.isWhole) {
    throw new TypeError(
      `body: expected text, bytes, a Blob, FormData or URLSearchParams, got ${inspect(body, { depth: 0 })}`,
    )
  }
  const types = headers['content-type'] !== undefined ? [undefined] : contentTypes(body, read.type)
  const requests = types.map((type) =>
    requestFor(url, method, type === undefined ? headers : { ...headers, 'content-type': type }),
  )
  return { requests, content: read.bytes.length === 0 ? undefined : read.bytes }
}

/**
 * With what `Content-Type` content is sent where the caller names none: as `fetch` does it first.
 *
 * @param type what the content itself says
 */
export function contentTypes(body: unknown, type?: string): readonly (string | undefined)[] {
  if (body instanceof URLSearchParams) return ['application/x-www-form-urlencoded;charset=UTF-8']
  // `fetch` names one for text, and `request` does not.
  return typeof body === 'string' ? ['text/plain;charset=UTF-8', undefined] : [type]
}

function requestFor(url: string | URL, method = 'GET', headers: Fields = {}): Request {
  if (!URL.canParse(String(url))) {
    throw new TypeError(`expected an absolute URL, got ${inspect(url)}`)
  }
  const { origin, pathname, search } = new URL(url)
  const request = readRequest({
    origin,
    path: pathname + search,
    method: method as 'GET',
    headers: headers as Record<string, string>,
  })
  if (request === undefined)
    throw new TypeError(`expected an http or https URL, got ${inspect(url)}`)
  return request
}
