import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Conditions, matchesPatterns } from '../../query.ts'
import type { ResponseIndex, UnwrittenHead, UnwrittenRecord } from '../byte-store.ts'
import type { Summary } from '../summary.ts'
import type { SqliteDatabase } from './database.ts'
import { isReadOnly } from './errors.ts'
import {
  COMPLETE,
  NOW,
  recordMark,
  SCHEMA,
  SUMMARIES_SCHEMA,
  SUMMARY_COLUMNS,
  SUMMED_UP,
  TABLES,
  TOTALS,
  USE_TRIGGERS,
  USED,
} from './schema.ts'
import type { Write } from './writes.ts'

/** How many summaries are looked at in one step, so that nothing else waits for long. */
const STEP = 500

/** How many that are only counted. */
const COUNT_STEP = 2000

/** How many are made from records in one step. */
const MAKE_STEP = 20

/** Where the checksum is by which one record at a key is told from another one: see `recordMark`. */
const MARK_START = 1
const MARK_END = 5

/** What a summary is made of. */
export interface Row {
  readonly key: string
  readonly url: string
  readonly cache_key: string | null
  readonly generation: string
  readonly method: string
  readonly status: number
  readonly type: string
  readonly stored: number
  readonly expires: number
  readonly size: number
  readonly chunk_size: number | null
  readonly tags: string | null
  readonly used: number
}

/**
 * The summaries of the responses in a database: written together with their heads; or made later, in small
 * steps, of what a release has written that knows nothing of summaries.
 */
export class SqliteSummaries implements ResponseIndex {
  readonly #database: SqliteDatabase
  readonly #connect: () => Promise<unknown>
  readonly #connectToWrite: () => Promise<unknown>
  /** Of records that are being written. */
  readonly #announced = new WeakMap<object, () => Summary>()
  /** Whether there can be a table: not in a file of before that cannot be written. */
  #isThere = false

  constructor(
    database: SqliteDatabase,
    connect: () => Promise<unknown>,
    connectToWrite: () => Promise<unknown>,
  ) {
    this.#database = database
    this.#connect = connect
    this.#connectToWrite = connectToWrite
  }

  /** Makes all tables of our own. In a file that cannot be written, or is not to be, there are those that there are. */
  async createTables(): Promise<void> {
    this.#isThere = false
    if (this.#database.isOnlyRead) {
      // A file of another release may lack what only those who write need.
      for (const statement of SCHEMA) await this.#database.query(statement).catch(() => {})
      const columns = await this.#database.query(`PRAGMA table_info(${USED})`)
      this.#isThere = columns.length > Object.keys(SUMMARY_COLUMNS).length
      return
    }
    try {
      await this.#upgrade()
      for (const statement of SCHEMA) await this.#database.query(statement)
      // Another process may have made a table as it was before, in the meantime.
      await this.#upgrade()
      for (const statement of SUMMARIES_SCHEMA) await this.#database.query(statement)
      this.#isThere = true
    } catch (error) {
      if (this.#database.isWritable && !isReadOnly(error)) throw error
    }
  }

  /** Makes room for summaries in a file of before. */
  async #upgrade(): Promise<void> {
    const older = await this.#database.query<{ name: string }>(
      `SELECT name FROM sqlite_schema WHERE name IN ('${[USED, ...USE_TRIGGERS].join("', '")}') AND sql NOT LIKE '%record%'`,
    )
    if (older.length === 0) return
    const columns = older.some(({ name }) => name === USED) ? Object.entries(SUMMARY_COLUMNS) : []
    await this.#database.alter([
      ...columns.map(([name, type]) => `ALTER TABLE ${USED} ADD COLUMN ${name} ${type}`),
      ...USE_TRIGGERS.map((trigger) => `DROP TRIGGER IF EXISTS ${trigger}`),
      ...SCHEMA,
    ])
  }

  /** Tells what the summary of a record is that is written next. */
  announce(record: Buffer, summary: () => Summary): void {
    this.#announced.set(record, summary)
  }

  /** Runs a statement of the adapter; one that writes a record together with its summary, if that was announced. */
  query(sql: string, parameters: readonly unknown[]): Promise<unknown[]> {
    const [key, record, , until] = parameters
    const summary = Buffer.isBuffer(record) && this.#announced.get(record)
    if (!summary || !this.#isThere) return this.#database.query(sql, ...parameters)
    const values = valuesOf(summary(), record, until as number | null)
    return this.#database.query(WRITE, ...values, key, record)
  }

  /**
   * Writes a record, or without one deletes it, together with its summary, if what is at its key is still what
   * was read there.
   *
   * @returns whether it was
   */
  async replace(
    key: string,
    expected: Uint8Array | undefined,
    record: Buffer | undefined,
    until: number | undefined,
    summary: (() => Summary) | undefined,
  ): Promise<boolean> {
    const [condition, there] =
      expected === undefined
        ? [NOTHING_THERE, [key]]
        : // What is given away may not be what somebody else still has.
          [SAME_THERE, [key, Uint8Array.from(expected)]]
    const run = async (sql: string, ...parameters: readonly unknown[]) =>
      (await this.#database.query(`${sql} RETURNING 1`, ...parameters)).length > 0
    if (record === undefined) return run(`${REMOVE} AND ${condition}`, key, ...there)
    if (summary === undefined || !this.#isThere) {
      const insert = `${INSERT} WHERE ${condition} ${UPSERT}`
      return run(insert, key, record, until ?? null, ...there)
    }
    return run(
      `${WRITE} WHERE ${condition}`,
      ...valuesOf(summary(), record, until),
      key,
      record,
      ...there,
    )
  }

  /** What writes a response where there is none; the first of it returns a row where that is so. */
  writesOf(head: UnwrittenHead, chunks: readonly UnwrittenRecord[]): readonly [Write, ...Write[]] {
    const { key, bytes, until, summary } = head
    const parameters = [...valuesOf(summary, bytes, until), key, bytes, key]
    return [
      { sql: `${WRITE} WHERE ${NOTHING_THERE} RETURNING 1`, parameters },
      ...chunks.map((chunk) => ({
        sql: WRITE_CHUNK,
        parameters: [chunk.key, chunk.bytes, chunk.until ?? null],
      })),
    ]
  }

  async *select(conditions: Conditions, now: number): AsyncGenerator<readonly Summary[]> {
    const { sql, parameters } = where(conditions, now)
    const select = `SELECT * FROM ${USED} WHERE key > ? AND key <= ? AND ${sql}`
    for await (const range of this.#ranges(STEP)) {
      const rows = await this.#database.query<Row>(select, ...range, ...parameters)
      const found = rows.filter(({ url }) => matchesPatterns(url, conditions)).map(summaryOfRow)
      if (found.length > 0) yield found
    }
  }

  async totals(conditions: Conditions, now: number): Promise<{ count: number; size: number }> {
    let [count, size] = [0, 0]
    if (conditions.patterns) {
      for await (const some of this.select(conditions, now)) {
        count += some.length
        for (const summary of some) size += summary.size
      }
      return { count, size }
    }
    const { sql, parameters } = where(conditions, now)
    const select = `SELECT count(*) AS count, total(size) AS size FROM ${USED} WHERE key > ? AND key <= ? AND ${sql}`
    for await (const range of this.#ranges(COUNT_STEP)) {
      const [row] = await this.#database.query<{ count: number; size: number }>(
        select,
        ...range,
        ...parameters,
      )
      count += row?.count ?? 0
      size += row?.size ?? 0
    }
    return { count, size }
  }

  async remove(summaries: readonly Summary[]): Promise<readonly Summary[]> {
    await this.#connectToWrite()
    const known = summaries.map(({ key, generation, storedAt }) => [key, generation, storedAt])
    const rows = await this.#database.query<Pick<Row, 'key'>>(REMOVE_KNOWN, JSON.stringify(known))
    const keys = new Set(rows.map(({ key }) => key))
    return summaries.filter(({ key }) => keys.has(key))
  }

  /** The keys of all heads, as ranges of so many: after the first key, up to the second one. */
  async *#ranges(step: number): AsyncGenerator<readonly [after: string, last: string]> {
    const sql = `SELECT max(key) AS last FROM (SELECT key FROM ${USED} WHERE key > ? ORDER BY key LIMIT ${step})`
    for (let after = ''; ; ) {
      const [row] = await this.#database.query<{ last: string | null }>(sql, after)
      const last = row?.last ?? undefined
      if (last === undefined) return
      yield [after, last]
      after = last
      await nextTurn()
    }
  }

  async isComplete(summarise: Summarise): Promise<boolean> {
    await this.#connect()
    if (!this.#isThere) return false
    if (this.#database.isOnlyRead) return this.#isMade()
    try {
      await this.#makeOlder(summarise)
      await this.#make(summarise, 'url IS NULL AND record IS NOT NULL')
      return true
    } catch (error) {
      if (!this.#database.isWritable || isReadOnly(error)) return false
      throw error
    }
  }

  /** Whether all summaries have been made already. */
  async #isMade(): Promise<boolean> {
    const missing = `SELECT 1 FROM ${USED} WHERE url IS NULL AND record IS NOT NULL LIMIT 1`
    return (await this.#isOlderMade()) && (await this.#database.query(missing)).length === 0
  }

  /** Whether those have been made of what was there before there were any. */
  async #isOlderMade(): Promise<boolean> {
    const noted = `SELECT 1 FROM ${TOTALS} WHERE name = ?`
    return (await this.#database.query(noted, COMPLETE)).length > 0
  }

  /** Makes the summaries of what was there before there were any, once for a file. */
  async #makeOlder(summarise: Summarise): Promise<void> {
    if (await this.#isOlderMade()) return
    for await (const range of this.#ranges(STEP)) {
      await this.#make(summarise, 'key > ? AND key <= ? AND record IS NULL', ...range)
    }
    await this.#database.query(`INSERT OR IGNORE INTO ${TOTALS} VALUES (?, 0, 0)`, COMPLETE)
  }

  /** Makes the summaries that are missing under some condition, a few at a time. */
  async #make(
    summarise: Summarise,
    condition: string,
    ...parameters: readonly unknown[]
  ): Promise<void> {
    const missing = `SELECT key, record FROM ${USED} WHERE ${condition} LIMIT ${MAKE_STEP}`
    for (;;) {
      const some = await this.#database.query<Missing>(missing, ...parameters)
      if (some.length === 0) return
      await Promise.all(some.map((each) => this.#makeOne(summarise, each)))
      await nextTurn()
    }
  }

  /** Makes a summary; of a record that is no response, or cannot be read, an empty one. */
  async #makeOne(summarise: Summarise, { key, record }: Missing): Promise<void> {
    // Nothing is written where the record has changed since: then it is missing once more.
    const summary = await summarise(key)
    if (summary) await this.#database.query(UPDATE, ...columnsOf(summary), key, key, key, record)
    else await this.#database.query(UPDATE_NONE, key, key, record)
  }
}

type Summarise = (key: string) => Promise<Summary | undefined>

interface Missing {
  readonly key: string
  readonly record: string | null
}

const OWN_COLUMNS = Object.keys(SUMMARY_COLUMNS).filter(
  (name) => !['record', 'until'].includes(name),
)
const VALUES = OWN_COLUMNS.map(() => '?').join(', ')

/** Writes a record with its summary: under a condition, where one follows. */
const WRITE = `INSERT INTO ${SUMMED_UP} (${OWN_COLUMNS.join(', ')}, record, until, key, value) SELECT ${VALUES}, ?, ?, ?, ?`
/** The same without a summary. */
const INSERT = `INSERT INTO ${TABLES.heads} (key, value, namespace, expires) SELECT ?, ?, '', ?`
const UPSERT =
  'ON CONFLICT (key, namespace) DO UPDATE SET value = excluded.value, expires = excluded.expires'
const WRITE_CHUNK = `INSERT INTO ${TABLES.chunks} (key, value, namespace, expires) VALUES (?, ?, '', ?) ${UPSERT}`
const REMOVE = `DELETE FROM ${TABLES.heads} WHERE key = ? AND namespace = ''`

/** Removes what is still as its key, generation and time say. */
const REMOVE_KNOWN = `DELETE FROM ${TABLES.heads} WHERE namespace = '' AND key IN (SELECT ${USED}.key FROM json_each(?) AS known JOIN ${USED} ON ${USED}.key = known.value ->> 0 WHERE url <> '' AND generation = known.value ->> 1 AND stored = known.value ->> 2) RETURNING key`

/** Whether there is nothing that can be read at a key, or what was read is still there. */
const ROW = `EXISTS (SELECT 1 FROM ${TABLES.heads} WHERE key = ? AND namespace = ''`
const NOTHING_THERE = `NOT ${ROW} AND typeof(value) = 'blob' AND (expires IS NULL OR expires > ${NOW}))`
const SAME_THERE = `${ROW} AND value = ?)`

const OF_HEAD = `FROM ${TABLES.heads} WHERE key = ? AND namespace = ''`
const MARK = `coalesce((SELECT ${recordMark('value')} ${OF_HEAD}), '')`

/** Writes the summary of a record that has been there already. */
const UPDATE = `UPDATE ${USED} SET ${OWN_COLUMNS.map((name) => `${name} = ?`).join(', ')}, record = ${MARK}, until = (SELECT expires ${OF_HEAD}) WHERE key = ? AND record IS ?`
const UPDATE_NONE = `UPDATE ${USED} SET url = '', record = ${MARK} WHERE key = ? AND record IS ?`

/** A summary and what is known of its record as its columns, but for the key and the record itself. */
function valuesOf(
  summary: Summary,
  record: Buffer,
  until: number | null | undefined,
): readonly unknown[] {
  const mark = record.toString('hex', MARK_START, MARK_END).toUpperCase()
  return [...columnsOf(summary), mark, until ?? null]
}

/** A summary as its columns. */
function columnsOf(summary: Summary): readonly unknown[] {
  const { key, url, cacheKey, generation, method, status, contentType } = summary
  const { storedAt, expires, size, chunks, tags } = summary
  return [
    ...[url, cacheKey === key ? null : cacheKey, generation, method, status, contentType],
    ...[storedAt, expires, size, chunks?.chunkSize ?? null],
    tags.length > 0 ? JSON.stringify(tags) : null,
  ]
}

/** The summary in a row. */
export function summaryOfRow(row: Row): Summary {
  const { key, cache_key: cacheKey, generation, method, url, status, type, stored } = row
  const { expires, size, chunk_size: chunkSize, tags, used } = row
  return {
    key,
    cacheKey: cacheKey ?? key,
    generation,
    method,
    url,
    status,
    contentType: type,
    storedAt: stored,
    expires,
    size,
    chunks: chunkSize === null ? undefined : { generation, chunkSize, length: size },
    tags: tags === null ? [] : (JSON.parse(tags) as string[]),
    usedAt: used,
  }
}

/** Conditions as SQL, but for its patterns. */
function where(conditions: Conditions, now: number) {
  const { cacheKeys, methods, statuses, contentTypes, isFresh, tags } = conditions
  const { storedBefore, usedBefore, largerThan } = conditions
  const all: { sql: string; parameters: unknown[] }[] = [
    // What cannot be read, and what the store has forgotten.
    { sql: "url <> '' AND (until IS NULL OR until > ?)", parameters: [now] },
  ]
  const add = (sql: string, ...parameters: unknown[]) => all.push({ sql, parameters })
  const oneOf = (values: Iterable<string>) => JSON.stringify([...values])
  const any = (sql: readonly string[]) => (sql.length === 0 ? '0' : `(${sql.join(' OR ')})`)
  if (cacheKeys) {
    add('coalesce(cache_key, key) IN (SELECT value FROM json_each(?))', oneOf(cacheKeys))
  }
  if (methods) add('method IN (SELECT value FROM json_each(?))', oneOf(methods))
  if (statuses) {
    const parameters = statuses.flatMap(({ first, last }) => [first, last])
    add(any(statuses.map(() => 'status BETWEEN ? AND ?')), ...parameters)
  }
  if (contentTypes) {
    const isPrefix = (type: string) => type.endsWith('/')
    const sql = contentTypes.map((type) => (isPrefix(type) ? 'substr(type, 1, ?) = ?' : 'type = ?'))
    const parameters = contentTypes.flatMap((type) => (isPrefix(type) ? [type.length, type] : type))
    add(any(sql), ...parameters)
  }
  if (isFresh !== undefined) add(`expires ${isFresh ? '>' : '<='} ?`, now)
  if (storedBefore !== undefined) add('stored < ?', storedBefore)
  if (usedBefore !== undefined) add('used < ?', usedBefore)
  if (largerThan !== undefined) add('size > ?', largerThan)
  if (tags) {
    const wanted = '(SELECT value FROM json_each(?))'
    add(`EXISTS (SELECT 1 FROM json_each(tags) WHERE value IN ${wanted})`, oneOf(tags))
  }
  return {
    sql: all.map(({ sql }) => sql).join(' AND '),
    parameters: all.flatMap(({ parameters }) => parameters),
  }
}
