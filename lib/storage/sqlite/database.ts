import type { StatementSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import type { Awaitable } from '../../awaitable.ts'
import type { Events } from '../../observe/events.ts'
import type { FileAccess } from '../byte-store.ts'
import { DatabaseFile } from './database-file.ts'
import { isBusy, isCutOff, isMissing, isNoDatabase } from './errors.ts'
import { type Inspection, inspect } from './inspect.ts'
import { inspectFile } from './inspect-file.ts'
import { Presence } from './presence.ts'
import { CHANGES, OWN_NAMES, TABLES } from './schema.ts'
import { WriteQueue } from './write-queue.ts'
import { Writer } from './writer.ts'
import { type Run, transact, type Write } from './writes.ts'

/** How long a call waits for another process's lock in all, in milliseconds: less than a store may take. */
const READ_PATIENCE = 300
const WRITE_PATIENCE = 2000

/** How much is written until that is left to a thread of its own, in bytes: short programs need none. */
const MUCH = 2 ** 20

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

/** An SQLite database on `node:sqlite`: the driver under the adapter. */
export class SqliteDatabase {
  readonly #file: DatabaseFile
  /** Who else has the file open. */
  readonly presence: Presence
  readonly #statements = new Map<string, StatementSync>()
  readonly #writes = new WriteQueue(
    (sql, parameters) => this.#run(sql, parameters),
    (error, isLate) => this.#mayTryAgain(error, isLate),
  )
  /** What {@link version} told last; `NaN` where that does not count any more. */
  #version = Number.NaN
  /** Which version of the file was found to be which version but for what this process's thread has written. */
  #foreign: { readonly dataVersion: number; readonly version: number } | undefined
  /** How often versions have been counted otherwise. */
  #counted = 0
  /** How many bytes have been written. */
  #written = 0
  #mayHaveThread = true
  /** How many are about to begin a new file. */
  #beginning = 0

  /** @throws Error where there can be no such file */
  constructor(path: string, events: Events, access: FileAccess) {
    this.#file = new DatabaseFile(path, events, access, () => this.#onLetGo())
    this.presence = new Presence(this.#file, {
      query: (sql, ...parameters) => this.query(sql, ...parameters),
      writeAnyway: (sql, parameters) => this.#writeAnyway(sql, parameters),
    })
  }

  /** What was made for a connection is of no use without it. */
  #onLetGo(): void {
    this.#writes.writer?.stop()
    this.#writes.writer = undefined
    this.#statements.clear()
    this.#version = Number.NaN
  }

  /** Whether the tables have been made. */
  get isReady(): boolean {
    return this.#file.schema.length > 0 && !this.#file.isClosed
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

  /** What is at a key of the adapter's in files that have been in the place of this one, and are still being read. */
  getFormer(table: Table, key: string): Buffer | undefined {
    const value = this.#file.former.get(READ[table], key)?.value
    return value instanceof Uint8Array ? asBuffer(value) : undefined
  }

  /** The columns of the first row, if there is one: as an array they take less time than as an object. */
  #firstRow(sql: string, key: string): readonly [value?: unknown, expires?: number | null] {
    const statement = this.#statement(sql, true)
    return (statement.get(key) ?? []) as unknown as [unknown, number | null]
  }

  /** Whether the file is left as it is: until {@link beginWriting}. */
  get isOnlyRead(): boolean {
    return this.#file.isOnlyRead
  }

  /** Whether what is to be written can be. */
  get isWritable(): boolean {
    return this.#file.unwritable === undefined
  }

  /** Opens the file anew if it was only read. @returns whether it was */
  beginWriting(): boolean {
    if (!this.isOnlyRead) return false
    this.#file.beginWriting()
    return true
  }

  /** Begins anew where the file has been removed or replaced. It is looked now and then, however often this is called. */
  findFile(): void {
    this.#file.find()
  }

  /** As {@link findFile}, and where the file could not be written but may be by now. */
  findFileToWrite(): void {
    this.#file.findToWrite()
  }

  /** Runs a statement: rows of a query, none for others. Another process's lock is waited for without blocking. */
  async query<Row = unknown>(sql: string, ...parameters: readonly unknown[]): Promise<Row[]> {
    if (/^\s*(INSERT|DELETE|UPDATE|PRAGMA incremental_vacuum)/.test(sql)) {
      const { isClosed, unwritable } = this.#file
      if (isClosed) throw new Error('the store is closed')
      this.#count(parameters)
      if (unwritable !== undefined) throw unwritable
      return this.#writes.write(sql, parameters, WRITE_PATIENCE) as Promise<Row[]>
    }
    return this.#patiently(READ_PATIENCE, () => this.#run(sql, parameters) as Row[])
  }

  /**
   * Makes changes at once, after all that wait for it, without giving anything else a chance: the process exits.
   *
   * @param changes of which the first returns a row where the others are to be made as well
   * @throws where they cannot be made, or are not to be
   */
  finish([first, ...others]: readonly [Write, ...Write[]]): void {
    this.#writes.finish()
    const run: Run = (sql, parameters) => {
      const rows = this.#run(sql, parameters)
      if (sql === first.sql && rows.length === 0) throw new Error('something is there already')
      return rows
    }
    transact(run, [first, ...others], Infinity)
  }

  /** Makes a change at once. @returns the rows that it returns; undefined where it cannot be made now */
  attempt(sql: string, ...parameters: readonly unknown[]): unknown[] | undefined {
    if (this.isClosed || !this.isWritable) return undefined
    try {
      return this.#run(sql, parameters)
    } catch {
      return undefined
    }
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

  /** Leaves the writing to a thread from the moment on at which it is worth while. */
  #count(parameters: readonly unknown[]): void {
    for (const value of parameters) if (value instanceof Uint8Array) this.#written += value.length
    if (this.#written < MUCH || this.#writes.writer || !this.isReady) return
    const { path, isWritable } = this.#file
    if (!isWritable || !this.#mayHaveThread || this.#beginning > 0) return
    try {
      this.#writes.writer = new Writer(path, WRITE_PATIENCE, COUNTER, () => this.#countAnew())
    } catch {
      // Where there may be no threads, there are none.
      this.#mayHaveThread = false
    }
  }

  /** From now on versions are counted otherwise, and none from before means the same. */
  #countAnew(): void {
    this.#counted += 1
    this.#foreign = undefined
    this.#version = Number.NaN
  }

  /** Whether what failed may succeed before long: damage is mended, and locks pass. */
  #mayTryAgain(error: unknown, isLate: boolean): boolean {
    if (isLate) return false
    const file = this.#file
    if (file.isOnlyRead && file.isMissing) {
      file.findAnew()
      return true
    }
    // Who reads without locks sees what somebody is just writing.
    const isDamage = !file.isOnlyRead && !file.isReadWithoutLocks && this.#isDamage(error)
    if (isDamage) {
      // What made the tables is damaged as well: who wants them has to make them.
      if (this.#isSchemaDamage(error)) file.schema = []
      try {
        file.startAnew(error)
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
    const { isWritable, schema } = this.#file
    return isWritable && schema.length > 0 && isMissing(error)
  }

  async #writeAnyway(sql: string, parameters: readonly unknown[]): Promise<void> {
    await this.#patiently(WRITE_PATIENCE, () => {
      const { openConnection } = this.#file
      openConnection?.exec('PRAGMA query_only = OFF')
      try {
        this.#run(sql, parameters)
      } finally {
        openConnection?.exec('PRAGMA query_only = ON')
      }
    })
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
    const { isWritable, isStoodInFor, isFull } = this.#file
    const mayRemove = isWritable || (!isStoodInFor && isFull)
    if (!mayRemove || (await this.presence.hasOthers())) return false
    if (!this.#file.isAllOurs) return false
    const { writer } = this.#writes
    // A thread that began now could have the file open that is removed.
    this.#beginning += 1
    this.#writes.writer = undefined
    try {
      await writer?.close()
      return this.#file.replace(mayBegin)
    } finally {
      this.#beginning -= 1
    }
  }

  /** Notes what the tables are like that there are now, whoever has made them. */
  async learnSchema(): Promise<void> {
    const sql = `SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type = 'table' DESC`
    const rows = await this.query<{ name: string; sql: string }>(sql)
    this.#file.schema = rows
      // Of what others have in the file nothing is made anew.
      .filter(({ name }) => OWN_NAMES.has(name))
      .map(({ sql }) => sql.replace(/^CREATE (?:UNIQUE )?\w+ /, '$&IF NOT EXISTS '))
    // What was committed before it was found cannot be seen by it.
    if (this.#file.findWalIndex()) this.#version = Number.NaN
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
    const { connection } = this.#file
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = connection.prepare(sql)
      if (isInArrays) statement.setReturnArrays(true)
      if (this.#statements.size >= MAX_STATEMENTS) this.#statements.clear()
      this.#statements.set(sql, statement)
    }
    return statement
  }

  /**
   * A number that changes whenever another connection has changed the file, and never comes back. Where
   * it cannot be told, no two are the same.
   */
  version(): number {
    try {
      this.#file.find()
      if (this.#file.openConnection === undefined) this.#file.open()
      // Looked at before SQLite is asked: what is committed in between is seen the next time.
      const mayHaveChanged = this.#file.walIndex?.hasChanged() ?? true
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
    const epoch = (this.#file.opened + this.#counted) * 2 ** 32
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
    const { path, unwritable, isStoodInFor } = this.#file
    const isDamaged = isNoDatabase((unwritable as Error | undefined)?.cause)
    if (path === ':memory:' || (isStoodInFor && !isDamaged)) {
      return inspect((sql, ...parameters) => this.#run(sql, parameters) as never, now)
    }
    return inspectFile(path, now)
  }

  /** Sets the file aside, and begins a new one. @throws Error where that cannot be done */
  replace(reason: string): void {
    this.#file.startAnew(new Error(reason))
    const { unwritable } = this.#file
    if (unwritable !== undefined) throw unwritable
  }

  get isClosed(): boolean {
    return this.#file.isClosed
  }

  async close(): Promise<void> {
    if (this.isClosed) return
    await this.presence.leave((sql, parameters) => this.#writes.write(sql, parameters, 0))
    this.#file.markClosed()
    this.#writes.close(new Error('the store is closed'))
    await this.#writes.writer?.close()
    this.#file.close()
  }
}

function asBuffer({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength)
}
