import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { cssUrls } from '../../lib/precache/css.ts'
import { HtmlReader } from '../../lib/precache/html.ts'
import type { DocumentLinks } from '../../lib/precache/links.ts'
import { srcsetUrls } from '../../lib/precache/srcset.ts'
import { StylesheetReader } from '../../lib/precache/stylesheet.ts'
import { linksByTree } from '../helpers/links.ts'

const PAGE = 'http://example.com/dir/page.html'
const HTML = 'text/html; charset=utf-8'

/** Reads a document as it arrives, in pieces of some size. */
function read(html: string | Uint8Array, type = HTML, size = 7): DocumentLinks {
  const bytes = Buffer.from(html as string)
  const reader = new HtmlReader(PAGE, type)
  for (let at = 0; at < bytes.length; at += size) reader.write(bytes.subarray(at, at + size))
  return reader.end()
}

function short({ links }: DocumentLinks): string[] {
  return links.map(({ element, attribute, url }) => {
    return `${element}[${attribute}] ${url.replace('http://example.com', '')}`
  })
}

suite('Precaching: the links of a page', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, html: string, links: string[]][] = [
    ['anchors, resolved', '<a href=a.html><a href=/b><a href="../c?x#y"><a href=//d.example/e>', ['a[href] /dir/a.html', 'a[href] /b', 'a[href] /c?x', 'a[href] http://d.example/e']],
    ['each once', '<a href=a><a href="a"><a href=\'a\' class=x>', ['a[href] /dir/a']],
    ['areas, frames and iframes', '<area href=a><iframe src=b></iframe><frameset><frame src=c>', ['area[href] /dir/a', 'iframe[src] /dir/b', 'frame[src] /dir/c']],
    ['images and their candidates', '<img src=a srcset="b 1x, c 2x"><picture><source srcset="d 100w"></picture>', ['img[src] /dir/a', 'img[srcset] /dir/b', 'img[srcset] /dir/c', 'source[srcset] /dir/d']],
    ['media', '<video src=a poster=b><source src=c><track src=d></video><audio src=e></audio><embed src=f><object data=g></object>', ['video[src] /dir/a', 'video[poster] /dir/b', 'source[src] /dir/c', 'track[src] /dir/d', 'audio[src] /dir/e', 'embed[src] /dir/f', 'object[data] /dir/g']],
    ['scripts and style sheets', '<script src=a></script><link rel=stylesheet href=b><link rel="preload" imagesrcset="c 1x" href=d>', ['script[src] /dir/a', 'link[href] /dir/b', 'link[imagesrcset] /dir/c', 'link[href] /dir/d']],
    ['links of other types, but not those without content', '<link rel=NEXT href=a><link rel="dns-prefetch" href=b><link rel="preconnect" href=c><link href=d>', ['link[href] /dir/a']],
    ['buttons that are images', '<input type=IMAGE src=a><input type=text src=b>', ['input[src] /dir/a']],
    ['refreshes', '<meta http-equiv=Refresh content="5; URL=\'a b\' x"><meta http-equiv=refresh content="0;b"><meta http-equiv=refresh content=5>', ['meta[content] /dir/a%20b', 'meta[content] /dir/b']],
    ['what is drawn', '<svg><a href=a><a xlink:href=b></a><image href=c /><use xlink:href="d#e"></svg>', ['a[href] /dir/a', 'a[xlink:href] /dir/b', 'image[href] /dir/c', 'use[xlink:href] /dir/d']],
    ['styles', '<style>@import "a.css"; p { background: url(b.png) }</style><p style="background:url(\'c.png\')">', ['style[url] /dir/a.css', 'style[url] /dir/b.png', 'style[url] /dir/c.png']],
    ['also without scripts and in templates', '<noscript><img src=a></noscript><template><a href=b></template>', ['img[src] /dir/a', 'a[href] /dir/b']],
    ['not in scripts, comments and texts', '<script>"<a href=a>"</script><!-- <a href=b> --><textarea><a href=c></textarea><title><a href=d></title><xmp><a href=e></xmp>', []],
    ['only http and https', '<a href=mailto:a@b.c><a href="javascript:x()"><a href="data:,x"><img src="blob:x"><a href="HTTPS://Example.COM:443/x">', ['a[href] https://example.com/x']],
    ['nothing that is empty', '<a href><a href=" "><img src=""><a href="#top">', ['a[href] /dir/page.html']],
    ['character references', '<a href="a&amp;b&#x3d;c&notit;&eacute;">', ['a[href] /dir/a&b=c&notit;%C3%A9']],
    ['white space around and inside', '<a href=" \n a\t.html\n ">', ['a[href] /dir/a.html']],
    ['in any case and quotes, without any, and unfinished', '<A HREF=a CLASS=x><a\nhref\n=\n"b"><a/href=c/><a href="d"class=x><a href="e', ['a[href] /dir/a', 'a[href] /dir/b', 'a[href] /dir/c/', 'a[href] /dir/d']],
    ['of two attributes the first', '<a href=a href=b>', ['a[href] /dir/a']],
    ['relative to the first base that has a URL, wherever it is', '<a href=a><base target=x><base href=/base/><base href=/other/><a href=b>', ['a[href] /base/a', 'a[href] /base/b']],
    ['a base is relative to the page', '<base href="../x/"><a href=a>', ['a[href] /x/a']],
    ['a base that is none is the page', '<base href="data:,x"><base href=/y/><a href=a>', ['a[href] /dir/a']],
  ]
  for (const [rule, html, links] of rows) {
    test(rule, () => {
      assert.deepEqual(short(read(html)), links)
      assert.deepEqual(short(read(html, HTML, 1)), links)
    })
  }

  test('tells what kind of links they are', () => {
    const { links } = read('<a rel="NoFollow  external" href=a><link rel="icon" href=b>')
    assert.deepEqual(links, [
      { url: 'http://example.com/dir/a', kind: 'page', element: 'a', attribute: 'href', rel: 'nofollow external' }, // biome-ignore format: a row
      { url: 'http://example.com/dir/b', kind: 'asset', element: 'link', attribute: 'href', rel: 'icon' }, // biome-ignore format: a row
    ])
  })

  test('tells targets that are no URLs', () => {
    assert.deepEqual(read('<a href="http://[bad/"><a href="https://a b/">').malformed, [
      'http://[bad/',
      'https://a b/',
    ])
  })

  test('knows whether the page asks not to be followed', () => {
    assert.equal(read('<meta name=robots content="noindex, NOFOLLOW">').isNofollow, true)
    assert.equal(read('<meta name=Robots content=none>').isNofollow, true)
    assert.equal(read('<meta name=robots content=noindex>').isNofollow, false)
    assert.equal(read('<meta name=author content=nofollow>').isNofollow, false)
  })

  test('XHTML is XML', () => {
    const xhtml = '<?xml version="1.0"?><html><script src="a"/><a href="b">&amp;</a><![CDATA[<a href="c">]]></html>' // biome-ignore format: a row
    assert.deepEqual(short(read(xhtml, 'application/xhtml+xml')), ['script[src] /dir/a', 'a[href] /dir/b']) // biome-ignore format: a row
  })

  const bytes = (text: string, encoding: 'latin1' | 'utf16le') => Buffer.from(text, encoding)
  // biome-ignore format: one rule a row
  const encodings: [rule: string, type: string, content: Uint8Array, path: string][] = [
    ['UTF-8 where nothing is said', 'text/html', Buffer.from('<a href=ä>'), '%C3%A4'],
    ['the media type decides', 'text/html; charset="ISO-8859-1"', bytes('<meta charset=utf-8><a href=ä>', 'latin1'), '%C3%A4'],
    ['or the page itself', 'text/html', bytes('<meta charset=windows-1252><a href=ä>', 'latin1'), '%C3%A4'],
    ['also in the older way', 'text/html', bytes('<meta http-equiv="Content-Type" content="text/html; charset=latin1"><a href=ä>', 'latin1'), '%C3%A4'],
    ['or XML', 'application/xhtml+xml', bytes('<?xml version="1.0" encoding="iso-8859-1"?><a href="ä"/>', 'latin1'), '%C3%A4'],
    ['Shift_JIS', 'text/html;charset=shift_jis', Buffer.from([...Buffer.from('<a href='), 0x93, 0xfa, 0x3e]), '%E6%97%A5'],
    ['UTF-16 by its mark', 'text/html; charset=utf-8', bytes('\ufeff<a href=ä>', 'utf16le'), '%C3%A4'],
    ['UTF-8 by its mark', 'text/html', Buffer.from('\ufeff<a href=ä>'), '%C3%A4'],
    ['also against the media type', 'text/html; charset=iso-8859-1', Buffer.from('\ufeff<a href=ä>'), '%C3%A4'],
    ['one that is unknown is UTF-8', 'text/html; charset=klingon', Buffer.from('<a href=ä>'), '%C3%A4'],
  ]
  for (const [rule, type, content, path] of encodings) {
    test(`encodings: ${rule}`, () => {
      assert.deepEqual(short(read(content, type, 3)), [`a[href] /dir/${path}`])
    })
  }

  test('a declaration counts only at the beginning', () => {
    const late = `${' '.repeat(1024)}<meta charset=windows-1252><a href=ä>`
    assert.deepEqual(short(read(Buffer.from(late, 'latin1'), 'text/html')), ['a[href] /dir/%EF%BF%BD']) // biome-ignore format: a row
  })
})

suite('Precaching: the links of a page, as a parser finds them that builds the tree', () => {
  // biome-ignore format: a list
  const elements = ['a', 'area', 'audio', 'b', 'base', 'body', 'button', 'div', 'embed', 'form', 'h1', 'head', 'html', 'iframe', 'image', 'img', 'input', 'li', 'link', 'noembed', 'noframes', 'noscript', 'object', 'option', 'p', 'plaintext', 'script', 'source', 'style', 'table', 'td', 'template', 'textarea', 'title', 'video', 'xmp']
  // biome-ignore format: a list
  const attributes = ['HREF', 'class', 'data', 'href', 'id', 'imagesrcset', 'poster', 'rel', 'src', 'srcset', 'type']
  // biome-ignore format: a list
  const values = ['', ' ', '#f', '&#x41;&notin;&not;', '&amp', '&lt;', '../u', '//other.example/z', '/b?x=1&amp;y=2', '<i>', 'a=b', 'a.html', 'c d', 'data:x', 'http://[bad/', 'icon', 'image', 'javascript:1', 'mailto:x', 'next', 'preconnect', "q'r", 'q"r', 'stylesheet', 'ä']
  // biome-ignore format: a list
  const fragments = ['text', '\n', '&lt;a href=f1&gt;', '<!-- <a href=f2> -->', '<!--><a href=f3>-->', '<!---><a href=f4>-->', '--!>', '<!-', '<![CDATA[<a href=f5>]]>', '<?x <a href=f6>?>', '<!doctype html>', '< a href=f7>', '</ a>', '<>', '</>', '<a href=f8', '<a/href=f9/>', '<a href="f10"class="x">', '<script>"<a href=f11>"</script>', '<script><!-- <a href=f12> --></script>', '<svg><image href=f13 /><a href=f14></a></svg>', '<svg><style/></svg>', '<math><mi>x</mi></math>', '<svg><foreignObject><a href=f15></a></foreignObject></svg>']

  const attribute = fc
    .tuple(
      fc.constantFrom(...attributes),
      fc.constantFrom(...values),
      fc.constantFrom('"', "'", '', undefined),
      fc.constantFrom('=', ' = ', '\n=\n'),
    )
    .map(([name, value, quote, equals]) => {
      if (quote === undefined) return ` ${name}`
      const text = quote === '' ? value.replace(/[\s"'>]/g, '') || 'z' : value.replaceAll(quote, '')
      return ` ${name}${equals}${quote}${text}${quote}`
    })
  const startTag = fc
    .tuple(
      fc.constantFrom(...elements),
      fc.array(attribute, { maxLength: 3 }),
      fc.constantFrom('', ' /', '/'),
      fc.boolean(),
    )
    .map(([name, list, end, isUpper]) => {
      return `<${isUpper ? name.toUpperCase() : name}${list.join('')}${end}>`
    })
  const endTag = fc.constantFrom(...elements).map((name) => `</${name}>`)
  const markup = fc
    .array(
      fc.oneof(
        { weight: 5, arbitrary: startTag },
        { weight: 3, arbitrary: endTag },
        { weight: 2, arbitrary: fc.constantFrom(...fragments) },
      ),
      { maxLength: 12 },
    )
    .map((parts) => parts.join(''))

  function shortWithoutPrefix(html: string, size: number): string[] {
    const { links } = read(html, HTML, size)
    // A tree has no links in styles.
    const all = links.filter(({ element }) => element !== 'style')
    const name = (attribute: string) => attribute.replace('xlink:', '')
    return [
      ...new Set(all.map((link) => `${link.element}[${name(link.attribute)}] ${link.url}`)),
    ].sort()
  }

  // Left out is what only the tree can know: frames outside of a frameset, what is in a select, drawings that are
  // not closed; and scripts in scripts that are commented out.
  test('are the same in odd markup, in pieces of any size', () => {
    fc.assert(
      fc.property(markup, fc.integer({ min: 1, max: 100 }), (html, size) => {
        assert.deepEqual(shortWithoutPrefix(html, size), linksByTree(html, PAGE))
      }),
      { numRuns: 3000 },
    )
  })

  test('are the same in any text', () => {
    const text = fc.string({
      unit: fc.constantFrom(...'<>/="\'!-& \n[]ahrefsc?#%'),
      maxLength: 200,
    })
    fc.assert(
      fc.property(text, (html) => {
        assert.deepEqual(shortWithoutPrefix(html, 5), linksByTree(html, PAGE))
      }),
      { numRuns: 2000 },
    )
  })
})

suite('Precaching: pages that mean no good', () => {
  // Each would take minutes, or gigabytes, if the effort grew faster than the page.
  // biome-ignore format: one rule a row
  const rows: [rule: string, piece: string, isCut: boolean][] = [
    ['elements in elements without end', '<b><i>', true],
    ['end tags of what is not open', '<p></x></y>', false],
    ['a value without end', '<a href="x', false],
    ['drawings in drawings', '<svg>', true],
    ['links without end', '<a href=a>', false],
    ['styles without end', '<style>url( "', false],
    ['candidates without end', '<img srcset="a,,(,', false],
    ['comments without end', '<!--', false],
  ]
  for (const [rule, piece, isCut] of rows) {
    test(`${rule} are looked at, but not for long`, { timeout: 30_000 }, () => {
      const reader = new HtmlReader(PAGE, HTML)
      const bytes = Buffer.from(piece.repeat(64 * 1024))
      for (let length = 0; length < 8 * 2 ** 20; length += bytes.length) reader.write(bytes)
      assert.equal(reader.end().isCut, isCut)
    })
  }

  test('of a page that is too large, the beginning is looked at', () => {
    const reader = new HtmlReader(PAGE, HTML)
    reader.write(Buffer.from('<a href=a>'))
    for (let length = 0; length < 20; length += 1) reader.write(Buffer.alloc(2 ** 20, ' '))
    reader.write(Buffer.from('<a href=b>'))
    const read = reader.end()
    assert.equal(read.isCut, true)
    assert.deepEqual(short(read), ['a[href] /dir/a'])
  })

  test('of more links than anybody reads, so many are', () => {
    const reader = new HtmlReader(PAGE, HTML)
    for (let page = 0; page < 60; page += 1) {
      const links = Array.from({ length: 1000 }, (_, index) => `<a href=${page}-${index}>x</a>`)
      reader.write(Buffer.from(links.join('')))
    }
    const { links, isCut } = reader.end()
    assert.equal(links.length, 50_000)
    assert.equal(isCut, true)
  })
})

suite('Precaching: the links of a style sheet', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, css: string, urls: string[]][] = [
    ['url() in any quotes, or none', 'a{b:url(a.png)} c{d:url( "b.png" ), URL(\'c.png\' )}', ['a.png', 'b.png', 'c.png']],
    ['imports', '@import "a.css"; @IMPORT url(b.css) screen;\n@import\n\'c.css\' layer(x);', ['a.css', 'b.css', 'c.css']],
    ['imports without a space', '@import"a.css";@import\'b.css\'screen;', ['a.css', 'b.css']],
    ['not in names', '@namespace url(a); @namespace svg "b;url(c)"; @namespace x url("d"); p{e:url(f)}', ['f']],
    ['not in comments', '/* url(a) @import "b" */ p{c:url(d)} /* url(e)', ['d']],
    ['not in other strings', 'p{content:"url(a)"; b:\'@import "c"\'}', []],
    ['nor in functions of other names', 'p{a:my-url(b) xurl(c)}', []],
    ['escapes', String.raw`p{a:url(b\)c) url("d\"e") url(f\2e png) url(\000067\68 )}`, ['b)c', 'd"e', 'f.png', 'gh']],
    ['a line that is continued', 'p{a:url("b\\\nc")}', ['bc']],
    ['none that is empty or unfinished', 'p{a:url() url( ) url("") url(b c) url("d', []],
    ['an unfinished string ends with its line', 'p{content:"a\n} q{b:url(c)}', ['c']],
  ]
  for (const [rule, css, urls] of rows) test(rule, () => assert.deepEqual(cssUrls(css), urls))

  test('are relative to it, and assets', () => {
    const reader = new StylesheetReader('http://example.com/css/main.css', 'text/css')
    reader.write(Buffer.from('p { background: url(../i'))
    reader.write(Buffer.from('mg.png#x) }'))
    assert.deepEqual(reader.end(), {
      links: [{ url: 'http://example.com/img.png', kind: 'asset', element: 'style', attribute: 'url', rel: '' }], // biome-ignore format: a row
      malformed: [],
      isCut: false,
    })
  })

  // biome-ignore format: one rule a row
  const hostile: string[] = ['@namespace ', '@namespace "', '@import"','url( ', 'url("', 'url(\\a', '"\\a', '@import ', '/*', 'url(', '\\', "url('\n"]
  test('that means no good is looked at, but not for long', { timeout: 30_000 }, () => {
    for (const piece of hostile) cssUrls(piece.repeat((2 * 2 ** 20) / piece.length))
    for (const piece of [' ', '\\a ']) cssUrls(`url(${piece.repeat(2 ** 20)}`)
  })
})

suite('HTML §4.8.4.3.10: srcset', () => {
  // biome-ignore format: one rule a row
  const rows: [rule: string, srcset: string, urls: string[]][] = [
    ['candidates with descriptors', 'a.png 1x, b.png 2x', ['a.png', 'b.png']],
    ['without', 'a.png, b.png', ['a.png', 'b.png']],
    ['commas in URLs', 'data:image/png;base64,AA== 1x, b,c 2x', ['data:image/png;base64,AA==', 'b,c']],
    ['commas in parentheses', 'a 1x (b, c), d', ['a', 'd']],
    ['commas and white space around', ' ,\n, a ,, b\t,', ['a', 'b']],
    ['commas at the end of a URL end it', 'a,,b,, c', ['a,,b', 'c']],
    ['nothing', ' , ,', []],
    ['what is unfinished', 'a (b, c', ['a']],
  ]
  for (const [rule, srcset, urls] of rows)
    test(rule, () => assert.deepEqual(srcsetUrls(srcset), urls))
})
