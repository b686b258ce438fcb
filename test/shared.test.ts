import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { HttpCache } from 'caching-agent'
import { get, outcomes, testAgent } from './helpers/agent.ts'
import { origin } from './helpers/origin.ts'

suite('a shared cache', () => {
  // biome-ignore format: one rule a row
  const rows: [what: string, fields: Record<string, string>, privately: string, shared: string][] = [
    ['§5.2.2.10: s-maxage is the lifetime', { 'Cache-Control': 's-maxage=60' }, 'miss', 'hit'],
    ['§5.2.2.10: s-maxage counts before max-age', { 'Cache-Control': 's-maxage=0, max-age=60' }, 'hit', 'miss'],
    ['§5.2.2.7: private is not stored', { 'Cache-Control': 'private, max-age=60' }, 'hit', 'miss'],
    ['§5.2.2.7: private for some fields is', { 'Cache-Control': 'private="x-own", max-age=60' }, 'hit', 'hit'],
    ['RFC 9213: CDN-Cache-Control counts instead of Cache-Control', { 'CDN-Cache-Control': 'max-age=60', 'Cache-Control': 'no-store' }, 'miss', 'hit'],
    ['RFC 9213: and instead of Expires', { 'CDN-Cache-Control': 'no-store', Expires: new Date(Date.now() + 60_000).toUTCString() }, 'hit', 'miss'],
    ['RFC 9213: one that is malformed does not count', { 'CDN-Cache-Control': 'max-age="60"', 'Cache-Control': 'no-store' }, 'miss', 'miss'],
  ]
  for (const [what, fields, privately, sharing] of rows) {
    test(what, async (t) => {
      const { url } = await origin(t, (_, response) => response.writeHead(200, fields).end('x'))
      for (const [shared, second] of [
        [false, privately],
        [true, sharing],
      ] as const) {
        const agent = testAgent(t, { shared })
        assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', second], `${shared}`)
      }
    })
  }

  test('§5.2.2.7: fields that private names are not stored', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'private="x-own", max-age=60').setHeader('X-Own', 'me')
      response.end('content')
    })
    const agent = testAgent(t, { shared: true })
    assert.equal((await get(agent, url)).response.headers.get('x-own'), 'me')
    assert.equal((await get(agent, url)).response.headers.get('x-own'), null)
    assert.equal((await agent.cache.get(url))?.headers['x-own'], undefined)
  })

  // biome-ignore format: one rule a row
  const authorized: [cacheControl: string, second: string][] = [
    ['max-age=60', 'miss'],
    ['max-age=60, public', 'hit'],
    ['s-maxage=60', 'hit'],
    ['max-age=60, must-revalidate', 'hit'],
  ]
  for (const [cacheControl, second] of authorized) {
    test(`§3.5: a response to Authorization with ${cacheControl}: ${second} for others`, async (t) => {
      const { url } = await origin(t, (_, response) => {
        response.setHeader('Cache-Control', cacheControl).end('content')
      })
      const agent = testAgent(t, { shared: true })
      await get(agent, url, { headers: { authorization: 'one' } })
      const other = await get(agent, url, { headers: { authorization: 'two' } })
      assert.equal(other.info?.status, second)
    })
  }

  test('cookies keep responses apart as in a private cache', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60, must-revalidate').end('content')
    })
    const agent = testAgent(t, { shared: true })
    const as = (cookie: string) => ({ headers: { cookie } })
    assert.deepEqual(await outcomes(agent, url, [as('a=1'), as('a=2'), as('a=1')]), [
      'miss',
      'miss',
      'hit',
    ])
  })

  for (const directive of ['proxy-revalidate', 's-maxage=60', 'must-revalidate']) {
    test(`§4.2.4: ${directive} forbids stale responses`, async (t) => {
      t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
      const { url } = await origin(t, (_, response, count) => {
        if (count > 1) return response.destroy()
        return response.setHeader('Cache-Control', `max-age=60, ${directive}`).end('content')
      })
      const agent = testAgent(t, { shared: true, staleIfError: true })
      await get(agent, url)
      t.mock.timers.tick(61_000)
      await assert.rejects(get(agent, url))
      await assert.rejects(get(agent, url, { headers: { 'cache-control': 'max-stale' } }))
    })
  }

  test('RFC 5861: beside s-maxage the origin may allow them itself', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 's-maxage=1, stale-while-revalidate=59').end('content')
    })
    const agent = testAgent(t, { shared: true })
    await get(agent, url)
    t.mock.timers.tick(2000)
    assert.equal((await get(agent, url)).info?.status, 'stale')
  })

  test('RFC 5861: which nobody else may, beyond what the origin says', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await origin(t, (request, response) => {
      const seconds = request.url === '/none' ? 0 : 10
      response.setHeader('Cache-Control', `s-maxage=60, stale-while-revalidate=${seconds}`)
      response.end('content')
    })
    const agent = testAgent(t, { shared: true, staleWhileRevalidate: true })
    for (const path of ['/none', '/some', '/other']) await get(agent, url + path)
    t.mock.timers.tick(65_000)
    assert.equal((await get(agent, `${url}/none`)).info?.status, 'miss')
    assert.equal((await get(agent, `${url}/some`)).info?.status, 'stale')
    t.mock.timers.tick(10_000)
    assert.equal((await get(agent, `${url}/other`)).info?.status, 'miss')
  })

  test('§4.2.4: that cannot reach the origin uses a stale response for a day, unless it must not', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await origin(t, (request, response, count) => {
      if (count > 4)
        return request.url === '/error' ? response.writeHead(503).end() : response.destroy()
      return response.setHeader('Cache-Control', 'max-age=60').end('content')
    })
    const agent = testAgent(t, { shared: true })
    const privately = testAgent(t)
    for (const path of ['/a', '/error']) await get(agent, url + path)
    await get(privately, `${url}/a`)
    await get(agent, `${url}/b`)
    t.mock.timers.tick(61_000)
    assert.equal((await get(agent, `${url}/a`)).info?.status, 'stale')
    assert.equal((await get(agent, `${url}/error`)).status, 503)
    await assert.rejects(get(privately, `${url}/a`))
    await assert.rejects(get(agent.with({ staleIfError: false }), `${url}/a`))
    t.mock.timers.tick(86_400_000)
    await assert.rejects(get(agent, `${url}/b`))
  })

  test('N callers with credentials go out in parallel once the response proves not to be for all', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'private, max-age=60')
      setTimeout(() => response.end('content'), 100)
    })
    const agent = testAgent(t, { shared: true })
    const before = performance.now()
    await Promise.all(Array.from({ length: 10 }, () => get(agent, url)))
    assert.equal(seen.length, 10)
    assert.ok(performance.now() - before < 900)
  })

  test('and a private one have nothing in common, even in the same store', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'private, max-age=60').end('content')
    })
    const store = new (await import('keyv')).Keyv()
    const privately = testAgent(t, { store })
    const shared = testAgent(t, { store, shared: true })
    await get(privately, url)
    await privately.cache.responses.settled()
    assert.equal((await get(privately, url)).info?.status, 'hit')
    assert.equal((await get(shared, url)).info?.status, 'miss')
    assert.deepEqual([await privately.cache.has(url), await shared.cache.has(url)], [true, false])
  })

  test('is what its cache is: the option is said where the cache is made', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'private, max-age=60').end('content')
    })
    const cache = new HttpCache({ store: 'memory:', shared: true })
    t.after(() => cache.close())
    const agent = testAgent(t, { cache })
    assert.equal(agent.cache.shared, true)
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'miss'])
    assert.throws(
      () => testAgent(t, { cache, shared: true }),
      /shared and cache exclude each other/,
    )
  })

  test('invalidates and deletes what it stored', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 's-maxage=60').end('content')
    })
    const agent = testAgent(t, { shared: true })
    await get(agent, url)
    await get(agent, url, { method: 'POST' })
    assert.equal((await get(agent, url)).info?.status, 'miss')
    assert.equal(await agent.cache.delete(url), 1)
    assert.equal(await agent.cache.has(url), false)
  })

  test('a rule of the user decides against private, and credentials still keep responses apart', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'private').end('content')
    })
    const agent = testAgent(t, { shared: true, expireAfter: '1h' })
    const as = (authorization: string) => ({ headers: { authorization } })
    assert.deepEqual(await outcomes(agent, url, [as('1'), as('2'), as('1')]), [
      'miss',
      'miss',
      'hit',
    ])
  })
})
