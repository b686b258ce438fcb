/** What a robots.txt says to one crawler (RFC 9309). */
export interface Robots {
  /** Whether the crawler may request a URL of the origin. */
  isAllowed(url: URL): boolean
  /** The time between two requests that `Crawl-delay` asks for, in milliseconds. */
  readonly delay: number
}

interface Rule {
  readonly isAllowing: boolean
  readonly length: number
  matches(path: string): boolean
}

interface Group {
  readonly rules: Rule[]
  delay: number
}

/** How much of a robots.txt is read, in characters (§2.5). */
export const MAX_ROBOTS_LENGTH: number = 500 * 1024

/** Where everything is allowed. */
export const ALL_ALLOWED: Robots = { isAllowed: () => true, delay: 0 }

/**
 * Understands a robots.txt; lines that cannot be understood are none.
 *
 * @param product the crawler's product token (§2.2.1)
 */
export function parseRobots(text: string, product: string): Robots {
  const groups = new Map<string, Group>()
  let current: Group[] = []
  let isNaming = false
  // Half a line may mean something else.
  const end =
    text.length > MAX_ROBOTS_LENGTH ? text.lastIndexOf('\n', MAX_ROBOTS_LENGTH) : undefined
  for (const line of text
    .slice(0, end)
    .replace(/^\ufeff/, '')
    .split(/[\r\n]+/)) {
    const [name, value] = readLine(line)
    switch (name) {
      case 'user-agent': {
        if (!isNaming) current = []
        isNaming = true
        // The groups for one crawler are one.
        const token = (/^(?:\*|[\w-]+)/.exec(value)?.[0] ?? '').toLowerCase()
        const group = groups.get(token) ?? { rules: [], delay: 0 }
        groups.set(token, group)
        current.push(group)
        break
      }
      case 'allow':
      case 'disallow': {
        isNaming = false
        if (value === '') break
        const rule = compileRule(value, name === 'allow')
        for (const { rules } of current) rules.push(rule)
        break
      }
      case 'crawl-delay': {
        isNaming = false
        const seconds = Number(value)
        for (const group of current) if (seconds > 0) group.delay = seconds * 1000
        break
      }
    }
  }
  const group = groups.get(product.toLowerCase()) ?? groups.get('*')
  return group
    ? { isAllowed: (url) => isAllowed(group.rules, url), delay: group.delay }
    : ALL_ALLOWED
}

/** The name of a line, in lower case, and its value without the comment. */
function readLine(line: string): [name: string, value: string] {
  const [text = ''] = line.split('#', 1)
  const colon = text.indexOf(':')
  return [text.slice(0, Math.max(colon, 0)).trim().toLowerCase(), text.slice(colon + 1).trim()]
}

/** §2.2.2: the longest match decides; of two equally long ones the one that allows. */
function isAllowed(rules: readonly Rule[], { pathname, search }: URL): boolean {
  const path = normalized(pathname + search)
  let decisive: Rule | undefined
  for (const rule of rules) {
    const isWeightier =
      decisive === undefined ||
      rule.length > decisive.length ||
      (rule.length === decisive.length && rule.isAllowing)
    if (isWeightier && rule.matches(path)) decisive = rule
  }
  return decisive?.isAllowing ?? true
}

/** §2.2.3: `*` stands for anything, `$` at the end for the end. */
function compileRule(pattern: string, isAllowing: boolean): Rule {
  const isAnchored = pattern.endsWith('$')
  const octets = normalized(pattern)
  const [first = '', ...parts] = (isAnchored ? octets.slice(0, -1) : octets).split('*')
  const last = isAnchored ? parts.pop() : undefined
  return {
    isAllowing,
    length: octets.length,
    matches(path) {
      if (isAnchored && last === undefined) return path === first
      if (!path.startsWith(first)) return false
      let position = first.length
      for (const part of parts) {
        const found = path.indexOf(part, position)
        if (found === -1) return false
        position = found + part.length
      }
      return last === undefined || (path.endsWith(last) && path.length - last.length >= position)
    },
  }
}

/** §2.2.2: percent-encoded where it has to be, and only there, so that what is equal looks equal. */
function normalized(path: string): string {
  return path
    .toWellFormed()
    .replace(/[^\x21-\x7e]+/g, encodeURIComponent)
    .replace(/%[\da-f]{2}/gi, (octet) => {
      const character = String.fromCharCode(Number.parseInt(octet.slice(1), 16))
      return /[\w.~-]/.test(character) ? character : octet.toUpperCase()
    })
}
