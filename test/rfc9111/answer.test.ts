import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  type Answer,
  answer,
  noPartFields,
  notModifiedFields,
  partialFields,
} from '../../lib/rfc9111/answer.ts'
import type { Fields, RequestMessage, StoredResponse } from '../../lib/rfc9111/message.ts'
import type { Range } from '../../lib/rfc9111/ranges.ts'
import { NOW, stored } from '../helpers/stored.ts'

const SECOND = 1000
const DAY = 86_400_000
const MODIFIED = NOW - DAY

function at(time: number): string {
  return new Date(time).toUTCString()
}

function request(fields: Fields = {}, method = 'GET'): RequestMessage {
  return { method, url: 'http://example.com/', fields }
}

/** An answer in a few words: its kind, and which parts of how much. */
function words(given: Answer): string {
  switch (given.kind) {
    case 'parts': {
      const parts = given.ranges.map(({ first, last }) => `${first}-${last}`)
      return `parts ${parts.join()}/${given.length}`
    }
    case 'no-part':
      return `no-part */${given.length}`
    default:
      return given.kind
  }
}

/** The answer to GET with a stored response, of 1000 bytes unless it says otherwise. */
function get(fields: Fields, response: StoredResponse, length = 1000): string {
  return words(answer(request(fields), response, length))
}

suite('RFC 9110 §13.1.2 If-None-Match: answer', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, condition: string | string[], etag: string | undefined, expected: string][] = [
    ['the same entity-tag', '"1"', '"1"', 'not-modified'],
    ['another one', '"2"', '"1"', 'whole'],
    ['one of a list', '"0", "1" ,"2"', '"1"', 'not-modified'],
    ['none of a list', '"0", "2"', '"1"', 'whole'],
    ['one in another line', ['"0"', '"1"'], '"1"', 'not-modified'],
    ['empty members do not count', ', ,"1",', '"1"', 'not-modified'],
    ['weak in both, by weak comparison', 'W/"1"', 'W/"1"', 'not-modified'],
    ['weak in the request', 'W/"1"', '"1"', 'not-modified'],
    ['weak in the response', '"1"', 'W/"1"', 'not-modified'],
    ['weak and another', 'W/"2"', 'W/"1"', 'whole'],
    ['weak in a list', '"0", W/"1"', '"1"', 'not-modified'],
    ['case matters', '"A"', '"a"', 'whole'],
    ['a comma in an entity-tag does not separate', '"a,b"', '"a,b"', 'not-modified'],
    ['nor is its half an entity-tag', '"1,2"', '"1"', 'whole'],
    ['a backslash in an entity-tag escapes nothing', '"0\\", "1"', '"1"', 'not-modified'],
    ['an empty entity-tag', '""', '""', 'not-modified'],
    ['* is any', '*', '"1"', 'not-modified'],
    ['* needs no entity-tag', '*', undefined, 'not-modified'],
    ['* in quotes is an entity-tag like any other', '"*"', '"1"', 'whole'],
    ['without an entity-tag nothing else matches', '"1"', undefined, 'whole'],
    ['an empty list matches nothing', '', '"1"', 'whole'],
  ]
  for (const [rule, condition, etag, expected] of rows) {
    test(`${rule}: ${expected}`, () => {
      const response = stored(etag === undefined ? {} : { etag })
      for (const method of ['GET', 'HEAD']) {
        const given = answer(request({ 'if-none-match': condition }, method), response, 1000)
        assert.equal(words(given), expected)
      }
    })
  }
})

suite('RFC 9110 §13.1.3 If-Modified-Since, RFC 9111 §4.3.2: answer', () => {
  const modified = { 'last-modified': at(MODIFIED), date: at(NOW) }

  // biome-ignore format: one rule a row
  const rows: [rule: string, since: string | string[], fields: Fields, expected: string][] = [
    ['modified at that time', at(MODIFIED), modified, 'not-modified'],
    ['modified before', at(MODIFIED + SECOND), modified, 'not-modified'],
    ['modified after', at(MODIFIED - SECOND), modified, 'whole'],
    ['a date in the future counts like any other', at(NOW + DAY), modified, 'not-modified'],
    ['in the format of RFC 850', 'Sunday, 14-Jun-26 12:00:00 GMT', modified, 'not-modified'],
    ['in the format of asctime', 'Sun Jun 14 11:59:59 2026', modified, 'whole'],
    ['a weak date serves as well', at(MODIFIED), { 'last-modified': at(MODIFIED), date: at(MODIFIED) }, 'not-modified'],
    ['without Last-Modified, sent at that time', at(NOW - 9 * SECOND), { date: at(NOW - 9 * SECOND) }, 'not-modified'],
    ['without Last-Modified, sent after', at(NOW - 10 * SECOND), { date: at(NOW - 9 * SECOND) }, 'whole'],
    ['with neither, received at that time', at(NOW), {}, 'not-modified'],
    ['with neither, received after', at(NOW - SECOND), {}, 'whole'],
    ['where Date is no date, received at that time', at(NOW), { date: 'today' }, 'not-modified'],
    ['where Date is no date, received after', at(NOW - SECOND), { date: 'today' }, 'whole'],
    ['the time of receipt does not count where there is a date', at(NOW - SECOND), { date: at(NOW - DAY) }, 'not-modified'],
    ['nor does the date where there is a modification', at(MODIFIED), { ...modified, date: at(NOW) }, 'not-modified'],
    ['what is no date is ignored', 'yesterday', modified, 'whole'],
    ['a number is no date', String(NOW), modified, 'whole'],
    ['nothing is no date', '', modified, 'whole'],
    ['two dates are no date', [at(NOW), at(NOW)], modified, 'whole'],
    ['an entity-tag is no date', '"1"', { ...modified, etag: '"1"' }, 'whole'],
  ]
  for (const [rule, since, fields, expected] of rows) {
    test(`${rule}: ${expected}`, () => {
      for (const method of ['GET', 'HEAD']) {
        const given = answer(request({ 'if-modified-since': since }, method), stored(fields), 1000)
        assert.equal(words(given), expected)
      }
    })
  }
})

suite('RFC 9110 §13.2.2 Precedence of Preconditions: answer', () => {
  const response = stored({ etag: '"1"', 'last-modified': at(MODIFIED), date: at(NOW) })
  const since = at(MODIFIED)
  const before = at(MODIFIED - DAY)

  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, expected: string][] = [
    ['without any it is the whole response', {}, 'whole'],
    ['If-None-Match that does not match counts before If-Modified-Since', { 'if-none-match': '"2"', 'if-modified-since': since }, 'whole'],
    ['If-None-Match that matches counts before If-Modified-Since', { 'if-none-match': '"1"', 'if-modified-since': before }, 'not-modified'],
    ['also where it is empty', { 'if-none-match': '', 'if-modified-since': since }, 'whole'],
    ['If-None-Match that matches counts before Range', { 'if-none-match': '"1"', range: 'bytes=0-1' }, 'not-modified'],
    ['If-None-Match that does not leaves Range to be answered', { 'if-none-match': '"2"', range: 'bytes=0-1' }, 'parts 0-1/1000'],
    ['If-Modified-Since that matches counts before Range', { 'if-modified-since': since, range: 'bytes=0-1' }, 'not-modified'],
    ['If-Modified-Since that does not leaves Range to be answered', { 'if-modified-since': before, range: 'bytes=0-1' }, 'parts 0-1/1000'],
    ['they count before a range that cannot be satisfied', { 'if-none-match': '"1"', range: 'bytes=1000-' }, 'not-modified'],
    ['they count before If-Range', { 'if-none-match': '"1"', range: 'bytes=0-1', 'if-range': '"2"' }, 'not-modified'],
    ['If-Range that does not match is left after them', { 'if-none-match': '"2"', range: 'bytes=0-1', 'if-range': '"2"' }, 'whole'],
    ['§13.1.5: If-Range without Range is ignored', { 'if-range': '"1"' }, 'whole'],
    ['§4.3.2: If-Match is for the origin', { 'if-match': '"2"' }, 'whole'],
    ['§4.3.2: and so is If-Unmodified-Since', { 'if-unmodified-since': before }, 'whole'],
  ]
  for (const [rule, fields, expected] of rows) {
    test(rule, () => assert.equal(get(fields, response), expected))
  }

  // biome-ignore format: one rule a row
  const statuses: [status: number, expected: string][] = [
    [200, 'not-modified'],
    [203, 'not-modified'],
    [204, 'not-modified'],
    [299, 'not-modified'],
    [300, 'whole'],
    [301, 'whole'],
    [404, 'whole'],
    [410, 'whole'],
    [501, 'whole'],
  ]
  for (const [status, expected] of statuses) {
    test(`§13.2.1: conditions on a stored ${status}: ${expected}`, () => {
      const other = { ...response, status }
      assert.equal(get({ 'if-none-match': '"1"' }, other), expected)
      assert.equal(get({ 'if-none-match': '*' }, other), expected)
      assert.equal(get({ 'if-modified-since': since }, other), expected)
    })
  }
})

suite('RFC 9110 §14.2 Range: answer', () => {
  const many = (count: number, step: number) =>
    `bytes=${Array.from({ length: count }, (_, index) => `${index * step}-${index * step}`).join()}`

  // biome-ignore format: one rule a row
  const rows: [rule: string, range: string | string[], length: number | undefined, expected: string][] = [
    ['the first bytes', 'bytes=0-9', 1000, 'parts 0-9/1000'],
    ['the last bytes', 'bytes=-10', 1000, 'parts 990-999/1000'],
    ['the rest', 'bytes=990-', 1000, 'parts 990-999/1000'],
    ['more than there is', 'bytes=990-2000', 1000, 'parts 990-999/1000'],
    ['all', 'bytes=0-', 1000, 'parts 0-999/1000'],
    ['several', 'bytes=0-0, 500-509, -1', 1000, 'parts 0-0,500-509,999-999/1000'],
    ['several that are one', 'bytes=0-9, 10-19', 1000, 'parts 0-19/1000'],
    ['one of several that can be satisfied', 'bytes=1000-, 5-6', 1000, 'parts 5-6/1000'],
    ['§15.5.17: none that can be satisfied', 'bytes=1000-, -0', 1000, 'no-part */1000'],
    ['§15.5.17: none of content without a byte', 'bytes=0-', 0, 'no-part */0'],
    ['sixteen parts', many(16, 2000), 99_000, `parts ${many(16, 2000).slice(6)}/99000`],
    ['too many parts are for the origin', many(17, 2000), 99_000, 'none'],
    ['unless they become few', many(100, 2), 1000, 'parts 0-198/1000'],
    ['another unit is for the origin', 'items=0-1', 1000, 'none'],
    ['and so is what is malformed', 'bytes=2-1', 1000, 'none'],
    ['also in several lines', ['bytes=0-1', 'bytes=4-5'], 1000, 'none'],
    ['and a part of content whose length is unknown', 'bytes=0-1', undefined, 'none'],
    ['even if none could be satisfied', 'bytes=-0', undefined, 'none'],
  ]
  for (const [rule, range, length, expected] of rows) {
    test(rule, () => {
      const given = answer(request({ range }), stored({ etag: '"1"' }), length)
      assert.equal(words(given), expected)
    })
  }

  test('§14.1.2: the last bytes of content without a byte are its whole', () => {
    assert.equal(get({ range: 'bytes=-5' }, stored({}), 0), 'whole')
  })

  // biome-ignore format: one rule a row
  const ignored: [rule: string, method: string, status: number][] = [
    ['§14.2: HEAD has no parts', 'HEAD', 200],
    ['nor has any other method', 'OPTIONS', 200],
    ['nor has a response that is not 200: 203', 'GET', 203],
    ['204', 'GET', 204],
    ['301', 'GET', 301],
    ['404', 'GET', 404],
  ]
  for (const [rule, method, status] of ignored) {
    test(rule, () => {
      for (const range of ['bytes=0-1', 'bytes=1000-', 'bytes=2-1', 'items=0-1']) {
        const given = answer(request({ range }, method), stored({}, { status }), 1000)
        assert.equal(given.kind, 'whole')
      }
      const unknown = answer(request({ range: 'bytes=0-1' }, method), stored({}, { status }), undefined) // biome-ignore format: one answer
      assert.equal(unknown.kind, 'whole')
    })
  }
})

suite('RFC 9110 §13.1.5 If-Range: answer', () => {
  const strong = { etag: '"1"', 'last-modified': at(MODIFIED), date: at(MODIFIED + SECOND) }
  const weak = { etag: 'W/"1"', 'last-modified': at(MODIFIED), date: at(MODIFIED) }

  // biome-ignore format: one rule a row
  const rows: [rule: string, validator: string | string[], fields: Fields, isTrue: boolean][] = [
    ['the strong entity-tag', '"1"', strong, true],
    ['another entity-tag', '"2"', strong, false],
    ['a weak one for a strong one', 'W/"1"', strong, false],
    ['a strong one for a weak one', '"1"', weak, false],
    ['the weak entity-tag', 'W/"1"', weak, false],
    ['an entity-tag where there is none', '"1"', { 'last-modified': at(MODIFIED), date: at(NOW) }, false],
    ['a list of entity-tags is none', '"1", "2"', strong, false],
    ['* is none', '*', strong, false],
    ['nothing is none', '', strong, false],
    ['the strong date', at(MODIFIED), strong, true],
    ['the strong date where there is no entity-tag', at(MODIFIED), { 'last-modified': at(MODIFIED), date: at(NOW) }, true],
    ['the strong date where the entity-tag is weak', at(MODIFIED), { ...strong, etag: 'W/"1"' }, true],
    ['an earlier date', at(MODIFIED - SECOND), strong, false],
    ['a later date', at(MODIFIED + SECOND), strong, false],
    ['the weak date', at(MODIFIED), weak, false],
    ['the date of a response sent at an unknown time', at(MODIFIED), { 'last-modified': at(MODIFIED) }, false],
    ['a date where there is no modification', at(MODIFIED), { etag: '"1"', date: at(NOW) }, false],
    ['the time at which it was sent', at(NOW), { date: at(NOW) }, false],
    ['two dates', [at(MODIFIED), at(MODIFIED)], strong, false],
    ['what is neither', 'yesterday', { ...strong, 'last-modified': 'yesterday' }, false],
  ]
  for (const [rule, validator, fields, isTrue] of rows) {
    test(`${rule}: ${isTrue ? 'the part' : 'the whole'}`, () => {
      const response = stored(fields)
      const of = (range: string, length?: number) =>
        words(answer(request({ range, 'if-range': validator }), response, length))
      assert.equal(of('bytes=0-1', 1000), isTrue ? 'parts 0-1/1000' : 'whole')
      assert.equal(of('bytes=1000-', 1000), isTrue ? 'no-part */1000' : 'whole')
      assert.equal(of('bytes=2-1', 1000), isTrue ? 'none' : 'whole')
      assert.equal(of('bytes=0-1'), isTrue ? 'none' : 'whole')
    })
  }
})

/** What a 304 or 206 must have if the 200 has it (§15.3.7, §15.4.5). */
const REQUIRED = {
  'cache-control': 'max-age=60',
  'content-location': '/a',
  date: at(NOW),
  etag: '"1"',
  expires: at(NOW + DAY),
  vary: ['accept', 'origin'],
}

/** What describes the content. */
const METADATA = {
  'content-encoding': 'gzip',
  'content-language': 'en',
  'content-length': '1000',
  'content-type': 'text/plain',
}

suite('RFC 9110 §15.4.5 304 Not Modified: notModifiedFields', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, sent: Fields][] = [
    ['it has what it must', REQUIRED, REQUIRED],
    ['it does not describe the content', { ...REQUIRED, ...METADATA }, REQUIRED],
    ['nor its digest', { 'content-digest': 'sha-256=:aA==:', 'repr-digest': 'sha-256=:aA==:', 'content-md5': 'aA==' }, {}],
    ['Last-Modified is not sent beside ETag', { etag: '"1"', 'last-modified': at(MODIFIED) }, { etag: '"1"' }],
    ['nor beside a weak one', { etag: 'W/"1"', 'last-modified': at(MODIFIED) }, { etag: 'W/"1"' }],
    ['alone it is', { 'last-modified': at(MODIFIED), ...METADATA }, { 'last-modified': at(MODIFIED) }],
    ['other fields are sent', { 'x-a': '1', 'set-cookie': ['a=1', 'b=2'], link: '</a>' }, { 'x-a': '1', 'set-cookie': ['a=1', 'b=2'], link: '</a>' }],
    ['where there is nothing, nothing is', {}, {}],
  ]
  for (const [rule, fields, sent] of rows) {
    test(rule, () => assert.deepEqual(notModifiedFields(fields), sent))
  }
})

suite('RFC 9110 §15.3.7 206 Partial Content: partialFields', () => {
  const one: Range[] = [{ first: 10, last: 19 }]
  const two: Range[] = [
    { first: 500, last: 501 },
    { first: 0, last: 0 },
  ]
  const ofOne = { 'content-length': '10', 'content-range': 'bytes 10-19/1000' }
  const type = 'multipart/byteranges; boundary=BOUNDARY'
  const typed = [
    '--BOUNDARY',
    'Content-Type: text/plain',
    'Content-Range: bytes 500-501/1000',
    '',
    'xx',
    '--BOUNDARY',
    'Content-Type: text/plain',
    'Content-Range: bytes 0-0/1000',
    '',
    'x',
    '--BOUNDARY--',
    '',
  ]
  const untyped = typed.filter((line) => !line.startsWith('Content-Type'))
  const lengthOf = (lines: string[]) => String(lines.join('\r\n').length)
  const modified = { 'last-modified': at(MODIFIED) }

  // biome-ignore format: one rule a row
  const rows: [rule: string, request: Fields, fields: Fields, ranges: Range[], sent: Fields][] = [
    ['§15.3.7.1: a single part has the fields of the whole, but its own length and range', {}, { ...REQUIRED, ...METADATA, ...modified }, one, { ...REQUIRED, ...METADATA, ...modified, ...ofOne }],
    ['§15.3.7.1: also where the whole has none', {}, {}, one, ofOne],
    ['a single part that is all', {}, {}, [{ first: 0, last: 999 }], { 'content-length': '1000', 'content-range': 'bytes 0-999/1000' }],
    ['with If-Range, what describes the content is known', { 'if-range': '"1"' }, { ...REQUIRED, ...METADATA, ...modified, 'x-a': '1' }, one, { ...REQUIRED, 'x-a': '1', ...ofOne }],
    ['with If-Range by date, the date is sent', { 'if-range': at(MODIFIED) }, { ...METADATA, ...modified }, one, { ...modified, ...ofOne }],
    ['§15.3.7.2: several are multipart content, without a range of its own', {}, { ...REQUIRED, ...METADATA }, two, { ...REQUIRED, ...METADATA, 'content-type': type, 'content-length': lengthOf(typed) }],
    ['§15.3.7.2: also where the whole has no type', {}, REQUIRED, two, { ...REQUIRED, 'content-type': type, 'content-length': lengthOf(untyped) }],
    ['§15.3.7.2: with If-Range, too, and the parts still have their type', { 'if-range': '"1"' }, { ...REQUIRED, ...METADATA, ...modified }, two, { ...REQUIRED, 'content-type': type, 'content-length': lengthOf(typed) }],
  ]
  for (const [rule, fields, whole, ranges, sent] of rows) {
    test(rule, () => {
      const before = JSON.stringify(whole)
      assert.deepEqual(partialFields({ fields }, whole, ranges, 1000, 'BOUNDARY'), sent)
      assert.equal(JSON.stringify(whole), before)
    })
  }

  test('RFC 9530 §2: the digest of the whole content is not that of a part', () => {
    const digests = { 'content-digest': 'sha-256=:aA==:', 'repr-digest': 'sha-256=:aA==:' }
    for (const ranges of [one, two]) {
      const sent = partialFields({ fields: {} }, digests, ranges, 1000, 'BOUNDARY')
      assert.equal(sent['content-digest'], undefined)
      assert.equal(sent['repr-digest'], digests['repr-digest'])
    }
  })
})

suite('RFC 9110 §15.5.17 416 Range Not Satisfiable: noPartFields', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, length: number, sent: Fields][] = [
    ['it says how long the content is, and has none', {}, 1000, { 'content-length': '0', 'content-range': 'bytes */1000' }],
    ['also where that is 0', {}, 0, { 'content-length': '0', 'content-range': 'bytes */0' }],
    ['it neither describes the content nor has its freshness', { ...REQUIRED, ...METADATA, 'set-cookie': 'a=1' }, 1000, { date: REQUIRED.date, 'content-length': '0', 'content-range': 'bytes */1000' }],
  ]
  for (const [rule, fields, length, sent] of rows) {
    test(rule, () => assert.deepEqual(noPartFields(fields, length), sent))
  }
})

suite('Laws of answers', () => {
  const dates = fc.constantFrom(MODIFIED - DAY, MODIFIED, MODIFIED + SECOND, NOW).map(at)
  const tags = fc.constantFrom('"1"', 'W/"1"', '"2"', '*', 'x')
  const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined })
  const present = (fields: Record<string, string | undefined>): Fields =>
    Object.fromEntries(
      Object.entries(fields).flatMap(([name, value]) =>
        value === undefined ? [] : [[name, value]],
      ),
    )
  const conditions = fc
    .record({
      'if-none-match': optional(fc.oneof(tags, fc.array(tags).map(String))),
      'if-modified-since': optional(fc.oneof(dates, fc.string())),
      'if-range': optional(fc.oneof(tags, dates, fc.string())),
      range: optional(
        fc.oneof(
          fc.constantFrom('bytes=0-9', 'bytes=-5', 'bytes=5-', 'bytes=0-1,500-', 'bytes=9999-'),
          fc.string(),
        ),
      ),
    })
    .map(present)
  const responses = fc
    .record({
      fields: fc
        .record({
          etag: optional(tags),
          'last-modified': optional(dates),
          date: optional(dates),
          'content-type': optional(fc.constant('text/plain')),
        })
        .map(present),
      status: fc.constantFrom(200, 200, 200, 203, 204, 301, 404),
    })
    .map(({ fields, status }) => stored(fields, { status }))
  const methods = fc.constantFrom('GET', 'HEAD')
  const lengths = optional(fc.nat(1000))

  test('nothing makes it throw, and parts lie within the content of a 200 to GET', () => {
    fc.assert(
      fc.property(methods, conditions, responses, lengths, (method, fields, response, length) => {
        const given = answer(request(fields, method), response, length)
        if (given.kind === 'whole' || given.kind === 'not-modified') return
        assert.equal(method, 'GET')
        assert.equal(response.status, 200)
        assert.ok('range' in fields)
        if (given.kind === 'none') return
        assert.equal(given.length, length)
        if (given.kind === 'no-part') return
        assert.ok(given.ranges.length > 0 && given.ranges.length <= 16)
        for (const { first, last } of given.ranges) {
          assert.ok(0 <= first && first <= last && last < given.length)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('whether it is modified depends neither on a range nor on how much is there', () => {
    fc.assert(
      fc.property(methods, conditions, responses, lengths, (method, fields, response, length) => {
        const { range: _, 'if-range': __, ...others } = fields
        const kinds = [answer(request(fields, method), response, length), answer(request(others, method), response, undefined)] // biome-ignore format: two answers
        const [a, b] = kinds.map(({ kind }) => kind === 'not-modified')
        assert.equal(a, b)
      }),
    )
  })

  test('who sends back the validators of a response has it', () => {
    fc.assert(
      fc.property(responses, lengths, ({ fields, status }, length) => {
        const own = present({
          'if-none-match': fields.etag as string | undefined,
          'if-modified-since': fields['last-modified'] as string | undefined,
        })
        if (Object.keys(own).length === 0) return
        const given = answer(request(own), stored(fields, { status }), length)
        assert.equal(given.kind, status < 300 ? 'not-modified' : 'whole')
      }),
    )
  })

  test('a 304 and a 206 have what they must, whatever the request asks for', () => {
    fc.assert(
      fc.property(responses, conditions, ({ fields: own }, asked) => {
        const whole = { ...own, ...REQUIRED, ...METADATA }
        const ranges = [{ first: 0, last: 0 }]
        const messages = [
          notModifiedFields(whole),
          partialFields({ fields: asked }, whole, ranges, 1000, 'BOUNDARY'),
          partialFields({ fields: asked }, whole, [...ranges, { first: 500, last: 509 }], 1000, 'BOUNDARY'), // biome-ignore format: one message
        ]
        for (const message of messages) {
          for (const [name, value] of Object.entries(REQUIRED)) {
            assert.deepEqual(message[name], value)
          }
        }
      }),
    )
  })
})
