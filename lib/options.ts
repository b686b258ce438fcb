import type { Dispatcher } from 'undici'
import { HttpCache } from './cache.ts'
import { HTTP_CACHE_OPTIONS, type HttpCacheOptions, parseCacheOptions } from './cache-options.ts'
import type { UrlRules } from './rules.ts'
import { checkNames, parseBoolean, parseTermsOf, refuse, TERM_NAMES, type Terms } from './terms.ts'

/** The options of {@link cacheInterceptor}. */
export interface CacheOptions extends Terms, HttpCacheOptions {
  /**
   * Expirations, or whole terms, by URL. Patterns match host by labels, path by whole segments, query,
   * port and scheme only where given: `'example.com/static'`, `'*.example.com'`,
   * `'https://example.com:8443/*.png'`.
   */
  readonly urlsExpireAfter?: UrlRules
  /** A cache that already exists, to be used by several agents; instead of the options of a new one. */
  readonly cache?: HttpCache
  /**
   * Whether responses tell what the cache did, in the `Cache-Status` field (RFC 9211). Without it
   * `cacheInfo` knows nothing.
   *
   * @default true
   */
  readonly cacheStatus?: boolean
}

/** The options of {@link cachingAgent}. */
export interface AgentOptions extends CacheOptions {
  /**
   * The dispatcher that sends what the cache cannot answer.
   *
   * @default a new Agent, or a new EnvHttpProxyAgent where Node's env proxy is switched on
   */
  readonly dispatcher?: Dispatcher
}

const CACHE_OPTIONS = [
  ...TERM_NAMES,
  'urlsExpireAfter',
  ...HTTP_CACHE_OPTIONS,
  'cache',
  'cacheStatus',
]
const AGENT_OPTIONS = [...CACHE_OPTIONS, 'dispatcher']

/** Refuses what {@link cachingAgent} could not make sense of. */
export function checkAgentOptions(options: AgentOptions): void {
  checkNames('cachingAgent', options, AGENT_OPTIONS)
  const { dispatcher } = options
  if (dispatcher !== undefined && typeof dispatcher?.dispatch !== 'function') {
    refuse('dispatcher', 'an undici Dispatcher', dispatcher)
  }
}

/** Refuses what {@link cacheInterceptor} could not make sense of. */
export function checkCacheOptions(options: CacheOptions, who = 'cacheInterceptor'): void {
  checkNames(who, options, who === 'cachingAgent' ? AGENT_OPTIONS : CACHE_OPTIONS)
  parseTermsOf(options)
  if (options.cacheStatus !== undefined) parseBoolean(options.cacheStatus, 'cacheStatus')
  parseCacheOptions(options)
  if (options.cache !== undefined) {
    if (!(options.cache instanceof HttpCache)) refuse('cache', 'an HttpCache', options.cache)
    const settled = HTTP_CACHE_OPTIONS.find((name) => options[name] !== undefined)
    if (settled !== undefined) {
      throw new TypeError(
        `${settled} and cache exclude each other: set it where the cache is made, new HttpCache({ ${settled} })`,
      )
    }
  }
}
