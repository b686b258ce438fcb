import type { NotStored } from '../rfc9111/storing.ts'
import { type Saving, store } from '../save.ts'
import type { Terms } from '../terms.ts'
import { type HarSource, readHarEntries } from './read.ts'
import { type HarSkip, readHarEntry } from './saved.ts'

/** Why an entry of a HAR is not stored: for what it is, or by the rules for storing. */
export type HarSkipReason = HarSkip | NotStored | 'method'

/** What has become of the entries of a HAR. */
export interface HarImportResult {
  /** How many responses were stored. Of those for the same request the last one is there. */
  readonly imported: number
  /** How many entries were not, by the reason. */
  readonly skipped: { readonly [Reason in HarSkipReason]?: number }
}

/** How a HAR is imported. */
export interface Importing {
  readonly terms: Terms
  readonly matchFields: boolean
  readonly signal: AbortSignal | undefined
  readonly onSkip: ((url: string | undefined, reason: HarSkipReason) => void) | undefined
}

/** Stores the responses of a HAR. */
export async function importHar(
  saving: Saving,
  source: HarSource,
  { terms, matchFields, signal, onSkip }: Importing,
): Promise<HarImportResult> {
  let imported = 0
  const skipped: { [Reason in HarSkipReason]?: number } = {}
  for await (const entry of readHarEntries(source)) {
    signal?.throwIfAborted()
    const saved = readHarEntry(entry, matchFields)
    const reason =
      typeof saved === 'string'
        ? saved
        : await store(saving, saved.request, saved.response, terms, saved)
    if (reason === undefined) imported += 1
    else {
      skipped[reason] = (skipped[reason] ?? 0) + 1
      onSkip?.(typeof saved === 'string' ? urlOf(entry) : saved.request.url, reason)
    }
  }
  return { imported, skipped }
}

function urlOf(entry: unknown): string | undefined {
  const url = (entry as { request?: { url?: unknown } } | null)?.request?.url
  return typeof url === 'string' ? url : undefined
}
