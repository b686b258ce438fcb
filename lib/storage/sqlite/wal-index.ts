import { closeSync, fstatSync, openSync, readSync, statSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'

/**
 * Where what processes read of such a file is what others have written to their mapping of it, and files that
 * are open can be deleted.
 */
const PLATFORMS: readonly string[] = ['darwin', 'linux']

/** The length of the header, in bytes. */
const LENGTH = 48

/** What its first word says, in the byte order of the machine. */
const FORMAT = 3_007_000

/** A file that is open. */
interface OpenFile {
  readonly descriptor: number
  users: number
}

/**
 * The files that are open, by what they are. Closing one takes away all locks that this process has on it, those
 * of SQLite as well, so that it is kept open until it has been deleted and nobody can use it any more.
 */
const files = new Map<string, OpenFile>()

function nameOf({ dev, ino }: { readonly dev: number; readonly ino: number }): string {
  return `${dev}:${ino}`
}

function open(path: string): OpenFile {
  const there = files.get(nameOf(statSync(path)))
  if (there) return there
  const descriptor = openSync(path, 'r')
  const file = { descriptor, users: 0 }
  files.set(nameOf(fstatSync(descriptor)), file)
  return file
}

/** Closes what has been deleted. */
function closeDeleted(): void {
  for (const [name, { descriptor, users }] of files) {
    if (users > 0 || fstatSync(descriptor).nlink > 0) continue
    files.delete(name)
    closeSync(descriptor)
  }
}

/**
 * The header of the wal-index of a database, which every transaction changes that anybody commits
 * (https://www.sqlite.org/walformat.html#the_wal_index_header). To read it takes a fraction of the time in
 * which SQLite is asked for anything, which has to lock the file.
 */
export class WalIndex {
  readonly #file: OpenFile
  readonly #words = new Int32Array(LENGTH / 4)
  readonly #before = new Int32Array(LENGTH / 4)

  private constructor(file: OpenFile) {
    this.#file = file
    file.users += 1
  }

  /** That of the database at a path; undefined where there is none, or none that can be relied on. */
  static of(path: string): WalIndex | undefined {
    // A thread's files are closed with it, whoever uses them.
    if (!isMainThread || !PLATFORMS.includes(process.platform)) return undefined
    try {
      closeDeleted()
      const index = new WalIndex(open(`${path}-shm`))
      index.hasChanged()
      if (index.#words[0] === FORMAT) return index
      index.close()
      return undefined
    } catch {
      return undefined
    }
  }

  /** Whether it is another one than the last time that this was asked. */
  hasChanged(): boolean {
    const words = this.#words
    const before = this.#before
    const length = readSync(this.#file.descriptor, words, 0, LENGTH, 0)
    let isSame = length === LENGTH
    for (let index = 0; index < words.length; index++) {
      const word = words[index] as number
      if (word === before[index]) continue
      isSame = false
      before[index] = word
    }
    return !isSame
  }

  close(): void {
    this.#file.users -= 1
    closeDeleted()
  }
}
