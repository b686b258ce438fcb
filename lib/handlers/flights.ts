/** How a request to the origin turned out for those that waited for it. */
export type FlightOutcome =
  /** There is a response that may be reused. */
  | 'answered'
  /** The response is for that request alone. */
  | 'unusable'
  /** There is no response. */
  | 'failed'
  /** The caller gave the request up. */
  | 'aborted'

/** A request that is under way to the origin, until it is known whether others can use its response. */
export interface Flight {
  /** Whether others may wait for it. */
  readonly isAwaited: boolean
  /** Tells those that wait; the first outcome counts. */
  settle(outcome: FlightOutcome): void
}

/** How long a request waits for the answers to others, in milliseconds: a slow answer to one must not delay all. */
const MAX_WAIT = 5000

/** Of how many keys it is remembered that their responses are of no use to others. */
const MAX_UNUSABLE = 1000

/** The requests under way, so that identical ones can wait for the first instead of being sent as well. */
export class Flights {
  readonly #flights = new Map<string, Promise<FlightOutcome>>()
  readonly #unusable = new Set<string>()

  get size(): number {
    return this.#flights.size
  }

  /** Registers a request, if it is worth waiting for: the last response for its key was not unusable. */
  open(key: string): Flight {
    const { promise, resolve } = Promise.withResolvers<FlightOutcome>()
    const isFirst = !this.#flights.has(key) && !this.#unusable.has(key)
    if (isFirst) this.#flights.set(key, promise)
    let isSettled = false
    return {
      isAwaited: isFirst,
      settle: (outcome) => {
        if (isSettled) return
        isSettled = true
        if (isFirst) this.#flights.delete(key)
        this.#remember(key, outcome)
        resolve(outcome)
      },
    }
  }

  #remember(key: string, outcome: FlightOutcome): void {
    if (outcome === 'answered') this.#unusable.delete(key)
    if (outcome !== 'unusable') return
    this.#unusable.add(key)
    if (this.#unusable.size > MAX_UNUSABLE) {
      this.#unusable.delete(this.#unusable.values().next().value as string)
    }
  }

  /**
   * The outcome of the request that is under way for a key, to be waited for; undefined where there is
   * none, or where the one who asks has waited long enough.
   *
   * @param since when it began to wait for others, in milliseconds of `performance.now()`
   */
  underWay(key: string, since: () => number): Promise<FlightOutcome | 'late'> | undefined {
    const flight = this.#flights.get(key)
    if (flight === undefined) return undefined
    const left = since() + MAX_WAIT - performance.now()
    if (left <= 0) return undefined
    const { promise: late, resolve } = Promise.withResolvers<'late'>()
    const timer = setTimeout(resolve, left, 'late')
    return Promise.race([flight, late]).finally(() => clearTimeout(timer))
  }
}
