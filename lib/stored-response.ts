import { redactFields } from './redaction.ts'
import { expirationTime } from './rfc9111/freshness.ts'
import type { Content } from './storage/content.ts'
import type { Entry } from './storage/entry.ts'
import { type Summary, summaryOf } from './storage/summary.ts'

/** What is known of a stored response at a glance. */
export interface StoredResponseSummary {
  /** The cache key, which all variants of a response have in common. */
  readonly key: string
  readonly method: string
  readonly url: string
  readonly status: number
  /** The media type in lower case, without parameters; empty where the response has none. */
  readonly contentType: string
  /** When the response was received, or last validated. */
  readonly storedAt: Date
  /** When the response ceases to be fresh; undefined for never. */
  readonly expires: Date | undefined
  readonly isExpired: boolean
  /** By what it can be deleted or marked stale together with others. */
  readonly tags: readonly string[]
  /**
   * The content as it came: encoded as `Content-Encoding` says. Nothing, where the response is not stored
   * any more.
   */
  content(): AsyncIterable<Buffer>
}

/** A stored response, as it is listed. */
export interface ListedResponse extends StoredResponseSummary {
  /** The number of bytes of content. */
  readonly size: number
  /** When the response was last used; undefined where the store does not know. */
  readonly usedAt: Date | undefined
  /** All that is stored of it; undefined where it is not stored any more. */
  response(): Promise<StoredResponseInfo | undefined>
}

/** A stored response, as the cache's management shows it. */
export interface StoredResponseInfo extends StoredResponseSummary {
  readonly statusText: string
  readonly headers: Readonly<Record<string, string | readonly string[]>>
  /** The request fields that it is only reused for, if they are the same; `null` for one that must not be there. Of credentials a keyed hash. */
  readonly vary: Readonly<Record<string, string | null>>
  /** The number of bytes of content; undefined while it is still being received. */
  readonly size: number | undefined
}

/** Shows a stored response. */
export function describe(entry: Entry): StoredResponseInfo {
  return {
    ...glance({ ...summaryOf(entry.cacheKey, entry), expires: expirationTime(entry) }),
    statusText: entry.statusText,
    headers: structuredClone(redactFields(entry.fields)),
    vary: Object.fromEntries(
      Object.entries(entry.nominated).filter(([name]) => !name.startsWith(':')),
    ),
    size: entry.content.length,
    content: () => read(entry.content),
  }
}

/** Shows a stored response that was found by its summary; `load` gets the rest of it. */
export function describeSummary(
  summary: Summary,
  load: () => Promise<Entry | undefined>,
): ListedResponse {
  const { size, usedAt } = summary
  return {
    ...glance(summary),
    size,
    usedAt: usedAt === undefined ? undefined : new Date(usedAt),
    async *content() {
      const entry = await load()
      if (entry) yield* read(entry.content)
    },
    async response() {
      const entry = await load()
      return entry && describe(entry)
    },
  }
}

function glance(summary: Summary): Omit<StoredResponseSummary, 'content'> {
  const { cacheKey, method, url, status, contentType, storedAt, expires, tags } = summary
  return {
    key: cacheKey,
    method,
    url,
    status,
    contentType,
    storedAt: new Date(storedAt),
    expires: expires === Infinity ? undefined : new Date(expires),
    isExpired: Date.now() >= expires,
    tags: [...tags],
  }
}

async function* read(content: Content): AsyncGenerator<Buffer> {
  const reader = content.open()
  try {
    for (let bytes = await reader.read(); bytes; bytes = await reader.read()) yield bytes
  } finally {
    reader.close()
  }
}
