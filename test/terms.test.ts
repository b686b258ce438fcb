import assert from 'node:assert/strict'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { type AgentOptions, cachingAgent, DO_NOT_CACHE, type Terms } from 'caching-agent'
import { Keyv } from 'keyv'
import * as undici from 'undici'
import { get, outcomes, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** An origin that answers `/404` with status 404 and anything else with 200, each time with its number. */
function statuses(t: TestContext, fields: Record<string, string> = {}) {
  return origin(t, (request, response, count) => {
    const status = Number(/\d{3}$/.exec(request.url ?? '')?.[0] ?? 200)
    response.writeHead(status, fields).end(`response ${count}`)
  })
}

/** An origin whose content has a version, by which it is validated. */
async function versioned(t: TestContext, fields: Record<string, string> = {}) {
  const state = { version: 1 }
  const { url, seen } = await origin(t, ({ headers }, response) => {
    const etag = `"${state.version}"`
    for (const [name, value] of Object.entries(fields)) response.setHeader(name, value)
    response.setHeader('ETag', etag)
    response.statusCode = headers['if-none-match'] === etag ? 304 : 200
    response.end(response.statusCode === 304 ? undefined : `version ${state.version}`)
  })
  return { url, seen, state, conditions: () => seen.map(({ headers }) => headers['if-none-match']) }
}

function clock(t: TestContext) {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
  return (milliseconds: number) => t.mock.timers.tick(milliseconds)
}

/** A store that counts its writes. */
function countedStore() {
  const map = new Map<string, unknown>()
  const changes = { count: 0 }
  for (const name of ['set', 'delete'] as const) {
    const change = map[name].bind(map) as (...args: unknown[]) => never
    map[name] = (...args: unknown[]) => {
      changes.count += 1
      return change(...args)
    }
  }
  return { store: new Keyv({ store: map }), changes }
}

suite('allowedCodes', () => {
  test('status codes that are allowed are stored by the user’s expiration', async (t) => {
    const { url, seen } = await statuses(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedCodes: [200, 404] })
    assert.deepEqual(await outcomes(agent, `${url}/404`, [{}, {}]), ['miss', 'hit'])
    assert.equal((await get(agent, `${url}/404`)).status, 404)
    assert.deepEqual(await outcomes(agent, `${url}/410`, [{}, {}]), ['miss', 'miss'])
    assert.equal(seen.length, 3)
  })

  test('a class is all of its codes', async (t) => {
    const { url } = await statuses(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedCodes: ['4xx'] })
    assert.deepEqual(await outcomes(agent, `${url}/418`, [{}, {}]), ['miss', 'hit'])
    const { info } = await get(agent, `${url}/200`)
    assert.deepEqual([info?.stored, info?.reason], [false, 'status'])
  })

  test('where the origin decides, what is not allowed is not stored either', async (t) => {
    const { url } = await statuses(t, { 'Cache-Control': 'max-age=60' })
    const agent = testAgent(t, { allowedCodes: [200] })
    assert.deepEqual(await outcomes(agent, `${url}/404`, [{}, {}]), ['miss', 'miss'])
    assert.deepEqual(await outcomes(agent, `${url}/200`, [{}, {}]), ['miss', 'hit'])
  })

  test('the reason phrase is that of the origin, by fetch and by request', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.writeHead(418, 'Short And Stout').end()
    })
    const agent = testAgent(t, { expireAfter: '1h', allowedCodes: [200, 418] })
    for (const status of ['miss', 'hit']) {
      const { response, info } = await get(agent, url)
      assert.equal(info?.status, status)
      assert.deepEqual([response.status, response.statusText], [418, 'Short And Stout'])
    }
  })

  test('an error that is allowed is an answer: no stale response is used instead', async (t) => {
    const tick = clock(t)
    let status = 200
    const { url } = await origin(t, (_, response) => void response.writeHead(status).end('x'))
    const agent = testAgent(t, { expireAfter: '1h', staleIfError: true, allowedCodes: [200, 500] })
    await get(agent, url)
    tick(2 * HOUR)
    status = 500
    const first = await get(agent, url)
    assert.deepEqual([first.status, first.info?.stored], [500, true])
    const second = await get(agent, url)
    assert.deepEqual([second.status, second.info?.status], [500, 'hit'])
    tick(2 * HOUR)
    status = 503
    assert.equal((await get(agent, url)).info?.reason, 'stale-if-error')
  })
})

suite('expirations by status code', () => {
  test('a 404 expires in a minute, a 503 in five seconds, anything else in an hour', async (t) => {
    const tick = clock(t)
    const { url, seen } = await statuses(t, { 'Cache-Control': 'no-store' })
    const agent = testAgent(t, { expireAfter: { 404: '1m', '5xx': '5s', '*': '1h' } })
    const all = ['/404', '/503', '/200']
    const round = async () => {
      const answers = await Promise.all(all.map((path) => get(agent, url + path)))
      return answers.map(({ info }) => info?.status)
    }
    assert.deepEqual(await round(), ['miss', 'miss', 'miss'])
    assert.deepEqual(await round(), ['hit', 'hit', 'hit'])
    tick(6000)
    assert.deepEqual(await round(), ['hit', 'miss', 'hit'])
    tick(MINUTE)
    assert.deepEqual(await round(), ['miss', 'miss', 'hit'])
    assert.equal(seen.length, 6)
  })

  test('all others are given an expiration, and no more of them are stored', async (t) => {
    const { url } = await statuses(t)
    const agent = testAgent(t, { expireAfter: { '*': '1h' } })
    assert.deepEqual(await outcomes(agent, `${url}/404`, [{}, {}]), ['miss', 'miss'])
    assert.deepEqual(await outcomes(agent, `${url}/200`, [{}, {}]), ['miss', 'hit'])
  })

  test('where the agent has none for a status code, the origin decides', async (t) => {
    const { url } = await statuses(t, { 'Cache-Control': 'max-age=60' })
    const agent = testAgent(t, { expireAfter: { 404: '1h' } })
    const near = (ttl: number | undefined, expected: number) =>
      assert.ok(Math.abs((ttl ?? 0) - expected) < 10_000, `${ttl}`)
    near((await get(agent, `${url}/200`)).info?.ttl, MINUTE)
    near((await get(agent, `${url}/404`)).info?.ttl, HOUR)
  })

  test('by URL, with what the rule does not say from the agent', async (t) => {
    const { url } = await statuses(t)
    const { hostname } = new URL(url)
    const agent = testAgent(t, {
      expireAfter: '1h',
      urlsExpireAfter: { [hostname]: { 404: '1m', 200: DO_NOT_CACHE } },
    })
    const ttl = async (path: string) => (await get(agent, url + path)).info?.ttl
    assert.ok(((await ttl('/404')) ?? 0) <= MINUTE)
    assert.equal(await ttl('/200'), undefined)
    assert.ok(((await ttl('/203')) ?? 0) > MINUTE)
  })

  test('what is not to be cached is not used either', async (t) => {
    const { url, seen } = await statuses(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedCodes: ['5xx'] })
    await get(agent, `${url}/500`)
    const fresh = agent.with({ expireAfter: { '5xx': DO_NOT_CACHE } })
    assert.equal((await get(fresh, `${url}/500`)).body, 'response 2')
    assert.equal((await get(agent, `${url}/500`)).body, 'response 1')
    assert.equal(seen.length, 2)
  })

  test('allowedCodes has the last word', async (t) => {
    const { url } = await statuses(t)
    const agent = testAgent(t, { expireAfter: { 404: '1m', 500: '1m' }, allowedCodes: [404] })
    assert.deepEqual(await outcomes(agent, `${url}/404`, [{}, {}]), ['miss', 'hit'])
    assert.deepEqual(await outcomes(agent, `${url}/500`, [{}, {}]), ['miss', 'miss'])
  })
})

suite('readOnly', () => {
  test('what is stored is used, and nothing is stored', async (t) => {
    const { store, changes } = countedStore()
    const { url, seen } = await statuses(t)
    const agent = testAgent(t, { store, expireAfter: '1h' })
    await get(agent, `${url}/a`)
    await agent.cache.responses.settled()
    const before = changes.count
    const reader = agent.with({ readOnly: true })
    assert.deepEqual(await outcomes(reader, `${url}/a`, [{}]), ['hit'])
    assert.deepEqual(await outcomes(reader, `${url}/b`, [{}, {}]), ['miss', 'miss'])
    const { info } = await get(reader, `${url}/b`)
    assert.deepEqual([info?.stored, info?.reason], [false, 'read-only'])
    await agent.cache.responses.settled()
    assert.equal(changes.count, before)
    assert.equal(seen.length, 4)
  })

  test('what has expired is fetched, and stays as it is, whether it is confirmed or not', async (t) => {
    const tick = clock(t)
    const { store, changes } = countedStore()
    const { url, state, conditions } = await versioned(t)
    const agent = testAgent(t, { store, expireAfter: '1h' })
    await get(agent, url)
    await agent.cache.responses.settled()
    const stored = await agent.cache.get(url)
    const before = changes.count
    tick(2 * HOUR)
    const reader = agent.with({ readOnly: true })
    const first = await get(reader, url)
    assert.deepEqual([first.info?.status, first.body], ['revalidated', 'version 1'])
    assert.equal(first.info?.stored, false)
    state.version = 2
    for (const terms of [{}, { forceRefresh: true }]) {
      const { info, body } = await get(reader.with(terms), url)
      assert.deepEqual([info?.status, info?.stored, body], ['miss', false, 'version 2'])
    }
    await agent.cache.responses.settled()
    assert.equal(changes.count, before)
    assert.deepEqual((await agent.cache.get(url))?.expires, stored?.expires)
    assert.deepEqual(conditions(), [undefined, '"1"', '"1"', undefined])
  })

  test('a success of an unsafe method, and the end of a resource, take nothing away', async (t) => {
    const { url } = await origin(t, ({ method }, response) => {
      response.statusCode = method === 'HEAD' ? 410 : 200
      response.end(method === 'HEAD' ? undefined : 'x')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const reader = agent.with({ readOnly: true })
    const noCache = { 'cache-control': 'no-cache' }
    await get(reader, url, { method: 'HEAD', headers: noCache })
    await get(reader, url, { method: 'POST', body: 'x' })
    assert.equal((await get(agent, url)).info?.status, 'hit')
    await get(agent, url, { method: 'POST', body: 'x' })
    assert.equal((await get(agent, url)).info?.status, 'miss')
  })

  test('a stale response is used, and not validated behind', async (t) => {
    const tick = clock(t)
    const { url, seen } = await statuses(t)
    const agent = testAgent(t, { expireAfter: '1h', staleWhileRevalidate: true })
    await get(agent, url)
    tick(2 * HOUR)
    assert.equal((await get(agent.with({ readOnly: true }), url)).info?.status, 'stale')
    await agent.close()
    assert.equal(seen.length, 1)
  })

  test('what has lost its content is fetched, and left for others to see', async (t) => {
    const map = new Map<string, unknown>()
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(500_000, 'x')))
    const store = new Keyv({ store: map })
    const agent = testAgent(t, { store, expireAfter: '1h', memory: false })
    await get(agent, url)
    await agent.cache.responses.settled()
    for (const key of [...map.keys()]) if (key.includes('chunk.')) map.delete(key)
    const before = map.size
    const { info, body } = await get(agent.with({ readOnly: true }), url)
    assert.deepEqual([info?.status, body.length], ['miss', 500_000])
    await agent.cache.responses.settled()
    assert.equal(map.size, before)
  })

  test('its answers are for nobody else, and nobody waits in vain afterwards', async (t) => {
    const { url, seen } = await statuses(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    const reader = agent.with({ readOnly: true })
    await Promise.all([get(reader, url), get(reader, url)])
    assert.equal(seen.length, 2)
    await Promise.all(Array.from({ length: 5 }, () => get(agent, url)))
    assert.equal(seen.length, 3)
  })

  test('no secret is made for credentials', async (t) => {
    const { store, changes } = countedStore()
    const { url } = await statuses(t)
    const agent = testAgent(t, { store, expireAfter: '1h', readOnly: true })
    const secret = { headers: { authorization: 'x' } }
    assert.deepEqual(await outcomes(agent, url, [secret, secret]), ['miss', 'miss'])
    assert.equal(await agent.cache.has(url, secret), false)
    assert.equal(changes.count, 0)
  })
})

suite('onlyIfCached', () => {
  test('nothing is sent: 504 where nothing is stored, or an error', async (t) => {
    const { url, seen } = await statuses(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    const only = agent.with({ onlyIfCached: true })
    const { response, info } = await get(only, url)
    assert.deepEqual([response.status, response.statusText], [504, 'Gateway Timeout'])
    assert.equal(info?.reason, 'only-if-cached')
    await assert.rejects(get(only.with({ missing: 'error' }), url), ({ cause }: Error) => {
      return (cause as Error).name === 'NotStoredError' && /onlyIfCached/.test(String(cause))
    })
    await get(agent, url)
    assert.equal((await get(only, url)).info?.status, 'hit')
    assert.equal(seen.length, 1)
  })

  test('what is stale does where staleIfError says so', async (t) => {
    const tick = clock(t)
    const { url, seen } = await versioned(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    tick(HOUR + 3000)
    const status = async (terms: Terms) =>
      (await get(agent.with({ onlyIfCached: true, ...terms }), url)).info?.status
    assert.equal(await status({ staleIfError: true }), 'stale')
    assert.equal(await status({ staleIfError: '5s' }), 'stale')
    assert.equal((await get(agent.with({ onlyIfCached: true }), url)).status, 504)
    tick(3000)
    assert.equal((await get(agent.with({ onlyIfCached: true, staleIfError: '5s' }), url)).status, 504) // biome-ignore format: one line
    assert.equal(seen.length, 1)
  })

  test('requests that pass the cache by are not sent either', async (t) => {
    const { url, seen } = await statuses(t)
    const agent = testAgent(t, { onlyIfCached: true })
    const noStore = { headers: { 'cache-control': 'no-store' } }
    for (const init of [{ method: 'POST', body: 'x' }, noStore]) {
      assert.equal((await get(agent, url, init)).status, 504)
    }
    assert.equal(seen.length, 0)
  })
})

suite('refresh, forceRefresh and alwaysRevalidate', () => {
  test('refresh validates what is fresh, by a condition where that is possible', async (t) => {
    const { url, conditions, state } = await versioned(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const refreshing = agent.with({ refresh: true })
    assert.equal((await get(refreshing, url)).info?.status, 'revalidated')
    state.version = 2
    assert.equal((await get(agent, url)).body, 'version 1')
    assert.equal((await get(refreshing, url)).body, 'version 2')
    assert.equal((await get(agent, url)).body, 'version 2')
    assert.deepEqual(conditions(), [undefined, '"1"', '"1"'])
  })

  test('refresh fetches what cannot be validated', async (t) => {
    const { url, seen } = await statuses(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    assert.equal((await get(agent.with({ refresh: true }), url)).body, 'response 2')
    assert.equal((await get(agent, url)).body, 'response 2')
    assert.equal(seen.length, 2)
  })

  test('forceRefresh asks without a condition, and stores by the request’s terms', async (t) => {
    const { url, conditions } = await versioned(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const { info } = await get(agent.with({ forceRefresh: true, expireAfter: '1d' }), url)
    assert.equal(info?.status, 'miss')
    assert.ok((info?.ttl ?? 0) > 23 * HOUR)
    assert.ok(((await get(agent, url)).info?.ttl ?? 0) > 23 * HOUR)
    assert.deepEqual(conditions(), [undefined, undefined])
  })

  test('alwaysRevalidate validates each use; what has no validator is a plain hit', async (t) => {
    const { url, conditions } = await versioned(t)
    const plain = await statuses(t)
    const agent = testAgent(t, { expireAfter: '1h', alwaysRevalidate: true })
    const three = [{}, {}, {}]
    assert.deepEqual(await outcomes(agent, url, three), ['miss', 'revalidated', 'revalidated'])
    assert.deepEqual(conditions(), [undefined, '"1"', '"1"'])
    assert.deepEqual(await outcomes(agent, plain.url, three), ['miss', 'hit', 'hit'])
    assert.equal(plain.seen.length, 1)
  })

  test('alwaysRevalidate leaves alone what cannot be validated because of its method', async (t) => {
    const { url, seen } = await versioned(t)
    const agent = testAgent(t, { expireAfter: '1h', alwaysRevalidate: true, allowedMethods: ['POST'] }) // biome-ignore format: one line
    const post = { method: 'POST', body: 'x' }
    assert.deepEqual(await outcomes(agent, url, [post, post]), ['miss', 'hit'])
    assert.equal((await get(agent.with({ refresh: true }), url, post)).info?.status, 'miss')
    assert.equal(seen.length, 2)
  })

  test('nothing of all this reaches the origin', async (t) => {
    const { url, seen } = await versioned(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const every: Terms = { refresh: true, slidingExpiration: true, maxExpireAfter: 1, allowedCodes: [200], stripSetCookie: true, expireAfter: '1d', staleIfError: true } // biome-ignore format: one line
    await get(agent.with(every), url)
    await get(agent.with({ ...every, forceRefresh: true }), url)
    await get(agent.with({ ...every, mode: 'record' }), url)
    const [plain = {}, ...others] = seen.map(({ headers }) => headers)
    for (const { 'if-none-match': _, ...headers } of others) assert.deepEqual(headers, plain)
  })

  test('where the origin fails, staleIfError lets what is stored do', async (t) => {
    let isDown = false
    const { url } = await origin(t, (_, response) => {
      if (isDown) response.destroy()
      else response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h', staleIfError: true })
    await get(agent, url)
    isDown = true
    for (const terms of [{ refresh: true }, { forceRefresh: true }]) {
      assert.equal((await get(agent.with(terms), url)).info?.reason, 'stale-if-error')
    }
  })

  test('a refresh does not wait for an answer to a request that was sent before it', async (t) => {
    const waiting: ServerResponse[] = []
    const { url, seen } = await origin(t, (_, response) => void waiting.push(response))
    const agent = testAgent(t, { expireAfter: '1h' })
    const first = get(agent, url)
    while (seen.length < 1) await new Promise(setImmediate)
    const start = performance.now()
    const others = [{ refresh: true }, { forceRefresh: true }].map((terms) =>
      get(agent.with(terms), url),
    )
    while (seen.length < 3) await new Promise(setImmediate)
    // Who waits does so for five seconds.
    assert.ok(performance.now() - start < 4000)
    for (const [index, response] of waiting.entries()) response.end(`response ${index}`)
    const bodies = (await Promise.all([first, ...others])).map(({ body }) => body)
    assert.deepEqual(new Set(bodies), new Set(['response 0', 'response 1', 'response 2']))
  })

  test('others wait for a refresh as for any other request', async (t) => {
    const waiting: ServerResponse[] = []
    const { url, seen } = await origin(t, (_, response) => void waiting.push(response))
    const agent = testAgent(t, { expireAfter: '1h' })
    const all = [get(agent.with({ refresh: true }), url)]
    while (seen.length < 1) await new Promise(setImmediate)
    for (let n = 0; n < 10; n++) all.push(get(agent, url))
    await new Promise((resolve) => setTimeout(resolve, 50))
    for (const response of waiting) response.end('content')
    for (const { body } of await Promise.all(all)) assert.equal(body, 'content')
    assert.equal(seen.length, 1)
  })
})

suite('slidingExpiration', () => {
  test('each use starts the duration anew', async (t) => {
    const tick = clock(t)
    const { url, seen } = await statuses(t)
    const agent = testAgent(t, { expireAfter: '1h', slidingExpiration: true })
    await get(agent, url)
    for (let use = 0; use < 5; use++) {
      tick(50 * MINUTE)
      const { info } = await get(agent, url)
      assert.equal(info?.status, 'hit')
      assert.equal(info?.ttl, HOUR)
    }
    tick(HOUR)
    assert.equal((await get(agent, url)).info?.status, 'miss')
    assert.equal(seen.length, 2)
  })

  test('without it no use does', async (t) => {
    const tick = clock(t)
    const { url } = await statuses(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    tick(50 * MINUTE)
    assert.equal((await get(agent, url)).info?.status, 'hit')
    tick(20 * MINUTE)
    assert.equal((await get(agent, url)).info?.status, 'miss')
  })

  test('it is for durations of the user: not for the origin’s, nor for points in time', async (t) => {
    const tick = clock(t)
    const { url } = await statuses(t, { 'Cache-Control': 'max-age=60' })
    const sliding = { slidingExpiration: true }
    const until = new Date(Date.now() + MINUTE)
    for (const options of [sliding, { ...sliding, expireAfter: until }]) {
      const agent = testAgent(t, options)
      const at = `${url}/${options === sliding}`
      await get(agent, at)
      tick(40_000)
      assert.ok(((await get(agent, at)).info?.ttl ?? 0) <= 20_000)
      t.mock.timers.setTime(until.getTime() - MINUTE)
    }
  })

  test('a short duration slides as well', async (t) => {
    const tick = clock(t)
    const { url, seen } = await statuses(t)
    const agent = testAgent(t, { expireAfter: 100, slidingExpiration: true })
    await get(agent, url)
    for (let use = 0; use < 20; use++) {
      tick(60)
      assert.equal((await get(agent, url)).info?.status, 'hit')
    }
    assert.equal(seen.length, 1)
  })

  test('it is written when it gains a hundredth, and not at each use', async (t) => {
    const tick = clock(t)
    const { store, changes } = countedStore()
    const { url } = await statuses(t)
    const agent = testAgent(t, { store, expireAfter: '100m', slidingExpiration: true })
    await get(agent, url)
    await agent.cache.responses.settled()
    const before = changes.count
    for (let use = 0; use < 100; use++) {
      tick(6000)
      await get(agent, url)
      await agent.cache.responses.settled()
    }
    // Ten minutes of uses, each written once a minute.
    assert.equal(changes.count - before, 10)
  })

  test('it is known after a restart', async (t) => {
    const tick = clock(t)
    const { url } = await statuses(t)
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const options: AgentOptions = { store, expireAfter: '1h', slidingExpiration: true }
    const first = cachingAgent(options)
    await get(first, url)
    tick(50 * MINUTE)
    await get(first, url)
    await first.close()
    tick(50 * MINUTE)
    const second = testAgent(t, { store, expireAfter: '1h' })
    assert.equal((await get(second, url)).info?.status, 'hit')
    tick(20 * MINUTE)
    assert.equal((await get(second, url)).info?.status, 'miss')
  })

  test('a use by more particular terms never makes it shorter', async (t) => {
    const { url } = await statuses(t)
    const agent = testAgent(t, { expireAfter: '1d', slidingExpiration: true })
    await get(agent, url)
    await get(agent.with({ expireAfter: '1m' }), url)
    assert.ok(((await get(agent, url)).info?.ttl ?? 0) > 23 * HOUR)
  })
})

suite('maxExpireAfter', () => {
  test('limits what the origin and a heuristic may ask for, and outlasts the agent', async (t) => {
    const tick = clock(t)
    const modified = new Date(Date.now() - 1000 * HOUR).toUTCString()
    const { url } = await origin(t, (request, response) => {
      if (request.url === '/max-age') response.setHeader('Cache-Control', 'max-age=86400')
      else response.setHeader('Last-Modified', modified)
      response.end('content')
    })
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const limited = cachingAgent({ store, maxExpireAfter: '1m' })
    const paths = ['/max-age', '/heuristic']
    for (const path of paths) {
      const { ttl = 0 } = (await get(limited, url + path)).info ?? {}
      assert.ok(ttl > 0 && ttl <= MINUTE, `${path} ${ttl}`)
    }
    await limited.close()
    const agent = testAgent(t, { store })
    tick(50_000)
    for (const path of paths) assert.equal((await get(agent, url + path)).info?.status, 'hit')
    tick(15_000)
    for (const path of paths) assert.notEqual((await get(agent, url + path)).info?.status, 'hit')
    tick(2 * MINUTE)
    for (const path of paths) assert.equal((await get(agent, url + path)).info?.status, 'hit')
  })

  test('does not limit what the user says, nor allow what the origin forbids', async (t) => {
    const { url } = await origin(t, (request, response) => {
      const isForbidden = request.url === '/no-store'
      response.setHeader('Cache-Control', isForbidden ? 'no-store' : 'max-age=86400').end('x')
    })
    const agent = testAgent(t, { maxExpireAfter: '1m' })
    assert.equal((await get(agent, `${url}/no-store`)).info?.stored, false)
    const { info } = await get(agent.with({ expireAfter: '1h' }), `${url}/a`)
    assert.ok((info?.ttl ?? 0) > MINUTE)
  })

  test('nothing is validation at each use', async (t) => {
    const { url, conditions } = await versioned(t, { 'Cache-Control': 'max-age=60' })
    const agent = testAgent(t, { maxExpireAfter: 0 })
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'revalidated'])
    assert.deepEqual(conditions(), [undefined, '"1"'])
  })
})

suite('Set-Cookie', () => {
  const cookies = (t: TestContext, cacheControl = 'max-age=60') =>
    origin(t, (request: IncomingMessage, response, count) => {
      const lines = [`a=${count}; Path=/`, 'b=2; Expires=Fri, 01 Jan 2100 00:00:00 GMT', 'a=3']
      response.setHeader('Set-Cookie', lines).setHeader('Cache-Control', cacheControl)
      response.setHeader('ETag', '"1"')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : 'content')
    })
  const linesOf = (count: number) => [
    `a=${count}; Path=/`,
    'b=2; Expires=Fri, 01 Jan 2100 00:00:00 GMT',
    'a=3',
  ]

  test('is replayed line by line, never merged: by fetch and by request', async (t) => {
    const { url } = await cookies(t)
    const agent = testAgent(t)
    for (const status of ['miss', 'hit']) {
      const { response, info } = await get(agent, url)
      assert.equal(info?.status, status)
      assert.deepEqual(response.headers.getSetCookie(), linesOf(1))
      const { headers, body } = await undici.request(url, { dispatcher: agent })
      await body.dump()
      assert.deepEqual(headers['set-cookie'], linesOf(1))
    }
  })

  test('stripSetCookie: who caused the response gets it, and nobody else', async (t) => {
    const { url } = await cookies(t)
    const agent = testAgent(t, { stripSetCookie: true })
    const first = await get(agent, url)
    assert.deepEqual(first.response.headers.getSetCookie(), linesOf(1))
    const second = await get(agent, url)
    assert.deepEqual([second.info?.status, second.response.headers.getSetCookie()], ['hit', []])
    assert.equal((await agent.cache.get(url))?.headers['set-cookie'], undefined)
  })

  test('stripSetCookie: also who waited for the response of another one', async (t) => {
    const { url, seen } = await cookies(t)
    const agent = testAgent(t, { stripSetCookie: true })
    const all = await Promise.all(Array.from({ length: 5 }, () => get(agent, url)))
    const lines = all.map(({ response }) => response.headers.getSetCookie().length)
    assert.deepEqual(lines.toSorted(), [0, 0, 0, 0, 3])
    assert.equal(seen.length, 1)
  })

  test('stripSetCookie: what a validation sets is for who asked for it', async (t) => {
    const tick = clock(t)
    const { url } = await cookies(t)
    const agent = testAgent(t, { stripSetCookie: true })
    await get(agent, url)
    tick(2 * MINUTE)
    const validated = await get(agent, url)
    assert.equal(validated.info?.status, 'revalidated')
    assert.deepEqual(validated.response.headers.getSetCookie(), linesOf(2))
    const hit = await get(agent, url)
    assert.deepEqual([hit.info?.status, hit.response.headers.getSetCookie()], ['hit', []])
  })

  test('stripSetCookie: what was stored with cookies before is used without', async (t) => {
    const { url } = await cookies(t)
    const agent = testAgent(t)
    await get(agent, url)
    const { response, info } = await get(agent.with({ stripSetCookie: true }), url)
    assert.deepEqual([info?.status, response.headers.getSetCookie()], ['hit', []])
  })

  test('stripSetCookie: what is public is for all, and what is not for the same credentials', async (t) => {
    const asUser = (cookie: string) => ({ headers: { cookie } })
    const shared = await cookies(t, 'public, max-age=60')
    const agent = testAgent(t, { stripSetCookie: true })
    const two = [asUser('user=1'), asUser('user=2')]
    assert.deepEqual(await outcomes(agent, shared.url, two), ['miss', 'hit'])
    const own = await cookies(t)
    assert.deepEqual(await outcomes(agent, own.url, two), ['miss', 'miss'])
    // Without it, one that sets a cookie is for nobody else.
    const keeping = testAgent(t)
    assert.deepEqual(await outcomes(keeping, shared.url, two), ['miss', 'miss'])
  })
})
