import assert from 'node:assert/strict'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { text } from 'node:stream/consumers'
import { suite, type TestContext, test } from 'node:test'
import { HttpCache } from 'caching-agent'
import { request } from 'undici'
import { Events } from '../lib/observe/events.ts'
import { UNREFERENCED, USED } from '../lib/storage/sqlite/schema.ts'
import { openSqlite } from '../lib/storage/sqlite.ts'
import { get, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const DAY = { 'cache-control': 'max-age=86400' }
const VARIED = { ...DAY, vary: 'accept-language' }

/** Several caches with one file: to one another they are like other processes. */
function caches(t: TestContext, number: number, options = {}): HttpCache[] {
  const store = `sqlite://${join(folder(t), 'shared.sqlite')}`
  return Array.from({ length: number }, () => {
    const cache = new HttpCache({ store, ...options })
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

for (const [name, options] of [
  ['plain', {}],
  ['compressed and encrypted', { compress: 'gzip', encrypt: Buffer.alloc(32, 'k') }],
] as const) {
  suite(`of several that write at once nobody's completed write is lost: ${name}`, () => {
    test('variants that are stored at the same time are all found', async (t) => {
      const all = caches(t, 4, options)
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

    test('of responses for the same requests the last one is there, and no content is left over', async (t) => {
      const all = caches(t, 3, options)
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
      const [one, two] = caches(t, 2, options) as [HttpCache, HttpCache]
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
    const store = `sqlite://${join(folder(t), 'shared.sqlite')}`
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
    const path = join(folder(t), 'a.sqlite')
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
    const { heads, close } = openSqlite(join(folder(t), 'a.sqlite'), new Events())
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
