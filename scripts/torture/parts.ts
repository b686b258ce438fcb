import type { Tally } from './tally.ts'

export interface Settings {
  /** For how long the part is to go on, without what comes before and after. */
  readonly seconds: number
  /** How many client processes there are. */
  readonly clients: number
  /** Where what is random begins. */
  readonly seed: number
  /** Where files may be put. */
  readonly folder: string
}

/** A part of the torture. */
export type Part = (settings: Settings) => Promise<Tally[]>
