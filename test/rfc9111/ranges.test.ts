import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { partialFields } from '../../lib/rfc9111/answer.ts'
import type { Fields } from '../../lib/rfc9111/message.ts'
import {
  contentRange,
  multipart,
  parseRange,
  type Range,
  type RangeSpecifier,
  rangeLength,
  satisfiableRanges,
} from '../../lib/rfc9111/ranges.ts'

/** A range specifier as it is written in `Range`. */
function write(specifier: RangeSpecifier): string {
  if ('suffix' in specifier) return `-${specifier.suffix}`
  return `${specifier.first}-${specifier.last === Infinity ? '' : specifier.last}`
}

/** The parts of content of some length that a value of `Range` asks for, as they are written there. */
function parts(value: string, length: number): string[] | undefined {
  const specifiers = parseRange(`bytes=${value}`)
  return specifiers && satisfiableRanges(specifiers, length).map(write)
}

suite('RFC 9110 §14.1.1 Range Specifiers, §14.2 Range: parseRange', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, value: string, specifiers: RangeSpecifier[] | undefined][] = [
    ['from one position to another', 'bytes=0-499', [{ first: 0, last: 499 }]],
    ['one byte', 'bytes=5-5', [{ first: 5, last: 5 }]],
    ['from a position to the end', 'bytes=9500-', [{ first: 9500, last: Infinity }]],
    ['the last bytes', 'bytes=-500', [{ suffix: 500 }]],
    ['the last no bytes', 'bytes=-0', [{ suffix: 0 }]],
    ['several', 'bytes=0-0,-1', [{ first: 0, last: 0 }, { suffix: 1 }]],
    ['several with white space', 'bytes= 0-999, 4500-5499,\t-1000 ', [{ first: 0, last: 999 }, { first: 4500, last: 5499 }, { suffix: 1000 }]],
    ['in the order in which they are asked for', 'bytes=9-,5-6,0-1,5-6', [{ first: 9, last: Infinity }, { first: 5, last: 6 }, { first: 0, last: 1 }, { first: 5, last: 6 }]],
    ['§5.6.1.2: empty members do not count', 'bytes=,0-1,,2-3, ', [{ first: 0, last: 1 }, { first: 2, last: 3 }]],
    ['§14.1: units are of any case', 'Bytes=0-1', [{ first: 0, last: 1 }]],
    ['leading zeros do not matter', 'bytes=007-010', [{ first: 7, last: 10 }]],
    ['§14.1.2: large numbers do no harm', 'bytes=0-99999999999999999999999', [{ first: 0, last: 1e23 }]],

    ['another unit', 'items=0-1', undefined],
    ['a unit that begins like bytes', 'bytesize=0-1', undefined],
    ['a unit that ends like bytes', 'kilobytes=0-1', undefined],
    ['no unit', '0-1', undefined],
    ['nothing', '', undefined],
    ['no range', 'bytes=', undefined],
    ['only commas', 'bytes=,', undefined],
    ['only a unit', 'bytes', undefined],
    ['neither position', 'bytes=-', undefined],
    ['no dash', 'bytes=5', undefined],
    ['the last before the first', 'bytes=5-4', undefined],
    ['one that is invalid among others', 'bytes=0-1,5-4', undefined],
    ['one that is malformed among others', 'bytes=0-1,x', undefined],
    ['a negative position', 'bytes=--1', undefined],
    ['two dashes', 'bytes=0-1-2', undefined],
    ['a sign', 'bytes=+0-1', undefined],
    ['a fraction', 'bytes=0-1.5', undefined],
    ['hexadecimal', 'bytes=0x0-0x1', undefined],
    ['digits that are not ASCII', 'bytes=٠-١', undefined],
    ['white space around =', 'bytes =0-1', undefined],
    ['white space around -', 'bytes=0 - 1', undefined],
    ['quotes', 'bytes="0-1"', undefined],
    ['two values in several lines', 'bytes=0-1, bytes=2-3', undefined],
    ['Content-Range', 'bytes 0-1/2', undefined],
  ]
  for (const [rule, value, specifiers] of rows) {
    test(`${rule}${specifiers ? '' : ' is malformed'}`, () => {
      assert.deepEqual(parseRange(value), specifiers)
    })
  }

  test('§14.1.2: numbers of any length are read, and are not less than any other', () => {
    const huge = '9'.repeat(400)
    assert.deepEqual(parts(`0-${huge}`, 10), ['0-9'])
    assert.deepEqual(parts(`-${huge}`, 10), ['0-9'])
    assert.deepEqual(parts(`${huge}-`, 10), [])
  })
})

suite('RFC 9110 §14.1.2 Byte Ranges, §15.3.7.2 Multiple Parts: satisfiableRanges', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, value: string, length: number, parts: string[]][] = [
    ['the first 500 bytes', '0-499', 10_000, ['0-499']],
    ['the second 500 bytes', '500-999', 10_000, ['500-999']],
    ['the last 500 bytes', '-500', 10_000, ['9500-9999']],
    ['the last 500 bytes by their position', '9500-', 10_000, ['9500-9999']],
    ['the first and the last byte', '0-0,-1', 10_000, ['0-0', '9999-9999']],
    ['the first, the middle and the last 1000 bytes', '0-999,4500-5499,-1000', 10_000, ['0-999', '4500-5499', '9000-9999']],
    ['the second 500 bytes in two pieces', '500-600,601-999', 10_000, ['500-999']],
    ['the second 500 bytes in two pieces that overlap', '500-700,601-999', 10_000, ['500-999']],
    ['all', '0-', 10, ['0-9']],
    ['a last position at the end', '5-9', 10, ['5-9']],
    ['a last position after the end is the end', '5-10', 10, ['5-9']],
    ['the last byte by its position', '9-', 10, ['9-9']],
    ['as many last bytes as there are', '-10', 10, ['0-9']],
    ['more last bytes than there are are all', '-11', 10, ['0-9']],

    ['a first position at the end is none', '10-', 10, []],
    ['nor is one after the end', '11-20', 10, []],
    ['nor are the last no bytes', '-0', 10, []],
    ['those that cannot be satisfied are left out', '10-,0-1,-0', 10, ['0-1']],
    ['content without a byte has no part', '0-0,0-,5-', 0, []],

    ['they are in the order asked for', '500-509,0-9,-10,200-209', 1000, ['500-509', '0-9', '990-999', '200-209']],
    ['also without those that cannot be satisfied', '500-509,1000-,0-9', 1000, ['500-509', '0-9']],
    ['the same twice is once', '5-6,5-6', 1000, ['5-6']],
    ['one within another is the other', '5-50,10-20', 1000, ['5-50']],
    ['one around another is the one', '10-20,5-50', 1000, ['5-50']],
    ['those that overlap are one, in either order', '10-20,5-15', 1000, ['5-20']],
    ['those that touch are one', '6-9,0-5', 1000, ['0-9']],
    ['those that nearly touch are one', '0-9,89-99', 1000, ['0-99']],
    ['those that do not are two', '0-9,91-99', 1000, ['0-9', '91-99']],
    ['a third may join two', '0-9,200-209,5-195', 1000, ['0-209']],
    ['several may become several', '0-9,500-509,5-19,505-519', 1000, ['0-19', '500-519']],
    ['many small ones are one', '0-0,2-2,4-4,6-6,8-8', 10, ['0-8']],
  ]
  for (const [rule, value, length, expected] of rows) {
    test(rule, () => assert.deepEqual(parts(value, length), expected))
  }

  test('§15.3.7.2: the order asked for is kept by those that have become one with others', () => {
    assert.deepEqual(parts('500-509,0-9,505-519', 1000), ['500-519', '0-9'])
    assert.deepEqual(parts('500-509,0-9,5-19', 1000), ['500-509', '0-19'])
    assert.deepEqual(parts('900-,500-509,0-9,5-19', 1000), ['900-999', '500-509', '0-19'])
  })
})

suite('RFC 9110 §14.4 Content-Range: contentRange, rangeLength', () => {
  // biome-ignore format: one rule a row
  const rows: [range: Range | undefined, length: number, value: string][] = [
    [{ first: 0, last: 499 }, 1234, 'bytes 0-499/1234'],
    [{ first: 734, last: 1233 }, 1234, 'bytes 734-1233/1234'],
    [{ first: 0, last: 0 }, 1, 'bytes 0-0/1'],
    [undefined, 1234, 'bytes */1234'],
    [undefined, 0, 'bytes */0'],
  ]
  for (const [range, length, value] of rows) {
    test(`contentRange: ${value}`, () => assert.equal(contentRange(range, length), value))
  }

  // biome-ignore format: one rule a row
  const lengths: [range: Range, length: number][] = [
    [{ first: 0, last: 0 }, 1],
    [{ first: 0, last: 499 }, 500],
    [{ first: 734, last: 1233 }, 500],
  ]
  for (const [range, length] of lengths) {
    test(`rangeLength: ${write(range)} is ${length}`, () => {
      assert.equal(rangeLength(range), length)
    })
  }
})

/** The content of which parts are taken: letters, whose positions can be told from them. */
function content(length: number): string {
  return Array.from({ length }, (_, index) => String.fromCharCode(97 + (index % 26))).join('')
}

/** The message that some pieces make of the content. */
function join(pieces: readonly (Range | string)[], whole: string): string {
  return pieces
    .map((piece) => (typeof piece === 'string' ? piece : whole.slice(piece.first, piece.last + 1)))
    .join('')
}

suite('RFC 9110 §14.6 Media Type multipart/byteranges: multipart', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, fields: Fields, ranges: Range[], lines: string[]][] = [
    [
      'each part has its range and the type of the content',
      { 'content-type': 'text/plain; charset=utf-8', etag: '"1"', 'content-length': '26' },
      [{ first: 0, last: 1 }, { first: 24, last: 25 }],
      [
        '--BOUNDARY',
        'Content-Type: text/plain; charset=utf-8',
        'Content-Range: bytes 0-1/26',
        '',
        'ab',
        '--BOUNDARY',
        'Content-Type: text/plain; charset=utf-8',
        'Content-Range: bytes 24-25/26',
        '',
        'yz',
        '--BOUNDARY--',
        '',
      ],
    ],
    [
      'where the content has no type, they have none, and they stay in their order',
      {},
      [{ first: 25, last: 25 }, { first: 3, last: 5 }, { first: 0, last: 0 }],
      [
        '--BOUNDARY',
        'Content-Range: bytes 25-25/26',
        '',
        'z',
        '--BOUNDARY',
        'Content-Range: bytes 3-5/26',
        '',
        'def',
        '--BOUNDARY',
        'Content-Range: bytes 0-0/26',
        '',
        'a',
        '--BOUNDARY--',
        '',
      ],
    ],
  ]
  for (const [rule, fields, ranges, lines] of rows) {
    test(rule, () => {
      const pieces = multipart(fields, ranges, 26, 'BOUNDARY')
      assert.equal(join(pieces, content(26)), lines.join('\r\n'))
    })
  }
})

suite('Laws of ranges', () => {
  const position = fc.oneof(fc.nat(40), fc.nat(700), fc.constant(2 ** 60))
  const specifier: fc.Arbitrary<RangeSpecifier> = fc.oneof(
    fc.tuple(position, position).map(([a, b]) => ({ first: Math.min(a, b), last: Math.max(a, b) })),
    fc.tuple(position, fc.nat(20)).map(([first, more]) => ({ first, last: first + more })),
    position.map((first) => ({ first, last: Infinity })),
    position.map((suffix) => ({ suffix })),
  )
  const specifiers = fc.array(specifier, { minLength: 1, maxLength: 12 })
  const lengths = fc.oneof(fc.nat(600), fc.constantFrom(0, 1))

  /** Whether a position in content of some length is asked for, by the words of §14.1.2. */
  function isAsked(all: readonly RangeSpecifier[], at: number, length: number): boolean {
    return all.some((one) =>
      'suffix' in one ? at >= length - one.suffix : one.first <= at && at <= one.last,
    )
  }

  test('what has been written is read again', () => {
    fc.assert(
      fc.property(specifiers, fc.constantFrom(',', ', ', ' ,, '), (all, comma) => {
        assert.deepEqual(parseRange(`bytes=${all.map(write).join(comma)}`), all)
      }),
    )
  })

  test('no text makes parseRange throw, and what it reads can be written', () => {
    const piece = fc.constantFrom('bytes', '=', '-', ',', ' ', '0', '12', '9'.repeat(400), 'x', '"', '\n') // biome-ignore format: one thing
    const texts = fc.oneof(
      fc.string(),
      fc.array(piece).map((all) => all.join('')),
      fc.array(piece).map((all) => `bytes=${all.join('')}`),
    )
    fc.assert(
      fc.property(texts, (text) => {
        const all = parseRange(text)
        if (all === undefined) return
        assert.ok(all.length > 0)
        for (const one of all) {
          if ('suffix' in one) assert.ok(one.suffix >= 0)
          else assert.ok(0 <= one.first && one.first <= one.last)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('satisfiable ranges lie within the content, and not within or near one another', () => {
    fc.assert(
      fc.property(specifiers, lengths, (all, length) => {
        const ranges = satisfiableRanges(all, length)
        for (const { first, last } of ranges) {
          assert.ok(0 <= first && first <= last && last < length)
        }
        const sorted = ranges.toSorted((a, b) => a.first - b.first)
        for (const [index, { last }] of sorted.entries()) {
          const next = sorted[index + 1]
          if (next) assert.ok(next.first - last > 80)
        }
      }),
    )
  })

  test('they cover exactly what is asked for, but for gaps smaller than 81 bytes', () => {
    fc.assert(
      fc.property(specifiers, lengths, (all, length) => {
        const ranges = satisfiableRanges(all, length)
        const isCovered = (at: number) =>
          ranges.some(({ first, last }) => first <= at && at <= last)
        let gap = 0
        for (let at = 0; at < length; at++) {
          const asked = isAsked(all, at, length)
          if (asked) assert.ok(isCovered(at))
          gap = isCovered(at) && !asked ? gap + 1 : 0
          assert.ok(gap < 81)
        }
        for (const { first, last } of ranges) {
          assert.ok(isAsked(all, first, length) && isAsked(all, last, length))
        }
      }),
    )
  })

  test('which bytes they cover does not depend on the order of what is asked for', () => {
    const orders = specifiers.chain((all) =>
      fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })),
    )
    fc.assert(
      fc.property(orders, lengths, ([all, shuffled], length) => {
        const [a, b] = [all, shuffled].map((some) => satisfiableRanges(some, length).map(write))
        assert.deepEqual(a?.toSorted(), b?.toSorted())
      }),
    )
  })

  test('what asks for the satisfiable ranges gets them', () => {
    fc.assert(
      fc.property(specifiers, lengths, (all, length) => {
        const ranges = satisfiableRanges(all, length)
        assert.deepEqual(satisfiableRanges(ranges, length), ranges)
      }),
    )
  })

  test('multipart content is as long as partialFields announces, and can be taken apart', () => {
    const types = fc.constantFrom({}, { 'content-type': 'text/plain' }, { 'content-type': 'x/ü' })
    fc.assert(
      fc.property(specifiers, fc.integer({ min: 1, max: 600 }), types, (all, length, fields) => {
        const ranges = satisfiableRanges(all, length)
        if (ranges.length < 2) return
        const boundary = '0123456789abcdef'
        const pieces = multipart(fields, ranges, length, boundary)
        const lengths = pieces.map((piece) =>
          typeof piece === 'string' ? Buffer.byteLength(piece, 'latin1') : rangeLength(piece),
        )
        const announced = partialFields({ fields: {} }, fields, ranges, length, boundary)
        const total = lengths.reduce((sum, one) => sum + one, 0)
        assert.equal(announced['content-length'], String(total))
        assert.equal(announced['content-type'], `multipart/byteranges; boundary=${boundary}`)

        const whole = content(length)
        const message = join(pieces, whole)
        assert.equal(message.length, total)
        const [before, ...bodies] = `\r\n${message}`.split(`\r\n--${boundary}`)
        assert.equal(before, '')
        assert.equal(bodies.pop(), '--\r\n')
        const taken = bodies.map((body) => {
          const end = body.indexOf('\r\n\r\n')
          const range = /^Content-Range: bytes (\d+)-(\d+)\/(\d+)$/m.exec(body.slice(0, end))
          const [first, last, of] = (range ?? []).slice(1).map(Number) as [number, number, number]
          assert.equal(of, length)
          assert.equal(body.slice(end + 4), whole.slice(first, last + 1))
          return { first, last }
        })
        assert.deepEqual(taken, ranges)
      }),
    )
  })
})
