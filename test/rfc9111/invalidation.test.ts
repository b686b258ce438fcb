import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { invalidatedUrls } from '../../lib/rfc9111/invalidation.ts'
import type { Fields } from '../../lib/rfc9111/message.ts'

const URL_OF = 'http://example.com/a/b?c'

suite('§4.4 Invalidating Stored Responses: invalidatedUrls', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, method: string, status: number, fields: Fields, urls: string[]][] = [
    ['an unsafe method invalidates its target', 'POST', 200, {}, [URL_OF]],
    ['PUT does', 'PUT', 204, {}, [URL_OF]],
    ['PATCH does', 'PATCH', 299, {}, [URL_OF]],
    ['DELETE does', 'DELETE', 200, {}, [URL_OF]],
    ['a method of unknown safety does', 'FOO', 200, {}, [URL_OF]],
    ['a redirection is no error', 'POST', 303, {}, [URL_OF]],
    ['a 399 is no error', 'POST', 399, {}, [URL_OF]],
    ['a client error invalidates nothing', 'POST', 400, {}, []],
    ['a server error invalidates nothing', 'POST', 500, { location: '/x' }, []],
    ['a 200 is no error', 'POST', 200, {}, [URL_OF]],
    ['an interim response invalidates nothing', 'POST', 103, {}, []],
    ['GET invalidates nothing', 'GET', 200, { location: '/x' }, []],
    ['HEAD invalidates nothing', 'HEAD', 200, {}, []],
    ['OPTIONS invalidates nothing', 'OPTIONS', 200, {}, []],
    ['TRACE invalidates nothing', 'TRACE', 200, {}, []],
    ['QUERY invalidates nothing', 'QUERY', 200, {}, []],
    ['PROPFIND invalidates nothing', 'PROPFIND', 207, {}, []],
    ['REPORT invalidates nothing', 'REPORT', 200, { 'content-location': '/x' }, []],
    ['SEARCH invalidates nothing', 'SEARCH', 200, {}, []],
    ['PRI invalidates nothing', 'PRI', 200, {}, []],
    ['PROPPATCH is not PROPFIND', 'PROPPATCH', 207, {}, [URL_OF]],
    ['a method is known by its case', 'get', 200, {}, [URL_OF]],
    ['an idempotent method need not be safe', 'MKCOL', 201, {}, [URL_OF]],
    ['Location is invalidated', 'POST', 201, { location: 'http://example.com/x' }, [URL_OF, 'http://example.com/x']],
    ['Content-Location is invalidated', 'POST', 200, { 'content-location': '/x' }, [URL_OF, 'http://example.com/x']],
    ['both are', 'POST', 200, { location: 'x', 'content-location': '../y' }, [URL_OF, 'http://example.com/a/x', 'http://example.com/y']],
    ['each URI once', 'POST', 200, { location: '?c', 'content-location': 'b?c' }, [URL_OF]],
    ['a fragment is no part of it', 'POST', 200, { location: '/x#y' }, [URL_OF, 'http://example.com/x']],
    ['the default port is the same origin', 'POST', 200, { location: 'HTTP://EXAMPLE.com:80/x' }, [URL_OF, 'http://example.com/x']],
    ['not of another host', 'POST', 200, { location: 'http://example.org/x' }, [URL_OF]],
    ['not of another host without a scheme', 'POST', 200, { location: '//example.org/x' }, [URL_OF]],
    ['not of another scheme', 'POST', 200, { location: 'https://example.com/x' }, [URL_OF]],
    ['not of another port', 'POST', 200, { location: 'http://example.com:8080/x' }, [URL_OF]],
    ['what is no URI does not matter', 'POST', 200, { location: 'http://[' }, [URL_OF]],
  ]
  for (const [rule, method, status, fields, urls] of rows) {
    test(rule, () => {
      assert.deepEqual(
        invalidatedUrls({ method, url: URL_OF, fields: {} }, { status, fields }),
        urls,
      )
    })
  }

  const method = fc.constantFrom(
    'GET',
    'HEAD',
    'OPTIONS',
    'PROPFIND',
    'POST',
    'PUT',
    'DELETE',
    'FOO',
  )
  const reference = fc.oneof(
    fc.webUrl({ withFragments: true, withQueryParameters: true }),
    fc.constantFrom(
      '/x',
      '../y#z',
      '?q',
      '//example.com/z',
      'http://example.com:8080/',
      'http://[',
    ),
    fc.string(),
  )
  const anyFields = fc.record(
    { location: reference, 'content-location': reference },
    { requiredKeys: [] },
  )
  const status = fc.integer({ min: 100, max: 599 })

  test('what is invalidated is of the same origin, once each, without fragments, the target first', () => {
    fc.assert(
      fc.property(method, status, anyFields, (method, status, fields) => {
        const urls = invalidatedUrls({ method, url: URL_OF, fields: {} }, { status, fields })
        if (urls.length > 0) assert.equal(urls[0], URL_OF)
        assert.equal(new Set(urls).size, urls.length)
        for (const url of urls) {
          assert.equal(new URL(url).origin, 'http://example.com')
          assert.ok(!url.includes('#'))
        }
      }),
    )
  })

  test('whether anything is does not depend on what the answer names', () => {
    fc.assert(
      fc.property(method, status, anyFields, (method, status, fields) => {
        const request = { method, url: URL_OF, fields: {} }
        const any = invalidatedUrls(request, { status, fields }).length > 0
        assert.equal(any, invalidatedUrls(request, { status, fields: {} }).length > 0)
      }),
    )
  })
})
