import { isUtf8 } from 'node:buffer'
import { fieldValue } from '../rfc9111/fields.ts'
import type { Fields } from '../rfc9111/message.ts'
import { decodeComponent, formPairs, IGNORED_VALUE, joinPairs } from './form.ts'
import { normaliseJson } from './json.ts'
import { isForm, isJson, type MediaType, parseMediaType } from './media-type.ts'
import { fieldName, isFile, parseMultipart } from './multipart.ts'

/** Told of each named value: where it is and what it says. @returns whether it does not matter */
export interface ContentVisitor {
  /** A field of a form. */
  field(name: string, value: () => string): boolean
  /** A member or an element of JSON. */
  member(path: readonly string[], value: () => string): boolean
}

/**
 * The content of a request as it counts for the key: what it is, how it is encoded, and what it says. Of
 * JSON neither white space nor the order of members counts, of forms not the order of different names, of
 * multipart content not the boundary; what is none of these, or not what it claims to be, counts as it is.
 *
 * @returns parts of which no two contents that differ in anything else have the same
 */
export function normaliseContent(
  content: Buffer,
  fields: Fields,
  visitor: ContentVisitor,
): (string | Buffer)[] {
  const type = parseMediaType(fieldValue(fields, 'content-type') ?? '')
  const coding = (fieldValue(fields, 'content-encoding') ?? '').trim().toLowerCase()
  const language = (fieldValue(fields, 'content-language') ?? '').trim().toLowerCase()
  const isPlain = coding === '' || coding === 'identity'
  const [kind, ...parts] = (isPlain && structured(content, type, visitor)) || ['raw', content]
  const parameters = [...type.parameters].filter(
    ([name]) =>
      !(name === 'boundary' && kind === 'multipart') &&
      !(name === 'charset' && (kind === 'json' || kind === 'form')),
  )
  return [String(kind), type.essence, JSON.stringify([parameters, coding, language]), ...parts]
}

/** What content says that has a structure which is known; undefined for any other. */
function structured(
  content: Buffer,
  type: MediaType,
  visitor: ContentVisitor,
): (string | Buffer)[] | undefined {
  if (isJson(type)) {
    // Bytes that are no UTF-8 would all become the same character.
    if (!isUtf8(content)) return undefined
    const json = normaliseJson(content.toString(), visitor.member)
    return json === undefined ? undefined : ['json', json]
  }
  if (isForm(type)) {
    const pairs = formPairs(content.toString('latin1')).map(({ name, value }) => {
      const isIgnored = visitor.field(decodeComponent(name), () => decodeComponent(value ?? ''))
      return { name, value: isIgnored ? IGNORED_VALUE : value }
    })
    return ['form', joinPairs(pairs)]
  }
  const boundary = type.essence.startsWith('multipart/') && type.parameters.get('boundary')
  const parts = boundary ? parseMultipart(content, boundary) : undefined
  if (parts === undefined) return undefined
  return [
    'multipart',
    ...parts.flatMap((part) => {
      const name = fieldName(part)
      const text = () => (isFile(part) ? '' : part.content.toString())
      // The kind of what follows comes first, so that no content looks like one that is ignored.
      return name !== undefined && visitor.field(name, text)
        ? ['ignored', name]
        : ['part', part.header, part.content]
    }),
  ]
}
