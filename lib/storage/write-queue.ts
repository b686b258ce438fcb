import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'

/** How long one transaction may take in all, in milliseconds: as long it blocks the event loop. */
const LONGEST = 5

/** What waits for longer than this since the last transaction is written at once, in milliseconds. */
const QUIET = 5

/** Runs a statement. */
export type Run = (sql: string, parameters: readonly unknown[]) => unknown[]

interface Write {
  readonly sql: string
  readonly parameters: readonly unknown[]
  /** Until when a lock is waited for, by the clock of `performance`. */
  readonly deadline: number
  resolve(rows: unknown[]): void
  reject(error: unknown): void
}

/** The queues that have something to write, should the process exit. */
const unwritten = new Set<WriteQueue>()
let isWatchingExit = false

/**
 * Writes to a database in their order. Those that come close together share a transaction, which takes much
 * less than one for each; none waits for another one to come.
 */
export class WriteQueue {
  readonly #run: Run
  readonly #mayTryAgain: (error: unknown, isLate: boolean) => boolean
  #writes: Write[] = []
  #isFlushing = false
  #flushedAt = -Infinity
  /** How many are to be written each in a transaction of its own, because one that they shared failed. */
  #alone = 0

  /** @param mayTryAgain whether what failed may succeed before long; where it is late already, it is over */
  constructor(run: Run, mayTryAgain: (error: unknown, isLate: boolean) => boolean) {
    this.#run = run
    this.#mayTryAgain = mayTryAgain
  }

  /**
   * Writes something.
   *
   * @param patience how long a lock is waited for, in milliseconds
   * @returns the rows that the statement returns
   */
  write(sql: string, parameters: readonly unknown[], patience: number): Promise<unknown[]> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown[]>()
    const deadline = performance.now() + patience
    this.#writes.push({ sql, parameters, deadline, resolve, reject })
    unwritten.add(this)
    if (!isWatchingExit) {
      isWatchingExit = true
      process.once('exit', () => {
        for (const queue of unwritten) queue.#flushAtExit()
      })
    }
    if (!this.#isFlushing) void this.#flush()
    return promise
  }

  /** Fails what has not been written. */
  close(error: Error): void {
    for (const { reject } of this.#writes.splice(0)) reject(error)
    unwritten.delete(this)
  }

  async #flush(): Promise<void> {
    this.#isFlushing = true
    if (performance.now() - this.#flushedAt < QUIET) await nextTurn()
    while (this.#writes.length > 0) {
      try {
        this.#transact()
        if (this.#writes.length > 0) await nextTurn()
      } catch (error) {
        const [first] = this.#writes as [Write]
        if (!this.#mayTryAgain(error, performance.now() > first.deadline)) this.#fail(error)
        else await delay(5 + Math.random() * 20)
      }
    }
    this.#flushedAt = performance.now()
    this.#isFlushing = false
    unwritten.delete(this)
  }

  /** One that is alone fails alone; of several nobody knows which one is to blame. */
  #fail(error: unknown): void {
    if (this.#alone === 0 && this.#writes.length > 1) {
      this.#alone = this.#writes.length
      return
    }
    this.#alone = Math.max(0, this.#alone - 1)
    this.#writes.shift()?.reject(error)
  }

  /** Writes as much as may be written at a time. */
  #transact(): void {
    const [first] = this.#writes as [Write]
    if (this.#writes.length === 1 || this.#alone > 0) {
      const rows = this.#run(first.sql, first.parameters)
      this.#alone = Math.max(0, this.#alone - 1)
      this.#writes.shift()
      first.resolve(rows)
      return
    }
    this.#run('BEGIN IMMEDIATE', [])
    const written: unknown[][] = []
    try {
      const end = performance.now() + LONGEST
      for (const { sql, parameters } of this.#writes) {
        written.push(this.#run(sql, parameters))
        if (performance.now() > end) break
      }
      this.#run('COMMIT', [])
    } catch (error) {
      this.#rollBack()
      throw error
    }
    const done = this.#writes.splice(0, written.length)
    for (const [index, { resolve }] of done.entries()) resolve(written[index] as unknown[])
  }

  #rollBack(): void {
    try {
      this.#run('ROLLBACK', [])
    } catch {
      // SQLite has done so by itself.
    }
  }

  /** There are no more turns of the event loop: what is left is written now, or never. */
  #flushAtExit(): void {
    try {
      while (this.#writes.length > 0) this.#transact()
    } catch {
      // It is a cache.
    }
  }
}
