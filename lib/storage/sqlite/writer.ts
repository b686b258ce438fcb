import { Worker } from 'node:worker_threads'
import type { Write } from './writes.ts'

/** What a writer's thread is told when it begins. */
export interface WriterData {
  readonly path: string
  /** How long a lock is waited for, in milliseconds. */
  readonly patience: number
  /** The query that tells how often anybody has changed what is counted. */
  readonly counter: string
  /**
   * What both threads see: a number that is odd while changes are made to last, how many of the changes
   * that are counted were the thread's, how many batches are done, and one that never changes.
   */
  readonly state: Int32Array
}

/** Changes that are made together if they can be. */
export interface Batch {
  readonly writes: readonly Write[]
  /** How long a lock is waited for, in milliseconds. */
  readonly patience: number
}

/** What became of a change. */
export type Outcome =
  | { readonly rows: unknown[] }
  | {
      readonly error: {
        readonly message: string
        readonly code: string | undefined
        readonly errcode: number | undefined
      }
    }

/** Bytes from this length on are handed over instead of being copied. */
const HANDED_OVER = 64 * 1024

/** How long the end of the process is put off for what is being written, in milliseconds. */
const EXIT_PATIENCE = 1000

/** Makes changes to an SQLite file in a thread of its own. It keeps the process running only while it has something to do. */
export class Writer {
  readonly #worker: Worker
  readonly #state = new Int32Array(new SharedArrayBuffer(16))
  #sent = 0
  #isReady = false
  #isClosing = false
  #isOver = false
  #waiting: ((outcomes: Outcome[] | Error) => void) | undefined

  /**
   * @param counter the query that tells how often anybody has changed what is counted, as `number`
   * @param onReady called once changes can be made
   */
  constructor(path: string, patience: number, counter: string, onReady: () => void) {
    const workerData: WriterData = { path, patience, counter, state: this.#state }
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    this.#worker = new Worker(new URL(`./writer-thread.${extension}`, import.meta.url), {
      workerData,
      // What the process was told to import is none of the thread's.
      execArgv: ['--no-warnings'],
      env: {},
    })
    this.#worker.unref()
    this.#worker.on('message', (message: 'ready' | Outcome[]) => {
      if (message !== 'ready') this.#settle(message)
      else {
        this.#isReady = true
        onReady()
      }
    })
    this.#worker.on('error', (error: Error) => this.#end(error))
    this.#worker.on('exit', () => this.#end(new Error('the thread that writes has ended')))
  }

  /** Whether changes can be made. */
  get isReady(): boolean {
    return this.#isReady && !this.#isOver
  }

  #end(error: Error): void {
    this.#isOver = true
    this.#settle(error)
  }

  #settle(outcomes: Outcome[] | Error): void {
    if (!this.#isClosing) this.#worker.unref()
    this.#waiting?.(outcomes)
    this.#waiting = undefined
  }

  /** Makes changes, one batch at a time; bytes that are long are not the caller's any more. */
  async write({ writes, patience }: Batch): Promise<Outcome[]> {
    const transfer: ArrayBuffer[] = []
    const give = (value: unknown) => {
      if (!(value instanceof Uint8Array)) return value
      const isWhole = value.byteLength === value.buffer.byteLength
      // A copy takes nothing else along that is in the same memory.
      const bytes = isWhole && value.byteLength >= HANDED_OVER ? value : new Uint8Array(value)
      transfer.push(bytes.buffer as ArrayBuffer)
      return bytes
    }
    const given = writes.map(({ sql, parameters }) => ({ sql, parameters: parameters.map(give) }))
    const batch: Batch = { writes: given, patience }
    const { promise, resolve } = Promise.withResolvers<Outcome[] | Error>()
    this.#waiting = resolve
    this.#worker.ref()
    this.#sent += 1
    this.#worker.postMessage(batch, transfer)
    const outcomes = await promise
    if (outcomes instanceof Error) throw outcomes
    return outcomes
  }

  /**
   * How often others have changed what is counted, which all that count may be compared with; `NaN` while
   * it cannot be told.
   *
   * @param count asks how often anybody has
   */
  foreign(count: () => number): number {
    const before = Atomics.load(this.#state, 0)
    if (before % 2 !== 0) return Number.NaN
    const all = count()
    const own = Atomics.load(this.#state, 1)
    return Atomics.load(this.#state, 0) === before ? (all - own) >>> 0 : Number.NaN
  }

  /** Waits for what is being written, without giving anything else a chance: the process ends. */
  finish(): void {
    const done = Atomics.load(this.#state, 2)
    if (this.isReady && done !== this.#sent) Atomics.wait(this.#state, 2, done, EXIT_PATIENCE)
  }

  /** Lets go of the file. */
  async close(): Promise<void> {
    if (this.#isOver) return
    this.#isClosing = true
    const exited = new Promise((resolve) => this.#worker.once('exit', resolve))
    this.#worker.ref()
    if (this.#isReady) this.#worker.postMessage('close')
    else void this.#worker.terminate()
    await exited
  }

  /** Ends the thread, whatever it is doing. */
  stop(): void {
    this.#isOver = true
    void this.#worker.terminate()
    this.#settle(new Error('the file is begun anew'))
  }
}
