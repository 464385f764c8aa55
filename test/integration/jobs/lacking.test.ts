import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { digestOf } from '../../../lib/oci/digest.ts';
import { buildAttestation, buildImage, buildIndex, noise, noiseLayer } from '../../support/images.ts';
import { startWorkflowBench, type WorkflowBench } from './workflow-bench.ts';

const FOREIGN = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';

let bench: WorkflowBench;
before(async () => {
  bench = await startWorkflowBench();
});
after(() => bench[Symbol.asyncDispose]());

const foreign = (bytes: Uint8Array) => ({
  foreign: { mediaType: FOREIGN, digest: digestOf(bytes), size: bytes.byteLength },
  urls: ['http://127.0.0.1:9/x'],
});

test('a workflow leaves out what the registry does not have, and brings it when it is there', async () => {
  const { upstream } = bench.pull;
  const [held, missing] = [noise(2_500, 'workflow held'), noise(1_500, 'workflow missing')];
  const windows = buildImage({
    platform: 'windows/amd64',
    mediaTypes: 'docker',
    layers: [foreign(missing), noiseLayer(900, 'workflow own'), foreign(held)],
  });
  const attestation = buildAttestation(windows);
  const image = buildIndex({
    entries: [
      { image: windows, platform: 'windows/amd64' },
      { image: attestation, attests: windows },
    ],
  });
  const reference = bench.pull.offer(image, 'team/lacking');
  upstream.deleteManifest('team/lacking', attestation.root.digest);
  upstream.putBlob('team/lacking', held);

  const first = await bench.succeeds(reference);
  assert.equal(first.outcome, 'pulled');
  const lacking = [attestation.root.digest, digestOf(missing)];
  assert.deepEqual(
    first.skipped.map(({ digest }) => digest),
    lacking,
  );
  assert.deepEqual(first.blobs, { total: 3, present: 0, copied: 3, copiedElsewhere: 0 });
  for (const digest of [...lacking, digestOf(held)]) assert.equal(upstream.count({ reference: digest }), 1);

  upstream.requests.length = 0;
  const hit = await bench.succeeds(reference);
  assert.deepEqual([hit.outcome, hit.skipped.length, upstream.requests.length], ['hit', 2, 0]);

  const again = await bench.succeeds(reference, { alwaysPull: true });
  assert.deepEqual([again.outcome, again.skipped.length, again.blobs.total], ['hit', 2, 3]);
  assert.equal(again.registryRequests.total, upstream.requests.length);
  assert.equal(upstream.requests.length, 3);

  bench.pull.offer(image, 'team/lacking');
  upstream.putBlob('team/lacking', missing);
  const whole = await bench.succeeds(reference, { alwaysPull: true });
  assert.deepEqual([whole.outcome, whole.skipped], ['pulled', []]);
  assert.equal(whole.blobs.copied, 1 + attestation.blobs.size);
  assert.equal((await bench.pull.cache.pull(reference)).outcome, 'hit');
  assert.equal((await bench.pull.cache.validate(reference, { deep: true })).state, 'complete');
  await bench.pull.assertClean();
});

for (const kind of ['an attestation', 'a manifest without a platform'] as const) {
  test(`a workflow leaves out ${kind} whose layer is gone, and brings it when it is there`, async () => {
    const { upstream } = bench.pull;
    const platforms = ['linux/amd64'];
    const repository = `team/${kind.replaceAll(' ', '-')}`;
    const subject = buildImage({ platform: 'linux/amd64', layers: [noiseLayer(1_200, `subject of ${kind}`)] });
    const beside = buildAttestation(subject);
    const image = buildIndex({
      entries: [
        { image: subject, platform: 'linux/amd64' },
        { image: beside, ...(kind === 'an attestation' ? { attests: subject } : {}) },
      ],
    });
    const reference = bench.pull.offer(image, repository);
    const layer = [...beside.blobs.keys()].at(-1)!;
    upstream.deleteBlob(repository, layer);

    const first = await bench.succeeds(reference, { platforms });
    assert.equal(first.outcome, 'pulled');
    assert.deepEqual(
      first.skipped.map(({ digest }) => digest),
      [beside.root.digest],
    );
    assert.match(first.skipped[0]!.reason, new RegExp(`its registry does not have ${layer}`));
    assert.deepEqual(
      first.platforms.map(({ platform }) => platform),
      platforms,
    );
    const hit = await bench.pull.cache.pull(reference, { platforms });
    assert.deepEqual([hit.outcome, hit.skipped.length], ['hit', 1]);
    assert.equal((await bench.pull.cache.validate(reference, { platforms, deep: true })).state, 'complete');
    const again = await bench.succeeds(reference, { platforms, alwaysPull: true });
    assert.deepEqual([again.outcome, again.skipped.length, again.platforms], ['hit', 1, first.platforms]);

    bench.pull.offer(image, repository);
    const whole = await bench.succeeds(reference, { platforms, alwaysPull: true });
    assert.deepEqual([whole.outcome, whole.skipped], ['pulled', []]);
    assert.equal((await bench.pull.cache.validate(reference, { deep: true })).state, 'complete');
  });
}
