import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { Fields } from '../../lib/rfc9111/message.ts'
import {
  comparedWithHead,
  conditionalFields,
  confirmed,
  freshenedFields,
  isNamed,
} from '../../lib/rfc9111/validation.ts'

const DATE = 'Fri, 16 Apr 2021 21:13:00 GMT'
const LATER = 'Sat, 17 Apr 2021 21:13:00 GMT'

suite('§4.3.1 Sending a Validation Request: conditionalFields', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, candidates: Fields[], conditions: Fields][] = [
    ['ETag is sent in If-None-Match', [{ etag: '"1"' }], { 'if-none-match': '"1"' }],
    ['a weak ETag, too', [{ etag: 'W/"1"' }], { 'if-none-match': 'W/"1"' }],
    ['Last-Modified is sent in If-Modified-Since, as it came', [{ 'last-modified': DATE }], { 'if-modified-since': DATE }],
    ['also where it is no date', [{ 'last-modified': 'x' }], { 'if-modified-since': 'x' }],
    ['both are sent', [{ etag: '"1"', 'last-modified': DATE }], { 'if-none-match': '"1"', 'if-modified-since': DATE }],
    ['Date is no validator', [{ date: DATE }], {}],
    ['of several responses all entity-tags are sent', [{ etag: '"1"' }, { etag: '"2"' }], { 'if-none-match': '"1", "2"' }],
    ['each once', [{ etag: '"1"' }, { etag: '"2"' }, { etag: '"1"' }], { 'if-none-match': '"1", "2"' }],
    ['and no date, which could be that of one only', [{ etag: '"1"', 'last-modified': DATE }, { etag: '"2"', 'last-modified': DATE }], { 'if-none-match': '"1", "2"' }],
    ['of one without an entity-tag there is nothing to send', [{ etag: '"1"' }, { 'last-modified': DATE }], { 'if-none-match': '"1"' }],
    ['of no response there is nothing to send', [], {}],
  ]
  for (const [rule, candidates, conditions] of rows) {
    test(rule, () => {
      assert.deepEqual(conditionalFields(validationOf(candidates)), conditions)
    })
  }

  test('of a response for other requests the entity-tag is sent, and no date', () => {
    const candidates = [{ fields: { etag: '"1"', 'last-modified': DATE } }]
    const fields = conditionalFields({ stored: undefined, candidates })
    assert.deepEqual(fields, { 'if-none-match': '"1"' })
  })
})

/** A validation of the only response for a request, or of several that are for others. */
function validationOf(all: readonly Fields[]) {
  const candidates = all.map((fields) => ({ fields }))
  return { candidates, stored: candidates.length === 1 ? candidates[0] : undefined }
}

suite('§4.3.4 Freshening Stored Responses upon Validation: confirmed', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, candidates: Fields[], notModified: Fields, index: number | undefined][] = [
    ['a 304 confirms the response whose entity-tag it has', [{ etag: '"1"' }], { etag: '"1"' }, 0],
    ['and none that has another', [{ etag: '"1"' }], { etag: '"2"' }, undefined],
    ['of several the one that has it', [{ etag: '"1"' }, { etag: '"2"' }, { etag: '"3"' }], { etag: '"2"' }, 1],
    ['of several none', [{ etag: '"1"' }, { etag: '"2"' }], { etag: '"3"' }, undefined],
    ['a weak entity-tag is that of a weak one', [{ etag: 'W/"1"' }], { etag: 'W/"1"' }, 0],
    ['a strong one may stand for a weak one', [{ etag: 'W/"1"' }], { etag: '"1"' }, 0],
    ['a weak one may stand for a strong one', [{ etag: '"1"' }], { etag: 'W/"1"' }, 0],
    ['the case of an entity-tag matters', [{ etag: '"a"' }], { etag: '"A"' }, undefined],
    ['the entity-tag counts, not the date', [{ etag: '"1"', 'last-modified': DATE }], { etag: '"1"', 'last-modified': LATER }, 0],
    ['also where the date is the same', [{ etag: '"1"', 'last-modified': DATE }], { etag: '"2"', 'last-modified': DATE }, undefined],
    ['without an entity-tag the date counts', [{ etag: '"1"', 'last-modified': DATE }], { 'last-modified': DATE }, 0],
    ['which must be the same', [{ 'last-modified': DATE }], { 'last-modified': LATER }, undefined],
    ['a response without an entity-tag is known by its date', [{ 'last-modified': DATE }], { etag: '"1"', 'last-modified': DATE }, 0],
    ['a 304 that names nothing is about the only one there is', [{ etag: '"1"' }], {}, 0],
    ['also where that is known by its date', [{ 'last-modified': DATE }], {}, 0],
    ['also where that has no validator', [{}], {}, 0],
    ['but not about one of several', [{ etag: '"1"' }, { etag: '"2"' }], {}, undefined],
    ['nor does a date tell which', [{ etag: '"1"', 'last-modified': DATE }, { etag: '"2"' }], { 'last-modified': DATE }, undefined],
    ['of no response it confirms none', [], { etag: '"1"' }, undefined],
    ['of no response nothing confirms one', [], {}, undefined],
  ]
  for (const [rule, candidates, notModified, index] of rows) {
    test(rule, () => {
      const validation = validationOf(candidates)
      const expected = index === undefined ? undefined : validation.candidates[index]
      assert.equal(confirmed(validation, notModified), expected)
    })
  }

  test('a response for other requests is confirmed by its strong entity-tag, and by nothing else', () => {
    const fields = { etag: '"1"', 'last-modified': DATE }
    const validation = { stored: undefined, candidates: [{ fields }] }
    assert.equal(confirmed(validation, { etag: '"1"' }), validation.candidates[0])
    for (const notModified of [{}, { etag: 'W/"1"' }, { 'last-modified': DATE }]) {
      assert.equal(confirmed(validation, notModified), undefined)
    }
  })

  const etag = fc.constantFrom('"1"', '"2"', 'W/"1"')
  const anyFields = fc.record(
    { etag, 'last-modified': fc.constantFrom(DATE, LATER) },
    { requiredKeys: [] },
  )

  test('none is confirmed by an entity-tag that none of them has', () => {
    const tagged = anyFields.filter((fields) => fields.etag !== undefined)
    fc.assert(
      fc.property(fc.array(tagged), anyFields, (all, notModified) => {
        const validation = validationOf(all)
        assert.equal(confirmed(validation, { ...notModified, etag: '"other"' }), undefined)
      }),
    )
  })

  test('of several that have been asked about, the one that is confirmed has been named', () => {
    fc.assert(
      fc.property(fc.array(anyFields, { minLength: 2 }), anyFields, (all, notModified) => {
        const validation = validationOf(all)
        const found = confirmed(validation, notModified)
        if (found === undefined) return
        assert.ok(validation.candidates.includes(found))
        const opaque = (value: string | undefined) => value?.replace(/^W\//, '')
        assert.equal(opaque(String(found.fields.etag)), opaque(notModified.etag))
        assert.notEqual(notModified.etag, undefined)
      }),
    )
  })
})

suite('§4.3.4 Freshening Stored Responses upon Validation: isNamed', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, stored: Fields, notModified: Fields, isNamed: boolean][] = [
    ['a 304 names what has its strong entity-tag', { etag: '"1"' }, { etag: '"1"' }, true],
    ['and not what has another', { etag: '"1"' }, { etag: '"2"' }, false],
    ['not by a weak one', { etag: 'W/"1"' }, { etag: 'W/"1"' }, false],
    ['not even by a strong one what has a weak one', { etag: 'W/"1"' }, { etag: '"1"' }, false],
    ['nor by a weak one what has a strong one', { etag: '"1"' }, { etag: 'W/"1"' }, false],
    ['not what has none', { 'last-modified': DATE }, { etag: '"1"', 'last-modified': DATE }, false],
    ['not by its date', { etag: '"1"', 'last-modified': DATE }, { 'last-modified': DATE }, false],
    ['and not by nothing', {}, {}, false],
  ]
  for (const [rule, stored, notModified, expected] of rows) {
    test(rule, () => assert.equal(isNamed(stored, notModified), expected))
  }
})

suite('§3.2 Updating Stored Header Fields: freshenedFields', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, stored: Fields, notModified: Fields, freshened: Fields][] = [
    ['fields of the 304 replace those stored', { 'cache-control': 'max-age=1', x: 'a' }, { 'cache-control': 'max-age=2' }, { 'cache-control': 'max-age=2', x: 'a' }],
    ['new fields are added', { x: 'a' }, { y: 'b' }, { x: 'a', y: 'b' }],
    ['several lines replace several lines', { x: ['a', 'b'] }, { x: ['c'] }, { x: ['c'] }],
    ['an empty field replaces another', { x: 'a' }, { x: '' }, { x: '' }],
    ['the age before the validation is over', { age: '10' }, {}, {}],
    ['the age of the 304 counts', { age: '10' }, { age: '1' }, { age: '1' }],
    ['fields of the connection are not stored', {}, { connection: 'close, x', x: '1', 'keep-alive': 'a' }, {}],
    ['nor do they take away what is stored', { x: 'a' }, { connection: 'x', x: 'b' }, { x: 'a' }],
    ['a new date of modification is stored', { 'last-modified': DATE }, { 'last-modified': LATER }, { 'last-modified': LATER }],
    ['an entity-tag is added where there was none', { 'last-modified': DATE }, { etag: '"1"' }, { 'last-modified': DATE, etag: '"1"' }],
    ['the content keeps its entity-tag: no weak one becomes strong', { etag: 'W/"1"' }, { etag: '"1"' }, { etag: 'W/"1"' }],
    ['the content keeps its type', { 'content-type': 'text/html' }, { 'content-type': 'text/plain' }, { 'content-type': 'text/html' }],
    ['the content keeps its length', { 'content-length': '5' }, { 'content-length': '0' }, { 'content-length': '5' }],
    ['the content keeps its coding', { 'content-encoding': 'gzip' }, { 'content-encoding': 'br' }, { 'content-encoding': 'gzip' }],
    ['the content gets no coding that it does not have', {}, { 'content-encoding': 'gzip', 'content-range': 'bytes 0-1/2' }, {}],
    ['other fields about the content are replaced', { 'content-location': '/a' }, { 'content-location': '/b' }, { 'content-location': '/b' }],
  ]
  for (const [rule, stored, notModified, freshened] of rows) {
    test(rule, () => assert.deepEqual(freshenedFields(stored, notModified), freshened))
  }

  const name = fc.constantFrom(
    'age',
    'cache-control',
    'connection',
    'content-encoding',
    'content-length',
    'content-range',
    'content-type',
    'etag',
    'last-modified',
    'transfer-encoding',
    'x',
  )
  const anyFields = fc.dictionary(
    name,
    fc.oneof(fc.constantFrom('x', 'cache-control'), fc.string(), fc.array(fc.string())),
  )

  test('freshening keeps the content’s own fields, whatever the 304 says', () => {
    fc.assert(
      fc.property(anyFields, anyFields, (stored, notModified) => {
        const freshened = freshenedFields(stored, notModified)
        for (const own of ['content-encoding', 'content-length', 'content-range', 'content-type']) {
          assert.deepEqual(freshened[own], stored[own])
        }
      }),
    )
  })

  test('freshening loses no stored field but Age', () => {
    fc.assert(
      fc.property(anyFields, anyFields, (stored, notModified) => {
        const { age: _, ...kept } = stored
        const freshened = freshenedFields(stored, notModified)
        for (const [own, value] of Object.entries(kept)) {
          assert.ok(own in freshened)
          if (!(own in notModified)) assert.deepEqual(freshened[own], value)
        }
      }),
    )
  })

  test('freshening invents nothing: each field is that of one message or the other', () => {
    fc.assert(
      fc.property(anyFields, anyFields, (stored, notModified) => {
        for (const [own, value] of Object.entries(freshenedFields(stored, notModified))) {
          assert.ok(value === stored[own] || value === notModified[own])
        }
      }),
    )
  })

  test('freshening twice with the same 304 is freshening once, and changes neither message', () => {
    fc.assert(
      fc.property(anyFields, anyFields, (stored, notModified) => {
        const before = JSON.stringify([stored, notModified])
        const once = freshenedFields(stored, notModified)
        assert.deepEqual(freshenedFields(once, notModified), once)
        assert.equal(JSON.stringify([stored, notModified]), before)
      }),
    )
  })
})

suite('§4.3.5 Freshening Responses with HEAD: comparedWithHead', () => {
  const stored = { etag: '"1"', 'last-modified': DATE, 'content-length': '5' }

  // biome-ignore format: one rule a row
  const rows: [rule: string, stored: Fields, length: number | undefined, head: Fields, compared: 'same' | 'other' | 'unknown'][] = [
    ['the same validators and length are of the same', stored, 5, stored, 'same'],
    ['who says nothing is no evidence', stored, 5, {}, 'unknown'],
    ['nor is it where nothing is known', {}, 5, {}, 'unknown'],
    ['the same length alone is none', stored, 5, { 'content-length': '5' }, 'unknown'],
    ['not even with the same other fields', { x: '1' }, 5, { x: '1', 'content-length': '5' }, 'unknown'],
    ['another entity-tag is of another', stored, 5, { etag: '"2"' }, 'other'],
    ['even with the same date', stored, 5, { etag: '"2"', 'last-modified': DATE }, 'other'],
    ['another date is', stored, 5, { 'last-modified': LATER }, 'other'],
    ['even with the same entity-tag', stored, 5, { etag: '"1"', 'last-modified': LATER }, 'other'],
    ['an entity-tag that is not stored may be of another', { 'last-modified': DATE }, 5, { etag: '"1"', 'last-modified': DATE }, 'unknown'],
    ['a date that is not stored may be', { etag: '"1"' }, 5, { etag: '"1"', 'last-modified': DATE }, 'unknown'],
    ['where there is no other one, too', {}, 5, { etag: '"1"' }, 'unknown'],
    ['one validator of two is enough', stored, 5, { etag: '"1"' }, 'same'],
    ['be it the date', stored, 5, { 'last-modified': DATE }, 'same'],
    ['another length is of another', stored, 5, { etag: '"1"', 'content-length': '6' }, 'other'],
    ['also without validators', {}, 5, { 'content-length': '6' }, 'other'],
    ['it is the content that counts, not what has been said of it', { etag: '"1"' }, 5, { etag: '"1"', 'content-length': '5' }, 'same'],
    ['no length is not known to be another', stored, 5, { etag: '"1"' }, 'same'],
    ['content of unknown length may be of any', { etag: '"1"' }, undefined, { etag: '"1"', 'content-length': '6' }, 'same'],
    ['no content is of length 0', { etag: '"1"' }, 0, { etag: '"1"', 'content-length': '0' }, 'same'],
    ['and of no other', {}, 0, { 'content-length': '1' }, 'other'],
    ['other fields do not matter', stored, 5, { etag: '"1"', 'content-type': 'text/plain', x: '1' }, 'same'],
  ]
  for (const [rule, fields, length, head, compared] of rows) {
    test(rule, () => assert.equal(comparedWithHead(fields, length, head), compared))
  }
})
