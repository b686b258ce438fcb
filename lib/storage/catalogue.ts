import { type Conditions, matches, type ParsedQuery } from '../query.ts'
import type { ResponseIndex, Stores } from './byte-store.ts'
import type { Heads } from './heads.ts'
import { Pace } from './pace.ts'
import { SortedSummaries } from './sorted.ts'
import { type Summary, summaryOf } from './summary.ts'

/** How many summaries are passed on at a time where they are found one by one. */
const STEP = 100

/** Finds stored responses by what they are like: in an index where the store has one, else by reading all heads. */
export class Catalogue {
  readonly #heads: Heads
  readonly #stores: Pick<Stores, 'index' | 'usage' | 'isSecret'>

  constructor(heads: Heads, stores: Pick<Stores, 'index' | 'usage' | 'isSecret'>) {
    this.#heads = heads
    this.#stores = stores
  }

  /**
   * The responses that a query means, a few at a time. What is stored or removed meanwhile may be among
   * them or not; what stays as it is, is listed once.
   *
   * @param now in milliseconds since the epoch
   * @throws Error where the store cannot list what it has, or does not know what is asked
   */
  async *select(query: ParsedQuery, now: number): AsyncGenerator<readonly Summary[]> {
    const { conditions, sort, descending, limit } = query
    if ((conditions.usedBefore !== undefined || sort === 'used') && !this.#stores.usage) {
      throw new Error('this store does not know when a response was last used')
    }
    const found = await this.#find(conditions, now)
    if (sort === undefined) {
      yield* limited(found, limit)
      return
    }
    const sorted = new SortedSummaries(sort, descending, limit, this.#stores.isSecret ?? false)
    try {
      for await (const some of found) for (const summary of some) sorted.add(summary)
      yield* inSteps(sorted.values())
    } finally {
      sorted.close()
    }
  }

  /** The number of responses that a query means, and the length of their content in bytes. */
  async totals(query: ParsedQuery, now: number): Promise<{ count: number; size: number }> {
    const { conditions, limit } = query
    const index = limit === Infinity && !conditions.cacheKeys ? await this.#index() : undefined
    if (index) return index.totals(conditions, now)
    let [count, size] = [0, 0]
    for await (const some of this.select(query, now)) {
      count += some.length
      for (const summary of some) size += summary.size
    }
    return { count, size }
  }

  /** Removes those of some responses that are known to be still where they were, and as they were. @returns which */
  async remove(summaries: readonly Summary[]): Promise<readonly Summary[]> {
    const index = await this.#index()
    if (index === undefined) return []
    const keys = summaries.map(({ key }) => key)
    return this.#heads.deleteBy(keys, () => index.remove(summaries))
  }

  async #index(): Promise<ResponseIndex | undefined> {
    const { index } = this.#stores
    const isUsable = await index?.isComplete((key) => this.#heads.summary(key))
    return isUsable ? index : undefined
  }

  async #find(conditions: Conditions, now: number): Promise<AsyncIterable<readonly Summary[]>> {
    const { cacheKeys } = conditions
    const index = cacheKeys ? undefined : await this.#index()
    if (index) return index.select(conditions, now)
    const all = cacheKeys ? this.#under(cacheKeys) : this.#heads.summaries()
    return this.#matching(inSteps(all), conditions, now)
  }

  async *#under(cacheKeys: Iterable<string>): AsyncGenerator<Summary> {
    for await (const { key, entry } of this.#heads.under(cacheKeys)) yield summaryOf(key, entry)
  }

  async *#matching(
    all: AsyncIterable<readonly Summary[]>,
    conditions: Conditions,
    now: number,
  ): AsyncGenerator<readonly Summary[]> {
    const { usage } = this.#stores
    for await (const some of all) {
      const usedAt = await usage?.usedAt(some.map(({ key }) => key))
      const known = some.map((summary) => withUse(summary, usedAt?.get(summary.key)))
      const meant = known.filter((summary) => matches(summary, conditions, now))
      if (meant.length > 0) yield meant
    }
  }
}

function withUse(summary: Summary, usedAt: number | undefined): Summary {
  return usedAt === undefined ? summary : { ...summary, usedAt }
}

async function* inSteps(summaries: AsyncIterable<Summary>): AsyncGenerator<readonly Summary[]> {
  const pace = new Pace()
  let some: Summary[] = []
  for await (const summary of summaries) {
    await pace.rest()
    if (some.push(summary) < STEP) continue
    yield some
    some = []
  }
  if (some.length > 0) yield some
}

async function* limited(
  found: AsyncIterable<readonly Summary[]>,
  limit: number,
): AsyncGenerator<readonly Summary[]> {
  let left = limit
  for await (const some of found) {
    yield some.slice(0, left)
    left -= some.length
    if (left <= 0) return
  }
}
