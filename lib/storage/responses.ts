import { randomBytes } from 'node:crypto'
import { digest } from '../key.ts'
import type { Events } from '../observe/events.ts'
import { hasValidator, remainingFreshness } from '../rfc9111/freshness.ts'
import type { Nominated, RequestMessage, StoredResponse } from '../rfc9111/message.ts'
import { nominatedMatch } from '../rfc9111/vary.ts'
import type { ByteStore, Stores } from './byte-store.ts'
import {
  Chunks,
  type ChunksRecord,
  type Content,
  chunkedContent,
  GrowingContent,
  inlineContent,
} from './content.ts'
import { decodeRecord, encodeRecord } from './records.ts'

/** A stored response with its content. */
export interface Entry extends StoredResponse {
  readonly cacheKey: string
  readonly method: string
  readonly statusText: string
  /** The number of bytes of content; undefined while it is still being received. */
  readonly length: number | undefined
  readonly content: Content
  /** Until when the store keeps the chunks of the content, in milliseconds since the epoch. */
  readonly chunksUntil: number
}

/** What is known of a response before its content has been received. */
export type NewEntry = Omit<Entry, 'content' | 'length' | 'chunksUntil'>

/** What a validation changes in a stored response. */
export type Freshening = Pick<Entry, 'fields' | 'requestTime' | 'responseTime' | 'expires'>

/** How long a response that can be validated is kept after it became stale, in milliseconds: 30 days. */
const STALE_RETENTION = 30 * 86_400_000

/** How long a response without a validator is kept after it became stale, in milliseconds: a day. */
const STALE_RETENTION_WITHOUT_VALIDATOR = 86_400_000

/** How long the chunks of overwritten content are kept for readers in other processes, in milliseconds. */
const READERS_GRACE = 10_000

/** How many variants of one response are kept; the least recently stored goes first. */
const MAX_VARIANTS = 100

/** The record at a cache key: the only response for it, or where its variants are. */
type HeadRecord = ResponseRecord | VariantsRecord

interface ResponseRecord {
  readonly kind: 'response'
  readonly response: Omit<NewEntry, 'expires'> & { readonly expires?: number | 'never' }
  readonly chunks?: ChunksRecord
  readonly chunksUntil: number | 'never'
}

interface VariantsRecord {
  readonly kind: 'variants'
  /** The most recently stored comes first. */
  readonly variants: readonly { readonly nominated: Nominated; readonly until: number | 'never' }[]
}

/** A response whose content is being received, or that is being written. */
interface Recent {
  readonly entry: Entry
  /** Set when something newer took its place, so that it must not be written any more. */
  isObsolete: boolean
}

/** A response that is being stored while it is being received. */
export interface Recording {
  readonly entry: Entry
  readonly content: GrowingContent
  /** There is no more content: the response is stored, if it is whole. */
  complete(isWhole: boolean): void
  /** The content will not be complete: nothing is stored. */
  abandon(error: Error): void
}

/**
 * The stored responses of a cache: which there are for a cache key, including those that are being
 * received or written at the moment; and how they are kept as records in a store. Content is written
 * before the record that refers to it, so that a response is either stored completely or not at all.
 */
export class Responses {
  readonly #heads: ByteStore
  readonly #chunks: Chunks
  readonly #stores: Stores
  readonly #events: Events
  readonly #recent = new Map<string, Set<Recent>>()
  readonly #changes = new Map<string, Promise<unknown>>()
  readonly #deletions = new Map<string, Promise<unknown>>()
  #clearing: Promise<void> | undefined
  #secret: Promise<Buffer> | undefined
  readonly #substituteSecret = randomBytes(32)

  constructor(stores: Stores, events: Events) {
    this.#stores = stores
    this.#heads = stores.heads
    this.#chunks = new Chunks(stores.chunks)
    this.#events = events
  }

  /**
   * The stored responses for a cache key that a request may select from. Where there are some but
   * none has the request's nominated fields, one of the others, to tell so. Trouble is a miss.
   */
  async find(cacheKey: string, request: RequestMessage): Promise<Entry[]> {
    await this.#clearing
    await this.#deletions.get(cacheKey)
    const recent = [...(this.#recent.get(cacheKey) ?? [])]
      .map(({ entry }) => entry)
      .filter((entry) => !seemsEndless(entry))
    const matching = recent.filter(({ nominated }) => nominatedMatch(nominated, request))
    if (matching.length > 0) return matching
    try {
      return [...recent, ...(await this.#load(cacheKey, request))]
    } catch {
      return recent
    }
  }

  async #load(cacheKey: string, request?: RequestMessage): Promise<Entry[]> {
    const head = await this.#readHead(cacheKey, cacheKey)
    if (head === undefined) return []
    if (head.kind === 'response') return [head.entry]
    const all = head.variants.map(({ nominated }) => nominated)
    const matching = request && all.filter((nominated) => nominatedMatch(nominated, request))
    const wanted = matching?.length === 0 ? all.slice(0, 1) : (matching ?? all)
    const heads = await Promise.all(
      wanted.map((nominated) => this.#readHead(variantKey(cacheKey, nominated), cacheKey)),
    )
    return heads.flatMap((variant) => (variant?.kind === 'response' ? [variant.entry] : []))
  }

  async #readHead(key: string, cacheKey: string) {
    const bytes = await this.#heads.get(key)
    if (bytes === undefined) return undefined
    const head = this.#decodeHead(key, bytes)
    if (head === undefined) {
      this.#events.error(
        'read',
        new Error(`the stored record ${key} is damaged or of another version`),
      )
      return undefined
    }
    return head.kind === 'response' && head.entry.cacheKey !== cacheKey ? undefined : head
  }

  #decodeHead(
    key: string,
    bytes: Buffer,
  ): { kind: 'response'; entry: Entry; chunks?: ChunksRecord } | VariantsRecord | undefined {
    const decoded = decodeRecord(key, bytes)
    if (decoded === undefined) return undefined
    const record = decoded.metadata as HeadRecord | null
    if (record?.kind === 'variants') return record
    if (record?.kind !== 'response') return undefined
    const { expires, ...response } = record.response
    const { chunks } = record
    const entry: Entry = {
      ...response,
      ...(expires !== undefined && { expires: fromNever(expires) }),
      length: chunks?.length ?? decoded.content.length,
      content: chunks
        ? chunkedContent(this.#chunks, chunks)
        : inlineContent(Buffer.from(decoded.content)),
      chunksUntil: fromNever(record.chunksUntil),
    }
    return { kind: 'response', entry, ...(chunks && { chunks }) }
  }

  /** Begins to store a response. From now on it is found, and its content can be read as it arrives. */
  record(response: NewEntry): Recording {
    const now = response.responseTime
    // Chunks cannot be given more time later, so they get enough for the response to be freshened.
    const timeToLive = retention(response, now) + STALE_RETENTION
    const content = new GrowingContent(this.#chunks, finite(timeToLive))
    const recent: Recent = {
      entry: { ...response, length: undefined, content, chunksUntil: now + timeToLive },
      isObsolete: false,
    }
    this.#add(recent)
    content.onGivenUp = () => this.#remove(recent)
    return {
      entry: recent.entry,
      content,
      complete: (isWhole) => {
        content.complete()
        if (!isWhole) content.giveUp(new Error('the content is not as long as it was announced'))
        void this.#commit(recent, content)
      },
      abandon: (error) => {
        content.fail(error)
        this.#remove(recent)
        this.#discard(content)
      },
    }
  }

  /**
   * A response with its fields freshened; its content stays where it is. It is stored anew, or no longer
   * at all where it must not be.
   */
  freshen(entry: Entry, update: Freshening, isStorable: boolean): Entry {
    const { expires: _, ...kept } = entry
    const freshened: Entry = { ...kept, ...update }
    if (isStorable) {
      const recent: Recent = { entry: freshened, isObsolete: false }
      this.#add(recent)
      void this.#rewrite(recent)
    } else void this.delete(entry.cacheKey).catch(() => {})
    return freshened
  }

  async #commit(recent: Recent, content: GrowingContent): Promise<void> {
    const { cacheKey } = recent.entry
    await this.#exclusively(cacheKey, async () => {
      try {
        const saved = await content.saved()
        if (recent.isObsolete) return this.#discard(content)
        const isInline = Buffer.isBuffer(saved)
        await this.#write(
          recent.entry,
          isInline ? undefined : saved,
          isInline ? saved : Buffer.alloc(0),
        )
      } catch (error) {
        if (content.givenUp) this.#events.error('write', error)
        this.#discard(content)
      } finally {
        this.#remove(recent)
      }
    })
  }

  async #rewrite(recent: Recent): Promise<void> {
    const { entry } = recent
    await this.#exclusively(entry.cacheKey, async () => {
      try {
        const key = await this.#keyOf(entry)
        const head = key === undefined ? undefined : await this.#readHead(key, entry.cacheKey)
        // Another response took its place meanwhile, or it was deleted.
        if (recent.isObsolete || head?.kind !== 'response') return
        const chunks = head.chunks
        const inline = chunks ? Buffer.alloc(0) : await readAll(head.entry.content)
        await this.#writeHead(key as string, entry, chunks, inline)
      } catch {
        // It has been told; the response is validated once more the next time.
      } finally {
        this.#remove(recent)
      }
    })
  }

  /** Where a response is kept: at the cache key itself, or at that of its variant. */
  async #keyOf({ cacheKey, nominated }: Entry): Promise<string | undefined> {
    const head = await this.#readHead(cacheKey, cacheKey)
    if (head?.kind === 'variants') return variantKey(cacheKey, nominated)
    return head && isSameVariant(head.entry.nominated, nominated) ? cacheKey : undefined
  }

  async #write(entry: Entry, chunks: ChunksRecord | undefined, inline: Buffer): Promise<void> {
    const { cacheKey, nominated } = entry
    const previous = await this.#readHead(cacheKey, cacheKey)
    const replaces =
      previous === undefined ||
      Object.keys(nominated).length === 0 ||
      (previous.kind === 'response' && !mayCoexist(previous.entry.nominated, nominated))
    if (replaces) {
      await this.#writeHead(cacheKey, entry, chunks, inline)
      await this.#dispose(cacheKey, previous)
      return
    }
    const variants = await this.#variants(cacheKey, previous)
    const key = variantKey(cacheKey, nominated)
    const overwritten = await this.#readHead(key, cacheKey)
    await this.#writeHead(key, entry, chunks, inline)
    const others = variants.filter((variant) => !isSameVariant(variant.nominated, nominated))
    const until = toNever(entry.responseTime + retention(entry, entry.responseTime))
    const kept = [{ nominated, until }, ...others].slice(0, MAX_VARIANTS)
    await this.#writeVariants(cacheKey, kept)
    if (overwritten?.kind === 'response') this.#removeChunks(overwritten.chunks)
    for (const { nominated: left } of others.slice(MAX_VARIANTS - 1)) {
      await this.#deleteVariant(cacheKey, left)
    }
  }

  /** The variants at a cache key; a response that was the only one there is moved to make room for more. */
  async #variants(
    cacheKey: string,
    previous: { kind: 'response'; entry: Entry; chunks?: ChunksRecord } | VariantsRecord,
  ): Promise<VariantsRecord['variants']> {
    if (previous.kind === 'variants') return previous.variants
    const { entry, chunks } = previous
    const inline = chunks ? Buffer.alloc(0) : await readAll(entry.content)
    await this.#writeHead(variantKey(cacheKey, entry.nominated), entry, chunks, inline)
    const now = Date.now()
    return [{ nominated: entry.nominated, until: toNever(now + retention(entry, now)) }]
  }

  async #writeHead(
    key: string,
    entry: Entry,
    chunks: ChunksRecord | undefined,
    inline: Buffer,
  ): Promise<void> {
    const { content: _, length: __, chunksUntil, expires, ...response } = entry
    const record: ResponseRecord = {
      kind: 'response',
      response: { ...response, ...(expires !== undefined && { expires: toNever(expires) }) },
      ...(chunks && { chunks }),
      chunksUntil: toNever(chunksUntil),
    }
    const now = Date.now()
    const timeToLive = Math.min(retention(entry, now), chunksUntil - now)
    await this.#heads.set(key, encodeRecord(key, record, inline), finite(timeToLive))
  }

  async #writeVariants(cacheKey: string, variants: VariantsRecord['variants']): Promise<void> {
    const record: VariantsRecord = { kind: 'variants', variants }
    const until = Math.max(...variants.map((variant) => fromNever(variant.until)))
    const bytes = encodeRecord(cacheKey, record, Buffer.alloc(0))
    await this.#heads.set(cacheKey, bytes, finite(until - Date.now()))
  }

  async #deleteVariant(cacheKey: string, nominated: Nominated): Promise<void> {
    const key = variantKey(cacheKey, nominated)
    const head = await this.#readHead(key, cacheKey)
    await this.#heads.delete([key])
    if (head?.kind === 'response') this.#removeChunks(head.chunks)
  }

  /** Removes what a record that no longer exists referred to. */
  async #dispose(
    cacheKey: string,
    head: { kind: 'response'; chunks?: ChunksRecord } | VariantsRecord | undefined,
  ): Promise<void> {
    if (head?.kind === 'response') this.#removeChunks(head.chunks)
    if (head?.kind !== 'variants') return
    for (const { nominated } of head.variants) await this.#deleteVariant(cacheKey, nominated)
  }

  #removeChunks(chunks: ChunksRecord | undefined): void {
    if (chunks) this.#chunks.remove(chunks, READERS_GRACE)
  }

  #discard(content: GrowingContent): void {
    if (content.length > 0) this.#chunks.remove(content.record, 0)
  }

  #add(recent: Recent): void {
    const { cacheKey, nominated } = recent.entry
    const all = this.#recent.get(cacheKey) ?? new Set()
    for (const other of all) {
      if (!isSameVariant(other.entry.nominated, nominated)) continue
      other.isObsolete = true
      all.delete(other)
    }
    all.add(recent)
    this.#recent.set(cacheKey, all)
  }

  #remove(recent: Recent): void {
    const { cacheKey } = recent.entry
    const all = this.#recent.get(cacheKey)
    all?.delete(recent)
    if (all?.size === 0) this.#recent.delete(cacheKey)
  }

  /** Forgets what is being received or written for a cache key, so that it will not be stored. */
  #forget(cacheKey: string): boolean {
    const all = this.#recent.get(cacheKey) ?? []
    for (const recent of all) recent.isObsolete = true
    return this.#recent.delete(cacheKey)
  }

  /** Changes to one cache key happen one after the other. */
  #exclusively<T>(cacheKey: string, change: () => Promise<T>): Promise<T> {
    const before = this.#changes.get(cacheKey) ?? Promise.resolve()
    const result = before.then(change, change)
    const settled = result.then(
      () => {},
      () => {},
    )
    this.#changes.set(cacheKey, settled)
    void settled.then(() => {
      if (this.#changes.get(cacheKey) === settled) this.#changes.delete(cacheKey)
    })
    return result
  }

  /**
   * Deletes all responses for a cache key. From now on they are not found.
   *
   * @returns whether there were any
   * @throws where the store fails
   */
  delete(cacheKey: string): Promise<boolean> {
    const forgotten = this.#forget(cacheKey)
    const deletion = this.#exclusively(cacheKey, async () => {
      const head = await this.#readHead(cacheKey, cacheKey)
      await this.#heads.delete([cacheKey])
      await this.#dispose(cacheKey, head)
      return forgotten || head !== undefined
    })
    const settled = deletion
      .then(
        () => {},
        () => {},
      )
      .finally(() => {
        if (this.#deletions.get(cacheKey) === settled) this.#deletions.delete(cacheKey)
      })
    this.#deletions.set(cacheKey, settled)
    return deletion
  }

  /** Deletes all responses. @throws where the store fails */
  async clear(): Promise<void> {
    for (const cacheKey of [...this.#recent.keys()]) this.#forget(cacheKey)
    const clearing = (async () => {
      await this.settled()
      await this.#heads.clear()
      this.#secret = undefined
      await this.#chunks.clear()
    })()
    this.#clearing = clearing.catch(() => {})
    await clearing.finally(() => {
      this.#clearing = undefined
    })
  }

  /** All stored responses for a cache key. */
  async all(cacheKey: string): Promise<Entry[]> {
    await this.settled()
    return this.#load(cacheKey)
  }

  /** All stored responses, without an order. @throws where the store cannot list what it has */
  async *entries(): AsyncGenerator<Entry> {
    await this.settled()
    const entries = this.#heads.entries()
    if (entries === undefined)
      throw new Error('the store cannot list what it has: it has no iterator')
    for await (const [key, bytes] of entries) {
      const head = this.#decodeHead(key, bytes)
      if (head?.kind === 'response') yield head.entry
    }
  }

  /** Waits until all that has been received is written. */
  async settled(): Promise<void> {
    while (this.#changes.size > 0) await Promise.all(this.#changes.values())
  }

  async close(): Promise<void> {
    await this.settled()
    await this.#chunks.flush()
    await this.#stores.close()
  }

  /** The secret under which credentials are hashed: made once for a store, and kept in it. */
  async secret(): Promise<Buffer> {
    this.#secret ??= this.#loadSecret()
    try {
      return await this.#secret
    } catch {
      // Whatever is stored for credentials now will not be found again, which is a miss.
      this.#secret = undefined
      return this.#substituteSecret
    }
  }

  async #loadSecret(): Promise<Buffer> {
    const read = async () => {
      const bytes = await this.#heads.get(SECRET_KEY)
      return bytes && decodeRecord(SECRET_KEY, bytes)?.content
    }
    const kept = await read()
    if (kept) return kept
    const made = encodeRecord(SECRET_KEY, null, randomBytes(32))
    await this.#heads.set(SECRET_KEY, made, undefined)
    // Another process may have made one at the same time: the one that is kept counts.
    return (await read()) ?? this.#substituteSecret
  }
}

const SECRET_KEY = 'secret'

/** How long a response of unknown length may be on its way before it seems endless, in milliseconds. */
const ENDLESS_AFTER = 5000

/**
 * Whether a response is still arriving that has not announced how long it is, and has been for a while.
 * It may be a stream of events under another name, whose past nobody asks for.
 */
function seemsEndless(entry: Entry): boolean {
  const isArriving = entry.content instanceof GrowingContent && !entry.content.isComplete
  const isAnnounced = entry.fields['content-length'] !== undefined
  return isArriving && !isAnnounced && Date.now() - entry.responseTime > ENDLESS_AFTER
}

/** How long from `now` on a response is worth keeping, in milliseconds: fresh, and stale but of use. */
function retention(response: StoredResponse, now: number): number {
  const stale = hasValidator(response) ? STALE_RETENTION : STALE_RETENTION_WITHOUT_VALIDATOR
  return Math.max(0, remainingFreshness(response, now)) + stale
}

function variantKey(cacheKey: string, nominated: Nominated): string {
  return digest([cacheKey, ...canonical(nominated)])
}

function canonical(nominated: Nominated): string[] {
  return Object.entries(nominated)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map((pair) => JSON.stringify(pair))
}

function isSameVariant(a: Nominated, b: Nominated): boolean {
  return canonical(a).join() === canonical(b).join()
}

/** Whether two responses are for different requests. */
function mayCoexist(a: Nominated, b: Nominated): boolean {
  return Object.keys(a).length > 0 && Object.keys(b).length > 0 && !isSameVariant(a, b)
}

function finite(milliseconds: number): number | undefined {
  return Number.isFinite(milliseconds) ? Math.max(1, Math.ceil(milliseconds)) : undefined
}

/** JSON has no infinity. */
function toNever(time: number): number | 'never' {
  return time === Infinity ? 'never' : time
}

function fromNever(time: number | 'never'): number {
  return time === 'never' ? Infinity : time
}

async function readAll(content: Content): Promise<Buffer> {
  const reader = content.open()
  const parts: Buffer[] = []
  try {
    for (let bytes = await reader.read(); bytes; bytes = await reader.read()) parts.push(bytes)
  } finally {
    reader.close()
  }
  return Buffer.concat(parts)
}
