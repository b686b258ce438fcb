import { fieldValue, isToken, listMembers, parseDeltaSeconds } from './fields.ts'
import type { Fields, RequestMessage, ResponseFields } from './message.ts'
import { remembering } from './remembering.ts'
import { type BareItem, parseDictionary } from './structured-fields.ts'

/** The directives of a message by lower-case name; '' where one has no argument. */
export type Directives = ReadonlyMap<string, string>

/** Those of a message that has none. */
const NONE: Directives = new Map()

/**
 * Parses `Cache-Control` (§5.2): names in any case, arguments as token or quoted string, white space
 * tolerated around `=`. Of a directive that is repeated the first occurrence counts (§4.2.1), unless
 * it is one whose argument narrows it: then all occurrences do.
 */
export function parseCacheControl(fields: Fields): Directives {
  const value = fieldValue(fields, 'cache-control')
  return value === undefined ? NONE : directivesOf(value)
}

const directivesOf = remembering((value: string): Directives => {
  const directives = new Map<string, string>()
  for (const member of listMembers(value)) {
    const equals = member.indexOf('=')
    const name = (equals === -1 ? member : member.slice(0, equals)).trim().toLowerCase()
    const argument = equals === -1 ? '' : unquote(member.slice(equals + 1).trim())
    const first = directives.get(name)
    if (first === undefined) directives.set(name, argument)
    else if (NARROWED.has(name)) directives.set(name, first && argument && `${first},${argument}`)
  }
  directives.delete('')
  return directives
})

function unquote(argument: string): string {
  if (argument.length < 2 || !argument.startsWith('"') || !argument.endsWith('"')) return argument
  return argument.slice(1, -1).replace(/\\(.)/g, '$1')
}

/** §5.2.2.4 and §5.2.2.7: directives that concern only some fields where they name them. */
const NARROWED = new Set(['no-cache', 'private'])

/**
 * The fields that a directive is narrowed to (§5.2.2.4, §5.2.2.7), lower-case; none where it is absent or
 * concerns the whole response. What is no list of names narrows nothing.
 */
export function namedFields(
  directives: Directives,
  name: 'no-cache' | 'private',
): readonly string[] {
  const names = listMembers(directives.get(name)?.toLowerCase() ?? '')
  return names.every(isToken) ? names : []
}

/** Whether a directive that may be narrowed to some fields concerns the whole response. */
export function concernsAll(directives: Directives, name: 'no-cache' | 'private'): boolean {
  return directives.has(name) && namedFields(directives, name).length === 0
}

/**
 * The argument of a directive in milliseconds; undefined where the directive is absent. An argument
 * that is not a number of seconds counts as 0: a malformed lifetime must not make a response fresh.
 */
export function directiveTime(directives: Directives, name: string): number | undefined {
  const argument = directives.get(name)
  return argument === undefined ? undefined : (parseDeltaSeconds(argument) ?? 0)
}

/** §5.2.1 and §5.4: a request's directives; `Pragma: no-cache` counts where there is no `Cache-Control`. */
export function requestDirectives({ fields }: Pick<RequestMessage, 'fields'>): Directives {
  if (fields['cache-control'] !== undefined) return parseCacheControl(fields)
  if (fields.pragma === undefined) return NONE
  const pragma = listMembers(fieldValue(fields, 'pragma')?.toLowerCase() ?? '')
  return pragma.includes('no-cache') ? new Map([['no-cache', '']]) : NONE
}

/** §5.2.2: a response's directives: for a shared cache those that are meant for it, if there are any. */
export function responseDirectives(response: ResponseFields): Directives {
  return targetedDirectives(response) ?? parseCacheControl(response.fields)
}

/** RFC 9213 §3.1: the targeted field of shared caches in front of an origin. */
const TARGETED = 'cdn-cache-control'

/** The types that the values of known directives have there (RFC 9213 §2.1). */
const TYPES: ReadonlyMap<string, readonly BareItem['type'][]> = new Map([
  ['immutable', ['boolean']],
  ['max-age', ['integer']],
  ['must-revalidate', ['boolean']],
  ['must-understand', ['boolean']],
  ['no-cache', ['boolean', 'string']],
  ['no-store', ['boolean']],
  ['private', ['boolean', 'string']],
  ['proxy-revalidate', ['boolean']],
  ['public', ['boolean']],
  ['s-maxage', ['integer']],
  ['stale-if-error', ['integer']],
  ['stale-while-revalidate', ['integer']],
])

/**
 * RFC 9213: the directives of the targeted field, which for a shared cache stand instead of
 * `Cache-Control` and `Expires`; undefined where there is none. One that is empty or not well-formed,
 * or has a value of the wrong type, does not count.
 */
export function targetedDirectives({ fields, shared }: ResponseFields): Directives | undefined {
  const value = shared ? fieldValue(fields, TARGETED) : undefined
  return value === undefined ? undefined : targetedDirectivesOf(value)
}

const targetedDirectivesOf = remembering((value: string): Directives | undefined => {
  const members = parseDictionary(value)
  if (members === undefined || members.size === 0) return undefined
  const directives = new Map<string, string>()
  for (const [name, { type, value: argument }] of members) {
    if (!(TYPES.get(name) ?? [type]).includes(type)) return undefined
    if (argument !== false) directives.set(name, argument === true ? '' : String(argument))
  }
  return directives
})
