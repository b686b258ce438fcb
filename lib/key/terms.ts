import type { ParsedTerms } from '../terms.ts'
import { type FieldTerms, OTHER_CREDENTIALS, PRESENT_FIELDS, protectedNames } from './fields.ts'
import type { CacheKeyFunction } from './identity.ts'
import { DEFAULT_SECRET_PARAMETERS, Parameters, SECRET_FIELDS } from './parameters.ts'

/** The terms that decide about keys, all of them known. */
export interface KeyTerms extends FieldTerms {
  readonly cacheKey: CacheKeyFunction | undefined
  /** Whether nothing of this has been said, so that keys are what they are by default. */
  readonly isDefaultKey: boolean
}

const NOTHING = new Parameters([])
const DEFAULT_SECRETS = new Parameters(DEFAULT_SECRET_PARAMETERS, true)

const DEFAULTS: KeyTerms = {
  // All at once, where nobody says which ones.
  partitionBy: ['authorization', 'cookie', OTHER_CREDENTIALS],
  matchHeaders: [],
  presentFields: [],
  protectedFields: protectedNames(DEFAULT_SECRET_PARAMETERS),
  ignoredParameters: NOTHING,
  secretParameters: DEFAULT_SECRETS,
  cacheKey: undefined,
  isDefaultKey: true,
}

/** What some terms come to for the keys of their requests. */
export function keyTerms(terms: ParsedTerms): KeyTerms {
  const { ignoredParameters, secretParameters, matchHeaders, cacheKey, partitionBy } = terms
  const isDefaultKey = !(ignoredParameters || secretParameters || matchHeaders || cacheKey)
  if (isDefaultKey && partitionBy === undefined) return DEFAULTS

  const ignored = ignoredParameters ?? NOTHING
  const secrets = secretParameters ?? DEFAULT_SECRETS
  const matched = matchHeaders ?? []
  const others = SECRET_FIELDS.some((name) => ignored.hasField(name))
    ? SECRET_FIELDS
    : [OTHER_CREDENTIALS]
  const credentials = ['authorization', 'cookie', ...SECRET_FIELDS]
  const own = namedFields(secretParameters).filter((name) => !credentials.includes(name))
  // What is said of a field by name counts before what is the case by default.
  const partition =
    partitionBy ??
    ['authorization', 'cookie', ...others, ...own].filter((name) => !ignored.hasField(name))
  const isAll = matched.some((name) => name.startsWith(':'))
  const presentFields = namedFields(ignored).filter(
    (name) =>
      !partition.includes(name) &&
      (isAll ||
        matched.includes(name) ||
        (partitionBy === undefined && credentials.includes(name))),
  )
  return {
    partitionBy: partition,
    matchHeaders: [
      ...matched.filter((name) => !ignored.hasField(name)),
      ...(presentFields.length > 0 ? [PRESENT_FIELDS] : []),
    ],
    presentFields,
    protectedFields: protectedNames(secrets.names, ignored.names, partition),
    ignoredParameters: ignored,
    secretParameters: secrets,
    cacheKey,
    isDefaultKey,
  }
}

/** Tells terms apart that lead to different keys. */
export function keySignature(terms: ParsedTerms): string {
  const { ignoredParameters, secretParameters, matchHeaders, cacheKey, partitionBy } = terms
  return JSON.stringify([
    ignoredParameters?.names,
    secretParameters?.names,
    matchHeaders,
    partitionBy,
    cacheKey && functionNumber(cacheKey),
  ])
}

const functionNumbers = new WeakMap<CacheKeyFunction, number>()
let functions = 0

function functionNumber(cacheKey: CacheKeyFunction): number {
  const known = functionNumbers.get(cacheKey)
  if (known !== undefined) return known
  functions += 1
  functionNumbers.set(cacheKey, functions)
  return functions
}

/** The names that a field may have, in lower case. */
function namedFields(parameters: Parameters | undefined): string[] {
  return [...new Set(parameters?.names.map((name) => name.toLowerCase()))].sort()
}
