import type { LeaseStore } from '../leases.ts'
import type { SqliteDatabase } from './database.ts'
import { LEASES, NOW } from './schema.ts'

/** What lasts longer than this was made by a clock that is wrong, in milliseconds. */
const LONGEST_LEASE = 60_000

/** After how long it is noticed that there is somebody to agree with, in milliseconds. */
const NOTICE = 10

const IS_OVER = `until <= ${NOW} OR until > ${NOW} + ${LONGEST_LEASE}`

/** Takes a lease that nobody has, or that is over. */
const TAKE = `INSERT INTO ${LEASES} VALUES (?, ?, ${NOW} + ?) ON CONFLICT DO UPDATE SET holder = excluded.holder, until = excluded.until WHERE ${IS_OVER} RETURNING key`

/** What the processes that have a database open agree on. */
export function sqliteLeases(
  database: SqliteDatabase,
  connectToWrite: () => Promise<unknown>,
): LeaseStore {
  const { presence } = database
  return {
    isAlone: () => !presence.isNew && presence.isKnownToBeAlone(NOTICE),
    async take(key, holder, duration) {
      await connectToWrite()
      let taken: unknown[] | undefined
      if (!(await presence.hasOthers())) {
        if (!presence.isNew) return 'alone'
        // Who comes next is to see that it is taken; but no other lock is waited for.
        taken = database.attempt(TAKE, key, holder, duration)
        if (taken === undefined && !(await presence.hasOthers())) return 'alone'
      }
      taken ??= await database.query(TAKE, key, holder, duration)
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
      // Where there is nobody to be told anything, nothing is left behind.
      const isTold = uselessFor > 0 && (await presence.hasOthers())
      if (!isTold) await database.query(`DELETE FROM ${LEASES} ${mine}`, key, holder)
      else {
        const sql = `UPDATE ${LEASES} SET holder = '', until = ${NOW} + ? ${mine}`
        await database.query(sql, uselessFor, key, holder)
      }
    },
  }
}
