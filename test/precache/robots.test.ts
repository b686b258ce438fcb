import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { parseRobots } from '../../lib/precache/robots.ts'

function isAllowed(lines: string, path: string, product = 'ExampleBot'): boolean {
  return parseRobots(lines, product).isAllowed(new URL(path, 'http://example.com'))
}

suite('RFC 9309 robots.txt', () => {
  const group = (...rules: string[]) => ['user-agent: *', ...rules].join('\n')
  // biome-ignore format: one rule a row
  const rows: [rule: string, robots: string, path: string, isAllowed: boolean][] = [
    ['nothing forbids nothing', '', '/', true],
    ['§2.2.1 a group for the crawler', 'user-agent: examplebot\ndisallow: /', '/', false],
    ['in any case, and with a version', 'User-Agent: EXAMPLEBOT/1.0\nDisallow: /', '/', false],
    ['is instead of the one for all', 'user-agent: *\ndisallow: /\n\nuser-agent: examplebot\nallow: /x', '/', true],
    ['also if it is empty', 'user-agent: *\ndisallow: /\nuser-agent: examplebot\ndisallow:', '/', true],
    ['a group for another', 'user-agent: other\ndisallow: /', '/', true],
    ['for one whose name begins alike', 'user-agent: examplebot-news\ndisallow: /', '/', true],
    ['one group for several', 'user-agent: other\nuser-agent: examplebot\ndisallow: /', '/', false],
    ['several groups for one', 'user-agent: examplebot\ndisallow: /a\nuser-agent: other\nallow: /\nuser-agent: examplebot\ndisallow: /b', '/b', false],
    ['a line of another kind does not separate', 'user-agent: examplebot\nsitemap: /x\nuser-agent: other\ndisallow: /', '/', false],
    ['rules before any group are none', 'disallow: /\nuser-agent: *\ndisallow: /x', '/', true],
    ['§2.2.2 a path by its beginning', group('disallow: /a'), '/ab/c', false],
    ['by its case', group('disallow: /a'), '/A', true],
    ['with its query', group('disallow: /a?b'), '/a?bc', false],
    ['the longest match decides', group('disallow: /a', 'allow: /a/b'), '/a/b/c', true],
    ['in any order', group('allow: /a/b', 'disallow: /a'), '/a/b/c', true],
    ['of two that are equally long the one that allows', group('disallow: /a', 'allow: /a'), '/a', true],
    ['in octets, however they are written', group('allow: /é', 'disallow: /%C3%A9'), '/%c3%a9', true],
    ['an empty rule is none', group('disallow:'), '/', true],
    ['§2.2.2 octets are compared', group('disallow: /a%2fb/%7ex/é'), '/a%2Fb/~x/%C3%A9', false],
    ['reserved ones are not the same encoded', group('disallow: /a%2fb'), '/a/b', true],
    ['§2.2.3 * stands for anything', group('disallow: /*/x'), '/a/b/x/c', false],
    ['also for nothing', group('disallow: /a*b'), '/ab', false],
    ['several of them', group('disallow: /*a*b*c'), '/xaxbxc', false],
    ['in their order', group('disallow: /*a*b'), '/ba', true],
    ['$ is the end', group('disallow: /*.php$'), '/a.php', false],
    ['and nothing after it', group('disallow: /*.php$'), '/a.php?b', true],
    ['without * it is exactly that', group('disallow: /a$'), '/ab', true],
    ['parts do not overlap', group('disallow: /ab*ba$'), '/aba', true],
    ['elsewhere $ is itself', group('disallow: /a$b'), '/a$b', false],
    ['comments, white space, ends of lines', '\ufeff User-agent : * # all\r\rDisallow:\t/a #b\r\nAllow:/a/c', '/a', false],
    ['what cannot be understood is nothing', group('nonsense', ':', 'disallow', 'disallow /', 'dis allow: /'), '/', true],
  ]
  for (const [rule, robots, path, expected] of rows) {
    test(rule, () => assert.equal(isAllowed(robots, path), expected))
  }

  test('the example of §5.1', () => {
    const robots = [
      'User-Agent: *\nDisallow: *.gif$\nDisallow: /example/\nAllow: /publications/',
      'User-Agent: foobot\nDisallow:/\nAllow:/example/page.html\nAllow:/example/allowed.gif',
      'User-Agent: barbot\nUser-Agent: bazbot\nDisallow: /example/page.html',
      'User-Agent: quxbot',
    ].join('\n\n')
    assert.equal(isAllowed(robots, '/publications/x'), true)
    assert.equal(isAllowed(robots, '/x.gif'), false)
    assert.equal(isAllowed(robots, '/example/page.html', 'foobot'), true)
    assert.equal(isAllowed(robots, '/x', 'foobot'), false)
    assert.equal(isAllowed(robots, '/example/page.html', 'bazbot'), false)
    assert.equal(isAllowed(robots, '/example/x', 'bazbot'), true)
    assert.equal(isAllowed(robots, '/example/x', 'quxbot'), true)
  })

  test('the example of §5.2: the longest match', () => {
    const robots =
      'User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif'
    assert.equal(isAllowed(robots, '/example/page/disallowed.gif', 'foobot'), false)
    assert.equal(isAllowed(robots, '/example/page/x', 'foobot'), true)
  })

  test('Crawl-delay is in seconds, of the group', () => {
    const robots =
      'user-agent: *\ncrawl-delay: 2.5\nuser-agent: a\ncrawl-delay: x\nuser-agent: b\ncrawl-delay: -1'
    assert.equal(parseRobots(robots, 'ExampleBot').delay, 2500)
    assert.equal(parseRobots(robots, 'a').delay, 0)
    assert.equal(parseRobots(robots, 'b').delay, 0)
  })

  test('a pattern matches as a regular expression made of it does', () => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '/'), maxLength: 8 })
    const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '/', '*', '*'), maxLength: 6 })
    fc.assert(
      fc.property(pattern, fc.boolean(), text, (middle, isAnchored, path) => {
        const rule = `/${middle}${isAnchored ? '$' : ''}`
        const source = `^/${middle.replaceAll('*', '.*')}${isAnchored ? '$' : ''}`
        const expected = !new RegExp(source).test(`/${path}`)
        assert.equal(
          isAllowed(`user-agent: *\ndisallow: ${rule}`, `http://example.com/${path}`),
          expected,
        )
      }),
      { numRuns: 2000 },
    )
  })

  test('of one that is longer than is read, half a line is none', () => {
    const robots = `user-agent: *\n${'disallow: /private\n'.repeat(40_000)}`
    const length = 500 * 1024
    for (let more = 0; more < 'disallow: /private\n'.length; more += 1) {
      assert.equal(
        isAllowed(`${'#'.repeat(more)}\n${robots}`.slice(0, length + 1000), '/public'),
        true,
      )
    }
  })

  test('any text is understood', () => {
    const line = fc.oneof(
      fc.string(),
      fc.constantFrom('user-agent: *', 'disallow: /%', 'allow: *$*$'),
    )
    fc.assert(
      fc.property(fc.array(line), (lines) => {
        assert.equal(typeof isAllowed(lines.join('\n'), '/%?%ff'), 'boolean')
      }),
    )
  })

  test('one that means no good is understood, but not for long', { timeout: 30_000 }, () => {
    const path = `/${'a'.repeat(7000)}`
    for (const line of ['disallow: /*a*a*a*b\n', '*a', ' ', 'user-agent: a\n']) {
      isAllowed(`user-agent: *\ndisallow: /${line.repeat((1024 * 1024) / line.length)}`, path)
    }
  })
})
