import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Readable } from 'node:stream'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type AgentOptions, type CachingAgent, cachingAgent } from 'caching-agent'
import { fetch, request } from 'undici'
import { Events } from '../lib/observe/events.ts'
import { openStore } from '../lib/storage/open-store.ts'
import { WriteQueue } from '../lib/storage/sqlite/write-queue.ts'
import { get, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '..')

/** So much that a thread writes the rest. */
const MUCH = Buffer.alloc(1_500_000, 'x')

suite('WriteQueue', () => {
  const setUp = (t: TestContext, isPassing = (_error: unknown) => false) => {
    const path = join(folder(), 'queue.sqlite')
    const database = new DatabaseSync(path, { timeout: 0 })
    database.exec('PRAGMA journal_mode = WAL; CREATE TABLE rows (n INTEGER PRIMARY KEY)')
    const ran: string[] = []
    const queue = new WriteQueue(
      (sql, parameters) => {
        ran.push(sql.split(' ', 1)[0] as string)
        return database.prepare(sql).all(...(parameters as number[]))
      },
      (error, isLate) => !isLate && isPassing(error),
    )
    const insert = (n: number, patience = 1000) =>
      queue.write('INSERT INTO rows VALUES (?) RETURNING n', [n], patience)
    const all = () =>
      database
        .prepare('SELECT n FROM rows ORDER BY rowid')
        .all()
        .map(({ n }) => n)
    t.after(() => database.close())
    return { path, database, queue, insert, all, ran }
  }

  test('one that is alone needs no transaction of its own, and is written at once', async (t) => {
    const { insert, all, ran } = setUp(t)
    const written = insert(1)
    assert.deepEqual(all(), [1])
    assert.deepEqual(
      await written,
      [{ n: 1 }].map((row) => Object.assign(Object.create(null), row)),
    )
    assert.deepEqual(ran, ['INSERT'])
  })

  test('those that come together share a transaction, in their order', async (t) => {
    const { insert, all, ran } = setUp(t)
    await insert(0)
    const results = await Promise.all([1, 2, 3, 4].map((n) => insert(n)))
    assert.deepEqual(
      results.map(([row]) => (row as { n: number }).n),
      [1, 2, 3, 4],
    )
    assert.deepEqual(all(), [0, 1, 2, 3, 4])
    assert.deepEqual(ran.slice(1), ['BEGIN', 'INSERT', 'INSERT', 'INSERT', 'INSERT', 'COMMIT'])
  })

  test('of those that share one only the one that fails is not written', async (t) => {
    const { insert, all } = setUp(t)
    await insert(2)
    const results = await Promise.allSettled([1, 2, 3].map((n) => insert(n)))
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    )
    assert.deepEqual(all().sort(), [1, 2, 3])
  })

  test('a lock is waited for, and what waits is written when it is gone', async (t) => {
    const { path, insert, all } = setUp(t, () => true)
    const other = new DatabaseSync(path)
    other.exec('BEGIN IMMEDIATE')
    const writes = [insert(1, 10_000), insert(2, 10_000)]
    await delay(100)
    assert.deepEqual(all(), [])
    other.exec('COMMIT')
    await Promise.all(writes)
    assert.deepEqual(all(), [1, 2])
    other.close()
  })

  test('a lock that does not go fails each in its time', async (t) => {
    const { path, insert, all } = setUp(t, () => true)
    const other = new DatabaseSync(path)
    other.exec('BEGIN IMMEDIATE')
    await assert.rejects(insert(1, 50), /locked/)
    other.exec('COMMIT')
    await insert(2)
    assert.deepEqual(all(), [2])
    other.close()
  })

  test('what has not been written when it is closed fails', async (t) => {
    const { queue, insert } = setUp(t)
    await insert(1)
    const late = insert(2)
    queue.close(new Error('closed'))
    await assert.rejects(late, /closed/)
  })
})

/** The length of a response that is much more than what is held of one that is not written yet. */
const LARGE = 100_000_000

/** The URL of such a response. @param sent told how much of it has been sent */
async function largeOrigin(t: TestContext, sent = { bytes: 0 }): Promise<string> {
  const piece = Buffer.alloc(100_000, 'x')
  const { url } = await origin(t, async (_, response) => {
    response.setHeader('Content-Length', LARGE)
    for (; sent.bytes < LARGE; sent.bytes += piece.length) {
      if (!response.write(piece)) await once(response, 'drain')
    }
    response.end()
  })
  return url
}

suite('a thread that writes', () => {
  /** An agent whose thread has been started, and is ready. */
  const setUp = async (t: TestContext, options: AgentOptions = {}) => {
    const site = await origin(t, ({ url }, response) =>
      response.end(url === '/much' ? MUCH : `content of ${url}`),
    )
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h', ...options })
    const errors: string[] = []
    agent.cache.on('error', ({ error }) => errors.push(error.message))
    await get(agent, `${site.url}/much`)
    await agent.cache.responses.settled()
    // It takes a while until it has begun; meanwhile nothing waits for it.
    await delay(500)
    return { ...site, path, agent, errors }
  }
  const outcome = async (agent: Parameters<typeof get>[0], url: string) =>
    (await get(agent, url)).info?.status

  test('stores what is found again, by others and after a restart', async (t) => {
    const { url, path, agent, errors } = await setUp(t)
    const paths = Array.from({ length: 50 }, (_, index) => `${url}/${index}`)
    await Promise.all(paths.map((each) => get(agent, each)))
    await agent.cache.responses.settled()
    const other = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    for (const each of [`${url}/much`, ...paths]) assert.equal(await outcome(other, each), 'hit')
    await other.close()
    await agent.close()
    const next = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    for (const each of [`${url}/much`, ...paths]) assert.equal(await outcome(next, each), 'hit')
    assert.deepEqual(errors, [])
  })

  test('leaves what is in memory there, where no other process has changed anything', async (t) => {
    const { url, path, agent } = await setUp(t)
    await get(agent, `${url}/1`)
    await agent.cache.responses.settled()
    const key = (await agent.cache.get(`${url}/1`))?.key as string
    // What comes from the store is another object each time.
    const find = async () =>
      (await agent.cache.responses.find(key, { method: 'GET', url, fields: {} }))[0]
    const known = await find()
    assert.ok(known)
    for (let number = 2; number < 20; number++) await get(agent, `${url}/${number}`)
    await agent.cache.responses.settled()
    assert.equal(await find(), known)

    const other = new DatabaseSync(path)
    other.exec("UPDATE responses_1 SET value = value WHERE key = 'none'")
    assert.equal(await find(), known)
    other.exec('UPDATE responses_1 SET value = value')
    other.close()
    await delay(10)
    assert.notEqual(await find(), known)
  })

  test('does not hide what other processes delete', async (t) => {
    const { url, path, agent, seen } = await setUp(t)
    const other = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    for (let round = 0; round < 20; round++) {
      await get(agent, `${url}/1`)
      await agent.cache.responses.settled()
      const before = seen.length
      // Some writing at the same time.
      const writing = get(agent, `${url}/other-${round}`)
      assert.equal(await other.cache.delete(`${url}/1`), 1)
      assert.equal(await outcome(agent, `${url}/1`), 'miss')
      await writing
      assert.equal(seen.length, before + 2)
    }
  })

  test('waits for a lock by itself: requests are answered meanwhile', async (t) => {
    const { url, path, agent, errors } = await setUp(t)
    await get(agent, `${url}/known`)
    await agent.cache.responses.settled()
    const other = new DatabaseSync(path)
    other.exec('BEGIN IMMEDIATE')
    const begun = performance.now()
    let ticks = 0
    const timer = setInterval(() => {
      ticks += 1
    }, 10)
    for (let number = 0; number < 20; number++) {
      assert.equal(await outcome(agent, `${url}/${number}`), 'miss')
      assert.equal(await outcome(agent, `${url}/known`), 'hit')
    }
    await delay(Math.max(0, 1000 - (performance.now() - begun)))
    clearInterval(timer)
    other.exec('COMMIT')
    other.close()
    assert.ok(ticks > 20, `the event loop had ${ticks} turns of 100`)
    await agent.cache.responses.settled()
    assert.equal(await outcome(agent, `${url}/19`), 'hit')
    assert.deepEqual(errors, [])
  })

  // Who reads piece by piece resumes after each, which must not undo that the content waits for the store.
  const READERS: Record<string, (url: string, agent: CachingAgent) => Promise<number>> = {
    'request() and for await': async (url, dispatcher) => {
      let length = 0
      for await (const piece of (await request(url, { dispatcher })).body) length += piece.length
      return length
    },
    'request() and arrayBuffer()': async (url, dispatcher) =>
      (await (await request(url, { dispatcher })).body.arrayBuffer()).byteLength,
    'fetch and for await': async (url, dispatcher) => {
      let length = 0
      for await (const piece of (await fetch(url, { dispatcher })).body ?? [])
        length += piece.length
      return length
    },
  }
  for (const [name, read] of Object.entries(READERS)) {
    test(`holds up content that comes faster than it is written: ${name}`, async (t) => {
      const { url, path, agent, errors } = await setUp(t, { deadlines: { read: 3000 } })
      const sent = { bytes: 0 }
      const large = await largeOrigin(t, sent)
      await get(agent, `${url}/known`)
      await agent.cache.responses.settled()
      const other = new DatabaseSync(path)
      other.exec('BEGIN IMMEDIATE')
      const reading = read(large, agent)
      await delay(700)
      const held = sent.bytes
      other.exec('COMMIT')
      other.close()
      assert.equal(await reading, LARGE)
      await agent.cache.responses.settled()
      assert.deepEqual(errors, [])
      assert.equal(await outcome(agent, large), 'hit')
      // What the system holds of it is not much more than that.
      assert.ok(held < 30_000_000, `${held} bytes have been sent to who does not write any`)
    })

    test(`gives up content for a file that stays locked: ${name}`, async (t) => {
      const { url, path, agent, errors } = await setUp(t, { deadlines: { read: 100 } })
      const large = await largeOrigin(t)
      await get(agent, `${url}/known`)
      await agent.cache.responses.settled()
      const unlock = await lock(t, path)
      assert.equal(await read(large, agent), LARGE)
      unlock()
      await agent.cache.responses.settled()
      // Who listens is told in the next tick.
      await nextTurn()
      // It has not been waited until the lock was given up.
      assert.equal(errors[0], 'the store is slower than the network')
    })
  }

  /** Locks a file in a process of its own. @returns what ends that */
  const lock = async (t: TestContext, path: string) => {
    const text = `
      const { DatabaseSync } = require('node:sqlite')
      const database = new DatabaseSync(${JSON.stringify(path)}, { timeout: 5000 })
      database.exec('BEGIN EXCLUSIVE')
      console.log('locked')
      setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--no-warnings', '-e', text], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.after(() => child.kill('SIGKILL'))
    await once(child.stdout, 'data')
    return () => child.kill('SIGKILL')
  }

  test('waits for a lock that does not go no longer than for one change, however many there are', async (t) => {
    const { url, path, agent } = await setUp(t)
    await lock(t, path)
    await Promise.all(Array.from({ length: 200 }, (_, number) => get(agent, `${url}/${number}`)))
    const begun = performance.now()
    await agent.close()
    const took = performance.now() - begun
    assert.ok(took < 6000, `closed after ${took} ms`)
  })

  test('keeps even a value of no bytes', async () => {
    const stores = openStore(`sqlite://${join(folder(), 'cache.sqlite')}`, new Events())
    for (let number = 0; number < 8; number++) {
      await stores.chunks.set(`${number}`, Buffer.alloc(300_000), undefined)
    }
    await delay(500)
    await stores.chunks.set('empty', Buffer.alloc(0), undefined)
    assert.equal((await stores.chunks.get('empty'))?.length, 0)
    await stores.close()
  })

  test('is begun anew with a file that is damaged', async (t) => {
    const { url, path, agent, errors } = await setUp(t)
    const zeros = Buffer.alloc(100_000)
    writeFileSync(path, zeros)
    writeFileSync(`${path}-wal`, zeros)
    for (let number = 0; number < 5; number++) {
      assert.equal((await get(agent, `${url}/${number}`)).body, `content of /${number}`)
      await agent.cache.responses.settled()
    }
    assert.equal(await outcome(agent, `${url}/4`), 'hit')
    assert.match(errors.join(), /is damaged; set aside as/)
    assert.ok(readdirSync(join(path, '..')).some((name) => name.includes('.corrupt-')))
  })

  test('ends with its agent, even where it has hardly begun', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(MUCH))
    for (let round = 0; round < 3; round++) {
      const store = `sqlite://${join(folder(), 'cache.sqlite')}`
      const agent = cachingAgent({ store, expireAfter: '1h' })
      await (await request(url, { dispatcher: agent })).body.dump({ limit: 1e9 })
      await agent.close()
      assert.equal(await outcome(testAgent(t, { store, expireAfter: '1h' }), url), 'hit')
    }
  })

  const program = (url: string, flags: string[], end: string) => {
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const text = `
      import { cachingAgent } from 'caching-agent'
      import { request } from 'undici'
      const agent = cachingAgent({ store: ${JSON.stringify(store)}, expireAfter: '1h' })
      agent.cache.on('error', ({ error }) => console.log(error.message))
      const url = ${JSON.stringify(url)}
      const read = async (path) => (await request(url + path, { dispatcher: agent })).body.text()
      await read('/much')
      await new Promise((resolve) => setTimeout(resolve, 500))
      for (let number = 0; number < 20; number++) await read('/' + number)
      ${end}`
    const args = [
      '--conditions=source',
      '--no-warnings',
      ...flags,
      '--input-type=module',
      '-e',
      text,
    ]
    return { store, ran: run(process.execPath, args, { cwd: ROOT, timeout: 50_000 }) }
  }

  test('lets a program end whose file is locked for good', async (t) => {
    const { url } = await origin(t, ({ url }, response) =>
      response.end(url === '/much' ? MUCH : `content of ${url}`),
    )
    const end = `console.log('ready'); await new Promise((resolve) => process.stdin.once('data', resolve)); process.stdin.unref()
      await Promise.all([...Array(200).keys()].map((number) => read('/late' + number)))
      console.log('done')`
    const { store, ran } = program(url, [], end)
    const { stdout, stdin } = ran.child
    await once(stdout as Readable, 'data')
    await lock(t, store.slice('sqlite://'.length))
    stdin?.write('go')
    await once(stdout as Readable, 'data')
    const begun = performance.now()
    await ran
    const took = performance.now() - begun
    assert.ok(took < 6000, `ended after ${took} ms`)
  })

  for (const [how, end] of [
    ['ends by itself', ''],
    ['calls process.exit() right after its last request', 'await read("/0?0"); process.exit()'],
    [
      'calls process.exit() right after the last of several requests that it made at once',
      'await Promise.all([...Array(20).keys()].map((number) => read("/0?" + number))); process.exit()',
    ],
    [
      'calls process.exit() while a validation is under way that nobody waits for',
      `const dispatcher = agent.with({ expireAfter: 1, staleWhileRevalidate: '1h' })
      const readStale = async () => (await request(url + '/once', { dispatcher })).body.text()
      await readStale()
      await new Promise((resolve) => setTimeout(resolve, 20))
      await readStale()
      await read('/0?0')
      process.exit()`,
    ],
  ] as const) {
    test(`loses nothing where the program ${how}`, async (t) => {
      let asked = 0
      const { url } = await origin(t, ({ url }, response) => {
        if (url === '/once') asked += 1
        if (asked < 2 || url !== '/once') response.end(url === '/much' ? MUCH : `content of ${url}`)
      })
      const { store, ran } = program(url, [], end)
      assert.equal((await ran).stdout, '')
      const agent = testAgent(t, { store, expireAfter: '1h' })
      const last = end.includes('Array') ? ['/0?0', '/0?10', '/0?19'] : end ? ['/0?0'] : []
      for (const path of ['/much', '/0', '/19', ...last]) {
        assert.equal(await outcome(agent, url + path), 'hit', path)
      }
    })
  }

  // Of what has more than 64 KiB, chunks are written before the head.
  for (const length of [70_000, 600_000, 20_000_000]) {
    for (const options of ['', "compress: 'gzip'"]) {
      test(`loses no content of ${length} bytes where the program calls process.exit() right after it, { ${options} }`, async (t) => {
        const content = randomBytes(length)
        const { url, seen } = await origin(t, (_, response) => response.end(content))
        const store = `sqlite://${join(folder(), 'cache.sqlite')}`
        const text = `
          import { request } from 'undici'
          import { cachingAgent } from 'caching-agent'
          const dispatcher = cachingAgent({ store: '${store}', expireAfter: '1h', ${options} })
          const { body } = await request('${url}', { dispatcher })
          await body.arrayBuffer()
          process.exit()`
        const flags = ['--conditions=source', '--no-warnings', '--input-type=module', '-e', text]
        await run(process.execPath, flags, { cwd: ROOT })
        const agent = testAgent(t, { store, expireAfter: '1h' })
        const { body } = await request(url, { dispatcher: agent })
        assert.ok(Buffer.from(await body.arrayBuffer()).equals(content))
        assert.equal(seen.length, 1)
        const check = await agent.cache.check()
        assert.equal(check.isSound, true, JSON.stringify(check))
      })
    }
  }

  test('is not needed: where there may be no threads, changes are made without', async (t) => {
    const { url } = await origin(t, ({ url }, response) =>
      response.end(url === '/much' ? MUCH : `content of ${url}`),
    )
    const flags = ['--permission', '--allow-fs-read=*', '--allow-fs-write=*', '--allow-net']
    const known = process.allowedNodeEnvironmentFlags
    const { store, ran } = program(url, flags.filter((flag) => known.has(flag.split('=')[0] as string)), '') // biome-ignore format: one call
    assert.equal((await ran).stdout, '')
    const agent = testAgent(t, { store, expireAfter: '1h' })
    assert.equal(await outcome(agent, `${url}/19`), 'hit')
  })
})
