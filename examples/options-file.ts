// All options from a JSON file, so that whoever runs a program can change how it caches.
// With the path of such a file: tells what it means for the requests below. Without: options-file.json.

import { readFileSync } from 'node:fs'
import { type AgentOptions, cacheInfo, cachingAgent } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { dispatcherTo } from './origin/any-host.ts'
import { startServer } from './origin/server.ts'

const API = 'https://api.example/v1'

/** @throws TypeError where an option is unknown or malformed: it says which one, and what is expected */
function readOptions(file: string | URL): AgentOptions {
  return JSON.parse(readFileSync(file, 'utf8'))
}

const origin = await startServer((request, response) => {
  const isThere = request.url !== '/v1/user/2'
  if (request.url === '/v1/rates') response.setHeader('Cache-Control', 'max-age=60')
  response.writeHead(isThere ? 200 : 404).end('content')
})
const dispatcher = dispatcherTo(origin)
const file = process.argv[2] ?? new URL('options-file.json', import.meta.url)
const agent = cachingAgent({ ...readOptions(file), dispatcher })
setGlobalDispatcher(agent)

// biome-ignore format: one request a row
const requests: [what: string, path: string, init?: RequestInit][] = [
  ['a constant', '/constants/pi'],
  ['the time', '/clock'],
  ['what says for how long', '/rates'],
  ['what does not', '/user/1'],
  ['what is not there', '/user/2'],
  ['the same but for a parameter', '/user/1?utm_source=mail'],
  ['the same but for that', '/user/1?utm_source=chat'],
  ['in another language', '/user/1', { headers: { 'Accept-Language': 'de' } }],
  ['a search', '/search', { method: 'POST', body: 'pi' }],
  ['the same search', '/search', { method: 'POST', body: 'pi' }],
]
for (const [what, path, init] of requests) {
  const response = await fetch(API + path, init)
  await response.text()
  const { status, ttl } = cacheInfo(response) ?? {}
  const seconds = ttl === Infinity ? 'ever' : `${Math.round((ttl ?? 0) / 1000)} s`
  console.log(`${what}: ${status}${ttl === undefined ? '' : `, fresh for ${seconds}`}`)
}

try {
  cachingAgent({ expireAfter: '1 hou', dispatcher } satisfies AgentOptions)
} catch (error) {
  console.log(`A mistake in the file: ${(error as Error).message}`)
}
await agent.close()
await origin.close()
