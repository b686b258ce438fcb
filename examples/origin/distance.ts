// Moves a server away: what goes to it and what comes from it takes its time, as across a network.

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Origin } from './server.ts'

/** The same origin, `roundTrip` milliseconds away. */
export async function atDistance(origin: Origin, roundTrip: number): Promise<Origin> {
  const near = new URL(origin.url)
  const sockets = new Set<Socket>()
  const relay = createServer((socket) => {
    const upstream = connect(Number(near.port), near.hostname)
    carry(socket, upstream, roundTrip / 2)
    carry(upstream, socket, roundTrip / 2)
    sockets.add(socket.on('close', () => sockets.delete(socket)))
  })
  relay.listen(0, '127.0.0.1')
  await once(relay, 'listening')
  return {
    url: `http://127.0.0.1:${(relay.address() as AddressInfo).port}`,
    async close() {
      relay.close()
      for (const socket of sockets) socket.destroy()
      await origin.close()
    },
  }
}

function carry(from: Socket, to: Socket, delay: number): void {
  from.on('data', (bytes) => setTimeout(() => to.writable && to.write(bytes), delay))
  from.on('end', () => setTimeout(() => to.end(), delay))
  from.on('error', () => to.destroy())
}
