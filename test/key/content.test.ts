import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { normaliseContent } from '../../lib/key/content.ts'
import { type FormDataLike, fieldName, parseMultipart, writeForm } from '../../lib/key/multipart.ts'
import { digest } from '../../lib/key.ts'
import type { Fields } from '../../lib/rfc9111/message.ts'

const NOTHING = { field: () => false, member: () => false }

function keyOf(content: string | Buffer, type?: string, more: Fields = {}): string {
  const fields = { ...(type !== undefined && { 'content-type': type }), ...more }
  return digest(normaliseContent(Buffer.from(content as string), fields, NOTHING))
}

const JSON_TYPE = 'application/json'
const FORM = 'application/x-www-form-urlencoded'

/** Multipart content with some parts, each as `name=value`. */
function multipart(boundary: string, ...parts: string[]): string {
  const written = parts.map((part) => {
    const [name, value] = part.split('=')
    return `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`
  })
  return `${written.join('')}--${boundary}--\r\n`
}

suite('Content as it counts for the key: normaliseContent', () => {
  type Message = [content: string | Buffer, type?: string, fields?: Fields]

  // biome-ignore format: one rule a row
  const same: [rule: string, a: Message, b: Message][] = [
    ['JSON: the order of members', ['{"a":1,"b":2}', JSON_TYPE], ['{"b":2,"a":1}', JSON_TYPE]],
    ['JSON: its charset', ['{"a":1}', JSON_TYPE], ['{ "a":1}', 'Application/JSON; charset="UTF-8"']],
    ['JSON: of a type of its own', ['{"a":1,"b":2}', 'application/vnd.api+json'], ['{"b":2,"a":1}', 'application/vnd.api+json;charset=utf-8']],
    ['forms: the order of names', ['a=1&b=2', FORM], ['b=2&a=1', FORM]],
    ['forms: their charset', ['a=1', FORM], ['a=1', `${FORM}; charset=UTF-8`]],
    ['forms: how characters are written', ['a=%c3%a9+%7E*', FORM], ['%61=é%20~%2a', FORM]],
    ['forms: a percent sign that encodes nothing', ['a=%zz', FORM], ['a=%25zz', FORM]],
    ['forms: empty pairs', ['&a=1&&b=2&', FORM], ['a=1&b=2', FORM]],
    ['multipart: the boundary', [multipart('xyz', 'a=1', 'b=2'), 'multipart/form-data; boundary=xyz'], [multipart('abc', 'a=1', 'b=2'), 'multipart/form-data; boundary="abc"']],
    ['types: their case and white space', ['x', 'Text/Plain;Charset=latin1'], ['x', ' text/plain ; charset="latin1" ']],
    ['types: the order of parameters', ['x', 'text/x; a=1; b=2'], ['x', 'text/x; b=2; a=1']],
    ['codings: their case', ['x', 'text/x', { 'content-encoding': 'GZIP' }], ['x', 'text/x', { 'content-encoding': 'gzip' }]],
  ]
  for (const [rule, a, b] of same) {
    test(`without meaning: ${rule}`, () => assert.equal(keyOf(...a), keyOf(...b)))
  }

  // biome-ignore format: one rule a row
  const different: [rule: string, a: Message, b: Message][] = [
    ['what JSON says', ['{"a":1}', JSON_TYPE], ['{"a":2}', JSON_TYPE]],
    ['the order of arrays', ['[1,2]', JSON_TYPE], ['[2,1]', JSON_TYPE]],
    ['JSON and forms of equal text', ['{"a":"1"}', JSON_TYPE], ['{"a":"1"}', FORM]],
    ['JSON and text', ['{"a":"1"}', JSON_TYPE], ['{"a":"1"}', 'text/plain']],
    ['forms and text', ['a=1', FORM], ['a=1', 'text/plain']],
    ['text and nothing said of it', ['a=1', 'text/plain'], ['a=1']],
    ['types of JSON', ['{}', JSON_TYPE], ['{}', 'application/vnd.api+json']],
    ['parameters of a type of JSON', ['{}', 'application/json; version=1'], ['{}', 'application/json; version=2']],
    ['white space in what is no JSON', ['{a: 1}', JSON_TYPE], ['{a:1}', JSON_TYPE]],
    ['bytes that are no UTF-8', [Buffer.from('"\xe9"', 'latin1'), JSON_TYPE], [Buffer.from('"\xe8"', 'latin1'), JSON_TYPE]],
    ['and what stands for them', [Buffer.from('"\xe9"', 'latin1'), JSON_TYPE], ['"\ufffd"', JSON_TYPE]],
    ['JSON in a charset that it cannot have', ['{ }', `${JSON_TYPE}; charset=utf-16`], ['{}', `${JSON_TYPE}; charset=utf-16`]],
    ['forms: what they say', ['a=1', FORM], ['a=2', FORM]],
    ['forms: the order of one name', ['a=1&a=2', FORM], ['a=2&a=1', FORM]],
    ['forms: an empty value and none', ['a=', FORM], ['a', FORM]],
    ['forms: an encoded separator', ['a=1%26b=2', FORM], ['a=1&b=2', FORM]],
    ['forms: an encoded =', ['a%3D1', FORM], ['a=1', FORM]],
    ['forms: a plus', ['a=1%2B1', FORM], ['a=1+1', FORM]],
    ['forms: bytes that are no UTF-8', ['a=%FE', FORM], ['a=%FF', FORM]],
    ['forms: what stands for a value that does not matter', ['a=<>', FORM], ['a=%3C>x', FORM]],
    ['multipart: what the parts say', [multipart('x', 'a=1'), 'multipart/form-data; boundary=x'], [multipart('x', 'a=2'), 'multipart/form-data; boundary=x']],
    ['multipart: their names', [multipart('x', 'a=1'), 'multipart/form-data; boundary=x'], [multipart('x', 'b=1'), 'multipart/form-data; boundary=x']],
    ['multipart: their order', [multipart('x', 'a=1', 'b=2'), 'multipart/form-data; boundary=x'], [multipart('x', 'b=2', 'a=1'), 'multipart/form-data; boundary=x']],
    ['multipart: another boundary than it says', [multipart('x', 'a=1'), 'multipart/form-data; boundary=y'], [multipart('z', 'a=1'), 'multipart/form-data; boundary=y']],
    ['multipart and mixed', [multipart('x', 'a=1'), 'multipart/form-data; boundary=x'], [multipart('x', 'a=1'), 'multipart/mixed; boundary=x']],
    ['codings', ['{}', JSON_TYPE, { 'content-encoding': 'gzip' }], ['{}', JSON_TYPE]],
    ['white space in what is encoded', ['{ }', JSON_TYPE, { 'content-encoding': 'x' }], ['{}', JSON_TYPE, { 'content-encoding': 'x' }]],
    ['languages', ['x', 'text/plain', { 'content-language': 'de' }], ['x', 'text/plain', { 'content-language': 'en' }]],
  ]
  for (const [rule, a, b] of different) {
    test(`with a meaning: ${rule}`, () => assert.notEqual(keyOf(...a), keyOf(...b)))
  }

  test('forms are equal if their names have equal values in equal order', () => {
    const pairs = fc.array(
      fc.tuple(fc.constantFrom('a', 'b', 'é', 'a b', ''), fc.string({ maxLength: 2 })),
      { maxLength: 5 },
    )
    const byName = (all: [string, string][]) =>
      JSON.stringify(
        all
          .filter(([name, value]) => name + value !== '')
          .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
      )
    const form = (all: [string, string][]) => keyOf(new URLSearchParams(all).toString(), FORM)
    fc.assert(
      fc.property(pairs, pairs, (a, b) => {
        const [one, other] = [a, b].map((all) =>
          all.map(([name, value]) => [name, value.toWellFormed()] as [string, string]),
        )
        if (one === undefined || other === undefined) return
        // `=` alone is a pair all the same.
        const isSame =
          byName(one) === byName(other) &&
          one.filter(([n, v]) => n + v === '').length ===
            other.filter(([n, v]) => n + v === '').length
        assert.equal(form(one) === form(other), isSame)
      }),
    )
  })

  test('multipart content is equal if its parts are, whatever the boundary', () => {
    const part = fc.tuple(
      fc.constantFrom('a', 'b'),
      fc.string({ unit: fc.constantFrom('\r', '\n', '-', 'x', 'é'), maxLength: 6 }),
    )
    const parts = fc.array(part, { maxLength: 3 })
    const boundary = fc.constantFrom('one', 'another', '--')
    const write = (all: [string, string][], mark: string) =>
      keyOf(
        multipart(mark, ...all.map((pair) => pair.join('='))),
        `multipart/form-data; boundary=${mark}`,
      )
    fc.assert(
      fc.property(parts, parts, boundary, boundary, (a, b, one, other) => {
        // A boundary is chosen so that it is not in the content.
        const isClear = ![...a, ...b].some(([, value]) => value.includes('\r\n--'))
        fc.pre(isClear && a.length > 0 && b.length > 0)
        assert.equal(write(a, one) === write(b, other), JSON.stringify(a) === JSON.stringify(b))
      }),
    )
  })

  test('nothing that is sent is too odd', () => {
    const type = fc.constantFrom(
      JSON_TYPE,
      FORM,
      'multipart/form-data; boundary=x',
      'multipart/form-data',
      'a/b',
      ';',
      '',
    )
    const content = fc.oneof(
      fc.uint8Array(),
      fc.string({ unit: fc.constantFrom(...'\r\n-x{}":=&% ') }).map((text) => Buffer.from(text)),
    )
    fc.assert(
      fc.property(content, content, type, (a, b, of) => {
        const [one, other] = [keyOf(Buffer.from(a), of), keyOf(Buffer.from(b), of)]
        if (Buffer.compare(a, b) === 0) assert.equal(one, other)
      }),
    )
  })
})

suite('Values that do not matter', () => {
  const ignore = (name: string) => ({
    field: (field: string) => field === name,
    member: (path: readonly string[]) => path.join('.') === name,
  })
  const keyWithout = (name: string, content: string, type: string) =>
    digest(normaliseContent(Buffer.from(content), { 'content-type': type }, ignore(name)))

  // biome-ignore format: one rule a row
  const rows: [rule: string, type: string, write: (value: string) => string, without: string, name: string][] = [
    ['of JSON', JSON_TYPE, (value) => `{"a":1,"t":${value}}`, '{"a":1}', 't'],
    ['of JSON, below', JSON_TYPE, (value) => `{"data":{"t":${value},"k":2}}`, '{"data":{"k":2}}', 'data.t'],
    ['of forms', FORM, (value) => `a=1&t=${value}`, 'a=1', 't'],
    ['of forms, by an encoded name', FORM, (value) => `a=1&%74=${value}`, 'a=1', 't'],
    ['of multipart content', 'multipart/form-data; boundary=x', (value) => multipart('x', 'a=1', `t=${value}`), multipart('x', 'a=1'), 't'],
  ]
  for (const [rule, type, write, without, name] of rows) {
    test(rule, () => {
      assert.equal(keyWithout(name, write('1'), type), keyWithout(name, write('22'), type))
      assert.notEqual(keyWithout(name, write('1'), type), keyWithout(name, without, type))
      assert.notEqual(keyWithout(name, write('1'), type), keyWithout('other', write('1'), type))
    })
  }

  test('what stands for a value is none that can be sent', () => {
    assert.notEqual(keyWithout('t', '{"t":1}', JSON_TYPE), keyWithout('x', '{"t":"<>"}', JSON_TYPE))
    assert.notEqual(keyWithout('t', 't=1', FORM), keyWithout('x', 't=<>', FORM))
    const type = 'multipart/form-data; boundary=x'
    assert.notEqual(
      keyWithout('t', multipart('x', 't=1'), type),
      keyWithout('x', multipart('x', 't=ignored'), type),
    )
  })
})

suite('Multipart content', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, content: string, parts: [header: string, content: string][] | undefined][] = [
    ['no part at all', '--x--\r\n', []],
    ['no line break at the end', '--x\r\nA: b\r\n\r\nc\r\n--x--', [['A: b', 'c']]],
    ['an empty part', '--x\r\nA: b\r\n\r\n\r\n--x--', [['A: b', '']]],
    ['a part without a header section', '--x\r\n\r\nc\r\n--x--', [['', 'c']]],
    ['several lines', '--x\r\nA: b\r\nC: d\r\n\r\ne\r\n\r\nf\r\n--x--', [['A: b\r\nC: d', 'e\r\n\r\nf']]],
    ['something that looks like a delimiter', '--x\r\nA: b\r\n\r\n;--x\n--x--\r\n--x--', [['A: b', ';--x\n--x--']]],
    ['no end', '--x\r\nA: b\r\n\r\nc\r\n', undefined],
    ['no content', '--x\r\nA: b\r\n--x--', undefined],
    ['another boundary', '--y\r\n\r\nc\r\n--y--', undefined],
    ['a preamble', 'hello\r\n--x\r\n\r\nc\r\n--x--', undefined],
    ['an epilogue', '--x\r\n\r\nc\r\n--x--\r\nbye', undefined],
    ['nothing', '', undefined],
  ]
  for (const [rule, content, parts] of rows) {
    test(`is read: ${rule}`, () => {
      const read = parseMultipart(Buffer.from(content), 'x')
      assert.deepEqual(
        read?.map((part) => [part.header, part.content.toString()]),
        parts,
      )
    })
  }

  test('FormData is written as fetch writes it', async () => {
    const form = new FormData()
    form.append('plain', 'a\nb')
    form.append('odd "name"\n', 'é')
    form.append('file', new Blob(['bytes'], { type: 'text/x' }), 'a "file".txt')
    form.append('typeless', new Blob(['']), 'é.bin')
    const response = new Response(form)
    const boundary = /boundary=(.*)$/.exec(
      response.headers.get('content-type') ?? '',
    )?.[1] as string
    const written = await writeForm(form as unknown as FormDataLike, boundary)
    assert.equal(written.toString(), await response.text())
    const names = parseMultipart(written, boundary)?.map(fieldName)
    assert.deepEqual(names, ['plain', 'odd "name"\r\n', 'file', 'typeless'])
  })
})
