import assert from 'node:assert/strict'
import { createSecretKey, randomBytes } from 'node:crypto'
import { suite, test } from 'node:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { Encryption, UnreadableError } from '../lib/storage/encryption.ts'
import { encodeRecord } from '../lib/storage/records.ts'

const PLACE = 'head key'

/** Keys of one byte only, by their ids: `{ a: 1 }`. */
function encryptionWith(keys: Record<string, number>, current = Object.keys(keys)[0] as string) {
  const secrets = Object.entries(keys).map(
    ([id, byte]) => [id, createSecretKey(Buffer.alloc(32, byte))] as const,
  )
  return new Encryption({ keys: new Map(secrets), current, indexKey: undefined })
}

const encryption = encryptionWith({ a: 1 })

function assertUnreadable(encrypted: Buffer, place = PLACE, by = encryption): void {
  assert.throws(() => by.decrypt(place, encrypted), UnreadableError)
}

suite('encrypted records', () => {
  test('what is decrypted is what was encrypted', () => {
    fc.assert(
      fc.property(fc.string(), fc.uint8Array({ maxLength: 5000 }), (place, bytes) => {
        const record = Buffer.from(bytes)
        assert.deepEqual(encryption.decrypt(place, encryption.encrypt(place, record, {})), record)
      }),
    )
  })

  test('no byte can change unnoticed, whichever it is and whatever it becomes', () => {
    const chunks = { generation: 'a'.repeat(24), chunkSize: 10, length: 20 }
    const encrypted = encryption.encrypt(PLACE, Buffer.from('record'), { chunks })
    for (let index = 0; index < encrypted.length; index++) {
      for (let flip = 1; flip < 256; flip++) {
        const damaged = Buffer.from(encrypted)
        damaged[index] = (damaged[index] as number) ^ flip
        assertUnreadable(damaged)
      }
    }
  })

  test('nor can any of a large one', () => {
    const encrypted = encryption.encrypt(PLACE, randomBytes(300_000), {})
    fc.assert(
      fc.property(fc.nat(encrypted.length - 1), fc.integer({ min: 0, max: 7 }), (index, bit) => {
        const damaged = Buffer.from(encrypted)
        damaged[index] = (damaged[index] as number) ^ (1 << bit)
        assertUnreadable(damaged)
      }),
    )
  })

  test('one that is cut off, or has something after it, is none', () => {
    const encrypted = encryption.encrypt(PLACE, Buffer.from('record'), { kind: 'variants' })
    for (let length = 0; length < encrypted.length; length++) {
      assertUnreadable(encrypted.subarray(0, length))
    }
    assertUnreadable(Buffer.concat([encrypted, Buffer.from([0])]))
  })

  test('one that is somewhere else than it was written is none', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (place, other) => {
        fc.pre(place !== other)
        assertUnreadable(encryption.encrypt(place, Buffer.from('record'), {}), other)
      }),
    )
  })

  test('what can be seen of one is not that of another', () => {
    const generation = 'a'.repeat(24)
    const [one, other] = [generation, 'b'.repeat(24)].map((each) => {
      const chunks = { generation: each, chunkSize: 1, length: 1 }
      return encryption.encrypt(PLACE, Buffer.from('record'), { chunks })
    }) as [Buffer, Buffer]
    const exchanged = Buffer.from(one)
    Buffer.from('b'.repeat(24)).copy(exchanged, one.indexOf(generation))
    assert.equal(exchanged.indexOf('b'.repeat(24)), other.indexOf('b'.repeat(24)))
    assertUnreadable(exchanged)
  })

  test('what is not encrypted is none, nor are any bytes', () => {
    assertUnreadable(encodeRecord(PLACE, { kind: 'response' }, Buffer.from('content')))
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(255), (bytes, version) => {
        assertUnreadable(Buffer.from(bytes))
        assertUnreadable(Buffer.concat([Buffer.from([version]), bytes]))
        assertUnreadable(Buffer.concat([Buffer.from([3, 0, 0, 0, 0]), bytes]))
        assertUnreadable(Buffer.concat([Buffer.from([3, 0, 0, 0, 0, 2, 0, 0, 0]), Buffer.from('{}'), bytes])) // biome-ignore format: one claim
      }),
    )
  })

  test('the same is never the same, nor has anything of what is in it', () => {
    const record = Buffer.from('something that can be found'.repeat(10))
    const all = Array.from({ length: 100 }, () => encryption.encrypt(PLACE, record, {}))
    for (const [index, each] of all.entries()) {
      assert.equal(each.includes('something'), false)
      for (const other of all.slice(0, index)) assert.equal(each.equals(other), false)
    }
  })
})

suite('keys', () => {
  test('under any of several is read, under the current one is written', () => {
    const old = encryptionWith({ old: 1 }).encrypt(PLACE, Buffer.from('record'), {})
    for (const both of [
      encryptionWith({ new: 2, old: 1 }),
      encryptionWith({ old: 1, new: 2 }, 'new'),
    ]) {
      assert.equal(both.decrypt(PLACE, old).toString(), 'record')
      const written = both.encrypt(PLACE, Buffer.from('record'), {})
      const renewed = encryptionWith({ new: 2 })
      assert.equal(renewed.decrypt(PLACE, written).toString(), 'record')
      assert.throws(() => renewed.decrypt(PLACE, old), {
        name: 'UnreadableError',
        message: 'is encrypted under the key "old", which is not known',
      })
    }
  })

  test('another key of the same id does not do', () => {
    const encrypted = encryptionWith({ a: 2 }).encrypt(PLACE, Buffer.from('record'), {})
    assert.throws(
      () => encryption.decrypt(PLACE, encrypted),
      /encrypted under another key of this id/,
    )
  })

  test('cannot be seen', () => {
    const shown = inspect(encryption, { showHidden: true, depth: Infinity })
    assert.equal(shown.trim(), 'Encryption {}')
  })

  test('make other cache keys of cache keys, always the same ones', () => {
    const [indexed, again, other] = [1, 1, 2].map((byte) => {
      const indexKey = createSecretKey(Buffer.alloc(32, byte))
      return new Encryption({ keys: new Map(), current: '', indexKey }).indexed('cache key')
    })
    assert.match(indexed as string, /^[\da-f]{64}$/)
    assert.equal(indexed, again)
    assert.notEqual(indexed, other)
    assert.equal(encryption.indexed('cache key'), 'cache key')
  })
})
