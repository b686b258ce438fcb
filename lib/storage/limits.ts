import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Usage } from './byte-store.ts'
import { type Entry, variantKey } from './entry.ts'

/** How much a store may hold. */
export interface LimitOptions {
  /** In bytes. */
  readonly maxSize: number
  readonly maxEntries: number
}

/** How many responses are evicted at a time, so that nothing else waits for long. */
const STEP = 20

/** To what part of a limit a store is brought down that has reached it, so that not every write evicts. */
const LOW_WATER = 0.9

/** How long it may take until the content of what was evicted is gone as well, in milliseconds. */
const LATENCY = 25_000

/** How long uses are noted in memory before they are written, in milliseconds: writing wakes other processes. */
const TOUCH_DELAY = 600_000

/** How exact the time of the last use has to be while nothing is evicted, in milliseconds. */
const COARSE = 3_600_000

/** How many uses are noted at most. */
const MAX_USED = 1000

/** Keeps a store within its limits: what was used least recently goes first. */
export class Limits {
  readonly #usage: Usage
  readonly #options: LimitOptions
  readonly #evict: (key: string, limit: keyof LimitOptions) => Promise<number>
  /** Which responses have been used, by their generation. */
  readonly #used = new Map<string, Pick<Entry, 'cacheKey' | 'nominated'>>()
  /** What has been evicted, but may still be counted. */
  #leaving: { readonly size: number; readonly until: number }[] = []
  #running: Promise<void> | undefined
  #isAskedAgain = false
  #timer: NodeJS.Timeout | undefined

  /** @param evict removes what is at the key of a head; resolves to its size in bytes */
  constructor(
    usage: Usage,
    options: LimitOptions,
    evict: (key: string, limit: keyof LimitOptions) => Promise<number>,
  ) {
    this.#usage = usage
    this.#options = options
    this.#evict = evict
  }

  /** Notes that a response has been used. */
  use({ generation, cacheKey, nominated }: Entry): void {
    if (this.#used.has(generation)) return
    this.#used.set(generation, { cacheKey, nominated })
    const flush = () => void this.flush(COARSE).catch(() => {})
    if (this.#used.size >= MAX_USED) flush()
    else this.#timer ??= setTimeout(flush, TOUCH_DELAY).unref()
  }

  /** Looks after the limits, now that something has been written. A store that fails has told so already. */
  check(): void {
    if (this.#running) {
      this.#isAskedAgain = true
      return
    }
    this.#running = this.#keep()
      .catch(() => {})
      .finally(() => {
        this.#running = undefined
        if (this.#isAskedAgain) this.check()
      })
    this.#isAskedAgain = false
  }

  async #keep(): Promise<void> {
    const { maxSize, maxEntries } = this.#options
    const now = Date.now()
    this.#leaving = this.#leaving.filter(({ until }) => until > now)
    const totals = await this.#usage.totals()
    let size = totals.size - this.#leaving.reduce((sum, each) => sum + each.size, 0)
    let { count } = totals
    if (size <= maxSize && count <= maxEntries) return
    const limit = size > maxSize ? 'maxSize' : 'maxEntries'

    await this.flush(0)
    const isWithin = () =>
      size <= Math.max(maxSize * LOW_WATER, 0) && count <= Math.floor(maxEntries * LOW_WATER)
    while (!isWithin()) {
      const keys = await this.#usage.oldest(STEP)
      if (keys.length === 0) return
      for (const key of keys) {
        if (isWithin()) return
        const freed = await this.#evict(key, limit)
        this.#leaving.push({ size: freed, until: now + LATENCY })
        size -= freed
        count -= 1
      }
      await nextTurn()
    }
  }

  /** Writes what has been used since the last time; not again what was used a while ago already. */
  async flush(age: number = COARSE): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    // Whether it is one of several variants does not matter: nothing is at the other key.
    const keys = [...this.#used.values()].flatMap(({ cacheKey, nominated }) => [
      cacheKey,
      variantKey(cacheKey, nominated),
    ])
    this.#used.clear()
    if (keys.length > 0) await this.#usage.touch(keys, age)
  }

  /** Waits until the limits are kept. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running
  }
}
