/** What a request came to. */
export interface Outcome {
  /** Whether the cache answered it. */
  readonly isHit: boolean
  /** When the response began, in milliseconds. */
  readonly began?: number
  /** When it ended, in milliseconds; undefined where the client itself was slow. */
  readonly ended?: number
  /** What must not be: a response that is not what it should be, one that ends before its end, or none at all. */
  readonly wrong?: string
  readonly cutOff?: string
  readonly failed?: string
}

/** What must not be. */
export type Problem = 'wrong' | 'failed' | 'cutOff' | 'lost' | 'others'

/** How many problems of one kind are shown in full. */
const SHOWN = 3

/** The counts of one part of the torture. */
export class Tally {
  readonly part: string
  requests = 0
  hits = 0
  kills = 0
  wrong = 0
  failed = 0
  cutOff = 0
  lost = 0
  /** What must not be, and is none of the above. */
  others = 0
  /** When the response began that began latest, in milliseconds. */
  latest = 0
  /** When the response ended that took longest, in milliseconds. */
  slowest = 0
  /** What is worth knowing, in the order in which it happened. */
  readonly notes: string[] = []
  readonly #events = new Map<string, number>()
  readonly #problems = new Map<string, number>()

  readonly #mayCutOff: boolean

  /**
   * @param mayCutOff whether the rest of a response may be lost after its beginning has been delivered,
   *   which nobody can be spared then
   */
  constructor(part: string, { mayCutOff = false } = {}) {
    this.part = part
    this.#mayCutOff = mayCutOff
  }

  request({ isHit, began = 0, ended = 0, wrong, cutOff, failed }: Outcome): void {
    this.requests += 1
    if (isHit) this.hits += 1
    this.latest = Math.max(this.latest, began)
    this.slowest = Math.max(this.slowest, ended)
    if (wrong !== undefined) this.problem('wrong', wrong)
    if (cutOff !== undefined) this.problem('cutOff', cutOff)
    if (failed !== undefined) this.problem('failed', failed)
  }

  /** @param text what is wrong; in brackets the circumstances */
  problem(kind: Problem, text: string): void {
    this[kind] += 1
    const title = {
      wrong: 'wrong: ',
      failed: 'failed: ',
      cutOff: 'cut off: ',
      lost: 'lost: ',
      others: '',
    }[kind]
    const count = countIn(this.#problems, title + text.replace(/ \(.*/s, ''))
    const isAllowed = kind === 'cutOff' && this.#mayCutOff
    if (count <= SHOWN && !isAllowed) console.log(`  ${this.part}: ${title}${text}`)
  }

  /** Trouble that the cache told by an event. */
  event(text: string): void {
    countIn(this.#events, text)
  }

  get events(): number {
    return [...this.#events.values()].reduce((sum, count) => sum + count, 0)
  }

  get isGood(): boolean {
    const cutOff = this.#mayCutOff ? 0 : this.cutOff
    return this.wrong + this.failed + cutOff + this.lost + this.others === 0
  }

  /** What was told and what must not be, by kind. */
  get lines(): string[] {
    const lines = (counts: Map<string, number>) =>
      [...counts].sort(([, a], [, b]) => b - a).map(([kind, count]) => `${count} × ${kind}`)
    return [
      ...this.notes,
      ...lines(this.#events).map((line) => `told ${line}`),
      ...lines(this.#problems),
    ]
  }
}

/** Counts what differs only in numbers, names and paths as one. */
function countIn(counts: Map<string, number>, text: string): number {
  const kind = text
    .replaceAll(/\S*\/\S+/g, '<path>')
    .replaceAll(/\b(?=\w*\d)[\w-]+\b/g, '#')
    .slice(0, 120)
  const count = (counts.get(kind) ?? 0) + 1
  counts.set(kind, count)
  return count
}

/** All counts as a table. */
export function table(tallies: readonly Tally[]): string {
  const head = ['part', 'requests', 'hits', 'kills', 'events']
  const bad = ['wrong', 'failed', 'cut off', 'lost', 'others', 'latest begin', 'latest end']
  const rows = tallies.map((tally) => [
    ...[tally.part, tally.requests, tally.hits, tally.kills, tally.events],
    ...[tally.wrong, tally.failed, tally.cutOff, tally.lost, tally.others],
    ...[tally.latest, tally.slowest].map((time) => `${Math.round(time)} ms`),
  ])
  const cells = [[...head, ...bad], ...rows].map((row) => row.map(String))
  const widths = cells[0]?.map((_, at) => Math.max(...cells.map((row) => row[at]?.length ?? 0)))
  const pad = (cell: string, at: number) =>
    at === 0 ? cell.padEnd(widths?.[at] ?? 0) : cell.padStart(widths?.[at] ?? 0)
  return cells.map((row) => row.map(pad).join('  ')).join('\n')
}
