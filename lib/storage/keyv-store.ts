import { Keyv } from 'keyv'
import { asError } from '../observe/events.ts'
import type { ByteStore } from './byte-store.ts'
import { ErrorListeners } from './error-listeners.ts'
import { inOwnNamespace, isNamespaced } from './own-namespace.ts'
import { RefusedError } from './refusal.ts'
import { DEFAULT_NAMESPACE } from './servers/connection.ts'

/** The parts of a Keyv instance, of Keyv 5 or 6, that are used. */
export interface KeyvLike {
  get(key: string): Promise<unknown>
  set(key: string, value: unknown, timeToLive?: number): Promise<unknown>
  delete(key: string): Promise<unknown>
  clear(): Promise<unknown>
  disconnect(): Promise<unknown>
  on(event: string, listener: (error: unknown) => void): unknown
}

/** The parts of a Keyv storage adapter, or of a Map, by which it is recognised. They differ in all their types. */
export interface KeyvAdapterLike {
  get(key: string): unknown
  set(key: string, value: never, ...rest: never[]): unknown
  delete(key: string): unknown
  clear(): unknown
}

/** A Keyv as used here: raw reads for bytes, and the iterator that only some stores have. */
interface InnerKeyv extends KeyvLike {
  has(key: string): Promise<boolean>
  hasMany(keys: readonly string[]): Promise<readonly boolean[]>
  getRaw?(key: string): Promise<unknown>
  /** Of Keyv 6 only. */
  decode?(data: unknown): Promise<Decoded | undefined>
  readonly compression?: unknown
  readonly encryption?: unknown
  deleteMany(keys: readonly string[]): Promise<boolean | readonly boolean[]>
  readonly iterator?: unknown
  readonly namespace?: string
  /** Of Keyv 5 only. */
  readonly opts?: { readonly useKeyPrefix?: boolean }
  readonly store?: InnerStore
}

/** What Keyv makes of what is below it. */
interface Decoded {
  readonly value?: unknown
  readonly expires?: number
}

/** The parts of what is below a Keyv that tell whether it can list what it has. */
interface InnerStore {
  readonly iterator?: unknown
  has?(key: string): Promise<boolean>
  hasMany?(keys: readonly string[]): Promise<readonly boolean[]>
  readonly capabilities?: {
    readonly store?: string
    readonly methods?: Readonly<
      Record<'iterator' | 'has' | 'hasMany', { readonly exists: boolean }>
    >
  }
  /** Of the bridge that Keyv 6 puts before an adapter for Keyv 5. */
  readonly store?: InnerStore
  /** Of KeyvRedis only. */
  readonly getMasterNodes?: unknown
  /** Of KeyvValkey only. */
  readonly redis?: unknown
  readonly opts?: { readonly useRedisSets?: boolean }
}

/**
 * How bytes pass through a Keyv: as they are, through a Keyv of our own over a store that takes bytes,
 * and copied where it keeps the very object that it is given; as base64 text through any other Keyv,
 * which may serialise, compress or encrypt as it likes.
 */
type Encoding = 'bytes' | 'copied bytes' | 'text'

/** A Keyv over a store that keeps bytes as bytes: neither serialised nor wrapped in an envelope. */
export function bytesKeyv(store: unknown): KeyvLike {
  return new Keyv({
    store: store as Map<string, unknown>,
    serialization: {
      stringify: (data: unknown) => (data as { value: unknown }).value as string,
      parse: <T>(data: string) => ({ value: data }) as T,
    },
  }) as unknown as KeyvLike
}

/** For adapters that return text as bytes: Keyv decodes these only where it is to decompress them. */
const AS_TEXT = {
  compress: (text: string) => text,
  decompress: (data: string | Uint8Array) =>
    typeof data === 'string' ? data : Buffer.from(data).toString(),
}

/** What has the methods of a map, and is no adapter for Keyv, such as an LRU cache. */
type MapLike = Pick<Map<string, unknown>, 'get' | 'set' | 'has' | 'delete' | 'clear' | 'entries'>

function isMapLike(store: object): store is MapLike {
  const { has, entries } = store as Partial<MapLike>
  return typeof has === 'function' && typeof entries === 'function' && !('iterator' in store)
}

/** The same without anything else that its methods may take: Keyv passes a time to live where others want options. */
function plainMap(map: MapLike): MapLike {
  return {
    get: (key) => map.get(key),
    set: (key, value) => map.set(key, value),
    has: (key) => map.has(key),
    delete: (key) => map.delete(key),
    clear: () => map.clear(),
    entries: () => map.entries(),
  }
}

/**
 * A Keyv over an adapter of any kind, in a namespace of our own; in that of the adapter where it has but one,
 * as a Keyv that was handed over is in its own. Its owner may use it for more.
 */
export function namespacedKeyv(adapter: object, listeners: ErrorListeners): KeyvLike {
  const apart = isNamespaced(adapter) ? inOwnNamespace(adapter, DEFAULT_NAMESPACE) : adapter
  const store = apart && isMapLike(apart) ? plainMap(apart) : apart
  const options = store ? { store, namespace: DEFAULT_NAMESPACE } : { store: adapter }
  const make = () =>
    new Keyv({ ...(options as { store: Map<string, unknown> }), compression: AS_TEXT })
  return listeners.replacing(adapter, make) as unknown as KeyvLike
}

/** Whether a value is a Keyv instance rather than an adapter for one. Told by its shape, as there may be several copies of Keyv. */
export function isKeyv(value: object): boolean {
  return (
    ['getRaw', 'getMany', 'disconnect'].every(
      (name) => typeof (value as Record<string, unknown>)[name] === 'function',
    ) && 'stats' in value
  )
}

/** How many keys are deleted at a time, so that nothing else waits for long. */
const DELETE_STEP = 50

/** Which part of a Keyv a store is: the rest belongs to others. */
export interface Share {
  /** How all of its keys begin. */
  readonly prefix: string
  /** Whether what comes after that is a key of ours: the keys of others may begin in the same way. */
  isOurs(key: string): boolean
}

const ALL: Share = { prefix: '', isOurs: () => true }

/** A byte store in a Keyv, or in part of one. */
export function keyvStore(
  keyv: KeyvLike,
  encoding: Encoding,
  errors: KeyvErrors,
  share: Share = ALL,
): ByteStore {
  const { prefix, isOurs } = share
  const inner = keyv as InnerKeyv
  const isText = encoding === 'text'
  const copy = (bytes: Uint8Array) =>
    encoding === 'bytes' && Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes)
  const encode = (bytes: Buffer) => (isText ? bytes.toString('base64') : copy(bytes))
  const decode = (value: unknown): Buffer | undefined => {
    if (value === undefined || value === null) return undefined
    if (typeof value === 'string') return Buffer.from(value, 'base64')
    if (value instanceof Uint8Array) return copy(value)
    throw new TypeError(`expected the text that was stored, got ${typeof value}`)
  }

  function read(key: string): Promise<unknown> {
    if (isText && (inner.compression ?? inner.encryption)) return getDecoded(inner, key)
    return !isText && inner.getRaw ? inner.getRaw(key) : inner.get(key)
  }

  const findMany = finder(inner)
  async function hasAll(keys: readonly string[]): Promise<boolean> {
    const names = keys.map((key) => prefix + key)
    const found = await errors.during(
      async () => findMany?.(names),
      (all) => all?.every(Boolean) ?? true,
    )
    const missing = found?.indexOf(false) ?? -1
    // There are adapters that deny what they have.
    return missing === -1 || (await read(names[missing] as string)) !== undefined
  }

  return {
    // What cannot be told shows when it is read.
    ...(findMany && { hasAll: (keys) => hasAll(keys).catch(() => true) }),

    async get(key) {
      return decode(
        await errors.during(
          () => read(prefix + key),
          (value) => value !== undefined,
        ),
      )
    },

    async set(key, bytes, timeToLive) {
      const write = () => inner.set(prefix + key, encode(bytes), timeToLive)
      const kept = await errors.during(write, (result) => result !== false)
      if (kept === false) throw new RefusedError('the store refused a write')
    },

    async delete(keys) {
      for (let index = 0; index < keys.length; index += DELETE_STEP) {
        const some = keys.slice(index, index + DELETE_STEP).map((key) => prefix + key)
        await errors.during(
          () => inner.deleteMany(some),
          (deleted) => [deleted].flat().every(Boolean),
        )
      }
    },

    async clear(onStep) {
      if (share === ALL) {
        await errors.during(() => inner.clear(), Boolean)
        return
      }
      const entries = this.entries(onStep)
      if (entries === undefined) {
        throw new Error('the store cannot list what it has, so it cannot clear only what is ours')
      }
      const keys: string[] = []
      for await (const [key] of entries) keys.push(key)
      for (let index = 0; index < keys.length; index += DELETE_STEP) {
        await this.delete(keys.slice(index, index + DELETE_STEP))
        onStep?.()
      }
    },

    entries(onStep) {
      const { iterator } = inner
      const start = listedAs(inner, prefix)
      if (typeof iterator !== 'function' || start === undefined) return undefined
      return (async function* () {
        // Keyv 5 wants the namespace, Keyv 6 knows it.
        const list: AsyncIterable<[string, unknown]> = iterator.call(inner, inner.namespace)
        for await (const [key, value] of errors.throughout(list)) {
          onStep?.()
          if (!key.startsWith(start)) continue
          const name = key.slice(start.length)
          if (!isOurs(name)) continue
          // An iterator yields the envelope's value; of bytes without an envelope there is none.
          const bytes =
            value === undefined && inner.getRaw ? await inner.getRaw(prefix + name) : value
          const decoded = isStorable(bytes) ? decode(bytes) : undefined
          if (decoded !== undefined) yield [name, decoded] as const
        }
      })()
    },
  }
}

/** What tells of which keys there is something, without reading it; undefined where a store cannot do so. */
function finder(keyv: InnerKeyv): InnerKeyv['hasMany'] | undefined {
  const { store = {}, opts } = keyv
  if (store instanceof Map) return undefined
  // Keyv 6 would read all of it, to see whether it has expired. Keyv 5 puts its namespace before the keys.
  const asked = opts === undefined ? (store as InnerKeyv) : keyv
  const can = (name: 'has' | 'hasMany') =>
    store.capabilities?.methods?.[name].exists ?? typeof store[name] === 'function'
  if (can('hasMany')) return (keys) => asked.hasMany(keys)
  if (can('has')) return (keys) => Promise.all(keys.map((key) => asked.has(key)))
  return undefined
}

/** What is at a key of a Keyv. Keyv 6 decodes what is text, and returns bytes as if they were decoded. */
async function getDecoded(keyv: InnerKeyv, key: string): Promise<unknown> {
  if (!keyv.getRaw || !keyv.decode) return keyv.get(key)
  const raw = await keyv.getRaw(key)
  const { value, expires } =
    (raw instanceof Uint8Array ? await keyv.decode(raw) : (raw as Decoded | undefined)) ?? {}
  return Date.now() > (expires ?? Infinity) ? undefined : value
}

/** How those keys begin in the list of a Keyv that begin with `prefix`; undefined where it cannot list them. */
function listedAs(keyv: InnerKeyv, prefix: string): string | undefined {
  const { namespace, opts } = keyv
  if (!canList(keyv.store ?? {}, namespace)) return undefined
  if (opts === undefined || opts.useKeyPrefix === false) return prefix
  // Keyv 5 takes all before the first colon for the namespace, even where there is none.
  return namespace ? `${namespace}:${prefix}`.replace(/^[^:]*:/, '') : undefined
}

/** Every Keyv 6 has an iterator; that of a store which cannot list what it has yields nothing. */
function canList(store: InnerStore, namespace: string | undefined): boolean {
  const { capabilities, iterator } = store
  const adapter = store.store ?? store
  // They look for the namespace by a pattern, in which they escape nothing.
  if (adapter.getMasterNodes || adapter.redis) {
    if (/[[\\]/.test(namespace ?? '')) return false
    if (adapter.redis && (!namespace || adapter.opts?.useRedisSets === false)) return false
  }
  return (
    capabilities === undefined ||
    capabilities.store === 'mapLike' ||
    (capabilities.methods?.iterator.exists ?? iterator !== undefined)
  )
}

function isStorable(value: unknown): boolean {
  return typeof value === 'string' || value instanceof Uint8Array
}

/**
 * What goes wrong in a Keyv. It tells so by an event only, while the call looks like a miss, so the
 * two are brought together here.
 */
export class KeyvErrors {
  #count = 0
  #last: unknown
  #calls = 0

  /**
   * @param onOther told of errors that happen outside any call, such as a lost connection
   * @param listeners needed where the Keyv is not our own
   */
  constructor(
    keyv: KeyvLike,
    onOther: (error: Error) => void,
    listeners: ErrorListeners = new ErrorListeners(),
  ) {
    listeners.add(keyv, (error) => {
      this.#count += 1
      this.#last = error
      if (this.#calls === 0) onOther(asError(error))
    })
  }

  /** Makes a call; rejects where an error was told meanwhile and the result is not a success. */
  async during<T>(call: () => Promise<T>, succeeded: (result: T) => boolean): Promise<T> {
    const before = this.#count
    this.#calls += 1
    try {
      const result = await call()
      if (!succeeded(result) && this.#count !== before) throw asError(this.#last)
      return result
    } finally {
      this.#calls -= 1
    }
  }

  /** Goes through a list; rejects at its end where an error was told meanwhile, as there may be more to be listed. */
  async *throughout<T>(list: AsyncIterable<T>): AsyncGenerator<T> {
    const before = this.#count
    this.#calls += 1
    try {
      yield* list
      if (this.#count !== before) throw asError(this.#last)
    } finally {
      this.#calls -= 1
    }
  }
}
