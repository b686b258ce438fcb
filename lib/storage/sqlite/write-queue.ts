import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { finishAtExit, isFinished } from '../at-exit.ts'
import type { Writer } from './writer.ts'
import { type Run, transact, type Write } from './writes.ts'

/** How long one transaction may take in all, in milliseconds: as long it blocks the event loop. */
const LONGEST = 5

/** What waits for longer than this since the last transaction is written at once, in milliseconds. */
const QUIET = 5

/** How long a writer waits for a lock at least, in milliseconds: what has waited for its turn is not late for that. */
const LEAST_PATIENCE = 100

/** How much is given to a writer at a time. */
const BATCH = 64

interface Waiting extends Write {
  /** Until when a lock is waited for, by the clock of `performance`. */
  readonly deadline: number
  resolve(rows: unknown[]): void
  reject(error: unknown): void
}

/**
 * Writes to a database in their order. Those that come close together share a transaction, which takes much
 * less than one for each; none waits for another one to come.
 */
export class WriteQueue {
  readonly #run: Run
  readonly #mayTryAgain: (error: unknown, isLate: boolean) => boolean
  readonly #writes: Waiting[] = []
  #isFlushing = false
  #flushedAt = -Infinity
  /** How many are to be written each in a transaction of its own, because one that they shared failed. */
  #alone = 0
  /** Whether the last batch failed because of a lock. */
  #isLocked = false
  /** What makes the changes from now on, if it is ready. */
  writer: Writer | undefined

  /** @param mayTryAgain whether what failed may succeed before long; where it is late already, it is over */
  constructor(run: Run, mayTryAgain: (error: unknown, isLate: boolean) => boolean) {
    this.#run = run
    this.#mayTryAgain = mayTryAgain
  }

  /**
   * Writes something. Bytes in it are not the caller's any more.
   *
   * @param patience how long a lock is waited for, in milliseconds
   * @returns the rows that the statement returns
   */
  write(sql: string, parameters: readonly unknown[], patience: number): Promise<unknown[]> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown[]>()
    const deadline = performance.now() + patience
    this.#writes.push({ sql, parameters, deadline, resolve, reject })
    finishAtExit(this)
    if (!this.#isFlushing) void this.#flush()
    return promise
  }

  /** Fails what has not been written. */
  close(error: Error): void {
    for (const { reject } of this.#writes.splice(0)) reject(error)
    isFinished(this)
  }

  async #flush(): Promise<void> {
    this.#isFlushing = true
    if (performance.now() - this.#flushedAt < QUIET) await nextTurn()
    while (this.#writes.length > 0) {
      if (this.writer?.isReady) await this.#handOver(this.writer)
      else await this.#writeHere()
    }
    this.#flushedAt = performance.now()
    this.#isFlushing = false
    isFinished(this)
  }

  async #handOver(writer: Writer): Promise<void> {
    const batch = this.#writes.splice(0, BATCH)
    const left = Math.max(...batch.map(({ deadline }) => deadline)) - performance.now()
    // For the same lock everything waits at the same time, not one batch after the other.
    const patience = Math.ceil(Math.max(left, this.#isLocked ? 0 : LEAST_PATIENCE))
    try {
      const outcomes = await writer.write({ writes: batch, patience })
      const failed = outcomes.find((outcome) => 'error' in outcome)
      // What was handed over cannot be tried again, but it may be the last to fail.
      this.#isLocked = failed !== undefined && this.#mayTryAgain(failureOf(failed), false)
      for (const [index, { resolve, reject }] of batch.entries()) {
        const outcome = outcomes[index]
        if (outcome && 'rows' in outcome) resolve(outcome.rows)
        else reject(failureOf(outcome))
      }
    } catch (error) {
      for (const { reject } of batch) reject(error)
    }
  }

  async #writeHere(): Promise<void> {
    try {
      this.#transact()
      if (this.#writes.length > 0) await nextTurn()
    } catch (error) {
      const { deadline } = this.#writes[0] as Waiting
      if (!this.#mayTryAgain(error, performance.now() > deadline)) this.#fail(error)
      else await delay(5 + Math.random() * 20)
    }
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
    const [first] = this.#writes as [Waiting]
    const isAlone = this.#alone > 0 || this.#writes.length === 1
    const results = isAlone
      ? [this.#run(first.sql, first.parameters)]
      : transact(this.#run, this.#writes, LONGEST)
    this.#alone = Math.max(0, this.#alone - results.length)
    const done = this.#writes.splice(0, results.length)
    for (const [index, { resolve }] of done.entries()) resolve(results[index] as unknown[])
  }

  /** There are no more turns of the event loop: what is left is written now, or never. */
  finish(): void {
    this.writer?.finish()
    try {
      while (this.#writes.length > 0) this.#transact()
    } catch {
      // It is a cache.
    }
  }
}

function failureOf(outcome: object | undefined): Error {
  const { message, ...codes } = (outcome as { error?: Error } | undefined)?.error ?? {
    message: 'nothing is known of what was to be written',
  }
  return Object.assign(new Error(message), codes)
}
