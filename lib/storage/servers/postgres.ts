// The only import of @keyv/postgres, an optional peer: this module is loaded where a URL names PostgreSQL.
import type { EventEmitter } from 'node:events'
import { Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import KeyvPostgres from '@keyv/postgres'
import { bytesKeyv, KeyvErrors, keyvStore } from '../keyv-store.ts'
import {
  CONNECT_TIMEOUT,
  type Connection,
  ignore,
  NAMES,
  type Place,
  POSTGRES_ADAPTER,
  type ServerStore,
} from './connection.ts'

/** How often expired rows are removed, in milliseconds. */
const PRUNE_INTERVAL = 10 * 60_000

/** How many rows are removed or given another time to live at a time. */
const CHANGE_STEP = 1000

/** How many rows are listed at a time. */
const LIST_STEP = 100

/** For how long the tables may be just being made by another process, in milliseconds. */
const MAKING = 2000

/** The code with which PostgreSQL says that there is no such table. */
const UNDEFINED_TABLE = '42P01'

/** What the types of the adapter do not tell. */
interface Queryable {
  query<Row>(sql: string, values?: readonly unknown[]): Promise<Row[]>
}

let connections = 0

/** Connects to a PostgreSQL server. */
export function openPostgres({ url, namespace, longest }: Place): Connection {
  const sockets = new Set<Socket>()
  const options = {
    uri: url,
    // The adapter shares a pool of connections among all with the same options: each cache gets its own by this name.
    application_name: `caching-agent ${process.pid}.${connections++}`,
    connectionTimeoutMillis: CONNECT_TIMEOUT,
    query_timeout: longest,
    keepAlive: true,
    // A program that has nothing else to do ends; calls under way are waited for by their deadlines.
    allowExitOnIdle: true,
    iterationLimit: LIST_STEP,
    clearExpiredInterval: PRUNE_INTERVAL,
    // The end of the pool waits for calls under way, which may be until they are late.
    stream() {
      const socket = new Socket()
      sockets.add(socket)
      return socket.once('close', () => sockets.delete(socket))
    },
    // The pool emits an error where an idle connection is lost. The adapter does not listen to it, so that
    // it would end the program, and keeps the pool to itself; but a pool calls its log as a method.
    log(this: EventEmitter) {
      if (this.listenerCount('error') === 0) this.on('error', ignore)
    },
  }
  const open = (name: string) => {
    const adapter = new KeyvPostgres({ ...options, table: `caching_agent_${name}` })
    adapter.namespace = namespace
    return adapter
  }
  const [heads, chunks] = [open(NAMES.heads), open(NAMES.chunks)]
  let isOpen = true
  // Somebody has removed them: another connection makes them again.
  const onMissing = () => {
    isOpen = false
  }
  return {
    heads: postgresStore(heads, onMissing),
    chunks: postgresStore(chunks, onMissing),
    connected: Promise.all([
      prepare(heads, () => open(NAMES.heads)),
      prepare(chunks, () => open(NAMES.chunks)),
    ]),
    isOpen: () => isOpen,
    end() {
      isOpen = false
      heads.clearExpiredInterval = chunks.clearExpiredInterval = 0
      // It ends the pool of both.
      heads.disconnect().catch(ignore)
      for (const socket of sockets) socket.destroySoon()
    },
  }
}

/**
 * Waits for the table of an adapter. One that could not make it once never tries again: where several processes
 * make the tables of a new database at once, another adapter tries in its place.
 */
async function prepare(adapter: KeyvPostgres, another: () => KeyvPostgres): Promise<void> {
  if (typeof adapter.clearExpired !== 'function') {
    throw new Error(
      `@keyv/postgres is too old; to get one that fits: npm install ${POSTGRES_ADAPTER}`,
    )
  }
  const deadline = performance.now() + MAKING
  for (let trying = adapter; ; ) {
    const missing = await whatIsMissing(trying)
    if (missing === undefined) break
    if (performance.now() > deadline) throw missing
    await delay(10 + Math.random() * 40)
    trying = another()
    trying.clearExpiredInterval = 0
  }
  // What has expired while nobody was here.
  adapter.clearExpired().catch(ignore)
}

/**
 * Why nothing can be written to the table of an adapter after this has tried to make it; undefined where it can.
 *
 * @throws where that is not because of the table
 */
async function whatIsMissing(adapter: KeyvPostgres): Promise<unknown> {
  let reason: unknown
  adapter.on('error', (error: unknown) => {
    reason ??= error
  })
  try {
    await adapter.has('')
  } catch (error) {
    reason ??= error
    if (isUndefinedTable(error)) return reason
    throw reason
  }
  const sql = `SELECT to_regclass('"${adapter.schema}"."${adapter.table}_key_namespace_idx"') AS name`
  const [row] = await (adapter as unknown as Queryable).query<{ name: string | null }>(sql)
  return row?.name == null ? (reason ?? new Error('the index of the keys is missing')) : undefined
}

function isUndefinedTable(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === UNDEFINED_TABLE
}

/** @param onMissing called where there is no table */
function postgresStore(adapter: KeyvPostgres, onMissing: () => void): ServerStore {
  const keyv = bytesKeyv(adapter)
  keyv.on('error', (error) => {
    if (isUndefinedTable(error)) onMissing()
  })
  const { namespace } = adapter
  const table = `"${adapter.schema}"."${adapter.table}"`
  const isAt = (keys: string) => `key ${keys} AND COALESCE(namespace, '') = $2`

  async function query<Row>(sql: string, key: unknown, ...values: readonly unknown[]) {
    try {
      return await (adapter as unknown as Queryable).query<Row>(sql, [key, namespace, ...values])
    } catch (error) {
      if (isUndefinedTable(error)) onMissing()
      throw error
    }
  }

  async function changes(sql: string, key: string, ...values: readonly unknown[]) {
    return (await query(`${sql} RETURNING 1`, key, ...values)).length > 0
  }

  async function expire(keys: readonly string[], timeToLive: number) {
    const sql = `UPDATE ${table} SET expires = $3 WHERE ${isAt('= ANY($1)')}`
    await query(sql, keys, Date.now() + timeToLive)
  }

  const ifSame = `WHERE ${isAt('= $1')} AND value = $3`
  const sql = {
    update: `UPDATE ${table} SET value = $4, expires = $5 ${ifSame}`,
    delete: `DELETE FROM ${table} ${ifSame}`,
    insert: `INSERT INTO ${table} AS stored (key, namespace, value, expires) VALUES ($1, $2, $3, $4) ON CONFLICT (key, COALESCE(namespace, '')) DO UPDATE SET value = excluded.value, expires = excluded.expires WHERE stored.expires <= $5`,
    clear: `DELETE FROM ${table} WHERE ${isAt(`IN (SELECT key FROM ${table} WHERE ${isAt('> $1')} ORDER BY key LIMIT ${CHANGE_STEP})`)} RETURNING 1`,
    list: `SELECT key FROM ${table} WHERE ${isAt('> $1')} ORDER BY key LIMIT ${CHANGE_STEP}`,
  }

  return {
    ...keyvStore(keyv, 'text', new KeyvErrors(keyv, ignore)),
    expire,
    async clear(onStep) {
      while ((await query(sql.clear, '')).length > 0) onStep?.()
    },
    async expireAll(timeToLive, isExempt, onStep) {
      for (let last: string | undefined = ''; last !== undefined; ) {
        const rows: { key: string }[] = await query(sql.list, last)
        const keys = rows.map(({ key }) => key)
        await expire(
          keys.filter((key) => !isExempt(key)),
          timeToLive,
        )
        last = keys.at(-1)
        onStep?.()
      }
    },
    async replace(key, expected, bytes, timeToLive) {
      const now = Date.now()
      const text = bytes?.toString('base64')
      const until = timeToLive === undefined ? null : now + timeToLive
      if (expected === undefined) {
        return text !== undefined && changes(sql.insert, key, text, until, now)
      }
      const there = expected.toString('base64')
      return text === undefined
        ? changes(sql.delete, key, there)
        : changes(sql.update, key, there, text, until)
    },
  }
}
