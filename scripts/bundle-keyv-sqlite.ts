// Inlines @keyv/sqlite into the one module of the build that imports it. Its dependency better-sqlite3,
// a native add-on that would be compiled or downloaded, is never used: the cache brings its own driver.
import { rmSync } from 'node:fs'
import { build, type Plugin } from 'esbuild'

const LICENSE = `/*!
 * Contains @keyv/sqlite, Copyright (c) 2017-2021 Luke Childs, Copyright (c) 2021-2026 Jared Wray,
 * and hookified, Copyright (c) Jared Wray. Both under the MIT License, as this package:
 * https://github.com/jaredwray/keyv/blob/main/LICENSE
 * https://github.com/jaredwray/hookified/blob/main/LICENSE
 */`

/** The drivers of the adapter that are never chosen. */
const unusedDrivers: Plugin = {
  name: 'unused-drivers',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^(better-sqlite3|bun:sqlite)$/ }, ({ path }) => ({
      path,
      namespace: 'unused',
    }))
    onLoad({ filter: /.*/, namespace: 'unused' }, () => ({
      contents: 'export default undefined; export const Database = undefined',
    }))
  },
}

await build({
  entryPoints: ['dist/storage/keyv-sqlite.js'],
  outfile: 'dist/storage/keyv-sqlite.js',
  allowOverwrite: true,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node22',
  external: ['keyv'],
  plugins: [unusedDrivers],
  banner: { js: LICENSE },
})
// Its types are those of a package that consumers do not have, and nothing public refers to them.
for (const file of ['keyv-sqlite.d.ts', 'keyv-sqlite.d.ts.map', 'keyv-sqlite.js.map']) {
  rmSync(`dist/storage/${file}`)
}
