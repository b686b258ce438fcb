import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import {
  type AgentOptions,
  cacheInfo,
  type HeadersLike,
  HttpCache,
  NEVER_EXPIRE,
  type Terms,
  withTerms,
} from 'caching-agent'
import * as undici from 'undici'
import { get, outcomes, testAgent } from './helpers/agent.ts'
import { contentOrigin, type Received } from './helpers/contents.ts'
import { folder } from './helpers/folder.ts'

const METHODS = ['GET', 'HEAD', 'POST', 'QUERY']

/** An agent that stores everything for ever, and an origin. */
async function start(t: TestContext, terms: AgentOptions = {}) {
  const { url, received } = await contentOrigin(t, ({ path }, response, count) =>
    response.setHeader('X-Path', path).end(`answer ${count}`),
  )
  const agent = testAgent(t, { expireAfter: NEVER_EXPIRE, allowedMethods: METHODS, ...terms })
  const errors: string[] = []
  agent.cache.on('error', ({ operation, error }) => errors.push(`${operation}: ${error.message}`))
  return { agent, url, received, errors }
}

const json = (body: unknown, type = 'application/json') => ({
  method: 'POST',
  headers: { 'Content-Type': type },
  body: typeof body === 'string' ? body : JSON.stringify(body),
})
const form = (body: string) => json(body, 'application/x-www-form-urlencoded')

suite('Mistakes of others with keys', () => {
  test('parts run into one another: POST /b with c is not POST /bc', async (t) => {
    const { agent, url, received } = await start(t)
    await get(agent, `${url}/b`, { method: 'POST', body: 'c' })
    assert.equal((await get(agent, `${url}/bc`, { method: 'POST' })).info?.status, 'miss')
    assert.equal((await get(agent, `${url}/b`, { method: 'POST' })).info?.status, 'miss')
    assert.equal(
      (await get(agent, `${url}/bc`, { method: 'POST', body: 'c' })).info?.status,
      'miss',
    )
    assert.equal(received.length, 4)
  })

  test('a form and JSON of equal content share a key', async (t) => {
    const { agent, url } = await start(t)
    const inits = [
      form('a=1'),
      json({ a: '1' }),
      form('{"a":"1"}'),
      json('a=1'),
      json('a=1', 'text/plain'),
    ]
    assert.deepEqual(
      await outcomes(agent, url, inits),
      inits.map(() => 'miss'),
    )
    assert.deepEqual(
      await outcomes(agent, url, inits),
      inits.map(() => 'hit'),
    )
  })

  test('arrays and equal names lose their order', async (t) => {
    const { agent, url } = await start(t)
    assert.deepEqual(await outcomes(agent, url, [json([1, 2]), json([2, 1])]), ['miss', 'miss'])
    assert.deepEqual(await outcomes(agent, url, [form('a=1&a=2'), form('a=2&a=1')]), [
      'miss',
      'miss',
    ])
    await get(agent, `${url}?a=1&a=2`)
    assert.equal((await get(agent, `${url}?a=2&a=1`)).info?.status, 'miss')
  })

  test('the names of ignored header fields are of one case only', async (t) => {
    const { agent, url } = await start(t, { ignoredParameters: ['AUTH-token'], matchHeaders: true })
    const with_ = (name: string, value: string) => ({ headers: { [name]: value } })
    const inits = [with_('Auth-Token', '1'), with_('auth-token', '2'), with_('AUTH-TOKEN', '3')]
    assert.deepEqual(await outcomes(agent, url, inits), ['miss', 'hit', 'hit'])
  })
})

suite('Equivalent requests share a key', () => {
  test('GET by its URL', async (t) => {
    const { agent, url, received } = await start(t)
    const queries = [
      '?foo=bar&param=1',
      '?param=1&foo=bar',
      '?foo=bar&param=1&',
      '?f%6fo=bar&&param=1',
    ]
    for (const query of queries) await get(agent, `${url}/r${query}`)
    await get(agent, `${url.replace('http', 'HTTP')}/x/../r?param=1&foo=bar#fragment`)
    assert.equal(received.length, 1)
    for (const query of ['?p1', '?p2', '?k=v&p1', '?p1&k=v']) await get(agent, `${url}/r${query}`)
    assert.equal(received.length, 4)
  })

  for (const type of [
    'application/json',
    'application/json; charset=utf-8',
    'application/vnd.api+json',
  ]) {
    test(`JSON as ${type}, in any order and with any white space`, async (t) => {
      const { agent, url, received } = await start(t)
      const bodies = ['{"a":1,"b":{"c":2,"d":3}}', ' {"b": {"d":3, "c":2},\n"a":1}']
      for (const body of bodies) await get(agent, url, json(body, type))
      assert.equal(received.length, 1)
      assert.equal(received[0]?.content, bodies[0])
    })
  }

  test('what claims to be JSON and is none is taken as it is', async (t) => {
    const { agent, url, errors } = await start(t)
    const inits = [json('{a: 1}'), json('{a: 1}'), json('{a:1}'), json(''), json('{"a":')]
    assert.deepEqual(await outcomes(agent, url, inits), ['miss', 'hit', 'miss', 'miss', 'miss'])
    assert.deepEqual(errors, [])
  })

  test('what only the program says of itself does not matter', async (t) => {
    const { agent, url } = await start(t)
    const inits = ['a', 'b'].map((agentName) => ({ headers: { 'User-Agent': agentName } }))
    assert.deepEqual(await outcomes(agent, url, inits), ['miss', 'hit'])
  })
})

suite('ignoredParameters', () => {
  const upload = (token: string, more = 'x') => {
    const body = new FormData()
    body.append('auth-token', token)
    body.append('more', more)
    return { method: 'POST', body }
  }
  // biome-ignore format: one rule a row
  const rows: [where: string, names: string[], one: [string, RequestInit?], same: [string, RequestInit?], others: [string, RequestInit?][]][] = [
    ['in the query', ['auth-token'], ['?auth-token=1&a=1'], ['?a=1&auth-token=2'], [['?auth-token=1&a=2'], ['?a=1'], ['?auth-token=1&auth-token=1&a=1'], ['?Auth-Token=1&a=1']]],
    ['in JSON', ['auth-token'], ['', json({ 'auth-token': 1, a: 1 })], ['', json({ a: 1, 'auth-token': { b: [2] } })], [['', json({ 'auth-token': 1, a: 2 })], ['', json({ a: 1 })], ['', json({ a: 1, b: { 'auth-token': 1 } })]]],
    ['in JSON by a path', ['data.timestamp'], ['', json({ data: { key: 'v', timestamp: 1 } })], ['', json({ data: { timestamp: 2, key: 'v' } })], [['', json({ data: { key: 'w', timestamp: 1 } })], ['', json({ data: { key: 'v' } })]]],
    ['in JSON by a path with a wildcard', ['items.*.id'], ['', json({ items: [{ id: 1, a: 1 }, { id: 2 }] })], ['', json({ items: [{ id: 3, a: 1 }, { id: 4 }] })], [['', json({ items: [{ id: 1, a: 2 }, { id: 2 }] })], ['', json({ items: [{ id: 1, a: 1 }] })]]],
    ['in a form', ['auth-token'], ['', form('auth-token=1&a=1')], ['', form('a=1&auth-token=2')], [['', form('auth-token=1&a=2')], ['', form('a=1')]]],
    ['in an upload', ['auth-token'], ['', upload('1')], ['', upload('2')], [['', upload('1', 'y')]]],
    ['everywhere else nothing', ['auth-token'], ['', { method: 'POST', body: 'auth-token=1' }], ['', { method: 'POST', body: 'auth-token=1' }], [['', { method: 'POST', body: 'auth-token=2' }]]],
  ]
  for (const [where, names, one, same, others] of rows) {
    test(where, async (t) => {
      const { agent, url, received } = await start(t, { ignoredParameters: names })
      const ask = async ([query, init]: [string, RequestInit?]) =>
        (await get(agent, url + query, init)).info?.status
      assert.equal(await ask(one), 'miss')
      assert.equal(await ask(same), 'hit')
      for (const other of others) assert.equal(await ask(other), 'miss', JSON.stringify(other))
      assert.equal(received.length, others.length + 1)
    })
  }

  test('the origin gets what was said; nobody is told', async (t) => {
    const { agent, url, received } = await start(t, { ignoredParameters: ['auth-token'] })
    await get(agent, `${url}/a?auth-token=first-value&b=c`)
    assert.equal(received[0]?.path, '/a?auth-token=first-value&b=c')
    assert.deepEqual(await agent.cache.urls(), [`${url}/a?auth-token=REDACTED&b=c`])
    const [told] = await agent.cache.urls()
    assert.equal(await agent.cache.has(told as string), true)
    const stored = await agent.cache.get(`${url}/a?b=c&auth-token=another`)
    assert.equal(stored?.url, told)
    assert.equal(stored?.headers['x-path'], '/a?auth-token=REDACTED&b=c')
  })

  test('a response that repeats it is told to each as if it had been its own', async (t) => {
    const { agent, url } = await start(t, { ignoredParameters: ['auth-token'] })
    for (const value of ['first-value', 'second-value']) {
      const { response } = await get(agent, `${url}/a?auth-token=${value}`)
      assert.equal(response.headers.get('x-path'), `/a?auth-token=${value}`)
    }
  })

  test('a header field that partitions by default no longer does, but for its presence', async (t) => {
    const { agent, url } = await start(t, { ignoredParameters: ['Authorization', 'X-API-Key'] })
    const as = (headers: Record<string, string>) => ({ headers })
    const inits = [
      as({ Authorization: 'a', 'X-API-Key': 'b' }),
      as({ Authorization: 'c', 'X-API-Key': 'd' }),
      as({ Authorization: 'c' }),
      as({ 'X-API-Key': 'd' }),
      as({}),
      as({ Authorization: 'c', 'X-API-Key': 'd', Cookie: 'e' }),
    ]
    assert.deepEqual(await outcomes(agent, url, inits), [
      'miss',
      'hit',
      'miss',
      'miss',
      'miss',
      'miss',
    ])
    assert.deepEqual(
      await outcomes(agent, url, inits),
      inits.map(() => 'hit'),
    )
  })

  test('but one that the user partitions by does', async (t) => {
    const names = ['x-api-key']
    const { agent, url } = await start(t, { ignoredParameters: names, partitionBy: names })
    const inits = ['a', 'b', 'a'].map((key) => ({ headers: { 'X-API-Key': key } }))
    assert.deepEqual(await outcomes(agent, url, inits), ['miss', 'miss', 'hit'])
  })

  test('§4.1 what Vary nominates is obeyed all the same: never another one’s response', async (t) => {
    const { url } = await contentOrigin(t, ({ headers }, response) =>
      response.setHeader('Vary', 'X-User').end(`for ${headers['x-user'] ?? 'nobody'}`),
    )
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, {
      expireAfter: NEVER_EXPIRE,
      ignoredParameters: ['X-User'],
      store: `sqlite://${path}`,
    })
    const ask = async (user?: string) => {
      const { body, info } = await get(agent, url, user ? { headers: { 'X-User': user } } : {})
      return [body, info?.status]
    }
    assert.deepEqual(await ask('user-one'), ['for user-one', 'miss'])
    assert.deepEqual(await ask('user-two'), ['for user-two', 'miss'])
    assert.deepEqual(await ask(), ['for nobody', 'miss'])
    assert.deepEqual(await ask('user-one'), ['for user-one', 'hit'])
    assert.deepEqual(await ask(), ['for nobody', 'hit'])
    await agent.close()
    // What the origin has sent is stored as it is; the request's field is not.
    assert.equal(onDisk(path).includes('"x-user":"user-one"'), false)
  })
})

suite('Credentials and secrets tell requests apart', () => {
  for (const name of [
    'Authorization',
    'Cookie',
    'X-API-Key',
    'X-Auth-Token',
    'X-API-Token',
    'X-Access-Token',
    'API-Key',
    'Proxy-Authorization',
  ]) {
    test(`a response for one ${name} is never given to another`, async (t) => {
      const { agent, url } = await start(t)
      const inits = [
        { [name]: 'one' },
        { [name]: 'two' },
        {},
        { [name]: 'one' },
        { [name]: 'two' },
        {},
      ]
      const answers: string[] = []
      for (const headers of inits) {
        const { body } = await undici.request(url, { dispatcher: agent, headers })
        answers.push(await body.text())
      }
      assert.deepEqual(answers, [
        'answer 1',
        'answer 2',
        'answer 3',
        'answer 1',
        'answer 2',
        'answer 3',
      ])
    })
  }

  test('also at the same time', async (t) => {
    const { url, received } = await contentOrigin(t, ({ headers }, response) =>
      setTimeout(() => response.end(`for ${headers['x-api-key']}`), 50),
    )
    const agent = testAgent(t, { expireAfter: NEVER_EXPIRE })
    const keys = Array.from({ length: 20 }, (_, index) => `key-${index % 4}`)
    const bodies = await Promise.all(
      keys.map(async (key) => (await get(agent, url, { headers: { 'X-API-Key': key } })).body),
    )
    assert.deepEqual(
      bodies,
      keys.map((key) => `for ${key}`),
    )
    assert.equal(received.length, 4)
  })

  test('partitionBy takes the place of the default, false switches it off', async (t) => {
    const { agent, url } = await start(t)
    const inits = ['a', 'b'].map((key) => ({ headers: { 'X-API-Key': key } }))
    const names = agent.with({ partitionBy: ['authorization', 'cookie'] })
    assert.deepEqual(await outcomes(names, `${url}/1`, inits), ['miss', 'hit'])
    assert.deepEqual(await outcomes(agent.with({ partitionBy: false }), `${url}/2`, inits), [
      'miss',
      'hit',
    ])
    // What was stored for somebody with a key that did not count is not for those to whom it does.
    assert.deepEqual(await outcomes(agent, `${url}/1`, [{}]), ['miss'])
    assert.deepEqual(await outcomes(agent, `${url}/2`, [{}]), ['miss'])
  })

  test('secretParameters that are header fields partition as well', async (t) => {
    const { agent, url } = await start(t, { secretParameters: ['X-Own'] })
    const with_ = (name: string, value: string) => ({ headers: { [name]: value } })
    const inits = [
      with_('X-Own', 'a'),
      with_('X-Own', 'b'),
      with_('X-Own', 'a'),
      with_('X-API-Key', 'a'),
      with_('X-API-Key', 'b'),
    ]
    assert.deepEqual(await outcomes(agent, url, inits), ['miss', 'miss', 'hit', 'miss', 'miss'])
  })

  test('secrets in the query and the content do', async (t) => {
    const { agent, url } = await start(t)
    for (const value of ['one', 'two']) {
      assert.equal((await get(agent, `${url}?access_token=${value}`)).info?.status, 'miss')
      assert.equal((await get(agent, url, json({ a: { password: value } }))).info?.status, 'miss')
      assert.equal((await get(agent, url, form(`password=${value}`))).info?.status, 'miss')
    }
    assert.equal((await get(agent, `${url}?access_token=one`)).info?.status, 'hit')
    assert.equal((await get(agent, url, json({ a: { password: 'one' } }))).info?.status, 'hit')
  })

  test('a key that has a secret in it is another one in another store', async (t) => {
    const first = await start(t)
    const second = testAgent(t, { expireAfter: NEVER_EXPIRE, allowedMethods: METHODS })
    const keys = async (path: string, init?: RequestInit) => {
      const all = [first.agent, second].map(
        async (agent) => (await get(agent, first.url + path, init)).info?.key,
      )
      return await Promise.all(all)
    }
    const [plain, samePlain] = await keys('/a?b=c')
    assert.equal(plain, samePlain)
    for (const [path, init] of [
      ['/?token=1', {}],
      ['/', json({ password: 1 })],
      ['/', json({ a: 1 })],
    ] as const) {
      const [one, other] = await keys(path, init)
      assert.notEqual(one, other)
    }
  })

  test('secretParameters: false tells nobody apart that was not, and hides nothing but credentials', async (t) => {
    const { agent, url } = await start(t, { secretParameters: false })
    await get(agent, `${url}/?token=abc`)
    assert.deepEqual(await agent.cache.urls(), [`${url}/?token=abc`])
  })
})

/** All bytes of a cache file and what belongs to it. */
function onDisk(path: string): Buffer {
  const files = [path, `${path}-wal`, `${path}-shm`].filter((file) => existsSync(file))
  return Buffer.concat(files.map((file) => readFileSync(file)))
}

suite('Secrets are nowhere in clear', () => {
  const SECRETS = {
    query: 'query-secret-1',
    header: 'header-secret-2',
    bearer: 'bearer-secret-3',
    cookie: 'cookie-secret-4',
    json: 'json-secret-5',
    form: 'form-secret-6',
    upload: 'upload-secret-7',
    ignored: 'ignored-value-8',
    own: 'own-secret-9',
    referer: 'query-secret-1',
  }

  test('neither on disk, nor in what is listed or told', async (t) => {
    const path = join(folder(), 'cache.sqlite')
    const { url, received } = await contentOrigin(
      t,
      ({ path: asked, headers }, response, count) => {
        // The origin repeats all it has been told.
        response.setHeader('Location', `/next${asked.replace(/^[^?]*/, '')}`)
        response.setHeader('Link', `<${asked}&page=2>; rel="next"`)
        response.setHeader(
          'X-Echo',
          `${headers['x-api-key']} ${headers.authorization} ${headers['x-own']}`,
        )
        response.setHeader('Vary', 'X-API-Key, Authorization, X-Own, Referer')
        response.end(`answer ${count}`)
      },
    )
    const agent = testAgent(t, {
      store: `sqlite://${path}`,
      expireAfter: NEVER_EXPIRE,
      allowedMethods: METHODS,
      ignoredParameters: ['ignored', 'x-ignored'],
    })
    const own = agent.with({ secretParameters: ['access_token', 'X-Own', 'password'] })
    const told: unknown[] = []
    for (const name of ['lookup', 'store', 'validate', 'delete', 'error'] as const) {
      agent.cache.on(name, (event) => told.push(event))
    }

    const upload = new FormData()
    upload.append('password', SECRETS.upload)
    const headers = {
      'X-API-Key': SECRETS.header,
      Authorization: `Bearer ${SECRETS.bearer}`,
      Cookie: `session=${SECRETS.cookie}`,
      'X-Own': SECRETS.own,
      'X-Ignored': SECRETS.ignored,
      Referer: `http://a.com/?access_token=${SECRETS.query}`,
    }
    const query = `?access_token=${SECRETS.query}&ignored=${SECRETS.ignored}&c=d`
    const inits: RequestInit[] = [
      { headers },
      {
        headers: { ...headers, 'Content-Type': 'application/json' },
        method: 'POST',
        body: JSON.stringify({ a: [{ Password: SECRETS.json }] }),
      },
      { ...form(`password=${SECRETS.form}&a=b`) },
      { method: 'POST', body: upload },
    ]
    for (const init of inits) {
      for (const status of ['miss', 'hit']) {
        const { response, info } = await get(own, `${url}/a${query}`, init)
        assert.equal(info?.status, status)
        assert.equal(response.headers.get('location'), `/next${query}`)
        assert.equal(response.headers.get('link'), `</a${query}&page=2>; rel="next"`)
        if (init.headers === headers) {
          assert.equal(
            response.headers.get('x-echo'),
            `${SECRETS.header} Bearer ${SECRETS.bearer} ${SECRETS.own}`,
          )
        }
        told.push(info)
      }
    }
    assert.equal(received.length, inits.length)
    assert.ok(received[0]?.path.includes(SECRETS.query))

    told.push(await own.explain(`${url}/a${query}`, { headers }))
    await get(own, `${url}/a${query}`, { headers, method: 'PUT', body: 'a change' })
    await get(own, `${url}/a${query}`, { headers })
    told.push(await agent.cache.urls(), await agent.cache.get(`${url}/a${query}`, { headers }))
    const listed = JSON.stringify(told)
    await agent.close()
    const bytes = onDisk(path)
    assert.ok(bytes.includes('REDACTED') && bytes.includes('answer 2'))
    const names = ['"outcome":"hit"', '"outcome":"bypass"', '"cause":"invalidation"', '"decides"']
    for (const name of names) assert.ok(listed.includes(name), name)
    for (const [name, secret] of Object.entries(SECRETS)) {
      assert.ok(!bytes.includes(secret), `${name} is on disk`)
      assert.ok(!listed.includes(secret), `${name} is told`)
    }
  })

  test('nor while they are being written', async (t) => {
    const path = join(folder(), 'cache.sqlite')
    const { agent, url } = await start(t, { store: `sqlite://${path}` })
    for (let count = 0; count < 20; count += 1) {
      await get(agent, `${url}/${count}?api_key=${SECRETS.query}`, {
        headers: { 'X-API-Key': SECRETS.header },
      })
      await agent.cache.count()
      const bytes = onDisk(path)
      assert.ok(!bytes.includes(SECRETS.query) && !bytes.includes(SECRETS.header))
    }
  })

  test('a redirect that carries a secret on works, from the origin and from the cache', async (t) => {
    const { url, received } = await contentOrigin(t, ({ path }, response) => {
      if (path.startsWith('/from'))
        response.writeHead(302, { Location: path.replace('from', 'to') }).end()
      else response.end(path)
    })
    const agent = testAgent(t, { expireAfter: NEVER_EXPIRE })
    for (const token of ['one', 'two', 'one', 'two']) {
      const { body, response } = await get(agent, `${url}/from?token=${token}`)
      assert.equal(body, `/to?token=${token}`)
      assert.equal(response.url, `${url}/to?token=${token}`)
    }
    assert.equal(received.length, 4)
    assert.deepEqual(await agent.cache.urls(), [
      `${url}/from?token=REDACTED`,
      `${url}/to?token=REDACTED`,
    ])
  })

  test('what is validated is hidden again, and told again', async (t) => {
    const { url, received } = await contentOrigin(t, ({ headers, path }, response) => {
      response.setHeader('Link', `<${path}&page=2>; rel=next`).setHeader('ETag', '"1"')
      if (headers['if-none-match']) response.writeHead(304).end()
      else response.setHeader('Cache-Control', 'no-cache').end('content')
    })
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}` })
    for (const status of ['miss', 'revalidated', 'revalidated']) {
      const { info, response, body } = await get(agent, `${url}/?token=${SECRETS.query}`)
      assert.deepEqual([info?.status, body], [status, 'content'])
      assert.equal(response.headers.get('link'), `</?token=${SECRETS.query}&page=2>; rel=next`)
    }
    assert.equal(received.length, 3)
    await agent.close()
    assert.ok(!onDisk(path).includes(SECRETS.query))
  })

  test('what is validated in the background is as well', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const twice = Promise.withResolvers<void>()
    const { url } = await contentOrigin(t, ({ headers }, response, count) => {
      response.setHeader('X-Echo', `${headers['x-api-key']} ${count}`).end(`answer ${count}`)
      if (count === 2) twice.resolve()
    })
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, {
      store: `sqlite://${path}`,
      expireAfter: '1m',
      staleWhileRevalidate: true,
    })
    const ask = () => get(agent, url, { headers: { 'X-API-Key': SECRETS.header } })
    await ask()
    t.mock.timers.setTime(Date.now() + 61_000)
    assert.equal((await ask()).info?.status, 'stale')
    await twice.promise
    let latest = await ask()
    while (latest.body !== 'answer 2') {
      await new Promise((resolve) => setTimeout(resolve, 1))
      latest = await ask()
    }
    assert.equal(latest.info?.status, 'hit')
    assert.equal(latest.response.headers.get('x-echo'), `${SECRETS.header} 2`)
    await agent.close()
    assert.ok(!onDisk(path).includes(SECRETS.header))
  })

  test('a public response that repeats credentials is for those who have them', async (t) => {
    const { url } = await contentOrigin(t, ({ headers }, response) =>
      response
        .setHeader('Cache-Control', 'public, max-age=60')
        .setHeader('X-Echo', `${headers.authorization ?? 'nobody'}`)
        .end('content'),
    )
    const agent = testAgent(t)
    const ask = async (headers: Record<string, string>) => {
      const { response, info } = await get(agent, url, { headers })
      return [response.headers.get('x-echo'), info?.status]
    }
    assert.deepEqual(await ask({ Authorization: 'Bearer first' }), ['Bearer first', 'miss'])
    assert.deepEqual(await ask({ Authorization: 'Bearer other' }), ['Bearer other', 'hit'])
    assert.deepEqual(await ask({}), ['nobody', 'miss'])
  })

  test('the name and password of a URL are no part of what is stored', async (t) => {
    const { agent, url } = await start(t)
    const withUser = new URL(url)
    withUser.username = 'somebody'
    withUser.password = 'pass-word'
    await undici.request(withUser, { dispatcher: agent }).then(({ body }) => body.dump())
    assert.deepEqual(await agent.cache.urls(), [`${url}/`])
    assert.equal(await agent.cache.has(withUser), true)
    assert.equal(await agent.cache.delete(withUser), 1)
  })
})

suite('matchHeaders', () => {
  const as = (headers: Record<string, string>) => ({ headers })

  test('what is named tells apart, anything else does not', async (t) => {
    const { agent, url } = await start(t, { matchHeaders: ['Accept', 'X-Tenant'] })
    const inits = [
      as({ Accept: 'text/html', 'User-Agent': 'a' }),
      as({ Accept: 'text/html', 'User-Agent': 'b' }),
      as({ Accept: ' TEXT/html ' }),
      as({ Accept: 'text/plain' }),
      as({ Accept: 'text/html', 'X-Tenant': 'A' }),
      as({ Accept: 'text/html', 'X-Tenant': 'a' }),
      as({ Accept: 'text/html', 'x-tenant': 'A' }),
    ]
    assert.deepEqual(await outcomes(agent, url, inits), [
      'miss',
      'hit',
      'hit',
      'miss',
      'miss',
      'miss',
      'hit',
    ])
  })

  test('true is all', async (t) => {
    const { agent, url } = await start(t, { matchHeaders: true })
    const inits = [
      as({ 'X-A': '1' }),
      as({ 'X-A': '1' }),
      as({ 'X-A': '2' }),
      as({ 'X-A': '1', 'X-B': '1' }),
      as({}),
      as({ 'X-A': '1', 'Cache-Control': 'max-stale=60' }),
    ]
    assert.deepEqual(await outcomes(agent, url, inits), [
      'miss',
      'hit',
      'miss',
      'miss',
      'miss',
      'hit',
    ])
  })

  test('with what does not matter its presence still tells apart', async (t) => {
    for (const matchHeaders of [true, ['auth-token', 'x-a']] as const) {
      const { agent, url } = await start(t, { matchHeaders, ignoredParameters: ['auth-token'] })
      const inits = [
        as({ 'auth-token': '1' }),
        as({ 'auth-token': '2' }),
        as({}),
        as({ 'auth-token': '1', 'x-a': '1' }),
      ]
      assert.deepEqual(await outcomes(agent, url, inits), ['miss', 'hit', 'miss', 'miss'])
    }
  })

  test('what was stored without regard to them is not for those who have', async (t) => {
    const { agent, url } = await start(t)
    await get(agent, url, as({ 'X-A': '1' }))
    const matching = agent.with({ matchHeaders: ['X-A'] })
    assert.equal((await get(matching, url, as({ 'X-A': '2' }))).info?.status, 'miss')
  })

  test('all are deleted, found and invalidated by the URL', async (t) => {
    const { agent, url, received } = await start(t, { matchHeaders: true })
    const inits = ['1', '2', '3'].map((value) => as({ 'X-A': value }))
    const plain = { dispatcher: agent }
    const ask = async (headers: Record<string, string>) =>
      (await undici.request(url, { ...plain, headers })).body.dump()
    for (const { headers } of inits) await ask(headers)
    assert.equal(await agent.cache.count(), 3)
    assert.equal(await agent.cache.has(url), true)
    const shapes: ((value: string) => HeadersLike)[] = [
      (value) => ({ 'X-A': value }),
      (value) => [['X-A', value]],
      (value) => new Headers({ 'x-a': value }),
    ]
    for (const shape of shapes) {
      assert.equal(await agent.cache.has(url, { headers: shape('2') }), true)
      assert.equal(await agent.cache.has(url, { headers: shape('4') }), false)
    }
    await get(agent, url, { method: 'PUT' })
    assert.equal(await agent.cache.count(), 0)
    for (const { headers } of inits) await ask(headers)
    assert.equal(await agent.cache.delete(url), 3)
    assert.equal(await agent.cache.count(), 0)
    assert.equal(received.length, 7)
  })

  test('at the same time each has its own, and none waits for another', async (t) => {
    const both: (() => void)[] = []
    const { url } = await contentOrigin(t, ({ headers }, response) => {
      both.push(() => response.end(`for ${headers['x-a']}`))
      if (both.length === 2) for (const answer of both) answer()
    })
    const agent = testAgent(t, { expireAfter: NEVER_EXPIRE, matchHeaders: ['x-a'] })
    const values = ['1', '2', '1', '2']
    const started = performance.now()
    const bodies = await Promise.all(
      values.map(async (value) => (await get(agent, url, as({ 'X-A': value }))).body),
    )
    assert.deepEqual(
      bodies,
      values.map((value) => `for ${value}`),
    )
    // It would wait for 5 seconds.
    assert.ok(performance.now() - started < 4000)
  })
})

suite('cacheKey', () => {
  test('makes the key, given all of the request and the default', async (t) => {
    const seen: unknown[] = []
    const { agent, url } = await start(t, {
      cacheKey: ({ method, url: asked, headers, content }, defaultKey) => {
        seen.push([method, asked.href, headers['x-a'], content?.toString()])
        assert.match(defaultKey, /^[\da-f]{64}$/)
        return asked.origin + asked.pathname
      },
    })
    await get(agent, `${url}/r`, { headers: { 'X-A': 'b' } })
    assert.equal((await get(agent, `${url}/r?k=v`)).info?.status, 'hit')
    assert.equal((await get(agent, `${url}/s?k=v`)).info?.status, 'miss')
    await get(agent, `${url}/t`, { method: 'POST', body: 'content' })
    assert.deepEqual(seen, [
      ['GET', `${url}/r`, 'b', undefined],
      ['GET', `${url}/r?k=v`, undefined, undefined],
      ['GET', `${url}/s?k=v`, undefined, undefined],
      ['POST', `${url}/t`, undefined, 'content'],
    ])
  })

  test('what it is given is its own', async (t) => {
    const { agent, url, received } = await start(t, {
      cacheKey: ({ url: asked, headers, content }, defaultKey) => {
        asked.pathname = '/other'
        Object.assign(headers, { 'x-a': 'changed' })
        content?.fill('x')
        return defaultKey
      },
    })
    await get(agent, `${url}/a`, { method: 'POST', body: 'content', headers: { 'X-A': 'b' } })
    const { path, content, headers } = received[0] as Received
    assert.deepEqual([path, content, headers['x-a']], ['/a', 'content', 'b'])
    assert.deepEqual(await agent.cache.urls(), [`${url}/a`])
  })

  test('it may take its time', async (t) => {
    const { agent, url } = await start(t, {
      cacheKey: async (_, defaultKey) => {
        await new Promise((resolve) => setImmediate(resolve))
        return defaultKey
      },
    })
    assert.deepEqual(await outcomes(agent, url, [{}, {}]), ['miss', 'hit'])
    assert.equal(await agent.cache.has(url), true)
    await get(agent, url, { method: 'PUT' })
    assert.deepEqual(await outcomes(agent, url, [{}]), ['miss'])
  })

  test('credentials and methods are told apart all the same, and HEAD knows GET', async (t) => {
    const { agent, url } = await start(t, { cacheKey: () => 'always the same' })
    const as = (key: string) => ({ headers: { Authorization: key } })
    assert.deepEqual(await outcomes(agent, url, [as('a'), as('b'), as('a'), {}]), [
      'miss',
      'miss',
      'hit',
      'miss',
    ])
    const head = { method: 'HEAD' }
    assert.deepEqual(await outcomes(agent, url, [head]), ['hit'])
    const post = { method: 'POST', body: 'x' }
    assert.deepEqual(await outcomes(agent, url, [post, { ...post, body: 'y' }, {}]), [
      'miss',
      'hit',
      'hit',
    ])
  })

  test('keys that look like others are no others', async (t) => {
    const { agent, url } = await start(t)
    const byDefault = (await get(agent, url)).info?.key
    const same = agent.with({ cacheKey: (_, defaultKey) => defaultKey })
    const { info } = await get(same, url)
    assert.equal(info?.status, 'miss')
    assert.notEqual(info?.key, byDefault)
  })

  // biome-ignore format: one rule a row
  const wrong: [rule: string, cacheKey: unknown, message: RegExp][] = [
    ['throws', () => { throw new Error('no key today') }, /no key today/],
    ['rejects', async () => { throw new Error('no key today') }, /no key today/],
    ['returns nothing', () => undefined, /cacheKey: expected the function to return a string, got undefined/],
    ['returns a number', () => 42, /cacheKey: expected the function to return a string, got 42/],
    ['promises no string', async () => ({}), /cacheKey: expected the function to return a string, got \{\}/],
  ]
  for (const [rule, cacheKey, message] of wrong) {
    test(`where it ${rule} the request passes by, and an event tells`, async (t) => {
      const { agent, url, received, errors } = await start(t, { cacheKey } as AgentOptions)
      for (const init of [{}, {}, { method: 'POST', body: 'x' }]) {
        const { info, status } = await get(agent, url, init)
        assert.deepEqual([status, info?.status, info?.reason], [200, 'bypass', 'rule-failed'])
      }
      const told: unknown[] = []
      agent.cache.on('lookup', ({ outcome, reason }) => told.push([outcome, reason]))
      await assert.rejects(undici.request('http://127.0.0.1:1/', { dispatcher: agent }))
      await new Promise((resolve) => setImmediate(resolve))
      assert.deepEqual(told, [['bypass', 'rule-failed']])
      assert.equal(received.length, 3)
      assert.equal(await agent.cache.count(), 0)
      assert.equal(await agent.cache.has(url), false)
      assert.equal(await agent.cache.delete(url), 0)
      await get(agent, url, { method: 'PUT' })
      await new Promise((resolve) => setImmediate(resolve))
      assert.ok(errors.length >= 3)
      for (const error of errors) assert.match(error, message)
      assert.ok(errors.every((error) => error.startsWith('rule: ')))
    })
  }

  test('where it does not answer a request is delayed by seconds, and no more', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const cacheKey = () => new Promise<string>(() => {})
    const { agent, url, errors } = await start(t, { cacheKey })
    const answers = [get(agent, url), agent.explain(url), agent.cache.has(url)] as const
    await new Promise(setImmediate)
    t.mock.timers.tick(5000)
    t.mock.timers.reset()
    const [{ status, info }, { now }, isStored] = await Promise.all(answers)
    assert.deepEqual([status, info?.status, info?.reason], [200, 'bypass', 'rule-failed'])
    assert.deepEqual([now.outcome, now.reason, isStored], ['bypass', 'rule-failed', false])
    await new Promise((resolve) => setImmediate(resolve))
    assert.match(errors.join(), /rule: .*cacheKey: expected an answer within 5000 ms/)
  })
})

suite('The cache knows by what rules requests are keyed', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, options: AgentOptions, own: Terms | undefined, ask: string, same: string][] = [
    ['the agent’s', { ignoredParameters: ['id'] }, undefined, '/a?id=1', '/a?id=2'],
    ['those of a pattern', { urlsExpireAfter: [[/\/a/, { ignoredParameters: ['id'] }]] }, undefined, '/a?id=1', '/a?id=2'],
    ['the request’s', {}, { ignoredParameters: ['id'] }, '/a?id=1', '/a?id=2'],
    ['a function', { cacheKey: ({ url }) => url.pathname }, undefined, '/a?id=1', '/a?b=c'],
    ['secrets', { secretParameters: ['id'] }, undefined, '/a?id=1', '/a?id=1'],
    ['secrets by default', {}, undefined, '/a?token=1', '/a?token=1'],
    ['secrets that are none', { secretParameters: false }, undefined, '/a?token=1', '/a?token=1'],
  ]
  for (const [rule, options, own, asked, same] of rows) {
    test(rule, async (t) => {
      const { agent, url } = await start(t, options)
      const asking = own ? agent.with(own) : agent
      await get(asking, url + asked)
      assert.equal(await agent.cache.has(url + same), true)
      assert.equal((await agent.cache.get(url + same))?.status, 200)
      assert.equal(await agent.cache.has(`${url}/other?id=1`), false)
      assert.equal(await agent.cache.delete(url + same), 1)
      assert.equal(await agent.cache.count(), 0)
      await get(asking, url + asked)
      await get(asking, url + same, { method: 'PUT' })
      assert.equal(await agent.cache.count(), 0)
    })
  }

  test('of all agents that share it, also before they have asked anything', async (t) => {
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    const { agent, url } = await start(t, { cache, ignoredParameters: ['id'] })
    testAgent(t, { cache, ignoredParameters: ['other'] })
    const plain = testAgent(t, { cache, expireAfter: NEVER_EXPIRE })
    await get(agent, `${url}/a?id=1`)
    await get(plain, `${url}/a?id=1`)
    await get(plain, `${url}/a?id=2`)
    assert.equal(await cache.count(), 3)
    assert.equal(await cache.delete(`${url}/a?id=1`), 2)
    assert.deepEqual(await cache.urls(), [`${url}/a?id=2`])
  })

  test('and the terms of the context in which it is asked', async (t) => {
    const { agent, url } = await start(t)
    const terms: Terms = { cacheKey: ({ url: asked }) => asked.pathname }
    await withTerms(terms, () => get(agent, `${url}/a?b`))
    const other = testAgent(t, { cache: agent.cache })
    assert.equal(await withTerms(terms, () => other.cache.has(`${url}/a?c`)), true)
  })

  test('a URL as it is listed stands for all that are listed under it', async (t) => {
    const { agent, url } = await start(t)
    for (const token of ['one', 'two']) await get(agent, `${url}/a?token=${token}&b=c`)
    await get(agent, `${url}/a?token=one&b=d`)
    const [first] = await agent.cache.urls()
    assert.equal(first, `${url}/a?token=REDACTED&b=c`)
    assert.equal((await agent.cache.get(first))?.url, first)
    assert.equal(await agent.cache.has(first, { headers: { authorization: 'x' } }), false)
    assert.equal(await agent.cache.has(first, { method: 'POST' }), false)
    assert.equal(await agent.cache.delete(first), 2)
    assert.deepEqual(await agent.cache.urls(), [`${url}/a?token=REDACTED&b=d`])
    assert.equal(await agent.cache.has(first), false)
  })

  test('content and header fields select as they do for requests', async (t) => {
    const { agent, url } = await start(t)
    const { cache } = agent
    const upload = () => {
      const body = new FormData()
      body.append('a', new Blob(['bytes']), 'a.bin')
      return { method: 'POST', body }
    }
    const bytes = new TextEncoder().encode('bytes')
    const inits = [
      { method: 'POST', body: 'text' },
      { method: 'POST', body: bytes },
      { method: 'POST', body: new URLSearchParams({ b: '1', a: '2' }) },
      { method: 'POST', body: new Blob(['blob'], { type: 'text/x' }) },
      json({ a: 1, b: 2 }),
      upload(),
      { method: 'POST', headers: { 'X-HTTP-Method-Override': 'QUERY' }, body: 'x' },
      { method: 'QUERY' },
    ]
    for (const init of inits) {
      assert.equal(await cache.has(url, init as object), false)
      await get(agent, url, init)
      assert.equal(await cache.has(url, init as object), true)
    }
    assert.equal(await cache.count(), inits.length)
    assert.equal(await cache.has(url, json('{ "b":2, "a":1 }')), true)
    assert.equal(await cache.has(url, form('a=2&b=1')), true)
    assert.equal(await cache.has(url, upload()), true)
    assert.equal(await cache.has(url, { method: 'POST', body: 'other' }), false)
    assert.equal(await cache.has(url, { method: 'post', body: 'text' }), true)
    assert.equal(await cache.has(url), false)

    await undici
      .request(url, { dispatcher: agent, method: 'POST', body: 'by request' })
      .then(({ body }) => body.dump())
    assert.equal(await cache.has(url, { method: 'POST', body: 'by request' }), true)

    await get(agent, url)
    assert.equal(await cache.delete(url), 1)
    assert.equal(await cache.count(), inits.length + 1)
    for (const init of inits) assert.equal(await cache.delete(url, init as object), 1)
    assert.equal(await cache.delete(url, { method: 'POST', body: 'by request' }), 1)
    assert.equal(await cache.count(), 0)
    await assert.rejects(cache.has(url, { method: 'POST', body: 42 } as never), {
      name: 'TypeError',
      message: 'body: expected text, bytes, a Blob, FormData or URLSearchParams, got 42',
    })
  })

  test('a pattern that throws is told, and is nobody’s trouble', async (t) => {
    const { agent, url, errors } = await start(t, {
      ignoredParameters: ['id'],
      urlsExpireAfter: [
        [
          () => {
            throw new Error('no match today')
          },
          '1h',
        ],
      ],
    })
    assert.equal(await agent.cache.has(url), false)
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(errors, ['rule: no match today'])
  })
})

suite('Requests with keys of their own', () => {
  test('at the same time they are one', async (t) => {
    const { url, received } = await contentOrigin(t, (_, response) =>
      setTimeout(() => response.end('x'), 50),
    )
    const agent = testAgent(t, { expireAfter: NEVER_EXPIRE, ignoredParameters: ['id'] })
    await Promise.all(Array.from({ length: 10 }, (_, index) => get(agent, `${url}?id=${index}`)))
    assert.equal(received.length, 1)
  })

  test('in another process they are the same', async (t) => {
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const first = await start(t, { store, ignoredParameters: ['id'] })
    const { url } = first
    const asks: [string, RequestInit][] = [
      ['/a?id=1', {}],
      ['/b?token=1', {}],
      ['/c', json({ a: 1 })],
      ['/d', { headers: { 'X-API-Key': 'k' } }],
    ]
    for (const [path, init] of asks) await get(first.agent, url + path, init)
    await first.agent.close()
    const second = testAgent(t, {
      store,
      expireAfter: NEVER_EXPIRE,
      allowedMethods: METHODS,
      ignoredParameters: ['id'],
    })
    for (const [path, init] of asks) {
      assert.equal((await get(second, url + path, init)).info?.status, 'hit', path)
    }
  })

  test('cacheInfo tells the key by which they can be deleted', async (t) => {
    const { agent, url } = await start(t)
    const response = await undici.request(`${url}/?token=1`, { dispatcher: agent })
    await response.body.dump()
    const key = cacheInfo(response as never)?.key as string
    assert.equal(await agent.cache.delete({ key }), 1)
    assert.equal(await agent.cache.count(), 0)
  })
})
