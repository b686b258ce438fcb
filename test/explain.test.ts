import assert from 'node:assert/strict'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { suite, type TestContext, test } from 'node:test'
import {
  type AgentOptions,
  type CachingAgent,
  cacheInterceptor,
  DEFAULT_SECRET_PARAMETERS,
  DO_NOT_CACHE,
  disabled,
  type Explanation,
  HttpCache,
  type LookupEvent,
  NEVER_EXPIRE,
  type Prospect,
  withTerms,
} from 'caching-agent'
import fc from 'fast-check'
import { Agent } from 'undici'
import { SECRET_FIELDS } from '../lib/key/parameters.ts'
import { adapter } from './helpers/adapter.ts'
import { get, testAgent } from './helpers/agent.ts'
import { listenTo } from './helpers/events.ts'
import {
  answering,
  ask,
  FLOWS,
  fields,
  HOUR,
  NOW,
  POST,
  type Step,
  validated,
} from './helpers/flows.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

/** Waits until all is stored, so that a request finds what was stored before it. */
async function quiet({ cache }: CachingAgent): Promise<void> {
  while (cache.validations.size > 0) await new Promise((resolve) => setTimeout(resolve, 1))
  await cache.responses.settled()
}

/** Explains a request, and then makes it: what was told of it. */
async function explainAndAsk(agent: CachingAgent, url: string, step: Step) {
  await quiet(agent)
  const { method, headers, body } = step as {
    method?: string
    headers?: Record<string, string>
  } & Step
  const request = { ...(method && { method }), ...(headers && { headers }), ...(body && { body }) }
  const explanation = await agent.explain(url, request)
  const { promise: told, resolve } = Promise.withResolvers<LookupEvent>()
  agent.cache.once('lookup', resolve)
  await ask(agent, url, step).catch(() => {})
  return { explanation, told: await told }
}

/** Fails unless what became of a request is what had been explained. */
function assertForeseen({ now, key }: Explanation, told: LookupEvent): void {
  assert.equal(told.key, key)
  const { outcome, reason, forward, error, status } = told
  if (reason === 'stale-if-error') {
    assert.equal(now.isStaleIfError, true)
    return
  }
  if (error) assert.equal(now.isStaleIfError, false)
  const foreseen = { validation: ['revalidated', 'miss'] }[now.outcome as 'validation'] ?? [
    now.outcome,
  ]
  assert.ok(foreseen.includes(outcome), `${outcome}, not ${foreseen}`)
  // A miss also tells why its response is not stored, which nobody can foresee.
  assert.equal(
    outcome === 'miss' || outcome === 'revalidated' ? (forward ?? reason) : reason,
    now.reason,
  )
  if (now.status !== undefined) assert.equal(status, now.status)
}

suite('what is explained is what becomes of the request', () => {
  for (const [what, answer, steps, outcome, reason, options] of FLOWS) {
    test(`${outcome}${reason ? ` (${reason})` : ''}: ${what}`, async (t) => {
      t.mock.timers.enable({ apis: ['Date'], now: NOW })
      const { url } = await origin(t, answer)
      const agent = testAgent(t, options)
      for (const { after = 0, path = '/', ...step } of steps) {
        await quiet(agent)
        t.mock.timers.tick(after)
        const { explanation, told } = await explainAndAsk(agent, url + path, step)
        assertForeseen(explanation, told)
      }
    })
  }

  const FIELDS = [
    'no-cache',
    'only-if-cached',
    'max-stale',
    'max-stale=100',
    'min-fresh=30',
    'max-age=10',
    'no-store',
  ]
  const anyStep = fc.record({
    path: fc.constantFrom('/plain', '/etag', '/vary', '/down', '/swr'),
    method: fc.constantFrom('GET', 'GET', 'GET', 'HEAD', 'POST'),
    accept: fc.constantFrom('a/a', 'b/b'),
    authorization: fc.option(fc.constantFrom('Basic eDp5', 'Basic eDp6'), { freq: 3 }),
    cacheControl: fc.option(fc.constantFrom(...FIELDS), { freq: 3 }),
    range: fc.option(fc.constantFrom('bytes=0-1', 'bytes=900-'), { freq: 5 }),
    after: fc.constantFrom(0, 0, 5000, 70_000, 700_000),
  })
  const options = [
    { staleIfError: '5m' },
    { staleWhileRevalidate: '2m', shared: true },
    { expireAfter: '1m' },
  ] as const

  test('whatever has happened before', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: NOW })
    const { url } = await origin(t, (request, response, count) => {
      const { pathname } = new URL(request.url ?? '', 'http://a')
      if (pathname === '/down' && count % 2 === 0) return response.destroy()
      if (pathname === '/etag') response.setHeader('ETag', '"v1"')
      if (request.headers['if-none-match'] === '"v1"') response.statusCode = 304
      if (pathname === '/vary') response.setHeader('Vary', 'Accept')
      const more = pathname === '/swr' ? ', stale-while-revalidate=60' : ''
      response.setHeader('Cache-Control', `max-age=60${more}`)
      return response.end(response.statusCode === 304 ? undefined : 'x'.repeat(100))
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyStep, { minLength: 5, maxLength: 20 }),
        fc.constantFrom(...options),
        async (steps, given) => {
          const agent = testAgent(t, given)
          for (const { path, method, accept, authorization, cacheControl, range, after } of steps) {
            await quiet(agent)
            t.mock.timers.tick(after)
            const headers = {
              accept,
              ...(authorization && { authorization }),
              ...(cacheControl && { 'cache-control': cacheControl }),
              ...(range && { range }),
            }
            const { explanation, told } = await explainAndAsk(agent, url + path, {
              method,
              headers,
            })
            assertForeseen(explanation, told)
          }
        },
      ),
      { numRuns: 40 },
    )
  })

  test('also later: at the very times that were foreseen, and not before', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: NOW })
    const { url } = await origin(t, (request, response) => {
      const [path = '', control = ''] = decodeURIComponent(request.url ?? '')
        .slice(1)
        .split('/')
      if (path === 'etag') response.setHeader('ETag', '"v1"')
      response
        .setHeader('Cache-Control', control)
        .setHeader('Last-Modified', new Date(0).toUTCString())
      response.end('content')
    })
    const controls = [
      'max-age=60',
      'max-age=60, stale-while-revalidate=10, stale-if-error=100',
      'max-age=100, must-revalidate',
      'no-cache',
      'public',
    ]
    const requests = [
      {},
      { 'cache-control': 'max-age=10' },
      { 'cache-control': 'min-fresh=30, max-stale=5' },
      { 'cache-control': 'max-stale' },
    ]
    for (const path of ['plain', 'etag']) {
      for (const control of controls) {
        for (const headers of requests) {
          const agent = testAgent(t)
          const target = `${url}/${path}/${encodeURIComponent(control)}`
          await get(agent, target)
          await agent.cache.responses.settled()
          const { now, later } = await agent.explain(target, { headers })
          let before: Prospect = now
          for (const { from, ...prospect } of later) {
            t.mock.timers.setTime(from.getTime() - 1)
            assert.deepEqual((await agent.explain(target, { headers })).now, before)
            t.mock.timers.setTime(from.getTime())
            assert.deepEqual((await agent.explain(target, { headers })).now, prospect)
            before = prospect
          }
          assert.equal(before.reason, 'uri-miss')
          t.mock.timers.setTime(NOW)
        }
      }
    }
  })

  // biome-ignore format: one rule a row
  const timelines: [control: string, headers: Record<string, string>, later: [seconds: number, outcome: string, reason: string | undefined, isStaleIfError: boolean][]][] = [
    ['max-age=60', {}, [[60, 'miss', 'stale', false], [86_460, 'miss', 'uri-miss', false]]],
    ['max-age=60', { 'cache-control': 'max-stale=5' }, [[60, 'stale', undefined, false], [65.001, 'miss', 'stale', false], [86_460, 'miss', 'uri-miss', false]]],
    ['max-age=60', { 'cache-control': 'max-age=10' }, [[10.001, 'miss', 'request', false], [86_460, 'miss', 'uri-miss', false]]],
    ['max-age=60', { 'cache-control': 'min-fresh=20' }, [[40.001, 'miss', 'request', false], [60, 'miss', 'stale', false], [86_460, 'miss', 'uri-miss', false]]],
    ['max-age=60, stale-while-revalidate=10', {}, [[60, 'stale', 'stale-while-revalidate', false], [70, 'miss', 'stale', false], [86_460, 'miss', 'uri-miss', false]]],
    ['max-age=60, stale-if-error=10', {}, [[60, 'miss', 'stale', true], [70, 'miss', 'stale', false], [86_460, 'miss', 'uri-miss', false]]],
    ['max-age=60', { 'cache-control': 'only-if-cached' }, [[60, 'miss', 'only-if-cached', false]]],
  ]
  for (const [control, headers, expected] of timelines) {
    test(`later: ${control}, to ${JSON.stringify(headers)}`, async (t) => {
      t.mock.timers.enable({ apis: ['Date'], now: NOW })
      const { url } = await origin(t, answering({ 'Cache-Control': control }))
      const agent = testAgent(t)
      await get(agent, url)
      const { now, later } = await agent.explain(url, { headers })
      assert.equal(now.outcome, 'hit')
      assert.deepEqual(
        later.map(({ from, outcome, reason, isStaleIfError }) => [
          (from.getTime() - NOW) / 1000,
          outcome,
          reason,
          isStaleIfError,
        ]),
        expected,
      )
    })
  }

  test('where the origin cannot be reached: by a shared cache, and not for another part', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: NOW })
    const { url } = await origin(t, (request, response, count) => {
      if (count > 2) return response.destroy()
      const part = { ...HOUR, ETag: '"v1"', 'Content-Range': 'bytes 0-1/10' }
      return request.headers.range
        ? response.writeHead(206, part).end('01')
        : response.writeHead(200, HOUR).end('content')
    })
    const range = { range: 'bytes=0-1' }
    const agent = testAgent(t, { shared: true })
    await ask(agent, url)
    await ask(agent, `${url}/part`, fields(range))
    await quiet(agent)
    t.mock.timers.tick(7_200_000)
    for (const [path, headers, isUsed] of [
      ['/', {}, true],
      ['/part', range, true],
      ['/part', { ...range, 'if-range': '"v0"' }, false],
    ] as const) {
      const { explanation, told } = await explainAndAsk(agent, url + path, fields(headers))
      assert.equal(explanation.now.isStaleIfError, isUsed)
      assert.equal(told.reason === 'stale-if-error', isUsed)
    }
  })

  test('what never expires will not change', async (t) => {
    const { url } = await origin(t, answering())
    const agent = testAgent(t, { expireAfter: NEVER_EXPIRE })
    await get(agent, url)
    const { now, later, stored } = await agent.explain(url)
    assert.deepEqual([now.outcome, later], ['hit', []])
    assert.deepEqual([stored[0]?.expires, stored[0]?.keptUntil], [undefined, undefined])
  })
})

suite('to explain a request changes nothing', () => {
  test('nothing is sent, told, counted or written', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: NOW })
    const { url, seen } = await origin(t, validated(HOUR))
    const map = new Map<string, unknown>()
    const store = adapter({}, map)
    const agent = testAgent(t, { store, staleWhileRevalidate: true })
    const heard = listenTo(agent.cache)
    const explain = () =>
      Promise.all([
        agent.explain(url),
        agent.explain(url, { headers: { authorization: 'Basic eDp5' } }),
        agent.explain(url, { method: 'HEAD' }),
        agent.explain(url, { method: 'POST', body: 'content' }),
        agent.explain(url, { body: Readable.from(['content']) }),
      ])
    await explain()
    assert.equal(map.size, 0)
    await get(agent, url)
    await agent.cache.responses.settled()
    const before = JSON.stringify([...map])
    const { requests } = agent.cache.stats()
    for (const after of [0, 7_200_000]) {
      t.mock.timers.tick(after)
      const [first] = await explain()
      assert.equal(first.now.outcome, after === 0 ? 'hit' : 'stale')
    }
    await agent.cache.responses.settled()
    await new Promise((resolve) => setImmediate(resolve))
    assert.equal(JSON.stringify([...map]), before)
    assert.deepEqual([seen.length, heard.lookup.length, heard.validate.length], [1, 1, 0])
    assert.equal(agent.cache.stats().requests, requests)
  })

  test('a stream is not read', async (t) => {
    const agent = testAgent(t)
    const body = Readable.from(['content'])
    const { now } = await agent.explain('http://a.com/', { body })
    assert.deepEqual([now.outcome, now.reason], ['bypass', 'content'])
    assert.equal(await body.toArray().then((all) => all.join('')), 'content')
  })

  for (const name of ['filter', 'cacheKey', 'tags'] as const) {
    test(`nor is a function of the user’s that fails told: ${name}`, async (t) => {
      const { url } = await origin(t, answering())
      const agent = testAgent(t, { expireAfter: '1h' })
      const failing = agent.with({
        [name]: () => {
          throw new Error('cannot tell')
        },
      })
      await get(agent, url)
      await agent.cache.responses.settled()
      await failing.explain(url)
      await failing.explain(url, { method: 'HEAD' })
      assert.equal(agent.cache.stats().errors, 0)
    })
  }

  test('what is explained is evicted no later', async (t) => {
    const { url } = await origin(t, answering())
    const agent = testAgent(t, { expireAfter: '1h', maxEntries: 3 })
    for (let index = 0; index < 3; index++) {
      await get(agent, `${url}/${index}`)
      await agent.cache.responses.settled()
    }
    await agent.explain(`${url}/0`)
    await get(agent, `${url}/3`)
    await agent.cache.responses.settled()
    await agent.cache.responses.limitsKept()
    assert.equal(await agent.cache.has(`${url}/0`), false)
  })
})

suite('which rule applies, and which terms', () => {
  const rules = {
    'a.com/static': '7d',
    '*.a.com': { staleIfError: '1h', partitionBy: false },
    'b.com': DO_NOT_CACHE,
  } as const

  // biome-ignore format: one rule a row
  const rows: [what: string, url: string, rule: string | undefined, decides: Explanation['decides'], expireAfter: unknown, make?: (t: TestContext) => CachingAgent][] = [
    ['a rule with an expiration', 'http://a.com/static/x', 'a.com/static', 'rule', { value: '7d', from: 'rule' }],
    ['a rule without one', 'http://x.a.com/', '*.a.com', 'origin', undefined],
    ['none, and no expireAfter', 'http://c.com/', undefined, 'origin', undefined],
    ['none, and expireAfter of the agent', 'http://c.com/', undefined, 'agent', { value: '90s', from: 'agent' }, (t) => testAgent(t, { expireAfter: 90_000 })],
    ['none, and both', 'http://c.com/', undefined, 'origin', { value: '1h', from: 'agent' }, (t) => testAgent(t, { expireAfter: '60m', cacheControl: true })],
    ['a rule with both', 'http://c.com/', 'c.com', 'origin', { value: '1h', from: 'rule' }, (t) => testAgent(t, { urlsExpireAfter: { 'c.com': { expireAfter: '60m', cacheControl: true } } })],
    ['none, and nothing', 'http://c.com/', undefined, 'default', undefined, (t) => testAgent(t, { cacheControl: false })],
    ['terms of the request before a rule', 'http://a.com/static', 'a.com/static', 'request', { value: -1, from: 'request' }, (t) => testAgent(t, { urlsExpireAfter: rules }).with({ expireAfter: NEVER_EXPIRE })],
    ['a rule that passes by', 'http://b.com/', 'b.com', 'rule', { value: 'do-not-cache', from: 'rule' }],
    ['a point in time', 'http://c.com/', undefined, 'agent', { value: '2030-01-01T00:00:00.000Z', from: 'agent' }, (t) => testAgent(t, { expireAfter: new Date('2030-01-01') })],
    ['0', 'http://c.com/', undefined, 'agent', { value: 0, from: 'agent' }, (t) => testAgent(t, { expireAfter: 0 })],
    ['1.5 seconds', 'http://c.com/', undefined, 'agent', { value: '1500ms', from: 'agent' }, (t) => testAgent(t, { expireAfter: '1.5s' })],
    ['a RegExp', 'http://c.com/', '/c\\.com/', 'rule', { value: '1h', from: 'rule' }, (t) => testAgent(t, { urlsExpireAfter: [[/c\.com/, '1h']] })],
    ['a function', 'http://c.com/', '[Function: isC]', 'rule', { value: '1h', from: 'rule' }, (t) => testAgent(t, { urlsExpireAfter: [[function isC() { return true }, '1h']] })],
  ]
  for (const [what, url, rule, decides, expireAfter, make] of rows) {
    test(what, async (t) => {
      const agent = make?.(t) ?? testAgent(t, { urlsExpireAfter: rules })
      const explanation = await agent.explain(url)
      assert.equal(explanation.rule, rule)
      assert.equal(explanation.decides, decides)
      assert.deepEqual(explanation.terms.expireAfter, expireAfter)
      assert.match(String(explanation), rule === undefined ? /^rule: none matches$/m : /^rule: ./m)
    })
  }

  test('each term from where it is said most specifically', async (t) => {
    const agent = testAgent(t, {
      urlsExpireAfter: rules,
      maxContentSize: '1MB',
      staleIfError: false,
      staleWhileRevalidate: true,
    })
    const { terms } = await agent.with({ maxContentSize: 5 }).explain('http://x.a.com/')
    const byDefault = (value: unknown) => ({ value, from: 'default' })
    assert.deepEqual(terms, {
      cacheControl: { value: true, from: 'default' },
      partitionBy: { value: [], from: 'rule' },
      staleIfError: { value: 3_600_000, from: 'rule' },
      staleWhileRevalidate: { value: 'Infinity', from: 'agent' },
      maxContentSize: { value: 5, from: 'request' },
      allowedMethods: byDefault(['GET', 'HEAD']),
      maxRequestContentSize: byDefault(2 ** 20),
      ignoredParameters: byDefault([]),
      secretParameters: byDefault([...DEFAULT_SECRET_PARAMETERS]),
      matchHeaders: byDefault([]),
    })
  })

  test('expirations by status code, status codes and functions as they could be written', async (t) => {
    const expireAfter = { 404: '1m', '5xx': 0, '*': -1 }
    const agent = testAgent(t, { expireAfter: '1h' })
    const own = agent.with({ expireAfter, allowedCodes: [200, '4xx'], filter: () => true })
    const { terms, decides } = await own.explain('http://a.com/')
    assert.deepEqual(terms.expireAfter, {
      value: { 404: '1m', '5xx': 0, '*': -1 },
      from: 'request',
    })
    assert.deepEqual(terms.allowedCodes?.value, [200, '4xx'])
    assert.match(String(terms.filter?.value), /Function/)
    assert.equal(decides, 'request')
    const nested = await withTerms({ expireAfter: '2h' }, () =>
      agent.explain('http://a.com/', { terms: { expireAfter: { 404: '1m' } } }),
    )
    assert.deepEqual(nested.terms.expireAfter?.value, { 404: '1m', '*': '2h' })
  })

  // biome-ignore format: one rule a row
  const deciding: [what: string, options: AgentOptions, decides: string][] = [
    ['a rule for other status codes lets the origin decide', { urlsExpireAfter: { '*': { 404: '1m' } } }, 'origin'],
    ['a rule for all others decides', { urlsExpireAfter: { '*': { 404: '1m', '*': '1h' } } }, 'rule'],
    ['the agent of other status codes lets the origin decide', { expireAfter: { 404: '1m' } }, 'origin'],
    ['the agent of all others decides', { expireAfter: { '*': '1m' } }, 'agent'],
    ['nobody', { expireAfter: { 404: '1m' }, cacheControl: false }, 'default'],
  ]
  for (const [what, options, decides] of deciding) {
    test(`who decides: ${what}`, async (t) => {
      assert.equal((await testAgent(t, options).explain('http://a.com/')).decides, decides)
    })
  }

  // biome-ignore format: one rule a row
  const refusing: [what: string, options: AgentOptions, init: object, reason: string, status: number | undefined][] = [
    ['offline', { mode: 'offline' }, {}, 'offline', 504],
    ['offline, by an error', { mode: 'offline', missing: 'error' }, {}, 'offline', undefined],
    ['a replay', { mode: 'replay' }, {}, 'replay', undefined],
    ['the cache only', { onlyIfCached: true }, {}, 'only-if-cached', 504],
    ['also of what would pass by', { mode: 'offline' }, { method: 'POST', body: 'x' }, 'offline', 504],
    ['also of content', { mode: 'offline' }, { body: 'x' }, 'offline', 504],
  ]
  for (const [what, options, init, reason, status] of refusing) {
    test(`what may not be sent: ${what}`, async (t) => {
      const { now } = await testAgent(t, options).explain('http://a.com/', init)
      assert.deepEqual([now.outcome, now.reason, now.status], ['miss', reason, status])
    })
  }

  test('terms about keys as they could be written', async (t) => {
    const given = {
      ignoredParameters: ['a', 'b.*.c'],
      secretParameters: ['D'],
      matchHeaders: true,
      allowedMethods: ['POST'],
    } as const
    const { terms } = await testAgent(t, given).explain('http://a.com/')
    for (const [name, value] of Object.entries(given)) {
      assert.deepEqual(terms[name], { value, from: 'agent' })
    }
    assert.deepEqual(terms.partitionBy?.value, ['authorization', 'cookie', ...SECRET_FIELDS, 'd'])
    const cacheKey = (_: unknown, key: string) => key
    const own = await testAgent(t, { cacheKey }).explain('http://a.com/')
    assert.deepEqual(own.terms.cacheKey, { value: '[Function: cacheKey]', from: 'agent' })
    assert.match(String(own), /^ {2}secretParameters: DEFAULT_SECRET_PARAMETERS \(by default\)$/m)
  })

  test('the key of content, unless it could be read only once', async (t) => {
    const { url } = await origin(t, answering())
    const agent = testAgent(t, { expireAfter: '1h', allowedMethods: ['POST'] })
    const request = {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"a":1,"b":2}',
    }
    const { info } = await get(agent, `${url}/?token=secret`, request)
    const explained = await agent.explain(`${url}/?token=secret`, {
      ...request,
      body: '{ "b": 2, "a": 1 }',
    })
    assert.deepEqual([explained.now.outcome, explained.key], ['hit', info?.key])
    assert.equal(explained.url, `${url}/?token=REDACTED`)
    const body = Readable.from(['{"a":1,"b":2}'])
    const { now } = await agent.explain(url, { ...request, body })
    assert.deepEqual([now.outcome, now.reason], ['bypass', 'content'])
    assert.equal(await text(body), '{"a":1,"b":2}')
    const form = { method: 'POST', body: new URLSearchParams({ a: '1' }) }
    await get(agent, url, form)
    assert.equal((await agent.explain(url, form)).now.outcome, 'hit')
    const plain = { method: 'POST', body: 'text', headers: new Headers({ accept: 'text/plain' }) }
    await get(agent, url, plain)
    assert.equal((await agent.explain(url, plain)).now.outcome, 'hit')
    const failing = agent.with({ cacheKey: () => 42 as never })
    assert.equal((await failing.explain(url, request)).now.reason, 'rule-failed')
  })

  test('text is meant as fetch sends it, or as request does where that is stored', async (t) => {
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t, { allowedMethods: ['POST'] })
    const key = async (body: string, headers = {}) => {
      const { now, key, stored } = await agent.explain(url, { ...POST, body, headers })
      return [now.outcome, key, stored.length]
    }
    const [, byFetch] = await key('both')
    await ask(agent, url, { ...POST, body: 'both' })
    await agent.cache.responses.settled()
    const [outcome, byRequest, count] = await key('both')
    assert.deepEqual([outcome, count], ['hit', 1])
    assert.notEqual(byRequest, byFetch)
    assert.equal((await key('both', { 'content-type': 'text/html' }))[0], 'miss')
    await get(agent, url, { ...POST, body: 'both' })
    await agent.cache.responses.settled()
    assert.deepEqual(await key('both'), ['hit', byFetch, 1])
  })

  test('terms of the request: its own, before those of the context, before those of the agent', async (t) => {
    const agent = testAgent(t).with({ expireAfter: '1h' })
    const expiration = async (terms?: { expireAfter: string }) =>
      (await agent.explain('http://a.com/', terms && { terms })).terms.expireAfter?.value
    assert.equal(await expiration(), '1h')
    assert.equal(await withTerms({ expireAfter: '2h' }, () => expiration()), '2h')
    assert.equal(
      await withTerms({ expireAfter: '2h' }, () => expiration({ expireAfter: '3h' })),
      '3h',
    )
    const { now } = await disabled(() => agent.explain('http://a.com/'))
    assert.deepEqual([now.outcome, now.reason], ['bypass', 'do-not-cache'])
  })

  test('a function that throws lets the request pass by, as it would', async (t) => {
    const url = 'http://a.com/'
    const broken = () => {
      throw new Error('a rule that throws')
    }
    const agent = testAgent(t, { urlsExpireAfter: [[broken, '1h']] })
    const { now, rule } = await agent.explain(url)
    assert.deepEqual([now.outcome, now.reason, rule], ['bypass', 'rule-failed', undefined])
  })
})

suite('by whose rules', () => {
  test('a cache knows those of its first agent, and each agent its own', async (t) => {
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    const decides = async (explanation: Promise<Explanation>) => (await explanation).decides
    assert.equal(await decides(cache.explain('http://a.com/')), 'origin')
    const first = testAgent(t, { cache, expireAfter: '1h' })
    const second = testAgent(t, { cache, urlsExpireAfter: { 'a.com': '2h' } })
    assert.equal(await decides(cache.explain('http://a.com/')), 'agent')
    assert.equal(await decides(first.explain('http://a.com/')), 'agent')
    assert.equal(await decides(second.explain('http://a.com/')), 'rule')
  })

  test('the cache of an interceptor knows those of the interceptor', async (t) => {
    const interceptor = cacheInterceptor({ store: 'memory:', urlsExpireAfter: { 'a.com': '2h' } })
    const dispatcher = new Agent().compose(interceptor)
    t.after(() => dispatcher.close())
    assert.equal((await interceptor.cache.explain('http://a.com/')).rule, 'a.com')
  })
})

suite('what is stored', () => {
  test('in all variants, one of which is selected', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: NOW })
    const { url } = await origin(t, answering({ ...HOUR, Vary: 'Accept-Language' }))
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const agent = testAgent(t, { store, partitionBy: false })
    for (const language of ['de', 'en']) {
      await ask(agent, url, fields({ 'accept-language': language }))
      await agent.cache.responses.settled()
      t.mock.timers.tick(1000)
    }
    const { stored, key } = await agent.explain(url, { headers: { 'accept-language': 'de' } })
    const response = { method: 'GET', status: 200, size: 7 }
    const times = (at: number) => ({
      storedAt: new Date(NOW + at),
      expires: new Date(NOW + at + 3_600_000),
      keptUntil: new Date(NOW + at + 3_600_000 + 86_400_000),
    })
    const byLanguage = stored.toSorted((a, b) => a.storedAt.getTime() - b.storedAt.getTime())
    assert.deepEqual(byLanguage, [
      { ...response, ...times(0), nominated: { 'accept-language': 'de' }, isSelected: true },
      { ...response, ...times(1000), nominated: { 'accept-language': 'en' }, isSelected: false },
    ])
    assert.equal(key, (await agent.cache.get(url))?.key)
  })

  test('no credentials are told', async (t) => {
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t)
    const headers = { authorization: 'Bearer secret-token' }
    await ask(agent, url, { headers })
    const explanation = await agent.explain(url, { headers })
    assert.equal(explanation.now.outcome, 'hit')
    assert.match(explanation.stored[0]?.nominated.authorization ?? '', /^[\da-f]{64}$/)
    assert.doesNotMatch(JSON.stringify(explanation) + explanation, /secret-token/)
  })

  test('what is still being received', async (t) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const { url, seen } = await origin(t, async (_, response) => {
      response.writeHead(200, HOUR).write('con')
      await promise
      response.end('tent')
    })
    const agent = testAgent(t)
    const whole = get(agent, url)
    while (seen.length === 0 || agent.cache.stats().requests === 0) {
      await new Promise((next) => setTimeout(next, 1))
    }
    const { now, stored } = await agent.explain(url)
    assert.deepEqual([now.outcome, stored.length, stored[0]?.size], ['hit', 1, undefined])
    resolve()
    await whole
  })

  test('HEAD is answered by what is stored for GET', async (t) => {
    const { url } = await origin(t, answering(HOUR))
    const agent = testAgent(t)
    await get(agent, url)
    const { now, stored } = await agent.explain(url, { method: 'head' })
    assert.deepEqual([now.outcome, stored[0]?.method, stored[0]?.isSelected], ['hit', 'GET', true])
  })
})

suite('an explanation', () => {
  test('in lines', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: NOW })
    const { url } = await origin(t, validated({ 'Cache-Control': 'max-age=60', Vary: 'Accept' }))
    const agent = testAgent(t, {
      urlsExpireAfter: { '127.0.0.1/report': { staleWhileRevalidate: '10s' } },
      partitionBy: false,
    })
    await ask(agent, `${url}/report`, fields({ accept: 'text/html' }))
    const explanation = await agent.explain(`${url}/report`, { headers: { accept: 'text/html' } })
    const stale = 'stale: what is stored is not fresh any more, or must be validated each time'
    assert.deepEqual(String(explanation).split('\n'), [
      `GET ${url}/report`,
      'rule: 127.0.0.1/report',
      'freshness: the response’s own fields decide (RFC 9111)',
      'terms:',
      '  cacheControl: true (by default)',
      '  partitionBy: [] (of the agent)',
      '  staleWhileRevalidate: 10000 (of the rule)',
      '  maxContentSize: Infinity (by default)',
      '  allowedMethods: ["GET","HEAD"] (by default)',
      '  maxRequestContentSize: 1048576 (by default)',
      '  ignoredParameters: [] (by default)',
      '  secretParameters: DEFAULT_SECRET_PARAMETERS (by default)',
      '  matchHeaders: [] (by default)',
      `key: ${explanation.key}`,
      'stored:',
      '  GET 200, 7 B, stored 2027-01-15T08:00:00.000Z, fresh until 2027-01-15T08:01:00.000Z, for accept: text/html, selected',
      'now: hit with status 200',
      'from 2027-01-15T08:01:00.000Z: stale with status 200 (stale-while-revalidate: it is being validated in the background)',
      `from 2027-01-15T08:01:10.000Z: validation (${stale}); the origin is asked with if-none-match`,
      'from 2027-02-14T08:01:00.000Z: miss (uri-miss: nothing is stored for the URL)',
    ])
  })

  test('can be written as JSON', async (t) => {
    const { url } = await origin(t, validated({ 'Cache-Control': 'max-age=60' }))
    const agent = testAgent(t, {
      staleIfError: true,
      urlsExpireAfter: [
        [
          function named() {
            return false
          },
          '1h',
        ],
      ],
    })
    await get(agent, url)
    const explanation = await agent.explain(url)
    const read = JSON.parse(JSON.stringify(explanation))
    assert.equal(read.stored[0].expires, explanation.stored[0]?.expires?.toISOString())
    const kept = { ...explanation, stored: [], later: [] }
    assert.deepEqual({ ...read, stored: [], later: [] }, JSON.parse(JSON.stringify(kept)))
    assert.deepEqual(Object.keys(read.terms), Object.keys(explanation.terms))
    assert.ok(
      Object.values(read.terms).every((term) => (term as { value: unknown }).value !== null),
    )
  })

  test('of a method that is not cached', async (t) => {
    const { now, key, later, stored } = await testAgent(t).explain('http://a.com/', POST)
    assert.deepEqual(
      [now.outcome, now.reason, key, later, stored],
      ['bypass', 'method', undefined, [], []],
    )
  })
})

suite('what cannot be explained is refused', () => {
  // biome-ignore format: one rule a row
  const rows: [url: unknown, request: unknown, message: RegExp][] = [
    ['/path', {}, /expected an absolute URL, got '\/path'/],
    ['ftp://a.com/', {}, /expected an http or https URL, got 'ftp:\/\/a.com\/'/],
    ['http://a.com/', { header: {} }, /explain: unknown option "header"; the options are method, headers, body, terms/],
    ['http://a.com/', { terms: { expireAfter: 'soon' } }, /explain\.terms\.expireAfter: expected .*, got 'soon'/],
    ['http://a.com/', { terms: { expire: 1 } }, /explain\.terms: unknown option "expire"/],
    ['http://a.com/', null, /explain: expected an object of options, got null/],
  ]
  for (const [url, request, message] of rows) {
    test(String(message), async (t) => {
      const agent = testAgent(t)
      for (const who of [agent, agent.cache]) {
        const explained = who.explain(url as string, request as object)
        await assert.rejects(
          explained,
          (error) => error instanceof TypeError && message.test(error.message),
        )
      }
    })
  }
})
