import assert from 'node:assert/strict'
import { copyFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { NEVER_EXPIRE } from 'caching-agent'
import * as undici from 'undici'
import { testAgent } from './helpers/agent.ts'
import { FIXTURE_OPTIONS, FIXTURES } from './helpers/fixtures.ts'
import { folder } from './helpers/folder.ts'

const LARGE = '0123456789'.repeat(10_000)

suite('a cache file that an older release has written', () => {
  for (const fixture of readdirSync(FIXTURES)) {
    const { encrypt } = FIXTURE_OPTIONS[fixture] ?? {}
    test(`is read, and goes on to be written: ${fixture}`, async (t) => {
      const path = join(folder(), fixture)
      copyFileSync(join(FIXTURES, fixture), path)
      const store = `sqlite://${path}`
      const agent = testAgent(t, { store, expireAfter: NEVER_EXPIRE, ...(encrypt && { encrypt }) })
      const errors: unknown[] = []
      agent.cache.on('error', (error) => errors.push(error))

      // Nothing but what is stored can answer.
      const get = async (url: string, more: Record<string, string> = {}) => {
        const { statusCode, headers, body } = await undici.request(`http://fixture.invalid${url}`, {
          dispatcher: agent,
          headers: { ...more, 'cache-control': 'only-if-cached' },
        })
        return { status: statusCode, headers, text: await body.text() }
      }
      const small = await get('/small')
      assert.deepEqual([small.status, small.text], [200, 'content'])
      assert.deepEqual(small.headers['set-cookie'], ['a=1', 'b=2'])
      assert.equal(small.headers['x-path'], '/small')
      assert.equal((await get('/large')).text, LARGE)
      assert.equal((await get('/variants', { 'accept-language': 'de' })).text, 'in de')
      assert.equal((await get('/variants', { 'accept-language': 'en' })).text, 'in en')
      assert.equal((await get('/variants', { 'accept-language': 'fr' })).status, 504)
      assert.equal((await get('/user', { authorization: 'two' })).text, 'for two')
      assert.equal((await get('/user', { authorization: 'three' })).status, 504)
      // When it was written nobody asked for other credentials.
      assert.equal((await get('/small', { 'x-api-key': 'any' })).status, 504)

      assert.equal(await agent.cache.count(), 6)
      assert.equal(await agent.cache.count({ status: 200, pattern: 'fixture.invalid' }), 6)
      assert.equal(await agent.cache.count({ largerThan: 50_000 }), 1)
      assert.ok((await agent.cache.size()) > (fixture.startsWith('records') ? 100_000 : 2000))
      assert.equal(await agent.cache.delete('http://fixture.invalid/large'), 1)
      assert.equal(await agent.cache.count(), 5)
      assert.deepEqual(errors, [])
    })
  }
})
