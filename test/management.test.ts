import assert from 'node:assert/strict'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import {
  type CopyProgress,
  cachingAgent,
  DO_NOT_CACHE,
  HttpCache,
  type HttpCacheOptions,
  type ResponseQuery,
  type SavedResponse,
  type StoreOption,
  type Terms,
} from 'caching-agent'
import { Keyv } from 'keyv'
import * as undici from 'undici'
import { Heads } from '../lib/storage/heads.ts'
import { fetchWith, get, testAgent } from './helpers/agent.ts'
import { PATIENT, stores, UNLISTED } from './helpers/backends.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const SITE = 'http://site.invalid'

interface Saved {
  readonly path: string
  readonly method?: 'HEAD'
  readonly headers?: Record<string, string>
  readonly response: SavedResponse
  readonly terms?: Terms
  /** How long ago, in milliseconds. */
  readonly age: number
}

const html = { 'content-type': 'text/html; charset=utf-8' }
const png = { 'content-type': 'image/png' }

/** What is stored for most tests: nothing of it is like anything else of it. */
const SAVED: readonly Saved[] = [
  {
    path: '/',
    response: { headers: { ...html, 'cache-tag': 'home' }, body: 'home' },
    age: 5 * DAY,
  },
  {
    path: '/news/1',
    response: { headers: { ...html, 'cache-tag': 'news,first' }, body: 'n'.repeat(200) },
    terms: { expireAfter: '84h' },
    age: 4 * DAY,
  },
  {
    path: '/news/2',
    response: { headers: { ...html, 'cache-tag': 'news' }, body: 'm'.repeat(300) },
    terms: { expireAfter: '30d' },
    age: 3 * DAY,
  },
  { path: '/image', response: { headers: png, body: 'i'.repeat(200_000) }, age: 2 * DAY },
  {
    path: '/moved',
    response: { status: 301, headers: { location: '/' } },
    terms: { expireAfter: '1h' },
    age: 2 * HOUR,
  },
  { path: '/news/1', method: 'HEAD', response: { headers: html }, age: HOUR },
  {
    path: '/text',
    headers: { 'accept-language': 'de' },
    response: {
      headers: { vary: 'Accept-Language', 'content-type': 'text/plain' },
      body: 'deutsch',
    },
    age: 30_000,
  },
  {
    path: '/text',
    headers: { 'accept-language': 'en' },
    response: {
      headers: { vary: 'Accept-Language', 'content-type': 'text/plain' },
      body: 'english',
    },
    age: 20_000,
  },
]

/** Caches of all kinds: in all stores, and in some of them compressed or encrypted. */
const caches: Record<string, () => HttpCacheOptions> = {}
for (const [name, store] of Object.entries(stores)) {
  caches[name] = () => ({ store: store(), deadlines: PATIENT })
}
const KEY = Buffer.alloc(32, 'key')
for (const name of ['sqlite://', 'memory:', 'a Map']) {
  const store = stores[name] as () => StoreOption
  caches[`${name}, compressed`] = () => ({ store: store(), compress: 'zstd' })
  caches[`${name}, encrypted`] = () => ({ store: store(), compress: 'gzip', encrypt: KEY })
}

/** Those that know when a response was used. */
const KEEPS_USE = /^(?:memory:|sqlite:)/

/** Those that are gone with the cache that they were made for. */
const IN_MEMORY = /memory:/

/** A cache in which all of {@link SAVED} is stored. The clock stands still; tests may move it. */
async function filled(t: TestContext, store: () => HttpCache): Promise<HttpCache> {
  const now = Date.now()
  t.mock.timers.enable({ apis: ['Date'], now })
  const cache = store()
  t.after(() => cache.close())
  // Not all stores are new each time.
  await cache.clear()
  for (const { path, method = 'GET', headers = {}, response, terms, age } of SAVED) {
    t.mock.timers.setTime(now - age)
    const request = { url: SITE + path, method, headers }
    await cache.save(request, response, { tags: 'Cache-Tag', ...terms })
  }
  t.mock.timers.setTime(now)
  return cache
}

/** What is listed, each as a line. */
async function listed(cache: HttpCache, query: ResponseQuery = {}): Promise<string[]> {
  const lines: string[] = []
  for await (const { method, url, size } of cache.entries(query)) {
    lines.push(`${method} ${url.slice(SITE.length)} ${size}`)
  }
  return query.sort === undefined ? lines.sort() : lines
}

async function all<T>(values: Iterable<T> | AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const value of values) found.push(value)
  return found
}

const ALL = [
  'GET / 4',
  'GET /image 200000',
  'GET /moved 0',
  'GET /news/1 200',
  'GET /news/2 300',
  'GET /text 7',
  'GET /text 7',
  'HEAD /news/1 0',
]

for (const [name, options] of Object.entries(caches)) {
  if (name === UNLISTED) continue
  suite(`management of a cache in ${name}`, () => {
    const open = () => new HttpCache(options())

    // biome-ignore format: one rule a row
    const queries: [query: ResponseQuery, lines: string[]][] = [
      [{}, ALL],
      [{ url: `${SITE}/news/1` }, ['GET /news/1 200', 'HEAD /news/1 0']],
      [{ url: [`${SITE}/text`, `${SITE}/none`] }, ['GET /text 7', 'GET /text 7']],
      [{ pattern: 'site.invalid/news' }, ['GET /news/1 200', 'GET /news/2 300', 'HEAD /news/1 0']],
      [{ pattern: [/image$/, (url) => url.pathname === '/'] }, ['GET / 4', 'GET /image 200000']],
      [{ method: 'HEAD' }, ['HEAD /news/1 0']],
      [{ status: 301 }, ['GET /moved 0']],
      [{ status: ['3xx', '4xx'] }, ['GET /moved 0']],
      [{ status: 404 }, []],
      [{ contentType: 'text/plain' }, ['GET /text 7', 'GET /text 7']],
      [{ contentType: ['image/*', 'text/plain'] }, ['GET /image 200000', 'GET /text 7', 'GET /text 7']],
      [{ stale: true }, ['GET /moved 0', 'GET /news/1 200']],
      [{ expired: true, status: 200 }, ['GET /news/1 200']],
      [{ fresh: true, tag: 'news' }, ['GET /news/2 300']],
      [{ olderThan: '3d' }, ['GET / 4', 'GET /news/1 200']],
      [{ olderThan: new Date(Date.now() - 12 * HOUR), pattern: '/news' }, ['GET /news/1 200', 'GET /news/2 300']],
      [{ largerThan: 250 }, ['GET /image 200000', 'GET /news/2 300']],
      [{ largerThan: '100kB' }, ['GET /image 200000']],
      [{ tag: 'news' }, ['GET /news/1 200', 'GET /news/2 300']],
      [{ tag: ['home', 'first'] }, ['GET / 4', 'GET /news/1 200']],
      [{ sort: 'size', method: 'GET', limit: 3 }, ['GET /moved 0', 'GET / 4', 'GET /text 7']],
      [{ sort: 'size', descending: true, limit: 2 }, ['GET /image 200000', 'GET /news/2 300']],
      [{ sort: 'url', pattern: '/news', method: 'GET' }, ['GET /news/1 200', 'GET /news/2 300']],
      [{ sort: 'storedAt', limit: 2 }, ['GET / 4', 'GET /news/1 200']],
      [{ sort: 'storedAt', descending: true, limit: 3 }, ['GET /text 7', 'GET /text 7', 'HEAD /news/1 0']],
      [{ sort: 'expires', tag: 'news' }, ['GET /news/1 200', 'GET /news/2 300']],
    ]
    test('what is asked for is listed, counted and measured', async (t) => {
      const cache = await filled(t, open)
      for (const [query, lines] of queries) {
        assert.deepEqual(await listed(cache, query), lines, JSON.stringify(query))
        assert.equal(await cache.count(query), lines.length, JSON.stringify(query))
        const sizes = lines.map((line) => Number(line.split(' ')[2]))
        const size = sizes.reduce((sum, each) => sum + each, 0)
        assert.equal(await cache.size(query), size, JSON.stringify(query))
      }
      assert.equal(await cache.count(), 8)
      assert.equal((await listed(cache, { limit: 3 })).length, 3)
      // Of all its content, or of all that the store keeps with it.
      assert.ok((await cache.size()) >= 200_000)
    })

    test('URLs are sorted, each once, of all or of some', async (t) => {
      const cache = await filled(t, open)
      const urls = ['/', '/image', '/moved', '/news/1', '/news/2', '/text'].map(
        (path) => SITE + path,
      )
      assert.deepEqual(await cache.urls(), urls)
      assert.deepEqual(await cache.urls({ tag: 'news' }), urls.slice(3, 5))
      const bySize = await cache.urls({ sort: 'size', descending: true })
      assert.deepEqual([bySize[0], bySize.length], [`${SITE}/image`, 6])
    })

    test('what is listed tells what it is, and gives all that is stored of it', async (t) => {
      const cache = await filled(t, open)
      const now = Date.now()
      const [news] = await all(cache.entries({ tag: 'first' }))
      assert.ok(news)
      const { key, content, response, usedAt, ...seen } = news
      assert.deepEqual(seen, {
        method: 'GET',
        url: `${SITE}/news/1`,
        status: 200,
        contentType: 'text/html',
        size: 200,
        storedAt: new Date(now - 4 * DAY),
        expires: new Date(now - 12 * HOUR),
        isExpired: true,
        tags: ['news', 'first'],
      })
      assert.equal(usedAt instanceof Date, KEEPS_USE.test(name))
      assert.equal(Buffer.concat(await all(content())).toString(), 'n'.repeat(200))
      const info = await response()
      assert.equal(info?.headers['cache-tag'], 'news,first')
      assert.deepEqual([info?.key, info?.size], [key, 200])

      const [image] = await all(cache.entries({ contentType: 'image/png' }))
      assert.equal(image?.expires, undefined)
      const bytes = Buffer.concat(await all(image?.content() ?? []))
      assert.equal(bytes.toString(), 'i'.repeat(200_000))
      await cache.delete({ contentType: 'image/png' })
      assert.equal(await image?.response(), undefined)
      assert.deepEqual(await all(image?.content() ?? []), [])

      const languages: (string | null | undefined)[] = []
      for await (const text of cache.entries({ url: `${SITE}/text` })) {
        languages.push((await text.response())?.vary['accept-language'])
      }
      assert.deepEqual(languages.sort(), ['de', 'en'])
    })

    // biome-ignore format: one rule a row
    const deletions: [query: string | ResponseQuery, count: number, left: number][] = [
      [`${SITE}/news/1`, 2, 6],
      [{ key: 'nonexistent' }, 0, 8],
      ['http://nonexistent.invalid', 0, 8],
      [{ url: [`${SITE}/text`, `${SITE}/`] }, 3, 5],
      [{ tag: 'news' }, 2, 6],
      [{ tag: ['news', 'home'] }, 3, 5],
      [{ expired: true }, 2, 6],
      [{ pattern: '*' }, 8, 0],
      [{ pattern: '/news', fresh: true }, 2, 6],
      [{ largerThan: 100_000 }, 1, 7],
      [{ contentType: 'text/plain', sort: 'storedAt', limit: 1 }, 1, 7],
    ]
    test('what is asked for is deleted, and nothing else', async (t) => {
      for (const [query, count, left] of deletions) {
        const cache = await filled(t, open)
        const before = await listed(cache)
        const meant = typeof query === 'string' ? { url: query } : query
        const gone = await listed(cache, meant)
        assert.equal(await cache.delete(query), count, JSON.stringify(query))
        assert.equal(await cache.count(), left, JSON.stringify(query))
        if (meant.limit === undefined) assert.deepEqual(await listed(cache, meant), [])
        const rest = [...(await listed(cache)), ...gone].sort()
        assert.deepEqual(rest, before, JSON.stringify(query))
        await cache.clear()
        assert.equal(await cache.count(), 0)
        t.mock.timers.reset()
      }
    })

    test('what is marked stale is validated, and used where the origin fails', async (t) => {
      let isDown = false
      const { url, seen } = await origin(t, (request, response) => {
        response.setHeader('ETag', '"1"').setHeader('Cache-Tag', `all,${request.url?.slice(1)}`)
        response.setHeader('Cache-Control', 'max-age=3600, stale-if-error=600')
        if (isDown) response.writeHead(500).end()
        else if (request.headers['if-none-match']) response.writeHead(304).end()
        else response.end('x'.repeat(request.url === '/large' ? 300_000 : 10))
      })
      const agent = testAgent(t, { ...options(), tags: 'Cache-Tag' })
      const statuses = async (path: string) => {
        const { info, body } = await get(agent, url + path)
        await agent.cache.responses.settled()
        assert.equal(body.length, path === '/large' ? 300_000 : 10)
        return info?.status
      }
      for (const path of ['/a', '/b', '/large']) assert.equal(await statuses(path), 'miss')
      assert.equal(await agent.cache.expire({ tag: ['a', 'large'] }), 2)
      assert.equal(await agent.cache.expire({ tag: ['a', 'large'] }), 0)
      assert.deepEqual(await agent.cache.urls({ stale: true }), [`${url}/a`, `${url}/large`])
      for (const path of ['/a', '/large']) {
        assert.deepEqual([await statuses(path), await statuses(path)], ['revalidated', 'hit'])
      }
      assert.equal(await statuses('/b'), 'hit')
      assert.equal(seen.length, 5)

      assert.equal(await agent.cache.expire(`${url}/b`), 1)
      isDown = true
      assert.equal(await statuses('/b'), 'stale')
      isDown = false
      assert.deepEqual([await statuses('/b'), await statuses('/b')], ['revalidated', 'hit'])
      assert.equal(await agent.cache.expire({}), 3)
      assert.equal(await agent.cache.count({ fresh: true }), 0)
      assert.equal(await agent.cache.delete({ tag: 'all' }), 3)
      assert.equal(await statuses('/a'), 'miss')
    })

    test('another expiration counts from now on, for as long as it says', async (t) => {
      const cache = await filled(t, open)
      const now = Date.now()
      assert.equal(await cache.resetExpiration('60d', { tag: 'news' }), 2)
      for await (const { expires } of cache.entries({ tag: 'news' })) {
        assert.equal(expires?.getTime(), now + 60 * DAY)
      }
      assert.equal(await cache.resetExpiration(-1, { contentType: 'image/*' }), 1)
      assert.equal(await cache.resetExpiration(0), 8)
      assert.equal(await cache.count({ stale: true }), 8)
      assert.equal(await cache.resetExpiration('90d'), 8)
      assert.equal(await cache.count({ fresh: true }), 8)
      t.mock.timers.setTime(now + 89 * DAY)
      assert.equal(await cache.count({ fresh: true }), 8)
      const image = await cache.get(`${SITE}/image`)
      assert.equal(Buffer.concat(await all(image?.content() ?? [])).length, 200_000)
    })

    test('rules that have changed count for what is stored, when that is said', async (t) => {
      const { url } = await origin(t, (_, response) => response.end('x'))
      const now = Date.now()
      t.mock.timers.enable({ apis: ['Date'], now })
      const first = testAgent(t, { ...options(), expireAfter: '1h' })
      await first.cache.clear()
      for (const path of ['/long', '/short', '/never']) await get(first, url + path)
      t.mock.timers.setTime(now + HOUR / 2)
      const cache = new HttpCache({ store: 'memory:' })
      t.after(() => cache.close())
      await first.cache.copyTo(cache)
      const urlsExpireAfter = { '*/long': '1d', '*/short': '10m', '*/never': DO_NOT_CACHE }
      testAgent(t, { cache, urlsExpireAfter })
      assert.equal(await cache.count({ fresh: true }), 3)
      assert.equal(await cache.resetExpiration(), 3)
      const expires = async (path: string) => (await cache.get(url + path))?.expires?.getTime()
      assert.equal(await expires('/long'), now + DAY)
      assert.equal(await expires('/short'), now + HOUR / 6)
      assert.equal(await expires('/never'), now)
    })

    test('what is stored by hand is a hit, however it is handed over', async (t) => {
      const { url, seen } = await origin(t, (_, response) => response.end('of the origin'))
      const agent = testAgent(t, options())
      const { cache } = agent
      await cache.clear()
      await cache.save(`${url}/plain`, { body: 'plain' })
      await cache.save(new URL(`${url}/bytes`), {
        body: Buffer.from('bytes'),
        headers: [['x-a', '1']],
      })
      await cache.save(
        new Request(`${url}/response`),
        new Response('response', { headers: { 'x-a': '2' } }),
      )
      const pieces = async function* () {
        for (let n = 0; n < 30; n++) yield 'x'.repeat(100_000)
      }
      await cache.save({ url: `${url}/stream`, method: 'GET' }, { body: pieces() })
      await cache.save(`${url}/file`, {
        body: ['in ', Buffer.from('parts')],
        headers: { etag: '"a"' },
      })
      const contents: string[] = []
      for (const path of ['/plain', '/bytes', '/response', '/stream', '/file']) {
        const { info, body } = await get(agent, url + path)
        assert.equal(info?.status, 'hit', path)
        contents.push(path === '/stream' ? String(body.length) : body)
      }
      assert.deepEqual(contents, ['plain', 'bytes', 'response', '3000000', 'in parts'])
      assert.equal((await get(agent, `${url}/response`)).response.headers.get('x-a'), '2')
      assert.equal(seen.length, 0)
      assert.equal(await cache.count(), 5)
    })

    test('what is copied to another cache and back is the same, and copied once', async (t) => {
      const cache = await filled(t, open)
      const there = new HttpCache({ store: 'memory:' })
      const back = new HttpCache(options())
      t.after(() => Promise.all([there.close(), back.close()]))
      await back.clear()
      if (name === 'a KeyvValkey') return
      const expected = { copied: 8, bytes: 200_518, skipped: 0, unusable: 0, lost: 0 }
      assert.deepEqual(await cache.copyTo(there), expected)
      assert.deepEqual(await there.copyTo(back), expected)
      const told: CopyProgress[] = []
      const again = await cache.copyTo(back, { onProgress: (progress) => told.push(progress) })
      assert.deepEqual(again, { copied: 0, bytes: 0, skipped: 8, unusable: 0, lost: 0 })
      assert.deepEqual([told.length, told.at(-1)], [8, again])
      const shown = async (of: HttpCache) => {
        const lines: string[] = []
        for await (const listed of of.entries()) {
          const { usedAt: _, content: __, response: ___, ...rest } = listed
          const { headers, statusText, vary } = (await listed.response()) ?? {}
          const content = Buffer.concat(await all(listed.content())).toString()
          lines.push(JSON.stringify({ ...rest, headers, statusText, vary, content }))
        }
        return lines.sort()
      }
      assert.deepEqual(await shown(back), await shown(cache))
    })

    test('what is of no use any more is pruned', async (t) => {
      const cache = await filled(t, open)
      const now = Date.now()
      assert.equal(await cache.prune(), 0)
      assert.equal(await cache.count(), 8)
      // Stale for a day, and without a validator.
      t.mock.timers.setTime(now + DAY)
      await cache.prune()
      assert.deepEqual(await listed(cache, { stale: true }), [])
      assert.equal(await cache.count(), 6)
    })
  })
}

// All at the same time, as they mostly wait: what is in memory may be a second old.
suite('two caches that share a store see what the other one does to many', {
  concurrency: true,
}, () => {
  for (const [name, options] of Object.entries(caches)) {
    if (name === UNLISTED || IN_MEMORY.test(name)) continue
    test(name, async (t) => {
      const shared = options()
      const [one, other] = [new HttpCache(shared), new HttpCache(shared)]
      t.after(() => Promise.all([one.close(), other.close()]))
      for (const path of ['/a', '/b', '/c']) {
        await one.save(
          SITE + path,
          { body: path, headers: { xkey: `tag ${path}` } },
          { tags: 'xkey' },
        )
      }
      const agent = cachingAgent({ cache: other })
      const statuses = async () => {
        const asked = ['/a', '/b', '/c'].map((path) =>
          get(agent, SITE + path, { headers: { 'cache-control': 'only-if-cached' } }),
        )
        return (await Promise.all(asked)).map(({ status }) => status)
      }
      assert.deepEqual(await statuses(), [200, 200, 200])
      assert.equal(await one.delete({ tag: '/a' }), 1)
      assert.equal(await one.expire({ tag: '/b' }), 1)
      const expected = [504, 504, 200]
      let found = await statuses()
      for (let tries = 0; tries < 100 && String(found) !== String(expected); tries++) {
        await delay(100)
        found = await statuses()
      }
      assert.deepEqual(found, expected)
    })
  }
})

suite('management of a cache', () => {
  test('what requests only read can be deleted by query all the same', async (t) => {
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const filled = new HttpCache({ store })
    for (const path of ['/a', '/b']) await filled.save(SITE + path, { body: path })
    assert.equal(await filled.count({ status: 200 }), 2)
    await filled.close()
    const { cache } = testAgent(t, { store, readOnly: true })
    assert.equal(await cache.delete({ pattern: `${SITE}/a` }), 1)
    assert.deepEqual(await cache.urls(), [`${SITE}/b`])
  })

  test('where one of many cannot be deleted, those that are gone are told, and their content goes', async (t) => {
    const rows = new Map<string, unknown>()
    const cache = new HttpCache({ store: rows, memory: false })
    t.after(() => cache.close())
    const body = 'x'.repeat(100_000)
    for (const path of ['/a', '/b', '/c']) {
      await cache.save(SITE + path, { headers: { 'cache-control': 'max-age=9' }, body })
    }
    const deleted: string[] = []
    cache.on('delete', ({ url }) => deleted.push(String(url)))
    const { look } = Heads.prototype
    const failing = t.mock.method(
      Heads.prototype,
      'look',
      function (this: Heads, ...all: [string, string]) {
        if (failing.mock.callCount() === 1) throw new Error('too late')
        return look.apply(this, all)
      },
    )
    await assert.rejects(cache.delete({ pattern: `${SITE}/*` }), /^Error: too late$/)
    failing.mock.restore()
    await nextTurn()
    assert.deepEqual([deleted.length, await cache.count()], [2, 1])
    await cache.prune()
    const chunks = [...rows.keys()].filter((key) => /\.\d+$/.test(key))
    assert.equal(chunks.length, 1)
  })

  test('a store that cannot list what it has says so, and does what it can', async (t) => {
    const cache = new HttpCache({ store: (stores[UNLISTED] as () => never)() })
    t.after(() => cache.close())
    await cache.save(SITE, { body: 'content' })
    assert.equal(await cache.count({ url: SITE }), 1)
    for (const call of [
      () => cache.count(),
      () => cache.urls(),
      () => cache.delete({ tag: 'news' }),
      () => cache.expire({ stale: false }),
      () => all(cache.entries()),
      () => cache.prune(),
    ]) {
      await assert.rejects(call, /^Error: the store cannot list what it has$/)
    }
    assert.equal(await cache.expire(SITE), 1)
    assert.equal(await cache.delete({ url: SITE, stale: true }), 1)
  })

  test('a store that hangs while it is listed says so after a while', async (t) => {
    const keyv = new Keyv()
    const hanging: AsyncGenerator = (async function* () {
      await new Promise(() => {})
    })()
    Object.assign(keyv, { iterator: () => hanging })
    const cache = new HttpCache({ store: keyv })
    t.after(() => cache.close())
    const errors: string[] = []
    cache.on('error', ({ error }) => errors.push(error.message))
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const counted = cache.count()
    await new Promise(setImmediate)
    t.mock.timers.tick(30_000)
    const message = 'the store did not read within 30000 ms'
    await assert.rejects(counted, { message })
    await new Promise(setImmediate)
    assert.deepEqual(errors, [message])
  })

  test('a store that does not know when something was used says so', async (t) => {
    const cache = new HttpCache({ store: new Map() })
    t.after(() => cache.close())
    for (const query of [{ unusedFor: '1h' }, { sort: 'used' }] as const) {
      await assert.rejects(
        cache.count(query),
        /^Error: this store does not know when a response was/,
      )
    }
  })

  for (const scheme of ['memory:', 'sqlite://:memory:']) {
    test(`${scheme} knows what has not been used for long`, async (t) => {
      const agent = testAgent(t, { store: scheme })
      const { cache } = agent
      for (const path of ['/a', '/b', '/c']) await cache.save(SITE + path, { body: path })
      await delay(1200)
      await get(agent, `${SITE}/b`)
      assert.deepEqual(await cache.urls({ unusedFor: 1000 }), [`${SITE}/a`, `${SITE}/c`])
      const [last] = await all(cache.entries({ sort: 'used', descending: true, limit: 1 }))
      assert.equal(last?.url, `${SITE}/b`)
      assert.equal(await cache.delete({ sort: 'used', limit: 2 }), 2)
      assert.deepEqual(await cache.urls(), [`${SITE}/b`])
    })
  }

  test('everything is deleted by clear() alone', async (t) => {
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    await cache.save(SITE, { body: 'content' })
    for (const query of [{}, { tag: undefined }, { sort: 'size' }] as ResponseQuery[]) {
      await assert.rejects(cache.delete(query), {
        name: 'TypeError',
        message: 'delete: expected what to delete; clear() deletes everything',
      })
    }
    assert.equal(await cache.count(), 1)
  })

  test('what is malformed is refused', async (t) => {
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    assert.throws(
      () => cache.entries({ stauts: 200 } as ResponseQuery),
      /^TypeError: entries: unknown/,
    )
    const wrong = { status: 'ok' }
    for (const call of [
      () => cache.urls(wrong),
      () => cache.count(wrong),
      () => cache.size(wrong),
      () => cache.delete(wrong),
      () => cache.expire(wrong),
      () => cache.resetExpiration(1, wrong),
      () => cache.delete('ftp://site.invalid'),
      () => cache.resetExpiration('soon'),
      () => cache.resetExpiration('do-not-cache'),
      () => cache.save('no url', {}),
      () => cache.save({ url: SITE, method: 'POST' }, {}),
      () => cache.save(SITE, { status: 100 }),
      () => cache.save(SITE, { body: 1 as never }),
      () => cache.save(SITE, { headers: { 'x y': 'z' } }),
      () => cache.save(SITE, { headers: { x: 'a\r\nset-cookie: b' } }),
      () => cache.save(SITE, { headers: { x: '☃' } }),
      () => cache.save(SITE, { statusText: 'a\nb' }),
      () => cache.save(SITE, null as never),
      () => cache.save(SITE, {}, { expires: 1 } as never),
    ]) {
      await assert.rejects(call, TypeError)
    }
  })

  test('others have their turns while many are looked at', async (t) => {
    const cache = new HttpCache({ store: 'memory:' })
    const other = new HttpCache({ store: 'memory:' })
    t.after(() => Promise.all([cache.close(), other.close()]))
    for (let n = 0; n < 300; n++) await cache.save(`${SITE}/${n}`, { body: 'content' })
    const work = () => {
      for (const end = performance.now() + 1; performance.now() < end; );
    }
    testAgent(t, {
      cache,
      cacheKey: (_, key) => {
        work()
        return key
      },
    })
    const looks: Record<string, () => Promise<unknown>> = {
      async entries() {
        for await (const _ of cache.entries()) work()
      },
      async unused() {
        for await (const _ of cache.unused()) work()
      },
      copyTo: () => cache.copyTo(other, { onProgress: work }),
      rekey: () => cache.rekey(),
    }
    for (const [name, look] of Object.entries(looks)) {
      let turns = 0
      let isOver = false
      const count = () => {
        turns += 1
        if (!isOver) setImmediate(count)
      }
      count()
      await look()
      isOver = true
      assert.ok(turns > 10, `${name}: ${turns}`)
    }
  })

  test('what is stored for a URL and a method other than GET and HEAD is found, whatever its content', async (t) => {
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    testAgent(t, { cache, ignoredParameters: ['session'] })
    const terms = { allowedMethods: ['GET', 'POST', 'QUERY'], ignoredParameters: ['session'] }
    const url = `${SITE}/?a=1&b=2&session=3`
    for (const [method, body] of [
      ['POST', 'one'],
      ['POST', 'two'],
      ['QUERY', 'one'],
      ['GET', undefined],
    ] as const) {
      await cache.save({ url, method, body }, { body: method }, terms)
    }
    await cache.save({ url: `${SITE}/other`, method: 'POST', body: 'one' }, {}, terms)
    const asked = `${SITE}/?session=4&b=2&a=1`
    assert.equal(await cache.count({ url: asked }), 1)
    assert.equal(await cache.count({ url: asked, method: 'POST' }), 2)
    assert.equal(await cache.count({ url: asked, method: ['GET', 'QUERY'] }), 2)
    assert.equal(await cache.delete({ url: [asked, `${SITE}/none`], method: 'post' }), 2)
    assert.equal(await cache.count(), 3)
  })

  test('the content of a request is saved as fetch sends it; for who adds no type it is said in bytes', async (t) => {
    const agent = testAgent(t, { allowedMethods: ['POST'] })
    const terms = { allowedMethods: ['POST'] }
    for (const body of ['q=lamp', Buffer.from('q=lamp')]) {
      const saved = typeof body === 'string' ? 'text' : 'bytes'
      await agent.cache.save({ url: SITE, method: 'POST', body }, { body: saved }, terms)
    }
    const offline = agent.with({ mode: 'offline' })
    const asked = { method: 'POST', body: 'q=lamp' } as const
    assert.equal((await get(offline, SITE, asked)).body, 'text')
    const { body } = await undici.request(SITE, { dispatcher: offline, ...asked })
    assert.equal(await body.text(), 'bytes')
    assert.equal(await agent.cache.delete(SITE, asked), 2)
  })

  test('what is at no cache key is left alone', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60').end('mine')
    })
    const store = new Map()
    const mine = { headers: { authorization: 'mine' } }
    const agent = testAgent(t, { store })
    await get(agent, url, mine)
    await agent.cache.responses.settled()
    for (const key of ['secret', 'x'.repeat(3000), '\0']) {
      assert.equal(await agent.cache.delete({ key }), 0)
      assert.deepEqual(await all(agent.cache.entries({ key })), [])
    }
    assert.equal((await get(testAgent(t, { store }), url, mine)).info?.status, 'hit')
  })

  test('what is saved for a URL is a hit, whatever a client adds to requests by itself', async (t) => {
    const cached = { 'cache-control': 'only-if-cached' }
    const agent = testAgent(t)
    const vary = 'Accept, Accept-Encoding, Accept-Language, User-Agent, Sec-Fetch-Mode'
    await agent.cache.save(SITE, { headers: { vary }, body: 'plain' })
    assert.equal((await get(agent, SITE, { headers: cached })).body, 'plain')
    const headers = { vary: 'Accept-Encoding', 'content-encoding': 'gzip' }
    await agent.cache.save(`${SITE}/zipped`, { headers, body: gzipSync('zipped') })
    assert.equal((await get(agent, `${SITE}/zipped`, { headers: cached })).body, 'zipped')

    // What the request names counts, and so does what no client adds.
    const request = { url: `${SITE}/text`, headers: { 'accept-language': 'de' } }
    await agent.cache.save(request, {
      headers: { vary: 'Accept-Language, Origin' },
      body: 'deutsch',
    })
    const statuses = ['de', 'en'].flatMap((language) =>
      [{}, { origin: SITE }].map(async (more) => {
        const all = { ...cached, ...more, 'accept-language': language }
        const { statusCode, body } = await undici.request(`${SITE}/text`, {
          dispatcher: agent,
          headers: all,
        })
        await body.dump()
        return statusCode
      }),
    )
    assert.deepEqual(await Promise.all(statuses), [200, 504, 504, 504])
  })

  for (const terms of [{}, { expireAfter: '1h' }]) {
    test(`what was stored by a clock that is ahead can be marked as stale: ${JSON.stringify(terms)}`, async (t) => {
      const now = Date.now()
      t.mock.timers.enable({ apis: ['Date'], now: now + 10_000 })
      const cache = new HttpCache({ store: 'memory:' })
      t.after(() => cache.close())
      const headers = { 'cache-control': 'max-age=60', etag: '"1"' }
      await cache.save(SITE, { headers, body: 'content' }, terms)
      t.mock.timers.setTime(now)
      assert.equal(await cache.expire(SITE), 1)
      assert.deepEqual([await cache.count({ stale: true }), await cache.expire(SITE)], [1, 0])
    })
  }

  test('a query that says that nothing is fresh marks nothing as stale', async (t) => {
    const cache = await filled(t, () => new HttpCache({ store: 'memory:' }))
    assert.equal(await cache.expire({ fresh: false }), 0)
    assert.equal(await cache.count({ fresh: true }), 6)
  })
})

suite('answers under way when something is deleted or marked stale', () => {
  /** An origin that answers when told to. */
  async function slow(t: TestContext) {
    const answers: (() => void)[] = []
    const { url, seen } = await origin(t, (_, response) => {
      response.writeHead(200, { 'Cache-Control': 'max-age=60', 'Cache-Tag': 'news' }).write('half')
      answers.push(() => response.end(' and half'))
    })
    const answer = () => {
      for (const end of answers.splice(0)) end()
    }
    return { url, seen, answer }
  }

  for (const [what, change] of [
    ['deleted', (cache: HttpCache) => cache.delete({ tag: 'news' })],
    ['deleted by a pattern', (cache: HttpCache) => cache.delete({ pattern: '*' })],
  ] as const) {
    test(`what is still being received is not stored: ${what}`, async (t) => {
      const { url, seen, answer } = await slow(t)
      const agent = testAgent(t, { tags: 'Cache-Tag' })
      const response = await fetchWith(agent, url)
      await change(agent.cache)
      answer()
      assert.equal(await response.text(), 'half and half')
      await agent.cache.responses.settled()
      assert.equal(await agent.cache.count(), 0)
      assert.equal(seen.length, 1)
    })
  }

  test('what is still being received is stored as stale: marked', async (t) => {
    const { url, answer } = await slow(t)
    const agent = testAgent(t, { tags: 'Cache-Tag' })
    const response = await fetchWith(agent, url)
    await agent.cache.expire({ tag: 'news' })
    answer()
    await response.text()
    await agent.cache.responses.settled()
    assert.deepEqual(await agent.cache.urls({ stale: true }), [`${url}/`])
  })

  for (const [what, change] of [
    ['deleted', (cache: HttpCache) => cache.delete({ pattern: '*' })],
    ['marked stale', (cache: HttpCache) => cache.expire({ pattern: '*' })],
    ['given another expiration', (cache: HttpCache) => cache.resetExpiration('1h')],
  ] as const) {
    test(`what has been received and is still being written counts: ${what}`, async (t) => {
      const { url } = await origin(t, (_, response) => {
        response.setHeader('Cache-Control', 'max-age=60').end(Buffer.alloc(3_000_000))
      })
      const agent = testAgent(t, { store: 'sqlite://:memory:' })
      for (let round = 0; round < 3; round++) {
        await get(agent, url)
        assert.equal(await change(agent.cache), 1)
        await agent.cache.clear()
      }
    })
  }

  test('what has only been asked for is not stored, nor what is validated freshened', async (t) => {
    let release: (() => void) | undefined
    const { url } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"1"').setHeader('Cache-Control', 'max-age=60')
      const isValidation = request.headers['if-none-match'] !== undefined
      const answer = () =>
        response.writeHead(isValidation ? 304 : 200).end(isValidation ? '' : 'content')
      if (request.url === '/slow' || isValidation) release = answer
      else answer()
    })
    const agent = testAgent(t)
    await get(agent, url)
    await agent.cache.responses.settled()
    await agent.cache.expire(url)
    for (const path of ['/slow', '/']) {
      const asked = get(agent, url + path)
      while (release === undefined) await delay(5)
      await agent.cache.expire({ pattern: '*' })
      release()
      release = undefined
      await asked
      await agent.cache.responses.settled()
    }
    assert.equal(await agent.cache.count({ fresh: true }), 0)
    assert.deepEqual(await agent.cache.urls(), [`${url}/`])
  })

  // biome-ignore format: one change a row
  const changes: [what: string, isStored: boolean, change: (cache: HttpCache, url: string) => unknown][] = [
    ['deleted by a pattern that is its', false, (cache) => cache.delete({ pattern: '*/slow' })],
    ['deleted by a pattern that is not', true, (cache) => cache.delete({ pattern: '*/other' })],
    ['deleted by its URL', false, (cache, url) => cache.delete(`${url}/slow`)],
    ['deleted by its URL and something else', false, (cache, url) => cache.delete({ url: `${url}/slow`, status: 200 })],
    ['deleted by another URL and something else', true, (cache, url) => cache.delete({ url: `${url}/other`, status: 200 })],
    ['deleted by another method', true, (cache) => cache.delete({ method: 'POST' })],
    ['deleted by a tag, which nobody knows yet', false, (cache) => cache.delete({ tag: 'news' })],
    ['marked stale by a pattern that is its', false, (cache) => cache.expire({ pattern: '*/slow' })],
    ['marked stale by a pattern that is not', true, (cache) => cache.expire({ pattern: '*/other' })],
    ['given another expiration', true, (cache) => cache.resetExpiration('1h')],
    ['cleared', false, (cache) => cache.clear()],
  ]
  for (const [what, isStored, change] of changes) {
    const stored = isStored ? 'stored' : 'not stored'
    test(`what has only been asked for is ${stored}: ${what}`, async (t) => {
      const { promise: released, resolve: release } = Promise.withResolvers<void>()
      const { promise: asked, resolve: arrived } = Promise.withResolvers<void>()
      const { url } = await origin(t, async (_, response) => {
        arrived()
        await released
        response.setHeader('Cache-Control', 'max-age=60').end('content')
      })
      const agent = testAgent(t)
      const getting = get(agent, `${url}/slow`)
      await asked
      await change(agent.cache, url)
      release()
      assert.equal((await getting).info?.stored ?? false, isStored)
      await agent.cache.responses.settled()
      assert.equal(await agent.cache.count(), isStored ? 1 : 0)
    })
  }

  test('housekeeping leaves alone what is new', async (t) => {
    const { url, answer } = await slow(t)
    const agent = testAgent(t, {})
    const response = await fetchWith(agent, url)
    await agent.cache.delete({ expired: true })
    await agent.cache.delete({ olderThan: 0 })
    answer()
    await response.text()
    await agent.cache.responses.settled()
    assert.equal(await agent.cache.count(), 1)
  })
})

suite('copies of a cache', () => {
  test('leaves out what is larger than the other cache may be', async (t) => {
    const from = await filled(t, () => new HttpCache({ store: 'memory:' }))
    const to = new HttpCache({ store: 'memory:', maxSize: 100_000 })
    t.after(() => to.close())
    const { copied, unusable, lost } = await from.copyTo(to)
    assert.deepEqual([copied, unusable, lost], [7, 1, 0])
  })

  async function two(t: TestContext) {
    const from = await filled(t, () => new HttpCache({ store: 'sqlite://:memory:' }))
    const to = new HttpCache({ store: 'memory:' })
    t.after(() => to.close())
    return { from, to }
  }

  test('an interrupted one is resumed by another one', async (t) => {
    const { from, to } = await two(t)
    for (let n = 0; n < 50; n++) await from.save(`${SITE}/more/${n}`, { body: String(n) })
    const controller = new AbortController()
    const onProgress = ({ copied }: CopyProgress) => {
      if (copied >= 3) controller.abort(new Error('on purpose'))
    }
    await assert.rejects(from.copyTo(to, { signal: controller.signal, onProgress }), /on purpose/)
    const there = await to.count()
    assert.ok(there >= 3 && there < 58, `${there}`)
    const { copied, skipped } = await from.copyTo(to)
    assert.deepEqual([copied, skipped, await to.count()], [58 - there, there, 58])
    const aborted = AbortSignal.abort(new Error('before'))
    await assert.rejects(from.copyTo(to, { signal: aborted }), /before/)
  })

  test('what is newer there stays, what is older is replaced', async (t) => {
    const { from, to } = await two(t)
    const now = Date.now()
    await to.save(`${SITE}/`, { body: 'newer' })
    t.mock.timers.setTime(now - 10 * DAY)
    await to.save(`${SITE}/news/2`, { body: 'older' })
    t.mock.timers.setTime(now)
    const { copied, skipped } = await from.copyTo(to)
    assert.deepEqual([copied, skipped], [7, 1])
    assert.equal((await to.get(`${SITE}/`))?.size, 5)
    assert.equal((await to.get(`${SITE}/news/2`))?.size, 300)
  })

  test('what is there without its content is copied once more', async (t) => {
    const { from } = await two(t)
    const rows = new Map<string, unknown>()
    const to = new HttpCache({ store: rows })
    await from.copyTo(to)
    const [chunk] = [...rows.keys()].filter((key) => /\.0$/.test(key))
    rows.delete(chunk as string)
    const { copied, skipped } = await from.copyTo(to)
    assert.deepEqual([copied, skipped], [1, 7])
  })

  test('of some responses', async (t) => {
    const { from, to } = await two(t)
    assert.equal((await from.copyTo(to, { filter: { tag: 'news' } })).copied, 2)
    assert.deepEqual(await to.urls(), [`${SITE}/news/1`, `${SITE}/news/2`])
  })

  test('what is for credentials is for the same ones there', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('Cache-Control', 'max-age=60').end(request.headers.authorization)
    })
    const agent = testAgent(t, { store: 'memory:' })
    const as = (authorization: string) => ({ headers: { authorization } })
    for (const user of ['one', 'two']) await get(agent, url, as(user))
    const empty = new HttpCache({ store: 'sqlite://:memory:' })
    const filledAlready = testAgent(t, { store: 'memory:' })
    await get(filledAlready, url, as('three'))
    t.after(() => empty.close())
    assert.equal((await agent.cache.copyTo(empty)).copied, 2)
    const other = testAgent(t, { cache: empty })
    for (const user of ['one', 'two']) {
      const { body, info } = await get(other, url, as(user))
      assert.deepEqual([body, info?.status], [user, 'hit'])
    }
    assert.equal((await get(other, url, as('four'))).info?.status, 'miss')
    const { copied, unusable } = await agent.cache.copyTo(filledAlready.cache)
    assert.deepEqual([copied, unusable, seen.length], [0, 2, 4])
  })

  test('that cannot be are refused', async (t) => {
    const { from, to: other } = await two(t)
    const shared = new HttpCache({ store: 'memory:', shared: true })
    t.after(() => shared.close())
    for (const [to, options, message] of [
      [shared, {}, /^TypeError: copyTo: a shared cache and a private one/],
      [from, {}, /^TypeError: copyTo: expected another HttpCache/],
      [new Map(), {}, /^TypeError: copyTo: expected another HttpCache/],
      [shared, { fliter: {} }, /^TypeError: copyTo: unknown option "fliter"/],
      [other, { signal: true }, /^TypeError: copyTo.signal: expected an AbortSignal, got true/],
      [other, { onProgress: {} }, /^TypeError: copyTo.onProgress: expected a function, got \{\}/],
    ] as const) {
      await assert.rejects(from.copyTo(to as HttpCache, options as object), message)
    }
  })
})

suite('keys that are made anew', () => {
  for (const [name, options] of Object.entries(caches).filter(([name]) => name !== UNLISTED)) {
    test(`after the rules for them have changed, in ${name}`, async (t) => {
      const { url, seen } = await origin(t, (request, response) => {
        response.setHeader('Cache-Control', 'max-age=60').setHeader('Vary', 'Accept')
        response.end(request.url === '/large?id=1' ? 'x'.repeat(300_000) : request.headers.accept)
      })
      const kept = options()
      const before = testAgent(t, kept)
      await before.cache.clear()
      const as = (accept: string) => ({ headers: { accept } })
      for (const accept of ['a/a', 'b/b']) await get(before, `${url}/?id=1&session=2`, as(accept))
      await get(before, `${url}/plain`)
      await get(before, `${url}/large?id=1`)
      await before.cache.responses.settled()
      const terms = { ignoredParameters: ['session'] }
      const after = testAgent(t, { ...kept, ...terms })
      if (IN_MEMORY.test(name)) await before.cache.copyTo(after.cache)
      assert.deepEqual(await after.cache.rekey(), { moved: 2, unchanged: 2, unknown: 0 })
      assert.deepEqual(await after.cache.rekey(), { moved: 0, unchanged: 4, unknown: 0 })
      for (const accept of ['a/a', 'b/b']) {
        const { info, body } = await get(after, `${url}/?id=1&session=other`, as(accept))
        assert.deepEqual([info?.status, body], ['hit', accept])
      }
      assert.equal((await get(after, `${url}/large?id=1`)).body.length, 300_000)
      assert.equal(seen.length, 4)
      assert.equal(await after.cache.count(), 4)
    })
  }

  test('stay as they are where not all is stored that they were made of', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    const before = testAgent(t, {
      cache,
      expireAfter: '1h',
      ignoredParameters: ['session'],
      allowedMethods: ['GET', 'POST'],
      cacheKey: ({ url: { pathname } }, key) => (pathname === '/own' ? 'own' : key),
    })
    await get(before, `${url}/?session=1`)
    await get(before, `${url}/own`)
    await get(before, url, { method: 'POST', body: 'content' })
    await cache.responses.settled()
    const other = new HttpCache({ store: 'memory:' })
    t.after(() => other.close())
    await cache.copyTo(other)
    testAgent(t, { cache: other })
    assert.deepEqual(await other.rekey(), { moved: 0, unchanged: 0, unknown: 3 })
    assert.equal(await other.count(), 3)
  })
})
