import type { Identities } from './identities.ts'
import type { ParsedQuery } from './query.ts'
import { hideValues, REDACTED } from './redaction.ts'
import { isRetrieval } from './rfc9111/message.ts'
import type { Rules } from './rules.ts'
import type { Entry } from './storage/entry.ts'
import { Pace } from './storage/pace.ts'
import type { Responses } from './storage/responses.ts'
import type { Summary } from './storage/summary.ts'

/** What became of stored responses whose keys were made anew. */
export interface RekeyResult {
  /** How many have another key now. */
  readonly moved: number
  /** How many had the right one. */
  readonly unchanged: number
  /**
   * How many keep theirs, because of what it was made of not all is stored: content or fields of the
   * request, values that are neither stored nor told, or what a function of the user's said.
   */
  readonly unknown: number
}

/** Makes the keys of the responses anew that a query means, by the rules for requests as they are now. */
export async function rekeyResponses(
  responses: Responses,
  identities: Identities,
  rules: Rules,
  query: ParsedQuery,
  now: number,
): Promise<RekeyResult> {
  const result = { moved: 0, unchanged: 0, unknown: 0 }
  const pace = new Pace()
  // What has been moved must not be found once more.
  const all: ParsedQuery = { ...query, sort: query.sort ?? 'url' }
  for await (const some of responses.management.select(all, now)) {
    for (const summary of some) {
      const outcome = await rekey(summary)
      if (outcome) result[outcome] += 1
      await pace.rest()
    }
  }
  return result

  async function rekey(summary: Summary): Promise<keyof RekeyResult | undefined> {
    const { method, url, cacheKey } = summary
    const target = new URL(url)
    const asked = { method, target, server: undefined, fields: {} }
    const terms = rules.termsFor(target, undefined)
    const identity = await identities.identify(asked, terms, undefined, identities.madeSecret)
    if (identity.cacheKey === cacheKey) return 'unchanged'
    const isTold = isRetrieval(method) && !target.search.includes(`=${REDACTED}`)
    if (!isTold || !identities.isPlain(summary)) return 'unknown'
    const change = (entry: Entry): Entry => {
      const fields = hideValues(entry.fields, identity.hidden)
      const isHidden = fields !== entry.fields
      const { cacheKey: key, url: told } = identity
      return {
        ...entry,
        cacheKey: key,
        url: told,
        fields,
        ...(isHidden && { hasHiddenValues: true }),
      }
    }
    return (await responses.management.move(summary, identity.cacheKey, change))
      ? 'moved'
      : undefined
  }
}
