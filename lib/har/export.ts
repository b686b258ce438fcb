import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import type { Entry } from '../storage/entry.ts'
import { type HarExportResult, harText } from './write.ts'

/** Where a HAR is written to: a path or `file:` URL, or a stream, which is ended. */
export type HarTarget = string | URL | Writable | WritableStream<string>

/**
 * Writes a HAR of stored responses.
 *
 * @throws Error where it cannot be written, or the store fails; then there is no file
 */
export async function exportHar(
  target: HarTarget,
  entries: AsyncIterable<Entry>,
  isRedacted: boolean,
  signal: AbortSignal | undefined,
): Promise<HarExportResult> {
  let [exported, withoutContent] = [0, 0]
  const text = harText(entries, isRedacted, (hasContent) => {
    exported += 1
    if (!hasContent) withoutContent += 1
  })
  const write = (to: Writable | WritableStream<string>) =>
    pipeline(Readable.from(text), to as Writable, { signal } as { signal: AbortSignal })
  if (typeof target !== 'string' && !(target instanceof URL)) await write(target)
  else {
    const path = typeof target === 'string' ? target : fileURLToPath(target)
    const part = `${path}.${randomUUID()}.part`
    try {
      // What is cached may be private.
      await write(createWriteStream(part, { mode: 0o600 }))
      await rename(part, path)
    } catch (error) {
      await rm(part, { force: true })
      throw error
    }
  }
  return { exported, withoutContent }
}
