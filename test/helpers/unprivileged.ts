import { execFile } from 'node:child_process'
import type { TestContext } from 'node:test'
import { promisify } from 'node:util'

/**
 * The options of a process to which permissions mean something, as they do not to root; undefined,
 * and the test skipped, where that user cannot enter this folder.
 */
export async function unprivileged(t: TestContext): Promise<object | undefined> {
  if (process.getuid?.() !== 0) return {}
  const nobody = { uid: 65_534, gid: 65_534 }
  const args = ['--conditions=source', '-e', 'import("caching-agent")']
  try {
    await promisify(execFile)(process.execPath, args, nobody)
    return nobody
  } catch {
    t.skip('root may do everything, and other users cannot enter this folder')
    return undefined
  }
}
