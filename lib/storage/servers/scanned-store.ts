import type { ByteStore } from '../byte-store.ts'
import type { ServerStore } from './connection.ts'

/** How many keys a server is asked to look at in one step. */
export const SCAN_COUNT = 200

/**
 * A store whose keys are found by scanning a server, a few at a time, instead of by its adapter, which
 * cannot list them where values are bytes, or blocks the server for it.
 *
 * @param scan all keys of the store, as it names them, as many as each step finds; some may occur twice
 * @param expire gives keys another time to live, in milliseconds
 * @param exists how many keys there are of that name
 */
export function scannedStore(
  store: ByteStore,
  scan: () => AsyncIterable<string[]>,
  expire: ServerStore['expire'],
  exists: (key: string) => Promise<unknown>,
): Omit<ServerStore, 'replace'> {
  return {
    ...store,
    expire,
    async hasAll(keys) {
      return (await Promise.all(keys.map(exists))).every(Number)
    },
    async expireAll(timeToLive, isExempt, onStep) {
      for await (const keys of scan()) {
        await expire(
          keys.filter((key) => !isExempt(key)),
          timeToLive,
        )
        onStep?.()
      }
    },
    async clear(onStep) {
      for await (const keys of scan()) {
        await store.delete(keys)
        onStep?.()
      }
    },
    async *entries(onStep) {
      for await (const keys of scan()) {
        onStep?.()
        // Asked for at once, they are answered in one round trip.
        const values = await Promise.all(keys.map((key) => store.get(key)))
        for (const [index, bytes] of values.entries()) {
          if (bytes !== undefined) yield [keys[index] as string, bytes] as const
        }
      }
    },
  }
}

/** A pattern that matches the keys with this prefix, whatever characters are in it. */
export function keysWith(prefix: string): string {
  return `${prefix.replace(/[*?[\]\\]/g, '\\$&')}*`
}
