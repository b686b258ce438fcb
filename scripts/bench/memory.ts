// How much memory it takes to store a large response, and to play it.
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newFolder } from '../node-binaries.ts'
import type { ContenderName } from './contenders.ts'
import type { Client, Found } from './measure.ts'
import { measure, median, type Settings } from './storage.ts'

/** A bit less than what is stored at most, in bytes. */
const LENGTH = 1e9

const BLOCK = Buffer.alloc(64 * 1024, 'x')

export async function benchMemory({ isQuick }: Settings): Promise<void> {
  const folder = await newFolder(join(tmpdir(), 'caching-agent-bench-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const origin = await startOrigin()
  console.log(
    'A response of 1 GB: peak of memory beyond that before it, and time until the first byte',
  )
  for (const client of ['request', 'fetch'] as const) {
    const received: Found[] = []
    const stored: Found[] = []
    const played: Found[] = []
    const measureOne = (contender: ContenderName, place: string) =>
      measure({ kind: 'large', contender, client, url: origin.url, length: LENGTH, folder: place })
    for (let round = 0; round < (isQuick ? 1 : 3); round++) {
      const place = await newFolder(join(folder, 'round-'))
      received.push(await measureOne('no cache', place))
      stored.push(await measureOne('memory tier', place))
      played.push(await measureOne('memory tier', place))
      rmSync(place, { recursive: true })
    }
    report(client, 'received without a cache', received)
    report(client, 'received and stored', stored)
    report(client, 'played from SQLite', played)
  }
  console.log()
  origin.close()
}

function report(client: Client, what: string, found: readonly Found[]): void {
  const [peak, first] = ['peak', 'first'].map((key) => median(found, key))
  const name = client === 'request' ? 'request()' : 'fetch'
  console.log(`  ${name}, ${what}: ${peak?.toFixed(0)} MiB, ${first?.toFixed(1)} ms`)
}

async function startOrigin() {
  const server = createServer(async ({ url }, response) => {
    const length = Number(url?.slice(1))
    response.writeHead(200, { 'Cache-Control': 'max-age=86400', 'Content-Length': length })
    for (let left = length; left > 0; left -= BLOCK.length) {
      if (!response.write(BLOCK.subarray(0, left))) await once(response, 'drain')
    }
    response.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => server.close().closeAllConnections(),
  }
}
