// Replays offline what a browser has recorded: its developer tools save all requests of a page as a HAR. And
// writes what is cached as a HAR, which they open.
// With the path of a HAR: lists what can be replayed of it. Without: replays one of a page about the weather.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { cachingAgent } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { temporaryFolder } from './origin/temporary-folder.ts'

const [given] = process.argv.slice(2)
const recorded = given ?? fileURLToPath(new URL('origin/weather.har', import.meta.url))

// Nothing is sent: there need not be a network.
const agent = cachingAgent({ store: 'memory:', mode: 'offline', missing: 'error' })
setGlobalDispatcher(agent)
const { cache } = agent

const { imported } = await cache.importHar(recorded, {
  onSkip: (url, reason) => console.log(`Skipped ${url}: ${reason}`),
})
console.log(`${imported} responses can be replayed:`)
for await (const { method, status, url, contentType, size } of cache.entries({ sort: 'url' })) {
  console.log(`  ${method} ${status} ${url} ${contentType} ${size} bytes`)
}

if (given === undefined) {
  console.log('Replayed')
  const page = await fetch('https://weather.example/')
  const [, city] = /<h1>(.*)<\/h1>/.exec(await page.text()) ?? []
  const how = page.redirected ? 'after a redirect' : 'as it is'
  console.log(`  the page, ${how}: ${page.url} (${city})`)
  const now = await fetch('https://weather.example/api/now?city=K%C3%B6ln')
  console.log(`  what its script asks for: ${await now.text()}`)
  const image = Buffer.from(await (await fetch('https://weather.example/sun.png')).arrayBuffer())
  const size = `${image.readUInt32BE(16)} x ${image.readUInt32BE(20)}`
  console.log(`  an image of ${size} pixels, byte by byte`)
  const { cause } = await fetch('https://weather.example/tomorrow').catch((error) => error)
  console.log(`  what was not recorded: ${cause.message}`.replaceAll('\n', '\n    '))
}

const path = `${temporaryFolder()}/exported.har`
const filter = { contentType: ['text/*', 'application/json'] }
const { exported } = await cache.exportHar(path, { filter })
const { log } = JSON.parse(readFileSync(path, 'utf8'))
console.log(`Exported ${exported} texts, as a HAR ${log.version} of ${log.entries.length} entries`)
await agent.close()
