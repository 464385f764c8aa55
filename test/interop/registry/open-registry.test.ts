import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { buildArtifact, multiArchImage, noise, noiseImage, noiseLayer, type Image } from '../../support/images.ts';
import { install } from '../install.ts';
import { assertHolds, openInteropCache, type InteropCache } from './cache.ts';
import { closureOf, manifestOf } from './closure.ts';
import { startDockerRegistry, type DockerRegistry } from './docker-registry.ts';
import { push } from './push.ts';
import { busyboxImage, runInRoot } from './real-images.ts';

const NAME = 'registry.example.test';
const MIB = 1024 * 1024;

/** One registry that admits everybody for the whole file; every test has an empty cache. */
let registry: DockerRegistry;
let folder: string;

before(
  async () => {
    await install('docker-registry', 'skopeo', 'busybox');
    folder = mkdtempSync(join(tmpdir(), 'entrepot-registry-'));
    registry = await startDockerRegistry(folder);
  },
  { timeout: 300_000 },
);

after(async () => {
  await registry.close();
  rmSync(folder, { recursive: true });
});

const openCache = (): Promise<InteropCache> =>
  openInteropCache({ registries: { [NAME]: { endpoint: registry.proxy.endpoint } } });

const bytesIn = (image: Image, digests: ReadonlySet<string>): number =>
  [...image.blobs].filter(([digest]) => digests.has(digest)).reduce((total, [, bytes]) => total + bytes.byteLength, 0);

for (const mediaTypes of ['oci', 'docker'] as const) {
  describe(`busybox, with ${mediaTypes} media types`, () => {
    const reference = `${NAME}/busybox/${mediaTypes}:v1`;
    let image: Image;
    before(async () => {
      image = busyboxImage(mediaTypes);
      await push(image, registry.host, `busybox/${mediaTypes}`, 'v1');
    });

    test('one platform, then the other: only its own blobs move, and what is in S3 is what the registry has', async () => {
      await using cache = await openCache();
      const amd64 = closureOf(image, 'linux/amd64');
      const first = await cache.pull(reference, 'linux/amd64');
      assert.equal(first.outcome, 'pulled');
      assert.equal(first.reference, reference);
      assert.equal(first.digest, image.root.digest);
      assert.equal(first.mediaType, image.root.mediaType);
      assert.equal(first.bytes.copied, bytesIn(image, amd64));
      assert.equal(first.registryRequests.blob, first.blobs.copied);
      await assertHolds(cache, registry, amd64);

      const both = closureOf(image, 'linux/amd64', 'linux/arm64');
      const second = await cache.pull(reference, 'linux/arm64');
      assert.equal(second.outcome, 'pulled');
      assert.equal(second.bytes.copied, bytesIn(image, both.difference(amd64)));
      assert.equal(second.blobs.present, 1, 'the settings, which both platforms have');
      await assertHolds(cache, registry, both);

      const validated = await cache.entrepot(['validate', reference, '--platform', 'linux/amd64', '--deep']);
      assert.equal(validated.exitCode, 0, validated.stdout);
    });

    test('a second pull asks the registry nothing, by tag and by digest', async () => {
      await using cache = await openCache();
      await cache.pull(reference, 'linux/amd64');
      const requests = registry.proxy.log.length;
      const byDigest = `${NAME}/busybox/${mediaTypes}@${image.root.digest}`;
      // The first by digest moves a pointer: that of the digest.
      for (const [asked, outcome] of [
        [reference, 'hit'],
        [byDigest, 'pulled'],
        [byDigest, 'hit'],
      ] as const) {
        const again = await cache.pull(asked, 'linux/amd64');
        assert.equal(again.outcome, outcome, asked);
        assert.equal(again.registryRequests.total, 0);
        assert.equal(again.blobs.copied, 0);
        assert.deepEqual(
          again.platforms.map(({ platform, complete }) => [platform, complete]),
          [['linux/amd64', true]],
        );
      }
      assert.equal(registry.proxy.log.length, requests);
    });

    test('every request that the receipt names, and no other, reached the registry', async () => {
      await using cache = await openCache();
      const before = registry.proxy.log.length;
      const { registryRequests } = await cache.pull(reference, 'linux/amd64');
      const seen = registry.proxy.log.slice(before);
      const count = (part: RegExp): number => seen.filter(({ path }) => part.test(path)).length;
      assert.equal(registryRequests.total, seen.length);
      assert.equal(registryRequests.manifest, count(/\/manifests\//));
      assert.equal(registryRequests.blob, count(/\/blobs\//));
      const blobs = seen.filter(({ path }) => path.includes('/blobs/')).map(({ method, path }) => `${method} ${path}`);
      assert.equal(new Set(blobs).size, blobs.length, 'no blob is fetched twice');
    });

    test('what came out of the cache is a root file system that runs', async () => {
      await using cache = await openCache();
      const { platforms } = await cache.pull(reference, 'linux/amd64');
      const manifest = manifestOf(image, platforms[0]!.digest);
      const layers = await Promise.all(
        manifest.layers.map(async (descriptor) => ({ descriptor, bytes: await cache.read(descriptor.digest) })),
      );
      const printed = runInRoot(layers, ['/bin/sh', '-c', '/usr/local/bin/answer && cat /etc/motd']);
      assert.equal(printed, '42\nlanded once, shipped on\n');
    });
  });
}

test('no platform asked means all of them, and large layers arrive whole', async () => {
  const image = multiArchImage({ name: 'large', layerBytes: [21 * MIB + 13, 8 * MIB, 1], attestations: true });
  await push(image, registry.host, 'team/large', 'v1');
  await using cache = await openCache();
  const receipt = await cache.pull(`${NAME}/team/large:v1`);
  assert.deepEqual(receipt.platforms.map(({ platform }) => platform).sort(), ['linux/amd64', 'linux/arm64']);
  await assertHolds(cache, registry, new Set([...image.manifests.keys(), ...image.blobs.keys()]));
});

test('a tag that moved is seen with --always-pull, and only then', async () => {
  const [old, next] = ['old', 'next'].map((name) => multiArchImage({ name, sharedLayers: [] }));
  await push(old!, registry.host, 'team/moving', 'latest');
  await using cache = await openCache();
  const reference = `${NAME}/team/moving:latest`;
  await cache.pull(reference, 'linux/amd64');
  await push(next!, registry.host, 'team/moving', 'latest');
  assert.equal((await cache.pull(reference, 'linux/amd64')).digest, old!.root.digest);
  const { documents } = await cache.entrepot(['pull', reference, '--platform', 'linux/amd64', '--always-pull']);
  assert.equal((documents[0] as { digest: string }).digest, next!.root.digest);
  assert.equal((await cache.pull(reference, 'linux/amd64')).digest, next!.root.digest);
});

test('several processes at once, two images that share a layer: every blob is fetched once', async () => {
  const sharedLayers = [noiseLayer(12 * MIB, 'base of both')];
  const images = ['left', 'right'].map((name) => noiseImage({ name, sharedLayers, layerBytes: [2 * MIB, 9 * MIB] }));
  await Promise.all(images.map((image, i) => push(image, registry.host, 'team/both', `v${i}`)));
  await using cache = await openCache();
  const before = registry.proxy.log.length;
  const receipts = await Promise.all([0, 1, 0, 1].map((i) => cache.pull(`${NAME}/team/both:v${i}`)));
  const blobs = registry.proxy.log.slice(before).filter(({ path }) => path.includes('/blobs/'));
  const gets = blobs.filter(({ method }) => method === 'GET').map(({ path }) => path);
  const both = new Set(images.flatMap((image) => [...closureOf(image)]));
  assert.equal(new Set(gets).size, gets.length, gets.join('\n'));
  assert.equal(gets.length, both.size - images.length, 'configs and layers, without the manifests');
  assert.equal(
    receipts.reduce((sum, { blobs: { copied } }) => sum + copied, 0),
    gets.length,
  );
  await assertHolds(cache, registry, both);
});

test('an artifact with a subject is pulled by its digest', async () => {
  const subject = multiArchImage({ name: 'subject' });
  const artifact = buildArtifact({
    artifactType: 'application/vnd.example.sbom',
    subject,
    blobs: [{ bytes: noise(10_000, 'sbom'), mediaType: 'application/spdx+json' }],
  });
  await push(subject, registry.host, 'team/signed', 'v1');
  await push(artifact, registry.host, 'team/signed', 'sbom');
  await using cache = await openCache();
  const receipt = await cache.pull(`${NAME}/team/signed@${artifact.root.digest}`);
  assert.equal(receipt.outcome, 'pulled');
  await assertHolds(cache, registry, closureOf(artifact));
});

test('what is not there: an error with its code, exit 1, and nothing in the cache', async () => {
  const image = multiArchImage({ name: 'few platforms' });
  await push(image, registry.host, 'team/few', 'v1');
  await using cache = await openCache();
  const cases: [reference: string, platform: string, code: string | null, words: RegExp][] = [
    [`${NAME}/team/few:v2`, 'linux/amd64', 'MANIFEST_UNKNOWN', /v2/],
    [`${NAME}/team/none:v1`, 'linux/amd64', 'MANIFEST_UNKNOWN', /team\/none/],
    [`${NAME}/team/few:v1`, 'linux/s390x', null, /linux\/amd64.*linux\/arm64/],
  ];
  for (const [reference, platform, code, words] of cases) {
    const result = await cache.entrepot(['pull', reference, '--platform', platform]);
    assert.equal(result.exitCode, 1, reference);
    const { error } = result.documents[0] as { error: { code: string | null; message: string } };
    if (code !== null) assert.equal(error.code, code, error.message);
    assert.match(error.message, words);
  }
  assert.deepEqual(await cache.digests(), []);
});

test('with the registry gone, what is in the cache stays a hit', async () => {
  const image = multiArchImage({ name: 'survivor' });
  const other = await startDockerRegistry(join(folder, 'short-lived'));
  await using cache = await openInteropCache({ registries: { [NAME]: { endpoint: other.proxy.endpoint } } });
  try {
    await push(image, other.host, 'team/app', 'v1');
    await cache.pull(`${NAME}/team/app:v1`, 'linux/amd64');
    await other.close();
    assert.equal((await cache.pull(`${NAME}/team/app:v1`, 'linux/amd64')).outcome, 'hit');
  } finally {
    await other.close();
  }
});
