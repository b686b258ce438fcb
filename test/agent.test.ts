import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type AgentOptions, cacheInfo, cachingAgent, HttpCache, install } from 'caching-agent'
import * as undici from 'undici'
import { adapter } from './helpers/adapter.ts'
import { fetchWith, get, outcomes, requestText, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { listen, origin } from './helpers/origin.ts'

const run = promisify(execFile)

suite('install', () => {
  test('caches what fetch and undici request, and restores what was there before', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const before = undici.getGlobalDispatcher()
    const installation = install({ store: 'memory:', expireAfter: '1h' })
    await (await fetch(url)).text()
    assert.equal(cacheInfo(await fetch(url))?.status, 'hit')
    assert.equal(cacheInfo(await undici.fetch(url))?.status, 'hit')
    const { headers, body } = await undici.request(url)
    await body.dump()
    assert.equal(cacheInfo({ headers })?.status, 'hit')
    assert.equal(await installation.cache.count(), 1)
    await installation[Symbol.asyncDispose]()
    assert.equal(undici.getGlobalDispatcher(), before)
    assert.equal(cacheInfo(await fetch(url)), undefined)
    assert.equal(seen.length, 2)
  })

  test('nests: each restores what it found', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    install({ store: 'memory:' })[Symbol.dispose]()
    const outer = install({ store: 'memory:', expireAfter: '1h' })
    const inner = install({ store: 'memory:', expireAfter: '1h' })
    await (await fetch(url)).text()
    await inner.uninstall()
    assert.equal(undici.getGlobalDispatcher(), outer.agent)
    assert.equal(await outer.agent.cache.count(), 0)
    assert.equal((await fetch(url)).ok, true)
    await outer.uninstall()
    await outer.uninstall()
    assert.equal(cacheInfo(await fetch(url)), undefined)
  })

  test('leaves alone a dispatcher that somebody else has set since', async () => {
    const before = undici.getGlobalDispatcher()
    const installation = install({ store: 'memory:' })
    const other = new undici.Agent()
    undici.setGlobalDispatcher(other)
    await installation.uninstall()
    assert.equal(undici.getGlobalDispatcher(), other)
    undici.setGlobalDispatcher(before)
    await other.close()
  })
})

suite('an agent', () => {
  test('is a dispatcher: request, stream and compose are its own methods', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    assert.ok(agent instanceof undici.Dispatcher)
    for (let round = 0; round < 2; round++) {
      const { body } = await agent.request({ origin: url, path: '/', method: 'GET' })
      assert.equal(await body.text(), 'content')
    }
    assert.equal(seen.length, 1)
  })

  // What a store takes for ever to write is answered from what is known of it meanwhile.
  for (const [what, length, isStored] of [
    ['what is stored', 1, true],
    ['what is being written', 1, false],
    ['large content that is being written', 300_000, false],
  ] as const) {
    test(`leaves others their turns, however many hits of ${what} follow each other`, async (t) => {
      const { url } = await origin(t, (_, response) => response.end('x'.repeat(length)))
      const store = adapter(isStored ? {} : { set: () => new Promise(() => {}) })
      const agent = testAgent(t, { expireAfter: '1h', store, deadlines: { write: 1000 } })
      await get(agent, url)
      if (isStored) await agent.cache.responses.settled()
      let turns = 0
      const count = () => {
        turns += 1
        next = setImmediate(count)
      }
      let next = setImmediate(count)
      t.after(() => clearImmediate(next))
      for (let hits = 0; hits < 2000; hits++) {
        const { body } = await undici.request(url, { dispatcher: agent })
        assert.equal((await body.arrayBuffer()).byteLength, length)
      }
      assert.ok(turns > 10, `${turns} turns in 2000 hits`)
    })
  }

  test('with() shares everything, and closing what it returns closes nothing', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h' })
    const derived = agent.with({ expireAfter: '2h' }).with({ cacheControl: false })
    assert.equal(derived.cache, agent.cache)
    const { info } = await get(derived, url)
    assert.ok((info?.ttl as number) > 3_700_000)
    await derived.close()
    await derived.destroy()
    await new Promise<void>((resolve) => derived.close(resolve))
    assert.equal((await get(agent, url)).info?.status, 'hit')
    assert.throws(() => agent.with({ expireAfter: 'soon' }), /with.expireAfter: expected/)
    assert.throws(
      () => agent.with({ urlsExpireAfter: {} } as never),
      /with: unknown option "urlsExpireAfter"/,
    )
  })

  test('close() lets requests end, and writes what they brought', async (t) => {
    const { url } = await origin(t, async (_, response) => {
      response.write('con')
      await delay(50)
      response.end('tent')
    })
    const map = new Map<string, unknown>()
    const agent = cachingAgent({ expireAfter: '1h', store: map })
    const response = await fetchWith(agent, url)
    const closed = agent.close()
    assert.equal(await response.text(), 'content')
    await closed
    assert.equal(map.size, 1)
    await assert.rejects(fetchWith(agent, `${url}/2`), TypeError)
  })

  test('close() waits for what the cache itself is still doing', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(1_000_000)))
    const agent = cachingAgent({ expireAfter: '1h', store: 'sqlite://:memory:' })
    await get(agent, url)
    const hit = await undici.request(url, { dispatcher: agent })
    const early = undici.request(`${url}/early`, { dispatcher: agent })
    const closed = Promise.all([agent.close(), agent.close()])
    assert.equal((await hit.body.arrayBuffer()).byteLength, 1_000_000)
    assert.equal((await (await early).body.arrayBuffer()).byteLength, 1_000_000)
    await closed
  })

  test('destroy() aborts hits as well', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(1_000_000)))
    const agent = cachingAgent({ expireAfter: '1h', store: 'memory:' })
    await get(agent, url)
    const { body } = await undici.request(url, { dispatcher: agent })
    const read = assert.rejects(body.arrayBuffer(), { code: 'UND_ERR_DESTROYED' })
    await agent.destroy()
    await read
  })

  test('close() and destroy() take callbacks, as those of undici do', async () => {
    await new Promise<void>((resolve) => cachingAgent({ store: 'memory:' }).close(resolve))
    await new Promise<void>((resolve) => cachingAgent({ store: 'memory:' }).destroy(resolve))
    await new Promise<void>((resolve) => cachingAgent({ store: 'memory:' }).destroy(null, resolve))
    await cachingAgent({ store: 'memory:' })[Symbol.asyncDispose]()
  })

  test('does not close a cache that it was given', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const cache = new HttpCache({ store: 'sqlite://:memory:' })
    t.after(() => cache[Symbol.asyncDispose]())
    const first = cachingAgent({ cache, expireAfter: '1h' })
    await get(first, url)
    await first.close()
    assert.equal(await cache.count(), 1)
    const second = testAgent(t, { cache, expireAfter: '1h' })
    assert.equal((await get(second, url)).info?.status, 'hit')
  })

  test('a cache that is closed lets hits end that are being played', async (t) => {
    const content = Buffer.alloc(10_000_000, 'x')
    const { url } = await origin(t, (_, response) => response.end(content))
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const cache = new HttpCache({ store, memory: false })
    const agent = testAgent(t, { cache, expireAfter: '1h' })
    await get(agent, url)
    await cache.responses.settled()
    const { headers, body } = await undici.request(url, { dispatcher: agent })
    assert.equal(cacheInfo({ headers })?.status, 'hit')
    await once(body, 'readable')
    const closed = cache.close()
    await delay(50)
    assert.ok(content.equals(Buffer.from(await body.arrayBuffer())))
    await closed
  })

  test('a cache that is closed waits for a hit that nobody reads, but not for ever', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(2_000_000)))
    const program = `
      import { cacheInterceptor, HttpCache } from 'caching-agent'
      import { Agent, request } from 'undici'
      const [store, url] = process.argv.slice(1)
      const cache = new HttpCache({ store, memory: false })
      const inner = new Agent()
      const dispatcher = inner.compose(cacheInterceptor({ cache, expireAfter: '1h' }))
      await (await request(url, { dispatcher })).body.arrayBuffer()
      await cache.count()
      await inner.close()
      const { body } = await request(url, { dispatcher })
      await cache.close()
      console.log('closed')
    `
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const args = ['--conditions=source', '--no-warnings', '--input-type=module', '-e', program]
    const { stdout } = await run(process.execPath, [...args, store, url])
    assert.equal(stdout, 'closed\n')
  })

  test('passes on the events of its dispatcher', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t)
    const connected = once(agent, 'connect')
    await get(agent, url)
    const [connectedTo] = await connected
    assert.equal(connectedTo.origin, url)
  })
})

suite('bad options are refused at construction, naming the option and what was got', () => {
  const bad: [object, RegExp][] = [
    [
      { expiresAfter: '1h' },
      /cachingAgent: unknown option "expiresAfter"; the options are .*expireAfter/,
    ],
    [{ expireAfter: 'tomorrow' }, /expireAfter: expected .*got 'tomorrow'/],
    [{ expireAfter: '60' }, /expireAfter: .*got '60' \(say the unit/],
    [{ expireAfter: Number.NaN }, /expireAfter: expected .*got NaN/],
    [{ expireAfter: -5 }, /expireAfter: expected .*got -5/],
    [{ expireAfter: {} }, /expireAfter: expected .*got \{\}/],
    [{ expireAfter: new Date('never') }, /expireAfter: expected .*got Invalid Date/],
    [{ urlsExpireAfter: '1h' }, /urlsExpireAfter: expected an object/],
    [{ urlsExpireAfter: { 'a b': '1h' } }, /urlsExpireAfter\['a b'\]: expected a URL pattern/],
    [{ urlsExpireAfter: { 'a.com': 'x' } }, /urlsExpireAfter\['a.com'\]: expected .*got 'x'/],
    [
      { urlsExpireAfter: { 'a.com': { expire: 1 } } },
      /urlsExpireAfter\['a.com'\]: unknown option "expire"/,
    ],
    [{ urlsExpireAfter: [['a.com']] }, /expected pairs/],
    [{ urlsExpireAfter: [[42, '1h']] }, /expected a pattern, a RegExp/],
    [{ cacheControl: 'yes' }, /cacheControl: expected a boolean, got 'yes'/],
    [{ cacheStatus: 1 }, /cacheStatus: expected a boolean, got 1/],
    [
      { partitionBy: 'cookie' },
      /partitionBy: expected an array of field names, or false, got 'cookie'/,
    ],
    [{ store: 'mysql://x' }, /store: expected .*got 'mysql:\/\/x'/],
    [{ store: 'sqlite://' }, /store: expected "sqlite:\/\/path"/],
    [{ store: 42 }, /store: expected a URL, a Keyv instance/],
    [{ store: {} }, /store: expected a URL, a Keyv instance/],
    [{ cache: {} }, /cache: expected an HttpCache/],
    [
      { cache: new HttpCache({ store: 'memory:' }), store: 'memory:' },
      /store and cache exclude each other/,
    ],
    [{ dispatcher: {} }, /dispatcher: expected an undici Dispatcher/],
  ]
  for (const [options, message] of bad) {
    test(String(message), () => {
      assert.throws(() => cachingAgent(options as AgentOptions), { name: 'TypeError', message })
    })
  }
  test('options that are none', () => {
    assert.throws(() => cachingAgent('memory:' as never), /cachingAgent: expected an object/)
    assert.throws(() => new HttpCache({ stor: 'memory:' } as never), /unknown option "stor"/)
  })
})

suite('with other dispatchers and interceptors', () => {
  test('MockAgent', async (t) => {
    const mock = new undici.MockAgent()
    mock.disableNetConnect()
    const pool = mock.get('http://mocked.example')
    pool.intercept({ path: '/' }).reply(200, 'mocked', { headers: { 'x-mock': 'yes' } })
    const agent = testAgent(t, { dispatcher: mock, expireAfter: '1h' })
    for (const status of ['miss', 'hit', 'hit']) {
      const { body, info, response } = await get(agent, 'http://mocked.example/')
      assert.deepEqual([body, info?.status], ['mocked', status])
      assert.equal(response.headers.get('x-mock'), 'yes')
    }
    pool.intercept({ path: '/', method: 'POST', body: 'sent' }).reply(201, 'made')
    const posted = await get(agent, 'http://mocked.example/', { method: 'POST', body: 'sent' })
    assert.deepEqual([posted.status, posted.body], [201, 'made'])
    pool.intercept({ path: '/error' }).replyWithError(new Error('mocked error'))
    await assert.rejects(requestText(agent, 'http://mocked.example/error'), /mocked error/)
  })

  test('ProxyAgent and EnvHttpProxyAgent', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const proxy: Server = createServer()
    let tunnels = 0
    proxy.on('connect', (request, socket) => {
      tunnels += 1
      const [host, port] = (request.url as string).split(':')
      const upstream = connect(Number(port), host as string, () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n')
        socket.pipe(upstream).pipe(socket)
      })
      t.after(() => upstream.destroy())
    })
    const proxyUrl = await listen(t, proxy)
    const dispatchers = [
      new undici.ProxyAgent({ uri: proxyUrl, proxyTunnel: true }),
      new undici.EnvHttpProxyAgent({ httpProxy: proxyUrl, noProxy: '', proxyTunnel: true }),
    ]
    for (const [index, dispatcher] of dispatchers.entries()) {
      const agent = testAgent(t, { dispatcher, expireAfter: '1h' })
      assert.deepEqual(await outcomes(agent, `${url}/${index}`, [{}, {}]), ['miss', 'hit'])
    }
    assert.equal(tunnels, 2)
    assert.equal(seen.length, 2)
  })

  test('the proxy that the environment names, where Node is told to use it', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const program = `
      import { cachingAgent } from 'caching-agent'
      const { body } = await cachingAgent({ store: 'memory:' }).request({ origin: process.argv[1], path: '/', method: 'GET' })
      console.log(await body.text())`
    const args = ['--conditions=source', '--no-warnings', '--input-type=module', '-e', program, url]
    const env = {
      ...process.env,
      HTTP_PROXY: 'http://127.0.0.1:1',
      NO_PROXY: '',
      http_proxy: 'http://127.0.0.1:1',
      no_proxy: '',
    }
    assert.equal((await run(process.execPath, args, { env })).stdout, 'content\n')
    const proxied = run(process.execPath, args, { env: { ...env, NODE_USE_ENV_PROXY: '1' } })
    await assert.rejects(proxied, /ECONNREFUSED/)
  })

  test('RetryAgent under the cache', async (t) => {
    const { url, seen } = await origin(t, (_, response, count) => {
      response.statusCode = count < 3 ? 503 : 200
      response.end('content')
    })
    const dispatcher = new undici.RetryAgent(new undici.Agent(), { minTimeout: 1, maxTimeout: 5 })
    const agent = testAgent(t, { dispatcher, expireAfter: '1h' })
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
    assert.equal(seen.length, 3)
  })

  test('RetryAgent over the cache', async (t) => {
    const { url, seen } = await origin(t, (_, response, count) => {
      response.statusCode = count < 3 ? 503 : 200
      response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const retrying = new undici.RetryAgent(agent, { minTimeout: 1, maxTimeout: 5 })
    for (const status of ['miss', 'hit']) {
      assert.equal(cacheInfo(await requestText(retrying, url))?.status, status)
    }
    assert.equal(seen.length, 3)
  })

  const { retry, redirect, dns, decompress } = undici.interceptors
  const interceptors = {
    retry: retry({ minTimeout: 1 }),
    redirect: redirect({ maxRedirections: 3 }),
    dns: dns({
      lookup: (_, __, callback) => callback(null, [{ address: '127.0.0.1', family: 4, ttl: 1000 }]),
    }),
    ...(decompress && { decompress: decompress() }),
  }
  for (const [name, interceptor] of Object.entries(interceptors)) {
    test(`undici’s ${name} before and after the cache`, async (t) => {
      const { gzipSync } = await import('node:zlib')
      const { url, seen } = await origin(t, (request, response) => {
        if (request.headers['accept-encoding']) response.setHeader('Content-Encoding', 'gzip')
        response.end(request.headers['accept-encoding'] ? gzipSync('content') : 'content')
      })
      const named = url.replace('127.0.0.1', 'localhost')
      const before = testAgent(t, { expireAfter: '1h' })
      const after = testAgent(t, {
        expireAfter: '1h',
        dispatcher: new undici.Agent().compose(interceptor),
      })
      // undici 7.28's decompress breaks the fetch of Node 26, whether there is a cache or not.
      const alone = new undici.Agent().compose(interceptor)
      t.after(() => alone.close())
      const usual = undici.getGlobalDispatcher()
      undici.setGlobalDispatcher(alone)
      const isFetchable = await fetch(named)
        .then((response) => response.text())
        .then((body) => body === 'content')
        .catch(() => false)
      undici.setGlobalDispatcher(usual)
      for (const dispatcher of [before.compose(interceptor), after]) {
        seen.length = 0
        for (const status of ['miss', 'hit', 'hit']) {
          if (isFetchable || dispatcher === after) {
            const response = await fetchWith(dispatcher, named)
            assert.equal(cacheInfo(response)?.status, status)
            assert.equal(await response.text(), 'content')
          }
          const answer = await requestText(dispatcher, `${named}/x`)
          assert.deepEqual([answer.body, cacheInfo(answer)?.status], ['content', status])
        }
        assert.equal(seen.length, isFetchable || dispatcher === after ? 2 : 1)
      }
      assert.deepEqual(await after.cache.urls(), [`${named}/`, `${named}/x`])
    })
  }

  test('a response that an interceptor under the cache was redirected to is not stored', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      if (request.url === '/') response.writeHead(302, { Location: '/end' })
      response.end('content')
    })
    const dispatcher = new undici.Agent().compose(redirect({ maxRedirections: 3 }))
    const agent = testAgent(t, { expireAfter: '1h', dispatcher })
    for (let round = 0; round < 2; round++) {
      const { headers, body } = await undici.request(url, { dispatcher: agent })
      assert.equal(await body.text(), 'content')
      assert.equal(cacheInfo({ headers } as never)?.reason, 'redirected')
    }
    assert.equal(seen.length, 4)
  })

  test('WebSocket', async (t) => {
    const { createHash } = await import('node:crypto')
    const server = createServer((_, response) => response.end('content'))
    server.on('upgrade', (request, socket) => {
      const accept = createHash('sha1')
        .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest('base64')
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
      )
      socket.write(Buffer.from([0x81, 5, ...Buffer.from('hello')]))
    })
    const { host } = new URL(await listen(t, server))
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, `http://${host}/`)
    const socket = new undici.WebSocket(`ws://${host}/`, { dispatcher: agent })
    const [message] = await once(socket as never, 'message')
    assert.equal(message.data, 'hello')
    socket.close()
  })

  test('EventSource', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      response.write('data: hello\n\n')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const source = new undici.EventSource(url, { node: { dispatcher: agent } } as never)
    t.after(() => source.close())
    const [message] = await once(source as never, 'message')
    assert.equal(message.data, 'hello')
  })

  test('content-length that the caller has set', async (t) => {
    const { url } = await origin(t, async (request, response) => {
      let body = ''
      for await (const chunk of request) body += chunk
      response.end(body)
    })
    const agent = testAgent(t)
    const { body } = await get(agent, url, {
      method: 'POST',
      body: 'hello',
      headers: { 'content-length': '5' },
    })
    assert.equal(body, 'hello')
  })
})
