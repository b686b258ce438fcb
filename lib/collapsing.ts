import { after } from './awaitable.ts'
import type { Flight, FlightOutcome } from './handlers/flights.ts'
import { digest } from './key.ts'
import type { Lookup } from './lookup.ts'
import { reuse } from './rfc9111/reuse.ts'
import { type Leases, MAX_LEASE, type Use } from './storage/leases.ts'

/**
 * Agrees with other processes that this one asks the origin, so that those that want the same wait for its answer.
 *
 * @param isForSome tells later on whether the answer is for requests with the fields that its `Vary` names only
 * @returns the flight of the request; undefined where it need not be sent any more: the answer to another one has
 * come into the store, or the request is over
 */
export async function holdLease(
  lookup: Lookup,
  leases: Leases,
  flight: Flight,
  isForSome: () => boolean,
): Promise<Flight | 'answered' | undefined> {
  const { caching, control, cacheKey, flightKey, request, terms } = lookup
  const { responses } = caching.cache
  const isOver = () => control.finished
  let hasLooked = false
  const isAnswered = async () => {
    if (hasLooked) lookup.resetPatience()
    hasLooked = true
    responses.forgetMemory(cacheKey)
    const { action } = reuse(request, await lookup.find(), Date.now(), terms)
    return action === 'reuse' || action === 'reuse-and-validate'
  }
  const within = lookup.within.bind(lookup)
  const held = await leases
    .agree(digest([flightKey]), isAnswered, isOver, within)
    .catch((error: unknown) => {
      flight.settle('failed')
      throw error
    })
  if (held === 'answered') {
    flight.settle('answered')
    return 'answered'
  }
  const settle = (outcome: FlightOutcome) => {
    flight.settle(outcome)
    const isStored = outcome === 'answered' ? responses.quiet(cacheKey, MAX_LEASE) : undefined
    void after(isStored, () => held?.give(useOf(outcome, isForSome())))
  }
  if (!isOver()) return { ...flight, settle }
  settle('aborted')
  return undefined
}

/** For whom the answer is that a request has got. */
function useOf(outcome: FlightOutcome, isForSome: boolean): Use {
  if (outcome === 'unusable') return 'nobody'
  // After a failure those that wait ask at the same time, too.
  return outcome === 'failed' || (outcome === 'answered' && isForSome) ? 'some' : 'everybody'
}
