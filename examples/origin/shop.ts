// A small shop, whose responses have tags as those of shops behind a CDN do.

import { createHash } from 'node:crypto'
import { type Origin, startServer } from './server.ts'

export interface Shop extends Origin {
  /** What there is, and what there is not any more. */
  readonly paths: readonly string[]
  setPrice(product: string, price: number): void
}

export async function startShop(): Promise<Shop> {
  const prices = new Map([
    ['chair', 80],
    ['lamp', 59],
    ['table', 240],
  ])

  /** The type and content of a page or image, and the products that it shows; undefined where there is none. */
  function page(
    path: string,
  ): [type: string, content: string | Buffer, products: string[]] | undefined {
    if (path === '/products') {
      const list = [...prices].map(([product, price]) => `${product}: ${price}`).join('\n')
      return ['text/plain', list, [...prices.keys()]]
    }
    const [, kind, product = ''] = /^\/(products|images)\/(\w+)/.exec(path) ?? []
    const price = prices.get(product)
    if (price === undefined) return undefined
    return kind === 'images'
      ? ['image/png', Buffer.alloc(1000 * product.charCodeAt(0), product), [product]]
      : ['text/plain', `A ${product} for ${price}`, [product]]
  }

  const origin = await startServer(({ url = '', headers }, response) => {
    const found = page(url)
    if (found === undefined) return void response.writeHead(404).end('Sold out')
    const [type, content, products] = found
    const etag = `"${createHash('sha256').update(content).digest('hex').slice(0, 16)}"`
    const isKnown = headers['if-none-match'] === etag
    const fields = { 'Content-Type': type, ETag: etag, 'Cache-Tag': products.join(',') }
    response.writeHead(isKnown ? 304 : 200, fields).end(isKnown ? undefined : content)
  })

  const products = [...prices.keys()].flatMap((name) => [
    `/products/${name}`,
    `/images/${name}.png`,
  ])
  return {
    ...origin,
    paths: ['/products', ...products, '/products/sofa'],
    setPrice: (product, price) => void prices.set(product, price),
  }
}
