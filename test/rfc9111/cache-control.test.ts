import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  concernsAll,
  type Directives,
  directiveTime,
  namedFields,
  parseCacheControl,
  requestDirectives,
  responseDirectives,
  targetedDirectives,
} from '../../lib/rfc9111/cache-control.ts'
import type { Fields } from '../../lib/rfc9111/message.ts'

type Pairs = [name: string, argument: string][]

/** A message's `Cache-Control`. */
function cc(value: string | string[]): Fields {
  return { 'cache-control': value }
}

function parse(value: string | string[]): Pairs {
  return [...parseCacheControl(cc(value))]
}

suite('§5.2 Cache-Control: parseCacheControl', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, value: string | string[], directives: Pairs][] = [
    ['a directive without an argument has an empty one', 'no-store', [['no-store', '']]],
    ['a directive may have an argument', 'max-age=60', [['max-age', '60']]],
    ['names are of any case', 'No-Store, MAX-AGE=60', [['no-store', ''], ['max-age', '60']]],
    ['an argument keeps its case', 'x=Ab', [['x', 'Ab']]],
    ['an argument may be quoted', 'max-age="60"', [['max-age', '60']]],
    ['a quoted argument may have commas', 'no-cache="set-cookie, x", public', [['no-cache', 'set-cookie, x'], ['public', '']]],
    ['an escaped character is that character', 'x="a\\"b\\\\c"', [['x', 'a"b\\c']]],
    ['a directive within quotes is none', 'x="a, no-store", public', [['x', 'a, no-store'], ['public', '']]],
    ['a quote that does not end is part of the argument', 'x="a', [['x', '"a']]],
    ['a single quote is an argument', 'x="', [['x', '"']]],
    ['an empty quoted argument is empty', 'x=""', [['x', '']]],
    ['white space around = is tolerated', 'max-age = 60', [['max-age', '60']]],
    ['white space around directives is tolerated', ' max-age=60 ,\tpublic ', [['max-age', '60'], ['public', '']]],
    ['empty members do not count', ',, max-age=60,', [['max-age', '60']]],
    ['a directive without a name does not count', '=60, public', [['public', '']]],
    ['only the first = separates', 'x=a=b', [['x', 'a=b']]],
    ['several lines are one field', ['public', 'max-age=60'], [['public', ''], ['max-age', '60']]],
    ['§4.2.1: of a repeated directive the first counts', 'max-age=1, max-age=2, MAX-AGE=3', [['max-age', '1']]],
    ['§4.2.1: also over several lines', ['max-age=1', 'max-age=2'], [['max-age', '1']]],
    ['§4.2.1: also where the first has no argument', 'max-age, max-age=2', [['max-age', '']]],
    ['§5.2.2.4: no-cache without an argument counts before one with names', 'no-cache="a", no-cache', [['no-cache', '']]],
    ['§5.2.2.4: in either order', 'no-cache, no-cache="a"', [['no-cache', '']]],
    ['§5.2.2.4: and in three', 'no-cache="a", no-cache, No-Cache="b"', [['no-cache', '']]],
    ['§5.2.2.4: over several lines', ['no-cache="a"', 'no-cache'], [['no-cache', '']]],
    ['§5.2.2.7: private without an argument counts before one with names', 'private="a", private', [['private', '']]],
    ['§5.2.2.7: in either order', ['private', 'private="a"'], [['private', '']]],
    ['§5.2.2.7: private does not narrow no-cache', 'no-cache, private="a"', [['no-cache', ''], ['private', 'a']]],
    ['unknown directives are kept', 'x-future=1', [['x-future', '1']]],
    ['an empty field has no directives', '', []],
    ['an empty line has none', ['', 'public'], [['public', '']]],
  ]
  for (const [rule, value, directives] of rows) {
    test(rule, () => assert.deepEqual(parse(value), directives))
  }

  test('a message without the field has no directives', () => {
    assert.equal(parseCacheControl({}).size, 0)
  })

  test('the name of a directive may be that of a property of every object', () => {
    assert.equal(parseCacheControl(cc('public')).has('constructor'), false)
    assert.deepEqual(parse('constructor=1, __proto__=2'), [['constructor', '1'], ['__proto__', '2']]) // biome-ignore format: pairs
  })
})

suite('§5.2.2.4 and §5.2.2.7 Named fields: namedFields, concernsAll', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, value: string | string[], named: string[], all: boolean][] = [
    ['what is absent names none, and concerns nothing', 'public', [], false],
    ['without an argument it concerns all', 'NAME', [], true],
    ['it may name a field', 'NAME="set-cookie"', ['set-cookie'], false],
    ['it may name several', 'NAME="set-cookie, x-a,x-b"', ['set-cookie', 'x-a', 'x-b'], false],
    ['in any case', 'NAME="Set-Cookie"', ['set-cookie'], false],
    ['with empty members', 'NAME=", a,, b ,"', ['a', 'b'], false],
    ['§5.2: as a token, too', 'NAME=Set-Cookie', ['set-cookie'], false],
    ['twice it names those of both', 'NAME="a", NAME="B,c"', ['a', 'b', 'c'], false],
    ['also in several lines', ['NAME="a"', 'public, NAME="b"'], ['a', 'b'], false],
    ['twice, once without an argument, it concerns all', 'NAME="a", NAME', [], true],
    ['in either order', 'NAME, NAME="a"', [], true],
    ['an empty argument does not narrow it', 'NAME=""', [], true],
    ['nor does one of commas', 'NAME=" , "', [], true],
    ['nor does an empty one beside names', 'NAME="a", NAME=""', [], true],
    ['nor does what is no list of names', 'NAME="a b"', [], true],
    ['nor does a list with something that is no name', 'NAME="a, b=c"', [], true],
    ['nor does it beside names', 'NAME="a", NAME="(b)"', [], true],
    ['nor do quotes that do not end', 'NAME="a', [], true],
    ['nor do quotes within quotes', 'NAME="\\"a\\""', [], true],
    ['a name may be that of a property of every object', 'NAME="constructor"', ['constructor'], false],
  ]
  for (const name of ['no-cache', 'private'] as const) {
    const other = name === 'private' ? 'no-cache' : 'private'
    for (const [rule, value, named, all] of rows) {
      test(`${name}: ${rule}`, () => {
        const lines = [value].flat().map((line) => line.replaceAll('NAME', name))
        const directives = parseCacheControl(cc(lines))
        assert.deepEqual(namedFields(directives, name), named)
        assert.equal(concernsAll(directives, name), all)
        assert.deepEqual(namedFields(directives, other), [])
        assert.equal(concernsAll(directives, other), false)
      })
    }
  }
})

suite('§5.2 Arguments of directives: directiveTime', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, value: string, milliseconds: number | undefined][] = [
    ['seconds become milliseconds', 'max-age=60', 60_000],
    ['quoted seconds count', 'max-age="60"', 60_000],
    ['0 is 0', 'max-age=0', 0],
    ['more than 2^31 seconds are 2^31', 'max-age=99999999999', 2 ** 31 * 1000],
    ['what is absent has no time', 'public', undefined],
    ['that of another directive does not count', 's-maxage=60', undefined],
    ['no argument is 0', 'max-age', 0],
    ['an empty argument is 0', 'max-age=', 0],
    ['a negative argument is 0', 'max-age=-5', 0],
    ['a fraction is 0', 'max-age=1.5', 0],
    ['a word is 0', 'max-age=long', 0],
    ['single quotes do not quote', "max-age='60'", 0],
    ['a malformed first argument is not made good by the second', 'max-age=x, max-age=60', 0],
  ]
  for (const [rule, value, milliseconds] of rows) {
    test(rule, () => {
      assert.equal(directiveTime(parseCacheControl(cc(value)), 'max-age'), milliseconds)
    })
  }
})

suite('§5.2.1 Request Directives, §5.4 Pragma: requestDirectives', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, directives: Pairs][] = [
    ['they are those of Cache-Control', cc('no-cache, max-age=1'), [['no-cache', ''], ['max-age', '1']]],
    ['in all its lines', cc(['min-fresh=1', 'only-if-cached']), [['min-fresh', '1'], ['only-if-cached', '']]],
    ['without it there are none', { accept: '*/*' }, []],
    ['Pragma: no-cache is one where there is no Cache-Control', { pragma: 'no-cache' }, [['no-cache', '']]],
    ['in any case and among others', { pragma: 'x=no-store, NO-CACHE' }, [['no-cache', '']]],
    ['in any line', { pragma: ['x', 'no-cache'] }, [['no-cache', '']]],
    ['Pragma says nothing beside Cache-Control', { pragma: 'no-cache', ...cc('max-age=1') }, [['max-age', '1']]],
    ['not even where that is empty', { pragma: 'no-cache', ...cc('') }, []],
    ['Pragma has no other directive', { pragma: 'no-store, max-age=0, none' }, []],
    ['what only begins with no-cache is another', { pragma: 'no-cache-at-all, "no-cache"' }, []],
    ['CDN-Cache-Control is for responses', { 'cdn-cache-control': 'no-cache' }, []],
  ]
  for (const [rule, fields, directives] of rows) {
    test(rule, () => assert.deepEqual([...requestDirectives({ fields })], directives))
  }
})

suite('RFC 9213 §2.1 Syntax: targetedDirectives', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, value: string | string[], directives: Pairs][] = [
    ['seconds are an integer', 'max-age=60', [['max-age', '60']]],
    ['what has no argument is true', 'no-store, public', [['no-store', ''], ['public', '']]],
    ['also where it says so', 'no-store=?1', [['no-store', '']]],
    ['what is false is not said', 'no-store=?0, max-age=60', [['max-age', '60']]],
    ['names of fields are a string', 'no-cache="set-cookie, x", private="y"', [['no-cache', 'set-cookie, x'], ['private', 'y']]],
    ['or there are none', 'no-cache, private', [['no-cache', ''], ['private', '']]],
    ['parameters are ignored', 'max-age=60;x;max-age=1, no-cache;y="z"', [['max-age', '60'], ['no-cache', '']]],
    ['several lines are one field', ['max-age=60', 'must-revalidate'], [['max-age', '60'], ['must-revalidate', '']]],
    ['of a repeated directive the last counts', 'max-age=1, max-age=2', [['max-age', '2']]],
    ['as it does of the two that may name fields', 'no-cache, no-cache="a"', [['no-cache', 'a']]],
    ['the largest integer is written as one', 'max-age=999999999999999', [['max-age', '999999999999999']]],
    ['unknown directives may be of any type', 'none, x=1, y="a", z=b, c=1.5, d=@1', [['none', ''], ['x', '1'], ['y', 'a'], ['z', 'b'], ['c', '1.5'], ['d', '1']]],
  ]
  for (const [rule, value, directives] of rows) {
    test(rule, () => {
      const fields = { 'cdn-cache-control': value }
      assert.deepEqual([...(targetedDirectives({ fields, shared: true }) ?? [])], directives)
    })
  }

  // biome-ignore format: one rule a row
  const ignored: [rule: string, values: (string | string[])[]][] = [
    ['an empty field', ['', ' ', ['', '']]],
    ['one that is no dictionary', ['max-age=60,', 'max-age = 60', 'Max-Age=60', 'max-age=60 no-store', '"no-store"', 'max-age=', 'x="a']],
    ['one with a line that is empty', [['max-age=60', '']]],
    ['seconds that are no integer', ['max-age', 'max-age=?1', 'max-age="60"', 'max-age=60.0', 'max-age=a', 'max-age=@60', 'max-age=(60)', 'max-age=:60==:']],
    ['other seconds that are none', ['s-maxage="60"', 's-maxage=1.5', 'stale-if-error="60"', 'stale-if-error', 'stale-while-revalidate=60.0', 'stale-while-revalidate=?0']],
    ['an argument of what has none', ['no-store=1', 'no-store="a"', 'no-store=a', 'immutable=1', 'must-revalidate="x"', 'must-understand=x', 'proxy-revalidate=1.5', 'public=1', 'public=:aA==:']],
    ['names of fields that are no string', ['no-cache=set-cookie', 'no-cache=1', 'no-cache=(a b)', 'private=set-cookie', 'private=("a" "b")', 'private=1.5']],
    ['one wrong type among others', ['no-store, max-age="60"', 'max-age=60, no-cache=a']],
  ]
  for (const [rule, values] of ignored) {
    test(`ignored: ${rule}`, () => {
      for (const value of values) {
        const fields = { 'cdn-cache-control': value }
        assert.equal(targetedDirectives({ fields, shared: true }), undefined, String(value))
      }
    })
  }

  // biome-ignore format: one rule a row
  const absent: [rule: string, fields: Fields, shared: boolean | undefined][] = [
    ['it is none where it was not sent', cc('max-age=60'), true],
    ['nor for a private cache', { 'cdn-cache-control': 'max-age=60' }, false],
    ['nor for one that does not say', { 'cdn-cache-control': 'max-age=60' }, undefined],
    ['fields that are targeted at others are none', { 'example-cdn-cache-control': 'max-age=60', 'surrogate-control': 'max-age=60' }, true],
  ]
  for (const [rule, fields, shared] of absent) {
    test(rule, () => {
      const response = shared === undefined ? { fields } : { fields, shared }
      assert.equal(targetedDirectives(response), undefined)
    })
  }
})

suite('§5.2.2 Response Directives, RFC 9213 §2.2 Cache Behavior: responseDirectives', () => {
  const both = { ...cc('no-store, max-age=1'), 'cdn-cache-control': 'max-age=60' }

  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, shared: boolean, directives: Pairs][] = [
    ['they are those of Cache-Control', cc(['max-age=60', 'public']), false, [['max-age', '60'], ['public', '']]],
    ['also for a shared cache', cc('s-maxage=60'), true, [['s-maxage', '60']]],
    ['for a shared cache CDN-Cache-Control stands instead of it', both, true, [['max-age', '60']]],
    ['also alone', { 'cdn-cache-control': 'no-cache' }, true, [['no-cache', '']]],
    ['for a private cache it does not', both, false, [['no-store', ''], ['max-age', '1']]],
    ['where it is malformed, Cache-Control counts', { ...both, 'cdn-cache-control': 'max-age = 60' }, true, [['no-store', ''], ['max-age', '1']]],
    ['where a value is of the wrong type', { ...both, 'cdn-cache-control': 'max-age="60"' }, true, [['no-store', ''], ['max-age', '1']]],
    ['where it is empty', { ...both, 'cdn-cache-control': '' }, true, [['no-store', ''], ['max-age', '1']]],
    ['where it says nothing that is known, nothing does', { ...both, 'cdn-cache-control': 'none' }, true, [['none', '']]],
    ['where all that it says is false, nothing is true', { ...both, 'cdn-cache-control': 'no-store=?0' }, true, []],
    ['Pragma has no meaning in responses', { pragma: 'no-cache' }, false, []],
    ['without any there are none', {}, true, []],
  ]
  for (const [rule, fields, shared, directives] of rows) {
    test(rule, () => assert.deepEqual([...responseDirectives({ fields, shared })], directives))
  }
})

suite('Laws of directives', () => {
  const RESTRICTIVE = [
    'no-store',
    'no-cache',
    'no-cache="set-cookie"',
    'no-cache="x-a, x-b"',
    'private',
    'private="set-cookie"',
    'must-revalidate',
    'proxy-revalidate',
    'must-understand',
    'no-transform',
  ]
  const OTHERS = ['max-age=60', 's-maxage=5', 'public', 'immutable', 'x="a, no-store"', 'y=Z']
  const restrictive = fc.constantFrom(...RESTRICTIVE)
  const directive = fc.constantFrom(...RESTRICTIVE, ...OTHERS)
  const NARROWED = ['no-cache', 'private'] as const

  /** What some directives mean, without the order in which they came. */
  function meaning(directives: Directives) {
    return {
      arguments: new Map([...directives].filter(([name]) => !/^(no-cache|private)$/.test(name))),
      all: NARROWED.filter((name) => concernsAll(directives, name)),
      named: NARROWED.map((name) => new Set(namedFields(directives, name))),
    }
  }

  const anyText = fc.oneof(
    fc.string(),
    fc
      .array(fc.constantFrom('no-store', 'no-cache', 'max-age', ...'=,;"\\ ?()\t', '60', 'Ä', '\0'))
      .map((all) => all.join('')),
  )

  test('no text makes any of them throw, nor gives them a name that is not in lower case', () => {
    fc.assert(
      fc.property(fc.oneof(anyText, fc.array(anyText)), fc.boolean(), (value, shared) => {
        const fields = { 'cache-control': value, 'cdn-cache-control': value }
        const response = { fields, shared }
        const targeted = targetedDirectives(response)
        for (const all of [parseCacheControl(fields), requestDirectives({ fields }), targeted]) {
          for (const [name] of all ?? []) {
            assert.notEqual(name, '')
            assert.equal(name, name.toLowerCase().trim())
            assert.ok((directiveTime(all ?? new Map(), name) ?? -1) >= 0)
          }
        }
        assert.deepEqual(responseDirectives(response), targeted ?? parseCacheControl(fields))
        assert.equal(requestDirectives({ fields: { pragma: value } }).size <= 1, true)
      }),
    )
  })

  test('what has been parsed parses to itself when it is written again', () => {
    const name = fc.oneof(directive, fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,10}$/))
    const argument = fc.string({ unit: 'grapheme-ascii' })
    fc.assert(
      fc.property(fc.array(fc.tuple(name, argument)), (pairs) => {
        const write = (all: Iterable<readonly [string, string]>) =>
          [...all].map(([key, text]) => `${key}="${text.replace(/["\\]/g, '\\$&')}"`).join(', ')
        const named = pairs.map(([key, text]) => [key.replace(/=.*/, ''), text] as const)
        const once = parse(write(named))
        const names = named.map(([key]) => key.toLowerCase())
        assert.deepEqual(new Set(once.map(([key]) => key)), new Set(names))
        assert.deepEqual(parse(write(once)), once)
      }),
    )
  })

  test('directives do not depend on what follows them', () => {
    fc.assert(
      fc.property(anyText, (rest) => {
        const directives = parseCacheControl(cc(`no-store, no-cache, max-age=5, ${rest}`))
        assert.ok(directives.has('no-store'))
        assert.ok(concernsAll(directives, 'no-cache'))
        assert.equal(directives.get('max-age'), '5')
      }),
    )
  })

  test('a directive more never takes one away, nor a field that one names', () => {
    fc.assert(
      fc.property(fc.array(directive), restrictive, fc.nat(), (all, added, at) => {
        const before = meaning(parseCacheControl(cc(all.join(', '))))
        const more = parseCacheControl(
          cc(all.toSpliced(at % (all.length + 1), 0, added).join(', ')),
        )
        const after = meaning(more)
        assert.ok(more.has(added.replace(/=.*/, '')))
        for (const [name, argument] of before.arguments) {
          assert.equal(after.arguments.get(name), argument)
        }
        for (const [index, name] of NARROWED.entries()) {
          if (before.all.includes(name)) assert.ok(after.all.includes(name))
          if (after.all.includes(name)) continue
          for (const field of before.named[index] ?? []) assert.ok(after.named[index]?.has(field))
        }
      }),
    )
  })

  test('it does not matter over how many lines directives are spread', () => {
    fc.assert(
      fc.property(fc.array(fc.array(directive)), (lines) => {
        const split = lines.map((line) => line.join(', '))
        assert.deepEqual(parse(split), parse(lines.flat().join(',')))
      }),
    )
  })

  test('where none is repeated but those that name fields, their order does not matter', () => {
    const orders = fc
      .subarray([...RESTRICTIVE, ...OTHERS])
      .chain((some) => fc.tuple(fc.constant(some), fc.shuffledSubarray(some, { minLength: some.length }))) // biome-ignore format: one thing
    fc.assert(
      fc.property(orders, ([some, shuffled]) => {
        assert.deepEqual(
          meaning(parseCacheControl(cc(shuffled.join(', ')))),
          meaning(parseCacheControl(cc(some))),
        )
      }),
    )
  })

  test('RFC 9213: where none is repeated, the targeted field means what Cache-Control does', () => {
    const distinct = fc.uniqueArray(directive, {
      minLength: 1,
      selector: (text) => text.replace(/=.*/, ''),
    })
    fc.assert(
      fc.property(distinct, directive, (all, other) => {
        const value = all.join(', ')
        const fields = { 'cdn-cache-control': value, 'cache-control': other }
        assert.deepEqual(responseDirectives({ fields, shared: true }), parseCacheControl(cc(value)))
        assert.deepEqual(responseDirectives({ fields }), parseCacheControl(cc(other)))
      }),
    )
  })
})
