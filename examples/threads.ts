// Five threads ask for the same six URLs at the same time, and five others once more. They share nothing but a
// cache file, and still each URL is requested once: who comes second waits for what the first one gets.
// With URLs: requests those. Without: a server on this machine.

import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { cacheInfo, cachingAgent } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { startServer } from './origin/server.ts'
import { temporaryFolder } from './origin/temporary-folder.ts'

interface Task {
  readonly thread: number
  readonly urls: readonly string[]
  readonly store: string
}

async function runThread({ thread, urls, store }: Task): Promise<void> {
  const agent = cachingAgent({ store, expireAfter: '1h' })
  setGlobalDispatcher(agent)
  const get = async (url: string) => {
    const response = await fetch(url)
    const { byteLength } = await response.arrayBuffer()
    const { status, collapsed } = cacheInfo(response) ?? {}
    const outcome = collapsed ? 'waited for another one' : status
    console.log(`  thread ${thread}: ${new URL(url).pathname} ${byteLength} bytes, ${outcome}`)
  }
  // All begin when all have opened the file.
  await agent.cache.count()
  parentPort?.postMessage('ready')
  if (parentPort) await once(parentPort, 'message')
  await Promise.all(urls.map(get))
  await agent.close()
}

async function startThreads(store: string, urls: readonly string[]): Promise<void> {
  const threads = [1, 2, 3, 4, 5].map((thread) => {
    const task: Task = { thread, urls, store }
    return new Worker(new URL(import.meta.url), { workerData: task })
  })
  await Promise.all(threads.map((thread) => once(thread, 'message')))
  const ended = threads.map((thread) => once(thread, 'exit'))
  for (const thread of threads) thread.postMessage('begin')
  await Promise.all(ended)
}

async function startTwice(): Promise<void> {
  let received = 0
  const origin = await startServer(async ({ url }, response) => {
    received += 1
    await sleep(100)
    response.end(`The content of ${url}. `.repeat(1000))
  })
  const given = process.argv.slice(2)
  const pages = [1, 2, 3, 4, 5, 6].map((page) => `${origin.url}/${page}`)
  const store = `sqlite://${temporaryFolder()}/threads.sqlite`
  for (const run of ['First', 'Second']) {
    received = 0
    console.log(`${run} run`)
    await startThreads(store, given.length > 0 ? given : pages)
    if (given.length === 0) console.log(`30 requests were made, ${received} received`)
  }
  await origin.close()
}

if (isMainThread) await startTwice()
else await runThread(workerData as Task)
