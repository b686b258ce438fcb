import { once } from 'node:events'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import type { TestContext } from 'node:test'

/** An origin server of a test. */
export interface Origin {
  readonly url: string
  /** The requests that it received, in their order. */
  readonly seen: IncomingMessage[]
}

/** Starts an origin server on a free port; it ends with the test. */
export async function origin(
  t: Pick<TestContext, 'after'>,
  listener: (request: IncomingMessage, response: ServerResponse, count: number) => unknown,
): Promise<Origin> {
  const seen: IncomingMessage[] = []
  const handle: RequestListener = (request, response) => {
    seen.push(request)
    // node:http caches the date for a second, whatever a test does to the clock.
    response.setHeader('Date', new Date().toUTCString())
    listener(request, response, seen.length)
  }
  const server = createServer(handle)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen }
}
