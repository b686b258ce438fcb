import { inspect } from 'node:util'
import type { Dispatcher } from 'undici'
import type { HttpCache } from './cache.ts'
import { contextTerms } from './context.ts'
import { type LifetimeByStatus, lifetimeOf } from './expiration.ts'
import { type ExplainedTerm, Explanation, type JsonValue, type Prospect } from './explanation.ts'
import { ActiveRequests } from './handlers/active-requests.ts'
import { RequestControl } from './handlers/request-control.ts'
import { readHeaderFields } from './header-fields.ts'
import { ALL_FIELDS, OTHER_CREDENTIALS } from './key/fields.ts'
import { toldUrl } from './key/identity.ts'
import { Parameters, SECRET_FIELDS } from './key/parameters.ts'
import { keyTerms } from './key/terms.ts'
import { type Caching, Lookup, type PassReason } from './lookup.ts'
import { whyPassBy } from './passing.ts'
import { reasonOfRefusal } from './refusal.ts'
import { type Request, readRequest } from './request.ts'
import { answer } from './rfc9111/answer.ts'
import { expirationTime, remainingFreshness } from './rfc9111/freshness.ts'
import { type Reuse, reuse } from './rfc9111/reuse.ts'
import { mayUseOnError } from './rfc9111/staleness.ts'
import { conditionalFields } from './rfc9111/validation.ts'
import { decidesItself, mayBeSent, type RequestTerms, type Rules, ruledLifetime } from './rules.ts'
import { type Entry, keptUntil } from './storage/entry.ts'
import { contentTypes, type StoredRequest } from './stored-request.ts'
import {
  checkNames,
  nestTerms,
  type ParsedTerms,
  parseTerms,
  TERM_NAMES,
  type Terms,
} from './terms.ts'

/** A request that is not made, but explained. */
export interface ExplainedRequest extends Omit<StoredRequest, 'body'> {
  /**
   * Its content, as it would be given to `fetch` or to undici; a stream is not read. Text is taken to be sent
   * as `fetch` does, with a `Content-Type`, where the fields name none; or as `request` does, without one, where
   * that is what is stored.
   */
  readonly body?: unknown
  /** Terms of its own. Those of the async context count without being named. */
  readonly terms?: Terms
}

/** By what rules a request would be answered from what cache. */
export interface Circumstances {
  readonly cache: HttpCache
  readonly rules: Rules
  /** The terms for all requests of an agent. */
  readonly own?: ParsedTerms | undefined
}

/**
 * What would become of a request, and why.
 *
 * @throws TypeError where the URL is none or the terms are malformed; Error where the store fails
 */
export async function explain(
  { cache, rules, own }: Circumstances,
  url: string | URL,
  init: ExplainedRequest = {},
): Promise<Explanation> {
  checkNames('explain', init, ['method', 'headers', 'body', 'terms'])
  const [options, ...others] = dispatchOptions(url, init)
  const request = readRequest(options)
  if (request === undefined) {
    throw new TypeError(`explain: expected an http or https URL, got ${inspect(url)}`)
  }
  const ofRequest = [
    contextTerms(),
    init.terms && parseTerms(init.terms, 'explain.terms'),
  ].reduce<ParsedTerms>((outer, inner) => nestTerms(outer, inner ?? {}), own ?? {})
  const { method } = request
  let ofRule: ReturnType<Rules['ruleFor']>
  let terms: RequestTerms
  try {
    ofRule = rules.ruleFor(request.target)
    terms = rules.termsFor(request.target, ofRequest)
  } catch {
    // A function of the user's threw; as a request it would pass by.
    const known = explainTerms(rules, {}, ofRequest, undefined)
    const asked = toldUrl(request, keyTerms({ ...rules.ofAgent, ...ofRequest }), cache.shared)
    const explained = { method, url: asked, rule: undefined }
    const passing = passingBy('rule-failed', request, rules.termsFor(undefined, ofRequest))
    return new Explanation({ ...explained, ...known, ...passing })
  }
  const known = explainTerms(rules, ofRule?.terms ?? {}, ofRequest, terms)
  const asked = toldUrl(request, terms, cache.shared)
  const explained = {
    method,
    url: asked,
    ...known,
    rule: ofRule && patternText(ofRule.pattern),
  }

  const bypass = whyPassBy(request, terms)
  if (bypass) return new Explanation({ ...explained, ...passingBy(bypass, request, terms) })
  let preview = await previewOf({ cache, rules }, options, request, terms)
  for (const other of others) {
    if (hasStored(preview)) break
    const meant = await previewOf({ cache, rules }, other, readRequest(other) ?? request, terms)
    if (hasStored(meant)) preview = meant
  }
  if ('bypass' in preview) {
    return new Explanation({ ...explained, ...passingBy(preview.bypass, request, terms) })
  }

  const { key, candidates, decision } = preview
  const all = [...(await cache.responses.all(key)), ...candidates]
  const selected = 'stored' in decision ? decision.stored : undefined
  const stored = [...new Map(all.map((one) => [one.generation, one])).values()]
  const now = Date.now()
  return new Explanation({
    ...explained,
    key,
    stored: stored.map((entry) => describe(entry, entry.generation === selected?.generation)),
    now: prospectOf(decision, preview.request, terms, now),
    later: laterProspects(preview, terms, now),
  })
}

/** What may be dispatched for a request, as it is made by `fetch` and by `request`. */
function dispatchOptions(
  url: string | URL,
  { method = 'GET', headers: given = {}, body }: ExplainedRequest,
): readonly [Dispatcher.DispatchOptions, ...Dispatcher.DispatchOptions[]] {
  if (!URL.canParse(String(url))) {
    throw new TypeError(`explain: expected an absolute URL, got ${inspect(url)}`)
  }
  const { origin, pathname, search } = new URL(url)
  const headers = readHeaderFields(given, 'explain.headers')
  const content = body instanceof URLSearchParams ? body.toString() : body
  const optionsWith = (type: string | undefined): Dispatcher.DispatchOptions => ({
    origin,
    path: pathname + search,
    method: method as 'GET',
    headers: { ...(type && { 'content-type': type }), ...headers } as Record<string, string>,
    body: (content ?? null) as NonNullable<Dispatcher.DispatchOptions['body']>,
  })
  if (headers['content-type'] !== undefined) return [optionsWith(undefined)]
  const [type, ...others] = contentTypes(body)
  return [optionsWith(type), ...others.map(optionsWith)]
}

/** What would become of a request that is not made. */
type Preview =
  | { readonly bypass: PassReason }
  | {
      readonly decision: Reuse<Entry>
      /** The stored responses that may answer. */
      readonly candidates: readonly Entry[]
      /** The request as the cache compares it. */
      readonly request: Request
      readonly key: string
    }

/** Whether anything is stored that may answer. */
function hasStored(preview: Preview): boolean {
  return 'candidates' in preview && preview.candidates.length > 0
}

/** What the cache would do with a request, found out as if it were made. */
async function previewOf(
  { cache, rules }: Circumstances,
  options: Dispatcher.DispatchOptions,
  asked: Request,
  terms: RequestTerms,
): Promise<Preview> {
  const active = new ActiveRequests()
  const caching: Caching = { cache, rules, ownsCache: false, cacheStatus: false, active }
  const lookup = new Lookup(new RequestControl({}), caching, terms, options, asked, true)
  const bypass = await lookup.identify()
  if (bypass !== undefined) return { bypass }
  const candidates = await lookup.find()
  const { request, cacheKey: key } = lookup
  const decision = reuse(request, candidates, Date.now(), terms)
  return { decision, candidates, request, key }
}

function passingBy(reason: NonNullable<Prospect['reason']>, request: Request, terms: RequestTerms) {
  const now: Prospect = mayBeSent(request, terms)
    ? { ...NOTHING, outcome: 'bypass', reason }
    : refusal(terms)
  return { key: undefined, stored: [], now, later: [] }
}

/** What becomes of a request that nothing stored answers, and that may not be sent. */
function refusal(terms: RequestTerms): Prospect {
  const status = terms.missing === 'status' ? 504 : undefined
  return { ...NOTHING, outcome: 'miss', reason: reasonOfRefusal(terms), status }
}

const NOTHING = {
  reason: undefined,
  status: undefined,
  conditions: undefined,
  isStaleIfError: false,
} as const

/** The terms that apply, each with who says it, and who decides how long a response is fresh. */
function explainTerms(
  { ofAgent }: Rules,
  ofRule: ParsedTerms,
  ofRequest: ParsedTerms,
  effective: RequestTerms | undefined,
): Pick<Explanation, 'terms' | 'decides'> {
  const terms: Record<string, ExplainedTerm> = {}
  for (const name of TERM_NAMES) {
    const [from, value] = (
      [
        ['request', ofRequest[name]],
        ['rule', ofRule[name]],
        ['agent', ofAgent[name]],
        ['default', effective && byDefault(effective, name)],
      ] as const
    ).find(([, said]) => said !== undefined) ?? ['default', undefined]
    if (value !== undefined) terms[name] = { value: asWritten(name, value), from }
  }
  return { terms, decides: whoDecides(terms, effective) }
}

/** What applies where nobody has said it. */
function byDefault(effective: RequestTerms, name: keyof Terms): unknown {
  if (name === 'expireAfter' || UNSAID.includes(name)) return undefined
  return name === 'cacheControl' ? decidesItself(effective, USUAL) : effective[name]
}

/** What is not worth a word where nobody says it. */
const UNSAID: readonly string[] = ['mode', 'missing', 'readOnly']

/** The status code of the responses that are explained. */
const USUAL = { status: 200 }

/** Who decides about a response with the usual status code. */
function whoDecides(
  { expireAfter }: Readonly<Record<string, ExplainedTerm>>,
  effective: RequestTerms | undefined,
): Explanation['decides'] {
  if (effective === undefined) return expireAfter?.from ?? 'default'
  const byRule = ruledLifetime(effective, USUAL)
  const isByOrigin = decidesItself(effective, USUAL)
  if (byRule && !(byRule.isFallback && isByOrigin)) return expireAfter?.from ?? 'rule'
  if (isByOrigin) return 'origin'
  return lifetimeOf(effective.fallback, USUAL.status) ? 'agent' : 'default'
}

function patternText(pattern: unknown): string {
  return typeof pattern === 'string' ? pattern : inspect(pattern, { depth: 0 })
}

/** A term as it could be written. */
function asWritten(name: keyof Terms, value: unknown): JsonValue {
  if (value instanceof Parameters) return [...value.names]
  if (name !== 'partitionBy' && name !== 'matchHeaders') return asJson(value)
  const names = value as readonly string[]
  if (names.includes(ALL_FIELDS)) return true
  return names.flatMap((one) => (one === OTHER_CREDENTIALS ? SECRET_FIELDS : one))
}

/** What has been understood of a term, as it could be written. */
function asJson(value: unknown): JsonValue {
  if (value === Infinity) return 'Infinity'
  if (typeof value === 'function') return inspect(value)
  if (typeof value !== 'object' || value === null) return value as JsonValue
  if (Array.isArray(value)) return value.map(asJson)
  if (value instanceof Set) return [...value].map(asStatus)
  const { kind, milliseconds, time } = value as {
    kind?: string
    milliseconds?: number
    time?: number
  }
  if (kind === 'by-status') return byStatusAsJson(value as LifetimeByStatus)
  if (kind === 'duration') return durationText(milliseconds as number)
  if (kind === 'until') return new Date(time as number).toISOString()
  return kind ?? inspect(value)
}

function byStatusAsJson({ lifetimes, otherwise }: LifetimeByStatus): JsonValue {
  const others = otherwise === undefined ? {} : asJson(otherwise)
  const isByStatus = typeof others === 'object'
  return {
    ...(isByStatus ? (others as object) : { '*': others }),
    ...Object.fromEntries([...lifetimes].map(([name, lifetime]) => [name, asJson(lifetime)])),
  }
}

/** A status code as a number, a class as it is. */
function asStatus(name: string): JsonValue {
  return /^\d+$/.test(name) ? Number(name) : name
}

/** The units that {@link Expiration} knows, in milliseconds, the longest first. */
const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
  ['ms', 1],
] as const

/** A duration as it can be given as an option: in the longest unit that it is a whole number of. */
function durationText(milliseconds: number): JsonValue {
  if (milliseconds === Infinity) return -1
  if (milliseconds === 0) return 0
  const [name, length] = UNITS.find(([, unit]) => milliseconds % unit === 0) ?? ['ms', 1]
  return `${milliseconds / length}${name}`
}

function describe(entry: Entry, isSelected: boolean): Explanation['stored'][number] {
  const { method, status, content, responseTime, nominated } = entry
  return {
    method,
    status,
    size: content.length,
    storedAt: new Date(responseTime),
    expires: dateOf(expirationTime(entry)),
    keptUntil: dateOf(endOf(entry)),
    nominated: { ...nominated },
    isSelected,
  }
}

function dateOf(time: number): Date | undefined {
  return time === Infinity ? undefined : new Date(time)
}

/** Until when the store keeps a response, in milliseconds since the epoch. */
function endOf(entry: Entry): number {
  return Math.min(keptUntil(entry), entry.chunksUntil)
}

function prospectOf(
  decision: Reuse<Entry>,
  request: Request,
  terms: RequestTerms,
  now: number,
): Prospect {
  switch (decision.action) {
    case 'reuse':
    case 'reuse-and-validate': {
      const { stored } = decision
      const isWhole = terms.sendsNothing && stored.status !== 206
      const status = statusOf(request, stored) ?? (isWhole ? stored.status : undefined)
      if (status === undefined && !mayBeSent(request, terms)) return refusal(terms)
      if (status === undefined) return { ...NOTHING, outcome: 'miss', reason: 'partial' }
      if (decision.action === 'reuse-and-validate') {
        return { ...NOTHING, outcome: 'stale', reason: 'stale-while-revalidate', status }
      }
      return { ...NOTHING, outcome: remainingFreshness(stored, now) > 0 ? 'hit' : 'stale', status }
    }
    case 'refuse':
      return refusal(terms)
    case 'validate':
    case 'forward': {
      const { reason, stored } = decision
      const isStaleIfError =
        stored !== undefined &&
        mayUseOnError(request, stored, now, terms, true) &&
        statusOf(request, stored) !== undefined
      return decision.action === 'validate'
        ? {
            ...NOTHING,
            outcome: 'validation',
            reason,
            conditions: conditionalFields(decision),
            isStaleIfError,
          }
        : { ...NOTHING, outcome: 'miss', reason, isStaleIfError }
    }
    default:
      return decision satisfies never
  }
}

/** The status code with which a stored response answers a request; undefined where it takes the origin. */
function statusOf(request: Request, stored: Entry): number | undefined {
  const part = answer(request, stored, stored.content.length)
  switch (part.kind) {
    case 'whole':
      return stored.status
    case 'not-modified':
      return 304
    case 'parts':
      return 206
    case 'no-part':
      return 416
    case 'none':
      return undefined
    default:
      return part satisfies never
  }
}

/** How many changes are foreseen at most. */
const MAX_LATER = 10

/** The latest time that a `Date` can hold. */
const LATEST = 8.64e15

/** What would become of a request from when on: what has been decided now is decided anew for later. */
function laterProspects(
  { request, candidates }: Exclude<Preview, { bypass: unknown }>,
  terms: RequestTerms,
  now: number,
): Explanation['later'] {
  const at = (time: number) => {
    const kept = candidates.filter((entry) => time < endOf(entry))
    return prospectOf(reuse(request, kept, time, terms), request, terms, time)
  }
  const end = Math.min(LATEST, Math.max(now, ...candidates.map(endOf)))
  const later: (Prospect & { from: Date })[] = []
  for (let time = now; later.length < MAX_LATER; ) {
    const change = nextChange(at, time, end)
    if (change === undefined) break
    later.push({ ...at(change), from: new Date(change) })
    time = change
  }
  return later
}

/** The time at which something is no longer as it is at first; undefined where at the end it still is. */
function nextChange(
  at: (time: number) => Prospect,
  start: number,
  end: number,
): number | undefined {
  const before = JSON.stringify(at(start))
  const isAsBefore = (time: number) => JSON.stringify(at(time)) === before
  if (isAsBefore(end)) return undefined
  let [same, other] = [start, end]
  while (other - same > 1) {
    const middle = Math.floor((same + other) / 2)
    if (isAsBefore(middle)) same = middle
    else other = middle
  }
  return other
}
