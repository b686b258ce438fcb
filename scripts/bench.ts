// Measures what the cache costs and what it saves, in pairs: A, B, A, B, … Prints medians, ratios, and the
// targets beside what was measured. Numbers depend on the machine; ratios less so.
//
//   npm run bench                       everything, in about 25 minutes
//   npm run bench -- storage --quick    a part, in about 4 minutes
import { parseArgs } from 'node:util'
import { benchManage } from './bench/manage.ts'
import { benchMemory } from './bench/memory.ts'
import { benchSeal } from './bench/seal.ts'
import { benchStorage } from './bench/storage.ts'

const PARTS = new Map([
  ['storage', benchStorage],
  ['memory', benchMemory],
  ['seal', benchSeal],
  ['manage', benchManage],
])

const { values, positionals } = parseArgs({
  options: { quick: { type: 'boolean', default: false } },
  allowPositionals: true,
})
const unknown = positionals.filter((name) => !PARTS.has(name))
if (unknown.length > 0) {
  throw new Error(`No such part: ${unknown.join()}. There are ${[...PARTS.keys()].join()}.`)
}
console.log(`Node ${process.versions.node}, ${process.platform} ${process.arch}\n`)
for (const [name, part] of PARTS) {
  if (positionals.length === 0 || positionals.includes(name)) await part({ isQuick: values.quick })
}
// Servers that were started end with the process.
process.exit()
