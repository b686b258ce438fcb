// Many processes on one SQLite file, killed at any moment: whatever one has seen to be stored stays, and
// nobody ever gets anything else than what the origin has sent.
import { rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { type AgentOptions, cachingAgent } from 'caching-agent'
import { request } from 'undici'
import { newFolder } from '../node-binaries.ts'
import type { Operations } from './client.ts'
import { wrongness } from './content.ts'
import { Crew } from './crew.ts'
import { Ledger } from './ledger.ts'
import { startOrigin } from './origin.ts'
import { type Part, sealing } from './parts.ts'
import { random } from './random.ts'
import { Tally } from './tally.ts'

/** What processes do with a file that is theirs as much as anybody's. */
export const OPERATIONS: Operations = {
  ...{ read: 50, refresh: 10, part: 5, change: 3, delete: 5 },
  ...{ keep: 10, drop: 2, check: 15, manage: 1, inspect: 0.05, clear: 0.1 },
}

export const tortureSqlite: Part = async ({ seconds, clients, folder, isSealed }) => {
  const tally = new Tally(isSealed ? 'sealed' : 'sqlite')
  const origin = await startOrigin()
  const ledger = new Ledger(origin.version)
  const inside = await newFolder(join(folder, 'sqlite-'))
  const path = join(inside, 'cache.sqlite')
  const configs = Array.from({ length: clients }, (_, slot) => ({
    slot,
    origin: origin.url,
    // Some remember little, so that they have to read again what they remembered once.
    options: {
      store: `sqlite://${path}`,
      memory: { maxSize: slot % 2 ? '1MiB' : '64MiB' },
      ...sealing(isSealed, slot),
    },
    shared: 60,
    clients,
    operations: OPERATIONS,
  }))
  const crew = new Crew(tally, ledger, configs)
  const end = performance.now() + seconds * 1000
  while (performance.now() < end) {
    await delay(random() * 2000)
    await crew.killAny()
  }
  await crew.stop()
  await inspect(tally, path, origin.url, ledger, sealing(isSealed))
  origin.close()
  rmSync(inside, { recursive: true })
  return [tally]
}

/** What is left must be a sound file, whose responses are complete, and among them all that must be. */
export async function inspect(
  tally: Tally,
  path: string,
  origin: string,
  ledger: Ledger,
  options: AgentOptions = {},
) {
  try {
    await inspectResponses(tally, path, origin, ledger, options)
  } catch (error) {
    tally.problem('failed', `at the end: ${(error as Error).message}`)
  }
  const database = new DatabaseSync(path)
  const [verdict] = database.prepare('PRAGMA integrity_check').all()
  if (verdict?.integrity_check !== 'ok') {
    tally.problem('others', `integrity_check: ${verdict?.integrity_check}`)
  }
  database.close()
}

async function inspectResponses(
  tally: Tally,
  path: string,
  origin: string,
  ledger: Ledger,
  options: AgentOptions,
) {
  await using agent = cachingAgent({ store: `sqlite://${path}`, expireAfter: '1h', ...options })
  agent.cache.on('error', ({ error }) => tally.event(`at the end: ${error.message}`))
  const read = async (url: string, language: string) => {
    // Some have been marked as stale.
    const headers = { 'cache-control': 'only-if-cached, max-stale', 'accept-language': language }
    const { statusCode, headers: fields, body } = await request(url, { dispatcher: agent, headers })
    const content = Buffer.from(await body.arrayBuffer())
    return { status: statusCode, headers: fields as Record<string, string>, content }
  }
  const urls = await agent.cache.urls()
  for (const url of urls) {
    const path = url.slice(origin.length)
    const all = ['de', 'en', 'fr'].map(async (language) => {
      const received = await read(url, language)
      if (received.status === 504) return false
      const wrong = wrongness(path, language, received)
      if (wrong !== undefined) tally.problem('wrong', `at the end, ${path}: ${wrong}`)
      return true
    })
    if (!(await Promise.all(all)).includes(true)) {
      tally.problem('others', `${path} is listed at the end, and cannot be read`)
    }
  }
  const kept = ledger.keptPaths()
  for (const path of kept) {
    const { status, headers } = await read(origin + path, 'de')
    const { version } = ledger.entry(path)
    if (status !== 200) tally.problem('lost', `${path}, version ${version}, at the end`)
    else if (Number(headers['x-version']) < version) {
      tally.problem('lost', `${path}: at the end version ${headers['x-version']}, not ${version}`)
    }
  }
  const size = (statSync(path).size / 1e6).toFixed(0)
  tally.notes.push(
    `at the end ${urls.length} URLs are stored in ${size} MB; ${kept.length} had to be`,
  )
}
