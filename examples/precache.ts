// Fetches a page and all links found on it, concurrently, so that they are in the cache from then on.
// With a URL: one run, and the cache is precache.sqlite (or what PRECACHE_FILE says) in the working directory.
// Without one: a cold and a warm run against a local documentation site, from the folder or page DOCS.

import { statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { cachingAgent, type PrecacheProgress } from 'caching-agent'
import { coldAndWarm } from './origin/cold-and-warm.ts'

async function precache(page: string, file: string): Promise<void> {
  const sizeBefore = sizeOf(file)
  const start = performance.now()
  const agent = cachingAgent({ store: `sqlite://${file}`, expireAfter: '1d' })

  console.log(`Finding all links on ${page}`)
  let isFirst = true
  const { failed, notStored, skipped } = await agent.precache(page, {
    sameOrigin: false,
    // What robots.txt forbids is to wander about; a page and its links is what a reader opens as well.
    robots: false,
    onProgress(progress) {
      if (isFirst) console.log(`Found ${progress.found - 1} links`)
      isFirst = false
      showProgress(progress)
    },
  })
  for (const { url, reason } of [...failed, ...notStored, ...skipped]) {
    console.log(`Skipped ${url}: ${reason}`)
  }

  // Waits until all responses are written.
  await agent.close()
  const seconds = ((performance.now() - start) / 1000).toFixed(3)
  const megabytes = ((sizeOf(file) - sizeBefore) / 1e6).toFixed(3)
  console.log(`Completed run in ${seconds} seconds and cached ${megabytes} MB`)
}

/** Draws a bar where there is a terminal, until everything is done. */
function showProgress({ done, found, bytes }: PrecacheProgress): void {
  if (!process.stderr.isTTY) return
  const bar = '█'.repeat((done / found) * 40).padEnd(40, '░')
  const line = done < found ? `${bar} ${done} of ${found}, ${(bytes / 1e6).toFixed(1)} MB` : ''
  process.stderr.write(`\r${line}\x1b[K`)
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0
}

const [url] = process.argv.slice(2)
if (url) await precache(url, process.env.PRECACHE_FILE ?? 'precache.sqlite')
else await coldAndWarm(fileURLToPath(import.meta.url))
