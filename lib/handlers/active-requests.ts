import type { RequestControl } from './request-control.ts'

/** The requests of an agent that are under way, so that closing it can wait for them. */
export class ActiveRequests {
  readonly #controls = new Set<RequestControl>()
  #onIdle: (() => void)[] = []
  #isClosed = false

  /** Whether the agent has been closed, so that further requests are none of the cache's. */
  get isClosed(): boolean {
    return this.#isClosed
  }

  add(control: RequestControl): void {
    this.#controls.add(control)
    control.onFinished = () => {
      this.#controls.delete(control)
      if (this.#controls.size > 0) return
      for (const resolve of this.#onIdle.splice(0)) resolve()
    }
  }

  /** Accepts no more requests, and waits until those under way have ended. */
  async close(): Promise<void> {
    this.#isClosed = true
    if (this.#controls.size === 0) return
    await new Promise<void>((resolve) => this.#onIdle.push(resolve))
  }

  /** Accepts no more requests, and aborts those under way. */
  abort(reason: Error): void {
    this.#isClosed = true
    for (const control of [...this.#controls]) control.abort(reason)
  }
}
