import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  type CacheInfo,
  type CacheStatus,
  cacheInfo,
  formatCacheStatus,
  type ResponseLike,
} from '../lib/observe/cache-status.ts'

const NOW = Date.UTC(2026, 5, 15, 12)
const KEY = 'ab'.repeat(32)

suite('RFC 9211 §2 The Cache-Status HTTP Response Header Field', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, status: CacheStatus, member: string][] = [
    ['the cache names itself', {}, 'caching-agent'],
    ['§2.1: hit', { hit: true }, 'caching-agent; hit'],
    ['§2.2: fwd', { fwd: 'uri-miss' }, 'caching-agent; fwd=uri-miss'],
    ['§2.3: fwd-status', { fwd: 'stale', fwdStatus: 304 }, 'caching-agent; fwd=stale; fwd-status=304'],
    ['§2.4: ttl in seconds, beside the very time', { hit: true, expires: NOW + 60_500 }, 'caching-agent; hit; ttl=60; expires=1781524860.500'],
    ['§2.4: ttl of what is stale is negative', { hit: true, expires: NOW - 500 }, 'caching-agent; hit; ttl=-1; expires=1781524799.500'],
    ['§2.4: what never expires has no ttl', { hit: true, expires: Infinity }, 'caching-agent; hit; expires=never'],
    ['§2.5: stored', { fwd: 'uri-miss', stored: true }, 'caching-agent; fwd=uri-miss; stored'],
    ['§2.6: collapsed', { fwd: 'uri-miss', collapsed: true }, 'caching-agent; fwd=uri-miss; collapsed'],
    ['§2.7: key', { hit: true, key: KEY }, `caching-agent; hit; key="${KEY}"`],
    ['§2.8: detail', { fwd: 'bypass', detail: 'range' }, 'caching-agent; fwd=bypass; detail=range'],
    ['what is false is not told', { hit: false, stored: false, collapsed: false }, 'caching-agent'],
  ]
  for (const [rule, status, member] of rows) {
    test(rule, () => assert.equal(formatCacheStatus(status, NOW), member))
  }
})

function info(cacheStatus: string | string[], more: Record<string, string> = {}) {
  return cacheInfo({ headers: { 'cache-status': cacheStatus, ...more } })
}

suite('cacheInfo', () => {
  const later = Date.now() + 3_600_000

  // biome-ignore format: one rule a row
  const outcomes: [rule: string, status: CacheStatus, outcome: CacheInfo['status'], reason: string | undefined][] = [
    ['from the cache', { hit: true, expires: later }, 'hit', undefined],
    ['from the cache, for ever', { hit: true, expires: Infinity }, 'hit', undefined],
    ['from the cache, stale', { hit: true, expires: NOW - 1 }, 'stale', undefined],
    ['from the origin, nothing stored', { fwd: 'uri-miss', fwdStatus: 200, stored: true }, 'miss', 'uri-miss'],
    ['from the origin, another variant', { fwd: 'vary-miss' }, 'miss', 'vary-miss'],
    ['from the origin, no longer fresh', { fwd: 'stale', fwdStatus: 200, stored: true }, 'miss', 'stale'],
    ['from the origin, not stored', { fwd: 'uri-miss', detail: 'no-store' }, 'miss', 'no-store'],
    ['confirmed by the origin', { fwd: 'stale', fwdStatus: 304, stored: true }, 'revalidated', 'stale'],
    ['confirmed because the request asked', { fwd: 'request', fwdStatus: 304, stored: true }, 'revalidated', 'request'],
    ['from another request’s answer', { fwd: 'uri-miss', collapsed: true }, 'miss', 'uri-miss'],
    ['past the cache', { fwd: 'bypass', detail: 'range' }, 'bypass', 'range'],
    ['a method that is not cached', { fwd: 'method' }, 'bypass', 'method'],
  ]
  for (const [rule, status, outcome, reason] of outcomes) {
    test(rule, () => {
      const read = info(formatCacheStatus(status, NOW))
      assert.equal(read?.status, outcome)
      assert.equal(read?.reason, reason)
      assert.equal(read?.stored, status.stored ?? false)
      assert.equal(read?.collapsed, status.collapsed ?? false)
    })
  }

  test('all that it tells', () => {
    const member = formatCacheStatus({ hit: true, expires: later, key: KEY }, Date.now())
    const { ttl, ...rest } = info(member, { age: '7' }) as CacheInfo
    assert.deepEqual(rest, {
      status: 'hit',
      reason: undefined,
      stored: false,
      age: 7000,
      expires: new Date(later),
      key: KEY,
      collapsed: false,
    })
    assert.ok(ttl !== undefined && ttl <= 3_600_000 && ttl > 3_590_000)
  })

  test('what never expires is fresh for ever and has no date', () => {
    const read = info(formatCacheStatus({ hit: true, expires: Infinity }, NOW))
    assert.equal(read?.ttl, Infinity)
    assert.equal(read?.expires, undefined)
  })

  test('what is not known is undefined', () => {
    const read = info('caching-agent; fwd=uri-miss')
    assert.deepEqual([read?.ttl, read?.expires, read?.age, read?.key], Array(4).fill(undefined))
  })

  test('an Age that is none is not told', () => {
    assert.equal(info('caching-agent; hit', { age: 'old' })?.age, undefined)
    assert.equal(info('caching-agent; hit', { age: '-1' })?.age, undefined)
    assert.equal(info('caching-agent; hit', { age: '0' })?.age, 0)
  })

  // biome-ignore format: one rule a row
  const foreign: [rule: string, value: string | string[], status: CacheInfo['status'] | undefined][] = [
    ['another cache', 'Squid; hit', undefined],
    ['a cache whose name begins likewise', 'caching-agent-2; hit', undefined],
    ['no cache', '', undefined],
    ['another cache nearer to the origin', 'Squid; hit, caching-agent; fwd=uri-miss', 'miss'],
    ['in lines of their own', ['Squid; hit', 'caching-agent; fwd=uri-miss'], 'miss'],
    ['another cache nearer to the client', 'caching-agent; hit, Squid; fwd=uri-miss', 'hit'],
    ['two of ours: the nearest counts', 'caching-agent; hit, caching-agent; fwd=uri-miss', 'miss'],
    ['a comma in another cache’s key', 'Squid; key="a, caching-agent; hit"', undefined],
    ['a quote in another cache’s key', 'Squid; key="a\\", caching-agent; hit"', undefined],
    ['both, and ours after it', 'Squid; key="\\", x\\"", caching-agent; fwd=stale', 'miss'],
    ['no white space', 'Squid;hit,caching-agent;hit', 'hit'],
  ]
  for (const [rule, value, status] of foreign) {
    test(`among others: ${rule}`, () => assert.equal(info(value)?.status, status))
  }

  const member = 'caching-agent; hit; ttl=1'
  // biome-ignore format: one rule a row
  const shapes: [name: string, headers: ResponseLike['headers']][] = [
    ['Headers', new Headers({ 'Cache-Status': member })],
    ['an object', { 'cache-status': member }],
    ['an object with lists', { 'cache-status': ['Squid; hit', member] }],
    ['a Map', new Map([['cache-status', member]]) as unknown as Headers],
  ]
  for (const [name, headers] of shapes) {
    test(`it reads ${name}`, () => assert.equal(cacheInfo({ headers })?.status, 'hit'))
  }

  test('a response of fetch tells, one that no cache was involved in does not', () => {
    assert.equal(
      cacheInfo(new Response('', { headers: { 'cache-status': member } }))?.status,
      'hit',
    )
    assert.equal(cacheInfo(new Response('')), undefined)
    assert.equal(cacheInfo({ headers: {} }), undefined)
  })

  test('what has been told is read', () => {
    const anyStatus = fc.record(
      {
        hit: fc.boolean(),
        fwd: fc.constantFrom('uri-miss', 'vary-miss', 'stale', 'request'),
        stored: fc.boolean(),
        collapsed: fc.boolean(),
        expires: fc.oneof(fc.integer({ min: 0, max: Date.UTC(9999, 0) }), fc.constant(Infinity)),
        key: fc.stringMatching(/^[\da-f]{64}$/),
      },
      { requiredKeys: [] },
    ) as fc.Arbitrary<CacheStatus>
    fc.assert(
      fc.property(anyStatus, (status) => {
        const read = info(`Squid; key="a,b", ${formatCacheStatus(status, NOW)}`)
        assert.equal(read?.stored, status.stored ?? false)
        assert.equal(read?.collapsed, status.collapsed ?? false)
        assert.equal(read?.key, status.key)
        const time = status.expires === Infinity ? undefined : status.expires
        assert.equal(read?.expires?.getTime(), time)
      }),
    )
  })

  test('no text makes it throw', () => {
    fc.assert(
      fc.property(fc.string(), (value) => {
        info(value)
        info(`caching-agent;${value}`)
      }),
    )
  })
})
