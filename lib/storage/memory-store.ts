import type { ByteStore, Stores, Usage } from './byte-store.ts'
import { SECRET_KEY, tellsVariants } from './heads.ts'

interface Row {
  readonly bytes: Buffer
  /** In milliseconds since the epoch; `Infinity` for never. */
  readonly expires: number
}

/** A store in memory, which is gone with the process. */
export function openMemory(): Stores {
  const heads = new Rows()
  const chunks = new Rows()
  const usage: Usage = {
    async totals() {
      return { count: heads.count, size: heads.size + chunks.size }
    },
    async touch(keys) {
      for (const key of keys) heads.touch(key)
    },
    async oldest(limit) {
      return [...heads.rows.keys()].filter((key) => key !== SECRET_KEY).slice(0, limit)
    },
    async sizeOf(keys) {
      return keys.reduce((sum, key) => sum + (chunks.rows.get(key)?.bytes.length ?? 0), 0)
    },
  }
  return { heads, chunks, usage, coherence: { kind: 'own' }, close: async () => undefined }
}

/** Rows in the order of their last use, least recently first. */
class Rows implements ByteStore {
  readonly rows = new Map<string, Row>()
  /** The number of bytes, and of rows that are responses. */
  size = 0
  count = 0

  get(key: string): Buffer | undefined {
    const row = this.rows.get(key)
    if (row === undefined) return undefined
    if (Date.now() < row.expires) return Buffer.from(row.bytes)
    this.#remove(key)
    return undefined
  }

  async set(key: string, bytes: Buffer, timeToLive = Infinity): Promise<void> {
    this.#remove(key)
    this.rows.set(key, { bytes: Buffer.from(bytes), expires: Date.now() + timeToLive })
    this.size += bytes.length
    if (isResponse(key, bytes)) this.count += 1
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#remove(key)
  }

  async clear(): Promise<void> {
    this.rows.clear()
    this.size = 0
    this.count = 0
  }

  async *entries(): AsyncIterable<readonly [string, Buffer]> {
    const now = Date.now()
    for (const [key, { bytes, expires }] of this.rows) {
      if (now < expires) yield [key, Buffer.from(bytes)]
    }
  }

  touch(key: string): void {
    const row = this.rows.get(key)
    if (row === undefined) return
    this.rows.delete(key)
    this.rows.set(key, row)
  }

  #remove(key: string): void {
    const row = this.rows.get(key)
    if (row === undefined) return
    this.size -= row.bytes.length
    if (isResponse(key, row.bytes)) this.count -= 1
    this.rows.delete(key)
  }
}

function isResponse(key: string, bytes: Buffer): boolean {
  return key !== SECRET_KEY && !tellsVariants(bytes)
}
