import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'
import type { LookupEvent } from 'caching-agent'
import { formatLookup } from '../lib/observe/debug.ts'
import { formatDuration, formatSize } from '../lib/observe/format.ts'

const URL_A = 'http://127.0.0.1:3000/a'

function line(event: Partial<LookupEvent>): string {
  const lookup: LookupEvent = {
    ...{ method: 'GET', url: URL_A, key: 'ab', outcome: 'miss', reason: undefined },
    ...{ forward: undefined, fromCache: false, stored: false, collapsed: false, status: 200 },
    ...{ size: undefined, age: undefined, ttl: undefined, duration: 0.123, error: undefined },
    ...event,
  }
  return formatLookup(lookup)
}

suite('the line of a request', () => {
  const error = new Error('connect ECONNREFUSED')
  // biome-ignore format: one rule a row
  const rows: [event: Partial<LookupEvent>, text: string][] = [
    [{ outcome: 'hit', ttl: 59_900, size: 1200 }, 'hit (fresh for 59 s, 1.2 KB) 0.1 ms'],
    [{ outcome: 'hit', ttl: Infinity }, 'hit (fresh for ever) 0.1 ms'],
    [{ outcome: 'stale', reason: 'stale-while-revalidate', ttl: -5000, size: 0 }, 'stale (for 5 s, stale-while-revalidate, 0 B) 0.1 ms'],
    [{ outcome: 'stale', reason: undefined, ttl: -5000 }, 'stale (for 5 s) 0.1 ms'],
    [{ outcome: 'stale', reason: 'stale-if-error', forward: 'request', ttl: 5000 }, 'stale (stale-if-error) 0.1 ms'],
    [{ outcome: 'revalidated', reason: 'stale', forward: 'stale', stored: true, ttl: 60_000, size: 5 }, 'revalidated (stale, 5 B), stored for 1 min 0.1 ms'],
    [{ reason: 'uri-miss', forward: 'uri-miss', stored: true, ttl: 3_600_000, duration: 123.4 }, 'miss (uri-miss), stored for 1 h 123 ms'],
    [{ reason: 'uri-miss', forward: 'uri-miss', stored: true, ttl: Infinity }, 'miss (uri-miss), stored for ever 0.1 ms'],
    [{ reason: 'uri-miss', forward: 'uri-miss', stored: true, ttl: 0 }, 'miss (uri-miss), stored, to be validated 0.1 ms'],
    [{ reason: 'no-store', forward: 'uri-miss' }, 'miss (uri-miss), not stored: no-store 0.1 ms'],
    [{ reason: 'uri-miss', forward: 'uri-miss', collapsed: true, ttl: 1000 }, 'miss (uri-miss, collapsed) 0.1 ms'],
    [{ reason: 'uri-miss', forward: 'uri-miss', error }, 'miss (uri-miss), failed: connect ECONNREFUSED 0.1 ms'],
    [{ reason: 'only-if-cached' }, 'miss (only-if-cached) 0.1 ms'],
    [{ outcome: 'bypass', reason: 'method', forward: 'method' }, 'bypass (method) 0.1 ms'],
    [{ outcome: 'bypass', reason: 'range', forward: 'bypass', error }, 'bypass (range), failed: connect ECONNREFUSED 0.1 ms'],
  ]
  for (const [event, text] of rows) {
    test(text, () => assert.equal(line(event), `GET ${URL_A} ${text}`))
  }
})

// biome-ignore format: one rule a row
const durations: [milliseconds: number, text: string][] = [
  [0, '0 ms'], [0.14, '0.1 ms'], [999, '999 ms'], [1000, '1 s'], [1500, '1.5 s'], [59_999, '59 s'], [60_000, '1 min'],
  [5_400_000, '1.5 h'], [86_400_000, '1 d'], [31_536_000_000, '365 d'], [Infinity, 'ever'],
]
for (const [milliseconds, text] of durations) {
  test(`${milliseconds} ms is ${text}`, () => assert.equal(formatDuration(milliseconds), text))
}

// biome-ignore format: one rule a row
const sizes: [bytes: number, text: string][] = [
  [0, '0 B'], [1, '1 B'], [999, '999 B'], [1000, '1 KB'], [1234, '1.2 KB'], [12_345_678, '12 MB'], [5e9, '5 GB'], [5e15, '5000 TB'],
]
for (const [bytes, text] of sizes) {
  test(`${bytes} bytes are ${text}`, () => assert.equal(formatSize(bytes), text))
}

const PROGRAM = `
  import { createServer } from 'node:http'
  import { once } from 'node:events'
  import { cachingAgent } from 'caching-agent'
  import { request } from 'undici'
  const server = createServer((request, response) => {
    if (request.url === '/a') response.setHeader('Cache-Control', 'max-age=3600')
    else response.setHeader('Cache-Control', 'no-store')
    response.end('content')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const agent = cachingAgent({ store: 'memory:' })
  const origin = 'http://127.0.0.1:' + server.address().port
  for (const path of ['/a', '/a', '/b']) {
    const { body } = await request(origin + path, { dispatcher: agent })
    await body.dump()
    await agent.cache.responses.settled()
  }
  agent.cache.events.error('read', new Error('trouble'))
  await agent.close()
  server.close()
`

suite('NODE_DEBUG', () => {
  async function run(value: string): Promise<string[]> {
    const { stderr } = await promisify(execFile)(
      process.execPath,
      ['--conditions=source', '--input-type=module', '--eval', PROGRAM],
      {
        cwd: new URL('..', import.meta.url),
        env: { ...process.env, NODE_DEBUG: value },
        timeout: 30_000,
      },
    )
    return stderr.split('\n').filter((each) => each.startsWith('CACHING-AGENT'))
  }

  test('caching-agent: a line for each request, and for each error', async () => {
    const lines = await run('caching-agent')
    const texts = lines.map((each) => each.replace(/^CACHING-AGENT \d+: /, ''))
    const patterns = [
      /^GET http:\/\/127.0.0.1:\d+\/a miss \(uri-miss\), stored for (1 h|59 min) [\d.]+ ms$/,
      /^GET http:\/\/127.0.0.1:\d+\/a hit \(fresh for 59 min, 7 B\) [\d.]+ ms$/,
      /^GET http:\/\/127.0.0.1:\d+\/b miss \(uri-miss\), not stored: no-store [\d.]+ ms$/,
      /^error \(read\): trouble$/,
    ]
    assert.equal(texts.length, patterns.length, texts.join('\n'))
    for (const [index, pattern] of patterns.entries()) assert.match(texts[index] ?? '', pattern)
  })

  test('something else: nothing', async () => {
    assert.deepEqual(await run('http'), [])
  })
})
