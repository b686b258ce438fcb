import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { before, suite, type TestContext, test } from 'node:test'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { createClient } from '@keyv/redis'
import { Events } from '../lib/observe/events.ts'
import { type LeaseStore, Leases } from '../lib/storage/leases.ts'
import { openStore } from '../lib/storage/open-store.ts'
import { get, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'
import { noRedis, serverUrl, startRedis } from './helpers/servers.ts'

/** A process that opens a cache, says so, and requests what it is told to. */
const PROGRAM = `
  import { cacheInfo, cachingAgent } from 'caching-agent'
  import { request } from 'undici'
  const agent = cachingAgent(JSON.parse(process.argv[2]))
  await agent.cache.has('http://nowhere.invalid/')
  process.on('message', async (url) => {
    const headers = { 'x-process': String(process.pid) }
    const response = await request(url, { dispatcher: agent, headers })
    const body = await response.body.text()
    process.send({ body, info: cacheInfo(response) })
  })
  process.on('disconnect', () => process.exit())
  process.send('ready')`

const ROOT = join(import.meta.dirname, '..')

interface Answer {
  readonly body: string
  readonly info: { readonly status: string; readonly collapsed: boolean }
}

/** Starts some processes; what each of them gets for a URL, asked for at once. */
async function processes(t: TestContext, options: object, count = 4) {
  const path = join(ROOT, `.leases-${process.pid}-${Math.random()}.mjs`)
  writeFileSync(path, PROGRAM)
  t.after(() => rmSync(path))
  const start = async (): Promise<ChildProcess> => {
    // However busy the machine is.
    const patient = { deadlines: { read: '20s', write: '20s' }, ...options }
    const child = fork(path, [JSON.stringify(patient)], {
      cwd: ROOT,
      execArgv: ['--conditions=source', '--no-warnings'],
    })
    t.after(() => child.kill('SIGKILL'))
    await once(child, 'message')
    return child
  }
  const children = await Promise.all(Array.from({ length: count }, start))
  const ask = (url: string): Promise<Answer[]> =>
    Promise.all(
      children.map(async (child) => {
        child.send(url)
        // A process that fails ends, and says why on its standard error.
        const ended = once(child, 'exit').then(([code]) => {
          throw new Error(`the process ended with ${code}`)
        })
        ended.catch(() => {})
        return (await Promise.race([once(child, 'message'), ended]))[0] as Answer
      }),
    )
  return { ask, children }
}

const stores: [name: string, store: () => Promise<string>, skip: string | false][] = [
  ['SQLite', async () => `sqlite://${join(folder(), 'cache.sqlite')}`, false],
  ['Redis', async () => serverUrl('redis', await startRedis()), noRedis],
  ['Valkey', async () => serverUrl('valkey', await startRedis()), noRedis],
]

for (const [name, storeOf, skip] of stores) {
  suite(`processes that share ${name}`, { skip }, () => {
    test('make one request for what none of them has', async (t) => {
      const { url, seen } = await origin(t, async (_, response) => {
        await delay(300)
        response.setHeader('cache-control', 'max-age=60')
        response.end('content')
      })
      const { ask } = await processes(t, { store: await storeOf() })
      const answers = await ask(url)
      assert.deepEqual(
        answers.map(({ body }) => body),
        ['content', 'content', 'content', 'content'],
      )
      assert.equal(seen.length, 1)
      assert.equal(answers.filter(({ info }) => info.collapsed).length, 3)
    })

    test('make one request to validate what is stale', async (t) => {
      const { url, seen } = await origin(t, async (request, response) => {
        response.setHeader('cache-control', 'max-age=0')
        response.setHeader('etag', '"x"')
        await delay(300)
        response.statusCode = request.headers['if-none-match'] === '"x"' ? 304 : 200
        response.end(response.statusCode === 200 ? 'content' : undefined)
      })
      const { ask } = await processes(t, { store: await storeOf(), expireAfter: 500 }, 3)
      await ask(url)
      await delay(600)
      assert.equal(seen.length, 1)
      for (const { body } of await ask(url)) assert.equal(body, 'content')
      assert.equal(seen.length, 2)
    })

    test('ask at the same time where the answer to the first is not for the others', async (t) => {
      let [underWay, most] = [0, 0]
      const { url, seen } = await origin(t, async ({ headers }, response) => {
        underWay += 1
        most = Math.max(most, underWay)
        await delay(500)
        underWay -= 1
        response.setHeader('Vary', 'X-Process').end(String(headers['x-process']))
      })
      const { ask, children } = await processes(t, { store: await storeOf(), expireAfter: '1h' })
      const answers = await ask(url)
      const own = children.map(({ pid }) => String(pid))
      assert.deepEqual(
        answers.map(({ body }) => body),
        own,
      )
      assert.equal(seen.length, 4)
      assert.ok(most > 1, 'one after the other')
    })

    test('all make their own where the answer is for one alone', async (t) => {
      const { url, seen } = await origin(t, async (_, response, count) => {
        await delay(100)
        response.setHeader('cache-control', 'no-store')
        response.end(`for ${count}`)
      })
      const { ask } = await processes(t, { store: await storeOf() })
      const answers = await ask(url)
      assert.equal(new Set(answers.map(({ body }) => body)).size, 4)
      assert.equal(seen.length, 4)
    })

    test('do not wait for one that is no more', async (t) => {
      let isFirst = true
      const { url, seen } = await origin(t, (_, response) => {
        // The first one is never answered.
        if (!isFirst) response.end('content')
        isFirst = false
      })
      const options = { store: await storeOf(), expireAfter: '1h' }
      const { children } = await processes(t, options, 2)
      const [first, second] = children as [ChildProcess, ChildProcess]
      first.send(url)
      while (seen.length === 0) await delay(10)
      first.kill('SIGKILL')
      second.send(url)
      const [{ body }] = (await once(second, 'message')) as [Answer]
      assert.equal(body, 'content')
    })

    test('agree on nothing where leases are off', async (t) => {
      const { url, seen } = await origin(t, async (_, response) => {
        await delay(500)
        response.setHeader('cache-control', 'max-age=60')
        response.end('content')
      })
      const { ask } = await processes(t, { store: await storeOf(), leases: false }, 3)
      await ask(url)
      assert.equal(seen.length, 3)
    })
  })
}

/** A store that has leases. */
function open(store: string) {
  const stores = openStore(store, new Events())
  return { ...stores, leases: stores.leases as LeaseStore }
}

/** Agrees with others on who asks for what nobody has. */
function agree(leases: Leases) {
  return leases.agree(
    'key',
    async () => false,
    () => false,
    (answer) => answer,
  )
}

suite('leases of an SQLite file', () => {
  test('are taken by one, given back, and run out', async () => {
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const [one, other] = [open(store), open(store)]
    await one.heads.get('')
    await other.heads.get('')
    assert.equal(await one.leases.take('key', 'one', 60_000), 'taken')
    assert.equal(await other.leases.take('key', 'other', 60_000), 'held')
    await other.leases.give('key', 'other', 0)
    assert.equal(await other.leases.take('key', 'other', 60_000), 'held')
    await one.leases.give('key', 'one', 0)
    assert.equal(await other.leases.take('key', 'other', 50), 'taken')
    await delay(100)
    assert.equal(await one.leases.take('key', 'one', 60_000), 'taken')
    await one.leases.give('key', 'one', 60_000)
    assert.equal(await other.leases.take('key', 'other', 60_000), 'useless')
    await one.close()
    await other.close()
  })

  test('are given back when a cache is closed, so that nobody waits for it', async () => {
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const [first, second] = [open(store), open(store)]
    await first.heads.get('')
    await second.heads.get('')
    const [one, other] = [first, second].map(
      ({ leases }) => new Leases(leases, new Events(), 20_000),
    ) as [Leases, Leases]
    assert.ok(await agree(one))
    const start = performance.now()
    const waiting = agree(other)
    await delay(100)
    await one.close()
    await waiting
    const took = performance.now() - start
    assert.ok(took < 1500, `${took} ms`)
    await other.close()
    await first.close()
    await second.close()
  })

  test('are seen by who comes while the first one that has opened it is asking', async (t) => {
    const { url, seen } = await origin(t, async (_, response) => {
      await delay(300)
      response.end('content')
    })
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const [first, second] = [0, 1].map(() => testAgent(t, { store, expireAfter: '1h' }))
    assert.ok(first && second)
    const asking = get(first, url)
    while (seen.length === 0) await delay(5)
    const answers = await Promise.all([asking, get(second, url)])
    assert.deepEqual(
      answers.map(({ body }) => body),
      ['content', 'content'],
    )
    assert.equal(seen.length, 1)
  })

  test('are not needed by one that is alone, be it since others have closed the file', async () => {
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const one = open(store)
    await one.heads.get('')
    // Others may have been started together with it.
    await delay(600)
    assert.equal(await one.leases.take('key', 'one', 60_000), 'alone')
    const other = open(store)
    await other.heads.get('')
    assert.equal(await one.leases.take('key', 'one', 60_000), 'taken')
    await other.close()
    assert.equal(await one.leases.take('another key', 'one', 60_000), 'alone')
    await one.close()
  })

  test('are left behind only where there is somebody to be told that an answer is of no use', async () => {
    const path = join(folder(), 'cache.sqlite')
    const one = open(`sqlite://${path}`)
    await one.heads.get('')
    const left = () => {
      const database = new DatabaseSync(path)
      const rows = database.prepare("SELECT holder FROM leases_1 WHERE key = 'key'").all()
      database.close()
      return rows.map(({ holder }) => holder)
    }
    const take = () => one.leases.take('key', 'one', 60_000)
    assert.equal(await take(), 'taken')
    assert.deepEqual(left(), ['one'])
    await one.leases.give('key', 'one', 10_000)
    assert.deepEqual(left(), [])

    const other = open(`sqlite://${path}`)
    await other.heads.get('')
    assert.equal(await take(), 'taken')
    await one.leases.give('key', 'one', 10_000)
    assert.deepEqual(left(), [''])
    await other.close()
    await one.close()
  })
})

suite('leases of a Redis server that runs no scripts for us', { skip: noRedis }, () => {
  let port: number
  before(async () => {
    const server = await startRedis()
    port = server.port
    const administrator = createClient({ url: serverUrl('redis', server) })
    await administrator.connect()
    await administrator.sendCommand('ACL SETUSER limited on >word ~* &* +@all -eval'.split(' '))
    await administrator.quit()
  })
  const urlOf = (scheme: string) => `${scheme}://limited:word@127.0.0.1:${port}`

  for (const scheme of ['redis', 'valkey']) {
    test(`are given back by who has them, on ${scheme}://`, async () => {
      const store = `${urlOf(scheme)}?namespace=${scheme}`
      const [one, other] = [open(store), open(store)]
      assert.equal(await one.leases.take('key', 'one', 60_000), 'taken')
      await other.leases.give('key', 'other', 0)
      assert.equal(await other.leases.take('key', 'other', 60_000), 'held')
      await one.leases.give('key', 'one', 0)
      assert.equal(await other.leases.take('key', 'other', 60_000), 'taken')
      await other.leases.give('key', 'other', 200)
      assert.equal(await one.leases.take('key', 'one', 60_000), 'useless')
      await delay(300)
      assert.equal(await one.leases.take('key', 'one', 60_000), 'taken')
      await Promise.all([one.close(), other.close()])
    })

    test(`are given back where it is not known whether they were taken, on ${scheme}://`, async () => {
      const [mine, other] = [0, 1].map(() => open(`${urlOf(scheme)}?namespace=unknown-${scheme}`))
      assert.ok(mine && other)
      const take: LeaseStore['take'] = async (key, holder) => {
        await mine.leases.take(key, holder, 60_000)
        throw new Error('the connection is lost')
      }
      const leases = new Leases({ ...mine.leases, take }, new Events(), 30_000)
      const within = <T>(answer: Promise<T>) => answer
      await leases.agree(
        'key',
        async () => false,
        () => false,
        within,
      )
      const end = performance.now() + 10_000
      while ((await other.leases.take('key', 'other', 60_000)) !== 'taken') {
        assert.ok(performance.now() < end)
        await delay(10)
      }
      await Promise.all([mine.close(), other.close()])
    })

    test(`do not outlive the request, on ${scheme}://`, async (t) => {
      const { url } = await origin(t, (_, response) => {
        response.setHeader('cache-control', 'no-store')
        response.end('content')
      })
      const [one, other] = [0, 1].map(() => testAgent(t, { store: urlOf(scheme), memory: false }))
      assert.ok(one && other)
      await Promise.all([one.cache.has(url), other.cache.has(url)])
      await get(one, url)
      const start = performance.now()
      await get(other, url)
      const took = performance.now() - start
      assert.ok(took < 1500, `${took} ms`)
    })
  }
})

test('redis:// and valkey:// that name the same server share neither responses nor leases', {
  skip: noRedis,
}, async (t) => {
  const server = await startRedis()
  const stores = ['redis', 'valkey'].map((scheme) =>
    openStore(serverUrl(scheme, server), new Events()),
  )
  t.after(() => Promise.all(stores.map((store) => store.close())))
  for (const { leases } of stores) {
    assert.equal(await leases?.take('key', 'holder', 60_000), 'taken')
  }
})

for (const scheme of ['redis', 'valkey']) {
  test(`a request that waits for another machine is delayed once where the server freezes meanwhile: ${scheme}://`, {
    skip: noRedis,
  }, async (t) => {
    const server = await startRedis()
    const options = { store: serverUrl(scheme, server), memory: false, expireAfter: '1h' } as const
    const { url, seen } = await origin(t, async (_, response, count) => {
      if (count === 1) await delay(1000)
      response.end('content')
    })
    const [one, other] = [0, 1].map(() => testAgent(t, options))
    assert.ok(one && other)
    await Promise.all([one.cache.has(url), other.cache.has(url)])
    const first = get(one, url)
    while (seen.length === 0) await delay(5)
    const second = get(other, url)
    await delay(200)
    assert.equal(seen.length, 1, 'it waits')
    t.after(() => server.resume())
    server.freeze()
    const start = performance.now()
    assert.equal((await second).body, 'content')
    const took = performance.now() - start
    assert.ok(took < 900, `${took} ms`)
    server.resume()
    await first
  })
}

suite('Leases: a store that fails', () => {
  const failing = (take: LeaseStore['take']) => {
    const errors: string[] = []
    const events = new Events()
    events.on('error', ({ error }) => errors.push(error.message))
    return { errors, leases: new Leases({ take, give: async () => {} }, events, 50) }
  }

  test('has none, says so once, and is asked for none for a while', async () => {
    let asked = 0
    const { errors, leases } = failing(async () => {
      asked += 1
      throw new Error('broken')
    })
    assert.equal(await agree(leases), undefined)
    assert.equal(await agree(leases), undefined)
    await nextTurn()
    assert.deepEqual([asked, errors], [1, ['broken']])
  })

  test('is asked no more once the answer is there, also if whoever brought it has gone', async () => {
    const found = ['held', 'alone'] as const
    let asked = 0
    const { leases } = failing(async () => found[asked++] ?? 'alone')
    const within = <T>(answer: Promise<T>) => answer
    const isAnswered = async () => asked === 2
    assert.equal(await leases.agree('key', isAnswered, () => false, within), 'answered')
    assert.equal(asked, 2)
  })

  test('is waited for by its deadline', async () => {
    const { errors, leases } = failing(() => new Promise(() => {}))
    assert.equal(await agree(leases), undefined)
    await nextTurn()
    assert.match(errors[0] ?? '', /did not answer within 50 ms/)
  })
})

test('requests of one process still wait for one another, whatever others do', async (t) => {
  const { url, seen } = await origin(t, async (_, response) => {
    await delay(100)
    response.end('content')
  })
  const store = `sqlite://${join(folder(), 'cache.sqlite')}`
  const agents = [0, 1].map(() => testAgent(t, { store, expireAfter: '1h' }))
  await Promise.all(agents.map((agent) => agent.cache.has(url)))
  const all = await Promise.all([...agents, ...agents, ...agents].map((agent) => get(agent, url)))
  for (const { body } of all) assert.equal(body, 'content')
  assert.equal(seen.length, 1)
})
