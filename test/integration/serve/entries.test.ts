import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { digestOf } from '../../../lib/oci/digest.ts';
import { DOCKER_LIST, OCI_INDEX } from '../../../lib/oci/media-type.ts';
import { listing, noise, noiseImage, type ListedEntry } from '../../support/images.ts';
import { refusalOf, startServeBench, type ServeBench } from './serve-bench.ts';

const LAYER = 'application/vnd.oci.image.layer.v1.tar+gzip';
const UNKNOWN = 'application/vnd.example.unknown.v1+json';

const benches: ServeBench[] = [];
before(async () => {
  benches.push(await startServeBench(), await startServeBench({ registry: { platforms: ['linux/amd64'] } }));
});
after(async () => {
  for (const bench of benches) await bench[Symbol.asyncDispose]();
});

/** What a client does that copies all that an index lists, each entry by the endpoint that its registry has it at. */
async function copies(bench: ServeBench, app: string, mediaType: string, entries: readonly ListedEntry[]) {
  const root = await bench.get(`${app}/manifests/v1`);
  assert.deepEqual([root.status, root.headers['content-type']], [200, mediaType]);
  for (const { bytes, as, mediaType: type = '', contentType = type } of entries) {
    const digest = digestOf(bytes);
    if (as === 'manifest') {
      const { status, headers, body } = await bench.get(`${app}/manifests/${digest}`);
      assert.deepEqual([status, headers['content-type']], [200, contentType]);
      assert.ok(body.equals(bytes));
      continue;
    }
    const head = await bench.head(`${app}/blobs/${digest}`);
    assert.deepEqual([head.status, head.headers['content-length']], [200, String(bytes.byteLength)]);
    const content = (await bench.follow(`${app}/blobs/${digest}`)).at(-1)!;
    assert.equal(content.status, 200);
    assert.ok(content.body.equals(bytes));
    assert.equal(refusalOf(await bench.get(`${app}/manifests/${digest}`)), '404 MANIFEST_UNKNOWN');
  }
}

for (const [what, at] of [
  ['no default platforms', 0],
  ['default platforms', 1],
] as const) {
  for (const mediaType of [OCI_INDEX, DOCKER_LIST]) {
    test(`a client copies a cache of BuildKit (${mediaType}) with ${what}, at the first time and again`, async () => {
      const bench = benches[at]!;
      const entries = [1, 2, 3].map((n): ListedEntry => ({
        bytes: noise(1_000 * n, `${mediaType} ${n}`),
        as: 'blob',
        mediaType: LAYER,
      }));
      const app = bench.offer(listing(entries, [], mediaType), `team/cache-${mediaType.length}`);
      await copies(bench, app, mediaType, entries);
      await bench.settled();
      bench.upstream.requests.length = 0;
      await copies(bench, app, mediaType, entries);
      assert.ok(bench.upstream.requests.every(({ kind }) => kind === 'manifest'));
    });
  }

  test(`a client copies an image and entries of unknown types with ${what}`, async () => {
    const bench = benches[at]!;
    const image = noiseImage({ name: `with ${what}` });
    const entries: ListedEntry[] = [
      { bytes: Buffer.from(`{"hello":"${what}"}`), as: 'blob', mediaType: UNKNOWN },
      { bytes: Buffer.from(`{"kept":"${what}"}`), as: 'manifest', mediaType: UNKNOWN },
      { bytes: Buffer.from(`{"typeless":"${what}"}`), as: 'manifest', contentType: UNKNOWN },
    ];
    const app = bench.offer(listing(entries, [image]), 'team/mixed');
    await copies(bench, app, OCI_INDEX, entries);
    for (const digest of image.blobs.keys()) {
      assert.equal((await bench.follow(`${app}/blobs/${digest}`)).at(-1)!.status, 200);
    }
    await bench.settled();
    bench.upstream.requests.length = 0;
    await copies(bench, app, OCI_INDEX, entries);
    // Only what is no manifest there is asked for again.
    const asked = new Set(bench.upstream.requests.map(({ kind, reference }) => `${kind} ${reference}`));
    assert.deepEqual(asked, new Set([`manifest ${digestOf(entries[0]!.bytes)}`]));
  });
}

test('a type that is fit for no header is not sent as one', async () => {
  const bench = benches[0]!;
  const bytes = Buffer.from(JSON.stringify({ mediaType: 'text/x\r\nset-cookie: a=b', n: 1 }));
  const app = bench.offer(listing([{ bytes, as: 'manifest', mediaType: UNKNOWN }]), 'team/header');
  const { status, headers } = await bench.get(`${app}/manifests/${digestOf(bytes)}`);
  assert.deepEqual(
    [status, headers['content-type'], headers['set-cookie']],
    [200, 'application/octet-stream', undefined],
  );
});
