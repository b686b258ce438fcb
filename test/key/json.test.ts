import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { normaliseJson } from '../../lib/key/json.ts'

function normal(text: string): string | undefined {
  return normaliseJson(text, () => false)
}

suite('JSON as it counts for the key: normaliseJson', () => {
  // biome-ignore format: one rule a row
  const same: [rule: string, a: string, b: string][] = [
    ['white space', '{"a":[1,2]}', ' {\n"a" : [ 1 ,\t2 ]\r\n} '],
    ['the order of members', '{"a":1,"b":2}', '{"b":2,"a":1}'],
    ['the order of members at every depth', '[{"x":{"a":1,"b":2}}]', '[{"x":{"b":2,"a":1}}]'],
    ['escapes in strings', '"a/é"', '"\\u0061\\/\\u00e9"'],
    ['escapes in names', '{"a":1}', '{"\\u0061":1}'],
    ['the order of members with escapes', '{"\\u0062":1,"a":2}', '{"a":2,"b":1}'],
  ]
  for (const [rule, a, b] of same) {
    test(`without meaning: ${rule}`, () => {
      assert.notEqual(normal(a), undefined)
      assert.equal(normal(a), normal(b))
    })
  }

  // biome-ignore format: one rule a row
  const different: [rule: string, a: string, b: string][] = [
    ['the order of an array', '[1,2]', '[2,1]'],
    ['the order of an array of objects', '[{"a":1},{"b":2}]', '[{"b":2},{"a":1}]'],
    ['what a number is written as', '1', '1.0'],
    ['the digits of a large integer', '9007199254740993', '9007199254740992'],
    ['numbers too large for a double', '1e400', '1e401'],
    ['numbers too small for one', '1e-400', '0'],
    ['the sign of zero', '0', '-0'],
    ['members of one name', '{"a":1,"a":2}', '{"a":2}'],
    ['their order', '{"a":1,"a":2}', '{"a":2,"a":1}'],
    ['null and nothing', '{"a":null}', '{}'],
    ['a string and a number', '"1"', '1'],
    ['a string and a name', '"true"', 'true'],
    ['an empty array and an empty object', '[]', '{}'],
    ['nesting', '[[1],2]', '[[1,2]]'],
    ['empty elements', '[[],[]]', '[[[]]]'],
    ['what looks like a mark in a string', '["a,b"]', '["a","b"]'],
    ['an escaped quote', '["a\\",\\"b"]', '["a","b"]'],
    ['white space in strings', '"a b"', '"ab"'],
    ['lone surrogates', '"\\ud800"', '"\\ud801"'],
    ['names by their case', '{"a":1}', '{"A":1}'],
    ['names that objects have by themselves', '{"__proto__":1}', '{}'],
  ]
  for (const [rule, a, b] of different) {
    test(`with a meaning: ${rule}`, () => {
      assert.notEqual(normal(a), undefined)
      assert.notEqual(normal(a), normal(b))
    })
  }

  for (const text of [
    '',
    ' ',
    '{',
    '{"a":1',
    '{a:1}',
    '[1,]',
    '01',
    'NaN',
    '"\n"',
    '{} {}',
    '\ufeff{}',
  ]) {
    test(`is no JSON: ${JSON.stringify(text)}`, () => assert.equal(normal(text), undefined))
  }

  test('what is nested too deep is left as it is, and breaks nothing', () => {
    for (const depth of [300, 100_000]) {
      assert.equal(normal('['.repeat(depth) + ']'.repeat(depth)), undefined)
    }
    assert.notEqual(normal(`${'['.repeat(200)}${']'.repeat(200)}`), undefined)
  })

  test('a value that does not matter is replaced by what no JSON is like', () => {
    const seen: unknown[] = []
    const text = normaliseJson('{"a":{"b":"x","c":[1,{"d":null}]},"e":"<>"}', (path, value) => {
      seen.push([path.join('.'), value()])
      return path.at(-1) === 'b'
    })
    assert.equal(text, '{"a":{"b":<>,"c":[1,{"d":null}]},"e":"<>"}')
    assert.deepEqual(seen, [
      ['a.b', 'x'],
      ['a.c.0', '1'],
      ['a.c.1.d', 'null'],
      ['a.c.1', ''],
      ['a.c', ''],
      ['a', ''],
      ['e', '<>'],
    ])
  })

  /** The same value, with its members in another order and white space everywhere. */
  function rewrite(value: unknown): string {
    if (Array.isArray(value)) return `[ ${value.map(rewrite).join(' ,\n')} ]`
    if (typeof value !== 'object' || value === null) return JSON.stringify(value)
    const members = Object.entries(value).reverse()
    return `{\t${members.map(([name, one]) => `${JSON.stringify(name)} : ${rewrite(one)}`).join(' , ')}}`
  }

  test('equal values are equal, however they are written', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        assert.equal(normal(rewrite(value)), normal(JSON.stringify(value)))
      }),
    )
  })

  test('other values are others', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        const [one, other] = [a, b].map((value) => JSON.parse(JSON.stringify(value)) as unknown)
        const isSame = normal(JSON.stringify(a)) === normal(JSON.stringify(b))
        assert.equal(isSame, isDeepStrictEqual(one, other))
      }),
    )
  })

  test('what is normal is normal already, and means the same', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const once = normal(JSON.stringify(value)) as string
        assert.equal(normal(once), once)
        assert.deepEqual(JSON.parse(once), JSON.parse(JSON.stringify(value)))
      }),
    )
  })

  test('any text at all is either JSON or not', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'{}[]:,"\\ua1 e-.') }), (text) => {
        let isJson = true
        try {
          JSON.parse(text)
        } catch {
          isJson = false
        }
        assert.equal(normal(text) !== undefined, isJson)
      }),
    )
  })
})
