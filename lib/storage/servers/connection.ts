import type { ByteStore } from '../byte-store.ts'
import type { LeaseStore } from '../leases.ts'

/** What is kept on a server, all of which can do this. */
export type ServerStore = ByteStore & Required<Pick<ByteStore, 'expire' | 'expireAll' | 'replace'>>

/** A connection to a server, with the two stores of a cache on it. What fails because of it rejects, and tells no more. */
export interface Connection {
  readonly heads: ServerStore
  readonly chunks: ServerStore
  readonly leases?: LeaseStore
  /** Settles when the connection can be used, or cannot be made. */
  readonly connected: Promise<unknown>
  /** Whether it can be used still. */
  isOpen(): boolean
  /** Ends it at once: what is under way fails. */
  end(): void
}

/** Which part of a server is a cache's: nothing else there is ever touched. */
export interface Place {
  /** How to connect, as the server's client understands it. */
  readonly url: string
  /** A name without white space, colons and wildcards. */
  readonly namespace: string
  /** How long a call may take at most, in milliseconds. */
  readonly longest: number
}

/** The namespace of a cache for which none is named. */
export const DEFAULT_NAMESPACE = 'caching-agent'

/** How long a server may take to accept a connection, in milliseconds. */
export const CONNECT_TIMEOUT = 5000

/** Another format of what is stored has another name, so that releases can share a server. */
export const NAMES = { heads: 'responses_1', chunks: 'chunks_1', leases: 'leases_1' }

/** An error outside any call: the next call finds the connection lost, and opens another one. */
export function ignore(): void {}

/** The latest @keyv/postgres is for Keyv 5, and never removes what has expired. */
export const POSTGRES_ADAPTER = '@keyv/postgres@^6.0.0-beta.4'
