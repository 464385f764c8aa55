import { allOrFirstFailure, newPermits } from '../async/parallel.ts';
import { isTyped } from '../catalog/needs.ts';
import { InvalidManifestError, ManifestUnknownError, type CacheError } from '../errors/cache-error.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { InlineContent } from '../oci/manifest.ts';
import { isIndexType, isManifestType } from '../oci/media-type.ts';
import { platformName, requirePlatforms, requireReadable } from '../oci/select.ts';
import { formatReference } from '../reference/reference.ts';
import type { Upstream } from '../registry/upstream.ts';
import { isOptional, platformsFor, type Wanted, wantedEntries } from './coverage.ts';
import { isUnusable, othersAmong, readOthers, type Other, type UnusableError } from './other-entries.ts';
import type { PullDeps, PullRequest } from './pull-request.ts';
import { type HeldManifest, inlineOf, readManifest } from './read-manifest.ts';
import type { SkippedContent } from './receipt.ts';
import { distinctSkipped, skippedEntry } from './skipped.ts';

const PARALLEL_MANIFESTS = 6;
/** Manifests of the largest size that fit in memory for one level of a tree. Real trees use a hundredth of it. */
const MANIFESTS_IN_MEMORY = 16;

/** What planning works with. */
export interface PlanContext {
  readonly deps: PullDeps;
  readonly upstream: Upstream;
  readonly request: PullRequest;
  readonly wanted: Wanted;
  readonly signal: AbortSignal;
  /** Copies a config into the cache if it is missing, and reads it: for a single image, only the config states the platform. */
  readonly obtain: (config: Descriptor) => Promise<Uint8Array>;
}

/** The manifests below a root, and those of them that the request wants. */
export interface PlannedTree {
  /** Every manifest of the tree, whether wanted or not; for a single manifest, itself. */
  readonly entries: readonly IndexEntry[];
  /** Those that the request wants. */
  readonly selected: readonly IndexEntry[];
  /** Nested indexes and selected manifests, read and checked. Without the root. */
  readonly manifests: readonly HeldManifest[];
  /** Those of `selected` that are left out if the registry turns out not to have all of them. */
  readonly optional: readonly Digest[];
  /** Those that are left out already: the registry does not have them, or they cannot be read. */
  readonly skipped: readonly SkippedContent[];
  /** The wanted blobs that an index itself lists. */
  readonly listed: readonly IndexEntry[];
}

/**
 * The tree of an index: reads every nested index, then the manifests that the request wants.
 *
 * @throws PlatformMissingError, InvalidManifestError (also for limits), and whatever reading throws.
 */
export async function planIndex(context: PlanContext, root: HeldManifest): Promise<PlannedTree> {
  const { request, wanted } = context;
  const { entries, indexes, inline, others: known } = await walk(context, root);
  const platforms = platformsFor(wanted, root.descriptor.mediaType, entries);
  const name = formatReference(request.reference);
  requirePlatforms(name, entries, platforms);
  const selected = wantedEntries(entries, platforms, wanted);
  requireReadable(name, selected);
  const mayLack = (entry: IndexEntry): boolean => isOptional(entry, platforms);
  const required = new Set(selected.filter((entry) => !mayLack(entry)).map(({ digest }) => digest));
  const { read: typed, unusable } = await readEntries(
    context,
    selected.filter((entry) => isManifestType(entry.mediaType) && entry.fault === undefined),
    inline,
    required,
  );
  const isKnown = new Set([...known.keys(), ...typed.map(({ descriptor }) => descriptor.digest)]);
  const open = othersAmong(selected).filter(({ digest }) => !isKnown.has(digest));
  const others = new Map([...known, ...(await readOthersOf(context, open, inline))]);
  const wantedOthers = new Map(othersAmong(selected).map((entry) => [entry.digest, entry]));
  const leaves = [...typed];
  const listed: IndexEntry[] = [];
  for (const [digest, entry] of wantedOthers) {
    const other = others.get(digest);
    if (other === 'blob') listed.push(entry);
    else if (other?.content.kind === 'manifest') leaves.push(other);
    else if (other !== undefined && !indexes.includes(other)) {
      if (required.has(digest)) throw notOfKind(digest);
      unusable.set(digest, notOfKind(digest));
    }
  }
  const read = new Set([...isKnown, ...others.keys()]);
  const isLacking = (entry: IndexEntry): boolean =>
    mayLack(entry) && (!read.has(entry.digest) || unusable.has(entry.digest));
  const left = selected.filter((entry) => !isLacking(entry));
  const why = (error: CacheError | undefined): string | undefined =>
    error instanceof InvalidManifestError ? error.message : undefined;
  const lacking = selected.filter(isLacking);
  return {
    entries,
    selected: left,
    manifests: [...indexes, ...leaves],
    optional: [...new Set(left.map(({ digest }) => digest))].filter((digest) => !required.has(digest)),
    skipped: distinctSkipped(lacking.map((entry) => skippedEntry(entry, why(unusable.get(entry.digest))))),
    listed,
  };
}

/**
 * All entries below an index. Nested indexes are always read, so that every pull of a root knows the same
 * entries. Entries without a type and without a platform are read here, too: one of them may be an index.
 */
async function walk(
  context: PlanContext,
  root: HeldManifest,
): Promise<{
  entries: IndexEntry[];
  indexes: HeldManifest[];
  inline: InlineContent;
  others: ReadonlyMap<Digest, Other>;
}> {
  const { depth: deepest, fanOut } = context.deps.limits;
  const entries = new Map<string, IndexEntry>();
  const indexes: HeldManifest[] = [];
  const kinds = new Map<Digest, 'index' | 'manifest'>();
  const others = new Map<Digest, Other>();
  let level = [root];
  for (let depth = 0; level.length > 0; depth++) {
    const nested: IndexEntry[] = [];
    for (const entry of level.flatMap(entriesOf)) {
      const key = JSON.stringify([entry.digest, entry.platform, entry.attests]);
      if (entry.fault !== undefined || !isTyped(entry)) {
        if (!entries.has(key)) entries.set(key, entry);
        continue;
      }
      const kind = isIndexType(entry.mediaType) ? 'index' : 'manifest';
      if ((kinds.get(entry.digest) ?? kind) !== kind) throw notOfKind(entry.digest);
      kinds.set(entry.digest, kind);
      if (kind === 'index' && !entries.has(key)) nested.push(entry);
      entries.set(key, entry);
    }
    if (entries.size > fanOut) {
      throw new InvalidManifestError(`the tree has more than ${fanOut} manifests (limits.fanOut in the configuration)`);
    }
    const along = othersAmong([...entries.values()]).filter(goesAlong);
    const open = along.filter(({ digest }) => !kinds.has(digest) && !others.has(digest));
    const found = await readOthersOf(context, open, inlineOf([root, ...indexes].map(({ content }) => content)));
    for (const [digest, other] of found) others.set(digest, other);
    const more = [...found.values()]
      .filter((other) => other !== 'blob')
      .filter(({ content }) => content.kind === 'index');
    if (nested.length + more.length > 0 && depth === deepest) {
      throw new InvalidManifestError(
        `indexes are nested more than ${deepest} deep (limits.depth in the configuration)`,
      );
    }
    const required = new Set(nested.map(({ digest }) => digest));
    const { read } = await readEntries(context, nested, inlineOf(level.map(({ content }) => content)), required);
    level = [...read, ...more];
    indexes.unshift(...level);
  }
  const inline = inlineOf([root, ...indexes].map(({ content }) => content));
  return { entries: [...entries.values()], indexes, inline, others };
}

/** Part of every request, whatever its platforms. */
const goesAlong = ({ platform, attests }: IndexEntry): boolean => platform === undefined && attests === undefined;

const readOthersOf = ({ deps, upstream, signal }: PlanContext, entries: readonly IndexEntry[], inline: InlineContent) =>
  readOthers(deps, upstream, entries, deps.limits.manifestBytes * MANIFESTS_IN_MEMORY, signal, inline);

/**
 * @throws InvalidManifestError if an index lists as an index what is a manifest: it would count as complete
 * without its blobs (I2).
 */
function entriesOf({ descriptor, content }: HeldManifest): readonly IndexEntry[] {
  if (content.kind !== 'index') throw notOfKind(descriptor.digest);
  return content.entries;
}

const notOfKind = (digest: Digest): InvalidManifestError =>
  new InvalidManifestError(
    `an index calls ${digest} an index or a manifest, but that is not what its bytes, or another entry, say`,
  );

/**
 * Reads each digest once, from the store if this repository has it there. Entries that are missing or
 * unreadable, and not `required`, are returned with the reason.
 *
 * @throws InvalidManifestError if they do not fit in memory together; the error of a required entry, with its
 * platform.
 */
async function readEntries(
  context: PlanContext,
  entries: readonly IndexEntry[],
  inline: InlineContent,
  required: ReadonlySet<Digest>,
): Promise<{ read: HeldManifest[]; unusable: Map<Digest, CacheError> }> {
  const { deps, upstream, signal } = context;
  const byDigest = new Map<Digest, IndexEntry>();
  addDistinct(byDigest, entries);
  const distinct = [...byDigest.values()];
  const bytes = distinct.reduce((sum, entry) => sum + entry.size, 0);
  const mostBytes = deps.limits.manifestBytes * MANIFESTS_IN_MEMORY;
  if (bytes > mostBytes) {
    throw new InvalidManifestError(
      `${distinct.length} manifests of an index have ${bytes} bytes together, the limit is ${mostBytes} (${MANIFESTS_IN_MEMORY} times limits.manifestBytes in the configuration)`,
    );
  }
  const links = await deps.catalog.findLinks(
    upstream.repository,
    distinct.map((entry) => entry.digest),
    signal,
  );
  const permits = newPermits(PARALLEL_MANIFESTS);
  const unusable = new Map<Digest, CacheError>();
  const found = await allOrFirstFailure(distinct, signal, (entry, stop) =>
    permits.run(async () => {
      stop.throwIfAborted();
      const { digest } = entry;
      const wanted = { digest, parent: entry, linked: links.get(digest), inline: inline.get(digest) };
      try {
        const manifest = await readManifest(deps, upstream, wanted, stop);
        if ((manifest.content.kind === 'index') !== isIndexType(entry.mediaType)) throw notOfKind(digest);
        return manifest;
      } catch (error) {
        if (!isUnusable(error)) throw error;
        if (required.has(digest)) throw unusableEntry(formatReference(context.request.reference), entry, error);
        unusable.set(digest, error);
        return undefined;
      }
    }),
  );
  return { read: found.filter((manifest) => manifest !== undefined), unusable };
}

/** The same error, with the entry and with what to ask for instead. Nested indexes are read with every request. */
function unusableEntry(reference: string, entry: IndexEntry, error: UnusableError): CacheError {
  const isIndex = isIndexType(entry.mediaType);
  const named = `${reference} names ${isIndex ? 'a nested index' : `platform ${platformName(entry)}`}, ${entry.digest}`;
  const way = isIndex ? 'the image has to be pushed again' : 'ask for the other platforms with --platform';
  return error instanceof ManifestUnknownError
    ? new ManifestUnknownError(`${named}, which its registry does not have (any more); ${way}`, error)
    : new InvalidManifestError(`${named}, which cannot be used: ${error.message}; ${way}`, error);
}

/** @throws InvalidManifestError if one digest comes with two sizes. */
export function addDistinct<T extends Descriptor>(byDigest: Map<Digest, T>, all: readonly T[]): void {
  for (const one of all) {
    const known = byDigest.get(one.digest);
    if (known !== undefined && known.size !== one.size) {
      throw new InvalidManifestError(
        `${one.digest} is given two sizes, ${known.size} and ${one.size} bytes: at least one manifest lies`,
      );
    }
    if (known === undefined) byDigest.set(one.digest, one);
  }
}
