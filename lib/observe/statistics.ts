import { LRUCache } from '../lru.ts'
import type { Outcome, Reason } from './reasons.ts'

/** What became of some requests. */
export interface RequestStatistics {
  /** The number of requests. Each has one outcome; one that its caller gives up before it is known is not counted. */
  readonly requests: number
  /** How many requests had which outcome. */
  readonly outcomes: Readonly<Record<Outcome, number>>
  /** The part of the requests, without those that passed by, that was answered by the cache alone: from 0 to 1. */
  readonly hitRatio: number
  /** How many of the misses were answered with the answer to another request that was under way. */
  readonly collapsed: number
  /** How many requests had no answer, as the origin failed. */
  readonly failed: number
  /** How many bytes of content came from the cache. */
  readonly bytesFromCache: number
  /** How many bytes of content came from origins, encoded as they were sent. */
  readonly bytesFromOrigin: number
  /**
   * How long hits would have taken, in milliseconds: as long as the origin took to answer when the
   * response was received or last validated. An estimate.
   */
  readonly timeSaved: number
}

/** What a cache has done since it was made, or since its statistics were reset. It can be written as JSON. */
export interface CacheStatistics extends RequestStatistics {
  /** Since when it is counted. */
  readonly since: Date
  /** How often each reason was given, by outcome. */
  readonly reasons: Readonly<Record<Outcome, Readonly<Partial<Record<Reason, number>>>>>
  /** How many responses were stored. */
  readonly stored: number
  /** How often an origin was asked about a stored response that it confirmed, or did not. */
  readonly validations: { readonly confirmed: number; readonly unconfirmed: number }
  /** How many stored responses had to go to keep the limits. */
  readonly evicted: number
  /** How many stored responses were deleted or invalidated; all at once count as one. */
  readonly deleted: number
  /** How many errors there were of which nobody but the listeners to `'error'` was told. */
  readonly errors: number
  /** The same by origin, such as `https://example.com`: of the 1000 that were asked for most recently. */
  readonly origins: Readonly<Record<string, RequestStatistics>>
}

/** Of how many origins there are statistics. */
const MAX_ORIGINS = 1000

/** What is counted of requests. */
export class RequestCounters {
  readonly outcomes: Record<Outcome, number> = {
    hit: 0,
    stale: 0,
    revalidated: 0,
    miss: 0,
    bypass: 0,
  }
  collapsed = 0
  failed = 0
  bytesFromCache = 0
  bytesFromOrigin = 0
  timeSaved = 0

  add(other: RequestCounters): void {
    for (const outcome of Object.keys(this.outcomes) as Outcome[]) {
      this.outcomes[outcome] += other.outcomes[outcome]
    }
    this.collapsed += other.collapsed
    this.failed += other.failed
    this.bytesFromCache += other.bytesFromCache
    this.bytesFromOrigin += other.bytesFromOrigin
    this.timeSaved += other.timeSaved
  }

  snapshot(): RequestStatistics {
    const { hit, stale, revalidated, miss, bypass } = this.outcomes
    const asked = hit + stale + revalidated + miss
    return {
      requests: asked + bypass,
      outcomes: { ...this.outcomes },
      hitRatio: asked === 0 ? 0 : (hit + stale) / asked,
      collapsed: this.collapsed,
      failed: this.failed,
      bytesFromCache: this.bytesFromCache,
      bytesFromOrigin: this.bytesFromOrigin,
      timeSaved: this.timeSaved,
    }
  }
}

/** Counts what a cache does, always: it costs a few additions. */
export class Statistics {
  readonly #since = new Date()
  /** The counters of origins that are not told any more. */
  readonly #others = new RequestCounters()
  readonly #origins = new LRUCache<string, RequestCounters>({
    max: MAX_ORIGINS,
    dispose: (counters) => this.#others.add(counters),
  })
  #lastOrigin = ''
  #lastCounters = this.#others
  readonly #reasons: Record<Outcome, { [R in Reason]?: number }> = {
    hit: {},
    stale: {},
    revalidated: {},
    miss: {},
    bypass: {},
  }
  stored = 0
  confirmed = 0
  unconfirmed = 0
  evicted = 0
  deleted = 0
  errors = 0

  /** The counters of the origin of a URL. Not to be held: others take their place. */
  of(url: string): RequestCounters {
    // Most requests are for the same origin as the one before.
    const { length } = this.#lastOrigin
    if (length > 0 && url.startsWith(this.#lastOrigin) && url.charCodeAt(length) === SLASH) {
      return this.#lastCounters
    }
    const origin = originOf(url)
    let counters = this.#origins.get(origin)
    if (counters === undefined) {
      counters = new RequestCounters()
      this.#origins.set(origin, counters)
    }
    this.#lastOrigin = origin
    this.#lastCounters = counters
    return counters
  }

  countReason(outcome: Outcome, reason: Reason): void {
    const reasons = this.#reasons[outcome]
    reasons[reason] = (reasons[reason] ?? 0) + 1
  }

  snapshot(): CacheStatistics {
    const all = new RequestCounters()
    all.add(this.#others)
    const origins: Record<string, RequestStatistics> = {}
    for (const [origin, counters] of this.#origins.entries()) {
      all.add(counters)
      origins[origin] = counters.snapshot()
    }
    return {
      since: new Date(this.#since),
      ...all.snapshot(),
      reasons: structuredClone(this.#reasons),
      stored: this.stored,
      validations: { confirmed: this.confirmed, unconfirmed: this.unconfirmed },
      evicted: this.evicted,
      deleted: this.deleted,
      errors: this.errors,
      origins,
    }
  }
}

const SLASH = 47

/** The origin that a URL begins with: found faster than by parsing it. */
function originOf(url: string): string {
  const end = url.indexOf('/', 'https://'.length)
  return end === -1 ? url : url.slice(0, end)
}
