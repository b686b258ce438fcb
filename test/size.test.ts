import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { parseSize } from '../lib/size.ts'

suite('parseSize', () => {
  // biome-ignore format: one rule a row
  const rows: [value: unknown, bytes: number | undefined][] = [
    [1, 1], [1.9, 1], [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
    ['1B', 1], ['2kb', 2000], ['2 KB', 2000], ['2KiB', 2048], [' 64 MiB ', 64 * 2 ** 20],
    ['1.5MB', 1_500_000], ['1GB', 1e9], ['1 gib', 2 ** 30], ['1TB', 1e12], ['1TiB', 2 ** 40],
    [0, undefined], [-1, undefined], [Number.NaN, undefined], ['', undefined], ['64', undefined],
    ['MB', undefined], ['1 XB', undefined], ['-1 MB', undefined], ['1e3 MB', undefined], ['0 MB', undefined],
    [undefined, undefined], [null, undefined], [true, undefined], [{}, undefined], ['1 constructor', undefined],
  ]
  for (const [value, bytes] of rows) {
    test(`${JSON.stringify(value)}: ${bytes ?? 'refused'}`, () => {
      if (bytes !== undefined) assert.equal(parseSize(value, 'size'), bytes)
      else assert.throws(() => parseSize(value, 'size'), { name: 'TypeError', message: /^size: / })
    })
  }

  test('whatever it is given, the result is more than 0, or it throws a TypeError', () => {
    fc.assert(
      fc.property(fc.anything(), (value) => {
        try {
          assert.ok(parseSize(value, 'size') >= 0)
        } catch (error) {
          assert.ok(error instanceof TypeError)
        }
      }),
    )
  })
})
