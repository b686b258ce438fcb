/** The value of a dictionary's member, without its parameters (RFC 9651 §3.3); null where no directive has such a one. */
export type BareItem =
  | { readonly type: 'integer' | 'decimal' | 'date'; readonly value: number }
  | { readonly type: 'string' | 'token'; readonly value: string }
  | { readonly type: 'boolean'; readonly value: boolean }
  | { readonly type: 'bytes' | 'display-string' | 'inner-list'; readonly value: null }

// biome-ignore format: one rule a row
const BARE_ITEMS: readonly [syntax: RegExp, read: (text: string) => BareItem][] = [
  [/-?\d{1,12}\.\d{1,3}(?![\d.])/y, (text) => ({ type: 'decimal', value: Number(text) })],
  [/-?\d{1,15}(?![\d.])/y, (text) => ({ type: 'integer', value: Number(text) })],
  [/"(?:[ !#-[\]-~]|\\["\\])*"/y, (text) => ({ type: 'string', value: text.slice(1, -1).replace(/\\(.)/g, '$1') })],
  [/[A-Za-z*][\w!#$%&'*+.^`|~:/-]*/y, (text) => ({ type: 'token', value: text })],
  [/:[A-Za-z\d+/]*={0,2}:/y, () => ({ type: 'bytes', value: null })],
  [/\?[01]/y, (text) => ({ type: 'boolean', value: text === '?1' })],
  [/@-?\d{1,15}(?![\d.])/y, (text) => ({ type: 'date', value: Number(text.slice(1)) })],
  [/%"(?:[ !#$&-~]|%[\da-f]{2})*"/y, (text) => displayString(text.slice(2, -1))],
]

function displayString(text: string): BareItem {
  try {
    decodeURIComponent(text)
  } catch {
    throw new NotWellFormed()
  }
  return { type: 'display-string', value: null }
}

/** Thrown, and caught here, where a text is not what it should be. */
class NotWellFormed extends Error {}

/**
 * Parses a dictionary (RFC 9651 §4.2.2); undefined where the text is not one. Of members with the same
 * name the last counts. Parameters are read over.
 */
export function parseDictionary(text: string): ReadonlyMap<string, BareItem> | undefined {
  const scanner = new Scanner(text)
  const members = new Map<string, BareItem>()
  try {
    scanner.take(/ */y)
    while (!scanner.isAtEnd) {
      const name = scanner.expect(KEY)
      const item = scanner.take(/=/y) === undefined ? TRUE : itemOrInnerList(scanner)
      parameters(scanner)
      members.delete(name)
      members.set(name, item)
      scanner.take(/[ \t]*/y)
      if (scanner.isAtEnd) break
      scanner.expect(/,[ \t]*(?!$)/y)
    }
    return members
  } catch (error) {
    if (error instanceof NotWellFormed) return undefined
    throw error
  }
}

const KEY = /[a-z*][a-z\d_.*-]*/y

const TRUE: BareItem = { type: 'boolean', value: true }

function itemOrInnerList(scanner: Scanner): BareItem {
  if (scanner.take(/\( */y) === undefined) return bareItem(scanner)
  while (scanner.take(/\)/y) === undefined) {
    bareItem(scanner)
    parameters(scanner)
    scanner.expect(/ +|(?=\))/y)
  }
  return { type: 'inner-list', value: null }
}

function parameters(scanner: Scanner): void {
  while (scanner.take(/; */y) !== undefined) {
    scanner.expect(KEY)
    if (scanner.take(/=/y) !== undefined) bareItem(scanner)
  }
}

function bareItem(scanner: Scanner): BareItem {
  for (const [syntax, read] of BARE_ITEMS) {
    const text = scanner.take(syntax)
    if (text !== undefined) return read(text)
  }
  throw new NotWellFormed()
}

class Scanner {
  readonly #text: string
  #position = 0

  constructor(text: string) {
    this.#text = text
  }

  get isAtEnd(): boolean {
    return this.#position === this.#text.length
  }

  /** What matches a sticky expression here, read over; undefined where nothing does. */
  take(syntax: RegExp): string | undefined {
    syntax.lastIndex = this.#position
    const match = syntax.exec(this.#text)?.[0]
    this.#position += match?.length ?? 0
    return match
  }

  expect(syntax: RegExp): string {
    const match = this.take(syntax)
    if (match === undefined) throw new NotWellFormed()
    return match
  }
}
