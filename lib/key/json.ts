/** What stands for a member of JSON whose value does not matter; no JSON is like this. */
export const IGNORED_MEMBER = '<>'

/** How deep JSON may be nested for its members to have no order. */
const MAX_DEPTH = 256

/** Of valid JSON: white space, and then a string, a mark, or a number or name. */
const TOKEN = /\s*("[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+)/y

/**
 * Told of each value that is a member or an element: where it is for the moment, and what it is as text,
 * which is empty for objects and arrays.
 *
 * @returns whether the value does not matter
 */
export type Visit = (path: readonly string[], text: () => string) => boolean

/**
 * JSON as it counts for the key: without white space, and the members of each object in the order of their
 * names. Arrays keep their order, members of one name that of theirs, and numbers all their digits: `1` is
 * not `1.0`. Undefined where a text is no JSON, or nested too deep.
 */
export function normaliseJson(text: string, visit: Visit): string | undefined {
  try {
    JSON.parse(text)
    return new Normaliser(text, visit).value()
  } catch {
    return undefined
  }
}

/** Reads a text that is known to be JSON. */
class Normaliser {
  readonly #text: string
  readonly #visit: Visit
  readonly #path: string[] = []
  #position = 0

  constructor(text: string, visit: Visit) {
    this.#text = text
    this.#visit = visit
  }

  #next(): string {
    TOKEN.lastIndex = this.#position
    const [all = '', token = ''] = TOKEN.exec(this.#text) ?? []
    this.#position += all.length
    return token
  }

  value(): string {
    if (this.#path.length > MAX_DEPTH) throw new RangeError('nested too deep')
    const token = this.#next()
    if (token === '{') return this.#visited(this.#object(), () => '')
    if (token === '[') return this.#visited(this.#array(), () => '')
    const simple = simpleValue(token)
    return this.#visited(simple, () => textOf(simple))
  }

  #visited(normal: string, text: () => string): string {
    return this.#path.length > 0 && this.#visit(this.#path, text) ? IGNORED_MEMBER : normal
  }

  /** The value that is next, which is somewhere in the present one. */
  #inner(name: string): string {
    this.#path.push(name)
    const value = this.value()
    this.#path.pop()
    return value
  }

  #object(): string {
    const members: { name: string; value: string }[] = []
    for (let token = this.#next(); token !== '}'; token = this.#next()) {
      if (token === ',') continue
      const name = simpleValue(token)
      // The colon.
      this.#next()
      members.push({ name, value: this.#inner(textOf(name)) })
    }
    members.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    return `{${members.map(({ name, value }) => `${name}:${value}`).join()}}`
  }

  #array(): string {
    const elements: string[] = []
    for (;;) {
      const before = this.#position
      const token = this.#next()
      if (token === ']') return `[${elements.join()}]`
      if (token !== ',') this.#position = before
      elements.push(this.#inner(String(elements.length)))
    }
  }
}

/** A string without needless escapes; anything else is as it is. */
function simpleValue(token: string): string {
  return token.includes('\\') ? JSON.stringify(JSON.parse(token)) : token
}

function textOf(simple: string): string {
  return simple.startsWith('"') ? (JSON.parse(simple) as string) : simple
}
