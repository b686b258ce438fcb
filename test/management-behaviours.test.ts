// Managing a cache, as users of other caches know it.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { DO_NOT_CACHE, HttpCache, NEVER_EXPIRE, type Terms } from 'caching-agent'
import { Keyv } from 'keyv'
import { adapter } from './helpers/adapter.ts'
import { get, outcomes, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const SECOND = 1000

suite('deleting', () => {
  test('what is not there is no mistake', async (t) => {
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    await cache.save('http://site.invalid/', { body: 'x' })
    assert.equal(await cache.delete('http://site.invalid/nonexistent'), 0)
    assert.equal(await cache.delete({ key: 'nonexistent' }), 0)
    assert.equal(await cache.delete({ url: ['http://site.invalid/a', 'http://b.invalid/'] }), 0)
    assert.equal(await cache.count(), 1)
  })

  test('what is older than something, a little more each time', async (t) => {
    const now = Date.now()
    t.mock.timers.enable({ apis: ['Date'], now })
    const cache = new HttpCache({ store: `sqlite://${join(folder(), 'cache.sqlite')}` })
    t.after(() => cache.close())
    for (const age of [3.5, 2.5, 1.5, 0.5]) {
      t.mock.timers.setTime(now - age * SECOND)
      await cache.save(`http://site.invalid/${age}`, { body: 'x' })
    }
    t.mock.timers.setTime(now)
    const counts = [await cache.count()]
    for (const olderThan of ['3s', '2s', '1s']) {
      await cache.delete({ olderThan })
      counts.push(await cache.count())
    }
    assert.deepEqual(counts, [4, 3, 2, 1])
  })

  test('some URLs, and exactly these', async (t) => {
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    const urls = ['a', 'b', 'c', 'd'].map((path) => `http://site.invalid/${path}`)
    for (const url of urls) await cache.save(url, { body: 'x' })
    assert.equal(await cache.delete({ url: urls.slice(1, 3) }), 2)
    assert.deepEqual(await cache.urls(), [urls[0], urls[3]])
  })
})

suite('listing', () => {
  test('URLs are sorted, each once; what cannot be read is left out, and left where it is', async (t) => {
    const map = new Map<string, unknown>()
    const cache = new HttpCache({ store: map })
    t.after(() => cache.close())
    const before = new Set<string>()
    for (const path of ['damaged', 'b', 'a']) {
      await cache.save(`http://site.invalid/${path}`, { body: 'x' })
      if (path === 'damaged') for (const key of map.keys()) before.add(key)
      await cache.save({ url: `http://site.invalid/${path}`, method: 'HEAD' }, {})
    }
    const { size } = map
    for (const key of before) map.set(key, 'damaged')
    const all = ['a', 'b', 'damaged'].map((path) => `http://site.invalid/${path}`)
    assert.deepEqual(await cache.urls(), all)
    assert.deepEqual(await cache.urls({ method: 'GET' }), all.slice(0, 2))
    assert.equal(map.size, size)
  })
})

suite('copying', () => {
  test('twenty responses are hits in the copy', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('x'))
    const agent = testAgent(t, { expireAfter: '1h' })
    const paths = Array.from({ length: 20 }, (_, index) => `${url}/${index}`)
    for (const path of paths) await get(agent, path)
    const copy = new HttpCache({ store: `sqlite://${join(folder(), 'copy.sqlite')}` })
    t.after(() => copy.close())
    assert.equal((await agent.cache.copyTo(copy)).copied, 20)
    const other = testAgent(t, { cache: copy, expireAfter: '1h' })
    for (const path of paths) assert.equal((await get(other, path)).info?.status, 'hit')
    assert.equal(seen.length, 20)
  })
})

suite('closing', () => {
  test('a store that was handed over goes on, for whoever else uses it', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('x'))
    const keyv = new Keyv()
    const one = testAgent(t, { store: keyv, expireAfter: '1h' })
    const other = testAgent(t, { store: keyv, expireAfter: '1h' })
    await get(one, url)
    await one.close()
    assert.deepEqual(await outcomes(other, url, [{}, {}]), ['hit', 'hit'])
    assert.equal(seen.length, 1)
  })

  test('a cache that several agents share goes on when one of them is closed', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('x'))
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    const one = testAgent(t, { cache, expireAfter: '1h' })
    const other = testAgent(t, { cache, expireAfter: '1h' })
    await get(one, url)
    await one.close()
    assert.deepEqual(await outcomes(other, url, [{}]), ['hit'])
  })
})

suite('how long a store keeps what it is given', () => {
  // biome-ignore format: one rule a row
  const rules: [terms: Terms, atLeast: number | undefined][] = [
    [{ expireAfter: '60s', staleIfError: '1h' }, 3660 * SECOND],
    [{ expireAfter: '60s', staleIfError: '90d' }, 90 * 86_400 * SECOND],
    [{ expireAfter: '60s' }, 60 * SECOND],
    [{ expireAfter: NEVER_EXPIRE }, undefined],
  ]
  for (const [terms, atLeast] of rules) {
    test(`${JSON.stringify(terms)}: while it may be of use`, async (t) => {
      const { url } = await origin(t, (_, response) => response.end('x'))
      const times: (number | undefined)[] = []
      const set = async (_: string, __: unknown, timeToLive?: number) => times.push(timeToLive) > 0
      const agent = testAgent(t, { store: adapter({ set }), ...terms })
      await get(agent, url)
      await agent.cache.responses.settled()
      assert.equal(times.length, 1)
      if (atLeast === undefined) assert.equal(times[0], undefined)
      else assert.ok((times[0] ?? 0) >= atLeast, `${times[0]}`)
    })
  }

  test('DO_NOT_CACHE: it is given nothing', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('x'))
    const store = new Map()
    const agent = testAgent(t, { store, expireAfter: DO_NOT_CACHE })
    await get(agent, url)
    await agent.cache.responses.settled()
    assert.equal(store.size, 0)
  })
})
