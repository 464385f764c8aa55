import type { ForeignLayer, Use } from '../catalog/catalog.ts';
import { ContentLostError } from '../errors/cache-error.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { blobsOf, parseManifest, platformOfConfig, type Index, type Manifest } from '../oci/manifest.ts';
import { isImageConfigType, isIndexType, isManifestOrIndexType } from '../oci/media-type.ts';
import { allOrFirstFailure, limiter } from '../pull/limiter.ts';
import type { PullLimits } from '../pull/pull-request.ts';
import type { ContentStore, RefRecord, StoredContent } from '../store/content-store.ts';

const PARALLEL_LOOKS = 16;

/** Content of a root that is in the store. */
interface PresentContent {
  readonly descriptor: Descriptor;
  readonly stored: StoredContent;
}

/** What the bucket holds of a root, of what its record calls complete. */
export interface StoredTree {
  /** Every manifest of the tree, as a pull would know it. */
  readonly entries: readonly IndexEntry[];
  /** The root and those entries whose content is all there. */
  readonly complete: readonly Digest[];
  readonly contents: ReadonlyMap<Digest, readonly Descriptor[]>;
  readonly foreign: readonly ForeignLayer[];
  /** Manifests and blobs of the complete entries, each once. */
  readonly content: readonly PresentContent[];
  readonly uses: readonly Use[];
  /** Entries that the record calls complete, and that are not. */
  readonly lost: number;
}

interface TreeDeps {
  readonly store: ContentStore;
  readonly limits: PullLimits;
}

type Parsed = Index | Manifest;

/** The tree below the record's root, from the bucket alone; undefined where the root, or an index that leads on, is not there. */
export async function readTree(
  deps: TreeDeps,
  record: RefRecord,
  signal: AbortSignal,
): Promise<StoredTree | undefined> {
  const root: Descriptor = { digest: record.digest, mediaType: record.mediaType, size: record.size };
  const rootContent = await readParsed(deps, root, signal);
  if (rootContent === undefined) return undefined;
  const manifests = new Map<Digest, Parsed>([[root.digest, rootContent]]);
  const entries = await readEntries(deps, root, rootContent, manifests, signal);
  if (entries === undefined) return undefined;

  const listed = new Set(record.complete);
  const presence = presentContent(deps, signal);
  const complete: Digest[] = [];
  const contents = new Map<Digest, readonly Descriptor[]>();
  const foreign: ForeignLayer[] = [];
  const content = new Map<Digest, PresentContent>();
  const uses: Use[] = [];
  const wanted = distinct([root, ...entries]).filter(({ digest }) => listed.has(digest));
  for (const entry of wanted) {
    const parsed = manifests.get(entry.digest) ?? (await readParsed(deps, entry, signal));
    const blobs = parsed?.kind === 'manifest' ? blobsOf(parsed) : [];
    const found = parsed === undefined ? undefined : await presence([entry, ...blobs]);
    if (parsed === undefined || found === undefined) continue;
    complete.push(entry.digest);
    for (const one of found) content.set(one.descriptor.digest, one);
    uses.push(...found.map(({ descriptor: { digest } }) => ({ digest, root: root.digest, child: entry.digest })));
    if (parsed.kind === 'index') continue;
    contents.set(entry.digest, blobs);
    foreign.push(...parsed.foreignLayers.map((layer) => ({ ...layer, entry: entry.digest })));
  }
  const lost = listed.size - complete.length;
  return { entries, complete, contents, foreign, content: [...content.values()], uses, lost };
}

/** Every manifest below an index, nested ones read; for a single manifest, itself with its config's platform. */
async function readEntries(
  deps: TreeDeps,
  root: Descriptor,
  content: Parsed,
  manifests: Map<Digest, Parsed>,
  signal: AbortSignal,
): Promise<IndexEntry[] | undefined> {
  if (content.kind === 'manifest') return [await withPlatform(deps, root, content, signal)];
  const entries = new Map<string, IndexEntry>();
  let level: Index[] = [content];
  for (let depth = 0; level.length > 0 && depth <= deps.limits.depth; depth++) {
    const nested: Index[] = [];
    for (const entry of level.flatMap((index) => index.entries)) {
      const key = JSON.stringify([entry.digest, entry.platform, entry.attests]);
      // Those that are neither are left out, as a pull leaves them out.
      if (entries.has(key) || !isManifestOrIndexType(entry.mediaType)) continue;
      entries.set(key, entry);
      if (entries.size > deps.limits.fanOut) return undefined;
      if (!isIndexType(entry.mediaType)) continue;
      const parsed = await readParsed(deps, entry, signal);
      if (parsed?.kind !== 'index') return undefined;
      manifests.set(entry.digest, parsed);
      nested.push(parsed);
    }
    level = nested;
  }
  return [...entries.values()];
}

/** Only the config of a single image says its platform; an artifact has none. */
async function withPlatform(
  { store, limits }: TreeDeps,
  root: Descriptor,
  { config }: Manifest,
  signal: AbortSignal,
): Promise<IndexEntry> {
  if (config === undefined || !isImageConfigType(config.mediaType)) return root;
  try {
    const platform = platformOfConfig(await store.read(config, limits.manifestBytes, signal));
    return platform === undefined ? root : { ...root, platform };
  } catch (error) {
    if (error instanceof ContentLostError) return root; // Then the image is not complete either.
    throw error;
  }
}

/** The manifest in the store; undefined where it is gone. */
async function readParsed(
  { store, limits }: TreeDeps,
  entry: Descriptor,
  signal: AbortSignal,
): Promise<Parsed | undefined> {
  try {
    return parseManifest(await store.read(entry, limits.manifestBytes, signal), entry.mediaType, limits);
  } catch (error) {
    if (error instanceof ContentLostError) return undefined;
    throw error;
  }
}

/** Looks each digest up once: all of them as they are in the store, or undefined if one is not there with its size. */
function presentContent({ store }: TreeDeps, signal: AbortSignal) {
  const places = limiter(PARALLEL_LOOKS);
  const known = new Map<Digest, StoredContent | undefined>();
  return async (descriptors: readonly Descriptor[]): Promise<PresentContent[] | undefined> => {
    const all = await allOrFirstFailure(distinct(descriptors), signal, (descriptor, stop) =>
      places.run(async () => {
        const { digest } = descriptor;
        if (!known.has(digest)) known.set(digest, await store.find(digest, stop));
        return { descriptor, stored: known.get(digest) };
      }),
    );
    const present = all.filter((one): one is PresentContent => one.stored?.size === one.descriptor.size);
    return present.length === all.length ? present : undefined;
  };
}

const distinct = <T extends Descriptor>(all: readonly T[]): T[] => [
  ...new Map(all.map((one) => [one.digest, one])).values(),
];
