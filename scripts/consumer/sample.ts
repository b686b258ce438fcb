// The README's first sample, in the forms that a consumer may write it in.
import { readFile } from 'node:fs/promises'

export interface Program {
  /** What is special about it. */
  what: string
  file: string
  source: string
}

/** Where the README has none yet. */
const DEFAULT_SAMPLE = `import { setGlobalDispatcher } from 'undici'
import { cacheInfo, cachingAgent } from 'caching-agent'

setGlobalDispatcher(cachingAgent({ expireAfter: '1h' }))

const response = await fetch('https://httpbin.org/json')
console.log(cacheInfo(response)?.status)
`

export async function firstSample(readme: string): Promise<{ source: string; from: string }> {
  const text = await readFile(readme, 'utf8').catch(() => '')
  const source = /^```ts\r?\n(.*?)^```/ms.exec(text)?.[1]
  return source === undefined
    ? { source: DEFAULT_SAMPLE, from: 'the one of this script: README.md has none' }
    : { source, from: "the README's first" }
}

/** To run: they ask a local origin instead of the one that the sample names. */
export function programs(sample: string, origin: string): Program[] {
  const source = sample.replace(/(['"`])https?:\/\/[^/'"`\s]+/g, `$1${origin}`)
  return [
    { what: 'import, in JavaScript', file: 'sample.mjs', source },
    { what: 'import, in TypeScript', file: 'sample.ts', source },
    { what: 'require', file: 'sample.cjs', source: asCommonJs(source, toRequire) },
  ]
}

/** To check: TypeScript itself turns the imports of a .cts file into calls of `require`. */
export function typedPrograms(sample: string): Program[] {
  const inner = "export * from 'caching-agent/interceptor'\n"
  return [
    { what: 'an ES module', file: 'sample.ts', source: sample },
    { what: 'a CommonJS module', file: 'sample.cts', source: asCommonJs(sample, String) },
    { what: 'caching-agent/interceptor', file: 'interceptor.ts', source: inner },
  ]
}

const IMPORT = /^import\s+(.+?)\s+from\s+(['"][^'"]+['"]);?$/gms

/** There is no `await` at the top level of a CommonJS module. */
function asCommonJs(source: string, rewrite: (statement: string) => string): string {
  const imports = source.match(IMPORT)?.map(rewrite) ?? []
  const rest = source.replaceAll(IMPORT, '').trim()
  return `${imports.join('\n')}\n\nasync function main() {\n${rest}\n}\n\nmain()\n`
}

function toRequire(statement: string): string {
  return statement.replaceAll(IMPORT, (_, names: string, specifier: string) => {
    const pattern = names.replace(/^\* as /, '').replaceAll(/ as /g, ': ')
    return `const ${pattern} = require(${specifier})`
  })
}
