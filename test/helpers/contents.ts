import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { buffer } from 'node:stream/consumers'
import type { TestContext } from 'node:test'
import { origin } from './origin.ts'

/** A request as an origin has received it, with its content. */
export interface Received {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly content: string
}

/** An origin that reads the content of requests; the answer to each is told by its number unless told otherwise. */
export async function contentOrigin(
  t: Pick<TestContext, 'after'>,
  answer: (request: Received, response: ServerResponse, count: number) => unknown = number,
): Promise<{ readonly url: string; readonly received: Received[] }> {
  const received: Received[] = []
  const { url } = await origin(t, async (request: IncomingMessage, response) => {
    const content = (await buffer(request).catch(() => Buffer.alloc(0))).toString('latin1')
    const { method = '', url: path = '', headers } = request
    const one = { method, path, headers, content }
    received.push(one)
    answer(one, response, received.length)
  })
  return { url, received }
}

function number(_: Received, response: ServerResponse, count: number): void {
  response.end(`answer ${count}`)
}
