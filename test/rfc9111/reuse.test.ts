import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { currentAge, freshnessLifetime } from '../../lib/rfc9111/freshness.ts'
import type { Fields, RequestMessage, StoredResponse } from '../../lib/rfc9111/message.ts'
import { mayCollapse, requestDirectives, reuse, whyBypass } from '../../lib/rfc9111/reuse.ts'
import { NOW, stored } from '../helpers/stored.ts'

const MODIFIED = new Date(NOW - 10 * 86_400_000).toUTCString()

function request(fields: Fields = {}, method = 'GET'): RequestMessage {
  return { method, url: 'http://example.com/', fields }
}

/** The decision about one stored response in a word: its action and why. */
function decide(fields: Fields, candidate: StoredResponse, seconds: number): string {
  const decision = reuse(request(fields), [candidate], NOW + seconds * 1000)
  return 'reason' in decision ? `${decision.action} (${decision.reason})` : decision.action
}

/** A request's `Cache-Control`. */
function cc(value: string): Fields {
  return value === '' ? {} : { 'cache-control': value }
}

suite('§4 Constructing Responses from Caches', () => {
  test('without a stored response a request is forwarded', () => {
    assert.deepEqual(reuse(request(), [], NOW), { action: 'forward', reason: 'uri-miss' })
  })

  test('without a stored response for its nominated fields a request is forwarded', () => {
    const other = stored(cc('max-age=60'), { nominated: { accept: 'text/html' } })
    assert.deepEqual(reuse(request({ accept: 'image/png' }), [other], NOW), {
      action: 'forward',
      reason: 'vary-miss',
    })
  })

  test('§4.1: of several responses that match, the most recent one is reused', () => {
    const [first, second, third] = [1, 3, 2].map((n) =>
      stored(cc('max-age=60'), { responseTime: NOW + n }),
    ) as [StoredResponse, StoredResponse, StoredResponse]
    const decision = reuse(request(), [first, second, third], NOW + 10)
    assert.deepEqual(decision, { action: 'reuse', stored: second })
  })

  test('§4.1: the response whose nominated fields match is reused, not the most recent', () => {
    const html = stored(cc('max-age=60'), { nominated: { accept: 'text/html' } })
    const json = stored(cc('max-age=60'), { nominated: { accept: 'application/json' }, responseTime: NOW + 1 }) // biome-ignore format: one response a line
    const decision = reuse(request({ accept: 'Text/HTML' }), [json, html], NOW + 2)
    assert.deepEqual(decision, { action: 'reuse', stored: html })
  })

  test('the stored response that a decision concerns is handed back itself', () => {
    const candidate = stored({ ...cc('max-age=60'), etag: '"1"' })
    const fresh = reuse(request(), [candidate], NOW)
    const stale = reuse(request(), [candidate], NOW + 60_000)
    assert.ok(fresh.action === 'reuse' && fresh.stored === candidate)
    assert.ok(stale.action === 'validate' && stale.stored === candidate)
  })
})

suite('§4.2 Freshness', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, request: string, response: Fields, seconds: number, decision: string][] = [
    ['fresh is reused', '', cc('max-age=60'), 59, 'reuse'],
    ['stale is not', '', cc('max-age=60'), 60, 'forward (stale)'],
    ['stale is validated where it can be', '', { ...cc('max-age=60'), etag: '"1"' }, 60, 'validate (stale)'],
    ['by its date as well', '', { ...cc('max-age=60'), 'last-modified': MODIFIED }, 60, 'validate (stale)'],
    ['Age counts', '', { ...cc('max-age=60'), age: '30' }, 30, 'forward (stale)'],
    ['§4.2.2: a heuristic counts', '', { 'last-modified': MODIFIED }, 86_399, 'reuse'],
    ['§4.2.2: and ends', '', { 'last-modified': MODIFIED }, 86_400, 'validate (stale)'],
    ['RFC 8246: immutable ends with the lifetime', '', { ...cc('immutable, max-age=60'), etag: '"1"' }, 61, 'validate (stale)'],

    ['§5.2.2.4: no-cache is validated although fresh', '', { ...cc('no-cache, max-age=60'), etag: '"1"' }, 0, 'validate (stale)'],
    ['§5.2.2.4: no-cache with field names, too', '', { ...cc('no-cache="set-cookie", max-age=60'), etag: '"1"' }, 0, 'validate (stale)'],
    ['§5.2.2.4: max-stale does not overrule no-cache', 'max-stale', cc('no-cache, max-age=60'), 0, 'forward (stale)'],
    ['§5.2.2.2: must-revalidate does not concern what is fresh', '', cc('must-revalidate, max-age=60'), 59, 'reuse'],
    ['§5.2.2.2: must-revalidate forbids to reuse what is stale', 'max-stale', cc('must-revalidate, max-age=60'), 60, 'forward (stale)'],
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

    ['§5.2.1.4: no-cache validates', 'no-cache', { ...cc('max-age=60'), etag: '"1"' }, 0, 'validate (request)'],
    ['§5.2.1.4: no-cache fetches where it cannot validate', 'no-cache', cc('max-age=60'), 0, 'forward (request)'],
    ['§5.2.1.7: only-if-cached is served from the cache', 'only-if-cached', cc('max-age=60'), 59, 'reuse'],
    ['§5.2.1.7: or not at all', 'only-if-cached', { ...cc('max-age=60'), etag: '"1"' }, 60, 'refuse'],
    ['§5.2.1.7: with max-stale also by what is stale', 'only-if-cached, max-stale', cc('max-age=60'), 60, 'reuse'],
  ]
  for (const [rule, directives, fields, seconds, decision] of rows) {
    test(rule, () => assert.equal(decide(cc(directives), stored(fields), seconds), decision))
  }

  test('§5.2.1.7: only-if-cached is refused where nothing is stored', () => {
    assert.deepEqual(reuse(request(cc('only-if-cached')), [], NOW), { action: 'refuse' })
  })

  test('§5.4: Pragma: no-cache validates where there is no Cache-Control', () => {
    const candidate = stored(cc('max-age=60'))
    assert.equal(decide({ pragma: 'No-Cache' }, candidate, 0), 'forward (request)')
    assert.equal(decide({ pragma: 'no-cache', ...cc('max-age=9') }, candidate, 0), 'reuse')
  })
})

suite('Reuse by a rule of the user', () => {
  const rule = { expires: NOW + 60_000 }

  // biome-ignore format: one rule a row
  const rows: [rule: string, request: string, response: StoredResponse, seconds: number, decision: string][] = [
    ['it makes fresh what the origin says is stale', '', stored(cc('max-age=0'), rule), 59, 'reuse'],
    ['it ends', '', stored(cc('max-age=600'), rule), 60, 'forward (stale)'],
    ['it overrules no-cache', '', stored(cc('no-cache'), rule), 0, 'reuse'],
    ['it overrules must-revalidate', 'max-stale', stored(cc('must-revalidate'), rule), 60, 'reuse'],
    ['never is never', '', stored({}, { expires: Infinity }), 1e9, 'reuse'],
    ['at once is at once', '', stored({ etag: '"1"' }, { expires: NOW }), 0, 'validate (stale)'],
    ['the origin’s Age plays no part', '', stored({ age: '1000' }, rule), 59, 'reuse'],
    ['the request’s no-cache is obeyed', 'no-cache', stored({}, { expires: Infinity }), 0, 'forward (request)'],
    ['the request’s max-age is obeyed', 'max-age=5', stored({}, { expires: Infinity }), 6, 'forward (request)'],
    ['the request’s min-fresh is obeyed', 'min-fresh=60', stored({}, rule), 1, 'forward (request)'],
    ['what never expires is fresh enough for any min-fresh', 'min-fresh=999999', stored({}, { expires: Infinity }), 1, 'reuse'],
  ]
  for (const [name, directives, candidate, seconds, decision] of rows) {
    test(name, () => assert.equal(decide(cc(directives), candidate, seconds), decision))
  }
})

suite('§4.2.4 Serving Stale Responses', () => {
  const responseDirective = fc.constantFrom(
    'max-age=60',
    'max-age=0',
    'max-age=x',
    'no-cache',
    'public',
    'private',
    'immutable',
    'must-revalidate',
    's-maxage=9999',
  )
  const requestDirective = fc.constantFrom(
    'max-age=30',
    'min-fresh=10',
    'max-stale',
    'max-stale=20',
    'only-if-cached',
    'no-transform',
  )
  const anyCase = fc.record({
    request: fc.array(requestDirective),
    response: fc.array(responseDirective),
    age: fc.option(fc.nat({ max: 100 })),
    etag: fc.boolean(),
    modified: fc.boolean(),
    expires: fc.option(fc.constantFrom(-1, 0, 30_000, Infinity)),
    elapsed: fc.nat({ max: 100_000 }),
  })

  test('a response is never reused at or past its lifetime unless max-stale allows it', () => {
    fc.assert(
      fc.property(
        anyCase,
        ({ request: asked, response, age, etag, modified, expires, elapsed }) => {
          const candidate = stored(
            {
              ...cc(response.join(', ')),
              ...(age !== null && { age: String(age) }),
              ...(etag && { etag: '"1"' }),
              ...(modified && { 'last-modified': MODIFIED }),
            },
            expires === null ? {} : { expires: NOW + expires },
          )
          const now = NOW + elapsed
          const decision = reuse(request(cc(asked.join(', '))), [candidate], now)
          const staleness = currentAge(candidate, now) - freshnessLifetime(candidate)
          if (decision.action !== 'reuse' || staleness < 0) return
          const first = asked.find((directive) => directive.startsWith('max-stale'))
          assert.ok(first !== undefined, 'the request must ask for it')
          assert.ok(first === 'max-stale' || staleness <= 20_000, 'and not for less')
          const forbids = response.includes('must-revalidate') || response.includes('no-cache')
          assert.ok(expires !== null || !forbids, 'and the response must not forbid it')
        },
      ),
      { numRuns: 1000 },
    )
  })

  test('only-if-cached never reaches the origin', () => {
    fc.assert(
      fc.property(anyCase, ({ request: asked, response, elapsed }) => {
        const directives = cc(['only-if-cached', ...asked].join(', '))
        const { action } = reuse(
          request(directives),
          [stored(cc(response.join(', ')))],
          NOW + elapsed,
        )
        assert.ok(action === 'reuse' || action === 'refuse')
      }),
    )
  })
})

suite('§5.2.1 Request Directives', () => {
  test('they are those of Cache-Control', () => {
    assert.deepEqual([...requestDirectives(request(cc('no-cache, max-age=1')))], [['no-cache', ''], ['max-age', '1']]) // biome-ignore format: one claim
  })

  test('§5.4: Pragma: no-cache is one where there is no Cache-Control', () => {
    assert.ok(requestDirectives(request({ pragma: 'x, NO-CACHE' })).has('no-cache'))
    assert.equal(requestDirectives(request({ pragma: 'no-cache', ...cc('max-age=1') })).size, 1)
    assert.equal(requestDirectives(request({ pragma: 'none' })).size, 0)
    assert.equal(requestDirectives(request()).size, 0)
  })
})

suite('Requests that pass the cache by', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, request: RequestMessage, hasContent: boolean, reason: string | undefined][] = [
    ['GET does not', request(), false, undefined],
    ['HEAD does not', request({}, 'HEAD'), false, undefined],
    ['POST does', request({}, 'POST'), true, 'method'],
    ['DELETE does', request({}, 'DELETE'), false, 'method'],
    ['a method of unknown meaning does', request({}, 'FOO'), false, 'method'],
    ['GET with content does', request(), true, 'content'],
    ['no-store does', request(cc('max-age=5, no-store')), false, 'no-store'],
    ['no-cache does not', request(cc('no-cache')), false, undefined],
    ['a range does', request({ range: 'bytes=0-1' }), false, 'range'],
    ['a precondition of the caller’s own does', request({ 'if-none-match': '"1"' }), false, 'conditional'],
    ['a stream of events does', request({ accept: 'text/event-stream' }), false, 'endless'],
    ['one that would take anything does not', request({ accept: 'text/event-stream, */*' }), false, undefined],
  ]
  for (const [rule, message, hasContent, reason] of rows) {
    test(rule, () => assert.equal(whyBypass(message, hasContent), reason))
  }
})

suite('§4 Collapsing Requests', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, mayCollapse: boolean][] = [
    ['a request may wait for another one', {}, true],
    ['not where it asks for a new answer', cc('no-cache'), false],
    ['not where it asks for one by Pragma', { pragma: 'no-cache' }, false],
    ['not where it accepts no age', cc('max-age=0'), false],
    ['where it accepts some age it may', cc('max-age=1'), true],
    ['not where it asks the origin to take its time', { prefer: 'wait=10' }, false],
    ['not where it asks so among others', { prefer: 'respond-async, Wait = 10' }, false],
    ['other preferences do not matter', { prefer: 'respond-async, x-await=10' }, true],
  ]
  for (const [rule, fields, expected] of rows) {
    test(rule, () => assert.equal(mayCollapse(request(fields)), expected))
  }
})
