import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  type AgentOptions,
  cacheInfo,
  DO_NOT_CACHE,
  EXPIRE_IMMEDIATELY,
  type Outcome,
  type Reason,
} from 'caching-agent'
import * as undici from 'undici'

export type Listener = (
  request: IncomingMessage,
  response: ServerResponse,
  count: number,
) => unknown

/** A request of a flow: its fields, and how much later it is made, in milliseconds. */
export type Step = RequestInit & { readonly after?: number; readonly path?: string }

/** Some requests, and what becomes of the last one. */
export type Flow = readonly [
  what: string,
  answer: Listener,
  steps: readonly Step[],
  outcome: Outcome,
  reason: Reason | undefined,
  options?: AgentOptions,
]

/** An answer with some fields. */
export function answering(fields: Record<string, string> = {}, status = 200): Listener {
  return (_, response) => response.writeHead(status, fields).end('content')
}

/** An answer with a validator, which is confirmed. */
export function validated(fields: Record<string, string> = {}): Listener {
  return (request, response) => {
    const isKnown = request.headers['if-none-match'] === '"v1"'
    response.writeHead(isKnown ? 304 : 200, { ETag: '"v1"', ...fields })
    response.end(isKnown ? undefined : 'content')
  }
}

/** The first answer, and a failure later on. */
export function failing(answer: Listener): Listener {
  return (request, response, count) =>
    count === 1 ? answer(request, response, count) : response.writeHead(503).end('down')
}

/** A request with header fields. */
export function fields(headers: Record<string, string>): Step {
  return { headers }
}

/** The fields of a response that is fresh for an hour. */
export const HOUR = { 'Cache-Control': 'max-age=3600' }
const LATER = { after: 7_200_000 }
export const POST = { method: 'POST' }

/** What can become of a request, as far as one after the other shows it. */
// biome-ignore format: one flow a row
export const FLOWS: readonly Flow[] = [
  ['a fresh response', answering(HOUR), [{}, {}], 'hit', undefined],
  ['a stale response, validated behind', answering(HOUR), [{}, LATER], 'stale', 'stale-while-revalidate', { staleWhileRevalidate: true }],
  ['a stale response that the request accepts', answering(HOUR), [{}, { ...LATER, ...fields({ 'cache-control': 'max-stale' }) }], 'stale', undefined],
  ['a stale response where the origin fails', failing(answering(HOUR)), [{}, LATER], 'stale', 'stale-if-error', { staleIfError: true }],
  ['a response that the origin confirms', validated(HOUR), [{}, LATER], 'revalidated', 'stale'],
  ['a response that is confirmed because the request asks', validated(HOUR), [{}, fields({ 'cache-control': 'no-cache' })], 'revalidated', 'request'],
  ['nothing stored', answering(HOUR), [{}], 'miss', 'uri-miss'],
  ['another variant stored', answering({ ...HOUR, Vary: 'Accept-Language' }), [fields({ 'accept-language': 'de' }), fields({ 'accept-language': 'en' })], 'miss', 'vary-miss'],
  ['a stale response without a validator', answering(HOUR), [{}, LATER], 'miss', 'stale'],
  ['a request for something newer', answering(HOUR), [{}, fields({ 'cache-control': 'no-cache' })], 'miss', 'request'],
  ['a range that is not stored', (_, response) => response.writeHead(206, { ...HOUR, ETag: '"v1"', 'Content-Range': 'bytes 0-1/10' }).end('01'), [fields({ range: 'bytes=0-1' }), fields({ range: 'bytes=0-1', 'if-range': '"v0"' })], 'miss', 'partial'],
  ['only-if-cached, and nothing stored', answering(HOUR), [fields({ 'cache-control': 'only-if-cached' })], 'miss', 'only-if-cached'],
  ['onlyIfCached, and nothing stored', answering(HOUR), [{}], 'miss', 'only-if-cached', { onlyIfCached: true }],
  ['offline, and nothing stored', answering(HOUR), [{}], 'miss', 'offline', { mode: 'offline' }],
  ['offline, and a method that is never stored', answering(HOUR), [POST], 'miss', 'offline', { mode: 'offline' }],
  ['a replay, and nothing recorded', answering(HOUR), [{}], 'miss', 'replay', { mode: 'replay', missing: 'status' }],
  ['a recording', answering(HOUR), [{}, {}], 'miss', 'request', { mode: 'record' }],
  ['a filter that lets nothing be used', answering(HOUR), [{}, {}], 'miss', 'filter', { filter: ({ isStored }) => !isStored }],
  ['a refreshed response', validated(HOUR), [{}, {}], 'revalidated', 'request', { refresh: true }],
  ['a response to who only reads', answering(HOUR), [{}], 'miss', 'read-only', { readOnly: true }],
  ['a status code that is not allowed', answering(HOUR), [{}], 'miss', 'status', { allowedCodes: [404] }],
  ['a response with no-store', answering({ 'Cache-Control': 'no-store' }), [{}], 'miss', 'no-store'],
  ['a private response in a shared cache', answering({ 'Cache-Control': 'private, max-age=60' }), [{}], 'miss', 'private', { shared: true }],
  ['a response to credentials in a shared cache', answering(HOUR), [fields({ authorization: 'Basic eDp5' })], 'miss', 'authorization', { shared: true }],
  ['a response that says nothing', answering(), [{}], 'miss', 'no-freshness'],
  ['one that expires immediately and cannot be validated', answering(), [{}], 'miss', 'no-validator', { expireAfter: EXPIRE_IMMEDIATELY }],
  ['a status that is not stored', answering({}, 500), [{}], 'miss', 'status'],
  ['Vary: *', answering({ ...HOUR, Vary: '*' }), [{}], 'miss', 'vary-any'],
  ['more content than is wanted', answering({ ...HOUR, 'Content-Length': '7' }), [{}], 'miss', 'too-large', { maxContentSize: 6 }],
  ['a part, where all is stored', (request, response) => request.headers.range ? response.writeHead(206, { ...HOUR, 'Content-Range': 'bytes 0-1/10' }).end('01') : answering(HOUR)(request, response, 0), [{}, fields({ range: 'bytes=0-1', 'cache-control': 'no-cache' })], 'miss', 'incomplete'],
  ['the answer to HEAD, which freshens that to GET', validated(HOUR), [{}, { method: 'HEAD', ...fields({ 'cache-control': 'no-cache', 'if-none-match': '"v0"' }) }], 'miss', 'freshened'],
  ['a stream of events', answering({ ...HOUR, 'Content-Type': 'text/event-stream' }), [{}], 'miss', 'endless'],
  ['an origin that says nothing, and a rule for that', answering(), [{}], 'miss', 'do-not-cache', { expireAfter: DO_NOT_CACHE, cacheControl: true }],
  ['a method that is not cached', answering(HOUR), [{}, POST], 'bypass', 'method'],
  ['a rule that passes by', answering(HOUR), [{}], 'bypass', 'do-not-cache', { urlsExpireAfter: { '*': DO_NOT_CACHE } }],
  ['a request with no-store', answering(HOUR), [fields({ 'cache-control': 'no-store' })], 'bypass', 'no-store'],
  ['a condition for the origin alone', answering(HOUR), [fields({ 'if-match': '"v1"' })], 'bypass', 'conditional'],
  ['ranges in another unit', answering(HOUR), [fields({ range: 'pages=1-2' })], 'bypass', 'range'],
  ['a wish for a stream of events', answering(HOUR), [fields({ accept: 'text/event-stream' })], 'bypass', 'endless'],
]

/** The clock of these tests, which stands still: a whole second, as `Date` tells. */
export const NOW = 1_800_000_000_000

/** A request as its caller makes it: unlike `fetch` it adds nothing to conditions and ranges. */
export async function ask(dispatcher: undici.Dispatcher, url: string, init: Step = {}) {
  const response = await undici.request(url, { dispatcher, ...init } as never)
  await response.body.dump()
  return cacheInfo(response as never)
}
