// Remembers for a short while that there is nothing, or that a server is down, so that nobody asks in vain.
// The server is on this machine: it knows one user, and is down for a while.

import { setTimeout as sleep } from 'node:timers/promises'
import { cacheInfo, cachingAgent } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { startServer } from './origin/server.ts'

let received = 0
let isDown = false
const known = ['/users/1', '/orders']
const origin = await startServer(({ url = '' }, response) => {
  received += 1
  response.statusCode = isDown ? 503 : known.includes(url) ? 200 : 404
  response.end()
})

const agent = cachingAgent({
  store: 'memory:',
  // A user may appear any minute, a server recover any moment; what there is changes once an hour.
  expireAfter: { 404: '1m', '5xx': '500ms', '*': '1h' },
})
setGlobalDispatcher(agent)

/** Asks ten times, as a program does that is not careful. */
async function ask(path: string): Promise<void> {
  received = 0
  const answers: string[] = []
  for (let request = 0; request < 10; request += 1) {
    const response = await fetch(origin.url + path)
    await response.arrayBuffer()
    answers.push(`${response.status} (${cacheInfo(response)?.status})`)
  }
  const [first, ...others] = answers
  const then = [...new Set(others)].join(', ')
  console.log(`${path}: first ${first}, then ${then}; ${received} of 10 requests received`)
}

await ask('/users/1')
await ask('/users/2')
isDown = true
await ask('/orders')
isDown = false
console.log('The server is back, and half a second later this is known:')
await sleep(600)
await ask('/orders')

await agent.close()
await origin.close()
