import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { SortOrder } from '../query.ts'
import { Pace } from './pace.ts'
import type { Summary } from './summary.ts'

/** How many summaries are sorted in memory, and how many are written at a time where there are more. */
const MOST_IN_MEMORY = 2000
const STEP = 500

/** What is sorted by: one summary always has the same. */
const SORT_KEYS: { readonly [Name in SortOrder]: (summary: Summary) => number | string } = {
  url: ({ url }) => url,
  size: ({ size }) => size,
  storedAt: ({ storedAt }) => storedAt,
  expires: ({ expires }) => expires,
  used: ({ usedAt = 0 }) => usedAt,
}

/**
 * Sorts summaries; more than memory should hold in a temporary database, which SQLite removes by itself.
 * Where nobody may see them, memory has to hold them all.
 */
export class SortedSummaries {
  readonly #keyOf: (summary: Summary) => number | string
  readonly #isDescending: boolean
  readonly #limit: number
  readonly #isSecret: boolean
  #some: Summary[] = []
  #spool: Spool | undefined

  /**
   * @param limit how many of the first ones are wanted
   * @param isSecret whether they may be in no file
   */
  constructor(sort: SortOrder, isDescending: boolean, limit: number, isSecret: boolean) {
    this.#keyOf = SORT_KEYS[sort]
    this.#isDescending = isDescending
    this.#limit = limit
    this.#isSecret = isSecret
  }

  add(summary: Summary): void {
    const { length } = this.#some
    if (length >= (this.#spool ? STEP : MOST_IN_MEMORY)) {
      if (this.#limit <= MOST_IN_MEMORY / 2) this.#some = this.#sort().slice(0, this.#limit)
      else this.#flush()
    }
    this.#some.push(summary)
  }

  #sort(): Summary[] {
    const keyOf = this.#keyOf
    const sign = this.#isDescending ? -1 : 1
    return this.#some.sort((one, other) => {
      const [a, b] = [keyOf(one), keyOf(other)]
      return a === b ? 0 : a < b ? -sign : sign
    })
  }

  #flush(): Spool {
    this.#spool ??= new Spool(this.#keyOf, this.#isSecret)
    this.#spool.add(this.#some)
    this.#some = []
    return this.#spool
  }

  /** All that was added, in its order. To be called once. */
  async *values(): AsyncGenerator<Summary> {
    const pace = new Pace()
    let left = this.#limit
    for (const summary of this.#spool ? this.#flush().values(this.#isDescending) : this.#sort()) {
      if (left-- <= 0) return
      yield summary
      await pace.rest()
    }
  }

  /** Lets go of everything. */
  close(): void {
    this.#some = []
    this.#spool?.close()
  }
}

/** Summaries in a temporary database. */
class Spool {
  readonly #keyOf: (summary: Summary) => number | string
  readonly #database: DatabaseSync
  readonly #insert: StatementSync

  constructor(keyOf: (summary: Summary) => number | string, isSecret: boolean) {
    this.#keyOf = keyOf
    const { DatabaseSync } = process.getBuiltinModule('node:sqlite')
    // A database without a name is a file that nobody else sees.
    this.#database = new DatabaseSync(isSecret ? ':memory:' : '')
    this.#database.exec(`PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;
      CREATE TABLE spool (sort, summary TEXT); CREATE INDEX spool_order ON spool (sort)`)
    this.#insert = this.#database.prepare('INSERT INTO spool VALUES (?, ?)')
  }

  add(summaries: readonly Summary[]): void {
    this.#database.exec('BEGIN')
    for (const summary of summaries) this.#insert.run(this.#keyOf(summary), toJson(summary))
    this.#database.exec('COMMIT')
  }

  *values(isDescending: boolean): Generator<Summary> {
    const order = isDescending ? 'sort DESC' : 'sort'
    const rows = this.#database.prepare(`SELECT summary FROM spool ORDER BY ${order}`).iterate()
    for (const { summary } of rows) yield fromJson(summary as string)
  }

  close(): void {
    this.#database.close()
  }
}

/** JSON has no infinity. */
function toJson(summary: Summary): string {
  const { expires, ...rest } = summary
  return JSON.stringify(expires === Infinity ? rest : summary)
}

function fromJson(json: string): Summary {
  const summary = JSON.parse(json) as Omit<Summary, 'expires'> & Partial<Summary>
  return { expires: Infinity, ...summary }
}
