import { EventEmitter } from 'node:events'
import { runInTerms } from '../context.ts'
import { currentAge } from '../rfc9111/freshness.ts'
import type { StoredResponse } from '../rfc9111/message.ts'
import { type CacheStatus, outcomeOf } from './cache-status.ts'
import { CHANNELS } from './channels.ts'
import { isDebugging, logError, logLookup } from './debug.ts'
import type { CacheError, CacheEvents, DeletionCause, EvictEvent, LookupEvent } from './payloads.ts'
import { Statistics } from './statistics.ts'

/** A request, as it is told of. */
export interface ToldRequest {
  readonly method: string
  readonly url: string
  /** The cache key; undefined where the request passes by. */
  readonly key: string | undefined
  /** What {@link Events.began} returned when the request was dispatched. */
  readonly began: number
}

/** The beginning of an answer. */
export interface ToldAnswer {
  readonly status: number
  /** The number of bytes of content; undefined where it is not known beforehand. */
  readonly size: number | undefined
}

/** What is told of a stored response. */
type ToldResponse = StoredResponse & {
  readonly cacheKey: string
  readonly method: string
  readonly content: { readonly length: number | undefined }
}

/** What events tell of any response. */
type DescribedResponse = Pick<ToldResponse, 'cacheKey' | 'method' | 'url' | 'content'>

type Listener = (...args: unknown[]) => void

/** Counts what happens in a cache, and tells those who listen. Nobody has to listen, not even to errors. */
export class Events {
  readonly #emitter = new EventEmitter()
  #statistics = new Statistics()

  on<E extends keyof CacheEvents>(name: E, listener: (...event: CacheEvents[E]) => void): void {
    this.#emitter.on(name, listener as Listener)
  }

  once<E extends keyof CacheEvents>(name: E, listener: (...event: CacheEvents[E]) => void): void {
    this.#emitter.once(name, listener as Listener)
  }

  off<E extends keyof CacheEvents>(name: E, listener: (...event: CacheEvents[E]) => void): void {
    this.#emitter.off(name, listener as Listener)
  }

  get statistics(): Statistics {
    return this.#statistics
  }

  /** Begins to count anew. */
  resetStatistics(): void {
    this.#statistics = new Statistics()
  }

  /** The time at which a request is dispatched, if anybody wants to know of it; else 0, and the clock is not read. */
  began(): number {
    return isDebugging || this.#isWanted('lookup') ? performance.now() : 0
  }

  /**
   * The outcome of a request is known.
   *
   * @param result the beginning of its answer, or why there is none
   * @param stored the stored response that answers
   */
  lookup(
    asked: ToldRequest,
    told: CacheStatus,
    now: number,
    result: ToldAnswer | Error | undefined,
    stored?: ToldResponse,
  ): void {
    const { fwd, detail, expires, collapsed = false } = told
    const outcome = outcomeOf(told, expires !== undefined && expires < now)
    const reason = detail ?? (fwd === 'bypass' ? undefined : fwd)
    const error = result instanceof Error ? result : undefined
    const answer = result instanceof Error ? undefined : result

    const counters = this.#statistics.of(asked.url)
    counters.outcomes[outcome] += 1
    if (reason !== undefined) this.#statistics.countReason(outcome, reason)
    if (collapsed) counters.collapsed += 1
    if (error) counters.failed += 1
    if (stored) counters.bytesFromCache += answer?.size ?? 0
    if (stored && told.hit) counters.timeSaved += latency(stored)
    if (asked.began === 0) return

    const lookup: LookupEvent = {
      method: asked.method,
      url: asked.url,
      key: asked.key,
      outcome,
      reason,
      forward: fwd,
      fromCache: outcome === 'hit' || outcome === 'stale' || outcome === 'revalidated',
      stored: told.stored ?? false,
      collapsed,
      status: answer?.status,
      size: answer?.size,
      age: stored && currentAge(stored, now),
      ttl: expires === undefined ? undefined : expires - now,
      duration: performance.now() - asked.began,
      error,
    }
    this.#emit('lookup', lookup)
    if (isDebugging) logLookup(lookup)
  }

  /** A response has been stored. */
  stored(response: ToldResponse, expires: number): void {
    this.#statistics.stored += 1
    if (!this.#isWanted('store')) return
    const { status } = response
    this.#emit('store', {
      ...described(response),
      status,
      expires: expires === Infinity ? undefined : new Date(expires),
    })
  }

  /**
   * An origin has answered about a stored response, or failed.
   *
   * @param answer its status code, or why there is none
   * @param sent when it was asked
   */
  validated(
    { method, url, key }: ToldRequest & { readonly key: string },
    confirmed: boolean,
    background: boolean,
    answer: number | Error,
    sent: number,
  ): void {
    if (confirmed) this.#statistics.confirmed += 1
    else this.#statistics.unconfirmed += 1
    if (!this.#isWanted('validate')) return
    this.#emit('validate', {
      method,
      url,
      key,
      confirmed,
      background,
      status: answer instanceof Error ? undefined : answer,
      duration: performance.now() - sent,
      error: answer instanceof Error ? answer : undefined,
    })
  }

  /** A stored response had to go. */
  evicted(response: DescribedResponse, limit: EvictEvent['limit']): void {
    this.#statistics.evicted += 1
    if (this.#isWanted('evict')) this.#emit('evict', { ...described(response), limit })
  }

  /** A stored response has been deleted; all of them where none is given. */
  deleted(response: DescribedResponse | undefined, cause: DeletionCause): void {
    this.#statistics.deleted += 1
    if (this.#isWanted('delete')) {
      this.#emit('delete', { ...(response ? described(response) : EVERYTHING), cause })
    }
  }

  error(operation: CacheError['operation'], error: unknown): void {
    this.#statistics.errors += 1
    const event: CacheError = { operation, error: asError(error) }
    this.#emit('error', event)
    if (isDebugging) logError(event)
  }

  #isWanted(name: keyof CacheEvents): boolean {
    return CHANNELS[name].hasSubscribers || this.#emitter.listenerCount(name) > 0
  }

  /**
   * Publishes an event at once, and tells the listeners in the next tick: what they throw, they throw
   * outside the cache, and one that is attached right after construction hears what happened in it.
   */
  #emit<E extends keyof CacheEvents>(name: E, event: CacheEvents[E][0]): void {
    if (CHANNELS[name].hasSubscribers) CHANNELS[name].publish(event)
    process.nextTick(() => {
      // Requests that a listener makes are none of those that the terms of a caller are for.
      runInTerms(undefined, () => {
        for (const listener of this.#emitter.rawListeners(name)) call(listener as Listener, event)
      })
    })
  }
}

/** Calls a listener; what it throws keeps no other one from being told, and is uncaught. */
function call(listener: Listener, event: unknown): void {
  try {
    listener(event)
  } catch (error) {
    process.nextTick(() => {
      throw error
    })
  }
}

/** How long the origin took to answer, in milliseconds; the clock may have been set back meanwhile. */
function latency({ requestTime, responseTime }: StoredResponse): number {
  return Math.max(0, responseTime - requestTime)
}

const EVERYTHING = { key: undefined, method: undefined, url: undefined, size: undefined }

function described({ method, url, cacheKey, content }: DescribedResponse) {
  return { method, url, key: cacheKey, size: content.length ?? 0 }
}

/** Whatever was thrown, as an Error. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(textOf(error), { cause: error })
}

/** Not everything can be converted to text: what has no prototype has no method for it. */
function textOf(value: unknown): string {
  try {
    return String(value)
  } catch {
    return `a thrown ${typeof value}`
  }
}
