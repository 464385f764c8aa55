import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { digestOf } from '../../../lib/oci/digest.ts';
import { OCI_CONFIG, OCI_INDEX, OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());

const bytesOf = (document: object): Buffer => Buffer.from(JSON.stringify(document));
const descriptorOf = (bytes: Uint8Array, mediaType: string) => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.byteLength,
});
const carried = (bytes: Uint8Array, mediaType: string) => ({
  ...descriptorOf(bytes, mediaType),
  data: Buffer.from(bytes).toString('base64'),
});
const config = (name: string) => bytesOf({ os: 'linux', architecture: 'amd64', name });
const manifestOf = (configOf: object, layers: readonly object[] = []): Buffer =>
  bytesOf({ schemaVersion: 2, mediaType: OCI_MANIFEST, config: configOf, layers });

test('a config and a layer that the manifest carries need no registry, and are served from S3 like any other', async () => {
  const repository = 'team/carried';
  const layer = Buffer.from('a layer of the manifest itself');
  const manifest = manifestOf(carried(config('carried'), OCI_CONFIG), [carried(layer, 'text/plain')]);
  bench.upstream.putManifest(repository, 'v1', manifest, OCI_MANIFEST);
  bench.upstream.requests.length = 0;
  const reference = `${REGISTRY}/${repository}:v1`;
  const receipt = await bench.succeeds(reference, { platforms: ['linux/amd64'] });
  assert.deepEqual(receipt.blobs, { total: 2, present: 0, copied: 2, copiedElsewhere: 0 });
  assert.equal(bench.upstream.count({ kind: 'blob' }), 0);
  assert.equal((await bench.cache.pull(reference)).outcome, 'hit');
});

test('data that is not the content is as if it were not there', async () => {
  const repository = 'team/lies';
  const bytes = config('lies');
  const lies = { ...descriptorOf(bytes, OCI_CONFIG), data: Buffer.alloc(bytes.byteLength, 'x').toString('base64') };
  bench.upstream.putBlob(repository, bytes);
  bench.upstream.putManifest(repository, 'v1', manifestOf(lies), OCI_MANIFEST);
  bench.upstream.requests.length = 0;
  const receipt = await bench.succeeds(`${REGISTRY}/${repository}:v1`);
  assert.equal(receipt.blobs.copied, 1);
  assert.equal(bench.upstream.count({ kind: 'blob', method: 'GET' }), 1);
});

test('content of another image that the manifest carries is used without a question', async () => {
  const bytes = config('shared');
  bench.upstream.putBlob('team/first', bytes);
  bench.upstream.putManifest('team/first', 'v1', manifestOf(descriptorOf(bytes, OCI_CONFIG)), OCI_MANIFEST);
  await bench.succeeds(`${REGISTRY}/team/first:v1`);
  bench.upstream.putManifest('team/second', 'v1', manifestOf(carried(bytes, OCI_CONFIG)), OCI_MANIFEST);
  bench.upstream.requests.length = 0;
  const receipt = await bench.succeeds(`${REGISTRY}/team/second:v1`);
  assert.deepEqual(receipt.blobs, { total: 1, present: 1, copied: 0, copiedElsewhere: 0 });
  assert.equal(bench.upstream.count({ kind: 'blob' }), 0);
});

test('manifests and indexes that an index carries are read from it', async () => {
  const repository = 'team/tree';
  const manifest = manifestOf(carried(config('leaf'), OCI_CONFIG));
  const platform = { os: 'linux', architecture: 'amd64' };
  const inner = bytesOf({
    schemaVersion: 2,
    mediaType: OCI_INDEX,
    manifests: [{ ...carried(manifest, OCI_MANIFEST), platform }],
  });
  const index = bytesOf({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [carried(inner, OCI_INDEX)] });
  bench.upstream.putManifest(repository, 'v1', index, OCI_INDEX);
  bench.upstream.requests.length = 0;
  const reference = `${REGISTRY}/${repository}:v1`;
  const receipt = await bench.succeeds(reference, { platforms: ['linux/amd64'] });
  assert.equal(receipt.blobs.copied, 1);
  assert.equal(receipt.registryRequests.total, bench.upstream.count());
  assert.deepEqual(
    bench.upstream.requests.map(({ method, kind, reference: asked }) => [method, kind, asked]),
    [
      ['HEAD', 'manifest', 'v1'],
      ['GET', 'manifest', digestOf(index)],
    ],
  );
  assert.equal((await bench.cache.pull(reference)).outcome, 'hit');
});
