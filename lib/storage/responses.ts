import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { type Awaitable, after } from '../awaitable.ts'
import { asError, type Events } from '../observe/events.ts'
import type { DeletionCause } from '../observe/payloads.ts'
import { matches, mayMeanNew, type ParsedQuery } from '../query.ts'
import { expirationTime } from '../rfc9111/freshness.ts'
import type { Nominated, RequestMessage } from '../rfc9111/message.ts'
import { fieldsAbout } from '../rfc9111/storing.ts'
import { differingFields, nominatedMatch } from '../rfc9111/vary.ts'
import { Bulk } from './bulk.ts'
import type { Stores } from './byte-store.ts'
import { Catalogue } from './catalogue.ts'
import { CHUNK_SIZE, Chunks } from './chunks.ts'
import { ClearedError, GivenUpError, readAll, TooLargeError, TooSlowError } from './content.ts'
import { Deletions } from './deletions.ts'
import {
  type Entry,
  isSameVariant,
  keptUntil,
  mayCoexist,
  type NewEntry,
  STALE_RETENTION,
} from './entry.ts'
import { Eviction } from './eviction.ts'
import { Exclusive, untilDone } from './exclusive.ts'
import { GrowingContent } from './growing-content.ts'
import {
  type Found,
  finite,
  type Head,
  Heads,
  NOTHING_FOUND,
  type Placed,
  type Variant,
} from './heads.ts'
import { type LimitOptions, Limits } from './limits.ts'
import { MemoryTier } from './memory-tier.ts'
import { Outdated } from './outdated.ts'
import { isRefusal } from './refusal.ts'
import { type Sealing, sealStores } from './sealed-store.ts'
import type { Inspection } from './sqlite/inspect.ts'
import { type Summary, summaryOf } from './summary.ts'
import { LaterTurn } from './turns.ts'

/** How much of the responses is kept, and where. */
export interface ResponsesOptions extends LimitOptions {
  /** How much to keep in memory as well, in bytes; 0 for nothing. */
  readonly memory: number
  /** How many variants of one response are kept; the least recently stored goes first. */
  readonly maxVariants: number
  /** What is done to what is stored. */
  readonly sealing: Sealing
}

/** After how long it is looked again whether something is wrong, in milliseconds. */
const CONFIRMATION = 200

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

/** How many variants for other requests are looked at, where none is for the request. */
const MAX_OTHERS = 8

/** How long it takes until it is asked again whether a response has been received, in milliseconds. */
const QUIET_POLL = 20

/** A response whose content is being received, or that is being written. */
interface Recent {
  entry: Entry
  /** Set when something newer took its place, so that it must not be written any more. */
  isObsolete: boolean
}

/** A response that is being stored while it is being received. */
export interface Recording {
  readonly entry: Entry
  readonly content: GrowingContent
  /** Whether it is stored after all; undefined where that is not asked. Until then it is not found. */
  readonly agreed: Promise<boolean> | undefined
  /**
   * There is no more content: the response is stored, if it is whole.
   *
   * @param isLater whether what else arrives at the moment comes first, until {@link Responses.hurry}; what takes an
   * agreement waits for a turn of its own
   * @returns why it could not be stored; undefined where it is, or another one has taken its place
   */
  complete(isWhole: boolean, isLater?: boolean): Promise<Error | undefined>
  /** The content will not be complete: nothing is stored. */
  abandon(error: Error): void
}

/**
 * The stored responses of a cache: which there are for a cache key, including those that are being
 * received or written at the moment; and how they are kept as records in a store. Content is written
 * before the record that refers to it, so that a response is either stored completely or not at all.
 */
export class Responses {
  readonly #heads: Heads
  readonly #chunks: Chunks
  readonly #stores: Stores
  readonly #events: Events
  readonly #maxVariants: number
  readonly #limits: Limits | undefined
  /** How much there may be in the store, in bytes. */
  readonly #maxSize: number
  /** With more content than this, in bytes, a response would be evicted at once, and all others before it. */
  readonly maxContentSize: number
  readonly #recent = new Map<string, Set<Recent>>()
  /** What will become changes once it has been agreed to. */
  readonly #asking = new Set<Promise<unknown>>()
  /** Changes to one cache key happen one after the other. */
  readonly #exclusive = new Exclusive()
  /** What is not written before there is room for it, by its cache key. */
  readonly #waiting = new Exclusive()
  readonly #catalogue: Catalogue
  readonly #bulk: Bulk
  readonly #deleting = new Map<string, Promise<unknown>>()
  /** The generations of responses that are being removed. */
  readonly #removing = new Set<string>()
  /** What has been deleted or invalidated since a request was sent. */
  readonly deletions: Deletions = new Deletions()
  readonly #outdated = new Outdated()
  #clearing: Promise<void> | undefined
  /** How much waits to be written, in bytes. */
  #backlog = 0
  readonly #laterTurn = new LaterTurn()

  constructor(stores: Stores, events: Events, options: ResponsesOptions) {
    const { memory, maxVariants, sealing, ...limits } = options
    const sealed = sealStores(stores, sealing, events, (chunks) => this.#chunks.remove(chunks))
    const { coherence = { kind: 'unnoticed' }, usage, isWaitedFor } = sealed
    this.#stores = sealed
    const tier = memory > 0 ? new MemoryTier(memory, coherence) : undefined
    const isKeptTwice = sealed.isInMemory && sealing.compression === undefined
    this.#chunks = new Chunks(sealed.chunks, isKeptTwice ? undefined : tier, sealed, isWaitedFor)
    this.#heads = new Heads(sealed.heads, this.#chunks, events, tier, sealing.encryption)
    this.#events = events
    this.#maxVariants = maxVariants
    this.#limits =
      usage &&
      new Limits(
        usage,
        limits,
        new Eviction(usage, this.#heads, this.#chunks, this.#exclusive, events),
        ({ cacheKey, nominated }) => this.#heads.variantKey(cacheKey, nominated),
      )
    this.#maxSize = usage ? limits.maxSize : Infinity
    this.maxContentSize = contentWithin(this.#maxSize)
    this.#catalogue = new Catalogue(this.#heads, sealed)
    this.#bulk = new Bulk(this.#heads, this.#chunks, this.#catalogue, this.#exclusive, events)
  }

  /**
   * The stored responses for a cache key that a request may select from. Where there are some but
   * none has the request's nominated fields, the most recent of the others. Trouble is a miss. What is
   * known without asking the store comes at once.
   */
  find(cacheKey: string, request: RequestMessage): Awaitable<Entry[]> {
    const recent = this.#recentEntries(cacheKey)
    const matching = recent.filter(({ nominated }) => nominatedMatch(nominated, request))
    // What is being deleted is not there any more, however long the store takes for it.
    const isDeleted = this.#clearing !== undefined || this.#deleting.has(cacheKey)
    if (matching.length > 0 || isDeleted) return matching
    const known = this.#known(cacheKey, request)
    return known ? [known] : this.#search(cacheKey, request, recent)
  }

  #recentEntries(cacheKey: string): Entry[] {
    const recent = this.#recent.get(cacheKey)
    if (recent === undefined) return []
    return [...recent].map(({ entry }) => entry).filter((entry) => !seemsEndless(entry))
  }

  /** A stored response that matches a request, and is in memory. */
  #known(cacheKey: string, request: RequestMessage): Entry | undefined {
    let head = this.#heads.known(cacheKey, cacheKey)
    if (head?.kind === 'variants') {
      const matching = head.variants.filter(({ nominated }) => nominatedMatch(nominated, request))
      const [only] = matching
      if (only === undefined || matching.length > 1) return undefined
      head = this.#heads.known(this.#heads.variantKey(cacheKey, only.nominated), cacheKey)
    }
    if (head?.kind !== 'response' || this.#removing.has(head.entry.generation)) return undefined
    if (this.#outdated.has(head.entry)) return undefined
    return nominatedMatch(head.entry.nominated, request) ? head.entry : undefined
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
      ...loaded.filter(({ generation }) => !this.#removing.has(generation)),
    ]
    const loaded = this.#load(cacheKey, request)
    return loaded instanceof Promise ? loaded.then(withRecent, () => recent) : withRecent(loaded)
  }

  #load(cacheKey: string, request?: RequestMessage): Awaitable<Entry[]> {
    return after(this.#loadAll(cacheKey, request), (all) => {
      const outdated = all.filter((entry) => this.#outdated.has(entry))
      if (outdated.length === 0) return all
      if (this.#outdated.isDue(cacheKey)) {
        for (const entry of outdated) void this.remove(entry, 'superseded')
      }
      return all.filter((entry) => !outdated.includes(entry))
    })
  }

  #loadAll(cacheKey: string, request?: RequestMessage): Awaitable<Entry[]> {
    return after(this.#heads.read(cacheKey, cacheKey), (head) => {
      if (head === undefined) return []
      if (head.kind === 'response') return [head.entry]
      return this.#loadVariants(cacheKey, head.variants, request)
    })
  }

  async #loadVariants(
    cacheKey: string,
    variants: readonly Variant[],
    request: RequestMessage | undefined,
  ): Promise<Entry[]> {
    const all = variants.map(({ nominated }) => nominated)
    const matching = request && all.filter((nominated) => nominatedMatch(nominated, request))
    const isForOthers = request && matching?.length === 0
    const wanted = isForOthers ? nearest(all, request) : (matching ?? all)
    const heads = await Promise.all(
      wanted.map((nominated) =>
        this.#heads.read(this.#heads.variantKey(cacheKey, nominated), cacheKey),
      ),
    )
    return heads.flatMap((variant) => (variant?.kind === 'response' ? [variant.entry] : []))
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
    const unfinished = finite(Math.min(timeToLive, this.#chunks.unfinishedTime))
    const content = new GrowingContent(this.#chunks, fields, unfinished, most)
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
      this.#remove(recent)
      this.#discard(content)
    }
    const agreement = agree && Promise.withResolvers<boolean>()
    if (agree === undefined) this.#add(recent)
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
      if (!isGivenUp) this.#add(recent)
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
    // Somebody who waits for it, so that it is not given up.
    const hold = recording.content.open()
    try {
      for await (const bytes of content) await append(recording.content, bytes)
    } catch (error) {
      recording.abandon(asError(error))
      throw error
    } finally {
      hold.close()
    }
    const failure = await recording.complete(true)
    if (failure) throw failure
  }

  /** Stores a response whose fields have been freshened, unless another one has taken its place. */
  freshen(entry: Entry): void {
    if (isGivenUp(entry)) return
    const same = [...(this.#recent.get(entry.cacheKey) ?? [])].filter((recent) =>
      isSameVariant(recent.entry.nominated, entry.nominated),
    )
    if (same.some((recent) => recent.entry.generation !== entry.generation)) return
    // What is still to be written is written with the new fields.
    for (const recent of same) recent.entry = entry
    const recent: Recent = { entry, isObsolete: false }
    this.#add(recent)
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
    const turn = isLater ? this.#laterTurn.wait() : undefined
    const isWaiting = this.#limits?.isFull ?? false
    // Of content in chunks the last one waits with it, if it has to.
    const inMemory = Math.min(content.received, CHUNK_SIZE)
    const size = OVERHEAD + (content.chunks && !isWaiting ? 0 : inMemory)
    if (this.#isTooLarge(recent.entry, content)) {
      content.giveUp(new TooLargeError(`the response is larger than ${this.#maxSize} bytes`))
    } else if (this.#backlog + size > MAX_BACKLOG) content.giveUp(new TooSlowError())
    this.#backlog += size
    if (this.#backlog > MAX_WAITING) this.hurry()
    const { cacheKey } = recent.entry
    const limits = content.givenUp ? undefined : this.#limits
    const whole = OVERHEAD + content.received
    const room = limits?.begin(whole)
    if (room) await this.#waiting.run([cacheKey], () => room)
    return this.#exclusive.run([cacheKey], async () => {
      try {
        await turn
        await this.#store(recent, content, isFirst)
        return undefined
      } catch (error) {
        // What the store refused has been told already.
        const isWanted = error instanceof TooLargeError || error instanceof ClearedError
        const isTrouble = error instanceof GivenUpError && !isWanted
        const isReplacement = !isFirst && !isPart(recent.entry)
        if (isReplacement && isOfStore(error)) {
          const { responseTime, nominated, fields } = recent.entry
          this.#outdated.add(cacheKey, responseTime - 1, { nominated, fields })
        }
        if (isTrouble) this.#events.error('write', error)
        // What may be written after all needs its content: it goes with the process, or in its time.
        if (content.givenUp === undefined && isRefusal(error)) this.#discard(content)
        return asError(error)
      } finally {
        this.#backlog -= size
        limits?.end(whole)
        this.#chunks.finish(content.generation)
        this.#remove(recent)
      }
    })
  }

  /** @throws where it cannot be stored */
  async #store(recent: Recent, content: GrowingContent, isFirst: boolean): Promise<void> {
    const saved = await content.saved()
    if (recent.isObsolete) return this.#discard(content)
    const entry = { ...recent.entry, content: saved }
    await this.#writeSurely(entry, isFirst)
    // While it was written, all was cleared: what it refers to is not there any more.
    if (content.givenUp) void this.remove(entry)
    else if (saved.chunks) {
      await tidy(() => this.#chunks.refer(saved.chunks, true))
      await tidy(() => this.#secure(entry))
    }
    this.#events.stored(entry, expirationTime(entry))
  }

  /** Whether a response is by itself larger than all that may be held, so that others would be evicted in vain. */
  #isTooLarge({ url, fields, nominated, tags }: Entry, { received }: GrowingContent): boolean {
    if (received + sizeOfChunks(received) + MOST_METADATA < this.#maxSize) return false
    const metadata = Buffer.byteLength(JSON.stringify({ url, fields, nominated, tags }))
    const size = received + sizeOfChunks(received) + metadata + 4 * RECORD_OVERHEAD
    return size > this.#maxSize
  }

  async #rewrite(recent: Recent): Promise<void> {
    const { entry } = recent
    await this.#exclusive.run([entry.cacheKey], async () => {
      try {
        const kept = await this.#place(entry)
        if (kept && !recent.isObsolete) {
          await this.#heads.write(kept.key, { ...entry, content: kept.entry.content }, kept)
        }
      } catch {
        // It has been told; the response is validated once more the next time.
      } finally {
        this.#remove(recent)
      }
    })
  }

  /** Removes one response, if it is still stored. From now on it is not found. A failure is told by an event. */
  async remove(entry: Entry, cause: DeletionCause = 'management'): Promise<void> {
    const { cacheKey, generation } = entry
    this.#removing.add(generation)
    for (const recent of this.#recent.get(cacheKey) ?? []) {
      if (recent.entry.generation !== generation) continue
      recent.isObsolete = true
      this.#remove(recent)
    }
    await this.#exclusive
      .run([cacheKey], () =>
        untilDone(async () => {
          const kept = await this.#place(entry)
          if (kept === undefined) return 'nothing'
          if (kept.key === cacheKey) await this.#vacate(cacheKey, kept.head)
          if (!(await this.#heads.deleteFound(kept.key, kept))) return 'again'
          await this.#dispose(cacheKey, { kind: 'response', entry: kept.entry })
          this.#events.deleted(kept.entry, cause)
          return 'done'
        }),
      )
      .catch(() => this.#outdated.add(cacheKey, entry.responseTime, { nominated: entry.nominated }))
    this.#removing.delete(generation)
  }

  /**
   * Where a response is stored; undefined where it is not any more, because another one took its place,
   * here or in another process, or it was deleted.
   */
  async #place(wanted: Entry): Promise<Placed | undefined> {
    const { cacheKey, nominated, generation } = wanted
    const first = await this.#heads.look(cacheKey, cacheKey)
    const isVariant = first.head?.kind === 'variants'
    const key = isVariant ? this.#heads.variantKey(cacheKey, nominated) : cacheKey
    const found = isVariant ? await this.#heads.look(key, cacheKey) : first
    const { head } = found
    if (head?.kind !== 'response' || head.entry.generation !== generation) return undefined
    return { ...found, key, entry: head.entry }
  }

  /** Writes a response to its place. One that is found there is written, whatever the store says or does not say. */
  async #writeSurely(entry: Entry, isFirst: boolean): Promise<void> {
    try {
      await this.#write(entry, isFirst)
    } catch (error) {
      const isWritten = !isRefusal(error) && (await this.#place(entry).catch(() => undefined))
      if (!isWritten) throw error
    }
  }

  /** Writes a response to its place: the last step, before which there was nothing to be found. */
  async #write(entry: Entry, isFirst = false): Promise<void> {
    const { cacheKey } = entry
    if (isFirst && this.#heads.isCompared) {
      if (await this.#heads.write(cacheKey, entry, NOTHING_FOUND)) return
    }
    await untilDone(async () => {
      const found = await this.#heads.look(cacheKey, cacheKey)
      return (await this.#writeOver(found, entry)) ? 'done' : 'again'
    })
  }

  /** @returns whether what was found was still there */
  async #writeOver(found: Found, entry: Entry): Promise<boolean> {
    const { cacheKey, nominated } = entry
    const { head: previous } = found
    const isAlone =
      previous === undefined ||
      Object.keys(nominated).length === 0 ||
      (previous.kind === 'response' && !mayCoexist(previous.entry.nominated, nominated))
    if (!isAlone) return this.#writeVariant(entry, previous, found)
    const isWhole = previous?.kind === 'response' && !isPart(previous.entry)
    if (isWhole && isPart(entry)) {
      // A part takes the place of nothing that is whole.
      await this.#dispose(cacheKey, { kind: 'response', entry })
      return true
    }
    if (previous) await tidy(() => this.#vacate(cacheKey, previous))
    if (!(await this.#heads.write(cacheKey, entry, found))) return false
    if (previous) await tidy(() => this.#dispose(cacheKey, previous))
    return true
  }

  async #writeVariant(entry: Entry, previous: Head, found: Found): Promise<boolean> {
    const { cacheKey, nominated } = entry
    const key = this.#heads.variantKey(cacheKey, nominated)
    const variants = await this.#variants(cacheKey, previous)
    const others = variants.filter((variant) => !isSameVariant(variant.nominated, nominated))
    // What nothing has told of, because a process ended, must not be found when this one is told of.
    const isNew = others.length === variants.length
    if (isNew) await this.#deleteVariant(cacheKey, nominated)
    const overwritten = isNew ? NOTHING_FOUND : await this.#heads.look(key, cacheKey)
    const all = [{ nominated, until: keptUntil(entry) }, ...others]
    const kept = await this.#keptOf(cacheKey, all)
    const dropped = others.filter((variant) => !kept.includes(variant))
    if (!(await this.#heads.writeVariants(cacheKey, kept, found))) {
      if (previous.kind === 'response') {
        const { entry: copied } = previous
        await this.#leaveUnlisted(cacheKey, copied.nominated, copied.generation)
      }
      return false
    }
    await this.#heads.write(key, entry)
    await tidy(() => this.#tidyVariants(entry, previous, overwritten, dropped))
    return true
  }

  /** Removes what one of several variants has taken the place of. */
  async #tidyVariants(
    entry: Entry,
    previous: Head,
    overwritten: Found,
    dropped: readonly Variant[],
  ): Promise<void> {
    const { cacheKey, nominated } = entry
    if (previous.kind === 'response') await this.#chunks.refer(previous.entry.content.chunks, false)
    await this.#dispose(cacheKey, overwritten.head)
    if (this.#heads.isCompared) {
      const left = await this.#leaveUnlisted(cacheKey, nominated, entry.generation)
      if (left) await this.#dispose(cacheKey, { kind: 'response', entry: left })
    }
    for (const { nominated: least } of dropped) {
      for (const variant of await this.#deleteVariant(cacheKey, least)) {
        this.#events.evicted(variant, 'maxVariants')
      }
    }
  }

  /** Which of some variants are kept: where they are too many, those that are not there any more take no place. */
  async #keptOf(cacheKey: string, [newest, ...others]: Variant[]): Promise<Variant[]> {
    const all = newest ? [newest, ...others] : []
    if (all.length <= this.#maxVariants) return all
    const there = await this.#heads.variantsThere(cacheKey, others, this.#stores.usage)
    return all
      .filter((variant) => variant === newest || there.has(variant))
      .slice(0, this.#maxVariants)
  }

  /** The variants at a cache key; a response that is alone there is copied to where it makes room for more. */
  async #variants(cacheKey: string, previous: Head): Promise<readonly Variant[]> {
    if (previous.kind === 'variants') return previous.variants
    const { entry } = previous
    await this.#heads.write(this.#heads.variantKey(cacheKey, entry.nominated), entry)
    return [{ nominated: entry.nominated, until: keptUntil(entry) }]
  }

  /**
   * Removes one of several variants, if it is not told anywhere that it is one: another process has come before,
   * and may have deleted all of them.
   *
   * @param generation of the one that may be removed; any one where it is missing
   * @returns the response that was there, if it has been removed
   */
  async #leaveUnlisted(
    cacheKey: string,
    nominated: Nominated,
    generation?: string,
  ): Promise<Entry | undefined> {
    const key = this.#heads.variantKey(cacheKey, nominated)
    const found = await this.#heads.look(key, cacheKey)
    if (found.head?.kind !== 'response') return undefined
    const { entry } = found.head
    if (generation !== undefined && entry.generation !== generation) return undefined
    const { head } = await this.#heads.look(cacheKey, cacheKey)
    const variants = head?.kind === 'variants' ? head.variants : []
    if (variants.some((variant) => isSameVariant(variant.nominated, nominated))) return undefined
    return (await this.#heads.deleteFound(key, found)) ? entry : undefined
  }

  /** Deletes one of several variants, which is not told any more to be one. @returns it, if it was there */
  async #deleteVariant(cacheKey: string, nominated: Nominated): Promise<Entry[]> {
    const entry = await this.#leaveUnlisted(cacheKey, nominated)
    return entry ? this.#dispose(cacheKey, { kind: 'response', entry }) : []
  }

  /**
   * Removes what is only there because a head tells of it, before that goes: were this process to end in
   * between, nobody would find it any more.
   *
   * @returns the responses that are no longer stored
   */
  async #vacate(cacheKey: string, head: Head | undefined): Promise<Entry[]> {
    const gone: Entry[] = []
    if (head?.kind === 'variants') {
      for (const { nominated } of head.variants) {
        const key = this.#heads.variantKey(cacheKey, nominated)
        const found = await this.#heads.look(key, cacheKey)
        const isDeleted = found.record && (await this.#heads.deleteFound(key, found))
        if (isDeleted) gone.push(...(await this.#dispose(cacheKey, found.head)))
      }
    } else if (head !== undefined && Object.keys(head.entry.nominated).length > 0) {
      // A copy that a process was making when it ended.
      await this.#leaveUnlisted(cacheKey, head.entry.nominated, head.entry.generation)
    }
    return gone
  }

  /**
   * Removes what a head that no longer exists referred to.
   *
   * @returns the responses that are no longer stored
   */
  async #dispose(cacheKey: string, head: Head | undefined): Promise<Entry[]> {
    if (head?.kind === 'response') {
      const { chunks } = head.entry.content
      if (chunks) await this.#chunks.remove(chunks)
      return [head.entry]
    }
    const gone: Entry[] = []
    // What others have written there since it was vacated.
    for (const { nominated } of head?.variants ?? []) {
      gone.push(...(await this.#deleteVariant(cacheKey, nominated)))
    }
    return gone
  }

  #discard(content: GrowingContent): void {
    if (content.isWritten) this.#chunks.discard(content.record)
  }

  #add(recent: Recent): void {
    const { cacheKey, nominated, generation } = recent.entry
    const all = this.#recent.get(cacheKey) ?? new Set()
    for (const other of all) {
      // What is freshened while it is being received or written is still to be written first.
      const isSameResponse = other.entry.generation === generation
      if (isSameResponse || !isSameVariant(other.entry.nominated, nominated)) continue
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

  /** Forgets what is being received or written for a cache key, so that it will not be stored; tells its generations. */
  #forget(cacheKey: string): string[] {
    const all = [...(this.#recent.get(cacheKey) ?? [])]
    for (const recent of all) recent.isObsolete = true
    this.#recent.delete(cacheKey)
    return all.map(({ entry }) => entry.generation)
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
    const forgotten = this.#forget(cacheKey)
    const deletion = this.#exclusive.run([cacheKey], async () => {
      const gone = new Set(forgotten)
      const note = (entries: readonly Entry[]) => {
        for (const entry of entries) {
          this.#events.deleted(entry, cause)
          gone.add(entry.generation)
        }
      }
      await untilDone(async () => {
        const found = await this.#heads.look(cacheKey, cacheKey)
        note(await this.#vacate(cacheKey, found.head))
        if (!(await this.#heads.deleteFound(cacheKey, found))) return 'again'
        note(await this.#dispose(cacheKey, found.head))
        return 'done'
      })
      return gone.size
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
    for (const cacheKey of [...this.#recent.keys()]) this.#forget(cacheKey)
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
    for await (const entry of this.#heads.responses()) await this.#secure(entry)
  }

  #secure({ content, chunksUntil }: Entry): Promise<void> {
    return this.#chunks.secure(content.chunks, finite(chunksUntil - Date.now()))
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
    await this.#waiting.settled(cacheKey)
    await this.#exclusive.settled(cacheKey)
    return this.#load(cacheKey)
  }

  /**
   * Sums up the stored responses that a query means, a few at a time.
   *
   * @throws where the store fails, cannot list what it has, or does not know what is asked
   */
  async *select(query: ParsedQuery, now: number): AsyncGenerator<readonly Summary[]> {
    await this.#noteUse(query)
    yield* this.#catalogue.select(query, now)
  }

  /** Sums up all stored responses, one by one. @throws as {@link select} does */
  async *summaries(): AsyncGenerator<Summary> {
    const all = { conditions: {}, descending: false, limit: Infinity }
    for await (const some of this.select(all, Date.now())) yield* some
  }

  /** The number of stored responses that a query means, and the length of their content in bytes. */
  async totalsOf(query: ParsedQuery, now: number): Promise<{ count: number; size: number }> {
    await this.#noteUse(query)
    return this.#catalogue.totals(query, now)
  }

  /** Writes all that the answer depends on. */
  async #noteUse({ conditions, sort }: ParsedQuery): Promise<void> {
    await this.settled()
    if (conditions.usedBefore !== undefined || sort === 'used') await this.#limits?.flush(0)
  }

  /** The stored response that was summed up; undefined where there is none any more. */
  async get(summary: Summary): Promise<Entry | undefined> {
    return (await this.#bulk.place(summary))?.entry
  }

  /**
   * Deletes the responses that a query means. What is being received or asked for, and may be meant as well,
   * is not stored.
   *
   * @returns how many there were
   * @throws where the store fails
   */
  async deleteAll(query: ParsedQuery, now: number): Promise<number> {
    const isMeant = (summary: Summary) => matches(summary, query.conditions, now)
    this.deletions.addMatching(query)
    const recents = this.#recentsMeant(query, isMeant)
    for (const recent of recents.values()) {
      recent.isObsolete = true
      this.#remove(recent)
    }
    let count = 0
    for await (const some of this.select(this.#spooled(query), now)) {
      for (const { generation } of some) {
        this.#removing.add(generation)
        recents.delete(generation)
      }
      try {
        count += await this.#bulk.remove(some, isMeant, 'management')
      } finally {
        for (const { generation } of some) this.#removing.delete(generation)
      }
    }
    return count + recents.size
  }

  /**
   * Marks the responses that a query means as stale, those that are being received as well. What has been asked
   * for, and may be meant, is not stored.
   *
   * @returns how many there were
   * @throws where the store fails
   */
  async expireAll(
    query: ParsedQuery,
    now: number,
    change: (entry: Entry) => Entry,
  ): Promise<number> {
    this.deletions.addMatching(query)
    return this.reviseAll(query, now, change)
  }

  /**
   * Changes the responses that a query means, those that are being received as well.
   *
   * @returns how many there were
   * @throws where the store fails
   */
  async reviseAll(
    query: ParsedQuery,
    now: number,
    change: (entry: Entry) => Entry,
  ): Promise<number> {
    const isMeant = (summary: Summary) => matches(summary, query.conditions, now)
    const recents = this.#recentsMeant(query, isMeant)
    for (const recent of recents.values()) recent.entry = change(recent.entry)
    let count = 0
    for await (const some of this.select(this.#spooled(query), now)) {
      for (const { generation } of some) recents.delete(generation)
      count += await this.#bulk.revise(some, isMeant, change)
    }
    return count + recents.size
  }

  /**
   * Gives a stored response another cache key. Where something newer is stored for that, it is removed.
   *
   * @param change makes it what it is to be there
   * @returns whether it was still stored
   * @throws where the store fails
   */
  async move(
    summary: Summary,
    cacheKey: string,
    change: (entry: Entry) => Entry,
  ): Promise<boolean> {
    return this.#exclusive.run([summary.cacheKey, cacheKey], async () => {
      const placed = await this.#bulk.place(summary)
      if (placed === undefined) return false
      const { entry } = placed
      const there = await this.#load(cacheKey)
      const isOutdated = there.some(
        (other) =>
          isSameVariant(other.nominated, entry.nominated) &&
          other.responseTime >= entry.responseTime,
      )
      if (!isOutdated) await this.#write(change(entry))
      await this.#heads.deleteFound(placed.key, placed)
      await this.#chunks.refer(entry.content.chunks, false)
      if (isOutdated) await this.#dispose(summary.cacheKey, { kind: 'response', entry })
      return true
    })
  }

  /** Removes what is of no use any more; tells how many responses that were. @throws where the store fails */
  async prune(): Promise<number> {
    await this.settled()
    await this.#chunks.flush()
    if (this.#stores.prune) return this.#stores.prune()
    let count = 0
    for await (const summary of this.#heads.outdated()) {
      count += await this.#bulk.remove([summary], () => true)
    }
    return count
  }

  /** What is wrong in the store; undefined where nothing can be found out. @throws where the store fails */
  async inspect(): Promise<Inspection | undefined> {
    const { upkeep } = this.#stores
    if (upkeep === undefined) return undefined
    await this.settled()
    const found = await upkeep.inspect()
    if (found.orphans.length + found.incomplete.length === 0) return found
    // What is being replaced or removed looks like that for a moment.
    await delay(CONFIRMATION)
    const again = await upkeep.inspect()
    const left = new Set(found.incomplete.map(({ generation }) => generation))
    return {
      ...again,
      orphans: again.orphans.filter((generation) => found.orphans.includes(generation)),
      incomplete: again.incomplete.filter(({ generation }) => left.has(generation)),
    }
  }

  /** Mends what is wrong in the store. @throws where the store fails */
  async mend(found: Inspection): Promise<void> {
    for (const { key } of found.incomplete) await this.#heads.delete(key)
    await this.#stores.upkeep?.mend(found)
  }

  /** What is being received or written, and is meant by a change to many, by its generation. */
  #recentsMeant(query: ParsedQuery, isMeant: (summary: Summary) => boolean): Map<string, Recent> {
    if (!mayMeanNew(query)) return new Map()
    const all = [...this.#recent.values()].flatMap((recents) => [...recents])
    const meant = all.filter(({ entry }) => isMeant(summaryOf(entry.cacheKey, entry)))
    return new Map(meant.map((recent) => [recent.entry.generation, recent]))
  }

  /**
   * A query whose answer is complete before anything is changed: stores without an index may lose their
   * place where something is removed.
   */
  #spooled(query: ParsedQuery): ParsedQuery {
    const isSafe = this.#stores.index !== undefined || query.sort !== undefined
    return isSafe ? query : { ...query, sort: 'url' }
  }

  /** Stores at once what has been received: an agent has nothing else to do, and the program may be about to exit. */
  hurry(): void {
    this.#laterTurn.come()
  }

  /**
   * Waits until nothing is being received or written for a cache key.
   *
   * @param patience how long at most, in milliseconds
   */
  async quiet(cacheKey: string, patience: number): Promise<void> {
    const end = performance.now() + patience
    while (this.#recent.has(cacheKey) || this.#exclusive.isBusy(cacheKey)) {
      if (performance.now() > end) return
      await this.#exclusive.settled(cacheKey)
      if (this.#recent.has(cacheKey)) await delay(QUIET_POLL)
    }
  }

  /** Waits until all that has been received by now is written. */
  async settled(): Promise<void> {
    await Promise.all(this.#asking)
    await this.#waiting.settled()
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

/** How much content a response may have so that it takes no more than so many bytes. */
function contentWithin(maxSize: number): number {
  return maxSize === Infinity ? Infinity : maxSize - OVERHEAD - sizeOfChunks(maxSize)
}

/** What the chunks of some content take beside it, at most, in bytes. */
function sizeOfChunks(length: number): number {
  return Math.ceil(length / CHUNK_SIZE) * RECORD_OVERHEAD
}

/** What is stored is stored, even if what is in vain by now cannot be removed: that has been told, and expires. */
async function tidy(remove: () => Promise<unknown>): Promise<void> {
  await remove().catch(() => {})
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

/** Of the variants for other requests those that differ from what is asked for by the fewest fields. */
function nearest(all: readonly Nominated[], request: RequestMessage): readonly Nominated[] {
  return (
    all
      // Parts are nobody's but those who ask for exactly them.
      .filter(({ range }) => range === undefined)
      .map((nominated) => ({ nominated, distance: differingFields(nominated, request).length }))
      .sort((a, b) => a.distance - b.distance)
      .slice(0, MAX_OTHERS)
      .map(({ nominated }) => nominated)
  )
}

/** Whether a response is an answer to no more than the ranges or conditions of its request. */
function isPart({ status }: Entry): boolean {
  return fieldsAbout(status).length > 0
}

/** Whether it is the store that failed, or was too slow; not what came from the origin or what the user wants. */
function isOfStore(error: unknown): boolean {
  return error instanceof TooSlowError || !(error instanceof GivenUpError)
}

/** Whether a response is not going to be stored after all. */
function isGivenUp({ content }: Entry): boolean {
  return content instanceof GrowingContent && content.givenUp !== undefined
}

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
