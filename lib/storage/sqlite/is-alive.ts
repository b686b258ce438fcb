import { existsSync, readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import { threadId } from 'node:worker_threads'

/** Who has a file open, as others find it there. */
export interface Opener {
  /** As {@link tellingOfLife} has made it; of an older release it tells nothing, or is missing. */
  readonly id: string | null
  readonly pid: number
  /** Whether it has said not long ago that it is alive: 1 or 0. */
  readonly isLeased: number
}

/** In which of all threads of all processes of all machines something is. */
interface Life {
  /** Where a process is the only one with its number: a machine since it was started, or a container on it. */
  readonly place: string
  readonly thread: string
  /** When the thread began, by which it is told from a later one of the same number. */
  readonly start: string
}

const UNKNOWN = '?'

/** What is open in this thread. */
const open = new Set<string>()

let own: Life | undefined

function ownLife(): Life {
  own ??= linuxLife() ?? { place: hostname(), thread: String(threadId), start: UNKNOWN }
  return own
}

/** The system calls of a thread are made by itself, so that it can ask who it is. */
function linuxLife(): Life | undefined {
  try {
    const [pid, , thread = ''] = readlinkSync('/proc/thread-self').split('/')
    const start = startOf(process.pid, thread)
    // What is mounted there may be of others.
    if (Number(pid) !== process.pid || !start) return undefined
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    return { place: `${boot}/${readlinkSync('/proc/self/ns/pid')}`, thread, start }
  } catch {
    return undefined
  }
}

/**
 * When a thread of a process began, in ticks since the machine did; empty where it is over, undefined where
 * that cannot be known.
 */
function startOf(pid: number, thread: string): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'latin1')
    // The name of the program, which is in parentheses, may be anything.
    const [state = '', ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return /^[ZX]/.test(state) ? '' : fields[18]
  } catch {
    // Of a process that is hidden nothing can be seen.
    return existsSync(`/proc/${pid}/task`) ? '' : undefined
  }
}

/** An identifier by which others find out for how long what it is of is alive. */
export function tellingOfLife(uuid: string): string {
  const { place, thread, start } = ownLife()
  return [uuid, place, thread, start].join(' ')
}

/** What is known by an identifier is open in this thread, until {@link end}. */
export function begin(id: string): void {
  open.add(id)
}

export function end(id: string): void {
  open.delete(id)
}

/**
 * Whether who has opened a file still has it open, or its thread may have. A process of the same number, as each is
 * that a container starts, is another one.
 */
export function isAlive({ id, pid, isLeased }: Opener): boolean {
  if (id !== null && open.has(id)) return true
  const [, place, thread, start] = id?.split(' ') ?? []
  if (place === undefined || thread === undefined || start === undefined) return isRunning(pid)
  const us = ownLife()
  const isOwnThread = pid === process.pid && thread === us.thread && start === us.start
  // Another container or machine, or another copy of this module: nothing can be seen of it.
  if (place !== us.place || isOwnThread) return isLeased === 1
  if (!isRunning(pid)) return false
  const found = start === UNKNOWN ? undefined : startOf(pid, thread)
  if (found !== undefined) return found === start
  // Another thread of this process may be over although the process is not.
  return pid !== process.pid || isLeased === 1
}

/** Whether there is a process of a number; this one is. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // It belongs to somebody else, but is there.
    return (error as { code?: unknown }).code === 'EPERM'
  }
}
