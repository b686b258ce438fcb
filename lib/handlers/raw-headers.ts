import type { Fields } from '../rfc9111/message.ts'

/** Fields as undici delivers them to handlers. */
export type HandlerHeaders = Record<string, string | string[]>

/** A fresh copy of fields that a handler may change. */
export function toHandlerHeaders(fields: Fields): HandlerHeaders {
  const headers: HandlerHeaders = {}
  for (const name in fields) {
    const value = fields[name] as string | readonly string[]
    setField(headers, name, typeof value === 'string' ? value : [...value])
  }
  return headers
}

/** Also where the name is that of the prototype, which an assignment would change. */
function setField(fields: HandlerHeaders, name: string, value: string | string[]): void {
  if (name !== '__proto__') fields[name] = value
  else {
    const property = { value, writable: true, enumerable: true, configurable: true }
    Object.defineProperty(fields, name, property)
  }
}

/**
 * Fields as a flat list of names and values: `fetch` reads only this, the older one as Buffers only. It is
 * always made of the fields, as interceptors such as undici 7's decompress change these and not the list.
 */
export function toRawHeaders(fields: Fields): Buffer[] {
  const list: Buffer[] = []
  for (const name in fields) {
    const value = fields[name] as string | readonly string[]
    const lines = typeof value === 'string' ? [value] : value
    for (const line of lines) list.push(Buffer.from(name, 'latin1'), Buffer.from(line, 'latin1'))
  }
  return list
}

/** The same as texts, for those who take these as well, or do not look into the list. */
export function toTextList(fields: Fields): string[] {
  const list: string[] = []
  for (const name in fields) {
    const value = fields[name] as string | readonly string[]
    if (typeof value === 'string') list.push(name, value)
    else for (const line of value) list.push(name, line)
  }
  return list
}

/** A copy of a field section without odd values, by lower-case name. */
export function readHeaders(headers: unknown): Fields {
  const fields: Record<string, string | string[]> = {}
  const given = (headers ?? {}) as Record<string, unknown>
  for (const name of Object.keys(given)) {
    const value = given[name]
    if (value === undefined || value === null) continue
    setField(fields, name.toLowerCase(), Array.isArray(value) ? value.map(String) : String(value))
  }
  return fields
}

/**
 * Whether a handler, of today or before, is that of a fetch. It is a plain object that holds the request's
 * content, and makes texts of what it is given at once, so that it may as well be given texts: others may
 * want Buffers, or change the list.
 */
export function isOfFetch(handler: object): boolean {
  return Object.getPrototypeOf(handler) === Object.prototype && 'body' in handler
}
