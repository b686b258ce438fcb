import { formatSize } from './observe/format.ts'
import { type Outcome, REASONS, type Reason } from './observe/reasons.ts'

/** What can be written as JSON. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue }

/**
 * Where something is said: by the request's own terms (`with`, `withTerms`), by the rule for its URL, by
 * the options of the agent, or by nobody.
 */
export type TermSource = 'request' | 'rule' | 'agent' | 'default'

/** A term that applies to a request. */
export interface ExplainedTerm {
  /** As it could be written in options; functions by their names. */
  readonly value: JsonValue
  readonly from: TermSource
}

/** A stored response that is for the same URL as a request, if not for the same request. */
export interface ExplainedResponse {
  readonly method: string
  readonly status: number
  /** The number of bytes of content; undefined while it is still being received. */
  readonly size: number | undefined
  /** When the response was received, or last validated. */
  readonly storedAt: Date
  /** When the response ceases to be fresh; undefined for never. */
  readonly expires: Date | undefined
  /** Until when it is kept, unless it has to make room; undefined for ever. */
  readonly keptUntil: Date | undefined
  /**
   * The request fields that it was stored for, credentials as hashes; `null` where absent. `:credentials` are
   * the usual ones besides `Authorization` and `Cookie`, `:fields` all at once, and `:present` the names of
   * those whose values do not matter.
   */
  readonly nominated: Readonly<Record<string, string | null>>
  /** Whether it is the one that the request would be answered with, or that would be validated. */
  readonly isSelected: boolean
}

/** What would become of a request. */
export interface Prospect {
  /** As in the events; `validation` where the origin would be asked: then it is `revalidated` or `miss`. */
  readonly outcome: Exclude<Outcome, 'revalidated'> | 'validation'
  readonly reason: Reason | undefined
  /** The status code of the answer, where the origin has no part in it. */
  readonly status: number | undefined
  /** The fields by which the origin would be asked about what is stored. */
  readonly conditions: Readonly<Record<string, string>> | undefined
  /** Whether a stale response would be used if the origin could not be reached. */
  readonly isStaleIfError: boolean
}

/** What is known of a request that is not made: see {@link HttpCache.explain}. It can be written as JSON. */
export class Explanation {
  readonly method: string
  readonly url: string
  /** The cache key; undefined where the request would pass by. */
  readonly key: string | undefined
  /** The pattern of the first rule of `urlsExpireAfter` that matches, as it was written; undefined for none. */
  readonly rule: string | undefined
  /** Who decides how long a response with status 200 is fresh; `default` for nobody, so that none is stored. */
  readonly decides: TermSource | 'origin'
  /** The terms that apply, by their names. */
  readonly terms: Readonly<Record<string, ExplainedTerm>>
  /** What is stored for the URL, in all its variants. */
  readonly stored: readonly ExplainedResponse[]
  /** What would become of the request now. */
  readonly now: Prospect
  /** What would become of it later, if nothing happens until then; the soonest comes first. */
  readonly later: readonly (Prospect & { readonly from: Date })[]

  /** @internal */
  constructor(known: Omit<Explanation, 'toString'>) {
    this.method = known.method
    this.url = known.url
    this.key = known.key
    this.rule = known.rule
    this.decides = known.decides
    this.terms = known.terms
    this.stored = known.stored
    this.now = known.now
    this.later = known.later
  }

  /** All of it, in lines for people. */
  toString(): string {
    const { method, url, key, rule, terms, stored, now, later } = this
    const all = Object.entries(terms).map(
      ([name, term]) => `  ${name}: ${shown(name, term)} (${SOURCES[term.from]})`,
    )
    return [
      `${method} ${url}`,
      `rule: ${rule === undefined ? 'none matches' : rule}`,
      `freshness: ${this.#decision()}`,
      'terms:',
      ...all,
      `key: ${key ?? 'none'}`,
      stored.length === 0 ? 'stored: nothing' : 'stored:',
      ...stored.map((response) => `  ${describe(response)}`),
      `now: ${foresee(now)}`,
      ...later.map((prospect) => `from ${prospect.from.toISOString()}: ${foresee(prospect)}`),
    ].join('\n')
  }

  #decision(): string {
    const { decides, terms } = this
    const isFallback = decides === 'origin' && terms.expireAfter?.from === 'agent'
    return `${DECISIONS[decides]}${isFallback ? '; expireAfter where they say nothing' : ''}`
  }
}

const SOURCES: Readonly<Record<TermSource, string>> = {
  request: 'the request’s own',
  rule: 'of the rule',
  agent: 'of the agent',
  default: 'by default',
}

const DECISIONS: Readonly<Record<Explanation['decides'], string>> = {
  request: 'expireAfter of the request’s own terms decides, whatever the origin says',
  rule: 'expireAfter of the rule decides, whatever the origin says',
  agent: 'expireAfter of the agent decides, whatever the origin says',
  origin: 'the response’s own fields decide (RFC 9111)',
  default: 'nothing says how long, and cacheControl is off',
}

function shown(name: string, { value, from }: ExplainedTerm): string {
  if (name === 'expireAfter' && value === -1) return 'never'
  if (name === 'secretParameters' && from === 'default') return 'DEFAULT_SECRET_PARAMETERS'
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function describe(response: ExplainedResponse): string {
  const { method, status, size, storedAt, expires, nominated, isSelected } = response
  const fields = Object.entries(nominated).map(([name, value]) => `${name}: ${value ?? 'absent'}`)
  return [
    `${method} ${status}`,
    size === undefined ? 'arriving' : formatSize(size),
    `stored ${storedAt.toISOString()}`,
    expires ? `fresh until ${expires.toISOString()}` : 'fresh for ever',
    ...(fields.length > 0 ? [`for ${fields.join(', ')}`] : []),
    ...(isSelected ? ['selected'] : []),
  ].join(', ')
}

function foresee({ outcome, reason, status, conditions, isStaleIfError }: Prospect): string {
  const why = reason && ` (${reason}: ${REASONS[reason]})`
  const names = Object.keys(conditions ?? {}).join(', ')
  return [
    `${outcome}${status === undefined ? '' : ` with status ${status}`}${why ?? ''}`,
    ...(names ? [`the origin is asked with ${names}`] : []),
    ...(isStaleIfError ? ['the stale response is used if it cannot be reached'] : []),
  ].join('; ')
}
