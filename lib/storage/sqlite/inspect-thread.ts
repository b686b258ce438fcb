// Looks through a database on a connection of its own, in a thread of its own, so that nobody waits for it.
import { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { inspect } from './inspect.ts'

const { path, now } = workerData as { readonly path: string; readonly now: number }
const database = new DatabaseSync(path, { readOnly: true, timeout: 5000 })
try {
  const found = inspect(
    (sql, ...parameters) => database.prepare(sql).iterate(...parameters) as never,
    now,
  )
  parentPort?.postMessage(found)
} finally {
  database.close()
}
