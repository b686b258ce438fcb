import type { Forward } from './cache-status.ts'
import type { Outcome, Reason } from './reasons.ts'

/** What became of a request, told when it is known: when its answer begins, or when there will be none. */
export interface LookupEvent {
  readonly method: string
  readonly url: string
  /** The cache key; undefined where the request passed by. */
  readonly key: string | undefined
  readonly outcome: Outcome
  /** Why: as `cacheInfo(response).reason`. */
  readonly reason: Reason | undefined
  /** Why the request was sent to the origin, also where `reason` tells why its response is not stored. */
  readonly forward: Forward | undefined
  /** Whether the content comes from the cache: the outcome is `hit`, `stale` or `revalidated`. */
  readonly fromCache: boolean
  /** Whether the answer is being stored, or was stored again with new fields. */
  readonly stored: boolean
  /** Whether the answer to another request that was under way was used for this one too. */
  readonly collapsed: boolean
  /** The status code of the answer; undefined where there is none. */
  readonly status: number | undefined
  /** The number of bytes of content of the answer; undefined where it is not known beforehand. */
  readonly size: number | undefined
  /** The age of the stored response, in milliseconds; undefined where none is used. */
  readonly age: number | undefined
  /** For how long the response is still fresh, in milliseconds; `Infinity` for ever, negative once it is stale. */
  readonly ttl: number | undefined
  /** From the dispatch of the request until now, in milliseconds. */
  readonly duration: number
  /** Why there is no answer: the origin failed. */
  readonly error: Error | undefined
}

/** A response has been stored: completely, and as any other process that uses the store can find it. */
export interface StoreEvent {
  readonly method: string
  readonly url: string
  readonly key: string
  readonly status: number
  /** The number of bytes of content. */
  readonly size: number
  /** When the response ceases to be fresh; undefined for never. */
  readonly expires: Date | undefined
}

/** An origin was asked about a stored response. */
export interface ValidateEvent {
  readonly method: string
  readonly url: string
  readonly key: string
  /** Whether the origin confirmed the stored response. If not, it answered with another one, or not at all. */
  readonly confirmed: boolean
  /** Whether nobody waited for it, as the stale response was used in the meantime. */
  readonly background: boolean
  /** The status code of the origin's answer; undefined where there is none. */
  readonly status: number | undefined
  /** How long the origin took to answer, or to fail, in milliseconds. */
  readonly duration: number
  /** Why there is no answer. */
  readonly error: Error | undefined
}

/** A stored response had to go to keep a limit. */
export interface EvictEvent {
  readonly method: string
  readonly url: string
  readonly key: string
  /** The number of bytes of content. */
  readonly size: number
  readonly limit: 'maxSize' | 'maxEntries' | 'maxVariants'
}

/** Why a stored response was deleted. */
export type DeletionCause =
  /** Somebody asked for it, as by `cache.delete`. */
  | 'management'
  /** A method that is not safe succeeded for its URL (RFC 9111 §4.4). */
  | 'invalidation'
  /** The origin answered with something else, which is not stored. */
  | 'superseded'
  /** Its content is lost or damaged. */
  | 'damage'

/** A stored response was deleted. */
export interface DeleteEvent {
  /** Undefined where everything was deleted (`cache.clear`), as are the method, the URL and the size. */
  readonly key: string | undefined
  readonly method: string | undefined
  readonly url: string | undefined
  /** The number of bytes of content. */
  readonly size: number | undefined
  readonly cause: DeletionCause
}

/** Trouble that the cache had and its callers did not notice. */
export interface CacheError {
  /**
   * What the cache was doing; `validate` where the origin failed, but a stale response was used in the
   * meantime (`staleWhileRevalidate`) or instead (`staleIfError`).
   */
  readonly operation: 'open' | 'read' | 'write' | 'delete' | 'rule' | 'validate'
  readonly error: Error
}

/** The events of a cache by name, and what their listeners are given. */
export interface CacheEvents {
  /** Once for each request, when its outcome is known. */
  lookup: [LookupEvent]
  store: [StoreEvent]
  validate: [ValidateEvent]
  evict: [EvictEvent]
  delete: [DeleteEvent]
  error: [CacheError]
}
