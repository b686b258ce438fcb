import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Awaitable } from '../awaitable.ts'
import { asError, type Events } from '../observe/events.ts'
import { withDeadline } from './guarded-store.ts'

/** What comes of an attempt to take a lease. */
export type Lease =
  /** It is ours, until it is given back or runs out. */
  | 'taken'
  /** Another process has it. */
  | 'held'
  /** Whoever had it last has found that the answer is of no use to others. */
  | 'useless'
  /** There is nobody to agree with. */
  | 'alone'

/** How processes that share a store agree on which of them asks the origin for what none of them has. */
export interface LeaseStore {
  /** Whether it is known without asking that there is nobody to agree with; absent where that is never known. */
  isAlone?(): boolean
  /** @param duration after which it runs out, in milliseconds */
  take(key: string, holder: string, duration: number): Promise<Lease>
  /** Gives back what is still this holder's. @param uselessFor how long others are told so, in milliseconds; 0 if it is not */
  give(key: string, holder: string, uselessFor: number): Promise<void>
}

/** How long a lease lasts, and how long a request waits for what another process asks for, in milliseconds. */
export const MAX_LEASE = 2000

/** How long it waits until it looks again, in milliseconds. */
const POLL = 25

/** How long it is remembered that an answer was of no use to others, in milliseconds. */
const USELESS = 10_000

/** How long a store that failed is not asked for leases, in milliseconds. */
const REST = 10_000

/** A lease that this process has. */
export interface Held {
  /** Lets others ask, too. */
  give(isUseless: boolean): void
}

/** The leases of a store. A store that fails has none, and is asked for none for a while. */
export class Leases {
  readonly #store: LeaseStore
  readonly #events: Events
  readonly #deadline: number
  #restsUntil = 0

  /** @param deadline how long the store may take, in milliseconds */
  constructor(store: LeaseStore, events: Events, deadline: number) {
    this.#store = store
    this.#events = events
    this.#deadline = deadline
  }

  /** Whether it is known without asking that there is nobody to agree with. */
  get isAlone(): boolean {
    return this.#store.isAlone?.() ?? false
  }

  /**
   * Waits until this process is to ask the origin, or needs not do so any more.
   *
   * @param isAnswered whether the store has the answer by now
   * @param isOver whether nobody waits any more
   * @param within waits for the store, but not for longer than the request does in all
   * @returns the lease to be given back; undefined where there is none, but the origin is to be asked all the same
   */
  async agree(
    key: string,
    isAnswered: () => Promise<boolean>,
    isOver: () => boolean,
    within: <T>(answer: Promise<T>, otherwise: () => T) => Awaitable<T>,
  ): Promise<Held | 'answered' | undefined> {
    const holder = randomUUID()
    const end = performance.now() + MAX_LEASE
    for (;;) {
      const taking = this.#take(key, holder)
      const lease = await within(taking, () => {
        // Nobody needs it any more when it comes.
        void taking.then((late) => late === 'taken' && this.#held(key, holder).give(false))
        return 'alone'
      })
      const held = lease === 'taken' ? this.#held(key, holder) : undefined
      if (lease === 'alone' || lease === 'useless') return undefined
      // Whoever had it before may just have stored the answer.
      if (await isAnswered()) {
        held?.give(false)
        return 'answered'
      }
      if (held || performance.now() > end || isOver()) return held
      await delay(POLL)
    }
  }

  async #take(key: string, holder: string): Promise<Lease> {
    if (performance.now() < this.#restsUntil) return 'alone'
    try {
      return await withDeadline(this.#store.take(key, holder, MAX_LEASE), this.#deadline, 'answer')
    } catch (error) {
      this.#restsUntil = performance.now() + REST
      this.#events.error('write', asError(error))
      // It may be ours all the same, and nobody is to wait for it in vain.
      this.#held(key, holder).give(false)
      return 'alone'
    }
  }

  #held(key: string, holder: string): Held {
    let isGiven = false
    return {
      give: (isUseless) => {
        if (isGiven) return
        isGiven = true
        // Otherwise it runs out.
        this.#store.give(key, holder, isUseless ? USELESS : 0).catch(() => {})
      },
    }
  }
}
