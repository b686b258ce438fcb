// Decides by itself what makes requests the same: here the format in which a program understands responses is
// part of the key, so that what an earlier version has stored is left alone; and mirrors share what they have.

import { cacheInfo, cachingAgent, HttpCache } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { dispatcherTo } from './origin/any-host.ts'
import { startServer } from './origin/server.ts'

const MIRRORS = /^(?:eu|us|asia)\.mirror\.example$/

const origin = await startServer(({ url, headers }, response) => {
  response.end(`${url} in the format ${headers['x-format']}`)
})
const cache = new HttpCache({ store: 'memory:' })

/** A program in one of its versions. */
function start(format: string) {
  const agent = cachingAgent({
    cache,
    expireAfter: '1d',
    dispatcher: dispatcherTo(origin),
    // Methods and credentials count in any case.
    cacheKey: ({ url }, defaultKey) =>
      `${format} ${MIRRORS.test(url.hostname) ? url.pathname : defaultKey}`,
  })
  return async (url: string) => {
    setGlobalDispatcher(agent)
    const response = await fetch(url, { headers: { 'X-Format': format } })
    console.log(`  ${url}: ${await response.text()} (${cacheInfo(response)?.status})`)
  }
}

const [first, second] = [start('1'), start('2')]
console.log('Version 1')
await first('https://data.example/rates')
await first('https://data.example/rates')
console.log('Version 2 asks anew')
await second('https://data.example/rates')
await second('https://data.example/rates')
console.log('Version 1 still finds what it has stored')
await first('https://data.example/rates')
console.log('What one mirror has, no other one is asked for')
await second('https://eu.mirror.example/file')
await second('https://us.mirror.example/file')
await second('https://mirror.example/file')
console.log(`${await cache.count()} responses are stored`)

await cache.close()
await origin.close()
