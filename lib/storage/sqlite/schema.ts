import { READERS_GRACE } from '../chunks.ts'
import { SECRET_KEY, VARIANTS_MARK } from '../heads.ts'
import { METADATA_START } from '../records.ts'

/** The tables of the adapter. Those of another format have another name, so that releases can share a file. */
export const TABLES = { heads: 'responses_1', chunks: 'chunks_1' } as const

/** Tables of our own beside them: how much there is, what nothing refers to. */
export const TOTALS = 'totals_1'
export const UNREFERENCED = 'unreferenced_1'

/** Who has noted what nothing refers to, beside its process, which is all that older releases know of. */
export const OWNERS = 'owners_1'

/** Which processes have the file open, and on what they have agreed. */
export const PROCESSES = 'processes_1'
export const LEASES = 'leases_1'

/** Which contents processes have been reading for long. */
export const READING = 'reading_1'

/** How often heads have been changed by anybody. */
export const CHANGES = 'changes_1'

/** For how long who has the file open is taken to be alive by those who cannot see it, in milliseconds. */
const LASTING = 15 * 60_000

/** How often it says that it is, in milliseconds. */
export const RENEWAL: number = LASTING / 3

/** In the place of a process: whoever comes next looks after it. */
export const NOBODY = -1

/** When each head was used, and what is known of its response without reading it. */
export const USED = 'used_1'

/** How exact the time of the last use is, in milliseconds. */
const EXACT = 1000

/**
 * The highest `user_version` that releases have given a file. It belongs to the program that shares the file, if
 * there is one, and is left alone now.
 */
export const OLDER_VERSION = 1

/** A row in the table of totals that counts nothing: there are no responses from before there were summaries. */
export const COMPLETE = 'complete'

/** The generation of the content that a chunk is of. */
export const GENERATION = "substr(key, 1, instr(key, '.') - 1)"

/** The time in milliseconds since the epoch. */
export const NOW = "CAST(unixepoch('subsec') * 1000 AS INTEGER)"

/** Whether who has an identifier has told not long ago that it is alive, as SQL: it holds a lease on itself. */
export function isLeased(id: string): string {
  return `EXISTS (SELECT 1 FROM ${LEASES} WHERE key = ${id} AND until > ${NOW})`
}

/**
 * The columns that sum up responses, beside the time of their last use: in one row, as each further one that
 * is to be written makes storing slower. `record` tells of which record (see {@link recordMark}), `until` how
 * long that is kept; `url` is missing where the summary is still to be made, and empty where there is none.
 */
export const SUMMARY_COLUMNS: Readonly<Record<string, string>> = {
  record: 'TEXT',
  until: 'INTEGER',
  url: 'TEXT',
  cache_key: 'TEXT',
  generation: 'TEXT',
  method: 'TEXT',
  status: 'INTEGER',
  type: 'TEXT',
  stored: 'INTEGER',
  expires: 'INTEGER',
  size: 'INTEGER',
  chunk_size: 'INTEGER',
  tags: 'TEXT',
}

const SUMMARY_DEFINITION = Object.entries(SUMMARY_COLUMNS)
  .map(([name, type]) => `${name} ${type}`)
  .join(', ')

/** Triggers keep the account, so that it is right whatever happens to the process. */
export const SCHEMA: readonly string[] = [
  `CREATE TABLE IF NOT EXISTS ${TOTALS} (name TEXT PRIMARY KEY, count INTEGER NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS ${USED} (key TEXT PRIMARY KEY, used INTEGER NOT NULL, ${SUMMARY_DEFINITION}) WITHOUT ROWID`,
  `CREATE INDEX IF NOT EXISTS ${USED}_order ON ${USED} (used)`,
  `CREATE TABLE IF NOT EXISTS ${UNREFERENCED} (generation TEXT PRIMARY KEY, pid INTEGER NOT NULL, since INTEGER NOT NULL) WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS ${OWNERS} (generation TEXT PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID`,
  ...ownership(),
  ...accounting(TABLES.heads, isResponse),
  ...accounting(TABLES.chunks, () => '0'),
  ...lastUse(TABLES.heads),
  `CREATE TABLE IF NOT EXISTS ${CHANGES} (id INTEGER PRIMARY KEY, number INTEGER NOT NULL)`,
  ...changes(TABLES.heads),
  `CREATE TABLE IF NOT EXISTS ${PROCESSES} (id TEXT PRIMARY KEY, pid INTEGER NOT NULL) WITHOUT ROWID`,
  ...lifetime(),
  `CREATE TABLE IF NOT EXISTS ${READING} (generation TEXT, id TEXT, pid INTEGER NOT NULL, PRIMARY KEY (generation, id)) WITHOUT ROWID`,
  `CREATE TABLE IF NOT EXISTS ${LEASES} (key TEXT PRIMARY KEY, holder TEXT NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID`,
]

/** Heads together with their summaries, to be written by one statement. */
export const SUMMED_UP = 'summed_up_1'

const SUMMARY_NAMES = Object.keys(SUMMARY_COLUMNS)

/**
 * Writes a head together with its summary, so that there is never one without the other. The summary comes
 * first, so that the trigger of the head finds that there is nothing to be done.
 */
const WRITE_BOTH = `INSERT INTO ${USED} (used, key, ${SUMMARY_NAMES.join(', ')}) VALUES (${NOW}, NEW.key, ${SUMMARY_NAMES.map((name) => `NEW.${name}`).join(', ')}) ON CONFLICT DO UPDATE SET used = excluded.used, ${SUMMARY_NAMES.map((name) => `${name} = excluded.${name}`).join(', ')}; INSERT INTO ${TABLES.heads} (key, value, namespace, expires) VALUES (NEW.key, NEW.value, '', NEW.until) ON CONFLICT (key, namespace) DO UPDATE SET value = excluded.value, expires = excluded.expires;`

/** How long it takes at most until whoever has replaced content has noted that it removes it, in milliseconds. */
const LATE = 2 * READERS_GRACE

/**
 * Note which content is not referred to any more, and which is from now on, together with what makes it so:
 * of two processes that replace the same response at once, neither knows of the content of the other one.
 */
const REFERENCES: readonly string[] = [
  // As they were before, these made a write fail where it was noted already: SQLite does not let a trigger ignore
  // what an upsert does not.
  ...['update', 'delete'].map((event) => `DROP TRIGGER IF EXISTS ${USED}_${event}_left`),
  ...['UPDATE OF generation', 'DELETE'].map((event) =>
    trigger(
      USED,
      event,
      'unreferred',
      `WHEN OLD.chunk_size IS NOT NULL${event === 'DELETE' ? '' : ' AND OLD.generation IS NOT NEW.generation'}`,
      `INSERT INTO ${UNREFERENCED} VALUES (OLD.generation, ${NOBODY}, ${NOW} + ${LATE}) ON CONFLICT DO UPDATE SET pid = excluded.pid, since = excluded.since;`,
    ),
  ),
  ...['INSERT', 'UPDATE OF generation'].map((event) =>
    trigger(
      USED,
      event,
      'referred',
      'WHEN NEW.chunk_size IS NOT NULL',
      `DELETE FROM ${UNREFERENCED} WHERE generation = NEW.generation;`,
    ),
  ),
]

/**
 * What summaries need beside their columns. The index finds those that are still to be made, of what was
 * written by who knows nothing of them.
 */
export const SUMMARIES_SCHEMA: readonly string[] = [
  `CREATE INDEX IF NOT EXISTS ${USED}_missing ON ${USED} (key) WHERE url IS NULL AND record IS NOT NULL`,
  `CREATE VIEW IF NOT EXISTS ${SUMMED_UP} AS SELECT ${USED}.key, value, ${SUMMARY_NAMES.map((name) => `${USED}.${name}`).join(', ')} FROM ${USED} JOIN ${TABLES.heads} USING (key)`,
  `CREATE TRIGGER IF NOT EXISTS ${SUMMED_UP}_insert INSTEAD OF INSERT ON ${SUMMED_UP} BEGIN ${WRITE_BOTH} END`,
  ...REFERENCES,
]

/** The columns that every release has made: a table without them is of another program. */
export const COLUMNS: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(
    Object.values(TABLES).map((table) => [table, ['key', 'value', 'namespace', 'expires']]),
  ),
  [TOTALS]: ['name', 'count', 'size'],
  [USED]: ['key', 'used'],
  [UNREFERENCED]: ['generation', 'pid', 'since'],
  [OWNERS]: ['generation', 'id'],
  [CHANGES]: ['id', 'number'],
  [PROCESSES]: ['id', 'pid'],
  [READING]: ['generation', 'id', 'pid'],
  [LEASES]: ['key', 'holder', 'until'],
  [SUMMED_UP]: ['key', 'value'],
}

/** The names of all that is made in a file here, and by the adapter, but for what SQLite makes by itself. */
export const OWN_NAMES: ReadonlySet<string> = new Set([
  ...Object.values(TABLES).flatMap((table) => [table, `${table}_expires_idx`]),
  ...[...SCHEMA, ...SUMMARIES_SCHEMA].flatMap(
    (sql) => /^CREATE \w+ IF NOT EXISTS (\w+)/.exec(sql)?.[1] ?? [],
  ),
])

/** Whether a row of a table is a response, as SQL. */
export function isResponse(row: string): string {
  const start = `substr(CAST(${row}.value AS BLOB), ${METADATA_START + 1}, ${VARIANTS_MARK.length})`
  return `(${row}.key <> '${SECRET_KEY}' AND ${start} <> CAST('${VARIANTS_MARK}' AS BLOB))`
}

/** By what one record at a key is told from another one: its checksum, as SQL. */
export function recordMark(value: string): string {
  return `hex(substr(CAST(${value} AS BLOB), 2, 4))`
}

/** The triggers that note the use of heads: in a file of before they do not know of summaries. */
export const USE_TRIGGERS: readonly string[] = ['insert', 'update'].map(
  (event) => `${TABLES.heads}_${event}_used`,
)

function trigger(table: string, event: string, name: string, condition: string, action: string) {
  const trigger = `${table}_${event.slice(0, 6).toLowerCase()}_${name}`
  return `CREATE TRIGGER IF NOT EXISTS ${trigger} AFTER ${event} ON ${table} ${condition} BEGIN ${action} END`
}

function accounting(table: string, countOf: (row: 'OLD' | 'NEW') => string): string[] {
  const size = (row: 'OLD' | 'NEW') => `length(CAST(${row}.value AS BLOB))`
  const add = (count: string, bytes: string) =>
    `INSERT INTO ${TOTALS} VALUES ('${table}', ${count}, ${bytes}) ON CONFLICT DO UPDATE SET count = count + excluded.count, size = size + excluded.size;`
  const on = (event: string, action: string) => trigger(table, event, 'total', '', action)
  return [
    on('INSERT', add(countOf('NEW'), size('NEW'))),
    on(
      'UPDATE OF value',
      add(`${countOf('NEW')} - ${countOf('OLD')}`, `${size('NEW')} - ${size('OLD')}`),
    ),
    on('DELETE', add(`-${countOf('OLD')}`, `-${size('OLD')}`)),
  ]
}

/** Notes the use of heads. Of what was there before nothing is kept, whoever writes. */
function lastUse(table: string): string[] {
  const record = recordMark('NEW.value')
  const url = `CASE WHEN ${isResponse('NEW')} THEN NULL ELSE '' END`
  const use = `DELETE FROM ${USED} WHERE key = NEW.key AND record IS NOT ${record}; INSERT INTO ${USED} (key, used, record, url) VALUES (NEW.key, ${NOW}, ${record}, ${url}) ON CONFLICT DO UPDATE SET used = excluded.used WHERE used < excluded.used - ${EXACT};`
  const isOurs = `WHEN NEW.key <> '${SECRET_KEY}'`
  return [
    trigger(table, 'INSERT', 'used', isOurs, use),
    trigger(table, 'UPDATE OF value', 'used', isOurs, use),
    trigger(table, 'DELETE', 'used', '', `DELETE FROM ${USED} WHERE key = OLD.key;`),
  ]
}

/** Who says that it has the file open takes a lease on itself, which lasts for as long as it says so. */
function lifetime(): string[] {
  const lease = `INSERT OR REPLACE INTO ${LEASES} VALUES (NEW.id, NEW.id, ${NOW} + ${LASTING});`
  return [
    trigger(PROCESSES, 'INSERT', 'lease', '', lease),
    trigger(PROCESSES, 'DELETE', 'lease', '', `DELETE FROM ${LEASES} WHERE key = OLD.id;`),
  ]
}

/** Whose what nothing refers to is: of what an older release notes that is unknown. */
function ownership(): string[] {
  const forget = (row: 'OLD' | 'NEW') =>
    `DELETE FROM ${OWNERS} WHERE generation = ${row}.generation;`
  return [
    trigger(UNREFERENCED, 'INSERT', 'owner', '', forget('NEW')),
    trigger(UNREFERENCED, 'DELETE', 'owner', '', forget('OLD')),
  ]
}

function changes(table: string): string[] {
  const count = `INSERT INTO ${CHANGES} VALUES (0, 1) ON CONFLICT DO UPDATE SET number = number + 1;`
  return ['INSERT', 'UPDATE OF value', 'DELETE'].map((event) =>
    trigger(table, event, 'counted', '', count),
  )
}
