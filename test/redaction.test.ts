import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  type HiddenValue,
  HiddenValues,
  hideValues,
  redactFields,
  redactQuery,
  revealValues,
} from '../lib/redaction.ts'
import type { Fields } from '../lib/rfc9111/message.ts'

const isHidden = (name: string) => name === 'token'

/** A secret of the query, as it is written there. */
function hidden(value: string, isSecret = true): readonly HiddenValue[] {
  const values = new HiddenValues()
  values.add('query', 'token', decodeURIComponent(value), isSecret, value)
  return values.all
}

suite('URLs as they are told: redactQuery', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, url: string, told: string][] = [
    ['a secret is not told', 'http://a.com/x?token=abc', 'http://a.com/x?token=REDACTED'],
    ['each of its values', 'http://a.com/?token=a&b=c&token=d', 'http://a.com/?token=REDACTED&b=c&token=REDACTED'],
    ['nothing else is changed', 'http://a.com:81/?z=%41&token=&a', 'http://a.com:81/?z=%41&token=REDACTED&a'],
    ['a parameter without a value has none', 'http://a.com/?token&a=b', 'http://a.com/?token&a=b'],
    ['a value may have an equals sign', 'http://a.com/?token=a=b', 'http://a.com/?token=REDACTED'],
    ['no query', 'http://a.com/token=abc', 'http://a.com/token=abc'],
  ]
  for (const [rule, url, told] of rows) {
    test(rule, () => assert.equal(redactQuery(url, isHidden), told))
  }
})

suite('Fields as they are stored: hideValues and revealValues', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, value: string, fields: Fields, told: Fields][] = [
    ['in a URL', 'abc', { location: '/x?token=abc&b=c' }, { location: '/x?token=REDACTED&b=c' }],
    ['at its end', 'abc', { location: '/x?b=c&token=abc' }, { location: '/x?b=c&token=REDACTED' }],
    ['in links', 'abc', { link: '</x?token=abc>; rel=next, </y?token=abc>; rel=last' }, { link: '</x?token=REDACTED>; rel=next, </y?token=REDACTED>; rel=last' }],
    ['anywhere, if it is not too short', 'abcd', { 'x-echo': 'got abcd!' }, { 'x-echo': 'got REDACTED!' }],
    ['not if it is', 'abc', { 'x-echo': 'got abc!' }, { 'x-echo': 'got abc!' }],
    ['not as part of another word', 'abcd', { 'x-echo': 'abcde xabcd' }, { 'x-echo': 'abcde xabcd' }],
    ['not as part of another value', 'abc', { location: '/x?token=abcd' }, { location: '/x?token=abcd' }],
    ['as it was written', 'a%2Fb%2fc', { location: '/x?token=a%2Fb%2fc' }, { location: '/x?token=REDACTED' }],
    ['as it is meant', 'a%2Fb%2fc', { 'x-echo': 'a/b/c' }, { 'x-echo': 'REDACTED' }],
    ['as it might have been written', 'a/b%20c', { location: '/x?token=a%2Fb+c', link: '</?a%2Fb%20c>' }, { location: '/x?token=REDACTED', link: '</?REDACTED>' }],
    ['in each line of a field', 'abcd', { 'set-cookie': ['a=abcd', 'b=c'] }, { 'set-cookie': ['a=REDACTED', 'b=c'] }],
    ['whatever it is made of', '.*+?^$()|[]\\/-', { 'x-echo': '<.*+?^$()|[]\\/->' }, { 'x-echo': '<REDACTED>' }],
    ['not in what the cache reads', 'no-store', { 'cache-control': 'no-store', etag: '"no-store"' }, { 'cache-control': 'no-store', etag: '"no-store"' }],
    ['nothing at all', '', { location: '/?token=' }, { location: '/?token=' }],
  ]
  for (const [rule, value, fields, told] of rows) {
    test(rule, () => {
      const kept = hideValues(fields, hidden(value))
      assert.deepEqual(redactFields(kept), told)
      assert.deepEqual(revealValues(kept, hidden(value)), fields)
    })
  }

  test('what does not matter is recognised where it can hardly be anything else', () => {
    const fields = { location: '/?token=2024', 'x-a': '2024', 'x-b': '2024-01-02' }
    assert.deepEqual(redactFields(hideValues(fields, hidden('2024', false))), {
      ...fields,
      location: '/?token=REDACTED',
    })
    assert.equal(redactFields(hideValues(fields, hidden('2024-01-02', false)))['x-b'], 'REDACTED')
  })

  test('another request is told its own values', () => {
    const kept = hideValues({ location: '/?token=abc', 'x-echo': 'a b' }, hidden('abc', false))
    const revealed = revealValues(kept, hidden('x%20y', false))
    assert.deepEqual(revealed, { location: '/?token=x%20y', 'x-echo': 'a b' })
  })

  test('and nothing, if it has none', () => {
    const kept = hideValues({ location: '/?token=abc' }, hidden('abc'))
    assert.equal(revealValues(kept, []), undefined)
    const other = new HiddenValues()
    other.add('field', 'token', 'abc', true)
    assert.equal(revealValues(kept, other.all), undefined)
  })

  test('of two values one of which begins like the other the right one is hidden', () => {
    const values = new HiddenValues()
    values.add('field', 'authorization', 'Bearer', true)
    values.add('field', 'authorization', 'Bearer abc', true)
    values.add('query', 'token', 'raw', true)
    const fields = { 'x-echo': 'Bearer abc', 'x-other': 'Bearer', location: '/?token=raw' }
    const kept = hideValues(fields, values.all)
    assert.equal(redactFields(kept)['x-echo'], 'REDACTED')
    assert.deepEqual(revealValues(kept, values.all), fields)
  })

  test('where nothing is hidden the fields stay the same', () => {
    const fields = { location: '/' }
    assert.equal(hideValues(fields, []), fields)
    assert.equal(hideValues(fields, hidden('abcd')), fields)
    assert.equal(revealValues(fields, []), fields)
    assert.equal(redactFields(fields), fields)
  })

  test('what is hidden is not there, and comes back as it was', () => {
    const text = fc.string({ unit: fc.constantFrom(...'ab%=&/ ;é\u00ff'), maxLength: 12 })
    const secret = fc.string({ unit: fc.constantFrom(...'abc+/= é'), minLength: 4, maxLength: 8 })
    fc.assert(
      fc.property(text, text, secret, fc.array(secret, { maxLength: 3 }), (a, b, one, others) => {
        const values = new HiddenValues()
        for (const value of [one, ...others]) values.add('query', 'token', value, true)
        const latin1 = Buffer.from(one).toString('latin1')
        const fields = {
          'x-a': `${a} ${latin1} ${b}`,
          location: `/?token=${encodeURIComponent(one)}&${b}`,
        }
        const kept = hideValues(fields, values.all)
        assert.deepEqual(revealValues(kept, values.all), fields)
        assert.notDeepEqual(kept, fields)
      }),
    )
  })

  test('a request with very many values is not searched for all of them', () => {
    const values = new HiddenValues()
    for (let number = 0; number < 100_000; number += 1)
      values.add('content', 'id', `value-${number}`, false)
    assert.equal(values.all.length, 100)
    assert.equal(new Set(values.all.map(({ label }) => label)).size, 100)
  })
})
