// Polls an API that allows few requests: those that are answered with 304 do not count against its limit.
// With a URL, such as https://api.github.com/repos/nodejs/undici: polls that. Without: a server on this machine.

import { createHash } from 'node:crypto'
import { cacheInfo, cachingAgent } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { startServer } from './origin/server.ts'

let stars = 7000
let remaining = 60
const origin = await startServer((request, response) => {
  const content = JSON.stringify({ name: 'undici', stars })
  const etag = `"${createHash('sha256').update(content).digest('hex')}"`
  const isKnown = request.headers['if-none-match'] === etag
  if (!isKnown) remaining -= 1
  response.writeHead(isKnown ? 304 : 200, {
    ETag: etag,
    'Cache-Control': 'public, max-age=60',
    'X-RateLimit-Limit': 60,
    'X-RateLimit-Remaining': remaining,
  })
  response.end(isKnown ? undefined : content)
})
const url = process.argv[2] ?? `${origin.url}/repos/nodejs/undici`

// What is fresh for another minute is validated all the same: we want to know at once.
const agent = cachingAgent({ store: 'memory:', refresh: true })
setGlobalDispatcher(agent)

for (let poll = 1; poll <= 10; poll += 1) {
  if (poll === 6) stars += 1
  const response = await fetch(url)
  const content = await response.text()
  const left = response.headers.get('x-ratelimit-remaining')
  const outcome = cacheInfo(response)?.status
  console.log(`Poll ${poll}: ${outcome}, ${content.length} bytes, ${left} requests left`)
}

await agent.close()
await origin.close()
