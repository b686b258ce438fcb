import { type Conditions, matchesPatterns, mayMeanNew, type ParsedQuery } from '../query.ts'
import type { Entry } from './entry.ts'

/** Of how many cache keys, and of how many queries, it is remembered when what they mean was deleted. */
const MAX_KEYS = 10_000
const MAX_QUERIES = 1000

/** What is known of a response before it has come. */
type Expected = Pick<Entry, 'cacheKey' | 'method' | 'url'>

interface QueryDeletion {
  readonly conditions: Conditions
  readonly moment: number
}

/**
 * When what was stored has been deleted, or marked as stale: an answer to what was asked for before may be
 * outdated, and is not stored.
 */
export class Deletions {
  #moment = 0
  readonly #keys = new Map<string, number>()
  /** The latest come last. */
  readonly #queries: QueryDeletion[] = []
  /** When everything was, or may have been. */
  #all = 0

  /** A moment, to ask later on what has been deleted since. */
  moment(): number {
    this.#moment += 1
    return this.#moment
  }

  addAll(): void {
    this.#keys.clear()
    this.#queries.length = 0
    this.#all = this.moment()
  }

  add(cacheKey: string): void {
    this.#keys.delete(cacheKey)
    this.#keys.set(cacheKey, this.moment())
    if (this.#keys.size <= MAX_KEYS) return
    const [oldest, moment] = this.#keys.entries().next().value as [string, number]
    this.#keys.delete(oldest)
    this.#forget(moment)
  }

  /** Adds all that a query means. */
  addMatching(query: ParsedQuery): void {
    if (!mayMeanNew(query)) return
    this.#queries.push({ conditions: query.conditions, moment: this.moment() })
    const oldest = this.#queries.length > MAX_QUERIES ? this.#queries.shift() : undefined
    if (oldest) this.#forget(oldest.moment)
  }

  /** Of what is forgotten the worst is assumed. */
  #forget(moment: number): void {
    this.#all = Math.max(this.#all, moment)
  }

  /** Whether what is stored where a response is going to be has been deleted since a moment, or may have been. */
  hasSince(expected: Expected, moment: number): boolean {
    if (Math.max(this.#keys.get(expected.cacheKey) ?? 0, this.#all) > moment) return true
    const since = this.#queries.findLastIndex((query) => query.moment <= moment) + 1
    return this.#queries.slice(since).some(({ conditions }) => mayMean(conditions, expected))
  }
}

/** Whether conditions may be true of a response of which nothing else is known yet. */
function mayMean(conditions: Conditions, { cacheKey, method, url }: Expected): boolean {
  const { cacheKeys, methods } = conditions
  if (cacheKeys && !cacheKeys.has(cacheKey)) return false
  if (methods && !methods.includes(method)) return false
  try {
    return matchesPatterns(url, conditions)
  } catch {
    // A function of the user's threw, as it has where what is stored was looked through.
    return true
  }
}
