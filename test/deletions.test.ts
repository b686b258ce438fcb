import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type ParsedQuery, parseQuery } from '../lib/query.ts'
import { Deletions } from '../lib/storage/deletions.ts'
import type { UrlMatcher } from '../lib/url-patterns.ts'

const EXPECTED = { cacheKey: 'a', method: 'GET', url: 'http://site.invalid/a' }

/** A query of responses whose URL is like a pattern. */
function queryOf(pattern: UrlMatcher): ParsedQuery {
  return parseQuery({ pattern }, 'delete', { now: 0 })
}

suite('what has been deleted since a request was sent', () => {
  test('is told by its cache key, as long as it was not before', () => {
    const deletions = new Deletions()
    deletions.add('a')
    const sent = deletions.moment()
    assert.equal(deletions.hasSince(EXPECTED, sent), false)
    deletions.add('b')
    assert.equal(deletions.hasSince(EXPECTED, sent), false)
    deletions.add('a')
    assert.equal(deletions.hasSince(EXPECTED, sent), true)
  })

  test('may be anything where it is not known any more what it was', () => {
    const [keys, queries] = [new Deletions(), new Deletions()]
    const sent = { keys: keys.moment(), queries: queries.moment() }
    for (let number = 0; number < 10_000; number++) keys.add(`${number}`)
    const other = queryOf('*/b')
    for (let number = 0; number < 1000; number++) queries.addMatching(other)
    assert.equal(keys.hasSince(EXPECTED, sent.keys), false)
    assert.equal(queries.hasSince(EXPECTED, sent.queries), false)
    keys.add('one more')
    queries.addMatching(other)
    assert.equal(keys.hasSince(EXPECTED, sent.keys), true)
    assert.equal(queries.hasSince(EXPECTED, sent.queries), true)
    assert.equal(keys.hasSince(EXPECTED, keys.moment()), false)
    assert.equal(queries.hasSince(EXPECTED, queries.moment()), false)
  })

  test('may be what a function of the user’s cannot tell', () => {
    const deletions = new Deletions()
    const sent = deletions.moment()
    const pattern = () => {
      throw new Error('cannot tell')
    }
    deletions.addMatching(queryOf(pattern))
    assert.equal(deletions.hasSince(EXPECTED, sent), true)
  })
})
