import type { Dispatcher } from 'undici'
import type { RequestControl } from './request-control.ts'

/** In charge of a request while it waits for something that its caller may give up. */
export class Waiting implements Dispatcher.DispatchController {
  readonly #control: RequestControl
  readonly #stop: () => void
  paused = false
  aborted = false
  reason: Error | null = null

  /** @param stop called where nobody waits any more */
  constructor(control: RequestControl, stop: () => void) {
    this.#control = control
    this.#stop = stop
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
  }

  abort(reason: Error): void {
    this.aborted = true
    this.reason = reason
    this.#stop()
    this.#control.fail(reason)
  }
}
