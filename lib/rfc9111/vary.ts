import { CREDENTIALS, fieldValue, listMembers } from './fields.ts'
import type {
  Fields,
  Nominated,
  RequestMessage,
  ResponseMessage,
  StoredResponse,
} from './message.ts'

/**
 * §4.1: the request fields that `Vary` nominates, lower-case; '*' where no request can match. A content
 * coding nominates `Accept-Encoding` even where `Vary` does not: who did not ask for it could not decode it.
 */
export function nominatedNames(response: Pick<ResponseMessage, 'fields'>): string[] | '*' {
  const { fields } = response
  const names = listMembers(fieldValue(fields, 'vary') ?? '').map((name) => name.toLowerCase())
  if (names.includes('*')) return '*'
  return [...new Set([...names, ...impliedNames(response)])].sort()
}

/** The request fields that are nominated even where `Vary` does not name them. */
export function impliedNames({ fields }: Pick<ResponseMessage, 'fields'>): string[] {
  return fields['content-encoding'] === undefined ? [] : ['accept-encoding']
}

/** The values of nominated fields in a request, normalised; `null` where a field is absent. */
export function nominate(names: readonly string[], request: RequestMessage): Nominated {
  return Object.fromEntries(names.map((name) => [name, normalised(request.fields, name)]))
}

/** §4.1: whether a request has the same nominated fields as the request that a response was stored for. */
export function nominatedMatch(nominated: Nominated, request: RequestMessage): boolean {
  for (const name in nominated) {
    if (nominated[name] === null && request.fields[name] === undefined) continue
    if (normalised(request.fields, name) !== nominated[name]) return false
  }
  return true
}

/**
 * Whether a request has the same nominated fields as the request that a response was stored for, except that
 * it accepts other content codings: among them those of the response (RFC 9110 §12.5.3). A request that says
 * nothing of codings could not decode any.
 */
export function matchesButForCodings(
  { fields, nominated }: Pick<StoredResponse, 'fields' | 'nominated'>,
  request: RequestMessage,
): boolean {
  const { 'accept-encoding': _, ...others } = nominated
  const accepted = listMembers(fieldValue(request.fields, 'accept-encoding') ?? '')
  const weights = new Map(
    accepted.map((member) => preference(member, false)).map(({ text, weight }) => [text, weight]),
  )
  const codings = listMembers(fieldValue(fields, 'content-encoding') ?? '').map(lowerCase)
  const isAccepted = (coding: string) =>
    coding === 'identity' || (weights.get(coding) ?? weights.get('*') ?? 0) > 0
  return nominatedMatch(others, request) && codings.every(isAccepted)
}

/** The nominated fields in which a request differs: name, value of the request it was stored for, its own. */
export function differingFields(
  nominated: Nominated,
  request: RequestMessage,
): (readonly [name: string, stored: string | null, asked: string | null])[] {
  return Object.entries(nominated)
    .map(([name, value]) => [name, value, normalised(request.fields, name)] as const)
    .filter(([, stored, asked]) => stored !== asked)
}

/**
 * Whether a stored response differs from what a request asks for by no more than preferences, so that the
 * origin may say that it is what it would send: not by credentials, nor by content codings (§4.3.1).
 */
export function differsByNegotiation(
  stored: Pick<StoredResponse, 'fields' | 'nominated'>,
  request: RequestMessage,
  partitionBy: readonly string[],
): boolean {
  const codings = impliedNames(stored)
  return Object.entries(stored.nominated).every(
    ([name, value]) =>
      normalised(request.fields, name) === value ||
      ![...CREDENTIALS, ...partitionBy, ...codings].includes(name),
  )
}

/** The fields of content negotiation (RFC 9110 §12.5): lists of tokens with weights, in any case. */
const NEGOTIATION = new Set(['accept', 'accept-charset', 'accept-encoding', 'accept-language'])

/** White space around list members has no meaning (§4.1); what else has none depends on the field. */
function normalised(fields: Fields, name: string): string | null {
  const value = fieldValue(fields, name)
  if (value === undefined) return null
  const members = listMembers(value)
  return (NEGOTIATION.has(name) ? preferences(members, name) : members).join(',')
}

/**
 * Preferences in the order of their weights (RFC 9110 §12.4.2). Among those of equal weight the order
 * has no meaning, except that some origins take it for one among languages (§12.5.4).
 */
function preferences(members: readonly string[], field: string): string[] {
  const weighted = members.map((member) => preference(member, field === 'accept'))
  const isOrdered = field === 'accept-language'
  weighted.sort(
    (a, b) =>
      b.weight - a.weight || (isOrdered || a.text === b.text ? 0 : a.text < b.text ? -1 : 1),
  )
  return weighted.map(({ text, weight }) => (weight === 1 ? text : `${text};q=${weight}`))
}

/**
 * A preference without white space, and without case except in the values of a media type's parameters
 * (RFC 9110 §5.6.6); and its weight. One that is malformed is left as it is.
 */
function preference(member: string, isMediaType: boolean): { text: string; weight: number } {
  const plain = member.replace(/"(?:\\.|[^"\\])*"|[^"]+/g, (part) => {
    if (part.startsWith('"')) return part
    const text = part.replace(/\s*([;=])\s*/g, '$1')
    return isMediaType ? text.replace(/(^|;)[^=]+/g, lowerCase) : text.toLowerCase()
  })
  const [, text, weight] = /^(.*);q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/i.exec(plain) ?? []
  const isWeighted = text !== undefined && !text.replace(QUOTED, '').includes(';q=')
  return isWeighted ? { text, weight: Number(weight) } : { text: plain, weight: 1 }
}

const QUOTED = /"(?:\\.|[^"\\])*"/g

function lowerCase(text: string): string {
  return text.toLowerCase()
}
