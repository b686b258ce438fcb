// How many requests a program can make in a second while more and more of them are answered from the cache.
// Options: --seconds 3, --urls 500: for how long, and how many there are to choose from.

import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { cachingAgent } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { startServer } from './origin/server.ts'

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    urls: { type: 'string', default: '500' },
  },
})
const [seconds, urls] = [Number(values.seconds), Number(values.urls)]
const STEP = seconds * 100 // milliseconds: ten lines

const origin = await startServer(async (_, response) => {
  await sleep(20)
  response.end('content')
})
const agent = cachingAgent({ store: 'memory:', expireAfter: '30s' })
setGlobalDispatcher(agent)

const end = performance.now() + 10 * STEP
async function askForMore(): Promise<void> {
  while (performance.now() < end) {
    const url = `${origin.url}/${Math.floor(Math.random() * urls)}`
    await (await fetch(url)).text()
    // What comes out of memory comes so soon that nothing else would get its turn.
    await sleep()
  }
}

async function report(): Promise<void> {
  for (let line = 1; line <= 10; line += 1) {
    await sleep(STEP)
    const { requests, hitRatio } = agent.cache.stats()
    agent.cache.resetStats()
    const time = `${((line * STEP) / 1000).toFixed(1)} s`.padStart(6)
    const perSecond = Math.round((requests * 1000) / STEP)
    const fromCache = Math.round(hitRatio * 100)
    const bar = '█'.repeat(Math.ceil(fromCache / 4)).padEnd(25, '░')
    console.log(`${time} ${bar} ${fromCache} % from the cache, ${perSecond} requests a second`)
  }
}

await Promise.all([report(), ...Array.from({ length: 10 }, askForMore)])
await agent.close()
await origin.close()
