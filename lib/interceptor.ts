import type { Dispatcher } from 'undici'
import { HttpCache } from './cache.ts'
import { HTTP_CACHE_OPTIONS, type HttpCacheOptions } from './cache-options.ts'
import { CachedRequest } from './cached-request.ts'
import { contextTerms } from './context.ts'
import { ActiveRequests } from './handlers/active-requests.ts'
import { acceptLegacyHandlers } from './handlers/legacy-handler.ts'
import { RelayingHandler } from './handlers/relaying-handler.ts'
import { RequestControl } from './handlers/request-control.ts'
import { type Caching, Lookup } from './lookup.ts'
import { type CacheStatus, formatCacheStatus } from './observe/cache-status.ts'
import { type CacheOptions, checkCacheOptions } from './options.ts'
import { passing, refusePassing, tellPassing, whyPassBy } from './passing.ts'
import { readFields, readRequest, withRereadableHeaders } from './request.ts'
import { compileRules, mayBeSent, type RequestTerms, type Rules } from './rules.ts'
import type { FileAccess } from './storage/byte-store.ts'
import { nestTerms, type ParsedTerms } from './terms.ts'

type Dispatch = Dispatcher['dispatch']

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
  const interceptor = (dispatch: Dispatch) => {
    if (caching.ownsCache) caching.cache.dispatcher = precachingDispatcher(dispatch, caching)
    return cachingDispatch(dispatch, caching)
  }
  return Object.assign(interceptor, { cache: caching.cache })
}

/** Prepares what all requests of an agent share, from options that have been checked. */
export function createCaching(options: CacheOptions): Caching {
  // Rules first: where they are malformed no file must be left behind.
  const rules = compileRules(options)
  const { cache: given, cacheStatus = true } = options
  const cache = given ?? new HttpCache(httpCacheOptions(options), fileAccess(rules))
  cache.attach(rules)
  cache.identities.learn(rules)
  return {
    cache,
    ownsCache: given === undefined,
    rules,
    cacheStatus,
    active: new ActiveRequests(() => cache.responses.recorder.hurry()),
  }
}

/** What requests do with a cache file, but for those with terms of their own. */
function fileAccess(rules: Rules): FileAccess {
  const { readOnly, mode } = rules.termsFor(undefined, undefined)
  if (mode === 'replay') return 'replay'
  return readOnly ? 'read' : 'write'
}

/** The options that are those of the cache itself. */
function httpCacheOptions(options: CacheOptions): HttpCacheOptions {
  const given = HTTP_CACHE_OPTIONS.filter((name) => options[name] !== undefined)
  return Object.fromEntries(given.map((name) => [name, options[name]]))
}

/** What precaching makes its requests with: it has to be told what the cache does, whoever else is not. */
export function precachingDispatcher(
  dispatch: Dispatch,
  caching: Caching,
  own?: ParsedTerms,
): Pick<Dispatcher, 'dispatch'> {
  return { dispatch: cachingDispatch(dispatch, { ...caching, cacheStatus: true }, own) }
}

/** A dispatch that answers from the cache what it may; `own` are terms for all its requests. */
export function cachingDispatch(dispatch: Dispatch, caching: Caching, own?: ParsedTerms): Dispatch {
  return acceptLegacyHandlers((given, handler) => {
    if (caching.active.isClosed) return dispatch(given, handler)
    const options = withRereadableHeaders(given)
    const isOther = options.upgrade || options.method === 'CONNECT'
    const request = readRequest(options)
    const context = contextTerms()
    const both = context ? nestTerms(own, context) : own
    let terms: RequestTerms | undefined
    try {
      terms = caching.rules.termsFor(request?.target, both)
    } catch (error) {
      // A function of the user's threw.
      caching.cache.events.error('rule', error)
    }
    if (request === undefined || terms === undefined || isOther) {
      const reason = isOther ? 'upgrade' : request ? 'rule-failed' : 'target'
      terms ??= caching.rules.termsFor(undefined, both)
      const asked = request ?? { fields: readFields(options.headers) ?? {} }
      if (!mayBeSent(asked, terms)) {
        refusePassing(caching, options, handler, terms, reason)
        return true
      }
      tellPassing(caching, options, reason)
      return dispatch(options, handler)
    }

    if (!terms.isDefaultKey) caching.cache.identities.learn(caching.rules)
    const bypass = whyPassBy(request, terms)
    if (bypass === undefined) {
      const lookup = new Lookup(new RequestControl(handler), caching, terms, options, request)
      new CachedRequest(dispatch, lookup).begin()
      return true
    }
    if (!mayBeSent(request, terms)) {
      refusePassing(caching, options, handler, terms, bypass)
      return true
    }
    const status: CacheStatus =
      bypass === 'method' ? { fwd: 'method' } : { fwd: 'bypass', detail: bypass }
    const member = caching.cacheStatus ? formatCacheStatus(status, Date.now()) : undefined
    const observer = passing(caching, request, terms, status)
    return dispatch(options, new RelayingHandler(handler, member, observer))
  })
}
