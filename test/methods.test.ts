import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { cacheInfo, EXPIRE_IMMEDIATELY, NEVER_EXPIRE } from 'caching-agent'
import * as undici from 'undici'
import { fetchWith, get, outcomes, testAgent } from './helpers/agent.ts'
import { contentOrigin, type Received } from './helpers/contents.ts'
import { origin } from './helpers/origin.ts'

type Init = Omit<undici.Dispatcher.RequestOptions, 'path' | 'method'> & { method?: string }

/** Makes a request by undici's `request`. */
async function request(dispatcher: undici.Dispatcher, url: string, init: Init = {}) {
  const response = await undici.request(url, { ...init, dispatcher } as object)
  const body = await response.body.text()
  return { status: response.statusCode, body, info: cacheInfo(response as never) }
}

const POST = { method: 'POST', body: 'question' }

suite('allowedMethods: which methods may be cached', () => {
  test('by default none but GET and HEAD', async (t) => {
    const { url, received } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: NEVER_EXPIRE })
    assert.deepEqual(await outcomes(agent, url, [POST, POST]), ['bypass', 'bypass'])
    assert.equal(received.length, 2)
    assert.equal(await agent.cache.count(), 0)
  })

  for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY', 'MKCOL']) {
    test(`${method}, if it is named, by URL and content`, async (t) => {
      const { url, received } = await contentOrigin(t)
      const agent = testAgent(t, { expireAfter: NEVER_EXPIRE, allowedMethods: [method] })
      const ask = (body: string | undefined, path = '/b') =>
        get(agent, url + path, { method, ...(body !== undefined && { body }) })
      const first = await ask('content')
      assert.equal(first.info?.status, 'miss')
      const again = await ask('content')
      assert.deepEqual([again.info?.status, again.body], ['hit', first.body])
      assert.equal((await ask('other')).info?.status, 'miss')
      assert.equal((await ask('content', '/c')).info?.status, 'miss')
      assert.equal((await ask(undefined)).info?.status, 'miss')
      assert.equal((await ask(undefined)).info?.status, 'hit')
      assert.deepEqual(
        received.map(({ content }) => content),
        ['content', 'other', 'content', ''],
      )
    })
  }

  test('in any case', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['get', 'Post'] })
    for (const method of ['POST', 'GET']) {
      await request(agent, url, { method })
      assert.equal((await request(agent, url, { method })).info?.status, 'hit', method)
    }
  })

  test('what is not named passes by, GET too', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['bypass', 'bypass'])
    assert.equal((await get(agent, url)).info?.reason, 'method')
    assert.equal((await get(agent, url, { method: 'PUT' })).info?.reason, 'method')
  })

  test('by URL, and by request', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, {
      expireAfter: '1h',
      urlsExpireAfter: [[/\/search$/, { expireAfter: '1h', allowedMethods: ['POST'] }]],
    })
    assert.deepEqual(await outcomes(agent, `${url}/search`, [POST, POST]), ['miss', 'hit'])
    assert.deepEqual(await outcomes(agent, `${url}/other`, [POST, POST]), ['bypass', 'bypass'])
    const allowing = agent.with({ allowedMethods: ['POST'] })
    assert.deepEqual(await outcomes(allowing, `${url}/other`, [POST, POST]), ['miss', 'hit'])
  })

  test('each method has its own responses', async (t) => {
    const { url, received } = await contentOrigin(t)
    const agent = testAgent(t, {
      expireAfter: '1h',
      allowedMethods: ['GET', 'POST', 'PUT', 'QUERY'],
    })
    for (const round of ['miss', 'hit']) {
      for (const method of ['GET', 'POST', 'PUT', 'QUERY']) {
        assert.equal((await request(agent, url, { method })).info?.status, round, method)
      }
    }
    assert.equal(received.length, 4)
  })

  test('HEAD is answered by what is stored for GET, and by nothing that is for POST', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['GET', 'HEAD', 'POST'] })
    await request(agent, url, { method: 'POST' })
    assert.equal((await request(agent, url, { method: 'HEAD' })).info?.status, 'miss')
    await request(agent, `${url}/x`)
    assert.equal((await request(agent, `${url}/x`, { method: 'HEAD' })).info?.status, 'hit')
  })

  test('GET with content passes by', async (t) => {
    const { url, received } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    const info = async () => (await request(agent, url, { method: 'GET', body: 'x' })).info
    assert.deepEqual([(await info())?.reason, (await info())?.reason], ['content', 'content'])
    assert.deepEqual(
      received.map(({ content }) => content),
      ['x', 'x'],
    )
  })
})

suite('A field that overrides the method counts as the method', () => {
  for (const name of ['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override']) {
    test(`${name}: GET makes a POST one that may be cached; a plain one is not`, async (t) => {
      const { url, received } = await contentOrigin(t)
      const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['GET'] })
      const overridden = { ...POST, headers: { [name]: 'get' } }
      assert.deepEqual(await outcomes(agent, url, [overridden, overridden]), ['miss', 'hit'])
      assert.deepEqual(await outcomes(agent, url, [POST, POST]), ['bypass', 'bypass'])
      assert.equal((await get(agent, url, { ...overridden, body: 'other' })).info?.status, 'miss')
      assert.deepEqual(
        received.map(({ method, content }) => `${method} ${content}`),
        ['POST question', 'POST question', 'POST question', 'POST other'],
      )
    })
  }

  test('it is part of the key', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['GET', 'POST', 'QUERY'] })
    const inits = ['GET', 'QUERY'].map((method) => ({
      method: 'POST',
      headers: { 'X-HTTP-Method-Override': method },
    }))
    const all = [{}, { method: 'POST' }, ...inits]
    assert.deepEqual(await outcomes(agent, url, [...all, ...all]), [
      ...all.map(() => 'miss'),
      ...all.map(() => 'hit'),
    ])
  })

  test('one that makes GET something else lets it pass by, and invalidate', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    const deleting = { headers: { 'X-HTTP-Method-Override': 'DELETE' } }
    assert.deepEqual(await outcomes(agent, url, [{}, {}, deleting, {}]), [
      'miss',
      'hit',
      'bypass',
      'miss',
    ])
  })

  test('two that say different things are no method that is allowed', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    const headers = { 'X-HTTP-Method-Override': 'GET', 'X-HTTP-Method': 'DELETE' }
    assert.equal((await get(agent, url, { method: 'POST', headers })).info?.reason, 'method')
  })
})

suite('Content of every kind is read for the key, and sent as it is', () => {
  const form = (kind: typeof FormData | typeof undici.FormData) => {
    const data = new kind()
    data.append('name', 'value')
    data.append('file', new Blob(['of bytes'], { type: 'text/x' }), 'name.txt')
    return data
  }
  async function* chunks() {
    yield Buffer.from('some ')
    await delay(1)
    yield 'content'
  }
  const passed = () => {
    const stream = new PassThrough()
    stream.end('some content')
    return stream
  }

  // biome-ignore format: one rule a row
  const ofFetch: [kind: string, body: () => unknown, init?: object][] = [
    ['text', () => 'some content'],
    ['bytes', () => Buffer.from('some content')],
    ['a part of a buffer', () => new TextEncoder().encode('[some content]').subarray(1, -1)],
    ['an ArrayBuffer', () => new TextEncoder().encode('some content').buffer],
    ['URLSearchParams', () => new URLSearchParams({ b: '1', a: '2 3' })],
    ['FormData', () => form(FormData)],
    ['a Blob', () => new Blob(['some content'], { type: 'text/x' })],
    ['a stream', () => Readable.toWeb(Readable.from(chunks())), { duplex: 'half' }],
    ['an async iterable', chunks, { duplex: 'half' }],
  ]
  // biome-ignore format: one rule a row
  const ofRequest: [kind: string, body: () => unknown, init?: object][] = [
    ['text', () => 'some content'],
    ['a Buffer', () => Buffer.from('some content')],
    ['a Uint8Array', () => new TextEncoder().encode('some content')],
    ['a DataView', () => new DataView(new TextEncoder().encode('some content').buffer)],
    ['undici’s FormData', () => form(undici.FormData)],
    ['a Blob', () => new Blob(['some content'], { type: 'text/x' })],
    ['a stream of objects', () => Readable.from(chunks())],
    ['a stream whose length is known', passed],
    ['a stream whose length is announced', () => Readable.from(chunks()), { headers: { 'Content-Length': '12' } }],
    ['a web stream', () => Readable.toWeb(Readable.from(['some content']))],
    ['an async iterable', chunks],
    ['an iterable', () => [Buffer.from('some '), Buffer.from('content')]],
    ['a stream of nothing', () => Readable.from([])],
  ]
  type Client = (
    dispatcher: undici.Dispatcher,
    url: string,
    init: object,
  ) => Promise<{ info: ReturnType<typeof cacheInfo> }>
  const clients: [name: string, kinds: typeof ofFetch, ask: Client][] = [
    ['the built-in fetch', ofFetch, get],
    [
      'undici’s fetch',
      ofFetch.map(([kind, body, init]) => [
        kind,
        kind === 'FormData' ? () => form(undici.FormData) : body,
        init ?? {},
      ]),
      async (dispatcher, url, init) => {
        const response = await undici.fetch(url, { ...init, dispatcher })
        await response.text()
        return { info: cacheInfo(response) }
      },
    ],
    ['request', ofRequest, request],
  ]
  for (const [client, kinds, ask] of clients) {
    for (const [kind, body, init = {}] of kinds) {
      test(`${client}: ${kind}`, async (t) => {
        const { url, received } = await contentOrigin(t)
        const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
        const plain = new undici.Agent()
        t.after(() => plain.close())
        const make = () => ({ method: 'POST', ...init, body: body() })
        const dispatchers = client === 'the built-in fetch' ? [testAgent(t, {})] : [plain]
        await ask(dispatchers[0] as undici.Dispatcher, url, make())
        assert.equal((await ask(agent, url, make())).info?.status, 'miss')
        const [without, with_] = received.map(({ headers, content }) => {
          const boundary = /boundary=(.*)/.exec(headers['content-type'] ?? '')?.[1]
          const neutral = (value = '') => (boundary ? value.replaceAll(boundary, '') : value)
          return [
            neutral(content),
            neutral(headers['content-type']),
            headers['content-length'] === undefined || boundary !== undefined,
            boundary === undefined ? headers['content-length'] : undefined,
            headers['transfer-encoding'],
          ]
        })
        assert.deepEqual(with_, without)
        assert.equal((await ask(agent, url, make())).info?.status, 'hit')
        assert.equal(received.length, 2)
      })
    }
  }

  test('of whatever kind it is, equal content is equal', async (t) => {
    const { url, received } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    for (const [kind, body, init = {}] of ofRequest.filter(
      ([kind]) => !/FormData|Blob|nothing/.test(kind),
    )) {
      const { info } = await request(agent, url, {
        method: 'POST',
        ...init,
        body: body() as string,
      })
      assert.equal(info?.status, kind === 'text' ? 'miss' : 'hit', kind)
    }
    assert.equal(received.length, 1)
  })

  test('a form of undici and one of fetch are equal', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    await get(agent, url, { method: 'POST', body: form(FormData) as FormData })
    const body = form(undici.FormData) as undici.FormData
    assert.equal((await request(agent, url, { method: 'POST', body })).info?.status, 'hit')
  })

  test('what is uploaded twice is a hit although its boundaries differ; other bytes are not', async (t) => {
    const { url, received } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    const upload = (bytes: string, name = 'a.bin') => {
      const body = new FormData()
      body.append('file', new Blob([bytes]), name)
      return { method: 'POST', body }
    }
    const inits = [upload('one'), upload('one'), upload('two'), upload('one', 'b.bin')]
    assert.deepEqual(await outcomes(agent, url, inits), ['miss', 'hit', 'miss', 'miss'])
    const boundaries = received.map(({ headers }) => headers['content-type'])
    assert.equal(new Set(boundaries).size, 3)
  })

  test('a caller that goes on to use its buffer changes nothing', async (t) => {
    const { url, received } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    const body = Buffer.from('before')
    const answer = request(agent, url, { method: 'POST', body })
    body.fill('x')
    await answer
    assert.equal(received[0]?.content, 'before')
    assert.equal(
      (await request(agent, url, { method: 'POST', body: 'before' })).info?.status,
      'hit',
    )
    assert.equal((await request(agent, url, { method: 'POST', body })).info?.status, 'miss')
  })

  test('stream and pipeline read it as well', async (t) => {
    const { url, received } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    const piped = async () => {
      const duplex = undici.pipeline(url, { dispatcher: agent, method: 'POST' }, ({ body }) => body)
      duplex.end('question')
      return await text(duplex)
    }
    const streamed = async () => {
      const sink = new PassThrough()
      const read = text(sink)
      await undici.stream(url, { dispatcher: agent, ...POST } as never, () => sink)
      return await read
    }
    assert.deepEqual(
      [await piped(), await piped(), await streamed()],
      ['answer 1', 'answer 1', 'answer 1'],
    )
    assert.equal(received.length, 1)
  })
})

suite('Content that is not read to its end', () => {
  const LARGE = ['a', 'b', 'c'].map((letter) => letter.repeat(500_000))

  test('with more than the limit a request passes by, and the origin gets all of it', async (t) => {
    const { url, received } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    const bodies = [
      LARGE.join(''),
      Buffer.from(LARGE.join('')),
      Readable.from(LARGE),
      new Blob(LARGE),
      LARGE,
    ]
    for (const body of bodies) {
      const { info } = await request(agent, url, { method: 'POST', body: body as string })
      assert.deepEqual([info?.status, info?.reason], ['bypass', 'request-too-large'])
    }
    for (const { content } of received) assert.equal(content, LARGE.join(''))
    const fetched = await get(agent, url, { method: 'POST', body: LARGE.join('') })
    assert.equal(fetched.info?.status, 'bypass')
    assert.equal(received.length, bodies.length + 1)
    assert.equal(await agent.cache.count(), 0)
  })

  test('the limit can be another one', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, {
      expireAfter: '1h',
      allowedMethods: ['POST'],
      maxRequestContentSize: '2MB',
    })
    for (const status of ['miss', 'hit']) {
      const body = Readable.from(LARGE)
      assert.equal((await request(agent, url, { method: 'POST', body })).info?.status, status)
    }
    const small = agent.with({ maxRequestContentSize: 3 })
    for (const [body, status] of [
      ['abc', 'miss'],
      ['abc', 'hit'],
      ['abcd', 'bypass'],
    ] as const) {
      assert.equal((await request(small, url, { method: 'POST', body })).info?.status, status)
    }
  })

  test('above the limit it streams: the origin has the beginning before there is an end', async (t) => {
    const begun = Promise.withResolvers<void>()
    const { url } = await origin(t, (incoming, response) => {
      incoming.once('data', () => begun.resolve())
      incoming.resume().on('end', () => response.end('done'))
    })
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    async function* content() {
      yield* LARGE
      await begun.promise
      yield 'the end'
    }
    assert.equal(
      (await request(agent, url, { method: 'POST', body: content() as never })).body,
      'done',
    )
  })

  test('content that waits for the answer does not wait for ever', async (t) => {
    const asked = Promise.withResolvers<void>()
    const { url } = await origin(t, (incoming, response) => {
      asked.resolve()
      incoming.resume().on('end', () => response.end('done'))
    })
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    async function* content() {
      yield 'beginning'
      await asked.promise
      yield 'end'
    }
    const { body, info } = await request(agent, url, { method: 'POST', body: content() as never })
    assert.deepEqual([body, info?.reason], ['done', 'request-too-large'])
  })

  test('a request that is given up while its content is read never goes out', async (t) => {
    const { url, received } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    const stalled = new PassThrough()
    stalled.write('beginning')
    const controller = new AbortController()
    const { signal } = controller
    const asked = request(agent, url, { method: 'POST', body: stalled, signal })
    const fetched = fetchWith(agent, url, {
      method: 'POST',
      signal,
      duplex: 'half',
      body: new ReadableStream({ pull: () => new Promise(() => {}) }),
    } as RequestInit)
    setTimeout(() => controller.abort(new Error('given up')), 50)
    await assert.rejects(asked, /given up/)
    await assert.rejects(fetched, /given up/)
    assert.ok(stalled.destroyed)
    await delay(20)
    assert.deepEqual(received, [])
  })

  test('and its stream is destroyed, whoever has dispatched it', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    const body = new PassThrough()
    const failed = Promise.withResolvers<Error>()
    agent.dispatch({ origin: url, path: '/', method: 'POST', body } as never, {
      onRequestStart: (controller) =>
        setTimeout(() => controller.abort(new Error('given up')), 50) as never,
      onResponseError: (_, error) => failed.resolve(error),
    })
    assert.match((await failed.promise).message, /given up/)
    assert.ok(body.destroyed)
  })

  test('a stream that fails makes its request fail, as it would without a cache', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    const broken = () =>
      Readable.from(
        (async function* () {
          yield 'beginning'
          throw new Error('the disk is gone')
        })(),
      )
    await assert.rejects(
      request(agent, url, { method: 'POST', body: broken() }),
      /the disk is gone/,
    )
    const init = { method: 'POST', body: Readable.toWeb(broken()), duplex: 'half' }
    await assert.rejects(fetchWith(agent, url, init as never), TypeError)
    assert.equal(await agent.cache.count(), 0)
  })

  test('what undici cannot send it complains about', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    const wrong = { method: 'POST', body: { a: 1 } as never }
    await assert.rejects(request(agent, url, wrong), { code: 'UND_ERR_INVALID_ARG' })
  })

  for (const when of ['before it is read', 'while it is read']) {
    test(`so it does of a stream that is destroyed without an error ${when}`, async (t) => {
      const { url } = await contentOrigin(t)
      const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
      const body = new PassThrough()
      body.write('some')
      if (when === 'before it is read') body.destroy()
      const asked = request(agent, url, { method: 'POST', body })
      setTimeout(() => body.destroy(), 20)
      await assert.rejects(asked, { code: 'UND_ERR_ABORTED' })
      assert.equal(await agent.cache.count(), 0)
    })
  }
})

suite('Answers to other methods than GET', () => {
  const agentOf = (t: Parameters<typeof testAgent>[0], more = {}) =>
    testAgent(t, { allowedMethods: ['GET', 'POST'], ...more })

  // biome-ignore format: one rule a row
  const byOrigin: [rule: string, headers: Record<string, string>, outcome: string][] = [
    ['an explicit lifetime is one', { 'Cache-Control': 'max-age=60' }, 'hit'],
    ['Expires is one', { Expires: new Date(Date.now() + 3_600_000).toUTCString() }, 'hit'],
    ['a heuristic is none', { 'Last-Modified': 'Mon, 01 Jan 2024 00:00:00 GMT' }, 'miss'],
    ['public is none', { 'Cache-Control': 'public' }, 'miss'],
    ['nothing said is none', {}, 'miss'],
    ['a validator is of no use', { ETag: '"1"' }, 'miss'],
    ['nor is it beside no-cache', { ETag: '"1"', 'Cache-Control': 'no-cache, max-age=60' }, 'miss'],
    ['no-store is obeyed', { 'Cache-Control': 'no-store, max-age=60' }, 'miss'],
  ]
  for (const [rule, headers, outcome] of byOrigin) {
    test(`where the origin decides: ${rule}`, async (t) => {
      const { url } = await contentOrigin(t, (_, response) =>
        response.writeHead(200, headers).end('x'),
      )
      assert.deepEqual(await outcomes(agentOf(t), url, [POST, POST]), ['miss', outcome])
    })
  }

  test('they are never made conditional: to POST that means something else', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, received } = await contentOrigin(t, (_, response, count) =>
      response
        .writeHead(200, { ETag: '"1"', 'Cache-Control': 'max-age=60' })
        .end(`answer ${count}`),
    )
    const agent = agentOf(t)
    await get(agent, url, POST)
    t.mock.timers.setTime(Date.now() + 61_000)
    const { body, info } = await get(agent, url, POST)
    assert.deepEqual([body, info?.status, info?.reason], ['answer 2', 'miss', 'stale'])
    assert.equal(received[1]?.headers['if-none-match'], undefined)
    const always = agentOf(t, { expireAfter: EXPIRE_IMMEDIATELY })
    assert.deepEqual(await outcomes(always, url, [POST, POST]), ['miss', 'miss'])
    assert.equal(await always.cache.count(), 0)
  })

  test('a condition of the caller passes by', async (t) => {
    const { url, received } = await contentOrigin(t)
    const agent = agentOf(t, { expireAfter: '1h' })
    await request(agent, url, POST)
    for (const name of ['if-none-match', 'if-modified-since', 'if-match']) {
      const { info } = await request(agent, url, { ...POST, headers: { [name]: '"1"' } })
      assert.deepEqual([info?.status, info?.reason], ['bypass', 'conditional'], name)
    }
    assert.equal(received.length, 4)
  })

  test('many at the same time are one', async (t) => {
    const { url, received } = await contentOrigin(t, (_, response) =>
      setTimeout(() => response.end('x'), 50),
    )
    const agent = agentOf(t, { expireAfter: '1h' })
    const bodies = ['{"a":1,"b":2}', '{"b":2,"a":1}', '{"a":1}']
    const headers = { 'Content-Type': 'application/json' }
    await Promise.all(
      Array.from({ length: 30 }, (_, index) =>
        request(agent, url, { method: 'POST', headers, body: bodies[index % 3] as string }),
      ),
    )
    assert.equal(received.length, 2)
  })

  test('a stale one is used while it is asked for again, with its content', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const twice = Promise.withResolvers<void>()
    const { url, received } = await contentOrigin(t, (_, response, count) => {
      response.end(`answer ${count}`)
      if (count === 2) twice.resolve()
    })
    const agent = agentOf(t, { expireAfter: '1m', staleWhileRevalidate: true })
    const ask = (body: unknown) => request(agent, url, { method: 'POST', body: body as string })
    await ask(Readable.from(['ques', 'tion']))
    t.mock.timers.setTime(Date.now() + 61_000)
    const stale = await ask(Readable.from(['question']))
    assert.deepEqual([stale.body, stale.info?.status], ['answer 1', 'stale'])
    await twice.promise
    assert.equal(received[1]?.content, 'question')
    let latest = stale
    while (latest.body !== 'answer 2') {
      // Hits from memory alone would never let anything arrive.
      await delay(1)
      latest = await ask('question')
    }
    assert.equal(latest.info?.status, 'hit')
    assert.equal(received.length, 2)
  })

  test('a stale one is used instead of an error', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await contentOrigin(t, (_, response, count) =>
      response.writeHead(count === 1 ? 200 : 503).end(`answer ${count}`),
    )
    const agent = agentOf(t, { expireAfter: '1m', staleIfError: true })
    await get(agent, url, POST)
    t.mock.timers.setTime(Date.now() + 61_000)
    const { body, info } = await get(agent, url, POST)
    assert.deepEqual([body, info?.status], ['answer 1', 'stale'])
  })

  test('a request that is sent again has its content again', async (t) => {
    const { url, received } = await contentOrigin(t, (_, response, count) =>
      response.writeHead(count === 1 ? 503 : 200).end(`answer ${count}`),
    )
    const retry = undici.interceptors.retry({
      methods: ['POST'],
      minTimeout: 1,
      statusCodes: [503],
    })
    const dispatcher = new undici.Agent().compose(retry)
    const agent = agentOf(t, { expireAfter: '1h', dispatcher })
    assert.equal((await request(agent, url, POST)).status, 200)
    assert.deepEqual(
      received.map(({ content }) => content),
      ['question', 'question'],
    )
  })

  test('redirects that keep the method are followed, hop by hop', async (t) => {
    const { url, received } = await contentOrigin(t, ({ path }, response) => {
      if (path === '/from') response.writeHead(307, { Location: '/to' }).end()
      else response.end('arrived')
    })
    const agent = agentOf(t, { expireAfter: '1h' })
    for (const status of ['miss', 'hit']) {
      const { body, info, response } = await get(agent, `${url}/from`, POST)
      assert.deepEqual([body, info?.status, response.redirected], ['arrived', status, true])
    }
    assert.deepEqual(
      received.map(({ method, path, content }) => `${method} ${path} ${content}`),
      ['POST /from question', 'POST /to question'],
    )
  })

  test('a stream that is answered from the cache has ended', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = agentOf(t, { expireAfter: '1h' })
    await request(agent, url, POST)
    const body = new PassThrough()
    body.end('question')
    const closed = once(body, 'close')
    assert.equal((await request(agent, url, { method: 'POST', body })).info?.status, 'hit')
    await closed
  })
})

suite('§4.4 What an allowed method invalidates', () => {
  const answer = ({ method, path }: Received, response: import('node:http').ServerResponse) => {
    const isChange = path === '/change'
    response.writeHead(method === 'POST' && isChange ? 201 : 200, {
      ...(isChange && { Location: '/thing' }),
    })
    response.end('x')
  }

  test('nothing, if its answer is stored, or was', async (t) => {
    const { url } = await contentOrigin(t, answer)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['GET', 'POST'] })
    const other = { ...POST, body: 'other' }
    assert.deepEqual(await outcomes(agent, url, [{}, POST, {}, POST, other, {}, POST]), [
      'miss',
      'miss',
      'hit',
      'hit',
      'miss',
      'hit',
      'hit',
    ])
  })

  test('what it would otherwise, if it is not', async (t) => {
    const { url } = await contentOrigin(t, answer)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['GET', 'POST'] })
    await outcomes(agent, `${url}/change`, [{}, {}])
    await outcomes(agent, `${url}/thing`, [{}])
    const { info } = await get(agent, `${url}/change`, POST)
    assert.deepEqual([info?.status, info?.reason, info?.stored], ['miss', 'status', false])
    assert.deepEqual(await outcomes(agent, `${url}/change`, [{}]), ['miss'])
    assert.deepEqual(await outcomes(agent, `${url}/thing`, [{}]), ['miss'])
  })

  test('also if its content was too much to be stored', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, {
      expireAfter: '1h',
      allowedMethods: ['GET', 'POST'],
      maxRequestContentSize: 3,
    })
    assert.deepEqual(await outcomes(agent, url, [{}, {}, POST, {}]), [
      'miss',
      'hit',
      'bypass',
      'miss',
    ])
  })

  test('other methods invalidate as ever', async (t) => {
    const { url } = await contentOrigin(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['GET', 'POST'] })
    const put = { method: 'PUT', body: 'x' }
    assert.deepEqual(await outcomes(agent, url, [{}, POST, put, {}, POST]), [
      'miss',
      'miss',
      'bypass',
      'miss',
      'hit',
    ])
  })
})
