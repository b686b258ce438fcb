import { decoderFor } from './charset.ts'
import { type DocumentLinks, type LinkReader, linksOfStyle, resolveLinks } from './links.ts'

/** How much of a style sheet is read, in bytes. */
const MAX_SIZE = 2 * 2 ** 20

/** Finds the links of a style sheet. */
export class StylesheetReader implements LinkReader {
  readonly #url: string
  readonly #contentType: string
  readonly #pieces: Uint8Array[] = []
  #size = 0
  #isCut = false

  /** @param url of the style sheet */
  constructor(url: string, contentType: string) {
    this.#url = url
    this.#contentType = contentType
  }

  write(bytes: Uint8Array): void {
    this.#size += bytes.length
    if (this.#size > MAX_SIZE) this.#isCut = true
    else this.#pieces.push(bytes)
  }

  end(): DocumentLinks {
    const bytes = Buffer.concat(this.#pieces)
    const css = decoderFor(this.#contentType, bytes).decode(bytes)
    return { ...resolveLinks(linksOfStyle(css), this.#url), isCut: this.#isCut }
  }
}
