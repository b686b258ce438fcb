import { parse, type DefaultTreeAdapterTypes as Tree } from 'parse5'

/** A link in short: the element, its attribute and the URL. */
export type ShortLink = `${string}[${string}] ${string}`

/** Attributes that hold one URL each, as selectors. */
const SELECTORS =
  'a[href] area[href] iframe[src] frame[src] img[src] script[src] source[src] audio[src] video[src] ' +
  'video[poster] track[src] embed[src] object[data] image[href] use[href]'
const SINGLE = new Set(SELECTORS.split(' '))

/**
 * The links of HTML as another parser finds them, which builds the tree that browsers build; without
 * repetition, sorted. Only what it shares with what is tested is said here: which attributes hold URLs.
 */
export function linksByTree(html: string, documentUrl: string): ShortLink[] {
  const elements = [...elementsOf(parse(html, { scriptingEnabled: false }))]
  const bases = elements.filter(({ tagName }) => tagName === 'base')
  const href = bases.map((base) => attributeOf(base, 'href')).find((value) => value !== undefined)
  const declared = href === undefined ? null : URL.parse(href, documentUrl)
  const isUsable = declared && !/^(data|javascript):/.test(declared.href)
  const base = isUsable ? declared.href : documentUrl

  const links = elements.flatMap((element) =>
    targetsOf(element).flatMap(([attribute, target]): ShortLink[] => {
      const url = target.trim() === '' ? null : URL.parse(target, base)
      if (url === null || !['http:', 'https:'].includes(url.protocol)) return []
      const [address = ''] = url.href.split('#', 1)
      return [`${element.tagName}[${attribute}] ${address}`]
    }),
  )
  return [...new Set(links)].sort()
}

function* elementsOf(root: Tree.Document): Generator<Tree.Element> {
  const waiting: Tree.Node[] = [root]
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if ('tagName' in node) yield node
    if ('content' in node) waiting.push(node.content)
    if ('childNodes' in node) waiting.push(...[...node.childNodes].reverse())
  }
}

function attributeOf({ attrs }: Tree.Element, name: string): string | undefined {
  const found = attrs.find(
    (each) => (each.prefix ? `${each.prefix}:${each.name}` : each.name) === name,
  )
  return found?.value
}

function targetsOf(element: Tree.Element): [attribute: string, target: string][] {
  const { tagName, attrs } = element
  const all: [string, string][] = attrs.map(({ name, value }) => [name, value])
  const value = (name: string) => attributeOf(element, name) ?? ''
  const single = all.filter(([name]) => SINGLE.has(`${tagName}[${name}]`))
  const sets = all.filter(
    ([name]) =>
      (name === 'srcset' && ['img', 'source'].includes(tagName)) ||
      (name === 'imagesrcset' && tagName === 'link'),
  )
  const candidates = sets.flatMap(([name, set]) =>
    // Good enough for URLs without commas.
    set
      .split(',')
      .map((candidate): [string, string] => [name, candidate.trim().split(/\s/)[0] ?? '']),
  )
  const types = value('rel').toLowerCase().split(/\s+/).filter(Boolean)
  const isLink =
    tagName === 'link' &&
    types.some((type) => !['dns-prefetch', 'preconnect', 'pingback'].includes(type))
  const isImage = tagName === 'input' && value('type').toLowerCase() === 'image'
  const others = all.filter(([name]) => (isLink && name === 'href') || (isImage && name === 'src'))
  return [...single, ...candidates, ...others]
}
