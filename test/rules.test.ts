import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  DO_NOT_CACHE,
  EXPIRE_IMMEDIATELY,
  type Expiration,
  type ExpirationByStatus,
  NEVER_EXPIRE,
} from '../lib/expiration.ts'
import { normaliseUrl } from '../lib/key.ts'
import type { CacheOptions } from '../lib/options.ts'
import type { Fields } from '../lib/rfc9111/message.ts'
import {
  allowsStatus,
  compileRules,
  expirationByRule,
  neverCaches,
  type UrlRule,
  type UrlRules,
} from '../lib/rules.ts'
import { parseTerms, type Terms } from '../lib/terms.ts'
import { compileMatcher, type UrlMatcher } from '../lib/url-patterns.ts'

const HOUR = 3_600_000
const DAY = 24 * HOUR
const NOW = Date.UTC(2026, 5, 15, 12)

/** Terms that are there by name only, as programs in JavaScript have them. */
const absent = { expireAfter: undefined, cacheControl: undefined, partitionBy: undefined } as object as Terms // biome-ignore format: one line

function matches(matcher: UrlMatcher, url: string): boolean {
  return compileMatcher(matcher, 'urlsExpireAfter')(new URL(url))
}

/** For how long a response is fresh that says nothing itself, by the rules for its URL. */
function lifetime(options: Pick<CacheOptions, 'expireAfter' | 'urlsExpireAfter'>, url: string) {
  const terms = compileRules(options).termsFor(new URL(url), undefined)
  const expires = expirationByRule(terms, { status: 200, fields: {} }, NOW)
  return typeof expires === 'number' ? expires - NOW : expires
}

suite('URL patterns', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, pattern: string, url: string, matches: boolean][] = [
    ['* matches all', '*', 'https://example.com:8443/a/b?c', true],
    ['** matches all', '**', 'https://example.com/', true],
    ['the empty pattern matches all', '', 'https://example.com/a', true],

    ['a host matches itself', 'example.com', 'http://example.com/', true],
    ['with any scheme', 'example.com', 'https://example.com/', true],
    ['with any port', 'example.com', 'http://example.com:8080/', true],
    ['with any path', 'example.com', 'http://example.com/a/b', true],
    ['with any query', 'example.com', 'http://example.com/?a', true],
    ['with any credentials', 'example.com', 'http://user:password@example.com/', true],
    ['a host is no prefix', 'example.com', 'http://example.com.evil.org/', false],
    ['not even of a label', 'example.com', 'http://example.company/', false],
    ['a host is no suffix', 'example.com', 'http://evilexample.com/', false],
    ['a host does not match its subdomains', 'example.com', 'http://www.example.com/', false],
    ['a host is not looked for in the query', 'b.com', 'https://a.com/?redirect=http://b.com/x', false],
    ['nor hidden by it', 'a.com', 'https://a.com/?redirect=http://b.com/x', true],
    ['a host is not looked for in the path', 'b.com', 'https://a.com/b.com', false],
    ['a host is not looked for in credentials', 'b.com', 'https://b.com@a.com/', false],
    ['a host is not looked for in the fragment', 'b.com', 'https://a.com/#b.com', false],
    ['the case of a host does not matter in the pattern', 'EXAMPLE.Com', 'http://example.com/', true],
    ['nor in the URL', 'example.com', 'http://EXAMPLE.COM/', true],

    ['*. matches a subdomain', '*.example.com', 'http://www.example.com/', true],
    ['of any depth', '*.example.com', 'http://a.b.c.example.com/', true],
    ['but not the domain itself', '*.example.com', 'http://example.com/', false],
    ['nor what only ends like it', '*.example.com', 'http://evilexample.com/', false],
    ['nor what only begins like it', '*.example.com', 'http://www.example.com.evil.org/', false],
    ['nor what only mentions it', '*.example.com', 'http://evil.org/p?x=.example.com/', false],
    ['**. is the same', '**.example.com', 'http://a.b.example.com/', true],
    ['in a label * is within that label', 'img*.example.com', 'http://img1.example.com/', true],
    ['and does not cross a dot', 'img*.example.com', 'http://img.1.example.com/', false],
    ['nor does a * for a label', 'a.*.com', 'http://a.b.c.com/', false],
    ['a * for a label matches one', 'a.*.com', 'http://a.b.com/', true],
    ['a * at the end is one label', 'example.*', 'http://example.org/', true],
    ['and not two', 'example.*', 'http://example.co.uk/', false],
    ['braces are alternatives', 'example.{com,org}', 'http://example.org/', true],
    ['and nothing else', 'example.{com,org}', 'http://example.net/', false],
    ['a label of digits', '*.08.example', 'http://a.08.example/', true],
    ['an IPv4 address', '127.0.0.1', 'http://127.0.0.1:8080/', true],
    ['an IPv4 address with a * in each label', '10.0.*.*', 'http://10.0.3.4/', true],
    ['an IPv6 address', '[::1]', 'http://[::1]:8080/', true],
    ['an IPv6 address with port and path', '[::1]:8080/a', 'http://[::1]:8080/a/b', true],
    ['an IPv6 address written differently', '[0:0::0001]', 'http://[::1]/', true],
    ['an IPv6 address in capitals', '[2001:DB8::A]', 'http://[2001:db8::a]/', true],
    ['another IPv6 address', '[::1]', 'http://[::2]/', false],
    ['an international name', 'münchen.example', 'http://xn--mnchen-3ya.example/', true],
    ['in capitals', 'MÜNCHEN.example', 'http://münchen.example/', true],
    ['its encoded form', 'xn--mnchen-3ya.example', 'http://münchen.example/', true],
    ['its subdomains', '*.münchen.example', 'http://a.münchen.example/', true],
    ['a name of one label', 'localhost', 'http://localhost:3000/', true],

    ['a scheme', 'https://example.com', 'https://example.com/', true],
    ['another scheme', 'https://example.com', 'http://example.com/', false],
    ['the case of a scheme does not matter', 'HTTPS://example.com', 'https://example.com/', true],
    ['any scheme', '*://example.com', 'http://example.com/', true],
    ['a scheme with a *', 'http*://example.com', 'https://example.com/', true],
    ['a scheme and any host', 'https://*', 'https://example.com/a', true],
    ['a scheme and any other host', 'https://*', 'http://example.com/a', false],

    ['a port', 'example.com:8080', 'http://example.com:8080/a', true],
    ['another port', 'example.com:8080', 'http://example.com:8081/', false],
    ['a port and the default port', 'example.com:8080', 'http://example.com/', false],
    ['the default port of http', 'example.com:80', 'http://example.com/', true],
    ['the default port of https', 'example.com:443', 'https://example.com/', true],
    ['not the default port of the other scheme', 'example.com:443', 'http://example.com/', false],
    ['any port', 'example.com:*', 'http://example.com:8080/', true],
    ['a port of any host', '*:8080', 'http://example.com:8080/', true],
    ['a port with scheme and path', 'https://example.com:8443/a', 'https://example.com:8443/a/b', true],

    ['a path matches itself', 'httpbin.org/delay', 'https://httpbin.org/delay', true],
    ['and what is below', 'httpbin.org/delay', 'https://httpbin.org/delay/1', true],
    ['and itself as a directory', 'httpbin.org/delay', 'https://httpbin.org/delay/', true],
    ['a path is no prefix of a segment', 'httpbin.org/delay', 'https://httpbin.org/delayed', false],
    ['a path begins at the root', 'httpbin.org/delay', 'https://httpbin.org/x/delay', false],
    ['the case of a path matters', 'httpbin.org/delay', 'https://httpbin.org/Delay', false],
    ['the root is the root', 'httpbin.org/', 'https://httpbin.org/', true],
    ['and all that is below', 'httpbin.org/', 'https://httpbin.org/a/b', true],
    ['a directory is what is below', 'httpbin.org/delay/', 'https://httpbin.org/delay/1', true],
    ['and itself', 'httpbin.org/delay/', 'https://httpbin.org/delay/', true],
    ['but not the file of that name', 'httpbin.org/delay/', 'https://httpbin.org/delay', false],
    ['a path of any host', '/static', 'https://httpbin.org/static/a.png', true],
    ['a path of any host is no prefix of a segment', '/static', 'https://httpbin.org/statics', false],
    ['the query is no part of the path', 'a.com/x', 'https://a.com/y?/x', false],
    ['parentheses in a path are only parentheses', 'a.com/wiki/Rust_(game)', 'https://a.com/wiki/Rust_(game)', true],
    ['they do not group', 'a.com/wiki/Rust_(game)', 'https://a.com/wiki/Rust_game', false],
    ['not even beside a *', 'a.com/wiki/*_(game)', 'https://a.com/wiki/Rust_(game)', true],
    ['a plus is only a plus', 'a.com/c++', 'https://a.com/c++/x', true],
    ['also beside a *', 'a.com/c++/*.h', 'https://a.com/c++/x.h', true],
    ['@ is only @', 'a.com/@scope/*.js', 'https://a.com/@scope/a.js', true],
    ['! is only !', 'a.com/!x/*.js', 'https://a.com/y/a.js', false],
    ['letters that the URL parser encodes', 'a.com/café olé', 'https://a.com/café olé', true],
    ['half a character is the same as in a URL', 'a.com/\ud800', 'https://a.com/\ud800', true],
    ['percent-encoding in any case', 'a.com/caf%c3%a9', 'https://a.com/café', true],
    ['percent-encoding of what needs none in the URL', 'a.com/private', 'https://a.com/%70rivate', true],
    ['percent-encoding of what needs none in the pattern', 'a.com/%70rivate', 'https://a.com/private', true],
    ['an encoded slash is no slash', 'a.com/a/b', 'https://a.com/a%2Fb', false],

    ['* is a segment', 'httpbin.org/*/1', 'https://httpbin.org/stream/1', true],
    ['and what follows counts', 'httpbin.org/*/1', 'https://httpbin.org/stream/2', false],
    ['* does not cross a slash', 'httpbin.org/*/1', 'https://httpbin.org/a/stream/1', false],
    ['what is below a glob matches', 'httpbin.org/*/1', 'https://httpbin.org/stream/1/x', true],
    ['* within a segment', 'a.com/*.js', 'https://a.com/a.js', true],
    ['*.js is no .json', 'a.com/*.js', 'https://a.com/a.json', false],
    ['*.js is at the root', 'a.com/*.js', 'https://a.com/x/a.js', false],
    ['**/*.js is anywhere', 'a.com/**/*.js', 'https://a.com/x/y/a.js', true],
    ['also at the root', 'a.com/**/*.js', 'https://a.com/a.js', true],
    ['** between segments is any number of them', 'a.com/x/**/y', 'https://a.com/x/1/2/y', true],
    ['also none', 'a.com/x/**/y', 'https://a.com/x/y', true],
    ['* matches a name that begins with a dot', 'a.com/*/x', 'https://a.com/.well-known/x', true],
    ['/* at the end is all that is below', 'a.com/*', 'https://a.com/x/y', true],
    ['also nothing', 'a.com/*', 'https://a.com/', true],
    ['/x/* is below x', 'a.com/x/*', 'https://a.com/x/', true],
    ['and not x itself', 'a.com/x/*', 'https://a.com/x', false],
    ['/** is the same', 'a.com/x/**', 'https://a.com/x/y/z', true],
    ['braces are alternatives in a path', 'a.com/{a,b}/x', 'https://a.com/b/x', true],
    ['brackets are a choice of characters', 'a.com/[ab]', 'https://a.com/b', true],
    ['and of no others', 'a.com/[ab]', 'https://a.com/c', false],
    ['extended globs', 'a.com/@(a|b)/x', 'https://a.com/b/x', true],
    ['a glob matches the letters of a URL', 'a.com/*é', 'https://a.com/café', true],

    ['a parameter', 'a.com/x?page=1', 'https://a.com/x?page=1', true],
    ['among others in any order', 'a.com/x?page=1', 'https://a.com/x?a=b&page=1&c', true],
    ['with another value', 'a.com/x?page=1', 'https://a.com/x?page=2', false],
    ['that is absent', 'a.com/x?page=1', 'https://a.com/x', false],
    ['whose value only begins so', 'a.com/x?page=1', 'https://a.com/x?page=10', false],
    ['of another case', 'a.com/x?page=1', 'https://a.com/x?Page=1', false],
    ['several parameters in any order', 'a.com?a=1&b=2', 'https://a.com/?b=2&a=1', true],
    ['of several parameters one is absent', 'a.com?a=1&b=2', 'https://a.com/?a=1', false],
    ['one of several values', 'a.com?a=2', 'https://a.com/?a=1&a=2', true],
    ['a parameter without a value', 'a.com?a', 'https://a.com/?a', true],
    ['a parameter without a value has none', 'a.com?a', 'https://a.com/?a=1', false],
    ['any value', 'a.com?a=*', 'https://a.com/?a=1', true],
    ['also an empty one', 'a.com?a=*', 'https://a.com/?a=', true],
    ['also one with slashes', 'a.com?a=*', 'https://a.com/?a=http://b.com/c', true],
    ['* in a value crosses slashes', 'a.com?a=http*c', 'https://a.com/?a=http://b.com/c', true],
    ['any value needs the parameter', 'a.com?a=*', 'https://a.com/?b=1', false],
    ['a value is compared decoded', 'a.com?a=b c', 'https://a.com/?a=b%20c', true],
    ['a query of any URL', '?debug=1', 'https://a.com/x?debug=1', true],
    ['the path counts before the query', 'a.com/x?a=1', 'https://a.com/y?a=1', false],
  ]
  for (const [rule, pattern, url, expected] of rows) {
    test(`${rule}: ${pattern} ${expected ? 'matches' : 'does not match'} ${url}`, () => {
      assert.equal(matches(pattern, url), expected)
    })
  }

  // biome-ignore format: one rule a row
  const refused: [rule: string, pattern: unknown][] = [
    ['white space in the host', 'exa mple.com'],
    ['only white space', ' '],
    ['a scheme without a host', 'https://'],
    ['a scheme and a path', 'file:///etc'],
    ['a scheme with one slash', 'http:/example.com'],
    ['a port without a host', ':8080'],
    ['a port that is no number', 'example.com:http'],
    ['credentials', 'user:password@example.com'],
    ['a fragment', 'example.com/#a'],
    ['an IPv6 address that does not end', '[::1'],
    ['an IPv6 address that is none', '[zz::1]'],
    ['a host that no URL can have', 'exa%mple.com'],
    ['an empty label beside a glob', 'a..*'],
    ['braces around several labels', '{a.com,b.com}'],
    ['a brace that does not end', '{a,b.com'],
    ['a glob beside letters that are encoded', 'm*ü.com'],
    ['a number', 5],
    ['null', null],
    ['undefined', undefined],
    ['an object that is no matcher', {}],
    ['an object with a test that is no function', { test: true }],
  ]
  for (const [rule, pattern] of refused) {
    test(`refused: ${rule}`, () => {
      assert.throws(() => compileMatcher(pattern as UrlMatcher, 'urlsExpireAfter[7]'), {
        name: 'TypeError',
        message: /^urlsExpireAfter\[7\]: expected a (URL )?pattern.+, got /s,
      })
    })
  }

  test('no text is anything else than a pattern or a TypeError', () => {
    const characters = fc.constantFrom('a', '.', '*', '/', ':', '?', '[', ']', '{', '}', '(', '!', '\\', '%', 'ü', '@', '1') // biome-ignore format: one alphabet
    const texts = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: characters }))
    fc.assert(
      fc.property(texts, fc.webUrl({ withQueryParameters: true }), (text, url) => {
        try {
          assert.equal(typeof matches(text, url), 'boolean')
        } catch (error) {
          assert.ok(error instanceof TypeError)
          assert.match(error.message, /^urlsExpireAfter: expected a URL pattern/)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('the host of a URL is a pattern for it, and its path and query narrow it down', () => {
    const urls = fc.webUrl({ withQueryParameters: false }).map((text) => new URL(text))
    fc.assert(
      fc.property(urls, (url) => {
        assert.ok(matches(url.host, url.href))
        assert.ok(matches(url.origin, url.href))
        if (!/[*[\]{}\\]|[!@+]\(/.test(url.pathname)) {
          assert.ok(matches(`${url.origin}${url.pathname}`, url.href))
        }
        assert.ok(!matches(url.host, `http://${url.host}.evil.org/`))
        assert.ok(!matches(`*.${url.host}`, url.href))
        assert.ok(matches(`*.${url.host}`, `${url.protocol}//sub.${url.host}`))
      }),
    )
  })

  test('URLs that share a cache key share their rule', () => {
    const encoded = (text: string) =>
      [...text].map((character) => `%${character.charCodeAt(0).toString(16)}`).join('')
    const words = fc.array(fc.stringMatching(/^[a-z]{1,5}$/), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(words, fc.nat(), (segments, index) => {
        const other = segments.map((word, i) => (i === index % segments.length ? encoded(word) : word)) // biome-ignore format: one expression
        const [a, b] = [segments, other].map((all) => `http://a.com/${all.join('/')}`) as [string, string] // biome-ignore format: one expression
        assert.equal(normaliseUrl(new URL(a)), normaliseUrl(new URL(b)))
        for (const pattern of [a, b, `a.com/${segments[0]}`, 'a.com/*/a*']) {
          assert.equal(matches(pattern, a), matches(pattern, b))
        }
      }),
    )
  })
})

suite('Matchers of other kinds', () => {
  test('a RegExp sees the full URL', () => {
    const api = /^https:\/\/site_2\.com\/api\/resource\/\d+\?full$/
    assert.equal(matches(api, 'https://site_2.com/api/resource/123?full'), true)
    assert.equal(matches(api, 'https://site_2.com/api/resource/xyz?full'), false)
    assert.equal(matches(api, 'http://site_2.com/api/resource/123?full'), false)
  })

  test('a RegExp is not anchored, and its flags count', () => {
    assert.equal(matches(/\.PNG$/i, 'https://a.com/x.png'), true)
    assert.equal(matches(/\.PNG$/, 'https://a.com/x.png'), false)
  })

  for (const flags of ['', 'g', 'y', 'gy', 'gi', 'v']) {
    test(`a RegExp with the flags '${flags}' gives the same answer each time`, () => {
      const expression = new RegExp('https://a', flags)
      const test = compileMatcher(expression, 'urlsExpireAfter')
      const answers = [1, 2, 3, 4].map(() => test(new URL('https://a.com/https://a')))
      assert.deepEqual(answers, [true, true, true, true])
      assert.equal(expression.lastIndex, 0)
    })
  }

  test('a sticky RegExp matches from the beginning only', () => {
    assert.equal(matches(/a\.com/y, 'https://a.com/'), false)
    assert.equal(matches(/https/y, 'https://a.com/'), true)
  })

  test('a function gets a URL of its own', () => {
    const url = new URL('https://a.com/x')
    const seen: URL[] = []
    const test = compileMatcher((given) => {
      seen.push(given)
      given.pathname = '/changed'
      return given.hostname === 'a.com'
    }, 'urlsExpireAfter')
    assert.equal(test(url), true)
    assert.ok(seen[0] instanceof URL)
    assert.equal(url.href, 'https://a.com/x')
  })

  test('an object with a test gets the full URL, as a URLPattern does', () => {
    const seen: string[] = []
    const matcher = {
      test(url: string) {
        seen.push(url)
        return url.endsWith('?b')
      },
    }
    assert.equal(matches(matcher, 'https://a.com/?b'), true)
    assert.equal(matches(matcher, 'https://a.com/'), false)
    assert.deepEqual(seen, ['https://a.com/?b', 'https://a.com/'])
  })
})

suite('urlsExpireAfter', () => {
  const options = {
    expireAfter: 1000,
    urlsExpireAfter: {
      '*.site_1.com': '12h',
      'site_2.com/resource_1': '20h',
      'site_2.com/resource_2': '7d',
      'site_2.com/static': NEVER_EXPIRE,
    },
  }

  // biome-ignore format: one rule a row
  const rows: [url: string, lifetime: number][] = [
    ['https://img.site_1.com/', 12 * HOUR],
    ['https://img.site_1.com/base/img.jpg', 12 * HOUR],
    ['http://img.site.com/base/', 1000],
    ['https://site_2.com/resource_1/index.html', 20 * HOUR],
    ['https://site_2.com/resource_2', 7 * DAY],
    ['https://site_2.com/resource_2/', 7 * DAY],
    ['https://site_2.com/static/img.jpg', Infinity],
    ['https://site_2.com/', 1000],
    ['https://site_3.com/', 1000],
  ]
  for (const [url, expected] of rows) {
    test(`${url} is fresh for ${expected}`, () => assert.equal(lifetime(options, url), expected))
  }

  const pairs: [string, Expiration][] = [['a.com/b', '1h'], ['a.com', '2h'], ['*', DO_NOT_CACHE]] // biome-ignore format: one list
  // biome-ignore format: one rule a row
  const shapes: [name: string, rules: UrlRules][] = [
    ['an object', Object.fromEntries(pairs)],
    ['a Map', new Map(pairs)],
    ['an array of pairs', pairs],
    ['any iterable of pairs', new Set(pairs)],
  ]
  for (const [name, urlsExpireAfter] of shapes) {
    test(`the first match in ${name} wins`, () => {
      assert.equal(lifetime({ urlsExpireAfter }, 'http://a.com/b/c'), HOUR)
      assert.equal(lifetime({ urlsExpireAfter }, 'http://a.com/'), 2 * HOUR)
      assert.equal(lifetime({ urlsExpireAfter }, 'http://b.com/'), 'do-not-cache')
    })
  }

  test('the order counts, not which pattern is the more specific', () => {
    const urlsExpireAfter = { 'a.com': '2h', 'a.com/b': '1h' }
    assert.equal(lifetime({ urlsExpireAfter }, 'http://a.com/b'), 2 * HOUR)
  })

  test('an iterator that ends is read once', () => {
    const rules = compileRules({ urlsExpireAfter: new Map([['a.com', '1h']]).entries() })
    for (let time = 0; time < 2; time++) {
      const terms = rules.termsFor(new URL('http://a.com/'), undefined)
      assert.deepEqual(terms.rules, [{ kind: 'duration', milliseconds: HOUR }])
    }
  })

  test('matchers of every kind work together', () => {
    const urlsExpireAfter: UrlRules = [
      [/\.png$/g, '1h'],
      [(url) => url.port === '8080', '2h'],
      [{ test: (url) => url.includes('?x') }, '3h'],
      ['a.com', { expireAfter: '4h' }],
    ]
    assert.equal(lifetime({ urlsExpireAfter }, 'http://a.com:8080/x.png'), HOUR)
    assert.equal(lifetime({ urlsExpireAfter }, 'http://a.com:8080/?x'), 2 * HOUR)
    assert.equal(lifetime({ urlsExpireAfter }, 'http://a.com/?x'), 3 * HOUR)
    assert.equal(lifetime({ urlsExpireAfter }, 'http://a.com/'), 4 * HOUR)
  })

  // biome-ignore format: one rule a row
  const refused: [rule: string, rules: unknown, message: RegExp][] = [
    ['a malformed expiration', { 'a.com': 'tomorrow' }, /^urlsExpireAfter\['a\.com'\]: expected .+ got 'tomorrow'$/],
    ['a number without a unit', { 'a.com': '60' }, /^urlsExpireAfter\['a\.com'\]: .+ got '60' \(say the unit/],
    ['a negative number', { 'a.com': -5 }, /^urlsExpireAfter\['a\.com'\]: .+ got -5$/],
    ['no expiration at all', { 'a.com': undefined }, /^urlsExpireAfter\['a\.com'\]: .+ got undefined$/],
    ['null', { 'a.com': null }, /^urlsExpireAfter\['a\.com'\]: .+ got null$/],
    ['an unknown term', { 'a.com': { expiresAfter: 1 } }, /^urlsExpireAfter\['a\.com'\]: unknown option "expiresAfter"/],
    ['a malformed term', { 'a.com': { expireAfter: 'soon' } }, /^urlsExpireAfter\['a\.com'\]\.expireAfter: .+ got 'soon'$/],
    ['a malformed term about stale responses', { 'a.com': { staleIfError: '60' } }, /^urlsExpireAfter\['a\.com'\]\.staleIfError: expected true, false, .+ got '60'/],
    ['a negative one', { 'a.com': { staleWhileRevalidate: -1 } }, /^urlsExpireAfter\['a\.com'\]\.staleWhileRevalidate: .+ got -1$/],
    ['an option of the cache', { 'a.com': { shared: true } }, /^urlsExpireAfter\['a\.com'\]: unknown option "shared"/],
    ['a malformed pattern', { 'a b': 1 }, /^urlsExpireAfter\['a b'\]: expected a URL pattern .+ got 'a b'$/],
    ['a value for a RegExp', [[/x/g, 'soon']], /^urlsExpireAfter\[\/x\/g\]: .+ got 'soon'$/],
    ['a value for a function', [[function isApi() {}, 'soon']], /^urlsExpireAfter\[\[Function: isApi\]\]: .+ got 'soon'$/],
    ['a matcher without a prototype', [[Object.create(null), 1]], /^urlsExpireAfter\[\[Object: null prototype\] \{\}\]: expected a pattern/],
    ['one value instead of rules', '1h', /^urlsExpireAfter: expected an object, a Map or an array of pairs, got '1h'$/],
    ['null instead of rules', null, /^urlsExpireAfter: expected an object, .+ got null$/],
    ['a list without values', ['a.com'], /^urlsExpireAfter: expected pairs \[pattern, value\], got 'a\.com'$/],
    ['a malformed expiration by status code', { 'a.com': { 404: 'soon' } }, /^urlsExpireAfter\['a\.com'\]\['404'\]: expected .+ got 'soon'$/],
    ['a malformed status code', { 'a.com': { 404: 1, '40x': 1 } }, /^urlsExpireAfter\['a\.com'\]: expected status codes .+ got '40x'$/],
    ['status codes beside terms', { 'a.com': { 404: 1, cacheControl: true } }, /^urlsExpireAfter\['a\.com'\]: expected status codes .+ got 'cacheControl'$/],
    ['a pair of three', [['a.com', 1, 2]], /^urlsExpireAfter: expected pairs \[pattern, value\], got \[ 'a\.com', 1, 2 \]$/],
  ]
  for (const [rule, urlsExpireAfter, message] of refused) {
    test(`refused: ${rule}`, () => {
      const rules = urlsExpireAfter as UrlRules
      assert.throws(() => compileRules({ urlsExpireAfter: rules }), { name: 'TypeError', message })
    })
  }
})

suite('Precedence: expirationByRule', () => {
  const URL_OF = new URL('http://a.com/')
  const cc = (value: string): Fields => ({ 'cache-control': value })
  const expireAfter = (value: Expiration): Terms => ({ expireAfter: value })
  const silent: Fields = {}
  const noStore = cc('no-store')

  /** 'origin' where the response's own fields or a heuristic decide. */
  function decide(
    agent: CacheOptions,
    rule: UrlRule | undefined,
    own: Terms | undefined,
    fields: Fields,
    shared = false,
    status = 200,
  ): number | string {
    const rules = compileRules({ ...agent, ...(rule !== undefined && { urlsExpireAfter: { 'a.com': rule } }) }) // biome-ignore format: one call
    const expires = expirationByRule(
      rules.termsFor(URL_OF, own && parseTerms(own, 'with')),
      { status, fields, shared },
      NOW,
    )
    return typeof expires === 'number' ? expires - NOW : (expires ?? 'origin')
  }

  const none = undefined
  // biome-ignore format: one rule a row
  const rows: [name: string, agent: CacheOptions, rule: UrlRule | undefined, own: Terms | undefined, fields: Fields, decision: number | string][] = [
    ['the agent’s expiration', expireAfter(1), none, none, silent, 1],
    ['a rule before the agent’s', expireAfter(1), 3, none, silent, 3],
    ['the request’s terms before the agent’s', expireAfter(1), none, expireAfter(2), silent, 2],
    ['the request’s terms before a rule', expireAfter(1), 3, expireAfter(2), silent, 2],
    ['a rule of terms is a rule', expireAfter(1), { expireAfter: 3 }, none, silent, 3],
    ['without any the origin decides', {}, none, none, silent, 'origin'],
    ['without any the origin decides against storing, too', {}, none, none, noStore, 'origin'],

    ['expireAfter decides against no-store', expireAfter(1), none, none, noStore, 1],
    ['expireAfter decides against max-age', expireAfter(1), none, none, cc('max-age=60'), 1],
    ['a rule decides against no-store', {}, 3, none, noStore, 3],
    ['the request’s terms decide against no-store', {}, none, expireAfter(2), noStore, 2],
    ['a rule decides against no-cache', {}, 3, none, cc('no-cache'), 3],
    ['a rule decides against Expires', {}, 3, none, { expires: '0' }, 3],
    ['a rule decides even where the origin would', { cacheControl: true }, 3, none, cc('max-age=60'), 3],
    ['also to expire at once', {}, EXPIRE_IMMEDIATELY, none, cc('max-age=60'), 0],
    ['also never to expire', {}, NEVER_EXPIRE, none, cc('max-age=60'), Infinity],
    ['also not to cache', {}, DO_NOT_CACHE, none, cc('max-age=60'), 'do-not-cache'],
    ['the request’s terms lift a rule that forbids', {}, DO_NOT_CACHE, expireAfter(2), silent, 2],
    ['the request’s terms forbid', expireAfter(1), 3, expireAfter(DO_NOT_CACHE), silent, 'do-not-cache'],

    ['with cacheControl max-age counts before expireAfter', { expireAfter: 1, cacheControl: true }, none, none, cc('max-age=60'), 'origin'],
    ['with cacheControl Expires counts before expireAfter', { expireAfter: 1, cacheControl: true }, none, none, { expires: '0' }, 'origin'],
    ['with cacheControl no-store counts before expireAfter', { expireAfter: 1, cacheControl: true }, none, none, noStore, 'origin'],
    ['with cacheControl no-cache counts before expireAfter', { expireAfter: 1, cacheControl: true }, none, none, cc('no-cache'), 'origin'],
    ['with cacheControl expireAfter is for who says nothing', { expireAfter: 1, cacheControl: true }, none, none, silent, 1],
    ['public, private and s-maxage say nothing', { expireAfter: 1, cacheControl: true }, none, none, cc('public, private, s-maxage=5, no-transform'), 1],
    ['Last-Modified says nothing: a heuristic comes last', { expireAfter: 1, cacheControl: true }, none, none, { 'last-modified': 'Fri, 16 Apr 2021 21:13:00 GMT' }, 1],
    ['a fallback may forbid', { expireAfter: DO_NOT_CACHE, cacheControl: true }, none, none, silent, 'do-not-cache'],
    ['and the origin still allow', { expireAfter: DO_NOT_CACHE, cacheControl: true }, none, none, cc('max-age=60'), 'origin'],

    ['a rule may let the origin decide', expireAfter(1), { cacheControl: true }, none, cc('max-age=60'), 'origin'],
    ['the request’s terms may let the origin decide', expireAfter(1), none, { cacheControl: true }, noStore, 'origin'],
    ['but not where a rule says how long', expireAfter(1), 3, { cacheControl: true }, noStore, 3],
    ['a rule with both is a fallback', {}, { expireAfter: 3, cacheControl: true }, none, noStore, 'origin'],
    ['also against the agent’s expiration', expireAfter(1), { expireAfter: 3, cacheControl: true }, none, cc('max-age=60'), 'origin'],
    ['for who says nothing', expireAfter(1), { expireAfter: 3, cacheControl: true }, none, silent, 3],
    ['the request’s terms with both are one', {}, none, { expireAfter: 2, cacheControl: true }, cc('no-cache'), 'origin'],
    ['also against a rule', {}, 3, { expireAfter: 2, cacheControl: true }, cc('max-age=60'), 'origin'],
    ['for who says nothing, too', {}, 3, { expireAfter: 2, cacheControl: true }, silent, 2],
    ['a duration of the request decides against a rule with both', {}, { expireAfter: 3, cacheControl: true }, expireAfter(2), noStore, 2],
    ['a rule with both decides where the request says that the origin does not', {}, { expireAfter: 3, cacheControl: true }, { cacheControl: false }, noStore, 3],
    ['a rule with both may forbid who says nothing', {}, { expireAfter: DO_NOT_CACHE, cacheControl: true }, none, silent, 'do-not-cache'],
    ['a rule may take the decision from the origin', { expireAfter: 1, cacheControl: true }, { cacheControl: false }, none, noStore, 1],
    ['where nobody decides nothing is cached', { cacheControl: false }, none, none, cc('max-age=60'), 'do-not-cache'],
    ['where nobody but a rule decides, it does', { cacheControl: false }, 3, none, silent, 3],

    ['a term that is undefined is none', expireAfter(1), 3, absent, silent, 3],
    ['also cacheControl', expireAfter(1), { cacheControl: true }, absent, noStore, 'origin'],
    ['an option that is undefined is none', absent, none, none, noStore, 'origin'],
    ['an absolute expiration is one', {}, new Date(NOW + 7), none, noStore, 7],
  ]
  for (const [name, agent, rule, own, fields, decision] of rows) {
    test(name, () => assert.equal(decide(agent, rule, own, fields), decision))
  }

  const byStatus: ExpirationByStatus = { 404: 4, '4xx': 5, '*': 6 }
  const named: ExpirationByStatus = { 404: 4, '5xx': 5 }
  // biome-ignore format: one rule a row
  const ofStatus: [name: string, agent: CacheOptions, rule: UrlRule | undefined, own: Terms | undefined, status: number, fields: Fields, decision: number | string][] = [
    ['a code before its class', {}, byStatus, none, 404, noStore, 4],
    ['its class before all others', {}, byStatus, none, 410, noStore, 5],
    ['all others', {}, byStatus, none, 200, noStore, 6],
    ['also as a term of the rule', {}, { expireAfter: byStatus }, none, 410, noStore, 5],
    ['also of the request', {}, 3, { expireAfter: byStatus }, 410, noStore, 5],
    ['also of the agent', { expireAfter: byStatus }, none, none, 410, noStore, 5],
    ['a class may be forbidden', {}, { '5xx': DO_NOT_CACHE, '*': 6 }, none, 500, silent, 'do-not-cache'],
    ['what the request does not say the rule does', {}, 3, { expireAfter: named }, 200, noStore, 3],
    ['the request before the rule', {}, byStatus, { expireAfter: named }, 404, noStore, 4],
    ['what the rule does not say the agent does', { expireAfter: 1 }, named, none, 200, noStore, 1],
    ['what both do not say the agent does', { expireAfter: byStatus }, { 500: 1 }, { expireAfter: named }, 200, noStore, 6],
    ['what nobody says the origin does', {}, named, none, 200, noStore, 'origin'],
    ['also where the agent says it of others', { expireAfter: named }, none, none, 200, cc('max-age=60'), 'origin'],
    ['and the agent of its own', { expireAfter: named }, none, none, 503, cc('max-age=60'), 5],
    ['with cacheControl only where the origin says nothing', { expireAfter: named, cacheControl: true }, none, none, 503, cc('max-age=60'), 'origin'],
    ['and then it does', { expireAfter: named, cacheControl: true }, none, none, 503, silent, 5],
    ['a rule with cacheControl only where the origin says nothing', {}, { expireAfter: named, cacheControl: true }, none, 503, cc('max-age=60'), 'origin'],
    ['for who says nothing it does', {}, { expireAfter: named, cacheControl: true }, none, 503, silent, 5],
    ['without cacheControl what nobody says is not cached', { expireAfter: named, cacheControl: false }, none, none, 200, cc('max-age=60'), 'do-not-cache'],
  ]
  for (const [name, agent, rule, own, status, fields, decision] of ofStatus) {
    test(`by status code: ${name}`, () => {
      assert.equal(decide(agent, rule, own, fields, false, status), decision)
    })
  }

  // biome-ignore format: one rule a row
  const allowances: [name: string, agent: CacheOptions, rule: UrlRule, own: Terms, status: number, isAllowed: boolean | undefined][] = [
    ['nothing is said of a status code', { expireAfter: 1 }, 1, { expireAfter: 1 }, 404, undefined],
    ['an entry for a code allows it', {}, named, {}, 404, true],
    ['an entry for a class does', {}, named, {}, 503, true],
    ['an entry of the agent does', { expireAfter: named }, {}, {}, 503, true],
    ['an entry of the request does', {}, {}, { expireAfter: named }, 503, true],
    ['one for all others does not', {}, { '*': 1 }, {}, 503, undefined],
    ['the list allows', { allowedCodes: [404] }, {}, {}, 404, true],
    ['by classes, too', { allowedCodes: ['4xx'] }, {}, {}, 404, true],
    ['and forbids', { allowedCodes: [404] }, {}, {}, 200, false],
    ['even what has an entry', { allowedCodes: [200] }, named, {}, 404, false],
    ['the most specific list counts', { allowedCodes: [200] }, { allowedCodes: [404] }, {}, 404, true],
    ['and it alone', { allowedCodes: [200] }, { allowedCodes: [404] }, {}, 200, false],
  ]
  for (const [name, agent, rule, own, status, isAllowed] of allowances) {
    test(`which may be stored: ${name}`, () => {
      const rules = compileRules({ ...agent, urlsExpireAfter: { 'a.com': rule } })
      const terms = rules.termsFor(URL_OF, parseTerms(own, 'with'))
      assert.equal(allowsStatus(terms, status), isAllowed)
    })
  }

  const fallback: CacheOptions = { expireAfter: 1, cacheControl: true }
  // biome-ignore format: one rule a row
  const ofCaches: [name: string, fields: Fields, ofPrivate: number | string, ofShared: number | string][] = [
    ['private says something to a shared cache', cc('private'), 1, 'origin'],
    ['s-maxage does', cc('s-maxage=60'), 1, 'origin'],
    ['public and must-revalidate say nothing of the lifetime', cc('public, must-revalidate'), 1, 1],
    ['max-age says it to both', cc('max-age=60'), 'origin', 'origin'],
    ['Expires does', { expires: '0' }, 'origin', 'origin'],
    ['RFC 9213: the targeted field says it to a shared cache', { 'cdn-cache-control': 'max-age=60' }, 1, 'origin'],
    ['RFC 9213: also that nothing is to be stored', { 'cdn-cache-control': 'no-store' }, 1, 'origin'],
    ['RFC 9213: where it says nothing of it, no other field does', { 'cdn-cache-control': 'public', ...cc('no-store, max-age=60'), expires: '0' }, 'origin', 1],
  ]
  for (const [name, fields, ofPrivate, ofShared] of ofCaches) {
    test(`kinds of caches: ${name}`, () => {
      assert.equal(decide(fallback, none, none, fields), ofPrivate)
      assert.equal(decide(fallback, none, none, fields, true), ofShared)
      assert.equal(decide(fallback, 3, none, fields, true), 3)
      assert.equal(decide({}, none, none, fields, true), 'origin')
    })
  }

  // biome-ignore format: one rule a row
  const never: [name: string, agent: CacheOptions, rule: UrlRule, own: Terms, isNever: boolean][] = [
    ['nobody says so', {}, {}, {}, false],
    ['the agent does', { expireAfter: DO_NOT_CACHE }, {}, {}, true],
    ['not where the origin may allow it', { expireAfter: DO_NOT_CACHE, cacheControl: true }, {}, {}, false],
    ['also by a rule', {}, { expireAfter: DO_NOT_CACHE, cacheControl: true }, {}, false],
    ['but by a rule that the request makes strict', {}, { expireAfter: DO_NOT_CACHE, cacheControl: true }, { cacheControl: false }, true],
    ['nobody decides', { cacheControl: false }, {}, {}, true],
    ['a rule does', {}, DO_NOT_CACHE, {}, true],
    ['the request does not', {}, DO_NOT_CACHE, { expireAfter: 1 }, false],
    ['nor for some status codes, which are not known yet', {}, DO_NOT_CACHE, { expireAfter: { 404: 1 } }, false],
    ['not even for all', {}, {}, { expireAfter: { '*': DO_NOT_CACHE } }, false],
    ['where everything is recorded, everything is', { mode: 'record' }, DO_NOT_CACHE, {}, false],
    ['and replayed', { mode: 'replay' }, DO_NOT_CACHE, {}, false],
    ['offline it is as ever', { mode: 'offline' }, DO_NOT_CACHE, {}, true],
  ]
  for (const [name, agent, rule, own, isNever] of never) {
    test(`nothing is cached, whatever it is: ${name}`, () => {
      const rules = compileRules({ ...agent, urlsExpireAfter: { 'a.com': rule } })
      assert.equal(neverCaches(rules.termsFor(URL_OF, parseTerms(own, 'with'))), isNever)
    })
  }

  // biome-ignore format: one rule a row
  const modes: [name: string, agent: CacheOptions, rule: Terms, readOnly: boolean, sendsNothing: boolean, missing: string][] = [
    ['by default', {}, {}, false, false, 'status'],
    ['offline', { mode: 'offline' }, {}, true, true, 'status'],
    ['replay', { mode: 'replay' }, {}, true, true, 'error'],
    ['record', { mode: 'record' }, {}, false, false, 'status'],
    ['a rule takes a URL out of it', { mode: 'replay' }, { mode: 'default' }, false, false, 'status'],
    ['reading only', { readOnly: true }, {}, true, false, 'status'],
    ['reading only is not taken back by a mode', { readOnly: true }, { mode: 'record' }, true, false, 'status'],
    ['the cache only', { onlyIfCached: true }, {}, false, true, 'status'],
    ['to record all is to send all', { onlyIfCached: true, mode: 'record' }, {}, false, false, 'status'],
    ['what is missing is as it is said', { mode: 'replay', missing: 'status' }, {}, true, true, 'status'],
    ['by the rule, too', { mode: 'offline' }, { missing: 'error' }, true, true, 'error'],
  ]
  for (const [name, agent, rule, ...expected] of modes) {
    test(`mode: ${name}`, () => {
      const rules = compileRules({ ...agent, urlsExpireAfter: { 'a.com': rule } })
      const { readOnly, sendsNothing, missing } = rules.termsFor(URL_OF, none)
      assert.deepEqual([readOnly, sendsNothing, missing], expected)
    })
  }

  test('without a URL no rule applies', () => {
    const rules = compileRules({ expireAfter: 1, urlsExpireAfter: { '*': 2 } })
    assert.deepEqual(rules.termsFor(undefined, none).rules, [])
  })

  test('the first matching rule decides all terms: rules do not add up', () => {
    const rules = compileRules({
      urlsExpireAfter: { 'a.com': { cacheControl: true }, '*': { partitionBy: false } },
    })
    assert.deepEqual(rules.termsFor(URL_OF, none).partitionBy, [
      'authorization',
      'cookie',
      ':credentials',
    ])
  })

  // biome-ignore format: one rule a row
  const partitions: [rule: string, agent: Terms, rule: Terms, own: Terms, partitionBy: string[]][] = [
    ['by default by Authorization, Cookie and all others at once', {}, {}, {}, ['authorization', 'cookie', ':credentials']],
    ['names are of any case', { partitionBy: ['X-Api-Key'] }, {}, {}, ['x-api-key']],
    ['false is by nothing', { partitionBy: false }, {}, {}, []],
    ['a rule counts before the agent', { partitionBy: false }, { partitionBy: ['a'] }, {}, ['a']],
    ['the request’s terms count before a rule', {}, { partitionBy: ['a'] }, { partitionBy: false }, []],
    ['undefined is none', {}, { partitionBy: ['a'] }, absent, ['a']],
  ]
  for (const [name, agent, rule, own, partitionBy] of partitions) {
    test(`partition: ${name}`, () => {
      const rules = compileRules({ ...agent, urlsExpireAfter: { 'a.com': rule } })
      assert.deepEqual(rules.termsFor(URL_OF, parseTerms(own, 'with')).partitionBy, partitionBy)
    })
  }

  const [use, onError] = ['staleWhileRevalidate', 'staleIfError'] as const
  // biome-ignore format: one rule a row
  const stale: [rule: string, agent: Terms['staleIfError'], rule: Terms['staleIfError'], own: Terms['staleIfError'], milliseconds: number | undefined][] = [
    ['by default what the response says', undefined, undefined, undefined, undefined],
    ['the agent’s', '1h', undefined, undefined, HOUR],
    ['a rule’s before the agent’s', '1h', 5, undefined, 5],
    ['the request’s before a rule’s', '1h', 5, 7, 7],
    ['the request’s before the agent’s', '1h', undefined, '1s', 1000],
    ['true is always', true, undefined, undefined, Infinity],
    ['false is never', false, undefined, undefined, 0],
    ['false is a word like any other', true, false, undefined, 0],
    ['also the request’s', '1h', true, false, 0],
    ['0 is, too', true, 0, undefined, 0],
  ]
  for (const [rule, agent, ofRule, own, milliseconds] of stale) {
    for (const name of [use, onError]) {
      test(`${name}: ${rule}`, () => {
        const terms = (value: Terms['staleIfError']) => ({ [name]: value }) as Terms
        const rules = compileRules({ ...terms(agent), urlsExpireAfter: { 'a.com': terms(ofRule) } })
        const found = rules.termsFor(URL_OF, parseTerms(terms(own), 'with'))
        assert.equal(found[name], milliseconds)
        assert.equal(found[name === use ? onError : use], undefined)
      })
    }
  }

  test('a rule of terms about stale responses leaves the expiration as it is', () => {
    const rules = compileRules({ expireAfter: 1, urlsExpireAfter: { 'a.com': { staleIfError: true } } }) // biome-ignore format: one call
    const terms = rules.termsFor(URL_OF, none)
    assert.equal(expirationByRule(terms, { status: 200, fields: noStore }, NOW), NOW + 1)
    assert.equal(terms.staleIfError, Infinity)
  })

  test('a malformed expiration of the agent is refused at construction', () => {
    assert.throws(() => compileRules({ expireAfter: 'soon' }), {
      name: 'TypeError',
      message: /^expireAfter: .+ got 'soon'$/,
    })
  })
})
