import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { needProtection, protectFields } from '../../lib/key/fields.ts'
import { SECRET_FIELDS } from '../../lib/key/parameters.ts'
import { keySignature, keyTerms } from '../../lib/key/terms.ts'
import type { Fields } from '../../lib/rfc9111/message.ts'
import { parseTerms, type Terms } from '../../lib/terms.ts'

const SECRET = Buffer.from('a secret of the store')

function termsOf(terms: Terms) {
  return keyTerms(parseTerms(terms, 'with'))
}

function protect(fields: Fields, terms: Terms): Fields {
  return protectFields(fields, termsOf(terms), SECRET)
}

suite('By what fields requests are told apart: keyTerms', () => {
  const CREDENTIALS = ['authorization', 'cookie']

  // biome-ignore format: one rule a row
  const rows: [rule: string, terms: Terms, partitionBy: string[], matchHeaders: string[]][] = [
    ['by default by all credentials', {}, [...CREDENTIALS, ':credentials'], []],
    ['a list of one’s own takes their place', { partitionBy: ['X-A'] }, ['x-a'], []],
    ['false is none', { partitionBy: false }, [], []],
    ['secrets that may be fields are credentials', { secretParameters: ['X-A', 'cookie', 'x-api-key'] }, [...CREDENTIALS, ':credentials', 'x-a'], []],
    ['unless there is a list', { secretParameters: ['X-A'], partitionBy: ['x-b'] }, ['x-b'], []],
    ['what does not matter is none, but for its presence', { ignoredParameters: ['Cookie', 'q'] }, ['authorization', ':credentials'], [':present']],
    ['one of the others leaves the rest', { ignoredParameters: ['X-API-Key'] }, [...CREDENTIALS, ...SECRET_FIELDS.filter((name) => name !== 'x-api-key')], [':present']],
    ['what is named for it is one all the same', { ignoredParameters: ['x-a'], partitionBy: ['x-a'] }, ['x-a'], []],
    ['parameters are none', { ignoredParameters: ['utm_source'] }, [...CREDENTIALS, ':credentials'], []],
    ['fields that count are others', { matchHeaders: ['Accept'] }, [...CREDENTIALS, ':credentials'], ['accept']],
    ['what does not matter counts by its presence', { matchHeaders: ['x-a', 'x-b'], ignoredParameters: ['X-A'] }, [...CREDENTIALS, ':credentials'], ['x-b', ':present']],
    ['all fields are one', { matchHeaders: true }, [...CREDENTIALS, ':credentials'], [':fields']],
    ['all but what does not matter', { matchHeaders: true, ignoredParameters: ['x-a'] }, [...CREDENTIALS, ':credentials'], [':fields', ':present']],
  ]
  for (const [rule, terms, partitionBy, matchHeaders] of rows) {
    test(rule, () => {
      const found = termsOf(terms)
      assert.deepEqual([found.partitionBy, found.matchHeaders], [partitionBy, matchHeaders])
    })
  }

  test('without a word keys are what they are by default', () => {
    for (const terms of [{}, { partitionBy: ['a'] }, { allowedMethods: ['POST'] }]) {
      assert.equal(termsOf(terms).isDefaultKey, true)
    }
    for (const terms of [
      { ignoredParameters: [] },
      { secretParameters: false },
      { matchHeaders: [] },
      { cacheKey: () => '' },
    ] as Terms[]) {
      assert.equal(termsOf(terms).isDefaultKey, false)
    }
  })

  test('terms that lead to other keys have other signatures', () => {
    const functions = [() => 'a', () => 'a'] as const
    const all: Terms[] = [
      {},
      { ignoredParameters: ['a'] },
      { secretParameters: ['a'] },
      { matchHeaders: ['a'] },
      { partitionBy: ['a'] },
      ...functions.map((cacheKey) => ({ cacheKey })),
    ]
    const signatures = () => all.map((terms) => keySignature(parseTerms(terms, 'with')))
    assert.equal(new Set(signatures()).size, all.length)
    assert.deepEqual(signatures(), signatures())
  })
})

suite('Fields as they are compared and kept: protectFields', () => {
  test('all other credentials are one', () => {
    const one = protect({ 'x-api-key': 'a', 'x-auth-token': 'b' }, {})
    assert.match(String(one[':credentials']), /^[\da-f]{64}$/)
    assert.equal(
      one[':credentials'],
      protect({ 'x-auth-token': 'b', 'x-api-key': 'a' }, {})[':credentials'],
    )
    for (const other of [{ 'x-api-key': 'a' }, { 'x-api-key': 'b', 'x-auth-token': 'a' }]) {
      assert.notEqual(protect(other, {})[':credentials'], one[':credentials'])
    }
    assert.equal(protect({ authorization: 'a' }, {})[':credentials'], undefined)
  })

  test('what does not matter counts by its presence', () => {
    const terms: Terms = { matchHeaders: ['x-a', 'x-b'], ignoredParameters: ['x-a', 'x-b', 'x-c'] }
    assert.equal(protect({ 'x-a': '1', 'x-b': '2' }, terms)[':present'], 'x-a,x-b')
    assert.equal(protect({ 'x-b': '3', 'x-c': '1' }, terms)[':present'], 'x-b')
    assert.equal(protect({ accept: '*/*' }, terms)[':present'], undefined)
  })

  // biome-ignore format: one rule a row
  const all: [rule: string, a: Fields, b: Fields, isSame: boolean][] = [
    ['the order of fields has no meaning', { a: '1', b: '2' }, { b: '2', a: '1' }, true],
    ['white space in lists has none', { a: '1, 2' }, { a: ['1', '2'] }, true],
    ['the case of what is negotiated has none', { accept: 'Text/HTML' }, { accept: 'text/html' }, true],
    ['values have one', { a: '1' }, { a: '2' }, false],
    ['their case has', { a: 'x' }, { a: 'X' }, false],
    ['a field more has', { a: '1' }, { a: '1', b: '' }, false],
    ['credentials have', { authorization: 'a' }, { authorization: 'b' }, false],
    ['what is about the message has none', { connection: 'close', 'content-length': '1', pragma: 'no-cache' }, {}, true],
    ['conditions have none', { 'if-none-match': '"1"', range: 'bytes=0-1' }, {}, true],
    ['what does not matter has none', { ignored: '1' }, { ignored: '2' }, true],
    ['nor has one name in another’s value', { a: '1,b=2' }, { a: '1', b: '2' }, false],
  ]
  for (const [rule, a, b, isSame] of all) {
    test(`all fields in one: ${rule}`, () => {
      const terms: Terms = { matchHeaders: true, ignoredParameters: ['ignored'] }
      const [one, other] = [a, b].map((fields) => protect(fields, terms)[':fields'])
      assert.equal(one === other, isSame)
      assert.match(String(one), /^[\da-f]{64}$/)
    })
  }

  test('a field that repeats a parameter that is not told is not told either', () => {
    const hidden = [{ label: '', name: 'token', value: 'abc', raw: 'abc', isSecret: true }]
    const fields = { 'x-from': 'http://a.com/?token=abc', 'x-a': 'abc', accept: '*/*' }
    assert.equal(needProtection(fields, termsOf({}), []), false)
    assert.equal(needProtection(fields, termsOf({}), hidden), true)
    const safe = protectFields(fields, termsOf({}), SECRET, hidden)
    assert.match(String(safe['x-from']), /^[\da-f]{64}$/)
    assert.deepEqual([safe['x-a'], safe.accept], ['abc', '*/*'])
  })

  // biome-ignore format: one rule a row
  const pages: [rule: string, referer: string, terms: Terms, isHidden: boolean][] = [
    ['a secret', 'http://a.com/?b=c&Token=abc', {}, true],
    ['what does not matter', 'http://a.com/?utm_source=x', { ignoredParameters: ['utm_source'] }, true],
    ['what is neither is told', 'http://a.com/?utm_source=x&b=c', {}, false],
    ['what is no secret is told', 'http://a.com/?token=abc', { secretParameters: false }, false],
  ]
  for (const [rule, referer, terms, isHidden] of pages) {
    test(`the page that a request comes from has parameters of its own: ${rule}`, () => {
      assert.equal(needProtection({ referer }, termsOf(terms), []), isHidden)
      assert.equal(protect({ referer }, terms).referer !== referer, isHidden)
    })
  }
})
