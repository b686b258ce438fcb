import type { TextDecoder } from 'node:util'
import { decoderFor, PRESCANNED } from './charset.ts'
import {
  type DocumentLinks,
  type LinkReader,
  linksOfElement,
  linksOfStyle,
  type RawLink,
  resolveLinks,
} from './links.ts'
import { Parser } from './markup.ts'

/** How much of a document is read, in characters. */
const MAX_LENGTH = 16 * 2 ** 20

/** How much the parser gets at a time, in characters: it cannot be stopped in between. */
const PIECE = 16 * 1024

/** How many links of a document are looked at. */
const MAX_LINKS = 50_000

/** How many elements may be open at a time: the parser's effort for an end tag grows with them. */
const MAX_DEPTH = 1000

/** Finds the links of an HTML or XHTML document while it is being received. */
export class HtmlReader implements LinkReader {
  readonly #url: string
  readonly #contentType: string
  readonly #parser: Parser
  readonly #links = new Map<string, RawLink>()
  #start: Uint8Array | undefined = new Uint8Array()
  #decoder: TextDecoder | undefined
  #length = 0
  #depth = 0
  #isCut = false
  #base: string | undefined
  #isNofollow = false
  #style: string | undefined

  /** @param url of the document */
  constructor(url: string, contentType: string) {
    this.#url = url
    this.#contentType = contentType
    const onopentag = (name: string, attributes: Record<string, string>) =>
      this.#open(name, attributes)
    const onclosetag = (name: string) => this.#close(name)
    const ontext = (text: string) => {
      if (this.#style !== undefined) this.#style += text
    }
    const xmlMode = /^application\/xhtml\+xml\b/i.test(contentType)
    this.#parser = new Parser({ onopentag, onclosetag, ontext }, { xmlMode })
  }

  write(bytes: Uint8Array): void {
    if (this.#isCut) return
    if (this.#start) {
      this.#start = Buffer.concat([this.#start, bytes])
      if (this.#start.length >= PRESCANNED) this.#decode(this.#start)
    } else if (this.#decoder) this.#parse(this.#decoder.decode(bytes, { stream: true }))
  }

  end(): DocumentLinks {
    if (this.#start) this.#decode(this.#start)
    if (this.#decoder) this.#parse(this.#decoder.decode())
    this.#parser.end()
    const base = this.#base ?? this.#url
    const isNofollow = this.#isNofollow
    return { ...resolveLinks(this.#links.values(), base), isNofollow, isCut: this.#isCut }
  }

  #decode(start: Uint8Array): void {
    this.#start = undefined
    this.#decoder = decoderFor(this.#contentType, start)
    this.#parse(this.#decoder.decode(start, { stream: true }))
  }

  #parse(text: string): void {
    this.#length += text.length
    if (this.#length > MAX_LENGTH) this.#isCut = true
    for (let at = 0; at < text.length && !this.#isCut; at += PIECE) {
      this.#parser.write(text.slice(at, at + PIECE))
    }
  }

  #open(name: string, attributes: Readonly<Record<string, string>>): void {
    this.#depth += 1
    if (this.#depth > MAX_DEPTH) this.#isCut = true
    if (name === 'style') this.#style = ''
    else if (name === 'base') this.#base ??= this.#baseOf(attributes.href)
    else if (name === 'meta' && attributes.name?.toLowerCase() === 'robots') {
      this.#isNofollow ||= /\b(?:nofollow|none)\b/i.test(attributes.content ?? '')
    }
    for (const link of linksOfElement(name, attributes)) this.#add(link)
  }

  #close(name: string): void {
    this.#depth -= 1
    if (name !== 'style' || this.#style === undefined) return
    for (const link of linksOfStyle(this.#style)) this.#add(link)
    this.#style = undefined
  }

  /** Notes a link, each target once for each way to get there. */
  #add(link: RawLink): void {
    if (link.target.trim() === '') return
    const key = `${link.element} ${link.attribute} ${link.rel} ${link.target}`
    if (this.#links.size < MAX_LINKS) this.#links.set(key, link)
    else if (!this.#links.has(key)) this.#isCut = true
  }

  /** The first `base` with a URL counts, wherever it is, for all links (HTML §4.2.3). */
  #baseOf(href: string | undefined): string | undefined {
    if (href === undefined) return undefined
    const url = URL.parse(href, this.#url)
    return url === null || /^(?:data|javascript):$/.test(url.protocol) ? this.#url : url.href
  }
}
