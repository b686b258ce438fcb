import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { suite, type TestContext, test } from 'node:test'
import * as undici from 'undici'
import { testAgent } from './helpers/agent.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const CONTENT = randomBytes(1_500_000)

/** An agent that has stored large content, of which one chunk is lost. */
async function damaged(t: TestContext) {
  const { url, seen } = await origin(t, (_, response) => {
    response.setHeader('Cache-Control', 'max-age=60').end(CONTENT)
  })
  const path = join(folder(), 'cache.sqlite')
  const agent = testAgent(t, { store: `sqlite://${path}`, memory: false })
  const errors: string[] = []
  agent.cache.on('error', ({ operation }) => errors.push(operation))
  const read = async (headers: Record<string, string> = {}) => {
    const { statusCode, body } = await undici.request(url, { dispatcher: agent, headers })
    return { status: statusCode, bytes: Buffer.from(await body.arrayBuffer()) }
  }
  await read()
  await agent.cache.responses.settled()
  const database = new DatabaseSync(path)
  database.exec("DELETE FROM chunks_1 WHERE key LIKE '%.3'")
  database.close()
  return { agent, url, seen, errors, read }
}

suite('content that is lost in the middle', () => {
  test('fails a request that has begun to get it, and no other', async (t) => {
    const { errors, read, seen } = await damaged(t)
    await assert.rejects(read(), /chunk/)
    assert.deepEqual(errors, ['read'])
    assert.ok((await read()).bytes.equals(CONTENT))
    assert.equal(seen.length, 2)
  })

  for (const range of ['bytes=800000-800009', 'bytes=800000-800009,0-9']) {
    test(`fails no request for a part that begins there: ${range}`, async (t) => {
      const { errors, read, seen } = await damaged(t)
      assert.ok((await read({ range })).bytes.equals(CONTENT))
      assert.deepEqual([errors, seen.length], [['read'], 2])
    })
  }
})
