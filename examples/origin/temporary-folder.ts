// A folder for the files of an example.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A new folder, which is there until the process ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'example-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  return folder
}
