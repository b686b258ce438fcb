/**
 * Names of parameters: of header fields, of parameters of the query, of fields of forms, and of members of
 * JSON, which may be paths such as `data.timestamp` or `items.*.id`.
 */
export class Parameters {
  readonly names: readonly string[]
  /** Equal for equal names, and empty for none. */
  readonly signature: string
  readonly #isAnywhere: boolean
  readonly #names: ReadonlySet<string>
  readonly #fields: ReadonlySet<string>
  readonly #paths: readonly (readonly string[])[]

  /** @param isAnywhere whether names are of any case, and those of JSON members of any depth */
  constructor(names: readonly string[], isAnywhere = false) {
    this.names = names
    this.signature = names.length === 0 ? '' : JSON.stringify(names)
    this.#isAnywhere = isAnywhere
    this.#names = new Set(names.map((name) => this.#inItsCase(name)))
    this.#fields = new Set(names.map((name) => name.toLowerCase()))
    this.#paths = names
      .filter((name) => name.includes('.') || name.includes('*'))
      .map((name) => this.#inItsCase(name).split('.'))
  }

  get isEmpty(): boolean {
    return this.names.length === 0
  }

  /** Whether a header field is named, whose own name is in lower case. */
  hasField(name: string): boolean {
    return this.#fields.has(name)
  }

  /** Whether a parameter of the query or a field of a form is named. */
  hasParameter(name: string): boolean {
    return this.#names.has(this.#inItsCase(name))
  }

  /** Whether a member of JSON is named, by where it is: the names of members and indices of arrays. */
  hasMember(path: readonly string[]): boolean {
    const name = path.at(-1)
    if (name === undefined) return false
    if ((this.#isAnywhere || path.length === 1) && this.hasParameter(name)) return true
    return this.#paths.some(
      (pattern) =>
        pattern.length === path.length &&
        pattern.every((part, index) => part === '*' || part === this.#inItsCase(path[index])),
    )
  }

  #inItsCase(name = ''): string {
    return this.#isAnywhere ? name.toLowerCase() : name
  }
}

/** Header fields that hold credentials wherever they are in use, besides `Authorization` and `Cookie`. */
export const SECRET_FIELDS: readonly string[] = [
  'api-key',
  'apikey',
  'private-token',
  'proxy-authorization',
  'x-access-token',
  'x-amz-security-token',
  'x-api-key',
  'x-api-token',
  'x-auth-token',
  'x-goog-api-key',
]

/** The default of `secretParameters`: what is likely to be a secret, under whatever API. */
export const DEFAULT_SECRET_PARAMETERS: readonly string[] = [
  'authorization',
  'cookie',
  ...SECRET_FIELDS,
  'access_token',
  'access-token',
  'accesstoken',
  'api_key',
  'api_token',
  'auth',
  'auth_token',
  'authtoken',
  'client_assertion',
  'client_secret',
  'clientsecret',
  'id_token',
  'jwt',
  'passwd',
  'password',
  'private_token',
  'refresh_token',
  'refreshtoken',
  'secret',
  'session_id',
  'sessionid',
  'sig',
  'signature',
  'subscription-key',
  'token',
  'x-amz-credential',
  'x-amz-signature',
  'x-goog-credential',
  'x-goog-signature',
]
