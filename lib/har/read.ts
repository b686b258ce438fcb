// The only import of @streamparser/json: this module is loaded where a HAR is imported.
import { createReadStream } from 'node:fs'
import { JSONParser } from '@streamparser/json'
import { refuse } from '../terms.ts'

/** Where a HAR is: a path or `file:` URL, a stream of it, or the HAR itself as JSON has been parsed. */
export type HarSource =
  | string
  | URL
  | AsyncIterable<string | Uint8Array>
  | { readonly log: { readonly entries: Iterable<unknown> } }

/** What only a HAR has, and where its entries are. */
const PATHS = ['$.log.version', '$.log.creator', '$.log.entries.*']

/**
 * The entries of a HAR, one after the other: no more than one of them is in memory, and a piece of the source.
 *
 * @throws TypeError where there can be no HAR in the source; Error where it cannot be read, or is none
 */
export async function* readHarEntries(source: HarSource): AsyncGenerator<unknown> {
  if (isHar(source)) {
    const { entries } = source.log ?? {}
    if (typeof entries?.[Symbol.iterator] !== 'function') refuseSource(source)
    yield* entries
    return
  }
  const found: unknown[] = []
  let isHarLike = false
  const parser = new JSONParser({ paths: PATHS, keepStack: false })
  parser.onValue = ({ value, key }) => {
    isHarLike = true
    if (typeof key === 'number') found.push(value)
  }
  let isFirst = true
  for await (const piece of openSource(source)) {
    const bytes = isFirst ? withoutMark(piece) : piece
    isFirst = false
    attempt(() => parser.write(bytes))
    yield* found.splice(0)
  }
  if (!isHarLike) throw new Error('importHar: there is no HAR, as it has no log')
  if (!parser.isEnded) throw new Error('importHar: the HAR ends too early')
}

function isHar(source: HarSource): source is Extract<HarSource, { log: unknown }> {
  return typeof source === 'object' && source !== null && 'log' in source
}

function openSource(
  source: Exclude<HarSource, { log: unknown }>,
): AsyncIterable<string | Uint8Array> {
  if (typeof source === 'string' || source instanceof URL) return createReadStream(source)
  return typeof source?.[Symbol.asyncIterator] === 'function' ? source : refuseSource(source)
}

function refuseSource(source: unknown): never {
  refuse('importHar', 'a path, a file: URL, a stream or a HAR with log.entries', source)
}

/** A byte order mark, which JSON must not have, and HARs sometimes do. */
function withoutMark(piece: string | Uint8Array): string | Uint8Array {
  if (typeof piece === 'string') return piece.replace(/^\uFEFF/, '')
  const isMarked = piece[0] === 0xef && piece[1] === 0xbb && piece[2] === 0xbf
  return isMarked ? piece.subarray(3) : piece
}

function attempt(parse: () => void): void {
  try {
    parse()
  } catch (cause) {
    throw new Error(`importHar: the HAR is no JSON: ${(cause as Error).message}`, { cause })
  }
}
