import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { AgentOptions, Terms } from 'caching-agent'
import { type Dispatcher, request } from 'undici'
import { fetchWith, get, testAgent } from './helpers/agent.ts'
import { origin } from './helpers/origin.ts'

/** An origin with one representation a language, each under an entity-tag of its own. */
function languages(fields: Record<string, string> = {}, weak = '') {
  return (
    request: import('node:http').IncomingMessage,
    response: import('node:http').ServerResponse,
  ) => {
    // Whoever asks for Austrian or Swiss German gets German.
    const language = String(request.headers['accept-language']).slice(0, 2)
    const etag = `${weak}"${language}"`
    response.setHeader('Vary', 'Accept-Language').setHeader('ETag', etag)
    response.setHeader('Cache-Control', 'max-age=60')
    for (const [name, value] of Object.entries(fields)) response.setHeader(name, value)
    const known = String(request.headers['if-none-match'] ?? '').split(', ')
    response.statusCode = known.includes(etag) ? 304 : 200
    response.end(response.statusCode === 304 ? undefined : `content in ${language}`)
  }
}

const as = (language: string, more: Record<string, string> = {}) => ({
  headers: { 'accept-language': language, ...more },
})

suite('§4.3.1: validation over several variants', () => {
  test('the origin is asked about those negotiated for others, and may name one', async (t) => {
    const { url, seen } = await origin(t, languages())
    const agent = testAgent(t)
    for (const language of ['de', 'en', 'fr']) await get(agent, url, as(language))
    await agent.cache.count()

    const { status, body, info } = await get(agent, url, as('de-AT'))
    assert.deepEqual([status, body, info?.status], [200, 'content in de', 'revalidated'])
    const asked = String(seen[3]?.headers['if-none-match']).split(', ').sort()
    assert.deepEqual(asked, ['"de"', '"en"', '"fr"'])
    assert.equal(seen[3]?.headers['if-modified-since'], undefined)
  })

  test('the one that was named is stored for the request as well', async (t) => {
    const { url, seen } = await origin(t, languages())
    const agent = testAgent(t)
    for (const language of ['de', 'en', 'de-AT']) await get(agent, url, as(language))
    assert.equal((await get(agent, url, as('de-AT'))).info?.status, 'hit')
    assert.equal((await get(agent, url, as('de'))).info?.status, 'hit')
    assert.equal(await agent.cache.count(), 3)
    assert.equal(seen.length, 3)
  })

  test('not where the origin tags revisions of the resource, not representations', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('Vary', 'Accept-Language').setHeader('ETag', '"rev7"')
      response.setHeader('Cache-Control', 'max-age=60')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      const language = request.headers['accept-language']
      response.end(response.statusCode === 304 ? undefined : `content in ${language}`)
    })
    const agent = testAgent(t)
    for (const language of ['de', 'en', 'fr']) {
      assert.equal((await get(agent, url, as(language))).body, `content in ${language}`)
    }
  })

  test('a large one is not kept twice, and validated each time', async (t) => {
    const large = 'x'.repeat(200_000)
    const { url } = await origin(t, (request, response) => {
      const etag = request.headers['accept-language'] === 'fr' ? '"fr"' : '"large"'
      response.setHeader('Vary', 'Accept-Language').setHeader('ETag', etag)
      response.setHeader('Cache-Control', 'max-age=60')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : large)
    })
    const agent = testAgent(t)
    await get(agent, url, as('de'))
    await get(agent, url, as('fr'))
    await agent.cache.responses.settled()
    for (let round = 0; round < 2; round++) {
      const { body, info } = await get(agent, url, as('en'))
      assert.deepEqual([body === large, info?.status, info?.stored], [true, 'revalidated', false])
    }
    assert.equal(await agent.cache.count(), 2)
  })

  test('a new response is one more variant', async (t) => {
    const { url } = await origin(t, languages())
    const agent = testAgent(t)
    for (const language of ['de', 'en']) await get(agent, url, as(language))
    const { body, info } = await get(agent, url, as('it'))
    assert.deepEqual([body, info?.status], ['content in it', 'miss'])
    assert.equal(await agent.cache.count(), 3)
  })

  test('weak entity-tags are not asked about: equivalent is not the same', async (t) => {
    const { url, seen } = await origin(t, languages({}, 'W/'))
    const agent = testAgent(t)
    for (const language of ['de', 'en']) await get(agent, url, as(language))
    assert.equal((await get(agent, url, as('de-AT'))).info?.status, 'miss')
    assert.equal(seen[2]?.headers['if-none-match'], undefined)
  })

  test('nor are responses for other credentials, whatever the origin would say', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"v1"').setHeader('Cache-Control', 'max-age=60')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : `for ${request.headers.authorization}`)
    })
    const agent = testAgent(t)
    await get(agent, url, { headers: { authorization: 'one' } })
    const { body } = await get(agent, url, { headers: { authorization: 'two' } })
    assert.equal(body, 'for two')
    assert.equal(seen[1]?.headers['if-none-match'], undefined)
  })

  test('nor is content in a coding that the request does not accept', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"v1"').setHeader('Cache-Control', 'max-age=60')
      const isEncoded = String(request.headers['accept-encoding']).includes('x-reverse')
      if (isEncoded) response.setHeader('Content-Encoding', 'x-reverse')
      response.setHeader('Vary', 'Accept-Encoding')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : isEncoded ? 'tnetnoc' : 'content')
    })
    const agent = testAgent(t)
    await get(agent, url, { headers: { 'accept-encoding': 'x-reverse' } })
    const { body } = await get(agent, url, { headers: { 'accept-encoding': 'identity' } })
    assert.equal(body, 'content')
    assert.equal(seen[1]?.headers['if-none-match'], undefined)
  })

  test('a 304 that names none of them is answered by asking again', async (t) => {
    const { url } = await origin(t, (request, response, count) => {
      response.setHeader('Vary', 'Accept-Language').setHeader('Cache-Control', 'max-age=60')
      if (request.headers['if-none-match']) return response.writeHead(304, { ETag: '"x"' }).end()
      return response.setHeader('ETag', `"${count}"`).end(`response ${count}`)
    })
    const agent = testAgent(t)
    for (const language of ['de', 'en']) await get(agent, url, as(language))
    assert.equal((await get(agent, url, as('fr'))).body, 'response 4')
  })
})

suite('§4.3.4: freshening', () => {
  test('a 304 by weak comparison confirms, and the stored entity-tag stays weak', async (t) => {
    // As nginx does that compresses on the fly.
    const { url } = await origin(t, (request, response) => {
      const isValid = request.headers['if-none-match'] === 'W/"v1"'
      response.writeHead(isValid ? 304 : 200, { ETag: isValid ? '"v1"' : 'W/"v1"' })
      response.end(isValid ? undefined : 'content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    const { info, body, response } = await get(agent, url)
    assert.deepEqual([info?.status, body], ['revalidated', 'content'])
    assert.equal(response.headers.get('etag'), 'W/"v1"')
  })

  test('fields of the content are not changed by a 304, others are', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"v1"')
      if (request.headers['if-none-match']) {
        response.writeHead(304, {
          'Content-Type': 'text/wrong',
          'Content-Encoding': 'gzip',
          'Content-Length': '0',
          'X-New': '1',
          'X-Both': 'new',
        })
        return response.end()
      }
      response.setHeader('X-Both', 'old').setHeader('X-Old', '1')
      return response.setHeader('Content-Type', 'text/plain').end('content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    const { body, response } = await get(agent, url)
    assert.equal(body, 'content')
    const names = ['content-type', 'content-encoding', 'content-length', 'x-new', 'x-both', 'x-old']
    assert.deepEqual(
      names.map((name) => response.headers.get(name)),
      ['text/plain', null, '7', '1', 'new', '1'],
    )
  })

  for (const control of ['max-age=0', 'max-age=0, stale-while-revalidate=100']) {
    test(`a 304 that names fewer fields in Vary freshens a response, which keeps its own: ${control}`, async (t) => {
      const { url, seen } = await origin(t, (request, response) => {
        const isValid = request.headers['if-none-match'] === '"v1"'
        response.setHeader('ETag', '"v1"').setHeader('Cache-Control', control)
        response.setHeader('Vary', isValid ? 'Origin' : 'Origin, Accept-Language')
        response.writeHead(isValid ? 304 : 200).end(isValid ? undefined : 'content')
      })
      const agent = testAgent(t)
      await get(agent, url, as('de'))
      for (let round = 0; round < 4; round++) {
        const { body, info, response } = await get(agent, url, as('de'))
        assert.equal(body, 'content')
        assert.notEqual(info?.status, 'miss')
        assert.equal(response.headers.get('vary'), 'Origin, Accept-Language')
        await delay(20)
      }
      assert.equal((await get(agent, url, as('en'))).info?.reason, 'vary-miss')
      const conditions = seen.map(({ headers }) => headers['if-none-match'])
      assert.deepEqual(conditions.slice(0, -1), [undefined, '"v1"', '"v1"', '"v1"', '"v1"'])
    })
  }

  test('one that says that a response is for everybody freshens it for whom it was for', async (t) => {
    const { url } = await origin(t, (request, response) => {
      const isValid = request.headers['if-none-match'] === '"v1"'
      response.setHeader('Cache-Control', isValid ? 'public, max-age=60' : 'private, max-age=0')
      response.setHeader('ETag', '"v1"').writeHead(isValid ? 304 : 200)
      response.end(isValid ? undefined : `for ${request.headers.authorization}`)
    })
    const agent = testAgent(t)
    const of = (authorization: string) => ({ headers: { authorization } })
    await get(agent, url, of('one'))
    assert.equal((await get(agent, url, of('one'))).info?.status, 'revalidated')
    assert.equal((await get(agent, url, of('one'))).info?.status, 'hit')
    assert.equal((await get(agent, url, of('two'))).body, 'for two')
  })

  // biome-ignore format: one rule a row
  const unconfirmed: [use: string, control: string, terms: AgentOptions, of?: Terms, more?: Record<string, string>][] = [
    ['fresh', 'max-age=60', {}],
    ['fresh by a rule', 'no-store', { expireAfter: '1h' }],
    ['stale', 'max-age=0', {}],
    ['stale while it is validated', 'max-age=0, stale-while-revalidate=100', {}],
    ['stale, as the user lets it be', 'max-age=0', { staleWhileRevalidate: true }],
    ['stale, as the request does', 'max-age=0', {}, {}, { 'cache-control': 'max-stale' }],
    ['offline', 'max-age=60', {}, { mode: 'offline' }],
    ['instead of an error', 'max-age=0, stale-if-error=100', { staleIfError: true }, {}, { 'x-fail': 'yes' }],
  ]
  for (const [use, control, options, terms = {}, more = {}] of unconfirmed) {
    test(`one that names more leaves it to be validated each time, and never given to others: ${use}`, async (t) => {
      const { url, seen } = await origin(t, (request, response) => {
        if (request.headers['x-fail']) return response.writeHead(503).end('failed')
        const language = String(request.headers['accept-language'])
        const isValid = request.headers['if-none-match'] === `"${language}"`
        if (isValid) response.setHeader('Vary', 'Accept-Language')
        response.setHeader('ETag', `"${language}"`).setHeader('Cache-Control', control)
        return response.writeHead(isValid ? 304 : 200).end(isValid ? undefined : language)
      })
      const agent = testAgent(t, options)
      await get(agent, url, as('de'))
      await get(agent, url, as('de', { 'cache-control': 'no-cache' }))
      for (let round = 0; round < 2; round++) {
        const { body, info } = await get(agent, url, as('de'))
        assert.deepEqual([body, info?.status], ['de', 'revalidated'])
      }
      assert.equal(seen.filter(({ headers }) => !headers['if-none-match']).length, 1)
      await agent.cache.resetExpiration()
      const { body } = await get(agent.with(terms), url, as('en', more))
      assert.notEqual(body, 'de')
    })
  }

  test('§5.2.2.4: fields that no-cache names are sent only after validation', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"v1"').setHeader('X-Once', 'yes').setHeader('X-Other', 'yes')
      response.setHeader('Cache-Control', 'max-age=60, no-cache="X-Once, Set-Cookie"')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : 'content')
    })
    const agent = testAgent(t)
    const seen: unknown[] = []
    for (const cacheControl of ['', '', 'no-cache']) {
      const headers: Record<string, string> = cacheControl ? { 'cache-control': cacheControl } : {}
      const { info, response } = await get(agent, url, { headers })
      seen.push([info?.status, response.headers.get('x-once'), response.headers.get('x-other')])
    }
    assert.deepEqual(seen, [
      ['miss', 'yes', 'yes'],
      ['hit', null, 'yes'],
      ['revalidated', 'yes', 'yes'],
    ])
  })

  test('RFC 8246: an immutable response is not validated while it is fresh, unless no-cache is asked for', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60, immutable').setHeader('ETag', '"v1"')
      response.end('content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    assert.equal((await get(agent, url, { cache: 'no-cache' } as RequestInit)).info?.status, 'hit')
    assert.equal(seen.length, 1)
    await get(agent, url, { cache: 'reload' } as RequestInit)
    assert.equal(seen.length, 2)
    t.mock.timers.tick(61_000)
    await get(agent, url)
    assert.equal(seen.length, 3)
  })
})

suite('§4.3.5: the answer to HEAD', () => {
  test('that agrees with a stored response to GET freshens it', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await origin(t, (request, response, count) => {
      response.setHeader('Cache-Control', 'max-age=60').setHeader('X-Count', String(count))
      response.setHeader('Content-Length', '7').setHeader('ETag', '"v1"')
      if (request.method === 'GET') response.setHeader('X-Get', 'yes')
      response.end(request.method === 'HEAD' ? undefined : 'content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    t.mock.timers.tick(61_000)
    assert.equal((await get(agent, url, { method: 'HEAD' })).response.headers.get('x-count'), '2')
    const { info, body, response } = await get(agent, url)
    assert.deepEqual([info?.status, body], ['hit', 'content'])
    assert.deepEqual([response.headers.get('x-count'), response.headers.get('x-get')], ['2', 'yes'])
    assert.equal((await get(agent, url, { method: 'HEAD' })).info?.status, 'hit')
    assert.deepEqual([seen.length, await agent.cache.count()], [2, 1])
  })

  // biome-ignore format: one rule a row
  const silent: [what: string, control: string, ofGet: Record<string, string>, ofHead: Record<string, string>][] = [
    ['no validator', 'max-age=60', {}, {}],
    ['no more than the same length', 'max-age=60', {}, { 'Content-Length': '9' }],
    ['none in common', 'max-age=60', { 'Last-Modified': 'Mon, 01 Jan 2024 00:00:00 GMT' }, { ETag: '"v2"' }],
    ['none, and is not stored itself', 'no-store', {}, {}],
  ]
  for (const [what, control, ofGet, ofHead] of silent) {
    test(`that has ${what} neither freshens the stored response to GET nor ends it`, async (t) => {
      t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
      const { url } = await origin(t, (request, response, count) => {
        response.setHeader('X-Version', String(count))
        if (request.method === 'HEAD')
          return response.writeHead(200, { 'Cache-Control': control, ...ofHead }).end()
        response.setHeader('Cache-Control', 'max-age=60').writeHead(200, ofGet)
        return response.end(`version ${count}`)
      })
      const agent = testAgent(t)
      const version = async (init: RequestInit = {}, terms: Terms = {}) => {
        const { response, body } = await get(agent.with(terms), url, init)
        return [response.headers.get('x-version'), body]
      }
      await get(agent, url)
      const noCache = { method: 'HEAD', headers: { 'cache-control': 'no-cache' } }
      assert.deepEqual(await version(noCache), ['2', ''])
      assert.deepEqual(await version(), ['1', 'version 1'])
      t.mock.timers.tick(61_000)
      assert.deepEqual(await version({ method: 'HEAD' }), ['3', ''])
      assert.deepEqual(await version({}, { mode: 'offline' }), ['1', 'version 1'])
      assert.deepEqual(await version(), ['4', 'version 4'])
    })
  }

  // biome-ignore format: one rule a row
  const contradictions: [what: string, status: number, fields: Record<string, string>][] = [
    ['another entity-tag', 200, { ETag: '"v2"', 'Content-Length': '7' }],
    ['another length', 200, { ETag: '"v1"', 'Content-Length': '8' }],
    ['another date', 200, { ETag: '"v1"', 'Last-Modified': 'Tue, 02 Jan 2024 00:00:00 GMT' }],
    ['a resource that is gone', 410, {}],
    ['a resource that cannot be found', 404, {}],
  ]
  for (const [what, status, fields] of contradictions) {
    test(`that tells of ${what} ends the stored response to GET`, async (t) => {
      const { url } = await origin(t, (request, response, count) => {
        response.setHeader('Cache-Control', 'max-age=60')
        if (request.method === 'HEAD') return response.writeHead(status, fields).end()
        response.setHeader('ETag', '"v1"').setHeader('Content-Length', '10')
        response.setHeader('Last-Modified', 'Mon, 01 Jan 2024 00:00:00 GMT')
        return response.end(`response ${count}`)
      })
      const agent = testAgent(t)
      await get(agent, url)
      const headers = { 'cache-control': 'no-cache' }
      assert.equal((await get(agent, url, { method: 'HEAD', headers })).status, status)
      assert.equal((await get(agent, url)).body, 'response 3')
    })
  }

  test('that fails leaves it alone', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('Cache-Control', 'max-age=60')
      response.statusCode = request.method === 'HEAD' ? 503 : 200
      response.end('content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    const headers = { 'cache-control': 'no-cache' }
    assert.equal((await get(agent, url, { method: 'HEAD', headers })).status, 503)
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('a conditional one is answered by a 304 that freshens the response to GET', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"v1"').setHeader('Cache-Control', 'max-age=60')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : 'content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    t.mock.timers.tick(61_000)
    const head = await get(agent, url, { method: 'HEAD' })
    assert.deepEqual([head.status, head.info?.status], [200, 'revalidated'])
    assert.equal((await get(agent, url)).info?.status, 'hit')
    assert.equal(seen.length, 2)
  })
})

suite('an answer that is late', () => {
  const v1 = { ETag: '"1"', 'Cache-Control': 'max-age=1000' }
  /** Answers when it is told to. */
  function held() {
    const { promise, resolve } = Promise.withResolvers<void>()
    return { until: promise, release: resolve }
  }

  for (const method of ['GET', 'HEAD']) {
    test(`confirms nothing that a newer response replaces, even while that is arriving: ${method}`, async (t) => {
      const late = held()
      const rest = held()
      const { url } = await origin(t, async (request, response) => {
        if (request.headers['x-late']) {
          await late.until
          if (method === 'GET') response.writeHead(304, v1).end()
          else response.writeHead(200, { ...v1, 'Content-Length': '2' }).end()
        } else if (request.headers['x-new']) {
          response.writeHead(200, { ...v1, ETag: '"2"' }).write('v')
          await rest.until
          response.end('2')
        } else response.writeHead(200, v1).end('v1')
      })
      const agent = testAgent(t)
      await get(agent, url)
      const noCache = { 'cache-control': 'no-cache' }
      const confirming = get(agent, url, { method, headers: { ...noCache, 'x-late': 'yes' } })
      await new Promise((resolve) => setTimeout(resolve, 30))
      const newer = get(agent, url, { headers: { ...noCache, 'x-new': 'yes' } })
      await new Promise((resolve) => setTimeout(resolve, 30))
      late.release()
      await confirming
      rest.release()
      assert.equal((await newer).body, 'v2')
      await agent.cache.responses.settled()
      assert.equal((await get(agent, url)).body, 'v2')
    })
  }

  for (const end of ['POST', 'clear', 'delete'] as const) {
    test(`confirms nothing that has been ended meanwhile: ${end}`, async (t) => {
      const late = held()
      const { url } = await origin(t, async (request, response, count) => {
        if (request.headers['x-late']) {
          await late.until
          response.writeHead(304, v1).end()
        } else response.writeHead(200, v1).end(`response ${count}`)
      })
      const agent = testAgent(t)
      await get(agent, url)
      const confirming = get(agent, url, {
        headers: { 'cache-control': 'no-cache', 'x-late': 'yes' },
      })
      await new Promise((resolve) => setTimeout(resolve, 30))
      if (end === 'POST') await get(agent, url, { method: 'POST' })
      else if (end === 'clear') await agent.cache.clear()
      else await agent.cache.delete(url)
      late.release()
      assert.equal((await confirming).body, 'response 1')
      assert.equal((await get(agent, url)).info?.status, 'miss')
    })
  }

  test('from before an invalidation is not stored', async (t) => {
    const late = held()
    const { url } = await origin(t, async (request, response) => {
      if (request.headers['x-late']) await late.until
      response.writeHead(200, v1).end('content')
    })
    const agent = testAgent(t)
    const before = get(agent, url, { headers: { 'x-late': 'yes' } })
    await new Promise((resolve) => setTimeout(resolve, 30))
    await get(agent, url, { method: 'POST' })
    late.release()
    assert.equal((await before).info?.reason, 'invalidated')
    assert.equal(await agent.cache.has(url), false)
  })

  test('to HEAD freshens a response that is still arriving', async (t) => {
    const rest = held()
    const { url } = await origin(t, async (request, response) => {
      response.writeHead(200, { ...v1, 'Content-Length': '10', 'X-Method': String(request.method) })
      if (request.method === 'HEAD') return response.end()
      response.write('01234')
      await rest.until
      return response.end('56789')
    })
    const agent = testAgent(t)
    const whole = await fetchWith(agent, url)
    await get(agent, url, { method: 'HEAD', headers: { 'cache-control': 'no-cache' } })
    rest.release()
    assert.equal(await whole.text(), '0123456789')
    await agent.cache.responses.settled()
    const { info, response } = await get(agent, url)
    assert.deepEqual([info?.status, response.headers.get('x-method')], ['hit', 'HEAD'])
  })
})

suite('what is confirmed while another request still receives it, and then does not come to its end', () => {
  type Response = import('node:http').ServerResponse
  type Way = (received: Dispatcher.ResponseData, sent: Response, rest: Buffer) => unknown
  const ways: [what: string, way: Way][] = [
    ['its caller aborts it', ({ body }) => body.destroy()],
    ['the origin cuts it off', (_, response) => response.destroy()],
    ['it turns out to be too large', (_, response, rest) => response.end(rest)],
  ]
  for (const [what, way] of ways) {
    for (const store of ['memory:', 'sqlite://:memory:']) {
      for (const length of [40_000, 2_000_000]) {
        test(`is received all the same: ${what}, ${length} bytes, ${store}`, async (t) => {
          const content = randomBytes(length)
          const [half, validation] = [length / 2, Promise.withResolvers<() => void>()]
          let sent: Response | undefined
          const { url } = await origin(t, (request, response) => {
            response.setHeader('ETag', '"1"').setHeader('Cache-Control', 'max-age=60')
            if (request.headers['if-none-match']) {
              validation.resolve(() => response.writeHead(304).end())
            } else if (sent === undefined) {
              sent = response
              response.write(content.subarray(0, half))
            } else response.end(content)
          })
          const agent = testAgent(t, { store, maxContentSize: 0.75 * length })
          const errors: string[] = []
          agent.cache.on('error', ({ operation }) => errors.push(operation))
          const receiving = await request(url, { dispatcher: agent })
          receiving.body.on('error', () => {}).resume()
          const headers = { 'cache-control': 'no-cache' }
          const asked = request(url, { dispatcher: agent, headers })
          const confirm = await validation.promise
          way(receiving, sent as unknown as Response, content.subarray(half))
          await delay(50)
          confirm()
          const { statusCode, body } = await asked
          assert.equal(statusCode, 200)
          assert.ok(Buffer.from(await body.arrayBuffer()).equals(content))
          assert.deepEqual(errors, [])
          receiving.body.destroy()
        })
      }
    }
  }
})

suite('retention', () => {
  test('a stale response with a validator is kept for 30 days, so that it can be validated', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"v1"').setHeader('Cache-Control', 'max-age=60')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : 'content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    await agent.cache.count()
    t.mock.timers.tick(29 * 86_400_000)
    assert.equal((await get(agent, url)).info?.status, 'revalidated')
    await agent.cache.count()
    t.mock.timers.tick(31 * 86_400_000)
    assert.equal((await get(agent, url)).info?.status, 'miss')
  })
})
