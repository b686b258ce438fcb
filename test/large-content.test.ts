import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'
import type { AgentOptions, CachingAgent } from 'caching-agent'
import { request } from 'undici'
import { fetchWith, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const MEBIBYTE = 1024 * 1024

/** Fetches a URL several times, one after the other or at once, and prints what it got and how much memory it took. */
const PROGRAM = `
import { createHash } from 'node:crypto'
import { cacheInfo, cachingAgent } from 'caching-agent'
const [store, url, mode, options] = process.argv.slice(1)
const agent = cachingAgent({ store, expireAfter: '1h', ...JSON.parse(options) })
const read = async () => {
  const start = performance.now()
  const response = await fetch(url, { dispatcher: agent })
  const hash = createHash('sha256')
  let first
  for await (const chunk of response.body) {
    first ??= performance.now() - start
    hash.update(chunk)
  }
  const { status, collapsed } = cacheInfo(response)
  return { status, collapsed, first, hash: hash.digest('hex') }
}
await (await fetch(new URL('/small', url), { dispatcher: agent })).text()
// What is held, without what only waits for the garbage collector: that is up to 100 MiB without a cache, too.
const held = () => {
  // Only the second time it is known what the first has freed: that is found out by another thread.
  globalThis.gc()
  globalThis.gc()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
const idle = held()
let peak = idle
// Other threads are heard of once a turn, and collecting garbage in each would take all the time there is.
const interval = options === '{}' ? 50 : 200
setInterval(() => { peak = Math.max(peak, held()) }, interval).unref()
const results = []
if (mode === 'one by one') for (let n = 0; n < 3; n++) {
  results.push(await read())
  await agent.cache.count()
} else results.push(...await Promise.all([read(), read(), read()]))
const size = await agent.cache.size()
await agent.close()
const { maxRSS } = process.resourceUsage()
console.log(JSON.stringify({ results, peak: peak - idle, size, maxRSS: maxRSS * 1024 }))
`

interface Result {
  readonly results: { status: string; collapsed: boolean; first: number; hash: string }[]
  readonly peak: number
  /** How many bytes the store takes. */
  readonly size: number
  readonly maxRSS: number
}

/** A mebibyte that can be compressed to about a half. */
const PIECE = Buffer.from(randomBytes(MEBIBYTE / 2).toString('hex'))

const CASES: [mode: string, length: number, options: AgentOptions][] = [
  ['one by one', 200, {}],
  ['at once', 200, {}],
  ['one by one', 100, { compress: 'zstd' }],
  ['at once', 100, { compress: 'gzip', encrypt: randomBytes(32).toString('hex') }],
  ['one by one', 100, { compress: 'brotli', encrypt: randomBytes(32).toString('hex') }],
]

suite('large content', () => {
  for (const [mode, mebibytes, options] of CASES) {
    const how = Object.keys(options).join(', ') || 'as it is'
    test(`${mebibytes} MiB are received, stored (${how}) and played ${mode} in bounded memory`, async (t) => {
      const length = mebibytes * MEBIBYTE
      const hash = createHash('sha256')
      for (let sent = 0; sent < length; sent += PIECE.length) hash.update(PIECE)
      const expected = hash.digest('hex')
      const { url, seen } = await origin(t, (request, response) => {
        if (request.url === '/small') return response.end('small')
        response.writeHead(200, { 'Content-Length': length, 'Content-Type': 'text/plain' })
        let sent = 0
        const send = () => {
          while (sent < length) {
            sent += PIECE.length
            if (!response.write(PIECE)) return response.once('drain', send)
          }
          return response.end()
        }
        return send()
      })
      const args = [
        '--conditions=source',
        '--no-warnings',
        '--expose-gc',
        '--input-type=module',
        '-e',
      ]
      const { stdout } = await promisify(execFile)(process.execPath, [
        ...args,
        PROGRAM,
        `sqlite://${join(folder(), 'cache.sqlite')}`,
        `${url}/large`,
        mode,
        JSON.stringify(options),
      ])
      const { results, peak, size, maxRSS } = JSON.parse(stdout) as Result
      assert.deepEqual(
        results.map((result) => result.hash),
        [expected, expected, expected],
      )
      assert.equal(seen.length, 2)
      if (mode === 'one by one') {
        assert.deepEqual(
          results.map(({ status }) => status),
          ['miss', 'hit', 'hit'],
        )
        assert.ok((results[1]?.first as number) < 500, 'the first byte of a hit took its time')
      }
      t.diagnostic(
        `peak memory above the idle process: ${(peak / MEBIBYTE).toFixed(0)} MiB; ` +
          `at most ${(maxRSS / MEBIBYTE).toFixed(0)} MiB of the system's; ` +
          `${(size / MEBIBYTE).toFixed(0)} MiB stored; ` +
          `first byte after ${results.map(({ first }) => `${first.toFixed(0)} ms`).join(', ')}`,
      )
      const most = options.compress ? 80 : 48
      assert.ok(peak < most * MEBIBYTE, `${(peak / MEBIBYTE).toFixed(0)} MiB`)
      assert.ok(maxRSS < 400 * MEBIBYTE, `${(maxRSS / MEBIBYTE).toFixed(0)} MiB`)
      assert.ok(options.compress ? size < 0.7 * length : size > length, `${size} bytes stored`)
    })
  }

  const ways: [way: string, read: (agent: CachingAgent, url: string) => Promise<number>][] = [
    [
      'request',
      async (dispatcher, url) =>
        (await (await request(url, { dispatcher })).body.arrayBuffer()).byteLength,
    ],
    ['fetch', async (agent, url) => (await (await fetchWith(agent, url)).arrayBuffer()).byteLength],
  ]
  for (const [way, read] of ways) {
    for (const memory of [false, { maxSize: '4MiB' }] as const) {
      const how = memory ? 'a small memory tier' : 'no memory tier'
      test(`others have their turns while many hits are played to ${way} with ${how}`, async (t) => {
        const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(4 * MEBIBYTE)))
        const store = `sqlite://${join(folder(), 'cache.sqlite')}`
        const agent = testAgent(t, { store, memory, expireAfter: '1h' })
        await read(agent, url)
        await agent.cache.responses.settled()
        let turns = 0
        let isOver = false
        const turn = () => {
          turns += 1
          if (!isOver) setImmediate(turn)
        }
        turn()
        const lengths = await Promise.all(Array.from({ length: 20 }, () => read(agent, url)))
        isOver = true
        assert.deepEqual(new Set(lengths), new Set([4 * MEBIBYTE]))
        assert.ok(turns > 40, `${turns} turns for 80 MiB`)
      })
    }
  }
})
