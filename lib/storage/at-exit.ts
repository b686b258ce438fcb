/** What has something left to be done, should the process exit. */
interface Unfinished {
  /** Does it at once: there are no more turns of the event loop. */
  finish(): void
}

const unfinished = new Set<Unfinished>()
let isWatching = false

/** From now on something is finished when the process exits. */
export function finishAtExit(thing: Unfinished): void {
  unfinished.add(thing)
  if (isWatching) return
  isWatching = true
  process.once('exit', () => {
    for (const each of unfinished) each.finish()
  })
}

/** There is nothing left to be finished. */
export function isFinished(thing: Unfinished): void {
  unfinished.delete(thing)
}
