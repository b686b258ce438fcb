import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { decoderFor } from './charset.ts'
import { Parser } from './markup.ts'

/** How large a sitemap may be, in bytes, compressed and not (sitemaps.org). */
const MAX_SIZE = 50 * 2 ** 20

/** How many URLs it may have. */
const MAX_URLS = 50_000

/** What a sitemap lists: pages, or further sitemaps. */
export interface Sitemap {
  readonly lists: 'pages' | 'sitemaps'
  readonly urls: readonly string[]
  /** Whether it lists more than a sitemap may. */
  readonly isCut: boolean
}

/** Reads a sitemap: XML, or a URL a line, as it is or compressed by gzip. */
export class SitemapReader {
  readonly #contentType: string
  readonly #pieces: Uint8Array[] = []
  #size = 0

  constructor(contentType: string) {
    this.#contentType = contentType
  }

  write(bytes: Uint8Array): void {
    this.#size += bytes.length
    if (this.#size <= MAX_SIZE) this.#pieces.push(bytes)
  }

  /**
   * What it lists; undefined for XML of another kind.
   *
   * @throws Error where it is damaged, or larger than a sitemap may be
   */
  async end(): Promise<Sitemap | undefined> {
    if (this.#size > MAX_SIZE) throw new Error(`a sitemap of more than ${MAX_SIZE} bytes`)
    const content = Buffer.concat(this.#pieces)
    const isGzip = content[0] === 0x1f && content[1] === 0x8b
    const bytes = isGzip ? await inflate(content) : content
    const text = decoderFor(this.#contentType, bytes).decode(bytes).trimStart()
    if (text.startsWith('<')) return readXml(text)
    return { lists: 'pages', ...bounded(text.split(/[\r\n]+/)) }
  }
}

function inflate(content: Buffer): Promise<Buffer> {
  return promisify<Buffer, object, Buffer>(gunzip)(content, { maxOutputLength: MAX_SIZE })
}

function readXml(text: string): Sitemap | undefined {
  let root: string | undefined
  let prefix = ''
  let url: string | undefined
  const urls: string[] = []
  const parser = new Parser(
    {
      onopentagname(name) {
        if (root === undefined) {
          // The namespace of sitemaps need not be the one that goes without a prefix.
          prefix = name.slice(0, name.indexOf(':') + 1)
          root = name.slice(prefix.length)
        }
        if (name === `${prefix}loc`) url = ''
      },
      ontext(part) {
        if (url !== undefined) url += part
      },
      onclosetag(name) {
        if (name !== `${prefix}loc` || url === undefined) return
        urls.push(url)
        url = undefined
      },
    },
    { xmlMode: true },
  )
  parser.end(text)
  if (root === 'urlset') return { lists: 'pages', ...bounded(urls) }
  return root === 'sitemapindex' ? { lists: 'sitemaps', ...bounded(urls) } : undefined
}

function bounded(lines: readonly string[]): Pick<Sitemap, 'urls' | 'isCut'> {
  const urls = lines.map((line) => line.trim()).filter(Boolean)
  return { urls: urls.slice(0, MAX_URLS), isCut: urls.length > MAX_URLS }
}
