import { randomBytes } from 'node:crypto'
import type { Fields } from '../rfc9111/message.ts'
import type { About, UnwrittenRecord } from './byte-store.ts'
import { CHUNK_SIZE, type Chunks, chunkedContent, chunkKey } from './chunks.ts'
import {
  type ChunksRecord,
  type Content,
  type ContentReader,
  GivenUpError,
  inlineContent,
  TooLargeError,
  TooSlowError,
} from './content.ts'
import { encodeRecord } from './records.ts'
import { takeTurn } from './turns.ts'

/** Content up to this length is kept in the record of its response, in bytes. */
const INLINE_LIMIT = 64 * 1024

/** How many bytes are left free before such content, so that the rest of its record is written there. */
const ROOM = 2048

/**
 * How much content is held that is not written yet, in bytes: a store that is not waited for may fall behind for a
 * while; with one that is, more than it takes to keep it busy would only be memory.
 */
const MOST_UNWRITTEN = 8 * 2 ** 20
const MOST_UNWRITTEN_WAITING = 2 * 2 ** 20

/** How much is held for readers that are not far behind, in bytes. */
const MOST_KEPT = 8 * 2 ** 20

/** Of how many chunks that have been written the memory is used again. */
const MAX_SPARE = 8
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
  /** Whether it has been given something. */
  hasBegun: boolean
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

  /** Whether nobody but the store wants it: then it waits for that as long as it takes. */
  isForStore = false

  readonly #store: Chunks
  readonly #about: About
  readonly #timeToLive: number | undefined
  readonly #maxLength: number
  readonly #mostHeld: number
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
  /** Ends the waiting for a store that does not get on. */
  #standstill: NodeJS.Timeout | undefined

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
    this.#about = { fields, isGivenUp: () => this.#givenUp !== undefined }
    this.#timeToLive = timeToLive
    this.#maxLength = maxLength
    this.#mostHeld = store.isWaitedFor ? MOST_UNWRITTEN_WAITING : MOST_UNWRITTEN
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
    if (this.#held > this.#mostHeld) this.#isCongested = true
    if (this.#isCongested) this.#waitForStore()
    this.#wake()
  }

  /** Content that comes faster than it is written waits for a store that gets on with it, and for no other one. */
  #waitForStore(): void {
    if (this.isForStore || this.#givenUp || this.#state !== 'growing') return
    if (this.#readers.size === 0 && !this.#store.isWaitedFor) this.giveUp(new TooSlowError())
    else {
      const giveUp = () => this.giveUp(new TooSlowError())
      this.#standstill ??= setTimeout(giveUp, this.#store.patience).unref()
    }
  }

  #endWaiting(): void {
    clearTimeout(this.#standstill)
    this.#standstill = undefined
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
      const isTooMuch = this.#kept.size * CHUNK_SIZE > MOST_KEPT
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
    this.#standstill?.refresh()
    if (!this.#isCongested || this.#held > this.#mostHeld / 2) return
    this.#isCongested = false
    this.#endWaiting()
    this.onRoom?.()
  }

  /** Does not store the content. Readers still get all of it. */
  giveUp(reason: Error): void {
    if (this.#givenUp) return
    this.#givenUp = reason
    this.#endWaiting()
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
    this.#endWaiting()
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
    if (this.received > INLINE_LIMIT) {
      if (this.#tailLength > 0) this.#seal()
      await Promise.all(this.#writes)
      if (this.#givenUp) throw this.#givenUp
    }
    return this.kept
  }

  /** Complete content as it is kept, whether or not the store has all of it. */
  get kept(): Content {
    if (this.received > INLINE_LIMIT) return chunkedContent(this.#store, this.record)
    const bytes = this.#tail.subarray(0, this.#tailLength)
    // What is larger than it has to be is not kept.
    const isTight = this.#tail.length - this.#tailLength <= this.#tailLength / 4
    return inlineContent(bytes, isTight ? this.#tail.byteOffset : 0)
  }

  /** The chunks of complete content that the store may not have yet. */
  get unwritten(): readonly UnwrittenRecord[] {
    if (this.received <= INLINE_LIMIT) return []
    const tail = this.#tail.subarray(0, this.#tailLength)
    const all = this.#tailLength > 0 ? [...this.#chunks, tail] : this.#chunks
    const until = this.#timeToLive === undefined ? undefined : Date.now() + this.#timeToLive
    return all.flatMap((chunk, index) => {
      if (chunk === undefined || this.#kept.has(index)) return []
      const key = chunkKey(this.generation, index)
      return [{ key, bytes: encodeRecord(key, null, chunk), until }]
    })
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
    const reader: GrowingReader = { position, hasBegun: false }
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
    if (!reader.hasBegun && !this.#reaches(reader)) {
      throw new GivenUpError('the content is neither stored nor received to its end')
    }
    for (;;) {
      if (reader.position < this.received) {
        const turn = takeTurn(Math.min(this.received - reader.position, CHUNK_SIZE))
        if (turn) await turn
        const bytes = await this.#bytesAt(reader)
        reader.hasBegun = true
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

  /** Whether a reader that begins now may get to the end: of what is given up there may be parts left. */
  #reaches({ position }: GrowingReader): boolean {
    if (this.#state === 'failed') return false
    if (this.#givenUp === undefined) return true
    const index = Math.floor(position / CHUNK_SIZE)
    return this.#chunks.slice(index).every((chunk) => chunk !== undefined)
  }

  #afterReading(): void {
    if (this.#givenUp) this.#forget()
    else this.#dropKept()
  }

  async #bytesAt({ position, hasBegun }: GrowingReader): Promise<Buffer> {
    const index = Math.floor(position / CHUNK_SIZE)
    const offset = position - index * CHUNK_SIZE
    if (index < this.#chunks.length) {
      const held = this.#chunks[index]
      if (held) return Buffer.from(held.subarray(offset))
      return (await this.#store.read(this, index, hasBegun)).subarray(offset)
    }
    return Buffer.from(this.#tail.subarray(offset, this.#tailLength))
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const resolve of waiting) resolve()
  }
}
