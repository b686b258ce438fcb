import { TextDecoder } from 'node:util'

/** Where the content of a document can say in which encoding it is, in bytes (HTML §13.2.3.2). */
export const PRESCANNED = 1024

const DECLARATION =
  /<meta[^>]+?charset\s*=\s*["']?\s*([\w:.-]+)|^<\?xml[^>]+?encoding\s*=\s*["']([\w:.-]+)/i

/**
 * A decoder for a document: its encoding is told by a byte order mark, its media type, or its first bytes;
 * otherwise it is UTF-8.
 */
export function decoderFor(contentType: string, start: Uint8Array): TextDecoder {
  const [, ofType] = /;\s*charset\s*=\s*["']?([\w:.-]+)/i.exec(contentType) ?? []
  const text = Buffer.from(start.subarray(0, PRESCANNED)).toString('latin1')
  const [, ofMeta, ofXml] = DECLARATION.exec(text) ?? []
  const declared = ofMeta ?? ofXml
  // A declaration that can be read as ASCII is not in UTF-16, whatever it says.
  const ofContent = declared && (/^utf-?16/i.test(declared) ? 'utf-8' : declared)
  return newDecoder(markOf(start) ?? ofType ?? ofContent ?? 'utf-8')
}

function markOf(start: Uint8Array): string | undefined {
  if (start[0] === 0xef && start[1] === 0xbb && start[2] === 0xbf) return 'utf-8'
  if (start[0] === 0xfe && start[1] === 0xff) return 'utf-16be'
  return start[0] === 0xff && start[1] === 0xfe ? 'utf-16le' : undefined
}

function newDecoder(label: string): TextDecoder {
  try {
    return new TextDecoder(label)
  } catch {
    return new TextDecoder()
  }
}
