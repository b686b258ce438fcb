import { debuglog } from 'node:util'
import { formatDuration, formatSize } from './format.ts'
import type { CacheError, LookupEvent } from './payloads.ts'

const log = debuglog('caching-agent')

/** Whether `NODE_DEBUG` asks for a line on standard error for each request. */
export const isDebugging: boolean = log.enabled

/** Writes the line of a request. */
export function logLookup(lookup: LookupEvent): void {
  log(formatLookup(lookup))
}

/** Writes the line of some trouble. */
export function logError({ operation, error }: CacheError): void {
  log(`error (${operation}): ${error.message}`)
}

/** A request and what became of it, in one line. */
export function formatLookup(lookup: LookupEvent): string {
  const { method, url, duration } = lookup
  return `${method} ${url} ${became(lookup)} ${rounded(duration)} ms`
}

function became(lookup: LookupEvent): string {
  const { outcome, reason, forward, size, ttl = Infinity, error } = lookup
  const content = size === undefined ? [] : [formatSize(size)]
  switch (outcome) {
    case 'hit':
      return `hit (${[`fresh for ${formatDuration(ttl)}`, ...content].join(', ')})`
    case 'stale': {
      const since = ttl < 0 ? [`for ${formatDuration(-ttl)}`] : []
      return `stale (${[...since, ...(reason ? [reason] : []), ...content].join(', ')})`
    }
    case 'revalidated':
      return `revalidated (${[forward, ...content].join(', ')}), ${fate(lookup)}`
    case 'miss': {
      const why = forward ?? reason
      const collapsed = lookup.collapsed ? ', collapsed' : ''
      return `miss (${why}${collapsed})${forward && !lookup.collapsed ? `, ${fate(lookup)}` : ''}`
    }
    case 'bypass':
      return `bypass (${reason})${error ? `, failed: ${error.message}` : ''}`
    default:
      return outcome satisfies never
  }
}

/** What became of the origin's answer. */
function fate({ error, stored, ttl = Infinity, reason, forward }: LookupEvent): string {
  if (error) return `failed: ${error.message}`
  if (!stored) return reason === forward ? 'not stored' : `not stored: ${reason}`
  return ttl > 0 ? `stored for ${formatDuration(ttl)}` : 'stored, to be validated'
}

/** Milliseconds with as many digits as are of interest. */
function rounded(milliseconds: number): string {
  return milliseconds < 10 ? milliseconds.toFixed(1) : milliseconds.toFixed(0)
}
