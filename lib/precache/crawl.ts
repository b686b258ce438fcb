import type { Dispatcher } from 'undici'
import { type CacheInfo, cacheInfo } from '../observe/cache-status.ts'
import { causeOf, isBroken, isClosed, reasonOf } from './failures.ts'
import { HtmlReader } from './html.ts'
import { Lanes } from './lanes.ts'
import type { DocumentLinks, FoundLink, LinkKind, LinkReader } from './links.ts'
import { Manners } from './manners.ts'
import type { Given, ParsedPrecacheOptions } from './options.ts'
import { isRedirect, targetOf, urlOf } from './redirects.ts'
import { type PrecacheRemark, type PrecacheResult, Report } from './report.ts'
import { Requests } from './requests.ts'
import { type Sitemap, SitemapReader } from './sitemap.ts'
import { StylesheetReader } from './stylesheet.ts'

/** The cache that is to be filled. */
export interface FilledCache {
  /** Whether there is a response that was received at a time or later, in milliseconds since the epoch. */
  isStored(key: string, since: number): Promise<boolean>
}

/** A URL on its way into the cache. */
interface Job {
  readonly url: string
  readonly from?: string
  readonly depth: number
  /** Whether it was given, or stands in for what was. */
  readonly isGiven: boolean
  readonly isSitemap: boolean
  /** How many redirects have led to it. */
  readonly hops: number
  attempts: number
}

/** What becomes of a request: the cache has no answer to it, it has to be repeated, or what is to be noted of it. */
type Outcome = 'miss' | 'again' | (() => void)

/** The lane of what the cache may answer: it concerns no origin. */
const CACHE = ''

/** How long a URL may be, in characters (RFC 9110 §4.1). */
const MAX_URL_LENGTH = 8000

/** How much is read of a response that nobody needs, in bytes. */
const MAX_UNWANTED = 64 * 1024

/** How crawlers are called in a robots.txt that has nothing for one of another name. */
const PRODUCT = 'caching-agent'

/** What the cache says of a response that was in it already. */
const PRESENT = new Set(['hit', 'stale', 'revalidated'])

/** Fetches into a cache what was given and what that links, level by level: all is found by the shortest way. */
export class Crawl {
  readonly #cache: FilledCache
  readonly #options: ParsedPrecacheOptions
  readonly #given: readonly Given[]
  /** The origins whose pages are looked at for links: those given, and those that these redirect to. */
  readonly #origins: Set<string>
  readonly #requests: Requests
  readonly #manners: Manners
  readonly #lanes: Lanes<Job>
  readonly #report = new Report()
  readonly #ending = new AbortController()
  /** What is fetched when the current level is done, by URL. */
  readonly #next = new Map<string, Job>()

  constructor(
    cache: FilledCache,
    dispatcher: Pick<Dispatcher, 'dispatch'>,
    given: readonly Given[],
    options: ParsedPrecacheOptions,
  ) {
    this.#cache = cache
    this.#options = options
    this.#given = given
    const { headers, timeout, concurrency, perOrigin, robots, retry } = options
    const { signal } = this.#ending
    const origins = new Set(given.map(({ url }) => url.origin))
    this.#origins = new Set(origins)
    const requests = new Requests({ dispatcher, headers, origins, timeout, signal })
    this.#requests = requests
    const [product = PRODUCT] = /^[\w-]+/.exec(headers.get('user-agent') ?? '') ?? []
    this.#manners = new Manners({ requests, robots, product, retry, signal })
    this.#lanes = new Lanes({
      concurrency,
      perLane: (lane) => (lane === CACHE ? concurrency : perOrigin),
      open: async (lane) => (lane === CACHE ? 0 : this.#manners.open(lane)),
      work: (job, lane) => this.#work(job, lane === CACHE),
    })
  }

  /** @throws what ended it: the reason of the signal, or what a function of the user's has thrown */
  async run(): Promise<PrecacheResult> {
    const { signal } = this.#options
    const abort = () => this.#end(signal?.reason)
    signal?.addEventListener('abort', abort)
    try {
      for (const { url, isSitemap } of this.#given) {
        const job = { depth: 0, isGiven: true, isSitemap, hops: 0, attempts: 0 }
        this.#findLater({ url: url.href.replace(/#.*/s, ''), ...job })
      }
      while (this.#next.size > 0) {
        const level = [...this.#next.values()]
        this.#next.clear()
        for (const job of level) this.#begin(job)
        await this.#lanes.run()
      }
      this.#ending.signal.throwIfAborted()
      return this.#report.result()
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  #end(reason: unknown): void {
    this.#ending.abort(reason)
    this.#next.clear()
    this.#lanes.clear()
  }

  /** Fetches a URL in the next level. */
  #findLater(job: Job, link?: FoundLink, isNofollow?: boolean): void {
    if (this.#accepts(job, link, isNofollow)) this.#next.set(job.url, job)
  }

  /** Fetches a URL in this level, also if it was found a level deeper already. */
  #findNow(job: Job): void {
    if (this.#next.delete(job.url) || this.#accepts(job)) this.#begin(job)
  }

  /** Whether a URL is to be fetched: it is not known yet, and there is no reason not to. */
  #accepts(job: Job, link?: FoundLink, isNofollow = false): boolean {
    if (this.#report.isAccepted(job.url)) return false
    try {
      if (link !== undefined && !decision('precache.links', this.#options.links(link))) return false
      const reason = this.#whyNot(job, link?.kind, isNofollow)
      if (reason === undefined) this.#report.accept(job.url)
      else this.#report.skip({ ...remark(job), reason })
      return reason === undefined
    } catch (error) {
      // A function of the user's threw.
      this.#refuse(remark(job), reasonOf(error))
      return false
    }
  }

  #whyNot({ url, from, depth, hops }: Job, kind: LinkKind = 'page', isNofollow: boolean) {
    if (url.length > MAX_URL_LENGTH) return 'too-long'
    const { sameOrigin, robots, filter, limit } = this.#options
    const target = new URL(url)
    const mayBeElsewhere = sameOrigin === false || (sameOrigin === 'pages' && kind === 'asset')
    // A redirect is part of the answer to what led to it.
    const isOfRedirect = hops > 0
    if (!mayBeElsewhere && !isOfRedirect && !this.#origins.has(target.origin)) return 'other-origin'
    if (robots && isNofollow) return 'nofollow'
    if (!decision('precache.filter', filter(target, { from, depth }))) return 'filter'
    return this.#report.accepted < limit ? undefined : 'limit'
  }

  /** What is in the cache is not asked of its origin; nor is what must not be. */
  #begin(job: Job): void {
    const isCachedFirst = !this.#options.headers.has('cache-control')
    this.#lanes.add(isCachedFirst ? CACHE : originOf(job), job)
  }

  async #work(job: Job, isCachedOnly: boolean): Promise<void> {
    const outcome = await this.#fetch(job, isCachedOnly).catch((error: unknown) =>
      this.#failure(job, isCachedOnly, error),
    )
    if (this.#ending.signal.aborted) return
    if (typeof outcome === 'string') return this.#lanes.add(originOf(job), job)
    // Together, so that whoever listens is told of one after the other.
    outcome()
    this.#tell(job)
  }

  #tell({ url }: Job): void {
    const end = (error: unknown) => this.#end(error)
    try {
      const told: unknown = this.#options.onProgress?.(this.#report.progress(url))
      // The compiler takes functions that are asynchronous as well.
      if (told instanceof Promise) told.catch(end)
    } catch (error) {
      end(error)
    }
  }

  async #fetch(job: Job, isCachedOnly: boolean): Promise<Outcome> {
    const refusal = isCachedOnly ? undefined : this.#manners.refusal(new URL(job.url))
    if (refusal !== undefined) {
      return () => this.#report.withdraw({ ...remark(job), reason: refusal })
    }
    const since = Date.now()
    const cacheControl = isCachedOnly ? 'only-if-cached' : undefined
    return this.#requests.send(job.url, cacheControl, async (response, content) => {
      const info = cacheInfo(response)
      if (isCachedOnly && info?.status !== 'hit') return 'miss'
      const isPresent = info !== undefined && PRESENT.has(info.status)
      const origin = originOf(job)
      const pause = isPresent ? undefined : this.#manners.pause(origin, response, job.attempts)
      if (pause !== undefined) {
        this.#lanes.pause(origin, pause)
        if (this.#mayRepeat(job)) return 'again'
      }
      const reader = this.#readerFor(job, response)
      // A response is stored as it is read.
      const isStoring = !isPresent && (info?.stored === true || info?.collapsed === true)
      if (reader !== undefined || isStoring || isShort(response)) {
        for await (const bytes of content) {
          if (!isPresent) this.#report.received(bytes.length)
          reader?.write(bytes)
        }
      }
      if (reader instanceof SitemapReader) this.#list(job, await reader.end())
      else if (reader !== undefined) this.#follow(job, reader.end())
      if (isRedirect(response)) this.#redirect(job, response)
      else if (!response.ok) {
        const { status, statusText } = response
        const reason = `${status} ${statusText}`.trim()
        return () => this.#report.fail({ ...remark(job), reason, status })
      }
      return this.#account(job, info, since)
    })
  }

  /** What reads the content of a response, where its links are wanted. */
  #readerFor(job: Job, response: Response): LinkReader | SitemapReader | undefined {
    if (!response.ok) return undefined
    const type = response.headers.get('content-type') ?? ''
    const isHtml = /^(?:text\/html|application\/xhtml\+xml)\b/i.test(type)
    const isXml = /^(?:application|text)\/xml\b/i.test(type) || /\.(?:xml|gz)$/i.test(job.url)
    if (job.isSitemap || (job.isGiven && isXml && !isHtml)) return new SitemapReader(type)

    const { depth, sameOrigin } = this.#options
    if (job.depth >= depth) return undefined
    const isFollowed = sameOrigin === false || this.#origins.has(originOf(job))
    // What has no type is most often written by hand.
    if ((isHtml || type === '') && isFollowed) return new HtmlReader(job.url, type)
    return /^text\/css\b/i.test(type) ? new StylesheetReader(job.url, type) : undefined
  }

  #follow(job: Job, { links, malformed, isNofollow, isCut }: DocumentLinks): void {
    if (isCut) this.#report.truncated(job.url)
    const of = { from: job.url, depth: job.depth + 1, isGiven: false, isSitemap: false, hops: 0 }
    for (const link of links) {
      const isPage = link.kind === 'page'
      const isMarked = /\bnofollow\b/.test(link.rel) || (isPage && isNofollow === true)
      this.#findLater({ ...of, url: link.url, attempts: 0 }, link, isMarked)
    }
    for (const url of malformed) this.#refuse({ url, from: job.url }, 'Invalid URL')
  }

  /** What a sitemap lists is as good as given. @throws Error where a sitemap was given that is none */
  #list(job: Job, sitemap: Sitemap | undefined): void {
    if (sitemap === undefined) {
      if (job.isSitemap) throw new Error('no sitemap')
      return
    }
    if (sitemap.isCut) this.#report.truncated(job.url)
    const isSitemap = sitemap.lists === 'sitemaps'
    for (const text of sitemap.urls) {
      const url = urlOf(text, job.url)
      const found = { from: job.url, depth: 0, isGiven: false, isSitemap, hops: 0, attempts: 0 }
      if (url === undefined) this.#refuse({ url: text, from: job.url }, 'Invalid URL')
      else this.#findNow({ ...found, url })
    }
  }

  /** @throws Error where a redirect leads nowhere */
  #redirect(job: Job, response: Response): void {
    const url = targetOf(response, job.url, job.hops)
    if (job.isGiven) this.#origins.add(new URL(url).origin)
    this.#findNow({ ...job, url, from: job.url, hops: job.hops + 1, attempts: 0 })
  }

  /** Notes what is not even tried. */
  #refuse({ url: target, from }: Pick<PrecacheRemark, 'url' | 'from'>, reason: string): void {
    const remark = { url: target.slice(0, MAX_URL_LENGTH), ...(from !== undefined && { from }) }
    if (this.#report.isAccepted(remark.url)) return
    if (this.#report.accepted >= this.#options.limit) {
      this.#report.skip({ ...remark, reason: 'limit' })
      return
    }
    this.#report.accept(remark.url)
    this.#report.fail({ ...remark, reason })
  }

  /** What is to be noted of a URL that was answered as it should be. */
  async #account(job: Job, info: CacheInfo | undefined, since: number): Promise<() => void> {
    const isHere = info?.status === 'hit' || info?.status === 'stale'
    if (isHere || (info?.status === 'revalidated' && info.stored))
      return () => this.#report.present()
    const isKept =
      info?.key !== undefined && (await this.#cache.isStored(info.key, info.collapsed ? 0 : since))
    if (isKept) return () => this.#report.stored()
    const reason = info?.key === undefined ? (info?.reason ?? 'no-cache') : 'not-kept'
    return () => this.#report.notStored({ ...remark(job), reason })
  }

  #mayRepeat(job: Job): boolean {
    job.attempts += 1
    return job.attempts <= this.#options.retry
  }

  #failure(job: Job, isCachedOnly: boolean, error: unknown): Outcome {
    // What cannot be read from the cache can be fetched.
    if (isCachedOnly) return 'miss'
    if (isClosed(error)) this.#end(causeOf(error))
    if (isBroken(error) && this.#mayRepeat(job)) return 'again'
    return () => this.#report.fail({ ...remark(job), reason: reasonOf(error) })
  }
}

function remark({ url, from }: Job): Pick<PrecacheRemark, 'url' | 'from'> {
  return { url: url.slice(0, MAX_URL_LENGTH), ...(from !== undefined && { from }) }
}

function originOf({ url }: Job): string {
  return new URL(url).origin
}

/** Whether it is cheaper to read a response that nobody needs than to give up its connection. */
function isShort({ headers }: Response): boolean {
  const length = headers.get('content-length')
  return length !== null && Number(length) <= MAX_UNWANTED
}

/** What a function of the user's has decided. @throws TypeError where it is still thinking about it */
function decision(option: string, answer: unknown): boolean {
  if (!(answer instanceof Promise)) return Boolean(answer)
  answer.catch(() => {})
  throw new TypeError(`${option}: expected true or false, got a promise`)
}
