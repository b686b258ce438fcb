import type { Dispatcher } from 'undici'
import { type Awaitable, after } from './awaitable.ts'
import { holdLease } from './collapsing.ts'
import { dispatchSafely, type FailableHandler } from './dispatch-safely.ts'
import { isAmong } from './expiration.ts'
import { BackgroundHandler, NotNeededError } from './handlers/background-handler.ts'
import type { Flight } from './handlers/flights.ts'
import { RequestControl } from './handlers/request-control.ts'
import { type Exchange, type Received, StoringHandler } from './handlers/storing-handler.ts'
import { ValidatingHandler } from './handlers/validating-handler.ts'
import type { Caching, Lookup, PassReason } from './lookup.ts'
import { type CacheStatus, formatCacheStatus } from './observe/cache-status.ts'
import { asError, type ToldAnswer, type ToldRequest } from './observe/events.ts'
import type { Reason } from './observe/reasons.ts'
import { type PlayOutcome, play } from './playing.ts'
import { hideValues } from './redaction.ts'
import { refuse } from './refusal.ts'
import { headersWith, headersWithout, OF_THE_CALLER, type Request } from './request.ts'
import { answer } from './rfc9111/answer.ts'
import { announcedSize, withoutFields } from './rfc9111/fields.ts'
import { expirationTime, hasValidator, remainingFreshness } from './rfc9111/freshness.ts'
import { type Fields, isRetrieval } from './rfc9111/message.ts'
import { type ForwardReason, isForOthers, mayCollapse, type Reuse, reuse } from './rfc9111/reuse.ts'
import { mayUseOnError } from './rfc9111/staleness.ts'
import { type NotStored, reusableFields } from './rfc9111/storing.ts'
import { comparedWithHead, conditionalFields, confirmed, isNamed } from './rfc9111/validation.ts'
import type { RequestTerms } from './rules.ts'
import type { Entry, NewEntry } from './storage/entry.ts'
import type { Recording } from './storage/recorder.ts'
import {
  adoption,
  freshening,
  type Place,
  type Revision,
  slid,
  storing,
  withoutCookies,
} from './storing.ts'

type Dispatch = Dispatcher['dispatch']
type Options = Dispatcher.DispatchOptions

type Reusable = Extract<Reuse<Entry>, { action: 'reuse' | 'reuse-and-validate' }>
type Validation = Extract<Reuse<Entry>, { action: 'validate' }>
type Forwarding = Extract<Reuse<Entry>, { action: 'forward' }>

/** One request that the cache may answer, from its dispatch to its end. */
export class CachedRequest implements ToldRequest {
  /** When it was dispatched, for those who listen to what becomes of it. */
  readonly began: number
  readonly #dispatch: Dispatch
  readonly #lookup: Lookup
  readonly #control: RequestControl
  readonly #caching: Caching
  readonly #terms: RequestTerms
  /** Whether it may wait for the answer to another request; undefined until that matters. */
  #mayWait: boolean | undefined
  #isCollapsed = false
  #beganToWait: number | undefined
  /** Whether nobody waits for the answer: it is for the cache alone. */
  readonly #isInBackground: boolean
  /** When it was sent to the origin: a moment of the deletions, and in milliseconds of `performance.now()`. */
  #sentMoment = 0
  #sentTime = 0
  /** Whether the answer is for requests with the fields that its `Vary` names only. */
  #isForSome = false

  constructor(dispatch: Dispatch, lookup: Lookup, isInBackground = false) {
    this.began = lookup.caching.cache.events.began()
    this.#dispatch = dispatch
    this.#lookup = lookup
    this.#control = lookup.control
    this.#caching = lookup.caching
    this.#terms = lookup.terms
    this.#isInBackground = isInBackground
  }

  get method(): string {
    return this.#request.method
  }

  /** As it is told. */
  get url(): string {
    return this.#lookup.toldUrl
  }

  get key(): string | undefined {
    return this.#lookup.cacheKey || undefined
  }

  /** As the cache compares and keeps it. */
  get #request(): Request {
    return this.#lookup.request
  }

  begin(): void {
    this.#caching.active.add(this.#control)
    this.#control.begin()
    this.#attempt(() => this.#answer())
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
   * The story of a request begins here, and goes on with {@link #lookUp} and {@link #act}. It only waits where it
   * has to: what is in memory is played before dispatch() returns.
   */
  #answer(): void | Promise<void> {
    return after(this.#lookup.identify(), (reason) => {
      if (this.#control.finished) return
      return reason === undefined ? this.#lookUp() : this.#bypass(reason)
    })
  }

  #lookUp(): void | Promise<void> {
    return after(this.#lookup.find(), (found) => this.#act(found))
  }

  /** Does what is right for the stored responses that were found. */
  #act(found: readonly Entry[]): void | Promise<void> {
    if (this.#control.finished) return
    const decision = reuse(this.#request, found, Date.now(), this.#terms)
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
        return this.#lookup.mayBeSent ? this.#forward('partial', NOBODY, stored) : this.#refuse([])
      }
      if (outcome === 'played') {
        const isValidated = action === 'reuse-and-validate' && !this.#terms.readOnly
        if (isValidated) this.#validateInBackground(stored)
        return
      }
      this.#lookup.isUnreadable = true
      return this.#lookUp()
    })
  }

  /** Asks the origin, unless another request that is under way brings the answer. */
  #ask(decision: Validation | Forwarding): void | Promise<void> {
    const { cache } = this.#caching
    this.#mayWait ??= mayCollapse(this.#request, this.#terms)
    const underWay = this.#mayWait
      ? cache.flights.underWay(this.#lookup.flightKey, () => this.#waitsSince)
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
    return holdLease(this.#lookup, leases, flight, () => this.#isForSome).then((held) => {
      if (held !== 'answered') return held
      this.#isCollapsed = true
      return undefined
    })
  }

  /** Since when it has waited for others, in milliseconds of `performance.now()`. */
  get #waitsSince(): number {
    this.#beganToWait ??= performance.now()
    return this.#beganToWait
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
    return isForAll ? this.#caching.cache.flights.open(this.#lookup.flightKey) : NOBODY
  }

  /** Relays the answer without storing it, if the request may be sent; nobody waits for it. */
  #bypass(detail: PassReason): void | Promise<void> {
    if (!this.#lookup.mayBeSent) return this.#refuse([], detail)
    const exchange = this.#exchange({ fwd: 'bypass', detail }, NOBODY)
    const storing = (received: Received) => {
      this.#invalidate(received)
      return detail
    }
    this.#send(this.#lookup.options, new StoringHandler({ ...exchange, storing }))
  }

  /**
   * §4.4: a method that may be cached is one that asks for something, if its answer is stored. Where it is
   * not, the request may have changed something.
   */
  #invalidate({ status, fields }: Received): void {
    // What is recorded is what was received, whatever changed it later.
    if (this.#terms.readOnly || this.#terms.mode === 'record') return
    this.#caching.cache.invalidateFor(this.#lookup.asked, { status, fields })
  }

  /** @param stored what may have to do if the origin fails */
  #forward(fwd: ForwardReason, flight: Flight, stored?: Entry): void {
    const status: CacheStatus = this.#lookup.isFiltered ? { fwd, detail: 'filter' } : { fwd }
    this.#send(this.#lookup.options, new StoringHandler(this.#exchange(status, flight, stored)))
  }

  #validate(validation: Validation, flight: Flight): void {
    const { reason, stored } = validation
    const headers = headersWith(this.#lookup.options.headers, conditionalFields(validation))
    const exchange = this.#exchange({ fwd: reason }, flight, stored, true)
    const storingHandler = new StoringHandler(exchange)
    const handler = new ValidatingHandler(storingHandler, (notModified) => {
      this.#control.attach(undefined)
      this.#attempt(() => this.#confirm(validation, notModified, flight))
    })
    this.#send({ ...this.#lookup.options, headers: headers as never }, handler)
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
    if (valid === stored) this.#keep(stored, revision)
    else isStorable &&= await responses.recorder.copy(entry)
    flight.settle(isStorable ? 'answered' : 'unusable')
    if (this.#isInBackground) return this.#control.responseEnd({})

    const expires = expirationTime(entry)
    const status = { fwd: reason, fwdStatus: 304, stored: isStorable, expires }
    const cookies = this.#terms.stripSetCookie && received.fields['set-cookie']
    const fields = cookies ? { ...entry.fields, 'set-cookie': cookies } : entry.fields
    const outcome = await this.#play(entry, fields, status)
    if (outcome === 'played') return
    this.#lookup.isUnreadable = true
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
    const body = isRetrieval(method) ? null : (this.#lookup.options.body ?? null)
    if (cache.validations.has(generation)) return
    cache.validations.add(generation)
    const handler = new BackgroundHandler((failure) => {
      cache.validations.delete(generation)
      if (failure) cache.events.error('validate', failure)
    })
    const left = stored.status === 206 ? OF_THE_CALLER : [...OF_THE_CALLER, 'range']
    const headers = headersWithout(this.#lookup.options.headers, left) as never
    const options = { ...this.#lookup.options, headers, body }
    const fields = withoutFields(this.#request.fields, left)
    const lookup = this.#lookup.again(new RequestControl(handler), options, fields)
    new CachedRequest(this.#dispatch, lookup, true).#beginValidation(stored)
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

  #send(options: Options, handler: FailableHandler): void {
    this.#sentMoment = this.#caching.cache.responses.deletions.moment()
    this.#sentTime = performance.now()
    dispatchSafely(this.#dispatch, options, handler)
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
      (await this.#lookup.agrees(complete, false)) && !this.#isOutdated
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
  #tell(status: CacheStatus, now: number, result: ToldAnswer | Error): void {
    if (!this.#isInBackground) this.#caching.cache.events.lookup(this, status, now, result)
  }

  #tellValidation(isConfirmed: boolean, answer: number | Error): void {
    const { events } = this.#caching.cache
    const { method, url, began } = this
    const asked = { method, url, began, key: this.#lookup.cacheKey }
    events.validated(asked, isConfirmed, this.#isInBackground, answer, this.#sentTime)
  }

  /** An answer from the origin with marks in place of what must not be stored. */
  #withHiddenValues(received: Received): Received {
    const hidden = this.#lookup.hiddenValues
    const fields = hidden.length === 0 ? received.fields : hideValues(received.fields, hidden)
    return fields === received.fields ? received : { ...received, fields, hasHiddenValues: true }
  }

  /** What to store of an answer from the origin, or why not. */
  #storing(received: Received, flight: Flight, stored: Entry | undefined): NewEntry | NotStored {
    if (this.#terms.readOnly) return 'read-only'
    if (this.#isOutdated) return 'invalidated'
    if (stored && this.#confirms(received, stored)) {
      this.#keep(stored, this.#revise(freshening, stored, received))
      flight.settle('answered')
      this.#tellValidation(true, received.status)
      return 'freshened'
    }
    // A part takes the place of nothing that is whole.
    if (received.status === 206 && stored && stored.status !== 206) return 'incomplete'
    const { cacheKey, url } = this.#lookup
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
    const compared =
      status === stored.status ? comparedWithHead(stored.fields, length, fields) : 'other'
    const isGone = status === 404 || status === 410
    if (compared === 'other' && (isGone || (status >= 200 && status <= 299))) {
      void this.#caching.cache.responses.remove(stored, 'superseded')
    }
    return compared === 'same'
  }

  /** Whether what is stored was deleted or invalidated after the request was sent: its answer may be from before. */
  get #isOutdated(): boolean {
    const { cacheKey, url } = this.#lookup
    const expected = { cacheKey, url, method: this.#request.method }
    return this.#caching.cache.responses.deletions.hasSince(expected, this.#sentMoment)
  }

  /** §4.3.3: a stale response ends where the origin has answered otherwise, with something that is not stored. */
  #endStale(stored: Entry, { status }: Received): void {
    const isTemporary = status === 408 || status === 429 || status >= 500
    const isAboutPart = status === 304 || status === 206 || status === 416
    if (isTemporary || isAboutPart || remainingFreshness(stored, Date.now()) > 0) return
    // Unless it contradicts, what HEAD tells says nothing about what is stored for GET.
    if (this.#request.method !== stored.method && status === stored.status) return
    void this.#caching.cache.responses.remove(stored, 'superseded')
  }

  #keep(stored: Entry, { entry, isStorable, isUnchanged, unrevised }: Revision): void {
    const { responses } = this.#caching.cache
    if (this.#isOutdated || this.#terms.readOnly) return
    const kept = isStorable ? entry : unrevised
    if (kept === undefined) void responses.remove(entry, 'superseded')
    else if (kept !== stored && !(isStorable && isUnchanged)) responses.recorder.freshen(kept)
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
      this.#lookup.isUnreadable = true
      this.#forward(status.fwd === 'stale' ? 'stale' : 'request', NOBODY)
    }
    // Outside undici's parser, which must not be entered again by what is resumed now.
    queueMicrotask(() => this.#attempt(play))
    return true
  }

  #storedStatus(verdict: NewEntry | NotStored): CacheStatus {
    if (typeof verdict === 'string') return { detail: verdict }
    return { stored: true, expires: expirationTime(verdict), key: this.#lookup.cacheKey }
  }

  #hitStatus(stored: Entry, action: 'reuse' | 'reuse-and-validate'): CacheStatus {
    const expires = expirationTime(stored)
    if (this.#isCollapsed) return { fwd: 'uri-miss', collapsed: true, expires }
    return action === 'reuse'
      ? { hit: true, expires }
      : { hit: true, expires, detail: 'stale-while-revalidate' }
  }

  /** Answers with a stored response. */
  #play(stored: Entry, fields: Fields, status: CacheStatus): Awaitable<PlayOutcome> {
    return play(this.#lookup, { stored, fields, status, asked: this }, this.#dispatch)
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
      body: this.#lookup.options.body,
      terms: this.#terms,
      variants,
      ...(bypass !== undefined && { bypass }),
    })
  }
}

/** The flight of a request whose answer nobody else waits for. */
const NOBODY: Flight = { isAwaited: false, settle: () => {} }
