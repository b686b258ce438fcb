import { pipeline, Readable, type Transform } from 'node:stream'
import {
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
} from 'node:zlib'
import { fieldValue, listMembers } from '../rfc9111/fields.ts'
import type { Content } from '../storage/content.ts'
import type { Entry } from '../storage/entry.ts'

const DECODERS: Readonly<Record<string, (() => Transform) | undefined>> = {
  br: createBrotliDecompress,
  deflate: createInflate,
  gzip: createGunzip,
  'x-gzip': createGunzip,
  zstd: createZstdDecompress,
}

/** The content of a stored response as it was before it was encoded; undefined where its coding is unknown. */
export function decodedContent({ fields, content }: Entry): AsyncIterable<Buffer> | undefined {
  const codings = listMembers(fieldValue(fields, 'content-encoding')?.toLowerCase() ?? '')
  const encoded = codings.filter((coding) => coding !== 'identity')
  // An empty content is not encoded, whatever is said.
  if (encoded.length === 0 || content.length === 0) return pieces(content)
  const decoders = encoded.reverse().map((coding) => DECODERS[coding])
  if (decoders.includes(undefined)) return undefined
  const streams = decoders.map((make) => (make as () => Transform)())
  // What fails, fails the last one as well, where it is read.
  pipeline([Readable.from(pieces(content)), ...streams], () => {})
  return streams.at(-1) as Transform
}

async function* pieces(content: Content): AsyncGenerator<Buffer> {
  const reader = content.open()
  try {
    for (let bytes = await reader.read(); bytes; bytes = await reader.read()) yield bytes
  } finally {
    reader.close()
  }
}
