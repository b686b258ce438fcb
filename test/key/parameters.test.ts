import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { DEFAULT_SECRET_PARAMETERS, Parameters } from '../../lib/key/parameters.ts'

suite('Names of parameters: Parameters', () => {
  // biome-ignore format: one rule a row
  const members: [rule: string, name: string, path: string, isNamed: boolean][] = [
    ['a name is a member at the top', 'a', 'a', true],
    ['and none below', 'a', 'b.a', false],
    ['nor what is in it', 'a', 'a.b', false],
    ['a path leads to a member', 'data.timestamp', 'data.timestamp', true],
    ['not to one of the same name elsewhere', 'data.timestamp', 'timestamp', false],
    ['not deeper', 'data.timestamp', 'data.data.timestamp', false],
    ['a star is any member', 'items.*.id', 'items.x.id', true],
    ['and any element', 'items.*.id', 'items.17.id', true],
    ['but one', 'items.*.id', 'items.id', false],
    ['also at the top', '*.id', '0.id', true],
    ['also at the end', 'meta.*', 'meta.id', true],
    ['a star alone is all at the top', '*', 'a', true],
    ['an index is an element', 'items.0', 'items.0', true],
    ['names are by their case', 'a', 'A', false],
    ['paths are, too', 'a.b', 'a.B', false],
  ]
  for (const [rule, name, path, isNamed] of members) {
    test(`JSON: ${rule}`, () => {
      assert.equal(new Parameters([name]).hasMember(path.split('.')), isNamed)
    })
  }

  test('a member that has a dot in its name is found by it', () => {
    assert.equal(new Parameters(['a.b']).hasMember(['a.b']), true)
    assert.equal(new Parameters(['packages.*.id']).hasMember(['packages', '1.0', 'id']), true)
    assert.equal(new Parameters(['a']).hasMember([]), false)
  })

  test('fields are of any case, parameters are not', () => {
    const names = new Parameters(['Auth-Token'])
    assert.deepEqual([names.hasField('auth-token'), names.hasField('auth')], [true, false])
    assert.deepEqual(
      [names.hasParameter('Auth-Token'), names.hasParameter('auth-token')],
      [true, false],
    )
    assert.equal(new Parameters(['address.street']).hasParameter('address.street'), true)
  })

  test('secrets are of any case, and members at any depth', () => {
    const secrets = new Parameters(['Token', 'login.Pass'], true)
    assert.ok(secrets.hasParameter('tOKEN'))
    assert.ok(secrets.hasField('token'))
    for (const path of ['TOKEN', 'a.0.token', 'Login.pass'])
      assert.ok(secrets.hasMember(path.split('.')), path)
    for (const path of ['tokens', 'token.x', 'pass', 'a.login.pass']) {
      assert.ok(!secrets.hasMember(path.split('.')), path)
    }
  })

  test('equal names have equal signatures, none have none', () => {
    assert.equal(new Parameters([]).signature, '')
    assert.equal(new Parameters(['a', 'b']).signature, new Parameters(['a', 'b']).signature)
    assert.notEqual(new Parameters(['a', 'b']).signature, new Parameters(['a,b']).signature)
  })

  test('what is usual for secrets is one, what is usual for other things is not', () => {
    const secrets = new Parameters(DEFAULT_SECRET_PARAMETERS, true)
    for (const name of [
      'access_token',
      'api_key',
      'apiKey',
      'API-Key',
      'token',
      'sig',
      'X-Amz-Signature',
      'client_secret',
      'password',
    ]) {
      assert.ok(secrets.hasParameter(name), name)
    }
    for (const name of [
      'authorization',
      'cookie',
      'proxy-authorization',
      'x-api-key',
      'x-auth-token',
      'x-api-token',
      'x-access-token',
    ]) {
      assert.ok(secrets.hasField(name), name)
    }
    for (const name of ['key', 'id', 'q', 'page', 'tokens', 'user', 'code', 'state', 'sign']) {
      assert.ok(!secrets.hasParameter(name), name)
    }
  })
})
