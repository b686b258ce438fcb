import assert from 'node:assert/strict'
import { createSecretKey, randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { inspect } from 'node:util'
import zlib from 'node:zlib'
import {
  type AgentOptions,
  HttpCache,
  type HttpCacheOptions,
  type StoreOption,
} from 'caching-agent'
import fc from 'fast-check'
import { Events } from '../lib/observe/events.ts'
import type { ByteStore } from '../lib/storage/byte-store.ts'
import { variantKey } from '../lib/storage/entry.ts'
import { openStore } from '../lib/storage/open-store.ts'
import { adapter } from './helpers/adapter.ts'
import { fetchWith, get, testAgent } from './helpers/agent.ts'
import { PATIENT, stores, UNLISTED } from './helpers/backends.ts'
import { folder } from './helpers/folder.ts'
import { type Origin, origin } from './helpers/origin.ts'

const [KEY, OTHER, INDEX] = ['K', 'O', 'I'].map((letter) => Buffer.alloc(32, letter)) as [
  Buffer,
  Buffer,
  Buffer,
]

type SealingOptions = Pick<HttpCacheOptions, 'compress' | 'encrypt'>

const SEALINGS: Record<string, SealingOptions> = {
  'compressed by zstd': { compress: 'zstd' },
  encrypted: { encrypt: KEY },
  'compressed by Brotli and encrypted': {
    compress: { algorithm: 'brotli', minSize: 1 },
    encrypt: KEY.toString('base64'),
  },
  'compressed by gzip and encrypted, with other cache keys': {
    compress: { algorithm: 'gzip', level: 1 },
    encrypt: { keys: [{ id: 'one', key: createSecretKey(KEY) }], indexKey: INDEX },
  },
}

const TEXT = 'some text that can be found and compressed; '
const NOISE = randomBytes(400_000)
const CONTENTS: Record<string, Buffer> = {
  '/empty': Buffer.alloc(0),
  '/small': Buffer.from(TEXT),
  '/page': Buffer.from(TEXT.repeat(200)),
  '/long-page': Buffer.from(TEXT.repeat(1200)),
  '/large': Buffer.from(TEXT.repeat(20_000)),
  '/noise': NOISE,
}

/** What must not be found in an encrypted store: nothing so short that it is in something random by chance. */
const FRAGMENTS = [
  ...['127.0.0.1', '/page', '/large', 'http:', 'example.org', 'some text', 'can be found'],
  ...[
    'x-telling',
    'telling value',
    '"etag"',
    'content-type',
    'accept-language',
    'language-of-mine',
  ],
  ...['"url"', '"fields"', '"status"', '"nominated"', 'authorization', 'my-credentials'],
  NOISE.subarray(1000, 1016),
  NOISE.subarray(300_000, 300_016),
  ...[KEY, OTHER, INDEX].flatMap((key) => [key, key.toString('hex'), key.toString('base64')]),
]

function assertTellsNothing(bytes: Buffer, where: string): void {
  for (const fragment of FRAGMENTS) {
    assert.equal(bytes.includes(fragment), false, `${inspect(fragment)} is in ${where}`)
  }
}

/** An origin whose content can be found, and has variants. */
function telling(t: TestContext): Promise<Origin> {
  return origin(t, ({ url, headers }, response) => {
    const content = CONTENTS[url ?? ''] ?? Buffer.from('other')
    response.setHeader('X-Telling', 'telling value, example.org').setHeader('ETag', '"etag"')
    if (url === '/page') response.setHeader('Vary', 'Accept-Language')
    const language = url === '/page' ? String(headers['accept-language']) : ''
    response.end(Buffer.concat([content, Buffer.from(language)]))
  })
}

/** An agent that reads everything from its store, and what it complained about. */
function agentOn(t: TestContext, store: StoreOption, options: AgentOptions) {
  const terms = { expireAfter: '1h', deadlines: PATIENT } as const
  const agent = testAgent(t, { ...terms, memory: false, store, ...options })
  const errors: string[] = []
  agent.cache.on('error', ({ operation, error }) => errors.push(`${operation}: ${error.message}`))
  const fetchText = async (url: string, headers: Record<string, string> = {}) => {
    const { response, body, info } = await get(agent, url, { headers })
    await agent.cache.responses.settled()
    return { body, status: info?.status, code: response.status }
  }
  return { agent, cache: agent.cache, errors, fetchText }
}

/** What is in a store as it is. */
async function rawOf(option: StoreOption) {
  const { heads, chunks, close } = openStore(option, new Events())
  const list = async (store: ByteStore) => {
    const all = new Map<string, Buffer>()
    for await (const [key, bytes] of store.entries() ?? []) all.set(key, bytes)
    return all
  }
  return { heads, chunks, close, all: async () => [await list(heads), await list(chunks)] as const }
}

/** Whether a file has no name any more. */
function isTemporary(descriptor: string): boolean {
  try {
    return readlinkSync(descriptor).endsWith(' (deleted)')
  } catch {
    return false
  }
}

/** Waits until something is not there any more. */
async function isRemoved(store: ByteStore, key: string): Promise<void> {
  while (await store.get(key)) await delay(1)
}

/** Records are sealed above all stores alike: of those on servers each gets them in the clear and encrypted. */
function sealingsOf(name: string): [how: string, sealing: SealingOptions][] {
  const all = Object.entries(SEALINGS)
  const isOnServer = /redis|valkey|postgres/i.test(name)
  return isOnServer ? all.filter((_, index) => index === 0 || index === all.length - 1) : all
}

for (const [name, storeOf] of Object.entries(stores)) {
  for (const [how, sealing] of sealingsOf(name)) {
    test(`the store ${name}, ${how}`, async (t) => {
      const { url, seen } = await telling(t)
      const store = storeOf()
      const requests: [path: string, headers: Record<string, string>][] = [
        ...Object.keys(CONTENTS).map((path) => [path, {}] as [string, object]),
        ['/page', { 'accept-language': 'language-of-mine' }],
        ['/page', { 'accept-language': 'another' }],
        ['/page', { 'accept-language': 'another', authorization: 'my-credentials' }],
        ['/long-page', { cookie: 'my-credentials' }],
      ] as never

      const check = async (expected: string, { fetchText, cache }: ReturnType<typeof agentOn>) => {
        for (const [path, headers] of requests) {
          const { body, status } = await fetchText(url + path, headers)
          const language = path === '/page' ? (headers['accept-language'] ?? '*') : ''
          const content = Buffer.concat([CONTENTS[path] as Buffer, Buffer.from(language)])
          assert.equal(body, content.toString(), path)
          assert.equal(status, expected, path)
        }
        assert.equal((await cache.get(`${url}/large`))?.size, CONTENTS['/large']?.length)
        assert.equal((await cache.get(`${url}/large`))?.headers['x-telling'], 'telling value, example.org') // biome-ignore format: one claim
      }
      const first = agentOn(t, store, sealing)
      await check('miss', first)
      await check('hit', first)
      const part = await first.fetchText(`${url}/large`, { range: 'bytes=600000-600009,5-8' })
      assert.equal(part.code, 206)
      assert.ok(part.body.includes(CONTENTS['/large']?.toString('latin1', 600_000, 600_010) ?? '?'))
      assert.equal(seen.length, requests.length)
      if (name !== UNLISTED) {
        assert.equal(await first.cache.count(), requests.length)
        assert.deepEqual(await first.cache.urls(), Object.keys(CONTENTS).map((path) => url + path).sort()) // biome-ignore format: one claim
      }
      assert.deepEqual(first.errors, [])
      if (name.includes('memory')) return

      if (sealing.encrypt && name !== UNLISTED) {
        const raw = await rawOf(store)
        for (const all of await raw.all()) {
          assert.ok(all.size > 3)
          for (const [key, bytes] of all) assertTellsNothing(bytes, key)
        }
        await raw.close()
      }
      await first.agent.close()
      const second = agentOn(t, store, sealing)
      await check('hit', second)
      const range = { range: 'bytes=300000-300009', 'accept-encoding': 'identity' }
      assert.equal((await second.fetchText(`${url}/noise`, range)).code, 206)
      assert.equal(await second.cache.delete(`${url}/large`), 1)
      assert.equal(await second.cache.has(`${url}/large`), false)
      assert.equal((await second.fetchText(`${url}/large`)).status, 'miss')
      assert.deepEqual(second.errors, [])
      // Some share a server with those of the other tests.
      if (name !== UNLISTED) await second.cache.clear()
    })
  }
}

/** Until when readers in other processes have come to an end, in milliseconds. */
const AFTER_A_WHILE = 15_000

/** Stores whose records a test can exchange. */
const OPEN: Record<string, () => StoreOption> = {
  'sqlite:': () => `sqlite://${join(folder(), 'cache.sqlite')}`,
  'a Map': () => new Map(),
}

for (const [name, storeOf] of Object.entries(OPEN)) {
  suite(`${name}, switched over`, () => {
    test('compression on, off and to another algorithm: all stays readable', async (t) => {
      const { url, seen } = await telling(t)
      const store = storeOf()
      const stored: string[] = []
      for (const compress of [undefined, 'gzip', 'zstd', undefined, 'brotli'] as const) {
        const { agent, errors, fetchText } = agentOn(t, store, { ...(compress && { compress }) })
        const path = Object.keys(CONTENTS)[stored.length] as string
        await fetchText(url + path)
        stored.push(path)
        for (const each of stored) {
          const { body, status } = await fetchText(url + each)
          assert.equal(status, 'hit')
          assert.equal(body.slice(0, 100), CONTENTS[each]?.toString().slice(0, 100))
        }
        assert.deepEqual(errors, [])
        await agent.close()
      }
      assert.equal(seen.length, stored.length)
    })

    test('what is given more time stays compressed', async (t) => {
      const { url } = await telling(t)
      const store = storeOf()
      const { agent, cache, fetchText } = agentOn(t, store, { compress: 'gzip' })
      await fetchText(`${url}/large`)
      await cache.resetExpiration('10 years')
      const raw = await rawOf(store)
      const [, chunks] = await raw.all()
      const size = [...chunks.values()].reduce((sum, { length }) => sum + length, 0)
      await raw.close()
      assert.ok(size < (CONTENTS['/large']?.length ?? 0) / 10, `${size} bytes`)
      assert.equal((await fetchText(`${url}/large`)).status, 'hit')
      await agent.close()
    })

    test('encryption on: what was stored in the clear is not used, but removed', async (t) => {
      const { url, seen } = await telling(t)
      const store = storeOf()
      const before = agentOn(t, store, {})
      for (const path of ['/page', '/large']) await before.fetchText(url + path)
      await before.fetchText(`${url}/small`, { cookie: 'my-credentials' })
      await before.agent.close()

      const { agent, cache, errors, fetchText } = agentOn(t, store, { encrypt: KEY })
      assert.deepEqual(await cache.urls(), [])
      await delay(5)
      assert.match(
        errors.join(),
        /^read: of the stored records \d cannot be read: .+ not encrypted$/,
      )
      errors.length = 0
      for (const path of ['/page', '/large']) assert.equal(await cache.has(url + path), false)
      await delay(5)
      assert.equal(errors.length, 2)
      for (const error of errors) assert.match(error, /^read: .* is not encrypted$/)
      assert.equal((await fetchText(`${url}/small`, { cookie: 'my-credentials' })).status, 'miss')
      for (const status of ['miss', 'hit']) {
        for (const path of ['/page', '/large']) {
          assert.equal((await fetchText(url + path)).status, status)
        }
      }
      assert.equal((await fetchText(`${url}/small`, { cookie: 'my-credentials' })).status, 'hit')
      assert.equal(seen.length, 6)
      await cache.responses.freed()
      t.mock.timers.enable({ apis: ['Date'], now: Date.now() + AFTER_A_WHILE })
      await cache.responses.freed()
      const raw = await rawOf(store)
      for (const all of await raw.all()) {
        for (const [key, bytes] of all) assertTellsNothing(bytes, key)
      }
      await raw.close()
      await agent.close()
    })

    test('encryption off: what was encrypted is not used, and stays', async (t) => {
      const { url } = await telling(t)
      const store = storeOf()
      const before = agentOn(t, store, { encrypt: KEY })
      await before.fetchText(`${url}/page`)
      await before.agent.close()
      const without = agentOn(t, store, {})
      assert.equal(await without.cache.has(`${url}/page`), false)
      assert.deepEqual(await without.cache.urls(), [])
      await delay(5)
      assert.equal(without.errors.length, 2)
      assert.match(without.errors.join(), /is encrypted, and this cache has no key/)
      await without.agent.close()
      const after = agentOn(t, store, { encrypt: KEY })
      assert.equal((await after.fetchText(`${url}/page`)).status, 'hit')
      await after.agent.close()
      const again = agentOn(t, store, {})
      assert.equal((await again.fetchText(`${url}/page`)).status, 'miss')
      assert.equal((await again.fetchText(`${url}/page`)).status, 'hit')
    })

    test('a wrong key: misses that are told, and the records go', async (t) => {
      const { url } = await telling(t)
      for (const [wrong, message] of [
        [{ keys: { default: OTHER } }, /not what was stored there under the key "default"/],
        [{ keys: { other: KEY } }, /encrypted under the key "default", which is not known/],
      ] as const) {
        const store = storeOf()
        const right = agentOn(t, store, { encrypt: KEY })
        for (const path of ['/page', '/large']) await right.fetchText(url + path)
        await right.agent.close()
        const { agent, cache, errors, fetchText } = agentOn(t, store, { encrypt: wrong })
        assert.equal(await cache.has(`${url}/large`), false)
        assert.equal(await cache.has(`${url}/large`), false)
        await delay(5)
        assert.equal(errors.length, 1)
        assert.match(errors[0] as string, message)
        for (const path of ['/page', '/large']) {
          for (const status of ['miss', 'hit']) {
            assert.equal((await fetchText(url + path)).status, status)
          }
        }
        await agent.close()
      }
    })

    test('rotation: what was stored under the old key is read, until it is taken away', async (t) => {
      const { url, seen } = await telling(t)
      const store = storeOf()
      const old = agentOn(t, store, { encrypt: { keys: { '2025': KEY } } })
      const credentials = { authorization: 'my-credentials' }
      for (const path of ['/page', '/large']) await old.fetchText(url + path, credentials)
      await old.agent.close()
      const keys = { '2025': KEY, '2026': OTHER }
      const both = agentOn(t, store, { encrypt: { keys, current: '2026' } })
      for (const path of ['/page', '/large']) {
        assert.equal((await both.fetchText(url + path, credentials)).status, 'hit')
      }
      for (const headers of [{}, credentials]) await both.fetchText(`${url}/small`, headers)
      assert.deepEqual(both.errors, [])
      await both.agent.close()
      const renewed = agentOn(t, store, { encrypt: { keys: { '2026': OTHER } } })
      // Even what is kept apart by a secret that was there before.
      for (const headers of [{}, credentials]) {
        assert.equal((await renewed.fetchText(`${url}/small`, headers)).status, 'hit')
      }
      assert.deepEqual(renewed.errors, [])
      assert.equal((await renewed.fetchText(`${url}/large`)).status, 'miss')
      await delay(5)
      assert.match(renewed.errors.join(), /under the key "2025", which is not known/)
      assert.equal(seen.length, 5)
    })
  })

  suite(`${name}, in the hands of somebody else`, () => {
    async function prepared(t: TestContext, options: AgentOptions = { encrypt: KEY }) {
      const { url, seen } = await telling(t)
      const store = storeOf()
      const made = agentOn(t, store, options)
      const raw = await rawOf(store)
      t.after(() => raw.close())
      return { ...made, url, seen, raw }
    }

    test('any byte of a response: changed, it is a miss and an event', async (t) => {
      const { cache, errors, url, raw, fetchText } = await prepared(t)
      await fetchText(`${url}/small`)
      const { key } = (await cache.get(`${url}/small`)) as { key: string }
      const record = (await raw.heads.get(key)) as Buffer
      for (let index = 0; index < record.length; index++) {
        const changed = Buffer.from(record)
        changed[index] = (changed[index] as number) ^ (1 << (index % 8))
        await raw.heads.set(key, changed, undefined)
        assert.equal(await cache.get(`${url}/small`), undefined)
        await isRemoved(raw.heads, key)
      }
      await delay(5)
      assert.equal(errors.length, record.length)
      await raw.heads.set(key, record, undefined)
      assert.ok(await cache.get(`${url}/small`))
    })

    test('any length of a response: cut off, it is a miss and an event', async (t) => {
      const { cache, errors, url, raw, fetchText } = await prepared(t)
      await fetchText(`${url}/small`)
      const { key } = (await cache.get(`${url}/small`)) as { key: string }
      const record = (await raw.heads.get(key)) as Buffer
      for (let length = 1; length < record.length; length++) {
        await raw.heads.set(key, record.subarray(0, length), undefined)
        assert.equal(await cache.get(`${url}/small`), undefined)
        await isRemoved(raw.heads, key)
      }
      await delay(5)
      assert.equal(errors.length, record.length - 1)
    })

    for (const options of [{ encrypt: KEY }, { encrypt: KEY, compress: 'zstd' }] as const) {
      const how = 'compress' in options ? 'compressed and encrypted' : 'encrypted'
      test(`any byte of large content that is ${how}: changed or cut off, it is a miss`, async (t) => {
        const { errors, url, raw, seen, fetchText } = await prepared(t, options)
        await fetchText(`${url}/large`)
        const damage = fc.record({ at: fc.nat(), bit: fc.nat(7), isCut: fc.boolean() })
        await fc.assert(
          fc.asyncProperty(damage, async ({ at, bit, isCut }) => {
            const [, chunks] = await raw.all()
            const [key, bytes] = [...chunks].find(([each]) => each.endsWith('.0')) as [
              string,
              Buffer,
            ]
            const index = at % bytes.length
            const changed = Buffer.from(isCut ? bytes.subarray(0, index) : bytes)
            if (!isCut) changed[index] = (changed[index] as number) ^ (1 << bit)
            await raw.chunks.set(key, changed, undefined)
            const before = [seen.length, errors.length] as const
            const { body, status } = await fetchText(`${url}/large`)
            assert.equal(status, 'miss')
            assert.ok(CONTENTS['/large']?.equals(Buffer.from(body)))
            await delay(2)
            assert.equal(seen.length, before[0] + 1)
            assert.ok(errors.length > before[1])
            // What was stored anew.
            for (const each of chunks.keys()) await raw.chunks.delete([each])
          }),
          { numRuns: 25 },
        )
      })
    }

    test('the middle of content is never anything else: the caller is told, or gets the right bytes', async (t) => {
      const { url, raw, fetchText, agent } = await prepared(t, { encrypt: KEY, compress: 'brotli' })
      await fetchText(`${url}/large`)
      const [, chunks] = await raw.all()
      const [key, bytes] = [...chunks].find(([each]) => each.endsWith('.2')) as [string, Buffer]
      bytes[bytes.length - 1] = (bytes.at(-1) as number) ^ 1
      await raw.chunks.set(key, bytes, undefined)
      const isRight = ({ body }: { body: string }) =>
        CONTENTS['/large']?.equals(Buffer.from(body)) === true
      const isToldOrRight = await get(agent, `${url}/large`).then(isRight, () => true)
      assert.ok(isToldOrRight && isRight(await fetchText(`${url}/large`)))
    })

    test('responses exchanged with each other are misses', async (t) => {
      const { cache, errors, url, raw, fetchText } = await prepared(t)
      const keys: string[] = []
      for (const path of ['/small', '/other']) {
        await fetchText(url + path)
        keys.push((await cache.get(url + path))?.key as string)
      }
      const [one, other] = keys as [string, string]
      const [first, second] = [await raw.heads.get(one), await raw.heads.get(other)]
      await raw.heads.set(one, second as Buffer, undefined)
      await raw.heads.set(other, first as Buffer, undefined)
      for (const path of ['/small', '/other']) assert.equal(await cache.has(url + path), false)
      await delay(5)
      assert.equal(errors.length, 2)
      for (const error of errors) assert.match(error, /changed, moved/)
    })

    test('so are variants, and responses for other credentials', async (t) => {
      const { errors, url, raw, fetchText, seen } = await prepared(t)
      const users = [{ authorization: 'one' }, { authorization: 'other' }]
      for (const headers of users) await fetchText(`${url}/small`, headers)
      const [heads] = await raw.all()
      const [one, other] = [...heads].filter(
        ([key, bytes]) => key !== 'secret' && !bytes.includes('"variants"'),
      )
      await raw.heads.set(one?.[0] as string, other?.[1] as Buffer, undefined)
      await raw.heads.set(other?.[0] as string, one?.[1] as Buffer, undefined)
      for (const headers of users) {
        assert.equal((await fetchText(`${url}/small`, headers)).status, 'miss')
      }
      assert.equal(seen.length, 4)
      await delay(5)
      assert.ok(errors.length >= 2)
    })

    test('a chunk in another place, or of other content, is a miss', async (t) => {
      const { errors, url, raw, fetchText } = await prepared(t)
      for (const source of ['another place', 'other content', 'a head']) {
        await fetchText(`${url}/large`)
        await fetchText(`${url}/noise`)
        const [heads, chunks] = await raw.all()
        const places = [...chunks.keys()]
        const large = places.find((key) => key.endsWith('.2'))?.split('.')[0]
        const noise = places.find((key) => !key.startsWith(large as string))?.split('.')[0]
        const key = `${large}.0`
        const bytes = {
          'another place': chunks.get(`${large}.1`),
          'other content': chunks.get(`${noise}.0`),
          'a head': [...heads.values()][0],
        }[source]
        await raw.chunks.set(key, bytes as Buffer, undefined)
        assert.equal((await fetchText(`${url}/large`)).status, 'miss', source)
        await raw.chunks.delete(places)
      }
      await delay(5)
      assert.ok(errors.length >= 3)
    })

    test('what is removed takes its content along, before long', async (t) => {
      const { url, cache, raw, fetchText } = await prepared(t)
      await fetchText(`${url}/large`)
      const { key } = (await cache.get(`${url}/large`)) as { key: string }
      const record = (await raw.heads.get(key)) as Buffer
      record[record.length - 1] = (record.at(-1) as number) ^ 1
      await raw.heads.set(key, record, undefined)
      assert.equal(await cache.has(`${url}/large`), false)
      await cache.responses.freed()
      t.mock.timers.enable({ apis: ['Date'], now: Date.now() + AFTER_A_WHILE })
      await cache.responses.freed()
      const [heads, chunks] = await raw.all()
      assert.deepEqual([heads.size, chunks.size], [0, 0])
    })

    for (let round = 0; round < 5; round++) {
      test(`records of any other kind are misses, and no crash: ${round}`, async (t) => {
        const { url, cache, raw, fetchText, seen } = await prepared(
          t,
          [{}, { encrypt: KEY }, { compress: 'gzip' }][round % 3] as AgentOptions,
        )
        await fetchText(`${url}/page`)
        await fetchText(`${url}/large`)
        const [heads, chunks] = await raw.all()
        const made = fc.sample(fc.uint8Array({ minLength: 1, maxLength: 400 }), 60)
        for (const [index, bytes] of made.entries()) {
          bytes[0] = index % 5
          // Lengths that are plausible.
          if (bytes.length > 9 && index % 2) Buffer.from(bytes.buffer).writeUInt32LE(index % 40, 5)
          for (const key of heads.keys()) await raw.heads.set(key, Buffer.from(bytes), undefined)
          for (const key of chunks.keys()) await raw.chunks.set(key, Buffer.from(bytes), undefined)
          assert.equal(await cache.has(`${url}/page`), false)
          assert.deepEqual(await cache.urls(), [])
        }
        const before = seen.length
        assert.equal((await fetchText(`${url}/large`)).status, 'miss')
        assert.equal((await fetchText(`${url}/page`)).status, 'miss')
        assert.equal(seen.length, before + 2)
      })
    }
  })
}

suite('an encrypted cache file', () => {
  test('tells nothing, open or closed, nor does its log', async (t) => {
    const { url } = await telling(t)
    const path = join(folder(), 'cache.sqlite')
    const encrypt = { keys: { one: KEY }, indexKey: INDEX }
    const { agent, fetchText, cache } = agentOn(t, `sqlite://${path}`, { encrypt })
    for (const path of Object.keys(CONTENTS)) {
      for (const user of ['one', 'my-credentials'])
        await fetchText(url + path, { authorization: user })
    }
    const key = (await cache.get(`${url}/large`, { headers: { authorization: 'one' } }))?.key
    const inspected = () => {
      const files = ['', '-wal', '-shm'].map((suffix) => path + suffix).filter(existsSync)
      for (const file of files) assertTellsNothing(readFileSync(file), file)
      return files.length
    }
    assert.equal(inspected(), 3)
    await agent.close()
    assert.ok(inspected() > 0)
    // The key is that of the index, not one that anybody can calculate.
    const guessed = (await get(testAgent(t), `${url}/large`)).info?.key as string
    assert.match(guessed, /^[\da-f]{64}$/)
    assert.notEqual(key, guessed)
    assert.equal(readFileSync(path).includes(guessed), false)
    assert.equal(readFileSync(path).includes(key as string), true)
  })

  const noFiles = !existsSync('/proc/self/fd') && 'it cannot be seen here which files are open'
  test('nor do the files that are open while it is sorted', { skip: noFiles }, async (t) => {
    const open = () =>
      readdirSync('/proc/self/fd').filter((fd) => isTemporary(`/proc/self/fd/${fd}`))
    const before = open()
    for (const sealing of [{}, { encrypt: KEY }]) {
      const cache = new HttpCache({ store: 'memory:', memory: false, ...sealing })
      t.after(() => cache.close())
      const query = 'can be found'.repeat(200)
      const save = (_: unknown, index: number) =>
        cache.save(
          new Request(`http://example.org/${index}?${query}`),
          new Response('', { headers: { 'Cache-Control': 'max-age=60' } }),
        )
      await Promise.all(Array.from({ length: 2100 }, save))
      let count = 0
      let opened: string[] = []
      for await (const _ of cache.entries({ sort: 'storedAt' })) {
        if (count === 0) opened = open().filter((fd) => !before.includes(fd))
        count += 1
      }
      assert.equal(count, 2100)
      assert.equal(opened.length, 'encrypt' in sealing ? 0 : 1)
    }
  })

  test('counts and is limited as any other', async (t) => {
    const { url } = await telling(t)
    const path = join(folder(), 'cache.sqlite')
    const options = { encrypt: KEY, maxEntries: 5 }
    const { agent, fetchText, cache, errors } = agentOn(t, `sqlite://${path}`, options)
    for (const language of ['de', 'en']) {
      await fetchText(`${url}/page`, { 'accept-language': language, authorization: 'a' })
    }
    assert.equal(await cache.count(), 2)
    for (let n = 0; n < 10; n++) await fetchText(`${url}/small?${n}`, { authorization: 'a' })
    await cache.responses.limitsKept()
    assert.ok((await cache.count()) <= 5)
    assert.equal((await fetchText(`${url}/small?9`, { authorization: 'a' })).status, 'hit')
    assert.deepEqual(errors, [])
    await agent.close()
  })
})

suite('an index key', () => {
  const key = { encrypt: { keys: { one: KEY } } }
  const indexed = { encrypt: { keys: { one: KEY }, indexKey: INDEX } }
  const ends = { none: {}, one: indexed, another: { encrypt: { keys: { two: OTHER }, indexKey: OTHER } } } // biome-ignore format: a row
  const requests: [path: string, headers: Record<string, string>][] = [
    ['/page', { 'accept-language': 'language-of-mine' }],
    ['/page', { 'accept-language': 'another' }],
    ['/large', {}],
    ['/small', { authorization: 'my-credentials' }],
  ]
  const all = async ({ fetchText }: ReturnType<typeof agentOn>, url: string) => {
    const statuses: unknown[] = []
    for (const [path, headers] of requests)
      statuses.push((await fetchText(url + path, headers)).status)
    return new Set(statuses)
  }

  for (const [before, from] of Object.entries(ends)) {
    for (const [after, to] of Object.entries(ends)) {
      test(`a copy of a cache with ${before} can be used in one with ${after}`, async (t) => {
        const { url, seen } = await telling(t)
        const [source, target] = [agentOn(t, 'memory:', from), agentOn(t, 'memory:', to)]
        await all(source, url)
        const { copied, unusable } = await source.cache.copyTo(target.cache)
        assert.deepEqual({ copied, unusable }, { copied: 4, unusable: 0 })
        assert.equal((await source.cache.copyTo(target.cache)).skipped, 4)
        assert.deepEqual(await all(target, url), new Set(['hit']))
        assert.equal(seen.length, 4)
        assert.deepEqual(target.errors, [])
      })
    }
  }

  test('a copy leaves out of what not all is known that a key was made of', async (t) => {
    const { url } = await telling(t)
    const terms = { allowedMethods: ['GET', 'POST'] }
    const source = agentOn(t, 'memory:', { ...indexed, ...terms })
    await get(source.agent, `${url}/small`, { method: 'POST', body: 'question' })
    await source.fetchText(`${url}/page`)
    const counts = async (options: AgentOptions) => {
      const { cache } = agentOn(t, 'memory:', { ...options, ...terms })
      const { copied, unusable } = await source.cache.copyTo(cache)
      return [copied, unusable]
    }
    assert.deepEqual(await counts(indexed), [2, 0])
    assert.deepEqual(await counts({}), [1, 1])
  })

  test('nor can it be found out for which fields a variant is', async (t) => {
    const { url } = await telling(t)
    const none = { ':credentials': null, authorization: null, cookie: null }
    for (const [sealing, isGuessed] of [
      [key, true],
      [indexed, false],
    ] as const) {
      const store = new Map()
      const { fetchText } = agentOn(t, store, sealing)
      for (const language of ['language-of-mine', 'another']) {
        await fetchText(`${url}/page`, { 'accept-language': language })
      }
      const [heads] = await (await rawOf(store)).all()
      const keys = [...heads.keys()]
      const guess = (cacheKey: string) =>
        variantKey(cacheKey, { 'accept-language': 'language-of-mine', ...none })
      assert.equal(
        keys.some((cacheKey) => keys.includes(guess(cacheKey))),
        isGuessed,
      )
    }
  })

  test('that is new is for what is there already as well, after rekey', async (t) => {
    const { url, seen } = await telling(t)
    const store = new Map()
    await all(agentOn(t, store, key), url)
    const later = agentOn(t, store, indexed)
    assert.equal((await later.fetchText(`${url}/large`)).status, 'miss')
    assert.deepEqual(await later.cache.rekey(), { moved: 4, unchanged: 1, unknown: 0 })
    assert.deepEqual(await all(later, url), new Set(['hit']))
    assert.equal(seen.length, 5)
  })
})

suite('limits', () => {
  for (const store of ['memory:', 'sqlite:'] as const) {
    test(`${store} size and limits are those of what is stored`, async (t) => {
      const content = randomBytes(50_000).toString('hex')
      const { url } = await origin(t, (_, response) => response.end(content))
      const path = join(folder(), 'cache.sqlite')
      const where = store === 'memory:' ? store : `sqlite://${path}`
      const options = { compress: 'brotli', maxSize: 700_000 } as const
      const { fetchText, cache } = agentOn(t, where, options)
      // As it is, half of it would not fit.
      for (let n = 0; n < 10; n++) await fetchText(`${url}/${n}`)
      await cache.responses.limitsKept()
      assert.equal(await cache.count(), 10)
      const size = await cache.size()
      assert.ok(size > 500_000 && size < 650_000, `${size}`)
      assert.equal((await cache.get(`${url}/0`))?.size, content.length)

      for (let n = 10; n < 20; n++) await fetchText(`${url}/${n}`)
      await cache.responses.limitsKept()
      await cache.responses.freed()
      const kept = await cache.count()
      assert.ok(kept >= 9 && kept <= 13, `${kept}`)
      assert.equal(await cache.has(`${url}/19`), true)
      assert.equal(await cache.has(`${url}/0`), false)
    })
  }
})

suite('what is compressed while it is received', () => {
  for (const [name, storeOf] of Object.entries(OPEN)) {
    test(`leaves nothing behind in ${name} where it is given up`, async (t) => {
      const content = randomBytes(2_000_000).toString('hex')
      const { url } = await origin(t, (_, response) => response.end(content))
      const store = storeOf()
      // Most of it is still being compressed then.
      const compress = { algorithm: 'brotli', level: 9 } as const
      const { agent, errors } = agentOn(t, store, { compress })
      const controller = new AbortController()
      const { body } = await fetchWith(agent, url, { signal: controller.signal })
      let length = 0
      await assert.rejects(async () => {
        for await (const piece of body as ReadableStream<Uint8Array>) {
          length += piece.length
          if (length > 2_000_000) controller.abort()
        }
      })
      await agent.close()
      // Nothing of it is written afterwards either.
      await delay(300)
      assert.deepEqual(errors, [])
      const raw = await rawOf(store)
      const [heads, chunks] = await raw.all()
      assert.deepEqual([heads.size, chunks.size], [0, 0])
      await raw.close()
    })
  }

  test('is written before the cache is closed, and nothing after it', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(TEXT.repeat(40_000)))
    const path = join(folder(), 'cache.sqlite')
    const compress = { algorithm: 'brotli', level: 9 } as const
    const first = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h', compress })
    const errors: string[] = []
    first.cache.on('error', ({ error }) => errors.push(error.message))
    await get(first, url)
    await first.close()
    await delay(20)
    assert.deepEqual(errors, [])
    const second = agentOn(t, `sqlite://${path}`, {})
    const { status, body } = await second.fetchText(url)
    assert.deepEqual([status, body.length], ['hit', TEXT.length * 40_000])
  })

  test('is in memory as it is, and read from there', async (t) => {
    const { url } = await telling(t)
    let reads = 0
    const map = new Map<string, unknown>()
    const counting = adapter(
      {
        get: async (key: string) => {
          reads += 1
          return map.get(key)
        },
      },
      map,
    )
    const agent = testAgent(t, {
      ...{ store: counting, expireAfter: '1h' },
      ...{ compress: 'zstd', encrypt: KEY },
    })
    for (const path of ['/page', '/large']) {
      await get(agent, url + path)
      await get(agent, url + path)
      await agent.cache.responses.settled()
      await get(agent, url + path)
      const before = reads
      const { body, info } = await get(agent, url + path)
      assert.equal(info?.status, 'hit')
      assert.ok(body.startsWith(TEXT))
      if (path === '/page') assert.equal(reads, before)
    }
  })
})

suite('keys', () => {
  test('are nowhere to be seen', async (t) => {
    const { url } = await telling(t)
    const key = randomBytes(32)
    const forms = [key.toString('latin1'), key.toString('hex'), key.toString('base64')]
    const store = new Map()
    const errors: unknown[] = []
    for (const encrypt of [
      key,
      key.toString('hex'),
      { keys: { a: key.toString('base64') }, indexKey: key },
      { keys: { b: createSecretKey(key) } },
    ]) {
      const { agent, cache, fetchText } = agentOn(t, store, { encrypt })
      cache.on('error', (event) => errors.push(event))
      await fetchText(`${url}/page`)
      const shown = [agent, cache, agent.with({}), errors, store]
        .map((each) => inspect(each, { depth: Infinity, showHidden: true, maxStringLength: null, maxArrayLength: null })) // biome-ignore format: one claim
        .concat(JSON.stringify(errors))
      for (const form of forms) assert.equal(shown.join().includes(form), false)
      // As inspect shows bytes.
      assert.equal(shown.join().includes((key.toString('hex').match(/../g) as string[]).join(' ')), false) // biome-ignore format: one claim
    }
    await delay(5)
    assert.ok(errors.length > 0)
  })
})

suite('a Node without zstd', () => {
  test('says so where it is asked for it, and reads no such records', async (t) => {
    const { url } = await telling(t)
    const store = new Map()
    const before = agentOn(t, store, { compress: 'zstd' })
    await before.fetchText(`${url}/page`)
    const { zstdCompress, zstdCompressSync } = zlib
    Object.assign(zlib, { zstdCompress: undefined, zstdCompressSync: undefined })
    t.after(() => Object.assign(zlib, { zstdCompress, zstdCompressSync }))
    assert.throws(() => new HttpCache({ store: 'memory:', compress: 'zstd' }), {
      name: 'Error',
      message: `compress: zstd needs Node 22.15 or newer, and this is ${process.version}; "brotli" and "gzip" do not`,
    })
    const after = agentOn(t, store, { compress: 'gzip' })
    assert.equal((await after.fetchText(`${url}/page`)).status, 'miss')
    assert.equal((await after.fetchText(`${url}/page`)).status, 'hit')
    assert.match(after.errors.join(), /cannot be decompressed/)
  })
})
