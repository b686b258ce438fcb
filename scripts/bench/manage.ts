// What it takes to manage very many stored responses, in an SQLite file that is generated: time, memory, and
// by how much the event loop is late meanwhile.
import { rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newFolder } from '../node-binaries.ts'
import { measure, type Settings } from './storage.ts'
import { JOBS, type JobName } from './stored-million.ts'

export async function benchManage({ isQuick }: Settings): Promise<void> {
  const folder = await newFolder(join(tmpdir(), 'caching-agent-bench-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'generated.sqlite')
  const store = `sqlite://${path}`
  const count = isQuick ? 1e5 : 1e6
  const { milliseconds = 0 } = await measure({ kind: 'generate', store, count })
  const size = (statSync(path).size / 1e6).toFixed(0)
  console.log(
    `An SQLite file of ${size} MB with ${count.toLocaleString('en')} responses of 1 kB, generated in ${(milliseconds / 1000).toFixed(0)} s`,
  )
  // Each in a process of its own, and in their order: some of them delete.
  for (const job of Object.keys(JOBS) as JobName[]) {
    const found = await measure({ kind: 'manage', store, job })
    const number = (name: string, digits = 0) => (found[name] ?? Number.NaN).toFixed(digits)
    const late = `event loop late p99 ${number('p99', 1)} ms, max ${number('max', 1)} ms`
    console.log(
      `  ${job}: ${found.number?.toLocaleString('en')} in ${number('milliseconds')} ms; ${number('memory')} MB more; ${late}`,
    )
  }
  console.log()
}
