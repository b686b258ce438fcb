import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Usage } from './byte-store.ts'
import type { Entry } from './entry.ts'

/** How much a store may hold. */
export interface LimitOptions {
  /** In bytes. */
  readonly maxSize: number
  readonly maxEntries: number
}

/** What is noted of a response that has been used. */
type Used = Pick<Entry, 'cacheKey' | 'nominated' | 'responseTime'>

/** How many responses are evicted at a time, so that nothing else waits for long. */
const STEP = 20

/** To what part of a limit a store is brought down that has reached it, so that not every write evicts. */
const LOW_WATER = 0.9

/** How much of what may still be stored is stored without looking again, and for how long, in milliseconds: others store as well. */
const SHARE_OF_ROOM = 0.5
const LOOK_INTERVAL = 1000

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
  readonly #variantKey: (response: Used) => string
  /** Which responses have been used, by their generation. */
  readonly #used = new Map<string, Used>()
  /** How much more may be stored until it is looked at again how much there is. */
  #room = { size: 0, count: 0, until: 0 }
  #running: Promise<void> | undefined
  #isAskedAgain = false
  #timer: NodeJS.Timeout | undefined

  /**
   * @param evict removes what is at the key of a head; resolves to how many bytes of content will follow it
   * @param variantKey where a response is if it is one of several variants
   */
  constructor(
    usage: Usage,
    options: LimitOptions,
    evict: (key: string, limit: keyof LimitOptions) => Promise<number>,
    variantKey: (response: Used) => string,
  ) {
    this.#variantKey = variantKey
    this.#usage = usage
    this.#options = options
    this.#evict = evict
  }

  /** Notes that a response has been used. */
  use({ generation, cacheKey, nominated, responseTime }: Entry): void {
    if (this.#used.has(generation)) return
    this.#used.set(generation, { cacheKey, nominated, responseTime })
    const flush = () => void this.flush(COARSE).catch(() => {})
    if (this.#used.size >= MAX_USED) flush()
    else this.#timer ??= setTimeout(flush, TOUCH_DELAY).unref()
  }

  /**
   * Looks after the limits, now that something has been written. A store that fails has told so already.
   *
   * @param size of what has been written, in bytes
   */
  check(size: number): void {
    this.#room.size -= size
    this.#room.count -= 1
    const hasRoom = this.#room.size > 0 && this.#room.count > 0
    if (hasRoom && performance.now() < this.#room.until) return
    this.#lookAfter()
  }

  #lookAfter(): void {
    if (this.#running) {
      this.#isAskedAgain = true
      return
    }
    this.#running = this.#keep()
      .catch(() => {})
      .finally(() => {
        this.#running = undefined
        if (this.#isAskedAgain) this.#lookAfter()
      })
    this.#isAskedAgain = false
  }

  async #keep(): Promise<void> {
    let limit = await this.#exceeded(1)
    if (limit === undefined) return
    await this.flush(0)
    while (limit !== undefined) {
      const keys = await this.#usage.oldest(STEP)
      if (keys.length === 0) return
      // Asked once for all of them, as it is not known at once; then with what follows each.
      let unreferenced = await this.#usage.unreferencedSize()
      for (const key of keys) {
        // The last one there is may be almost as large as the store.
        const isLast = keys.length < STEP && key === keys.at(-1)
        if (isLast && (await this.#exceeded(1, unreferenced)) === undefined) return
        if ((await this.#exceeded(LOW_WATER, unreferenced)) === undefined) break
        unreferenced += await this.#evict(key, limit)
      }
      await nextTurn()
      limit = await this.#exceeded(LOW_WATER)
    }
  }

  /**
   * Which limit the store exceeds, or which one it would if that was only a part of what it is. Nothing is evicted
   * for what may come to nothing, or is on its way out.
   *
   * @param unreferenced how many bytes that is; without it, the store is asked
   */
  async #exceeded(part: number, unreferenced?: number): Promise<keyof LimitOptions | undefined> {
    const { maxSize, maxEntries } = this.#options
    const gone = unreferenced ?? (await this.#unreferencedSize(part))
    const { size: all, count } = await this.#usage.totals()
    const size = all - gone
    this.#room = {
      size: (maxSize - size) * SHARE_OF_ROOM,
      count: (maxEntries - count) * SHARE_OF_ROOM,
      until: performance.now() + LOOK_INTERVAL,
    }
    if (size > maxSize * part) return 'maxSize'
    return count > Math.floor(maxEntries * part) ? 'maxEntries' : undefined
  }

  /** How many bytes do not count, where it depends on them whether a limit is exceeded. */
  async #unreferencedSize(part: number): Promise<number> {
    const { size } = await this.#usage.totals()
    return size > this.#options.maxSize * part ? this.#usage.unreferencedSize() : 0
  }

  /** Writes what has been used since the last time; not again what was used a while ago already. */
  async flush(age: number = COARSE): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const uses = [...this.#used.values()].flatMap((used) =>
      this.#keysOf(used).map((key) => ({ key, storedAt: used.responseTime })),
    )
    this.#used.clear()
    if (uses.length > 0) await this.#usage.touch(uses, age)
  }

  /** Where a response may be: at the other key there is nothing. */
  #keysOf(used: Used): string[] {
    const mayBeVariant = Object.keys(used.nominated).length > 0
    return mayBeVariant ? [used.cacheKey, this.#variantKey(used)] : [used.cacheKey]
  }

  /** Waits until the limits are kept. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running
  }
}
