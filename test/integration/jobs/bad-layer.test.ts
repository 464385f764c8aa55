import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { parseReference } from '../../../lib/reference/reference.ts';
import { noiseImage } from '../../support/images.ts';
import { forever } from '../../support/table-under-test.ts';
import { when } from '../../support/upstream/upstream.ts';
import { startWorkflowBench, type WorkflowBench } from './workflow-bench.ts';

let bench: WorkflowBench;
before(async () => {
  bench = await startWorkflowBench();
});
after(() => bench[Symbol.asyncDispose]());

test('layers that fail, in several batches: each is named, and all their neighbours are copied and linked', async () => {
  const image = noiseImage({ name: 'bad layers', layerBytes: Array.from({ length: 9 }, (_, i) => 500 + i) });
  const reference = bench.pull.offer(image, 'bad/workflow');
  const layerOf = (size: number) => [...image.blobs].find(([, { byteLength }]) => byteLength === size)![0];
  // The largest two go into different batches.
  const bad = [layerOf(508), layerOf(507)];
  const { upstream } = bench.pull;
  upstream.fault(when({ kind: 'blob', method: 'GET', reference: bad[0]! }, { status: 404 }));
  upstream.fault(when({ kind: 'blob', method: 'GET', reference: bad[1]! }, { status: 500 }));

  const { failure } = await bench.having({ batchBytes: 5 * 1024 * 1024 }, () => bench.fails(reference));
  assert.ok(failure !== undefined);
  assert.equal(
    new Set(bench.calls.filter(({ name }) => name === 'copy').map(({ payload }) => batchOf(payload))).size,
    2,
  );
  assert.deepEqual(
    failure.blobs?.map(({ digest, name }) => [digest, name]).sort(),
    [
      [bad[0], 'BlobUnknownError'],
      [bad[1], 'UpstreamUnavailableError'],
    ].sort(),
  );
  assert.deepEqual([failure.name, failure.code, failure.retryable], ['BlobsFailedError', 'BLOB_UNKNOWN', false]);

  const { repository } = parseReference(reference);
  const links = await bench.services.catalog.findLinks(repository, [...image.blobs.keys()], forever);
  const good = [...image.blobs.keys()].filter((digest) => !bad.includes(digest));
  assert.deepEqual(new Set(links.keys()), new Set(good));
  for (const digest of good) assert.equal(upstream.count({ kind: 'blob', method: 'GET', reference: digest }), 1);

  upstream.clearFaults();
  upstream.requests.length = 0;
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.blobs.copied, bad.length);
});

const batchOf = (payload: unknown): unknown => (payload as { batch: unknown }).batch;
