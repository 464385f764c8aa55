import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import type { Digest } from '../../../lib/oci/digest.ts';
import { noiseImage } from '../../support/images.ts';
import { startServeBench, type ServeBench, type Told } from './serve-bench.ts';

const LAYER_BYTES = 1_600_001;

let bench: ServeBench;
let app: string;
let layer: Digest;
let bytes: Buffer;

before(async () => {
  bench = await startServeBench();
  const image = noiseImage({ name: 'blobs', layerBytes: [LAYER_BYTES, 10] });
  app = await bench.warm(image, 'team/app');
  const [digest, content] = [...image.blobs].find(([, { byteLength }]) => byteLength === LAYER_BYTES)!;
  layer = digest;
  bytes = Buffer.from(content);
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  bench.upstream.requests.length = 0;
});

const locationOf = ({ status, headers }: Told): string => {
  assert.equal(status, 307);
  assert.ok(headers.location !== undefined);
  return headers.location;
};

test('GET is one redirect to S3, which no cache may keep, and the bytes are those of the registry', async () => {
  const [redirect, content, ...rest] = await bench.follow(`${app}/blobs/${layer}`);
  assert.deepEqual(rest, []);
  const location = new URL(locationOf(redirect!));
  assert.equal(location.origin, bench.stack.s3Endpoint);
  assert.equal(location.searchParams.get('X-Amz-Expires'), '600');
  assert.equal(redirect!.headers['cache-control'], 'no-store');
  assert.equal(redirect!.headers['docker-content-digest'], layer);
  assert.equal(redirect!.headers['content-length'], '0');
  assert.equal(content!.status, 200);
  assert.ok(content!.body.equals(bytes));
  assert.equal(bench.upstream.requests.length, 0);
});

test('a client that keeps its login on the way to another port of the host, as current Go does, gets the bytes', async () => {
  const location = locationOf(await bench.get(`${app}/blobs/${layer}`));
  for (const authorization of [`Basic ${Buffer.from('ci:secret').toString('base64')}`, 'Bearer abc.def']) {
    const answer = await fetch(location, { headers: { authorization } });
    assert.equal(answer.status, 200, authorization);
    assert.ok(Buffer.from(await answer.arrayBuffer()).equals(bytes));
  }
  // Two signatures are two, here as at AWS.
  const signed = await fetch(location, { headers: { authorization: 'AWS4-HMAC-SHA256 Credential=x' } });
  assert.equal(signed.status, 400);
  await signed.body?.cancel();
});

test('HEAD says what there is, and leads nowhere', async () => {
  const { status, headers, body } = await bench.head(`${app}/blobs/${layer}`);
  assert.equal(status, 200);
  assert.equal(headers.location, undefined);
  assert.equal(headers['content-length'], String(LAYER_BYTES));
  assert.equal(headers['docker-content-digest'], layer);
  assert.equal(headers['content-type'], 'application/octet-stream');
  assert.equal(body.byteLength, 0);
});

test('a download goes on in the middle, as curl -C - does it', async () => {
  const from = 1_000_000;
  const all = await bench.follow(`${app}/blobs/${layer}`, { range: `bytes=${from}-` });
  const { status, headers, body } = all.at(-1)!;
  assert.equal(status, 206);
  assert.equal(headers['content-range'], `bytes ${from}-${LAYER_BYTES - 1}/${LAYER_BYTES}`);
  assert.ok(body.equals(bytes.subarray(from)));
  const past = await bench.follow(`${app}/blobs/${layer}`, { range: `bytes=${LAYER_BYTES}-` });
  assert.equal(past.at(-1)!.status, 416);
});

test('16 ranges side by side make the whole, each by a redirect of its own', async () => {
  const part = Math.ceil(LAYER_BYTES / 16);
  const parts = await Promise.all(
    Array.from({ length: 16 }, async (_, i) => {
      const to = Math.min((i + 1) * part, LAYER_BYTES) - 1;
      const told = (await bench.follow(`${app}/blobs/${layer}`, { range: `bytes=${i * part}-${to}` })).at(-1)!;
      assert.equal(told.status, 206);
      return told.body;
    }),
  );
  assert.ok(Buffer.concat(parts).equals(bytes));
});

test('a URL that was changed is refused, whatever was changed', async () => {
  const url = new URL(locationOf(await bench.get(`${app}/blobs/${layer}`)));
  assert.equal((await bench.get(url.href)).status, 200);
  const other = noiseImage({ name: 'other' }).root.digest.slice(7);
  const changes: [string, (changed: URL) => void][] = [
    ['another object', (u) => (u.pathname = u.pathname.replace(layer.slice(7), other))],
    ['a longer life', (u) => u.searchParams.set('X-Amz-Expires', '601')],
    ['another date', (u) => u.searchParams.set('X-Amz-Date', '20990101T000000Z')],
    ['another signature', (u) => u.searchParams.set('X-Amz-Signature', 'f'.repeat(64))],
    ['no signature', (u) => u.searchParams.delete('X-Amz-Signature')],
    ['something more', (u) => u.searchParams.set('response-content-type', 'text/html')],
    ['the whole bucket', (u) => (u.pathname = `/${bench.stack.bucket}/`)],
  ];
  for (const [name, change] of changes) {
    const changed = new URL(url);
    change(changed);
    const told = await bench.get(changed.href);
    // S3 calls an incomplete signature a bad request.
    assert.equal(told.status, name === 'no signature' ? 400 : 403, name);
    assert.ok(!told.body.includes(bytes.subarray(0, 16)), name);
  }
  for (const method of ['HEAD', 'PUT', 'DELETE']) {
    assert.equal((await bench.ask(url.href, { method })).status, 403, method);
  }
});

test('a URL that is over is refused', async (context) => {
  context.mock.timers.enable({ apis: ['Date'], now: Date.now() - 601_000 });
  const url = locationOf(await bench.get(`${app}/blobs/${layer}`));
  context.mock.timers.reset();
  const told = await bench.get(url);
  assert.equal(told.status, 403);
  assert.ok(told.body.includes('expired') || told.body.includes('AccessDenied'), told.body.toString());
});

test('a manifest is a blob, too, for whoever asks for it so', async () => {
  const { digest, size } = noiseImage({ name: 'blobs', layerBytes: [LAYER_BYTES, 10] }).root;
  assert.equal((await bench.head(`${app}/blobs/${digest}`)).headers['content-length'], String(size));
  assert.equal((await bench.follow(`${app}/blobs/${digest}`)).at(-1)!.body.byteLength, size);
});
