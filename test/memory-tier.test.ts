import assert from 'node:assert/strict'
import { join } from 'node:path'
import { StatementSync } from 'node:sqlite'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { HttpCache } from 'caching-agent'
import { Keyv } from 'keyv'
import * as undici from 'undici'
import { MemoryTier } from '../lib/storage/memory-tier.ts'
import { adapter } from './helpers/adapter.ts'
import { get, requestText, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

/** A store that counts how often it is read. */
function counting() {
  const map = new Map<string, unknown>()
  const counts = { reads: 0 }
  const store = adapter(
    {
      get: async (key: string) => {
        counts.reads += 1
        return map.get(key)
      },
    },
    map,
  )
  return { store, map, counts }
}

/** Where it can be seen without SQLite that nobody has committed anything: see `wal-index.ts`. */
const hasWalIndex = ['darwin', 'linux'].includes(process.platform)

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** What memory is in use, without what only waits for the garbage collector. */
async function usage(): Promise<NodeJS.MemoryUsage> {
  // Only the second time it is known what the first has freed: that is found out by another thread.
  for (let time = 0; time < 2; time++) {
    collectGarbage()
    await delay(20)
  }
  return process.memoryUsage()
}

suite('the memory tier', () => {
  test('answers without asking the store, what was written and what was read', async (t) => {
    const { url } = await origin(t, (request, response) => response.end(request.url))
    const { store, counts } = counting()
    const agent = testAgent(t, { store, expireAfter: '1h' })
    await get(agent, `${url}/`)
    await agent.cache.responses.settled()
    const written = counts.reads
    for (let n = 0; n < 5; n++) assert.equal((await get(agent, `${url}/`)).info?.status, 'hit')
    assert.equal(counts.reads, written)

    const other = testAgent(t, { store, expireAfter: '1h' })
    await get(other, `${url}/`)
    const read = counts.reads
    for (let n = 0; n < 5; n++) assert.equal((await get(other, `${url}/`)).info?.status, 'hit')
    assert.equal(counts.reads, read)
  })

  test('answers HEAD with what is stored for GET, without asking the store for more', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('X-Method', String(request.method)).end('content')
    })
    const { store, counts } = counting()
    const agent = testAgent(t, { store, expireAfter: '1h' })
    await get(agent, url)
    await agent.cache.responses.settled()
    const before = counts.reads
    const head = async (headers: Record<string, string> = {}) => {
      const { info, response } = await get(agent, url, { method: 'HEAD', headers })
      return [info?.status, response.headers.get('x-method')]
    }
    for (let n = 0; n < 3; n++) assert.deepEqual(await head(), ['hit', 'GET'])
    assert.deepEqual([counts.reads, seen.length], [before, 1])

    // What is newer, and is known, counts.
    await head({ 'cache-control': 'no-cache' })
    await agent.cache.responses.settled()
    assert.deepEqual(await head(), ['hit', 'HEAD'])
  })

  for (const file of ['new', 'old']) {
    test(`answers without asking SQLite, with a file that is ${file}`, {
      skip: !hasWalIndex,
    }, async (t) => {
      const { url } = await origin(t, (request, response) => response.end(request.url))
      const store = `sqlite://${join(folder(), 'cache.sqlite')}`
      if (file === 'old') await new HttpCache({ store }).close()
      const agent = testAgent(t, { store, expireAfter: '1h' })
      await get(agent, `${url}/`)
      await agent.cache.responses.settled()
      // What this process has written it sees once.
      await get(agent, `${url}/`)
      const names = ['get', 'all', 'run', 'iterate'] as const
      const calls = names.map((name) => t.mock.method(StatementSync.prototype, name))
      for (let n = 0; n < 5; n++) assert.equal((await get(agent, `${url}/`)).info?.status, 'hit')
      assert.deepEqual(
        calls.map(({ mock }) => mock.callCount()),
        names.map(() => 0),
      )
    })
  }

  test('takes no more than it may, also of responses that have more fields than content', async (t) => {
    const used = async () => {
      const { heapUsed, arrayBuffers } = await usage()
      return heapUsed + arrayBuffers
    }
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const writer = new HttpCache({ store, memory: false })
    const urls = Array.from({ length: 1500 }, (_, n) => `http://site.invalid/${n}`)
    for (const url of urls) {
      const names = Array.from({ length: 10 }, (_, number) => `x-${number}`)
      const fields = names.map((name) => [name, `${url} ${name} `.padEnd(1400, 'v')])
      const headers = { 'cache-control': 'max-age=1000', ...Object.fromEntries(fields) }
      await writer.save(url, { headers, body: 'x' })
    }
    await writer.close()
    const maxSize = 8_000_000
    const takenWith = async (memory: { maxSize: number } | false) => {
      const agent = testAgent(t, { store, memory, onlyIfCached: true })
      const before = await used()
      for (const url of urls) assert.equal((await requestText(agent, url)).body, 'x')
      return (await used()) - before
    }
    const taken = (await takenWith({ maxSize })) - (await takenWith(false))
    assert.ok(taken > maxSize / 2 && taken < maxSize * 1.3, `${taken} bytes`)
  })

  test('answers before dispatch() returns', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    await agent.cache.responses.settled()
    const calls: string[] = []
    const options = { origin: url, path: '/', method: 'GET' } as const
    agent.dispatch(options, {
      onRequestStart: () => calls.push('start'),
      onResponseStart: (_, status) => calls.push(String(status)),
      onResponseData: (_, chunk) => calls.push(String(chunk)),
      onResponseEnd: () => calls.push('end'),
      onResponseError: (_, error) => calls.push(String(error)),
    })
    assert.deepEqual(calls, ['start', '200', 'content', 'end'])
  })

  test('has variants, and responses for credentials', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('Vary', 'Accept-Language')
      response.end(`${request.headers['accept-language']} ${request.headers.authorization}`)
    })
    const { store, counts } = counting()
    const agent = testAgent(t, { store, expireAfter: '1h' })
    const all = ['de', 'en'].flatMap((language) =>
      ['one', 'two'].map((authorization) => ({ 'accept-language': language, authorization })),
    )
    for (const headers of all) await get(agent, url, { headers })
    await agent.cache.responses.settled()
    const { reads } = counts
    for (const headers of all) {
      const { body, info } = await get(agent, url, { headers })
      assert.deepEqual([body, info?.status], [Object.values(headers).join(' '), 'hit'])
    }
    assert.deepEqual([counts.reads, seen.length], [reads, 4])
  })

  test('is not harmed by callers who change what they were given', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Set-Cookie', ['a=1', 'b=2']).end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    for (let n = 0; n < 3; n++) {
      await new Promise<void>((resolve, reject) => {
        const options = { origin: url, path: '/', method: 'GET' } as const
        agent.dispatch(options, {
          onRequestStart() {},
          onResponseStart(_, __, headers) {
            assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2'])
            ;(headers['set-cookie'] as string[]).push('c=3')
            headers.date = 'changed'
          },
          onResponseData(_, chunk) {
            assert.equal(String(chunk), 'content')
            chunk.fill(0)
          },
          onResponseEnd: () => resolve(),
          onResponseError: (_, error) => reject(error),
        })
      })
    }
    const stored = await agent.cache.get(url)
    ;(stored?.headers as Record<string, unknown>).date = 'changed'
    assert.notEqual((await get(agent, url)).response.headers.get('date'), 'changed')
  })

  test('keeps chunks of large content, too', async (t) => {
    const content = 'x'.repeat(600_000)
    const { url } = await origin(t, (_, response) => response.end(content))
    const { store, counts } = counting()
    const agent = testAgent(t, { store, expireAfter: '1h' })
    for (let n = 0; n < 2; n++) {
      await get(agent, url)
      await agent.cache.responses.settled()
    }
    const { reads } = counts
    assert.equal((await get(agent, url)).body, content)
    assert.equal(counts.reads, reads)
  })

  test('forgets at once what this process deletes, overwrites or clears', async (t) => {
    const { url } = await origin(t, (_, response, count) => response.end(`response ${count}`))
    const path = join(folder(), 'cache.sqlite')
    for (const store of ['memory:', `sqlite://${path}`, counting().store]) {
      const agent = testAgent(t, { store, expireAfter: '1h' })
      const { body } = await get(agent, url)
      assert.equal((await get(agent, url)).body, body)
      await agent.cache.delete(url)
      const deleted = await get(agent, url)
      assert.notEqual(deleted.body, body)
      const noCache = { headers: { 'cache-control': 'no-cache' } }
      const overwritten = await get(agent, url, noCache)
      assert.equal((await get(agent, url)).body, overwritten.body)
      if (typeof store !== 'string') continue
      await agent.cache.clear()
      assert.notEqual((await get(agent, url)).body, overwritten.body)
    }
  })

  test('sees what another connection to the SQLite file does, exactly', async (t) => {
    const { url } = await origin(t, (_, response, count) => response.end(`response ${count}`))
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const one = testAgent(t, { store, expireAfter: '1h' })
    const other = testAgent(t, { store, expireAfter: '1h' })
    for (let n = 0; n < 20; n++) {
      const { body } = await get(one, url)
      await one.cache.responses.settled()
      assert.equal((await get(other, url)).body, body)
      assert.equal((await get(one, url)).info?.status, 'hit')
      if (n % 2) await other.cache.delete(url)
      else {
        await get(other, url, { headers: { 'cache-control': 'no-cache' } })
        await other.cache.responses.settled()
      }
      assert.equal((await get(one, url)).info?.status, n % 2 ? 'miss' : 'hit')
      assert.notEqual((await get(one, url)).body, body)
    }
  })

  test('trusts any other store for a second', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await origin(t, (_, response) => response.end('content'))
    const { store, map } = counting()
    const agent = testAgent(t, { store, expireAfter: '1h' })
    await get(agent, url)
    await agent.cache.responses.settled()
    map.clear()
    t.mock.timers.tick(900)
    assert.equal((await get(agent, url)).info?.status, 'hit')
    t.mock.timers.tick(200)
    assert.equal((await get(agent, url)).info?.status, 'miss')
  })

  test('a Keyv 6 over memory is a store like any other', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { store: new Keyv(), expireAfter: '1h' })
    await get(agent, url)
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('keeps no content a second time that is in memory anyway', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(2_000_000)))
    const agent = testAgent(t, { expireAfter: '1h' })
    const held = async () => (await usage()).arrayBuffers
    const read = async (path: string) => {
      const { body } = await undici.request(url + path, { dispatcher: agent })
      for await (const _ of body);
    }
    const paths = Array.from({ length: 10 }, (_, number) => `/${number}`)
    for (const path of paths) await read(path)
    await agent.cache.responses.settled()
    const before = await held()
    for (const path of paths) await read(path)
    const more = (await held()) - before
    assert.ok(more < 5_000_000, `${more} bytes more`)
  })

  test('memory: false leaves it out', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const { store, counts } = counting()
    const agent = testAgent(t, { store, memory: false, expireAfter: '1h' })
    await get(agent, url)
    await agent.cache.responses.settled()
    const { reads } = counts
    await get(agent, url)
    assert.ok(counts.reads > reads)
  })

  test('a store that is down is not missed while what it had is in memory', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    let isDown = false
    const map = new Map<string, unknown>()
    const agent = testAgent(t, {
      expireAfter: '1h',
      store: adapter(
        {
          get: async (key: string) => {
            if (isDown) throw new Error('the store is down')
            return map.get(key)
          },
        },
        map,
      ),
    })
    await get(agent, url)
    await agent.cache.responses.settled()
    isDown = true
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('a caller who pauses gets the rest when it resumes', async (t) => {
    const content = 'x'.repeat(60_000)
    const { url } = await origin(t, (_, response) => response.end(content))
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    await agent.cache.responses.settled()
    const { body } = await undici.request(url, { dispatcher: agent, highWaterMark: 16 })
    await delay(20)
    assert.equal(await body.text(), content)
  })
})

suite('MemoryTier', () => {
  const chunk = (length: number) => Buffer.alloc(length)

  test('holds no more bytes than it may: what was used least recently goes first', () => {
    const tier = new MemoryTier(1000, { kind: 'own' })
    for (const key of ['a', 'b', 'c']) tier.rememberChunk(key, chunk(300))
    assert.ok(tier.chunk('a'))
    tier.rememberChunk('d', chunk(300))
    assert.deepEqual(
      ['a', 'b', 'c', 'd'].map((key) => tier.chunk(key) !== undefined),
      [true, false, true, true],
    )
  })

  test('does not take what is larger than all it may hold', () => {
    const tier = new MemoryTier(1000, { kind: 'own' })
    tier.rememberChunk('small', chunk(300))
    tier.rememberChunk('large', chunk(2000))
    assert.equal(tier.chunk('large'), undefined)
    assert.ok(tier.chunk('small'))
  })

  test('a head is forgotten when the store forgets it', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1000 })
    const tier = new MemoryTier(10_000, { kind: 'own' })
    tier.rememberHead('key', { kind: 'variants', variants: [] }, 2000, tier.seen())
    assert.ok(tier.head('key'))
    t.mock.timers.tick(1000)
    assert.equal(tier.head('key'), undefined)
  })

  test('a head is not trusted once the store has another version', () => {
    let version = 1
    const tier = new MemoryTier(10_000, { kind: 'versioned', version: () => version })
    const head = { kind: 'variants', variants: [] } as const
    tier.rememberHead('key', head, Number.POSITIVE_INFINITY, tier.seen())
    assert.equal(tier.head('key'), head)
    version = 2
    assert.equal(tier.head('key'), undefined)
    version = Number.NaN
    tier.rememberHead('key', head, Number.POSITIVE_INFINITY, tier.seen())
    assert.equal(tier.head('key'), undefined)
  })
})

suite('the option memory', () => {
  // biome-ignore format: one rule a row
  const refused: [memory: unknown, message: RegExp][] = [
    [true, /^memory: expected \{ maxSize \} or false, got true$/],
    [64, /^memory: expected \{ maxSize \} or false, got 64$/],
    [{ size: 1 }, /^memory: unknown option "size"; the only option is maxSize$/],
    [{ maxSize: 0 }, /^memory\.maxSize: expected a number of bytes .*got 0$/],
    [{ maxSize: -1 }, /^memory\.maxSize: .*got -1$/],
    [{ maxSize: Number.NaN }, /^memory\.maxSize: .*got NaN$/],
    [{ maxSize: '64' }, /^memory\.maxSize: .*got '64'$/],
    [{ maxSize: '64 parsecs' }, /^memory\.maxSize: .*got '64 parsecs'$/],
  ]
  for (const [memory, message] of refused) {
    test(`refused: ${JSON.stringify(memory)}`, (t) => {
      const options = { store: 'memory:', memory } as object
      assert.throws(() => new HttpCache(options), { name: 'TypeError', message })
      assert.throws(() => testAgent(t, options), { name: 'TypeError', message })
    })
  }

  // Some are too little for even one response.
  const accepted = new Map<number | string, boolean>([
    [1000, false],
    ['0.5 kib', false],
    ['64MiB', true],
    ['1 GB', true],
    [Number.POSITIVE_INFINITY, true],
  ])
  for (const [maxSize, isEnough] of accepted) {
    test(`accepted: ${maxSize}`, async (t) => {
      const { store, counts } = counting()
      const cache = new HttpCache({ store, memory: { maxSize } })
      t.after(() => cache.close())
      const agent = testAgent(t, { cache, onlyIfCached: true })
      const headers = { 'cache-control': 'max-age=1000' }
      await cache.save('http://site.invalid/', { headers, body: 'content' })
      const { reads } = counts
      for (let time = 0; time < 2; time++) await get(agent, 'http://site.invalid/')
      assert.equal(counts.reads === reads, isEnough)
    })
  }
})
