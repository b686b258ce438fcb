import { READERS_GRACE } from '../chunks.ts'
import { contentStart, METADATA_START } from '../records.ts'
import { isResponse, TABLES, TOTALS, UNREFERENCED, USED } from './schema.ts'

/** What is found when a database is looked through. */
export interface Inspection {
  /** What SQLite itself finds to be damaged; nothing else is looked at then. */
  readonly damage: readonly string[]
  /** The generations of contents that no head refers to, and that nobody is writing. */
  readonly orphans: readonly string[]
  /** Heads whose content is not all there, and the generations of that. */
  readonly incomplete: readonly { readonly key: string; readonly generation: string }[]
  /** How much more there is in tables than they are said to have. */
  readonly drift: readonly {
    readonly table: string
    readonly count: number
    readonly size: number
  }[]
  /** The keys of heads of which nobody knows when they were used, and of uses of heads that are not there. */
  readonly unlisted: readonly string[]
  readonly dangling: readonly string[]
}

/** Goes through the rows of a query. */
export type Query = <Row>(sql: string, ...parameters: readonly (string | number)[]) => Iterable<Row>

const NOTHING: Omit<Inspection, 'damage'> = {
  orphans: [],
  incomplete: [],
  drift: [],
  unlisted: [],
  dangling: [],
}

/** How many kinds of damage are told at most. */
const MAX_DAMAGE = 100

/** Looks through all of a database, as it is at one moment. It takes as long as it takes. */
export function inspect(query: Query, now: number): Inspection {
  // What has begun with a query sees nothing of what others do from then on.
  const all = <Row>(sql: string, ...parameters: (string | number)[]) => [
    ...query<Row>(sql, ...parameters),
  ]
  all('BEGIN')
  try {
    const found = all<{ integrity_check: string }>(`PRAGMA integrity_check(${MAX_DAMAGE})`)
    const damage = found.map((row) => row.integrity_check).filter((text) => text !== 'ok')
    if (damage.length > 0) return { ...NOTHING, damage }
    return { damage, ...inspectRows(query, all, now) }
  } catch (error) {
    // So damaged that it cannot even be looked through.
    return { ...NOTHING, damage: [(error as Error).message] }
  } finally {
    all('ROLLBACK')
  }
}

interface Counted {
  count: number
  size: number
}

function inspectRows(
  query: Query,
  all: <Row>(sql: string, ...parameters: (string | number)[]) => Row[],
  now: number,
): Omit<Inspection, 'damage'> {
  const heads: Counted = { count: 0, size: 0 }
  /** Where there is content, by its generation: the key of its head, and of how many chunks it is. */
  const contents = new Map<string, { readonly key: string; readonly chunks: number }>()
  const rows = query<{ key: string; value: Uint8Array; isResponse: number }>(
    `SELECT key, value, ${isResponse('head')} AS isResponse FROM ${TABLES.heads} AS head`,
  )
  for (const { key, value, isResponse: isCounted } of rows) {
    heads.count += isCounted
    heads.size += value.length
    const { generation, chunks } = contentOf(Buffer.from(value)) ?? {}
    if (generation !== undefined && chunks !== undefined) contents.set(generation, { key, chunks })
  }

  const chunks: Counted = { count: 0, size: 0 }
  const present = new Map<string, number>()
  const lasting = new Set<string>()
  const held = query<{ key: string; size: number; left: number | null }>(
    `SELECT key, length(value) AS size, expires - ? AS left FROM ${TABLES.chunks}`,
    now,
  )
  for (const { key, size, left } of held) {
    chunks.size += size
    const [generation = ''] = key.split('.', 1)
    if ((left ?? 0) >= 0) present.set(generation, (present.get(generation) ?? 0) + 1)
    // What others may still be reading has little time left.
    if ((left ?? Infinity) > 2 * READERS_GRACE) lasting.add(generation)
  }

  const unreferenced = all<{ generation: string }>(`SELECT generation FROM ${UNREFERENCED}`)
  const expected = new Set(unreferenced.map(({ generation }) => generation))
  const isOrphan = (generation: string) => !contents.has(generation) && !expected.has(generation)
  const isComplete = ([generation, content]: [string, { chunks: number }]) =>
    (present.get(generation) ?? 0) >= content.chunks
  const keys = (sql: string) => all<{ key: string }>(sql).map(({ key }) => key)
  return {
    orphans: [...lasting].filter(isOrphan),
    incomplete: [...contents]
      .filter((each) => !isComplete(each))
      .map(([generation, { key }]) => ({ key, generation })),
    drift: [drift(TABLES.heads, heads), drift(TABLES.chunks, chunks)].filter(
      ({ count, size }) => count !== 0 || size !== 0,
    ),
    unlisted: keys(
      `SELECT key FROM ${TABLES.heads} WHERE key <> 'secret' AND NOT EXISTS (SELECT 1 FROM ${USED} WHERE ${USED}.key = ${TABLES.heads}.key)`,
    ),
    dangling: keys(
      `SELECT key FROM ${USED} WHERE NOT EXISTS (SELECT 1 FROM ${TABLES.heads} WHERE ${TABLES.heads}.key = ${USED}.key AND namespace = '')`,
    ),
  }

  function drift(table: string, counted: Counted) {
    const [kept = { count: 0, size: 0 }] = all<Counted>(
      `SELECT count, size FROM ${TOTALS} WHERE name = ?`,
      table,
    )
    return { table, count: counted.count - kept.count, size: counted.size - kept.size }
  }
}

/** Where the content of a response is, as it can be seen in any record; undefined where it is in the record itself. */
export function contentOf(record: Buffer): { generation: string; chunks: number } | undefined {
  const metadata = record.toString('latin1', METADATA_START, contentStart(record) ?? METADATA_START)
  const [, generation, chunkSize, length] =
    /"chunks":\{"generation":"([^"]+)","chunkSize":(\d+),"length":(\d+)\}/.exec(metadata) ?? []
  if (generation === undefined) return undefined
  return { generation, chunks: Math.ceil(Number(length) / Number(chunkSize)) }
}
