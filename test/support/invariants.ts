import { GetObjectCommand, ListMultipartUploadsCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import type { BlobRow } from '../../lib/catalog/catalog.ts';
import { bareEntries } from '../../lib/catalog/needs.ts';
import { algorithmOf, digestOf, type Digest } from '../../lib/oci/digest.ts';
import { blobsOf, parseManifest } from '../../lib/oci/manifest.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import { blobObjectKey } from '../../lib/store/keys.ts';
import type { Services } from '../../lib/services.ts';
import { rawS3, type TestStack } from './cache.ts';

const PREFIX = 'blobs/';

/** The digests that have an object under `blobs/`, after checking that each object matches its name (I1). */
export async function checkContent(stack: TestStack, among: Iterable<Digest>): Promise<Map<Digest, Buffer>> {
  const digests = new Map([...among].map((digest) => [blobObjectKey(digest), digest]));
  const s3 = rawS3(stack);
  const found = new Map<Digest, Buffer>();
  try {
    for (const key of await keysOf(s3, stack.bucket)) {
      const digest = digests.get(key);
      if (digest === undefined) continue;
      const answer = await s3.send(new GetObjectCommand({ Bucket: stack.bucket, Key: key }));
      const bytes = Buffer.from(await answer.Body!.transformToByteArray());
      assert.equal(digestOf(bytes, algorithmOf(digest)), digest, 'I1: an object does not match its name');
      found.set(digest, bytes);
    }
  } finally {
    s3.destroy();
  }
  return found;
}

async function keysOf(s3: S3Client, bucket: string): Promise<string[]> {
  const keys: string[] = [];
  let after: string | undefined;
  do {
    const page = await s3.send(
      new ListObjectsV2Command({
        Bucket: bucket,
        Prefix: PREFIX,
        ...(after === undefined ? {} : { ContinuationToken: after }),
      }),
    );
    keys.push(...(page.Contents ?? []).map((object) => object.Key!));
    after = page.NextContinuationToken;
  } while (after !== undefined);
  return keys;
}

/** The keys of open uploads. */
export async function openUploads(stack: TestStack): Promise<string[]> {
  const s3 = rawS3(stack);
  try {
    const page = await s3.send(new ListMultipartUploadsCommand({ Bucket: stack.bucket }));
    return (page.Uploads ?? []).map((upload) => upload.Key!);
  } finally {
    s3.destroy();
  }
}

/**
 * Checks that what the reference publishes is complete: everything that the catalogue calls complete is in the store with all children and blobs, has its
 * row, and is linked to the repository (I2, I3, I9). Returns whether anything is published.
 *
 * @param isWhole false if lost content was not fetched again yet: then what is linked need not be complete.
 */
export async function checkPublished(
  services: Services,
  reference: string,
  content: ReadonlyMap<Digest, Uint8Array>,
  { isWhole = true } = {},
): Promise<boolean> {
  const signal = AbortSignal.timeout(10_000);
  const parsed = parseReference(reference);
  const { catalog } = services;
  const { pointer, root, linked } = await catalog.find(parsed, { consistent: true, signal });
  if (pointer?.published === undefined) return false;
  assert.ok(root !== undefined && linked !== undefined, 'I3: the pointer names a missing root');
  if (isWhole)
    for (const child of linked) assert.ok(root.complete.has(child), `I2: ${child} is linked, but not complete`);
  const needed = new Set<Digest>(isWhole ? [root.digest] : []);
  const served = new Set(needed);
  const bare = bareEntries(root);
  for (const entry of root.complete) {
    const bytes = content.get(entry);
    assert.ok(bytes !== undefined, `I2: ${entry} is called complete, but is not in the store`);
    const manifest = bare.has(entry) ? undefined : parseManifest(bytes, undefined, { fanOut: 1_000 });
    const blobs = manifest?.kind === 'manifest' ? blobsOf(manifest).map(({ digest }) => digest) : [];
    for (const digest of [entry, ...blobs]) {
      needed.add(digest);
      // It may be complete for other repositories; this one serves only what is linked to it.
      if (linked.has(entry)) served.add(digest);
    }
  }
  const rows: ReadonlyMap<Digest, BlobRow> = await catalog.findBlobs([...needed], signal);
  const links = await catalog.findLinks(parsed.repository, [...served], signal);
  for (const digest of needed) {
    assert.ok(content.has(digest), `I2: ${digest} is needed by what is complete, but is not in the store`);
    assert.equal(
      rows.get(digest)?.state,
      'present',
      `${digest} is needed by what is complete, but its row does not say present`,
    );
  }
  for (const digest of served) assert.ok(links.has(digest), `I9: ${digest} is served without a link`);
  return true;
}
