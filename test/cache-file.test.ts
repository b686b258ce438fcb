import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type CachingAgent, cachingAgent, HttpCache } from 'caching-agent'
import { get, outcomes, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'
import { unprivileged } from './helpers/unprivileged.ts'

/** Runs a program whose arguments are in `args`, in a process with options; what it prints is JSON. */
async function program(
  code: string,
  args: readonly string[],
  { limit, ...options }: { readonly limit?: string } = {},
): Promise<unknown> {
  const imports = `import { cacheInfo, cachingAgent } from 'caching-agent'\nimport fs from 'node:fs'\nconst args = process.argv.slice(1)\n`
  const node = ['--conditions=source', '--no-warnings', '--input-type=module', '-e']
  const command = [process.execPath, ...node, imports + code, ...args]
  const limited = limit ? ['sh', '-c', `ulimit ${limit}; exec "$@"`, 'sh'] : []
  const [file = '', ...rest] = [...limited, ...command]
  // Coverage is a file too.
  const env = { ...process.env, NODE_V8_COVERAGE: '' }
  const { stdout } = await promisify(execFile)(file, rest, { env, ...options })
  return JSON.parse(stdout)
}

/** Requests a URL, and prints what became of it and which errors were told. */
const REQUEST = `
const [store, url, options = '{}'] = args
const agent = cachingAgent({ store, expireAfter: '1h', ...JSON.parse(options) })
const errors = []
agent.cache.on('error', ({ operation, error }) => errors.push(operation + ': ' + error.message))
const response = await fetch(url, { dispatcher: agent })
await response.text()
const count = await agent.cache.count()
await agent.close()
console.log(JSON.stringify({ status: cacheInfo(response).status, count, errors }))`

interface Requested {
  readonly status: string
  readonly count: number
  readonly errors: readonly string[]
}

function errorsOf({ cache }: CachingAgent): string[] {
  const errors: string[] = []
  cache.on('error', ({ error }) => errors.push(error.message))
  return errors
}

/** A file in which a response is stored. */
async function stored(t: TestContext, content = 'content') {
  const { url, seen } = await origin(t, (_, response) => response.end(content))
  const inside = folder()
  const path = join(inside, 'cache.sqlite')
  const store = `sqlite://${path}`
  const agent = cachingAgent({ store, expireAfter: '1h' })
  await get(agent, url)
  await agent.close()
  return { url, seen, inside, path, store }
}

/** Does something once, as soon as a statement has been tried that is run on its own. */
function interruptOnce(
  t: TestContext,
  when: (sql: string, failed: boolean) => boolean,
  work: () => void,
): void {
  let isDone = false
  for (const name of ['exec', 'prepare'] as const) {
    const original = DatabaseSync.prototype[name] as (this: DatabaseSync, sql: string) => unknown
    t.mock.method(DatabaseSync.prototype, name, function (this: DatabaseSync, sql: string) {
      const interrupt = (failed: boolean) => {
        if (isDone || !when(sql, failed)) return
        isDone = true
        work()
      }
      try {
        interrupt(false)
        return original.call(this, sql)
      } catch (error) {
        interrupt(true)
        throw error
      }
    })
  }
}

suite('processes that begin with the same file', () => {
  test('set nothing aside that another one has begun in the place of a damaged one', async (t) => {
    const inside = folder()
    const path = join(inside, 'cache.sqlite')
    const store = `sqlite://${path}`
    writeFileSync(path, 'no database at all '.repeat(1000))
    let first: CachingAgent | undefined
    let begun = 0
    interruptOnce(
      t,
      (_, failed) => failed,
      () => {
        first = testAgent(t, { store, expireAfter: '1h' })
        begun = statSync(path).ino
      },
    )
    const second = testAgent(t, { store, expireAfter: '1h' })
    assert.ok(first)
    assert.equal(statSync(path).ino, begun)
    const { url } = await origin(t, (_, response) => response.end('content'))
    await get(first, url)
    await first.cache.responses.settled()
    assert.equal((await get(second, url)).info?.status, 'hit')
    const aside = readdirSync(inside).filter((name) => name.includes('.corrupt-'))
    assert.equal(aside.length, 1)
    assert.equal(readFileSync(join(inside, aside[0] ?? ''), 'latin1').slice(0, 11), 'no database')
  })

  test('open the one that has come to its place meanwhile', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const path = join(folder(), 'cache.sqlite')
    const database = new DatabaseSync(path)
    database.exec('CREATE TABLE users (x)')
    database.close()
    interruptOnce(
      t,
      (sql) => sql.includes('journal_mode'),
      () => {
        renameSync(path, `${path}.before`)
        copyFileSync(`${path}.before`, path)
      },
    )
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    const errors = errorsOf(agent)
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
    await agent.close()
    const other = testAgent(t, { store: `sqlite://${path}` })
    assert.equal(await other.cache.count(), 1)
    assert.deepEqual(errors, [])
  })

  test('wait for one that is making it', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const path = join(folder(), 'cache.sqlite')
    const lock = `${path}-lock`
    mkdirSync(lock)
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    const errors = errorsOf(agent)
    setTimeout(() => rmdirSync(lock), 50)
    await agent.cache.save(url, { body: 'content' })
    assert.deepEqual(errors, [])
  })

  const leftovers: [what: string, leave: (lock: string) => void][] = [
    ['an empty folder', (lock) => mkdirSync(lock)],
    [
      'a folder with something in it',
      (lock) => mkdirSync(join(lock, 'inside'), { recursive: true }),
    ],
    ['a file', (lock) => writeFileSync(lock, '')],
  ]
  for (const [what, leave] of leftovers) {
    test(`are not kept waiting by what one that was killed has left: ${what}`, async (t) => {
      const inside = folder()
      const path = join(inside, 'cache.sqlite')
      const lock = `${path}-lock`
      leave(lock)
      const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
      assert.ok(existsSync(lock), 'it may still be in use')
      await delay(2100)
      const { url } = await origin(t, (_, response) => response.end('content'))
      await agent.cache.save(url, { body: 'content' })
      assert.equal(await agent.cache.count(), 1)
      assert.deepEqual(
        readdirSync(inside).filter((name) => name.includes('lock')),
        [],
      )
    })
  }
})

suite('a damaged file that nobody can set aside', () => {
  const damages: [what: string, harm: (path: string) => void][] = [
    ['cut off', (path) => truncateSync(path, statSync(path).size - 8192)],
    ['without a header', (path) => writeFileSync(path, Buffer.alloc(50_000))],
    [
      'with other bytes',
      (path) => {
        const bytes = readFileSync(path)
        bytes.fill(0x55, 100)
        writeFileSync(path, bytes)
      },
    ],
  ]
  for (const [what, harm] of damages) {
    test(`${what}, is a miss and an event`, async (t) => {
      const user = await unprivileged(t)
      if (!user) return
      const { url, inside, path, store } = await stored(t)
      harm(path)
      const before = readFileSync(path)
      chmodSync(path, 0o444)
      chmodSync(inside, 0o555)
      const running = program(REQUEST, [store, url], user).finally(() => chmodSync(inside, 0o755))
      const { status, count, errors } = (await running) as Requested
      assert.deepEqual([status, count], ['miss', 0])
      assert.match(errors[0] ?? '', /^open: .* is damaged and cannot be set aside/)
      assert.ok(readFileSync(path).equals(before))
    })
  }

  test('because it is only read, is a miss and an event, and read when it has been mended', async (t) => {
    const { url, path, store, inside } = await stored(t)
    const sound = readFileSync(path)
    writeFileSync(path, 'no database at all '.repeat(1000))
    for (const [options, status] of [
      [{ readOnly: true }, 200],
      [{ mode: 'offline' }, 504],
    ] as const) {
      const agent = testAgent(t, { store, expireAfter: '1h', ...options })
      const errors = errorsOf(agent)
      assert.deepEqual([(await get(agent, url)).status, await agent.cache.count()], [status, 0])
      assert.match(
        errors.join(),
        /^the cache file \S+ is damaged; nothing is stored or found there$/,
      )
    }
    const reader = testAgent(t, { store, readOnly: true })
    assert.equal((await get(reader, url)).info?.status, 'miss')
    writeFileSync(path, sound)
    assert.equal((await get(reader, url)).info?.status, 'hit')
    assert.deepEqual(
      readdirSync(inside).filter((name) => name.includes('.corrupt-')),
      [],
    )
  })
})

suite('where there is no space, or there are too many files', () => {
  // A limit on the size of files fails like a full disk: there is no room for the index of a log.
  const full = { limit: '-f 8' }

  for (const options of [{}, { readOnly: true }, { mode: 'offline' }, { mode: 'replay' }]) {
    test(`what is stored is found from the beginning: ${JSON.stringify(options)}`, async (t) => {
      const { url, store } = await stored(t)
      const answer = await program(REQUEST, [store, url, JSON.stringify(options)], full)
      const { status, count } = answer as Requested
      assert.deepEqual([status, count], ['hit', 1])
    })
  }

  test('a cache can be cleared, which gives its space back', async (t) => {
    const { path, store, url } = await stored(t, 'x'.repeat(1_000_000))
    const clear = `const agent = cachingAgent({ store: args[0] })\nawait agent.cache.clear()\nawait agent.close()\nconsole.log(0)`
    await program(clear, [store], full)
    assert.ok(statSync(path).size < 100_000)
    const agent = testAgent(t, { store, expireAfter: '1h' })
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
  })

  const crowded = `
const [store, url] = args
const open = []
try {
  for (;;) open.push(fs.openSync('/dev/null'))
} catch {}
const agent = cachingAgent({ store, expireAfter: '1h' })
for (const each of open) fs.closeSync(each)
const statuses = []
for (let round = 0; round < 2; round++) {
  await new Promise((resolve) => setTimeout(resolve, 200))
  const response = await fetch(url, { dispatcher: agent })
  await response.text()
  statuses.push(cacheInfo(response).status)
}
await agent.close()
console.log(JSON.stringify(statuses))`
  test('a file can be opened, or made, later on', async (t) => {
    const { url, store } = await stored(t)
    const many = { limit: '-n 64' }
    assert.deepEqual(await program(crowded, [store, url], many), ['hit', 'hit'])
    const next = `sqlite://${join(folder(), 'cache.sqlite')}`
    assert.deepEqual(await program(crowded, [next, url], many), ['miss', 'hit'])
  })
})

test('a file that cannot be written is written once it can be', async (t) => {
  const user = await unprivileged(t)
  if (!user) return
  const { url, inside, path, store } = await stored(t)
  chmodSync(path, 0o666)
  chmodSync(inside, 0o555)
  const code = `
    const [store, url, begun] = args
    const agent = cachingAgent({ store, expireAfter: '1h' })
    const statusOf = async () => {
      const response = await fetch(url + '/new', { dispatcher: agent })
      await response.text()
      return cacheInfo(response).status
    }
    const first = await statusOf()
    fs.writeFileSync(begun, '')
    let last
    // It is not tried at each request, and not at all for a while after several failures.
    for (let tries = 0; tries < 20 && last !== 'hit'; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 1100))
      last = await statusOf()
    }
    await agent.close()
    console.log(JSON.stringify([first, last]))`
  const other = folder()
  chmodSync(other, 0o777)
  const begun = join(other, 'begun')
  const running = program(code, [store, url, begun], user)
  while (!existsSync(begun)) await delay(20)
  chmodSync(inside, 0o777)
  assert.deepEqual(await running, ['miss', 'hit'])
})

test('what is stored is found while somebody else is writing, from the beginning', async (t) => {
  const { url, path, store } = await stored(t)
  const other = new DatabaseSync(path)
  t.after(() => other.close())
  other.exec('BEGIN IMMEDIATE')
  const agent = testAgent(t, { store, expireAfter: '1h' })
  const errors = errorsOf(agent)
  const statuses = await Promise.all(
    [1, 2, 3].map(async () => (await get(agent, url)).info?.status),
  )
  assert.deepEqual(statuses, ['hit', 'hit', 'hit'])
  assert.deepEqual(errors, [])
  other.exec('ROLLBACK')
})

suite('a database of another program', () => {
  for (const name of ['responses_1', 'totals_1', 'leases_1', 'processes_1', 'summed_up_1']) {
    for (const kind of ['table', 'view']) {
      test(`that has a ${kind} named ${name} is left as it is`, async (t) => {
        const { url } = await origin(t, (_, response) => response.end('content'))
        const inside = folder()
        const path = join(inside, 'cache.sqlite')
        const database = new DatabaseSync(path)
        database.exec(`CREATE TABLE users (a); INSERT INTO users VALUES ('important')`)
        database.exec(
          kind === 'view'
            ? `CREATE VIEW ${name} AS SELECT * FROM users`
            : `CREATE TABLE ${name} (a)`,
        )
        database.close()
        const before = readFileSync(path)
        const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h', memory: false })
        const errors = errorsOf(agent)
        assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'miss'])
        await agent.cache.responses.settled()
        assert.equal(await agent.cache.count(), 0)
        assert.equal((await agent.cache.check()).isSound, true)
        await assert.rejects(agent.cache.save(url, { body: 'x' }), /is of another program/)
        await agent.cache.repair().catch(() => {})
        await agent.cache.clear().catch(() => {})
        await agent.close()
        assert.match(errors[0] ?? '', new RegExp(`the table ${name} in .* is of another program`))
        assert.ok(readFileSync(path).equals(before))
        assert.deepEqual(readdirSync(inside), ['cache.sqlite'])
      })
    }
  }
})

suite('a file that is only read, with nothing of a cache in it,', () => {
  for (const [what, sql] of [
    ['is empty', ''],
    ['is one of another program', 'CREATE TABLE users (a)'],
  ] as const) {
    test(`${what}, and that is no trouble`, async (t) => {
      const user = await unprivileged(t)
      if (!user) return
      const { url } = await origin(t, (_, response) => response.end('content'))
      const inside = folder()
      const path = join(inside, 'cache.sqlite')
      writeFileSync(path, '')
      const database = new DatabaseSync(path)
      database.exec(sql)
      database.close()
      chmodSync(path, 0o444)
      chmodSync(inside, 0o555)
      const running = program(REQUEST, [`sqlite://${path}`, url], user)
      const { status, count, errors } = (await running.finally(() =>
        chmodSync(inside, 0o755),
      )) as Requested
      assert.deepEqual([status, count], ['miss', 0])
      assert.deepEqual(
        errors.filter((error) => error.startsWith('read')),
        [],
      )

      const reader = testAgent(t, { store: `sqlite://${path}`, readOnly: true })
      const told = errorsOf(reader)
      assert.equal((await get(reader, url)).info?.status, 'miss')
      assert.deepEqual([await reader.cache.count(), told], [0, []])
    })
  }
})

test('a name beside which the files of SQLite have no name is refused at construction', () => {
  const inside = folder()
  const store = `sqlite://${join(inside, 'x'.repeat(250))}`
  assert.throws(() => cachingAgent({ store }), /store: cannot use .*ENAMETOOLONG/)
  assert.deepEqual(readdirSync(inside), [])
})

test('a path that is longer than SQLite can open is refused at construction', {
  skip: process.platform === 'win32',
}, async () => {
  const pathOf = (length: number) => {
    let inside = folder()
    while (inside.length < length - 100) inside = join(inside, 'd'.repeat(50))
    return join(inside, 'x'.repeat(length - inside.length - 1))
  }
  const store = `sqlite://${pathOf(505)}`
  assert.throws(() => cachingAgent({ store }), {
    message: /^store: cannot use .*: expected a path of at most 504 bytes, .*, got 505: /,
  })
  const cache = new HttpCache({ store: `sqlite://${pathOf(504)}` })
  await cache.save('http://site.invalid/', {
    headers: { 'cache-control': 'max-age=1000' },
    body: 'content',
  })
  assert.equal(await cache.count(), 1)
  await cache.close()
})

test('a damaged file whose name is as long as it may be is set aside by a shorter one', async (t) => {
  const { url } = await origin(t, (_, response) => response.end('content'))
  const inside = folder()
  const name = `cache-${'x'.repeat(198)}${'ü'.repeat(21)}`
  writeFileSync(join(inside, name), 'no database at all '.repeat(1000))
  const agent = testAgent(t, { store: `sqlite://${join(inside, name)}`, expireAfter: '1h' })
  assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
  const aside = readdirSync(inside).filter((each) => each.includes('.corrupt-'))
  assert.equal(aside.length, 1)
  assert.match(aside[0] ?? '', /^cache-x{198}~[0-9a-f]{8}\.corrupt-[-0-9TZ.]+$/)
})
