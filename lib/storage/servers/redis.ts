// The only import of @keyv/redis, an optional peer: this module is loaded where a URL names Redis.
import KeyvRedis, { createClient } from '@keyv/redis'
import { CONNECT_TIMEOUT, type Connection, ignore, NAMES, type Place } from './connection.ts'
import {
  AS_BYTES,
  type KeyvRedisLike,
  type RedisClientLike,
  redisLeases,
  redisStore,
} from './redis-store.ts'

/** Connects to a Redis server. */
export function openRedis({ url, namespace }: Place): Connection {
  const client = createClient({
    url,
    // What cannot be done now fails now. A lost connection is not mended: the next call opens another one.
    disableOfflineQueue: true,
    socket: { connectTimeout: CONNECT_TIMEOUT, reconnectStrategy: false },
    // Notices of Redis Enterprise, which other servers would be asked for in vain.
    maintNotifications: 'disabled',
  })
  const open = (name: string) => {
    const adapter = new KeyvRedis(client.withTypeMapping(AS_BYTES) as never, {
      namespace: `${namespace}:${name}`,
      throwOnErrors: true,
    })
    return redisStore(adapter as unknown as KeyvRedisLike, async () => {}, ignore)
  }
  const stores = { heads: open(NAMES.heads), chunks: open(NAMES.chunks) }
  // A program that has nothing else to do ends; calls under way are waited for by their deadlines.
  client.unref()
  // Each address that it tries has a handle of its own.
  client.on('connect', () => client.unref())
  return {
    ...stores,
    leases: redisLeases(
      client as unknown as RedisClientLike,
      (key) => `${namespace}:${NAMES.leases}::${key}`,
    ),
    connected: client.connect(),
    isOpen: () => client.isReady,
    end() {
      try {
        client.destroy()
      } catch {
        // It has ended already.
      }
    },
  }
}
