import { type Awaitable, after } from './awaitable.ts'
import { contextTerms } from './context.ts'
import { type FieldTerms, needProtection, protectFields } from './key/fields.ts'
import { type Asked, type Identity, identify } from './key/identity.ts'
import type { KeyTerms } from './key/terms.ts'
import type { Events } from './observe/events.ts'
import { withPatience } from './patience.ts'
import type { HiddenValue } from './redaction.ts'
import type { RequestMessage } from './rfc9111/message.ts'
import { compileRules, type RequestTerms, type Rules } from './rules.ts'
import type { Entry } from './storage/entry.ts'

/** How long a function of the user's may take to make a key, in milliseconds. */
const KEY_PATIENCE = 5000

/** Of how many agents it is known by what rules they key requests. */
const MAX_RULES = 1000

/** What a request may be to a cache, by the terms that it may have. */
export interface PossibleIdentity {
  readonly terms: RequestTerms
  readonly identity: Identity
}

/** Where the secret of a store comes from. */
export type SecretSource = () => Awaitable<Buffer>

/** What makes other keys of cache keys. */
interface Index {
  indexed(cacheKey: string): string
}

/** What requests are to a cache: where responses to them are stored, and what is kept of them. */
export class Identities {
  readonly #shared: boolean
  /** The secret of the store; another one stands in where there is none. */
  readonly knownSecret: SecretSource
  /** The same, which is made where there is none. */
  readonly madeSecret: SecretSource
  readonly #events: Events
  readonly #index: Index | undefined
  /** The rules of requests of which nobody has said anything. */
  readonly #byDefault = compileRules({})
  /** Those by which requests may have other keys than by default. */
  readonly #rules = new Set<Rules>()

  /**
   * @param secret that of the store, which is made where there is none if it may be
   * @param index what makes other keys of cache keys, in a store in which they must not tell anything
   */
  constructor(
    shared: boolean,
    secret: (mayMake: boolean) => Awaitable<Buffer>,
    events: Events,
    index?: Index,
  ) {
    this.#shared = shared
    this.#index = index
    this.knownSecret = () => secret(false)
    this.madeSecret = () => secret(true)
    this.#events = events
  }

  /** Learns by what rules requests are keyed, so that what is stored for them is found by its URL. */
  learn(rules: Rules): void {
    if (!rules.haveKeyTerms) return
    this.#rules.add(rules)
    const [oldest] = this.#rules
    if (oldest && this.#rules.size > MAX_RULES) this.#rules.delete(oldest)
  }

  /**
   * What a request is by its terms: see {@link identify}. A key of the user's own must not take too long.
   *
   * @param secret where the secret of the store comes from, if it takes one
   */
  identify(
    asked: Asked,
    terms: KeyTerms,
    content: Buffer | undefined,
    secret: SecretSource,
  ): Awaitable<Identity> {
    const identified = identify(asked, content, terms, this.#shared, secret)
    const isOwn = terms.cacheKey !== undefined && identified instanceof Promise
    const identity = isOwn ? withPatience(identified, KEY_PATIENCE, 'cacheKey') : identified
    if (this.#index === undefined) return identity
    return after(identity, (one) => ({ ...one, cacheKey: this.#indexed(one.cacheKey) }))
  }

  #indexed(cacheKey: string): string {
    return this.#index?.indexed(cacheKey) ?? cacheKey
  }

  /** A request with keyed hashes in place of its credentials, as the cache compares and keeps them. */
  protect<R extends RequestMessage>(
    request: R,
    terms: FieldTerms,
    hidden: readonly HiddenValue[],
    secret: SecretSource,
  ): Awaitable<R> {
    if (!needProtection(request.fields, terms, hidden)) return request
    const protectWith = (key: Buffer) => ({
      ...request,
      fields: protectFields(request.fields, terms, key, hidden),
    })
    return after(secret(), protectWith)
  }

  /**
   * What a request may be by any terms that are in use: those of the context and of all agents. Each is
   * known at once or later; undefined where a function of the user's throws, which is told by an event.
   */
  all(asked: Asked, content?: Buffer): Awaitable<PossibleIdentity | undefined>[] {
    return this.termsFor(asked.target).map((terms) => {
      const onError = (error: unknown) => {
        this.#events.error('rule', error)
        return undefined
      }
      try {
        const identity = this.identify(asked, terms, content, this.knownSecret)
        return identity instanceof Promise
          ? identity.then((known) => ({ terms, identity: known }), onError)
          : { terms, identity }
      } catch (error) {
        return onError(error)
      }
    })
  }

  /**
   * Whether a response has the key that requests have of which nothing counts but their method and URL, also
   * if that is from before there was an index key.
   */
  isPlain(response: Pick<Entry, 'cacheKey' | 'method' | 'url'>): boolean {
    return this.#plainKey(response) !== undefined
  }

  /** The key of a response that is plain, as it is without an index key; undefined for others. */
  #plainKey({ cacheKey, method, url }: Pick<Entry, 'cacheKey' | 'method' | 'url'>) {
    const target = new URL(url)
    const asked = { method, target, server: undefined, fields: {} }
    const terms = this.#byDefault.termsFor(target, undefined)
    const identity = identify(asked, undefined, terms, this.#shared, this.knownSecret)
    if (identity instanceof Promise) return undefined
    const { cacheKey: key } = identity
    return key === cacheKey || this.#indexed(key) === cacheKey ? key : undefined
  }

  /**
   * The key under which requests to another cache find a response of this one; undefined where it cannot be
   * known: what has been made of a key by an index key cannot be undone.
   */
  keyIn(
    other: Identities,
    response: Pick<Entry, 'cacheKey' | 'method' | 'url'>,
  ): string | undefined {
    const { cacheKey } = response
    if (this.#indexed(cacheKey) === other.#indexed(cacheKey)) return cacheKey
    const key = this.#index === undefined ? cacheKey : this.#plainKey(response)
    return key && other.#indexed(key)
  }

  /** The terms that requests for a URL may have. */
  termsFor(url: URL): RequestTerms[] {
    const own = contextTerms()
    const byDefault = [own, undefined].map((terms) => this.#byDefault.termsFor(url, terms))
    const ofAgents = [...this.#rules].flatMap((rules) => {
      try {
        return [...rules.allTermsFor(url, own)]
      } catch (error) {
        // A function of the user's threw.
        this.#events.error('rule', error)
        return []
      }
    })
    return [...new Set([...byDefault, ...ofAgents])]
  }
}
