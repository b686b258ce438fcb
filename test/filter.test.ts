import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import {
  type CacheError,
  cachingAgent,
  type FilteredResponse,
  type ResponseFilter,
} from 'caching-agent'
import * as undici from 'undici'
import { adapter } from './helpers/adapter.ts'
import { get, outcomes, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const HOUR = 3_600_000

function numbered(t: TestContext) {
  return origin(t, (_, response, count) => {
    response.setHeader('Set-Cookie', ['a=1', 'b=2']).end(`response ${count}`)
  })
}

/** A filter, and what it has been asked. */
function asked(answer: ResponseFilter) {
  const questions: FilteredResponse[] = []
  const filter: ResponseFilter = (response) => {
    questions.push(response)
    return answer(response)
  }
  return { filter, questions }
}

const isNew: ResponseFilter = ({ isStored }) => !isStored
const isOld: ResponseFilter = ({ isStored }) => isStored

suite('filter: before storing', () => {
  test('knows the response, its request, its exact size and all of its content', async (t) => {
    const { url } = await numbered(t)
    const contents: string[] = []
    const { filter, questions } = asked(async ({ content }) => {
      contents.push((await content()).toString())
      return true
    })
    const agent = testAgent(t, { expireAfter: '1h', filter })
    const before = Date.now()
    await get(agent, `${url}/a`, { headers: { authorization: 'secret', accept: 'text/plain' } })
    await agent.cache.responses.settled()
    const [question] = questions
    assert.ok(question)
    const { headers, requestHeaders, storedAt, content: _, ...others } = question
    assert.deepEqual(others, {
      method: 'GET',
      url: `${url}/a`,
      status: 200,
      statusText: 'OK',
      size: 10,
      isStored: false,
    })
    assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2'])
    assert.equal(requestHeaders.accept, 'text/plain')
    assert.doesNotMatch(String(requestHeaders.authorization), /secret/)
    assert.ok(storedAt.getTime() >= before && storedAt.getTime() <= Date.now())
    assert.deepEqual(contents, ['response 1'])
  })

  test('what it refuses is delivered, and not stored', async (t) => {
    const { url } = await numbered(t)
    for (const filter of [() => false, async () => false]) {
      const agent = testAgent(t, { expireAfter: '1h', filter })
      assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'miss'])
      await agent.cache.responses.settled()
      assert.equal(await agent.cache.count(), 0)
    }
  })

  test('by size, by status, by a field, by content', async (t) => {
    const { url } = await origin(t, ({ url: path = '' }, response) => {
      if (path === '/json') response.setHeader('Content-Type', 'application/json').end('{"ok":1}')
      else if (path === '/error')
        response.setHeader('Content-Type', 'application/json').end('{"e":1}') // biome-ignore format: one line
      else response.end('x'.repeat(1000))
    })
    const filter: ResponseFilter = async ({ size, headers, content }) => {
      if (size > 100 || headers['content-type'] !== 'application/json') return false
      return 'ok' in JSON.parse((await content()).toString())
    }
    const agent = testAgent(t, { expireAfter: '1h', filter })
    assert.deepEqual(await outcomes(agent, `${url}/json`, [{}]), ['miss'])
    await agent.cache.responses.settled()
    assert.deepEqual(await outcomes(agent, `${url}/json`, [{}]), ['hit'])
    for (const path of ['/error', '/large']) {
      assert.deepEqual(await outcomes(agent, url + path, [{}]), ['miss'])
      await agent.cache.responses.settled()
      assert.deepEqual(await outcomes(agent, url + path, [{}]), ['miss'])
    }
  })

  test('large content is there as well, in memory and in a file', async (t) => {
    const content = Buffer.alloc(1_000_000, 'abc')
    const { url } = await origin(t, (_, response) => response.end(content))
    const file = `sqlite://${join(folder(), 'cache.sqlite')}`
    for (const store of ['memory:', file]) {
      const { filter, questions } = asked(async (response) => {
        assert.deepEqual(await response.content(), content)
        return response.size === content.length
      })
      const agent = testAgent(t, { store, expireAfter: '1h', filter })
      await get(agent, url)
      await agent.cache.responses.settled()
      assert.equal((await get(agent, url)).info?.status, 'hit')
      assert.deepEqual(
        questions.map(({ isStored }) => isStored),
        [false, true],
      )
    }
  })

  test('a slow one does not delay the caller, and closing the agent waits for it', async (t) => {
    const { url } = await numbered(t)
    let agree = (_: boolean) => {}
    const filter = () => new Promise<boolean>((resolve) => (agree = resolve))
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const agent = cachingAgent({ store, expireAfter: '1h', filter })
    // The promise of the filter is settled by nothing but what follows the response.
    assert.equal((await get(agent, url)).body, 'response 1')
    await delay(20)
    assert.equal(await agent.cache.has(url), false)
    const closing = agent.close()
    await delay(20)
    agree(true)
    await closing
    const next = testAgent(t, { store, expireAfter: '1h' })
    assert.equal((await get(next, url)).info?.status, 'hit')
  })

  test('until it has agreed nobody else is given the response', async (t) => {
    const { url, seen } = await numbered(t)
    for (const verdict of [true, false]) {
      let agree = (_: boolean) => {}
      const { filter, questions } = asked(({ isStored }) => {
        // Only the first answer has to wait: the agent is not closed before all are decided.
        if (isStored || questions.length > 1) return verdict
        return new Promise<boolean>((resolve) => (agree = resolve))
      })
      const agent = testAgent(t, { expireAfter: '1h', filter })
      const before = seen.length
      const first = await get(agent, url)
      const others = Array.from({ length: 5 }, () => get(agent, url))
      while (questions.length === 0) await delay(5)
      await delay(20)
      assert.equal(seen.length, before + 1, 'they wait')
      agree(verdict)
      if (!verdict) {
        // Now each is sent by itself, and its answer is asked about as well.
        const answers = await Promise.all(others)
        assert.ok(answers.every(({ body }) => body !== first.body))
        assert.equal(seen.length, before + 6)
      } else {
        const answers = await Promise.all(others)
        assert.ok(answers.every(({ body }) => body === first.body))
        assert.equal(seen.length, before + 1)
      }
    }
  })

  test('what was invalidated while it thought is not stored', async (t) => {
    const { url } = await numbered(t)
    let agree = (_: boolean) => {}
    const filter: ResponseFilter = ({ isStored }) =>
      isStored || new Promise<boolean>((resolve) => (agree = resolve))
    const agent = testAgent(t, { expireAfter: '1h', filter })
    await get(agent, url)
    await delay(10)
    await get(agent, url, { method: 'POST', body: 'x' })
    agree(true)
    await agent.cache.responses.settled()
    assert.equal(await agent.cache.count(), 0)
  })

  test('is not asked about what is not to be stored, or is not whole', async (t) => {
    const { url } = await origin(t, ({ url: path }, response) => {
      if (path === '/404') response.writeHead(404).end()
      else if (path === '/cut') response.writeHead(200, { 'Content-Length': 100 }).write('x')
      else response.end('x'.repeat(1000))
      if (path === '/cut') setTimeout(() => response.destroy(), 20)
    })
    const { filter, questions } = asked(() => true)
    const agent = testAgent(t, { expireAfter: '1h', filter, maxContentSize: 100 })
    await get(agent, `${url}/404`)
    await get(agent, `${url}/large`)
    await assert.rejects(get(agent, `${url}/cut`))
    await agent.cache.responses.settled()
    assert.equal(questions.length, 0)
    assert.equal(await agent.cache.count(), 0)
  })

  test('an aborted download strands nobody that waits for the verdict', async (t) => {
    const waiting: ServerResponse[] = []
    const { url, seen } = await origin(t, (_, response, count) => {
      if (count > 1) return void response.end('content')
      response.write('x')
      waiting.push(response)
    })
    const agent = testAgent(t, { expireAfter: '1h', filter: () => true })
    const { body } = await undici.request(url, { dispatcher: agent })
    const other = get(agent, url)
    await delay(20)
    body.on('error', () => {}).destroy()
    assert.equal((await other).body, 'content')
    assert.equal(seen.length, 2)
  })
})

suite('filter: before a use', () => {
  test('what it refuses is fetched without a condition, and stays until it is replaced', async (t) => {
    const { url, seen } = await origin(t, (_, response, count) => {
      response.setHeader('ETag', '"1"').end(`response ${count}`)
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const refusing = agent.with({ filter: () => false })
    assert.equal((await get(refusing, url)).body, 'response 2')
    assert.deepEqual(
      seen.map(({ headers }) => headers['if-none-match']),
      [undefined, undefined],
    )
    const { body, info } = await get(agent, url)
    assert.deepEqual([info?.status, body], ['hit', 'response 1'])
    assert.equal((await get(agent.with({ filter: isNew }), url)).body, 'response 3')
    await agent.cache.responses.settled()
    assert.equal((await get(agent, url)).body, 'response 3')
  })

  test('a time machine: what was stored after a simulated date is as if it were not there', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.UTC(2026, 0, 1) })
    const { url } = await numbered(t)
    const agent = testAgent(t, { expireAfter: -1 })
    await get(agent, `${url}/old`)
    t.mock.timers.tick(48 * HOUR)
    await get(agent, `${url}/new`)
    const date = Date.UTC(2026, 0, 2)
    const filter: ResponseFilter = ({ storedAt }) => storedAt.getTime() <= date
    const machine = agent.with({ filter, onlyIfCached: true })
    assert.equal((await get(machine, `${url}/old`)).info?.status, 'hit')
    assert.equal((await get(machine, `${url}/new`)).status, 504)
    assert.equal((await get(agent, `${url}/new`)).info?.status, 'hit')
  })

  test('it is told that the response is stored, since when, and for which request', async (t) => {
    const { url } = await numbered(t)
    const { filter, questions } = asked(isOld)
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    assert.equal((await get(agent.with({ filter }), url, { headers: { 'x-a': '1' } })).info?.status, 'hit') // biome-ignore format: one line
    const [question] = questions
    assert.equal(question?.isStored, true)
    assert.equal(question?.size, 10)
    assert.equal(question?.requestHeaders['x-a'], '1')
    assert.equal((await question?.content())?.toString(), 'response 1')
  })

  test('it is told no secrets', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Location', '/?api_key=topsecret').end('content')
    })
    const { filter, questions } = asked(() => true)
    const agent = testAgent(t, { expireAfter: '1h', filter })
    const headers = { authorization: 'Bearer topsecret' }
    await get(agent, `${url}/?api_key=topsecret`, { headers })
    await agent.cache.responses.settled()
    assert.equal((await get(agent, `${url}/?api_key=topsecret`, { headers })).info?.status, 'hit')
    assert.deepEqual(
      questions.map(({ isStored }) => isStored),
      [false, true],
    )
    assert.doesNotMatch(JSON.stringify(questions), /topsecret/)
  })

  test('what it changes is not changed in the cache', async (t) => {
    const { url } = await numbered(t)
    const filter: ResponseFilter = async ({ headers, content }) => {
      ;(headers['set-cookie'] as string[]).length = 0
      ;(await content()).fill('x')
      return true
    }
    const agent = testAgent(t, { expireAfter: '1h', filter })
    await get(agent, url)
    await agent.cache.responses.settled()
    for (let use = 0; use < 2; use++) {
      const { body, response, info } = await get(agent, url)
      assert.deepEqual([info?.status, body], ['hit', 'response 1'])
      assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2'])
    }
  })

  test('what it refuses is not used where the origin fails either', async (t) => {
    let isDown = false
    const { url } = await origin(t, (_, response) => {
      if (isDown) response.destroy()
      else response.end('content')
    })
    const agent = testAgent(t, { expireAfter: '1h', staleIfError: true })
    await get(agent, url)
    isDown = true
    await assert.rejects(get(agent.with({ filter: () => false }), url))
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('what is still arriving for others is none of its business', async (t) => {
    let end = () => {}
    const { url, seen } = await origin(t, (_, response, count) => {
      response.write('be')
      if (count === 1) end = () => void response.end('gun')
      else response.end('gun')
    })
    const agent = testAgent(t, { expireAfter: '1h' })
    const { body } = await undici.request(url, { dispatcher: agent })
    const { filter, questions } = asked(() => true)
    assert.equal((await get(agent.with({ filter }), url)).body, 'begun')
    end()
    assert.equal(await body.text(), 'begun')
    assert.deepEqual([seen.length, questions.every(({ isStored }) => !isStored)], [2, true])
  })
})

suite('a filter that fails', () => {
  const failing: [what: string, filter: unknown, message: RegExp][] = [
    ['throws', () => { throw new Error('no idea') }, /no idea/], // biome-ignore format: one line
    ['rejects', async () => { throw new Error('no idea') }, /no idea/], // biome-ignore format: one line
    ['returns something else', () => 'yes', /filter: expected the function to return a boolean, got 'yes'/], // biome-ignore format: one line
    ['returns nothing', async () => undefined, /to return a boolean, got undefined/],
  ]
  for (const [what, filter, message] of failing) {
    test(`because it ${what} says no, and an event tells so`, async (t) => {
      const { url } = await numbered(t)
      const agent = testAgent(t, { expireAfter: '1h' })
      const wrong = agent.with({ filter: filter as ResponseFilter })
      const told = () => new Promise<CacheError>((resolve) => agent.cache.on('error', resolve))
      const first = told()
      assert.equal((await get(wrong, url)).body, 'response 1')
      const { operation, error } = await first
      assert.equal(operation, 'rule')
      assert.match(error.message, message)
      await agent.cache.responses.settled()
      assert.equal(await agent.cache.count(), 0)

      await get(agent, url)
      const second = told()
      assert.equal((await get(wrong, url)).body, 'response 3')
      assert.match((await second).error.message, message)
      assert.equal((await get(agent, url)).body, 'response 2')
    })
  }

  test('because the store hangs when it reads the content delays a request by the deadline of the store', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(900_000, 'x')))
    const rows = new Map<string, unknown>()
    let isHanging = false
    const read = async (key: string) =>
      isHanging && /\.[12]$/.test(key) ? new Promise(() => {}) : rows.get(key)
    const store = adapter({ get: read }, rows)
    const agent = testAgent(t, { expireAfter: '1h', store, memory: false })
    await get(agent, url)
    await agent.cache.responses.settled()
    isHanging = true
    const filter: ResponseFilter = async ({ isStored, content }) => !isStored || !!(await content())
    const start = performance.now()
    assert.equal((await get(agent.with({ filter }), url)).info?.status, 'miss')
    const took = performance.now() - start
    assert.ok(took < 3000, `${took} ms`)
  })

  test('because it does not answer delays a request by seconds, and no more', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const { url } = await numbered(t)
    const agent = testAgent(t, { expireAfter: '1h' })
    await get(agent, url)
    const answer = get(agent.with({ filter: ({ isStored }) => isStored && new Promise<boolean>(() => {}) }), url) // biome-ignore format: one line
    await new Promise(setImmediate)
    t.mock.timers.tick(5000)
    t.mock.timers.reset()
    assert.equal((await answer).body, 'response 2')
  })
})
