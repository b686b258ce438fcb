import { setImmediate as nextTurn } from 'node:timers/promises'
import { READERS_GRACE } from '../chunks.ts'
import type { SqliteDatabase } from './database.ts'
import { contentOf, type Inspection } from './inspect.ts'
import { isAlive, type Opener } from './is-alive.ts'
import {
  GENERATION,
  isLeased,
  isResponse,
  LEASES,
  NOBODY,
  NOW,
  OWNERS,
  PROCESSES,
  READING,
  TABLES,
  TOTALS,
  UNREFERENCED,
  USED,
} from './schema.ts'

/** How long after opening the file, or after rows were given little time, expired rows are removed, in milliseconds. */
const PRUNE_DELAY = 1000

/** How often they are removed, in milliseconds. */
const PRUNE_INTERVAL = 10 * 60_000

/** What expires within so long after the next row is removed together with that, in milliseconds. */
const TOGETHER = 2000

/** How long after the last removal the space is given back that nothing else has needed by then, in milliseconds. */
const SHRINK_DELAY = 5000

/** How many rows are removed or changed at a time, so that nothing else waits for long. */
const STEP = 50

/** How many heads are looked through at a time. */
const SCAN_STEP = 500

/** How much is read of heads at a time, in bytes. */
const READ_STEP = 256 * 1024

/** How long rows are removed in one go of small steps, in milliseconds. */
const WHILE = 1000

/** How many pages are given back at a time, and how often that is done before a file is closed. */
const VACUUM_STEP = 256
const LAST_VACUUM_STEPS = 100

/** Whether a chunk is of content that somebody has been reading for long, as SQL. */
const IS_READ = `EXISTS (SELECT 1 FROM ${READING} WHERE generation = ${GENERATION})`

/** What is known of heads from their summaries. */
const REFERENCES = `SELECT head.rowid AS id, length(head.value) AS size, generation FROM ${TABLES.heads} AS head LEFT JOIN ${USED} USING (key) WHERE head.rowid > ? AND head.rowid <= ?`

interface SummedUp {
  readonly id: number
  readonly size: number
  /** That of the content of its response, wherever it is; null where there is no summary. */
  readonly generation: string | null
}

/** Divides heads so that no step has much more to read than another one. */
function* inSteps(heads: readonly SummedUp[]): Generator<number[]> {
  let [some, total] = [[] as number[], 0]
  for (const { id, size } of heads) {
    some.push(id)
    total += size
    if (total < READ_STEP) continue
    yield some
    some = []
    total = 0
  }
  if (some.length > 0) yield some
}

/** By whom contents are noted that no head refers to, as SQL. */
const NOTED_BY = `pid, id, ${isLeased('id')} AS isLeased FROM ${UNREFERENCED} LEFT JOIN ${OWNERS} USING (generation)`

/** Removes what is of no use any more from a database, in small steps, and gives its space back. */
export class Maintenance {
  readonly #database: SqliteDatabase
  #timer: NodeJS.Timeout | undefined
  /** Whether something has been removed. */
  #hasRemoved = false
  #shrinkTimer: NodeJS.Timeout | undefined
  /** When expired rows are removed the next time, in milliseconds since the epoch. */
  #due = Infinity

  constructor(database: SqliteDatabase) {
    this.#database = database
  }

  /** Removes what is of no use any more now and then, as long as the process lasts. */
  start(): void {
    this.#pruneWithin(PRUNE_DELAY)
  }

  /** Does nothing by itself any more. What nobody else is going to give back of the file is given back, unless it is very much. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer)
    clearTimeout(this.#shrinkTimer)
    this.#due = -Infinity
    if (!this.#hasRemoved || (await this.#database.presence.hasOthers())) return
    await this.vacuum(LAST_VACUUM_STEPS)
  }

  /** To be called when something has been removed whose space nothing may need any more. */
  shrinkSoon(): void {
    this.#hasRemoved = true
    if (this.#due === -Infinity) return
    this.#shrinkTimer ??= setTimeout(() => {
      this.#shrinkTimer = undefined
      void this.#shrinkQuietly().catch(() => {})
    }, SHRINK_DELAY).unref()
    this.#shrinkTimer.refresh()
  }

  /** The file is as long as it was until what has been changed is written to it. */
  async #shrinkQuietly(): Promise<void> {
    await this.vacuum()
    await this.#database.query('PRAGMA wal_checkpoint(PASSIVE)')
  }

  #pruneWithin(delay: number): void {
    const due = Date.now() + delay
    if (due >= this.#due) return
    clearTimeout(this.#timer)
    this.#due = due
    const prune = async () => {
      this.#due = Infinity
      const now = Date.now()
      // It is done the next time, if not now.
      await this.prune().catch(() => {})
      const next = await this.#nextExpiry(now).catch(() => Infinity)
      const wait = Math.max(0, next - Date.now()) + TOGETHER
      if (!this.#database.isClosed) this.#pruneWithin(Math.min(wait, PRUNE_INTERVAL))
    }
    this.#timer = setTimeout(() => void prune(), delay).unref()
  }

  /** When the next chunk expires that had not when the last ones were removed: soon, if it is of content that nothing refers to. */
  async #nextExpiry(since: number): Promise<number> {
    const sql = `SELECT min(expires) AS next FROM ${TABLES.chunks} WHERE expires >= ?`
    const [row] = await this.#database.query<{ next: number | null }>(sql, since)
    return row?.next ?? Infinity
  }

  /** Gives rows another time to live. */
  async expire(table: string, keys: readonly string[], timeToLive: number): Promise<void> {
    const expires = Date.now() + timeToLive
    for (let index = 0; index < keys.length; index += STEP) {
      const some = JSON.stringify(keys.slice(index, index + STEP))
      const sql = `UPDATE ${table} SET expires = ? WHERE namespace = '' AND key IN (SELECT value FROM json_each(?))`
      await this.#database.query(sql, expires, some)
      await nextTurn()
    }
    this.#pruneWithin(timeToLive + PRUNE_DELAY)
  }

  /**
   * Gives chunks a time to live, in milliseconds; but for those of what others are just storing, or have stored
   * since the heads were removed.
   */
  async expireUnreferred(timeToLive: number): Promise<void> {
    const rows = `SELECT DISTINCT ${GENERATION} AS generation FROM ${TABLES.chunks}`
    const all = await this.#database.query<{ generation: string }>(rows)
    const left: string[] = []
    for (const { generation } of all) {
      // Whoever writes a head forgets only then that nothing refers to its content.
      if (!(await this.#isLookedAfter(generation))) left.push(generation)
    }
    for (const generation of await this.#notReferredTo(left)) {
      if (this.#database.isClosed) return
      await this.#expireChunks(generation, timeToLive)
    }
  }

  /** Whether a process is storing content, or removes it by itself. */
  async #isLookedAfter(generation: string): Promise<boolean> {
    const sql = `SELECT ${NOTED_BY} WHERE generation = ? AND pid <> ?`
    return (await this.#database.query<Opener>(sql, generation, NOBODY)).some(isAlive)
  }

  /**
   * Removes what has expired and what a crash has left, in small steps.
   *
   * @returns how many responses were removed
   */
  async prune(): Promise<number> {
    await this.#removeProcesses()
    await this.#removeUnreferenced()
    await this.#database.query(`DELETE FROM ${LEASES} WHERE until < ${NOW}`)
    await this.#removeExpired(TABLES.chunks)
    const count = await this.#removeExpired(TABLES.heads)
    await this.vacuum()
    return count
  }

  async #removeExpired(table: string): Promise<number> {
    const unread = table === TABLES.chunks ? `AND NOT ${IS_READ}` : ''
    const expired = `SELECT rowid FROM ${table} WHERE expires IS NOT NULL AND expires < ? ${unread} LIMIT ${STEP}`
    return this.#remove(table, expired, Date.now())
  }

  /**
   * Removes the rows that a query finds, a few of them each time.
   *
   * @returns how many of them were responses
   */
  async #remove(table: string, some: string, ...parameters: readonly unknown[]): Promise<number> {
    const sql = `DELETE FROM ${table} WHERE rowid IN (${some}) RETURNING ${isResponse(table)} AS isResponse`
    for (let count = 0; ; ) {
      const rows = await this.#database.query<{ isResponse: number }>(sql, ...parameters)
      for (const row of rows) count += row.isResponse
      if (rows.length < STEP || this.#database.isClosed) return count
      await nextTurn()
    }
  }

  /**
   * Removes rows, whatever they are, for a while.
   *
   * @returns whether there may be more
   */
  async removeSome(table: string): Promise<boolean> {
    const end = performance.now() + WHILE
    const sql = `DELETE FROM ${table} WHERE rowid IN (SELECT rowid FROM ${table} LIMIT ${STEP}) RETURNING 1`
    for (;;) {
      const rows = await this.#database.query(sql)
      if (rows.length < STEP || this.#database.isClosed) return false
      if (performance.now() > end) return true
      await nextTurn()
    }
  }

  /** Gives the pages that are free back, in small steps. @param most how many */
  async vacuum(most: number = Infinity): Promise<void> {
    for (let [step, before] = [0, Infinity]; step < most && !this.#database.isClosed; step++) {
      const [row] = await this.#database.query<{ freelist_count: number }>('PRAGMA freelist_count')
      const left = row?.freelist_count ?? 0
      // Where it cannot be done, as in a file without auto_vacuum, nothing changes.
      if (left === 0 || left >= before) return
      before = left
      await this.#database.query(`PRAGMA incremental_vacuum(${VACUUM_STEP})`)
      await nextTurn()
    }
  }

  async #removeProcesses(): Promise<void> {
    for (const table of [PROCESSES, READING]) {
      const sql = `SELECT DISTINCT id, pid, ${isLeased('id')} AS isLeased FROM ${table}`
      for (const opener of await this.#database.query<Opener>(sql)) {
        if (isAlive(opener)) continue
        await this.#database.query(`DELETE FROM ${table} WHERE id = ?`, opener.id)
      }
    }
  }

  /** Removes content that was being written, or was to be removed, by processes that are no more. */
  async #removeUnreferenced(): Promise<void> {
    const sql = `SELECT generation, since - ${NOW} AS wait, ${NOTED_BY} WHERE generation NOT IN (SELECT generation FROM ${READING})`
    const rows = await this.#database.query<Opener & { generation: string; wait: number }>(sql)
    const left: string[] = []
    for (const { generation, wait, ...opener } of rows) {
      if (opener.pid !== NOBODY && isAlive(opener)) continue
      if (wait > 0 && wait <= 2 * READERS_GRACE) {
        this.#pruneWithin(wait + PRUNE_DELAY)
        continue
      }
      left.push(generation)
    }
    const gone = await this.#notReferredTo(left)
    for (const generation of left) {
      if (this.#database.isClosed) return
      if (gone.has(generation)) await this.#removeChunks(generation)
      await this.#database.query(`DELETE FROM ${UNREFERENCED} WHERE generation = ?`, generation)
    }
  }

  /**
   * The contents to which no head refers after all: a process may have ended just when one had been written. What
   * refers to which is known from summaries; only heads that have none are read.
   */
  async #notReferredTo(generations: readonly string[]): Promise<ReadonlySet<string>> {
    const left = new Set(generations)
    // Each time anew: a head may have been copied from what is still to be looked at to the end.
    const range = `SELECT max(id) AS last FROM (SELECT rowid AS id FROM ${TABLES.heads} WHERE rowid > ? ORDER BY rowid LIMIT ${SCAN_STEP})`
    for (let after = 0; left.size > 0; ) {
      // Nobody knows.
      if (this.#database.isClosed) return new Set()
      const [row] = await this.#database.query<{ last: number | null }>(range, after)
      const last = row?.last ?? undefined
      if (last === undefined) return left
      const heads = await this.#database.query<SummedUp>(REFERENCES, after, last)
      for (const { generation } of heads) if (generation !== null) left.delete(generation)
      await this.#readReferences(
        heads.filter(({ generation }) => generation === null),
        left,
      )
      after = last
      await nextTurn()
    }
    return left
  }

  /** Takes the contents to which some heads refer from those that are `left`. */
  async #readReferences(heads: readonly SummedUp[], left: Set<string>): Promise<void> {
    const sql = `SELECT value FROM ${TABLES.heads} WHERE rowid IN (SELECT value FROM json_each(?))`
    for (const some of inSteps(heads)) {
      const rows = await this.#database.query<{ value: Buffer }>(sql, JSON.stringify(some))
      for (const { value } of rows) left.delete(contentOf(Buffer.from(value))?.generation ?? '')
      await nextTurn()
    }
  }

  async #removeChunks(generation: string): Promise<void> {
    // Its keys are all those that begin with the generation and a dot.
    const some = `SELECT rowid FROM ${TABLES.chunks} WHERE key > ? AND key < ? LIMIT ${STEP}`
    await this.#remove(TABLES.chunks, some, `${generation}.`, `${generation}/`)
  }

  async #expireChunks(generation: string, timeToLive: number): Promise<void> {
    const sql = `UPDATE ${TABLES.chunks} SET expires = ? WHERE key > ? AND key < ?`
    await this.#database.query(sql, Date.now() + timeToLive, `${generation}.`, `${generation}/`)
    this.#pruneWithin(timeToLive + PRUNE_DELAY)
  }

  /** Mends what an inspection has found. */
  async mend(found: Inspection): Promise<void> {
    if (found.damage.length > 0) return this.#mendDamage(found.damage)
    // Another process may have replaced them just now.
    for (const generation of found.orphans) await this.#expireChunks(generation, READERS_GRACE)
    for (const { generation } of found.incomplete) await this.#removeChunks(generation)
    for (const { table, count, size } of found.drift) {
      const sql = `INSERT INTO ${TOTALS} VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count, size = size + excluded.size`
      await this.#database.query(sql, table, count, size)
    }
    for (let index = 0; index < found.unlisted.length; index += STEP) {
      const keys = JSON.stringify(found.unlisted.slice(index, index + STEP))
      const sql = `INSERT OR IGNORE INTO ${USED} (key, used, record) SELECT key, ${NOW}, '' FROM ${TABLES.heads} WHERE key IN (SELECT value FROM json_each(?))`
      await this.#database.query(sql, keys)
      await nextTurn()
    }
    for (let index = 0; index < found.dangling.length; index += STEP) {
      const keys = JSON.stringify(found.dangling.slice(index, index + STEP))
      const sql = `DELETE FROM ${USED} WHERE key IN (SELECT value FROM json_each(?)) AND NOT EXISTS (SELECT 1 FROM ${TABLES.heads} WHERE ${TABLES.heads}.key = ${USED}.key)`
      await this.#database.query(sql, keys)
      await nextTurn()
    }
    await this.shrink()
  }

  /** An index can be made anew; of what else is damaged nobody knows what it was. */
  async #mendDamage(damage: readonly string[]): Promise<void> {
    const isMended = async () => (await this.#database.inspect()).damage.length === 0
    const isReindexed = await this.#database.alter(['REINDEX']).then(isMended, () => false)
    if (!isReindexed) this.#database.replace(damage.join('; '))
  }

  /** Gives the space of deleted rows back to the file system. */
  async shrink(): Promise<void> {
    await this.vacuum()
    await this.#database.query('PRAGMA wal_checkpoint(TRUNCATE)')
  }
}
