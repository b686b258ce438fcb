import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { Fields, RequestMessage, StoredResponse } from '../../lib/rfc9111/message.ts'
import type { StaleTerms } from '../../lib/rfc9111/staleness.ts'
import {
  credentialNames,
  fieldsAbout,
  isEndless,
  mayRecord,
  mayStore,
  type NotStored,
  reusableFields,
  storedFields,
} from '../../lib/rfc9111/storing.ts'
import { NOW, stored } from '../helpers/stored.ts'

const MODIFIED = new Date(NOW - 86_400_000).toUTCString()
const GET: RequestMessage = { method: 'GET', url: 'http://example.com/', fields: {} }

const SHARED = { shared: true }

function response(
  status: number,
  fields: Fields,
  more: Partial<StoredResponse> = {},
): StoredResponse {
  return stored(fields, { status, ...more })
}

/** A message's `Cache-Control`. */
function cc(value: string): Fields {
  return value === '' ? {} : { 'cache-control': value }
}

suite('§3 Storing Responses in Caches: mayStore', () => {
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
    ['a 302 that is private', response(302, { 'cache-control': 'private', 'last-modified': MODIFIED, etag: '"1"' }), true],
    ['an error that is public, to be validated', response(500, { 'cache-control': 'public', etag: '"1"' }), true],
    ['an error that expires', response(500, { expires: new Date(NOW + 1000).toUTCString() }), true],
    ['an error that has expired, to be validated', response(500, { expires: '0', etag: '"1"' }), true],
    ['no-cache without a validator is of no use', response(200, { 'cache-control': 'no-cache, max-age=60' }), 'no-freshness'],
    ['no-cache for some fields is', response(200, { 'cache-control': 'no-cache="set-cookie", max-age=60' }), true],
    ['an unknown status code that says how long', response(599, { 'cache-control': 'max-age=60' }), true],
  ]
  for (const [rule, stored, verdict] of rows) {
    test(rule, () => assert.equal(mayStore(GET, stored), verdict))
  }

  const all = Array.from({ length: 500 }, (_, index) => 100 + index)

  test('which status codes are stored with a validator alone: those of RFC 9110 §15.1 but 206', () => {
    assert.deepEqual(
      all.filter((status) => mayStore(GET, response(status, { etag: '"1"' })) === true),
      [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501],
    )
  })

  test('which status codes are stored with a lifetime: all final ones but those about conditions and ranges', () => {
    assert.deepEqual(
      all.filter((status) => mayStore(GET, response(status, cc('max-age=60'))) === true),
      all.filter((status) => status >= 200 && ![206, 304, 412, 416].includes(status)),
    )
  })
})

suite('RFC 9110 §9.3.3 Storing responses to other methods than GET and HEAD: mayStore', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, response: StoredResponse, verdict: true | NotStored][] = [
    ['what says how long is', response(200, cc('max-age=60')), true],
    ['what expires is', response(200, { expires: new Date(NOW + 1000).toUTCString() }), true],
    ['a heuristic is not enough', response(200, { 'last-modified': MODIFIED }), 'no-freshness'],
    ['public is not', response(200, { ...cc('public'), 'last-modified': MODIFIED }), 'no-freshness'],
    ['private is not', response(200, cc('private')), 'no-freshness'],
    ['a validator is of no use', response(200, { ...cc('max-age=0'), etag: '"1"' }), 'no-freshness'],
    ['no-cache could never be reused', response(200, { ...cc('no-cache, max-age=60'), etag: '"1"' }), 'no-freshness'],
    ['a part is never', response(206, { ...cc('max-age=60'), 'content-range': 'bytes 0-1/2' }), 'incomplete'],
    ['a rule of the user is enough', response(200, {}, { expires: NOW + 1000 }), true],
    ['not one that asks for validation at each use', response(200, { etag: '"1"' }, { expires: NOW }), 'no-validator'],
    ['nor what is created by it', response(201, {}, { expires: NOW + 1000 }), 'status'],
  ]
  for (const [rule, stored, verdict] of rows) {
    test(rule, () => {
      for (const method of ['POST', 'QUERY', 'PUT']) {
        const fields = { range: 'bytes=0-1' }
        assert.equal(mayStore({ ...GET, method, fields }, stored), verdict)
      }
    })
  }
})

suite('§3.3 Storing Incomplete Responses: mayStore', () => {
  const asked: Fields = { range: 'bytes=0-4' }
  const part: Fields = { ...cc('max-age=60'), 'content-range': 'bytes 0-4/10' }

  // biome-ignore format: one rule a row
  const rows: [rule: string, method: string, request: Fields, response: StoredResponse, verdict: true | NotStored][] = [
    ['a part is stored for a request for it', 'GET', asked, response(206, part), true],
    ['also where nobody knows how long the whole is', 'GET', asked, response(206, { ...part, 'content-range': 'bytes 0-4/*' }), true],
    ['also with a validator alone', 'GET', asked, response(206, { ...part, ...cc('no-cache'), etag: '"1"' }), true],
    ['not for a request for the whole', 'GET', {}, response(206, part), 'incomplete'],
    ['not for HEAD, which knows no parts', 'HEAD', asked, response(206, part), 'incomplete'],
    ['not in units that are not understood', 'GET', { range: 'lines=0-4' }, response(206, { ...part, 'content-range': 'lines 0-4/10' }), 'incomplete'],
    ['not where only the answer has other units', 'GET', asked, response(206, { ...part, 'content-range': 'lines 0-4/10' }), 'incomplete'],
    ['not for a malformed range', 'GET', { range: 'bytes=4-0' }, response(206, part), 'incomplete'],
    ['not where it does not say which part it is', 'GET', asked, response(206, cc('max-age=60')), 'incomplete'],
    ['not where it is several parts in one', 'GET', asked, response(206, { ...cc('max-age=60'), 'content-type': 'multipart/byteranges; boundary=x' }), 'incomplete'],
    ['not where it is none', 'GET', asked, response(206, { ...part, 'content-range': 'bytes */10' }), 'incomplete'],
    ['no-store counts as for the whole', 'GET', asked, response(206, { ...part, ...cc('no-store, max-age=60') }), 'no-store'],
    ['that of the request, too', 'GET', { ...asked, ...cc('no-store') }, response(206, part), 'request-no-store'],
    ['private does in a shared cache', 'GET', asked, response(206, { ...part, ...cc('private, max-age=60') }, SHARED), 'private'],
    ['what says nothing is of no use', 'GET', asked, response(206, { 'content-range': 'bytes 0-4/10' }), 'no-freshness'],
    ['a rule of the user is about the whole', 'GET', asked, response(206, part, { expires: Infinity }), 'status'],
    ['the whole is stored for a request for a part', 'GET', asked, response(200, cc('max-age=60')), true],
    ['that there is no such part is not', 'GET', asked, response(416, { ...cc('max-age=60'), 'content-range': 'bytes */3' }), 'status'],
  ]
  for (const [rule, method, fields, stored, verdict] of rows) {
    test(rule, () => assert.equal(mayStore({ ...GET, method, fields }, stored), verdict))
  }
})

suite('Which status codes the user allows: mayStore', () => {
  const byRule = (status: number, fields: Fields = {}) =>
    response(status, fields, { expires: NOW + 1 })

  // biome-ignore format: one rule a row
  const rows: [rule: string, response: StoredResponse, isStatusAllowed: boolean | undefined, verdict: true | NotStored][] = [
    ['by default a rule stores no errors', byRule(404), undefined, 'status'],
    ['it does where they are allowed', byRule(404), true, true],
    ['of any kind', byRule(599), true, true],
    ['and none that are not', byRule(200), false, 'status'],
    ['also where the origin decides', response(200, cc('max-age=60')), false, 'status'],
    ['where the origin decides nothing more is stored', response(500, { etag: '"1"' }), true, 'status'],
    ['what is about the request is never stored', byRule(304), true, 'status'],
    ['nor that there is no such part', byRule(416), true, 'status'],
    ['nor that a condition is not met', byRule(412), true, 'status'],
    ['nor what is interim', byRule(103), true, 'status'],
    ['a part only as the answer to a request for it', byRule(206), true, 'incomplete'],
    ['Vary is obeyed', byRule(404, { vary: '*' }), true, 'vary-any'],
  ]
  for (const [rule, stored, isStatusAllowed, verdict] of rows) {
    test(rule, () => assert.equal(mayStore(GET, stored, { isStatusAllowed }), verdict))
  }

  test('a part that is the answer to a request for it, where it is allowed', () => {
    const asked = { ...GET, fields: { range: 'bytes=0-4' } }
    const part = byRule(206, { 'content-range': 'bytes 0-4/10' })
    assert.equal(mayStore(asked, part, { isStatusAllowed: true }), true)
  })

  test('what the user lets be fresh for no time is stored with a validator only', () => {
    const limited = (fields: Fields) => response(200, { ...cc('max-age=60'), ...fields }, { maxLifetime: 0 }) // biome-ignore format: one line
    assert.equal(mayStore(GET, limited({})), 'no-freshness')
    assert.equal(mayStore(GET, limited({ etag: '"1"' })), true)
  })
})

suite('What is recorded: mayRecord and fieldsAbout', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, request: Fields, response: StoredResponse, verdict: true | NotStored][] = [
    ['against no-store', {}, response(200, cc('no-store')), true],
    ['also of the request', cc('no-store'), response(200, {}), true],
    ['errors', {}, response(500, {}), true],
    ['what varies by anything', {}, response(200, { vary: '*' }), true],
    ['what is usually endless, if it ends', {}, response(200, { 'content-type': 'text/event-stream' }), true],
    ['that the caller has it already', { 'if-none-match': '"1"' }, response(304, {}), true],
    ['a part for who asked for it', { range: 'bytes=0-4' }, response(206, { 'content-range': 'bytes 0-4/10' }), true],
    ['not a part that nobody asked for', {}, response(206, { 'content-range': 'bytes 0-4/10' }), 'incomplete'],
    ['nor what is interim', {}, response(103, {}), 'status'],
  ]
  for (const [rule, fields, stored, verdict] of rows) {
    test(rule, () => assert.equal(mayRecord({ ...GET, fields }, stored), verdict))
  }

  test('some status codes are about fields of the request', () => {
    assert.deepEqual(fieldsAbout(206), ['range'])
    assert.deepEqual(fieldsAbout(304), ['if-modified-since', 'if-none-match'])
    assert.deepEqual(fieldsAbout(200), [])
  })
})

suite('§3 Storing Responses in Shared Caches: mayStore', () => {
  const anonymous: Fields = {}
  const authorized: Fields = { authorization: 'Basic eDp5' }
  const expires = new Date(NOW + 1000).toUTCString()

  // biome-ignore format: one rule a row
  const rows: [rule: string, request: Fields, response: StoredResponse, verdict: true | NotStored][] = [
    ['a fresh response is stored', anonymous, response(200, cc('max-age=60'), SHARED), true],
    ['no-store is not', anonymous, response(200, cc('max-age=60, no-store'), SHARED), 'no-store'],
    ['a cookie is no obstacle', anonymous, response(200, { ...cc('max-age=60'), 'set-cookie': 'a=1' }, SHARED), true],
    ['nor is one in the request', { cookie: 'a=1' }, response(200, cc('max-age=60'), SHARED), true],
    ['§5.2.2.7: private is not stored', anonymous, response(200, cc('private, max-age=60'), SHARED), 'private'],
    ['§5.2.2.7: in any case', anonymous, response(200, cc('Private, max-age=60'), SHARED), 'private'],
    ['§5.2.2.7: not even with s-maxage and public', anonymous, response(200, cc('public, s-maxage=60, private'), SHARED), 'private'],
    ['§5.2.2.7: what is private in some fields is', anonymous, response(200, cc('private="x-user, set-cookie", max-age=60'), SHARED), true],
    ['§5.2.2.7: unless it is private as a whole, too', anonymous, response(200, cc('private="x-user", private, max-age=60'), SHARED), 'private'],
    ['§5.2.2.7: in either order', anonymous, response(200, cc('private, private="x-user", max-age=60'), SHARED), 'private'],
    ['§5.2.2.7: what is no list of fields narrows nothing', anonymous, response(200, cc('private="x user", max-age=60'), SHARED), 'private'],
    ['§5.2.2.7: nor does an empty one', anonymous, response(200, cc('private="", max-age=60'), SHARED), 'private'],
    ['§5.2.2.7: private does not allow what else would not be stored', anonymous, response(302, { ...cc('private="x"'), etag: '"1"' }, SHARED), 'status'],
    ['§5.2.2.10: s-maxage is how long', anonymous, response(503, cc('s-maxage=60'), SHARED), true],
    ['§5.2.2.10: s-maxage=0 counts before max-age', anonymous, response(200, cc('s-maxage=0, max-age=60'), SHARED), 'no-freshness'],
    ['§5.2.2.10: to a private cache it says nothing', anonymous, response(503, cc('s-maxage=60')), 'status'],

    ['§3.5: a request with Authorization', authorized, response(200, cc('max-age=60'), SHARED), 'authorization'],
    ['§3.5: even where it is empty', { authorization: '' }, response(200, cc('max-age=60'), SHARED), 'authorization'],
    ['§3.5: with a response that expires', authorized, response(200, { expires }, SHARED), 'authorization'],
    ['§3.5: with one that is only to be validated', authorized, response(200, { etag: '"1"' }, SHARED), 'authorization'],
    ['§3.5: with public', authorized, response(200, cc('public, max-age=60'), SHARED), true],
    ['§3.5: with s-maxage', authorized, response(200, cc('s-maxage=60'), SHARED), true],
    ['§3.5: with must-revalidate', authorized, response(200, cc('must-revalidate, max-age=60'), SHARED), true],
    ['§3.5: proxy-revalidate is not enough', authorized, response(200, cc('proxy-revalidate, max-age=60'), SHARED), 'authorization'],
    ['§3.5: nor is no-cache', authorized, response(200, { ...cc('no-cache'), etag: '"1"' }, SHARED), 'authorization'],
    ['§3.5: private counts before public', authorized, response(200, cc('public, private, max-age=60'), SHARED), 'private'],
    ['§3.5: to a private cache it is no obstacle', authorized, response(200, cc('max-age=60')), true],
    ['§3.5: the directives of other fields do not count', authorized, response(200, { ...cc('max-age=60'), pragma: 'public' }, SHARED), 'authorization'],

    ['RFC 9213: the targeted field allows what Cache-Control forbids', anonymous, response(200, { 'cdn-cache-control': 'max-age=60', ...cc('private, no-store') }, SHARED), true],
    ['RFC 9213: and forbids what it allows', anonymous, response(200, { 'cdn-cache-control': 'no-store', ...cc('max-age=60') }, SHARED), 'no-store'],
    ['RFC 9213: private in it', anonymous, response(200, { 'cdn-cache-control': 'private', ...cc('max-age=60') }, SHARED), 'private'],
    ['RFC 9213: public beside it does not count', authorized, response(200, { 'cdn-cache-control': 'max-age=60', ...cc('public') }, SHARED), 'authorization'],
    ['RFC 9213: public in it does', authorized, response(200, { 'cdn-cache-control': 'max-age=60, public' }, SHARED), true],
    ['RFC 9213: Expires beside it does not count', anonymous, response(503, { 'cdn-cache-control': 'stale-if-error=60', expires }, SHARED), 'status'],
    ['RFC 9213: one that is malformed does not count', anonymous, response(200, { 'cdn-cache-control': 'no-store,', ...cc('max-age=60') }, SHARED), true],
    ['RFC 9213: a private cache does not obey it', anonymous, response(200, { 'cdn-cache-control': 'no-store', ...cc('max-age=60') }), true],

    ['a rule of the user overrules private', anonymous, response(200, cc('private'), { ...SHARED, expires: NOW + 1 }), true],
    ['and that a response is for one', authorized, response(200, {}, { ...SHARED, expires: NOW + 1 }), true],
  ]
  for (const [rule, fields, stored, verdict] of rows) {
    test(rule, () => assert.equal(mayStore({ ...GET, fields }, stored), verdict))
  }
})

suite('RFC 5861 What is of use when it is stale: mayStore', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, response: StoredResponse, terms: StaleTerms, verdict: true | NotStored][] = [
    ['stale without a validator is of no use', response(200, cc('max-age=0')), {}, 'no-freshness'],
    ['stale-while-revalidate makes it so', response(200, cc('max-age=0, stale-while-revalidate=5')), {}, true],
    ['stale-if-error, too', response(200, cc('max-age=0, stale-if-error=5')), {}, true],
    ['not where the user forbids it', response(200, cc('max-age=0, stale-if-error=5')), { staleIfError: 0 }, 'no-freshness'],
    ['the other may still be allowed', response(200, cc('max-age=0, stale-if-error=5')), { staleWhileRevalidate: 0 }, true],
    ['the user may allow it', response(200, cc('max-age=0')), { staleIfError: 1000 }, true],
    ['for ever', response(200, cc('max-age=0')), { staleWhileRevalidate: Infinity }, true],
    ['also of what says nothing', response(200, {}), { staleWhileRevalidate: 1000 }, true],
    ['must-revalidate forbids it', response(200, cc('max-age=0, must-revalidate, stale-if-error=5')), { staleWhileRevalidate: Infinity }, 'no-freshness'],
    ['no-cache forbids it', response(200, cc('no-cache, stale-if-error=5')), { staleIfError: Infinity }, 'no-freshness'],
    ['s-maxage forbids it to a shared cache', response(200, cc('s-maxage=0'), SHARED), { staleIfError: Infinity }, 'no-freshness'],
    ['unless the response allows it', response(200, cc('s-maxage=0, stale-if-error=5'), SHARED), {}, true],
    ['it is no reason to store what must not be', response(200, cc('no-store, stale-if-error=5')), { staleIfError: Infinity }, 'no-store'],
    ['nor what is not cacheable by default', response(500, cc('stale-if-error=5')), { staleIfError: Infinity }, 'status'],
  ]
  for (const [rule, stored, terms, verdict] of rows) {
    test(rule, () => assert.equal(mayStore(GET, stored, terms), verdict))
  }
})

suite('§5.2.1.5 no-store in a request: mayStore', () => {
  const request = { ...GET, fields: { 'cache-control': 'No-Store' } }

  test('forbids to store, whoever decides', () => {
    const fresh = response(200, { 'cache-control': 'max-age=60' })
    assert.equal(mayStore(request, fresh), 'request-no-store')
    assert.equal(mayStore(request, { ...fresh, expires: Infinity }), 'request-no-store')
    assert.equal(mayStore(request, { ...fresh, shared: true }), 'request-no-store')
  })
})

suite('§5.2.2.3 must-understand: mayStore', () => {
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

suite('Storing by a rule of the user: mayStore', () => {
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

suite('Laws of storing: mayStore', () => {
  const directive = fc.constantFrom(
    'max-age=60',
    'max-age=0',
    'no-cache',
    'no-cache="x"',
    'private',
    'private="x"',
    'public',
    'must-understand',
    'must-revalidate',
    's-maxage=60',
    's-maxage=0',
    'stale-if-error=60',
    'no-store',
  )
  /** With it a 206 is complete in itself; elsewhere it says nothing. */
  const PART = { 'content-range': 'bytes 0-4/10' }
  const anyCase = fc.record({
    status: fc.oneof(fc.constantFrom(200, 206, 302, 404, 503), fc.integer({ min: 100, max: 599 })),
    directives: fc.array(directive),
    etag: fc.boolean(),
    isTargeted: fc.boolean(),
    shared: fc.boolean(),
    expires: fc.option(fc.constantFrom(NOW - 1, NOW, NOW + 1, Infinity)),
  })
  type AnyCase = typeof anyCase extends fc.Arbitrary<infer T> ? T : never

  function responseOf(each: AnyCase, ...more: string[]): StoredResponse {
    const { status, directives, etag, isTargeted, shared, expires } = each
    const name = shared && isTargeted ? 'cdn-cache-control' : 'cache-control'
    const fields = {
      [name]: [...directives, ...more].join(', '),
      ...PART,
      ...(etag && { etag: '"1"' }),
    }
    return response(status, fields, { shared, ...(expires !== null && { expires }) })
  }

  const anyRequest = fc
    .record({
      directives: fc.array(fc.constantFrom('no-cache', 'max-age=0', 'no-store', 'max-stale')),
      range: fc.constantFrom({}, { range: 'bytes=0-4' }),
      credentials: fc.constantFrom({}, { authorization: 'x' }),
    })
    .map(
      ({ directives, range, credentials }): RequestMessage => ({
        ...GET,
        fields: { ...cc(directives.join(', ')), ...range, ...credentials },
      }),
    )
  const limit = fc.constantFrom(undefined, 0, 1000, Infinity)
  const anyTerms = fc.record({ staleWhileRevalidate: limit, staleIfError: limit })

  test('a directive that forbids never makes a response storable that was not', () => {
    const forbidding = fc.constantFrom('no-store', 'no-cache', 'must-revalidate', 'private')
    fc.assert(
      fc.property(anyRequest, anyCase, anyTerms, forbidding, (request, each, terms, directive) => {
        // §3: in a private cache private allows more; §3.5: to a shared one must-revalidate may.
        fc.pre(directive !== 'private' || each.shared)
        fc.pre(directive !== 'must-revalidate' || request.fields.authorization === undefined)
        if (mayStore(request, responseOf(each, directive), terms) !== true) return
        assert.equal(mayStore(request, responseOf(each), terms), true)
      }),
      { numRuns: 1000 },
    )
  })

  test('nothing is stored for a request with no-store', () => {
    fc.assert(
      fc.property(anyRequest, anyCase, anyTerms, (request, each, terms) => {
        const value = `${request.fields['cache-control'] ?? ''}, no-store`
        const fields = { ...request.fields, 'cache-control': value }
        assert.notEqual(mayStore({ ...request, fields }, responseOf(each), terms), true)
      }),
    )
  })

  test('where the origin decides, nothing with no-store is stored unless it must be understood', () => {
    fc.assert(
      fc.property(anyRequest, anyCase, anyTerms, (request, each, terms) => {
        const { directives } = each
        fc.pre(directives.includes('no-store') && !directives.includes('must-understand'))
        assert.notEqual(mayStore(request, responseOf({ ...each, expires: null }), terms), true)
      }),
    )
  })

  test('where the origin decides, a shared cache stores nothing that is private', () => {
    fc.assert(
      fc.property(anyRequest, anyCase, anyTerms, (request, each, terms) => {
        const response = responseOf({ ...each, expires: null, shared: true }, 'private')
        assert.notEqual(mayStore(request, response, terms), true)
      }),
    )
  })

  test('where the origin decides, a shared cache stores nothing for one user unless it says so', () => {
    const allows = ['public', 'must-revalidate', 's-maxage=60', 's-maxage=0']
    fc.assert(
      fc.property(anyCase, anyTerms, (each, terms) => {
        fc.pre(!each.directives.some((directive) => allows.includes(directive)))
        const request = { ...GET, fields: { authorization: 'x' } }
        const response = responseOf({ ...each, expires: null, shared: true })
        assert.notEqual(mayStore(request, response, terms), true)
      }),
    )
  })
})

suite('Responses that do not end: isEndless', () => {
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

suite('§3.5 Storing Responses to Authenticated Requests: credentialNames', () => {
  const all = ['authorization', 'cookie', 'x-api-key']
  const none: string[] = []
  const others = ['cookie', 'x-api-key']

  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, ofPrivate: string[], ofShared: string[]][] = [
    ['public is for everybody', cc('public, max-age=60'), none, none],
    ['s-maxage says it of Authorization, to a shared cache', cc('s-maxage=60'), all, others],
    ['a lifetime alone is for one', cc('max-age=60'), all, all],
    ['private is for one, even where it contradicts itself', cc('public, private'), all, all],
    ['even where it is about some fields', cc('public, private="x"'), all, all],
    ['a cookie is for one', { ...cc('public'), 'set-cookie': 'a=1' }, all, all],
    ['cookies in several lines are for one', { ...cc('public'), 'set-cookie': ['a=1', 'b=2'] }, all, all],
    ['nothing said is for one', {}, all, all],
    ['must-revalidate is for everybody’s Authorization, in a shared cache', cc('must-revalidate, max-age=60'), all, others],
    ['and not where a cookie is set', { ...cc('must-revalidate'), 'set-cookie': 'a=1' }, all, all],
    ['proxy-revalidate says nothing of it', cc('proxy-revalidate, max-age=60'), all, all],
    ['RFC 9213: the targeted field says it to a shared cache', { 'cdn-cache-control': 'public', ...cc('private') }, all, none],
    ['RFC 9213: and unsays what stands beside it', { 'cdn-cache-control': 'max-age=60', ...cc('public') }, none, all],
  ]
  for (const [rule, fields, ofPrivate, ofShared] of rows) {
    test(rule, () => {
      assert.deepEqual(credentialNames({ fields }, all), ofPrivate)
      assert.deepEqual(credentialNames({ fields, shared: true }, all), ofShared)
      assert.deepEqual(credentialNames({ fields, shared: true }, []), [])
    })
  }
})

suite('§3.1 Storing Header and Trailer Fields: storedFields', () => {
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
    assert.deepEqual(storedFields({ fields: { ...fields, etag: '"1"' } }), { etag: '"1"' })
  })

  const x = { 'x-one': '1', 'x-two': '2', 'x-3': '3' }
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, ofPrivate: string[], ofShared: string[]][] = [
    ['all others are', x, ['x-one', 'x-two', 'x-3'], ['x-one', 'x-two', 'x-3']],
    ['those that Connection names are not, in any case and in several lines', { ...x, connection: ['X-One , close', 'x-TWO'] }, ['x-3'], ['x-3']],
    ['§5.2.2.7: nor, in a shared cache, are those that private names', { ...x, ...cc('private="x-one"') }, ['x-one', 'x-two', 'x-3', 'cache-control'], ['x-two', 'x-3', 'cache-control']],
    ['§5.2.2.7: several, in any case', { ...x, ...cc('private="X-One, x-TWO"') }, ['x-one', 'x-two', 'x-3', 'cache-control'], ['x-3', 'cache-control']],
    ['§5.2.2.7: in several directives', { ...x, ...cc('private="x-one", private="x-two"') }, ['x-one', 'x-two', 'x-3', 'cache-control'], ['x-3', 'cache-control']],
    ['§5.2.2.7: a name without quotes is one', { ...x, ...cc('private=x-one') }, ['x-one', 'x-two', 'x-3', 'cache-control'], ['x-two', 'x-3', 'cache-control']],
    ['§5.2.2.4: those that no-cache names are stored', { ...x, ...cc('no-cache="x-one"') }, ['x-one', 'x-two', 'x-3', 'cache-control'], ['x-one', 'x-two', 'x-3', 'cache-control']],
    ['RFC 9213: those that private names in the targeted field are not', { ...x, 'cdn-cache-control': 'private="x-one"' }, ['x-one', 'x-two', 'x-3', 'cdn-cache-control'], ['x-two', 'x-3', 'cdn-cache-control']],
    ['RFC 9213: which those beside it are', { ...x, 'cdn-cache-control': 'max-age=60', ...cc('private="x-one"') }, ['x-one', 'x-two', 'x-3', 'cdn-cache-control', 'cache-control'], ['x-one', 'x-two', 'x-3', 'cdn-cache-control', 'cache-control']],
  ]
  for (const [rule, fields, ofPrivate, ofShared] of rows) {
    test(rule, () => {
      assert.deepEqual(Object.keys(storedFields({ fields })), ofPrivate)
      assert.deepEqual(Object.keys(storedFields({ fields, shared: true })), ofShared)
    })
  }

  test('what is stored is stored as it is', () => {
    const fields = { 'set-cookie': ['a=1', 'b=2'], 'content-type': 'text/plain', 'x-empty': '' }
    assert.deepEqual(storedFields({ fields }), fields)
    assert.deepEqual(storedFields({ fields, shared: true }), fields)
  })
})

suite('§5.2.2.4 no-cache with field names: reusableFields', () => {
  const x = { 'set-cookie': 'a=1', 'x-one': '1' }
  const both = ['set-cookie', 'x-one']

  // biome-ignore format: one rule a row
  const rows: [rule: string, response: StoredResponse, names: string[]][] = [
    ['all fields may be sent', stored(x), both],
    ['but those that no-cache names', stored({ ...x, ...cc('no-cache="set-cookie"') }), ['x-one', 'cache-control']],
    ['in any case', stored({ ...x, ...cc('no-cache="Set-Cookie , X-One"') }), ['cache-control']],
    ['in several directives', stored({ ...x, ...cc('no-cache="set-cookie", no-cache="x-one"') }), ['cache-control']],
    ['a name without quotes is one', stored({ ...x, ...cc('no-cache=x-one') }), ['set-cookie', 'cache-control']],
    ['those that private names are sent in a private cache', stored({ ...x, ...cc('private="set-cookie"') }), [...both, 'cache-control']],
    ['in a shared cache the directive counts as well', stored({ ...x, ...cc('no-cache="set-cookie"') }, SHARED), ['x-one', 'cache-control']],
    ['RFC 9213: that of the targeted field', stored({ ...x, 'cdn-cache-control': 'no-cache="set-cookie"' }, SHARED), ['x-one', 'cdn-cache-control']],
    ['RFC 9213: which a private cache does not obey', stored({ ...x, 'cdn-cache-control': 'no-cache="set-cookie"' }), [...both, 'cdn-cache-control']],
    ['a rule of the user overrules it', stored({ ...x, ...cc('no-cache="set-cookie"') }, { expires: NOW }), [...both, 'cache-control']],
  ]
  for (const [rule, response, names] of rows) {
    test(rule, () => {
      const fields = reusableFields(response)
      assert.deepEqual(Object.keys(fields), names)
      for (const name of names) assert.equal(fields[name], response.fields[name])
    })
  }
})
