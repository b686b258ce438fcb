import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Usage } from './byte-store.ts'
import type { Entry } from './entry.ts'
import type { Candidate, Eviction } from './eviction.ts'
import type { Summary } from './summary.ts'

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

/** How many responses are looked at to be evicted together at least and at most, so that nothing else waits for long. */
const LEAST = 20
const MOST = 500

/** To what part of a limit a store is brought down that has reached it, so that not every write evicts. */
const LOW_WATER = 0.9

/** From what part of a limit on nothing is stored until something has been evicted; but always so many responses. */
const HIGH_WATER = 1.1
const ALWAYS_STORED = 20

/** After how many attempts in vain to evict something it is not tried again until something has been stored. */
const MAX_ATTEMPTS = 3

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

/** A number of bytes and of responses. */
interface Amount {
  size: number
  count: number
}

/** Keeps a store within its limits: what was used least recently goes first. */
export class Limits {
  readonly #usage: Usage
  readonly #options: LimitOptions
  readonly #eviction: Eviction
  readonly #variantKey: (response: Pick<Entry, 'cacheKey' | 'nominated'>) => string
  /** Which responses have been used, by their generation. */
  readonly #used = new Map<string, Used>()
  /** How much there is: as was found when it was looked at, and what has been begun to be stored since. */
  #known: Amount = { size: 0, count: 0 }
  /** What is being stored. */
  readonly #storing: Amount = { size: 0, count: 0 }
  /** Lets what waits for room be stored, one after the other. */
  readonly #waiting: (() => void)[] = []
  /** How much more may be stored until it is looked at again how much there is. */
  #room = { size: 0, count: 0, until: 0 }
  #running: Promise<void> | undefined
  #isAskedAgain = false
  /** What is being written of them. */
  #writing: Promise<void> = Promise.resolve()
  /** When uses are written: near a limit, and at all. */
  #soon: NodeJS.Timeout | undefined
  #later: NodeJS.Timeout | undefined

  /** @param variantKey where a response is if it is one of several variants */
  constructor(
    usage: Usage,
    options: LimitOptions,
    eviction: Eviction,
    variantKey: (response: Pick<Entry, 'cacheKey' | 'nominated'>) => string,
  ) {
    this.#variantKey = variantKey
    this.#usage = usage
    this.#options = options
    this.#eviction = eviction
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
   * To be called before something is stored: what comes faster than others can be evicted waits.
   *
   * @param size of what is stored, in bytes
   * @returns what is to be waited for, if anything is; then {@link end} is to be called
   */
  begin(size: number): Promise<void> | undefined {
    if (!this.isFull && this.#waiting.length === 0) return this.#enter(size)
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.push(() => resolve(this.#enter(size)))
    this.#lookAfter()
    return promise
  }

  /** Whether there is so much more than may be that what is to be stored waits. */
  get isFull(): boolean {
    const { maxSize, maxEntries } = this.#options
    const { size, count } = this.#known
    return size > maxSize * HIGH_WATER || count > maxEntries * HIGH_WATER + ALWAYS_STORED
  }

  #enter(size: number): undefined {
    for (const amount of [this.#known, this.#storing]) {
      amount.size += size
      amount.count += 1
    }
  }

  /**
   * Looks after the limits, now that something has been stored. A store that fails has told so already.
   *
   * @param size as it was begun
   */
  end(size: number): void {
    this.#storing.size -= size
    this.#storing.count -= 1
    this.#room.size -= size
    this.#room.count -= 1
    const hasRoom = this.#room.size > 0 && this.#room.count > 0
    if (!hasRoom || performance.now() >= this.#room.until) this.#lookAfter()
    this.#letIn()
  }

  /** Lets be stored what there is room for; and something in any case, where there is nothing else to be waited for. */
  #letIn(): void {
    const isIdle = () => this.#storing.count === 0 && this.#running === undefined
    while (this.#waiting.length > 0 && (!this.isFull || isIdle())) this.#waiting.shift()?.()
  }

  #lookAfter(): void {
    if (this.#running) {
      this.#isAskedAgain = true
      return
    }
    this.#running = this.#keep()
      .catch(() => {
        // For a store that fails nothing waits: what is to be stored fails as well.
        this.#known = { ...this.#storing }
      })
      .finally(() => {
        this.#running = undefined
        if (this.#isAskedAgain) this.#lookAfter()
        this.#letIn()
      })
    this.#isAskedAgain = false
  }

  async #keep(): Promise<void> {
    let there = await this.#look(1)
    let limit = this.#exceeded(there, 1)
    // What is found may have been used just now, or tell of variants: then others are found the next time.
    for (let attempt = 1; limit !== undefined && attempt <= MAX_ATTEMPTS; attempt++) {
      await this.flush(0)
      const candidates = await this.#choose(there)
      if ((await this.#eviction.evict(candidates, limit)) > 0) attempt = 0
      await nextTurn()
      there = await this.#look(LOW_WATER)
      limit = this.#exceeded(there, LOW_WATER)
    }
  }

  /** What is to be evicted next: the further a limit is exceeded, the more at a time. */
  async #choose(there: Amount): Promise<Candidate[]> {
    const { maxSize, maxEntries } = this.#options
    const share = Math.max(
      1 - (maxSize * LOW_WATER) / there.size,
      1 - (maxEntries * LOW_WATER) / there.count,
    )
    const most = Math.min(MOST, LEAST + Math.ceil(there.count * share))
    const chosen: Candidate[] = []
    const left = { ...there }
    for await (const candidate of this.#eviction.candidates(most)) {
      const { size, count, summary } = candidate
      // The last one there is may be almost as large as the store.
      const part = left.count <= count ? 1 : LOW_WATER
      if (this.#exceeded(left, part) === undefined) break
      if (summary && this.#isUsedSince(summary, candidate.head.usedAt)) continue
      chosen.push(candidate)
      left.size -= size
      left.count -= count
    }
    return chosen
  }

  /** Whether a response has been used since the store was told. */
  #isUsedSince({ generation }: Summary, usedAt: number): boolean {
    const used = this.#used.get(generation)
    return used !== undefined && used.usedAt > Math.max(used.knownAt, usedAt)
  }

  /** Which limit an amount exceeds, or a part of it. */
  #exceeded({ size, count }: Amount, part: number): keyof LimitOptions | undefined {
    const { maxSize, maxEntries } = this.#options
    if (size > maxSize * part) return 'maxSize'
    return count > Math.floor(maxEntries * part) ? 'maxEntries' : undefined
  }

  /**
   * How much there is. What may come to nothing, or is on its way out, does not count, where it depends on that
   * whether a part of a limit is exceeded: nothing is evicted for it.
   */
  async #look(part: number): Promise<Amount> {
    const { maxSize, maxEntries } = this.#options
    const gone = await this.#unreferencedSize(part)
    const { size: all, count } = await this.#usage.totals()
    const size = all - gone
    this.#known = { size: size + this.#storing.size, count: count + this.#storing.count }
    this.#room = {
      size: (maxSize - size) * SHARE_OF_ROOM,
      count: (maxEntries - count) * SHARE_OF_ROOM,
      until: performance.now() + LOOK_INTERVAL,
    }
    this.#letIn()
    return { size, count }
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
    const [oldest] = await this.#usage.oldest(1)
    return Math.min(COARSE, Math.max(0, Date.now() - (oldest?.usedAt ?? 0)) * EXACT_NEAR)
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

  /** Where a response may be; or what tells of its variants, which has been used with it. */
  #keysOf(used: Used): string[] {
    const mayBeVariant = Object.keys(used.nominated).length > 0
    return mayBeVariant ? [used.cacheKey, this.#variantKey(used)] : [used.cacheKey]
  }

  /** Waits until the limits are kept. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running
  }
}
