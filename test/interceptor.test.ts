import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  type AgentOptions,
  type CachingAgent,
  cacheInfo,
  cacheInterceptor,
  DO_NOT_CACHE,
  disabled,
  EXPIRE_IMMEDIATELY,
  NEVER_EXPIRE,
  type Terms,
  withTerms,
} from 'caching-agent'
import * as undici from 'undici'
import { clients, fetchWith, get, outcomes, requestText, testAgent } from './helpers/agent.ts'
import { origin } from './helpers/origin.ts'

const HOUR = 3_600_000

suite('every way to make a request', () => {
  for (const [name, client] of Object.entries(clients)) {
    test(`${name} gets a miss from the origin, then the same as a hit`, async (t) => {
      const { url, seen } = await origin(t, (_, response) => {
        response.setHeader('X-Test', ['a', 'b'])
        response.end('content')
      })
      const agent = testAgent(t, { expireAfter: '1h' })
      const miss = await client(agent, `${url}/`)
      const hit = await client(agent, `${url}/`)

      assert.equal(seen.length, 1)
      assert.equal(cacheInfo(miss)?.status, 'miss')
      assert.equal(cacheInfo(hit)?.status, 'hit')
      assert.equal(hit.headers.age, '0')
      const { age: _, 'cache-status': __, ...fields } = hit.headers
      const {
        'cache-status': ___,
        connection: ____,
        'keep-alive': _____,
        ...original
      } = miss.headers
      delete original['transfer-encoding']
      assert.deepEqual({ ...hit, headers: fields }, { ...miss, headers: original })
    })
  }

  test('composed on any dispatcher, the interceptor caches as the agent does', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const interceptor = cacheInterceptor({ store: 'memory:', expireAfter: '1h' })
    const dispatcher = new undici.Agent().compose(interceptor)
    t.after(() => dispatcher.close())
    for (const client of Object.values(clients)) await client(dispatcher, `${url}/`)
    assert.equal(seen.length, 1)
    assert.equal(await interceptor.cache.count(), 1)
  })

  test('the same cache under two agents is shared', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const first = testAgent(t, { expireAfter: '1h' })
    const second = testAgent(t, { expireAfter: '1h', cache: first.cache })
    await get(first, url)
    assert.equal((await get(second, url)).info?.status, 'hit')
    assert.equal(seen.length, 1)
  })
})

suite('headers in each shape that undici takes reach the origin, and tell requests apart', () => {
  function* generated(value: string) {
    yield ['x-token', value]
  }
  // biome-ignore format: one shape a row
  const shapes: [shape: string, headers: (value: string) => unknown][] = [
    ['a record', (value) => ({ 'x-token': value })],
    ['a record of lists', (value) => ({ 'x-token': [value] })],
    ['a flat list', (value) => ['x-token', value]],
    ['a Map', (value) => new Map([['x-token', value]])],
    ['Headers', (value) => new Headers({ 'x-token': value })],
    ['an iterator, which can be read only once', (value) => new Headers({ 'x-token': value }).entries()],
    ['a generator, likewise', generated],
  ]
  for (const [shape, headers] of shapes) {
    for (const method of ['GET', 'POST']) {
      test(`${shape}, with ${method}`, async (t) => {
        const { url } = await origin(t, ({ headers: received }, response) => {
          response.setHeader('Vary', 'X-Token').end(`for ${received['x-token']}`)
        })
        const agent = testAgent(t, { expireAfter: '1h' })
        for (const value of ['one', 'other', 'one']) {
          const given = headers(value) as Record<string, string>
          const { body } = await undici.request(url, { dispatcher: agent, method, headers: given })
          assert.equal(await body.text(), `for ${value}`)
        }
      })
    }
  }

  test('what is none of them is refused by undici', async (t) => {
    const { url } = await origin(t, (_, response) => response.end())
    const agent = testAgent(t)
    const headers = new Set([1]) as unknown as Record<string, string>
    await assert.rejects(undici.request(url, { dispatcher: agent, headers }), {
      code: 'UND_ERR_INVALID_ARG',
    })
  })
})

suite('a response is stored', () => {
  test('and found at once, even while it is being written', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
    assert.equal(seen.length, 1)
  })

  test('with its status, reason phrase, fields and bytes', async (t) => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
    const { url } = await origin(t, (_, response) => {
      response.statusMessage = 'Just So'
      response.writeHead(203, { 'Content-Type': 'application/octet-stream', 'X-Odd': 'ÿ' })
      response.end(bytes)
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const hit = await fetchWith(agent, url)
    assert.equal(cacheInfo(hit)?.status, 'hit')
    assert.equal(hit.status, 203)
    assert.equal(hit.statusText, 'Just So')
    assert.equal(hit.headers.get('x-odd'), 'ÿ')
    assert.equal(hit.url, `${url}/`)
    assert.deepEqual(Buffer.from(await hit.arrayBuffer()), bytes)
  })

  test('encoded as it came, and decoded by fetch on hits too', async (t) => {
    const { gzipSync } = await import('node:zlib')
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Content-Encoding', 'gzip')
      response.end(gzipSync('decoded content'))
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    assert.equal((await get(agent, url)).body, 'decoded content')
    assert.equal((await get(agent, url)).body, 'decoded content')
    assert.equal(seen.length, 1)
  })

  test('but a coding is not given to who did not ask for it', async (t) => {
    const { gzipSync } = await import('node:zlib')
    const { url, seen } = await origin(t, (request, response) => {
      if (!request.headers['accept-encoding']) return response.end('plain')
      response.setHeader('Content-Encoding', 'gzip')
      return response.end(gzipSync('decoded content'))
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const { body } = await undici.request(url, { dispatcher: agent })
    assert.equal(await body.text(), 'plain')
    assert.equal(seen.length, 2)
  })

  test('with each Set-Cookie on a line of its own, on misses and hits', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Set-Cookie', [
        'a=1; Path=/',
        'b=2; Expires=Wed, 21 Oct 2037 07:28:00 GMT',
      ])
      response.end()
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const expected = ['a=1; Path=/', 'b=2; Expires=Wed, 21 Oct 2037 07:28:00 GMT']
    for (const status of ['miss', 'hit']) {
      const response = await fetchWith(agent, url)
      assert.equal(cacheInfo(response)?.status, status)
      assert.deepEqual(response.headers.getSetCookie(), expected)
    }
  })

  test('without the fields of the connection', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Connection', 'keep-alive, X-Hop')
      response.setHeader('X-Hop', 'by hop')
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const { response } = await get(agent, url)
    assert.equal(response.headers.get('x-hop'), null)
    assert.equal(response.headers.get('connection'), null)
    assert.equal(response.headers.get('transfer-encoding'), null)
  })

  test('and is not harmed by a caller who changes what it was given', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    for (let round = 0; round < 4; round++) {
      const { body, headers } = await undici.request(url, { dispatcher: agent })
      for (const name of Object.keys(headers)) headers[name] = 'changed'
      const chunks: Buffer[] = []
      for await (const chunk of body as AsyncIterable<Buffer>) {
        chunks.push(Buffer.from(chunk))
        chunk.fill(0)
      }
      assert.equal(Buffer.concat(chunks).toString(), 'content')
      if (round % 2) await agent.cache.count()
    }
  })

  test('redirects hop by hop, each under its own URL', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      if (request.url === '/end') return response.end('the end')
      response.writeHead(302, { Location: request.url === '/1' ? '/2' : '/end' })
      return response.end()
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    for (const round of [1, 2]) {
      const { response, body } = await get(agent, `${url}/1`)
      assert.equal(response.redirected, true, `round ${round}`)
      assert.equal(response.url, `${url}/end`)
      assert.equal(body, 'the end')
    }
    assert.equal(seen.length, 3)
    assert.deepEqual(
      (await agent.cache.urls()).map((stored) => stored.replace(url, '')),
      ['/1', '/2', '/end'],
    )
  })
})

suite('HEAD', () => {
  test('is answered from a stored response to GET, without content', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const { info, body } = await get(agent, url, { method: 'HEAD' })
    assert.equal(info?.status, 'hit')
    assert.equal(body, '')
    assert.deepEqual((await get(agent, url)).body, 'content')
    assert.equal(seen.length, 1)
  })

  test('is stored by itself, and never answers GET', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    assert.deepEqual(await outcomes(agent, url, [{ method: 'HEAD' }, { method: 'HEAD' }]), [
      'miss',
      'hit',
    ])
    assert.equal((await get(agent, url)).body, 'content')
    assert.equal(seen.length, 2)
  })
})

suite('what passes by', () => {
  const cases: [string, RequestInit][] = [
    ['POST', { method: 'POST', body: 'x' }],
    ['PUT', { method: 'PUT', body: 'x' }],
    ['OPTIONS', { method: 'OPTIONS' }],
    ['a range in another unit than bytes', { headers: { range: 'lines=0-1' } }],
    ['If-Match', { headers: { 'if-match': '"a"' } }],
    ['no-store', { headers: { 'cache-control': 'no-store' } }],
    ['an event stream', { headers: { accept: 'text/event-stream' } }],
  ]
  for (const [what, init] of cases) {
    test(`${what} goes to the origin each time, and nothing is stored`, async (t) => {
      const { url, seen } = await origin(t, (_, response) => response.end('content'))
      const agent = testAgent(t, { expireAfter: '1h' })
      assert.deepEqual(await outcomes(agent, url, [init, init]), ['bypass', 'bypass'])
      assert.equal(seen.length, 2)
      assert.equal(await agent.cache.count(), 0)
    })
  }

  test('a GET with content is not answered with the response to another content', async (t) => {
    const { url } = await origin(t, async (request, response) => {
      let body = ''
      for await (const chunk of request) body += chunk
      response.end(`you said ${body}`)
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    for (const said of ['one', 'two']) {
      const { body } = await undici.request(url, { dispatcher: agent, method: 'GET', body: said })
      assert.equal(await body.text(), `you said ${said}`)
    }
  })

  for (const type of ['text/event-stream', 'multipart/x-mixed-replace; boundary=x']) {
    test(`${type} is delivered as it arrives, to each caller by itself`, async (t) => {
      const { url, seen } = await origin(t, (_, response) => {
        response.writeHead(200, { 'Content-Type': type, 'Cache-Control': 'max-age=60' })
        response.write('first event')
      })
      const agent = testAgent(t, { expireAfter: '1h' })
      const all = await Promise.all([fetchWith(agent, url), fetchWith(agent, url)])
      for (const response of all) {
        const reader = (response.body as ReadableStream<Uint8Array>).getReader()
        const { value } = await reader.read()
        assert.equal(Buffer.from(value as Uint8Array).toString(), 'first event')
        assert.equal(cacheInfo(response)?.reason, 'endless')
        await reader.cancel()
      }
      assert.equal(seen.length, 2)
      assert.equal(await agent.cache.count(), 0)
    })
  }
})

suite('an expiration of the user', () => {
  test('decides against what the origin says', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'no-store, no-cache, private, max-age=0')
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
    assert.equal(seen.length, 1)
  })

  test('ends exactly when it says', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: 60_000 })
    const { info } = await get(agent, url)
    assert.equal(info?.expires?.getTime(), 1_800_000_060_000)
    t.mock.timers.setTime(1_800_000_059_999)
    assert.equal((await get(agent, url)).response.headers.get('age'), '59')
    t.mock.timers.setTime(1_800_000_060_000)
    assert.equal((await get(agent, url)).info?.status, 'miss')
  })

  test('counts from the receipt: the origin’s Age and Date play no part', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Age', '100000')
      response.setHeader('Date', 'Mon, 01 Jan 2024 00:00:00 GMT')
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
  })

  test('may be never', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: NEVER_EXPIRE })
    const { info } = await get(agent, url)
    assert.equal(info?.ttl, Infinity)
    assert.equal(info?.expires, undefined)
    t.mock.timers.setTime(4_000_000_000_000)
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('EXPIRE_IMMEDIATELY stores only with a validator, and validates at each use', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      if (request.url === '/etag') response.setHeader('ETag', '"v1"')
      if (request.headers['if-none-match'] === '"v1"') response.statusCode = 304
      response.end(response.statusCode === 304 ? undefined : 'content')
    })
    const agent = testAgent(t, { expireAfter: EXPIRE_IMMEDIATELY })
    assert.deepEqual(await outcomes(agent, `${url}/plain`, [{}, {}]), ['miss', 'miss'])
    const { info } = await get(agent, `${url}/plain`)
    assert.deepEqual([info?.stored, info?.reason], [false, 'no-validator'])
    assert.deepEqual(await outcomes(agent, `${url}/etag`, [{}, {}, {}]), [
      'miss',
      'revalidated',
      'revalidated',
    ])
    assert.equal(seen.at(-1)?.headers['if-none-match'], '"v1"')
  })

  test('DO_NOT_CACHE leaves alone what is stored', async (t) => {
    const { url } = await origin(t, (_, response, count) => response.end(`response ${count}`))
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const passed = await get(agent.with({ expireAfter: DO_NOT_CACHE }), url)
    assert.deepEqual([passed.body, passed.info?.status], ['response 2', 'bypass'])
    assert.equal((await get(agent, url)).body, 'response 1')
  })

  test('applies to errors only where a rule lists their status', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.statusCode = 500
      response.end()
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const { info } = await get(agent, url)
    assert.deepEqual([info?.stored, info?.reason], [false, 'status'])
  })

  const both: Terms = { expireAfter: '1h', cacheControl: true }
  // biome-ignore format: one way a row
  const ways: [way: string, options: AgentOptions, ask: (agent: CachingAgent, url: string) => ReturnType<typeof get>][] = [
    ['for the agent', both, get],
    ['for a URL', { urlsExpireAfter: { '127.0.0.1': both } }, get],
    ['of a request', {}, (agent, url) => get(agent.with(both), url)],
    ['of a context', {}, (agent, url) => withTerms(both, () => get(agent, url))],
  ]
  for (const [way, options, ask] of ways) {
    test(`with cacheControl beside it is a fallback: ${way}`, async (t) => {
      t.mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
      const { url } = await origin(t, (request, response) => {
        const control = decodeURIComponent(request.url?.slice(1) ?? '')
        if (control) response.setHeader('Cache-Control', control)
        response.end('content')
      })
      const agent = testAgent(t, options)
      const lifetimes = ['', 'max-age=5', 'no-store', 'no-cache'].map(async (control) => {
        const { info } = await ask(agent, `${url}/${encodeURIComponent(control)}`)
        return info?.stored ? info.ttl : 'not stored'
      })
      assert.deepEqual(await Promise.all(lifetimes), [HOUR, 5000, 'not stored', 'not stored'])
    })
  }

  test('with cacheControl is only for responses that say nothing themselves', async (t) => {
    const { url } = await origin(t, (request, response) => {
      if (request.url === '/minute') response.setHeader('Cache-Control', 'max-age=60')
      if (request.url === '/no') response.setHeader('Cache-Control', 'no-store')
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h', cacheControl: true })
    const ttl = async (path: string) => (await get(agent, url + path)).info?.ttl ?? -1
    assert.ok(Math.abs((await ttl('/minute')) - 60_000) < 5000)
    assert.ok(Math.abs((await ttl('/nothing')) - HOUR) < 5000)
    assert.equal((await get(agent, `${url}/no`)).info?.reason, 'no-store')
  })
})

suite('precedence', () => {
  test('request, then URL, then the agent', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=7')
      response.end('content')
    })
    const agent = testAgent(t, {
      expireAfter: '1m',
      urlsExpireAfter: { '*/week': '7d', '*/terms': { expireAfter: '2h' }, '*/never': -1 },
    })
    const ttl = async (path: string, dispatcher = agent) =>
      Math.round(((await get(dispatcher, url + path)).info?.ttl as number) / 1000)
    assert.equal(await ttl('/other'), 60)
    assert.equal(await ttl('/week'), 7 * 86_400)
    assert.equal(await ttl('/terms'), 7200)
    assert.equal(await ttl('/never'), Infinity)
    assert.equal(await ttl('/never?1', agent.with({ expireAfter: '3h' })), 10_800)
    assert.equal(await withTerms({ expireAfter: '4h' }, () => ttl('/week?2')), 14_400)
    const both = withTerms({ expireAfter: '4h' }, () =>
      ttl('/week?3', agent.with({ expireAfter: '3h' })),
    )
    assert.equal(await both, 14_400)
  })

  test('an allow list: everything else passes by', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, {
      urlsExpireAfter: [
        ['*/a', '1m'],
        ['*', DO_NOT_CACHE],
      ],
    })
    assert.deepEqual(await outcomes(agent, `${url}/a`, [{}, {}]), ['miss', 'hit'])
    assert.deepEqual(await outcomes(agent, `${url}/b`, [{}, {}]), ['bypass', 'bypass'])
    assert.equal(await agent.cache.has(`${url}/b`), false)
  })

  test('changing the rules is not retroactive', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    const { info } = await get(agent, url)
    const shorter = testAgent(t, { expireAfter: '1s', cache: agent.cache })
    assert.deepEqual((await get(shorter, url)).info?.expires, info?.expires)
  })
})

suite('terms of the async context', () => {
  test('apply to every request started inside, through timers and libraries', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const inside = await disabled(async () => {
      await new Promise((resolve) => setTimeout(resolve, 5))
      return [await get(agent, url), await requestText(agent, url)]
    })
    assert.equal(inside.length, 2)
    assert.equal(seen.length, 3)
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('do not affect requests outside, nor survive an exception', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const [inside, outside] = await Promise.all([disabled(() => get(agent, url)), get(agent, url)])
    assert.deepEqual([inside.info?.status, outside.info?.status], ['bypass', 'hit'])
    await assert.rejects(
      disabled(async () => {
        throw new Error('inside')
      }),
      /inside/,
    )
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('are those of the request, not of the connection that it happens to use', async (t) => {
    const { url } = await origin(t, (request, response) => {
      if (request.url !== '/end') response.writeHead(302, { Location: '/end' })
      response.end('content')
    })
    const { redirect } = undici.interceptors
    const agent = testAgent(t, {
      expireAfter: '1h',
      dispatcher: new undici.Agent({ connections: 1 }),
    })
    const following = agent.compose(redirect({ maxRedirections: 3 }))
    // The connection is opened inside; the redirects of later requests are followed in its callbacks.
    await disabled(() => requestText(following, `${url}/inside`))
    await requestText(following, `${url}/outside`)
    assert.equal(await agent.cache.has(`${url}/outside`), true)
    assert.equal(await agent.cache.has(`${url}/end`), true)
  })
})

suite('basic RFC 9111, where no expiration is given', () => {
  const fresh: [string, Record<string, string>][] = [
    ['max-age', { 'Cache-Control': 'max-age=60' }],
    ['Expires', { Expires: new Date(Date.now() + HOUR).toUTCString() }],
    [
      'a tenth of the age of the last modification',
      { 'Last-Modified': new Date(Date.now() - 100 * HOUR).toUTCString() },
    ],
  ]
  for (const [what, headers] of fresh) {
    test(`§4.2: ${what} makes a response fresh`, async (t) => {
      const { url, seen } = await origin(t, (_, response) => {
        response.writeHead(200, headers)
        response.end('content')
      })
      const agent = testAgent(t)
      assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
      assert.equal(seen.length, 1)
    })
  }

  test('§3: no-store, and what could never be reused, is not stored', async (t) => {
    const { url } = await origin(t, (request, response) => {
      if (request.url === '/no-store') response.setHeader('Cache-Control', 'no-store, max-age=60')
      response.end('content')
    })
    const agent = testAgent(t)
    assert.equal((await get(agent, `${url}/no-store`)).info?.reason, 'no-store')
    assert.equal((await get(agent, `${url}/nothing`)).info?.reason, 'no-freshness')
    assert.equal(await agent.cache.count(), 0)
  })

  test('§4.3: a stale response is validated, and a 304 freshens it and its fields', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await origin(t, (request, response, count) => {
      response.setHeader('ETag', '"v1"')
      response.setHeader('Last-Modified', 'Mon, 01 Jan 2024 00:00:00 GMT')
      response.setHeader('Cache-Control', 'max-age=60')
      response.setHeader('X-Count', String(count))
      if (request.headers['if-none-match'] !== '"v1"') return response.end('content')
      response.statusCode = 304
      response.setHeader('Content-Type', 'text/wrong')
      return response.end()
    })
    const agent = testAgent(t)
    await get(agent, url)
    t.mock.timers.tick(61_000)
    const validated = await get(agent, url)
    assert.equal(validated.info?.status, 'revalidated')
    assert.equal(validated.status, 200)
    assert.equal(validated.body, 'content')
    assert.equal(validated.response.headers.get('x-count'), '2')
    assert.equal(validated.response.headers.get('content-type'), null)
    assert.equal(seen[1]?.headers['if-none-match'], '"v1"')
    assert.equal(seen[1]?.headers['if-modified-since'], 'Mon, 01 Jan 2024 00:00:00 GMT')
    const hit = await get(agent, url)
    assert.deepEqual([hit.info?.status, hit.response.headers.get('x-count')], ['hit', '2'])
    t.mock.timers.tick(61_000)
    assert.equal((await get(agent, url)).response.headers.get('x-count'), '3')
  })

  test('§4.3.3: a new response replaces the stored one; an error is relayed, and replaces nothing', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await origin(t, (_, response, count) => {
      if (count === 2) response.statusCode = 500
      else response.setHeader('ETag', `"${count}"`).setHeader('Cache-Control', 'max-age=60')
      response.end(`response ${count}`)
    })
    const agent = testAgent(t)
    await get(agent, url)
    t.mock.timers.tick(61_000)
    assert.equal((await get(agent, url)).status, 500)
    assert.equal((await agent.cache.get(url))?.headers.etag, '"1"')
    assert.equal((await get(agent, url)).body, 'response 3')
    assert.deepEqual((await get(agent, url)).body, 'response 3')
  })

  test('§4.3.4: a 304 about another response does not freshen the stored one', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      const isConditional = request.headers['if-none-match'] !== undefined
      response.writeHead(isConditional ? 304 : 200, { ETag: isConditional ? '"other"' : '"a"' })
      response.end(isConditional ? undefined : 'content')
    })
    const agent = testAgent(t, { expireAfter: 0 })
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'miss'])
    assert.equal((await get(agent, url)).status, 200)
    assert.equal(seen.length, 5)
  })

  test('§4.3.4: a 304 that changes Vary does not make the response one for all', async (t) => {
    const { url } = await origin(t, (request, response) => {
      const language = String(request.headers['accept-language'])
      const isValid = request.headers['if-none-match'] === `"${language}"`
      if (isValid) response.setHeader('Vary', 'Accept-Language')
      response.setHeader('ETag', `"${language}"`)
      response.statusCode = isValid ? 304 : 200
      response.end(isValid ? undefined : language)
    })
    const agent = testAgent(t, { expireAfter: 0 })
    const as = (language: string) => ({ headers: { 'accept-language': language } })
    await get(agent, url, as('de'))
    assert.equal((await get(agent, url, as('de'))).body, 'de')
    assert.equal((await get(agent, url, as('en'))).body, 'en')
  })

  test('§4.3.4: a 304 that is late does not mix with what was stored meanwhile', async (t) => {
    let version = 1
    const { url } = await origin(t, (request, response) => {
      if (request.headers['x-late']) {
        setTimeout(() => response.writeHead(304, { ETag: '"1"' }).end(), 100)
      } else response.setHeader('ETag', `"${version}"`).end(String(version).repeat(10 * version))
    })
    const agent = testAgent(t, { expireAfter: 0 })
    await get(agent, url)
    const late = get(agent, url, { headers: { 'x-late': 'yes' } })
    await new Promise((resolve) => setTimeout(resolve, 30))
    version = 2
    assert.equal(
      (await get(agent, url, { headers: { 'cache-control': 'no-cache' } })).body,
      '2'.repeat(20),
    )
    assert.equal((await late).body, '1'.repeat(10))
    await agent.cache.responses.settled()
    const stored = await agent.cache.get(url)
    let content = ''
    for await (const bytes of stored?.content() ?? []) content += bytes
    assert.deepEqual([stored?.headers.etag, content], ['"2"', '2'.repeat(20)])
  })

  test('§4.1: variants are kept side by side, and each is found again', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('Vary', 'Accept-Language')
      response.setHeader('Cache-Control', 'max-age=60')
      response.end(String(request.headers['accept-language']))
    })
    const agent = testAgent(t)
    for (const round of [1, 2]) {
      for (const language of ['de', 'en', 'fr']) {
        const headers = { 'accept-language': language }
        assert.equal((await get(agent, url, { headers })).body, language, `round ${round}`)
        // What is written is read again from the store.
        await agent.cache.count()
      }
    }
    assert.equal(seen.length, 3)
    assert.equal(await agent.cache.count(), 3)
    assert.equal(await agent.cache.delete({ url }), 3)
    assert.equal(await agent.cache.delete({ key: 'no such key' }), 0)
    assert.equal(await agent.cache.count(), 0)
  })

  test('§4.4: an unsafe request that succeeds invalidates what is stored for its target', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('Cache-Control', 'max-age=60')
      response.statusCode = request.method === 'PUT' ? 500 : 200
      response.end('content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    await get(agent, url, { method: 'PUT', body: 'x' })
    assert.equal((await get(agent, url)).info?.status, 'hit')
    await get(agent, url, { method: 'POST', body: 'x' })
    assert.equal((await get(agent, url)).info?.status, 'miss')
  })

  test('§4.4: … also where its Host is one of its own', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60')
      response.end('content')
    })
    const agent = testAgent(t)
    const request = async (method: 'GET' | 'POST') => {
      const headers = { host: 'named.example' }
      const response = await undici.request(url, { dispatcher: agent, method, headers })
      await response.body.dump()
      return cacheInfo({ headers: response.headers } as never)?.status
    }
    assert.deepEqual([await request('GET'), await request('GET')], ['miss', 'hit'])
    await request('POST')
    assert.equal(await request('GET'), 'miss')
  })

  test('a clock that is set back does not make responses fresh for longer', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60')
      response.end('content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    t.mock.timers.setTime(1_799_990_000_000)
    assert.equal((await get(agent, url)).info?.status, 'miss')
  })

  test('§5.2.1: no-cache and reload of fetch go to the origin, only-if-cached does not', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60')
      response.end('content')
    })
    const agent = testAgent(t)
    const only = { headers: { 'cache-control': 'only-if-cached' } }
    assert.equal((await get(agent, url, only)).status, 504)
    await get(agent, url)
    assert.equal((await get(agent, url, only)).status, 200)
    await get(agent, url, { cache: 'no-cache' } as RequestInit)
    await get(agent, url, { cache: 'reload' } as RequestInit)
    assert.equal(seen.length, 3)
  })

  const fails = () => {
    throw new Error('a function that throws')
  }
  // biome-ignore format: one request a row
  const passing: [what: string, init: { method?: string; headers?: Record<string, string>; body?: string }, options?: AgentOptions][] = [
    ['If-Match', { headers: { 'if-match': '"v1"' } }],
    ['If-Unmodified-Since', { headers: { 'if-unmodified-since': new Date().toUTCString() } }],
    ['ranges in another unit', { headers: { range: 'lines=1-2' } }],
    ['a malformed range', { headers: { range: 'bytes=x' } }],
    ['no-store', { headers: { 'cache-control': 'no-store, only-if-cached' } }],
    ['a wish for a stream of events', { headers: { accept: 'text/event-stream' } }],
    ['GET with content', { body: 'content' }],
    ['another method', { method: 'POST', body: 'content' }],
    ['DO_NOT_CACHE', {}, { urlsExpireAfter: { '*': DO_NOT_CACHE } }],
    ['a rule that fails', {}, { urlsExpireAfter: [[fails, '1h']] }],
    ['a key that fails', {}, { cacheKey: fails }],
    ['more content than may be a key', { method: 'POST', body: 'content' }, { allowedMethods: ['POST'], maxRequestContentSize: 1 }],
  ]
  for (const [what, init, options] of passing) {
    test(`§5.2.1.7: only-if-cached is obeyed where the request would pass by: ${what}`, async (t) => {
      const { url, seen } = await origin(t, (_, response) => response.end('content'))
      const agent = testAgent(t, options)
      const headers = { 'cache-control': 'only-if-cached', ...init.headers }
      const { now } = await agent.explain(url, { ...init, headers })
      assert.deepEqual([now.outcome, now.reason, now.status], ['miss', 'only-if-cached', 504])
      const { statusCode, body } = await undici.request(url, { dispatcher: agent, ...init, headers } as never) // biome-ignore format: one line
      await body.dump()
      assert.equal(statusCode, 504)
      assert.equal(seen.length, 0)
    })
  }

  test('§5.2.1.7: also where the cache does not understand what is asked for, and not where all is recorded', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t)
    const headers = { 'cache-control': 'only-if-cached' }
    const other = { origin: url, path: '/a\\b', method: 'GET', headers } as const
    const { statusCode, body } = await agent.request(other)
    await body.dump()
    assert.deepEqual([statusCode, seen.length], [504, 0])
    const recording = agent.with({ mode: 'record' })
    const recorded = await recording.request({ ...other, path: '/', body: 'content' })
    await recorded.body.dump()
    assert.deepEqual([recorded.statusCode, seen.length], [200, 1])
  })
})

suite('credentials', () => {
  for (const name of ['authorization', 'cookie']) {
    test(`a response is reused for the same ${name} only`, async (t) => {
      const { url } = await origin(t, (request, response) => {
        response.setHeader('Cache-Control', 'max-age=60')
        response.end(`for ${request.headers[name]}`)
      })
      const agent = testAgent(t)
      for (const who of ['alice', 'bob', undefined, 'alice', 'bob', undefined]) {
        const { body } = await get(agent, url, { headers: who ? { [name]: who } : {} })
        assert.equal(body, `for ${who}`)
      }
      assert.deepEqual(
        await outcomes(agent, url, [
          { headers: { [name]: 'alice' } },
          {},
          { headers: { [name]: 'eve' } },
        ]),
        ['hit', 'hit', 'miss'],
      )
    })
  }

  test('a public response is for everybody, unless it sets a cookie', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('Cache-Control', 'public, max-age=60')
      if (request.url === '/cookie') response.setHeader('Set-Cookie', 'a=1')
      response.end('content')
    })
    const agent = testAgent(t)
    const as = (authorization: string) => ({ headers: { authorization } })
    assert.deepEqual(await outcomes(agent, `${url}/`, [as('alice'), as('bob'), {}]), [
      'miss',
      'hit',
      'hit',
    ])
    assert.deepEqual(await outcomes(agent, `${url}/cookie`, [as('alice'), as('bob')]), [
      'miss',
      'miss',
    ])
  })

  test('a 304 that makes a public response personal keeps it from others', async (t) => {
    for (const fields of [{ 'Set-Cookie': 'sid=of-alice' }, { 'Cache-Control': 'private' }]) {
      const { url } = await origin(t, (request, response) => {
        const isValid = request.headers['if-none-match'] !== undefined
        response.writeHead(isValid ? 304 : 200, {
          ETag: '"a"',
          'Cache-Control': 'public, max-age=0',
          ...(isValid && fields),
        })
        response.end(isValid ? undefined : 'content')
      })
      const agent = testAgent(t)
      const as = (authorization: string) => ({ headers: { authorization } })
      await get(agent, url, as('alice'))
      await get(agent, url, as('alice'))
      const { response } = await get(agent, url, as('bob'))
      assert.equal(response.headers.get('set-cookie'), null)
    }
  })

  test('what was stored without a name that counts as credentials now is not reused', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.end(`for ${request.headers['x-key']}`)
    })
    const before = testAgent(t, { expireAfter: '1h', partitionBy: ['x-other'] })
    const now = testAgent(t, { expireAfter: '1h', partitionBy: ['x-key'], cache: before.cache })
    const as = (key: string) => ({ headers: { 'x-key': key } })
    await get(before, url, as('alice'))
    assert.equal((await get(now, url, as('bob'))).body, 'for bob')
    assert.equal((await get(now, url, as('alice'))).body, 'for alice')
    await now.cache.delete(url)
    await get(now, url, as('alice'))
    assert.equal(await now.cache.has(url, as('alice')), true)
    assert.equal(await now.cache.has(url, as('eve')), false)
  })

  test('partitionBy: false gives everybody the same, other names partition too', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const open = testAgent(t, { expireAfter: '1h', partitionBy: false })
    const as = (name: string, value: string) => ({ headers: { [name]: value } })
    assert.deepEqual(
      await outcomes(open, url, [as('authorization', 'alice'), as('authorization', 'bob')]),
      ['miss', 'hit'],
    )
    const byKey = testAgent(t, { expireAfter: '1h', partitionBy: ['X-API-Key'] })
    assert.deepEqual(
      await outcomes(byKey, url, [
        as('x-api-key', '1'),
        as('x-api-key', '2'),
        as('x-api-key', '1'),
      ]),
      ['miss', 'miss', 'hit'],
    )
  })

  test('are nowhere in the store', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Vary', 'Authorization, Cookie')
      response.end('content')
    })
    const map = new Map<string, unknown>()
    const agent = testAgent(t, { expireAfter: '1h', store: map })
    await get(agent, url, { headers: { authorization: 'Bearer hunter2', cookie: 'sid=tops3cret' } })
    assert.equal(await agent.cache.count(), 1)
    const dump = [...map]
      .map(([key, value]) => {
        const { value: text } = JSON.parse((value as { value: string }).value)
        return key + Buffer.from(text, 'base64').toString('latin1')
      })
      .join()
    assert.match(dump, /authorization/)
    assert.doesNotMatch(dump, /hunter2|tops3cret/)
  })
})

suite('Cache-Status', () => {
  test('is appended to that of caches nearer to the origin', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Status', 'cdn; hit')
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    for (const own of [
      /^cdn; hit, caching-agent; fwd=uri-miss; stored; ttl=3600;/,
      /^cdn; hit, caching-agent; hit; ttl=/,
    ]) {
      assert.match((await get(agent, url)).response.headers.get('cache-status') as string, own)
    }
  })

  test('can be turned off', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h', cacheStatus: false })
    for (const method of ['GET', 'GET', 'POST']) {
      const { response, info } = await get(agent, url, { method })
      assert.equal(response.headers.get('cache-status'), null)
      assert.equal(info, undefined)
    }
    assert.equal(seen.length, 2)
  })
})
