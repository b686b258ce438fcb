import { stringify } from 'node:querystring'
import type { Dispatcher } from 'undici'
import type { Fields, RequestMessage } from './rfc9111/message.ts'

/** A request as it reached `dispatch`, in the terms of HTTP. */
export interface Request extends RequestMessage {
  readonly target: URL
  /**
   * The server that the request is sent to, where that is not the one which the URL names: a `Host`
   * field of the caller's own may reach another server under the same name.
   */
  readonly server: string | undefined
  readonly hasContent: boolean
}

/** Reads the options of a dispatch; undefined where they are none that a cache understands. */
export function readRequest(options: Dispatcher.DispatchOptions): Request | undefined {
  const { origin, path } = options
  if (!origin || typeof path !== 'string' || !path.startsWith('/')) return undefined
  const fields = readFields(options.headers)
  const server = URL.canParse(String(origin)) ? new URL(String(origin)) : undefined
  if (server === undefined || fields === undefined) return undefined
  if (server.protocol !== 'http:' && server.protocol !== 'https:') return undefined

  const target = new URL(server.origin + pathWithQuery(path, options.query))
  target.hash = ''
  const host = typeof fields.host === 'string' ? fields.host : undefined
  const named = host !== undefined && host.toLowerCase() !== server.host
  if (named && URL.canParse(`${server.protocol}//${host}`)) {
    target.host = host
    // A target with another port keeps that of the server unless the field says so.
    if (!/:\d+$/.test(host)) target.port = ''
  }
  // undici's dns interceptor dispatches to an address, with the name as server name and in Host.
  const resolved = (options as { servername?: unknown }).servername === target.hostname
  return {
    method: options.method.toUpperCase(),
    url: target.href,
    target,
    server: named && !resolved ? server.origin : undefined,
    fields,
    hasContent: options.body !== undefined && options.body !== null && options.body !== '',
  }
}

function pathWithQuery(path: string, query: Dispatcher.DispatchOptions['query']): string {
  const serialized = query ? stringify(query as Record<string, string>) : ''
  return serialized === '' ? path : `${path}?${serialized}`
}

/** The fields of a request by lower-case name, from any of the shapes that undici accepts. */
function readFields(headers: Dispatcher.DispatchOptions['headers']): Fields | undefined {
  const fields: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of fieldLines(headers)) {
    if (typeof name !== 'string') return undefined
    const lines = Array.isArray(value) ? value.map(String) : [String(value)]
    if (value === undefined || value === null || lines.length === 0) continue
    const key = name.toLowerCase()
    const known = fields[key]
    const all = known === undefined ? lines : [known, lines].flat()
    fields[key] = all.length === 1 ? (all[0] as string) : all
  }
  return fields
}

type Headers = Dispatcher.DispatchOptions['headers']

function* fieldLines(headers: Headers): Iterable<readonly [unknown, unknown]> {
  if (headers === undefined || headers === null) return
  if (Array.isArray(headers)) {
    for (let index = 0; index + 1 < headers.length; index += 2) {
      yield [asText(headers[index]), headers[index + 1]]
    }
  } else if (isIterable(headers)) yield* headers
  else yield* Object.entries(headers)
}

function isIterable(value: object): value is Iterable<readonly [unknown, unknown]> {
  return Symbol.iterator in value
}

function asText(value: unknown): unknown {
  return Buffer.isBuffer(value) ? value.toString('latin1') : value
}

/** The headers of a dispatch with some more, in a shape that undici accepts. */
export function headersWith(
  headers: Headers,
  more: Readonly<Record<string, string>>,
): Record<string, unknown> | unknown[] {
  if (headers && typeof headers === 'object' && !isIterable(headers)) return { ...headers, ...more }
  const lines = [...fieldLines(headers), ...Object.entries(more)]
  return lines.flat() as unknown[]
}
