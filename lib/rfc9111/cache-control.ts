import { fieldValue, listMembers, parseDeltaSeconds } from './fields.ts'
import type { Fields } from './message.ts'

/** The directives of a `Cache-Control` field by lower-case name; '' where one has no argument. */
export type Directives = ReadonlyMap<string, string>

/**
 * Parses `Cache-Control` (§5.2): names in any case, arguments as token or quoted string, white space
 * tolerated around `=`. Of a directive that is repeated the first occurrence counts (§4.2.1).
 */
export function parseCacheControl(fields: Fields): Directives {
  const directives = new Map<string, string>()
  const value = fieldValue(fields, 'cache-control')
  if (value === undefined) return directives
  for (const member of listMembers(value)) {
    const equals = member.indexOf('=')
    const name = (equals === -1 ? member : member.slice(0, equals)).trim().toLowerCase()
    const argument = equals === -1 ? '' : unquote(member.slice(equals + 1).trim())
    if (name !== '' && !directives.has(name)) directives.set(name, argument)
  }
  return directives
}

function unquote(argument: string): string {
  if (argument.length < 2 || !argument.startsWith('"') || !argument.endsWith('"')) return argument
  return argument.slice(1, -1).replace(/\\(.)/g, '$1')
}

/**
 * The argument of a directive in milliseconds; undefined where the directive is absent. An argument
 * that is not a number of seconds counts as 0: a malformed lifetime must not make a response fresh.
 */
export function directiveTime(directives: Directives, name: string): number | undefined {
  const argument = directives.get(name)
  return argument === undefined ? undefined : (parseDeltaSeconds(argument) ?? 0)
}
