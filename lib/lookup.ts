import type { Dispatcher } from 'undici'
import { type Awaitable, after } from './awaitable.ts'
import type { HttpCache } from './cache.ts'
import { askFilter } from './filter.ts'
import type { ActiveRequests } from './handlers/active-requests.ts'
import type { RequestControl } from './handlers/request-control.ts'
import { Waiting } from './handlers/waiting.ts'
import { hiddenValues } from './key/fields.ts'
import { type Identity, toldUrl } from './key/identity.ts'
import type { HiddenValue } from './redaction.ts'
import { hasContent, type Request } from './request.ts'
import { isReadOnce, readContent } from './request-content.ts'
import { isRetrieval } from './rfc9111/message.ts'
import { reuse } from './rfc9111/reuse.ts'
import { forbidsUse, mayBeSent, type RequestTerms, type Rules } from './rules.ts'
import type { Entry } from './storage/entry.ts'
import type { StorePatience } from './storage/store-patience.ts'
import { isPartitioned } from './storing.ts'

/** What all requests of an agent share. */
export interface Caching {
  readonly cache: HttpCache
  /** Whether the cache was made for this agent, and is closed with it. */
  readonly ownsCache: boolean
  readonly rules: Rules
  readonly cacheStatus: boolean
  readonly active: ActiveRequests
}

/** Why a request that might have been answered passes by after all. */
export type PassReason = 'rule-failed' | 'content' | 'request-too-large'

/** What a request is before that is known. */
const NO_IDENTITY: Identity = { cacheKey: '', url: '', hidden: [] }

/** Finds the stored responses that may answer a request. */
export class Lookup {
  readonly control: RequestControl
  readonly caching: Caching
  readonly terms: RequestTerms
  /** The request as it was made. */
  readonly asked: Request
  /** To be set when what is stored turned out to be unreadable: from then on nothing is found. */
  isUnreadable = false
  #options: Dispatcher.DispatchOptions
  #request: Request
  #identity = NO_IDENTITY
  #isFiltered = false
  readonly #isPreview: boolean
  /** Made once there is something to be waited for. */
  #patience: StorePatience | undefined

  /** @param isPreview whether it is only asked what would become of the request: nothing is changed or told */
  constructor(
    control: RequestControl,
    caching: Caching,
    terms: RequestTerms,
    options: Dispatcher.DispatchOptions,
    asked: Request,
    isPreview = false,
  ) {
    this.control = control
    this.caching = caching
    this.terms = terms
    this.asked = asked
    this.#options = options
    this.#request = asked
    this.#isPreview = isPreview
  }

  /** What the request is sent with: content that had to be read is given again. */
  get options(): Dispatcher.DispatchOptions {
    return this.#options
  }

  /** The request as the cache compares and keeps it. */
  get request(): Request {
    return this.#request
  }

  /** Empty before it is known. */
  get cacheKey(): string {
    return this.#identity.cacheKey
  }

  /** Under which a response is stored; empty before it is known. */
  get url(): string {
    return this.#identity.url
  }

  /** The URL as it is told. */
  get toldUrl(): string {
    return this.url === '' ? toldUrl(this.asked, this.terms, this.caching.cache.shared) : this.url
  }

  /** What requests have in common that may wait for one another. */
  get flightKey(): string {
    const { partitionBy, matchHeaders } = this.terms
    const values = [...partitionBy, ...matchHeaders].map((name) => this.#request.fields[name] ?? '')
    return [this.cacheKey, ...values].join()
  }

  /** The values of the request that are neither stored nor told. */
  get hiddenValues(): readonly HiddenValue[] {
    return hiddenValues(this.asked.fields, this.#identity.hidden, this.terms)
  }

  /** Whether the request may be sent to the origin at all. */
  get mayBeSent(): boolean {
    return mayBeSent(this.#request, this.terms)
  }

  /** Whether the user's filter has let something not be used that is stored. */
  get isFiltered(): boolean {
    return this.#isFiltered
  }

  /** The same for another request for what has been found. */
  again(
    control: RequestControl,
    options: Dispatcher.DispatchOptions,
    fields: Request['fields'],
  ): Lookup {
    const other = new Lookup(control, this.caching, this.terms, options, this.asked)
    other.#request = { ...this.#request, fields }
    other.#identity = this.#identity
    return other
  }

  /** Finds out where what may answer is stored. @returns why the request passes by, if it does */
  identify(): Awaitable<PassReason | undefined> {
    if (this.#request.content === 'none') return this.#identify(undefined)
    return this.#readContent().then((content) => {
      if (typeof content === 'string') return content
      return this.control.finished ? undefined : this.#identify(content)
    })
  }

  /** The content by which the request is keyed, undefined where there is none; or why it cannot be. */
  async #readContent(): Promise<Buffer | undefined | PassReason> {
    const { method, content, fields } = this.#request
    const { body } = this.#options
    if (isRetrieval(method)) return (await hasContent(content)) ? 'content' : undefined
    // What can be read but once is left to whoever asks what would become of it.
    if (this.#isPreview && isReadOnce(body)) return 'content'
    const reading = readContent(body, fields, this.terms.maxRequestContentSize)
    if ('stop' in reading) {
      this.control.attach(new Waiting(this.control, () => reading.stop()))
    }
    const read = 'stop' in reading ? await reading.content : reading
    if (this.control.finished) return undefined
    this.control.attach(undefined)
    this.#options = {
      ...this.#options,
      body: read.body as NonNullable<Dispatcher.DispatchOptions['body']>,
    }
    if (!read.isWhole) return 'request-too-large'
    if (read.type) {
      this.#request = { ...this.#request, fields: { ...fields, 'content-type': read.type } }
    }
    return read.bytes.length === 0 ? undefined : read.bytes
  }

  #identify(content: Buffer | undefined): Awaitable<PassReason | undefined> {
    const { identities } = this.caching.cache
    const pass = (error: unknown): PassReason => {
      this.#tellRuleFailed(error)
      return 'rule-failed'
    }
    let identity: Awaitable<Identity>
    try {
      identity = identities.identify(this.#request, this.terms, content, () => this.#secret())
    } catch (error) {
      return pass(error)
    }
    return identity instanceof Promise
      ? identity.then((known) => this.#protect(known), pass)
      : this.#protect(identity)
  }

  /** From here on there are hashes in place of credentials. */
  #protect(identity: Identity): Awaitable<undefined> {
    this.#identity = identity
    const { identities } = this.caching.cache
    const { hidden } = identity
    const request = identities.protect(this.#request, this.terms, hidden, () => this.#secret())
    return after(request, (known) => {
      this.#request = known
      return undefined
    })
  }

  /** The secret of the store, which is made where there is none if anything may be stored. */
  #secret(): Awaitable<Buffer> {
    const { responses } = this.caching.cache
    const mayMake = !this.#isPreview && !this.terms.readOnly
    return this.within(responses.secret(mayMake), () => responses.standInSecret)
  }

  /** What the store answers; what is said `otherwise` where the request has waited for it for too long. */
  within<T>(answer: Awaitable<T>, otherwise: () => T): Awaitable<T> {
    if (!(answer instanceof Promise)) return answer
    this.#patience ??= this.caching.cache.storePatience()
    return this.#patience.waitFor(answer, otherwise)
  }

  /** It was another process that was waited for, not the store, which has all its time again. */
  resetPatience(): void {
    this.#patience = undefined
  }

  /** The stored responses that may be used, as far as the user is concerned. */
  find(): Awaitable<Entry[]> {
    const { mode, filter } = this.terms
    if (this.isUnreadable || mode === 'record') return []
    const found = this.within(this.#find(), () => [])
    return filter === undefined ? found : after(found, (all) => this.#agreedOf(all))
  }

  /** The stored responses that may answer: those to GET also answer HEAD (RFC 9110 §9.3.2). */
  #find(): Awaitable<Entry[]> {
    const { caching, terms } = this
    const request = this.#request
    const isUsable = (stored: Entry) =>
      isPartitioned(stored, request, terms) && !forbidsUse(terms, stored)
    const usable = (all: Entry[]) => (all.every(isUsable) ? all : all.filter(isUsable))
    const { responses } = caching.cache
    if (request.method !== 'HEAD') return after(responses.find(this.cacheKey, request), usable)
    const forGet = this.#findForGet()
    if (!(forGet instanceof Promise)) {
      const known = usable([...(responses.findKnown(this.cacheKey, request) ?? []), ...forGet])
      if (this.#willDo(known)) return known
    }
    const found = [responses.find(this.cacheKey, request), forGet]
    return Promise.all(found).then((all) => usable(all.flat()))
  }

  /** Whether the store need not be asked for more than what is known without it. */
  #willDo(known: readonly Entry[]): boolean {
    // The user's filter may still say no to it.
    if (this.terms.filter !== undefined) return false
    return reuse(this.#request, known, Date.now(), this.terms).action === 'reuse'
  }

  #findForGet(): Awaitable<Entry[]> {
    const { identities, responses } = this.caching.cache
    const failed = (error: unknown): Entry[] => {
      this.#tellRuleFailed(error)
      return []
    }
    try {
      const asked = { ...this.asked, method: 'GET' }
      const identity = identities.identify(asked, this.terms, undefined, identities.knownSecret)
      const found = after(identity, ({ cacheKey }) => responses.find(cacheKey, this.#request))
      return found instanceof Promise ? found.catch(failed) : found
    } catch (error) {
      return failed(error)
    }
  }

  /** Those of some stored responses that the user's filter lets be used. */
  async #agreedOf(candidates: readonly Entry[]): Promise<Entry[]> {
    const verdicts = await Promise.all(
      // Of what is still arriving it is not known how much it is.
      candidates.map((stored) => stored.content.length !== undefined && this.agrees(stored, true)),
    )
    this.#isFiltered = verdicts.includes(false)
    return candidates.filter((_, index) => verdicts[index])
  }

  /** Whether the user's filter lets a response be used or stored. */
  async agrees(entry: Entry, isStored: boolean): Promise<boolean> {
    const { filter } = this.terms
    try {
      return !filter || (await askFilter(filter, this.#request.fields, entry, isStored))
    } catch (error) {
      this.#tellRuleFailed(error)
      return false
    }
  }

  /** A function of the user's threw. */
  #tellRuleFailed(error: unknown): void {
    if (!this.#isPreview) this.caching.cache.events.error('rule', error)
  }
}
