import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { Digest } from '../../../lib/oci/digest.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { buildImage, noise, noiseImage, type Image } from '../../support/images.ts';
import { times, when, type Action, type Answer } from '../../support/upstream/upstream.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

const MIB = 1024 * 1024;

let bench: PullBench;
before(async () => {
  bench = await startPullBench();
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => bench.upstream.clearFaults());

/** The digest of the layer with so many bytes. */
const layerOf = (image: Image, bytes: number): Digest =>
  [...image.blobs].find(([, content]) => content.byteLength === bytes)![0];
const getsOf = (digest: Digest) => bench.upstream.requests.filter((request) => request.reference === digest);

test('a blob that breaks off is gone on with at its byte', async () => {
  const image = noiseImage({ name: 'dropped', layerBytes: [200_000, 1_000] });
  const reference = bench.offer(image, 'team/dropped');
  const layer = layerOf(image, 200_000);
  bench.upstream.fault(times(1, when({ kind: 'blob', reference: layer }, { dropAfterBytes: 70_000 })));
  const receipt = await bench.succeeds(reference);
  assert.deepEqual(receipt.blobs, { total: 3, present: 0, copied: 3, copiedElsewhere: 0 });
  assert.deepEqual(
    getsOf(layer).map(({ headers }) => headers.range),
    [undefined, 'bytes=70000-'],
  );
  assert.equal(receipt.registryRequests.total, bench.upstream.requests.length);
});

test('a blob of several parts that breaks off twice is whole, and no upload is left', async () => {
  const image = noiseImage({ name: 'parts', layerBytes: [12 * MIB] });
  const reference = bench.offer(image, 'team/parts');
  const layer = layerOf(image, 12 * MIB);
  bench.upstream.fault(times(2, when({ kind: 'blob', reference: layer }, { dropAfterBytes: 4 * MIB + 17 })));
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.bytes.copied, receipt.bytes.total);
  assert.equal(getsOf(layer).length, 3);
});

test('a blob that never gets on is given up', async () => {
  const image = noiseImage({ name: 'stuck', layerBytes: [100_000] });
  const reference = bench.offer(image, 'team/stuck');
  const layer = layerOf(image, 100_000);
  // Without a length: it ends early, and the HTTP client notices nothing.
  bench.upstream.fault(
    when({ kind: 'blob', reference: layer }, (answer) => ({ chunked: true, body: answer.body.subarray(0, 0) })),
  );
  await bench.fails(reference, { name: 'UpstreamUnavailableError', message: /broke off at byte 0 of 100000/ });
  assert.equal(getsOf(layer).length, 3, 'the first, and two reconnects');
  bench.upstream.clearFaults();
  const receipt = await bench.succeeds(reference);
  assert.equal(receipt.blobs.total, 2);
});

for (const [what, layerBytes] of [
  ['small', 50_000],
  ['multipart', 11 * MIB],
] as const) {
  test(`a ${what} blob with wrong bytes never shows`, async () => {
    const image = noiseImage({ name: `wrong-${what}`, layerBytes: [layerBytes] });
    const reference = bench.offer(image, `team/wrong-${what}`);
    const layer = layerOf(image, layerBytes);
    bench.upstream.fault(when({ kind: 'blob', reference: layer }, { body: noise(layerBytes, 'something else') }));
    await bench.fails(reference, {
      name: 'ContentMismatchError',
      message: new RegExp(`${layer} of ${layerBytes} bytes.*digest sha256:`),
    });
    assert.ok(!(await bench.blobKeys()).includes(`blobs/sha256/${layer.slice(7)}`));
    bench.upstream.clearFaults();
    bench.upstream.requests.length = 0;
    await bench.succeeds(reference);
    assert.equal(getsOf(layer).length, 1);
  });
}

for (const [what, type, body, message] of [
  ['a page', 'text/html', '<!DOCTYPE html><html><head><title>Sign in</title></head>', / as an HTML page: "Sign in"/],
  [
    'a page that says it is bytes',
    'application/octet-stream',
    '<html><body>Wartung</body>',
    / as an HTML page: "Wartung/,
  ],
  ['other bytes', 'application/octet-stream', 'something else', /$/],
] as const) {
  for (const layerBytes of [2_000, 11 * MIB]) {
    test(`who sent ${what} of the right length (${layerBytes}) is named`, async () => {
      const image = noiseImage({ name: what, layerBytes: [layerBytes] });
      const reference = bench.offer(image, `team/${what.replaceAll(' ', '-')}-${layerBytes}`);
      const layer = layerOf(image, layerBytes);
      const bytes = Buffer.alloc(layerBytes, ' ');
      bytes.write(body);
      bench.upstream.fault(
        when({ kind: 'blob', reference: layer }, { headers: { 'content-type': type }, body: bytes }),
      );
      const from = new RegExp(
        `they came from ${bench.upstream.host}/v2/team/\\S+/blobs/${layer} \\(of registry ${REGISTRY}\\)${message.source}`,
      );
      await bench.fails(reference, { name: 'ContentMismatchError', message: from });
    });
  }
}

for (const [what, bytes, chunked, message] of [
  ['short', 900, false, /has 900/],
  ['long', 1_100, false, /has 1100/],
  ['long, without a length,', 1_100, true, /sends more/],
] as const) {
  test(`a body that is too ${what} is refused`, async () => {
    const image = noiseImage({ name: what, layerBytes: [1_000] });
    const repository = `team/length-${bytes}-${String(chunked)}`;
    const reference = bench.offer(image, repository);
    const layer = layerOf(image, 1_000);
    bench.upstream.fault(when({ kind: 'blob', reference: layer }, { body: noise(bytes, 'other'), chunked }));
    await bench.fails(reference, { name: 'ContentMismatchError', message });
    bench.upstream.clearFaults();
    await bench.succeeds(reference);
  });
}

test('a manifest whose bytes are not its digest is asked for twice and refused', async () => {
  const image = noiseImage({ name: 'wrong-manifest' });
  bench.offer(image, 'team/wrong-manifest');
  const reference = `${REGISTRY}/team/wrong-manifest@${image.root.digest}`;
  bench.upstream.fault(
    when({ kind: 'manifest', reference: image.root.digest }, (answer) => ({
      body: Buffer.concat([answer.body, Buffer.from(' ')]),
    })),
  );
  const from = `${bench.upstream.host}/v2/team/wrong-manifest/manifests/${image.root.digest} \\(of registry ${REGISTRY}\\)`;
  const message = new RegExp(`${from} twice sent other bytes, last \\d+ with digest sha256:`);
  await bench.fails(reference, { name: 'ContentMismatchError', message });
  assert.equal(bench.upstream.count({ kind: 'manifest', method: 'GET' }), 2);
  assert.equal(bench.upstream.count({ kind: 'blob' }), 0);
  bench.upstream.clearFaults();
  await bench.succeeds(reference);
});

test('the hash of the body decides, whatever Docker-Content-Digest says of it', async () => {
  const [image, other] = [noiseImage({ name: 'lying-get' }), noiseImage({ name: 'another' })];
  const reference = bench.offer(image, 'team/lying-get');
  bench.upstream.fault(
    when({ kind: 'manifest', method: 'GET' }, { headers: { 'docker-content-digest': other.root.digest } }),
  );
  assert.equal((await bench.succeeds(reference)).digest, image.root.digest);
});

const wrongBytes = (byDigest: Answer): Action => ({
  body: Buffer.concat([byDigest.body, Buffer.from(' ')]),
  status: 200,
});
for (const [what, byDigest] of [
  ['404', { status: 404 }],
  ['400', { status: 400 }],
  ['403', { status: 403 }],
  ['500', { status: 500 }],
  ['wrong bytes', wrongBytes],
  ['a page', { status: 200, body: Buffer.from('<html>'), headers: { 'content-type': 'text/html' } }],
] as const) {
  test(`a HEAD that names a digest which GET answers with ${what}: the bytes of the tag decide`, async () => {
    const [image, other] = [noiseImage({ name: `lying-head ${what}` }), noiseImage({ name: `nowhere ${what}` })];
    const reference = bench.offer(image, `team/lying-head-${what.replace(' ', '-')}`);
    bench.upstream.fault(
      when({ kind: 'manifest', method: 'HEAD' }, { headers: { 'docker-content-digest': other.root.digest } }),
    );
    bench.upstream.fault(when({ kind: 'manifest', method: 'GET', reference: other.root.digest }, byDigest));
    assert.equal((await bench.succeeds(reference)).digest, image.root.digest);
    assert.equal(bench.upstream.count({ kind: 'manifest', method: 'GET', reference: 'v1' }), 1);
    const { catalog } = bench.cache.services.pull;
    const signal = AbortSignal.timeout(10_000);
    const pointer = await catalog.findPointer(parseReference(reference), { consistent: true, signal });
    assert.equal(pointer?.resolved, image.root.digest, 'what HEAD said is recorded nowhere');
  });
}

test('a layer that comes compressed without a length, and is shorter so, is undone', async () => {
  const image = noiseImage({ name: 'coded', layerBytes: [1_000] });
  const plain = Buffer.concat([noise(3_000, 'coded'), Buffer.alloc(200_000, 'ab')]);
  const long = buildImage({
    platform: 'linux/amd64',
    layers: [{ bytes: plain, mediaType: 'application/vnd.oci.image.layer.v1.tar' }],
  });
  for (const [name, one] of [
    ['short', image],
    ['long', long],
  ] as const) {
    const reference = bench.offer(one, `team/coded-${name}`);
    bench.upstream.fault(
      when({ kind: 'blob' }, ({ body }) => ({
        status: 200,
        body: gzipSync(body),
        chunked: true,
        headers: { 'content-encoding': 'gzip' },
      })),
    );
    await bench.succeeds(reference);
    bench.upstream.clearFaults();
  }
});

test('JSON that is no manifest is not an image with nothing in it', async () => {
  const image = noiseImage({ name: 'other json' });
  const reference = bench.offer(image, 'team/other-json');
  for (const body of ['{"status":"ok"}', '{}', '{"schemaVersion":2}', '[]', '""', '', 'welcome']) {
    bench.upstream.fault(
      when({ kind: 'manifest' }, { headers: { 'docker-content-digest': undefined }, body: Buffer.from(body) }),
    );
    await assert.rejects(bench.cache.pull(reference), /answered 200/, body);
    bench.upstream.clearFaults();
  }
  await bench.succeeds(reference);
});
