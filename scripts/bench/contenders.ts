import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { type AgentOptions, cachingAgent } from 'caching-agent'
import { Agent, cacheStores, type Dispatcher, Dispatcher1Wrapper, interceptors } from 'undici'
import { floor } from './floor.ts'

/** What a contender may need. */
export interface Place {
  /** For files. */
  readonly folder: string
  /** The URL of a Redis server, if there is one. */
  readonly redis?: string
}

/** A dispatcher, and what has to be done until all that it received is stored. */
export interface Contender {
  readonly dispatcher: Dispatcher
  /** The same one for the built-in fetch, where that needs another one. */
  readonly forFetch?: Dispatcher
  settle?(): Promise<unknown>
  /** How many responses are stored. */
  count?(): Promise<number>
  /** How many bytes they take. */
  size?(): Promise<number>
}

function ours(options: Parameters<typeof cachingAgent>[0]): Contender {
  const dispatcher = cachingAgent(options)
  return {
    dispatcher,
    settle: () => dispatcher.cache.responses.settled(),
    count: () => dispatcher.cache.count(),
    size: () => dispatcher.cache.size(),
  }
}

const KEY = randomBytes(32)

function sealed(folder: string, options: Pick<AgentOptions, 'compress' | 'encrypt'>): Contender {
  return ours({ store: sqlite(folder), memory: false, ...options })
}

/** As large as it takes: what is compared is not how much is kept. */
const LARGE = 2 ** 30

function undicis(store: object): Contender {
  return forBoth(new Agent().compose(interceptors.cache({ store: store as never })))
}

/** With what setGlobalDispatcher() of undici 8 does for the built-in fetch of Node 22 and 24. */
function forBoth(dispatcher: Dispatcher): Contender {
  return { dispatcher, forFetch: new Dispatcher1Wrapper(dispatcher) }
}

/** Who is compared, by name. Throws where something is not installed. */
const CONTENDERS = {
  'no cache': async () => forBoth(new Agent()),
  floor: async () => ({ dispatcher: new Agent().compose(floor) }),
  'memory tier': async ({ folder }) => ours({ store: sqlite(folder) }),
  'memory:': async () => ours({ store: 'memory:' }),
  SQLite: async ({ folder }) => ours({ store: sqlite(folder), memory: false }),
  'SQLite, zstd': async ({ folder }) => sealed(folder, { compress: 'zstd' }),
  'SQLite, brotli': async ({ folder }) => sealed(folder, { compress: 'brotli' }),
  'SQLite, gzip': async ({ folder }) => sealed(folder, { compress: 'gzip' }),
  'SQLite, encrypted': async ({ folder }) => sealed(folder, { encrypt: KEY }),
  'SQLite, zstd, encrypted': async ({ folder }) =>
    sealed(folder, { compress: 'zstd', encrypt: KEY }),
  Redis: async ({ redis }) => ours({ store: redis as string, memory: false }),
  "undici's memory store": async () =>
    undicis(
      new cacheStores.MemoryCacheStore({ maxSize: LARGE, maxCount: 1e6, maxEntrySize: LARGE }),
    ),
  "undici's SQLite store": async ({ folder }) =>
    undicis(new cacheStores.SqliteCacheStore({ location: join(folder, 'undici.sqlite') })),
  'undici-cache-redis': async ({ redis }) => {
    // Not among the dependencies of this project: compared with where somebody has installed it.
    const name = 'undici-cache-redis'
    const { RedisCacheStore } = await import(name)
    const { hostname: host, port, password } = new URL(redis as string)
    const clientOpts = { host, port: Number(port), password: decodeURIComponent(password) }
    // Without a copy in memory, as ours.
    return undicis(new RedisCacheStore({ clientOpts, tracking: false }))
  },
} satisfies Record<string, (place: Place) => Promise<Contender>>

export type ContenderName = keyof typeof CONTENDERS

export function contender(name: ContenderName, place: Place): Promise<Contender> {
  return CONTENDERS[name](place)
}

function sqlite(folder: string): string {
  return `sqlite://${join(folder, 'cache.sqlite')}`
}
