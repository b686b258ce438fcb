/** Runs a statement, and returns its rows. */
export type Run = (sql: string, parameters: readonly unknown[]) => unknown[]

/** A statement that changes something. */
export interface Write {
  readonly sql: string
  readonly parameters: readonly unknown[]
}

/**
 * Makes several changes in one transaction, as many of them as can be made in a while.
 *
 * @param longest how long that may take, in milliseconds
 * @param commit makes the changes last
 * @returns the rows of each change that has been made
 * @throws where one of them fails: then none has been made
 */
export function transact(
  run: Run,
  writes: readonly Write[],
  longest: number,
  commit: () => void = () => run('COMMIT', []),
): unknown[][] {
  run('BEGIN IMMEDIATE', [])
  try {
    const end = performance.now() + longest
    const results: unknown[][] = []
    for (const { sql, parameters } of writes) {
      results.push(run(sql, parameters))
      if (performance.now() > end) break
    }
    commit()
    return results
  } catch (error) {
    try {
      run('ROLLBACK', [])
    } catch {
      // SQLite has done so by itself.
    }
    throw error
  }
}
