import type { AgentOptions } from 'caching-agent'
import type { Tally } from './tally.ts'

export interface Settings {
  /** For how long the part is to go on, without what comes before and after. */
  readonly seconds: number
  /** How many client processes there are. */
  readonly clients: number
  /** Where what is random begins. */
  readonly seed: number
  /** Whether what is stored is compressed and encrypted. */
  readonly isSealed: boolean
  /** How many times as long as here things may take. */
  readonly slowness: number
  /** Where files may be put. */
  readonly folder: string
}

/** A part of the torture. */
export type Part = (settings: Settings) => Promise<Tally[]>

/** Two keys: records under both can be read by whoever has both. */
const KEYS = { old: '0f'.repeat(32), new: 'f0'.repeat(32) }

const ALGORITHMS = ['zstd', 'brotli', 'gzip', undefined] as const

/** The options by which a client seals what it stores: each in a way of its own, which all others can read. */
export function sealing(isSealed: boolean, slot = 0): AgentOptions {
  if (!isSealed) return {}
  const compress = ALGORITHMS[slot % ALGORITHMS.length]
  const encrypt = { keys: KEYS, current: slot % 2 === 0 ? 'new' : 'old' }
  return { encrypt, ...(compress && { compress }) }
}
