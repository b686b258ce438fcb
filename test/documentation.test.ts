import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import * as cachingAgents from 'caching-agent'
import {
  type AgentOptions,
  type CachingAgent,
  cachingAgent,
  HttpCache,
  type ResponseQuery,
  type Terms,
  withTerms,
} from 'caching-agent'
import { dispatcherTo } from '../examples/origin/any-host.ts'
import { folder } from './helpers/folder.ts'
import { origin } from './helpers/origin.ts'

const README = readFileSync(join(import.meta.dirname, '..', 'README.md'), 'utf8')

/** A section of the README, without those below it. */
function section(title: string): string {
  const [, text] = README.split(`\n${title}\n`)
  assert.ok(text, `there is no section ${title}`)
  return text.split(/\n#+ /, 1)[0] as string
}

/** The names that a refusal of an unknown option tells. */
function known(refused: () => unknown): string[] {
  try {
    refused()
  } catch (error) {
    return /the options are (.*)$/.exec((error as Error).message)?.[1]?.split(', ') ?? []
  }
  return assert.fail('nothing was refused')
}

const UNKNOWN = { unheardOf: true } as object
const OPTIONS = known(() => cachingAgent(UNKNOWN as AgentOptions))
const TERMS = known(() => withTerms(UNKNOWN as Terms, () => {}))

suite('README: options', () => {
  const rows = [...section('## Options').matchAll(/^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$/gm)]
  const names = rows.map(([, name]) => name as string)

  test('the table has each option, and nothing else', () => {
    assert.deepEqual([...names].sort(), [...OPTIONS].sort())
  })

  test('each has a type, a default and a meaning', () => {
    for (const [row, , ...cells] of rows) {
      for (const cell of cells) assert.ok(cell.trim().length > 0, row)
    }
  })

  test('those down to `missing` are the terms, as is said below', () => {
    const terms = names.slice(0, names.indexOf('missing') + 1)
    assert.deepEqual(terms.filter((name) => name !== 'urlsExpireAfter').sort(), [...TERMS].sort())
    assert.match(
      section('## Options'),
      /^The options down to `missing`, but for `urlsExpireAfter`,/m,
    )
  })

  test('no other section names an option that there is not', () => {
    const titles = README.match(/^### Coming from .*$/gm) ?? []
    assert.equal(titles.length, 5)
    for (const title of titles) {
      for (const [, here = ''] of section(title).matchAll(/^\| .+? \| (.+) \|$/gm)) {
        const named = [...here.matchAll(/`(\w+)(?:: [^`]*)?`/g)].map(([, name]) => name as string)
        const options = named.filter((name) => /^[a-z]+[A-Z]\w+$/.test(name))
        const others = ['cacheInfo', 'cacheInterceptor', 'withTerms', 'storedAt', 'isExpired']
        for (const name of options) {
          assert.ok(OPTIONS.includes(name) || others.includes(name), `${title}: ${name}`)
        }
      }
    }
  })
})

suite('README: managing', () => {
  test('the table has each method of a cache, and nothing else', () => {
    const source = readFileSync(join(import.meta.dirname, '..', 'lib', 'cache.ts'), 'utf8')
    const internal = [...source.matchAll(/@internal\n\s+\*\/\n\s+(?:async )?(\w+)\(/g)]
    const methods = Object.getOwnPropertyNames(HttpCache.prototype).filter(
      (name) => name !== 'constructor' && !internal.some(([, one]) => one === name),
    )
    const cells = section('## The cache itself').matchAll(/^\| (`.+?`) \|/gm)
    const named = [...cells].flatMap(([, cell = '']) =>
      [...cell.matchAll(/`(\w+)/g)].map(([, name]) => name as string),
    )
    assert.deepEqual([...new Set(named)].sort(), methods.sort())
  })

  test('the tables have each condition and order of a query, and nothing else', (t) => {
    const cache = new HttpCache({ store: 'memory:' })
    t.after(() => cache.close())
    const names = known(() => cache.entries(UNKNOWN as ResponseQuery))
    const rows = section('## Managing the cache').matchAll(/^\| (`\w+: .+?) \|/gm)
    const named = [...rows].flatMap(([, cell = '']) =>
      [...cell.matchAll(/`(\w+): /g)].map(([, name]) => name as string),
    )
    assert.deepEqual([...new Set(named)].sort(), [...names].sort())
  })

  // What samples are about is on this machine.
  for (const title of ['## Managing the cache', '### HAR', '### Maintenance', '## Precaching']) {
    const samples = [...section(title).matchAll(/^```ts\n(.*?)^```$/gms)]
    for (const [index, [, code = '']] of samples.entries()) {
      test(`sample ${index + 1} of ${title} runs as it stands`, (t) => runSample(t, code))
    }
  }
})

/** Runs a sample with what the samples before it have introduced: an agent, and what is imported. */
async function runSample(t: TestContext, code: string): Promise<void> {
  const { url } = await origin(t, (_, response) => {
    response.setHeader('Cache-Control', 'max-age=60').end('<a href="/guide/page">')
  })
  const before = process.cwd()
  process.chdir(folder())
  t.after(() => process.chdir(before))
  const agents: CachingAgent[] = []
  const start = (options: AgentOptions = {}) => {
    const close = async () => {}
    const agent = cachingAgent({ dispatcher: dispatcherTo({ url, close }), ...options })
    agents.push(agent)
    return agent
  }
  const agent = start()
  await agent.cache.save('https://api.example.com/users/1', { body: 'content' })
  await agent.cache.exportHar('session.har')

  const silent = { log() {} }
  const out = { stdout: { write() {} } }
  const scope = { ...cachingAgents, cachingAgent: start, agent, console: silent, process: out }
  const lines = stripTypeScriptTypes(`async () => {{ ${code} }}`)
  const run = new Function(...Object.keys(scope), `return (${lines})()`)
  try {
    await run(...Object.values(scope))
  } finally {
    for (const each of agents) await each.close()
  }
}

test('README: links lead somewhere', () => {
  const slugs = [...README.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\w\s-]/g, '')
      .trim()
      .replace(/\s/g, '-'),
  )
  for (const [, anchor = ''] of README.matchAll(/\]\(#([^)]+)\)/g)) {
    assert.ok(slugs.includes(anchor), `#${anchor}`)
  }
  for (const [, path = ''] of README.matchAll(/\]\((?!#|https?:)([^)#]+)\)/g)) {
    assert.ok(existsSync(join(import.meta.dirname, '..', path)), path)
  }
})
