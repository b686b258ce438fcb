// A process that uses a cache as a program does, only all the time, and checks whatever it gets.
import { setTimeout as delay } from 'node:timers/promises'
import { type AgentOptions, cachingAgent, type ResponseQuery } from 'caching-agent'
import { request } from 'undici'
import { ask, leave, ownConfig, stopping, tell } from './channel.ts'
import type { Received } from './content.ts'
import { exchange, reason, recovery } from './exchange.ts'
import { random } from './random.ts'

/** How many requests a client has under way at a time, each in a loop with resources of its own. */
const LOOPS = 4

/** How many resources each loop has of its own. */
const OWN = 6

/** What a client does, as often as the numbers say in relation to each other. */
export interface Operations {
  /** Reads one of the resources that all clients share. */
  readonly read: number
  /** … and asks the origin whether it has changed. */
  readonly refresh: number
  /** … only a part of it. */
  readonly part: number
  /** … and changes it by POST, which invalidates it. */
  readonly change: number
  /** … deletes it from the cache. */
  readonly delete: number
  /** Stores a resource of its own, and tells the ledger when it is written. */
  readonly keep: number
  /** Deletes one of its own. */
  readonly drop: number
  /** Reads what the ledger knows of anybody's. */
  readonly check: number
  /** Lists, counts, marks stale or deletes what is shared, all that is like something; or makes room. */
  readonly manage: number
  /** Has all that is stored checked: SQLite must find nothing wrong. */
  readonly inspect: number
  /** Deletes everything. */
  readonly clear: number
}

export interface ClientConfig {
  readonly slot: number
  /** The URL of the origin. */
  readonly origin: string
  /** Those of its agent, as JSON can say them. */
  readonly options: AgentOptions
  /** How many resources are shared. */
  readonly shared: number
  /** How many clients there are. */
  readonly clients: number
  readonly operations: Operations
  /** Whether something new can be stored in the end; so unless told otherwise. */
  readonly recovers?: boolean
}

const config = ownConfig<ClientConfig>()
const { origin, operations } = config
const agent = cachingAgent({ expireAfter: '1h', ...config.options })
agent.cache.on('error', ({ operation, error }) => tell('event', `${operation}: ${error.message}`))

await Promise.all(Array.from({ length: LOOPS }, (_, loop) => work(loop)))
if (config.recovers !== false) tell('recovered', await recovery(agent, origin))
await agent.close()
leave()

async function work(loop: number): Promise<void> {
  while (!stopping()) {
    await operate(loop)
    // Not to leave the origin without a chance.
    if (random() < 0.1) await delay(1)
  }
}

async function operate(loop: number): Promise<void> {
  const own = `/kept/${config.slot}-${loop}/${below(OWN)}`
  const any = `/kept/${below(config.clients)}-${below(LOOPS)}/${below(OWN)}`
  const shared = `/${random() < 0.2 ? 'vary' : 'some'}/${below(config.shared)}`
  switch (chosen()) {
    case 'read':
      await get(shared)
      return
    case 'refresh':
      await get(shared, { 'cache-control': 'no-cache' })
      return
    case 'part': {
      const first = below(3000)
      await get(shared, { range: `bytes=${first}-${first + below(500_000)}` })
      return
    }
    case 'change':
      return change(shared)
    case 'delete':
      await tried(agent.cache.delete(origin + shared))
      return
    case 'keep':
      return keep(own)
    case 'drop':
      await ask('deleting', own)
      if (await tried(agent.cache.delete(origin + own))) await ask('deleted', own)
      return
    case 'check':
      return check(any)
    case 'manage':
      return manage()
    case 'inspect':
      return inspect()
    case 'clear':
      // One at a time, as the ledger knows them.
      if (loop > 0) return
      await ask('clearing')
      await tried(agent.cache.clear())
      await ask('cleared')
  }
}

async function get(path: string, headers?: Record<string, string>): Promise<Received | undefined> {
  const { outcome, received } = await exchange(agent, origin + path, headers)
  tell('outcome', outcome)
  return received
}

async function change(path: string): Promise<void> {
  try {
    const { body } = await request(origin + path, { dispatcher: agent, method: 'POST' })
    await body.dump()
    tell('outcome', { isHit: false })
  } catch (error) {
    tell('outcome', { isHit: false, failed: `POST ${path}: ${reason(error)}` })
  }
}

/** Stores a resource, and has it counted from the moment on at which it can be seen that it is there. */
async function keep(path: string): Promise<void> {
  const { clears } = await ask('entry', path)
  // What something newer could not replace is not used any more.
  await ask('deleting', path)
  await get(path, { 'cache-control': 'no-cache' })
  await agent.cache.responses.settled()
  const received = await get(path, { 'cache-control': 'only-if-cached' })
  if (received?.status === 200) await ask('kept', path, versionOf(received), clears)
}

/** Reads what must be there. */
async function check(path: string): Promise<void> {
  const before = await ask('entry', path)
  const received = await get(path, { 'cache-control': 'only-if-cached' })
  if (received?.status === 200 && versionOf(received) < before.version) {
    const text = `${path}: version ${versionOf(received)}, and ${before.version} is the least there may be`
    tell('problem', 'wrong', text)
  }
  if (received?.status !== 504 || !before.isKept) return
  // A store that fails is a miss as well. This asks it once more, and throws where it fails.
  const isThere = await agent.cache.has(origin + path).catch(() => true)
  const after = await ask('entry', path)
  const isSame = after.isKept && after.version === before.version && after.clears === before.clears
  if (!isThere && isSame) tell('problem', 'lost', `${path}, version ${after.version}`)
}

/** Does something with many responses. None of those that the ledger knows is deleted. */
async function manage(): Promise<void> {
  const { cache } = agent
  const shared: ResponseQuery = { pattern: [`${origin}/some/*`, `${origin}/vary/*`] }
  const some: ResponseQuery[] = [
    { ...shared, sort: 'used', limit: 5 },
    { ...shared, largerThan: below(300_000) },
    { ...shared, contentType: 'text/*', limit: 10 },
    { ...shared, fresh: false },
    { url: [below(10), below(60)].map((number) => `${origin}/some/${number}`) },
  ]
  const query = some[below(some.length)] as ResponseQuery
  const list = async () => {
    for await (const { url } of cache.entries(query)) {
      if (!url.startsWith(origin)) tell('problem', 'others', `there is a URL ${url}`)
    }
  }
  const works = [
    list,
    () => cache.count(query),
    () => cache.expire(query),
    () => cache.delete(query),
    () => cache.prune(),
    () => cache.vacuum(),
  ]
  await tried((works[below(works.length)] as () => Promise<unknown>)())
}

/** What others are just writing or removing is there in part, but no damage is. */
async function inspect(): Promise<void> {
  const check = await agent.cache.check().catch(() => undefined)
  for (const damage of check?.damage ?? []) tell('problem', 'others', `check: ${damage}`)
}

/** Whether the cache could do what it was told; where its store fails, it says so to those who manage it. */
async function tried(change: Promise<unknown>): Promise<boolean> {
  return change.then(
    () => true,
    (error: unknown) => {
      tell('event', `refused: ${reason(error)}`)
      return false
    },
  )
}

function versionOf({ headers }: Received): number {
  return Number(headers['x-version'])
}

function below(limit: number): number {
  return Math.floor(random() * limit)
}

function chosen(): keyof Operations {
  const all = Object.entries(operations) as [keyof Operations, number][]
  let left = random() * all.reduce((sum, [, weight]) => sum + weight, 0)
  for (const [operation, weight] of all) {
    left -= weight
    if (left < 0) return operation
  }
  return 'read'
}
