// What the cache costs and what it saves, beside the targets that it has set itself.
import { once } from 'node:events'
import { rmSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { noRedis, serverUrl, startRedis } from '../../test/helpers/servers.ts'
import { newFolder, runOrThrow } from '../node-binaries.ts'
import type { ContenderName } from './contenders.ts'
import type { Client, Found, Task } from './measure.ts'

export interface Settings {
  /** Fewer rounds, and nothing that takes minutes. */
  readonly isQuick: boolean
}

const KB = 1000
const MEASURE = join(import.meta.dirname, 'measure.ts')

export async function benchStorage({ isQuick }: Settings): Promise<void> {
  const folder = await newFolder(join(tmpdir(), 'caching-agent-bench-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const origin = await startOrigin()
  const redis = noRedis ? undefined : serverUrl('redis', await startRedis())
  if (noRedis) console.log(`Redis is skipped: ${noRedis}\n`)
  const bench = new Bench(folder, origin.url, isQuick, redis)
  await bench.hits()
  await bench.misses()
  await bench.lateness()
  await bench.scale()
  bench.verdict()
  origin.close()
}

/** Answers with as many bytes as the path says, after as many milliseconds as it says. */
async function startOrigin() {
  let number = 0
  const server = createServer((request, response) => {
    const [, length, milliseconds] = request.url?.split('/') ?? []
    number += 1
    response.setHeader('Cache-Control', 'public, max-age=86400')
    response.setHeader('Content-Type', 'application/octet-stream')
    response.setHeader('ETag', '"some-entity-tag"')
    response.setHeader('X-Number', number)
    const answer = () => response.end(Buffer.alloc(Number(length), 'x'))
    if (Number(milliseconds) > 0) setTimeout(answer, Number(milliseconds))
    else answer()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => server.close().closeAllConnections(),
  }
}

/** A ratio that the library has set itself, and what became of it. */
interface Target {
  readonly what: string
  readonly target: string
  readonly measured: string
  readonly isMet: boolean
}

class Bench {
  readonly #folder: string
  readonly #origin: string
  readonly #isQuick: boolean
  readonly #redis: string | undefined
  readonly #targets: Target[] = []

  constructor(folder: string, origin: string, isQuick: boolean, redis: string | undefined) {
    this.#folder = folder
    this.#origin = origin
    this.#isQuick = isQuick
    this.#redis = redis
  }

  async hits(): Promise<void> {
    const sizes = this.#isQuick ? [1 * KB, 100 * KB] : [1 * KB, 10 * KB, 100 * KB, 5000 * KB]
    const pairs: [ContenderName, ContenderName][] = [
      ['memory tier', "undici's memory store"],
      ['memory tier', 'floor'],
      ['memory:', "undici's memory store"],
      ['SQLite', "undici's SQLite store"],
      ['Redis', 'undici-cache-redis'],
    ]
    const names = [...new Set(pairs.flat())].filter((name) => this.#isThere(name))
    const cells = sizes.flatMap((size) =>
      (['request', 'fetch'] as const).map((client) => ({ size, client })),
    )
    for (const { size, client } of cells) {
      console.log(`Hits of ${sizeName(size)} through ${clientName(client)}, in a second`)
      const rounds = await this.#rounds(names, (contender) => ({
        kind: 'hit',
        contender,
        client,
        url: `${this.#origin}/${size}`,
        seconds: 0.5,
      }))
      report(rounds)
      for (const [a, b] of pairs) {
        if (!rounds.has(a) || !rounds.has(b)) continue
        const ratio = ratioOf(rounds, a, b)
        console.log(`  ${a} / ${b}: ${ratio.toFixed(2)}`)
        const target = hitTarget(a, b, size, client)
        if (target === undefined) continue
        const what = `${a} / ${b}, ${sizeName(size)}, ${clientName(client)}`
        this.#note(what, `≥ ${target}`, ratio.toFixed(2), ratio >= target)
      }
      console.log()
    }
  }

  async misses(): Promise<void> {
    const names: ContenderName[] = ['no cache', 'memory tier', 'SQLite', "undici's SQLite store"]
    for (const milliseconds of [0, 10]) {
      const origin = milliseconds ? `that takes ${milliseconds} ms` : 'that answers at once'
      console.log(`Misses of 10 KB that are stored, from an origin ${origin}, in a second`)
      const rounds = await this.#rounds(names, (contender) => ({
        kind: 'miss',
        contender,
        url: `${this.#origin}/${10 * KB}/${milliseconds}`,
        seconds: this.#isQuick ? 1 : 2,
      }))
      report(rounds)
      const ratio = ratioOf(rounds, 'memory tier', 'no cache')
      console.log(`  memory tier / no cache: ${ratio.toFixed(2)}\n`)
      const what = `misses of 10 KB, origin ${origin}, with and without the cache`
      this.#note(what, '≥ 0.90', ratio.toFixed(2), ratio >= 0.9)
    }
  }

  async lateness(): Promise<void> {
    console.log('Milliseconds by which the event loop is late, storing 100 × 1 MB a second')
    const names: ContenderName[] = ['no cache', 'memory tier', "undici's SQLite store"]
    const task = (contender: ContenderName) => ({
      ...{ kind: 'delay' as const, contender, url: `${this.#origin}/${1000 * KB}`, rate: 100 },
      seconds: this.#isQuick ? 2 : 5,
    })
    const rounds = await this.#rounds(names, task, this.#isQuick ? 1 : 3)
    for (const [name, found] of rounds) {
      const all = ['p50', 'p99', 'max'].map((key) => `${key} ${median(found, key).toFixed(1)}`)
      const { begun = 0, stored } = found[0] as Found
      const kept = stored === undefined ? '' : `, ${stored} of ${begun} stored`
      console.log(`  ${name}: ${all.join(', ')}${kept}`)
    }
    const p99 = median(rounds.get('memory tier') ?? [], 'p99')
    const what = 'event loop, p99, storing 100 × 1 MB a second'
    this.#note(what, '< 20 ms', `${p99.toFixed(1)} ms`, p99 < 20)
    console.log()
  }

  async scale(): Promise<void> {
    console.log('SQLite by the number of stored responses')
    const counts = this.#isQuick ? [1e3, 1e5] : [1e3, 1e5, 1e6]
    const files: { count: number; store: string }[] = []
    for (const count of counts) {
      const path = join(this.#folder, `${count}.sqlite`)
      const store = `sqlite://${path}`
      const { milliseconds = 0 } = await measure({ kind: 'fill', store, count })
      const size = (statSync(path).size / 1e6).toFixed(0)
      const seconds = (milliseconds / 1000).toFixed(0)
      console.log(`  ${count}: written in ${seconds} s, a file of ${size} MB`)
      files.push({ count, store })
    }
    const found = new Map<number, Found[]>(counts.map((count) => [count, []]))
    for (let round = 0; round < (this.#isQuick ? 3 : 5); round++) {
      for (const file of files) {
        const task = { kind: 'lookup' as const, ...file, samples: this.#isQuick ? 1000 : 5000 }
        found.get(file.count)?.push(await measure(task))
      }
    }
    const value = (count: number, key: string) => median(found.get(count) ?? [], key)
    for (const count of counts) {
      const times = (name: string) =>
        ['50', '99'].map((part) => `p${part} ${value(count, name + part).toFixed(0)} µs`).join(', ')
      const open = value(count, 'open').toFixed(1)
      console.log(
        `  ${count}: opened and first hit ${open} ms; lookup ${times('lookup')}; hit ${times('hit')}`,
      )
    }
    const [least = 0, most = 0] = [counts[0], counts.at(-1)]
    for (const [key, name] of [
      ['lookup50', 'lookup p50'],
      ['hit50', 'hit p50'],
      ['open', 'opening'],
    ] as const) {
      const ratio = value(most, key) / value(least, key)
      const what = `${name}, ${most} stored responses / ${least}`
      this.#note(what, '≤ 1.5', ratio.toFixed(2), ratio <= 1.5)
    }
    console.log()
  }

  verdict(): void {
    console.log('Targets')
    for (const { what, target, measured, isMet } of this.#targets) {
      console.log(
        `  ${isMet ? 'met   ' : 'MISSED'} target ${target}, measured ${measured}: ${what}`,
      )
    }
  }

  #note(what: string, target: string, measured: string, isMet: boolean): void {
    this.#targets.push({ what, target, measured, isMet })
  }

  #isThere(name: ContenderName): boolean {
    if (name === 'Redis') return this.#redis !== undefined
    if (name !== 'undici-cache-redis') return true
    try {
      import.meta.resolve(name)
      return this.#redis !== undefined
    } catch {
      return false
    }
  }

  /** Measures all by turns, so that whatever else the machine does is the same for all. */
  async #rounds(
    names: readonly ContenderName[],
    task: (contender: ContenderName) => OfContender,
    times = this.#isQuick ? 3 : 5,
  ): Promise<Map<ContenderName, Found[]>> {
    const rounds = new Map<ContenderName, Found[]>(names.map((name) => [name, []]))
    for (let round = 0; round < times; round++) {
      for (const name of names) {
        const folder = await newFolder(join(this.#folder, 'round-'))
        const place = { folder, ...(this.#redis && { redis: this.#redis }) }
        rounds.get(name)?.push(await measure({ ...task(name), ...place } as Task))
        rmSync(folder, { recursive: true })
      }
    }
    return rounds
  }
}

/** A task but for the place, which is another one each time. */
type OfContender = Without<Extract<Task, { contender: string }>, 'folder' | 'redis'>
type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never

function hitTarget(
  a: ContenderName,
  b: ContenderName,
  size: number,
  client: Client,
): number | undefined {
  if (a === 'memory tier' && b === 'floor') {
    return client === 'fetch' && size === 1 * KB ? 0.9 : undefined
  }
  if (a === 'memory tier') return client === 'request' && size === 1 * KB ? 2.5 : undefined
  if (a === 'SQLite') return size === 1 * KB || size === 100 * KB ? 2 : undefined
  return undefined
}

/** Makes a measurement in a process of its own. */
export async function measure(task: Task): Promise<Found> {
  const args = ['--conditions=source', '--no-warnings', MEASURE, JSON.stringify(task)]
  const options = { cwd: process.cwd(), timeout: 900_000 }
  const { stdout } = await runOrThrow(process.execPath, args, options)
  return JSON.parse(stdout) as Found
}

function report(rounds: Map<ContenderName, Found[]>): void {
  for (const [name, found] of rounds) {
    console.log(`  ${name}: ${Math.round(median(found, 'perSecond')).toLocaleString('en')}`)
  }
}

/** The median of the ratios of what was measured one after the other. */
function ratioOf(rounds: Map<ContenderName, Found[]>, a: ContenderName, b: ContenderName): number {
  const all = (name: ContenderName) =>
    (rounds.get(name) ?? []).map(({ perSecond = Number.NaN }) => perSecond)
  const others = all(b)
  return middle(all(a).map((value, round) => value / (others[round] as number)))
}

/** The median of what was found several times. */
export function median(found: readonly Found[], key: string): number {
  return middle(found.map((each) => each[key] ?? Number.NaN))
}

function middle(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

function sizeName(size: number): string {
  return size < 1000 * KB ? `${size / KB} KB` : `${size / KB / 1000} MB`
}

function clientName(client: Client): string {
  return client === 'request' ? 'request()' : 'the built-in fetch'
}
