import type { Coherence } from './memory-tier.ts'

/**
 * What a cache needs of a store: bytes by key, no more. Failures are rejections; a missing or expired
 * key is undefined. What `get` returns belongs to the caller, who may change it; `set` does not keep
 * the bytes that it was given.
 */
export interface ByteStore {
  /** @param deadline how long it may take, in milliseconds, for a store that has deadlines */
  get(key: string, deadline?: number): Promise<Buffer | undefined>
  /** @param timeToLive in milliseconds; undefined for ever */
  set(key: string, bytes: Buffer, timeToLive: number | undefined): Promise<void>
  delete(keys: readonly string[]): Promise<void>
  /**
   * Gives keys that have a time to live another one; absent where the store can only write them anew.
   *
   * @param timeToLive in milliseconds
   */
  expire?(keys: readonly string[], timeToLive: number): Promise<void>
  /** Removes all keys of this store and of no other. */
  clear(): Promise<void>
  /** All keys, each with its bytes; undefined where the store cannot list them. */
  entries(): AsyncIterable<readonly [string, Buffer]> | undefined
}

/** The two stores of a cache: small records that are listed, and the chunks of large content. */
export interface Stores {
  readonly heads: ByteStore
  readonly chunks: ByteStore
  /** What others may do to them. Without it: change them unnoticed. */
  readonly coherence?: Coherence
  /** Gives back what the stores hold: files, and connections if they are ours. */
  close(): Promise<void>
}
