// Makes a cache file as this release writes it, for the test that later releases still read it:
//
//   npm run fixture -- records-1.sqlite
import { rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { cachingAgent, NEVER_EXPIRE } from 'caching-agent'
import { Agent, buildConnector, request } from 'undici'
import { FIXTURE_OPTIONS, FIXTURES } from '../test/helpers/fixtures.ts'

const [name = ''] = process.argv.slice(2)
const options = FIXTURE_OPTIONS[name]
if (options === undefined) {
  const names = Object.keys(FIXTURE_OPTIONS).join(', ')
  console.error(`Name the file to be made, as npm run fixture -- records-1.sqlite: ${names}`)
  process.exit(2)
}
const path = join(FIXTURES, name)
rmSync(path, { force: true })

const server = createServer(({ url, headers }, response) => {
  response.setHeader('Date', 'Sun, 22 Nov 2026 12:00:00 GMT').setHeader('ETag', '"1"')
  response.setHeader('Set-Cookie', ['a=1', 'b=2']).setHeader('X-Path', String(url))
  if (url === '/variants') {
    response.setHeader('Vary', 'Accept-Language').end(`in ${headers['accept-language']}`)
  } else if (url === '/large') response.end('0123456789'.repeat(10_000))
  else if (url === '/user') response.end(`for ${headers.authorization}`)
  else response.end('content')
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const { port } = server.address() as AddressInfo

// The name is of nobody, so that no test can ask it by mistake.
const connect = buildConnector({})
const dispatcher = new Agent({
  connect: (options, callback) =>
    connect({ ...options, hostname: '127.0.0.1', port: String(port) }, callback),
})
const agent = cachingAgent({
  ...{ store: `sqlite://${path}`, expireAfter: NEVER_EXPIRE, dispatcher },
  ...options,
})
const get = async (url: string, headers: Record<string, string> = {}) =>
  (await request(`http://fixture.invalid${url}`, { dispatcher: agent, headers })).body.dump()
await get('/small')
await get('/large')
for (const language of ['de', 'en']) await get('/variants', { 'accept-language': language })
for (const user of ['one', 'two']) await get('/user', { authorization: user })
await agent.close()
server.close()

const database = new DatabaseSync(path)
database.exec('PRAGMA journal_mode = DELETE; VACUUM')
database.close()
