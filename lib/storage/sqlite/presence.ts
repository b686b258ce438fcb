import { randomUUID } from 'node:crypto'
import type { DatabaseFile } from './database-file.ts'
import { begin, end, isAlive, type Opener, tellingOfLife } from './is-alive.ts'
import { isLeased, PROCESSES, RENEWAL } from './schema.ts'

/** Tells that a process has the file open. */
const INTRODUCTION = `INSERT OR REPLACE INTO ${PROCESSES} VALUES (?, ?)`

/**
 * How long after this process has told others of itself they may be about to tell it the same, in milliseconds:
 * processes that are started together do not see one another at once.
 */
const NEW = 300

/** What {@link Presence} needs of a database. */
export interface Notebook {
  query<Row>(sql: string, ...parameters: readonly unknown[]): Promise<Row[]>
  /** Writes to a file that is otherwise only read. */
  writeAnyway(sql: string, parameters: readonly unknown[]): Promise<void>
}

/** Tells other processes that this one has a file open, and finds out about them. */
export class Presence {
  /** By what this cache is told from others. */
  readonly id: string = tellingOfLife(randomUUID())
  readonly #file: DatabaseFile
  readonly #notebook: Notebook
  /** Tells others again and again that it is there. */
  #renewal: NodeJS.Timeout | undefined
  /** Which opening of the file others have been told of, although it is only read. */
  #introduced = 0
  /** When others were first told that this file is open, by the clock of `performance`. */
  #introducedAt = -Infinity
  /** Whether there are others, and when that was found, by the clock of `performance`. */
  #others = { at: -Infinity, isAny: false }

  constructor(file: DatabaseFile, notebook: Notebook) {
    this.#file = file
    this.#notebook = notebook
    begin(this.id)
  }

  /** Tells other processes that this one has the file open. A file that cannot be written has no need of it. */
  async introduce(): Promise<void> {
    if (!this.#file.isWritable) return
    const introduce = () =>
      this.#notebook.query(INTRODUCTION, this.id, process.pid).catch(() => undefined)
    this.#renewal ??= setInterval(introduce, RENEWAL).unref()
    await introduce()
    this.#introducedAt = performance.now()
  }

  /** Whether others have been told of this process only just now, so that there may be some of whom it cannot know yet. */
  get isNew(): boolean {
    return performance.now() - this.#introducedAt < NEW
  }

  /** Whether others have been told something, although the file is only read. */
  get #isIntroduced(): boolean {
    return this.#introduced === this.#file.opened
  }

  /** Does so for one that only reads, when it reads what others might remove. */
  introduceReader(): void {
    if (!this.#file.isOnlyRead || this.#isIntroduced || !this.#file.isInUse) return
    const introduce = () => {
      // What cannot be written need not be.
      this.note(INTRODUCTION, this.id, process.pid).catch(() => {})
    }
    this.#renewal ??= setInterval(introduce, RENEWAL).unref()
    introduce()
  }

  /** Writes for others what they need not know: a file that is only read is changed only if others change it, too. */
  async note(sql: string, ...parameters: readonly unknown[]): Promise<void> {
    if (!this.#file.isOnlyRead) {
      if (this.#file.isWritable) await this.#notebook.query(sql, ...parameters)
      return
    }
    if (!this.#isIntroduced && !this.#file.isInUse) return
    this.#introduced = this.#file.opened
    await this.#notebook.writeAnyway(sql, parameters)
  }

  /** Whether another process has the file open, or another cache of this one. */
  async hasOthers(): Promise<boolean> {
    const at = performance.now()
    const sql = `SELECT id, pid, ${isLeased('id')} AS isLeased FROM ${PROCESSES} WHERE id <> ?`
    const others = await this.#notebook.query<Opener>(sql, this.id)
    this.#others = { at, isAny: others.some(isAlive) }
    return this.#others.isAny
  }

  /** Whether it was found out not longer ago than `maxAge` milliseconds that there are no others. */
  isKnownToBeAlone(maxAge: number): boolean {
    return !this.#others.isAny && performance.now() - this.#others.at < maxAge
  }

  /** Tells others that it is not there any more. @param write for what is to be written before all else is over */
  async leave(
    write: (sql: string, parameters: readonly unknown[]) => Promise<unknown>,
  ): Promise<void> {
    clearInterval(this.#renewal)
    const leaving = `DELETE FROM ${PROCESSES} WHERE id = ?`
    if (this.#isIntroduced) await this.note(leaving, this.id).catch(() => {})
    if (this.#file.schema.length > 0 && this.#file.isWritable) {
      await write(leaving, [this.id]).catch(() => {})
    }
    end(this.id)
  }
}
