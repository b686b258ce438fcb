import type { RequestControl } from './request-control.ts'

/** How long closing an agent waits for what nobody else waits for, in milliseconds. */
const BACKGROUND_PATIENCE = 5000

/** The requests of an agent that are under way, so that closing it can wait for them. */
export class ActiveRequests {
  readonly #controls = new Set<RequestControl>()
  /** Those that nobody waits for. */
  readonly #background = new Set<RequestControl>()
  readonly #waiting: (() => void)[] = []
  #isClosed = false
  readonly #onIdle: () => void

  /** @param onIdle called whenever none is under way any more that somebody waits for */
  constructor(onIdle: () => void = () => {}) {
    this.#onIdle = onIdle
  }

  /** Whether the agent has been closed, so that further requests are none of the cache's. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  add(control: RequestControl, isInBackground = false): void {
    this.#controls.add(control)
    if (isInBackground) this.#background.add(control)
    control.onFinished = this.#remove
  }

  readonly #remove = (control: RequestControl): void => {
    this.#controls.delete(control)
    if (this.#background.size > 0) this.#background.delete(control)
    if (this.#controls.size === this.#background.size) this.#onIdle()
    if (this.#controls.size > 0 || this.#waiting.length === 0) return
    for (const resolve of this.#waiting.splice(0)) resolve()
  }

  /** Accepts no more requests, and waits until those under way have ended; not long for those in the background. */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#controls.size === 0) return
    const closed = new Error('the agent has been closed')
    const timer = setTimeout(() => {
      for (const control of [...this.#background]) control.abort(closed)
    }, BACKGROUND_PATIENCE)
    await new Promise<void>((resolve) => this.#waiting.push(resolve))
    clearTimeout(timer)
  }

  /** Accepts no more requests, and aborts those under way. */
  abort(reason: Error): void {
    this.#isClosed = true
    for (const control of [...this.#controls]) control.abort(reason)
  }
}
