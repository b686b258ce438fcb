// Does to the cache what happens to caches, only all the time: processes that are killed, servers that hang,
// disks that are full, files that are damaged, clocks that are turned. Whatever happens, a request gets what
// the origin has sent; what else it is about is said in each part. Prints counts; ends with 1 where a count
// that must be 0 is not.
//
//   npm run torture                                       about a minute
//   npm run torture -- --seconds 3600                     an hour
//   npm run torture -- --only sqlite,redis --clients 8    some parts, with more processes
//   npm run torture -- --only damage --seed 7             the damages of an earlier run again
//   npm run torture -- --sealed                           all of it with compression and encryption
//   npm run torture -- --slowness 5                       on a machine that is that much slower
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { newFolder } from './node-binaries.ts'
import { tortureClock } from './torture/clock.ts'
import { tortureWithDamage } from './torture/damage.ts'
import { tortureDisk } from './torture/disk.ts'
import type { Part } from './torture/parts.ts'
import { seedRandom } from './torture/random.ts'
import { tortureRedis } from './torture/redis.ts'
import { tortureSqlite } from './torture/sqlite.ts'
import { type Tally, table } from './torture/tally.ts'

/** Each part with its share of the time. */
const PARTS = new Map<string, readonly [part: Part, share: number]>([
  ['sqlite', [tortureSqlite, 4]],
  ['sealed', [(settings) => tortureSqlite({ ...settings, isSealed: true }), 2]],
  ['redis', [tortureRedis, 4]],
  ['disk', [tortureDisk, 2]],
  ['damage', [tortureWithDamage, 3]],
  ['clock', [tortureClock, 2]],
])

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '50' },
    only: { type: 'string', default: [...PARTS.keys()].join() },
    clients: { type: 'string', default: '4' },
    slowness: { type: 'string', default: '1' },
    sealed: { type: 'boolean', default: false },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e6)) },
  },
})
const names = values.only.split(',')
const unknown = names.filter((name) => !PARTS.has(name))
if (unknown.length > 0) {
  throw new Error(`No such part: ${unknown.join()}. There are ${[...PARTS.keys()].join()}.`)
}
const number = (name: 'seconds' | 'clients' | 'slowness' | 'seed') => {
  const value = Number(values[name])
  if (value >= 0) return value
  throw new Error(`--${name}: expected a number, got ${values[name]}`)
}

const parts = names.map((name) => PARTS.get(name) as readonly [Part, number])
const shares = parts.reduce((sum, [, share]) => sum + share, 0)
const folder = await newFolder(join(tmpdir(), 'caching-agent-torture-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))

const tallies: Tally[] = []
const seed = number('seed')
console.log(`Seed: ${seed}`)
seedRandom(seed)
for (const [index, [part, share]] of parts.entries()) {
  const started = performance.now()
  const seconds = (number('seconds') * share) / shares
  console.log(`${names[index]}: for ${Math.round(seconds)} s`)
  const done = await part({
    ...{ seconds, folder, seed, isSealed: values.sealed },
    ...{ clients: number('clients'), slowness: number('slowness') },
  })
  for (const tally of done) {
    for (const line of tally.lines) console.log(`  ${tally.part}: ${line}`)
  }
  tallies.push(...done)
  const took = ((performance.now() - started) / 1000).toFixed(0)
  console.log(`${names[index]}: ${took} s\n`)
}
console.log(table(tallies))
console.log(
  '\nMust be 0: wrong, failed, lost, others; and cut off, where nothing makes the store lose anything.',
)
process.exitCode = tallies.every(({ isGood }) => isGood) ? 0 : 1
