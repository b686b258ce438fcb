import { type Awaitable, after } from '../awaitable.ts'
import { LRUCache } from '../lru.ts'
import type { Events } from '../observe/events.ts'
import type { About, ByteStore, Stores } from './byte-store.ts'
import { type Compression, decompress, isCompressible } from './compression.ts'
import type { ChunksRecord } from './content.ts'
import { type Encryption, isEncrypted, UnreadableError, type Visible } from './encryption.ts'
import { SECRET_KEY, tellsVariants } from './heads.ts'
import { contentStart, METADATA_START, VERSIONS } from './records.ts'

/** What is done to records before they are stored. */
export interface Sealing {
  readonly compression: Compression | undefined
  readonly encryption: Encryption | undefined
  /** Whether what cannot be read is left for others to see, and what is old as it is. */
  readonly isOnlyRead?: boolean
}

/** More chunks than these are not removed with a head that cannot be read: somebody may have made it up. */
const MAX_CHUNKS = 100_000

/**
 * The stores of a cache with what is in them compressed and encrypted, of which those who use them notice
 * nothing. A record that cannot be read is none, and told by an event. Where records are encrypted it is
 * removed as well: whatever it is, it is not what this cache has stored.
 *
 * @param onRemoved told where there may be content to which a record referred that has been removed
 */
export function sealStores(
  stores: Stores,
  sealing: Sealing,
  events: Events,
  onRemoved: (chunks: ChunksRecord) => void,
): Stores {
  const chunks = new SealedStore('chunk', stores.chunks, sealing, events)
  const heads = new SealedStore('head', stores.heads, sealing, events, onRemoved)
  const close = async () => {
    await Promise.all([heads.settled(), chunks.settled()])
    await stores.close()
  }
  const reset = async (mayBegin: () => boolean) => {
    await Promise.all([heads.settled(), chunks.settled()])
    return (await stores.reset?.(mayBegin)) ?? false
  }
  if (sealing.encryption === undefined) return { ...stores, heads, chunks, close, reset }
  // Whatever else a store may offer would have to see what is hidden from it.
  const {
    usage,
    unreferenced,
    readership,
    leases,
    coherence,
    isWaitedFor = false,
    patience,
    prune,
    shrink,
    upkeep,
  } = stores
  return {
    ...{ heads, chunks, isWaitedFor, close, reset, isSecret: true },
    ...(patience !== undefined && { patience }),
    ...(usage && { usage }),
    ...(unreferenced && { unreferenced }),
    ...(readership && { readership }),
    ...(leases && { leases }),
    ...(coherence && { coherence }),
    ...(upkeep && { upkeep }),
    ...(prune && { prune }),
    ...(shrink && { shrink }),
  }
}

class SealedStore implements ByteStore {
  readonly #kind: 'head' | 'chunk'
  readonly #store: ByteStore
  readonly #sealing: Sealing
  readonly #events: Events
  readonly #onRemoved: (chunks: ChunksRecord) => void
  /** What is under way at a key, so that one thing happens there after the other. */
  readonly #underWay = new Map<string, Promise<void>>()
  /** What could not be read, and is being removed. */
  readonly #leaving = new Set<string>()
  /** What records are in the store that have been read, where they are something else there. */
  readonly #sealed = new WeakMap<Buffer, Buffer>()
  /** What was there that could not be read, of the keys at which that was so most recently. */
  readonly #unreadable = new LRUCache<string, Buffer>({ max: 100 })
  readonly hasAll?: NonNullable<ByteStore['hasAll']>
  readonly expire?: (keys: readonly string[], timeToLive: number) => Promise<void>
  readonly expireAll?: NonNullable<ByteStore['expireAll']>
  readonly replace?: NonNullable<ByteStore['replace']>

  constructor(
    kind: 'head' | 'chunk',
    store: ByteStore,
    sealing: Sealing,
    events: Events,
    onRemoved: (chunks: ChunksRecord) => void = () => {},
  ) {
    this.#kind = kind
    this.#store = store
    this.#sealing = sealing
    this.#events = events
    this.#onRemoved = onRemoved
    if (store.hasAll) this.hasAll = store.hasAll.bind(store)
    if (store.expire) {
      this.expire = (keys, timeToLive) =>
        this.#inOrder(keys, async () => store.expire?.(keys, timeToLive))
    }
    if (store.expireAll) {
      this.expireAll = async (...all) => {
        await this.settled()
        await store.expireAll?.(...all)
      }
    }
    const replace = store.replace?.bind(store)
    if (replace) {
      this.replace = (key, expected, record, timeToLive, about = {}) => {
        const there = expected
          ? (this.#sealed.get(expected) ?? expected)
          : this.#unreadable.get(key)
        return this.#inOrder([key], () =>
          record === undefined
            ? replace(key, there, undefined, undefined)
            : this.#seal(key, record, about, (bytes, visible) =>
                replace(key, there, bytes, timeToLive, visible),
              ),
        )
      }
    }
  }

  get(key: string, isMidway?: boolean): Awaitable<Buffer | undefined> {
    return after(this.#store.get(key, isMidway), (bytes) => this.#read(key, bytes))
  }

  #read(key: string, bytes: Buffer | undefined): Awaitable<Buffer | undefined> {
    if (this.#unreadable.size > 0) this.#unreadable.delete(key)
    if (bytes === undefined || this.#leaving.has(key)) return undefined
    const known = (record: Buffer) => {
      if (record !== bytes && this.replace) this.#sealed.set(record, bytes)
      return record
    }
    try {
      const record = this.#open(key, bytes)
      if (Buffer.isBuffer(record)) return known(record)
      return record.then(known).catch((error: unknown) => this.#refuse(key, bytes, error))
    } catch (error) {
      return this.#refuse(key, bytes, error)
    }
  }

  #refuse(key: string, bytes: Buffer, error: unknown): undefined {
    this.#tell(`the stored record ${key} ${reasonOf(error)}`, error)
    const { encryption, isOnlyRead } = this.#sealing
    if (encryption && !isOnlyRead && error instanceof UnreadableError) this.#remove(key, bytes)
    else if (this.replace) this.#unreadable.set(key, bytes)
  }

  /** @throws where a record cannot be read; or rejects */
  #open(key: string, bytes: Buffer): Awaitable<Buffer> {
    const { encryption, isOnlyRead } = this.#sealing
    if (encryption === undefined && isEncrypted(bytes)) {
      throw new UnreadableError('is encrypted, and this cache has no key')
    }
    const record = encryption ? encryption.decrypt(this.#placeOf(key), bytes) : bytes
    // It has to be there still when its key is not any more.
    const isOutdated = key === SECRET_KEY && encryption && !encryption.isCurrent(bytes)
    if (isOutdated && !isOnlyRead) this.set(key, Buffer.from(record), undefined).catch(() => {})
    return record[0] === VERSIONS.compressed ? decompress(record) : record
  }

  /** Nobody waits for it but who writes to the same key next. */
  #remove(key: string, bytes: Buffer): void {
    this.#leaving.add(key)
    const removal = this.#store.delete([key]).finally(() => this.#leaving.delete(key))
    this.#track([key], removal).catch(() => {})
    const chunks = chunksOf(bytes)
    if (chunks) this.#onRemoved(chunks)
  }

  #tell(message: string, cause: unknown): void {
    this.#events.error('read', new Error(message, { cause }))
  }

  set(
    key: string,
    record: Buffer,
    timeToLive: number | undefined,
    about: About = {},
  ): Promise<void> {
    const write = (bytes: Buffer, visible: About | undefined) =>
      this.#store.set(key, bytes, timeToLive, visible)
    return this.#inOrder([key], () => this.#seal(key, record, about, write))
  }

  /** @param write given the record as it is to be in the store, and what may be known of it there */
  #seal<T>(
    key: string,
    record: Buffer,
    about: About,
    write: (bytes: Buffer, visible: About | undefined) => Promise<T>,
  ): Promise<T> {
    const { compression, encryption } = this.#sealing
    const isWorthIt = compression && about.fields && isCompressible(about.fields)
    const packed = isWorthIt ? compression.compress(record) : record
    const seal = (bytes: Buffer) => {
      const sealed = encryption?.encrypt(this.#placeOf(key), bytes, this.#visible(record, about))
      const { isAwaited, isGivenUp } = about
      return write(sealed ?? bytes, sealed ? { isAwaited, isGivenUp } : about)
    }
    return packed instanceof Promise ? this.#track([key], packed.then(seal)) : seal(packed)
  }

  #placeOf(key: string): string {
    return `${this.#kind} ${key}`
  }

  #visible(record: Buffer, { chunks }: About): Visible {
    if (tellsVariants(record)) return { kind: 'variants' }
    if (chunks === undefined) return {}
    // No more than the number of chunks, which can be seen anyway.
    const { generation, chunkSize } = chunks
    const length = Math.ceil(chunks.length / chunkSize) * chunkSize
    return { chunks: { generation, chunkSize, length } }
  }

  delete(keys: readonly string[]): Promise<void> {
    return this.#inOrder(keys, () => this.#store.delete(keys))
  }

  async clear(): Promise<void> {
    await this.settled()
    if (this.#store.clearSome === undefined) return this.#store.clear()
    while (await this.#store.clearSome());
  }

  entries(): AsyncIterable<readonly [string, Buffer]> | undefined {
    const entries = this.#store.entries()
    // Of chunks only the keys are of interest.
    return this.#kind === 'chunk' || entries === undefined ? entries : this.#readable(entries)
  }

  /** What can be read. Of the rest is told once, however much it is. */
  async *#readable(
    entries: AsyncIterable<readonly [string, Buffer]>,
  ): AsyncGenerator<readonly [string, Buffer]> {
    let unreadable = 0
    let last: unknown
    for await (const [key, bytes] of entries) {
      let record: Buffer
      try {
        record = await this.#open(key, bytes)
      } catch (error) {
        unreadable += 1
        last = error
        continue
      }
      yield [key, record]
    }
    if (unreadable > 0) {
      this.#tell(
        `of the stored records ${unreadable} cannot be read: the last ${reasonOf(last)}`,
        last,
      )
    }
  }

  /** Does something as soon as nothing is under way at some keys any more. */
  async #inOrder<T>(keys: readonly string[], action: () => Promise<T>): Promise<T> {
    const before =
      this.#underWay.size > 0 ? keys.flatMap((key) => this.#underWay.get(key) ?? []) : []
    if (before.length === 0) return action()
    return this.#track(keys, Promise.all(before).then(action))
  }

  /** Lets whatever is done next at some keys wait for something. */
  #track<T>(keys: readonly string[], action: Promise<T>): Promise<T> {
    const settled = action.then(
      () => {},
      () => {},
    )
    for (const key of keys) this.#underWay.set(key, settled)
    void settled.then(() => {
      for (const key of keys) if (this.#underWay.get(key) === settled) this.#underWay.delete(key)
    })
    return action
  }

  /** Waits for all that is under way. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay.values())
  }
}

/** What is wrong with a record, as the end of a sentence about it. */
function reasonOf(error: unknown): string {
  return error instanceof UnreadableError ? error.message : 'is damaged or cannot be decompressed'
}

/** The chunks to which a head refers, as far as can be seen in a record that cannot be read. */
function chunksOf(record: Buffer): ChunksRecord | undefined {
  let chunks: Partial<ChunksRecord> | null | undefined
  try {
    const metadata = record.toString('utf8', METADATA_START, contentStart(record))
    chunks = (JSON.parse(metadata) as { chunks?: Partial<ChunksRecord> | null } | null)?.chunks
  } catch {
    return undefined
  }
  const { generation, chunkSize = 0, length = 0 } = chunks ?? {}
  const isPlausible = /^[\w-]{1,64}$/.test(String(generation)) && length / chunkSize <= MAX_CHUNKS
  return isPlausible ? { generation: String(generation), chunkSize, length } : undefined
}
