import { fieldValue } from './fields.ts'
import type { RequestMessage, ResponseMessage } from './message.ts'

/** The methods that are registered as safe (RFC 9110 §16.1.1). Any other may change the resource. */
const SAFE_METHODS = new Set([
  'GET',
  'HEAD',
  'OPTIONS',
  'PRI',
  'PROPFIND',
  'QUERY',
  'REPORT',
  'SEARCH',
  'TRACE',
])

/**
 * §4.4: the URIs whose stored responses an answer invalidates: after an unsafe method succeeded, the
 * target URI and those of `Location` and `Content-Location` if they are of the same origin.
 */
export function invalidatedUrls(request: RequestMessage, response: ResponseMessage): string[] {
  if (SAFE_METHODS.has(request.method) || response.status < 200 || response.status > 399) return []
  const target = new URL(request.url)
  const named = ['location', 'content-location']
    .map((name) => fieldValue(response.fields, name))
    .filter((value) => value !== undefined && URL.canParse(value, target.href))
    .map((value) => new URL(value as string, target))
    .filter((url) => url.origin === target.origin)
  return [...new Set([target, ...named].map((url) => withoutFragment(url)))]
}

function withoutFragment(url: URL): string {
  const copy = new URL(url)
  copy.hash = ''
  return copy.href
}
