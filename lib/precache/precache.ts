import { acceptLegacyHandlers } from '../handlers/legacy-handler.ts'
import { Crawl, type FilledCache } from './crawl.ts'
import {
  type PrecacheOptions,
  type PrecacheTarget,
  parsePrecacheOptions,
  parseTarget,
} from './options.ts'
import type { PrecacheResult } from './report.ts'

/**
 * Fetches URLs, and what they link, into a cache.
 *
 * @param dispatcher what makes the requests, unless the options say so
 * @throws TypeError where the target or an option is malformed; what ended it before its time
 */
export async function precache(
  cache: FilledCache,
  dispatcher: PrecacheOptions['dispatcher'],
  target: PrecacheTarget,
  options: PrecacheOptions,
): Promise<PrecacheResult> {
  const parsed = parsePrecacheOptions(options)
  const given = parseTarget(target)
  const sender = parsed.dispatcher ?? dispatcher
  if (sender === undefined) {
    throw new TypeError(
      'precache: this cache was made for no agent, so nothing fetches for it: ' +
        'call agent.precache(), or give the option dispatcher, such as cachingAgent({ cache })',
    )
  }
  parsed.signal?.throwIfAborted()
  // The built-in fetch of Node 22 and 24 has handlers that undici 8 does not understand.
  const dispatch = acceptLegacyHandlers(sender.dispatch.bind(sender))
  return new Crawl(cache, { dispatch }, given, parsed).run()
}
