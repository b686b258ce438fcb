import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { SitemapReader } from '../../lib/precache/sitemap.ts'

function read(content: string | Uint8Array, type = 'application/xml') {
  const reader = new SitemapReader(type)
  const bytes = Buffer.from(content as string)
  for (let at = 0; at < bytes.length; at += 1000) reader.write(bytes.subarray(at, at + 1000))
  return reader.end()
}

function urlset(...locations: string[]): string {
  const urls = locations.map(
    (location) => `<url><loc>${location}</loc><priority>1</priority></url>`,
  )
  return `<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">${urls.join('')}</urlset>`
}

suite('Precaching: sitemaps', () => {
  const pages = (...urls: string[]) => ({ lists: 'pages', urls, isCut: false })
  const index = '<sitemapindex><sitemap><loc>http://a/1.xml</loc></sitemap></sitemapindex>'

  // biome-ignore format: one rule a row
  const rows: [rule: string, content: string | Uint8Array, sitemap: object | undefined][] = [
    ['pages', urlset('http://a/', 'http://a/b'), pages('http://a/', 'http://a/b')],
    ['with white space, references and sections', urlset('\n http://a/?b&amp;c=&#228; ', '<![CDATA[http://a/?d&e]]>'), pages('http://a/?b&c=ä', 'http://a/?d&e')],
    ['and images, which are no pages', '<urlset><url><loc>a</loc><image:image><image:loc>b</image:loc></image:image></url></urlset>', pages('a')],
    ['in a namespace with a prefix', '<sm:urlset xmlns:sm="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns="other"><sm:url><sm:loc>a</sm:loc><loc>b</loc></sm:url></sm:urlset>', pages('a')],
    ['further sitemaps', index, { lists: 'sitemaps', urls: ['http://a/1.xml'], isCut: false }],
    ['a URL a line', '\ufeffhttp://a/\r\n\r\n  http://a/b  \nhttp://a/c', pages('http://a/', 'http://a/b', 'http://a/c')],
    ['compressed', gzipSync(urlset('http://a/')), pages('http://a/')],
    ['lines that are compressed', gzipSync('http://a/\n'), pages('http://a/')],
    ['nothing', '', pages()],
    ['XML of another kind', '<rss><channel><loc>http://a/</loc></channel></rss>', undefined],
    ['HTML', '<!doctype html><title>Not found</title>', undefined],
    ['what is cut off', urlset('http://a/').slice(0, -20), pages('http://a/')],
  ]
  for (const [rule, content, sitemap] of rows) {
    test(rule, async () => assert.deepEqual(await read(content), sitemap))
  }

  test('in another encoding', async () => {
    const xml =
      '<?xml version="1.0" encoding="ISO-8859-1"?><urlset><url><loc>http://a/ä</loc></url></urlset>'
    assert.deepEqual(await read(Buffer.from(xml, 'latin1')), pages('http://a/ä'))
  })

  test('no more URLs than a sitemap may have', async () => {
    const sitemap = await read('http://a/\n'.repeat(50_001))
    assert.equal(sitemap?.urls.length, 50_000)
    assert.equal(sitemap?.isCut, true)
  })

  test('one that is larger than it may be is none, also if it was small before it unfolded', async () => {
    const reader = new SitemapReader('text/plain')
    for (let size = 0; size < 51; size += 1) reader.write(Buffer.alloc(2 ** 20))
    await assert.rejects(reader.end(), /^Error: a sitemap of more than 52428800 bytes$/)
    await assert.rejects(read(gzipSync(Buffer.alloc(51 * 2 ** 20))), {
      code: 'ERR_BUFFER_TOO_LARGE',
    })
  })

  test('one that is damaged is none', async () => {
    const damaged = gzipSync(urlset('http://a/')).subarray(0, 60)
    await assert.rejects(read(damaged), { code: 'Z_BUF_ERROR' })
  })
})
