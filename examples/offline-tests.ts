// A test suite that needs no network: its requests are recorded once, into a file that is committed beside
// the tests, and replayed from then on. The weather service is on this machine.

import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CachingAgent, cachingAgent, NotStoredError } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { dispatcherTo } from './origin/any-host.ts'
import { startServer } from './origin/server.ts'

/** What is tested: it knows nothing of the cache. */
async function forecast(city: string): Promise<string> {
  const response = await fetch(`https://weather.example/forecast?city=${city}`)
  if (!response.ok) throw new Error(`no forecast for ${city}: ${response.status}`)
  const { sky, degrees } = (await response.json()) as { sky: string; degrees: number }
  return `${sky}, ${degrees} °C`
}

const tests: Readonly<Record<string, () => Promise<void>>> = {
  'a forecast is text': async () => assert.match(await forecast('Berlin'), /^\w+, -?\d+ °C$/),
  'a forecast is not invented': () => assert.rejects(forecast('Atlantis'), /404/),
}

// Nothing of what it sends may be stored, and no two answers are the same.
let received = 0
const service = await startServer(({ url = '' }, response) => {
  received += 1
  response.statusCode = url.endsWith('Atlantis') ? 404 : 200
  const degrees = Math.round(30 * Math.random())
  response.setHeader('Cache-Control', 'no-store').end(JSON.stringify({ sky: 'sunny', degrees }))
})

async function runTests(store: string, mode: 'record' | 'replay'): Promise<void> {
  // In a project: mode: process.env.RECORD ? 'record' : 'replay'
  const agent = cachingAgent({ store, mode, dispatcher: dispatcherTo(service) })
  setGlobalDispatcher(agent)
  received = 0
  for (const [name, test] of Object.entries(tests)) {
    await test()
    console.log(`  ok: ${name}`)
  }
  console.log(`  ${received} requests received; Berlin: ${await forecast('Berlin')}`)
  if (mode === 'record') await fetch('https://weather.example/imprint').then((r) => r.text())
  else await showMissing(agent)
  await agent.close()
}

/** A request that nobody has recorded fails, and says what there is instead. */
async function showMissing({ cache }: CachingAgent): Promise<void> {
  const error = await forecast('Bern').catch(({ cause }: Error) => cause)
  assert.ok(error instanceof NotStoredError)
  console.log(error.message.replaceAll(/^/gm, '  | '))
  for await (const { url } of cache.unused()) console.log(`  recorded, and of no use: ${url}`)
}

const folder = mkdtempSync(join(tmpdir(), 'recordings-'))
const file = join(folder, 'recordings.sqlite')
console.log("mode: 'record'")
await runTests(`sqlite://${file}`, 'record')

// In a checkout nobody may change it, and there is no network.
chmodSync(file, 0o444)
await service.close()
console.log("mode: 'replay'")
await runTests(`sqlite://${file}`, 'replay')

rmSync(folder, { recursive: true })
