import assert from 'node:assert/strict'
import { suite, type TestContext, test } from 'node:test'
import { type AgentOptions, type CacheError, NEVER_EXPIRE } from 'caching-agent'
import { get, testAgent } from './helpers/agent.ts'
import { origin } from './helpers/origin.ts'

/** The tags of what an agent has stored of a response with some fields. */
async function tagsOf(
  t: TestContext,
  tags: AgentOptions['tags'],
  headers: Record<string, string | string[]>,
) {
  const { url } = await origin(t, (_, response) => response.writeHead(200, headers).end('content'))
  const agent = testAgent(t, { expireAfter: '1h', ...(tags !== undefined && { tags }) })
  const { info } = await get(agent, url)
  const stored = await agent.cache.get(url)
  return { agent, url, info, tags: stored?.tags }
}

suite('Tags', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, source: AgentOptions['tags'], headers: Record<string, string | string[]>, tags: string[]][] = [
    ['none by default', undefined, { 'Cache-Tag': 'a' }, []],
    ['separated by commas', 'Cache-Tag', { 'Cache-Tag': 'a, b,c ,' }, ['a', 'b', 'c']],
    ['separated by white space', 'surrogate-key', { 'Surrogate-Key': ' a  b\tc' }, ['a', 'b', 'c']],
    ['in several lines', 'xkey', { xkey: ['a b', 'c'] }, ['a', 'b', 'c']],
    ['in several fields, each once', ['Surrogate-Key', 'xkey'], { xkey: 'b c', 'Surrogate-Key': 'a b' }, ['a', 'b', 'c']],
    ['where the field is missing', 'Cache-Tag', {}, []],
    ['by a function', ({ url, status, headers }) => [`${status}`, String(headers.etag), new URL(url).pathname], { ETag: '"1"' }, ['200', '"1"', '/']],
    ['by a function, without those that are empty or told twice', () => ['', 'a b', 'a b'], {}, ['a b']],
  ]
  for (const [rule, source, headers, expected] of rows) {
    test(rule, async (t) => {
      assert.deepEqual((await tagsOf(t, source, headers)).tags, expected)
    })
  }

  test('a secret of the request that the response repeats is redacted in them', async (t) => {
    const { url } = await origin(t, ({ url = '' }, response) => {
      response.setHeader('X-Tag', url.replace('/?token=', '')).end('content')
    })
    for (const tags of [
      'X-Tag',
      ({ headers }) => [`${headers['x-tag']}`],
    ] as AgentOptions['tags'][]) {
      const agent = testAgent(t, { expireAfter: '1h', ...(tags && { tags }) })
      await get(agent, `${url}/?token=topsecret`)
      assert.deepEqual((await agent.cache.get(`${url}/?token=topsecret`))?.tags, ['REDACTED'])
    }
  })

  // biome-ignore format: one rule a row
  const failures: [rule: string, source: AgentOptions['tags'], message: RegExp][] = [
    ['throws', () => { throw new Error('on purpose') }, /on purpose/],
    ['returns no array', (() => 'a') as never, /tags: expected the function to return an array of texts, got 'a'/],
    ['returns other things than texts', (() => [1]) as never, /tags: expected .* got \[ 1 \]/],
  ]
  for (const [rule, source, message] of failures) {
    test(`what a function ${rule} for is delivered, and not stored`, async (t) => {
      const { url, seen } = await origin(t, (_, response) => response.end('content'))
      const agent = testAgent(t, { expireAfter: '1h', tags: source as never })
      const errors: CacheError[] = []
      agent.cache.on('error', (error) => errors.push(error))
      for (let round = 0; round < 2; round++) {
        const { body, info } = await get(agent, url)
        assert.deepEqual([body, info?.status, info?.reason], ['content', 'miss', 'rule-failed'])
      }
      assert.deepEqual([seen.length, errors.length, errors[0]?.operation], [2, 2, 'rule'])
      assert.match(errors[0]?.error.message ?? '', message)
    })
  }

  test('can be said by URL, and what a function gets is its own', async (t) => {
    const { url } = await origin(t, (_, response) => response.setHeader('X-A', ['1', '2']).end())
    const agent = testAgent(t, {
      expireAfter: '1h',
      tags: ({ headers }) => {
        ;(headers['x-a'] as string[]).push('3')
        return ['by default']
      },
      urlsExpireAfter: { '*/special': { tags: () => ['special'] } },
    })
    await get(agent, url)
    await get(agent, `${url}/special`)
    assert.equal((await get(agent, url)).response.headers.get('x-a'), '1, 2')
    assert.deepEqual(await agent.cache.urls({ tag: 'special' }), [`${url}/special`])
    assert.equal(await agent.cache.delete({ tag: 'by default' }), 1)
  })

  test('are those of the last answer that confirmed the response', async (t) => {
    const { url } = await origin(t, (request, response, count) => {
      response.setHeader('ETag', '"1"').setHeader('Cache-Tag', `tag${count}`)
      response.setHeader('Cache-Control', 'no-cache')
      response.writeHead(request.headers['if-none-match'] ? 304 : 200).end()
    })
    for (const options of [{}, { expireAfter: NEVER_EXPIRE }]) {
      const agent = testAgent(t, { tags: 'Cache-Tag', ...options })
      await get(agent, url)
      const [before] = (await agent.cache.get(url))?.tags ?? []
      await get(agent, url, { headers: { 'cache-control': 'no-cache' } })
      await agent.cache.responses.settled()
      const [after] = (await agent.cache.get(url))?.tags ?? []
      assert.notEqual(after, before)
      assert.equal(await agent.cache.count({ tag: String(before) }), 0)
      assert.equal(await agent.cache.count({ tag: String(after) }), 1)
    }
  })

  test('a function that fails for a validated response: it is delivered, and not kept', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"1"').setHeader('Cache-Control', 'no-cache')
      const isValidation = request.headers['if-none-match'] !== undefined
      response.writeHead(isValidation ? 304 : 200).end(isValidation ? undefined : 'content')
    })
    let isBroken = false
    const agent = testAgent(t, {
      tags: () => {
        if (isBroken) throw new Error('on purpose')
        return ['a']
      },
    })
    await get(agent, url)
    isBroken = true
    const { body, info } = await get(agent, url)
    assert.deepEqual([body, info?.status], ['content', 'revalidated'])
    await agent.cache.responses.settled()
    assert.equal(await agent.cache.count(), 0)
  })
})
