import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { FormerConnections } from '../lib/storage/sqlite/former-connections.ts'

/** A database with a row. */
function database(key: string): DatabaseSync {
  const made = new DatabaseSync(':memory:')
  made.exec(`CREATE TABLE rows (key); INSERT INTO rows VALUES ('${key}')`)
  return made
}

const READ = 'SELECT key FROM rows WHERE key = ?'

test('former connections are closed when nothing has been read from them for a while', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const former = new FormerConnections()
  const [one, other] = [database('one'), database('other')]
  for (const each of [one, other]) former.keep(each, undefined)
  t.mock.timers.tick(29_000)
  assert.equal(former.get(READ, 'other')?.key, 'other')
  assert.equal(former.get(READ, 'neither'), undefined)
  t.mock.timers.tick(29_000)
  assert.deepEqual([one.isOpen, other.isOpen], [false, true])
  t.mock.timers.tick(1000)
  assert.equal(other.isOpen, false)
  assert.equal(former.get(READ, 'other'), undefined)
})

test('a former connection that cannot be read is as good as none', () => {
  const former = new FormerConnections()
  const empty = new DatabaseSync(':memory:')
  for (const each of [empty, database('key')]) former.keep(each, undefined)
  assert.equal(former.get(READ, 'key')?.key, 'key')
  former.close()
  assert.equal(empty.isOpen, false)
})

test('former connections have no wal-index in common with what is opened', () => {
  const former = new FormerConnections()
  const [known, unknown, other] = [database('known'), database('unknown'), database('other')]
  former.keep(known, { dev: 1, ino: 1 })
  former.keep(unknown, undefined)
  former.keep(other, { dev: 1, ino: 2 })
  former.closeThoseWith(undefined)
  assert.deepEqual([known.isOpen, unknown.isOpen, other.isOpen], [true, true, true])
  former.closeThoseWith({ dev: 1, ino: 1 })
  assert.deepEqual([known.isOpen, unknown.isOpen, other.isOpen], [false, false, true])
  former.close()
})
