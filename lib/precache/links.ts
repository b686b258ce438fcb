import { cssUrls } from './css.ts'
import { srcsetUrls } from './srcset.ts'

/** What a link leads to: something to read, or something that is loaded with it. */
export type LinkKind = 'page' | 'asset'

/** A link as it was found in a document. */
export interface FoundLink {
  /** Absolute, without a fragment. */
  readonly url: string
  readonly kind: LinkKind
  /** The element that it is from, such as `'a'` or `'img'`; `'style'` in a style sheet. */
  readonly element: string
  /** The attribute, such as `'href'`; `'url'` in a style sheet. */
  readonly attribute: string
  /** The link types of `rel`, in lower case, separated by spaces. */
  readonly rel: string
}

/** A link before it is resolved. */
export type RawLink = Omit<FoundLink, 'url'> & { readonly target: string }

/** What was found in a document. */
export interface DocumentLinks {
  readonly links: readonly FoundLink[]
  /** Targets that are no URLs. */
  readonly malformed: readonly string[]
  /** Whether the document asks that none of its links to pages be followed. */
  readonly isNofollow?: boolean
  /** Whether it was too large, or nested too deeply, to be read to its end. */
  readonly isCut: boolean
}

/** Finds the links of a document while it is being received. */
export interface LinkReader {
  write(bytes: Uint8Array): void
  end(): DocumentLinks
}

type Attributes = Readonly<Record<string, string>>

/** The attributes that hold a URL, by element; `image` and `use` are SVG's. */
const URL_ATTRIBUTES: Readonly<Record<string, Readonly<Record<string, LinkKind>>>> = {
  a: { href: 'page', 'xlink:href': 'page' },
  area: { href: 'page' },
  audio: { src: 'asset' },
  embed: { src: 'asset' },
  frame: { src: 'page' },
  iframe: { src: 'page' },
  image: { href: 'asset', 'xlink:href': 'asset' },
  img: { src: 'asset' },
  object: { data: 'asset' },
  script: { src: 'asset' },
  source: { src: 'asset' },
  track: { src: 'asset' },
  use: { href: 'asset', 'xlink:href': 'asset' },
  video: { src: 'asset', poster: 'asset' },
}

const SRCSET_ATTRIBUTES: Readonly<Record<string, string>> = {
  img: 'srcset',
  source: 'srcset',
  link: 'imagesrcset',
}

/** Link types of `link` elements whose targets are loaded with the page. */
const ASSET_TYPES = new Set([
  'apple-touch-icon',
  'apple-touch-icon-precomposed',
  'icon',
  'manifest',
  'mask-icon',
  'modulepreload',
  'preload',
  'stylesheet',
])

/** Link types of `link` elements whose targets are not for reading. */
const NO_CONTENT_TYPES = new Set(['dns-prefetch', 'pingback', 'preconnect'])

const REFRESH =
  /^\s*(?:\d[\d.]*|\.[\d.]*)(?:\s*[;,]\s*|\s+)(?:url\s*=\s*)?(?:"([^"]*)|'([^']*)|(.*))/is

const ELEMENTS = new Set([
  ...Object.keys(URL_ATTRIBUTES),
  ...Object.keys(SRCSET_ATTRIBUTES),
  'input',
  'meta',
])

/** The links of one element. */
export function linksOfElement(element: string, attributes: Attributes): readonly RawLink[] {
  const ofStyle = attributes.style === undefined ? [] : linksOfStyle(attributes.style)
  // Most elements are none of these.
  return ELEMENTS.has(element) ? [...ofStyle, ...linksOfAttributes(element, attributes)] : ofStyle
}

function* linksOfAttributes(element: string, attributes: Attributes): Generator<RawLink> {
  const types = (attributes.rel ?? '').toLowerCase().split(/\s+/).filter(Boolean)
  const rel = types.join(' ')
  const link = (attribute: string, kind: LinkKind, target: string): RawLink => {
    return { target, kind, element, attribute, rel }
  }
  for (const [attribute, kind] of Object.entries(URL_ATTRIBUTES[element] ?? {})) {
    const target = attributes[attribute]
    if (target !== undefined) yield link(attribute, kind, target)
  }
  const srcset = SRCSET_ATTRIBUTES[element]
  if (srcset !== undefined) {
    for (const url of srcsetUrls(attributes[srcset] ?? '')) yield link(srcset, 'asset', url)
  }
  if (element === 'link' && attributes.href !== undefined) {
    const isOfUse = types.some((type) => !NO_CONTENT_TYPES.has(type))
    const kind = types.some((type) => ASSET_TYPES.has(type)) ? 'asset' : 'page'
    if (isOfUse) yield link('href', kind, attributes.href)
  } else if (element === 'input' && attributes.type?.toLowerCase() === 'image') {
    if (attributes.src !== undefined) yield link('src', 'asset', attributes.src)
  } else if (element === 'meta' && attributes['http-equiv']?.toLowerCase() === 'refresh') {
    const [, ...targets] = REFRESH.exec(attributes.content ?? '') ?? []
    const target = targets.find((each) => each !== undefined)
    if (target !== undefined) yield link('content', 'page', target)
  }
}

/** The links of a style sheet, or of a part of one. */
export function linksOfStyle(css: string): RawLink[] {
  return cssUrls(css).map((target) => {
    return { target, kind: 'asset', element: 'style', attribute: 'url', rel: '' }
  })
}

/** Resolves links against the URL of their document, or what it declares instead. Only http and https count. */
export function resolveLinks(
  links: Iterable<RawLink>,
  base: string,
): Pick<DocumentLinks, 'links' | 'malformed'> {
  const found: FoundLink[] = []
  const malformed: string[] = []
  for (const { target, ...link } of links) {
    const url = URL.parse(target, base)
    if (url === null) malformed.push(target.trim())
    else if (/^https?:$/.test(url.protocol)) {
      url.hash = ''
      found.push({ url: url.href, ...link })
    }
  }
  return { links: found, malformed }
}
