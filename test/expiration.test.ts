import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  DO_NOT_CACHE,
  EXPIRE_IMMEDIATELY,
  expiresAt,
  type Lifetime,
  NEVER_EXPIRE,
  parseExpiration,
  parseStaleness,
} from '../lib/expiration.ts'

const SECOND = 1000
const HOUR = 3_600_000
const DAY = 86_400_000
const DATE = Date.UTC(2021, 3, 16, 21, 13)

function lasting(milliseconds: number): Lifetime {
  return { kind: 'duration', milliseconds }
}

suite('Expirations: parseExpiration', () => {
  // biome-ignore format: one rule a row
  const accepted: [value: unknown, lifetime: Lifetime][] = [
    [1500, lasting(1500)],
    [0.5, lasting(0.5)],
    [0, lasting(0)],
    [EXPIRE_IMMEDIATELY, lasting(0)],
    [-1, lasting(Infinity)],
    [Infinity, lasting(Infinity)],
    [NEVER_EXPIRE, lasting(Infinity)],
    [DO_NOT_CACHE, { kind: 'do-not-cache' }],
    ['do-not-cache', { kind: 'do-not-cache' }],
    ['500ms', lasting(500)],
    ['90s', lasting(90 * SECOND)],
    ['1h', lasting(HOUR)],
    ['1.5h', lasting(1.5 * HOUR)],
    ['.5h', lasting(HOUR / 2)],
    ['1H', lasting(HOUR)],
    ['7 days', lasting(7 * DAY)],
    ['1 week', lasting(7 * DAY)],
    ['2 Minutes', lasting(120 * SECOND)],
    [' 10 s ', lasting(10 * SECOND)],
    ['0s', lasting(0)],
    [new Date(DATE), { kind: 'until', time: DATE }],
    [new Date(0), { kind: 'until', time: 0 }],
    ['Fri, 16 Apr 2021 21:13:00 GMT', { kind: 'until', time: DATE }],
    ['Fri, 16 APR 2021 21:13:00 GMT', { kind: 'until', time: DATE }],
    ['Friday, 16-Apr-21 21:13:00 GMT', { kind: 'until', time: DATE }],
    ['Fri Apr 16 21:13:00 2021', { kind: 'until', time: DATE }],
  ]
  for (const [value, lifetime] of accepted) {
    test(`${value instanceof Date ? 'a Date' : JSON.stringify(value)} is understood`, () => {
      assert.deepEqual(parseExpiration(value, 'expireAfter'), lifetime)
    })
  }

  // biome-ignore format: one rule a row
  const refused: [name: string, value: unknown][] = [
    ['a word', 'tomorrow'],
    ['an empty text', ''],
    ['white space', ' '],
    ['a number without a unit', '60'],
    ['a fraction without a unit', '1.5'],
    ['a negative duration', '-1h'],
    ['minus one as text', '-1'],
    ['infinity as text', 'Infinity'],
    ['an unknown unit', '3 fortnights'],
    ['a unit without a number', 'h'],
    ['two numbers', '1.2.3h'],
    ['two durations', '1h 30m'],
    ['a dot', '.s'],
    ['a very long text', `${'1'.repeat(200)}s`],
    ['a name of a constant', 'NEVER_EXPIRE'],
    ['an HTTP-date in another zone', 'Fri, 16 Apr 2021 21:13:00 CET'],
    ['NaN', NaN],
    ['a negative number', -5],
    ['negative infinity', -Infinity],
    ['a big integer', 5n],
    ['an invalid Date', new Date(NaN)],
    ['an object', {}],
    ['an array', [60]],
    ['null', null],
    ['undefined', undefined],
    ['true', true],
    ['a function', () => 60],
    ['a symbol', Symbol('1h')],
  ]
  for (const [name, value] of refused) {
    test(`${name} is refused`, () => {
      assert.throws(() => parseExpiration(value, 'expireAfter'), {
        name: 'TypeError',
        message: /^expireAfter: expected a number of milliseconds .+, got /,
      })
    })
  }

  test('the refusal says which option, what it got and what is meant', () => {
    assert.throws(() => parseExpiration('60', "urlsExpireAfter['a.com']"), {
      message: /^urlsExpireAfter\['a\.com'\]: expected .+ got '60' \(say the unit, as in "60s"\)$/,
    })
    assert.throws(() => parseExpiration('tomorrow', 'x'), { message: /got 'tomorrow'$/ })
  })

  test('no text is taken for an expiration that lasts for ever', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          const lifetime = parseExpiration(text, 'x')
          assert.ok(lifetime.kind !== 'duration' || Number.isFinite(lifetime.milliseconds))
        } catch (error) {
          assert.ok(error instanceof TypeError)
        }
      }),
    )
  })

  test('the constants can be written as JSON', () => {
    const all = [NEVER_EXPIRE, EXPIRE_IMMEDIATELY, DO_NOT_CACHE]
    assert.deepEqual(JSON.parse(JSON.stringify(all)), all)
  })
})

suite('How long stale responses may be used: parseStaleness', () => {
  // biome-ignore format: one rule a row
  const accepted: [value: unknown, milliseconds: number][] = [
    [true, Infinity],
    [false, 0],
    [0, 0],
    [1500, 1500],
    [0.5, 0.5],
    [Infinity, Infinity],
    ['500ms', 500],
    ['90s', 90 * SECOND],
    ['1.5h', 1.5 * HOUR],
    ['7 days', 7 * DAY],
    [' 10 S ', 10 * SECOND],
    ['0s', 0],
  ]
  for (const [value, milliseconds] of accepted) {
    test(`${JSON.stringify(value)} is understood`, () => {
      assert.equal(parseStaleness(value, 'staleIfError'), milliseconds)
    })
  }

  // biome-ignore format: one rule a row
  const refused: [name: string, value: unknown, got: string][] = [
    ['a number without a unit', '60', "'60'"],
    ['a boolean as text', 'true', "'true'"],
    ['a word', 'always', "'always'"],
    ['an empty text', '', "''"],
    ['a negative duration', '-1h', "'-1h'"],
    ['an unknown unit', '3 fortnights', "'3 fortnights'"],
    ['two durations', '1h 30m', "'1h 30m'"],
    ['infinity as text', 'Infinity', "'Infinity'"],
    ['an HTTP-date', 'Fri, 16 Apr 2021 21:13:00 GMT', "'Fri, 16 Apr 2021 21:13:00 GMT'"],
    ['a Date', new Date(0), '1970-01-01T00:00:00.000Z'],
    ['a constant for expirations', NEVER_EXPIRE, '-1'],
    ['another one', DO_NOT_CACHE, "'do-not-cache'"],
    ['NaN', NaN, 'NaN'],
    ['a negative number', -5, '-5'],
    ['negative infinity', -Infinity, '-Infinity'],
    ['a big integer', 5n, '5n'],
    ['null', null, 'null'],
    ['undefined', undefined, 'undefined'],
    ['an object', {}, '{}'],
    ['an array', [60], '[ 60 ]'],
  ]
  for (const [name, value, got] of refused) {
    test(`${name} is refused, with what is meant and what it got`, () => {
      assert.throws(() => parseStaleness(value, "urlsExpireAfter['a.com'].staleIfError"), {
        name: 'TypeError',
        message: `urlsExpireAfter['a.com'].staleIfError: expected true, false, a number of milliseconds (0 or more) or a duration such as "90s" or "1h", got ${got}`,
      })
    })
  }

  test('no text stands for any time, and what is understood is never negative', () => {
    fc.assert(
      fc.property(fc.anything(), (value) => {
        try {
          const milliseconds = parseStaleness(value, 'x')
          assert.ok(milliseconds >= 0)
          assert.ok(typeof value !== 'string' || Number.isFinite(milliseconds))
        } catch (error) {
          assert.ok(error instanceof TypeError)
        }
      }),
    )
  })
})

suite('When a response expires: expiresAt', () => {
  const RECEIVED = Date.UTC(2026, 0)

  // biome-ignore format: one rule a row
  const rows: [rule: string, expiration: unknown, time: number][] = [
    ['a duration counts from the receipt', '1h', RECEIVED + HOUR],
    ['at once is at the receipt', EXPIRE_IMMEDIATELY, RECEIVED],
    ['never is never', NEVER_EXPIRE, Infinity],
    ['a point in time is itself', new Date(RECEIVED + 5), RECEIVED + 5],
    ['even where it is over', 'Fri, 16 Apr 2021 21:13:00 GMT', DATE],
    ['what is later than a Date can tell is never', Number.MAX_SAFE_INTEGER, Infinity],
  ]
  for (const [rule, expiration, time] of rows) {
    test(rule, () => {
      const lifetime = parseExpiration(expiration, 'x')
      assert.ok(lifetime.kind !== 'do-not-cache')
      assert.equal(expiresAt(lifetime, RECEIVED), time)
    })
  }
})
