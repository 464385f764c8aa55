import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import type { Found, Pointer, Publication } from '../../lib/catalog/catalog.ts';
import { blobLeaseName, pullLeaseName } from '../../lib/table/keys.ts';
import { leaseWatch } from '../../lib/lock/heartbeat.ts';
import type { Fence } from '../../lib/lock/fence.ts';
import { isLease, type Lease } from '../../lib/lock/lease.ts';
import type { Descriptor, IndexEntry } from '../../lib/oci/descriptor.ts';
import type { Digest } from '../../lib/oci/digest.ts';
import { parseReference, type Reference } from '../../lib/reference/reference.ts';
import { PUBLIC, type TrustDomain } from '../../lib/reference/trust-domain.ts';
import type { StoredContent } from '../../lib/store/content-store.ts';
import { forever, type Reach } from '../support/table-under-test.ts';

export const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';
export const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
export const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar+gzip';
/** Of the locks; long, so that none of them lapses while a test looks at it. */
const LOCK_MS = 30_000;

export const someDigest = (start = ''): Digest =>
  `sha256:${start}${randomBytes(32).toString('hex').slice(start.length)}` as Digest;

export const some = (mediaType = LAYER_TYPE, size = 1_000): Descriptor => ({ mediaType, digest: someDigest(), size });

export const someStored = (size: number, crc32?: string): StoredContent => ({
  size,
  etag: `"${randomBytes(16).toString('hex')}"`,
  ...(crc32 === undefined ? {} : { crc32 }),
});

export const amd64 = { os: 'linux', architecture: 'amd64' };
export const arm64 = { os: 'linux', architecture: 'arm64', variant: 'v8' };

/** A reference to a repository that no other test uses. */
export const freshReference = (tag = 'v1', registry = 'registry.example.test'): Reference =>
  parseReference(`${registry}/team/${randomUUID()}:${tag}`);

/** An index of an amd64 and an arm64 image and an attestation. */
export function someIndex(): Publication['root'] {
  const [first, second] = [
    { ...some(MANIFEST_TYPE, 500), platform: amd64 },
    { ...some(MANIFEST_TYPE, 600), platform: arm64 },
  ];
  const attestation: IndexEntry = { ...some(MANIFEST_TYPE, 700), attests: first.digest };
  return { ...some(INDEX_TYPE, 900), entries: [first, second, attestation] };
}

/** A publication of the whole root; `over` says what is different. */
export function publicationOf(
  reference: Reference,
  root: Publication['root'],
  over: Partial<Publication> = {},
): Publication {
  return {
    reference,
    root,
    complete: [root.digest, ...root.entries.map(({ digest }) => digest)],
    contents: new Map(),
    foreign: [],
    pointer: undefined,
    checkedMs: 1_000,
    publishedMs: 2_000,
    epoch: 0,
    ...over,
  };
}

async function taken(reach: Reach, name: string): Promise<Lease> {
  const outcome = await reach.leases(LOCK_MS).tryAcquire(name, leaseWatch(), forever);
  if (!isLease(outcome)) throw new Error(`${name} is held`);
  return outcome;
}

export const lockOf = (reach: Reach, reference: Reference): Promise<Lease> => taken(reach, pullLeaseName(reference));
export const claimOf = (reach: Reach, digest: Digest): Promise<Lease> => taken(reach, blobLeaseName(digest));

/** Publishes under a lock of its own, as the newest pull would: on top of what is there, in the epoch that is. */
export async function publishNow(reach: Reach, publication: Publication): Promise<Found> {
  const { reference } = publication;
  const { pointer } = await reach.catalog.find(reference, { consistent: true, signal: forever });
  const known = await reach.catalog.findRoot(reference.repository, publication.root.digest, forever);
  await using lock = await lockOf(reach, reference);
  const { epoch, stamp } = known;
  await reach.catalog.publish({ ...publication, pointer, epoch, stamp, known }, lock, forever);
  return await found(reach, reference);
}

/** Records what the upstream said, as whoever asked it just now. The pointer after it; undefined where it was refused. */
export async function resolveNow(
  reach: Reach,
  reference: Reference,
  resolved: Digest,
  checkedMs: number,
  lock: Fence,
): Promise<Pointer | undefined> {
  const pointer = await reach.catalog.findPointer(reference, { consistent: true, signal: forever });
  return await reach.catalog.recordResolution(reference, { resolved, checkedMs, pointer }, lock, forever);
}

export const found = (reach: Reach, reference: Reference, consistent = true): Promise<Found> =>
  reach.catalog.find(reference, { consistent, signal: forever });

/** Writes the row as one who has just asked the store would. */
export async function recorded(
  reach: Reach,
  content: Descriptor,
  domains: readonly TrustDomain[] = [PUBLIC],
  stored = someStored(content.size),
): Promise<StoredContent> {
  const commit = (await reach.catalog.findBlobs([content.digest], forever)).get(content.digest)?.commit;
  assert.equal(await reach.catalog.recordBlob({ content, stored, domains, commit }, forever), true);
  return stored;
}

/** Content is found to be lost: that of somebody else, whom no test knows. */
export async function loseSomething(reach: Reach): Promise<void> {
  const blob = some();
  await recorded(reach, blob);
  const rows = await reach.catalog.findBlobs([blob.digest], forever);
  assert.deepEqual(await reach.catalog.recordLoss([...rows.values()], forever), []);
}

/** An index with the rows of all its content, each manifest with two blobs of its own; and the epoch before they were written. */
export async function wholeIndex(reach: Reach): Promise<{
  readonly root: Publication['root'];
  readonly epoch: number;
  readonly contents: ReadonlyMap<Digest, readonly Descriptor[]>;
}> {
  const root = someIndex();
  const epoch = await reach.catalog.readEpoch(root.digest, forever);
  const contents = new Map(root.entries.map(({ digest }) => [digest, [some(), some()]]));
  const needs = [...contents].map(([digest, blobs]): [Digest, Digest[]] => [digest, blobs.map((blob) => blob.digest)]);
  await reach.catalog.writeContents(new Map([[root.digest, []], ...needs]), forever);
  for (const content of [root, ...root.entries, ...[...contents.values()].flat()]) await recorded(reach, content);
  return { root, epoch, contents };
}
