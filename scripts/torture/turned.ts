// A process with a cache, and a clock that is turned again and again. Only its idea of the time is: timers
// go on as they do.
import { setTimeout as delay } from 'node:timers/promises'
import { type AgentOptions, cachingAgent } from 'caching-agent'
import { leave, ownConfig, stopping, tell } from './channel.ts'
import { exchange, recovery } from './exchange.ts'
import { random } from './random.ts'

export interface TurnedConfig {
  readonly origin: string
  /** Those of its agent, as JSON can say them. */
  readonly options: AgentOptions
  /** For how long responses are fresh, in milliseconds. */
  readonly lifetime: number
}

const HOUR = 3_600_000
const YEAR = 365 * 24 * HOUR

/** By how much the clock is wrong; by more than an hour, or not at all. */
const ERRORS = [0, 0, HOUR, -HOUR, 24 * HOUR, -24 * HOUR, YEAR, -YEAR, 10 * YEAR, -10 * YEAR]

/** How much older than it may be a response may seem because of its way, in milliseconds. */
const TOLERANCE = 500

let error = 0
const RightDate = Date
globalThis.Date = class extends RightDate {
  constructor(...args: []) {
    super(...((args.length > 0 ? args : [RightDate.now() + error]) as []))
  }

  static override now(): number {
    return RightDate.now() + error
  }
} as DateConstructor

const { origin, options, lifetime } = ownConfig<TurnedConfig>()
const agent = cachingAgent({
  ...options,
  // By a rule of its own, or by what the origin says.
  urlsExpireAfter: { '127.0.0.1/rule/**': lifetime },
})
agent.cache.on('error', ({ operation, error }) => tell('event', `${operation}: ${error.message}`))

await Promise.all([turn(), ...Array.from({ length: 4 }, work)])
error -= HOUR
tell('recovered', await recovery(agent, origin))
await agent.close()
leave()

async function turn(): Promise<void> {
  while (!stopping()) {
    await delay(random() * 1500)
    error = ERRORS[Math.floor(random() * ERRORS.length)] as number
  }
}

async function work(): Promise<void> {
  while (!stopping()) {
    const number = Math.floor(random() * 20)
    const url = `${origin}/${random() < 0.5 ? 'rule' : 'some'}/${number}`
    const { outcome, received } = await exchange(agent, url)
    const sent = Number(received?.headers['x-time'])
    const age = RightDate.now() - sent
    const isOld = outcome.isHit && age - (outcome.ended ?? Infinity) > lifetime + TOLERANCE
    const wrong = `fresh after ${age} ms: ${url}`
    tell('outcome', isOld ? { ...outcome, wrong } : outcome)
    await delay(1)
  }
}
