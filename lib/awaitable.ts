/** A value, or the promise of one where it has to be waited for. */
export type Awaitable<T> = T | Promise<T>

/** Goes on with a value: at once where it is known already. */
export function after<T, R>(value: Awaitable<T>, next: (value: T) => Awaitable<R>): Awaitable<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}
