// How long it takes to write and to read responses with random content, for several stores.
// Options: --responses 5000 --max-size 350000 (bytes), as you like; --store redis://localhost, or several, to
// measure others. What the cache as a whole costs and saves is told by npm run bench.

import { randomBytes, randomInt } from 'node:crypto'
import { parseArgs } from 'node:util'
import { HttpCache, type HttpCacheOptions } from 'caching-agent'
import { temporaryFolder } from './origin/temporary-folder.ts'

const { values } = parseArgs({
  options: {
    responses: { type: 'string', default: '50' },
    'max-size': { type: 'string', default: '100000' },
    store: { type: 'string', multiple: true },
  },
})
const [responses, maxSize] = [Number(values.responses), Number(values['max-size'])]

const file = (name: string) => `sqlite://${temporaryFolder()}/${name}.sqlite`
const contenders: Record<string, HttpCacheOptions> = values.store
  ? Object.fromEntries(values.store.map((store) => [store.replace(/\/\/.*@/, '//'), { store }]))
  : {
      'memory:': { store: 'memory:' },
      'a Map through Keyv': { store: new Map() },
      'sqlite:': { store: file('plain') },
      'sqlite:, compressed': { store: file('compressed'), compress: 'zstd' },
      'sqlite:, encrypted': { store: file('encrypted'), encrypt: randomBytes(32) },
    }

const contents = Array.from({ length: responses }, () =>
  // Text, so that it can be compressed; to a half, as its digits are random.
  randomBytes(randomInt(maxSize / 2)).toString('hex'),
)
const headers = { 'Content-Type': 'text/plain' }

/** @returns milliseconds for each of the responses */
async function measure(work: (url: string, content: string) => Promise<void>): Promise<number> {
  const start = performance.now()
  for (const [number, content] of contents.entries()) {
    await work(`https://benchmark.example/${number}`, content)
  }
  return (performance.now() - start) / contents.length
}

const size = contents.reduce((sum, content) => sum + content.length, 0)
console.log(`${responses} responses of ${(size / responses / 1000).toFixed(0)} KB on average`)
for (const [name, options] of Object.entries(contenders)) {
  // What is kept in memory would be read from there.
  const cache = new HttpCache({ ...options, memory: false })
  const write = () => measure((url, body) => cache.save(url, { headers, body }))
  const read = () =>
    measure(async (url, content) => {
      let length = 0
      const stored = await cache.get(url)
      for await (const bytes of stored?.content() ?? []) length += bytes.length
      if (length !== content.length) throw new Error(`${url} is not what was stored`)
    })
  await write() // to warm up
  const line = `${(await write()).toFixed(2)} ms to write, ${(await read()).toFixed(2)} ms to read`
  console.log(`${name.padEnd(20)} ${line}`)
  await cache.delete({ pattern: 'benchmark.example' })
  await cache.close()
}
