// A disk that is full: nothing more can be stored, and that is all; once there is room again, all is as
// before. Where a file system can be mounted, it is a small one; files that may not grow are tried as well.
import { execFileSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { newFolder } from '../node-binaries.ts'
import { Crew } from './crew.ts'
import { Ledger } from './ledger.ts'
import { startOrigin } from './origin.ts'
import { type Part, type Settings, sealing } from './parts.ts'
import { inspect, OPERATIONS } from './sqlite.ts'
import { Tally } from './tally.ts'

/** As much is stored within a second. */
const SIZE = 16 * 2 ** 20

export const tortureDisk: Part = async (settings) => [
  await withFullFileSystem(settings),
  await withLimitedFiles(settings),
]

async function withFullFileSystem({
  seconds,
  clients,
  folder,
  isSealed,
}: Settings): Promise<Tally> {
  const tally = new Tally('disk')
  const inside = await newFolder(join(folder, 'disk-'))
  try {
    const options = ['-t', 'tmpfs', '-o', `size=${SIZE}`]
    execFileSync('mount', [...options, 'tmpfs', inside], { stdio: 'pipe' })
  } catch (error) {
    tally.notes.push(`skipped: no file system can be mounted: ${(error as Error).message.trim()}`)
    return tally
  }
  const unmount = () => execFileSync('umount', ['-l', inside])
  // Before the folder is removed.
  process.prependOnceListener('exit', unmount)
  try {
    // Something else takes a part of it, and is gone in the end.
    const ballast = join(inside, 'ballast')
    writeFileSync(ballast, Buffer.alloc(SIZE / 2))
    const load = await start(tally, join(inside, 'cache.sqlite'), clients, isSealed)
    await load.goOn(seconds / 2)
    await load.end(() => rmSync(ballast))
  } finally {
    process.off('exit', unmount)
    unmount()
  }
  return tally
}

async function withLimitedFiles({ seconds, clients, folder, isSealed }: Settings): Promise<Tally> {
  const tally = new Tally('file size')
  const inside = await newFolder(join(folder, 'limited-'))
  // In blocks of 512 bytes or of 1 KiB. Node ignores the signal by which most programs would be ended.
  const wrapper = ['sh', '-c', `ulimit -f ${SIZE / 1024}; exec "$@"`, 'sh']
  const load = await start(tally, join(inside, 'cache.sqlite'), clients, isSealed, wrapper)
  await load.goOn(seconds / 2)
  await load.end()
  return tally
}

async function start(
  tally: Tally,
  path: string,
  clients: number,
  isSealed: boolean,
  wrapper?: string[],
) {
  const origin = await startOrigin()
  const ledger = new Ledger(origin.version)
  const configs = Array.from({ length: clients }, (_, slot) => ({
    slot,
    origin: origin.url,
    options: { store: `sqlite://${path}`, ...sealing(isSealed, slot) },
    shared: 200,
    clients,
    operations: { ...OPERATIONS, clear: 0 },
    // A file that may not grow has no room in the end either.
    recovers: wrapper === undefined,
  }))
  const crew = new Crew(tally, ledger, configs, wrapper)
  return {
    async goOn(seconds: number) {
      const end = performance.now() + seconds * 1000
      await delay(Math.min(2, seconds / 2) * 1000)
      // Whoever starts on a full disk has to do without a store, too.
      while (performance.now() < end) {
        await crew.killAny()
        await delay(1000)
      }
    },
    async end(makeRoom?: () => void) {
      const stopped = crew.stop()
      // When nobody fills it again any more.
      await delay(1000)
      makeRoom?.()
      await stopped
      if (tally.events === 0) tally.problem('others', 'nobody was told that the disk is full')
      await inspect(tally, path, origin.url, ledger, sealing(isSealed))
      origin.close()
    },
  }
}
