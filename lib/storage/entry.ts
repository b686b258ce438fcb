import { digest } from '../key.ts'
import { expirationTime, hasValidator } from '../rfc9111/freshness.ts'
import type { Nominated, StoredResponse } from '../rfc9111/message.ts'
import type { Content } from './content.ts'

/** A stored response with its content. */
export interface Entry extends StoredResponse {
  readonly cacheKey: string
  /** Which response it is: no other one ever has the same, and validation does not change it. */
  readonly generation: string
  readonly method: string
  readonly statusText: string
  readonly content: Content
  /** Until when the store keeps the chunks of the content, in milliseconds since the epoch. */
  readonly chunksUntil: number
  /**
   * Whether it is kept apart by credentials that somebody has chosen. What was stored before there were
   * others than `Authorization` and `Cookie` by default is not, and has no more than these.
   */
  readonly hasOwnPartition?: true
  /** Whether its fields have marks in place of values of its request. */
  readonly hasHiddenValues?: true
  /** What it is found by, to be deleted or marked stale together with others. */
  readonly tags?: readonly string[]
  /** For how long it may be used once it is stale, in milliseconds; it is kept no less long. */
  readonly staleUse?: number
}

/** What is known of a response before its content has been received. */
export type NewEntry = Omit<Entry, 'content' | 'chunksUntil' | 'generation'>

/** How long a response that can be validated is kept after it became stale, in milliseconds: 30 days. */
export const STALE_RETENTION: number = 30 * 86_400_000

/** How long a response without a validator is kept after it became stale, in milliseconds: a day. */
const STALE_RETENTION_WITHOUT_VALIDATOR = 86_400_000

/** Until when a response is worth keeping, in milliseconds since the epoch: fresh, and stale but of use. */
export function keptUntil(response: StoredResponse & Pick<Entry, 'staleUse'>): number {
  const stale = hasValidator(response) ? STALE_RETENTION : STALE_RETENTION_WITHOUT_VALIDATOR
  const staleFrom = Math.max(expirationTime(response), response.responseTime)
  return staleFrom + Math.max(stale, response.staleUse ?? 0)
}

/** The key of the record of one of several variants. */
export function variantKey(cacheKey: string, nominated: Nominated): string {
  return digest([cacheKey, ...canonical(nominated)])
}

/** Whether two responses are for the same requests. */
export function isSameVariant(a: Nominated, b: Nominated): boolean {
  return canonical(a).join() === canonical(b).join()
}

/** Whether two responses are for different requests, so that both can be kept. */
export function mayCoexist(a: Nominated, b: Nominated): boolean {
  return Object.keys(a).length > 0 && Object.keys(b).length > 0 && !isSameVariant(a, b)
}

function canonical(nominated: Nominated): string[] {
  return Object.entries(nominated)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map((pair) => JSON.stringify(pair))
}
