import { fieldValue, listMembers } from './fields.ts'
import type { Fields, Nominated, RequestMessage, ResponseMessage } from './message.ts'

/**
 * §4.1: the request fields that `Vary` nominates, lower-case; '*' where no request can match. A content
 * coding nominates `Accept-Encoding` even where `Vary` does not: who did not ask for it could not decode it.
 */
export function nominatedNames(response: Pick<ResponseMessage, 'fields'>): string[] | '*' {
  const { fields } = response
  const names = listMembers(fieldValue(fields, 'vary') ?? '').map((name) => name.toLowerCase())
  if (names.includes('*')) return '*'
  const implied = fields['content-encoding'] === undefined ? [] : ['accept-encoding']
  return [...new Set([...names, ...implied])].sort()
}

/** The values of nominated fields in a request, normalised; `null` where a field is absent. */
export function nominate(names: readonly string[], request: RequestMessage): Nominated {
  return Object.fromEntries(names.map((name) => [name, normalised(request.fields, name)]))
}

/** §4.1: whether a request has the same nominated fields as the request that a response was stored for. */
export function nominatedMatch(nominated: Nominated, request: RequestMessage): boolean {
  return Object.entries(nominated).every(
    ([name, value]) => normalised(request.fields, name) === value,
  )
}

/** The fields of content negotiation (RFC 9110 §12.5): lists of tokens with parameters, in any case. */
const NEGOTIATION = new Set(['accept', 'accept-charset', 'accept-encoding', 'accept-language'])

/** White space around list members has no meaning (§4.1); what else has none depends on the field. */
function normalised(fields: Fields, name: string): string | null {
  const value = fieldValue(fields, name)
  if (value === undefined) return null
  const text = listMembers(value).join(',')
  if (!NEGOTIATION.has(name)) return text
  return text.replace(/"(?:\\.|[^"\\])*"|[^"]+/g, (part) =>
    part.startsWith('"') ? part : part.replace(/\s*([;=])\s*/g, '$1').toLowerCase(),
  )
}
