import {
  Agent,
  Dispatcher,
  EnvHttpProxyAgent,
  errors,
  getGlobalDispatcher,
  setGlobalDispatcher,
} from 'undici'
import type { HttpCache } from './cache.ts'
import { type ExplainedRequest, explain } from './explain.ts'
import type { Explanation } from './explanation.ts'
import { acceptLegacyHandlers } from './handlers/legacy-handler.ts'
import { cachingDispatch, createCaching, precachingDispatcher } from './interceptor.ts'
import type { Caching } from './lookup.ts'
import { type AgentOptions, checkAgentOptions, checkCacheOptions } from './options.ts'
import type { PrecacheOptions, PrecacheTarget } from './precache/options.ts'
import type { PrecacheResult } from './precache/report.ts'
import { nestTerms, type ParsedTerms, parseTerms, type Terms } from './terms.ts'

/** What undici's fetch, WebSocket and EventSource read from a dispatcher besides its methods. */
interface DispatcherTraits {
  readonly isMockActive?: boolean
  readonly webSocketOptions?: unknown
  readonly eventSourceOptions?: unknown
}

/** The events of the inner dispatcher are those of the agent. */
const LISTENER_METHODS = [
  'on',
  'once',
  'off',
  'addListener',
  'removeListener',
  'prependListener',
  'prependOnceListener',
  'removeAllListeners',
] as const

/** A dispatcher with a cache: see {@link cachingAgent}. */
export class CachingAgent extends Dispatcher {
  /** The stored responses and their management. */
  readonly cache: HttpCache

  // Private to TypeScript only: compose() of undici hands out a proxy, which cannot reach #private fields.
  private readonly inner: Dispatcher & DispatcherTraits
  private readonly caching: Caching
  private readonly terms: ParsedTerms | undefined
  private readonly cachingDispatch: Dispatcher['dispatch']

  /** @internal */
  constructor(inner: Dispatcher, caching: Caching, terms?: ParsedTerms) {
    super()
    this.cache = caching.cache
    this.inner = inner
    this.caching = caching
    this.terms = terms
    this.cachingDispatch = cachingDispatch(inner.dispatch.bind(inner), caching, terms)
    for (const name of LISTENER_METHODS) {
      Object.defineProperty(this, name, {
        value: (...args: [never, never]) => {
          inner[name](...args)
          return this
        },
      })
    }
  }

  override dispatch(
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
  ): boolean {
    return this.cachingDispatch(options, handler)
  }

  /**
   * A dispatcher that shares everything with this one, and whose requests use these terms. It needs
   * no closing.
   *
   * @throws TypeError where the terms are malformed
   */
  with(terms: Terms): CachingAgent {
    const own = nestTerms(this.terms, parseTerms(terms, 'with'))
    return new DerivedAgent(this.inner, this.caching, own)
  }

  /**
   * What would become of a request of this agent, and why: see {@link HttpCache.explain}.
   *
   * @throws TypeError where the URL is none or the terms are malformed; Error where the store fails
   */
  explain(url: string | URL, request: ExplainedRequest = {}): Promise<Explanation> {
    const { cache, rules } = this.caching
    return explain({ cache, rules, own: this.terms }, url, request)
  }

  /**
   * Fetches URLs, and what they link, through this agent, so that they are in its cache from then on: as
   * {@link HttpCache.precache}, with the terms of this agent.
   *
   * @throws as {@link HttpCache.precache} does
   */
  async precache(target: PrecacheTarget, options: PrecacheOptions = {}): Promise<PrecacheResult> {
    const { precache } = await import('./precache/precache.ts')
    const dispatch = this.inner.dispatch.bind(this.inner)
    const dispatcher = precachingDispatcher(dispatch, this.caching, this.terms)
    return precache(this.cache, dispatcher, target, options)
  }

  /**
   * Composes interceptors around the cache, as every dispatcher does. Around them all goes one that
   * understands the handlers of the built-in fetch of Node 22 and 24, which undici 8 does not.
   */
  override compose(
    ...interceptors:
      | [Dispatcher.DispatcherComposeInterceptor[]]
      | Dispatcher.DispatcherComposeInterceptor[]
  ): Dispatcher.ComposedDispatcher {
    return super.compose([...interceptors.flat(), acceptLegacyHandlers])
  }

  /** Lets requests that are under way end, writes what they brought, and closes the inner dispatcher. */
  override close(): Promise<void>
  override close(callback: () => void): void
  override close(callback?: () => void): Promise<void> | undefined {
    return whenDone(this.closing(), callback)
  }

  /** Aborts requests that are under way, writes what is complete, and destroys the inner dispatcher. */
  override destroy(error?: Error | null): Promise<void>
  override destroy(callback: () => void): void
  override destroy(error: Error | null, callback: () => void): void
  override destroy(
    error?: Error | null | (() => void),
    callback?: () => void,
  ): Promise<void> | undefined {
    return typeof error === 'function'
      ? whenDone(this.destroying(null), error)
      : whenDone(this.destroying(error ?? null), callback)
  }

  protected async closing(): Promise<void> {
    try {
      // Requests that the cache answers are none of the inner dispatcher's, which would not wait for them.
      await this.caching.active.close()
      await this.inner.close()
    } finally {
      if (this.caching.ownsCache) await this.cache.close()
    }
  }

  protected async destroying(reason: Error | null): Promise<void> {
    this.caching.active.abort(reason ?? new errors.ClientDestroyedError())
    try {
      await this.inner.destroy(reason)
    } finally {
      if (this.caching.ownsCache) await this.cache.close()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  get isMockActive(): boolean {
    return Boolean(this.inner.isMockActive)
  }

  get webSocketOptions(): unknown {
    return this.inner.webSocketOptions
  }

  get eventSourceOptions(): unknown {
    return this.inner.eventSourceOptions
  }
}

/** What {@link CachingAgent.with} returns: closing it is left to the agent that it comes from. */
class DerivedAgent extends CachingAgent {
  protected override async closing(): Promise<void> {}

  protected override async destroying(): Promise<void> {}
}

/** undici's convention: a callback, or a promise where there is none. */
function whenDone(
  done: Promise<void>,
  callback: (() => void) | undefined,
): Promise<void> | undefined {
  if (callback === undefined) return done
  done.then(callback, callback)
  return undefined
}

/**
 * A dispatcher that caches: `setGlobalDispatcher(cachingAgent())`, and every request of the program
 * is answered from a persistent store when it can be, and recorded when it cannot.
 *
 * @throws TypeError where an option is malformed or unknown; Error where the store cannot be opened
 */
export function cachingAgent(options: AgentOptions = {}): CachingAgent {
  checkAgentOptions(options)
  checkCacheOptions(options, 'cachingAgent')
  const caching = createCaching(options)
  const inner = options.dispatcher ?? defaultDispatcher()
  if (caching.ownsCache) {
    caching.cache.dispatcher = precachingDispatcher(inner.dispatch.bind(inner), caching)
  }
  return new CachingAgent(inner, caching)
}

function defaultDispatcher(): Dispatcher {
  return usesEnvProxy() ? new EnvHttpProxyAgent() : new Agent()
}

/** Whether Node's own fetch would go through the proxy that the environment names. */
function usesEnvProxy(): boolean {
  const { NODE_USE_ENV_PROXY, NODE_OPTIONS = '' } = process.env
  const options = [...process.execArgv, ...NODE_OPTIONS.split(/\s+/)]
  return NODE_USE_ENV_PROXY === '1' || options.includes('--use-env-proxy')
}

/** A cache under the whole process: see {@link install}. */
export interface Installation extends Disposable, AsyncDisposable {
  readonly agent: CachingAgent
  /** The agent's stored responses and their management. */
  readonly cache: HttpCache
  /** Restores the dispatcher that was there before, and closes the agent. */
  uninstall(): Promise<void>
}

/** Where undici 6 and 7, and undici 8, keep the global dispatcher: one process may have several copies. */
const GLOBAL_DISPATCHERS = ['undici.globalDispatcher.1', 'undici.globalDispatcher.2'].map((name) =>
  Symbol.for(name),
)

/**
 * Puts a cache under all requests of the process: `setGlobalDispatcher(cachingAgent(options))`.
 *
 * @returns a disposable that restores the dispatcher that was there before
 * @throws as {@link cachingAgent} does
 */
export function install(options: AgentOptions = {}): Installation {
  const globals = globalThis as unknown as Record<symbol, unknown>
  const agent = cachingAgent(options)
  const previous = getGlobalDispatcher()
  const before = GLOBAL_DISPATCHERS.map((symbol) => globals[symbol])
  setGlobalDispatcher(agent)
  const ours = GLOBAL_DISPATCHERS.map((symbol) => globals[symbol])

  let uninstalled: Promise<void> | undefined
  function uninstall(): Promise<void> {
    uninstalled ??= restore()
    return uninstalled
  }
  function restore(): Promise<void> {
    // What somebody else has installed since stays.
    if (GLOBAL_DISPATCHERS.every((symbol, index) => globals[symbol] === ours[index])) {
      setGlobalDispatcher(previous)
      for (const [index, symbol] of GLOBAL_DISPATCHERS.entries()) {
        if (before[index] !== undefined) globals[symbol] = before[index]
      }
    }
    return agent.close()
  }
  return {
    agent,
    cache: agent.cache,
    uninstall,
    [Symbol.dispose]: () => void uninstall().catch(() => {}),
    [Symbol.asyncDispose]: uninstall,
  }
}
