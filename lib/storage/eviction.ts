import type { Events } from '../observe/events.ts'
import type { EvictEvent } from '../observe/payloads.ts'
import type { LeastUsed, Usage } from './byte-store.ts'
import { type Chunks, chunkKeys } from './chunks.ts'
import type { Exclusive } from './exclusive.ts'
import type { Heads, Variant } from './heads.ts'
import { Pace } from './pace.ts'
import { type Summary, summaryOf } from './summary.ts'

/** What can be evicted. */
export interface Candidate {
  readonly head: LeastUsed
  /** The response; undefined for what is none, or cannot be read. */
  readonly summary: Summary | undefined
  /** With its content, in bytes. */
  readonly size: number
  /** How many responses it counts as: 1 or 0. */
  readonly count: number
}

/** Finds what was used least recently, and removes many of that at once. */
export class Eviction {
  readonly #usage: Usage
  readonly #heads: Heads
  readonly #chunks: Chunks
  readonly #exclusive: Exclusive
  readonly #events: Events

  constructor(usage: Usage, heads: Heads, chunks: Chunks, exclusive: Exclusive, events: Events) {
    this.#usage = usage
    this.#heads = heads
    this.#chunks = chunks
    this.#exclusive = exclusive
    this.#events = events
  }

  /**
   * What may be evicted, least recently used first: not what is just being replaced, nor what tells of variants
   * that are still there.
   *
   * @param most how many heads are looked at
   */
  async *candidates(most: number): AsyncGenerator<Candidate> {
    const pace = new Pace()
    for (const head of await this.#usage.oldest(most)) {
      const candidate = await this.#candidate(head)
      if (candidate && !this.#exclusive.isBusy(cacheKeyOf(candidate))) yield candidate
      await pace.rest()
    }
  }

  async #candidate(head: LeastUsed): Promise<Candidate | undefined> {
    const { key, size } = head
    if (head.summary) return this.#response(head, head.summary)
    const at = await this.#heads.at(key)
    // It cannot be read: it goes all the same.
    if (at === undefined) return { head, summary: undefined, size, count: 1 }
    if (at.head.kind === 'response') return this.#response(head, summaryOf(key, at.head.entry))
    if (await this.#isNeeded(key, at.head.variants)) return undefined
    return { head, summary: undefined, size, count: 0 }
  }

  async #response(head: LeastUsed, summary: Summary): Promise<Candidate> {
    const { chunks } = summary
    const content = chunks ? await this.#usage.sizeOf(chunkKeys(chunks)) : 0
    return { head, summary, size: head.size + content, count: 1 }
  }

  /** Whether there are variants where a head tells: then it has been used when the last of them was, and goes after it. */
  async #isNeeded(cacheKey: string, variants: readonly Variant[]): Promise<boolean> {
    const keys = variants.map(({ nominated }) => this.#heads.variantKey(cacheKey, nominated))
    const usedAt = [...(await this.#usage.usedAt(keys)).values()]
    if (usedAt.length === 0) return false
    // Nothing waits for it: if it comes to nothing, it is done the next time.
    this.#usage.touch([{ key: cacheKey, usedAt: Math.max(...usedAt) + 1 }], 0).catch(() => {})
    return true
  }

  /**
   * Removes what is still as it was when it was found. What has been replaced or used since, be it by another
   * process, stays.
   *
   * @returns how many heads are gone
   */
  async evict(candidates: readonly Candidate[], limit: EvictEvent['limit']): Promise<number> {
    const cacheKeys = new Set(candidates.map(cacheKeyOf))
    return this.#exclusive.run([...cacheKeys], async () => {
      const heads = candidates.map(({ head }) => head)
      const keys = heads.map(({ key }) => key)
      const gone = await this.#heads.deleteBy(keys, () => this.#usage.remove(heads))
      const evicted = candidates.flatMap(({ head, summary }) =>
        summary && gone.has(head.key) ? [summary] : [],
      )
      for (const summary of evicted) {
        this.#events.evicted({ ...summary, content: { length: summary.size } }, limit)
      }
      const removals = evicted.map(({ chunks }) => chunks && this.#chunks.remove(chunks, true))
      // What has not been summed up the store did not know of, so that it still counts until it has been told.
      const isKnown = candidates.every(({ head, summary }) => head.summary === summary)
      if (!isKnown) await Promise.all(removals)
      return gone.size
    })
  }
}

function cacheKeyOf({ head, summary }: Candidate): string {
  return summary?.cacheKey ?? head.key
}
