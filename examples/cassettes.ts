// Records what a program requests into cassettes, as VCR does: a HAR for each host, without secrets, which can
// be read, reviewed and committed; and replays them without a network.
// With one store for all, and of requests with content as well: see offline-tests.ts.

import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { type AgentOptions, cachingAgent } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { dispatcherTo } from './origin/any-host.ts'
import { startServer } from './origin/server.ts'
import { temporaryFolder } from './origin/temporary-folder.ts'

const TOKEN = 'secret-4711'

/** The program. It knows nothing of cassettes. */
async function report(): Promise<string> {
  const headers = { Authorization: `Bearer ${TOKEN}` }
  const get = async (url: string) => (await fetch(url, { headers })).text()
  const city = await get(`https://people.example/me/city?access_token=${TOKEN}`)
  const [sky, news] = await Promise.all([
    get(`https://weather.example/now?city=${city}`),
    get(`https://news.example/latest?city=${city}`),
  ])
  return `${city}: ${sky}, ${news}`
}

let received = 0
const answers: Record<string, string> = {
  'people.example': 'Basel',
  'weather.example': 'sunny',
  'news.example': `nothing happened until ${new Date().toISOString()}`,
}
const services = await startServer(({ headers }, response) => {
  received += 1
  response.setHeader('Set-Cookie', 'session=4711').setHeader('Cache-Control', 'no-store')
  response.end(answers[headers.host ?? ''])
})

// Whoever replays has other secrets, or none.
const terms = {
  partitionBy: false,
  ignoredParameters: ['access_token'],
} as const satisfies AgentOptions
const folder = `${temporaryFolder()}/cassettes`
mkdirSync(folder)

const recorder = cachingAgent({
  store: 'memory:',
  mode: 'record',
  dispatcher: dispatcherTo(services),
  ...terms,
})
setGlobalDispatcher(recorder)
console.log(`Recorded: ${await report()}`)
const hosts = new Set((await recorder.cache.urls()).map((url) => new URL(url).host))
for (const host of hosts) {
  await recorder.cache.exportHar(`${folder}/${host}.har`, { filter: { pattern: host } })
}
await recorder.close()
await services.close()
console.log(`${received} requests received`)

const cassettes = readdirSync(folder).sort()
console.log(`Cassettes: ${cassettes.join(', ')}`)
const texts = cassettes.map((name) => readFileSync(`${folder}/${name}`, 'utf8'))
console.log(`Secrets in them: ${texts.filter((text) => text.includes('4711')).length}`)

const player = cachingAgent({ store: 'memory:', mode: 'replay', ...terms })
setGlobalDispatcher(player)
for (const name of cassettes) await player.cache.importHar(`${folder}/${name}`)
console.log(`Replayed: ${await report()}`)
await player.close()
