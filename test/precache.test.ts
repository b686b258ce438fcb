import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import {
  type AgentOptions,
  cacheInterceptor,
  HttpCache,
  NEVER_EXPIRE,
  type PrecacheOptions,
  type PrecacheProgress,
  type PrecacheResult,
  type PrecacheTarget,
  withTerms,
} from 'caching-agent'
import { Agent } from 'undici'
import { adapter } from './helpers/adapter.ts'
import { get, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

/** What a site has at a path: HTML, another type and its content, or a function that answers. */
type Resource =
  | string
  | readonly [type: string, content: string | Uint8Array]
  | ((request: IncomingMessage, response: ServerResponse) => unknown)

interface Site {
  readonly url: string
  /** The paths that were asked for, in their order. */
  readonly asked: string[]
}

/** Serves a site; what it does not have is not found. */
async function site(t: TestContext, resources: Readonly<Record<string, Resource>>): Promise<Site> {
  const asked: string[] = []
  const { url } = await origin(t, async (request, response) => {
    const path = request.url ?? ''
    asked.push(path)
    const resource = Object.hasOwn(resources, path) ? resources[path] : undefined
    response.on('error', () => {})
    if (resource === undefined) response.writeHead(404).end('Not found')
    else if (typeof resource === 'function') await resource(request, response)
    else {
      const [type, content] = typeof resource === 'string' ? ['text/html', resource] : resource
      response.setHeader('Content-Type', type).end(content)
    }
  })
  return { url, asked }
}

function redirect(location: string): Resource {
  return (_, response) => response.writeHead(302, { location }).end('Found')
}

function anchors(...targets: string[]): string {
  return targets.map((target) => `<a href="${target}">x</a>`).join('\n')
}

/** Precaches into a cache that keeps everything for an hour; each URL must be accounted for once. */
async function precache(
  t: TestContext,
  target: PrecacheTarget,
  options: PrecacheOptions = {},
  agentOptions: AgentOptions = {},
) {
  const agent = testAgent(t, { expireAfter: '1h', ...agentOptions })
  const again = async (more: PrecacheOptions = options) =>
    checked(await agent.precache(target, more))
  return { agent, result: await again(), again }
}

function checked(result: PrecacheResult): PrecacheResult {
  const { found, stored, present, failed, notStored, skipped, omitted } = result
  const listed = failed.length + notStored.length + skipped.length
  assert.equal(
    found,
    stored + present + listed + omitted,
    'what was found is not what became of it',
  )
  const urls = [...failed, ...notStored, ...skipped].map(({ url }) => url)
  assert.equal(new Set(urls).size, urls.length, `twice: ${urls}`)
  assert.deepEqual(JSON.parse(JSON.stringify(result)), result)
  return result
}

/** URLs and reasons, in short and sorted. */
function reasons(list: PrecacheResult['failed'], url: string): string[] {
  return list.map((each) => `${each.url.replace(url, '')}: ${each.reason}`).sort()
}

/** A site with pages that are three links deep, cycles, and one of everything. */
const NESTED: Record<string, Resource> = {
  '/docs/': `${anchors('a/', '../other.html', '#top', '/docs/')}<img src=logo.png srcset="logo2.png 2x">`,
  '/docs/a/': '<base href="/docs/b/"><a href=c.html><a href="../">',
  '/docs/b/c.html': `${anchors('d.html', '/docs/a/')}<link rel=stylesheet href=/main.css>`,
  '/docs/b/d.html': anchors('/docs/'),
  '/other.html': 'the end',
  '/docs/logo.png': ['image/png', 'png'],
  '/docs/logo2.png': ['image/png', 'png'],
  '/main.css': ['text/css', '@import "more.css"; p { background: url(img/p.png) }'],
  '/more.css': ['text/css', ''],
  '/img/p.png': ['image/png', 'png'],
}

suite('Precaching: how far it goes', () => {
  // biome-ignore format: one rule a row
  const rows: [depth: number, asked: string[]][] = [
    [0, ['/docs/']],
    [1, ['/docs/', '/docs/a/', '/docs/logo.png', '/docs/logo2.png', '/other.html']],
    [2, ['/docs/', '/docs/a/', '/docs/b/c.html', '/docs/logo.png', '/docs/logo2.png', '/other.html']],
    [3, ['/docs/', '/docs/a/', '/docs/b/c.html', '/docs/b/d.html', '/docs/logo.png', '/docs/logo2.png', '/main.css', '/other.html']],
    [Infinity, Object.keys(NESTED).sort()],
  ]
  for (const [depth, paths] of rows) {
    test(`with a depth of ${depth} ${paths.length} resources, each once`, async (t) => {
      const { url, asked } = await site(t, NESTED)
      const { result } = await precache(t, `${url}/docs/#x`, { depth })
      assert.deepEqual([...asked].sort(), ['/robots.txt', ...paths].sort())
      assert.equal(result.stored, paths.length)
      assert.equal(result.found, paths.length)
      assert.ok(result.bytes > 0 && result.duration >= 0)
    })
  }

  test('one link by default', async (t) => {
    const { url, asked } = await site(t, NESTED)
    const { result } = await precache(t, new URL(`${url}/docs/`))
    assert.equal(result.stored, 5)
    assert.equal(asked.length, 6)
  })

  test('from several URLs', async (t) => {
    const { url } = await site(t, NESTED)
    const urls = new Set([`${url}/docs/`, `${url}/docs/b/c.html`, `${url}/docs/`])
    assert.equal((await precache(t, urls)).result.stored, 8)
    assert.equal((await precache(t, [])).result.found, 0)
  })

  test('what it has stored needs no origin any more', async (t) => {
    const { url, asked } = await site(t, NESTED)
    const { agent } = await precache(t, `${url}/docs/`, { depth: Infinity })
    const before = asked.length
    for (const [path, resource] of Object.entries(NESTED)) {
      const { info, body } = await get(agent, url + path)
      assert.equal(info?.status, 'hit', path)
      assert.equal(body, typeof resource === 'string' ? resource : resource[1 as never])
    }
    assert.equal(asked.length, before)
  })

  test('a page that is found by a longer way first is found by the shortest one', async (t) => {
    const { url } = await site(t, {
      '/': anchors('/fast', '/slow'),
      '/fast': anchors('/further'),
      '/further': anchors('/page'),
      '/slow': async (_, response) => {
        await sleep(100)
        response.setHeader('Content-Type', 'text/html').end(anchors('/page'))
      },
      '/page': anchors('/last'),
      '/last': '',
    })
    // Over /slow the last one is three links away; over /fast it is four.
    assert.equal((await precache(t, url, { depth: 3 })).result.stored, 6)
  })

  test('also where the shorter way is a redirect', async (t) => {
    const { url } = await site(t, {
      '/': anchors('/fast', '/slow'),
      '/fast': anchors('/page'),
      '/slow': async (_, response) => {
        await sleep(100)
        response.writeHead(301, { location: '/page' }).end()
      },
      '/page': anchors('/last'),
      '/last': '',
    })
    assert.equal((await precache(t, url, { depth: 2 })).result.stored, 5)
  })

  test('links in pages that are compressed, not in UTF-8, or without a type', async (t) => {
    const { url, asked } = await site(t, {
      '/': anchors('/zipped', '/latin1', '/plain'),
      '/zipped': (_, response) =>
        response
          .writeHead(200, { 'content-type': 'text/html', 'content-encoding': 'gzip' })
          .end(gzipSync(anchors('/in-zipped'))),
      '/latin1': ['text/html; charset=iso-8859-1', Buffer.from(anchors('/é'), 'latin1')],
      '/plain': (_, response) => response.end(anchors('/in-plain')),
      '/in-zipped': '',
      '/%C3%A9': '',
      '/in-plain': '',
    })
    const { result } = await precache(t, url, { depth: 2 })
    assert.deepEqual(reasons(result.failed, url), [])
    assert.equal(result.stored, 7)
    assert.ok(asked.includes('/%C3%A9'))
  })

  test('a page that is too large to be looked at whole is stored whole, and named', async (t) => {
    const start = anchors('/a')
    const { url } = await site(t, {
      '/': (_, response) => {
        response.setHeader('Content-Type', 'text/html').write(start)
        for (let size = 0; size < 20; size += 1) response.write(Buffer.alloc(2 ** 20, ' '))
        response.end(anchors('/b'))
      },
      '/a': '',
      '/b': '',
    })
    const { agent, result } = await precache(t, url)
    assert.deepEqual(result.truncated, [`${url}/`])
    assert.equal(result.stored, 2)
    const { body, info } = await get(agent, url)
    assert.equal(info?.status, 'hit')
    assert.equal(body.length, 20 * 2 ** 20 + 2 * start.length)
  })

  test('what is not stored is not waited for', async (t) => {
    const { url } = await site(t, {
      '/': (_, response) => response.setHeader('Content-Type', 'text/event-stream').write('x'),
    })
    const { result } = await precache(t, url)
    assert.deepEqual(reasons(result.notStored, url), ['/: endless'])
    assert.ok(result.duration < 20_000)
  })
})

// Most of which is waiting, so they wait together.
suite('Precaching: what takes its time', { concurrency: true }, () => {
  test('a page without an end ends when its time does', async (t) => {
    const { url } = await site(t, {
      '/': anchors('/endless', '/a'),
      '/endless': (_, response) => response.write('x'),
      '/a': '',
    })
    const { result } = await precache(t, url, { timeout: '1s' })
    assert.deepEqual(reasons(result.failed, url), ['/endless: no answer for 1000 ms'])
    assert.equal(result.stored, 2)
  })

  test('nor is one waited for that trickles without ever ending', async (t) => {
    const { url } = await site(t, {
      '/': anchors('/radio', '/a'),
      '/radio': (_, response) => {
        const timer = setInterval(() => response.write('x'), 20)
        response.setHeader('Content-Type', 'audio/mpeg').on('close', () => clearInterval(timer))
      },
      '/a': '',
    })
    const { result } = await precache(t, url, { timeout: 400, robots: false })
    assert.deepEqual(reasons(result.failed, url), ['/radio: no end for 4000 ms'])
    assert.equal(result.stored, 2)
  })

  test('time is for silence, not for the whole', async (t) => {
    const { url } = await site(t, {
      '/': async (_, response) => {
        for (let piece = 0; piece < 12; piece += 1) {
          response.write('x')
          await sleep(100)
        }
        response.end()
      },
    })
    assert.equal((await precache(t, url, { timeout: 1000 })).result.stored, 1)
  })

  test('an origin that is too busy is asked again when it wants', async (t) => {
    const times: number[] = []
    const { url } = await site(t, {
      '/': (_, response) => {
        times.push(performance.now())
        if (times.length < 3) response.writeHead(429, { 'retry-after': '1' }).end()
        else response.end('x')
      },
    })
    const { result } = await precache(t, url)
    assert.equal(result.stored, 1)
    assert.equal(times.length, 3)
    assert.ok((times[1] ?? 0) - (times[0] ?? 0) > 900, String(times))
  })
})

suite('Precaching: what is there already', () => {
  test('is not asked for again, nor is robots.txt', async (t) => {
    const { url, asked } = await site(t, NESTED)
    const { again } = await precache(t, `${url}/docs/`, { depth: Infinity })
    asked.length = 0
    const { found, present, stored, bytes } = await again()
    assert.deepEqual({ found, present, stored, bytes }, { found: 10, present: 10, stored: 0, bytes: 0 }) // biome-ignore format: a row
    assert.deepEqual(asked, [])
  })

  test('may be so in another process', async (t) => {
    const { url, asked } = await site(t, NESTED)
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const { agent } = await precache(t, `${url}/docs/`, {}, { store })
    await agent.close()
    asked.length = 0
    const { result } = await precache(t, `${url}/docs/`, {}, { store })
    assert.equal(result.present, 5)
    assert.deepEqual(asked, [])
  })

  test('is validated once it is stale', async (t) => {
    const { url, asked } = await site(t, {
      '/': (request, response) => {
        response.setHeader('ETag', '"1"').setHeader('Cache-Control', 'max-age=0')
        response.setHeader('Content-Type', 'text/html')
        if (request.headers['if-none-match'] === '"1"') response.writeHead(304).end()
        else response.end(anchors('/a'))
      },
      '/a': '',
    })
    const agentOptions = { expireAfter: '1h', cacheControl: true }
    const { again } = await precache(t, url, {}, agentOptions)
    const { present, stored } = await again()
    assert.deepEqual({ present, stored }, { present: 2, stored: 0 })
    assert.equal(asked.filter((path) => path === '/').length, 2)
  })

  test('is fetched anew where its content is lost', async (t) => {
    const page = `${anchors('/a')}${' '.repeat(1_500_000)}${anchors('/b')}`
    const { url, asked } = await site(t, { '/': page, '/a': '', '/b': '' })
    const path = join(folder(), 'cache.sqlite')
    const { again } = await precache(t, url, {}, { store: `sqlite://${path}`, memory: false })
    const database = new DatabaseSync(path)
    database.exec("DELETE FROM chunks_1 WHERE key LIKE '%.3'")
    database.close()
    const { stored, present } = await again()
    assert.deepEqual({ stored, present }, { stored: 1, present: 2 })
    assert.equal(asked.filter((each) => each === '/').length, 2)
  })

  test('is validated where the request fields say so', async (t) => {
    const { url, asked } = await site(t, { '/': 'x' })
    const { again } = await precache(t, url)
    const { stored } = await again({ headers: { 'Cache-Control': 'no-cache' }, robots: false })
    assert.equal(stored, 1)
    assert.equal(asked.filter((path) => path === '/').length, 2)
  })
})

suite('Precaching: other origins', () => {
  async function twoSites(t: TestContext) {
    const other = await site(t, {
      '/page': `${anchors('/deeper')}<img src=deeper.png>`,
      '/style.css': ['text/css', 'p { background: url(p.png) }'],
      '/p.png': ['image/png', ''],
      '/deeper': '',
      '/deeper.png': ['image/png', ''],
    })
    const links = `<a href="${other.url}/page"></a><link rel=stylesheet href="${other.url}/style.css">`
    return { own: await site(t, { '/': links + anchors('/a'), '/a': '' }), other }
  }

  test('are left out, and named', async (t) => {
    const { own, other } = await twoSites(t)
    const { result } = await precache(t, own.url, { depth: Infinity })
    assert.equal(result.stored, 2)
    assert.deepEqual(reasons(result.skipped, other.url), ['/page: other-origin', '/style.css: other-origin']) // biome-ignore format: a row
    assert.deepEqual(other.asked, [])
  })

  test('give what belongs to a page, and what that loads', async (t) => {
    const { own, other } = await twoSites(t)
    const { result } = await precache(t, own.url, { depth: Infinity, sameOrigin: 'pages' })
    assert.deepEqual(reasons(result.skipped, other.url), ['/page: other-origin'])
    assert.deepEqual(other.asked, ['/robots.txt', '/style.css', '/p.png'])
  })

  test('or everything', async (t) => {
    const { own, other } = await twoSites(t)
    const { result } = await precache(t, own.url, { depth: Infinity, sameOrigin: false })
    assert.deepEqual(result.skipped, [])
    assert.equal(other.asked.length, 6)
  })

  test('a redirect is followed, but not the links of a page that it leads away to', async (t) => {
    const resources: Record<string, Resource> = { '/deeper': '' }
    const other = await site(t, resources)
    const own = await site(t, {
      '/': anchors('/away'),
      '/away': redirect(`${other.url}/page`),
      '/back': '',
    })
    resources['/page'] = anchors('/deeper', `${own.url}/back`)
    const { agent, result } = await precache(t, own.url, { depth: Infinity })
    assert.equal(result.stored, 3)
    assert.deepEqual(other.asked, ['/robots.txt', '/page'])
    own.asked.length = 0
    const { status, response } = await get(agent, `${own.url}/away`)
    assert.equal(status, 200)
    assert.equal(response.url, `${other.url}/page`)
    assert.deepEqual([own.asked, other.asked.length], [[], 2])
  })

  test('where what was given leads to another origin, that one counts as given', async (t) => {
    const other = await site(t, { '/page': anchors('/deeper'), '/deeper': '' })
    const own = await site(t, { '/': redirect(`${other.url}/page`) })
    const { result } = await precache(t, own.url)
    assert.equal(result.stored, 3)
    assert.deepEqual(other.asked, ['/robots.txt', '/page', '/deeper'])
  })

  test('get no request fields that could be a secret', async (t) => {
    const seen: IncomingMessage['headers'][] = []
    const look: Resource = ({ headers }, response) => {
      seen.push(headers)
      response.end()
    }
    const other = await site(t, { '/page': look })
    const own = await site(t, { '/': anchors('/own', `${other.url}/page`), '/own': look })
    const headers = {
      Authorization: 'secret',
      'X-Api-Key': 'secret',
      'Accept-Language': 'de',
      'User-Agent': 'Example/1',
    }
    await precache(t, own.url, { sameOrigin: false, headers })
    const picked = seen.map((fields) => [fields.authorization, fields['x-api-key'], fields['accept-language'], fields['user-agent']]) // biome-ignore format: a row
    const [own1, other1] = picked.sort(([a = ''], [b = '']) => (a > b ? -1 : 1))
    assert.deepEqual(own1, ['secret', 'secret', 'de', 'Example/1'])
    assert.deepEqual(other1, [undefined, undefined, 'de', 'Example/1'])
  })

  test('nor do those that a robots.txt has moved to', async (t) => {
    const seen: IncomingMessage['headers'][] = []
    const look: Resource = ({ headers }, response) => {
      seen.push(headers)
      response.end('user-agent: *\ndisallow: /b')
    }
    const other = await site(t, { '/robots': look })
    const own = await site(t, {
      '/': anchors('/a', '/b'),
      '/a': '',
      '/robots.txt': redirect(`${other.url}/robots`),
    })
    const { result } = await precache(t, own.url, { headers: { 'X-Api-Key': 'secret' } })
    assert.equal(seen.length, 1)
    assert.equal(seen[0]?.['x-api-key'], undefined)
    assert.deepEqual(reasons(result.skipped, own.url), ['/b: robots'])
  })
})

suite('Precaching: redirects', () => {
  test('are stored hop by hop, relative to the last of them', async (t) => {
    const { url, asked } = await site(t, {
      '/': redirect('/a/b'),
      '/a/b': redirect('c/d#e'),
      '/a/c/d': anchors('f'),
      '/a/c/f': '',
    })
    const { agent, result } = await precache(t, url)
    assert.deepEqual(asked, ['/robots.txt', '/', '/a/b', '/a/c/d', '/a/c/f'])
    assert.equal(result.stored, 4)
    asked.length = 0
    assert.equal((await get(agent, url)).response.url, `${url}/a/c/d`)
    assert.deepEqual(asked, [])
  })

  test('that go round in circles end', async (t) => {
    const { url, asked } = await site(t, { '/': redirect('/a'), '/a': redirect('/') })
    assert.equal((await precache(t, url)).result.found, 2)
    assert.equal(asked.length, 3)
  })

  test('that have no end are ended', async (t) => {
    const { url } = await origin(t, ({ url: path = '' }, response) => {
      if (path === '/robots.txt') response.writeHead(404).end()
      else response.writeHead(302, { location: `${path}x` }).end()
    })
    const { result } = await precache(t, url)
    assert.deepEqual(reasons(result.failed, url), [`/${'x'.repeat(20)}: too many redirects`])
    assert.equal(result.stored, 20)
  })

  test('that lead nowhere have failed', async (t) => {
    const { url } = await site(t, {
      '/': anchors('/mail', '/bad', '/none', '/a'),
      '/mail': redirect('mailto:a@example.com'),
      '/bad': redirect('http://[bad/'),
      '/none': (_, response) => response.writeHead(302).end(),
      '/a': '',
    })
    const { result } = await precache(t, url)
    assert.deepEqual(reasons(result.failed, url), [
      '/bad: redirect to http://[bad/',
      '/mail: redirect to mailto:a@example.com',
      '/none: redirect to nowhere',
    ])
    assert.equal(result.stored, 2)
  })
})

suite('Precaching: what fails', () => {
  test('is told with its reason, and stops nothing else', async (t) => {
    const gone = await origin(t, (request) => request.socket.destroy())
    const { url } = await site(t, {
      '/': anchors(
        '/missing',
        '/broken',
        '/cut',
        '/reset',
        'http://[bad/',
        '/a',
        'http://127.0.0.1:1/',
      ),
      '/broken': (_, response) => response.writeHead(500, 'Oh no').end(),
      '/cut': (_, response) => {
        response.writeHead(200, { 'content-length': '100' }).write('x')
        setTimeout(() => response.destroy(), 20)
      },
      '/reset': (request) => request.socket.destroy(),
      '/a': '',
    })
    const options = { sameOrigin: false, retry: 0 } as const
    const { agent, result } = await precache(t, [url, `${gone.url}/`], options)
    const failed = reasons(result.failed, url)
    assert.deepEqual(
      failed.filter((line) => line.startsWith('/') && !/cut|reset/.test(line)),
      ['/broken: 500 Oh no', '/missing: 404 Not Found'],
    )
    assert.ok(failed.includes('http://[bad/: Invalid URL'), String(failed))
    assert.ok(
      failed.some((line) => /^\/cut: .+/.test(line)),
      String(failed),
    )
    assert.ok(
      failed.some((line) => /^\/reset: .+/.test(line)),
      String(failed),
    )
    assert.ok(
      failed.some((line) => /:1\/: .+/.test(line)),
      String(failed),
    )
    assert.equal(result.failed.length, 7)
    assert.equal(result.stored, 2)
    const missing = result.failed.find(({ url: failure }) => failure.endsWith('/missing'))
    assert.deepEqual(missing, { url: `${url}/missing`, from: `${url}/`, reason: '404 Not Found', status: 404 }) // biome-ignore format: a row
    for (const path of ['/cut', '/reset']) assert.equal(await agent.cache.has(url + path), false)
  })

  test('is tried again the next time', async (t) => {
    let isUp = false
    const { url } = await site(t, {
      '/': anchors('/a'),
      '/a': (_, response) => response.writeHead(isUp ? 200 : 500).end(),
    })
    const { result, again } = await precache(t, url)
    assert.equal(result.failed.length, 1)
    isUp = true
    const { stored, present } = await again()
    assert.deepEqual({ stored, present }, { stored: 1, present: 1 })
  })

  test('may be what was given', async (t) => {
    const { result } = await precache(t, 'http://127.0.0.1:1/')
    assert.equal(result.failed.length, 1)
    assert.equal(result.failed[0]?.from, undefined)
  })

  test('a connection that breaks is not the end of it', async (t) => {
    let count = 0
    const { url } = await site(t, {
      '/': (request, response) => (++count < 3 ? request.socket.destroy() : response.end()),
    })
    assert.equal((await precache(t, url)).result.stored, 1)
    assert.equal(count, 3)
  })

  test('nor is it that of all where it was to tell what is allowed', async (t) => {
    let breaks = 2
    const { url, asked } = await site(t, {
      '/': 'page',
      '/robots.txt': (_, response) => {
        breaks -= 1
        if (breaks >= 0) response.destroy()
        else response.end()
      },
    })
    assert.equal((await precache(t, url)).result.stored, 1)
    assert.deepEqual(asked, ['/robots.txt', '/robots.txt', '/robots.txt', '/'])
    breaks = 3
    const { failed } = (await precache(t, url)).result
    assert.equal(failed.length, 1)
  })
})

suite('Precaching: what is not stored', () => {
  test('is told with its reason', async (t) => {
    const { url } = await site(t, {
      '/': `${anchors('/secret', '/any', '/events')}`,
      '/secret': (_, response) => response.setHeader('Cache-Control', 'no-store').end('x'),
      '/any': (_, response) => response.setHeader('Vary', '*').end('x'),
      '/events': (_, response) => response.setHeader('Content-Type', 'text/event-stream').end('x'),
    })
    const { result } = await precache(t, url, {}, { cacheControl: true })
    assert.deepEqual(reasons(result.notStored, url), ['/any: vary-any', '/events: endless', '/secret: no-store']) // biome-ignore format: a row
    assert.equal(result.notStored[0]?.from, `${url}/`)
  })

  test('because of the terms', async (t) => {
    const { url } = await site(t, { '/': 'x' })
    const { result } = await precache(t, url, {}, { expireAfter: 'do-not-cache' })
    assert.deepEqual(reasons(result.notStored, url), ['/: do-not-cache'])
  })

  test('because it was too large in the end', async (t) => {
    const { url } = await site(t, {
      '/': anchors('/announced', '/unannounced'),
      '/announced': (_, response) => response.end('x'.repeat(2000)),
      '/unannounced': async (_, response) => {
        for (let piece = 0; piece < 4; piece += 1) {
          response.write('x'.repeat(500))
          await sleep(5)
        }
        response.end()
      },
    })
    const { result } = await precache(t, url, {}, { maxContentSize: 1500 })
    assert.deepEqual(reasons(result.notStored, url), ['/announced: too-large', '/unannounced: not-kept']) // biome-ignore format: a row
  })

  test('because the store fails', async (t) => {
    const { url } = await site(t, { '/': anchors('/a'), '/a': '' })
    const store = {
      ...adapter(),
      set: async () => {
        throw new Error('full')
      },
    }
    const { result } = await precache(t, url, {}, { store, memory: false })
    assert.deepEqual(reasons(result.notStored, url), ['/: not-kept', '/a: not-kept'])
  })

  test('also if there is something older', async (t) => {
    const { url } = await site(t, { '/': 'x' })
    let isFull = false
    const map = new Map<string, unknown>()
    const set = async (key: string, value: unknown) => {
      if (isFull) throw new Error('full')
      map.set(key, value)
    }
    const store = adapter({ set }, map)
    const { result, again } = await precache(t, url, {}, { store, memory: false })
    assert.equal(result.stored, 1)
    isFull = true
    await sleep(5)
    const { notStored } = await again({ headers: { 'cache-control': 'no-cache' } })
    assert.deepEqual(reasons(notStored, url), ['/: not-kept'])
  })

  test('because there is no cache', async (t) => {
    const { url } = await site(t, { '/': 'x' })
    const dispatcher = new Agent()
    t.after(() => dispatcher.close())
    const { result } = await precache(t, url, { dispatcher })
    assert.deepEqual(reasons(result.notStored, url), ['/: no-cache'])
  })

  test('although responses do not tell what the cache does, it is known', async (t) => {
    const { url } = await site(t, NESTED)
    const { result, again } = await precache(t, `${url}/docs/`, {}, { cacheStatus: false })
    assert.equal(result.stored, 5)
    assert.equal((await again()).present, 5)
  })
})

suite('Precaching: manners', () => {
  const pages = { '/': anchors('/a', '/b'), '/a': '', '/b': '' }
  const robots = (...lines: string[]): Resource => ['text/plain', lines.join('\n')]

  test('robots.txt is asked for once, and obeyed', async (t) => {
    const rules = robots('user-agent: *', 'disallow: /b')
    const { url, asked } = await site(t, { ...pages, '/robots.txt': rules })
    const { result } = await precache(t, url)
    assert.deepEqual(asked, ['/robots.txt', '/', '/a'])
    assert.deepEqual(result.skipped, [{ url: `${url}/b`, from: `${url}/`, reason: 'robots' }])
  })

  test('as caching-agent, or whoever the User-Agent is', async (t) => {
    const rules = robots('user-agent: caching-agent', 'disallow: /a', 'user-agent: own', 'disallow: /b') // biome-ignore format: a row
    const { url } = await site(t, { ...pages, '/robots.txt': rules })
    const { result } = await precache(t, url)
    assert.deepEqual(reasons(result.skipped, url), ['/a: robots'])
    const { result: own } = await precache(t, url, { headers: { 'user-agent': 'Own/1.0 (+x)' } })
    assert.deepEqual(reasons(own.skipped, url), ['/b: robots'])
  })

  test('unless they are not wanted', async (t) => {
    const rules = robots('user-agent: *', 'disallow: /')
    const { url, asked } = await site(t, { ...pages, '/robots.txt': rules })
    const { result } = await precache(t, url, { robots: false })
    assert.equal(result.stored, 3)
    assert.ok(!asked.includes('/robots.txt'))
  })

  test('what is in the cache may be used, whatever robots.txt says now', async (t) => {
    const resources: Record<string, Resource> = { ...pages }
    const { url } = await site(t, resources)
    const { again } = await precache(t, url)
    resources['/robots.txt'] = robots('user-agent: *', 'disallow: /')
    const { present, skipped } = await again()
    assert.deepEqual({ present, skipped }, { present: 3, skipped: [] })
  })

  test('RFC 9309 §2.4: what robots.txt says counts for a day, however long it is kept', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() })
    const resources: Record<string, Resource> = { ...pages, '/robots.txt': robots() }
    const { url, asked } = await site(t, resources)
    const { agent } = await precache(t, `${url}/a`, {}, { expireAfter: NEVER_EXPIRE })
    resources['/robots.txt'] = robots('user-agent: *', 'disallow: /b')
    t.mock.timers.tick(23 * 3_600_000)
    assert.equal((await agent.precache(url, { depth: 0 })).stored, 1)
    assert.deepEqual(asked, ['/robots.txt', '/a', '/'])
    t.mock.timers.tick(2 * 3_600_000)
    const { skipped } = await agent.precache(`${url}/b`)
    assert.deepEqual(reasons(skipped, url), ['/b: robots'])
    assert.deepEqual(asked, ['/robots.txt', '/a', '/', '/robots.txt'])
  })

  // biome-ignore format: one rule a row
  const unavailable: [rule: string, resource: Resource, stored: number, failure: RegExp][] = [
    ['without a robots.txt everything is allowed', (_, response) => response.writeHead(404).end(), 3, /^$/],
    ['also if it is nobody’s business', (_, response) => response.writeHead(403).end('disallow: /'), 3, /^$/],
    ['where the origin cannot tell, nothing is', (_, response) => response.writeHead(500).end(), 0, /^robots\.txt: status 500$/],
    ['nor where it is cut off', (_, response) => response.writeHead(200, { 'content-length': '9' }).write('x', () => response.destroy()), 0, /./],
    ['one that is endless is read for a while', (_, response) => void response.write('user-agent: *\ndisallow: /b\n'.repeat(20_000)), 2, /^$/],
    ['one that has moved counts', redirect('/other-robots.txt'), 2, /^$/],
  ]
  for (const [rule, resource, stored, failure] of unavailable) {
    test(rule, async (t) => {
      const moved = robots('user-agent: *', 'disallow: /b')
      const resources = { ...pages, '/robots.txt': resource, '/other-robots.txt': moved }
      const { url } = await site(t, resources)
      const { result } = await precache(t, url)
      assert.equal(result.stored, stored)
      assert.match(result.failed[0]?.reason ?? '', failure)
    })
  }

  test('Crawl-delay keeps requests apart', async (t) => {
    const times: number[] = []
    const { url } = await origin(t, ({ url: path }, response) => {
      if (path === '/robots.txt') return response.end('user-agent: *\ncrawl-delay: 0.2')
      times.push(performance.now())
      return response
        .setHeader('Content-Type', 'text/html')
        .end(path === '/' ? anchors('a', 'b') : '')
    })
    assert.equal((await precache(t, url)).result.stored, 3)
    const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0))
    // How long they take to arrive may differ.
    for (const gap of gaps) assert.ok(gap > 100, String(gaps))
  })

  test('links that are not to be followed are not, but may be elsewhere', async (t) => {
    const { url, asked } = await site(t, {
      '/': '<a rel=nofollow href=/a><a rel="external NOFOLLOW" href=/b><a href=/c><a href=/d>',
      '/c': '<a href=/a>',
      '/d': '<meta name=robots content=nofollow><a href=/e><img src=/f>',
      '/a': '',
      '/f': ['image/png', ''],
    })
    const { result } = await precache(t, url, { depth: 2 })
    assert.deepEqual(reasons(result.skipped, url), ['/b: nofollow', '/e: nofollow'])
    assert.ok(asked.includes('/a') && asked.includes('/f'))
    const { result: all } = await precache(t, url, { depth: 2, robots: false })
    assert.deepEqual(all.skipped, [])
  })

  test('no more requests at a time than are wanted, in all and of each origin', async (t) => {
    const underWay = new Map<string, number>()
    const most = new Map<string, number>()
    const count = (name: string, change: number) => {
      underWay.set(name, (underWay.get(name) ?? 0) + change)
      most.set(name, Math.max(most.get(name) ?? 0, underWay.get(name) ?? 0))
    }
    const sites = await Promise.all(
      ['a', 'b', 'c'].map((name) =>
        origin(t, async ({ url: path }, response) => {
          for (const each of ['all', name]) count(each, 1)
          await sleep(40)
          for (const each of ['all', name]) count(each, -1)
          const links = Array.from({ length: 20 }, (_, index) => `/${index}`)
          response.setHeader('Content-Type', 'text/html').end(path === '/' ? anchors(...links) : '')
        }),
      ),
    )
    const urls = sites.map(({ url }) => url)
    const { result } = await precache(t, urls, { concurrency: 5, perOrigin: 3 })
    assert.equal(result.stored, 63)
    const { all, ...each } = Object.fromEntries(most)
    assert.deepEqual([all, Math.max(...Object.values(each))], [5, 3])
  })

  test('an origin that is too busy is not asked for ever', async (t) => {
    const { url, asked } = await site(t, {
      '/': (_, response) => response.writeHead(503, 'Busy', { 'retry-after': '0' }).end(),
    })
    const { result } = await precache(t, url, { retry: 3 })
    assert.deepEqual(reasons(result.failed, url), ['/: 503 Busy'])
    assert.equal(asked.filter((path) => path === '/').length, 4)
  })

  test('one that wants to be left alone for long is', async (t) => {
    const later = new Date(Date.now() + 3_600_000).toUTCString()
    const { url, asked } = await site(t, {
      '/': anchors('/a', '/b', '/c'),
      '/a': (_, response) => response.writeHead(429, { 'retry-after': later }).end(),
    })
    const { result } = await precache(t, url, { concurrency: 1 })
    assert.deepEqual(reasons(result.failed, url), ['/a: 429 Too Many Requests'])
    assert.deepEqual(reasons(result.skipped, url), ['/b: retry-after', '/c: retry-after'])
    assert.deepEqual(asked, ['/robots.txt', '/', '/a'])
  })
})

suite('Precaching: sitemaps', () => {
  const urlset = (url: string, ...paths: string[]) =>
    `<urlset>${paths.map((path) => `<url><loc>${url}${path}</loc></url>`).join('')}</urlset>`
  const index = (url: string, ...paths: string[]) =>
    `<sitemapindex>${paths.map((path) => `<sitemap><loc>${url}${path}</loc></sitemap>`).join('')}</sitemapindex>`

  async function siteWithMaps(t: TestContext, maps: (url: string) => Record<string, Resource>) {
    const resources: Record<string, Resource> = {
      '/a': anchors('/a2'),
      '/b': '',
      '/c': '',
      '/a2': '',
    }
    const served = await site(t, resources)
    Object.assign(resources, maps(served.url))
    return served
  }

  test('stand for what they list', async (t) => {
    const { url, asked } = await siteWithMaps(t, (own) => ({
      '/map': ['application/xml', urlset(own, '/a', '/b')],
    }))
    const sitemap = `${url}/map`
    assert.equal((await precache(t, { sitemap }, { depth: 0 })).result.stored, 3)
    assert.deepEqual([...asked].sort(), ['/a', '/b', '/map', '/robots.txt'])
    assert.equal((await precache(t, { sitemap })).result.stored, 4)
  })

  test('are recognised', async (t) => {
    const { url } = await siteWithMaps(t, (own) => ({
      '/map': ['text/xml', urlset(own, '/a')],
      '/sitemap.xml.gz': ['application/octet-stream', gzipSync(urlset(own, '/b'))],
      '/feed.xml': ['application/xml', '<rss/>'],
      '/page.xml': anchors('/c'),
    }))
    const urls = ['/map', '/sitemap.xml.gz', '/feed.xml', '/page.xml'].map((path) => url + path)
    const { result } = await precache(t, urls)
    assert.deepEqual(result.failed, [])
    assert.equal(result.stored, 8)
  })

  test('may be lists of lists, in any form, and in circles', async (t) => {
    const { url } = await siteWithMaps(t, (own) => ({
      '/index': ['application/xml', index(own, '/inner', '/plain', '/index')],
      '/inner': ['application/xml', index(own, '/zipped', '/index')],
      '/zipped': ['application/gzip', gzipSync(urlset(own, '/a'))],
      '/plain': ['text/plain', `${own}/b\n${own}/c\nhttp://[bad/\n`],
    }))
    const { result, again } = await precache(t, { sitemap: new URL('/index', url) }, { depth: 0 })
    assert.equal(result.stored, 7)
    assert.deepEqual(reasons(result.failed, url), ['http://[bad/: Invalid URL'])
    assert.equal((await again()).present, 7)
  })

  test('list what is theirs', async (t) => {
    const { url } = await siteWithMaps(t, (own) => ({
      '/map': ['text/plain', `${own}/a\nhttp://127.0.0.1:1/x`],
    }))
    const { result } = await precache(t, { sitemap: `${url}/map` }, { depth: 0 })
    assert.deepEqual(reasons(result.skipped, url), ['http://127.0.0.1:1/x: other-origin'])
  })

  test('have failed where they are none', async (t) => {
    const { url } = await siteWithMaps(t, () => ({
      '/page': '<!doctype html><title>Not found</title>',
      '/damaged': ['application/gzip', gzipSync('http://x/').subarray(0, 12)],
    }))
    const given = ['/page', '/damaged', '/missing'].map((path) => ({ sitemap: url + path }))
    const { result } = await precache(t, given)
    const [damaged, ...others] = reasons(result.failed, url)
    assert.match(damaged ?? '', /^\/damaged: /)
    assert.deepEqual(others, ['/missing: 404 Not Found', '/page: no sitemap'])
  })
})

suite('Precaching: what is wanted', () => {
  test('pages or assets', async (t) => {
    const { url, asked } = await site(t, NESTED)
    const all = { depth: Infinity, robots: false } as const
    const pages = ['/docs/', '/docs/a/', '/docs/b/c.html', '/docs/b/d.html', '/other.html']
    await precache(t, `${url}/docs/`, { ...all, links: 'pages' })
    assert.deepEqual(asked.splice(0).sort(), pages)
    await precache(t, `${url}/docs/`, { ...all, links: 'assets' })
    assert.deepEqual(asked.splice(0).sort(), ['/docs/', '/docs/logo.png', '/docs/logo2.png'])
  })

  test('links for which a function says so', async (t) => {
    const { url, asked } = await site(t, NESTED)
    const { result } = await precache(t, `${url}/docs/`, {
      links: ({ element, attribute }) => element === 'img' && attribute === 'srcset',
    })
    assert.deepEqual(asked, ['/robots.txt', '/docs/', '/docs/logo2.png'])
    assert.equal(result.found, 2)
  })

  test('URLs for which a filter does, wherever they are from', async (t) => {
    const { url } = await site(t, {
      ...NESTED,
      '/docs/a/': redirect('/elsewhere'),
      '/map': ['text/plain', ''],
    })
    const calls: string[] = []
    const { result } = await precache(t, `${url}/docs/`, {
      filter: ({ pathname }, { from, depth }) => {
        calls.push(`${pathname} ${from?.replace(url, '')} ${depth}`)
        return !pathname.endsWith('.png') && pathname !== '/elsewhere'
      },
    })
    assert.deepEqual(calls.sort(), [
      '/docs/ undefined 0',
      '/docs/a/ /docs/ 1',
      '/docs/logo.png /docs/ 1',
      '/docs/logo2.png /docs/ 1',
      '/elsewhere /docs/a/ 1',
      '/other.html /docs/ 1',
    ])
    assert.deepEqual(reasons(result.skipped, url), ['/docs/logo.png: filter', '/docs/logo2.png: filter', '/elsewhere: filter']) // biome-ignore format: a row
  })

  test('a function that throws concerns one URL', async (t) => {
    const { url } = await site(t, { '/': anchors('/a', '/%', '/b'), '/a': '', '/b': '' })
    const { result } = await precache(t, url, {
      filter: ({ pathname }) => decodeURIComponent(pathname) !== '/b',
      links: ({ url: target }) => {
        if (target.endsWith('/a')) throw new Error('not this one')
        return true
      },
    })
    assert.deepEqual(reasons(result.failed, url), ['/%: URI malformed', '/a: not this one'])
    assert.deepEqual(reasons(result.skipped, url), ['/b: filter'])
  })

  test('nor does one that takes its time: it is told, and decides nothing', async (t) => {
    const { url, asked } = await site(t, { '/': anchors('/a') })
    for (const filter of [async () => true, async () => assert.fail('too late')]) {
      const { result } = await precache(t, url, { filter: filter as never })
      const reason = 'precache.filter: expected true or false, got a promise'
      assert.deepEqual(reasons(result.failed, url), [`/: ${reason}`])
    }
    assert.deepEqual(asked, [])
    const { result } = await precache(t, url, { links: (async () => true) as never })
    assert.deepEqual(reasons(result.failed, url), ['/a: precache.links: expected true or false, got a promise']) // biome-ignore format: a row
  })

  test('no more than so many, and none that are too long', async (t) => {
    const { url, asked } = await site(t, {
      '/': anchors(
        'http://[bad/',
        `/${'x'.repeat(8000)}`,
        ...Array.from({ length: 10 }, (_, index) => `/${index}`),
      ),
      '/0': '',
      '/1': '',
    })
    const { result, again } = await precache(t, url, { limit: 3 })
    assert.equal(asked.length, 4)
    assert.equal(result.stored, 3)
    const skipped = result.skipped.map(({ reason }) => reason).sort()
    assert.deepEqual(skipped, [...Array(9).fill('limit'), 'too-long'])
    // What is there already counts as well: the same again is the same again.
    assert.equal((await again()).present, 3)
    assert.equal(asked.length, 4)
  })

  test('more than is listed is counted', async (t) => {
    const elsewhere = Array.from({ length: 11_000 }, (_, index) => `http://other.example/${index}`)
    const { url } = await site(t, { '/': anchors(...elsewhere) })
    const { result } = await precache(t, url)
    assert.equal(result.skipped.length, 10_000)
    assert.equal(result.omitted, 1000)
    assert.equal(result.found, 11_001)
  })
})

suite('Precaching: progress and its end', () => {
  test('is told after each URL', async (t) => {
    const { url } = await site(t, { ...NESTED, '/other.html': (_, response) => response.writeHead(500).end() }) // biome-ignore format: a row
    const told: PrecacheProgress[] = []
    const onProgress = (progress: PrecacheProgress) => void told.push(progress)
    const { result } = await precache(t, `${url}/docs/`, { depth: Infinity, onProgress })
    assert.deepEqual(
      told.map(({ done }) => done),
      Array.from({ length: 10 }, (_, index) => index + 1),
    )
    assert.equal(told[0]?.url, `${url}/docs/`)
    assert.equal(told[0]?.found, 5)
    const { found, stored, present, bytes } = result
    const last = { found, stored, present, bytes, failed: 1, done: 10, url: told.at(-1)?.url }
    assert.deepEqual(told.at(-1), last)
  })

  test('counts each URL when it is told, however many are through at the same time', async (t) => {
    const paths = Array.from({ length: 40 }, (_, index) => `/${index}`)
    const { url } = await site(t, { '/': anchors(...paths), ...Object.fromEntries(paths.map((path) => [path, path])) }) // biome-ignore format: a row
    const store = `sqlite://${join(folder(), 'cache.sqlite')}`
    const told: number[] = []
    const onProgress = ({ done }: PrecacheProgress) => void told.push(done)
    const { again } = await precache(t, url, { onProgress }, { store })
    await again()
    const each = Array.from({ length: 41 }, (_, index) => index + 1)
    assert.deepEqual(told, [...each, ...each])
  })

  test('can be ended by what listens to it', async (t) => {
    const { url, asked } = await site(t, NESTED)
    const onProgress = () => {
      throw new Error('enough')
    }
    await assert.rejects(precache(t, `${url}/docs/`, { onProgress }), /^Error: enough$/)
    assert.deepEqual(asked, ['/robots.txt', '/docs/'])
    const later = async () => assert.fail('enough')
    await assert.rejects(precache(t, `${url}/docs/`, { onProgress: later }), /enough/)
  })

  test('ends with a signal, and goes on from there when it is called again', async (t) => {
    const links = Array.from({ length: 50 }, (_, index) => `/${index}`)
    const resources = Object.fromEntries(
      links.map((path): [string, Resource] => [path, (_, response) => setTimeout(() => response.end(path), 5)]), // biome-ignore format: a row
    )
    const { url, asked } = await site(t, { '/': anchors(...links), ...resources })
    const agent = testAgent(t, { expireAfter: '1h' })
    const ending = new AbortController()
    const reason = new Error('stopped')
    const onProgress = ({ done }: PrecacheProgress) => {
      if (done === 20) ending.abort(reason)
    }
    const ended = agent.precache(url, { signal: ending.signal, onProgress })
    await assert.rejects(ended, (error) => error === reason)
    // What was on its way then still arrives.
    await sleep(50)
    const before = asked.length
    await sleep(50)
    assert.equal(asked.length, before)
    assert.ok(before < 40, String(before))

    const { stored, present, failed } = checked(await agent.precache(url))
    assert.equal(stored + present, 51)
    assert.ok(present >= 20, String(present))
    assert.deepEqual(failed, [])
  })

  test('does not begin with a signal that is aborted', async (t) => {
    const { url, asked } = await site(t, NESTED)
    const signal = AbortSignal.abort()
    await assert.rejects(precache(t, url, { signal }), { name: 'AbortError' })
    assert.deepEqual(asked, [])
  })

  test('ends while it waits', async (t) => {
    const { url } = await site(t, {
      '/': (_, response) => response.writeHead(503, { 'retry-after': '50' }).end(),
      '/robots.txt': (_, response) => response.writeHead(503, { 'retry-after': '50' }).end(),
    })
    for (const robots of [true, false]) {
      const signal = AbortSignal.timeout(200)
      await assert.rejects(precache(t, url, { signal, robots }), { name: 'TimeoutError' })
    }
  })

  test('ends with its agent', async (t) => {
    const links = Array.from({ length: 50 }, (_, index) => `/${index}`)
    const { url } = await site(t, { '/': anchors(...links) })
    const agent = testAgent(t, { expireAfter: '1h' })
    const onProgress = ({ done }: PrecacheProgress) => {
      if (done === 2) void agent.destroy()
    }
    await assert.rejects(agent.precache(url, { onProgress }), { code: 'UND_ERR_DESTROYED' })
    await assert.rejects(agent.precache(url), { code: 'UND_ERR_DESTROYED' })
  })
})

suite('Precaching: who fetches', () => {
  test('the agent that the cache was made for', async (t) => {
    const { url } = await site(t, { '/': 'x' })
    const agent = testAgent(t, { expireAfter: '1h' })
    assert.equal((await agent.cache.precache(url)).stored, 1)
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('or the interceptor', async (t) => {
    const { url } = await site(t, { '/': 'x' })
    const interceptor = cacheInterceptor({ store: 'memory:', expireAfter: '1h' })
    await assert.rejects(interceptor.cache.precache(url), /^TypeError: precache: this cache was made for no agent/) // biome-ignore format: a row
    const dispatcher = new Agent().compose(interceptor)
    t.after(() => dispatcher.close())
    assert.equal((await interceptor.cache.precache(url)).stored, 1)
  })

  test('or whoever is told to', async (t) => {
    const { url } = await site(t, { '/': 'x' })
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    await assert.rejects(cache.precache(url), {
      name: 'TypeError',
      message:
        'precache: this cache was made for no agent, so nothing fetches for it: call agent.precache(), or give the option dispatcher, such as cachingAgent({ cache })',
    })
    const agent = testAgent(t, { cache, expireAfter: '1h' })
    assert.equal((await cache.precache(url, { dispatcher: agent })).stored, 1)
    assert.equal((await agent.precache(url)).present, 1)
    await assert.rejects(cache.precache(url), { name: 'TypeError' })
  })

  test('by its own terms, and those of the context', async (t) => {
    const { url } = await site(t, { '/': 'x' })
    const agent = testAgent(t)
    const ttl = async () => (await get(agent, url)).info?.ttl ?? 0
    assert.equal((await agent.precache(url)).notStored.length, 1)
    assert.equal((await agent.with({ expireAfter: '1h' }).precache(url)).stored, 1)
    assert.ok((await ttl()) > 3_000_000)
    await agent.cache.clear()
    assert.equal((await withTerms({ expireAfter: '2h' }, () => agent.precache(url))).stored, 1)
    assert.ok((await ttl()) > 7_000_000)
  })
})

suite('Precaching: options', () => {
  const url = 'http://example.com/'

  // biome-ignore format: one rule a row
  const refused: [rule: string, target: unknown, options: unknown, message: RegExp][] = [
    ['no target', undefined, {}, /^precache: expected absolute http or https URLs, or \{ sitemap: URL \}, got undefined$/],
    ['a relative one', '/docs/', {}, /^precache: expected absolute http or https URLs, .+ got '\/docs\/'$/],
    ['one of another scheme', new URL('ftp://example.com'), {}, /^precache: expected absolute http or https URLs/],
    ['one of several', [url, 42], {}, /^precache: .+ got 42$/],
    ['a sitemap that is none', { sitemap: true }, {}, /^precache: .+ got \{ sitemap: true \}$/],
    ['options that are none', url, 'depth', /^precache: expected an object of options, got 'depth'$/],
    ['an unknown one', url, { deph: 1 }, /^precache: unknown option "deph"; the options are links, depth, .*dispatcher$/],
    ['links', url, { links: ['a'] }, /^precache\.links: expected 'all', 'pages', 'assets' or a function, got \[/],
    ['depth that is negative', url, { depth: -1 }, /^precache\.depth: expected a whole number of 0 or more, or Infinity, got -1$/],
    ['depth that is text', url, { depth: '1' }, /^precache\.depth: .+ got '1'$/],
    ['sameOrigin', url, { sameOrigin: 'assets' }, /^precache\.sameOrigin: expected a boolean, got 'assets'$/],
    ['filter', url, { filter: /a/ }, /^precache\.filter: expected a function, got \/a\/$/],
    ['limit', url, { limit: 0 }, /^precache\.limit: expected a whole number above 0/],
    ['concurrency', url, { concurrency: 1.5 }, /^precache\.concurrency: expected a whole number above 0/],
    ['perOrigin', url, { perOrigin: null }, /^precache\.perOrigin: expected a whole number above 0/],
    ['robots', url, { robots: 'yes' }, /^precache\.robots: expected a boolean, got 'yes'$/],
    ['timeout without a unit', url, { timeout: '30' }, /^precache\.timeout: expected a number of milliseconds or a duration such as "30s", .+ got '30'$/],
    ['timeout that is endless', url, { timeout: Infinity }, /^precache\.timeout: .+ got Infinity$/],
    ['retry', url, { retry: 0.5 }, /^precache\.retry: expected a whole number of 0 or more, or Infinity, got 0\.5$/],
    ['headers that are none', url, { headers: 'a: b' }, /^precache\.headers: expected request fields by name, got 'a: b'$/],
    ['headers with a bad name', url, { headers: { 'a b': 'c' } }, /^precache\.headers: expected request fields by name, got \{/],
    ['signal', url, { signal: new AbortController() }, /^precache\.signal: expected an AbortSignal, got /],
    ['onProgress', url, { onProgress: true }, /^precache\.onProgress: expected a function, got true$/],
    ['dispatcher', url, { dispatcher: {} }, /^precache\.dispatcher: expected an undici Dispatcher, got \{\}$/],
  ]
  for (const [rule, target, options, message] of refused) {
    test(`refused: ${rule}`, async (t) => {
      const agent = testAgent(t)
      const precached = agent.precache(target as string, options as PrecacheOptions)
      await assert.rejects(precached, { name: 'TypeError', message })
    })
  }

  test('accepted: all of them, and those that are undefined', async (t) => {
    const own = await site(t, { '/': 'x' })
    const options: Required<PrecacheOptions> = {
      links: 'all',
      depth: 1,
      sameOrigin: 'pages',
      filter: () => true,
      limit: Infinity,
      concurrency: 1,
      perOrigin: Infinity,
      robots: true,
      timeout: '1m',
      retry: 0,
      headers: { 'accept-language': 'de' },
      signal: new AbortController().signal,
      onProgress: () => {},
      dispatcher: testAgent(t),
    }
    const none = Object.fromEntries(Object.keys(options).map((name) => [name, undefined]))
    assert.equal((await precache(t, own.url, none)).result.stored, 1)
    const { agent } = await precache(t, own.url)
    await agent.precache(own.url, options)
  })

  test('programs that do not precache load nothing for it', async () => {
    const program = `
      import { registerHooks } from 'node:module'
      const loaded = []
      registerHooks({
        load(url, context, next) {
          loaded.push(url)
          return next(url, context)
        },
      })
      const { cachingAgent } = await import('caching-agent')
      const agent = cachingAgent({ store: 'memory:' })
      const count = () => loaded.filter((url) => /lib.precache.|htmlparser2/.test(url)).length
      const before = count()
      await agent.precache([])
      console.log(before, count() > 5)
      await agent.close()
    `
    const command = ['--conditions=source', '--input-type=module', '--eval', program]
    const cwd = new URL('..', import.meta.url)
    const { stdout } = await promisify(execFile)(process.execPath, command, { cwd })
    assert.equal(stdout, '0 true\n')
  })
})
