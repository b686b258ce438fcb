import { randomBytes } from 'node:crypto'
import type { Request } from './request.ts'
import { type Answer, noPartFields, notModifiedFields, partialFields } from './rfc9111/answer.ts'
import type { Fields } from './rfc9111/message.ts'
import { multipart } from './rfc9111/ranges.ts'
import { type ContentReader, openPieces } from './storage/content.ts'
import type { Entry } from './storage/entry.ts'

/** The message with which a stored response answers a request. */
export interface Delivery {
  readonly status: number
  readonly statusText: string
  readonly fields: Fields
  /** The number of bytes of content; undefined while they are still being received. */
  readonly size: number | undefined
  /** All of the content, where it is in memory; the receiver owns it. */
  readonly bytes?: Buffer
  /** Undefined where there is no other content. */
  readonly reader: ContentReader | undefined
}

/** Prepares the message that answers a request; undefined where it takes the origin to answer. */
export function delivery(
  request: Request,
  stored: Entry,
  fields: Fields,
  part: Answer,
): Delivery | undefined {
  const { status, statusText, content } = stored
  switch (part.kind) {
    case 'whole': {
      const hasContent = request.method !== 'HEAD' && status !== 204 && content.length !== 0
      if (!hasContent) return { status, statusText, fields, size: 0, reader: undefined }
      const { bytes, length: size } = content
      return bytes
        ? { status, statusText, fields, size, bytes: Buffer.from(bytes), reader: undefined }
        : { status, statusText, fields, size, reader: content.open() }
    }
    case 'not-modified':
      return message(304, 'Not Modified', notModifiedFields(fields))
    case 'no-part':
      return message(416, 'Range Not Satisfiable', noPartFields(fields, part.length))
    case 'parts': {
      const { ranges, length } = part
      const boundary = randomBytes(16).toString('hex')
      const pieces = ranges.length === 1 ? ranges : multipart(fields, ranges, length, boundary)
      const partial = partialFields(request, fields, ranges, length, boundary)
      return {
        status: 206,
        statusText: 'Partial Content',
        fields: partial,
        size: Number(partial['content-length']),
        reader: openPieces(content, pieces),
      }
    }
    case 'none':
      return undefined
    default:
      return part satisfies never
  }
}

function message(status: number, statusText: string, fields: Fields): Delivery {
  return { status, statusText, fields, size: 0, reader: undefined }
}
