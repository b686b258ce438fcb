import type { About, ByteStore } from './byte-store.ts'
import { GivenUpError, TooSlowError } from './content.ts'

/**
 * With how much being written nothing else begins to be, in bytes: on a connection to a server whatever is read
 * waits for what is written before it.
 */
const ENOUGH = 512 * 1024

/** A write that waits for its turn. */
interface Waiting {
  readonly about: About | undefined
  /** In bytes. */
  readonly size: number
  /** Since when, in milliseconds of `performance.now()`. */
  readonly since: number
  begin(): void
  refuse(error: Error): void
}

/** Lets only so much be written at a time to all parts of a store; the rest waits for its turn in this process. */
export class WriteTurns {
  readonly #patience: number
  readonly #waiting: Waiting[] = []
  /** How much is being written, in bytes. */
  #underWay = 0

  /** @param patience for how long a write may wait for its turn, in milliseconds */
  constructor(patience: number) {
    this.#patience = patience
  }

  /**
   * Makes a write when it is its turn.
   *
   * @param size in bytes
   * @throws TooSlowError where that does not come in time, GivenUpError where nobody needs it by then: it is not made
   */
  async run<T>(size: number, about: About | undefined, write: () => Promise<T>): Promise<T> {
    if (this.#waiting.length === 0 && this.#underWay < ENOUGH) this.#underWay += size
    else {
      await new Promise<void>((begin, refuse) => {
        this.#waiting.push({ size, about, since: performance.now(), begin, refuse })
      })
    }
    try {
      return await write()
    } finally {
      this.#underWay -= size
      this.#next()
    }
  }

  #next(): void {
    while (this.#underWay < ENOUGH) {
      const next = this.#waiting.shift()
      if (next === undefined) return
      const error = this.#whyNot(next)
      if (error) next.refuse(error)
      else {
        this.#underWay += next.size
        next.begin()
      }
    }
  }

  #whyNot({ about, since }: Waiting): Error | undefined {
    if (about?.isGivenUp?.()) return new GivenUpError('nobody needs it any more')
    // Where more comes than can be written, all would wait for ever longer.
    return performance.now() - since > this.#patience ? new TooSlowError() : undefined
  }
}

/** A store to which is written in turn, but for what a request waits for. */
export function writtenInTurn(store: ByteStore, turns: WriteTurns): ByteStore {
  const { replace } = store
  const inTurn = <T>(
    bytes: Buffer | undefined,
    about: About | undefined,
    write: () => Promise<T>,
  ): Promise<T> => (bytes && !about?.isAwaited ? turns.run(bytes.length, about, write) : write())
  return {
    ...store,
    set: (...record) => inTurn(record[1], record[3], () => store.set(...record)),
    ...(replace && {
      replace: (...change) => inTurn(change[2], change[4], () => replace(...change)),
    }),
  }
}
