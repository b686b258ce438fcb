import type { Events } from '../observe/events.ts'
import type { DeletionCause } from '../observe/payloads.ts'
import type { Catalogue } from './catalogue.ts'
import type { Chunks } from './chunks.ts'
import { type Entry, keptUntil, STALE_RETENTION } from './entry.ts'
import { type Exclusive, untilDone } from './exclusive.ts'
import { finite, type Heads, type Placed } from './heads.ts'
import { Pace } from './pace.ts'
import { type Summary, summaryOf } from './summary.ts'

/** How many responses are removed at a time, so that nothing else waits for long. */
const STEP = 100

/** Changes many stored responses, that have been found by their summaries. */
export class Bulk {
  readonly #heads: Heads
  readonly #chunks: Chunks
  readonly #catalogue: Catalogue
  readonly #exclusive: Exclusive
  readonly #events: Events

  constructor(
    heads: Heads,
    chunks: Chunks,
    catalogue: Catalogue,
    exclusive: Exclusive,
    events: Events,
  ) {
    this.#heads = heads
    this.#chunks = chunks
    this.#catalogue = catalogue
    this.#exclusive = exclusive
    this.#events = events
  }

  /** Where a response is now; undefined where it is not stored any more. */
  async place({ key, cacheKey, generation }: Summary): Promise<Placed | undefined> {
    const found = await this.#heads.look(key, cacheKey)
    const { head } = found
    if (head?.kind === 'response' && head.entry.generation === generation) {
      return { ...found, key, entry: head.entry }
    }
    // It makes room for others that way.
    for await (const placed of this.#heads.under([cacheKey])) {
      if (placed.entry.generation === generation) return placed
    }
    return undefined
  }

  /**
   * Removes responses.
   *
   * @param isMeant whether what became of a response in the meantime is to be removed as well
   * @param cause to be told, if it is
   * @returns how many are gone
   */
  async remove(
    summaries: readonly Summary[],
    isMeant: (summary: Summary) => boolean,
    cause?: DeletionCause,
  ): Promise<number> {
    const pace = new Pace()
    let count = 0
    for (let index = 0; index < summaries.length; index += STEP) {
      const some = summaries.slice(index, index + STEP)
      const cacheKeys = [...new Set(some.map(({ cacheKey }) => cacheKey))]
      count += await this.#exclusive.run(cacheKeys, () => this.#removeSome(some, isMeant, cause))
      await pace.rest()
    }
    return count
  }

  async #removeSome(
    summaries: readonly Summary[],
    isMeant: (summary: Summary) => boolean,
    cause: DeletionCause | undefined,
  ): Promise<number> {
    const known = new Set(await this.#catalogue.remove(summaries))
    const others = await Promise.allSettled(
      summaries
        .filter((summary) => !known.has(summary))
        .map((summary) => this.#removeOne(summary, isMeant)),
    )
    const removed = [...known]
    for (const other of others) if (other.status === 'fulfilled') removed.push(...other.value)
    for (const summary of removed) {
      if (summary.chunks) void this.#chunks.remove(summary.chunks)
      const content = { length: summary.size }
      if (cause) this.#events.deleted({ ...summary, content }, cause)
    }
    const failure = others.find(({ status }) => status === 'rejected')
    if (failure) throw (failure as PromiseRejectedResult).reason
    return removed.length
  }

  /** Removes a response, wherever and whatever it is by now. @returns what it was */
  async #removeOne(summary: Summary, isMeant: (summary: Summary) => boolean): Promise<Summary[]> {
    const removed: Summary[] = []
    await untilDone(async () => {
      const placed = await this.place(summary)
      if (placed === undefined) return 'nothing'
      const current = summaryOf(placed.key, placed.entry)
      if (!isMeant(current)) return 'nothing'
      if (!(await this.#heads.deleteFound(placed.key, placed))) return 'again'
      removed.push(current)
      return 'done'
    })
    return removed
  }

  /**
   * Changes responses in place.
   *
   * @param isMeant whether what became of a response in the meantime is to be changed as well
   * @returns how many were changed
   */
  async revise(
    summaries: readonly Summary[],
    isMeant: (summary: Summary) => boolean,
    change: (entry: Entry) => Entry,
  ): Promise<number> {
    const pace = new Pace()
    let count = 0
    for (const summary of summaries) {
      const isChanged = await this.#exclusive.run([summary.cacheKey], () =>
        untilDone(async () => {
          const placed = await this.place(summary)
          if (placed === undefined) return 'nothing'
          const current = summaryOf(placed.key, placed.entry)
          if (current.storedAt !== summary.storedAt && !isMeant(current)) return 'nothing'
          return (await this.#write(placed, change(placed.entry))) ? 'done' : 'again'
        }),
      )
      if (isChanged) count += 1
      await pace.rest()
    }
    return count
  }

  /**
   * Chunks that would not last as long as a response that has been given more time are given more as well; and
   * those that were to last for ever get an end where the response has got one.
   */
  async #write(placed: Placed, entry: Entry): Promise<boolean> {
    const { content, fields } = entry
    const { chunks } = content
    const until = keptUntil(entry)
    if (chunks === undefined) return this.#heads.write(placed.key, entry, placed)
    const isLonger = until > entry.chunksUntil
    const hasEnd = entry.chunksUntil === Infinity && until < Infinity
    const chunksUntil = isLonger ? until : hasEnd ? until + STALE_RETENTION : entry.chunksUntil
    const keep = () => this.#chunks.keep(chunks, finite(chunksUntil - Date.now()), { fields })
    // At no time is there a head whose content does not last as long as it says.
    if (isLonger) await keep()
    const isWritten = await this.#heads.write(placed.key, { ...entry, chunksUntil }, placed)
    if (isWritten && hasEnd) await keep()
    return isWritten
  }
}
