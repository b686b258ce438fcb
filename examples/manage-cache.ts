// Looks into a cache and changes it: stored responses are listed, counted, kept longer, marked as stale and
// deleted, by what they are like and by tags.
// With the path of a cache file: shows what is in that. Without: visits a shop on this machine, and changes it.

import { cacheInfo, cachingAgent, HttpCache, type ResponseQuery } from 'caching-agent'
import { setGlobalDispatcher } from 'undici'
import { dispatcherTo } from './origin/any-host.ts'
import { startShop } from './origin/shop.ts'
import { temporaryFolder } from './origin/temporary-folder.ts'

/** What is stored, a line each; no content is read. */
async function list(cache: HttpCache, query: ResponseQuery): Promise<void> {
  for await (const { status, url, contentType, size, expires, tags } of cache.entries(query)) {
    const until = `until ${expires?.toISOString().slice(0, 10) ?? 'for ever'}`
    const about = [contentType, `${size} bytes`, until, ...tags].filter(Boolean).join(', ')
    console.log(`  ${status} ${url}: ${about}`)
  }
}

async function look(path: string): Promise<void> {
  const cache = new HttpCache({ store: `sqlite://${path}` })
  console.log(`${await cache.count()} responses, ${await cache.size()} bytes. The largest of them:`)
  await list(cache, { sort: 'size', descending: true, limit: 20 })
  await cache.close()
}

async function visitAndChange(): Promise<void> {
  const shop = await startShop()
  const agent = cachingAgent({
    store: `sqlite://${temporaryFolder()}/shop.sqlite`,
    expireAfter: { 404: '1h', '*': '1d' },
    tags: 'Cache-Tag',
    dispatcher: dispatcherTo(shop),
  })
  setGlobalDispatcher(agent)
  const { cache } = agent
  const visit = async (path: string) => {
    const response = await fetch(`https://shop.example${path}`)
    const content = await response.text()
    console.log(`  ${path}: ${cacheInfo(response)?.status}`)
    return content
  }
  for (const path of shop.paths) await visit(path)

  console.log(`${await cache.count()} responses, the largest first:`)
  await list(cache, { sort: 'size', descending: true })
  const images = { contentType: 'image/*' }
  console.log(`${await cache.count(images)} images, ${await cache.size(images)} bytes`)

  console.log(`Kept for a month: ${await cache.resetExpiration('30d', images)}`)
  await list(cache, images)

  console.log('The price of a product changes, and so do all pages that show it:')
  shop.setPrice('lamp', 49)
  console.log(`Marked as stale: ${await cache.expire({ tag: 'lamp' })}`)
  console.log(await visit('/products/lamp'))
  console.log(await visit('/products'))
  await visit('/images/lamp.png')
  await visit('/products/chair')

  console.log(`Errors deleted: ${await cache.delete({ status: ['4xx', '5xx'] })}`)
  console.log(`Images deleted: ${await cache.delete({ pattern: 'shop.example/images' })}`)
  console.log(`Pages deleted: ${await cache.delete('https://shop.example/products')}`)

  const offer = { headers: { 'Cache-Tag': 'lamp' }, body: 'This week: a lamp for 39' }
  await cache.save('https://shop.example/offer', offer, { expireAfter: '7d' })
  console.log(`Saved by hand: ${await visit('/offer')}`)

  await cache.vacuum()
  const { isSound } = await cache.check()
  console.log(`What is left is ${isSound ? 'sound' : 'damaged'}:`)
  for (const url of await cache.urls()) console.log(`  ${url}`)
  await agent.close()
  await shop.close()
}

const [path] = process.argv.slice(2)
if (path) await look(path)
else await visitAndChange()
