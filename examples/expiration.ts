// How long responses are fresh: by default, by URL, and for one request; the most specific word counts. And
// what becomes of them when they are stale: what can be validated is, and all else is fetched anew.

import { setTimeout as sleep } from 'node:timers/promises'
import { cacheInfo, cachingAgent, NEVER_EXPIRE } from 'caching-agent'
import { fetch } from 'undici'
import { startServer } from './origin/server.ts'

const origin = await startServer(({ url = '', headers }, response) => {
  const isKnown = headers['if-none-match'] === '"1"'
  if (url.endsWith('/article')) response.setHeader('ETag', '"1"')
  response.writeHead(isKnown ? 304 : 200).end(isKnown ? undefined : `The content of ${url}`)
})
const { host } = new URL(origin.url)
const agent = cachingAgent({
  store: 'memory:',
  expireAfter: '1h',
  urlsExpireAfter: { [`${host}/archive`]: NEVER_EXPIRE },
})

async function get(path: string, dispatcher = agent): Promise<void> {
  const response = await fetch(origin.url + path, { dispatcher })
  const content = await response.text()
  const { status, ttl = 0 } = cacheInfo(response) ?? {}
  const left = ttl === Infinity ? 'for ever' : `for ${(ttl / 1000).toFixed(0)} s`
  console.log(`  ${path}: ${status}, fresh ${left}; ${content.length} bytes`)
}

const briefly = agent.with({ expireAfter: '1s' })

console.log('Stored')
await get('/page')
await get('/archive/page')
await get('/news', briefly)
await get('/news/article', briefly)

console.log('Used')
for (const path of ['/page', '/archive/page', '/news', '/news/article']) await get(path)

await sleep(1100)
console.log('A second later')
for (const path of ['/page', '/archive/page', '/news', '/news/article']) await get(path)

console.log('What is stored keeps its expiration, unless it is given another one')
console.log(`  ${await agent.cache.resetExpiration('7d', { pattern: `${host}/page` })} response`)
await get('/page')

await agent.close()
await origin.close()
