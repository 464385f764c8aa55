import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { digestOf } from '../../../lib/oci/digest.ts';
import { OCI_CONFIG, OCI_INDEX, OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import { REGISTRY, startServeBench, type ServeBench } from './serve-bench.ts';

let bench: ServeBench;
before(async () => {
  bench = await startServeBench();
});
after(() => bench[Symbol.asyncDispose]());

test('a manifest that its index carries, and a config that it carries itself, are served where the registry has neither', async () => {
  const config = Buffer.from(JSON.stringify({ os: 'linux', architecture: 'amd64' }));
  const carried = (bytes: Buffer, mediaType: string) => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.byteLength,
    data: bytes.toString('base64'),
  });
  const manifest = Buffer.from(
    JSON.stringify({ schemaVersion: 2, mediaType: OCI_MANIFEST, config: carried(config, OCI_CONFIG), layers: [] }),
  );
  const platform = { os: 'linux', architecture: 'amd64' };
  const entry = { ...carried(manifest, OCI_MANIFEST), platform };
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [entry] }));
  bench.upstream.putManifest('team/carried', 'v1', index, OCI_INDEX);
  const base = `/v2/${REGISTRY}/team/carried`;
  assert.equal((await bench.get(`${base}/manifests/v1`)).status, 200);
  const child = await bench.get(`${base}/manifests/${digestOf(manifest)}`);
  assert.equal(child.status, 200);
  assert.ok(child.body.equals(manifest));
  assert.equal(child.headers['content-type'], OCI_MANIFEST);
  const blob = (await bench.follow(`${base}/blobs/${digestOf(config)}`)).at(-1)!;
  assert.equal(blob.status, 200);
  assert.ok(blob.body.equals(config));
  await bench.settled();
  // A HEAD may confirm what a pull that runs has stored already.
  assert.equal(bench.upstream.count({ kind: 'blob', method: 'GET' }), 0);
  assert.equal((await bench.get(`${base}/manifests/sha256:${'0'.repeat(64)}`)).status, 404);
});
