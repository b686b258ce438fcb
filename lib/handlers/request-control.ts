import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { contextTerms, runInTerms } from '../context.ts'
import { asError } from '../observe/events.ts'
import type { Fields } from '../rfc9111/message.ts'
import type { ParsedTerms } from '../terms.ts'
import { isOfFetch, toHandlerHeaders, toRawHeaders, toTextList } from './raw-headers.ts'

type Controller = Dispatcher.DispatchController
type Handler = Dispatcher.DispatchHandler

/** Callbacks about sending the request; the types of undici 7 do not know them all. */
interface SendingCallbacks {
  readonly onBodySent?: (chunk: Buffer) => void
  readonly onRequestSent?: () => void
  readonly onResponseStarted?: () => void
}

/** Who is told of a request that has ended. */
const NOBODY: Handler = {}

/** What undici rejects with when a request is aborted without a reason. */
class RequestAbortedError extends Error {
  override name = 'AbortError'
  readonly code = 'UND_ERR_ABORTED'
}

/**
 * The one controller that a caller's handler sees for the whole of its request: while the cache looks
 * for a stored response, while the origin answers, while a stored response is played. Whoever is in
 * charge at the moment is its `target`; what the caller asks for before there is one is not lost.
 * The handler is called through it, so that each request ends exactly once.
 */
export class RequestControl implements Controller {
  #headers: Fields | undefined
  #trailers: Fields | undefined
  #rawHeaders: Buffer[] | null | undefined
  #rawTrailers: Buffer[] | null | undefined
  #handler: Handler
  readonly #takesTexts: boolean
  readonly #terms: ParsedTerms | undefined = contextTerms()
  readonly #context: Record<string, unknown> = {}
  #target: Controller | undefined
  #paused = false
  /** Whether the response waits for something else than its caller. */
  #isHeld = false
  #aborted = false
  #reason: Error | null = null
  #finished = false
  /** Called when the request has ended in any way. */
  onFinished: ((control: RequestControl) => void) | undefined

  constructor(handler: Handler) {
    this.#handler = handler
    const { responseHeaders } = handler as { responseHeaders?: unknown }
    this.#takesTexts = responseHeaders === null || isOfFetch(handler)
  }

  get rawHeaders(): Buffer[] | null {
    this.#rawHeaders ??= this.#headers && this.#list(this.#headers)
    return this.#rawHeaders ?? null
  }

  /** Interceptors around the cache change it. */
  set rawHeaders(list: Buffer[] | null) {
    this.#rawHeaders = list
  }

  get rawTrailers(): Buffer[] | null {
    this.#rawTrailers ??= this.#trailers && this.#list(this.#trailers)
    return this.#rawTrailers ?? null
  }

  set rawTrailers(list: Buffer[] | null) {
    this.#rawTrailers = list
  }

  /**
   * Fields as a list, made only for those who ask: `fetch` does, and so do undici's `request`, `stream` and
   * `pipeline`, which do not look into it unless they are to return it.
   */
  #list(fields: Fields): Buffer[] {
    return this.#takesTexts ? (toTextList(fields) as never) : toRawHeaders(fields)
  }

  get paused(): boolean {
    return this.#paused
  }

  get aborted(): boolean {
    return this.#aborted
  }

  get reason(): Error | null {
    return this.#reason
  }

  /** Whether the handler has been told the end, or that there will be none. */
  get finished(): boolean {
    return this.#finished
  }

  pause(): void {
    this.#paused = true
    this.#target?.pause()
  }

  resume(): void {
    this.#paused = false
    // Who reads a body resumes after each piece.
    if (!this.#isHeld) this.#target?.resume()
  }

  /** Lets the response wait, whether or not the caller wants it, until {@link proceed} or another target. */
  hold(): void {
    this.#isHeld = true
    this.#target?.pause()
  }

  /** Lets it go on, unless it is the caller who wants it to wait. */
  proceed(): void {
    this.#isHeld = false
    if (!this.#paused) this.#target?.resume()
  }

  abort(reason?: Error): void {
    if (this.#aborted || this.#finished) return
    this.#aborted = true
    this.#reason = reason ?? new RequestAbortedError('Request aborted')
    if (this.#target) this.#target.abort(this.#reason)
    else this.fail(this.#reason)
  }

  /** Hands control to another target, with what was asked for before. */
  attach(target: Controller | undefined, context?: unknown): void {
    // A redirect interceptor inside the cache tells its history by the context.
    Object.assign(this.#context, context)
    this.#target = target
    this.#isHeld = false
    if (target === undefined) return
    if (this.#aborted) target.abort(this.#reason as Error)
    else if (this.#paused) target.pause()
  }

  /** Begins the request, so that the caller can control it from now on. */
  begin(): void {
    try {
      this.#handler.onRequestStart?.(this, this.#context)
    } catch (error) {
      this.abort(asError(error))
    }
  }

  informational(status: number, headers: Fields, statusText?: string): void {
    this.#headers = headers
    this.#rawHeaders = undefined
    runInTerms(this.#terms, () =>
      this.#handler.onResponseStart?.(this, status, toHandlerHeaders(headers), statusText),
    )
  }

  responseStart(status: number, headers: Fields, statusText = ''): void {
    this.#headers = headers
    this.#rawHeaders = undefined
    runInTerms(this.#terms, () =>
      this.#handler.onResponseStart?.(this, status, toHandlerHeaders(headers), statusText),
    )
  }

  responseData(chunk: Buffer): void {
    runInTerms(this.#terms, () => this.#handler.onResponseData?.(this, chunk))
  }

  responseEnd(trailers: Fields): void {
    if (this.#finished) return
    this.#finished = true
    this.#trailers = trailers
    try {
      runInTerms(this.#terms, () => this.#handler.onResponseEnd?.(this, toHandlerHeaders(trailers)))
    } catch (error) {
      // It is told of its own error, as it would be by undici.
      this.#finished = false
      throw error
    }
    this.#release()
  }

  upgrade(status: number, headers: Fields, socket: Duplex): void {
    this.#finished = true
    this.#headers = headers
    this.#rawHeaders = undefined
    const handler = this.#release()
    handler.onRequestUpgrade?.(this, status, toHandlerHeaders(headers), socket)
  }

  /**
   * Lets go of the handler, of whoever is in charge and of what that took, as whoever keeps the response keeps the
   * controller: undici does so until the next turn of the event loop, and V8 sometimes until it has looked through
   * all memory.
   *
   * @returns the handler, for the last that is told
   */
  #release(): Handler {
    const handler = this.#handler
    this.onFinished?.(this)
    this.onFinished = undefined
    this.#target = undefined
    this.#handler = NOBODY
    return handler
  }

  /** Tells the handler that its request failed, unless it has ended already. */
  fail(error: Error): void {
    if (this.#finished) return
    this.#finished = true
    const handler = this.#release()
    runInTerms(this.#terms, () => handler.onResponseError?.(this, error))
  }

  /** The callbacks about sending that the handler wants: MockAgent behaves differently where there are any. */
  get sendingCallbacks(): SendingCallbacks {
    const { onBodySent, onRequestSent, onResponseStarted } = this.#handler as SendingCallbacks
    return {
      ...(onBodySent && { onBodySent: onBodySent.bind(this.#handler) }),
      ...(onRequestSent && { onRequestSent: onRequestSent.bind(this.#handler) }),
      ...(onResponseStarted && { onResponseStarted: onResponseStarted.bind(this.#handler) }),
    }
  }
}
