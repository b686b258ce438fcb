import type { LeaseStore } from '../leases.ts'
import type { SqliteDatabase } from './database.ts'
import { LEASES, NOW } from './schema.ts'

/** What lasts longer than this was made by a clock that is wrong, in milliseconds. */
const LONGEST_LEASE = 60_000

/** After how long it is noticed that there is somebody to agree with, in milliseconds. */
const NOTICE = 10

/** What the processes that have a database open agree on. */
export function sqliteLeases(
  database: SqliteDatabase,
  connectToWrite: () => Promise<unknown>,
): LeaseStore {
  return {
    isAlone: () => !database.presence.isNew && database.presence.isKnownToBeAlone(NOTICE),
    async take(key, holder, duration) {
      await connectToWrite()
      // Who comes next is to see that it is taken.
      if (!database.presence.isNew && !(await database.presence.hasOthers())) return 'alone'
      const isOver = `until <= ${NOW} OR until > ${NOW} + ${LONGEST_LEASE}`
      const taken = await database.query(
        `INSERT INTO ${LEASES} VALUES (?, ?, ${NOW} + ?) ON CONFLICT DO UPDATE SET holder = excluded.holder, until = excluded.until WHERE ${isOver} RETURNING key`,
        ...[key, holder, duration],
      )
      if (taken.length > 0) return 'taken'
      const [lease] = await database.query<{ holder: string }>(
        `SELECT holder FROM ${LEASES} WHERE key = ?`,
        key,
      )
      return lease?.holder === '' ? 'useless' : 'held'
    },
    async give(key, holder, uselessFor) {
      await connectToWrite()
      const mine = 'WHERE key = ? AND holder = ?'
      if (uselessFor === 0) await database.query(`DELETE FROM ${LEASES} ${mine}`, key, holder)
      else {
        const sql = `UPDATE ${LEASES} SET holder = '', until = ${NOW} + ? ${mine}`
        await database.query(sql, uselessFor, key, holder)
      }
    },
  }
}
