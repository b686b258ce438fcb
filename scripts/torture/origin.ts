import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { contentOf, etagOf, nameOf } from './content.ts'
import { random } from './random.ts'

/** An origin server whose resources change with nearly every request. */
export interface Origin {
  readonly url: string
  /** The latest version of a resource that anybody has been sent; 0 for none. */
  version(name: string): number
  close(): void
}

/** @param cacheControl what the origin says of its responses */
export async function startOrigin(cacheControl = 'max-age=3600'): Promise<Origin> {
  const versions = new Map<string, number>()

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '/'
    const name = nameOf(path, request.headers['accept-language'])
    const current = versions.get(name) ?? 0
    request.resume()
    if (request.method !== 'GET') {
      response.writeHead(204).end()
      return
    }
    const isNamed = request.headers['if-none-match']?.includes(etagOf(name, current))
    const isUnchanged = isNamed === true && random() < 0.5
    const version = isUnchanged ? current : current + 1
    versions.set(name, version)
    response.setHeader('Cache-Control', cacheControl)
    response.setHeader('ETag', etagOf(name, version))
    response.setHeader('X-Version', version)
    response.setHeader('X-Name', name)
    response.setHeader('Content-Type', 'text/plain')
    // The time by a clock that no client turns.
    response.setHeader('X-Time', Date.now())
    if (path.startsWith('/vary/')) response.setHeader('Vary', 'Accept-Language')
    if (isUnchanged) {
      response.writeHead(304).end()
      return
    }
    const content = contentOf(name, version)
    if (random() < 0.7) response.setHeader('Content-Length', content.length)
    // Some take a while, so that much can happen in their middle.
    if (random() < 0.3) {
      response.write(content.subarray(0, content.length / 3))
      await delay(random() * 40)
      response.end(content.subarray(content.length / 3))
    } else response.end(content)
  }

  const server = createServer((request, response) => void answer(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    version: (name) => versions.get(name) ?? 0,
    close: () => server.close().closeAllConnections(),
  }
}
