import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'

/** A password with characters that URLs and messages have to be careful with. */
export const PASSWORD = 'se:cr@t/ü?#'

/** A database server of a test, on a free port of the loopback interface. It ends with the test's process, however that ends. */
export interface StoreServer {
  readonly port: number
  /** Ends it as a crash would. */
  kill(): Promise<void>
  /** Starts it again, unless it runs. */
  start(): Promise<void>
  /** Stops all its processes, which then answer nothing and close nothing, until {@link resume}. */
  freeze(): void
  resume(): void
}

/** Why there can be no Redis here; false if there can. */
export const noRedis = find('redis-server') === undefined && 'there is no redis-server here'

/** Why there can be no PostgreSQL here; false if there can. */
export const noPostgres =
  (find('initdb') === undefined || find('pg_isready') === undefined) &&
  'there is no PostgreSQL server here'

/** Starts a Redis server, which forgets everything when it ends. Its user is `default`. */
export async function startRedis(...options: string[]): Promise<StoreServer> {
  const port = await freePort()
  const server = new Server(port, temporaryFolder(), {
    command: [
      find('redis-server') as string,
      ...['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'],
      ...['--requirepass', PASSWORD, ...options],
    ],
    signal: 'KILL',
    isReady: async () => /^(\+PONG|-NOAUTH)/.test(await ask(port, 'PING\r\n')),
  })
  await server.start()
  return server
}

/** Starts a Redis cluster of one server. */
export async function startRedisCluster(): Promise<StoreServer> {
  const server = await startRedis('--cluster-enabled', 'yes')
  await ask(server.port, `AUTH ${PASSWORD}\r\nCLUSTER ADDSLOTSRANGE 0 16383\r\n`)
  while (!/cluster_state:ok/.test(await ask(server.port, `AUTH ${PASSWORD}\r\nCLUSTER INFO\r\n`)))
    await delay(20)
  return server
}

/** The URL of a server, with its credentials. */
export function serverUrl(scheme: string, { port }: Pick<StoreServer, 'port'>): string {
  const [user, path] = scheme.startsWith('postgres') ? ['tester', '/postgres'] : ['default', '']
  return `${scheme}://${user}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}${path}`
}

/** Starts a PostgreSQL server with a user `tester` and a database `postgres`. */
export async function startPostgres(): Promise<StoreServer> {
  const port = await freePort()
  // It refuses to run as root.
  const user = process.getuid?.() === 0 ? 65534 : undefined
  const folder = temporaryFolder(user)
  const passwordFile = join(folder, 'password')
  writeFileSync(passwordFile, PASSWORD)
  const run = (name: string, args: string) =>
    promisify(execFile)(find(name) as string, args.split(' '), {
      uid: user,
      gid: user,
      cwd: folder,
    })
  const data = join(folder, 'data')
  await run('initdb', `-D ${data} -U tester --pwfile ${passwordFile} -A scram-sha-256 --no-sync`)
  const server = new Server(port, folder, {
    command: [
      find('postgres') as string,
      ...['-D', data, '-h', '127.0.0.1', '-p', String(port), '-k', ''],
      ...['fsync=off', 'shared_buffers=16MB'].flatMap((setting) => ['-c', setting]),
    ],
    signal: 'QUIT',
    isReady: async () => {
      const answer = await run('pg_isready', `-h 127.0.0.1 -p ${port}`).catch(() => undefined)
      return answer !== undefined
    },
    user,
  })
  await server.start()
  return server
}

interface Program {
  readonly command: readonly string[]
  /** The signal by which it is ended. */
  readonly signal: string
  readonly isReady: () => Promise<boolean>
  readonly user?: number | undefined
}

/**
 * Ends the program when the test's process closes the other end of its standard input, which it does by
 * ending at the latest; and removes the folder, unless told to keep it.
 */
const WATCH = `folder=$1 signal=$2; shift 2
"$@" > "$folder/log" 2>&1 < /dev/null &
echo $!
read -r word
kill -s "$signal" $! && wait $!
[ "$word" = keep ] || rm -rf "$folder"`

class Server implements StoreServer {
  readonly port: number
  readonly #folder: string
  readonly #program: Program
  #watch: ChildProcess | undefined
  #pid = 0

  constructor(port: number, folder: string, program: Program) {
    this.port = port
    this.#folder = folder
    this.#program = program
  }

  async start(): Promise<void> {
    if (this.#watch) return
    const { command, signal, isReady, user } = this.#program
    const watch = spawn('sh', ['-c', WATCH, 'sh', this.#folder, signal, ...command], {
      stdio: ['pipe', 'pipe', 'ignore'],
      uid: user,
      gid: user,
      cwd: this.#folder,
      detached: true,
    })
    this.#watch = watch
    const [line] = await once(watch.stdout, 'data')
    this.#pid = Number(line)
    // The test's process does not wait for it.
    for (const handle of [watch, watch.stdin, watch.stdout]) (handle as ChildProcess).unref()
    for (let tries = 0; !(await isReady()); tries++) {
      if (tries === 200) throw new Error(readFileSync(join(this.#folder, 'log'), 'utf8'))
      await delay(50)
    }
  }

  async kill(): Promise<void> {
    const watch = this.#watch as ChildProcess
    this.#watch = undefined
    const exited = once(watch, 'exit')
    watch.ref()
    watch.stdin?.end('keep\n')
    await exited
  }

  freeze(): void {
    // The first one starts no others once it is stopped.
    signal(this.#pid, 'SIGSTOP')
    for (const pid of this.#children()) signal(pid, 'SIGSTOP')
  }

  resume(): void {
    for (const pid of [...this.#children(), this.#pid]) signal(pid, 'SIGCONT')
  }

  #children(): number[] {
    const children = readFileSync(`/proc/${this.#pid}/task/${this.#pid}/children`, 'utf8')
    return children.split(' ').filter(Boolean).map(Number)
  }
}

/** Sends a signal to a process that may have ended by itself, as those that serve one connection do. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** Where a program is: on the PATH, or where Debian keeps those of PostgreSQL. */
function find(name: string): string | undefined {
  const debian = '/usr/lib/postgresql'
  const versions = existsSync(debian) ? readdirSync(debian).sort().reverse() : []
  return [
    ...(process.env.PATH ?? '').split(delimiter),
    ...versions.map((version) => join(debian, version, 'bin')),
  ]
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path))
}

function temporaryFolder(user?: number): string {
  const folder = mkdtempSync(join(tmpdir(), 'caching-agent-server-'))
  if (user !== undefined) chownSync(folder, user, user)
  return folder
}

/** A port of the loopback interface that nobody listens at. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}

/** What a server answers first to some text; nothing where it cannot be reached. */
function ask(port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text))
    socket.once('data', (data) => {
      socket.destroy()
      resolve(data.toString())
    })
    socket.once('error', () => resolve(''))
  })
}
