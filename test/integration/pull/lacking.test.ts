import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { digestOf, hexOf, type Digest } from '../../../lib/oci/digest.ts';
import { OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import {
  buildAttestation,
  buildImage,
  buildIndex,
  multiArchImage,
  noise,
  noiseImage,
  noiseLayer,
  type Image,
} from '../../support/images.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

/* What an image names, and its registry does not have. */

const FOREIGN = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());

const forever = new AbortController().signal;
const skippedBy = ({ skipped }: Receipt): Digest[] => skipped.map(({ digest }) => digest);
const isHit = async (reference: string, options = {}): Promise<Receipt> => {
  bench.upstream.requests.length = 0;
  const receipt = await bench.cache.pull(reference, options);
  assert.equal(receipt.outcome, 'hit');
  assert.equal(bench.upstream.requests.length, 0);
  assert.equal((await bench.cache.validate(reference, { ...options, deep: true })).state, 'complete');
  return receipt;
};
const lose = (digest: Digest) =>
  bench.s3.send(new DeleteObjectCommand({ Bucket: bench.stack.bucket, Key: `blobs/sha256/${hexOf(digest)}` }));

describe('an attestation that somebody deleted', () => {
  const image = multiArchImage({ name: 'attested', attestations: true });
  const platforms = ['linux/amd64'];
  const gone = buildAttestation(image.children.get('linux/amd64')!).root;
  const reference = `${REGISTRY}/team/attested:v1`;

  test('is left out with a warning, and the next pull is a hit', async () => {
    bench.offer(image, 'team/attested');
    bench.upstream.deleteManifest('team/attested', gone.digest);
    const receipt = await bench.succeeds(reference, { platforms });
    assert.equal(receipt.outcome, 'pulled');
    assert.deepEqual(skippedBy(receipt), [gone.digest]);
    assert.match(receipt.skipped[0]!.reason, /attestation of sha256:.*registry does not have it/);
    assert.equal(bench.upstream.count({ reference: gone.digest }), 1);
    assert.deepEqual((await isHit(reference, { platforms })).skipped, receipt.skipped);
    assert.deepEqual((await isHit(reference, { platforms, attestations: false })).skipped, []);
  });

  test('is asked for again by alwaysPull, which is a hit while it is gone', async () => {
    const receipt = await bench.succeeds(reference, { platforms, alwaysPull: true });
    assert.equal(receipt.outcome, 'hit');
    assert.deepEqual(skippedBy(receipt), [gone.digest]);
    assert.deepEqual(
      bench.upstream.requests.map(({ method, reference: asked }) => [method, asked]),
      [
        ['HEAD', 'v1'],
        ['GET', gone.digest],
      ],
    );
  });

  test('stays known where the epoch moves', async () => {
    await lose(image.children.get('linux/amd64')!.root.digest);
    await bench.cache.validate(reference, { platforms, deep: true });
    assert.equal((await bench.succeeds(reference, { platforms })).outcome, 'pulled');
    assert.deepEqual(skippedBy(await isHit(reference, { platforms })), [gone.digest]);
  });

  test('comes with alwaysPull when it is there again', async () => {
    bench.offer(image, 'team/attested');
    const receipt = await bench.succeeds(reference, { platforms, alwaysPull: true });
    assert.equal(receipt.outcome, 'pulled');
    assert.deepEqual(receipt.skipped, []);
    assert.ok(receipt.blobs.copied > 0);
    assert.deepEqual((await isHit(reference, { platforms })).skipped, []);
  });

  test('is no business of another repository of the same image', async () => {
    bench.offer(image, 'team/other');
    assert.deepEqual((await bench.succeeds(`${REGISTRY}/team/other:v1`, { platforms })).skipped, []);
  });

  test('that our store lost, too, is left out, and that is a hit', async () => {
    bench.upstream.deleteManifest('team/attested', gone.digest);
    await lose(gone.digest);
    assert.equal((await bench.cache.validate(reference, { platforms, deep: true })).state, 'incomplete');
    assert.deepEqual(skippedBy(await bench.succeeds(reference, { platforms })), [gone.digest]);
    await isHit(reference, { platforms });
  });
});

describe('an attestation that is not whole', () => {
  const platforms = ['linux/amd64'];
  const described = (name: string): Image => noiseImage({ name: `described ${name}` });
  const attested = (subject: Image, attestation: Image): Image =>
    buildIndex({
      entries: [
        { image: subject, platform: 'linux/amd64' },
        { image: attestation, attests: subject },
      ],
    });
  /** As the index says it, and as the registry does. */
  const bare = (bytes: Uint8Array, mediaType: string): Image => {
    const root = { mediaType, digest: digestOf(bytes), size: bytes.byteLength, bytes };
    return { root, manifests: new Map([[root.digest, { mediaType: OCI_MANIFEST, bytes }]]), blobs: new Map() };
  };
  const blobOf = (image: Image, at: number): Digest => [...image.blobs.keys()].at(at)!;

  const lacking: readonly [string, (attestation: Image) => readonly Digest[]][] = [
    ['its layer', (attestation) => [blobOf(attestation, -1)]],
    ['its config', (attestation) => [blobOf(attestation, 0)]],
    ['every blob of it', (attestation) => [...attestation.blobs.keys()]],
  ];
  for (const [what, gone] of lacking) {
    test(`because ${what} is gone is left out as a whole, until it is there again`, async () => {
      const subject = described(what);
      const attestation = buildAttestation(subject);
      const image = attested(subject, attestation);
      const repository = `team/lacks-${what.replaceAll(' ', '-')}`;
      const reference = bench.offer(image, repository);
      for (const digest of gone(attestation)) bench.upstream.deleteBlob(repository, digest);
      const receipt = await bench.succeeds(reference, { platforms });
      assert.equal(receipt.outcome, 'pulled');
      assert.deepEqual(skippedBy(receipt), [attestation.root.digest]);
      assert.match(receipt.skipped[0]!.reason, /^attestation of sha256:.*registry does not have sha256:/);
      assert.match((await isHit(reference, { platforms })).skipped[0]!.reason, /not all of it/);
      // Also for who asks for everything: nobody can have it.
      assert.deepEqual(skippedBy(await isHit(reference)), [attestation.root.digest]);
      const { root, linked } = await bench.cache.services.catalog.find(parseReference(reference), {
        consistent: true,
        signal: forever,
      });
      for (const known of [root?.complete, linked]) {
        assert.deepEqual(
          [image, subject, attestation].map((one) => known?.has(one.root.digest)),
          [true, true, false],
        );
      }
      assert.equal((await bench.succeeds(reference, { platforms, alwaysPull: true })).outcome, 'hit');

      bench.offer(image, repository);
      const whole = await bench.succeeds(reference, { platforms, alwaysPull: true });
      assert.deepEqual([whole.outcome, whole.skipped], ['pulled', []]);
      assert.deepEqual((await isHit(reference, { platforms })).skipped, []);
    });
  }

  const broken: readonly [string, Uint8Array, RegExp][] = [
    ['is no JSON', Buffer.from('{"schemaVersion": 2,'), /JSON/],
    ['is a list', Buffer.from('[]'), /./],
    ['is an index', buildIndex({ entries: [] }).root.bytes, /index or a manifest/],
    ['has a broken layer', Buffer.from('{"schemaVersion":2,"config":{},"layers":[7]}'), /layers/],
  ];
  for (const [what, bytes, reason] of broken) {
    for (const mediaType of [OCI_MANIFEST, 'application/octet-stream']) {
      test(`because it ${what} is left out (${mediaType})`, async () => {
        const subject = described(what);
        const image = attested(subject, bare(bytes, mediaType));
        const reference = bench.offer(image, `team/${what.replaceAll(' ', '-')}-${mediaType.length}`.toLowerCase());
        const receipt = await bench.succeeds(reference, { platforms });
        assert.deepEqual(skippedBy(receipt), [digestOf(bytes)]);
        if (mediaType === OCI_MANIFEST) assert.match(receipt.skipped[0]!.reason, reason);
        assert.deepEqual(skippedBy(await isHit(reference, { platforms })), [digestOf(bytes)]);
        assert.equal((await bench.succeeds(reference, { platforms, alwaysPull: true })).outcome, 'hit');
      });
    }
  }

  test('takes nothing from the platform that needs the same blob', async () => {
    const attestation = buildAttestation(described('shared'));
    const [layer] = [...attestation.blobs.values()].slice(-1);
    const subject = buildImage({
      platform: 'linux/amd64',
      layers: [{ bytes: layer!, mediaType: 'application/vnd.oci.image.layer.v1.tar' }],
    });
    const reference = bench.offer(attested(subject, attestation), 'team/shares');
    bench.upstream.deleteBlob('team/shares', digestOf(layer!));
    await bench.fails(reference, { name: 'BlobUnknownError', message: new RegExp(digestOf(layer!)) }, { platforms });
  });

  test('because its registry refuses or breaks is an error', async () => {
    const subject = described('refused');
    const attestation = buildAttestation(subject);
    const reference = bench.offer(attested(subject, attestation), 'team/refused-layer');
    for (const status of [401, 403, 500]) {
      const layer = blobOf(attestation, -1);
      const remove = bench.upstream.fault((asked) => (asked.reference === layer ? { status } : undefined));
      await assert.rejects(bench.cache.pull(reference, { platforms }));
      remove();
    }
  });
});

describe('a manifest without a platform', () => {
  const platforms = ['linux/amd64'];
  const beside = (name: string, one: Image): Image => {
    const image = noiseImage({ name: `beside ${name}` });
    return buildIndex({ entries: [{ image, platform: 'linux/amd64' }, { image: one }] });
  };
  const extra = (name: string): Image =>
    buildImage({ platform: 'unknown/unknown', layers: [noiseLayer(700, name), noiseLayer(600, `${name} 2`)] });
  /** The position of the blob that is gone; of none: the manifest is. */
  const gone: readonly [string, number | undefined][] = [
    ['gone', undefined],
    ['of which a layer is gone', -1],
    ['of which the config is gone', 0],
  ];
  for (const [what, at] of gone) {
    test(`${what} is left out for who asks for a platform, and for nobody else`, async () => {
      const one = extra(what);
      const image = beside(what, one);
      const repository = `team/without-platform-${what.replaceAll(' ', '-')}`;
      const reference = bench.offer(image, repository);
      if (at === undefined) bench.upstream.deleteManifest(repository, one.root.digest);
      else bench.upstream.deleteBlob(repository, [...one.blobs.keys()].at(at)!);
      const receipt = await bench.succeeds(reference, { platforms });
      assert.deepEqual([receipt.outcome, skippedBy(receipt)], ['pulled', [one.root.digest]]);
      assert.match(receipt.skipped[0]!.reason, /^manifest without a platform: its registry does not have /);
      assert.deepEqual(
        receipt.platforms.map(({ platform }) => platform),
        platforms,
      );
      const hit = await isHit(reference, { platforms });
      assert.deepEqual([hit.platforms, skippedBy(hit)], [receipt.platforms, [one.root.digest]]);
      assert.equal((await bench.succeeds(reference, { platforms, alwaysPull: true })).outcome, 'hit');
      // All that the root has is not there (I2).
      assert.equal((await bench.cache.validate(reference)).state, 'incomplete');
      await assert.rejects(bench.cache.pull(reference), new RegExp(one.root.digest));

      // It is there in another repository: nothing that the first one lacks is in the way, and nothing helps the first one.
      const other = bench.offer(image, `${repository}-whole`);
      assert.deepEqual((await bench.succeeds(other, { platforms })).skipped, []);
      await isHit(other);
      assert.deepEqual(skippedBy(await isHit(reference, { platforms })), [one.root.digest]);
      assert.equal((await bench.cache.validate(reference)).state, 'incomplete');

      bench.offer(image, repository);
      const whole = await bench.succeeds(reference);
      assert.deepEqual([whole.outcome, whole.skipped], ['pulled', []]);
      assert.deepEqual((await isHit(reference, { platforms })).skipped, []);
      await isHit(reference);
    });
  }

  test('that is broken is left out for who asks for a platform', async () => {
    const bytes = Buffer.from('{"schemaVersion": 2, "layers": [');
    const root = { mediaType: OCI_MANIFEST, digest: digestOf(bytes), size: bytes.byteLength, bytes };
    const broken = { root, manifests: new Map([[root.digest, { mediaType: OCI_MANIFEST, bytes }]]), blobs: new Map() };
    const reference = bench.offer(beside('broken', broken), 'team/without-platform-broken');
    const receipt = await bench.succeeds(reference, { platforms });
    assert.deepEqual(skippedBy(receipt), [root.digest]);
    assert.match(receipt.skipped[0]!.reason, /not JSON/);
    await isHit(reference, { platforms });
    const message = new RegExp(`${root.digest}, which cannot be used: .*--platform`);
    await bench.fails(reference, { name: 'InvalidManifestError', message });
  });

  test('that its registry refuses is an error', async () => {
    const one = extra('refused');
    const reference = bench.offer(beside('refused', one), 'team/without-platform-refused');
    for (const status of [401, 403, 500]) {
      for (const digest of [one.root.digest, [...one.blobs.keys()].at(-1)!]) {
        const remove = bench.upstream.fault((asked) => (asked.reference === digest ? { status } : undefined));
        await assert.rejects(bench.cache.pull(reference, { platforms }));
        remove();
      }
    }
  });

  test('is needed in an index in which nothing states one', async () => {
    const one = extra('alone');
    const reference = bench.offer(buildIndex({ entries: [{ image: one }] }), 'team/without-platform-alone');
    bench.upstream.deleteManifest('team/without-platform-alone', one.root.digest);
    await bench.fails(reference, { name: 'ManifestUnknownError', message: new RegExp(one.root.digest) });
    await bench.fails(reference, { name: 'PlatformMissingError' }, { platforms });
  });
});

test('a nested index that is gone is an error for every request: what it lists is part of the root (I2)', async () => {
  const image = noiseImage({ name: 'beside a nested index' });
  const nested = buildIndex({ entries: [{ image: noiseImage({ name: 'nested' }), platform: 'linux/arm64' }] });
  const root = buildIndex({ entries: [{ image, platform: 'linux/amd64' }, { image: nested }] });
  const reference = bench.offer(root, 'team/nested-gone');
  bench.upstream.deleteManifest('team/nested-gone', nested.root.digest);
  for (const platforms of [[], ['linux/amd64'], ['linux/arm64']]) {
    const message = new RegExp(`names a nested index, ${nested.root.digest}, which its registry does not have`);
    await bench.fails(reference, { name: 'ManifestUnknownError', message }, { platforms });
  }
  bench.offer(root, 'team/nested-gone');
  for (const platforms of [['linux/amd64'], ['linux/arm64']]) await bench.succeeds(reference, { platforms });
  await isHit(reference);
});

test('a platform that is broken is named, with its digest and the way out', async () => {
  const bytes = Buffer.from('{"schemaVersion": 2,');
  const image = noiseImage({ name: 'beside a broken one' });
  const root = { mediaType: OCI_MANIFEST, digest: digestOf(bytes), size: bytes.byteLength, bytes };
  const broken: Image = {
    root,
    manifests: new Map([[root.digest, { mediaType: OCI_MANIFEST, bytes }]]),
    blobs: new Map(),
  };
  const entries = [
    { image, platform: 'linux/amd64' },
    { image: broken, platform: 'linux/arm64' },
  ];
  const reference = bench.offer(buildIndex({ entries }), 'team/broken');
  const message = new RegExp(`team/broken:v1 names platform linux/arm64, ${root.digest}, .*JSON.*--platform`);
  await bench.fails(reference, { name: 'InvalidManifestError', message });
  await bench.succeeds(reference, { platforms: ['linux/amd64'] });
});

test('an answer other than 404 is an error', async () => {
  const image = multiArchImage({ name: 'refusals', attestations: true });
  const gone = buildAttestation(image.children.get('linux/amd64')!).root.digest;
  const reference = bench.offer(image, 'team/refusals');
  for (const status of [401, 403, 429, 500, 503]) {
    const remove = bench.upstream.fault((asked) => (asked.reference === gone ? { status } : undefined));
    await assert.rejects(bench.cache.pull(reference, { platforms: ['linux/amd64'] }));
    remove();
  }
});

test('a platform that is gone is named, with its digest and the way out', async () => {
  const image = multiArchImage({ name: 'gone' });
  const { digest } = image.children.get('linux/arm64')!.root;
  const reference = bench.offer(image, 'team/gone');
  bench.upstream.deleteManifest('team/gone', digest);
  const message = new RegExp(`team/gone:v1 names platform linux/arm64, ${digest}, .*--platform`);
  await bench.fails(reference, { name: 'ManifestUnknownError', code: 'MANIFEST_UNKNOWN', message });
  await bench.succeeds(reference, { platforms: ['linux/amd64'] });
});

test('validate leaves attestations out where it is told to', async () => {
  const reference = bench.offer(multiArchImage({ name: 'left out', attestations: true }), 'team/left-out');
  await bench.cache.pull(reference, { attestations: false });
  assert.equal((await bench.cache.validate(reference)).state, 'incomplete');
  assert.equal((await bench.cache.validate(reference, { attestations: false, deep: true })).state, 'complete');
});

describe('foreign layers', () => {
  const held = noise(2_500, 'held');
  const missing = noise(1_500, 'missing');
  const foreign = (bytes: Uint8Array) => ({
    foreign: { mediaType: FOREIGN, digest: digestOf(bytes), size: bytes.byteLength },
    urls: [`http://127.0.0.1:9/x`],
  });
  const image: Image = buildImage({
    platform: 'windows/amd64',
    layers: [foreign(held), foreign(missing), noiseLayer(800, 'own')],
    mediaTypes: 'docker',
  });
  const reference = `${REGISTRY}/team/windows:v1`;
  const linked = async () =>
    (
      await bench.cache.services.catalog.findLinks(
        parseReference(reference).repository,
        [digestOf(held), digestOf(missing)],
        forever,
      )
    ).keys();

  test('come where the registry holds them, by one request each', async () => {
    bench.offer(image, 'team/windows');
    bench.upstream.putBlob('team/windows', held);
    const receipt = await bench.succeeds(reference);
    assert.deepEqual(skippedBy(receipt), [digestOf(missing)]);
    assert.deepEqual(receipt.blobs, { total: 3, present: 0, copied: 3, copiedElsewhere: 0 });
    for (const bytes of [held, missing]) assert.equal(bench.upstream.count({ reference: digestOf(bytes) }), 1);
    assert.deepEqual([...(await linked())], [digestOf(held)]);
    const hit = await isHit(reference);
    assert.deepEqual([hit.blobs.present, skippedBy(hit)], [3, [digestOf(missing)]]);
  });

  test('that are skipped are asked for again by alwaysPull, which is a hit', async () => {
    const receipt = await bench.succeeds(reference, { alwaysPull: true });
    assert.equal(receipt.outcome, 'hit');
    assert.equal(receipt.registryRequests.total, 2);
  });

  test('that are lost come again', async () => {
    await lose(digestOf(held));
    const { state, missing: lacks } = await bench.cache.validate(reference, { deep: true });
    assert.deepEqual([state, lacks.map(({ digest }) => digest)], ['incomplete', [digestOf(held)]]);
    const receipt = await bench.succeeds(reference);
    assert.equal(receipt.blobs.copied, 1);
    await isHit(reference);
  });

  test('that are lost here and there are skipped', async () => {
    await lose(digestOf(held));
    await bench.cache.validate(reference, { deep: true });
    bench.upstream.deleteBlob('team/windows', digestOf(held));
    assert.equal((await bench.succeeds(reference)).skipped.length, 2);
    assert.equal((await isHit(reference)).skipped.length, 2);
  });

  test('that came to the registry later come with alwaysPull', async () => {
    bench.upstream.putBlob('team/windows', held);
    bench.upstream.putBlob('team/windows', missing);
    const receipt = await bench.succeeds(reference, { alwaysPull: true });
    assert.deepEqual([receipt.outcome, receipt.skipped, receipt.blobs.copied], ['pulled', [], 2]);
    assert.deepEqual((await isHit(reference)).skipped, []);
  });

  test('that the registry refuses are an error', async () => {
    const other = noise(1_700, 'refused');
    const layers = [foreign(other), noiseLayer(810, 'own')];
    const refused = bench.offer(buildImage({ platform: 'windows/amd64', layers }), 'team/refused');
    for (const status of [401, 403, 500]) {
      const remove = bench.upstream.fault((asked) =>
        asked.kind === 'blob' && asked.reference === digestOf(other) ? { status } : undefined,
      );
      await assert.rejects(bench.cache.pull(refused));
      remove();
    }
  });
});

test("an image that calls another one's manifest a foreign layer does not change what that one needs (I2)", async () => {
  const victim = noiseImage({ name: 'victim', layerBytes: [2_000] });
  const reference = bench.offer(victim, 'team/victim');
  await bench.succeeds(reference);
  const { digest, bytes } = victim.root;
  const foreign = { mediaType: FOREIGN, digest, size: bytes.byteLength };
  const layers = [{ foreign, urls: ['https://foreign.example.test/layer'] }, noiseLayer(900, 'beside the victim')];
  const other = buildImage({ platform: 'windows/amd64', layers, mediaTypes: 'docker' });
  const naming = bench.offer(other, 'team/naming');
  bench.upstream.putBlob('team/naming', bytes);
  await bench.cache.pull(naming);
  await lose([...victim.blobs.keys()].at(-1)!);
  assert.equal((await bench.cache.validate(reference, { deep: true })).state, 'incomplete');
  // By the rows, now that the loss is known.
  assert.equal((await bench.cache.validate(reference)).state, 'incomplete');
  bench.upstream.putBlob('team/victim', [...victim.blobs.values()].at(-1)!);
  await bench.succeeds(reference);
});
