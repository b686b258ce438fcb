// GraphQL over POST, cached: a request is known by what its JSON says. The order of its members and white
// space around them do not matter, variables do, and what is new in every request need not.
// With a URL: asks that GraphQL API for countries. Without: a server on this machine.

import { cacheInfo, cachingAgent } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { startGraphql } from './origin/graphql.ts'

const origin = await startGraphql()
const url = process.argv[2] ?? origin.url

const agent = cachingAgent({
  store: 'memory:',
  urlsExpireAfter: [
    [({ href }) => href.startsWith(url), { expireAfter: '1h', allowedMethods: ['POST'] }],
  ],
  ignoredParameters: ['extensions.requestId'],
})
setGlobalDispatcher(agent)

const query =
  'query ($code: ID!, $lang: String) { country(code: $code) { name(lang: $lang) capital } }'
const about = (code: string, lang: string) => {
  const extensions = { requestId: crypto.randomUUID() }
  return { query, variables: { code, lang }, extensions }
}
const { variables, ...others } = about('BR', 'en')

const bodies: [what: string, body: string][] = [
  ['Brazil', JSON.stringify(about('BR', 'en'))],
  ['the same', JSON.stringify(about('BR', 'en'))],
  ['in another order, and indented', JSON.stringify({ variables, ...others }, null, 2)],
  ['another country', JSON.stringify(about('JP', 'en'))],
  ['another language', JSON.stringify(about('BR', 'pt'))],
]

for (const [what, body] of bodies) {
  const headers = { 'Content-Type': 'application/json' }
  const response = await fetch(url, { method: 'POST', headers, body })
  const { data } = (await response.json()) as { data: { country: unknown } }
  console.log(`${what}: ${JSON.stringify(data.country)} (${cacheInfo(response)?.status})`)
}
if (url === origin.url) console.log(`The server received ${origin.received} requests`)

await agent.close()
await origin.close()
