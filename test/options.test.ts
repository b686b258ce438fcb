import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { contextTerms, disabled, runInTerms, withTerms } from '../lib/context.ts'
import {
  type AgentOptions,
  type CacheOptions,
  checkAgentOptions,
  checkCacheOptions,
  checkTerms,
  type Terms,
} from '../lib/options.ts'

suite('Options', () => {
  // biome-ignore format: one rule a row
  const accepted: [rule: string, options: CacheOptions][] = [
    ['none', {}],
    ['an expiration', { expireAfter: '1h' }],
    ['cacheControl', { cacheControl: false }],
    ['partitionBy', { partitionBy: ['x-api-key'] }],
    ['no partition', { partitionBy: false }],
    ['no partition by a list', { partitionBy: [] }],
    ['cacheStatus', { cacheStatus: false }],
    ['options that are undefined', { expireAfter: undefined, cacheControl: undefined, partitionBy: undefined, cacheStatus: undefined, cache: undefined } as object],
    ['all that can be written as JSON', JSON.parse('{"expireAfter":"1h","cacheControl":true,"partitionBy":false,"urlsExpireAfter":{"a.com":-1},"store":"memory:"}')],
  ]
  for (const [rule, options] of accepted) {
    test(`accepted: ${rule}`, () => {
      checkCacheOptions(options)
      checkAgentOptions(options)
    })
  }

  // biome-ignore format: one rule a row
  const refused: [rule: string, options: unknown, message: RegExp][] = [
    ['an unknown name', { expiresAfter: 1 }, /^cacheInterceptor: unknown option "expiresAfter"; the options are expireAfter, .*cacheStatus$/],
    ['a name in another case', { expireafter: 1 }, /^cacheInterceptor: unknown option "expireafter"/],
    ['a name that is undefined', { ttl: undefined }, /^cacheInterceptor: unknown option "ttl"/],
    ['an option of the agent only', { dispatcher: {} }, /^cacheInterceptor: unknown option "dispatcher"/],
    ['text', '1h', /^cacheInterceptor: expected an object of options, got '1h'$/],
    ['an array', [], /^cacheInterceptor: expected an object of options, got \[\]$/],
    ['null', null, /^cacheInterceptor: expected an object of options, got null$/],
    ['a malformed expiration', { expireAfter: '60' }, /^expireAfter: expected .+ got '60'/],
    ['an expiration that is null', { expireAfter: null }, /^expireAfter: expected .+ got null$/],
    ['cacheControl that is no boolean', { cacheControl: 'on' }, /^cacheControl: expected a boolean, got 'on'$/],
    ['cacheStatus that is no boolean', { cacheStatus: 1 }, /^cacheStatus: expected a boolean, got 1$/],
    ['partitionBy that is a name', { partitionBy: 'cookie' }, /^partitionBy: expected an array of field names, or false, got 'cookie'$/],
    ['partitionBy that is true', { partitionBy: true }, /^partitionBy: expected an array of field names, or false, got true$/],
    ['partitionBy of numbers', { partitionBy: [1] }, /^partitionBy: expected an array of field names, or false, got \[Array\]$|^partitionBy: .+ got \[ 1 \]$/],
    ['a cache that is none', { cache: new Map() }, /^cache: expected an HttpCache, got /],
  ]
  for (const [rule, options, message] of refused) {
    test(`refused: ${rule}`, () => {
      const given = options as CacheOptions
      assert.throws(() => checkCacheOptions(given), { name: 'TypeError', message })
    })
  }

  // biome-ignore format: one rule a row
  const refusedByAgent: [rule: string, options: unknown, message: RegExp][] = [
    ['an unknown name', { dispacher: {} }, /^cachingAgent: unknown option "dispacher"; the options are .*dispatcher$/],
    ['a dispatcher that is none', { dispatcher: {} }, /^dispatcher: expected an undici Dispatcher, got \{\}$/],
    ['a dispatcher that is null', { dispatcher: null }, /^dispatcher: expected an undici Dispatcher, got null$/],
    ['null', null, /^cachingAgent: expected an object of options, got null$/],
  ]
  for (const [rule, options, message] of refusedByAgent) {
    test(`refused by the agent: ${rule}`, () => {
      const given = options as AgentOptions
      assert.throws(() => checkAgentOptions(given), { name: 'TypeError', message })
    })
  }

  test('the agent’s dispatcher is an option where it is the agent that asks', () => {
    const dispatcher = { dispatch: () => true }
    checkCacheOptions({ dispatcher } as CacheOptions, 'cachingAgent')
  })
})

suite('Terms', () => {
  test('terms are accepted, options of the agent are not', () => {
    checkTerms({}, 'withTerms')
    checkTerms({ expireAfter: -1, cacheControl: true, partitionBy: ['a'] }, 'withTerms')
    assert.throws(() => checkTerms({ store: 'memory:' } as Terms, 'withTerms'), {
      name: 'TypeError',
      message: 'withTerms: unknown option "store"; the options are expireAfter, cacheControl, partitionBy', // biome-ignore format: one message
    })
  })

  // biome-ignore format: one rule a row
  const refused: [rule: string, terms: unknown, message: RegExp][] = [
    ['a malformed expiration', { expireAfter: 'soon' }, /^withTerms\.expireAfter: expected .+ got 'soon'$/],
    ['cacheControl that is no boolean', { cacheControl: 0 }, /^withTerms\.cacheControl: expected a boolean, got 0$/],
    ['partitionBy that is no list', { partitionBy: {} }, /^withTerms\.partitionBy: expected an array of field names, or false, got \{\}$/],
    ['no object', undefined, /^withTerms: expected an object of options, got undefined$/],
  ]
  for (const [rule, terms, message] of refused) {
    test(`refused: ${rule}`, () => {
      assert.throws(() => withTerms(terms as Terms, () => assert.fail('must not run')), {
        name: 'TypeError',
        message,
      })
    })
  }
})

suite('Terms of an async context', () => {
  test('they apply inside the function, however deep, and nowhere else', async () => {
    assert.equal(contextTerms(), undefined)
    const result = await withTerms({ expireAfter: 1 }, async () => {
      await new Promise((resolve) => setImmediate(resolve))
      return contextTerms()
    })
    assert.deepEqual(result, { expireAfter: 1 })
    assert.equal(contextTerms(), undefined)
  })

  test('nested terms add up, the inner ones count', () => {
    const inner = withTerms({ expireAfter: 1, cacheControl: true }, () =>
      withTerms({ expireAfter: 2 }, contextTerms),
    )
    assert.deepEqual(inner, { expireAfter: 2, cacheControl: true })
  })

  test('disabled is no caching at all, until the function has ended, even by throwing', () => {
    assert.deepEqual(disabled(contextTerms), { expireAfter: 'do-not-cache' })
    assert.throws(() => disabled(() => assert.fail('inside')), { message: 'inside' })
    assert.equal(contextTerms(), undefined)
  })

  test('what runs beside it is not affected', async () => {
    const seen: unknown[] = []
    const look = async () => {
      await new Promise((resolve) => setImmediate(resolve))
      seen.push(contextTerms())
    }
    await Promise.all([disabled(look), look()])
    assert.deepEqual(seen, [{ expireAfter: 'do-not-cache' }, undefined])
  })

  test('a callback can be run in the terms of another context, or in none', () => {
    withTerms({ expireAfter: 1 }, () => {
      assert.deepEqual(runInTerms({ expireAfter: 2 }, contextTerms), { expireAfter: 2 })
      assert.equal(runInTerms(undefined, contextTerms), undefined)
      assert.deepEqual(contextTerms(), { expireAfter: 1 })
    })
  })
})
