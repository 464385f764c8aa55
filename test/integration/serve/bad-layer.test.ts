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

test('a repository whose blobs stand still keeps no neighbour waiting, whatever is asked for', async () => {
  const { promise: restAfter, resolve: come } = Promise.withResolvers<undefined>();
  bench.upstream.fault(when({ kind: 'blob', method: 'GET', repository: 'still/app' }, { restAfter }));
  const still = Array.from({ length: 8 }, (_, i) => noiseImage({ name: `still ${i}`, layerBytes: [4_000, 4_001] }));
  for (const [i, image] of still.entries()) {
    const base = bench.offer(image, 'still/app', `v${i}`);
    assert.equal((await bench.get(`${base}/manifests/v${i}`)).status, 200);
  }
  const image = noiseImage({ name: 'neighbour of still ones', layerBytes: [5_000] });
  const base = bench.offer(image, 'still/neighbour');
  assert.equal((await bench.get(`${base}/manifests/v1`)).status, 200);
  for (const [digest, bytes] of image.blobs) {
    assert.ok((await bench.follow(`${base}/blobs/${digest}`)).at(-1)!.body.equals(Buffer.from(bytes)));
  }
  assert.equal((await bench.get(`${base}/tags/list`)).status, 200);
  come(undefined);
  await bench.settled();
});

test('what fails at one kind of question, or for one repository or tag, fails for nothing else', async () => {
  const bad = bench.offer(noiseImage({ name: 'bad neighbour' }), 'stays/bad');
  const image = noiseImage({ name: 'good neighbour' });
  const good = bench.offer(image, 'stays/good');
  const digest = image.root.digest;
  const faults: [string, Parameters<typeof when>[0], string][] = [
    ['referrers', { kind: 'referrers', repository: 'stays/good' }, `${good}/referrers/${digest}`],
    ['tags', { kind: 'tags', repository: 'stays/bad' }, `${bad}/tags/list`],
    ['manifests of another repository', { kind: 'manifest', repository: 'stays/bad' }, `${bad}/manifests/v1`],
    ['another tag', { kind: 'manifest', reference: 'v2' }, `${good}/manifests/v2`],
  ];
  for (const [name, asked, path] of faults) {
    for (const action of [{ status: 500 }, { status: 503 }, { reset: true }] satisfies Action[]) {
      bench.upstream.fault(when(asked, action));
      const process = await bench.another();
      assert.ok((await process.get(path)).status >= 500, name);
      assert.equal((await process.get(`${good}/manifests/v1`)).status, 200, `${name}, ${JSON.stringify(action)}`);
      bench.upstream.clearFaults();
    }
  }
});
