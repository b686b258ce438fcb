import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Readership, Unreferenced, Usage } from '../byte-store.ts'
import { READERS_GRACE } from '../chunks.ts'
import type { SqliteDatabase } from './database.ts'
import { GENERATION, NOW, OWNERS, READING, TABLES, TOTALS, UNREFERENCED, USED } from './schema.ts'

/** How many heads are touched at a time. */
const TOUCH_STEP = 100

/** How much there is of what is noted to be unreferenced, and of what is only there for those who are reading it. */
const UNREFERENCED_SIZE = `SELECT (SELECT coalesce(sum(length(value)), 0) FROM ${UNREFERENCED} CROSS JOIN ${TABLES.chunks} ON key > generation || '.' AND key < generation || '/') + (SELECT coalesce(sum(length(value)), 0) FROM ${TABLES.chunks} WHERE expires IS NOT NULL AND expires <= ? AND ${GENERATION} NOT IN (SELECT generation FROM ${UNREFERENCED})) AS size`

/** How much there is in a database, and what has not been used for long, as triggers keep account of it. */
export function sqliteUsage(
  database: SqliteDatabase,
  connect: () => Promise<unknown>,
  connectToWrite: () => Promise<unknown>,
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
      for (let index = 0; index < uses.length; index += TOUCH_STEP) {
        await database.query(sql, JSON.stringify(uses.slice(index, index + TOUCH_STEP)), age)
        await nextTurn()
      }
    },
    async oldest(limit) {
      await connect()
      const sql = `SELECT key FROM ${USED} ORDER BY used LIMIT ?`
      const rows = await database.query<{ key: string }>(sql, limit)
      return rows.map(({ key }) => key)
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
      const sql = `SELECT key, used FROM ${USED} WHERE key IN (SELECT value FROM json_each(?))`
      const rows = await database.query<{ key: string; used: number }>(sql, JSON.stringify(keys))
      return new Map(rows.map(({ key, used }) => [key, used]))
    },
  }
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
        database.query(own, generation, database.id),
      ])
    },
    async remove(generation, isOwn) {
      await connectToWrite()
      const sql = `DELETE FROM ${UNREFERENCED} WHERE generation = ?`
      const own = `pid = ? AND generation IN (SELECT generation FROM ${OWNERS} WHERE id = ?)`
      if (isOwn) await database.query(`${sql} AND ${own}`, generation, process.pid, database.id)
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
      await database.note(sql, generation, database.id, process.pid)
    },
    async end(generation) {
      await connect()
      const sql = `DELETE FROM ${READING} WHERE generation = ? AND id = ?`
      await database.note(sql, generation, database.id)
    },
  }
}
