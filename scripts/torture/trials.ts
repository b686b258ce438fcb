// Damages files of a cache, each in another way, and sees what becomes of it.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type AgentOptions, type CachingAgent, cachingAgent } from 'caching-agent'
import { ask, leave, ownConfig, stopping, tell } from './channel.ts'
import { copyDatabase } from './damage.ts'
import { exchange, reason } from './exchange.ts'
import { type Random, randomFrom } from './random.ts'
import type { Problem } from './tally.ts'

export interface TrialsConfig {
  /** Where the sound files are, and others may be put. */
  readonly folder: string
  /** What is stored in them. */
  readonly urls: readonly string[]
  /** Those of the agents, as JSON can say them. */
  readonly options: AgentOptions
}

const { folder, urls, options } = ownConfig<TrialsConfig>()

while (!stopping()) {
  const seed = await ask('trial')
  await trial(seed, randomFrom(seed))
}
leave()

async function trial(seed: number, random: Random): Promise<void> {
  const name = `trial-${seed}.sqlite`
  const path = join(folder, name)
  const sound = random() < 0.5 ? 'open' : 'closed'
  copyDatabase(join(folder, `${sound}.sqlite`), path)
  const isInUse = random() < 0.3
  const memory = random() < 0.5 ? {} : { memory: false as const }
  const shuffled = [...urls].sort(() => random() - 0.5)
  let what = `seed ${seed}; ${sound}, ${isInUse ? 'in use' : 'not in use'}`
  let events = 0

  const damageIt = () => {
    const times = 1 + Math.floor(random() * 3)
    for (let time = 0; time < times; time++) what += `, ${damage(path, random)}`
  }
  const problem = (kind: Problem, text: string) => tell('problem', kind, `${text} (${what})`)
  const open = () => {
    const agent = cachingAgent({
      store: `sqlite://${path}`,
      expireAfter: '1h',
      ...options,
      ...memory,
    })
    agent.cache.on('error', ({ operation, error }) => {
      events += 1
      tell('event', `${operation}: ${error.message}`)
    })
    return agent
  }
  const misses = async (agent: CachingAgent, some: readonly string[]) => {
    let count = 0
    for (const url of some) {
      const { outcome, received } = await exchange(agent, url)
      const { wrong, cutOff, failed, ...rest } = outcome
      tell('outcome', rest)
      if (wrong !== undefined) problem('wrong', wrong)
      if (cutOff !== undefined) problem('cutOff', cutOff)
      if (failed !== undefined) problem('failed', failed)
      if (received?.info?.status !== 'hit') count += 1
    }
    await agent.cache.responses.settled()
    return count
  }

  try {
    if (!isInUse) damageIt()
    const agent = open()
    if (isInUse) {
      await misses(agent, shuffled.slice(0, shuffled.length / 2))
      damageIt()
    }
    const lost = await misses(agent, shuffled)
    // What cannot be done is told to who wants it done; it must end, that is all.
    await agent.cache.delete(shuffled[0] as string).catch(() => {})
    await agent.cache.count().catch(() => {})
    await agent.close()
    if (lost > 0 && events === 0) tell('unnoticed')

    const next = open()
    // Some damage is found in the middle of content only, and what has been read before goes with the file.
    for (let time = 0; time < 2; time++) await misses(next, shuffled)
    const left = await misses(next, shuffled)
    await next.close()
    if (left > 0) problem('others', `after a restart ${left} responses cannot be stored`)
  } catch (error) {
    problem('failed', reason(error))
  }
  for (const file of readdirSync(folder)) {
    if (file.startsWith(name)) rmSync(join(folder, file))
  }
}

/** Damages a database or its log in some way, and tells how. */
function damage(path: string, random: Random): string {
  const below = (limit: number) => Math.floor(random() * limit)
  const hasLog = existsSync(`${path}-wal`)
  const file = hasLog && random() < 0.5 ? `${path}-wal` : path
  if (!existsSync(file)) return 'nothing left to damage'
  const name = file === path ? 'database' : 'log'
  const bytes = readFileSync(file)
  // Where a file says what it is, and what is where in it, is hit more often than by chance.
  const area = [100, 4096, 20_000, bytes.length][below(4)] as number
  const at = below(Math.min(area, bytes.length))
  const page = (number: number) => bytes.subarray(number * 4096, (number + 1) * 4096)
  const pages = Math.max(1, Math.floor(bytes.length / 4096))
  switch (below(6)) {
    case 0: {
      const length = random() < 0.5 ? below(pages) * 4096 : below(bytes.length)
      writeFileSync(file, bytes.subarray(0, length))
      return `${name} cut off at ${length}`
    }
    case 1: {
      if (bytes.length > 0) bytes[at] = (bytes[at] as number) ^ (1 << below(8))
      writeFileSync(file, bytes)
      return `${name}: a bit at ${at}`
    }
    case 2: {
      const bits = 2 + below(500)
      for (let bit = 0; bit < bits && bytes.length > 0; bit++) {
        const where = below(bytes.length)
        bytes[where] = (bytes[where] as number) ^ (1 << below(8))
      }
      writeFileSync(file, bytes)
      return `${name}: ${bits} bits`
    }
    case 3: {
      const length = 1 + below(10_000)
      const value = [0, 0xff, 0xa5][below(3)] as number
      bytes.fill(value, at, Math.min(at + length, bytes.length))
      writeFileSync(file, bytes)
      return `${name}: ${length} bytes at ${at} are ${value}`
    }
    case 4: {
      const [from, to] = [below(pages), below(pages)]
      page(from).copy(page(to))
      writeFileSync(file, bytes)
      return `${name}: page ${from} in place of page ${to}`
    }
    default: {
      rmSync(file)
      return `${name} removed`
    }
  }
}
