import { inspect } from 'node:util'
import { type Awaitable, after } from '../awaitable.ts'
import { digest, type KeyPart, keyedDigest, keyParts } from '../key.ts'
import { LRUCache } from '../lru.ts'
import { type HiddenValue, HiddenValues, redactQuery } from '../redaction.ts'
import type { Request } from '../request.ts'
import { fieldValue } from '../rfc9111/fields.ts'
import type { Fields } from '../rfc9111/message.ts'
import { normaliseContent } from './content.ts'
import { decodeComponent, pairsOf } from './form.ts'
import type { KeyTerms } from './terms.ts'

/** A request, as a function that makes keys is given it. */
export interface KeyRequest {
  /** In capitals. */
  readonly method: string
  readonly url: URL
  /** By name in lower case. */
  readonly headers: Readonly<Record<string, string>>
  /** Undefined where there is none. */
  readonly content: Buffer | undefined
}

/** Makes the key of a request, given the one that it would have by default. */
export type CacheKeyFunction = (request: KeyRequest, defaultKey: string) => Awaitable<string>

/** What a request is to the cache. */
export interface Identity {
  readonly cacheKey: string
  /** Its URL as it is stored and told. */
  readonly url: string
  /** The values of its URL and of its content that are neither stored nor told. */
  readonly hidden: readonly HiddenValue[]
}

/** What of a request tells it from others, besides its fields. */
export type Asked = Pick<Request, 'method' | 'target' | 'server' | 'fields' | 'override'>

/** Changes when what users' functions say would lead to other keys than before. */
const OWN_KEY_VERSION = 'caching-agent own key 1'

/**
 * What a request is to the cache. Where nothing is in its key but its method and URL it is found out at
 * once, and the key is a plain digest; with content, secrets or a key of the user's own the secret of the
 * store is part of it, so that nobody can find out by trying what they were.
 *
 * @param content of the request; undefined where there is none
 * @throws (or rejects with) what the user's function throws, and TypeError where it returns no string
 */
export function identify(
  asked: Asked,
  content: Buffer | undefined,
  terms: KeyTerms,
  shared: boolean,
  secret: () => Awaitable<Buffer>,
): Awaitable<Identity> {
  const known = identifyTarget(asked, terms, shared)
  const { override } = asked
  if (content === undefined && override === undefined && terms.cacheKey === undefined) {
    return isIdentity(known) ? known : after(secret(), (key) => keyed(known, key))
  }

  const hidden = new HiddenValues(known.hidden)
  const parts: KeyPart[] = [...known.parts]
  if (override !== undefined) parts.push(`method ${override}`)
  if (content) parts.push(`content ${digest(contentParts(content, asked.fields, terms, hidden))}`)
  const isPlain = isIdentity(known) && content === undefined
  const identity = { url: known.url, hidden: hidden.all }
  return after(secret(), (key): Awaitable<Identity> => {
    const byDefault = isPlain ? digest(parts) : keyedDigest(parts, key)
    if (terms.cacheKey === undefined) return { ...identity, cacheKey: byDefault }
    const own = terms.cacheKey(keyRequest(asked, content), byDefault)
    const withOwn = (text: unknown) => ({ ...identity, cacheKey: ownKey(text, asked, shared, key) })
    return typeof own === 'string' ? withOwn(own) : Promise.resolve(own).then(withOwn)
  })
}

/** The key that a user's function has made. @throws TypeError where it is none */
function ownKey(
  text: unknown,
  { method, server = '' }: Asked,
  shared: boolean,
  key: Buffer,
): string {
  if (typeof text === 'string') {
    return keyedDigest([OWN_KEY_VERSION, method, server, String(shared), text], key)
  }
  throw new TypeError(`cacheKey: expected the function to return a string, got ${inspect(text)}`)
}

/** The identity of a request with nothing but its URL, in which there is a secret. */
function keyed(known: IdentifiedTarget, secret: Buffer): Identity {
  const { parts, url, hidden } = known
  known.identities ??= new WeakMap()
  const identity = known.identities.get(secret) ?? {
    cacheKey: keyedDigest(parts, secret),
    url,
    hidden,
  }
  known.identities.set(secret, identity)
  return identity
}

/** The URL of a request as it is told, without what must not be. */
export function toldUrl(asked: Asked, terms: KeyTerms, shared: boolean): string {
  return identifyTarget(asked, terms, shared).url
}

/** What is known of a request by its method and URL. */
interface IdentifiedTarget {
  /** Undefined where it takes a secret. */
  readonly cacheKey: string | undefined
  readonly parts: readonly string[]
  readonly url: string
  readonly hidden: readonly HiddenValue[]
  /** By the secret that it takes. */
  identities: WeakMap<Buffer, Identity> | undefined
}

function isIdentity(known: IdentifiedTarget): known is IdentifiedTarget & Identity {
  return known.cacheKey !== undefined
}

/** The targets that were asked for recently, which are likely to be asked for again. */
const targets = new LRUCache<string, IdentifiedTarget>({ max: 1000 })

function identifyTarget(asked: Asked, terms: KeyTerms, shared: boolean): IdentifiedTarget {
  const { method, target, server = '' } = asked
  const { ignoredParameters, secretParameters, isDefaultKey } = terms
  const names = isDefaultKey ? '' : `${ignoredParameters.signature} ${secretParameters.signature}`
  const question = `${method} ${target.href} ${server} ${shared}${names}`
  const known = targets.get(question)
  if (known !== undefined) return known

  const hidden = new HiddenValues()
  const isIgnored = (name: string) => ignoredParameters.hasParameter(name)
  const isSecret = (name: string) => !isIgnored(name) && secretParameters.hasParameter(name)
  let hasSecrets = false
  for (const { name: written, value } of pairsOf(target.search.slice(1))) {
    const name = decodeComponent(written)
    if (!isIgnored(name) && !isSecret(name)) continue
    hasSecrets ||= isSecret(name)
    hidden.add('query', name, decodeComponent(value ?? ''), isSecret(name), value)
  }
  const parts = keyParts(asked, shared, isIgnored)
  const isHidden = (name: string) => isIgnored(name) || isSecret(name)
  const found = {
    cacheKey: hasSecrets ? undefined : digest(parts),
    parts,
    url: hidden.all.length === 0 ? target.href : redactQuery(target.href, isHidden),
    hidden: hidden.all,
    identities: undefined,
  }
  targets.set(question, found)
  return found
}

function contentParts(
  content: Buffer,
  fields: Fields,
  { ignoredParameters, secretParameters }: KeyTerms,
  hidden: HiddenValues,
): KeyPart[] {
  const visit = (name: string, value: () => string, isIgnored: boolean, isSecret: boolean) => {
    if (isIgnored || isSecret) hidden.add('content', name, value(), !isIgnored)
    return isIgnored
  }
  return normaliseContent(content, fields, {
    field: (name, value) =>
      visit(name, value, ignoredParameters.hasParameter(name), secretParameters.hasParameter(name)),
    member: (path, value) =>
      visit(
        String(path.at(-1)),
        value,
        ignoredParameters.hasMember(path),
        secretParameters.hasMember(path),
      ),
  })
}

function keyRequest(asked: Asked, content: Buffer | undefined): KeyRequest {
  const { method, target, fields } = asked
  const headers = Object.keys(fields).map((name) => [name, fieldValue(fields, name) ?? ''])
  return {
    method,
    url: new URL(target),
    headers: Object.fromEntries(headers),
    content: content && Buffer.from(content),
  }
}
