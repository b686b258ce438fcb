import { type Conditions, matches } from '../query.ts'
import type { About, ByteStore, LeastUsed, ResponseIndex, Stores, Usage } from './byte-store.ts'
import { chunkKey } from './chunks.ts'
import { SECRET_KEY, tellsVariants } from './heads.ts'
import { Pace } from './pace.ts'
import type { Summary } from './summary.ts'

interface Row {
  readonly bytes: Buffer
  /** In milliseconds since the epoch; `Infinity` for never. */
  readonly expires: number
  /** Of a response. */
  readonly summary: Summary | undefined
  readonly usedAt: number
  /** Which one it is, of all that there have been. */
  readonly mark: string
}

/** How many summaries are found at a time. */
const STEP = 500

/** How often what has expired is removed while something is being stored, in milliseconds. */
const PRUNE_INTERVAL = 60_000

/** A store in memory, which is gone with the process. */
export function openMemory(): Stores {
  let prunedAt = Date.now()
  const pruneNowAndThen = () => {
    const now = Date.now()
    // A clock may be put back.
    if (Math.abs(now - prunedAt) < PRUNE_INTERVAL) return
    prunedAt = now
    void prune()
  }
  const prune = async () => {
    await chunks.prune()
    return heads.prune()
  }
  const heads = new Rows(pruneNowAndThen)
  const chunks = new Rows()
  const unreferenced = new Set<string>()
  const usage: Usage = {
    async totals() {
      return { count: heads.count, size: heads.size + chunks.size }
    },
    async touch(uses) {
      for (const { key, usedAt } of uses) heads.touch(key, usedAt)
    },
    async usedAt(keys) {
      const now = Date.now()
      const there = keys.flatMap((key) => {
        const row = heads.rows.get(key)
        return row && now < row.expires ? [[key, row.usedAt] as const] : []
      })
      return new Map(there)
    },
    async oldest(limit) {
      const oldest: LeastUsed[] = []
      for (const [key, { bytes, usedAt, mark, summary }] of heads.rows) {
        if (oldest.length === limit) break
        if (key !== SECRET_KEY) oldest.push({ key, size: bytes.length, usedAt, mark, summary })
      }
      return oldest
    },
    async remove(all) {
      const same = all.filter(({ key, usedAt, mark }) => {
        const row = heads.rows.get(key)
        return row?.mark === mark && row.usedAt === usedAt
      })
      const keys = same.map(({ key }) => key)
      await heads.delete(keys)
      return new Set(keys)
    },
    async unreferencedSize() {
      let size = 0
      for (const generation of unreferenced) {
        for (let index = 0; ; index++) {
          const row = chunks.rows.get(chunkKey(generation, index))
          if (row === undefined) break
          size += row.bytes.length
        }
      }
      return size
    },
    async sizeOf(keys) {
      return keys.reduce((sum, key) => sum + (chunks.rows.get(key)?.bytes.length ?? 0), 0)
    },
  }
  return {
    heads,
    chunks,
    usage,
    unreferenced: {
      async add(generation) {
        unreferenced.add(generation)
      },
      async remove(generation) {
        unreferenced.delete(generation)
      },
    },
    index: heads,
    coherence: { kind: 'own' },
    isInMemory: true,
    prune,
    close: async () => undefined,
  }
}

/** Rows in the order of their last use, least recently first. */
class Rows implements ByteStore, ResponseIndex {
  readonly rows = new Map<string, Row>()
  /** The number of bytes, and of rows that are responses. */
  size = 0
  count = 0
  #written = 0
  readonly #onSet: (() => void) | undefined

  constructor(onSet?: () => void) {
    this.#onSet = onSet
  }

  get(key: string): Buffer | undefined {
    const row = this.rows.get(key)
    if (row === undefined) return undefined
    if (Date.now() < row.expires) return Buffer.from(row.bytes)
    this.#remove(key)
    return undefined
  }

  async set(key: string, bytes: Buffer, timeToLive = Infinity, about: About = {}): Promise<void> {
    this.#remove(key)
    const usedAt = Date.now()
    this.#written += 1
    this.rows.set(key, {
      bytes,
      expires: usedAt + timeToLive,
      summary: about.summary?.(),
      usedAt,
      mark: String(this.#written),
    })
    this.size += bytes.length
    if (isResponse(key, bytes)) this.count += 1
    this.#onSet?.()
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#remove(key)
  }

  async clear(): Promise<void> {
    this.rows.clear()
    this.size = 0
    this.count = 0
  }

  async *entries(): AsyncIterable<readonly [string, Buffer]> {
    const now = Date.now()
    for (const [key, { bytes, expires }] of this.rows) {
      if (now < expires) yield [key, Buffer.from(bytes)]
    }
  }

  async isComplete(): Promise<boolean> {
    return true
  }

  async *select(conditions: Conditions, now: number): AsyncGenerator<readonly Summary[]> {
    const pace = new Pace()
    // What is used meanwhile changes its place.
    const keys = [...this.rows.keys()]
    for (let index = 0; index < keys.length; index += STEP) {
      const found = keys.slice(index, index + STEP).flatMap((key) => this.#summary(key, now))
      const meant = found.filter((summary) => matches(summary, conditions, now))
      if (meant.length > 0) yield meant
      await pace.rest()
    }
  }

  #summary(key: string, now: number): Summary[] {
    const row = this.rows.get(key)
    if (row?.summary === undefined || now >= row.expires) return []
    return [{ ...row.summary, usedAt: row.usedAt }]
  }

  async totals(conditions: Conditions, now: number): Promise<{ count: number; size: number }> {
    let [count, size] = [0, 0]
    for await (const some of this.select(conditions, now)) {
      count += some.length
      for (const summary of some) size += summary.size
    }
    return { count, size }
  }

  async remove(summaries: readonly Summary[]): Promise<readonly Summary[]> {
    return summaries.filter(({ key, generation, storedAt }) => {
      const summary = this.rows.get(key)?.summary
      const isThere = summary?.generation === generation && summary.storedAt === storedAt
      if (isThere) this.#remove(key)
      return isThere
    })
  }

  touch(key: string, usedAt: number): void {
    const row = this.rows.get(key)
    if (row === undefined) return
    this.rows.delete(key)
    this.rows.set(key, { ...row, usedAt })
  }

  /** Removes what has expired; tells how many responses that were. */
  async prune(): Promise<number> {
    const pace = new Pace()
    const now = Date.now()
    let count = 0
    for (const key of this.rows.keys()) {
      await pace.rest()
      // Something else may be there by now.
      const row = this.rows.get(key)
      if (row === undefined || now < row.expires) continue
      const { bytes } = row
      this.#remove(key)
      if (isResponse(key, bytes)) count += 1
    }
    return count
  }

  #remove(key: string): void {
    const row = this.rows.get(key)
    if (row === undefined) return
    this.size -= row.bytes.length
    if (isResponse(key, row.bytes)) this.count -= 1
    this.rows.delete(key)
  }
}

function isResponse(key: string, bytes: Buffer): boolean {
  return key !== SECRET_KEY && !tellsVariants(bytes)
}
