// The only import of @keyv/valkey, an optional peer: this module is loaded where a URL names Valkey.
import type { Socket } from 'node:net'
import KeyvValkey from '@keyv/valkey'
import { bytesKeyv, KeyvErrors, keyvStore } from '../keyv-store.ts'
import type { LeaseStore } from '../leases.ts'
import {
  CONNECT_TIMEOUT,
  type Connection,
  ignore,
  NAMES,
  type Place,
  type ServerStore,
} from './connection.ts'
import { GIVE, type LeaseCommands, leasesBy, REPLACE, replacing } from './redis-store.ts'
import { keysWith, SCAN_COUNT, scannedStore } from './scanned-store.ts'

/** The parts of the client of Valkey that are used beside those that the adapter uses; it has no type of its own there. */
interface Client {
  readonly status: string
  /** Undefined until it connects. */
  readonly stream: Socket | undefined
  connect(): Promise<void>
  on(event: 'error', listener: (error: Error) => void): void
  set(key: string, value: string, ...options: ['PX', number, 'NX'?]): Promise<unknown>
  get(key: string): Promise<unknown>
  del(key: string): Promise<unknown>
  eval(
    script: string,
    numberOfKeys: 1,
    key: string,
    ...values: (string | Buffer)[]
  ): Promise<unknown>
  getBuffer(key: string): Promise<Buffer | null>
  exists(key: string): Promise<unknown>
  pexpire(key: string, milliseconds: number): Promise<unknown>
  scan(
    cursor: string,
    ...options: ['MATCH', string, 'COUNT', number]
  ): Promise<[cursor: string, keys: string[]]>
}

/** The adapter, with values returned as bytes, not decoded as text. */
class BytesAdapter extends KeyvValkey {
  // Bytes are none of the values that the adapter promises, whichever its caller asks for.
  override async get(key: string): Promise<never> {
    const bytes = await (this.redis as Client).getBuffer(this._getKeyName(key))
    return (bytes ?? undefined) as never
  }
}

/** Connects to a Valkey server. */
export function openValkey({ url, namespace }: Place): Connection {
  // The adapter would leave the names of expired keys in a set for ever.
  const options = { useRedisSets: false }
  const { address, ...credentials } = withoutCredentials(url)
  const first = new BytesAdapter(address.replace(/^valkey/, 'redis'), {
    ...options,
    ...credentials,
    // IPv4 or IPv6, whichever there is.
    family: 0,
    lazyConnect: true,
    connectTimeout: CONNECT_TIMEOUT,
    // What cannot be done now fails now. A lost connection is not mended: the next call opens another one.
    enableOfflineQueue: false,
    retryStrategy: () => null,
    maxRetriesPerRequest: 0,
    // It would wait for the end of a connection that has ended already.
    disconnectTimeout: 0,
  })
  const client = first.redis as Client
  const open = (adapter: BytesAdapter, name: string) => {
    adapter.namespace = `${namespace}:${name}`
    return valkeyStore(adapter, client)
  }
  const stores = {
    heads: open(first, NAMES.heads),
    chunks: open(new BytesAdapter(client as never, options), NAMES.chunks),
  }
  return {
    ...stores,
    leases: valkeyLeases(client, (key) => `namespace:${namespace}:${NAMES.leases}:${key}`),
    connected: connect(client),
    isOpen: () => client.status === 'ready' && !client.stream?.destroyed,
    // Its own way waits for the server to agree.
    end: () => client.stream?.destroy(),
  }
}

/** The client divides what is before the host after it has decoded it, be there colons in the name of the user. */
function withoutCredentials(url: string) {
  const address = new URL(url)
  const { username, password } = address
  address.username = address.password = ''
  return {
    address: address.href,
    ...(username !== '' && { username: decodeURIComponent(username) }),
    ...(password !== '' && { password: decodeURIComponent(password) }),
  }
}

async function connect(client: Client): Promise<void> {
  // It only says that the connection is closed; why, it tells by an event.
  let reason: Error | undefined
  client.on('error', (error) => {
    reason ??= error
  })
  // By then it has a stream, be it one that is still connecting.
  setImmediate(() => release(client.stream))
  await client.connect().catch((error: unknown) => {
    throw reason ?? error
  })
  // Where it may not select the database of the URL, it tells so by an event too, and would use another one.
  if (reason) throw reason
}

/** Lets a program end that has nothing else to do; calls under way are waited for by their deadlines. */
function release(stream: Socket | undefined): void {
  stream?.unref()
  // Each address that it tries has a handle of its own.
  stream?.once('connect', () => stream.unref())
}

function valkeyLeases(client: Client, nameOf: (key: string) => string): LeaseStore {
  const commands: LeaseCommands = {
    give: (name, ...values) => client.eval(GIVE, 1, name, ...values),
    get: (name) => client.get(name),
    set: (name, value, duration) => client.set(name, value, 'PX', duration),
    setNew: (name, value, duration) => client.set(name, value, 'PX', duration, 'NX'),
    delete: (name) => client.del(name),
  }
  return leasesBy(commands, nameOf)
}

function valkeyStore(adapter: BytesAdapter, client: Client): ServerStore {
  const prefix = adapter._getKeyName('')

  async function* scan() {
    let cursor = '0'
    do {
      const [next, names] = await client.scan(
        cursor,
        'MATCH',
        keysWith(prefix),
        'COUNT',
        SCAN_COUNT,
      )
      cursor = next
      yield names.map((name) => name.slice(prefix.length))
    } while (cursor !== '0')
  }

  async function expire(keys: readonly string[], timeToLive: number) {
    await Promise.all(keys.map((key) => client.pexpire(prefix + key, timeToLive)))
  }

  const keyv = bytesKeyv(adapter)
  const store = keyvStore(keyv, 'bytes', new KeyvErrors(keyv, ignore))
  const replace = replacing(store, (key, ...values) =>
    client.eval(REPLACE, 1, prefix + key, ...values),
  )
  const exists = (key: string) => client.exists(prefix + key)
  return { ...scannedStore(store, scan, expire, exists), replace }
}
