// All hosts of the web on this machine.

import { Agent, buildConnector } from 'undici'
import type { Origin } from './server.ts'

/** A dispatcher that sends all requests, whatever their scheme, host and port, to one origin. */
export function dispatcherTo({ url }: Origin): Agent {
  const { protocol, hostname, port } = new URL(url)
  const connect = buildConnector({})
  return new Agent({
    connect: (options, callback) => connect({ ...options, protocol, hostname, port }, callback),
  })
}
