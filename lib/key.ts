import { createHash, createHmac } from 'node:crypto'
import { LRUCache } from './lru.ts'
import type { Request } from './request.ts'
import { CREDENTIALS } from './rfc9111/fields.ts'
import type { Fields } from './rfc9111/message.ts'

/** Changes when equal requests would get other keys than before, so that no two rules of keying mix. */
const KEY_VERSION = 'caching-agent key 1'

/** The keys of requests that were made recently, which are likely to be made again. */
const keys = new LRUCache<string, string>({ max: 1000 })

/**
 * The cache key of a request: SHA-256, in hexadecimal, over the length-prefixed method, normalised URL
 * and, where it is not the one that the URL names, server. Responses that differ by nominated fields
 * or by credentials share a key, so that they are found, invalidated and deleted together; those that
 * were stored by a shared cache and by a private one do not.
 */
export function cacheKey(
  method: string,
  { target, server }: Pick<Request, 'target' | 'server'>,
  shared = false,
): string {
  const asked = `${method} ${target.href} ${server ?? ''} ${shared}`
  const known = keys.get(asked)
  if (known !== undefined) return known
  const parts = [KEY_VERSION, method, normaliseUrl(target), server ?? '']
  const key = digest(shared ? [...parts, 'shared'] : parts)
  keys.set(asked, key)
  return key
}

/** SHA-256 over length-prefixed parts, so that no two lists of parts run into one another. */
export function digest(parts: readonly string[]): string {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part)
  return hash.digest('hex')
}

/**
 * The URL as it counts for the key (RFC 3986 §6.2, RFC 9110 §4.2.3): what the URL parser normalises
 * (case, default port, dot segments), percent-encoding, and the order of query parameters of
 * different names; never the order of those of the same name.
 */
export function normaliseUrl(url: URL): string {
  const pairs = normalisePercentEncoding(url.search.slice(1))
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => ({ name: pair.split('=', 1)[0] as string, pair }))
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  const query = pairs.map(({ pair }) => pair).join('&')
  const path = normalisePercentEncoding(url.pathname)
  return `${url.protocol}//${url.host}${path}${query && `?${query}`}`
}

/** Decodes what need not be encoded, and encodes the rest in upper case (RFC 3986 §6.2.2). */
export function normalisePercentEncoding(text: string): string {
  return text.replace(/%[\da-f]{2}/gi, (encoded) => {
    const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16))
    return /[\w.~-]/.test(character) ? character : encoded.toUpperCase()
  })
}

/** Whether the fields of a request hold anything that must not be kept as it is. */
export function hasCredentials(fields: Fields, partitionBy: readonly string[]): boolean {
  const isPresent = (name: string) => fields[name] !== undefined
  return CREDENTIALS.some(isPresent) || partitionBy.some(isPresent)
}

/**
 * The fields of a request with a keyed hash in place of each credential: what the cache compares and
 * keeps. The secret belongs to the store, so the hashes of two stores have nothing in common.
 */
export function protectCredentials(
  fields: Fields,
  partitionBy: readonly string[],
  secret: Buffer,
): Fields {
  const hashed = new Set([...CREDENTIALS, ...partitionBy])
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      hashed.has(name) ? hashValue(value, secret) : value,
    ]),
  )
}

function hashValue(value: string | readonly string[], secret: Buffer): string {
  return createHmac('sha256', secret).update(JSON.stringify(value)).digest('hex')
}
