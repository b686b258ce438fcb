import { hash } from 'node:crypto'
import { asError } from '../../observe/events.ts'
import type { ByteStore } from '../byte-store.ts'
import type { ErrorEmitter, ErrorListeners } from '../error-listeners.ts'
import { bytesKeyv, KeyvErrors, keyvStore } from '../keyv-store.ts'
import type { LeaseStore } from '../leases.ts'
import { DEFAULT_NAMESPACE, NAMES, type ServerStore } from './connection.ts'
import { keysWith, SCAN_COUNT, scannedStore } from './scanned-store.ts'

/** How clients are told to return strings of the Redis protocol as they are, not decoded as text. */
export const AS_BYTES: object = { 36: Buffer }

/** The parts of a client of a Redis server, cluster or sentinel that are used. */
export interface RedisClientLike extends ErrorEmitter {
  set(key: string, value: string, options: { NX?: true; PX: number }): Promise<unknown>
  get(key: string): Promise<unknown>
  del(key: string): Promise<unknown>
  eval(
    script: string,
    options: { keys: string[]; arguments: (string | Buffer)[] },
  ): Promise<unknown>
  unlink(key: string): Promise<unknown>
  withTypeMapping(mapping: object): RedisClientLike
  exists(key: string): Promise<unknown>
  pExpire(key: string, milliseconds: number): Promise<unknown>
  scan(
    cursor: string,
    options: { MATCH: string; COUNT: number },
  ): Promise<{ cursor: unknown; keys: string[] }>
}

/** The parts of a `KeyvRedis`, of @keyv/redis 5 or 6, that are used. */
export interface KeyvRedisLike {
  readonly client: RedisClientLike
  readonly namespace: string | undefined
  readonly keyPrefixSeparator: string
  readonly useUnlink: boolean
  getClient(): Promise<unknown>
  getMasterNodes(): Promise<RedisClientLike[]>
  createKeyPrefix(key: string, namespace?: string): string
}

/**
 * A store on Redis, in the namespace of an adapter whose client returns bytes.
 *
 * @param connect called before each operation; what is not connected then, fails
 */
export function redisStore(
  adapter: KeyvRedisLike,
  connect: () => Promise<unknown>,
  onError: (error: Error) => void,
): ServerStore {
  const { client } = adapter
  adapter.getClient = async () => {
    await connect()
    return client
  }
  const nameOf = (key: string) => adapter.createKeyPrefix(key, adapter.namespace)

  // The namespace of somebody else may begin with the whole of ours; our keys have nothing in common with one.
  const isOurs = (key: string) => !key.includes(adapter.keyPrefixSeparator || ':')

  async function* scan() {
    const prefix = nameOf('')
    for (const node of await adapter.getMasterNodes()) {
      const text = node.withTypeMapping({})
      let cursor = '0'
      do {
        const found = await text.scan(cursor, { MATCH: keysWith(prefix), COUNT: SCAN_COUNT })
        cursor = String(found.cursor)
        yield found.keys.map((name) => name.slice(prefix.length)).filter(isOurs)
      } while (cursor !== '0')
    }
  }

  async function expire(keys: readonly string[], timeToLive: number) {
    await adapter.getClient()
    await Promise.all(keys.map((key) => client.pExpire(nameOf(key), timeToLive)))
  }

  const keyv = bytesKeyv(adapter)
  const remove = (key: string) =>
    adapter.useUnlink ? client.unlink(nameOf(key)) : client.del(nameOf(key))
  const store: ByteStore = {
    ...keyvStore(keyv, 'bytes', new KeyvErrors(keyv, onError)),
    // The adapter does so in a transaction, which a server that is full refuses.
    async delete(keys) {
      await adapter.getClient()
      await Promise.all(keys.map(remove))
    },
  }
  const replace = replacing(store, async (key, ...values) => {
    await adapter.getClient()
    return client.eval(REPLACE, { keys: [nameOf(key)], arguments: values })
  })
  const exists = (key: string) => client.exists(nameOf(key))
  return { ...scannedStore(store, scan, expire, exists), replace }
}

/** Writes or deletes what is at a key if it has still the SHA-1 that is named; none where there was nothing. */
export const REPLACE = `local there = redis.call('GET', KEYS[1])
if (there and redis.sha1hex(there) or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1])
elseif ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1`

/** How a server says that it runs no scripts, or not for us. */
const NO_SCRIPTS = /^(?:ERR unknown command|NOPERM)/

/**
 * What writes to a store only if what was read is still there; without looking where the server lets nobody do so.
 *
 * @param run has the server run {@link REPLACE}
 */
export function replacing(
  store: ByteStore,
  run: (key: string, there: string, bytes: Buffer | '', timeToLive: string) => Promise<unknown>,
): ServerStore['replace'] {
  return async (key, expected, bytes, timeToLive) => {
    const there = expected ? hash('sha1', expected) : ''
    try {
      return Number(await run(key, there, bytes ?? '', String(timeToLive ?? ''))) === 1
    } catch (error) {
      if (!NO_SCRIPTS.test(asError(error).message)) throw error
      await (bytes ? store.set(key, bytes, timeToLive) : store.delete([key]))
      return true
    }
  }
}

/** Gives back the lease of a holder: deletes it, or says for a while that the answer is useless. */
export const GIVE = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('SET', KEYS[1], '', 'PX', ARGV[2])`

/** What leases take of a client. */
export interface LeaseCommands {
  /** Has the server run {@link GIVE}. */
  give(name: string, holder: string, uselessFor: string): Promise<unknown>
  get(name: string): Promise<unknown>
  /** Writes what runs out after a time in milliseconds. */
  set(name: string, value: string, duration: number): Promise<unknown>
  /** Does so where there is nothing; null where there is something. */
  setNew(name: string, value: string, duration: number): Promise<unknown>
  delete(name: string): Promise<unknown>
}

/**
 * The leases of a cache on a server that understands the Redis protocol.
 *
 * @param nameOf what they are called there: those who do not share responses must not share leases either
 */
export function leasesBy(commands: LeaseCommands, nameOf: (key: string) => string): LeaseStore {
  return {
    async take(key, holder, duration) {
      const name = nameOf(key)
      if ((await commands.setNew(name, holder, duration)) !== null) return 'taken'
      return (await commands.get(name)) === '' ? 'useless' : 'held'
    },
    async give(key, holder, uselessFor) {
      const name = nameOf(key)
      try {
        await commands.give(name, holder, String(uselessFor))
      } catch (error) {
        if (!NO_SCRIPTS.test(asError(error).message)) throw error
        // Should it run out just now, it is another process's that is given back: then a third one asks the
        // origin, too. Leases save requests; what is stored does not depend on them.
        if ((await commands.get(name)) !== holder) return
        await (uselessFor === 0 ? commands.delete(name) : commands.set(name, '', uselessFor))
      }
    },
  }
}

/** The leases of a cache on Redis: see {@link leasesBy}. */
export function redisLeases(client: RedisClientLike, nameOf: (key: string) => string): LeaseStore {
  const commands: LeaseCommands = {
    give: (name, ...values) => client.eval(GIVE, { keys: [name], arguments: values }),
    get: (name) => client.get(name),
    set: (name, value, duration) => client.set(name, value, { PX: duration }),
    setNew: (name, value, duration) => client.set(name, value, { NX: true, PX: duration }),
    delete: (name) => client.del(name),
  }
  return leasesBy(commands, nameOf)
}

/** Whether an adapter is a `KeyvRedis`, of whatever copy of its package. */
export function isKeyvRedis(adapter: object): adapter is KeyvRedisLike {
  const { client, getMasterNodes } = adapter as Partial<KeyvRedisLike>
  return typeof client?.withTypeMapping === 'function' && typeof getMasterNodes === 'function'
}

/**
 * The two stores of a cache on the client of an adapter that was handed to us, be it of a server, a
 * cluster or sentinels: the client is told to return bytes for us, and for nobody else.
 *
 * @returns undefined where it only looks like one, and no other one can be made over its client
 */
export function openKeyvRedis(
  given: KeyvRedisLike,
  onError: (error: Error) => void,
  listeners: ErrorListeners,
): { heads: ByteStore; chunks: ByteStore; leases: LeaseStore } | undefined {
  const { namespace = DEFAULT_NAMESPACE, keyPrefixSeparator, useUnlink } = given
  const Adapter = ownClassOf(given)
  // An adapter listens to its client for good, and to more than its errors.
  const client: RedisClientLike = Object.create(given.client.withTypeMapping(AS_BYTES), {
    on: {
      value: (event: string, listener: (error: unknown) => void) => {
        if (event === 'error') listeners.add(given.client, listener)
      },
    },
  })
  const make = (name: string) => {
    const options = { namespace: `${namespace}:${name}`, keyPrefixSeparator, useUnlink }
    try {
      const adapter = new Adapter(client, { ...options, throwOnErrors: true })
      return adapter.client === client ? adapter : undefined
    } catch {
      return undefined
    }
  }
  const [heads, chunks] = [make(NAMES.heads), make(NAMES.chunks)]
  if (heads === undefined || chunks === undefined) return undefined
  const open = (adapter: KeyvRedisLike) => redisStore(adapter, () => given.getClient(), onError)
  const leases = redisLeases(given.client.withTypeMapping({}), (key) =>
    given.createKeyPrefix(key, `${namespace}:${NAMES.leases}`),
  )
  return {
    heads: open(heads),
    chunks: open(chunks),
    leases: {
      async take(...lease) {
        await given.getClient()
        return leases.take(...lease)
      },
      give: leases.give,
    },
  }
}

/** The class that the package defines. The constructor of a class that is derived from it may take anything else. */
function ownClassOf(adapter: KeyvRedisLike) {
  let own: object = adapter
  for (let object: object | null = adapter; object; object = Object.getPrototypeOf(object)) {
    if (Object.hasOwn(object, 'getMasterNodes')) own = object
  }
  return own.constructor as new (
    client: unknown,
    options: object,
  ) => KeyvRedisLike
}
