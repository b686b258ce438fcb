import { setTimeout as delay } from 'node:timers/promises'
import { RefusedError } from './refusal.ts'

/** Lets changes to one thing happen one after the other, and those to different things at the same time. */
export class Exclusive {
  readonly #last = new Map<string, Promise<void>>()

  /** Makes a change to some things, when all changes to them that were asked for before have been made. */
  run<T>(names: readonly string[], change: () => Promise<T>): Promise<T> {
    const before = names.map((name) => this.#last.get(name)).filter((last) => last !== undefined)
    const result = (before.length > 0 ? Promise.all(before) : Promise.resolve()).then(change)
    const settled = result.then(
      () => {},
      () => {},
    )
    for (const name of names) this.#last.set(name, settled)
    void settled.then(() => {
      for (const name of names) if (this.#last.get(name) === settled) this.#last.delete(name)
    })
    return result
  }

  /** Whether something is being changed. */
  isBusy(name: string): boolean {
    return this.#last.has(name)
  }

  /** Waits until the changes that were asked for so far have been made. */
  async settled(name?: string): Promise<void> {
    await (name === undefined ? Promise.all(this.#last.values()) : this.#last.get(name))
  }
}

/** How often a change is begun anew that another process has come before. */
const MAX_ATTEMPTS = 20

/**
 * Makes a change that other processes may come before: then what there is by now is looked at again.
 *
 * @returns whether something was changed
 * @throws where others never let it be made
 */
export async function untilDone(
  attempt: () => Promise<'done' | 'nothing' | 'again'>,
): Promise<boolean> {
  for (let number = 0; number < MAX_ATTEMPTS; number++) {
    const outcome = await attempt()
    if (outcome !== 'again') return outcome === 'done'
    await delay(Math.random() * number)
  }
  throw new RefusedError('other processes change the same stored responses all the time')
}
