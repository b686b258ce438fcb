import { createCipheriv, createHash } from 'node:crypto'

/** Lengths at which the cache does something else: nothing, inline, one chunk, several. Most are short, as on the web. */
const LENGTHS = [
  ...[0, 1, 500, 2_000, 2_000, 5_000, 10_000, 10_000, 20_000, 65_536, 65_537],
  ...[100_000, 262_144, 262_145, 600_000, 2_000_000],
]

/** The content of a version of a resource: each has a length and bytes of its own, so that no two can be mixed up. */
export function contentOf(name: string, version: number): Buffer {
  const seed = createHash('sha256').update(`${name} ${version}`).digest()
  const length = LENGTHS[seed.readUInt32LE(0) % LENGTHS.length] as number
  const cipher = createCipheriv('aes-256-ctr', seed, Buffer.alloc(16))
  // Some can be compressed.
  if (seed.readUInt8(4) % 2 === 0) return cipher.update(Buffer.alloc(length))
  return Buffer.from(cipher.update(Buffer.alloc(Math.ceil(length / 2))).toString('hex')).subarray(
    0,
    length,
  )
}

/** The name of a resource: of its variant, where the origin has several. */
export function nameOf(path: string, language: string | undefined): string {
  return path.startsWith('/vary/') ? `${path} ${language}` : path
}

/** An entity-tag that no other version of any resource has. */
export function etagOf(name: string, version: number): string {
  return `"${createHash('sha256').update(name).digest('hex').slice(0, 8)}-${version}"`
}

/** A response as a client has received it. */
export interface Received {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly content: Buffer
}

/** What is wrong about a response; undefined if it is what the origin once sent for this path and language. */
export function wrongness(path: string, language: string, received: Received): string | undefined {
  const { status, headers, content } = received
  const [, length] = /^bytes \*\/(\d+)$/.exec(headers['content-range'] ?? '') ?? []
  if (status === 416 && LENGTHS.includes(Number(length))) return undefined
  const version = Number(headers['x-version'])
  if (!(version > 0)) return `status ${status}, and no version`
  const name = nameOf(path, language)
  if (headers['x-name'] !== name) return `the response to ${headers['x-name']}`
  if (headers.etag !== etagOf(name, version)) return `version ${version} with ${headers.etag}`
  const whole = contentOf(name, version)
  const range = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers['content-range'] ?? '')
  const [first = 0, last = -1, of] = range?.slice(1).map(Number) ?? []
  const expected = status === 206 ? whole.subarray(first, last + 1) : whole
  if (status === 206 && of !== whole.length) return `a part of ${of}, not ${whole.length}`
  if (status !== 200 && status !== 206) return `status ${status}`
  if (!content.equals(expected)) {
    return `version ${version}: ${content.length} bytes that are not the ${expected.length} expected`
  }
  return undefined
}
