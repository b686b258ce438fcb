import { crc32 } from 'node:zlib'

/**
 * The first byte of a record. Another format has another one, and what is of none of them is a miss.
 * All have a header of the same length, then metadata as JSON, whose length is in the header, then content.
 */
export const VERSIONS = { plain: 1, compressed: 2, encrypted: 3 } as const

/** Version, checksum and length of the metadata. */
const HEADER_LENGTH = 9

/** Where in a record its metadata begins. */
export const METADATA_START: number = HEADER_LENGTH

/** Where in a record of any version its content begins; undefined where it is cut off. */
export function contentStart(record: Buffer): number | undefined {
  if (record.length < HEADER_LENGTH) return undefined
  const start = HEADER_LENGTH + record.readUInt32LE(5)
  return start > record.length ? undefined : start
}

/** A record that has been read: metadata, and content kept with it. */
export interface DecodedRecord {
  readonly metadata: unknown
  readonly content: Buffer
}

/**
 * Frames metadata and content as bytes. The checksum covers the key as well, so that a store which
 * returns another key's record is noticed.
 *
 * @param room how many bytes before the content in its memory are free: where they are enough for the rest
 * of the record, it is written there, and the content is not copied
 */
export function encodeRecord(key: string, metadata: unknown, content: Buffer, room = 0): Buffer {
  const json = JSON.stringify(metadata)
  const jsonLength = Buffer.byteLength(json)
  const start = HEADER_LENGTH + jsonLength
  // Never all of the memory, which would be handed over with it.
  const isInPlace = start < room
  const record = isInPlace
    ? Buffer.from(content.buffer, content.byteOffset - start, start + content.length)
    : Buffer.allocUnsafe(start + content.length)
  record.writeUInt8(VERSIONS.plain, 0)
  record.writeUInt32LE(jsonLength, 5)
  record.write(json, HEADER_LENGTH)
  if (!isInPlace) content.copy(record, start)
  record.writeUInt32LE(checksum(key, record), 1)
  return record
}

/** Reads a record of {@link encodeRecord}; undefined where it is damaged, foreign or of another version. */
export function decodeRecord(key: string, record: Buffer): DecodedRecord | undefined {
  const end = contentStart(record)
  if (end === undefined || record.readUInt8(0) !== VERSIONS.plain) return undefined
  if (record.readUInt32LE(1) !== checksum(key, record)) return undefined
  try {
    const metadata: unknown = JSON.parse(record.toString('utf8', HEADER_LENGTH, end))
    return { metadata, content: record.subarray(end) }
  } catch {
    return undefined
  }
}

function checksum(key: string, record: Buffer): number {
  return crc32(record.subarray(5), crc32(key))
}
