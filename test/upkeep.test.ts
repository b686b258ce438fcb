import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, type TestContext, test } from 'node:test'
import { type CacheCheck, HttpCache, type HttpCacheOptions } from 'caching-agent'
import { get, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const SITE = 'http://site.invalid'
const SOUND: CacheCheck = {
  isSound: true,
  damage: [],
  orphans: 0,
  incomplete: 0,
  isMiscounted: false,
}

/** A cache on a file with some responses, and the database that it is. */
async function filled(t: TestContext, options: HttpCacheOptions = {}) {
  const path = join(folder(), 'cache.sqlite')
  const cache = new HttpCache({ store: `sqlite://${path}`, ...options })
  for (let n = 0; n < 20; n++) {
    await cache.save(`${SITE}/${n}`, { body: 'x'.repeat(n % 4 ? 100 : 400_000) })
  }
  const database = new DatabaseSync(path)
  t.after(async () => {
    if (database.isOpen) database.close()
    await cache.close()
  })
  return { path, cache, database }
}

/** Lets the schema be changed by hand. */
function allow(database: DatabaseSync): void {
  const { enableDefensive } = database as { enableDefensive?(isActive: boolean): void }
  enableDefensive?.call(database, false)
  database.exec('PRAGMA writable_schema = ON')
}

suite('check and repair', () => {
  for (const [how, options] of [
    ['as it is', {}],
    ['compressed', { compress: 'zstd' }],
    ['encrypted', { encrypt: Buffer.alloc(32, 'key') }],
  ] as const) {
    // biome-ignore format: one rule a row
    const faults: [fault: string, sql: string, found: Partial<CacheCheck>, left: number][] = [
      ['content that nothing refers to', "INSERT INTO chunks_1 (key, value) SELECT 'ffffffffffffffffffffffff.0', value FROM chunks_1 LIMIT 1", { orphans: 1 }, 20],
      ['a response without all of its content', "DELETE FROM chunks_1 WHERE key LIKE '%.1' AND rowid = (SELECT max(rowid) FROM chunks_1 WHERE key LIKE '%.1')", { incomplete: 1 }, 19],
      ['a wrong account', "UPDATE totals_1 SET count = count + 3, size = size - 5", { isMiscounted: true }, 20],
      ['no account', "DELETE FROM totals_1", { isMiscounted: true }, 20],
      ['responses of which nobody knows when they were used', "DELETE FROM used_1 WHERE key IN (SELECT key FROM used_1 LIMIT 5)", { isMiscounted: true }, 20],
      ['uses of what is not there', "INSERT INTO used_1 (key, used, record) VALUES ('a', 1, '')", { isMiscounted: true }, 20],
    ]
    for (const [fault, sql, found, left] of faults) {
      test(`${how}: ${fault}`, async (t) => {
        const { cache, database } = await filled(t, options)
        assert.deepEqual(await cache.check(), SOUND)
        const size = await cache.size()
        database.exec(sql)
        assert.deepEqual(await cache.check(), { ...SOUND, isSound: false, ...found })
        assert.deepEqual(await cache.repair(), { ...SOUND, isSound: false, ...found })
        assert.deepEqual(await cache.check(), SOUND)
        assert.equal(await cache.count(), left)
        assert.equal(await cache.count({ status: 200 }), left)
        if (left === 20 && found.orphans === undefined) assert.equal(await cache.size(), size)
      })
    }
  }

  test('content that nothing refers to is left to those who may be reading it, and removed after a while', async (t) => {
    const { cache, database } = await filled(t)
    const chunks = () => database.prepare('SELECT count(*) AS count FROM chunks_1').get()?.count
    const before = chunks() as number
    const orphan = 'ffffffffffffffffffffffff.0'
    database.prepare('INSERT INTO chunks_1 (key, value) VALUES (?, ?)').run(orphan, 'content')
    await cache.repair()
    assert.equal(chunks(), before + 1)
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 11_000 })
    await cache.prune()
    assert.equal(chunks(), before)
  })

  test('of two caches that replace the same response at once, neither leaves content behind', async (t) => {
    const { path, cache, database } = await filled(t)
    const other = new HttpCache({ store: `sqlite://${path}` })
    t.after(() => other.close())
    for (let n = 0; n < 30; n++) {
      const body = String.fromCharCode(97 + (n % 26)).repeat(200_000)
      const save = (by: HttpCache) => by.save(`${SITE}/same`, { body })
      await Promise.all([save(cache), n % 5 ? save(other) : other.delete(`${SITE}/same`)])
    }
    await Promise.all([cache.close(), other.close()])
    const later = new HttpCache({ store: `sqlite://${path}` })
    t.after(() => later.close())
    assert.deepEqual(await later.check(), SOUND)

    // What is noted is removed when its readers have had their time, and what is referred to stays.
    database.exec('UPDATE unreferenced_1 SET since = 0')
    await later.prune()
    assert.deepEqual(await later.check(), SOUND)
    assert.equal(database.prepare('SELECT count(*) AS n FROM unreferenced_1').get()?.n, 0)
    let length = 0
    for await (const { size, content } of later.entries()) {
      for await (const bytes of content()) length += bytes.length
      length -= size
    }
    assert.equal(length, 0)
  })

  test('an index that lacks something is made anew', async (t) => {
    const { path, cache, database } = await filled(t)
    await cache.close()
    allow(database)
    const index = database
      .prepare(
        "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema WHERE name = 'used_1_order'",
      )
      .get() as Record<string, string | number>
    database.exec("DELETE FROM sqlite_schema WHERE name = 'used_1_order'")
    database.close()
    const without = new DatabaseSync(path)
    without.exec(
      "INSERT INTO used_1 (key, used) VALUES ('a', 1); DELETE FROM used_1 WHERE key IN (SELECT max(key) FROM used_1)",
    )
    allow(without)
    without.prepare('INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)').run(...Object.values(index))
    without.close()

    const again = new HttpCache({ store: `sqlite://${path}` })
    t.after(() => again.close())
    const { damage } = await again.repair()
    assert.match(damage.join(), /used_1_order/)
    assert.deepEqual((await again.check()).damage, [])
    assert.equal(await again.count(), 20)
    await again.repair()
    assert.deepEqual(await again.check(), SOUND)
  })

  test('a file that is damaged is set aside, and a new one begun', async (t) => {
    const { path, cache, database } = await filled(t)
    database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    database.close()
    const bytes = readFileSync(path)
    bytes.fill(0xa5, 8192, bytes.length / 2)
    writeFileSync(path, bytes)
    const { isSound, damage } = await cache.repair()
    assert.equal(isSound, false)
    assert.ok(damage.length > 0)
    assert.deepEqual(await cache.check(), SOUND)
    assert.ok(readdirSync(join(path, '..')).some((name) => name.includes('.corrupt-')))
    await cache.save(SITE, { body: 'content' })
    assert.equal(await cache.count(), 1)
  })

  test('nothing is found while much is being stored, replaced and deleted', async (t) => {
    const { cache } = await filled(t)
    let isOver = false
    const work = async (worker: number) => {
      for (let n = 0; !isOver; n++) {
        const url = `${SITE}/${(n + worker) % 7}`
        await cache.save(url, { body: Buffer.alloc(n % 2 ? 300_000 : 50) })
        if (n % 3 === 0) await cache.delete({ url })
      }
    }
    const working = [1, 2, 3].map(work)
    try {
      for (let round = 0; round < 5; round++) assert.deepEqual(await cache.check(), SOUND)
    } finally {
      isOver = true
      await Promise.all(working)
    }
    assert.deepEqual(await cache.check(), SOUND)
  })

  test('a store in memory of SQLite is checked as well, and others are not', async (t) => {
    const cache = new HttpCache({ store: 'sqlite://:memory:' })
    await cache.save(SITE, { body: 'content' })
    assert.deepEqual(await cache.check(), SOUND)
    const other = new HttpCache({ store: 'memory:' })
    t.after(() => Promise.all([cache.close(), other.close()]))
    for (const call of [() => other.check(), () => other.repair()]) {
      await assert.rejects(call, /^Error: only an SQLite store can be checked and repaired here$/)
    }
    await other.vacuum()
  })
})

suite('after a process was killed', () => {
  const PROGRAM = `
import { HttpCache } from 'caching-agent'
// It ends with the test, however that ends, and by itself.
process.on('disconnect', () => process.exit())
setTimeout(() => process.exit(), 5000)
const cache = new HttpCache({ store: process.argv[1], memory: false })
process.send('begun')
const work = async (worker) => {
  for (let n = worker; ; n += 4) {
    await cache.save('http://site.invalid/' + (n % 20), { body: Buffer.alloc(n % 3 ? 2000 : 700_000, 'x') })
    if (n % 5 === 0) await cache.delete({ url: 'http://site.invalid/' + (n % 7) })
  }
}
await Promise.all([0, 1, 2, 3].map(work))`

  test('what is counted is right, and what is listed is there', async (t) => {
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    for (let round = 0; round < 4; round++) {
      const args = ['--conditions=source', '--input-type=module', '-e', PROGRAM, store]
      const child = spawn(process.execPath, args, {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      })
      await once(child, 'message')
      await new Promise((resolve) => setTimeout(resolve, 150 + round * 100))
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    const cache = new HttpCache({ store })
    t.after(() => cache.close())
    const { isMiscounted, damage, incomplete } = await cache.check()
    assert.deepEqual([isMiscounted, damage, incomplete], [false, [], 0])
    assert.equal(await cache.count({}), await cache.count())
    for await (const { size, content } of cache.entries()) {
      let length = 0
      for await (const bytes of content()) length += bytes.length
      assert.equal(length, size)
    }
  })
})

suite('what a crash has left is removed', () => {
  /** A cache with some content that somebody is said to have been storing who is no more. */
  async function broken(t: TestContext, body: string) {
    const path = join(folder(), 'cache.sqlite')
    const cache = new HttpCache({ store: `sqlite://${path}` })
    t.after(() => cache.close())
    await cache.save('http://site.invalid/large', { body: 'x'.repeat(400_000) })
    await cache.save('http://site.invalid/small', { body })
    const database = new DatabaseSync(path)
    t.after(() => database.close())
    const generation = () =>
      String(
        database.prepare("SELECT substr(key, 1, instr(key, '.') - 1) AS g FROM chunks_1").get()?.g,
      )
    const chunks = () => database.prepare('SELECT count(*) AS n FROM chunks_1').get()?.n
    const note = (of: string) =>
      database.prepare('INSERT INTO unreferenced_1 VALUES (?, -1, 0)').run(of)
    return { cache, database, generation, chunks, note }
  }

  test('also where a response speaks of it', async (t) => {
    const orphan = 'ffffffffffffffffffffffff'
    const { cache, database, chunks, note } = await broken(t, `there was ${orphan}`)
    const before = chunks()
    database.prepare('INSERT INTO chunks_1 (key, value) VALUES (?, ?)').run(`${orphan}.0`, 'x')
    note(orphan)
    await cache.prune()
    assert.equal(chunks(), before)
  })

  for (const [how, change] of [
    ['as its summary says', ''],
    ['as it says itself, which has no summary', 'DELETE FROM used_1'],
  ] as const) {
    test(`but for what a response refers to, ${how}`, async (t) => {
      const { cache, database, generation, chunks, note } = await broken(t, 'content')
      const before = chunks()
      assert.notEqual(before, 0)
      database.exec(change)
      database.exec('DELETE FROM unreferenced_1')
      note(generation())
      await cache.prune()
      assert.equal(chunks(), before)
      assert.equal(database.prepare('SELECT count(*) AS n FROM unreferenced_1').get()?.n, 0)
    })
  }
})

suite('vacuum', () => {
  test('gives the space of what was deleted back', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(100_000, 'x')))
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    for (let n = 0; n < 30; n++) await get(agent, `${url}/${n}`)
    await agent.cache.responses.settled()
    await agent.cache.vacuum()
    const full = statSync(path).size
    assert.ok(full > 3_000_000)
    await agent.cache.delete({ pattern: '*' })
    await agent.cache.vacuum()
    // Readers in other processes have got their time.
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 60_000 })
    await agent.cache.vacuum()
    assert.ok(statSync(path).size < full / 5, `${full} bytes became ${statSync(path).size}`)
  })
})
