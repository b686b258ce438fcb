/** A part of multipart content. */
export interface Part {
  /** The bytes of its header section as latin1, without the line break at its end. */
  readonly header: string
  readonly content: Buffer
}

const LINE = Buffer.from('\r\n')
const HEADER_END = Buffer.from('\r\n\r\n')

/** The parts of multipart content (RFC 2046 §5.1.1); undefined where it is not what its boundary promises. */
export function parseMultipart(content: Buffer, boundary: string): Part[] | undefined {
  const delimiter = Buffer.from(`\r\n--${boundary}`)
  // What a preamble or an epilogue says is nothing of any part.
  const first = delimiter.subarray(2)
  if (boundary === '' || !content.subarray(0, first.length).equals(first)) return undefined
  const parts: Part[] = []
  let position = first.length
  while (content.subarray(position, position + 2).equals(LINE)) {
    // A part without header fields begins with the empty line.
    const headerEnd = content.indexOf(HEADER_END, position)
    const end = content.indexOf(delimiter, position)
    if (headerEnd === -1 || end < headerEnd + 4) return undefined
    parts.push({
      header: content.toString('latin1', position + 2, Math.max(headerEnd, position + 2)),
      content: content.subarray(headerEnd + 4, end),
    })
    position = end + delimiter.length
  }
  const rest = content.toString('latin1', position)
  return rest === '--' || rest === '--\r\n' ? parts : undefined
}

/** The name of a field of `multipart/form-data` (RFC 7578 §4.2); undefined where it has none. */
export function fieldName({ header }: Part): string | undefined {
  const [, name] = /^content-disposition:.*;\s*name="([^"]*)"/im.exec(header) ?? []
  if (name === undefined) return undefined
  // As browsers and fetch escape it.
  const unescaped = name.replace(/%(?:22|0d|0a)/gi, (encoded) => decodeURIComponent(encoded))
  return Buffer.from(unescaped, 'latin1').toString()
}

/** Whether a part is a file, which has a name of its own. */
export function isFile({ header }: Part): boolean {
  return /^content-disposition:.*;\s*filename\*?=/im.test(header)
}

/** What `FormData` of any origin is to be read by. */
export interface FormDataLike extends Iterable<[name: string, value: string | Blob]> {
  readonly [Symbol.toStringTag]: string
}

/** `FormData` as `multipart/form-data` content, as `fetch` would send it. */
export async function writeForm(form: FormDataLike, boundary: string): Promise<Buffer> {
  const pieces: Buffer[] = []
  for (const [name, value] of form) {
    const isText = typeof value === 'string'
    const { name: fileName = '' } = isText ? {} : (value as { name?: string })
    const type = isText ? '' : `\r\nContent-Type: ${value.type || 'application/octet-stream'}`
    const file = fileName && `; filename="${escapeName(fileName)}"`
    const disposition = `form-data; name="${escapeName(withLineBreaks(name))}"${file}`
    const header = `--${boundary}\r\nContent-Disposition: ${disposition}${type}`
    const content = isText ? withLineBreaks(value) : await value.arrayBuffer()
    pieces.push(Buffer.from(`${header}\r\n\r\n`), Buffer.from(content as string), LINE)
  }
  return Buffer.concat([...pieces, Buffer.from(`--${boundary}--\r\n`)])
}

function withLineBreaks(text: string): string {
  return text.replace(/\r?\n|\r/g, '\r\n')
}

function escapeName(name: string): string {
  return name.replace(/["\r\n]/g, encodeURIComponent)
}
