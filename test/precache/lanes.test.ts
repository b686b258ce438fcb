import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Lanes, type LanesOptions } from '../../lib/precache/lanes.ts'

/** Lanes whose work takes a moment, and what was under way at most, in all and in each of them. */
function lanes(options: Partial<LanesOptions<number>> = {}) {
  const underWay = new Map<string, number>()
  const most = new Map<string, number>()
  const count = (name: string, change: number) => {
    const now = (underWay.get(name) ?? 0) + change
    underWay.set(name, now)
    most.set(name, Math.max(most.get(name) ?? 0, now))
  }
  const done: number[] = []
  const started: number[] = []
  const own = new Lanes<number>({
    concurrency: 5,
    perLane: () => 2,
    open: async () => 0,
    async work(item, lane) {
      started.push(performance.now())
      for (const name of ['all', lane]) count(name, 1)
      await sleep(2)
      for (const name of ['all', lane]) count(name, -1)
      done.push(item)
    },
    ...options,
  })
  return { lanes: own, most, done, started }
}

suite('Precaching: lanes', () => {
  test('do everything, so much at a time and in each of them', async () => {
    const { lanes: own, most, done } = lanes()
    for (let item = 0; item < 100; item += 1) own.add('abcd'[item % 4] ?? '', item)
    await own.run()
    assert.deepEqual([...done].sort((a, b) => a - b), Array.from({ length: 100 }, (_, at) => at)) // biome-ignore format: a row
    assert.deepEqual(Object.fromEntries(most), { all: 5, a: 2, b: 2, c: 2, d: 2 })
  })

  test('are opened once, before anything is done in them', async () => {
    const events: string[] = []
    const { lanes: own } = lanes({
      async open(lane) {
        events.push(`opening ${lane}`)
        await sleep(5)
        events.push(`open ${lane}`)
        return 0
      },
      async work(item, lane) {
        events.push(`${lane}${item}`)
      },
    })
    for (const item of [1, 2, 3]) own.add('a', item)
    await own.run()
    own.add('a', 4)
    await own.run()
    assert.deepEqual(events, ['opening a', 'open a', 'a1', 'a2', 'a3', 'a4'])
  })

  test('a lane that waits holds up no other', async () => {
    const { lanes: own, done } = lanes({ concurrency: 1 })
    own.add('slow', 1)
    own.pause('slow', 100)
    for (const item of [2, 3, 4]) own.add('fast', item)
    await own.run()
    assert.deepEqual(done, [2, 3, 4, 1])
  })

  test('one that asks for it begins nothing too soon after something else', async () => {
    const { lanes: own, started } = lanes({ open: async () => 50 })
    for (const item of [1, 2, 3]) own.add('a', item)
    await own.run()
    const gaps = started.slice(1).map((time, index) => time - (started[index] ?? 0))
    assert.equal(gaps.length, 2)
    for (const gap of gaps) assert.ok(gap >= 49, String(gap))
  })

  test('may get more while they work', async () => {
    const seen: number[] = []
    const own: Lanes<number> = new Lanes<number>({
      concurrency: 2,
      perLane: () => 2,
      open: async () => 0,
      async work(item) {
        seen.push(item)
        if (item < 20) own.add(String(item % 3), item + 1)
      },
    })
    own.add('0', 0)
    await own.run()
    assert.deepEqual(
      seen,
      Array.from({ length: 21 }, (_, at) => at),
    )
  })

  test('can be emptied: what is under way ends, and nothing begins any more', async () => {
    const { lanes: own, done } = lanes({ concurrency: 2 })
    for (const item of [1, 2, 3, 4]) own.add('a', item)
    own.add('b', 5)
    own.pause('b', 60_000)
    setTimeout(() => own.clear(), 1)
    await own.run()
    assert.ok(done.length < 4, String(done))
  })

  test('have nothing to wait for where there is nothing to do', async () => {
    await lanes().lanes.run()
  })
})
