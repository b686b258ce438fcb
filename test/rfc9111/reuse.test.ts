import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { currentAge, freshnessLifetime } from '../../lib/rfc9111/freshness.ts'
import type { Fields, RequestMessage, StoredResponse } from '../../lib/rfc9111/message.ts'
import {
  isConditional,
  isForOthers,
  mayCollapse,
  type Reuse,
  type ReuseTerms,
  reuse,
  type ValidationTerms,
  whyBypass,
} from '../../lib/rfc9111/reuse.ts'
import { NOW, stored } from '../helpers/stored.ts'

const SECOND = 1000
const MODIFIED = new Date(NOW - 10 * 86_400_000).toUTCString()
const TERMS: ReuseTerms = { partitionBy: ['authorization', 'cookie'] }
const SHARED = { shared: true }

function request(fields: Fields = {}, method = 'GET'): RequestMessage {
  return { method, url: 'http://example.com/', fields }
}

/** The decision about one stored response in a word: its action and why. */
function decide(
  asked: RequestMessage,
  candidate: StoredResponse,
  seconds: number,
  terms: ReuseTerms = TERMS,
): string {
  return inWords(reuse(asked, [candidate], NOW + seconds * SECOND, terms))
}

function inWords(decision: Reuse<StoredResponse>): string {
  return 'reason' in decision ? `${decision.action} (${decision.reason})` : decision.action
}

/** A request's `Cache-Control`. */
function cc(value: string): Fields {
  return value === '' ? {} : { 'cache-control': value }
}

suite('§4 Constructing Responses from Caches: reuse', () => {
  test('without a stored response a request is forwarded', () => {
    assert.deepEqual(reuse(request(), [], NOW, TERMS), {
      action: 'forward',
      reason: 'uri-miss',
      stored: undefined,
    })
  })

  test('without a stored response for its nominated fields a request is forwarded', () => {
    const other = stored(cc('max-age=60'), { nominated: { accept: 'text/html' } })
    assert.deepEqual(reuse(request({ accept: 'image/png' }), [other], NOW, TERMS), {
      action: 'forward',
      reason: 'vary-miss',
      stored: undefined,
    })
  })

  test('the stored response that a decision concerns is handed back itself', () => {
    const fields = cc('max-age=60, stale-while-revalidate=5')
    const [candidate, plain] = [stored({ ...fields, etag: '"1"' }), stored(cc('max-age=60'))]
    const decideAt = (one: StoredResponse, seconds: number) =>
      reuse(request(), [one], NOW + seconds * SECOND, TERMS)
    const fresh = decideAt(candidate, 0)
    const used = decideAt(candidate, 61)
    const stale = decideAt(candidate, 70)
    const lost = decideAt(plain, 70)
    assert.ok(fresh.action === 'reuse' && fresh.stored === candidate)
    assert.ok(used.action === 'reuse-and-validate' && used.stored === candidate)
    assert.ok(stale.action === 'validate' && stale.stored === candidate)
    assert.deepEqual(stale.candidates, [candidate])
    assert.ok(lost.action === 'forward' && lost.stored === plain)
  })
})

suite('§4 Of several stored responses: reuse', () => {
  /** A response that has its name in its entity-tag, received some seconds after {@link NOW}. */
  const named = (name: string, received: number, date?: number, nominated = {}) =>
    stored(
      {
        ...cc('max-age=60'),
        etag: `"${name}"`,
        ...(date !== undefined && { date: new Date(NOW + date * SECOND).toUTCString() }),
      },
      { responseTime: NOW + received * SECOND, nominated },
    )

  // biome-ignore format: one rule a row
  const rows: [rule: string, candidates: StoredResponse[], selected: string][] = [
    ['the only one', [named('a', 0)], 'a'],
    ['the most recent by its Date', [named('a', 0, -2), named('b', 0, -1), named('c', 0, -3)], 'b'],
    ['not the one received last', [named('a', 0, -1), named('b', 2, -2)], 'a'],
    ['of the same Date the one received last', [named('a', 1, -1), named('b', 3, -1), named('c', 2, -1)], 'b'],
    ['without a Date the time of receipt counts', [named('a', 1), named('b', 3), named('c', 2)], 'b'],
    ['also among those that have one', [named('a', 1, -1), named('b', 0), named('c', 2, -2)], 'b'],
    ['of those that match the request', [named('a', 0, -2, { accept: 'text/html' }), named('b', 0, -1, { accept: 'image/png' })], 'a'],
    ['be that for any', [named('a', 0, -2), named('b', 0, -1, { accept: 'image/png' })], 'a'],
    ['those for any and for this request are equals', [named('a', 0, -2), named('b', 0, -1, { accept: 'text/html' })], 'b'],
  ]
  for (const [rule, candidates, selected] of rows) {
    test(`one is selected: ${rule}`, () => {
      const asked = request({ accept: 'Text/HTML' })
      for (const list of [candidates, candidates.toReversed()]) {
        const decision = reuse(asked, list, NOW + 10 * SECOND, TERMS)
        assert.ok(decision.action === 'reuse')
        assert.equal(decision.stored.fields.etag, `"${selected}"`)
      }
    })
  }

  test('it is the one selected that has to be fresh: no other is used instead', () => {
    const [old, recent] = [stored(cc('max-age=9999'), { responseTime: NOW - SECOND }), stored({ etag: '"1"' })] // biome-ignore format: one line
    const decision = reuse(request(), [old, recent], NOW, TERMS)
    assert.deepEqual(decision, { action: 'validate', reason: 'stale', stored: recent, candidates: [recent] }) // biome-ignore format: one decision a line
  })
})

suite('§4.3.1 Sending a Validation Request, to select a response: reuse', () => {
  const of = (nominated: Record<string, string | null>, fields: Fields = { etag: '"1"' }) =>
    stored({ ...cc('max-age=60'), ...fields }, { nominated })
  const english = { 'accept-language': 'en' }
  const german = of({ 'accept-language': 'de' }, { etag: '"de"' })
  const french = of({ 'accept-language': 'fr' }, { etag: '"fr"' })
  const asked = request(english)

  // biome-ignore format: one rule a row
  const rows: [rule: string, request: RequestMessage, candidates: StoredResponse[], etags: string[] | 'none'][] = [
    ['the origin is asked about responses for other languages', asked, [german, french], ['"de"', '"fr"']],
    ['not about one alone: nothing shows that it tags representations', asked, [german], 'none'],
    ['not where it tags revisions, whatever they are in', asked, [german, french, of({ 'accept-language': 'it' }, { etag: '"de"' })], 'none'],
    ['also where they are stale', asked, [of({ 'accept-language': 'de' }, { ...cc('max-age=0'), etag: '"1"' }), french], ['"1"', '"fr"']],
    ['also where they are for requests without the field', asked, [of({ 'accept-language': null }), french], ['"1"', '"fr"']],
    ['not about a weak entity-tag', asked, [of({ 'accept-language': 'de' }, { etag: 'W/"1"' })], 'none'],
    ['not by a date', asked, [of({ 'accept-language': 'de' }, { 'last-modified': MODIFIED })], 'none'],
    ['about those that have a strong entity-tag', asked, [of({ 'accept-language': 'it' }, { etag: 'W/"1"' }), french, of({ 'accept-language': 'es' }, {}), german], ['"fr"', '"de"']],
    ['not for another user', request({ ...english, authorization: 'b' }), [of({ 'accept-language': 'de', authorization: 'a' })], 'none'],
    ['nor what is for a user, for nobody', asked, [of({ 'accept-language': 'en', cookie: 'a=1' })], 'none'],
    ['for the same user', request({ ...english, authorization: 'a' }), ['de', 'fr'].map((tag) => of({ 'accept-language': tag, authorization: 'a' }, { etag: `"${tag}"` })), ['"de"', '"fr"']],
    ['not about a coding that was not asked for', request({ 'accept-encoding': 'br' }), [of({ 'accept-encoding': 'gzip' }, { etag: '"1"', 'content-encoding': 'gzip' })], 'none'],
    ['about what has no coding', request({ 'accept-encoding': 'br' }), ['gzip', 'zstd'].map((tag) => of({ 'accept-encoding': tag }, { etag: `"${tag}"` })), ['"gzip"', '"zstd"']],
    ['not about parts', asked, [german, of({ 'accept-language': 'fr', range: 'bytes=0-1' }, { etag: '"fr"' })].map((each, index) => ({ ...each, status: index === 0 ? 200 : 206 })), 'none'],
    ['not for HEAD', request(english, 'HEAD'), [german, french], 'none'],
    ['not for a range', request({ ...english, range: 'bytes=0-1' }), [german, french], 'none'],
    ['not for a condition of the caller’s own', request({ ...english, 'if-none-match': '"de"' }), [german, french], 'none'],
  ]
  for (const [rule, message, candidates, etags] of rows) {
    test(rule, () => {
      const decision = reuse(message, candidates, NOW, TERMS)
      assert.ok(decision.action === 'validate' || decision.action === 'forward')
      assert.equal(decision.reason, 'vary-miss')
      assert.equal(decision.stored, undefined)
      const found = 'candidates' in decision ? decision.candidates : []
      assert.deepEqual(decision.action === 'forward' ? 'none' : found.map(({ fields }) => fields.etag), etags) // biome-ignore format: one claim
    })
  }

  test('not for another user by credentials of the user’s choice', () => {
    const candidates = ['a', 'b'].map((key) => of({ 'x-api-key': key }, { etag: `"${key}"` }))
    const message = request({ 'x-api-key': 'c' })
    const by = (...partitionBy: string[]) => reuse(message, candidates, NOW, { partitionBy }).action
    assert.equal(by('x-api-key'), 'forward')
    assert.equal(by(), 'validate')
  })

  test('only where no response matches: otherwise that one is validated, or none', () => {
    const stale = of(english, { ...cc('max-age=0'), etag: 'W/"1"' })
    const candidates = reuse(asked, [german, stale, french], NOW, TERMS)
    assert.deepEqual(candidates, { action: 'validate', reason: 'stale', stored: stale, candidates: [stale] }) // biome-ignore format: one decision a line
    const unknown = of(english, cc('max-age=0'))
    assert.deepEqual(reuse(asked, [german, unknown], NOW, TERMS), { action: 'forward', reason: 'stale', stored: unknown }) // biome-ignore format: one decision a line
  })

  test('§5.2.1.7: with only-if-cached the origin is not asked', () => {
    const message = request({ ...english, ...cc('only-if-cached') })
    assert.deepEqual(reuse(message, [german], NOW, TERMS), { action: 'refuse' })
  })
})

suite('§4.2 Freshness and §5.2 Cache-Control: reuse', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, request: string, response: Fields, seconds: number, decision: string][] = [
    ['fresh is reused', '', cc('max-age=60'), 59, 'reuse'],
    ['stale is not', '', cc('max-age=60'), 60, 'forward (stale)'],
    ['stale is validated where it can be', '', { ...cc('max-age=60'), etag: '"1"' }, 60, 'validate (stale)'],
    ['by its date as well', '', { ...cc('max-age=60'), 'last-modified': MODIFIED }, 60, 'validate (stale)'],
    ['Age counts', '', { ...cc('max-age=60'), age: '30' }, 30, 'forward (stale)'],
    ['§4.2.2: a heuristic counts', '', { 'last-modified': MODIFIED }, 86_399, 'reuse'],
    ['§4.2.2: and ends', '', { 'last-modified': MODIFIED }, 86_400, 'validate (stale)'],
    ['§4.2.4: nothing is reused at the end of its lifetime without a reason', '', cc('max-age=0'), 0, 'forward (stale)'],
    ['RFC 8246: what is fresh and immutable is not asked for again', 'max-age=0', { ...cc('immutable, max-age=60'), etag: '"1"' }, 0, 'reuse'],
    ['RFC 8246: but the age that the request accepts counts', 'max-age=10', { ...cc('immutable, max-age=60'), etag: '"1"' }, 59, 'validate (request)'],
    ['RFC 8246: to which it may be', 'max-age=59', { ...cc('immutable, max-age=60'), etag: '"1"' }, 59, 'reuse'],
    ['RFC 8246: nor for no-cache', 'no-cache', { ...cc('immutable, max-age=60'), etag: '"1"' }, 0, 'validate (request)'],
    ['RFC 8246: and for min-fresh', 'min-fresh=10', { ...cc('immutable, max-age=60'), etag: '"1"' }, 51, 'validate (request)'],
    ['RFC 8246: and no-cache of its own', 'max-age=0', { ...cc('immutable, no-cache, max-age=60'), etag: '"1"' }, 0, 'validate (stale)'],
    ['RFC 8246: it gives no lifetime', '', { ...cc('immutable'), etag: '"1"' }, 0, 'validate (stale)'],
    ['RFC 8246: when it is stale the age that the request accepts counts', 'max-age=30, max-stale', cc('immutable, max-age=60'), 61, 'forward (request)'],
    ['RFC 8246: immutable ends with the lifetime', '', { ...cc('immutable, max-age=60'), etag: '"1"' }, 61, 'validate (stale)'],

    ['§5.2.2.4: no-cache is validated although fresh', '', { ...cc('no-cache, max-age=60'), etag: '"1"' }, 0, 'validate (stale)'],
    ['§5.2.2.4: no-cache with field names does not concern the others', '', { ...cc('no-cache="set-cookie", max-age=60'), etag: '"1"' }, 0, 'reuse'],
    ['§5.2.2.4: no-cache with what are no field names does', '', { ...cc('no-cache="set cookie", max-age=60'), etag: '"1"' }, 0, 'validate (stale)'],
    ['§5.2.2.4: and beside one with field names', '', { ...cc('no-cache="x", no-cache, max-age=60'), etag: '"1"' }, 0, 'validate (stale)'],
    ['§5.2.2.4: max-stale does not overrule no-cache', 'max-stale', cc('no-cache, max-age=60'), 0, 'forward (stale)'],
    ['§5.2.2.2: must-revalidate does not concern what is fresh', '', cc('must-revalidate, max-age=60'), 59, 'reuse'],
    ['§5.2.2.2: must-revalidate forbids to reuse what is stale', 'max-stale', cc('must-revalidate, max-age=60'), 60, 'forward (stale)'],
    ['§5.2.2.5: no-store in a response is about storing', '', cc('no-store, max-age=60'), 59, 'reuse'],
    ['§5.2.2.8: proxy-revalidate is nothing to a private cache', 'max-stale', cc('proxy-revalidate, max-age=60'), 60, 'reuse'],
    ['§5.2.2.10: s-maxage is nothing to a private cache', '', cc('s-maxage=1, max-age=60'), 59, 'reuse'],

    ['§5.2.1.1: max-age accepts what is not older', 'max-age=30', cc('max-age=60'), 30, 'reuse'],
    ['§5.2.1.1: max-age refuses what is older', 'max-age=30', cc('max-age=60'), 31, 'forward (request)'],
    ['§5.2.1.1: max-age=0 validates what has just been stored', 'max-age=0', { ...cc('max-age=60'), etag: '"1"' }, 0, 'validate (request)'],
    ['§5.2.1.1: a malformed max-age accepts nothing', 'max-age=x', cc('max-age=60'), 0, 'forward (request)'],
    ['§5.2.1.1: max-age does not accept what is stale', 'max-age=100', cc('max-age=60'), 60, 'forward (stale)'],
    ['§5.2.1.1: with max-stale it does', 'max-age=100, max-stale', cc('max-age=60'), 60, 'reuse'],
    ['§5.2.1.1: max-stale does not lift max-age', 'max-age=70, max-stale', cc('max-age=60'), 71, 'forward (request)'],

    ['§5.2.1.2: max-stale alone accepts anything', 'max-stale', cc('max-age=60'), 1_000_000, 'reuse'],
    ['§5.2.1.2: max-stale accepts no more than its seconds', 'max-stale=10', cc('max-age=60'), 70, 'reuse'],
    ['§5.2.1.2: and not a second more', 'max-stale=10', cc('max-age=60'), 71, 'forward (stale)'],
    ['§5.2.1.2: a malformed max-stale accepts no staleness', 'max-stale=x', cc('max-age=60'), 61, 'forward (stale)'],

    ['§5.2.1.3: min-fresh accepts what stays fresh that long', 'min-fresh=5', cc('max-age=60'), 55, 'reuse'],
    ['§5.2.1.3: min-fresh refuses what does not', 'min-fresh=15', cc('max-age=60'), 50, 'forward (request)'],
    ['§5.2.1.3: even with max-stale', 'min-fresh=15, max-stale', cc('max-age=60'), 50, 'forward (request)'],
    ['§5.2.1.3: min-fresh wants nothing stale', 'min-fresh=15', cc('max-age=60'), 60, 'forward (stale)'],

    ['§5.2.1.4: no-cache validates', 'no-cache', { ...cc('max-age=60'), etag: '"1"' }, 0, 'validate (request)'],
    ['§5.2.1.4: even with max-stale', 'no-cache, max-stale', cc('max-age=60'), 0, 'forward (request)'],
    ['§5.2.1.4: no-cache fetches where it cannot validate', 'no-cache', cc('max-age=60'), 0, 'forward (request)'],
    ['§5.2.1.7: only-if-cached is served from the cache', 'only-if-cached', cc('max-age=60'), 59, 'reuse'],
    ['§5.2.1.7: or not at all', 'only-if-cached', { ...cc('max-age=60'), etag: '"1"' }, 60, 'refuse'],
    ['§5.2.1.7: or not with no-cache', 'only-if-cached, no-cache', cc('max-age=60'), 0, 'refuse'],
    ['§5.2.1.7: nor older than max-age', 'only-if-cached, max-age=5', cc('max-age=60'), 6, 'refuse'],
    ['§5.2.1.7: nor what must be validated', 'only-if-cached', { ...cc('no-cache'), etag: '"1"' }, 0, 'refuse'],
    ['§5.2.1.7: with max-stale also by what is stale', 'only-if-cached, max-stale', cc('max-age=60'), 60, 'reuse'],
  ]
  for (const [rule, directives, fields, seconds, decision] of rows) {
    test(rule, () => {
      assert.equal(decide(request(cc(directives)), stored(fields), seconds), decision)
    })
  }

  test('§5.2.1.7: only-if-cached is refused where nothing is stored', () => {
    assert.deepEqual(reuse(request(cc('only-if-cached')), [], NOW, TERMS), { action: 'refuse' })
  })

  test('§5.4: Pragma: no-cache validates where there is no Cache-Control', () => {
    const candidate = stored(cc('max-age=60'))
    assert.equal(decide(request({ pragma: 'No-Cache' }), candidate, 0), 'forward (request)')
    assert.equal(decide(request({ pragma: 'no-cache', ...cc('max-age=9') }), candidate, 0), 'reuse')
  })
})

suite('§5.2.2 What concerns shared caches: reuse', () => {
  const etag = { etag: '"1"' }

  // biome-ignore format: one rule a row
  const rows: [rule: string, request: string, response: Fields, seconds: number, decision: string][] = [
    ['§5.2.2.10: s-maxage counts before max-age', '', cc('s-maxage=30, max-age=60'), 29, 'reuse'],
    ['§5.2.2.10: and ends before it', '', cc('s-maxage=30, max-age=60'), 30, 'forward (stale)'],
    ['§5.2.2.10: or after it', '', cc('s-maxage=90, max-age=60'), 89, 'reuse'],
    ['§5.2.2.10: what is stale by it is not accepted by max-stale', 'max-stale', cc('s-maxage=30'), 30, 'forward (stale)'],
    ['§5.2.2.10: nor where it was not what ended', 'max-stale', cc('max-age=30, s-maxage=30'), 31, 'forward (stale)'],
    ['§5.2.2.10: not even where the response allows another use', 'max-stale', cc('s-maxage=30, stale-if-error=30'), 31, 'forward (stale)'],
    ['§5.2.2.8: proxy-revalidate forbids what is stale', 'max-stale', cc('proxy-revalidate, max-age=60'), 60, 'forward (stale)'],
    ['§5.2.2.8: and nothing that is fresh', '', cc('proxy-revalidate, max-age=60'), 59, 'reuse'],
    ['without these max-stale is obeyed', 'max-stale', cc('max-age=60'), 60, 'reuse'],
    ['§5.2.2.7: private in some fields is no obstacle', '', cc('private="x", max-age=60'), 0, 'reuse'],
    ['RFC 9213: the targeted field counts', '', { 'cdn-cache-control': 'max-age=60', ...cc('no-cache'), ...etag }, 59, 'reuse'],
    ['RFC 9213: it may forbid as well', '', { 'cdn-cache-control': 'no-cache', ...cc('max-age=60'), ...etag }, 0, 'validate (stale)'],
    ['RFC 9213: it may make immutable', 'max-age=0', { 'cdn-cache-control': 'max-age=60, immutable' }, 1, 'reuse'],
    ['RFC 9213: one that is malformed does not count', '', { 'cdn-cache-control': 'max-age=60 no-cache', ...cc('max-age=30'), ...etag }, 30, 'validate (stale)'],
  ]
  for (const [rule, directives, fields, seconds, decision] of rows) {
    test(rule, () => {
      const candidate = stored(fields, SHARED)
      assert.equal(decide(request(cc(directives)), candidate, seconds), decision)
    })
  }
})

suite('RFC 5861 §3 stale-while-revalidate: reuse', () => {
  const none = undefined
  const etag = { etag: '"1"' }
  const allowing = cc('max-age=60, stale-while-revalidate=30')

  // biome-ignore format: one rule a row
  const rows: [rule: string, request: string, response: StoredResponse, seconds: number, configured: number | undefined, decision: string][] = [
    ['what is fresh is reused alone', '', stored(allowing), 59, none, 'reuse'],
    ['what is stale is validated meanwhile', '', stored(allowing), 60, none, 'reuse-and-validate'],
    ['as long as the response allows', '', stored({ ...allowing, ...etag }), 89, none, 'reuse-and-validate'],
    ['and no longer', '', stored({ ...allowing, ...etag }), 91, none, 'validate (stale)'],
    ['stale-if-error does not allow it', '', stored({ ...cc('max-age=60, stale-if-error=30'), ...etag }), 61, none, 'validate (stale)'],
    ['the user may allow it', '', stored(cc('max-age=60')), 1e6, Infinity, 'reuse-and-validate'],
    ['and forbid it', '', stored({ ...allowing, ...etag }), 61, 0, 'validate (stale)'],
    ['the request may allow it', 'stale-while-revalidate=30', stored(cc('max-age=60')), 89, none, 'reuse-and-validate'],
    ['and forbid it', 'stale-while-revalidate=0', stored(allowing), 61, Infinity, 'forward (stale)'],
    ['must-revalidate forbids it', '', stored({ ...cc('must-revalidate, max-age=60, stale-while-revalidate=30'), ...etag }), 60, Infinity, 'validate (stale)'],
    ['no-cache forbids it', '', stored({ ...cc('no-cache, max-age=60, stale-while-revalidate=30'), ...etag }), 0, Infinity, 'validate (stale)'],
    ['s-maxage forbids it to a shared cache', '', stored({ ...cc('s-maxage=60'), ...etag }, SHARED), 60, Infinity, 'validate (stale)'],
    ['unless the response allows it', '', stored(cc('s-maxage=60, stale-while-revalidate=30'), SHARED), 60, none, 'reuse-and-validate'],
    ['no-cache of the request asks for more', 'no-cache', stored(allowing), 61, Infinity, 'forward (request)'],
    ['even where it names this use', 'no-cache, stale-while-revalidate=30', stored(allowing), 61, none, 'forward (request)'],
    ['max-age of the request does where it is older', 'max-age=30', stored(allowing), 61, Infinity, 'forward (request)'],
    ['and where it is not, since it is stale', 'max-age=100', stored(allowing), 61, Infinity, 'forward (stale)'],
    ['unless it names this use', 'max-age=100, stale-while-revalidate=30', stored(cc('max-age=60')), 61, none, 'reuse-and-validate'],
    ['min-fresh of the request does', 'min-fresh=1', stored(allowing), 61, Infinity, 'forward (stale)'],
    ['what is fresh is not used so to have no min-fresh', 'min-fresh=30', stored(allowing), 31, Infinity, 'forward (request)'],
    ['what max-stale accepts need not be validated', 'max-stale=5', stored(allowing), 61, none, 'reuse'],
    ['only-if-cached is served and nothing is validated', 'only-if-cached', stored(allowing), 61, none, 'reuse'],
    ['or not served', 'only-if-cached', stored(allowing), 91, none, 'refuse'],
    ['a rule of the user does not use what the response allows', '', stored({ ...allowing, ...etag }, { expires: NOW }), 1, none, 'validate (stale)'],
    ['but what the user does', '', stored({ ...cc('no-cache'), ...etag }, { expires: NOW }), 1, 2 * SECOND, 'reuse-and-validate'],
    ['and not against must-revalidate', '', stored({ ...cc('must-revalidate'), ...etag }, { expires: NOW }), 1, Infinity, 'validate (stale)'],
  ]
  for (const [rule, directives, candidate, seconds, configured, decision] of rows) {
    test(rule, () => {
      const terms = { ...TERMS, staleWhileRevalidate: configured, staleIfError: 0 }
      assert.equal(decide(request(cc(directives)), candidate, seconds, terms), decision)
    })
  }

  test('what the user allows on errors is not allowed before there is one', () => {
    const terms = { ...TERMS, staleIfError: Infinity }
    assert.equal(decide(request(), stored(cc('max-age=60')), 61, terms), 'forward (stale)')
  })
})

suite('Reuse by a rule of the user: reuse', () => {
  const rule = { expires: NOW + 60_000 }

  // biome-ignore format: one rule a row
  const rows: [rule: string, request: string, response: StoredResponse, seconds: number, decision: string][] = [
    ['it makes fresh what the origin says is stale', '', stored(cc('max-age=0'), rule), 59, 'reuse'],
    ['it ends', '', stored(cc('max-age=600'), rule), 60, 'forward (stale)'],
    ['it overrules no-store', '', stored(cc('no-store'), rule), 0, 'reuse'],
    ['it overrules no-cache', '', stored(cc('no-cache'), rule), 0, 'reuse'],
    ['it overrules no-cache for max-stale as well', 'max-stale', stored(cc('no-cache'), rule), 60, 'reuse'],
    ['it overrules immutable', 'max-age=5', stored(cc('immutable'), rule), 6, 'forward (request)'],
    ['it overrules must-revalidate while it lasts', '', stored(cc('must-revalidate, max-age=0'), rule), 59, 'reuse'],
    ['it does not overrule must-revalidate when it has ended', 'max-stale', stored(cc('must-revalidate'), rule), 60, 'forward (stale)'],
    ['nor proxy-revalidate in a shared cache', 'max-stale', stored(cc('proxy-revalidate'), { ...rule, ...SHARED }), 60, 'forward (stale)'],
    ['which is nothing to a private one', 'max-stale', stored(cc('proxy-revalidate'), rule), 60, 'reuse'],
    ['it overrules s-maxage', 'max-stale', stored(cc('s-maxage=5'), { ...rule, ...SHARED }), 60, 'reuse'],
    ['it does not overrule Vary', '', stored({}, { ...rule, nominated: { accept: 'a/a' } }), 0, 'forward (vary-miss)'],
    ['never is never', '', stored({}, { expires: Infinity }), 1e9, 'reuse'],
    ['at once is at once', '', stored({ etag: '"1"' }, { expires: NOW }), 0, 'validate (stale)'],
    ['the origin’s Age plays no part', '', stored({ age: '1000' }, rule), 59, 'reuse'],
    ['the request’s no-cache is obeyed', 'no-cache', stored({}, { expires: Infinity }), 0, 'forward (request)'],
    ['the request’s max-age is obeyed', 'max-age=5', stored({}, { expires: Infinity }), 6, 'forward (request)'],
    ['the request’s min-fresh is obeyed', 'min-fresh=60', stored({}, rule), 1, 'forward (request)'],
    ['what never expires is fresh enough for any min-fresh', 'min-fresh=999999', stored({}, { expires: Infinity }), 1, 'reuse'],
    ['the request’s max-stale is obeyed', 'max-stale=5', stored({}, rule), 65, 'reuse'],
    ['and no more than that', 'max-stale=5', stored({}, rule), 66, 'forward (stale)'],
  ]
  for (const [name, directives, candidate, seconds, decision] of rows) {
    test(name, () => {
      assert.equal(decide(request(cc(directives)), candidate, seconds), decision)
    })
  }
})

suite('A clock that has been set back: reuse', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, request: string, response: StoredResponse, seconds: number, decision: string][] = [
    ['by less than a minute is no matter', '', stored(cc('max-age=600')), -60, 'reuse'],
    ['what is of unknown age is not taken for fresh', '', stored(cc('max-age=600')), -61, 'forward (stale)'],
    ['nor for stale for a while', 'max-stale', stored({ ...cc('max-age=600'), etag: '"1"' }), -61, 'validate (stale)'],
    ['nor where a rule of the user ends', '', stored({}, { expires: NOW + 60_000 }), -61, 'forward (stale)'],
    ['what never expires is fresh at any time', '', stored({}, { expires: Infinity }), -61, 'reuse'],
  ]
  for (const [rule, directives, candidate, seconds, decision] of rows) {
    test(rule, () => {
      assert.equal(decide(request(cc(directives)), candidate, seconds), decision)
    })
  }
})

suite('RFC 9110 §13 and §14 Conditions and ranges: reuse', () => {
  const etag = { etag: '"1"' }
  const fresh = cc('max-age=60')

  // biome-ignore format: one rule a row
  const rows: [rule: string, request: Fields, response: Fields, seconds: number, decision: string][] = [
    ['a condition is evaluated by the cache where it may answer', { 'if-none-match': '"2"' }, { ...fresh, ...etag }, 59, 'reuse'],
    ['by date as well', { 'if-modified-since': MODIFIED }, { ...fresh, ...etag }, 59, 'reuse'],
    ['otherwise it goes to the origin as it is', { 'if-none-match': '"1"' }, { ...fresh, ...etag }, 60, 'forward (stale)'],
    ['by date as well', { 'if-modified-since': MODIFIED }, { ...fresh, ...etag }, 60, 'forward (stale)'],
    ['with no-cache, too', { 'if-none-match': '"1"', ...cc('no-cache') }, { ...fresh, ...etag }, 0, 'forward (request)'],
    ['with max-age=0, too', { 'if-none-match': '"1"', ...cc('max-age=0') }, { ...fresh, ...etag }, 0, 'forward (request)'],
    ['while stale content is used it is no matter', { 'if-none-match': '"1"' }, { ...cc('max-age=60, stale-while-revalidate=9'), ...etag }, 60, 'reuse-and-validate'],
    ['with only-if-cached it goes nowhere', { 'if-none-match': '"1"', ...cc('only-if-cached') }, { ...fresh, ...etag }, 60, 'refuse'],
    ['a range is answered by the cache where it may', { range: 'bytes=0-1' }, { ...fresh, ...etag }, 59, 'reuse'],
    ['otherwise the whole is validated', { range: 'bytes=0-1' }, { ...fresh, ...etag }, 60, 'validate (stale)'],
    ['also if it is to be the same', { range: 'bytes=0-1', 'if-range': '"1"' }, { ...fresh, ...etag }, 60, 'validate (stale)'],
    ['where it cannot be, the origin answers', { range: 'bytes=0-1' }, fresh, 60, 'forward (stale)'],
  ]
  for (const [rule, fields, response, seconds, decision] of rows) {
    test(rule, () => assert.equal(decide(request(fields), stored(response), seconds), decision))
  }

  test('what may have to do if the origin fails is known where a condition is forwarded', () => {
    const candidate = stored({ ...fresh, ...etag })
    const asked = request({ 'if-none-match': '"1"' })
    assert.deepEqual(reuse(asked, [candidate], NOW + 60_000, TERMS), {
      action: 'forward',
      reason: 'stale',
      stored: candidate,
    })
  })
})

suite('§3.3 and §3.4 A part that is stored by itself: reuse', () => {
  const nominated = { range: 'bytes=0-1' }
  const fields = { ...cc('max-age=60'), etag: '"1"', 'content-range': 'bytes 0-1/9' }
  const part = stored(fields, { status: 206, nominated })

  // biome-ignore format: one rule a row
  const rows: [rule: string, request: RequestMessage, seconds: number, decision: string][] = [
    ['it answers a request for that part', request(nominated), 59, 'reuse'],
    ['and is validated for one', request(nominated), 60, 'validate (stale)'],
    ['it does not answer one for another part', request({ range: 'bytes=0-2' }), 0, 'forward (vary-miss)'],
    ['nor one for the whole, of which it has the entity-tag', request(), 0, 'forward (vary-miss)'],
    ['nor HEAD', request({}, 'HEAD'), 0, 'forward (vary-miss)'],
    ['even where that names the part', request(nominated, 'HEAD'), 0, 'forward (vary-miss)'],
  ]
  for (const [rule, message, seconds, decision] of rows) {
    test(rule, () => assert.equal(decide(message, part, seconds), decision))
  }
})

suite('Laws of reuse', () => {
  function nameOf(directive: string): string {
    return directive.split('=', 1)[0] as string
  }

  const responseDirective = fc.constantFrom(
    'max-age=60',
    'max-age=0',
    'no-cache',
    'no-cache="x"',
    'public',
    'private',
    'immutable',
    'must-revalidate',
    'proxy-revalidate',
    's-maxage=30',
    's-maxage=9999',
    'stale-while-revalidate=20',
    'stale-if-error=20',
  )
  const requestDirective = fc.constantFrom(
    'max-age=0',
    'max-age=30',
    'max-age=90',
    'min-fresh=10',
    'max-stale',
    'max-stale=20',
    'no-cache',
    'only-if-cached',
    'stale-while-revalidate=40',
    'no-transform',
  )
  const anyResponse = fc.record({
    // Of directives that are repeated the first one counts, or the last: that is shown elsewhere.
    directives: fc.uniqueArray(responseDirective, { selector: nameOf }),
    isTargeted: fc.boolean(),
    shared: fc.boolean(),
    age: fc.constantFrom(undefined, '0', '20', '100'),
    validator: fc.constantFrom({}, { etag: '"1"' }, { etag: 'W/"1"' }, { 'last-modified': MODIFIED }), // biome-ignore format: one list
    expires: fc.constantFrom(undefined, undefined, NOW - 1, NOW, NOW + 30_000, Infinity),
    nominated: fc.constantFrom({}, {}, { accept: 'a/a' }, { authorization: 'a' }),
    responseTime: fc.integer({ min: NOW - 3000, max: NOW }),
  })
  type AnyResponse = typeof anyResponse extends fc.Arbitrary<infer T> ? T : never

  function responseOf(of: AnyResponse, ...more: string[]): StoredResponse {
    const { shared, age, validator, expires, nominated, responseTime } = of
    const name = shared && of.isTargeted ? 'cdn-cache-control' : 'cache-control'
    return stored(
      {
        [name]: [...of.directives, ...more].join(', '),
        ...(age !== undefined && { age }),
        ...validator,
      },
      { shared, nominated, responseTime, ...(expires !== undefined && { expires }) },
    )
  }

  const anyRequest = fc.record({
    directives: fc.array(requestDirective),
    method: fc.constantFrom('GET', 'GET', 'HEAD'),
    more: fc.constantFrom<Fields[]>({}, {}, { accept: 'a/a' }, { accept: 'b/b' }, { authorization: 'b' }, { range: 'bytes=0-1' }, { 'if-none-match': '"1"' }), // biome-ignore format: one list
  })
  type AnyRequest = typeof anyRequest extends fc.Arbitrary<infer T> ? T : never

  function requestOf({ directives, method, more }: AnyRequest, ...also: string[]): RequestMessage {
    return request({ ...more, ...cc([...directives, ...also].join(', ')) }, method)
  }

  const limit = fc.constantFrom(undefined, undefined, 0, 25_000, Infinity)
  const anyTerms = fc.record({
    partitionBy: fc.constantFrom([], ['authorization']),
    staleWhileRevalidate: limit,
    staleIfError: limit,
  })
  const now = fc.nat({ max: 150_000 }).map((elapsed) => NOW + elapsed)
  const runs = { numRuns: 1000 }

  /** Whether there is a directive of that name; one that names fields is another. */
  function has(directives: readonly string[], name: string): boolean {
    return directives.some((one) => nameOf(one) === name && !one.includes('"'))
  }

  /** The seconds of a directive as it is first said; Infinity where it has no argument. */
  function secondsOf(directives: readonly string[], name: string): number | undefined {
    const first = directives.find((one) => nameOf(one) === name)
    if (first === undefined) return undefined
    return first === name ? Infinity : Number(first.slice(name.length + 1))
  }

  test('nothing is reused at or past its lifetime unless something allows it', () => {
    fc.assert(
      fc.property(anyRequest, anyResponse, now, anyTerms, (asked, of, now, terms) => {
        const candidate = responseOf(of)
        const { action } = reuse(requestOf(asked), [candidate], now, terms)
        const staleness = currentAge(candidate, now) - freshnessLifetime(candidate)
        if (!action.startsWith('reuse') || staleness < 0) return
        const byRule = of.expires !== undefined
        assert.ok(!has(of.directives, 'must-revalidate'), 'must-revalidate forbids it')
        assert.ok(!of.shared || !has(of.directives, 'proxy-revalidate'), 'so does this')
        assert.ok(byRule || !has(of.directives, 'no-cache'), 'and no-cache')
        const isForShared = !byRule && of.shared && has(of.directives, 's-maxage')

        const accepted = secondsOf(asked.directives, 'max-stale')
        const isAccepted = accepted !== undefined && staleness <= accepted * SECOND
        if (action === 'reuse' && isAccepted && !isForShared) return

        const inResponse = byRule ? undefined : secondsOf(of.directives, 'stale-while-revalidate')
        assert.ok(!isForShared || inResponse !== undefined, 's-maxage forbids it')
        const inRequest = secondsOf(asked.directives, 'stale-while-revalidate')
        const byUser = terms.staleWhileRevalidate
        const inTerms = byUser === undefined ? undefined : byUser / SECOND
        const allowed = inRequest ?? inTerms ?? inResponse ?? 0
        assert.ok(staleness < allowed * SECOND, 'the request, the user or the response allows it')
        const isParticular = has(asked.directives, 'max-age') && accepted === undefined
        const refuses = isParticular || has(asked.directives, 'min-fresh')
        assert.ok(
          !refuses || inRequest !== undefined,
          'and no other word of the request forbids it',
        )
        assert.equal(action === 'reuse', has(asked.directives, 'only-if-cached'))
      }),
      runs,
    )
  })

  test('nothing is reused for a request with no-cache, nor what has no-cache itself', () => {
    fc.assert(
      fc.property(anyRequest, anyResponse, now, anyTerms, (asked, of, now, terms) => {
        const forced = reuse(requestOf(asked, 'no-cache'), [responseOf(of)], now, terms)
        assert.ok(!forced.action.startsWith('reuse'))
        const candidate = responseOf({ ...of, expires: undefined }, 'no-cache')
        const checked = reuse(requestOf(asked), [candidate], now, terms)
        assert.ok(!checked.action.startsWith('reuse'))
      }),
      runs,
    )
  })

  /** The more the higher: a stored response is used, is used and validated, or is not used. */
  function boldness({ action }: Reuse<StoredResponse>): number {
    return action === 'reuse' ? 2 : action === 'reuse-and-validate' ? 1 : 0
  }

  test('a directive of the response that forbids never allows more', () => {
    const forbidding = fc.constantFrom('no-store', 'no-cache', 'private', 'must-revalidate', 'proxy-revalidate') // biome-ignore format: one list
    fc.assert(
      fc.property(
        ...[anyRequest, anyResponse, now, anyTerms, forbidding],
        (asked, of, now, terms, directive) => {
          const [without, having] = [responseOf(of), responseOf(of, directive)].map((candidate) =>
            reuse(requestOf(asked), [candidate], now, terms),
          ) as [Reuse<StoredResponse>, Reuse<StoredResponse>]
          assert.ok(boldness(having) <= boldness(without))
        },
      ),
      runs,
    )
  })

  test('a directive of the request that forbids never allows more', () => {
    const forbidding = fc.constantFrom('no-store', 'no-cache', 'only-if-cached', 'max-age=0', 'min-fresh=10') // biome-ignore format: one list
    fc.assert(
      fc.property(
        ...[anyRequest, anyResponse, now, anyTerms, forbidding],
        (asked, of, now, terms, directive) => {
          const candidate = responseOf(of)
          const without = reuse(requestOf(asked), [candidate], now, terms)
          const having = reuse(requestOf(asked, directive), [candidate], now, terms)
          if (boldness(having) > 0) assert.ok(boldness(without) > 0)
          if (directive !== 'only-if-cached') assert.ok(boldness(having) <= boldness(without))
          if (whyBypass(requestOf(asked, directive), false) === undefined) {
            assert.equal(whyBypass(requestOf(asked), false), undefined)
          }
          if (mayCollapse(requestOf(asked, directive))) {
            assert.equal(mayCollapse(requestOf(asked)), true)
          }
        },
      ),
      runs,
    )
  })

  test('only-if-cached never reaches the origin, and nothing else is refused', () => {
    fc.assert(
      fc.property(anyRequest, fc.array(anyResponse), now, anyTerms, (asked, all, now, terms) => {
        const candidates = all.map((of) => responseOf(of))
        const { action } = reuse(requestOf(asked, 'only-if-cached'), candidates, now, terms)
        assert.ok(action === 'reuse' || action === 'refuse')
        const isOnlyIfCached = asked.directives.includes('only-if-cached')
        const decision = reuse(requestOf(asked), candidates, now, terms)
        assert.ok(decision.action !== 'refuse' || isOnlyIfCached)
      }),
      runs,
    )
  })

  test('what is used matches the request, and what is asked about could be', () => {
    fc.assert(
      fc.property(anyRequest, fc.array(anyResponse), now, anyTerms, (asked, all, now, terms) => {
        const candidates = all.map((of) => responseOf(of))
        const message = requestOf(asked)
        const decision = reuse(message, candidates, now, terms)
        if (decision.action === 'refuse') return
        const used = decision.stored
        if (used) {
          assert.ok(candidates.includes(used))
          for (const [name, value] of Object.entries(used.nominated)) {
            assert.equal(message.fields[name] ?? null, value)
          }
        }
        if (decision.action !== 'validate') return
        assert.ok(decision.candidates.length > 0)
        assert.equal(isConditional(message.fields), false)
        for (const { fields, nominated } of decision.candidates) {
          assert.ok(fields.etag !== undefined || fields['last-modified'] !== undefined)
          if (used === undefined) assert.equal(fields.etag, '"1"')
          if (nominated.authorization === undefined) continue
          assert.equal(nominated.authorization, message.fields.authorization)
        }
      }),
      runs,
    )
  })

  test('the decision does not depend on the order of what is stored', () => {
    const several = fc.uniqueArray(anyResponse, { selector: ({ responseTime }) => responseTime })
    fc.assert(
      fc.property(anyRequest, several, now, anyTerms, (asked, all, now, terms) => {
        const candidates = all.map((of) => responseOf(of))
        const one = reuse(requestOf(asked), candidates, now, terms)
        const other = reuse(requestOf(asked), candidates.toReversed(), now, terms)
        assert.equal(inWords(one), inWords(other))
        if ('stored' in one && 'stored' in other) assert.equal(one.stored, other.stored)
        if (!('candidates' in one && 'candidates' in other)) return
        assert.deepEqual(new Set(one.candidates), new Set(other.candidates))
      }),
    )
  })

  test('the decision depends on nothing but its arguments, and changes none of them', (t) => {
    t.mock.timers.enable({ apis: ['Date'] })
    fc.assert(
      fc.property(anyRequest, fc.array(anyResponse), now, anyTerms, (asked, all, now, terms) => {
        const args = () => [requestOf(asked), all.map((of) => responseOf(of))] as const
        t.mock.timers.setTime(0)
        const first = reuse(...args(), now, terms)
        t.mock.timers.setTime(NOW)
        const [message, candidates] = frozen(args())
        assert.deepEqual(reuse(message, candidates, now, frozen(terms)), first)
        assert.deepEqual(reuse(message, candidates, now, frozen(terms)), first)
      }),
    )
  })

  /** A value none of whose parts can be changed: who tries that throws. */
  function frozen<T>(value: T): T {
    if (typeof value === 'object' && value !== null) Object.values(value).forEach(frozen)
    return Object.freeze(value)
  }
})

suite('What the user says of validation: reuse', () => {
  const etag = { etag: '"1"' }
  const fresh = cc('max-age=60')
  /** A response for a request that accepts other codings, with some of them. */
  const coded = (coding?: string) =>
    stored({ ...fresh, ...(coding && { 'content-encoding': coding }) }, { nominated: { 'accept-encoding': 'x' } }) // biome-ignore format: one response a line
  const stale = (more: object) => ({ staleIfError: Infinity, ...more })

  // biome-ignore format: one rule a row
  const rows: [rule: string, terms: object, fields: Fields, stored: StoredResponse | undefined, seconds: number, decision: string][] = [
    ['refresh validates what is fresh', { refresh: true }, {}, stored({ ...fresh, ...etag }), 0, 'validate (request)'],
    ['where it cannot be validated the request is sent', { refresh: true }, {}, stored(fresh), 0, 'forward (request)'],
    ['refresh is no use of what is stale', { refresh: true, staleWhileRevalidate: Infinity }, {}, stored({ ...fresh, ...etag }), 70, 'validate (request)'],
    ['refresh does not use what never expires', { refresh: true }, {}, stored(etag, { expires: Infinity }), 0, 'validate (request)'],
    ['nor does immutable help', { refresh: true }, {}, stored({ ...cc('immutable, max-age=60'), ...etag }), 0, 'validate (request)'],
    ['a condition of the caller is its own', { refresh: true }, { 'if-none-match': '"2"' }, stored({ ...fresh, ...etag }), 0, 'forward (request)'],
    ['forceRefresh asks without conditions', { forceRefresh: true }, {}, stored({ ...fresh, ...etag }), 0, 'forward (request)'],
    ['also about what is stale', { forceRefresh: true }, {}, stored({ ...fresh, ...etag }), 70, 'forward (request)'],
    ['it counts before refresh', { forceRefresh: true, refresh: true }, {}, stored({ ...fresh, ...etag }), 0, 'forward (request)'],
    ['without anything stored it is a miss', { forceRefresh: true }, {}, undefined, 0, 'forward (uri-miss)'],
    ['alwaysRevalidate validates what is fresh', { alwaysRevalidate: true }, {}, stored({ ...fresh, ...etag }), 0, 'validate (request)'],
    ['what has no validator is used', { alwaysRevalidate: true }, {}, stored(fresh), 0, 'reuse'],
    ['while it is fresh', { alwaysRevalidate: true }, {}, stored(fresh), 60, 'forward (stale)'],
    ['false is nothing', { refresh: false, forceRefresh: false, alwaysRevalidate: false }, {}, stored({ ...fresh, ...etag }), 0, 'reuse'],

    ['onlyIfCached uses what is fresh', { onlyIfCached: true }, {}, stored(fresh), 59, 'reuse'],
    ['not what is stale', { onlyIfCached: true }, {}, stored({ ...fresh, ...etag }), 60, 'refuse'],
    ['nothing stored is refused', { onlyIfCached: true }, {}, undefined, 0, 'refuse'],
    ['fresh counts before refresh', { onlyIfCached: true, refresh: true }, {}, stored({ ...fresh, ...etag }), 0, 'reuse'],
    ['and before all others', { onlyIfCached: true, forceRefresh: true, alwaysRevalidate: true }, {}, stored({ ...fresh, ...etag }), 0, 'reuse'],
    ['staleIfError lets stale ones do', stale({ onlyIfCached: true }), {}, stored(fresh), 999, 'reuse'],
    ['for as long as it says', { onlyIfCached: true, staleIfError: 5000 }, {}, stored(fresh), 64, 'reuse'],
    ['and no longer', { onlyIfCached: true, staleIfError: 5000 }, {}, stored(fresh), 65, 'refuse'],
    ['so does the response’s own word', { onlyIfCached: true }, {}, stored(cc('max-age=60, stale-if-error=10')), 64, 'reuse'],
    ['but never against must-revalidate', stale({ onlyIfCached: true }), {}, stored(cc('max-age=60, must-revalidate')), 61, 'refuse'],
    ['nor against the request', stale({ onlyIfCached: true }), cc('no-cache'), stored(fresh), 61, 'refuse'],
    ['max-age of the request still counts', { onlyIfCached: true }, cc('max-age=5'), stored(fresh), 6, 'refuse'],
    ['what may be used while it is validated is used', { onlyIfCached: true, staleWhileRevalidate: 10_000 }, {}, stored(fresh), 65, 'reuse'],

    ['offline what is stale is used', { mode: 'offline' }, {}, stored(fresh), 999, 'reuse'],
    ['against must-revalidate', { mode: 'offline' }, {}, stored(cc('max-age=60, must-revalidate')), 999, 'reuse'],
    ['against no-cache', { mode: 'offline' }, cc('no-cache'), stored({ ...cc('no-cache'), ...etag }), 0, 'reuse'],
    ['against refresh', { mode: 'offline', refresh: true, forceRefresh: true }, {}, stored({ ...fresh, ...etag }), 0, 'reuse'],
    ['not against Vary', { mode: 'offline' }, {}, stored(fresh, { nominated: { accept: 'a/a' } }), 0, 'refuse'],
    ['nor what the origin has to confirm for each request', { mode: 'offline' }, {}, stored(fresh, { isToBeConfirmed: true }), 0, 'refuse'],
    ['which it is asked for otherwise, however fresh', {}, {}, stored({ ...fresh, ...etag }, { isToBeConfirmed: true }), 0, 'validate (stale)'],
    ['also against a rule', {}, {}, stored(etag, { isToBeConfirmed: true, expires: Infinity }), 0, 'validate (stale)'],
    ['also where stale ones do', { staleWhileRevalidate: Infinity }, cc('max-stale'), stored({ ...fresh, ...etag }, { isToBeConfirmed: true }), 70, 'validate (stale)'],
    ['nothing is missing that is not', { mode: 'offline' }, {}, undefined, 0, 'refuse'],
    ['in a replay all is used', { mode: 'replay' }, cc('no-cache, max-age=0'), stored(cc('no-store, must-revalidate')), 1e9, 'reuse'],
    ['not against Vary either', { mode: 'replay' }, {}, stored(fresh, { nominated: { accept: 'a/a' } }), 0, 'refuse'],
    ['conditions of the caller are answered from it', { mode: 'replay' }, { 'if-none-match': '"1"' }, stored({ ...fresh, ...etag }), 999, 'reuse'],
    ['against Vary where no more than codings differ, and one that is accepted was used', { mode: 'replay' }, { 'accept-encoding': 'br, GZIP;q=0.5' }, coded('gzip'), 0, 'reuse'],
    ['where any is accepted', { mode: 'offline' }, { 'accept-encoding': '*' }, coded('gzip'), 0, 'reuse'],
    ['where none was used', { mode: 'replay' }, {}, coded(), 0, 'reuse'],
    ['not where it is not accepted', { mode: 'replay' }, { 'accept-encoding': 'br' }, coded('gzip'), 0, 'refuse'],
    ['nor where it is refused', { mode: 'replay' }, { 'accept-encoding': '*, gzip;q=0' }, coded('gzip'), 0, 'refuse'],
    ['nor where one of several is not accepted', { mode: 'replay' }, { 'accept-encoding': 'gzip' }, coded('br, gzip'), 0, 'refuse'],
    ['nor where nothing is said of codings', { mode: 'replay' }, {}, coded('gzip'), 0, 'refuse'],
    ['nor where something else differs, too', { mode: 'replay' }, { 'accept-encoding': 'gzip', accept: 'b/b' }, stored({ ...fresh, 'content-encoding': 'gzip' }, { nominated: { 'accept-encoding': 'gzip,x', accept: 'a/a' } }), 0, 'refuse'],
    ['nor where the user keeps them apart', { mode: 'replay', matchHeaders: ['accept-encoding'] }, { 'accept-encoding': 'br, gzip' }, coded('gzip'), 0, 'refuse'],
    ['nor where the origin can be asked', {}, { 'accept-encoding': 'br, gzip' }, coded('gzip'), 0, 'forward (vary-miss)'],
    ['a part only for who asks for it', { mode: 'replay' }, {}, stored(fresh, { status: 206, nominated: { range: 'bytes=0-1' } }), 0, 'refuse'],
    ['to be recorded everything is sent', { mode: 'record' }, {}, stored({ ...fresh, ...etag }), 0, 'forward (request)'],
    ['against only-if-cached', { mode: 'record', onlyIfCached: true }, cc('only-if-cached'), stored(fresh), 0, 'forward (request)'],
    ['the default mode is none', { mode: 'default' }, {}, stored(fresh), 0, 'reuse'],
  ]
  for (const [rule, terms, fields, candidate, seconds, decision] of rows) {
    test(rule, () => {
      const candidates = candidate ? [candidate] : []
      const found = reuse(request(fields), candidates, NOW + seconds * SECOND, {
        ...TERMS,
        ...terms,
      })
      assert.equal(inWords(found), decision)
    })
  }

  test('what is asked for without conditions may still do if the origin fails', () => {
    const candidate = stored(fresh)
    const found = reuse(request(), [candidate], NOW, { ...TERMS, forceRefresh: true })
    assert.ok(found.action === 'forward' && found.stored === candidate)
    const recorded = reuse(request(), [candidate], NOW, { ...TERMS, mode: 'record' })
    assert.ok(recorded.action === 'forward' && recorded.stored === undefined)
  })
})

suite('RFC 9110 §13.1 Preconditions: isConditional', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, isConditional: boolean][] = [
    ['If-None-Match validates what the caller has', { 'if-none-match': '"1"' }, true],
    ['If-Modified-Since does', { 'if-modified-since': MODIFIED }, true],
    ['both do', { 'if-none-match': '*', 'if-modified-since': MODIFIED }, true],
    ['If-Range is about a part', { 'if-range': '"1"', range: 'bytes=0-1' }, false],
    ['If-Match and If-Unmodified-Since are about what the origin has', { 'if-match': '"1"', 'if-unmodified-since': MODIFIED }, false],
    ['other fields are none', { etag: '"1"', 'x-if-none-match': '1' }, false],
    ['no field is none', {}, false],
  ]
  for (const [rule, fields, expected] of rows) {
    test(rule, () => assert.equal(isConditional(fields), expected))
  }
})

suite('Requests that pass the cache by: whyBypass', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, request: RequestMessage, hasContent: boolean, reason: string | undefined][] = [
    ['GET does not', request(), false, undefined],
    ['HEAD does not', request({}, 'HEAD'), false, undefined],
    ['POST does', request({}, 'POST'), true, 'method'],
    ['DELETE does', request({}, 'DELETE'), false, 'method'],
    ['a safe method that is not understood does', request({}, 'OPTIONS'), false, 'method'],
    ['a method of unknown meaning does', request({}, 'FOO'), false, 'method'],
    ['GET with content does', request(), true, 'content'],
    ['HEAD with content does', request({}, 'HEAD'), true, 'content'],
    ['§5.2.1.5: no-store does', request(cc('max-age=5, no-store')), false, 'no-store'],
    ['§5.2.1.5: in any case', request(cc('No-Store')), false, 'no-store'],
    ['§5.2.1.4: no-cache does not', request(cc('no-cache')), false, undefined],
    ['§5.2.1.7: only-if-cached does not', request(cc('only-if-cached')), false, undefined],
    ['§5.4: nor does Pragma', request({ pragma: 'no-cache, no-store' }), false, undefined],
    ['§3.5: nor does Authorization', request({ authorization: 'x' }), false, undefined],
    ['RFC 9110 §13.1.2: a condition on what the caller has does not', request({ 'if-none-match': '"1"' }), false, undefined],
    ['RFC 9110 §13.1.3: by date neither', request({ 'if-modified-since': MODIFIED }), false, undefined],
    ['RFC 9110 §13.1.1: one on what the origin has does', request({ 'if-match': '"1"' }), false, 'conditional'],
    ['RFC 9110 §13.1.1: on whether it has anything, too', request({ 'if-match': '*' }), false, 'conditional'],
    ['RFC 9110 §13.1.4: by date as well', request({ 'if-unmodified-since': MODIFIED }), false, 'conditional'],
    ['RFC 9110 §13.1.4: with HEAD as well', request({ 'if-unmodified-since': MODIFIED }, 'HEAD'), false, 'conditional'],
    ['RFC 9110 §13.1.5: a condition on a range does not', request({ 'if-range': '"1"', range: 'bytes=0-1' }), false, undefined],
    ['RFC 9110 §14.2: a range does not', request({ range: 'bytes=0-1' }), false, undefined],
    ['RFC 9110 §14.2: several neither', request({ range: 'bytes=0-1, 5-, -3' }), false, undefined],
    ['RFC 9110 §14.2: what is malformed does', request({ range: 'bytes=1-0' }), false, 'range'],
    ['RFC 9110 §14.2: what is incomplete does', request({ range: 'bytes=' }), false, 'range'],
    ['RFC 9110 §14.2: a part that is malformed does', request({ range: 'bytes=0-1, x' }), false, 'range'],
    ['RFC 9110 §14.1: other units do', request({ range: 'lines=0-1' }), false, 'range'],
    ['RFC 9110 §14.2: HEAD has no range', request({ range: 'lines=0-1' }, 'HEAD'), false, undefined],
    ['a stream of events does', request({ accept: 'text/event-stream' }), false, 'endless'],
    ['one that would take anything does not', request({ accept: 'text/event-stream, */*' }), false, undefined],
  ]
  for (const [rule, message, hasContent, reason] of rows) {
    test(rule, () => assert.equal(whyBypass(message, hasContent), reason))
  }

  // biome-ignore format: one rule a row
  const modes: [rule: string, request: RequestMessage, byMode: (string | undefined)[]][] = [
    ['no-store is about what the origin sends', request(cc('no-store')), [undefined, undefined, undefined]],
    ['conditions are about what it has', request({ 'if-match': '"1"' }), ['conditional', undefined, undefined]],
    ['ranges that are not understood need not be', request({ range: 'lines=0-1' }), ['range', undefined, undefined]],
    ['a stream of events may have an end', request({ accept: 'text/event-stream' }), ['endless', undefined, undefined]],
    ['any method is allowed', request({}, 'FOO'), ['method', undefined, undefined]],
  ]
  for (const [rule, message, byMode] of modes) {
    test(`offline, recorded and replayed: ${rule}`, () => {
      const reasons = (['offline', 'record', 'replay'] as const).map((mode) =>
        whyBypass(message, false, undefined, mode),
      )
      assert.deepEqual(reasons, byMode)
    })
  }

  // biome-ignore format: one rule a row
  const allowed: [rule: string, request: RequestMessage, hasContent: boolean, reason: string | undefined][] = [
    ['POST does not', request({}, 'POST'), true, undefined],
    ['nor any other method', request({}, 'FOO'), false, undefined],
    ['GET with content still does', request(), true, 'content'],
    ['no-store still does', request(cc('no-store'), 'POST'), true, 'no-store'],
    ['RFC 9110 §13.1.2: a condition on what the caller has does, too', request({ 'if-none-match': '"1"' }, 'POST'), true, 'conditional'],
    ['RFC 9110 §13.1.3: by date as well', request({ 'if-modified-since': MODIFIED }, 'QUERY'), true, 'conditional'],
    ['RFC 9110 §14.2: a range means nothing', request({ range: 'lines=0-1' }, 'POST'), true, undefined],
  ]
  for (const [rule, message, hasContent, reason] of allowed) {
    test(`where its method is allowed: ${rule}`, () => {
      assert.equal(whyBypass(message, hasContent, true), reason)
    })
  }

  test('GET does where it is not', () => assert.equal(whyBypass(request(), false, false), 'method'))
})

suite('RFC 9110 §13.1.2 Only GET and HEAD are made conditional: reuse', () => {
  for (const method of ['POST', 'QUERY', 'DELETE']) {
    test(`${method} is sent anew where the stored response is stale`, () => {
      const candidate = stored({ etag: '"1"', 'cache-control': 'max-age=60' })
      assert.equal(decide(request({}, method), candidate, 30), 'reuse')
      assert.equal(decide(request({}, method), candidate, 90), 'forward (stale)')
      assert.equal(decide(request(cc('no-cache'), method), candidate, 30), 'forward (request)')
    })

    test(`${method} is used while it is asked for again`, () => {
      const candidate = stored({ etag: '"1"', 'cache-control': 'max-age=60' })
      const terms = { ...TERMS, staleWhileRevalidate: Infinity }
      assert.equal(decide(request({}, method), candidate, 90, terms), 'reuse-and-validate')
    })
  }
})

suite('§4 Collapsing Requests: mayCollapse', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, mayCollapse: boolean][] = [
    ['a request may wait for another one', {}, true],
    ['not where it asks for a new answer', cc('no-cache'), false],
    ['not where it asks for one by Pragma', { pragma: 'no-cache' }, false],
    ['where Pragma does not count it may', { pragma: 'no-cache', ...cc('max-age=1') }, true],
    ['not where it accepts no age', cc('max-age=0'), false],
    ['nor where it is not known which', cc('max-age=x'), false],
    ['where it accepts some age it may', cc('max-age=1'), true],
    ['where it accepts what is stale, too', cc('max-stale'), true],
    ['not for a part', { range: 'bytes=0-1' }, false],
    ['not for a part of what it has', { range: 'bytes=0-1', 'if-range': '"1"' }, false],
    ['with a condition it may', { 'if-none-match': '"1"' }, true],
    ['not where it asks the origin to take its time', { prefer: 'wait=10' }, false],
    ['not where it asks so among others', { prefer: 'respond-async, Wait = 10' }, false],
    ['not where it asks so in another line', { prefer: ['respond-async', 'wait=10'] }, false],
    ['other preferences do not matter', { prefer: 'respond-async, x-await=10' }, true],
  ]
  for (const [rule, fields, expected] of rows) {
    test(rule, () => assert.equal(mayCollapse(request(fields)), expected))
  }

  // biome-ignore format: one rule a row
  const byTerms: [rule: string, terms: ValidationTerms, mayCollapse: boolean][] = [
    ['not where it is to be refreshed', { refresh: true }, false],
    ['nor by force', { forceRefresh: true }, false],
    ['nor where each request is to be recorded', { mode: 'record' }, false],
    ['but where each use is validated', { alwaysRevalidate: true }, true],
    ['and where there is nothing of the kind', { refresh: false, mode: 'default' }, true],
  ]
  for (const [rule, terms, expected] of byTerms) {
    test(rule, () => assert.equal(mayCollapse(request(), terms), expected))
  }
})

suite('§4 Collapsing Requests: isForOthers', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, isForOthers: boolean][] = [
    ['an answer is for others as well', {}, true],
    ['also a new one', cc('no-cache'), true],
    ['also to one user: who may have it, is decided otherwise', { authorization: 'x', cookie: 'a=1' }, true],
    ['not to a condition', { 'if-none-match': '"1"' }, false],
    ['not to one by date', { 'if-modified-since': MODIFIED }, false],
    ['not for a part', { range: 'bytes=0-1' }, false],
    ['not for a part of what it has', { range: 'bytes=0-1', 'if-range': '"1"' }, false],
  ]
  for (const [rule, fields, expected] of rows) {
    test(rule, () => assert.equal(isForOthers({ fields }), expected))
  }
})
