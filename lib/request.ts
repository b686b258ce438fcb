import { stringify } from 'node:querystring'
import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { LRUCache } from './lru.ts'
import { fieldValue } from './rfc9111/fields.ts'
import type { Fields, RequestMessage } from './rfc9111/message.ts'

/** A request as it reached `dispatch`, in the terms of HTTP. */
export interface Request extends RequestMessage {
  readonly target: URL
  /**
   * The server that the request is sent to, where that is not the one which the URL names: a `Host`
   * field of the caller's own may reach another server under the same name.
   */
  readonly server: string | undefined
  /** Whether the request has content; a stream has to be asked. */
  readonly content: 'none' | 'some' | Readable
  /** The method that a field asks the origin to take it for; `''` where several ask for different ones. */
  readonly override?: string
}

/** The fields by which clients that know only GET and POST ask for other methods. */
const METHOD_OVERRIDES = ['x-http-method-override', 'x-http-method', 'x-method-override']

/** The method that a request is to be taken for. */
export function effectiveMethod({
  method,
  override,
}: Pick<Request, 'method' | 'override'>): string {
  return override ?? method
}

/** The value of a `Host` field (RFC 9110 §7.2). */
const HOST = /^(?:[\w.-]+|\[[\da-f:.]+\])(?::\d+)?$/i

/**
 * The options of a dispatch with headers that can be read more than once: an iterator is at its end once it has
 * been, and would leave nothing for undici to send.
 */
export function withRereadableHeaders(
  options: Dispatcher.DispatchOptions,
): Dispatcher.DispatchOptions {
  const { headers } = options
  if (typeof headers !== 'object' || headers === null || isRecord(headers)) return options
  if (Array.isArray(headers)) return options
  const lines = headers as Iterable<readonly [string, string]>
  const iterator = lines[Symbol.iterator]()
  if ((iterator as unknown) !== lines) return options
  const read = [...lines]
  return { ...options, headers: { [Symbol.iterator]: () => read[Symbol.iterator]() } as never }
}

/** Reads the options of a dispatch; undefined where they are none that a cache understands. */
export function readRequest(options: Dispatcher.DispatchOptions): Request | undefined {
  const { origin, path, method } = options
  if (typeof method !== 'string' || !origin || typeof path !== 'string') return undefined
  // What a URL parser would change in the path, two requests may differ by.
  if (!path.startsWith('/') || /[\\#]/.test(path)) return undefined
  const fields = readFields(options.headers)
  if (fields === undefined) return undefined
  const where = readTarget(
    String(origin),
    pathWithQuery(path, options.query),
    fieldValue(fields, 'host'),
  )
  if (where === undefined) return undefined
  // undici's dns interceptor dispatches to an address, with the name as server name and in Host.
  const isResolved = (options as { servername?: unknown }).servername === where.target.hostname
  const override = readOverride(fields)
  return {
    method: method.toUpperCase(),
    url: where.url,
    target: where.target,
    server: isResolved ? undefined : where.server,
    fields,
    content: contentOf(options.body),
    ...(override !== undefined && { override }),
  }
}

function readOverride(fields: Fields): string | undefined {
  let override: string | undefined
  for (const name of METHOD_OVERRIDES) {
    if (fields[name] === undefined) continue
    const value = fieldValue(fields, name)?.trim().toUpperCase() ?? ''
    override = override === undefined || override === value ? value : ''
  }
  return override
}

type Target = Pick<Request, 'url' | 'target' | 'server'>
type Server = Pick<URL, 'origin' | 'host'>

const NO_SERVER = { protocol: '', origin: '', host: '' }

/** The targets of requests that were made recently, which are likely to be made again. */
const targets = new LRUCache<string, Target>({ max: 1000 })

/** The same of servers. */
const servers = new LRUCache<string, Server>({ max: 1000 })

/** An http or https server; undefined where it is none. */
function readServer(text: string): Server | undefined {
  const known = servers.get(text)
  if (known !== undefined) return known
  const { protocol, origin, host } = URL.canParse(text) ? new URL(text) : NO_SERVER
  if (protocol !== 'http:' && protocol !== 'https:') return undefined
  servers.set(text, { origin, host })
  return { origin, host }
}

/** Where a request goes; undefined where that is no http or https server. */
function readTarget(origin: string, path: string, host: string | undefined): Target | undefined {
  const asked = `${origin} ${path} ${host ?? ''}`
  const known = targets.get(asked)
  if (known !== undefined) return known
  const server = readServer(origin)
  if (server === undefined) return undefined
  const target = new URL(server.origin + path)
  const isNamed = host !== undefined && host.toLowerCase() !== server.host
  if (isNamed) {
    if (!HOST.test(host)) return undefined
    target.host = host
    // Without a port of its own the field means the default one.
    if (!/:\d+$/.test(host)) target.port = ''
  }
  const read = { url: target.href, target, server: isNamed ? server.origin : undefined }
  targets.set(asked, read)
  return read
}

function contentOf(body: unknown): Request['content'] {
  if (body === undefined || body === null || body === '') return 'none'
  if (body instanceof Uint8Array) return body.length === 0 ? 'none' : 'some'
  return body instanceof Readable ? body : 'some'
}

/** How long a stream may take to show whether there is anything in it, in milliseconds. */
const STREAM_PATIENCE = 100

/** Whether there is anything in a stream, which stays as it was. undici's `pipeline` sends one even with GET. */
export async function hasContent(content: Request['content']): Promise<boolean> {
  if (!(content instanceof Readable)) return content === 'some'
  const { promise, resolve } = Promise.withResolvers<boolean>()
  if (content.readableEnded) return false
  const look = () => resolve(content.readableLength > 0)
  const giveUp = () => resolve(true)
  const timer = setTimeout(giveUp, STREAM_PATIENCE)
  content.on('readable', look).on('end', look).on('close', giveUp).on('error', giveUp)
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    content.off('readable', look).off('end', look).off('close', giveUp).off('error', giveUp)
    // Without listeners a stream returns to its initial mode, in the next tick.
    await new Promise((resume) => setImmediate(resume))
  }
}

function pathWithQuery(path: string, query: Dispatcher.DispatchOptions['query']): string {
  const serialized = query ? stringify(query as Record<string, string>) : ''
  return serialized === '' ? path : `${path}?${serialized}`
}

const NO_FIELDS: Fields = Object.freeze(Object.create(null))

/**
 * The fields of a request by lower-case name, from any of the shapes that undici accepts; undefined where it
 * refuses them.
 */
export function readFields(headers: Dispatcher.DispatchOptions['headers']): Fields | undefined {
  if (headers === undefined || headers === null) return NO_FIELDS
  // What undici refuses is left to undici.
  if (typeof headers !== 'object') return undefined
  const fields: Record<string, string | string[]> = Object.create(null)
  if (isRecord(headers)) {
    for (const name of Object.keys(headers)) addField(fields, name, headers[name])
    return fields
  }
  for (const line of fieldLines(headers)) {
    if (!Array.isArray(line) || typeof line[0] !== 'string') return undefined
    addField(fields, line[0], line[1])
  }
  return fields
}

function addField(fields: Record<string, string | string[]>, name: string, value: unknown): void {
  if (value === undefined || value === null) return
  const key = name.toLowerCase()
  const known = fields[key]
  if (typeof value === 'string' && known === undefined) {
    fields[key] = value
    return
  }
  const lines = Array.isArray(value) ? value.map(String) : [String(value)]
  const all = known === undefined ? lines : [known, lines].flat()
  if (all.length > 0) fields[key] = all.length === 1 ? (all[0] as string) : all
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

function isRecord(headers: Headers): headers is Record<string, string | string[] | undefined> {
  return typeof headers === 'object' && headers !== null && !isIterable(headers)
}

function isIterable(value: object): value is Iterable<readonly [unknown, unknown]> {
  return Symbol.iterator in value
}

function asText(value: unknown): unknown {
  return Buffer.isBuffer(value) ? value.toString('latin1') : value
}

/** Request fields that are about what the caller has or wants, and not about what is stored. */
export const OF_THE_CALLER: readonly string[] = [
  'cache-control',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'pragma',
]

/** The headers of a dispatch with some more, in a shape that undici accepts. */
export function headersWith(
  headers: Headers,
  more: Readonly<Record<string, string>>,
): Record<string, unknown> | unknown[] {
  if (isRecord(headers)) return { ...headers, ...more }
  const lines = [...fieldLines(headers), ...Object.entries(more)]
  return lines.flat() as unknown[]
}

/** The headers of a dispatch without some, which are named in lower case. */
export function headersWithout(
  headers: Headers,
  names: readonly string[],
): Record<string, unknown> | unknown[] {
  const kept = [...fieldLines(headers)].filter(
    ([name]) => !names.includes(String(name).toLowerCase()),
  )
  return isRecord(headers) ? Object.fromEntries(kept) : (kept.flat() as unknown[])
}
