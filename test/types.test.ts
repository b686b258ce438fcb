// Checked by the compiler; that it runs shows only that nothing here throws.
import { test } from 'node:test'
import {
  type CacheInfo,
  type CachingAgent,
  cacheInfo,
  cacheInterceptor,
  cachingAgent,
  DEFAULT_SECRET_PARAMETERS,
  DO_NOT_CACHE,
  EXPIRE_IMMEDIATELY,
  type Explanation,
  HttpCache,
  NEVER_EXPIRE,
  type Outcome,
  type Reason,
  type Terms,
  withTerms,
} from 'caching-agent'
import { Keyv } from 'keyv'
import { Keyv as Keyv5 } from 'keyv5'
import {
  Agent,
  type Dispatcher,
  setGlobalDispatcher,
  FormData as UndiciFormData,
  fetch as undiciFetch,
} from 'undici'

test('what is right compiles', () => {
  const right = () => {
    const agent: CachingAgent = cachingAgent({
      expireAfter: '1h',
      urlsExpireAfter: {
        'a.com': NEVER_EXPIRE,
        'b.com': { expireAfter: 1000, partitionBy: false },
        'c.com': { 404: '1m', '5xx': 5000, '*': DO_NOT_CACHE },
        'd.com': { expireAfter: { 404: NEVER_EXPIRE }, allowedCodes: [200, '4xx'] },
        'e.com': {
          filter: async ({ status, headers, content }) =>
            status === 200 && headers.etag !== undefined && (await content()).length > 0,
        },
        'f.com': { mode: 'replay', missing: 'status' },
      },
      cacheControl: true,
      partitionBy: ['authorization'],
      store: 'memory:',
      dispatcher: new Agent(),
    })
    setGlobalDispatcher(agent)
    const composed: Dispatcher = new Agent().compose(cacheInterceptor({ store: new Map() }))
    cachingAgent({ store: new Keyv(), expireAfter: new Date(), dispatcher: composed })
    cachingAgent({ store: new Keyv5(), expireAfter: DO_NOT_CACHE })
    cachingAgent({ compress: 'zstd', encrypt: new Uint8Array(32) })
    cachingAgent({ compress: { algorithm: 'gzip' }, encrypt: { keys: { a: '' }, current: 'a' } })
    cachingAgent({ store: new Keyv({ store: new Map() }), expireAfter: EXPIRE_IMMEDIATELY })
    cachingAgent({
      cache: new HttpCache({ store: 'sqlite://x' }),
      urlsExpireAfter: [
        [/a/, '1h'],
        [(url) => url.port === '80', { expireAfter: 0 }],
        [{ test: (url: string) => url === '' }, -1],
      ],
    })
    const precached: Promise<number> = agent
      .precache(['http://a', new URL('http://b'), { sitemap: 'http://c' }], {
        links: ({ kind, element }) => kind === 'page' || element === 'img',
        depth: Infinity,
        sameOrigin: 'pages',
        filter: ({ pathname }, { from, depth }) => pathname !== from && depth < 2,
        signal: AbortSignal.timeout(1000),
        onProgress: ({ done, found }) => void (done / found),
      })
      .then(({ failed: [first], stored }) => first?.status ?? stored)
    cachingAgent({
      allowedMethods: ['GET', 'POST'],
      maxRequestContentSize: '2MiB',
      ignoredParameters: ['utm_source'],
      secretParameters: [...DEFAULT_SECRET_PARAMETERS, 'my-key'],
      matchHeaders: true,
      cacheKey: ({ method, url, headers, content }, defaultKey) =>
        content ? defaultKey : `${method} ${url.pathname} ${headers.accept}`,
    })
    agent.with({ secretParameters: false, cacheKey: async (_, key) => key })
    void agent.cache.has('', { method: 'POST', body: new FormData() })
    void agent.cache.has('', { method: 'POST', body: new UndiciFormData() })
    void agent.cache.get('', { method: 'POST', body: new Blob([]) })
    void agent.cache.delete('', { method: 'POST', body: new URLSearchParams() })
    const number: Promise<number> = withTerms({ expireAfter: '1h' }, async () => 1)
    const derived: Dispatcher = agent.with({ expireAfter: '1h' } satisfies Terms)
    const info: Promise<CacheInfo | undefined> = fetch('').then(cacheInfo)
    agent.cache.on('lookup', ({ outcome, reason, duration }) => {
      const told: [Outcome, Reason | undefined, number] = [outcome, reason, duration]
      void told
    })
    const bypassed: number | undefined = agent.cache.stats().reasons.bypass.method
    const explained: Promise<Explanation> = agent.explain('', { terms: { expireAfter: 1 } })
    void [bypassed, explained]
    return [precached, number, info, undiciFetch('', { dispatcher: derived }).then(cacheInfo)]
  }
  void right
})

test('what is wrong does not', () => {
  const wrong = () => {
    // @ts-expect-error there is no such option
    cachingAgent({ expiresAfter: '1h' })
    // @ts-expect-error an expiration is no boolean
    cachingAgent({ expireAfter: true })
    // @ts-expect-error the cache is not told by its URL
    cachingAgent({ cache: 'memory:' })
    // @ts-expect-error a number is no store
    cachingAgent({ store: 42 })
    // @ts-expect-error there is no such compression
    cachingAgent({ compress: 'lzma' })
    // @ts-expect-error how to compress is not told without saying by what
    cachingAgent({ compress: { level: 1 } })
    // @ts-expect-error a key that may not be set is none
    cachingAgent({ encrypt: process.env.SOME_KEY })
    // @ts-expect-error keys have ids
    cachingAgent({ encrypt: { keys: [new Uint8Array(32)] } })
    // @ts-expect-error the interceptor has no dispatcher of its own
    cacheInterceptor({ dispatcher: new Agent() })
    // @ts-expect-error a store belongs to the cache, not to one request
    cachingAgent().with({ store: 'memory:' })
    // @ts-expect-error nor do rules
    withTerms({ urlsExpireAfter: {} }, () => {})
    // @ts-expect-error a matcher is asked at once
    cachingAgent({ urlsExpireAfter: [[async () => true, '1h']] })
    // @ts-expect-error tags are told at once
    cachingAgent({ tags: async () => ['news'] })
    // @ts-expect-error there is no such condition
    cachingAgent().cache.delete({ stauts: 404 })
    // @ts-expect-error a class of status codes is text
    cachingAgent().cache.count({ status: true })
    // @ts-expect-error only true would switch credentials off, and false does
    cachingAgent({ partitionBy: true })
    // @ts-expect-error there is no such class of status codes
    cachingAgent({ expireAfter: { '6xx': '1h' } })
    // @ts-expect-error expirations by status code do not nest
    cachingAgent({ expireAfter: { 404: { 404: '1h' } } })
    // @ts-expect-error a class is a class
    cachingAgent({ allowedCodes: ['40x'] })
    // @ts-expect-error a filter says yes or no
    cachingAgent({ filter: ({ url }) => url })
    // @ts-expect-error there is no such mode
    cachingAgent({ mode: 'online' })
    // @ts-expect-error a status is not chosen by its number
    cachingAgent({ missing: 504 })
    // @ts-expect-error a ceiling is a duration
    cachingAgent({ maxExpireAfter: new Date() })
    // @ts-expect-error whether a use starts a duration anew, not which one
    cachingAgent({ slidingExpiration: '1h' })
    // @ts-expect-error there is no such event
    cachingAgent().cache.on('lookups', () => {})
    // @ts-expect-error a reason is one of a list
    cachingAgent().cache.on('lookup', ({ reason }) => reason === 'because')
    // @ts-expect-error a request has no terms of a whole agent
    cachingAgent().explain('', { terms: { store: 'memory:' } })
    // @ts-expect-error a sitemap is told by its URL
    cachingAgent().precache({ sitemap: true })
    // @ts-expect-error there is no such kind of links
    cachingAgent().cache.precache('http://a', { links: 'images' })
    // @ts-expect-error what is found is decided at once
    cachingAgent().precache('http://a', { filter: async () => true })
    // @ts-expect-error methods are a list
    cachingAgent({ allowedMethods: 'POST' })
    // @ts-expect-error so are names
    cachingAgent({ ignoredParameters: /utm_.*/ })
    // @ts-expect-error true would be all there is
    cachingAgent({ secretParameters: true })
    // @ts-expect-error no field is what is the case without it
    cachingAgent({ matchHeaders: false })
    // @ts-expect-error a key is text
    cachingAgent({ cacheKey: () => 42 })
    // @ts-expect-error what is read once cannot be looked up twice
    void cachingAgent().cache.has('', { body: new ReadableStream() })
    // @ts-expect-error nobody makes an agent but cachingAgent
    new CachingAgent()
  }
  void wrong
})
