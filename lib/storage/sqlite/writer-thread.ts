// The thread of a `Writer`: makes changes on a connection of its own, so that neither they nor the locks that
// they wait for block anybody.
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { addressOf } from './file.ts'
import type { Batch, Outcome, WriterData } from './writer.ts'
import { transact, type Write } from './writes.ts'

/** How long a transaction may take, in milliseconds: others want to write as well. */
const LONGEST = 10

/** https://www.sqlite.org/rescode.html#busy */
const SQLITE_BUSY = 5

const { path, patience, counter, state } = workerData as WriterData
const database = new DatabaseSync(addressOf(path, 'mode=rw'), { timeout: patience })
database.exec('PRAGMA synchronous = NORMAL')
const statements = new Map<string, StatementSync>()

function run(sql: string, parameters: readonly unknown[]): unknown[] {
  let statement = statements.get(sql)
  if (statement === undefined) {
    statement = database.prepare(sql)
    if (statements.size > 64) statements.clear()
    statements.set(sql, statement)
  }
  const values = parameters.map((value) => (isEmpty(value) ? NO_BYTES : value))
  return statement.all(...(values as (string | number | Uint8Array | null)[]))
}

/** What has come without any memory would be taken for NULL. */
const NO_BYTES = new Uint8Array(1).subarray(1)

function isEmpty(value: unknown): boolean {
  return value instanceof Uint8Array && value.length === 0
}

/** How often anybody has changed what is counted. */
function count(): number {
  const [row] = run(counter, []) as { number: number }[]
  return row?.number ?? 0
}

/** Makes as many changes as can be made in a transaction, and notes how many of those that are counted were ours. */
function write(writes: readonly Write[]): unknown[][] {
  let before = 0
  const begin = (sql: string, parameters: readonly unknown[]) => {
    const rows = run(sql, parameters)
    if (sql === 'BEGIN IMMEDIATE') before = count()
    return rows
  }
  return transact(begin, writes, LONGEST, () => {
    const changes = count() - before
    // While the number is odd, nobody can tell whose the last changes are.
    Atomics.add(state, 0, 1)
    try {
      run('COMMIT', [])
      Atomics.add(state, 1, changes)
    } finally {
      Atomics.add(state, 0, 1)
    }
  })
}

function outcomesOf({ writes, patience }: Batch): Outcome[] {
  const outcomes: Outcome[] = []
  database.exec(`PRAGMA busy_timeout = ${patience}`)
  for (let isAlone = false; outcomes.length < writes.length; ) {
    const left = writes.slice(outcomes.length)
    try {
      const rows = write(isAlone ? left.slice(0, 1) : left)
      outcomes.push(...rows.map((each) => ({ rows: each })))
      // Others, who try again and again, get their chance.
      if (outcomes.length < writes.length && !isAlone) Atomics.wait(state, 3, 0, 1)
    } catch (error) {
      const { message, code, errcode } = error as Error & { code?: string; errcode?: number }
      const isBusy = errcode !== undefined && (errcode & 0xff) === SQLITE_BUSY
      // Of several nobody knows which one is to blame, but for a lock none is.
      const failed = isBusy ? left.length : isAlone || left.length === 1 ? 1 : 0
      for (let index = 0; index < failed; index++) {
        outcomes.push({ error: { message, code, errcode } })
      }
      isAlone = true
    }
  }
  return outcomes
}

/** Gives the memory of long bytes back now: garbage is collected late where there is hardly any but that. */
function free(value: unknown): void {
  const buffer = value instanceof Uint8Array ? (value.buffer as ArrayBuffer) : undefined
  if (buffer?.detached === false) buffer.transfer(0)
}

parentPort?.on('message', (batch: Batch | 'close') => {
  if (batch === 'close') {
    database.close()
    parentPort?.close()
    return
  }
  const outcomes = outcomesOf(batch)
  for (const { parameters } of batch.writes) for (const value of parameters) free(value)
  Atomics.add(state, 2, 1)
  Atomics.notify(state, 2)
  parentPort?.postMessage(outcomes)
})
// As long as nothing has been read, SQLite would go on to the log of whatever is at the path by then.
count()
parentPort?.postMessage('ready')
