// Precaches a site of static HTML that nginx serves, cold and warm, each time in a new process, and prints how
// long it took and how much it is. Then another parser crawls the same site, without a cache: both have to
// have found the same. Ends with 1 where they have not.
//
//   apt-get install nginx-light python3-doc
//   npm run precache:site -- /usr/share/doc/python3/html
//   npm run precache:site -- /usr/share/doc/python3/html --page library/functions.html --distance 50 --runs 3
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cachingAgent } from 'caching-agent'
import { atDistance } from '../examples/origin/distance.ts'
import { findNginx, startNginx } from '../examples/origin/nginx.ts'
import { linksByTree } from '../test/helpers/links.ts'
import { run } from './node-binaries.ts'

/** What one run tells about itself. */
interface Run {
  readonly milliseconds: number
  readonly urls: readonly string[]
  readonly failed: readonly string[]
  readonly pages: number
  readonly bytes: number
}

const { values, positionals } = parseArgs({
  options: {
    page: { type: 'string', default: 'index.html' },
    distance: { type: 'string', default: '0' },
    runs: { type: 'string', default: '3' },
    // One run, for the script itself.
    depth: { type: 'string' },
    file: { type: 'string' },
  },
  allowPositionals: true,
})
const [given = ''] = positionals
if (values.depth !== undefined) {
  console.log(JSON.stringify(await precache(given, values.file ?? '', Number(values.depth))))
} else await measure(given)

/** One run, in a process of its own. */
async function precache(url: string, file: string, depth: number): Promise<Run> {
  const start = performance.now()
  const agent = cachingAgent({ store: `sqlite://${file}`, expireAfter: '1d' })
  const result = await agent.precache(url, { depth })
  const milliseconds = performance.now() - start
  const urls = await agent.cache.urls()
  const failed = result.failed.map((failure) => failure.url)
  const { bytes } = result
  let pages = 0
  for (const each of urls) {
    const stored = await agent.cache.get(each)
    if (String(stored?.headers['content-type']).startsWith('text/html')) pages += 1
  }
  await agent.close()
  return { milliseconds, urls, failed, pages, bytes }
}

async function measure(root: string): Promise<void> {
  const nginx = findNginx()
  if (nginx === undefined) throw new Error('there is no nginx here')
  const distance = Number(values.distance)
  const near = await startNginx(nginx, root)
  const site = distance > 0 ? await atDistance(near, distance) : near
  const page = `${site.url}/${values.page}`
  try {
    console.log(`nginx, ${distance} ms away; medians of ${values.runs} runs, in new processes\n`)
    console.log('|  | pages | other | content | cache file | cold | warm | |')
    console.log('|---|---|---|---|---|---|---|---|')
    await compare('a page and its links', page, 1)
    const { urls, failed } = await compare('the whole site', page, Infinity)

    const expected = await crawl(page)
    const found = new Set([...urls, ...failed])
    const missing = [...expected].filter((url) => !found.has(url))
    const more = [...found].filter((url) => !expected.has(url))
    console.log(
      `\nThe other parser found ${expected.size} URLs, of which ${missing.length} are missing here`,
    )
    console.log(`${found.size} were found here, of which it does not know ${more.length}`)
    for (const url of [...missing, ...more]) console.log(`  ${url}`)
    process.exitCode = missing.length + more.length > 0 ? 1 : 0
  } finally {
    await site.close()
  }
}

/** Prints a row for runs with an empty and with a full cache. */
async function compare(what: string, url: string, depth: number): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), 'precache-site-'))
  const cold: Run[] = []
  const warm: Run[] = []
  try {
    const file = join(folder, 'cache.sqlite')
    for (let count = 0; count < Number(values.runs); count += 1) {
      rmSync(file, { force: true })
      cold.push(await inNewProcess(url, file, depth))
      warm.push(await inNewProcess(url, file, depth))
    }
    const [first] = cold as [Run]
    const { pages, urls, bytes } = first
    const [coldTime, warmTime] = [median(cold), median(warm)]
    const cells = [
      what,
      pages,
      urls.length - pages,
      `${(bytes / 1e6).toFixed(1)} MB`,
      `${(statSync(file).size / 1e6).toFixed(1)} MB`,
      `${(coldTime / 1000).toFixed(3)} s`,
      `${(warmTime / 1000).toFixed(3)} s`,
      `${(coldTime / warmTime).toFixed(1)} times faster`,
    ]
    console.log(`| ${cells.join(' | ')} |`)
    return first
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function inNewProcess(url: string, file: string, depth: number): Promise<Run> {
  const args = [import.meta.filename, url, '--file', file, '--depth', String(depth)]
  const { code, stdout, output } = await run(process.execPath, [...process.execArgv, ...args], {
    cwd: import.meta.dirname,
  })
  if (code !== 0) throw new Error(output)
  return JSON.parse(stdout) as Run
}

function median(runs: readonly Run[]): number {
  const sorted = runs.map(({ milliseconds }) => milliseconds).sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** All that can be reached from a page on its origin, by another parser and one request after the other. */
async function crawl(page: string): Promise<Set<string>> {
  const { origin } = new URL(page)
  const known = new Set([page])
  for (const url of known) {
    const response = await fetch(url)
    const type = response.headers.get('content-type') ?? ''
    const text = await response.text()
    if (!response.ok) continue
    const links = type.startsWith('text/html') ? linksByTree(text, url) : []
    const ofStyles = type.startsWith('text/css') ? stylesheetUrls(text, url) : []
    for (const link of [...links.map((each) => each.replace(/^\S+ /, '')), ...ofStyles]) {
      if (link.startsWith(`${origin}/`)) known.add(link)
    }
  }
  return known
}

/** Good enough for style sheets without tricks. */
function stylesheetUrls(css: string, base: string): string[] {
  const targets = [...css.matchAll(/url\(["']?([^"')]+)["']?\)|@import "([^"]+)"/g)]
  return targets.flatMap(([, url, imported]) => {
    const [address = ''] = URL.parse(url ?? imported ?? '', base)?.href.split('#', 1) ?? []
    return address === '' ? [] : [address]
  })
}
