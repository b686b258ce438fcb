import assert from 'node:assert/strict'
import { execFile, execFileSync, fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import type { ServerResponse } from 'node:http'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import {
  type AgentOptions,
  type CacheError,
  type CachingAgent,
  cacheInfo,
  cachingAgent,
  HttpCache,
} from 'caching-agent'
import { request } from 'undici'
import { Events } from '../lib/observe/events.ts'
import { openSqlite } from '../lib/storage/sqlite.ts'
import { get, outcomes, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'
import { unprivileged } from './helpers/unprivileged.ts'

const ROOT = dirname(import.meta.dirname)
const run = promisify(execFile)

/** A program that fetches URLs through a cache, and prints what became of each and of the cache. */
const PROGRAM = `
import { cacheInfo, cachingAgent } from 'caching-agent'
const [store, ...urls] = process.argv.slice(1)
const agent = cachingAgent({ store, expireAfter: '1h' })
const errors = new Set()
agent.cache.on('error', ({ error }) => errors.add(error.message))
const outcomes = []
for (const url of urls) {
  const response = await fetch(url, { dispatcher: agent })
  const { length } = await response.text()
  outcomes.push([cacheInfo(response).status, length])
  await agent.cache.responses.settled()
}
await agent.close()
console.log(JSON.stringify({ outcomes, errors: [...errors] }))
`
const PROGRAM_ARGUMENTS = [
  '--conditions=source',
  '--no-warnings',
  '--input-type=module',
  '-e',
  PROGRAM,
]

interface ProgramResult {
  readonly outcomes: [string, number][]
  readonly errors: string[]
}

async function program(store: string, urls: string[], options = {}): Promise<ProgramResult> {
  const args = [...PROGRAM_ARGUMENTS, store, ...urls]
  const { stdout } = await run(process.execPath, args, { cwd: process.cwd(), ...options })
  return JSON.parse(stdout)
}

/** The errors that a cache tells. */
function errorsOf({ cache }: { cache: ReturnType<typeof cachingAgent>['cache'] }): CacheError[] {
  const errors: CacheError[] = []
  cache.on('error', (error) => errors.push(error))
  return errors
}

/** The files that this process has open in a folder, where the system tells. */
function openIn(path: string): string[] {
  const descriptors = '/proc/self/fd'
  if (!existsSync(descriptors)) return []
  const names = readdirSync(descriptors).map((name) => {
    try {
      return readlinkSync(join(descriptors, name))
    } catch {
      // It was open only to list the others.
      return ''
    }
  })
  return names.filter((name) => name.startsWith(path))
}

/** Leaves something of our own in a file by which it is told from another one. */
function mark(path: string): void {
  const database = new DatabaseSync(path)
  database.exec("INSERT INTO leases_1 VALUES ('mark', '', 1e15)")
  database.close()
}

function isMarked(path: string): boolean {
  const database = new DatabaseSync(path)
  const found = database.prepare("SELECT 1 FROM leases_1 WHERE key = 'mark'").all()
  database.close()
  return found.length > 0
}

/** A file that is marked, with an agent that has it open and has stored what there is at a URL. */
async function marked(t: TestContext) {
  const { url } = await origin(t, (_, response) => response.end('x'))
  const path = join(folder(), 'cache.sqlite')
  const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
  await get(agent, url)
  await agent.cache.count()
  mark(path)
  return { url, path, agent }
}

test('clearing twice at the same time leaves the thread to those who write much', async (t) => {
  const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(2_000_000)))
  const store = `sqlite://${join(folder(), 'cache.sqlite')}`
  const agent = testAgent(t, { store, expireAfter: '1h' })
  let threads = 0
  const count = () => {
    threads += 1
  }
  process.on('worker', count)
  t.after(() => process.off('worker', count))
  await agent.cache.count()
  await Promise.all([agent.cache.clear(), agent.cache.clear()])
  for (let number = 0; number < 4; number++) await get(agent, `${url}/${number}`)
  await agent.cache.responses.settled()
  assert.equal(threads, 1)
})

test('a file that is removed once it is closed does not come back', async (t) => {
  const waiting = Promise.withResolvers<ServerResponse>()
  const { url } = await origin(t, (_, response) => {
    response.write(Buffer.alloc(1_000_000))
    waiting.resolve(response)
  })
  const path = join(folder(), 'folder', 'cache.sqlite')
  const cache = new HttpCache({ store: `sqlite://${path}` })
  const agent = testAgent(t, { cache, expireAfter: '1h' })
  const reading = get(agent, url)
  const response = await waiting.promise
  await delay(1100)
  await cache.close()
  rmSync(dirname(path), { recursive: true })
  response.end(Buffer.alloc(1_000_000))
  assert.equal((await reading).body.length, 2_000_000)
  await cache.responses.settled().catch(() => {})
  assert.equal(existsSync(dirname(path)), false)
})

test('damage that is found while another process begins the file anew is no end to writing', async (t) => {
  const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(300_000)))
  const path = join(folder(), 'cache.sqlite')
  const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
  for (const number of [1, 2]) {
    await get(agent, `${url}/${number}`)
    await agent.cache.count()
  }
  const other = new DatabaseSync(path)
  other.exec('DROP TABLE unreferenced_1')
  other.close()
  for (const end of ['', '-wal', '-shm']) {
    if (existsSync(path + end)) renameSync(path + end, `${path}.aside${end}`)
  }
  const first = new DatabaseSync(path)
  first.exec('BEGIN EXCLUSIVE; CREATE TABLE others (x)')
  const released = delay(100).then(() => {
    first.exec('ROLLBACK')
    first.close()
  })
  await get(agent, `${url}/3`)
  await released
  await agent.cache.responses.settled()
  await get(agent, `${url}/4`)
  await agent.cache.responses.settled()
  assert.equal((await get(agent, `${url}/4`)).info?.status, 'hit')
})

test('what is received while a file is cleared by beginning it anew is delivered whole, now and later', async (t) => {
  const part = Buffer.alloc(1_300_000, 'x')
  const { url } = await origin(t, async (_, response) => {
    response.writeHead(200, { 'content-length': 2 * part.length })
    response.write(part)
    await delay(60)
    response.end(part)
  })
  const store = `sqlite://${join(folder(), 'cache.sqlite')}`
  const agent = testAgent(t, { store, expireAfter: '1h', memory: false })
  const read = async (path: string) => (await get(agent, `${url}/${path}`)).body.length
  for (let round = 0; round < 12; round++) {
    await read(`before${round}`)
    const clearing = agent.cache.clear()
    const first = read(`while${round}`)
    await delay(2 * round)
    const second = read(`while${round}`)
    await clearing
    assert.deepEqual(await Promise.all([first, second]), [2 * part.length, 2 * part.length])
    await agent.cache.responses.settled()
    assert.equal((await agent.cache.check()).incomplete, 0)
    assert.equal(await read(`while${round}`), 2 * part.length)
  }
})

suite('the SQLite file', () => {
  test('survives a restart', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end(Buffer.alloc(1_000_000)))
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    assert.deepEqual((await program(store, [url])).outcomes, [['miss', 1_000_000]])
    assert.deepEqual((await program(store, [url, url])).outcomes, [
      ['hit', 1_000_000],
      ['hit', 1_000_000],
    ])
    assert.equal(seen.length, 1)
  })

  test('is http_cache.sqlite in the working directory by default', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const cwd = process.cwd()
    const other = folder()
    process.chdir(other)
    t.after(() => process.chdir(cwd))
    const agent = cachingAgent({ expireAfter: '1h' })
    await get(agent, url)
    await agent.close()
    assert.deepEqual(readdirSync(other), ['http_cache.sqlite'])
  })

  test('is made where it does not exist, with its folders, readable by its owner alone', async (t) => {
    const path = join(folder(), 'some', 'where', 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}` })
    await agent.cache.count()
    assert.equal(statSync(path).mode & 0o077, 0)
  })

  test('uses write-ahead logging and incremental vacuum, and keeps content as bytes', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    await get(agent, url)
    await agent.cache.count()
    const database = new DatabaseSync(path, { readOnly: true })
    t.after(() => database.close())
    assert.deepEqual({ ...database.prepare('PRAGMA journal_mode').get() }, { journal_mode: 'wal' })
    assert.deepEqual({ ...database.prepare('PRAGMA auto_vacuum').get() }, { auto_vacuum: 2 })
    const row = database.prepare('SELECT typeof(value) AS type FROM responses_1').get()
    assert.equal(row?.type, 'blob')
  })

  test('shrinks when the cache is cleared', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(5_000_000, 'x')))
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    await get(agent, url)
    await agent.cache.count()
    const size = () => statSync(path).size + statSync(`${path}-wal`).size
    assert.ok(size() > 5_000_000)
    await agent.cache.clear()
    assert.ok(size() < 200_000, `${size()} bytes are left`)
  })

  test('is begun anew when it is cleared and nobody else has it open, as it was', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('x'))
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    const errors: Error[] = []
    agent.cache.on('error', ({ error }) => errors.push(error))
    await get(agent, url)
    await agent.cache.count()
    chmodSync(path, 0o640)
    mark(path)
    await agent.cache.clear()
    assert.ok(!isMarked(path))
    assert.equal(statSync(path).mode & 0o777, 0o640)
    assert.equal(await agent.cache.count(), 0)
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
    await agent.cache.count()

    const other = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    assert.deepEqual(await outcomes(other, url, [{}]), ['hit'])
    mark(path)
    await agent.cache.clear()
    assert.ok(isMarked(path), 'others would be left with what is no more')
    assert.deepEqual(await outcomes(other, url, [{}]), ['miss'])
    assert.deepEqual(errors, [])
  })

  const belongings: [what: string, make: string, there: string][] = [
    ['a table', 'CREATE TABLE users (x); INSERT INTO users VALUES (1)', 'SELECT x FROM users'],
    [
      'a table whose name is almost one of ours',
      'CREATE TABLE responses_10 (x); INSERT INTO responses_10 VALUES (1)',
      'SELECT x FROM responses_10',
    ],
    [
      'the tables of another release',
      'CREATE TABLE responses_2 (key, value); INSERT INTO responses_2 VALUES (1, 2)',
      'SELECT key FROM responses_2',
    ],
    [
      'a trigger on a table of ours',
      'CREATE TRIGGER mine AFTER INSERT ON chunks_1 BEGIN SELECT 1; END',
      "SELECT 1 FROM sqlite_schema WHERE name = 'mine'",
    ],
    ['a view', 'CREATE VIEW mine AS SELECT 1 AS x', 'SELECT x FROM mine'],
    [
      'the number of a program',
      'PRAGMA application_id = 1',
      'SELECT 1 FROM pragma_application_id WHERE application_id = 1',
    ],
    [
      'the version of a program',
      'PRAGMA user_version = 7',
      'SELECT 1 FROM pragma_user_version WHERE user_version = 7',
    ],
  ]
  for (const [what, make, there] of belongings) {
    test(`is cleared of nothing of others: ${what}`, async (t) => {
      const { url, path, agent } = await marked(t)
      const database = new DatabaseSync(path)
      database.exec(make)
      assert.equal(database.prepare(there).all().length, 1)
      database.close()
      await agent.cache.clear()
      const after = new DatabaseSync(path)
      t.after(() => after.close())
      assert.equal(after.prepare(there).all().length, 1)
      assert.ok(isMarked(path))
      assert.equal(await agent.cache.count(), 0)
      assert.equal(await agent.cache.size(), 0)
      assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
    })
  }

  test('is cleared of nothing that others have put there at that moment', async (t) => {
    const { path, agent } = await marked(t)
    const { exec } = DatabaseSync.prototype
    t.mock.method(DatabaseSync.prototype, 'exec', function (this: DatabaseSync, sql: string) {
      if (sql.includes('locking_mode = EXCLUSIVE')) {
        const other = new DatabaseSync(path)
        exec.call(other, 'CREATE TABLE users (x)')
        other.close()
      }
      return exec.call(this, sql)
    })
    await agent.cache.clear()
    const database = new DatabaseSync(path)
    t.after(() => database.close())
    assert.deepEqual(database.prepare('SELECT x FROM users').all(), [])
    assert.deepEqual({ ...database.prepare('PRAGMA journal_mode').get() }, { journal_mode: 'wal' })
    assert.ok(isMarked(path))
    assert.equal(await agent.cache.count(), 0)
  })

  test('is not removed in the place of the one that was open', async (t) => {
    const { url, path, agent } = await marked(t)
    for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix)
    const other = new DatabaseSync(path)
    other.exec('CREATE TABLE users (x)')
    other.close()
    const { ino } = statSync(path)
    await agent.cache.clear()
    assert.equal(statSync(path).ino, ino)
    const database = new DatabaseSync(path)
    t.after(() => database.close())
    assert.deepEqual(database.prepare('SELECT x FROM users').all(), [])
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
  })

  test('is not begun anew under somebody whom nobody knows', async (t) => {
    const { path, agent } = await marked(t)
    const unknown = new DatabaseSync(path)
    const count = unknown.prepare('SELECT count(*) AS count FROM responses_1')
    assert.equal(count.get()?.count, 1)
    await agent.cache.clear()
    assert.ok(isMarked(path))
    assert.equal(count.get()?.count, 0)
    unknown.close()
    await agent.cache.clear()
    assert.ok(!isMarked(path))
  })

  test('that is begun anew has nothing to do with what was open, but not read yet', async (t) => {
    const { url, path, agent } = await marked(t)
    const late = new DatabaseSync(path, { timeout: 5 })
    t.after(() => late.close())
    await agent.cache.clear()
    await get(agent, url)
    await agent.cache.count()
    assert.ok(!isMarked(path))
    assert.throws(() => late.prepare('SELECT * FROM sqlite_master').all(), /database is locked/)
    assert.deepEqual(await outcomes(agent, url, [{}]), ['hit'])
  })

  test('that has been cleared is empty also for those who only read it', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('x'))
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    await get(agent, url)
    await agent.cache.count()
    const reader = testAgent(t, { store: `sqlite://${path}`, mode: 'offline' })
    assert.deepEqual(await outcomes(reader, url, [{}, {}]), ['hit', 'hit'])
    await agent.cache.clear()
    assert.equal((await get(reader, url)).status, 504)
    assert.equal((await get(reader, url)).status, 504)
    assert.equal(seen.length, 1)
    await get(agent, url)
    await agent.cache.count()
    assert.deepEqual(await outcomes(agent, url, [{}]), ['hit'])
  })

  test('holds the content of overwritten responses only as long as it may be read elsewhere', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(1_000_000, 'x')))
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    for (let round = 0; round < 5; round++) {
      await get(agent, url, { headers: { 'cache-control': 'no-cache' } })
      // What is replaced before it is written is never read by others.
      await agent.cache.responses.settled()
    }
    await agent.close()
    const database = new DatabaseSync(path)
    t.after(() => database.close())
    const rows = (until: number) =>
      database.prepare('SELECT count(*) AS n FROM chunks_1 WHERE expires > ?').get(until)?.n
    assert.deepEqual([rows(0), rows(Date.now() + 15_000)], [20, 4])

    database.exec(`UPDATE chunks_1 SET expires = 1 WHERE expires < ${Date.now() + 15_000}`)
    const next = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    assert.equal((await get(next, url)).info?.status, 'hit')
    await delay(1300)
    assert.equal(rows(0), 4)
  })

  for (const options of [{}, { readOnly: true }]) {
    const who = 'readOnly' in options ? 'that only reads ' : ''
    test(`lets another process ${who}read for as long as it likes what is cleared`, async (t) => {
      const content = randomBytes(3_000_000).toString('latin1')
      const { url } = await origin(t, (_, response) => response.end(content, 'latin1'))
      const path = join(folder(), 'cache.sqlite')
      const store = `sqlite://${path}`
      const agent = testAgent(t, { store, expireAfter: '1h' })
      await get(agent, url)
      await agent.cache.responses.settled()
      const script = join(ROOT, `.reader-${process.pid}-${Math.random()}.mjs`)
      writeFileSync(script, READER)
      t.after(() => rmSync(script))
      const child = fork(script, [JSON.stringify({ store, ...options }), url], {
        cwd: ROOT,
        execArgv: ['--conditions=source', '--no-warnings'],
      })
      t.after(() => child.kill('SIGKILL'))
      const [status] = await once(child, 'message')
      assert.equal(status, 'hit')
      const database = new DatabaseSync(path, { timeout: 10_000 })
      t.after(() => database.close())
      const number = (table: string) =>
        database.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.n
      while (number('reading_1') === 0) await delay(100)
      await agent.cache.clear()
      t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 60_000 })
      await agent.cache.prune()
      assert.equal(number('chunks_1'), 12)
      child.send('read on')
      const [length] = await once(child, 'message')
      assert.equal(length, 3_000_000)
      while (number('reading_1') !== 0) await delay(20)
      await agent.cache.prune()
      assert.equal(number('chunks_1'), 0)
    })
  }

  test('lets others read what is cleared by who is reading something else', async (t) => {
    const content = randomBytes(3_000_000)
    const { url } = await origin(t, (_, response) => response.end(content))
    const shared = {
      ...{ store: `sqlite://${join(folder(), 'cache.sqlite')}`, expireAfter: '1h' },
      memory: false,
    } as const
    const [agent, other] = [testAgent(t, shared), testAgent(t, shared)]
    for (const path of ['/a', '/b']) await get(other, url + path)
    await other.cache.responses.settled()
    const begin = async (dispatcher: CachingAgent, path: string) => {
      const { headers, body } = await request(url + path, { dispatcher })
      assert.equal(cacheInfo({ headers })?.status, 'hit')
      return body
    }
    const bodies = await Promise.all([begin(agent, '/a'), begin(other, '/b')])
    await other.cache.clear()
    for (const body of bodies) assert.ok(content.equals(Buffer.from(await body.arrayBuffer())))
    assert.equal(await agent.cache.count(), 0)
  })

  for (const options of [{}, { encrypt: randomBytes(32) }]) {
    const how = 'encrypt' in options ? 'encrypted, ' : ''
    test(`keeps what another process stores while it is cleared: ${how}before and after`, async (t) => {
      const content = randomBytes(2_000_000)
      const held = Promise.withResolvers<void>()
      const { url } = await origin(t, async (request, response) => {
        response.write(content.subarray(0, 1_500_000))
        if (request.url === '/held') await held.promise
        response.end(content.subarray(1_500_000))
      })
      const path = join(folder(), 'cache.sqlite')
      const shared = {
        store: `sqlite://${path}`,
        expireAfter: '1h',
        memory: false,
        ...options,
      } as const
      const [agent, other] = [testAgent(t, shared), testAgent(t, shared)]
      await get(other, `${url}/before`)
      await other.cache.responses.settled()
      const receiving = get(agent, `${url}/held`)
      const database = new DatabaseSync(path, { timeout: 10_000 })
      t.after(() => database.close())
      const written = database.prepare('SELECT count(*) AS n FROM chunks_1')
      while ((written.get()?.n as number) < 8 + 5) await delay(20)
      await other.cache.clear()
      held.resolve()
      await receiving
      await agent.cache.responses.settled()
      t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 60_000 })
      await other.cache.prune()
      assert.equal(written.get()?.n, 8)
      const { body } = await request(`${url}/held`, {
        dispatcher: testAgent(t, { ...shared, onlyIfCached: true }),
      })
      assert.ok(content.equals(Buffer.from(await body.arrayBuffer())))
    })
  }

  test('lets another process read on what is overwritten by one that ends', async (t) => {
    const { url } = await origin(t, (_, response, count) =>
      response.end(Buffer.alloc(3_000_000, String(count))),
    )
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    await get(agent, url)
    await agent.cache.responses.settled()
    const { body } = await request(url, { dispatcher: agent })
    const other = cachingAgent({ store: `sqlite://${path}`, expireAfter: '1h' })
    await get(other, url, { headers: { 'cache-control': 'no-cache' } })
    await other.close()
    assert.equal(await body.text(), '1'.repeat(3_000_000))
    assert.equal((await get(agent, url)).body, '2'.repeat(3_000_000))
  })
})

suite('a file that is gone while it is in use', () => {
  const ways: [how: string, change: (path: string) => void][] = [
    [
      'because it was removed',
      (path) => {
        for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix)
      },
    ],
    ['with its folder', (path) => rmSync(dirname(path), { recursive: true })],
    [
      'because another one was put in its place',
      (path) => {
        const other = new DatabaseSync(`${path}.other`)
        other.exec('CREATE TABLE something (more)')
        other.close()
        for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix)
        renameSync(`${path}.other`, path)
      },
    ],
  ]
  for (const [how, change] of ways) {
    test(`${how}, is begun anew, so that others see what is stored`, async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const path = join(folder(), 'inside', 'cache.sqlite')
      const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h', memory: false })
      const errors = errorsOf(agent)
      await get(agent, `${url}/1`)
      await agent.cache.responses.settled()
      change(path)
      // It is not looked for at each request.
      await delay(1100)
      await get(agent, `${url}/2`)
      await agent.cache.responses.settled()
      assert.equal((await get(agent, `${url}/2`)).info?.status, 'hit')
      assert.equal((await get(agent, `${url}/1`)).info?.status, 'miss')
      assert.match(
        errors.map(({ error }) => error.message).join(),
        /^the cache file \S+ was removed or replaced; it is opened anew$/,
      )
      await agent.cache.responses.settled()
      const other = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
      assert.deepEqual((await other.cache.urls()).sort(), [`${url}/1`, `${url}/2`])
    })
  }

  for (const [how, change] of [
    ...ways,
    ['because it was renamed', (path: string) => renameSync(path, `${path}.before`)],
    [
      'because an empty one was put in its place',
      (path: string) => {
        writeFileSync(`${path}.other`, '')
        renameSync(`${path}.other`, path)
      },
    ],
  ] as typeof ways) {
    test(`${how}, is read to the end by who has begun to`, async (t) => {
      const content = randomBytes(32 * 2 ** 20)
      const { url } = await origin(t, (_, response) => response.end(content))
      const path = join(folder(), 'inside', 'cache.sqlite')
      const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
      await get(agent, url)
      await agent.cache.responses.settled()
      const { body, headers } = await request(url, { dispatcher: agent })
      assert.match(String(headers['cache-status']), /; hit/)
      const parts: Buffer[] = []
      for await (const part of body) {
        parts.push(part)
        if (parts.length > 1) continue
        change(path)
        // It is not looked for at each request.
        await delay(1100)
        assert.equal(await agent.cache.has(url), false)
      }
      assert.ok(Buffer.concat(parts).equals(content))
      await agent.close()
      assert.deepEqual(openIn(dirname(path)), [])
    })
  }

  const all = [{}, { memory: false }, { readOnly: true }, { mode: 'offline' }, { mode: 'replay' }]
  for (const options of all as AgentOptions[]) {
    test(`is not answered from, although nothing is written: ${JSON.stringify(options)}`, async (t) => {
      const url = 'http://site.invalid/'
      const path = join(folder(), 'cache.sqlite')
      const begin = async (body: string) => {
        const cache = new HttpCache({ store: `sqlite://${path}.new` })
        await cache.save(url, { headers: { 'cache-control': 'max-age=1000' }, body })
        await cache.close()
        for (const suffix of ['-wal', '-shm']) rmSync(path + suffix, { force: true })
        renameSync(`${path}.new`, path)
      }
      await begin('before')
      const store = `sqlite://${path}`
      const agent = testAgent(t, { store, onlyIfCached: true, missing: 'status', ...options })
      for (let n = 0; n < 2; n++) assert.equal((await get(agent, url)).body, 'before')
      await begin('after')
      // It is not looked for at each request.
      await delay(1100)
      for (let n = 0; n < 2; n++) assert.equal((await get(agent, url)).body, 'after')
      for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true })
      await delay(1100)
      assert.equal((await get(agent, url)).status, 504)
      await begin('again')
      await delay(1100)
      assert.equal((await get(agent, url)).body, 'again')
    })
  }
})

suite('a file behind a link', () => {
  /** A folder with a link to where a file is, or is to be, and an agent that knows only the link. */
  async function linked(t: TestContext, target: string, before = (_inside: string) => {}) {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const inside = realpathSync(folder())
    mkdirSync(join(inside, 'data'))
    const [path, real] = [join(inside, 'cache.sqlite'), join(inside, 'data', 'real.sqlite')]
    before(inside)
    symlinkSync(target, path)
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h', memory: false })
    await get(agent, url)
    await agent.cache.responses.settled()
    return { url, inside, path, real, agent }
  }
  const isLink = (path: string) => lstatSync(path).isSymbolicLink()

  test('is cleared itself, and the link stays', async (t) => {
    const { url, path, real, agent } = await linked(t, 'data/real.sqlite', (inside) =>
      writeFileSync(join(inside, 'data', 'real.sqlite'), ''),
    )
    mark(real)
    await agent.cache.clear()
    const other = testAgent(t, { store: `sqlite://${real}`, onlyIfCached: true })
    assert.equal((await get(other, url)).status, 504)
    assert.ok(isLink(path))
    assert.ok(!isMarked(real))
    assert.equal((await get(agent, url)).info?.status, 'miss')
    await agent.cache.responses.settled()
    assert.equal((await get(other, url)).status, 200)
  })

  test('is set aside itself where it is damaged, and the link leads to the new one', async (t) => {
    const { url, inside, path, real, agent } = await linked(t, 'data/real.sqlite')
    await agent.close()
    writeFileSync(real, 'no database at all '.repeat(1000))
    const next = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    assert.equal((await get(next, url)).info?.status, 'miss')
    await next.cache.responses.settled()
    assert.ok(isLink(path))
    assert.ok(readdirSync(join(inside, 'data')).some((name) => name.includes('.corrupt-')))
    const other = testAgent(t, { store: `sqlite://${real}`, onlyIfCached: true })
    assert.equal((await get(other, url)).status, 200)
  })

  test('is made where the link leads, with its folders', async (t) => {
    const { path } = await linked(t, 'data/../some/where/real.sqlite')
    assert.ok(isLink(path))
    assert.equal(realpathSync(path), join(dirname(path), 'some', 'where', 'real.sqlite'))
  })

  test('is another one when the link leads elsewhere', async (t) => {
    const { url, inside, path, real, agent } = await linked(t, 'data/real.sqlite')
    rmSync(path)
    symlinkSync('data/next.sqlite', path)
    await delay(1100)
    assert.deepEqual(await outcomes(agent, `${url}/2`, [{}]), ['miss'])
    await agent.cache.responses.settled()
    assert.ok(isLink(path))
    for (const [file, urls] of [
      [real, [`${url}/`]],
      [join(inside, 'data', 'next.sqlite'), [`${url}/2`]],
    ] as const) {
      const other = testAgent(t, { store: `sqlite://${file}` })
      assert.deepEqual(await other.cache.urls(), urls)
    }
  })

  test('is read, and not made, by who only reads', async (t) => {
    const { url, real, inside } = await linked(t, 'data/real.sqlite')
    const path = join(inside, 'other.sqlite')
    symlinkSync('data/missing/next.sqlite', path)
    const reader = testAgent(t, { store: `sqlite://${path}`, mode: 'offline' })
    assert.equal((await get(reader, url)).status, 504)
    assert.ok(!existsSync(join(inside, 'data', 'missing')))
    rmSync(path)
    symlinkSync(real, path)
    assert.equal((await get(reader, url)).info?.status, 'hit')
  })

  test('that has another name is cleared by that name, too', async (t) => {
    const { url, path, agent } = await marked(t)
    linkSync(path, `${path}.other`)
    await agent.cache.clear()
    await agent.close()
    const other = testAgent(t, { store: `sqlite://${path}.other`, onlyIfCached: true })
    assert.equal((await get(other, url)).status, 504)
  })

  test('that leads back to itself is refused', () => {
    const path = join(folder(), 'cache.sqlite')
    symlinkSync('cache.sqlite', path)
    assert.throws(() => cachingAgent({ store: `sqlite://${path}` }), /store: cannot use .*ELOOP/)
  })
})

suite('a path that cannot be used is refused at construction', () => {
  const refused = (path: (inside: string) => string) => {
    const store = `sqlite://${path(folder())}`
    assert.throws(
      () => cachingAgent({ store }),
      (error: Error) =>
        error.message.startsWith('store: cannot use') && error.message.includes(store),
    )
  }
  test('a folder', () => refused((inside) => inside))
  for (const [what, make, got] of [
    ['a folder', (path: string) => mkdirSync(path), 'a directory: name a file in it'],
    ['a FIFO', (path: string) => execFileSync('mkfifo', [path]), 'a FIFO: name another path'],
    ['a device', (path: string) => symlinkSync('/dev/null', path), 'a device: name another path'],
  ] as const) {
    for (const options of [{}, { mode: 'offline' }] as const) {
      const who = 'mode' in options ? ', although it is only read' : ''
      test(`${what}, with what it is${who}`, { skip: process.platform === 'win32' }, () => {
        const path = join(folder(), 'cache.sqlite')
        make(path)
        const store = `sqlite://${path}`
        assert.throws(() => cachingAgent({ store, ...options }), {
          message: `store: cannot use '${store}' as a cache file: expected a regular file, or a path at which there is nothing yet, got ${got}`,
        })
      })
    }
  }
  test('a file under a file', () =>
    refused((inside) => {
      writeFileSync(join(inside, 'file'), '')
      return join(inside, 'file', 'cache.sqlite')
    }))
  test('a folder that does not let files be made', async (t) => {
    const user = await unprivileged(t)
    if (!user) return
    const inside = folder()
    chmodSync(inside, 0o555)
    await assert.rejects(
      program(`sqlite://${join(inside, 'cache.sqlite')}`, [], user),
      /store: cannot use/,
    )
  })
})

/** A process that says what is stored for a URL whenever it is asked. */
const ASKED = `
  import { cachingAgent } from 'caching-agent'
  import { request } from 'undici'
  const [, , options, url] = process.argv
  const agent = cachingAgent({ onlyIfCached: true, ...JSON.parse(options) })
  process.on('message', async () => {
    const { body } = await request(url, { dispatcher: agent })
    process.send(await body.text())
  })
  process.on('disconnect', () => process.exit())
  process.send('begun')`

/** A process that reads the beginning of a response, says so, and reads on when it is told to. */
const READER = `
  import { cacheInfo, cachingAgent } from 'caching-agent'
  import { request } from 'undici'
  const [, , options, url] = process.argv
  const agent = cachingAgent({ expireAfter: '1h', memory: false, ...JSON.parse(options) })
  const response = await request(url, { dispatcher: agent })
  process.once('message', async () => {
    let length = 0
    for await (const part of response.body) length += part.length
    process.send(length)
  })
  process.on('disconnect', () => process.exit())
  process.send(cacheInfo(response).status)`

suite('a damaged file', () => {
  const damages: [string, (path: string) => void][] = [
    ['that is no database', (path) => writeFileSync(path, 'no database at all '.repeat(1000))],
    ['that was cut off', (path) => truncateSync(path, 6000)],
    [
      'with a header of a format that there is not',
      (path) => {
        const bytes = readFileSync(path)
        bytes.fill(0xff, 42, 60)
        writeFileSync(path, bytes)
      },
    ],
    [
      'with other bytes in the middle',
      (path) => {
        const bytes = readFileSync(path)
        bytes.fill(0xa5, 1000, bytes.length - 100)
        writeFileSync(path, bytes)
      },
    ],
  ]
  for (const [what, damage] of damages) {
    test(`${what} is set aside with an event, and a new one begun`, async (t) => {
      const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(500_000, 'x')))
      const inside = folder()
      const path = join(inside, 'cache.sqlite')
      const store = `sqlite://${path}`
      await program(store, [url, `${url}/2`])
      damage(path)
      const agent = testAgent(t, { store, expireAfter: '1h' })
      const errors = errorsOf(agent)
      for (let round = 0; round < 2; round++) {
        assert.equal((await get(agent, url)).body.length, 500_000)
        assert.equal((await get(agent, `${url}/2`)).body.length, 500_000)
        await agent.cache.responses.settled()
      }
      assert.equal((await get(agent, url)).info?.status, 'hit')
      assert.ok(errors.length > 0, 'nobody was told')
      assert.ok(readdirSync(inside).some((name) => name.includes('.corrupt-')))
    })
  }

  test('found while it is in use does not fail the request', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(300_000, 'x')))
    const inside = folder()
    const path = join(inside, 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    for (let index = 0; index < 20; index++) await get(agent, `${url}/${index}`)
    await agent.cache.count()
    const errors = errorsOf(agent)
    const database = new DatabaseSync(path)
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    database.close()
    const bytes = readFileSync(path)
    bytes.fill(0xa5, 4096)
    writeFileSync(path, bytes)
    for (let index = 0; index < 20; index++) {
      assert.equal((await get(agent, `${url}/${index}`)).body.length, 300_000)
    }
    await agent.cache.responses.settled()
    assert.deepEqual(await outcomes(agent, `${url}/new`, [{}, {}]), ['miss', 'hit'])
    assert.ok(errors.length > 0, 'nobody was told')
  })

  test('with a record of another version or a wrong checksum is a miss, and replaced', async (t) => {
    const { url } = await origin(t, (_, response, count) => response.end(`response ${count}`))
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    const errors = errorsOf(agent)
    for (const offset of [0, 20]) {
      await get(agent, url)
      await agent.cache.count()
      const database = new DatabaseSync(path)
      const row = database.prepare('SELECT key, value FROM responses_1').get()
      const value = Buffer.from(row?.value as Uint8Array)
      value[offset] = 0xff
      database
        .prepare('UPDATE responses_1 SET value = ? WHERE key = ?')
        .run(value, row?.key as string)
      database.close()
    }
    assert.equal((await get(agent, url)).body, 'response 3')
    assert.match(errors[0]?.error.message ?? '', /damaged or of another version/)
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('whose schema is damaged is set aside', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h', memory: false })
    const errors: string[] = []
    agent.cache.on('error', ({ error }) => errors.push(error.message))
    await get(agent, url)
    await agent.cache.responses.settled()
    const database = new DatabaseSync(path)
    database.exec('DROP TABLE responses_1')
    database.close()
    assert.equal((await get(agent, url)).info?.status, 'miss')
    await agent.cache.responses.settled()
    assert.equal((await get(agent, url)).info?.status, 'hit')
    assert.match(errors.join(), /is damaged; set aside as/)
  })

  test('that is begun anew has none of the tables of others', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const inside = folder()
    const path = join(inside, 'cache.sqlite')
    const store = `sqlite://${path}`
    await program(store, [url])
    const database = new DatabaseSync(path)
    database.exec('CREATE TABLE users (x)')
    database.close()
    const agent = testAgent(t, { store, expireAfter: '1h', memory: false })
    assert.equal((await get(agent, url)).info?.status, 'hit')
    const bytes = readFileSync(path)
    bytes.fill(0xa5, 4096)
    writeFileSync(path, bytes)
    for (const file of ['/1', '/2', '/3']) {
      await get(agent, url + file)
      await agent.cache.responses.settled()
    }
    assert.ok(readdirSync(inside).some((name) => name.includes('.corrupt-')))
    const anew = new DatabaseSync(path)
    t.after(() => anew.close())
    const users = anew.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'users'").all()
    assert.deepEqual(users, [])
  })

  const names: [what: string, from: string, to: string][] = [
    ['a column of a table', 'value TEXT', 'vamue TEXT'],
    ['a column in a trigger', 'NEW.value', 'NEW.vamue'],
    ['a function in a trigger', ' length(', ' lenguh('],
    ['a table in a trigger', 'INTO totals_1', 'INTO totams_1'],
  ]
  for (const [what, from, to] of names) {
    test(`in whose schema ${what} has another name is set aside`, async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const path = join(folder(), 'cache.sqlite')
      const store = `sqlite://${path}`
      await program(store, [url, `${url}/2`])
      const text = readFileSync(path, 'latin1')
      assert.ok(text.includes(from))
      writeFileSync(path, text.replaceAll(from, to), 'latin1')
      const agent = testAgent(t, { store, expireAfter: '1h' })
      const errors = errorsOf(agent)
      for (const path of ['/', '/2', '/3', '/4', '/', '/2', '/3', '/4']) {
        assert.equal((await get(agent, url + path)).body, 'content')
        await agent.cache.responses.settled()
      }
      assert.match(errors.map(({ error }) => error.message).join(), /is damaged; set aside as/)
      for (const path of ['/', '/2', '/3', '/4']) {
        assert.equal((await get(agent, url + path)).info?.status, 'hit')
      }
    })
  }

  test('with a missing or damaged chunk is a miss before anything is delivered', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(500_000, 'x')))
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h', memory: false })
    for (const damage of ['DELETE FROM chunks_1', 'UPDATE chunks_1 SET value = zeroblob(100)']) {
      await get(agent, url)
      await agent.cache.count()
      const database = new DatabaseSync(path)
      database.exec(damage)
      database.close()
      const { body, info } = await get(agent, url)
      assert.deepEqual([body.length, info?.status], [500_000, 'miss'])
    }
  })

  test('a validated response whose content is lost is fetched after all', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"a"')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : Buffer.alloc(500_000, 'x'))
    })
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: 0 })
    await get(agent, url)
    await agent.cache.count()
    const database = new DatabaseSync(path)
    database.exec('DELETE FROM chunks_1')
    database.close()
    const { body, status } = await get(agent, url)
    assert.deepEqual([body.length, status], [500_000, 200])
    assert.deepEqual(
      seen.map(({ headers }) => headers['if-none-match']),
      [undefined, '"a"', undefined],
    )
  })
})

suite('a file that cannot be written', () => {
  test('because it is read-only still answers, stores nothing and says so', async (t) => {
    const user = await unprivileged(t)
    if (!user) return
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const inside = folder()
    const path = join(inside, 'cache.sqlite')
    const store = `sqlite://${path}`
    await program(store, [url])
    chmodSync(path, 0o444)
    chmodSync(inside, 0o555)
    const urls = [url, `${url}/new`, `${url}/new`]
    const running = program(store, urls, user)
    const { outcomes, errors } = await running.finally(() => chmodSync(inside, 0o755))
    assert.deepEqual(
      outcomes.map(([status]) => status),
      ['hit', 'miss', 'miss'],
    )
    assert.match(errors.join(), /readonly|read-only/)
    assert.equal(seen.length, 3)
  })

  for (const options of [{}, { mode: 'offline' }]) {
    const who = 'mode' in options ? ' and by who only reads' : ''
    test(`here${who}, but by others, answers as they have changed it`, async (t) => {
      const user = await unprivileged(t)
      if (!user || process.getuid?.() !== 0) return t.skip('there are no others who may write')
      const { url } = await origin(t, (_, response, count) => response.end(`content ${count}`))
      const inside = folder()
      const path = join(inside, 'cache.sqlite')
      const store = `sqlite://${path}`
      await program(store, [url])
      chmodSync(path, 0o444)
      chmodSync(inside, 0o555)
      const script = join(ROOT, `.asked-${process.pid}-${Math.random()}.mjs`)
      writeFileSync(script, ASKED)
      t.after(() => rmSync(script))
      const child = fork(script, [JSON.stringify({ store, ...options }), url], {
        ...user,
        cwd: ROOT,
        execArgv: ['--conditions=source', '--no-warnings'],
      })
      t.after(() => child.kill('SIGKILL'))
      await once(child, 'message')
      const asked = async () => {
        child.send('what is there?')
        return (await once(child, 'message'))[0]
      }
      assert.deepEqual([await asked(), await asked()], ['content 1', 'content 1'])
      for (const round of [2, 3]) {
        const agent = testAgent(t, { store, expireAfter: '1h', forceRefresh: true })
        await get(agent, url)
        await agent.cache.responses.settled()
        assert.equal(await asked(), `content ${round}`)
        await agent.close()
        assert.equal(await asked(), `content ${round}`)
      }
      const agent = testAgent(t, { store })
      await agent.cache.delete(url)
      await agent.close()
      assert.equal(await asked(), '')
    })
  }

  test('because the disk is full still answers, and keeps what it has', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.end(Buffer.alloc(request.url === '/large' ? 3_000_000 : 100, 'x'))
    })
    const path = join(folder(), 'cache.sqlite')
    const urls = [`${url}/`, `${url}/large`, `${url}/large`, `${url}/`]
    // A limit on the size of files, in blocks of 512 bytes or of 1 KiB, fails like a full disk.
    const limited = ['-c', 'ulimit -f 1000; exec "$@"', 'sh', process.execPath]
    const args = [...limited, ...PROGRAM_ARGUMENTS, `sqlite://${path}`, ...urls]
    // Coverage is a file too.
    const { stdout } = await run('sh', args, { env: { ...process.env, NODE_V8_COVERAGE: '' } })
    const { outcomes, errors } = JSON.parse(stdout) as ProgramResult
    assert.deepEqual(outcomes, [
      ['miss', 100],
      ['miss', 3_000_000],
      ['miss', 3_000_000],
      ['hit', 100],
    ])
    assert.ok(errors.length > 0, 'nobody was told')
    assert.deepEqual((await program(`sqlite://${path}`, [`${url}/`])).outcomes, [['hit', 100]])
  })

  test('because another process has locked it delays nobody, and works again afterwards', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    const errors = errorsOf(agent)
    await get(agent, url)
    await agent.cache.count()
    const other = new DatabaseSync(path)
    other.exec('BEGIN EXCLUSIVE')
    const start = performance.now()
    assert.equal((await get(agent, url)).info?.status, 'hit')
    assert.equal((await get(agent, `${url}/new`)).info?.status, 'miss')
    assert.ok(performance.now() - start < 1000)
    await agent.cache.responses.settled()
    await delay(10)
    assert.match(errors[0]?.error.message ?? '', /locked/)
    other.exec('COMMIT')
    other.close()
    assert.deepEqual(await outcomes(agent, `${url}/newer`, [{}, {}]), ['miss', 'hit'])
    await agent.cache.count()
    assert.equal(await agent.cache.has(`${url}/newer`), true)
  })

  test('for a moment, because another process writes, is written after it', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    const errors = errorsOf(agent)
    await get(agent, `${url}/before`)
    await agent.cache.responses.settled()
    const other = new DatabaseSync(path)
    t.after(() => other.close())
    other.exec('BEGIN IMMEDIATE')
    await get(agent, url)
    await delay(200)
    other.exec('COMMIT')
    await agent.cache.responses.settled()
    assert.equal(await agent.cache.has(url), true)
    await delay(5)
    assert.deepEqual(errors, [])
  })

  test('because it is locked from the beginning is used once it is free', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const path = join(folder(), 'cache.sqlite')
    const other = new DatabaseSync(path)
    other.exec('BEGIN EXCLUSIVE')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    const errors = errorsOf(agent)
    assert.equal((await get(agent, url)).body, 'content')
    other.exec('COMMIT')
    other.close()
    await agent.cache.responses.settled()
    await delay(10)
    assert.ok(errors.length > 0, 'nobody was told')
    await get(agent, `${url}/2`)
    assert.equal(await agent.cache.has(`${url}/2`), true)
  })

  test('because it is locked from the beginning blocks nothing, however much is asked for', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const path = join(folder(), 'cache.sqlite')
    await program(`sqlite://${path}`, [url])
    const other = new DatabaseSync(path)
    other.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
    const start = performance.now()
    const { heads, coherence, close } = openSqlite(path, new Events())
    t.after(close)
    const opened = performance.now() - start
    assert.ok(opened < 100, `it took ${opened} ms to open it`)
    assert.equal(coherence?.kind, 'versioned')
    let blocked = 0
    for (const end = performance.now() + 500; performance.now() < end; await delay(5)) {
      const before = performance.now()
      // As many lookups begin.
      for (let lookup = 0; lookup < 20; lookup++) {
        assert.ok(Number.isNaN(coherence.version()))
        Promise.resolve(heads.get('key')).catch(() => {})
      }
      blocked += performance.now() - before
    }
    assert.ok(blocked < 150, `${blocked} of 500 ms were blocked`)
    other.exec('COMMIT')
    other.close()
    await delay(150)
    assert.equal(await heads.get('key'), undefined)
    assert.ok(!Number.isNaN(coherence.version()))
  })

  test('because it was removed still answers', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const inside = join(folder(), 'inside')
    mkdirSync(inside)
    const path = join(inside, 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    await get(agent, url)
    rmSync(inside, { recursive: true, maxRetries: 3 })
    assert.equal((await get(agent, `${url}/2`)).body, 'content')
    assert.equal(existsSync(path), false)
  })
})

suite('several processes with one file', () => {
  test('write at the same time without an error, and read what the others wrote', async (t) => {
    const { url } = await origin(t, async (_, response) => {
      await delay(1)
      response.end(Buffer.alloc(20_000, 'x'))
    })
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const urls = (prefix: string) =>
      Array.from({ length: 40 }, (_, index) => `${url}/${prefix}${index}`)
    const prefixes = ['a', 'b', 'c', 'd']
    const results = await Promise.all(prefixes.map((prefix) => program(store, urls(prefix))))
    for (const { errors } of results) assert.deepEqual(errors, [])
    const all = await program(store, prefixes.flatMap(urls))
    assert.ok(all.outcomes.every(([status, length]) => status === 'hit' && length === 20_000))
  })
})
