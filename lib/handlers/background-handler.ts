import type { Dispatcher } from 'undici'

type Controller = Dispatcher.DispatchController

/** How long the origin may take to answer, in milliseconds: closing an agent waits for it. */
const DEADLINE = 30_000

/** The reason for which a request is given up whose answer turned out to be of no use. */
export class NotNeededError extends Error {
  override name = 'NotNeededError'
}

/** The caller of a request that the cache makes by itself: it takes what comes, and only tells a failure. */
export class BackgroundHandler implements Dispatcher.DispatchHandler {
  readonly #onDone: (failure: Error | undefined) => void
  #timer: NodeJS.Timeout | undefined
  #failure: Error | undefined

  constructor(onDone: (failure: Error | undefined) => void) {
    this.#onDone = onDone
  }

  onRequestStart(controller: Controller): void {
    const late = new Error(`the origin did not answer within ${DEADLINE} ms`)
    this.#timer = setTimeout(() => controller.abort(late), DEADLINE)
  }

  onResponseStart(_controller: Controller, status: number): void {
    if (status < 200) return
    clearTimeout(this.#timer)
    if (status >= 500) this.#failure = new Error(`the origin answered with status ${status}`)
  }

  onResponseData(): void {}

  onResponseEnd(): void {
    clearTimeout(this.#timer)
    this.#onDone(this.#failure)
  }

  onResponseError(_controller: Controller, error: Error): void {
    clearTimeout(this.#timer)
    this.#onDone(error instanceof NotNeededError ? this.#failure : error)
  }
}
