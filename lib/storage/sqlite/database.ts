import { randomUUID } from 'node:crypto'
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import type { Awaitable } from '../../awaitable.ts'
import type { Events } from '../../observe/events.ts'
import { type Inspection, inspect } from './inspect.ts'
import { inspectFile } from './inspect-file.ts'
import { begin, end, isAlive, type Opener, tellingOfLife } from './is-alive.ts'
import {
  CHANGES,
  isLeased,
  OLDER_VERSION,
  OWN_NAMES,
  PROCESSES,
  RENEWAL,
  TABLES,
} from './schema.ts'
import { WalIndex } from './wal-index.ts'
import { WriteQueue } from './write-queue.ts'
import { Writer } from './writer.ts'
import { type Run, transact } from './writes.ts'

/** How long SQLite itself waits for another process's lock, blocking this one, in milliseconds. */
const BUSY_TIMEOUT = 5

/** How long a call waits for another process's lock in all, in milliseconds: less than a store may take. */
const READ_PATIENCE = 300
const WRITE_PATIENCE = 2000

/** After how long it is tried again to open a file, which blocks: at first, and in the end, in milliseconds. */
const SHORTEST_PAUSE = 10
const LONGEST_PAUSE = 100

/** How long a file that has been removed stays locked for who was just opening it, in milliseconds. */
const LOCKED_OUT = 1000

/** How often it is looked at most whether the file is still where it was, in milliseconds. */
const FIND_INTERVAL = 1000

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

/** How SQLite says that a schema is not what it was: it has no code of its own for that. */
const MISSING = /^no such | has no column named /

/** What may be over the next time. */
const PASSING = new Set([SQLITE_BUSY, SQLITE_IOERR, SQLITE_FULL])

type Table = (typeof TABLES)[keyof typeof TABLES]

/** What reads a row of a table: made once, as it takes longer to find a statement by a text that is new. */
const READ = Object.fromEntries(
  Object.values(TABLES).map((table) => [
    table,
    `SELECT value, expires FROM ${table} WHERE key = ? AND namespace = ''`,
  ]),
) as Readonly<Record<Table, string>>

/** Tells how often anybody has changed heads. */
const COUNTER = `SELECT number FROM ${CHANGES}`

/** Tells that a process has the file open. */
const INTRODUCTION = `INSERT OR REPLACE INTO ${PROCESSES} VALUES (?, ?)`

/** An SQLite database on `node:sqlite`: the driver under the adapter. */
export class SqliteDatabase {
  /** As it was given, which may lead to another file one day. */
  readonly #given: string
  /** Where the file itself is: to remove or to rename a link would leave it as it is. */
  #path: string
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
  /** Why the file cannot be opened, and until when it is not tried again, by the clock of `performance`. */
  #failure: { readonly error: unknown; readonly until: number; readonly pause: number } | undefined
  /** When it was last looked whether it is where it was, by the clock of `performance`. */
  #foundAt = -Infinity
  /** How often the file has been opened. */
  #opened = 0
  #closed = false
  /** By what this cache is told from others. */
  readonly id: string = tellingOfLife(randomUUID())
  /** Tells others again and again that it is there. */
  #renewal: NodeJS.Timeout | undefined
  /** Whether others have been told something, although the file is only read. */
  #isIntroduced = false
  /** Whether there are others, and when that was found, by the clock of `performance`. */
  #others = { at: -Infinity, isAny: false }
  /** What {@link version} told last; `NaN` where that does not count any more. */
  #version = Number.NaN
  /** Tells at once that nothing has been committed since then. */
  #walIndex: WalIndex | undefined
  /** Which version of the file was found to be which version but for what this process's thread has written. */
  #foreign: { readonly dataVersion: number; readonly version: number } | undefined
  /** How many bytes have been written. */
  #written = 0
  #isWritable = true
  #mayHaveThread = true
  /** How many are about to begin a new file. */
  #beginning = 0
  #isOnlyRead: boolean
  /** By what it is seen that others have changed the file after all, of which SQLite takes no notice. */
  #stamp: string | undefined
  /** Whether somebody has been told that the file cannot be written. */
  #isTold = false
  /** Whether there is no file to be read yet. */
  #isStandIn = false

  constructor(path: string, events: Events, isOnlyRead: boolean) {
    this.#given = this.#path = path
    this.#events = events
    this.#isOnlyRead = isOnlyRead
    this.#resolve()
    refuseOtherThanFile(this.#path)
    try {
      this.#open()
    } catch (error) {
      const code = resultCode(error)
      // A lock passes, and so may what ails the disk; the next call opens the file.
      if (code === undefined || !PASSING.has(code)) throw error
      // Who waits for a lock in vain will say so.
      if (code !== SQLITE_BUSY) events.error('open', error)
    }
    begin(this.id)
  }

  /** Finds out where the file is, and makes its folder if there is to be one. */
  #resolve(): void {
    if (this.#given === ':memory:') return
    try {
      this.#path = withoutLinks(this.#given)
      if (!this.#isOnlyRead) mkdirSync(dirname(this.#path), { recursive: true })
    } catch (error) {
      // Where nothing can be, there is nothing to be read.
      if (!this.#isOnlyRead) throw error
    }
  }

  /** Whether the tables have been made. */
  get isReady(): boolean {
    return this.#schema.length > 0 && !this.#closed
  }

  /**
   * What is at a key of the adapter's: read past the adapter, as at once as SQLite can.
   *
   * @param isLasting whether what has expired is there for as long as it has not been removed
   */
  get(
    table: Table,
    key: string,
    isLasting: boolean = this.#isOnlyRead,
  ): Awaitable<Buffer | undefined> {
    const read = () => {
      const [value, expires] = this.#firstRow(READ[table], key)
      if (!(value instanceof Uint8Array)) return undefined
      return isLasting || (expires ?? Infinity) > Date.now() ? asBuffer(value) : undefined
    }
    try {
      return read()
    } catch {
      return this.#patiently(READ_PATIENCE, read)
    }
  }

  /** The columns of the first row, if there is one: as an array they take less time than as an object. */
  #firstRow(sql: string, key: string): readonly [value?: unknown, expires?: number | null] {
    const statement = this.#statement(sql, true)
    return (statement.get(key) ?? []) as unknown as [unknown, number | null]
  }

  /** Whether the file is left as it is: until {@link beginWriting}. */
  get isOnlyRead(): boolean {
    return this.#isOnlyRead
  }

  /** Opens the file anew if it was only read. @returns whether it was */
  beginWriting(): boolean {
    if (!this.#isOnlyRead) return false
    this.#isOnlyRead = this.#isStandIn = false
    this.#findAnew()
    return true
  }

  /** Lets the file be opened anew, wherever its path leads by now. */
  #findAnew(): void {
    this.#letGo()
    this.#failure = undefined
    this.#resolve()
  }

  /** Lets the file be opened anew. */
  #letGo(): void {
    this.#statements.clear()
    this.#database?.close()
    this.#database = undefined
    this.#stamp = undefined
    this.#walIndex?.close()
    this.#walIndex = undefined
    this.#version = Number.NaN
  }

  /** Runs a statement: rows of a query, none for others. Another process's lock is waited for without blocking. */
  async query<Row = unknown>(sql: string, ...parameters: readonly unknown[]): Promise<Row[]> {
    if (/^\s*(INSERT|DELETE|UPDATE|PRAGMA incremental_vacuum)/.test(sql)) {
      if (this.#closed) throw new Error('the store is closed')
      this.#count(parameters)
      return this.#writes.write(sql, parameters, WRITE_PATIENCE) as Promise<Row[]>
    }
    return this.#patiently(READ_PATIENCE, () => this.#run(sql, parameters) as Row[])
  }

  /** Changes tables: either all statements count or none. */
  async alter(statements: readonly string[]): Promise<void> {
    await this.#patiently(WRITE_PATIENCE, () => {
      transact(
        this.#run,
        statements.map((sql) => ({ sql, parameters: [] })),
        Infinity,
      )
    })
  }

  async #patiently<T>(patience: number, work: () => T): Promise<T> {
    const deadline = performance.now() + patience
    for (;;) {
      try {
        return work()
      } catch (error) {
        if (!this.#mayTryAgain(error, performance.now() > deadline)) throw error
        await delay(5 + Math.random() * 20)
      }
    }
  }

  /** Begins anew where the file has been removed, or another one is in its place: nobody else would see what is written. */
  findFile(): void {
    const now = performance.now()
    if (this.#closed || !this.#file || !this.#isWritable || now - this.#foundAt < FIND_INTERVAL)
      return
    this.#foundAt = now
    if (this.#isThere()) return
    // Another file may have other tables.
    this.#schema = []
    this.#findAnew()
    this.#startAnew(undefined)
    this.#events.error(
      'open',
      new Error(`the cache file ${this.#given} was removed or replaced; it is opened anew`),
    )
  }

  /** Whether the file that is open is where it was, by whatever links. */
  #isThere(): boolean {
    const file = statSync(this.#given, { throwIfNoEntry: false })
    return file?.ino === this.#file?.ino && file?.dev === this.#file?.dev
  }

  /** Leaves the writing to a thread from the moment on at which it is worth while. */
  #count(parameters: readonly unknown[]): void {
    for (const value of parameters) if (value instanceof Uint8Array) this.#written += value.length
    if (this.#written < MUCH || this.#writes.writer || !this.isReady) return
    if (!this.#isWritable || !this.#mayHaveThread || this.#beginning > 0) return
    try {
      this.#writes.writer = new Writer(this.#path, WRITE_PATIENCE, COUNTER, () => this.#countAnew())
    } catch {
      // Where there may be no threads, there are none.
      this.#mayHaveThread = false
    }
  }

  /** From now on versions are counted otherwise, and none from before means the same. */
  #countAnew(): void {
    this.#opened += 1
    this.#foreign = undefined
    this.#version = Number.NaN
  }

  /** Whether what failed may succeed before long: damage is mended, and locks pass. */
  #mayTryAgain(error: unknown, isLate: boolean): boolean {
    if (isLate) return false
    if (this.#isOnlyRead && this.#file && !this.#isThere()) {
      this.#findAnew()
      return true
    }
    const isDamage = !this.#isOnlyRead && this.#isDamage(error)
    if (isDamage) {
      // What made the tables is damaged as well: who wants them has to make them.
      if (this.#isSchemaDamage(error)) this.#schema = []
      try {
        this.#startAnew(error)
      } catch {
        // The next attempt opens it, or tells why that cannot be.
      }
    }
    return isDamage || resultCode(error) === SQLITE_BUSY
  }

  #isDamage(error: unknown): boolean {
    const code = resultCode(error)
    if (isNoDatabase(error)) return true
    if (code === SQLITE_IOERR) return extendedCode(error) === SQLITE_IOERR_SHORT_READ
    return this.#isSchemaDamage(error)
  }

  /** Whether what was there is not any more, or has another name: the file is damaged where its schema is. */
  #isSchemaDamage(error: unknown): boolean {
    return this.#isWritable && this.#schema.length > 0 && MISSING.test((error as Error).message)
  }

  /** Tells other processes that this one has the file open. A file that cannot be written has no need of it. */
  async introduce(): Promise<void> {
    if (!this.#isWritable) return
    this.#renewal ??= setInterval(() => void this.introduce(), RENEWAL).unref()
    await this.query(INTRODUCTION, this.id, process.pid).catch(() => {})
  }

  /** Does so for one that only reads, when it reads what others might remove. */
  introduceReader(): void {
    if (!this.#isOnlyRead || this.#isIntroduced || !this.#isInUse()) return
    const introduce = () => {
      // What cannot be written need not be.
      this.note(INTRODUCTION, this.id, process.pid).catch(() => {})
    }
    this.#renewal ??= setInterval(introduce, RENEWAL).unref()
    introduce()
  }

  /** Whether somebody writes to the file: as it is when nobody does, it stays under those who only read. */
  #isInUse(): boolean {
    return (statSync(`${this.#path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0
  }

  /** Writes for others what they need not know: a file that is only read is changed only if others change it, too. */
  async note(sql: string, ...parameters: readonly unknown[]): Promise<void> {
    if (!this.#isOnlyRead) {
      if (this.#isWritable) await this.query(sql, ...parameters)
      return
    }
    if (!this.#isIntroduced && !this.#isInUse()) return
    this.#isIntroduced = true
    await this.#patiently(WRITE_PATIENCE, () => {
      this.#database?.exec('PRAGMA query_only = OFF')
      try {
        this.#run(sql, parameters)
      } finally {
        this.#database?.exec('PRAGMA query_only = ON')
      }
    })
  }

  /** Whether another process has the file open, or another cache of this one. */
  async hasOthers(): Promise<boolean> {
    const at = performance.now()
    const sql = `SELECT id, pid, ${isLeased('id')} AS isLeased FROM ${PROCESSES} WHERE id <> ?`
    const others = await this.query<Opener>(sql, this.id)
    this.#others = { at, isAny: others.some(isAlive) }
    return this.#others.isAny
  }

  /** Whether it was found out not longer ago than `maxAge` milliseconds that there are no others. */
  isKnownToBeAlone(maxAge: number): boolean {
    return !this.#others.isAny && performance.now() - this.#others.at < maxAge
  }

  /**
   * Begins a new file in place of this one, if nobody else has it open or has anything in it: however much there
   * is, that takes no time.
   *
   * @param mayBegin asked at the last moment, when all that has been written is lost if it is so
   * @returns whether there is a new one
   */
  async beginNew(mayBegin: () => boolean): Promise<boolean> {
    if (!this.#isWritable || (await this.hasOthers())) return false
    if (!isAllOurs(this.#database ?? this.#open())) return false
    const { writer } = this.#writes
    // A thread that began now could have the file open that is removed.
    this.#beginning += 1
    this.#writes.writer = undefined
    try {
      await writer?.close()
      return this.#replaceFile(mayBegin)
    } finally {
      this.#beginning -= 1
    }
  }

  #replaceFile(mayBegin: () => boolean): boolean {
    const database = this.#database ?? this.#open()
    if (!this.#isThere()) {
      // Another one is in its place, which the next call opens.
      this.#foundAt = -Infinity
      return false
    }
    const { mode, nlink } = statSync(this.#path)
    // By another name, what is removed would still be there.
    if (nlink > 1) return false
    if (!lockOthersOut(database)) return false
    // Somebody may have put something there just before.
    if (!isAllOurs(database) || !mayBegin()) {
      this.#letGo()
      return false
    }
    try {
      rmSync(this.#path)
    } catch (error) {
      // A folder may not let files be removed.
      this.#letGo()
      throw error
    }
    this.#database = undefined
    this.#letGo()
    this.#openFile()
    chmodSync(this.#path, mode)
    // Who was just opening what has been removed would go on to the log of the new file, were it not locked.
    setTimeout(() => database.close(), LOCKED_OUT).unref()
    return true
  }

  /** Notes what the tables are like that there are now, whoever has made them. */
  async learnSchema(): Promise<void> {
    const sql = `SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type = 'table' DESC`
    const rows = await this.query<{ name: string; sql: string }>(sql)
    this.#schema = rows
      // Of what others have in the file nothing is made anew.
      .filter(({ name }) => OWN_NAMES.has(name))
      .map(({ sql }) => sql.replace(/^CREATE (?:UNIQUE )?\w+ /, '$&IF NOT EXISTS '))
  }

  readonly #run: Run = (sql, parameters) => {
    const statement = this.#statement(sql)
    const rows = statement.all(...(parameters as (string | number | Uint8Array | null)[]))
    for (const row of rows as { value?: unknown }[]) {
      if (row.value instanceof Uint8Array) row.value = asBuffer(row.value)
    }
    return rows
  }

  /** @param isInArrays whether each row is an array: always the same for the same statement */
  #statement(sql: string, isInArrays = false): StatementSync {
    // Somebody else may have made the file meanwhile.
    if (this.#isStandIn && existsSync(this.#given)) this.#findAnew()
    if (this.#stamp !== undefined && this.#stamp !== stampOf(this.#path)) this.#letGo()
    const database = this.#database ?? this.#open()
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = database.prepare(sql)
      if (isInArrays) statement.setReturnArrays(true)
      if (this.#statements.size >= MAX_STATEMENTS) this.#statements.clear()
      this.#statements.set(sql, statement)
    }
    return statement
  }

  /** Opens the file, or fails as it did a moment ago: whoever asks for it tries again and again. */
  #open(): DatabaseSync {
    if (this.#closed) throw new Error('the store is closed')
    const { error, until = -Infinity, pause = SHORTEST_PAUSE / 2 } = this.#failure ?? {}
    if (performance.now() < until) throw error
    try {
      const database = this.#openSomehow()
      this.#failure = undefined
      return database
    } catch (error) {
      const next = Math.min(2 * pause, LONGEST_PAUSE)
      this.#failure = { error, until: performance.now() + next, pause: next }
      throw error
    }
  }

  #openSomehow(): DatabaseSync {
    if (this.#isOnlyRead) return this.#openUntouched()
    try {
      return this.#openFile()
    } catch (error) {
      const code = resultCode(error)
      if (isNoDatabase(error)) return this.#startAnew(error)
      const isReadOnly = code === SQLITE_READONLY || code === SQLITE_CANTOPEN
      if (!isReadOnly || !existsSync(this.#path)) throw error
      const database = this.#openReadOnly()
      if (!this.#isTold) this.#events.error('open', error)
      this.#isTold = true
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

  /**
   * Where the folder cannot be written either, SQLite insists on being told that nobody changes the file: who does
   * so is seen by its {@link stampOf stamp}.
   */
  #openReadOnly(): DatabaseSync {
    try {
      return this.#use(this.#path, { readOnly: true })
    } catch {
      const url = pathToFileURL(this.#path)
      url.search = 'immutable=1'
      const stamp = stampOf(this.#path)
      const database = this.#use(url, { readOnly: true })
      this.#stamp = stamp
      return database
    }
  }

  #use(path: string | URL, options: object, pragmas: readonly string[] = []): DatabaseSync {
    const { DatabaseSync } = process.getBuiltinModule('node:sqlite')
    const database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT, ...options })
    this.#isWritable = this.#path !== ':memory:' && !this.#isOnlyRead && !('readOnly' in options)
    try {
      for (const statement of pragmas) database.exec(statement)
      if (!this.#isOnlyRead && this.#schema.length > 0) {
        database.exec(['BEGIN IMMEDIATE', ...this.#schema, 'COMMIT'].join(';'))
      }
      database.prepare('SELECT count(*) FROM sqlite_master').get()
    } catch (error) {
      database.close()
      throw error
    }
    this.#database = database
    this.#walIndex = this.#path === ':memory:' ? undefined : WalIndex.of(this.#path)
    this.#opened += 1
    this.#file = statSync(this.#path, { throwIfNoEntry: false })
    return database
  }

  /** Sets a damaged file aside, unless another process has done so already, and begins a new one. */
  #startAnew(error: unknown): DatabaseSync {
    this.#writes.writer?.stop()
    this.#writes.writer = undefined
    this.#letGo()
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
      if (this.#database === undefined) this.#open()
      // Looked at before SQLite is asked: what is committed in between is seen the next time.
      const mayHaveChanged = this.#walIndex?.hasChanged() ?? true
      if (mayHaveChanged || Number.isNaN(this.#version)) this.#version = this.#askVersion()
    } catch {
      this.#version = Number.NaN
    }
    return this.#version
  }

  #askVersion(): number {
    const query = this.#statement('PRAGMA data_version', true)
    const [dataVersion] = query.get() as unknown as [number]
    // After the file has been opened anew, versions count anew as well.
    const epoch = this.#opened * 2 ** 32
    const writer = this.#writes.writer
    if (!writer?.isReady) return epoch + dataVersion
    // To this connection the thread is somebody else.
    if (dataVersion === this.#foreign?.dataVersion) return this.#foreign.version
    const version = epoch + writer.foreign(() => this.#changes())
    if (!Number.isNaN(version)) this.#foreign = { dataVersion, version }
    return version
  }

  #changes(): number {
    const [row] = this.#run(COUNTER, []) as { number: number }[]
    return row?.number ?? 0
  }

  /** Looks through all that is in the file, in a thread of its own if it is one. */
  async inspect(): Promise<Inspection> {
    const now = Date.now()
    if (this.#path === ':memory:') {
      return inspect((sql, ...parameters) => this.#run(sql, parameters) as never, now)
    }
    return inspectFile(this.#path, now)
  }

  /** Sets the file aside, and begins a new one. */
  replace(reason: string): void {
    this.#startAnew(new Error(reason))
  }

  get isClosed(): boolean {
    return this.#closed
  }

  async close(): Promise<void> {
    if (this.#closed) return
    clearInterval(this.#renewal)
    const leaving = `DELETE FROM ${PROCESSES} WHERE id = ?`
    if (this.#isIntroduced) await this.note(leaving, this.id).catch(() => {})
    if (this.isReady && this.#isWritable) {
      await this.#writes.write(leaving, [this.id], 0).catch(() => {})
    }
    this.#closed = true
    end(this.id)
    this.#writes.close(new Error('the store is closed'))
    await this.#writes.writer?.close()
    this.#letGo()
  }
}

/** Whether there is nothing of others in a file, such as the tables of a program, or of another release. */
function isAllOurs(database: DatabaseSync): boolean {
  const { application_id: application } = row<{ application_id: number }>('PRAGMA application_id')
  const { user_version: version } = row<{ user_version: number }>('PRAGMA user_version')
  if (application !== 0 || version > OLDER_VERSION) return false
  const names = database.prepare('SELECT name FROM sqlite_schema').all() as { name: string }[]
  return names.every(({ name }) => OWN_NAMES.has(name) || name.startsWith('sqlite_'))

  function row<Row>(sql: string): Row {
    return database.prepare(sql).get() as Row
  }
}

/**
 * Locks a file so that nobody else can even read it, until the database is closed; and removes the files beside
 * it. Whoever has it open keeps it from being locked, whether or not others have been told so.
 *
 * @returns whether it is locked
 */
function lockOthersOut(database: DatabaseSync): boolean {
  try {
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = MEMORY')
    return true
  } catch (error) {
    database.exec('PRAGMA locking_mode = NORMAL')
    if (resultCode(error) === SQLITE_BUSY) return false
    throw error
  }
}

/**
 * Where a path leads to, whether or not there is anything yet.
 *
 * @throws Error where it leads nowhere
 */
function withoutLinks(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ENOENT') throw error
  }
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) {
    return withoutLinks(resolve(withoutLinks(dirname(path)), readlinkSync(path)))
  }
  const folder = dirname(path)
  return folder === path ? path : join(withoutLinks(folder), basename(path))
}

/** What changes when a file is changed, or its log, without a look into them. */
function stampOf(path: string): string {
  return ['', '-wal']
    .map((suffix) => {
      const file = statSync(path + suffix, { throwIfNoEntry: false })
      return file && [file.ino, file.size, file.mtimeMs]
    })
    .join(' ')
}

/** @throws Error where there is something that is no regular file */
function refuseOtherThanFile(path: string): void {
  const there = existsSync(path) ? statSync(path) : undefined
  if (there === undefined || there.isFile()) return
  const advice = there.isDirectory() ? 'name a file in it' : 'name another path'
  throw new Error(
    `expected a regular file, or a path at which there is nothing yet, got ${kindOf(there)}: ${advice}`,
  )
}

function kindOf(file: Stats): string {
  if (file.isDirectory()) return 'a directory'
  if (file.isFIFO()) return 'a FIFO'
  return file.isSocket() ? 'a socket' : 'a device'
}

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
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

/** Whether an error means that the file can be read, but not written. */
export function isReadOnly(error: unknown): boolean {
  return resultCode(error) === SQLITE_READONLY
}
