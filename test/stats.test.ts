import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type CacheStatistics, DO_NOT_CACHE, HttpCache, type LookupEvent } from 'caching-agent'
import fc from 'fast-check'
import * as undici from 'undici'
import { Statistics } from '../lib/observe/statistics.ts'
import { get, testAgent } from './helpers/agent.ts'
import { type Heard, listenTo } from './helpers/events.ts'
import { origin } from './helpers/origin.ts'

/** Waits until all has been stored, and all has been heard. */
async function quiet(cache: HttpCache): Promise<void> {
  while (cache.validations.size > 0) await delay(1)
  await cache.responses.settled()
  await cache.responses.limitsKept()
  await new Promise((resolve) => setImmediate(resolve))
}

/** What statistics should be after what has been heard; as far as events tell it. */
function countedFrom(heard: Heard) {
  const outcomes = { hit: 0, stale: 0, revalidated: 0, miss: 0, bypass: 0 }
  const reasons: Record<string, Record<string, number>> = {
    ...{ hit: {}, stale: {}, revalidated: {}, miss: {}, bypass: {} },
  }
  for (const { outcome, reason } of heard.lookup) {
    outcomes[outcome] += 1
    const ofOutcome = reasons[outcome] as Record<string, number>
    if (reason !== undefined) ofOutcome[reason] = (ofOutcome[reason] ?? 0) + 1
  }
  const count = <T>(events: readonly T[], is: (event: T) => boolean) => events.filter(is).length
  return {
    requests: heard.lookup.length,
    outcomes,
    reasons,
    collapsed: count(heard.lookup, ({ collapsed }) => collapsed),
    failed: count(heard.lookup, ({ error }) => error !== undefined),
    stored: heard.store.length,
    validations: {
      confirmed: count(heard.validate, ({ confirmed }) => confirmed),
      unconfirmed: count(heard.validate, ({ confirmed }) => !confirmed),
    },
    evicted: heard.evict.length,
    deleted: heard.delete.length,
    errors: heard.error.length,
  }
}

/** What of some statistics events tell as well. */
function counted(stats: CacheStatistics) {
  const { since: _, hitRatio: __, bytesFromCache, bytesFromOrigin, timeSaved, ...rest } = stats
  const { origins, ...counts } = rest
  return counts
}

/** An origin whose paths show all that can become of a request. */
function varied(t: TestContext) {
  return origin(t, (request, response, count) => {
    const { pathname } = new URL(request.url ?? '', 'http://a')
    if (pathname === '/down' && count % 2 === 0) return response.destroy()
    if (pathname === '/error' && count % 2 === 0) response.statusCode = 503
    if (pathname === '/etag') response.setHeader('ETag', '"v1"')
    if (request.headers['if-none-match'] === '"v1"') response.statusCode = 304
    if (pathname === '/vary') response.setHeader('Vary', 'Accept')
    const isStored = pathname !== '/no-store'
    response.setHeader('Cache-Control', isStored ? 'max-age=60' : 'no-store')
    return response.end(response.statusCode === 304 ? undefined : pathname.repeat(20))
  })
}

const PATHS = ['/plain', '/etag', '/vary', '/no-store', '/error', '/down', '/other']
const FIELDS = ['no-cache', 'no-store', 'only-if-cached', 'max-stale', 'max-age=10']

const anyStep = fc.record({
  path: fc.constantFrom(...PATHS),
  method: fc.constantFrom('GET', 'GET', 'GET', 'GET', 'HEAD', 'POST'),
  accept: fc.constantFrom('a/a', 'b/b'),
  cacheControl: fc.option(fc.constantFrom(...FIELDS), { freq: 4 }),
  after: fc.constantFrom(0, 0, 5000, 70_000, 700_000),
  atATime: fc.constantFrom(1, 1, 1, 3),
})

suite('statistics', () => {
  for (const method of ['GET', 'POST']) {
    test(`what has come from the origin counts once, also where the handler of a ${method} throws`, async (t) => {
      const { url } = await origin(t, (_, response) => response.end('x'.repeat(1000)))
      const agent = testAgent(t)
      await new Promise<void>((resolve) => {
        agent.dispatch(
          { origin: url, path: '/', method: method as 'GET' },
          {
            onRequestStart() {},
            onResponseStart() {},
            onResponseData() {},
            onResponseEnd() {
              throw new Error('the handler throws')
            },
            onResponseError: () => resolve(),
          },
        )
      })
      assert.equal(agent.cache.stats().bytesFromOrigin, 1000)
    })
  }

  test('are what the events tell, whatever happens', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
    const { url } = await varied(t)
    const terms = { staleIfError: '5m', staleWhileRevalidate: '2m' }
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { minLength: 5, maxLength: 25 }), async (steps) => {
        const agent = testAgent(t, { ...terms, maxEntries: 4 })
        const { cache } = agent
        const heard = listenTo(cache)
        for (const { path, method, accept, cacheControl, after, atATime } of steps) {
          await quiet(cache)
          t.mock.timers.tick(after)
          const headers = { accept, ...(cacheControl && { 'cache-control': cacheControl }) }
          const ask = () => get(agent, url + path, { method, headers }).catch(() => {})
          await Promise.all(Array.from({ length: atATime }, ask))
        }
        await quiet(cache)
        const stats = cache.stats()
        assert.deepEqual(counted(stats), countedFrom(heard))
        const { hit, stale, bypass } = stats.outcomes
        const asked = stats.requests - bypass
        assert.equal(stats.hitRatio, asked === 0 ? 0 : (hit + stale) / asked)
        // All of it is of one origin.
        const { requests, outcomes, hitRatio, collapsed, failed } = stats
        const { bytesFromCache, bytesFromOrigin, timeSaved } = stats
        assert.deepEqual(stats.origins, {
          [url]: {
            ...{ requests, outcomes, hitRatio, collapsed, failed },
            ...{ bytesFromCache, bytesFromOrigin, timeSaved },
          },
        })
      }),
      { numRuns: 30 },
    )
  })

  test('are those of each origin, and their sum', async (t) => {
    const agent = testAgent(t, { expireAfter: '1h' })
    const urls: string[] = []
    for (const length of [10, 1000]) {
      const { url } = await origin(t, (_, response) => response.end('x'.repeat(length)))
      urls.push(url)
      for (let index = 0; index < 3; index++) await get(agent, `${url}/${index % 2}`)
    }
    await get(agent, urls[0] as string, { method: 'POST' })
    const { origins, ...all } = agent.cache.stats()
    const [first, second] = urls.map((url) => origins[url])
    assert.deepEqual([first?.requests, second?.requests, all.requests], [4, 3, 7])
    assert.deepEqual(first?.outcomes, { hit: 1, stale: 0, revalidated: 0, miss: 2, bypass: 1 })
    assert.deepEqual([first?.bytesFromCache, first?.bytesFromOrigin], [10, 30])
    assert.deepEqual([second?.bytesFromCache, second?.bytesFromOrigin], [1000, 2000])
    assert.deepEqual([all.bytesFromCache, all.bytesFromOrigin], [1010, 2030])
    assert.equal(first?.hitRatio, 1 / 3)
  })

  test('count the bytes of what is read while it is still being received', async (t) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const { url } = await origin(t, async (_, response) => {
      response.write('x'.repeat(500))
      await promise
      response.end('x'.repeat(500))
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const ask = async () => (await undici.request(url, { dispatcher: agent })).body
    const bodies = [await ask(), await ask(), await ask()]
    resolve()
    for (const body of bodies) assert.equal((await body.text()).length, 1000)
    const { bytesFromCache, bytesFromOrigin } = agent.cache.stats()
    assert.deepEqual([bytesFromCache, bytesFromOrigin], [2000, 1000])
  })

  test('estimate the time saved by what the origin took for what was stored', async (t) => {
    const { url } = await origin(t, (_, response) => {
      setTimeout(() => response.end('content'), 100)
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    assert.equal(agent.cache.stats().timeSaved, 0)
    for (let index = 0; index < 3; index++) await get(agent, url)
    const { timeSaved } = agent.cache.stats()
    assert.ok(timeSaved >= 3 * 95 && timeSaved < 3 * 5000, `${timeSaved}`)
  })

  test('are of all agents of a cache, can be written as JSON, and change no more once taken', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    const first = testAgent(t, { cache, expireAfter: '1h' })
    const second = testAgent(t, { cache, expireAfter: DO_NOT_CACHE })
    await get(first, url)
    const before = cache.stats()
    const text = JSON.stringify(before)
    await get(second, url)
    assert.equal(JSON.stringify(before), text)
    const { since, ...rest } = cache.stats()
    assert.deepEqual(JSON.parse(JSON.stringify(rest)), rest)
    assert.ok(Math.abs(Date.now() - since.getTime()) < 60_000)
    assert.deepEqual([rest.outcomes.miss, rest.reasons.bypass], [1, { 'do-not-cache': 1 }])
  })

  test('begin anew with resetStats, and nothing else does', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    for (let index = 0; index < 2; index++) await get(agent, url)
    await agent.cache.clear()
    assert.equal(agent.cache.stats().requests, 2)
    agent.cache.resetStats()
    const { since: _, ...rest } = agent.cache.stats()
    const { since: __, ...fresh } = new Statistics().snapshot()
    assert.deepEqual(rest, fresh)
    await get(agent, url)
    assert.equal(agent.cache.stats().requests, 1)
  })

  test('name the 1000 origins that were asked for most recently, and forget no request', () => {
    const statistics = new Statistics()
    for (let index = 0; index < 1500; index++) {
      statistics.of(`https://host-${index}.example.com/path`).outcomes.hit += 1
      statistics.of('https://often.example.com/').bytesFromCache += 10
    }
    const { origins, requests, bytesFromCache } = statistics.snapshot()
    assert.deepEqual([requests, bytesFromCache], [1500, 15_000])
    assert.equal(Object.keys(origins).length, 1000)
    assert.equal(origins['https://often.example.com']?.bytesFromCache, 15_000)
    assert.equal(origins['https://host-0.example.com'], undefined)
    assert.equal(origins['https://host-1499.example.com']?.requests, 1)
  })

  // biome-ignore format: one rule a row
  const origins: [url: string, origin: string][] = [
    ['https://a.com/', 'https://a.com'],
    ['https://a.com:8443/b/c?d=/e', 'https://a.com:8443'],
    ['http://a/', 'http://a'],
    ['http://[::1]:80/x', 'http://[::1]:80'],
    ['https://a.com.evil.org/', 'https://a.com.evil.org'],
    ['https://a.com', 'https://a.com'],
  ]
  test('tell origins apart, one after the other', () => {
    const statistics = new Statistics()
    for (const [url] of [...origins, ...origins]) statistics.of(url).outcomes.miss += 1
    const requests = Object.entries(statistics.snapshot().origins).map(
      ([name, { requests: number }]) => [name, number],
    )
    const expected = {
      ...Object.fromEntries(origins.map(([, name]) => [name, 2])),
      'https://a.com': 4,
    }
    assert.deepEqual(Object.fromEntries(requests), expected)
  })

  test('a request that is under way is not counted yet', async (t) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const { url, seen } = await origin(t, async (_, response) => {
      await promise
      response.end('content')
    })
    const agent = testAgent(t)
    const events: LookupEvent[] = []
    agent.cache.on('lookup', (event) => events.push(event))
    const answer = get(agent, url)
    while (seen.length === 0) await delay(1)
    assert.equal(agent.cache.stats().requests, 0)
    resolve()
    await answer
    assert.deepEqual([agent.cache.stats().requests, events.length], [1, 1])
  })
})
