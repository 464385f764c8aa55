/*
 * How tests of faults reach into the project: what depends on its layout stands here, so that a move touches one place.
 */
import { DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import type { Publication } from '../../lib/catalog/catalog.ts';
import { pullLeaseName } from '../../lib/table/keys.ts';
import { acquire } from '../../lib/lock/lease.ts';
import { parseDigest, type Digest } from '../../lib/oci/digest.ts';
import { pull } from '../../lib/pull/pull.ts';
import type { PullDeps } from '../../lib/pull/pull-request.ts';
import type { Receipt } from '../../lib/pull/receipt.ts';
import type { ReconcileDeps } from '../../lib/pull/reconcile.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import { PUBLIC } from '../../lib/reference/trust-domain.ts';
import { blobObjectKey } from '../../lib/store/keys.ts';
import { rawS3, type TestCache, type TestStack } from '../support/cache.ts';
import { noise } from '../support/images.ts';
import { loseContent } from '../support/lost-content.ts';
import { forever } from '../support/table-under-test.ts';

/** The object goes, and no event tells of it. */
export async function deleteObject(stack: TestStack, digest: Digest): Promise<void> {
  const s3 = rawS3(stack);
  await s3.send(new DeleteObjectCommand({ Bucket: stack.bucket, Key: blobObjectKey(digest) }));
  s3.destroy();
}

/** The object comes back, as from a backup: byte for byte, where these are its bytes. */
export async function putBack(
  stack: TestStack,
  digest: Digest,
  bytes: Uint8Array,
  Metadata: Record<string, string> = { domain: PUBLIC },
): Promise<void> {
  const s3 = rawS3(stack);
  await s3.send(new PutObjectCommand({ Bucket: stack.bucket, Key: blobObjectKey(digest), Body: bytes, Metadata }));
  s3.destroy();
}

/** What the function does that is told of a deleted object. */
export const reportLost = (deps: ReconcileDeps, digest: Digest): Promise<boolean> => loseContent(deps, digest);

/** What the catalogue says of content. */
export const stateOf = async ({ services }: TestCache, digest: Digest): Promise<string | undefined> =>
  (await services.catalog.findBlobs([digest], forever)).get(digest)?.state;

/** A pull whose catalogue is this one. */
export const pullBy = (deps: PullDeps, catalog: PullDeps['catalog'], reference: string): Promise<Receipt> =>
  pull(
    { ...deps, catalog },
    { reference: parseReference(reference), platforms: [], alwaysPull: false, attestations: true },
    forever,
  );

/** A target one of whose methods stops until `goOn`: before it does anything, or before its answer is given. */
export interface Stopped<T> {
  readonly target: T;
  /** Settles when the first call came to its stop. */
  readonly reached: Promise<unknown>;
  goOn(): void;
}

export function stopped<T extends object>(
  whole: T,
  name: { [K in keyof T]: T[K] extends (...args: never[]) => Promise<unknown> ? K : never }[keyof T],
  where: 'before' | 'after',
): Stopped<T> {
  const reached = Promise.withResolvers<undefined>();
  const gate = Promise.withResolvers<undefined>();
  const method = whole[name] as (...args: unknown[]) => Promise<unknown>;
  const stops = async (...args: unknown[]): Promise<unknown> => {
    const answer = where === 'after' ? await method.apply(whole, args) : undefined;
    reached.resolve(undefined);
    await gate.promise;
    return where === 'after' ? answer : await method.apply(whole, args);
  };
  return { target: { ...whole, [name]: stops }, reached: reached.promise, goOn: () => gate.resolve(undefined) };
}

/** Publications of different images that are ready to be sent at once, each under the lock of its reference. */
export interface ReadyToPublish extends AsyncDisposable {
  /** All at once. The first failure stops the others, and is thrown. */
  publish(): Promise<void>;
}

export async function readyToPublish(
  { services }: TestCache,
  repository: string,
  count: number,
): Promise<ReadyToPublish> {
  const ready = Array.from({ length: count }, async (_, i) => {
    const reference = parseReference(`${repository}-${i}:v1`);
    const lock = await acquire(services.workflowLeases, pullLeaseName(reference), forever);
    const digest = parseDigest(`sha256:${Buffer.from(noise(32, `${repository}-${i}`)).toString('hex')}`);
    const manifest = { digest, mediaType: 'application/vnd.oci.image.manifest.v1+json', size: 1 };
    const { catalog } = services;
    const epoch = await catalog.readEpoch(digest, forever);
    await catalog.writeContents(new Map([[digest, []]]), forever);
    const stored = { size: 1, etag: '"e"' };
    await catalog.recordBlob({ content: manifest, stored, domains: [], commit: undefined }, forever);
    const publication: Publication = {
      reference,
      root: { ...manifest, entries: [manifest] },
      complete: [digest],
      contents: new Map(),
      foreign: [],
      pointer: undefined,
      checkedMs: 1,
      publishedMs: 1,
      epoch,
    };
    return { lock, publication };
  });
  const all = await Promise.all(ready);
  return {
    async publish() {
      const stop = new AbortController();
      await Promise.allSettled(
        all.map(async ({ lock, publication }) => {
          try {
            await services.catalog.publish(publication, lock, stop.signal);
          } catch (error) {
            stop.abort(error);
          }
        }),
      );
      stop.signal.throwIfAborted();
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(all.map(({ lock }) => lock.release()));
    },
  };
}
