import assert from 'node:assert/strict'
import { execFile, execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { request } from 'undici'
import { begin, end, isAlive, tellingOfLife } from '../lib/storage/sqlite/is-alive.ts'
import { RENEWAL } from '../lib/storage/sqlite/schema.ts'
import { get, testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const run = promisify(execFile)

/** Runs a script of the shell so that its processes have numbers of their own, as in a container. */
const CONTAINED = ['unshare', '-Urpf', '--mount-proc', 'sh', '-c'] as const
const noContainers = (() => {
  try {
    const [command, ...args] = [...CONTAINED, 'true']
    execFileSync(command, args, { stdio: 'ignore' })
    return false
  } catch {
    return 'there can be no containers here'
  }
})()

async function contained(script: string, ...parameters: string[]): Promise<string> {
  const [command, ...args] = [...CONTAINED, script, 'sh', process.execPath, ...parameters]
  return (await run(command, args)).stdout
}

const NODE = '"$1" --conditions=source --no-warnings --input-type=module -e'

/** A program that is killed in the middle of a response. */
const KILLED = `
import { cachingAgent } from 'caching-agent'
import { request } from 'undici'
const [store, url] = process.argv.slice(-2)
const agent = cachingAgent({ store: 'sqlite://' + store, expireAfter: '1h' })
const { body } = await request(url, { dispatcher: agent })
body.on('data', () => {})
while ((await agent.cache.size()) < 900_000) await new Promise((resolve) => setTimeout(resolve, 10))
console.log(process.pid)
process.kill(process.pid, 'SIGKILL')`

/** A program that removes what is of no use any more. */
const PRUNING = `
import { HttpCache } from 'caching-agent'
const cache = new HttpCache({ store: 'sqlite://' + process.argv[1] })
await cache.prune()
console.log(process.pid)
await cache.close()`

/** How many chunks there are in a file. */
function chunks(path: string): unknown {
  const database = new DatabaseSync(path, { timeout: 10_000 })
  try {
    return database.prepare('SELECT count(*) AS n FROM chunks_1').get()?.n
  } finally {
    database.close()
  }
}

/** An origin whose response ends when it is told to. */
async function slowOrigin(t: TestContext) {
  const content = randomBytes(2_000_000)
  const held = Promise.withResolvers<void>()
  t.after(() => held.resolve())
  const { url } = await origin(t, async (_, response) => {
    response.setHeader('Content-Length', content.length)
    response.write(content.subarray(0, 1_500_000))
    await held.promise
    response.end(content.subarray(1_500_000))
  })
  return { url, content, finish: () => held.resolve() }
}

suite('what is left of a response in the middle of which its process ended', () => {
  test('is removed by a process of the same number', { skip: noContainers }, async (t) => {
    const { url } = await slowOrigin(t)
    const path = join(folder(), 'cache.sqlite')
    const again = 'echo 100 > /proc/sys/kernel/ns_last_pid'
    const script = `${again}; ${NODE} "$2" "$4" "$5"; ${again}; ${NODE} "$2" "$4" "$5"; ${again}; ${NODE} "$3" "$4"`
    const pids = await contained(script, KILLED, PRUNING, path, url)
    assert.equal(pids, '101\n101\n101\n')
    assert.equal(chunks(path), 0)
  })

  test('is removed where it was a thread that ended', async (t) => {
    const { url } = await slowOrigin(t)
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h' })
    await agent.cache.count()
    // Nothing has a name for what has no address.
    const source = KILLED.replace(/process\.kill\(.*\)/, 'setInterval(() => {}, 1000)').replace(
      /(?<=from ')[^']+/g,
      (name) => import.meta.resolve(name),
    )
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), {
      argv: [path, url],
      stdout: true,
    })
    await once(worker.stdout, 'data')
    while (chunks(path) !== 5) await delay(10)
    await agent.cache.prune()
    assert.equal(chunks(path), 5, 'it is still alive')
    await worker.terminate()
    if (process.platform !== 'linux') silence(path)
    await agent.cache.prune()
    assert.equal(chunks(path), 0)
    await agent.cache.clear()
    assert.equal(await agent.cache.size(), 0)
  })
})

/** As if nothing had been heard of anybody for long. */
function silence(path: string): void {
  const database = new DatabaseSync(path, { timeout: 10_000 })
  database.exec('UPDATE leases_1 SET until = 0')
  database.close()
}

suite('what a process in another container receives', { skip: noContainers }, () => {
  const prune = (path: string) => contained(`${NODE} "$2" "$3"; true`, PRUNING, path)

  test('is kept, and can be read', async (t) => {
    const { url, content, finish } = await slowOrigin(t)
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}`, expireAfter: '1h', memory: false })
    const { body } = await request(url, { dispatcher: agent })
    const first = body.bytes()
    while (chunks(path) !== 5) await delay(10)
    await prune(path)
    assert.equal(chunks(path), 5)
    // Who joins now reads from the beginning.
    const { body: joined } = await request(url, { dispatcher: agent })
    const second = joined.bytes()
    await delay(100)
    finish()
    for (const bytes of await Promise.all([first, second])) assert.ok(content.equals(bytes))
    await agent.cache.responses.settled()
    assert.equal((await get(agent, url)).info?.status, 'hit')
  })

  test('is removed when nothing has been heard of it for long', async (t) => {
    const { url } = await slowOrigin(t)
    const path = join(folder(), 'cache.sqlite')
    await contained(`${NODE} "$2" "$3" "$4"; true`, KILLED, path, url)
    await prune(path)
    silence(path)
    await prune(path)
    assert.equal(chunks(path), 0)
  })

  test('is kept for as long as it says that it is there, which it does now and then', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] })
    const path = join(folder(), 'cache.sqlite')
    const agent = testAgent(t, { store: `sqlite://${path}` })
    await agent.cache.count()
    const database = new DatabaseSync(path, { timeout: 10_000 })
    t.after(() => database.close())
    const leased = () =>
      database.prepare('SELECT until FROM leases_1 JOIN processes_1 ON key = id').get()?.until
    await delay(50)
    const before = leased() as number
    assert.ok(before > Date.now() + 2 * RENEWAL)
    silence(path)
    t.mock.timers.tick(RENEWAL)
    await delay(50)
    assert.ok((leased() as number) >= before)
    await agent.close()
    assert.equal(database.prepare('SELECT count(*) AS n FROM leases_1').get()?.n, 0)
  })
})

suite('whether somebody is alive', { skip: process.platform !== 'linux' }, () => {
  const id = tellingOfLife('uuid')
  const [, place, thread, start] = id.split(' ') as [string, string, string, string]
  const asked = (changed: object, isLeased = 0) => {
    const life = { place, thread, start, pid: process.pid, ...changed }
    const text = ['another', life.place, life.thread, life.start].join(' ')
    return isAlive({ id: text, pid: life.pid, isLeased })
  }

  test('is known of this thread itself', () => {
    begin(id)
    assert.equal(isAlive({ id, pid: process.pid, isLeased: 0 }), true)
    end(id)
    assert.equal(isAlive({ id, pid: process.pid, isLeased: 0 }), false)
    // Another copy of this module says so.
    assert.equal(isAlive({ id, pid: process.pid, isLeased: 1 }), true)
  })

  test('is seen of others on this machine', async () => {
    const child = spawn('sleep', ['60'])
    await once(child, 'spawn')
    const pid = child.pid as number
    const begun = execFileSync('cut', ['-d', ' ', '-f', '22', `/proc/${pid}/stat`], {
      encoding: 'utf8',
    }).trim()
    const alive = { pid, thread: String(pid), start: begun }
    assert.equal(asked(alive), true)
    assert.equal(asked({ ...alive, start: String(Number(begun) - 1) }, 1), false)
    assert.equal(asked({ ...alive, thread: '1' }, 1), false)
    // Where nobody can see when it began.
    assert.equal(asked({ ...alive, start: '?' }), true)
    child.kill()
    await once(child, 'exit')
    assert.equal(asked(alive, 1), false)
    assert.equal(asked({ ...alive, start: '?' }, 1), false)
  })

  test('is not seen of a process that has ended, but has not been waited for', async (t) => {
    // It ends when there is no shell any more that would wait for it.
    const child = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 60'])
    t.after(() => child.kill())
    const pid = Number(String((await once(child.stdout, 'data'))[0]))
    const stat = () => readFileSync(`/proc/${pid}/stat`, 'latin1')
    while (!stat().includes(') Z ')) await delay(10)
    const begun = stat().split(' ')[21] ?? ''
    assert.equal(asked({ pid, thread: String(pid), start: begun }, 1), false)
  })

  test('is what others say of themselves where it cannot be seen', () => {
    for (const unseen of [{ place: 'elsewhere' }, { thread: '7', start: '?' }]) {
      assert.equal(asked(unseen), false)
      assert.equal(asked(unseen, 1), true)
    }
  })

  test('is told of an older release by the number of its process alone', () => {
    for (const older of [null, 'c0ffee00-0000-4000-8000-000000000000']) {
      assert.equal(isAlive({ id: older, pid: process.pid, isLeased: 0 }), true)
      assert.equal(isAlive({ id: older, pid: 2 ** 22 + 1, isLeased: 1 }), false)
    }
  })
})
