// A GraphQL API of an example: it knows some countries, and one query.

import { json } from 'node:stream/consumers'
import { type Origin, startServer } from './server.ts'

const COUNTRIES: Readonly<
  Record<string, { capital: string; name: Readonly<Record<string, string>> }>
> = {
  BR: { capital: 'Brasília', name: { en: 'Brazil', pt: 'Brasil' } },
  JP: { capital: 'Tokyo', name: { en: 'Japan', pt: 'Japão' } },
}

/** Starts the API. */
export async function startGraphql(): Promise<Origin & { readonly received: number }> {
  let received = 0
  const origin = await startServer(async (request, response) => {
    received += 1
    const { variables } = (await json(request)) as { variables: { code: string; lang: string } }
    const country = COUNTRIES[variables.code]
    const data = country
      ? { country: { name: country.name[variables.lang], capital: country.capital } }
      : { country: null }
    response.setHeader('Content-Type', 'application/graphql-response+json')
    response.end(JSON.stringify({ data }))
  })
  return {
    ...origin,
    get received() {
      return received
    },
  }
}
