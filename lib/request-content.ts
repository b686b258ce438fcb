import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { type FormDataLike, writeForm } from './key/multipart.ts'
import { fieldValue } from './rfc9111/fields.ts'
import type { Fields } from './rfc9111/message.ts'

/** The content of a request that has been read, and what can be sent in place of what it was read from. */
export type ReadContent =
  | {
      readonly isWhole: true
      readonly bytes: Buffer
      /** Its media type, where it is not the request's fields that tell it. */
      readonly type?: string
      /** It can be sent any number of times. */
      readonly body: unknown
    }
  /** There is more of it than was to be read, or it takes too long. */
  | { readonly isWhole: false; readonly body: unknown }

/** Content that is being read. */
export interface Reading {
  readonly content: Promise<ReadContent>
  /** Gives it up, and the stream with it. */
  stop(): void
}

/** How long content may take to arrive for its request to be keyed by it, in milliseconds. */
const PATIENCE = 1000

/**
 * Reads the content of a request, of any kind that undici accepts, without changing what is sent.
 *
 * @param limit how much to read, in bytes
 */
export function readContent(body: unknown, fields: Fields, limit: number): ReadContent | Reading {
  if (body === undefined || body === null) return whole(Buffer.alloc(0), body)
  if (typeof body === 'string') {
    return Buffer.byteLength(body) > limit ? tooMuch(body) : whole(Buffer.from(body), body)
  }
  if (ArrayBuffer.isView(body) || body instanceof ArrayBuffer) {
    if (body.byteLength > limit) return tooMuch(body)
    // The caller may go on to use it for something else.
    const copy = Buffer.from(bytesOf(body))
    return whole(copy, copy)
  }
  if (isFormData(body)) return { content: readForm(body, limit), stop: () => {} }
  if (body instanceof Blob) return { content: readBlob(body, limit), stop: () => {} }
  const isAnnounced = Number(fieldValue(fields, 'content-length')) > limit
  return isAnnounced || !isIterable(body) ? tooMuch(body) : readChunks(body, limit)
}

/** Whether content can be read but once. */
export function isReadOnce(body: unknown): boolean {
  if (body === undefined || body === null || typeof body === 'string') return false
  if (ArrayBuffer.isView(body) || body instanceof ArrayBuffer) return false
  return !isFormData(body) && !(body instanceof Blob)
}

function whole(bytes: Buffer, body: unknown, type?: string): ReadContent {
  return { isWhole: true, bytes, body, ...(type && { type }) }
}

function tooMuch(body: unknown): ReadContent {
  return { isWhole: false, body }
}

function bytesOf(data: ArrayBufferView | ArrayBuffer): Buffer {
  if (data instanceof ArrayBuffer) return Buffer.from(data)
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
}

function isFormData(body: unknown): body is FormDataLike {
  return (body as Partial<FormDataLike>)[Symbol.toStringTag] === 'FormData'
}

async function readForm(form: FormDataLike, limit: number): Promise<ReadContent> {
  const sizes = [...form].map(([name, value]) =>
    typeof value === 'string' ? name.length + value.length : value.size,
  )
  if (sizes.reduce((sum, size) => sum + size, 0) > limit) return tooMuch(form)
  const boundary = `----form-${randomBytes(16).toString('hex')}`
  const bytes = await writeForm(form, boundary)
  return whole(bytes, form, `multipart/form-data; boundary=${boundary}`)
}

async function readBlob(blob: Blob, limit: number): Promise<ReadContent> {
  if (blob.size > limit) return tooMuch(blob)
  return whole(Buffer.from(await blob.arrayBuffer()), blob, blob.type)
}

type Chunks = AsyncIterable<unknown> | Iterable<unknown>

function isIterable(body: unknown): body is Chunks {
  const { [Symbol.iterator]: sync, [Symbol.asyncIterator]: async } = Object(body)
  return typeof sync === 'function' || typeof async === 'function'
}

function iterate(chunks: Chunks): AsyncIterator<unknown> | Iterator<unknown> {
  return Symbol.asyncIterator in chunks ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]()
}

/** Reads a stream or an iterable, which can be read only once. */
function readChunks(chunks: Chunks, limit: number): Reading {
  let iterator: ReturnType<typeof iterate> | undefined
  let isStopped = false

  function stop(): void {
    isStopped = true
    // A stream that has nothing to say would never hear that nobody listens.
    if (chunks instanceof Readable) chunks.on('error', () => {}).destroy()
    else Promise.resolve(iterator?.return?.()).catch(() => {})
  }

  async function read(): Promise<ReadContent> {
    const isBuffered = chunks instanceof Readable && (await isOfKnownLength(chunks))
    if (isStopped) return tooMuch(chunks)
    iterator = iterate(chunks)
    const known: Buffer[] = []
    let length = 0
    const late = Promise.withResolvers<undefined>()
    const timer = setTimeout(late.resolve, PATIENCE, undefined)
    try {
      for (;;) {
        const pending = Promise.resolve(iterator.next())
        const next = await Promise.race([pending, late.promise])
        if (next === undefined) return tooMuch(resumed(known, iterator, pending))
        if (next.done) {
          const bytes = Buffer.concat(known)
          return whole(bytes, isBuffered ? bytes : { [Symbol.asyncIterator]: () => replay(known) })
        }
        const chunk = chunkBytes(next.value)
        length += chunk?.length ?? 0
        // What is no chunk is left to undici to complain about.
        if (chunk === undefined || length > limit) {
          return tooMuch(resumed(known, iterator, pending))
        }
        known.push(chunk)
      }
    } catch (error) {
      const isDestroyed = chunks instanceof Readable && chunks.destroyed && chunks.errored === null
      // One that was destroyed without an error has none to tell; undici has.
      if (isDestroyed) return tooMuch(chunks)
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  return { content: read(), stop }
}

/**
 * Whether undici would know how long a stream is, and announce it: it looks when it sends the request, so
 * that what has been written in one go has been understood by then.
 */
async function isOfKnownLength(stream: Readable): Promise<boolean> {
  await setImmediate()
  const { _readableState: state } = stream as unknown as { _readableState?: { ended?: unknown } }
  return !stream.readableObjectMode && state?.ended === true
}

function chunkBytes(chunk: unknown): Buffer | undefined {
  if (typeof chunk === 'string') return Buffer.from(chunk)
  return ArrayBuffer.isView(chunk) || chunk instanceof ArrayBuffer
    ? Buffer.from(bytesOf(chunk))
    : undefined
}

async function* replay(chunks: readonly Buffer[]): AsyncGenerator<Buffer> {
  for (const chunk of chunks) yield Buffer.from(chunk)
}

/** What has been read, and then what is still to come, beginning with a result that is under way. */
async function* resumed(
  known: readonly Buffer[],
  iterator: AsyncIterator<unknown> | Iterator<unknown>,
  pending: Promise<IteratorResult<unknown>>,
): AsyncGenerator<unknown> {
  try {
    yield* known
    for (let next = await pending; !next.done; next = await iterator.next()) yield next.value
  } finally {
    await iterator.return?.()
  }
}
