/** A parameter of a query, or a field of a form, as it is written: without a value there is no `=` either. */
export interface Pair {
  readonly name: string
  readonly value: string | undefined
}

/** What stands for a value that does not matter; no value is written like this. */
export const IGNORED_VALUE = '<>'

/** The pairs of a query or of `application/x-www-form-urlencoded` content, which separates them with `&`. */
export function pairsOf(text: string): Pair[] {
  const pairs: Pair[] = []
  for (const part of text.split('&')) {
    const end = part.indexOf('=')
    if (part === '') continue
    if (end === -1) pairs.push({ name: part, value: undefined })
    else pairs.push({ name: part.slice(0, end), value: part.slice(end + 1) })
  }
  return pairs
}

/** Pairs in the order of their names; those of one name in their own. */
export function joinPairs(pairs: readonly Pair[]): string {
  return [...pairs]
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map(({ name, value }) => (value === undefined ? name : `${name}=${value}`))
    .join('&')
}

/** A name or a value as its reader understands it. */
export function decodeComponent(text: string): string {
  return Buffer.from(bytesOf(text), 'latin1').toString()
}

/**
 * The pairs of `application/x-www-form-urlencoded` content, each byte of their names and values written in
 * one way only.
 *
 * @param content its bytes as latin1
 */
export function formPairs(content: string): Pair[] {
  return pairsOf(content).map(({ name, value }) => ({
    name: encodeBytes(bytesOf(name)),
    value: value === undefined ? undefined : encodeBytes(bytesOf(value)),
  }))
}

/** The bytes that a component stands for, as latin1. */
function bytesOf(text: string): string {
  return text
    .replaceAll('+', ' ')
    .replace(/%([\da-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

function encodeBytes(bytes: string): string {
  return bytes.replace(
    /[^\w.~-]/g,
    (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`,
  )
}
