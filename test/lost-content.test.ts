import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, type TestContext, test } from 'node:test'
import { type AgentOptions, cacheInterceptor } from 'caching-agent'
import * as undici from 'undici'
import { RestHandler } from '../lib/handlers/rest-handler.ts'
import { adapter } from './helpers/adapter.ts'
import { testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const CHUNK_SIZE = 256 * 1024
const LARGE = randomBytes(8_000_000)
/** All of this is read before any of it is given. */
const SHORT = LARGE.subarray(0, 1_500_000)

interface Setting {
  readonly content?: Buffer
  /** The chunk that is lost from an SQLite file. */
  readonly lost?: number | 'none'
  readonly options?: AgentOptions
  /** The fields that the origin sends. */
  readonly fields?: Record<string, string>
  /** What becomes of the request for the rest. */
  readonly rest?: (request: IncomingMessage, response: ServerResponse) => unknown
}

const ETAG = { etag: '"1"' }

/** Answers a request for a range, with the fields that are set already. */
function sendRange(request: IncomingMessage, response: ServerResponse, content = LARGE) {
  const [first = 0, last = 0] = (request.headers.range?.match(/\d+/g) ?? []).map(Number)
  response.statusCode = 206
  response.setHeader('Content-Range', `bytes ${first}-${last}/${content.length}`)
  response.end(content.subarray(first, last + 1))
}

/** An agent that has stored content, of which one chunk is lost. */
async function damaged(t: TestContext, setting: Setting = {}) {
  const { content = LARGE, lost = 20, fields = ETAG, rest = sendRange } = setting
  const { url, seen } = await origin(t, (request, response) => {
    response.setHeaders(new Map(Object.entries({ 'cache-control': 'max-age=60', ...fields })))
    if (request.headers['if-range']) rest(request, response)
    else response.end(content)
  })
  const path = join(folder(), 'cache.sqlite')
  const agent = testAgent(t, { store: `sqlite://${path}`, memory: false, ...setting.options })
  const errors: string[] = []
  agent.cache.on('error', ({ operation }) => errors.push(operation))
  const request = (headers: Record<string, string> = {}) =>
    undici.request(url, { dispatcher: agent, headers })
  const read = async (headers?: Record<string, string>) => {
    const { statusCode, body } = await request(headers)
    return { status: statusCode, bytes: Buffer.from(await body.arrayBuffer()) }
  }
  await read()
  await agent.cache.responses.settled()
  if (lost !== 'none') {
    const database = new DatabaseSync(path)
    database.exec(`DELETE FROM chunks_1 WHERE key LIKE '%.${lost}'`)
    database.close()
  }
  return { agent, url, path, seen, errors, request, read }
}

suite('content that is lost in the middle', () => {
  test('is asked for anew before any of it is given, where that is little', async (t) => {
    const { errors, read, seen } = await damaged(t, { content: SHORT, lost: 3 })
    assert.ok((await read()).bytes.equals(SHORT))
    assert.deepEqual(errors, ['read'])
    assert.equal(seen.length, 2)
    assert.equal(seen[1]?.headers.range, undefined)
  })

  for (const range of ['bytes=800000-800009', 'bytes=800000-800009,0-9']) {
    test(`fails no request for a part that begins there: ${range}`, async (t) => {
      const { errors, read, seen } = await damaged(t, { content: SHORT, lost: 3 })
      assert.ok((await read({ range })).bytes.equals(SHORT))
      assert.deepEqual([errors, seen.length], [['read'], 2])
    })
  }

  const first = 20 * CHUNK_SIZE
  const DATES = {
    'cache-control': 'max-age=100000000',
    date: 'Mon, 02 Nov 2026 10:00:00 GMT',
    'last-modified': 'Mon, 02 Nov 2026 09:00:00 GMT',
  }
  // biome-ignore format: an origin a row
  const SAME: readonly [what: string, setting: Setting][] = [
    ['sends ranges', {}],
    ['sends ranges of what it has dated', { fields: DATES }],
    ['does not know ranges', { rest: (_, response) => response.end(LARGE) }],
    ['does not know ranges, and does not tell the length', { rest: (_, response) => { response.write('') ; response.end(LARGE) } }],
  ]
  for (const [what, setting] of SAME) {
    test(`comes from an origin that ${what}`, async (t) => {
      const { errors, read, seen, agent, url } = await damaged(t, setting)
      assert.ok((await read()).bytes.equals(LARGE))
      assert.deepEqual(errors, ['read'])
      const [, rest] = seen.map(({ headers }) => headers)
      assert.equal(rest?.range, `bytes=${first}-${LARGE.length - 1}`)
      assert.equal(rest?.['if-range'], setting.fields?.['last-modified'] ?? ETAG.etag)
      // It is not whole any more, so the next request asks for all of it.
      assert.equal(await agent.cache.has(url), false)
      assert.ok((await read()).bytes.equals(LARGE))
      assert.equal(seen[2]?.headers.range, undefined)
    })
  }

  // biome-ignore format: an origin a row
  const OTHER: readonly [what: string, setting: Setting, requests: number][] = [
    ['has something else by now', { rest: (_, response) => { response.setHeader('ETag', '"2"'); response.end(LARGE) } }, 2],
    ['has a range of something else', { rest: (request, response) => { response.setHeader('ETag', '"2"'); sendRange(request, response) } }, 2],
    ['encodes it otherwise', { rest: (request, response) => { response.setHeader('Content-Encoding', 'x'); sendRange(request, response) } }, 2],
    ['has more of it', { rest: (request, response) => sendRange(request, response, Buffer.concat([LARGE, SHORT])) }, 2],
    ['fails', { rest: (_, response) => { response.statusCode = 500; response.end() } }, 2],
    ['is cut off', { rest: (_, response) => { response.write(LARGE.subarray(0, 6_000_000), () => response.destroy()) } }, 2],
    ['does not tell whether it is the same', { fields: {} }, 1],
    ['tells it by weak validators', { fields: { etag: 'W/"1"' } }, 1],
  ]
  for (const [what, setting, requests] of OTHER) {
    test(`fails who has been given its beginning, where the origin ${what}`, async (t) => {
      const { read, seen, agent } = await damaged(t, setting)
      await assert.rejects(read())
      assert.equal(seen.length, requests)
      await agent.cache.responses.settled()
      assert.ok((await read()).bytes.equals(LARGE))
    })
  }

  test('fails who does not want the origin to be asked', async (t) => {
    const { read, seen } = await damaged(t)
    await assert.rejects(read({ 'cache-control': 'only-if-cached' }), /chunk/)
    assert.equal(seen.length, 1)
  })

  test('comes from the origin for those who asked for a part of it', async (t) => {
    const { read, seen } = await damaged(t)
    const { status, bytes } = await read({ range: 'bytes=1000-7000000' })
    assert.equal(status, 206)
    assert.ok(bytes.equals(LARGE.subarray(1000, 7_000_001)))
    assert.equal(seen[1]?.headers.range, `bytes=${first}-7000000`)
  })

  test('fails who has been given its beginning, where an interceptor under the cache rejects', async (t) => {
    const { url, path } = await damaged(t)
    const rejecting: undici.Dispatcher.DispatcherComposeInterceptor =
      (dispatch) => (options, handler) =>
        JSON.stringify(options.headers ?? {}).includes('if-range')
          ? (Promise.reject(new Error('rejected')) as never)
          : dispatch(options, handler)
    const cache = cacheInterceptor({ store: `sqlite://${path}`, memory: false })
    const dispatcher = new undici.Agent().compose(rejecting, cache)
    t.after(() => dispatcher.close())
    const { body } = await undici.request(url, { dispatcher })
    await assert.rejects(body.arrayBuffer(), /chunk/)
    await cache.cache.close()
  })

  test('is told to the byte where an interceptor under the cache sends the request again', async () => {
    const controller = { pause() {}, resume() {}, abort() {} } as never
    const starts = [2, 0]
    const rest = new RestHandler(
      { first: 2, last: 9 },
      () => starts.shift(),
      () => {},
    )
    for (const sent of ['23', '0123456789']) {
      rest.onRequestStart(controller)
      rest.onResponseStart(controller, 206, {})
      rest.onResponseData(controller, Buffer.from(sent))
    }
    rest.onResponseEnd()
    const read: (Buffer | null)[] = [await rest.read(), await rest.read(), await rest.read()]
    assert.deepEqual(read.map(String), ['23', '456789', 'null'])
  })

  test('is no longer asked for when the caller gives up', async (t) => {
    const closed = Promise.withResolvers<boolean>()
    const { request, seen } = await damaged(t, {
      rest: (_, response) => {
        response.on('close', () => closed.resolve(response.writableFinished))
        response.write(LARGE.subarray(0, 6_000_000))
      },
    })
    const { body } = await request()
    let received = 0
    for await (const piece of body) {
      received += piece.length
      if (received > first) break
    }
    assert.equal(await closed.promise, false)
    assert.equal(seen.length, 2)
  })

  for (const how of ['hangs', 'fails'] as const) {
    test(`is not waited for where the store ${how}`, async (t) => {
      let isWrong = false
      const map = new Map<string, unknown>()
      const get = async (key: string) => {
        if (!isWrong || !/\.2\d$/.test(key)) return map.get(key)
        if (how === 'fails') throw new Error('the store is down')
        return new Promise(() => {})
      }
      const store = adapter({ get }, map)
      const { read, seen } = await damaged(t, {
        lost: 'none',
        options: { store, deadlines: { read: 100 } },
      })
      isWrong = true
      const began = performance.now()
      assert.ok((await read()).bytes.equals(LARGE))
      assert.ok(performance.now() - began < 5000)
      assert.equal(seen.length, 2)
      // What cannot be read at the moment is not lost.
      assert.ok([...map.keys()].some((key) => key.endsWith('.20')))
    })
  }
})
