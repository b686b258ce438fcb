import { setTimeout as delay } from 'node:timers/promises'
import { type Awaitable, after } from '../awaitable.ts'
import type { Events } from '../observe/events.ts'
import type { DeletionCause } from '../observe/payloads.ts'
import type { RequestMessage } from '../rfc9111/message.ts'
import { nominatedMatch } from '../rfc9111/vary.ts'
import type { Stores } from './byte-store.ts'
import { Chunks } from './chunks.ts'
import { Deletions } from './deletions.ts'
import type { Entry } from './entry.ts'
import { Eviction } from './eviction.ts'
import { Exclusive } from './exclusive.ts'
import { finite, Heads } from './heads.ts'
import { type LimitOptions, Limits } from './limits.ts'
import { Management } from './management.ts'
import { MemoryTier } from './memory-tier.ts'
import { Outdated } from './outdated.ts'
import { Pending } from './pending.ts'
import { Places } from './places.ts'
import { Recorder } from './recorder.ts'
import { type Sealing, sealStores } from './sealed-store.ts'

/** How much of the responses is kept, and where. */
export interface ResponsesOptions extends LimitOptions {
  /** How much to keep in memory as well, in bytes; 0 for nothing. */
  readonly memory: number
  /** How many variants of one response are kept; the least recently stored goes first. */
  readonly maxVariants: number
  /** What is done to what is stored. */
  readonly sealing: Sealing
}

/** How long it takes until it is asked again whether a response has been received, in milliseconds. */
const QUIET_POLL = 20

/**
 * The stored responses of a cache: which there are for a cache key, including those that are being received or
 * written at the moment, and but for those that are being removed.
 */
export class Responses {
  /** Stores what is received. */
  readonly recorder: Recorder
  /** What can be done with all that are of a kind. */
  readonly management: Management
  /** What has been deleted or invalidated since a request was sent. */
  readonly deletions: Deletions = new Deletions()
  readonly #stores: Stores
  readonly #heads: Heads
  readonly #chunks: Chunks
  readonly #places: Places
  readonly #limits: Limits | undefined
  readonly #events: Events
  readonly #pending = new Pending()
  readonly #outdated = new Outdated()
  /** Changes to one cache key happen one after the other. */
  readonly #exclusive = new Exclusive()
  /** What is being deleted, by its cache key, and all that there is. */
  readonly #deleting = new Map<string, Promise<unknown>>()
  #clearing: Promise<void> | undefined

  constructor(unsealed: Stores, events: Events, options: ResponsesOptions) {
    const { memory, maxVariants, sealing, ...limitOptions } = options
    const stores = sealStores(unsealed, sealing, events, (record) => this.#chunks.remove(record))
    const { coherence = { kind: 'unnoticed' }, usage } = stores
    const tier = memory > 0 ? new MemoryTier(memory, coherence) : undefined
    const isKeptTwice = stores.isInMemory && sealing.compression === undefined
    const chunks = new Chunks(stores.chunks, isKeptTwice ? undefined : tier, stores)
    const heads = new Heads(stores.heads, chunks, events, tier, sealing.encryption)
    const places = new Places(heads, chunks, events, maxVariants, usage)
    const exclusive = this.#exclusive
    const limits =
      usage &&
      new Limits(
        usage,
        limitOptions,
        new Eviction(usage, heads, chunks, exclusive, events),
        ({ cacheKey, nominated }) => heads.variantKey(cacheKey, nominated),
      )
    const parts = { heads, chunks, places, limits, events, exclusive, pending: this.#pending }
    this.recorder = new Recorder({
      ...parts,
      outdated: this.#outdated,
      maxSize: usage ? limitOptions.maxSize : Infinity,
      remove: (entry) => this.remove(entry),
      finish: stores.finish,
    })
    this.management = new Management({
      ...parts,
      stores,
      deletions: this.deletions,
      settled: () => this.settled(),
    })
    this.#stores = stores
    this.#heads = heads
    this.#chunks = chunks
    this.#places = places
    this.#limits = limits
    this.#events = events
  }

  /**
   * The stored responses for a cache key that a request may select from. Where there are some but
   * none has the request's nominated fields, the most recent of the others. Trouble is a miss. What is
   * known without asking the store comes at once.
   */
  find(cacheKey: string, request: RequestMessage): Awaitable<Entry[]> {
    return (
      this.findKnown(cacheKey, request) ??
      this.#search(cacheKey, request, this.#pending.entries(cacheKey))
    )
  }

  /** What {@link find} finds without asking the store; undefined where it has to. */
  findKnown(cacheKey: string, request: RequestMessage): Entry[] | undefined {
    const recent = this.#pending.entries(cacheKey)
    const matching = recent.filter(({ nominated }) => nominatedMatch(nominated, request))
    // What is being deleted is not there any more, however long the store takes for it.
    const isDeleted = this.#clearing !== undefined || this.#deleting.has(cacheKey)
    if (matching.length > 0 || isDeleted) return matching
    const known = this.#known(cacheKey, request)
    return known && [known]
  }

  /** A stored response that matches a request, and is in memory. */
  #known(cacheKey: string, request: RequestMessage): Entry | undefined {
    const entry = this.#places.known(cacheKey, request)
    if (entry === undefined || this.#pending.removing.has(entry.generation)) return undefined
    return this.#outdated.has(entry) ? undefined : entry
  }

  /** The next time the store is asked for what is stored for a cache key, whatever is in memory. */
  forgetMemory(cacheKey: string): void {
    this.#heads.forget(cacheKey)
  }

  /** Notes that a stored response has been used, so that others are evicted before it. */
  use(entry: Entry): void {
    this.#limits?.use(entry)
  }

  /** Whether the store is kept within limits. */
  get isLimited(): boolean {
    return this.#limits !== undefined
  }

  /** How many responses there are and how many bytes they take; undefined where the store cannot tell at once. */
  async totals(): Promise<{ readonly count: number; readonly size: number } | undefined> {
    await this.settled()
    return this.#stores.usage?.totals()
  }

  #search(cacheKey: string, request: RequestMessage, recent: Entry[]): Awaitable<Entry[]> {
    const withRecent = (loaded: Entry[]) => [
      ...recent,
      ...loaded.filter(({ generation }) => !this.#pending.removing.has(generation)),
    ]
    const loaded = this.#load(cacheKey, request)
    return loaded instanceof Promise ? loaded.then(withRecent, () => recent) : withRecent(loaded)
  }

  #load(cacheKey: string, request?: RequestMessage): Awaitable<Entry[]> {
    return after(this.#places.load(cacheKey, request), (all) => {
      const outdated = all.filter((entry) => this.#outdated.has(entry))
      if (outdated.length === 0) return all
      if (this.#outdated.isDue(cacheKey)) {
        for (const entry of outdated) void this.remove(entry, 'superseded')
      }
      return all.filter((entry) => !outdated.includes(entry))
    })
  }

  /** Removes one response, if it is still stored. From now on it is not found. A failure is told by an event. */
  async remove(entry: Entry, cause: DeletionCause = 'management'): Promise<void> {
    const { cacheKey, generation } = entry
    this.#pending.removing.add(generation)
    for (const recent of this.#pending.at(cacheKey)) {
      if (recent.entry.generation === generation) this.#pending.drop(recent)
    }
    await this.#exclusive
      .run([cacheKey], () => this.#places.remove(entry, cause))
      .catch(() => this.#outdated.add(cacheKey, entry.responseTime, { nominated: entry.nominated }))
    this.#pending.removing.delete(generation)
  }

  /**
   * Deletes all responses for a cache key. From now on they are not found.
   *
   * @returns how many there were
   * @throws where the store fails
   */
  delete(cacheKey: string, cause: DeletionCause = 'management'): Promise<number> {
    this.deletions.add(cacheKey)
    const asked = Date.now()
    const dropped = this.#pending.dropAt(cacheKey)
    const deletion = this.#exclusive.run([cacheKey], async () => {
      const gone = await this.#places.removeAll(cacheKey, cause)
      return new Set([...dropped, ...gone]).size
    })
    const settled = deletion
      .then(
        () => {},
        () => {
          // Who manages a cache is told that it failed; nobody else is.
          if (cause === 'invalidation') this.#outdated.add(cacheKey, asked)
        },
      )
      .finally(() => {
        if (this.#deleting.get(cacheKey) === settled) this.#deleting.delete(cacheKey)
      })
    this.#deleting.set(cacheKey, settled)
    return deletion
  }

  /** Deletes all responses. @throws where the store fails */
  async clear(): Promise<void> {
    this.deletions.addAll()
    this.#pending.dropAll()
    const clearing = (async () => {
      await this.settled()
      if (await this.#isReset()) this.#heads.forgetAll()
      else {
        await this.#heads.clear()
        await this.#chunks.clear()
        await this.#afterClearing()
      }
      this.#outdated.clear()
      this.#events.deleted(undefined, 'management')
    })()
    this.#clearing = clearing
    await clearing.finally(() => {
      if (this.#clearing === clearing) this.#clearing = undefined
    })
  }

  /** What others have stored meanwhile stays. */
  async #afterClearing(): Promise<void> {
    if (!this.#chunks.isClearedBlindly) return
    for await (const { content, chunksUntil } of this.#heads.responses()) {
      await this.#chunks.secure(content.chunks, finite(chunksUntil - Date.now()))
    }
  }

  /** Begins with an empty store, where nobody needs what is in it. @returns whether that was so */
  async #isReset(): Promise<boolean> {
    if (this.#chunks.areRead) return false
    const mayBegin = () => !this.#chunks.areRead && this.#chunks.loseUnfinished()
    return (await this.#stores.reset?.(mayBegin).catch(() => false)) ?? false
  }

  /** Whether the content of a stored response is there, as far as can be told without reading it. */
  async hasContent({ content }: Entry): Promise<boolean> {
    return content.chunks === undefined || this.#chunks.areThere(content.chunks)
  }

  /** All stored responses for a cache key. */
  async all(cacheKey: string): Promise<Entry[]> {
    await this.recorder.settled(cacheKey)
    await this.#exclusive.settled(cacheKey)
    return this.#load(cacheKey)
  }

  /**
   * Waits until nothing is being received or written for a cache key.
   *
   * @param patience how long at most, in milliseconds
   */
  async quiet(cacheKey: string, patience: number): Promise<void> {
    const end = performance.now() + patience
    while (this.#pending.has(cacheKey) || this.#exclusive.isBusy(cacheKey)) {
      if (performance.now() > end) return
      await this.#exclusive.settled(cacheKey)
      if (this.#pending.has(cacheKey)) await delay(QUIET_POLL)
    }
  }

  /** Waits until all that has been received by now is written. */
  async settled(): Promise<void> {
    await this.recorder.settled()
    await this.#exclusive.settled()
  }

  /** Waits until the store is within its limits. */
  async limitsKept(): Promise<void> {
    await this.#limits?.settled()
  }

  /** Removes at once what is to be removed, and gives its space back. */
  async freed(): Promise<void> {
    await this.settled()
    await this.limitsKept()
    await this.#chunks.flush()
    await this.#stores.shrink?.()
  }

  async close(): Promise<void> {
    await this.settled()
    await this.limitsKept()
    await this.#limits?.flush().catch(() => {})
    await this.#chunks.close()
    await this.#stores.close()
  }

  /**
   * The secret under which credentials are hashed.
   *
   * @param mayMake whether one is made and stored where there is none
   */
  secret(mayMake: boolean): Buffer | Promise<Buffer> {
    return this.#heads.secret(mayMake)
  }

  /** What stands in for it while it cannot be known. */
  get standInSecret(): Buffer {
    return this.#heads.standInSecret
  }

  /** The same, if there is one in the store. @throws where the store fails */
  async keptSecret(): Promise<Buffer | undefined> {
    return this.#heads.keptSecret()
  }

  /** Another store's secret becomes this one's, if there is none yet. @throws where the store fails */
  async adoptSecret(secret: Buffer): Promise<void> {
    await this.#heads.adoptSecret(secret)
  }
}
