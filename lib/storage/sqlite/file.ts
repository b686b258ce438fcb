import { randomUUID } from 'node:crypto'
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  type Stats,
  statSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { StringDecoder } from 'node:string_decoder'
import { pathToFileURL } from 'node:url'
import { BeginningError } from './errors.ts'

/** By what a file is told from another one, wherever it is. */
export interface FileIdentity {
  readonly dev: number
  readonly ino: number
}

/**
 * After how long whoever makes a file must have been killed, in milliseconds: it takes less than one. A disk that
 * makes it wait for longer does so with whoever would take its place.
 */
const LONGEST_BEGINNING = 2000

/** How long a name may be on most file systems, in bytes. */
const LONGEST_NAME = 255

/** How long a path may be that SQLite can open, but on Windows, in bytes: with `-journal` behind it, 512. */
const LONGEST_PATH = 504

/**
 * Where a path leads to, whether or not there is anything yet.
 *
 * @throws Error where it leads nowhere
 */
export function withoutLinks(path: string): string {
  try {
    return realpathSync(path)
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ENOENT') throw error
  }
  if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) {
    return withoutLinks(resolve(withoutLinks(dirname(path)), readlinkSync(path)))
  }
  const folder = dirname(path)
  return folder === path ? path : join(withoutLinks(folder), basename(path))
}

/** @throws Error where there is something that is no regular file */
export function refuseOtherThanFile(path: string): void {
  const there = existsSync(path) ? statSync(path) : undefined
  if (there === undefined || there.isFile()) return
  const advice = there.isDirectory() ? 'name a file in it' : 'name another path'
  throw new Error(
    `expected a regular file, or a path at which there is nothing yet, got ${kindOf(there)}: ${advice}`,
  )
}

function kindOf(file: Stats): string {
  if (file.isDirectory()) return 'a directory'
  if (file.isFIFO()) return 'a FIFO'
  return file.isSocket() ? 'a socket' : 'a device'
}

/** @throws Error where the names of the files that SQLite needs beside a file are too long, or their paths */
export function refuseTooLong(path: string): void {
  statSync(`${path}-journal`, { throwIfNoEntry: false })
  const length = Buffer.byteLength(path)
  if (length <= LONGEST_PATH || process.platform === 'win32') return
  throw new Error(
    `expected a path of at most ${LONGEST_PATH} bytes, as SQLite can open no longer one, got ${length}: ${path}`,
  )
}

/** What there is at a path, if there is anything. */
export function identityOf(path: string): FileIdentity | undefined {
  return statSync(path, { throwIfNoEntry: false })
}

/** Where the wal-index of a database is (https://www.sqlite.org/walformat.html#files). */
export function indexOf(path: string): string {
  return `${path}-shm`
}

export function isSameFile(
  one: FileIdentity | undefined,
  other: FileIdentity | undefined,
): boolean {
  return one?.ino === other?.ino && one?.dev === other?.dev
}

/** What changes when a file is changed, or its log, without a look into them. */
export function stampOf(path: string): string {
  return ['', '-wal']
    .map((suffix) => {
      const file = statSync(path + suffix, { throwIfNoEntry: false })
      return file && [file.ino, file.size, file.mtimeMs]
    })
    .join(' ')
}

/** The address of a file as SQLite wants it, with a parameter (https://www.sqlite.org/uri.html). */
export function addressOf(path: string, parameter: 'mode=rw' | 'immutable=1'): URL {
  const url = pathToFileURL(path)
  url.search = parameter
  return url
}

/** Whether a file may be written, and what SQLite needs beside it be made. */
export function mayBeWritten(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    accessSync(dirname(path), constants.W_OK)
    return true
  } catch {
    return false
  }
}

/**
 * Makes a file where there is none. What is cached may be private: nobody else needs to read it. What was left
 * beside it of another file belongs to those who have that one still open.
 */
export function createPrivately(path: string): void {
  const isNew = () => (statSync(path, { throwIfNoEntry: false })?.size ?? 0) === 0
  const left = [`${path}-wal`, indexOf(path)]
  if (existsSync(path) && !(isNew() && left.some(existsSync))) return
  exclusively(path, () => {
    // Another process may have made it just before.
    if (!isNew()) return
    for (const each of left) rmSync(each, { force: true })
    create(path, 0o600)
  })
}

function create(path: string, mode: number): void {
  closeSync(openSync(path, 'a', mode))
}

/** Removes a file, and makes another one in its place that others may use as the one before. */
export function replaceByEmpty(path: string, mode: number): void {
  exclusively(path, () => {
    rmSync(path)
    create(path, 0o600)
    chmodSync(path, mode)
  })
}

/**
 * Gives a file another name, and what belongs to it.
 *
 * @returns its name; undefined where it is not there any more: another process has done so already
 */
export function setAside(path: string, file: FileIdentity | undefined): string | undefined {
  return exclusively(path, () => {
    const there = identityOf(path)
    if (there === undefined || !isSameFile(there, file)) return undefined
    const aside = join(dirname(path), asideNameOf(basename(path)))
    // The file itself comes first: while there is none, nobody makes another log.
    for (const suffix of ['', '-wal', '-shm', '-journal']) {
      if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix)
    }
    return aside
  })
}

/** The name under which a damaged file is set aside: its own with the time, cut off where that is too long. */
function asideNameOf(name: string): string {
  const time = `.corrupt-${new Date().toISOString().replaceAll(':', '-')}`
  if (Buffer.byteLength(`${name}${time}-journal`) <= LONGEST_NAME) return name + time
  // Other files may have names that begin alike.
  const end = `~${randomUUID().slice(0, 8)}${time}`
  const kept = Buffer.from(name).subarray(0, LONGEST_NAME - Buffer.byteLength(`${end}-journal`))
  return new StringDecoder().write(kept) + end
}

/**
 * Does something about what is at a path that no other process does at the same time: files are made and set
 * aside one after the other, so that nobody takes the log of a new one for that of the one before.
 *
 * @throws BeginningError where another process is doing so
 */
function exclusively<T>(path: string, work: () => T): T {
  const lock = `${path}-lock`
  const unlock = () => {
    try {
      rmdirSync(lock)
    } catch {
      // Somebody else has taken it for left behind.
    }
  }
  try {
    mkdirSync(lock)
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'EEXIST') throw error
    // It may have been killed meanwhile. The next attempt does it.
    if (isLeftBehind(lock)) remove(lock)
    throw new BeginningError(`another process is making or setting aside ${path}`)
  }
  try {
    return work()
  } finally {
    unlock()
  }
}

function isLeftBehind(lock: string): boolean {
  const begun = lstatSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()
  return Math.abs(Date.now() - begun) > LONGEST_BEGINNING
}

/** Removes a lock that was left behind, whatever is in its place. */
function remove(lock: string): void {
  const away = join(dirname(lock), `.lock-${randomUUID()}`)
  try {
    renameSync(lock, away)
    // Another process may have removed it just before, and made its own.
    if (isLeftBehind(away)) rmSync(away, { recursive: true })
    else renameSync(away, lock)
  } catch {
    // Another process has removed it, or nobody may.
  }
}
