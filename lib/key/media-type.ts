/** The value of a `Content-Type` field (RFC 9110 §8.3.1). */
export interface MediaType {
  /** Type and subtype, in lower case. */
  readonly essence: string
  /** By name in lower case, in the order of their names. */
  readonly parameters: ReadonlyMap<string, string>
}

const PARAMETER = /;\s*([^\s;="]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))/g

/** Reads a media type; one without an essence is that of content of no known type. */
export function parseMediaType(value: string): MediaType {
  const [essence = ''] = value.split(';', 1)
  const parameters = [...value.slice(essence.length).matchAll(PARAMETER)].map(
    ([, name = '', quoted, plain = '']) =>
      [name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? plain.trim()] as const,
  )
  parameters.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  return { essence: essence.trim().toLowerCase(), parameters: new Map(parameters) }
}

/** Whether the content is JSON (RFC 6839 §3.1), which is always UTF-8 (RFC 8259 §8.1). */
export function isJson({ essence, parameters }: MediaType): boolean {
  return /^application\/json$|^[^/]+\/[^/]+\+json$/.test(essence) && isUtf8(parameters)
}

export function isForm({ essence, parameters }: MediaType): boolean {
  return essence === 'application/x-www-form-urlencoded' && isUtf8(parameters)
}

function isUtf8(parameters: MediaType['parameters']): boolean {
  return /^(?:utf-?8)?$/i.test(parameters.get('charset') ?? '')
}
