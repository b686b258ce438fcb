import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { type FieldTerms, needProtection, protectFields } from '../lib/key/fields.ts'
import { type Identity, identify } from '../lib/key/identity.ts'
import { keyTerms } from '../lib/key/terms.ts'
import { digest, normalisePercentEncoding, normaliseUrl } from '../lib/key.ts'
import { parseTerms, type Terms } from '../lib/terms.ts'

const SECRET = Buffer.from('a secret of the store')

/** A query with its values encoded. */
const queryOf = (pairs: [string, string][]) =>
  pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&')

function keyOf(url: string, method = 'GET', server?: string): string {
  const asked = { method, target: new URL(url), server, fields: {} }
  // It comes at once, as the secret does.
  return (identify(asked, undefined, keyTerms({}), false, () => SECRET) as Identity).cacheKey
}

suite('RFC 9110 §4.2.3 Equivalent URLs share a cache key', () => {
  // biome-ignore format: one rule a row
  const same: [rule: string, a: string, b: string][] = [
    ['parameters of different names in any order', 'http://a.com/r?foo=bar&param=1', 'http://a.com/r?param=1&foo=bar'],
    ['a trailing &', 'http://a.com/r?foo=bar&param=1', 'http://a.com/r?param=1&foo=bar&'],
    ['empty parameters', 'http://a.com/?a&&b', 'http://a.com/?&a&b'],
    ['an empty query', 'http://a.com/?', 'http://a.com/'],
    ['a parameter without a value in any order', 'http://a.com/?k=v&p1', 'http://a.com/?p1&k=v'],
    ['the case of the host', 'http://EXAMPLE.com/', 'http://example.COM/'],
    ['the case of the scheme', 'HTTP://a.com/', 'http://a.com/'],
    ['the default port of http', 'http://a.com:80/', 'http://a.com/'],
    ['the default port of https', 'https://a.com:443/', 'https://a.com/'],
    ['an empty path', 'http://a.com', 'http://a.com/'],
    ['dot segments', 'http://a.com/x/../y/./z', 'http://a.com/y/z'],
    ['encoded dot segments', 'http://a.com/x/%2E%2e/y', 'http://a.com/y'],
    ['the case of percent-encoding', 'http://a.com/%c3%a9?%c3%a9', 'http://a.com/%C3%A9?%C3%A9'],
    ['unreserved characters that are encoded in the path', 'http://a.com/%61%2Db%5F%7e', 'http://a.com/a-b_~'],
    ['unreserved characters that are encoded in the query', 'http://a.com/?%61=%31', 'http://a.com/?a=1'],
    ['letters that the URL parser encodes', 'http://a.com/é?é', 'http://a.com/%C3%A9?%C3%A9'],
    ['an international name', 'http://münchen.de/', 'http://xn--mnchen-3ya.de/'],
    ['a fragment', 'http://a.com/#x', 'http://a.com/'],
    ['the order does not depend on encoding', 'http://a.com/?%62=1&a=2', 'http://a.com/?a=2&b=1'],
  ]
  for (const [rule, a, b] of same) test(rule, () => assert.equal(keyOf(a), keyOf(b)))

  // biome-ignore format: one rule a row
  const different: [rule: string, a: string, b: string][] = [
    ['the order of values of one name', 'http://a.com/?a=1&a=2', 'http://a.com/?a=2&a=1'],
    ['also where the name is encoded', 'http://a.com/?a=1&%61=2', 'http://a.com/?a=2&%61=1'],
    ['also among others', 'http://a.com/?a=1&b=0&a=2', 'http://a.com/?a=2&b=0&a=1'],
    ['parameters without a value', 'http://a.com/?p1', 'http://a.com/?p2'],
    ['an empty value and none', 'http://a.com/?a=', 'http://a.com/?a'],
    ['a parameter more', 'http://a.com/?a=1', 'http://a.com/?a=1&b'],
    ['a parameter twice', 'http://a.com/?a=1', 'http://a.com/?a=1&a=1'],
    ['an encoded slash', 'http://a.com/a%2Fb', 'http://a.com/a/b'],
    ['an encoded &', 'http://a.com/?a=1%26b=2', 'http://a.com/?a=1&b=2'],
    ['an encoded =', 'http://a.com/?a%3D1', 'http://a.com/?a=1'],
    ['an encoded ?', 'http://a.com/a%3Fb', 'http://a.com/a?b'],
    ['an encoded %', 'http://a.com/%2541', 'http://a.com/%41'],
    ['a plus and a space', 'http://a.com/?a=b+c', 'http://a.com/?a=b%20c'],
    ['a plus and an encoded plus', 'http://a.com/?a=b+c', 'http://a.com/?a=b%2Bc'],
    ['a slash at the end', 'http://a.com/b', 'http://a.com/b/'],
    ['two slashes', 'http://a.com//b', 'http://a.com/b'],
    ['the case of the path', 'http://a.com/b', 'http://a.com/B'],
    ['the case of the query', 'http://a.com/?b', 'http://a.com/?B'],
    ['the host', 'http://a.com/', 'http://b.com/'],
    ['a port', 'http://a.com:8080/', 'http://a.com/'],
    ['the default port of the other scheme', 'http://a.com:443/', 'http://a.com/'],
    ['the scheme', 'http://a.com/', 'https://a.com/'],
    ['a comma in a list', 'http://a.com/?a=1,2', 'http://a.com/?a=2,1'],
    ['path and query', 'http://a.com/b?c', 'http://a.com/?b&c'],
  ]
  for (const [rule, a, b] of different) {
    test(`not so: ${rule}`, () => assert.notEqual(keyOf(a), keyOf(b)))
  }

  const word = fc.stringMatching(/^[A-Za-z0-9_.~-]{1,6}$/)
  const parameters = fc.uniqueArray(fc.tuple(word, fc.string()), {
    selector: ([name]) => name,
    maxLength: 6,
  })
  test('parameters of different names may come in any order', () => {
    const shuffled = parameters.chain((pairs) =>
      fc.tuple(
        fc.constant(pairs),
        fc.shuffledSubarray(pairs, { minLength: pairs.length, maxLength: pairs.length }),
      ),
    )
    fc.assert(
      fc.property(shuffled, ([pairs, others]) => {
        const [a, b] = [pairs, others].map((all) => `http://a.com/?${queryOf(all)}`)
        assert.equal(keyOf(a as string), keyOf(b as string))
      }),
    )
  })

  test('an unreserved character may be encoded or not', () => {
    const encoded = fc
      .tuple(word, fc.func(fc.boolean()))
      .map(([text, isEncoded]) => [
        text,
        [...text]
          .map((character, index) =>
            isEncoded(index) ? `%${character.charCodeAt(0).toString(16)}` : character,
          )
          .join(''),
      ])
    fc.assert(
      fc.property(encoded, ([plain, other]) => {
        const [first, second] = [plain, other].map((part) => keyOf(`http://a.com/x${part}?${part}`))
        assert.equal(first, second)
      }),
    )
  })

  test('a normalised URL is normal already, and names the same host', () => {
    fc.assert(
      fc.property(fc.webUrl({ withQueryParameters: true, withFragments: true }), (text) => {
        const url = new URL(text)
        const once = normaliseUrl(url)
        assert.equal(normaliseUrl(new URL(once)), once)
        assert.equal(new URL(once).host, url.host)
      }),
    )
  })

  test('other values of a parameter give another key', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (a, b) => {
        const keyWith = (value: string) => keyOf(`http://a.com/?${queryOf([['v', value]])}`)
        const [first, second] = [keyWith(a), keyWith(b)]
        assert.equal(first === second, a === b)
      }),
    )
  })

  test('percent-encoding that is none is left as it is', () => {
    assert.equal(normalisePercentEncoding('%zz%4%%41%e9%'), '%zz%4%A%E9%')
  })
})

suite('§2 Cache keys', () => {
  test('a key tells nothing but that it is one', () => {
    assert.match(keyOf('http://a.com/?q=secret'), /^[\da-f]{64}$/)
  })

  test('methods have keys of their own', () => {
    assert.notEqual(keyOf('http://a.com/', 'GET'), keyOf('http://a.com/', 'HEAD'))
  })

  test('so have servers other than the one that the URL names', () => {
    const url = 'http://a.com/'
    assert.notEqual(keyOf(url, 'GET', 'http://127.0.0.1:1'), keyOf(url))
    assert.notEqual(
      keyOf(url, 'GET', 'http://127.0.0.1:1'),
      keyOf(url, 'GET', 'http://127.0.0.1:2'),
    )
  })

  test('credentials in the URL are no part of the key', () => {
    assert.equal(keyOf('http://user:password@a.com/'), keyOf('http://a.com/'))
  })
})

suite('Keys by other terms', () => {
  const keyBy = (terms: Terms, url: string, content?: string, secret = SECRET) => {
    const asked = { method: 'GET', target: new URL(url), server: undefined, fields: {} }
    const bytes = content === undefined ? undefined : Buffer.from(content)
    const parsed = keyTerms(parseTerms(terms, 'with'))
    return (identify(asked, bytes, parsed, false, () => secret) as Identity).cacheKey
  }
  const OTHER = Buffer.from('the secret of another store')

  test('with nothing to ignore and no secrets they are those by default', () => {
    const url = 'http://a.com/?b=c&a=1'
    for (const terms of [
      { ignoredParameters: ['x'] },
      { secretParameters: ['y'] },
      { matchHeaders: true },
    ] as Terms[]) {
      assert.equal(keyBy(terms, url), keyOf(url))
    }
  })

  test('the secret of the store is part of those with secrets, content or a function, and of no others', () => {
    const same = (terms: Terms, url: string, content?: string) =>
      keyBy(terms, url, content) === keyBy(terms, url, content, OTHER)
    assert.equal(same({}, 'http://a.com/?a=1'), true)
    assert.equal(same({ ignoredParameters: ['a'] }, 'http://a.com/?a=1'), true)
    assert.equal(same({}, 'http://a.com/?token=1'), false)
    assert.equal(same({ secretParameters: ['a'] }, 'http://a.com/?a=1'), false)
    assert.equal(same({}, 'http://a.com/', 'content'), false)
    assert.equal(same({ cacheKey: () => 'x' }, 'http://a.com/'), false)
  })

  test('what stands for a value that does not matter is the value of no other request', () => {
    const ignoring = keyBy({ ignoredParameters: ['t'] }, 'http://a.com/?t=1')
    for (const value of ['', '<>', '%3C%3E', 'REDACTED', '1']) {
      assert.notEqual(keyBy({}, `http://a.com/?t=${value}`), ignoring)
    }
  })

  test('no value that is ignored is told by a key, and any other is', () => {
    const value = fc.string({ maxLength: 3 })
    fc.assert(
      fc.property(value, value, value, value, (a, b, c, d) => {
        const url = (x: string, y: string) =>
          `http://a.com/?${queryOf([
            ['x', x],
            ['y', y],
          ])}`
        const terms: Terms = { ignoredParameters: ['x'] }
        const [one, other] = [keyBy(terms, url(a, b)), keyBy(terms, url(c, d))]
        assert.equal(one === other, b === d)
        const [secret, another] = [
          keyBy({ secretParameters: ['x'] }, url(a, b)),
          keyBy({ secretParameters: ['x'] }, url(c, d)),
        ]
        assert.equal(secret === another, a === c && b === d)
      }),
    )
  })
})

suite('Digests', () => {
  test('the parts of a digest do not run into one another', () => {
    assert.notEqual(digest(['ab', 'c']), digest(['a', 'bc']))
    assert.notEqual(digest(['a', '']), digest(['', 'a']))
    assert.notEqual(digest(['a']), digest(['a', '']))
    assert.notEqual(digest(['1:a']), digest(['', 'a']))
    assert.notEqual(digest([]), digest(['']))
  })

  test('a digest is the same, whether its parts are texts or their bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' })), (parts) => {
        assert.equal(digest(parts), digest(parts.map((part) => Buffer.from(part))))
      }),
    )
  })

  test('only equal lists have equal digests', () => {
    const parts = fc.array(fc.string({ unit: fc.constantFrom('a', '1', ':', 'é') }))
    fc.assert(
      fc.property(parts, parts, (a, b) => {
        assert.equal(digest(a) === digest(b), JSON.stringify(a) === JSON.stringify(b))
      }),
    )
  })
})

suite('Credentials', () => {
  const fields = {
    authorization: 'Bearer token-1',
    cookie: ['a=1', 'b=2'],
    'proxy-authorization': 'Basic token-2',
    'x-api-key': 'token-3',
    'x-own-key': 'token-4',
    accept: 'text/html',
  }
  const termsOf = (partitionBy: string[]): FieldTerms => keyTerms({ partitionBy })

  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Record<string, string>, partitionBy: string[], expected: boolean][] = [
    ['Authorization', { authorization: 'x' }, [], true],
    ['Cookie', { cookie: 'x' }, [], true],
    ['Proxy-Authorization', { 'proxy-authorization': 'x' }, [], true],
    ['what is usual for keys and tokens', { 'x-api-key': 'x' }, [], true],
    ['what the user names', { 'x-own-key': 'x' }, ['x-own-key'], true],
    ['also where it is empty', { 'x-own-key': '' }, ['x-own-key'], true],
    ['nothing else', { 'x-own-key': 'x' }, [], false],
  ]
  for (const [rule, all, partitionBy, expected] of rows) {
    test(`credentials are kept in: ${rule}`, () => {
      assert.equal(needProtection(all, termsOf(partitionBy), []), expected)
    })
  }

  test('no credential is left in the fields, and all else is', () => {
    const safe = protectFields(fields, termsOf(['x-own-key']), SECRET)
    assert.deepEqual(Object.keys(safe), [...Object.keys(fields), ':credentials'])
    assert.equal(safe.accept, 'text/html')
    assert.doesNotMatch(JSON.stringify(safe), /token|a=1|b=2/)
  })

  test('credentials that the user does not partition by are protected as well', () => {
    const safe = protectFields(fields, termsOf([]), SECRET)
    assert.doesNotMatch(JSON.stringify(safe), /token-[123]|a=1/)
  })

  test('equal credentials have equal hashes, others have others', () => {
    const hash = (value: string | string[], key = SECRET) =>
      protectFields({ cookie: value }, termsOf([]), key).cookie
    assert.equal(hash('a=1'), hash('a=1'))
    assert.notEqual(hash('a=1'), hash('a=2'))
    assert.notEqual(hash('a=1'), hash('A=1'))
    assert.notEqual(hash(['a=1', 'b=2']), hash(['a=1, b=2']))
    assert.notEqual(hash('a=1'), hash('a=1', Buffer.from('the secret of another store')))
  })

  test('the fields that were given are not changed', () => {
    const before = structuredClone(fields)
    protectFields(fields, termsOf(['x-own-key']), SECRET)
    assert.deepEqual(fields, before)
  })
})
