import type { Dispatcher } from 'undici'
import { type Awaitable, after } from './awaitable.ts'
import type { HttpCache } from './cache.ts'
import { type Delivery, delivery } from './delivery.ts'
import { isAmong } from './expiration.ts'
import { askFilter } from './filter.ts'
import type { ActiveRequests } from './handlers/active-requests.ts'
import { BackgroundHandler, NotNeededError } from './handlers/background-handler.ts'
import type { Flight, FlightOutcome } from './handlers/flights.ts'
import { Playback } from './handlers/playback.ts'
import { withCacheStatus } from './handlers/relaying-handler.ts'
import { RequestControl } from './handlers/request-control.ts'
import { type Exchange, type Received, StoringHandler } from './handlers/storing-handler.ts'
import { ValidatingHandler } from './handlers/validating-handler.ts'
import { Waiting } from './handlers/waiting.ts'
import { hiddenValues } from './key/fields.ts'
import { type Identity, toldUrl } from './key/identity.ts'
import { digest } from './key.ts'
import { type CacheStatus, formatCacheStatus } from './observe/cache-status.ts'
import { asError, type ToldAnswer, type ToldRequest } from './observe/events.ts'
import type { Reason } from './observe/reasons.ts'
import { type HiddenValue, hideValues, revealValues } from './redaction.ts'
import { discardStream, refuse } from './refusal.ts'
import { hasContent, headersWith, headersWithout, type Request } from './request.ts'
import { isReadOnce, readContent } from './request-content.ts'
import { type Answer, answer } from './rfc9111/answer.ts'
import { requestDirectives } from './rfc9111/cache-control.ts'
import { announcedSize, withoutFields } from './rfc9111/fields.ts'
import {
  currentAge,
  expirationTime,
  hasValidator,
  remainingFreshness,
} from './rfc9111/freshness.ts'
import { type Fields, isRetrieval } from './rfc9111/message.ts'
import { type ForwardReason, isForOthers, mayCollapse, type Reuse, reuse } from './rfc9111/reuse.ts'
import { mayUseOnError } from './rfc9111/staleness.ts'
import { type NotStored, reusableFields } from './rfc9111/storing.ts'
import { agreesWithHead, conditionalFields, confirmed, isNamed } from './rfc9111/validation.ts'
import { forbidsUse, type RequestTerms, type Rules } from './rules.ts'
import { type ContentReader, LostContentError } from './storage/content.ts'
import type { Entry, NewEntry } from './storage/entry.ts'
import { type Leases, MAX_LEASE, type Use } from './storage/leases.ts'
import type { Recording } from './storage/recorder.ts'
import type { StorePatience } from './storage/store-patience.ts'
import { takeTurn } from './storage/turns.ts'
import {
  adoption,
  freshening,
  isPartitioned,
  type Place,
  type Revision,
  slid,
  storing,
  withoutCookies,
} from './storing.ts'

type Dispatch = Dispatcher['dispatch']
type Handler = Dispatcher.DispatchHandler
type Options = Dispatcher.DispatchOptions

type Reusable = Extract<Reuse<Entry>, { action: 'reuse' | 'reuse-and-validate' }>
type Validation = Extract<Reuse<Entry>, { action: 'validate' }>
type Forwarding = Extract<Reuse<Entry>, { action: 'forward' }>

/** What all requests of an agent share. */
export interface Caching {
  readonly cache: HttpCache
  /** Whether the cache was made for this agent, and is closed with it. */
  readonly ownsCache: boolean
  readonly rules: Rules
  readonly cacheStatus: boolean
  readonly active: ActiveRequests
}

/** What would become of a request that is not made. */
export type Preview =
  | { readonly bypass: Reason }
  | {
      readonly decision: Reuse<Entry>
      /** The stored responses that may answer. */
      readonly candidates: readonly Entry[]
      /** The request as the cache compares it. */
      readonly request: Request
      readonly key: string
    }

/** One request that the cache may answer, from its dispatch to its end. */
export class CachedRequest implements ToldRequest {
  /** When it was dispatched, for those who listen to what becomes of it. */
  readonly began: number
  readonly #dispatch: Dispatch
  #options: Options
  readonly #control: RequestControl
  readonly #caching: Caching
  readonly #terms: RequestTerms
  /** The request as it was made. */
  #asked: Request
  /** The request as the cache compares and keeps it. */
  #request: Request
  #identity: Identity = NO_IDENTITY
  /** Whether it may wait for the answer to another request; undefined until that matters. */
  #mayWait: boolean | undefined
  #isCollapsed = false
  #beganToWait: number | undefined
  /** Whether nobody waits for the answer: it is for the cache alone. */
  #isInBackground = false
  /** When it was sent to the origin: a moment of the deletions, and in milliseconds of `performance.now()`. */
  #sentMoment = 0
  #sentTime = 0
  /** Set when what is stored turned out to be unreadable. */
  #isUnreadable = false
  /** Set where the user's filter lets something not be used that is stored. */
  #isFiltered = false
  /** Set where it is only asked what would become of the request. */
  #onPreview: ((preview: Preview) => void) | undefined
  /** Whether the answer is for requests with the fields that its `Vary` names only. */
  #isForSome = false
  /** Made once there is something to be waited for. */
  #patience: StorePatience | undefined

  constructor(
    dispatch: Dispatch,
    options: Options,
    control: RequestControl,
    caching: Caching,
    request: Request,
    terms: RequestTerms,
  ) {
    this.began = caching.cache.events.began()
    this.#dispatch = dispatch
    this.#options = options
    this.#control = control
    this.#caching = caching
    this.#asked = request
    this.#request = request
    this.#terms = terms
  }

  get method(): string {
    return this.#request.method
  }

  /** As it is told. */
  get url(): string {
    const { url } = this.#identity
    return url === '' ? toldUrl(this.#asked, this.#terms, this.#caching.cache.shared) : url
  }

  get key(): string | undefined {
    return this.#identity === NO_IDENTITY ? undefined : this.#cacheKey
  }

  begin(): void {
    this.#caching.active.add(this.#control)
    this.#control.begin()
    this.#attempt(() => this.#answer())
  }

  /** What would become of the request now. It is not made, and nothing is changed. */
  preview(): Promise<Preview> {
    return new Promise((resolve, reject) => {
      this.#onPreview = resolve
      this.#answer()?.catch(reject)
    })
  }

  /** Runs a part of the story, and ends the request if the cache itself breaks it. */
  #attempt(part: () => void | Promise<void>): void {
    const fail = (error: unknown) => {
      this.#control.abort(asError(error))
      this.#control.fail(asError(error))
    }
    try {
      part()?.catch(fail)
    } catch (error) {
      fail(error)
    }
  }

  /**
   * The story of a request begins here, and goes on with {@link #identify}, {@link #lookUp} and {@link #act}.
   * It only waits where it has to: what is in memory is played before dispatch() returns.
   */
  #answer(): void | Promise<void> {
    if (this.#request.content === 'none') return this.#identify(undefined)
    return this.#readContent().then((content) => {
      if (this.#control.finished) return
      return typeof content === 'string' ? this.#bypass(content) : this.#identify(content)
    })
  }

  /** The content by which the request is keyed, undefined where there is none; or why it cannot be. */
  async #readContent(): Promise<Buffer | undefined | PassReason> {
    const { method, content, fields } = this.#request
    const { body } = this.#options
    if (isRetrieval(method)) return (await hasContent(content)) ? 'content' : undefined
    // What can be read but once is left to whoever asks what would become of it.
    if (this.#onPreview && isReadOnce(body)) return 'content'
    const reading = readContent(body, fields, this.#terms.maxRequestContentSize)
    if ('stop' in reading) {
      this.#control.attach(new Waiting(this.#control, () => reading.stop()))
    }
    const read = 'stop' in reading ? await reading.content : reading
    if (this.#control.finished) return undefined
    this.#control.attach(undefined)
    this.#options = { ...this.#options, body: read.body as NonNullable<Options['body']> }
    if (!read.isWhole) return 'request-too-large'
    if (read.type) {
      this.#request = { ...this.#request, fields: { ...fields, 'content-type': read.type } }
    }
    return read.bytes.length === 0 ? undefined : read.bytes
  }

  /** Finds out where what may answer is stored. */
  #identify(content: Buffer | undefined): void | Promise<void> {
    const { cache } = this.#caching
    const pass = (error: unknown): void | Promise<void> => {
      this.#tellRuleFailed(error)
      if (!this.#control.finished) return this.#bypass('rule-failed')
    }
    let identity: Awaitable<Identity>
    try {
      const { identities } = cache
      identity = identities.identify(this.#request, this.#terms, content, () => this.#secret())
    } catch (error) {
      return pass(error)
    }
    return identity instanceof Promise
      ? identity.then((known) => this.#protect(known), pass)
      : this.#protect(identity)
  }

  /** The secret of the store, which is made where there is none if anything may be stored. */
  #secret(): Awaitable<Buffer> {
    const { responses } = this.#caching.cache
    const mayMake = this.#onPreview === undefined && !this.#terms.readOnly
    return this.#within(responses.secret(mayMake), () => responses.standInSecret)
  }

  /** What the store answers; what is said `otherwise` where the request has waited for it for too long. */
  #within<T>(answer: Awaitable<T>, otherwise: () => T): Awaitable<T> {
    if (!(answer instanceof Promise)) return answer
    this.#patience ??= this.#caching.cache.storePatience()
    return this.#patience.waitFor(answer, otherwise)
  }

  /** From here on there are hashes in place of credentials. */
  #protect(identity: Identity): void | Promise<void> {
    this.#identity = identity
    const { identities } = this.#caching.cache
    const { hidden } = identity
    const request = identities.protect(this.#request, this.#terms, hidden, () => this.#secret())
    return after(request, (known) => {
      this.#request = known
      return this.#lookUp()
    })
  }

  #lookUp(): void | Promise<void> {
    return after(this.#candidates(), (found) => this.#act(found))
  }

  /** The stored responses that may be used, as far as the user is concerned. */
  #candidates(): Awaitable<Entry[]> {
    const { mode, filter } = this.#terms
    if (this.#isUnreadable || mode === 'record') return []
    const found = this.#within(this.#find(), () => [])
    return filter === undefined ? found : after(found, (all) => this.#agreedOf(all))
  }

  /** Does what is right for the stored responses that were found. */
  #act(found: readonly Entry[]): void | Promise<void> {
    if (this.#control.finished) return
    const decision = reuse(this.#request, found, Date.now(), this.#terms)
    if (this.#onPreview) {
      const [request, key] = [this.#request, this.#cacheKey]
      return this.#onPreview({ decision, candidates: found, request, key })
    }
    switch (decision.action) {
      case 'reuse':
      case 'reuse-and-validate':
        return this.#reuse(decision)
      case 'refuse':
        return this.#refuse(found)
      case 'validate':
      case 'forward':
        return this.#ask(decision)
      default:
        decision satisfies never
    }
  }

  #reuse({ action, stored: found }: Reusable): void | Promise<void> {
    const stored = this.#slide(found)
    const status = this.#hitStatus(stored, action)
    const played = this.#play(stored, this.#fieldsOf(stored), status)
    return after(played, (outcome) => {
      if (outcome === 'partial') {
        return this.#mayBeSent ? this.#forward('partial', NOBODY, stored) : this.#refuse([])
      }
      if (outcome === 'played') {
        const isValidated = action === 'reuse-and-validate' && !this.#terms.readOnly
        if (isValidated) this.#validateInBackground(stored)
        return
      }
      this.#isUnreadable = true
      return this.#lookUp()
    })
  }

  /** Asks the origin, unless another request that is under way brings the answer. */
  #ask(decision: Validation | Forwarding): void | Promise<void> {
    const { cache } = this.#caching
    this.#mayWait ??= mayCollapse(this.#request, this.#terms)
    const underWay = this.#mayWait
      ? cache.flights.underWay(this.#flightKey, () => this.#waitsSince)
      : undefined
    if (underWay === undefined) {
      this.#isCollapsed = false
      return after(this.#agree(this.#openFlight()), (flight) => {
        if (flight === undefined) return this.#lookUp()
        if (decision.action === 'validate') return this.#validate(decision, flight)
        return this.#forward(decision.reason, flight, decision.stored)
      })
    }
    return underWay.then((outcome) => {
      if (this.#control.finished) return
      // Once it is known that the answer to one is of no use to others, they go out in parallel.
      this.#mayWait = outcome === 'aborted'
      this.#isCollapsed = outcome === 'answered'
      return this.#lookUp()
    })
  }

  /**
   * Agrees with other processes that this one asks the origin.
   *
   * @returns undefined where it needs not do so any more: the answer to another one has come into the store
   */
  #agree(flight: Flight): Awaitable<Flight | undefined> {
    const { leases } = this.#caching.cache
    if (leases === undefined || leases.isAlone || !flight.isAwaited || !this.#mayWait) return flight
    return this.#holdLease(leases, flight)
  }

  async #holdLease(leases: Leases, flight: Flight): Promise<Flight | undefined> {
    const { responses } = this.#caching.cache
    const isOver = () => this.#control.finished
    let hasLooked = false
    const isAnswered = async () => {
      // It is another process that is waited for, not the store.
      if (hasLooked) this.#patience = undefined
      hasLooked = true
      responses.forgetMemory(this.#cacheKey)
      const found = await this.#candidates()
      const { action } = reuse(this.#request, found, Date.now(), this.#terms)
      return action === 'reuse' || action === 'reuse-and-validate'
    }
    const within = this.#within.bind(this)
    const key = digest([this.#flightKey])
    const held = await leases.agree(key, isAnswered, isOver, within).catch((error: unknown) => {
      flight.settle('failed')
      throw error
    })
    if (held === 'answered') {
      this.#isCollapsed = true
      flight.settle('answered')
      return undefined
    }
    const settle = (outcome: FlightOutcome) => {
      flight.settle(outcome)
      const isStored =
        outcome === 'answered' ? responses.quiet(this.#cacheKey, MAX_LEASE) : undefined
      void after(isStored, () => held?.give(this.#useOf(outcome)))
    }
    if (isOver()) settle('aborted')
    return isOver() ? undefined : { ...flight, settle }
  }

  /** For whom the answer is that the request has got. */
  #useOf(outcome: FlightOutcome): Use {
    if (outcome === 'unusable') return 'nobody'
    // After a failure those that wait ask at the same time, too.
    const isForSome = outcome === 'failed' || (outcome === 'answered' && this.#isForSome)
    return isForSome ? 'some' : 'everybody'
  }

  /** Since when it has waited for others, in milliseconds of `performance.now()`. */
  get #waitsSince(): number {
    this.#beganToWait ??= performance.now()
    return this.#beganToWait
  }

  get #cacheKey(): string {
    return this.#identity.cacheKey
  }

  /** What requests have in common that may wait for one another. */
  get #flightKey(): string {
    const { partitionBy, matchHeaders } = this.#terms
    const values = [...partitionBy, ...matchHeaders].map((name) => this.#request.fields[name] ?? '')
    return [this.#cacheKey, ...values].join()
  }

  /** The stored responses that may answer: those to GET also answer HEAD (RFC 9110 §9.3.2). */
  #find(): Awaitable<Entry[]> {
    const { cache } = this.#caching
    const request = this.#request
    const terms = this.#terms
    const isUsable = (stored: Entry) =>
      isPartitioned(stored, request, terms) && !forbidsUse(terms, stored)
    const usable = (all: Entry[]) => (all.every(isUsable) ? all : all.filter(isUsable))
    const found = cache.responses.find(this.#cacheKey, request)
    if (request.method !== 'HEAD') return after(found, usable)
    return Promise.all([found, this.#findForGet()]).then((all) => usable(all.flat()))
  }

  async #findForGet(): Promise<Entry[]> {
    const { cache } = this.#caching
    try {
      const asked = { ...this.#asked, method: 'GET' }
      const { identities } = cache
      const secret = identities.knownSecret
      const { cacheKey } = await identities.identify(asked, this.#terms, undefined, secret)
      return await cache.responses.find(cacheKey, this.#request)
    } catch (error) {
      this.#tellRuleFailed(error)
      return []
    }
  }

  /** Those of some stored responses that the user's filter lets be used. */
  async #agreedOf(candidates: readonly Entry[]): Promise<Entry[]> {
    const verdicts = await Promise.all(
      // Of what is still arriving it is not known how much it is.
      candidates.map((stored) => stored.content.length !== undefined && this.#agrees(stored, true)),
    )
    this.#isFiltered = verdicts.includes(false)
    return candidates.filter((_, index) => verdicts[index])
  }

  /** Whether the user's filter lets a response be used or stored. */
  async #agrees(entry: Entry, isStored: boolean): Promise<boolean> {
    const { filter } = this.#terms
    try {
      return !filter || (await askFilter(filter, this.#request.fields, entry, isStored))
    } catch (error) {
      this.#tellRuleFailed(error)
      return false
    }
  }

  /** A function of the user's threw. */
  #tellRuleFailed(error: unknown): void {
    if (!this.#onPreview) this.#caching.cache.events.error('rule', error)
  }

  /** A stored response as it is once it has been used. */
  #slide(stored: Entry): Entry {
    if (!this.#terms.slidingExpiration || this.#terms.readOnly) return stored
    const entry = slid(stored, this.#terms, Date.now())
    if (entry) this.#caching.cache.responses.recorder.freshen(entry)
    return entry ?? stored
  }

  /** The fields of a stored response that may be sent without having been validated. */
  #fieldsOf(stored: Entry): Fields {
    return withoutCookies(reusableFields(stored), this.#terms)
  }

  /** From now on others may wait for the answer, if it will be for them as well. */
  #openFlight(): Flight {
    const isForAll = !this.#terms.readOnly && isForOthers(this.#request)
    return isForAll ? this.#caching.cache.flights.open(this.#flightKey) : NOBODY
  }

  /** Whether the request may be sent to the origin at all. */
  get #mayBeSent(): boolean {
    return !this.#terms.sendsNothing && !requestDirectives(this.#request).has('only-if-cached')
  }

  /** Relays the answer without storing it, if the request may be sent; nobody waits for it. */
  #bypass(detail: PassReason): void | Promise<void> {
    if (this.#onPreview) return this.#onPreview({ bypass: detail })
    if (this.#terms.sendsNothing) return this.#refuse([], detail)
    const exchange = this.#exchange({ fwd: 'bypass', detail }, NOBODY)
    const storing = (received: Received) => {
      this.#invalidate(received)
      return detail
    }
    this.#send(this.#options, new StoringHandler({ ...exchange, storing }))
  }

  /**
   * §4.4: a method that may be cached is one that asks for something, if its answer is stored. Where it is
   * not, the request may have changed something.
   */
  #invalidate({ status, fields }: Received): void {
    // What is recorded is what was received, whatever changed it later.
    if (this.#terms.readOnly || this.#terms.mode === 'record') return
    this.#caching.cache.invalidateFor(this.#asked, { status, fields })
  }

  /** @param stored what may have to do if the origin fails */
  #forward(fwd: ForwardReason, flight: Flight, stored?: Entry): void {
    const status: CacheStatus = this.#isFiltered ? { fwd, detail: 'filter' } : { fwd }
    this.#send(this.#options, new StoringHandler(this.#exchange(status, flight, stored)))
  }

  #validate(validation: Validation, flight: Flight): void {
    const { reason, stored } = validation
    const headers = headersWith(this.#options.headers, conditionalFields(validation))
    const exchange = this.#exchange({ fwd: reason }, flight, stored, true)
    const storingHandler = new StoringHandler(exchange)
    const handler = new ValidatingHandler(storingHandler, (notModified) => {
      this.#control.attach(undefined)
      this.#attempt(() => this.#confirm(validation, notModified, flight))
    })
    this.#send({ ...this.#options, headers: headers as never }, handler)
  }

  /** §4.3.3: answers with the stored response that the origin has confirmed. */
  async #confirm(validation: Validation, received: Received, flight: Flight): Promise<void> {
    const { responses } = this.#caching.cache
    const { reason, stored } = validation
    const notModified = this.#withHiddenValues(received)
    const valid = confirmed(validation, notModified.fields)
    this.#tellValidation(valid !== undefined, 304)
    if (valid === undefined) return this.#forward('stale', flight, stored)
    const revision = this.#revise(valid === stored ? freshening : adoption, valid, notModified)
    const { entry } = revision
    let isStorable = revision.isStorable && !this.#isOutdated && !this.#terms.readOnly
    if (valid === stored) this.#keep(revision)
    else isStorable &&= await responses.recorder.copy(entry)
    flight.settle(isStorable ? 'answered' : 'unusable')
    if (this.#isInBackground) return this.#control.responseEnd({})

    const expires = expirationTime(entry)
    const status = { fwd: reason, fwdStatus: 304, stored: isStorable, expires }
    const cookies = this.#terms.stripSetCookie && received.fields['set-cookie']
    const fields = cookies ? { ...entry.fields, 'set-cookie': cookies } : entry.fields
    const outcome = await this.#play(entry, fields, status)
    if (outcome === 'played') return
    this.#isUnreadable = true
    this.#forward(outcome === 'lost' ? 'uri-miss' : 'partial', this.#openFlight())
  }

  /** A stored response as an answer has revised it; not to be kept where a function of the user's fails. */
  #revise(revise: typeof freshening, stored: Entry, answer: Received): Revision {
    try {
      return revise(this.#request, stored, answer, this.#terms)
    } catch (error) {
      this.#caching.cache.events.error('rule', error)
      const { tags: _, ...terms } = this.#terms
      return { ...revise(this.#request, stored, answer, terms), isStorable: false }
    }
  }

  /** RFC 5861 §3: validates a stale response that has been used already; one at a time. */
  #validateInBackground(stored: Entry): void {
    const { cache } = this.#caching
    const { generation } = stored
    const { method } = this.#request
    const body = isRetrieval(method) ? null : (this.#options.body ?? null)
    if (cache.validations.has(generation)) return
    cache.validations.add(generation)
    const handler = new BackgroundHandler((failure) => {
      cache.validations.delete(generation)
      if (failure) cache.events.error('validate', failure)
    })
    const left = stored.status === 206 ? OF_THE_CALLER : [...OF_THE_CALLER, 'range']
    const headers = headersWithout(this.#options.headers, left)
    const fields = withoutFields(this.#request.fields, left)
    const request = new CachedRequest(
      this.#dispatch,
      { ...this.#options, headers: headers as never, body },
      new RequestControl(handler),
      this.#caching,
      { ...this.#request, fields },
      this.#terms,
    )
    request.#asked = this.#asked
    request.#identity = this.#identity
    request.#isInBackground = true
    request.#beginValidation(stored)
  }

  #beginValidation(stored: Entry): void {
    this.#caching.active.add(this.#control, true)
    this.#control.begin()
    const flight = this.#openFlight()
    const validation: Validation = {
      action: 'validate',
      reason: 'stale',
      stored,
      candidates: [stored],
    }
    if (isRetrieval(this.#request.method) && hasValidator(stored))
      this.#validate(validation, flight)
    else this.#forward('stale', flight, stored)
  }

  #send(options: Options, handler: Handler & Pick<StoringHandler, 'onResponseError'>): void {
    this.#sentMoment = this.#caching.cache.responses.deletions.moment()
    this.#sentTime = performance.now()
    // An interceptor under the cache may throw; whoever waits for this request must not wait in vain.
    const fail = (error: unknown) => handler.onResponseError(undefined, asError(error))
    try {
      const result: unknown = this.#dispatch(options, handler)
      if (result instanceof Promise) result.catch(fail)
    } catch (error) {
      fail(error)
    }
  }

  /** @param isValidation whether the origin is asked about what is stored */
  #exchange(
    status: CacheStatus,
    flight: Flight,
    stored?: Entry,
    isValidation: boolean = this.#isInBackground,
  ): Exchange {
    const { cache, cacheStatus } = this.#caching
    return {
      method: this.#request.method,
      control: this.#control,
      flight,
      storing: (received) => {
        const verdict = this.#storing(this.#withHiddenValues(received), flight, stored)
        if (typeof verdict === 'string') this.#invalidate(received)
        return verdict
      },
      record: (entry) => this.#record(entry, status.fwd === 'uri-miss'),
      useInstead: (failure, fwdStatus) => {
        const told = { ...status, ...(fwdStatus && { fwdStatus }) }
        if (!stored || !this.#useInstead(stored, failure, told, flight)) return false
        if (isValidation) this.#tellValidation(false, fwdStatus ?? failure)
        return true
      },
      answered: (received, verdict) => {
        const told = { ...status, ...this.#storedStatus(verdict) }
        const size = announcedSize(this.#request.method, received)
        this.#tell(told, received.responseTime, { status: received.status, size })
        if (isValidation && verdict !== 'freshened') this.#tellValidation(false, received.status)
        return cacheStatus ? formatCacheStatus(told, received.responseTime) : undefined
      },
      failed: (error) => {
        this.#tell(status, Date.now(), error)
        if (isValidation) this.#tellValidation(false, error)
      },
      ended: (bytes) => {
        cache.events.statistics.of(this.#request.url).bytesFromOrigin += bytes
      },
    }
  }

  #record(entry: NewEntry, isFirst: boolean): Recording {
    const { cache } = this.#caching
    const { maxContentSize, filter, mode } = this.#terms
    const agree = async (complete: Entry) =>
      // It may take a while.
      (await this.#agrees(complete, false)) && !this.#isOutdated
    this.#isForSome = entry.fields.vary !== undefined
    const recording = cache.responses.recorder.record(
      entry,
      maxContentSize,
      filter && agree,
      isFirst,
    )
    if (mode === 'record') cache.used.add(recording.entry.generation)
    return recording
  }

  /** The outcome is known. Nobody has asked for what happens in the background. */
  #tell(status: CacheStatus, now: number, result: ToldAnswer | Error, stored?: Entry): void {
    if (this.#isInBackground) return
    this.#caching.cache.events.lookup(this, status, now, result, stored)
  }

  #tellValidation(isConfirmed: boolean, answer: number | Error): void {
    const { events } = this.#caching.cache
    const { method, url, began } = this
    const asked = { method, url, began, key: this.#cacheKey }
    events.validated(asked, isConfirmed, this.#isInBackground, answer, this.#sentTime)
  }

  /** The values of the request that are neither stored nor told. */
  #hiddenValues(): readonly HiddenValue[] {
    return hiddenValues(this.#asked.fields, this.#identity.hidden, this.#terms)
  }

  /** An answer from the origin with marks in place of what must not be stored. */
  #withHiddenValues(received: Received): Received {
    const hidden = this.#hiddenValues()
    const fields = hidden.length === 0 ? received.fields : hideValues(received.fields, hidden)
    return fields === received.fields ? received : { ...received, fields, hasHiddenValues: true }
  }

  /** What to store of an answer from the origin, or why not. */
  #storing(received: Received, flight: Flight, stored: Entry | undefined): NewEntry | NotStored {
    if (this.#terms.readOnly) return 'read-only'
    if (this.#isOutdated) return 'invalidated'
    if (stored && this.#confirms(received, stored)) {
      this.#keep(this.#revise(freshening, stored, received))
      flight.settle('answered')
      this.#tellValidation(true, received.status)
      return 'freshened'
    }
    // A part takes the place of nothing that is whole.
    if (received.status === 206 && stored && stored.status !== 206) return 'incomplete'
    const { cacheKey, url } = this.#identity
    const { shared, responses } = this.#caching.cache
    const place = { cacheKey, url, shared, maxContentSize: responses.recorder.maxContentSize }
    const verdict = this.#verdict(received, place)
    if (stored && typeof verdict === 'string') this.#endStale(stored, received)
    if (!this.#isInBackground) return verdict
    // A failure that nobody waited for takes nothing away, even if it may be stored.
    const unusable = received.status >= 500 ? 'status' : typeof verdict === 'string' && verdict
    if (!unusable) return verdict
    queueMicrotask(() => this.#control.abort(new NotNeededError(unusable)))
    return unusable
  }

  #verdict(received: Received, place: Place): NewEntry | NotStored {
    try {
      return storing(this.#request, received, this.#terms, place)
    } catch (error) {
      // A function of the user's threw.
      this.#caching.cache.events.error('rule', error)
      return 'rule-failed'
    }
  }

  /**
   * Whether an answer that is the caller's own confirms a stored response as well: a 304 to a condition of
   * the caller (§4.3.4), or the answer to HEAD (§4.3.5). One to HEAD that contradicts it ends it.
   */
  #confirms({ status, fields }: Received, stored: Entry): boolean {
    if (status === 304) return isNamed(stored.fields, fields)
    if (this.#request.method !== 'HEAD' || stored.method !== 'GET') return false
    const { length } = stored.content
    if (status === stored.status && agreesWithHead(stored.fields, length, fields)) return true
    const isGone = status === 404 || status === 410
    if (isGone || (status >= 200 && status <= 299)) {
      void this.#caching.cache.responses.remove(stored, 'superseded')
    }
    return false
  }

  /** Whether what is stored was deleted or invalidated after the request was sent: its answer may be from before. */
  get #isOutdated(): boolean {
    const { cacheKey, url } = this.#identity
    const expected = { cacheKey, url, method: this.#request.method }
    return this.#caching.cache.responses.deletions.hasSince(expected, this.#sentMoment)
  }

  /** §4.3.3: a stale response ends where the origin has answered otherwise, with something that is not stored. */
  #endStale(stored: Entry, { status }: Received): void {
    const isTemporary = status === 408 || status === 429 || status >= 500
    const isAboutPart = status === 304 || status === 206 || status === 416
    if (isTemporary || isAboutPart || remainingFreshness(stored, Date.now()) > 0) return
    void this.#caching.cache.responses.remove(stored, 'superseded')
  }

  #keep({ entry, isStorable, isUnchanged }: Revision): void {
    const { responses } = this.#caching.cache
    if (this.#isOutdated || this.#terms.readOnly) return
    if (!isStorable) void responses.remove(entry, 'superseded')
    else if (!isUnchanged) responses.recorder.freshen(entry)
  }

  /**
   * RFC 5861 §4: where the origin has failed, answers with a stale response if that is allowed.
   *
   * @returns whether it does
   */
  #useInstead(stored: Entry, failure: Error, status: CacheStatus, flight: Flight): boolean {
    if (this.#isInBackground) return false
    const { allowedCodes } = this.#terms
    // An answer that the user wants to be stored is no failure.
    if (status.fwdStatus && allowedCodes && isAmong(status.fwdStatus, allowedCodes)) return false
    const isDisconnected = status.fwdStatus === undefined && !('statusCode' in failure)
    const now = Date.now()
    if (!mayUseOnError(this.#request, stored, now, this.#terms, isDisconnected)) return false
    if (answer(this.#request, stored, stored.content.length).kind === 'none') return false
    this.#caching.cache.events.error('validate', failure)
    flight.settle('failed')
    this.#control.attach(undefined)
    const detail = 'stale-if-error'
    const expires = expirationTime(stored)
    const play = async () => {
      const outcome = await this.#play(stored, this.#fieldsOf(stored), {
        ...status,
        detail,
        expires,
      })
      if (outcome === 'played') return
      this.#isUnreadable = true
      this.#forward(status.fwd === 'stale' ? 'stale' : 'request', NOBODY)
    }
    // Outside undici's parser, which must not be entered again by what is resumed now.
    queueMicrotask(() => this.#attempt(play))
    return true
  }

  #storedStatus(verdict: NewEntry | NotStored): CacheStatus {
    if (typeof verdict === 'string') return { detail: verdict }
    return { stored: true, expires: expirationTime(verdict), key: this.#cacheKey }
  }

  #hitStatus(stored: Entry, action: 'reuse' | 'reuse-and-validate'): CacheStatus {
    const expires = expirationTime(stored)
    if (this.#isCollapsed) return { fwd: 'uri-miss', collapsed: true, expires }
    return action === 'reuse'
      ? { hit: true, expires }
      : { hit: true, expires, detail: 'stale-while-revalidate' }
  }

  /**
   * Plays what of a stored response answers the request. The first piece of its content is read before
   * anything is delivered.
   *
   * @returns 'lost' where the content is; 'partial' where it takes the origin to answer
   */
  #play(stored: Entry, storedFields: Fields, status: CacheStatus): Awaitable<PlayOutcome> {
    const told = stored.hasHiddenValues
      ? revealValues(storedFields, this.#hiddenValues())
      : storedFields
    // It is for requests that have what this one has not.
    if (told === undefined) return 'lost'
    const message = delivery(this.#request, stored, told, this.#answerOf(stored))
    if (message === undefined) return 'partial'
    const { reader, bytes } = message
    if (reader === undefined) {
      const turn = takeTurn(SHARE_OF_TURN)
      return after(turn, () => this.#deliver(stored, message, status, bytes))
    }
    return this.#begin(stored, reader).then(
      (first) => this.#deliver(stored, message, status, first),
      (error: unknown) => {
        reader.close()
        if (error instanceof LostContentError) this.#forget(stored, error)
        return 'lost'
      },
    )
  }

  /** The first piece of some content. @throws where it cannot be read in time */
  async #begin(stored: Entry, reader: ContentReader): Promise<Buffer | null> {
    const first = reader.read()
    // What is still being received is waited for as the origin is.
    if (stored.content.length === undefined) return first
    return this.#within(first, () => {
      throw new Error('the store is late')
    })
  }

  /** @param first the first piece of the content; null where there is none */
  #deliver(
    stored: Entry,
    message: Delivery,
    status: CacheStatus,
    first: Buffer | null | undefined,
  ): PlayOutcome {
    const { cacheStatus } = this.#caching
    const { status: code, statusText, fields, size, reader } = message
    const control = this.#control
    if (control.finished) {
      reader?.close()
      return 'played'
    }
    const now = Date.now()
    discardStream(this.#options.body)
    const age = String(Math.floor(currentAge(stored, now) / 1000))
    const told = cacheStatus
      ? withCacheStatus(fields, formatCacheStatus(status, now, stored.cacheKey), age)
      : { ...fields, age }
    this.#noteUse(stored)
    this.#tell(status, now, message, stored)
    // How much there is of what is still being received is known at its end.
    const atEnd = size === undefined ? () => this.#countBytes(stored) : undefined
    const playback = new Playback(control, reader, first, atEnd, (error) =>
      this.#forget(stored, error),
    )
    control.attach(playback)
    try {
      control.responseStart(code, told, statusText)
    } catch (error) {
      control.abort(asError(error))
    }
    playback.start()
    return 'played'
  }

  /** What is stored has lost its content. */
  #forget(stored: Entry, error: LostContentError): void {
    const { cache } = this.#caching
    cache.events.error('read', error)
    if (!this.#terms.readOnly) void cache.responses.remove(stored, 'damage')
  }

  #countBytes({ content }: Entry): Fields {
    const { statistics } = this.#caching.cache.events
    statistics.of(this.#request.url).bytesFromCache += content.length ?? 0
    return {}
  }

  /** What of a stored response answers the request. */
  #answerOf(stored: Entry): Answer {
    const part = answer(this.#request, stored, stored.content.length)
    // RFC 9110 §14.2: nobody has to know what a range is; better all of the content than none.
    const isUnanswered = part.kind === 'none' && stored.status !== 206
    return isUnanswered && this.#terms.sendsNothing ? { kind: 'whole' } : part
  }

  #noteUse(stored: Entry): void {
    const { cache } = this.#caching
    const { mode, readOnly } = this.#terms
    if (mode !== 'default') cache.used.add(stored.generation)
    if (!readOnly) cache.responses.use(stored)
  }

  /**
   * Answers that there is nothing that may be reused, where the request may not be sent (§5.2.1.7).
   *
   * @param variants what is stored for others
   * @param bypass why the request would pass the cache by
   */
  #refuse(variants: readonly Entry[], bypass?: Reason): Promise<void> {
    const { cache, cacheStatus } = this.#caching
    return refuse({
      control: this.#control,
      cache,
      cacheStatus,
      asked: this,
      fields: this.#request.fields,
      body: this.#options.body,
      terms: this.#terms,
      variants,
      ...(bypass !== undefined && { bypass }),
    })
  }
}

type PlayOutcome = 'played' | 'lost' | 'partial'

/** Why a request that might have been answered passes by after all. */
type PassReason = 'rule-failed' | 'content' | 'request-too-large'

/** What a hit counts of what is read in one turn of the event loop, in bytes: there are 128 of them. */
const SHARE_OF_TURN = 8192

/** What a request is before that is known. */
const NO_IDENTITY: Identity = { cacheKey: '', url: '', hidden: [] }

/** The flight of a request whose answer nobody else waits for. */
const NOBODY: Flight = { isAwaited: false, settle: () => {} }

/** Request fields that are about what the caller has or wants, and not about what is stored. */
const OF_THE_CALLER = ['cache-control', 'if-modified-since', 'if-none-match', 'if-range', 'pragma']
