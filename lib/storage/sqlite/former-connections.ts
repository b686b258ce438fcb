import type { DatabaseSync } from 'node:sqlite'
import { type FileIdentity, isSameFile } from './file.ts'

/** How long a file stays open from which nothing is read any more, in milliseconds. */
const KEPT = 30_000

interface Former {
  /** Its wal-index; undefined where that is not known. */
  readonly index: FileIdentity | undefined
  /** Closes the connection. */
  readonly timer: NodeJS.Timeout
}

/** Connections to files that are not at their path any more: what is being read from them is read to its end. */
export class FormerConnections {
  readonly #all = new Map<DatabaseSync, Former>()

  /** @param index the wal-index of the file; undefined where that is not known */
  keep(database: DatabaseSync, index: FileIdentity | undefined): void {
    clearTimeout(this.#all.get(database)?.timer)
    const timer = setTimeout(() => this.#close(database), KEPT).unref()
    this.#all.set(database, { index, timer })
  }

  /** The first row that one of them has for a query; undefined where none has any. */
  get(sql: string, key: string): Readonly<Record<string, unknown>> | undefined {
    for (const [database, { index }] of this.#all) {
      const row = rowOf(database, sql, key)
      if (row === undefined) continue
      this.keep(database, index)
      return row
    }
    return undefined
  }

  /**
   * Closes those that may use the wal-index of a file that is about to be opened, because it was left behind: to
   * close it later would take away all locks that this process has on it.
   */
  closeThoseWith(index: FileIdentity | undefined): void {
    if (index === undefined) return
    for (const [database, { index: own }] of this.#all) {
      if (own === undefined || isSameFile(own, index)) this.#close(database)
    }
  }

  close(): void {
    for (const database of this.#all.keys()) this.#close(database)
  }

  #close(database: DatabaseSync): void {
    clearTimeout(this.#all.get(database)?.timer)
    this.#all.delete(database)
    database.close()
  }
}

function rowOf(database: DatabaseSync, sql: string, key: string) {
  try {
    return database.prepare(sql).get(key)
  } catch {
    // What cannot be read there may be in the file that is there now.
    return undefined
  }
}
