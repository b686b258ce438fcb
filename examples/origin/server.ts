// An origin server of an example, on a free port of this machine.

import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Something that is served until it is closed. */
export interface Origin {
  readonly url: string
  close(): Promise<void>
}

/** Starts a server that listens to this machine alone. */
export async function startServer(listener: RequestListener): Promise<Origin> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

/** A port at which nobody listens (any more). */
export async function freePort(): Promise<string> {
  const { url, close } = await startServer(() => {})
  await close()
  return new URL(url).port
}
