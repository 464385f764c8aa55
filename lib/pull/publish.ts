import type { Catalog, Pointer, Root, Use } from '../catalog/catalog.ts';
import { withNeeders } from '../catalog/needs.ts';
import type { Fence } from '../lock/lease.ts';
import type { Digest } from '../oci/digest.ts';
import type { Reference, Repository } from '../reference/reference.ts';
import type { Upstream } from '../registry/upstream.ts';
import type { Coverage } from './coverage.ts';
import { allOrFirstFailure, limiter } from './limiter.ts';
import type { Plan, PlannedContent } from './plan.ts';
import type { PullDeps } from './pull-request.ts';
import type { HeldManifest } from './read-manifest.ts';
import { nextIncarnation, problemOf, recordOf, writeInOrder, type RefDeps } from './ref-order.ts';

const PARALLEL_PUTS = 6;

/**
 * Stores the manifests of a plan, the deepest indexes before those above them, the root last (I2): that is their order in `manifests`. Without links they
 * are invisible.
 */
export async function storeManifests(
  deps: PullDeps,
  upstream: Upstream,
  manifests: readonly HeldManifest[],
  signal: AbortSignal,
): Promise<void> {
  const places = limiter(PARALLEL_PUTS);
  const put = (some: readonly HeldManifest[]) =>
    allOrFirstFailure(
      some.filter((manifest) => !manifest.stored),
      signal,
      ({ descriptor, bytes }, stop) =>
        places.run(async () => {
          const stored = await deps.store.put(descriptor, bytes, upstream.domain, stop);
          await deps.catalog.recordBlob(descriptor, stored, [upstream.domain], stop);
        }),
    );
  await put(manifests.filter((manifest) => manifest.content.kind === 'manifest'));
  for (const index of manifests.filter((manifest) => manifest.content.kind === 'index')) await put([index]);
}

/** Lets the repository serve what has landed, and says what needs it. Idempotent. */
export async function linkContent(
  deps: Pick<PullDeps, 'catalog'>,
  repository: Repository,
  content: PlannedContent,
  signal: AbortSignal,
): Promise<void> {
  const landed = [...content.manifests, content.root].map((manifest) => ({ ...manifest, landed: true }));
  const uses = usesOf(content);
  await deps.catalog.writeLinks(repository, withNeeders([...content.blobs, ...landed], uses), signal);
  await deps.catalog.writeUses(uses, signal);
}

function usesOf({ root, manifests, contents }: PlannedContent): Use[] {
  const own = [...manifests, root].map(({ digest }): Use => ({ digest, root: root.digest, child: digest }));
  const blobs = [...contents].flatMap(([child, all]) =>
    all.map((blob): Use => ({ digest: blob.digest, root: root.digest, child })),
  );
  return [...own, ...blobs];
}

/** What was known of the reference under the lock, and what it means now. */
export interface PublicationContext {
  readonly reference: Reference;
  readonly pointer: Pointer | undefined;
  readonly checkedMs: number;
  /** What the repository had complete of the root before. */
  readonly before: readonly Digest[];
  readonly epoch: number;
}

/** What the pointer will show. */
export interface PublishedRoot {
  readonly root: {
    readonly digest: Digest;
    readonly mediaType: string;
    readonly size: number;
    readonly entries: Plan['entries'];
  };
  readonly complete: readonly Digest[];
  readonly contents: Plan['contents'];
  readonly foreign: Plan['foreign'];
}

/** A root whose content this pull landed: the root itself, the nested indexes and the wanted manifests are complete. */
export function publishedByPlan({ root, manifests, entries, contents, foreign }: PlannedContent): PublishedRoot {
  const { digest, mediaType, size } = root;
  const complete = [root, ...manifests].map((manifest) => manifest.digest);
  return { root: { digest, mediaType, size, entries }, complete, contents, foreign };
}

/** A root that was complete before: nothing new is said of its content. */
export function publishedKnown({ digest, mediaType, size, entries }: Root, covered: Coverage): PublishedRoot {
  const complete = [digest, ...covered.entries.map(({ entry }) => entry.digest)];
  return { root: { digest, mediaType, size, entries }, complete, contents: new Map(), foreign: [] };
}

/** What a plan covers once it is published. */
export const coveredBy = (plan: Pick<Plan, 'selected'>): Coverage => ({
  complete: true,
  entries: plan.selected.map((entry) => ({ entry, complete: true })),
});

/**
 * Makes the root visible under the reference: one transaction that holds only if the lock is still ours (I3), then the record in the bucket.
 *
 * Returns why there is no record, where it could not be written: the root is published all the same, and the next pull that takes the lock writes it.
 */
export async function publish(
  deps: RefDeps & { readonly catalog: Pick<Catalog, 'publish'> },
  context: PublicationContext,
  published: PublishedRoot,
  lock: Fence,
  signal: AbortSignal,
): Promise<string | undefined> {
  const publishedMs = Date.now();
  const { pointer: seen } = context;
  let incarnation = seen?.incarnation;
  // A bucket that cannot be asked stops no publish.
  const problem = await problemOf(signal, async () => (incarnation = await nextIncarnation(deps, seen, signal)));
  signal.throwIfAborted();
  const order = incarnation === undefined ? {} : { incarnation };
  const pointer = await deps.catalog.publish({ ...context, ...published, ...order, publishedMs }, lock, signal);
  return problem ?? (await recordRef(deps, context, published, pointer, signal));
}

/** Writes down in the bucket what the reference means by `pointer`, so that the table can be rebuilt. Idempotent. Returns why it could not. */
export async function recordRef(
  deps: RefDeps,
  { reference, before }: Pick<PublicationContext, 'reference' | 'before'>,
  { root, complete }: PublishedRoot,
  pointer: Pointer,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { publishedMs = 0, generation } = pointer;
  return await problemOf(signal, async () => {
    const incarnation = await nextIncarnation(deps, pointer, signal);
    const record = { ...recordOf(reference, root, [...before, ...complete]), publishedMs, generation, incarnation };
    await writeInOrder(deps, reference, record, signal);
  });
}
