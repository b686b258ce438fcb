import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { type BareItem, parseDictionary } from '../../lib/rfc9111/structured-fields.ts'

type Member = [name: string, type: BareItem['type'], value: BareItem['value']]

/** No directive has values of these types: that they are well-formed is all that matters. */
const OPAQUE = new Set(['bytes', 'display-string'])

/** The members that a text is read as; undefined where it is no dictionary. */
function read(text: string): Member[] | undefined {
  const members = parseDictionary(text)
  if (members === undefined) return undefined
  const seen = ([name, { type, value }]: [string, BareItem]): Member => [
    name,
    type,
    OPAQUE.has(type) ? null : value,
  ]
  return sorted([...members].map(seen))
}

/** Members without their order, which means nothing in a dictionary of directives. */
function sorted(members: readonly Member[]): Member[] {
  return members.toSorted(([a], [b]) => (a < b ? -1 : 1))
}

suite('RFC 9651 §4.2.2 Parsing a Dictionary: parseDictionary', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, text: string, expected: Member[]][] = [
    ['an empty text is an empty dictionary', '', []],
    ['so are spaces', '   ', []],
    ['a member without a value is true', 'a', [['a', 'boolean', true]]],
    ['members are separated by commas', 'a=1,b=2', [['a', 'integer', 1], ['b', 'integer', 2]]],
    ['and white space around them', 'a=1 \t,\t  b=2', [['a', 'integer', 1], ['b', 'integer', 2]]],
    ['spaces at the beginning do not count', '  a=1', [['a', 'integer', 1]]],
    ['white space at the end does not count', 'a=1 \t ', [['a', 'integer', 1]]],
    ['of members with the same name the last counts', 'a=1, b=2, a="x"', [['a', 'string', 'x'], ['b', 'integer', 2]]],
    ['also where it has no value', 'a=1, a', [['a', 'boolean', true]]],
    ['§4.2.3.3: a name begins with a lower-case letter or *', 'a=1, *=2, z', [['a', 'integer', 1], ['*', 'integer', 2], ['z', 'boolean', true]]],
    ['§4.2.3.3: digits, _, -, . and * may follow', 'a_0-9.*z=1', [['a_0-9.*z', 'integer', 1]]],
    ['a name may be that of a property of every object', 'constructor=1', [['constructor', 'integer', 1]]],

    ['§4.2.4: an integer', 'a=60', [['a', 'integer', 60]]],
    ['§4.2.4: a negative integer', 'a=-60', [['a', 'integer', -60]]],
    ['§4.2.4: an integer with leading zeros', 'a=007', [['a', 'integer', 7]]],
    ['§4.2.4: an integer of 15 digits', 'a=999999999999999', [['a', 'integer', 999_999_999_999_999]]],
    ['§4.2.4: the least integer', 'a=-999999999999999', [['a', 'integer', -999_999_999_999_999]]],
    ['§4.2.4: a decimal', 'a=1.5', [['a', 'decimal', 1.5]]],
    ['§4.2.4: a decimal without a fraction to speak of', 'a=1.0', [['a', 'decimal', 1]]],
    ['§4.2.4: a decimal of 12 and 3 digits', 'a=-123456789012.125', [['a', 'decimal', -123_456_789_012.125]]],
    ['§4.2.5: a string', 'a="b c, d;e=(f)"', [['a', 'string', 'b c, d;e=(f)']]],
    ['§4.2.5: an empty string', 'a=""', [['a', 'string', '']]],
    ['§4.2.5: a string with escaped quotes and backslashes', 'a="\\"\\\\\\""', [['a', 'string', '"\\"']]],
    ['§4.2.5: a string with all visible characters from end to end', 'a="!#[]~ "', [['a', 'string', '!#[]~ ']]],
    ['§4.2.6: a token', 'a=Foo', [['a', 'token', 'Foo']]],
    ['§4.2.6: a token with : and /', 'a=text/html:8', [['a', 'token', 'text/html:8']]],
    ['§4.2.6: a token that begins with *', 'a=*', [['a', 'token', '*']]],
    ['§4.2.6: a token of all its characters', "a=z!#$%&'*+-.^_`|~:/09AZaz", [['a', 'token', "z!#$%&'*+-.^_`|~:/09AZaz"]]],
    ['§4.2.7: bytes', 'a=:cHJldGVuZA==:', [['a', 'bytes', null]]],
    ['§4.2.7: no bytes', 'a=::', [['a', 'bytes', null]]],
    ['§4.2.7: bytes with all of the alphabet', 'a=:+/09AZaz:', [['a', 'bytes', null]]],
    ['§4.2.8: true', 'a=?1', [['a', 'boolean', true]]],
    ['§4.2.8: false', 'a=?0', [['a', 'boolean', false]]],
    ['§4.2.9: a date', 'a=@1659578233', [['a', 'date', 1_659_578_233]]],
    ['§4.2.9: a date before 1970', 'a=@-1', [['a', 'date', -1]]],
    ['§4.2.10: a display string', 'a=%"b c \\ d"', [['a', 'display-string', null]]],
    ['§4.2.10: a display string with bytes in hexadecimal', 'a=%"f%c3%bc", b', [['a', 'display-string', null], ['b', 'boolean', true]]],

    ['§4.2.1.2: an inner list', 'a=(1 "b" c), d', [['a', 'inner-list', null], ['d', 'boolean', true]]],
    ['§4.2.1.2: an empty inner list', 'a=()', [['a', 'inner-list', null]]],
    ['§4.2.1.2: an inner list of nothing but spaces', 'a=(  )', [['a', 'inner-list', null]]],
    ['§4.2.1.2: spaces in an inner list', 'a=(  1   2  )', [['a', 'inner-list', null]]],
    ['§4.2.1.2: an inner list with parameters, and its items with theirs', 'a=(1;x "b";y=2;z);w=3', [['a', 'inner-list', null]]],

    ['§4.2.3.2: parameters are read over', 'a=1;x;y=2, b=2', [['a', 'integer', 1], ['b', 'integer', 2]]],
    ['§4.2.3.2: with spaces before their names', 'a=1;  x=1;  y', [['a', 'integer', 1]]],
    ['§4.2.3.2: those of a member without a value', 'a;x=1', [['a', 'boolean', true]]],
    ['§4.2.3.2: their values may be of any type', 'a=1;b=-1.5;c="d,e";f=g;h=:aA==:;i=?0;j=@1;k=%"l", m', [['a', 'integer', 1], ['m', 'boolean', true]]],
  ]
  for (const [rule, text, expected] of rows) {
    test(rule, () => assert.deepEqual(read(text), sorted(expected)))
  }
})

suite('RFC 9651 §4.2 What is no dictionary: parseDictionary', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, texts: string[]][] = [
    ['a comma at the end', ['a,', 'a=1,', 'a=1, ', 'a=1,\t ']],
    ['a comma at the beginning', [',', ',a', ' , a']],
    ['two commas', ['a,,b', 'a, ,b']],
    ['no comma', ['a b', 'a=1 b=2', 'a=1;b c']],
    ['a tab at the beginning', ['\ta']],
    ['another white space', ['a,\nb', 'a,\u00A0b', 'a\r\n']],
    ['a name in upper case', ['A', 'A=1', 'aB=1', 'a, B']],
    ['a name that begins with a digit or a sign', ['1', '1=a', '-a', '_a', '.a']],
    ['a name with other characters', ['a!=1', 'ä=1', 'a/b', '"a"=1']],
    ['no name', ['=', '=1', 'a, =1']],
    ['no value', ['a=', 'a=, b', 'a=;x']],
    ['white space around =', ['a =1', 'a= 1']],
    ['characters that are not ASCII', ['a="ü"', 'a=ü', 'a=%"ü"', 'a=٣']],
    ['an item in place of a dictionary', ['"a"', '?1', '(a b)', '@1', ':aA==:']],

    ['§4.2.4: an integer of 16 digits', ['a=1234567890123456', 'a=-1234567890123456', 'a=0000000000000000']],
    ['§4.2.4: a sign without a number', ['a=-', 'a=--1', 'a=+1', 'a=- 1', 'a=-a']],
    ['§4.2.4: a sign out of place', ['a=1-2']],
    ['§4.2.4: a decimal point without a fraction', ['a=1.', 'a=1.;b', 'a=1., b']],
    ['§4.2.4: a decimal without an integer', ['a=.5', 'a=-.5']],
    ['§4.2.4: four digits of fraction', ['a=1.1234']],
    ['§4.2.4: a decimal of 13 digits before the point', ['a=1234567890123.1', 'a=1234567890123.']],
    ['§4.2.4: two decimal points', ['a=1.2.3', 'a=1..2']],
    ['§4.2.4: other ways to write numbers', ['a=1e3', 'a=0x1', 'a=1_000', 'a=60s']],
    ['§4.2.5: a string that does not end', ['a="', 'a="b', 'a="b, c', 'a="b\\"']],
    ['§4.2.5: a backslash at the end', ['a="b\\']],
    ['§4.2.5: an escaped character that needs no escape', ['a="\\b"', 'a="\\n"', 'a="\\ "', 'a="\\,"']],
    ['§4.2.5: control characters in a string', ['a="\t"', 'a="\n"', 'a="\0"', 'a="\x1F"', 'a="\x7F"']],
    ['§4.2.5: something after a string', ['a="b"c', 'a="b""c"', 'a="b" "c"']],
    ['§4.2.5: single quotes', ["a='b'"]],
    ['§4.2.6: a token with other characters', ['a=b"c"', 'a=b@c', 'a=b(c)', 'a=b=c', 'a=b\\c', 'a={b}', 'a=<b>']],
    ['§4.2.6: a token that begins with another sign', ['a=!b', 'a=/b', 'a=_b', 'a=~']],
    ['§4.2.7: bytes that do not end', ['a=:', 'a=:aA==', 'a=:aA==, b']],
    ['§4.2.7: bytes with other characters', ['a=:_-Ah:', 'a=:aG Vs:', 'a=: aA==:', 'a=:a.A=:', 'a=:a,A:']],
    ['§4.2.8: another boolean', ['a=?', 'a=?2', 'a=?true', 'a=?10', 'a=?01', 'a=? 1', 'a=?T']],
    ['§4.2.9: a date with a fraction', ['a=@1.5', 'a=@1.']],
    ['§4.2.9: a date that is no number', ['a=@', 'a=@-', 'a=@x', 'a=@ 1', 'a=@"1"', 'a=@@1', 'a=@1234567890123456']],
    ['§4.2.10: a display string that does not end', ['a=%"', 'a=%"b', 'a=%"b%c3']],
    ['§4.2.10: a display string without quotes', ['a=%', 'a=%b', "a=%'b'", 'a=% "b"']],
    ['§4.2.10: upper-case hexadecimal', ['a=%"%C3%BC"']],
    ['§4.2.10: half an escape', ['a=%"%"', 'a=%"%c"', 'a=%"%cg"', 'a=%"% c"']],
    ['§4.2.10: a quote in a display string', ['a=%"b"c"', 'a=%"b\\"c"']],
    ['§4.2.10: control characters in a display string', ['a=%"\t"', 'a=%"\n"', 'a=%"\x7F"']],

    ['§4.2.1.2: an inner list that does not end', ['a=(', 'a=( ', 'a=(1', 'a=(1 ', 'a=(1, b']],
    ['§4.2.1.2: an inner list that does not begin', ['a=)', 'a=1)']],
    ['§4.2.1.2: commas in an inner list', ['a=(1,2)', 'a=(1, 2)']],
    ['§4.2.1.2: tabs in an inner list', ['a=(1\t2)', 'a=(\t)', 'a=(1\t)']],
    ['§4.2.1.2: nothing between items', ['a=("b""c")', 'a=("b"c)', 'a=(?1?0)']],
    ['§4.2.1.2: an inner list in an inner list', ['a=((1))', 'a=(1 (2))', 'a=()()']],
    ['§4.2.1.2: something that is no item', ['a=(1 ü)', 'a=(=)', 'a=(;b)']],

    ['§4.2.3.2: a parameter without a name', ['a;', 'a=1;', 'a=1; ', 'a=1;;b', 'a=1;=2', 'a;, b']],
    ['§4.2.3.2: a parameter in upper case', ['a=1;B', 'a=1;bC=2']],
    ['§4.2.3.2: a parameter without a value', ['a=1;b=', 'a=1;b=, c']],
    ['§4.2.3.2: white space before ;', ['a ;b', 'a=1 ;b=2']],
    ['§4.2.3.2: a tab after ;', ['a=1;\tb']],
    ['§4.2.3.2: white space around = of a parameter', ['a=1;b =2', 'a=1;b= 2']],
    ['§4.2.3.2: an inner list as a parameter', ['a=1;b=(2)']],
  ]
  for (const [rule, texts] of rows) {
    test(rule, () => {
      for (const text of texts) assert.equal(parseDictionary(text), undefined, JSON.stringify(text))
    })
  }

  test('§4.2.10: bytes that are not UTF-8', () => {
    for (const bytes of ['%ff', '%c3%28', '%c3', '%a0%a1', '%f0%28%8c%28']) {
      assert.equal(parseDictionary(`a=%"${bytes}"`), undefined, bytes)
    }
  })

  test('§4.2.7: = where no padding is', () => {
    for (const bytes of ['=aGVsbG8', 'a=GVsbG8=', '====']) {
      assert.equal(parseDictionary(`a=:${bytes}:`), undefined, bytes)
    }
  })
})

suite('Laws of dictionaries: parseDictionary', () => {
  type Written = [text: string, type: BareItem['type'], value: BareItem['value']]

  function written<T extends BareItem['value']>(
    type: BareItem['type'],
    values: fc.Arbitrary<T>,
    write: (value: T) => string,
  ): fc.Arbitrary<Written> {
    return values.map((value) => [write(value), type, OPAQUE.has(type) ? null : value])
  }

  const key = fc.stringMatching(/^[a-z*][a-z0-9_.*-]{0,8}$/)
  const integer = fc.integer({ min: -999_999_999_999_999, max: 999_999_999_999_999 })
  const decimal = fc.integer({ min: -999_999_999, max: 999_999_999 }).map((value) => value / 1000)
  const token = fc.stringMatching(/^[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]{0,8}$/)
  const base64 = fc.uint8Array().map((bytes) => Buffer.from(bytes).toString('base64'))
  const hexadecimal = fc
    .string({ unit: 'grapheme' })
    .map((text) => encodeURIComponent(text).toLowerCase())

  const item: fc.Arbitrary<Written> = fc.oneof(
    written('integer', integer, String),
    written('decimal', decimal, (value) => value.toFixed(3)),
    written('string', fc.string(), (value) => `"${value.replace(/["\\]/g, '\\$&')}"`),
    written('token', token, String),
    written('bytes', base64, (value) => `:${value}:`),
    written('boolean', fc.boolean(), (value) => (value ? '?1' : '?0')),
    written('date', integer, (value) => `@${value}`),
    written('display-string', hexadecimal, (value) => `%"${value}"`),
  )

  const parameters = fc
    .array(fc.tuple(key, fc.option(item)))
    .map((all) => all.map(([name, value]) => `;${name}${value ? `=${value[0]}` : ''}`).join(''))

  const innerList: fc.Arbitrary<Written> = fc
    .array(fc.tuple(item, parameters))
    .map((items) => [`(${items.map(([[text], its]) => text + its).join(' ')})`, 'inner-list', null])

  const dictionary = fc.array(fc.tuple(key, fc.oneof(item, innerList), parameters))

  test('what has been written is read again, and of its parameters nothing', () => {
    fc.assert(
      fc.property(dictionary, (all) => {
        const text = all.map(([name, [value], its]) => `${name}=${value}${its}`).join(', ')
        const last = new Map(all.map(([name, [, ...value]]) => [name, value]))
        assert.deepEqual(read(text), sorted([...last].map(([name, value]) => [name, ...value])))
      }),
    )
  })

  test('of two dictionaries in a row the members of the second count', () => {
    fc.assert(
      fc.property(dictionary, dictionary, (a, b) => {
        const write = (all: typeof a) => all.map(([name, [value]]) => `${name}=${value}`).join()
        const [first, second] = [parseDictionary(write(a)), parseDictionary(write(b))]
        assert.ok(first && second)
        if (a.length === 0 || b.length === 0) return
        const both = parseDictionary(`${write(a)} , ${write(b)}`)
        assert.deepEqual(both, new Map([...first, ...second]))
      }),
    )
  })

  test('no text makes it throw, nor gives it a name that is none', () => {
    const piece = fc.constantFrom(...'aB*=,;()"\\:?@%-.019 \t', '?1', 'c3', '%"', '\n', 'ü')
    const texts = fc.oneof(
      fc.string(),
      fc.array(piece).map((all) => all.join('')),
    )
    fc.assert(
      fc.property(texts, (text) => {
        for (const name of parseDictionary(text)?.keys() ?? []) {
          assert.match(name, /^[a-z*][a-z0-9_.*-]*$/)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('a long text is read, or not, without delay', () => {
    const length = 100_000
    assert.equal(parseDictionary(`a="${'x'.repeat(length)}"`)?.size, 1)
    assert.equal(parseDictionary(`a="${'\\"'.repeat(length)}`), undefined)
    assert.equal(parseDictionary(`a=%"${'%c3'.repeat(length)}`), undefined)
    assert.equal(parseDictionary(`a${' '.repeat(length)}b`), undefined)
    assert.equal(parseDictionary(`a,${' '.repeat(length)}`), undefined)
    assert.equal(parseDictionary(`a=(${'1 '.repeat(length)})`)?.size, 1)
  })
})
