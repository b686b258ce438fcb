import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Inspection } from './inspect.ts'

/**
 * Looks through a database file in a thread of its own.
 *
 * @param now in milliseconds since the epoch
 * @throws Error where the file cannot be opened
 */
export async function inspectFile(path: string, now: number): Promise<Inspection> {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const worker = new Worker(new URL(`./inspect-thread.${extension}`, import.meta.url), {
    workerData: { path, now },
    // What the process was told to import is none of the thread's.
    execArgv: ['--no-warnings'],
    env: {},
  })
  const [found] = (await once(worker, 'message')) as [Inspection]
  return found
}
