import { setTimeout as delay } from 'node:timers/promises'
import type { Events } from '../observe/events.ts'
import { matches, type ParsedQuery } from '../query.ts'
import { Bulk } from './bulk.ts'
import type { Stores } from './byte-store.ts'
import { Catalogue } from './catalogue.ts'
import type { Chunks } from './chunks.ts'
import type { Deletions } from './deletions.ts'
import { type Entry, isSameVariant } from './entry.ts'
import type { Exclusive } from './exclusive.ts'
import type { Heads } from './heads.ts'
import type { Limits } from './limits.ts'
import type { Pending } from './pending.ts'
import type { Places } from './places.ts'
import type { Inspection } from './sqlite/inspect.ts'
import type { Summary } from './summary.ts'

/** After how long it is looked again whether something is wrong, in milliseconds. */
const CONFIRMATION = 200

/** What {@link Management} works with. */
export interface ManagementParts {
  readonly stores: Stores
  readonly heads: Heads
  readonly chunks: Chunks
  readonly places: Places
  readonly pending: Pending
  readonly deletions: Deletions
  readonly limits: Limits | undefined
  readonly events: Events
  /** Lets changes to one cache key happen one after the other. */
  readonly exclusive: Exclusive
  /** Waits until all that has been received by now is written. */
  settled(): Promise<void>
}

/** What can be done with all stored responses that are of a kind: listed, counted, deleted, changed, tidied up. */
export class Management {
  readonly #parts: ManagementParts
  readonly #catalogue: Catalogue
  readonly #bulk: Bulk

  constructor(parts: ManagementParts) {
    const { stores, heads, chunks, exclusive, events } = parts
    this.#parts = parts
    this.#catalogue = new Catalogue(heads, stores)
    this.#bulk = new Bulk(heads, chunks, this.#catalogue, exclusive, events)
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
    const { limits, settled } = this.#parts
    await settled()
    if (conditions.usedBefore !== undefined || sort === 'used') await limits?.flush(0)
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
    const { pending, deletions } = this.#parts
    deletions.addMatching(query)
    const recents = pending.meant(query, isMeant)
    for (const recent of recents.values()) pending.drop(recent)
    let count = 0
    for await (const some of this.select(this.#spooled(query), now)) {
      for (const { generation } of some) {
        pending.removing.add(generation)
        recents.delete(generation)
      }
      try {
        count += await this.#bulk.remove(some, isMeant, 'management')
      } finally {
        for (const { generation } of some) pending.removing.delete(generation)
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
    this.#parts.deletions.addMatching(query)
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
    const recents = this.#parts.pending.meant(query, isMeant)
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
    const { heads, chunks, places, exclusive } = this.#parts
    return exclusive.run([summary.cacheKey, cacheKey], async () => {
      const placed = await this.#bulk.place(summary)
      if (placed === undefined) return false
      const { entry } = placed
      const there = await places.load(cacheKey)
      const isOutdated = there.some(
        (other) =>
          isSameVariant(other.nominated, entry.nominated) &&
          other.responseTime >= entry.responseTime,
      )
      if (!isOutdated) await places.write(change(entry))
      await heads.deleteFound(placed.key, placed)
      const { chunks: kept } = entry.content
      await chunks.refer(kept, false)
      if (isOutdated && kept) await chunks.remove(kept)
      return true
    })
  }

  /**
   * A query whose answer is complete before anything is changed: stores without an index may lose their
   * place where something is removed.
   */
  #spooled(query: ParsedQuery): ParsedQuery {
    const isSafe = this.#parts.stores.index !== undefined || query.sort !== undefined
    return isSafe ? query : { ...query, sort: 'url' }
  }

  /** Removes what is of no use any more; tells how many responses that were. @throws where the store fails */
  async prune(): Promise<number> {
    const { stores, heads, chunks, settled } = this.#parts
    await settled()
    await chunks.flush()
    if (stores.prune) return stores.prune()
    let count = 0
    for await (const summary of heads.outdated()) {
      count += await this.#bulk.remove([summary], () => true)
    }
    return count
  }

  /** What is wrong in the store; undefined where nothing can be found out. @throws where the store fails */
  async inspect(): Promise<Inspection | undefined> {
    const { stores, settled } = this.#parts
    const { upkeep } = stores
    if (upkeep === undefined) return undefined
    await settled()
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
    const { stores, heads } = this.#parts
    for (const { key } of found.incomplete) await heads.delete(key)
    await stores.upkeep?.mend(found)
  }
}
