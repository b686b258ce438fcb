import type { BypassReason, ForwardReason } from '../rfc9111/reuse.ts'
import type { NotStored } from '../rfc9111/storing.ts'

/**
 * What became of a request:
 *
 * - `hit`: answered from the cache;
 * - `stale`: answered from the cache, although no longer fresh;
 * - `revalidated`: the origin confirmed that the stored response is still valid;
 * - `miss`: answered by the origin, or not at all;
 * - `bypass`: the cache had no part in it.
 */
export type Outcome = 'hit' | 'stale' | 'revalidated' | 'miss' | 'bypass'

/**
 * Why a request went to the origin, passed the cache by or was answered with a stale response, and why
 * a response is not stored: the words of `cacheInfo().reason`, of `detail` and `fwd` in `Cache-Status`, and
 * of the events.
 */
export type Reason =
  | ForwardReason
  | BypassReason
  | NotStored
  | 'filter'
  | 'offline'
  | 'only-if-cached'
  | 'replay'
  | 'rule-failed'
  | 'stale-if-error'
  | 'stale-while-revalidate'
  | 'target'
  | 'upgrade'

/** All reasons, and what each means. */
export const REASONS: Readonly<Record<Reason, string>> = {
  // Why the origin was asked.
  'uri-miss': 'nothing is stored for the URL',
  'vary-miss': 'what is stored for the URL is for other request fields, or other credentials',
  stale: 'what is stored is not fresh any more, or must be validated each time',
  request: 'the request wants something newer: no-cache, max-age, min-fresh',
  partial: 'what is stored does not have the range that is asked for',
  filter: 'the user’s filter does not let be used what is stored',
  'only-if-cached': 'nothing that may be used is stored, and the request does not want the origin',
  offline: 'nothing is stored, and the mode is offline',
  replay: 'nothing was recorded, and the mode is replay',
  // Why a stale response was used.
  'stale-while-revalidate': 'it is being validated in the background',
  'stale-if-error': 'the origin failed',
  // Why a response is not stored.
  'no-store': 'the request or the response says no-store',
  'request-no-store': 'the request says no-store',
  private: 'the response is for one user only, and the cache is shared',
  authorization: 'it answers a request with Authorization, and the cache is shared',
  'no-freshness': 'it says nothing about how long it is fresh, and could never be used',
  'no-validator': 'it expires immediately, and has nothing to be validated by',
  status: 'its status code is none that is stored',
  'vary-any': 'it has Vary: *, and answers only this one request',
  'too-large': 'it has more content than maxContentSize, or than maxSize in all',
  incomplete: 'it is a part that is not stored, as what is there is more',
  redirected: 'an interceptor under the cache followed redirects',
  invalidated: 'what is stored for the URL was deleted or invalidated meanwhile',
  freshened: 'it confirmed what is stored, which is kept instead',
  'read-only': 'the cache is only read',
  endless: 'it is a stream of events, without an end to wait for',
  'do-not-cache': 'a rule or the request’s own terms say so',
  // Why a request passed by.
  method: 'its method is none that may be cached',
  content: 'it has content that is no part of its key',
  'request-too-large':
    'it has more content than maxRequestContentSize, or it takes too long to arrive',
  range: 'it asks for ranges in another unit, or that cannot be understood',
  conditional: 'it has a condition that only the origin can answer',
  upgrade: 'it asks for another protocol, or is CONNECT',
  target: 'it has no URL that a cache understands: no origin, or not http or https',
  'rule-failed': 'a function of the user’s threw, or took too long',
}
