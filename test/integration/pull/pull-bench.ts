import { DynamoDBClient, paginateScan } from '@aws-sdk/client-dynamodb';
import {
  GetObjectCommand,
  ListMultipartUploadsCommand,
  paginateListObjectsV2,
  type S3Client,
} from '@aws-sdk/client-s3';
import { unmarshall } from '@aws-sdk/util-dynamodb';
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NOBODY } from '../../../lib/table/keys.ts';
import { digestOf } from '../../../lib/oci/digest.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { blobObjectKey } from '../../../lib/store/keys.ts';
import { openCache, rawS3, startBench, type PullOptions, type TestCache, type TestStack } from '../../support/cache.ts';
import { upstreamImage, type Image } from '../../support/images.ts';
import { startUpstream, type TestUpstream, type UpstreamOptions } from '../../support/upstream/upstream.ts';

export const REGISTRY = 'registry.example.test';

/** Few tries, so that giving up is soon done; long times, so that a machine under load changes no count. */
const LIMITS = {
  leaseSeconds: 10,
  attempts: 3,
  stalls: 2,
  retryAfterMaxSeconds: 2,
  partBytes: 5 * 1024 * 1024,
};

export interface PullBenchOptions {
  /** Of the registry in the configuration, beside its endpoint. */
  readonly registry?: Record<string, unknown>;
  /** More registries. */
  readonly registries?: Record<string, unknown>;
  readonly limits?: Record<string, unknown>;
  readonly upstream?: UpstreamOptions;
  readonly resumableAboveMs?: number;
}

/** What a pull is expected to fail with. */
export interface ExpectedFailure {
  readonly name: string;
  readonly code?: string | undefined;
  readonly message?: RegExp;
}

/** A cache, the upstream of its registry {@link REGISTRY}, and the statements that hold after every pull. */
export interface PullBench extends AsyncDisposable {
  readonly stack: TestStack;
  readonly upstream: TestUpstream;
  readonly cache: TestCache;
  readonly s3: S3Client;
  use<T extends AsyncDisposable>(resource: T | Promise<T>): Promise<T>;
  /** The upstream holds the image under the tag. Returns the reference, and the log of requests starts over. */
  offer(image: Image, repository: string, tag?: string): string;
  /** The pull fails as expected; nothing is published, nothing is left half-way. */
  fails(reference: string, expected: ExpectedFailure, options?: PullOptions): Promise<void>;
  /** The pull succeeds, its receipt adds up, and every object is there. */
  succeeds(reference: string, options?: PullOptions): Promise<Receipt>;
  /** No object is wrong, no upload open, no lease held. */
  assertClean(): Promise<void>;
  /** Keys of all blobs in the bucket. */
  blobKeys(): Promise<string[]>;
  /** Docker's `config.json` of the cache: user names and passwords by registry. */
  login(auths: Readonly<Record<string, { username: string; password: string }>>): Promise<void>;
}

export async function startPullBench(options: PullBenchOptions = {}): Promise<PullBench> {
  const bench = await startBench();
  const { stack } = bench;
  const upstream = await bench.use(startUpstream(options.upstream));
  const registries = {
    [REGISTRY]: { endpoint: upstream.origin, credentials: 'none', public: true, ...options.registry },
    ...options.registries,
  };
  const cache = await bench.use(
    openCache(stack, {
      registries,
      limits: { ...LIMITS, ...options.limits },
      ...(options.resumableAboveMs === undefined ? {} : { resumableAboveMs: options.resumableAboveMs }),
    }),
  );
  const s3 = rawS3(stack);

  const listBlobs = async (): Promise<{ key: string; etag: string }[]> => {
    const blobs: { key: string; etag: string }[] = [];
    for await (const page of paginateListObjectsV2({ client: s3 }, { Bucket: stack.bucket, Prefix: 'blobs/' })) {
      blobs.push(...(page.Contents ?? []).map(({ Key: key = '', ETag: etag = '' }) => ({ key, etag })));
    }
    return blobs;
  };
  /** Objects that were read and found right: the same ETag is not read again. */
  const verified = new Set<string>();
  const assertClean = async (): Promise<void> => {
    const { Uploads: open = [] } = await s3.send(new ListMultipartUploadsCommand({ Bucket: stack.bucket }));
    assert.deepEqual(open, [], 'no multipart upload is open');
    assert.deepEqual(await heldLeases(stack), [], 'no lease is held');
    for (const { key, etag } of await listBlobs()) {
      if (verified.has(key + etag)) continue;
      assert.equal(await keyOfContent(s3, stack.bucket, key), key, 'I1');
      verified.add(key + etag);
    }
  };
  return {
    stack,
    upstream,
    cache,
    s3,
    use: (resource) => bench.use(resource),
    offer(image, repository, tag = 'v1') {
      upstream.addImage(repository, upstreamImage(image, tag));
      upstream.requests.length = 0;
      return `${REGISTRY}/${repository}:${tag}`;
    },
    async fails(reference, expected, pullOptions) {
      const before = await publishedOf(cache, reference);
      await assert.rejects(cache.pull(reference, pullOptions), expected);
      assert.deepEqual(await publishedOf(cache, reference), before, 'the pointer did not move');
      await assertClean();
    },
    async succeeds(reference, pullOptions) {
      const receipt = await cache.pull(reference, pullOptions);
      assertAddsUp(receipt);
      assert.ok(receipt.platforms.every((platform) => platform.complete));
      const platforms = pullOptions?.platforms ?? [];
      const validation = await cache.validate(reference, { platforms, deep: true });
      assert.deepEqual(validation.missing, []);
      assert.equal(validation.state, 'complete');
      await assertClean();
      return receipt;
    },
    assertClean,
    blobKeys: async () => (await listBlobs()).map(({ key }) => key),
    async login(auths) {
      await writeFile(join(cache.environment.DOCKER_CONFIG!, 'config.json'), JSON.stringify({ auths }));
    },
    async [Symbol.asyncDispose]() {
      s3.destroy();
      await bench[Symbol.asyncDispose]();
    },
  };
}

/** What a successful receipt says of itself. */
function assertAddsUp(receipt: Receipt): void {
  assert.ok(receipt.outcome === 'pulled' || receipt.outcome === 'hit');
  for (const tally of [receipt.blobs, receipt.bytes]) {
    assert.equal(tally.present + tally.copied + tally.copiedElsewhere, tally.total);
  }
  const { total, ...kinds } = receipt.registryRequests;
  assert.equal(
    Object.values(kinds).reduce((sum, count) => sum + count),
    total,
  );
}

/** What the reference shows: the digest, and which platforms are complete. */
async function publishedOf(cache: TestCache, reference: string): Promise<unknown> {
  const found = await cache.services.catalog.find(parseReference(reference), {
    consistent: true,
    signal: AbortSignal.timeout(5_000),
  });
  return { published: found.pointer?.published, complete: found.root?.complete, linked: found.linked };
}

async function heldLeases(stack: TestStack): Promise<string[]> {
  const client = new DynamoDBClient(stack.dynamoConfig);
  const held: string[] = [];
  for await (const page of paginateScan({ client }, { TableName: stack.table, ConsistentRead: true })) {
    for (const item of page.Items ?? []) {
      const row = unmarshall(item);
      if (row.holder !== undefined && row.holder !== NOBODY) held.push(String(row.pk));
    }
  }
  client.destroy();
  return held;
}

async function keyOfContent(s3: S3Client, bucket: string, key: string): Promise<string> {
  const { Body: body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
  const bytes = await body!.transformToByteArray();
  const algorithm = key.startsWith('blobs/sha512/') ? 'sha512' : 'sha256';
  return blobObjectKey(digestOf(bytes, algorithm));
}
