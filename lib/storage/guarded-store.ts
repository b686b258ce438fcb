import type { Awaitable } from '../awaitable.ts'
import type { Events } from '../observe/events.ts'
import type { CacheError } from '../observe/payloads.ts'
import type { About, ByteStore } from './byte-store.ts'
import { RefusedError } from './refusal.ts'

/** How long a store may take, in milliseconds. */
export interface Deadlines {
  readonly read: number
  readonly write: number
}

/** How long a store may take that nobody has said anything about. */
export const DEFAULT_DEADLINES: Deadlines = { read: 500, write: 5000 }

/** How long a store may take for a chunk in the middle of content, in milliseconds. */
export const MIDWAY_DEADLINE = 10_000

/** How long a store may take for each step of clearing or listing all it has, in milliseconds. */
const LIST_DEADLINE = 30_000

/** Failures in a row after which a store is not asked for a while. */
const MAX_FAILURES = 5

/** How long a store that failed or hung is not asked, in milliseconds. */
const REST = 10_000

/** Thrown for a store that is not asked because it failed before. */
export class StoreAtRestError extends RefusedError {
  override name = 'StoreAtRestError'
}

/** Leaves alone for a while what hangs or keeps failing. */
export class CircuitBreaker {
  #failures = 0
  #lastFailure = -Infinity
  #restUntil = 0

  get isAtRest(): boolean {
    const left = this.#restUntil - Date.now()
    // A clock that has been put back does not prolong it.
    return left > 0 && left <= REST
  }

  /** Whether it was at rest, and has not succeeded since. */
  get isOnTrial(): boolean {
    return this.#restUntil > 0
  }

  succeed(): void {
    this.#failures = this.#restUntil = 0
  }

  /** @param began when the call did, in milliseconds of `performance.now()`: those that fail together fail once */
  fail(isLate: boolean, began: number): void {
    if (!isLate && began < this.#lastFailure) return
    this.#lastFailure = performance.now()
    this.#failures += 1
    if (!isLate && this.#failures < MAX_FAILURES) return
    this.#restUntil = Date.now() + REST
    this.#failures = 0
  }
}

/** A store from which the cache is protected. */
export interface GuardedStore extends ByteStore {
  /** Whether it is not asked, or nothing is written to it, for now. */
  readonly isAtRest: boolean
}

/**
 * Protects the cache from its store: each call has a deadline, and a store that hangs or keeps failing
 * is left alone for a while; what only fails to be written to can still be read, as on a full disk. Each
 * failure is told once, as an event. One that has never answered yet may still be being connected to: it is
 * used as soon as it answers for the first time, however late.
 *
 * @param loaded when the program that the store needs is there, before which no time counts
 * @param reading what all parts of a store share, so that a request does not wait for each of them
 */
export function guardStore(
  store: ByteStore,
  events: Events,
  deadlines: Deadlines,
  loaded?: Promise<unknown>,
  reading: CircuitBreaker = new CircuitBreaker(),
): GuardedStore {
  const writing = new CircuitBreaker()
  let hasAnswered = false
  let loading = loaded?.then(
    () => {
      loading = undefined
    },
    () => {
      loading = undefined
    },
  )

  /**
   * @param call given what it may call after each of many steps: then the deadline begins anew
   * @param isUrgent whether it is asked even while it is at rest
   */
  async function guarded<T>(
    operation: CacheError['operation'],
    deadline: number,
    call: (onStep: () => void) => Promise<T>,
    isUrgent = false,
  ): Promise<T> {
    const breaker = operation === 'read' ? reading : writing
    if ((reading.isAtRest || breaker.isAtRest) && !isUrgent) {
      throw new StoreAtRestError('the store is left alone after failures')
    }
    const welcome = () => {
      hasAnswered = true
      breaker.succeed()
    }
    const began = performance.now()
    const limit = new Deadline(deadline, operation)
    let answer: Promise<T> | undefined
    try {
      answer = call(limit.renew)
      if (loading) await Promise.race([loading, answer])
      const result = await limit.waitFor(answer)
      welcome()
      return result
    } catch (error) {
      const isLate = error instanceof DeadlineError
      breaker.fail(isLate, began)
      // A request waits for less than the store may take.
      const isCutShort = operation === 'write' && deadline < deadlines.write
      if (isLate && (!hasAnswered || isCutShort)) answer?.then(welcome, () => {})
      events.error(operation, error)
      throw error
    }
  }

  const patience = (about: About | undefined) =>
    about?.isAwaited ? deadlines.read : deadlines.write

  async function* list<T>(
    all: AsyncIterable<T>,
    renewedBy: (renew: () => void) => void,
  ): AsyncGenerator<T> {
    const iterator = all[Symbol.asyncIterator]()
    const next = (onStep: () => void) => {
      renewedBy(onStep)
      return iterator.next()
    }
    try {
      for (;;) {
        const { done, value } = await guarded('read', LIST_DEADLINE, next, true)
        if (done) return
        yield value
      }
    } finally {
      // What hangs would not end either.
      void iterator.return?.().catch(() => {})
    }
  }

  return {
    get isAtRest() {
      return reading.isAtRest || writing.isAtRest
    },
    get(key, isMidway = false) {
      const deadline = isMidway ? MIDWAY_DEADLINE : deadlines.read
      if (reading.isOnTrial) return guarded('read', deadline, async () => store.get(key), isMidway)
      const found = attempt(store, key)
      if (found instanceof Promise) return guarded('read', deadline, () => found, isMidway)
      reading.succeed()
      hasAnswered = true
      return found
    },
    set: (key, bytes, timeToLive, about) =>
      guarded('write', patience(about), async () => store.set(key, bytes, timeToLive, about)),
    ...(store.replace && {
      replace: (...change) =>
        guarded('write', patience(change[4]), async () => store.replace?.(...change) ?? false),
    }),
    delete: (keys) => guarded('delete', deadlines.write, async () => store.delete(keys)),
    ...(store.hasAll && {
      hasAll: (keys) => guarded('read', deadlines.read, async () => store.hasAll?.(keys) ?? true),
    }),
    ...(store.expire && {
      expire: (keys, timeToLive) =>
        guarded('delete', LIST_DEADLINE, async () => store.expire?.(keys, timeToLive)),
    }),
    ...(store.expireAll && {
      expireAll: (timeToLive, isExempt) =>
        guarded('delete', LIST_DEADLINE, async (onStep) =>
          store.expireAll?.(timeToLive, isExempt, onStep),
        ),
    }),
    clear: () => guarded('delete', LIST_DEADLINE, async (onStep) => store.clear(onStep)),
    ...(store.clearSome && {
      clearSome: () => guarded('delete', LIST_DEADLINE, async () => store.clearSome?.() ?? false),
    }),
    entries() {
      let onStep: (() => void) | undefined
      const all = store.entries(() => onStep?.())
      const renewedBy = (renew: () => void) => {
        onStep = renew
      }
      return all && list(all, renewedBy)
    },
  }
}

/** What is at a key; a rejection where the store throws. */
function attempt(store: ByteStore, key: string): Awaitable<Buffer | undefined> {
  try {
    return store.get(key)
  } catch (error) {
    return Promise.reject(error)
  }
}

/** Thrown for what may be done after all: nobody knows yet. */
export class DeadlineError extends Error {
  override name = 'DeadlineError'
}

/** Waits for a call to a store. @throws DeadlineError where it takes longer than `deadline`, in milliseconds */
export function withDeadline<T>(call: Promise<T>, deadline: number, operation: string): Promise<T> {
  return new Deadline(deadline, operation).waitFor(call)
}

class Deadline {
  readonly #deadline: number
  readonly #operation: string
  #timer: NodeJS.Timeout | undefined

  constructor(deadline: number, operation: string) {
    this.#deadline = deadline
    this.#operation = operation
  }

  /** Begins anew, unless the call has been answered. */
  readonly renew = (): void => {
    this.#timer?.refresh()
  }

  waitFor<T>(call: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const message = `the store did not ${this.#operation} within ${this.#deadline} ms`
      this.#timer = setTimeout(() => {
        this.#timer = undefined
        // The answer may have arrived while the event loop was busy: let it be heard first.
        setImmediate(() => reject(new DeadlineError(message)))
      }, this.#deadline)
      const settle =
        <V>(end: (value: V) => void) =>
        (value: V) => {
          clearTimeout(this.#timer)
          // A timer that was cleared would begin anew as well.
          this.#timer = undefined
          end(value)
        }
      call.then(settle(resolve), settle(reject))
    })
  }
}
