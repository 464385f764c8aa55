import type { Found, FoundRoot, Link, Pointer, Root } from '../catalog/catalog.ts';
import { CacheError, LeaseLostError, RateLimitedError, UpstreamUnavailableError } from '../errors/cache-error.ts';
import type { Fence } from '../lock/fence.ts';
import type { Digest } from '../oci/digest.ts';
import type { Repository } from '../reference/reference.ts';
import type { Resolution, Upstream } from '../registry/upstream.ts';
import { coverage, type Coverage, type Wanted } from './coverage.ts';
import { isManifestLink } from './other-entries.ts';
import type { PullDeps, PullRequest } from './pull-request.ts';
import { held, readManifest, type HeldManifest } from './read-manifest.ts';
import { wantedOf, withRows } from './whole.ts';

/** Tries after other writers recorded a resolution first. */
const MOST_OVERTAKINGS = 2;

/**
 * What the reference means at the upstream now: a root that is complete for this repository, or one whose
 * bytes were just read.
 */
export type Resolved = {
  readonly checkedMs: number;
  /** The pointer of the reference, with that resolution. */
  readonly pointer: Pointer | undefined;
  /** The root by the catalogue. Rows of its content that are read later are newer. */
  readonly found: FoundRoot;
} & (
  | { readonly known: { readonly root: Root; readonly covered: Coverage }; readonly manifest?: never }
  | { readonly known?: never; readonly manifest: HeldManifest }
);

/**
 * Asks the upstream, under the lock, what the reference means, and records it before anything is copied: from
 * then on the cache knows that `published` may be out of date.
 *
 * A root that is complete for this repository needs no GET. A resolution since `request.resolvedSinceMs`
 * needs no HEAD either. If the manifest cannot be read by the digest that the upstream gave (the tag moved,
 * or a registry or mirror was wrong), that answer is dropped, and the bytes under the tag decide.
 *
 * @param now the reference in the catalogue, read under the lock.
 * @throws ManifestUnknownError; LeaseLostError.
 */
export async function resolveRoot(
  deps: PullDeps,
  upstream: Upstream,
  request: PullRequest,
  now: Found,
  wanted: Wanted,
  lock: Fence,
  signal: AbortSignal,
): Promise<Resolved> {
  const { reference } = request;
  const isTag = reference.digest === undefined;
  let { pointer } = now;
  let known = knownResolution(request, pointer);
  let byBytes = false;
  for (let overtakings = 0; ;) {
    const resolution = known ?? (await upstream.resolve(reference, signal, byBytes));
    const { digest, checkedMs } = resolution;
    const found = await findRoot(deps, upstream.repository, digest, now, wanted, signal);
    const { root, linked } = found;
    const covered = coverage(found, wanted);
    const complete = root !== undefined && covered.complete ? { root, covered } : undefined;
    let manifest: HeldManifest | undefined;
    if (complete === undefined) {
      try {
        const held = linked === undefined ? await findLinked(deps, request, resolution, signal) : root;
        manifest = await readRoot(deps, upstream, resolution, held, signal);
      } catch (error) {
        if (!isTag || byBytes || !mayBeWrong(error)) throw error;
        known = undefined;
        byBytes = true;
        continue;
      }
    }
    if (isTag && known === undefined) {
      const answer = { resolved: digest, checkedMs, pointer };
      const recorded = await deps.catalog.recordResolution(reference, answer, lock, signal);
      if (recorded === undefined) {
        if (overtakings === MOST_OVERTAKINGS) throw overtaken(lock);
        overtakings += 1;
        pointer = await deps.catalog.findPointer(reference, { consistent: true, signal });
        continue;
      }
      pointer = recorded;
    }
    if (complete !== undefined) return { checkedMs, pointer, found, known: complete };
    if (manifest !== undefined) return { checkedMs, pointer, found, manifest };
  }
}

/** The resolution of the tag may be wrong. A rate limit or a time-out does not show that. */
const mayBeWrong = (error: unknown): boolean =>
  error instanceof CacheError &&
  error.origin === 'upstream' &&
  !(error instanceof RateLimitedError) &&
  !(error instanceof UpstreamUnavailableError && error.timedOut);

const overtaken = ({ name }: Fence): LeaseLostError =>
  new LeaseLostError(
    'resolve',
    `other tries under the lock ${name} kept recording their resolutions; nothing was changed, pull again`,
  );

/** The root by the catalogue; from `now` if that is the same root, because `now` was read under the lock. */
async function findRoot(
  deps: PullDeps,
  repository: Repository,
  digest: Digest,
  { root, linked, skipped, epoch, stamp }: Found,
  wanted: Wanted,
  signal: AbortSignal,
): Promise<FoundRoot> {
  if (root?.digest === digest && epoch !== undefined) {
    const ofRepository = { ...(linked && { linked }), ...(skipped && { skipped }) };
    return { root, epoch, ...ofRepository, ...(stamp === undefined ? {} : { stamp }) };
  }
  const found = await deps.catalog.findRoot(repository, digest, signal);
  const entries = wantedOf(found, wanted).map((entry) => entry.digest);
  return await withRows(deps, found, entries, { remember: true, signal });
}

function knownResolution(
  { reference, resolvedSinceMs = Infinity }: PullRequest,
  { resolved, checkedMs = 0 }: Pick<Pointer, 'resolved' | 'checkedMs'> = {},
): Resolution | undefined {
  if (reference.digest !== undefined || resolved === undefined || checkedMs < resolvedSinceMs) return undefined;
  return { digest: resolved, checkedMs };
}

/** The link of a root that serving has just stored and linked, before any of its content. */
async function findLinked(
  { catalog }: Pick<PullDeps, 'catalog'>,
  { reference, resolvedSinceMs }: PullRequest,
  { digest }: Resolution,
  signal: AbortSignal,
): Promise<Link | undefined> {
  if (resolvedSinceMs === undefined && reference.digest === undefined) return undefined;
  const link = (await catalog.findLinks(reference.repository, [digest], signal)).get(digest);
  // What is linked as a blob may be a manifest, too: then it is read from the registry.
  return link !== undefined && isManifestLink(link) ? link : undefined;
}

function readRoot(
  deps: PullDeps,
  upstream: Upstream,
  { digest, manifest }: Resolution,
  linked: Link | undefined,
  signal: AbortSignal,
): Promise<HeldManifest> | HeldManifest {
  if (linked === undefined && manifest !== undefined) return held(deps, manifest, false);
  return readManifest(deps, upstream, { digest, linked }, signal);
}
