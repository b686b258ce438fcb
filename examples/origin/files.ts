// Serves the files of a folder as a real web server does: with validators, 304 and compression.

import { createReadStream, type Stats } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { extname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'

/** The media types of the files by their extension. */
export const MEDIA_TYPES: Readonly<Record<string, string>> = {
  css: 'text/css',
  html: 'text/html',
  js: 'text/javascript',
  json: 'application/json',
  md: 'text/markdown',
  png: 'image/png',
  svg: 'image/svg+xml',
  ts: 'text/plain',
  txt: 'text/plain',
}

/** Answers with the files of a folder, except for those that are kept elsewhere: path of the URL to file. */
export function serveFiles(
  root: string,
  elsewhere: Readonly<Record<string, string>> = {},
): RequestListener {
  return async (request, response) => {
    try {
      // The parser of URLs has resolved all dot segments, so no path leads out of the folder.
      const { pathname } = new URL(request.url ?? '/', 'http://localhost')
      const path = decodeURIComponent(pathname)
      const file = elsewhere[path] ?? join(root, path)
      await serveFile(file, await stat(file), request, response)
    } catch {
      if (response.headersSent) response.destroy()
      else response.writeHead(404).end('Not found')
    }
  }
}

async function serveFile(
  file: string,
  { size, mtime }: Stats,
  { headers, method }: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const type = MEDIA_TYPES[extname(file).slice(1)] ?? 'application/octet-stream'
  const zips = !type.startsWith('image/') && /\bgzip\b/.test(String(headers['accept-encoding']))
  const etag = `W/"${mtime.getTime().toString(16)}-${size.toString(16)}"`
  response.setHeader('ETag', etag)
  response.setHeader('Last-Modified', mtime.toUTCString())
  response.setHeader('Vary', 'Accept-Encoding')
  if (isUnchanged(headers, etag, mtime)) return void response.writeHead(304).end()
  response.setHeader('Content-Type', type)
  if (zips) response.setHeader('Content-Encoding', 'gzip')
  else response.setHeader('Content-Length', size)
  if (method === 'HEAD') return void response.end()
  if (zips) await pipeline(createReadStream(file), createGzip(), response)
  else await pipeline(createReadStream(file), response)
}

function isUnchanged(headers: IncomingMessage['headers'], etag: string, mtime: Date): boolean {
  const known = headers['if-none-match']
  if (known !== undefined) return known.split(/,\s*/).includes(etag)
  return Math.floor(mtime.getTime() / 1000) * 1000 <= Date.parse(headers['if-modified-since'] ?? '')
}
