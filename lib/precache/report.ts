import type { PrecacheProgress } from './options.ts'

/** A URL that is not in the cache now, or not as it was wanted, and why. */
export interface PrecacheRemark {
  readonly url: string
  /** The document that it was found in; undefined where it was given. */
  readonly from?: string
  /** In a word or a sentence. */
  readonly reason: string
}

/** A URL that could not be fetched. */
export interface PrecacheFailure extends PrecacheRemark {
  /** The status code, where there was an answer. */
  readonly status?: number
}

/** What {@link HttpCache.precache} has done. All of it can be written as JSON. */
export interface PrecacheResult {
  /** How many URLs were found, redirects and those that were given included: each is one of the following. */
  readonly found: number
  /** How many were fetched and are in the cache now. */
  readonly stored: number
  /** How many were in the cache already: fresh, confirmed by the origin, or of use although they are stale. */
  readonly present: number
  /** What could not be fetched. */
  readonly failed: readonly PrecacheFailure[]
  /**
   * What was fetched, but is not in the cache: the reason is that of `cacheInfo`, or `not-kept` where the store
   * failed or the content turned out to be too large.
   */
  readonly notStored: readonly PrecacheRemark[]
  /**
   * What was not asked for: `other-origin`, `robots`, `nofollow`, `filter`, `limit`, `retry-after` (the origin
   * wants to be left alone), `too-long`.
   */
  readonly skipped: readonly PrecacheRemark[]
  /**
   * How many of the failed, not stored and skipped are not listed, of which 10,000 each are. What is skipped
   * after 50,000 others counts each time that it is found.
   */
  readonly omitted: number
  /** Documents that were too large to look at all of their links. */
  readonly truncated: readonly string[]
  /** How many bytes of content came from origins, not compressed. */
  readonly bytes: number
  /** How long it took, in milliseconds. */
  readonly duration: number
}

/** How many URLs are listed in each of the lists. */
const MAX_LISTED = 10_000

/** How many skipped ones are remembered, so that they are counted once. */
const MAX_REMEMBERED = 50_000

/** Keeps account of what was found and what became of it. */
export class Report {
  readonly #start = performance.now()
  readonly #accepted = new Set<string>()
  readonly #skipped = new Map<string, PrecacheRemark>()
  readonly #failed: PrecacheFailure[] = []
  readonly #notStored: PrecacheRemark[] = []
  readonly #truncated: string[] = []
  #stored = 0
  #present = 0
  #failures = 0
  #done = 0
  #forgotten = 0
  #bytes = 0

  /** How many URLs are fetched. */
  get accepted(): number {
    return this.#accepted.size
  }

  isAccepted(url: string): boolean {
    return this.#accepted.has(url)
  }

  /** What was skipped where it was found first may be fetched because of where it is found later. */
  accept(url: string): void {
    this.#accepted.add(url)
    this.#skipped.delete(url)
  }

  skip(remark: PrecacheRemark): void {
    const { url } = remark
    if (this.#skipped.has(url)) return
    if (this.#skipped.size < MAX_REMEMBERED) this.#skipped.set(url, remark)
    else this.#forgotten += 1
  }

  /** Skips what was accepted before. */
  withdraw(remark: PrecacheRemark): void {
    this.#accepted.delete(remark.url)
    this.skip(remark)
  }

  fail(failure: PrecacheFailure): void {
    this.#failures += 1
    this.#done += 1
    this.#list(this.#failed, failure)
  }

  notStored(remark: PrecacheRemark): void {
    this.#done += 1
    this.#list(this.#notStored, remark)
  }

  stored(): void {
    this.#done += 1
    this.#stored += 1
  }

  present(): void {
    this.#done += 1
    this.#present += 1
  }

  received(bytes: number): void {
    this.#bytes += bytes
  }

  truncated(url: string): void {
    if (this.#truncated.length < MAX_LISTED) this.#truncated.push(url)
  }

  #list<T>(list: T[], item: T): void {
    if (list.length < MAX_LISTED) list.push(item)
  }

  get #found(): number {
    return this.#accepted.size + this.#skipped.size + this.#forgotten
  }

  progress(url: string): PrecacheProgress {
    return {
      found: this.#found,
      done: this.#done + this.#skipped.size + this.#forgotten,
      stored: this.#stored,
      present: this.#present,
      failed: this.#failures,
      bytes: this.#bytes,
      url,
    }
  }

  result(): PrecacheResult {
    const found = this.#found
    const [stored, present] = [this.#stored, this.#present]
    const [failed, notStored] = [this.#failed, this.#notStored]
    const skipped = [...this.#skipped.values()].slice(0, MAX_LISTED)
    return {
      found,
      stored,
      present,
      failed,
      notStored,
      skipped,
      omitted: found - stored - present - failed.length - notStored.length - skipped.length,
      truncated: this.#truncated,
      bytes: this.#bytes,
      duration: Math.round(performance.now() - this.#start),
    }
  }
}
