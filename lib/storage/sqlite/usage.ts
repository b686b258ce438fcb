import { setImmediate as nextTurn } from 'node:timers/promises'
import type { LeastUsed, Readership, Unreferenced, Usage } from '../byte-store.ts'
import { READERS_GRACE } from '../chunks.ts'
import type { SqliteDatabase } from './database.ts'
import { GENERATION, NOW, OWNERS, READING, TABLES, TOTALS, UNREFERENCED, USED } from './schema.ts'
import { type Row, summaryOfRow } from './summaries.ts'

/** How many heads are touched or removed at a time. */
const STEP = 100

/** A head and what is known of it, as SQL: the join keeps to the order of what stands first. */
const HEAD = `JOIN ${TABLES.heads} ON ${TABLES.heads}.key = ${USED}.key AND namespace = ''`

/** By what a record is told from another one, as SQL: an encrypted one by its end, as it has no checksum. */
const RECORD = `CAST(${TABLES.heads}.value AS BLOB)`
const MARK = `coalesce(nullif(record, '00000000'), hex(substr(${RECORD}, 2, 4)) || hex(substr(${RECORD}, -16)))`

const OLDEST = `SELECT ${USED}.*, octet_length(${TABLES.heads}.value) AS length, ${MARK} AS mark FROM ${USED} CROSS ${HEAD} ORDER BY used LIMIT ?`

/** Removes what has neither been replaced nor used since. */
const REMOVE = `DELETE FROM ${TABLES.heads} WHERE namespace = '' AND key IN (SELECT ${USED}.key FROM json_each(?) AS known CROSS JOIN ${USED} ON ${USED}.key = known.value ->> 0 CROSS ${HEAD} WHERE used = known.value ->> 1 AND ${MARK} = known.value ->> 2) RETURNING key`

/** How much there is of what is noted to be unreferenced, and of what is only there for those who are reading it. */
const UNREFERENCED_SIZE = `SELECT (SELECT coalesce(sum(length(value)), 0) FROM ${UNREFERENCED} CROSS JOIN ${TABLES.chunks} ON key > generation || '.' AND key < generation || '/') + (SELECT coalesce(sum(length(value)), 0) FROM ${TABLES.chunks} WHERE expires IS NOT NULL AND expires <= ? AND ${GENERATION} NOT IN (SELECT generation FROM ${UNREFERENCED})) AS size`

/**
 * How much there is in a database, and what has not been used for long, as triggers keep account of it.
 *
 * @param onRemoved called when something has been removed
 */
export function sqliteUsage(
  database: SqliteDatabase,
  connect: () => Promise<unknown>,
  connectToWrite: () => Promise<unknown>,
  onRemoved: () => void,
): Usage {
  return {
    async totals() {
      await connect()
      const [row] = await database.query<{ count: number; size: number }>(
        `SELECT coalesce(sum(count), 0) AS count, coalesce(sum(size), 0) AS size FROM ${TOTALS}`,
      )
      return row ?? { count: 0, size: 0 }
    },
    async touch(uses, age) {
      await connectToWrite()
      const sql = `UPDATE ${USED} SET used = value ->> 'usedAt' FROM json_each(?) AS uses WHERE ${USED}.key = value ->> 'key' AND used < value ->> 'usedAt' - ?`
      for (let index = 0; index < uses.length; index += STEP) {
        await database.query(sql, JSON.stringify(uses.slice(index, index + STEP)), age)
        await nextTurn()
      }
    },
    async oldest(limit) {
      await connect()
      return (await database.query<HeadRow>(OLDEST, limit)).map(leastUsedOf)
    },
    async remove(heads) {
      await connectToWrite()
      const known = heads.map(({ key, usedAt, mark }) => [key, usedAt, mark])
      const removals: Promise<{ key: string }[]>[] = []
      for (let index = 0; index < known.length; index += STEP) {
        removals.push(database.query(REMOVE, JSON.stringify(known.slice(index, index + STEP))))
      }
      const rows = await Promise.all(removals)
      onRemoved()
      return new Set(rows.flat().map(({ key }) => key))
    },
    async unreferencedSize() {
      await connect()
      const [row] = await database.query<{ size: number }>(
        UNREFERENCED_SIZE,
        Date.now() + READERS_GRACE,
      )
      return row?.size ?? 0
    },
    async sizeOf(keys) {
      await connect()
      const sql = `SELECT coalesce(sum(length(value)), 0) AS size FROM ${TABLES.chunks} WHERE namespace = '' AND key IN (SELECT value FROM json_each(?))`
      const [row] = await database.query<{ size: number }>(sql, JSON.stringify(keys))
      return row?.size ?? 0
    },
    async usedAt(keys) {
      await connect()
      const sql = `SELECT ${USED}.key, used FROM ${USED} ${HEAD} WHERE ${USED}.key IN (SELECT value FROM json_each(?)) AND (${TABLES.heads}.expires IS NULL OR ${TABLES.heads}.expires > ${NOW})`
      const rows = await database.query<{ key: string; used: number }>(sql, JSON.stringify(keys))
      return new Map(rows.map(({ key, used }) => [key, used]))
    },
  }
}

/** What is known of a head, if it is a response that has been summed up, and its record. */
interface HeadRow extends Omit<Row, 'url'> {
  readonly url: string | null
  readonly length: number
  readonly mark: string
}

function leastUsedOf({ url, length, mark, ...row }: HeadRow): LeastUsed {
  const summary = url ? summaryOfRow({ ...row, url }) : undefined
  return { key: row.key, size: length, usedAt: row.used, mark, summary }
}

/** The contents in a database that no head refers to yet, or any more. */
export function sqliteUnreferenced(
  database: SqliteDatabase,
  connectToWrite: () => Promise<unknown>,
): Unreferenced {
  return {
    async add(generation, grace) {
      await connectToWrite()
      const note = `INSERT OR REPLACE INTO ${UNREFERENCED} VALUES (?, ?, ${NOW} + ?)`
      const own = `INSERT OR REPLACE INTO ${OWNERS} VALUES (?, ?)`
      await Promise.all([
        database.query(note, generation, process.pid, grace),
        database.query(own, generation, database.presence.id),
      ])
    },
    async remove(generation, isOwn) {
      await connectToWrite()
      const sql = `DELETE FROM ${UNREFERENCED} WHERE generation = ?`
      const own = `pid = ? AND generation IN (SELECT generation FROM ${OWNERS} WHERE id = ?)`
      if (isOwn)
        await database.query(`${sql} AND ${own}`, generation, process.pid, database.presence.id)
      else await database.query(sql, generation)
    },
  }
}

/** Which contents in a database this process has been reading for long. */
export function sqliteReadership(
  database: SqliteDatabase,
  connect: () => Promise<unknown>,
): Readership {
  return {
    async begin(generation) {
      await connect()
      const sql = `INSERT OR IGNORE INTO ${READING} VALUES (?, ?, ?)`
      await database.presence.note(sql, generation, database.presence.id, process.pid)
    },
    async end(generation) {
      await connect()
      const sql = `DELETE FROM ${READING} WHERE generation = ? AND id = ?`
      await database.presence.note(sql, generation, database.presence.id)
    },
    async hasOthers() {
      await connect()
      return database.presence.hasOthers()
    },
  }
}
