import assert from 'node:assert/strict'
import { PassThrough, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { suite, test } from 'node:test'
import type { Dispatcher } from 'undici'
import {
  effectiveMethod,
  hasContent,
  headersWith,
  type Request,
  readRequest,
} from '../lib/request.ts'

type Options = Dispatcher.DispatchOptions

function read(options: Partial<Options> & { servername?: string }): Request | undefined {
  return readRequest({ origin: 'http://a.com', path: '/', method: 'GET', ...options } as Options)
}

suite('Requests as they reach dispatch', () => {
  // biome-ignore format: one rule a row
  const urls: [rule: string, options: Partial<Options>, url: string][] = [
    ['origin and path', { path: '/a?b=c' }, 'http://a.com/a?b=c'],
    ['an origin as a URL', { origin: new URL('https://a.com:8443/ignored') }, 'https://a.com:8443/'],
    ['the default port', { origin: 'http://A.com:80' }, 'http://a.com/'],
    ['a query apart from the path', { path: '/a', query: { b: 1, c: ['d', 'e'] } }, 'http://a.com/a?b=1&c=d&c=e'],
    ['an empty query', { path: '/a', query: {} }, 'http://a.com/a'],
    ['a path with two slashes names no host', { path: '//b.com/c' }, 'http://a.com//b.com/c'],
    ['a path that contains a URL', { path: '/http://b.com/' }, 'http://a.com/http://b.com/'],
    ['an IPv6 address', { origin: 'http://[::1]:8080' }, 'http://[::1]:8080/'],
  ]
  for (const [rule, options, url] of urls) {
    test(`URL: ${rule}`, () => {
      const request = read(options)
      assert.equal(request?.url, url)
      assert.equal(request?.target.href, url)
    })
  }

  // biome-ignore format: one rule a row
  const unknown: [rule: string, options: Partial<Options>][] = [
    ['without an origin', { origin: '' }],
    ['an origin that is no URL', { origin: 'a.com' }],
    ['another scheme', { origin: 'ftp://a.com' }],
    ['a path that does not begin at the root', { path: 'a' }],
    ['the path of a whole server', { path: '*' }],
    ['a path with a fragment, which would be sent', { path: '/a#b' }],
    ['a path that a URL parser would change', { path: '/a\\b' }],
    ['a host that is none', { headers: { host: 'a b' } }],
    ['a host with user information', { headers: { host: 'a@b' } }],
    ['a host with a path', { headers: { host: 'a.com/x' } }],
    ['no method', { method: undefined as unknown as string }],
    ['a path that is a whole URL', { path: 'http://b.com/' }],
    ['field names that are none', { headers: new Map([[1, 'a']]) as unknown as Map<string, string> }],
  ]
  for (const [rule, options] of unknown) {
    test(`not for a cache: ${rule}`, () => assert.equal(read(options), undefined))
  }

  test('methods are read in capitals', () => {
    assert.equal(read({ method: 'get' as Dispatcher.HttpMethod })?.method, 'GET')
  })
})

suite('The method that a request is to be taken for', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, headers: NonNullable<Options['headers']>, method: string][] = [
    ['its own', {}, 'POST'],
    ['that of a field', { 'X-HTTP-Method-Override': 'GET' }, 'GET'],
    ['of another one', { 'X-HTTP-Method': 'GET' }, 'GET'],
    ['of a third one', ['X-Method-Override', 'GET'], 'GET'],
    ['in capitals', { 'x-http-method-override': ' get ' }, 'GET'],
    ['that of several, if they agree', { 'X-HTTP-Method': 'get', 'X-Method-Override': 'GET' }, 'GET'],
    ['none, if they do not', { 'X-HTTP-Method': 'GET', 'X-Method-Override': 'PUT' }, ''],
    ['none, if one does not with itself', { 'X-HTTP-Method': ['GET', 'PUT'] }, 'GET, PUT'],
  ]
  for (const [rule, headers, method] of rows) {
    test(rule, () => {
      const request = read({ method: 'POST', headers }) as Request
      assert.equal(effectiveMethod(request), method)
      assert.equal(request.method, 'POST')
    })
  }
})

suite('Content of a request', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, body: unknown, expected: boolean][] = [
    ['none', undefined, false],
    ['null', null, false],
    ['an empty text', '', false],
    ['a text', 'a', true],
    ['no bytes', new Uint8Array(), false],
    ['bytes', Buffer.from('a'), true],
    ['an iterable', ['a'], true],
    ['FormData', new FormData(), true],
    ['a stream that has something', Readable.from(['a']), true],
    ['a stream that has nothing', Readable.from([]), false],
    ['a stream that says nothing', new PassThrough(), true],
    ['a stream that has been destroyed', new PassThrough().destroy(), true],
  ]
  for (const [rule, body, expected] of rows) {
    test(`${rule}: ${expected}`, async () => {
      const request = read({ body } as Partial<Options>)
      assert.ok(request !== undefined)
      assert.equal(await hasContent(request.content), expected)
    })
  }

  test('a stream that has been asked still has all that it had', async () => {
    const body = new PassThrough()
    setImmediate(() => body.write('a'))
    assert.equal(await hasContent(body), true)
    assert.equal(body.listenerCount('readable'), 0)
    body.end('b')
    assert.equal(await text(body), 'ab')
  })
})

suite('Fields of a request', () => {
  const expected = { accept: 'text/html', cookie: ['a=1', 'b=2'] }
  function* pairs(): Generator<[string, string]> {
    yield ['Accept', 'text/html']
    yield ['Cookie', 'a=1']
    yield ['cookie', 'b=2']
  }

  // biome-ignore format: one rule a row
  const shapes: [name: string, headers: unknown][] = [
    ['an object', { Accept: 'text/html', Cookie: ['a=1', 'b=2'] }],
    ['an object with names in several cases', { Accept: 'text/html', Cookie: 'a=1', cookie: 'b=2' }],
    ['a flat array', ['Accept', 'text/html', 'Cookie', 'a=1', 'COOKIE', 'b=2']],
    ['a flat array with lists', ['Accept', 'text/html', 'Cookie', ['a=1', 'b=2']]],
    ['a flat array of bytes', ['Accept', 'text/html', 'Cookie', 'a=1', 'COOKIE', 'b=2'].map((text) => Buffer.from(text))],
    ['a Map', new Map<string, string | string[]>([['Accept', 'text/html'], ['Cookie', ['a=1', 'b=2']]])],
    ['any iterable of pairs', pairs()],
    ['an object with absent values', { accept: ['text/html'], cookie: ['a=1', 'b=2'], x: undefined, y: null, z: [] }],
  ]
  for (const [name, headers] of shapes) {
    test(`they are read from ${name}`, () => {
      const fields = read({ headers: headers as NonNullable<Options['headers']> })?.fields
      assert.deepEqual({ ...fields }, expected)
    })
  }

  test('they are read from Headers', () => {
    const headers = new Headers({ Accept: 'text/html', 'X-A': '1' })
    assert.deepEqual({ ...read({ headers } as Partial<Options>)?.fields }, { accept: 'text/html', 'x-a': '1' }) // biome-ignore format: one claim
  })

  test('without headers there are none', () => {
    assert.deepEqual({ ...read({})?.fields }, {})
    assert.deepEqual({ ...read({ headers: null } as Partial<Options>)?.fields }, {})
  })

  test('a number is read as text', () => {
    const headers = { 'max-forwards': 5 } as unknown as Record<string, string>
    assert.deepEqual({ ...read({ headers })?.fields }, { 'max-forwards': '5' })
  })

  test('no name comes from a prototype', () => {
    assert.equal(read({})?.fields.constructor, undefined)
  })
})

suite('RFC 9112 §3.3 The target of a request with a Host of its own', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, origin: string, host: string, servername: string | undefined, url: string, server: string | undefined][] = [
    ['the host that the origin names', 'http://a.com', 'a.com', undefined, 'http://a.com/', undefined],
    ['in another case', 'http://a.com', 'A.com', undefined, 'http://a.com/', undefined],
    ['with its port', 'http://a.com:8080', 'a.com:8080', undefined, 'http://a.com:8080/', undefined],
    ['another host', 'http://127.0.0.1:8080', 'a.com', undefined, 'http://a.com/', 'http://127.0.0.1:8080'],
    ['another host with a port', 'http://127.0.0.1:8080', 'a.com:81', undefined, 'http://a.com:81/', 'http://127.0.0.1:8080'],
    ['another address', 'http://127.0.0.1:8080', '[::1]', undefined, 'http://[::1]/', 'http://127.0.0.1:8080'],
    ['a name that has been resolved to an address', 'https://93.184.216.34', 'a.com', 'a.com', 'https://a.com/', undefined],
  ]
  for (const [rule, origin, host, servername, url, server] of rows) {
    test(rule, () => {
      const request = read({ origin, headers: { host }, ...(servername && { servername }) })
      assert.equal(request?.url, url)
      assert.equal(request?.server, server)
    })
  }
})

suite('More header fields for a dispatch', () => {
  const more = { 'if-none-match': '"1"' }

  // biome-ignore format: one rule a row
  const rows: [name: string, headers: unknown, expected: unknown][] = [
    ['an object stays an object', { Accept: 'a' }, { Accept: 'a', ...more }],
    ['a flat array stays flat', ['Accept', 'a'], ['Accept', 'a', 'if-none-match', '"1"']],
    ['lists in it stay lists', ['Cookie', ['a', 'b']], ['Cookie', ['a', 'b'], 'if-none-match', '"1"']],
    ['an iterable becomes flat', new Map([['Accept', 'a']]), ['Accept', 'a', 'if-none-match', '"1"']],
    ['none become these', undefined, ['if-none-match', '"1"']],
    ['null becomes these', null, ['if-none-match', '"1"']],
  ]
  for (const [name, headers, expected] of rows) {
    test(name, () => assert.deepEqual(headersWith(headers as Options['headers'], more), expected))
  }

  test('the headers that were given are not changed', () => {
    const [object, array] = [{ Accept: 'a' }, ['Accept', 'a']]
    headersWith(object, more)
    headersWith(array, more)
    assert.deepEqual([object, array], [{ Accept: 'a' }, ['Accept', 'a']])
  })
})
