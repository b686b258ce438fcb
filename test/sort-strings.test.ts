import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { sortStrings } from '../lib/sort-strings.ts'

suite('sorting very many strings', () => {
  for (const count of [0, 1, 2, 1999, 2001, 4000, 25_003]) {
    test(`${count} of them`, async () => {
      const strings = Array.from({ length: count }, (_, index) => `${(index * 7919) % 10_007}`)
      assert.deepEqual(await sortStrings(strings), [...strings].sort())
    })
  }

  test('leaves others their turns', async () => {
    let turns = 0
    const next = setInterval(() => {
      turns += 1
    }, 1)
    await sortStrings(
      Array.from({ length: 300_000 }, (_, index) => `${(index * 7919) % 1_000_003}`),
    )
    clearInterval(next)
    assert.ok(turns > 5, `${turns} turns`)
  })
})
