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
interface Used extends Pick<Entry, 'cacheKey' | 'nominated'> {
  /** When it was used last, in milliseconds since the epoch. */
  usedAt: number
  /** The last use of which the store knows, or an earlier one. */
  knownAt: number
}

/** How many responses are evicted at a time, so that nothing else waits for long. */
const STEP = 20

/** To what part of a limit a store is brought down that has reached it, so that not every write evicts. */
const LOW_WATER = 0.9

/** How much of what may still be stored is stored without looking again, and for how long, in milliseconds: others store as well. */
const SHARE_OF_ROOM = 0.5
const LOOK_INTERVAL = 1000

/** With what part of a limit a store is near it, so that others may be about to evict. */
const NEAR = 0.75

/** How long uses are noted in memory before they are written, in milliseconds: writing wakes other processes. */
const TOUCH_DELAY = 600_000

/** The same near a limit. */
const TOUCH_DELAY_NEAR = 500

/** How exact the time of the last use has to be, in milliseconds. */
const COARSE = 3_600_000

/** The same near a limit: a part of the time within which all that there is has been used. */
const EXACT_NEAR = 1 / 16

/** How many uses are noted at most, and how many of them are written at a time near a limit. */
const MAX_USED = 10_000
const MAX_TOUCHED = 1000

/** Keeps a store within its limits: what was used least recently goes first. */
export class Limits {
  readonly #usage: Usage
  readonly #options: LimitOptions
  readonly #evict: (key: string, limit: keyof LimitOptions) => Promise<number>
  readonly #variantKey: (response: Pick<Entry, 'cacheKey' | 'nominated'>) => string
  /** Which responses have been used, by their generation. */
  readonly #used = new Map<string, Used>()
  /** How much more may be stored until it is looked at again how much there is. */
  #room = { size: 0, count: 0, until: 0 }
  #running: Promise<void> | undefined
  #isAskedAgain = false
  /** What is being written of them. */
  #writing: Promise<void> = Promise.resolve()
  /** When uses are written: near a limit, and at all. */
  #soon: NodeJS.Timeout | undefined
  #later: NodeJS.Timeout | undefined

  /**
   * @param evict removes what is at the key of a head; resolves to how many bytes of content will follow it
   * @param variantKey where a response is if it is one of several variants
   */
  constructor(
    usage: Usage,
    options: LimitOptions,
    evict: (key: string, limit: keyof LimitOptions) => Promise<number>,
    variantKey: (response: Pick<Entry, 'cacheKey' | 'nominated'>) => string,
  ) {
    this.#variantKey = variantKey
    this.#usage = usage
    this.#options = options
    this.#evict = evict
  }

  /** Notes that a response has been used. */
  use({ generation, cacheKey, nominated, responseTime }: Entry): void {
    const usedAt = Date.now()
    const used = this.#used.get(generation)
    if (used) used.usedAt = usedAt
    else this.#used.set(generation, { cacheKey, nominated, usedAt, knownAt: responseTime })
    this.#soon ??= setTimeout(
      () => void this.#flushNear().catch(() => {}),
      TOUCH_DELAY_NEAR,
    ).unref()
    this.#later ??= setTimeout(() => void this.flush().catch(() => {}), TOUCH_DELAY).unref()
    if (this.#used.size > MAX_USED) this.#forgetUses()
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

  /**
   * Writes what has been used.
   *
   * @param age by how many milliseconds the store may be wrong about the last use; without it, as little as it takes
   */
  async flush(age?: number): Promise<void> {
    clearTimeout(this.#later)
    this.#later = undefined
    await this.#write([...this.#used.values()], async () => age ?? this.#ageOf())
  }

  /** Where others may be about to evict, they have to know what has been used. */
  async #flushNear(): Promise<void> {
    this.#soon = undefined
    const age = await this.#ageNear()
    if (age !== undefined) await this.#write([...this.#used.values()], async () => age, MAX_TOUCHED)
  }

  /** There is no more room for what has been used. */
  #forgetUses(): void {
    const all = [...this.#used.values()]
    this.#used.clear()
    this.#write(all, () => this.#ageOf()).catch(() => {})
  }

  /** By how many milliseconds the store may be wrong about the last use. */
  async #ageOf(): Promise<number> {
    return (await this.#ageNear()) ?? COARSE
  }

  /** The same where a limit is near; undefined where none is. */
  async #ageNear(): Promise<number | undefined> {
    const { maxSize, maxEntries } = this.#options
    const { size, count } = await this.#usage.totals()
    if (size < maxSize * NEAR && count < maxEntries * NEAR) return undefined
    const keys = await this.#usage.oldest(1)
    const [oldest = 0] = (await this.#usage.usedAt(keys)).values()
    return Math.min(COARSE, Math.max(0, Date.now() - oldest) * EXACT_NEAR)
  }

  /**
   * Writes uses, one call after the other: what is evicted next depends on all of them.
   *
   * @param most how many: those first that would be evicted first
   */
  #write(all: readonly Used[], ageOf: () => Promise<number>, most = Infinity): Promise<void> {
    const before = this.#writing
    const write = async () => {
      await before
      await this.#writeNow(all, await ageOf(), most)
    }
    const writing = write()
    this.#writing = writing.catch(() => {})
    return writing
  }

  async #writeNow(all: readonly Used[], age: number, most: number): Promise<void> {
    const unknown = all.filter(({ usedAt, knownAt }) => usedAt - knownAt > age)
    if (unknown.length > most) unknown.sort((a, b) => a.knownAt - b.knownAt).length = most
    unknown.sort((a, b) => a.usedAt - b.usedAt)
    const uses = unknown.flatMap((used) =>
      this.#keysOf(used).map((key) => ({ key, usedAt: used.usedAt })),
    )
    for (const used of unknown) used.knownAt = used.usedAt
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
