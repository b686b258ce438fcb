import type { Dispatcher } from 'undici'
import { HTTP_CACHE_OPTIONS, HttpCache, type HttpCacheOptions } from './cache.ts'
import { CachedRequest, type Caching } from './cached-request.ts'
import { contextTerms } from './context.ts'
import { ActiveRequests } from './handlers/active-requests.ts'
import { acceptLegacyHandlers } from './handlers/legacy-handler.ts'
import { RelayingHandler, type RelayObserver } from './handlers/relaying-handler.ts'
import { RequestControl } from './handlers/request-control.ts'
import { type CacheStatus, formatCacheStatus } from './observe/cache-status.ts'
import type { Asked } from './observe/events.ts'
import type { Reason } from './observe/reasons.ts'
import { type CacheOptions, checkCacheOptions } from './options.ts'
import { type Request, readRequest } from './request.ts'
import { announcedSize } from './rfc9111/fields.ts'
import { invalidatedUrls } from './rfc9111/invalidation.ts'
import { whyBypass } from './rfc9111/reuse.ts'
import { compileRules, type RequestTerms } from './rules.ts'
import type { ParsedTerms } from './terms.ts'

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
  return {
    cache: cache ?? new HttpCache(httpCacheOptions(options)),
    ownsCache: cache === undefined,
    rules,
    cacheStatus,
    active: new ActiveRequests(),
  }
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
    const request = isOther ? undefined : readRequest(options)
    if (request === undefined) {
      tellPassing(caching, options, isOther ? 'upgrade' : 'target')
      return dispatch(options, handler)
    }

    let terms: RequestTerms
    try {
      const context = contextTerms()
      const both = own && context ? { ...own, ...context } : (context ?? own)
      terms = caching.rules.termsFor(request.target, both)
    } catch (error) {
      // A function of the user's threw.
      caching.cache.events.error('rule', error)
      tellPassing(caching, options, 'rule-failed')
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
    const status: CacheStatus =
      bypass === 'method' ? { fwd: 'method' } : { fwd: 'bypass', detail: bypass }
    const member = caching.cacheStatus ? formatCacheStatus(status, Date.now()) : undefined
    const observer = passing(caching, request, status, !isDisabled)
    return dispatch(options, new RelayingHandler(handler, member, observer))
  })
}

/** What a request that passes the cache by does to the cache. */
function passing(
  { cache }: Caching,
  request: Request,
  status: CacheStatus,
  mayInvalidate: boolean,
): RelayObserver {
  const { method, url } = request
  const asked: Asked = { method, url, key: undefined, began: cache.events.began() }
  return {
    answered(code, fields) {
      const response = { status: code, fields }
      const size = announcedSize(method, response)
      cache.events.lookup(asked, status, Date.now(), { status: code, size })
      if (!mayInvalidate) return
      for (const invalidated of invalidatedUrls(request, response)) {
        cache.invalidate({ ...request, target: new URL(invalidated) })
      }
    },
    failed(error) {
      cache.events.lookup(asked, status, Date.now(), error)
    },
    ended(bytes) {
      cache.events.statistics.of(url).bytesFromOrigin += bytes
    },
  }
}

/** A request of which the cache sees nothing but that it passes by. */
function tellPassing(
  { cache }: Caching,
  { method, origin, path }: Dispatcher.DispatchOptions,
  detail: Reason,
): void {
  const { events } = cache
  // What names a server may name a user as well.
  const url = `${origin ?? ''}${path}`.replace(/\/\/[^/@]*@/, '//')
  const asked: Asked = { method: String(method), url, key: undefined, began: events.began() }
  events.lookup(asked, { fwd: 'bypass', detail }, Date.now(), undefined)
}

function neverCaches({ rule, fallback, cacheControl }: RequestTerms): boolean {
  const lifetime = rule ?? (cacheControl ? undefined : fallback)
  return lifetime === undefined ? !cacheControl : lifetime.kind === 'do-not-cache'
}
