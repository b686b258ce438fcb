import { setTimeout as delay } from 'node:timers/promises'
import type { Awaitable } from '../awaitable.ts'
import type { About, ByteStore, Readership, Stores, Unreferenced } from './byte-store.ts'
import {
  type ChunksRecord,
  ClearedError,
  type Content,
  LostContentError,
  type ReadingOptions,
} from './content.ts'
import type { GrowingContent } from './growing-content.ts'
import { DEFAULT_DEADLINES, MIDWAY_DEADLINE } from './guarded-store.ts'
import type { MemoryTier } from './memory-tier.ts'
import { decodeRecord, encodeRecord } from './records.ts'
import { takeTurn } from './turns.ts'

/** The length of the chunks in which longer content is kept, in bytes. */
export const CHUNK_SIZE: number = 256 * 1024
/** How long the end of reads is waited for before a store is closed, in milliseconds. */
const CLOSE_PATIENCE = 5000

/** How long the chunks of overwritten content are kept for readers in other processes, in milliseconds. */
export const READERS_GRACE = 10_000

/** How long they are kept where there can be none: for what has found them and is about to read, in milliseconds. */
const OWN_GRACE = 1000

/**
 * How much content is read before any of it is given, in bytes: what turns out to be lost is asked for anew. And for
 * how long, in milliseconds, so that the beginning does not wait for a slow store.
 */
const READ_AHEAD = 2 * 2 ** 20
const READ_AHEAD_TIME = 250

/** Others are told of what is being read at two looks, one after the other: much sooner than they may remove it. */
const LOOK_INTERVAL = READERS_GRACE / 4

/**
 * How long chunks are kept, in milliseconds, where only their time to live removes what a process leaves behind:
 * such as no head refers to yet, and such as none refers to any more, which may still be being read.
 */
const UNFINISHED_TIME = 7 * 24 * 3_600_000
const DOOMED_TIME = 3_600_000

/** As long as anything needs to last, in milliseconds. */
const FOR_EVER = 100 * 365 * 24 * 3_600_000

/** Chunks that are to be removed. */
interface Doomed {
  readonly record: ChunksRecord
  readonly timer: NodeJS.Timeout | undefined
  /** Whether no head has ever referred to them, so that no other process can be reading them. */
  readonly isUnknown?: boolean
  /** Whether it has to make room for others. */
  readonly isEvicted?: boolean
}

/** The chunks of all contents in a store: reads and writes them, and keeps count of their readers. */
export class Chunks {
  readonly #store: ByteStore
  readonly #memory: MemoryTier | undefined
  readonly #unreferenced: Unreferenced | undefined
  readonly #readership: Readership | undefined
  readonly #readers = new Map<string, number>()
  /** Resolves when none of them is left. */
  #unread: PromiseWithResolvers<void> = Promise.withResolvers()
  /** Looks now and then for what is being read for long. */
  #looks: NodeJS.Timeout | undefined
  /** What was being read at the last look, and of what other processes have been told. */
  #before: ReadonlySet<string> = new Set()
  readonly #told = new Set<string>()
  readonly #doomed = new Map<string, Doomed>()
  readonly #removals = new Set<Promise<void>>()
  /** Of which contents chunks are being written, and until when. */
  readonly #writing = new Map<string, Promise<unknown>>()
  /** Contents that have been written in part, and to which no head refers yet. */
  readonly #unfinished = new Map<string, Pick<GrowingContent, 'giveUp'>>()
  #isClosed = false
  /** Whether other processes may be reading the same store. */
  readonly #isShared: boolean
  /** Whether content that comes faster than it can be written waits for the store, instead of not being stored. */
  readonly isWaitedFor: boolean
  /** For how long at most, where it does not get on with that, in milliseconds. */
  readonly patience: number

  constructor(
    store: ByteStore,
    memory?: MemoryTier,
    {
      unreferenced,
      readership,
      coherence,
      isWaitedFor = false,
      patience = DEFAULT_DEADLINES.read,
    }: Partial<Omit<Stores, 'heads' | 'chunks'>> = {},
  ) {
    this.#store = store
    this.isWaitedFor = isWaitedFor
    this.patience = patience
    this.#memory = memory
    this.#unreferenced = unreferenced
    this.#readership = readership
    this.#isShared = coherence?.kind !== 'own'
  }

  /**
   * A chunk, which the caller owns.
   *
   * @param isPatient whether a store that fails is waited for: somebody has been given what comes before
   */
  async read(
    {
      generation,
      length,
    }: Pick<ChunksRecord, 'generation'> & { readonly length: number | undefined },
    index: number,
    isPatient: boolean,
  ): Promise<Buffer> {
    const key = chunkKey(generation, index)
    const turn = takeTurn(Math.min(length ?? CHUNK_SIZE, CHUNK_SIZE))
    if (turn) await turn
    const remembered = this.#memory?.chunk(key)
    if (remembered) return Buffer.from(remembered)
    const bytes = await (isPatient ? this.#getPatiently(key) : this.#store.get(key))
    const chunk = bytes && decodeRecord(key, bytes)?.content
    if (chunk === undefined) {
      throw new LostContentError('a chunk of the stored content is missing or damaged')
    }
    if (length !== undefined && this.#memory?.takes(length)) {
      this.#memory.rememberChunk(key, Buffer.from(chunk))
    }
    return chunk
  }

  /**
   * The first chunks that are needed, where the store has all that follow: as long as the caller has been given
   * nothing, the origin can be asked instead. More of them are read before, as a store may be damaged, or evict what
   * it has just said to have; as long as that takes no longer than it may.
   *
   * @param end the index behind the last chunk that is needed
   * @returns them; the last one may still be being read, and is undefined if that fails
   */
  async readFirst(
    record: ChunksRecord,
    index: number,
    end: number,
  ): Promise<Awaitable<Buffer | undefined>[]> {
    const until = performance.now() + READ_AHEAD_TIME
    const [first, areThere] = await Promise.all([
      this.read(record, index, false),
      this.#haveAll(chunkKeys(record).slice(index + 1, end)),
    ])
    if (!areThere) throw new LostContentError('a chunk of the stored content is missing')
    const chunks: Awaitable<Buffer | undefined>[] = [first]
    const last = Math.min(end, index + Math.floor(READ_AHEAD / record.chunkSize))
    const { promise: over, resolve } = Promise.withResolvers<undefined>()
    const timer = setTimeout(resolve, until - performance.now(), undefined)
    try {
      while (index + chunks.length < last && performance.now() < until) {
        const reading = this.read(record, index + chunks.length, false)
        // What there is by then is enough to begin with.
        chunks.push((await Promise.race([reading, over])) ?? reading.catch(() => undefined))
      }
    } finally {
      clearTimeout(timer)
    }
    return chunks
  }

  async #haveAll(keys: readonly string[]): Promise<boolean> {
    if (this.#store.hasAll === undefined) return true
    const unknown = keys.filter((key) => this.#memory?.chunk(key) === undefined)
    return unknown.length === 0 || this.#store.hasAll(unknown)
  }

  /** Whether the store has some content; where it cannot tell, whether it has the first chunk. */
  async areThere(record: ChunksRecord): Promise<boolean> {
    const keys = chunkKeys(record)
    if (this.#store.hasAll) return this.#store.hasAll(keys)
    return (await this.#store.get(keys[0] as string)) !== undefined
  }

  /**
   * Once a caller has been given the beginning, there is no way back to the network: a store that fails now
   * may be there again before long, as after a failover.
   */
  async #getPatiently(key: string): Promise<Buffer | undefined> {
    const end = performance.now() + MIDWAY_DEADLINE
    for (let pause = 50; ; pause *= 2) {
      try {
        return await this.#store.get(key, true)
      } catch (error) {
        if (this.#isClosed || performance.now() + pause > end) throw error
        await delay(pause)
      }
    }
  }

  write(
    content: Pick<GrowingContent, 'generation' | 'giveUp'>,
    index: number,
    bytes: Buffer,
    timeToLive: number | undefined,
    about: About,
  ): Promise<void> {
    const { generation } = content
    const key = chunkKey(generation, index)
    const write = async () => {
      if (index === 0) await this.#unreferenced?.add(generation, 0)
      await this.#store.set(key, encodeRecord(key, null, bytes), timeToLive, about)
    }
    this.#unfinished.set(generation, content)
    const writing = write()
    const all = Promise.allSettled([this.#writing.get(generation), writing])
    this.#writing.set(generation, all)
    void all.then(() => {
      if (this.#writing.get(generation) === all) this.#writing.delete(generation)
    })
    return writing
  }

  /** Content cannot be given up any more. */
  finish(generation: string): void {
    this.#unfinished.delete(generation)
  }

  /** The store is begun anew: what has been written is lost, and the rest of it not stored. @returns true */
  loseUnfinished(): true {
    for (const content of [...this.#unfinished.values()]) {
      content.giveUp(new ClearedError('the store was cleared meanwhile'))
    }
    return true
  }

  /**
   * A head refers to the content now. Where that cannot be noted, it is removed after a crash for no reason.
   *
   * @param isNew whether none has referred to it before
   */
  async refer(record: ChunksRecord | undefined, isNew: boolean): Promise<void> {
    if (record) await this.#unreferenced?.remove(record.generation, isNew)
  }

  /** Whether what is cleared takes along what others are just storing, which then has to be {@link secure}d. */
  get isClearedBlindly(): boolean {
    return this.#store.expireAll !== undefined && this.#unreferenced === undefined
  }

  /** For how long chunks are written to which no head refers yet, in milliseconds: then they are {@link secure}d. */
  get unfinishedTime(): number {
    return this.isClearedBlindly ? UNFINISHED_TIME : Infinity
  }

  /**
   * Content to which a head refers stays, although somebody may have cleared the store while it was being written.
   *
   * @param timeToLive in milliseconds; undefined for ever
   */
  async secure(record: ChunksRecord | undefined, timeToLive: number = FOR_EVER): Promise<void> {
    if (record && this.isClearedBlindly) await this.#store.expire?.(chunkKeys(record), timeToLive)
  }

  /** Gives chunks another time to live, in milliseconds; undefined for ever. */
  async keep(record: ChunksRecord, timeToLive: number | undefined, about: About): Promise<void> {
    const keys = chunkKeys(record)
    if (this.#store.expire && timeToLive !== undefined) {
      await this.#store.expire(keys, timeToLive)
      return
    }
    for (const key of keys) {
      const bytes = await this.#store.get(key, true)
      if (bytes) await this.#store.set(key, bytes, timeToLive, about)
    }
  }

  retain(generation: string): void {
    if (!this.areRead) this.#unread = Promise.withResolvers()
    const readers = (this.#readers.get(generation) ?? 0) + 1
    this.#readers.set(generation, readers)
    if (this.#readership === undefined || this.#looks) return
    // One for all, as there may be many short reads.
    this.#looks = setInterval(() => this.#lookForLongReads(), LOOK_INTERVAL).unref()
  }

  release(generation: string): void {
    const readers = (this.#readers.get(generation) ?? 0) - 1
    if (readers > 0) this.#readers.set(generation, readers)
    else {
      this.#readers.delete(generation)
      if (!this.areRead) this.#unread.resolve()
      this.#endReading(generation)
      const doomed = this.#doomed.get(generation)
      if (doomed) void this.#remove(doomed.record)
    }
  }

  #lookForLongReads(): void {
    if (this.#readers.size === 0) {
      clearInterval(this.#looks)
      this.#looks = undefined
    }
    for (const generation of this.#readers.keys()) {
      if (!this.#before.has(generation) || this.#told.has(generation)) continue
      this.#told.add(generation)
      // What others have not been told they are told at the next look.
      this.#readership?.begin(generation).catch(() => this.#told.delete(generation))
    }
    this.#before = new Set(this.#readers.keys())
  }

  #endReading(generation: string): void {
    if (this.#told.delete(generation)) this.#readership?.end(generation).catch(() => {})
  }

  /**
   * Removes the chunks of content that nothing refers to any more: after its last reader here, and
   * after a while, in which those that have found it already begin to read. Readers in other processes
   * get as long again from a store that can be told so.
   *
   * @param isEvicted whether room is needed for others: then it is removed sooner, and at once where no other
   * process is known of, as those are not that can only read
   * @returns when it has been noted that they count no more
   */
  async remove(record: ChunksRecord, isEvicted = false): Promise<void> {
    const { generation } = record
    const grace = this.#isShared && !isEvicted ? READERS_GRACE : OWN_GRACE
    const timer = setTimeout(() => void this.#remove(record), grace).unref()
    clearTimeout(this.#doomed.get(generation)?.timer)
    this.#doomed.set(generation, { record, timer, isEvicted })
    // After the end of this process the next one removes them, or they expire.
    if (this.isClearedBlindly) this.#store.expire?.(chunkKeys(record), DOOMED_TIME).catch(() => {})
    await this.#unreferenced?.add(generation, 2 * READERS_GRACE).catch(() => {})
  }

  /** Whether other processes may be reading what is to be removed. */
  async #mayBeReadElsewhere(doomed: Doomed | undefined): Promise<boolean> {
    if (!this.#isShared || doomed?.isUnknown) return false
    if (!doomed?.isEvicted || this.#readership === undefined) return true
    // Who has opened the store since then has not found it there any more.
    return this.#readership.hasOthers().catch(() => true)
  }

  /** Removes what no head has ever referred to, after its last reader here. */
  discard(record: ChunksRecord): void {
    const { generation } = record
    this.finish(generation)
    this.#doomed.set(generation, { record, timer: undefined, isUnknown: true })
    void this.#remove(record)
  }

  /** Removes at once what is to be removed, and is not being read here. */
  async flush(): Promise<void> {
    await Promise.all([...this.#doomed.values()].map(({ record }) => this.#remove(record)))
    await Promise.all(this.#removals)
  }

  /** The store is about to be closed: who is reading may read to the end, unless that takes too long. */
  async close(): Promise<void> {
    if (this.areRead) {
      // It keeps the process running: whoever closes the store waits for nothing else.
      const late = setTimeout(() => this.#unread.resolve(), CLOSE_PATIENCE)
      await this.#unread.promise
      clearTimeout(late)
    }
    this.#isClosed = true
    clearInterval(this.#looks)
    await this.flush()
  }

  async #remove(record: ChunksRecord): Promise<void> {
    const { generation } = record
    const doomed = this.#doomed.get(generation)
    clearTimeout(doomed?.timer)
    // Somebody is reading; the last reader removes them.
    if (this.#readers.has(generation)) return
    this.#doomed.delete(generation)
    const keys = chunkKeys(record)
    const remove = async () => {
      // Written afterwards, a chunk would be left of what nobody knows of.
      await this.#writing.get(generation)
      const mayBeRead = await this.#mayBeReadElsewhere(doomed)
      // Its last reader removes it.
      if (doomed && this.#readers.has(generation)) return void this.#doomed.set(generation, doomed)
      if (this.#store.expire && mayBeRead) await this.#store.expire(keys, READERS_GRACE)
      else await this.#store.delete(keys)
      await this.#unreferenced?.remove(generation, false)
    }
    // A failure has been told already; what is left expires by itself.
    const removed = remove().catch(() => {})
    this.#removals.add(removed)
    await removed
    this.#removals.delete(removed)
  }

  /** Whether some are being read. */
  get areRead(): boolean {
    return this.#readers.size > 0
  }

  /** Removes all chunks but those that are being read; where others may be reading, after a while. */
  async clear(): Promise<void> {
    const isRead = (key: string) => this.#readers.has(key.split('.', 1)[0] as string)
    if (this.#store.expireAll) return this.#store.expireAll(READERS_GRACE, isRead)
    const entries = this.areRead ? this.#store.entries() : undefined
    if (entries === undefined) return this.#store.clear()
    const unread: string[] = []
    const read = new Map<string, number>()
    for await (const [key] of entries) {
      const [generation] = key.split('.', 1) as [string]
      if (isRead(key)) read.set(generation, (read.get(generation) ?? 0) + 1)
      else unread.push(key)
    }
    // Their last readers remove them.
    for (const [generation, length] of read) await this.remove({ generation, chunkSize: 1, length })
    return this.#store.delete(unread)
  }
}

/** The key of one chunk of some content. */
export function chunkKey(generation: string, index: number): string {
  return `${generation}.${index}`
}

/** Whether a text may be the key of a chunk. Earlier releases gave the generations of a process no number. */
export function isChunkKey(text: string): boolean {
  return /^[\da-f]{24}(-[\da-z]+)?\.\d+$/.test(text)
}

/** The keys of all chunks of some content. */
export function chunkKeys({ generation, chunkSize, length }: ChunksRecord): string[] {
  const number = Math.ceil(length / chunkSize)
  return Array.from({ length: number }, (_, index) => chunkKey(generation, index))
}

/** Content kept in chunks. */
export function chunkedContent(chunks: Chunks, record: ChunksRecord): Content {
  const { generation, chunkSize, length } = record
  return {
    chunks: record,
    length,
    open(position = 0, { end = length, isMidway = false, isPatient = true }: ReadingOptions = {}) {
      chunks.retain(generation)
      let hasBegun = isMidway
      let ahead: Awaitable<Buffer | undefined>[] = []
      return {
        async read() {
          if (position >= length) return null
          const index = Math.floor(position / chunkSize)
          if (!hasBegun) ahead = await chunks.readFirst(record, index, Math.ceil(end / chunkSize))
          hasBegun = true
          const chunk = (await ahead.shift()) ?? (await chunks.read(record, index, isPatient))
          if (chunk.length !== Math.min(chunkSize, length - index * chunkSize)) {
            throw new LostContentError('a chunk of the stored content has a wrong length')
          }
          const bytes = chunk.subarray(position - index * chunkSize)
          position += bytes.length
          return bytes
        },
        close: () => chunks.release(generation),
      }
    },
  }
}
