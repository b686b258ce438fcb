import { setTimeout as delay } from 'node:timers/promises'
import { type CacheInfo, type CachingAgent, cacheInfo } from 'caching-agent'
import { request } from 'undici'
import { type Received, wrongness } from './content.ts'
import { random } from './random.ts'
import type { Outcome } from './tally.ts'

/** A request and what it came to. */
export interface Exchange {
  readonly outcome: Outcome
  /** Undefined where it failed. */
  readonly received?: Received & { readonly info: CacheInfo | undefined }
}

/** How often a request is read slowly. */
const SLOWNESS = 0.05

/** Requests a path in any language, by any of two ways, and looks at every byte of the response. */
export async function exchange(
  agent: CachingAgent,
  url: string,
  headers: Record<string, string> = {},
): Promise<Exchange> {
  const path = new URL(url).pathname
  const language = ['de', 'en', 'fr'][Math.floor(random() * 3)] as string
  const isSlow = random() < SLOWNESS
  const started = performance.now()
  let began: number | undefined
  const times = () => ({
    began: began ?? performance.now() - started,
    ...(!isSlow && { ended: performance.now() - started }),
  })
  try {
    const way = random() < 0.5 ? byRequest : byFetch
    const answer = await way(agent, url, { ...headers, 'accept-language': language })
    began = performance.now() - started
    const received = { ...answer, content: await read(answer.body, isSlow) }
    const isRefused = received.status === 504 && headers['cache-control'] === 'only-if-cached'
    const wrong = isRefused ? undefined : wrongness(path, language, received)
    const isHit = answer.info?.status === 'hit'
    const outcome = { isHit, ...times(), ...(wrong && { wrong: `${path}: ${wrong}` }) }
    return { outcome, received }
  } catch (error) {
    const what = `${path}: ${reason(error)}`
    const outcome = began === undefined ? { failed: what } : { cutOff: what }
    return { outcome: { isHit: false, ...times(), ...outcome } }
  }
}

interface Answer extends Omit<Received, 'content'> {
  readonly body: AsyncIterable<Uint8Array> | null
  readonly info: CacheInfo | undefined
}

type Way = (agent: CachingAgent, url: string, headers: Record<string, string>) => Promise<Answer>

const byRequest: Way = async (dispatcher, url, headers) => {
  const response = await request(url, { dispatcher, headers })
  return {
    status: response.statusCode,
    headers: response.headers as Record<string, string>,
    body: response.body,
    info: cacheInfo(response),
  }
}

const byFetch: Way = async (dispatcher, url, headers) => {
  const response = await fetch(url, { dispatcher, headers } as unknown as RequestInit)
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: response.body,
    info: cacheInfo(response),
  }
}

async function read(body: AsyncIterable<Uint8Array> | null, isSlow: boolean): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of body ?? []) {
    parts.push(part)
    if (isSlow) await delay(10)
  }
  return Buffer.concat(parts)
}

export function reason(error: unknown): string {
  const { message, cause } = error as Error
  return cause instanceof Error ? `${message}: ${reason(cause)}` : message
}

/** How long it may take until something can be stored again after all trouble is over, in milliseconds. */
const RECOVERY = 20_000

/**
 * Waits until something new can be stored.
 *
 * @returns how long it took, in milliseconds; null for too long
 */
export async function recovery(agent: CachingAgent, origin: string): Promise<number | null> {
  const started = performance.now()
  while (performance.now() - started < RECOVERY) {
    const url = `${origin}/new/${process.pid}-${performance.now()}`
    await exchange(agent, url)
    await agent.cache.responses.settled()
    if (await agent.cache.has(url).catch(() => false)) return performance.now() - started
    await delay(200)
  }
  return null
}
