import type { Dispatcher } from 'undici'
import { HTTP_CACHE_OPTIONS, HttpCache, type HttpCacheOptions } from './cache.ts'
import { CachedRequest, type Caching } from './cached-request.ts'
import { contextTerms } from './context.ts'
import { ActiveRequests } from './handlers/active-requests.ts'
import { acceptLegacyHandlers } from './handlers/legacy-handler.ts'
import { RelayingHandler } from './handlers/relaying-handler.ts'
import { RequestControl } from './handlers/request-control.ts'
import { type CacheStatus, formatCacheStatus } from './observe/cache-status.ts'
import { type CacheOptions, checkCacheOptions } from './options.ts'
import { passing, refusePassing, tellPassing, whyPassBy } from './passing.ts'
import { readRequest } from './request.ts'
import { compileRules, type RequestTerms } from './rules.ts'
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
  const interceptor = (dispatch: Dispatch) => cachingDispatch(dispatch, caching)
  return Object.assign(interceptor, { cache: caching.cache })
}

/** Prepares what all requests of an agent share, from options that have been checked. */
export function createCaching(options: CacheOptions): Caching {
  // Rules first: where they are malformed no file must be left behind.
  const rules = compileRules(options)
  const { cache, cacheStatus = true } = options
  const isOnlyRead = rules.termsFor(undefined, undefined).readOnly
  const caching = {
    cache: cache ?? new HttpCache(httpCacheOptions(options), isOnlyRead),
    ownsCache: cache === undefined,
    rules,
    cacheStatus,
    active: new ActiveRequests(),
  }
  caching.cache.attach(rules)
  return caching
}

/** The options that are those of the cache itself. */
function httpCacheOptions(options: CacheOptions): HttpCacheOptions {
  const given = HTTP_CACHE_OPTIONS.filter((name) => options[name] !== undefined)
  return Object.fromEntries(given.map((name) => [name, options[name]]))
}

/** A dispatch that answers from the cache what it may; `own` are terms for all its requests. */
export function cachingDispatch(dispatch: Dispatch, caching: Caching, own?: ParsedTerms): Dispatch {
  return acceptLegacyHandlers((options, handler) => {
    if (caching.active.isClosed) return dispatch(options, handler)
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
      if (terms.sendsNothing) {
        refusePassing(caching, options, handler, request, terms, reason)
        return true
      }
      tellPassing(caching, options, reason)
      return dispatch(options, handler)
    }

    const bypass = whyPassBy(request, terms)
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
    if (terms.sendsNothing) {
      refusePassing(caching, options, handler, request, terms, bypass)
      return true
    }
    const status: CacheStatus =
      bypass === 'method' ? { fwd: 'method' } : { fwd: 'bypass', detail: bypass }
    const member = caching.cacheStatus ? formatCacheStatus(status, Date.now()) : undefined
    // What is recorded is what was received, whatever changed it later.
    const isKept = bypass === 'do-not-cache' || terms.readOnly || terms.mode === 'record'
    const observer = passing(caching, request, status, !isKept)
    return dispatch(options, new RelayingHandler(handler, member, observer))
  })
}
