import { homedir } from 'node:os'
import { resolve } from 'node:path'
import { inspect } from 'node:util'
import type { Events } from '../observe/events.ts'
import type { FileAccess, Stores } from './byte-store.ts'
import { isChunkKey } from './chunks.ts'
import { ErrorListeners } from './error-listeners.ts'
import { CircuitBreaker, DEFAULT_DEADLINES, type Deadlines, guardStore } from './guarded-store.ts'
import { isHeadKey } from './heads.ts'
import {
  isKeyv,
  type KeyvAdapterLike,
  KeyvErrors,
  type KeyvLike,
  keyvStore,
  namespacedKeyv,
} from './keyv-store.ts'
import type { LeaseStore } from './leases.ts'
import { openMemory } from './memory-store.ts'
import { isKeyvRedis, openKeyvRedis } from './servers/redis-store.ts'
import { openServer } from './servers/server.ts'
import { openSqlite } from './sqlite.ts'
import { WriteTurns, writtenInTurn } from './write-turns.ts'

/**
 * Where responses are kept: a URL (`sqlite://path`, `memory:`, `redis://host`, `valkey://host`,
 * `postgres://host/database`) as text or as a `URL`, a Keyv instance, or a storage adapter for Keyv.
 */
export type StoreOption = string | URL | KeyvLike | KeyvAdapterLike

/** The store of a cache for which none is named. */
export const DEFAULT_STORE = 'sqlite://http_cache.sqlite'

/**
 * Opens the stores of a cache.
 *
 * @param access what is done with a file
 * @throws TypeError where the option is no store; Error where there can be no file at its path
 */
export function openStore(
  option: StoreOption,
  events: Events,
  deadlines: Deadlines = DEFAULT_DEADLINES,
  access: FileAccess = 'write',
): Stores {
  const store = option instanceof URL ? textOf(option) : option
  const stores =
    typeof store === 'string' ? openUrl(store, events, deadlines, access) : openKeyv(store, events)
  const { loaded, leases, isInMemory, isWaitedFor } = stores
  const reading = new CircuitBreaker()
  const heads = guardStore(stores.heads, events, deadlines, loaded, reading)
  const chunks = guardStore(stores.chunks, events, deadlines, loaded, reading)
  // What is on this machine keeps nobody else from reading.
  const turns = isInMemory || isWaitedFor ? undefined : new WriteTurns(deadlines.write)
  const guarded = {
    ...stores,
    // Outside of the guard: the deadline of what waits for its turn begins with that.
    heads: turns ? writtenInTurn(heads, turns) : heads,
    chunks: turns ? writtenInTurn(chunks, turns) : chunks,
    patience: deadlines.read,
  }
  if (leases === undefined) return guarded
  // A request that has waited for the store in vain does not do so again.
  const take: LeaseStore['take'] = async (...lease) =>
    heads.isAtRest ? 'alone' : leases.take(...lease)
  return { ...guarded, leases: { ...leases, take } }
}

/**
 * A URL as somebody has written it: in the path of a file nothing is encoded but what a `URL` encodes by itself.
 *
 * @throws TypeError where it may have been written in more than one way
 */
function textOf({ protocol, href }: URL): string {
  if (protocol !== 'sqlite:') return href
  return href.replace(/(?:%[0-9a-f]{2})+/gi, (encoded) => {
    const text = decoded(encoded)
    if (new URL(`sqlite:///.${text}.`).pathname === `/.${encoded}.`) return text
    throw new TypeError(
      `store: cannot tell whether ${inspect(encoded)} in ${inspect(href)} is part of the name of the file, or encoded: give the path as text, "sqlite://path"`,
    )
  })
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

function openUrl(url: string, events: Events, deadlines: Deadlines, access: FileAccess): Stores {
  if (url === 'memory:' || url === 'memory://') return openMemory()
  const server = openServer(url, events, deadlines)
  if (server !== undefined) return server
  const path = /^sqlite:(?:\/\/)?([^/].*|\/[^/].*)$/s.exec(url)?.[1]
  if (path === undefined) {
    // Whatever it was meant to be, there may be a password in it.
    const shown = url.replace(/\/\/.*@/s, '//***@')
    throw new TypeError(
      `store: expected "sqlite://path", "memory:", "redis://host", "valkey://host", "postgres://host/database", a Keyv instance or a Keyv storage adapter, got ${inspect(shown)}`,
    )
  }
  const file = path === ':memory:' ? path : resolve(path.replace(/^~(?=\/|$)/, homedir()))
  try {
    return openSqlite(file, events, access)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`store: cannot use ${inspect(url)} as a cache file: ${reason}`, {
      cause: error,
    })
  }
}

function openKeyv(option: unknown, events: Events): Stores {
  const methods = ['get', 'set', 'delete', 'clear'] as const
  const isObject = typeof option === 'object' && option !== null
  if (
    !isObject ||
    !methods.every((name) => typeof (option as KeyvAdapterLike)[name] === 'function')
  ) {
    throw new TypeError(
      `store: expected a URL, a Keyv instance or a Keyv storage adapter, got ${inspect(option, { depth: 0 })}`,
    )
  }
  const onError = (error: Error) => events.error('open', error)
  const listeners = new ErrorListeners()
  return {
    ...((isKeyvRedis(option) ? openKeyvRedis(option, onError, listeners) : undefined) ??
      openText(option, onError, listeners)),
    // A Keyv or an adapter that was handed to us may be in use elsewhere.
    close: async () => listeners.removeAll(),
  }
}

function openText(
  option: object,
  onError: (error: Error) => void,
  listeners: ErrorListeners,
): Pick<Stores, 'heads' | 'chunks'> {
  const keyv = isKeyv(option) ? (option as KeyvLike) : namespacedKeyv(option, listeners)
  const errors = new KeyvErrors(keyv, onError, listeners)
  return {
    heads: keyvStore(keyv, 'text', errors, { prefix: 'response.', isOurs: isHeadKey }),
    chunks: keyvStore(keyv, 'text', errors, { prefix: 'chunk.', isOurs: isChunkKey }),
  }
}
