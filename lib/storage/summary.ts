import { fieldValue } from '../rfc9111/fields.ts'
import { expirationTime } from '../rfc9111/freshness.ts'
import type { ChunksRecord } from './content.ts'
import type { Entry } from './entry.ts'

/** What is known of a stored response without its fields and its content: enough to find it, and to remove it. */
export interface Summary {
  /** Of its head. */
  readonly key: string
  readonly cacheKey: string
  readonly generation: string
  readonly method: string
  readonly url: string
  readonly status: number
  /** The media type in lower case, without parameters; empty where the response has none. */
  readonly contentType: string
  /** When it was received, or last validated, in milliseconds since the epoch. */
  readonly storedAt: number
  /** When it ceases to be fresh, in milliseconds since the epoch; `Infinity` for never. */
  readonly expires: number
  /** Of its content, in bytes. */
  readonly size: number
  /** Where its content is, if that is too long to be kept with it. */
  readonly chunks: ChunksRecord | undefined
  readonly tags: readonly string[]
  /** When it was last used, in milliseconds since the epoch; undefined where nobody notes it. */
  readonly usedAt?: number
}

/** Sums up the response that is at the key of a head. */
export function summaryOf(key: string, entry: Entry): Summary {
  const { cacheKey, generation, method, url, status, fields, content } = entry
  return {
    key,
    cacheKey,
    generation,
    method,
    url,
    status,
    contentType: mediaType(fieldValue(fields, 'content-type') ?? ''),
    storedAt: entry.responseTime,
    expires: expirationTime(entry),
    size: content.length ?? 0,
    chunks: content.chunks,
    tags: entry.tags ?? [],
  }
}

function mediaType(contentType: string): string {
  const end = contentType.search(/[;,]/)
  return (end === -1 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
}
