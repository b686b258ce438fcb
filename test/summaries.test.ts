import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmodSync, copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { HttpCache, type ListedResponse, type ResponseQuery, type SortOrder } from 'caching-agent'
import fc from 'fast-check'
import { matches, parseQuery } from '../lib/query.ts'
import type { Summary } from '../lib/storage/summary.ts'
import { folder } from './helpers/folder.ts'
import { unprivileged } from './helpers/unprivileged.ts'

const FIXTURE = join(import.meta.dirname, 'fixtures', 'records-1.sqlite')
const SITE = 'http://site.invalid'

/** A cache on a file, and the database that it is. */
function open(t: TestContext, path: string) {
  const cache = new HttpCache({ store: `sqlite://${path}` })
  const database = new DatabaseSync(path)
  t.after(async () => {
    database.close()
    await cache.close()
  })
  return { cache, database }
}

/** How many summaries are still to be made. */
function missing(database: DatabaseSync): unknown {
  return database.prepare('SELECT count(*) AS n FROM used_1 WHERE url IS NULL').get()?.n
}

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const value of values) found.push(value)
  return found
}

suite('summaries in a file of before', () => {
  test('are made when they are needed, once', async (t) => {
    const path = join(folder(), 'cache.sqlite')
    copyFileSync(FIXTURE, path)
    const { cache, database } = open(t, path)
    assert.equal(await cache.count(), 6)
    assert.notEqual(missing(database), 0)
    assert.equal(await cache.count({ status: 200 }), 6)
    assert.equal(missing(database), 0)
    // Nothing is looked for any more.
    database.exec('UPDATE used_1 SET record = NULL, url = NULL')
    assert.equal(await cache.count({ status: 200 }), 0)
    database.exec("DELETE FROM totals_1 WHERE name = 'complete'")
    assert.equal(await cache.count({ status: 200 }), 6)
    const sizes: Record<string, number> = {}
    for await (const { url, size } of cache.entries()) sizes[url] = (sizes[url] ?? 0) + size
    assert.deepEqual(sizes, {
      'http://fixture.invalid/large': 100_000,
      'http://fixture.invalid/small': 7,
      'http://fixture.invalid/user': 14,
      'http://fixture.invalid/variants': 10,
    })
  })

  test('leave its version to the program that shares it', async (t) => {
    for (const version of [0, 1, 7]) {
      const path = join(folder(), 'cache.sqlite')
      copyFileSync(FIXTURE, path)
      const { cache, database } = open(t, path)
      database.exec(`PRAGMA user_version = ${version}`)
      assert.equal(await cache.count({ status: 200 }), 6)
      assert.deepEqual(
        { ...database.prepare('PRAGMA user_version').get() },
        { user_version: version },
      )
    }
  })

  test('are done without where it cannot be written', async (t) => {
    const user = await unprivileged(t)
    if (!user) return
    const inside = folder()
    const path = join(inside, 'cache.sqlite')
    copyFileSync(FIXTURE, path)
    chmodSync(path, 0o444)
    chmodSync(inside, 0o555)
    const program = `
      const { HttpCache } = await import('caching-agent')
      const cache = new HttpCache({ store: 'sqlite://${path}' })
      console.log(await cache.count({ largerThan: 1000 }), (await cache.urls({ pattern: '*' })).length)
      await cache.close()`
    const args = ['--conditions=source', '--no-warnings', '--input-type=module', '-e', program]
    const { stdout } = await promisify(execFile)(process.execPath, args, user).finally(() =>
      chmodSync(inside, 0o755),
    )
    assert.equal(stdout, '1 4\n')
  })
})

suite('summaries beside a release that knows nothing of them', () => {
  /** The record of a response as it is in another file. */
  async function foreignRecord(t: TestContext, path: string, status: number) {
    const { cache, database } = open(t, join(folder(), 'other.sqlite'))
    const headers = { 'cache-control': 'max-age=60', 'content-type': 'text/plain' }
    await cache.save(SITE + path, { status, headers, body: 'of another release' })
    const row = database.prepare('SELECT key, value, expires FROM responses_1').get()
    return row as { key: string; value: Uint8Array; expires: number }
  }

  /** As the adapter writes, without a word about a summary. */
  const UPSERT =
    "INSERT INTO responses_1 (key, value, namespace, expires) VALUES (?, ?, '', ?) ON CONFLICT (key, namespace) DO UPDATE SET value = excluded.value, expires = excluded.expires"

  test('what it writes is summed up anew, and what it deletes is gone', async (t) => {
    const { cache, database } = open(t, join(folder(), 'cache.sqlite'))
    for (const path of ['/a', '/b', '/c']) await cache.save(SITE + path, { body: path })
    assert.deepEqual([await cache.count({ status: 200 }), missing(database)], [3, 0])

    for (const path of ['/b', '/d']) {
      const { key, value, expires } = await foreignRecord(t, path, 404)
      database.prepare(UPSERT).run(key, value, expires)
    }
    assert.equal(missing(database), 2)
    assert.deepEqual(await cache.urls({ status: 200 }), [`${SITE}/a`, `${SITE}/c`])
    assert.deepEqual(await cache.urls({ contentType: 'text/*' }), [`${SITE}/b`, `${SITE}/d`])
    assert.equal(missing(database), 0)

    const { key } = await foreignRecord(t, '/a', 404)
    database.prepare('DELETE FROM responses_1 WHERE key = ?').run(key)
    assert.deepEqual(await cache.urls({ status: 200 }), [`${SITE}/c`])
  })

  test('tables that it has made get room for them, while it goes on to use them', async (t) => {
    const path = join(folder(), 'cache.sqlite')
    copyFileSync(FIXTURE, path)
    const older = new DatabaseSync(path)
    t.after(() => older.close())
    const touch = older.prepare('UPDATE used_1 SET used = used + 1 WHERE key = ?')
    const upsert = older.prepare(UPSERT)
    const { cache } = open(t, path)
    assert.equal(await cache.count({ status: 200 }), 6)
    const { key, value, expires } = await foreignRecord(t, '/d', 404)
    upsert.run(key, value, expires)
    assert.equal(touch.run(key).changes, 1)
    assert.equal(await cache.count({ status: 404 }), 1)
    // As it makes tables when it opens a file.
    older.exec(
      'CREATE TABLE IF NOT EXISTS used_1 (key TEXT PRIMARY KEY, used INTEGER NOT NULL) WITHOUT ROWID;' +
        'CREATE TRIGGER IF NOT EXISTS responses_1_insert_used AFTER INSERT ON responses_1 BEGIN INSERT INTO used_1 VALUES (NEW.key, 1); END',
    )
    upsert.run(`${key}2`, value, expires)
    assert.equal(await cache.count({ status: 404 }), 1)
  })

  test('what cannot be read is not listed', async (t) => {
    const { cache, database } = open(t, join(folder(), 'cache.sqlite'))
    await cache.save(SITE, { body: 'content' })
    const { key, value } = await foreignRecord(t, '/a', 404)
    const damaged = Buffer.from(value)
    damaged.fill(0xff, 30)
    database.prepare(UPSERT).run(key, damaged, null)
    assert.deepEqual(await cache.urls({}), [`${SITE}/`])
    assert.deepEqual([await cache.count({}), missing(database)], [1, 0])
  })
})

suite('summaries as SQL', () => {
  const TYPES = [
    'text/html',
    'text/plain; charset=utf-8',
    'Image/PNG',
    'application/json',
    undefined,
  ]
  const TAGS = ['a', 'b', 'c', 'a"b', "a'b", 'é']
  const STATUSES = [200, 203, 301, 404, 410, 503]
  const HOSTS = ['one.invalid', 'two.invalid', 'www.two.invalid']

  const some = <T>(values: T[]) => fc.subarray(values, { minLength: 1 })
  const query: fc.Arbitrary<ResponseQuery> = fc.record(
    {
      method: some(['GET', 'head']),
      status: some([200, 404, '2xx', '4xx', '5xx']),
      contentType: some(['text/html', 'text/*', 'image/*', 'application/json']),
      fresh: fc.boolean(),
      olderThan: fc.integer({ min: 0, max: 100_000 }),
      unusedFor: fc.integer({ min: 0, max: 100_000 }),
      largerThan: fc.integer({ min: 1, max: 100 }),
      tag: some(TAGS),
      pattern: fc.constantFrom('*.two.invalid', 'one.invalid', '*', '/p/1*'),
    },
    { requiredKeys: [] },
  )

  async function filled(t: TestContext): Promise<HttpCache> {
    const cache = new HttpCache({ store: 'sqlite://:memory:' })
    t.after(() => cache.close())
    const start = Date.now() - 200_000
    t.mock.timers.enable({ apis: ['Date'], now: start })
    const pick = <T>(values: readonly T[], n: number) => values[n % values.length] as T
    for (let n = 0; n < 120; n++) {
      t.mock.timers.setTime(start + n * 1000)
      const type = pick(TYPES, n)
      const headers = {
        'cache-control': `max-age=${(n * 37) % 300}`,
        etag: '"1"',
        'x-tags': TAGS.filter((_, index) => (n >> index) & 1).join(' '),
        ...(type && { 'content-type': type }),
      }
      const request = {
        url: `http://${pick(HOSTS, n)}/p/${n}`,
        method: n % 7 === 0 ? 'HEAD' : 'GET',
      }
      const response = { status: pick(STATUSES, n), headers, body: 'x'.repeat(n) }
      await cache.save(request, response, { tags: 'X-Tags' })
    }
    t.mock.timers.setTime(start + 150_000)
    return cache
  }

  const summaryOf = (listed: ListedResponse): Summary => ({
    ...{ key: '', cacheKey: listed.key, generation: '', chunks: undefined },
    method: listed.method,
    url: listed.url,
    status: listed.status,
    contentType: listed.contentType,
    storedAt: listed.storedAt.getTime(),
    expires: listed.expires?.getTime() ?? Infinity,
    size: listed.size,
    tags: listed.tags,
    ...(listed.usedAt && { usedAt: listed.usedAt.getTime() }),
  })

  test('find what the same conditions find one by one, and count it', async (t) => {
    const cache = await filled(t)
    const everything = await all(cache.entries())
    assert.equal(everything.length, 120)
    let found = 0
    await fc.assert(
      fc.asyncProperty(query, async (asked) => {
        const now = Date.now()
        const { conditions } = parseQuery(asked, 'entries', { now })
        const expected = everything.filter((listed) => matches(summaryOf(listed), conditions, now))
        const urls = (list: readonly ListedResponse[]) => list.map(({ url }) => url).sort()
        assert.deepEqual(urls(await all(cache.entries(asked))), urls(expected))
        assert.equal(await cache.count(asked), expected.length)
        const size = expected.reduce((sum, listed) => sum + listed.size, 0)
        assert.equal(await cache.size(asked), size)
        found += expected.length
      }),
      { numRuns: 500 },
    )
    assert.ok(found > 100)
  })

  test('many are listed in the order that is asked for, a few at a time', async (t) => {
    const cache = await filled(t)
    const orders: [SortOrder, (listed: ListedResponse) => string | number][] = [
      ['url', ({ url }) => url],
      ['size', ({ size }) => size],
      ['storedAt', ({ storedAt }) => storedAt.getTime()],
      ['expires', ({ expires }) => expires?.getTime() ?? Infinity],
      ['used', ({ usedAt }) => usedAt?.getTime() ?? 0],
    ]
    for (const [sort, keyOf] of orders) {
      for (const descending of [false, true]) {
        const keys = (await all(cache.entries({ sort, descending }))).map(keyOf)
        const sorted = [...keys].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
        assert.deepEqual(keys, descending ? sorted.reverse() : sorted)
        const some = (await all(cache.entries({ sort, descending, limit: 7 }))).map(keyOf)
        assert.deepEqual(some, keys.slice(0, 7))
      }
    }
  })
})
