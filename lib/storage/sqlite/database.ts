import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import type { Awaitable } from '../../awaitable.ts'
import type { Events } from '../../observe/events.ts'
import type { FileAccess } from '../byte-store.ts'
import {
  isBusy,
  isCutOff,
  isMissing,
  isMoved,
  isNoDatabase,
  isOfDisk,
  isPassing,
  isReadOnly,
  isUnopenable,
  MovedError,
} from './errors.ts'
import {
  addressOf,
  createPrivately,
  type FileIdentity,
  identityOf,
  isSameFile,
  mayBeWritten,
  refuseOtherThanFile,
  refuseTooLong,
  replaceByEmpty,
  setAside,
  stampOf,
  withoutLinks,
} from './file.ts'
import { type Inspection, inspect } from './inspect.ts'
import { inspectFile } from './inspect-file.ts'
import { begin, end, isAlive, type Opener, tellingOfLife } from './is-alive.ts'
import {
  CHANGES,
  COLUMNS,
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

/** How often it is tried to open a file that others replace meanwhile. */
const MAX_ATTEMPTS = 3

/** How many prepared statements are kept. */
const MAX_STATEMENTS = 64

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
  /** Which file it is that is open, or was to be. */
  #file: FileIdentity | undefined
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
  /** Until there is something to be written. */
  #access: FileAccess
  /** By what it is seen that others have changed the file after all, of which SQLite takes no notice. */
  #stamp: string | undefined
  /** Why nothing can be written, although it is to be. */
  #unwritable: unknown
  /** What of that has been told last. */
  #told: string | undefined
  /** By what it is seen that there may be a file to be read in the place of an empty database in memory. */
  #standIn: string | undefined

  constructor(path: string, events: Events, access: FileAccess) {
    this.#given = this.#path = path
    this.#events = events
    this.#access = access
    if (path !== ':memory:') refuseOtherThanFile(path)
    try {
      this.#open()
    } catch (error) {
      // A lock passes, and so may what ails the disk; the next call opens the file.
      if (!this.#mayPass(error)) throw error
      // Who waits for a lock in vain will say so.
      if (!isBusy(error)) events.error('open', error)
    }
    begin(this.id)
  }

  #mayPass(error: unknown): boolean {
    // SQLite does not tell that there are too many files, but that the file itself may be opened is known.
    return isPassing(error) || (isUnopenable(error) && mayBeWritten(this.#path))
  }

  /** Finds out where the file is, and makes its folder if there is to be one. */
  #resolve(): void {
    if (this.#given === ':memory:') return
    try {
      this.#path = withoutLinks(this.#given)
      refuseTooLong(this.#path)
      if (!this.isOnlyRead) mkdirSync(dirname(this.#path), { recursive: true })
    } catch (error) {
      // Where nothing can be, there is nothing to be read.
      if (!this.isOnlyRead) throw error
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
    isLasting: boolean = this.isOnlyRead,
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
    return this.#access !== 'write'
  }

  /** Whether what is to be written can be. */
  get isWritable(): boolean {
    return this.#unwritable === undefined
  }

  /** Opens the file anew if it was only read. @returns whether it was */
  beginWriting(): boolean {
    if (!this.isOnlyRead) return false
    this.#access = 'write'
    this.#findAnew()
    return true
  }

  /** Lets the file be opened anew, whether or not that has failed just now. */
  #findAnew(): void {
    this.#letGo()
    this.#failure = undefined
  }

  /** Lets the file be opened anew, wherever its path leads by then. */
  #letGo(): void {
    this.#writes.writer?.stop()
    this.#writes.writer = undefined
    this.#statements.clear()
    this.#database?.close()
    this.#database = this.#stamp = this.#standIn = this.#unwritable = undefined
    this.#walIndex?.close()
    this.#walIndex = undefined
    this.#version = Number.NaN
  }

  /** Runs a statement: rows of a query, none for others. Another process's lock is waited for without blocking. */
  async query<Row = unknown>(sql: string, ...parameters: readonly unknown[]): Promise<Row[]> {
    if (/^\s*(INSERT|DELETE|UPDATE|PRAGMA incremental_vacuum)/.test(sql)) {
      if (this.#closed) throw new Error('the store is closed')
      this.#count(parameters)
      if (this.#unwritable !== undefined) throw this.#unwritable
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

  /**
   * Begins anew where the file has been removed, or another one is in its place: nobody else would see what is
   * written; and where it could not be written, but may be by now.
   */
  findFile(): void {
    const now = performance.now()
    if (this.#closed || this.isOnlyRead || now - this.#foundAt < FIND_INTERVAL) return
    if (this.#unwritable === undefined && !(this.#file && this.#isWritable)) return
    this.#foundAt = now
    const wasRefused = this.#unwritable !== undefined
    if (wasRefused ? !mayBeWritten(this.#path) : this.#isThere()) return
    // Another file may have other tables.
    this.#schema = []
    this.#findAnew()
    if (wasRefused) return
    this.#open()
    this.#events.error(
      'open',
      new Error(`the cache file ${this.#given} was removed or replaced; it is opened anew`),
    )
  }

  /** Whether the file that is open is where it was, by whatever links. */
  #isThere(): boolean {
    return isSameFile(identityOf(this.#given), this.#file)
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
    if (this.isOnlyRead && this.#file && !this.#isThere()) {
      this.#findAnew()
      return true
    }
    // Who reads without locks sees what somebody is just writing.
    const isDamage = !this.isOnlyRead && this.#stamp === undefined && this.#isDamage(error)
    if (isDamage) {
      // What made the tables is damaged as well: who wants them has to make them.
      if (this.#isSchemaDamage(error)) this.#schema = []
      try {
        this.#startAnew(error)
      } catch {
        // The next attempt opens it, or tells why that cannot be.
      }
    }
    return isDamage || isBusy(error)
  }

  #isDamage(error: unknown): boolean {
    return isNoDatabase(error) || isCutOff(error) || this.#isSchemaDamage(error)
  }

  /** Whether what was there is not any more, or has another name: the file is damaged where its schema is. */
  #isSchemaDamage(error: unknown): boolean {
    return this.#isWritable && this.#schema.length > 0 && isMissing(error)
  }

  /** Tells other processes that this one has the file open. A file that cannot be written has no need of it. */
  async introduce(): Promise<void> {
    if (!this.#isWritable) return
    this.#renewal ??= setInterval(() => void this.introduce(), RENEWAL).unref()
    await this.query(INTRODUCTION, this.id, process.pid).catch(() => {})
  }

  /** Does so for one that only reads, when it reads what others might remove. */
  introduceReader(): void {
    if (!this.isOnlyRead || this.#isIntroduced || !this.#isInUse()) return
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
    if (!this.isOnlyRead) {
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
    // What cannot be written for lack of space can still be removed, which gives some back.
    const mayRemove = this.#isWritable || (this.#standIn === undefined && this.#isFull)
    if (!mayRemove || (await this.hasOthers())) return false
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

  get #isFull(): boolean {
    return this.#unwritable !== undefined && this.#mayPass(this.#unwritable)
  }

  #replaceFile(mayBegin: () => boolean): boolean {
    if (this.#isFull) {
      // A connection that has the file for itself from the beginning makes nothing beside it.
      this.#letGo()
      this.#database = this.#connect(this.#path, {})
    }
    const database = this.#database ?? this.#open()
    let isRemoved = false
    try {
      isRemoved = this.#isRemoved(database, mayBegin)
    } finally {
      // What has been removed stays locked.
      if (isRemoved) this.#database = undefined
      this.#letGo()
    }
    if (!isRemoved) return false
    try {
      this.#openFile()
    } catch (error) {
      // The space of what was removed is free only then. The next call makes the new file.
      database.close()
      if (!this.#mayPass(error)) throw error
    }
    // Who was just opening what has been removed would go on to the log of the new file, were it not locked.
    setTimeout(() => database.isOpen && database.close(), LOCKED_OUT).unref()
    return true
  }

  /** Removes the file, and leaves an empty one in its place, if nobody needs it. @returns whether that was so */
  #isRemoved(database: DatabaseSync, mayBegin: () => boolean): boolean {
    if (!this.#isThere()) {
      // Another one is in its place, which the next call opens.
      this.#foundAt = -Infinity
      return false
    }
    const { mode, nlink } = statSync(this.#path)
    // By another name, what is removed would still be there.
    if (nlink > 1 || !lockOthersOut(database)) return false
    // Somebody may have put something there just before.
    if (!isAllOurs(database) || !mayBegin()) return false
    replaceByEmpty(this.#path, mode)
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
    // A file that was new when it was opened has one by now.
    if (this.#database && this.#file && this.#standIn === undefined) {
      this.#walIndex ??= WalIndex.of(this.#path)
    }
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
    // Somebody else may have made the file meanwhile, or mended it.
    if (this.#standIn !== undefined && this.#standIn !== stampOf(this.#given)) this.#findAnew()
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
      this.#resolve()
      const database = this.#openSomehow(MAX_ATTEMPTS)
      this.#failure = undefined
      return database
    } catch (error) {
      const next = Math.min(2 * pause, LONGEST_PAUSE)
      this.#failure = { error, until: performance.now() + next, pause: next }
      throw error
    }
  }

  #openSomehow(attempts: number): DatabaseSync {
    try {
      return this.isOnlyRead ? this.#openUntouched() : this.#openToWrite()
    } catch (error) {
      // What is replayed is all that there is to answer from.
      if (this.#access === 'replay') throw error
      if (error instanceof ForeignTableError) return this.#standInFor(error)
      if (isNoDatabase(error)) return this.#startAnew(error, attempts - 1)
      if (isMoved(error) && attempts > 1) return this.#openSomehow(attempts - 1)
      throw error
    }
  }

  /** Opens the file to write it; only to read it where that is all that can be done. */
  #openToWrite(): DatabaseSync {
    try {
      const database = this.#openFile()
      this.#told = undefined
      return database
    } catch (error) {
      if (isMoved(error) || !existsSync(this.#path)) throw error
      // Where there is no space for the index of a log, what is in that cannot be seen.
      const mayRead = isReadOnly(error) || isUnopenable(error) || isOfDisk(error)
      if (!mayRead || (isOfDisk(error) && this.#isInUse())) throw error
      const database = this.#openUnwritable(error)
      this.#cannotWrite(error)
      return database
    }
  }

  #openUnwritable(reason: unknown): DatabaseSync {
    try {
      return this.#openReadOnly(reason)
    } catch (error) {
      // What looks damaged may be what somebody is just writing.
      throw isNoDatabase(error) && this.#mayPass(reason) ? reason : error
    }
  }

  /** Whatever is to be written from now on fails as it has to. */
  #cannotWrite(error: unknown): void {
    this.#unwritable = error
    const told = (error as Error).message
    if (told !== this.#told) this.#events.error('open', error)
    this.#told = told
  }

  #openFile(): DatabaseSync {
    if (this.#path === ':memory:') return this.#use(this.#path, {})
    createPrivately(this.#path)
    return this.#use(this.#path, {}, [
      // It has an effect only before the first table is made, and else would only wait for those who write.
      ...(statSync(this.#path).size === 0 ? ['PRAGMA auto_vacuum = INCREMENTAL'] : []),
      'PRAGMA journal_mode = WAL',
      'PRAGMA synchronous = NORMAL',
    ])
  }

  /** Opens the file so that not one byte of it is changed. */
  #openUntouched(): DatabaseSync {
    if (!existsSync(this.#path)) return this.#standInFor(undefined)
    // One who may write can also look after the files that SQLite needs beside this one.
    if (!mayBeWritten(this.#path)) return this.#openReadOnly(undefined)
    try {
      return this.#whereTables(this.#use(this.#path, {}, ['PRAGMA query_only = ON']), undefined)
    } catch (error) {
      if (!isOfDisk(error) || this.#isInUse()) throw error
      return this.#openReadOnly(undefined)
    }
  }

  /**
   * Where the folder cannot be written either, SQLite insists on being told that nobody changes the file: who does
   * so is seen by its {@link stampOf stamp}.
   *
   * @param reason why it is not written; undefined where it is not to be
   */
  #openReadOnly(reason: unknown): DatabaseSync {
    try {
      return this.#whereTables(this.#use(this.#path, { readOnly: true }), reason)
    } catch (error) {
      if (error instanceof ForeignTableError || isNoDatabase(error)) throw error
      const stamp = stampOf(this.#path)
      const database = this.#use(addressOf(this.#path, 'immutable=1'), { readOnly: true })
      this.#stamp = stamp
      return this.#whereTables(database, reason)
    }
  }

  /** A file in which there is nothing of ours, and in which nothing can be made, is as good as none. */
  #whereTables(database: DatabaseSync, reason: unknown): DatabaseSync {
    if (hasTables(database)) return database
    this.#letGo()
    return this.#standInFor(reason)
  }

  /** Begins with nothing, in memory, for as long as the file stays as it is. */
  #standInFor(reason: unknown): DatabaseSync {
    const standIn = stampOf(this.#given)
    const database = this.#use(':memory:', {})
    if (!existsSync(this.#path)) this.#file = undefined
    this.#standIn = standIn
    if (reason !== undefined) this.#cannotWrite(reason)
    return database
  }

  #connect(path: string | URL, options: object): DatabaseSync {
    const { DatabaseSync } = process.getBuiltinModule('node:sqlite')
    const mayMake = path === this.#path && path !== ':memory:' && !('readOnly' in options)
    // What is not there any more is not to be made by SQLite, which asks nobody.
    const existing = mayMake ? addressOf(this.#path, 'mode=rw') : path
    return new DatabaseSync(existing, { timeout: BUSY_TIMEOUT, ...options })
  }

  #use(path: string | URL, options: object, pragmas: readonly string[] = []): DatabaseSync {
    const isFile = path !== ':memory:'
    const file = isFile ? identityOf(this.#path) : undefined
    // As long as nothing has been read, SQLite would go on to the log of whatever is at the path by then.
    const isOther = () => isFile && !isSameFile(identityOf(this.#path), file)
    this.#isWritable = isFile && !this.isOnlyRead && !('readOnly' in options)
    if (isFile) this.#file = file
    let database: DatabaseSync | undefined
    try {
      database = this.#connect(path, options)
      refuseForeignTables(database, this.#path)
      if (isOther()) throw new MovedError(this.#path)
      for (const statement of pragmas) database.exec(statement)
      if (!this.isOnlyRead && this.#schema.length > 0) {
        database.exec(['BEGIN IMMEDIATE', ...this.#schema, 'COMMIT'].join(';'))
      }
    } catch (error) {
      database?.close()
      throw isOther() ? new MovedError(this.#path, error) : error
    }
    this.#database = database
    this.#walIndex = isFile ? WalIndex.of(this.#path) : undefined
    this.#opened += 1
    return database
  }

  /** Goes on with a new file in the place of one that is damaged; without any where it cannot be set aside. */
  #startAnew(error: unknown, attempts = MAX_ATTEMPTS): DatabaseSync {
    this.#letGo()
    if (attempts > 0 && this.#isSetAside(error)) return this.#openSomehow(attempts)
    const how = this.isOnlyRead ? '' : ' and cannot be set aside'
    const message = `the cache file ${this.#path} is damaged${how}; nothing is stored or found there`
    return this.#standInFor(new Error(message, { cause: error }))
  }

  /** Sets a damaged file aside, unless another process has done so already. @returns whether that could be done */
  #isSetAside(error: unknown): boolean {
    if (this.isOnlyRead) return false
    try {
      const aside = setAside(this.#path, this.#file)
      if (aside === undefined) return true
      const message = `the cache file ${this.#path} is damaged; set aside as ${aside}`
      this.#events.error('open', new Error(message, { cause: error }))
      return true
    } catch (failure) {
      if (isPassing(failure)) throw failure
      return false
    }
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
    const isDamaged = isNoDatabase((this.#unwritable as Error | undefined)?.cause)
    if (this.#path === ':memory:' || (this.#standIn !== undefined && !isDamaged)) {
      return inspect((sql, ...parameters) => this.#run(sql, parameters) as never, now)
    }
    return inspectFile(this.#path, now)
  }

  /** Sets the file aside, and begins a new one. @throws Error where that cannot be done */
  replace(reason: string): void {
    this.#startAnew(new Error(reason))
    if (this.#unwritable !== undefined) throw this.#unwritable
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

/** Thrown where a table of another program has a name of ours. */
class ForeignTableError extends Error {
  override name = 'ForeignTableError'
}

/** Whether the tables of the adapter are there. */
function hasTables(database: DatabaseSync): boolean {
  const names = Object.values(TABLES)
  const sql = `SELECT count(*) AS number FROM sqlite_schema WHERE name IN (${names.map(() => '?')})`
  return database.prepare(sql).get(...names)?.number === names.length
}

/**
 * Looks whether what has our names is ours, before anything is made or taken for damaged.
 *
 * @throws ForeignTableError where it is not
 */
function refuseForeignTables(database: DatabaseSync, path: string): void {
  // Nobody else has both: what is wrong with their columns is damage.
  if (hasTables(database)) return
  for (const [table, columns] of Object.entries(COLUMNS)) {
    const rows = database.prepare('SELECT name FROM pragma_table_info(?)').all(table)
    const names = new Set(rows.map(({ name }) => name))
    if (names.size === 0 || columns.every((column) => names.has(column))) continue
    throw new ForeignTableError(
      `the table ${table} in ${path} is of another program: nothing is stored or found there`,
    )
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
    if (isBusy(error)) return false
    throw error
  }
}

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}
