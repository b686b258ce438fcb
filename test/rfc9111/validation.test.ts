import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { Fields } from '../../lib/rfc9111/message.ts'
import { conditionalFields, freshenedFields, isConditional } from '../../lib/rfc9111/validation.ts'

const DATE = 'Fri, 16 Apr 2021 21:13:00 GMT'

suite('§4.3.1 Sending a Validation Request', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, conditions: Fields][] = [
    ['ETag is sent in If-None-Match', { etag: '"1"' }, { 'if-none-match': '"1"' }],
    ['a weak ETag, too', { etag: 'W/"1"' }, { 'if-none-match': 'W/"1"' }],
    ['Last-Modified is sent in If-Modified-Since, as it came', { 'last-modified': DATE }, { 'if-modified-since': DATE }],
    ['both are sent', { etag: '"1"', 'last-modified': DATE }, { 'if-none-match': '"1"', 'if-modified-since': DATE }],
    ['Date is no validator', { date: DATE }, {}],
  ]
  for (const [rule, fields, conditions] of rows) {
    test(rule, () => {
      const stored = { url: 'http://example.com/', status: 200, fields, requestTime: 0, responseTime: 0, nominated: {} } // biome-ignore format: one response a line
      assert.deepEqual(conditionalFields(stored), conditions)
    })
  }
})

suite('§4.3.4 Freshening Stored Responses upon Validation', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, stored: Fields, notModified: Fields, freshened: Fields][] = [
    ['fields of the 304 replace those stored', { 'cache-control': 'max-age=1', x: 'a' }, { 'cache-control': 'max-age=2' }, { 'cache-control': 'max-age=2', x: 'a' }],
    ['new fields are added', { x: 'a' }, { y: 'b' }, { x: 'a', y: 'b' }],
    ['several lines replace several lines', { x: ['a', 'b'] }, { x: ['c'] }, { x: ['c'] }],
    ['the age before the validation is over', { age: '10' }, {}, {}],
    ['the age of the 304 counts', { age: '10' }, { age: '1' }, { age: '1' }],
    ['fields of the connection are not stored', {}, { connection: 'close, x', x: '1', 'keep-alive': 'a' }, {}],
    ['the content keeps its type', { 'content-type': 'text/html' }, { 'content-type': 'text/plain' }, { 'content-type': 'text/html' }],
    ['the content keeps its length', { 'content-length': '5' }, { 'content-length': '0' }, { 'content-length': '5' }],
    ['the content keeps its coding', { 'content-encoding': 'gzip' }, { 'content-encoding': 'br' }, { 'content-encoding': 'gzip' }],
    ['the content gets no coding that it does not have', {}, { 'content-encoding': 'gzip', 'content-range': 'bytes 0-1/2' }, {}],
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
    'x',
  )
  const anyFields = fc.dictionary(name, fc.oneof(fc.string(), fc.array(fc.string())))

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

suite('RFC 9110 §13.1 Preconditions', () => {
  for (const name of [
    'if-match',
    'if-modified-since',
    'if-none-match',
    'if-range',
    'if-unmodified-since',
  ]) {
    test(`${name} is a precondition`, () => assert.equal(isConditional({ [name]: '"1"' }), true))
  }

  test('other fields are none', () => {
    assert.equal(isConditional({ etag: '"1"', range: 'bytes=0-1', 'x-if-match': '1' }), false)
  })
})
