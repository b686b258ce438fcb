// Runs an example that takes a URL twice against a documentation site, each time as a new process.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startSite } from './documentation.ts'

/** Prints what both runs print, and how many times faster the second one was. */
export async function coldAndWarm(example: string): Promise<void> {
  const site = await startSite(process.env.DOCS)
  const folder = mkdtempSync(join(tmpdir(), 'precache-'))
  try {
    console.log(`--- Cold: the cache is empty, ${site.server} answers`)
    const cold = await run(example, site.page, folder)
    console.log('\n--- Warm: a new process, the same cache')
    const warm = await run(example, site.page, folder)
    console.log(`\nThe second run was ${(cold / warm).toFixed(1)} times faster`)
  } finally {
    rmSync(folder, { recursive: true })
    await site.close()
  }
}

/** @returns the seconds that it says it took */
async function run(example: string, url: string, cwd: string): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, example, url], {
    cwd,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let printed = ''
  for await (const text of child.stdout.setEncoding('utf8')) {
    process.stdout.write(text)
    printed += text
  }
  const seconds = /in ([\d.]+) seconds/.exec(printed)?.[1]
  if (seconds === undefined) throw new Error('the example did not complete')
  return Number(seconds)
}
