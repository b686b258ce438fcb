import type { Duplex } from 'node:stream'
import type { Dispatcher } from 'undici'
import { announcedSize } from '../rfc9111/fields.ts'
import type { Fields } from '../rfc9111/message.ts'
import type { NotStored } from '../rfc9111/storing.ts'
import type { NewEntry } from '../storage/entry.ts'
import type { Recording } from '../storage/recorder.ts'
import type { Flight } from './flights.ts'
import { Playback } from './playback.ts'
import { readHeaders } from './raw-headers.ts'
import { withCacheStatus } from './relaying-handler.ts'
import type { RequestControl } from './request-control.ts'

type Controller = Dispatcher.DispatchController

/** A response as it came from the origin. */
export interface Received {
  readonly status: number
  readonly statusText: string
  readonly fields: Fields
  readonly requestTime: number
  readonly responseTime: number
  /** Whether an interceptor inside the cache followed redirects to get it. */
  readonly isRedirected: boolean
  /** Whether there are marks in its fields in place of values of its request. */
  readonly hasHiddenValues?: true
}

/** What the handlers of one request need, and what they ask when the origin has answered. */
export interface Exchange {
  readonly method: string
  readonly control: RequestControl
  readonly flight: Flight
  /** Whether a response may be stored: what to store, or why not. */
  storing(received: Received): NewEntry | NotStored
  record(entry: NewEntry): Recording
  /**
   * Told that the origin failed before it answered, or answered with a failure of its own: whether the
   * caller is answered otherwise.
   */
  useInstead(failure: Error, status?: number): boolean
  /** Told what becomes of the origin's answer. @returns the member of `Cache-Status` for it; undefined for none */
  answered(received: Received, stored: NewEntry | NotStored): string | undefined
  /** Told that there is no answer, and that the caller is told so. */
  failed(error: Error): void
  /** Told the end: how many bytes of content the origin has sent. */
  ended(bytes: number): void
}

/** How much is read of a response that nobody wants, in bytes, before its connection is given up. */
const MAX_DISCARDED = 64 * 1024

/** For how long, in milliseconds. */
const MAX_DISCARDING = 1000

/** Errors of undici that tell what the caller did wrong, and nothing of the origin. */
const OF_THE_CALLER = new Set([
  'UND_ERR_ABORTED',
  'UND_ERR_CLOSED',
  'UND_ERR_DESTROYED',
  'UND_ERR_INVALID_ARG',
  'UND_ERR_NOT_SUPPORTED',
])

/** Whether an error means that the origin could not be reached, or failed. */
function isOfTheOrigin(error: Error & { code?: unknown; statusCode?: unknown }): boolean {
  // undici's responseError interceptor makes errors of responses.
  if (typeof error.statusCode === 'number') return error.statusCode >= 500
  // What has no code is none of the network's, but the mistake of an interceptor.
  return typeof error.code === 'string' && !OF_THE_CALLER.has(error.code)
}

/** Relays the origin's response to the caller, and stores it meanwhile if that is allowed. */
export class StoringHandler implements Dispatcher.DispatchHandler {
  readonly #exchange: Exchange
  readonly #control: RequestControl
  readonly onBodySent?: (chunk: Buffer) => void
  readonly onRequestSent?: () => void
  #requestTime = Date.now()
  #context: { history?: unknown[] } | undefined
  #controller: Controller | undefined
  #recording: Recording | undefined
  #expectedLength: number | undefined
  #delivered = 0
  #received = 0
  /** Set once others read the content too: then the caller reads it at its own pace as they do. */
  #playback: Playback | undefined
  #trailers: Fields = {}
  #hasStarted = false
  /** Set once the caller is answered otherwise: how much is still coming is not its business. */
  #isReplaced = false
  #discarding: NodeJS.Timeout | undefined

  constructor(exchange: Exchange) {
    this.#exchange = exchange
    this.#control = exchange.control
    const { onBodySent, onRequestSent } = exchange.control.sendingCallbacks
    if (onBodySent) this.onBodySent = onBodySent
    if (onRequestSent) this.onRequestSent = onRequestSent
  }

  /** May be called several times: interceptors inside the cache retry and follow redirects. */
  onRequestStart(controller: Controller, context: unknown): void {
    this.#recording?.abandon(new Error('the request was sent again'))
    this.#recording = undefined
    this.#hasStarted = false
    this.#requestTime = Date.now()
    this.#context = (context ?? undefined) as { history?: unknown[] } | undefined
    this.#controller = controller
    this.#control.attach(controller, context)
  }

  onRequestUpgrade(_controller: Controller, status: number, headers: object, socket: Duplex): void {
    this.#exchange.flight.settle('unusable')
    this.#control.upgrade(status, readHeaders(headers), socket)
  }

  onResponseStarted(): void {
    this.#control.sendingCallbacks.onResponseStarted?.()
  }

  /** The response as it came, with the times that its age is calculated from (§4.2.3). */
  received(status: number, headers: object, statusText = ''): Received {
    const responseTime = Date.now()
    return {
      status,
      statusText,
      fields: readHeaders(headers),
      requestTime: this.#requestTime,
      responseTime,
      // The history begins with the request itself.
      isRedirected: (this.#context?.history?.length ?? 0) > 1,
    }
  }

  onResponseStart(
    controller: Controller,
    status: number,
    headers: object,
    statusText?: string,
  ): void {
    const received = this.received(status, headers, statusText)
    const { fields } = received
    if (status < 200) {
      this.#control.informational(status, fields, statusText)
      return
    }

    this.#hasStarted = true
    if (status >= 500) {
      const failure = new Error(`the origin answered with status ${status}`)
      this.#isReplaced = this.#exchange.useInstead(failure, status)
      if (this.#isReplaced) {
        const late = new Error('a stored response is used')
        this.#discarding = setTimeout(() => controller.abort(late), MAX_DISCARDING).unref()
        // The caller may have paused what it does not get any more.
        if (controller.paused) queueMicrotask(() => controller.resume())
        return
      }
    }

    const stored = this.#exchange.storing(received)
    if (typeof stored !== 'string') this.#record(stored, received)
    this.#settle(typeof stored !== 'string')

    const member = this.#exchange.answered(received, stored)
    const told = member === undefined ? fields : withCacheStatus(fields, member)
    this.#control.responseStart(status, told, statusText)
  }

  /** Tells those that wait whether they can use the response, as soon as that is known. */
  #settle(isStored: boolean): void {
    const { flight } = this.#exchange
    const settle = (isUsable: boolean) => flight.settle(isUsable ? 'answered' : 'unusable')
    const agreed = this.#recording?.agreed
    if (isStored && agreed) void agreed.then(settle)
    else settle(isStored)
  }

  #record(entry: NewEntry, received: Received): void {
    this.#expectedLength = announcedSize(this.#exchange.method, received)
    this.#recording = this.#exchange.record(entry)
    this.#recording.content.onReader = () => this.#share()
    this.#recording.content.onRoom = () => queueMicrotask(() => this.#control.proceed())
  }

  /**
   * Somebody else wants the content as well. The caller must not set the pace any more: it may not
   * read at all before the other one has finished.
   */
  #share(): void {
    const { content } = this.#recording as Recording
    content.onReader = undefined
    if (this.#control.finished) return
    const reader = content.open(this.#delivered)
    this.#playback = new Playback(this.#control, reader, undefined, () => this.#trailers)
    const controller = this.#controller
    // Readers come and go inside the callbacks of other connections, where undici cannot be called back.
    const resume = () => queueMicrotask(() => controller?.resume())
    const nobodyReads = new Error('nobody reads the response any more')
    content.onRoom = resume
    content.onUnread = () => queueMicrotask(() => controller?.abort(nobodyReads))
    this.#control.attach(this.#playback)
    this.#playback.start()
    resume()
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    this.#received += chunk.length
    if (this.#isReplaced) {
      this.#discard(controller, chunk)
      return
    }
    const content = this.#recording?.content
    content?.append(chunk)
    if (this.#playback === undefined) {
      this.#delivered += chunk.length
      this.#control.responseData(chunk)
    }
    // undici's parser delivers nothing whenever it goes on: who pauses then makes it go on for ever.
    if (!content?.isCongested || chunk.length === 0) return
    // A caller that is alone sets the pace itself when nothing is stored.
    if (this.#playback) controller.pause()
    else if (content.givenUp === undefined) this.#control.hold()
  }

  /** Reads over what nobody wants, so that the connection can be used again; but not for long. */
  #discard(controller: Controller, chunk: Buffer): void {
    this.#delivered += chunk.length
    if (this.#delivered > MAX_DISCARDED) controller.abort(new Error('a stored response is used'))
  }

  /** Once: a handler that throws at the end is told an error as well. */
  #tellReceived(): void {
    this.#exchange.ended(this.#received)
    this.#received = 0
  }

  onResponseEnd(_controller: Controller, trailers: object): void {
    clearTimeout(this.#discarding)
    this.#tellReceived()
    if (this.#isReplaced) return
    this.#trailers = readHeaders(trailers)
    const length = this.#recording?.content.received
    const isWhole = this.#expectedLength === undefined || this.#expectedLength === length
    this.#recording?.complete(isWhole, true)
    if (this.#playback === undefined) this.#control.responseEnd(this.#trailers)
  }

  /** The controller is null where the request failed before it began. */
  onResponseError(_controller: Controller | null | undefined, error: Error): void {
    clearTimeout(this.#discarding)
    this.#tellReceived()
    if (this.#isReplaced) return
    this.#recording?.abandon(error)
    const isOver = this.#hasStarted || this.#control.aborted || this.#control.finished
    if (!isOver && isOfTheOrigin(error) && this.#exchange.useInstead(error)) {
      this.#isReplaced = true
      return
    }
    if (!isOver) this.#exchange.failed(error)
    this.#exchange.flight.settle(this.#control.aborted ? 'aborted' : 'failed')
    if (this.#playback === undefined) this.#control.fail(error)
  }
}
