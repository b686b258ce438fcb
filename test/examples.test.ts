import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { startSite } from '../examples/origin/documentation.ts'
import { findNginx } from '../examples/origin/nginx.ts'

const EXAMPLES = fileURLToPath(new URL('../examples/', import.meta.url))
const SERVERS = ['node', 'nginx'] as const

function missing(server: string): string | false {
  return server === 'nginx' && findNginx() === undefined && 'there is no nginx here'
}

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'examples-'))
  t.after(() => rmSync(folder, { recursive: true }))
  return folder
}

/** Runs an example as a reader does, and returns what it prints. */
async function run(
  t: TestContext,
  name: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
  cwd = temporaryFolder(t),
): Promise<string> {
  const { DOCS: _, PRECACHE_FILE: __, NODE_USE_ENV_PROXY: ___, ...ours } = process.env
  const command = ['--conditions=source', join(EXAMPLES, name), ...args]
  // From nearby: the origin's distance is for readers.
  const options = { cwd, env: { ...ours, DISTANCE: '2', ...env }, timeout: 55_000 }
  const { stdout } = await promisify(execFile)(process.execPath, command, options)
  return stdout
}

async function origin(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function numbers(text: string, pattern: RegExp): number[] {
  return [...text.matchAll(pattern)].map(([, number]) => Number(number))
}

suite('examples/url-patterns.ts', () => {
  test('prints the expiration of each URL: an hour, a week or never', async (t) => {
    const start = Date.now()
    const printed = await run(t, 'url-patterns.ts')
    const lines = printed.trim().split('\n')
    const expected: Record<string, number> = {
      'https://httpbin.org/get': 3_600_000,
      'https://httpbin.org/image/jpeg': 604_800_000,
      'https://httpbin.org/image/png': 604_800_000,
      'https://httpbin.org/images': 3_600_000,
      'https://www.fillmurray.com/460/300': Infinity,
    }
    for (const [url, lifetime] of Object.entries(expected)) {
      const [first = '', second = ''] = lines.filter((line) => line.startsWith(`${url}: `))
      const text = first.slice(url.length + 2).replace(/ \(.*/, '')
      if (lifetime === Infinity) assert.equal(text, 'Never')
      else {
        const left = Date.parse(text) - start
        assert.ok(left >= lifetime && left < lifetime + 30_000, first)
      }
      assert.match(first, / \(miss\)$/)
      assert.equal(second, first.replace('miss', 'hit'))
    }
  })

  test('requests the URLs that it is given', async (t) => {
    let received = 0
    const url = await origin(t, (_, response) => {
      received += 1
      response.end('content')
    })
    const printed = await run(t, 'url-patterns.ts', [`${url}/a`, `${url}/b`])
    assert.equal(received, 2)
    assert.equal(printed.match(/\/[ab]: \d{4}-.*Z \(miss\)$/gm)?.length, 2)
    assert.equal(printed.match(/\/[ab]: \d{4}-.*Z \(hit\)$/gm)?.length, 2)
  })
})

suite('examples/precache.ts', () => {
  for (const server of SERVERS) {
    const skip = missing(server)
    test(`fetches a documentation site from ${server} cold and warm`, { skip }, async (t) => {
      const printed = await run(t, 'precache.ts', [], { ORIGIN: server })
      const links = numbers(printed, /Found (\d+) links/g)
      assert.equal(links.length, 2)
      assert.ok(
        links.every((count) => count >= 100),
        printed,
      )
      const [cold = 0, warm = Number.NaN] = numbers(printed, /and cached (\d+\.\d{3}) MB/g)
      assert.ok(cold > 0.5, printed)
      assert.equal(warm, 0)
      assert.match(printed, /The second run was [\d.]+ times faster/)
    })

    test(`the site of ${server} has validators and compression`, { skip }, async (t) => {
      const before = process.env.ORIGIN
      process.env.ORIGIN = server
      const site = await startSite()
      t.after(() => site.close())
      if (before === undefined) delete process.env.ORIGIN
      else process.env.ORIGIN = before

      const { status, headers } = await fetch(`${site.url}/undici/README.md`)
      assert.equal(status, 200)
      assert.equal(headers.get('content-type'), 'text/markdown')
      assert.equal(headers.get('content-encoding'), 'gzip')
      assert.equal(headers.get('vary'), 'Accept-Encoding')
      const conditions = {
        'if-none-match': headers.get('etag') ?? '',
        'if-modified-since': headers.get('last-modified') ?? '',
      }
      for (const [name, value] of Object.entries(conditions)) {
        const validated = await fetch(`${site.url}/undici/README.md`, {
          headers: { [name]: value },
        })
        assert.equal(validated.status, 304, name)
      }
    })
  }

  test('reports bad links, each once, and skips them', async (t) => {
    const printed = await run(t, 'precache.ts', [], { ORIGIN: 'node' })
    const [cold = ''] = printed.split('--- Warm')
    assert.equal(cold.match(/^Skipped .*\/no\/such\/document\.html: 404 Not Found$/gm)?.length, 1)
    assert.equal(cold.match(/^Skipped .*: connect ECONNREFUSED .*$/gm)?.length, 1)
    assert.equal(cold.match(/^Skipped http:\/\/\[bad\/: Invalid URL$/gm)?.length, 1)
  })

  test('fetches each link of a page once, and nothing the second time', async (t) => {
    const received: string[] = []
    const url = await origin(t, ({ url: path = '' }, response) => {
      received.push(path)
      if (path !== '/page') return void response.end('content '.repeat(1000))
      const links = Array.from({ length: 200 }, (_, i) => `<a class="x" href='./${i % 150}#${i}'>`)
      response.end(`${links.join('\n')}<a href=mailto:a@example.com><a href="/150?a=1&amp;b=2">`)
    })
    const cwd = temporaryFolder(t)
    const cold = await run(t, 'precache.ts', [`${url}/page`], {}, cwd)
    assert.match(cold, /^Found 151 links$/m)
    assert.ok(!cold.includes('\r'), 'a bar where there is no terminal')
    assert.match(cold, /^Completed run in \d+\.\d{3} seconds and cached [1-9]\d*\.\d{3} MB$/m)
    assert.equal(received.length, 152)
    assert.equal(new Set(received).size, 152)
    assert.ok(received.includes('/150?a=1&b=2'))
    assert.ok(existsSync(join(cwd, 'precache.sqlite')))

    const warm = await run(t, 'precache.ts', [`${url}/page`], {}, cwd)
    assert.match(warm, /^Completed run in \d+\.\d{3} seconds and cached 0\.000 MB$/m)
    assert.equal(received.length, 152)
  })
})

suite('examples/log-requests.ts', () => {
  test('makes ten requests of which one goes out', async (t) => {
    const printed = await run(t, 'log-requests.ts')
    assert.equal(printed.match(/^ {2}sent: GET /gm)?.length, 1)
    assert.equal(printed.match(/^Request \d+: 200 \(hit\)$/gm)?.length, 9)
    assert.match(printed, /^10 requests were made, 1 went out$/m)
    assert.match(printed, /^The server received 1$/m)
  })

  test('requests the URL that it is given', async (t) => {
    let received = 0
    const url = await origin(t, (_, response) => {
      received += 1
      response.end('content')
    })
    const printed = await run(t, 'log-requests.ts', [url])
    assert.equal(received, 1)
    assert.match(printed, /^10 requests were made, 1 went out$/m)
  })
})

suite('examples/unchanged-program.ts', () => {
  test('makes no request twice after one line', async (t) => {
    const printed = await run(t, 'unchanged-program.ts')
    const [before = '', after = ''] = printed.split('After')
    const [first = 0, ...others] = numbers(before, /(\d+) requests received/g)
    assert.ok(first > 1, printed)
    assert.deepEqual(others, [first])
    assert.deepEqual(numbers(after, /(\d+) requests received/g), [first, 0])
  })

  test('asks the registry that it is given', async (t) => {
    let received = 0
    const url = await origin(t, (_, response) => {
      received += 1
      response.setHeader('Cache-Control', 'max-age=60').end('{"version":"1.0.0"}')
    })
    const printed = await run(t, 'unchanged-program.ts', [url])
    assert.equal(received, 3)
    assert.equal(printed.match(/publint needs 0 packages: \d+ ms$/gm)?.length, 4)
  })
})

suite('examples/negative-caching.ts', () => {
  test('nobody asks twice what is not there, nor a server that is down', async (t) => {
    const printed = await run(t, 'negative-caching.ts')
    for (const [path, status] of [
      ['/users/1', 200],
      ['/users/2', 404],
      ['/orders', 503],
    ]) {
      // biome-ignore format: one line
      const line = `${path}: first ${status} (miss), then ${status} (hit); 1 of 10 requests received`
      assert.ok(printed.includes(`${line}\n`), printed)
    }
    const [, after = ''] = printed.split('The server is back')
    assert.match(after, /\/orders: first 200 \(miss\), then 200 \(hit\); 1 of 10 requests received/)
  })
})

suite('examples/time-machine.ts', () => {
  test('knows what was known on a day, and no more', async (t) => {
    const printed = await run(t, 'time-machine.ts')
    const prices = numbers(printed, /^Day \d: (\d+)$/gm)
    assert.equal(prices.length, 5)
    for (let day = 1; day <= 5; day += 1) {
      const known = prices.map((price, index) => (index < day ? price : 'unknown')).join(', ')
      assert.ok(printed.includes(`On the evening of day ${day}: ${known}\n`), printed)
    }
  })
})

suite('examples/conditional-requests.ts', () => {
  test('ten polls cost two requests of the limit: the first, and the change', async (t) => {
    const printed = await run(t, 'conditional-requests.ts')
    const lines = printed.trim().split('\n')
    const left = numbers(printed, /(\d+) requests left$/gm)
    assert.deepEqual(left, [59, 59, 59, 59, 59, 58, 58, 58, 58, 58])
    for (const [index, line] of lines.entries()) {
      assert.match(line, [0, 5].includes(index) ? /: miss, / : /: revalidated, /)
    }
  })

  test('polls the URL that it is given', async (t) => {
    const conditions: (string | undefined)[] = []
    const url = await origin(t, ({ headers }, response) => {
      conditions.push(headers['if-none-match'])
      response.setHeader('ETag', '"1"')
      response.statusCode = headers['if-none-match'] ? 304 : 200
      response.end(response.statusCode === 304 ? undefined : 'content')
    })
    const printed = await run(t, 'conditional-requests.ts', [url])
    assert.equal(printed.match(/revalidated, 7 bytes/g)?.length, 9)
    assert.deepEqual(conditions, [undefined, ...Array(9).fill('"1"')])
  })
})

suite('examples/offline-tests.ts', () => {
  test('records once, and replays without a network from a file that cannot be changed', async (t) => {
    const printed = await run(t, 'offline-tests.ts')
    const [recorded = '', replayed = ''] = printed.split("mode: 'replay'\n")
    assert.deepEqual(numbers(printed, /(\d) requests received/g), [2, 0])
    for (const part of [recorded, replayed]) assert.equal(part.match(/^ {2}ok: /gm)?.length, 2)
    const [live, stored] = numbers(printed, /Berlin: sunny, (\d+)/g)
    assert.ok(live !== undefined && live === stored, printed)
    assert.match(replayed, /GET https:\/\/weather\.example\/forecast\?city=Bern is not stored/)
    assert.match(replayed, /nearest that are stored:\n.*GET .*city=Berlin$/m)
    assert.match(replayed, /of no use: https:\/\/weather\.example\/imprint$/m)
  })
})

suite('examples/opentelemetry.ts', () => {
  test('exports a span for each hit, below that of its caller, and the metrics of the cache', async (t) => {
    const printed = await run(t, 'opentelemetry.ts')
    assert.equal(printed.match(/^Span report > GET [\d.]+ ms \{$/gm)?.length, 4)
    assert.equal(
      printed.match(/'http\.cache\.hit': true,\n {2}'http\.cache\.outcome': 'hit'/g)?.length,
      4,
    )
    assert.match(printed, /^Metric http\.cache\.duration 1s \{ 'http\.cache\.outcome': 'miss' \}$/m)
    assert.match(printed, /^Metric http\.cache\.duration 4s \{ 'http\.cache\.outcome': 'hit' \}$/m)
    const requests = numbers(printed, /^Metric http\.cache\.requests (\d+) /gm)
    assert.deepEqual(requests, [4, 1])
    assert.deepEqual(numbers(printed, /^Metric http\.cache\.bytes (\d+)By/gm), [88, 22])
    assert.match(printed, /^Metric http\.cache\.time_saved [\d.]+s/m)
  })

  test('requests the URL that it is given', async (t) => {
    let received = 0
    const url = await origin(t, (_, response) => {
      received += 1
      response.end('content')
    })
    const printed = await run(t, 'opentelemetry.ts', [url])
    assert.equal(received, 1)
    assert.equal(printed.split(`'url.full': '${url}/'`).length, 5)
  })
})

suite('examples/graphql.ts', () => {
  test('asks once for what is asked for twice, however it is written', async (t) => {
    const printed = await run(t, 'graphql.ts')
    const statuses = [...printed.matchAll(/\((\w+)\)$/gm)].map(([, status]) => status)
    assert.deepEqual(statuses, ['miss', 'hit', 'hit', 'miss', 'miss'])
    assert.equal(printed.match(/"name":"Brazil"/g)?.length, 3)
    assert.match(printed, /^another language: \{"name":"Brasil","capital":"Brasília"\} \(miss\)$/m)
    assert.match(printed, /^The server received 3 requests$/m)
  })

  test('asks the API that it is given', async (t) => {
    let received = 0
    const url = await origin(t, (_, response) => {
      received += 1
      response.end('{"data":{"country":null}}')
    })
    const printed = await run(t, 'graphql.ts', [url])
    assert.equal(received, 3)
    assert.equal(printed.match(/: null \(hit\)$/gm)?.length, 2)
  })
})

suite('examples/api-keys.ts', () => {
  test('gives each key its own responses, and has nothing of any on disk', async (t) => {
    const cwd = temporaryFolder(t)
    const printed = await run(t, 'api-keys.ts', [], {}, cwd)
    for (const customer of [1, 2]) {
      for (const status of ['miss', 'hit']) {
        const line = new RegExp(`^the reports of customer ${customer} \\(${status}\\)$`, 'gm')
        assert.equal(printed.match(line)?.length, 3)
      }
    }
    assert.match(printed, /^http:\/\/api\/reports\?year=2026&api_key=REDACTED$/m)
    assert.match(printed, /^\d{4,} bytes searched: 0 of 3 secrets found$/m)
    const file = readFileSync(join(cwd, 'api-keys.sqlite'), 'latin1')
    assert.match(file, /the reports of customer 1/)
    assert.doesNotMatch(file, /sk-live|correct horse/)
  })
})
