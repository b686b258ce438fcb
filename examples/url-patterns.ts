// Expirations by URL: an hour by default, a week for a base URL, and never for a pattern of hosts.
// With URLs: requests those. Without: all hosts are a server on this machine, which says nothing about caching.

import { cacheInfo, cachingAgent, NEVER_EXPIRE } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { dispatcherTo } from './origin/any-host.ts'
import { startServer } from './origin/server.ts'

const given = process.argv.slice(2)
const urls = [
  'https://httpbin.org/get', // matches no rule: an hour
  'https://httpbin.org/image/jpeg', // under the base URL: a week
  'https://httpbin.org/image/png',
  'https://httpbin.org/images', // not under it: an hour
  'https://www.fillmurray.com/460/300', // matches the pattern: never
]

const origin = await startServer((request, response) => {
  response.end(`${request.headers.host}${request.url}`)
})
const agent = cachingAgent({
  store: 'memory:',
  expireAfter: '1h',
  urlsExpireAfter: {
    'httpbin.org/image': '7d',
    '*.fillmurray.com': NEVER_EXPIRE,
  },
  ...(given.length === 0 && { dispatcher: dispatcherTo(origin) }),
})
setGlobalDispatcher(agent)

for (const run of ['First', 'Second']) {
  console.log(`${run} run`)
  for (const url of given.length > 0 ? given : urls) {
    const response = await fetch(url)
    await response.text()
    const info = cacheInfo(response)
    const expires = info?.ttl === Infinity ? 'Never' : info?.expires?.toISOString()
    console.log(`${url}: ${expires} (${info?.status})`)
  }
}

await agent.close()
await origin.close()
