// Proves that the cache works: ten identical requests are made, and only one goes out.
// With a URL: requests that. Without: a server on this machine.

import { cacheInfo, cachingAgent } from 'caching-agent'
import { Agent, type Dispatcher, setGlobalDispatcher } from 'undici'
import { startServer } from './origin/server.ts'

let received = 0
const origin = await startServer((_, response) => {
  received += 1
  response.setHeader('Cache-Control', 'max-age=60').end('The same for everybody')
})
const url = process.argv[2] ?? `${origin.url}/report`

/** What is under the cache sees only the requests that the cache lets through. */
let sent = 0
const log: Dispatcher.DispatcherComposeInterceptor = (dispatch) => (options, handler) => {
  sent += 1
  console.log(`  sent: ${options.method} ${options.origin}${options.path}`)
  return dispatch(options, handler)
}

const agent = cachingAgent({
  store: 'memory:',
  expireAfter: '1h',
  dispatcher: new Agent().compose(log),
})
setGlobalDispatcher(agent)

for (let request = 1; request <= 10; request += 1) {
  const response = await fetch(url)
  await response.arrayBuffer()
  console.log(`Request ${request}: ${response.status} (${cacheInfo(response)?.status})`)
}
console.log(`10 requests were made, ${sent} went out`)
if (url.startsWith(origin.url)) console.log(`The server received ${received}`)

await agent.close()
await origin.close()
