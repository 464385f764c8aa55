import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Digest } from '../../../lib/oci/digest.ts';
import { DAMAGES, filesOf } from '../../support/damage.ts';
import { noiseImage } from '../../support/images.ts';
import { startPullBench, type PullBench } from './pull-bench.ts';

/** One that HEAD reads, one in two blocks of one file, one in two files. */
const SIZES = [2_000, 700_000, 6 * 1024 * 1024] as const;
/** Of each kind one. */
const FEWER = ['its last byte changed', 'its file deleted', 'cut to nothing'];

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());

const spoil = async (bytes: Uint8Array, damage: (path: string) => Promise<void>): Promise<void> =>
  damage((await filesOf(join(bench.stack.root, 's3'), bytes)).at(-1)!);

for (const [number, size] of SIZES.entries()) {
  const damages = DAMAGES.filter((one) => size === SIZES[0] || FEWER.includes(one.name));
  test(`layers of ${size} bytes, ${damages.map(({ name }) => name).join(', ')}: validate says so, and pull heals them`, async () => {
    const image = noiseImage({ name: `layers ${size}`, layerBytes: damages.map((_, i) => size + i) });
    const reference = bench.offer(image, `damaged/layers-${number}`);
    await bench.succeeds(reference);
    const missing = async (how: { bytes: boolean }): Promise<readonly Digest[]> =>
      (await bench.cache.validate(reference, { deep: true, ...how })).missing.map((one) => one.digest).sort();
    const spoilt = damages.map((one, i) => {
      const [digest, bytes] = [...image.blobs].find(([, { byteLength }]) => byteLength === size + i)!;
      return { ...one, digest, bytes };
    });
    for (const { bytes, damage } of spoilt) await spoil(bytes, damage);
    const digests = (some: typeof spoilt): readonly Digest[] => some.map(({ digest }) => digest).sort();
    const seen = spoilt.filter(({ seenBySize }) => seenBySize || size === SIZES[0]);
    assert.deepEqual(await missing({ bytes: false }), digests(seen));
    assert.deepEqual(await missing({ bytes: true }), digests(spoilt));
    assert.deepEqual(await missing({ bytes: true }), digests(spoilt), 'again the same');
    const { outcome, blobs } = await bench.succeeds(reference);
    assert.deepEqual([outcome, blobs.copied], ['pulled', damages.length]);
    assert.deepEqual(await missing({ bytes: true }), []);
  });
}

for (const { name, damage } of DAMAGES) {
  test(`a manifest and a config, ${name}: validate says so, and pull heals them`, async () => {
    const image = noiseImage({ name: `manifest ${name}` });
    const reference = bench.offer(image, `damaged/manifest-${name.replaceAll(' ', '-')}`);
    await bench.succeeds(reference);
    const [config] = [...image.blobs.values()].sort((one, other) => one.byteLength - other.byteLength);
    await spoil(config!, damage);
    for (const { bytes } of image.manifests.values()) await spoil(bytes, damage);
    assert.equal((await bench.cache.validate(reference, { deep: true })).state, 'incomplete');
    assert.equal((await bench.succeeds(reference)).outcome, 'pulled');
  });
}

test('the whole folder of files cut to nothing: everything is missing, and one pull heals it', async () => {
  const image = noiseImage({ name: 'power cut', layerBytes: SIZES });
  const reference = bench.offer(image, 'damaged/power-cut');
  await bench.succeeds(reference);
  const cut = DAMAGES.find(({ name }) => name === 'cut to nothing')!;
  const all = [...image.blobs.values(), ...[...image.manifests.values()].map(({ bytes }) => bytes)];
  for (const bytes of all)
    for (const path of await filesOf(join(bench.stack.root, 's3'), bytes)) await cut.damage(path);
  assert.equal((await bench.cache.validate(reference, { deep: true })).state, 'incomplete');
  assert.equal((await bench.succeeds(reference)).blobs.copied, image.blobs.size);
});
