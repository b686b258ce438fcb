import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { type AgentOptions, cachingAgent, type Terms, withTerms } from 'caching-agent'

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
    assert.equal(titles.length, 4)
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
