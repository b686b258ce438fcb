import { isDeepStrictEqual } from 'node:util'
import { isDigest } from './key.ts'
import type { ParsedQuery, ResponseQuery } from './query.ts'
import { type Content, LostContentError, TooLargeError } from './storage/content.ts'
import { type Entry, isSameVariant, type NewEntry } from './storage/entry.ts'
import { Pace } from './storage/pace.ts'
import type { Responses } from './storage/responses.ts'
import type { Summary } from './storage/summary.ts'

/** How far a copy of stored responses has come. */
export interface CopyProgress {
  /** How many responses have been copied. */
  readonly copied: number
  /** How many bytes of content they have. */
  readonly bytes: number
  /** How many were there already, as new or newer. */
  readonly skipped: number
  /**
   * How many are left out because they are for credentials or secrets, of which the other cache has other
   * hashes, because their keys cannot be made anew under another `indexKey`, or because they are larger than
   * the other cache may be.
   */
  readonly unusable: number
  /** How many could not be read, or were deleted in the meantime. */
  readonly lost: number
}

/** How stored responses are copied. */
export interface CopyOptions {
  /** Which of them. @default all */
  readonly filter?: ResponseQuery
  readonly signal?: AbortSignal
  /** Called after each response, with what has been done so far. */
  readonly onProgress?: (progress: CopyProgress) => void
}

interface Copying {
  readonly signal: AbortSignal | undefined
  readonly onProgress: CopyOptions['onProgress'] | undefined
  /** Whether there is nothing in the key of a response but its method and URL. */
  isPlain(entry: Entry): boolean
  /** The cache key of a response in the other cache; undefined where it cannot be known. */
  keyThere(entry: Entry): string | undefined
}

/** How many responses are copied at a time. */
const CONCURRENCY = 8

/** Copies the stored responses that a query means, one after the other into the same places of another cache. */
export async function copyResponses(
  from: Responses,
  to: Responses,
  query: ParsedQuery,
  now: number,
  { signal, onProgress, isPlain, keyThere }: Copying,
): Promise<CopyProgress> {
  const progress = { copied: 0, bytes: 0, skipped: 0, unusable: 0, lost: 0 }
  const isSecretShared = await shareSecret(from, to)
  const pace = new Pace()
  const copyOne = async (summary: Summary) => {
    signal?.throwIfAborted()
    const entry = await from.management.get(summary)
    const cacheKey = entry && keyThere(entry)
    if (entry === undefined) progress.lost += 1
    else if (!isSecretShared && (hasHashes(entry) || !isPlain(entry))) progress.unusable += 1
    else if (cacheKey === undefined) progress.unusable += 1
    else if (await isThere(to, { ...entry, cacheKey })) progress.skipped += 1
    else {
      const response = { ...recordable(entry), cacheKey }
      await to.recorder.store(response, pieces(entry.content, signal)).then(
        () => {
          progress.copied += 1
          progress.bytes += entry.content.length ?? 0
        },
        (error: unknown) => {
          if (error instanceof LostContentError) progress.lost += 1
          else if (error instanceof TooLargeError) progress.unusable += 1
          else throw error
        },
      )
    }
    onProgress?.({ ...progress })
    await pace.rest()
  }
  for await (const some of from.management.select(query, now)) await atOnce(some, copyOne)
  return progress
}

/** Does the same with several things, a few of them at a time; after a failure nothing more is begun. */
async function atOnce<T>(things: readonly T[], work: (thing: T) => Promise<void>): Promise<void> {
  const left = things[Symbol.iterator]()
  let hasFailed = false
  const worker = async () => {
    for (const thing of left) {
      if (hasFailed) return
      await work(thing).catch((error: unknown) => {
        hasFailed = true
        throw error
      })
    }
  }
  const outcomes = await Promise.allSettled(Array.from({ length: CONCURRENCY }, worker))
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

/** Whether two caches hash credentials in the same way; an empty one does as the other one from now on. */
async function shareSecret(from: Responses, to: Responses): Promise<boolean> {
  const secret = await from.keptSecret()
  if (secret === undefined) return true
  await to.adoptSecret(secret)
  return isDeepStrictEqual(await to.keptSecret(), secret)
}

/** Whether a response has keyed hashes of credentials that a request must have. */
function hasHashes({ nominated }: Entry): boolean {
  return Object.values(nominated).some((value) => value !== null && isDigest(value))
}

async function isThere(
  to: Responses,
  { cacheKey, nominated, responseTime }: Entry,
): Promise<boolean> {
  const all = await to.all(cacheKey)
  const there = all.find(
    (other) => isSameVariant(other.nominated, nominated) && other.responseTime >= responseTime,
  )
  return there !== undefined && to.hasContent(there)
}

function recordable(entry: Entry): NewEntry {
  const { content: _, chunksUntil: __, generation: ___, ...response } = entry
  return response
}

async function* pieces(content: Content, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  const reader = content.open()
  try {
    for (let bytes = await reader.read(); bytes; bytes = await reader.read()) {
      yield bytes
      signal?.throwIfAborted()
    }
  } finally {
    reader.close()
  }
}
