import { setTimeout as sleep } from 'node:timers/promises'
import { parseDeltaSeconds, parseHttpDate } from '../rfc9111/fields.ts'
import { isBroken } from './failures.ts'
import { isRedirect, targetOf } from './redirects.ts'
import type { Requests } from './requests.ts'
import { ALL_ALLOWED, MAX_ROBOTS_LENGTH, parseRobots, type Robots } from './robots.ts'

/** Why an origin is not asked for a URL. */
export type Refusal = 'robots' | 'retry-after'

/** How origins are to be treated. */
export interface MannersOptions {
  readonly requests: Requests
  /** Whether robots.txt is obeyed. */
  readonly robots: boolean
  /** Under which product token. */
  readonly product: string
  /** How often a request is repeated that an origin was too busy for. */
  readonly retry: number
  /** Ends all waiting. */
  readonly signal: AbortSignal
}

/** The longest `Crawl-delay` that is kept to, in milliseconds. */
const MAX_CRAWL_DELAY = 10_000

/** For how long an origin that is too busy is waited for at most, in milliseconds. */
const MAX_PAUSE = 60_000

/** For how long it is waited for where it does not say, in milliseconds; twice as long each time. */
const FIRST_PAUSE = 1000

/** How old a robots.txt may be, for however long it is kept, in seconds (RFC 9309 §2.4). */
const MAX_AGE = 86_400

const BUSY = new Set([429, 503])

/** What origins ask of those who ask them for many things: robots.txt (RFC 9309) and `Retry-After`. */
export class Manners {
  readonly #options: MannersOptions
  /** What robots.txt says, or why it cannot be known. */
  readonly #robots = new Map<string, Robots | Error>()
  readonly #leftAlone = new Set<string>()

  constructor(options: MannersOptions) {
    this.#options = options
  }

  /**
   * Asks an origin what it allows, before it is asked for anything else.
   *
   * @returns how much time is to lie between two requests, in milliseconds
   */
  async open(origin: string): Promise<number> {
    if (!this.#options.robots) return 0
    const robots = await this.#readRobots(origin).catch((error: Error) => error)
    this.#robots.set(origin, robots)
    return robots instanceof Error ? 0 : Math.min(robots.delay, MAX_CRAWL_DELAY)
  }

  /**
   * Why an origin must not be asked for a URL; undefined where it may be.
   *
   * @throws Error where it cannot be known: what cannot be reached allows nothing (RFC 9309 §2.3.1.4)
   */
  refusal(url: URL): Refusal | undefined {
    if (this.#leftAlone.has(url.origin)) return 'retry-after'
    const robots = this.#robots.get(url.origin) ?? ALL_ALLOWED
    if (robots instanceof Error) throw robots
    return robots.isAllowed(url) ? undefined : 'robots'
  }

  /**
   * For how long an origin is not to be asked because of an answer of it, in milliseconds; undefined where it is
   * not too busy. One that wants more time than there is is not asked again.
   */
  pause(origin: string, response: Response, attempts: number): number | undefined {
    if (!BUSY.has(response.status)) return undefined
    const pause = retryAfter(response) ?? FIRST_PAUSE * 2 ** attempts
    if (pause <= MAX_PAUSE) return pause
    this.#leftAlone.add(origin)
    return undefined
  }

  async #readRobots(origin: string): Promise<Robots> {
    const { requests, product, retry, signal } = this.#options
    let url = `${origin}/robots.txt`
    for (let attempts = 0, hops = 0; ; ) {
      const read = await requests
        .send(url, `max-age=${MAX_AGE}`, async (response, content) => {
          const pause = this.pause(origin, response, attempts)
          if (pause !== undefined && attempts < retry) return pause
          const { status, ok } = response
          if (status >= 500 || status === 429) throw new Error(`robots.txt: status ${status}`)
          if (isRedirect(response)) return targetOf(response, url, hops)
          if (!ok) return ALL_ALLOWED
          let text = ''
          const decoder = new TextDecoder()
          for await (const bytes of content) {
            text += decoder.decode(bytes, { stream: true })
            if (text.length > MAX_ROBOTS_LENGTH) break
          }
          return parseRobots(text, product)
        })
        .catch((error: unknown) => {
          // A connection that breaks is not the end of it.
          if (isBroken(error) && attempts < retry) return 0
          throw error
        })
      if (typeof read === 'string') {
        url = read
        hops += 1
      } else if (typeof read === 'number') {
        attempts += 1
        await sleep(read, undefined, { signal })
      } else return read
    }
  }
}

/** RFC 9110 §10.2.3, in milliseconds. */
function retryAfter({ headers }: Response): number | undefined {
  const value = headers.get('retry-after') ?? ''
  const now = Date.now()
  const date = parseHttpDate(value, now)
  return parseDeltaSeconds(value) ?? (date === undefined ? undefined : Math.max(date - now, 0))
}
