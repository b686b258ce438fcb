import { TooSlowError } from './content.ts'

/** Thrown for what is certainly not done: the store has said so, or was not asked. */
export class RefusedError extends Error {
  override name = 'RefusedError'
}

/** How the answer of a Redis or Valkey server begins that does not do what it was told. */
const REDIS_REFUSAL =
  /^(?:ERR|OOM|READONLY|NOPERM|NOAUTH|MISCONF|NOREPLICAS|LOADING|MASTERDOWN|CLUSTERDOWN|BUSY|WRONGTYPE|MOVED|ASK|TRYAGAIN) /

/** The codes of PostgreSQL, but for those of a connection or a server that ends, and of what nobody knows: that may be done. */
const SQL_REFUSAL = /^(?!08|57P|40003)\d[\dA-Z]{4}$/

/**
 * Whether it is certain that a store has not done what it was asked to, as it has answered so. After a lost
 * connection, or what nobody knows the meaning of, it may be done all the same.
 */
export function isRefusal(error: unknown): boolean {
  if (error instanceof RefusedError || error instanceof TooSlowError) return true
  const { message, code } = (error ?? {}) as { message?: unknown; code?: unknown }
  return (
    code === 'ERR_SQLITE_ERROR' ||
    SQL_REFUSAL.test(String(code)) ||
    REDIS_REFUSAL.test(String(message))
  )
}
