type Listener = (error: unknown) => void

/** What tells of errors by an event: a Keyv, an adapter for one, or the client of an adapter. */
export interface ErrorEmitter {
  on(event: string, listener: Listener): unknown
  off?(event: string, listener: Listener): unknown
  listeners?(event: string): readonly unknown[]
}

/** Those who are told of an error by one listener. */
class Audience extends Set<Listener> {
  readonly tell = (error: unknown): void => {
    for (const listener of [...this]) listener(error)
  }
}

/** What was handed over to many caches has one listener for all of them: more would look like a leak. */
const audiences = new WeakMap<ErrorEmitter, Audience>()

/** The listeners of a cache to the errors of what it uses, until it is closed. */
export class ErrorListeners {
  readonly #all: [ErrorEmitter, Listener][] = []

  add(emitter: ErrorEmitter, listener: Listener): void {
    const known = audiences.get(emitter)
    const audience = known ?? new Audience()
    const isHeard = emitter.listeners?.('error').includes(audience.tell) ?? known !== undefined
    if (!isHeard) emitter.on('error', audience.tell)
    audiences.set(emitter, audience.add(listener))
    this.#all.push([emitter, listener])
  }

  /** Makes what listens by itself, for good, and listens in its place. */
  replacing<T>(emitter: object, make: () => T): T {
    const { listeners, off } = emitter as Partial<ErrorEmitter>
    if (typeof listeners !== 'function' || typeof off !== 'function') return make()
    const all = () => listeners.call(emitter, 'error') as readonly Listener[]
    const before = [...all()]
    const made = make()
    for (const listener of all().filter((one) => !before.includes(one))) {
      off.call(emitter, 'error', listener)
      this.add(emitter as ErrorEmitter, listener)
    }
    return made
  }

  /**
   * Removes all of them. Where nobody else listens, the one of all caches stays, and does nothing: an error
   * without a listener, as when the server ends later than the cache, would end the program.
   */
  removeAll(): void {
    for (const [emitter, listener] of this.#all.splice(0)) {
      const audience = audiences.get(emitter)
      audience?.delete(listener)
      if (audience?.size !== 0 || (emitter.listeners?.('error').length ?? 0) < 2) continue
      emitter.off?.('error', audience.tell)
    }
  }
}
