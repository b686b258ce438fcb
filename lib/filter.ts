import { inspect } from 'node:util'
import { withPatience } from './patience.ts'
import { redactFields } from './redaction.ts'
import type { Fields } from './rfc9111/message.ts'
import { readAll } from './storage/content.ts'
import type { Entry } from './storage/entry.ts'

/** A response that a filter is asked about: it is to be stored, or stored and to be used. */
export interface FilteredResponse {
  readonly method: string
  readonly url: string
  readonly status: number
  readonly statusText: string
  /** By lower-case name; a field sent in several lines is an array. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>
  /** Of the request that is to be answered, by lower-case name; credentials are hashed. */
  readonly requestHeaders: Readonly<Record<string, string | readonly string[]>>
  /** The number of bytes of content. */
  readonly size: number
  /** When the response was received, or last validated. */
  readonly storedAt: Date
  /** Whether it is stored and to be used, or else to be stored. */
  readonly isStored: boolean
  /** The content as it came: encoded as `Content-Encoding` says. */
  content(): Promise<Buffer>
}

/** Whether a response may be stored, or used: see `Terms.filter`. */
export type ResponseFilter = (response: FilteredResponse) => boolean | Promise<boolean>

/** How long a filter may take while somebody waits for a response, and while nobody does, in milliseconds. */
const USE_PATIENCE = 5000
const STORE_PATIENCE = 30_000

/**
 * Asks a filter about a response all of which has been received.
 *
 * @throws where the filter throws, returns no boolean or takes too long
 */
export async function askFilter(
  filter: ResponseFilter,
  requestFields: Fields,
  entry: Entry,
  isStored: boolean,
): Promise<boolean> {
  // The filter may change what it gets.
  const asked: unknown = filter({
    method: entry.method,
    url: entry.url,
    status: entry.status,
    statusText: entry.statusText,
    headers: structuredClone(redactFields(entry.fields)),
    requestHeaders: { ...requestFields },
    size: entry.content.length as number,
    storedAt: new Date(entry.responseTime),
    isStored,
    content: () => readAll(entry.content),
  })
  const patience = isStored ? USE_PATIENCE : STORE_PATIENCE
  const answer: unknown =
    typeof asked === 'boolean'
      ? asked
      : await withPatience(Promise.resolve(asked), patience, 'filter')
  if (typeof answer === 'boolean') return answer
  throw new TypeError(`filter: expected the function to return a boolean, got ${inspect(answer)}`)
}
