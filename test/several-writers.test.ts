import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { text } from 'node:stream/consumers'
import { suite, type TestContext, test } from 'node:test'
import { HttpCache, type HttpCacheOptions } from 'caching-agent'
import { request } from 'undici'
import { Events } from '../lib/observe/events.ts'
import { Heads } from '../lib/storage/heads.ts'
import { decodeRecord, encodeRecord } from '../lib/storage/records.ts'
import { isResponse, TABLES, UNREFERENCED, USED } from '../lib/storage/sqlite/schema.ts'
import { openSqlite } from '../lib/storage/sqlite.ts'
import { get, testAgent } from './helpers/agent.ts'
import { PATIENT, stores } from './helpers/backends.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const DAY = { 'cache-control': 'max-age=86400' }
const VARIED = { ...DAY, vary: 'accept-language' }

/** Several caches with one store: to one another they are like other processes. */
function caches(t: TestContext, number: number, options: HttpCacheOptions): HttpCache[] {
  return Array.from({ length: number }, () => {
    const cache = new HttpCache(options)
    t.after(() => cache.close())
    return cache
  })
}

const URL_ = 'http://example.com/'

/** The content that is stored for a request; null where nothing is. */
async function stored(cache: HttpCache, options = {}): Promise<string | null> {
  const response = await cache.get(URL_, options)
  return response ? text(response.content()) : null
}

async function found(cache: HttpCache, languages: readonly string[]): Promise<(string | null)[]> {
  const bodies = languages.map((language) =>
    stored(cache, { headers: { 'accept-language': language } }),
  )
  return Promise.all(bodies)
}

const SEALED = { compress: 'gzip', encrypt: Buffer.alloc(32, 'k') } as const

for (const [name, kind, sealing] of [
  ['an SQLite file', 'sqlite://', {}],
  ['an SQLite file, compressed and encrypted', 'sqlite://', SEALED],
  ['Redis', 'redis://', {}],
  ['Redis, compressed and encrypted', 'redis://', SEALED],
  ['a KeyvRedis', 'a KeyvRedis', {}],
  ['a Redis cluster', 'a KeyvRedis over a cluster', {}],
  ['Valkey', 'valkey://', {}],
  ['PostgreSQL', 'postgres://', {}],
] as const) {
  const open = stores[kind]
  // Where there is no server, that is said by another test.
  if (open === undefined) continue
  const shared = async (t: TestContext, number: number) => {
    const options = { store: open(), memory: false, deadlines: PATIENT, ...sealing } as const
    const all = caches(t, number, options)
    // The client of a cluster is of no use to others while it is being connected.
    await all[0]?.count()
    return all
  }
  suite(`of several that write at once nobody's completed write is lost: ${name}`, () => {
    test('variants that are stored at the same time are all found', async (t) => {
      const all = await shared(t, 4)
      for (let round = 0; round < 10; round++) {
        const languages = all.map((_, index) => `l${round}-${index}`)
        await Promise.all(
          all.map((cache, index) =>
            cache.save(
              { url: URL_, headers: { 'accept-language': languages[index] as string } },
              { headers: VARIED, body: languages[index] as string },
            ),
          ),
        )
        for (const cache of all) assert.deepEqual(await found(cache, languages), languages)
        assert.equal(await all[0]?.count(), all.length)
        assert.equal(await all[1]?.delete(URL_), all.length)
        assert.equal(await all[0]?.count(), 0)
      }
    })

    test('a variant that another one has just stored is not taken for one that is left over', async (t) => {
      const [one, two] = (await shared(t, 2)) as [HttpCache, HttpCache]
      const save = (cache: HttpCache, language: string) =>
        cache.save(
          { url: URL_, headers: { 'accept-language': language } },
          { headers: VARIED, body: language },
        )
      for (const language of ['a', 'b']) await save(one, language)
      const who = new AsyncLocalStorage<'one' | 'two'>()
      const { look, writeVariants } = Heads.prototype
      let isStored = false
      t.mock.method(
        Heads.prototype,
        'look',
        async function (this: Heads, ...all: [string, string]) {
          const [key, cacheKey] = all
          if (who.getStore() === 'two' && key !== cacheKey && !isStored) {
            isStored = true
            await who.run('one', () => save(one, 'c'))
          }
          return look.apply(this, all)
        },
      )
      t.mock.method(
        Heads.prototype,
        'writeVariants',
        function (this: Heads, ...all: Parameters<Heads['writeVariants']>) {
          if (who.getStore() === 'two') throw new Error('the end')
          return writeVariants.apply(this, all)
        },
      )
      await assert.rejects(
        who.run('two', () => save(two, 'c')),
        /the end/,
      )
      assert.ok(isStored)
      assert.deepEqual(await found(one, ['c']), ['c'])
    })

    test('of responses for the same requests the last one is there, and no content is left over', async (t) => {
      const all = await shared(t, 3)
      for (let round = 0; round < 10; round++) {
        const bodies = all.map((_, index) => `${round}-${index}`.padEnd(round % 2 ? 100 : 70_000))
        await Promise.all(
          all.map((cache, index) =>
            cache.save(URL_, { headers: DAY, body: bodies[index] as string }),
          ),
        )
        const each = await Promise.all(all.map((cache) => stored(cache)))
        assert.ok(bodies.includes(String(each[0])))
        assert.equal(new Set(each).size, 1)
        assert.equal(await all[0]?.count(), 1)
      }
    })

    test('what is stored while the same is deleted is there completely, or not at all', async (t) => {
      const [one, two] = (await shared(t, 2)) as [HttpCache, HttpCache]
      const languages = ['a', 'b', 'c']
      for (let round = 0; round < 10; round++) {
        const save = (language: string) =>
          one.save(
            { url: URL_, headers: { 'accept-language': language } },
            { headers: VARIED, body: language },
          )
        await Promise.all(languages.map(save))
        await Promise.all([two.delete(URL_), save('a'), save('b')])
        const there = (await found(one, languages)).filter((body) => body !== null)
        assert.deepEqual(await found(two, languages), await found(one, languages))
        assert.equal(await one.count(), there.length)
        await one.delete(URL_)
      }
    })
  })
}

suite('what is compared stays whole', () => {
  test('a response of 64 KiB that another process replaces meanwhile', async (t) => {
    let version = 0
    const { url } = await origin(t, (_request, response) => {
      version += 1
      response.setHeader('Cache-Control', 'max-age=86400')
      response.end(Buffer.alloc(65_536, String(version)))
    })
    const store = `sqlite://${join(folder(), 'shared.sqlite')}`
    const agents = [testAgent(t, { store }), testAgent(t, { store })]
    // So much that threads write the rest.
    for (const agent of agents) {
      await agent.cache.save('http://example.com/', { headers: DAY, body: 'x'.repeat(1_500_000) })
    }
    for (let round = 0; round < 10; round++) {
      await Promise.all(
        agents.map(async (agent) => {
          const options = { dispatcher: agent.with({ forceRefresh: true }) }
          await (await request(url, options)).body.dump()
        }),
      )
      for (const agent of agents) {
        assert.equal((await get(agent, url)).body.length, 65_536)
        await agent.cache.resetExpiration('1h')
        assert.equal((await get(agent, url)).body.length, 65_536)
      }
    }
  })

  test('content that is noted already as not referred to any more can be replaced', async (t) => {
    const path = join(folder(), 'a.sqlite')
    const cache = new HttpCache({ store: `sqlite://${path}` })
    t.after(() => cache.close())
    const body = 'x'.repeat(100_000)
    await cache.save(URL_, { headers: DAY, body })
    const database = new DatabaseSync(path)
    t.after(() => database.close())
    database.exec(
      `INSERT INTO ${UNREFERENCED} SELECT generation, 1, 1e15 FROM ${USED} WHERE chunk_size IS NOT NULL`,
    )
    await cache.save(URL_, { headers: DAY, body: `another ${body}` })
    assert.equal((await stored(cache))?.length, 100_008)
  })

  test('replace: only what is still what was read', async (t) => {
    const { heads, close } = openSqlite(join(folder(), 'a.sqlite'), new Events())
    t.after(close)
    const replace = (expected: Buffer | undefined, bytes?: Buffer) =>
      heads.replace?.('key', expected, bytes, 60_000, {})
    const [one, two] = [Buffer.from('one'), Buffer.from('two')]
    assert.equal(await replace(one, two), false)
    assert.equal(await replace(undefined, one), true)
    assert.equal(await replace(undefined, two), false)
    assert.equal(await replace(two, two), false)
    assert.deepEqual(await heads.get('key'), one)
    assert.equal(await replace(one, two), true)
    assert.deepEqual(await heads.get('key'), two)
    assert.equal(await replace(one), false)
    assert.equal(await replace(two), true)
    assert.equal(await heads.get('key'), undefined)
    // What has expired is not there any more, although it has not been removed.
    await heads.set('key', one, 1)
    await new Promise((resolve) => setTimeout(resolve, 5))
    assert.equal(await heads.get('key'), undefined)
    assert.equal(await replace(undefined, two), true)
  })
})

suite('a process that ends in the middle of a change leaves nothing that others would find', () => {
  const BODY = 'x'.repeat(100_000)
  const save = (cache: HttpCache, language: string, body = BODY) =>
    cache.save(
      { url: URL_, headers: { 'accept-language': language } },
      { headers: VARIED, body: body + language },
    )

  /** A cache, the database that it is in, and what that was like at each of some changes. */
  function watched(t: TestContext) {
    const path = join(folder(), 'a.sqlite')
    const cache = new HttpCache({ store: `sqlite://${path}` })
    const database = new DatabaseSync(path, { timeout: 5000 })
    t.after(async () => {
      database.close()
      await cache.close()
    })
    /** @param change as SQL names it, and of which records */
    const watch = (change: string, sql: string) =>
      database.exec(
        `CREATE TABLE seen (n INTEGER); CREATE TRIGGER watch AFTER ${change} BEGIN INSERT INTO seen ${sql}; END`,
      )
    const seen = () =>
      database
        .prepare('SELECT n FROM seen')
        .all()
        .map(({ n }) => n)
    const number = () => database.prepare(`SELECT count(*) AS n FROM ${TABLES.heads}`).get()?.n
    return { cache, database, watch, seen, number }
  }

  const VARIANTS = `SELECT count(*) FROM ${USED} WHERE cache_key IS NOT NULL`
  const IS_LIST = (row: string) => `NOT ${isResponse(row)} AND ${row}.key <> 'secret'`

  test('variants go before what tells of them when they are deleted', async (t) => {
    const { cache, watch, seen } = watched(t)
    for (const language of ['a', 'b', 'c']) await save(cache, language)
    watch(`DELETE ON ${TABLES.heads} WHEN ${IS_LIST('OLD')}`, VARIANTS)
    assert.equal(await cache.delete(URL_), 3)
    assert.deepEqual(seen(), [0])
    assert.equal(await cache.count(), 0)
  })

  test('a variant of which nothing tells is gone before something tells of it again', async (t) => {
    const { cache, database, watch, seen } = watched(t)
    for (const language of ['a', 'b']) await save(cache, language)
    database.exec(`DELETE FROM ${TABLES.heads} AS head WHERE ${IS_LIST('head')}`)
    await save(cache, 'c')
    watch(`UPDATE ON ${TABLES.heads} WHEN ${IS_LIST('NEW')}`, VARIANTS)
    await save(cache, 'a', 'new ')
    // Of three that were left or copied: the one of `a` is not there.
    assert.deepEqual(seen(), [2])
    assert.deepEqual(await found(cache, ['a', 'b', 'c']), ['new a', null, `${BODY}c`])
  })

  for (const [how, remove, left] of [
    ['is deleted', (cache: HttpCache) => cache.delete(URL_), 0],
    ['is replaced', (cache: HttpCache) => save(cache, 'a', ''), 1],
  ] as const) {
    test(`a copy of which nothing tells goes when what it was copied from ${how}`, async (t) => {
      const { cache, database, number } = watched(t)
      await save(cache, 'a')
      await save(cache, 'b')
      // As it was when the second one was about to be stored.
      const [copy] = database
        .prepare(
          `SELECT key, cache_key, value FROM ${USED} JOIN ${TABLES.heads} USING (key) WHERE cache_key IS NOT NULL ORDER BY ${TABLES.heads}.rowid`,
        )
        .all() as { key: string; cache_key: string; value: Uint8Array }[]
      const { key = '', cache_key: cacheKey = '', value = new Uint8Array() } = copy ?? {}
      database.prepare(`DELETE FROM ${TABLES.heads} WHERE key NOT IN (?, ?)`).run(key, cacheKey)
      const { metadata, content } = decodeRecord(key, Buffer.from(value)) ?? {}
      const original = encodeRecord(cacheKey, metadata, content ?? Buffer.alloc(0))
      database.prepare(`UPDATE ${TABLES.heads} SET value = ? WHERE key = ?`).run(original, cacheKey)
      assert.deepEqual(await found(cache, ['a', 'b']), [`${BODY}a`, null])
      assert.equal(number(), 2)
      await remove(cache)
      assert.equal(number(), left)
    })
  }

  test('content has its time, however long ago it was noted that nothing refers to it', async (t) => {
    const { cache, database } = watched(t)
    await cache.save(URL_, { headers: DAY, body: BODY })
    database.exec(
      `INSERT INTO ${UNREFERENCED} SELECT generation, 1, 0 FROM ${USED} WHERE chunk_size IS NOT NULL`,
    )
    database.exec(`DELETE FROM ${TABLES.heads}`)
    await cache.prune()
    const left = () => database.prepare(`SELECT count(*) AS n FROM ${TABLES.chunks}`).get()?.n
    assert.equal(left(), 1)
    database.exec(`UPDATE ${UNREFERENCED} SET since = 0`)
    await cache.prune()
    assert.equal(left(), 0)
  })
})
