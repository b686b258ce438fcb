// Packs the package and uses it as a consumer would: installed from the tarball in an empty folder, by npm 11
// and by npm 12, where the README's first sample has to run and its types have to resolve.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { firstSample, type Program, programs, typedPrograms } from './consumer/sample.ts'
import {
  copyProject,
  environmentOf,
  installedPackage,
  type NodeBinary,
  nodeBinary,
  npmEnvironment,
  ROOT,
  run,
  runOrThrow,
  tail,
} from './node-binaries.ts'

/** Of which htmlparser2 and what it is made of are six. */
const MOST_PACKAGES = 14
const TYPESCRIPT = 'typescript@7.0.2'

interface Setup {
  /** The major of npm. */
  npm: string
  undici: string
  /** On which Nodes the sample runs. */
  nodes: string[]
  /** With which types of Node the sample is checked. */
  types: string[]
}

/** The types of Node that speak of the same undici as the one installed, and the oldest that are supported. */
const SETUPS: Setup[] = [
  { npm: '11', undici: 'undici', nodes: ['22', '24', '26'], types: ['22', '26'] },
  { npm: '12', undici: 'undici', nodes: ['22', '24', '26'], types: [] },
  { npm: '11', undici: 'undici@7', nodes: ['22', '26'], types: ['24'] },
]

interface Npm {
  version: string
  run(args: string[], cwd: string): Promise<string>
}

let failures = 0
const temporary = await mkdtemp(join(tmpdir(), 'caching-agent-consumer-'))
const origin = await startOrigin()
try {
  const tarball = await pack()
  const sample = await firstSample(join(ROOT, 'README.md'))
  console.log(`The sample is ${sample.from}, with ${origin.url} for its origin.`)
  for (const [at, setup] of SETUPS.entries()) {
    await tryOut(setup, tarball, sample.source, join(temporary, `consumer-${at}`))
  }
} finally {
  await origin.close()
  await rm(temporary, { recursive: true, force: true })
}
console.log(failures > 0 ? `\n${failures} FAILED` : '\nEverything passed.')
process.exitCode = failures > 0 ? 1 : 0

async function tryOut(setup: Setup, tarball: string, source: string, folder: string) {
  const npm = await npmOf(setup.npm)
  console.log(`\nnpm ${npm.version}: npm install ${basename(tarball)} ${setup.undici}`)
  await mkdir(folder)
  await writeFile(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n')
  if (!(await check('installs', () => install(npm, tarball, setup.undici, folder)))) return
  await check('has few packages, all from the registry', () => inspectLock(folder))
  await check('runs no install script and builds nothing', () => inspectFiles(folder))
  for (const major of setup.nodes) {
    const node = await nodeBinary(major)
    for (const program of programs(source, origin.url)) {
      await check(`runs on Node ${node.version} by ${program.what}`, () =>
        runTwice(node, program, folder),
      )
    }
  }
  for (const major of setup.types) await tryTypes(npm, major, source, folder)
}

/** Prints a line for something that has to succeed; what it returns is a remark on the success. */
async function check(what: string, attempt: () => Promise<string>): Promise<boolean> {
  const started = performance.now()
  const { passed, remark } = await attempt().then(
    (result) => ({ passed: true, remark: result }),
    (error: unknown) => ({
      passed: false,
      remark: error instanceof Error ? error.message : String(error),
    }),
  )
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  const lines = remark.replaceAll('\n', '\n         ')
  console.log(`  ${passed ? 'ok    ' : 'FAILED'} ${what} (${seconds} s): ${lines}`)
  if (!passed) failures++
  return passed
}

/** An origin that says nothing about caching, as the one in the sample. */
async function startOrigin() {
  let requests = 0
  const server = createServer((_, response) => {
    requests++
    response.setHeader('content-type', 'application/json').end('{"slideshow":{}}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  return {
    url: `http://127.0.0.1:${port}`,
    requests: () => requests,
    close: () => new Promise((resolve) => server.close(resolve).closeAllConnections()),
  }
}

/** Builds and packs a copy, because a build in the work tree could be in somebody's way. */
async function pack(): Promise<string> {
  const project = join(temporary, 'project')
  await copyProject(project)
  const args = ['pack', '--pack-destination', temporary]
  const { output } = await runOrThrow('npm', args, { cwd: project, env: npmEnvironment() })
  const files = await readdir(temporary)
  const tarball = files.find((file) => file.endsWith('.tgz'))
  if (!tarball) throw new Error(`npm pack left no tarball:\n${output}`)
  const size = /package size: .*$/m.exec(output)?.[0] ?? ''
  const total = /total files: .*$/m.exec(output)?.[0] ?? ''
  console.log(`Packed ${tarball}: ${size}, ${total}`)
  return join(temporary, tarball)
}

/** An npm of the given major, from the registry, run by Node 24: npm 12 does not run on older Nodes. */
async function npmOf(major: string): Promise<Npm> {
  const [{ version, path }, node] = await Promise.all([
    installedPackage('npm', major),
    nodeBinary('24'),
  ])
  const cli = join(path, 'bin', 'npm-cli.js')
  // An npm elsewhere looks for the machine's settings, such as its certificates, elsewhere.
  const options = { cwd: ROOT, env: npmEnvironment() }
  const { stdout } = await runOrThrow('npm', ['config', 'get', 'globalconfig'], options)
  const env = { ...environmentOf(node.path), npm_config_globalconfig: stdout.trim() }
  return {
    version,
    run: async (args, cwd) => (await runOrThrow(node.path, [cli, ...args], { cwd, env })).output,
  }
}

async function install(npm: Npm, tarball: string, undici: string, folder: string): Promise<string> {
  // With the addresses in the lock file, for inspection.
  const args = ['install', '--no-audit', '--no-fund', '--omit-lockfile-registry-resolved=false']
  const output = await npm.run([...args, tarball, undici], folder)
  return tail(output, 1).trim()
}

interface Lock {
  packages: Record<string, { version?: string; resolved?: string; hasInstallScript?: boolean }>
}

async function inspectLock(folder: string): Promise<string> {
  const text = await readFile(join(folder, 'package-lock.json'), 'utf8')
  const { packages } = JSON.parse(text) as Lock
  const installed = Object.entries(packages).filter(([path]) => path !== '')
  const list = installed.map(([path, { version }]) => `${basename(path)} ${version}`).join(', ')
  if (installed.length > MOST_PACKAGES) throw new Error(`${installed.length} packages: ${list}`)
  // What is in every registry tells where this one keeps its tarballs.
  const registry = new URL(packages['node_modules/undici']?.resolved ?? '').origin
  for (const [path, { resolved = 'nowhere', hasInstallScript }] of installed) {
    const expected = path === 'node_modules/caching-agent' ? 'file:' : `${registry}/`
    if (!resolved.startsWith(expected)) throw new Error(`${path} comes from ${resolved}`)
    if (hasInstallScript) throw new Error(`${path} has an install script`)
  }
  return `${installed.length} packages: ${list}`
}

async function inspectFiles(folder: string): Promise<string> {
  const files = await readdir(join(folder, 'node_modules'), { recursive: true })
  const native = files.filter(
    (file) =>
      /(^|[\\/])(better-sqlite3|sqlite3|node-gyp|prebuild-install|binding\.gyp)$/.test(file) ||
      /[\\/]build[\\/]Release|\.node$/.test(file),
  )
  if (native.length > 0) throw new Error(`Found ${native.join(', ')}`)
  return `${files.length} files, no add-on, no binding.gyp, no build folder`
}

/** The second process has to find what the first one stored, in the folder that both run in. */
async function runTwice(node: NodeBinary, program: Program, folder: string): Promise<string> {
  const cwd = join(folder, `${program.file.replace('.', '-')}-${node.version}`)
  await mkdir(cwd)
  await writeFile(join(cwd, program.file), program.source)
  const before = origin.requests()
  const first = await runSample(node, program.file, cwd)
  const between = origin.requests()
  const second = await runSample(node, program.file, cwd)
  const fetched = [between - before, origin.requests() - between]
  const said = `${JSON.stringify(first.trim())}, then ${JSON.stringify(second.trim())}`
  if (!/miss/i.test(first)) throw new Error(`Expected a miss: ${said}`)
  if (!/hit/i.test(second) || /miss/i.test(second)) throw new Error(`Expected a hit: ${said}`)
  if (fetched[0] === 0) throw new Error('The first process did not ask the origin')
  if (fetched[1] !== 0) throw new Error('The second process asked the origin')
  return said
}

async function runSample(node: NodeBinary, file: string, cwd: string): Promise<string> {
  const options = { cwd, env: environmentOf(node.path), timeout: 30_000 }
  return (await runOrThrow(node.path, [file], options)).stdout
}

async function tryTypes(npm: Npm, major: string, source: string, folder: string) {
  const types = `@types/node@${major}`
  const tools = ['install', '--save-dev', '--no-audit', '--no-fund', TYPESCRIPT, types]
  await check(`installs ${TYPESCRIPT} and ${types}`, async () =>
    tail(await npm.run(tools, folder), 1).trim(),
  )
  const files = typedPrograms(source)
  for (const { file, source } of files) await writeFile(join(folder, file), source)
  for (const skipped of ['true', 'false']) {
    for (const { file, what } of files) {
      await check(`type-checks ${what} with ${types}, skipLibCheck ${skipped}`, () =>
        typeCheck(file, skipped, folder),
      )
    }
  }
}

async function typeCheck(file: string, skipLibCheck: string, folder: string): Promise<string> {
  const node = await nodeBinary('24')
  const tsc = join(folder, 'node_modules', 'typescript', 'bin', 'tsc')
  const options = '--noEmit --strict --module nodenext --target es2024 --types node --skipLibCheck'
  const args = [tsc, ...options.split(' '), skipLibCheck, file]
  const { code, output } = await run(node.path, args, {
    cwd: folder,
    env: environmentOf(node.path),
  })
  if (code !== 0) throw new Error(`exit code ${code}\n${output.trim()}`)
  return file
}
