import type { Fields } from '../rfc9111/message.ts'

/** Fields as undici delivers them to handlers. */
export type HandlerHeaders = Record<string, string | string[]>

/** A fresh copy of fields that a handler may change. */
export function toHandlerHeaders(fields: Fields): HandlerHeaders {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      typeof value === 'string' ? value : [...value],
    ]),
  )
}

/** Fields as a flat list of names and values: `fetch` reads only this, the older one as Buffers only. */
export function toRawHeaders(fields: Fields): Buffer[] {
  return Object.entries(fields).flatMap(([name, value]) =>
    [value].flat().flatMap((line) => [Buffer.from(name, 'latin1'), Buffer.from(line, 'latin1')]),
  )
}

/**
 * Raw headers as a flat list of Buffers, and more after them. HTTP/1 delivers such a list, HTTP/2 and
 * mocks an object, strings or nothing at all, for which the fields stand in.
 */
export function appendRawHeader(rawHeaders: unknown, fields: Fields, ...more: string[]): Buffer[] {
  const isList = Array.isArray(rawHeaders) && rawHeaders.every((item) => Buffer.isBuffer(item))
  const lines = isList ? (rawHeaders as Buffer[]) : toRawHeaders(fields)
  return [...lines, ...more.map((text) => Buffer.from(text, 'latin1'))]
}

/** A copy of a field section without a prototype or odd values, by lower-case name. */
export function readHeaders(headers: unknown): Fields {
  const fields: Record<string, string | string[]> = {}
  for (const [name, value] of Object.entries((headers ?? {}) as Record<string, unknown>)) {
    if (value === undefined || value === null) continue
    fields[name.toLowerCase()] = Array.isArray(value) ? value.map(String) : String(value)
  }
  return fields
}
