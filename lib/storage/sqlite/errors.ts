/** Result codes of SQLite: https://www.sqlite.org/rescode.html */
const SQLITE_BUSY = 5
const SQLITE_READONLY = 8
const SQLITE_IOERR = 10
const SQLITE_CORRUPT = 11
const SQLITE_FULL = 13
const SQLITE_CANTOPEN = 14
const SQLITE_NOTADB = 26
/** What a file says that ends too early. */
const SQLITE_IOERR_SHORT_READ = 522
/** What a file says that is not at its path any more. */
const SQLITE_READONLY_DBMOVED = 1032

/** What may be over the next time. */
const PASSING = new Set([SQLITE_BUSY, SQLITE_IOERR, SQLITE_FULL])

/** The same of the file system: there is no space, or no more files may be open. */
const PASSING_IN_FILE_SYSTEM = new Set<unknown>(['EDQUOT', 'EIO', 'EMFILE', 'ENFILE', 'ENOSPC'])

/** How SQLite says that a schema is not what it was: it has no code of its own for that. */
const MISSING = /^no such | has no column named /

/** Thrown where another file has come to its place while a file was being opened. */
export class MovedError extends Error {
  override name = 'MovedError'

  constructor(path: string, cause?: unknown) {
    super(`the cache file ${path} was removed or replaced while it was being opened`, { cause })
  }
}

/** Thrown where another process is just making a file, or setting one aside. */
export class BeginningError extends Error {
  override name = 'BeginningError'
  readonly errcode: number = SQLITE_BUSY
}

/** The primary result code of an SQLite error; undefined for other errors. */
function resultCode(error: unknown): number | undefined {
  const code = extendedCode(error)
  return code === undefined ? undefined : code & 0xff
}

function extendedCode(error: unknown): number | undefined {
  const code = (error as { errcode?: unknown } | null)?.errcode
  return typeof code === 'number' ? code : undefined
}

/** Whether somebody else has locked what is wanted. */
export function isBusy(error: unknown): boolean {
  return resultCode(error) === SQLITE_BUSY
}

/** Whether an error may be over before long, without anybody doing anything about this file. */
export function isPassing(error: unknown): boolean {
  const code = resultCode(error)
  if (code !== undefined) return PASSING.has(code) || isMoved(error)
  return isMoved(error) || PASSING_IN_FILE_SYSTEM.has((error as { code?: unknown } | null)?.code)
}

/** Whether another file has come to the place of one that was open, or was being opened. */
export function isMoved(error: unknown): boolean {
  return error instanceof MovedError || extendedCode(error) === SQLITE_READONLY_DBMOVED
}

/** Whether an error means that the file can be read, but not written. */
export function isReadOnly(error: unknown): boolean {
  return resultCode(error) === SQLITE_READONLY
}

/** Whether a file, or one beside it, cannot be opened: SQLite does not tell why. */
export function isUnopenable(error: unknown): boolean {
  return resultCode(error) === SQLITE_CANTOPEN
}

/** Whether there is no space, or the disk fails. */
export function isOfDisk(error: unknown): boolean {
  const code = resultCode(error)
  return code === SQLITE_IOERR || code === SQLITE_FULL
}

/** Whether a file is no database, or one whose pages or header are not as they were written. */
export function isNoDatabase(error: unknown): boolean {
  const code = resultCode(error)
  if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB) return true
  // For a header that names a format which there is not, SQLite has no code of its own.
  return error instanceof Error && error.message === 'unsupported file format'
}

/** Whether a file ends too early. */
export function isCutOff(error: unknown): boolean {
  return extendedCode(error) === SQLITE_IOERR_SHORT_READ
}

/** Whether something is not in the schema, or has another name. */
export function isMissing(error: unknown): boolean {
  return MISSING.test((error as Error).message)
}
