import { HTTP_CACHE_OPTIONS, type HttpCacheOptions, parseCacheOptions } from './cache-options.ts'
import { type CopyOptions, type CopyProgress, copyResponses } from './copy.ts'
import { type Expiration, expiresAt, NEVER_EXPIRE, parseExpiration } from './expiration.ts'
import { type ExplainedRequest, explain } from './explain.ts'
import type { Explanation } from './explanation.ts'
import { Flights } from './handlers/flights.ts'
import type { HarTarget } from './har/export.ts'
import type { HarImportResult, HarSkipReason } from './har/import.ts'
import type { HarSource } from './har/read.ts'
import type { HarExportResult } from './har/write.ts'
import { readHeaderFields } from './header-fields.ts'
import { Identities, type PossibleIdentity } from './identities.ts'
import { normaliseUrl } from './key.ts'
import { Events } from './observe/events.ts'
import type { CacheEvents } from './observe/payloads.ts'
import type { CacheStatistics } from './observe/statistics.ts'
import type { PrecacheOptions, PrecacheTarget } from './precache/options.ts'
import type { PrecacheResult } from './precache/report.ts'
import { onlyKeys, type ParsedQuery, parseQuery, type ResponseQuery } from './query.ts'
import { REDACTED } from './redaction.ts'
import { type RekeyResult, rekeyResponses } from './rekey.ts'
import { effectiveMethod, type Request } from './request.ts'
import { invalidatedUrls } from './rfc9111/invalidation.ts'
import { isRetrieval, type ResponseMessage } from './rfc9111/message.ts'
import { fieldsAbout } from './rfc9111/storing.ts'
import { nominatedMatch } from './rfc9111/vary.ts'
import { compileRules, type Rules } from './rules.ts'
import { type SavedRequest, type SavedResponse, save } from './save.ts'
import { sortStrings } from './sort-strings.ts'
import type { FileAccess } from './storage/byte-store.ts'
import type { Entry } from './storage/entry.ts'
import { Leases } from './storage/leases.ts'
import { DEFAULT_STORE, openStore } from './storage/open-store.ts'
import { Pace } from './storage/pace.ts'
import { Responses } from './storage/responses.ts'
import type { Inspection } from './storage/sqlite/inspect.ts'
import { StorePatience } from './storage/store-patience.ts'
import { meantRequests, type StoredRequest } from './stored-request.ts'
import {
  describe,
  describeSummary,
  type ListedResponse,
  type StoredResponseInfo,
} from './stored-response.ts'
import { ruledAnew } from './storing.ts'
import {
  checkNames,
  parseBoolean,
  parseFunction,
  parseSignal,
  parseTerms,
  refuse,
  type Terms,
} from './terms.ts'

/** How stored responses are exported. */
export interface HarExportOptions {
  /** Which of them. @default all */
  readonly filter?: ResponseQuery
  /**
   * Whether what is likely to be a secret is left out: the values of cookies, and of header fields and URL
   * parameters with names such as `x-api-key` and `access_token`.
   *
   * @default true
   */
  readonly redact?: boolean
  readonly signal?: AbortSignal
}

/** How the entries of a HAR are stored. */
export interface HarImportOptions {
  /** As for requests. @default { expireAfter: NEVER_EXPIRE } */
  readonly terms?: Terms
  /**
   * Whether the header fields of the requests count, as they do for what is fetched: then only requests with
   * the same credentials, and the same fields that `Vary` names, are answered.
   *
   * @default false
   */
  readonly matchFields?: boolean
  readonly signal?: AbortSignal
  /** Called for each entry that is not stored, with the reason. */
  readonly onSkip?: (url: string | undefined, reason: HarSkipReason) => void
}

/** What is found when an SQLite store is looked through. */
export interface CacheCheck {
  /** Whether nothing was found. */
  readonly isSound: boolean
  /** What SQLite itself finds to be damaged, in its words. Nothing else is looked for then. */
  readonly damage: readonly string[]
  /** How many contents there are that no response refers to. */
  readonly orphans: number
  /** How many responses there are whose content is not all there. */
  readonly incomplete: number
  /** Whether the number of responses, their size or their last use is not known rightly. */
  readonly isMiscounted: boolean
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
  readonly #storeDeadline: number
  /** What the store needs, as long as it is not there. */
  #loading: Promise<void> | undefined
  /** @internal */
  readonly identities: Identities

  /**
   * @param access for internal use: what is done with a cache file
   * @throws TypeError where an option is malformed or unknown; Error where the store cannot be opened
   */
  constructor(options: HttpCacheOptions = {}, access: FileAccess = 'write') {
    checkNames('HttpCache', options, HTTP_CACHE_OPTIONS)
    // What is malformed leaves no file behind.
    const { shared, leases, deadlines, sealing, ...limits } = parseCacheOptions(options)
    this.shared = shared
    const stores = openStore(options.store ?? DEFAULT_STORE, this.events, deadlines, access)
    const kept = { ...limits, sealing: { ...sealing, isOnlyRead: access !== 'write' } }
    this.responses = new Responses(stores, this.events, kept)
    this.#storeDeadline = deadlines.read
    const loaded = () => {
      this.#loading = undefined
    }
    this.#loading = stores.loaded?.then(loaded, loaded)
    if (leases && stores.leases) {
      this.leases = new Leases(stores.leases, this.events, deadlines.read)
    }
    this.identities = new Identities(
      shared,
      (mayMake) => this.responses.secret(mayMake),
      this.events,
      sealing.encryption,
    )
    const limit = (['maxSize', 'maxEntries'] as const).find(
      (name) => (options[name] ?? Infinity) !== Infinity,
    )
    if (limit !== undefined && !this.responses.isLimited) {
      void this.responses.close()
      throw new TypeError(
        `${limit}: only an SQLite or a memory store can be limited here; limit this one by its own means, such as maxmemory of Redis`,
      )
    }
  }

  /**
   * How long a request is going to wait for the store.
   *
   * @internal
   */
  storePatience(): StorePatience {
    return new StorePatience(this.#storeDeadline, () => this.#loading, this.events)
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
    const names = Object.keys(readHeaderFields(headers ?? {}, 'headers'))
    const found = new Map<string, Entry>()
    for (const { asked, terms, identity } of await this.#possible(url, request)) {
      // Which fields were taken for credentials, and so hashed, depends on the terms of the time.
      const hashed = { ...terms, protectedFields: new Set([...terms.protectedFields, ...names]) }
      const variants = await Promise.all(
        [terms, hashed].map((one) =>
          this.identities.protect(asked, one, identity.hidden, this.identities.knownSecret),
        ),
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
    const conditions = { methods: [asked.method] }
    const query = { conditions, descending: false, limit: Infinity }
    try {
      for await (const some of this.responses.management.select(query, Date.now())) {
        for (const { cacheKey, url } of some) {
          if (terms === undefined || url !== asked.url) continue
          found.push({ terms, identity: { cacheKey, url, hidden: [] } })
        }
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
    for await (const entry of this.#entries({
      conditions: {},
      descending: false,
      limit: Infinity,
    })) {
      if (!this.used.has(entry.generation)) yield describe(entry)
    }
  }

  /**
   * The stored responses that a query means, one by one; all of them by default. However many there are,
   * only a few are in memory at a time, and none of their contents.
   *
   * @throws TypeError where the query is malformed; Error where the store fails, cannot list what it has,
   *   or does not know when a response was last used
   */
  entries(query: ResponseQuery = {}): AsyncIterableIterator<ListedResponse> {
    // What is malformed is refused at once.
    parseQuery(query, 'entries', { now: Date.now() })
    return this.#list(query)
  }

  async *#list(query: ResponseQuery): AsyncGenerator<ListedResponse, undefined> {
    const { parsed, now } = await this.#parse(query, 'entries')
    const pace = new Pace()
    for await (const some of this.responses.management.select(parsed, now)) {
      for (const summary of some) {
        yield describeSummary(summary, () => this.responses.management.get(summary))
        await pace.rest()
      }
    }
  }

  /**
   * The URLs of the stored responses that a query means, sorted, each once.
   *
   * @throws as {@link entries} does
   */
  async urls(query: ResponseQuery = {}): Promise<string[]> {
    const { parsed, now } = await this.#parse(query, 'urls')
    const urls = new Set<string>()
    for await (const some of this.responses.management.select(parsed, now)) {
      for (const { url } of some) urls.add(url)
    }
    return query.sort === undefined ? sortStrings(urls) : [...urls]
  }

  /**
   * The number of stored responses that a query means. Without one it is known at once with SQLite and in
   * memory.
   *
   * @throws as {@link entries} does
   */
  async count(query?: ResponseQuery): Promise<number> {
    const { parsed, now } = await this.#parse(query ?? {}, 'count')
    const totals = query === undefined ? await this.responses.totals() : undefined
    return (totals ?? (await this.responses.management.totalsOf(parsed, now))).count
  }

  /**
   * How many bytes the store takes, where it knows, as SQLite and memory stores do; of others, and with a
   * query: how many bytes of content the stored responses have that it means.
   *
   * @throws as {@link entries} does
   */
  async size(query?: ResponseQuery): Promise<number> {
    const { parsed, now } = await this.#parse(query ?? {}, 'size')
    const totals = query === undefined ? await this.responses.totals() : undefined
    return (totals ?? (await this.responses.management.totalsOf(parsed, now))).size
  }

  /**
   * Deletes stored responses: those for a URL (in all variants, for all credentials, of GET and HEAD, or of
   * the method and content that are named), or those that a query means. What is being received, and what has
   * only been asked for, is not stored if it may be meant as well.
   *
   * @returns how many there were
   * @throws as {@link entries} does; TypeError where the query means everything, which {@link clear} is for
   */
  async delete(which: string | URL | ResponseQuery, request: StoredRequest = {}): Promise<number> {
    const query = isUrl(which) ? { url: which } : which
    const { parsed, now } = await this.#parse(query, 'delete', request)
    if (Object.keys(parsed.conditions).length === 0 && parsed.limit === Infinity) {
      throw new TypeError('delete: expected what to delete; clear() deletes everything')
    }
    const keys = onlyKeys(parsed)
    if (keys === undefined) return this.responses.management.deleteAll(parsed, now)
    const counts = await Promise.all([...keys].map((key) => this.responses.delete(key)))
    return counts.reduce((sum, count) => sum + count, 0)
  }

  /**
   * Marks stored responses as stale, as {@link delete} would delete them: the next request for each validates it, or
   * fetches it anew; meanwhile it may still be used where a stale one may (`staleWhileRevalidate`,
   * `staleIfError`). So are those that are being received; what has only been asked for, and may be meant as well, is not
   * stored.
   *
   * @returns how many were fresh until now
   * @throws as {@link entries} does
   */
  async expire(which: string | URL | ResponseQuery, request: StoredRequest = {}): Promise<number> {
    const query = isUrl(which) ? { url: which } : which
    const { parsed, now } = await this.#parse(query, 'expire', request)
    if (parsed.conditions.isFresh === false) return 0
    const fresh = { ...parsed, conditions: { ...parsed.conditions, isFresh: true } }
    return this.responses.management.expireAll(fresh, now, (entry) => ({
      ...entry,
      // Where another machine's clock is ahead, it has not been received since.
      responseTime: Math.min(entry.responseTime, now),
      staleFrom: now,
    }))
  }

  /**
   * Gives the stored responses that a query means another expiration, which counts from now on and decides
   * against their own fields; all of them by default. Without an expiration, the one that they would have if
   * the rules of the first agent that was made with this cache had been these when they were received.
   *
   * @returns how many there are
   * @throws TypeError where the expiration is none, or DO_NOT_CACHE; otherwise as {@link entries} does
   */
  async resetExpiration(expireAfter?: Expiration, query: ResponseQuery = {}): Promise<number> {
    if (expireAfter === undefined) {
      const { parsed, now } = await this.#parse(query, 'resetExpiration')
      const rules = this.#rules ?? compileRules({})
      return this.responses.management.reviseAll(parsed, now, (entry) =>
        ruledAnew(entry, rules.termsFor(new URL(entry.url), undefined)),
      )
    }
    const lifetime = parseExpiration(expireAfter, 'expireAfter')
    if (lifetime.kind === 'do-not-cache') {
      throw new TypeError(
        'expireAfter: what is stored already cannot become DO_NOT_CACHE; delete it',
      )
    }
    const { parsed, now } = await this.#parse(query, 'resetExpiration')
    const expires = expiresAt(lifetime, now)
    return this.responses.management.reviseAll(parsed, now, ({ staleFrom: _, ...entry }) => ({
      ...entry,
      expires,
    }))
  }

  /**
   * Stores a response by hand, as the answer to a request: what `fetch` returned, or an object with
   * `status`, `headers` and `body`. Its own fields decide how long it is fresh, and one that says nothing
   * stays so for ever; `expireAfter` decides against both. That requests only read the cache (`readOnly`, the
   * modes `'offline'` and `'replay'`) does not matter.
   *
   * @param terms as for requests
   * @throws TypeError where something is malformed; Error where the response may not be stored, its content
   *   cannot be read, or the store fails
   */
  async save(
    request: string | URL | SavedRequest,
    response: SavedResponse,
    terms: Terms = {},
  ): Promise<void> {
    const { identities, responses, shared } = this
    await save({ identities, responses, shared, rules: this.#rules }, request, response, terms)
  }

  async #keysOf(url: string | URL, request: StoredRequest): Promise<Set<string>> {
    const { method = 'GET' } = request
    const methods = isRetrieval(method.toUpperCase()) ? ['GET', 'HEAD'] : [method]
    const possible = await Promise.all(
      methods.map((one) => this.#possible(url, { ...request, method: one })),
    )
    return new Set(possible.flat().map(({ identity }) => identity.cacheKey))
  }

  /** The cache keys of what is listed for a URL under those methods whose keys depend on more than that. */
  async #keysListed(url: string | URL, methods: readonly string[]): Promise<Set<string>> {
    const keys = new Set<string>()
    const others = methods.filter((method) => !isRetrieval(method))
    if (others.length === 0) return keys
    const possible = await this.#possible(url, {})
    const told = new Set(possible.map(({ identity }) => normaliseUrl(new URL(identity.url))))
    const query = { conditions: { methods: others }, descending: false, limit: Infinity }
    for await (const some of this.responses.management.select(query, Date.now())) {
      for (const summary of some) {
        if (told.has(normaliseUrl(new URL(summary.url)))) keys.add(summary.cacheKey)
      }
    }
    return keys
  }

  /**
   * Copies stored responses to another cache, in whatever store: all of them, or those that `filter` means.
   * What is there already, as new or newer, is left as it is, so that a copy which was interrupted is
   * resumed by another one. What is for credentials can be used there if the other cache has none of these
   * yet, or got them from this one.
   *
   * @throws TypeError where the other cache is none, of another kind (`shared`) or this one, or the filter is
   *   malformed; Error where one of the stores fails; the reason of the signal where it is aborted
   */
  async copyTo(other: HttpCache, options: CopyOptions = {}): Promise<CopyProgress> {
    checkNames('copyTo', options, ['filter', 'signal', 'onProgress'])
    if (!(other instanceof HttpCache) || other === this)
      refuse('copyTo', 'another HttpCache', other)
    if (other.shared !== this.shared) {
      throw new TypeError('copyTo: a shared cache and a private one store different responses')
    }
    const { filter = {}, signal, onProgress } = options
    if (signal !== undefined) parseSignal(signal, 'copyTo.signal')
    if (onProgress !== undefined) parseFunction(onProgress, 'copyTo.onProgress')
    const { parsed, now } = await this.#parse(filter, 'copyTo.filter')
    const copying = {
      signal,
      onProgress,
      isPlain: (entry: Entry) => this.identities.isPlain(entry),
      keyThere: (entry: Entry) => this.identities.keyIn(other.identities, entry),
    }
    return copyResponses(this.responses, other.responses, parsed, now, copying)
  }

  /**
   * Makes the keys of stored responses anew, after the rules for keys have changed (`ignoredParameters`,
   * `secretParameters`, `cacheKey`), so that they are found by them: those of the first agent that was made
   * with this cache. What a key was made of is not stored but for the method and the URL, so that all others
   * stay as they are.
   *
   * @throws as {@link entries} does; what a function of the user's throws
   */
  async rekey(query: ResponseQuery = {}): Promise<RekeyResult> {
    const { parsed, now } = await this.#parse(query, 'rekey')
    const rules = this.#rules ?? compileRules({})
    return rekeyResponses(this.responses, this.identities, rules, parsed, now)
  }

  /**
   * Writes stored responses as a HAR (version 1.2), which developer tools and other HAR tools open: all of
   * them, or those that `filter` means; without what is likely to be a secret, unless `redact` is false.
   *
   * @throws TypeError where an option is malformed; Error where the target cannot be written or the store fails
   */
  async exportHar(target: HarTarget, options: HarExportOptions = {}): Promise<HarExportResult> {
    checkNames('exportHar', options, ['filter', 'redact', 'signal'])
    const { filter = {}, redact = true, signal } = options
    parseBoolean(redact, 'redact')
    if (signal !== undefined) parseSignal(signal, 'exportHar.signal')
    const { parsed, now } = await this.#parse(filter, 'exportHar.filter')
    const { exportHar } = await import('./har/export.ts')
    return exportHar(target, this.#entries(parsed, now), redact, signal)
  }

  async *#entries(query: ParsedQuery, now = Date.now()): AsyncGenerator<Entry> {
    const pace = new Pace()
    for await (const some of this.responses.management.select(query, now)) {
      for (const summary of some) {
        const entry = await this.responses.management.get(summary)
        if (entry) yield entry
        await pace.rest()
      }
    }
  }

  /**
   * Stores the responses of a HAR (version 1.2), such as developer tools save, so that they can be replayed
   * offline. They are the answers to requests for their URLs without credentials, whatever their other header
   * fields are, and stay fresh for ever, unless the options say otherwise. That requests only read the cache
   * (`readOnly`, the modes `'offline'` and `'replay'`) does not matter.
   *
   * @throws TypeError where an option is malformed; Error where the source cannot be read or is no HAR, or
   *   the store fails: what has been stored until then stays
   */
  async importHar(source: HarSource, options: HarImportOptions = {}): Promise<HarImportResult> {
    checkNames('importHar', options, ['terms', 'matchFields', 'signal', 'onSkip'])
    const { terms = {}, matchFields = false, signal, onSkip } = options
    parseBoolean(matchFields, 'matchFields')
    if (signal !== undefined) parseSignal(signal, 'importHar.signal')
    if (onSkip !== undefined) parseFunction(onSkip, 'importHar.onSkip')
    parseTerms(terms, 'importHar.terms')
    const { identities, responses, shared } = this
    const { importHar } = await import('./har/import.ts')
    const saving = { identities, responses, shared, rules: this.#rules }
    const all = { expireAfter: NEVER_EXPIRE, ...terms }
    return importHar(saving, source, { terms: all, matchFields, signal, onSkip })
  }

  /** Deletes all stored responses. @throws Error where the store fails */
  async clear(): Promise<void> {
    await this.responses.clear()
  }

  /**
   * Removes what is of no use any more: responses that have been stale for so long that they are not kept,
   * and what a crash has left. SQLite and memory stores do so by themselves now and then, others whenever they
   * come across something.
   *
   * @returns how many responses were removed, but for what a server or a Keyv has let go of by itself
   * @throws Error where the store fails
   */
  async prune(): Promise<number> {
    return this.responses.management.prune()
  }

  /**
   * Gives the space of what has been deleted back to the file system, in small steps. Stores other than
   * SQLite do so by themselves, or not at all.
   *
   * @throws Error where the store fails
   */
  async vacuum(): Promise<void> {
    await this.responses.freed()
  }

  /**
   * Looks through all of an SQLite store, in a thread of its own: whether SQLite itself finds damage, whether
   * there is content that nothing refers to or a response whose content is not all there, and whether what
   * is counted is right.
   *
   * @throws Error where the store is none of SQLite, or cannot be opened
   */
  async check(): Promise<CacheCheck> {
    return checkOf(await this.#inspect())
  }

  /**
   * Mends what {@link check} finds: content that nothing refers to is removed, as are responses whose content
   * is not all there; what is counted is counted anew. Indices are made anew; a file that is damaged beyond
   * that is set aside, and a new one begun.
   *
   * @returns what was found
   * @throws as {@link check} does
   */
  async repair(): Promise<CacheCheck> {
    const found = await this.#inspect()
    const check = checkOf(found)
    if (!check.isSound) await this.responses.management.mend(found)
    return check
  }

  async #inspect(): Promise<Inspection> {
    const found = await this.responses.management.inspect()
    if (found) return found
    throw new Error('only an SQLite store can be checked and repaired here')
  }

  async #parse(
    query: ResponseQuery,
    who: string,
    request: StoredRequest = {},
  ): Promise<{ readonly parsed: ParsedQuery; readonly now: number }> {
    const now = Date.now()
    const parsed = parseQuery(query, who, { now })
    if (query.url === undefined) return { parsed, now }
    const urls = [query.url].flat()
    const { methods = [] } = parsed.conditions
    const keys = await Promise.all(
      urls.flatMap((url) => [this.#keysOf(url, request), this.#keysListed(url, methods)]),
    )
    const keysOfUrls = new Set(keys.flatMap((some) => [...some]))
    return { parsed: parseQuery(query, who, { now, keysOfUrls }), now }
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
    await this.responses.settled()
    await this.leases?.close()
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

function checkOf({ damage, orphans, incomplete, ...counted }: Inspection): CacheCheck {
  const isMiscounted = Object.values(counted).some((list) => list.length > 0)
  const isSound = damage.length + orphans.length + incomplete.length === 0 && !isMiscounted
  return {
    isSound,
    damage,
    orphans: orphans.length,
    incomplete: incomplete.length,
    isMiscounted,
  }
}
