import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  CREDENTIALS,
  fieldValue,
  isToken,
  listMembers,
  parseDeltaSeconds,
  parseHttpDate,
  withoutFields,
} from '../../lib/rfc9111/fields.ts'
import type { Fields } from '../../lib/rfc9111/message.ts'

const NOW = Date.UTC(2026, 5, 15, 12)

suite('RFC 9110 §5.3 Field Order: fieldValue', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, value: string | undefined][] = [
    ['the value of one line is that line', { vary: 'Accept' }, 'Accept'],
    ['the lines of a field are one value, combined with commas', { vary: ['Accept', 'Origin'] }, 'Accept, Origin'],
    ['in the order in which they came', { vary: ['b', 'a', 'b'] }, 'b, a, b'],
    ['one line of several is that line', { vary: ['Accept'] }, 'Accept'],
    ['an empty line is a value', { vary: '' }, ''],
    ['a field that was not sent has none', { accept: 'a/b' }, undefined],
  ]
  for (const [rule, fields, value] of rows) {
    test(rule, () => assert.equal(fieldValue(fields, 'vary'), value))
  }

  test('a field that was not sent is absent, even where every object has a property of its name', () => {
    for (const name of ['constructor', 'tostring', 'toString', '__proto__', 'valueOf']) {
      assert.equal(fieldValue({}, name), undefined)
    }
  })
})

suite('Fields without some of them: withoutFields', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, names: string[], left: Fields][] = [
    ['those that are named are gone', { a: '1', b: '2', c: '3' }, ['a', 'c'], { b: '2' }],
    ['with all their lines', { a: ['1', '2'], b: ['3', '4'] }, ['a'], { b: ['3', '4'] }],
    ['without names all are left', { a: '1', b: ['2'] }, [], { a: '1', b: ['2'] }],
    ['names of others do not matter', { a: '1' }, ['b', 'constructor'], { a: '1' }],
    ['a name is more than a part of one', { 'set-cookie': '1' }, ['cookie', 'set', 'set-cookie2'], { 'set-cookie': '1' }],
    ['credentials are among them by name', { authorization: '1', cookie: '2', 'proxy-authorization': '3', accept: '4' }, [...CREDENTIALS], { accept: '4' }],
  ]
  for (const [rule, fields, names, left] of rows) {
    test(rule, () => assert.deepEqual(withoutFields(fields, names), left))
  }

  test('what is left is what is not named, in its order, and the message is as it was', () => {
    const name: fc.Arbitrary<string> = fc.constantFrom('a', 'b', 'c', '__proto__', 'constructor')
    const value = fc.oneof(fc.string(), fc.array(fc.string()))
    fc.assert(
      fc.property(fc.dictionary(name, value), fc.array(name), (fields, names) => {
        const before = JSON.stringify(fields)
        assert.deepEqual(
          Object.entries(withoutFields(fields, names)),
          Object.entries(fields).filter(([field]) => !names.includes(field)),
        )
        assert.equal(JSON.stringify(fields), before)
      }),
    )
  })
})

suite('RFC 9110 §5.6.1 Lists: listMembers', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, value: string, members: string[]][] = [
    ['white space around members is no part of them', ' a ,\tb ', ['a', 'b']],
    ['empty members do not count', ',a,, ,b,', ['a', 'b']],
    ['an empty value has no members', '', []],
    ['a comma in a quoted string does not separate', 'a="x, y", b', ['a="x, y"', 'b']],
    ['an escaped quote does not end a quoted string', 'a="x\\", y", b', ['a="x\\", y"', 'b']],
    ['a quote that is never closed quotes nothing, and hides nothing', 'a, b="x, y', ['a', 'b="x', 'y']],
    ['nor does an escaped one close it', 'b="x, y\\", z', ['b="x', 'y\\"', 'z']],
    ['a backslash at the very end loses nothing', 'a, b="x\\', ['a', 'b="x\\']],
    ['a backslash outside of quotes is nothing special', 'a\\, b', ['a\\', 'b']],
  ]
  for (const [rule, value, members] of rows) {
    test(rule, () => assert.deepEqual(listMembers(value), members))
  }

  test('a list made of tokens is taken apart into them', () => {
    const token = fc.stringMatching(/^[a-z0-9!#$%&'*+.^_`|~-]+$/)
    fc.assert(
      fc.property(fc.array(token), (tokens) => {
        assert.deepEqual(listMembers(tokens.join(', ')), tokens)
      }),
    )
  })

  test('whatever the value, only commas and white space are lost', () => {
    const characters = fc.string({ unit: fc.constantFrom('a', ' ', ',', '"', '\\', '=') })
    const essence = (text: string) => text.replace(/[\s,]/g, '')
    fc.assert(
      fc.property(characters, (value) => {
        assert.equal(essence(listMembers(value).join()), essence(value))
      }),
    )
  })
})

suite('RFC 9110 §5.6.2 Tokens: isToken', () => {
  // biome-ignore format: one rule a row
  const rows: [text: string, isToken: boolean][] = [
    ['set-cookie', true],
    ['X', true],
    ['0', true],
    ["!#$%&'*+-.^_`|~", true],
    ['*', true],
    ['', false],
    [' ', false],
    ['a b', false],
    [' a', false],
    ['a\n', false],
    ['a\t', false],
    ['a,b', false],
    ['"a"', false],
    ['a=b', false],
    ['a:b', false],
    ['a/b', false],
    ['a;b', false],
    ['(a)', false],
    ['<a>', false],
    ['[a]', false],
    ['{a}', false],
    ['a@b', false],
    ['a?', false],
    ['a\\', false],
    ['\0', false],
    ['\x7F', false],
    ['ä', false],
    ['٣', false],
  ]
  for (const [text, expected] of rows) {
    test(`${JSON.stringify(text)}: ${expected}`, () => assert.equal(isToken(text), expected))
  }

  test('of all characters these are those of tokens', () => {
    const all = Array.from({ length: 0x250 }, (_, code) => String.fromCharCode(code))
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
    const expected = [...`!#$%&'*+-.^_\`|~0123456789${letters}`].toSorted()
    assert.deepEqual(all.filter(isToken), expected)
    assert.deepEqual(
      expected,
      all.filter((character) => isToken(`a${character}`)),
    )
  })
})

suite('§1.2.2 Delta Seconds: parseDeltaSeconds', () => {
  // biome-ignore format: one rule a row
  const rows: [value: string, milliseconds: number | undefined][] = [
    ['0', 0],
    ['60', 60_000],
    ['007', 7_000],
    ['2147483648', 2_147_483_648_000],
    ['99999999999999999999', 2_147_483_648_000],
    ['', undefined],
    ['-1', undefined],
    ['+1', undefined],
    ['1.5', undefined],
    ['1e3', undefined],
    ['0x10', undefined],
    [' 1', undefined],
    ['1\n', undefined],
    ['٣', undefined],
    ['soon', undefined],
  ]
  for (const [value, milliseconds] of rows) {
    test(`${JSON.stringify(value)} is ${milliseconds ?? 'no number of seconds'}`, () => {
      assert.equal(parseDeltaSeconds(value), milliseconds)
    })
  }
})

suite('RFC 9110 §5.6.7 Date/Time Formats: parseHttpDate', () => {
  const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']

  function imfFixdate(time: number): string {
    return new Date(time).toUTCString()
  }

  function rfc850(time: number): string {
    const [, day, month, year, clock] = imfFixdate(time).split(' ') as [string, ...string[]]
    const weekday = DAYS[new Date(time).getUTCDay()]
    return `${weekday}, ${day}-${month}-${year?.slice(2)} ${clock} GMT`
  }

  function asctime(time: number): string {
    const [weekday, day, month, year, clock] = imfFixdate(time).split(' ') as [string, ...string[]]
    const padded = String(Number(day)).padStart(2)
    return `${weekday.slice(0, 3)} ${month} ${padded} ${clock} ${year}`
  }

  function seconds(from: number, to: number): fc.Arbitrary<number> {
    return fc.integer({ min: from / 1000, max: to / 1000 }).map((second) => second * 1000)
  }

  const anyTime = seconds(Date.parse('0001-01-01T00:00:00Z'), Date.parse('9999-12-31T23:59:59Z'))
  const YEAR = 365.25 * 86_400_000

  test('an IMF-fixdate is the time that Date makes of it', () => {
    fc.assert(
      fc.property(anyTime, (time) => assert.equal(parseHttpDate(imfFixdate(time), NOW), time)),
    )
  })

  test('a date in asctime format is the time that Date makes of it', () => {
    fc.assert(fc.property(anyTime, (time) => assert.equal(parseHttpDate(asctime(time), NOW), time)))
  })

  test('a date in RFC 850 format is the time within fifty years that Date makes of it', () => {
    const near = seconds(Date.UTC(1980, 0), Date.UTC(2070, 0))
    fc.assert(fc.property(near, (time) => assert.equal(parseHttpDate(rfc850(time), NOW), time)))
  })

  test('a two-digit year that would be more than fifty years in the future is in the past', () => {
    const time = Date.UTC(1994, 10, 6, 8, 49, 37)
    assert.equal(parseHttpDate('Sunday, 06-Nov-94 08:49:37 GMT', time), time)
    assert.equal(parseHttpDate('Sunday, 06-Nov-94 08:49:37 GMT', NOW), time)
    const later = Date.UTC(2094, 10, 6, 8, 49, 37)
    assert.equal(parseHttpDate('Sunday, 06-Nov-94 08:49:37 GMT', later - 49 * YEAR), later)
  })

  // biome-ignore format: one rule a row
  const rows: [rule: string, value: string, time: string | undefined][] = [
    ['the first second is a time like any other', 'Thu, 01 Jan 1970 00:00:00 GMT', '1970-01-01T00:00:00Z'],
    ['case does not matter', 'fri, 16 APR 2021 21:13:00 gmt', '2021-04-16T21:13:00Z'],
    ['a leap second is the second after it', 'Sat, 31 Dec 2016 23:59:60 GMT', '2017-01-01T00:00:00Z'],
    ['the day of the week is not checked', 'Mon, 16 Apr 2021 21:13:00 GMT', '2021-04-16T21:13:00Z'],
    ['another zone than GMT is no HTTP-date', 'Fri, 16 Apr 2021 21:13:00 UTC', undefined],
    ['an offset is no HTTP-date', 'Fri, 16 Apr 2021 21:13:00 +0000', undefined],
    ['an ISO date is no HTTP-date', '2021-04-16T21:13:00Z', undefined],
    ['a number is no HTTP-date', '0', undefined],
    ['nothing is no HTTP-date', '', undefined],
    ['there is no day 0', 'Fri, 00 Apr 2021 21:13:00 GMT', undefined],
    ['there is no day 32', 'Fri, 32 Apr 2021 21:13:00 GMT', undefined],
    ['there is no hour 24', 'Fri, 16 Apr 2021 24:00:00 GMT', undefined],
    ['there is no minute 60', 'Fri, 16 Apr 2021 21:60:00 GMT', undefined],
    ['there is no second 61', 'Fri, 16 Apr 2021 21:13:61 GMT', undefined],
    ['there is no such month', 'Fri, 16 Abc 2021 21:13:00 GMT', undefined],
    ['a time without seconds is no HTTP-date', 'Fri, 16 Apr 2021 21:13 GMT', undefined],
    ['two dates are no HTTP-date', 'Fri, 16 Apr 2021 21:13:00 GMT, Fri, 16 Apr 2021 21:13:00 GMT', undefined],
  ]
  for (const [rule, value, time] of rows) {
    test(rule, () => assert.equal(parseHttpDate(value, NOW), time && Date.parse(time)))
  }

  test('no text makes it throw', () => {
    fc.assert(
      fc.property(fc.string(), (value) => {
        const time = parseHttpDate(value, NOW)
        assert.ok(time === undefined || Number.isFinite(time))
      }),
    )
  })
})
