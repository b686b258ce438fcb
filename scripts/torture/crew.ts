import { setTimeout as delay } from 'node:timers/promises'
import { type Launched, launch, type Messages } from './channel.ts'
import type { ClientConfig } from './client.ts'
import type { Ledger } from './ledger.ts'
import { random } from './random.ts'
import type { Tally } from './tally.ts'

/** How long a client may take to end when it is asked to, in milliseconds. */
const PATIENCE = 40_000

/** Clients that all do the same, until they are killed or asked to stop. */
export class Crew {
  readonly #tally: Tally
  readonly #ledger: Ledger
  readonly #configs: readonly ClientConfig[]
  readonly #wrapper: readonly string[]
  readonly #clients = new Map<number, Launched>()
  #isStopping = false

  /** @param wrapper see {@link launch} */
  constructor(
    tally: Tally,
    ledger: Ledger,
    configs: readonly ClientConfig[],
    wrapper: readonly string[] = [],
  ) {
    this.#tally = tally
    this.#ledger = ledger
    this.#configs = configs
    this.#wrapper = wrapper
    for (const config of configs) this.#start(config)
  }

  #start(config: ClientConfig): void {
    const { slot } = config
    const client = launch('client.ts', config, this.#answers(slot), this.#wrapper)
    this.#clients.set(slot, client)
    void client.ended.then((how) => {
      this.#ledger.cleared(slot)
      if (how === 'killed' || (how === 'success' && this.#isStopping)) return
      this.#tally.problem('failed', `a client ended with ${how}`)
    })
  }

  #answers(slot: number): Partial<Messages> {
    const ledger = this.#ledger
    return {
      ...answersOf(this.#tally),
      entry: (path) => ledger.entry(path),
      kept: (path, version, clears) => ledger.kept(path, version, clears),
      deleting: (path) => ledger.deleting(path),
      deleted: (path) => ledger.deleted(path),
      clearing: () => ledger.clearing(slot),
      cleared: () => ledger.cleared(slot),
    }
  }

  /** Kills any client at once, and starts it again. */
  async killAny(): Promise<void> {
    const slot = Math.floor(random() * this.#configs.length)
    const client = this.#clients.get(slot) as Launched
    client.child.kill('SIGKILL')
    await client.ended
    this.#tally.kills += 1
    this.#start(this.#configs[slot] as ClientConfig)
  }

  /** Asks all clients to end in order. */
  async stop(): Promise<void> {
    this.#isStopping = true
    await stopAll([...this.#clients.values()], this.#tally)
  }
}

/** What is counted of what programs tell. */
export function answersOf(tally: Tally): Partial<Messages> {
  return {
    outcome: (outcome) => tally.request(outcome),
    event: (text) => tally.event(text),
    problem: (kind, text) => tally.problem(kind, text),
    recovered(milliseconds) {
      if (milliseconds === null) tally.problem('others', 'nothing could be stored any more')
      else if (milliseconds > 1000) {
        tally.notes.push(`a client could store again after ${Math.round(milliseconds)} ms`)
      }
    },
  }
}

/** Asks programs to end in order, and ends those that do not. */
export async function stopAll(programs: readonly Launched[], tally: Tally): Promise<void> {
  for (const program of programs) program.stop()
  const late = delay(PATIENCE, 'late' as const, { ref: false })
  for (const { child, ended } of programs) {
    if ((await Promise.race([ended, late])) !== 'late') continue
    tally.problem('others', 'a process that was asked to end did not')
    child.kill('SIGKILL')
  }
}
