import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { suite, type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import {
  type AgentOptions,
  cachingAgent,
  DO_NOT_CACHE,
  disabled,
  install,
  NotStoredError,
  type Terms,
  withTerms,
} from 'caching-agent'
import * as undici from 'undici'
import { clients, fetchWith, get, outcomes, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { type Origin, origin } from './helpers/origin.ts'
import { unprivileged } from './helpers/unprivileged.ts'

const DAY = 86_400_000

/** An origin that would have none of its responses used twice, and answers differently each time. */
function forbidding(t: TestContext): Promise<Origin> {
  return origin(t, (request, response, count) => {
    const status = Number(/\d{3}$/.exec(request.url ?? '')?.[0] ?? 200)
    response.setHeader('Cache-Control', 'no-store, no-cache, must-revalidate, max-age=0')
    response.setHeader('Expires', '0').setHeader('Pragma', 'no-cache')
    response.writeHead(status, `Status ${status}`).end(`response ${count}`)
  })
}

/** The error with which a request was rejected. */
async function rejection(request: Promise<unknown>): Promise<NotStoredError> {
  const error = await request.then(
    () => assert.fail('it was answered'),
    (error: unknown) => error,
  )
  const found = error instanceof NotStoredError ? error : (error as Error).cause
  assert.ok(found instanceof NotStoredError, String(found))
  return found
}

suite("mode 'offline'", () => {
  test('what is stored is used, stale or not, and nothing is sent', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60, must-revalidate').setHeader('ETag', '"1"')
      response.end('content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    const offline = agent.with({ mode: 'offline' })
    assert.deepEqual(await outcomes(offline, url, [{}, { method: 'HEAD' }]), ['hit', 'hit'])
    t.mock.timers.tick(DAY)
    const inits = [{}, { cache: 'no-cache' }, { cache: 'reload' }] as RequestInit[]
    assert.deepEqual(await outcomes(offline, url, inits), ['stale', 'stale', 'stale'])
    const noStore = { headers: { 'cache-control': 'no-store' } }
    assert.equal((await get(offline, url, noStore)).body, 'content')
    assert.equal(seen.length, 1)
  })

  test('what is missing is a 504, or an error, by every way to make a request', async (t) => {
    const { url, seen } = await forbidding(t)
    const offline = testAgent(t, { mode: 'offline' })
    for (const [name, client] of Object.entries(clients)) {
      const { status, headers } = await client(offline, url)
      assert.equal(status, 504, name)
      assert.match(headers['cache-status'] ?? '', /detail=offline$/)
      const error = await rejection(client(offline.with({ missing: 'error' }), url))
      assert.match(error.message, /^GET .* is not stored, and mode: 'offline' lets no request be/)
    }
    assert.equal(seen.length, 0)
  })

  test('what would pass the cache by does not go out either', async (t) => {
    const { url, seen } = await forbidding(t)
    const agent = testAgent(t, {
      mode: 'offline',
      urlsExpireAfter: { '*/forbidden': DO_NOT_CACHE },
    })
    const body = Readable.from(['some', 'content'])
    const requests: undici.Dispatcher.RequestOptions[] = [
      { origin: url, path: '/', method: 'POST', body: 'x' },
      { origin: url, path: '/', method: 'DELETE' },
      { origin: url, path: '/', method: 'PUT', body },
      { origin: url, path: '/', method: 'GET', body: 'x' },
      { origin: url, path: '/', method: 'GET', headers: { 'if-match': '"1"' } },
      { origin: url, path: '/', method: 'GET', headers: { range: 'lines=1-2' } },
      { origin: url, path: '/', method: 'GET', headers: { accept: 'text/event-stream' } },
      { origin: url, path: '/forbidden', method: 'GET' },
      { origin: url, path: '/a\\b', method: 'GET' },
      { origin: url, path: '*', method: 'OPTIONS' },
    ]
    for (const options of requests) {
      const { statusCode, body } = await agent.request(options)
      await body.dump()
      assert.equal(statusCode, 504, JSON.stringify(options))
      const strict = agent.with({ missing: 'error' })
      const again = options.body instanceof Readable ? { ...options, body: 'x' } : options
      await rejection(strict.request(again))
    }
    assert.equal(body.destroyed, true)
    await assert.rejects(agent.upgrade({ origin: url, path: '/' } as never))
    await assert.rejects(agent.connect({ origin: url, path: 'a.com:443' } as never))
    assert.equal((await disabled(() => get(agent, url))).status, 504)
    assert.equal(seen.length, 0)
  })

  test('a WebSocket is not opened', async (t) => {
    const { url, seen } = await forbidding(t)
    const dispatcher = testAgent(t, { mode: 'offline' })
    const socket = new undici.WebSocket(url.replace('http', 'ws'), { dispatcher })
    await new Promise((resolve) => socket.addEventListener('error', resolve))
    assert.equal(seen.length, 0)
  })

  test('where a rule of the user fails, the agent’s own mode counts', async (t) => {
    const { url, seen } = await forbidding(t)
    const rule = () => {
      throw new Error('no idea')
    }
    const agent = testAgent(t, { mode: 'offline', urlsExpireAfter: [[rule, '1h']] })
    assert.equal((await get(agent, url)).status, 504)
    assert.equal(seen.length, 0)
  })

  test('a URL can be taken out of it', async (t) => {
    const { url, seen } = await forbidding(t)
    const { hostname } = new URL(url)
    const agent = testAgent(t, {
      mode: 'offline',
      urlsExpireAfter: { [hostname]: { mode: 'default' } },
    })
    assert.equal((await get(agent, url)).status, 200)
    assert.equal((await get(agent.with({ mode: 'offline' }), url)).status, 504)
    assert.equal(seen.length, 1)
  })

  test('ranges and conditions are answered from what is stored', async (t) => {
    const digits = '0123456789'.repeat(10_000)
    const { url } = await origin(t, (_, response) => {
      response.setHeader('ETag', '"1"').end(digits)
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const offline = agent.with({ mode: 'offline' })
    const asked = async (headers: Record<string, string>) => {
      const { status, body } = await get(offline, url, { headers })
      return [status, body]
    }
    assert.deepEqual(await asked({ range: 'bytes=2-3' }), [206, '23'])
    assert.deepEqual(await asked({ 'if-none-match': '"1"' }), [304, ''])
    // More parts than the cache answers: a server need not answer any.
    const many = Array.from({ length: 40 }, (_, n) => `${1000 * n}-${1000 * n}`).join()
    assert.deepEqual(await asked({ range: `bytes=${many}` }), [200, digits])
  })
})

suite('a stored part', () => {
  test('is for who has not begun with another content, and for nobody else', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      const part = { 'Content-Range': 'bytes 0-1/10', ETag: '"1"', 'Cache-Control': 'max-age=60' }
      response.writeHead(206, part).end('01')
    })
    const agent = testAgent(t)
    const range = 'bytes=0-1'
    await get(agent, url, { headers: { range } })
    await agent.cache.responses.settled()
    const asked = async (headers: Record<string, string>, terms: Terms = { mode: 'offline' }) =>
      (await get(agent.with(terms), url, { headers })).status
    assert.equal(await asked({ range }), 206)
    assert.equal(await asked({ range, 'if-range': '"1"' }), 206)
    assert.equal(await asked({ range, 'if-range': '"2"' }), 504)
    const only = { range, 'if-range': '"2"', 'cache-control': 'only-if-cached' }
    assert.equal(await asked(only, {}), 504)
    assert.equal(seen.length, 1)
  })
})

suite("modes 'record' and 'replay'", () => {
  test('everything is recorded, whatever it, the request and the rules say', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await forbidding(t)
    const { hostname } = new URL(url)
    const options: AgentOptions = {
      store: `sqlite://${join(folder(), 'cache.sqlite')}`,
      urlsExpireAfter: { [hostname]: DO_NOT_CACHE },
    }
    const inits: [path: string, init: RequestInit][] = [
      ['/200', {}],
      ['/404', {}],
      ['/500', {}],
      ['/204', {}],
      ['/no-store', { headers: { 'cache-control': 'no-store' } }],
      ['/reload', { cache: 'reload' } as RequestInit],
      ['/condition', { headers: { 'if-match': '"1"' } }],
      ['/range', { headers: { range: 'lines=1-2' } }],
      ['/events', { headers: { accept: 'text/event-stream' } }],
      ['/head', { method: 'HEAD' }],
    ]
    const recorder = cachingAgent({ ...options, mode: 'record' })
    const recorded = []
    for (const [path, init] of inits) {
      const { status, body, response, info } = await get(recorder, url + path, init)
      assert.equal(info?.stored, true, path)
      recorded.push([status, response.statusText, body])
    }
    await recorder.close()
    assert.equal(seen.length, inits.length)

    t.mock.timers.tick(10_000 * DAY)
    const player = testAgent(t, { ...options, mode: 'replay' })
    const replayed = []
    for (const [path, init] of inits) {
      const { status, body, response } = await get(player, url + path, init)
      replayed.push([status, response.statusText, body])
    }
    assert.deepEqual(replayed, recorded)
    assert.equal(seen.length, inits.length)
  })

  test('each request is sent to be recorded, and the last answer counts', async (t) => {
    const { url, seen } = await forbidding(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    const recorder = agent.with({ mode: 'record' })
    await get(agent, url)
    const bodies = [await get(recorder, url), await get(recorder, url)].map(({ body }) => body)
    assert.deepEqual(bodies, ['response 2', 'response 3'])
    assert.equal((await get(agent.with({ mode: 'replay' }), url)).body, 'response 3')
    await Promise.all([get(recorder, url), get(recorder, url), get(recorder, url)])
    assert.equal(seen.length, 6)
  })

  test('what a request changes at its origin does not take away what was recorded', async (t) => {
    const { url } = await forbidding(t)
    const agent = testAgent(t)
    await get(agent.with({ mode: 'record' }), url)
    await get(agent.with({ mode: 'record' }), `${url}/other`, { method: 'POST' })
    await get(agent.with({ mode: 'record' }), url, { method: 'DELETE' })
    assert.equal((await get(agent.with({ mode: 'replay' }), url)).status, 200)
  })

  test('what the user has filtered or limited is not recorded', async (t) => {
    const { url } = await forbidding(t)
    const agent = testAgent(t)
    for (const terms of [{ filter: () => false }, { maxContentSize: 3 }, { readOnly: true }]) {
      await get(agent.with({ ...terms, mode: 'record' }), url)
      await agent.cache.responses.settled()
      assert.equal(await agent.cache.count(), 0)
    }
  })

  test('a stream of events is recorded if it ends, and delivered as it comes', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('Content-Type', 'text/event-stream').write('data: 1\n\n')
      if (request.url === '/ending') setTimeout(() => response.end('data: 2\n\n'), 30)
    })
    const agent = testAgent(t)
    const recorder = agent.with({ mode: 'record' })
    const events = 'data: 1\n\ndata: 2\n\n'
    assert.equal((await get(recorder, `${url}/ending`)).body, events)
    const { body } = await undici.request(`${url}/endless`, { dispatcher: recorder })
    const [first] = await body.take(1).toArray()
    assert.equal(String(first), 'data: 1\n\n')
    await agent.cache.responses.settled()
    assert.equal((await get(agent.with({ mode: 'replay' }), `${url}/ending`)).body, events)
    await rejection(get(agent.with({ mode: 'replay' }), `${url}/endless`))
  })

  test('what differs by nothing that is known is recorded as it is', async (t) => {
    const { url } = await origin(t, (_, response) => response.setHeader('Vary', '*').end('x'))
    const agent = testAgent(t)
    await get(agent.with({ mode: 'record' }), url, { headers: { 'user-agent': 'a' } })
    const replayed = await get(agent.with({ mode: 'replay' }), url, { headers: { 'user-agent': 'b' } }) // biome-ignore format: one line
    assert.equal(replayed.body, 'x')
  })

  test('a 304 that tells the length of what it spares is replayed, unless undici takes it for cut off', async (t) => {
    // RFC 9110 §8.6: the length that the content would have had.
    const { url } = await origin(t, (_, response) => {
      response.writeHead(304, { etag: '"1"', 'content-length': 7 }).end()
    })
    const plain = new undici.Agent()
    t.after(() => plain.destroy())
    const isWhole = await new Promise<boolean>((resolve) => {
      plain.dispatch(
        { origin: url, path: '/', method: 'GET' },
        {
          onRequestStart() {},
          onResponseStart() {},
          onResponseData() {},
          onResponseEnd: () => resolve(true),
          onResponseError: () => resolve(false),
        },
      )
    })
    const agent = testAgent(t)
    const init = { headers: { 'if-none-match': '"1"' } }
    assert.equal((await get(agent.with({ mode: 'record' }), url, init)).status, 304)
    await agent.cache.responses.settled()
    const replayed = get(agent.with({ mode: 'replay' }), url, init)
    if (isWhole) assert.equal((await replayed).status, 304)
    else await rejection(replayed)
  })

  test('conditions and ranges of the caller are replayed as they were answered', async (t) => {
    const { url } = await origin(t, ({ headers }, response) => {
      response.setHeader('ETag', '"1"')
      if (headers['if-none-match'] === '"1"') response.writeHead(304).end()
      else if (headers['if-match'] === '"2"') response.writeHead(412).end('no')
      else if (headers.range === 'bytes=50-') response.writeHead(416).end()
      else response.end('content')
    })
    const inits = [
      { headers: { 'if-none-match': '"1"' } },
      { headers: { 'if-match': '"2"' } },
      { headers: { range: 'bytes=50-' } },
    ]
    const asked = async (dispatcher: undici.Dispatcher) => {
      const all = []
      for (const init of inits) all.push((await get(dispatcher, url, init)).status)
      return all
    }
    const agent = testAgent(t)
    const [recorder, player] = [agent.with({ mode: 'record' }), agent.with({ mode: 'replay' })]
    assert.deepEqual(await asked(recorder), [304, 412, 416])
    await agent.cache.responses.settled()
    assert.deepEqual(await asked(player), [304, 412, 416])
    await rejection(get(player, url))
    // Nothing of this takes the place of the whole.
    await get(recorder, url)
    await asked(recorder)
    await agent.cache.responses.settled()
    assert.equal((await get(player, url)).body, 'content')
    assert.deepEqual(await asked(player), [304, 412, 416])
  })

  test('nothing about conditions or parts takes the place of the whole, whatever it differs by', async (t) => {
    const { url } = await origin(t, ({ headers }, response) => {
      response.setHeader('ETag', '"1"')
      if (headers['if-match']) response.writeHead(412).end('no')
      else response.end('content')
    })
    const agent = testAgent(t, { partitionBy: false })
    await get(agent.with({ mode: 'record' }), url)
    await get(agent.with({ mode: 'record' }), url, { headers: { 'if-match': '"2"' } })
    await agent.cache.responses.settled()
    assert.equal((await get(agent.with({ mode: 'replay' }), url)).body, 'content')
  })

  test('redirects are recorded hop by hop, also those that were followed under the cache', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      if (request.url === '/') response.writeHead(302, { Location: '/target' }).end()
      else response.end('target')
    })
    const dispatcher = new undici.Agent()
    const following = dispatcher.compose(undici.interceptors.redirect({ maxRedirections: 3 }))
    for (const inner of [dispatcher, following]) {
      const agent = testAgent(t, { dispatcher: inner })
      const follow = undici.interceptors.redirect({ maxRedirections: 3 })
      const ask = async (mode: 'record' | 'replay') => {
        const dispatcher = agent.with({ mode }).compose(follow)
        return (await undici.request(url, { dispatcher })).body.text()
      }
      assert.equal(await ask('record'), 'target')
      const before = seen.length
      assert.equal(await ask('replay'), 'target')
      assert.equal(seen.length, before)
    }
  })

  test('credentials keep apart what was recorded, unless they are not to count', async (t) => {
    const { url } = await forbidding(t)
    const as = (authorization: string) => ({ headers: { authorization } })
    const agent = testAgent(t)
    await get(agent.with({ mode: 'record' }), url, as('Bearer first'))
    const player = agent.with({ mode: 'replay' })
    assert.equal((await get(player, url, as('Bearer first'))).status, 200)
    const { message } = await rejection(get(player, url, as('Bearer second')))
    assert.match(message, /authorization differs/)
    assert.doesNotMatch(message, /first|second/)

    const open = { partitionBy: false } as const
    await get(agent.with({ ...open, mode: 'record' }), `${url}/open`, as('Bearer first'))
    const anybody = agent.with({ ...open, mode: 'replay' })
    assert.equal((await get(anybody, `${url}/open`, as('Bearer second'))).status, 200)
    assert.match((await rejection(get(player, `${url}/open`))).message, /not for these terms/)
  })

  test('what was stored in no such mode is replayed as well, whatever its age', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'no-cache').setHeader('ETag', '"1"').end('content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    t.mock.timers.tick(DAY)
    const init = { headers: { 'cache-control': 'max-age=0', pragma: 'no-cache' } }
    assert.equal((await get(agent.with({ mode: 'replay' }), url, init)).body, 'content')
  })

  test('the mode follows the async context', async (t) => {
    const { url, seen } = await forbidding(t)
    const agent = testAgent(t)
    await withTerms({ mode: 'record' }, () => get(agent, url))
    const both = await Promise.all([
      withTerms({ mode: 'replay' }, () => get(agent, url)),
      disabled(() => get(agent, url)),
    ])
    assert.deepEqual(
      both.map(({ body }) => body),
      ['response 1', 'response 2'],
    )
    assert.equal(seen.length, 2)
  })
})

suite('other methods', () => {
  /** An origin that answers each method and content differently. */
  const echo = (t: TestContext) =>
    origin(t, async (request, response, count) => {
      const content = await text(request)
      response.statusCode = request.method === 'DELETE' ? 404 : 201
      response.setHeader('Location', '/items/1').end(`${count} ${request.method} ${content}`)
    })
  const json = (body: string) => ({
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json' },
  })

  test('are recorded and replayed by their content, without having been allowed', async (t) => {
    const { url, seen } = await echo(t)
    const agent = testAgent(t)
    const inits: RequestInit[] = [
      json('{"a":1,"b":2}'),
      json('{"a":2}'),
      { method: 'PUT', body: 'content' },
      { method: 'PATCH', body: Buffer.from('content') },
      { method: 'DELETE' },
      { method: 'OPTIONS' },
      { method: 'POST', body: new URLSearchParams({ a: '1' }) },
    ]
    const bodies = async (mode: 'record' | 'replay') => {
      const all = []
      for (const init of inits) all.push(await get(agent.with({ mode }), `${url}/items`, init))
      return all.map(({ status, body }) => [status, body])
    }
    const recorded = await bodies('record')
    await agent.cache.responses.settled()
    assert.equal(seen.length, inits.length)
    assert.deepEqual(await bodies('replay'), recorded)
    const equivalent = await get(agent.with({ mode: 'replay' }), `${url}/items`, json('{ "b": 2, "a": 1 }')) // biome-ignore format: one line
    assert.equal(equivalent.body, '1 POST {"a":1,"b":2}')
    assert.equal(seen.length, inits.length)
  })

  test('fail with other content, by an error that tells of it', async (t) => {
    const { url, seen } = await echo(t)
    const agent = testAgent(t)
    await get(agent.with({ mode: 'record' }), url, json('{"a":1}'))
    const player = agent.with({ mode: 'replay' })
    const { message, nearest } = await rejection(get(player, url, json('{"a":2}')))
    assert.match(message, /^POST http.* is not stored/)
    assert.match(message, /POST http:\/\/\S+ \(with other content, or not for these terms/)
    assert.deepEqual(nearest, [`POST ${url}/`])
    assert.equal(seen.length, 1)
  })

  test('take nothing away that was recorded, whatever became of them', async (t) => {
    const { url } = await echo(t)
    const agent = testAgent(t)
    await get(agent.with({ mode: 'record' }), `${url}/items/1`)
    await get(agent.with({ mode: 'record' }), `${url}/items/1`, { method: 'DELETE' })
    await get(agent.with({ mode: 'record', maxContentSize: 1 }), `${url}/items/1`, json('{}'))
    await agent.cache.responses.settled()
    assert.equal((await get(agent.with({ mode: 'replay' }), `${url}/items/1`)).status, 201)
  })

  test('take nothing away from a cache that is only read either', async (t) => {
    const { url, seen } = await echo(t)
    const agent = testAgent(t, { expireAfter: '1h', allowedCodes: [201], allowedMethods: ['GET', 'POST'] }) // biome-ignore format: one line
    await get(agent, url)
    await get(agent.with({ readOnly: true }), url, json('{}'))
    assert.equal((await get(agent, url)).info?.status, 'hit')
    assert.equal(seen.length, 2)
  })

  test('that cannot be keyed are recorded by nobody, and replayed for nobody', async (t) => {
    const { url, seen } = await echo(t)
    const agent = testAgent(t)
    const large = json(`"${'x'.repeat(1000)}"`)
    const small = { maxRequestContentSize: 100 }
    await get(agent.with({ ...small, mode: 'record' }), url, large)
    await rejection(get(agent.with({ ...small, mode: 'replay' }), url, large))
    const failing = { cacheKey: () => 42 as never, mode: 'replay' } as const
    const { message } = await rejection(get(agent.with(failing), url))
    assert.match(message, /passes the cache by \(rule-failed\)/)
    const dispatcher = agent.with({ mode: 'replay' })
    await rejection(undici.request(url, { dispatcher, method: 'GET', body: 'content' }))
    assert.equal(seen.length, 1)
  })

  test('of which a stream is the content are read once, and recorded as they are sent', async (t) => {
    const { url } = await echo(t)
    const agent = testAgent(t)
    const ask = async (mode: 'record' | 'replay') => {
      const body = Readable.from(['some', 'content'])
      const dispatcher = agent.with({ mode })
      const response = await undici.request(url, { dispatcher, method: 'POST', body })
      return response.body.text()
    }
    assert.equal(await ask('record'), '1 POST somecontent')
    assert.equal(await ask('replay'), '1 POST somecontent')
  })

  test('secrets of what was recorded are not on disk, and not in the error', async (t) => {
    const { url } = await echo(t)
    const path = join(folder(), 'cache.sqlite')
    const recorder = cachingAgent({ store: `sqlite://${path}`, mode: 'record' })
    await get(recorder, `${url}/?api_key=topsecret`, { method: 'DELETE' })
    await recorder.close()
    assert.equal(readFileSync(path).includes('topsecret'), false)
    const player = testAgent(t, { store: `sqlite://${path}`, mode: 'replay' })
    const ask = (key: string) => get(player, `${url}/?api_key=${key}`, { method: 'DELETE' })
    assert.equal((await ask('topsecret')).status, 404)
    const { message, url: told } = await rejection(ask('othersecret'))
    assert.doesNotMatch(message + told, /secret/)
  })
})

suite('a request that was not recorded', () => {
  test('fails, says what there is instead, and how to record it', async (t) => {
    const { url, seen } = await forbidding(t)
    const agent = testAgent(t)
    const recorder = agent.with({ mode: 'record' })
    for (const path of ['/users/1', '/users/10', '/groups/7', '/users']) {
      await get(recorder, url + path)
    }
    const player = agent.with({ mode: 'replay' })
    const error = await rejection(get(player, `${url}/users/2`))
    assert.deepEqual(
      [error.name, error.code, error.method, error.url],
      ['NotStoredError', 'ERR_NOT_STORED', 'GET', `${url}/users/2`],
    )
    assert.deepEqual(error.nearest[0], `GET ${url}/users/1`)
    assert.equal(error.nearest.length, 3)
    assert.ok(error.message.startsWith(`GET ${url}/users/2 is not stored, and mode: 'replay'`))
    assert.match(error.message, /make this request once with mode: 'record'/)
    assert.equal(seen.length, 4)
  })

  test('says in which fields it differs from what was', async (t) => {
    const { url } = await origin(t, ({ headers }, response) => {
      response.setHeader('Vary', 'Accept-Language').end(`in ${headers['accept-language']}`)
    })
    const agent = testAgent(t)
    const language = (tag: string) => ({ headers: { 'accept-language': tag } })
    for (const tag of ['de', 'en']) await get(agent.with({ mode: 'record' }), url, language(tag))
    const player = agent.with({ mode: 'replay' })
    assert.equal((await get(player, url, language('en'))).body, 'in en')
    const { message } = await rejection(get(player, url, language('fr')))
    assert.match(message, /accept-language is "de", not "fr"/)
    assert.match(message, /accept-language is "en", not "fr"/)
  })

  test('is none where what was recorded has a content coding that is accepted, among others', async (t) => {
    const { url } = await origin(t, ({ headers }, response) => {
      const codings = String(headers['accept-encoding'] ?? '')
      response.setHeader('Vary', 'Accept-Encoding')
      if (codings.includes('gzip')) response.setHeader('Content-Encoding', 'gzip')
      response.end(codings.includes('gzip') ? gzipSync('content') : 'content')
    })
    const agent = testAgent(t)
    const accepting = (codings: string) => ({ headers: { 'accept-encoding': codings } })
    await get(agent.with({ mode: 'record' }), url, accepting('gzip, deflate'))
    for (const mode of ['replay', 'offline'] as const) {
      const player = agent.with({ mode, missing: 'error' })
      // As another version of Node asks for it.
      const { body, info } = await get(player, url, accepting('br, gzip, deflate, zstd'))
      assert.deepEqual([body, info?.status], ['content', 'hit'])
      const { message } = await rejection(get(player, url, accepting('br')))
      assert.match(message, /accept-encoding is "deflate,gzip", not "br"/)
      const plain = await rejection(undici.request(url, { dispatcher: player }))
      assert.match(plain.message, /accept-encoding is "deflate,gzip", not absent/)
    }
    assert.equal((await get(agent, url, accepting('br, gzip'))).info?.status, 'miss')

    // However many variants there are that differ by more.
    const as = (user: number, codings: string) => ({
      headers: { cookie: `user=${user}`, 'accept-encoding': codings },
    })
    for (let user = 0; user < 20; user++) {
      await get(agent.with({ mode: 'record' }), `${url}/users`, as(user, 'gzip'))
    }
    const users = agent.with({ mode: 'replay' })
    for (const user of [0, 10, 19]) {
      assert.equal((await get(users, `${url}/users`, as(user, 'br, gzip'))).body, 'content')
    }

    await undici.request(`${url}/plain`, { dispatcher: agent.with({ mode: 'record' }) })
    const player = agent.with({ mode: 'replay' })
    assert.equal((await get(player, `${url}/plain`)).body, 'content')
    const strict = player.with({ matchHeaders: ['accept-encoding'] })
    await rejection(get(strict, `${url}/plain`))
  })

  test('fails by every way to make a request, and by the global dispatcher', async (t) => {
    const { url, seen } = await forbidding(t)
    const player = testAgent(t, { mode: 'replay' })
    for (const [name, client] of Object.entries(clients)) {
      const error = await rejection(client(player, url))
      assert.equal(error.url, `${url}/`, name)
    }
    const installation = install({ store: 'memory:', mode: 'replay' })
    t.after(() => installation.uninstall())
    await rejection(fetch(url))
    assert.equal(seen.length, 0)
  })

  test('is a 504 where that is wanted', async (t) => {
    const { url } = await forbidding(t)
    const { status, info } = await get(testAgent(t, { mode: 'replay', missing: 'status' }), url)
    assert.deepEqual([status, info?.reason], [504, 'replay'])
  })

  test('is not retried as if the network had failed', async (t) => {
    const { url } = await forbidding(t)
    const player = testAgent(t, { mode: 'replay' })
    let tries = 0
    const counting: undici.Dispatcher.DispatcherComposeInterceptor =
      (dispatch) => (options, handler) => {
        tries += 1
        return dispatch(options, handler)
      }
    const retrying = player.compose(counting, undici.interceptors.retry({ minTimeout: 1 }))
    await rejection(undici.request(url, { dispatcher: retrying }))
    assert.equal(tries, 1)
  })

  test('can be aborted, and takes nobody down', async (t) => {
    const { url } = await forbidding(t)
    const player = testAgent(t, { mode: 'replay' })
    const abort = new AbortController()
    const request = fetchWith(player, url, { signal: abort.signal })
    abort.abort()
    await assert.rejects(request, { name: 'AbortError' })
  })
})

suite('cache.unused()', () => {
  const urlsOf = async (agent: ReturnType<typeof cachingAgent>) => {
    const urls: string[] = []
    for await (const { url } of agent.cache.unused()) urls.push(new URL(url).pathname)
    return urls.toSorted()
  }

  test('lists what no request has replayed or recorded', async (t) => {
    const { url } = await forbidding(t)
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const recorder = cachingAgent({ store, mode: 'record' })
    for (const path of ['/a', '/b', '/c']) await get(recorder, url + path)
    assert.deepEqual(await urlsOf(recorder), [])
    await recorder.close()

    const player = cachingAgent({ store, mode: 'replay' })
    assert.deepEqual(await urlsOf(player), ['/a', '/b', '/c'])
    await get(player, `${url}/b`)
    await get(player, `${url}/b`)
    await rejection(get(player, `${url}/d`))
    assert.deepEqual(await urlsOf(player), ['/a', '/c'])
    for await (const { status, content } of player.cache.unused()) {
      assert.equal(status, 200)
      assert.match(await text(content()), /^response/)
    }
    await player.close()

    const again = testAgent(t, { store, mode: 'record' })
    await get(again, `${url}/a`)
    assert.deepEqual(await urlsOf(again), ['/b', '/c'])
  })

  test('what is used in no such mode does not count', async (t) => {
    const { url } = await forbidding(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, `${url}/a`)
    await get(agent, `${url}/a`)
    assert.deepEqual(await urlsOf(agent), ['/a'])
    await get(agent.with({ mode: 'offline' }), `${url}/a`)
    assert.deepEqual(await urlsOf(agent), [])
  })
})

suite('a committed store', () => {
  const run = promisify(execFile)

  /** A program that replays URLs, and prints what it got and what the cache had trouble with. */
  const PROGRAM = `
    import { cachingAgent } from 'caching-agent'
    const [store, mode, ...urls] = process.argv.slice(1)
    const agent = cachingAgent({ store, mode, partitionBy: false })
    const errors = []
    agent.cache.on('error', ({ error }) => errors.push(error.message))
    const answers = []
    for (const url of urls) {
      const headers = { authorization: 'secret' }
      const response = await fetch(url, { dispatcher: agent, headers }).catch(({ cause }) => cause)
      answers.push(response.name ?? [response.status, (await response.text()).length])
    }
    const unused = []
    for await (const { url } of agent.cache.unused()) unused.push(url)
    const count = await agent.cache.count()
    await agent.close()
    console.log(JSON.stringify({ answers, errors, unused, count }))
  `

  async function program(args: string[], options = {}) {
    const flags = ['--conditions=source', '--no-warnings', '--input-type=module', '-e', PROGRAM]
    const { stdout } = await run(process.execPath, [...flags, ...args], options)
    return JSON.parse(stdout) as { answers: unknown[]; errors: string[]; unused: string[]; count: number } // biome-ignore format: one line
  }

  function digest(path: string): string {
    return createHash('sha256').update(readFileSync(path)).digest('hex')
  }

  /** Records some responses into a file, as a program does that ends properly. */
  async function recorded(t: TestContext, terms: Terms = { mode: 'record' }) {
    const content = Buffer.alloc(300_000, 'x')
    const { url, seen } = await origin(t, ({ url: path }, response) => {
      response.setHeader('Cache-Control', 'max-age=1')
      response.end(path === '/large' ? content : 'content')
    })
    const outside = folder()
    chmodSync(outside, 0o755)
    const inside = join(outside, 'fixtures')
    mkdirSync(inside)
    const path = join(inside, 'recorded.sqlite')
    const agent = cachingAgent({ store: `sqlite://${path}`, ...terms, partitionBy: false })
    for (const file of ['/small', '/large', '/unused']) await get(agent, url + file)
    await agent.close()
    return { url, path, inside, seen, store: `sqlite://${path}` }
  }

  const expected = [[200, 7], [200, 300_000], 'NotStoredError'] // biome-ignore format: one line

  for (const mode of ['replay', 'offline'] as const) {
    test(`is not changed by one byte: ${mode}`, async (t) => {
      const { url, path, inside, seen, store } = await recorded(t)
      const before = digest(path)
      const urls = ['/small', '/large', '/missing', '/small'].map((file) => url + file)
      const { answers, errors, unused, count } = await program([store, mode, ...urls])
      const missing = mode === 'replay' ? 'NotStoredError' : [504, 0]
      assert.deepEqual(answers, [[200, 7], [200, 300_000], missing, [200, 7]])
      assert.deepEqual([errors, unused, count], [[], [`${url}/unused`], 3])
      assert.equal(digest(path), before)
      assert.deepEqual(readdirSync(inside), ['recorded.sqlite'])
      assert.equal(seen.length, 3)
    })
  }

  test('answers from a checkout that cannot be written', async (t) => {
    const user = await unprivileged(t)
    if (!user) return
    const { url, path, inside, store } = await recorded(t)
    const before = digest(path)
    const urls = ['/small', '/large', '/missing'].map((file) => url + file)
    for (const [file, around] of [
      [0o444, 0o555],
      [0o444, 0o755],
      [0o644, 0o555],
    ] as const) {
      // biome-ignore format: one line
      chmodSync(path, file)
      chmodSync(inside, around)
      const running = program([store, 'replay', ...urls], user)
      const { answers, errors } = await running.finally(() => chmodSync(inside, 0o755))
      assert.deepEqual([answers, errors], [expected, []])
      assert.equal(digest(path), before)
      assert.deepEqual(readdirSync(inside), ['recorded.sqlite'])
    }
  })

  test('is replayed after years, even what was stored to be kept for days', async (t) => {
    const { url, path, store } = await recorded(t, { expireAfter: '1m' })
    const database = new DatabaseSync(path)
    database.exec('UPDATE responses_1 SET expires = 1; UPDATE chunks_1 SET expires = 1')
    database.close()
    const before = digest(path)
    const urls = ['/small', '/large'].map((file) => url + file)
    const { answers, errors } = await program([store, 'replay', ...urls])
    assert.deepEqual([answers, errors], [expected.slice(0, 2), []])
    assert.equal(digest(path), before)
  })

  test('what is recorded is never removed because its time is over', async (t) => {
    const { path } = await recorded(t)
    const database = new DatabaseSync(path, { readOnly: true })
    t.after(() => database.close())
    for (const table of ['responses_1', 'chunks_1']) {
      const row = database.prepare(`SELECT count(expires) AS expiring FROM ${table}`).get()
      assert.equal(row?.expiring, 0)
    }
  })

  test('that is encrypted stays as it is: under another key, a wrong one or none', async (t) => {
    const [first, second] = ['1', '2'].map((letter) => Buffer.alloc(32, letter)) as [Buffer, Buffer]
    const { url } = await forbidding(t)
    const path = join(folder(), 'recorded.sqlite')
    const options = { store: `sqlite://${path}`, partitionBy: false } as const
    const recorder = cachingAgent({ ...options, mode: 'record', encrypt: first })
    const asked = `${url}/?api_key=topsecret`
    await get(recorder, asked)
    await recorder.close()
    const before = digest(path)
    const keys = { second, default: first }
    const replay = async (encrypt: object) => {
      const player = cachingAgent({ ...options, mode: 'replay', ...encrypt })
      const errors: string[] = []
      player.cache.on('error', ({ error }) => errors.push(error.message))
      const status = await get(player, asked).then(
        (answer) => answer.status,
        ({ cause }: Error) => (cause as Error).name,
      )
      await player.close()
      await new Promise(setImmediate)
      assert.equal(digest(path), before)
      return [status, errors.length > 0]
    }
    assert.deepEqual(await replay({ encrypt: { keys } }), [200, false])
    assert.deepEqual(await replay({ encrypt: second }), ['NotStoredError', true])
    assert.deepEqual(await replay({}), ['NotStoredError', true])
  })

  test('that is in no log format stays as it is, too', async (t) => {
    const { url, path, store } = await recorded(t)
    const database = new DatabaseSync(path)
    database.exec('PRAGMA journal_mode = DELETE')
    database.close()
    const before = digest(path)
    const { answers } = await program([store, 'replay', `${url}/small`])
    assert.deepEqual([answers, digest(path)], [[[200, 7]], before])
  })

  test('that does not exist is made by nobody who only reads', async (t) => {
    const inside = folder()
    const path = join(inside, 'some', 'where.sqlite')
    const player = testAgent(t, { store: `sqlite://${path}`, mode: 'replay' })
    await rejection(get(player, 'http://a.invalid/'))
    assert.equal(await player.cache.count(), 0)
    assert.equal(existsSync(join(inside, 'some')), false)

    // Once somebody has made it, it is read.
    const { url } = await forbidding(t)
    const recorder = cachingAgent({ store: `sqlite://${path}`, mode: 'record' })
    await get(recorder, url)
    await recorder.close()
    assert.equal((await get(player, url)).body, 'response 1')
  })

  test('is written after all by what is to be written', async (t) => {
    const { url, path, store, seen } = await recorded(t)
    const before = digest(path)
    const player = cachingAgent({ store, mode: 'replay', partitionBy: false })
    assert.equal((await get(player, `${url}/small`)).status, 200)
    await get(player.with({ mode: 'record' }), `${url}/new`)
    assert.equal((await get(player, `${url}/new`)).status, 200)
    assert.equal((await get(player, `${url}/large`)).body.length, 300_000)
    assert.equal(await player.cache.delete(`${url}/small`), 1)
    await rejection(get(player, `${url}/small`))
    await player.close()
    assert.notEqual(digest(path), before)
    assert.equal(seen.length, 4)
    const next = testAgent(t, { store, mode: 'replay' })
    assert.equal(await next.cache.count(), 3)
  })

  test('of a release that knew less is replayed as well', async (t) => {
    const { url, path, store } = await recorded(t)
    const database = new DatabaseSync(path)
    const others = database
      .prepare("SELECT type, name FROM sqlite_schema WHERE type = 'trigger' OR (type = 'table' AND name NOT LIKE 'responses%' AND name NOT LIKE 'chunks%')") // biome-ignore format: one query
      .all()
    assert.ok(others.length > 3)
    for (const { type, name } of others) database.exec(`DROP ${type} IF EXISTS ${name}`)
    database.close()
    const player = testAgent(t, { store, mode: 'replay', partitionBy: false })
    assert.equal((await get(player, `${url}/small`)).status, 200)
    assert.equal((await get(player, `${url}/large`)).status, 200)
  })

  test('that is damaged while it is used is a miss, and left for its owner to see', async (t) => {
    const { url, path, inside, store } = await recorded(t)
    const player = testAgent(t, { store, mode: 'replay', partitionBy: false, memory: false })
    assert.equal((await get(player, `${url}/small`)).status, 200)
    const bytes = readFileSync(path)
    bytes.fill(0xa5, 4096)
    writeFileSync(path, bytes)
    await rejection(get(player, `${url}/large`))
    await player.close()
    assert.ok(readFileSync(path).equals(bytes))
    assert.deepEqual(readdirSync(inside), ['recorded.sqlite'])
  })

  test('that is damaged is said at once, and left for its owner to see', () => {
    const inside = folder()
    const path = join(inside, 'recorded.sqlite')
    const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n'
    writeFileSync(path, pointer)
    assert.throws(() => cachingAgent({ store: `sqlite://${path}`, mode: 'replay' }), /cannot use/)
    assert.equal(readFileSync(path, 'utf8'), pointer)
    assert.deepEqual(readdirSync(inside), ['recorded.sqlite'])
  })
})
