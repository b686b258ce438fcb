// The only import of @keyv/postgres, an optional peer: this module is loaded where a URL names PostgreSQL.
import type { EventEmitter } from 'node:events'
import KeyvPostgres from '@keyv/postgres'
import type { ByteStore } from './byte-store.ts'
import {
  CONNECT_TIMEOUT,
  type Connection,
  ignore,
  NAMES,
  type Place,
  POSTGRES_ADAPTER,
} from './connection.ts'
import { bytesKeyv, KeyvErrors, keyvStore } from './keyv-store.ts'

/** How long a statement may take, in milliseconds: as long as the longest call. */
const QUERY_TIMEOUT = 30_000

/** How often expired rows are removed, in milliseconds. */
const PRUNE_INTERVAL = 10 * 60_000

/** How many rows are listed at a time. */
const LIST_STEP = 100

let connections = 0

/** Connects to a PostgreSQL server. */
export function openPostgres({ url, namespace }: Place): Connection {
  const options = {
    uri: url,
    // The adapter shares a pool of connections among all with the same options: each cache gets its own by this name.
    application_name: `caching-agent ${process.pid}.${connections++}`,
    connectionTimeoutMillis: CONNECT_TIMEOUT,
    query_timeout: QUERY_TIMEOUT,
    keepAlive: true,
    // A program that has nothing else to do ends; calls under way are waited for by their deadlines.
    allowExitOnIdle: true,
    iterationLimit: LIST_STEP,
    clearExpiredInterval: PRUNE_INTERVAL,
    // The pool emits an error where an idle connection is lost. The adapter does not listen to it, so that
    // it would end the program, and keeps the pool to itself; but a pool calls its log as a method.
    log(this: EventEmitter) {
      if (this.listenerCount('error') === 0) this.on('error', ignore)
    },
  }
  const adapters = Object.values(NAMES).map((name) => {
    const adapter = new KeyvPostgres({ ...options, table: `caching_agent_${name}` })
    adapter.namespace = namespace
    return adapter
  }) as [KeyvPostgres, KeyvPostgres]
  let isOpen = true
  return {
    heads: postgresStore(adapters[0]),
    chunks: postgresStore(adapters[1]),
    connected: Promise.all(adapters.map(prepare)),
    isOpen: () => isOpen,
    end() {
      isOpen = false
      for (const adapter of adapters) adapter.clearExpiredInterval = 0
      // It ends the pool of both.
      adapters[0].disconnect().catch(ignore)
    },
  }
}

/** Waits for the table of an adapter. One that could not make it once never tries again, and is to be replaced. */
async function prepare(adapter: KeyvPostgres): Promise<void> {
  if (typeof adapter.clearExpired !== 'function') {
    throw new Error(
      `@keyv/postgres is too old; to get one that fits: npm install ${POSTGRES_ADAPTER}`,
    )
  }
  let reason: unknown
  adapter.on('error', (error: unknown) => {
    reason ??= error
  })
  try {
    await adapter.has('')
  } catch (error) {
    throw reason ?? error
  }
  // What has expired while nobody was here.
  adapter.clearExpired().catch(ignore)
}

function postgresStore(adapter: KeyvPostgres): ByteStore {
  const keyv = bytesKeyv(adapter)
  return keyvStore(keyv, 'text', new KeyvErrors(keyv, ignore))
}
