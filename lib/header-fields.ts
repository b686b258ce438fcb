import { inspect } from 'node:util'
import { isFieldText, isToken } from './rfc9111/fields.ts'
import type { Fields } from './rfc9111/message.ts'
import { refuse } from './terms.ts'

/** Header fields: an object, pairs or a `Headers`. */
export type HeadersLike =
  | Readonly<Record<string, string | readonly string[] | undefined>>
  | Iterable<readonly [string, string]>

/**
 * Reads header fields by their lower-case names, in whatever form they are given.
 *
 * @param who gets them, for the error
 * @throws TypeError where they are none
 */
export function readHeaderFields(headers: HeadersLike, who: string): Fields {
  if (typeof headers !== 'object' || headers === null) {
    throw new TypeError(`${who}: expected header fields, got ${inspect(headers)}`)
  }
  const fields: Record<string, string | string[]> = Object.create(null)
  const lines = Symbol.iterator in headers ? headers : Object.entries(headers)
  for (const [name, value] of lines as Iterable<readonly [string, unknown]>) {
    if (value === undefined || value === null) continue
    const key = String(name).toLowerCase()
    const values = [value].flat().map(String)
    if (!isToken(key)) refuse(who, 'the name of a header field', name)
    const wrong = values.find((text) => !isFieldText(text))
    if (wrong !== undefined) refuse(who, `a value that ${key} can have`, wrong)
    const all = [...[fields[key] ?? []].flat(), ...values]
    if (all.length > 0) fields[key] = all.length === 1 ? (all[0] as string) : all
  }
  return fields
}
