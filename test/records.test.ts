import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { decodeRecord, encodeRecord } from '../lib/storage/records.ts'

const anyContent = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes))
const anyMetadata = fc.jsonValue()

suite('Records', () => {
  test('what is decoded is what was encoded', () => {
    fc.assert(
      fc.property(fc.string(), anyMetadata, anyContent, (key, metadata, content) => {
        const decoded = decodeRecord(key, encodeRecord(key, metadata, content))
        assert.equal(JSON.stringify(decoded?.metadata), JSON.stringify(metadata))
        assert.deepEqual(decoded?.content, content)
      }),
    )
  })

  test('a record survives any byte, any length of content and any letter', () => {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
    for (const content of [Buffer.alloc(0), bytes, Buffer.alloc(1 << 20, 7)]) {
      const metadata = { text: 'é€😀\0"\\', list: [1, null, true] }
      assert.deepEqual(decodeRecord('é', encodeRecord('é', metadata, content)), { metadata, content }) // biome-ignore format: one claim
    }
  })

  test('with room before its content a record is the same, in the same memory, of which it is never all', () => {
    const inPlace: boolean[] = []
    fc.assert(
      fc.property(anyMetadata, anyContent, fc.nat({ max: 100 }), (metadata, content, room) => {
        const memory = Buffer.allocUnsafeSlow(room + content.length)
        content.copy(memory, room)
        const record = encodeRecord('key', metadata, memory.subarray(room), room)
        assert.deepEqual(record, encodeRecord('key', metadata, content))
        assert.deepEqual(memory.subarray(room), content)
        const isInPlace = record.buffer === memory.buffer
        if (isInPlace) assert.ok(record.byteLength < memory.byteLength)
        inPlace.push(isInPlace)
      }),
    )
    // Exactly as much room as it takes.
    const memory = Buffer.allocUnsafeSlow(9 + 4 + 10)
    const record = encodeRecord('key', null, memory.subarray(13), 13)
    assert.notEqual(record.buffer, memory.buffer)
    assert.deepEqual(new Set(inPlace), new Set([true, false]))
  })

  test('a record with any bit flipped is none', () => {
    fc.assert(
      fc.property(
        anyMetadata,
        anyContent,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (metadata, content, position, flip) => {
          const record = encodeRecord('key', metadata, content)
          const index = position % record.length
          record[index] = (record[index] as number) ^ flip
          assert.equal(decodeRecord('key', record), undefined)
        },
      ),
      { numRuns: 500 },
    )
  })

  test('no byte of a record can change unnoticed', () => {
    const record = encodeRecord('key', { a: 1 }, Buffer.from('content'))
    for (let index = 0; index < record.length; index++) {
      for (let flip = 1; flip < 256; flip++) {
        const damaged = Buffer.from(record)
        damaged[index] = (damaged[index] as number) ^ flip
        assert.equal(decodeRecord('key', damaged), undefined)
      }
    }
  })

  test('a record that has been cut off is none', () => {
    const record = encodeRecord('key', { a: 1 }, Buffer.from('content'))
    for (let length = 0; length < record.length; length++) {
      assert.equal(decodeRecord('key', record.subarray(0, length)), undefined)
    }
  })

  test('a record with something after it is none', () => {
    const record = encodeRecord('key', { a: 1 }, Buffer.from('content'))
    assert.equal(decodeRecord('key', Buffer.concat([record, Buffer.from('x')])), undefined)
  })

  test('a record of another key is none', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), anyContent, (key, other, content) => {
        fc.pre(key !== other)
        assert.equal(decodeRecord(other, encodeRecord(key, null, content)), undefined)
      }),
    )
  })

  test('a record of another version is none, older or newer', () => {
    for (let version = 0; version < 256; version++) {
      const record = encodeRecord('key', { a: 1 }, Buffer.from('content'))
      const isSame = record[0] === version
      record[0] = version
      assert.equal(decodeRecord('key', record) !== undefined, isSame)
    }
  })

  test('bytes that are no record are none, and nothing throws', () => {
    fc.assert(
      fc.property(anyContent, (bytes) => {
        assert.equal(decodeRecord('key', bytes), undefined)
        assert.equal(decodeRecord('key', Buffer.concat([Buffer.from([1]), bytes])), undefined)
      }),
    )
  })

  test('the content is not read again when what it was encoded from changes', () => {
    const content = Buffer.from('content')
    const record = encodeRecord('key', null, content)
    content.fill(0)
    assert.equal(decodeRecord('key', record)?.content.toString(), 'content')
  })
})
