import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { Fields } from '../lib/rfc9111/message.ts'
import {
  CODERS,
  Compression,
  type CompressionAlgorithm,
  decompress,
  isCompressible,
} from '../lib/storage/compression.ts'
import { decodeRecord, encodeRecord } from '../lib/storage/records.ts'

const ALGORITHMS = Object.keys(CODERS) as CompressionAlgorithm[]
const KEY = 'key'

function compressionWith(algorithm: CompressionAlgorithm, minSize = 1, level?: number) {
  return new Compression({ algorithm, minSize, level: level ?? CODERS[algorithm].level })
}

/** Content of some length that can be compressed. */
function text(length: number): Buffer {
  return Buffer.from(
    Array.from({ length: length / 2 + 1 }, (_, n) => `${(n * n) % 997} `).join(''),
  ).subarray(0, length)
}

for (const algorithm of ALGORITHMS) {
  suite(`records compressed by ${algorithm}`, () => {
    test('what comes out is what went in, short or long, with any metadata', async () => {
      const lengths = [1, 100, 1024, 32 * 1024, 32 * 1024 + 1, 256 * 1024]
      for (const content of lengths.flatMap((length) => [text(length), randomBytes(length)])) {
        const record = encodeRecord(KEY, { any: 'é€😀' }, content)
        const packed = await compressionWith(algorithm).compress(record)
        assert.ok(packed.length <= record.length)
        const unpacked = packed === record ? record : await decompress(packed)
        assert.ok(unpacked.equals(record))
        assert.deepEqual(decodeRecord(KEY, unpacked)?.content, content)
      }
    })

    test('text is a fraction of what it was, and metadata can be seen as before', async () => {
      for (const length of [20_000, 200_000]) {
        const metadata = { kind: 'response', some: 'metadata' }
        const record = encodeRecord(KEY, metadata, text(length))
        const packed = await compressionWith(algorithm).compress(record)
        assert.ok(packed.length < length / 2, `${packed.length} of ${length}`)
        assert.ok(packed.includes(JSON.stringify(metadata)))
      }
    })

    test('what does not get smaller, or is too small, stays as it is', async () => {
      for (const length of [10, 20_000, 200_000]) {
        const record = encodeRecord(KEY, null, randomBytes(length))
        assert.equal(await compressionWith(algorithm).compress(record), record)
      }
      const compression = compressionWith(algorithm, 1000)
      for (const [length, version] of [
        [999, 1],
        [1000, 2],
      ] as const) {
        assert.equal(
          (await compression.compress(encodeRecord(KEY, null, text(length))))[0],
          version,
        )
      }
    })

    test('of more than another thread can take, all is compressed nevertheless', async () => {
      const compression = compressionWith(algorithm)
      const contents = Array.from({ length: 40 }, (_, n) =>
        Buffer.concat([text(256 * 1024 - 4), Buffer.from(String(1000 + n))]),
      )
      const packed = contents.map((content) =>
        compression.compress(encodeRecord(KEY, null, content)),
      )
      const isLater = packed.map((each) => each instanceof Promise)
      assert.ok(isLater.includes(true) && isLater.includes(false))
      for (const [index, each] of packed.entries()) {
        const bytes = await each
        assert.ok(bytes.length < 150_000)
        assert.deepEqual(decodeRecord(KEY, await decompress(bytes))?.content, contents[index])
      }
      // Then there is room again.
      const next = encodeRecord(KEY, null, contents[0] as Buffer)
      assert.ok(compression.compress(next) instanceof Promise)
    })

    test('every level does', async () => {
      const [least, greatest] = CODERS[algorithm].levels
      const record = encodeRecord(KEY, null, text(3000))
      for (let level = least; level <= greatest; level++) {
        const packed = await compressionWith(algorithm, 1, level).compress(record)
        assert.ok(packed.length < record.length && record.equals(await decompress(packed)))
      }
    })

    for (const length of [2000, 100_000]) {
      test(`a damaged one of ${length} bytes never yields anything else than was in it`, async () => {
        const record = encodeRecord(KEY, { a: 1 }, text(length))
        const packed = await compressionWith(algorithm).compress(record)
        const read = async (bytes: Buffer) => {
          try {
            return decodeRecord(KEY, await decompress(bytes))?.content
          } catch {
            return undefined
          }
        }
        const damage = fc.record({ position: fc.nat(), flip: fc.integer({ min: 1, max: 255 }) })
        await fc.assert(
          fc.asyncProperty(damage, async ({ position, flip }) => {
            const damaged = Buffer.from(packed)
            const index = position % packed.length
            damaged[index] = (damaged[index] as number) ^ flip
            const content = await read(damaged)
            assert.ok(content === undefined || content.equals(text(length)))
          }),
        )
        await fc.assert(
          fc.asyncProperty(fc.nat(packed.length - 1), async (end) => {
            assert.equal(await read(packed.subarray(0, end)), undefined)
          }),
        )
      })
    }

    test('a forged one does not fill the memory', async () => {
      const record = encodeRecord(KEY, null, Buffer.alloc(8 * 2 ** 20))
      const packed = await compressionWith(algorithm).compress(record)
      assert.ok(packed.length < 100_000)
      // The length follows header, metadata and algorithm.
      for (const length of [1000, 2 ** 32 - 1]) {
        packed.writeUInt32LE(length, 9 + 4 + 1)
        await assert.rejects(async () => decompress(packed))
      }
    })
  })
}

suite('what is compressed', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, isIt: boolean][] = [
    ['what says nothing', {}, true],
    ['text', { 'content-type': 'text/html; charset=utf-8' }, true],
    ['in any case', { 'content-type': 'Application/JSON' }, true],
    ['bytes of any kind', { 'content-type': 'application/octet-stream' }, true],
    ['drawings', { 'content-type': 'image/svg+xml' }, true],
    ['bitmaps', { 'content-type': 'image/bmp' }, true],
    ['icons', { 'content-type': 'image/vnd.microsoft.icon' }, true],
    ['plain sound', { 'content-type': 'audio/x-wav' }, true],
    ['fonts', { 'content-type': 'font/ttf' }, true],
    ['PDF', { 'content-type': 'application/pdf' }, true],
    ['what is not encoded', { 'content-encoding': 'identity', 'content-type': 'text/plain' }, true],
    ['not what is encoded', { 'content-encoding': 'gzip', 'content-type': 'text/plain' }, false],
    ['nor in several ways', { 'content-encoding': ['identity', 'br'] }, false],
    ['nor in one that is not known', { 'content-encoding': 'x-new, identity' }, false],
    ['not images', { 'content-type': 'image/jpeg' }, false],
    ['not films', { 'content-type': 'VIDEO/mp4; codecs="avc1"' }, false],
    ['not sound', { 'content-type': 'audio/mpeg' }, false],
    ['not compressed fonts', { 'content-type': 'font/woff2' }, false],
    ['not archives', { 'content-type': 'application/zip' }, false],
    ['nor what is one inside', { 'content-type': 'application/epub+zip' }, false],
    ['nor documents that are', { 'content-type': 'application/vnd.openxmlformats-officedocument.wordprocessingml.document' }, false],
    ['not gzip that is content', { 'content-type': 'application/x-gzip' }, false],
  ]
  for (const [rule, fields, isIt] of rows) {
    test(`${isIt ? '' : 'not: '}${rule}`, () => assert.equal(isCompressible(fields), isIt))
  }
})
