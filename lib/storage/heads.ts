import { randomBytes } from 'node:crypto'
import { type Awaitable, after } from '../awaitable.ts'
import { isDigest } from '../key.ts'
import type { Events } from '../observe/events.ts'
import type { Nominated } from '../rfc9111/message.ts'
import type { About, ByteStore, UnwrittenHead, Usage } from './byte-store.ts'
import { type Chunks, chunkedContent } from './chunks.ts'
import { type ChunksRecord, inlineContent, readAll } from './content.ts'
import type { Encryption } from './encryption.ts'
import { type Entry, keptUntil, variantKey } from './entry.ts'
import type { MemoryTier } from './memory-tier.ts'
import { decodeRecord, encodeRecord, METADATA_START } from './records.ts'
import { type Summary, summaryOf } from './summary.ts'

/** One of several responses for a cache key. */
export interface Variant {
  readonly nominated: Nominated
  /** Until when it is worth keeping, in milliseconds since the epoch. */
  readonly until: number
}

/** What is kept at a cache key: the only response for it, or where its variants are. */
export type Head =
  | { readonly kind: 'response'; readonly entry: Entry }
  /** The most recently stored comes first. */
  | { readonly kind: 'variants'; readonly variants: readonly Variant[] }

/** What was found at a key, and by what it is told later on whether it is still there. */
export interface Found {
  /** Undefined where there is nothing, or nothing that can be read or belongs there. */
  readonly head: Head | undefined
  /** As it was read; undefined where there was none. */
  readonly record: Buffer | undefined
}

/** What is at a key where there is nothing. */
export const NOTHING_FOUND: Found = { head: undefined, record: undefined }

/** A stored response, and where it is. */
export interface Placed extends Found {
  /** Of its head. */
  readonly key: string
  readonly entry: Entry
}

/** A time in JSON, which has no infinity. */
type Time = number | 'never'

/** The metadata of a head as JSON. */
type HeadRecord =
  | {
      readonly kind: 'response'
      readonly response: Omit<Entry, 'content' | 'chunksUntil' | 'expires'> & {
        readonly expires?: Time
      }
      readonly chunks?: ChunksRecord
      readonly chunksUntil: Time
    }
  | {
      readonly kind: 'variants'
      readonly variants: readonly { readonly nominated: Nominated; readonly until: Time }[]
    }

const NOTHING = Buffer.alloc(0)

/** The key of what belongs to the store itself, and is no response. */
export const SECRET_KEY = 'secret'

/** Whether a text may be the key of a head. */
export function isHeadKey(text: string): boolean {
  return text === SECRET_KEY || isDigest(text)
}

/** How long a secret is used until it is looked at again whether it is still the store's, in milliseconds. */
const SECRET_CHECK = 1000

/** How the metadata of a head begins that is not a response, but tells where some are. */
export const VARIANTS_MARK = '{"kind":"variants"'

/** Whether the record of a head tells where some responses are, and is none. */
export function tellsVariants(record: Buffer): boolean {
  const end = METADATA_START + VARIANTS_MARK.length
  return record.toString('latin1', METADATA_START, end) === VARIANTS_MARK
}

/** The metadata of a response, without its content. */
function recordOf({ content, chunksUntil, expires, ...response }: Entry): HeadRecord {
  return {
    kind: 'response',
    response: { ...response, ...(expires !== undefined && { expires: toJson(expires) }) },
    ...(content.chunks && { chunks: content.chunks }),
    chunksUntil: toJson(chunksUntil),
  }
}

/** The heads of stored responses in a store: metadata, with short content inline. */
export class Heads {
  readonly #store: ByteStore
  readonly #chunks: Chunks
  readonly #events: Events
  readonly #memory: MemoryTier | undefined
  readonly #index: Pick<Encryption, 'indexed'> | undefined
  #secret: Promise<Buffer> | undefined
  #knownSecret: Buffer | undefined
  /** What becomes the store's where it has none, and stands in where that cannot be known. */
  #ownSecret: Buffer = randomBytes(32)
  #secretCheckedAt = -Infinity

  /** @param index what makes other keys of keys, in a store in which they must not tell anything */
  constructor(
    store: ByteStore,
    chunks: Chunks,
    events: Events,
    memory?: MemoryTier,
    index?: Pick<Encryption, 'indexed'>,
  ) {
    this.#index = index
    this.#store = store
    this.#chunks = chunks
    this.#events = events
    this.#memory = memory
  }

  /** The key of one of several variants, of which nobody can find out what it is for either. */
  variantKey(cacheKey: string, nominated: Nominated): string {
    const key = variantKey(cacheKey, nominated)
    return this.#index?.indexed(key) ?? key
  }

  /** Which of several variants are there; where the store cannot tell without reading them, those whose time is not over. */
  async variantsThere(
    cacheKey: string,
    variants: readonly Variant[],
    usage: Usage | undefined,
  ): Promise<ReadonlySet<Variant>> {
    const keys = variants.map(({ nominated }) => this.variantKey(cacheKey, nominated))
    const those = async (are: readonly Awaitable<boolean>[]) => {
      const known = await Promise.all(are)
      return new Set(variants.filter((_, index) => known[index]))
    }
    if (usage) {
      const usedAt = await usage.usedAt(keys)
      return those(keys.map((key) => usedAt.has(key)))
    }
    const hasAll = this.#store.hasAll?.bind(this.#store)
    if (hasAll) return those(keys.map((key) => hasAll([key])))
    return those(variants.map((variant) => Date.now() < variant.until))
  }

  /** Forgets what is known of a cache key without asking the store: another process may have changed it. */
  forget(cacheKey: string): void {
    const head = this.#memory?.head(cacheKey)
    this.#memory?.forgetHead(cacheKey)
    if (head?.kind !== 'variants') return
    for (const { nominated } of head.variants) {
      this.#memory?.forgetHead(this.variantKey(cacheKey, nominated))
    }
  }

  /** What is at a key, where that is known without asking the store. */
  known(key: string, cacheKey: string): Head | undefined {
    const head = this.#memory?.head(key)
    return head && belongsTo(head, cacheKey) ? head : undefined
  }

  /** What is at a key; undefined where there is nothing, or nothing that can be read or belongs there. */
  read(key: string, cacheKey: string): Awaitable<Head | undefined> {
    const seen = this.#memory?.seen() ?? 0
    return after(this.#store.get(key), (bytes) => this.#understand(key, cacheKey, bytes, seen))
  }

  /** The same, to be changed: see {@link Found}. */
  look(key: string, cacheKey: string): Awaitable<Found> {
    const seen = this.#memory?.seen() ?? 0
    return after(this.#store.get(key), (record) => ({
      head: this.#understand(key, cacheKey, record, seen),
      record,
    }))
  }

  /** Whether changes to what was found notice those of other processes. */
  get isCompared(): boolean {
    return this.#store.replace !== undefined
  }

  #understand(
    key: string,
    cacheKey: string,
    bytes: Buffer | undefined,
    seen: number,
  ): Head | undefined {
    if (bytes === undefined) return undefined
    const head = this.#decode(key, bytes)
    if (head === undefined) {
      const message = `the stored record ${key} is damaged or of another version`
      this.#events.error('read', new Error(message))
      return undefined
    }
    this.#memory?.rememberHead(key, head, until(head), seen)
    return belongsTo(head, cacheKey) ? head : undefined
  }

  #decode(key: string, bytes: Buffer): Head | undefined {
    const decoded = decodeRecord(key, bytes)
    const record = decoded?.metadata as HeadRecord | null | undefined
    if (record?.kind === 'variants') {
      const variants = record.variants.map((variant) => ({
        ...variant,
        until: fromJson(variant.until),
      }))
      return { kind: 'variants', variants }
    }
    if (decoded === undefined || record?.kind !== 'response') return undefined
    const { response, chunks, chunksUntil } = record
    // What has just been parsed is nobody else's: adding to it takes less time than copying it.
    const entry = response as { -readonly [Name in keyof Entry]: Entry[Name] }
    if (response.expires === 'never') entry.expires = Infinity
    entry.content = chunks ? chunkedContent(this.#chunks, chunks) : inlineContent(decoded.content)
    entry.chunksUntil = fromJson(chunksUntil)
    return { kind: 'response', entry }
  }

  /**
   * Writes a response, whose content is in memory or has been written already.
   *
   * @param over what was found there; where something else is there by now, nothing is written
   * @returns whether it is written
   */
  async write(key: string, entry: Entry, over?: Found): Promise<boolean> {
    const { content, fields } = entry
    const { chunks } = content
    const inline = chunks ? NOTHING : (content.bytes ?? (await readAll(content)))
    const timeToLive = entryUntil(entry) - Date.now()
    const head = (): Head => ({
      kind: 'response',
      entry: chunks ? entry : { ...entry, content: inlineContent(inline) },
    })
    const bytes = encodeRecord(key, recordOf(entry), inline, content.room)
    const about = { fields, chunks, summary: () => summaryOf(key, entry) }
    return this.#set(key, bytes, timeToLive, head, about, over)
  }

  /** The head of a response whose content is in memory, or in chunks. */
  unwritten(entry: Entry): UnwrittenHead {
    const { cacheKey: key, content } = entry
    return {
      key,
      bytes: encodeRecord(key, recordOf(entry), content.bytes ?? NOTHING),
      until: finite(entryUntil(entry)),
      summary: summaryOf(key, entry),
    }
  }

  /** What is written is remembered as well, unless somebody else has written meanwhile. */
  async #set(
    key: string,
    bytes: Buffer,
    timeToLive: number,
    head: () => Head,
    about: About,
    over: Found | undefined,
  ): Promise<boolean> {
    this.#memory?.forgetHead(key)
    const seen = this.#memory?.seen() ?? 0
    if (over && this.#store.replace) {
      const { record } = over
      const isWritten = await this.#store.replace(key, record, bytes, finite(timeToLive), about)
      if (!isWritten) return false
    } else await this.#store.set(key, bytes, finite(timeToLive), about)
    this.#memory?.rememberHead(key, head(), Date.now() + timeToLive, seen)
    return true
  }

  /** As {@link write} does, where variants are. */
  async writeVariants(
    cacheKey: string,
    variants: readonly Variant[],
    over: Found,
  ): Promise<boolean> {
    const record: HeadRecord = {
      kind: 'variants',
      variants: variants.map((variant) => ({ ...variant, until: toJson(variant.until) })),
    }
    const until = Math.max(...variants.map((variant) => variant.until))
    const bytes = encodeRecord(cacheKey, record, NOTHING)
    const head = (): Head => ({ kind: 'variants', variants })
    return this.#set(cacheKey, bytes, until - Date.now(), head, {}, over)
  }

  /** Which response or variants a key belongs to, and what is there. */
  async at(key: string): Promise<{ readonly cacheKey: string; readonly head: Head } | undefined> {
    const bytes = await this.#store.get(key)
    const head = bytes && this.#decode(key, bytes)
    return head && { cacheKey: head.kind === 'response' ? head.entry.cacheKey : key, head }
  }

  /** Deletes what was found at a key. @returns whether that was still there, if there was something */
  async deleteFound(key: string, { record }: Found): Promise<boolean> {
    if (this.#store.replace === undefined) {
      await this.delete(key)
      return true
    }
    const replace = this.#store.replace.bind(this.#store)
    const isDeleted = await this.deleteBy([key], () => replace(key, record, undefined, undefined))
    return isDeleted || record === undefined
  }

  async delete(...keys: readonly string[]): Promise<void> {
    await this.deleteBy(keys, () => this.#store.delete(keys))
  }

  /** Has what is at some keys deleted, and forgets it before and after. */
  async deleteBy<T>(keys: readonly string[], deletion: () => Promise<T>): Promise<T> {
    for (const key of keys) this.#memory?.forgetHead(key)
    const result = await deletion()
    for (const key of keys) this.#memory?.forgetHead(key)
    return result
  }

  async clear(): Promise<void> {
    this.#memory?.clear()
    await this.#store.clear()
    this.forgetAll()
  }

  /** Forgets what is known of a store in which there is nothing any more. */
  forgetAll(): void {
    this.#memory?.clear()
    this.#secret = undefined
    this.#knownSecret = undefined
  }

  /** Sums up what is at a key; undefined where that is no response, or cannot be read. */
  async summary(key: string): Promise<Summary | undefined> {
    const bytes = await this.#store.get(key)
    const head = bytes && this.#decode(key, bytes)
    return head?.kind === 'response' ? summaryOf(key, head.entry) : undefined
  }

  /** The responses under some cache keys. */
  async *under(cacheKeys: Iterable<string>): AsyncGenerator<Placed> {
    for (const cacheKey of cacheKeys) {
      const found = await this.look(cacheKey, cacheKey)
      const { head } = found
      if (head?.kind === 'response') yield { ...found, key: cacheKey, entry: head.entry }
      if (head?.kind !== 'variants') continue
      for (const { nominated } of head.variants) {
        const key = this.variantKey(cacheKey, nominated)
        const variant = await this.look(key, cacheKey)
        if (variant.head?.kind === 'response') yield { ...variant, key, entry: variant.head.entry }
      }
    }
  }

  /** Sums up all stored responses, without an order. @throws where the store cannot list what it has */
  async *summaries(): AsyncGenerator<Summary> {
    for await (const { key, head } of this.#list()) {
      const isThere = head.kind === 'response' && Date.now() < until(head)
      if (isThere) yield summaryOf(key, head.entry)
    }
  }

  /** Sums up what is not kept any more, but still there: stores forget at their own pace. */
  async *outdated(): AsyncGenerator<Summary> {
    for await (const { key, head } of this.#list()) {
      const isThere = head.kind === 'response' && Date.now() >= until(head)
      if (isThere) yield summaryOf(key, head.entry)
    }
  }

  /** All stored responses, without an order. @throws where the store cannot list what it has */
  async *responses(): AsyncGenerator<Entry> {
    for await (const { head } of this.#list()) if (head.kind === 'response') yield head.entry
  }

  async *#list(): AsyncGenerator<{ readonly key: string; readonly head: Head }> {
    const entries = this.#store.entries()
    if (entries === undefined) throw new Error('the store cannot list what it has')
    for await (const [key, bytes] of entries) {
      const head = key === SECRET_KEY ? undefined : this.#decode(key, bytes)
      if (head) yield { key, head }
    }
  }

  /**
   * The secret under which credentials are hashed: made once for a store, and kept in it. While the
   * store fails another one stands in: what is stored under it is not found again, which is a miss.
   *
   * @param mayMake whether one is made and stored where there is none; otherwise another one stands in
   */
  secret(mayMake: boolean): Buffer | Promise<Buffer> {
    if (this.#knownSecret === undefined) return this.#askSecret(mayMake)
    const isDue = performance.now() - this.#secretCheckedAt > SECRET_CHECK
    if (isDue) void this.#checkSecret(mayMake).catch(() => {})
    return this.#knownSecret
  }

  /** What stands in for the secret while it cannot be known. */
  get standInSecret(): Buffer {
    return this.#ownSecret
  }

  async #askSecret(mayMake: boolean): Promise<Buffer> {
    if (!mayMake && this.#secret === undefined) {
      const kept = await this.keptSecret().catch(() => undefined)
      return kept ? this.#learnSecret(kept) : this.#ownSecret
    }
    this.#secret ??= this.#loadSecret()
    try {
      return this.#learnSecret(await this.#secret)
    } catch {
      this.#secret = undefined
      return this.#ownSecret
    }
  }

  /** The secret that is kept; where none is that can be read, this one's own is from now on. */
  async #loadSecret(): Promise<Buffer> {
    const there = await this.#store.get(SECRET_KEY)
    const kept = there && secretIn(there)
    if (kept) return kept
    const record = encodeRecord(SECRET_KEY, null, this.#ownSecret)
    const about = { isAwaited: true }
    if (this.#store.replace === undefined) {
      await this.#store.set(SECRET_KEY, record, undefined, about)
    } else await this.#store.replace(SECRET_KEY, there, record, undefined, about)
    // Another process may have made one at the same time: the one that is kept counts.
    return (await this.keptSecret()) ?? this.#ownSecret
  }

  /** Finds out whether it is still the store's: another process may have come before, or have lost it. */
  async #checkSecret(mayKeep: boolean): Promise<void> {
    this.#secretCheckedAt = performance.now()
    const secret = mayKeep ? await this.#loadSecret() : await this.keptSecret()
    if (secret) this.#learnSecret(secret)
  }

  #learnSecret(secret: Buffer): Buffer {
    if (this.#knownSecret?.equals(secret)) return this.#knownSecret
    this.#knownSecret = this.#ownSecret = secret
    this.#secretCheckedAt = performance.now()
    return secret
  }

  /** Another store's secret becomes this one's, if there is none yet: what is hashed under it can be moved here. */
  async adoptSecret(secret: Buffer): Promise<void> {
    if (await this.keptSecret()) return
    this.#ownSecret = secret
    this.#secret = undefined
    this.#knownSecret = undefined
    await this.#loadSecret()
  }

  /** The secret as it is kept in the store. */
  async keptSecret(): Promise<Buffer | undefined> {
    const bytes = await this.#store.get(SECRET_KEY)
    return bytes && secretIn(bytes)
  }
}

function secretIn(record: Buffer): Buffer | undefined {
  return decodeRecord(SECRET_KEY, record)?.content
}

function belongsTo(head: Head, cacheKey: string): boolean {
  return head.kind === 'variants' || head.entry.cacheKey === cacheKey
}

/** Until when a head is worth keeping, in milliseconds since the epoch. */
function until(head: Head): number {
  if (head.kind === 'variants') return Math.max(...head.variants.map((variant) => variant.until))
  return entryUntil(head.entry)
}

/** Content that is kept with it lasts as long as it does. */
function entryUntil(entry: Entry): number {
  return Math.min(keptUntil(entry), entry.content.chunks ? entry.chunksUntil : Infinity)
}

function toJson(time: number): Time {
  return time === Infinity ? 'never' : time
}

function fromJson(time: Time): number {
  return time === 'never' ? Infinity : time
}

/** A time to live as stores want it: whole milliseconds, undefined for ever. */
export function finite(milliseconds: number): number | undefined {
  return Number.isFinite(milliseconds) ? Math.max(1, Math.ceil(milliseconds)) : undefined
}
