import type { Dispatcher } from 'undici'

/** Request fields that say nothing about who asks, but what for. */
const FOR_ALL = /^(?:accept(?:-.+)?|user-agent)$/

/** How many times as long as an origin may keep silent a response may take that could be endless. */
const MAX_LATENESS = 10

/** What all requests of precaching have in common. */
export interface RequestsOptions {
  readonly dispatcher: Pick<Dispatcher, 'dispatch'>
  /** For the origins that were given; others get only those of them that are for all. */
  readonly headers: Headers
  readonly origins: ReadonlySet<string>
  /** How long an origin may keep silent, in milliseconds. */
  readonly timeout: number
  /** Ends all of them. */
  readonly signal: AbortSignal
}

/** The content of a response, as it arrives. */
export type Content = AsyncIterable<Uint8Array>

/** Makes requests through a cache, as the built-in fetch does. */
export class Requests {
  readonly #options: RequestsOptions

  constructor(options: RequestsOptions) {
    this.#options = options
  }

  /**
   * Makes a request, and lets go of its response when that has been received as far as it is wanted. Redirects
   * are not followed: who they lead to may not be one of those who get all request fields.
   *
   * @param cacheControl what is asked of the cache, unless the user asks for something else
   * @throws what fetch throws; Error where the origin keeps silent; the signal's reason
   */
  async send<T>(
    url: string,
    cacheControl: 'only-if-cached' | `max-age=${number}` | undefined,
    receive: (response: Response, content: Content) => Promise<T>,
  ): Promise<T> {
    const { dispatcher, signal, timeout } = this.#options
    const silence = new AbortController()
    const giveUp = () => silence.abort(new Error(`no answer for ${timeout} ms`))
    const timer = setTimeout(giveUp, timeout)
    const headers = this.#headersFor(url)
    if (cacheControl !== undefined && !headers.has('cache-control')) {
      headers.set('cache-control', cacheControl)
    }
    const either = AbortSignal.any([signal, silence.signal])
    let response: Response | undefined
    try {
      // The types of the built-in fetch know only the dispatchers of Node's own undici.
      const init: object = { redirect: 'manual', headers, signal: either, dispatcher }
      response = await fetch(url, init)
      return await receive(response, pieces(response, timer, timeout * MAX_LATENESS))
    } catch (error) {
      throw either.aborted ? either.reason : error
    } finally {
      clearTimeout(timer)
      response?.body?.cancel().catch(() => {})
    }
  }

  /** Nobody but those who were given gets what could be a secret. */
  #headersFor(url: string): Headers {
    const { headers, origins } = this.#options
    if (origins.has(new URL(url).origin)) return new Headers(headers)
    return new Headers([...headers].filter(([name]) => FOR_ALL.test(name)))
  }
}

/**
 * The content of a response, for as long as there is some.
 *
 * @throws Error where it does not say how long it is, and does not end in time
 */
async function* pieces(response: Response, timer: NodeJS.Timeout, time: number): Content {
  timer.refresh()
  const isAnnounced = response.headers.has('content-length')
  const end = isAnnounced ? Infinity : performance.now() + time
  for await (const piece of response.body ?? []) {
    timer.refresh()
    yield piece
    if (performance.now() > end) throw new Error(`no end for ${time} ms`)
  }
}
