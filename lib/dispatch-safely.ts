import type { Dispatcher } from 'undici'
import { asError } from './observe/events.ts'

/** A handler that can be told that there is no answer. */
export type FailableHandler = Dispatcher.DispatchHandler & {
  onResponseError(controller: undefined, error: Error): void
}

/** Dispatches a request. An interceptor under the cache may throw; whoever waits must not wait in vain. */
export function dispatchSafely(
  dispatch: Dispatcher['dispatch'],
  options: Dispatcher.DispatchOptions,
  handler: FailableHandler,
): void {
  const fail = (error: unknown) => handler.onResponseError(undefined, asError(error))
  try {
    const result: unknown = dispatch(options, handler)
    if (result instanceof Promise) result.catch(fail)
  } catch (error) {
    fail(error)
  }
}
