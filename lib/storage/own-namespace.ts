/** The parts of a storage adapter for Keyv that keeps namespaces apart by itself. */
interface NamespacedAdapter {
  namespace?: string | undefined
  readonly capabilities?: { readonly expires?: boolean }
}

/** What an adapter for Keyv 5 can do where Keyv 6 leaves its keys to it. */
const METHODS = ['has', 'hasMany', 'getMany', 'setMany', 'deleteMany']

/** Whether Keyv 6 sets the namespace of an adapter, instead of putting it before the keys. */
export function isNamespaced(adapter: object): adapter is NamespacedAdapter {
  return (
    (adapter as NamespacedAdapter).capabilities?.expires === true ||
    ('namespace' in adapter &&
      METHODS.every((name) => typeof (adapter as Record<string, unknown>)[name] === 'function'))
  )
}

/**
 * An adapter in a namespace of our own, while it stays in that of its owner: what is set with the namespace is
 * kept apart, all else, such as a connection, is one.
 *
 * @returns undefined where that cannot be
 */
export function inOwnNamespace(adapter: NamespacedAdapter, namespace: string): object | undefined {
  if (knowsItself(adapter)) return undefined
  const own = Object.create(adapter) as NamespacedAdapter
  const before = adapter.namespace
  try {
    own.namespace = namespace
  } catch {
    return undefined
  }
  // It keeps its namespace somewhere further down.
  if (adapter.namespace !== before) {
    adapter.namespace = before
    return undefined
  }
  return new Proxy(adapter, {
    get: (_, name, view) =>
      Object.hasOwn(own, name) ? Reflect.get(own, name) : Reflect.get(adapter, name, view),
    set: (_, name, value) =>
      Reflect.set(name === 'namespace' || Object.hasOwn(own, name) ? own : adapter, name, value),
  })
}

/** In the source of a class: what works with its own instances only, not with what stands for one of them. */
const PRIVATE = /#[\w$]|rivateField|rivate(?:Get|Set|Method)|\[native code\]/

function knowsItself(adapter: object): boolean {
  let prototype = Object.getPrototypeOf(adapter)
  while (prototype !== null && prototype !== Object.prototype) {
    if (PRIVATE.test(String(prototype.constructor))) return true
    prototype = Object.getPrototypeOf(prototype)
  }
  return false
}
