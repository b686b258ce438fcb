import assert from 'node:assert/strict'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { suite, test } from 'node:test'
import { cacheInfo, DO_NOT_CACHE, NEVER_EXPIRE } from 'caching-agent'
import { Keyv } from 'keyv'
import * as undici from 'undici'
import { get, outcomes, testAgent } from './helpers/agent.ts'
import { origin } from './helpers/origin.ts'

const DAY = 86_400_000
const MODIFIED = 'Mon, 01 Jan 2024 00:00:00 GMT'

/** What the users of other caches are used to: each behaviour by its name, from the outside. */
suite('where the response’s own fields decide', () => {
  // biome-ignore format: one rule a row
  const expirations: [what: string, fields: Record<string, string | string[]>, seconds: number][] = [
    ['max-age', { 'Cache-Control': 'max-age=60' }, 60],
    ['max-age before Expires', { 'Cache-Control': 'max-age=60', Expires: new Date(Date.now() + DAY).toUTCString() }, 60],
    ['directives on one line', { 'Cache-Control': 'public, max-age=60' }, 60],
    ['directives on several lines', { 'Cache-Control': ['public', 'max-age=60'] }, 60],
    ['directives that mean nothing here', { 'Cache-Control': 'no-transform, private, proxy-revalidate, public, s-maxage=5, max-age=60' }, 60],
  ]
  for (const [what, fields, seconds] of expirations) {
    test(`the expiration is known: ${what}`, async (t) => {
      const { url } = await origin(t, (_, response) => response.writeHead(200, fields).end('x'))
      const agent = testAgent(t)
      const { info } = await get(agent, url)
      assert.ok(Math.abs((info?.ttl ?? 0) - seconds * 1000) < 1500, `${info?.ttl}`)
      assert.ok(Math.abs(Number(info?.expires) - Date.now() - seconds * 1000) < 1500)
    })
  }

  test('no-store of a response keeps it out', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'no-store').end('content')
    })
    const agent = testAgent(t)
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'miss'])
    assert.equal(await agent.cache.has(url), false)
  })

  test('no-store of a request passes by, and what is stored stays', async (t) => {
    const { url, seen } = await origin(t, (_, response, count) => {
      response.setHeader('Cache-Control', 'max-age=60').end(`response ${count}`)
    })
    const agent = testAgent(t)
    const noStore = { headers: { 'cache-control': 'no-store' } }
    assert.deepEqual(await outcomes(agent, url, [noStore]), ['bypass'])
    assert.equal(await agent.cache.has(url), false)
    assert.deepEqual(await outcomes(agent, url, [{}, noStore, {}]), ['miss', 'bypass', 'hit'])
    assert.equal((await get(agent, url)).body, 'response 2')
    assert.equal(seen.length, 3)
  })

  test('immutable is a hit while it is fresh, and validated afterwards', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('Cache-Control', 'immutable, max-age=60').setHeader('ETag', '"1"')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : 'content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    t.mock.timers.tick(30_000)
    assert.equal((await get(agent, url)).info?.status, 'hit')
    t.mock.timers.tick(31_000)
    assert.equal((await get(agent, url)).info?.status, 'revalidated')
    assert.equal(seen.length, 2)
  })

  test('no-cache of a response with an ETag: stored, and validated each time', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('Cache-Control', 'no-cache').setHeader('ETag', '"1"')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : 'content')
    })
    const agent = testAgent(t)
    for (let round = 0; round < 3; round++) assert.equal((await get(agent, url)).body, 'content')
    assert.deepEqual(
      seen.map(({ headers }) => headers['if-none-match']),
      [undefined, '"1"', '"1"'],
    )
  })

  test('a hit tells its age', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60').setHeader('Age', '5').end('content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    t.mock.timers.tick(7000)
    const { response, info } = await get(agent, url)
    assert.ok(Number(response.headers.get('age')) >= 12)
    assert.ok((info?.age ?? 0) >= 12_000)
  })

  test('a heuristic: a tenth of the time since the last modification, not for a URL with a query', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Last-Modified', new Date(Date.now() - 10 * DAY).toUTCString()).end('x')
    })
    const agent = testAgent(t)
    await get(agent, `${url}/`)
    await get(agent, `${url}/?query`)
    t.mock.timers.tick(DAY - 60_000)
    assert.equal((await get(agent, `${url}/`)).info?.status, 'hit')
    assert.notEqual((await get(agent, `${url}/?query`)).info?.status, 'hit')
    t.mock.timers.tick(120_000)
    assert.notEqual((await get(agent, `${url}/`)).info?.status, 'hit')
  })

  test('min-fresh: what expires too soon will not do', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=10').end('content')
    })
    const agent = testAgent(t)
    const minFresh = (seconds: number) => ({ headers: { 'cache-control': `min-fresh=${seconds}` } })
    assert.deepEqual(await outcomes(agent, url, [{}, minFresh(5), minFresh(15)]), [
      'miss',
      'hit',
      'miss',
    ])
  })
})

suite('where the user decides', () => {
  const plain = (t: Parameters<typeof origin>[0]) =>
    origin(t, (_, response, count) => response.end(`response ${count}`))

  test('an expiration of a second is one', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await plain(t)
    const agent = testAgent(t, { expireAfter: '1s' })
    await get(agent, url)
    t.mock.timers.tick(999)
    assert.equal((await get(agent, url)).info?.status, 'hit')
    assert.equal((await agent.cache.get(url))?.isExpired, false)
    t.mock.timers.tick(1)
    assert.equal((await agent.cache.get(url))?.isExpired, true)
    assert.equal((await get(agent, url)).info?.status, 'miss')
  })

  test('what the request’s own terms say is how long its response is stored', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await plain(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent.with({ expireAfter: '1s' }), url)
    assert.equal((await get(agent, url)).info?.status, 'hit')
    t.mock.timers.tick(1100)
    assert.equal((await get(agent, url)).info?.status, 'miss')
    await get(agent.with({ expireAfter: NEVER_EXPIRE }), `${url}/never`)
    assert.equal((await get(agent, `${url}/never`)).info?.ttl, Infinity)
  })

  // biome-ignore format: one rule a row
  const precedence: [agent: string, rule: string | undefined, own: string | undefined, seconds: number][] = [
    ['1s', undefined, undefined, 1],
    ['1s', '3s', undefined, 3],
    ['1s', undefined, '2s', 2],
    ['1s', '3s', '2s', 2],
    ['1s', '33.3s', undefined, 33.3],
  ]
  for (const [expireAfter, rule, own, seconds] of precedence) {
    test(`the most particular counts: ${expireAfter}, URL ${rule}, request ${own}`, async (t) => {
      const { url } = await plain(t)
      const agent = testAgent(t, {
        expireAfter,
        ...(rule && { urlsExpireAfter: { [new URL(url).hostname]: rule } }),
      })
      await get(own ? agent.with({ expireAfter: own }) : agent, url)
      const { expires, storedAt } = (await agent.cache.get(url)) ?? {}
      assert.equal(Number(expires) - Number(storedAt), seconds * 1000)
    })
  }

  test('DO_NOT_CACHE for a request: not even what is stored, which stays; and no extra field is sent', async (t) => {
    const { url, seen } = await plain(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    assert.equal((await get(agent.with({ expireAfter: DO_NOT_CACHE }), url)).body, 'response 2')
    assert.equal((await get(agent, url)).body, 'response 1')
    assert.deepEqual(seen[1]?.headers, seen[0]?.headers)
  })

  test('hits are all of the response that was stored once', async (t) => {
    const { url, seen } = await plain(t)
    const agent = testAgent(t, { expireAfter: '1d' })
    await get(agent, url)
    const stored = await agent.cache.get(url)
    for (let use = 0; use < 3; use++) {
      const { info, response, body } = await get(agent, url)
      assert.deepEqual([info?.status, body, response.url], ['hit', 'response 1', `${url}/`])
      assert.ok(Math.abs(Number(info?.expires) - Number(stored?.expires)) <= 1)
      assert.deepEqual((await agent.cache.get(url))?.storedAt, stored?.storedAt)
    }
    assert.equal(seen.length, 1)
  })

  test('HEAD leaves what is stored for GET alone, and is stored by itself', async (t) => {
    const { url, seen } = await plain(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    const head = { method: 'HEAD' }
    assert.deepEqual(await outcomes(agent, url, [head, head, {}, head, {}]), [
      'miss',
      'hit',
      'miss',
      'hit',
      'hit',
    ])
    assert.equal((await get(agent, url)).body, 'response 2')
    assert.equal(seen.length, 2)
  })

  test('every byte and every chunk is as it came', async (t) => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, n) => n))
    const { url } = await origin(t, (_, response) => {
      response.write(bytes.subarray(0, 100))
      setTimeout(() => response.end(bytes.subarray(100)), 5)
    })
    const agent = testAgent(t, { expireAfter: '1h', store: new Map() })
    for (let use = 0; use < 2; use++) {
      const { body } = await undici.request(url, { dispatcher: agent })
      assert.deepEqual(Buffer.from(await body.arrayBuffer()), bytes)
    }
  })

  test('offline as others have it: only what is stored, stale if that is allowed, else 504', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await plain(t)
    const agent = testAgent(t, { expireAfter: '1h', staleIfError: true })
    await get(agent, url)
    t.mock.timers.tick(2 * 3_600_000)
    const only = agent.with({ onlyIfCached: true })
    assert.equal((await get(only, url)).info?.status, 'stale')
    assert.equal((await get(only, `${url}/other`)).status, 504)
    assert.equal(seen.length, 1)
  })
})

suite('Vary', () => {
  const negotiated = (request: IncomingMessage, response: ServerResponse) => {
    response.setHeader('Vary', 'aCCept').setHeader('Cache-Control', 'max-age=60')
    response.end(`for ${request.headers.accept}`)
  }
  const accept = (type: string) => ({ headers: { accept: type } })

  test('alternating requests find each their own, round after round', async (t) => {
    const { url } = await origin(t, negotiated)
    const agent = testAgent(t)
    const rounds = [accept('application/json'), accept('text/html')]
    assert.deepEqual(await outcomes(agent, url, rounds), ['miss', 'miss'])
    for (let round = 0; round < 2; round++) {
      assert.deepEqual(await outcomes(agent, url, rounds), ['hit', 'hit'])
    }
    assert.equal((await get(agent, url, rounds[0])).body, 'for application/json')
  })

  test('a field that is absent is one of its own', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Vary', 'X-Version').setHeader('Cache-Control', 'max-age=60').end('x')
    })
    const agent = testAgent(t)
    const withField = { headers: { 'x-version': '' } }
    assert.deepEqual(await outcomes(agent, url, [withField, {}, {}, withField]), [
      'miss',
      'miss',
      'hit',
      'hit',
    ])
  })

  test('several fields on several lines are all compared, in any case', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Vary', ['x-a', 'X-B, X-C']).setHeader('Cache-Control', 'max-age=60')
      response.end('content')
    })
    const agent = testAgent(t)
    const as = (a: string, b: string, c: string) => ({
      headers: { 'X-A': a, 'X-B': b, 'X-C': c },
    })
    const inits = [as('1', '1', '1'), as('1', '1', '1'), as('2', '1', '1'), as('1', '2', '1')]
    assert.deepEqual(await outcomes(agent, url, [...inits, as('1', '1', '2')]), [
      'miss',
      'hit',
      'miss',
      'miss',
      'miss',
    ])
  })

  test('200 variants of one URL do not fill the store', async (t) => {
    const { url } = await origin(t, negotiated)
    const agent = testAgent(t)
    for (let n = 0; n < 200; n++) await get(agent, url, accept(`application/x${n}`))
    assert.equal(await agent.cache.count(), 100)
    assert.equal((await get(agent, url, accept('application/x199'))).info?.status, 'hit')
    assert.equal((await get(agent, url, accept('application/x0'))).info?.status, 'miss')
  })
})

suite('validation', () => {
  // biome-ignore format: one rule a row
  const validators: [what: string, fields: Record<string, string>, sent: (string | undefined)[]][] = [
    ['Last-Modified', { 'Last-Modified': MODIFIED }, [undefined, MODIFIED]],
    ['ETag', { ETag: '"1"' }, ['"1"', undefined]],
    ['both', { ETag: '"1"', 'Last-Modified': MODIFIED }, ['"1"', MODIFIED]],
  ]
  for (const [what, fields, sent] of validators) {
    test(`an expired response is validated by what it has: ${what}`, async (t) => {
      t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
      const { url, seen } = await origin(t, (_, response) => {
        for (const [name, value] of Object.entries(fields)) response.setHeader(name, value)
        response.setHeader('Cache-Control', 'max-age=60').end('content')
      })
      const agent = testAgent(t)
      await get(agent, url)
      t.mock.timers.tick(61_000)
      await get(agent, url)
      const { headers = {} } = seen[1] ?? {}
      assert.deepEqual([headers['if-none-match'], headers['if-modified-since']], sent)
    })
  }

  test('a changed ETag: the new response replaces the old one', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await origin(t, (_, response, count) => {
      response.setHeader('ETag', `"${count}"`).setHeader('Cache-Control', 'max-age=60')
      response.end(`response ${count}`)
    })
    const agent = testAgent(t)
    await get(agent, url)
    t.mock.timers.tick(61_000)
    const changed = await get(agent, url)
    assert.deepEqual([changed.info?.status, changed.body], ['miss', 'response 2'])
    const hit = await get(agent, url)
    assert.deepEqual([hit.info?.status, hit.body], ['hit', 'response 2'])
  })

  test('after a 304 that changes nothing, what never expires is not written again', async (t) => {
    const map = new Map<string, unknown>()
    let writes = 0
    const set = map.set.bind(map)
    map.set = (key, value) => {
      writes += 1
      return set(key, value)
    }
    let version = 1
    const { url } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"1"').setHeader('X-Version', String(version))
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : 'content')
    })
    const agent = testAgent(t, { store: new Keyv({ store: map }), expireAfter: NEVER_EXPIRE })
    await get(agent, url)
    await agent.cache.responses.settled()
    const before = writes
    const validate = { headers: { 'cache-control': 'no-cache' } }
    assert.equal((await get(agent, url, validate)).info?.status, 'revalidated')
    await agent.cache.responses.settled()
    assert.equal(writes, before)
    version = 2
    await get(agent, url, validate)
    await agent.cache.responses.settled()
    assert.equal(writes, before + 1)
    assert.equal((await get(agent, url)).response.headers.get('x-version'), '2')
  })
})

suite('redirects and cookies', () => {
  test('a chain of redirects is followed without one request to the origin', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      const [, left] = /^\/redirect\/(\d)$/.exec(request.url ?? '') ?? []
      if (left === undefined) response.end('content')
      else {
        const next = left === '1' ? '/r' : `/redirect/${Number(left) - 1}`
        response.writeHead(302, { Location: next }).end()
      }
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, `${url}/redirect/3`)
    assert.equal(seen.length, 4)
    const { response, body } = await get(agent, `${url}/redirect/3`)
    assert.equal(seen.length, 4)
    assert.deepEqual([response.redirected, response.url, body], [true, `${url}/r`, 'content'])
    assert.equal(await agent.cache.delete(`${url}/redirect/1`), 1)
    assert.equal(await agent.cache.has(`${url}/redirect/1`), false)
    assert.equal(await agent.cache.has(`${url}/r`), true)
  })

  test('a redirect that may not be stored is asked for again, and what it leads to is a hit', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      if (request.url === '/r') response.setHeader('Cache-Control', 'max-age=60').end('content')
      else response.writeHead(302, { Location: '/r', 'Cache-Control': 'no-store' }).end()
    })
    const agent = testAgent(t)
    await get(agent, `${url}/`)
    assert.equal((await get(agent, `${url}/`)).info?.status, 'hit')
    assert.deepEqual(
      seen.map((request) => request.url),
      ['/', '/r', '/'],
    )
  })

  test('a hit replays each Set-Cookie', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Set-Cookie', ['a=1', 'b=2']).setHeader('Cache-Control', 'max-age=60')
      response.end('content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    const { response, info } = await get(agent, url)
    assert.equal(info?.status, 'hit')
    assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2'])
  })
})

suite('concurrency and failure', () => {
  test('500 URLs at once, and then again: all are hits', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('Cache-Control', 'max-age=60').end(request.url)
    })
    const agent = testAgent(t)
    const urls = Array.from({ length: 500 }, (_, n) => `${url}/${n}`)
    for (const status of ['miss', 'hit']) {
      const all = await Promise.all(urls.map((each) => get(agent, each)))
      assert.ok(all.every(({ info, body }, n) => info?.status === status && body === `/${n}`))
    }
    assert.equal(seen.length, 500)
  })

  test('nothing is left under way after 1000 requests, whatever became of them', async (t) => {
    const { url } = await origin(t, (request, response) => {
      const n = Number(request.url?.slice(1))
      response.setHeader('Cache-Control', n % 2 ? 'max-age=60' : 'no-store')
      if (n % 7 === 0) response.destroy()
      else response.end('content')
    })
    const agent = testAgent(t)
    const urls = Array.from({ length: 1000 }, (_, n) => `${url}/${n % 300}`)
    for (let index = 0; index < urls.length; index += 50) {
      await Promise.allSettled(urls.slice(index, index + 50).map((each) => get(agent, each)))
    }
    assert.deepEqual([agent.cache.flights.size, agent.cache.validations.size], [0, 0])
  })

  test('an abandoned response is never a truncated hit', async (t) => {
    const content = 'x'.repeat(500_000)
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60').end(content)
    })
    const agent = testAgent(t)
    const { body, headers } = await undici.request(url, { dispatcher: agent })
    assert.equal(cacheInfo({ headers })?.status, 'miss')
    for await (const _ of body) break
    assert.equal((await get(agent, url)).body, content)
  })

  test('an abort of the first caller does not poison those that wait for it', async (t) => {
    const { url } = await origin(t, (_, response) => {
      setTimeout(() => response.setHeader('Cache-Control', 'max-age=60').end('content'), 50)
    })
    const agent = testAgent(t)
    const first = get(agent, url, { signal: AbortSignal.timeout(20) })
    const others = Array.from({ length: 5 }, () => get(agent, url))
    await assert.rejects(first)
    for (const { body } of await Promise.all(others)) assert.equal(body, 'content')
  })

  for (const method of ['PUT', 'POST', 'PATCH', 'DELETE', 'LOCK']) {
    test(`${method} ends what is stored for its URL, Location and Content-Location, if it succeeds`, async (t) => {
      let other = ''
      const { url } = await origin(t, (request, response) => {
        response.setHeader('Cache-Control', 'max-age=60')
        if (request.method !== 'GET') {
          response.statusCode = request.headers['x-fail'] ? 500 : 200
          response.setHeader('Location', '/location').setHeader('Content-Location', 'content')
          if (request.url === '/elsewhere') response.setHeader('Location', other)
        }
        response.end('content')
      })
      const { url: foreign } = await origin(t, (_, response) => {
        response.setHeader('Cache-Control', 'max-age=60').end('content')
      })
      other = `${foreign}/foreign`
      const agent = testAgent(t)
      const paths = [`${url}/target`, `${url}/location`, `${url}/content`, other]
      const unsafe = (path: string, headers = {}) =>
        undici
          .request(url + path, { dispatcher: agent, method: method as 'PUT', headers })
          .then(({ body }) => body.dump())
      const statuses = async () => {
        const all = await Promise.all(paths.map((path) => get(agent, path)))
        return all.map(({ info }) => info?.status)
      }
      await statuses()
      await unsafe('/target', { 'x-fail': 'yes' })
      assert.deepEqual(await statuses(), ['hit', 'hit', 'hit', 'hit'])
      await unsafe('/target')
      assert.deepEqual(await statuses(), ['miss', 'miss', 'miss', 'hit'])
      await unsafe('/elsewhere')
      assert.deepEqual(await statuses(), ['hit', 'hit', 'miss', 'hit'])
    })
  }
})
