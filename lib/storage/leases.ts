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

/**
 * For whom an answer is, and for how long others that ask are told that they need not wait for one another, in
 * milliseconds. They look for the answer first.
 */
const USELESS_FOR = { everybody: 0, some: 500, nobody: 10_000 } as const

export type Use = keyof typeof USELESS_FOR

/** How long a store that failed is not asked for leases, in milliseconds. */
const REST = 10_000

/** A lease that this process has. */
export interface Held {
  /** Lets others ask, too. @param use for whom the answer is, or would have been */
  give(use: Use): void
}

/** The leases of a store. A store that fails has none, and is asked for none for a while. */
export class Leases {
  readonly #store: LeaseStore
  readonly #events: Events
  readonly #deadline: number
  #restsUntil = 0
  readonly #held = new Set<Held>()
  readonly #giving = new Set<Promise<void>>()

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
    for (let hasWaited = false; ; hasWaited = true) {
      const taking = this.#take(key, holder)
      // Once another process is waited for, it is not the store.
      const lease = await (hasWaited
        ? taking
        : within(taking, () => this.#forgo(taking, key, holder)))
      const held = lease === 'taken' ? this.#hold(key, holder) : undefined
      // A store that has failed would only be waited for once more.
      if (lease === undefined || (lease === 'alone' && !hasWaited)) return undefined
      // Whoever had it before may just have stored the answer, and be gone.
      if (await isAnswered()) {
        held?.give('everybody')
        return 'answered'
      }
      if (lease !== 'held' || performance.now() > end || isOver()) return held
      await delay(POLL)
    }
  }

  /** Does without a lease for which the store takes too long: when it comes, nobody needs it any more. */
  #forgo(taking: Promise<Lease | undefined>, key: string, holder: string): Lease {
    void taking.then((late) => late === 'taken' && this.#hold(key, holder).give('everybody'))
    return 'alone'
  }

  /** Gives back what is held: nobody is to wait for a process that has ended, but to look for its answer. */
  async close(): Promise<void> {
    for (const held of [...this.#held]) held.give('some')
    await Promise.all(this.#giving)
  }

  /** @returns undefined where the store fails, or has */
  async #take(key: string, holder: string): Promise<Lease | undefined> {
    if (performance.now() < this.#restsUntil) return undefined
    try {
      return await withDeadline(this.#store.take(key, holder, MAX_LEASE), this.#deadline, 'answer')
    } catch (error) {
      this.#restsUntil = performance.now() + REST
      this.#events.error('write', asError(error))
      // It may be ours all the same, and nobody is to wait for it in vain.
      this.#hold(key, holder).give('everybody')
      return undefined
    }
  }

  #hold(key: string, holder: string): Held {
    const held: Held = {
      give: (use) => {
        if (!this.#held.delete(held)) return
        const given = this.#store.give(key, holder, USELESS_FOR[use])
        const giving = withDeadline(given, this.#deadline, 'answer')
          // Otherwise it runs out.
          .catch(() => {})
          .finally(() => this.#giving.delete(giving))
        this.#giving.add(giving)
      },
    }
    this.#held.add(held)
    return held
  }
}
