// The cache under all requests of a program, and the way back: what is slow is asked for once, with what has
// to be new the cache is passed by, and in the end everything is as it was.
// With a URL: requests that. Without: a slow server on this machine.

import { setTimeout as sleep } from 'node:timers/promises'
import { cacheInfo, cachingAgent, disabled } from 'caching-agent'
import { getGlobalDispatcher, setGlobalDispatcher } from 'undici'
import { startServer } from './origin/server.ts'

const origin = await startServer(async ({ url }, response) => {
  if (url !== '/time') await sleep(100)
  response.end(new Date().toISOString())
})
const url = process.argv[2] ?? `${origin.url}/slow`
const clock = `${origin.url}/time`

async function get(url: string): Promise<string> {
  const response = await fetch(url)
  await response.text()
  return cacheInfo(response)?.status ?? 'nothing is known of a cache'
}

async function fiveTimes(): Promise<void> {
  const start = performance.now()
  const outcomes: string[] = []
  for (let request = 0; request < 5; request += 1) outcomes.push(await get(url))
  console.log(
    `  ${[...new Set(outcomes)].join(', then ')}: ${Math.round(performance.now() - start)} ms`,
  )
}

console.log('Five requests without a cache')
await fiveTimes()

const before = getGlobalDispatcher()
const agent = cachingAgent({ store: 'memory:', expireAfter: '1h' })
setGlobalDispatcher(agent)
console.log('Five requests with one')
await fiveTimes()
await fiveTimes()

console.log('What time is it?')
console.log(`  ${await get(clock)}, ${await get(clock)}`)
console.log(`  without the cache: ${await disabled(() => get(clock))}`)

console.log('What is stored')
for (const stored of await agent.cache.urls()) console.log(`  ${stored}`)

setGlobalDispatcher(before)
await agent.close()
console.log('Back to no cache')
await fiveTimes()
await origin.close()
