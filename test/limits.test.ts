import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { inspect } from 'node:util'
import { type CachingAgent, HttpCache, type HttpCacheOptions, NEVER_EXPIRE } from 'caching-agent'
import { Keyv } from 'keyv'
import { Events } from '../lib/observe/events.ts'
import { openMemory } from '../lib/storage/memory-store.ts'
import { openStore } from '../lib/storage/open-store.ts'
import { adapter } from './helpers/adapter.ts'
import { get, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const HOUR = 3_600_000

/** The stores that are kept within limits. */
const STORES: Record<string, () => string> = {
  'memory:': () => 'memory:',
  'sqlite:': () => `sqlite://${join(folder(), 'cache.sqlite')}`,
}

/** An origin whose content is as long as the path says. */
function sized(t: TestContext) {
  return origin(t, (request, response) => {
    const length = Number(/\d+/.exec(request.url ?? '')?.[0])
    response.end('x'.repeat(length))
  })
}

/** Fetches URLs one after the other, and lets the cache write them and keep its limits. */
async function fetchAll(agent: CachingAgent, urls: readonly string[]) {
  for (const url of urls) {
    await get(agent, url)
    await agent.cache.responses.settled()
    await agent.cache.responses.limitsKept()
  }
}

/** How many bytes a store takes, also of what is not stored yet. */
async function sizeOf({ cache }: CachingAgent): Promise<number> {
  return (await cache.responses.totals())?.size ?? Number.NaN
}

for (const [name, storeIn] of Object.entries(STORES)) {
  suite(`limits of the store ${name}`, () => {
    test('what is larger than all that may be held evicts nothing', async (t) => {
      const { url } = await origin(t, (request, response) => {
        const length = Number(/\d+/.exec(request.url ?? '')?.[0])
        if (request.url?.startsWith('/known')) response.setHeader('content-length', length)
        response.write('x')
        setTimeout(() => response.end('x'.repeat(length - 1)), 20)
      })
      const agent = testAgent(t, { store: storeIn(), maxSize: 1_000_000, expireAfter: '1h' })
      const small = ['/1000', '/2000', '/3000'].map((path) => url + path)
      await fetchAll(agent, small)
      for (const path of ['/known/2000000', '/unknown/2000000']) {
        for (let time = 0; time < 2; time++) await fetchAll(agent, [url + path])
        const { body, info } = await get(agent, url + path)
        assert.deepEqual([body.length, info?.status], [2_000_000, 'miss'])
        assert.equal(info?.stored, path.startsWith('/unknown'))
      }
      assert.equal(await agent.cache.count(), 3)
      // What is almost as large takes the place of all others, and stays.
      await fetchAll(agent, [`${url}/unknown/997000`])
      assert.deepEqual(await agent.cache.urls(), [`${url}/unknown/997000`])
      assert.equal((await get(agent, `${url}/unknown/997000`)).info?.status, 'hit')
    })

    for (const end of ['is given up', 'is received'] as const) {
      test(`nothing is evicted for what is still being received until it ${end}`, async (t) => {
        const waiting = Promise.withResolvers<ServerResponse>()
        const { url } = await origin(t, (request, response) => {
          if (request.url !== '/large') response.end('x'.repeat(50_000))
          else {
            response.write('x'.repeat(3_000_000))
            waiting.resolve(response)
          }
        })
        const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', maxSize: 4_000_000 })
        const some = (from: number, to: number) =>
          Array.from({ length: to - from }, (_, n) => `${url}/${from + n}`)
        await fetchAll(agent, some(0, 40))
        const large = get(agent, `${url}/large`)
        const response = await waiting.promise
        while ((await sizeOf(agent)) < 4_500_000) await delay(5)
        await fetchAll(agent, some(40, 60))
        assert.equal(await agent.cache.count(), 60)

        if (end === 'is received') response.end()
        else response.destroy()
        await Promise.allSettled([large])
        await fetchAll(agent, some(60, 61))
        await agent.cache.responses.freed()
        assert.equal(await agent.cache.has(`${url}/large`), end === 'is received')
        assert.equal(await agent.cache.has(`${url}/59`), true)
        assert.equal(await agent.cache.has(`${url}/0`), end === 'is given up')
        const size = await sizeOf(agent)
        assert.ok(size <= 4_000_000, `${size} bytes`)
      })
    }

    test('what is given up is gone while the rest of it is received', async (t) => {
      const waiting = Promise.withResolvers<ServerResponse>()
      const { url } = await origin(t, (_, response) => {
        response.write('x'.repeat(1_500_000))
        waiting.resolve(response)
      })
      const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', maxSize: 2_000_000 })
      const large = get(agent, url)
      const response = await waiting.promise
      while ((await sizeOf(agent)) < 1_000_000) await delay(1)
      response.write('x'.repeat(1_500_000))
      while ((await sizeOf(agent)) > 0) await delay(5)
      response.end('the end')
      assert.equal((await large).body.length, 3_000_007)
      assert.equal(await agent.cache.has(url), false)
    })

    test('what is on its way out counts neither while it is there nor when it is gone', async (t) => {
      t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
      const { url } = await sized(t)
      const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', maxSize: 2_000_000 })
      const { cache } = agent
      const urls = (name: string) =>
        Array.from({ length: 60 }, (_, n) => `${url}/100000?${name}${n}`)
      const goes = async () => {
        await cache.responses.freed()
        t.mock.timers.tick(15_000)
        await cache.responses.freed()
      }
      await fetchAll(agent, urls('first'))
      const count = await cache.count()
      assert.ok(count >= 17 && count <= 20, `${count} responses`)
      t.mock.timers.tick(30_000)
      await fetchAll(agent, [`${url}/1`])
      assert.ok((await cache.count()) >= 18, `${await cache.count()} responses`)
      for (const name of ['second', 'third']) {
        await goes()
        await fetchAll(agent, urls(name))
      }
      await goes()
      const size = await cache.size()
      assert.ok(size > 1_700_000 && size <= 2_000_000, `${size} bytes`)
    })

    for (const encrypt of [undefined, Buffer.alloc(32, 'K')]) {
      const what = encrypt ? 'what is encrypted and replaced' : 'what is replaced'
      test(`nothing is evicted for ${what}, however often`, async (t) => {
        const store = storeIn()
        const options = { store, maxSize: 3_000_000, memory: false, ...(encrypt && { encrypt }) }
        const cache = new HttpCache(options as HttpCacheOptions)
        t.after(() => cache.close())
        let evicted = 0
        cache.on('evict', () => {
          evicted += 1
        })
        const save = async (path: string, size: number) => {
          const headers = { 'cache-control': 'max-age=1000' }
          await cache.save(`http://site.invalid/${path}`, { headers, body: 'x'.repeat(size) })
          await cache.responses.limitsKept()
        }
        for (let number = 0; number < 20; number++) await save(`${number}`, 20_000)
        for (let time = 0; time < 40; time++) await save('feed', 500_000)
        assert.deepEqual([evicted, await cache.count()], [0, 21])
      })
    }

    test('maxEntries: what was used least recently goes first', async (t) => {
      const { url } = await sized(t)
      const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', maxEntries: 10 })
      const urls = Array.from({ length: 10 }, (_, n) => `${url}/10?${n}`)
      await fetchAll(agent, urls)
      assert.equal(await agent.cache.count(), 10)
      await delay(5)
      await get(agent, urls[0] as string)
      await fetchAll(agent, [`${url}/10?new`])
      assert.ok((await agent.cache.count()) <= 10)
      assert.equal(await agent.cache.has(urls[0] as string), true)
      assert.equal(await agent.cache.has(urls[1] as string), false)
      assert.equal(await agent.cache.has(`${url}/10?new`), true)
    })

    test('maxSize: large and small content counts by its bytes', async (t) => {
      const { url } = await sized(t)
      const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', maxSize: '2MB' })
      const urls = Array.from({ length: 16 }, (_, n) => `${url}/${n % 2 ? 300_000 : 20_000}?${n}`)
      await fetchAll(agent, urls)
      assert.equal(await agent.cache.has(urls[0] as string), false)
      assert.equal(await agent.cache.has(urls[15] as string), true)
      let stored = 0
      for (const each of urls) stored += (await agent.cache.get(each))?.size ?? 0
      assert.ok(stored <= 2_000_000 && stored > 1_000_000, `${stored}`)
    })

    test('size and count are known, and right after everything that happens', async (t) => {
      const { url } = await origin(t, (request, response) => {
        response.setHeader('Vary', 'Accept').setHeader('ETag', '"1"')
        response.end('x'.repeat(Number(/\d+/.exec(request.url ?? '')?.[0])))
      })
      const agent = testAgent(t, { store: storeIn(), expireAfter: '1h' })
      const { cache } = agent
      assert.deepEqual([await cache.count(), await cache.size()], [0, 0])
      const as = (accept: string) => ({ headers: { accept } })
      for (const accept of ['a/a', 'b/b', 'c/c']) await get(agent, `${url}/1000`, as(accept))
      await get(agent, `${url}/100000`, { headers: { cookie: 'a=1' } })
      assert.equal(await cache.count(), 4)
      const size = await cache.size()
      assert.ok(size > 103_000 && size < 120_000, `${size}`)
      const noCache = { headers: { accept: 'a/a', 'cache-control': 'no-cache' } }
      await get(agent, `${url}/1000`, noCache)
      assert.equal(await cache.count(), 4)
      await cache.delete(`${url}/1000`)
      assert.equal(await cache.count(), 1)
      await cache.clear()
      assert.equal(await cache.count(), 0)
      assert.ok((await cache.size()) < 1000)
    })

    test('what is larger by its fields or its chunks than all that may be held evicts nothing', async (t) => {
      for (const [maxSize, size, fieldSize] of [
        [100_000, 96_000, 5000],
        [20_000_000, 19_997_900, 0],
      ] as const) {
        const cache = new HttpCache({ store: storeIn(), maxSize })
        t.after(() => cache.close())
        const evicted: unknown[] = []
        cache.on('evict', (event) => evicted.push(event))
        const save = (name: string, body: Buffer, field = '') =>
          cache.save(
            `http://site.invalid/${name}`,
            { headers: { 'x-field': field }, body },
            { expireAfter: '1h' },
          )
        for (let number = 0; number < 5; number++) await save(`${number}`, Buffer.alloc(100))
        await assert.rejects(
          save('large', Buffer.alloc(size), 'x'.repeat(fieldSize)),
          /larger than|too-large/,
        )
        await cache.responses.limitsKept()
        assert.deepEqual([evicted, await cache.count()], [[], 5])
      }
    })

    test('what fits takes the place of others, and stays, however many these are', async (t) => {
      const { url } = await sized(t)
      for (const others of [18, 19, 20, 39]) {
        const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', maxSize: 1_000_000 })
        const small = Array.from({ length: others }, (_, n) => `${url}/4500?${n}`)
        await fetchAll(agent, [...small, `${url}/920000`])
        assert.deepEqual(await agent.cache.urls(), [`${url}/920000`])
      }
    })

    for (const [limits, sizes] of [
      [{ maxEntries: 1 }, [100, 100]],
      [{ maxSize: 100_000 }, [50_000, 93_000]],
    ] as const) {
      test(`of two variants the last one stays, with ${inspect(limits)}`, async (t) => {
        const { url } = await origin(t, (request, response) => {
          response.setHeader('Vary', 'X-Size').end('x'.repeat(Number(request.headers['x-size'])))
        })
        const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', ...limits })
        const as = (number: number) => ({
          headers: { 'x-size': `${sizes[number]}${'.0'.repeat(number)}` },
        })
        for (let number = 0; number < 2; number++) {
          await get(agent, url, as(number))
          await agent.cache.responses.settled()
          await agent.cache.responses.limitsKept()
          await delay(5)
        }
        assert.equal(await agent.cache.count(), 1)
        assert.equal((await get(agent, url, as(1))).info?.status, 'hit')
      })
    }

    test('of many variants those are evicted that were used least recently, and the last of them with what tells of them', async (t) => {
      const { url } = await origin(t, (request, response) => {
        if (request.url === '/variants') response.setHeader('Vary', 'Accept')
        response.end('content')
      })
      const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', maxEntries: 10 })
      const { cache } = agent
      const as = (number: number) => ({ headers: { accept: `a/${number}` } })
      const variant = (number: number) => get(agent, `${url}/variants`, as(number))
      for (let number = 0; number < 10; number++) await variant(number)
      await cache.responses.settled()
      await delay(5)
      for (const number of [0, 1]) assert.equal((await variant(number)).info?.status, 'hit')
      await fetchAll(agent, [`${url}/1`, `${url}/2`])
      const left: number[] = []
      const only = agent.with({ onlyIfCached: true })
      for (let number = 0; number < 10; number++) {
        if ((await get(only, `${url}/variants`, as(number))).status === 200) left.push(number)
      }
      assert.deepEqual(
        [left.slice(0, 2), left.includes(2), left.includes(9)],
        [[0, 1], false, true],
      )
      await delay(5)
      await fetchAll(
        agent,
        Array.from({ length: 30 }, (_, number) => `${url}/more/${number}`),
      )
      const heads: string[] = []
      for await (const { url: each } of cache.entries()) heads.push(each)
      assert.ok(!heads.includes(`${url}/variants`))
      assert.equal((await variant(9)).info?.status, 'miss')
    })

    for (const [limits, body, most] of [
      [{ maxEntries: 200 }, 'content', { count: 300, size: Infinity }],
      [{ maxSize: 2_000_000 }, 'x'.repeat(20_000), { count: Infinity, size: 3_000_000 }],
    ] as const) {
      test(`the store stays near its limits however fast is stored, with ${inspect(limits)}`, async (t) => {
        const { url } = await origin(t, (_, response) => response.end(body))
        const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', ...limits })
        const { cache } = agent
        let [number, evicted] = [0, 0]
        cache.on('evict', () => {
          evicted += 1
        })
        const highest = { count: 0, size: 0 }
        const fetchSome = async () => {
          while (number < 1500) await get(agent, `${url}/${number++}`)
        }
        const watch = async () => {
          for (; number < 1500; await delay(20)) {
            const { count = 0, size = 0 } = (await cache.responses.totals()) ?? {}
            highest.count = Math.max(highest.count, count)
            highest.size = Math.max(highest.size, size)
          }
        }
        await Promise.all([watch(), ...Array.from({ length: 20 }, fetchSome)])
        await cache.responses.settled()
        await cache.responses.limitsKept()
        assert.ok(highest.count < most.count, `${highest.count} responses`)
        assert.ok(highest.size < most.size, `${highest.size} bytes`)
        const { stored } = cache.stats()
        assert.deepEqual(await cache.count(), stored - evicted)
      })
    }

    test('what waits for room keeps no other variant of its URL from being evicted', async (t) => {
      const { url } = await origin(t, (_, response) => {
        response.setHeader('Vary', 'Accept').end('content')
      })
      const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', maxEntries: 20 })
      const { cache } = agent
      const all = Array.from({ length: 300 }, (_, number) => number)
      await Promise.all(
        all.map((number) =>
          get(agent, `${url}/${number % 5}`, { headers: { accept: `a/${number}` } }),
        ),
      )
      await cache.responses.settled()
      await cache.responses.limitsKept()
      const count = await cache.count()
      assert.ok(count > 10 && count <= 20, `${count} responses`)
      assert.equal(cache.stats().stored, 300)
    })

    test('maxVariants: what is not stored any more is in the place of no other', async (t) => {
      const { url } = await origin(t, (request, response) => {
        response.setHeader('Vary', 'Accept').end(String(request.headers.accept))
      })
      const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', maxVariants: 3 })
      const { cache } = agent
      const variant = async (number: number) => {
        const { info } = await get(agent, url, { headers: { accept: `a/${number}` } })
        await cache.responses.settled()
        await delay(5)
        return info?.status
      }
      for (let number = 0; number < 3; number++) await variant(number)
      assert.equal(await cache.delete({ sort: 'storedAt', descending: true, limit: 2 }), 2)
      await variant(3)
      assert.equal(await cache.count(), 2)
      assert.equal(await variant(0), 'hit')
    })

    test('maxVariants: the least recently stored goes first', async (t) => {
      const { url } = await origin(t, (request, response) => {
        response.setHeader('Vary', 'Accept').end(String(request.headers.accept))
      })
      const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', maxVariants: 3 })
      const as = (n: number) => ({ headers: { accept: `a/${n}` } })
      for (let n = 0; n < 5; n++) {
        await get(agent, url, as(n))
        await agent.cache.responses.settled()
      }
      assert.equal(await agent.cache.count(), 3)
      assert.equal((await get(agent, url, as(4))).info?.status, 'hit')
      assert.equal((await get(agent, url, as(0))).info?.status, 'miss')
    })
  })
}

suite('limits', () => {
  for (const [name, storeIn] of Object.entries(STORES)) {
    test(`${name} what is evicted is gone soon where no other process can be reading it`, async (t) => {
      const { url } = await sized(t)
      const agent = testAgent(t, { store: storeIn(), expireAfter: '1h', maxSize: 2_000_000 })
      await fetchAll(
        agent,
        Array.from({ length: 40 }, (_, n) => `${url}/100000?${n}`),
      )
      for (let tries = 0; (await sizeOf(agent)) > 2_000_000 && tries < 80; tries++) await delay(100)
      const size = await sizeOf(agent)
      assert.ok(size <= 2_000_000, `${size} bytes`)
    })

    test(`${name} what has been replaced or used since it was found is not removed`, async (t) => {
      const { heads, usage, close } = openStore(storeIn(), new Events())
      t.after(() => close())
      const keys = ['kept', 'used', 'replaced', 'encrypted', 'encrypted and replaced']
      // An encrypted record has no checksum, and is told from another one by its end.
      const record = (key: string, version: number) => {
        const isEncrypted = key.startsWith('encrypted')
        const bytes = randomBytes(100).fill(0, 0, 9)
        bytes[0] = isEncrypted ? 3 : 1
        if (!isEncrypted) bytes.writeUInt32LE(version, 1)
        return bytes
      }
      for (const key of keys) await heads.set(key, record(key, 1), undefined)
      const found = (await usage?.oldest(10)) ?? []
      assert.deepEqual(found.map(({ key }) => key).sort(), [...keys].sort())
      await usage?.touch([{ key: 'used', usedAt: Date.now() + 1 }], 0)
      for (const key of keys.filter((key) => key.endsWith('replaced'))) {
        await heads.set(key, record(key, 2), undefined)
      }
      assert.deepEqual([...((await usage?.remove(found)) ?? [])].sort(), ['encrypted', 'kept'])
      const left = keys.filter((key) => heads.get(key) !== undefined)
      assert.deepEqual(left, ['used', 'replaced', 'encrypted and replaced'])
    })
  }

  test('what is evicted is left for a while where another process may be reading it', async (t) => {
    const { url } = await sized(t)
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const other = testAgent(t, { store, expireAfter: '1h' })
    assert.equal(await other.cache.count(), 0)
    const agent = testAgent(t, { store, expireAfter: '1h', maxSize: 2_000_000 })
    await fetchAll(
      agent,
      Array.from({ length: 30 }, (_, n) => `${url}/100000?${n}`),
    )
    await delay(3000)
    const size = await sizeOf(agent)
    assert.ok(size > 3_000_000, `${size} bytes`)
  })

  test('a store that cannot be limited here refuses them', () => {
    for (const limit of [{ maxSize: '1MB' }, { maxEntries: 10 }]) {
      assert.throws(() => new HttpCache({ store: new Keyv(), ...limit }), {
        name: 'TypeError',
        message: /^max\w+: only an SQLite or a memory store can be limited here/,
      })
    }
    for (const limitless of [
      { maxSize: Infinity },
      { maxEntries: Infinity },
      { maxVariants: 10 },
    ]) {
      assert.ok(new HttpCache({ store: new Keyv(), ...limitless }))
    }
  })

  // biome-ignore format: one rule a row
  const refused: [options: object, message: RegExp][] = [
    [{ maxSize: 0 }, /^maxSize: expected a number of bytes/],
    [{ maxSize: '1 furlong' }, /^maxSize: .*got '1 furlong'$/],
    [{ maxSize: 0.5 }, /^maxSize: expected a number of bytes \(1 or more, .*got 0\.5$/],
    [{ maxSize: '0.1B' }, /^maxSize: .*got '0\.1B'$/],
    [{ maxSize: null }, /^maxSize: .*got null$/],
    [{ maxEntries: null }, /^maxEntries: .*got null$/],
    [{ maxVariants: null }, /^maxVariants: .*got null$/],
    [{ memory: [] }, /^memory: expected \{ maxSize \} or false, got \[\]$/],
    [{ memory: { maxSize: 0.3 } }, /^memory\.maxSize: .*got 0\.3$/],
    [{ maxEntries: 0 }, /^maxEntries: expected a whole number above 0/],
    [{ maxEntries: 1.5 }, /^maxEntries: .*got 1\.5$/],
    [{ maxEntries: '10' }, /^maxEntries: .*got '10'$/],
    [{ maxVariants: -1 }, /^maxVariants: .*got -1$/],
    [{ deadlines: 500 }, /^deadlines: expected \{ read, write \}, got 500$/],
    [{ deadlines: { list: 1 } }, /^deadlines: expected \{ read, write \}/],
    [{ deadlines: { read: 0 } }, /^deadlines\.read: .*got 0$/],
    [{ deadlines: { write: 'soon' } }, /^deadlines\.write: .*got 'soon'$/],
    [{ deadlines: { write: Number.POSITIVE_INFINITY } }, /^deadlines\.write: .*got Infinity$/],
  ]
  for (const [options, message] of refused) {
    test(`refused: ${JSON.stringify(options)}`, (t) => {
      for (const make of [
        () => new HttpCache({ store: 'memory:', ...options }),
        () => testAgent(t, options),
      ]) {
        assert.throws(make, { name: 'TypeError', message })
      }
    })
  }

  test('what belongs to the store itself is not evicted', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.end(String(request.headers.authorization))
    })
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const agent = testAgent(t, { store, expireAfter: '1h', maxEntries: 3 })
    for (let n = 0; n < 10; n++) {
      await get(agent, `${url}/${n}`, { headers: { authorization: `user ${n}` } })
      await agent.cache.responses.settled()
      await agent.cache.responses.limitsKept()
    }
    const other = testAgent(t, { store, expireAfter: '1h' })
    const headers = { authorization: 'user 9' }
    assert.equal((await get(other, `${url}/9`, { headers })).info?.status, 'hit')
  })

  test('what has not been used for long is noted to be used again, also where there are variants', async (t) => {
    const now = Date.now()
    t.mock.timers.enable({ apis: ['Date'], now: now - 3 * HOUR })
    const { url } = await origin(t, (request, response) => {
      if (request.url === '/variants') response.setHeader('Vary', 'Accept')
      response.end('content')
    })
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1d' })
    const uses: [path: string, accept: string][] = [
      ['/alone', 'text/html'],
      ['/variants', 'text/html'],
      ['/variants', 'text/css'],
      ['/unused', 'text/html'],
    ]
    const use = ([path, accept]: [string, string]) =>
      get(agent, `${url}${path}`, { headers: { accept } })
    for (const one of uses) await use(one)
    await agent.cache.responses.settled()
    const file = new DatabaseSync(path)
    t.after(() => file.close())
    file.exec(`UPDATE used_1 SET used = used - ${3 * HOUR}`)

    t.mock.timers.setTime(now)
    for (const one of uses.slice(0, 3)) assert.equal((await use(one)).info?.status, 'hit')
    await agent.close()
    const select = file.prepare("SELECT url, used FROM used_1 WHERE url <> '' ORDER BY url")
    const rows = select.all() as { url: string; used: number }[]
    const found = rows.map((row) => [row.url.slice(url.length), row.used > now - HOUR])
    assert.deepEqual(found, [
      ['/alone', true],
      ['/unused', false],
      ['/variants', true],
      ['/variants', true],
    ])
  })

  /** A cache, and how to store in it, use and look for what is called by numbers. */
  const numbered = (t: TestContext, store: string, maxEntries: number) => {
    const cache = new HttpCache({ store, maxEntries })
    const agent = testAgent(t, { cache, onlyIfCached: true })
    t.after(() => cache.close())
    const url = (number: number) => `http://site.invalid/${number}`
    const headers = { 'cache-control': 'max-age=1000' }
    return {
      async save(number: number) {
        await cache.save(url(number), { headers, body: 'content' })
        await cache.responses.limitsKept()
      },
      use: async (number: number) => (await get(agent, url(number))).status === 200,
      has: (number: number) => cache.has(url(number)),
    }
  }
  const sqliteStore = STORES['sqlite:'] as (t: TestContext) => string

  test('what was used goes after what was not, however much that is', async (t) => {
    const { save, use, has } = numbered(t, sqliteStore(t), 1300)
    for (let number = 0; number < 1300; number++) await save(number)
    for (let number = 0; number < 1050; number++) assert.ok(await use(number))
    for (let number = 2000; number < 2010; number++) await save(number)
    let left = 0
    for (let number = 0; number < 1050; number++) if (await has(number)) left += 1
    assert.deepEqual([left, await has(1050)], [1050, false])
  })

  test('what was used goes before what was stored after that', async (t) => {
    const { save, use, has } = numbered(t, sqliteStore(t), 10)
    const numbers = async (from: number, to: number) => {
      for (let number = from; number < to; number++) await save(number)
      await delay(5)
    }
    await numbers(0, 5)
    assert.ok(await use(0))
    await delay(5)
    await numbers(5, 13)
    assert.deepEqual([await has(0), await has(4)], [true, false])
    await numbers(13, 16)
    assert.deepEqual([await has(0), await has(9)], [false, true])
  })

  test('what one process uses another one does not evict', async (t) => {
    const store = sqliteStore(t)
    const [one, other] = [numbered(t, store, 50), numbered(t, store, 50)]
    await one.save(0)
    let isUsed = true
    for (let number = 1; number < 150; number++) {
      await other.save(number)
      await delay(40)
      isUsed &&= await one.use(0)
    }
    assert.ok(isUsed)
  })

  test('what is to go is gone in its time, also where something else goes before', async (t) => {
    const { chunks, close, usage } = openStore(
      `sqlite://${join(folder(), 'cache.sqlite')}`,
      new Events(),
    )
    t.after(() => close())
    for (const key of ['first', 'second', 'third', 'kept']) {
      await chunks.set(`${key}.0`, Buffer.alloc(1000), 3_600_000)
    }
    const delays = { first: 100, second: 1500, third: 2500 }
    for (const [key, delay] of Object.entries(delays)) await chunks.expire?.([`${key}.0`], delay)
    await delay(6000)
    assert.equal((await usage?.totals())?.size, 1000)
  })

  for (const end of ['soon', 'when it is closed'] as const) {
    test(`a file from which much has been evicted shrinks ${end}`, async (t) => {
      const path = join(folder(), 'cache.sqlite')
      const store = `sqlite://${path}`
      const save = (cache: HttpCache, name: string) =>
        cache.save(
          `http://site.invalid/${name}`,
          { body: randomBytes(50_000) },
          { expireAfter: '1h' },
        )
      const full = new HttpCache({ store })
      for (let number = 0; number < 300; number++) await save(full, `${number}`)
      await full.close()
      const size = statSync(path).size
      assert.ok(size > 15_000_000, `${size} bytes`)
      const smaller = new HttpCache({ store, maxSize: '1MB' })
      t.after(() => smaller.close())
      await save(smaller, 'one more')
      await smaller.responses.limitsKept()
      if (end === 'when it is closed') await smaller.close()
      for (let tries = 0; statSync(path).size > size / 3 && tries < 200; tries++) await delay(100)
      assert.ok(statSync(path).size < size / 3, `${size} bytes became ${statSync(path).size}`)
    })
  }

  test('a file that was full shrinks', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await sized(t)
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    await fetchAll(
      agent,
      Array.from({ length: 10 }, (_, n) => `${url}/500000?${n}`),
    )
    await agent.close()
    const full = statSync(path).size
    const smaller = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h', maxSize: '1MB' })
    await fetchAll(smaller, [`${url}/10`])
    await smaller.cache.responses.freed()
    // Readers in other processes have got their time.
    t.mock.timers.tick(15_000)
    await smaller.cache.responses.freed()
    assert.ok(statSync(path).size < full / 3, `${full} bytes became ${statSync(path).size}`)
  })
})

test('what somebody else replaces in the same file evicts nothing either', async (t) => {
  const store = `sqlite://${join(folder(), 'cache.sqlite')}`
  const caches = [1, 2].map(() => new HttpCache({ store, maxSize: 3_000_000, memory: false }))
  t.after(() => Promise.all(caches.map((cache) => cache.close())))
  for (let time = 0; time < 40; time++) {
    const cache = caches[time % 2] as HttpCache
    const headers = { 'cache-control': 'max-age=1000' }
    const save = (path: string, size: number) =>
      cache.save(`http://site.invalid/${path}`, { headers, body: 'x'.repeat(size) })
    await save('feed', 500_000)
    await save(`${time}`, 20_000)
    await cache.responses.limitsKept()
  }
  assert.equal(await caches[0]?.count(), 41)
})

for (const [name, storeIn] of Object.entries(STORES))
  test(`${name} what is cleared, and may be being read, counts for no limit any more`, async (t) => {
    const store = storeIn()
    const cache = new HttpCache({ store, maxSize: 4_000_000, memory: false })
    t.after(() => cache.close())
    const save = (name: string, size: number) =>
      cache.save(`http://site.invalid/${name}`, {
        headers: { 'cache-control': 'max-age=1000' },
        body: 'x'.repeat(size),
      })
    for (let number = 0; number < 10; number++) await save(`old${number}`, 370_000)
    const reading = (await cache.get('http://site.invalid/old9'))?.content()[Symbol.asyncIterator]()
    await reading?.next()
    await cache.clear()
    for (let number = 0; number < 30; number++) {
      await save(`new${number}`, 20_000)
      await cache.responses.limitsKept()
    }
    assert.equal(await cache.count(), 30)
    await reading?.return?.()
    await cache.responses.freed()
    // To what nobody reads any more SQLite gives others their time.
    const left = await cache.responses.totals()
    if (name === 'memory:') assert.ok((left?.size ?? 0) < 700_000, `${left?.size} bytes`)
  })

suite('maxContentSize', () => {
  const response = () => ({
    ...{ cacheKey: 'key', method: 'GET', url: 'http://example.com/', status: 200 },
    ...{ statusText: 'OK', fields: {}, nominated: {} },
    ...{ requestTime: Date.now(), responseTime: Date.now() },
  })

  test('nothing is written of content that becomes too large with the piece which fills a chunk', async (t) => {
    const written: string[] = []
    const store = adapter({ set: async (key: string) => written.push(key) > 0 })
    const cache = new HttpCache({ store })
    t.after(() => cache.close())
    const recording = cache.responses.recorder.record(response(), 250_000)
    for (const length of [200_000, 100_000]) recording.content.append(Buffer.alloc(length))
    assert.match((await recording.complete(true))?.message ?? '', /larger than 250000 bytes/)
    assert.deepEqual(written, [])
  })

  test('a chunk that is being written when its content is given up is not left behind', async () => {
    const map = new Map<string, unknown>()
    const written: string[] = []
    const set = async (key: string, value: unknown) => {
      await delay(50)
      written.push(key)
      return map.set(key, value) && true
    }
    const cache = new HttpCache({ store: adapter({ set }, map) })
    const recording = cache.responses.recorder.record(response(), 350_000)
    for (const length of [300_000, 100_000]) recording.content.append(Buffer.alloc(length))
    await recording.complete(true)
    await cache.close()
    assert.deepEqual([written.length, [...map.keys()]], [1, []])
  })

  for (const framing of ['announced', 'not announced']) {
    test(`larger content that is ${framing} is delivered whole, and not stored`, async (t) => {
      const { url, seen } = await origin(t, (request, response) => {
        const length = Number(request.url?.slice(1))
        if (framing === 'announced') response.setHeader('Content-Length', length)
        response.write('x'.repeat(length / 2))
        response.end('x'.repeat(length / 2))
      })
      const agent = testAgent(t, { expireAfter: '1h', maxContentSize: '1KiB' })
      const errors: unknown[] = []
      agent.cache.on('error', (error) => errors.push(error))
      for (const [length, second] of [
        [1024, 'hit'],
        [2048, 'miss'],
        [400_000, 'miss'],
      ] as const) {
        assert.equal((await get(agent, `${url}/${length}`)).body.length, length)
        await agent.cache.responses.settled()
        const { body, info } = await get(agent, `${url}/${length}`)
        assert.deepEqual([body.length, info?.status], [length, second])
        await agent.cache.responses.settled()
      }
      assert.deepEqual([await agent.cache.count(), seen.length, errors], [1, 5, []])
      if (framing === 'announced') {
        assert.equal((await get(agent, `${url}/2048`)).info?.reason, 'too-large')
      }
    })
  }

  test('can be said by URL and by request', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('0123456789'))
    const agent = testAgent(t, {
      expireAfter: '1h',
      urlsExpireAfter: { '*/small': { maxContentSize: 5 } },
    })
    assert.equal((await get(agent, `${url}/small`)).info?.reason, 'too-large')
    assert.equal((await get(agent.with({ maxContentSize: 5 }), url)).info?.reason, 'too-large')
    assert.equal((await get(agent, url)).info?.stored, true)
    assert.throws(
      () => agent.with({ maxContentSize: 'much' }),
      /^TypeError: with\.maxContentSize: /,
    )
  })
})

suite('after a crash', () => {
  /** A program that is killed while it stores. */
  const PROGRAM = `
import { cachingAgent, NEVER_EXPIRE } from 'caching-agent'
const agent = cachingAgent({ store: process.argv[1], expireAfter: NEVER_EXPIRE })
const response = await fetch(process.argv[2], { dispatcher: agent })
let received = 0
for await (const chunk of response.body) {
  received += chunk.length
  if (received > 900_000) process.send?.('there')
}
`

  for (const options of [{}, { encrypt: Buffer.alloc(32, 'K') }]) {
    const what =
      'encrypt' in options
        ? 'what was completely written and encrypted'
        : 'what was completely written'
    test(`${what} stays, even if that was not noted any more`, async (t) => {
      const { url } = await origin(t, (_, response) => response.end('x'.repeat(500_000)))
      const path = join(folder(), 'cache.sqlite')
      const store = `sqlite://${path}`
      const agent = testAgent(t, { store, expireAfter: '1h', ...options })
      await get(agent, url)
      await agent.close()
      const database = new DatabaseSync(path)
      const row = database.prepare('SELECT key FROM chunks_1 LIMIT 1').get()
      const generation = String(row?.key).split('.')[0] as string
      // Of a process that is no more.
      database.prepare('INSERT INTO unreferenced_1 VALUES (?, ?, 0)').run(generation, 2 ** 22 + 1)
      const left = () =>
        database.prepare('SELECT count(*) AS count FROM unreferenced_1').get()?.count
      const other = testAgent(t, { store, expireAfter: '1h', memory: false, ...options })
      await other.cache.count()
      for (let tries = 0; left() !== 0 && tries < 50; tries++) await delay(100)
      assert.equal(left(), 0)
      database.close()
      const { body, info } = await get(other, url)
      assert.deepEqual([body.length, info?.status], [500_000, 'hit'])
    })
  }

  test('what was half-written is removed, even if it would never expire', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.writeHead(200, { 'Content-Length': '2000000' }).write(Buffer.alloc(1_000_000))
    })
    const path = join(folder(), 'cache.sqlite')
    const args = ['--conditions=source', '--input-type=module', '-e', PROGRAM]
    const child = spawn(process.execPath, [...args, `sqlite://${path}`, url], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    await once(child, 'message')
    await delay(50)
    child.kill('SIGKILL')
    await once(child, 'exit')

    const chunksOf = () => {
      const database = new DatabaseSync(path)
      const row = database.prepare('SELECT count(*) AS count FROM chunks_1').get()
      database.close()
      return row?.count
    }
    assert.notEqual(chunksOf(), 0)
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: NEVER_EXPIRE })
    assert.equal(await agent.cache.count(), 0)
    for (let tries = 0; chunksOf() !== 0 && tries < 50; tries++) await delay(100)
    assert.deepEqual([chunksOf(), (await agent.cache.size()) < 1000], [0, true])
  })
})

suite('what is in memory and not kept any more', () => {
  test('is removed while something else is being stored', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    const save = (name: string, expireAfter: string) =>
      cache.save(`http://site.invalid/${name}`, { body: Buffer.alloc(50_000) }, { expireAfter })
    await Promise.all(Array.from({ length: 20 }, (_, number) => save(`${number}`, '1h')))
    await save('kept', '30d')
    // Those that are stale are kept for a while.
    t.mock.timers.tick(20 * 24 * HOUR)
    await save('new', '1h')
    while ((await cache.count()) > 2) await delay(5)
    assert.deepEqual((await cache.urls()).sort(), [
      'http://site.invalid/kept',
      'http://site.invalid/new',
    ])
    assert.ok((await cache.size()) < 110_000)
  })

  test('is left where something else has taken its place', async () => {
    const { heads, prune } = openMemory()
    const keys = Array.from({ length: 100_000 }, (_, number) => `${number}`)
    await Promise.all(keys.map((key) => heads.set(key, Buffer.from('old'), 1)))
    await delay(5)
    const pruning = prune?.()
    // Before it goes on after its first rest.
    await nextTurn()
    for (const key of keys) void heads.set(key, Buffer.from('new'), HOUR)
    await pruning
    assert.ok(keys.every((key) => heads.get(key) !== undefined))
  })
})
