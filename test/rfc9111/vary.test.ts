import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { Fields, Nominated, RequestMessage } from '../../lib/rfc9111/message.ts'
import {
  differingFields,
  differsByNegotiation,
  nominate,
  nominatedMatch,
  nominatedNames,
} from '../../lib/rfc9111/vary.ts'

function request(fields: Fields): RequestMessage {
  return { method: 'GET', url: 'http://example.com/', fields }
}

suite('RFC 9110 §12.5.5 Vary: nominatedNames', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, names: string[] | '*'][] = [
    ['it nominates fields in any case and order', { vary: 'Origin, ACCEPT' }, ['accept', 'origin']],
    ['in several lines', { vary: ['Origin', 'Accept'] }, ['accept', 'origin']],
    ['each once', { vary: 'Accept, accept' }, ['accept']],
    ['* stands for anything', { vary: '*' }, '*'],
    ['* among others stands for anything', { vary: ['Accept', 'Origin, *'] }, '*'],
    ['an empty one nominates nothing', { vary: ' , ' }, []],
    ['without it nothing is nominated', {}, []],
    ['a content coding nominates Accept-Encoding', { 'content-encoding': 'gzip' }, ['accept-encoding']],
    ['also besides others', { 'content-encoding': 'br', vary: 'Origin' }, ['accept-encoding', 'origin']],
  ]
  for (const [rule, fields, names] of rows) {
    test(rule, () => assert.deepEqual(nominatedNames({ fields }), names))
  }
})

suite('§4.1 Calculating Cache Keys with the Vary Header Field: nominate', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, name: string, value: string | string[] | undefined, nominated: string | null][] = [
    ['a field that is absent is null', 'x', undefined, null],
    ['one that is empty is not', 'x', '', ''],
    ['a value is itself', 'x', 'A;b = "C"', 'A;b = "C"'],
    ['white space around members has no meaning', 'x', ' a , b ', 'a,b'],
    ['nor has an empty member', 'x', 'a,,b,', 'a,b'],
    ['several lines are one list', 'x', ['a', 'b'], 'a,b'],
    ['preferences are in the order of their weights', 'accept', 'a/a;q=0.2, b/b;q=0.5, c/c', 'c/c,b/b;q=0.5,a/a;q=0.2'],
    ['and then of their names', 'accept', 'b/b;q=0.2, B/A;q=0.2', 'b/a;q=0.2,b/b;q=0.2'],
    ['a weight of 1 need not be said', 'accept-encoding', 'gzip;q=1.000', 'gzip'],
    ['languages keep their order', 'accept-language', 'fr, en-GB, de;q=0.5', 'fr,en-gb,de;q=0.5'],
  ]
  for (const [rule, name, value, nominated] of rows) {
    test(rule, () => {
      const fields = value === undefined ? {} : { [name]: value }
      assert.deepEqual(nominate([name], request(fields)), { [name]: nominated })
    })
  }
})

suite('§4.1 Calculating Cache Keys with the Vary Header Field: nominatedMatch', () => {
  // biome-ignore format: one rule a row
  const same: [rule: string, name: string, a: Fields, b: Fields][] = [
    ['the same value', 'x', { x: 'a' }, { x: 'a' }],
    ['absent from both', 'x', {}, { y: 'b' }],
    ['white space around the members of a list', 'x', { x: 'a,b' }, { x: ' a , b ' }],
    ['one line or several', 'x', { x: 'a, b' }, { x: ['a', 'b'] }],
    ['case in content negotiation', 'accept', { accept: 'Text/HTML' }, { accept: 'text/html' }],
    ['white space in content negotiation', 'accept', { accept: 'text/html; q = 0.5' }, { accept: 'text/html;q=0.5' }],
    ['case of a language', 'accept-language', { 'accept-language': 'EN-gb' }, { 'accept-language': 'en-GB' }],
    ['case of a coding', 'accept-encoding', { 'accept-encoding': 'GZip' }, { 'accept-encoding': 'gzip' }],
    ['the order of media ranges', 'accept', { accept: 'a/a, b/b' }, { accept: 'b/b, a/a' }],
    ['the order of media ranges with parameters', 'accept', { accept: 'a/a;v=1, a/a;v=2' }, { accept: 'a/a;v=2, a/a;v=1' }],
    ['the order of codings', 'accept-encoding', { 'accept-encoding': 'gzip, br' }, { 'accept-encoding': 'br, gzip' }],
    ['the order of charsets', 'accept-charset', { 'accept-charset': 'utf-8, ascii' }, { 'accept-charset': 'ascii, utf-8' }],
    ['the order of several lines', 'accept-encoding', { 'accept-encoding': ['gzip', 'br'] }, { 'accept-encoding': 'br, gzip' }],
    ['the order of what has weights', 'accept', { accept: 'a/a;q=0.2, b/b;q=0.8' }, { accept: 'b/b;q=0.8, a/a;q=0.2' }],
    ['the order of languages of different weight', 'accept-language', { 'accept-language': 'de;q=0.5, en' }, { 'accept-language': 'en, de;q=0.5' }],
    ['a weight of 1 or none', 'accept', { accept: 'a/a;q=1, b/b' }, { accept: 'a/a, b/b;q=1.0' }],
    ['a weight of 1 or none of a language', 'accept-language', { 'accept-language': 'en;q=1.000' }, { 'accept-language': 'en' }],
    ['zeros at the end of a weight', 'accept-encoding', { 'accept-encoding': 'gzip;q=0.5' }, { 'accept-encoding': 'gzip;q=0.500' }],
    ['zeros of what is not accepted', 'accept-encoding', { 'accept-encoding': 'identity;q=0' }, { 'accept-encoding': 'identity;q=0.000' }],
    ['the case of Q', 'accept', { accept: 'a/a;Q=0.5' }, { accept: 'a/a;q=0.5' }],
  ]
  // biome-ignore format: one rule a row
  const different: [rule: string, name: string, a: Fields, b: Fields][] = [
    ['another value', 'x', { x: 'a' }, { x: 'b' }],
    ['absent from one', 'x', { x: 'a' }, {}],
    ['empty and absent', 'x', { x: '' }, {}],
    ['empty and absent in content negotiation', 'accept-encoding', { 'accept-encoding': '' }, {}],
    ['the order of other members', 'x', { x: 'a, b' }, { x: 'b, a' }],
    ['the order of languages of the same weight', 'accept-language', { 'accept-language': 'de, en' }, { 'accept-language': 'en, de' }],
    ['also where the weight is said', 'accept-language', { 'accept-language': 'de;q=0.5, en;q=0.5' }, { 'accept-language': 'en;q=0.5, de;q=0.5' }],
    ['another weight', 'accept', { accept: 'a/a;q=0.5' }, { accept: 'a/a;q=0.6' }],
    ['a weight or none', 'accept', { accept: 'a/a;q=0.5' }, { accept: 'a/a' }],
    ['accepted or not', 'accept-encoding', { 'accept-encoding': 'gzip;q=0' }, { 'accept-encoding': 'gzip' }],
    ['weights the other way round', 'accept', { accept: 'a/a;q=0.5, b/b;q=0.6' }, { accept: 'a/a;q=0.6, b/b;q=0.5' }],
    ['a range more', 'accept', { accept: 'a/a, b/b' }, { accept: 'a/a' }],
    ['another parameter', 'accept', { accept: 'a/a;v=1' }, { accept: 'a/a;v=2' }],
    ['a weight that is none', 'accept', { accept: 'a/a;q=2' }, { accept: 'a/a' }],
    ['case of other fields', 'x', { x: 'A' }, { x: 'a' }],
    ['weights of other fields', 'x', { x: 'a;q=1' }, { x: 'a' }],
    ['white space within a member of other fields', 'x', { x: 'a = 1' }, { x: 'a=1' }],
    ['case in quoted strings', 'accept', { accept: 'a/b;profile="X"' }, { accept: 'a/b;profile="x"' }],
    ['white space in quoted strings', 'accept', { accept: 'a/b;profile="x; y"' }, { accept: 'a/b;profile="x;y"' }],
    ['a comma in quoted strings', 'x', { x: '"a, b"' }, { x: '"a,b"' }],
    ['what looks like a weight in quoted strings', 'accept', { accept: 'a/b;profile="x;q=1"' }, { accept: 'a/b;profile="x"' }],
  ]
  for (const [rule, name, a, b] of same) {
    test(`no difference: ${rule}`, () => {
      assert.equal(nominatedMatch(nominate([name], request(a)), request(b)), true)
      assert.equal(nominatedMatch(nominate([name], request(b)), request(a)), true)
    })
  }
  for (const [rule, name, a, b] of different) {
    test(`a difference: ${rule}`, () => {
      assert.equal(nominatedMatch(nominate([name], request(a)), request(b)), false)
      assert.equal(nominatedMatch(nominate([name], request(b)), request(a)), false)
    })
  }

  test('all nominated fields must match, and no others', () => {
    const nominated = nominate(['a', 'b'], request({ a: '1', b: '2', c: '3' }))
    assert.deepEqual(nominated, { a: '1', b: '2' })
    assert.equal(nominatedMatch(nominated, request({ a: '1', b: '2', c: '4' })), true)
    assert.equal(nominatedMatch(nominated, request({ a: '1', b: '3' })), false)
    assert.equal(nominatedMatch({}, request({ a: '1' })), true)
  })

  test('in which fields two requests differ, and how', () => {
    const nominated = nominate(['accept', 'x', 'y'], request({ accept: 'a/a, b/b', x: '1' }))
    const differing = (fields: Fields) => differingFields(nominated, request(fields))
    assert.deepEqual(differing({ accept: 'b/b,a/a', x: '1', z: '1' }), [])
    assert.deepEqual(differing({ accept: 'b/b', y: '2' }), [
      ['accept', 'a/a,b/b', 'b/b'],
      ['x', '1', null],
      ['y', null, '2'],
    ])
  })

  test('the name of a property of every object is a name like any other', () => {
    const names = ['__proto__', 'constructor', 'tostring']
    const nominated = nominate(names, request({}))
    assert.deepEqual(Object.values(nominated), [null, null, null])
    assert.equal(nominatedMatch(nominated, request({})), true)
    assert.equal(nominatedMatch(nominated, request({ constructor: 'a' })), false)
    assert.deepEqual(JSON.parse(JSON.stringify(nominated)), nominated)
  })

  test('a request always matches what was nominated of itself', () => {
    const name = fc.constantFrom('accept', 'accept-language', 'x', 'constructor', 'y')
    const value = fc.oneof(fc.string(), fc.array(fc.string(), { minLength: 1 }))
    fc.assert(
      fc.property(fc.dictionary(name, value), fc.array(name), (fields, names) => {
        assert.equal(nominatedMatch(nominate(names, request(fields)), request(fields)), true)
      }),
    )
  })
})

suite('Laws of matching: nominate and nominatedMatch', () => {
  /** A member of a list with its weight in thousandths, and how it is written. */
  interface Member {
    text: string
    weight: number
    isLoud: boolean
    spaces: string
    zeros: number
  }

  const member: fc.Arbitrary<Member> = fc.record({
    text: fc.constantFrom('a', 'b', 'c-d', '*', 'e;v="X;q=1, y"'),
    weight: fc.constantFrom(1000, 1000, 500, 250, 1, 0),
    isLoud: fc.boolean(),
    spaces: fc.constantFrom('', ' ', '\t '),
    zeros: fc.nat({ max: 3 }),
  })
  const members = fc.array(member, { maxLength: 4 })

  /** A list as text: in capitals, with spaces, zeros and a weight of 1 where they make no difference. */
  function write(list: readonly Member[]): string {
    return list
      .map(({ text, weight, isLoud, spaces, zeros }) => {
        const name = isLoud ? text.replace(/^[^"]*/, (part) => part.toUpperCase()) : text
        if (weight === 1000 && zeros === 0) return `${spaces}${name}${spaces}`
        const digits = String(weight / 1000)
        const padded = digits.includes('.') ? digits : `${digits}.`
        return `${spaces}${name}${spaces};${spaces}q=${padded.padEnd(2 + zeros, '0')}${spaces}`
      })
      .join(',')
  }

  /** What a list says, where the order of what has the same weight does matter or does not. */
  function meaning(list: readonly Member[], isOrdered: boolean): string[] {
    const written = list.map(({ text, weight }, index) => {
      const place = isOrdered ? String(index).padStart(2, '0') : ''
      return {
        key: `${String(1000 - weight).padStart(4, '0')} ${place}`,
        text: `${weight} ${text}`,
      }
    })
    return written
      .sort((a, b) => (a.key + a.text < b.key + b.text ? -1 : 1))
      .map(({ text }) => text)
  }

  for (const name of ['accept', 'accept-charset', 'accept-encoding', 'accept-language']) {
    test(`${name}: two requests match where they say the same, and only there`, () => {
      const isOrdered = name === 'accept-language'
      // Lists that are alike, so that many say the same.
      const pair = fc.tuple(members, fc.array(fc.nat()), members).map(([list, order, other]) => {
        const shuffled = [...list].sort(
          (a, b) => (order[list.indexOf(a)] ?? 0) - (order[list.indexOf(b)] ?? 0),
        )
        return [list, order.length % 2 === 0 ? shuffled : other] as const
      })
      fc.assert(
        fc.property(pair, ([one, other]) => {
          const isSame = String(meaning(one, isOrdered)) === String(meaning(other, isOrdered))
          const nominated = nominate([name], request({ [name]: write(one) }))
          assert.equal(nominatedMatch(nominated, request({ [name]: write(other) })), isSame)
        }),
        { numRuns: 500 },
      )
    })
  }

  test('other fields match where their members are the same, and only there', () => {
    const list = fc.array(fc.constantFrom('a', 'A', 'b', 'a;q=1', 'a;q=1.0', '"a, b"'))
    const spaces = fc.constantFrom('', ' ', '\t')
    fc.assert(
      fc.property(list, list, spaces, (one, other, space) => {
        const nominated = nominate(['x'], request({ x: one.join(',') }))
        const isSame = JSON.stringify(one) === JSON.stringify(other)
        const value = other.map((text) => `${space}${text}${space}`).join(',')
        assert.equal(nominatedMatch(nominated, request({ x: value })), isSame)
      }),
    )
  })

  test('matching goes both ways, and what is nominated is normalised for good', () => {
    const name = fc.constantFrom('accept', 'accept-language', 'x')
    const value = fc.oneof(members.map(write), fc.string())
    fc.assert(
      fc.property(name, value, value, (name, one, other) => {
        const [a, b] = [request({ [name]: one }), request({ [name]: other })]
        assert.equal(nominatedMatch(nominate([name], a), b), nominatedMatch(nominate([name], b), a))
      }),
    )
  })
})

suite('§4.3.1 Sending a Validation Request: differsByNegotiation', () => {
  const partition = ['x-api-key']

  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, nominated: Nominated, request: Fields, expected: boolean][] = [
    ['what is for any request does', {}, {}, { accept: 'a/a' }, true],
    ['what is for another language does', {}, { 'accept-language': 'de' }, { 'accept-language': 'en' }, true],
    ['what is for a request without one does', {}, { 'accept-language': null }, { 'accept-language': 'en' }, true],
    ['what is for another media type does', {}, { accept: 'a/a' }, {}, true],
    ['whatever else Vary nominates', {}, { origin: 'http://a.com', 'user-agent': 'x' }, {}, true],
    ['several fields at once', {}, { accept: 'a/a', 'accept-language': 'de' }, { accept: 'b/b' }, true],
    ['what is for another user does not', {}, { authorization: 'a' }, { authorization: 'b' }, false],
    ['what is for a user is not for nobody', {}, { authorization: 'a' }, {}, false],
    ['what is for nobody is not for a user', {}, { authorization: null }, { authorization: 'b' }, false],
    ['what is for the same user does', {}, { authorization: 'a', accept: 'a/a' }, { authorization: 'a' }, true],
    ['what is for another cookie does not', {}, { cookie: 'a=1' }, { cookie: 'a=2' }, false],
    ['nor what is for another proxy’s user', {}, { 'proxy-authorization': 'a' }, {}, false],
    ['nor what is for another of the user’s credentials', {}, { 'x-api-key': 'a' }, { 'x-api-key': 'b' }, false],
    ['even where all else is the same', {}, { accept: 'a/a', 'x-api-key': 'a' }, { accept: 'a/a' }, false],
    ['another field may be', {}, { 'x-other-key': 'a' }, { 'x-other-key': 'b' }, true],
    ['what has a coding that was asked for does not', { 'content-encoding': 'gzip' }, { 'accept-encoding': 'gzip' }, { 'accept-encoding': 'br' }, false],
    ['nor where none is asked for', { 'content-encoding': 'gzip' }, { 'accept-encoding': 'gzip' }, {}, false],
    ['where the same are asked for it does', { 'content-encoding': 'gzip' }, { 'accept-encoding': 'br,gzip', accept: 'a/a' }, { 'accept-encoding': 'gzip, br' }, true],
    ['what has none does, whatever was asked for', {}, { 'accept-encoding': 'gzip' }, { 'accept-encoding': 'br' }, true],
  ]
  for (const [rule, fields, nominated, asked, expected] of rows) {
    test(rule, () => {
      assert.equal(differsByNegotiation({ fields, nominated }, request(asked), partition), expected)
    })
  }

  test('what matches a request differs from it by nothing', () => {
    const name = fc.constantFrom(
      'accept',
      'accept-encoding',
      'authorization',
      'cookie',
      'x-api-key',
    )
    const anyFields = fc.dictionary(name, fc.constantFrom('a', 'b'))
    const codings = fc.constantFrom({}, { 'content-encoding': 'gzip' })
    fc.assert(
      fc.property(anyFields, anyFields, fc.array(name), codings, (one, other, names, fields) => {
        const nominated = nominate(names, request(one))
        const asked = request(other)
        const differs = differsByNegotiation({ fields, nominated }, asked, partition)
        if (nominatedMatch(nominated, asked)) assert.equal(differs, true)
        // More fields by which a response is kept apart only ever keep more apart.
        if (differsByNegotiation({ fields, nominated }, asked, [...partition, 'accept'])) {
          assert.equal(differs, true)
        }
      }),
    )
  })
})
