import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { DAMAGES, filesOf } from '../../support/damage.ts';
import { noiseImage } from '../../support/images.ts';
import { startServeBench, type ServeBench, type ServingProcess, type Told } from './serve-bench.ts';

/** What a client may need: one try that breaks off, one that finds nothing, one that makes the cache look. */
const TRIES = 5;
const SIZES = [2_000, 700_000, 6 * 1024 * 1024];
/** Of each kind of damage one. */
const KINDS = ['its last byte changed', 'its file deleted', 'cut to nothing'];

let bench: ServeBench;
before(async () => {
  bench = await startServeBench();
});
after(() => bench[Symbol.asyncDispose]());

/** Tries like a client, until it gets the content. A try may fail, and never gives wrong bytes as if they were right. */
async function readsRight(client: ServingProcess, path: string, bytes: Uint8Array): Promise<number> {
  for (let tries = 1; tries <= TRIES; tries++) {
    let told: Told | undefined;
    try {
      told = (await client.follow(path)).at(-1)!;
    } catch {
      continue; // The connection ended before the wrong block.
    }
    if (told.status !== 200) assert.ok(told.status >= 400, String(told.status));
    else {
      assert.ok(told.body.equals(Buffer.from(bytes)), 'right bytes, or an error');
      return tries;
    }
  }
  return assert.fail(`not healed within ${TRIES} tries`);
}

for (const { name, damage } of DAMAGES.filter((one) => KINDS.includes(one.name))) {
  test(`${name}: a client gets the right bytes or an error, and its retry heals the cache`, async () => {
    const image = noiseImage({ name, layerBytes: SIZES });
    const base = await bench.warm(image, `damaged/${name.replaceAll(' ', '-')}`);
    for (const size of SIZES) {
      const [digest, bytes] = [...image.blobs].find(([, { byteLength }]) => byteLength === size)!;
      await damage((await filesOf(join(bench.stack.root, 's3'), bytes)).at(-1)!);
      await readsRight(bench, `${base}/blobs/${digest}`, bytes);
      assert.equal(await readsRight(bench, `${base}/blobs/${digest}`, bytes), 1, 'healed');
    }
    const [digest, { bytes }] = [...image.manifests][0]!;
    // One that does not remember the manifest.
    const fresh = await bench.another();
    await damage((await filesOf(join(bench.stack.root, 's3'), bytes)).at(-1)!);
    assert.equal(await readsRight(fresh, `${base}/manifests/${digest}`, bytes), 1);
    assert.equal(await readsRight(fresh, `${base}/manifests/v1`, bytes), 1);
    await fresh.settled();
    await bench.settled();
    const reference = `registry.example.test/damaged/${name.replaceAll(' ', '-')}:v1`;
    assert.equal((await bench.cache.validate(reference, { deep: true, bytes: true })).state, 'complete');
  });
}
