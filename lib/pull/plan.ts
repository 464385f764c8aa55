import type { ForeignLayer } from '../catalog/catalog.ts';
import { InvalidManifestError, PlatformMissingError } from '../errors/cache-error.ts';
import type { Descriptor, IndexEntry } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { blobsOf, type Manifest } from '../oci/manifest.ts';
import { formatPlatform, matchesPlatform } from '../oci/platform.ts';
import { formatReference } from '../reference/reference.ts';
import { platformsFor, statedPlatform, withoutPlatform } from './coverage.ts';
import { addDistinct, type PlanContext, planIndex, type PlannedTree } from './plan-index.ts';
import type { HeldManifest } from './read-manifest.ts';

/** Distinct configs and layers of one pull. Each costs rows and requests, however small it is. */
const MOST_BLOBS = 10_000;

/** What must be in the cache before a pull may publish. */
export interface Plan extends Omit<PlannedTree, 'listed'> {
  readonly root: HeldManifest;
  /** The configs and layers of each selected manifest. */
  readonly contents: ReadonlyMap<Digest, readonly Descriptor[]>;
  /** All of them, each digest once. */
  readonly blobs: readonly Descriptor[];
  /** Layers that the registry need not hold. They are among `blobs`, but not in `contents`. */
  readonly foreign: readonly ForeignLayer[];
  /** Wanted manifests of an unknown type. They have no blobs that we know, so receipts count them like blobs. */
  readonly opaque: readonly HeldManifest[];
}

/** A plan without the bytes of its manifests: what is linked and published once all of it is in the store. */
export interface PlannedContent extends Pick<Plan, 'entries' | 'contents' | 'blobs' | 'foreign' | 'optional'> {
  /** What the pointer will show; absent for a blob alone. */
  readonly root?: Descriptor;
  /** Nested indexes and selected manifests. Without the root. */
  readonly manifests: readonly Descriptor[];
  /** Entries that the registry does not have; after the copy, foreign layers, too. */
  readonly skipped: readonly Digest[];
}

export const contentOf = ({ root, manifests, skipped, ...plan }: Plan): PlannedContent => ({
  root: root.descriptor,
  manifests: manifests.map(({ descriptor }) => descriptor),
  entries: plan.entries,
  contents: plan.contents,
  blobs: plan.blobs,
  foreign: plan.foreign,
  optional: plan.optional,
  skipped: skipped.map(({ digest }) => digest),
});

/**
 * Everything that the request wants below `root`. All manifests are read and checked; no layer is copied yet.
 *
 * @throws PlatformMissingError, InvalidManifestError (also for limits), and whatever reading throws.
 */
export async function planPull(context: PlanContext, root: HeldManifest): Promise<Plan> {
  const { listed, ...tree } =
    root.content.kind === 'index' ? await planIndex(context, root) : await planSingle(context, root, root.content);
  const opaque = tree.manifests.filter(({ content }) => content.kind === 'manifest' && content.opaque === true);
  const plan = { root, ...tree, opaque, ...collectBlobs([root, ...tree.manifests], tree.selected, listed) };
  const totalBytes = plan.blobs.reduce((sum, blob) => sum + blob.size, 0);
  const { totalBytes: limit } = context.deps.limits;
  if (totalBytes > limit) {
    throw new InvalidManifestError(
      `${formatReference(context.request.reference)} needs ${totalBytes} bytes of blobs, the limit is ${limit} (limits.totalBytes in the configuration)`,
    );
  }
  return plan;
}

async function planSingle(context: PlanContext, root: HeldManifest, manifest: Manifest): Promise<PlannedTree> {
  const platforms = platformsFor(context.wanted, root.descriptor.mediaType, []);
  const name = formatReference(context.request.reference);
  const asked = platforms.map(formatPlatform).join(', ');
  if (platforms.length > 1) {
    throw new PlatformMissingError(
      `${name} is a single image, not an index: it cannot be of ${asked} at once; ask for one platform or none`,
    );
  }
  const platform = await statedPlatform(manifest, context.deps.limits, context.obtain);
  const [only] = platforms;
  if (only !== undefined && platform === undefined) {
    throw new PlatformMissingError(
      `${name} ${withoutPlatform(manifest, context.deps.limits)}, but ${asked} was asked for; ask without a platform`,
    );
  }
  if (only !== undefined && platform !== undefined && !matchesPlatform(only, platform)) {
    throw new PlatformMissingError(
      `${name} is a single image for ${formatPlatform(platform)}, but ${asked} was asked for`,
    );
  }
  const entry: IndexEntry = platform === undefined ? root.descriptor : { ...root.descriptor, platform };
  return { entries: [entry], selected: [entry], manifests: [], optional: [], skipped: [], listed: [] };
}

function collectBlobs(
  manifests: readonly HeldManifest[],
  selected: readonly IndexEntry[],
  listed: readonly IndexEntry[],
): Pick<Plan, 'contents' | 'blobs' | 'foreign'> {
  const wanted = new Set(selected.map((entry) => entry.digest));
  const blobs = new Map<Digest, Descriptor>();
  const contents = new Map<Digest, readonly Descriptor[]>();
  const foreign: ForeignLayer[] = [];
  for (const { descriptor, content } of manifests) {
    if (content.kind !== 'manifest' || !wanted.has(descriptor.digest)) continue;
    const own = blobsOf(content);
    contents.set(descriptor.digest, own);
    addDistinct(blobs, own);
    foreign.push(...content.foreignLayers.map((layer) => ({ ...layer, entry: descriptor.digest })));
    if (blobs.size + foreign.length > MOST_BLOBS) {
      throw new InvalidManifestError(`the image has more than ${MOST_BLOBS} distinct blobs`);
    }
  }
  for (const { digest, mediaType, size } of listed) {
    const blob = { digest, mediaType, size };
    contents.set(digest, [blob]);
    addDistinct(blobs, [blob]);
  }
  // A layer that is foreign in one manifest and ordinary in another is needed.
  const optional = foreign.filter(({ digest }) => !blobs.has(digest));
  addDistinct(
    blobs,
    optional.map(({ entry: _, ...layer }) => layer),
  );
  return { contents, blobs: [...blobs.values()], foreign: optional };
}
