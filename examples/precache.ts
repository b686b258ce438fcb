// Fetches a page and all links found on it, concurrently, so that they are in the cache from then on.
// With a URL: one run, and the cache is precache.sqlite (or what PRECACHE_FILE says) in the working directory.
// Without one: a cold and a warm run against a local documentation site, from the folder or page DOCS.

import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { cacheInfo, cachingAgent } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { coldAndWarm } from './origin/cold-and-warm.ts'

async function precache(page: string, file: string): Promise<void> {
  const sizeBefore = sizeOf(file)
  const start = performance.now()
  const agent = cachingAgent({ store: `sqlite://${file}`, expireAfter: '1d' })
  setGlobalDispatcher(agent)

  console.log(`Finding all links on ${page}`)
  const response = await fetch(page)
  const links = linksOf(await response.text(), response.url)
  console.log(`Found ${links.size} links`)

  // As many workers as a browser has connections to one server. They take from one iterator, so that
  // each link is fetched once.
  const queue = links.values()
  const workers = Array.from({ length: 6 }, async () => {
    for (const link of queue) await fetchLink(link).catch((error) => report(link, error))
  })
  await Promise.all(workers)

  // Waits until all responses are written.
  await agent.close()
  const seconds = ((performance.now() - start) / 1000).toFixed(3)
  const megabytes = ((sizeOf(file) - sizeBefore) / 1e6).toFixed(3)
  console.log(`Completed run in ${seconds} seconds and cached ${megabytes} MB`)
}

/** The targets of all links of a page, each once. One that is no URL stays as it is, to be reported. */
function linksOf(html: string, page: string): Set<string> {
  const anchors = html.matchAll(/<a\s[^>]*?href=["']?([^"'\s>]+)/gi)
  const targets = [...anchors].map(([, target = '']) => target.replaceAll('&amp;', '&'))
  const urls = targets.map((target) => URL.parse(target, page)?.href.replace(/#.*/, '') ?? target)
  return new Set(urls.filter((url) => !URL.canParse(url) || /^https?:/.test(url)))
}

async function fetchLink(url: string): Promise<void> {
  const response = await fetch(url, { signal: AbortSignal.timeout(30_000) })
  // A response is stored as it is read; one that came from the cache need not be read.
  if (cacheInfo(response)?.status === 'hit') await response.body?.cancel()
  else await response.body?.pipeTo(new WritableStream())
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`)
}

function report(link: string, { message, cause }: Error): void {
  console.log(`Skipped ${link}: ${cause instanceof Error ? cause.message : message}`)
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}

const [url] = process.argv.slice(2)
if (url) await precache(url, process.env.PRECACHE_FILE ?? 'precache.sqlite')
else await coldAndWarm(fileURLToPath(import.meta.url))
