import type { Dispatcher } from 'undici'
import type { Fields } from '../rfc9111/message.ts'
import type { Range } from '../rfc9111/ranges.ts'
import type { ContentReader } from '../storage/content.ts'
import { readHeaders } from './raw-headers.ts'

type Controller = Dispatcher.DispatchController

/** How much of it is held for a reader that is slower, in bytes. */
const MOST_HELD = 512 * 1024

/** The content that the origin has is not what is wanted. */
class OtherContentError extends Error {
  override name = 'OtherContentError'
}

/** Receives the rest of some content, at the pace of its reader. */
export class RestHandler implements Dispatcher.DispatchHandler, ContentReader {
  readonly #startOf: (status: number, fields: Fields) => number | undefined
  readonly #onReceived: (bytes: number) => void
  readonly #accepted = Promise.withResolvers<boolean>()
  readonly #pieces: Buffer[] = []
  #held = 0
  #controller: Controller | undefined
  /** Which byte of the content is wanted next, and how many are wanted. */
  #next: number
  #left: number
  /** How many bytes come before that. */
  #known = 0
  #failure: Error | undefined
  #isOver = false
  #wake: (() => void) | undefined

  /**
   * @param rest which part of the content is wanted
   * @param startOf where the content of an answer begins, in bytes; undefined where it is of no use
   * @param onReceived told how many bytes have come, one time after the other
   */
  constructor(
    { first, last }: Range,
    startOf: (status: number, fields: Fields) => number | undefined,
    onReceived: (bytes: number) => void,
  ) {
    this.#next = first
    this.#left = last - first + 1
    this.#startOf = startOf
    this.#onReceived = onReceived
  }

  /** Whether the origin has answered with what is wanted. */
  get accepted(): Promise<boolean> {
    return this.#accepted.promise
  }

  onRequestStart(controller: Controller): void {
    this.#controller = controller
    if (this.#isOver) controller.abort(new Error('nobody reads the response any more'))
  }

  onResponseStart(controller: Controller, status: number, headers: object): void {
    if (status < 200) return
    const start = this.#startOf(status, readHeaders(headers))
    if (start === undefined) {
      controller.abort(new OtherContentError('the origin has other content by now'))
      return
    }
    // Interceptors inside the cache may send it again.
    this.#known = this.#next - start
    this.#accepted.resolve(true)
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    this.#onReceived(chunk.length)
    const known = Math.min(this.#known, chunk.length)
    this.#known -= known
    const wanted = chunk.subarray(known, known + this.#left)
    this.#next += wanted.length
    this.#left -= wanted.length
    if (wanted.length > 0) this.#pieces.push(wanted)
    this.#held += wanted.length
    if (this.#held > MOST_HELD) controller.pause()
    this.#wake?.()
  }

  onResponseEnd(): void {
    if (this.#left > 0) this.#failure ??= new Error('the origin has sent less than it has')
    this.#end()
  }

  onResponseError(_controller: Controller | null | undefined, error: Error): void {
    this.#failure ??= error
    this.#end()
  }

  #end(): void {
    this.#isOver = true
    this.#accepted.resolve(false)
    this.#wake?.()
  }

  async read(): Promise<Buffer | null> {
    while (this.#pieces.length === 0) {
      if (this.#left === 0) return null
      if (this.#failure) throw this.#failure
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    const piece = this.#pieces.shift() as Buffer
    this.#held -= piece.length
    // Not within the callback of a connection that may be calling back at the moment.
    if (this.#held <= MOST_HELD / 2) queueMicrotask(() => this.#controller?.resume())
    return piece
  }

  close(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#failure = new Error('nobody reads the response any more')
    this.#controller?.abort(this.#failure)
  }
}
