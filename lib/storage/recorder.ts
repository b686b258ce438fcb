import { setImmediate as nextTurn } from 'node:timers/promises'
import { asError, type Events } from '../observe/events.ts'
import { expirationTime } from '../rfc9111/freshness.ts'
import { finishAtExit, isFinished } from './at-exit.ts'
import type { Stores } from './byte-store.ts'
import { CHUNK_SIZE, type Chunks } from './chunks.ts'
import { ClearedError, GivenUpError, readAll, TooLargeError, TooSlowError } from './content.ts'
import { type Entry, isSameVariant, keptUntil, type NewEntry, STALE_RETENTION } from './entry.ts'
import { Exclusive } from './exclusive.ts'
import { GrowingContent } from './growing-content.ts'
import { finite, type Heads } from './heads.ts'
import type { Limits } from './limits.ts'
import type { Outdated } from './outdated.ts'
import type { Pending, Recent } from './pending.ts'
import { isPart, type Places, tidy } from './places.ts'
import { isRefusal } from './refusal.ts'
import { LaterTurn } from './turns.ts'

/**
 * How much that has been received may wait to be written, in bytes: with more, the store is slower than the
 * network. Content in chunks has a limit of its own.
 */
const MAX_BACKLOG = 32 * 2 ** 20

/** With how much of it nothing waits for the next turn of the event loop any more, in bytes. */
const MAX_WAITING = MAX_BACKLOG / 8

/** What is taken for a response without its content, in bytes. */
const OVERHEAD = 2048

/** What is taken for a record beside its metadata and its content, also if it is encrypted, in bytes. */
const RECORD_OVERHEAD = 128

/** Metadata is never as long, in bytes. */
const MOST_METADATA = 2 ** 20

/** A response that is being stored while it is being received. */
export interface Recording {
  readonly entry: Entry
  readonly content: GrowingContent
  /** Whether it is stored after all; undefined where that is not asked. Until then it is not found. */
  readonly agreed: Promise<boolean> | undefined
  /**
   * There is no more content: the response is stored, if it is whole.
   *
   * @param isLater whether what else arrives at the moment comes first, until {@link Recorder.hurry}; what takes an
   * agreement waits for a turn of its own
   * @returns why it could not be stored; undefined where it is, or another one has taken its place
   */
  complete(isWhole: boolean, isLater?: boolean): Promise<Error | undefined>
  /** The content will not be complete: nothing is stored. */
  abandon(error: Error): void
}

/** What a {@link Recorder} works with. */
export interface RecorderParts {
  readonly heads: Heads
  readonly chunks: Chunks
  readonly places: Places
  readonly pending: Pending
  readonly outdated: Outdated
  readonly limits: Limits | undefined
  readonly events: Events
  /** Lets changes to one cache key happen one after the other. */
  readonly exclusive: Exclusive
  /** How much there may be in the store, in bytes. */
  readonly maxSize: number
  /** Removes what has been written in vain. */
  remove(entry: Entry): Promise<void>
  /** Writes a response when the process exits; undefined where that is not possible. */
  readonly finish: Stores['finish']
}

/**
 * Stores responses while they are being received. Content is written before the record that refers to it, so that
 * a response is either stored completely or not at all.
 */
export class Recorder {
  readonly #parts: RecorderParts
  /** With more content than this, in bytes, a response would be evicted at once, and all others before it. */
  readonly maxContentSize: number
  /** What will become changes once it has been agreed to. */
  readonly #asking = new Set<Promise<unknown>>()
  /** What is not written before there is room for it, by its cache key. */
  readonly #waiting = new Exclusive()
  /** What has been received, and is being written. */
  readonly #writing = new Map<GrowingContent, Recent>()
  /** How much of that there is, in bytes. */
  #backlog = 0
  readonly #laterTurn = new LaterTurn()

  constructor(parts: RecorderParts) {
    this.#parts = parts
    this.maxContentSize = contentWithin(parts.maxSize)
  }

  /**
   * Begins to store a response. From now on it is found, and its content can be read as it arrives;
   * where it takes an agreement, it is found when that has been given.
   *
   * @param maxLength of its content, in bytes: with more it is not stored after all
   * @param agree whether it is stored: asked when it is complete, in a turn of its own
   * @param isFirst whether nothing seems to be stored for its cache key
   */
  record(
    response: NewEntry,
    maxLength: number = Infinity,
    agree?: (entry: Entry) => Promise<boolean>,
    isFirst = false,
  ): Recording {
    const now = response.responseTime
    // Chunks cannot be given more time later, so they get enough for the response to be freshened.
    const timeToLive = keptUntil(response) - now + STALE_RETENTION
    const { fields } = response
    const most = Math.min(maxLength, this.maxContentSize)
    const { chunks, pending } = this.#parts
    const unfinished = finite(Math.min(timeToLive, chunks.unfinishedTime))
    const content = new GrowingContent(chunks, fields, unfinished, most)
    const recent: Recent = {
      entry: {
        ...response,
        generation: content.generation,
        content,
        chunksUntil: now + timeToLive,
      },
      isObsolete: false,
    }
    content.onGivenUp = () => {
      pending.remove(recent)
      this.#discard(content)
    }
    const agreement = agree && Promise.withResolvers<boolean>()
    if (agree === undefined) pending.add(recent)
    return {
      entry: recent.entry,
      content,
      agreed: agreement?.promise,
      complete: (isWhole, isLater) => {
        content.complete()
        if (!isWhole) content.giveUp(new GivenUpError('the content has not its announced length'))
        if (agree === undefined) return this.#commit(recent, content, isFirst, isLater)
        agreement?.resolve(this.#commitIfAgreed(recent, content, agree))
        return Promise.resolve(undefined)
      },
      abandon: (error) => {
        if (content.isComplete) return
        content.fail(error)
        agreement?.resolve(false)
      },
    }
  }

  /** Stores a complete response if that is agreed to. */
  #commitIfAgreed(
    recent: Recent,
    content: GrowingContent,
    agree: (entry: Entry) => Promise<boolean>,
  ): Promise<boolean> {
    const asking = (async () => {
      // In a turn of its own: whoever receives the response is told its end first.
      await nextTurn()
      const isGivenUp = content.givenUp !== undefined
      if (!isGivenUp && !(await agree(recent.entry))) {
        this.#discard(content)
        return false
      }
      if (!isGivenUp) this.#parts.pending.add(recent)
      void this.#commit(recent, content)
      return !isGivenUp
    })().finally(() => this.#asking.delete(asking))
    this.#asking.add(asking)
    return asking
  }

  /**
   * Stores a response whose content is read from elsewhere, as fast as the store takes it.
   *
   * @param maxLength of its content, in bytes
   * @throws where the content cannot be read or is too long, or the store fails
   */
  async store(
    response: NewEntry,
    content: AsyncIterable<Uint8Array>,
    maxLength?: number,
  ): Promise<void> {
    const recording = this.record(response, maxLength)
    recording.content.isForStore = true
    try {
      for await (const bytes of content) await append(recording.content, bytes)
    } catch (error) {
      recording.abandon(asError(error))
      throw error
    }
    const failure = await recording.complete(true)
    if (failure) throw failure
  }

  /** Stores a response whose fields have been freshened, unless another one has taken its place. */
  freshen(entry: Entry): void {
    if (isGivenUp(entry)) return
    const { pending } = this.#parts
    const same = pending
      .at(entry.cacheKey)
      .filter((recent) => isSameVariant(recent.entry.nominated, entry.nominated))
    if (same.some((recent) => recent.entry.generation !== entry.generation)) return
    // What is still to be written is written with the new fields.
    for (const recent of same) recent.entry = entry
    const recent: Recent = { entry, isObsolete: false }
    pending.add(recent)
    void this.#rewrite(recent)
  }

  /**
   * Stores short content once more, for other requests. Longer content is not kept twice.
   *
   * @returns whether it is stored
   */
  async copy(entry: Entry): Promise<boolean> {
    const { content, chunksUntil: _, generation: __, ...response } = entry
    if (content.chunks || content.length === undefined) return false
    const bytes = await readAll(content)
    const recording = this.record(response)
    recording.content.append(bytes)
    recording.complete(true)
    return true
  }

  async #commit(
    recent: Recent,
    content: GrowingContent,
    isFirst = false,
    isLater = false,
  ): Promise<Error | undefined> {
    const { chunks, pending, limits: all, exclusive, maxSize } = this.#parts
    const turn = isLater ? this.#laterTurn.wait() : undefined
    const isWaiting = all?.isFull ?? false
    // Of content in chunks the last one waits with it, if it has to.
    const inMemory = Math.min(content.received, CHUNK_SIZE)
    const size = OVERHEAD + (content.chunks && !isWaiting ? 0 : inMemory)
    if (this.#isTooLarge(recent.entry, content)) {
      content.giveUp(new TooLargeError(`the response is larger than ${maxSize} bytes`))
    } else if (this.#backlog + size > MAX_BACKLOG) content.giveUp(new TooSlowError())
    this.#backlog += size
    if (this.#backlog > MAX_WAITING) this.hurry()
    const { cacheKey } = recent.entry
    const limits = content.givenUp ? undefined : all
    const whole = OVERHEAD + content.received
    const room = limits?.begin(whole)
    if (room) await this.#waiting.run([cacheKey], () => room)
    if (content.givenUp === undefined) this.#writing.set(content, recent)
    finishAtExit(this)
    return exclusive.run([cacheKey], async () => {
      try {
        await turn
        await this.#store(recent, content, isFirst)
        return undefined
      } catch (error) {
        this.#noteFailure(recent.entry, content, isFirst, error)
        return asError(error)
      } finally {
        this.#backlog -= size
        this.#writing.delete(content)
        if (this.#writing.size === 0) isFinished(this)
        limits?.end(whole)
        chunks.finish(content.generation)
        pending.remove(recent)
      }
    })
  }

  /** A response could not be stored: what it was to take the place of is outdated where it is known to be another one. */
  #noteFailure(entry: Entry, content: GrowingContent, isFirst: boolean, error: unknown): void {
    const { outdated, events } = this.#parts
    // What the store refused has been told already.
    const isWanted = error instanceof TooLargeError || error instanceof ClearedError
    if (error instanceof GivenUpError && !isWanted) events.error('write', error)
    if (!isFirst && !isPart(entry) && isOfStore(error)) {
      const { cacheKey, responseTime, nominated, fields } = entry
      outdated.add(cacheKey, responseTime - 1, { nominated, fields })
    }
    // What may be written after all needs its content: it goes with the process, or in its time.
    if (content.givenUp === undefined && isRefusal(error)) this.#discard(content)
  }

  /** @throws where it cannot be stored */
  async #store(recent: Recent, content: GrowingContent, isFirst: boolean): Promise<void> {
    const saved = await content.saved()
    if (recent.isObsolete) return this.#discard(content)
    const entry = { ...recent.entry, content: saved }
    const { chunks, places, events, remove } = this.#parts
    await places.writeSurely(entry, isFirst)
    // While it was written, all was cleared: what it refers to is not there any more.
    if (content.givenUp) void remove(entry)
    else if (saved.chunks) {
      await tidy(() => chunks.refer(saved.chunks, true))
      await tidy(() => chunks.secure(saved.chunks, finite(entry.chunksUntil - Date.now())))
    }
    events.stored(entry, expirationTime(entry))
  }

  /** Whether a response is by itself larger than all that may be held, so that others would be evicted in vain. */
  #isTooLarge({ url, fields, nominated, tags }: Entry, { received }: GrowingContent): boolean {
    if (received + sizeOfChunks(received) + MOST_METADATA < this.#parts.maxSize) return false
    const metadata = Buffer.byteLength(JSON.stringify({ url, fields, nominated, tags }))
    const size = received + sizeOfChunks(received) + metadata + 4 * RECORD_OVERHEAD
    return size > this.#parts.maxSize
  }

  async #rewrite(recent: Recent): Promise<void> {
    const { heads, places, pending, exclusive } = this.#parts
    const { entry } = recent
    await exclusive.run([entry.cacheKey], async () => {
      try {
        const kept = await places.find(entry)
        if (kept && !recent.isObsolete) {
          await heads.write(kept.key, { ...entry, content: kept.entry.content }, kept)
        }
      } catch {
        // It has been told; the response is validated once more the next time.
      } finally {
        pending.remove(recent)
      }
    })
  }

  /** Writes what has been received, as far as it can be done at once: the process exits. */
  finish(): void {
    const { heads, finish } = this.#parts
    for (const [content, { entry, isObsolete }] of this.#writing) {
      if (isObsolete || content.givenUp) continue
      try {
        finish?.(heads.unwritten({ ...entry, content: content.kept }), content.unwritten)
      } catch {
        // It is a cache.
      }
    }
  }

  #discard(content: GrowingContent): void {
    if (content.isWritten) this.#parts.chunks.discard(content.record)
  }

  /** Stores at once what has been received: an agent has nothing else to do, and the program may be about to exit. */
  hurry(): void {
    this.#laterTurn.come()
  }

  /** Waits until what has been received by now, for one cache key or for all, has begun to be written. */
  async settled(cacheKey?: string): Promise<void> {
    if (cacheKey === undefined) await Promise.all(this.#asking)
    await this.#waiting.settled(cacheKey)
  }
}

/** How much content a response may have so that it takes no more than so many bytes. */
function contentWithin(maxSize: number): number {
  return maxSize === Infinity ? Infinity : maxSize - OVERHEAD - sizeOfChunks(maxSize)
}

/** What the chunks of some content take beside it, at most, in bytes. */
function sizeOfChunks(length: number): number {
  return Math.ceil(length / CHUNK_SIZE) * RECORD_OVERHEAD
}

/** Appends bytes to content when there is room for them. @throws where the content is not going to be stored */
async function append(content: GrowingContent, bytes: Uint8Array): Promise<void> {
  for (let start = 0; start < bytes.length; start += CHUNK_SIZE) {
    content.append(Buffer.from(bytes.subarray(start, start + CHUNK_SIZE)))
    if (content.givenUp) throw content.givenUp
    if (!content.isCongested) continue
    const { onGivenUp } = content
    await new Promise<void>((resolve) => {
      content.onRoom = resolve
      content.onGivenUp = () => {
        onGivenUp?.()
        resolve()
      }
    })
    content.onGivenUp = onGivenUp
    if (content.givenUp) throw content.givenUp
  }
}

/** Whether it is the store that failed, or was too slow; not what came from the origin or what the user wants. */
function isOfStore(error: unknown): boolean {
  return error instanceof TooSlowError || !(error instanceof GivenUpError)
}

/** Whether a response is not going to be stored after all. */
function isGivenUp({ content }: Entry): boolean {
  return content instanceof GrowingContent && content.givenUp !== undefined
}
