// How the torture talks with the processes that it starts: what the one end is told and asked, the other
// end answers by a function of this name.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Entry } from './ledger.ts'
import { random, seedRandom } from './random.ts'
import type { Outcome, Problem } from './tally.ts'

/** What programs tell and ask, and what they are answered. */
export interface Messages {
  outcome(outcome: Outcome): void
  event(text: string): void
  problem(kind: Problem, text: string): void
  /** How long it took, at the end, until something could be stored again; null for too long. */
  recovered(milliseconds: number | null): void
  /** A trial begins: which one. */
  trial(): number
  /** A trial lost responses that had been stored, without an event. */
  unnoticed(): void
  entry(path: string): Entry
  kept(path: string, version: number, clears: number): void
  deleting(path: string): void
  deleted(path: string): void
  clearing(): void
  cleared(): void
}

interface Message {
  /** Undefined where no answer is expected. */
  readonly id?: number
  readonly call: keyof Messages
  readonly args: unknown[]
}

/** A process that was started. */
export interface Launched {
  readonly child: ChildProcess
  /** How it ended: killed, with success, or with what it complained of. */
  readonly ended: Promise<string>
  /** Asks it to end in order. */
  stop(): void
}

/**
 * Starts a program of this folder.
 *
 * @param config its only argument
 * @param wrapper a command before it: a shell that sets limits, for example
 */
export function launch(
  program: string,
  config: object,
  answers: Partial<Messages>,
  wrapper: readonly string[] = [],
): Launched {
  const file = join(import.meta.dirname, program)
  const line = [
    ...wrapper,
    ...[process.execPath, '--conditions=source', '--no-warnings', file],
    ...[JSON.stringify(config), String(Math.floor(random() * 2 ** 32))],
  ]
  const child = spawn(line[0] as string, line.slice(1), {
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
  })
  let complaints = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaints += text
  })
  child.on('message', ({ id, call, args }: Message) => {
    const answer = answers[call] as (...args: unknown[]) => unknown
    const result = answer(...args)
    if (id !== undefined && child.connected) child.send({ id, result }, () => {})
  })
  const end = () => child.kill('SIGKILL')
  process.once('exit', end)
  const ended = once(child, 'close').then(([code, signal]) => {
    process.off('exit', end)
    if (signal === 'SIGKILL') return 'killed'
    if (code === 0) return 'success'
    const [error = complaints.slice(0, 200)] = /^\w*Error: .*$/m.exec(complaints) ?? []
    return `${code ?? signal}: ${error}`
  })
  return {
    child,
    ended,
    stop: () => {
      if (child.connected) child.send('stop', () => {})
    },
  }
}

/** In a process that was started: what it was started with. */
export function ownConfig<T>(): T {
  return JSON.parse(process.argv[2] ?? '') as T
}

let isStopping = false
let questions = 0
const asked = new Map<number, (result: never) => void>()

if (process.send) {
  seedRandom(Number(process.argv[3]))
  process.on('message', (message: 'stop' | { id: number; result: never }) => {
    if (message === 'stop') isStopping = true
    else asked.get(message.id)?.(message.result)
  })
  // Whoever has let go of the other end wants nothing more of this one.
  process.on('disconnect', exit)
}

function exit(): void {
  process.exit()
}

/** Ends this process as soon as nothing else keeps it running. */
export function leave(): void {
  process.off('disconnect', exit)
  process.disconnect()
}

/** Whether this process has been asked to end. */
export function stopping(): boolean {
  return isStopping
}

export function tell<K extends keyof Messages>(call: K, ...args: Parameters<Messages[K]>): void {
  process.send?.({ call, args }, () => {})
}

export async function ask<K extends keyof Messages>(
  call: K,
  ...args: Parameters<Messages[K]>
): Promise<ReturnType<Messages[K]>> {
  questions += 1
  const id = questions
  const answer = new Promise<never>((resolve) => asked.set(id, resolve))
  process.send?.({ id, call, args }, () => {})
  return answer.finally(() => asked.delete(id))
}
