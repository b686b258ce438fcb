import { LRUCache } from '../lru.ts'
import type { Fields, Nominated } from '../rfc9111/message.ts'
import type { Head } from './heads.ts'

/** What other processes may do to a store without this one being told. */
export type Coherence =
  /** Nothing: it is this process's own. */
  | { readonly kind: 'own' }
  /** Change it, which changes its version; `NaN` while that cannot be told. */
  | { readonly kind: 'versioned'; version(): number }
  /** Change it unnoticed. */
  | { readonly kind: 'unnoticed' }

/** How long what others may change unnoticed is trusted, in milliseconds. */
const TRUST = 1000

/**
 * What the objects that make up a response take, and what finds it, in bytes, without its texts and its content;
 * each further field, nominated field or tag; and a variant without them. As measured with `--expose-gc`.
 */
const OVERHEAD = 1024
const FIELD_OVERHEAD = 40
const VARIANT_OVERHEAD = 128

/** What part of it one response may take. */
const LARGEST_SHARE = 1 / 8

interface Remembered {
  readonly head: Head
  /** Until when the store keeps it, in milliseconds since the epoch. */
  readonly until: number
  /** The version of the store at which it was there, or the time. */
  readonly seen: number
}

/**
 * What has been read from a store or written to it, as it is used: heads decoded, and chunks. What was
 * used least recently goes first. Who gets something out of it must not change it.
 */
export class MemoryTier {
  /** Heads by their keys, chunks by theirs with a prefix that no key of a head has. */
  readonly #cache: LRUCache<string, Remembered | Buffer>
  readonly #coherence: Coherence
  /** The version that the store had when it was last asked. */
  #lastVersion = Number.NaN

  /** @param maxSize in bytes; `Infinity` for no limit */
  constructor(maxSize: number, coherence: Coherence) {
    const most = Math.min(maxSize, Number.MAX_SAFE_INTEGER)
    this.#cache = new LRUCache({ maxSize: most, sizeCalculation: sizeOf })
    this.#coherence = coherence
  }

  /**
   * Where the store stands, or stood not long ago: to be asked before it is read, and told with what was read.
   * What turns out to have been there later than that is only not trusted.
   */
  seen(): number {
    return Number.isNaN(this.#lastVersion) ? this.#now() : this.#lastVersion
  }

  #now(): number {
    if (this.#coherence.kind !== 'versioned') return Date.now()
    this.#lastVersion = this.#coherence.version()
    return this.#lastVersion
  }

  /** A head, if it is certain that the store has no other one. */
  head(key: string): Head | undefined {
    const remembered = this.#cache.get(key) as Remembered | undefined
    if (remembered === undefined) return undefined
    const now = this.#now()
    // It may be right, but that cannot be told.
    if (Number.isNaN(now)) return undefined
    if (this.#isTrusted(remembered, now) && Date.now() < remembered.until) return remembered.head
    this.#cache.delete(key)
    return undefined
  }

  #isTrusted({ seen }: Remembered, now: number): boolean {
    switch (this.#coherence.kind) {
      case 'own':
        return true
      case 'versioned':
        return now === seen
      case 'unnoticed':
        return Math.abs(now - seen) < TRUST
    }
  }

  /**
   * @param until when the store forgets it, in milliseconds since the epoch
   * @param seen when it was there: see {@link seen}
   */
  rememberHead(key: string, head: Head, until: number, seen: number): void {
    if (!Number.isNaN(seen)) this.#cache.set(key, { head, until, seen })
  }

  /** Whether content is short enough that its chunks do not drive out everything else. */
  takes(length: number): boolean {
    return length <= this.#cache.maxSize * LARGEST_SHARE
  }

  /** A chunk. No other one ever has its key. */
  chunk(key: string): Buffer | undefined {
    return this.#cache.get(`chunk.${key}`) as Buffer | undefined
  }

  rememberChunk(key: string, bytes: Buffer): void {
    this.#cache.set(`chunk.${key}`, bytes)
  }

  forgetHead(key: string): void {
    this.#cache.delete(key)
  }

  clear(): void {
    this.#cache.clear()
  }
}

function sizeOf(value: Remembered | Buffer): number {
  if (Buffer.isBuffer(value)) return value.length + 1
  const { head } = value
  if (head.kind === 'variants') {
    const sizes = head.variants.map(({ nominated }) => VARIANT_OVERHEAD + textsSize(nominated))
    return sizes.reduce((sum, size) => sum + size, OVERHEAD)
  }
  const { url, fields, nominated, tags = [], content } = head.entry
  const size = OVERHEAD + url.length + textsSize(fields) + textsSize(nominated) + textsSize(tags)
  return size + (content.bytes ? memoryOf(content.bytes, size) : 0)
}

/** What some texts take, and their names where these are not numbers: a character is a byte, as it mostly is. */
function textsSize(texts: Fields | Nominated | readonly string[]): number {
  let size = 0
  for (const [name, value] of Object.entries(texts)) {
    const isOne = value === null || typeof value === 'string'
    size += FIELD_OVERHEAD + name.length + (isOne ? (value?.length ?? 0) : textsSize(value))
  }
  return size
}

/**
 * What content keeps in memory: all of the record that it was read with.
 *
 * @param rest about as much as that is, where memory is shared with others
 */
function memoryOf({ buffer, length }: Buffer, rest: number): number {
  return buffer.byteLength === Buffer.poolSize ? length + rest : buffer.byteLength
}
