import type { ForeignLayer } from '../catalog/catalog.ts';
import type { Completeness } from '../catalog/ports.ts';
import { isTyped } from '../catalog/needs.ts';
import { ContentLostError } from '../errors/cache-error.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { blobsOf, type Index, type Manifest, parseManifest } from '../oci/manifest.ts';
import { isIndexType } from '../oci/media-type.ts';
import { statedPlatform } from '../pull/coverage.ts';
import type { PullLimits } from '../pull/pull-request.ts';
import { reconcile, type ReconcileDeps } from '../pull/reconcile.ts';
import type { ContentStore, RefRecord } from '../store/content-store.ts';

/** What the bucket has of a root, compared with what its record calls complete. */
export interface StoredTree {
  /** Every manifest of the tree, as a pull would know it. */
  readonly entries: readonly IndexEntry[];
  /** The root, the entries whose content is all there, and their foreign layers that are there. */
  readonly complete: readonly Digest[];
  readonly contents: ReadonlyMap<Digest, readonly Descriptor[]>;
  readonly foreign: readonly ForeignLayer[];
  /** Manifests and blobs of the complete entries, each once. All of them have rows. */
  readonly content: readonly Descriptor[];
  /** Entries that the record calls complete, and that are not. */
  readonly lost: number;
}

interface TreeDeps extends ReconcileDeps {
  readonly catalog: ReconcileDeps['catalog'] & Completeness;
  readonly store: ContentStore;
  readonly limits: PullLimits;
}

type Parsed = Index | Manifest;

/**
 * The tree below the record's root, from the bucket alone; undefined if the root, or a nested index, is
 * missing. On the way, writes the rows of content that is there and right: what a manifest needs before the
 * manifest.
 */
export async function readTree(
  deps: TreeDeps,
  record: RefRecord,
  signal: AbortSignal,
): Promise<StoredTree | undefined> {
  const root: Descriptor = { digest: record.digest, mediaType: record.mediaType, size: record.size };
  const rootContent = await readParsed(deps, root, signal);
  if (rootContent === undefined) return undefined;
  const manifests = new Map<Digest, Parsed>([[root.digest, rootContent]]);
  const listed = new Set(record.complete);
  const blobs = new Set(record.blobs);
  // Never parsed: their repository did not prove to have what they may name (I9).
  const opaque = new Set(record.opaque);
  const isBare = (entry: Descriptor): boolean =>
    !isTyped(entry) && (blobs.has(entry.digest) || opaque.has(entry.digest));
  const leads = (entry: IndexEntry): boolean =>
    isIndexType(entry.mediaType) || (!isTyped(entry) && listed.has(entry.digest) && !isBare(entry));
  const entries = await readEntries(deps, root, rootContent, manifests, leads, signal);
  if (entries === undefined) return undefined;

  const arePresent = presence(deps, signal);
  const complete: Digest[] = [];
  const contents = new Map<Digest, readonly Descriptor[]>();
  const foreign: ForeignLayer[] = [];
  const content = new Map<Digest, Descriptor>();
  const wanted = distinct([root, ...entries]).filter(({ digest }) => listed.has(digest));
  for (const entry of wanted) {
    if (isBare(entry)) {
      if (!(await arePresent([entry]))) continue;
      const { digest, mediaType, size } = entry;
      const own = { digest, mediaType, size };
      complete.push(digest);
      contents.set(digest, blobs.has(digest) ? [own] : []);
      content.set(digest, own);
      continue;
    }
    const parsed = manifests.get(entry.digest) ?? (await readParsed(deps, entry, signal));
    const needs = parsed?.kind === 'manifest' ? blobsOf(parsed) : [];
    if (parsed === undefined) continue;
    await deps.catalog.writeContents(new Map([[entry.digest, needs.map(({ digest }) => digest)]]), signal);
    if (!(await arePresent([entry, ...needs]))) continue;
    complete.push(entry.digest);
    // Links have the media type of the bytes; an entry may have none.
    content.set(entry.digest, { ...entry, mediaType: parsed.mediaType });
    for (const one of needs) content.set(one.digest, one);
    if (parsed.kind === 'index') continue;
    contents.set(entry.digest, needs);
    foreign.push(...parsed.foreignLayers.map((layer) => ({ ...layer, entry: entry.digest })));
  }
  // The record is the proof that the repository had the layers that it lists (I9).
  for (const { entry: _, ...layer } of foreign) {
    if (!listed.has(layer.digest) || content.has(layer.digest)) continue;
    if (!(await arePresent([layer]))) continue;
    complete.push(layer.digest);
    content.set(layer.digest, layer);
  }
  const lost = listed.size - complete.length;
  return { entries, complete, contents, foreign, content: [...content.values()], lost };
}

/** Every manifest below an index, nested ones read; for a single manifest, itself with its config's platform. */
async function readEntries(
  deps: TreeDeps,
  root: Descriptor,
  content: Parsed,
  manifests: Map<Digest, Parsed>,
  leads: (entry: IndexEntry) => boolean,
  signal: AbortSignal,
): Promise<IndexEntry[] | undefined> {
  if (content.kind === 'manifest') return [await withPlatform(deps, root, content, signal)];
  const entries = new Map<string, IndexEntry>();
  let level: Index[] = [content];
  for (let depth = 0; level.length > 0 && depth <= deps.limits.depth; depth++) {
    const nested: Index[] = [];
    for (const entry of level.flatMap((index) => index.entries)) {
      const key = JSON.stringify([entry.digest, entry.platform, entry.attests]);
      if (entries.has(key)) continue;
      entries.set(key, entry);
      if (entries.size > deps.limits.fanOut) return undefined;
      if (!leads(entry)) continue;
      const parsed = await readParsed(deps, entry, signal);
      if (parsed === undefined || (parsed.kind !== 'index' && isIndexType(entry.mediaType))) return undefined;
      manifests.set(entry.digest, parsed);
      if (parsed.kind === 'index') nested.push(parsed);
    }
    level = nested;
  }
  return [...entries.values()];
}

/** Adds the platform from the config of a single image; an artifact has none. */
async function withPlatform(
  { store, limits }: TreeDeps,
  root: Descriptor,
  manifest: Manifest,
  signal: AbortSignal,
): Promise<IndexEntry> {
  try {
    const platform = await statedPlatform(manifest, limits, (config) =>
      store.read(config, limits.manifestBytes, signal),
    );
    return platform === undefined ? root : { ...root, platform };
  } catch (error) {
    if (error instanceof ContentLostError) return root; // Then the image is incomplete anyway.
    throw error;
  }
}

/** The manifest in the store; undefined if it is gone. */
async function readParsed(
  { store, limits }: TreeDeps,
  entry: Descriptor,
  signal: AbortSignal,
): Promise<Parsed | undefined> {
  try {
    const bytes = await store.read(entry, limits.manifestBytes, signal);
    return parseManifest(bytes, isTyped(entry) ? entry.mediaType : undefined, limits);
  } catch (error) {
    if (error instanceof ContentLostError) return undefined;
    throw error;
  }
}

/** Whether all of them are in the store. Checks each digest once, and writes its row. */
function presence(deps: TreeDeps, signal: AbortSignal) {
  const known = new Map<Digest, boolean>();
  return async (descriptors: readonly Descriptor[]): Promise<boolean> => {
    const unknown = distinct(descriptors).filter(({ digest }) => !known.has(digest));
    const missing = await reconcile(deps, unknown, { adopt: true, signal });
    for (const { digest } of unknown) known.set(digest, !missing.has(digest));
    return descriptors.every(({ digest }) => known.get(digest) === true);
  };
}

const distinct = <T extends Descriptor>(all: readonly T[]): T[] => [
  ...new Map(all.map((one) => [one.digest, one])).values(),
];
