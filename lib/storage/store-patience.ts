import type { Events } from '../observe/events.ts'
import { DeadlineError } from './guarded-store.ts'

/** What part of the deadline each answer is given at least: what took so long may have been the program itself. */
const LEAST = 0.05

const LATE = Symbol('late')

/**
 * How long one request waits for the store in all: each answer may come within its deadline, and all of them
 * together too late.
 */
export class StorePatience {
  readonly #deadline: number
  readonly #loading: () => Promise<unknown> | undefined
  readonly #events: Events
  #left: number
  #isTold = false

  /**
   * @param deadline of one answer, in milliseconds
   * @param loading what the store is waiting for itself, as long as it does; that time does not count
   */
  constructor(deadline: number, loading: () => Promise<unknown> | undefined, events: Events) {
    this.#deadline = deadline
    this.#loading = loading
    this.#events = events
    // A store that does not answer at all is found out by its own deadline.
    this.#left = deadline * (1 + LEAST)
  }

  /** What the store answers; what is said `otherwise` where it is late. @throws what the answer is rejected with */
  async waitFor<T>(answer: Promise<T>, otherwise: () => T): Promise<T> {
    const loading = this.#loading()
    if (loading) await Promise.race([loading, answer])
    const began = performance.now()
    const { promise: late, resolve } = Promise.withResolvers<typeof LATE>()
    // The answer may have arrived while the event loop was busy: let it be heard first.
    const giveUp = () => setImmediate(resolve, LATE)
    const timer = setTimeout(giveUp, Math.max(this.#left, this.#deadline * LEAST))
    try {
      const first = await Promise.race([answer, late])
      if (first !== LATE) return first
      this.#tellOnceAnswered(answer)
      return otherwise()
    } finally {
      clearTimeout(timer)
      this.#left -= performance.now() - began
    }
  }

  /** Tells that all answers together were late, unless this one is late by itself, which is told already. */
  #tellOnceAnswered(answer: Promise<unknown>): void {
    const tell = () => {
      if (this.#isTold) return
      this.#isTold = true
      const message = `the store took longer than ${this.#deadline} ms for all that a request asks it`
      this.#events.error('read', new DeadlineError(message))
    }
    answer.then(tell, () => {})
  }
}
