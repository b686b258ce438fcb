import type { Duplex } from 'node:stream'
import { inspect } from 'node:util'
import type { Dispatcher } from 'undici'
import type { Fields } from '../rfc9111/message.ts'
import { isOfFetch, readHeaders, toRawHeaders, toTextList } from './raw-headers.ts'

type Controller = Dispatcher.DispatchController

/** The handler that the built-in fetch of Node 22 and 24 dispatches with. */
interface LegacyHandlerCallbacks {
  onConnect?(abort: (reason?: Error) => void, context?: unknown): void
  onHeaders?(status: number, headers: Buffer[], resume: () => void, statusText: string): unknown
  onData?(chunk: Buffer): unknown
  onComplete?(trailers: Buffer[]): void
  onError?(error: Error): void
  onUpgrade?(status: number, headers: Buffer[], socket: Duplex): void
  onBodySent?(chunk: Buffer): void
  onRequestSent?(): void
  onResponseStarted?(): void
}

/** Whether a handler is one of those that undici 6 and 7 dispatch with. */
function isLegacyHandler(handler: object): boolean {
  const { onRequestStart, onConnect, onHeaders } = handler as Record<string, unknown>
  if (typeof onRequestStart === 'function') return false
  return typeof onConnect === 'function' || typeof onHeaders === 'function'
}

/**
 * Refuses what is no handler at once, as undici does: called later, it would leave a request hanging.
 *
 * @throws TypeError
 */
function assertHandler(handler: unknown): asserts handler is object {
  const isHandler =
    typeof handler === 'object' &&
    handler !== null &&
    (isLegacyHandler(handler) ||
      typeof (handler as Dispatcher.DispatchHandler).onRequestStart === 'function')
  if (isHandler) return
  const error = new TypeError(
    `dispatch: expected a handler with an onRequestStart method, got ${inspect(handler, { depth: 0 })}`,
  )
  throw Object.assign(error, { code: 'UND_ERR_INVALID_ARG' })
}

/** Lets a legacy handler be called with the callbacks of today. */
class LegacyHandler implements Dispatcher.DispatchHandler {
  readonly #handler: LegacyHandlerCallbacks
  readonly #listOf: (fields: Fields) => unknown[]
  readonly onBodySent?: (chunk: Buffer) => void
  readonly onRequestSent?: () => void

  constructor(handler: LegacyHandlerCallbacks) {
    this.#handler = handler
    this.#listOf = isOfFetch(handler) ? toTextList : toRawHeaders
    // MockAgent behaves differently for handlers that have these.
    if (handler.onBodySent) this.onBodySent = (chunk) => handler.onBodySent?.(chunk)
    if (handler.onRequestSent) this.onRequestSent = () => handler.onRequestSent?.()
  }

  onRequestStart(controller: Controller, context: unknown): void {
    this.#handler.onConnect?.((reason) => controller.abort(reason as Error), context)
  }

  onRequestUpgrade(_controller: Controller, status: number, headers: object, socket: Duplex): void {
    this.#handler.onUpgrade?.(status, toRawHeaders(readHeaders(headers)), socket)
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
    const raw = this.#listOf(readHeaders(headers)) as Buffer[]
    const resume = () => controller.resume()
    if (this.#handler.onHeaders?.(status, raw, resume, statusText ?? '') === false) {
      controller.pause()
    }
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.#handler.onData?.(chunk) === false) controller.pause()
  }

  onResponseEnd(_controller: Controller, trailers: object): void {
    this.#handler.onComplete?.(toRawHeaders(readHeaders(trailers)))
  }

  onResponseError(_controller: Controller, error: Error): void {
    if (!this.#handler.onError) throw error
    this.#handler.onError(error)
  }
}

/** An interceptor that lets legacy handlers be used with a dispatcher of today. */
export function acceptLegacyHandlers(dispatch: Dispatcher['dispatch']): Dispatcher['dispatch'] {
  return (options, handler) => {
    assertHandler(handler)
    return isLegacyHandler(handler)
      ? dispatch(legacyOptions(options), new LegacyHandler(handler as LegacyHandlerCallbacks))
      : dispatch(options, handler)
  }
}

/**
 * The options of a legacy dispatch as a dispatcher of today wants them: legacy handlers cannot do
 * HTTP/2, and the fetch that uses them sends `Content-Length` twice where the caller has set it.
 */
function legacyOptions(options: Dispatcher.DispatchOptions): Dispatcher.DispatchOptions {
  return { ...options, allowH2: false, headers: singleContentLength(options.headers) } as never
}

const CONTENT_LENGTH = 'content-length'

function singleContentLength(
  headers: Dispatcher.DispatchOptions['headers'],
): Dispatcher.DispatchOptions['headers'] {
  if (!headers || typeof headers !== 'object' || Symbol.iterator in headers) return headers ?? null
  for (const name in headers) {
    if (name.length !== CONTENT_LENGTH.length || name.toLowerCase() !== CONTENT_LENGTH) continue
    const repeated = /^(\d+)(?:, \1)+$/.exec(String(headers[name]))
    return repeated ? { ...headers, [name]: repeated[1] } : headers
  }
  return headers
}
