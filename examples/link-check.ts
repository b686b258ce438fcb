// Checks links, and keeps what it has learnt in a file that is carried from one CI run to the next: see
// github-actions.yml. What is down is asked for again soon, what is there once a week.
// With URLs: checks those. Without: some of a server on this machine.

import { cacheInfo, cachingAgent } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { dispatcherTo } from './origin/any-host.ts'
import { startServer } from './origin/server.ts'

let received = 0
const origin = await startServer(({ url = '' }, response) => {
  received += 1
  response.writeHead(url.endsWith('/moved-away') ? 404 : 200).end()
})
const given = process.argv.slice(2)
const links = ['/', '/guide', '/guide/install', '/reference', '/moved-away']

const agent = cachingAgent({
  store: 'sqlite://.cache/http.sqlite',
  expireAfter: { '5xx': '1m', '4xx': '1h', '*': '7d' },
  ...(given.length === 0 && { dispatcher: dispatcherTo(origin) }),
})
setGlobalDispatcher(agent)
const { cache } = agent

/** @returns whether there is something */
async function check(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { method: 'HEAD' })
    const outcome = cacheInfo(response)?.status
    if (!response.ok) console.log(`${url}: ${response.status} (${outcome})`)
    return response.ok
  } catch (error) {
    console.log(`${url}: ${(error as Error).cause ?? error}`)
    return false
  }
}

const urls = given.length > 0 ? given : links.map((path) => `https://docs.example${path}`)
const results = await Promise.all(urls.map(check))
const { hit } = cache.stats().outcomes
console.log(`${results.filter(Boolean).length} of ${urls.length} links work; ${hit} were known`)
if (given.length === 0) console.log(`${received} requests received`)

// What nobody has asked for in a month is carried no further, nor the space that it took.
await cache.delete({ unusedFor: '30d' })
await cache.vacuum()
await agent.close()
await origin.close()
