/** Numbers from 0 up to 1, always the same ones after the same seed. */
export type Random = () => number

let next: Random = Math.random

/** From now on, {@link random} is what it is after a seed. */
export function seedRandom(seed: number): void {
  next = randomFrom(seed)
}

/** A number from 0 up to 1: a process that begins with the same seed does the same, as far as it is up to it. */
export function random(): number {
  return next()
}

/** By the mulberry32 algorithm: what was random once can be so again. */
export function randomFrom(seed: number): Random {
  let state = Math.imul(seed + 1, 0x9e3779b9)
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
