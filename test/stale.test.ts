import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { suite, type TestContext, test } from 'node:test'
import { type CacheError, type CachingAgent, cacheInfo, withTerms } from 'caching-agent'
import * as undici from 'undici'
import { get, testAgent } from './helpers/agent.ts'
import { listen, origin } from './helpers/origin.ts'

/** The errors that a cache tells, from now on. */
function errorsOf(agent: CachingAgent): CacheError[] {
  const errors: CacheError[] = []
  agent.cache.on('error', (error) => errors.push(error))
  return errors
}

/** Waits until something is so; fails after two seconds. */
async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; !(await isSo()); tries++) {
    assert.ok(tries < 200, 'it did not become so')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Sets the clock by hand. */
function clock(t: TestContext): { tick(milliseconds: number): void } {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
  return t.mock.timers
}

suite('RFC 5861 §3: stale-while-revalidate', () => {
  test('a stale response is used, and validated meanwhile: the next one is fresh', async (t) => {
    const time = clock(t)
    const { url, seen } = await origin(t, (request, response, count) => {
      response.setHeader('Cache-Control', 'max-age=60, stale-while-revalidate=60')
      response.setHeader('ETag', '"v1"').setHeader('X-Count', String(count))
      response.statusCode = request.headers['if-none-match'] === '"v1"' ? 304 : 200
      setTimeout(() => response.end(response.statusCode === 304 ? undefined : 'content'), 500)
    })
    const agent = testAgent(t)
    await get(agent, url)
    time.tick(61_000)
    const before = performance.now()
    const stale = await get(agent, url)
    assert.ok(performance.now() - before < 400, 'it waited for the origin')
    assert.deepEqual([stale.info?.status, stale.body], ['stale', 'content'])
    assert.equal(stale.response.headers.get('age'), '61')
    await until(async () => (await get(agent, url)).info?.status === 'hit')
    assert.equal(seen.length, 2)
    assert.equal((await get(agent, url)).response.headers.get('x-count'), '2')
  })

  test('a response without a validator is fetched anew', async (t) => {
    const time = clock(t)
    const { url, seen } = await origin(t, (_, response, count) => {
      response.setHeader('Cache-Control', 'max-age=60, stale-while-revalidate=60')
      response.end(`response ${count}`)
    })
    const agent = testAgent(t)
    await get(agent, url)
    time.tick(61_000)
    assert.equal((await get(agent, url)).body, 'response 1')
    await until(async () => (await get(agent, url)).body === 'response 2')
    assert.equal(seen.length, 2)
  })

  test('however many use it, one validation is under way', async (t) => {
    const time = clock(t)
    const { url, seen } = await origin(t, (_, response, count) => {
      response.setHeader('Cache-Control', 'max-age=60, stale-while-revalidate=60')
      setTimeout(() => response.end('content'), count === 1 ? 0 : 200)
    })
    const agent = testAgent(t)
    await get(agent, url)
    time.tick(61_000)
    const all = await Promise.all(Array.from({ length: 20 }, () => get(agent, url)))
    for (const { info } of all) assert.equal(info?.status, 'stale')
    await until(() => agent.cache.validations.size === 0)
    assert.equal(seen.length, 2)
  })

  test('ends with its time: then the caller waits for the origin', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      response.setHeader('Cache-Control', 'max-age=60, stale-while-revalidate=30')
      response.end(`response ${count}`)
    })
    const agent = testAgent(t)
    await get(agent, url)
    time.tick(90_000)
    const { info, body } = await get(agent, url)
    assert.deepEqual([info?.status, body], ['miss', 'response 2'])
  })

  // biome-ignore format: one rule a row
  const forbidden: [what: string, response: string, request: string][] = [
    ['must-revalidate', 'max-age=60, stale-while-revalidate=60, must-revalidate', ''],
    ['no-cache', 'no-cache, max-age=60, stale-while-revalidate=60', ''],
    ['no-cache of the request', 'max-age=60, stale-while-revalidate=60', 'no-cache'],
    ['max-age of the request', 'max-age=60, stale-while-revalidate=60', 'max-age=1000'],
    ['a response that does not say so', 'max-age=60', ''],
  ]
  for (const [what, cacheControl, asked] of forbidden) {
    test(`is not for ${what}`, async (t) => {
      const time = clock(t)
      const { url } = await origin(t, (_, response, count) => {
        response.setHeader('Cache-Control', cacheControl).setHeader('ETag', `"${count}"`)
        response.end(`response ${count}`)
      })
      const agent = testAgent(t)
      await get(agent, url)
      time.tick(61_000)
      const headers: Record<string, string> = asked === '' ? {} : { 'cache-control': asked }
      assert.equal((await get(agent, url, { headers })).body, 'response 2')
    })
  }

  test('the failure of the validation harms nobody, and is told by an event', async (t) => {
    const time = clock(t)
    const { url, seen } = await origin(t, (_, response, count) => {
      response.setHeader('Cache-Control', 'max-age=60, stale-while-revalidate=600')
      if (count === 1 || count === 4) response.end('content')
      else if (count === 2) response.destroy()
      else response.writeHead(503).end('unavailable')
    })
    const agent = testAgent(t)
    const errors = errorsOf(agent)
    await get(agent, url)
    time.tick(61_000)
    for (const failures of [1, 2]) {
      assert.equal((await get(agent, url)).body, 'content')
      await until(() => errors.length === failures && agent.cache.validations.size === 0)
    }
    assert.deepEqual(
      errors.map(({ operation }) => operation),
      ['validate', 'validate'],
    )
    assert.match(errors[1]?.error.message ?? '', /status 503/)
    assert.equal((await get(agent, url)).info?.status, 'stale')
    await until(async () => (await get(agent, url)).info?.status === 'hit')
    assert.equal(seen.length, 4)
  })

  test('an answer that may not be stored is not read to its end', async (t) => {
    const time = clock(t)
    let closed = false
    const { url } = await origin(t, (_, response, count) => {
      response.setHeader('Cache-Control', count === 1 ? 'max-age=60' : 'no-store')
      if (count === 1) return response.end('content')
      response.on('close', () => {
        closed = true
      })
      return response.write('this never ends')
    })
    const agent = testAgent(t, { staleWhileRevalidate: true })
    const errors = errorsOf(agent)
    await get(agent, url)
    time.tick(61_000)
    assert.equal((await get(agent, url)).info?.status, 'stale')
    await until(() => closed && agent.cache.validations.size === 0)
    assert.deepEqual(errors, [])
  })

  for (const status of [404, 403, 302, 200]) {
    test(`an answer that ends it ends it: ${status}`, async (t) => {
      const time = clock(t)
      const { url } = await origin(t, (_, response, count) => {
        if (count === 1) response.setHeader('Cache-Control', 'max-age=60').end('content')
        else response.writeHead(status, { 'Cache-Control': 'no-store' }).end('no more')
      })
      const agent = testAgent(t, { staleWhileRevalidate: true })
      await get(agent, url)
      time.tick(61_000)
      assert.equal((await get(agent, url)).body, 'content')
      await until(() => agent.cache.validations.size === 0)
      assert.equal((await get(agent, url)).body, 'no more')
      assert.equal(await agent.cache.has(url), false)
    })
  }

  test('the request in the background is the caller’s, without what it has or wants of its own', async (t) => {
    const time = clock(t)
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60, stale-while-revalidate=60')
      response.setHeader('ETag', '"v1"').end('0123456789')
    })
    const agent = testAgent(t)
    const headers = { authorization: 'Bearer 1', 'x-own': 'yes' }
    await get(agent, url, { headers })
    time.tick(61_000)
    const asked = { ...headers, range: 'bytes=0-3', 'if-range': '"v1"' }
    const { statusCode, body } = await undici.request(url, { dispatcher: agent, headers: asked })
    assert.deepEqual([statusCode, await body.text()], [206, '0123'])
    await until(() => seen.length === 2)
    const { range, 'if-range': ifRange, ...rest } = seen[1]?.headers ?? {}
    assert.deepEqual([range, ifRange], [undefined, undefined])
    assert.deepEqual(
      [rest.authorization, rest['x-own'], rest['if-none-match']],
      ['Bearer 1', 'yes', '"v1"'],
    )
  })

  test('an answer without an end does not keep the agent from closing', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      response.setHeader('Cache-Control', 'max-age=60, stale-while-revalidate=60')
      if (count === 1) return response.end('content')
      const timer = setInterval(() => response.write('more'), 10)
      return response.on('close', () => clearInterval(timer))
    })
    const agent = testAgent(t)
    await get(agent, url)
    time.tick(61_000)
    await get(agent, url)
    const before = performance.now()
    await agent.close()
    assert.ok(performance.now() - before < 8000)
  })

  test('closing the agent waits for it', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      response.setHeader('Cache-Control', 'max-age=60, stale-while-revalidate=60')
      setTimeout(() => response.end(`response ${count}`), count === 1 ? 0 : 100)
    })
    const agent = testAgent(t)
    const other = testAgent(t, { cache: agent.cache })
    await get(other, url)
    time.tick(61_000)
    await get(other, url)
    await other.close()
    assert.equal((await get(agent, url)).body, 'response 2')
  })
})

suite('staleWhileRevalidate', () => {
  test('true: whatever the response says, however old it is', async (t) => {
    const time = clock(t)
    const { url, seen } = await origin(t, (_, response, count) => response.end(`response ${count}`))
    const agent = testAgent(t, { expireAfter: '1m', staleWhileRevalidate: true })
    await get(agent, url)
    time.tick(20 * 86_400_000)
    const stale = await get(agent, url)
    assert.deepEqual([stale.info?.status, stale.body], ['stale', 'response 1'])
    await until(async () => (await get(agent, url)).info?.status === 'hit')
    assert.equal((await get(agent, url)).body, 'response 2')
    assert.equal(seen.length, 2)
  })

  test('a duration: for so long after the response became stale', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => response.end(`response ${count}`))
    const agent = testAgent(t, { expireAfter: '1m', staleWhileRevalidate: '3s' })
    await get(agent, `${url}/a`)
    await get(agent, `${url}/b`)
    time.tick(62_000)
    assert.equal((await get(agent, `${url}/a`)).info?.status, 'stale')
    time.tick(2000)
    assert.equal((await get(agent, `${url}/b`)).info?.status, 'miss')
  })

  test('false: not even where the response allows it', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60, stale-while-revalidate=60').end('content')
    })
    const agent = testAgent(t, { staleWhileRevalidate: false })
    await get(agent, url)
    time.tick(61_000)
    assert.equal((await get(agent, url)).info?.status, 'miss')
  })

  test('can be said by URL, by agent and by request', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, {
      urlsExpireAfter: { '*/a': { expireAfter: '1m', staleWhileRevalidate: true }, '*': '1m' },
    })
    for (const path of ['/a', '/b', '/c']) await get(agent, url + path)
    time.tick(61_000)
    const stale = { staleWhileRevalidate: true }
    assert.equal((await get(agent, `${url}/a`)).info?.status, 'stale')
    assert.equal((await get(agent.with(stale), `${url}/b`)).info?.status, 'stale')
    assert.equal((await withTerms(stale, () => get(agent, `${url}/c`))).info?.status, 'stale')
  })
})

suite('RFC 5861 §4: stale-if-error', () => {
  const failures: [string, (response: import('node:http').ServerResponse) => unknown][] = [
    ['a connection that is closed', (response) => response.destroy()],
    ['500', (response) => response.writeHead(500).end('failure')],
    ['503', (response) => response.writeHead(503).end('failure')],
    ['507', (response) => response.writeHead(507).end('x'.repeat(1_000_000))],
  ]
  for (const [what, fail] of failures) {
    for (const etag of ['"v1"', undefined]) {
      test(`a stale response ${etag ? 'with' : 'without'} a validator is used instead of ${what}`, async (t) => {
        const time = clock(t)
        const { url, seen } = await origin(t, (_, response, count) => {
          if (count === 2) return fail(response)
          if (etag) response.setHeader('ETag', etag)
          response.setHeader('Cache-Control', 'max-age=60, stale-if-error=600')
          return response.end('content')
        })
        const agent = testAgent(t)
        const errors = errorsOf(agent)
        await get(agent, url)
        time.tick(61_000)
        const { info, body, status } = await get(agent, url)
        assert.deepEqual([info?.status, info?.reason, body], ['stale', 'stale-if-error', 'content'])
        assert.equal(status, 200)
        assert.ok((info?.ttl ?? 0) < 0)
        assert.deepEqual(
          errors.map(({ operation }) => operation),
          ['validate'],
        )
        // It stays as it is: the next request tries again.
        assert.equal((await get(agent, url)).info?.status, 'miss')
        assert.equal(seen.length, 3)
      })
    }
  }

  test('also where the origin is gone, or does not answer in time', async (t) => {
    const time = clock(t)
    const server = createServer((request, response) => {
      if (request.headers['x-hang']) return
      response.setHeader('Cache-Control', 'max-age=60, stale-if-error=600').end('content')
    })
    const url = await listen(t, server)
    const dispatcher = new undici.Agent({ headersTimeout: 100 })
    const agent = testAgent(t, { dispatcher })
    await get(agent, url)
    time.tick(61_000)
    const hanging = await get(agent, url, { headers: { 'x-hang': 'yes' } })
    assert.deepEqual([hanging.info?.status, hanging.body], ['stale', 'content'])
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    const gone = await get(agent, url)
    assert.deepEqual([gone.info?.status, gone.body], ['stale', 'content'])
  })

  test('a failure whose content drips does not hold its connection for long', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (request, response, count) => {
      response.setHeader('Cache-Control', 'max-age=60, stale-if-error=600')
      if (count !== 2) return response.end(`content of ${request.url}`)
      response.writeHead(500)
      const timer = setInterval(() => response.write('x'), 50)
      return response.on('close', () => clearInterval(timer))
    })
    const agent = testAgent(t, { dispatcher: new undici.Agent({ connections: 1 }) })
    await get(agent, `${url}/`)
    time.tick(61_000)
    assert.equal((await get(agent, `${url}/`)).info?.status, 'stale')
    const before = performance.now()
    assert.equal((await get(agent, `${url}/other`)).body, 'content of /other')
    assert.ok(performance.now() - before < 3000)
    await agent.close()
  })

  test('not once the origin has said that it is gone', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      response.statusCode = [200, 410, 503][count - 1] ?? 503
      response.setHeader(
        'Cache-Control',
        count === 1 ? 'max-age=60, stale-if-error=600' : 'no-store',
      )
      response.end('content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    time.tick(61_000)
    assert.equal((await get(agent, url)).status, 410)
    assert.equal((await get(agent, url)).status, 503)
  })

  test('not for the mistake of an interceptor', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response) => response.end('content'))
    let broken = false
    const dispatcher = new undici.Agent().compose((dispatch) => (options, handler) => {
      if (broken) throw new TypeError('a mistake')
      return dispatch(options, handler)
    })
    const agent = testAgent(t, { dispatcher, expireAfter: '1m', staleIfError: true })
    await get(agent, url)
    time.tick(61_000)
    broken = true
    await assert.rejects(undici.request(url, { dispatcher: agent }), /a mistake/)
  })

  test('without it, an error is an error', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      if (count === 1) response.setHeader('Cache-Control', 'max-age=60').end('content')
      else if (count === 2) response.writeHead(500).end('failure')
      else response.destroy()
    })
    const agent = testAgent(t)
    await get(agent, url)
    time.tick(61_000)
    const { status, body } = await get(agent, url)
    assert.deepEqual([status, body], [500, 'failure'])
    await assert.rejects(get(agent, url), /fetch failed/)
  })

  // biome-ignore format: one rule a row
  const rows: [what: string, response: string, request: string, seconds: number, outcome: 'stale' | 'error'][] = [
    ['within its time', 'max-age=60, stale-if-error=60', '', 119, 'stale'],
    ['not after it', 'max-age=60, stale-if-error=60', '', 120, 'error'],
    ['where the request says so', 'max-age=60', 'stale-if-error=60', 119, 'stale'],
    ['not after the time of the request', 'max-age=60, stale-if-error=600', 'stale-if-error=30', 119, 'error'],
    ['not against must-revalidate', 'max-age=60, must-revalidate, stale-if-error=60', '', 61, 'error'],
    ['not against must-revalidate, whatever the request says', 'max-age=60, must-revalidate', 'stale-if-error=60', 61, 'error'],
    ['not against no-cache', 'no-cache, stale-if-error=60', '', 1, 'error'],
    ['not where the request wants a new answer', 'max-age=60, stale-if-error=60', 'no-cache', 61, 'error'],
    ['but where it says both', 'max-age=60', 'no-cache, stale-if-error=60', 61, 'stale'],
  ]
  for (const [what, cacheControl, asked, seconds, outcome] of rows) {
    test(what, async (t) => {
      const time = clock(t)
      const { url } = await origin(t, (_, response, count) => {
        response.statusCode = count === 1 ? 200 : 500
        response.setHeader('ETag', '"v1"').setHeader('Cache-Control', cacheControl).end('content')
      })
      const agent = testAgent(t)
      await get(agent, url)
      time.tick(seconds * 1000)
      const headers: Record<string, string> = asked === '' ? {} : { 'cache-control': asked }
      const { info, status } = await get(agent, url, { headers })
      assert.deepEqual([info?.status, status], outcome === 'stale' ? ['stale', 200] : ['miss', 500])
    })
  }
})

suite('staleIfError', () => {
  test('true: whatever the response says, for as long as it is kept', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      response.statusCode = count === 1 ? 200 : 500
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1m', staleIfError: true })
    await get(agent, url)
    await agent.cache.count()
    time.tick(25 * 86_400_000)
    assert.equal((await get(agent, url)).info?.status, 'stale')
  })

  test('a duration: a response is kept for no less', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      response.statusCode = count === 1 ? 200 : 500
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1m', staleIfError: '90d' })
    await get(agent, url)
    await agent.cache.count()
    time.tick(89 * 86_400_000)
    assert.equal((await get(agent, url)).info?.status, 'stale')
    time.tick(2 * 86_400_000)
    assert.equal((await get(agent, url)).status, 500)
  })

  test('true: also for responses that say nothing about how long they are fresh', async (t) => {
    const { url } = await origin(t, (_, response, count) => {
      response.statusCode = count === 1 ? 200 : 500
      response.end('content')
    })
    const agent = testAgent(t, { staleIfError: true })
    await get(agent, url)
    assert.equal((await get(agent, url)).info?.status, 'stale')
  })

  test('never against must-revalidate, whoever decides how long a response is fresh', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      response.statusCode = count === 1 ? 200 : 500
      response.setHeader('Cache-Control', 'must-revalidate').end('content')
    })
    const agent = testAgent(t, { expireAfter: '1m', staleIfError: true })
    await get(agent, url)
    time.tick(61_000)
    assert.equal((await get(agent, url)).status, 500)
  })

  test('is not for a request that the caller gave up, nor for one that cannot be sent', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      if (count === 1) response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1m', staleIfError: true })
    await get(agent, url)
    time.tick(61_000)
    await assert.rejects(get(agent, url, { signal: AbortSignal.timeout(50) }), /timeout/i)
    const headers = { 'keep-alive': 'invalid' }
    await assert.rejects(undici.request(url, { dispatcher: agent, headers }), /keep-alive/)
  })

  test('is not for client errors: those are answers', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      response.statusCode = count === 1 ? 200 : 404
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1m', staleIfError: true })
    await get(agent, url)
    time.tick(61_000)
    assert.equal((await get(agent, url)).status, 404)
  })

  test('many callers of a failing origin all get the stale response', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      if (count === 1) response.end('content')
      else setTimeout(() => response.destroy(), 20)
    })
    const agent = testAgent(t, { expireAfter: '1m', staleIfError: true })
    await get(agent, url)
    time.tick(61_000)
    const all = await Promise.all(Array.from({ length: 10 }, () => get(agent, url)))
    for (const { info, body } of all) assert.deepEqual([info?.status, body], ['stale', 'content'])
  })

  test('a stale response whose content is lost is no substitute', async (t) => {
    const time = clock(t)
    const chunks = new Map<string, unknown>()
    const { url } = await origin(t, (_, response, count) => {
      response.statusCode = count === 1 ? 200 : 500
      response.end(count === 1 ? 'x'.repeat(300_000) : 'failure')
    })
    const { Keyv } = await import('keyv')
    const agent = testAgent(t, {
      expireAfter: '1m',
      staleIfError: true,
      store: new Keyv({ store: chunks }),
    })
    await get(agent, url)
    await agent.cache.responses.settled()
    for (const key of chunks.keys()) if (key.includes('chunk')) chunks.delete(key)
    time.tick(61_000)
    const { status, body } = await get(agent, url)
    assert.deepEqual([status, body], [500, 'failure'])
  })

  test('undici’s responseError under the cache is no obstacle', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      response.statusCode = count === 1 ? 200 : count === 2 ? 503 : 404
      response.end('content')
    })
    const dispatcher = new undici.Agent().compose(undici.interceptors.responseError())
    const agent = testAgent(t, { dispatcher, expireAfter: '1m', staleIfError: true })
    await get(agent, url)
    time.tick(61_000)
    assert.equal((await get(agent, url)).info?.status, 'stale')
    await assert.rejects(undici.request(url, { dispatcher: agent }), { statusCode: 404 })
  })

  test('Cache-Status says what the origin answered', async (t) => {
    const time = clock(t)
    const { url } = await origin(t, (_, response, count) => {
      response.statusCode = count === 1 ? 200 : 503
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1m', staleIfError: true })
    await get(agent, url)
    time.tick(61_000)
    const { response } = await get(agent, url)
    assert.match(
      response.headers.get('cache-status') ?? '',
      /^caching-agent; fwd=stale; fwd-status=503; ttl=-1; .*detail=stale-if-error$/,
    )
    assert.equal(cacheInfo(response)?.reason, 'stale-if-error')
  })
})
