import { join } from 'node:path'
import type { HttpCacheOptions } from 'caching-agent'

/** Where the cache files are that older releases have written. */
export const FIXTURES: string = join(import.meta.dirname, '../fixtures')

/** How to write what is in them, and to read what cannot be read otherwise. */
export const FIXTURE_OPTIONS: Readonly<
  Record<string, Pick<HttpCacheOptions, 'compress' | 'encrypt'>>
> = {
  'records-1.sqlite': {},
  'zstd-1.sqlite': { compress: 'zstd' },
  'brotli-1.sqlite': { compress: 'brotli' },
  'gzip-encrypted-1.sqlite': {
    compress: 'gzip',
    encrypt: { keys: { fixture: 'a2V5IG9mIGEgZml4dHVyZSwgb2Ygbm8gdXNlIGF0IGE=' } },
  },
}
