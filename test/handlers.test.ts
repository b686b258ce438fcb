import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { cacheInfo, type KeyvAdapterLike } from 'caching-agent'
import * as undici from 'undici'
import { adapter } from './helpers/adapter.ts'
import { fetchWith, get, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { listen, origin } from './helpers/origin.ts'

const MEBIBYTE = 1024 * 1024

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** A store adapter whose reads take their time. */
function slowStore(milliseconds: number): KeyvAdapterLike {
  const map = new Map<string, unknown>()
  const get = async (key: string) => {
    await delay(milliseconds)
    return map.get(key)
  }
  return adapter({ get }, map)
}

/** An origin of content that is not going to be stored, as it turns out, and how much of it has been sent. */
async function tooLarge(t: TestContext) {
  const sent = { bytes: 0, most: 100 * MEBIBYTE }
  const { url } = await origin(t, async (_, response) => {
    response.on('error', () => {})
    while (sent.bytes < sent.most) {
      sent.bytes += MEBIBYTE
      if (!response.write(Buffer.alloc(MEBIBYTE))) await once(response, 'drain')
    }
    response.end()
  })
  return { url, sent, agent: testAgent(t, { expireAfter: '1h', maxContentSize: '5MB' }) }
}

suite('abort', () => {
  test('during the lookup rejects at once, and nothing is sent', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h', store: slowStore(450) })
    for (const request of [
      (signal: AbortSignal) => fetchWith(agent, url, { signal }),
      (signal: AbortSignal) => undici.fetch(url, { signal, dispatcher: agent }),
      (signal: AbortSignal) => undici.request(url, { signal, dispatcher: agent }),
    ]) {
      const start = performance.now()
      await assert.rejects(request(AbortSignal.timeout(20)), { name: /TimeoutError|AbortError/ })
      assert.ok(performance.now() - start < 400, 'it waited for the store')
    }
    await delay(600)
    assert.equal(seen.length, 0)
  })

  test('before anything else rejects', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    const signal = AbortSignal.abort()
    await assert.rejects(fetchWith(agent, url, { signal }), { name: 'AbortError' })
    await assert.rejects(undici.request(url, { signal, dispatcher: agent }), { name: 'AbortError' })
    await get(agent, url)
    await assert.rejects(fetchWith(agent, url, { signal }), { name: 'AbortError' })
    await assert.rejects(undici.request(url, { signal, dispatcher: agent }), { name: 'AbortError' })
    assert.equal(seen.length, 1)
  })

  test('while the origin is silent closes the connection', async (t) => {
    const { url, seen } = await origin(t, () => {})
    const agent = testAgent(t, { expireAfter: '1h' })
    const controller = new AbortController()
    const pending = fetchWith(agent, url, { signal: controller.signal })
    while (seen.length === 0) await delay(5)
    const closed = once(seen[0]?.socket as NonNullable<unknown> as never, 'close')
    controller.abort()
    await assert.rejects(pending, { name: 'AbortError' })
    await closed
  })

  test('during validation closes the connection', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      if (request.headers['if-none-match']) return
      response.setHeader('ETag', '"a"')
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: 0 })
    await get(agent, url)
    const controller = new AbortController()
    const pending = fetchWith(agent, url, { signal: controller.signal })
    while (seen.length < 2) await delay(5)
    const closed = once(seen[1]?.socket as NonNullable<unknown> as never, 'close')
    controller.abort()
    await assert.rejects(pending, { name: 'AbortError' })
    await closed
  })

  test('during playback ends it', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end(Buffer.alloc(4 * MEBIBYTE)))
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const controller = new AbortController()
    const response = await fetchWith(agent, url, { signal: controller.signal })
    const reader = (response.body as ReadableStream).getReader()
    await reader.read()
    controller.abort()
    await assert.rejects(
      async () => {
        while (!(await reader.read()).done);
      },
      { name: 'AbortError' },
    )
    const { body } = await undici.request(url, { dispatcher: agent })
    body.on('error', () => {})
    body.destroy()
    assert.equal((await get(agent, url)).body.length, 4 * MEBIBYTE)
    assert.equal(seen.length, 1)
  })

  test('in the middle of the content stores nothing, and the next request gets all of it', async (t) => {
    const { url } = await origin(t, (_, response, count) => {
      response.write(Buffer.alloc(MEBIBYTE))
      if (count > 1) response.end()
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const response = await fetchWith(agent, url)
    const reader = (response.body as ReadableStream).getReader()
    await reader.read()
    await reader.cancel()
    await delay(20)
    assert.equal(await agent.cache.count(), 0)
    const { body, info } = await get(agent, url)
    assert.deepEqual([body.length, info?.status], [MEBIBYTE, 'miss'])
  })
})

suite('incomplete responses', () => {
  test('are told to the caller, and not stored', async (t) => {
    const { url } = await origin(t, (_, response, count) => {
      if (count > 1) return response.end('all of it')
      response.writeHead(200, { 'Content-Length': '100' })
      response.write('some of it')
      return setTimeout(() => response.destroy(), 20)
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    await assert.rejects(get(agent, url))
    assert.equal(await agent.cache.count(), 0)
    assert.equal((await get(agent, url)).body, 'all of it')
  })
})

suite('backpressure', () => {
  test('a caller that does not read pauses the origin', async (t) => {
    let written = 0
    const { url } = await origin(t, (_, response) => {
      const write = () => {
        while (written < 64 && response.write(Buffer.alloc(MEBIBYTE))) written += 1
        written += 1
        if (written < 64) response.once('drain', write)
        else response.end()
      }
      write()
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const response = await fetchWith(agent, url)
    await delay(200)
    assert.ok(written < 32, `the origin could write ${written} MiB`)
    assert.ok((await response.arrayBuffer()).byteLength >= 63 * MEBIBYTE)
  })

  test('a caller that does not read pauses playback', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(32 * MEBIBYTE)))
    const agent = testAgent(t, { expireAfter: '1h' })
    await (await fetchWith(agent, url)).arrayBuffer()
    const { body, headers } = await undici.request(url, { dispatcher: agent })
    assert.equal(cacheInfo({ headers })?.status, 'hit')
    await delay(50)
    assert.ok(body.readableLength <= MEBIBYTE, `${body.readableLength} bytes were delivered`)
    assert.equal((await body.arrayBuffer()).byteLength, 32 * MEBIBYTE)
  })

  test('a slow reader gets each byte of a hit, in order', async (t) => {
    const bytes = Buffer.from(Array.from({ length: 700_000 }, (_, index) => (index * 31) % 251))
    const { url } = await origin(t, (_, response) => response.end(bytes))
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const { body } = await undici.request(url, { dispatcher: agent, highWaterMark: 1024 })
    const parts: Buffer[] = []
    for await (const part of body as AsyncIterable<Buffer>) {
      parts.push(part)
      await delay(1)
    }
    assert.ok(Buffer.concat(parts).equals(bytes))
  })
})

suite('what is not plain requests', () => {
  test('upgrades pass by, also where a GET of the same URL is stored', async (t) => {
    const { createServer } = await import('node:http')
    const server = createServer((_, response) => response.end('content'))
    server.on('upgrade', (_, socket) => {
      socket.end(
        'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello',
      )
    })
    server.on('connect', (_, socket) => socket.end('HTTP/1.1 200 OK\r\n\r\nhello'))
    const url = await listen(t, server)
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const upgraded = await undici.upgrade(url, { dispatcher: agent, protocol: 'echo' })
    assert.equal((await once(upgraded.socket, 'data')).toString(), 'hello')
    const connected = await undici.connect(url, { dispatcher: agent })
    assert.equal(connected.statusCode, 200)
    assert.equal((await once(connected.socket, 'data')).toString(), 'hello')
  })

  test('a field of any name is relayed, on misses and hits', async (t) => {
    const lines = ['HTTP/1.1 200 OK', '__proto__: a', 'constructor: b', 'content-length: 0', '', '']
    const server = createServer().on('connection', (socket) => {
      socket.once('data', () => socket.end(lines.join('\r\n')))
    })
    const url = await listen(t, server)
    const agent = testAgent(t, { expireAfter: '1h' })
    for (const status of ['miss', 'hit']) {
      const { response, info } = await get(agent, url)
      assert.equal(info?.status, status)
      const { headers } = response
      assert.deepEqual([headers.get('__proto__'), headers.get('constructor')], ['a', 'b'])
    }
  })

  test('informational responses are relayed', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.writeEarlyHints({ link: '</style.css>; rel=preload' })
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const hints: number[] = []
    const { body } = await undici.request(url, {
      dispatcher: agent,
      onInfo: ({ statusCode }) => hints.push(statusCode),
    })
    assert.equal(await body.text(), 'content')
    assert.deepEqual(hints, [103])
  })

  test('an interceptor under the cache that rejects fails its request, and leaves nobody waiting', async (t) => {
    const rejecting = (_options: unknown, _handler: unknown) =>
      Promise.reject(new Error('rejected'))
    const dispatcher = new undici.Agent().compose(() => rejecting as never)
    const agent = testAgent(t, { expireAfter: '1h', dispatcher })
    await assert.rejects(undici.request('http://127.0.0.1:1/', { dispatcher: agent }), /rejected/)
    assert.equal(agent.cache.flights.size, 0)
  })

  test('a 504 for only-if-cached waits while it is paused', async (t) => {
    const agent = testAgent(t, { expireAfter: '1h' })
    const events: string[] = []
    const { promise, resolve } = Promise.withResolvers<undici.Dispatcher.DispatchController>()
    const handler: undici.Dispatcher.DispatchHandler = {
      onRequestStart() {},
      onResponseStart(controller, status) {
        events.push(String(status))
        controller.pause()
        resolve(controller)
      },
      onResponseEnd: () => events.push('end'),
      onResponseError: () => events.push('error'),
    }
    const headers = { 'cache-control': 'only-if-cached' }
    agent.dispatch({ origin: 'http://127.0.0.1:1', path: '/', method: 'GET', headers }, handler)
    const controller = await promise
    await delay(10)
    assert.deepEqual(events, ['504'])
    controller.resume()
    await delay(10)
    assert.deepEqual(events, ['504', 'end'])
  })

  test('a request that cannot be sent is told to its caller', async (t) => {
    const agent = testAgent(t, { expireAfter: '1h' })
    await assert.rejects(fetchWith(agent, 'http://127.0.0.1:1/'), TypeError)
    await assert.rejects(undici.request('http://127.0.0.1:1/', { dispatcher: agent }), {
      code: 'ECONNREFUSED',
    })
    const invalid = agent.request({
      origin: 'http://127.0.0.1:1',
      path: '/',
      method: 'GET',
      headers: { 'bad header': 'x' },
    })
    await assert.rejects(invalid, { code: 'UND_ERR_INVALID_ARG' })
  })

  test('an interceptor under the cache that throws fails its request, and leaves nobody waiting', async (t) => {
    const dispatcher = new undici.Agent().compose(() => (_options, _handler) => {
      throw new Error('thrown by an interceptor')
    })
    const agent = testAgent(t, { expireAfter: '1h', dispatcher })
    const requests = Array.from({ length: 3 }, () =>
      undici.request('http://127.0.0.1:1/', { dispatcher: agent }),
    )
    for (const { status } of await Promise.allSettled(requests)) assert.equal(status, 'rejected')
    assert.equal(agent.cache.flights.size, 0)
  })

  test('a dispatch without a method is refused as undici does', async (t) => {
    const agent = testAgent(t, { expireAfter: '1h' })
    const options = { origin: 'http://127.0.0.1:1', path: '/' } as undici.Dispatcher.RequestOptions
    await assert.rejects(agent.request(options), { code: 'UND_ERR_INVALID_ARG' })
  })

  test('headers that are none are refused as undici does', async (t) => {
    const agent = testAgent(t, { expireAfter: '1h' })
    const where = { origin: 'http://127.0.0.1:1', path: '/', method: 'GET' } as const
    for (const headers of ['x', 1, true] as never[]) {
      await assert.rejects(agent.request({ ...where, headers }), { code: 'UND_ERR_INVALID_ARG' })
    }
  })

  test('a handler without callbacks of either kind is refused as undici does', (t) => {
    const agent = testAgent(t, { expireAfter: '1h' })
    const options = { origin: 'http://127.0.0.1:1', path: '/', method: 'GET' as const }
    assert.throws(() => agent.dispatch(options, null as never), /handler/)
    assert.throws(() => agent.dispatch(options, {} as never), /onRequestStart/)
  })

  test('an error thrown by the caller’s handler is told to that handler, on misses and hits', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    for (const callback of ['onResponseStart', 'onResponseData', 'onResponseEnd']) {
      for (let round = 0; round < 2; round++) {
        const { promise, resolve } = Promise.withResolvers<Error>()
        const handler = {
          onRequestStart() {},
          onResponseStart() {},
          onResponseData() {},
          onResponseEnd() {},
          onResponseError: (_: unknown, error: Error) => resolve(error),
          [callback]: () => {
            throw new Error(`thrown by ${callback}`)
          },
        }
        agent.dispatch({ origin: url, path: `/${callback}`, method: 'GET' }, handler)
        assert.equal((await promise).message, `thrown by ${callback}`)
        await get(agent, `${url}/${callback}`)
      }
    }
  })

  test('what arrives in one turn of the event loop is delivered before any of it is stored', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const ends: (() => void)[] = []
    const dispatcher = new undici.Agent().compose((dispatch) => (options, handler) => {
      const onResponseEnd = handler.onResponseEnd?.bind(handler)
      handler.onResponseEnd = (...args) => ends.push(() => onResponseEnd?.(...args))
      return dispatch(options, handler)
    })
    const told: string[] = []
    const store = adapter({ set: async () => told.push('stored') > 0 })
    const agent = testAgent(t, { expireAfter: '1h', dispatcher, store })
    for (const path of ['/1', '/2']) {
      agent.dispatch(
        { origin: url, path, method: 'GET' },
        {
          onRequestStart() {},
          onResponseStart() {},
          onResponseData() {},
          onResponseEnd: () => told.push('delivered'),
        },
      )
    }
    while (ends.length < 2) await delay(1)
    ends[0]?.()
    // All that needs no other turn has its time in between, as it has between two reads of sockets.
    for (let time = 0; time < 1000; time++) await undefined
    ends[1]?.()
    await agent.cache.responses.settled()
    assert.deepEqual(told, ['delivered', 'delivered', 'stored', 'stored'])
  })

  test('what arrives in one turn of the event loop is stored, however much it is', async (t) => {
    const mock = new undici.MockAgent()
    const pool = mock.get('http://example.com')
    pool.intercept({ path: '/late' }).reply(200, 'late').delay(1000)
    pool.intercept({ path: /\d/ }).reply(200, 'x'.repeat(60_000)).persist()
    const agent = testAgent(t, { expireAfter: '1h', dispatcher: mock })
    const read = async (path: string) =>
      (await undici.request(`http://example.com${path}`, { dispatcher: agent })).body.text()
    const late = read('/late')
    // None of them waits for anything but what needs no other turn.
    for (let number = 0; number < 700; number++) await read(`/${number}`)
    assert.equal(await agent.cache.count({ largerThan: 1000 }), 700)
    await late
  })

  for (const [what, maxContentSize] of [
    ['stored', '10MB'],
    ['not stored', '1MB'],
  ] as const) {
    test(`nothing of large content is kept in memory that has been received and is ${what}`, async (t) => {
      const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(2 * MEBIBYTE)))
      const store = `sqlite://${join(folder(), 'cache.sqlite')}`
      const agent = testAgent(t, { store, memory: false, expireAfter: '1h', maxContentSize })
      const held = async (from: number) => {
        for (let number = from; number < from + 20; number++) {
          const { body } = await undici.request(`${url}/${number}`, { dispatcher: agent })
          assert.equal((await body.arrayBuffer()).byteLength, 2 * MEBIBYTE)
        }
        await agent.cache.responses.settled()
        for (let round = 0; round < 3; round++) {
          await delay(50)
          collectGarbage()
        }
        return process.memoryUsage().arrayBuffers
      }
      const before = await held(0)
      const grown = (await held(100)) - before
      assert.ok(grown < 10 * MEBIBYTE, `${grown} bytes more`)
    })
  }

  test('whoever keeps the controller of a request that has ended keeps nothing else of it', async (t) => {
    const { url } = await origin(t, (request, response) => {
      if (request.url === '/broken') response.destroy()
      else response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const ask = (path: string) =>
      new Promise<{ controller: unknown; handler: WeakRef<object> }>((resolve) => {
        const settle = (controller: unknown) =>
          resolve({ controller, handler: new WeakRef(handler) })
        const handler = {
          onRequestStart() {},
          onResponseStart() {},
          onResponseData() {},
          onResponseEnd: settle,
          onResponseError: settle,
        }
        agent.dispatch({ origin: url, path, method: 'GET' }, handler)
      })
    const kept = [await ask('/'), await ask('/'), await ask('/broken')]
    for (let time = 0; time < 100 && kept.some(({ handler }) => handler.deref()); time++) {
      await delay(10)
      collectGarbage()
    }
    assert.deepEqual(
      kept.map(({ controller, handler }) => [typeof controller, handler.deref()]),
      Array(3).fill(['object', undefined]),
    )
  })

  test('a stream that fails before it shows whether it has content fails its own request only', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    const body = new Readable({ read: () => body.destroy(new Error('the stream failed')) })
    const request = undici.request(url, { dispatcher: agent, method: 'GET', body })
    await assert.rejects(request)
    assert.equal((await get(agent, url)).body, 'content')
  })

  test('a stream that has ended already is no content', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const body = Readable.from([])
    for await (const _ of body);
    const response = await undici.request(url, { dispatcher: agent, method: 'GET', body })
    assert.equal(await response.body.text(), 'content')
    assert.equal(seen.length, 1)
  })

  test('headers in every shape that undici accepts count for the key and for conditions', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Vary', 'X-Test')
      response.setHeader('ETag', '"a"')
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: 0 })
    const shapes = [
      { 'X-Test': 'one' },
      ['x-test', 'one'],
      new Map([['X-TEST', 'one']]),
      new undici.Headers([['x-test', 'one']]),
      Object.assign(Object.create(null), { 'x-test': ['one'] }),
    ]
    for (const headers of shapes) {
      const { body } = await undici.request(url, { dispatcher: agent, headers })
      await body.dump()
    }
    assert.deepEqual(
      seen.map(({ headers }) => headers['if-none-match']),
      [undefined, '"a"', '"a"', '"a"', '"a"'],
    )
    assert.ok(seen.every(({ headers }) => headers['x-test'] === 'one'))
    await agent.cache.count()
    assert.equal(await agent.cache.count(), 1)
  })

  test('path and query given apart are one URL', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    for (const options of [{ path: '/x?b=1&a=2' }, { path: '/x', query: { a: '2', b: 1 } }]) {
      const { body } = await agent.request({ origin: url, method: 'GET', ...options })
      await body.dump()
    }
    assert.equal(seen.length, 1)
  })
})

suite('identical requests at the same time', () => {
  test('make one request to the origin', async (t) => {
    const { url, seen } = await origin(t, async (_, response) => {
      await delay(50)
      response.end(Buffer.alloc(3 * MEBIBYTE, 'x'))
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const all = await Promise.all(Array.from({ length: 10 }, () => fetchWith(agent, url)))
    // In the opposite order: the first one, whose request it is, is read last.
    for (const response of all.reverse()) {
      assert.equal((await response.arrayBuffer()).byteLength, 3 * MEBIBYTE)
    }
    assert.equal(seen.length, 1)
    assert.equal(all.filter((response) => cacheInfo(response)?.collapsed).length, 9)
    assert.equal(agent.cache.flights.size, 0)
  })

  test('that find a stale response make one validation', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await origin(t, async (request, response) => {
      const isValid = request.headers['if-none-match'] === '"a"'
      await delay(30)
      response.writeHead(isValid ? 304 : 200, { ETag: '"a"', 'Cache-Control': 'max-age=60' })
      response.end(isValid ? undefined : 'content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    t.mock.timers.tick(61_000)
    const all = await Promise.all(Array.from({ length: 5 }, () => get(agent, url)))
    assert.ok(all.every(({ body, status }) => body === 'content' && status === 200))
    assert.equal(seen.length, 2)
  })

  test('go out in parallel once the answer to the first proves to be of no use to them', async (t) => {
    let most = 0
    let current = 0
    const { url, seen } = await origin(t, async (_, response) => {
      current += 1
      most = Math.max(most, current)
      await delay(300)
      current -= 1
      response.setHeader('Cache-Control', 'no-store')
      response.end('content')
    })
    const agent = testAgent(t)
    const start = performance.now()
    await Promise.all(Array.from({ length: 10 }, () => get(agent, url)))
    assert.equal(seen.length, 10)
    assert.equal(most, 9)
    assert.ok(performance.now() - start < 2000, 'they waited for one another')
    await Promise.all(Array.from({ length: 10 }, () => get(agent, url)))
    assert.equal(most, 10, 'the second time nobody waits')
  })

  test('are kept apart by credentials and by Vary', async (t) => {
    const { url, seen } = await origin(t, async (request, response) => {
      await delay(30)
      response.setHeader('Vary', 'Accept-Language')
      response.end(`${request.headers.authorization} ${request.headers['accept-language']}`)
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const asked = ['a', 'a', 'b', 'b'].flatMap((authorization) =>
      ['de', 'en'].map((language) => ({ authorization, 'accept-language': language })),
    )
    const all = await Promise.all(asked.map((headers) => get(agent, url, { headers })))
    assert.deepEqual(
      all.map(({ body }) => body),
      asked.map((headers) => `${headers.authorization} ${headers['accept-language']}`),
    )
    assert.ok(seen.length <= 6)
  })

  test('survive the failure of the first', async (t) => {
    const { url } = await origin(t, (_, response, count) => {
      if (count > 1) return response.end('content')
      return setTimeout(() => response.destroy(), 30)
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const all = await Promise.allSettled(Array.from({ length: 5 }, () => get(agent, url)))
    assert.deepEqual(
      all.map(({ status }) => status),
      ['rejected', 'fulfilled', 'fulfilled', 'fulfilled', 'fulfilled'],
    )
    assert.equal(agent.cache.flights.size, 0)
  })

  test('survive the abort of the first, before and during the content', async (t) => {
    const aborted = Promise.withResolvers<void>()
    const { url, seen } = await origin(t, async (request, response) => {
      if (request.url === '/before') await aborted.promise
      response.write(Buffer.alloc(MEBIBYTE))
      if (request.url === '/during') await delay(60)
      response.end(Buffer.alloc(MEBIBYTE))
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const before = new AbortController()
    const first = fetchWith(agent, `${url}/before`, { signal: before.signal })
    const others = Array.from({ length: 3 }, () => get(agent, `${url}/before`))
    while (seen.length === 0) await delay(5)
    before.abort()
    await assert.rejects(first, { name: 'AbortError' })
    aborted.resolve()
    assert.ok((await Promise.all(others)).every(({ body }) => body.length === 2 * MEBIBYTE))
    assert.equal(seen.length, 2)

    const during = new AbortController()
    const leader = await fetchWith(agent, `${url}/during`, { signal: during.signal })
    const followers = Array.from({ length: 3 }, () => get(agent, `${url}/during`))
    await delay(20)
    during.abort()
    await assert.rejects(leader.arrayBuffer(), { name: 'AbortError' })
    assert.ok((await Promise.all(followers)).every(({ body }) => body.length === 2 * MEBIBYTE))
    assert.equal(seen.length, 3)
  })

  test('when all of them have gone, the connection is closed', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      const timer = setInterval(() => response.write('more'), 5)
      response.on('close', () => clearInterval(timer))
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const all = await Promise.all([fetchWith(agent, url), fetchWith(agent, url)])
    const closed = once(seen[0]?.socket as NonNullable<unknown> as never, 'close')
    for (const response of all) await response.body?.cancel()
    await closed
    assert.equal(seen.length, 1)
    assert.equal(await agent.cache.count(), 0)
  })

  test('one that validates a response which is still arriving strands nobody', async (t) => {
    const { url } = await origin(t, (request, response) => {
      const isValid = request.headers['if-none-match'] === '"1"'
      response.writeHead(isValid ? 304 : 200, { ETag: '"1"', 'Cache-Control': 'max-age=0' })
      response.end(isValid ? undefined : Buffer.alloc(MEBIBYTE))
    })
    const agent = testAgent(t)
    const leader = await undici.request(url, { dispatcher: agent })
    await delay(50)
    const { body, info } = await get(agent, url)
    assert.deepEqual([body.length, info?.status], [MEBIBYTE, 'revalidated'])
    assert.equal((await leader.body.arrayBuffer()).byteLength, MEBIBYTE)
    await agent.cache.responses.settled()
    assert.equal((await agent.cache.get(url))?.size, MEBIBYTE)
  })

  test('one that asks for a new answer does not get one that was under way', async (t) => {
    const { url, seen } = await origin(t, async (_, response) => {
      await delay(30)
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    await Promise.all([
      get(agent, url),
      get(agent, url, { headers: { 'cache-control': 'no-cache' } }),
      get(agent, url, { headers: { 'cache-control': 'max-age=0' } }),
    ])
    assert.equal(seen.length, 3)
  })

  test('who are all slow hold up what is not going to be stored', async (t) => {
    const { url, agent, sent } = await tooLarge(t)
    const both = [await undici.request(url, { dispatcher: agent })]
    both.push(await undici.request(url, { dispatcher: agent }))
    for (let before = -1; sent.bytes !== before; await delay(200)) before = sent.bytes
    assert.ok(sent.bytes < 40 * MEBIBYTE, `${sent.bytes} bytes were sent to nobody who reads`)
    const lengths = both.map(async ({ body }) => (await body.arrayBuffer()).byteLength)
    assert.deepEqual(await Promise.all(lengths), [sent.most, sent.most])
  })

  test('of which one waits for the end of the other get all of what is not going to be stored', async (t) => {
    const { url, agent, sent } = await tooLarge(t)
    const { body: one } = await undici.request(url, { dispatcher: agent })
    const { body: other } = await undici.request(url, { dispatcher: agent })
    for (const body of [other, one]) assert.equal((await body.arrayBuffer()).byteLength, sent.most)
  })

  test('a late one does not join a stream that seems to have no end', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await origin(t, (_, response, count) => response.write(`event ${count}`))
    const agent = testAgent(t, { expireAfter: '1h' })
    for (const count of [1, 2]) {
      const response = await fetchWith(agent, url)
      const { value } = await (response.body as ReadableStream<Uint8Array>).getReader().read()
      assert.equal(Buffer.from(value as Uint8Array).toString(), `event ${count}`)
      t.mock.timers.tick(6000)
    }
    assert.equal(seen.length, 2)
  })

  test('a late one joins a response that is still arriving', async (t) => {
    const { url, seen } = await origin(t, async (_, response) => {
      for (let index = 0; index < 10; index++) {
        response.write(Buffer.alloc(100_000, String(index)))
        await delay(10)
      }
      response.end()
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const first = await fetchWith(agent, url)
    await delay(40)
    const second = await get(agent, url)
    assert.equal(second.body.length, 1_000_000)
    assert.equal(await first.text(), second.body)
    assert.equal(seen.length, 1)
  })
})
