import { asError } from '../observe/events.ts'

/** Codes of errors that happen to connections, and may not happen again. */
const BROKEN = new Set(['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET'])

/** Codes of errors after which there will be nothing but errors. */
const CLOSED = new Set(['UND_ERR_CLOSED', 'UND_ERR_DESTROYED'])

/** What happened, which fetch tells as the cause of its error. */
export function causeOf(error: unknown): Error & { readonly code?: unknown } {
  return asError(error instanceof Error ? (error.cause ?? error) : error)
}

/** What happened, in a sentence or a word. */
export function reasonOf(error: unknown): string {
  const { message, code } = causeOf(error)
  return message || String(code)
}

/** Whether a connection broke. */
export function isBroken(error: unknown): boolean {
  return BROKEN.has(String(causeOf(error).code))
}

/** Whether what makes the requests makes no more. */
export function isClosed(error: unknown): boolean {
  return CLOSED.has(String(causeOf(error).code))
}
