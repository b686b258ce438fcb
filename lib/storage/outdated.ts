import { LRUCache } from '../lru.ts'
import { fieldValue } from '../rfc9111/fields.ts'
import type { Fields, Nominated } from '../rfc9111/message.ts'
import { weakMatch } from '../rfc9111/validators.ts'
import { type Entry, mayCoexist } from './entry.ts'

/** Of how many cache keys it is remembered that what is stored for them is outdated. */
const MAX_KEYS = 10_000

/** Of how many of the variants for one cache key it is. */
const MAX_VARIANTS = 8

/** How often the store is asked again to remove what is outdated, in milliseconds. */
const RETRY_INTERVAL = 1000

interface Mark {
  /** When it became outdated, in milliseconds since the epoch: what was received until then is. */
  readonly since: number
  /** What was to take its place; undefined where all that is stored for the key is outdated. */
  readonly replacement: Replacement | undefined
}

interface Replacement {
  readonly nominated: Nominated
  /** Of what was to be there; undefined where nothing was. */
  readonly fields?: Fields
}

interface Marks {
  readonly all: readonly Mark[]
  /** When the store was last asked to remove it. */
  readonly triedAt: number
}

/**
 * What has been invalidated or replaced, although a store that failed still has it: it is not to be used any more.
 * As soon as it comes up, the store is asked again to remove it.
 */
export class Outdated {
  readonly #keys = new LRUCache<string, Marks>({ max: MAX_KEYS })

  /**
   * @param since in milliseconds since the epoch
   * @param replacement what was to take its place; undefined where all that is stored for the key is outdated
   */
  add(cacheKey: string, since: number, replacement?: Replacement): void {
    const mark = { since, replacement }
    const known = this.#keys.peek(cacheKey)?.all ?? []
    const others = known.filter((one) => !isRepeated(one, mark))
    const all = [...others, mark].slice(-MAX_VARIANTS)
    this.#keys.set(cacheKey, { all, triedAt: Date.now() })
  }

  /** Nothing is stored any more. */
  clear(): void {
    this.#keys.clear()
  }

  has(entry: Entry): boolean {
    const { cacheKey, responseTime } = entry
    const marks = this.#keys.size === 0 ? undefined : this.#keys.peek(cacheKey)
    if (marks === undefined) return false
    const now = Date.now()
    return marks.all.some(
      (mark) =>
        responseTime <= mark.since &&
        // A clock that has been put back would make everything outdated that comes from now on.
        mark.since <= now &&
        (mark.replacement === undefined || isReplaced(entry, mark.replacement)),
    )
  }

  /** Whether it is time to have what is outdated for a key removed once more. */
  isDue(cacheKey: string): boolean {
    const marks = this.#keys.peek(cacheKey)
    if (!marks || Math.abs(Date.now() - marks.triedAt) < RETRY_INTERVAL) return false
    this.#keys.set(cacheKey, { ...marks, triedAt: Date.now() })
    return true
  }
}

/** Whether something that was to be in a place was to be there before: only the last one counts. */
function isRepeated({ replacement: one }: Mark, { replacement: other }: Mark): boolean {
  if (one?.fields === undefined || other?.fields === undefined) return false
  return !mayCoexist(one.nominated, other.nominated)
}

/** Whether something else was to be where a response is. What has no validators may be the same: it is used while it is fresh. */
function isReplaced(entry: Entry, { nominated, fields }: Replacement): boolean {
  if (mayCoexist(entry.nominated, nominated)) return false
  if (fields === undefined) return true
  const [old, etag] = [entry.fields, fields].map((all) => fieldValue(all, 'etag'))
  if (old !== undefined && etag !== undefined) return !weakMatch(old, etag)
  const [before, date] = [entry.fields, fields].map((all) => fieldValue(all, 'last-modified'))
  return before !== undefined && date !== undefined && before !== date
}
