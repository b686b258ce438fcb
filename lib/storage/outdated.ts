import { LRUCache } from '../lru.ts'
import type { Nominated } from '../rfc9111/message.ts'
import { type Entry, mayCoexist } from './entry.ts'

/** Of how many cache keys it is remembered that what is stored for them is outdated. */
const MAX_KEYS = 10_000

/** Of how many of the variants for one cache key it is; where there are more, all of them are. */
const MAX_VARIANTS = 8

/** How often the store is asked again to remove what is outdated, in milliseconds. */
const RETRY_INTERVAL = 1000

interface Mark {
  /** When it became outdated, in milliseconds since the epoch: what was received until then is. */
  readonly since: number
  /** By something with the same; by nothing in particular if undefined. */
  readonly nominated: Nominated | undefined
}

interface Marks {
  readonly all: readonly Mark[]
  /** When the store was last asked to remove it. */
  readonly triedAt: number
}

/**
 * What a store that failed could neither delete nor replace: it is there, and not to be used any more. As soon
 * as it comes up, the store is asked again to remove it.
 */
export class Outdated {
  #all: Mark | undefined
  readonly #keys = new LRUCache<string, Marks>({ max: MAX_KEYS })

  /**
   * @param since in milliseconds since the epoch
   * @param nominated of what was to take its place; undefined where all that is stored for the key is outdated
   */
  add(cacheKey: string, since: number, nominated?: Nominated): void {
    const known = this.#keys.peek(cacheKey)?.all ?? []
    const all =
      nominated === undefined || known.length === MAX_VARIANTS
        ? [{ since, nominated: undefined }]
        : [...known, { since, nominated }]
    this.#keys.set(cacheKey, { all, triedAt: Date.now() })
  }

  /** All that is stored is outdated. */
  addAll(since: number): void {
    this.#all = { since, nominated: undefined }
  }

  /** Nothing is stored any more. */
  clear(): void {
    this.#keys.clear()
    this.#all = undefined
  }

  has({ cacheKey, responseTime, nominated }: Entry): boolean {
    if (this.#keys.size === 0 && this.#all === undefined) return false
    const marks = this.#keys.peek(cacheKey)?.all ?? []
    const now = Date.now()
    return [...marks, ...(this.#all ? [this.#all] : [])].some(
      (mark) =>
        responseTime <= mark.since &&
        // A clock that has been put back would make everything outdated that comes from now on.
        mark.since <= now &&
        (mark.nominated === undefined || !mayCoexist(nominated, mark.nominated)),
    )
  }

  /** Whether it is time to have what is outdated for a key removed once more. */
  isDue(cacheKey: string): boolean {
    const marks = this.#keys.peek(cacheKey)
    if (marks && Math.abs(Date.now() - marks.triedAt) < RETRY_INTERVAL) return false
    this.#keys.set(cacheKey, { all: marks?.all ?? [], triedAt: Date.now() })
    return true
  }
}
