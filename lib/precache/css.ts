const COMMENT = String.raw`\/\*[\s\S]*?(?:\*\/|$)`
const STRING = String.raw`"[^"\\\n]*(?:\\[\s\S][^"\\\n]*)*"|'[^'\\\n]*(?:\\[\s\S][^'\\\n]*)*'`
/** Names something by a URL, and loads nothing (CSS Namespaces §2). */
const NAMESPACE = String.raw`@namespace\b(?:${STRING}|[^;{"'])*`
const ESCAPE = String.raw`\\(?:[\da-f]{1,6}\s|[^\n])`
const UNQUOTED = String.raw`(?:[^\s"'()\\]|${ESCAPE})[^\s"'()\\]*(?:${ESCAPE}[^\s"'()\\]*)*`

/**
 * What a style sheet is made of, as far as it matters where its URLs are (CSS Syntax §4): comments, names,
 * and strings that are something else, hide what is in them.
 */
const TOKEN = new RegExp(
  String.raw`${COMMENT}|${NAMESPACE}|(@import\s*)?(${STRING})|(?<![\w-])url\(\s*(${STRING}|${UNQUOTED})\s*\)`,
  'gi',
)

/** The URLs that a style sheet loads: those of `url()` and of `@import`. */
export function cssUrls(css: string): string[] {
  return [...css.matchAll(TOKEN)].flatMap(([, atImport, text, ofFunction]) => {
    const url = unescaped(ofFunction ?? (atImport && text) ?? '')
    return url === '' ? [] : [url]
  })
}

/** The text of a string or of an unquoted URL (CSS Syntax §4.3.7). */
function unescaped(token: string): string {
  const text = /^["']/.test(token) ? token.slice(1, -1) : token
  return text.replace(
    /\\(?:([\da-f]{1,6})\s?|\n|([\s\S]))/gi,
    (_, code?: string, character = '') => {
      if (code === undefined) return character
      const point = Number.parseInt(code, 16)
      return point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : '\ufffd'
    },
  )
}
