// A client of an API with keys, as SDKs are: one key in a header field, another one in the query, a
// password in JSON. Each key has its own responses, and nothing of any key is in the cache file.

import { readdirSync, readFileSync } from 'node:fs'
import { cacheInfo, cachingAgent } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { startServer } from './origin/server.ts'

const file = 'api-keys.sqlite'
const origin = await startServer(({ headers, url = '' }, response) => {
  const key = headers['x-api-key'] ?? new URL(url, 'http://api').searchParams.get('api_key')
  response.setHeader('Cache-Control', 'max-age=3600')
  // As APIs do, it repeats the query where it tells of further pages.
  response.setHeader('Link', `<${url}&page=2>; rel="next"`)
  response.end(`the reports of customer ${String(key).slice(-1)}`)
})

const agent = cachingAgent({ store: `sqlite://${file}`, allowedMethods: ['GET', 'POST'] })
setGlobalDispatcher(agent)

/** The client. It knows nothing of the cache. */
const client = (key: string) => ({
  reports: () => fetch(`${origin.url}/reports?year=2026`, { headers: { 'X-API-Key': key } }),
  reportsByUrl: () => fetch(`${origin.url}/reports?year=2026&api_key=${key}`),
  logIn: (password: string) =>
    fetch(`${origin.url}/token?year=2026`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-API-Key': key },
      body: JSON.stringify({ user: 'reporter', password }),
    }),
})

const keys = ['sk-live-0123456789-1', 'sk-live-0123456789-2']
const password = 'correct horse battery staple'
for (const run of ['First', 'Second']) {
  console.log(`${run} run`)
  for (const key of keys) {
    const { reports, reportsByUrl, logIn } = client(key)
    for (const response of [await reports(), await reportsByUrl(), await logIn(password)]) {
      console.log(`${await response.text()} (${cacheInfo(response)?.status})`)
    }
  }
}

console.log('What is stored, as the cache tells it')
for (const url of await agent.cache.urls()) console.log(url.replace(origin.url, 'http://api'))
await agent.close()
await origin.close()

const files = readdirSync('.').filter((name) => name.startsWith(file))
const bytes = Buffer.concat(files.map((name) => readFileSync(name)))
const found = [...keys, password].filter((secret) => bytes.includes(secret))
console.log(`${bytes.length} bytes searched: ${found.length} of ${keys.length + 1} secrets found`)
