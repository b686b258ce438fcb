import zlib from 'node:zlib'
import type { Awaitable } from '../awaitable.ts'
import { fieldValue, listMembers } from '../rfc9111/fields.ts'
import type { Fields } from '../rfc9111/message.ts'
import { contentStart, VERSIONS } from './records.ts'

/** How content can be compressed. */
export type CompressionAlgorithm = 'zstd' | 'brotli' | 'gzip'

/** How content is compressed, with all that has been left out. */
export interface CompressionSettings {
  readonly algorithm: CompressionAlgorithm
  /** In bytes. */
  readonly minSize: number
  readonly level: number
}

/** An algorithm as `node:zlib` has it. */
interface Coder {
  /** What it is called in a record. */
  readonly id: number
  readonly compress: 'gzip' | 'brotliCompress' | 'zstdCompress'
  readonly decompress: 'gunzip' | 'brotliDecompress' | 'zstdDecompress'
  /** The least and the greatest one. */
  readonly levels: readonly [number, number]
  /** The one that is worth its time, by `npm run bench -- seal`. */
  readonly level: number
  options(level: number, length: number): Options
}

const { constants } = zlib

/** All algorithms. */
export const CODERS: Readonly<Record<CompressionAlgorithm, Coder>> = {
  zstd: {
    ...{ id: 1, compress: 'zstdCompress', decompress: 'zstdDecompress' },
    ...{ levels: [1, 22], level: 3 },
    options: (level) => ({ params: { [constants.ZSTD_c_compressionLevel]: level } }),
  },
  brotli: {
    ...{ id: 2, compress: 'brotliCompress', decompress: 'brotliDecompress' },
    ...{ levels: [0, 11], level: 4 },
    options: (level, length) => ({
      params: {
        [constants.BROTLI_PARAM_QUALITY]: level,
        [constants.BROTLI_PARAM_SIZE_HINT]: length,
      },
    }),
  },
  gzip: {
    ...{ id: 3, compress: 'gzip', decompress: 'gunzip' },
    ...{ levels: [1, 9], level: 6 },
    options: (level) => ({ level }),
  },
}

/** In front of compressed content: the algorithm, and the length of what comes out, in bytes. */
const PREFIX_LENGTH = 5

/** More content than this is in no record, so that a forged one cannot fill the memory, in bytes. */
const MAX_LENGTH = 16 * 2 ** 20

/** Up to this length it takes less time to do it than to have it done by another thread, in bytes. */
const SYNC_LIMIT = 32 * 1024

/** How much waits for the other thread at most, in bytes. More is arriving than it can compress. */
const MAX_PENDING = 4 * 2 ** 20

/** The level that takes hardly more time than it takes to write what it saves. */
const FASTEST = 1

type Options = zlib.ZlibOptions & zlib.BrotliOptions & zlib.ZstdOptions

function inThread(
  name: Coder['compress' | 'decompress'],
  bytes: Buffer,
  options: Options,
): Promise<Buffer> {
  const run: (
    bytes: Buffer,
    options: Options,
    callback: (error: Error | null, result: Buffer) => void,
  ) => void = zlib[name]
  return new Promise((resolve, reject) => {
    run(bytes, options, (error, result) => (error ? reject(error) : resolve(result)))
  })
}

/** Whether this Node has an algorithm. */
export function isAvailable(algorithm: CompressionAlgorithm): boolean {
  return typeof zlib[CODERS[algorithm].compress] === 'function'
}

/** Compresses the content of records. */
export class Compression {
  readonly #coder: Coder
  readonly #settings: CompressionSettings
  /** How much waits for the other thread, in bytes, and the last of it. */
  #pending = 0
  #last: Promise<unknown> = Promise.resolve()

  constructor(settings: CompressionSettings) {
    this.#coder = CODERS[settings.algorithm]
    this.#settings = settings
  }

  /**
   * A record with its content compressed; the record itself where that would not be shorter. At once
   * where that takes no time to speak of.
   */
  compress(record: Buffer): Awaitable<Buffer> {
    const start = contentStart(record) as number
    const content = record.subarray(start)
    const { length } = content
    const { minSize, level } = this.#settings
    if (length < minSize) return record
    const optionsFor = (wanted: number) => ({
      ...this.#coder.options(wanted, length),
      // One buffer is enough for all that is of use, which is shorter than the content.
      chunkSize: Math.max(length, 64),
    })
    const pack = (compressed: Buffer) => this.#pack(record, start, compressed)
    const compressNow = (wanted: number) =>
      pack(zlib[`${this.#coder.compress}Sync`](content, optionsFor(wanted)))
    if (length <= SYNC_LIMIT) return compressNow(level)
    if (this.#pending + length > MAX_PENDING) return compressNow(Math.min(level, FASTEST))
    this.#pending += length
    // One after the other: the threads are there for others as well.
    const packed = this.#last
      .then(() => inThread(this.#coder.compress, content, optionsFor(level)))
      .then(pack, () => record)
      .finally(() => {
        this.#pending -= length
      })
    this.#last = packed
    return packed
  }

  /** Metadata and checksum stay as they are, so that it is checked what comes out again in the end. */
  #pack(record: Buffer, start: number, compressed: Buffer): Buffer {
    const end = start + PREFIX_LENGTH + compressed.length
    if (end >= record.length) return record
    const packed = Buffer.allocUnsafe(end)
    record.copy(packed, 0, 0, start)
    packed.writeUInt8(VERSIONS.compressed, 0)
    packed.writeUInt8(this.#coder.id, start)
    packed.writeUInt32LE(record.length - start, start + 1)
    compressed.copy(packed, start + PREFIX_LENGTH)
    return packed
  }
}

/**
 * Undoes {@link Compression.compress}, whatever algorithm it was. At once where that takes no time to
 * speak of.
 *
 * @throws where the record is damaged, or this Node lacks the algorithm; or rejects
 */
export function decompress(packed: Buffer): Awaitable<Buffer> {
  const start = contentStart(packed) ?? packed.length
  const compressed = packed.subarray(start + PREFIX_LENGTH)
  const id = packed.readUInt8(start)
  const length = packed.readUInt32LE(start + 1)
  const found = Object.entries(CODERS).find(([, coder]) => coder.id === id)
  if (found === undefined || length > MAX_LENGTH) throw new RangeError('no such compression')
  const [algorithm, coder] = found
  if (!isAvailable(algorithm as CompressionAlgorithm))
    throw new Error(`this Node has no ${algorithm}`)
  const options = { chunkSize: Math.max(length, 64), maxOutputLength: Math.max(length, 1) }
  const unpack = (content: Buffer) => {
    const record = Buffer.concat([packed.subarray(0, start), content])
    record.writeUInt8(VERSIONS.plain, 0)
    return record
  }
  return length <= SYNC_LIMIT
    ? unpack(zlib[`${coder.decompress}Sync`](compressed, options))
    : inThread(coder.decompress, compressed, options).then(unpack)
}

/** Images, sound and films are compressed by themselves, */
const MEDIA = /^(?:audio|image|video)\//

/** but for these. */
const PLAIN_MEDIA =
  /\+(?:xml|json)$|\/(?:x-|vnd\.)?(?:wave?|aiff|midi|bmp|ms-bmp|icon|microsoft\.icon|tiff|portable-\w+)$/

const ARCHIVES =
  /^font\/woff2?$|\+(?:zip|gzip|zstd)$|^application\/(?:x-)?(?:font-woff2?|zip|zip-compressed|gzip|bzip2?|xz|lzma|zstd|br|compress|7z-compressed|rar|rar-compressed|vnd\.rar|java-archive|vnd\.android\.package-archive|vnd\.openxmlformats-officedocument\..*|vnd\.oasis\.opendocument\..*)$/

/** Whether content is worth compressing: not encoded yet, and of no type that is compressed by itself. */
export function isCompressible(fields: Fields): boolean {
  const codings = listMembers(fieldValue(fields, 'content-encoding') ?? '')
  if (codings.some((coding) => coding.toLowerCase() !== 'identity')) return false
  const [essence = ''] = (fieldValue(fields, 'content-type') ?? '').toLowerCase().split(/\s*;/, 1)
  return MEDIA.test(essence) ? PLAIN_MEDIA.test(essence) : !ARCHIVES.test(essence)
}
