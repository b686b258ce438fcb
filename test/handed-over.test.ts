import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import KeyvPostgres from '@keyv/postgres'
import KeyvRedis from '@keyv/redis'
import { KeyvSqlite } from '@keyv/sqlite'
import KeyvValkey from '@keyv/valkey'
import type { StoreOption } from 'caching-agent'
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
