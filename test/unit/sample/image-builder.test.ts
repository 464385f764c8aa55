import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gunzipSync, zstdDecompressSync } from 'node:zlib';
import { digestOf, type Digest } from '../../../lib/oci/digest.ts';
import { blobsOf, parseManifest, platformOfConfig, type Index, type Manifest } from '../../../lib/oci/manifest.ts';
import {
  buildArtifact,
  buildAttestation,
  buildImage,
  buildIndex,
  multiArchImage,
  noiseImage,
} from '../../support/images.ts';
import type { Image } from '../../support/images.ts';

const LIMITS = { fanOut: 1_000 };
const FILES = { 'etc/motd': 'hello\n', 'bin/run': { bytes: Buffer.from('#!/bin/sh\n'), mode: 0o755 } };

const manifestOf = (image: Image): Manifest => {
  const parsed = parseManifest(image.root.bytes, image.root.mediaType, LIMITS);
  assert.ok(parsed.kind === 'manifest');
  return parsed;
};
const indexOf = (image: Image): Index => {
  const parsed = parseManifest(image.root.bytes, image.root.mediaType, LIMITS);
  assert.ok(parsed.kind === 'index');
  return parsed;
};

test('an image is what our own parser reads, and every descriptor is true', () => {
  for (const mediaTypes of ['oci', 'docker'] as const) {
    const layers = (['gzip', 'zstd', 'none'] as const).map((compression) => ({ files: FILES, compression }));
    const image = buildImage({ platform: 'linux/arm64/v8', layers, mediaTypes });
    assert.equal(image.root.digest, digestOf(image.root.bytes));
    assert.equal(image.root.size, image.root.bytes.byteLength);
    const manifest = manifestOf(image);
    const blobs = blobsOf(manifest);
    assert.equal(blobs.length, 4);
    for (const blob of blobs) {
      const bytes = image.blobs.get(blob.digest);
      assert.ok(bytes !== undefined, blob.digest);
      assert.equal(bytes.byteLength, blob.size);
      assert.equal(digestOf(bytes), blob.digest);
    }
    const config = image.blobs.get(manifest.config!.digest)!;
    assert.deepEqual(platformOfConfig(config), { os: 'linux', architecture: 'arm64', variant: 'v8' });
    const { rootfs } = JSON.parse(Buffer.from(config).toString()) as { rootfs: { diff_ids: Digest[] } };
    const [gzip, zstd, none] = manifest.layers.map((layer) => image.blobs.get(layer.digest)!);
    const archives = [gunzipSync(gzip!), zstdDecompressSync(zstd!), none!];
    assert.deepEqual(
      rootfs.diff_ids,
      archives.map((archive) => digestOf(archive)),
    );
    assert.equal(image.root.mediaType.includes('docker'), mediaTypes === 'docker');
  }
});

test('the same specification gives the same digests', () => {
  const one = multiArchImage({ name: 'same', attestations: true });
  const two = multiArchImage({ name: 'same', attestations: true });
  assert.equal(one.root.digest, two.root.digest);
  assert.deepEqual([...one.blobs.keys()], [...two.blobs.keys()]);
  assert.notEqual(one.root.digest, multiArchImage({ name: 'other', attestations: true }).root.digest);
});

test('an index has platforms, attestations, nested indexes and entries without platform', () => {
  const amd64 = noiseImage({ name: 'a', platform: 'linux/amd64' });
  const nested = buildIndex({
    entries: [{ image: noiseImage({ name: 'b', platform: 'linux/riscv64' }), platform: 'linux/riscv64' }],
  });
  const attestation = buildAttestation(amd64);
  const image = buildIndex({
    entries: [
      { image: amd64, platform: 'linux/amd64' },
      { image: nested },
      { image: attestation, attests: amd64 },
      { image: buildAttestation(nested), platform: 'unknown/unknown' },
    ],
  });
  const index = indexOf(image);
  assert.deepEqual(index.entries[0]?.platform, { os: 'linux', architecture: 'amd64' });
  assert.equal(index.entries[1]?.platform, undefined);
  assert.equal(index.entries[2]?.attests, amd64.root.digest);
  const json = JSON.parse(Buffer.from(image.root.bytes).toString()) as { manifests: { platform?: unknown }[] };
  const unknown = { os: 'unknown', architecture: 'unknown' };
  assert.deepEqual(json.manifests.map((entry) => entry.platform).slice(1), [undefined, unknown, unknown]);
});

test('an index holds the manifests and blobs of every entry, nested ones too', () => {
  const inner = noiseImage({ name: 'inner' });
  const image = buildIndex({ entries: [{ image: buildIndex({ entries: [{ image: inner }] }) }] });
  assert.equal(image.manifests.size, 3);
  assert.ok(image.manifests.has(inner.root.digest));
  assert.deepEqual([...image.blobs.keys()], [...inner.blobs.keys()]);
});

test('shared layers are one blob', () => {
  const image = multiArchImage({ name: 'shared', layerBytes: [10] });
  // One layer for both; a layer and a config for each.
  assert.equal(image.blobs.size, 5);
});

test('foreign layers are in the manifest and not among the blobs', () => {
  const foreign = {
    mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
    digest: digestOf(Buffer.from('elsewhere')),
    size: 9,
  };
  const image = buildImage({
    platform: 'windows/amd64',
    mediaTypes: 'docker',
    layers: [{ foreign, urls: ['https://example.test/layer'] }, { files: FILES }],
  });
  assert.deepEqual(manifestOf(image).foreignLayers, [foreign]);
  assert.ok(!image.blobs.has(foreign.digest));
});

test('an artifact has its type, its subject and its blobs', () => {
  const subject = noiseImage({ name: 'signed' });
  const artifact = buildArtifact({
    artifactType: 'application/vnd.example.signature',
    subject,
    blobs: [{ bytes: Buffer.from('signature'), mediaType: 'text/plain' }],
  });
  const json = JSON.parse(Buffer.from(artifact.root.bytes).toString()) as { subject: unknown; artifactType: string };
  assert.equal(json.artifactType, 'application/vnd.example.signature');
  const { mediaType, digest, size } = subject.root;
  assert.deepEqual(json.subject, { mediaType, digest, size });
  assert.equal(blobsOf(manifestOf(artifact)).length, 2);
});

test('mediaType can be left out, as the specification allows', () => {
  const image = buildImage({ platform: 'linux/amd64', layers: [], omitMediaType: true });
  assert.ok(!Buffer.from(image.root.bytes).toString().includes('"mediaType":"application/vnd.oci.image.manifest'));
  assert.equal(manifestOf(image).mediaType, image.root.mediaType);
});
