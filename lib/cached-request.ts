import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import type { HttpCache } from './cache.ts'
import type { ActiveRequests } from './handlers/active-requests.ts'
import type { Flight } from './handlers/flights.ts'
import { Playback } from './handlers/playback.ts'
import { withCacheStatus } from './handlers/relaying-handler.ts'
import type { RequestControl } from './handlers/request-control.ts'
import { type Exchange, StoringHandler } from './handlers/storing-handler.ts'
import { ValidatingHandler } from './handlers/validating-handler.ts'
import { cacheKey } from './key.ts'
import { type CacheStatus, formatCacheStatus } from './observe/cache-status.ts'
import { asError } from './observe/events.ts'
import { hasContent, headersWith, type Request } from './request.ts'
import { currentAge, expirationTime } from './rfc9111/freshness.ts'
import { type ForwardReason, mayCollapse, reuse } from './rfc9111/reuse.ts'
import type { NotStored } from './rfc9111/storing.ts'
import { conditionalFields, isAbout } from './rfc9111/validation.ts'
import type { RequestTerms, Rules } from './rules.ts'
import { LostContentError } from './storage/content.ts'
import type { Entry, NewEntry } from './storage/entry.ts'
import { freshening, isPartitioned, storing } from './storing.ts'

type Dispatch = Dispatcher['dispatch']
type Handler = Dispatcher.DispatchHandler
type Options = Dispatcher.DispatchOptions

/** What all requests of an agent share. */
export interface Caching {
  readonly cache: HttpCache
  /** Whether the cache was made for this agent, and is closed with it. */
  readonly ownsCache: boolean
  readonly rules: Rules
  readonly cacheStatus: boolean
  readonly active: ActiveRequests
}

/** One request that the cache may answer, from its dispatch to its end. */
export class CachedRequest {
  readonly #dispatch: Dispatch
  readonly #options: Options
  readonly #control: RequestControl
  readonly #caching: Caching
  readonly #terms: RequestTerms
  readonly #cacheKey: string
  #request: Request
  /** What requests have in common that may wait for one another. */
  #flightKey = ''
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
    this.#caching.active.add(this.#control)
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
    this.#flightKey = [this.#cacheKey, ...credentials].join()
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
          const underWay = mayWait ? cache.flights.underWay(this.#flightKey, beginning) : undefined
          if (underWay !== undefined) {
            const outcome = await underWay
            if (this.#control.finished) return
            // Once it is known that the answer to one is of no use to others, they go out in parallel.
            mayWait = outcome === 'aborted'
            this.#isCollapsed = outcome === 'answered'
            continue
          }
          this.#isCollapsed = false
          const flight = cache.flights.open(this.#flightKey)
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
    const keys = [this.#cacheKey, ...(request.method === 'HEAD' ? [cacheKey('GET', request)] : [])]
    const found = await Promise.all(keys.map((key) => responses.find(key, request)))
    return found.flat().filter((stored) => isPartitioned(stored, this.#terms))
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
    const storingHandler = new StoringHandler(this.#exchange({ fwd }, flight))
    const handler = new ValidatingHandler(storingHandler, (notModified) => {
      this.#control.attach(undefined)
      if (!isAbout(stored.fields, notModified.fields)) return this.#forward('stale', flight)
      const { update, isStorable } = freshening(this.#request, stored, notModified, this.#terms)
      const entry = this.#caching.cache.responses.freshen(stored, update, isStorable)
      flight.settle(isStorable ? 'answered' : 'unusable')
      const status = { fwd, fwdStatus: 304, stored: isStorable, expires: expirationTime(entry) }
      this.#playOrFetch(entry, status).catch((error: unknown) => this.#control.fail(asError(error)))
    })
    this.#send({ ...this.#options, headers: headers as never }, handler)
  }

  /** Plays a response that has been validated; if its content is lost, fetches it after all. */
  async #playOrFetch(entry: Entry, status: CacheStatus): Promise<void> {
    if (await this.#play(entry, status)) return
    this.#isUnreadable = true
    this.#forward('uri-miss', this.#caching.cache.flights.open(this.#flightKey))
  }

  #send(options: Options, handler: Handler & Pick<StoringHandler, 'onResponseError'>): void {
    // An interceptor under the cache may throw; whoever waits for this request must not wait in vain.
    const fail = (error: unknown) => handler.onResponseError(undefined, asError(error))
    try {
      const result: unknown = this.#dispatch(options, handler)
      if (result instanceof Promise) result.catch(fail)
    } catch (error) {
      fail(error)
    }
  }

  #exchange(status: CacheStatus, flight: Flight): Exchange {
    const { cache, cacheStatus } = this.#caching
    return {
      method: this.#request.method,
      control: this.#control,
      flight,
      storing: (received) => storing(this.#request, received, this.#terms, this.#cacheKey),
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
      if (error instanceof LostContentError) {
        cache.events.error('read', error)
        void cache.responses.deleteLost(stored)
      }
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
      control.responseStart(stored.status, fields, stored.statusText)
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
    const playback = new Playback(this.#control, undefined)
    this.#control.attach(playback)
    this.#control.responseStart(504, fields, 'Gateway Timeout')
    playback.start()
  }
}

/** A request that is answered from the cache is never sent, so nobody reads its stream. */
function discardStream(body: unknown): void {
  if (body instanceof Readable) body.on('error', () => {}).destroy()
}
