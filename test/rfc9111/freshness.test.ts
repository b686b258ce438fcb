import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  ageValue,
  currentAge,
  dateValue,
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

suite('§4.2.1 Calculating Freshness Lifetime: explicitLifetime', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, lifetime: number | undefined][] = [
    ['max-age is the lifetime', { 'cache-control': 'max-age=60' }, 60 * SECOND],
    ['max-age counts before Expires', { 'cache-control': 'max-age=60', expires: date(NOW + HOUR) }, 60 * SECOND],
    ['max-age=0 counts before Expires', { 'cache-control': 'max-age=0', expires: date(NOW + HOUR) }, 0],
    ['of several max-age the first counts', { 'cache-control': ['max-age=60', 'max-age=5'] }, 60 * SECOND],
    ['Expires counts from Date', { expires: date(NOW + HOUR), date: date(NOW + 10 * SECOND) }, HOUR - 10 * SECOND],
    ['Expires counts from the receipt without Date', { expires: date(NOW + HOUR) }, HOUR],
    ['Expires counts from the receipt where Date is no date', { expires: date(NOW + HOUR), date: 'today' }, HOUR],
    ['Expires counts from a Date of long ago', { expires: date(HOUR), date: date(0) }, HOUR],
    ['Expires in the past is no lifetime', { expires: date(NOW - HOUR) }, 0],
    ['Expires that is Date is no lifetime', { expires: date(NOW), date: date(NOW) }, 0],
    ['Expires: 0 is stale', { expires: '0' }, 0],
    ['a malformed Expires is stale', { expires: 'tomorrow' }, 0],
    ['several Expires are stale', { expires: [date(NOW + HOUR), date(NOW + DAY)] }, 0],
    ['a malformed max-age is stale whatever Expires says', { 'cache-control': 'max-age=x', expires: date(NOW + HOUR) }, 0],
    ['where the fields say nothing there is no lifetime', { 'cache-control': 'public' }, undefined],
    ['Date and Last-Modified alone say nothing', { date: date(NOW), 'last-modified': date(NOW - DAY) }, undefined],
  ]
  for (const [rule, fields, lifetime] of rows) {
    test(rule, () => assert.equal(explicitLifetime({ fields }, NOW), lifetime))
    test(`${rule}, also to a shared cache`, () => {
      assert.equal(explicitLifetime({ fields, shared: true }, NOW), lifetime)
    })
  }

  const anHour = { expires: date(NOW + HOUR) }
  // biome-ignore format: one rule a row
  const ofCaches: [rule: string, fields: Fields, ofPrivate: number | undefined, ofShared: number | undefined][] = [
    ['§5.2.2.10: s-maxage is for shared caches', { 'cache-control': 's-maxage=60' }, undefined, 60 * SECOND],
    ['§5.2.2.10: s-maxage counts before max-age', { 'cache-control': 's-maxage=60, max-age=5' }, 5 * SECOND, 60 * SECOND],
    ['§5.2.2.10: also where it comes after it', { 'cache-control': 'max-age=60, s-maxage=5' }, 60 * SECOND, 5 * SECOND],
    ['§5.2.2.10: also where it is 0', { 'cache-control': 'max-age=60, s-maxage=0' }, 60 * SECOND, 0],
    ['§5.2.2.10: a malformed one is stale', { 'cache-control': 'max-age=60, s-maxage=x' }, 60 * SECOND, 0],
    ['§5.2.2.10: s-maxage counts before Expires', { 'cache-control': 's-maxage=60', ...anHour }, HOUR, 60 * SECOND],
    ['§5.2.2.10: all three', { 'cache-control': 'max-age=5, s-maxage=60', ...anHour }, 5 * SECOND, 60 * SECOND],

    ['RFC 9213 §2.2: the targeted field counts before Cache-Control', { 'cdn-cache-control': 'max-age=60', 'cache-control': 'max-age=5' }, 5 * SECOND, 60 * SECOND],
    ['RFC 9213 §2.2: even before s-maxage there', { 'cdn-cache-control': 'max-age=60', 'cache-control': 's-maxage=5' }, undefined, 60 * SECOND],
    ['RFC 9213 §2.2: the targeted field counts before Expires', { 'cdn-cache-control': 'max-age=60', ...anHour }, HOUR, 60 * SECOND],
    ['RFC 9213 §2.2: where it says no lifetime, Expires does not either', { 'cdn-cache-control': 'public', ...anHour }, HOUR, undefined],
    ['RFC 9213 §2.2: nor does max-age', { 'cdn-cache-control': 'public', 'cache-control': 'max-age=60' }, 60 * SECOND, undefined],
    ['RFC 9213 §2.1: it has the directives of Cache-Control', { 'cdn-cache-control': 'max-age=5, s-maxage=60' }, undefined, 60 * SECOND],
    ['RFC 9213 §2.1: an empty one does not count', { 'cdn-cache-control': '', 'cache-control': 'max-age=60' }, 60 * SECOND, 60 * SECOND],
    ['RFC 9213 §2.1: nor one that is not well-formed', { 'cdn-cache-control': 'max-age=5,', 'cache-control': 'max-age=60' }, 60 * SECOND, 60 * SECOND],
    ['RFC 9213 §2.1: then Expires counts', { 'cdn-cache-control': 'max-age', ...anHour }, HOUR, HOUR],
    ['RFC 9213 §2.1: other targeted fields are for others', { 'other-cache-control': 'max-age=5', 'cache-control': 'max-age=60' }, 60 * SECOND, 60 * SECOND],
  ]
  for (const [rule, fields, ofPrivate, ofShared] of ofCaches) {
    test(rule, () => {
      assert.equal(explicitLifetime({ fields, shared: true }, NOW), ofShared)
      assert.equal(explicitLifetime({ fields, shared: false }, NOW), ofPrivate)
      assert.equal(explicitLifetime({ fields }, NOW), ofPrivate)
    })
  }

  const directives = fc
    .uniqueArray(fc.constantFrom('max-age=5', 'max-age=60', 's-maxage=5', 's-maxage=60', 'public', 'no-cache')) // biome-ignore format: one list
    .map((all) => all.join(', '))
  const expires = fc.option(fc.constantFrom('0', date(NOW - HOUR), date(NOW + HOUR)))

  test('RFC 9213 §2.2: where there is a targeted field, a shared cache does not look at any other', () => {
    const targeted = fc.constantFrom('max-age=7', 's-maxage=7', 'public', 'no-cache="x"', 'unknown')
    fc.assert(
      fc.property(targeted, directives, expires, (value, cacheControl, time) => {
        const fields = { 'cdn-cache-control': value }
        const more = { ...fields, 'cache-control': cacheControl, ...(time && { expires: time }) }
        assert.equal(
          explicitLifetime({ fields: more, shared: true }, NOW),
          explicitLifetime({ fields, shared: true }, NOW),
        )
      }),
    )
  })

  test('what is for shared caches changes nothing for a private one', () => {
    fc.assert(
      fc.property(directives, expires, (cacheControl, time) => {
        const fields = { 'cache-control': cacheControl, ...(time && { expires: time }) }
        const more = { ...fields, 'cache-control': `s-maxage=7, ${cacheControl}`, 'cdn-cache-control': 'max-age=7' } // biome-ignore format: one response a line
        assert.equal(explicitLifetime({ fields: more }, NOW), explicitLifetime({ fields }, NOW))
      }),
    )
  })
})

suite('§4.2.1 Calculating Freshness Lifetime: freshnessLifetime', () => {
  const modified = { 'last-modified': date(NOW - 10 * DAY) }

  // biome-ignore format: one rule a row
  const rows: [rule: string, response: StoredResponse, lifetime: number][] = [
    ['the lifetime that the origin asks for', stored({ 'cache-control': 'max-age=60' }), 60 * SECOND],
    ['for a shared cache the one that is meant for it', stored({ 'cache-control': 'max-age=60, s-maxage=5' }, { shared: true }), 5 * SECOND],
    ['a heuristic where the origin asks for none', stored(modified), DAY],
    ['what the origin asks for excludes a heuristic', stored({ ...modified, expires: '0' }), 0],
    ['even where it cannot be understood', stored({ ...modified, 'cache-control': 'max-age=x' }), 0],
    ['neither is no lifetime', stored({}), 0],
    ['s-maxage does not exclude a heuristic in a private cache', stored({ ...modified, 'cache-control': 's-maxage=5' }), DAY],
    ['RFC 9213: Expires does not where a targeted field counts', stored({ ...modified, 'cdn-cache-control': 'public', expires: '0' }, { shared: true }), DAY],
    ['a rule of the user decides instead of the fields', stored({ 'cache-control': 'max-age=60', expires: '0' }, { expires: NOW + HOUR }), HOUR],
    ['also for ever', stored({ 'cache-control': 'max-age=60' }, { expires: Infinity }), Infinity],
    ['also that it has expired', stored({ 'cache-control': 'max-age=60' }, { expires: NOW - HOUR }), 0],
    ['also in a shared cache', stored({ 'cdn-cache-control': 'max-age=60' }, { expires: NOW + HOUR, shared: true }), HOUR],
    ['a ceiling of the user limits what the origin asks for', stored({ 'cache-control': 'max-age=60' }, { maxLifetime: 5000 }), 5 * SECOND],
    ['and a heuristic', stored(modified, { maxLifetime: 5000 }), 5 * SECOND],
    ['and adds nothing', stored({ 'cache-control': 'max-age=60' }, { maxLifetime: HOUR }), 60 * SECOND],
    ['it may be nothing', stored({ 'cache-control': 'max-age=60' }, { maxLifetime: 0 }), 0],
  ]
  for (const [rule, response, lifetime] of rows) {
    test(rule, () => assert.equal(freshnessLifetime(response), lifetime))
  }

  test('a malformed lifetime never makes a response fresh', () => {
    const malformed = fc.string().filter((text) => !/^\s*("?)\d+\1\s*(,|$)/.test(text))
    fc.assert(
      fc.property(malformed, fc.boolean(), (text, shared) => {
        const directive = shared ? 's-maxage' : 'max-age'
        const fields = { 'cache-control': `${directive}=${text}`, expires: date(NOW + HOUR) }
        assert.equal(freshnessLifetime(stored(fields, { shared })), 0)
      }),
    )
  })
})

suite('§4.2.2 Calculating Heuristic Freshness: heuristicLifetime', () => {
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
    ['RFC 9213: public of a targeted field does for a shared cache', stored({ ...ago(10 * DAY), 'cdn-cache-control': 'public' }, { status: 302, shared: true }), DAY],
    ['and not for a private one', stored({ ...ago(10 * DAY), 'cdn-cache-control': 'public' }, { status: 302 }), 0],
  ]
  for (const [rule, response, lifetime] of rows) {
    test(rule, () => assert.equal(heuristicLifetime(response), lifetime))
  }

  test('isHeuristicallyCacheable: the status codes of RFC 9110 §15.1 are', () => {
    const all = Array.from({ length: 500 }, (_, index) => 100 + index)
    assert.deepEqual(
      all.filter(isHeuristicallyCacheable),
      [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501],
    )
  })
})

suite('§4.2.3 Calculating Age: currentAge', () => {
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
    ['Age counts from before the answer, Date from its receipt', stored({ age: '5', date: date(NOW - 6 * SECOND) }, { requestTime: NOW - 3 * SECOND }), 18 * SECOND],
    ['where a rule decides, Age and Date play no part', stored({ age: '500', date: date(NOW - HOUR) }, { expires: NOW + HOUR }), 10 * SECOND],
  ]
  for (const [rule, response, age] of rows) {
    test(rule, () => assert.equal(currentAge(response, LATER), age))
  }

  test('age is not negative where the clock went back after the receipt', () => {
    assert.equal(currentAge(stored({}), NOW - HOUR), 0)
  })
})

suite('§5.1 Age: ageValue', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, age: number][] = [
    ['seconds', { age: '7' }, 7 * SECOND],
    ['the first of a list', { age: '7, 9' }, 7 * SECOND],
    ['the first of several lines', { age: ['7', '9'] }, 7 * SECOND],
    ['a malformed first member is not made good by the second', { age: 'x, 9' }, 0],
    ['more than 2^31 seconds are 2^31', { age: '99999999999' }, 2 ** 31 * SECOND],
    ['negative', { age: '-7' }, 0],
    ['a fraction', { age: '7.5' }, 0],
    ['empty', { age: '' }, 0],
    ['absent', {}, 0],
  ]
  for (const [rule, fields, age] of rows) {
    test(rule, () => assert.equal(ageValue(fields), age))
  }
})

suite('RFC 9110 §6.6.1 Date: dateValue', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, time: number][] = [
    ['the date', { date: date(NOW - HOUR) }, NOW - HOUR],
    ['a date in the future', { date: date(NOW + HOUR) }, NOW + HOUR],
    ['the first second', { date: date(0) }, 0],
    ['an obsolete format', { date: 'Friday, 16-Apr-21 21:13:00 GMT' }, Date.UTC(2021, 3, 16, 21, 13)],
    ['the time of receipt where there is none', {}, NOW],
    ['the time of receipt where it is no date', { date: 'today' }, NOW],
    ['the time of receipt where there are several', { date: [date(0), date(0)] }, NOW],
  ]
  for (const [rule, fields, time] of rows) {
    test(rule, () => assert.equal(dateValue(fields, NOW), time))
  }
})

suite('§4.2 Freshness: remainingFreshness and expirationTime', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, response: StoredResponse, seconds: number, remaining: number, expires: number][] = [
    ['what is left of the lifetime', stored({ 'cache-control': 'max-age=60' }), 10, 50 * SECOND, NOW + 60 * SECOND],
    ['nothing at its end', stored({ 'cache-control': 'max-age=60' }), 60, 0, NOW + 60 * SECOND],
    ['less than nothing after it', stored({ 'cache-control': 'max-age=60' }), 70, -10 * SECOND, NOW + 60 * SECOND],
    ['what it had aged on its way is taken from it', stored({ 'cache-control': 'max-age=60', age: '20' }), 10, 30 * SECOND, NOW + 40 * SECOND],
    ['also where that is more than all', stored({ 'cache-control': 'max-age=60', age: '80' }), 0, -20 * SECOND, NOW - 20 * SECOND],
    ['what is never fresh has been stale since it came', stored({}), 10, -10 * SECOND, NOW],
    ['s-maxage counts for a shared cache', stored({ 'cache-control': 'max-age=60, s-maxage=5' }, { shared: true }), 1, 4 * SECOND, NOW + 5 * SECOND],
    ['a rule of the user does', stored({ 'cache-control': 'max-age=60', age: '20' }, { expires: NOW + HOUR }), 60, HOUR - 60 * SECOND, NOW + HOUR],
    ['a rule of the user does, after it as well', stored({}, { expires: NOW - HOUR }), 0, 0, NOW - HOUR],
    ['what never expires stays fresh', stored({ age: '20' }, { expires: Infinity }), 1e9, Infinity, Infinity],
  ]
  for (const [rule, response, seconds, remaining, expires] of rows) {
    test(rule, () => {
      assert.equal(remainingFreshness(response, NOW + seconds * SECOND), remaining)
      assert.equal(expirationTime(response), expires)
    })
  }

  const anyStored = fc
    .record({
      maxAge: fc.option(fc.nat({ max: 1000 })),
      sMaxAge: fc.option(fc.nat({ max: 1000 })),
      shared: fc.boolean(),
      age: fc.option(fc.nat({ max: 1000 })),
      date: fc.option(fc.integer({ min: -1000, max: 1000 })),
      delay: fc.nat({ max: 5000 }),
      expires: fc.option(fc.constantFrom(-HOUR, 0, HOUR, Infinity)),
    })
    .map(({ maxAge, sMaxAge, shared, age, date: seconds, delay, expires }) =>
      stored(
        {
          ...(maxAge !== null && { 'cache-control': `max-age=${maxAge}` }),
          ...(sMaxAge !== null && { 'cdn-cache-control': `s-maxage=${sMaxAge}` }),
          ...(age !== null && { age: String(age) }),
          ...(seconds !== null && { date: date(NOW + seconds * SECOND) }),
        },
        { shared, requestTime: NOW - delay, ...(expires !== null && { expires: NOW + expires }) },
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

  test('no response is younger than its time in the cache', () => {
    fc.assert(
      fc.property(anyStored, fc.nat(), (response, elapsed) => {
        assert.ok(currentAge(response, NOW + elapsed) >= elapsed)
      }),
    )
  })
})

suite('RFC 9110 §8.8 Validator Fields: hasValidator', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, has: boolean][] = [
    ['ETag is one', { etag: '"1"' }, true],
    ['a weak one is one', { etag: 'W/"1"' }, true],
    ['Last-Modified is one', { 'last-modified': date(NOW) }, true],
    ['Date and Expires are none', { date: date(NOW), expires: date(NOW) }, false],
    ['no field is none', {}, false],
  ]
  for (const [rule, fields, has] of rows) {
    test(rule, () => assert.equal(hasValidator({ fields }), has))
  }
})
