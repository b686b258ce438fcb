// Asks a cache for what was known at an earlier time: a strategy is tested with the prices of its day, and
// cannot peek at those of tomorrow. The server is on this machine, and its days are short.

import { setTimeout as sleep } from 'node:timers/promises'
import { cachingAgent, NEVER_EXPIRE, withTerms } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { startServer } from './origin/server.ts'

const DAY = 100 // milliseconds

const origin = await startServer((_, response) => {
  response.end(String(100 + Math.round(20 * Math.random())))
})
const agent = cachingAgent({ store: 'memory:', expireAfter: NEVER_EXPIRE })
setGlobalDispatcher(agent)

/** The price of a day; undefined where it is not known. */
async function price(day: number): Promise<number | undefined> {
  const response = await fetch(`${origin.url}/prices/${day}`)
  const text = await response.text()
  return response.ok ? Number(text) : undefined
}

/** Runs a function at an earlier time: what was received later is as if it had not been. */
function at<T>(time: Date, fn: () => Promise<T>): Promise<T> {
  return withTerms({ onlyIfCached: true, filter: ({ storedAt }) => storedAt <= time }, fn)
}

const evenings: Date[] = []
for (let day = 1; day <= 5; day += 1) {
  console.log(`Day ${day}: ${await price(day)}`)
  await sleep(DAY)
  evenings.push(new Date())
}

for (const [index, evening] of evenings.entries()) {
  const known = await at(evening, () => Promise.all([1, 2, 3, 4, 5].map(price)))
  console.log(
    `On the evening of day ${index + 1}: ${known.map((each) => each ?? 'unknown').join(', ')}`,
  )
}

await agent.close()
await origin.close()
