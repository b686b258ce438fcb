import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { PassThrough, Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type CachingAgent, disabled, withTerms } from 'caching-agent'
import * as undici from 'undici'
import { PackageRegistry } from '../examples/third-party/package-registry.ts'
import { contextTerms } from '../lib/context.ts'
import { get, testAgent } from './helpers/agent.ts'
import { origin } from './helpers/origin.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** An agent on one connection, so that requests have each other’s callbacks; and an origin that takes its time. */
async function oneConnection(t: TestContext) {
  const { url, seen } = await origin(t, async (_, response) => {
    for (let part = 0; part < 3; part++) {
      response.write('part')
      await delay(5)
    }
    response.end()
  })
  const dispatcher = new undici.Agent({ connections: 1, pipelining: 1 })
  const agent = testAgent(t, { expireAfter: '1d', dispatcher })
  return { url, seen, agent }
}

/** For how long what is stored for a URL is fresh, in minutes. */
async function minutes({ cache }: CachingAgent, url: string): Promise<number> {
  await cache.responses.settled()
  const { expires, storedAt } = (await cache.get(url)) ?? {}
  return Math.round((Number(expires) - Number(storedAt)) / MINUTE)
}

const hour = { expireAfter: '1h' }

suite('withTerms follows the async context', () => {
  const ways: [what: string, later: (fn: () => void) => void][] = [
    ['setTimeout', (fn) => setTimeout(fn, 5)],
    ['setImmediate', (fn) => setImmediate(fn)],
    ['process.nextTick', (fn) => process.nextTick(fn)],
    ['queueMicrotask', (fn) => queueMicrotask(fn)],
    ['a promise', (fn) => void delay(5).then(fn)],
    ['an emitter', (fn) => new EventEmitter().once('go', fn).emit('go')],
    ['a stream', (fn) => void Readable.from(['x']).on('data', fn)],
    ['a file', (fn) => void import('node:fs').then(({ stat }) => stat('.', fn))],
  ]
  for (const [what, later] of ways) {
    test(`through ${what}`, async (t) => {
      const { url, agent } = await oneConnection(t)
      await get(agent, `${url}/before`)
      await withTerms(hour, () => {
        return new Promise<void>((resolve, reject) => {
          later(() => void get(agent, url).then(() => resolve(), reject))
        })
      })
      assert.equal(await minutes(agent, url), 60)
      assert.equal(await minutes(agent, `${url}/before`), 24 * 60)
    })
  }

  test('through an interval, for as long as it runs', async (t) => {
    const { url, agent } = await oneConnection(t)
    let count = 0
    const interval = withTerms(hour, () =>
      setInterval(() => {
        count += 1
        void get(agent, `${url}/${count}`)
      }, 10),
    )
    while (count < 3) await delay(5)
    clearInterval(interval)
    await agent.close()
    for (const path of ['/1', '/2']) assert.equal(await minutes(agent, url + path), 60)
  })

  test('through a pipeline of streams', async (t) => {
    const { url, agent } = await oneConnection(t)
    const fetching = () =>
      new Transform({
        objectMode: true,
        async transform(path: string, _, done) {
          done(null, (await get(agent, url + path)).body)
        },
      })
    const run = (paths: string[]) =>
      pipeline(Readable.from(paths), fetching(), new PassThrough({ objectMode: true }).resume())
    await Promise.all([withTerms(hour, () => run(['/1', '/2'])), run(['/3', '/4'])])
    const all = ['/1', '/2', '/3', '/4'].map((path) => minutes(agent, url + path))
    assert.deepEqual(await Promise.all(all), [60, 60, 1440, 1440])
  })

  test('into the callbacks of a response, whose connection others have opened', async (t) => {
    const { url, agent } = await oneConnection(t)
    const seen: unknown[] = []
    const note = () => void seen.push(contextTerms()?.expireAfter)
    const ask = async (method: 'GET' | 'POST', path: string) => {
      const { body } = await undici.request(url + path, { dispatcher: agent, method })
      note()
      body.on('data', note).on('end', note)
      await once(body, 'close')
    }
    const opening = { expireAfter: '2h' }
    await withTerms(opening, () => ask('GET', '/first'))
    for (const method of ['GET', 'POST'] as const) {
      for (const path of ['/twice', '/twice']) {
        seen.length = 0
        await withTerms(hour, () => ask(method, path))
        assert.ok(seen.length >= 3)
        for (const terms of seen) assert.deepEqual(terms, { kind: 'duration', milliseconds: HOUR })
        seen.length = 0
        await ask(method, `${path}/none`)
        assert.deepEqual(new Set(seen), new Set([undefined]))
      }
    }
  })

  test('a request from within a response is in the terms of that one', async (t) => {
    const { url, agent } = await oneConnection(t)
    await withTerms({ expireAfter: '2h' }, () => get(agent, `${url}/opening`))
    const followed = (path: string) =>
      new Promise<void>((resolve, reject) => {
        const first = undici.request(url + path, { dispatcher: agent })
        first.then(({ body }) => {
          body.once('data', () => {
            get(agent, `${url}${path}/next`).then(() => resolve(), reject)
          })
        }, reject)
      })
    await Promise.all([withTerms(hour, () => followed('/a')), followed('/b')])
    assert.equal(await minutes(agent, `${url}/a/next`), 60)
    assert.equal(await minutes(agent, `${url}/b/next`), 1440)
  })

  test('a listener runs in the context of who emits', async (t) => {
    const { url, agent } = await oneConnection(t)
    const emitter = new EventEmitter()
    const done: Promise<unknown>[] = []
    withTerms({ expireAfter: '2h' }, () => {
      emitter.on('go', (path: string) => {
        done.push(undici.request(url + path, { dispatcher: agent }).then(({ body }) => body.dump()))
      })
    })
    withTerms(hour, () => emitter.emit('go', '/inside'))
    emitter.emit('go', '/outside')
    await Promise.all(done)
    assert.equal(await minutes(agent, `${url}/inside`), 60)
    assert.equal(await minutes(agent, `${url}/outside`), 1440)
  })

  test('through a library that knows nothing of it', async (t) => {
    const { url, seen } = await origin(t, ({ url: path = '' }, response) => {
      const next = path.includes('first') ? { second: '1' } : {}
      response.end(JSON.stringify({ version: '1.0.0', dependencies: next }))
    })
    const agent = testAgent(t, { expireAfter: '1d' })
    const before = undici.getGlobalDispatcher()
    undici.setGlobalDispatcher(agent)
    t.after(() => undici.setGlobalDispatcher(before))
    const registry = new PackageRegistry(url)
    await withTerms(hour, () => registry.dependencies('first'))
    const paths = seen.map((request) => request.url)
    assert.ok(paths.length > 1)
    for (const path of paths) assert.equal(await minutes(agent, url + path), 60)
    await disabled(() => registry.dependencies('first'))
    assert.equal(seen.length, 2 * paths.length)
    await registry.dependencies('first')
    assert.equal(seen.length, 2 * paths.length)
  })

  test('through undici’s retries, around the cache and under it', async (t) => {
    const failing = new Set<string>()
    const fail = ({ url = '' }: IncomingMessage, response: ServerResponse) => {
      const isFirst = !failing.has(url)
      failing.add(url)
      if (isFirst) response.writeHead(503).end()
      else response.end('content')
    }
    const { url } = await origin(t, fail)
    const options = { maxRetries: 2, minTimeout: 5 }
    const inner = new undici.Agent({ connections: 1 })
    const agent = testAgent(t, { expireAfter: '1d', dispatcher: inner })
    const under = testAgent(t, { expireAfter: '1d', dispatcher: inner.compose(undici.interceptors.retry(options)) }) // biome-ignore format: one line
    const around = new undici.RetryAgent(agent, options)
    const composed = agent.compose(undici.interceptors.retry(options))
    const all = [
      ['/around', around, agent],
      ['/composed', composed, agent],
      ['/under', under, under],
    ] as const
    for (const [path, dispatcher, { cache }] of all) {
      const ask = async (to: string) => {
        const { body } = await undici.request(to, { dispatcher })
        assert.equal(await body.text(), 'content')
      }
      await Promise.all([
        withTerms(hour, () => ask(`${url}${path}/1`)),
        ask(`${url}${path}/2`),
        withTerms({ expireAfter: '2h' }, () => ask(`${url}${path}/3`)),
      ])
      const found = ['/1', '/2', '/3'].map((n) =>
        minutes({ cache } as CachingAgent, url + path + n),
      )
      assert.deepEqual(await Promise.all(found), [60, 1440, 120], path)
    }
  })
})

suite('nested and parallel uses of terms', () => {
  test('never affect each other', async (t) => {
    const { url } = await origin(t, async (_, response) => {
      await delay(Math.random() * 10)
      response.end('content')
    })
    const agent = testAgent(t, {
      expireAfter: '1d',
      dispatcher: new undici.Agent({ connections: 2 }),
    })
    const one = async (n: number) => {
      await delay(Math.random() * 10)
      const outer = withTerms({ expireAfter: `${n}h` }, async () => {
        await delay(Math.random() * 10)
        await get(agent, `${url}/outer/${n}`)
        await withTerms({ expireAfter: `${n}m` }, async () => {
          await delay(Math.random() * 10)
          await get(agent, `${url}/inner/${n}`)
        })
        await get(agent, `${url}/after/${n}`)
      })
      await Promise.all([outer, get(agent, `${url}/none/${n}`)])
    }
    const numbers = Array.from({ length: 20 }, (_, n) => n + 1)
    await Promise.all(numbers.map(one))
    for (const n of numbers) {
      assert.equal(await minutes(agent, `${url}/outer/${n}`), n * 60)
      assert.equal(await minutes(agent, `${url}/inner/${n}`), n)
      assert.equal(await minutes(agent, `${url}/after/${n}`), n * 60)
      assert.equal(await minutes(agent, `${url}/none/${n}`), 1440)
    }
  })

  test('disabled: nothing is read or written inside, everything is as before outside', async (t) => {
    const { url, seen } = await origin(t, (_, response, count) => response.end(`response ${count}`))
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const body = async () => (await get(agent, url)).body
    const inside = disabled(async () => {
      const first = await body()
      const nested = await disabled(body)
      await delay(20)
      return [first, nested, await body()]
    })
    const outside = await body()
    assert.deepEqual([outside, await inside], ['response 1', ['response 2', 'response 3', 'response 4']]) // biome-ignore format: one line
    assert.equal(await body(), 'response 1')
    assert.equal(seen.length, 4)
  })

  test('what throws or rejects restores what was before', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1d' })
    await withTerms(hour, async () => {
      assert.throws(() => disabled(() => assert.fail('thrown')), { message: 'thrown' })
      const inside = disabled(async () => {
        await delay(5)
        assert.fail('rejected')
      })
      const rejected = assert.rejects(inside, { message: 'rejected' })
      await get(agent, `${url}/meanwhile`)
      await rejected
      await get(agent, `${url}/after`)
    })
    await get(agent, `${url}/outside`)
    assert.equal(await minutes(agent, `${url}/meanwhile`), 60)
    assert.equal(await minutes(agent, `${url}/after`), 60)
    assert.equal(await minutes(agent, `${url}/outside`), 1440)
  })

  test('disabled() takes precedence over the terms of an agent, and lets inner terms cache again', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1d' }).with({ expireAfter: '2h' })
    for (let round = 0; round < 2; round++) await disabled(() => get(agent, url))
    assert.equal(seen.length, 2)
    await disabled(() => withTerms(hour, () => get(agent, url)))
    assert.equal(await minutes(agent, url), 60)
  })
})

suite('what goes on behind', () => {
  test('a validation in the background is in the terms of the request that started it', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    let answer = () => {}
    const { url, seen } = await origin(t, (_, response, count) => {
      if (count === 1) response.end('content')
      else answer = () => void response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h', staleWhileRevalidate: true })
    await get(agent, url)
    t.mock.timers.tick(2 * HOUR)
    await withTerms({ expireAfter: '5h' }, async () => {
      assert.equal((await get(agent, url)).info?.status, 'stale')
    })
    // By now the context of that request is left, and others use the same response.
    while (seen.length < 2) await delay(5)
    assert.equal((await get(agent, url)).info?.status, 'stale')
    await withTerms({ expireAfter: '9h' }, () => get(agent, url))
    answer()
    while (agent.cache.validations.size > 0) await delay(5)
    assert.equal(await minutes(agent, url), 300)
    assert.equal(seen.length, 2)
  })

  test('who waits for the answer to another request is in terms of its own', async (t) => {
    let answer = () => {}
    const { url, seen } = await origin(t, (_, response) => {
      answer = () => void response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1d' })
    const inContext = async () => {
      await get(agent, url)
      return contextTerms()?.expireAfter
    }
    const first = withTerms(hour, inContext)
    while (seen.length < 1) await delay(5)
    const others = [inContext(), withTerms({ expireAfter: '2h' }, inContext)]
    await delay(20)
    answer()
    const duration = (milliseconds: number) => ({ kind: 'duration', milliseconds })
    assert.deepEqual(await Promise.all([first, ...others]), [duration(HOUR), undefined, duration(2 * HOUR)]) // biome-ignore format: one line
    assert.equal(await minutes(agent, url), 60)
    assert.equal(seen.length, 1)
  })
})
