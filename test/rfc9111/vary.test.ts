import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { Fields, RequestMessage } from '../../lib/rfc9111/message.ts'
import { nominate, nominatedMatch, nominatedNames } from '../../lib/rfc9111/vary.ts'

function request(fields: Fields): RequestMessage {
  return { method: 'GET', url: 'http://example.com/', fields }
}

suite('RFC 9110 §12.5.5 Vary', () => {
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

suite('§4.1 Calculating Cache Keys with the Vary Header Field', () => {
  // biome-ignore format: one rule a row
  const same: [rule: string, name: string, a: Fields, b: Fields][] = [
    ['the same value', 'x', { x: 'a' }, { x: 'a' }],
    ['absent from both', 'x', {}, { y: 'b' }],
    ['white space around the members of a list', 'x', { x: 'a,b' }, { x: ' a , b ' }],
    ['one line or several', 'x', { x: 'a, b' }, { x: ['a', 'b'] }],
    ['case in content negotiation', 'accept', { accept: 'Text/HTML' }, { accept: 'text/html' }],
    ['white space in content negotiation', 'accept', { accept: 'text/html; q = 0.5' }, { accept: 'text/html;q=0.5' }],
    ['case of a language', 'accept-language', { 'accept-language': 'EN-gb' }, { 'accept-language': 'en-GB' }],
  ]
  // biome-ignore format: one rule a row
  const different: [rule: string, name: string, a: Fields, b: Fields][] = [
    ['another value', 'x', { x: 'a' }, { x: 'b' }],
    ['absent from one', 'x', { x: 'a' }, {}],
    ['empty and absent', 'x', { x: '' }, {}],
    ['the order of members', 'accept', { accept: 'a/a, b/b' }, { accept: 'b/b, a/a' }],
    ['case of other fields', 'x', { x: 'A' }, { x: 'a' }],
    ['white space within a member of other fields', 'x', { x: 'a = 1' }, { x: 'a=1' }],
    ['case in quoted strings', 'accept', { accept: 'a/b;profile="X"' }, { accept: 'a/b;profile="x"' }],
    ['white space in quoted strings', 'accept', { accept: 'a/b;profile="x; y"' }, { accept: 'a/b;profile="x;y"' }],
    ['a comma in quoted strings', 'x', { x: '"a, b"' }, { x: '"a,b"' }],
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
