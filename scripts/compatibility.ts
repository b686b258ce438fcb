// Runs the whole test suite on each supported Node with each supported undici, and prints a table.
//
//   node scripts/compatibility.ts                    the corners
//   node scripts/compatibility.ts --all              every combination
//   node scripts/compatibility.ts --only 22x8 26x7   these ones
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  copyProject,
  environmentOf,
  installedPackage,
  newFolder,
  nodeBinary,
  run,
  tail,
} from './node-binaries.ts'

/** The oldest that is supported, and the newest of each major. */
const NODES = ['22.19.0', '22', '24', '26']
const UNDICIS = new Map([
  ['7.28.0', '7.28.0'],
  ['7', '^7.28.0'],
  ['8.12.0', '8.12.0'],
  ['8', '^8.12.0'],
])
const ALL = NODES.flatMap((node) => [...UNDICIS.keys()].map((undici) => `${node}x${undici}`))
/** The oldest and the newest Node, and the oldest undici of each major; `npm test` uses the newest of all. */
const CORNERS = ['22.19.0x8.12.0', '26x7.28.0']

interface Outcome {
  passed: boolean
  cell: string
  /** What to read where it did not pass. */
  details: string
}

const combinations = chosen()
const names = (part: number) => [
  ...new Set(combinations.map((each) => each.split('x')[part] ?? '')),
]
const nodes = await resolved(names(0), nodeBinary)
const undicis = await resolved(names(1), (label) =>
  installedPackage('undici', UNDICIS.get(label) ?? ''),
)

const outcomes = new Map<string, Outcome>()
for (const combination of combinations) {
  const started = performance.now()
  const outcome = await testCombination(combination)
  outcomes.set(combination, outcome)
  const seconds = ((performance.now() - started) / 1000).toFixed(0)
  console.log(`${title(combination)}: ${outcome.cell} (${seconds} s)`)
}

const failures = [...outcomes].filter(([, { passed }]) => !passed)
for (const [combination, { details }] of failures) {
  console.log(`\n--- ${title(combination)} ---\n${details}`)
}
console.log(`\n${table()}`)
process.exitCode = failures.length > 0 ? 1 : 0

function chosen(): string[] {
  const { values, positionals } = parseArgs({
    options: { all: { type: 'boolean' }, only: { type: 'string', multiple: true } },
    allowPositionals: true,
  })
  const only = [...(values.only ?? []), ...positionals]
  const unknown = only.filter((each) => !ALL.includes(each))
  if (unknown.length > 0) {
    throw new Error(`No such combination: ${unknown.join(', ')}. There are ${ALL.join(', ')}.`)
  }
  if (only.length > 0) return only
  return values.all ? ALL : CORNERS
}

async function resolved<T>(labels: string[], find: (label: string) => Promise<T>) {
  return new Map(
    await Promise.all(labels.map(async (label) => [label, await find(label)] as const)),
  )
}

function partsOf(combination: string) {
  const [node = '', undici = ''] = combination.split('x')
  const parts = { node: nodes.get(node), undici: undicis.get(undici) }
  if (!parts.node || !parts.undici) throw new Error(`${combination} was not prepared`)
  return { node: parts.node, undici: parts.undici }
}

function title(combination: string): string {
  const { node, undici } = partsOf(combination)
  return `Node ${node.version} x undici ${undici.version}`
}

/** Tests a copy of the project, so that neither the work tree nor its undici is touched. */
async function testCombination(combination: string): Promise<Outcome> {
  const { node, undici } = partsOf(combination)
  const folder = await newFolder(join(tmpdir(), 'caching-agent-compatibility-'))
  try {
    await copyProject(folder, { undici: undici.path })
    const wrong = await wrongVersions(combination, folder)
    if (wrong) return { passed: false, cell: 'FAILED', details: wrong }
    // Not by `npm test`, which would put the Node of the development dependencies first.
    const args = [
      '--conditions=source',
      '--test',
      '--test-concurrency=4',
      '--test-timeout=240000',
      '--test-reporter=spec',
    ]
    const result = await run(node.path, [...args, 'test/**/*.test.ts'], {
      cwd: folder,
      // Hundreds of processes compile the same files.
      env: { ...environmentOf(node.path), NODE_COMPILE_CACHE: join(folder, 'compiled') },
    })
    return outcomeOf(result.code, result.output)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Makes sure that the copy tests what the table will say. */
async function wrongVersions(combination: string, folder: string): Promise<string | undefined> {
  const { node, undici } = partsOf(combination)
  const script =
    "console.log(process.versions.node, require(require.resolve('undici/package.json')).version)"
  const options = { cwd: folder, env: environmentOf(node.path) }
  const { stdout, output } = await run(node.path, ['-e', script], options)
  return stdout.trim() === `${node.version} ${undici.version}` ? undefined : `Loaded ${output}`
}

function outcomeOf(code: number | undefined, output: string): Outcome {
  const count = (name: string) =>
    Number(new RegExp(`^ℹ ${name} (\\d+)$`, 'm').exec(output)?.[1] ?? 0)
  const passed = code === 0 && count('pass') > 0
  const failed = count('fail') + count('cancelled')
  const skipped = count('skipped') + count('todo')
  const bad = () => {
    if (code === undefined) return 'HUNG'
    if (failed > 0) return `${failed} FAILED`
    return count('tests') > 0 ? 'FAILED' : 'NO TESTS'
  }
  const good = `${count('pass')} passed${skipped > 0 ? `, ${skipped} skipped` : ''}`
  return { passed, cell: passed ? good : bad(), details: detailsOf(code, output) }
}

function detailsOf(code: number | undefined, output: string): string {
  // Node repeats the failing tests, with their errors, after everything else, if it comes that far.
  const failing = output.split(/^✖ failing tests:$/m).at(-1) ?? ''
  const names = [...failing.matchAll(/^ *✖ .*$/gm)].map(([line]) => line)
  // A file that does not even load says why on its standard error, which is somewhere in between.
  const [unloaded = ''] = /(?:^.*\n){0,4}^\w*Error: .*$/m.exec(output) ?? []
  return [`exit code ${code ?? 'none: killed'}`, ...names, unloaded, tail(output, 60)].join('\n')
}

function table(): string {
  const columns = [...UNDICIS.keys()].filter((label) => undicis.has(label))
  const head = ['', ...columns.map((label) => `undici ${undicis.get(label)?.version}`)]
  const rows = NODES.filter((label) => nodes.has(label)).map((row) => [
    `Node ${nodes.get(row)?.version}`,
    ...columns.map((column) => outcomes.get(`${row}x${column}`)?.cell ?? '-'),
  ])
  const cells = [head, ...rows]
  const widths = head.map((_, at) => Math.max(3, ...cells.map((row) => row[at]?.length ?? 0)))
  const line = (row: string[]) =>
    `| ${row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(' | ')} |`
  const rule = widths.map((width) => '-'.repeat(width))
  return [line(head), line(rule), ...rows.map(line)].join('\n')
}
