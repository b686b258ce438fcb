import { inspect } from 'node:util'
import { redactFields } from './redaction.ts'
import { fieldValue, isToken } from './rfc9111/fields.ts'
import type { Fields } from './rfc9111/message.ts'

/** A response that is to be stored, as a function of the user's gets to see it. */
export interface TaggedResponse {
  readonly url: string
  readonly status: number
  /** The fields by lower-case name; one that was sent in several lines is an array. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>
}

/** Where the tags of a response come from: header fields such as `'Cache-Tag'`, or a function. */
export type TagSource =
  | string
  | readonly string[]
  | ((response: TaggedResponse) => readonly string[])

/** Tells the tags of a response. @throws where a function of the user's does, or returns none */
export type ParsedTagSource = (response: {
  readonly url: string
  readonly status: number
  readonly fields: Fields
}) => readonly string[]

/**
 * Understands where tags come from.
 *
 * @param option the name of the option, for the error
 * @throws TypeError where the value is neither field names nor a function
 */
export function parseTagSource(value: unknown, option: string): ParsedTagSource {
  if (typeof value === 'function') return byFunction(value as (response: TaggedResponse) => unknown)
  const names = typeof value === 'string' ? [value] : value
  const isName = (name: unknown) => typeof name === 'string' && isToken(name)
  const isNames = Array.isArray(names) && names.every(isName)
  if (!isNames) {
    throw new TypeError(
      `${option}: expected field names such as "Cache-Tag", or a function, got ${inspect(value, { depth: 0 })}`,
    )
  }
  const fieldNames = names.map((name) => name.toLowerCase())
  return ({ fields }) => {
    const told = redactFields(fields)
    return distinct(fieldNames.flatMap((name) => fieldValue(told, name)?.split(SEPARATOR) ?? []))
  }
}

/** `Cache-Tag` separates tags with commas, `Surrogate-Key` and `xkey` with white space. */
const SEPARATOR = /[\s,]+/

function byFunction(tagsOf: (response: TaggedResponse) => unknown): ParsedTagSource {
  return ({ url, status, fields }) => {
    const tags = tagsOf({ url, status, headers: structuredClone(redactFields(fields)) })
    if (Array.isArray(tags) && tags.every((tag) => typeof tag === 'string')) return distinct(tags)
    throw new TypeError(
      `tags: expected the function to return an array of texts, got ${inspect(tags)}`,
    )
  }
}

function distinct(tags: readonly string[]): string[] {
  return [...new Set(tags)].filter((tag) => tag !== '')
}
