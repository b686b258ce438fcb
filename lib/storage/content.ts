import { type Range, rangeLength } from '../rfc9111/ranges.ts'

/** Where longer content is kept, as its response's record tells. */
export interface ChunksRecord {
  readonly generation: string
  readonly chunkSize: number
  readonly length: number
}

/** Thrown where content that should be in the store is not, or is damaged. */
export class LostContentError extends Error {
  override name = 'LostContentError'
}

/** Why content is not stored although the store does not refuse it. */
export class GivenUpError extends Error {
  override name = 'GivenUpError'
}

/** Content is not stored because it is larger than the user wants. */
export class TooLargeError extends GivenUpError {
  override name = 'TooLargeError'
}

/** Content is not stored because the user has had everything deleted. */
export class ClearedError extends GivenUpError {
  override name = 'ClearedError'
}

/** Content is not stored because more of it waits for the store than is held in memory. */
export class TooSlowError extends GivenUpError {
  override name = 'TooSlowError'

  constructor() {
    super('the store is slower than the network')
  }
}

/** Reads content from one end to the other, at the reader's pace. */
export interface ContentReader {
  /**
   * The next bytes, which the caller owns; `null` at the end.
   *
   * @throws where the content is lost
   */
  read(): Promise<Buffer | null>
  /** Lets go of the content. To be called once, whether it was read to its end or not. */
  close(): void
}

/** What some content is read for. */
export interface ReadingOptions {
  /** Up to where, in bytes. @default the end of the content */
  readonly end?: number
  /** Whether somebody has been given something else already, so that there is no way back. */
  readonly isMidway?: boolean
  /** Whether a store that fails is waited for, once there is no way back. @default true */
  readonly isPatient?: boolean
}

/** The content of a stored response. */
export interface Content {
  /** Where it is kept, if it is too long to be kept in the record of its response. */
  readonly chunks: ChunksRecord | undefined
  /** The number of bytes; undefined while they are still being received. */
  readonly length: number | undefined
  /** All of it, where it is in memory: not to be changed. */
  readonly bytes?: Buffer
  /** How many bytes before it in the same memory are free, for whoever stores it first. */
  readonly room?: number
  open(position?: number, options?: ReadingOptions): ContentReader
}

/** Content held in memory. */
export function inlineContent(bytes: Buffer, room = 0): Content {
  return {
    chunks: undefined,
    length: bytes.length,
    bytes,
    room,
    open: (position = 0) => ({
      async read() {
        const start = position
        position = bytes.length
        return start < bytes.length ? Buffer.from(bytes.subarray(start)) : null
      },
      close() {},
    }),
  }
}

/** Reads pieces one after the other: ranges of some content, and text between them. */
export function openPieces(content: Content, pieces: readonly (Range | string)[]): ContentReader {
  const left = [...pieces]
  // Between two ranges too the content must stay where it is.
  const hold = content.open()
  let range: ContentReader | undefined
  let remaining = 0
  let hasBegun = false
  const closeRange = () => {
    range?.close()
    range = undefined
  }
  return {
    async read() {
      let text = ''
      if (range === undefined) {
        // With the text the bytes that it announces, so that nothing is announced that is not there.
        if (typeof left[0] === 'string') text = left.shift() as string
        const piece = left.shift() as Range | undefined
        if (piece === undefined) return text === '' ? null : Buffer.from(text, 'latin1')
        range = content.open(piece.first, { end: piece.last + 1, isMidway: hasBegun })
        remaining = rangeLength(piece)
      }
      const bytes = await range.read()
      if (bytes === null) throw new LostContentError('the stored content is too short')
      const part = bytes.subarray(0, remaining)
      remaining -= part.length
      hasBegun = true
      if (remaining === 0) closeRange()
      return text === '' ? part : Buffer.concat([Buffer.from(text, 'latin1'), part])
    },
    close() {
      closeRange()
      hold.close()
    },
  }
}

/** All of some content that is in memory, or short enough to be. */
export async function readAll(content: Content): Promise<Buffer> {
  const reader = content.open(0, { isPatient: false })
  const parts: Buffer[] = []
  try {
    for (let bytes = await reader.read(); bytes; bytes = await reader.read()) parts.push(bytes)
  } finally {
    reader.close()
  }
  return Buffer.concat(parts)
}
