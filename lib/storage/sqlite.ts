import type { Events } from '../observe/events.ts'
import type { ByteStore, FileAccess, Stores } from './byte-store.ts'
import { KeyvSqlite } from './keyv-sqlite.ts'
import { bytesKeyv, KeyvErrors, keyvStore } from './keyv-store.ts'
import { SqliteDatabase } from './sqlite/database.ts'
import { sqliteLeases } from './sqlite/leases.ts'
import { Maintenance } from './sqlite/maintenance.ts'
import { TABLES } from './sqlite/schema.ts'
import { SqliteSummaries } from './sqlite/summaries.ts'
import { sqliteReadership, sqliteUnreferenced, sqliteUsage } from './sqlite/usage.ts'

type StoreName = keyof typeof TABLES

/**
 * Opens the two stores of a cache in an SQLite file, through Keyv and its SQLite adapter.
 *
 * @throws Error where there can be no such file, or where it is damaged and to be replayed
 */
export function openSqlite(path: string, events: Events, access: FileAccess = 'write'): Stores {
  const database = new SqliteDatabase(path, events, access)
  const maintenance = new Maintenance(database)
  const summaries = new SqliteSummaries(database, connect, connectToWrite)
  let connection: Promise<Record<StoreName, ByteStore>> | undefined
  /** Whether {@link connection} has made them, or found them there. */
  let hasTables = false
  /** Done when others have been told that the file is open: who reads need not wait for that. */
  let introduction: Promise<void> | undefined

  function connect(): Promise<Record<StoreName, ByteStore>> {
    database.findFile()
    // The file has been begun anew, and its tables are to be made again.
    if (hasTables && !database.isReady && !database.isClosed) connection = undefined
    connection ??= createTables().catch((error: unknown) => {
      // The adapter never tries again by itself, so another one is made for the next call.
      connection = undefined
      throw error
    })
    return connection
  }

  /** As {@link connect}, for what writes. */
  async function connectToWrite(): Promise<Record<StoreName, ByteStore>> {
    database.findFileToWrite()
    if (database.beginWriting()) connection = undefined
    const stores = await connect()
    await introduction
    return stores
  }

  async function createTables(): Promise<Record<StoreName, ByteStore>> {
    hasTables = false
    const stores = { heads: await open(TABLES.heads), chunks: await open(TABLES.chunks) }
    await summaries.createTables()
    await database.learnSchema()
    hasTables = true
    if (database.isOnlyRead) return stores
    introduction = database.presence.introduce()
    maintenance.start()
    return stores
  }

  async function open(table: string): Promise<ByteStore> {
    const adapter = new KeyvSqlite({
      table,
      iterationLimit: 100,
      driver: {
        name: 'custom',
        connect: async () => ({
          query: (sql, ...parameters) => summaries.query(sql, parameters),
          close: async () => undefined,
        }),
      },
    })
    await adapter.ready
    const keyv = bytesKeyv(adapter)
    return keyvStore(keyv, 'bytes', new KeyvErrors(keyv, (error) => events.error('open', error)))
  }

  // Content that is there can be read as long as it is there: the heads say what is to be used.
  const getters = {
    heads: (key: string) => database.get(TABLES.heads, key),
    chunks: (key: string) => {
      database.presence.introduceReader()
      return database.get(TABLES.chunks, key, true)
    },
  }

  const storeNamed = (name: StoreName): ByteStore => ({
    get: (key) => {
      database.findFile()
      // No content has the same key as another one.
      const former = name === 'chunks' ? database.getFormer(TABLES.chunks, key) : undefined
      if (former) return former
      return database.isReady ? getters[name](key) : connect().then(() => getters[name](key))
    },
    set: async (key, bytes, timeToLive, about) => {
      const store = (await connectToWrite())[name]
      if (about?.summary) summaries.announce(bytes, about.summary)
      await store.set(key, bytes, timeToLive)
    },
    ...(name === 'heads' && {
      replace: async (key, expected, bytes, timeToLive, about) => {
        await connectToWrite()
        const until = timeToLive === undefined ? undefined : Date.now() + timeToLive
        return summaries.replace(key, expected, bytes, until, about?.summary)
      },
    }),
    delete: async (keys) => {
      await (await connectToWrite())[name].delete(keys)
      if (name === 'chunks') maintenance.shrinkSoon()
    },
    expire: async (keys, timeToLive) => {
      await connectToWrite()
      await maintenance.expire(TABLES[name], keys, timeToLive)
    },
    ...(name === 'chunks' &&
      path !== ':memory:' && {
        // What is being read needs no exemption: before its time is over, that has been told to all who remove.
        expireAll: async (timeToLive) => {
          await connectToWrite()
          await maintenance.expireUnreferred(timeToLive)
          await maintenance.shrink()
        },
      }),
    clear: async () => {
      while (await clearSome(name));
    },
    clearSome: () => clearSome(name),
    entries: () =>
      (async function* () {
        yield* (await connect())[name].entries() ?? []
      })(),
  })

  async function clearSome(name: StoreName): Promise<boolean> {
    await connectToWrite()
    if (await maintenance.removeSome(TABLES[name])) return true
    await maintenance.shrink()
    return false
  }

  return {
    heads: storeNamed('heads'),
    chunks: storeNamed('chunks'),
    usage: sqliteUsage(database, connect, connectToWrite, () => maintenance.shrinkSoon()),
    unreferenced: sqliteUnreferenced(database, connectToWrite),
    readership: sqliteReadership(database, connect),
    index: summaries,
    leases: sqliteLeases(database, connectToWrite),
    isWaitedFor: true,
    upkeep: {
      inspect: async () => {
        await connect()
        return database.inspect()
      },
      mend: async (found) => {
        await connectToWrite()
        await maintenance.mend(found)
      },
    },
    prune: async () => {
      await connectToWrite()
      return maintenance.prune()
    },
    reset: async (mayBegin) => {
      await connectToWrite()
      const isNew = await database.beginNew(mayBegin)
      if (isNew) await database.presence.introduce()
      return isNew
    },
    shrink: async () => {
      await connectToWrite()
      await maintenance.prune()
      await maintenance.shrink()
    },
    coherence:
      path === ':memory:'
        ? { kind: 'own' }
        : { kind: 'versioned', version: () => database.version() },
    finish: (head, chunks) => {
      if (database.isReady && !database.isOnlyRead)
        database.finish(summaries.writesOf(head, chunks))
    },
    close: async () => {
      await maintenance.stop().catch(() => {})
      await database.close()
    },
  }
}
