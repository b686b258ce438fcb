import { Pace } from './storage/pace.ts'

/** How many strings are sorted in one go. */
const RUN = 2000

/** How many are merged before others get a turn, if they need one. */
const STEP = 1000

/** Sorts strings, of which there may be very many, without keeping anybody else waiting. */
export async function sortStrings(strings: Iterable<string>): Promise<string[]> {
  const pace = new Pace()
  const all = [...strings]
  let runs: string[][] = []
  for (let start = 0; start < all.length; start += RUN) {
    runs.push(all.slice(start, start + RUN).sort())
    await pace.rest()
  }
  while (runs.length > 1) {
    const merged: string[][] = []
    for (let index = 0; index < runs.length; index += 2) {
      merged.push(await merge(runs[index] ?? [], runs[index + 1] ?? [], pace))
    }
    runs = merged
  }
  return runs[0] ?? []
}

async function merge(left: string[], right: string[], pace: Pace): Promise<string[]> {
  if (right.length === 0) return left
  const merged: string[] = []
  let [atLeft, atRight] = [0, 0]
  while (atLeft < left.length || atRight < right.length) {
    const [one, other] = [left[atLeft], right[atRight]]
    if (other === undefined || (one !== undefined && one <= other)) {
      merged.push(one as string)
      atLeft += 1
    } else {
      merged.push(other)
      atRight += 1
    }
    if (merged.length % STEP === 0) await pace.rest()
  }
  return merged
}
