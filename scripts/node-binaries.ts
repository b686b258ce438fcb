// What the scripts that try the package elsewhere share: running programs, and getting exact versions of
// Node, undici and npm out of the registry, each into a folder of its own that later runs find again.
import { type ChildProcess, spawn } from 'node:child_process'
import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  readdir,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { basename, delimiter, dirname, join, relative, sep } from 'node:path'

/** The project's own folder. */
export const ROOT = dirname(import.meta.dirname)

const PACKAGES = join(ROOT, 'node_modules', '.cache', 'caching-agent-matrix')

export interface RunOptions {
  cwd: string
  env?: NodeJS.ProcessEnv
  /** Milliseconds until the program is killed. Five minutes unless told otherwise. */
  timeout?: number
}

export interface Result {
  /** The exit code; `undefined` where the program was killed. */
  code: number | undefined
  stdout: string
  /** What it wrote to both streams, as it came. */
  output: string
}

/** Runs a program to its end without a shell and without standard input. */
export function run(program: string, args: string[], options: RunOptions): Promise<Result> {
  const { cwd, env = process.env, timeout = 300_000 } = options
  return new Promise((resolve, reject) => {
    // In a group of its own, because what it started in turn has to end with it.
    const detached = process.platform !== 'win32'
    const child = spawn(program, args, { cwd, env, detached, stdio: ['ignore', 'pipe', 'pipe'] })
    const kill = () => killGroup(child, detached)
    const timer = setTimeout(kill, timeout)
    process.once('exit', kill)
    let stdout = ''
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      output += text
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code: code ?? undefined, stdout, output }))
    child.on('close', () => {
      clearTimeout(timer)
      process.off('exit', kill)
    })
  })
}

function killGroup({ pid }: ChildProcess, group: boolean) {
  if (pid === undefined) return
  try {
    process.kill(group ? -pid : pid, 'SIGKILL')
  } catch {
    // It ended just now.
  }
}

// A script that is interrupted ends what it started, which an exit by signal would not do.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => process.exit(1))
}

/** Like `run`, where anything but success is an error that shows what the program said. */
export async function runOrThrow(program: string, args: string[], options: RunOptions) {
  const result = await run(program, args, options)
  if (result.code !== 0) {
    const line = [basename(program), ...args].join(' ')
    throw new Error(`${line}: exit code ${result.code}\n${tail(result.output, 60)}`)
  }
  return result
}

export function tail(text: string, lines: number): string {
  return text.trimEnd().split('\n').slice(-lines).join('\n')
}

/** An environment in which `node` is this binary, also for programs that start `node` by name. */
export function environmentOf(node: string): NodeJS.ProcessEnv {
  const env = npmEnvironment()
  return { ...env, PATH: [dirname(node), env.PATH].join(delimiter) }
}

/**
 * The environment without what `npm run` added to it, which would make a nested npm believe it works on this
 * project. Where the registry is and how it is reached stays.
 */
export function npmEnvironment(): NodeJS.ProcessEnv {
  const network =
    /^npm_config_(registry|userconfig|globalconfig|cache|ca|cafile|proxy|https_proxy|noproxy|strict_ssl|[@/].*)$/i
  // NODE_TEST_CONTEXT and NODE_OPTIONS would change what a Node that is under test does.
  const ours = /^(npm_.*|init_cwd|node_options|node_test_context|force_color)$/i
  return Object.fromEntries(
    Object.entries(process.env).filter(([name]) => network.test(name) || !ours.test(name)),
  )
}

/** The newest version that a specifier such as `undici@^8.12.0` means, prereleases aside. */
export async function newestVersion(spec: string): Promise<string> {
  const args = ['view', spec, 'version', '--json']
  const { stdout } = await runOrThrow('npm', args, { cwd: ROOT, env: npmEnvironment() })
  const versions = [JSON.parse(stdout)].flat().filter((version) => /^[\d.]+$/.test(version))
  const newest = versions.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1)
  if (newest === undefined) throw new Error(`${spec}: there is no such version`)
  return newest
}

export interface Package {
  version: string
  path: string
}

/** Installs the newest version that a name and a range mean, alone in a folder. */
export async function installedPackage(name: string, range: string): Promise<Package> {
  const version = await newestVersion(`${name}@${range}`)
  const folder = join(PACKAGES, `${name}-${version}`)
  const found = { version, path: join(folder, 'node_modules', name) }
  await mkdir(PACKAGES, { recursive: true })
  if ((await readdir(PACKAGES)).includes(basename(folder))) return found
  // Under another name until it is complete: an interrupted run leaves nothing that looks finished.
  const partial = await newFolder(`${folder}.`)
  await writeFile(join(partial, 'package.json'), '{ "private": true }')
  // By force, because this may be for another Node than the one that runs npm.
  const args = ['install', '--force', '--ignore-scripts', '--no-audit', '--no-fund']
  const options = { cwd: partial, env: npmEnvironment() }
  await runOrThrow('npm', [...args, `${name}@${version}`], options)
  await rename(partial, folder)
  return found
}

/** A new folder that every user may read, because tests of permissions run Node as somebody else. */
export async function newFolder(prefix: string): Promise<string> {
  const folder = await mkdtemp(prefix)
  await chmod(folder, 0o755)
  return folder
}

export interface NodeBinary {
  version: string
  path: string
}

/** A Node of the given version or major, from the package on npm that carries it for this platform. */
export async function nodeBinary(range: string): Promise<NodeBinary> {
  const platform = process.platform === 'win32' ? 'win' : process.platform
  const { version, path } = await installedPackage(`node-${platform}-${process.arch}`, range)
  return { version, path: join(path, 'bin', process.platform === 'win32' ? 'node.exe' : 'node') }
}

/**
 * Copies the project as it lies there, without what is made from it, and links the packages it depends on,
 * some of them replaced. The copy has to be outside any node_modules, where Node strips no types.
 */
export async function copyProject(target: string, replaced: Record<string, string> = {}) {
  const left = new Set(['node_modules', 'dist', '.git'])
  await cp(ROOT, target, {
    recursive: true,
    filter: (path) => !left.has(relative(ROOT, path).split(sep)[0] ?? ''),
  })
  const modules = join(target, 'node_modules')
  await rm(modules, { recursive: true, force: true })
  await mkdir(modules)
  for (const name of await readdir(join(ROOT, 'node_modules'))) {
    if (name === '.cache') continue
    await symlink(replaced[name] ?? join(ROOT, 'node_modules', name), join(modules, name))
  }
}
