import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { digestOf } from '../../../lib/oci/digest.ts';
import { OCI_INDEX } from '../../../lib/oci/media-type.ts';
import { noiseImage } from '../../support/images.ts';
import { REGISTRY, startServeBench, type ServeBench } from './serve-bench.ts';

let bench: ServeBench;
before(async () => {
  bench = await startServeBench({ registry: { platforms: ['linux/amd64', 'linux/s390x'] } });
});
after(() => bench[Symbol.asyncDispose]());

test('a configured platform that cannot be pulled stops none of the others', async () => {
  const image = noiseImage({ name: 'beside schema 1' });
  bench.offer(image, 'team/odd', 'right');
  const { digest, size, mediaType } = image.root;
  const old = {
    mediaType: 'application/vnd.docker.distribution.manifest.v1+prettyjws',
    digest: digestOf(Buffer.from('old')),
    size: 7,
    platform: { os: 'linux', architecture: 's390x' },
  };
  const broken = { platform: { os: 'linux', architecture: 's390x' } };
  const platform = { os: 'linux', architecture: 'amd64' };
  const manifests = [old, broken, { digest, size, mediaType, platform }];
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));
  bench.upstream.putManifest('team/odd', 'v1', index, OCI_INDEX);
  bench.upstream.requests.length = 0;
  const answer = await bench.get(`/v2/${REGISTRY}/team/odd/manifests/v1`);
  assert.equal(answer.status, 200);
  assert.ok(answer.body.equals(index));
  await bench.settled();
  const reference = `${REGISTRY}/team/odd:v1`;
  assert.equal((await bench.cache.validate(reference, { platforms: ['linux/amd64'], deep: true })).state, 'complete');
  const manifestGets = bench.upstream.requests.filter((one) => one.kind === 'manifest' && one.method === 'GET');
  assert.deepEqual(
    manifestGets.map(({ reference: asked }) => asked),
    [digestOf(index), digest],
  );
});
