import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { Fields } from '../rfc9111/message.ts'
import { readHeaders, toHandlerHeaders, toRawHeaders } from './raw-headers.ts'

type Controller = Dispatcher.DispatchController
type Handler = Dispatcher.DispatchHandler

/** Relays everything between a dispatcher and a handler, and says in `Cache-Status` that the cache had no part in it. */
export class RelayingHandler implements Handler {
  readonly #handler: Handler
  readonly #cacheStatus: string | undefined
  readonly #onResponse: ((status: number, fields: Fields) => void) | undefined
  readonly onBodySent?: (chunk: Buffer) => void
  readonly onRequestSent?: () => void

  /**
   * @param cacheStatus undefined for none
   * @param onResponse told of the final response before the handler is
   */
  constructor(
    handler: Handler,
    cacheStatus: string | undefined,
    onResponse?: (status: number, fields: Fields) => void,
  ) {
    this.#handler = handler
    this.#cacheStatus = cacheStatus
    this.#onResponse = onResponse
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
    if (status < 200) {
      this.#handler.onResponseStart?.(controller, status, headers as never, statusText)
      return
    }
    const fields = readHeaders(headers)
    this.#onResponse?.(status, fields)
    if (this.#cacheStatus === undefined) {
      this.#handler.onResponseStart?.(controller, status, headers as never, statusText)
      return
    }
    const told = withCacheStatus(fields, this.#cacheStatus)
    if (controller) controller.rawHeaders = toRawHeaders(told)
    this.#handler.onResponseStart?.(controller, status, toHandlerHeaders(told), statusText)
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    this.#handler.onResponseData?.(controller, chunk)
  }

  onResponseEnd(controller: Controller, trailers: object): void {
    this.#handler.onResponseEnd?.(controller, trailers as never)
  }

  onResponseError(controller: Controller, error: Error): void {
    this.#handler.onResponseError?.(controller, error)
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
