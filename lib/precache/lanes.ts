/** What is done in lanes, and how. */
export interface LanesOptions<T> {
  /** How much is done at a time. */
  readonly concurrency: number
  /** How much is done at a time in one lane. */
  perLane(lane: string): number
  /**
   * Called before a lane is used. Never rejects.
   *
   * @returns how much time lies between two beginnings in it, in milliseconds
   */
  open(lane: string): Promise<number>
  /** Never rejects. */
  work(item: T, lane: string): Promise<void>
}

interface Lane<T> {
  readonly name: string
  readonly waiting: Set<T>
  underWay: number
  isOpen: boolean
  spacing: number
  /** When work may begin again, by `performance.now()`. */
  notBefore: number
}

/** Work that is done so much at a time, and less in each lane, of which each has its own pace. */
export class Lanes<T> {
  readonly #options: LanesOptions<T>
  readonly #lanes = new Map<string, Lane<T>>()
  /** The lanes in which something waits; whichever was served last is served last. */
  readonly #busy = new Set<Lane<T>>()
  #underWay = 0
  #timer: NodeJS.Timeout | undefined
  #onIdle: (() => void) | undefined

  constructor(options: LanesOptions<T>) {
    this.#options = options
  }

  add(name: string, item: T): void {
    const lane = this.#lane(name)
    lane.waiting.add(item)
    this.#busy.add(lane)
  }

  /** Begins nothing in a lane for a time, in milliseconds. */
  pause(name: string, time: number): void {
    const lane = this.#lane(name)
    lane.notBefore = Math.max(lane.notBefore, performance.now() + time)
  }

  /** Forgets what waits; what is under way ends. */
  clear(): void {
    for (const lane of this.#busy) lane.waiting.clear()
    this.#busy.clear()
    this.#advance()
  }

  /** Works until nothing is left. */
  async run(): Promise<void> {
    const idle = new Promise<void>((resolve) => {
      this.#onIdle = resolve
    })
    this.#advance()
    await idle
  }

  #lane(name: string): Lane<T> {
    const known = this.#lanes.get(name)
    if (known !== undefined) return known
    const lane = {
      name,
      waiting: new Set<T>(),
      underWay: 0,
      isOpen: false,
      spacing: 0,
      notBefore: 0,
    }
    this.#lanes.set(name, lane)
    return lane
  }

  /** Begins what may begin. */
  #advance(): void {
    clearTimeout(this.#timer)
    if (this.#busy.size === 0 && this.#underWay === 0) this.#onIdle?.()
    const now = performance.now()
    let next = Infinity
    for (let hasBegun = true; hasBegun; ) {
      hasBegun = false
      for (const lane of [...this.#busy]) {
        if (this.#underWay >= this.#options.concurrency) return
        const limit = lane.isOpen ? this.#options.perLane(lane.name) : 1
        if (lane.underWay >= limit) continue
        if (lane.notBefore > now) next = Math.min(next, lane.notBefore)
        else {
          this.#begin(lane, now)
          hasBegun = true
        }
      }
    }
    if (next < Infinity) this.#timer = setTimeout(() => this.#advance(), Math.ceil(next - now))
  }

  #begin(lane: Lane<T>, now: number): void {
    lane.underWay += 1
    this.#underWay += 1
    const done = lane.isOpen ? this.#work(lane, now) : this.#open(lane)
    void done.then(() => {
      lane.underWay -= 1
      this.#underWay -= 1
      this.#advance()
    })
  }

  async #open(lane: Lane<T>): Promise<void> {
    lane.spacing = await this.#options.open(lane.name)
    lane.isOpen = true
  }

  #work(lane: Lane<T>, now: number): Promise<void> {
    const [item] = lane.waiting as Iterable<T> as [T]
    lane.waiting.delete(item)
    this.#busy.delete(lane)
    if (lane.waiting.size > 0) this.#busy.add(lane)
    lane.notBefore = Math.max(lane.notBefore, now + lane.spacing)
    return this.#options.work(item, lane.name)
  }
}
