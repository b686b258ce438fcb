/** What must be true of a stored response from now on. */
export interface Entry {
  /** It is of this version or a later one. */
  readonly version: number
  /** It is there: it has been written completely, and nobody has deleted it since. */
  readonly isKept: boolean
  /** How often anybody has begun to clear everything. */
  readonly clears: number
}

/**
 * What the processes of a torture have finished, kept where none of them is killed. Each path has one
 * process that writes and deletes it; all may read it, and any may clear everything.
 */
export class Ledger {
  readonly #entries = new Map<string, Omit<Entry, 'clears'>>()
  readonly #clearing = new Set<number>()
  #clears = 0
  readonly #latest: (path: string) => number

  /** @param latest the latest version that the origin has sent */
  constructor(latest: (path: string) => number) {
    this.#latest = latest
  }

  entry(path: string): Entry {
    return { version: 0, isKept: false, ...this.#entries.get(path), clears: this.#clears }
  }

  /**
   * The process that writes a path has seen that a version is stored.
   *
   * @param clears how often everything had been cleared when it began to look
   */
  kept(path: string, version: number, clears: number): void {
    const isKept = this.#clearing.size === 0 && clears === this.#clears
    this.#entries.set(path, { version, isKept })
  }

  /** The process that writes a path is about to delete what is stored. */
  deleting(path: string): void {
    this.#entries.set(path, { version: this.entry(path).version, isKept: false })
  }

  deleted(path: string): void {
    this.#entries.set(path, { version: this.#latest(path) + 1, isKept: false })
  }

  clearing(slot: number): void {
    this.#clearing.add(slot)
    this.#clears += 1
    for (const path of this.#entries.keys()) this.deleting(path)
  }

  /** A process has cleared everything, or has died. */
  cleared(slot: number): void {
    this.#clearing.delete(slot)
  }

  /** The paths at which something must be stored. */
  keptPaths(): string[] {
    return [...this.#entries].filter(([, { isKept }]) => isKept).map(([path]) => path)
  }
}
