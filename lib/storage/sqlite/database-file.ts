import { existsSync, mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import type { Events } from '../../observe/events.ts'
import type { FileAccess } from '../byte-store.ts'
import {
  isBusy,
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
  indexOf,
  isSameFile,
  mayBeWritten,
  refuseOtherThanFile,
  refuseTooLong,
  replaceByEmpty,
  setAside,
  stampOf,
  withoutLinks,
} from './file.ts'
import { FormerConnections } from './former-connections.ts'
import { COLUMNS, OLDER_VERSION, OWN_NAMES, TABLES } from './schema.ts'
import { WalIndex } from './wal-index.ts'

/** How long SQLite itself waits for another process's lock, blocking this one, in milliseconds. */
const BUSY_TIMEOUT = 5

/** After how long it is tried again to open a file, which blocks: at first, and in the end, in milliseconds. */
const SHORTEST_PAUSE = 10

const LONGEST_PAUSE = 100

/** How long a file that has been removed stays locked for who was just opening it, in milliseconds. */
const LOCKED_OUT = 1000

/** How often it is looked at most whether the file is still where it was, in milliseconds. */
const FIND_INTERVAL = 1000

/** How often it is tried to open a file that others replace meanwhile. */
const MAX_ATTEMPTS = 3

/**
 * The file of a database, and the connection to it. A file that has been moved is found again, one that is damaged is
 * set aside, and where there can be none a database in memory stands in for it.
 */
export class DatabaseFile {
  /** As it was given, which may lead to another file one day. */
  readonly #given: string
  readonly #events: Events
  readonly #onLetGo: () => void
  /** Where the file itself is: to remove or to rename a link would leave it as it is. */
  #path: string
  /** Until there is something to be written. */
  #access: FileAccess
  /** What makes the tables, should the file have to be begun anew. */
  schema: readonly string[] = []
  #database: DatabaseSync | undefined
  /** Connections to files that have been at its path. */
  readonly former: FormerConnections = new FormerConnections()
  /** Which file it is that is open, or was to be. */
  #identity: FileIdentity | undefined
  #isWritable = true
  /** Why nothing can be written, although it is to be. */
  #unwritable: unknown
  /** What of that has been told last. */
  #told: string | undefined
  /** By what it is seen that others have changed the file after all, of which SQLite takes no notice. */
  #stamp: string | undefined
  /** By what it is seen that there may be a file to be read in the place of an empty database in memory. */
  #standIn: string | undefined
  #walIndex: WalIndex | undefined
  /** The file of the wal-index, once there is one. */
  #indexFile: FileIdentity | undefined
  /** How often it has been opened. */
  #opened = 0
  /** Why it cannot be opened, and until when it is not tried again, by the clock of `performance`. */
  #failure: { readonly error: unknown; readonly until: number; readonly pause: number } | undefined
  /** When it was last looked whether it is where it was, by the clock of `performance`. */
  #foundAt = -Infinity
  /** When it was last looked whether it may be written after all, by the same clock. */
  #triedAt = -Infinity
  #isClosed = false

  /**
   * @param onLetGo called when the connection ends: nothing that was made for it is of use any more
   * @throws Error where there can be no such file
   */
  constructor(path: string, events: Events, access: FileAccess, onLetGo: () => void) {
    this.#given = this.#path = path
    this.#events = events
    this.#access = access
    this.#onLetGo = onLetGo
    if (path !== ':memory:') refuseOtherThanFile(path)
    try {
      this.open()
    } catch (error) {
      // A lock passes, and so may what ails the disk; the next call opens the file.
      if (!this.#mayPass(error)) throw error
      // Who waits for a lock in vain will say so.
      if (!isBusy(error)) events.error('open', error)
    }
  }

  get path(): string {
    return this.#path
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** Whether it is open, and changes can be made to it. */
  get isWritable(): boolean {
    return this.#isWritable
  }

  /** Why nothing can be written, although it is to be; undefined where that is not so. */
  get unwritable(): unknown {
    return this.#unwritable
  }

  /** Whether a database in memory is used in its place. */
  get isStoodInFor(): boolean {
    return this.#standIn !== undefined
  }

  /** Whether it is read without locks, so that what somebody is just writing is seen. */
  get isReadWithoutLocks(): boolean {
    return this.#stamp !== undefined
  }

  /** How often it has been opened. */
  get opened(): number {
    return this.#opened
  }

  /** The connection: a new one where there is none, or where it is of no use any more. @throws where it cannot be opened */
  get connection(): DatabaseSync {
    // Somebody else may have made the file meanwhile, or mended it.
    if (this.#standIn !== undefined && this.#standIn !== stampOf(this.#given)) this.findAnew()
    if (this.#stamp !== undefined && this.#stamp !== stampOf(this.#path)) this.#leave()
    return this.#database ?? this.open()
  }

  /** The same as it is; undefined where it is not open. */
  get openConnection(): DatabaseSync | undefined {
    return this.#database
  }

  /** What tells at once that nothing has been committed; undefined where nothing does. */
  get walIndex(): WalIndex | undefined {
    return this.#walIndex
  }

  /** Looks for the wal-index of a file that was new when it was opened. @returns whether it has been found */
  findWalIndex(): boolean {
    this.#indexFile = identityOf(indexOf(this.#path))
    if (this.#walIndex || !this.#database || !this.#identity || this.isStoodInFor) return false
    this.#walIndex = WalIndex.of(this.#path)
    return this.#walIndex !== undefined
  }

  close(): void {
    this.letGo()
    this.former.close()
  }

  /** It is not opened any more, from now on. */
  markClosed(): void {
    this.#isClosed = true
  }

  /** From now on it is opened to be written. */
  beginWriting(): void {
    this.#access = 'write'
    this.findAnew()
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

  /** Whether the file is left as it is: until {@link beginWriting}. */
  get isOnlyRead(): boolean {
    return this.#access !== 'write'
  }

  /** Lets the file be opened anew, whether or not that has failed just now. */
  findAnew(): void {
    this.#leave()
    this.#failure = undefined
  }

  /** As {@link letGo}, but what is being read from a file that has been moved is read to its end. */
  #leave(): void {
    const database = this.#database
    if (database && !this.isStoodInFor && this.isMissing) {
      this.#database = undefined
      this.former.keep(database, this.#indexFile)
    }
    this.letGo()
  }

  /** Lets the file be opened anew, wherever its path leads by then. */
  letGo(): void {
    this.#onLetGo()
    this.#database?.close()
    this.#database = this.#stamp = this.#standIn = this.#unwritable = undefined
    this.#walIndex?.close()
    this.#walIndex = undefined
  }

  /**
   * Begins anew where the file has been removed, or another one is in its place: what others write would not be
   * seen, nor by them what is written.
   */
  find(): void {
    const now = performance.now()
    if (now - this.#foundAt < FIND_INTERVAL) return
    this.#foundAt = now
    // What stands in for the file sees by itself when there is another one.
    if (this.#isClosed || !this.#database || this.isStoodInFor || !this.isMissing) return
    // Another file may have other tables.
    this.schema = []
    this.findAnew()
    this.#events.error(
      'open',
      new Error(`the cache file ${this.#given} was removed or replaced; it is opened anew`),
    )
  }

  /** As {@link find}, for what writes: also where the file could not be written, but may be by now. */
  findToWrite(): void {
    this.find()
    const now = performance.now()
    if (this.#unwritable === undefined || now - this.#triedAt < FIND_INTERVAL) return
    this.#triedAt = now
    if (this.#isClosed || !mayBeWritten(this.#path)) return
    this.schema = []
    this.findAnew()
  }

  /** Whether the file that is open is where it was, by whatever links. */
  get isThere(): boolean {
    return isSameFile(identityOf(this.#given), this.#identity)
  }

  /** Whether it was there, and is not any more. */
  get isMissing(): boolean {
    return this.#identity !== undefined && !this.isThere
  }

  /** Whether there is nothing of others in it. */
  get isAllOurs(): boolean {
    return isAllOurs(this.#database ?? this.open())
  }

  /** Whether nothing can be written for lack of space, or for something else that may pass. */
  get isFull(): boolean {
    return this.#unwritable !== undefined && this.#mayPass(this.#unwritable)
  }

  /**
   * Begins a new file in its place, if nobody else has it open or has anything in it.
   *
   * @param mayBegin asked at the last moment, when all that has been written is lost if it is so
   * @returns whether there is a new one
   */
  replace(mayBegin: () => boolean): boolean {
    if (this.isFull) {
      // A connection that has the file for itself from the beginning makes nothing beside it.
      this.letGo()
      this.#database = this.#connect(this.#path, {})
    }
    const database = this.#database ?? this.open()
    let isRemoved = false
    try {
      isRemoved = this.#isRemoved(database, mayBegin)
    } finally {
      // What has been removed stays locked.
      if (isRemoved) this.#database = undefined
      this.letGo()
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
    if (!this.isThere) {
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

  /** Opens the file, or fails as it did a moment ago: whoever asks for it tries again and again. */
  open(): DatabaseSync {
    if (this.#isClosed) throw new Error('the store is closed')
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
      if (isNoDatabase(error)) return this.startAnew(error, attempts - 1)
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
      if (!mayRead || (isOfDisk(error) && this.isInUse)) throw error
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
      if (!isOfDisk(error) || this.isInUse) throw error
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
    this.letGo()
    return this.#standInFor(reason)
  }

  /** Begins with nothing, in memory, for as long as the file stays as it is. */
  #standInFor(reason: unknown): DatabaseSync {
    const standIn = stampOf(this.#given)
    const database = this.#use(':memory:', {})
    if (!existsSync(this.#path)) this.#identity = undefined
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
    if (isFile) {
      this.#identity = file
      this.former.closeThoseWith(identityOf(indexOf(this.#path)))
    }
    let database: DatabaseSync | undefined
    try {
      database = this.#connect(path, options)
      refuseForeignTables(database, this.#path)
      if (isOther()) throw new MovedError(this.#path)
      for (const statement of pragmas) database.exec(statement)
      if (!this.isOnlyRead && this.schema.length > 0) {
        database.exec(['BEGIN IMMEDIATE', ...this.schema, 'COMMIT'].join(';'))
      }
    } catch (error) {
      database?.close()
      throw isOther() ? new MovedError(this.#path, error) : error
    }
    this.#database = database
    this.#walIndex = isFile ? WalIndex.of(this.#path) : undefined
    this.#indexFile = identityOf(indexOf(this.#path))
    this.#opened += 1
    return database
  }

  /** Goes on with a new file in the place of one that is damaged; without any where it cannot be set aside. */
  startAnew(error: unknown, attempts: number = MAX_ATTEMPTS): DatabaseSync {
    this.letGo()
    if (attempts > 0 && this.#isSetAside(error)) return this.#openSomehow(attempts)
    const how = this.isOnlyRead ? '' : ' and cannot be set aside'
    const message = `the cache file ${this.#path} is damaged${how}; nothing is stored or found there`
    return this.#standInFor(new Error(message, { cause: error }))
  }

  /** Sets a damaged file aside, unless another process has done so already. @returns whether that could be done */
  #isSetAside(error: unknown): boolean {
    if (this.isOnlyRead) return false
    try {
      const aside = setAside(this.#path, this.#identity)
      if (aside === undefined) return true
      const message = `the cache file ${this.#path} is damaged; set aside as ${aside}`
      this.#events.error('open', new Error(message, { cause: error }))
      return true
    } catch (failure) {
      if (isPassing(failure)) throw failure
      return false
    }
  }

  /** Whether somebody writes to the file: as it is when nobody does, it stays under those who only read. */
  get isInUse(): boolean {
    return (statSync(`${this.#path}-wal`, { throwIfNoEntry: false })?.size ?? 0) > 0
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
