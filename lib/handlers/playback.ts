import type { Dispatcher } from 'undici'
import { asError } from '../observe/events.ts'
import type { Fields } from '../rfc9111/message.ts'
import { type ContentReader, LostContentError } from '../storage/content.ts'
import type { RequestControl } from './request-control.ts'

/**
 * Plays content to the handler of a request, at its pace: reads ahead by one read, stops while it is
 * paused, and ends at once when it is aborted.
 */
export class Playback implements Dispatcher.DispatchController {
  readonly #control: RequestControl
  readonly #reader: ContentReader | undefined
  readonly #trailers: () => Fields
  readonly #onLost: ((error: LostContentError) => void) | undefined
  #next: Promise<Buffer | null> | undefined
  #current: Buffer | undefined
  #paused = false
  #aborted = false
  #reason: Error | null = null
  #hasStarted = false
  #isRunning = false
  #isAtEnd = false
  #isDone = false

  /**
   * @param first what has been read already
   * @param onLost told where the rest of the content is lost, which nobody can be spared any more
   */
  constructor(
    control: RequestControl,
    reader: ContentReader | undefined,
    first?: Buffer | null,
    trailers: () => Fields = () => ({}),
    onLost?: (error: LostContentError) => void,
  ) {
    this.#onLost = onLost
    this.#control = control
    this.#reader = reader
    this.#trailers = trailers
    this.#current = first ?? undefined
    if (first === null || reader === undefined) this.#isAtEnd = true
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

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    if (this.#hasStarted) this.#continue()
  }

  /** Begins to play; to be called when the handler has been given the header section. */
  start(): void {
    this.#hasStarted = true
    this.#continue()
  }

  abort(reason: Error): void {
    if (this.#isDone) return
    this.#aborted = true
    this.#reason = reason
    this.#finish()
    this.#control.fail(reason)
  }

  /** Delivers until there is nothing more, until it is paused, or until something has to be waited for. */
  #continue(): void {
    // A handler resumes from within its own callbacks.
    if (this.#isRunning) return
    this.#isRunning = true
    try {
      while (!this.#isDone && !this.#paused) {
        if (this.#current !== undefined) this.#deliver(this.#current)
        else if (this.#isAtEnd) this.#end()
        else {
          this.#wait()
          return
        }
      }
    } catch (error) {
      this.#fail(error)
    }
    this.#isRunning = false
  }

  #wait(): void {
    this.#read().then(
      (bytes) => {
        this.#isRunning = false
        this.#isAtEnd = bytes === null
        this.#current = bytes ?? undefined
        this.#continue()
      },
      (error: unknown) => {
        this.#isRunning = false
        this.#fail(error)
      },
    )
  }

  #fail(error: unknown): void {
    this.#finish()
    if (error instanceof LostContentError) this.#onLost?.(error)
    try {
      this.#control.abort(asError(error))
      this.#control.fail(asError(error))
    } catch (thrown) {
      // What even the handler's onResponseError throws is nobody's to handle, as in undici.
      process.nextTick(() => {
        throw thrown
      })
    }
  }

  #read(): Promise<Buffer | null> {
    const bytes = this.#next ?? this.#readAhead()
    this.#next = undefined
    return bytes
  }

  #readAhead(): Promise<Buffer | null> {
    const bytes = (this.#reader as ContentReader).read()
    // It is awaited later, or never if the playback is aborted.
    bytes.catch(() => {})
    return bytes
  }

  #deliver(bytes: Buffer): void {
    this.#current = undefined
    if (!this.#isAtEnd) this.#next ??= this.#readAhead()
    this.#control.responseData(bytes)
  }

  #end(): void {
    this.#finish()
    this.#control.responseEnd(this.#trailers())
  }

  #finish(): void {
    if (this.#isDone) return
    this.#isDone = true
    this.#reader?.close()
  }
}
