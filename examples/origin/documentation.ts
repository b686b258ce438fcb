// A documentation site: the documents of a folder, and a page that links all of them.

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { atDistance } from './distance.ts'
import { serveFiles } from './files.ts'
import { findNginx, startNginx } from './nginx.ts'
import { type Origin, startServer } from './server.ts'

/** Documentation that is there wherever this is: of the packages that the cache is developed with. */
const INSTALLED = fileURLToPath(new URL('../../node_modules/', import.meta.url))

/** Neither what tools keep beside the packages, nor Node's own package, which links what only its repository has. */
const DOCUMENT = /^(?!\.|node\/).*\.(html|md|d\.[cm]?ts)$/

/** A site, and the page to start from. */
export interface Site extends Origin {
  readonly page: string
  readonly server: string
}

/**
 * Serves a folder of documents with an index, or the folder of a page with that page: by nginx where
 * there is one (unless ORIGIN=node), otherwise by Node; 50 milliseconds away (or DISTANCE).
 */
export async function startSite(docs: string = INSTALLED): Promise<Site> {
  const nginx = process.env.ORIGIN === 'node' ? undefined : findNginx()
  const isPage = docs.endsWith('.html')
  const root = isPage ? dirname(docs) : docs
  const folder = mkdtempSync(join(tmpdir(), 'documentation-'))
  const index = join(folder, 'index.html')
  if (!isPage) writeFileSync(index, indexPage(root))

  const elsewhere = isPage ? {} : { '/all-documents.html': index }
  const near = nginx
    ? await startNginx(nginx, root, elsewhere)
    : await startServer(serveFiles(root, elsewhere))
  const distance = Number(process.env.DISTANCE ?? 50)
  const origin = await atDistance(near, distance)
  return {
    url: origin.url,
    page: `${origin.url}/${isPage ? basename(docs) : 'all-documents.html'}`,
    server: `${nginx ? 'nginx' : 'Node'}, ${distance} ms away,`,
    async close() {
      await origin.close()
      rmSync(folder, { recursive: true })
    },
  }
}

/** Links all documents of a folder and what they link on the same site, and three links that are bad for certain. */
function indexPage(root: string): string {
  const documents = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((path) => path.replaceAll('\\', '/'))
    .filter((path) => DOCUMENT.test(path) && existsSync(join(root, path)))
    .sort()
  const sections = documents.map((path) => {
    const links = localLinks(readFileSync(join(root, path), 'utf8'), `http://site/${path}`)
    return `<h2>${anchor(`/${path}`)}</h2>\n${links.map(anchor).join('\n')}`
  })
  // Nobody listens at a port that is neither given to servers that ask for any nor of a service in use.
  const bad = ['/no/such/document.html', 'http://127.0.0.1:2/', 'http://[bad/']
  return `<!doctype html>\n<title>Documents</title>\n${[...sections, ...bad.map(anchor)].join('\n')}`
}

/** The links of HTML and Markdown that stay on the site: the index is for use without a network. */
function localLinks(text: string, base: string): string[] {
  const targets = [...text.matchAll(/\bhref="([^"<>]+)"|\]\(([^\s()<>]+)\)/g)]
    .map(([, html, markdown]) => (html ?? markdown ?? '').replaceAll('&amp;', '&'))
    .filter((target) => !target.startsWith('#') && URL.canParse(target, base))
    .map((target) => new URL(target, base))
  return [...new Set(targets.filter(({ host }) => host === 'site').map(({ pathname }) => pathname))]
}

function anchor(target: string): string {
  return `<a href="${target.replaceAll('&', '&amp;').replaceAll('"', '%22')}">${target}</a>`
}
