import { createHash, createHmac, type Hash, type Hmac, hash } from 'node:crypto'
import { decodeComponent, IGNORED_VALUE, joinPairs, pairsOf } from './key/form.ts'
import type { Request } from './request.ts'

/** Changes when equal requests would get other keys than before, so that no two rules of keying mix. */
const KEY_VERSION = 'caching-agent key 1'

/** What a key is made of: strings as UTF-8, and bytes. */
export type KeyPart = string | Uint8Array

/**
 * What the cache key of a request is made of: its method, normalised URL and, where it is not the one that
 * the URL names, server. Responses that differ by nominated fields or by credentials share a key, so that
 * they are found, invalidated and deleted together; those that were stored by a shared cache and by a
 * private one do not.
 */
export function keyParts(
  { method, target, server }: Pick<Request, 'method' | 'target' | 'server'>,
  shared: boolean,
  isIgnored?: (name: string) => boolean,
): string[] {
  const parts = [KEY_VERSION, method, normaliseUrl(target, isIgnored), server ?? '']
  return shared ? [...parts, 'shared'] : parts
}

/** SHA-256 over length-prefixed parts, so that no two lists of parts run into one another. */
export function digest(parts: readonly KeyPart[]): string {
  return parts.every((part) => typeof part === 'string')
    ? hash('sha256', parts.map((part) => `${Buffer.byteLength(part)}:${part}`).join(''))
    : hashParts(createHash('sha256'), parts)
}

/** The same with a secret, without which nobody can find out what the parts are by trying. */
export function keyedDigest(parts: readonly KeyPart[], secret: Buffer): string {
  return hashParts(createHmac('sha256', secret), parts)
}

/** Whether a text may be a digest, as all keys are under which responses are stored. */
export function isDigest(text: string): boolean {
  return /^[\da-f]{64}$/.test(text)
}

function hashParts(all: Hash | Hmac, parts: readonly KeyPart[]): string {
  for (const part of parts) all.update(`${Buffer.byteLength(part)}:`).update(part)
  return all.digest('hex')
}

/**
 * The URL as it counts for the key (RFC 3986 §6.2, RFC 9110 §4.2.3): what the URL parser normalises
 * (case, default port, dot segments), percent-encoding, and the order of query parameters of
 * different names; never the order of those of the same name.
 *
 * @param isIgnored whether the value of a parameter does not matter
 */
export function normaliseUrl(url: URL, isIgnored?: (name: string) => boolean): string {
  const query = normaliseQuery(url.search.slice(1), isIgnored)
  const path = normalisePercentEncoding(url.pathname)
  return `${url.protocol}//${url.host}${path}${query && `?${query}`}`
}

function normaliseQuery(query: string, isIgnored: ((name: string) => boolean) | undefined): string {
  if (query === '') return ''
  const pairs = pairsOf(normalisePercentEncoding(query)).map((pair) =>
    isIgnored?.(decodeComponent(pair.name)) ? { ...pair, value: IGNORED_VALUE } : pair,
  )
  return joinPairs(pairs)
}

/** Decodes what need not be encoded, and encodes the rest in upper case (RFC 3986 §6.2.2). */
export function normalisePercentEncoding(text: string): string {
  if (!text.includes('%')) return text
  return text.replace(/%[\da-f]{2}/gi, (encoded) => {
    const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16))
    return /[\w.~-]/.test(character) ? character : encoded.toUpperCase()
  })
}
