import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { noise, noiseImage, upstreamImage, type Image } from '../../support/images.ts';
import { startUpstream, when, type TestUpstream } from '../../support/upstream/upstream.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

const LOGIN = { username: 'bob', password: 'correct horse' };

let mirror: TestUpstream;
let dead: TestUpstream;
let bench: PullBench;
before(async () => {
  [mirror, dead] = await Promise.all([startUpstream(), startUpstream()]);
  await dead.close();
  bench = await startPullBench({ registry: { mirrors: [dead.origin, mirror.origin] } });
});
after(async () => {
  await bench[Symbol.asyncDispose]();
  await mirror.close();
});

function offer(image: Image, repository: string): string {
  mirror.clearFaults();
  mirror.requests.length = 0;
  mirror.addImage(repository, upstreamImage(image, 'v1'));
  return bench.offer(image, repository);
}

test('the first mirror that lives serves the whole pull', async () => {
  const receipt = await bench.succeeds(offer(noiseImage({ name: 'mirrored' }), 'team/mirrored'));
  assert.equal(receipt.blobs.copied, 3);
  assert.equal(bench.upstream.requests.length, 0);
  assert.equal(mirror.requests.length, 5);
});

test('what the mirror does not have, or has wrong, comes from the registry', async () => {
  const image = noiseImage({ name: 'half mirrored', layerBytes: [3_000] });
  const reference = offer(image, 'team/half');
  const [config, layer] = [...image.blobs.keys()];
  mirror.deleteBlob('team/half', config!);
  mirror.fault(when({ kind: 'blob', reference: layer! }, { dropAfterBytes: 1_000 }));
  await bench.succeeds(reference);
  const fromRegistry = bench.upstream.requests
    .filter(({ kind }) => kind === 'blob')
    .map((request) => [request.reference, request.headers.range]);
  assert.deepEqual(
    fromRegistry.filter(([, range]) => range !== undefined),
    [[layer, 'bytes=1000-']],
  );
  assert.ok(fromRegistry.some(([digest]) => digest === config));
});

test('a mirror that lies about a manifest is not believed', async () => {
  const image = noiseImage({ name: 'lying mirror' });
  const reference = offer(image, 'team/lying');
  mirror.fault(when({ kind: 'manifest', method: 'GET' }, { body: noise(100, 'lie') }));
  assert.equal((await bench.succeeds(reference)).digest, image.root.digest);
});

test('a mirror that fails with 5xx leads on to the registry, whose word is final', async () => {
  const image = noiseImage({ name: 'broken mirror' });
  const reference = offer(image, 'team/broken');
  mirror.fault(when({}, { status: 503 }));
  await bench.succeeds(reference);
  await bench.fails(`${REGISTRY}/team/nobody:v1`, { name: 'ManifestUnknownError', code: 'MANIFEST_UNKNOWN' });
});

test('where we have credentials, what a mirror holds proves nothing, and it is not asked (I9)', async () => {
  await using secured = await startPullBench({
    registry: { credentials: 'docker', mirrors: [mirror.origin] },
    upstream: { auth: { kind: 'basic', users: { [LOGIN.username]: LOGIN.password } } },
  });
  await secured.login({ [REGISTRY]: LOGIN });
  const image = noiseImage({ name: 'secured' });
  offer(image, 'team/secured');
  const receipt = await secured.succeeds(secured.offer(image, 'team/secured'));
  assert.equal(receipt.registryRequests.total, secured.upstream.requests.length);
  assert.equal(mirror.requests.length, 0);
});
