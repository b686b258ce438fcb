import type { Dispatcher } from 'undici'

type Controller = Dispatcher.DispatchController

/** How long the origin may take to answer, and how long for all of its answer, in milliseconds. */
const ANSWER_DEADLINE = 30_000
const CONTENT_DEADLINE = 600_000

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
    this.#expect('answer', controller, ANSWER_DEADLINE)
  }

  #expect(what: string, controller: Controller, deadline: number): void {
    clearTimeout(this.#timer)
    const late = new Error(`the origin did not ${what} within ${deadline} ms`)
    this.#timer = setTimeout(() => controller.abort(late), deadline).unref()
  }

  onResponseStart(controller: Controller, status: number): void {
    if (status < 200) return
    this.#expect('complete its answer', controller, CONTENT_DEADLINE)
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
