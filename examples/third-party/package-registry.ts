// A client for a registry of packages, as one finds it: it knows fetch, and nothing of a cache.

export class PackageRegistry {
  readonly #url: string

  constructor(url: string) {
    this.#url = url
  }

  /** The dependencies of a package and theirs, by name and version. */
  async dependencies(
    name: string,
    found = new Map<string, string>(),
  ): Promise<Map<string, string>> {
    const { version, dependencies = {} } = await this.#latest(name)
    found.set(name, version)
    for (const dependency of Object.keys(dependencies)) {
      if (!found.has(dependency)) await this.dependencies(dependency, found)
    }
    return found
  }

  async #latest(name: string): Promise<Manifest> {
    const response = await fetch(`${this.#url}/${name}/latest`)
    if (!response.ok) throw new Error(`${name}: ${response.status}`)
    return (await response.json()) as Manifest
  }
}

interface Manifest {
  readonly version: string
  readonly dependencies?: Readonly<Record<string, string>>
}
