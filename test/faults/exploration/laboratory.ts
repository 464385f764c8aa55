import { DeleteObjectsCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3';
import { hexOf, type Digest } from '../../../lib/oci/digest.ts';
import { openCache, rawS3, startBench, type Bench, type TestCache, type TestStack } from '../../support/cache.ts';
import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';

export const REGISTRY = 'registry.example.test';
/** Processes of the product that share the bucket and the table. */
const PROCESSES = 2;

/** What stands before the table and the bucket, and before the table of the process that hears of deletions. */
export interface Proxies {
  readonly dynamo: FaultProxy;
  readonly s3: FaultProxy;
  readonly finder: FaultProxy;
}

/** One stack for many schedules. */
export interface Laboratory extends AsyncDisposable {
  readonly stack: TestStack;
  readonly upstream: TestUpstream;
  readonly proxies: Proxies;
  /** Behind the proxies. */
  readonly caches: readonly TestCache[];
  /** The process that hears of deletions. */
  readonly finder: TestCache;
  /** Beside them, for looking. */
  readonly calm: TestCache;
  readonly s3: S3Client;
  /** Takes all objects of the bucket away: a schedule leaves nothing that the next one has to read. */
  clear(): Promise<void>;
}

export async function startLaboratory(): Promise<Laboratory> {
  const bench: Bench = await startBench();
  const { stack } = bench;
  const upstream = await bench.use(startUpstream());
  const dynamo = await bench.use(startFaultProxy(stack.dynamoEndpoint));
  const s3 = await bench.use(startFaultProxy(stack.s3Endpoint));
  const finder = await bench.use(startFaultProxy(stack.dynamoEndpoint));
  const registries = { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none' } };
  const limits = { leaseSeconds: 1, parallelBlobs: 3 };
  const endpoints = { s3Endpoint: s3.endpoint, dynamoEndpoint: dynamo.endpoint };
  const caches: TestCache[] = [];
  for (let i = 0; i < PROCESSES; i++) {
    caches.push(await bench.use(openCache(stack, { registries, limits, ...endpoints })));
  }
  const calm = await bench.use(openCache(stack, { registries, limits }));
  const raw = rawS3(stack);
  return {
    stack,
    upstream,
    proxies: { dynamo, s3, finder },
    caches,
    finder: await bench.use(
      openCache(stack, { registries, limits, s3Endpoint: s3.endpoint, dynamoEndpoint: finder.endpoint }),
    ),
    calm,
    s3: raw,
    async clear() {
      const { Contents = [] } = await raw.send(new ListObjectsV2Command({ Bucket: stack.bucket }));
      if (Contents.length === 0) return;
      const Objects = Contents.map(({ Key }) => ({ Key: Key! }));
      await raw.send(new DeleteObjectsCommand({ Bucket: stack.bucket, Delete: { Objects, Quiet: true } }));
    },
    async [Symbol.asyncDispose]() {
      raw.destroy();
      await bench[Symbol.asyncDispose]();
    },
  };
}

export const keyOf = (digest: Digest): string => `blobs/sha256/${hexOf(digest)}`;
