import { text } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import { type AgentOptions, type CachingAgent, cacheInfo, cachingAgent } from 'caching-agent'
import * as undici from 'undici'

/** An agent with a store in memory, unless the options say otherwise; it is closed with the test. */
export function testAgent(t: Pick<TestContext, 'after'>, options: AgentOptions = {}): CachingAgent {
  const isStored = options.store !== undefined || options.cache !== undefined
  const agent = cachingAgent({ ...(!isStored && { store: 'memory:' }), ...options })
  // MockAgent cannot be destroyed.
  t.after(() => agent.destroy().catch(() => agent.close()))
  return agent
}

/** The built-in fetch through a dispatcher. Its types know only the dispatchers of Node's own undici. */
export function fetchWith(
  dispatcher: undici.Dispatcher,
  url: string | URL,
  init: Omit<RequestInit, 'dispatcher'> = {},
): Promise<Response> {
  return fetch(url, { ...init, dispatcher } as unknown as RequestInit)
}

/** Fetches a URL and reads the response. */
export async function get(
  dispatcher: undici.Dispatcher,
  url: string | URL,
  init: Omit<RequestInit, 'dispatcher'> = {},
) {
  const response = await fetchWith(dispatcher, url, init)
  const body = await response.text()
  return { response, body, status: response.status, info: cacheInfo(response) }
}

/** What the cache did for each of some requests made one after the other. */
export async function outcomes(
  dispatcher: undici.Dispatcher,
  url: string,
  inits: readonly RequestInit[],
): Promise<(string | undefined)[]> {
  const all: (string | undefined)[] = []
  for (const init of inits) all.push((await get(dispatcher, url, init)).info?.status)
  return all
}

/** A response as all ways to make a request return it. */
export interface Answer {
  readonly status: number
  readonly body: string
  readonly headers: Record<string, string>
}

type Client = (dispatcher: undici.Dispatcher, url: string) => Promise<Answer>

function plain(headers: Iterable<[string, string]> | Record<string, unknown>) {
  const entries = Symbol.iterator in headers ? headers : Object.entries(headers)
  return Object.fromEntries(
    [...(entries as Iterable<[string, unknown]>)].map(([name, value]) => [name, String(value)]),
  )
}

/** undici's request, its content read as text. */
export async function requestText(dispatcher: undici.Dispatcher, url: string): Promise<Answer> {
  const { statusCode, headers, body } = await undici.request(url, { dispatcher })
  return { status: statusCode, body: await body.text(), headers: plain(headers) }
}

/** All ways to make a request. */
export const clients: Readonly<Record<string, Client>> = {
  async 'built-in fetch'(dispatcher, url) {
    const response = await fetchWith(dispatcher, url)
    const headers = plain([...response.headers])
    return { status: response.status, body: await response.text(), headers }
  },
  async 'undici fetch'(dispatcher, url) {
    const response = await undici.fetch(url, { dispatcher })
    const headers = plain([...response.headers])
    return { status: response.status, body: await response.text(), headers }
  },
  request: requestText,
  async stream(dispatcher, url) {
    const { PassThrough } = await import('node:stream')
    const sink = new PassThrough()
    const read = text(sink)
    let status = 0
    let headers: Record<string, string> = {}
    await undici.stream(url, { dispatcher, method: 'GET' }, (response) => {
      status = response.statusCode
      headers = plain(response.headers)
      return sink
    })
    return { status, body: await read, headers }
  },
  async pipeline(dispatcher, url) {
    let status = 0
    let headers: Record<string, string> = {}
    const duplex = undici.pipeline(url, { dispatcher, method: 'GET' }, (response) => {
      status = response.statusCode
      headers = plain(response.headers)
      return response.body
    })
    duplex.end()
    const body = await text(duplex)
    return { status, body, headers }
  },
}
