import type { Dispatcher } from 'undici'
import { dispatchSafely } from './dispatch-safely.ts'
import { RestHandler } from './handlers/rest-handler.ts'
import type { Lookup } from './lookup.ts'
import { headersWith, headersWithout, OF_THE_CALLER } from './request.ts'
import { resumptionFields, resumptionStart } from './rfc9111/resumption.ts'
import {
  type Content,
  type ContentReader,
  LostContentError,
  type ReadingOptions,
} from './storage/content.ts'
import type { Entry } from './storage/entry.ts'

type Dispatch = Dispatcher['dispatch']

/** The rest of some content, from `first` to `last`; undefined where the origin does not have the same any more. */
type Resume = (first: number, last: number, failure: unknown) => Promise<ContentReader | undefined>

/**
 * A stored response whose content comes from the origin from where on the store fails: whoever has been given its
 * beginning need not notice. Where the origin cannot tell that it still has the same, the store is waited for.
 *
 * @param onLost told where the content is not in the store any more, although the caller gets it
 */
export function resumable(
  lookup: Lookup,
  stored: Entry,
  dispatch: Dispatch,
  onLost: (error: LostContentError) => void,
): Entry {
  const { content } = stored
  const { length, chunks } = content
  // What is in memory needs none of it, and most is.
  if (chunks === undefined || length === undefined) return stored
  const isRead = lookup.request.method === 'GET' && lookup.mayBeSent
  const isCertain = resumptionFields(stored, { first: 0, last: 0 }, Date.now()) !== undefined
  if (!isRead || !isCertain) return stored
  const resume: Resume = async (first, last, failure) => {
    const rest = await restOf(lookup, stored, length, dispatch, first, last)
    if (rest && failure instanceof LostContentError) onLost(failure)
    return rest
  }
  const open = (position = 0, options: ReadingOptions = {}) =>
    resumableReader(content, position, { end: length, ...options }, resume)
  return { ...stored, content: { ...content, open } }
}

async function restOf(
  { options, caching, request }: Lookup,
  stored: Entry,
  length: number,
  dispatch: Dispatch,
  first: number,
  last: number,
): Promise<ContentReader | undefined> {
  const range = { first, last }
  const now = Date.now()
  const fields = resumptionFields(stored, range, now)
  if (fields === undefined) return undefined
  const handler = new RestHandler(
    range,
    (status, answer) => resumptionStart(stored, length, range, { status, fields: answer }, now),
    (bytes) => {
      caching.cache.events.statistics.of(request.url).bytesFromOrigin += bytes
    },
  )
  const kept = headersWithout(options.headers, [...OF_THE_CALLER, 'range'])
  const headers = headersWith(kept as never, fields) as never
  dispatchSafely(dispatch, { ...options, headers, body: null }, handler)
  return (await handler.accepted) ? handler : undefined
}

function resumableReader(
  content: Content,
  start: number,
  { end = Infinity, isMidway = false }: ReadingOptions,
  resume: Resume,
): ContentReader {
  let position = start
  let hasBegun = isMidway
  let isResumed = false
  let isClosed = false
  // A store that fails is not waited for as long as there is somebody else to be asked.
  let reader = content.open(start, { end, isMidway, isPatient: false })

  async function goOn(failure: unknown): Promise<Buffer | null> {
    isResumed = true
    const rest = await resume(position, end - 1, failure)
    if (rest === undefined && failure instanceof LostContentError) throw failure
    const next = rest ?? content.open(position, { end, isMidway: true })
    if (isClosed) next.close()
    else reader.close()
    reader = next
    return reader.read()
  }

  return {
    async read() {
      const bytes = await reader.read().catch((error: unknown) => {
        if (!hasBegun || isResumed || isClosed) throw error
        return goOn(error)
      })
      hasBegun = true
      position += bytes?.length ?? 0
      return bytes
    },
    close() {
      isClosed = true
      reader.close()
    },
  }
}
