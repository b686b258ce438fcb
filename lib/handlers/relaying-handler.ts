import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { contextTerms, runInTerms } from '../context.ts'
import type { Fields } from '../rfc9111/message.ts'
import type { ParsedTerms } from '../terms.ts'
import { readHeaders, toHandlerHeaders, toRawHeaders } from './raw-headers.ts'

type Controller = Dispatcher.DispatchController
type Handler = Dispatcher.DispatchHandler

/** Told of what is relayed. */
export interface RelayObserver {
  /** The final response, before the handler is told. */
  answered(status: number, fields: Fields): void
  /** There is no response, and not because the caller gave it up. */
  failed(error: Error): void
  /** The end: how many bytes of content there were. */
  ended(bytes: number): void
}

/**
 * Relays everything between a dispatcher and a handler, and says in `Cache-Status` that the cache had no part
 * in it. The handler is called in the terms of its own request.
 */
export class RelayingHandler implements Handler {
  readonly #handler: Handler
  readonly #cacheStatus: string | undefined
  readonly #observer: RelayObserver
  readonly #terms: ParsedTerms | undefined = contextTerms()
  #hasStarted = false
  #received = 0
  readonly onBodySent?: (chunk: Buffer) => void
  readonly onRequestSent?: () => void

  /** @param cacheStatus undefined for none */
  constructor(handler: Handler, cacheStatus: string | undefined, observer: RelayObserver) {
    this.#handler = handler
    this.#cacheStatus = cacheStatus
    this.#observer = observer
    // MockAgent behaves differently for handlers that have these.
    if (handler.onBodySent) this.onBodySent = (chunk) => handler.onBodySent?.(chunk)
    if (handler.onRequestSent) this.onRequestSent = () => handler.onRequestSent?.()
  }

  onRequestStart(controller: Controller, context: unknown): void {
    this.#handler.onRequestStart?.(controller, context)
  }

  onRequestUpgrade(controller: Controller, status: number, headers: object, socket: Duplex): void {
    this.#handler.onRequestUpgrade?.(controller, status, headers as never, socket)
  }

  onResponseStarted(): void {
    this.#handler.onResponseStarted?.()
  }

  onResponseStart(
    controller: Controller,
    status: number,
    headers: object,
    statusText?: string,
  ): void {
    const told = status < 200 ? headers : this.#told(controller, status, headers)
    runInTerms(this.#terms, () =>
      this.#handler.onResponseStart?.(controller, status, told as never, statusText),
    )
  }

  /** The fields of a final response with what the cache did. */
  #told(controller: Controller, status: number, headers: object): object {
    const fields = readHeaders(headers)
    this.#hasStarted = true
    this.#observer.answered(status, fields)
    if (this.#cacheStatus === undefined) return headers
    const told = withCacheStatus(fields, this.#cacheStatus)
    if (controller) controller.rawHeaders = toRawHeaders(told)
    return toHandlerHeaders(told)
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    this.#received += chunk.length
    runInTerms(this.#terms, () => this.#handler.onResponseData?.(controller, chunk))
  }

  /** Once: a handler that throws at the end is told an error as well. */
  #tellReceived(): void {
    this.#observer.ended(this.#received)
    this.#received = 0
  }

  onResponseEnd(controller: Controller, trailers: object): void {
    this.#tellReceived()
    runInTerms(this.#terms, () => this.#handler.onResponseEnd?.(controller, trailers as never))
  }

  /** The controller is null where the request failed before it began. */
  onResponseError(controller: Controller, error: Error): void {
    if (!this.#hasStarted && !controller?.aborted) this.#observer.failed(error)
    this.#tellReceived()
    runInTerms(this.#terms, () => this.#handler.onResponseError?.(controller, error))
  }
}

/**
 * Fields with a member appended to `Cache-Status`, behind those of caches nearer to the origin (RFC 9211 §2).
 *
 * @param age the `Age` of the response, in seconds, if it is to be told as well
 */
export function withCacheStatus(
  fields: Fields,
  member: string,
  age: Fields[string] | undefined = fields.age,
): Fields {
  const others = fields['cache-status']
  const status = others ? [others, member].flat().join(', ') : member
  return age === undefined
    ? { ...fields, 'cache-status': status }
    : { ...fields, age, 'cache-status': status }
}
