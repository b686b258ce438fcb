import { EventEmitter } from 'node:events'

/** Trouble that the cache had and its callers did not notice. */
export interface CacheError {
  /**
   * What the cache was doing; `validate` where the origin failed, but a stale response was used in the
   * meantime (`staleWhileRevalidate`) or instead (`staleIfError`).
   */
  readonly operation: 'open' | 'read' | 'write' | 'delete' | 'rule' | 'validate'
  readonly error: Error
}

/** The events of a cache by name. */
export interface CacheEvents {
  error: [CacheError]
}

/** Listeners for what happens in a cache. Nobody has to listen, not even to errors. */
export class Events {
  readonly #emitter = new EventEmitter()

  on<E extends keyof CacheEvents>(name: E, listener: (...event: CacheEvents[E]) => void): void {
    this.#emitter.on(name, listener as (...args: unknown[]) => void)
  }

  off<E extends keyof CacheEvents>(name: E, listener: (...event: CacheEvents[E]) => void): void {
    this.#emitter.off(name, listener as (...args: unknown[]) => void)
  }

  /**
   * Tells the listeners, in the next tick: one that throws does so outside the cache, and one that is
   * attached right after construction hears what happened in it.
   */
  emit<E extends keyof CacheEvents>(name: E, ...event: CacheEvents[E]): void {
    process.nextTick(() => {
      if (this.#emitter.listenerCount(name) > 0) this.#emitter.emit(name, ...event)
    })
  }

  error(operation: CacheError['operation'], error: unknown): void {
    this.emit('error', { operation, error: asError(error) })
  }
}

/** Whatever was thrown, as an Error. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error), { cause: error })
}
