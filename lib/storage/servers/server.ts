import { setTimeout as delay } from 'node:timers/promises'
import { inspect } from 'node:util'
import { asError, type Events } from '../../observe/events.ts'
import { escapePattern } from '../../redaction.ts'
import type { ByteStore, Stores } from '../byte-store.ts'
import type { Deadlines } from '../guarded-store.ts'
import { isRefusal, RefusedError } from '../refusal.ts'
import {
  CONNECT_TIMEOUT,
  type Connection,
  DEFAULT_NAMESPACE,
  type Place,
  POSTGRES_ADAPTER,
} from './connection.ts'

/** How long a server may leave a call, or a step of it, unanswered until its connection is given up, in milliseconds. */
const SILENCE = 10_000

/** As long as there may be much to be done before it answers, in milliseconds. */
const LONG_SILENCE = 30_000

/** From how many characters on a password tells something, wherever it is found. */
const TELLING_LENGTH = 4

/** A kind of server. */
interface Server {
  /** The optional package that is needed, as npm installs it. */
  readonly adapter: string
  readonly example: string
  /** What a URL is like, apart from the credentials and the namespace. */
  readonly shape: RegExp
  /** Whether processes can agree on something there. */
  readonly canLease: boolean
  /** Whether one that is full removes what it likes, chunks of content one by one. */
  readonly mayEvict: boolean
  /** Imports what it takes to open a connection. */
  load(): Promise<(place: Place) => Connection>
}

const REDIS: Server = {
  adapter: '@keyv/redis',
  example: 'redis://user:password@host:6379/0?namespace=name',
  shape: /^\w+:\/\/[^/?#@]+(\/\d*)?$/,
  canLease: true,
  mayEvict: true,
  load: async () => (await import('./redis.ts')).openRedis,
}

const VALKEY: Server = {
  ...REDIS,
  adapter: '@keyv/valkey',
  example: 'valkey://user:password@host:6379/0?namespace=name',
  load: async () => (await import('./valkey.ts')).openValkey,
}

const POSTGRES: Server = {
  adapter: POSTGRES_ADAPTER,
  example: 'postgres://user:password@host:5432/database?namespace=name',
  shape: /^\w+:\/\/[^@#]*$/,
  canLease: false,
  mayEvict: false,
  load: async () => (await import('./postgres.ts')).openPostgres,
}

const SERVERS: ReadonlyMap<string, Server> = new Map([
  ['redis', REDIS],
  ['rediss', REDIS],
  ['valkey', VALKEY],
  ['valkeys', VALKEY],
  ['postgres', POSTGRES],
  ['postgresql', POSTGRES],
])

/** The kind of server that a URL names, if it names one that can hold a cache. */
function serverOf(url: string): Server | undefined {
  return SERVERS.get(/^([a-z]+):/i.exec(url)?.[1]?.toLowerCase() ?? '')
}

/**
 * Opens the two stores of a cache on the server that a URL names. It is connected to at once, and again
 * where the connection was lost and a call needs it: so a server that was away is used as soon as it is back.
 *
 * @returns undefined where the URL names no kind of server that can hold a cache
 * @throws TypeError where the URL is malformed; Error where the adapter for the server is not installed
 */
export function openServer(
  url: string,
  events: Events,
  { read, write }: Deadlines,
): Stores | undefined {
  const server = serverOf(url)
  if (server === undefined) return undefined
  const { place, name, passwords } = parse(url, server)
  requireAdapter(server.adapter, name)
  const silence = Math.max(SILENCE, read, write)
  const longSilence = Math.max(LONG_SILENCE, read, write)
  const loaded = server.load()
  let current: Promise<Connection> | undefined
  let isClosed = false
  const closing = Promise.withResolvers<never>()
  closing.promise.catch(() => {})

  function open(): Promise<Connection> {
    const opened = loaded.then((connect) =>
      establish(connect, { ...place, longest: longSilence }, closing.promise),
    )
    opened.catch(() => {
      if (current === opened) current = undefined
    })
    current = opened
    return opened
  }

  async function connect(): Promise<Connection> {
    if (isClosed) throw new Error('the store is closed')
    const found = current
    const connection = await found
    if (connection?.isOpen()) return connection
    // Of all who find it lost, the first opens another one.
    if (current !== undefined && current !== found) return current
    connection?.end()
    return open()
  }

  /**
   * Makes a call. A connection on which the server is silent is given up: there may be nobody behind it
   * any more. Connections do not keep the process running; calls do.
   *
   * @param call given what it is to call after each of many steps
   */
  async function use<T>(
    call: (connection: Connection, onStep: () => void) => Promise<T>,
    patience = silence,
  ): Promise<T> {
    let connection: Connection | undefined
    const timer = setTimeout(() => connection?.end(), patience)
    let isOver = false
    const onStep = () => {
      if (!isOver) timer.refresh()
    }
    try {
      connection = await connect()
      return await call(connection, onStep)
    } catch (error) {
      throw presentable(error)
    } finally {
      isOver = true
      clearTimeout(timer)
    }
  }

  /** An error as it may be shown: without passwords, and without what clients attach, such as the command and its arguments. */
  function presentable(error: unknown): Error {
    const { message, code } = asError(error) as NodeJS.ErrnoException
    let text = message || (code ?? 'the connection failed')
    for (const password of passwords) text = withoutPassword(text, password)
    const Kind = isRefusal(error) ? RefusedError : Error
    return Object.assign(new Kind(`${name}: ${text}`), code !== undefined && { code })
  }

  const storeNamed = (which: 'heads' | 'chunks'): ByteStore => ({
    get: (key) => use(async (connection) => connection[which].get(key)),
    set: (key, bytes, timeToLive) =>
      use((connection) => connection[which].set(key, bytes, timeToLive)),
    replace: (...change) => use((connection) => connection[which].replace(...change)),
    delete: (keys) => use((connection) => connection[which].delete(keys)),
    ...(server.mayEvict && {
      hasAll: (keys) => use(async (connection) => (await connection[which].hasAll?.(keys)) ?? true),
    }),
    expire: (...all) => use((connection) => connection[which].expire(...all)),
    expireAll: (timeToLive, isExempt, onStep) =>
      use(
        (connection, renew) =>
          connection[which].expireAll(timeToLive, isExempt, both(renew, onStep)),
        longSilence,
      ),
    clear: (onStep) =>
      use((connection, renew) => connection[which].clear(both(renew, onStep)), longSilence),
    async *entries(onStep) {
      let renew: (() => void) | undefined
      const onEach = both(() => renew?.(), onStep)
      const entries = await use(async (connection) => connection[which].entries(onEach))
      const iterator = entries?.[Symbol.asyncIterator]()
      if (iterator === undefined) return
      const next = (_: Connection, onNext: () => void) => {
        renew = onNext
        return iterator.next()
      }
      try {
        for (;;) {
          const { done, value } = await use(next)
          if (done) return
          yield value
        }
      } finally {
        await iterator.return?.()
      }
    },
  })

  connect().catch((error: unknown) => {
    if (!isClosed) events.error('open', presentable(error))
  })
  return {
    loaded,
    heads: storeNamed('heads'),
    chunks: storeNamed('chunks'),
    ...(server.canLease && {
      leases: {
        take: (...lease) =>
          use(async ({ leases }) => (leases ? leases.take(...lease) : ('alone' as const))),
        give: (...lease) => use(async ({ leases }) => leases?.give(...lease)),
      },
    }),
    async close() {
      isClosed = true
      closing.reject(new Error('the store is closed'))
      current?.then(
        (connection) => connection.end(),
        () => {},
      )
    },
  }
}

function both(one: () => void, other: (() => void) | undefined): () => void {
  return () => {
    one()
    other?.()
  }
}

/** Connects to a server, or fails before long, as soon as it is closed at the latest. */
async function establish(
  connect: (place: Place) => Connection,
  place: Place,
  closed: Promise<never>,
): Promise<Connection> {
  const connection = connect(place)
  const late = delay(CONNECT_TIMEOUT, undefined, { ref: false }).then(() => {
    throw new Error(`the server did not answer within ${CONNECT_TIMEOUT} ms`)
  })
  try {
    await Promise.race([connection.connected, late, closed])
    return connection
  } catch (error) {
    connection.end()
    throw error
  }
}

/** A text without a password; where that is so short that it occurs in other words, without it as a word of its own. */
function withoutPassword(text: string, password: string): string {
  if (password.length >= TELLING_LENGTH) return text.replaceAll(password, '***')
  const word = new RegExp(`(?<![\\w.-])${escapePattern(password)}(?![\\w.-])`, 'g')
  return text.replace(word, '***')
}

/** What a URL says: where the cache is, how to call that where others can read it, and what they must not. */
function parse(text: string, { example, shape }: Server) {
  const malformed = `store: expected a URL such as "${example}", got a malformed one; special characters in a password are percent-encoded`
  // It is not shown, as what is wrong with it may be in the password.
  if (!URL.canParse(text)) throw new TypeError(malformed)
  const url = new URL(text)
  const namespace = url.searchParams.get('namespace') ?? DEFAULT_NAMESPACE
  url.searchParams.delete('namespace')
  const shown = new URL(url)
  shown.username = shown.password = ''
  if (!shape.test(shown.href)) throw new TypeError(malformed)
  if (!/^[\w.-]{1,100}$/.test(namespace)) {
    throw new TypeError(
      `store: expected a namespace of at most 100 letters, digits, "_", "-" or ".", got ${inspect(namespace)}`,
    )
  }
  const [, password = ''] = [url.username, url.password].map(decode)
  const passwords = [url.password, password, url.searchParams.get('password') ?? '']
  return {
    place: { url: url.href, namespace },
    name: `${url.protocol}//${url.host}`,
    passwords: passwords.filter((one) => one !== ''),
  }

  function decode(part: string): string {
    try {
      return decodeURIComponent(part)
    } catch {
      throw new TypeError(malformed)
    }
  }
}

/** Makes sure that an adapter can be imported, which it is when it is needed. */
function requireAdapter(adapter: string, name: string): void {
  // Without the version.
  const specifier = adapter.replace(/(?<=.)@.*/, '')
  try {
    import.meta.resolve(specifier)
  } catch (cause) {
    throw new Error(`store: ${name} needs the package ${specifier}: npm install ${adapter}`, {
      cause,
    })
  }
}
