import type { Found, Pointer, Root } from '../catalog/catalog.ts';
import { BlobsFailedError } from '../errors/cache-error.ts';
import type { Fence } from '../lock/fence.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import type { TrustDomain } from '../reference/trust-domain.ts';
import type { Upstream } from '../registry/upstream.ts';
import { blobAlone, prepareBlob } from './blob-alone.ts';
import {
  carrying,
  type HeldManifest,
  inlineOf,
  type ReadManifest,
  readManifest,
  withPositions,
} from './read-manifest.ts';
import { copier } from './copier.ts';
import type { Coverage, Wanted } from './coverage.ts';
import { isAnswered, receiptOfHit, type EarlierResolvers } from './hit.ts';
import { contentOf, planPull, type PlannedContent } from './plan.ts';
import { coveredBy, publish, publishedKnown, storeManifests, type PublicationContext } from './publish.ts';
import type { PullDeps, PullRequest } from './pull-request.ts';
import { draftPresent, type ReceiptDraft } from './receipt-draft.ts';
import type { Receipt } from './receipt.ts';
import { ensureRecorded } from './ref-order.ts';
import { resolveRoot, type Resolved } from './resolve.ts';
import { findRestored } from './whole.ts';

/** A pull that holds its lock. */
export interface HeldPull {
  readonly deps: PullDeps;
  readonly upstream: Upstream;
  readonly request: PullRequest;
  readonly wanted: Wanted;
  readonly lock: Fence;
  readonly draft: ReceiptDraft;
  readonly signal: AbortSignal;
  /** Absent for a pull that others joined while it waited: then no resolution but its own is new enough for the last of them. */
  readonly earlier?: EarlierResolvers;
  /** When an earlier try of the same pull began (epoch milliseconds): what was published since is its doing, though it died before it could say so. */
  readonly begunMs?: number | undefined;
}

/** All that copying and publishing need to know of a pull. */
export interface Prepared {
  /** What fetching proves (I9): whoever reads the registry as somebody else has to prepare again. */
  readonly domain: TrustDomain;
  readonly content: PlannedContent;
  /** As they were read, for messages. */
  readonly manifests: readonly ReadManifest[];
  /** Those of `content.blobs` that the cache lacks, or may not use here. */
  readonly missing: readonly Descriptor[];
  /** Absent for a blob alone: no pointer leads to it. */
  readonly ground?: PublicationContext;
  /** What is complete once it is published. */
  readonly covered: Pick<Coverage, 'entries'>;
  /** All of it is published already, but for what the registry lacked when it was asked last: if it still has nothing of `missing`, the pull is a hit. */
  readonly unchanged: boolean;
}

/** The pull is over, and this is its receipt; or there is something to copy and to publish. */
export type Preparation =
  { readonly receipt: Receipt; readonly prepared?: never } | { readonly prepared: Prepared; readonly receipt?: never };

/**
 * The first step of a pull, under its lock: a hit, or a pull whose content is all there, ends here. Else the manifests are in the store, invisible without links,
 * so that no later step fetches one. Repeating it is safe.
 *
 * @throws CacheError (ManifestUnknownError, PlatformMissingError, DeniedError, …)
 */
export async function prepare(pull: HeldPull): Promise<Preparation> {
  const { deps, upstream, request, wanted, lock, draft, signal, earlier, begunMs } = pull;
  const digest = blobAlone(request);
  if (digest !== undefined) return await prepareBlob(pull, digest);

  // Somebody may just have finished, or have brought back what was lost.
  const now = await findRestored(deps, request.reference, wanted, signal);
  if (isAnswered(request, earlier, now, wanted)) {
    draft.recorded(await ensureRecorded(deps, request.reference, now, signal));
    return { receipt: hitOrOurs(begunMs, now.pointer, receiptOfHit(draft, now, wanted)) };
  }

  // What does the name mean, under the lock? If we have that already, only the pointer moves, and not even that if it is there.
  const resolved = await resolveRoot(deps, upstream, request, now, wanted, lock, signal);
  const { checkedMs, pointer, found, known } = resolved;
  // Where the registry lacked some of it, alwaysPull asks for that again.
  if (known !== undefined && !(request.alwaysPull && known.covered.skipped.length > 0)) {
    return { receipt: await publishKnownRoot(pull, now, resolved, known) };
  }
  const manifest = known === undefined ? resolved.manifest : await readKnownRoot(pull, known.root);
  draft.resolved(manifest.descriptor);

  // What is wanted, minus what is there (and may be used, I9). Only a single image's config moves early: it says the platform.
  const carried = inlineOf([manifest.content]);
  const { find, copy, obtain } = copier(deps, carrying(upstream, carried), draft, signal);
  const obtainPlaced = (config: Descriptor): Promise<Uint8Array> =>
    obtain(config).catch((error: unknown) => {
      throw error instanceof BlobsFailedError ? withPositions(error, [manifest]) : error;
    });
  const plan = await planPull({ deps, upstream, request, wanted, signal, obtain: obtainPlaced }, manifest);
  draft.planned({ ...plan, blobs: [...plan.blobs, ...plan.opaque.map(({ descriptor }) => descriptor)] });
  // What manifests carry themselves needs no registry, and no later step has their bytes.
  for (const [digest, bytes] of inlineOf(plan.manifests.map(({ content }) => content))) carried.set(digest, bytes);
  if (carried.size > 0) await copy(plan.blobs.filter(({ digest }) => carried.has(digest)));
  const missing = await find(plan.blobs);
  deps.progress?.planned?.(plan.blobs, missing);
  const fresh = plan.manifests
    .map(({ descriptor }) => descriptor.digest)
    .filter((one) => found.linked?.has(one) !== true);
  if (known !== undefined && fresh.length === 0 && missing.length === 0) {
    return { receipt: await publishKnownRoot(pull, now, resolved, known) };
  }
  await storeManifests(deps, upstream, [...plan.manifests, plan.root], signal);
  for (const { descriptor, stored } of plan.opaque) draft.blob(descriptor, stored ? 'present' : 'copied');
  const ground = { pointer, checkedMs, found };
  // An entry that lacks what it lacked before is left out again.
  const open = new Set(missing.map(({ digest }) => digest));
  const mayBeLeftOut = (one: Digest): boolean =>
    plan.optional.includes(one) && plan.contents.get(one)?.some(({ digest }) => open.has(digest)) === true;
  const unchanged = known !== undefined && fresh.every(mayBeLeftOut) && pointer?.published === known.root.digest;
  const { domain } = upstream;
  const manifests = [plan.root, ...plan.manifests].map(({ descriptor, content }) => ({ descriptor, content }));
  const covered = coveredBy(plan);
  return { prepared: { domain, content: contentOf(plan), manifests, missing, ground, covered, unchanged } };
}

const readKnownRoot = ({ deps, upstream, signal }: HeldPull, root: Root): Promise<HeldManifest> =>
  readManifest(deps, upstream, { digest: root.digest, linked: root }, signal);

async function publishKnownRoot(
  pull: HeldPull,
  now: Found,
  { checkedMs, pointer, found }: Resolved,
  known: NonNullable<Resolved['known']>,
): Promise<Receipt> {
  const { deps, upstream, request, lock, draft, signal, begunMs } = pull;
  const { reference } = request;
  draftPresent(draft, known.root, known.covered);
  if (pointer?.published === known.root.digest) {
    draft.recorded(await ensureRecorded(deps, reference, now, signal));
    return hitOrOurs(begunMs, pointer, draft.finish('hit', upstream.requests));
  }
  const ground = { pointer, checkedMs, found };
  draft.recorded(await publish(deps, reference, ground, publishedKnown(known.root, known.covered), lock, signal));
  return draft.finish('pulled', upstream.requests);
}

/** A hit, unless an earlier try of the same pull moved the pointer since it began. */
export function hitOrOurs(begunMs: number | undefined, pointer: Pointer | undefined, hit: Receipt): Receipt {
  const moved = begunMs !== undefined && (pointer?.publishedMs ?? 0) >= begunMs;
  return moved ? { ...hit, outcome: 'pulled' } : hit;
}
