import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { type CachingAgent, cacheInfo } from 'caching-agent'
import * as undici from 'undici'
import { get, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

type Headers = Record<string, string>

/** A request as a program makes it with undici: without what fetch adds to conditional requests. */
async function request(agent: CachingAgent, url: string, headers: Headers = {}, method = 'GET') {
  const response = await undici.request(url, {
    dispatcher: agent,
    headers,
    method: method as 'GET',
  })
  const body = Buffer.from(await response.body.arrayBuffer())
  const { statusCode: status, headers: fields } = response
  return { status, fields, body, text: String(body), info: cacheInfo({ headers: fields }) }
}

const MODIFIED = 'Mon, 01 Jan 2024 00:00:00 GMT'

suite('RFC 9111 §4.3.2: a condition of the caller is answered from a fresh stored response', () => {
  // biome-ignore format: one rule a row
  const rows: [condition: Headers, status: number][] = [
    [{ 'if-none-match': '"v1"' }, 304],
    [{ 'if-none-match': 'W/"v1"' }, 304],
    [{ 'if-none-match': '"v0", "v1" ,"v2"' }, 304],
    [{ 'if-none-match': '*' }, 304],
    [{ 'if-none-match': '"v2"' }, 200],
    [{ 'if-modified-since': MODIFIED }, 304],
    [{ 'if-modified-since': 'Monday, 01-Jan-24 00:00:00 GMT' }, 304],
    [{ 'if-modified-since': 'Sun, 31 Dec 2023 23:59:59 GMT' }, 200],
    [{ 'if-modified-since': 'yesterday' }, 200],
    [{ 'if-none-match': '"v2"', 'if-modified-since': MODIFIED }, 200],
    [{ 'if-none-match': '"v1"', 'if-modified-since': 'Sun, 31 Dec 2023 23:59:59 GMT' }, 304],
  ]
  for (const [condition, expected] of rows) {
    test(`${JSON.stringify(condition)}: ${expected}`, async (t) => {
      const { url, seen } = await origin(t, (_, response) => {
        response.setHeader('ETag', '"v1"').setHeader('Last-Modified', MODIFIED)
        response.setHeader('Cache-Control', 'max-age=60').setHeader('X-Test', 'yes')
        response.setHeader('Content-Type', 'text/plain').end('content')
      })
      const agent = testAgent(t)
      await request(agent, url)
      for (const method of ['GET', 'HEAD']) {
        const { status, text, fields, info } = await request(agent, url, condition, method)
        assert.equal(status, expected, method)
        assert.equal(text, expected === 304 || method === 'HEAD' ? '' : 'content')
        assert.equal(info?.status, 'hit')
        assert.deepEqual([fields.etag, fields['x-test']], ['"v1"', 'yes'])
        assert.match(String(fields.age), /^[01]$/)
        assert.equal(fields['content-type'], expected === 304 ? undefined : 'text/plain')
        assert.equal(fields['content-length'], expected === 304 ? undefined : '7')
      }
      assert.equal(seen.length, 1)
    })
  }

  test('through fetch as well, where it does not ask for a new answer', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('ETag', '"v1"').setHeader('Cache-Control', 'max-age=60').end('content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    const headers = { 'if-none-match': '"v1"', 'cache-control': 'max-age=60' }
    const { status, body, info } = await get(agent, url, { headers })
    assert.deepEqual([status, body, info?.status], [304, '', 'hit'])
    assert.equal(seen.length, 1)
  })

  test('under a rule of the user too', async (t) => {
    const { url } = await origin(t, (_, response) => response.setHeader('ETag', '"v1"').end('x'))
    const agent = testAgent(t, { expireAfter: '1h' })
    await request(agent, url)
    assert.equal((await request(agent, url, { 'if-none-match': '"v1"' })).status, 304)
  })

  test('not where the stored response is no success', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.writeHead(404, { ETag: '"v1"', 'Cache-Control': 'max-age=60' }).end('not found')
    })
    const agent = testAgent(t)
    await request(agent, url)
    const { status, info } = await request(agent, url, { 'if-none-match': '"v1"' })
    assert.deepEqual([status, info?.status], [404, 'hit'])
  })
})

suite('a condition of the caller where nothing fresh is stored', () => {
  test('gets the origin’s own 304, which neither ends nor replaces what is stored', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"a"').setHeader('X-Conditional', 'yes')
      response.statusCode = request.headers['if-none-match'] === '"a"' ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : 'content')
    })
    const agent = testAgent(t)
    await get(agent, url)
    const { status, response, info } = await get(agent, url, {
      headers: { 'if-none-match': '"a"' },
    })
    assert.deepEqual([status, response.headers.get('x-conditional')], [304, 'yes'])
    assert.equal(info?.status, 'miss')
    assert.equal(seen[1]?.headers['if-none-match'], '"a"')
    const { body, info: after } = await get(agent, url)
    assert.deepEqual([body, after?.status], ['content', 'revalidated'])
  })

  test('§4.3.4: a 304 that names the stored response freshens it', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"a"').setHeader('Cache-Control', 'max-age=60')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : 'content')
    })
    const agent = testAgent(t)
    await request(agent, url)
    t.mock.timers.tick(61_000)
    assert.equal((await request(agent, url, { 'if-none-match': '"a"' })).status, 304)
    const { text, info } = await request(agent, url)
    assert.deepEqual([text, info?.status], ['content', 'hit'])
    assert.equal(seen.length, 2)
  })

  test('a 304 about another response leaves the stored one alone', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await origin(t, (request, response) => {
      const known = request.headers['if-none-match']
      response.setHeader('ETag', known === '"b"' ? '"b"' : '"a"')
      response.setHeader('Cache-Control', 'max-age=60')
      response.statusCode = known ? 304 : 200
      response.end(known ? undefined : 'content')
    })
    const agent = testAgent(t)
    await request(agent, url)
    t.mock.timers.tick(61_000)
    assert.equal((await request(agent, url, { 'if-none-match': '"b"' })).status, 304)
    assert.equal((await request(agent, url)).info?.status, 'revalidated')
  })

  test('a complete response to it is stored', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('ETag', '"new"').setHeader('Cache-Control', 'max-age=60').end('content')
    })
    const agent = testAgent(t)
    const first = await request(agent, url, { 'if-none-match': '"old"' })
    assert.deepEqual([first.status, first.info?.stored], [200, true])
    assert.equal((await request(agent, url)).info?.status, 'hit')
    assert.equal(seen.length, 1)
  })

  test('nobody else waits for its answer, which may be a 304', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"a"').setHeader('Cache-Control', 'max-age=60')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      setTimeout(() => response.end(response.statusCode === 304 ? undefined : 'content'), 50)
    })
    const agent = testAgent(t)
    const [conditional, plain] = await Promise.all([
      request(agent, url, { 'if-none-match': '"a"' }),
      request(agent, url),
    ])
    assert.deepEqual([conditional.status, plain.status, plain.text], [304, 200, 'content'])
  })

  test('If-Match and If-Unmodified-Since are for the origin alone', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      response.statusCode = request.headers['if-match'] === '"old"' ? 412 : 200
      response.setHeader('ETag', '"v1"').setHeader('Cache-Control', 'max-age=60').end('content')
    })
    const agent = testAgent(t)
    await request(agent, url)
    const { status, info } = await request(agent, url, { 'if-match': '"old"' })
    assert.deepEqual([status, info?.status, info?.reason], [412, 'bypass', 'conditional'])
    await request(agent, url, { 'if-unmodified-since': MODIFIED })
    assert.equal(seen.length, 3)
    assert.equal((await request(agent, url)).info?.status, 'hit')
  })
})

suite('RFC 9110 §14: a range is answered from a complete stored response', () => {
  const DIGITS = '0123456789'

  // biome-ignore format: one rule a row
  const rows: [range: string, content: string, contentRange: string][] = [
    ['bytes=0-1', '01', 'bytes 0-1/10'],
    ['bytes=9-9', '9', 'bytes 9-9/10'],
    ['bytes=5-', '56789', 'bytes 5-9/10'],
    ['bytes=8-99', '89', 'bytes 8-9/10'],
    ['bytes=-3', '789', 'bytes 7-9/10'],
    ['bytes=-99', DIGITS, 'bytes 0-9/10'],
    ['BYTES=0-0', '0', 'bytes 0-0/10'],
    ['bytes=0-1,1-3', '0123', 'bytes 0-3/10'],
    ['bytes=20-30, 0-0', '0', 'bytes 0-0/10'],
  ]
  for (const [range, content, contentRange] of rows) {
    test(`${range}: ${content}`, async (t) => {
      const { url, seen } = await origin(t, (_, response) => {
        response.setHeader('ETag', '"v1"').setHeader('Cache-Control', 'max-age=60').end(DIGITS)
      })
      const agent = testAgent(t)
      await request(agent, url)
      const { status, text, fields, info } = await request(agent, url, { range })
      assert.deepEqual([status, text, info?.status], [206, content, 'hit'])
      assert.equal(fields['content-range'], contentRange)
      assert.equal(fields['content-length'], String(content.length))
      assert.equal(fields.etag, '"v1"')
      assert.equal(seen.length, 1)
    })
  }

  test('through fetch as well', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60').end(DIGITS)
    })
    const agent = testAgent(t)
    await get(agent, url)
    const { status, body, info } = await get(agent, url, { headers: { range: 'bytes=2-4' } })
    assert.deepEqual([status, body, info?.status], [206, '234', 'hit'])
    assert.equal(seen.length, 1)
  })

  test('one that lies outside is refused with 416', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60').end(DIGITS)
    })
    const agent = testAgent(t)
    await request(agent, url)
    const { status, text, fields } = await request(agent, url, { range: 'bytes=10-' })
    assert.deepEqual([status, text, fields['content-range']], [416, '', 'bytes */10'])
    assert.equal(seen.length, 1)
  })

  test('several are sent as multipart/byteranges', async (t) => {
    const content = randomBytes(2000)
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60').setHeader('Content-Type', 'image/x')
      response.end(content)
    })
    const agent = testAgent(t)
    await request(agent, url)
    const { status, body, fields } = await request(agent, url, { range: 'bytes=1500-1999,0-9' })
    assert.equal(status, 206)
    assert.equal(fields['content-length'], String(body.length))
    const boundary = /^multipart\/byteranges; boundary=(\w+)$/.exec(
      String(fields['content-type']),
    )?.[1]
    const part = (first: number, last: number) =>
      Buffer.concat([
        Buffer.from(
          `--${boundary}\r\nContent-Type: image/x\r\nContent-Range: bytes ${first}-${last}/2000\r\n\r\n`,
        ),
        content.subarray(first, last + 1),
        Buffer.from('\r\n'),
      ])
    const expected = [part(1500, 1999), part(0, 9), Buffer.from(`--${boundary}--\r\n`)]
    assert.deepEqual(body, Buffer.concat(expected))
    assert.equal(seen.length, 1)
  })

  test('of large content too, wherever chunks end', async (t) => {
    const content = randomBytes(1_500_000)
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60').end(content)
    })
    const agent = testAgent(t, { store: `sqlite://${folder()}/cache.sqlite` })
    await request(agent, url)
    await agent.cache.responses.settled()
    const chunk = 256 * 1024
    for (const [first, last] of [
      [0, 0],
      [chunk - 1, chunk],
      [chunk, 2 * chunk - 1],
      [100, 1_400_000],
      [1_499_999, 1_499_999],
    ] as const) {
      const { status, body } = await request(agent, url, { range: `bytes=${first}-${last}` })
      assert.equal(status, 206)
      assert.ok(body.equals(content.subarray(first, last + 1)), `${first}-${last}`)
    }
    const { body } = await request(agent, url, { range: `bytes=0-9,${chunk - 5}-${chunk + 4},-10` })
    assert.ok(body.includes(content.subarray(chunk - 5, chunk + 5)))
    assert.equal(seen.length, 1)
  })

  // biome-ignore format: one rule a row
  const conditions: [headers: Headers, status: number, content: string][] = [
    [{ 'if-range': '"v1"' }, 206, '01'],
    [{ 'if-range': '"v2"' }, 200, DIGITS],
    [{ 'if-range': 'W/"v1"' }, 200, DIGITS],
    [{ 'if-range': MODIFIED }, 206, '01'],
    [{ 'if-range': 'Tue, 02 Jan 2024 00:00:00 GMT' }, 200, DIGITS],
    [{ 'if-none-match': '"v1"' }, 304, ''],
    [{ 'if-none-match': '"v2"' }, 206, '01'],
  ]
  for (const [headers, expected, content] of conditions) {
    test(`with ${JSON.stringify(headers)}: ${expected}`, async (t) => {
      const { url, seen } = await origin(t, (_, response) => {
        response.setHeader('ETag', '"v1"').setHeader('Last-Modified', MODIFIED)
        response.setHeader('Cache-Control', 'max-age=60').end(DIGITS)
      })
      const agent = testAgent(t)
      await request(agent, url)
      const { status, text } = await request(agent, url, { range: 'bytes=0-1', ...headers })
      assert.deepEqual([status, text], [expected, content])
      assert.equal(seen.length, 1)
    })
  }

  test('HEAD has no ranges', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60').end(DIGITS)
    })
    const agent = testAgent(t)
    await request(agent, url)
    const { status, fields, info } = await request(agent, url, { range: 'bytes=0-1' }, 'HEAD')
    assert.deepEqual([status, fields['content-length'], info?.status], [200, '10', 'hit'])
  })

  test('a stale one is validated with the range, and then answered from the store', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"v1"').setHeader('Cache-Control', 'max-age=60')
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : DIGITS)
    })
    const agent = testAgent(t)
    await request(agent, url)
    t.mock.timers.tick(61_000)
    const { status, text, info } = await request(agent, url, { range: 'bytes=3-5' })
    assert.deepEqual([status, text, info?.status], [206, '345', 'revalidated'])
    assert.equal(seen[1]?.headers.range, 'bytes=3-5')
  })
})

suite('§3.3: a range where nothing complete is stored', () => {
  /** An origin that knows ranges, and nothing else. */
  const parts: Parameters<typeof origin>[1] = (request, response, count) => {
    response.setHeader('ETag', '"v1"').setHeader('Cache-Control', 'max-age=60')
    const { range = '', 'if-none-match': known } = request.headers
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? []
    if (known === '"v1"') response.writeHead(304).end()
    else if (first === undefined || request.method === 'HEAD')
      response.setHeader('X-Count', String(count)).end('0123456789')
    else {
      response.writeHead(206, { 'Content-Range': `bytes ${first}-${last}/10` })
      response.end('0123456789'.slice(Number(first), Number(last) + 1))
    }
  }

  test('is stored as the answer to exactly this range', async (t) => {
    const { url, seen } = await origin(t, parts)
    const agent = testAgent(t)
    const range = (text: string) => request(agent, url, { range: text })
    for (const [text, content] of [
      ['bytes=0-1', '01'],
      ['bytes=2-5', '2345'],
    ] as const) {
      assert.deepEqual((await range(text)).info?.status, 'miss')
      const { status, text: body, fields, info } = await range(text)
      assert.deepEqual([status, body, info?.status], [206, content, 'hit'])
      assert.equal(fields['content-range'], `bytes ${text.slice(6)}/10`)
    }
    await agent.cache.count()
    assert.equal((await range('bytes=0-1')).info?.status, 'hit')
    // Neither a part of it, nor both together, nor more than both.
    for (const other of ['bytes=0-0', 'bytes=0-5']) {
      assert.equal((await range(other)).info?.status, 'miss')
    }
    assert.equal(seen.length, 4)
  })

  test('is never the answer to a request for the whole, nor to HEAD', async (t) => {
    const { url } = await origin(t, parts)
    const agent = testAgent(t)
    await request(agent, url, { range: 'bytes=0-1' })
    assert.equal((await request(agent, url, { range: 'bytes=0-1' }, 'HEAD')).status, 200)
    const whole = await request(agent, url)
    assert.deepEqual([whole.status, whole.text], [200, '0123456789'])
  })

  test('is validated, and invalidated with the whole', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await origin(t, parts)
    const agent = testAgent(t)
    await request(agent, url, { range: 'bytes=0-1' })
    t.mock.timers.tick(61_000)
    const { text, info } = await request(agent, url, { range: 'bytes=0-1' })
    assert.deepEqual([text, info?.status], ['01', 'revalidated'])
    assert.equal(seen[1]?.headers.range, 'bytes=0-1')
    assert.equal((await request(agent, url, { range: 'bytes=0-1' })).info?.status, 'hit')
    await request(agent, url, {}, 'POST')
    assert.equal((await request(agent, url, { range: 'bytes=0-1' })).info?.status, 'miss')
  })

  test('is not used where the caller has begun with another content', async (t) => {
    const { url, seen } = await origin(t, parts)
    const agent = testAgent(t)
    await request(agent, url, { range: 'bytes=0-1' })
    const begun = { range: 'bytes=0-1', 'if-range': '"v1"' }
    assert.equal((await request(agent, url, begun)).info?.status, 'hit')
    await request(agent, url, { ...begun, 'if-range': '"v0"' })
    assert.equal(seen.length, 2)
  })

  test('does not take the place of a complete response', async (t) => {
    const { url } = await origin(t, parts)
    const agent = testAgent(t)
    await request(agent, url)
    const fresh = { range: 'bytes=0-1', 'cache-control': 'no-cache', 'if-none-match': '"v0"' }
    const { status, info } = await request(agent, url, fresh)
    assert.deepEqual([status, info?.reason], [206, 'incomplete'])
    assert.equal((await request(agent, url)).info?.status, 'hit')
  })

  test('does not take the place of a complete response that came meanwhile', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('Cache-Control', 'public, max-age=60')
      if (!request.headers.range) return response.end('0123456789')
      const answer = () => response.writeHead(206, { 'Content-Range': 'bytes 0-1/10' }).end('01')
      return setTimeout(answer, 100)
    })
    const agent = testAgent(t)
    const part = request(agent, url, { range: 'bytes=0-1' })
    await request(agent, url)
    await part
    await agent.cache.responses.settled()
    assert.deepEqual(
      [(await request(agent, url)).info?.status, await agent.cache.count()],
      ['hit', 1],
    )
  })

  test('is not what is meant by its URL alone', async (t) => {
    const { url } = await origin(t, parts)
    const agent = testAgent(t)
    await request(agent, url, { range: 'bytes=0-1' })
    assert.equal(await agent.cache.has(url), false)
    assert.equal(await agent.cache.has(url, { headers: { range: 'bytes=0-1' } }), true)
    assert.equal(await agent.cache.delete(url), 1)
  })

  test('while it is stale, only the part is fetched in the background', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url, seen } = await origin(t, parts)
    const agent = testAgent(t, { staleWhileRevalidate: true })
    await request(agent, url, { range: 'bytes=0-1' })
    t.mock.timers.tick(61_000)
    assert.equal((await request(agent, url, { range: 'bytes=0-1' })).info?.status, 'stale')
    while (agent.cache.validations.size > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.equal(seen[1]?.headers.range, 'bytes=0-1')
    assert.equal((await request(agent, url, { range: 'bytes=0-1' })).info?.status, 'hit')
  })

  test('is not stored by a rule of the user, nor without saying which part it is', async (t) => {
    const { url } = await origin(t, (request, response, count) => {
      response
        .setHeader('Cache-Control', 'max-age=60')
        .setHeader('Content-Type', 'multipart/byteranges; boundary=x')
      if (request.url === '/rule') return parts(request, response, count)
      return response.writeHead(206).end('--x--')
    })
    const agent = testAgent(t, { urlsExpireAfter: { '*/rule': '1h' } })
    const { info } = await request(agent, `${url}/rule`, { range: 'bytes=0-1' })
    assert.equal(info?.reason, 'status')
    const other = await request(agent, `${url}/multipart`, { range: 'bytes=0-1,5-6' })
    assert.equal(other.info?.reason, 'incomplete')
  })

  test('a complete answer to it is stored', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60').end('0123456789')
    })
    const agent = testAgent(t)
    assert.equal((await request(agent, url, { range: 'bytes=0-1' })).text, '0123456789')
    assert.equal((await request(agent, url, { range: 'bytes=0-1' })).text, '01')
    assert.equal(seen.length, 1)
  })

  test('a response that is still arriving is not waited for', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('Cache-Control', 'max-age=60')
      if (request.headers.range) {
        response.writeHead(206, { 'Content-Range': 'bytes 8-9/10' }).end('89')
        return
      }
      response.write('01234')
      setTimeout(() => response.end('56789'), 300)
    })
    const agent = testAgent(t)
    const whole = request(agent, url)
    await new Promise((resolve) => setTimeout(resolve, 50))
    const before = performance.now()
    const { status, text } = await request(agent, url, { range: 'bytes=8-9' })
    assert.deepEqual([status, text], [206, '89'])
    assert.ok(performance.now() - before < 200)
    assert.equal((await whole).text, '0123456789')
  })

  // biome-ignore format: one rule a row
  const others: [what: string, range: string][] = [
    ['another unit', 'lines=0-1'],
    ['a malformed one', 'bytes=1-0'],
    ['more parts than are sensible', `bytes=${Array.from({ length: 20 }, (_, i) => `${i * 100}-${i * 100}`)}`],
  ]
  for (const [what, range] of others) {
    test(`${what} is for the origin to answer`, async (t) => {
      const { url, seen } = await origin(t, (request, response) => {
        response.setHeader('Cache-Control', 'max-age=60')
        if (request.headers.range) response.writeHead(206).end('the origin knows')
        else response.end('x'.repeat(3000))
      })
      const agent = testAgent(t)
      await request(agent, url)
      const { status, text } = await request(agent, url, { range })
      assert.deepEqual([status, text], [206, 'the origin knows'])
      assert.equal(seen[1]?.headers.range, range)
      assert.equal((await request(agent, url)).info?.status, 'hit')
    })
  }
})
