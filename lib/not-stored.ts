import { inspect } from 'node:util'
import { isDigest } from './key.ts'
import { REASONS, type Reason } from './observe/reasons.ts'
import type { RequestMessage } from './rfc9111/message.ts'
import { differingFields } from './rfc9111/vary.ts'
import type { Entry } from './storage/entry.ts'

/** Nothing is stored that answers a request, and nothing may be sent: see `Terms.missing`. */
export class NotStoredError extends Error {
  override name = 'NotStoredError'
  readonly code = 'ERR_NOT_STORED'
  readonly method: string
  readonly url: string
  /** Methods and URLs of the stored responses that are most like it, at most three. */
  readonly nearest: readonly string[]

  constructor(
    message: string,
    { method, url }: Pick<RequestMessage, 'method' | 'url'>,
    nearest: readonly string[] = [],
  ) {
    super(message)
    this.method = method
    this.url = url
    this.nearest = nearest
  }
}

/** What is known of a request that is not answered, besides the request. */
export interface Missing {
  /** What keeps the request from being sent, as the user has said it: a term such as `mode: 'replay'`. */
  readonly because: string
  /** Why it would pass the cache by, if it would. */
  readonly bypass?: Reason | undefined
  /** The stored responses to the same request but for the fields by which they differ. */
  readonly variants?: readonly Entry[] | undefined
}

/** Explains that a request is not answered: what is stored instead, and how to have it stored. */
export async function explainMissing(
  request: RequestMessage,
  missing: Missing,
  stored: AsyncIterable<Pick<Entry, 'method' | 'url'>>,
): Promise<NotStoredError> {
  const { because, bypass, variants = [] } = missing
  const asked = named(request)
  const lines = [`${asked} is not stored, and ${because} lets no request be sent.`]
  if (bypass !== undefined) {
    lines.push(`Such a request passes the cache by (${bypass}): ${REASONS[bypass]}.`)
  }

  for (const { nominated } of variants.slice(0, MAX_SHOWN)) {
    const differences = differingFields(nominated, request).map(difference)
    lines.push(`It is stored for a request that differs: ${differences.join('; ')}.`)
  }

  const found = bypass === undefined ? await findNearest(request, stored) : []
  const nearest = variants.length > 0 ? found.filter((name) => name !== asked) : found
  if (nearest.length > 0) lines.push('The nearest that are stored:')
  for (const name of nearest) {
    lines.push(`  ${name}${name === asked ? NOT_THE_SAME : ''}`)
  }
  lines.push(advice(request, bypass))
  return new NotStoredError(lines.join('\n'), request, nearest)
}

/** Why a request passes by in each mode; and of these, those that no rule for its URL changes. */
const UNRECORDED: ReadonlySet<Reason> = new Set(['content', 'request-too-large', 'upgrade'])
const WITHOUT_RULES: ReadonlySet<Reason> = new Set(['rule-failed', 'target'])

/** What to do about it. */
function advice({ url }: Pick<RequestMessage, 'url'>, bypass: Reason | undefined): string {
  if (bypass !== undefined && WITHOUT_RULES.has(bypass)) return 'It cannot be recorded.'
  if (bypass === undefined || !UNRECORDED.has(bypass)) {
    return "To record it, make this request once with mode: 'record' and this store; what is stored is listed by cache.urls()."
  }
  const pattern = inspect(URL.parse(url)?.host ?? '*')
  return `It cannot be recorded. To send it nevertheless: urlsExpireAfter: { ${pattern}: { mode: 'default' } }.`
}

/** How many variants, and how many others, are shown. */
const MAX_SHOWN = 3

/** How many stored responses are looked at, and how much of their URLs is compared, in characters. */
const MAX_LOOKED_AT = 1000
const MAX_COMPARED = 200

/** How much is shown of a value, in characters. */
const MAX_VALUE = 80

/** Why what is stored under the same name is not found. */
const NOT_THE_SAME = ' (with other content, or not for these terms: partitionBy, filter, shared, …)'

function difference([name, wanted, found]: readonly [string, string | null, string | null]) {
  const isSecret = [wanted, found].every((value) => value !== null && isDigest(value))
  // What is no field has a name that none can have.
  const told = name.replace(':', 'other ')
  return isSecret ? `${told} differs` : `${told} is ${shown(wanted)}, not ${shown(found)}`
}

function shown(value: string | null): string {
  if (value === null) return 'absent'
  if (isDigest(value)) return 'present'
  return JSON.stringify(value.length > MAX_VALUE ? `${value.slice(0, MAX_VALUE)}…` : value)
}

function named({ method, url }: Pick<RequestMessage, 'method' | 'url'>): string {
  return `${method} ${url}`
}

/** Of the stored responses of the same host those whose method and URL take the fewest edits. */
async function findNearest(
  request: RequestMessage,
  stored: AsyncIterable<Pick<Entry, 'method' | 'url'>>,
): Promise<readonly string[]> {
  const asked = named(request)
  const host = hostname(request.url)
  const distances = new Map<string, number>()
  let looked = 0
  try {
    for await (const response of stored) {
      const name = named(response)
      if (!distances.has(name) && hostname(response.url) === host)
        distances.set(name, editDistance(asked, name))
      looked += 1
      if (looked === MAX_LOOKED_AT) break
    }
  } catch {
    // A store that cannot list what it has, or fails, is no reason to say less of the rest.
  }
  return [...distances]
    .sort(([, a], [, b]) => a - b)
    .slice(0, MAX_SHOWN)
    .map(([name]) => name)
}

function hostname(url: string): string | undefined {
  return URL.parse(url)?.hostname
}

/** How many characters have to be inserted, deleted or replaced to make one text another (Levenshtein). */
export function editDistance(a: string, b: string): number {
  let start = 0
  while (start < a.length && a[start] === b[start]) start += 1
  const from = a.slice(start, start + MAX_COMPARED)
  const to = b.slice(start, start + MAX_COMPARED)
  let row = Array.from({ length: to.length + 1 }, (_, index) => index)
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= to.length; j += 1) {
      const replaced = (row[j - 1] as number) + (from[i - 1] === to[j - 1] ? 0 : 1)
      next[j] = Math.min(replaced, (row[j] as number) + 1, (next[j - 1] as number) + 1)
    }
    row = next
  }
  return row[to.length] as number
}
