import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseManifest } from '../../../lib/oci/manifest.ts';
import { formatPlatform } from '../../../lib/oci/platform.ts';
import { sampleImage } from '../../../infra/local/sample/sample-image.ts';
import type { Digest } from '../../../lib/oci/digest.ts';

const PART_BYTES = 8 * 1024 * 1024;
const SAMPLE_BYTES = 48 * 1024 * 1024;
const image = sampleImage();

const parse = (digest: Digest) => {
  const { bytes, mediaType } = image.manifests.get(digest)!;
  return parseManifest(bytes, mediaType, { fanOut: 100 });
};
const entriesOf = () => {
  const index = parse(image.root.digest);
  assert.ok(index.kind === 'index');
  return index.entries;
};
const layersOf = (digest: Digest) => {
  const manifest = parse(digest);
  assert.ok(manifest.kind === 'manifest');
  return manifest.layers;
};

test('two platforms, each with its attestation', () => {
  const [amd64, arm64, ...attestations] = entriesOf();
  assert.deepEqual(
    [amd64, arm64].map((entry) => formatPlatform(entry!.platform!)),
    ['linux/amd64', 'linux/arm64'],
  );
  assert.deepEqual(
    attestations.map((entry) => entry.attests),
    [amd64!.digest, arm64!.digest],
  );
});

test('the platforms share two layers, one of them goes up in parts, and all is a few tens of MB', () => {
  const [amd64, arm64] = entriesOf().map((entry) => layersOf(entry.digest));
  assert.deepEqual(amd64!.slice(0, 2), arm64!.slice(0, 2));
  assert.notEqual(amd64![2]!.digest, arm64![2]!.digest);
  assert.ok(amd64!.some((layer) => layer.size > PART_BYTES));
  assert.ok([...image.blobs.values()].reduce((total, blob) => total + blob.byteLength, 0) < SAMPLE_BYTES);
});

const runnable = process.platform === 'linux' && process.arch === 'x64';
test('the program of linux/amd64 runs', { skip: runnable ? false : 'not a linux/amd64 machine' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'entrepot-sample-'));
  try {
    for (const layer of layersOf(entriesOf()[0]!.digest)) {
      const unpack = ['-xf', '-', '-C', folder, ...(layer.mediaType.endsWith('+gzip') ? ['-z'] : [])];
      execFileSync('tar', unpack, { input: image.blobs.get(layer.digest)! });
    }
    assert.match(execFileSync(join(folder, 'bin/hello')).toString(), /^Hello from linux\/amd64/);
    assert.match(execFileSync(join(folder, 'usr/local/bin/esbuild'), ['--version']).toString(), /^\d+\.\d+/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
