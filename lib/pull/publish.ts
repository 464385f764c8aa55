import type { Pointer, Root, Use } from '../catalog/catalog.ts';
import type { Lease } from '../lock/lease.ts';
import type { Digest } from '../oci/digest.ts';
import { pointerOf, type Reference } from '../reference/reference.ts';
import type { Upstream } from '../registry/upstream.ts';
import type { Coverage } from './coverage.ts';
import { allOrFirstFailure, limiter } from './limiter.ts';
import type { Plan } from './plan.ts';
import type { PullDeps } from './pull-request.ts';
import type { HeldManifest } from './read-manifest.ts';

const PARALLEL_PUTS = 6;

/** Stores the manifests of the plan, children before parents (I2), and lets the repository serve what the plan holds. */
export async function landManifests(
  deps: PullDeps,
  upstream: Upstream,
  plan: Plan,
  signal: AbortSignal,
): Promise<void> {
  const places = limiter(PARALLEL_PUTS);
  const put = (manifests: readonly HeldManifest[]) =>
    allOrFirstFailure(
      manifests.filter((manifest) => !manifest.stored),
      signal,
      ({ descriptor, bytes }, stop) =>
        places.run(async () => {
          const stored = await deps.store.put(descriptor, bytes, upstream.domain, stop);
          await deps.catalog.recordBlob(descriptor, stored, [upstream.domain], stop);
        }),
    );
  await put(plan.manifests.filter((manifest) => manifest.content.kind === 'manifest'));
  // `plan.manifests` has the deepest indexes first.
  for (const index of plan.manifests.filter((manifest) => manifest.content.kind === 'index')) await put([index]);
  await put([plan.root]);

  const manifests = [...plan.manifests, plan.root].map((manifest) => manifest.descriptor);
  await deps.catalog.writeLinks(upstream.repository, [...plan.blobs, ...manifests], signal);
  await deps.catalog.writeUses(usesOf(plan), signal);
}

function usesOf({ root, manifests, contents }: Plan): Use[] {
  const rootDigest = root.descriptor.digest;
  const own = [...manifests, root].map(({ descriptor: { digest } }): Use => ({
    digest,
    root: rootDigest,
    child: digest,
  }));
  const blobs = [...contents].flatMap(([child, all]) =>
    all.map((blob): Use => ({ digest: blob.digest, root: rootDigest, child })),
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
export function publishedByPlan({ root, manifests, entries, contents, foreign }: Plan): PublishedRoot {
  const { digest, mediaType, size } = root.descriptor;
  const complete = [root, ...manifests].map((manifest) => manifest.descriptor.digest);
  return { root: { digest, mediaType, size, entries }, complete, contents, foreign };
}

/** A root that was complete before: nothing new is said of its content. */
export function publishedKnown({ digest, mediaType, size, entries }: Root, covered: Coverage): PublishedRoot {
  const complete = [digest, ...covered.entries.map(({ entry }) => entry.digest)];
  return { root: { digest, mediaType, size, entries }, complete, contents: new Map(), foreign: [] };
}

/** What a plan covers once it is published. */
export const coveredBy = (plan: Plan): Coverage => ({
  complete: true,
  entries: plan.selected.map((entry) => ({ entry, complete: true })),
});

/**
 * Makes the root visible under the reference: one transaction that holds only if the lock is still ours (I3), then the record in the bucket.
 * `done` is told in between: a pull that is stopped at the record has published.
 */
export async function publish(
  deps: PullDeps,
  context: PublicationContext,
  published: PublishedRoot,
  lock: Lease,
  signal: AbortSignal,
  done: () => void = () => undefined,
): Promise<void> {
  const { reference } = context;
  const publishedMs = Date.now();
  const pointer = await deps.catalog.publish({ ...context, ...published, publishedMs }, lock, signal);
  done();
  const { registry, path } = reference.repository;
  const { digest, mediaType, size } = published.root;
  await deps.refs.write(
    { registry, path, pointer: pointerOf(reference) },
    {
      reference: `${registry}/${path}${reference.digest === undefined ? ':' : ''}${pointerOf(reference)}`,
      digest,
      mediaType,
      size,
      complete: [...new Set([...context.before, ...published.complete])].sort(),
      publishedMs,
      generation: pointer.generation,
    },
    signal,
  );
}
