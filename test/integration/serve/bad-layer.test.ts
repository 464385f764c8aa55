import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { noiseImage } from '../../support/images.ts';
import { when, type Action } from '../../support/upstream/upstream.ts';
import { refusalOf, startServeBench, type ServeBench } from './serve-bench.ts';

let bench: ServeBench;
before(async () => {
  bench = await startServeBench();
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => bench.upstream.clearFaults());

const cases: { name: string; action: Action; refusal: string }[] = [
  { name: '404', action: { status: 404 }, refusal: '404 BLOB_UNKNOWN' },
  { name: '500', action: { status: 500 }, refusal: '502 UNKNOWN' },
];

for (const { name, action, refusal } of cases) {
  test(`a layer whose registry answers ${name} is refused; all others of its image are served, now and later`, async () => {
    const image = noiseImage({ name: `bad ${name}`, layerBytes: [4_000, 5_000, 6_000, 7_000] });
    const base = bench.offer(image, `bad/s${name}`);
    const bad = [...image.blobs].find(([, { byteLength }]) => byteLength === 5_000)![0];
    bench.upstream.fault(when({ kind: 'blob', reference: bad }, action));
    assert.equal((await bench.get(`${base}/manifests/v1`)).status, 200);
    for (const process of [bench, await bench.another()]) {
      await Promise.all(
        [...image.blobs].map(async ([digest, bytes]) => {
          const path = `${base}/blobs/${digest}`;
          if (digest === bad) assert.equal(refusalOf(await process.get(path)), refusal);
          else assert.ok((await process.follow(path)).at(-1)!.body.equals(Buffer.from(bytes)));
        }),
      );
      await process.settled();
    }
    for (const digest of image.blobs.keys()) {
      if (digest === bad) continue;
      assert.equal(bench.upstream.count({ kind: 'blob', method: 'GET', reference: digest }), 1);
    }
  });
}
