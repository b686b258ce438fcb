import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import {
  type CacheError,
  disabled,
  HttpCache,
  type KeyvAdapterLike,
  NEVER_EXPIRE,
} from 'caching-agent'
import { Keyv } from 'keyv'
import * as undici from 'undici'
import { adapter } from './helpers/adapter.ts'
import { clients, get, outcomes, testAgent } from './helpers/agent.ts'
import { origin } from './helpers/origin.ts'

function throws(): never {
  throw new Error('the store throws')
}

const rejects = async () => throws()
const hangs = () => new Promise(() => {})

suite('a store that fails never fails a request', () => {
  const broken: [string, () => KeyvAdapterLike][] = [
    ['throws on get', () => adapter({ get: throws })],
    ['rejects on get', () => adapter({ get: rejects })],
    ['rejects on set', () => adapter({ set: rejects })],
    ['throws on set', () => adapter({ set: throws })],
    ['says false on set', () => adapter({ set: async () => false })],
    ['rejects on everything', () => adapter({ get: rejects, set: rejects, delete: rejects })],
    ['returns garbage', () => adapter({ get: async () => 'garbage' })],
    ['returns other types', () => adapter({ get: async () => ({ value: 42 }) })],
    [
      'returns bytes of something else',
      () => adapter({ get: async () => JSON.stringify({ value: 'AAAA' }) }),
    ],
  ]
  for (const [what, store] of broken) {
    test(`one that ${what}`, async (t) => {
      const { url, seen } = await origin(t, (_, response) => response.end('content'))
      const agent = testAgent(t, { expireAfter: '1h', store: store(), memory: false })
      const errors: CacheError[] = []
      agent.cache.on('error', (error) => errors.push(error))
      for (const client of Object.values(clients)) {
        const { status, body } = await client(agent, url)
        assert.deepEqual([status, body], [200, 'content'])
        await agent.cache.responses.settled()
      }
      assert.equal(seen.length, 5)
      await delay(5)
      assert.ok(errors.length > 0, 'nobody was told')
      assert.ok(errors.every(({ error }) => error instanceof Error))
    })
  }

  for (const has of [async () => false, rejects, () => undefined]) {
    test(`one that cannot be asked what it has is read: ${has}`, async (t) => {
      const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(1_000_000, 'x')))
      const store = new Keyv({ store: Object.assign(adapter(), { has }) })
      const agent = testAgent(t, { expireAfter: '1h', store, memory: false })
      assert.equal((await get(agent, url)).info?.status, 'miss')
      await agent.cache.responses.settled()
      assert.equal((await get(agent, url)).info?.status, 'hit')
    })
  }

  test('one that hangs delays requests by its deadline once, and is left alone then', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h', store: adapter({ get: hangs, set: hangs }) })
    const errors: CacheError[] = []
    agent.cache.on('error', (error) => errors.push(error))
    const start = performance.now()
    assert.equal((await get(agent, url)).body, 'content')
    assert.ok(performance.now() - start < 1500)
    const next = performance.now()
    for (let index = 0; index < 5; index++) await get(agent, `${url}/${index}`)
    assert.ok(performance.now() - next < 1500)
    assert.match(errors[0]?.error.message ?? '', /did not read within 500 ms/)
  })

  test('one that hangs when the first secret is kept in it delays the request by no more than another one', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h', store: adapter({ set: hangs }) })
    const start = performance.now()
    assert.equal((await get(agent, url, { headers: { authorization: 'me' } })).body, 'content')
    assert.ok(performance.now() - start < 1500)
  })

  test('one that takes longer to keep the secret than a request waits is used all the same', async (t) => {
    const { url, seen } = await origin(t, (_, response) => response.end('content'))
    const map = new Map<string, unknown>()
    const set = async (key: string, value: unknown) => {
      await delay(300)
      map.set(key, value)
      return true
    }
    const store = adapter({ set }, map)
    const agent = testAgent(t, {
      expireAfter: '1h',
      memory: false,
      store,
      deadlines: { read: 100 },
    })
    const ask = () => get(agent, url, { headers: { authorization: 'me' } })
    await ask()
    while (![...map.keys()].some((key) => key.endsWith('secret'))) await delay(10)
    await ask()
    await agent.cache.responses.settled()
    assert.equal((await ask()).info?.status, 'hit')
    assert.equal(seen.length, 2)
  })

  for (const [what, set] of [
    ['fails', rejects],
    ['hangs', hangs],
  ] as const) {
    test(`one that ${what} only when it is written to is still read`, async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const map = new Map<string, unknown>()
      const first = testAgent(t, { expireAfter: '1h', store: adapter({}, map) })
      await get(first, url)
      await first.cache.responses.settled()
      const agent = testAgent(t, {
        ...{ expireAfter: '1h', memory: false, store: adapter({ set }, map) },
        deadlines: { write: 50 },
      })
      for (let index = 0; index < 10; index++) await get(agent, `${url}/${index}`)
      await agent.cache.responses.settled()
      assert.equal((await get(agent, url)).info?.status, 'hit')
    })
  }

  test('one that is slow is waited for as long as deadlines say', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const map = new Map<string, unknown>()
    const store = adapter({ get: (key: string) => delay(150, map.get(key)) }, map)
    const first = testAgent(t, { expireAfter: '1h', store })
    await get(first, url)
    await first.cache.responses.settled()
    for (const [read, status] of [
      ['1s', 'hit'],
      [50, 'miss'],
    ] as const) {
      const agent = testAgent(t, { expireAfter: '1h', store, deadlines: { read } })
      const before = performance.now()
      assert.equal((await get(agent, url)).info?.status, status)
      assert.ok(performance.now() - before < 600)
    }
  })

  test('one that answers each time just before the deadline delays no request by much more than it', async (t) => {
    const { url, seen } = await origin(t, (_, response) => {
      response.setHeader('Vary', 'Accept-Language').end(Buffer.alloc(1_000_000, 'x'))
    })
    const map = new Map<string, unknown>()
    let latency = 0
    const store = adapter(
      { get: async (key: string) => delay(latency).then(() => map.get(key)) },
      map,
    )
    const open = () => {
      const options = { expireAfter: '1h', store, memory: false, deadlines: { read: 300 } } as const
      const agent = testAgent(t, options)
      const errors: string[] = []
      agent.cache.on('error', ({ error }) => errors.push(error.message))
      return { agent, errors }
    }
    const ask = async ({ agent }: ReturnType<typeof open>) => {
      const start = performance.now()
      const headers = { authorization: 'me', 'accept-language': 'de' }
      const { body, info } = await get(agent, url, { headers })
      assert.equal(body.length, 1_000_000)
      return { status: info?.status, took: performance.now() - start }
    }
    const first = open()
    await ask(first)
    await first.agent.cache.responses.settled()
    // The secret, where the variants are, the variant, and its first chunk: 1,100 ms.
    latency = 275
    const later = open()
    const { status, took } = await ask(later)
    assert.equal(status, 'miss')
    assert.ok(took < 900, `${took} ms`)
    while (later.errors.length === 0) await delay(10)
    assert.deepEqual(later.errors, [
      'the store took longer than 300 ms for all that a request asks it',
    ])
    await later.agent.cache.responses.settled()
    latency = 0
    assert.equal((await ask(later)).status, 'hit')
    assert.equal(seen.length, 2)
  })

  test('a function of the user’s that takes long is no slow store', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, {
      ...{ expireAfter: '1h', store: adapter(), deadlines: { read: 50 } },
      filter: async () => delay(300, true),
      cacheKey: async (_, key) => delay(300, key),
    })
    await get(agent, url)
    await delay(400)
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('one that is slow in the middle of a hit is waited for', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(1_000_000, 'x')))
    const map = new Map<string, unknown>()
    let isSlow = false
    const store = adapter({
      get: async (key: string) => {
        if (isSlow && key.endsWith('.2')) await delay(700)
        return map.get(key)
      },
      set: async (key: string, value: unknown) => map.set(key, value) && true,
    })
    const agent = testAgent(t, { expireAfter: '1h', store })
    await get(agent, url)
    await agent.cache.responses.settled()
    isSlow = true
    const { body, info } = await get(agent, url)
    assert.deepEqual([body.length, info?.status], [1_000_000, 'hit'])
  })

  for (const [time, reads] of [
    [400, 1],
    [700, 2],
  ] as const) {
    test(`one that takes ${time} ms for more than the beginning of a hit holds up none of it that is there`, async (t) => {
      const content = randomBytes(1_000_000)
      const { url, seen } = await origin(t, (_, response) => response.end(content))
      const map = new Map<string, unknown>()
      let slow = 0
      const get = async (key: string) => {
        if (key.endsWith('.1')) {
          slow += 1
          await delay(time)
        }
        return map.get(key)
      }
      const set = async (key: string, value: unknown) => map.set(key, value) && true
      const store = { ...adapter({ get, set }), has: async (key: string) => map.has(key) }
      const agent = testAgent(t, { expireAfter: '1h', store, memory: false })
      const ask = () => undici.request(url, { dispatcher: agent })
      await (await ask()).body.arrayBuffer()
      await agent.cache.responses.settled()
      assert.equal(slow, 0)
      const { body } = await ask()
      assert.ok(content.equals(Buffer.from(await body.arrayBuffer())))
      assert.deepEqual([seen.length, slow], [1, reads])
    })
  }

  test('one that fails while a response is received fails none of those who read it', async (t) => {
    const content = randomBytes(3_000_000)
    const { url, seen } = await origin(t, async (_, response) => {
      for (let start = 0; start < content.length; start += 500_000) {
        response.write(content.subarray(start, start + 500_000))
        await delay(50)
      }
      response.end()
    })
    let isDown = false
    const map = new Map<string, unknown>()
    const agent = testAgent(t, {
      ...{ expireAfter: '1h', memory: false },
      store: adapter(
        {
          get: async (key: string) => (isDown ? throws() : map.get(key)),
          set: async (key: string, value: unknown) =>
            isDown ? throws() : map.set(key, value) && true,
        },
        map,
      ),
    })
    const responses = [await undici.request(url, { dispatcher: agent })]
    for (let number = 0; number < 2; number++) {
      responses.push(await undici.request(url, { dispatcher: agent }))
    }
    while (map.size < 3) await delay(5)
    isDown = true
    for (const { body } of responses) {
      assert.ok(content.equals(Buffer.from(await body.arrayBuffer())))
    }
    assert.equal(seen.length, 1)
  })

  test('one that hangs when something is deleted holds up nobody', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const agent = testAgent(t, { expireAfter: '1h', store: adapter({ delete: hangs }) })
    await get(agent, url)
    await get(agent, url, { method: 'POST' })
    const start = performance.now()
    assert.equal((await get(agent, url)).info?.status, 'miss')
    assert.ok(performance.now() - start < 2000)
  })

  test('management is not held up by traffic', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const map = new Map<string, unknown>()
    const store = adapter({
      get: async (key: string) => map.get(key),
      set: async (key: string, value: unknown) => {
        await delay(20)
        map.set(key, value)
        return true
      },
    })
    const agent = testAgent(t, { expireAfter: '1h', store })
    let isBusy = true
    const first = Array.from({ length: 8 }, (_, client) => get(agent, `${url}/${client}/0`))
    const traffic = first.map(async (response, client) => {
      await response
      for (let index = 1; isBusy; index++) await get(agent, `${url}/${client}/${index}`)
    })
    await Promise.all(first)
    await delay(50)
    const start = performance.now()
    assert.equal(await agent.cache.has(`${url}/0/0`), true)
    assert.ok(performance.now() - start < 3000)
    isBusy = false
    await Promise.all(traffic)
  })

  test('a store that is well again is used again', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const { url } = await origin(t, (_, response) => response.end('content'))
    let isDown = true
    const map = new Map<string, unknown>()
    const store = adapter({
      get: async (key: string) => (isDown ? throws() : map.get(key)),
      set: async (key: string, value: unknown) => (isDown ? throws() : map.set(key, value) && true),
    })
    const agent = testAgent(t, { expireAfter: '1h', store })
    for (let index = 0; index < 10; index++) await get(agent, `${url}/${index}`)
    isDown = false
    t.mock.timers.tick(11_000)
    await get(agent, url)
    assert.equal(await agent.cache.has(url), true)
  })

  test('what fails together counts once: a lock of a moment is no reason to leave a store alone', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const map = new Map<string, unknown>()
    let isLocked = false
    const fetch = async (key: string) => {
      await delay(20)
      return isLocked ? throws() : map.get(key)
    }
    const agent = testAgent(t, {
      ...{ expireAfter: '1h', memory: false, store: adapter({ get: fetch }, map) },
    })
    await get(agent, url)
    await agent.cache.responses.settled()
    isLocked = true
    const asked = Array.from({ length: 8 }, (_, number) => get(agent, `${url}/${number}`))
    await Promise.all(asked)
    isLocked = false
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('a clock that is put back does not keep a store from being used again', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 1_800_000_000_000 })
    const { url } = await origin(t, (_, response) => response.end('content'))
    const map = new Map<string, unknown>()
    let isDown = true
    const fetch = async (key: string) => (isDown ? throws() : map.get(key))
    const agent = testAgent(t, {
      ...{ expireAfter: NEVER_EXPIRE, memory: false, store: adapter({ get: fetch }, map) },
    })
    for (let index = 0; index < 6; index++) await get(agent, url)
    await agent.cache.responses.settled()
    isDown = false
    t.mock.timers.setTime(1_800_000_000_000 - 3_600_000)
    await get(agent, url)
    await agent.cache.responses.settled()
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('an error that nobody listens to is no crash, nor is a Keyv that loses its connection', async (t) => {
    const { url } = await origin(t, (_, response) => response.end('content'))
    const keyv = new Keyv()
    const agent = testAgent(t, { expireAfter: '1h', store: keyv })
    keyv.emit('error', new Error('connection lost'))
    await delay(5)
    const errors: CacheError[] = []
    agent.cache.on('error', (error) => errors.push(error))
    keyv.emit('error', 'connection lost again')
    await delay(5)
    assert.deepEqual(
      errors.map(({ error }) => error.message),
      ['connection lost again'],
    )
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
  })

  test('whatever is told as an error is no crash', async (t) => {
    const keyv = new Keyv()
    const agent = testAgent(t, { store: keyv })
    const messages: string[] = []
    agent.cache.on('error', ({ error }) => messages.push(error.message))
    for (const error of ['text', undefined, Object.create(null)]) keyv.emit('error', error)
    await delay(5)
    assert.deepEqual(messages, ['text', 'undefined', 'a thrown object'])
  })

  test('a response that is validated while a slow store still writes it is stored all the same', async (t) => {
    const { url, seen } = await origin(t, (request, response) => {
      response.setHeader('ETag', '"a"')
      response.setHeader('X-Count', String(seen.length))
      response.statusCode = request.headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : 'x'.repeat(100_000))
    })
    const map = new Map<string, unknown>()
    const store = adapter({
      get: async (key: string) => map.get(key),
      set: async (key: string, value: unknown) => {
        await delay(100)
        map.set(key, value)
        return true
      },
    })
    const agent = testAgent(t, { expireAfter: 0, store })
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'revalidated'])
    const stored = await agent.cache.get(url)
    assert.deepEqual([stored?.size, stored?.headers['x-count']], [100_000, '2'])
    assert.equal((await get(agent, url)).body.length, 100_000)
  })

  test('a store that refuses chunks keeps nothing of a large response', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(2_000_000, 'x')))
    const map = new Map<string, unknown>()
    let writes = 0
    const store = adapter({
      get: async (key: string) => map.get(key),
      set: async (key: string, value: unknown) => {
        writes += 1
        if (writes === 3) throws()
        map.set(key, value)
        return true
      },
      delete: async (key: string) => map.delete(key),
    })
    const agent = testAgent(t, { expireAfter: '1h', store })
    assert.equal((await get(agent, url)).body.length, 2_000_000)
    await agent.cache.responses.settled()
    await delay(20)
    assert.equal(map.size, 0)
  })

  test('a store that is slower than the network is given up, and slows nobody', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(30_000_000, 'x')))
    const store = adapter({
      set: async () => {
        await delay(400)
        return true
      },
    })
    const agent = testAgent(t, { expireAfter: '1h', store })
    const errors: CacheError[] = []
    agent.cache.on('error', (error) => errors.push(error))
    const start = performance.now()
    assert.equal((await get(agent, url)).body.length, 30_000_000)
    assert.ok(performance.now() - start < 3000)
    await agent.cache.responses.settled()
    await delay(5)
    assert.match(errors.map(({ error }) => error.message).join(), /slower than the network/)
    assert.equal((await get(agent, url)).info?.status, 'miss')
    // What waits to be written in vain is waited for by nobody.
    await agent.close()
    assert.ok(performance.now() - start < 5000)
  })
})

suite('what is invalidated or replaced while a store fails is not used any more, however long it does', () => {
  /** A store that refuses changes while its disk is full. */
  function diskOf() {
    const map = new Map<string, unknown>()
    const refused = <T>(change: () => T) => {
      if (disk.isFull) throw new Error('the disk is full')
      return change()
    }
    const store = adapter(
      {
        set: async (key: string, value: unknown) => refused(() => map.set(key, value) && true),
        delete: async (key: string) => refused(() => map.delete(key)),
      },
      map,
    )
    const disk = { store, isFull: false }
    return disk
  }

  /** An origin with a resource that changes, and an agent whose store can be read only, until it is told to. */
  async function readOnlyForNow(t: TestContext, memory: false | undefined) {
    let version = 1
    const { url } = await origin(t, ({ method }, response) => {
      if (method === 'POST') version += 1
      response.setHeader('Cache-Control', 'max-age=3600').setHeader('ETag', `"${version}"`)
      response.end(`version ${version}`)
    })
    const disk = diskOf()
    const agent = testAgent(t, { store: disk.store, ...(memory === false && { memory }) })
    await get(agent, url)
    await agent.cache.responses.settled()
    disk.isFull = true
    return {
      url,
      agent,
      change: () => get(agent, url, { method: 'POST', body: '' }),
      body: async () => (await get(agent, url)).body,
      recover: async () => {
        await agent.cache.responses.settled()
        disk.isFull = false
      },
    }
  }
  type Place = Awaited<ReturnType<typeof readOnlyForNow>>
  // biome-ignore format: one way a row
  const ways: [what: string, happens: (place: Place) => unknown][] = [
    ['the resource is changed', ({ change }) => change()],
    ['another answer comes', async ({ url, agent, change }) => {
      await disabled(change)
      await get(agent, url, { headers: { 'cache-control': 'no-cache' } })
    }],
  ]
  for (const [what, happens] of ways) {
    for (const memory of [undefined, false] as const) {
      const where = memory === false ? ', without a memory tier' : ''
      test(`${what}${where}`, async (t) => {
        const place = await readOnlyForNow(t, memory)
        assert.equal(await place.body(), 'version 1')
        await happens(place)
        await place.recover()
        for (let time = 0; time < 3; time++) assert.equal(await place.body(), 'version 2')
      })
    }
  }

  test('and is removed as soon as the store works again', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const place = await readOnlyForNow(t, undefined)
    await place.change()
    await place.recover()
    t.mock.timers.tick(20_000)
    const { cache } = place.agent
    const only = (headers: Record<string, string> = {}) =>
      get(place.agent, place.url, { headers: { 'cache-control': 'only-if-cached', ...headers } })
    assert.equal((await only()).status, 504)
    await cache.responses.settled()
    assert.equal(await cache.has(place.url), false)
    assert.equal(await place.body(), 'version 2')
    await cache.responses.settled()
    assert.equal((await only()).body, 'version 2')
  })

  test('but what was to be replaced by the same is', async (t) => {
    const { url } = await origin(t, (_, response) => {
      response.setHeader('Cache-Control', 'max-age=60').setHeader('ETag', '"1"').end('content')
    })
    const disk = diskOf()
    const agent = testAgent(t, { store: disk.store })
    await get(agent, url)
    await agent.cache.responses.settled()
    disk.isFull = true
    for (let time = 0; time < 10; time++) {
      await get(agent, url, { headers: { 'cache-control': 'no-cache' } })
      await agent.cache.responses.settled()
    }
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('but what other variants are stored is', async (t) => {
    let answers = 0
    const { url } = await origin(t, ({ headers }, response) => {
      response.setHeader('Vary', 'Accept-Language').setHeader('Cache-Control', 'max-age=60')
      response.setHeader('Last-Modified', new Date(Date.UTC(2026, 1, ++answers)).toUTCString())
      response.end(String(headers['accept-language']))
    })
    const disk = diskOf()
    const agent = testAgent(t, { store: disk.store })
    const ask = (language: string, more = {}) =>
      get(agent, url, { headers: { 'accept-language': language, ...more } })
    for (const language of ['de', 'fr']) {
      await ask(language)
      await agent.cache.responses.settled()
    }
    disk.isFull = true
    await ask('de', { 'cache-control': 'no-cache' })
    await agent.cache.responses.settled()
    disk.isFull = false
    assert.equal((await ask('fr')).info?.status, 'hit')
    assert.equal((await ask('de')).info?.status, 'miss')
  })
})

suite('a store that is slower than the network', () => {
  test('is not given more short responses than memory has room for', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(60_000, 'x')))
    const opened = Promise.withResolvers<true>()
    let written = 0
    const store = adapter({
      set: () => {
        written += 1
        return opened.promise
      },
    })
    const agent = testAgent(t, { expireAfter: '1h', store, deadlines: { write: '1h' } })
    const messages = new Set<string>()
    agent.cache.on('error', ({ error }) => messages.add(error.message))
    for (let number = 0; number < 600; number++) await get(agent, `${url}/${number}`)
    await delay(5)
    assert.deepEqual([...messages], ['the store is slower than the network'])
    opened.resolve(true)
    await agent.cache.responses.settled()
    assert.ok(written > 500 && written < 560, `${written} were waiting`)
    const before = written
    await get(agent, `${url}/again`)
    await agent.cache.responses.settled()
    assert.equal(written, before + 1, 'there is room again')
  })

  test('is given what waits for its turn with all of the time that a write may take', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(1_000_000, 'x')))
    const map = new Map<string, unknown>()
    let underWay = 0
    let most = 0
    const set = async (key: string, value: string) => {
      underWay += value.length
      most = Math.max(most, underWay)
      await delay(300)
      underWay -= value.length
      map.set(key, value)
      return true
    }
    const store = adapter({ set }, map)
    const deadlines = { write: 500 }
    const agent = testAgent(t, { expireAfter: '1h', store, memory: false, deadlines })
    const errors: CacheError[] = []
    agent.cache.on('error', (error) => errors.push(error))
    await get(agent, url)
    await agent.cache.responses.settled()
    assert.equal((await get(agent, url)).info?.status, 'hit')
    assert.deepEqual(errors, [])
    assert.ok(most < 1_000_000, `${most} bytes were being written at a time`)
  })

  test('is given nothing that has waited for its turn for too long', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(5_000_000, 'x')))
    let isSlow = true
    const map = new Map<string, unknown>()
    const set = async (key: string, value: unknown) => {
      if (isSlow) await delay(300)
      map.set(key, value)
      return true
    }
    const store = adapter({ set }, map)
    const deadlines = { write: 500 }
    const agent = testAgent(t, { expireAfter: '1h', store, memory: false, deadlines })
    const errors: string[] = []
    agent.cache.on('error', ({ error }) => errors.push(error.message))
    const start = performance.now()
    await get(agent, url)
    await agent.cache.responses.settled()
    assert.ok(performance.now() - start < 2000)
    isSlow = false
    // It has not failed, and is used at once.
    assert.equal((await get(agent, url)).info?.status, 'miss')
    await agent.cache.responses.settled()
    assert.equal((await get(agent, url)).info?.status, 'hit')
    assert.deepEqual(errors, ['the store is slower than the network'])
  })

  test('and then hangs fails what waits for its turn, and lets the agent be closed', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(5_000_000, 'x')))
    const store = adapter({ set: () => new Promise(() => {}) })
    const agent = testAgent(t, { expireAfter: '1h', store, deadlines: { write: 300 } })
    const messages = new Set<string>()
    agent.cache.on('error', ({ error }) => messages.add(error.message))
    const start = performance.now()
    await get(agent, url)
    await agent.close()
    assert.ok(performance.now() - start < 2000)
    await delay(5)
    assert.deepEqual([...messages], ['the store did not write within 300 ms'])
  })

  test('and writes something after its deadline has it with all of its content', async (t) => {
    const { url } = await origin(t, (_, response) => response.end(Buffer.alloc(600_000, 'x')))
    const rows = new Map<string, unknown>()
    const set = async (key: string, value: unknown) => {
      // A response comes late, its content does not.
      if (!/\.\d+$/.test(key)) await delay(300)
      rows.set(key, value)
      return true
    }
    const store = adapter({ set }, rows)
    const deadlines = { write: 100 }
    const agent = testAgent(t, { expireAfter: '1h', store, deadlines, memory: false })
    const messages = new Set<string>()
    agent.cache.on('error', ({ error }) => messages.add(error.message))
    await get(agent, url)
    await agent.cache.responses.settled()
    await delay(400)
    assert.deepEqual([...messages], ['the store did not write within 100 ms'])
    // By when it is not left alone any more.
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() + 11_000 })
    const { body, info } = await get(agent, url)
    assert.deepEqual([body.length, info?.status], [600_000, 'hit'])
  })
})

suite('a function of the user that fails never fails a request', () => {
  const failing: [string, () => never | Promise<boolean>][] = [
    ['throws', throws],
    ['is asynchronous', async () => true],
  ]
  for (const [what, matcher] of failing) {
    test(`one that ${what}`, async (t) => {
      const { url } = await origin(t, (_, response) => response.end('content'))
      const agent = testAgent(t, { urlsExpireAfter: [[matcher as unknown as () => boolean, '1h']] })
      const errors: CacheError[] = []
      agent.cache.on('error', (error) => errors.push(error))
      assert.equal((await get(agent, url)).body, 'content')
      await delay(5)
      assert.equal(errors[0]?.operation, 'rule')
    })
  }
})

suite('management says when the store fails', () => {
  test('instead of an answer that looks right', async () => {
    const cache = new HttpCache({ store: adapter({ get: rejects, delete: rejects }) })
    await assert.rejects(cache.has('http://example.com/'), /the store throws/)
    await assert.rejects(cache.get('http://example.com/'), /the store throws/)
    await assert.rejects(cache.delete('http://example.com/'), /the store throws/)
    await assert.rejects(cache.count(), /cannot list/)
  })

  test('and refuses what is no URL', async () => {
    const cache = new HttpCache({ store: 'memory:' })
    await assert.rejects(cache.has('example.com'), /expected an absolute URL, got 'example.com'/)
    await assert.rejects(cache.delete('ftp://example.com'), /http or https/)
  })
})
