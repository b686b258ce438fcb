// Fills a cache file with many responses, of which some have expired, and measures what it takes to find and
// to delete them. A million of them are measured by npm run bench -- manage.
// With a number: of so many responses, such as 100000.

import { randomBytes, randomInt } from 'node:crypto'
import { statSync } from 'node:fs'
import { HttpCache } from 'caching-agent'
import { temporaryFolder } from './origin/temporary-folder.ts'

const total = Number(process.argv[2] ?? 2000)
const path = `${temporaryFolder()}/many.sqlite`
const cache = new HttpCache({ store: `sqlite://${path}`, maxSize: '100GB' })

async function timed<T>(what: string, work: () => Promise<T>): Promise<void> {
  const start = performance.now()
  const result = await work()
  const seconds = ((performance.now() - start) / 1000).toFixed(3)
  console.log(`${what}: ${typeof result === 'number' ? `${result} ` : ''}in ${seconds} s`)
}

function sizeOfFile(): string {
  return `The file has ${(statSync(path).size / 1e6).toFixed(1)} MB`
}

/** Saves some of the responses, one after the other: every tenth is stale a millisecond later. */
async function save(numbers: Iterable<number>): Promise<void> {
  for (const number of numbers) {
    const expireAfter = number % 10 === 0 ? '1ms' : '30d'
    const url = `https://many.example/${number}/${randomBytes(8).toString('hex')}`
    const headers = { 'Content-Type': number % 3 === 0 ? 'image/png' : 'application/json' }
    await cache.save(url, { headers, body: randomBytes(randomInt(5000)) }, { expireAfter })
  }
}

const numbers = Array(total).keys()
await timed(`Saved ${total}`, () => Promise.all(Array.from({ length: 20 }, () => save(numbers))))
await timed('Counted', () => cache.count())
await timed('Images counted', () => cache.count({ contentType: 'image/*' }))
await timed('Largest ten listed', async () => {
  let size = 0
  for await (const response of cache.entries({ sort: 'size', descending: true, limit: 10 })) {
    size += response.size
  }
  console.log(`  with ${size} bytes`)
})
await timed('Expired deleted', () => cache.delete({ expired: true }))
await timed('Left', () => cache.count())
console.log(sizeOfFile())
await timed('Half of them deleted', () => cache.delete({ sort: 'storedAt', limit: total / 2 }))
await timed('Vacuumed', () => cache.vacuum())
console.log(sizeOfFile())
await cache.close()
