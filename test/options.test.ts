import assert from 'node:assert/strict'
import { createSecretKey, generateKeyPairSync } from 'node:crypto'
import { suite, test } from 'node:test'
import { inspect } from 'node:util'
import { HttpCache } from '../lib/cache.ts'
import { contextTerms, disabled, runInTerms, withTerms } from '../lib/context.ts'
import { DO_NOT_CACHE, lifetimeOf, NEVER_EXPIRE } from '../lib/expiration.ts'
import {
  type AgentOptions,
  type CacheOptions,
  checkAgentOptions,
  checkCacheOptions,
} from '../lib/options.ts'
import { parseTerms, TERM_NAMES, type Terms } from '../lib/terms.ts'

const KEY = Buffer.alloc(32, 'K')

/** What should not be shown, as it may be a key. */
const SECRET = 'some pass word'

suite('Options: checkCacheOptions and checkAgentOptions', () => {
  // biome-ignore format: one rule a row
  const accepted: [rule: string, options: CacheOptions][] = [
    ['none', {}],
    ['an expiration', { expireAfter: '1h' }],
    ['cacheControl', { cacheControl: false }],
    ['partitionBy', { partitionBy: ['x-api-key'] }],
    ['no partition', { partitionBy: false }],
    ['no partition by a list', { partitionBy: [] }],
    ['cacheStatus', { cacheStatus: false }],
    ['methods', { allowedMethods: ['get', 'POST', 'M-SEARCH'] }],
    ['no method at all', { allowedMethods: [] }],
    ['how much content a request may have', { maxRequestContentSize: '10MB' }],
    ['ignored parameters', { ignoredParameters: ['utm_source', 'data.timestamp', 'items.*.id', 'X-Request-ID'] }],
    ['secrets', { secretParameters: ['my key', 'login.pass'] }],
    ['no secrets', { secretParameters: false }],
    ['fields that count', { matchHeaders: ['Accept-Language'] }],
    ['all fields', { matchHeaders: true }],
    ['a key of one’s own', { cacheKey: (_, defaultKey) => defaultKey }],
    ['stale responses for ever', { staleWhileRevalidate: true, staleIfError: true }],
    ['stale responses never', { staleWhileRevalidate: false, staleIfError: false }],
    ['stale responses for a time', { staleWhileRevalidate: 60_000, staleIfError: '7 days' }],
    ['expirations by status code', { expireAfter: { 404: '1m', '5xx': 5000, '*': NEVER_EXPIRE } }],
    ['expirations by status code of a URL', { urlsExpireAfter: { 'a.com': { 404: '1m' }, 'b.com': { expireAfter: { '4xx': 0 } } } }],
    ['status codes and classes', { allowedCodes: [200, 404, '5xx'] }],
    ['no status code', { allowedCodes: [] }],
    ['a filter', { filter: () => true }],
    ['a filter that takes its time', { filter: async ({ size }) => size > 0 }],
    ['reading only', { readOnly: true }],
    ['the cache only', { onlyIfCached: true, missing: 'error' }],
    ['validation', { refresh: true, forceRefresh: false, alwaysRevalidate: true }],
    ['sliding expiration', { slidingExpiration: true, expireAfter: '1h' }],
    ['a ceiling', { maxExpireAfter: '1d' }],
    ['a ceiling of nothing, and none', { maxExpireAfter: 0, urlsExpireAfter: { 'a.com': { maxExpireAfter: Infinity } } }],
    ['no cookies', { stripSetCookie: true }],
    ['each mode', { mode: 'default', urlsExpireAfter: { a: { mode: 'offline' }, b: { mode: 'record' }, c: { mode: 'replay', missing: 'status' } } }],
    ['a field that names tags', { tags: 'Cache-Tag' }],
    ['several fields that name tags', { tags: ['Surrogate-Key', 'xkey'] }],
    ['a function that tells tags', { tags: ({ url }) => [url] }],
    ['a shared cache', { shared: true, store: 'memory:' }],
    ['a private one', { shared: false }],
    ['no leases', { leases: false }],
    ['compression by name', { compress: 'zstd' }],
    ['compression in detail', { compress: { algorithm: 'brotli', minSize: '4KiB', level: 11 } }],
    ['a key', { encrypt: KEY }],
    ['a key of another kind', { encrypt: createSecretKey(KEY) }],
    ['a key as text', { encrypt: `${KEY.toString('base64url')}\n` }],
    ['keys by their ids', { encrypt: { keys: { a: KEY, b: KEY.toString('hex') }, current: 'b', indexKey: KEY } }],
    ['a list of keys', { encrypt: { keys: [{ id: '2', key: KEY }, { id: '1', key: KEY }] } }],
    ['options that are undefined', { expireAfter: undefined, cacheControl: undefined, partitionBy: undefined, staleWhileRevalidate: undefined, staleIfError: undefined, shared: undefined, cacheStatus: undefined, cache: undefined } as object],
    ['all that can be written as JSON', JSON.parse('{"expireAfter":{"404":"1m","*":-1},"allowedCodes":[200,"4xx"],"readOnly":false,"onlyIfCached":false,"refresh":false,"forceRefresh":false,"alwaysRevalidate":true,"slidingExpiration":true,"maxExpireAfter":"1d","stripSetCookie":true,"mode":"default","missing":"error","cacheControl":true,"partitionBy":false,"staleWhileRevalidate":"1m","staleIfError":true,"allowedMethods":["POST"],"maxRequestContentSize":"2MiB","ignoredParameters":["a"],"secretParameters":["b"],"matchHeaders":true,"urlsExpireAfter":{"a.com":-1},"store":"memory:","shared":true,"compress":{"algorithm":"gzip","level":9},"encrypt":{"keys":{"a":"S0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0s="}}}')],
  ]
  for (const [rule, options] of accepted) {
    test(`accepted: ${rule}`, () => {
      checkCacheOptions(options)
      checkAgentOptions(options)
    })
  }

  // biome-ignore format: one rule a row
  const refused: [rule: string, options: unknown, message: RegExp][] = [
    ['an unknown name', { expiresAfter: 1 }, /^cacheInterceptor: unknown option "expiresAfter"; the options are expireAfter, .*cacheStatus$/],
    ['a name in another case', { expireafter: 1 }, /^cacheInterceptor: unknown option "expireafter"/],
    ['a name that is undefined', { ttl: undefined }, /^cacheInterceptor: unknown option "ttl"/],
    ['an option of the agent only', { dispatcher: {} }, /^cacheInterceptor: unknown option "dispatcher"/],
    ['text', '1h', /^cacheInterceptor: expected an object of options, got '1h'$/],
    ['an array', [], /^cacheInterceptor: expected an object of options, got \[\]$/],
    ['null', null, /^cacheInterceptor: expected an object of options, got null$/],
    ['a malformed expiration', { expireAfter: '60' }, /^expireAfter: expected .+ got '60'/],
    ['an expiration that is null', { expireAfter: null }, /^expireAfter: expected .+ got null$/],
    ['cacheControl that is no boolean', { cacheControl: 'on' }, /^cacheControl: expected a boolean, got 'on'$/],
    ['leases that are no boolean', { leases: 1 }, /^leases: expected a boolean, got 1$/],
    ['cacheStatus that is no boolean', { cacheStatus: 1 }, /^cacheStatus: expected a boolean, got 1$/],
    ['partitionBy that is a name', { partitionBy: 'cookie' }, /^partitionBy: expected an array of field names, or false, got 'cookie'$/],
    ['partitionBy that is true', { partitionBy: true }, /^partitionBy: expected an array of field names, or false, got true$/],
    ['partitionBy of numbers', { partitionBy: [1] }, /^partitionBy: expected an array of field names, or false, got \[Array\]$|^partitionBy: .+ got \[ 1 \]$/],
    ['partitionBy of what no field is called', { partitionBy: ['a b'] }, /^partitionBy: expected an array of field names, or false, got /],
    ['a method that is no list', { allowedMethods: 'POST' }, /^allowedMethods: expected an array of methods, got 'POST'$/],
    ['methods that are none', { allowedMethods: ['GET', 'a b'] }, /^allowedMethods: expected an array of methods, got /],
    ['a method that is nothing', { allowedMethods: [''] }, /^allowedMethods: expected an array of methods, got /],
    ['methods that are null', { allowedMethods: null }, /^allowedMethods: expected an array of methods, got null$/],
    ['content of no size', { maxRequestContentSize: 0 }, /^maxRequestContentSize: expected a number of bytes .+ got 0$/],
    ['an ignored parameter that is no list', { ignoredParameters: 'a' }, /^ignoredParameters: expected an array of names, got 'a'$/],
    ['an ignored parameter without a name', { ignoredParameters: [''] }, /^ignoredParameters: expected an array of names, got /],
    ['ignored parameters by pattern', { ignoredParameters: [/a/] }, /^ignoredParameters: expected an array of names, got /],
    ['a parameter with a star that is none', { ignoredParameters: ['a', 'utm_*'] }, /^ignoredParameters: expected names in which \* stands for a whole member, as in "items\.\*\.id", got 'utm_\*'$/],
    ['a path with a star that is none', { secretParameters: ['a.**.b'] }, /^secretParameters: expected names in which \* .+ got 'a\.\*\*\.b'$/],
    ['ignored parameters that are false', { ignoredParameters: false }, /^ignoredParameters: expected an array of names, got false$/],
    ['secrets that are true', { secretParameters: true }, /^secretParameters: expected an array of names, or false, got true$/],
    ['secrets that are numbers', { secretParameters: [1] }, /^secretParameters: expected an array of names, or false, got /],
    ['fields that are false', { matchHeaders: false }, /^matchHeaders: expected an array of field names, or true, got false$/],
    ['fields of the cache’s own', { matchHeaders: [':fields'] }, /^matchHeaders: expected an array of field names, or true, got /],
    ['a key that is no function', { cacheKey: 'url' }, /^cacheKey: expected a function, got 'url'$/],
    ['staleWhileRevalidate that has no unit', { staleWhileRevalidate: '60' }, /^staleWhileRevalidate: expected true, false, a number of milliseconds \(0 or more\) or a duration such as "90s" or "1h", got '60'$/],
    ['staleWhileRevalidate that is negative', { staleWhileRevalidate: -1 }, /^staleWhileRevalidate: expected true, false, .+ got -1$/],
    ['staleIfError that is a word', { staleIfError: 'always' }, /^staleIfError: expected true, false, .+ got 'always'$/],
    ['staleIfError that is null', { staleIfError: null }, /^staleIfError: expected true, false, .+ got null$/],
    ['staleIfError that is a Date', { staleIfError: new Date(0) }, /^staleIfError: expected true, false, .+ got 1970-01-01T00:00:00\.000Z$/],
    ['a class that there is not', { expireAfter: { '4xx': 1, '6xx': 1 } }, /^expireAfter: expected status codes such as 404, classes such as "5xx", or "\*" for all others, got '6xx'$/],
    ['a status code that is never stored', { expireAfter: { 100: 1, '*': 1 } }, /^expireAfter: expected status codes such as 404, .+ got '100'$/],
    ['a name beside status codes', { expireAfter: { 404: 1, cacheControl: true } }, /^expireAfter: expected status codes .+ got 'cacheControl'$/],
    ['a malformed expiration by status code', { expireAfter: { 404: 'soon' } }, /^expireAfter\['404'\]: expected .+ got 'soon'$/],
    ['expirations by status code that are none', { expireAfter: {} }, /^expireAfter: expected .+ got \{\}$/],
    ['status codes that there are not', { expireAfter: { '6xx': '1m' } }, /^expireAfter: expected .+ or several by status code such as \{ 404: "1m", .+ got \{ '6xx': '1m' \}$/],
    ['a list of expirations', { expireAfter: ['1h'] }, /^expireAfter: expected .+ got \[ '1h' \]$/],
    ['a status code that is none', { allowedCodes: [200, 99] }, /^allowedCodes: expected an array of status codes from 200 to 599 and of classes such as "4xx", got \[ 200, 99 \]$/],
    ['a class in capitals', { allowedCodes: ['4XX'] }, /^allowedCodes: expected an array of .+ got \[ '4XX' \]$/],
    ['one status code', { allowedCodes: 200 }, /^allowedCodes: expected an array of .+ got 200$/],
    ['a filter that is none', { filter: /a/ }, /^filter: expected a function, got \/a\/$/],
    ['readOnly that is no boolean', { readOnly: 'yes' }, /^readOnly: expected a boolean, got 'yes'$/],
    ['onlyIfCached that is no boolean', { onlyIfCached: 1 }, /^onlyIfCached: expected a boolean, got 1$/],
    ['refresh that is no boolean', { refresh: 'force' }, /^refresh: expected a boolean, got 'force'$/],
    ['forceRefresh that is no boolean', { forceRefresh: null }, /^forceRefresh: expected a boolean, got null$/],
    ['alwaysRevalidate that is no boolean', { alwaysRevalidate: 0 }, /^alwaysRevalidate: expected a boolean, got 0$/],
    ['slidingExpiration that is a duration', { slidingExpiration: '1h' }, /^slidingExpiration: expected a boolean, got '1h'$/],
    ['a ceiling without a unit', { maxExpireAfter: '60' }, /^maxExpireAfter: expected a number of milliseconds \(0 or more\) or a duration such as "90s" or "1h", got '60'$/],
    ['a negative ceiling', { maxExpireAfter: -1 }, /^maxExpireAfter: expected .+ got -1$/],
    ['a ceiling that is a Date', { maxExpireAfter: new Date(0) }, /^maxExpireAfter: expected .+ got 1970-/],
    ['stripSetCookie that is no boolean', { stripSetCookie: [] }, /^stripSetCookie: expected a boolean, got \[\]$/],
    ['a mode that there is not', { mode: 'online' }, /^mode: expected one of "default", "offline", "record", "replay", got 'online'$/],
    ['what is missing as a number', { missing: 504 }, /^missing: expected one of "status", "error", got 504$/],
    ['tags that are no names', { tags: 1 }, /^tags: expected field names such as "Cache-Tag", or a function, got 1$/],
    ['tags of a name that no field has', { tags: 'Cache Tag' }, /^tags: expected field names such as "Cache-Tag", or a function, got 'Cache Tag'$/],
    ['tags of an empty name', { tags: [''] }, /^tags: expected field names such as "Cache-Tag", or a function, got \[ '' \]$|^tags: .*got \[Array\]$/],
    ['shared that is no boolean', { shared: 'yes' }, /^shared: expected a boolean, got 'yes'$/],
    ['shared that is null', { shared: null }, /^shared: expected a boolean, got null$/],
    ['compression of another kind', { compress: 'lzma' }, /^compress: expected "zstd", "brotli", "gzip", got 'lzma'$/],
    ['compression that is true', { compress: true }, /^compress: expected "zstd", "brotli", "gzip" or \{ algorithm, minSize, level \}, got true$/],
    ['compression of no kind', { compress: {} }, /^compress: expected "zstd", "brotli", "gzip", got undefined$/],
    ['compression with something else', { compress: { algorithm: 'gzip', quality: 1 } }, /^compress: unknown option "quality"; the options are algorithm, minSize, level$/],
    ['a level that there is not', { compress: { algorithm: 'gzip', level: 10 } }, /^compress\.level: expected a whole number from 1 to 9 for gzip, got 10$/],
    ['a size that is none', { compress: { algorithm: 'gzip', minSize: 'small' } }, /^compress\.minSize: expected a number of bytes .+ got 'small'$/],
    ['a password instead of a key', { encrypt: SECRET }, /^encrypt: expected a key of 32 bytes, as a Buffer, a secret KeyObject, or text in hexadecimal or base64, got text of 14 characters; crypto\.randomBytes\(32\)/],
    ['a key that is too short', { encrypt: KEY.subarray(16) }, /^encrypt: expected a key of 32 bytes, .+ got 16 bytes;/],
    ['a key that is not set', { encrypt: undefined }, /^encrypt: expected a key of 32 bytes, .+ got undefined;/],
    ['a key that is null', { encrypt: null }, /^encrypt: expected a key of 32 bytes, .+ got null;/],
    ['a key that is public', { encrypt: generateKeyPairSync('ed25519').publicKey }, /^encrypt: expected a key of 32 bytes, .+ got another KeyObject;/],
    ['keys without a name for them', { encrypt: { [SECRET]: KEY } }, /^encrypt: expected a key or \{ keys, current, indexKey \}, got something else$/],
    ['no keys', { encrypt: { keys: {} } }, /^encrypt\.keys: expected keys by their ids, .+ at least one$/],
    ['a list of no keys', { encrypt: { keys: [] } }, /^encrypt\.keys: expected keys by their ids, .+ at least one$/],
    ['one key for keys', { encrypt: { keys: SECRET } }, /^encrypt\.keys: expected keys by their ids, .+ at least one$/],
    ['keys of which one is none', { encrypt: { keys: { a: KEY, b: SECRET } } }, /^encrypt\.keys: expected a key of 32 bytes, .+ got text of 14 characters;/],
    ['ids that are none', { encrypt: { keys: { 'a b': KEY } } }, /^encrypt\.keys: expected ids of at most 64 letters, digits, "_", "-" or "\."$/],
    ['ids that are the same', { encrypt: { keys: [{ id: 'a', key: KEY }, { id: 'a', key: KEY }] } }, /^encrypt\.keys: expected ids that differ$/],
    ['a current key that there is not', { encrypt: { keys: { a: KEY, b: KEY }, current: SECRET } }, /^encrypt\.current: expected the id of a key, one of a, b$/],
    ['ids that have no order', { encrypt: { keys: { 2026: KEY, 2025: KEY } } }, /^encrypt\.current: expected the id of a key, one of 2025, 2026, as ids that are numbers have no order$/],
    ['a key for cache keys that is not set', { encrypt: { keys: { a: KEY }, indexKey: undefined } }, /^encrypt\.indexKey: expected a key of 32 bytes, .* got undefined/],
    ['a key for cache keys that is none', { encrypt: { keys: { a: KEY }, indexKey: SECRET } }, /^encrypt\.indexKey: expected a key of 32 bytes, /],
    ['a cache that is none', { cache: new Map() }, /^cache: expected an HttpCache, got /],
  ]
  for (const [rule, options, message] of refused) {
    test(`refused: ${rule}`, () => {
      const given = options as CacheOptions
      assert.throws(() => checkCacheOptions(given), { name: 'TypeError', message })
    })
  }

  test('no message has a key in it, or what may be one', () => {
    const keys = [KEY.toString('hex'), KEY.toString('base64')]
    for (const [, options] of refused) {
      try {
        checkCacheOptions(options as CacheOptions)
      } catch (error) {
        for (const key of [...keys, SECRET]) assert.equal(inspect(error).includes(key), false)
      }
    }
  })

  test('what belongs to a cache that exists already is said where that is made', async (t) => {
    const cache = new HttpCache({ store: 'memory:', shared: true })
    t.after(() => cache.close())
    checkCacheOptions({ cache, staleIfError: true })
    checkCacheOptions({ cache, shared: undefined, store: undefined } as object)
    for (const [name, value] of [
      ['shared', true],
      ['shared', false],
      ['store', 'memory:'],
      ['compress', 'gzip'],
      ['encrypt', KEY],
    ] as const) {
      // biome-ignore format: one list
      assert.throws(() => checkCacheOptions({ cache, [name]: value }), {
        name: 'TypeError',
        message: `${name} and cache exclude each other: set it where the cache is made, new HttpCache({ ${name} })`, // biome-ignore format: one message
      })
    }
  })

  test('a cache that is made knows whether it is shared, and refuses what is no answer', () => {
    for (const shared of [true, false]) {
      assert.equal(new HttpCache({ store: 'memory:', shared }).shared, shared)
    }
    assert.equal(new HttpCache({ store: 'memory:' }).shared, false)
    assert.throws(() => new HttpCache({ store: 'memory:', shared: 1 } as object), {
      name: 'TypeError',
      message: 'shared: expected a boolean, got 1',
    })
    assert.throws(() => new HttpCache({ public: true } as object), {
      name: 'TypeError',
      message:
        'HttpCache: unknown option "public"; the options are store, shared, memory, maxSize, maxEntries, maxVariants, leases, deadlines, compress, encrypt',
    })
  })

  for (const options of [null, 'memory:', ['memory:']]) {
    test(`a cache has an object of options, not ${JSON.stringify(options)}`, () => {
      assert.throws(() => new HttpCache(options as object), {
        message: /^HttpCache: expected an object of options, got /,
      })
    })
  }

  // biome-ignore format: one rule a row
  const refusedByAgent: [rule: string, options: unknown, message: RegExp][] = [
    ['an unknown name', { dispacher: {} }, /^cachingAgent: unknown option "dispacher"; the options are .*dispatcher$/],
    ['a dispatcher that is none', { dispatcher: {} }, /^dispatcher: expected an undici Dispatcher, got \{\}$/],
    ['a dispatcher that is null', { dispatcher: null }, /^dispatcher: expected an undici Dispatcher, got null$/],
    ['null', null, /^cachingAgent: expected an object of options, got null$/],
  ]
  for (const [rule, options, message] of refusedByAgent) {
    test(`refused by the agent: ${rule}`, () => {
      const given = options as AgentOptions
      assert.throws(() => checkAgentOptions(given), { name: 'TypeError', message })
    })
  }

  test('the agent’s dispatcher is an option where it is the agent that asks', () => {
    const dispatcher = { dispatch: () => true }
    checkCacheOptions({ dispatcher } as CacheOptions, 'cachingAgent')
  })
})

suite('Terms: parseTerms', () => {
  test('terms are accepted, options of the agent are not', () => {
    parseTerms({}, 'withTerms')
    parseTerms({ expireAfter: -1, cacheControl: true, partitionBy: ['a'] }, 'withTerms')
    parseTerms({ staleWhileRevalidate: '1h', staleIfError: true }, 'withTerms')
    assert.throws(() => parseTerms({ store: 'memory:' } as Terms, 'withTerms'), {
      name: 'TypeError',
      message: `withTerms: unknown option "store"; the options are ${TERM_NAMES.join(', ')}`,
    })
  })

  // biome-ignore format: one rule a row
  const refused: [rule: string, terms: unknown, message: RegExp][] = [
    ['a malformed expiration', { expireAfter: 'soon' }, /^withTerms\.expireAfter: expected .+ got 'soon'$/],
    ['cacheControl that is no boolean', { cacheControl: 0 }, /^withTerms\.cacheControl: expected a boolean, got 0$/],
    ['partitionBy that is no list', { partitionBy: {} }, /^withTerms\.partitionBy: expected an array of field names, or false, got \{\}$/],
    ['a malformed staleWhileRevalidate', { staleWhileRevalidate: 'soon' }, /^withTerms\.staleWhileRevalidate: expected true, false, .+ got 'soon'$/],
    ['a malformed staleIfError', { staleIfError: NaN }, /^withTerms\.staleIfError: expected true, false, .+ got NaN$/],
    ['whether the cache is shared', { shared: true }, /^withTerms: unknown option "shared"/],
    ['no object', undefined, /^withTerms: expected an object of options, got undefined$/],
  ]
  for (const [rule, terms, message] of refused) {
    test(`refused: ${rule}`, () => {
      assert.throws(() => withTerms(terms as Terms, () => assert.fail('must not run')), {
        name: 'TypeError',
        message,
      })
    })
  }
})

suite('Terms: what is understood', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, terms: Terms, parsed: object][] = [
    ['none at all are none', {}, {}],
    ['what is undefined is none', { staleIfError: undefined, cacheControl: true } as object, { cacheControl: true }],
    ['durations are milliseconds', { expireAfter: '1s', staleIfError: true, staleWhileRevalidate: '1h' }, { expireAfter: { kind: 'duration', milliseconds: 1000 }, staleIfError: Infinity, staleWhileRevalidate: 3_600_000 }],
    ['sizes are bytes', { maxContentSize: '1KiB' }, { maxContentSize: 1024 }],
    ['field names are of any case', { partitionBy: ['X-Key'] }, { partitionBy: ['x-key'] }],
    ['status codes are names', { allowedCodes: [404, '5xx'] }, { allowedCodes: new Set(['404', '5xx']) }],
    ['a ceiling is milliseconds', { maxExpireAfter: '1s' }, { maxExpireAfter: 1000 }],
    ['expirations by status code', { expireAfter: { 404: '1s', '5xx': undefined, '*': DO_NOT_CACHE } } as object, { expireAfter: { kind: 'by-status', lifetimes: new Map<string, object>([['404', { kind: 'duration', milliseconds: 1000 }], ['*', { kind: 'do-not-cache' }]]) } }],
    ['expireAfter is a fallback beside cacheControl', { expireAfter: 1, cacheControl: true }, { expireAfter: { kind: 'duration', milliseconds: 1, isFallback: true }, cacheControl: true }],
    ['and not where cacheControl is off', { expireAfter: 1, cacheControl: false }, { expireAfter: { kind: 'duration', milliseconds: 1 }, cacheControl: false }],
    ['false is no partition', { partitionBy: false }, { partitionBy: [] }],
    ['methods are of any case', { allowedMethods: ['get', 'Query'] }, { allowedMethods: ['GET', 'QUERY'] }],
    ['fields that count are of any case', { matchHeaders: ['Accept'] }, { matchHeaders: ['accept'] }],
    ['all fields are one', { matchHeaders: true }, { matchHeaders: [':fields'] }],
  ]
  for (const [rule, terms, parsed] of rows) {
    test(rule, () => assert.deepEqual(parseTerms(terms, 'with'), parsed))
  }

  test('names of parameters are kept as they are given', () => {
    const names = ['A', 'b.*.c']
    const { ignoredParameters, secretParameters } = parseTerms(
      { ignoredParameters: names, secretParameters: names },
      'with',
    )
    assert.deepEqual([ignoredParameters?.names, secretParameters?.names], [names, names])
    assert.deepEqual(
      [ignoredParameters?.hasParameter('a'), secretParameters?.hasParameter('a')],
      [false, true],
    )
    assert.deepEqual(parseTerms({ secretParameters: false }, 'with').secretParameters?.names, [])
  })
})

suite('Terms of an async context', () => {
  test('they apply inside the function, however deep, and nowhere else', async () => {
    assert.equal(contextTerms(), undefined)
    const result = await withTerms({ expireAfter: 1 }, async () => {
      await new Promise((resolve) => setImmediate(resolve))
      return contextTerms()
    })
    assert.deepEqual(result, parseTerms({ expireAfter: 1 }, ''))
    assert.equal(contextTerms(), undefined)
  })

  test('nested terms add up, the inner ones count', () => {
    const inner = withTerms({ expireAfter: 1, cacheControl: true }, () =>
      withTerms({ expireAfter: 2 }, contextTerms),
    )
    assert.deepEqual(inner, { ...parseTerms({ expireAfter: 2 }, ''), cacheControl: true })
  })

  test('expirations by status code add up: what the inner ones do not say, the outer ones do', () => {
    const at = (status: number) =>
      withTerms({ expireAfter: { 404: 1, 500: 1, '*': 1 } }, () =>
        withTerms({ expireAfter: { 404: 2, '5xx': 2 } }, () =>
          lifetimeOf(contextTerms()?.expireAfter, status),
        ),
      )
    for (const [status, milliseconds] of [
      [404, 2],
      [500, 2],
      [503, 2],
      [200, 1],
    ] as const) {
      assert.deepEqual(at(status), { kind: 'duration', milliseconds })
    }
  })

  test('terms about stale responses add up as well', () => {
    const inner = withTerms({ staleIfError: true, staleWhileRevalidate: '1h' }, () =>
      withTerms({ staleIfError: false }, contextTerms),
    )
    assert.deepEqual(inner, parseTerms({ staleIfError: false, staleWhileRevalidate: '1h' }, ''))
  })

  test('disabled is no caching at all, until the function has ended, even by throwing', () => {
    assert.deepEqual(disabled(contextTerms), { expireAfter: { kind: 'do-not-cache' } })
    assert.throws(() => disabled(() => assert.fail('inside')), { message: 'inside' })
    assert.equal(contextTerms(), undefined)
  })

  test('without a function there is nothing that terms could be for', () => {
    const given = [() => (withTerms as (terms: Terms) => void)({}), disabled as () => void]
    for (const call of given) {
      const message = 'withTerms: expected a function as its last argument, got undefined'
      assert.throws(call, { name: 'TypeError', message })
    }
  })

  test('what runs beside it is not affected', async () => {
    const seen: unknown[] = []
    const look = async () => {
      await new Promise((resolve) => setImmediate(resolve))
      seen.push(contextTerms())
    }
    await Promise.all([disabled(look), look()])
    assert.deepEqual(seen, [{ expireAfter: { kind: 'do-not-cache' } }, undefined])
  })

  test('a callback can be run in the terms of another context, or in none', () => {
    const others = { staleIfError: 2 }
    withTerms({ staleIfError: 1 }, () => {
      assert.deepEqual(runInTerms(others, contextTerms), others)
      assert.equal(runInTerms(undefined, contextTerms), undefined)
      assert.deepEqual(contextTerms(), { staleIfError: 1 })
    })
  })
})
