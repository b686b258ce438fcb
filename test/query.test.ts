import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { inspect } from 'node:util'
import {
  matches,
  mayMeanNew,
  type ParsedQuery,
  parseQuery,
  type ResponseQuery,
} from '../lib/query.ts'
import type { Summary } from '../lib/storage/summary.ts'
import { NOW } from './helpers/stored.ts'

const HOUR = 3_600_000

const KEY = 'a'.repeat(64)
const OTHER = 'b'.repeat(64)

/** A response that was received an hour ago and is fresh for another hour. */
const SUMMARY: Summary = {
  key: 'a head',
  cacheKey: KEY,
  generation: 'a generation',
  method: 'GET',
  url: 'https://www.example.com/static/page.html?b=2',
  status: 404,
  contentType: 'text/html',
  storedAt: NOW - HOUR,
  expires: NOW + HOUR,
  size: 1000,
  chunks: undefined,
  tags: ['news', 'sport'],
  usedAt: NOW - HOUR / 2,
}

function parse(query: ResponseQuery): ParsedQuery {
  return parseQuery(query, 'entries', {
    now: NOW,
    keysOfUrls: new Set([KEY, 'the key of HEAD']),
  })
}

suite('Queries: which stored responses are meant', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, query: ResponseQuery, isMeant: boolean, more?: Partial<Summary>][] = [
    ['nothing said means all', {}, true],
    ['what is undefined is not said', { status: undefined, tag: undefined } as object, true],
    ['the key', { key: KEY }, true],
    ['another key', { key: OTHER }, false],
    ['one of several keys', { key: [OTHER, KEY] }, true],
    ['none of no keys', { key: [] }, false],
    ['what is at a key that no response has', { key: 'secret' }, false, { cacheKey: 'secret' }],
    ['a URL, by the keys of what is stored for it', { url: 'https://example.com' }, true],
    ['a URL and a key that it does not have', { url: 'https://example.com', key: OTHER }, false],
    ['a URL and its key', { url: 'https://example.com', key: KEY }, true],
    ['a pattern', { pattern: '*.example.com/static' }, true],
    ['a pattern for another host', { pattern: 'example.com' }, false],
    ['one of several patterns', { pattern: ['example.com', /page\.html/] }, true],
    ['a function', { pattern: (url) => url.searchParams.get('b') === '2' }, true],
    ['a URL that is none is like no pattern', { pattern: '*' }, false, { url: 'REDACTED' }],
    ['the method, in any case', { method: 'get' }, true],
    ['another method', { method: ['HEAD', 'POST'] }, false],
    ['the status', { status: 404 }, true],
    ['another status', { status: 405 }, false],
    ['a class of status codes', { status: '4xx' }, true],
    ['another class', { status: ['2XX', '5xx'] }, false],
    ['one of several', { status: [200, '4xx'] }, true],
    ['the media type, in any case', { contentType: 'Text/HTML' }, true],
    ['another media type that begins like it', { contentType: 'text/htm' }, false],
    ['all media types of a kind', { contentType: 'text/*' }, true],
    ['those of another kind', { contentType: ['image/*', 'tex/*'] }, false],
    ['no media type at all', { contentType: 'text/*' }, false, { contentType: '' }],
    ['fresh', { fresh: true }, true],
    ['not fresh', { fresh: false }, false],
    ['stale', { stale: true }, false],
    ['stale, by another name', { expired: true }, false],
    ['not stale', { expired: false, stale: false, fresh: true }, true],
    ['what expires now is stale', { stale: true }, true, { expires: NOW }],
    ['what never expires is fresh', { fresh: true }, true, { expires: Infinity }],
    ['older than it is', { olderThan: HOUR }, false],
    ['not as old', { olderThan: HOUR - 1 }, true],
    ['the age as a duration', { olderThan: '59m' }, true],
    ['before a date', { olderThan: new Date(NOW - HOUR + 1) }, true],
    ['not before a date', { olderThan: new Date(NOW - HOUR) }, false],
    ['unused for so long', { unusedFor: '29m' }, true],
    ['not unused for so long', { unusedFor: '30m' }, false],
    ['nobody knows whether it is unused', { unusedFor: 0 }, false, { usedAt: undefined } as object],
    ['larger', { largerThan: 999 }, true],
    ['not empty', { largerThan: 0 }, true],
    ['not even empty', { largerThan: 0 }, false, { size: 0 }],
    ['not larger', { largerThan: '1KB' }, false],
    ['a tag', { tag: 'sport' }, true],
    ['one of several tags', { tag: ['politics', 'news'] }, true],
    ['another tag', { tag: 'new' }, false],
    ['tags are told apart by case', { tag: 'News' }, false],
    ['everything must be true', { status: 404, tag: 'news', fresh: true, pattern: 'www.example.com' }, true],
    ['one thing that is not', { status: 404, tag: 'news', stale: true }, false],
  ]
  for (const [rule, query, isMeant, more] of rows) {
    test(rule, () => {
      const summary = { ...SUMMARY, ...more }
      assert.equal(matches(summary, parse(query).conditions, NOW), isMeant)
    })
  }

  test('an order and a limit', () => {
    const { conditions, sort, descending, limit } = parse({
      sort: 'used',
      descending: true,
      limit: 3,
    })
    assert.deepEqual([conditions, sort, descending, limit], [{}, 'used', true, 3])
    assert.deepEqual(parse({}), { conditions: {}, descending: false, limit: Infinity })
  })

  // biome-ignore format: one rule a row
  const refused: [query: unknown, message: RegExp][] = [
    [{ stauts: 200 }, /^entries: unknown option "stauts"; the options are key, url, .*limit$/],
    ['https://example.com', /^entries: expected an object of options/],
    [{ key: 1 }, /^key: expected a cache key, or several, got 1$/],
    [{ key: [''] }, /^key: .* got ''$/],
    [{ url: 'no url' }, /^url: expected absolute URLs, got 'no url'$/],
    [{ url: ['https://example.com', null] }, /^url: .* got null$/],
    [{ pattern: 'http://' }, /^pattern: expected a URL pattern/],
    [{ pattern: '' }, /^pattern: expected a pattern such as "\*", got ''$/],
    [{ pattern: [1] }, /^pattern: expected a pattern, a RegExp, a URLPattern or a function, got 1$/],
    [{ method: '' }, /^method: expected a method/],
    [{ status: '404' }, /^status: expected a status code such as 404, or "4xx", got '404'$/],
    [{ status: 99 }, /^status: .* got 99$/],
    [{ status: 200.5 }, /^status: .* got 200\.5$/],
    [{ status: 'x4x' }, /^status: .* got 'x4x'$/],
    [{ contentType: 'html' }, /^contentType: expected a media type such as "text\/html" or "image\/\*", got 'html'$/],
    [{ contentType: '*/*' }, /^contentType: .* got '\*\/\*'$/],
    [{ contentType: 'text/html; charset=utf-8' }, /^contentType: /],
    [{ fresh: 'yes' }, /^fresh: expected a boolean, got 'yes'$/],
    [{ stale: 1 }, /^stale: expected a boolean, got 1$/],
    [{ fresh: true, stale: true }, /^fresh, stale and expired: no response is fresh and stale$/],
    [{ expired: false, stale: true }, /^fresh, stale and expired/],
    [{ olderThan: '7' }, /^olderThan: expected a number of milliseconds \(0 or more\) or a duration such as "90s" or "7d", got '7'$/],
    [{ olderThan: -1 }, /^olderThan: .* got -1$/],
    [{ olderThan: new Date(Number.NaN) }, /^olderThan: .* got Invalid Date$/],
    [{ unusedFor: new Date() }, /^unusedFor: /],
    [{ largerThan: 'big' }, /^largerThan: expected a number of bytes/],
    [{ tag: {} }, /^tag: expected a tag, or several, got \{\}$/],
    [{ sort: 'age' }, /^sort: expected "url" or "size" or "storedAt" or "expires" or "used", got 'age'$/],
    [{ descending: 'no' }, /^descending: expected a boolean, got 'no'$/],
    [{ limit: 0 }, /^limit: expected a whole number above 0/],
    [{ limit: '10' }, /^limit: .* got '10'$/],
    [null, /^entries: expected an object of options, got null$/],
  ]
  for (const [query, message] of refused) {
    test(`refused: ${inspect(query)}`, () => {
      assert.throws(() => parse(query as ResponseQuery), { name: 'TypeError', message })
    })
  }

  test('what is being received may be meant, unless a query says that it is old', () => {
    const may = (query: ResponseQuery) => mayMeanNew(parse(query))
    for (const query of [{}, { tag: 'news' }, { fresh: true }, { largerThan: 1 }]) {
      assert.equal(may(query), true)
    }
    for (const query of [{ stale: true }, { olderThan: 1 }, { unusedFor: 1 }, { limit: 1 }]) {
      assert.equal(may(query), false)
    }
  })
})
