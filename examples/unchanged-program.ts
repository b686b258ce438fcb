// A program that knows nothing of the cache, before and after one line.
// With the URL of a package registry: asks that. Without: one on this machine.

import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { install } from 'caching-agent'
import { startServer } from './origin/server.ts'
import { PackageRegistry } from './third-party/package-registry.ts'

const PACKAGES = new URL('../node_modules/', import.meta.url)

// Answers what the npm registry answers, of the packages installed here and as late as from across the ocean.
let received = 0
const origin = await startServer(async (request, response) => {
  received += 1
  await sleep(50)
  const name = /^\/(.+)\/latest$/.exec(request.url ?? '')?.[1] ?? ''
  response.setHeader('Cache-Control', 'public, max-age=300')
  response.end(readFileSync(new URL(`${name}/package.json`, PACKAGES)))
})
const registry = new PackageRegistry(process.argv[2] ?? origin.url)

async function run(): Promise<void> {
  const start = performance.now()
  received = 0
  const found = await registry.dependencies('publint')
  const time = (performance.now() - start).toFixed(0)
  const requests = process.argv[2] ? '' : `, ${received} requests received`
  console.log(`  publint needs ${found.size - 1} packages: ${time} ms${requests}`)
}

console.log('Before')
await run()
await run()

const installation = install({ store: 'memory:' }) // the one line

console.log('After')
await run()
await run()

await installation.uninstall()
await origin.close()
