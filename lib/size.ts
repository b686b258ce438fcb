import { inspect } from 'node:util'

/** A number of bytes, or a text with its unit, such as `'64 MiB'` or `'1GB'`. */
export type Size = number | string

const UNITS: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
}

/**
 * Understands a size.
 *
 * @param option the name of the option, for the error
 * @returns bytes; `Infinity` for no limit
 * @throws TypeError where the value is not a size
 */
export function parseSize(value: unknown, option: string): number {
  const bytes = typeof value === 'string' ? sizeOf(value) : value
  if (typeof bytes === 'number' && bytes >= 1) return Math.floor(bytes)
  throw new TypeError(
    `${option}: expected a number of bytes (1 or more, Infinity for no limit) or a size such as "64MiB" or "1 GB", got ${inspect(value)}`,
  )
}

/**
 * Understands a limit of a number of things.
 *
 * @param option the name of the option, for the error
 * @throws TypeError where the value is not a whole number above 0, or `Infinity`
 */
export function parseCount(value: unknown, option: string): number {
  if (typeof value === 'number' && value > 0 && (Number.isInteger(value) || value === Infinity)) {
    return value
  }
  throw new TypeError(
    `${option}: expected a whole number above 0, or Infinity for no limit, got ${inspect(value)}`,
  )
}

function sizeOf(text: string): number | undefined {
  const [, number, unit = ''] = /^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$/i.exec(text) ?? []
  const factor = UNITS[unit.toLowerCase()]
  return number === undefined || factor === undefined ? undefined : Number(number) * factor
}
