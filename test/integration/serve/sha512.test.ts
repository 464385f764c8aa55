import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { digestOf } from '../../../lib/oci/digest.ts';
import { bySha512, multiArchImage, noiseImage } from '../../support/images.ts';
import { startServeBench, type ServeBench } from './serve-bench.ts';

let bench: ServeBench;
before(async () => {
  bench = await startServeBench();
});
after(() => bench[Symbol.asyncDispose]());

test('a client gets an image by SHA-512 at the first time, and again without its registry', async () => {
  const image = bySha512(multiArchImage({ name: 'by sha512' }));
  const app = bench.offer(image, 'team/app');
  const [child] = [...image.manifests.keys()];
  for (const round of ['first', 'second']) {
    const root = await bench.get(`${app}/manifests/v1`);
    assert.deepEqual([root.status, root.headers['docker-content-digest']], [200, image.root.digest], round);
    assert.equal(digestOf(root.body, 'sha512'), image.root.digest);
    const manifest = await bench.get(`${app}/manifests/${child}`);
    assert.equal(digestOf(manifest.body, 'sha512'), child);
    const { config, layers } = JSON.parse(manifest.body.toString()) as {
      config: { digest: string };
      layers: { digest: string }[];
    };
    for (const { digest } of [config, ...layers]) {
      const content = (await bench.follow(`${app}/blobs/${digest}`)).at(-1)!;
      assert.equal(content.status, 200);
      assert.equal(digestOf(content.body, 'sha512'), digest);
      const head = await bench.head(`${app}/blobs/${digest}`);
      assert.deepEqual([head.status, head.headers['content-length']], [200, String(content.body.byteLength)]);
    }
    await bench.settled();
    // By tag the registry is asked again, by HEAD and GET: only its bytes say that they have that digest.
    if (round === 'second') assert.ok(bench.upstream.requests.every(({ kind }) => kind === 'manifest'));
    bench.upstream.requests.length = 0;
  }
});

test('what refers to a manifest by SHA-512 is listed', async () => {
  const image = bySha512(noiseImage({ name: 'subject' }));
  const app = await bench.warm(image, 'team/subject');
  const { mediaType, digest, size } = image.root;
  bench.upstream.putReferrers('team/subject', digest, [{ mediaType, digest, size }]);
  const answer = await bench.get(`${app}/referrers/${digest}`);
  assert.equal(answer.status, 200);
  const { manifests } = JSON.parse(answer.body.toString()) as { manifests: { digest: string }[] };
  assert.deepEqual(manifests, [{ mediaType, digest, size }]);
});
