/** Of how many texts the result is remembered. */
const MAX_TEXTS = 1000

/** Longer texts are rare, and take more memory than time. */
const MAX_LENGTH = 1000

/**
 * A function of a text that remembers its results, as the same texts come again and again. They must not be
 * changed.
 */
export function remembering<T>(calculate: (text: string) => T): (text: string) => T {
  const known = new Map<string, T>()
  return (text) => {
    const found = known.get(text)
    if (found !== undefined) return found
    const result = calculate(text)
    if (text.length > MAX_LENGTH) return result
    if (known.size >= MAX_TEXTS) known.clear()
    known.set(text, result)
    return result
  }
}
