/**
 * What a function of the user's has promised, unless it takes too long.
 *
 * @param patience how long it may take, in milliseconds
 * @param who it is that takes so long, for the error
 * @throws what the promise is rejected with, and Error where it is late
 */
export async function withPatience<T>(
  promised: Promise<T>,
  patience: number,
  who: string,
): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const error = new Error(`${who}: expected an answer within ${patience} ms`)
  const timer = setTimeout(reject, patience, error)
  try {
    return await Promise.race([promised, late])
  } finally {
    clearTimeout(timer)
  }
}
