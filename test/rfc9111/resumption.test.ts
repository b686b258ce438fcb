import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { Fields } from '../../lib/rfc9111/message.ts'
import { resumptionFields, resumptionStart } from '../../lib/rfc9111/resumption.ts'

const NOW = Date.parse('2026-11-02T12:00:00Z')
const RANGE = { first: 40, last: 99 }
const DATE = 'Mon, 02 Nov 2026 10:00:00 GMT'
const BEFORE = 'Mon, 02 Nov 2026 09:00:00 GMT'

suite('RFC 9110 §13.1.5: the rest of content that is stored', () => {
  // biome-ignore format: one rule a row
  const asked: [what: string, status: number, fields: Fields, validator: string | undefined][] = [
    ['a strong entity-tag', 200, { etag: '"1"' }, '"1"'],
    ['a weak entity-tag', 200, { etag: 'W/"1"' }, undefined],
    ['what is no entity-tag', 200, { etag: '1' }, undefined],
    ['a weak entity-tag beside a strong date', 200, { etag: 'W/"1"', date: DATE, 'last-modified': BEFORE }, undefined],
    ['a strong date', 200, { date: DATE, 'last-modified': BEFORE }, BEFORE],
    ['a date of the same second', 200, { date: DATE, 'last-modified': DATE }, undefined],
    ['nothing', 200, {}, undefined],
    ['a part', 206, { etag: '"1"' }, undefined],
  ]
  for (const [what, status, fields, validator] of asked) {
    test(`is asked for by ${what}: ${validator ?? 'no'}`, () => {
      const expected = validator && { range: 'bytes=40-99', 'if-range': validator }
      assert.deepEqual(resumptionFields({ status, fields }, RANGE, NOW), expected)
    })
  }

  const part = { etag: '"1"', 'content-range': 'bytes 40-99/100' }
  // biome-ignore format: one rule a row
  const answers: [what: string, status: number, fields: Fields, start: number | undefined][] = [
    ['the part', 206, part, 40],
    ['all of it', 200, { etag: '"1"' }, 0],
    ['all of it, and its length', 200, { etag: '"1"', 'content-length': '100' }, 0],
    ['another length', 200, { etag: '"1"', 'content-length': '101' }, undefined],
    ['a part of another length', 206, { ...part, 'content-range': 'bytes 40-99/101' }, undefined],
    ['another part', 206, { ...part, 'content-range': 'bytes 39-99/100' }, undefined],
    ['a part that does not say which', 206, { etag: '"1"' }, undefined],
    ['another entity-tag', 206, { ...part, etag: '"2"' }, undefined],
    ['the same one, but weak', 206, { ...part, etag: 'W/"1"' }, undefined],
    ['no entity-tag', 206, { 'content-range': 'bytes 40-99/100' }, undefined],
    ['another coding', 206, { ...part, 'content-encoding': 'gzip' }, undefined],
    ['that it is not satisfiable', 416, part, undefined],
    ['a failure', 500, { etag: '"1"' }, undefined],
  ]
  for (const [what, status, fields, start] of answers) {
    test(`begins where the answer is ${what} at ${start ?? 'none'}`, () => {
      const stored = { fields: { etag: '"1"' } }
      assert.equal(resumptionStart(stored, 100, RANGE, { status, fields }, NOW), start)
    })
  }
})
