import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Fields } from '../rfc9111/message.ts'
import { type Range, rangeLength } from '../rfc9111/ranges.ts'
import type { About, ByteStore, Readership, Stores, Unreferenced } from './byte-store.ts'
import type { MemoryTier } from './memory-tier.ts'
import { decodeRecord, encodeRecord } from './records.ts'
import { takeTurn } from './turns.ts'

/** Content up to this length is kept in the record of its response, in bytes. */
export const INLINE_LIMIT: number = 64 * 1024

/** How many bytes are left free before such content, so that the rest of its record is written there. */
const ROOM = 2048

/** The length of the chunks in which longer content is kept, in bytes. */
export const CHUNK_SIZE: number = 256 * 1024

/** Unwritten content up to this length is held for a store that is slower than the network, in bytes. */
const MEMORY_LIMIT = 8 * 1024 * 1024

/** Of how many chunks that have been written the memory is used again. */
const MAX_SPARE = 8

/** How long the end of reads is waited for before a store is closed, in milliseconds. */
const CLOSE_PATIENCE = 5000

/** How long a store may take for a chunk in the middle of content, in milliseconds. */
const MIDWAY_DEADLINE = 10_000

/** Where longer content is kept, as its response's record tells. */
export interface ChunksRecord {
  readonly generation: string
  readonly chunkSize: number
  readonly length: number
}

/** Thrown where content that should be in the store is not, or is damaged. */
export class LostContentError extends Error {
  override name = 'LostContentError'
}

/** Why content is not stored although the store does not refuse it. */
export class GivenUpError extends Error {
  override name = 'GivenUpError'
}

/** Content is not stored because it is larger than the user wants. */
export class TooLargeError extends GivenUpError {
  override name = 'TooLargeError'
}

/** Content is not stored because the user has had everything deleted. */
export class ClearedError extends GivenUpError {
  override name = 'ClearedError'
}

/** Content is not stored because more of it waits for the store than is held in memory. */
export class TooSlowError extends GivenUpError {
  override name = 'TooSlowError'

  constructor() {
    super('the store is slower than the network')
  }
}

/** Reads content from one end to the other, at the reader's pace. */
export interface ContentReader {
  /**
   * The next bytes, which the caller owns; `null` at the end.
   *
   * @throws where the content is lost
   */
  read(): Promise<Buffer | null>
  /** Lets go of the content. To be called once, whether it was read to its end or not. */
  close(): void
}

/** The content of a stored response. */
export interface Content {
  /** Where it is kept, if it is too long to be kept in the record of its response. */
  readonly chunks: ChunksRecord | undefined
  /** The number of bytes; undefined while they are still being received. */
  readonly length: number | undefined
  /** All of it, where it is in memory: not to be changed. */
  readonly bytes?: Buffer
  /** How many bytes before it in the same memory are free, for whoever stores it first. */
  readonly room?: number
  /** @param isMidway whether the reader has been given something else already */
  open(position?: number, isMidway?: boolean): ContentReader
}

/** Content held in memory. */
export function inlineContent(bytes: Buffer, room = 0): Content {
  return {
    chunks: undefined,
    length: bytes.length,
    bytes,
    room,
    open: (position = 0) => ({
      async read() {
        const start = position
        position = bytes.length
        return start < bytes.length ? Buffer.from(bytes.subarray(start)) : null
      },
      close() {},
    }),
  }
}

/** How long the chunks of overwritten content are kept for readers in other processes, in milliseconds. */
export const READERS_GRACE = 10_000

/** How long they are kept where there can be none: for what has found them and is about to read, in milliseconds. */
const OWN_GRACE = 1000

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

  constructor(
    store: ByteStore,
    memory?: MemoryTier,
    {
      unreferenced,
      readership,
      coherence,
    }: Pick<Stores, 'unreferenced' | 'readership' | 'coherence'> = {},
    isWaitedFor = false,
  ) {
    this.#store = store
    this.isWaitedFor = isWaitedFor
    this.#memory = memory
    this.#unreferenced = unreferenced
    this.#readership = readership
    this.#isShared = coherence?.kind !== 'own'
  }

  /**
   * A chunk, which the caller owns.
   *
   * @param isMidway whether somebody has been given what comes before it, or the header section
   */
  async read(
    {
      generation,
      length,
    }: Pick<ChunksRecord, 'generation'> & { readonly length: number | undefined },
    index: number,
    isMidway: boolean,
  ): Promise<Buffer> {
    const key = chunkKey(generation, index)
    const turn = takeTurn(Math.min(length ?? CHUNK_SIZE, CHUNK_SIZE))
    if (turn) await turn
    const remembered = this.#memory?.chunk(key)
    if (remembered) return Buffer.from(remembered)
    const bytes = await (isMidway ? this.#getPatiently(key) : this.#store.get(key))
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
   * The first chunk that is needed, where the store has all that follow: as long as the caller has been given
   * nothing, the origin can be asked instead.
   */
  async readFirst(record: ChunksRecord, index: number): Promise<Buffer> {
    const [chunk, areThere] = await Promise.all([
      this.read(record, index, false),
      this.#haveAll(chunkKeys(record).slice(index + 1)),
    ])
    if (areThere) return chunk
    throw new LostContentError('a chunk of the stored content is missing')
  }

  async #haveAll(keys: readonly string[]): Promise<boolean> {
    if (this.#store.hasAll === undefined) return true
    const unknown = keys.filter((key) => this.#memory?.chunk(key) === undefined)
    return unknown.length === 0 || this.#store.hasAll(unknown)
  }

  /**
   * Once a caller has been given the beginning, there is no way back to the network: a store that fails now
   * may be there again before long, as after a failover.
   */
  async #getPatiently(key: string): Promise<Buffer | undefined> {
    const end = performance.now() + MIDWAY_DEADLINE
    for (let pause = 50; ; pause *= 2) {
      try {
        return await this.#store.get(key, MIDWAY_DEADLINE)
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
      const bytes = await this.#store.get(key, MIDWAY_DEADLINE)
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
   * @returns when it has been noted that they count no more
   */
  async remove(record: ChunksRecord): Promise<void> {
    const { generation } = record
    const grace = this.#isShared ? READERS_GRACE : OWN_GRACE
    const timer = setTimeout(() => void this.#remove(record), grace).unref()
    clearTimeout(this.#doomed.get(generation)?.timer)
    this.#doomed.set(generation, { record, timer })
    // After the end of this process the next one removes them, or they expire.
    if (this.isClearedBlindly) this.#store.expire?.(chunkKeys(record), DOOMED_TIME).catch(() => {})
    await this.#unreferenced?.add(generation, 2 * READERS_GRACE).catch(() => {})
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
      const mayBeRead = this.#isShared && !doomed?.isUnknown
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
    open(position = 0, isMidway = false) {
      chunks.retain(generation)
      let hasBegun = isMidway
      return {
        async read() {
          if (position >= length) return null
          const index = Math.floor(position / chunkSize)
          const chunk = await (hasBegun
            ? chunks.read(record, index, true)
            : chunks.readFirst(record, index))
          hasBegun = true
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

/** Reads pieces one after the other: ranges of some content, and text between them. */
export function openPieces(content: Content, pieces: readonly (Range | string)[]): ContentReader {
  const left = [...pieces]
  // Between two ranges too the content must stay where it is.
  const hold = content.open()
  let range: ContentReader | undefined
  let remaining = 0
  let hasBegun = false
  const closeRange = () => {
    range?.close()
    range = undefined
  }
  return {
    async read() {
      let text = ''
      if (range === undefined) {
        // With the text the bytes that it announces, so that nothing is announced that is not there.
        if (typeof left[0] === 'string') text = left.shift() as string
        const piece = left.shift() as Range | undefined
        if (piece === undefined) return text === '' ? null : Buffer.from(text, 'latin1')
        range = content.open(piece.first, hasBegun)
        remaining = rangeLength(piece)
      }
      const bytes = await range.read()
      if (bytes === null) throw new LostContentError('the stored content is too short')
      const part = bytes.subarray(0, remaining)
      remaining -= part.length
      hasBegun = true
      if (remaining === 0) closeRange()
      return text === '' ? part : Buffer.concat([Buffer.from(text, 'latin1'), part])
    },
    close() {
      closeRange()
      hold.close()
    },
  }
}

const PROCESS = randomBytes(12).toString('hex')
let generations = 0

/** A name that no other content has, of this process or another one. */
function newGeneration(): string {
  generations += 1
  return `${PROCESS}-${generations.toString(36)}`
}

const NO_BYTES = Buffer.alloc(0)

interface GrowingReader {
  position: number
}

/**
 * Content that is still being received. It is written to the store chunk by chunk, and can be read
 * from its beginning meanwhile: from memory what the store has not yet, from the store the rest.
 */
export class GrowingContent implements Content {
  readonly generation: string = newGeneration()
  /** The number of bytes received so far. */
  received = 0
  /** Called when a second reader wants the content, so that the first no longer sets the pace. */
  onReader: (() => void) | undefined
  /** Called when nobody reads the content any more, although there is more to come. */
  onUnread: (() => void) | undefined
  /** Called when the content is given up, so that nobody new should read it. */
  onGivenUp: (() => void) | undefined
  /** Called when there is room in memory again after {@link isCongested}. */
  onRoom: (() => void) | undefined

  readonly #store: Chunks
  readonly #about: About
  readonly #timeToLive: number | undefined
  readonly #maxLength: number
  readonly #chunks: (Buffer | undefined)[] = []
  readonly #readers = new Set<GrowingReader>()
  readonly #writes = new Set<Promise<void>>()
  /** The chunk that is being filled, as large as it has had to be so far. */
  #tail: Buffer = NO_BYTES
  #tailLength = 0
  /** Chunks that have been written, but not been read by all readers yet: those that are near get them from here. */
  readonly #kept = new Set<number>()
  /** Memory of chunks that have been written, for others: collecting it would take more than it is. */
  readonly #spare: Buffer[] = []
  #held = 0
  #state: 'growing' | 'complete' | 'failed' = 'growing'
  #failure: Error | undefined
  #isCongested = false
  /** Why the content will not be stored. */
  #givenUp: Error | undefined
  #waiting: (() => void)[] = []

  /**
   * @param fields of the response
   * @param timeToLive of the chunks, in milliseconds; undefined for ever
   * @param maxLength in bytes: with more it is not stored
   */
  constructor(
    store: Chunks,
    fields: Fields,
    timeToLive: number | undefined,
    maxLength: number = Infinity,
  ) {
    this.#store = store
    this.#about = { fields }
    this.#timeToLive = timeToLive
    this.#maxLength = maxLength
  }

  /** Whether reception should pause until {@link onRoom}: memory is full, and somebody still needs what is in it. */
  get isCongested(): boolean {
    return this.#isCongested
  }

  get isComplete(): boolean {
    return this.#state === 'complete'
  }

  /** Whether some of it has been given to the store, or was to be. */
  get isWritten(): boolean {
    return this.#chunks.length > 0
  }

  /** Why the content will not be stored; undefined as long as it will. */
  get givenUp(): Error | undefined {
    return this.#givenUp
  }

  append(bytes: Buffer): void {
    this.received += bytes.length
    this.#held += bytes.length
    // Before anything of what is too large is written, which would count until it has been removed.
    if (this.received > this.#maxLength && this.#givenUp === undefined) {
      this.giveUp(new TooLargeError(`the content is larger than ${this.#maxLength} bytes`))
    }
    // Copies them: whoever gets the bytes next may change them.
    for (let copied = 0; copied < bytes.length; ) {
      const length = Math.min(bytes.length - copied, CHUNK_SIZE - this.#tailLength)
      this.#reserve(this.#tailLength + length)
      bytes.copy(this.#tail, this.#tailLength, copied, copied + length)
      this.#tailLength += length
      copied += length
      if (this.#tailLength === CHUNK_SIZE) this.#seal()
    }
    if (this.#held > MEMORY_LIMIT) this.#isCongested = true
    if (this.#isCongested && this.#readers.size === 0 && !this.#store.isWaitedFor) {
      this.giveUp(new TooSlowError())
    }
    this.#wake()
  }

  #reserve(length: number): void {
    if (length <= this.#tail.length) return
    const isLong = this.#chunks.length > 0
    const size = isLong ? CHUNK_SIZE : Math.min(CHUNK_SIZE, Math.max(length, 2 * this.#tail.length))
    const spare = size === CHUNK_SIZE ? this.#spare.pop() : undefined
    const grown = spare ?? Buffer.allocUnsafeSlow(ROOM + size).subarray(ROOM)
    this.#tail.copy(grown, 0, 0, this.#tailLength)
    this.#tail = grown
  }

  #seal(): void {
    const chunk = this.#tail.subarray(0, this.#tailLength)
    const index = this.#chunks.push(chunk) - 1
    this.#tail = NO_BYTES
    this.#tailLength = 0
    if (this.#givenUp) this.#forget()
    else this.#write(index, chunk)
  }

  #write(index: number, chunk: Buffer): void {
    const write = this.#store
      .write(this, index, chunk, this.#timeToLive, this.#about)
      .then(
        () => {
          if (this.#givenUp) return
          this.#kept.add(index)
          this.#free(chunk.length)
          this.#dropKept()
        },
        (error: Error) => this.giveUp(error),
      )
      .finally(() => this.#writes.delete(write))
    this.#writes.add(write)
  }

  /** Lets go of what has been written and read by all readers, and of more than may be kept. */
  #dropKept(): void {
    if (this.#kept.size === 0) return
    const needed = this.#needed
    for (const index of this.#kept) {
      const isTooMuch = this.#kept.size * CHUNK_SIZE > MEMORY_LIMIT
      if (!isTooMuch && (index + 1) * CHUNK_SIZE > needed) continue
      const chunk = this.#chunks[index]
      this.#kept.delete(index)
      this.#chunks[index] = undefined
      if (chunk && this.#spare.length < MAX_SPARE) this.#spare.push(chunk)
    }
  }

  /** From where on readers need the content. */
  get #needed(): number {
    return Math.min(...[...this.#readers].map(({ position }) => position))
  }

  #free(bytes: number): void {
    this.#held -= bytes
    if (!this.#isCongested || this.#held > MEMORY_LIMIT / 2) return
    this.#isCongested = false
    this.onRoom?.()
  }

  /** Does not store the content. Readers still get all of it. */
  giveUp(reason: Error): void {
    if (this.#givenUp) return
    this.#givenUp = reason
    this.#forget()
    this.onGivenUp?.()
    this.#hurry()
  }

  /**
   * Where nothing is stored, the pace is that of the fastest reader: the slowest one may wait for it to end. What
   * all of them are slow for is held up.
   */
  #hurry(): void {
    if (this.#isCongested && this.#givenUp && this.#waiting.length > 0) this.onRoom?.()
  }

  /** Lets go of what no reader needs any more, where the store does not have it. */
  #forget(): void {
    const needed = this.#needed
    for (const [index, chunk] of this.#chunks.entries()) {
      if (chunk === undefined || (index + 1) * CHUNK_SIZE > needed) continue
      this.#chunks[index] = undefined
      if (!this.#kept.delete(index)) this.#free(chunk.length)
    }
  }

  /** All content has been received. */
  complete(): void {
    this.#state = 'complete'
    this.#wake()
  }

  /** No more content will be received. */
  fail(error: Error): void {
    if (this.#state !== 'growing') return
    this.#state = 'failed'
    this.#failure = error
    this.giveUp(error)
    this.#wake()
  }

  /**
   * Waits until the store has all chunks of complete content.
   *
   * @returns the content as it is kept
   * @throws where the content could not be stored
   */
  async saved(): Promise<Content> {
    if (this.#givenUp) throw this.#givenUp
    if (this.received <= INLINE_LIMIT) {
      const bytes = this.#tail.subarray(0, this.#tailLength)
      // What is larger than it has to be is not kept.
      const isTight = this.#tail.length - this.#tailLength <= this.#tailLength / 4
      return inlineContent(bytes, isTight ? this.#tail.byteOffset : 0)
    }
    if (this.#tailLength > 0) this.#seal()
    await Promise.all(this.#writes)
    if (this.#givenUp) throw this.#givenUp
    return chunkedContent(this.#store, this.record)
  }

  /** Where the chunks are that have been written. */
  get record(): ChunksRecord {
    return { generation: this.generation, chunkSize: CHUNK_SIZE, length: this.received }
  }

  get chunks(): ChunksRecord | undefined {
    return this.received > INLINE_LIMIT ? this.record : undefined
  }

  get length(): number | undefined {
    return this.isComplete ? this.received : undefined
  }

  open(position = 0): ContentReader {
    const reader: GrowingReader = { position }
    this.#readers.add(reader)
    this.#store.retain(this.generation)
    this.onReader?.()
    return {
      read: () => this.#read(reader),
      close: () => {
        this.#readers.delete(reader)
        this.#afterReading()
        this.#store.release(this.generation)
        if (this.#readers.size === 0 && this.#state === 'growing') this.onUnread?.()
      },
    }
  }

  async #read(reader: GrowingReader): Promise<Buffer | null> {
    for (;;) {
      if (reader.position < this.received) {
        const bytes = await this.#bytesAt(reader.position)
        reader.position += bytes.length
        this.#afterReading()
        return bytes
      }
      if (this.#state === 'complete') return null
      if (this.#state === 'failed') throw this.#failure
      const more = new Promise<void>((resolve) => this.#waiting.push(resolve))
      this.#hurry()
      await more
    }
  }

  #afterReading(): void {
    if (this.#givenUp) this.#forget()
    else this.#dropKept()
  }

  async #bytesAt(position: number): Promise<Buffer> {
    const index = Math.floor(position / CHUNK_SIZE)
    const offset = position - index * CHUNK_SIZE
    if (index < this.#chunks.length) {
      const held = this.#chunks[index]
      if (held) return Buffer.from(held.subarray(offset))
      return (await this.#store.read(this, index, true)).subarray(offset)
    }
    return Buffer.from(this.#tail.subarray(offset, this.#tailLength))
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}

/** All of some content that is in memory, or short enough to be. */
export async function readAll(content: Content): Promise<Buffer> {
  const reader = content.open()
  const parts: Buffer[] = []
  try {
    for (let bytes = await reader.read(); bytes; bytes = await reader.read()) parts.push(bytes)
  } finally {
    reader.close()
  }
  return Buffer.concat(parts)
}
