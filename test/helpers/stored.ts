import type { Fields, StoredResponse } from '../../lib/rfc9111/message.ts'

/** The time at which the responses of these tests were received. */
export const NOW = Date.UTC(2026, 5, 15, 12)

/** A response with status 200 that was received {@link NOW}. */
export function stored(fields: Fields, more: Partial<StoredResponse> = {}): StoredResponse {
  return {
    url: 'http://example.com/',
    status: 200,
    fields,
    requestTime: NOW,
    responseTime: NOW,
    nominated: {},
    ...more,
  }
}
