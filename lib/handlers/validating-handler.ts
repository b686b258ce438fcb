import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Received, StoringHandler } from './storing-handler.ts'

type Controller = Dispatcher.DispatchController

/**
 * Holds the caller back until the origin has said whether the stored response is still valid. Any
 * answer but that is an ordinary response, and goes on to the storing handler.
 */
export class ValidatingHandler implements Dispatcher.DispatchHandler {
  readonly #storing: StoringHandler
  readonly #onNotModified: (notModified: Received) => void
  readonly onBodySent?: (chunk: Buffer) => void
  readonly onRequestSent?: () => void
  #notModified: Received | undefined

  /** @param onNotModified takes over when the exchange with the origin has ended */
  constructor(storing: StoringHandler, onNotModified: (notModified: Received) => void) {
    this.#storing = storing
    this.#onNotModified = onNotModified
    if (storing.onBodySent) this.onBodySent = storing.onBodySent
    if (storing.onRequestSent) this.onRequestSent = storing.onRequestSent
  }

  onRequestStart(controller: Controller, context: unknown): void {
    this.#notModified = undefined
    this.#storing.onRequestStart(controller, context)
  }

  onRequestUpgrade(controller: Controller, status: number, headers: object, socket: Duplex): void {
    this.#storing.onRequestUpgrade(controller, status, headers, socket)
  }

  onResponseStarted(): void {
    this.#storing.onResponseStarted()
  }

  onResponseStart(
    controller: Controller,
    status: number,
    headers: object,
    statusText?: string,
  ): void {
    if (status === 304) this.#notModified = this.#storing.received(status, headers, statusText)
    else this.#storing.onResponseStart(controller, status, headers, statusText)
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (!this.#notModified) this.#storing.onResponseData(controller, chunk)
  }

  onResponseEnd(controller: Controller, trailers: object): void {
    const notModified = this.#notModified
    // Outside undici's parser, which must not be entered again by what is resumed now.
    if (notModified) queueMicrotask(() => this.#onNotModified(notModified))
    else this.#storing.onResponseEnd(controller, trailers)
  }

  onResponseError(controller: Controller | null | undefined, error: Error): void {
    this.#storing.onResponseError(controller, error)
  }
}
