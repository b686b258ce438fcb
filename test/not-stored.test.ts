import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { editDistance, explainMissing, type Missing, NotStoredError } from '../lib/not-stored.ts'
import type { Fields, RequestMessage } from '../lib/rfc9111/message.ts'
import type { Entry } from '../lib/storage/entry.ts'

const REPLAY: Missing = { because: "mode: 'replay'" }

function asked(path: string, fields: Fields = {}): RequestMessage {
  return { method: 'GET', url: `http://a.com${path}`, fields }
}

/** Stored responses, and how many of them have been looked at. */
function storedAt(urls: Iterable<string>) {
  const stored = { looked: 0, entries }
  async function* entries() {
    for (const url of urls) {
      stored.looked += 1
      yield { method: 'GET', url }
    }
  }
  return stored
}

suite('What is said of a request that nothing answers: explainMissing', () => {
  test('which it is, what keeps it from being sent, and how to record it', async () => {
    const error = await explainMissing(asked('/a'), REPLAY, storedAt([]).entries())
    assert.ok(error instanceof NotStoredError)
    assert.ok(error instanceof Error)
    const { name, code, method, url, nearest } = error
    assert.deepEqual(
      { name, code, method, url, nearest },
      {
        name: 'NotStoredError',
        code: 'ERR_NOT_STORED',
        method: 'GET',
        url: 'http://a.com/a',
        nearest: [],
      },
    )
    assert.match(error.message, /^GET http:\/\/a\.com\/a is not stored, and mode: 'replay' lets no/)
    assert.match(error.message, /make this request once with mode: 'record'/)
    assert.doesNotMatch(error.message, /nearest/)
  })

  test('the three nearest of the same host, the nearest first', async () => {
    const stored = [
      'http://a.com/quite/another',
      'http://b.com/users/2',
      'http://a.com/users/12',
      'http://a.com/users/1?x',
      'http://a.com/users/1',
      'http://a.com:8080/users/2',
      'http://a.com/users/1',
    ]
    const error = await explainMissing(asked('/users/2'), REPLAY, storedAt(stored).entries())
    const expected = [
      'GET http://a.com/users/12',
      'GET http://a.com/users/1',
      'GET http://a.com/users/1?x',
    ]
    assert.deepEqual(error.nearest, expected)
    assert.match(
      error.message,
      /The nearest that are stored:\n {2}GET http:\/\/a\.com\/users\/12\n/,
    )
  })

  test('at most a thousand are looked at', async () => {
    const urls = Array.from({ length: 5000 }, (_, n) => `http://a.com/${n}`)
    const stored = storedAt(urls)
    const { nearest } = await explainMissing(asked('/999x'), REPLAY, stored.entries())
    assert.equal(stored.looked, 1000)
    assert.equal(nearest[0], 'GET http://a.com/999')
  })

  test('a store that cannot list what it has is no other error', async () => {
    async function* failing() {
      yield { method: 'GET', url: 'http://a.com/b' }
      throw new Error('no list')
    }
    const { nearest } = await explainMissing(asked('/a'), REPLAY, failing())
    assert.deepEqual(nearest, ['GET http://a.com/b'])
  })

  test('why those that are stored for the same URL do not do; never a credential', async () => {
    const variant = (nominated: Entry['nominated']) => ({ nominated }) as Entry
    const hash = (digit: string) => digit.repeat(64)
    const variants = [
      variant({ 'accept-language': 'de', authorization: hash('a'), 'x-key': null }),
      variant({ 'accept-language': null, ':credentials': hash('b') }),
      variant({ 'accept-language': 'x'.repeat(1000) }),
    ]
    const request = asked('/a', {
      'accept-language': 'fr',
      authorization: hash('c'),
      'x-key': hash('d'),
      ':credentials': hash('e'),
    })
    const missing = { ...REPLAY, variants }
    const stored = storedAt([request.url, 'http://a.com/b'])
    const { message, nearest } = await explainMissing(request, missing, stored.entries())
    const first = 'accept-language is "de", not "fr"; authorization differs; x-key is absent, not present.' // biome-ignore format: one line
    assert.ok(message.includes(first), message)
    assert.match(message, /accept-language is absent, not "fr"; other credentials differs\./)
    assert.doesNotMatch(message, /[a-e]{10}|x{100}/)
    assert.deepEqual(nearest, ['GET http://a.com/b'])
  })

  test('that the very request is stored, but not for these terms', async () => {
    const stored = storedAt(['http://a.com/a'])
    const { message } = await explainMissing(asked('/a'), REPLAY, stored.entries())
    assert.match(
      message,
      /^ {2}GET http:\/\/a\.com\/a \(with other content, or not for these terms: partitionBy, /m,
    )
  })

  test('that such a request is never stored, without looking for others', async () => {
    const stored = storedAt(['http://a.com/b'])
    const missing = { ...REPLAY, bypass: 'content' } as const
    const { message } = await explainMissing(asked('/a'), missing, stored.entries())
    assert.match(message, /Such a request passes the cache by \(content\): it has content that/)
    assert.match(
      message,
      /cannot be recorded\. .*urlsExpireAfter: \{ 'a\.com': \{ mode: 'default' \} \}/,
    )
    assert.equal(stored.looked, 0)
  })

  test('how to record it only where that can be', async () => {
    const rows = { method: true, 'do-not-cache': true, upgrade: false, target: false } as const
    for (const [bypass, canBe] of Object.entries(rows) as [keyof typeof rows, boolean][]) {
      const missing = { ...REPLAY, bypass }
      const { message } = await explainMissing(asked('/a'), missing, storedAt([]).entries())
      assert.equal(message.includes("with mode: 'record'"), canBe, bypass)
      assert.equal(message.includes('cannot be recorded'), !canBe, bypass)
    }
  })
})

suite('Laws of distance: editDistance', () => {
  const text = fc.string({ maxLength: 30, unit: fc.constantFrom('a', 'b', '/') })

  // biome-ignore format: one rule a row
  const rows: [a: string, b: string, distance: number][] = [
    ['', '', 0],
    ['a', '', 1],
    ['kitten', 'sitting', 3],
    ['/users/1', '/users/2', 1],
    ['/users', '/users/2', 2],
    ['/a/b', '/b', 2],
  ]
  for (const [a, b, distance] of rows) {
    test(`from ${a || 'nothing'} to ${b || 'nothing'}`, () =>
      assert.equal(editDistance(a, b), distance))
  }

  test('it is nothing where nothing differs, and only there', () => {
    fc.assert(fc.property(text, text, (a, b) => assert.equal(editDistance(a, b) === 0, a === b)))
  })

  test('it is the same both ways, and no detour is shorter', () => {
    fc.assert(
      fc.property(text, text, text, (a, b, c) => {
        assert.equal(editDistance(a, b), editDistance(b, a))
        assert.ok(editDistance(a, c) <= editDistance(a, b) + editDistance(b, c))
      }),
    )
  })

  test('long texts are compared as far as it is worth it', () => {
    const long = 'ab'.repeat(100_000)
    assert.equal(editDistance(long, `${long}c`), 1)
    assert.ok(editDistance(`c${long}`, `d${long}`) <= 200)
  })
})
