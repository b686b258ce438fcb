import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
  randomFillSync,
} from 'node:crypto'
import type { ChunksRecord } from './content.ts'
import { contentStart, METADATA_START, VERSIONS } from './records.ts'

/** Under which keys records are encrypted. */
export interface EncryptionSettings {
  /** Secret keys of {@link KEY_LENGTH} bytes by their ids. */
  readonly keys: ReadonlyMap<string, KeyObject>
  /** The id of the key for new records. */
  readonly current: string
  /** For cache keys; undefined to leave them as they are. */
  readonly indexKey: KeyObject | undefined
}

/** The length of a key of AES-256, in bytes. */
export const KEY_LENGTH = 32

/** What the id of a key looks like: it can be seen in each record, and is told in messages. */
export const KEY_ID: RegExp = /^[\w.-]{1,64}$/

/** What can be seen of an encrypted record, besides its length: what the store itself has to know. */
export interface Visible {
  /** Which it is where it is no response, and to be counted as none. */
  readonly kind?: 'variants'
  /** Where its content is, so that it can be removed with what cannot be read. */
  readonly chunks?: ChunksRecord
}

/** Why a record cannot be read, as the end of a sentence about it. */
export class UnreadableError extends Error {
  override name = 'UnreadableError'
}

const CIPHER = 'aes-256-gcm'
const TAG_LENGTH = 16
const NONCE_LENGTH = 12

/**
 * Each record has a key and a nonce of its own, derived from a random salt (RFC 5869). Of random nonces
 * alone there are too few for all the records that may ever be written under one key: 2³², by NIST SP
 * 800-38D §8.3.
 */
const SALT_LENGTH = 32

const EMPTY = Buffer.alloc(0)

/** Encrypts records by AES-256-GCM, and tells whether they are what has been written where they are. */
export class Encryption {
  readonly #keys: ReadonlyMap<string, KeyObject>
  readonly #current: string
  readonly #indexKey: KeyObject | undefined

  constructor({ keys, current, indexKey }: EncryptionSettings) {
    this.#keys = keys
    this.#current = current
    this.#indexKey =
      indexKey &&
      createSecretKey(Buffer.from(hkdfSync('sha256', indexKey, EMPTY, 'cache keys', KEY_LENGTH)))
  }

  /** @param place where the record is: it can be read nowhere else */
  encrypt(place: string, record: Buffer, visible: Visible): Buffer {
    const label = Buffer.from(JSON.stringify({ ...visible, key: this.#current }))
    const start = METADATA_START + label.length
    const end = start + SALT_LENGTH + record.length
    const encrypted = Buffer.allocUnsafe(end + TAG_LENGTH)
    encrypted.writeUInt8(VERSIONS.encrypted, 0)
    encrypted.writeUInt32LE(0, 1)
    encrypted.writeUInt32LE(label.length, 5)
    label.copy(encrypted, METADATA_START)
    const salt = randomFillSync(encrypted.subarray(start, start + SALT_LENGTH))
    const { key, nonce } = derive(this.#keys.get(this.#current) as KeyObject, salt)
    const cipher = createCipheriv(CIPHER, key, nonce)
    cipher.setAAD(boundTo(place, encrypted.subarray(0, start)))
    cipher.update(record).copy(encrypted, start + SALT_LENGTH)
    cipher.final()
    cipher.getAuthTag().copy(encrypted, end)
    return encrypted
  }

  /** @throws UnreadableError where this is not what has been written there under one of the keys */
  decrypt(place: string, encrypted: Buffer): Buffer {
    if (!isEncrypted(encrypted)) throw new UnreadableError('is not encrypted')
    const start = contentStart(encrypted) ?? Infinity
    const end = encrypted.length - TAG_LENGTH
    if (start + SALT_LENGTH > end) throw new UnreadableError('is cut off')
    const id = keyIdOf(encrypted, start)
    const master = this.#keys.get(id)
    if (master === undefined) {
      throw new UnreadableError(`is encrypted under the key "${id}", which is not known`)
    }
    const { key, nonce } = derive(master, encrypted.subarray(start, start + SALT_LENGTH))
    const decipher = createDecipheriv(CIPHER, key, nonce)
    decipher.setAAD(boundTo(place, encrypted.subarray(0, start)))
    decipher.setAuthTag(encrypted.subarray(end))
    const record = decipher.update(encrypted.subarray(start + SALT_LENGTH, end))
    try {
      decipher.final()
    } catch {
      throw new UnreadableError(
        `is not what was stored there under the key "${id}": damaged, changed, moved, or encrypted under another key of this id`,
      )
    }
    return record
  }

  /** Whether a record is encrypted under the key under which it would be now. */
  isCurrent(encrypted: Buffer): boolean {
    return keyIdOf(encrypted, contentStart(encrypted)) === this.#current
  }

  /** The cache key to use instead of one from which a URL could be guessed; the same where that was not asked for. */
  indexed(cacheKey: string): string {
    if (this.#indexKey === undefined) return cacheKey
    return createHmac('sha256', this.#indexKey).update(cacheKey).digest('hex')
  }
}

/** Whether a record is an encrypted one. */
export function isEncrypted(record: Buffer): boolean {
  return record[0] === VERSIONS.encrypted
}

function derive(master: KeyObject, salt: Buffer): { readonly key: Buffer; readonly nonce: Buffer } {
  const length = KEY_LENGTH + NONCE_LENGTH
  const derived = Buffer.from(hkdfSync('sha256', master, salt, 'record', length))
  return { key: derived.subarray(0, KEY_LENGTH), nonce: derived.subarray(KEY_LENGTH) }
}

/** What the tag covers besides the content. The header tells its own length, so that nothing runs into another. */
function boundTo(place: string, header: Buffer): Buffer {
  return Buffer.concat([header, Buffer.from(place)])
}

function keyIdOf(encrypted: Buffer, start?: number): string {
  try {
    const label = encrypted.toString('utf8', METADATA_START, start)
    const { key } = JSON.parse(label) as { key?: unknown }
    if (typeof key === 'string' && KEY_ID.test(key)) return key
  } catch {
    // It is refused as any other one that is not as it was written.
  }
  throw new UnreadableError('is damaged')
}
