import { inspect } from 'node:util'
import { parseDuration } from './expiration.ts'
import { type ExplainedRequest, explain } from './explain.ts'
import type { Explanation } from './explanation.ts'
import { Flights } from './handlers/flights.ts'
import { Identities, type PossibleIdentity } from './identities.ts'
import { Events } from './observe/events.ts'
import type { CacheEvents } from './observe/payloads.ts'
import type { CacheStatistics } from './observe/statistics.ts'
import type { PrecacheOptions, PrecacheTarget } from './precache/options.ts'
import type { PrecacheResult } from './precache/report.ts'
import { REDACTED, redactFields } from './redaction.ts'
import { effectiveMethod, type Request } from './request.ts'
import { expirationTime } from './rfc9111/freshness.ts'
import { invalidatedUrls } from './rfc9111/invalidation.ts'
import { isRetrieval, type ResponseMessage } from './rfc9111/message.ts'
import { fieldsAbout } from './rfc9111/storing.ts'
import { nominatedMatch } from './rfc9111/vary.ts'
import { compileRules, type Rules } from './rules.ts'
import { parseCount, parseSize, type Size } from './size.ts'
import type { CompressionAlgorithm } from './storage/compression.ts'
import type { Entry } from './storage/entry.ts'
import { DEFAULT_DEADLINES, type Deadlines } from './storage/guarded-store.ts'
import { Leases } from './storage/leases.ts'
import { DEFAULT_STORE, openStore, type StoreOption } from './storage/open-store.ts'
import { Responses, type ResponsesOptions } from './storage/responses.ts'
import {
  type CompressionOptions,
  type EncryptionKey,
  type EncryptionOptions,
  parseSealing,
} from './storage/sealing.ts'
import { meantRequests, type StoredRequest } from './stored-request.ts'
import { parseBoolean } from './terms.ts'

/** The options of {@link HttpCache}. */
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
   * recently goes first. For SQLite and memory stores.
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

/** A stored response, as the cache's management shows it. */
export interface StoredResponseInfo {
  readonly key: string
  readonly method: string
  readonly url: string
  readonly status: number
  readonly statusText: string
  readonly headers: Readonly<Record<string, string | readonly string[]>>
  /** The number of bytes of content; undefined while it is still being received. */
  readonly size: number | undefined
  /** When the response was received, or last validated. */
  readonly storedAt: Date
  /** When the response ceases to be fresh; undefined for never. */
  readonly expires: Date | undefined
  readonly isExpired: boolean
  /** The content as it came: encoded as `Content-Encoding` says. */
  content(): AsyncIterable<Buffer>
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
  if (typeof memory !== 'object' || memory === null) {
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
  return {
    shared: parseBoolean(shared, 'shared'),
    leases: parseBoolean(leases, 'leases'),
    memory: memorySize(options.memory),
    maxSize: parseSize(options.maxSize ?? DEFAULT_MAX_SIZE, 'maxSize'),
    maxEntries: parseCount(options.maxEntries ?? Infinity, 'maxEntries'),
    maxVariants: parseCount(options.maxVariants ?? DEFAULT_MAX_VARIANTS, 'maxVariants'),
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

/** The stored responses of one or several agents, and their management. */
export class HttpCache {
  /** Whether the rules for shared caches apply (RFC 9111 §1), not those for private ones. */
  readonly shared: boolean
  /** @internal */
  readonly responses: Responses
  /** @internal */
  readonly leases: Leases | undefined
  /** @internal */
  readonly flights: Flights = new Flights()
  /**
   * Which stored responses are being validated in the background, by their generation.
   *
   * @internal
   */
  readonly validations: Set<string> = new Set()
  /**
   * Which stored responses have been used or recorded in the modes 'record', 'replay' and 'offline', by
   * their generation.
   *
   * @internal
   */
  readonly used: Set<string> = new Set()
  /** @internal */
  readonly events: Events = new Events()
  /**
   * What makes requests with this cache: the agent or interceptor that it was made for, if there is one.
   *
   * @internal
   */
  dispatcher: PrecacheOptions['dispatcher']
  #rules: Rules | undefined
  /** @internal */
  readonly identities: Identities

  /**
   * @param isOnlyRead for internal use: whether a cache file is left as it is until there is something to be written
   * @throws TypeError where an option is malformed or unknown; Error where the store cannot be opened
   */
  constructor(options: HttpCacheOptions = {}, isOnlyRead = false) {
    const unknown = Object.keys(options).find(
      (name) => !HTTP_CACHE_OPTIONS.includes(name as 'store'),
    )
    if (unknown !== undefined) {
      throw new TypeError(
        `HttpCache: unknown option "${unknown}"; the options are ${HTTP_CACHE_OPTIONS.join(', ')}`,
      )
    }
    // What is malformed leaves no file behind.
    const { shared, leases, deadlines, sealing, ...limits } = parseCacheOptions(options)
    this.shared = shared
    const stores = openStore(options.store ?? DEFAULT_STORE, this.events, deadlines, isOnlyRead)
    const kept = { ...limits, sealing: { ...sealing, isOnlyRead } }
    this.responses = new Responses(stores, this.events, kept)
    if (leases && stores.leases) {
      this.leases = new Leases(stores.leases, this.events, deadlines.read)
    }
    this.identities = new Identities(
      shared,
      (mayMake) => this.responses.secret(mayMake),
      this.events,
      sealing.encryption,
    )
    const limit = (['maxSize', 'maxEntries'] as const).find((name) => options[name] !== undefined)
    if (limit !== undefined && !this.responses.isLimited) {
      void this.responses.close()
      throw new TypeError(
        `${limit}: only an SQLite or a memory store can be limited here; limit this one by its own means, such as maxmemory of Redis`,
      )
    }
  }

  /**
   * Listens to an event; nobody has to listen, not even to `'error'`. Listeners are called in the next
   * tick, outside the request: what they throw is uncaught, and changes nothing for anybody else.
   */
  on<E extends keyof CacheEvents>(name: E, listener: (...event: CacheEvents[E]) => void): this {
    this.events.on(name, listener)
    return this
  }

  /** Listens to the next event of a name only. */
  once<E extends keyof CacheEvents>(name: E, listener: (...event: CacheEvents[E]) => void): this {
    this.events.once(name, listener)
    return this
  }

  /** Listens no longer to an event. */
  off<E extends keyof CacheEvents>(name: E, listener: (...event: CacheEvents[E]) => void): this {
    this.events.off(name, listener)
    return this
  }

  /**
   * Whether there is a stored response, fresh or not. Without header fields any variant will do, but not
   * a part (status 206): that needs its `range`.
   *
   * @throws TypeError where the URL is not one; Error where the store fails
   */
  async has(url: string | URL, request: StoredRequest = {}): Promise<boolean> {
    return (await this.#select(url, request)) !== undefined
  }

  /**
   * A stored response, fresh or not; undefined where there is none. Without header fields the most
   * recent of its variants.
   *
   * @throws TypeError where the URL is not one; Error where the store fails
   */
  async get(
    url: string | URL,
    request: StoredRequest = {},
  ): Promise<StoredResponseInfo | undefined> {
    const entry = await this.#select(url, request)
    return entry && describe(entry)
  }

  async #select(url: string | URL, request: StoredRequest): Promise<Entry | undefined> {
    const { headers } = request
    const names = Object.keys(headers ?? {}).map((name) => name.toLowerCase())
    const found = new Map<string, Entry>()
    for (const { asked, terms, identity } of await this.#possible(url, request)) {
      // Which fields were taken for credentials, and so hashed, depends on the terms of the time.
      const hashed = { ...terms, protectedFields: new Set([...terms.protectedFields, ...names]) }
      const variants = await Promise.all(
        [terms, hashed].map((one) => this.identities.protect(asked, one, identity.hidden, false)),
      )
      const matches = ([name, value]: [string, string | null]) =>
        variants.some((variant) => nominatedMatch({ [name]: value }, variant))
      for (const entry of await this.responses.all(identity.cacheKey)) {
        const about = fieldsAbout(entry.status)
        if (about.length > 0 && !about.some((name) => asked.fields[name])) continue
        const isMatch = headers === undefined || Object.entries(entry.nominated).every(matches)
        if (isMatch) found.set(entry.generation, entry)
      }
    }
    return [...found.values()].sort((a, b) => b.responseTime - a.responseTime)[0]
  }

  /** What a request may be, and as what. */
  async #possible(
    url: string | URL,
    request: StoredRequest,
  ): Promise<(PossibleIdentity & { readonly asked: Request })[]> {
    const { requests, content } = await meantRequests(url, request)
    const all = requests.map(async (asked) => {
      const identities = await Promise.all(this.identities.all(asked, content))
      const known = identities.filter((one) => one !== undefined)
      return [...known, ...(await this.#toldAs(asked))].map((one) => ({ ...one, asked }))
    })
    return (await Promise.all(all)).flat()
  }

  /** What is listed under a URL of which not all is told. A store that cannot list has nothing there. */
  async #toldAs(asked: Request): Promise<PossibleIdentity[]> {
    const found: PossibleIdentity[] = []
    if (!asked.target.search.includes(`=${REDACTED}`)) return found
    const [terms] = this.identities.termsFor(asked.target)
    try {
      for await (const { cacheKey, method, url } of this.responses.entries()) {
        if (terms === undefined || method !== asked.method || url !== asked.url) continue
        found.push({ terms, identity: { cacheKey, url, hidden: [] } })
      }
    } catch {
      return []
    }
    return found
  }

  /**
   * The stored responses that no request has used since this cache was opened. Used is what has answered
   * a request in the mode `'replay'` or `'offline'`, or was recorded by one in the mode `'record'`; what
   * happens in the mode `'default'` does not count.
   *
   * @throws Error where the store cannot list them
   */
  async *unused(): AsyncGenerator<StoredResponseInfo> {
    for await (const entry of this.responses.entries()) {
      if (!this.used.has(entry.generation)) yield describe(entry)
    }
  }

  /**
   * Deletes the responses stored for a URL (all its variants, for all credentials, of GET and HEAD, or of
   * the method and content that are named), or for a cache key as `cacheInfo` tells it.
   *
   * @returns whether there were any
   * @throws TypeError where the URL is not one; Error where the store fails
   */
  async delete(
    which: string | URL | { readonly url: string | URL } | { readonly key: string },
    request: StoredRequest = {},
  ): Promise<boolean> {
    const isKey = typeof which === 'object' && 'key' in which
    const keys = isKey ? [which.key] : await this.#keysOf(isUrl(which) ? which : which.url, request)
    const deletions = await Promise.all([...keys].map((key) => this.responses.delete(key)))
    return deletions.includes(true)
  }

  async #keysOf(url: string | URL, request: StoredRequest): Promise<Set<string>> {
    const { method = 'GET' } = request
    const methods = isRetrieval(method.toUpperCase()) ? ['GET', 'HEAD'] : [method]
    const possible = await Promise.all(
      methods.map((one) => this.#possible(url, { ...request, method: one })),
    )
    return new Set(possible.flat().map(({ identity }) => identity.cacheKey))
  }

  /** Deletes all stored responses. @throws Error where the store fails */
  async clear(): Promise<void> {
    await this.responses.clear()
  }

  /** The URLs of all stored responses, sorted, each once. @throws Error where the store cannot list them */
  async urls(): Promise<string[]> {
    const urls = new Set<string>()
    for await (const { url } of this.responses.entries()) urls.add(url)
    return [...urls].sort()
  }

  /**
   * The number of stored responses: at once with SQLite and in memory, by listing them with any other store.
   *
   * @throws Error where the store cannot list them
   */
  async count(): Promise<number> {
    const totals = await this.responses.totals()
    if (totals) return totals.count
    let count = 0
    for await (const _ of this.responses.entries()) count += 1
    return count
  }

  /**
   * How many bytes the store takes, with SQLite or in memory.
   *
   * @throws Error where the store fails, or cannot tell
   */
  async size(): Promise<number> {
    const totals = await this.responses.totals()
    if (totals === undefined) throw new Error('this store cannot tell how many bytes it takes')
    return totals.size
  }

  /**
   * What would become of a request now, by which rule, from which stored response, and when that changes:
   * as data, and with `String(explanation)` in lines for people. Nothing is sent, and nothing changes. The
   * rules are those of the first agent that was made with this cache; `agent.explain` is for each agent.
   *
   * @throws TypeError where the URL is none or the terms are malformed; Error where the store fails
   */
  explain(url: string | URL, request: ExplainedRequest = {}): Promise<Explanation> {
    return explain({ cache: this, rules: this.#rules ?? compileRules({}) }, url, request)
  }

  /** What the cache has done since it was made, or since {@link resetStats}. */
  stats(): CacheStatistics {
    return this.events.statistics.snapshot()
  }

  /** Begins to count anew. */
  resetStats(): void {
    this.events.resetStatistics()
  }

  /**
   * Fetches URLs, and what they link, so that they are in the cache from then on. What is there already and
   * fresh is not asked of its origin, so that calling it again goes on where it was ended.
   *
   * @throws TypeError where the target or an option is malformed, or nothing makes requests with this cache;
   * the reason of the signal; what `onProgress` throws; Error where the agent is closed meanwhile
   */
  async precache(target: PrecacheTarget, options: PrecacheOptions = {}): Promise<PrecacheResult> {
    const { precache } = await import('./precache/precache.ts')
    return precache(this, this.dispatcher, target, options)
  }

  /**
   * Whether a response for a cache key is stored that was received at a time or later, in milliseconds since
   * the epoch. What is being written is waited for.
   *
   * @internal
   */
  async isStored(key: string, since: number): Promise<boolean> {
    const entries = await this.responses.all(key).catch(() => [])
    return entries.some(({ responseTime }) => responseTime >= since)
  }

  /** Waits until all that has been received is written, and closes the store if it was opened by its URL. */
  async close(): Promise<void> {
    await this.responses.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /**
   * Learns by what rules requests are made.
   *
   * @internal
   */
  attach(rules: Rules): void {
    this.#rules ??= rules
  }

  /**
   * §4.4: what is stored for GET and HEAD of what a request has changed is not found any more. A store that
   * fails tells so by an event.
   *
   * @internal
   */
  invalidateFor(request: Request, response: ResponseMessage): void {
    const message = { ...request, method: effectiveMethod(request) }
    for (const url of invalidatedUrls(message, response)) {
      const { override: _, ...asked } = { ...request, target: new URL(url) }
      for (const method of ['GET', 'HEAD']) {
        for (const one of this.identities.all({ ...asked, method })) {
          if (one instanceof Promise) void one.then((known) => this.#forget(known))
          else this.#forget(one)
        }
      }
    }
  }

  #forget(known: PossibleIdentity | undefined): void {
    if (known) this.responses.delete(known.identity.cacheKey, 'invalidation').catch(() => {})
  }
}

function isUrl(value: string | URL | object): value is string | URL {
  return typeof value === 'string' || value instanceof URL
}

function describe(entry: Entry): StoredResponseInfo {
  const expires = expirationTime(entry)
  return {
    key: entry.cacheKey,
    method: entry.method,
    url: entry.url,
    status: entry.status,
    statusText: entry.statusText,
    headers: structuredClone(redactFields(entry.fields)),
    size: entry.content.length,
    storedAt: new Date(entry.responseTime),
    expires: expires === Infinity ? undefined : new Date(expires),
    isExpired: Date.now() >= expires,
    async *content() {
      const reader = entry.content.open()
      try {
        for (let bytes = await reader.read(); bytes; bytes = await reader.read()) yield bytes
      } finally {
        reader.close()
      }
    },
  }
}
