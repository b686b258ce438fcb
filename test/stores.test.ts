import assert from 'node:assert/strict'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import KeyvRedis from '@keyv/redis'
import { HttpCache } from 'caching-agent'
import { Keyv } from 'keyv'
import { Keyv as Keyv5 } from 'keyv5'
import { Events } from '../lib/observe/events.ts'
import { openStore, type StoreOption } from '../lib/storage/open-store.ts'
import { adapter } from './helpers/adapter.ts'
import { get, outcomes, testAgent } from './helpers/agent.ts'
import { handOver, PATIENT, redis, stores, UNLISTED } from './helpers/backends.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'
import { serverUrl } from './helpers/servers.ts'

if (redis) {
  const redisUrl = serverUrl('redis', redis)
  test('a KeyvRedis that was handed over: what else is in it stays as it is', async (t) => {
    const { url: page } = await origin(t, (_, response) => response.end('content'))
    const store = handOver(new KeyvRedis(redisUrl, { namespace: 'mine' }))
    await store.set('mine', 'untouched')
    const agent = testAgent(t, { expireAfter: '1h', store, deadlines: PATIENT })
    await get(agent, page)
    assert.equal(await agent.cache.count(), 1)
    await agent.cache.clear()
    await agent.close()
    assert.equal(await store.get('mine'), 'untouched')
  })
}

/** Keys as those of responses and their content are. */
const HEADS = ['a', 'b', 'c'].map((digit) => digit.repeat(64)) as [string, string, string]
const [A, B] = HEADS
const CHUNK = `${'d'.repeat(24)}-1z.0`
const OLDER_CHUNK = `${'e'.repeat(24)}.12`

for (const [name, store] of Object.entries(stores)) {
  suite(`the store ${name}`, () => {
    test('keeps bytes as they are', async () => {
      const { heads, close } = openStore(store(), new Events())
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, index) => index))
      assert.equal(await heads.get('key'), undefined)
      await heads.set('key', bytes, undefined)
      assert.deepEqual(await heads.get('key'), bytes)
      await heads.set('key', Buffer.from('other'), 60_000)
      assert.equal((await heads.get('key'))?.toString(), 'other')
      await close()
    })

    test('does not give away the bytes it has', async () => {
      const { heads, close } = openStore(store(), new Events())
      await heads.set('key', Buffer.from('as it was'), undefined)
      for (let round = 0; round < 2; round++) {
        const read = (await heads.get('key')) as Buffer
        assert.equal(read.toString(), 'as it was')
        read.fill(0)
      }
      await close()
    })

    test('forgets what has expired, and no sooner', async () => {
      const { heads, close } = openStore(store(), new Events())
      await heads.set('long', Buffer.from('long'), 60_000)
      await heads.set('short', Buffer.from('short'), 150)
      assert.ok(await heads.get('short'))
      await delay(200)
      assert.equal(await heads.get('short'), undefined)
      assert.ok(await heads.get('long'))
      await close()
    })

    test('deletes what is named, and clears what is its own', async () => {
      const { heads, chunks, close } = openStore(store(), new Events())
      for (const key of HEADS) await heads.set(key, Buffer.from(key), undefined)
      await chunks.set(CHUNK, Buffer.from('chunk'), undefined)
      await heads.delete([A, 'missing'])
      assert.equal(await heads.get(A), undefined)
      assert.ok(await heads.get(B))
      assert.equal((await chunks.get(CHUNK))?.toString(), 'chunk')
      if (name === UNLISTED) return assert.rejects(heads.clear(), /cannot list/)
      await heads.clear()
      assert.equal(await heads.get(B), undefined)
      assert.equal((await chunks.get(CHUNK))?.toString(), 'chunk')
      await chunks.clear()
      assert.equal(await chunks.get(CHUNK), undefined)
      await close()
    })

    if (name !== UNLISTED) {
      test('lists what it has', async () => {
        const { heads, chunks, close } = openStore(store(), new Events())
        for (const key of HEADS) await heads.set(key, Buffer.from(`of ${key}`), 60_000)
        for (const key of [CHUNK, OLDER_CHUNK])
          await chunks.set(key, Buffer.from('chunk'), undefined)
        const all: string[] = []
        for await (const [key, bytes] of heads.entries() ?? []) all.push(`${key} ${bytes}`)
        assert.deepEqual(
          all.sort(),
          HEADS.map((key) => `${key} of ${key}`),
        )
        const chunkKeys: string[] = []
        for await (const [key] of chunks.entries() ?? []) chunkKeys.push(key)
        assert.deepEqual(chunkKeys.sort(), [CHUNK, OLDER_CHUNK])
        await close()
      })
    }

    test('holds small and large responses, with all their variants', async (t) => {
      const { url, seen } = await origin(t, (request, response) => {
        response.setHeader('Vary', 'Accept-Language')
        const length = request.url === '/large' ? 700_000 : 10
        response.end(Buffer.alloc(length, request.headers['accept-language'] as string))
      })
      const agent = testAgent(t, { expireAfter: '1h', store: store(), deadlines: PATIENT })
      const errors: unknown[] = []
      agent.cache.on('error', (error) => errors.push(error))
      for (const round of ['miss', 'hit']) {
        for (const path of ['/small', '/large']) {
          for (const language of ['d', 'e']) {
            const headers = { 'accept-language': language }
            const { body, info } = await get(agent, url + path, { headers })
            assert.equal(info?.status, round)
            assert.equal(body, language.repeat(path === '/large' ? 700_000 : 10))
            await agent.cache.has(url)
          }
        }
      }
      assert.equal(seen.length, 4)
      assert.equal((await agent.cache.get(`${url}/large`))?.size, 700_000)
      if (name !== UNLISTED) {
        assert.equal(await agent.cache.count(), 4)
        assert.deepEqual(await agent.cache.urls(), [`${url}/large`, `${url}/small`])
      }
      assert.equal(await agent.cache.delete(`${url}/large`), 2)
      assert.equal(await agent.cache.delete(`${url}/large`), 0)
      assert.equal(await agent.cache.has(`${url}/large`), false)
      if (name === UNLISTED) await agent.cache.delete(`${url}/small`)
      else await agent.cache.clear()
      assert.equal(await agent.cache.has(`${url}/small`), false)
      assert.deepEqual(await outcomes(agent, `${url}/small`, [{}, {}]), ['miss', 'hit'])
      assert.deepEqual(errors, [])
    })
  })
}

suite('a Keyv that was handed over', () => {
  const keyvs: [string, (store: Map<string, unknown>) => unknown][] = [
    ['Keyv 5', (store) => new Keyv5({ store, namespace: 'shared' })],
    ['Keyv 6', (store) => new Keyv({ store, namespace: 'shared' })],
  ]
  for (const [name, make] of keyvs) {
    test(`${name}: what else is in it stays, whatever its keys begin with, and it is not closed`, async (t) => {
      const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(600_000, 'x')))
      const map = new Map<string, unknown>()
      const keyv = make(map) as Keyv
      const mine = [
        'mine',
        'response.',
        'response.settings',
        'response.0',
        'chunk.of.mine',
        'chunk.1.0',
      ]
      for (const key of mine) await keyv.set(key, `untouched ${key}`)
      const agent = testAgent(t, { expireAfter: '1h', store: keyv })
      await get(agent, url, { headers: { authorization: 'me' } })
      assert.equal(await agent.cache.count(), 1)
      assert.ok(map.size > mine.length + 3, 'a response, its chunks and the secret')
      await agent.cache.clear()
      await agent.close()
      for (const key of mine) assert.equal(await keyv.get(key), `untouched ${key}`)
      assert.equal(map.size, mine.length)
    })
  }
})

test('a store is named by a URL as well as by its text', async () => {
  const path = join(folder(), 'a store.sqlite')
  for (const store of [`sqlite://${path}`, new URL(`sqlite://${path}`), new URL('memory:')]) {
    const cache = new HttpCache({ store })
    await cache.save('http://site.invalid/', { headers: { 'cache-control': 'max-age=60' } })
    assert.equal(await cache.count(), 1)
    await cache.close()
  }
  assert.ok(existsSync(path))
  assert.throws(() => new HttpCache({ store: new URL('mysql://host') }), /store: expected/)
})

test('a file is the same one, named by a URL as by its text', async (t) => {
  const before = process.cwd()
  t.after(() => process.chdir(before))
  for (const name of ['dätei', 'a?b', 'a#b ü', 'a?', '100%', '%FF', '50%_a&b=c', 'Host/{a} "b"']) {
    for (const start of ['sqlite:', 'sqlite://', 'sqlite:///']) {
      const inside = folder()
      process.chdir(inside)
      // Not all that may be in a path may be in the name of a host.
      const path = start === 'sqlite:///' ? `${inside.slice(1)}/${name}` : name
      if (!URL.canParse(start + path)) continue
      await new HttpCache({ store: new URL(start + path) }).close()
      assert.ok(existsSync(name), `${start}${path}: ${readdirSync(inside)}`)
      await new HttpCache({ store: start + path }).close()
      assert.deepEqual(readdirSync(inside).length, 1)
    }
  }
})

test('a URL that may be that of two files is refused', () => {
  for (const encoded of ['%25', '%23', '%2F', '%c3%a4']) {
    const store = new URL(`sqlite:///nowhere/100${encoded}.sqlite`)
    assert.throws(() => new HttpCache({ store }), {
      name: 'TypeError',
      message: `store: cannot tell whether '${encoded}' in '${store.href}' is part of the name of the file, or encoded: give the path as text, "sqlite://path"`,
    })
  }
})

suite('a store that fails while it lists what it has', () => {
  const list = async function* () {
    yield [`caching-agent::response.${A}`, '{"value":"AAAA"}']
    throw new Error('the connection was lost')
  }
  test('does not seem to have less', async () => {
    const { heads } = openStore({ ...adapter(), iterator: list } as StoreOption, new Events())
    await assert.rejects(async () => {
      for await (const _ of heads.entries() ?? []);
    }, /the connection was lost/)
    await assert.rejects(heads.clear(), /the connection was lost/)
  })
})
