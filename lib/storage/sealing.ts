import { createSecretKey, KeyObject } from 'node:crypto'
import { inspect } from 'node:util'
import { parseSize, type Size } from '../size.ts'
import { CODERS, Compression, type CompressionAlgorithm, isAvailable } from './compression.ts'
import { Encryption, KEY_ID, KEY_LENGTH } from './encryption.ts'
import type { Sealing } from './sealed-store.ts'

/** How content is compressed in the store. */
export interface CompressionOptions {
  readonly algorithm: CompressionAlgorithm
  /**
   * From which size on content is compressed, in bytes or as a size such as `'4KiB'`. Below the default
   * it is not the content that takes the space, but the rest of a record.
   *
   * @default '1KiB'
   */
  readonly minSize?: Size
  /**
   * From fast to small: 1 to 22 for zstd, 0 to 11 for Brotli, 1 to 9 for gzip.
   *
   * @default 3 for zstd, 4 for Brotli, 6 for gzip
   */
  readonly level?: number
}

/** A key of 32 bytes: these bytes, a secret `KeyObject`, or text in hexadecimal or base64. */
export type EncryptionKey = string | Uint8Array | KeyObject

/** Under which keys the store is encrypted. */
export interface EncryptionOptions {
  /** Keys by their ids, which can be seen in the store. What is stored under any of them is read. */
  readonly keys:
    | Readonly<Record<string, EncryptionKey>>
    | readonly { readonly id: string; readonly key: EncryptionKey }[]
  /**
   * The id of the key under which is stored.
   *
   * @default that of the first key
   */
  readonly current?: string
  /**
   * One more key, which always stays the same, for cache keys. Without it a cache key is a hash of
   * method and URL: who can read the store can find out whether a URL that they guess is in it.
   */
  readonly indexKey?: EncryptionKey
}

const DEFAULT_MIN_SIZE = 1024

const COMPRESSION_OPTIONS = ['algorithm', 'minSize', 'level']

/** The id of a key that is given without one. */
const DEFAULT_ID = 'default'

/**
 * Understands the options `compress` and `encrypt`. No message ever has a key in it.
 *
 * @throws TypeError where one is malformed; Error where this Node lacks the algorithm
 */
export function parseSealing(options: { compress?: unknown; encrypt?: unknown }): Sealing {
  const { compress, encrypt } = options
  // A variable of the environment that is not set must not mean that nothing is encrypted.
  const isEncrypted = 'encrypt' in options
  return {
    compression: compress === undefined ? undefined : parseCompression(compress),
    encryption: isEncrypted ? parseEncryption(encrypt) : undefined,
  }
}

function parseCompression(option: unknown): Compression {
  const options = typeof option === 'string' ? { algorithm: option } : option
  const names = Object.keys(CODERS)
  const expected = names.map((name) => `"${name}"`).join(', ')
  if (!isRecord(options)) {
    throw new TypeError(
      `compress: expected ${expected} or { algorithm, minSize, level }, got ${inspect(option)}`,
    )
  }
  const unknown = Object.keys(options).find((name) => !COMPRESSION_OPTIONS.includes(name))
  if (unknown !== undefined) {
    throw new TypeError(
      `compress: unknown option "${unknown}"; the options are ${COMPRESSION_OPTIONS.join(', ')}`,
    )
  }
  const { algorithm, minSize = DEFAULT_MIN_SIZE } = options
  if (!names.includes(algorithm as string)) {
    throw new TypeError(`compress: expected ${expected}, got ${inspect(algorithm)}`)
  }
  const name = algorithm as CompressionAlgorithm
  const { levels, level: usual } = CODERS[name]
  const { level = usual } = options
  const [least, greatest] = levels
  if (!Number.isInteger(level) || Number(level) < least || Number(level) > greatest) {
    throw new TypeError(
      `compress.level: expected a whole number from ${least} to ${greatest} for ${name}, got ${inspect(level)}`,
    )
  }
  if (!isAvailable(name)) {
    throw new Error(
      `compress: ${name} needs Node 22.15 or newer, and this is ${process.version}; "brotli" and "gzip" do not`,
    )
  }
  return new Compression({
    algorithm: name,
    minSize: parseSize(minSize, 'compress.minSize'),
    level: Number(level),
  })
}

function parseEncryption(option: unknown): Encryption {
  if (!isRecord(option) || isKey(option)) {
    const keys = new Map([[DEFAULT_ID, parseKey(option, 'encrypt')]])
    return new Encryption({ keys, current: DEFAULT_ID, indexKey: undefined })
  }
  if (!Object.keys(option).every((name) => ['keys', 'current', 'indexKey'].includes(name))) {
    throw new TypeError(
      'encrypt: expected a key or { keys, current, indexKey }, got something else',
    )
  }
  const keys = parseKeys(option.keys)
  const ids = [...keys.keys()]
  const { current = ids[0], indexKey } = option
  // Whatever else was put there may be a key.
  if (typeof current !== 'string' || !keys.has(current)) {
    throw new TypeError(`encrypt.current: expected the id of a key, one of ${ids.join(', ')}`)
  }
  // Objects have such names in ascending order, whatever order they were written in.
  const isUnordered = !Array.isArray(option.keys) && ids.some((id) => /^\d+$/.test(id))
  if (option.current === undefined && ids.length > 1 && isUnordered) {
    throw new TypeError(
      `encrypt.current: expected the id of a key, one of ${ids.join(', ')}, as ids that are numbers have no order`,
    )
  }
  return new Encryption({
    keys,
    current,
    // As above: one that is not set must not mean that URLs can be guessed.
    indexKey: 'indexKey' in option ? parseKey(indexKey, 'encrypt.indexKey') : undefined,
  })
}

function parseKeys(option: unknown): Map<string, KeyObject> {
  const keys = new Map<string, KeyObject>()
  for (const [id, key] of pairsOf(option)) {
    if (typeof id !== 'string' || !KEY_ID.test(id)) {
      throw new TypeError(
        'encrypt.keys: expected ids of at most 64 letters, digits, "_", "-" or "."',
      )
    }
    const parsed = parseKey(key, 'encrypt.keys')
    if (keys.has(id)) throw new TypeError('encrypt.keys: expected ids that differ')
    keys.set(id, parsed)
  }
  return keys
}

function pairsOf(option: unknown): (readonly [unknown, unknown])[] {
  const list = Array.isArray(option) ? (option as unknown[]) : undefined
  const pairs = list?.every(isRecord)
    ? list.map(({ id, key }) => [id, key] as const)
    : isRecord(option) && !isKey(option)
      ? Object.entries(option)
      : []
  if (pairs.length > 0) return pairs
  throw new TypeError(
    'encrypt.keys: expected keys by their ids, { id: key }, or a list of { id, key }, at least one',
  )
}

function parseKey(value: unknown, option: string): KeyObject {
  const bytes = typeof value === 'string' ? bytesOf(value.trim()) : value
  if (bytes instanceof Uint8Array && bytes.length === KEY_LENGTH) return createSecretKey(bytes)
  if (value instanceof KeyObject && value.symmetricKeySize === KEY_LENGTH) return value
  throw new TypeError(
    `${option}: expected a key of ${KEY_LENGTH} bytes, as a Buffer, a secret KeyObject, or text in hexadecimal or base64, got ${kindOf(value)}; crypto.randomBytes(${KEY_LENGTH}).toString('base64') makes one`,
  )
}

/** The bytes of a key in hexadecimal or base64 (RFC 4648 §4, §5). */
function bytesOf(text: string): Buffer | undefined {
  if (/^[\da-f]{64}$/i.test(text)) return Buffer.from(text, 'hex')
  return /^[\w+/-]{43}=?$/.test(text) ? Buffer.from(text, 'base64') : undefined
}

/** What was got instead of a key, without telling what may be one. */
function kindOf(value: unknown): string {
  if (typeof value === 'string') return `text of ${value.length} characters`
  if (value instanceof Uint8Array) return `${value.length} bytes`
  if (value instanceof KeyObject) return `another KeyObject`
  return value === null ? 'null' : Array.isArray(value) ? 'an array' : `${typeof value}`
}

function isKey(value: object): boolean {
  return value instanceof Uint8Array || value instanceof KeyObject
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
