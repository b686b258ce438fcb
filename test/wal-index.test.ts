import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, test } from 'node:test'
import { WalIndex } from '../lib/storage/sqlite/wal-index.ts'
import { folder as newFolder } from './helpers/folder.ts'

const isKnown = ['darwin', 'linux'].includes(process.platform)
const isLinux = process.platform === 'linux'

function open(path: string): DatabaseSync {
  const database = new DatabaseSync(path)
  database.exec('PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t (n)')
  return database
}

/** Changes a file in a process of its own, which has done so when this returns. */
function changeElsewhere(path: string, sql: string): void {
  const program = `new (require('node:sqlite').DatabaseSync)(process.argv[1]).exec(process.argv[2])`
  execFileSync(process.execPath, ['--no-warnings', '-e', program, path, sql])
}

/** How many locks this process has on a file. */
function locksOn(path: string): number {
  const { ino } = statSync(path)
  const lines = readFileSync('/proc/locks', 'latin1').split('\n')
  return lines.filter((line) => {
    const [, , , , pid, file] = line.trim().split(/\s+/)
    return Number(pid) === process.pid && file?.endsWith(`:${ino}`)
  }).length
}

/** How many of the files that this process has open have such a name. */
function openFiles(name: string): number {
  return readdirSync('/proc/self/fd').filter((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`).includes(name)
    } catch {
      return false
    }
  }).length
}

describe('the wal-index tells of what is committed', { skip: !isKnown }, () => {
  test('by this process and by others, once', () => {
    const path = join(newFolder(), 'a.sqlite')
    const database = open(path)
    const index = WalIndex.of(path)
    assert.ok(index)
    assert.equal(index.hasChanged(), false)
    database.exec('INSERT INTO t VALUES (1)')
    assert.deepEqual([index.hasChanged(), index.hasChanged()], [true, false])
    for (const sql of ['INSERT INTO t VALUES (2)', 'UPDATE t SET n = 3', 'DELETE FROM t']) {
      changeElsewhere(path, sql)
      assert.deepEqual([index.hasChanged(), index.hasChanged()], [true, false], sql)
    }
    changeElsewhere(path, 'SELECT * FROM t; BEGIN IMMEDIATE; INSERT INTO t VALUES (4); ROLLBACK')
    assert.equal(index.hasChanged(), false)
    index.close()
    database.close()
  })

  test('also where the log begins anew', () => {
    const path = join(newFolder(), 'a.sqlite')
    const database = open(path)
    const index = WalIndex.of(path)
    assert.ok(index)
    for (let time = 0; time < 20; time++) {
      index.hasChanged()
      database.exec('PRAGMA wal_checkpoint(TRUNCATE)')
      index.hasChanged()
      changeElsewhere(path, `INSERT INTO t VALUES (${time})`)
      assert.equal(index.hasChanged(), true)
    }
    index.close()
    database.close()
  })

  test('and there is none where there is no log', () => {
    const path = join(newFolder(), 'a.sqlite')
    assert.equal(WalIndex.of(path), undefined)
    const database = new DatabaseSync(path)
    database.exec('CREATE TABLE t (n)')
    assert.equal(WalIndex.of(path), undefined)
    database.close()
  })
})

describe('the wal-index takes nothing away', { skip: !isLinux }, () => {
  test('from the locks that SQLite has on it', () => {
    const path = join(newFolder(), 'a.sqlite')
    const database = open(path)
    const other = open(path)
    const before = locksOn(`${path}-shm`)
    assert.ok(before > 0)
    WalIndex.of(path)?.close()
    const [one, two] = [WalIndex.of(path), WalIndex.of(path)]
    one?.close()
    two?.close()
    other.close()
    assert.equal(locksOn(`${path}-shm`), before)
    assert.equal(openFiles(`${path}-shm`), 2, 'that of SQLite, and ours, which has to stay open')
    database.close()
    rmSync(`${path}-shm`, { force: true })
  })

  test('of the file system: what has been deleted is closed', () => {
    const folder = newFolder()
    for (let time = 0; time < 5; time++) {
      const path = join(folder, `${time}.sqlite`)
      const database = open(path)
      const index = WalIndex.of(path)
      database.close()
      index?.close()
    }
    assert.equal(openFiles(folder), 0)
  })
})
