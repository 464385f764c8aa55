import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DeleteObjectsCommand, ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3';
import type { Catalog } from '../../../lib/catalog/ports.ts';
import { hexOf, type Digest } from '../../../lib/oci/digest.ts';
import { openCache, rawS3, startBench, type Bench, type TestCache, type TestStack } from '../../support/cache.ts';
import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { startMisbehavingTable, type MisbehavingTable } from '../../support/misbehaving-table.ts';
import { startPullingProcess, type PullingProcess } from '../../support/pulling-process.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';
import { startStandstills, type Standstills } from './standstills.ts';
import { changedServices, type Change } from './subject.ts';

export const REGISTRY = 'registry.example.test';
/** What it has, its own users may read alone: nobody else gets it without a proof (I9). */
export const PRIVATE_REGISTRY = 'private.example.test';
const LOGIN = { username: 'alice', password: 'secret of alice' };
/** Processes of the product that share the bucket and the table. */
const PROCESSES = 2;

/** What stands before the table and the bucket. */
export interface Proxies {
  readonly dynamo: MisbehavingTable;
  readonly s3: FaultProxy;
}

/** One stack for many schedules. */
export interface Laboratory extends AsyncDisposable {
  readonly stack: TestStack;
  /** By the name of the registry. */
  readonly upstreams: ReadonlyMap<string, TestUpstream>;
  readonly proxies: Proxies;
  readonly standstills: Standstills;
  /** Behind the proxies. */
  readonly caches: readonly TestCache[];
  /** The process that hears of deletions. */
  readonly finder: TestCache;
  /** Beside them, for looking. */
  readonly calm: TestCache;
  readonly s3: S3Client;
  /** A process of its own, of the product as it is, that is ready to pull. The next one is made ready meanwhile. */
  victim(): Promise<PullingProcess>;
  /** Takes all objects of the bucket away: a schedule leaves nothing that the next one has to read. */
  clear(): Promise<void>;
}

/** @param change what stands in place of the product's own parts, in all processes. */
export async function startLaboratory(change: Change): Promise<Laboratory> {
  const bench: Bench = await startBench();
  const { stack } = bench;
  const upstreams = new Map([
    [REGISTRY, await bench.use(startUpstream())],
    [
      PRIVATE_REGISTRY,
      await bench.use(startUpstream({ auth: { kind: 'basic', users: { [LOGIN.username]: LOGIN.password } } })),
    ],
  ]);
  const dynamo = await bench.use(startMisbehavingTable(stack));
  const s3 = await bench.use(startFaultProxy(stack.s3Endpoint));
  const registries = {
    [REGISTRY]: { endpoint: upstreams.get(REGISTRY)!.origin, credentials: 'none', public: true },
    [PRIVATE_REGISTRY]: { endpoint: upstreams.get(PRIVATE_REGISTRY)!.origin, credentials: 'docker' },
  };
  const standstills = startStandstills();
  const opened = new DisposableStack();
  const open = async (dynamoEndpoint: string, s3Endpoint: string, isDisturbed: boolean): Promise<TestCache> => {
    const { table, region, credentials } = stack;
    const around = isDisturbed ? standstills.before : (catalog: Catalog) => catalog;
    const changed = opened.use(
      changedServices({ endpoint: dynamoEndpoint, region, credentials, table }, change, around),
    );
    const limits = { leaseSeconds: 1, parallelBlobs: 3 };
    const cache = await bench.use(
      openCache(stack, { registries, limits, dynamoEndpoint, s3Endpoint, change: changed.change }),
    );
    const auths = { [PRIVATE_REGISTRY]: LOGIN };
    await writeFile(join(cache.environment.DOCKER_CONFIG!, 'config.json'), JSON.stringify({ auths }));
    return cache;
  };
  const caches: TestCache[] = [];
  for (let i = 0; i < PROCESSES; i++) caches.push(await open(dynamo.endpoint, s3.endpoint, true));
  const raw = rawS3(stack);
  let next: Promise<PullingProcess> | undefined;
  return {
    stack,
    upstreams,
    proxies: { dynamo, s3 },
    standstills,
    caches,
    finder: await open(dynamo.endpoint, s3.endpoint, true),
    calm: await open(stack.dynamoEndpoint, stack.s3Endpoint, false),
    s3: raw,
    async victim() {
      const victim = await (next ?? startPullingProcess(caches[0]!.environment));
      next = startPullingProcess(caches[0]!.environment);
      return victim;
    },
    async clear() {
      const { Contents = [] } = await raw.send(new ListObjectsV2Command({ Bucket: stack.bucket }));
      if (Contents.length === 0) return;
      const Objects = Contents.map(({ Key }) => ({ Key: Key! }));
      await raw.send(new DeleteObjectsCommand({ Bucket: stack.bucket, Delete: { Objects, Quiet: true } }));
    },
    async [Symbol.asyncDispose]() {
      await (await next)?.[Symbol.asyncDispose]();
      raw.destroy();
      opened.dispose();
      await bench[Symbol.asyncDispose]();
    },
  };
}

export const keyOf = (digest: Digest): string => `blobs/sha256/${hexOf(digest)}`;
