import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import KeyvPostgres from '@keyv/postgres'
import KeyvRedis, { createClient, createCluster } from '@keyv/redis'
import KeyvValkey from '@keyv/valkey'
import type { StoreOption } from 'caching-agent'
import { Keyv } from 'keyv'
import KeyvRedis5 from 'keyv-redis5'
import { Keyv as Keyv5 } from 'keyv5'
import { LRUCache } from 'lru-cache'
import { adapter } from './adapter.ts'
import {
  noPostgres,
  noRedis,
  PASSWORD,
  serverUrl,
  startPostgres,
  startRedis,
  startRedisCluster,
} from './servers.ts'

const folder = mkdtempSync(join(tmpdir(), 'caching-agent-stores-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

let count = 0

/**
 * All kinds of stores, by name. Each call makes another one; what was handed over is closed after all
 * tests of the file.
 */
export const stores: Record<string, () => StoreOption> = {
  'memory:': () => 'memory:',
  'sqlite://': () => `sqlite://${join(folder, `store${count++}.sqlite`)}`,
  'sqlite://:memory:': () => 'sqlite://:memory:',
  'a Map': () => new Map(),
  'an LRU cache': () => new LRUCache({ max: 1000 }),
  'an asynchronous adapter': () => adapter(),
  'a Keyv 6': () => new Keyv({ namespace: 'mine' }),
  'a Keyv 6 without a namespace': () => new Keyv(),
  'a Keyv 5': () => new Keyv5({ namespace: 'mine' }),
  'a Keyv 5 over a Map': () => new Keyv5({ store: new Map() }),
}

const handedOver: { disconnect(): Promise<unknown> }[] = []
after(async () => {
  for (const adapter of handedOver) await adapter.disconnect()
})

/** Has an adapter closed after all tests of the file. */
export function handOver<T extends { disconnect(): Promise<unknown> }>(adapter: T): T {
  handedOver.push(adapter)
  return adapter
}

// Before any test, as tests begin while a module waits.
/** A Redis server; undefined where there can be none. */
export const redis = noRedis ? undefined : await startRedis()
const cluster = noRedis ? undefined : await startRedisCluster()
/** A PostgreSQL server; undefined where there can be none. */
export const postgres = noPostgres ? undefined : await startPostgres()
if (noRedis) test('Redis and Valkey', { skip: noRedis }, () => {})
if (noPostgres) test('PostgreSQL', { skip: noPostgres }, () => {})

if (redis && cluster) {
  const url = serverUrl('redis', redis)
  const namespace = () => ({ namespace: `test${count++}` })
  const bytes = { commandOptions: { typeMapping: { 36: Buffer } } }
  const onRedis: typeof stores = {
    'redis://': () => `${url}?namespace=test${count++}`,
    'valkey://': () => `${serverUrl('valkey', redis)}?namespace=test${count++}`,
    'a KeyvRedis': () => handOver(new KeyvRedis(url, namespace())),
    'a KeyvRedis whose client returns bytes': () =>
      handOver(new KeyvRedis(createClient({ url, ...bytes }) as never, namespace())),
    'a KeyvRedis over a cluster': () => {
      const rootNodes = [{ url: serverUrl('redis', cluster) }]
      const client = createCluster({ rootNodes, defaults: { password: PASSWORD } })
      return handOver(new KeyvRedis(client as never, namespace()))
    },
    'a KeyvRedis of Keyv 5': () => handOver(new KeyvRedis5(url, namespace())),
    'a KeyvValkey': () => handOver(new KeyvValkey(url)),
    'a Keyv 6 over a KeyvRedis': () =>
      handOver(new Keyv({ store: new KeyvRedis(url), ...namespace() })),
    'a Keyv 5 over a KeyvRedis of Keyv 5': () =>
      handOver(new Keyv5({ store: new KeyvRedis5(url), ...namespace() })),
    'a Keyv 5 over a KeyvValkey': () =>
      handOver(new Keyv5({ store: new KeyvValkey(url), ...namespace() })),
  }
  Object.assign(stores, onRedis)
}

if (postgres) {
  const url = serverUrl('postgres', postgres)
  const onPostgres: typeof stores = {
    'postgres://': () => `${url}?namespace=test${count++}`,
    'a KeyvPostgres': () => handOver(new KeyvPostgres({ uri: url, table: `test${count++}` })),
    'a Keyv 6 over a KeyvPostgres': () =>
      handOver(new Keyv({ store: new KeyvPostgres({ uri: url }), namespace: `test${count++}` })),
  }
  Object.assign(stores, onPostgres)
}

/** For where servers share the machine with everything else that is being tested. */
export const PATIENT = { read: '30s', write: '30s' }

/** The one that cannot list what it has. */
export const UNLISTED = 'an asynchronous adapter'
