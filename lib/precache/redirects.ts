/** How many redirects are followed one after the other, as by fetch. */
export const MAX_HOPS = 20

const REDIRECTS = new Set([301, 302, 303, 307, 308])

/** Whether a response only tells where to go instead. */
export function isRedirect({ status }: Response): boolean {
  return REDIRECTS.has(status)
}

/**
 * Where a redirect leads, without its fragment.
 *
 * @param hops how many have led to it
 * @throws Error where it leads nowhere, or there have been too many
 */
export function targetOf({ headers }: Response, url: string, hops: number): string {
  const location = headers.get('location')
  const target = location === null ? undefined : urlOf(location, url)
  if (target === undefined) throw new Error(`redirect to ${location ?? 'nowhere'}`)
  if (hops >= MAX_HOPS) throw new Error('too many redirects')
  return target
}

/** An absolute http or https URL without its fragment; undefined where it is none. */
export function urlOf(text: string, base: string): string | undefined {
  const url = URL.parse(text, base)
  if (url === null || !/^https?:$/.test(url.protocol)) return undefined
  url.hash = ''
  return url.href
}
