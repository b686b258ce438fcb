// What compression and encryption cost and save, on SQLite without a copy in memory.
import { once } from 'node:events'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newFolder } from '../node-binaries.ts'
import type { ContenderName } from './contenders.ts'
import type { Found } from './measure.ts'
import { measure, median, type Settings } from './storage.ts'

const NAMES: readonly ContenderName[] = [
  'SQLite',
  'SQLite, zstd',
  'SQLite, brotli',
  'SQLite, gzip',
  'SQLite, encrypted',
  'SQLite, zstd, encrypted',
]

/** Text that everybody has who can run this: the types of Node. */
const TYPES = join(import.meta.dirname, '../../node_modules/@types/node')

const CONTENTS: ReadonlyMap<string, Buffer> = new Map([
  ['JSON of 10 KB', records(10_000)],
  ['a text of 100 KB', types(100_000)],
  ['a text of 5 MB', types(5_000_000)],
])

export async function benchSeal({ isQuick }: Settings): Promise<void> {
  const folder = await newFolder(join(tmpdir(), 'caching-agent-bench-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const origin = await startOrigin()
  const seconds = isQuick ? 1 : 2
  /** By turns, so that whatever else the machine does is the same for all. */
  const rounds = async (task: (contender: ContenderName, folder: string) => Promise<Found>) => {
    const found = new Map<ContenderName, Found[]>(NAMES.map((name) => [name, []]))
    for (let round = 0; round < (isQuick ? 1 : 3); round++) {
      for (const name of NAMES) {
        const inside = await newFolder(join(folder, 'round-'))
        found.get(name)?.push(await task(name, inside))
        rmSync(inside, { recursive: true })
      }
    }
    return found
  }
  for (const [index, what] of [...CONTENTS.keys()].entries()) {
    console.log(
      `${what}: part of its size that is stored, and milliseconds to store and to read it`,
    )
    const url = `${origin.url}/${index}`
    const found = await rounds((contender, folder) =>
      measure({ kind: 'seal', contender, folder, url, seconds }),
    )
    for (const [name, all] of found) {
      const part = `${(median(all, 'part') * 100).toFixed(0)} %`
      const [storing, reading] = [median(all, 'storing'), median(all, 'reading')]
      console.log(`  ${name}: ${part}, ${storing.toFixed(2)}, ${reading.toFixed(2)}`)
    }
    console.log()
  }
  console.log('Milliseconds by which the event loop is late, storing 50 × 1 MB a second')
  const url = `${origin.url}/${CONTENTS.size}`
  const late = await rounds((contender, folder) =>
    measure({ kind: 'delay', contender, folder, url, rate: 50, seconds: seconds * 2 }),
  )
  for (const [name, all] of late) {
    const times = ['p50', 'p99', 'max'].map((key) => `${key} ${median(all, key).toFixed(1)}`)
    console.log(`  ${name}: ${times.join(', ')}`)
  }
  console.log()
  origin.close()
}

/** Answers with the content that the path begins with the number of. */
async function startOrigin() {
  const contents = [...CONTENTS.values(), types(1_000_000)]
  const server = createServer((request, response) => {
    const number = Number(request.url?.split('/')[1])
    response.setHeader('Cache-Control', 'public, max-age=86400')
    response.setHeader('Content-Type', 'text/plain').setHeader('ETag', '"some-entity-tag"')
    response.end(contents[number])
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => server.close().closeAllConnections(),
  }
}

function types(length: number): Buffer {
  const files = readdirSync(TYPES).filter((name) => name.endsWith('.d.ts'))
  const all = Buffer.concat(files.map((name) => readFileSync(join(TYPES, name))))
  return Buffer.alloc(length, all)
}

/** Records as an API has them, always the same. */
function records(length: number): Buffer {
  const all = Array.from({ length: length / 100 }, (_, number) => ({
    id: (number * 7919) % 10_007,
    login: `user-${(number * 104_729).toString(36)}`,
    created_at: new Date(1.7e12 + number * 86_399_000).toISOString(),
    url: `https://api.example.com/users/${number}/repositories`,
    stars: (number * number) % 997,
    private: number % 3 === 0,
  }))
  return Buffer.from(JSON.stringify(all)).subarray(0, length)
}
