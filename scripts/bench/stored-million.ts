import { closeSync, fsyncSync, openSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { HttpCache, type ResponseQuery } from 'caching-agent'
import { digest, keyParts } from '../../lib/key.ts'
import { type DecodedRecord, decodeRecord, encodeRecord } from '../../lib/storage/records.ts'
import { SUMMARY_COLUMNS, SUMMED_UP } from '../../lib/storage/sqlite/schema.ts'
import type { Found } from './measure.ts'

const DAY = 86_400_000

/** How many rows are written in one transaction. */
const STEP = 10_000

/** Of each hundred responses so many have been stale for so long that they are not kept. */
const OUTDATED = 5

/** What is done with the responses, and how many of them that was about. */
export const JOBS = {
  'prune()': (cache) => cache.prune(),
  'count()': (cache) => cache.count(),
  "count({ status: '5xx' })": (cache) => cache.count({ status: '5xx' }),
  "count({ tag: 'section-7' })": (cache) => cache.count({ tag: 'section-7' }),
  "count({ pattern: '*.example.com/1*' })": (cache) => cache.count({ pattern: '*.example.com/1*' }),
  "size({ contentType: 'image/*' }), in bytes": (cache) => cache.size({ contentType: 'image/*' }),
  'entries()': (cache) => list(cache, {}),
  "entries({ sort: 'used', limit: 100 })": (cache) => list(cache, { sort: 'used', limit: 100 }),
  "entries({ sort: 'url' })": (cache) => list(cache, { sort: 'url' }),
  'urls()': (cache) => cache.urls().then(({ length }) => length),
  "expire({ tag: 'section-7' })": (cache) => cache.expire({ tag: 'section-7' }),
  "delete({ status: '5xx' })": (cache) => cache.delete({ status: '5xx' }),
  "delete({ olderThan: '80d' })": (cache) => cache.delete({ olderThan: '80d' }),
  'vacuum()': (cache) => cache.vacuum().then(() => 0),
  'check(), with what is wrong': (cache) =>
    cache.check().then(({ isSound, orphans, incomplete }) => (isSound ? 0 : orphans + incomplete)),
  'clear()': (cache) => cache.clear().then(() => 0),
} as const satisfies Record<string, (cache: HttpCache) => Promise<number>>

export type JobName = keyof typeof JOBS

function list(cache: HttpCache, query: ResponseQuery): Promise<number> {
  return numberOf(cache.entries(query))
}

async function numberOf(things: AsyncIterable<unknown>): Promise<number> {
  let number = 0
  for await (const _ of things) number += 1
  return number
}

/** Fills a store past the library, which would take minutes. */
export async function generate({ store, count }: { store: string; count: number }): Promise<Found> {
  const started = performance.now()
  const cache = new HttpCache({ store, memory: false })
  await cache.save('http://0.example.com/', {
    headers: { 'cache-control': 'max-age=8640000', 'content-type': 'text/html', etag: '"1"' },
    body: 'x'.repeat(500),
  })
  await cache.close()

  const database = new DatabaseSync(store.slice('sqlite://'.length))
  database.exec('PRAGMA synchronous = OFF')
  const names = ['key', 'value', ...Object.keys(SUMMARY_COLUMNS)]
  const [row] = database.prepare(`SELECT key, value FROM ${SUMMED_UP}`).all() as [
    { readonly key: string; readonly value: Uint8Array },
  ]
  const { metadata: first } = decodeRecord(row.key, Buffer.from(row.value)) as DecodedRecord
  const { response, ...others } = first as { readonly response: object }
  const insert = database.prepare(
    `INSERT INTO ${SUMMED_UP} (${names.join(', ')}) VALUES (${names.map((name) => `:${name}`).join(', ')})`,
  )
  for (let number = 0; number < count; number++) {
    if (number % STEP === 0) database.exec(`${number > 0 ? 'COMMIT;' : ''} BEGIN`)
    const own = responseNumber(number)
    const { until, type, size, ...told } = own
    const metadata = { ...others, response: { ...response, ...told, ...fieldsOf(own) } }
    const record = encodeRecord(own.cacheKey, metadata, Buffer.alloc(size, 'x'))
    insert.run({
      ...{ key: own.cacheKey, value: record, record: record.toString('hex', 1, 5).toUpperCase() },
      ...{ until, url: own.url, cache_key: null, generation: own.generation, method: 'GET' },
      ...{ status: own.status, type, stored: own.responseTime, chunk_size: null, size },
      expires: own.responseTime + 100 * DAY,
      tags: own.tags ? JSON.stringify(own.tags) : null,
    })
  }
  database.exec('COMMIT; PRAGMA wal_checkpoint(TRUNCATE)')
  database.close()
  // Else whoever writes next waits until all of it is on the disk.
  const file = openSync(store.slice('sqlite://'.length), 'r+')
  fsyncSync(file)
  closeSync(file)
  return { milliseconds: performance.now() - started }
}

/** No two are the same, and each time they are. */
function responseNumber(number: number) {
  const random = (number * 7919) % 10_007
  const url = `http://${number % 100}.example.com/${number.toString(36)}/page.html`
  const isOutdated = random % 100 < OUTDATED
  const responseTime = Date.now() - (isOutdated ? 200 : random % 90) * DAY
  const asked = { method: 'GET', target: new URL(url), server: undefined }
  return {
    cacheKey: digest(keyParts(asked, false)),
    generation: digest([url]).slice(0, 32),
    url,
    status: [404, 503][random % 50] ?? 200,
    type: random % 10 === 0 ? 'image/png' : 'text/html',
    responseTime,
    requestTime: responseTime,
    until: responseTime + 130 * DAY,
    size: 100 + (random % 800),
    ...(random % 10 === 1 && { tags: [`section-${Math.floor(random / 10) % 100}`, 'page'] }),
  }
}

function fieldsOf({ type }: { readonly type: string }) {
  return {
    fields: { 'cache-control': 'max-age=8640000', 'content-type': type, etag: '"1"' },
  }
}

/** How long a job takes, how much more memory the process takes meanwhile, and by how much its event loop is late. */
export async function manage({ store, job }: { store: string; job: JobName }): Promise<Found> {
  const cache = new HttpCache({ store, memory: false, maxSize: '100GiB' })
  await cache.has('http://0.example.com/')
  const resolution = 1
  const histogram = monitorEventLoopDelay({ resolution })
  await delay(50)
  const before = process.memoryUsage.rss()
  let most = before
  const sampler = setInterval(() => {
    most = Math.max(most, process.memoryUsage.rss())
  }, 20)
  histogram.enable()
  const started = performance.now()
  const number = await JOBS[job](cache)
  const milliseconds = performance.now() - started
  await delay(5)
  histogram.disable()
  clearInterval(sampler)
  const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - resolution)
  await cache.close()
  return {
    number,
    milliseconds,
    memory: (most - before) / 1e6,
    p99: late(histogram.percentile(99)),
    max: late(histogram.max),
  }
}
