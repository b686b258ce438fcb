import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { type Readable, Transform } from 'node:stream'
import { after, before, mock, suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { inspect, promisify } from 'node:util'
import KeyvPostgres from '@keyv/postgres'
import KeyvRedis, { createClient } from '@keyv/redis'
import KeyvValkey from '@keyv/valkey'
import {
  type AgentOptions,
  type CacheError,
  type CachingAgent,
  cacheInfo,
  cachingAgent,
  HttpCache,
  NEVER_EXPIRE,
  type StoreOption,
} from 'caching-agent'
import { Keyv } from 'keyv'
import KeyvRedis5 from 'keyv-redis5'
import { Keyv as Keyv5 } from 'keyv5'
import { request } from 'undici'
import { READERS_GRACE } from '../lib/storage/chunks.ts'
import { Heads } from '../lib/storage/heads.ts'
import { get, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'
import {
  freePort,
  noPostgres,
  noRedis,
  PASSWORD,
  type StoreServer,
  serverUrl,
  startPostgres,
  startRedis,
} from './helpers/servers.ts'

const ROOT = dirname(import.meta.dirname)
const run = promisify(execFile)

/** The longest that a store may delay a request, with room for a busy machine, in milliseconds. */
const LONGEST = 1500

/** The schemes of URLs, each with a server that understands it. */
const kinds: [scheme: string, skip: string | false, start: () => Promise<StoreServer>][] = [
  ['redis', noRedis, startRedis],
  ['valkey', noRedis, startRedis],
  ['postgres', noPostgres, startPostgres],
]

/** An agent on a store that only this store's server remembers anything for, and the errors that it tells. */
function observedAgent(t: TestContext, store: StoreOption, options: AgentOptions = {}) {
  const agent = testAgent(t, { store, expireAfter: '1h', memory: false, ...options })
  const errors: CacheError[] = []
  agent.cache.on('error', (error) => errors.push(error))
  return { agent, errors }
}

async function timed(agent: CachingAgent, url: string) {
  const start = performance.now()
  const { status, body, info } = await get(agent, url)
  return { status, body, outcome: info?.status, took: performance.now() - start }
}

/** Asks a database by the connection of an adapter. */
function query(adapter: object, sql: string): Promise<unknown[]> {
  return (adapter as { query(sql: string): Promise<unknown[]> }).query(sql)
}

/** A client that may do anything on a Redis server, until the test ends. */
async function administer(t: TestContext, server: { readonly port: number }) {
  const client = createClient({ url: serverUrl('redis', server) })
  await client.connect()
  t.after(() => client.quit())
  return client
}

/** What the cache does for a URL, all of what was received before being written. */
async function outcome(agent: CachingAgent, url: string): Promise<string | undefined> {
  await agent.cache.responses.settled()
  return (await timed(agent, url)).outcome
}

/** Lets the time pass in which a store is left alone after failures. */
function passRest(t: TestContext): void {
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 11_000 })
}

for (const [scheme, skip, start] of kinds) {
  suite(`a store at ${scheme}://`, { skip }, () => {
    let server: StoreServer
    let count = 0
    const freshStore = () => `${serverUrl(scheme, server)}?namespace=test${count++}`
    before(async () => {
      server = await start()
    })

    test('shares responses among machines, which forget what one of them deletes', async (t) => {
      const { url, seen } = await origin(t, (_, response) => response.end('content'))
      const store = freshStore()
      const { agent: one, errors } = observedAgent(t, store)
      const { agent: other } = observedAgent(t, store)
      assert.equal(await outcome(one, url), 'miss')
      assert.equal(await outcome(one, url), 'hit')
      assert.equal(await outcome(other, url), 'hit')
      assert.deepEqual(await other.cache.urls(), [`${url}/`])
      await other.cache.delete(url)
      assert.equal(await outcome(one, url), 'miss')
      assert.equal(seen.length, 2)
      assert.deepEqual(errors, [])
    })

    test('keeps credentials apart on all machines, with the secret of the store', async (t) => {
      const { url } = await origin(t, ({ headers }, response) =>
        response.end(headers.authorization ?? 'nobody'),
      )
      const store = freshStore()
      const agents = [observedAgent(t, store).agent, observedAgent(t, store).agent]
      const seen: unknown[] = []
      for (const agent of agents) {
        for (const authorization of ['one', 'two']) {
          const { body, info } = await get(agent, url, { headers: { authorization } })
          await agent.cache.responses.settled()
          seen.push([body, info?.status])
        }
      }
      const once = (status: string) => [['one', status], ['two', status]] // biome-ignore format: pairs
      assert.deepEqual(seen, [...once('miss'), ...once('hit')])
    })

    test('never touches another namespace, whatever its name begins with', async (t) => {
      const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(100_000, 'x')))
      const names = ['a', 'ab', 'a.b', 'a-responses_1', 'a_', 'A']
      const agents = names.map((name) => {
        const { agent } = observedAgent(t, `${serverUrl(scheme, server)}?namespace=${name}`)
        return agent
      })
      for (const agent of agents) assert.equal(await outcome(agent, url), 'miss')
      for (const agent of agents) await agent.cache.responses.settled()
      await agents[0]?.cache.clear()
      const counts: number[] = []
      for (const agent of agents) counts.push(await agent.cache.count())
      assert.deepEqual(counts, [0, 1, 1, 1, 1, 1])
      for (const [index, agent] of agents.entries()) {
        assert.equal(await outcome(agent, url), index === 0 ? 'miss' : 'hit')
      }
    })

    test('lets other machines read on what is cleared', async (t) => {
      const content = randomBytes(3_000_000)
      const { url } = await origin(t, (_, response) => response.end(content))
      const store = freshStore()
      const [agent, other] = [observedAgent(t, store).agent, observedAgent(t, store).agent]
      await get(other, url)
      await other.cache.responses.settled()
      const { headers, body } = await request(url, { dispatcher: agent })
      assert.equal(cacheInfo({ headers })?.status, 'hit')
      await other.cache.clear()
      assert.equal(await other.cache.count(), 0)
      assert.ok(content.equals(Buffer.from(await body.arrayBuffer())))
    })

    test('keeps large content, byte for byte', async (t) => {
      const content = randomBytes(5_000_000)
      const { url } = await origin(t, (_, response) => response.end(content))
      const store = freshStore()
      for (const expected of ['miss', 'hit']) {
        const { agent, errors } = observedAgent(t, store)
        const { headers, body } = await request(url, { dispatcher: agent })
        assert.ok(content.equals(Buffer.from(await body.arrayBuffer())))
        await agent.cache.responses.settled()
        assert.equal(cacheInfo({ headers })?.status, expected)
        assert.deepEqual(errors, [])
      }
    })

    test('over a link that is no faster than others is read while large content is written to it', async (t) => {
      const large = randomBytes(7_000_000)
      const { url } = await origin(t, (request, response) =>
        response.end(request.url === '/large' ? large : 'content'),
      )
      const store = new URL(freshStore())
      store.port = String(await startLink(t, server.port, 8_000_000))
      const { agent, errors } = observedAgent(t, store.href)
      assert.equal(await outcome(agent, url), 'miss')
      assert.equal(await outcome(agent, url), 'hit')
      let isWritten = false
      const writing = get(agent, `${url}/large`)
        .then(() => agent.cache.responses.settled())
        .finally(() => {
          isWritten = true
        })
      const outcomes: unknown[] = []
      while (!isWritten) {
        outcomes.push((await timed(agent, url)).outcome)
        await delay(10)
      }
      await writing
      assert.deepEqual(new Set(outcomes), new Set(['hit']))
      assert.equal((await get(agent, `${url}/large`)).info?.status, 'hit')
      assert.deepEqual(errors, [])
    })

    test('is connected to once, by many requests at the start of a program', async (t) => {
      const { url } = await origin(t, ({ url }, response) => response.end(url))
      const store = freshStore()
      const urls = Array.from({ length: 40 }, (_, index) => `${url}/${index}`)
      for (const expected of ['miss', 'hit']) {
        const { agent, errors } = observedAgent(t, store)
        const answers = await Promise.all(urls.map((each) => timed(agent, each)))
        await agent.cache.responses.settled()
        assert.deepEqual(new Set(answers.map(({ outcome }) => outcome)), new Set([expected]))
        assert.deepEqual(errors, [])
      }
    })

    test('that is down at construction is used when it is up', async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      await server.kill()
      t.after(() => server.start())
      const { agent, errors } = observedAgent(t, freshStore())
      for (let index = 0; index < 10; index++) {
        const { body, took } = await timed(agent, `${url}/${index}`)
        assert.equal(body, 'content')
        assert.ok(took < LONGEST, `${took} ms`)
      }
      await assert.rejects(agent.cache.urls(), /127\.0\.0\.1/)
      assert.equal(errors[0]?.operation, 'open')
      const { message = '' } = errors[0]?.error ?? {}
      assert.match(message, new RegExp(`^${scheme}://127.0.0.1:${server.port}: .*ECONNREFUSED`))
      await server.start()
      passRest(t)
      assert.equal(await outcome(agent, url), 'miss')
      assert.equal(await outcome(agent, url), 'hit')
    })

    test('that takes long to be connected to delays requests once, and is used as soon as it answers', async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const proxy = await startProxy(t, server.port, false)
      const { agent, errors } = observedAgent(t, `${serverUrl(scheme, proxy)}?namespace=slow`)
      const first = await timed(agent, url)
      assert.deepEqual([first.body, first.outcome], ['content', 'miss'])
      assert.ok(first.took < LONGEST, `${first.took} ms`)
      const told = errors.map(({ operation, error }) => `${operation}: ${error.message}`)
      assert.deepEqual(told, ['read: the store did not read within 500 ms'])
      for (let index = 0; index < 10; index++) {
        const { body, took } = await timed(agent, `${url}/${index}`)
        assert.equal(body, 'content')
        assert.ok(took < 400, `${took} ms`)
      }
      assert.equal(errors.length, 1)
      proxy.open()
      // No clock has to be turned.
      while ((await outcome(agent, url)) === 'miss') await delay(20)
      assert.equal(await outcome(agent, url), 'hit')
      assert.equal(errors.length, 1)
    })

    test('that is restarted while nobody uses it is not missed', async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const { agent, errors } = observedAgent(t, freshStore())
      assert.equal(await outcome(agent, url), 'miss')
      assert.equal(await outcome(agent, url), 'hit')
      await server.kill()
      await server.start()
      await outcome(agent, url)
      assert.equal(await outcome(agent, url), 'hit')
      assert.deepEqual(errors, [])
    })

    test('that is killed and restarted under load fails no request', async (t) => {
      const { url } = await origin(t, ({ url }, response) => response.end(`content of ${url}`))
      const { agent, errors } = observedAgent(t, freshStore())
      let isOver = false
      let slowest = 0
      const outcomes = new Set<string | undefined>()
      const load = Array.from({ length: 8 }, async (_, worker) => {
        for (let round = 0; !isOver; round++) {
          const path = `/${(worker + round) % 20}`
          const { body, took, outcome } = await timed(agent, url + path)
          assert.equal(body, `content of ${path}`)
          slowest = Math.max(slowest, took)
          outcomes.add(outcome)
        }
      })
      // However busy the machine is.
      while (!outcomes.has('hit')) await delay(100)
      await server.kill()
      await delay(300)
      await server.start()
      await delay(300)
      isOver = true
      await Promise.all(load)
      assert.ok(slowest < LONGEST, `${slowest} ms`)
      assert.deepEqual([...outcomes].sort(), ['hit', 'miss'])
      assert.ok(errors.length > 0)
      passRest(t)
      await outcome(agent, `${url}/0`)
      assert.equal(await outcome(agent, `${url}/0`), 'hit')
    })

    test('that is away for a moment in the middle of large content does not cut it off', async (t) => {
      const content = randomBytes(5_000_000)
      const { url } = await origin(t, (_, response) => response.end(content))
      const store = new URL(freshStore())
      const proxy = await startProxy(t, server.port)
      store.port = String(proxy.port)
      const { agent } = observedAgent(t, store.href)
      assert.equal(await outcome(agent, url), 'miss')
      await agent.cache.responses.settled()
      const { headers, body } = await request(url, { dispatcher: agent })
      assert.equal(cacheInfo({ headers })?.status, 'hit')
      await delay(100)
      const before = proxy.connections
      proxy.cut()
      assert.ok(content.equals(Buffer.from(await body.arrayBuffer())))
      // Some clients connect anew and ask once more by themselves, so that there is nothing to be told.
      assert.ok(proxy.connections > before, 'it was not needed any more')
    })

    test('that is cut off before it tells that a response is stored has it with all of its content', async (t) => {
      const content = Buffer.alloc(900_000, 'x')
      const { url } = await origin(t, (_, response) => response.end(content))
      const store = new URL(freshStore())
      const proxy = await startProxy(t, server.port)
      store.port = String(proxy.port)
      const options = { leases: false, deadlines: { read: '30s', write: '30s' } }
      const { agent, errors } = observedAgent(t, store.href, options)
      const { cache } = agent
      await outcome(agent, `${url}/first`)
      await cache.responses.settled()
      proxy.cutAfter(/(?:eval|INSERT INTO).*responses_1/is)
      assert.equal((await get(agent, `${url}/lost`)).info?.status, 'miss')
      while (errors.length === 0) await delay(20)
      await cache.responses.settled()
      assert.deepEqual([proxy.isCut(), errors.length, await cache.count()], [true, 1, 2])
      const copy = new HttpCache({ store: 'memory:' })
      assert.deepEqual(await cache.copyTo(copy), {
        ...{ copied: 2, bytes: 1_800_000, skipped: 0, unusable: 0, lost: 0 },
      })
      assert.equal(await outcome(agent, `${url}/lost`), 'hit')
    })

    test('has one secret for all machines, whichever starts first and whoever clears it', async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const store = freshStore()
      const init = { headers: { authorization: 'me' } }
      const agents = Array.from({ length: 6 }, () => observedAgent(t, store).agent)
      const ask = (agent: CachingAgent, path: string) => get(agent, `${url}/${path}`, init)
      const settled = () => Promise.all(agents.map(({ cache }) => cache.responses.settled()))
      const [one, other] = agents as [CachingAgent, CachingAgent]
      await Promise.all(agents.map((agent, index) => ask(agent, String(index))))
      // Those who were late learn it at their next request after a while.
      await delay(1100)
      for (const agent of agents) await ask(agent, 'first')
      await settled()
      for (const agent of agents) assert.equal((await ask(agent, 'first')).info?.status, 'hit')

      await one.cache.clear()
      await ask(one, 'second')
      await settled()
      assert.equal((await ask(other, 'second')).info?.status, 'hit')
    })

    test('that is frozen delays requests once', async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const { agent, errors } = observedAgent(t, freshStore())
      assert.equal(await outcome(agent, url), 'miss')
      assert.equal(await outcome(agent, url), 'hit')
      server.freeze()
      t.after(() => server.resume())
      const first = await timed(agent, url)
      assert.deepEqual([first.body, first.outcome], ['content', 'miss'])
      assert.ok(first.took < LONGEST, `${first.took} ms`)
      for (let index = 0; index < 10; index++) {
        const { body, took } = await timed(agent, `${url}/${index}`)
        assert.equal(body, 'content')
        assert.ok(took < 400, `${took} ms`)
      }
      // Not even those wait who would agree with other processes.
      const told = errors.map(({ error }) => error.message)
      assert.deepEqual(told, ['the store did not read within 500 ms'])
      server.resume()
      passRest(t)
      assert.equal(await outcome(agent, url), 'hit')
    })

    test('that is frozen delays a request once, also where only its content has to be read', async (t) => {
      const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(800_000)))
      const { agent } = observedAgent(t, freshStore(), { memory: { maxSize: '1MB' } })
      assert.equal(await outcome(agent, url), 'miss')
      assert.equal(await outcome(agent, url), 'hit')
      server.freeze()
      t.after(() => server.resume())
      const { outcome: first, took } = await timed(agent, url)
      assert.equal(first, 'miss')
      assert.ok(took < 950, `${took} ms`)
      const next = await timed(agent, `${url}/next`)
      assert.ok(next.took < 450, `${next.took} ms`)
    })

    test('that is frozen lets the agent be closed', async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const agent = cachingAgent({ store: freshStore(), expireAfter: '1h' })
      await get(agent, url)
      await agent.cache.responses.settled()
      server.freeze()
      t.after(() => server.resume())
      const start = performance.now()
      await agent.close()
      assert.ok(performance.now() - start < LONGEST)
      await assert.rejects(agent.cache.has(`${url}/other`), /the store is closed/)
    })

    for (const isUsed of [true, false]) {
      test(`that is frozen lets a program end that has closed the agent, ${isUsed ? 'and used it' : 'be it while connecting'}`, async (t) => {
        const { url } = await origin(t, (_, response) => response.end('content'))
        const store = freshStore()
        if (!isUsed) {
          server.freeze()
          t.after(() => server.resume())
        }
        const program = `
          import { cachingAgent } from 'caching-agent'
          import { fetch } from 'undici'
          const agent = cachingAgent({ store: process.argv[1], memory: false, expireAfter: '1h' })
          const [url, isUsed] = process.argv.slice(2)
          const get = async (path) => (await fetch(url + path, { dispatcher: agent })).text()
          if (isUsed === 'true') {
            await get('/1')
            await agent.cache.count()
            console.log('used')
            await new Promise((resolve) => process.stdin.once('data', resolve))
            process.stdin.destroy()
            await get('/1')
          } else await new Promise((resolve) => setTimeout(resolve, 300))
          await agent.close()
          console.log(Date.now())`
        const running = run(
          process.execPath,
          ['--conditions=source', '--input-type=module', '-e', program, store, url, `${isUsed}`],
          { cwd: ROOT },
        )
        if (isUsed) {
          await once(running.child.stdout as Readable, 'data')
          server.freeze()
          t.after(() => server.resume())
        }
        running.child.stdin?.end('go on')
        const { stdout } = await running
        const took = Date.now() - Number(stdout.trim().split('\n').at(-1))
        assert.ok(took < 3000, `${took} ms`)
      })
    }

    test('does not keep a program running, which loses nothing', async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      for (const close of ['', 'await agent.close()']) {
        const store = freshStore()
        const program = `
          import { cachingAgent } from 'caching-agent'
          import { request } from 'undici'
          const [store, url] = process.argv.slice(1)
          const agent = cachingAgent({ store, expireAfter: '1h' })
          await (await request(url, { dispatcher: agent })).body.text()
          ${close}`
        const options = { cwd: ROOT, timeout: 20_000 }
        const flags = ['--conditions=source', '--input-type=module', '-e', program]
        await run(process.execPath, [...flags, store, url], options)
        assert.equal(await outcome(observedAgent(t, store).agent, url), 'hit')
      }
    })

    test('is never told of with its password', async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const secret = 'wr0ng/pässwörd'
      const password = encodeURIComponent(secret)
      const wrong = new URL(freshStore())
      wrong.username = 'mallory'
      wrong.password = password
      const { agent, errors } = observedAgent(t, wrong.href)
      await timed(agent, url)
      await agent.cache.clear().catch((error: Error) => errors.push({ operation: 'open', error }))
      assert.match(errors[0]?.error.message ?? '', /password/i)
      const told = inspect(errors, { depth: Infinity, showHidden: true })
      for (const hidden of [secret, password]) assert.ok(!told.includes(hidden), told)
    })

    test('is told of by its whole name, however short the password is', async (t) => {
      for (const password of ['s', 'no', 'a*b']) {
        const store = `${scheme}://u:${password}@no-such-host.invalid`
        const { errors } = observedAgent(t, store)
        while (errors.length === 0) await delay(10)
        const told = errors[0]?.error.message
        assert.match(told ?? '', /^\w+:\/\/no-such-host.invalid: .* no-such-host.invalid/)
      }
    })
  })
}

test('tables of PostgreSQL that another process was making at the same time are made after all', {
  skip: noPostgres,
}, async (t) => {
  const { url } = await origin(t, (_, response) => response.end('content'))
  const server = await startPostgres()
  const uri = serverUrl('postgres', server)
  const [other, observer] = [new KeyvPostgres({ uri, max: 1 }), new KeyvPostgres({ uri })]
  await query(other, 'BEGIN')
  for (const name of ['responses_1', 'chunks_1']) {
    const columns = 'key VARCHAR(255) NOT NULL, value TEXT, namespace VARCHAR(255), expires BIGINT'
    await query(other, `CREATE TABLE public.caching_agent_${name} (${columns})`)
  }
  const { agent, errors } = observedAgent(t, uri, { deadlines: { read: '30s', write: '30s' } })
  const waiting = `SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'`
  while ((await query(observer, waiting)).length < 2) await delay(20)
  // It has made the tables, and goes away without having made the indices.
  await query(other, 'COMMIT')
  await Promise.all([other.disconnect(), observer.disconnect()])
  assert.equal(await outcome(agent, url), 'miss')
  assert.equal(await outcome(agent, url), 'hit')
  assert.deepEqual(errors, [])
})

test('tables of PostgreSQL that somebody removes are made again', {
  skip: noPostgres,
}, async (t) => {
  const { url } = await origin(t, (_, response) => response.end('content'))
  const server = await startPostgres()
  const uri = serverUrl('postgres', server)
  const { agent, errors } = observedAgent(t, uri, { deadlines: { read: '30s', write: '30s' } })
  assert.equal(await outcome(agent, url), 'miss')
  assert.equal(await outcome(agent, url), 'hit')
  const administrator = new KeyvPostgres({ uri })
  await query(administrator, 'DROP TABLE caching_agent_responses_1, caching_agent_chunks_1')
  await administrator.disconnect()
  assert.equal(await outcome(agent, url), 'miss')
  await outcome(agent, url)
  assert.equal(await outcome(agent, url), 'hit')
  assert.match(errors[0]?.error.message ?? '', /does not exist/)
})

test('many clients at once make the tables of a new database of PostgreSQL', {
  skip: noPostgres,
}, async (t) => {
  const { url } = await origin(t, (_, response) => response.end('content'))
  const server = await startPostgres()
  const store = serverUrl('postgres', server)
  const agents = Array.from({ length: 8 }, () =>
    observedAgent(t, store, { deadlines: { read: '30s', write: '30s' } }),
  )
  await Promise.all(agents.map(({ agent }, index) => timed(agent, `${url}/${index}`)))
  for (const { agent } of agents) await agent.cache.responses.settled()
  for (const [index, { agent, errors }] of agents.entries()) {
    assert.equal(await outcome(agent, `${url}/${(index + 1) % 8}`), 'hit')
    assert.deepEqual(errors, [])
  }
})

// All at the same time, as they mostly wait.
suite('what is stored while another machine clears the store stays for its time', {
  concurrency: true,
}, () => {
  const { clear } = Heads.prototype
  const between = new AsyncLocalStorage<() => Promise<void>>()
  before(() => {
    mock.method(Heads.prototype, 'clear', async function (this: Heads) {
      await clear.call(this)
      await between.getStore()?.()
    })
  })
  after(() => mock.restoreAll())

  for (const [scheme, skip, start] of kinds) {
    test(`${scheme}://`, { skip }, async (t) => {
      const content = randomBytes(3_000_000)
      const { url } = await origin(t, (_, response) => response.end(content))
      const store = serverUrl(scheme, await start())
      const patient = { deadlines: { read: '30s', write: '30s' } }
      const { agent } = observedAgent(t, store, patient)
      const { cache } = observedAgent(t, store, patient).agent
      await Promise.all([agent.cache.count(), cache.count()])
      // Between what the other one clears first and what it clears then.
      const storing = async () => {
        assert.equal(await outcome(agent, url), 'miss')
        await agent.cache.responses.settled()
      }
      await between.run(storing, () => cache.clear())
      assert.equal(await outcome(agent, url), 'hit')
      // By when what was cleared is gone.
      await delay(READERS_GRACE + 500)
      const { body } = await request(url, {
        dispatcher: agent,
        headers: { 'cache-control': 'only-if-cached' },
      })
      assert.ok(content.equals(Buffer.from(await body.arrayBuffer())))
    })
  }
})

test('a Redis server that is full can be cleared', { skip: noRedis }, async (t) => {
  const { url } = await origin(t, (_, response) => response.end('content'))
  for (const scheme of ['redis', 'valkey']) {
    const server = await startRedis('--maxmemory', '100mb', '--maxmemory-policy', 'noeviction')
    const { agent } = observedAgent(t, serverUrl(scheme, server))
    assert.equal(await outcome(agent, url), 'miss')
    assert.equal(await outcome(agent, url), 'hit')
    await (await administer(t, server)).configSet('maxmemory', '1')
    await agent.cache.clear()
    assert.equal(await agent.cache.count(), 0)
  }
})

test('a Redis server knows a user by a name with characters of URLs', {
  skip: noRedis,
}, async (t) => {
  const server = await startRedis()
  const administrator = await administer(t, server)
  await administrator.sendCommand('ACL SETUSER a:b@c%41/? on >p:w@% ~* &* +@all'.split(' '))
  const credentials = `${encodeURIComponent('a:b@c%41/?')}:${encodeURIComponent('p:w@%')}`
  for (const scheme of ['redis', 'valkey']) {
    const store = `${scheme}://${credentials}@127.0.0.1:${server.port}`
    assert.equal(await observedAgent(t, store).agent.cache.count(), 0)
  }
})

test('a server is waited for as long as deadlines say', { skip: noRedis }, async (t) => {
  const { url } = await origin(t, (_, response) => response.end('content'))
  const server = await startRedis()
  t.after(() => server.resume())
  const agents = ['redis', 'valkey'].map((scheme) => {
    const deadlines = { read: '60s', write: '60s' }
    return observedAgent(t, serverUrl(scheme, server), { deadlines }).agent
  })
  for (const agent of agents) assert.equal(await outcome(agent, url), 'miss')
  for (const agent of agents) await agent.cache.responses.settled()
  server.freeze()
  const outcomes = Promise.all(agents.map((agent) => outcome(agent, url)))
  await delay(11_000)
  server.resume()
  assert.deepEqual(await outcomes, ['hit', 'hit'])
})

test('a Redis server that runs no scripts for us stores all the same', {
  skip: noRedis,
}, async (t) => {
  const { url } = await origin(t, (_, response) => response.end('content'))
  const server = await startRedis()
  const administrator = await administer(t, server)
  await administrator.sendCommand('ACL SETUSER limited on >word ~* &* +@all -eval'.split(' '))
  for (const scheme of ['redis', 'valkey']) {
    const store = `${scheme}://limited:word@127.0.0.1:${server.port}?namespace=${scheme}`
    const { agent } = observedAgent(t, store, { deadlines: { read: '30s', write: '30s' } })
    for (const expected of ['miss', 'hit']) assert.equal(await outcome(agent, url), expected)
    await agent.cache.responses.settled()
    assert.equal(await agent.cache.delete(url), 1)
    assert.equal(await agent.cache.count(), 0)
  }
})

suite('large content on a Redis server', { skip: noRedis }, () => {
  const HOUR = 3_600_000
  const DAY = 24 * HOUR

  /** A cache on a server of its own, and how long the chunks of content there will be kept, in milliseconds. */
  async function cached(t: TestContext, expireAfter: number) {
    const { url } = await origin(t, (request, response) => {
      response.write(Buffer.alloc(1_000_000))
      if (request.url !== '/endless') response.end()
    })
    const server = await startRedis()
    const administrator = await administer(t, server)
    const chunkTimes = async () => {
      const keys = (await administrator.keys('*')).filter((key) => key.includes('chunks'))
      return Promise.all(keys.map((key) => administrator.pTTL(key)))
    }
    const agent = testAgent(t, { store: serverUrl('redis', server), expireAfter, memory: false })
    return { url, agent, chunkTimes }
  }

  for (const expireAfter of [HOUR, NEVER_EXPIRE] as const) {
    test(`that is deleted or replaced goes before long, whatever becomes of the process: ${expireAfter}`, async (t) => {
      const { url, agent, chunkTimes } = await cached(t, expireAfter)
      await get(agent, url)
      await agent.cache.responses.settled()
      assert.ok((await chunkTimes()).every((time) => time > 20 * DAY))
      await get(agent.with({ forceRefresh: true }), url)
      await agent.cache.responses.settled()
      await agent.cache.delete(url)
      while ((await chunkTimes()).some((time) => time > HOUR)) await delay(20)
      assert.equal((await chunkTimes()).length, 8)
    })

    test(`that is half-written goes within a week, whatever becomes of the process: ${expireAfter}`, async (t) => {
      const { url, agent, chunkTimes } = await cached(t, expireAfter)
      const reading = get(agent, `${url}/endless`).catch(() => {})
      while ((await chunkTimes()).length < 3) await delay(20)
      assert.ok((await chunkTimes()).every((time) => time > 0 && time <= 7 * DAY))
      await agent.destroy()
      await reading
    })
  }

  const shops: Record<string, (url: string) => unknown> = {
    'redis://': (url) => url,
    'valkey://': (url) => url.replace(/^redis/, 'valkey'),
    'a KeyvValkey': (url) => new KeyvValkey(url),
    'a Keyv 6 over a KeyvRedis': (url) => new Keyv({ store: new KeyvRedis(url) }),
    'a Keyv 6 over a KeyvValkey': (url) => new Keyv({ store: new KeyvValkey(url) }),
    'a Keyv 5 over a KeyvRedis of Keyv 5': (url) => new Keyv5({ store: new KeyvRedis5(url) }),
    'a Keyv 5 over a KeyvValkey': (url) => new Keyv5({ store: new KeyvValkey(url) }),
  }

  /** An agent on a server of its own, on which content of 1.5 MB is stored, and what loses one of its chunks. */
  async function stored(t: TestContext, shop: (url: string) => unknown) {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(1_500_000, 'x')))
    const server = await startRedis()
    const administrator = await administer(t, server)
    const store = shop(serverUrl('redis', server)) as string | Keyv
    const { agent } = observedAgent(t, store)
    t.after(() => typeof store !== 'string' && store.disconnect())
    await get(agent, url)
    await agent.cache.responses.settled()
    const lose = async (index: number) => {
      const keys = await administrator.keys('*')
      await administrator.del(keys.filter((key) => key.endsWith(`.${index}`)))
    }
    return { agent, url, lose }
  }

  for (const [name, shop] of Object.entries(shops)) {
    test(`of which ${name} has lost a chunk is asked for anew before anybody gets any of it`, async (t) => {
      const { agent, url, lose } = await stored(t, shop)
      for (const range of [undefined, 'bytes=600000-']) {
        const init = range === undefined ? {} : { headers: { range } }
        assert.equal((await get(agent, url, init)).info?.status, 'hit')
        await lose(4)
        const before = await get(agent, url, { headers: { range: 'bytes=500000-500009' } })
        assert.deepEqual([before.body.length, before.info?.status], [10, 'hit'])
        const { body, info } = await get(agent, url, init)
        assert.deepEqual([body.length, info?.status], [1_500_000, 'miss'])
        await agent.cache.responses.settled()
      }
    })
  }

  test('of which a chunk is lost after its beginning has been given is given to its end', async (t) => {
    const { agent, url, lose } = await stored(t, (url) => url)
    const { headers, body } = await request(url, { dispatcher: agent })
    assert.equal(cacheInfo({ headers })?.status, 'hit')
    await lose(5)
    assert.equal((await body.arrayBuffer()).byteLength, 1_500_000)
  })

  test('that was to be kept for ever goes with its response that is not any more', async (t) => {
    const { url, agent, chunkTimes } = await cached(t, NEVER_EXPIRE)
    await get(agent, url)
    await agent.cache.responses.settled()
    await agent.cache.resetExpiration('10s')
    assert.ok((await chunkTimes()).every((time) => time < 70 * DAY))
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })
})

for (const scheme of ['redis', 'valkey']) {
  test(`a database that ${scheme}:// cannot select is not another one, but an error until it can`, {
    skip: noRedis,
  }, async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const server = await startRedis()
    const administrator = await administer(t, server)
    const tell = (command: string) => administrator.sendCommand(command.split(' '))
    const allKeys = () => tell('INFO keyspace')
    const nothing = await allKeys()
    const patient: AgentOptions = { deadlines: { read: '30s', write: '30s' } }
    const missed = async (agent: CachingAgent) => {
      for (let round = 0; round < 2; round++) assert.equal(await outcome(agent, url), 'miss')
      await agent.cache.responses.settled()
    }

    const outOfRange = observedAgent(t, `${serverUrl(scheme, server)}/99`, patient)
    await missed(outOfRange.agent)
    assert.match(outOfRange.errors[0]?.error.message ?? '', /DB index is out of range/)
    assert.equal(await allKeys(), nothing)

    await tell('ACL SETUSER limited on >word ~* &* +@all -select')
    const store = `${scheme}://limited:word@127.0.0.1:${server.port}/1`
    const { agent, errors } = observedAgent(t, store, patient)
    await missed(agent)
    assert.match(errors[0]?.error.message ?? '', /NOPERM.* 'select' command/)
    assert.equal(await allKeys(), nothing)

    await tell('ACL SETUSER limited +select')
    passRest(t)
    for (const expected of ['miss', 'hit']) assert.equal(await outcome(agent, url), expected)
    await agent.cache.responses.settled()
    assert.doesNotMatch(String(await allKeys()), /db0/)

    errors.length = 0
    await tell('ACL SETUSER limited -select')
    await tell('CLIENT KILL USER limited')
    await missed(agent)
    // The first call may still find the connection that is just being lost.
    assert.match(errors.at(-1)?.error.message ?? '', /NOPERM.* 'select' command/)
    assert.doesNotMatch(String(await allKeys()), /db0/)

    await tell('ACL SETUSER limited +select')
    t.mock.timers.setTime(Date.now() + 11_000)
    assert.equal(await outcome(agent, url), 'hit')
  })
}

const noServer = kinds.every(([, skip]) => skip) && 'there is no server here'
test('a database with much of others in it is listed, however far away it is', {
  skip: noRedis,
}, async (t) => {
  const server = await startRedis()
  const administrator = await administer(t, server)
  await administrator.eval("for i = 1, 40000 do redis.call('SET', 'foreign' .. i, '') end")
  const proxy = await startProxy(t, server.port, true, 55)
  const use = async (scheme: string) => {
    const { cache } = observedAgent(t, serverUrl(scheme, proxy), {
      deadlines: { read: '30s', write: '30s' },
    }).agent
    for (const path of ['1', '2']) await cache.save(`https://a.example/${path}`, { body: path })
    const start = performance.now()
    assert.equal(await cache.count(), 2)
    assert.ok(performance.now() - start > 10_500, 'it would be no test')
  }
  await Promise.all([use('redis'), use('valkey')])
})

test('a connection on which a server is silent is replaced', { skip: noServer }, async (t) => {
  const { url } = await origin(t, (_, response) => response.end('content'))
  const available = kinds.filter(([, skip]) => !skip)
  const stores = await Promise.all(
    available.map(async ([scheme, , start]) => {
      const server = await start()
      const proxy = await startProxy(t, server.port)
      const store = serverUrl(scheme, proxy)
      return { agent: observedAgent(t, store).agent, proxy }
    }),
  )
  for (const { agent, proxy } of stores) {
    assert.equal(await outcome(agent, url), 'miss')
    assert.equal(await outcome(agent, url), 'hit')
    proxy.silence()
    assert.equal(await outcome(agent, url), 'miss')
  }
  // It takes no notice of a mocked clock.
  await delay(11_000)
  passRest(t)
  for (const { agent } of stores) assert.equal(await outcome(agent, url), 'hit')
})

test('a server at the second address of its name does not keep a program running', {
  skip: noRedis,
}, async () => {
  const server = await startRedis()
  const program = `
    import dns from 'node:dns'
    import { cachingAgent } from 'caching-agent'
    dns.lookup = (name, options, callback) => {
      const addresses = ['127.0.0.2', '127.0.0.1'].map((address) => ({ address, family: 4 }))
      setImmediate(callback, null, addresses)
    }
    const agent = cachingAgent({ store: process.argv[1] })
    console.log(await agent.cache.count())`
  for (const scheme of ['redis', 'valkey']) {
    const store = serverUrl(scheme, server).replace('127.0.0.1', 'two-addresses.example')
    const flags = ['--conditions=source', '--input-type=module', '-e', program, store]
    const { stdout } = await run(process.execPath, flags, { cwd: ROOT, timeout: 20_000 })
    assert.equal(stdout, '0\n')
  }
})

test('a server that repeats the password is quoted without it', async (t) => {
  const server = createServer((socket) => {
    socket.on('data', (data) => {
      const password = String(data).includes('longer') ? 'longer' : 'ab'
      socket.write(`-ERR no about-${password}s: ${password}, redis://u:${password}@host\r\n`)
    })
    socket.on('error', () => {})
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  const { port } = server.address() as AddressInfo
  const quoted = {
    ab: 'no about-abs: ***, redis://u:***@host',
    longer: 'no about-***s: ***, redis://u:***@host',
  }
  for (const [password, expected] of Object.entries(quoted)) {
    const { errors } = observedAgent(t, `redis://u:${password}@127.0.0.1:${port}`)
    while (errors.length === 0) await delay(10)
    assert.equal(errors[0]?.error.message, `redis://127.0.0.1:${port}: ERR ${expected}`)
  }
})

suite('a server that accepts connections', () => {
  /** What a program says that has an agent on such a server, and a URL to request. */
  async function output(t: TestContext, accept: (socket: Socket) => void, program: string) {
    const server = createServer((socket) => accept(socket.on('error', () => {})))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    const { url } = await origin(t, (_, response) => response.end('content'))
    const { port } = server.address() as AddressInfo
    const urls = ['redis', 'rediss', 'valkey', 'valkeys'].map(
      (scheme) => `${scheme}://user:word@127.0.0.1:${port}`,
    )
    const start = `
      import { cachingAgent } from 'caching-agent'
      import { request } from 'undici'
      const [store, url] = process.argv.slice(1)
      const agent = cachingAgent({ store })`
    const flags = ['--conditions=source', '--input-type=module', '-e', start + program]
    const options = { cwd: ROOT, timeout: 20_000 }
    const all = urls.map((store) => run(process.execPath, [...flags, store, url], options))
    return (await Promise.all(all)).map(({ stdout }) => stdout.trim())
  }

  test('and never answers does not keep a program running until it is given up', async (t) => {
    for (const close of ['', 'await agent.close()']) {
      const program = `
        agent.cache.on('error', ({ error }) => console.log(error.message))
        ${close}`
      assert.deepEqual(await output(t, () => {}, program), ['', '', '', ''])
    }
  })

  test('and never answers does not end a program that has a request under way', async (t) => {
    const program = `
      const { body } = await request(url, { dispatcher: agent })
      console.log(await body.text())
      process.exit()`
    const content = ['content', 'content', 'content', 'content']
    assert.deepEqual(await output(t, () => {}, program), content)
  })

  test('and hangs up does not keep a program running', async (t) => {
    const program = `
      await agent.cache.count().catch(() => {})
      await agent.close()
      const start = performance.now()
      process.on('exit', () => console.log(performance.now() - start))`
    const hangUp = (socket: Socket) => socket.once('data', () => socket.end())
    for (const took of await output(t, hangUp, program)) {
      assert.ok(Number(took) < 1500, `${took} ms`)
    }
  })
})

/**
 * A way to a server, on which all connections that there are can be made silent, as by a router that forgot
 * them; or on which nothing gets through until it is opened; or on which answers take a while, in milliseconds.
 */
async function startProxy(t: TestContext, target: number, isOpen = true, lag = 0) {
  const pairs: [Socket, Socket][] = []
  const opened = Promise.withResolvers<void>()
  let lastWords: RegExp | undefined
  if (isOpen) opened.resolve()
  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    const later = new Transform({
      transform: (data, _, pass) => void setTimeout(pass, lag, null, data),
    })
    void opened.promise.then(() => {
      client.on('data', (data) => {
        if (!lastWords?.test(data.toString('latin1'))) return
        lastWords = undefined
        upstream.unpipe(client).resume()
        client.destroySoon()
      })
      client.pipe(upstream)
      if (lag > 0) upstream.pipe(later).pipe(client)
      else upstream.pipe(client)
    })
    for (const socket of [client, upstream]) socket.on('error', () => {})
    pairs.push([client, upstream])
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.close()
    for (const socket of pairs.flat()) socket.destroy()
  })
  return {
    port: (server.address() as AddressInfo).port,
    get connections() {
      return pairs.length
    },
    open: () => opened.resolve(),
    cut() {
      for (const socket of pairs.flat()) socket.destroy()
    },
    /** Cuts the connection on which this is asked, whose answer does not get through any more. */
    cutAfter(pattern: RegExp) {
      lastWords = pattern
    },
    isCut: () => lastWords === undefined,
    silence() {
      for (const [client, upstream] of pairs) {
        client.unpipe().pause()
        upstream.unpipe().pause()
      }
    },
  }
}

/**
 * A link to a server, whatever is sent over it at so many bytes a second, one thing after the other.
 *
 * @returns its port
 */
async function startLink(t: TestContext, target: number, rate: number): Promise<number> {
  let isFreeAt = 0
  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    const sent = new Transform({
      transform(data: Buffer, _, pass) {
        const now = performance.now()
        isFreeAt = Math.max(isFreeAt, now) + (data.length / rate) * 1000
        setTimeout(pass, isFreeAt - now, null, data)
      },
    })
    client.pipe(sent).pipe(upstream).pipe(client)
    for (const socket of [client, upstream]) {
      socket.on('error', () => {})
      t.after(() => socket.destroy())
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => server.close())
  return (server.address() as AddressInfo).port
}

suite('a store on a server that cannot be', () => {
  // biome-ignore format: one URL a row
  const malformed: [url: string, message: RegExp][] = [
    ['redis://', /malformed/],
    ['redis:localhost', /malformed/],
    ['redis://host:port', /malformed/],
    ['redis://host/name', /malformed/],
    ['redis://host?family=6', /malformed/],
    ['rediss://user:se#cret@host', /malformed/],
    ['valkey://user:12/secret@host', /malformed/],
    ['valkeys://user:12?secret@host', /malformed/],
    ['redis://user:%secret@host', /malformed/],
    ['postgres://user:12/secret@host/database', /malformed/],
    ['postgresql://user:se#cret@host/database', /malformed/],
    ['redis://host?namespace=', /namespace of .+ got ''/],
    ['valkey://host?namespace=a:b', /namespace of .+ got 'a:b'/],
    ['postgres://host/database?namespace=*', /namespace of .+ got '\*'/],
    ['mysql://user:secret@host', /expected "sqlite:\/\/path", .+ got 'mysql:\/\/\*\*\*@host'/],
  ]
  for (const [store, message] of malformed) {
    test(`is refused: ${store}`, () => {
      assert.throws(
        () => cachingAgent({ store }),
        (error: Error) => {
          assert.equal(error.name, 'TypeError')
          assert.match(error.message, message)
          assert.doesNotMatch(error.message, /se.?cret/)
          return true
        },
      )
    })
  }

  test('is refused without its package, which is told with the command that installs it', async () => {
    const path = folder()
    const modules = join(path, 'node_modules')
    mkdirSync(join(modules, '@keyv'), { recursive: true })
    cpSync(join(ROOT, 'lib'), join(path, 'lib'), { recursive: true })
    writeFileSync(join(path, 'package.json'), '{ "type": "module" }')
    for (const name of [...readdirSync(join(ROOT, 'node_modules')), '@keyv/sqlite']) {
      if (name !== '@keyv') symlinkSync(join(ROOT, 'node_modules', name), join(modules, name))
    }
    const program = `
      import { cachingAgent } from './lib/index.ts'
      for (const store of process.argv.slice(1)) {
        try { cachingAgent({ store }) } catch ({ message }) { console.log(message) }
      }`
    const urls = [
      'rediss://user:secret@host/0',
      'valkey://host',
      'postgresql://user:secret@host/db',
    ]
    const { stdout } = await run(
      process.execPath,
      ['--input-type=module', '-e', program, ...urls],
      {
        cwd: path,
      },
    )
    assert.deepEqual(stdout.trim().split('\n'), [
      'store: rediss://host needs the package @keyv/redis: npm install @keyv/redis',
      'store: valkey://host needs the package @keyv/valkey: npm install @keyv/valkey',
      'store: postgresql://host needs the package @keyv/postgres: npm install @keyv/postgres@^6.0.0-beta.4',
    ])
  })
})

suite('Redis', { skip: noRedis }, () => {
  test('is used over TLS, by a URL or an adapter with options of its own', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const path = folder()
    const [key, cert] = [join(path, 'key.pem'), join(path, 'cert.pem')]
    const certificate = `req -x509 -newkey rsa:2048 -nodes -days 1 -keyout ${key} -out ${cert}`
    const subject = '-subj /CN=localhost -addext subjectAltName=IP:127.0.0.1'
    try {
      await run('openssl', `${certificate} ${subject}`.split(' '))
    } catch {
      return t.skip('there is no openssl here')
    }
    const port = await freePort()
    const tls = ['--tls-port', `${port}`, '--tls-auth-clients', 'no']
    await startRedis(...tls, '--tls-cert-file', cert, '--tls-key-file', key)

    // The certificate is nobody's that this process knows.
    const { agent, errors } = observedAgent(t, serverUrl('rediss', { port }))
    assert.equal(await outcome(agent, url), 'miss')
    assert.match(
      errors[0]?.error.message ?? '',
      /^rediss:\/\/127\.0\.0\.1:\d+: self-signed certificate/,
    )

    const socket = { host: '127.0.0.1', port, tls: true as const, ca: readFileSync(cert) }
    const adapter = new KeyvRedis({ socket, password: PASSWORD })
    t.after(() => adapter.disconnect(true))
    const other = testAgent(t, { store: adapter, expireAfter: '1h', memory: false })
    assert.equal(await outcome(other, url), 'miss')
    assert.equal(await outcome(other, url), 'hit')

    const env = { ...process.env, NODE_EXTRA_CA_CERTS: cert }
    const program = `
      import { cacheInfo, cachingAgent } from 'caching-agent'
      import { request } from 'undici'
      const [url, ...stores] = process.argv.slice(1)
      for (const store of stores) {
        const agent = cachingAgent({ store, expireAfter: '1h' })
        const { headers, body } = await request(url, { dispatcher: agent })
        await body.text()
        console.log(cacheInfo({ headers }).status)
        await agent.close()
      }`
    const flags = ['--conditions=source', '--input-type=module', '-e', program, url]
    const urls = [serverUrl('rediss', { port }), serverUrl('valkeys', { port })]
    const args = [...flags, ...urls, urls[1] as string]
    const { stdout } = await run(process.execPath, args, { cwd: ROOT, env, timeout: 20_000 })
    // What the adapter has stored is the URL's as well.
    assert.equal(stdout, 'hit\nmiss\nhit\n')
  })

  test('is used by adapters of classes whose constructors want something else', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const server = await startRedis()
    const address = serverUrl('redis', server)
    class FromSettings extends KeyvRedis<unknown> {
      constructor(settings: { address: string }) {
        if (!settings.address) throw new Error('where is it?')
        super(settings.address, { namespace: 'settings' })
      }
    }
    /** A client that is no part of what is made of it. */
    class Lookalike extends Map<string, unknown> {
      readonly client = { withTypeMapping: () => this.client }
      getMasterNodes() {}
    }
    for (const store of [new FromSettings({ address }), new Lookalike()]) {
      const { agent, errors } = observedAgent(t, store as StoreOption)
      assert.equal(await outcome(agent, url), 'miss')
      assert.equal(await outcome(agent, url), 'hit')
      assert.deepEqual(errors, [])
      if (store instanceof KeyvRedis) t.after(() => store.disconnect())
    }
  })

  test('is cleared of one namespace, and of none that begins with it', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const server = await startRedis()
    const [one, other] = ['x', 'x:responses_1:'].map((namespace) => {
      const store = new KeyvRedis(serverUrl('redis', server), { namespace })
      t.after(() => store.disconnect())
      return observedAgent(t, store).agent
    })
    assert.ok(one && other)
    for (const agent of [one, other]) {
      await get(agent, url)
      await agent.cache.responses.settled()
      assert.equal(await agent.cache.count(), 1)
    }
    await one.cache.clear()
    assert.deepEqual([await one.cache.count(), await other.cache.count()], [0, 1])
  })

  test('is used by @keyv/redis 5 as well', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(500_000, 'x')))
    const store = serverUrl('redis', await startRedis())
    const hooks = `
      import { registerHooks } from 'node:module'
      registerHooks({
        resolve: (specifier, context, next) =>
          next(specifier === '@keyv/redis' ? 'keyv-redis5' : specifier, context),
      })`
    const program = `
      import { cacheInfo, cachingAgent } from 'caching-agent'
      import { request } from 'undici'
      const [store, url] = process.argv.slice(1)
      const closed = cachingAgent({ store: 'redis://user:secret@127.0.0.1:1' })
      closed.cache.on('error', ({ error }) => console.log(error.message))
      await closed.cache.has(url).catch(() => {})
      for (let round = 0; round < 2; round++) {
        const agent = cachingAgent({ store, expireAfter: '1h' })
        agent.cache.on('error', ({ error }) => console.log(error))
        const { headers, body } = await request(url, { dispatcher: agent })
        console.log(cacheInfo({ headers }).status, (await body.text()).length)
        await agent.cache.responses.settled()
        console.log(await agent.cache.count())
        if (round === 1) await agent.cache.clear()
        await agent.close()
      }`
    const flags = [
      '--conditions=source',
      '--import',
      `data:text/javascript,${encodeURIComponent(hooks)}`,
    ]
    const args = [...flags, '--input-type=module', '-e', program, store, url]
    const { stdout } = await run(process.execPath, args, { cwd: ROOT, timeout: 20_000 })
    const refused = 'redis://127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1'
    const expected = [refused, refused, 'miss 500000', '1', 'hit 500000', '1']
    assert.deepEqual(stdout.trim().split('\n'), expected)
    assert.equal(await observedAgent(t, store).agent.cache.count(), 0)
  })
})
