import { AsyncLocalStorage } from 'node:async_hooks'
import { DO_NOT_CACHE } from './expiration.ts'
import { nestTerms, type ParsedTerms, parseTerms, refuse, type Terms } from './terms.ts'

const current = new AsyncLocalStorage<ParsedTerms | undefined>()

/**
 * Runs a function whose requests all use these terms: every request that is started inside it, by any
 * library, however deep in its async context. They take precedence over all others; nested calls add to them.
 *
 * @throws TypeError where the terms are malformed, or there is no function
 */
export function withTerms<T>(terms: Terms, fn: () => T): T {
  const parsed = parseTerms(terms, 'withTerms')
  if (typeof fn !== 'function') refuse('withTerms', 'a function as its last argument', fn)
  return current.run(nestTerms(current.getStore(), parsed), fn)
}

/** Runs a function whose requests pass the cache by: nothing is read from it and nothing is written. */
export function disabled<T>(fn: () => T): T {
  return withTerms({ expireAfter: DO_NOT_CACHE }, fn)
}

/** The terms of the async context. */
export function contextTerms(): ParsedTerms | undefined {
  return current.getStore()
}

/**
 * Runs a function in the given terms. What happens in the callbacks of a connection must not inherit
 * the terms of whichever request opened that connection.
 */
export function runInTerms<T>(terms: ParsedTerms | undefined, fn: () => T): T {
  return current.getStore() === terms ? fn() : current.run(terms, fn)
}
