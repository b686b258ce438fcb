import type { KeyvAdapterLike } from 'caching-agent'

type Operation = 'get' | 'set' | 'delete' | 'clear'

/**
 * A storage adapter as those for servers are, asynchronous and without a way to list what it has, over
 * a Map; with some of its operations replaced.
 */
export function adapter(
  replaced: Partial<Record<Operation, (...args: never[]) => unknown>> = {},
  map = new Map<string, unknown>(),
): KeyvAdapterLike {
  return {
    get: async (key: string) => map.get(key),
    set: async (key: string, value: unknown) => {
      map.set(key, value)
      return true
    },
    delete: async (key: string) => map.delete(key),
    clear: async () => map.clear(),
    ...replaced,
  } as KeyvAdapterLike
}
