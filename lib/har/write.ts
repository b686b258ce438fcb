import { isUtf8 } from 'node:buffer'
import { readFileSync } from 'node:fs'
import type { Entry } from '../storage/entry.ts'
import { decodedContent } from './decoded.ts'
import { harEntry } from './entry.ts'

/** What has become of the stored responses that were to be exported. */
export interface HarExportResult {
  /** How many responses are in the HAR. */
  readonly exported: number
  /** How many of them are there without content, because it is lost or in a coding that nobody here knows. */
  readonly withoutContent: number
}

/** Content up to this length is looked at whether it is text, in bytes; longer content is base64. */
const MAX_TEXT = 2 ** 20

/**
 * A HAR of stored responses, piece by piece: no content is in memory as a whole but for short ones.
 *
 * @param onEntry called for each response, with whether its content is in the HAR
 */
export async function* harText(
  entries: AsyncIterable<Entry>,
  isRedacted: boolean,
  onEntry: (hasContent: boolean) => void,
): AsyncGenerator<string> {
  const creator = JSON.stringify({ name: 'caching-agent', version: version() })
  yield `{"log":{"version":"1.2","creator":${creator},"entries":[`
  let separator = '\n'
  for await (const entry of entries) {
    yield separator
    separator = ',\n'
    onEntry(yield* entryText(entry, isRedacted))
  }
  yield '\n]}}\n'
}

function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

/** @returns whether the content is there */
async function* entryText(entry: Entry, isRedacted: boolean): AsyncGenerator<string, boolean> {
  const { response, mimeType, timings, ...first } = harEntry(entry, isRedacted)
  yield `${JSON.stringify(first).slice(0, -1)},"response":${JSON.stringify(response).slice(0, -1)},"content":{`
  const state = { hasContent: true }
  yield* contentText(entry, mimeType, state)
  // What other tools take for an answer that has failed, and this one does not import.
  const error = state.hasContent ? '' : ',"_error":"the content is not there"'
  yield `}${error}},"cache":{},"timings":${JSON.stringify(timings)}}`
  return state.hasContent
}

async function* contentText(
  entry: Entry,
  mimeType: string,
  state: { hasContent: boolean },
): AsyncGenerator<string> {
  const type = `"mimeType":${JSON.stringify(mimeType)}`
  const decoded = decodedContent(entry)
  if (decoded === undefined) {
    state.hasContent = false
    yield `${type},"size":-1,"comment":"it is encoded in a way that is not known"`
    return
  }
  let begun: Buffer[] = []
  let size = 0
  let isLong = false
  let left = Buffer.alloc(0)
  try {
    for await (const bytes of decoded) {
      size += bytes.length
      if (!isLong) begun.push(bytes)
      if (size <= MAX_TEXT) continue
      if (!isLong) yield `${type},"encoding":"base64","text":"`
      // Three bytes are four characters.
      const all = Buffer.concat([left, ...(isLong ? [bytes] : begun)])
      isLong = true
      begun = []
      const end = all.length - (all.length % 3)
      yield all.toString('base64', 0, end)
      left = Buffer.from(all.subarray(end))
    }
  } catch {
    state.hasContent = false
    yield isLong ? '","size":-1' : `${type},"size":-1`
    return
  }
  if (isLong) yield `${left.toString('base64')}","size":${size}`
  else {
    const content = Buffer.concat(begun)
    const isReadable = isText(content, mimeType)
    const encoding = isReadable ? '' : '"encoding":"base64",'
    const text = isReadable ? JSON.stringify(content.toString()) : `"${content.toString('base64')}"`
    yield `${type},${encoding}"text":${text},"size":${size}`
  }
}

/** Media types whose content is text. */
const TEXT =
  /^(?:text\/|application\/(?:.+\+)?(?:json|xml)|application\/(?:x-)?(?:javascript|ndjson|www-form-urlencoded|yaml)|image\/svg\+xml)/i

/** Whether content is the same once it has been text: text in UTF-8. */
function isText(content: Buffer, mimeType: string): boolean {
  const charset = /;\s*charset="?([^";]+)/i.exec(mimeType)?.[1]?.trim() ?? 'utf-8'
  return TEXT.test(mimeType) && /^(?:utf-?8|us-ascii)$/i.test(charset) && isUtf8(content)
}
