import assert from 'node:assert/strict';
import { dynamoClient } from '../../lib/table/dynamo-client.ts';
import { dynamoTable, type Item } from '../../lib/table/dynamo-table.ts';
import type { Key } from '../../lib/table/keys.ts';
import type { Receipt } from '../../lib/pull/receipt.ts';
import type { TrustDomain } from '../../lib/reference/trust-domain.ts';
import { openCache, startBench, type Bench, type CacheOptions, type TestCache } from '../support/cache.ts';
import { startFaultProxy, type FaultProxy } from '../support/http-fault-proxy.ts';
import { upstreamImage, type Image } from '../support/images.ts';
import { forever } from '../support/table-under-test.ts';
import { startMisbehavingTable, type MisbehavingTable } from '../support/misbehaving-table.ts';
import { startUpstream, type TestUpstream } from '../support/upstream/upstream.ts';

const REGISTRY = 'registry.example.test';
const PART_BYTES = 5 * 1024 * 1024;

/** A cache whose every request to DynamoDB and to S3 can go wrong. */
export interface FaultyCache extends AsyncDisposable {
  readonly cache: TestCache;
  readonly dynamo: MisbehavingTable;
  readonly s3: FaultProxy;
}

/** One stack and one upstream for many caches. */
export interface FaultBench extends AsyncDisposable {
  readonly bench: Bench;
  readonly upstream: TestUpstream;
  open(limits?: CacheOptions['limits']): Promise<FaultyCache>;
  /** The upstream has the image as this tag from now on. Returns the reference. */
  offer(image: Image, repository: string, tag?: string): string;
  /** Behind the catalogue's back: only these proved to hold the blob of the row. */
  changeRow(key: Key, domains: ReadonlySet<TrustDomain>): Promise<void>;
  /** Behind the catalogue's back. */
  putRows(rows: readonly (Key & Item)[]): Promise<void>;
  /** The image was pulled whole, each of its blobs fetched `gets` times, and it is a hit from now on. */
  assertLanded(faulty: FaultyCache, image: Image, repository: string, gets?: number): Promise<void>;
}

export async function startFaultBench(): Promise<FaultBench> {
  const bench = await startBench();
  const upstream = await bench.use(startUpstream());
  const registries = { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none', public: true } };
  const client = dynamoClient({ ...bench.stack, endpoint: bench.stack.dynamoEndpoint });
  const table = dynamoTable(client, bench.stack.table);
  return {
    bench,
    upstream,
    async changeRow(key, domains) {
      await table.update({ key, update: 'SET domains = :domains', values: { ':domains': domains } }, 'meddle', forever);
    },
    putRows: (rows) => table.putAll(rows, 'meddle', forever),
    async open(limits = {}) {
      const dynamo = await startMisbehavingTable(bench.stack);
      const s3 = await startFaultProxy(bench.stack.s3Endpoint);
      const cache = await openCache(bench.stack, {
        registries,
        limits: { leaseSeconds: 10, partBytes: PART_BYTES, ...limits },
        dynamoEndpoint: dynamo.endpoint,
        s3Endpoint: s3.endpoint,
      });
      return {
        cache,
        dynamo,
        s3,
        [Symbol.asyncDispose]: async () => {
          await cache[Symbol.asyncDispose]();
          await Promise.all([dynamo.close(), s3.close()]);
        },
      };
    },
    offer(image, repository, tag = 'v1') {
      upstream.addImage(repository, upstreamImage(image, tag));
      return `${REGISTRY}/${repository}:${tag}`;
    },
    async assertLanded({ cache, dynamo, s3 }, image, repository, gets = 1) {
      dynamo.rules.length = 0;
      s3.rules.length = 0;
      for (const digest of image.blobs.keys()) {
        const fetched = upstream.count({ repository, kind: 'blob', method: 'GET', reference: digest });
        assert.equal(fetched, gets, `GETs of ${digest}`);
      }
      const reference = `${REGISTRY}/${repository}:v1`;
      const validation = await cache.validate(reference, { deep: true });
      assert.deepEqual([validation.state, validation.digest], ['complete', image.root.digest]);
      const before = upstream.count({ repository });
      const again: Receipt = await cache.pull(reference);
      assert.deepEqual([again.outcome, again.digest], ['hit', image.root.digest]);
      assert.equal(upstream.count({ repository }), before);
    },
    async [Symbol.asyncDispose]() {
      client.destroy();
      await bench[Symbol.asyncDispose]();
    },
  };
}
