// Runs the public test suite for HTTP caches (github.com/http-tests/cache-tests) against this library, with the
// suite's own engine, origin and cases, out of a checkout of it: nothing of the suite is in this repository.
//
//   npm run conformance -- ../cache-tests                                    a private, then a shared cache
//   npm run conformance -- https://github.com/http-tests/cache-tests.git     out of a new clone
//   npm run conformance -- ../cache-tests --mode shared --id freshness-none  one case, and all that was sent
import { spawn } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { devNull, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { cachingAgent } from 'caching-agent'
import { fetch, type RequestInfo, type RequestInit, setGlobalDispatcher } from 'undici'
import { newFolder, runOrThrow } from './node-binaries.ts'

/** Required cases that this library fails for a reason, by their ids. */
const EXPLAINED: readonly [ids: RegExp, reason: string][] = [
  [
    /^age-parse-/,
    'of several Age the first counts, and one that is invalid is ignored (RFC 9111 §5.1)',
  ],
  [
    /^304-etag-update-response-ETag$/,
    'a 304 with another entity-tag is about another response (§4.3.4)',
  ],
  [
    /^304-etag-update-response-Content-(Encoding|Range|Type)$/,
    'the stored content depends on it (§3.2)',
  ],
  [
    /^304-etag-update-response-Content-MD5$/,
    'a 304 updates all fields but the excepted ones (§3.2)',
  ],
]

/** What the suite takes each of our caches for: it leaves out the cases that do not concern such a one. */
const MODES = { private: 'a browser', shared: 'a proxy' }
type Mode = keyof typeof MODES

const KINDS = ['required', 'optimal', 'check'] as const

/** By the sign that each version of the suite has for an outcome. */
const OUTCOMES: Record<string, string> = {
  '\uf058': 'passed',
  '\uf055': 'passed', // a check: yes
  '\uf057': 'failed',
  '\uf05a': 'failed', // not optimal
  '\uf056': 'failed', // a check: no
  '\uf059': 'setup failed',
  '\uf06a': 'harness failed',
  '\uf192': 'dependency failed',
  '\uf01e': 'retried',
}
const COLUMNS = [...new Set(Object.values(OUTCOMES))]

interface Case {
  id: string
  /** Required where the suite does not say. */
  kind?: (typeof KINDS)[number]
  depends_on?: string[]
}

interface Suite {
  tests: Case[]
}

/** By the id of each case that ran: whether it passed, or the kind of the failure and the reason. */
type Results = Record<string, true | [name: string, message: string]>

interface Engine {
  runTests(...args: unknown[]): Promise<void>
  getResults(): Results
}

interface Judge {
  determineTestResult(suites: Suite[], id: string, results: Results, needs: boolean): string[]
}

interface Task {
  checkout: string
  /** The folder of the suite's engine. */
  engine: string
  mode: Mode
  origin: string
  id: string | undefined
}

if (isMainThread) await main()
else parentPort?.postMessage(await runCases(workerData))

async function main() {
  const { source, modes, id } = options()
  const checkout = await checkOut(source)
  const engine = engineOf(checkout)
  const suites = await suitesOf(checkout, id)
  const judge = await judgeOf(engine)
  const origin = await startOrigin(checkout, engine, id !== undefined)
  try {
    for (const mode of modes) {
      const started = performance.now()
      const results = await inThread({ checkout, engine, mode, origin: origin.url, id })
      const seconds = ((performance.now() - started) / 1000).toFixed(0)
      const ran = suites.flatMap(({ tests }) => tests).filter((each) => each.id in results)
      console.log(`\nA ${mode} cache as ${MODES[mode]}: ${ran.length} cases, ${seconds} s\n`)
      // A case that runs alone is judged by itself.
      const signOf = (each: string) =>
        judge.determineTestResult(suites, each, results, id === undefined)[0] ?? ''
      report(ran, results, signOf)
    }
  } finally {
    origin.stop()
  }
}

/** Ends the program with what is wrong about its arguments. */
function refuse(message: string): never {
  const options = '[--mode private|shared|both] [--id TEST-ID]'
  console.error(`${message}\nUsage: npm run conformance -- <path or git URL> ${options}`)
  process.exit(2)
}

function options() {
  const known = { mode: { type: 'string', default: 'both' }, id: { type: 'string' } } as const
  const parse = () => {
    try {
      return parseArgs({ options: known, allowPositionals: true })
    } catch (error) {
      refuse(error instanceof Error ? error.message : String(error))
    }
  }
  const { values, positionals } = parse()
  const [source] = positionals
  if (!source || positionals.length > 1) refuse('Give one checkout of the suite, by path or URL.')
  const all = Object.keys(MODES) as Mode[]
  const modes = all.filter((mode) => values.mode === mode || values.mode === 'both')
  if (modes.length === 0) refuse(`There is no mode ${values.mode}.`)
  return { source, modes, id: values.id }
}

async function checkOut(source: string): Promise<string> {
  if (!/^(https?|ssh|git|file):\/\/|^[\w.-]+@[\w.-]+:/.test(source)) return resolve(source)
  const folder = await newFolder(join(tmpdir(), 'caching-agent-conformance-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const clone = ['clone', '--quiet', '--depth', '1', '--', source, folder]
  await runOrThrow('git', clone, { cwd: folder }).catch(({ message }: Error) => refuse(message))
  return folder
}

/** Older versions have the engine at the top. */
function engineOf(checkout: string): string {
  const has = (...path: string[]) => existsSync(join(...path))
  const engine = [join(checkout, 'test-engine'), checkout].find(
    (each) => has(each, 'client', 'runner.mjs') && has(each, 'server', 'server.mjs'),
  )
  if (engine && has(checkout, 'tests', 'index.mjs')) return engine
  refuse(`${checkout} is no checkout of the suite: it lacks its runner, its server or its cases.`)
}

/** All cases, or the one with the id, which then tells what it sends and gets. */
async function suitesOf(checkout: string, id: string | undefined): Promise<Suite[]> {
  const all = (await load<{ default: Suite[] }>(checkout, 'tests', 'index.mjs')).default
  if (id === undefined) return all
  const tests = all.flatMap((suite) => suite.tests).filter((each) => each.id === id)
  if (tests.length === 0) refuse(`The suite has no case ${id}.`)
  return [{ tests: tests.map((each) => ({ ...each, dump: true })) }]
}

/** The suite's own judgement of results. Older versions have it among what shows them. */
function judgeOf(engine: string): Promise<Judge> {
  const separate = existsSync(join(engine, 'lib', 'results.mjs'))
  return load(engine, 'lib', separate ? 'results.mjs' : 'display.mjs')
}

function load<T>(...path: string[]): Promise<T> {
  return import(pathToFileURL(join(...path)).href)
}

/** Starts the suite's origin, which takes its settings as npm gives them, on a port that is free. */
async function startOrigin(checkout: string, engine: string, aloud: boolean) {
  const settings = { protocol: 'http', port: '0', pidfile: devNull }
  const entries = Object.entries(settings).map(([name, value]) => [`npm_config_${name}`, value])
  const server = spawn(process.execPath, [join(engine, 'server', 'server.mjs')], {
    cwd: checkout,
    env: { ...process.env, ...Object.fromEntries(entries) },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const stop = () => server.kill()
  process.once('exit', stop)
  const port = await new Promise<string>((resolve, reject) => {
    createInterface(server.stdout).on('line', (line) => {
      const [, found] = /^Listening on \S+:(\d+)\/?$/.exec(line) ?? []
      if (found) resolve(found)
      else if (aloud) console.log(line)
    })
    server.once('exit', () => reject(new Error("The suite's origin ended before it listened")))
    setTimeout(() => reject(new Error("The suite's origin does not listen")), 10_000).unref()
  })
  return { url: `http://localhost:${port}`, stop }
}

/** Each mode needs a thread of its own: the engine keeps results in its modules, and uses global things. */
async function inThread(task: Task): Promise<Results> {
  const worker = new Worker(new URL(import.meta.url), { workerData: task })
  try {
    return await new Promise((resolve, reject) => {
      worker.once('message', resolve)
      worker.once('error', reject)
      worker.once('exit', () => reject(new Error("The suite's engine stopped before its end")))
    })
  } finally {
    await worker.terminate()
  }
}

async function runCases({ checkout, engine, mode, origin, id }: Task): Promise<Results> {
  const shared = mode === 'shared'
  setGlobalDispatcher(cachingAgent({ store: 'memory:', ...(shared && { shared }) }))
  // A proxy's client has no cache that could add directives to requests, as `fetch` does by itself.
  const plain = (url: RequestInfo, init?: RequestInit) =>
    fetch(url, { ...init, cache: 'force-cache' })
  const client = shared ? plain : fetch
  Object.assign(globalThis, { fetch: client })
  // For interim responses the engine imports undici, which has to be the one with the agent.
  const undici = { url: import.meta.resolve('undici'), shortCircuit: true }
  registerHooks({ resolve: (name, by, next) => (name === 'undici' ? undici : next(name, by)) })
  const { runTests, getResults } = await load<Engine>(engine, 'client', 'runner.mjs')
  // Newer versions use the global `fetch`; older ones are given one.
  const given = runTests.length > 3 ? [client] : []
  await runTests(await suitesOf(checkout, id), ...given, !shared, origin)
  return getResults()
}

function report(ran: Case[], results: Results, signOf: (id: string) => string) {
  const outcomes = ran.map(({ id, kind = 'required', depends_on: needs }) => {
    const outcome = OUTCOMES[signOf(id)] ?? 'harness failed'
    const depends = outcome === 'dependency failed'
    const reason = depends ? `needs ${needs?.join(', ')}` : [results[id]].flat().join(': ')
    return { id, kind, outcome, reason }
  })
  const ofKind = (kind: string) => outcomes.filter((each) => each.kind === kind)
  const rows = KINDS.map((kind) => {
    const these = ofKind(kind)
    const count = (outcome: string) => these.filter((each) => each.outcome === outcome).length
    return [kind, these.length, ...COLUMNS.map(count)].map(String)
  })
  const head = ['kind    ', 'cases', ...COLUMNS]
  for (const row of [head, ...rows]) {
    console.log(row.map((cell, at) => cell.padEnd(head[at]?.length ?? 0)).join('  '))
  }
  console.log()
  for (const { id, kind, outcome, reason } of KINDS.flatMap(ofKind)) {
    if (outcome === 'passed') continue
    const explained = EXPLAINED.find(([ids]) => kind === 'required' && ids.test(id))?.[1]
    const remark = explained ? ` (explained: ${explained})` : ''
    console.log(`${kind} ${id}: ${outcome}: ${reason}${remark}`)
    if (kind === 'required' && outcome !== 'dependency failed' && !explained) process.exitCode = 1
  }
}
