// Moves a cache to another store, where the copy may be interrupted, and takes it along to a program that has
// other rules about what makes requests the same.
// With two stores, such as sqlite://http_cache.sqlite redis://localhost: copies the first one to the second one.
// Without: fills an SQLite file, and copies it to one that is compressed.

import {
  type AgentOptions,
  cacheInfo,
  cachingAgent,
  HttpCache,
  type HttpCacheOptions,
} from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { dispatcherTo } from './origin/any-host.ts'
import { startServer } from './origin/server.ts'
import { temporaryFolder } from './origin/temporary-folder.ts'

/** Copies what is not there yet. After so many responses somebody pulls the plug. */
async function copy(
  from: HttpCacheOptions,
  to: HttpCacheOptions,
  plugAfter = Infinity,
): Promise<void> {
  const [source, target] = [new HttpCache(from), new HttpCache(to)]
  const plug = new AbortController()
  try {
    const { copied, skipped, bytes } = await source.copyTo(target, {
      signal: plug.signal,
      onProgress({ copied }) {
        if (copied >= plugAfter) plug.abort()
      },
    })
    console.log(`Copied ${copied} responses of ${bytes} bytes; ${skipped} were there already`)
  } catch (error) {
    if (!plug.signal.aborted) throw error
    console.log(`Interrupted, with ${await target.count()} of ${await source.count()} copied`)
  } finally {
    await source.close()
    await target.close()
  }
}

async function fillCopyAndUpdate(): Promise<void> {
  let received = 0
  const origin = await startServer(({ url }, response) => {
    received += 1
    response.setHeader('Content-Type', 'text/plain').end(`${url}, and so on. `.repeat(1000))
  })
  const folder = temporaryFolder()
  const before = { store: `sqlite://${folder}/before.sqlite` }
  const after = { store: `sqlite://${folder}/after.sqlite`, compress: 'zstd' } as const
  const start = (options: AgentOptions) => {
    const agent = cachingAgent({ expireAfter: '30d', dispatcher: dispatcherTo(origin), ...options })
    setGlobalDispatcher(agent)
    return agent
  }
  const page = async (number: number, session: string) => {
    const response = await fetch(`https://docs.example/${number}?session=${session}`)
    await response.text()
    return `page ${number} is a ${cacheInfo(response)?.status}`
  }

  const first = start(before)
  for (let number = 1; number <= 40; number += 1) await page(number, 'monday')
  console.log(`Stored: ${await first.cache.count()} responses, ${await first.cache.size()} bytes`)
  await first.close()

  await copy(before, after, 10)
  await copy(before, after)

  // The next version of the program knows that sessions do not matter.
  const second = start({ ...after, ignoredParameters: ['session'] })
  received = 0
  console.log(`After the update ${await page(1, 'tuesday')}`)
  const { moved, unchanged } = await second.cache.rekey()
  console.log(`New keys: ${moved}, as they were: ${unchanged}`)
  console.log(`After that ${await page(2, 'tuesday')}; ${received} request was received in all`)
  console.log(`Stored: ${await second.cache.count()} responses, ${await second.cache.size()} bytes`)
  await second.close()
  await origin.close()
}

const [from, to] = process.argv.slice(2)
if (from && to) await copy({ store: from }, { store: to })
else await fillCopyAndUpdate()
