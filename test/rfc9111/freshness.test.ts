import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  ageValue,
  currentAge,
  expirationTime,
  explicitLifetime,
  freshnessLifetime,
  hasValidator,
  heuristicLifetime,
  isHeuristicallyCacheable,
  remainingFreshness,
} from '../../lib/rfc9111/freshness.ts'
import type { Fields, StoredResponse } from '../../lib/rfc9111/message.ts'
import { NOW, stored } from '../helpers/stored.ts'

const SECOND = 1000
const HOUR = 3_600_000
const DAY = 86_400_000

function date(time: number): string {
  return new Date(time).toUTCString()
}

suite('§4.2.1 Calculating Freshness Lifetime', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, lifetime: number | undefined][] = [
    ['max-age is the lifetime', { 'cache-control': 'max-age=60' }, 60 * SECOND],
    ['max-age counts before Expires', { 'cache-control': 'max-age=60', expires: date(NOW + HOUR) }, 60 * SECOND],
    ['max-age=0 counts before Expires', { 'cache-control': 'max-age=0', expires: date(NOW + HOUR) }, 0],
    ['Expires counts from Date', { expires: date(NOW + HOUR), date: date(NOW + 10 * SECOND) }, HOUR - 10 * SECOND],
    ['Expires counts from the receipt without Date', { expires: date(NOW + HOUR) }, HOUR],
    ['Expires counts from the receipt where Date is no date', { expires: date(NOW + HOUR), date: 'today' }, HOUR],
    ['Expires counts from a Date of long ago', { expires: date(HOUR), date: date(0) }, HOUR],
    ['Expires in the past is no lifetime', { expires: date(NOW - HOUR) }, 0],
    ['Expires: 0 is stale', { expires: '0' }, 0],
    ['a malformed Expires is stale', { expires: 'tomorrow' }, 0],
    ['several Expires are stale', { expires: [date(NOW + HOUR), date(NOW + DAY)] }, 0],
    ['a malformed max-age is stale whatever Expires says', { 'cache-control': 'max-age=x', expires: date(NOW + HOUR) }, 0],
    ['s-maxage is nothing to a private cache', { 'cache-control': 's-maxage=60' }, undefined],
    ['where the fields say nothing there is no lifetime', { 'cache-control': 'public' }, undefined],
    ['Date and Last-Modified alone say nothing', { date: date(NOW), 'last-modified': date(NOW - DAY) }, undefined],
  ]
  for (const [rule, fields, lifetime] of rows) {
    test(rule, () => assert.equal(explicitLifetime(fields, NOW), lifetime))
  }

  test('a malformed lifetime never makes a response fresh', () => {
    const malformed = fc.string().filter((text) => !/^\s*("?)\d+\1\s*(,|$)/.test(text))
    fc.assert(
      fc.property(malformed, (text) => {
        const fields = { 'cache-control': `max-age=${text}`, expires: date(NOW + HOUR) }
        assert.equal(freshnessLifetime(stored(fields)), 0)
      }),
    )
  })

  test('a rule of the user decides instead of the fields', () => {
    const fields = { 'cache-control': 'max-age=60', expires: '0' }
    assert.equal(freshnessLifetime(stored(fields, { expires: NOW + HOUR })), HOUR)
    assert.equal(freshnessLifetime(stored(fields, { expires: Infinity })), Infinity)
    assert.equal(freshnessLifetime(stored(fields, { expires: NOW - HOUR })), 0)
  })

  test('what the origin asks for excludes a heuristic', () => {
    const modified = date(NOW - 10 * DAY)
    assert.equal(freshnessLifetime(stored({ 'last-modified': modified })), DAY)
    assert.equal(freshnessLifetime(stored({ 'last-modified': modified, expires: '0' })), 0)
  })
})

suite('§4.2.2 Calculating Heuristic Freshness', () => {
  const ago = (time: number): Fields => ({ 'last-modified': date(NOW - time) })

  // biome-ignore format: one rule a row
  const rows: [rule: string, response: StoredResponse, lifetime: number][] = [
    ['a tenth of the time since the modification', stored(ago(10 * DAY)), DAY],
    ['counted from Date', stored({ ...ago(10 * DAY), date: date(NOW - 5 * DAY) }), DAY / 2],
    ['at most a week', stored(ago(1000 * DAY)), 7 * DAY],
    ['none for a modification in the future', stored(ago(-DAY)), 0],
    ['none without Last-Modified', stored({}), 0],
    ['none where Last-Modified is no date', stored({ 'last-modified': 'yesterday' }), 0],
    ['also where Last-Modified is the first second', stored({ 'last-modified': date(0) }), 7 * DAY],
    ['none for a URL with a query', stored(ago(10 * DAY), { url: 'http://example.com/?q' }), 0],
    ['none for a status code that is not cacheable by default', stored(ago(10 * DAY), { status: 302 }), 0],
    ['public makes any status code cacheable', stored({ ...ago(10 * DAY), 'cache-control': 'public' }, { status: 302 }), DAY],
    ['a 404 is cacheable by default', stored(ago(10 * DAY), { status: 404 }), DAY],
  ]
  for (const [rule, response, lifetime] of rows) {
    test(rule, () => assert.equal(heuristicLifetime(response), lifetime))
  }

  test('the status codes of RFC 9110 §15.1 are heuristically cacheable', () => {
    const all = Array.from({ length: 500 }, (_, index) => 100 + index)
    assert.deepEqual(
      all.filter(isHeuristicallyCacheable),
      [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501],
    )
  })
})

suite('§4.2.3 Calculating Age', () => {
  const LATER = NOW + 10 * SECOND

  // biome-ignore format: one rule a row
  const rows: [rule: string, response: StoredResponse, age: number][] = [
    ['the time since the receipt', stored({}), 10 * SECOND],
    ['Age adds to it', stored({ age: '5' }), 15 * SECOND],
    ['the time that the answer took adds to Age', stored({ age: '5' }, { requestTime: NOW - 3 * SECOND }), 18 * SECOND],
    ['an older Date counts where it is more', stored({ age: '5', date: date(NOW - 60 * SECOND) }), 70 * SECOND],
    ['a Date of long ago is old', stored({ date: date(0) }), LATER],
    ['a Date in the future does not make it younger', stored({ date: date(NOW + 60 * SECOND) }), 10 * SECOND],
    ['a Date that is none does not count', stored({ date: 'now' }), 10 * SECOND],
    ['a clock that went back does not make it younger', stored({ age: '5' }, { requestTime: NOW + HOUR }), 15 * SECOND],
    ['where a rule decides, Age and Date play no part', stored({ age: '500', date: date(NOW - HOUR) }, { expires: NOW + HOUR }), 10 * SECOND],
  ]
  for (const [rule, response, age] of rows) {
    test(rule, () => assert.equal(currentAge(response, LATER), age))
  }

  test('age is not negative where the clock went back after the receipt', () => {
    assert.equal(currentAge(stored({}), NOW - HOUR), 0)
  })

  // biome-ignore format: one rule a row
  const ages: [rule: string, fields: Fields, age: number][] = [
    ['seconds', { age: '7' }, 7 * SECOND],
    ['the first of a list', { age: '7, 9' }, 7 * SECOND],
    ['the first of several lines', { age: ['7', '9'] }, 7 * SECOND],
    ['a malformed first member is not made good by the second', { age: 'x, 9' }, 0],
    ['negative', { age: '-7' }, 0],
    ['a fraction', { age: '7.5' }, 0],
    ['empty', { age: '' }, 0],
    ['absent', {}, 0],
  ]
  for (const [rule, fields, age] of ages) {
    test(`§5.1 Age: ${rule}`, () => assert.equal(ageValue(fields), age))
  }
})

suite('§4.2 Freshness', () => {
  const anyStored = fc
    .record({
      maxAge: fc.option(fc.nat({ max: 1000 })),
      age: fc.option(fc.nat({ max: 1000 })),
      date: fc.option(fc.integer({ min: -1000, max: 1000 })),
      delay: fc.nat({ max: 5000 }),
      expires: fc.option(fc.constantFrom(-HOUR, 0, HOUR, Infinity)),
    })
    .map(({ maxAge, age, date: seconds, delay, expires }) =>
      stored(
        {
          ...(maxAge !== null && { 'cache-control': `max-age=${maxAge}` }),
          ...(age !== null && { age: String(age) }),
          ...(seconds !== null && { date: date(NOW + seconds * SECOND) }),
        },
        { requestTime: NOW - delay, ...(expires !== null && { expires: NOW + expires }) },
      ),
    )

  test('a response is fresh until it expires, and no longer', () => {
    fc.assert(
      fc.property(anyStored, fc.nat({ max: 2 * HOUR }), (response, elapsed) => {
        const now = NOW + elapsed
        assert.equal(remainingFreshness(response, now) > 0, now < expirationTime(response))
      }),
    )
  })

  test('a response only grows older, and its freshness only less', () => {
    fc.assert(
      fc.property(anyStored, fc.nat(), fc.nat(), (response, first, more) => {
        const [earlier, later] = [NOW + first, NOW + first + more]
        assert.ok(currentAge(response, earlier) <= currentAge(response, later))
        assert.ok(remainingFreshness(response, earlier) >= remainingFreshness(response, later))
      }),
    )
  })

  test('a response that never expires has no end to its freshness', () => {
    const response = stored({}, { expires: Infinity })
    assert.equal(remainingFreshness(response, NOW + 1000 * DAY), Infinity)
    assert.equal(expirationTime(response), Infinity)
  })

  test('what the response had aged on its way is taken from its freshness', () => {
    const response = stored({ 'cache-control': 'max-age=60', age: '20' })
    assert.equal(expirationTime(response), NOW + 40 * SECOND)
    assert.equal(remainingFreshness(response, NOW + 10 * SECOND), 30 * SECOND)
    assert.equal(remainingFreshness(response, NOW + 50 * SECOND), -10 * SECOND)
  })
})

suite('RFC 9110 §8.8 Validator Fields', () => {
  test('ETag and Last-Modified are validators, and nothing else is', () => {
    assert.equal(hasValidator({ fields: { etag: '"1"' } }), true)
    assert.equal(hasValidator({ fields: { 'last-modified': date(NOW) } }), true)
    assert.equal(hasValidator({ fields: { date: date(NOW), expires: date(NOW) } }), false)
  })
})
