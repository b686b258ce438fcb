import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { HttpCache } from './cache.ts'
import { contextTerms } from './context.ts'
import type { Flight } from './handlers/flights.ts'
import { acceptLegacyHandlers } from './handlers/legacy-handler.ts'
import { Playback } from './handlers/playback.ts'
import { toRawHeaders } from './handlers/raw-headers.ts'
import { RelayingHandler, withCacheStatus } from './handlers/relaying-handler.ts'
import { RequestControl } from './handlers/request-control.ts'
import { type Exchange, type Received, StoringHandler } from './handlers/storing-handler.ts'
import { ValidatingHandler } from './handlers/validating-handler.ts'
import { cacheKey } from './key.ts'
import { type CacheStatus, formatCacheStatus } from './observe/cache-status.ts'
import { asError } from './observe/events.ts'
import { type CacheOptions, checkCacheOptions, mergeTerms, type Terms } from './options.ts'
import { hasContent, headersWith, type Request, readRequest } from './request.ts'
import { fieldValue } from './rfc9111/fields.ts'
import { currentAge, expirationTime } from './rfc9111/freshness.ts'
import { invalidatedUrls } from './rfc9111/invalidation.ts'
import type { Fields } from './rfc9111/message.ts'
import { type ForwardReason, mayCollapse, reuse, whyBypass } from './rfc9111/reuse.ts'
import { isPublic, mayStore, type NotStored, storedFields } from './rfc9111/storing.ts'
import { conditionalFields, freshenedFields, isAbout } from './rfc9111/validation.ts'
import { nominate, nominatedNames } from './rfc9111/vary.ts'
import { compileRules, expirationByRule, type RequestTerms, type Rules } from './rules.ts'
import type { Entry, NewEntry } from './storage/responses.ts'

type Dispatch = Dispatcher['dispatch']
type Handler = Dispatcher.DispatchHandler
type Options = Dispatcher.DispatchOptions

/** An undici interceptor that is a cache. */
export interface CacheInterceptor {
  (dispatch: Dispatch): Dispatch
  /** The stored responses and their management. */
  readonly cache: HttpCache
}

/**
 * The cache as an interceptor, for `dispatcher.compose(…, cacheInterceptor())`. Compose it last: the
 * last interceptor sees requests first, and hits then neither wait nor count for the others.
 *
 * @throws TypeError where an option is malformed or unknown; Error where the store cannot be opened
 */
export function cacheInterceptor(options: CacheOptions = {}): CacheInterceptor {
  checkCacheOptions(options)
  const caching = createCaching(options)
  const interceptor = (dispatch: Dispatch) => cachingDispatch(dispatch, caching)
  return Object.assign(interceptor, { cache: caching.cache })
}

/** What all requests of an agent share. */
export interface Caching {
  readonly cache: HttpCache
  /** Whether the cache was made for this agent, and is closed with it. */
  readonly ownsCache: boolean
  readonly rules: Rules
  readonly cacheStatus: boolean
}

/** Prepares what all requests of an agent share, from options that have been checked. */
export function createCaching(options: CacheOptions): Caching {
  // Rules first: where they are malformed no file must be left behind.
  const rules = compileRules(options)
  const { cache, store, cacheStatus = true } = options
  return {
    cache: cache ?? new HttpCache(store === undefined ? {} : { store }),
    ownsCache: cache === undefined,
    rules,
    cacheStatus,
  }
}

/** A dispatch that answers from the cache what it may; `own` are terms for all its requests. */
export function cachingDispatch(dispatch: Dispatch, caching: Caching, own?: Terms): Dispatch {
  return acceptLegacyHandlers((options, handler) => {
    const isOther = options.upgrade || options.method === 'CONNECT'
    const request = isOther ? undefined : readRequest(options)
    if (request === undefined) return dispatch(options, handler)

    let terms: RequestTerms
    try {
      terms = caching.rules.termsFor(request.target, mergeTerms(own, contextTerms()))
    } catch (error) {
      // A function of the user's threw.
      caching.cache.events.error('rule', error)
      return dispatch(options, handler)
    }
    const isDisabled = neverCaches(terms)
    const bypass = isDisabled ? 'do-not-cache' : whyBypass(request, request.content === 'some')
    if (bypass === undefined) {
      new CachedRequest(
        dispatch,
        options,
        new RequestControl(handler),
        caching,
        request,
        terms,
      ).begin()
      return true
    }
    const fwd = bypass === 'method' ? 'method' : 'bypass'
    const detail = bypass === 'method' ? {} : { detail: bypass }
    const status = caching.cacheStatus && formatCacheStatus({ fwd, ...detail }, Date.now())
    const invalidate = (code: number, fields: Fields) => {
      for (const url of invalidatedUrls(request, { status: code, fields })) {
        caching.cache.delete(url).catch(() => {})
      }
    }
    const relay = new RelayingHandler(
      handler,
      status || undefined,
      isDisabled ? undefined : invalidate,
    )
    return dispatch(options, relay)
  })
}

function neverCaches({ rule, fallback, cacheControl }: RequestTerms): boolean {
  const lifetime = rule ?? (cacheControl ? undefined : fallback)
  return lifetime === undefined ? !cacheControl : lifetime.kind === 'do-not-cache'
}

/** One request that the cache may answer, from its dispatch to its end. */
class CachedRequest {
  readonly #dispatch: Dispatch
  readonly #options: Options
  readonly #control: RequestControl
  readonly #caching: Caching
  readonly #terms: RequestTerms
  readonly #cacheKey: string
  #request: Request
  #isCollapsed = false
  /** Set when what is stored turned out to be unreadable. */
  #isUnreadable = false

  constructor(
    dispatch: Dispatch,
    options: Options,
    control: RequestControl,
    caching: Caching,
    request: Request,
    terms: RequestTerms,
  ) {
    this.#dispatch = dispatch
    this.#options = options
    this.#control = control
    this.#caching = caching
    this.#request = request
    this.#terms = terms
    this.#cacheKey = cacheKey(request.method, request)
  }

  begin(): void {
    this.#control.begin()
    this.#answer().catch((error: unknown) => {
      this.#control.abort(asError(error))
      this.#control.fail(asError(error))
    })
  }

  /** The story of a request. */
  async #answer(): Promise<void> {
    const { cache } = this.#caching
    const beginning = Date.now()
    const isBypass = await hasContent(this.#request.content)
    if (this.#control.finished) return
    if (isBypass) return this.#bypass('content')
    this.#request = await cache.protect(this.#request, this.#terms.partitionBy)
    const credentials = this.#terms.partitionBy.map((name) => this.#request.fields[name] ?? '')
    const flightKey = [this.#cacheKey, ...credentials].join()
    let mayWait = mayCollapse(this.#request)

    for (;;) {
      const candidates = this.#isUnreadable ? [] : await this.#find()
      if (this.#control.finished) return
      const decision = reuse(this.#request, candidates, Date.now())
      switch (decision.action) {
        case 'reuse':
          if (await this.#play(decision.stored, this.#hitStatus(decision.stored))) return
          this.#isUnreadable = true
          continue
        case 'refuse':
          return this.#refuse()
        case 'validate':
        case 'forward': {
          const underWay = mayWait ? cache.flights.underWay(flightKey, beginning) : undefined
          if (underWay !== undefined) {
            const outcome = await underWay
            if (this.#control.finished) return
            // Once it is known that the answer to one is of no use to others, they go out in parallel.
            mayWait = outcome === 'aborted'
            this.#isCollapsed = outcome === 'answered'
            continue
          }
          this.#isCollapsed = false
          const flight = cache.flights.open(flightKey)
          if (decision.action === 'forward') return this.#forward(decision.reason, flight)
          return this.#validate(decision.stored, decision.reason, flight)
        }
        default:
          decision satisfies never
      }
    }
  }

  /** The stored responses that may answer: those to GET also answer HEAD (RFC 9110 §9.3.2). */
  async #find(): Promise<Entry[]> {
    const { responses } = this.#caching.cache
    const request = this.#request
    const same = responses.find(this.#cacheKey, request)
    if (request.method !== 'HEAD') return same
    return [...(await same), ...(await responses.find(cacheKey('GET', request), request))]
  }

  /** Relays the answer without storing it; nobody waits for it. */
  #bypass(detail: 'content'): void {
    const exchange = this.#exchange({ fwd: 'bypass' }, { settle: () => {} })
    this.#send(this.#options, new StoringHandler({ ...exchange, storing: () => detail }))
  }

  #forward(fwd: ForwardReason, flight: Flight): void {
    this.#send(this.#options, new StoringHandler(this.#exchange({ fwd }, flight)))
  }

  #validate(stored: Entry, fwd: ForwardReason, flight: Flight): void {
    const headers = headersWith(this.#options.headers, conditionalFields(stored))
    const storing = new StoringHandler(this.#exchange({ fwd }, flight))
    const handler = new ValidatingHandler(storing, (notModified) => {
      if (!isAbout(stored.fields, notModified.fields)) return this.#forward('stale', flight)
      const { entry, isStored } = this.#freshen(stored, notModified)
      flight.settle(isStored ? 'answered' : 'unusable')
      this.#control.attach(undefined)
      const status = { fwd, fwdStatus: 304, stored: isStored, expires: expirationTime(entry) }
      this.#playOrFetch(entry, status).catch((error: unknown) => this.#control.fail(asError(error)))
    })
    this.#send({ ...this.#options, headers: headers as never }, handler)
  }

  /** Plays a response that has been validated; if its content is lost, fetches it after all. */
  async #playOrFetch(entry: Entry, status: CacheStatus): Promise<void> {
    if (await this.#play(entry, status)) return
    this.#isUnreadable = true
    this.#forward('uri-miss', this.#caching.cache.flights.open(this.#cacheKey))
  }

  #send(options: Options, handler: Handler & Pick<StoringHandler, 'onResponseError'>): void {
    try {
      this.#dispatch(options, handler)
    } catch (error) {
      // An interceptor under the cache threw; whoever waits for this request must not wait in vain.
      handler.onResponseError(undefined, asError(error))
    }
  }

  #exchange(status: CacheStatus, flight: Flight): Exchange {
    const { cache, cacheStatus } = this.#caching
    return {
      method: this.#request.method,
      control: this.#control,
      flight,
      storing: (received) => this.#storing(received),
      record: (entry) => cache.responses.record(entry),
      cacheStatus: ({ responseTime }, stored) =>
        cacheStatus
          ? formatCacheStatus({ ...status, ...this.#storedStatus(stored) }, responseTime)
          : undefined,
    }
  }

  #storedStatus(stored: NewEntry | NotStored): CacheStatus {
    if (typeof stored === 'string') return { detail: stored }
    return { stored: true, expires: expirationTime(stored), key: this.#cacheKey }
  }

  /** What to store of a response, or why it is not stored. */
  #storing(received: Received): NewEntry | NotStored {
    if (received.isRedirected) return 'redirected'
    const { status, statusText, fields, requestTime, responseTime } = received
    const expires = expirationByRule(this.#terms, fields, responseTime)
    if (expires === 'do-not-cache') return 'do-not-cache'
    const names = nominatedNames(received)
    if (names === '*') return 'vary-any'
    const partition = isPublic(received) ? [] : this.#terms.partitionBy
    const { method, url } = this.#request
    const entry: NewEntry = {
      cacheKey: this.#cacheKey,
      method,
      url,
      status,
      statusText,
      fields: withDate(storedFields(fields), responseTime),
      requestTime,
      responseTime,
      nominated: nominate([...new Set([...names, ...partition])], this.#request),
      ...(expires !== undefined && { expires }),
    }
    const verdict = mayStore(this.#request, entry)
    return verdict === true ? entry : verdict
  }

  /** §4.3.4: the stored response with the fields of the 304; stored again unless they forbid it. */
  #freshen(stored: Entry, notModified: Received): { entry: Entry; isStored: boolean } {
    const { requestTime, responseTime } = notModified
    const fields = freshenedFields(stored.fields, withDate(notModified.fields, responseTime))
    const expires = expirationByRule(this.#terms, fields, responseTime)
    const { expires: _, ...kept } = stored
    const update = {
      fields,
      requestTime,
      responseTime,
      ...(typeof expires === 'number' && { expires }),
    }
    const entry = { ...kept, ...update }
    // Where it is kept depends on what Vary nominates.
    const isSameVariant = fieldValue(fields, 'vary') === fieldValue(stored.fields, 'vary')
    const mayBeStored = expires !== 'do-not-cache' && mayStore(this.#request, entry) === true
    const isStored = isSameVariant && mayBeStored
    if (!isStored) {
      this.#caching.cache.responses.delete(stored.cacheKey).catch(() => {})
      return { entry, isStored }
    }
    return { entry: this.#caching.cache.responses.freshen(stored, update), isStored }
  }

  #hitStatus(stored: Entry): CacheStatus {
    const expires = expirationTime(stored)
    return this.#isCollapsed
      ? { fwd: 'uri-miss', collapsed: true, expires }
      : { hit: true, expires }
  }

  /**
   * Plays a stored response. The first piece of its content is read before anything is delivered.
   *
   * @returns false where the content is lost
   */
  async #play(stored: Entry, status: CacheStatus): Promise<boolean> {
    const { cache, cacheStatus } = this.#caching
    const control = this.#control
    const hasContent = this.#request.method !== 'HEAD' && stored.status !== 204
    const reader = hasContent ? stored.content.open() : undefined
    let first: Buffer | null | undefined
    try {
      first = await reader?.read()
    } catch (error) {
      reader?.close()
      cache.events.error('read', error)
      cache.responses.delete(stored.cacheKey).catch(() => {})
      return false
    }
    if (control.finished) {
      reader?.close()
      return true
    }
    const now = Date.now()
    discardStream(this.#options.body)
    const age = { ...stored.fields, age: String(Math.floor(currentAge(stored, now) / 1000)) }
    const member = formatCacheStatus({ ...status, key: stored.cacheKey }, now)
    const fields = cacheStatus ? withCacheStatus(age, member) : age
    const playback = new Playback(control, reader, first)
    control.attach(playback)
    try {
      control.responseStart(stored.status, fields, toRawHeaders(fields), stored.statusText)
    } catch (error) {
      control.abort(asError(error))
    }
    playback.start()
    return true
  }

  /** §5.2.1.7: `only-if-cached`, and nothing that may be reused. */
  #refuse(): void {
    const fields = {
      'content-length': '0',
      ...(this.#caching.cacheStatus && {
        'cache-status': formatCacheStatus({ detail: 'only-if-cached' }, Date.now()),
      }),
    }
    this.#control.attach(new Playback(this.#control, undefined))
    this.#control.responseStart(504, fields, toRawHeaders(fields), 'Gateway Timeout')
    this.#control.responseEnd({})
  }
}

/** A request that is answered from the cache is never sent, so nobody reads its stream. */
function discardStream(body: unknown): void {
  if (body instanceof Readable) body.on('error', () => {}).destroy()
}

/** RFC 9110 §6.6.1: a response without a date gets that of its receipt. */
function withDate(fields: Fields, responseTime: number): Fields {
  return fields.date === undefined
    ? { ...fields, date: new Date(responseTime).toUTCString() }
    : fields
}
