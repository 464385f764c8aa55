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
  /** Absent for a pull that others joined while it waited: then only its own resolution is new enough for all of them. */
  readonly earlier?: EarlierResolvers;
  /** When an earlier try of the same pull began (epoch milliseconds). What was published since then was published by that try. */
  readonly begunMs?: number | undefined;
}

/** All that copying and publishing need. */
export interface Prepared {
  /** The trust domain that fetching proves (I9). A process with other credentials must prepare again. */
  readonly domain: TrustDomain;
  readonly content: PlannedContent;
  /** For error messages. */
  readonly manifests: readonly ReadManifest[];
  /** Those of `content.blobs` that the cache lacks, or that this repository may not use. */
  readonly missing: readonly Descriptor[];
  /** Absent for a blob alone: no pointer leads to it. */
  readonly context?: PublicationContext;
  /** What is complete after the publish. */
  readonly covered: Pick<Coverage, 'entries'>;
  /**
   * Everything is published already, except what the registry lacked at the last try. If it still lacks all
   * of `missing`, the pull is a hit.
   */
  readonly unchanged: boolean;
}

/** Either the receipt of a pull that is over, or what is left to copy and publish. */
export type Preparation =
  { readonly receipt: Receipt; readonly prepared?: never } | { readonly prepared: Prepared; readonly receipt?: never };

/**
 * The first step of a pull, under its lock. Ends the pull if all content is there already. Otherwise it
 * stores the manifests, so that no later step fetches one; without links they are invisible. Safe to repeat.
 *
 * @throws CacheError (ManifestUnknownError, PlatformMissingError, DeniedError, …)
 */
export async function prepare(pull: HeldPull): Promise<Preparation> {
  const { deps, upstream, request, wanted, lock, draft, signal, earlier, begunMs } = pull;
  const digest = blobAlone(request);
  if (digest !== undefined) return await prepareBlob(pull, digest);

  // Another pull may just have finished, or restored content that was lost.
  const now = await findRestored(deps, request.reference, wanted, signal);
  if (isAnswered(request, earlier, now, wanted)) {
    draft.recorded(await ensureRecorded(deps, request.reference, now, signal));
    return { receipt: hitOrOurs(begunMs, now.pointer, receiptOfHit(draft, now, wanted)) };
  }

  // Resolve the name under the lock. If its content is all there, only the pointer moves, if at all.
  const resolved = await resolveRoot(deps, upstream, request, now, wanted, lock, signal);
  const { checkedMs, pointer, found, known } = resolved;
  // alwaysPull also asks again for content that the registry lacked before.
  if (known !== undefined && !(request.alwaysPull && known.covered.skipped.length > 0)) {
    return { receipt: await publishKnownRoot(pull, now, resolved, known) };
  }
  const manifest = known === undefined ? resolved.manifest : await readKnownRoot(pull, known.root);
  draft.resolved(manifest.descriptor);

  // Plan: what is wanted, minus what is there and may be used (I9). Only a single image's config is copied
  // early: it states the platform.
  const carried = inlineOf([manifest.content]);
  const { find, copy, obtain } = copier(deps, carrying(upstream, carried), draft, signal);
  const obtainPlaced = (config: Descriptor): Promise<Uint8Array> =>
    obtain(config).catch((error: unknown) => {
      throw error instanceof BlobsFailedError ? withPositions(error, [manifest]) : error;
    });
  const plan = await planPull({ deps, upstream, request, wanted, signal, obtain: obtainPlaced }, manifest);
  draft.planned({ ...plan, blobs: [...plan.blobs, ...plan.opaque.map(({ descriptor }) => descriptor)] });
  // Blobs that manifests carry inline are copied now: no later step has the bytes of the manifests.
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
  const context = { pointer, checkedMs, found };
  // An optional entry that still lacks the same blobs is left out again.
  const open = new Set(missing.map(({ digest }) => digest));
  const mayBeLeftOut = (one: Digest): boolean =>
    plan.optional.includes(one) && plan.contents.get(one)?.some(({ digest }) => open.has(digest)) === true;
  const unchanged = known !== undefined && fresh.every(mayBeLeftOut) && pointer?.published === known.root.digest;
  const { domain } = upstream;
  const manifests = [plan.root, ...plan.manifests].map(({ descriptor, content }) => ({ descriptor, content }));
  const covered = coveredBy(plan);
  return { prepared: { domain, content: contentOf(plan), manifests, missing, context, covered, unchanged } };
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
  const context = { pointer, checkedMs, found };
  draft.recorded(await publish(deps, reference, context, publishedKnown(known.root, known.covered), lock, signal));
  return draft.finish('pulled', upstream.requests);
}

/** A hit, unless an earlier try of the same pull moved the pointer since it began. */
export function hitOrOurs(begunMs: number | undefined, pointer: Pointer | undefined, hit: Receipt): Receipt {
  const moved = begunMs !== undefined && (pointer?.publishedMs ?? 0) >= begunMs;
  return moved ? { ...hit, outcome: 'pulled' } : hit;
}
