import assert from 'node:assert/strict'
import diagnostics from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import { suite, type TestContext, test } from 'node:test'
import {
  type AgentOptions,
  type CacheEvents,
  type cacheInfo,
  DO_NOT_CACHE,
  disabled,
  type LookupEvent,
  withTerms,
} from 'caching-agent'
import * as undici from 'undici'
import { REASONS } from '../lib/observe/reasons.ts'
import { mayStore } from '../lib/rfc9111/storing.ts'
import { clients, get, testAgent } from './helpers/agent.ts'
import { type Heard, listenTo } from './helpers/events.ts'
import {
  answering,
  ask,
  FLOWS,
  type Flow,
  failing,
  fields,
  HOUR,
  type Listener,
  NOW,
  POST,
  validated,
} from './helpers/flows.ts'
import { origin } from './helpers/origin.ts'
import { stored } from './helpers/stored.ts'

/** All pairs of outcome and reason that have been told. */
const TOLD = new Set<string>()

function remember(heard: Heard): void {
  for (const { outcome, reason } of heard.lookup) TOLD.add(`${outcome} ${reason}`)
}

const README = readFileSync(new URL('../README.md', import.meta.url), 'utf8')

/** Runs the requests of a flow one after the other. */
async function run(t: TestContext, [, answer, steps, , , options]: Flow) {
  t.mock.timers.enable({ apis: ['Date'], now: NOW })
  const { url } = await origin(t, answer)
  const agent = testAgent(t, options)
  const heard = listenTo(agent.cache)
  const infos: ReturnType<typeof cacheInfo>[] = []
  for (const { after = 0, path = '/', ...init } of steps) {
    await agent.cache.responses.settled()
    t.mock.timers.tick(after)
    infos.push(await ask(agent, url + path, init))
  }
  remember(heard)
  return { agent, url, heard, infos }
}

suite('what becomes of a request is told once', () => {
  for (const flow of FLOWS) {
    const [what, , steps, outcome, reason] = flow
    test(`${outcome}${reason ? ` (${reason})` : ''}: ${what}`, async (t) => {
      const { heard, infos } = await run(t, flow)
      assert.equal(heard.lookup.length, steps.length)
      const last = heard.lookup.at(-1)
      assert.deepEqual([last?.outcome, last?.reason], [outcome, reason])
      // Everything that tells it uses the same words.
      for (const [index, event] of heard.lookup.entries()) {
        const info = infos[index]
        assert.deepEqual(
          [event.outcome, event.reason, event.stored, event.collapsed],
          [info?.status, info?.reason, info?.stored, info?.collapsed],
        )
        if (info?.key !== undefined) assert.equal(event.key, info.key)
      }
    })
  }

  test('with all there is to know of it', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: NOW })
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t)
    const { lookup } = listenTo(agent.cache)
    await get(agent, `${url}/a?b=c`)
    await agent.cache.responses.settled()
    t.mock.timers.tick(10_000)
    const { info } = await get(agent, `${url}/a?b=c`)
    const [miss, hit] = lookup.map(({ duration, ...rest }) => {
      assert.ok(duration > 0 && duration < 60_000, `${duration}`)
      return rest
    })
    const common = { method: 'GET', url: `${url}/a?b=c`, key: info?.key, status: 200 }
    assert.deepEqual(miss, {
      ...common,
      ...{ outcome: 'miss', reason: 'uri-miss', forward: 'uri-miss', fromCache: false },
      ...{ stored: true, collapsed: false, size: undefined, age: undefined, ttl: 3_600_000 },
      error: undefined,
    })
    assert.deepEqual(hit, {
      ...common,
      ...{ outcome: 'hit', reason: undefined, forward: undefined, fromCache: true },
      ...{ stored: false, collapsed: false, size: 7, age: 10_000, ttl: 3_590_000 },
      error: undefined,
    })
  })

  for (const [name, client] of Object.entries(clients)) {
    test(`E12.159: from the cache are 5 hits and is not 1 miss, through ${name}`, async (t) => {
      const { url } = await origin(t, answering())
      const agent = testAgent(t, { expireAfter: '1h' })
      const { lookup } = listenTo(agent.cache)
      for (let index = 0; index < 6; index++) await client(agent, url)
      assert.deepEqual(
        lookup.map(({ fromCache }) => fromCache),
        [false, true, true, true, true, true],
      )
    })
  }

  test('a request whose content turns out to be some passes by', async (t) => {
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t)
    const heard = listenTo(agent.cache)
    for (const body of ['text', Readable.from(['text'])]) {
      await undici.request(url, { dispatcher: agent, method: 'GET', body }).then(dump)
    }
    assert.deepEqual(
      heard.lookup.map(({ outcome, reason }) => [outcome, reason]),
      [
        ['bypass', 'content'],
        ['bypass', 'content'],
      ],
    )
    remember(heard)
  })

  test('nor is one cached that has too much', async (t) => {
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t, { allowedMethods: ['POST'], maxRequestContentSize: 3 })
    const heard = listenTo(agent.cache)
    await get(agent, `${url}/?token=secret`, { method: 'POST', body: 'text' })
    assert.deepEqual(
      heard.lookup.map((event) => [event.outcome, event.reason, event.url, event.key]),
      [['bypass', 'request-too-large', `${url}/?token=REDACTED`, undefined]],
    )
    remember(heard)
  })

  test('a part is as long as it is, and what has no content has none', async (t) => {
    const { url } = await origin(t, answering({ ...HOUR, ETag: '"v1"' }))
    const agent = testAgent(t)
    const { lookup } = listenTo(agent.cache)
    await get(agent, url)
    await agent.cache.responses.settled()
    await ask(agent, url, fields({ range: 'bytes=0-1' }))
    await ask(agent, url, { method: 'HEAD' })
    await ask(agent, url, fields({ 'if-none-match': '"v1"' }))
    assert.deepEqual(
      lookup.slice(1).map(({ outcome, status, size }) => [outcome, status, size]),
      [
        ['hit', 206, 2],
        ['hit', 200, 0],
        ['hit', 304, 0],
      ],
    )
  })

  test('the origin fails: a miss without a status, with the error', async (t) => {
    const { url } = await origin(t, (_, response) => response.destroy())
    const agent = testAgent(t)
    const heard = listenTo(agent.cache)
    await assert.rejects(get(agent, url))
    await assert.rejects(get(agent, url, POST))
    const told = heard.lookup.map(({ outcome, reason, status, stored, error }) => {
      assert.ok(error instanceof Error)
      return [outcome, reason, status, stored]
    })
    assert.deepEqual(told, [
      ['miss', 'uri-miss', undefined, false],
      ['bypass', 'method', undefined, false],
    ])
    assert.equal(agent.cache.stats().failed, 2)
  })

  test('nothing is recorded for it: a miss without a status, with the error', async (t) => {
    const agent = testAgent(t, { mode: 'replay' })
    const { lookup } = listenTo(agent.cache)
    await assert.rejects(get(agent, 'http://a.invalid/'))
    await assert.rejects(get(agent, 'http://a.invalid/', POST))
    await turn()
    assert.deepEqual(
      lookup.map(({ outcome, reason, status, error }) => [outcome, reason, status, error?.name]),
      Array(2).fill(['miss', 'replay', undefined, 'NotStoredError']),
    )
  })

  test('a request that its caller gives up is not told', async (t) => {
    const { url } = await origin(t, () => {})
    const agent = testAgent(t)
    const { lookup } = listenTo(agent.cache)
    for (const init of [{}, POST]) {
      const signal = AbortSignal.timeout(50)
      await assert.rejects(undici.request(url, { dispatcher: agent, signal, ...init } as never))
    }
    assert.deepEqual(lookup, [])
    assert.equal(agent.cache.stats().requests, 0)
  })

  test('requests that wait for the answer to another one', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      setTimeout(() => response.writeHead(200, HOUR).end('content'), 50)
    })
    const agent = testAgent(t)
    const { lookup } = listenTo(agent.cache)
    await Promise.all(Array.from({ length: 5 }, () => get(agent, url)))
    assert.equal(seen.length, 1)
    assert.deepEqual(
      lookup.map(({ outcome, collapsed, fromCache }) => [outcome, collapsed, fromCache]),
      [['miss', false, false], ...Array(4).fill(['miss', true, false])],
    )
    assert.equal(agent.cache.stats().collapsed, 4)
  })

  test('an answer from before an invalidation', async (t) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const { url } = await origin(t, async (request, response) => {
      if (request.method === 'GET') await promise
      response.writeHead(200, HOUR).end('content')
    })
    const agent = testAgent(t)
    const heard = listenTo(agent.cache)
    const before = get(agent, url)
    await get(agent, url, POST)
    resolve()
    await before
    assert.equal(heard.lookup.at(-1)?.reason, 'invalidated')
    remember(heard)
  })

  test('an answer that an interceptor under the cache was redirected to', async (t) => {
    const { url } = await origin(t, (request, response) => {
      if (request.url === '/') response.writeHead(302, { Location: '/end' })
      response.end('content')
    })
    const dispatcher = new undici.Agent().compose(
      undici.interceptors.redirect({ maxRedirections: 3 }),
    )
    const agent = testAgent(t, { expireAfter: '1h', dispatcher })
    const heard = listenTo(agent.cache)
    await undici.request(url, { dispatcher: agent }).then(dump)
    assert.equal(heard.lookup.at(-1)?.reason, 'redirected')
    remember(heard)
  })

  test('what the cache does not understand passes by', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.end(request.url)
    })
    const agent = testAgent(t, {
      expireAfter: '1h',
      urlsExpireAfter: [
        [
          ({ pathname }) => {
            if (pathname === '/rule') throw new Error('a rule that throws')
            return false
          },
          '1h',
        ],
      ],
    })
    const heard = listenTo(agent.cache)
    await undici.request(`${url}/rule`, { dispatcher: agent }).then(dump)
    const upgrade = undici.upgrade(url, { dispatcher: agent, protocol: 'other' })
    await assert.rejects(upgrade)
    const { promise, resolve } = Promise.withResolvers<void>()
    const handler = { onResponseEnd: resolve, onResponseError: resolve, onRequestStart() {} }
    agent.dispatch({ origin: url, path: '/a\\b', method: 'GET' }, handler as never)
    await promise
    await turn()
    assert.deepEqual(
      heard.lookup.map((event) => [event.outcome, event.reason, event.url]),
      [
        ['bypass', 'rule-failed', `${url}/rule`],
        ['bypass', 'upgrade', `${url}/`],
        ['bypass', 'target', `${url}/a\\b`],
      ],
    )
    remember(heard)
  })

  test('no URL tells who a user is, or what is secret', async (t) => {
    const agent = testAgent(t, { secretParameters: ['own'] })
    const { lookup } = listenTo(agent.cache)
    const handler = { onRequestStart() {}, onResponseError() {} }
    const secret = {
      ...{ origin: 'ftp://user:secret@example.com', method: 'GET' },
      path: '/a@b?own=secret&c=d@e',
    }
    try {
      agent.dispatch(secret as never, handler as never)
    } catch {}
    await turn()
    assert.equal(lookup[0]?.url, 'ftp://example.com/a@b?own=REDACTED&c=d@e')
  })

  test('requests of a closed agent are not told', async (t) => {
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t)
    const { lookup } = listenTo(agent.cache)
    await agent.close()
    await assert.rejects(get(agent, url))
    assert.deepEqual(lookup, [])
  })

  test('with cacheStatus: false as well', async (t) => {
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t, { cacheStatus: false })
    const { lookup } = listenTo(agent.cache)
    for (let index = 0; index < 2; index++) await get(agent, url)
    await get(agent, url, POST)
    assert.deepEqual(
      lookup.map(({ outcome }) => outcome),
      ['miss', 'hit', 'bypass'],
    )
  })
})

suite('reasons', () => {
  test('the table of the README has all of them, and what they mean', () => {
    const [, section = ''] = README.split('### Reasons')
    const [table = ''] = section.split('\n#')
    const rows = [...table.matchAll(/^\| `([a-z-]+)` \| (.*) \|$/gm)]
    const told = rows.map(([, reason, meaning]) => [reason, meaning])
    assert.deepEqual(Object.fromEntries(told), REASONS)
  })

  test('each can happen', () => {
    // Not through an agent, where such a request passes by.
    const request = { method: 'GET', url: 'http://a/', fields: { 'cache-control': 'no-store' } }
    const verdict = mayStore(request, stored(HOUR))
    const told = [...TOLD].map((each) => each.split(' ')[1])
    assert.deepEqual(
      new Set([...told, verdict, 'undefined']),
      new Set([...Object.keys(REASONS), 'undefined']),
    )
  })

  test('each outcome can happen', () => {
    const told = new Set([...TOLD].map((each) => each.split(' ')[0]))
    assert.deepEqual(told, new Set(['hit', 'stale', 'revalidated', 'miss', 'bypass']))
  })
})

suite('what is stored, validated, evicted and deleted is told', () => {
  test('stored: when it is written', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: NOW })
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t)
    const { store, lookup } = listenTo(agent.cache)
    await get(agent, url)
    await agent.cache.responses.settled()
    await turn()
    const { key } = lookup[0] as LookupEvent
    const expires = new Date(NOW + 3_600_000)
    assert.deepEqual(store, [{ method: 'GET', url: `${url}/`, key, status: 200, size: 7, expires }])
  })

  test('stored for ever, and not stored', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('Content-Length', 7)
      response.write('con')
      // Cut off.
      if (request.url === '/cut') setImmediate(() => response.destroy())
      else response.end('tent')
    })
    const agent = testAgent(t, { expireAfter: -1 })
    const { store } = listenTo(agent.cache)
    await assert.rejects(get(agent, `${url}/cut`))
    await get(agent, `${url}/whole`)
    await agent.cache.responses.settled()
    await turn()
    assert.deepEqual(
      store.map((event) => [event.url, event.expires]),
      [[`${url}/whole`, undefined]],
    )
    assert.equal(agent.cache.stats().stored, 1)
  })

  // biome-ignore format: one rule a row
  const validations: [what: string, answer: Listener, confirmed: boolean, status: number | undefined, options: AgentOptions, headers?: Record<string, string>][] = [
    ['confirmed', validated(HOUR), true, 304, {}],
    ['answered anew', (_, response, count) => answering({ ...HOUR, ETag: `"v${count}"` })(_, response, count), false, 200, {}],
    ['failed, and the stale response used', failing(validated(HOUR)), false, 503, { staleIfError: true }],
    ['failed', (request, response, count) => count === 1 ? validated(HOUR)(request, response, count) : response.destroy(), false, undefined, {}],
    ['asked by the caller itself', validated(HOUR), true, 304, {}, { 'if-none-match': '"v1"' }],
  ]
  for (const [what, answer, isConfirmed, status, options, headers = {}] of validations) {
    test(`validated: ${what}`, async (t) => {
      t.mock.timers.enable({ apis: ['Date'], now: NOW })
      const { url } = await origin(t, answer)
      const agent = testAgent(t, options)
      const { validate, lookup } = listenTo(agent.cache)
      await get(agent, url)
      await agent.cache.responses.settled()
      t.mock.timers.tick(7_200_000)
      await get(agent, url, { headers }).catch(() => {})
      assert.equal(validate.length, 1)
      const { duration, error, ...told } = validate[0] as (typeof validate)[0]
      const { key } = lookup[0] as LookupEvent
      const asked = { method: 'GET', url: `${url}/`, key }
      assert.deepEqual(told, { ...asked, confirmed: isConfirmed, background: false, status })
      assert.ok(duration > 0)
      assert.equal(error === undefined, status !== undefined)
      const { confirmed, unconfirmed } = agent.cache.stats().validations
      assert.deepEqual([confirmed, unconfirmed], isConfirmed ? [1, 0] : [0, 1])
    })
  }

  for (const [answer, status] of [
    [validated(HOUR), 304],
    [answering(HOUR), 200],
  ] as const) {
    test(`validated in the background, with status ${status}: and not as a request`, async (t) => {
      t.mock.timers.enable({ apis: ['Date'], now: NOW })
      const { url } = await origin(t, answer)
      const agent = testAgent(t, { staleWhileRevalidate: true })
      const { validate, lookup } = listenTo(agent.cache)
      await get(agent, url)
      await agent.cache.responses.settled()
      t.mock.timers.tick(7_200_000)
      await get(agent, url)
      while (agent.cache.validations.size > 0) await turn()
      await turn()
      assert.deepEqual(
        validate.map((event) => [event.background, event.confirmed, event.status]),
        [[true, status === 304, status]],
      )
      assert.equal(lookup.length, 2)
    })
  }

  test('validated: once, by an answer to HEAD that is about the same', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: NOW })
    const { url } = await origin(t, answering({ ...HOUR, ETag: '"v1"', 'Content-Length': '7' }))
    const agent = testAgent(t)
    const { validate } = listenTo(agent.cache)
    await get(agent, url)
    await agent.cache.responses.settled()
    t.mock.timers.tick(7_200_000)
    assert.equal((await ask(agent, url, { method: 'HEAD' }))?.reason, 'freshened')
    assert.deepEqual(
      validate.map(({ method, confirmed, status }) => [method, confirmed, status]),
      [['HEAD', true, 200]],
    )
  })

  test('evicted: by each limit', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Vary', 'Accept').end('x'.repeat(1000))
    })
    const limits = { maxEntries: 5, maxSize: '8KB', maxVariants: 2 }
    for (const [limit, value] of Object.entries(limits)) {
      const agent = testAgent(t, { expireAfter: '1h', [limit]: value })
      const { evict, store } = listenTo(agent.cache)
      for (let index = 0; index < 10; index++) {
        const path = limit === 'maxVariants' ? '/' : `/${index}`
        await get(agent, url + path, { headers: { accept: `text/${index}` } })
        await agent.cache.responses.settled()
        await agent.cache.responses.limitsKept()
      }
      await turn()
      assert.equal(evict.length, 10 - (await agent.cache.count()))
      assert.ok(evict.length > 0)
      for (const [index, event] of evict.entries()) {
        const { status: _, expires: __, ...first } = store[index] as (typeof store)[0]
        assert.deepEqual(event, { ...first, limit })
      }
      assert.equal(agent.cache.stats().evicted, evict.length)
    }
  })

  test('deleted: each response, and why', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Vary', 'Accept').end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const heard = listenTo(agent.cache)
    for (const accept of ['a/a', 'b/b']) await get(agent, url, { headers: { accept } })
    await agent.cache.delete(url)
    await agent.cache.delete(url)
    await get(agent, url)
    await agent.cache.responses.settled()
    await get(agent, url, POST)
    await agent.cache.responses.settled()
    await agent.cache.clear()
    await turn()
    const { key } = heard.lookup[0] as LookupEvent
    const response = { key, method: 'GET', url: `${url}/`, size: 7 }
    assert.deepEqual(heard.delete, [
      { ...response, cause: 'management' },
      { ...response, cause: 'management' },
      { ...response, cause: 'invalidation' },
      { key: undefined, method: undefined, url: undefined, size: undefined, cause: 'management' },
    ])
    assert.equal(agent.cache.stats().deleted, 4)
  })

  test('deleted: what the origin has replaced by something that is not stored', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: NOW })
    const { url } = await origin(t, (_, response, count) => {
      response.writeHead(count === 1 ? 200 : 403, count === 1 ? HOUR : {}).end('content')
    })
    const agent = testAgent(t)
    const heard = listenTo(agent.cache)
    await get(agent, url)
    await agent.cache.responses.settled()
    t.mock.timers.tick(7_200_000)
    await get(agent, url)
    await agent.cache.responses.settled()
    await turn()
    assert.deepEqual(
      heard.delete.map(({ cause }) => cause),
      ['superseded'],
    )
  })
})

suite('listeners', () => {
  test('are called outside the request, in the next tick, and in the order of what happened', async (t) => {
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t)
    await get(agent, url)
    await agent.cache.responses.settled()
    const order: string[] = []
    agent.cache.on('lookup', ({ outcome }) => order.push(outcome))
    const handler = {
      onRequestStart() {},
      onResponseStart: () => order.push('begins'),
      onResponseEnd: () => order.push('ends'),
    }
    const options = { origin: url, path: '/', method: 'GET' } as const
    agent.dispatch(options, handler as never)
    agent.dispatch(options, handler as never)
    await turn()
    assert.deepEqual(order, ['begins', 'ends', 'begins', 'ends', 'hit', 'hit'])
  })

  test('that throw fail no request, and keep nobody else from being told', async (t) => {
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t)
    const thrown: string[] = []
    const uncaught = (error: Error) => thrown.push(error.message)
    // In the place of the test runner's own.
    const others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException').on('uncaughtException', uncaught)
    let told = 0
    const channel = diagnostics.channel('caching-agent:lookup')
    const subscriber = () => {
      throw new Error('a subscriber that throws')
    }
    channel.subscribe(subscriber)
    t.after(() => {
      channel.unsubscribe(subscriber)
      process.removeAllListeners('uncaughtException')
      for (const each of others) process.on('uncaughtException', each)
    })
    agent.cache.on('lookup', () => {
      throw new Error('a listener that throws')
    })
    agent.cache.on('lookup', () => {
      told += 1
    })
    for (let index = 0; index < 2; index++) {
      assert.equal((await get(agent, url)).body, 'content')
    }
    await turn()
    assert.equal(told, 2)
    assert.deepEqual(thrown.sort(), [
      ...Array(2).fill('a listener that throws'),
      ...Array(2).fill('a subscriber that throws'),
    ])
  })

  test('once, and no longer', async (t) => {
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t)
    const order: string[] = []
    const listener = ({ outcome }: LookupEvent) => order.push(outcome)
    assert.equal(agent.cache.once('lookup', listener), agent.cache)
    for (let index = 0; index < 2; index++) await get(agent, url)
    agent.cache.on('lookup', listener)
    await get(agent, url)
    agent.cache.off('lookup', listener)
    await get(agent, url)
    agent.cache.once('lookup', listener).off('lookup', listener)
    await get(agent, url)
    assert.deepEqual(order, ['miss', 'hit'])
  })

  test('make requests of their own on no terms of the caller', async (t) => {
    const { url } = await origin(t, answering())
    const agent = testAgent(t, { expireAfter: '1h' })
    const { promise, resolve } = Promise.withResolvers<string | undefined>()
    agent.cache.once('lookup', () => {
      get(agent, `${url}/report`).then(({ info }) => resolve(info?.status), resolve)
    })
    await disabled(() => get(agent, url))
    assert.equal(await promise, 'miss')
    await withTerms({ expireAfter: DO_NOT_CACHE }, () => get(agent, url))
  })

  test('whoever begins to listen while a request is under way hears of the next one', async (t) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const { url } = await origin(t, async (_, response, count) => {
      if (count === 1) await promise
      response.end('content')
    })
    const agent = testAgent(t)
    const first = get(agent, `${url}/first`)
    await get(agent, `${url}/meanwhile`)
    const { lookup } = listenTo(agent.cache)
    resolve()
    await first
    await get(agent, `${url}/second`)
    assert.deepEqual(
      lookup.map((event) => event.url),
      [`${url}/second`],
    )
  })
})

suite('diagnostics_channel', () => {
  test('publishes the same, at once', async (t) => {
    const { url } = await origin(t, validated(HOUR))
    const agent = testAgent(t, { maxEntries: 1 })
    const heard = listenTo(agent.cache)
    const published: Record<string, unknown[]> = {}
    for (const name of Object.keys(heard)) {
      const all: unknown[] = []
      published[name] = all
      const subscriber = (event: unknown) => all.push(event)
      diagnostics.subscribe(`caching-agent:${name}`, subscriber)
      t.after(() => diagnostics.unsubscribe(`caching-agent:${name}`, subscriber))
    }
    await get(agent, `${url}/a`)
    await get(agent, `${url}/a`, { headers: { 'cache-control': 'no-cache' } })
    await get(agent, `${url}/b`)
    await agent.cache.responses.settled()
    await agent.cache.responses.limitsKept()
    await agent.cache.clear()
    agent.cache.events.error('read', new Error('trouble'))
    assert.equal(published.error?.length, 1)
    assert.equal(heard.error.length, 0)
    await turn()
    for (const [name, events] of Object.entries(heard)) {
      assert.ok(events.length > 0, name)
      assert.deepEqual(published[name], events, name)
    }
    // The README names what each event tells.
    const [, section = ''] = README.split('### Events')
    for (const [name, [event]] of Object.entries(heard)) {
      const [, told = ''] =
        new RegExp(`^\\| \`${name}\` \\|.*\\| (.*) \\|$`, 'm').exec(section) ?? []
      const names = [...told.matchAll(/`(\w+)`/g)].map(([, field]) => field)
      assert.deepEqual(names.sort(), Object.keys(event as object).sort(), name)
    }
  })

  test('publishes where nobody listens otherwise', async (t) => {
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t)
    const published: LookupEvent[] = []
    const subscriber = (event: unknown) => published.push(event as LookupEvent)
    diagnostics.subscribe('caching-agent:lookup', subscriber)
    t.after(() => diagnostics.unsubscribe('caching-agent:lookup', subscriber))
    await get(agent, url)
    assert.deepEqual(
      published.map(({ outcome }) => outcome),
      ['miss'],
    )
  })
})

test('nobody listens: nothing is made and no clock is read', async (t) => {
  const { url } = await origin(t, answering(HOUR))
  const agent = testAgent(t)
  await get(agent, url)
  await agent.cache.responses.settled()
  const clock = t.mock.method(performance, 'now')
  const tick = t.mock.method(process, 'nextTick')
  const handler = { onRequestStart() {}, onResponseStart() {}, onResponseEnd() {} }
  const dispatch = () => agent.dispatch({ origin: url, path: '/', method: 'GET' }, handler as never)
  dispatch()
  assert.deepEqual([clock.mock.callCount(), tick.mock.callCount()], [0, 0])
  agent.cache.on('lookup' satisfies keyof CacheEvents, () => {})
  dispatch()
  assert.deepEqual([clock.mock.callCount(), tick.mock.callCount()], [2, 1])
})

/** Until what has been told has been heard. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

async function dump({ body }: { body: { dump(): Promise<void> } }): Promise<void> {
  await body.dump()
}
