import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { directiveTime, parseCacheControl } from '../../lib/rfc9111/cache-control.ts'

function parse(value: string | string[]): [string, string][] {
  return [...parseCacheControl({ 'cache-control': value })]
}

suite('§5.2 Cache-Control', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, value: string | string[], directives: [string, string][]][] = [
    ['a directive without an argument has an empty one', 'no-store', [['no-store', '']]],
    ['a directive may have an argument', 'max-age=60', [['max-age', '60']]],
    ['names are of any case', 'No-Store, MAX-AGE=60', [['no-store', ''], ['max-age', '60']]],
    ['an argument may be quoted', 'max-age="60"', [['max-age', '60']]],
    ['a quoted argument may have commas', 'no-cache="set-cookie, x", public', [['no-cache', 'set-cookie, x'], ['public', '']]],
    ['an escaped character is that character', 'x="a\\"b\\\\c"', [['x', 'a"b\\c']]],
    ['a quote that does not end is part of the argument', 'x="a', [['x', '"a']]],
    ['white space around = is tolerated', 'max-age = 60', [['max-age', '60']]],
    ['white space around directives is tolerated', ' max-age=60 ,\tpublic ', [['max-age', '60'], ['public', '']]],
    ['empty members do not count', ',, max-age=60,', [['max-age', '60']]],
    ['a directive without a name does not count', '=60, public', [['public', '']]],
    ['only the first = separates', 'x=a=b', [['x', 'a=b']]],
    ['several lines are one field', ['public', 'max-age=60'], [['public', ''], ['max-age', '60']]],
    ['of a repeated directive the first counts', 'max-age=1, max-age=2, MAX-AGE=3', [['max-age', '1']]],
    ['unknown directives are kept', 'x-future=1', [['x-future', '1']]],
    ['an empty field has no directives', '', []],
  ]
  for (const [rule, value, directives] of rows) {
    test(rule, () => assert.deepEqual(parse(value), directives))
  }

  test('a message without the field has no directives', () => {
    assert.equal(parseCacheControl({}).size, 0)
  })

  test('the name of a directive may be that of a property of every object', () => {
    assert.equal(parseCacheControl({ 'cache-control': 'public' }).has('constructor'), false)
    assert.deepEqual(parse('constructor=1, __proto__=2'), [['constructor', '1'], ['__proto__', '2']]) // biome-ignore format: pairs
  })

  test('no text makes it throw, nor gives it a name that is not in lower case', () => {
    const parts = fc.constantFrom('no-store', 'max-age', '=', ',', '"', '\\', ' ', '60', 'Ä', '\0')
    const values = fc.oneof(
      fc.string(),
      fc.array(parts).map((all) => all.join('')),
    )
    fc.assert(
      fc.property(values, (value) => {
        for (const [name] of parse(value)) {
          assert.notEqual(name, '')
          assert.equal(name, name.toLowerCase().trim())
        }
      }),
    )
  })

  test('what has been parsed parses to itself when it is written again', () => {
    const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,10}$/)
    const argument = fc.string({ unit: 'grapheme-ascii' })
    fc.assert(
      fc.property(fc.array(fc.tuple(name, argument)), (pairs) => {
        const write = (all: Iterable<readonly [string, string]>) =>
          [...all].map(([key, text]) => `${key}="${text.replace(/["\\]/g, '\\$&')}"`).join(', ')
        const once = parse(write(pairs))
        assert.deepEqual(parse(write(once)), once)
        assert.deepEqual(new Set(once.map(([key]) => key)), new Set(pairs.map(([key]) => key.toLowerCase()))) // biome-ignore format: one claim
      }),
    )
  })

  test('directives do not depend on what follows them', () => {
    fc.assert(
      fc.property(fc.string(), (rest) => {
        const directives = parseCacheControl({ 'cache-control': `no-store, max-age=5, ${rest}` })
        assert.ok(directives.has('no-store'))
        assert.equal(directives.get('max-age'), '5')
      }),
    )
  })
})

suite('§5.2 Arguments of directives', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, value: string, milliseconds: number | undefined][] = [
    ['seconds become milliseconds', 'max-age=60', 60_000],
    ['quoted seconds count', 'max-age="60"', 60_000],
    ['more than 2^31 seconds are 2^31', 'max-age=99999999999', 2 ** 31 * 1000],
    ['what is absent has no time', 'public', undefined],
    ['no argument is 0', 'max-age', 0],
    ['an empty argument is 0', 'max-age=', 0],
    ['a negative argument is 0', 'max-age=-5', 0],
    ['a fraction is 0', 'max-age=1.5', 0],
    ['a word is 0', 'max-age=long', 0],
    ['single quotes do not quote', "max-age='60'", 0],
    ['a malformed first argument is not made good by the second', 'max-age=x, max-age=60', 0],
  ]
  for (const [rule, value, milliseconds] of rows) {
    test(rule, () => {
      const directives = parseCacheControl({ 'cache-control': value })
      assert.equal(directiveTime(directives, 'max-age'), milliseconds)
    })
  }
})
