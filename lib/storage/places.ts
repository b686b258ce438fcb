import { type Awaitable, after } from '../awaitable.ts'
import type { Events } from '../observe/events.ts'
import type { DeletionCause } from '../observe/payloads.ts'
import type { Nominated, RequestMessage } from '../rfc9111/message.ts'
import { fieldsAbout } from '../rfc9111/storing.ts'
import { differingFields, nominatedMatch } from '../rfc9111/vary.ts'
import type { Usage } from './byte-store.ts'
import type { Chunks } from './chunks.ts'
import { type Entry, isSameVariant, keptUntil, mayCoexist } from './entry.ts'
import { untilDone } from './exclusive.ts'
import {
  type Found,
  type Head,
  type Heads,
  NOTHING_FOUND,
  type Placed,
  type Variant,
} from './heads.ts'
import { isRefusal } from './refusal.ts'

/** How many variants for other requests are looked at, where none is for the request. */
const MAX_OTHERS = 8

/**
 * Where in a store the responses for a cache key are: one that is alone at the key itself; several that differ by
 * the fields of their requests each at a key of its own, of which a record at the cache key tells. Changes to one
 * cache key are to be made one after the other; those of other processes are noticed.
 */
export class Places {
  readonly #heads: Heads
  readonly #chunks: Chunks
  readonly #events: Events
  readonly #maxVariants: number
  readonly #usage: Usage | undefined

  /** @param maxVariants how many variants of one response are kept; the least recently stored goes first */
  constructor(
    heads: Heads,
    chunks: Chunks,
    events: Events,
    maxVariants: number,
    usage: Usage | undefined,
  ) {
    this.#heads = heads
    this.#chunks = chunks
    this.#events = events
    this.#maxVariants = maxVariants
    this.#usage = usage
  }

  /** The stored response that a request selects, where that is known without asking the store. */
  known(cacheKey: string, request: RequestMessage): Entry | undefined {
    const head = this.#heads.known(cacheKey, cacheKey)
    if (head?.kind !== 'variants') return matching(head, request)
    const [only, ...others] = head.variants.filter(({ nominated }) =>
      nominatedMatch(nominated, request),
    )
    if (only === undefined || others.length > 0) return undefined
    const key = this.#heads.variantKey(cacheKey, only.nominated)
    return matching(this.#heads.known(key, cacheKey), request)
  }

  /**
   * The stored responses for a cache key; for a request those that it may select. Where there are some but none has
   * its nominated fields, the most similar of the others.
   */
  load(cacheKey: string, request?: RequestMessage): Awaitable<Entry[]> {
    return after(this.#heads.read(cacheKey, cacheKey), (head) => {
      if (head === undefined) return []
      if (head.kind === 'response') return [head.entry]
      return this.#loadVariants(cacheKey, head.variants, request)
    })
  }

  async #loadVariants(
    cacheKey: string,
    variants: readonly Variant[],
    request: RequestMessage | undefined,
  ): Promise<Entry[]> {
    const all = variants.map(({ nominated }) => nominated)
    const matching = request && all.filter((nominated) => nominatedMatch(nominated, request))
    const isForOthers = request && matching?.length === 0
    const wanted = isForOthers ? nearest(all, request) : (matching ?? all)
    const heads = await Promise.all(
      wanted.map((nominated) =>
        this.#heads.read(this.#heads.variantKey(cacheKey, nominated), cacheKey),
      ),
    )
    return heads.flatMap((variant) => (variant?.kind === 'response' ? [variant.entry] : []))
  }

  /**
   * Where a response is stored; undefined where it is not any more, because another one took its place,
   * here or in another process, or it was deleted.
   */
  async find(wanted: Entry): Promise<Placed | undefined> {
    const { cacheKey, nominated, generation } = wanted
    const first = await this.#heads.look(cacheKey, cacheKey)
    const isVariant = first.head?.kind === 'variants'
    const key = isVariant ? this.#heads.variantKey(cacheKey, nominated) : cacheKey
    const found = isVariant ? await this.#heads.look(key, cacheKey) : first
    const { head } = found
    if (head?.kind !== 'response' || head.entry.generation !== generation) return undefined
    return { ...found, key, entry: head.entry }
  }

  /** Writes a response to its place. One that is found there is written, whatever the store says or does not say. */
  async writeSurely(entry: Entry, isFirst: boolean): Promise<void> {
    try {
      await this.write(entry, isFirst)
    } catch (error) {
      const isWritten = !isRefusal(error) && (await this.find(entry).catch(() => undefined))
      if (!isWritten) throw error
    }
  }

  /** Writes a response to its place: the last step, before which there was nothing to be found. */
  async write(entry: Entry, isFirst = false): Promise<void> {
    const { cacheKey } = entry
    if (isFirst && this.#heads.isCompared) {
      if (await this.#heads.write(cacheKey, entry, NOTHING_FOUND)) return
    }
    await untilDone(async () => {
      const found = await this.#heads.look(cacheKey, cacheKey)
      return (await this.#writeOver(found, entry)) ? 'done' : 'again'
    })
  }

  /** @returns whether what was found was still there */
  async #writeOver(found: Found, entry: Entry): Promise<boolean> {
    const { cacheKey, nominated } = entry
    const { head: previous } = found
    const isAlone =
      previous === undefined ||
      Object.keys(nominated).length === 0 ||
      (previous.kind === 'response' && !mayCoexist(previous.entry.nominated, nominated))
    if (!isAlone) return this.#writeVariant(entry, previous, found)
    const isWhole = previous?.kind === 'response' && !isPart(previous.entry)
    if (isWhole && isPart(entry)) {
      // A part takes the place of nothing that is whole.
      await this.#dispose(cacheKey, { kind: 'response', entry })
      return true
    }
    if (previous) await tidy(() => this.#vacate(cacheKey, previous))
    if (!(await this.#heads.write(cacheKey, entry, found))) return false
    if (previous) await tidy(() => this.#dispose(cacheKey, previous))
    return true
  }

  async #writeVariant(entry: Entry, previous: Head, found: Found): Promise<boolean> {
    const { cacheKey, nominated } = entry
    const key = this.#heads.variantKey(cacheKey, nominated)
    const variants = await this.#variants(cacheKey, previous)
    const others = variants.filter((variant) => !isSameVariant(variant.nominated, nominated))
    // What nothing has told of, because a process ended, must not be found when this one is told of.
    const isNew = others.length === variants.length
    if (isNew) await this.#deleteVariant(cacheKey, nominated)
    const overwritten = isNew ? NOTHING_FOUND : await this.#heads.look(key, cacheKey)
    const all = [{ nominated, until: keptUntil(entry) }, ...others]
    const kept = await this.#keptOf(cacheKey, all)
    const dropped = others.filter((variant) => !kept.includes(variant))
    if (!(await this.#heads.writeVariants(cacheKey, kept, found))) {
      if (previous.kind === 'response') {
        const { entry: copied } = previous
        await this.#leaveUnlisted(cacheKey, copied.nominated, copied.generation)
      }
      return false
    }
    await this.#heads.write(key, entry)
    await tidy(() => this.#tidyVariants(entry, previous, overwritten, dropped))
    return true
  }

  /** Removes what one of several variants has taken the place of. */
  async #tidyVariants(
    entry: Entry,
    previous: Head,
    overwritten: Found,
    dropped: readonly Variant[],
  ): Promise<void> {
    const { cacheKey, nominated } = entry
    if (previous.kind === 'response') await this.#chunks.refer(previous.entry.content.chunks, false)
    await this.#dispose(cacheKey, overwritten.head)
    if (this.#heads.isCompared) {
      const left = await this.#leaveUnlisted(cacheKey, nominated, entry.generation)
      if (left) await this.#dispose(cacheKey, { kind: 'response', entry: left })
    }
    for (const { nominated: least } of dropped) {
      for (const variant of await this.#deleteVariant(cacheKey, least)) {
        this.#events.evicted(variant, 'maxVariants')
      }
    }
  }

  /** Which of some variants are kept: where they are too many, those that are not there any more take no place. */
  async #keptOf(cacheKey: string, [newest, ...others]: Variant[]): Promise<Variant[]> {
    const all = newest ? [newest, ...others] : []
    if (all.length <= this.#maxVariants) return all
    const there = await this.#heads.variantsThere(cacheKey, others, this.#usage)
    return all
      .filter((variant) => variant === newest || there.has(variant))
      .slice(0, this.#maxVariants)
  }

  /** The variants at a cache key; a response that is alone there is copied to where it makes room for more. */
  async #variants(cacheKey: string, previous: Head): Promise<readonly Variant[]> {
    if (previous.kind === 'variants') return previous.variants
    const { entry } = previous
    await this.#heads.write(this.#heads.variantKey(cacheKey, entry.nominated), entry)
    return [{ nominated: entry.nominated, until: keptUntil(entry) }]
  }

  /**
   * Removes one of several variants, if it is not told anywhere that it is one: another process has come before,
   * and may have deleted all of them.
   *
   * @param generation of the one that may be removed; any one where it is missing
   * @returns the response that was there, if it has been removed
   */
  async #leaveUnlisted(
    cacheKey: string,
    nominated: Nominated,
    generation?: string,
  ): Promise<Entry | undefined> {
    const key = this.#heads.variantKey(cacheKey, nominated)
    const found = await this.#heads.look(key, cacheKey)
    if (found.head?.kind !== 'response') return undefined
    const { entry } = found.head
    if (generation !== undefined && entry.generation !== generation) return undefined
    const { head } = await this.#heads.look(cacheKey, cacheKey)
    const variants = head?.kind === 'variants' ? head.variants : []
    if (variants.some((variant) => isSameVariant(variant.nominated, nominated))) return undefined
    return (await this.#heads.deleteFound(key, found)) ? entry : undefined
  }

  /** Deletes one of several variants, which is not told any more to be one. @returns it, if it was there */
  async #deleteVariant(cacheKey: string, nominated: Nominated): Promise<Entry[]> {
    const entry = await this.#leaveUnlisted(cacheKey, nominated)
    return entry ? this.#dispose(cacheKey, { kind: 'response', entry }) : []
  }

  /** Removes a response, if it is still stored. @throws where the store fails */
  async remove(entry: Entry, cause: DeletionCause): Promise<void> {
    const { cacheKey } = entry
    await untilDone(async () => {
      const kept = await this.find(entry)
      if (kept === undefined) return 'nothing'
      if (kept.key === cacheKey) await this.#vacate(cacheKey, kept.head)
      if (!(await this.#heads.deleteFound(kept.key, kept))) return 'again'
      await this.#dispose(cacheKey, { kind: 'response', entry: kept.entry })
      this.#events.deleted(kept.entry, cause)
      return 'done'
    })
  }

  /** Removes all responses for a cache key. @returns their generations @throws where the store fails */
  async removeAll(cacheKey: string, cause: DeletionCause): Promise<readonly string[]> {
    const gone: string[] = []
    const note = (entries: readonly Entry[]) => {
      for (const entry of entries) {
        this.#events.deleted(entry, cause)
        gone.push(entry.generation)
      }
    }
    await untilDone(async () => {
      const found = await this.#heads.look(cacheKey, cacheKey)
      note(await this.#vacate(cacheKey, found.head))
      if (!(await this.#heads.deleteFound(cacheKey, found))) return 'again'
      note(await this.#dispose(cacheKey, found.head))
      return 'done'
    })
    return gone
  }

  /**
   * Removes what is only there because a head tells of it, before that goes: were this process to end in
   * between, nobody would find it any more.
   *
   * @returns the responses that are no longer stored
   */
  async #vacate(cacheKey: string, head: Head | undefined): Promise<Entry[]> {
    const gone: Entry[] = []
    if (head?.kind === 'variants') {
      for (const { nominated } of head.variants) {
        const key = this.#heads.variantKey(cacheKey, nominated)
        const found = await this.#heads.look(key, cacheKey)
        const isDeleted = found.record && (await this.#heads.deleteFound(key, found))
        if (isDeleted) gone.push(...(await this.#dispose(cacheKey, found.head)))
      }
    } else if (head !== undefined && Object.keys(head.entry.nominated).length > 0) {
      // A copy that a process was making when it ended.
      await this.#leaveUnlisted(cacheKey, head.entry.nominated, head.entry.generation)
    }
    return gone
  }

  /**
   * Removes what a head that no longer exists referred to.
   *
   * @returns the responses that are no longer stored
   */
  async #dispose(cacheKey: string, head: Head | undefined): Promise<Entry[]> {
    if (head?.kind === 'response') {
      const { chunks } = head.entry.content
      if (chunks) await this.#chunks.remove(chunks)
      return [head.entry]
    }
    const gone: Entry[] = []
    // What others have written there since it was vacated.
    for (const { nominated } of head?.variants ?? []) {
      gone.push(...(await this.#deleteVariant(cacheKey, nominated)))
    }
    return gone
  }
}

/** What is stored is stored, even if what is in vain by now cannot be removed: that has been told, and expires. */
export async function tidy(remove: () => Promise<unknown>): Promise<void> {
  await remove().catch(() => {})
}

/** A response that a request selects, if there is one. */
function matching(head: Head | undefined, request: RequestMessage): Entry | undefined {
  if (head?.kind !== 'response') return undefined
  return nominatedMatch(head.entry.nominated, request) ? head.entry : undefined
}

/** Of the variants for other requests those that differ from what is asked for by the fewest fields. */
function nearest(all: readonly Nominated[], request: RequestMessage): readonly Nominated[] {
  return (
    all
      // Parts are nobody's but those who ask for exactly them.
      .filter(({ range }) => range === undefined)
      .map((nominated) => ({ nominated, distance: differingFields(nominated, request).length }))
      .sort((a, b) => a.distance - b.distance)
      .slice(0, MAX_OTHERS)
      .map(({ nominated }) => nominated)
  )
}

/** Whether a response is an answer to no more than the ranges or conditions of its request. */
export function isPart({ status }: Entry): boolean {
  return fieldsAbout(status).length > 0
}
