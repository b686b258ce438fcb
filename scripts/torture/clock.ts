// Clocks that jump by hours and years, in both directions and while others are right, on one SQLite file: no
// request fails, nothing is taken for fresh that is not, and the store is used again in the end.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { newFolder } from '../node-binaries.ts'
import { launch } from './channel.ts'
import { answersOf, stopAll } from './crew.ts'
import { startOrigin } from './origin.ts'
import { type Part, sealing } from './parts.ts'
import { Tally } from './tally.ts'
import type { TurnedConfig } from './turned.ts'

/** For how long responses are fresh, in seconds. */
const LIFETIME = 2

export const tortureClock: Part = async ({ seconds, clients, folder, isSealed }) => {
  const tally = new Tally('clock', { mayCutOff: true })
  const origin = await startOrigin(`max-age=${LIFETIME}`)
  const inside = await newFolder(join(folder, 'clock-'))
  const path = join(inside, 'cache.sqlite')
  const config: TurnedConfig = {
    origin: origin.url,
    options: { store: `sqlite://${path}`, ...sealing(isSealed) },
    lifetime: LIFETIME * 1000,
  }
  const programs = Array.from({ length: clients }, () =>
    launch('turned.ts', config, answersOf(tally)),
  )
  for (const { ended } of programs) {
    void ended.then((how) => {
      if (how !== 'success') tally.problem('failed', `a process ended with ${how}`)
    })
  }
  await delay(seconds * 1000)
  // In the end the store fails for a while, and the clock is turned back before it is tried again.
  const database = new DatabaseSync(path, { timeout: 10_000 })
  database.exec('BEGIN EXCLUSIVE')
  await delay(4000)
  for (const program of programs) program.stop()
  await delay(1000)
  database.exec('ROLLBACK')
  database.close()
  await stopAll(programs, tally)
  origin.close()
  rmSync(inside, { recursive: true })
  return [tally]
}
