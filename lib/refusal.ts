import { Readable } from 'node:stream'
import type { HttpCache } from './cache.ts'
import { Playback } from './handlers/playback.ts'
import type { RequestControl } from './handlers/request-control.ts'
import { explainMissing } from './not-stored.ts'
import { type CacheStatus, formatCacheStatus } from './observe/cache-status.ts'
import { asError, type ToldRequest } from './observe/events.ts'
import type { Reason } from './observe/reasons.ts'
import type { Fields } from './rfc9111/message.ts'
import type { RequestTerms } from './rules.ts'
import type { Entry } from './storage/entry.ts'

/** A request that nothing stored answers, and that may not be sent. */
export interface Refused {
  readonly control: RequestControl
  readonly cache: HttpCache
  /** Whether the response tells what the cache did. */
  readonly cacheStatus: boolean
  readonly asked: ToldRequest
  /** The fields of the request, with hashes in place of credentials. */
  readonly fields: Fields
  readonly body: unknown
  readonly terms: RequestTerms
  /** Why it would pass the cache by, if it would. */
  readonly bypass?: Reason
  /** The stored responses to the same request but for the fields by which they differ. */
  readonly variants?: readonly Entry[]
}

/** Answers with a status of 504 (§5.2.1.7) or with an error, as the user has chosen. */
export async function refuse(refused: Refused): Promise<void> {
  const { control, cache, asked, fields, body, terms, variants, bypass } = refused
  discardStream(body)
  const status: CacheStatus = { detail: reasonOfRefusal(terms) }
  if (terms.missing === 'status') return answer504(refused, status)
  const { method, url } = asked
  const known = { because: becauseOf(terms), bypass, variants }
  const error = await explainMissing(
    { method, url, fields },
    known,
    cache.responses.management.summaries(),
  )
  if (control.finished) return
  cache.events.lookup(asked, status, Date.now(), error)
  control.abort(error)
  control.fail(error)
}

function answer504({ control, cache, cacheStatus, asked }: Refused, status: CacheStatus): void {
  const now = Date.now()
  const fields = {
    'content-length': '0',
    ...(cacheStatus && { 'cache-status': formatCacheStatus(status, now) }),
  }
  cache.events.lookup(asked, status, now, { status: 504, size: 0 })
  const playback = new Playback(control, undefined)
  control.attach(playback)
  try {
    control.responseStart(504, fields, 'Gateway Timeout')
  } catch (error) {
    control.abort(asError(error))
  }
  playback.start()
}

/** Why a request is not answered. */
export function reasonOfRefusal({ mode }: RequestTerms): Reason {
  return mode === 'offline' || mode === 'replay' ? mode : 'only-if-cached'
}

/** What keeps requests from being sent, as the user has said it. */
function becauseOf({ mode, onlyIfCached }: RequestTerms): string {
  if (mode !== 'default') return `mode: '${mode}'`
  return onlyIfCached ? 'onlyIfCached' : 'Cache-Control: only-if-cached'
}

/** A request that is answered by the cache is never sent, so nobody reads its stream. */
export function discardStream(body: unknown): void {
  if (body instanceof Readable) body.on('error', () => {}).destroy()
}
