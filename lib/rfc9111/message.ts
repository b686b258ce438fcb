/** The fields of a message by lower-case name; a field sent in several lines is an array. */
export type Fields = Readonly<Record<string, string | readonly string[]>>

/** What the policy needs to know of a request. */
export interface RequestMessage {
  readonly method: string
  /** The target URI, absolute and without a fragment. */
  readonly url: string
  readonly fields: Fields
}

/** Whether a method asks for the resource that the URI identifies, whatever the content of the request. */
export function isRetrieval(method: string): boolean {
  return method === 'GET' || method === 'HEAD'
}

/** What the policy needs to know of a response. */
export interface ResponseMessage {
  readonly status: number
  readonly fields: Fields
  /** Whether the rules for shared caches apply to it; those for private ones where absent. */
  readonly shared?: boolean
}

/** The fields of a response, and by the rules of which kind of cache they are read. */
export type ResponseFields = Pick<ResponseMessage, 'fields' | 'shared'>

/** Request fields nominated by `Vary` (§4.1) with their normalised values; `null` where absent. */
export type Nominated = Readonly<Record<string, string | null>>

/** What a cache must keep of a response, besides its content, in order to reuse it. */
export interface StoredResponse extends ResponseMessage {
  readonly url: string
  /** The clock when the request was sent, in milliseconds since the epoch (§4.2.3). */
  readonly requestTime: number
  /** The clock when the response was received, in milliseconds since the epoch (§4.2.3). */
  readonly responseTime: number
  readonly nominated: Nominated
  /**
   * When a rule of the user, not the origin, decided the freshness: the time at which it ends,
   * in milliseconds since the epoch; `Infinity` for never.
   */
  readonly expires?: number
  /** The longest freshness lifetime that the origin was allowed to ask for, in milliseconds. */
  readonly maxLifetime?: number
  /** When it was marked as stale, in milliseconds since the epoch; without a meaning if it was received since. */
  readonly staleFrom?: number
  /**
   * Whether nobody may have it but whom the origin confirms it for: a 304 has named more fields by which it
   * differs than are known of the request it was stored for.
   */
  readonly isToBeConfirmed?: true
}
