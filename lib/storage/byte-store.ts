import type { Awaitable } from '../awaitable.ts'
import type { Conditions } from '../query.ts'
import type { Fields } from '../rfc9111/message.ts'
import type { ChunksRecord } from './content.ts'
import type { LeaseStore } from './leases.ts'
import type { Coherence } from './memory-tier.ts'
import type { Inspection } from './sqlite/inspect.ts'
import type { Summary } from './summary.ts'

/**
 * What a cache does with a file: it writes it; it reads it, and leaves it as it is until there is something to be
 * written; or it replays it, with nothing else to answer from, so that the file has to be sound.
 */
export type FileAccess = 'write' | 'read' | 'replay'

/** What a record is about, for stores that do more with it than to keep it. */
export interface About {
  /** The fields of the response whose content is in the record. */
  readonly fields?: Fields
  /** Where the content is that is not in the record. */
  readonly chunks?: ChunksRecord | undefined
  /** Sums up the response that the record is of. */
  readonly summary?: () => Summary
  /** Whether a request waits until it is written, and so no longer than for what is read. */
  readonly isAwaited?: boolean | undefined
  /** Whether nobody needs it any more: it is not written if that has not begun. */
  readonly isGivenUp?: (() => boolean) | undefined
}

/**
 * What a cache needs of a store: bytes by key, no more. Failures are rejections; a missing or expired key
 * is undefined. What `get` returns belongs to the caller, who may change it; what `set` is given belongs
 * to the store.
 */
export interface ByteStore {
  /** @param isMidway whether somebody has been given what comes before it, so that there is no way back */
  get(key: string, isMidway?: boolean): Awaitable<Buffer | undefined>
  /**
   * @param timeToLive in milliseconds; undefined for ever
   * @param about what the bytes are about
   */
  set(key: string, bytes: Buffer, timeToLive: number | undefined, about?: About): Promise<void>
  /**
   * Writes, or without bytes deletes, what is at a key if that is still the same; absent where the store cannot
   * do both at once, so that of two processes one does not notice the other.
   *
   * @param expected what `get` returned; undefined for nothing
   * @returns whether it was
   */
  replace?(
    key: string,
    expected: Buffer | undefined,
    bytes: Buffer | undefined,
    timeToLive: number | undefined,
    about?: About,
  ): Promise<boolean>
  delete(keys: readonly string[]): Promise<void>
  /** Whether there is something at all of some keys; absent where it is, unless somebody has removed it. */
  hasAll?(keys: readonly string[]): Promise<boolean>
  /**
   * Gives keys that have a time to live another one; absent where the store can only write them anew.
   *
   * @param timeToLive in milliseconds
   */
  expire?(keys: readonly string[], timeToLive: number): Promise<void>
  /**
   * Gives all keys of this store and of no other a time to live, but for those that are needed by others who
   * have told so; absent where it can only remove them.
   *
   * @param timeToLive in milliseconds
   * @param isExempt tells which keys stay as they are as well
   * @param onStep called after each of many steps, however little was found in it: it goes on
   */
  expireAll?(
    timeToLive: number,
    isExempt: (key: string) => boolean,
    onStep?: () => void,
  ): Promise<void>
  /**
   * Removes all keys of this store and of no other.
   *
   * @param onStep as of {@link expireAll}
   */
  clear(onStep?: () => void): Promise<void>
  /**
   * Removes some of the keys; absent where all are removed without many steps.
   *
   * @returns whether there may be more
   */
  clearSome?(): Promise<boolean>
  /**
   * All keys, each with its bytes; undefined where the store cannot list them.
   *
   * @param onStep as of {@link expireAll}
   */
  entries(onStep?: () => void): AsyncIterable<readonly [string, Buffer]> | undefined
}

/** A use of what is at the key of a head. */
export interface Use {
  readonly key: string
  /** In milliseconds since the epoch. */
  readonly usedAt: number
}

/** What is at the key of a head that was used less recently than others. */
export interface LeastUsed {
  readonly key: string
  /** The length of its record, in bytes. */
  readonly size: number
  /** In milliseconds since the epoch. */
  readonly usedAt: number
  /** By what its record is told from another one at the same key. */
  readonly mark: string
  /** Of the response that it is; undefined where it is none, or only its record tells. */
  readonly summary: Summary | undefined
}

/** What a store knows of how much it holds, and of what has not been used for long. */
export interface Usage {
  /** How many responses there are, and how many bytes they take, without looking at each. */
  totals(): Promise<{ readonly count: number; readonly size: number }>
  /**
   * Notes that what is at some keys of heads has been used, what was used least recently first.
   *
   * @param age how much earlier its last use must have been, in milliseconds, where noting it takes something
   */
  touch(uses: readonly Use[], age: number): Promise<void>
  /** The heads that were used least recently, in that order. */
  oldest(limit: number): Promise<LeastUsed[]>
  /**
   * Removes heads that are still what they were, and have not been used since.
   *
   * @returns the keys of those
   */
  remove(heads: readonly LeastUsed[]): Promise<ReadonlySet<string>>
  /** How many bytes the contents take that no head refers to yet, or any more: they come to nothing, or are not for long. */
  unreferencedSize(): Promise<number>
  /** How many bytes some chunks take. */
  sizeOf(chunks: readonly string[]): Promise<number>
  /** When what is at some keys of heads was last used, in milliseconds since the epoch: of those that there are. */
  usedAt(keys: readonly string[]): Promise<ReadonlyMap<string, number>>
}

/** Keeps in mind which contents no head refers to yet, or any more, so that they are removed even after a crash. */
export interface Unreferenced {
  /** @param grace for how long others may still be reading it, in milliseconds */
  add(generation: string, grace: number): Promise<void>
  /** @param isOwn whether it stays if others have noted it, who have replaced it since */
  remove(generation: string, isOwn: boolean): Promise<void>
}

/** Tells other processes which contents are being read for long, so that they are not removed meanwhile. */
export interface Readership {
  begin(generation: string): Promise<void>
  end(generation: string): Promise<void>
  /** Whether there are any. */
  hasOthers(): Promise<boolean>
}

/** Finds stored responses without reading them. */
export interface ResponseIndex {
  /**
   * Makes sure that all responses are in it; false where that cannot be.
   *
   * @param summarise sums up what is at the key of a head: undefined where that is no response, or cannot be read
   */
  isComplete(summarise: (key: string) => Promise<Summary | undefined>): Promise<boolean>
  /**
   * Those of which all conditions are true, a few at a time, without an order.
   *
   * @param now in milliseconds since the epoch
   */
  select(conditions: Conditions, now: number): AsyncIterable<readonly Summary[]>
  /** The number of those of which all conditions are true, and the length of their content in bytes. */
  totals(conditions: Conditions, now: number): Promise<{ count: number; size: number }>
  /**
   * Removes those of some responses that are still where they were, and neither replaced nor validated since.
   *
   * @returns which
   */
  remove(summaries: readonly Summary[]): Promise<readonly Summary[]>
}

/** Looks after what may have gone wrong in a store. */
export interface Upkeep {
  inspect(): Promise<Inspection>
  /** Mends what an inspection has found, but for heads whose content is not there: these are to be deleted. */
  mend(found: Inspection): Promise<void>
}

/** A record that is not in the store yet. */
export interface UnwrittenRecord {
  readonly key: string
  readonly bytes: Buffer
  /** Until when it is kept, in milliseconds since the epoch; undefined for ever. */
  readonly until: number | undefined
}

/** The head of a response that is not there yet. */
export interface UnwrittenHead extends UnwrittenRecord {
  readonly summary: Summary
}

/** The two stores of a cache: small records that are listed, and the chunks of large content. */
export interface Stores {
  readonly heads: ByteStore
  readonly chunks: ByteStore
  /** Absent where the store looks after its size by itself. */
  readonly usage?: Usage
  /** Absent where responses can only be found by reading all of them. */
  readonly index?: ResponseIndex
  /** Absent where what is left after a crash can only expire. */
  readonly unreferenced?: Unreferenced
  /** Absent where others remove content whether it is being read or not. */
  readonly readership?: Readership
  /** Absent where processes cannot agree on anything. */
  readonly leases?: LeaseStore
  /** When the program that they need is there; absent where there is nothing to be loaded. */
  readonly loaded?: Promise<unknown>
  /** What others may do to them. Without it: change them unnoticed. */
  readonly coherence?: Coherence
  /** Whether it is in memory already what is in them, so that their chunks need not be kept there once more. */
  readonly isInMemory?: boolean
  /** Whether what is in them may be seen nowhere else, not even in a temporary file. */
  readonly isSecret?: boolean
  /**
   * Whether they take what they are given as fast as a disk does, so that large content may wait for them.
   * Others are given up where content comes faster than they take it.
   */
  readonly isWaitedFor?: boolean
  /** For how long a request waits for them at most, in milliseconds. */
  readonly patience?: number
  /**
   * Removes what is of no use any more; absent where the store does so by itself.
   *
   * @returns how many responses were removed
   */
  prune?(): Promise<number>
  /** Absent where nothing can be found out about what may have gone wrong. */
  readonly upkeep?: Upkeep
  /**
   * Writes a response where there is none, at once and all of it or nothing: the process exits. Absent where a store
   * is not written without being waited for.
   *
   * @param chunks of its content that may not have been written yet
   * @throws where it cannot be written
   */
  finish?(head: UnwrittenHead, chunks: readonly UnwrittenRecord[]): void
  /** Removes what has expired and gives its space back; absent where the store does so by itself. */
  shrink?(): Promise<void>
  /**
   * Removes all that there is by beginning anew, where nobody else has it open.
   *
   * @param mayBegin asked at the last moment: if so, all that has been written is lost
   * @returns whether that was so
   */
  reset?(mayBegin: () => boolean): Promise<boolean>
  /** Gives back what the stores hold: files, and connections if they are ours. */
  close(): Promise<void>
}
