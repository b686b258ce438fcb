import { randomUUID } from 'node:crypto'
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  renameSync,
  statSync,
} from 'node:fs'
import { dirname } from 'node:path'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import type { Awaitable } from '../awaitable.ts'
import type { Events } from '../observe/events.ts'
import type { ByteStore, Stores, Unreferenced, Usage } from './byte-store.ts'
import { READERS_GRACE } from './content.ts'
import { SECRET_KEY, VARIANTS_MARK } from './heads.ts'
import { KeyvSqlite } from './keyv-sqlite.ts'
import { bytesKeyv, KeyvErrors, keyvStore } from './keyv-store.ts'
import type { LeaseStore } from './leases.ts'
import { METADATA_START } from './records.ts'
import { WriteQueue } from './write-queue.ts'
import { Writer } from './writer.ts'

/** Tables of another format have another name, so that releases can share a file. */
const TABLES = { heads: 'responses_1', chunks: 'chunks_1' }

/** How long after opening the file, or after rows were given little time, expired rows are removed, in milliseconds. */
const PRUNE_DELAY = 1000

/** How many rows are removed or changed at a time, so that nothing else waits for long. */
const STEP = 50

/** How many heads are looked through at a time. */
const SCAN_STEP = 500

/** How many pages are given back at a time. */
const VACUUM_STEP = 256

/** How long SQLite itself waits for another process's lock, blocking this one, in milliseconds. */
const BUSY_TIMEOUT = 5

/** How long a call waits for another process's lock in all, in milliseconds: less than a store may take. */
const READ_PATIENCE = 300
const WRITE_PATIENCE = 2000

/** How long opening the file waits for another process's lock, which blocks the construction, in milliseconds. */
const OPEN_PATIENCE = 1000

/** How much is written until that is left to a thread of its own, in bytes: short programs need none. */
const MUCH = 2 ** 20

/** How many prepared statements are kept. */
const MAX_STATEMENTS = 64

/** Result codes of SQLite: https://www.sqlite.org/rescode.html */
const SQLITE_BUSY = 5
const SQLITE_READONLY = 8
const SQLITE_CORRUPT = 11
const SQLITE_CANTOPEN = 14
const SQLITE_NOTADB = 26
const SQLITE_IOERR = 10
const SQLITE_FULL = 13
/** What a file says that ends too early. */
const SQLITE_IOERR_SHORT_READ = 522

/** What may be over the next time. */
const PASSING = new Set([SQLITE_BUSY, SQLITE_IOERR, SQLITE_FULL])

/**
 * Opens the two stores of a cache in an SQLite file, through Keyv and its SQLite adapter.
 *
 * @param isOnlyRead whether the file is left as it is until there is something to be written
 * @throws Error where there can be no such file
 */
export function openSqlite(path: string, events: Events, isOnlyRead = false): Stores {
  const database = new SqliteDatabase(path, events, isOnlyRead)
  let connection: Promise<Record<'heads' | 'chunks', ByteStore>> | undefined

  function connect(): Promise<Record<'heads' | 'chunks', ByteStore>> {
    connection ??= createTables(database, events).catch((error: unknown) => {
      // The adapter never tries again by itself, so another one is made for the next call.
      connection = undefined
      throw error
    })
    return connection
  }

  /** As {@link connect}, for what writes. */
  function connectToWrite(): Promise<Record<'heads' | 'chunks', ByteStore>> {
    if (database.beginWriting()) connection = undefined
    return connect()
  }

  const storeNamed = (name: 'heads' | 'chunks'): ByteStore => ({
    get: (key) =>
      database.isReady
        ? database.get(TABLES[name], key)
        : connect().then(() => database.get(TABLES[name], key)),
    set: async (key, bytes, timeToLive) =>
      (await connectToWrite())[name].set(key, bytes, timeToLive),
    delete: async (keys) => (await connectToWrite())[name].delete(keys),
    expire: async (keys, timeToLive) => {
      await connectToWrite()
      await database.expire(TABLES[name], keys, timeToLive)
    },
    clear: async () => {
      const stores = await connectToWrite()
      // Other processes may be reading content.
      if (name === 'chunks' && (await database.hasOthers())) await database.expireAll(TABLES.chunks)
      else await stores[name].clear()
      await database.shrink()
    },
    entries: () =>
      (async function* () {
        yield* (await connect())[name].entries() ?? []
      })(),
  })

  /** Runs a query once the tables are there. */
  async function read<T>(sql: string, ...parameters: unknown[]): Promise<T[]> {
    await connect()
    return (await database.query(sql, parameters)) as T[]
  }

  /** Runs a statement that writes. */
  async function write(sql: string, ...parameters: unknown[]): Promise<unknown[]> {
    await connectToWrite()
    return database.query(sql, parameters)
  }

  const usage: Usage = {
    async totals() {
      const [row] = await read<{ count: number; size: number }>(
        `SELECT coalesce(sum(count), 0) AS count, coalesce(sum(size), 0) AS size FROM ${TOTALS}`,
      )
      return row ?? { count: 0, size: 0 }
    },
    async touch(keys, age) {
      const sql = `UPDATE ${USED} SET used = ${NOW} WHERE used <= ${NOW} - ? AND key IN (SELECT value FROM json_each(?))`
      for (let index = 0; index < keys.length; index += TOUCH_STEP) {
        await write(sql, age, JSON.stringify(keys.slice(index, index + TOUCH_STEP)))
        await nextTurn()
      }
    },
    async oldest(limit) {
      const rows = await read<{ key: string }>(
        `SELECT key FROM ${USED} ORDER BY used LIMIT ?`,
        limit,
      )
      return rows.map(({ key }) => key)
    },
    async sizeOf(keys) {
      const sql = `SELECT coalesce(sum(length(value)), 0) AS size FROM ${TABLES.chunks} WHERE namespace = '' AND key IN (SELECT value FROM json_each(?))`
      const [row] = await read<{ size: number }>(sql, JSON.stringify(keys))
      return row?.size ?? 0
    },
  }

  const unreferenced: Unreferenced = {
    add: async (generation, grace) => {
      const sql = `INSERT OR REPLACE INTO ${UNREFERENCED} VALUES (?, ?, ${NOW} + ?)`
      await write(sql, generation, process.pid, grace)
    },
    remove: async (generation) => {
      await write(`DELETE FROM ${UNREFERENCED} WHERE generation = ?`, generation)
    },
  }

  const leases: LeaseStore = {
    async take(key, holder, duration) {
      await connectToWrite()
      if (!(await database.hasOthers())) return 'alone'
      const isOver = `until <= ${NOW} OR until > ${NOW} + ${LONGEST_LEASE}`
      const taken = await write(
        `INSERT INTO ${LEASES} VALUES (?, ?, ${NOW} + ?) ON CONFLICT DO UPDATE SET holder = excluded.holder, until = excluded.until WHERE ${isOver} RETURNING key`,
        ...[key, holder, duration],
      )
      if (taken.length > 0) return 'taken'
      const [lease] = await read<{ holder: string }>(
        `SELECT holder FROM ${LEASES} WHERE key = ?`,
        key,
      )
      return lease?.holder === '' ? 'useless' : 'held'
    },
    async give(key, holder, uselessFor) {
      const mine = 'WHERE key = ? AND holder = ?'
      if (uselessFor === 0) await write(`DELETE FROM ${LEASES} ${mine}`, key, holder)
      else {
        const sql = `UPDATE ${LEASES} SET holder = '', until = ${NOW} + ? ${mine}`
        await write(sql, uselessFor, key, holder)
      }
    },
  }

  return {
    heads: storeNamed('heads'),
    chunks: storeNamed('chunks'),
    leases,
    usage,
    unreferenced,
    isWaitedFor: true,
    shrink: async () => {
      await connectToWrite()
      await database.prune()
      await database.shrink()
    },
    coherence:
      path === ':memory:'
        ? { kind: 'own' }
        : { kind: 'versioned', version: () => database.version() },
    close: async () => database.close(),
  }
}

async function createTables(
  database: SqliteDatabase,
  events: Events,
): Promise<Record<'heads' | 'chunks', ByteStore>> {
  const open = async (table: string) => {
    const adapter = new KeyvSqlite({
      table,
      iterationLimit: 100,
      driver: {
        name: 'custom',
        connect: async () => ({
          query: (sql, ...parameters) => database.query(sql, parameters),
          close: async () => undefined,
        }),
      },
    })
    await adapter.ready
    const keyv = bytesKeyv(adapter)
    return keyvStore(keyv, 'bytes', new KeyvErrors(keyv, (error) => events.error('open', error)))
  }
  const stores = { heads: await open(TABLES.heads), chunks: await open(TABLES.chunks) }
  for (const statement of SCHEMA) {
    await database.query(statement, []).catch((error: unknown) => {
      // A file of another release may lack what only those who write need.
      if (!database.isOnlyRead) throw error
    })
  }
  await database.learnSchema()
  if (database.isOnlyRead) return stores
  await database.introduce()
  database.pruneLater(PRUNE_DELAY)
  return stores
}

/** How many heads are touched at a time. */
const TOUCH_STEP = 500

/** Tables of our own beside those of the adapter: how much there is, what was used when, what nothing refers to. */
const TOTALS = 'totals_1'
const USED = 'used_1'
const UNREFERENCED = 'unreferenced_1'
/** Which processes have the file open, and on what they have agreed. */
const PROCESSES = 'processes_1'
const LEASES = 'leases_1'
/** How often heads have been changed by anybody. */
const CHANGES = 'changes_1'

const NOW = "CAST(unixepoch('subsec') * 1000 AS INTEGER)"

/** Triggers keep the account, so that it is right whatever happens to the process. */
const SCHEMA = [
  `CREATE TABLE IF NOT EXISTS ${TOTALS} (name TEXT PRIMARY KEY, count INTEGER NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS ${USED} (key TEXT PRIMARY KEY, used INTEGER NOT NULL) WITHOUT ROWID`,
  `CREATE INDEX IF NOT EXISTS ${USED}_order ON ${USED} (used)`,
  `CREATE TABLE IF NOT EXISTS ${UNREFERENCED} (generation TEXT PRIMARY KEY, pid INTEGER NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID`,
  ...accounting(TABLES.heads, isResponse),
  ...accounting(TABLES.chunks, () => '0'),
  ...lastUse(TABLES.heads),
  `CREATE TABLE IF NOT EXISTS ${CHANGES} (id INTEGER PRIMARY KEY, number INTEGER NOT NULL)`,
  ...changes(TABLES.heads),
  `CREATE TABLE IF NOT EXISTS ${PROCESSES} (id TEXT PRIMARY KEY, pid INTEGER NOT NULL) WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS ${LEASES} (key TEXT PRIMARY KEY, holder TEXT NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID`,
]

/** What lasts longer than this was made by a clock that is wrong, in milliseconds. */
const LONGEST_LEASE = 60_000

/** Whether a row of heads is a response, as SQL. */
function isResponse(row: 'OLD' | 'NEW'): string {
  const start = `substr(CAST(${row}.value AS BLOB), ${METADATA_START + 1}, ${VARIANTS_MARK.length})`
  return `(${row}.key <> '${SECRET_KEY}' AND ${start} <> CAST('${VARIANTS_MARK}' AS BLOB))`
}

function accounting(table: string, countOf: (row: 'OLD' | 'NEW') => string): string[] {
  const size = (row: 'OLD' | 'NEW') => `length(CAST(${row}.value AS BLOB))`
  const add = (count: string, bytes: string) =>
    `INSERT INTO ${TOTALS} VALUES ('${table}', ${count}, ${bytes}) ON CONFLICT DO UPDATE SET count = count + excluded.count, size = size + excluded.size;`
  const on = (event: string, action: string) =>
    `CREATE TRIGGER IF NOT EXISTS ${table}_${event.slice(0, 6).toLowerCase()}_total AFTER ${event} ON ${table} BEGIN ${action} END`
  return [
    on('INSERT', add(countOf('NEW'), size('NEW'))),
    on(
      'UPDATE OF value',
      add(`${countOf('NEW')} - ${countOf('OLD')}`, `${size('NEW')} - ${size('OLD')}`),
    ),
    on('DELETE', add(`-${countOf('OLD')}`, `-${size('OLD')}`)),
  ]
}

function lastUse(table: string): string[] {
  const use = `INSERT INTO ${USED} VALUES (NEW.key, ${NOW}) ON CONFLICT DO UPDATE SET used = excluded.used;`
  const on = (event: string, condition: string, action: string) =>
    `CREATE TRIGGER IF NOT EXISTS ${table}_${event.slice(0, 6).toLowerCase()}_used AFTER ${event} ON ${table} ${condition} BEGIN ${action} END`
  const isOurs = `WHEN NEW.key <> '${SECRET_KEY}'`
  return [
    on('INSERT', isOurs, use),
    on('UPDATE OF value', isOurs, use),
    on('DELETE', '', `DELETE FROM ${USED} WHERE key = OLD.key;`),
  ]
}

function changes(table: string): string[] {
  const count = `INSERT INTO ${CHANGES} VALUES (0, 1) ON CONFLICT DO UPDATE SET number = number + 1;`
  return ['INSERT', 'UPDATE OF value', 'DELETE'].map(
    (event) =>
      `CREATE TRIGGER IF NOT EXISTS ${table}_${event.slice(0, 6).toLowerCase()}_counted AFTER ${event} ON ${table} BEGIN ${count} END`,
  )
}

const COUNTER = `SELECT number FROM ${CHANGES}`

/** An SQLite database on `node:sqlite`: the driver under the adapter. */
class SqliteDatabase {
  readonly #path: string
  readonly #events: Events
  readonly #statements = new Map<string, StatementSync>()
  /** What makes the tables, should the file have to be begun anew. */
  #schema: readonly string[] = []
  readonly #writes = new WriteQueue(
    (sql, parameters) => this.#run(sql, parameters),
    (error, isLate) => this.#mayTryAgain(error, isLate),
  )
  #database: DatabaseSync | undefined
  #file: { readonly dev: number; readonly ino: number } | undefined
  /** How often the file has been opened. */
  #opened = 0
  #closed = false
  readonly #id = randomUUID()
  /** Whether there are others, and at which version of the file that was found. */
  #others = { version: Number.NaN, isAny: false }
  #versionQuery: StatementSync | undefined
  #version = Number.NaN
  /** The one of the file that {@link #version} was found at. */
  #dataVersion: number | undefined
  /** How many bytes have been written. */
  #written = 0
  #isWritable = true
  #isOnlyRead: boolean
  /** Whether there is no file to be read yet. */
  #isStandIn = false
  #pruning: NodeJS.Timeout | undefined

  constructor(path: string, events: Events, isOnlyRead: boolean) {
    this.#path = path
    this.#events = events
    this.#isOnlyRead = isOnlyRead
    if (path !== ':memory:' && !isOnlyRead) mkdirSync(dirname(path), { recursive: true })
    const deadline = Date.now() + OPEN_PATIENCE
    for (;;) {
      try {
        this.#open()
        return
      } catch (error) {
        const code = resultCode(error)
        if (code === SQLITE_BUSY && Date.now() < deadline) continue
        // A lock passes, and so may what ails the disk; the next call opens the file.
        const isFile = statSync(path, { throwIfNoEntry: false })?.isFile() ?? true
        if (code === undefined || !PASSING.has(code) || !isFile) throw error
        events.error('open', error)
        return
      }
    }
  }

  /** Whether the tables have been made. */
  get isReady(): boolean {
    return this.#schema.length > 0 && !this.#closed
  }

  /** What is at a key of the adapter's: read past the adapter, as at once as SQLite can. */
  get(table: string, key: string): Awaitable<Buffer | undefined> {
    const sql = `SELECT value, expires FROM ${table} WHERE key = ? AND namespace = ''`
    const read = ([row]: unknown[]) => {
      const { value, expires } = (row ?? {}) as { value?: Buffer; expires?: number | null }
      if (!Buffer.isBuffer(value)) return undefined
      // What is only read is there for as long as it is there.
      return this.#isOnlyRead || (expires ?? Infinity) > Date.now() ? value : undefined
    }
    try {
      return read(this.#run(sql, [key]))
    } catch {
      return this.query(sql, [key]).then(read)
    }
  }

  /** Whether the file is left as it is: until {@link beginWriting}. */
  get isOnlyRead(): boolean {
    return this.#isOnlyRead
  }

  /** Opens the file anew if it was only read. @returns whether it was */
  beginWriting(): boolean {
    if (!this.#isOnlyRead) return false
    this.#isOnlyRead = this.#isStandIn = false
    this.#letGo()
    if (this.#path !== ':memory:') mkdirSync(dirname(this.#path), { recursive: true })
    return true
  }

  /** Lets the file be opened anew. */
  #letGo(): void {
    this.#statements.clear()
    this.#database?.close()
    this.#database = undefined
  }

  /** Runs a statement: rows of a query, none for others. Another process's lock is waited for without blocking. */
  async query(sql: string, parameters: readonly unknown[]): Promise<unknown[]> {
    if (/^\s*(INSERT|DELETE|UPDATE|PRAGMA incremental_vacuum)/.test(sql)) {
      if (this.#closed) throw new Error('the store is closed')
      this.#count(parameters)
      return this.#writes.write(sql, parameters, WRITE_PATIENCE)
    }
    const deadline = performance.now() + READ_PATIENCE
    for (;;) {
      try {
        return this.#run(sql, parameters)
      } catch (error) {
        if (!this.#mayTryAgain(error, performance.now() > deadline)) throw error
        await delay(5 + Math.random() * 20)
      }
    }
  }

  /** Leaves the writing to a thread from the moment on at which it is worth while. */
  #count(parameters: readonly unknown[]): void {
    for (const value of parameters) if (value instanceof Uint8Array) this.#written += value.length
    if (this.#written < MUCH || this.#writes.writer || !this.#isWritable || !this.isReady) return
    try {
      this.#writes.writer = new Writer(this.#path, WRITE_PATIENCE, COUNTER, () => this.#countAnew())
    } catch {
      // Where there may be no threads, there are none.
      this.#isWritable = false
    }
  }

  /** From now on versions are counted otherwise, and none from before means the same. */
  #countAnew(): void {
    this.#opened += 1
    this.#dataVersion = undefined
  }

  /** Whether what failed may succeed before long: damage is mended, and locks pass. */
  #mayTryAgain(error: unknown, isLate: boolean): boolean {
    if (isLate) return false
    const isDamage = !this.#isOnlyRead && this.#isDamage(error)
    if (isDamage) this.#startAnew(error)
    return isDamage || resultCode(error) === SQLITE_BUSY
  }

  #isDamage(error: unknown): boolean {
    const code = resultCode(error)
    if (isNoDatabase(error)) return true
    if (code === SQLITE_IOERR) return extendedCode(error) === SQLITE_IOERR_SHORT_READ
    // A table that was there is not any more: the file is damaged where its schema is.
    return this.#schema.length > 0 && /^no such table/.test((error as Error).message)
  }

  /** Tells other processes that this one has the file open. A file that cannot be written has no need of it. */
  async introduce(): Promise<void> {
    if (!this.#isWritable) return
    const sql = `INSERT OR REPLACE INTO ${PROCESSES} VALUES (?, ?)`
    await this.query(sql, [this.#id, process.pid]).catch(() => {})
  }

  /** Whether another process has the file open, or another cache of this one. */
  async hasOthers(): Promise<boolean> {
    const version = this.version()
    if (version !== this.#others.version) {
      const sql = `SELECT pid FROM ${PROCESSES} WHERE id <> ?`
      const others = (await this.query(sql, [this.#id])) as { pid: number }[]
      this.#others = { version, isAny: others.some(({ pid }) => isAlive(pid)) }
    }
    return this.#others.isAny
  }

  /** Notes what the tables are like that there are now, whoever has made them. */
  async learnSchema(): Promise<void> {
    const sql = `SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type = 'table' DESC`
    const rows = (await this.query(sql, [])) as { sql: string }[]
    this.#schema = rows
      .filter(({ sql }) => !sql.startsWith('CREATE TABLE sqlite_'))
      .map(({ sql }) => sql.replace(/^CREATE (?:UNIQUE )?\w+ /, '$&IF NOT EXISTS '))
  }

  #run(sql: string, parameters: readonly unknown[]): unknown[] {
    // Somebody else may have made the file meanwhile.
    if (this.#isStandIn && existsSync(this.#path)) this.#letGo()
    const database = this.#database ?? this.#open()
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = database.prepare(sql)
      if (this.#statements.size >= MAX_STATEMENTS) this.#statements.clear()
      this.#statements.set(sql, statement)
    }
    const rows = statement.all(...(parameters as (string | number | Uint8Array | null)[]))
    for (const row of rows as { value?: unknown }[]) {
      const { value } = row
      if (value instanceof Uint8Array) {
        row.value = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
      }
    }
    return rows
  }

  #open(): DatabaseSync {
    if (this.#closed) throw new Error('the store is closed')
    if (this.#isOnlyRead) return this.#openUntouched()
    try {
      return this.#openFile()
    } catch (error) {
      const code = resultCode(error)
      if (isNoDatabase(error)) return this.#startAnew(error)
      const isReadOnly = code === SQLITE_READONLY || code === SQLITE_CANTOPEN
      if (!isReadOnly || !existsSync(this.#path)) throw error
      const database = this.#openReadOnly()
      this.#events.error('open', error)
      return database
    }
  }

  #openFile(): DatabaseSync {
    const isFile = this.#path !== ':memory:'
    if (isFile) createPrivately(this.#path)
    return this.#use(
      this.#path,
      {},
      // auto_vacuum has an effect only before the first table is made.
      [
        'PRAGMA auto_vacuum = INCREMENTAL',
        'PRAGMA journal_mode = WAL',
        'PRAGMA synchronous = NORMAL',
      ],
    )
  }

  /** Opens the file so that not one byte of it is changed. While there is none, nothing is stored. */
  #openUntouched(): DatabaseSync {
    this.#isStandIn = !existsSync(this.#path)
    if (this.#isStandIn) return this.#use(':memory:', {})
    try {
      // One who may write can also look after the files that SQLite needs beside this one.
      accessSync(this.#path, constants.W_OK)
      accessSync(dirname(this.#path), constants.W_OK)
      return this.#use(this.#path, {}, ['PRAGMA query_only = ON'])
    } catch (error) {
      if (resultCode(error) !== undefined) throw error
      return this.#openReadOnly()
    }
  }

  /** Where the folder cannot be written either, SQLite insists on being told that nobody changes the file. */
  #openReadOnly(): DatabaseSync {
    try {
      return this.#use(this.#path, { readOnly: true })
    } catch {
      const url = pathToFileURL(this.#path)
      url.search = 'immutable=1'
      return this.#use(url, { readOnly: true })
    }
  }

  #use(path: string | URL, options: object, pragmas: readonly string[] = []): DatabaseSync {
    const { DatabaseSync } = process.getBuiltinModule('node:sqlite')
    const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT, ...options })
    this.#isWritable = this.#path !== ':memory:' && !this.#isOnlyRead && !('readOnly' in options)
    try {
      const schema = this.#isOnlyRead ? [] : this.#schema
      for (const statement of [...pragmas, ...schema]) database.exec(statement)
      database.prepare('SELECT count(*) FROM sqlite_master').get()
    } catch (error) {
      database.close()
      throw error
    }
    this.#database = database
    this.#versionQuery = undefined
    this.#opened += 1
    this.#file = statSync(this.#path, { throwIfNoEntry: false })
    return database
  }

  /** Sets a damaged file aside, unless another process has done so already, and begins a new one. */
  #startAnew(error: unknown): DatabaseSync {
    this.#writes.writer?.stop()
    this.#writes.writer = undefined
    this.#statements.clear()
    this.#database?.close()
    this.#database = undefined
    const file = statSync(this.#path, { throwIfNoEntry: false })
    const isSameFile = !this.#file || (file?.ino === this.#file.ino && file.dev === this.#file.dev)
    if (file !== undefined && isSameFile) {
      const aside = `${this.#path}.corrupt-${new Date().toISOString().replaceAll(':', '-')}`
      for (const suffix of ['', '-wal', '-shm']) {
        if (statSync(this.#path + suffix, { throwIfNoEntry: false })) {
          renameSync(this.#path + suffix, aside + suffix)
        }
      }
      this.#events.error(
        'open',
        new Error(`the cache file ${this.#path} is damaged; set aside as ${aside}`, {
          cause: error,
        }),
      )
    }
    return this.#openFile()
  }

  /**
   * A number that changes whenever another connection has changed the file, and never comes back. Where
   * it cannot be told, no two are the same.
   */
  version(): number {
    try {
      const database = this.#database ?? this.#open()
      this.#versionQuery ??= database.prepare('PRAGMA data_version')
      const { data_version } = this.#versionQuery.get() as { data_version: number }
      // After the file has been opened anew, versions count anew as well.
      const epoch = this.#opened * 2 ** 32
      const writer = this.#writes.writer
      if (!writer?.isReady) return epoch + data_version
      // To this connection the thread is somebody else.
      if (data_version === this.#dataVersion) return this.#version
      const version = epoch + writer.foreign(() => this.#changes())
      if (Number.isNaN(version)) return version
      this.#dataVersion = data_version
      this.#version = version
      return version
    } catch {
      return Number.NaN
    }
  }

  #changes(): number {
    const [row] = this.#run(COUNTER, []) as { number: number }[]
    return row?.number ?? 0
  }

  /** Gives rows another time to live. */
  async expire(table: string, keys: readonly string[], timeToLive: number): Promise<void> {
    const expires = Date.now() + timeToLive
    for (let index = 0; index < keys.length; index += STEP) {
      const some = JSON.stringify(keys.slice(index, index + STEP))
      const sql = `UPDATE ${table} SET expires = ? WHERE namespace = '' AND key IN (SELECT value FROM json_each(?))`
      await this.query(sql, [expires, some])
      await nextTurn()
    }
    this.pruneLater(timeToLive + PRUNE_DELAY)
  }

  /** Leaves rows as much time as readers have. */
  async expireAll(table: string): Promise<void> {
    const sql = `UPDATE ${table} SET expires = ? WHERE rowid IN (SELECT rowid FROM ${table} WHERE coalesce(expires, ?) > ? LIMIT ${SCAN_STEP}) RETURNING rowid`
    const expires = Date.now() + READERS_GRACE
    const later = [expires, expires + 1, expires]
    while (!this.#closed && (await this.query(sql, later)).length > 0) await nextTurn()
    this.pruneLater(READERS_GRACE + PRUNE_DELAY)
  }

  /** Removes expired rows later on, if the process lasts as long. */
  pruneLater(delay: number): void {
    clearTimeout(this.#pruning)
    this.#pruning = setTimeout(() => {
      // It is done by the next process, if not by this one.
      this.prune().catch(() => {})
    }, delay).unref()
  }

  /** Removes what has expired and what a crash has left, in small steps. */
  async prune(): Promise<void> {
    await this.#removeUnreferenced()
    await this.#removeProcesses()
    await this.query(`DELETE FROM ${LEASES} WHERE until < ${NOW}`, [])
    for (const table of Object.values(TABLES)) {
      const expired = `SELECT rowid FROM ${table} WHERE expires IS NOT NULL AND expires < ? LIMIT ${STEP}`
      const sql = `DELETE FROM ${table} WHERE rowid IN (${expired}) RETURNING rowid`
      while (!this.#closed && (await this.query(sql, [Date.now()])).length === STEP)
        await nextTurn()
    }
    await this.#vacuum()
  }

  /** Gives the pages that are free back, in small steps. */
  async #vacuum(): Promise<void> {
    for (let before = Infinity; !this.#closed; ) {
      const [row] = (await this.query('PRAGMA freelist_count', [])) as { freelist_count: number }[]
      const left = row?.freelist_count ?? 0
      // Where it cannot be done, as in a file without auto_vacuum, nothing changes.
      if (left === 0 || left >= before) return
      before = left
      await this.query(`PRAGMA incremental_vacuum(${VACUUM_STEP})`, [])
      await nextTurn()
    }
  }

  async #removeProcesses(): Promise<void> {
    const all = (await this.query(`SELECT id, pid FROM ${PROCESSES}`, [])) as {
      id: string
      pid: number
    }[]
    for (const { id, pid } of all) {
      if (!isAlive(pid)) await this.query(`DELETE FROM ${PROCESSES} WHERE id = ?`, [id])
    }
  }

  /** Removes content that was being written, or was to be removed, by processes that are no more. */
  async #removeUnreferenced(): Promise<void> {
    const sql = `SELECT generation, pid, since - ${NOW} AS wait FROM ${UNREFERENCED}`
    const rows = (await this.query(sql, [])) as {
      generation: string
      pid: number
      wait: number
    }[]
    for (const { generation, pid, wait } of rows) {
      if (this.#closed) return
      if (isAlive(pid)) continue
      if (wait > 0 && wait <= 2 * READERS_GRACE) {
        this.pruneLater(wait + PRUNE_DELAY)
        continue
      }
      if (!(await this.#isReferredTo(generation))) await this.#removeChunks(generation)
      await this.query(`DELETE FROM ${UNREFERENCED} WHERE generation = ?`, [generation])
    }
  }

  /** Whether a head refers to content after all: the process may have ended just when it had been written. */
  async #isReferredTo(generation: string): Promise<boolean> {
    const [last] = (await this.query(`SELECT max(rowid) AS id FROM ${TABLES.heads}`, [])) as {
      id: number | null
    }[]
    const sql = `SELECT rowid FROM ${TABLES.heads} WHERE rowid > ? AND rowid <= ? AND instr(CAST(value AS BLOB), CAST(? AS BLOB)) LIMIT 1`
    for (let after = 0; after < (last?.id ?? 0) && !this.#closed; after += SCAN_STEP) {
      const found = await this.query(sql, [after, after + SCAN_STEP, generation])
      if (found.length > 0) return true
      await nextTurn()
    }
    return false
  }

  async #removeChunks(generation: string): Promise<void> {
    // Its keys are all those that begin with the generation and a dot.
    const some = `SELECT rowid FROM ${TABLES.chunks} WHERE key > ? AND key < ? LIMIT ${STEP}`
    const sql = `DELETE FROM ${TABLES.chunks} WHERE rowid IN (${some}) RETURNING rowid`
    const range = [`${generation}.`, `${generation}/`]
    while (!this.#closed && (await this.query(sql, range)).length === STEP) await nextTurn()
  }

  /** Gives the space of deleted rows back to the file system. */
  async shrink(): Promise<void> {
    await this.#vacuum()
    await this.query('PRAGMA wal_checkpoint(TRUNCATE)', [])
  }

  async close(): Promise<void> {
    if (this.#closed) return
    if (this.isReady && this.#isWritable) {
      const sql = `DELETE FROM ${PROCESSES} WHERE id = ?`
      await this.#writes.write(sql, [this.#id], 0).catch(() => {})
    }
    this.#closed = true
    clearTimeout(this.#pruning)
    this.#writes.close(new Error('the store is closed'))
    await this.#writes.writer?.close()
    this.#statements.clear()
    this.#database?.close()
    this.#database = undefined
  }
}

/** Whether a process of this machine is alive; this one is. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // It belongs to somebody else, but is there.
    return (error as { code?: unknown }).code === 'EPERM'
  }
}

/** What is cached may be private: nobody else needs to read it. */
function createPrivately(path: string): void {
  if (!existsSync(path)) closeSync(openSync(path, 'a', 0o600))
}

/** Whether a file is no database, or one whose pages or header are not as they were written. */
function isNoDatabase(error: unknown): boolean {
  const code = resultCode(error)
  if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB) return true
  // For a header that names a format which there is not, SQLite has no code of its own.
  return error instanceof Error && error.message === 'unsupported file format'
}

/** The primary result code of an SQLite error; undefined for other errors. */
function resultCode(error: unknown): number | undefined {
  const code = extendedCode(error)
  return code === undefined ? undefined : code & 0xff
}

function extendedCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown } | null)?.errcode
  return typeof code === 'number' ? code : undefined
}
