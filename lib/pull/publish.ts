import type { BlobRow, FoundRoot, Link, Pointer, Root } from '../catalog/catalog.ts';
import type { Links, LinkWrites, Pointers, PointerWrites, Roots } from '../catalog/ports.ts';
import { bareEntries, blobEntries, skippedAfter, talliesOf, withNeeders } from '../catalog/needs.ts';
import { CatalogError } from '../errors/cache-error.ts';
import type { Fence } from '../lock/fence.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { blobsOf } from '../oci/manifest.ts';
import type { Reference, Repository } from '../reference/reference.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import type { Upstream } from '../registry/upstream.ts';
import type { StoredContent } from '../store/content-store.ts';
import type { Coverage } from './coverage.ts';
import { allOrFirstFailure, newPermits } from '../async/parallel.ts';
import type { Plan, PlannedContent } from './plan.ts';
import type { PullDeps } from './pull-request.ts';
import type { HeldManifest } from './read-manifest.ts';
import { nextIncarnation, failureOfRecord, recordOf, writeInOrder, type RefDeps } from './ref-order.ts';
import { foreignOf, MOST_LAYERS_REMEMBERED } from './skipped.ts';

const PARALLEL_PUTS = 6;
/** Tries to store a manifest whose row others keep writing. */
const ROUNDS = 10;

/**
 * Stores the manifests of a plan in the order of `manifests`: children before the indexes above them, the
 * root last (I2). Writes what they need first. Without links they are invisible. Skips those that the
 * catalogue calls present.
 */
export async function storeManifests(
  deps: Pick<PullDeps, 'catalog' | 'store'>,
  upstream: Pick<Upstream, 'domain'>,
  manifests: readonly HeldManifest[],
  signal: AbortSignal,
): Promise<void> {
  const digests = manifests.map(({ descriptor }) => descriptor.digest);
  const rows = await deps.catalog.findBlobs(digests, signal);
  const unknown = manifests.filter(({ descriptor }) => rows.get(descriptor.digest)?.state !== 'present');
  // Opaque manifests get no row of needs: another registry may give the same bytes a type that needs something.
  const known = unknown.filter(({ content }) => content.kind === 'index' || content.opaque !== true);
  await deps.catalog.writeContents(new Map(known.map(needsOf)), signal);
  const permits = newPermits(PARALLEL_PUTS);
  const put = (some: readonly HeldManifest[]) =>
    allOrFirstFailure(some, signal, (manifest, stop) =>
      permits.run(() => storeOne(deps, upstream.domain, manifest, rows.get(manifest.descriptor.digest), stop)),
    );
  await put(manifests.filter((manifest) => manifest.content.kind === 'manifest'));
  for (const index of manifests.filter((manifest) => manifest.content.kind === 'index')) await put([index]);
}

const needsOf = ({ descriptor, content }: HeldManifest): [Digest, readonly Digest[]] => [
  descriptor.digest,
  content.kind === 'manifest' ? blobsOf(content).map(({ digest }) => digest) : [],
];

/**
 * Puts the manifest into the store, if need be, and records it. The store is asked after the row was read; if
 * the row changed meanwhile, both are done again.
 */
async function storeOne(
  { catalog, store }: Pick<PullDeps, 'catalog' | 'store'>,
  domain: TrustDomain,
  { descriptor: content, bytes, stored: isLinked }: HeldManifest,
  known: BlobRow | undefined,
  signal: AbortSignal,
): Promise<void> {
  let row = known;
  for (let round = 1; round <= ROUNDS; round++) {
    if (row?.state === 'present' && (isLinked || row.domains.has(domain))) return;
    const stored = row?.state === 'present' ? storedBy(row) : await store.put(content, bytes, domain, signal);
    const domains = [...(stored.domain === undefined ? [] : [stored.domain]), domain];
    if (await catalog.recordBlob({ content, stored, domains, commit: row?.commit }, signal)) return;
    row = (await catalog.findBlobs([content.digest], signal)).get(content.digest);
  }
  throw new CatalogError(
    'store manifest',
    `the row of manifest ${content.digest} was written by others ${ROUNDS} times in a row; pull again`,
  );
}

/** The object as its row describes it. */
const storedBy = ({ size = 0, etag = '', crc32 }: BlobRow): StoredContent => ({
  size,
  etag,
  ...(crc32 === undefined ? {} : { crc32 }),
});

/**
 * Lets the repository serve content that is in the store, and records what needs it. Idempotent; rows that
 * are right already are not written.
 */
async function linkContent(
  { catalog }: { readonly catalog: Links & LinkWrites },
  repository: Repository,
  { root, manifests, blobs, contents, foreign }: PlannedContent,
  signal: AbortSignal,
): Promise<void> {
  const complete = [...manifests, ...(root === undefined ? [] : [root])].map((one) => ({ ...one, landed: true }));
  const links = withNeeders([...blobs, ...complete], { root: root?.digest, contents, foreign });
  const known = await catalog.findLinks(
    repository,
    links.map(({ digest }) => digest),
    signal,
  );
  const isWritten = ({ digest, landed, neededBy }: Link): boolean => {
    const link = known.get(digest);
    return (
      link !== undefined &&
      (landed !== true || link.landed === true) &&
      (neededBy === undefined || link.neededBy !== undefined)
    );
  };
  const open = links.filter((link) => !isWritten(link));
  if (open.length > 0) await catalog.writeLinks(repository, open, signal);
}

/**
 * Links the content with only the `stored` blobs, after others failed. A link means that the repository
 * proved to have the blob (I9).
 */
export function linkStored(
  deps: Parameters<typeof linkContent>[0],
  repository: Repository,
  content: PlannedContent,
  stored: readonly Descriptor[],
  signal: AbortSignal,
): Promise<void> {
  return linkContent(deps, repository, { ...content, blobs: stored }, signal);
}

/** The reference as it was read under the lock, and when it was resolved. */
export interface PublicationContext {
  readonly pointer: Pointer | undefined;
  readonly checkedMs: number;
  /** What was known of the root, before any row of its content was read. */
  readonly found: FoundRoot;
}

/** What the pointer will show. */
interface PublishedRoot {
  readonly root: {
    readonly digest: Digest;
    readonly mediaType: string;
    readonly size: number;
    readonly entries: Plan['entries'];
  };
  readonly complete: readonly Digest[];
  readonly contents: Plan['contents'];
  readonly foreign: Plan['foreign'];
  readonly skipped: readonly Digest[];
}

/**
 * A root whose content this pull brought. Complete are the root itself, the nested indexes, the wanted
 * manifests, the blobs that an index lists, and the foreign layers that the registry had.
 */
function publishedByPlan(content: PlannedContent, root: Descriptor): PublishedRoot {
  const { manifests, entries, contents, foreign, skipped } = content;
  const { digest, mediaType, size } = root;
  const optional = foreignOf(content);
  const layers = content.blobs.filter((blob) => optional.has(blob.digest)).slice(0, MOST_LAYERS_REMEMBERED);
  const complete = [...[root, ...manifests, ...layers].map((one) => one.digest), ...blobEntries(contents)];
  return { root: { digest, mediaType, size, entries }, complete, contents, foreign, skipped };
}

/** A root that was complete before: nothing new is recorded of its content. */
export function publishedKnown({ digest, mediaType, size, entries }: Root, covered: Coverage): PublishedRoot {
  const complete = [digest, ...covered.entries.filter((one) => one.complete).map(({ entry }) => entry.digest)];
  return { root: { digest, mediaType, size, entries }, complete, contents: new Map(), foreign: [], skipped: [] };
}

/** What a plan covers once it is published. */
export const coveredBy = (plan: Pick<Plan, 'selected'>): Pick<Coverage, 'entries'> => ({
  entries: plan.selected.map((entry) => ({ entry, complete: true })),
});

/**
 * The last step of a pull: links the content, then moves the pointer if the lock is still ours (I3). A blob
 * alone has no pointer. Returns why there is no record in the bucket, as {@link publish} does.
 */
export async function publishPrepared(
  deps: PublishDeps,
  reference: Reference,
  { content, context }: { readonly content: PlannedContent; readonly context?: PublicationContext | undefined },
  lock: Fence,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { root } = content;
  await linkContent(deps, reference.repository, content, signal);
  if (root === undefined || context === undefined) return undefined;
  return await publish(deps, reference, context, publishedByPlan(content, root), lock, signal);
}

/** {@link publishPrepared} for another process, or for another try: what an earlier try published is not published twice. */
export async function resumePublish(
  deps: PublishDeps & { readonly catalog: Pointers & Roots },
  reference: Reference,
  { content, context }: { readonly content: PlannedContent; readonly context?: KeptContext },
  lock: Fence,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { root } = content;
  if (root === undefined || context === undefined)
    return await publishPrepared(deps, reference, { content }, lock, signal);
  const { epoch, ...known } = context;
  const now = await deps.catalog.findPointer(reference, { consistent: true, signal });
  const found = { ...(await deps.catalog.findRoot(reference.repository, root.digest, signal)), epoch };
  // Only an earlier try of ours can have moved the pointer under our lock; it died before its record or its receipt.
  const isOurs =
    now?.generation === (context.pointer?.generation ?? 0) + 1 &&
    now.published === root.digest &&
    now.checkedMs === context.checkedMs;
  if (isOurs) return await recordRef(deps, reference, found, publishedByPlan(content, root), now, signal);
  return await publishPrepared(deps, reference, { content, context: { ...known, found } }, lock, signal);
}

/** A {@link PublicationContext} as it is kept between processes. */
export interface KeptContext extends Omit<PublicationContext, 'found'> {
  /** Of the root, before any row of its content was read. */
  readonly epoch: number;
}

export const keptContext = ({ pointer, checkedMs, found }: PublicationContext): KeptContext => ({
  pointer,
  checkedMs,
  epoch: found.epoch,
});

type PublishDeps = RefDeps & {
  readonly catalog: Links & LinkWrites & PointerWrites;
};

/**
 * Makes the root visible under the reference: one transaction that holds only if the lock is still ours (I3),
 * then the record in the bucket.
 *
 * Returns the reason if the record could not be written. The root is published all the same, and the next
 * pull that takes the lock writes the record.
 */
export async function publish(
  deps: RefDeps & { readonly catalog: PointerWrites },
  reference: Reference,
  { found, ...meant }: PublicationContext,
  published: PublishedRoot,
  lock: Fence,
  signal: AbortSignal,
): Promise<string | undefined> {
  const publishedMs = Date.now();
  const { pointer: seen } = meant;
  let incarnation = seen?.incarnation;
  // A bucket that does not answer does not stop a publish.
  const problem = await failureOfRecord(signal, async () => (incarnation = await nextIncarnation(deps, seen, signal)));
  signal.throwIfAborted();
  const order = incarnation === undefined ? {} : { incarnation };
  const { epoch, stamp } = found;
  const publication = { reference, ...meant, ...published, ...order, publishedMs, epoch, stamp, known: found };
  const pointer = await deps.catalog.publish(publication, lock, signal);
  return problem ?? (await recordRef(deps, reference, found, published, pointer, signal));
}

/** Records in the bucket what the reference means, so that the table can be rebuilt. Idempotent. Returns why it could not. */
async function recordRef(
  deps: RefDeps,
  reference: Reference,
  found: FoundRoot,
  { root, complete, contents, skipped }: PublishedRoot,
  pointer: Pointer,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { publishedMs = 0, generation } = pointer;
  const own = talliesOf(contents);
  const tallies = { get: (entry: Digest) => own.get(entry) ?? found.root?.contents.get(entry) };
  const bare = bareEntries({ entries: root.entries, contents: tallies });
  return await failureOfRecord(signal, async () => {
    const incarnation = await nextIncarnation(deps, pointer, signal);
    const record = {
      ...recordOf(
        reference,
        root,
        [...(found.linked ?? []), ...complete],
        bare,
        skippedAfter(found.skipped, complete, skipped),
      ),
      publishedMs,
      generation,
      incarnation,
    };
    await writeInOrder(deps, reference, record, signal);
  });
}
