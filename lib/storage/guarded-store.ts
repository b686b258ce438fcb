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

/** How long a store may take to clear all it has, or for each step of listing it, in milliseconds. */
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
  #restUntil = 0

  get isAtRest(): boolean {
    return Date.now() < this.#restUntil
  }

  /** Whether it was at rest, and has not succeeded since. */
  get isOnTrial(): boolean {
    return this.#restUntil > 0
  }

  succeed(): void {
    this.#failures = this.#restUntil = 0
  }

  fail(isLate: boolean): void {
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

  /** @param isUrgent whether it is asked even while it is at rest */
  async function guarded<T>(
    operation: CacheError['operation'],
    deadline: number,
    call: () => Promise<T>,
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
    let answer: Promise<T> | undefined
    try {
      answer = call()
      if (loading) await Promise.race([loading, answer])
      const result = await withDeadline(answer, deadline, operation)
      welcome()
      return result
    } catch (error) {
      const isLate = error instanceof DeadlineError
      breaker.fail(isLate)
      // A request waits for less than the store may take.
      const isCutShort = operation === 'write' && deadline < deadlines.write
      if (isLate && (!hasAnswered || isCutShort)) answer?.then(welcome, () => {})
      events.error(operation, error)
      throw error
    }
  }

  const patience = (about: About | undefined) =>
    about?.isAwaited ? deadlines.read : deadlines.write

  async function* list<T>(all: AsyncIterable<T>): AsyncGenerator<T> {
    const iterator = all[Symbol.asyncIterator]()
    try {
      for (;;) {
        const { done, value } = await guarded('read', LIST_DEADLINE, () => iterator.next(), true)
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
        guarded('delete', LIST_DEADLINE, async () => store.expireAll?.(timeToLive, isExempt)),
    }),
    clear: () => guarded('delete', LIST_DEADLINE, async () => store.clear()),
    ...(store.clearSome && {
      clearSome: () => guarded('delete', LIST_DEADLINE, async () => store.clearSome?.() ?? false),
    }),
    entries() {
      const all = store.entries()
      return all && list(all)
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
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      // The answer may have arrived while the event loop was busy: let it be heard first.
      setImmediate(() =>
        reject(new DeadlineError(`the store did not ${operation} within ${deadline} ms`)),
      )
    }, deadline)
    const settle =
      <V>(end: (value: V) => void) =>
      (value: V) => {
        clearTimeout(timer)
        end(value)
      }
    call.then(settle(resolve), settle(reject))
  })
}
