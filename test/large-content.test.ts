import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const MEBIBYTE = 1024 * 1024
const LENGTH = 200 * MEBIBYTE

/** Fetches a URL several times, one after the other or at once, and prints what it got and how much memory it took. */
const PROGRAM = `
import { createHash } from 'node:crypto'
import { cacheInfo, cachingAgent } from 'caching-agent'
const [store, url, mode] = process.argv.slice(1)
const agent = cachingAgent({ store, expireAfter: '1h' })
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
  globalThis.gc()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
const idle = held()
let peak = idle
setInterval(() => { peak = Math.max(peak, held()) }, 10).unref()
const results = []
if (mode === 'one by one') for (let n = 0; n < 3; n++) {
  results.push(await read())
  await agent.cache.count()
} else results.push(...await Promise.all([read(), read(), read()]))
await agent.close()
console.log(JSON.stringify({ results, peak: peak - idle }))
`

interface Result {
  readonly results: { status: string; collapsed: boolean; first: number; hash: string }[]
  readonly peak: number
}

suite('200 MiB', () => {
  for (const mode of ['one by one', 'at once']) {
    test(`are received, stored and played ${mode} in bounded memory`, async (t) => {
      const piece = Buffer.from(
        Array.from({ length: MEBIBYTE }, (_, index) => (index * 7919) % 251),
      )
      const hash = createHash('sha256')
      for (let sent = 0; sent < LENGTH; sent += piece.length) hash.update(piece)
      const expected = hash.digest('hex')
      const { url, seen } = await origin(t, (request, response) => {
        if (request.url === '/small') return response.end('small')
        response.writeHead(200, { 'Content-Length': LENGTH })
        let sent = 0
        const send = () => {
          while (sent < LENGTH) {
            sent += piece.length
            if (!response.write(piece)) return response.once('drain', send)
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
        `sqlite://${join(folder(t), 'cache.sqlite')}`,
        `${url}/large`,
        mode,
      ])
      const { results, peak } = JSON.parse(stdout) as Result
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
          `first byte after ${results.map(({ first }) => `${first.toFixed(0)} ms`).join(', ')}`,
      )
      assert.ok(peak < 48 * MEBIBYTE, `${(peak / MEBIBYTE).toFixed(0)} MiB`)
    })
  }
})
