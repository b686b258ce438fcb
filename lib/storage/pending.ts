import { mayMeanNew, type ParsedQuery } from '../query.ts'
import { type Entry, isSameVariant } from './entry.ts'
import { GrowingContent } from './growing-content.ts'
import { type Summary, summaryOf } from './summary.ts'

/** How long a response of unknown length may be on its way before it seems endless, in milliseconds. */
const ENDLESS_AFTER = 5000

/** A response whose content is being received, or that is being written. */
export interface Recent {
  entry: Entry
  /** Set when something newer took its place, so that it must not be written any more. */
  isObsolete: boolean
}

/** What the store does not know yet: which responses are being received or written, and which are being removed. */
export class Pending {
  readonly #recent = new Map<string, Set<Recent>>()
  /** The generations of responses that are being removed. */
  readonly removing: Set<string> = new Set()

  /** Whether something is being received or written for a cache key. */
  has(cacheKey: string): boolean {
    return this.#recent.has(cacheKey)
  }

  /** What is being received or written for a cache key. */
  at(cacheKey: string): readonly Recent[] {
    return [...(this.#recent.get(cacheKey) ?? [])]
  }

  /** The responses among that which others may use. */
  entries(cacheKey: string): Entry[] {
    if (!this.#recent.has(cacheKey)) return []
    return this.at(cacheKey)
      .map(({ entry }) => entry)
      .filter((entry) => !seemsEndless(entry))
  }

  /** From now on a response is found, and no other one in its place. */
  add(recent: Recent): void {
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

  /** A response is in the store by now, or is not going to be. */
  remove(recent: Recent): void {
    const { cacheKey } = recent.entry
    const all = this.#recent.get(cacheKey)
    all?.delete(recent)
    if (all?.size === 0) this.#recent.delete(cacheKey)
  }

  /** A response must not be written any more, and is not found. */
  drop(recent: Recent): void {
    recent.isObsolete = true
    this.remove(recent)
  }

  /** Drops all that is being received or written for a cache key. @returns its generations */
  dropAt(cacheKey: string): string[] {
    const all = this.at(cacheKey)
    for (const recent of all) this.drop(recent)
    return all.map(({ entry }) => entry.generation)
  }

  /** Drops all that is being received or written. */
  dropAll(): void {
    for (const cacheKey of [...this.#recent.keys()]) this.dropAt(cacheKey)
  }

  /** What is being received or written, and is meant by a change to many, by its generation. */
  meant(query: ParsedQuery, isMeant: (summary: Summary) => boolean): Map<string, Recent> {
    if (!mayMeanNew(query)) return new Map()
    const all = [...this.#recent.values()].flatMap((recents) => [...recents])
    const meant = all.filter(({ entry }) => isMeant(summaryOf(entry.cacheKey, entry)))
    return new Map(meant.map((recent) => [recent.entry.generation, recent]))
  }
}

/**
 * Whether a response is still arriving that has not announced how long it is, and has been for a while.
 * It may be a stream of events under another name, whose past nobody asks for.
 */
function seemsEndless(entry: Entry): boolean {
  const isArriving = entry.content instanceof GrowingContent && !entry.content.isComplete
  const isAnnounced = entry.fields['content-length'] !== undefined
  return isArriving && !isAnnounced && Date.now() - entry.responseTime > ENDLESS_AFTER
}
