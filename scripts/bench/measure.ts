// One measurement in a process of its own, so that none is slowed down by what another one has made of the
// code. Told which by its only argument; prints what it found as JSON.
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as delay } from 'node:timers/promises'
import { cachingAgent, HttpCache } from 'caching-agent'
import { type Dispatcher, request } from 'undici'
import { digest, keyParts } from '../../lib/key.ts'
import { type Contender, type ContenderName, contender, type Place } from './contenders.ts'
import { generate, type JobName, manage } from './stored-million.ts'

/** Through undici's request(), or through the built-in fetch. */
export type Client = 'request' | 'fetch'

/** What is measured, and what with. */
export type Task =
  /** How many hits there are in a second, one after the other. */
  | (Place & {
      readonly kind: 'hit'
      readonly contender: ContenderName
      readonly client: Client
      readonly url: string
      readonly seconds: number
    })
  /** How many misses there are in a second, with what it takes until they are stored. */
  | (Place & {
      readonly kind: 'miss'
      readonly contender: ContenderName
      readonly url: string
      readonly seconds: number
    })
  /** By how much the event loop is late while so many responses a second are stored. */
  | (Place & {
      readonly kind: 'delay'
      readonly contender: ContenderName
      readonly url: string
      readonly rate: number
      readonly seconds: number
    })
  /** How long it takes to store responses and to read them again, in milliseconds, and what part of their size is stored. */
  | (Place & {
      readonly kind: 'seal'
      readonly contender: ContenderName
      readonly url: string
      readonly seconds: number
    })
  /** How much memory a large response takes beyond that before it, in MiB, and how long its first byte, in milliseconds. */
  | (Place & {
      readonly kind: 'large'
      readonly contender: ContenderName
      readonly client: Client
      readonly url: string
      readonly length: number
    })
  /** Stores so many responses, which are of no origin. */
  | { readonly kind: 'fill'; readonly store: string; readonly count: number }
  /** How long it takes to open a store that holds so many responses, and to find some of them. */
  | {
      readonly kind: 'lookup'
      readonly store: string
      readonly count: number
      readonly samples: number
    }
  /** Writes a file of so many responses. */
  | { readonly kind: 'generate'; readonly store: string; readonly count: number }
  /** What it takes to do something with all responses of a store. */
  | { readonly kind: 'manage'; readonly store: string; readonly job: JobName }

/** What a measurement finds: its names depend on the task. */
export type Found = Readonly<Record<string, number>>

/** How long it takes until all code that a hit runs through is compiled, in milliseconds. */
const WARM_UP = 2000

/** How many requests are under way at a time. */
const CONCURRENCY = 16

let unique = 0

/** Where the responses of {@link fill} claim to come from. */
const NOWHERE = 'http://nowhere.invalid'

const KINDS: { [K in Task['kind']]: (task: Extract<Task, { kind: K }>) => Promise<Found> } = {
  hit,
  miss,
  delay: lateness,
  seal,
  large,
  fill,
  lookup,
  generate,
  manage,
}

const task = JSON.parse(process.argv[2] ?? '') as Task
console.log(JSON.stringify(await KINDS[task.kind](task as never)))
process.exit()

async function hit(task: Extract<Task, { kind: 'hit' }>): Promise<Found> {
  const { client, url, seconds } = task
  const made = await contender(task.contender, task)
  const first = await get('request', made.dispatcher, url)
  await made.settle?.()
  // What is written without being waited for.
  await delay(50)
  const dispatcher = client === 'fetch' ? (made.forFetch ?? made.dispatcher) : made.dispatcher

  const count = async (milliseconds: number) => {
    let number = 0
    const started = performance.now()
    let now = started
    for (; now - started < milliseconds; now = performance.now()) {
      for (let time = 0; time < 10; time++) {
        const { length } = await get(client, dispatcher, url)
        if (length !== first.length) throw new Error(`${length} bytes, not ${first.length}`)
      }
      number += 10
    }
    return (number / (now - started)) * 1000
  }
  await count(WARM_UP)
  const perSecond = await count(seconds * 1000)
  const last = await get(client, dispatcher, url)
  // The origin numbers its answers.
  if (last.number !== first.number) throw new Error(`${task.contender} asked the origin again`)
  return { perSecond }
}

interface Got {
  readonly length: number
  readonly number: string
}

async function get(client: Client, dispatcher: Dispatcher, url: string): Promise<Got> {
  if (client === 'request') {
    const { headers, body } = await request(url, { dispatcher })
    const { byteLength } = await body.arrayBuffer()
    return { length: byteLength, number: String(headers['x-number']) }
  }
  const response = await fetch(url, { dispatcher } as unknown as RequestInit)
  const { byteLength } = await response.arrayBuffer()
  return { length: byteLength, number: String(response.headers.get('x-number')) }
}

async function miss(task: Extract<Task, { kind: 'miss' }>): Promise<Found> {
  const made = await contender(task.contender, task)
  const go = async (milliseconds: number) => {
    let number = 0
    const started = performance.now()
    const work = async () => {
      while (performance.now() - started < milliseconds) {
        number += 1
        await get('request', made.dispatcher, uniqueUrl(task.url))
      }
    }
    await Promise.all(Array.from({ length: CONCURRENCY }, work))
    await made.settle?.()
    return (number / (performance.now() - started)) * 1000
  }
  await go(task.seconds * 300)
  return { perSecond: await go(task.seconds * 1000), ...(await countOf(made)) }
}

async function lateness(task: Extract<Task, { kind: 'delay' }>): Promise<Found> {
  const made = await contender(task.contender, task)
  const resolution = 1
  const histogram = monitorEventLoopDelay({ resolution })
  const begun: Promise<unknown>[] = []
  const go = async (seconds: number) => {
    const started = performance.now()
    for (let number = 0; number < seconds * task.rate; number++) {
      begun.push(get('request', made.dispatcher, uniqueUrl(task.url)))
      const due = started + ((number + 1) * 1000) / task.rate
      await delay(Math.max(0, due - performance.now()))
    }
  }
  await go(0.5)
  histogram.enable()
  await go(task.seconds)
  histogram.disable()
  await Promise.all(begun)
  await made.settle?.()
  // What is measured is how far apart ticks are that should be so far apart.
  const late = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - resolution)
  return {
    p50: late(histogram.percentile(50)),
    p99: late(histogram.percentile(99)),
    max: late(histogram.max),
    begun: begun.length,
    ...(await countOf(made)),
  }
}

async function seal(task: Extract<Task, { kind: 'seal' }>): Promise<Found> {
  const made = await contender(task.contender, task)
  const urls: string[] = []
  let length = 0
  const store = async () => {
    const url = uniqueUrl(task.url)
    urls.push(url)
    length += (await get('request', made.dispatcher, url)).length
    await made.settle?.()
  }
  const read = () =>
    get('request', made.dispatcher, urls[Math.floor(Math.random() * urls.length)] as string)
  const timed = async (call: () => Promise<unknown>) => {
    const times: number[] = []
    const end = performance.now() + task.seconds * 1000
    // The first ones are for the compiler.
    for (let number = 0; number < 30 || performance.now() < end; number++) {
      const began = performance.now()
      await call()
      times.push(performance.now() - began)
    }
    return times.slice(times.length / 3).sort((a, b) => a - b)[Math.floor(times.length / 3)] ?? 0
  }
  const storing = await timed(store)
  const reading = await timed(read)
  return { storing, reading, part: ((await made.size?.()) ?? Number.NaN) / length }
}

async function large({
  client,
  url,
  length,
  ...task
}: Extract<Task, { kind: 'large' }>): Promise<Found> {
  const made = await contender(task.contender, task)
  const dispatcher = client === 'fetch' ? (made.forFetch ?? made.dispatcher) : made.dispatcher
  // What it takes to run at all is not what a large response takes.
  for (let time = 0; time < 2; time++) await get(client, dispatcher, `${url}/1000`)
  await delay(500)
  const idle = process.memoryUsage.rss()
  const started = performance.now()
  const body =
    client === 'fetch'
      ? (await fetch(`${url}/${length}`, { dispatcher } as unknown as RequestInit)).body
      : (await request(`${url}/${length}`, { dispatcher })).body
  let first: number | undefined
  for await (const _ of body ?? []) first ??= performance.now() - started
  await made.settle?.()
  const peak = process.resourceUsage().maxRSS / 1024 - idle / 2 ** 20
  return { peak, first: first ?? Number.NaN }
}

function uniqueUrl(url: string): string {
  unique += 1
  return `${url}/${process.pid}-${unique}`
}

async function countOf({ count }: Contender): Promise<Found> {
  return count ? { stored: await count() } : {}
}

async function fill({ store, count }: Extract<Task, { kind: 'fill' }>): Promise<Found> {
  const cache = new HttpCache({ store, memory: false, maxSize: '100GiB' })
  const now = Date.now()
  const content = Buffer.alloc(200, 'x')
  const fields = {
    date: new Date(now).toUTCString(),
    'content-type': 'application/json',
    'content-length': String(content.length),
    'cache-control': 'public, max-age=86400',
    etag: '"some-entity-tag"',
  }
  const started = performance.now()
  for (let number = 0; number < count; number++) {
    const url = `${NOWHERE}/${number}`
    const asked = { method: 'GET', target: new URL(url), server: undefined }
    const recording = cache.responses.recorder.record({
      cacheKey: digest(keyParts(asked, false)),
      ...{ method: 'GET', url, status: 200, statusText: 'OK', fields, nominated: {} },
      ...{ requestTime: now, responseTime: now },
    })
    recording.content.append(content)
    recording.complete(true)
    if (number % 100 === 99) await cache.responses.settled()
  }
  await cache.close()
  return { milliseconds: performance.now() - started }
}

async function lookup(task: Extract<Task, { kind: 'lookup' }>): Promise<Found> {
  const { store, count, samples } = task
  const url = () => `${NOWHERE}/${Math.floor(Math.random() * count)}`
  const headers = { 'cache-control': 'only-if-cached' }
  const started = performance.now()
  const agent = cachingAgent({ store, memory: false, maxSize: '100GiB' })
  const ask = async () => {
    const { statusCode, body } = await request(url(), { dispatcher: agent, headers })
    await body.dump()
    if (statusCode !== 200) throw new Error(`status ${statusCode}`)
  }
  await ask()
  const open = performance.now() - started

  const timed = async (call: () => Promise<unknown>) => {
    const times: number[] = []
    for (let number = 0; number < samples * 1.5; number++) {
      const began = performance.now()
      await call()
      times.push(performance.now() - began)
    }
    // The first ones are for the compiler.
    return times.slice(samples / 2).sort((a, b) => a - b)
  }
  const lookups = await timed(() => agent.cache.has(url()))
  const hits = await timed(ask)
  const at = (times: number[], part: number) => times[Math.floor(times.length * part)] as number
  return {
    open,
    lookup50: at(lookups, 0.5) * 1000,
    lookup99: at(lookups, 0.99) * 1000,
    hit50: at(hits, 0.5) * 1000,
    hit99: at(hits, 0.99) * 1000,
  }
}
