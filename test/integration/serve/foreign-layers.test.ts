import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { digestOf } from '../../../lib/oci/digest.ts';
import { buildImage, noise, noiseLayer } from '../../support/images.ts';
import { startServeBench, type ServeBench } from './serve-bench.ts';

const FOREIGN = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';

let bench: ServeBench;
before(async () => {
  bench = await startServeBench();
});
after(() => bench[Symbol.asyncDispose]());

const foreign = (bytes: Uint8Array) => ({
  foreign: { mediaType: FOREIGN, digest: digestOf(bytes), size: bytes.byteLength },
  urls: ['http://127.0.0.1:9/x'],
});

test('a foreign layer that the registry holds is served; of another a client hears at once that it is not there', async () => {
  const [held, missing] = [noise(2_500, 'serve held'), noise(1_500, 'serve missing')];
  const layers = [foreign(held), foreign(missing), noiseLayer(700, 'serve own')];
  const image = buildImage({ platform: 'windows/amd64', mediaTypes: 'docker', layers });
  const base = bench.offer(image, 'team/windows');
  bench.upstream.putBlob('team/windows', held);
  assert.equal((await bench.get(`${base}/manifests/v1`)).status, 200);
  await bench.settled();
  const gone = await bench.get(`${base}/blobs/${digestOf(missing)}`);
  const there = await bench.follow(`${base}/blobs/${digestOf(held)}`);
  assert.equal(gone.status, 404);
  assert.match(gone.body.toString(), /foreign layer/);
  assert.equal(there.at(-1)!.status, 200);
  assert.ok(there.at(-1)!.body.equals(Buffer.from(held)));
  await bench.settled();
  assert.equal(bench.upstream.count({ reference: digestOf(missing) }), 1);
  assert.equal(bench.upstream.count({ reference: digestOf(held) }), 1);

  // Whoever asks later is answered by what is known.
  bench.upstream.requests.length = 0;
  assert.equal((await bench.get(`${base}/blobs/${digestOf(missing)}`)).status, 404);
  assert.equal((await bench.head(`${base}/blobs/${digestOf(missing)}`)).status, 404);
  assert.equal((await bench.head(`${base}/blobs/${digestOf(held)}`)).status, 200);
  await bench.settled();
  assert.equal(bench.upstream.requests.length, 0);

  // Whoever asks while the image is on its way waits for it, or for the answer that it is not there.
  const early = bench.offer(image, 'team/early');
  const other = noise(1_800, 'serve missing elsewhere');
  const nobodys = buildImage({ platform: 'windows/amd64', layers: [foreign(other), noiseLayer(701, 'early')] });
  bench.offer(nobodys, 'team/early');
  assert.equal((await bench.get(`${early}/manifests/v1`)).status, 200);
  assert.equal((await bench.get(`${early}/blobs/${digestOf(other)}`)).status, 404);
  await bench.settled();

  // One that was there, and that somebody deleted from the bucket, comes again.
  await bench.deleteObject(digestOf(held));
  await bench.cache.validate('registry.example.test/team/windows:v1', { deep: true });
  assert.equal((await bench.follow(`${base}/blobs/${digestOf(held)}`)).at(-1)!.status, 200);
});
