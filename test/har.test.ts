import assert from 'node:assert/strict'
import { createReadStream, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { suite, type TestContext, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { brotliCompressSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { HttpCache } from 'caching-agent'
import { readHarEntry } from '../lib/har/saved.ts'
import { get, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const SITE = 'http://site.invalid'

interface HarLike {
  readonly log: { readonly entries: readonly HarEntryLike[] }
}

interface HarEntryLike {
  readonly startedDateTime: string
  readonly time: number
  readonly request: { url: string; method: string; headers: { name: string; value: string }[] }
  readonly response: {
    status: number
    headers: { name: string; value: string }[]
    cookies: object[]
    content: { size: number; mimeType: string; text?: string; encoding?: string }
    redirectURL: string
    _error?: string
  }
}

/** Refuses what is no HAR 1.2 by its schema. */
const validate = (
  createRequire(import.meta.url)('har-validator') as { har(data: object): Promise<object> }
).har

async function exported(cache: HttpCache, options = {}): Promise<HarLike> {
  const stream = new PassThrough()
  const [json] = await Promise.all([text(stream), cache.exportHar(stream, options)])
  const har = JSON.parse(json) as HarLike
  await validate(har)
  return har
}

function cacheOf(t: TestContext, store = 'memory:'): HttpCache {
  const cache = new HttpCache({ store })
  t.after(() => cache.close())
  return cache
}

/** An entry as a browser writes it. */
function entry(
  more: { request?: object; response?: object; content?: object } & Record<string, unknown> = {},
) {
  const { request, response, content, ...rest } = more
  return {
    startedDateTime: '2026-11-22T12:00:00.000Z',
    time: 25.5,
    request: {
      method: 'GET',
      url: `${SITE}/page`,
      httpVersion: 'http/2.0',
      headers: [
        { name: ':authority', value: 'site.invalid' },
        { name: 'accept-encoding', value: 'gzip, deflate, br, zstd' },
        { name: 'cookie', value: 'session=1' },
      ],
      queryString: [],
      cookies: [],
      headersSize: -1,
      bodySize: 0,
      ...request,
    },
    response: {
      status: 200,
      statusText: '',
      httpVersion: 'http/2.0',
      headers: [
        { name: ':status', value: '200' },
        { name: 'Content-Type', value: 'text/html; charset=utf-8' },
        { name: 'content-encoding', value: 'br' },
        { name: 'content-length', value: '5' },
        { name: 'vary', value: 'Accept-Encoding, User-Agent' },
        { name: 'set-cookie', value: 'a=1\nb=2' },
        { name: 'cache-control', value: 'no-store' },
      ],
      cookies: [],
      content: { size: 7, mimeType: 'text/html', text: 'content', ...content },
      redirectURL: '',
      headersSize: -1,
      bodySize: -1,
      _transferSize: 100,
      ...response,
    },
    cache: {},
    timings: { send: 0, wait: 25.5, receive: 0 },
    _resourceType: 'document',
    comment: 'a comment',
    ...rest,
  }
}

function har(entries: unknown[]): HarLike {
  return {
    log: { version: '1.2', creator: { name: 'test', version: '1' }, pages: [], entries },
  } as never
}

suite('entries of a HAR', () => {
  const headers = (...all: [string, string][]) => all.map(([name, value]) => ({ name, value }))
  // biome-ignore format: one rule a row
  const skipped: [rule: string, entry: unknown, reason: string][] = [
    ['nothing', undefined, 'malformed'],
    ['text', 'entry', 'malformed'],
    ['no request', entry({ request: null as never }).response, 'malformed'],
    ['a URL that is none', entry({ request: { url: 'about blank' } }), 'malformed'],
    ['a data URL', entry({ request: { url: 'data:text/plain,a' } }), 'scheme'],
    ['a socket', entry({ request: { url: 'wss://site.invalid' } }), 'scheme'],
    ['no method', entry({ request: { method: 1 } }), 'malformed'],
    ['no status', entry({ response: { status: null } }), 'malformed'],
    ['half a status', entry({ response: { status: 200.5 } }), 'malformed'],
    ['the content of a request that was not saved', entry({ request: { method: 'POST', bodySize: 7 } }), 'content'],
    ['a request that may have had content', entry({ request: { method: 'POST', bodySize: -1 } }), 'content'],
    ['a form with files, of which only the names were saved', entry({ request: { postData: { mimeType: 'multipart/form-data', params: [{ name: 'a', fileName: 'b' }] } } }), 'content'],
    ['a request that failed in Chromium', entry({ response: { status: 0, _error: 'net::ERR_FAILED' } }), 'failed'],
    ['a request that failed in Safari', entry({ response: { status: -1 } }), 'failed'],
    ['a response that broke off', entry({ response: { _error: 'net::ERR_CONTENT_LENGTH_MISMATCH' } }), 'failed'],
    ['an upgrade', entry({ response: { status: 101 } }), 'failed'],
    ['content that was not saved', entry({ content: { text: undefined } }), 'content'],
    ['content that was forgotten', entry({ content: { text: '', size: 100 } }), 'content'],
    ['a confirmation without content', entry({ response: { status: 304 }, content: { text: undefined, size: 0 } }), 'content'],
  ]
  for (const [rule, given, reason] of skipped) {
    test(`not stored: ${rule}`, () => assert.equal(readHarEntry(given, false), reason))
  }

  const read = (given: object, matchFields = false) => {
    const saved = readHarEntry(given, matchFields)
    if (typeof saved === 'string') assert.fail(saved)
    return saved
  }

  test('a response as a browser saves it', () => {
    const { request, response, requestTime, responseTime } = read(entry())
    assert.deepEqual(request, { url: `${SITE}/page`, method: 'GET', headers: {} })
    assert.deepEqual(
      { ...(response.headers as object) },
      {
        'content-type': 'text/html; charset=utf-8',
        'set-cookie': ['a=1', 'b=2'],
        'cache-control': 'no-store',
      },
    )
    assert.equal(String(response.body), 'content')
    const start = Date.UTC(2026, 10, 22, 12)
    assert.deepEqual([requestTime, responseTime], [start, start + 25.5])
  })

  test('fields as they were sent: in bytes, of which browsers show what they mean', () => {
    const sent = Buffer.from('Zoë ☃').toString('latin1')
    const headers = [
      { name: 'x-shown', value: 'Zoë ☃' },
      { name: 'x-sent', value: sent },
      { name: 'x-odd', value: 'a\0b\rc' },
      { name: 'x odd', value: '' },
    ]
    const { response } = read(entry({ response: { headers, statusText: 'né ☃' } }))
    const { 'content-type': _, ...fields } = response.headers as Record<string, string>
    assert.deepEqual(fields, { 'x-shown': sent, 'x-sent': sent, 'x-odd': 'a b c' })
    assert.equal(response.statusText, Buffer.from('né ☃').toString('latin1'))
  })

  test('with the fields of the request, if they are to count', () => {
    const { request, response } = read(entry(), true)
    assert.deepEqual(
      { ...(request.headers as object) },
      {
        'accept-encoding': 'gzip, deflate, br, zstd',
        cookie: 'session=1',
      },
    )
    assert.equal((response.headers as Record<string, string>).vary?.trim(), 'User-Agent')
  })

  // biome-ignore format: one rule a row
  const contents: [rule: string, more: Parameters<typeof entry>[0], status: number, type: string | undefined, content: string][] = [
    ['base64', { content: { text: 'w6k=', encoding: 'base64' } }, 200, 'text/html; charset=utf-8', 'é'],
    ['text that was not in UTF-8', { content: { text: 'é' }, response: { headers: headers(['content-type', 'text/html;charset=ISO-8859-1']) } }, 200, 'text/html;charset=utf-8', 'é'],
    ['the type of the content where no field tells it', { response: { headers: [] } }, 200, 'text/html', 'content'],
    ['no type at all', { content: { mimeType: 'x-unknown' }, response: { headers: [] } }, 200, undefined, 'content'],
    ['none, as its length says', { content: { text: undefined, size: 0 } }, 200, 'text/html; charset=utf-8', ''],
    ['none, as its status says', { content: { text: undefined, size: -1 }, response: { status: 204, headers: [] } }, 204, 'text/html', ''],
    ['of a redirect, none', { content: { text: undefined, size: -1, mimeType: 'x-unknown' }, response: { status: 302, headers: [], redirectURL: '/there' } }, 302, undefined, ''],
    ['from the cache of the browser', { response: { status: 304, headers: [] } }, 200, 'text/html', 'content'],
    ['to HEAD, none', { request: { method: 'HEAD' }, content: { text: undefined } }, 200, 'text/html; charset=utf-8', ''],
  ]
  for (const [rule, more, status, type, content] of contents) {
    test(`content: ${rule}`, () => {
      const { content: of, response: in_, ...rest } = more ?? {}
      const { response } = read(
        entry({
          ...rest,
          response: { ...in_, content: { size: 7, mimeType: 'text/html', text: 'content', ...of } },
        }),
      )
      const fields = response.headers as Record<string, string>
      assert.deepEqual(
        [response.status, fields['content-type'], String(response.body)],
        [status, type, content],
      )
      if (status === 302) assert.equal(fields.location, '/there')
    })
  }

  test('the content of a request', () => {
    const { request } = read(
      entry({
        request: {
          method: 'post',
          headers: headers(['Content-Type', 'application/json'], ['cookie', 'a=1']),
          postData: { mimeType: 'application/json', text: '{"a":1}' },
        },
      }),
    )
    assert.deepEqual(
      [request.method, { ...(request.headers as object) }, request.body],
      ['POST', { 'content-type': 'application/json' }, '{"a":1}'],
    )
    const mimeType = 'application/x-www-form-urlencoded; charset=UTF-8'
    const params = [{ name: 'a b', value: '1&2' }, { name: 'c' }]
    const form = entry({ request: { method: 'POST', postData: { mimeType, params } } })
    assert.equal(read(form).request.body, 'a+b=1%262&c=')
  })
})

suite('importHar', () => {
  test('what a browser has saved is replayed offline, hop by hop', async (t) => {
    const cache = cacheOf(t)
    const page = (path: string, more = {}) => entry({ request: { url: SITE + path }, ...more })
    const source = har([
      page('/', {
        response: {
          status: 301,
          headers: [],
          redirectURL: `${SITE}/page`,
          content: { size: 0, mimeType: '' },
        },
      }),
      page('/page', { content: { text: 'first' } }),
      page('/page#part', { content: { text: 'last' } }),
      page('/image', {
        content: {
          text: Buffer.from([0, 255, 128]).toString('base64'),
          encoding: 'base64',
          mimeType: 'image/png',
        },
      }),
      page('/failed', { response: { status: 0 } }),
      entry({ request: { url: 'chrome-extension://abc' } }),
      entry({ request: { method: 'POST' } }),
    ])
    const skips: unknown[] = []
    const onSkip = (...skip: unknown[]) => skips.push(skip)
    const result = await cache.importHar(source, { onSkip })
    assert.deepEqual(result, { imported: 4, skipped: { failed: 1, scheme: 1, method: 1 } })
    assert.deepEqual(skips, [
      [`${SITE}/failed`, 'failed'],
      ['chrome-extension://abc', 'scheme'],
      [`${SITE}/page`, 'method'],
    ])
    const agent = testAgent(t, { cache })
    const headers = { 'cache-control': 'only-if-cached', 'user-agent': 'another', 'x-any': '1' }
    const { response, body } = await get(agent, SITE, { headers })
    assert.deepEqual([response.status, body, response.redirected], [200, 'last', true])
    assert.deepEqual(response.headers.getSetCookie(), ['a=1', 'b=2'])
    const image = await get(agent, `${SITE}/image`, { headers })
    assert.equal(image.info?.status, 'hit')
    assert.equal((await cache.get(`${SITE}/image`))?.size, 3)
    const { expires, storedAt } = (await cache.get(`${SITE}/page`)) ?? {}
    assert.deepEqual([expires, storedAt], [undefined, new Date('2026-11-22T12:00:00.025Z')])
  })

  for (const terms of [{ mode: 'offline' }, { mode: 'replay' }, { readOnly: true }] as const) {
    test(`fills the cache of an agent that does not: ${JSON.stringify(terms)}`, async (t) => {
      const agent = testAgent(t, { store: 'memory:', ...terms })
      const { cache } = agent
      assert.deepEqual(await cache.importHar(har([entry()])), { imported: 1, skipped: {} })
      await cache.save(`${SITE}/by-hand`, { body: 'by hand' })
      assert.equal((await get(agent, `${SITE}/page`)).body, 'content')
      assert.equal((await get(agent, `${SITE}/by-hand`)).body, 'by hand')
      const kept = { ...terms, readOnly: true }
      await assert.rejects(cache.save(SITE, { body: 'no' }, kept), /not be stored: read-only$/)
    })
  }

  test('what has been sent with any method can be replayed', async (t) => {
    const agent = testAgent(t, { store: 'memory:', mode: 'replay' })
    const request = {
      method: 'POST',
      headers: [{ name: 'content-type', value: 'application/json' }],
      postData: { mimeType: 'application/json', text: '{"a":1}' },
    }
    const result = await agent.cache.importHar(har([entry({ request })]))
    assert.deepEqual(result, { imported: 1, skipped: {} })
    const headers = { 'content-type': 'application/json' }
    const again = { method: 'POST', headers, body: '{ "a": 1 }' }
    assert.equal((await get(agent, `${SITE}/page`, again)).body, 'content')
  })

  test('terms say for how long, and for whom', async (t) => {
    const cache = cacheOf(t)
    const headers = [
      { name: 'Cookie', value: 'session=1' },
      { name: 'User-Agent', value: 'Firefox' },
    ]
    const source = har([entry({ request: { headers } })])
    const start = Date.parse('2026-11-22T12:00:00.000Z')
    t.mock.timers.enable({ apis: ['Date'], now: start + 1000 })
    await cache.importHar(source, {
      terms: { expireAfter: '1h', tags: () => ['imported'] },
      matchFields: true,
    })
    const [listed] = await all(cache.entries({ tag: 'imported' }))
    assert.equal(listed?.expires?.getTime(), start + 3_600_025)
    const agent = testAgent(t, { cache })
    const as = (cookie: string) => ({
      headers: { cookie, 'user-agent': 'Firefox', 'cache-control': 'only-if-cached' },
    })
    assert.equal((await get(agent, `${SITE}/page`, as('session=2'))).status, 504)
    const { vary } = (await cache.get(`${SITE}/page`)) ?? {}
    assert.deepEqual(Object.keys(vary ?? {}).sort(), ['authorization', 'cookie', 'user-agent'])
  })

  test('from a file, a stream or text, however it is cut, and with what should not be there', async (t) => {
    const entries = Array.from({ length: 50 }, (_, n) =>
      entry({ request: { url: `${SITE}/${n}` }, content: { text: `é${'"\\\n'.repeat(n)}` } }),
    )
    const json = JSON.stringify({ comment: { log: { entries: [1] } }, ...har(entries) }, null, 1)
    const path = join(folder(), 'saved.har')
    writeFileSync(path, `\uFEFF${json}`)
    const bytes = Buffer.from(json)
    const cut = function* (size: number) {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
    }
    const sources = [
      path,
      pathToFileURL(path),
      createReadStream(path),
      Readable.from([json]),
      Readable.from(cut(7)),
    ]
    for (const source of sources) {
      const cache = cacheOf(t)
      assert.equal((await cache.importHar(source)).imported, 50)
      const content = await all((await cache.get(`${SITE}/49`))?.content() ?? [])
      assert.equal(Buffer.concat(content).toString(), `é${'"\\\n'.repeat(49)}`)
    }
  })

  // biome-ignore format: one rule a row
  const broken: [rule: string, json: string, message: RegExp][] = [
    ['no JSON', '<har>', /^Error: importHar: the HAR is no JSON: /],
    ['other JSON', '{"entries":[]}', /^Error: importHar: there is no HAR, as it has no log$/],
    ['nothing', '', /^Error: importHar: there is no HAR/],
    ['what is cut off', JSON.stringify(har([entry(), entry()])).slice(0, -10), /^Error: importHar: the HAR ends too early$/],
    ['what goes on', `${JSON.stringify(har([entry()]))}]`, /^Error: importHar: the HAR is no JSON/],
  ]
  for (const [rule, json, message] of broken) {
    test(`refused: ${rule}`, async (t) => {
      await assert.rejects(cacheOf(t).importHar(Readable.from([json])), message)
    })
  }

  // biome-ignore format: one a row
  const noSources: [source: unknown, got: string][] = [
    [null, 'null'], [1, '1'], [{}, '{}'], [{ log: null }, '{ log: null }'], [{ log: {} }, '{ log: {} }'], [{ log: { entries: {} } }, '{ log: [Object] }'],
  ]
  for (const [source, got] of noSources) {
    test(`refused: ${got}`, async (t) => {
      await assert.rejects(cacheOf(t).importHar(source as never), {
        name: 'TypeError',
        message: `importHar: expected a path, a file: URL, a stream or a HAR with log.entries, got ${got}`,
      })
    })
  }

  test('an entry that says what cannot be does no harm to the others', async (t) => {
    const cache = cacheOf(t)
    const odd = [
      entry({ time: 1e300 }),
      entry({ startedDateTime: '+275760-09-13T00:00:00.000Z', time: 1000 }),
      entry({ response: { headers: [], redirectURL: '/☃\n' } }),
      entry({ response: { headers: [] }, content: { mimeType: 'text/html; charset=☃\n' } }),
    ]
    assert.deepEqual(await cache.importHar(har([...odd, entry()])), { imported: 5, skipped: {} })
  })

  test('refused: options that are malformed, and a file that is not there', async (t) => {
    const cache = cacheOf(t)
    for (const [options, message] of [
      [{ match: true }, /^TypeError: importHar: unknown option "match"/],
      [{ matchFields: 1 }, /^TypeError: matchFields: expected a boolean/],
      [{ terms: { expireAfter: 'soon' } }, /^TypeError: importHar\.terms\.expireAfter: /],
      [{ signal: {} }, /^TypeError: importHar\.signal: expected an AbortSignal, got \{\}/],
      [{ onSkip: 1 }, /^TypeError: importHar\.onSkip: expected a function, got 1/],
    ] as [object, RegExp][]) {
      await assert.rejects(cache.importHar(har([]) as never, options), message)
    }
    await assert.rejects(cache.importHar('/nonexistent.har'), /ENOENT/)
    await assert.rejects(cache.exportHar('/nonexistent/a.har'), /ENOENT/)
    await assert.rejects(
      cache.exportHar('a.har', { redact: 'no' } as never),
      /^TypeError: redact: /,
    )
    await assert.rejects(
      cache.exportHar('a.har', { signal: 1 } as never),
      /^TypeError: exportHar\.signal: expected an AbortSignal, got 1/,
    )
  })
})

async function all<T>(values: AsyncIterable<T> | Iterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const value of values) found.push(value)
  return found
}

suite('exportHar', () => {
  /** Stores a response and returns its entry. */
  async function entryOf(
    t: TestContext,
    response: Parameters<HttpCache['save']>[1],
    url = SITE,
    options = {},
  ) {
    const cache = cacheOf(t)
    await cache.save(url, response)
    const [only] = (await exported(cache, options)).log.entries
    assert.ok(only)
    return only
  }

  test('is a HAR by its schema, with all that is known', async (t) => {
    const headers = {
      'content-type': 'application/json',
      etag: '"1"',
      'set-cookie': [
        'a=secret; Path=/; HttpOnly; Expires=Wed, 21 Oct 2026 07:28:00 GMT',
        'b=2; Secure; Domain=site.invalid',
      ],
    }
    const found = await entryOf(t, { headers, body: '{"é":1}' }, `${SITE}/a?b=1&b=2`)
    const { request, response } = found
    assert.deepEqual([request.method, request.url], ['GET', `${SITE}/a?b=1&b=2`])
    assert.deepEqual(response.content, { mimeType: 'application/json', text: '{"é":1}', size: 8 })
    assert.deepEqual(response.cookies, [
      {
        name: 'a',
        value: 'REDACTED',
        path: '/',
        expires: '2026-10-21T07:28:00.000Z',
        httpOnly: true,
        secure: false,
      },
      { name: 'b', value: 'REDACTED', domain: 'site.invalid', httpOnly: false, secure: true },
    ])
    assert.ok(response.headers.some(({ name, value }) => name === 'etag' && value === '"1"'))
  })

  // biome-ignore format: one rule a row
  const contents: [rule: string, type: string, body: Buffer, coding: string | undefined, expected: object][] = [
    ['text', 'text/plain', Buffer.from('text "\u0000\u2028'), undefined, { text: 'text "\u0000\u2028', size: 10 }],
    ['gzip', 'text/plain', gzipSync('text'), 'gzip', { text: 'text', size: 4 }],
    ['brotli', 'text/css', brotliCompressSync('text'), 'br', { text: 'text', size: 4 }],
    ['deflate', 'image/svg+xml', deflateSync('text'), 'deflate', { text: 'text', size: 4 }],
    ['zstd', 'application/ld+json', zstdCompressSync('text'), 'zstd', { text: 'text', size: 4 }],
    ['several codings', 'text/plain', brotliCompressSync(gzipSync('text')), 'gzip, br', { text: 'text', size: 4 }],
    ['an image', 'image/png', Buffer.from([137, 80, 78, 71]), undefined, { encoding: 'base64', text: 'iVBORw==', size: 4 }],
    ['text that is not in UTF-8', 'text/plain', Buffer.from([0xe9]), undefined, { encoding: 'base64', text: '6Q==', size: 1 }],
    ['text in another charset', 'text/plain; charset=utf-16', Buffer.from('ab'), undefined, { encoding: 'base64', text: 'YWI=', size: 2 }],
    ['none', 'text/plain', Buffer.alloc(0), 'gzip', { text: '', size: 0 }],
  ]
  for (const [rule, type, body, coding, expected] of contents) {
    test(`content: ${rule}`, async (t) => {
      const headers = { 'content-type': type, ...(coding && { 'content-encoding': coding }) }
      const { response } = await entryOf(t, { headers, body })
      assert.deepEqual(response.content, { mimeType: type, ...expected })
      assert.equal(response._error, undefined)
    })
  }

  test('content that cannot be decoded is left out, and told', async (t) => {
    const cache = cacheOf(t)
    await cache.save(`${SITE}/unknown`, { headers: { 'content-encoding': 'rot13' }, body: 'grkg' })
    await cache.save(`${SITE}/broken`, { headers: { 'content-encoding': 'gzip' }, body: 'no gzip' })
    const half = gzipSync(Buffer.alloc(5_000_000, 'x'), { level: 0 }).subarray(0, 3_000_000)
    await cache.save(`${SITE}/half`, { headers: { 'content-encoding': 'gzip' }, body: half })
    const stream = new PassThrough()
    const [json, result] = await Promise.all([text(stream), cache.exportHar(stream)])
    assert.deepEqual(result, { exported: 3, withoutContent: 3 })
    const copy = JSON.parse(json) as HarLike
    await validate(copy)
    assert.ok(
      copy.log.entries.every(({ response }) => response._error && response.content.size === -1),
    )
    assert.deepEqual(await cacheOf(t).importHar(copy), { imported: 0, skipped: { failed: 3 } })
  })

  test('secrets are left out, unless they are wanted', async (t) => {
    const headers = {
      'set-cookie': ['session=abcdef; Path=/', 'abcdef; Path=/'],
      'x-auth-token': 'abcdef',
      'content-location': 'https://abcdef@site.invalid/#access_token=abcdef',
      link: '</?page=1&access%5Ftoken=abcdef>; rel="next"',
      vary: 'x-api-key, referer',
      location: '/next?access_token=abcdef&page=2',
      'x-other': 'seen',
    }
    const agent = testAgent(t, { secretParameters: [] })
    const { cache } = agent
    const request = {
      url: `${SITE}/?access_token=abcdef&page=1`,
      headers: { 'x-api-key': 'ghijkl', referer: `${SITE}/?token=abcdef` },
    }
    await cache.save(request, { status: 302, headers })
    const shown = JSON.stringify(await exported(cache))
    assert.ok(!/abcdef|ghijkl/.test(shown), shown)
    for (const kept of ['page=1', 'page=2', 'seen', 'session=REDACTED', 'access_token=REDACTED']) {
      assert.ok(shown.includes(kept), kept)
    }
    assert.ok(JSON.stringify(await exported(cache, { redact: false })).includes('session=abcdef'))
  })

  test('what is imported again is what was exported', async (t) => {
    const { url } = await origin(t, (request, response) => {
      response.setHeader('Cache-Control', 'max-age=60').setHeader('Content-Type', 'text/plain')
      if (request.url === '/gzip')
        response.setHeader('Content-Encoding', 'gzip').end(gzipSync('zipped'))
      else if (request.url === '/large') response.end(Buffer.alloc(3_000_001, 'x'))
      else if (request.url === '/moved') response.writeHead(301, { Location: '/gzip' }).end()
      else response.end(Buffer.from([0, 1, 2, 255]))
    })
    const agent = testAgent(t)
    const paths = ['/gzip', '/large', '/moved', '/bytes']
    for (const path of paths) await get(agent, url + path)
    const path = join(folder(), 'exported.har')
    assert.deepEqual(await agent.cache.exportHar(path), { exported: 4, withoutContent: 0 })
    assert.equal(statSync(path).mode & 0o077, 0)
    await validate(JSON.parse(readFileSync(path, 'utf8')))

    const offline = testAgent(t)
    assert.deepEqual(await offline.cache.importHar(path), { imported: 4, skipped: {} })
    for (const path of paths) {
      const headers = { 'cache-control': 'only-if-cached' }
      const [before, after] = [
        await get(agent, url + path),
        await get(offline, url + path, { headers }),
      ]
      assert.deepEqual([after.status, after.body], [before.status, before.body], path)
    }
  })

  test('answers to content that is not in it are not imported as answers to none', async (t) => {
    const cache = cacheOf(t)
    const terms = { allowedMethods: ['GET', 'POST'] }
    for (const body of ['one', 'two', undefined]) {
      await cache.save({ url: SITE, method: 'POST', body }, { body: `to ${body}` }, terms)
    }
    await cache.save(SITE, { body: 'to GET' })
    const result = await cacheOf(t).importHar(await exported(cache), { terms })
    assert.deepEqual(result, { imported: 1, skipped: { content: 3 } })
  })

  test('of some responses, in their order', async (t) => {
    const cache = cacheOf(t, 'sqlite://:memory:')
    for (const n of [1, 2, 3]) await cache.save(`${SITE}/${n}`, { body: 'x'.repeat(n) })
    const filter = { largerThan: 1, sort: 'size', descending: true }
    const urls = (await exported(cache, { filter })).log.entries.map(({ request }) => request.url)
    assert.deepEqual(urls, [`${SITE}/3`, `${SITE}/2`])
  })

  test('that is given up leaves nothing behind', async (t) => {
    const inside = folder()
    const cache = cacheOf(t)
    await cache.save(SITE, { body: 'content' })
    const signal = AbortSignal.abort(new Error('on purpose'))
    await assert.rejects(cache.exportHar(join(inside, 'a.har'), { signal }))
    assert.deepEqual(readdirSync(inside), [])
  })

  test('neither way holds more than a little of it in memory', async (t) => {
    const cache = cacheOf(t, `sqlite://${join(folder(), 'cache.sqlite')}`)
    const piece = Buffer.alloc(100_000, 'x')
    const content = function* () {
      for (let n = 0; n < 300; n++) yield piece
    }
    const headers = { 'content-type': 'application/octet-stream' }
    for (const n of [1, 2]) await cache.save(`${SITE}/${n}`, { headers, body: content() })
    let [longest, length] = [0, 0]
    const { harText } = await import('../lib/har/write.ts')
    const entries = (async function* () {
      for (const n of [1, 2])
        yield (await cache.responses.all((await cache.get(`${SITE}/${n}`))?.key ?? ''))[0] as never
    })()
    for await (const text of harText(entries, true, () => {})) {
      longest = Math.max(longest, text.length)
      length += text.length
    }
    assert.ok(length > 80_000_000 && longest < 2_000_000, `${longest} of ${length}`)
  })
})
