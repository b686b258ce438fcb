// Database files that are cut off, or have other bits, bytes and pages than were written: a request never
// fails and never gets anything else than what the origin has sent, and somebody is told.
import { copyFileSync, existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { type AgentOptions, type CachingAgent, cachingAgent } from 'caching-agent'
import { newFolder } from '../node-binaries.ts'
import { launch } from './channel.ts'
import { answersOf, stopAll } from './crew.ts'
import { exchange } from './exchange.ts'
import { startOrigin } from './origin.ts'
import { type Part, sealing } from './parts.ts'
import { Tally } from './tally.ts'
import type { TrialsConfig } from './trials.ts'

/** How long a trial may take, in milliseconds. */
const PATIENCE = 30_000

/** How many processes make trials at a time. */
const PROCESSES = 2

/** How many responses are stored. */
const STORED = 24

export const tortureWithDamage: Part = async ({ seconds, folder, seed, isSealed, slowness }) => {
  const tally = new Tally('damage', { mayCutOff: true })
  tally.notes.push(`the first seed was ${seed}`)
  const origin = await startOrigin()
  const inside = await newFolder(join(folder, 'damage-'))
  const urls = Array.from({ length: STORED }, (_, index) => `${origin.url}/some/${index}`)
  const options = sealing(isSealed)
  const patience = PATIENCE * slowness
  await makeSound(inside, urls, options)

  const end = performance.now() + seconds * 1000
  let next = seed
  let unnoticed = 0
  const work = async () => {
    while (performance.now() < end) {
      let began = performance.now()
      let current = next
      const config: TrialsConfig = { folder: inside, urls, options }
      const answers = {
        ...answersOf(tally),
        trial: () => {
          began = performance.now()
          current = next++
          return current
        },
        unnoticed: () => {
          unnoticed += 1
        },
      }
      const process = launch('trials.ts', config, answers)
      let ended: string | undefined
      void process.ended.then((how) => {
        ended = how
      })
      while (ended === undefined && performance.now() < end) {
        await delay(100)
        if (performance.now() - began < patience) continue
        tally.problem('failed', `a trial took more than ${patience} ms (seed ${current})`)
        process.child.kill('SIGKILL')
        await process.ended
      }
      if (ended === undefined) await stopAll([process], tally)
      else if (ended !== 'killed')
        tally.problem('failed', `a process ended with ${ended} (seed ${current})`)
    }
  }
  await Promise.all(Array.from({ length: PROCESSES }, work))
  tally.notes.push(`${next - seed} files were damaged`)
  // Rows that are simply not there any more, such as those of a log that was removed.
  tally.notes.push(`of ${unnoticed} nothing was noticed but that responses were gone`)
  origin.close()
  rmSync(inside, { recursive: true })
  return [tally]
}

/** Makes two sound databases: `closed.sqlite`, and `open.sqlite` as it is while it is in use, with its log. */
async function makeSound(
  folder: string,
  urls: readonly string[],
  options: AgentOptions,
): Promise<void> {
  const path = join(folder, 'sound.sqlite')
  const agent = cachingAgent({ store: `sqlite://${path}`, expireAfter: '1h', ...options })
  await storeAll(agent, urls.slice(0, STORED / 2))
  const database = new DatabaseSync(path)
  database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  database.close()
  await storeAll(agent, urls.slice(STORED / 2))
  copyDatabase(path, join(folder, 'open.sqlite'))
  await agent.close()
  copyDatabase(path, join(folder, 'closed.sqlite'))
}

async function storeAll(agent: CachingAgent, urls: readonly string[]): Promise<void> {
  for (const url of urls) {
    const { outcome } = await exchange(agent, url)
    if (outcome.failed ?? outcome.wrong) throw new Error(outcome.failed ?? outcome.wrong)
  }
  await agent.cache.responses.settled()
}

/** Copies a database with its log, if it has one. */
export function copyDatabase(from: string, to: string): void {
  for (const suffix of ['', '-wal']) {
    if (existsSync(from + suffix)) copyFileSync(from + suffix, to + suffix)
  }
}
