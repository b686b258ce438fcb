import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
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
  const server = createServer((request, response) => {
    seen.push(request)
    // node:http caches the date for a second, whatever a test does to the clock.
    response.setHeader('Date', new Date().toUTCString())
    listener(request, response, seen.length)
  })
  return { url: await listen(t, server), seen }
}

/** Lets a server listen on a free port; it ends with the test, and all its connections with it. */
export async function listen(t: Pick<TestContext, 'after'>, server: Server): Promise<string> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket)).on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
