import { EventEmitter } from 'node:events'

/** Trouble that the cache had and its callers did not notice. */
export interface CacheError {
  /** What the cache was doing. */
  readonly operation: 'open' | 'read' | 'write' | 'delete' | 'list'
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

  /** Tells the listeners; one that throws does so outside the cache. */
  emit<E extends keyof CacheEvents>(name: E, ...event: CacheEvents[E]): void {
    if (this.#emitter.listenerCount(name) === 0) return
    process.nextTick(() => this.#emitter.emit(name, ...event))
  }

  error(operation: CacheError['operation'], error: unknown): void {
    // Listeners of what happens at construction are attached after it, so they are counted later.
    process.nextTick(() => this.emit('error', { operation, error: asError(error) }))
  }
}

/** Whatever was thrown, as an Error. */
export function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error), { cause: error })
}
