import { setImmediate as nextTurn } from 'node:timers/promises'

/** For how long work goes on without giving others a turn, in milliseconds. */
const STRETCH = 4

/** Lets others have their turn now and then while much is being done. */
export class Pace {
  #began = performance.now()

  /** To be called after each step; it only waits where it is time to. */
  async rest(): Promise<void> {
    if (performance.now() - this.#began < STRETCH) return
    await nextTurn()
    this.#began = performance.now()
  }
}
