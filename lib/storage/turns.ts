import { clearImmediate, setImmediate } from 'node:timers'
import type { Awaitable } from '../awaitable.ts'

/** How much content is read until others have a turn, in bytes, whoever reads it. */
const MOST = 1024 * 1024

let left = MOST
let next: Promise<void> | undefined

/**
 * To be called before content is read. Stores that answer at once, to readers that never pause, would let
 * nobody else have a turn: when much has been read, all who read wait for the next turn of the event loop.
 *
 * @param bytes how much is going to be read
 * @returns what is to be waited for, if anything is
 */
export function takeTurn(bytes: number): Awaitable<void> {
  if (left <= 0) return waitFor(bytes)
  left -= bytes
}

/** For what nobody waits for: it lets all that has arrived in this turn of the event loop be dealt with first. */
export class LaterTurn {
  #waiting: PromiseWithResolvers<void> | undefined
  #immediate: NodeJS.Immediate | undefined

  /** Waits for the next turn, or until {@link come}. */
  wait(): Promise<void> {
    if (this.#waiting === undefined) {
      this.#waiting = Promise.withResolvers<void>()
      this.#immediate = setImmediate(() => this.come())
    }
    return this.#waiting.promise
  }

  /** There is no more reason to wait. */
  come(): void {
    clearImmediate(this.#immediate)
    this.#waiting?.resolve()
    this.#waiting = undefined
  }
}

async function waitFor(bytes: number): Promise<void> {
  while (left <= 0) {
    next ??= new Promise((resolve) => {
      setImmediate(() => {
        left = MOST
        next = undefined
        resolve()
      })
    })
    await next
  }
  left -= bytes
}
