import { inspect } from 'node:util'
import { parseDuration } from './expiration.ts'
import { parseCount, parseSize, type Size } from './size.ts'
import type { CompressionAlgorithm } from './storage/compression.ts'
import { DEFAULT_DEADLINES, type Deadlines } from './storage/guarded-store.ts'
import type { StoreOption } from './storage/open-store.ts'
import type { ResponsesOptions } from './storage/responses.ts'
import {
  type CompressionOptions,
  type EncryptionKey,
  type EncryptionOptions,
  parseSealing,
} from './storage/sealing.ts'
import { parseBoolean } from './terms.ts'

/** The options of an `HttpCache`. */
export interface HttpCacheOptions {
  /**
   * Where responses are kept: `'sqlite://path'`, `'memory:'`, a server (`'redis://host'`, `'rediss:'` over
   * TLS, `'valkey:'`, `'valkeys:'`, `'postgres:'`; with `?namespace=` if several caches are to have one
   * each), a Keyv instance or a Keyv storage adapter (of Keyv 5 or 6).
   *
   * @default 'sqlite://http_cache.sqlite'
   */
  readonly store?: StoreOption
  /**
   * Whether the cache is a shared one (RFC 9111 §1), as in front of an origin or of several users.
   *
   * @default false
   */
  readonly shared?: boolean
  /**
   * How much of the store is kept in memory as well, least recently used first to go; `false` for nothing.
   * What other processes change is seen at once with SQLite, and within a second with any other store.
   *
   * @default { maxSize: '64MiB' }
   */
  readonly memory?: MemoryOptions | false
  /**
   * How many bytes the store may take, as a number or a size such as `'1GiB'`; what was used least
   * recently goes first. What comes faster than room can be made for it waits, or is not stored. For SQLite
   * and memory stores.
   *
   * @default '1GiB'
   */
  readonly maxSize?: Size
  /**
   * How many responses the store may hold; what was used least recently goes first. For SQLite and memory
   * stores.
   *
   * @default Infinity
   */
  readonly maxEntries?: number
  /**
   * How many variants of one response (RFC 9111 §4.1) are kept; the least recently stored goes first.
   *
   * @default 100
   */
  readonly maxVariants?: number
  /**
   * Whether processes that share the store, be it an SQLite file, Redis or Valkey, agree on which of them
   * asks the origin for what none of them has, so that one request is made instead of many. The others
   * wait 2 seconds at most.
   *
   * @default true
   */
  readonly leases?: boolean
  /**
   * How long a call to the store may take before it counts as failed: milliseconds, or durations such as
   * `'2s'`. A store that hangs or keeps failing is left alone for a while, and then tried again.
   *
   * @default { read: 500, write: 5000 }
   */
  readonly deadlines?: { readonly read?: number | string; readonly write?: number | string }
  /**
   * How content is compressed in the store that is not encoded yet, of a type that can be compressed, and
   * not small. What is stored already stays readable, whichever way it was stored.
   *
   * @default nothing is compressed
   */
  readonly compress?: CompressionAlgorithm | CompressionOptions
  /**
   * The key under which the store is encrypted (AES-256-GCM), or several, of which one is for what is
   * stored from now on. What is in the store and cannot be read under any of them, or is not what has been
   * stored there, is not used but removed, and told by an `'error'` event.
   *
   * @default nothing is encrypted
   */
  readonly encrypt?: EncryptionKey | EncryptionOptions
}

/** What {@link HttpCacheOptions.memory} is made of. */
export interface MemoryOptions {
  /**
   * A number of bytes, or a size such as `'64MiB'`.
   *
   * @default '64MiB'
   */
  readonly maxSize?: Size
}

/** The names of {@link HttpCacheOptions}. */
export const HTTP_CACHE_OPTIONS: readonly (keyof HttpCacheOptions)[] = [
  'store',
  'shared',
  'memory',
  'maxSize',
  'maxEntries',
  'maxVariants',
  'leases',
  'deadlines',
  'compress',
  'encrypt',
]

const DEFAULT_MEMORY = 64 * 2 ** 20
const DEFAULT_MAX_SIZE = 2 ** 30
const DEFAULT_MAX_VARIANTS = 100

/** The longest that a timer can be set for, in milliseconds. */
const MAX_DEADLINE = 2 ** 31 - 1

/**
 * How much to keep in memory, in bytes.
 *
 * @throws TypeError where the option is malformed
 */
function memorySize(memory: HttpCacheOptions['memory'] = {}): number {
  if (memory === false) return 0
  if (typeof memory !== 'object' || memory === null || Array.isArray(memory)) {
    throw new TypeError(`memory: expected { maxSize } or false, got ${inspect(memory)}`)
  }
  const unknown = Object.keys(memory).find((name) => name !== 'maxSize')
  if (unknown !== undefined) {
    throw new TypeError(`memory: unknown option "${unknown}"; the only option is maxSize`)
  }
  const { maxSize = DEFAULT_MEMORY } = memory
  return parseSize(maxSize, 'memory.maxSize')
}

/**
 * Understands the options of a cache but for its store.
 *
 * @throws TypeError where one is malformed
 */
export function parseCacheOptions(options: HttpCacheOptions): ResponsesOptions & {
  readonly shared: boolean
  readonly leases: boolean
  readonly deadlines: Deadlines
} {
  const { shared = false, leases = true } = options
  const { maxSize = DEFAULT_MAX_SIZE, maxEntries = Infinity } = options
  const { maxVariants = DEFAULT_MAX_VARIANTS } = options
  return {
    shared: parseBoolean(shared, 'shared'),
    leases: parseBoolean(leases, 'leases'),
    memory: memorySize(options.memory),
    maxSize: parseSize(maxSize, 'maxSize'),
    maxEntries: parseCount(maxEntries, 'maxEntries'),
    maxVariants: parseCount(maxVariants, 'maxVariants'),
    deadlines: parseDeadlines(options.deadlines),
    sealing: parseSealing(options),
  }
}

function parseDeadlines(deadlines: HttpCacheOptions['deadlines'] = {}): Deadlines {
  const isObject = typeof deadlines === 'object' && deadlines !== null
  const unknown = isObject && Object.keys(deadlines).find((name) => !(name in DEFAULT_DEADLINES))
  if (!isObject || unknown) {
    throw new TypeError(`deadlines: expected { read, write }, got ${inspect(deadlines)}`)
  }
  const { read, write } = { ...DEFAULT_DEADLINES, ...deadlines }
  return {
    read: parseDeadline(read, 'deadlines.read'),
    write: parseDeadline(write, 'deadlines.write'),
  }
}

function parseDeadline(value: unknown, option: string): number {
  const milliseconds = parseDuration(value)
  if (milliseconds !== undefined && milliseconds > 0 && milliseconds <= MAX_DEADLINE) {
    return milliseconds
  }
  throw new TypeError(
    `${option}: expected a number of milliseconds or a duration such as "2s", more than 0 and at most ${MAX_DEADLINE} ms, got ${inspect(value)}`,
  )
}
