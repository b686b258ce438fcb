import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { Fields } from '../../lib/rfc9111/message.ts'
import {
  entityTags,
  isStrong,
  strongLastModified,
  strongMatch,
  weakMatch,
} from '../../lib/rfc9111/validators.ts'
import { NOW } from '../helpers/stored.ts'

const entityTag = fc.stringMatching(/^(W\/)?"[!#-~\u0080-\u00FF]*"$/)

suite('RFC 9110 §8.8.3 ETag: entityTags', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, value: string, tags: readonly string[] | '*'][] = [
    ['one', '"1"', ['"1"']],
    ['one that is empty', '""', ['""']],
    ['several', '"1", W/"2","3"', ['"1"', 'W/"2"', '"3"']],
    ['white space around them is no part of them', ' "1"\t,  "2" ', ['"1"', '"2"']],
    ['RFC 9110 §5.6.1.2: empty members do not count', ', "1",, ,"2",', ['"1"', '"2"']],
    ['a comma between quotes does not separate', '"a,b", W/"c, d"', ['"a,b"', 'W/"c, d"']],
    ['a backslash is a character like any other', '"a\\", "b\\\\"', ['"a\\"', '"b\\\\"']],
    ['so is one that is not ASCII', '"ü", "\u0080"', ['"ü"', '"\u0080"']],
    ['* is any', '*', '*'],
    ['with white space around it, too', ' * ', '*'],
    ['* in quotes is an entity-tag', '"*"', ['"*"']],
    ['nothing is none', '', []],
    ['nor are commas', ' , ,', []],
    ['quotes that do not end reach to the end', '"1", "2, "3', ['"1"', '"2, "3']],
  ]
  for (const [rule, value, tags] of rows) {
    test(rule, () => assert.deepEqual(entityTags(value), tags))
  }

  test('a list made of entity-tags is taken apart into them', () => {
    fc.assert(
      fc.property(fc.array(entityTag), fc.constantFrom(',', ', ', ' ,\t'), (tags, comma) => {
        assert.deepEqual(entityTags(tags.join(comma)), tags)
      }),
    )
  })

  test('no text makes it throw, and nothing but commas and white space is lost', () => {
    const text = fc.string({ unit: fc.constantFrom('"', ',', ' ', 'W/', '*', '\\', 'a') })
    const essence = (value: string) => value.replace(/[\s,]/g, '')
    fc.assert(
      fc.property(text, (value) => {
        const tags = entityTags(value)
        assert.equal(essence(tags === '*' ? tags : tags.join()), essence(value))
      }),
    )
  })
})

suite('RFC 9110 §8.8.3.2 Comparison: weakMatch, strongMatch', () => {
  // biome-ignore format: one rule a row
  const rows: [a: string, b: string, isStrong: boolean, isWeak: boolean][] = [
    ['W/"1"', 'W/"1"', false, true],
    ['W/"1"', 'W/"2"', false, false],
    ['W/"1"', '"1"', false, true],
    ['"1"', '"1"', true, true],
    ['"1"', '"2"', false, false],
    ['"a"', '"A"', false, false],
    ['""', '""', true, true],
    ['W/""', '""', false, true],
    ['"W/1"', '"1"', false, false],
    ['"W/1"', '"W/1"', true, true],
  ]
  for (const [a, b, strong, weak] of rows) {
    test(`strongMatch: ${a} and ${b}: ${strong}`, () => {
      assert.equal(strongMatch(a, b), strong)
      assert.equal(strongMatch(b, a), strong)
    })
    test(`weakMatch: ${a} and ${b}: ${weak}`, () => {
      assert.equal(weakMatch(a, b), weak)
      assert.equal(weakMatch(b, a), weak)
    })
  }

  test('what matches strongly also matches weakly, and every entity-tag itself weakly', () => {
    fc.assert(
      fc.property(entityTag, entityTag, (a, b) => {
        assert.equal(weakMatch(a, a), true)
        assert.equal(strongMatch(a, a), isStrong(a))
        assert.equal(weakMatch(a, b), weakMatch(b, a))
        assert.equal(strongMatch(a, b), strongMatch(b, a))
        if (strongMatch(a, b)) assert.ok(weakMatch(a, b))
      }),
    )
  })
})

suite('RFC 9110 §8.8.1 Weak versus Strong: isStrong', () => {
  // biome-ignore format: one rule a row
  const rows: [entityTag: string, isStrong: boolean][] = [
    ['"1"', true],
    ['""', true],
    ['"W/1"', true],
    ['"w/"', true],
    ['W/"1"', false],
    ['W/""', false],
  ]
  for (const [tag, expected] of rows) {
    test(`${tag}: ${expected}`, () => assert.equal(isStrong(tag), expected))
  }
})

suite('RFC 9110 §8.8.2.2 Comparison: strongLastModified', () => {
  const modified = NOW - 60_000
  const at = (time: number) => new Date(time).toUTCString()

  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, isStrong: boolean][] = [
    ['sent long after the modification', { 'last-modified': at(modified), date: at(NOW) }, true],
    ['sent a second after the modification', { 'last-modified': at(modified), date: at(modified + 1000) }, true],
    ['sent in the same second', { 'last-modified': at(modified), date: at(modified) }, false],
    ['sent before the modification', { 'last-modified': at(modified), date: at(modified - 1000) }, false],
    ['sent at an unknown time', { 'last-modified': at(modified) }, false],
    ['sent at a time that is no date', { 'last-modified': at(modified), date: 'now' }, false],
    ['without a modification', { date: at(NOW) }, false],
    ['with a modification that is no date', { 'last-modified': '-1', date: at(NOW) }, false],
    ['with two modifications', { 'last-modified': [at(modified), at(modified)], date: at(NOW) }, false],
    ['in the format of asctime', { 'last-modified': 'Mon Jun 15 11:59:00 2026', date: at(NOW) }, true],
    ['in the format of RFC 850', { 'last-modified': 'Monday, 15-Jun-26 11:59:00 GMT', date: at(NOW) }, true],
  ]
  for (const [rule, fields, expected] of rows) {
    test(`${rule}: ${expected ? 'strong' : 'none'}`, () => {
      assert.equal(strongLastModified(fields, NOW), expected ? modified : undefined)
    })
  }

  test('`now` decides the century of a year with two digits', () => {
    const fields = { 'last-modified': 'Sunday, 06-Nov-94 08:49:37 GMT', date: at(NOW + 1e13) }
    assert.equal(strongLastModified(fields, NOW), Date.UTC(1994, 10, 6, 8, 49, 37))
    const later = Date.UTC(2090, 0)
    assert.equal(strongLastModified(fields, later), Date.UTC(2094, 10, 6, 8, 49, 37))
  })
})
