import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay, setImmediate } from 'node:timers/promises'
import { gunzipSync, gzipSync } from 'node:zlib'
import KeyvPostgres from '@keyv/postgres'
import KeyvRedis from '@keyv/redis'
import { KeyvSqlite } from '@keyv/sqlite'
import KeyvValkey from '@keyv/valkey'
import type { CachingAgent, StoreOption } from 'caching-agent'
import { Keyv } from 'keyv'
import KeyvRedis5 from 'keyv-redis5'
import { Keyv as Keyv5 } from 'keyv5'
import { Events } from '../lib/observe/events.ts'
import { openStore } from '../lib/storage/open-store.ts'
import { get, testAgent } from './helpers/agent.ts'
import { handOver, PATIENT, postgres, redis } from './helpers/backends.ts'
import { origin } from './helpers/origin.ts'
import { serverUrl } from './helpers/servers.ts'

/** What an adapter for Keyv 6 does, over a Map that it connects to when it is first used. */
abstract class MapAdapter {
  readonly capabilities: { expires: boolean } | undefined = { expires: true }
  connections = 0
  map: Map<string, [value: unknown, expires: number | undefined]> | undefined
  abstract namespace: string | undefined

  connect() {
    if (this.map === undefined) this.connections += 1
    this.map ??= new Map()
    return this.map
  }

  name(key: string) {
    return `${this.namespace}/${key}`
  }

  async get(key: string) {
    const [value, expires = Infinity] = this.connect().get(this.name(key)) ?? []
    return expires < Date.now() ? undefined : value
  }

  async has(key: string) {
    return (await this.get(key)) !== undefined
  }

  async set(key: string, value: unknown, expires?: number) {
    this.connect().set(this.name(key), [value, expires])
    return true
  }

  async setMany(entries: { key: string; value: unknown; expires?: number }[]) {
    return Promise.all(entries.map(({ key, value, expires }) => this.set(key, value, expires)))
  }

  async delete(key: string) {
    return this.connect().delete(this.name(key))
  }

  async getMany(keys: string[]) {
    return Promise.all(keys.map((key) => this.get(key)))
  }

  async hasMany(keys: string[]) {
    return Promise.all(keys.map((key) => this.has(key)))
  }

  async deleteMany(keys: string[]) {
    return Promise.all(keys.map((key) => this.delete(key)))
  }

  async clear() {
    for await (const [key] of this.iterator()) await this.delete(key)
  }

  async *iterator() {
    const prefix = this.name('')
    for (const [name, [value]] of this.connect()) {
      if (name.startsWith(prefix)) yield [name.slice(prefix.length), value] as [string, unknown]
    }
  }
}

class PlainAdapter extends MapAdapter {
  namespace: string | undefined
}

/** Keyv 6 puts a bridge before it. */
class OlderAdapter extends PlainAdapter {
  override readonly capabilities = undefined
}

class SettingAdapter extends MapAdapter {
  private readonly options: { namespace?: string | undefined } = {}
  private prefix: string | undefined
  get namespace() {
    return this.options.namespace
  }
  set namespace(namespace) {
    this.options.namespace = namespace
    this.prefix = namespace && `[${namespace}]`
  }
  override name(key: string) {
    return `${this.prefix}${key}`
  }
}

class PrivateAdapter extends MapAdapter {
  #namespace: string | undefined
  get namespace() {
    return this.#namespace
  }
  set namespace(namespace) {
    this.#namespace = namespace
  }
}

class PrivateMapAdapter extends MapAdapter {
  namespace: string | undefined
  readonly #map: Map<string, [value: unknown, expires: number | undefined]> = new Map()
  override connect() {
    this.connections = 1
    return this.#map
  }
}

/** Makes an adapter, and says whether it can be in two namespaces at once. */
type Make = [make: () => MapAdapter | KeyvSqlite | KeyvPostgres, isApart: boolean]

const adapters: Record<string, Make> = {
  'a KeyvSqlite': [() => new KeyvSqlite('sqlite://:memory:'), true],
  'an adapter with a namespace that is a property': [() => new PlainAdapter(), true],
  'an adapter for Keyv 5': [() => new OlderAdapter(), true],
  'an adapter with a namespace in its options': [() => new SettingAdapter(), false],
  'an adapter with a private namespace': [() => new PrivateAdapter(), false],
  'an adapter with a private connection': [() => new PrivateMapAdapter(), false],
}
if (postgres) {
  const uri = serverUrl('postgres', postgres)
  let count = 0
  const make = () => handOver(new KeyvPostgres({ uri, table: `handed_over${count++}` }))
  adapters['a KeyvPostgres'] = [make, true]
}

for (const [name, [make, isApart]] of Object.entries(adapters)) {
  suite(`${name} that was handed over`, () => {
    for (const order of ['before', 'after']) {
      test(`stays in the namespace that its owner gave it ${order} the cache was opened`, async (t) => {
        const { url } = await origin(t, (_, response) => response.end('content'))
        const adapter = make()
        const own = () => new Keyv({ store: adapter as never, namespace: 'mine' })
        const before = order === 'before' ? own() : undefined
        await before?.set('mine', 'untouched')
        const namespace = before && 'mine'
        const agent = testAgent(t, {
          expireAfter: '1h',
          store: adapter as unknown as StoreOption,
          deadlines: PATIENT,
        })
        assert.equal(adapter.namespace, namespace)
        const mine = before ?? own()
        await mine.set('mine too', 'untouched')
        assert.equal((await get(agent, url)).info?.status, 'miss')
        assert.equal((await get(agent, url)).info?.status, 'hit')
        assert.equal(await mine.get('mine'), before && 'untouched')
        assert.equal(await agent.cache.count(), 1)
        if (isApart) {
          await mine.clear()
          assert.equal(await agent.cache.count(), 1)
          await mine.set('mine too', 'untouched')
        }
        await agent.cache.clear()
        assert.equal(await agent.cache.count(), 0)
        assert.equal(await mine.get('mine too'), 'untouched')
        assert.equal(adapter.namespace, 'mine')
        if ('connections' in adapter) assert.equal(adapter.connections, 1)
      })
    }

    if (isApart) {
      test('has what was stored in it when it was taken away from its owner', async () => {
        const former = new Keyv({ store: make() as never, namespace: 'caching-agent' })
        await former.set('response.key', Buffer.from('as it was').toString('base64'))
        const { store } = former as unknown as { store: StoreOption & { namespace?: string } }
        store.namespace = 'mine'
        const { heads } = openStore(store, new Events(), { read: 30_000, write: 30_000 })
        assert.equal((await heads.get('key'))?.toString(), 'as it was')
      })
    }
  })
}

/** Makes a Keyv with a namespace, and says whether it can list what is in one with characters of patterns. */
type MakeKeyv = [make: (namespace: string | undefined) => Keyv | Keyv5, isListed: boolean]

const five =
  (store: () => object): MakeKeyv[0] =>
  (namespace) =>
    handOver(new Keyv5({ store: store(), namespace } as object))
const six =
  (store: () => object): MakeKeyv[0] =>
  (namespace) =>
    handOver(new Keyv({ store: store(), namespace } as object))
const keyvs: Record<string, MakeKeyv> = {
  'a Keyv 5 over a Map': [five(() => new Map()), true],
  'a Keyv 6 over a Map': [six(() => new Map()), true],
  'a Keyv 6 over a KeyvSqlite': [six(() => new KeyvSqlite('sqlite://:memory:')), true],
}
if (redis) {
  const url = serverUrl('redis', redis)
  // Each in a database of its own, as what is in no namespace is in all of them.
  const valkey = (database: number) => () => new KeyvValkey(`${url}/${database}`)
  const withoutSets = () => new KeyvValkey(url, { useRedisSets: false })
  Object.assign(keyvs, {
    'a Keyv 5 over a KeyvRedis of Keyv 5': [five(() => new KeyvRedis5(`${url}/1`)), false],
    'a Keyv 5 over a KeyvValkey': [five(valkey(2)), false],
    'a Keyv 5 over a KeyvValkey without sets': [five(withoutSets), false],
    'a Keyv 6 over a KeyvRedis': [six(() => new KeyvRedis(`${url}/3`)), false],
    'a Keyv 6 over a KeyvValkey': [six(valkey(4)), false],
    'a Keyv 6 over a KeyvValkey without sets': [six(withoutSets), false],
  } satisfies typeof keyvs)
}

for (const [name, [make, isListed]] of Object.entries(keyvs)) {
  suite(`${name} that was handed over`, () => {
    for (const namespace of ['mine', 'my:app', 'a::b:', ':', '[a]', 'a*', 'a\\b', undefined]) {
      test(`with the namespace ${namespace} lists and clears what is there, or says that it cannot`, async (t) => {
        const { url } = await origin(t, (_, response) => response.end('content'))
        const keyv = make(namespace) as Keyv
        const agent = testAgent(t, { expireAfter: '1h', store: keyv, deadlines: PATIENT })
        await keyv.set('mine', 'untouched')
        await get(agent, `${url}/1`)
        await get(agent, `${url}/2`)
        await agent.cache.responses.settled()
        const isUnlisted =
          (!isListed && /[[\\]/.test(namespace ?? '')) ||
          (namespace === undefined && (keyv instanceof Keyv5 || name.includes('Valkey'))) ||
          name.endsWith('without sets')
        if (isUnlisted) {
          await assert.rejects(agent.cache.count(), /cannot list/)
          await assert.rejects(agent.cache.urls(), /cannot list/)
          await assert.rejects(agent.cache.clear(), /cannot list/)
        } else {
          assert.deepEqual(await agent.cache.urls(), [`${url}/1`, `${url}/2`])
          assert.equal(await agent.cache.count(), 2)
          await agent.cache.clear()
          assert.equal(await agent.cache.count(), 0)
          assert.equal((await get(agent, `${url}/1`)).info?.status, 'miss')
        }
        assert.equal(await keyv.get('mine'), 'untouched')
        await agent.cache.delete(`${url}/1`)
      })
    }
  })
}

/** The parts of what tells of events that say who listens. */
interface Emitter {
  on(event: string, listener: (error: unknown) => void): unknown
  off(event: string, listener: (error: unknown) => void): unknown
  emit(event: string, error: Error): unknown
  listeners(event: string): readonly unknown[]
}

/** What is handed over, and what tells of its events: itself, an adapter below it, or a client. */
const heard: Record<string, () => [store: object, ...emitters: unknown[]]> = {
  'a Keyv 5': () => withEmitters(new Keyv5({ namespace: 'mine' })),
  'a Keyv 6': () => withEmitters(new Keyv({ namespace: 'mine' })),
  'a KeyvSqlite': () => withEmitters(new KeyvSqlite('sqlite://:memory:')),
}
if (redis) {
  const url = serverUrl('redis', redis)
  Object.assign(heard, {
    'a KeyvRedis': () => {
      const adapter = handOver(new KeyvRedis(url))
      return withEmitters(adapter, adapter.client)
    },
    'a KeyvRedis of Keyv 5': () => {
      const adapter = handOver(new KeyvRedis5(url))
      return withEmitters(adapter, adapter.client)
    },
    'a KeyvValkey': () => {
      const adapter = handOver(new KeyvValkey(url))
      return withEmitters(adapter, adapter.redis)
    },
    'a Keyv 6 over a KeyvRedis': () => {
      const adapter = new KeyvRedis(url)
      return withEmitters(handOver(new Keyv({ store: adapter })), adapter, adapter.client)
    },
    'a Keyv 5 over a KeyvValkey': () => {
      const adapter = new KeyvValkey(url)
      return withEmitters(handOver(new Keyv5({ store: adapter })), adapter, adapter.redis)
    },
  } satisfies typeof heard)
}

function withEmitters(store: object, ...emitters: unknown[]): [object, ...unknown[]] {
  return [store, store, ...emitters]
}

const EVENTS = ['error', 'connect', 'disconnect', 'reconnecting']

for (const [name, make] of Object.entries(heard)) {
  suite(`the listeners at ${name} that was handed over`, () => {
    const open = async (t: TestContext, store: object, url: string) => {
      const agent = testAgent(t, { expireAfter: '1h', store: store as StoreOption })
      await get(agent, url)
      await agent.cache.responses.settled()
      return agent
    }

    test('are no more after 60 caches than before, and there is no warning, be they open together or not', async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const [store, ...given] = make()
      const emitters = given as Emitter[]
      const warnings: unknown[] = []
      const warn = (warning: unknown) => warnings.push(warning)
      process.on('warning', warn)
      t.mock.method(console, 'warn', warn)
      t.after(() => process.off('warning', warn))
      const owner = t.mock.fn()
      for (const emitter of emitters) emitter.on('error', owner)
      // What it opens by itself when it is first used, such as a connection, may be listened to.
      await (await open(t, store, url)).close()
      const count = () =>
        emitters.map((emitter) => EVENTS.map((event) => emitter.listeners(event).length))
      const before = count()
      for (let index = 0; index < 60; index++) await (await open(t, store, url)).close()
      assert.deepEqual(count(), before)
      const agents: CachingAgent[] = []
      for (let index = 0; index < 60; index++) agents.push(await open(t, store, url))
      for (const agent of agents) await agent.close()
      assert.deepEqual(count(), before)
      await setImmediate()
      assert.deepEqual(warnings, [])
      for (const emitter of emitters) emitter.off('error', owner)
    })

    test('tell each cache of errors until it is closed, and end no program after that', async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const [store, ...given] = make()
      const emitter = given.at(-1) as Emitter
      const first = await open(t, store, url)
      const second = await open(t, store, url)
      const told: string[] = []
      first.cache.on('error', ({ error }) => told.push(`first: ${(error as Error).message}`))
      second.cache.on('error', ({ error }) => told.push(`second: ${(error as Error).message}`))
      emitter.emit('error', new Error('one'))
      await setImmediate()
      await first.close()
      emitter.emit('error', new Error('two'))
      await setImmediate()
      await second.close()
      emitter.emit('error', new Error('three'))
      await setImmediate()
      assert.deepEqual([...new Set(told)], ['first: one', 'second: one', 'second: two'])
      const third = await open(t, store, url)
      third.cache.on('error', ({ error }) => told.push(`third: ${(error as Error).message}`))
      emitter.emit('error', new Error('four'))
      await setImmediate()
      assert.equal(told.at(-1), 'third: four')
      await third.close()
      for (const emitter of given as Emitter[]) assert.ok(emitter.listeners('error').length <= 5)
    })
  })
}

/** An adapter for Keyv 5 that returns what it was given as bytes. */
function bytesAdapter() {
  const map = new Map<string, Buffer>()
  return {
    get: async (key: string) => map.get(key),
    set: async (key: string, value: string) => map.set(key, Buffer.from(value)),
    delete: async (key: string) => map.delete(key),
    clear: async () => map.clear(),
    async *iterator() {
      yield* map
    },
  }
}

/** Compresses to bytes, as KeyvGzip does; what is not compressed it cannot read. */
const gzip = {
  compress: async (text: string) => gzipSync(text),
  decompress: async (bytes: Buffer) => gunzipSync(bytes).toString(),
}

const ofBytes: Record<string, [make: () => StoreOption, fill: (store: StoreOption) => unknown]> = {
  'an adapter that returns bytes': [
    bytesAdapter as () => StoreOption,
    (adapter) => (adapter as Map<string, string>).set('caching-agent::response.key', '{'),
  ],
  'a Keyv 6 that compresses to bytes': [
    () => new Keyv({ compression: gzip }),
    async (keyv) => {
      const { store } = keyv as unknown as { store: Map<string, unknown> }
      await store.set('response.key', Buffer.from('neither compressed nor text'))
    },
  ],
}

for (const [name, [make, fill]] of Object.entries(ofBytes)) {
  suite(name, () => {
    test('holds responses, for others too, and lists them', async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const store = make()
      for (const status of ['miss', 'hit']) {
        const agent = testAgent(t, { expireAfter: '1h', store })
        assert.equal((await get(agent, url)).info?.status, status)
        await agent.cache.responses.settled()
        assert.deepEqual(await agent.cache.urls(), [`${url}/`])
        await agent.close()
      }
    })

    test('forgets what has expired', async () => {
      const { heads } = openStore(make(), new Events())
      await heads.set('key', Buffer.from('content'), 60)
      assert.equal((await heads.get('key'))?.toString(), 'content')
      await delay(80)
      assert.equal(await heads.get('key'), undefined)
    })

    test('tells of what it cannot decode', async () => {
      const store = make()
      await fill(store)
      const { heads } = openStore(store, new Events())
      await assert.rejects(async () => heads.get('key'))
    })
  })
}
