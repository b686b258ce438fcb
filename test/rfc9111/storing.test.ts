import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { Fields, RequestMessage, StoredResponse } from '../../lib/rfc9111/message.ts'
import {
  isEndless,
  isPublic,
  mayStore,
  type NotStored,
  storedFields,
} from '../../lib/rfc9111/storing.ts'

const NOW = Date.UTC(2026, 5, 15, 12)
const MODIFIED = new Date(NOW - 86_400_000).toUTCString()
const GET: RequestMessage = { method: 'GET', url: 'http://example.com/', fields: {} }

function response(
  status: number,
  fields: Fields,
  more: Partial<StoredResponse> = {},
): StoredResponse {
  return {
    url: GET.url,
    status,
    fields,
    requestTime: NOW,
    responseTime: NOW,
    nominated: {},
    ...more,
  }
}

suite('§3 Storing Responses in Caches', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, response: StoredResponse, verdict: true | NotStored][] = [
    ['a fresh response is stored', response(200, { 'cache-control': 'max-age=60' }), true],
    ['Expires makes it fresh', response(200, { expires: new Date(NOW + 1000).toUTCString() }), true],
    ['a heuristic makes it fresh', response(200, { 'last-modified': MODIFIED }), true],
    ['a validator is reason enough', response(200, { etag: '"1"' }), true],
    ['stale with a validator', response(200, { 'cache-control': 'max-age=0', etag: '"1"' }), true],
    ['stale without a validator', response(200, { 'cache-control': 'max-age=0' }), 'no-freshness'],
    ['where nothing is said it is not stored', response(200, {}), 'no-freshness'],
    ['a malformed max-age', response(200, { 'cache-control': 'max-age=x' }), 'no-freshness'],
    ['no-store', response(200, { 'cache-control': 'max-age=60, no-store' }), 'no-store'],
    ['no-store in capitals', response(200, { 'cache-control': 'max-age=60, NO-STORE' }), 'no-store'],
    ['no-store on its own line', response(200, { 'cache-control': ['max-age=60', 'no-store'] }), 'no-store'],
    ['no-cache is stored, to be validated', response(200, { 'cache-control': 'no-cache', etag: '"1"' }), true],
    ['private is no obstacle to a private cache', response(200, { 'cache-control': 'private, max-age=60' }), true],
    ['a cookie is no obstacle', response(200, { 'cache-control': 'max-age=60', 'set-cookie': 'a=1' }), true],
    ['Vary: * can never match', response(200, { 'cache-control': 'max-age=60', vary: 'Accept, *' }), 'vary-any'],
    ['Vary is no obstacle', response(200, { 'cache-control': 'max-age=60', vary: 'Accept' }), true],
    ['a stream of events', response(200, { 'cache-control': 'max-age=60', 'content-type': 'text/event-stream' }), 'endless'],
    ['part of a content', response(206, { 'cache-control': 'max-age=60' }), 'incomplete'],
    ['a 304 is nobody’s first response', response(304, { 'cache-control': 'max-age=60' }), 'status'],
    ['an interim response', response(103, { 'cache-control': 'max-age=60' }), 'status'],
    ['an error that says how long', response(503, { 'cache-control': 'max-age=60' }), true],
    ['an error that says nothing', response(500, { etag: '"1"' }), 'status'],
    ['a 404 is cacheable by default', response(404, { 'last-modified': MODIFIED }), true],
    ['a 302 that says nothing', response(302, { 'last-modified': MODIFIED }), 'status'],
    ['a 302 that is public', response(302, { 'cache-control': 'public', 'last-modified': MODIFIED }), true],
    ['a 302 that says how long', response(302, { 'cache-control': 'max-age=60' }), true],
    ['an unknown status code that says how long', response(599, { 'cache-control': 'max-age=60' }), true],
  ]
  for (const [rule, stored, verdict] of rows) {
    test(rule, () => assert.equal(mayStore(GET, stored), verdict))
  }
})

suite('§5.2.1.5 no-store in a request', () => {
  const request = { ...GET, fields: { 'cache-control': 'No-Store' } }

  test('forbids to store, whoever decides', () => {
    const fresh = response(200, { 'cache-control': 'max-age=60' })
    assert.equal(mayStore(request, fresh), 'request-no-store')
    assert.equal(mayStore(request, { ...fresh, expires: Infinity }), 'request-no-store')
  })
})

suite('§5.2.2.3 must-understand', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, status: number, directives: string, verdict: true | NotStored][] = [
    ['a status code that is understood', 200, 'must-understand, max-age=60', true],
    ['no-store is for those who do not understand', 200, 'must-understand, no-store, max-age=60', true],
    ['an unknown status code', 599, 'must-understand, max-age=60', 'status'],
    ['an unknown status code with no-store', 599, 'must-understand, no-store, max-age=60', 'status'],
    ['a redirection is understood', 307, 'must-understand, no-store, max-age=60', true],
    ['part of a content stays part of it', 206, 'must-understand, no-store, max-age=60', 'incomplete'],
    ['it gives no lifetime', 200, 'must-understand, no-store', 'no-freshness'],
  ]
  for (const [rule, status, directives, verdict] of rows) {
    test(rule, () => {
      assert.equal(mayStore(GET, response(status, { 'cache-control': directives })), verdict)
    })
  }
})

suite('Storing by a rule of the user', () => {
  const later = { expires: NOW + 60_000 }
  const never = { expires: Infinity }
  const atOnce = { expires: NOW }

  // biome-ignore format: one rule a row
  const rows: [rule: string, response: StoredResponse, verdict: true | NotStored][] = [
    ['it needs no fields', response(200, {}, later), true],
    ['for ever', response(200, {}, never), true],
    ['it overrules no-store', response(200, { 'cache-control': 'no-store' }, later), true],
    ['it overrules max-age=0', response(200, { 'cache-control': 'max-age=0' }, later), true],
    ['it overrules must-understand', response(200, { 'cache-control': 'must-understand' }, later), true],
    ['it does not overrule Vary', response(200, { vary: '*' }, later), 'vary-any'],
    ['it does not make a stream end', response(200, { 'content-type': 'Text/Event-Stream; charset=utf-8' }, later), 'endless'],
    ['it does not complete a part', response(206, {}, later), 'incomplete'],
    ['to expire at once is to be validated', response(200, { etag: '"1"' }, atOnce), true],
    ['without a validator there is no use in that', response(200, { 'cache-control': 'max-age=60' }, atOnce), 'no-validator'],
    ['nor in having expired', response(200, {}, { expires: NOW - 1 }), 'no-validator'],
  ]
  for (const [rule, stored, verdict] of rows) {
    test(rule, () => assert.equal(mayStore(GET, stored), verdict))
  }

  test('only success and redirections are stored', () => {
    const all = Array.from({ length: 500 }, (_, index) => 100 + index)
    assert.deepEqual(
      all.filter((status) => mayStore(GET, response(status, {}, later)) === true),
      [200, 203, 204, 300, 301, 302, 303, 307, 308],
    )
  })
})

suite('Laws of storing', () => {
  const directive = fc.constantFrom(
    'max-age=60',
    'max-age=0',
    'no-cache',
    'private',
    'public',
    'must-understand',
    'must-revalidate',
    's-maxage=60',
    'no-store',
  )
  const anyResponse = fc
    .record({
      status: fc.integer({ min: 100, max: 599 }),
      directives: fc.array(directive),
      etag: fc.boolean(),
      expires: fc.option(fc.constantFrom(NOW - 1, NOW, NOW + 1, Infinity)),
    })
    .map(({ status, directives, etag, expires }) =>
      response(
        status,
        { 'cache-control': directives.join(', '), ...(etag && { etag: '"1"' }) },
        expires === null ? {} : { expires },
      ),
    )

  test('no-store never makes a response storable that was not', () => {
    fc.assert(
      fc.property(anyResponse, (stored) => {
        const value = `${stored.fields['cache-control']}, no-store`
        const more = { ...stored, fields: { ...stored.fields, 'cache-control': value } }
        if (mayStore(GET, more) === true) assert.equal(mayStore(GET, stored), true)
      }),
    )
  })

  test('where the origin decides, nothing with no-store is stored unless it must be understood', () => {
    fc.assert(
      fc.property(anyResponse, ({ expires: _, ...stored }) => {
        const value = String(stored.fields['cache-control'])
        if (!value.includes('no-store') || value.includes('must-understand')) return
        assert.notEqual(mayStore(GET, stored), true)
      }),
    )
  })
})

suite('Responses that do not end', () => {
  // biome-ignore format: one rule a row
  const rows: [type: string | undefined, isEndless: boolean][] = [
    ['text/event-stream', true],
    ['TEXT/Event-Stream ; charset=utf-8', true],
    ['multipart/x-mixed-replace; boundary=x', true],
    ['multipart/mixed; boundary=x', false],
    ['text/plain; x=text/event-stream', false],
    ['', false],
    [undefined, false],
  ]
  for (const [type, expected] of rows) {
    test(`${type ?? 'no content type'}: ${expected}`, () => {
      assert.equal(
        isEndless({ fields: type === undefined ? {} : { 'content-type': type } }),
        expected,
      )
    })
  }
})

suite('§3.5 Storing Responses to Authenticated Requests', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, isPublic: boolean][] = [
    ['public is for everybody', { 'cache-control': 'public, max-age=60' }, true],
    ['s-maxage is meant for shared caches', { 'cache-control': 's-maxage=60' }, true],
    ['a lifetime alone is for one', { 'cache-control': 'max-age=60' }, false],
    ['private is for one, even where it contradicts itself', { 'cache-control': 'public, private' }, false],
    ['a cookie is for one', { 'cache-control': 'public', 'set-cookie': 'a=1' }, false],
    ['cookies in several lines are for one', { 'cache-control': 'public', 'set-cookie': ['a=1', 'b=2'] }, false],
    ['nothing said is for one', {}, false],
  ]
  for (const [rule, fields, expected] of rows) {
    test(rule, () => assert.equal(isPublic({ fields }), expected))
  }
})

suite('§3.1 Storing Header and Trailer Fields', () => {
  test('the fields of the connection are not stored', () => {
    const fields = {
      connection: 'close',
      'keep-alive': 'timeout=5',
      'proxy-authenticate': 'Basic',
      'proxy-authentication-info': 'x',
      'proxy-authorization': 'x',
      'proxy-connection': 'keep-alive',
      te: 'trailers',
      trailer: 'x',
      'transfer-encoding': 'chunked',
      upgrade: 'h2c',
    }
    assert.deepEqual(storedFields({ ...fields, etag: '"1"' }), { etag: '"1"' })
  })

  test('nor are those that Connection names, in any case and in several lines', () => {
    const fields = {
      connection: ['X-One , close', 'x-TWO'],
      'x-one': '1',
      'x-two': '2',
      'x-3': '3',
    }
    assert.deepEqual(storedFields(fields), { 'x-3': '3' })
  })

  test('all others are stored as they are', () => {
    const fields = { 'set-cookie': ['a=1', 'b=2'], 'content-type': 'text/plain', 'x-empty': '' }
    assert.deepEqual(storedFields(fields), fields)
  })
})
