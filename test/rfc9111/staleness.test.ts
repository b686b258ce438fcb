import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { parseCacheControl } from '../../lib/rfc9111/cache-control.ts'
import { remainingFreshness } from '../../lib/rfc9111/freshness.ts'
import type { Fields, StoredResponse } from '../../lib/rfc9111/message.ts'
import {
  acceptedStaleness,
  forbidsStale,
  isFromTheFuture,
  longestStaleUse,
  mayUseOnError,
  mayUseWhileValidating,
  type StaleTerms,
} from '../../lib/rfc9111/staleness.ts'
import { NOW, stored } from '../helpers/stored.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND

const SHARED = { shared: true }
/** A rule of the user by which a response is fresh as long as those of the origin here are. */
const RULE = { expires: NOW + MINUTE }

/** A message's `Cache-Control`. */
function cc(value: string): Fields {
  return value === '' ? {} : { 'cache-control': value }
}

/** The uses of stale responses, each with the other one: what is said here is true of both. */
const USES = [
  {
    use: 'stale-while-revalidate',
    other: 'stale-if-error',
    name: 'mayUseWhileValidating',
    mayUse: mayUseWhileValidating,
    terms: (own?: number, others?: number): StaleTerms => ({ staleWhileRevalidate: own, staleIfError: others }), // biome-ignore format: one object a line
  },
  {
    use: 'stale-if-error',
    other: 'stale-while-revalidate',
    name: 'mayUseOnError',
    mayUse: mayUseOnError,
    terms: (own?: number, others?: number): StaleTerms => ({ staleIfError: own, staleWhileRevalidate: others }), // biome-ignore format: one object a line
  },
] as const

type Use = (typeof USES)[number]

/** A text about USE and OTHER for one of the uses. */
function about({ use, other }: Use, text: string): string {
  return text.replaceAll('USE', use).replaceAll('OTHER', other)
}

/** Fields about USE and OTHER for one of the uses. */
function fieldsAbout(use: Use, fields: Fields): Fields {
  const entries = Object.entries(fields).map(([name, value]) => [name, about(use, String(value))])
  return Object.fromEntries(entries)
}

suite('§4.2.4 Serving Stale Responses: forbidsStale', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, response: StoredResponse, forUse: boolean, forbids: boolean][] = [
    ['what says nothing does not', stored({}), false, false],
    ['max-age does not', stored(cc('max-age=60')), false, false],
    ['no-store, private, public and immutable do not', stored(cc('no-store, private, public, immutable')), false, false],
    ['§5.2.2.2: must-revalidate does', stored(cc('max-age=60, must-revalidate')), false, true],
    ['§5.2.2.2: in any case', stored(cc('Must-Revalidate')), false, true],
    ['§5.2.2.2: also for a use that the response allows', stored(cc('must-revalidate, USE=60')), true, true],
    ['§5.2.2.2: also where a rule of the user decides', stored(cc('must-revalidate'), RULE), false, true],
    ['§5.2.2.2: also where that never ends', stored(cc('must-revalidate'), { expires: Infinity }), false, true],
    ['§4.3.4: what the origin has to confirm for each request does', stored(cc('USE=60'), { isToBeConfirmed: true }), true, true],
    ['§5.2.2.4: no-cache does', stored(cc('no-cache')), false, true],
    ['§5.2.2.4: also for a use that the response allows', stored(cc('no-cache, USE=60')), true, true],
    ['§5.2.2.4: for some fields it does not', stored(cc('no-cache="set-cookie"')), false, false],
    ['§5.2.2.4: for what are no fields it does', stored(cc('no-cache="a b"')), false, true],
    ['§5.2.2.4: a rule of the user overrules it', stored(cc('no-cache'), RULE), false, false],
    ['§5.2.2.8: proxy-revalidate does not, in a private cache', stored(cc('proxy-revalidate')), false, false],
    ['§5.2.2.8: in a shared one it does', stored(cc('proxy-revalidate'), SHARED), false, true],
    ['§5.2.2.8: also for a use that the response allows', stored(cc('proxy-revalidate, USE=60'), SHARED), true, true],
    ['§5.2.2.8: also where a rule of the user decides', stored(cc('proxy-revalidate'), { ...SHARED, ...RULE }), false, true],
    ['§5.2.2.8: but not in a private cache', stored(cc('proxy-revalidate'), RULE), false, false],
    ['§5.2.2.10: s-maxage does not, in a private cache', stored(cc('s-maxage=60')), false, false],
    ['§5.2.2.10: in a shared one it does', stored(cc('s-maxage=60'), SHARED), false, true],
    ['§5.2.2.10: also for the uses of RFC 5861', stored(cc('s-maxage=60'), SHARED), true, true],
    ['§5.2.2.10: but not for one that the response allows', stored(cc('s-maxage=60, USE=60'), SHARED), true, false],
    ['§5.2.2.10: but for no other', stored(cc('s-maxage=60, USE=60'), SHARED), false, true],
    ['§5.2.2.10: not because it allows another', stored(cc('s-maxage=60, OTHER=60'), SHARED), true, true],
    ['§5.2.2.10: even where it is malformed', stored(cc('s-maxage=x'), SHARED), false, true],
    ['§5.2.2.10: a rule of the user overrules it', stored(cc('s-maxage=60'), { ...SHARED, ...RULE }), false, false],
    ['RFC 9213: the targeted field does', stored({ 'cdn-cache-control': 'must-revalidate' }, SHARED), false, true],
    ['RFC 9213: what stands beside it does not', stored({ 'cdn-cache-control': 'max-age=60', ...cc('must-revalidate') }, SHARED), false, false],
    ['RFC 9213: in a private cache it is the other way round', stored({ 'cdn-cache-control': 'must-revalidate', ...cc('max-age=60') }), false, false],
    ['RFC 9213: a directive that is false is none', stored({ 'cdn-cache-control': 'max-age=60, must-revalidate=?0' }, SHARED), false, false],
  ]
  for (const [rule, response, forUse, forbids] of rows) {
    test(rule, () => {
      for (const each of USES) {
        const given = { ...response, fields: fieldsAbout(each, response.fields) }
        assert.equal(forbidsStale(given, forUse ? each.use : undefined), forbids)
      }
    })
  }
})

suite('§5.2.1.2 max-stale: acceptedStaleness', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, request: string, accepted: number | undefined][] = [
    ['a request accepts nothing stale', '', undefined],
    ['with other directives neither', 'max-age=60, min-fresh=5', undefined],
    ['with max-stale anything', 'max-stale', Infinity],
    ['with seconds what has been stale for no longer', 'max-stale=60', MINUTE],
    ['with quoted seconds, too', 'max-stale="60"', MINUTE],
    ['with 0 what has just become stale', 'max-stale=0', 0],
    ['with what is no number no more than that', 'max-stale=x', 0],
    ['of several the first counts', 'max-stale=5, max-stale', 5 * SECOND],
  ]
  for (const [rule, request, accepted] of rows) {
    test(rule, () => assert.equal(acceptedStaleness(parseCacheControl(cc(request))), accepted))
  }
})

suite('A clock that has been set back: isFromTheFuture', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, elapsed: number, expected: boolean][] = [
    ['a response that has just been received is not', 0, false],
    ['nor is any that was received before', 1e12, false],
    ['clocks may differ by seconds', -5 * SECOND, false],
    ['even by a minute', -MINUTE, false],
    ['but not by more', -MINUTE - 1, true],
    ['nor by hours', -60 * MINUTE, true],
  ]
  for (const [rule, elapsed, expected] of rows) {
    test(rule, () => assert.equal(isFromTheFuture(stored({}), NOW + elapsed), expected))
  }

  test('it is the receipt that counts, not the origin’s Date', () => {
    const date = new Date(NOW + 60 * MINUTE).toUTCString()
    assert.equal(isFromTheFuture(stored({ date }), NOW), false)
    assert.equal(isFromTheFuture(stored({}, { requestTime: NOW + 60 * MINUTE }), NOW), false)
  })
})

for (const each of USES) {
  const { use, name, mayUse, terms } = each
  const section = use === 'stale-while-revalidate' ? '§3' : '§4'

  suite(`RFC 5861 ${section} ${use}: ${name}`, () => {
    const none = undefined
    const fresh = 'max-age=60'
    const allowing = 'max-age=60, USE=30'

    // biome-ignore format: one rule a row
    const rows: [rule: string, request: string, response: StoredResponse, age: number, configured: number | undefined, mayUse: boolean][] = [
      ['what says nothing is not used', '', stored(cc(fresh)), 60, none, false],
      ['what allows it is used for its seconds', '', stored(cc(allowing)), 89, none, true],
      ['from the first one on', '', stored(cc(allowing)), 60, none, true],
      ['and no longer', '', stored(cc(allowing)), 91, none, false],
      ['Age counts', '', stored({ ...cc(allowing), age: '40' }), 51, none, false],
      ['0 seconds are none', '', stored(cc('max-age=60, USE=0')), 60, none, false],
      ['what is no number allows nothing', '', stored(cc('max-age=60, USE=x')), 60, none, false],
      ['nor does the directive without a number', '', stored(cc('max-age=60, USE')), 60, none, false],
      ['nor does the other directive', '', stored(cc('max-age=60, OTHER=30')), 60, none, false],
      ['a response without a lifetime is stale from its receipt', '', stored(cc('USE=30')), 29, none, true],
      ['and no longer than it allows, either', '', stored(cc('USE=30')), 31, none, false],

      ['the user may allow it for ever', '', stored(cc(fresh)), 1e9, Infinity, true],
      ['or for a time', '', stored(cc(fresh)), 89, 30 * SECOND, true],
      ['and no longer', '', stored(cc(fresh)), 91, 30 * SECOND, false],
      ['or for longer than the response does', '', stored(cc('max-age=60, USE=5')), 89, 30 * SECOND, true],
      ['or for less', '', stored(cc(allowing)), 70, 5 * SECOND, false],
      ['or never', '', stored(cc(allowing)), 60, 0, false],

      ['the request may allow it', 'USE=30', stored(cc(fresh)), 89, none, true],
      ['and no longer than it says', 'USE=30', stored(cc(fresh)), 91, none, false],
      ['for longer than the response does', 'USE=60', stored(cc(allowing)), 119, none, true],
      ['for less than the response does', 'USE=5', stored(cc(allowing)), 70, none, false],
      ['for longer than the user does', 'USE=60', stored(cc(fresh)), 119, 30 * SECOND, true],
      ['for less than the user does', 'USE=5', stored(cc(fresh)), 70, Infinity, false],
      ['even where the user says never', 'USE=30', stored(cc(fresh)), 89, 0, true],
      ['or not at all', 'USE=0', stored(cc(allowing)), 60, Infinity, false],
      ['what is no number in a request allows nothing', 'USE=x', stored(cc(allowing)), 60, Infinity, false],
      ['the other directive in a request says nothing of it', 'OTHER=0', stored(cc(allowing)), 89, none, true],
      ['nor does it allow it', 'OTHER=30', stored(cc(fresh)), 60, none, false],

      ['§5.2.1.1: a request with max-age wants nothing stale', 'max-age=1000', stored(cc(allowing)), 70, none, false],
      ['§5.2.1.1: whatever the user says', 'max-age=1000', stored(cc(allowing)), 70, Infinity, false],
      ['§5.2.1.1: unless it says max-stale', 'max-age=1000, max-stale', stored(cc(allowing)), 70, none, true],
      ['§5.2.1.1: or names this use', 'max-age=1000, USE=30', stored(cc(fresh)), 70, none, true],
      ['§5.2.1.1: and no other', 'max-age=1000, OTHER=30', stored(cc(allowing)), 70, none, false],
      ['§5.2.1.3: a request with min-fresh wants nothing stale', 'min-fresh=1', stored(cc(allowing)), 70, none, false],
      ['§5.2.1.3: whatever the user says', 'min-fresh=1', stored(cc(allowing)), 70, Infinity, false],
      ['§5.2.1.3: even with max-stale', 'min-fresh=1, max-stale', stored(cc(allowing)), 70, none, false],
      ['§5.2.1.3: unless it names this use', 'min-fresh=1, USE=30', stored(cc(fresh)), 70, none, true],
      ['§5.2.1.4: a request with no-cache wants nothing stored', 'no-cache', stored(cc(allowing)), 70, none, false],
      ['§5.2.1.4: whatever the user says', 'no-cache', stored(cc(allowing)), 70, Infinity, false],
      ['§5.2.1.4: even with max-stale', 'no-cache, max-stale', stored(cc(allowing)), 70, none, false],
      ['§5.2.1.4: unless it names this use', 'no-cache, USE=30', stored(cc(fresh)), 70, none, true],
      ['§5.2.1.2: max-stale is no obstacle', 'max-stale', stored(cc(allowing)), 70, none, true],
      ['§5.2.1.7: nor is only-if-cached', 'only-if-cached', stored(cc(allowing)), 70, none, true],

      ['§5.2.2.2: must-revalidate forbids it', '', stored(cc('must-revalidate, max-age=60, USE=30')), 60, none, false],
      ['§5.2.2.2: whatever the user says', '', stored(cc('must-revalidate, max-age=60')), 60, Infinity, false],
      ['§5.2.2.2: whatever the request says', 'USE=30, max-stale', stored(cc('must-revalidate, max-age=60')), 60, none, false],
      ['§5.2.2.4: no-cache forbids it', '', stored(cc('no-cache, max-age=60, USE=30')), 60, none, false],
      ['§5.2.2.4: whatever the user says', '', stored(cc('no-cache')), 0, Infinity, false],
      ['§5.2.2.4: whatever the request says', 'USE=30', stored(cc('no-cache')), 0, none, false],
      ['§5.2.2.4: for some fields it does not', '', stored(cc('no-cache="set-cookie", max-age=60, USE=30')), 60, none, true],
      ['§5.2.2.8: proxy-revalidate forbids it to a shared cache', '', stored(cc('proxy-revalidate, max-age=60, USE=30'), SHARED), 60, Infinity, false],
      ['§5.2.2.8: and not to a private one', '', stored(cc('proxy-revalidate, max-age=60, USE=30')), 60, none, true],
      ['§5.2.2.10: s-maxage forbids it to a shared cache', '', stored(cc('s-maxage=60'), SHARED), 60, Infinity, false],
      ['§5.2.2.10: whatever the request says', 'USE=30', stored(cc('s-maxage=60'), SHARED), 60, none, false],
      ['§5.2.2.10: unless the response allows it', '', stored(cc('s-maxage=60, USE=30'), SHARED), 89, none, true],
      ['§5.2.2.10: for its seconds', '', stored(cc('s-maxage=60, USE=30'), SHARED), 91, none, false],
      ['§5.2.2.10: not because it allows the other use', '', stored(cc('s-maxage=60, OTHER=30'), SHARED), 60, Infinity, false],
      ['§5.2.2.10: and not to a private cache', '', stored(cc('s-maxage=60, max-age=60, USE=30')), 89, none, true],
      ['RFC 9213: the targeted field allows it', '', stored({ 'cdn-cache-control': 'max-age=60, USE=30', ...cc('must-revalidate') }, SHARED), 89, none, true],
      ['RFC 9213: and no other field beside it', '', stored({ 'cdn-cache-control': 'max-age=60', ...cc(allowing) }, SHARED), 60, none, false],

      ['a rule of the user leaves nothing of what the response allows', '', stored(cc('USE=30'), RULE), 60, none, false],
      ['but lets the user allow it', '', stored({}, RULE), 89, 30 * SECOND, true],
      ['for a time from its own end', '', stored(cc('max-age=1000'), RULE), 91, 30 * SECOND, false],
      ['and lets the request allow it', 'USE=30', stored({}, RULE), 89, none, true],
      ['it overrules no-cache', '', stored(cc('no-cache'), RULE), 60, Infinity, true],
      ['but not must-revalidate', '', stored(cc('must-revalidate'), RULE), 60, Infinity, false],
      ['nor the request', 'no-cache', stored({}, RULE), 60, Infinity, false],

      ['nobody knows how stale it is where the clock has been set back', '', stored(cc('max-age=60, USE=9999')), -61, none, false],
      ['nor for how long the user allows it', '', stored(cc(fresh)), -61, MINUTE, false],
      ['but for ever is for ever', '', stored(cc(fresh)), -61, Infinity, true],
    ]
    for (const [rule, request, response, age, configured, expected] of rows) {
      test(rule, () => {
        const message = { fields: cc(about(each, request)) }
        const given = { ...response, fields: fieldsAbout(each, response.fields) }
        const now = NOW + age * SECOND
        assert.equal(mayUse(message, given, now, terms(configured)), expected)
      })
    }

    test('§5.4: Pragma: no-cache is no-cache, where there is no Cache-Control', () => {
      const response = stored(cc(about(each, allowing)))
      const [pragma, now] = [{ pragma: 'no-cache' }, NOW + 70 * SECOND]
      assert.equal(mayUse({ fields: pragma }, response, now, {}), false)
      const fields = { ...pragma, ...cc('max-stale') }
      assert.equal(mayUse({ fields }, response, now, {}), true)
    })

    test('what the user says of the other use says nothing of it', () => {
      const [silent, allows] = [stored(cc(fresh)), stored(cc(about(each, allowing)))]
      const now = NOW + 70 * SECOND
      assert.equal(mayUse({ fields: {} }, silent, now, terms(undefined, Infinity)), false)
      assert.equal(mayUse({ fields: {} }, allows, now, terms(undefined, 0)), true)
    })
  })
}

suite('RFC 5861 longestStaleUse', () => {
  const none = undefined

  // biome-ignore format: one rule a row
  const rows: [rule: string, response: StoredResponse, own: number | undefined, other: number | undefined, longest: number][] = [
    ['none where nobody allows any', stored(cc('max-age=60')), none, none, 0],
    ['what the response allows', stored(cc('max-age=60, USE=30')), none, none, 30 * SECOND],
    ['the longer of the two', stored(cc('USE=30, OTHER=60')), none, none, MINUTE],
    ['what is malformed is none', stored(cc('USE=x')), none, none, 0],
    ['what the user allows', stored(cc('max-age=60')), 30 * SECOND, none, 30 * SECOND],
    ['for ever', stored(cc('max-age=60')), Infinity, none, Infinity],
    ['rather than what the response allows', stored(cc('USE=60')), 30 * SECOND, none, 30 * SECOND],
    ['or what the response allows for the other use', stored(cc('USE=60, OTHER=45')), 30 * SECOND, none, 45 * SECOND],
    ['none where the user allows none', stored(cc('USE=60, OTHER=60')), 0, 0, 0],
    ['must-revalidate allows none', stored(cc('must-revalidate, USE=60')), Infinity, Infinity, 0],
    ['no-cache allows none', stored(cc('no-cache, USE=60')), Infinity, none, 0],
    ['no-cache of some fields does', stored(cc('no-cache="x", USE=60')), none, none, MINUTE],
    ['proxy-revalidate allows none in a shared cache', stored(cc('proxy-revalidate, USE=60'), SHARED), Infinity, none, 0],
    ['s-maxage allows none in a shared cache', stored(cc('s-maxage=60'), SHARED), Infinity, Infinity, 0],
    ['but those that the response allows', stored(cc('s-maxage=60, USE=30'), SHARED), none, Infinity, 30 * SECOND],
    ['where a rule decides what the response allows does not count', stored(cc('USE=60'), RULE), none, none, 0],
    ['but what the user does', stored(cc('no-cache'), RULE), 30 * SECOND, none, 30 * SECOND],
    ['and must-revalidate', stored(cc('must-revalidate'), RULE), Infinity, none, 0],
  ]
  for (const [rule, response, own, other, longest] of rows) {
    test(rule, () => {
      for (const each of USES) {
        const given = { ...response, fields: fieldsAbout(each, response.fields) }
        assert.equal(longestStaleUse(given, each.terms(own, other)), longest)
      }
    })
  }
})

suite('Laws of stale use', () => {
  const responseDirective = fc.constantFrom(
    'max-age=60',
    's-maxage=60',
    'no-cache="x"',
    'public',
    'immutable',
    'stale-while-revalidate=30',
    'stale-while-revalidate=300',
    'stale-if-error=30',
    'stale-if-error=300',
  )
  const requestDirective = fc.constantFrom(
    'max-age=1000',
    'max-stale',
    'max-stale=20',
    'min-fresh=5',
    'no-cache',
    'stale-while-revalidate=100',
    'stale-if-error=100',
  )
  const limit = fc.constantFrom(undefined, 0, 50 * SECOND, Infinity)
  const anyResponse = fc.record({
    directives: fc.array(responseDirective),
    isTargeted: fc.boolean(),
    shared: fc.boolean(),
    rule: fc.constantFrom(undefined, NOW - 1, NOW + MINUTE, Infinity),
  })
  const anyCase = [
    fc.array(requestDirective),
    anyResponse,
    fc.nat({ max: 400 * SECOND }).map((elapsed) => NOW + elapsed),
    fc.record({ staleWhileRevalidate: limit, staleIfError: limit }),
  ] as const
  type AnyResponse = typeof anyResponse extends fc.Arbitrary<infer T> ? T : never

  function responseOf(of: AnyResponse, ...more: string[]): StoredResponse {
    const name = of.shared && of.isTargeted ? 'cdn-cache-control' : 'cache-control'
    const fields = { [name]: [...of.directives, ...more].join(', ') }
    return stored(fields, {
      shared: of.shared,
      ...(of.rule !== undefined && { expires: of.rule }),
    })
  }

  function requestOf(directives: readonly string[]) {
    return { fields: cc(directives.join(', ')) }
  }

  test('must-revalidate forbids all of it, whoever else allows it', () => {
    fc.assert(
      fc.property(...anyCase, (asked, of, now, terms) => {
        const response = responseOf(of, 'must-revalidate')
        assert.equal(forbidsStale(response), true)
        assert.equal(longestStaleUse(response, terms), 0)
        for (const { use, mayUse } of USES) {
          assert.equal(forbidsStale(response, use), true)
          assert.equal(mayUse(requestOf(asked), response, now, terms), false)
        }
      }),
    )
  })

  test('a directive of the response that forbids never allows more', () => {
    const forbidding = fc.constantFrom('no-store', 'no-cache', 'private', 'must-revalidate', 'proxy-revalidate') // biome-ignore format: one list
    fc.assert(
      fc.property(...anyCase, forbidding, (asked, of, now, terms, directive) => {
        const [without, having] = [responseOf(of), responseOf(of, directive)]
        assert.ok(longestStaleUse(having, terms) <= longestStaleUse(without, terms))
        for (const { use, mayUse } of USES) {
          if (!forbidsStale(having, use)) assert.equal(forbidsStale(without, use), false)
          if (!mayUse(requestOf(asked), having, now, terms)) continue
          assert.equal(mayUse(requestOf(asked), without, now, terms), true)
        }
      }),
    )
  })

  test('a directive of the request that forbids never allows more', () => {
    const forbidding = fc.constantFrom('no-store', 'no-cache', 'only-if-cached', 'min-fresh=1')
    fc.assert(
      fc.property(...anyCase, forbidding, (asked, of, now, terms, directive) => {
        const response = responseOf(of)
        for (const { mayUse } of USES) {
          if (!mayUse(requestOf([...asked, directive]), response, now, terms)) continue
          assert.equal(mayUse(requestOf(asked), response, now, terms), true)
        }
      }),
    )
  })

  test('what may be used is stale for less than its longest use, unless the request allows more', () => {
    fc.assert(
      fc.property(...anyCase, (asked, of, now, terms) => {
        const response = responseOf(of)
        const staleness = -remainingFreshness(response, now)
        for (const { use, mayUse } of USES) {
          const isAsked = asked.some((directive) => directive.startsWith(use))
          if (isAsked || staleness < 0) continue
          if (!mayUse(requestOf(asked), response, now, terms)) continue
          assert.ok(staleness < longestStaleUse(response, terms))
        }
      }),
    )
  })

  test('what may not be used any more may not be used later either', () => {
    fc.assert(
      fc.property(...anyCase, fc.nat(), (asked, of, now, terms, more) => {
        const response = responseOf(of)
        for (const { mayUse } of USES) {
          if (!mayUse(requestOf(asked), response, now + more, terms)) continue
          assert.equal(mayUse(requestOf(asked), response, now, terms), true)
        }
      }),
    )
  })
})
