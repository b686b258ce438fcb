import { inspect } from 'node:util'
import {
  type Expiration,
  type ExpirationByStatus,
  expiresAt,
  isAmong,
  isByStatus,
  type Lifetime,
  type LifetimeByStatus,
  lifetimeOf,
  namesStatus,
  parseExpirations,
} from './expiration.ts'
import { type KeyTerms, keySignature, keyTerms } from './key/terms.ts'
import { requestDirectives, responseDirectives } from './rfc9111/cache-control.ts'
import { explicitLifetime } from './rfc9111/freshness.ts'
import type {
  RequestMessage,
  ResponseFields,
  ResponseMessage,
  StoredResponse,
} from './rfc9111/message.ts'
import { isOffline, type Mode } from './rfc9111/reuse.ts'
import { type ParsedTerms, parseTerms, parseTermsOf, type Terms } from './terms.ts'
import { compileMatcher, type UrlMatcher } from './url-patterns.ts'

/** Rules in their order, the first match decides: an object by glob, or pairs (or a Map) of matcher and value. */
export type UrlRules = Readonly<Record<string, UrlRule>> | Iterable<readonly [UrlMatcher, UrlRule]>

/** What a rule says: an expiration, also by status code, or a whole set of terms. */
export type UrlRule = Expiration | ExpirationByStatus | Terms

/** What decides about the responses to one request: all terms, each from where it is said most specifically. */
export interface RequestTerms
  extends Omit<ParsedTerms, 'expireAfter' | 'cacheControl' | keyof KeyTerms>,
    KeyTerms {
  /**
   * What the request's own terms and a rule for its URL say, in this order: it decides against the origin,
   * unless it is a fallback itself.
   */
  readonly rules: readonly (Lifetime | LifetimeByStatus)[]
  /** Whether the response's own fields decide where there is no rule; undefined for where there is no fallback. */
  readonly cacheControl: boolean | undefined
  /** What applies where nothing else does. */
  readonly fallback: Lifetime | LifetimeByStatus | undefined
  /** How much content is stored, in bytes; `Infinity` for any. */
  readonly maxContentSize: number
  /** How much content a request may have that is keyed by it, in bytes. */
  readonly maxRequestContentSize: number
  readonly allowedMethods: readonly string[]
  readonly mode: Mode
  /** Whether the cache is only read: because it is said, or by the mode. */
  readonly readOnly: boolean
  /** Whether no request is sent: because it is said, or by the mode. */
  readonly sendsNothing: boolean
  /** What becomes of a request that is not sent, and that nothing stored answers. */
  readonly missing: 'status' | 'error'
  /** Whether any expiration depends on the status code. */
  readonly isByStatus: boolean
}

/** A rule for some URLs. */
export interface Rule {
  /** As it was written. */
  readonly pattern: UrlMatcher
  readonly terms: ParsedTerms
}

/** The rules of an agent, ready to be asked. */
export interface Rules {
  /** What is said for all URLs. */
  readonly ofAgent: ParsedTerms
  /** The rule that applies to a URL; undefined where none matches it. */
  ruleFor(url: URL): Rule | undefined
  /** The terms for a URL; `own` are those of the request itself. Without a URL no rule applies. */
  termsFor(url: URL | undefined, own: ParsedTerms | undefined): RequestTerms
  /** Whether some requests may have other keys than they have by default. */
  readonly haveKeyTerms: boolean
  /** All terms by which what is stored for a URL may be keyed, as far as they have been in use. */
  allTermsFor(url: URL, own: ParsedTerms | undefined): Set<RequestTerms>
}

/** How many terms of requests are remembered by which they may be keyed. */
const MAX_KEY_TERMS = 100

const DEFAULTS = {
  maxContentSize: Infinity,
  mode: 'default',
  readOnly: false,
  allowedMethods: ['GET', 'HEAD'],
  maxRequestContentSize: 2 ** 20,
} as const satisfies ParsedTerms

/**
 * Prepares the rules of an agent.
 *
 * @throws TypeError where a pattern or its value is malformed
 */
export function compileRules(options: Terms & { readonly urlsExpireAfter?: UrlRules }): Rules {
  const ofAgent = parseTermsOf(options)
  const { expireAfter: fallback, ...others } = ofAgent
  const defaults = { ...DEFAULTS, ...others }
  const rules = rulePairs(options.urlsExpireAfter).map(([matcher, value]) => {
    const where = `urlsExpireAfter[${inspect(matcher, { depth: 0 })}]`
    const matches = compileMatcher(matcher, where)
    return { pattern: matcher, matches, terms: termsOf(value, where) }
  })

  /** Resolved terms, which most requests share: by those of the request, and by the rule. */
  const resolved = new WeakMap<ParsedTerms, Map<ParsedTerms, RequestTerms>>()

  /** Terms of requests by which they are keyed, the latest last. */
  const ofRequests = new Map<string, ParsedTerms>()
  const haveKeyTerms = [ofAgent, ...rules.map(({ terms }) => terms)].some(
    (terms) => !keyTerms(terms).isDefaultKey,
  )

  return {
    ofAgent,
    ruleFor: (url) => rules.find(({ matches }) => matches(url)),
    termsFor,
    get haveKeyTerms() {
      return haveKeyTerms || ofRequests.size > 0
    },
    allTermsFor(url, own) {
      const all = [own, undefined, ...ofRequests.values()]
      return new Set(all.map((terms) => termsFor(url, terms)))
    },
  }

  function termsFor(url: URL | undefined, own: ParsedTerms = NONE): RequestTerms {
    const rule = (url && rules.find(({ matches }) => matches(url))?.terms) ?? NONE
    const byRule = resolved.get(own) ?? new Map<ParsedTerms, RequestTerms>()
    const known = byRule.get(rule) ?? resolve(own, rule)
    resolved.set(own, byRule.set(rule, known))
    return known
  }

  function resolve(own: ParsedTerms, rule: ParsedTerms): RequestTerms {
    const { expireAfter: _, ...all } = { ...defaults, ...rule, ...own }
    if (!keyTerms(own).isDefaultKey) remember(own)
    const { mode, onlyIfCached = false, missing = mode === 'replay' ? 'error' : 'status' } = all
    const rules = [own.expireAfter, rule.expireAfter].filter((lifetime) => lifetime !== undefined)
    return {
      ...all,
      ...keyTerms(all),
      cacheControl: all.cacheControl,
      rules,
      fallback,
      missing,
      readOnly: all.readOnly || isOffline(mode),
      sendsNothing: isOffline(mode) || (onlyIfCached && mode !== 'record'),
      isByStatus: [...rules, fallback].some((lifetime) => lifetime?.kind === 'by-status'),
    }
  }

  function remember(own: ParsedTerms): void {
    const signature = keySignature(own)
    ofRequests.delete(signature)
    ofRequests.set(signature, own)
    const [oldest = ''] = ofRequests.keys()
    if (ofRequests.size > MAX_KEY_TERMS) ofRequests.delete(oldest)
  }
}

/** Whether terms forbid to read the cache and to write it, whatever the response will be. */
export function neverCaches({ rules, fallback, cacheControl, mode }: RequestTerms): boolean {
  if (mode === 'record' || mode === 'replay') return false
  const [lifetime = fallback] = rules
  if (lifetime === undefined) return cacheControl === false
  if (lifetime.kind !== 'do-not-cache') return false
  // The origin may still allow it.
  const isFallback = lifetime === fallback || lifetime.isFallback
  return !(isFallback && cacheControl)
}

/**
 * Whether a request may be sent to the origin: not where the user says so, nor where the request itself does
 * (§5.2.1.7). To be recorded it is sent whatever it says.
 */
export function mayBeSent(
  request: Pick<RequestMessage, 'fields'>,
  { sendsNothing, mode }: RequestTerms,
): boolean {
  if (sendsNothing) return false
  return mode === 'record' || !requestDirectives(request).has('only-if-cached')
}

const NONE: ParsedTerms = {}

function rulePairs(rules: UrlRules | undefined): (readonly [UrlMatcher, UrlRule])[] {
  if (rules === undefined) return []
  if (typeof rules !== 'object' || rules === null) {
    throw new TypeError(
      `urlsExpireAfter: expected an object, a Map or an array of pairs, got ${inspect(rules)}`,
    )
  }
  if (!(Symbol.iterator in rules)) return Object.entries(rules)
  return [...rules].map((pair) => {
    if (Array.isArray(pair) && pair.length === 2) return pair as [UrlMatcher, UrlRule]
    throw new TypeError(`urlsExpireAfter: expected pairs [pattern, value], got ${inspect(pair)}`)
  })
}

function termsOf(value: unknown, where: string): ParsedTerms {
  const isObject = typeof value === 'object' && value !== null && !(value instanceof Date)
  return isObject && !isByStatus(value)
    ? parseTerms(value, where)
    : { expireAfter: parseExpirations(value, where) }
}

/**
 * The expiration that a rule of the user gives to a response, in the one order of precedence: the
 * request's terms, or else the rule for its URL; the response's own fields, if they decide; the fallback.
 * Undefined where the origin (or a heuristic) decides.
 *
 * @returns milliseconds since the epoch, or 'do-not-cache'
 */
export function expirationByRule(
  terms: RequestTerms,
  response: ResponseMessage,
  responseTime: number,
): number | 'do-not-cache' | undefined {
  const lifetime = lifetimeByRule(terms, response, responseTime)
  if (lifetime === undefined) return decidesItself(terms, response) ? undefined : 'do-not-cache'
  return lifetime.kind === 'do-not-cache' ? 'do-not-cache' : expiresAt(lifetime, responseTime)
}

/** The lifetime that a rule of the user gives to a response; undefined where the origin decides. */
export function lifetimeByRule(
  terms: RequestTerms,
  response: ResponseMessage,
  responseTime: number,
): Lifetime | undefined {
  const byRule = ruledLifetime(terms, response)
  if (byRule && !byRule.isFallback) return byRule
  const saysSomething = decidesItself(terms, response) && isExplicit(response, responseTime)
  return saysSomething ? undefined : (byRule ?? lifetimeOf(terms.fallback, response.status))
}

/** What the request's own terms say, or else the rule for its URL. */
export function ruledLifetime(
  { rules }: RequestTerms,
  { status }: Pick<ResponseMessage, 'status'>,
): Lifetime | undefined {
  for (const rule of rules) {
    const lifetime = lifetimeOf(rule, status)
    if (lifetime !== undefined) return lifetime
  }
  return undefined
}

/** Whether the fields of a response decide where there is no rule. */
export function decidesItself(
  terms: RequestTerms,
  { status }: Pick<ResponseMessage, 'status'>,
): boolean {
  return terms.cacheControl ?? lifetimeOf(terms.fallback, status) === undefined
}

/** Whether a rule of the user for its status code forbids to use a stored response. */
export function forbidsUse(terms: RequestTerms, stored: StoredResponse): boolean {
  if (!terms.isByStatus || terms.mode === 'replay') return false
  return lifetimeByRule(terms, stored, stored.responseTime)?.kind === 'do-not-cache'
}

/**
 * Whether the user says that responses with a status code may be stored: undefined where nothing is
 * said of it. `'*'` gives an expiration to others, and lets no more of them be stored.
 */
export function allowsStatus(terms: RequestTerms, status: number): boolean | undefined {
  if (terms.allowedCodes) return isAmong(status, terms.allowedCodes)
  const isNamed = [...terms.rules, terms.fallback].some((lifetime) => namesStatus(lifetime, status))
  return isNamed || undefined
}

/** Whether the fields of a response say anything about storing it or about its freshness. */
function isExplicit(response: ResponseFields, responseTime: number): boolean {
  const directives = responseDirectives(response)
  return (
    directives.has('no-store') ||
    directives.has('no-cache') ||
    (response.shared === true && directives.has('private')) ||
    explicitLifetime(response, responseTime) !== undefined
  )
}
