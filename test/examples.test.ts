import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { HttpCache } from 'caching-agent'
import { startSite } from '../examples/origin/documentation.ts'
import { findNginx } from '../examples/origin/nginx.ts'
import { folder } from './helpers/folder.ts'

const EXAMPLES = fileURLToPath(new URL('../examples/', import.meta.url))
const SERVERS = ['node', 'nginx'] as const

function missing(server: string): string | false {
  return server === 'nginx' && findNginx() === undefined && 'there is no nginx here'
}

/** Runs an example as a reader does, and returns what it prints. */
async function run(
  name: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
  cwd = folder(),
): Promise<string> {
  const { DOCS: _, PRECACHE_FILE: __, NODE_USE_ENV_PROXY: ___, ...ours } = process.env
  const command = ['--conditions=source', join(EXAMPLES, name), ...args]
  // From nearby: the origin's distance is for readers.
  const options = { cwd, env: { ...ours, DISTANCE: '2', ...env }, timeout: 200_000 }
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
  test('prints the expiration of each URL: an hour, a week or never', async () => {
    const start = Date.now()
    const printed = await run('url-patterns.ts')
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
    const printed = await run('url-patterns.ts', [`${url}/a`, `${url}/b`])
    assert.equal(received, 2)
    assert.equal(printed.match(/\/[ab]: \d{4}-.*Z \(miss\)$/gm)?.length, 2)
    assert.equal(printed.match(/\/[ab]: \d{4}-.*Z \(hit\)$/gm)?.length, 2)
  })
})

const SKIPPED = [
  /^Skipped .*\/no\/such\/document\.html: 404 Not Found$/gm,
  /^Skipped .*: connect ECONNREFUSED .*$/gm,
  /^Skipped http:\/\/\[bad\/: Invalid URL$/gm,
]

suite('examples/precache.ts', () => {
  for (const server of SERVERS) {
    const skip = missing(server)
    test(`fetches a documentation site from ${server} cold and warm, past bad links`, {
      skip,
    }, async () => {
      // Some of the documents that there are: all of them take half a minute.
      const DOCS = join(EXAMPLES, '..', 'node_modules', 'undici')
      const printed = await run('precache.ts', [], { ORIGIN: server, DOCS })
      const links = numbers(printed, /Found (\d+) links/g)
      assert.equal(links.length, 2)
      assert.ok(
        links.every((count) => count >= 50),
        printed,
      )
      const [cold = 0, warm = Number.NaN] = numbers(printed, /and cached (\d+\.\d{3}) MB/g)
      assert.ok(cold > 0.2, printed)
      assert.equal(warm, 0)
      assert.match(printed, /The second run was [\d.]+ times faster/)

      // Bad links are reported, each once, and skipped.
      const [report = ''] = printed.split('--- Warm')
      for (const skipped of SKIPPED) assert.equal(report.match(skipped)?.length, 1, printed)
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

  test('fetches each link of a page once, and nothing the second time', async (t) => {
    const received: string[] = []
    const url = await origin(t, ({ url: path = '' }, response) => {
      received.push(path)
      if (path !== '/page') return void response.end('content '.repeat(1000))
      const links = Array.from({ length: 200 }, (_, i) => `<a class="x" href='./${i % 150}#${i}'>`)
      response.end(`${links.join('\n')}<a href=mailto:a@example.com><a href="/150?a=1&amp;b=2">`)
    })
    const cwd = folder()
    const cold = await run('precache.ts', [`${url}/page`], {}, cwd)
    assert.match(cold, /^Found 151 links$/m)
    assert.ok(!cold.includes('\r'), 'a bar where there is no terminal')
    assert.match(cold, /^Completed run in \d+\.\d{3} seconds and cached [1-9]\d*\.\d{3} MB$/m)
    assert.equal(received.length, 152)
    assert.equal(new Set(received).size, 152)
    assert.ok(received.includes('/150?a=1&b=2'))
    assert.ok(existsSync(join(cwd, 'precache.sqlite')))

    const warm = await run('precache.ts', [`${url}/page`], {}, cwd)
    assert.match(warm, /^Completed run in \d+\.\d{3} seconds and cached 0\.000 MB$/m)
    assert.equal(received.length, 152)
  })
})

suite('examples/log-requests.ts', () => {
  test('makes ten requests of which one goes out', async () => {
    const printed = await run('log-requests.ts')
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
    const printed = await run('log-requests.ts', [url])
    assert.equal(received, 1)
    assert.match(printed, /^10 requests were made, 1 went out$/m)
  })
})

suite('examples/unchanged-program.ts', () => {
  test('makes no request twice after one line', async () => {
    const printed = await run('unchanged-program.ts')
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
    const printed = await run('unchanged-program.ts', [url])
    assert.equal(received, 3)
    assert.equal(printed.match(/publint needs 0 packages: \d+ ms$/gm)?.length, 4)
  })
})

suite('examples/negative-caching.ts', () => {
  test('nobody asks twice what is not there, nor a server that is down', async () => {
    const printed = await run('negative-caching.ts')
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
  test('knows what was known on a day, and no more', async () => {
    const printed = await run('time-machine.ts')
    const prices = numbers(printed, /^Day \d: (\d+)$/gm)
    assert.equal(prices.length, 5)
    for (let day = 1; day <= 5; day += 1) {
      const known = prices.map((price, index) => (index < day ? price : 'unknown')).join(', ')
      assert.ok(printed.includes(`On the evening of day ${day}: ${known}\n`), printed)
    }
  })
})

suite('examples/conditional-requests.ts', () => {
  test('ten polls cost two requests of the limit: the first, and the change', async () => {
    const printed = await run('conditional-requests.ts')
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
    const printed = await run('conditional-requests.ts', [url])
    assert.equal(printed.match(/revalidated, 7 bytes/g)?.length, 9)
    assert.deepEqual(conditions, [undefined, ...Array(9).fill('"1"')])
  })
})

suite('examples/offline-tests.ts', () => {
  test('records once, and replays without a network from a file that cannot be changed', async () => {
    const printed = await run('offline-tests.ts')
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
  test('exports a span for each hit, below that of its caller, and the metrics of the cache', async () => {
    const printed = await run('opentelemetry.ts')
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
    const printed = await run('opentelemetry.ts', [url])
    assert.equal(received, 1)
    assert.equal(printed.split(`'url.full': '${url}/'`).length, 5)
  })
})

suite('examples/graphql.ts', () => {
  test('asks once for what is asked for twice, however it is written', async () => {
    const printed = await run('graphql.ts')
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
    const printed = await run('graphql.ts', [url])
    assert.equal(received, 3)
    assert.equal(printed.match(/: null \(hit\)$/gm)?.length, 2)
  })
})

suite('examples/api-keys.ts', () => {
  test('gives each key its own responses, and has nothing of any on disk', async () => {
    const cwd = folder()
    const printed = await run('api-keys.ts', [], {}, cwd)
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

suite('examples/basic-use.ts', () => {
  test('five requests are one, unless they pass the cache by, until it is taken away', async () => {
    const printed = await run('basic-use.ts')
    const outcomes = [...printed.matchAll(/^ {2}(.+): \d+ ms$/gm)].map(([, outcome]) => outcome)
    const none = 'nothing is known of a cache'
    assert.deepEqual(outcomes, [none, 'miss, then hit', 'hit', none])
    assert.match(printed, /^ {2}miss, hit\n {2}without the cache: bypass$/m)
    assert.match(printed, /^What is stored\n {2}.*\/slow\n {2}.*\/time\nBack/m)
  })

  test('requests the URL that it is given', async (t) => {
    let received = 0
    const url = await origin(t, (_, response) => {
      received += 1
      response.end('content')
    })
    const printed = await run('basic-use.ts', [`${url}/given`])
    assert.equal(received, 11)
    assert.ok(printed.includes(`  ${url}/given\n`), printed)
  })
})

suite('examples/expiration.ts', () => {
  test('the most specific word counts, and what is stale is validated or fetched', async () => {
    const printed = await run('expiration.ts')
    const parts = printed.split(/^\w.*\n/m).slice(1)
    const outcomes = parts.map((part) =>
      [...part.matchAll(/: (\w+), fresh/g)].map(([, one]) => one),
    )
    const [stored, used, later, reset] = outcomes
    assert.deepEqual(stored, ['miss', 'miss', 'miss', 'miss'])
    assert.deepEqual(used?.slice(0, 2), ['hit', 'hit'])
    assert.deepEqual(later, ['hit', 'hit', 'miss', 'revalidated'])
    assert.deepEqual(reset, ['hit'])
    assert.match(parts[0] ?? '', /^ {2}\/archive\/page: miss, fresh for ever; 28 bytes$/m)
    assert.deepEqual(numbers(parts[3] ?? '', /^ {2}(\d+) response$/gm), [1])
    const [kept = 0] = numbers(parts[3] ?? '', /fresh for (\d+) s/g)
    assert.ok(kept > 604_000, printed)
  })
})

suite('examples/threads.ts', () => {
  test('threads that share a file request once what all of them want', async () => {
    const printed = await run('threads.ts')
    const [first = '', second = ''] = printed.split('Second run\n')
    for (const part of [first, second]) {
      assert.equal(part.match(/^ {2}thread [1-5]: \/[1-6] 19000 bytes, /gm)?.length, 30)
    }
    assert.match(first, /thread \d: \/\d 19000 bytes, waited for another one$/m)
    assert.equal(second.match(/, hit$/gm)?.length, 30)
    const [received = Number.NaN, again] = numbers(
      printed,
      /^30 requests were made, (\d+) received/gm,
    )
    // Nobody waits longer than 2 seconds, which a busy machine may take.
    assert.ok(received >= 6 && received < 30, printed)
    assert.equal(again, 0)
  })
})

suite('examples/options-file.ts', () => {
  test('does what the file says', async () => {
    const printed = await run('options-file.ts')
    for (const line of [
      'a constant: miss, fresh for ever',
      'the time: bypass',
      'what does not: miss, fresh for 3600 s',
      'what is not there: miss, fresh for 60 s',
      'the same but for a parameter: miss, fresh for 3600 s',
      'the same but for that: hit, fresh for ',
      'in another language: miss, fresh for 3600 s',
      'a search: miss, fresh for 300 s',
      'the same search: hit, fresh for ',
    ]) {
      assert.ok(`\n${printed}`.includes(`\n${line}`), line)
    }
    const [explicit = Number.NaN] = numbers(
      printed,
      /^what says for how long: miss, fresh for (\d+)/gm,
    )
    assert.ok(explicit > 30 && explicit <= 60, printed)
    assert.match(printed, /^A mistake in the file: expireAfter: expected .*, got '1 hou'$/m)
  })

  test('reads the file that it is given', async () => {
    const cwd = folder()
    writeFileSync(join(cwd, 'options.json'), '{"store":"memory:","expireAfter":"do-not-cache"}')
    const printed = await run('options-file.ts', ['options.json'], {}, cwd)
    assert.equal(printed.match(/: bypass$/gm)?.length, 10)
  })
})

suite('examples/cache-key.ts', () => {
  test('versions of a program do not find what others have stored, mirrors do', async () => {
    const printed = await run('cache-key.ts')
    const outcomes = [...printed.matchAll(/ in the format (\d) \((\w+)\)$/gm)].map(
      ([, format, outcome]) => `${format} ${outcome}`,
    )
    const versions = ['1 miss', '1 hit', '2 miss', '2 hit', '1 hit']
    assert.deepEqual(outcomes, [...versions, '2 miss', '2 hit', '2 miss'])
    assert.match(printed, /^4 responses are stored$/m)
  })
})

suite('examples/cassettes.ts', () => {
  test('a HAR for each host, without secrets, replays what was recorded', async () => {
    const printed = await run('cassettes.ts')
    const [, recorded] = /^Recorded: (.+)$/m.exec(printed) ?? []
    assert.match(recorded ?? '', /^Basel: sunny, nothing happened until 2\d{3}-/)
    assert.ok(printed.endsWith(`\nReplayed: ${recorded}\n`), printed)
    assert.match(printed, /^3 requests received$/m)
    const hosts = ['news', 'people', 'weather'].map((name) => `${name}.example.har`)
    assert.ok(printed.includes(`Cassettes: ${hosts.join(', ')}\nSecrets in them: 0\n`), printed)
  })
})

suite('examples/manage-cache.ts', () => {
  test('what is stored is listed, kept longer, marked as stale and deleted', async () => {
    const printed = await run('manage-cache.ts')
    const [, listed = '', changed = ''] = printed.split(/^8 responses.*$|^The price.*$/m)
    const sizes = numbers(listed.split('3 images')[0] ?? '', /: .*\b(\d+) bytes, until/g)
    assert.deepEqual(sizes, [116_000, 108_000, 99_000, 29, 15, 14, 13, 8])
    assert.match(listed, /^3 images, 323000 bytes$/m)
    assert.match(listed, /^Kept for a month: 3$/m)
    assert.match(changed, /^Marked as stale: 3$/m)
    assert.match(changed, /^ {2}\/products\/lamp: miss\nA lamp for 49$/m)
    assert.match(changed, /^ {2}\/products: miss\nchair: 80\nlamp: 49\n/m)
    assert.match(changed, /^ {2}\/images\/lamp\.png: revalidated\n {2}\/products\/chair: hit$/m)
    assert.deepEqual(numbers(changed, /^\w+ deleted: (\d+)$/gm), [1, 3, 1])
    assert.match(changed, /^Saved by hand: This week: a lamp for 39$/m)
    const left = ['offer', 'products/chair', 'products/lamp', 'products/table']
    const urls = left.map((path) => `  https://shop.example/${path}\n`).join('')
    assert.ok(changed.endsWith(`What is left is sound:\n${urls}`), printed)
  })

  test('shows what is in the file that it is given', async () => {
    const cwd = folder()
    const cache = new HttpCache({ store: `sqlite://${join(cwd, 'given.sqlite')}` })
    await cache.save('http://a.example/small', { body: 'content' })
    await cache.save('http://a.example/large', { body: 'content'.repeat(1000) })
    await cache.close()
    const printed = await run('manage-cache.ts', ['given.sqlite'], {}, cwd)
    assert.match(printed, /^2 responses, \d+ bytes/)
    assert.deepEqual(numbers(printed, /: .*\b(\d+) bytes, until/g), [7000, 7])
  })
})

suite('examples/har.ts', () => {
  test('replays offline what a browser has saved, and writes it as a HAR', async () => {
    const printed = await run('har.ts')
    assert.match(printed, /^Skipped https:\/\/weather\.example\/count\?page=cologne: failed$/m)
    assert.match(printed, /^6 responses can be replayed:$/m)
    assert.match(
      printed,
      /the page, after a redirect: https:\/\/weather\.example\/cologne \(Köln\)$/m,
    )
    assert.match(printed, /asks for: \{"city":"Köln","sky":"sunny","degrees":11\}$/m)
    assert.match(printed, /^ {2}an image of 16 x 16 pixels/m)
    assert.match(
      printed,
      /what was not recorded: GET https:\/\/weather\.example\/tomorrow is not stored/,
    )
    assert.match(printed, /^Exported 4 texts, as a HAR 1\.2 of 4 entries$/m)
  })

  test('lists what can be replayed of the HAR that it is given', async () => {
    const cwd = folder()
    const cache = new HttpCache({ store: 'memory:' })
    await cache.save('http://a.example/saved', { body: 'content' })
    await cache.exportHar(join(cwd, 'given.har'))
    await cache.close()
    const printed = await run('har.ts', ['given.har'], {}, cwd)
    assert.match(printed, /^1 responses can be replayed:\n {2}GET 200 http:\/\/a\.example\/saved /)
  })
})

suite('examples/convert-cache.ts', () => {
  test('a copy that was interrupted goes on, and new keys find what is in it', async () => {
    const printed = await run('convert-cache.ts')
    const [interrupted = Number.NaN] = numbers(printed, /with (\d+) of 40 copied$/gm)
    assert.ok(interrupted >= 10 && interrupted <= 40, printed)
    const copied = numbers(printed, /^Copied (\d+) responses/gm)
    const skipped = numbers(printed, /; (\d+) were there already$/gm)
    assert.deepEqual([copied, skipped], [[40 - interrupted], [interrupted]])
    assert.match(printed, /^After the update page 1 is a miss\nNew keys: 40, as they were: 1$/m)
    assert.match(printed, /^After that page 2 is a hit; 1 request was received in all$/m)
    const [before = 0, after = Infinity] = numbers(printed, /^Stored: 40 responses, (\d+) bytes$/gm)
    assert.ok(after < before / 2, printed)
  })

  test('copies from and to the stores that it is given', async (t) => {
    const cwd = folder()
    const from = new HttpCache({ store: `sqlite://${join(cwd, 'from.sqlite')}` })
    await from.save('http://a.example/', { body: 'content' })
    await from.close()
    const printed = await run(
      'convert-cache.ts',
      ['sqlite://from.sqlite', 'sqlite://to.sqlite'],
      {},
      cwd,
    )
    assert.equal(printed, 'Copied 1 responses of 7 bytes; 0 were there already\n')
    const to = new HttpCache({ store: `sqlite://${join(cwd, 'to.sqlite')}` })
    t.after(() => to.close())
    assert.deepEqual(await to.urls(), ['http://a.example/'])
  })
})

suite('examples/many-responses.ts', () => {
  test('finds and deletes what has expired', async () => {
    const printed = await run('many-responses.ts', ['600'])
    const counted = numbers(printed, /: (\d+) in [\d.]+ s$/gm)
    assert.deepEqual(counted, [600, 200, 60, 540, 300])
    const [before = 0, after = Infinity] = numbers(printed, /^The file has ([\d.]+) MB$/gm)
    assert.ok(after < before, printed)
  })
})

suite('examples/benchmark.ts', () => {
  test('measures each store', async () => {
    const printed = await run('benchmark.ts', ['--responses', '5', '--max-size', '20000'])
    assert.match(printed, /^5 responses of \d+ KB on average$/m)
    assert.equal(printed.match(/^.{20} [\d.]+ ms to write, [\d.]+ ms to read$/gm)?.length, 5)
  })

  test('measures the stores that it is given', async () => {
    const printed = await run('benchmark.ts', [
      '--store',
      'sqlite://a.sqlite',
      '--store',
      'memory:',
    ])
    assert.deepEqual(
      [...printed.matchAll(/^(\S+) +[\d.]+ ms to write/gm)].map(([, store]) => store),
      ['sqlite://a.sqlite', 'memory:'],
    )
  })
})

suite('examples/requests-per-second.ts', () => {
  test('more and more comes from the cache', async () => {
    const printed = await run('requests-per-second.ts', ['--seconds', '3', '--urls', '20'])
    const ratios = numbers(printed, /(\d+) % from the cache, \d+ requests a second$/gm)
    assert.equal(ratios.length, 10)
    assert.ok((ratios[0] ?? 100) < 100 && Math.max(...ratios) === 100, printed)
  })
})

suite('examples/github-actions.yml', () => {
  const workflow = readFileSync(join(EXAMPLES, 'github-actions.yml'), 'utf8')
  const program = readFileSync(join(EXAMPLES, 'link-check.ts'), 'utf8')

  test('link-check.ts leaves one file, which is enough for the next run', async () => {
    const [, path = ''] = /^ {10}path: (\S+)$/m.exec(workflow) ?? []
    assert.ok(program.includes(`store: 'sqlite://${path}'`), path)
    const [first, second] = [folder(), folder()]
    const before = await run('link-check.ts', [], {}, first)
    assert.match(before, /^4 of 5 links work; 0 were known\n5 requests received$/m)
    assert.deepEqual(readdirSync(join(first, '.cache')), ['http.sqlite'])

    // What happens between two runs.
    mkdirSync(join(second, '.cache'))
    copyFileSync(join(first, path), join(second, path))
    const after = await run('link-check.ts', [], {}, second)
    assert.match(
      after,
      /\/moved-away: 404 \(hit\)\n4 of 5 links work; 5 were known\n0 requests received$/m,
    )
  })
})

test('each example is run here, and listed in the README', () => {
  const tests = readFileSync(fileURLToPath(import.meta.url), 'utf8')
  const readme = readFileSync(join(EXAMPLES, '..', 'README.md'), 'utf8')
  const [, list = ''] = readme.split('\n## Examples\n')
  for (const { name } of readdirSync(EXAMPLES, { withFileTypes: true }).filter((one) =>
    one.isFile(),
  )) {
    if (name.endsWith('.ts')) assert.ok(tests.includes(`'${name}'`), name)
    assert.ok(list.includes(`(examples/${name})`), name)
  }
})
