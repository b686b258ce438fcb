// A Redis server that is frozen, killed and started again under load: nobody notices, but for the time that
// a store may take once.
import { setTimeout as delay } from 'node:timers/promises'
import { noRedis, type StoreServer, serverUrl, startRedis } from '../../test/helpers/servers.ts'
import type { Operations } from './client.ts'
import { Crew } from './crew.ts'
import { Ledger } from './ledger.ts'
import { startOrigin } from './origin.ts'
import { type Part, sealing } from './parts.ts'
import { random } from './random.ts'
import { Tally } from './tally.ts'

/** When a response begins at the latest, in milliseconds: a store may take so long, the origin and a busy machine too. */
const LATEST = 500 + 1000

/** How long a server that was away is left alone at most, and is then used, in milliseconds. */
const REST = 13_000

/** A server that forgets everything when it ends keeps nothing that could be lost. */
const OPERATIONS: Operations = {
  ...{ read: 60, refresh: 10, part: 5, change: 5, delete: 5 },
  ...{ keep: 0, drop: 0, check: 0, manage: 0.5, inspect: 0, clear: 0.1 },
}

export const tortureRedis: Part = async ({ seconds, clients, isSealed, slowness }) => {
  const tally = new Tally('redis', { mayCutOff: true })
  if (noRedis) {
    tally.notes.push(`skipped: ${noRedis}`)
    return [tally]
  }
  const server = await startRedis()
  const origin = await startOrigin()
  const configs = Array.from({ length: clients }, (_, slot) => ({
    slot,
    origin: origin.url,
    options: {
      store: serverUrl('redis', server),
      ...(slot % 2 && { memory: false as const }),
      ...sealing(isSealed, slot),
    },
    shared: 60,
    clients,
    operations: OPERATIONS,
  }))
  const crew = new Crew(tally, new Ledger(origin.version), configs)
  const end = performance.now() + seconds * 1000
  await delay(2000)
  do {
    await trouble(server, tally)
    // Again before anybody has come back to it.
    if (random() < 0.5) await trouble(server, tally)
    await delay(REST)
  } while (performance.now() < end)
  await crew.stop()
  await server.kill()
  origin.close()
  const latest = LATEST * slowness
  if (tally.latest > latest) {
    tally.problem('others', `a response began after ${tally.latest} ms: ${latest} are allowed`)
  }
  return [tally]
}

async function trouble(server: StoreServer, tally: Tally): Promise<void> {
  if (random() < 0.5) {
    server.freeze()
    await delay(random() * 3000)
    server.resume()
  } else {
    await server.kill()
    tally.kills += 1
    await delay(random() * 2000)
    await server.start()
  }
  await delay(random() * 2000)
}
