import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { noiseImage, type Image } from '../../support/images.ts';
import { blobAnswer, startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

const LOGIN = { username: 'bob', password: 'correct horse' };

let cdn: TestUpstream;
let bench: PullBench;
before(async () => {
  cdn = await startUpstream();
  bench = await startPullBench({
    registry: { credentials: 'docker', redirects: [cdn.origin] },
    upstream: { auth: { kind: 'bearer', users: { [LOGIN.username]: LOGIN.password } } },
  });
  await bench.login({ [REGISTRY]: LOGIN });
});
after(async () => {
  await bench[Symbol.asyncDispose]();
  await cdn.close();
});

/** The upstream sends every blob GET elsewhere. */
function redirectBlobs(to: (digest: string) => string): void {
  bench.upstream.clearFaults();
  bench.upstream.fault(({ kind, method, reference = '' }, { status }) =>
    kind === 'blob' && method === 'GET' && status === 200
      ? { status: 307, headers: { location: to(reference) }, body: Buffer.alloc(0) }
      : undefined,
  );
}

/** Answers `/cdn/<digest>` of the image at the upstream. */
function serveAt(upstream: TestUpstream, image: Image): void {
  const blobs = new Map<string, Uint8Array>(image.blobs);
  upstream.clearFaults();
  upstream.fault((request) => {
    const blob = blobs.get(request.path.replace('/cdn/', ''));
    return blob === undefined ? undefined : blobAnswer(blob, request);
  });
}

test('blobs behind a redirect to another origin are copied, and no secret goes there', async () => {
  const image = noiseImage({ name: 'redirected' });
  const reference = bench.offer(image, 'team/redirected');
  serveAt(cdn, image);
  redirectBlobs((digest) => `${cdn.origin}/cdn/${digest}?signature=sEcReT`);
  const receipt = await bench.succeeds(reference);
  assert.deepEqual(receipt.registryRequests, { total: 10, ping: 1, token: 1, manifest: 2, blob: 3, redirected: 3 });
  assert.equal(cdn.requests.length, 3);
  assert.equal(receipt.registryRequests.total, bench.upstream.requests.length + cdn.requests.length);
  for (const { headers } of cdn.requests) {
    const leaks = Object.keys(headers).filter((name) => /auth|cookie|token|referer/i.test(name));
    assert.deepEqual(leaks, []);
    assert.doesNotMatch(JSON.stringify(headers), /correct horse|tok-|Bearer|Basic/);
  }
});

for (const [what, origin] of [
  ['a private address', 'https://10.0.0.1'],
  ['the metadata service', 'https://169.254.169.254'],
  ['loopback', 'https://[::1]:9'],
  ['a v4-mapped address', 'https://[::ffff:127.0.0.1]:9'],
  ['plain HTTP', 'http://storage.example.test'],
] as const) {
  test(`a redirect to ${what} is refused`, async () => {
    const reference = bench.offer(noiseImage({ name: what }), `team/${what.replaceAll(' ', '-').toLowerCase()}`);
    redirectBlobs((digest) => `${origin}/cdn/${digest}?signature=sEcReT`);
    await bench.fails(reference, { name: 'UpstreamRefusedError', message: /^(?!.*sEcReT)/ });
    bench.upstream.clearFaults();
    await bench.succeeds(reference);
  });
}

test('another loopback port than the one that is configured is refused', async () => {
  await using stranger = await startUpstream();
  const image = noiseImage({ name: 'other port' });
  const reference = bench.offer(image, 'team/other-port');
  serveAt(stranger, image);
  redirectBlobs((digest) => `${stranger.origin}/cdn/${digest}`);
  await bench.fails(reference, { name: 'UpstreamRefusedError' });
  assert.equal(stranger.requests.length, 0);
  bench.upstream.clearFaults();
  await bench.succeeds(reference);
});
