/**
 * The URLs of the image candidates of a `srcset` (HTML §4.8.4.3.10). A comma ends a candidate only at the
 * end of its URL or after its descriptors: a URL may have commas inside.
 */
export function srcsetUrls(srcset: string): string[] {
  const urls: string[] = []
  const candidate = /[\t\n\f\r ,]*([^\t\n\f\r ,][^\t\n\f\r ]*)/y
  const descriptors = /[^,(]*(?:\([^)]*\)?[^,(]*)*/y
  for (let found = candidate.exec(srcset); found !== null; found = candidate.exec(srcset)) {
    const [, word = ''] = found
    const url = word.replace(/,+$/, '')
    urls.push(url)
    if (url !== word) continue
    descriptors.lastIndex = candidate.lastIndex
    descriptors.exec(srcset)
    candidate.lastIndex = descriptors.lastIndex
  }
  return urls
}
