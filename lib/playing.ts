import type { Dispatcher } from 'undici'
import { type Awaitable, after } from './awaitable.ts'
import { type Delivery, delivery } from './delivery.ts'
import { Playback } from './handlers/playback.ts'
import { withCacheStatus } from './handlers/relaying-handler.ts'
import type { Lookup } from './lookup.ts'
import { type CacheStatus, formatCacheStatus } from './observe/cache-status.ts'
import { asError, type ToldRequest } from './observe/events.ts'
import { revealValues } from './redaction.ts'
import { discardStream } from './refusal.ts'
import { resumable } from './resuming.ts'
import { type Answer, answer } from './rfc9111/answer.ts'
import { currentAge } from './rfc9111/freshness.ts'
import type { Fields } from './rfc9111/message.ts'
import { type ContentReader, LostContentError } from './storage/content.ts'
import type { Entry } from './storage/entry.ts'
import { takeTurn } from './storage/turns.ts'

/** Whether a stored response was played; 'lost' where its content is, 'partial' where it takes the origin to answer. */
export type PlayOutcome = 'played' | 'lost' | 'partial'

/** A stored response as it is played. */
export interface Performance {
  readonly stored: Entry
  /** Its fields, as they are sent. */
  readonly fields: Fields
  readonly status: CacheStatus
  /** The request, as those who listen are told. */
  readonly asked: ToldRequest
}

/** What a hit counts of what is read in one turn of the event loop, in bytes: there are 128 of them. */
const SHARE_OF_TURN = 8192

/**
 * Plays what of a stored response answers a request. The first piece of its content is read before anything is
 * delivered.
 *
 * @param dispatch asks the origin for what the store loses on the way
 */
export function play(
  lookup: Lookup,
  performance: Performance,
  dispatch: Dispatcher['dispatch'],
): Awaitable<PlayOutcome> {
  const { stored, fields } = performance
  const told = stored.hasHiddenValues ? revealValues(fields, lookup.hiddenValues) : fields
  // It is for requests that have what this one has not.
  if (told === undefined) return 'lost'
  const source = resumable(lookup, stored, dispatch, (error) => forget(lookup, stored, error))
  const message = delivery(lookup.request, source, told, answerOf(lookup, stored))
  if (message === undefined) return 'partial'
  const { reader, bytes } = message
  const turn = takeTurn(SHARE_OF_TURN)
  if (reader === undefined) return after(turn, () => deliver(lookup, performance, message, bytes))
  return begin(lookup, stored, reader, turn).then(
    (first) => deliver(lookup, performance, message, first),
    (error: unknown) => {
      reader.close()
      if (error instanceof LostContentError) forget(lookup, stored, error)
      return 'lost'
    },
  )
}

/** What of a stored response answers the request. */
function answerOf({ request, terms }: Lookup, stored: Entry): Answer {
  const part = answer(request, stored, stored.content.length)
  // RFC 9110 §14.2: nobody has to know what a range is; better all of the content than none.
  const isUnanswered = part.kind === 'none' && stored.status !== 206
  return isUnanswered && terms.sendsNothing ? { kind: 'whole' } : part
}

/** The first piece of some content. @throws where it cannot be read in time */
async function begin(
  lookup: Lookup,
  { content }: Entry,
  reader: ContentReader,
  turn: Awaitable<void>,
): Promise<Buffer | null> {
  if (turn) await turn
  const first = reader.read()
  // What is still being received is waited for as the origin is.
  if (content.length === undefined) return first
  return lookup.within(first, () => {
    throw new Error('the store is late')
  })
}

/** @param first the first piece of the content; null where there is none */
function deliver(
  lookup: Lookup,
  { stored, status, asked }: Performance,
  message: Delivery,
  first: Buffer | null | undefined,
): PlayOutcome {
  const { control, caching, options } = lookup
  const { status: code, statusText, fields, size, reader } = message
  if (control.finished) {
    reader?.close()
    return 'played'
  }
  const now = Date.now()
  discardStream(options.body)
  const age = String(Math.floor(currentAge(stored, now) / 1000))
  const told = caching.cacheStatus
    ? withCacheStatus(fields, formatCacheStatus(status, now, stored.cacheKey), age)
    : { ...fields, age }
  noteUse(lookup, stored)
  caching.cache.events.lookup(asked, status, now, message, stored)
  // How much there is of what is still being received is known at its end.
  const atEnd = size === undefined ? () => countBytes(lookup, stored) : undefined
  const playback = new Playback(control, reader, first, atEnd, (error) =>
    forget(lookup, stored, error),
  )
  control.attach(playback)
  try {
    control.responseStart(code, told, statusText)
  } catch (error) {
    control.abort(asError(error))
  }
  playback.start()
  return 'played'
}

/** What is stored has lost its content. */
function forget({ caching, terms }: Lookup, stored: Entry, error: LostContentError): void {
  const { events, responses } = caching.cache
  events.error('read', error)
  if (!terms.readOnly) void responses.remove(stored, 'damage')
}

function countBytes({ caching, request }: Lookup, { content }: Entry): Fields {
  const { statistics } = caching.cache.events
  statistics.of(request.url).bytesFromCache += content.length ?? 0
  return {}
}

function noteUse({ caching, terms }: Lookup, stored: Entry): void {
  const { cache } = caching
  const { mode, readOnly } = terms
  if (mode !== 'default') cache.used.add(stored.generation)
  if (!readOnly) cache.responses.use(stored)
}
