import { crc32 } from 'node:zlib'

/** Changes when older records can no longer be read; a record of another version is a miss. */
const VERSION = 1

/** Version, checksum and length of the metadata. */
const HEADER_LENGTH = 9

/** Where in a record its metadata begins. */
export const METADATA_START: number = HEADER_LENGTH

/** A record that has been read: metadata, and content kept with it. */
export interface DecodedRecord {
  readonly metadata: unknown
  readonly content: Buffer
}

/**
 * Frames metadata and content as bytes. The checksum covers the key as well, so that a store which
 * returns another key's record is noticed.
 */
export function encodeRecord(key: string, metadata: unknown, content: Buffer): Buffer {
  const json = Buffer.from(JSON.stringify(metadata))
  const record = Buffer.allocUnsafe(HEADER_LENGTH + json.length + content.length)
  record.writeUInt8(VERSION, 0)
  record.writeUInt32LE(json.length, 5)
  json.copy(record, HEADER_LENGTH)
  content.copy(record, HEADER_LENGTH + json.length)
  record.writeUInt32LE(checksum(key, record), 1)
  return record
}

/** Reads a record of {@link encodeRecord}; undefined where it is damaged, foreign or of another version. */
export function decodeRecord(key: string, record: Buffer): DecodedRecord | undefined {
  if (record.length < HEADER_LENGTH || record.readUInt8(0) !== VERSION) return undefined
  if (record.readUInt32LE(1) !== checksum(key, record)) return undefined
  const end = HEADER_LENGTH + record.readUInt32LE(5)
  if (end > record.length) return undefined
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
