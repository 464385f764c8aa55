import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import { noiseImage } from '../../support/images.ts';
import { when, type Action } from '../../support/upstream/upstream.ts';
import { errorOf, startServeBench, type ServeBench } from './serve-bench.ts';

/*
 * The table of docs/serving.md#what-a-registry-does-and-what-clients-get: a client that reads 5xx or 429 tries again, one that reads 404 takes the image for
 * absent (I6), and every other 4xx ends its pull.
 */

const MANIFEST_BYTES = 20_000;
const SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+prettyjws';
const json = (document: object): Buffer => Buffer.from(JSON.stringify(document));
const answered = (status: number, more: Action = {}): Action => ({ status, body: Buffer.from('no'), ...more });
const document = (contentType: string, body: Uint8Array): Action => ({
  headers: {
    'content-type': contentType,
    'docker-content-digest': undefined,
    'content-length': String(body.byteLength),
  },
  body,
});

/** What the registry does with the manifest of a tag; status and code of the client; of what the message speaks. */
const MANIFESTS: readonly (readonly [name: string, action: Action, refusal: string, words: RegExp])[] = [
  [
    'of schema 1',
    document(SCHEMA_1, json({ schemaVersion: 1, name: 'a', tag: 'b', fsLayers: [], history: [] })),
    '422 MANIFEST_INVALID',
    /schema 1/,
  ],
  ['that is broken', document(OCI_MANIFEST, json({ schemaVersion: 2, layers: 5 })), '422 MANIFEST_INVALID', /broken/],
  [
    'whose layer has no digest',
    document(OCI_MANIFEST, json({ schemaVersion: 2, config: {}, layers: [{}] })),
    '422 MANIFEST_INVALID',
    /broken/,
  ],
  [
    'of a type that nobody knows',
    document('application/vnd.example+json', json({ schemaVersion: 2 })),
    '422 MANIFEST_INVALID',
    /type/,
  ],
  [
    'that is too large',
    document(OCI_MANIFEST, Buffer.alloc(MANIFEST_BYTES + 1, ' ')),
    '422 MANIFEST_INVALID',
    /too large/,
  ],
  ...[400, 405, 406, 409, 410, 415, 418, 451].map(
    (status) => [String(status), answered(status), '422 UNKNOWN', /request is wrong/] as const,
  ),
  ['401', answered(401), '403 DENIED', /does not let the cache/],
  ['403', answered(403), '403 DENIED', /does not let the cache/],
  ['429', answered(429), '429 TOOMANYREQUESTS', /limits/],
  ['404', answered(404), '404 MANIFEST_UNKNOWN', /no such manifest/],
  ...[408, 504].map((status) => [String(status), answered(status), '504 UNKNOWN', /cannot be asked now/] as const),
  ...[500, 501, 502, 503, 505].map(
    (status) => [String(status), answered(status), '502 UNKNOWN', /cannot be asked now/] as const,
  ),
  ['a broken connection', { reset: true }, '502 UNKNOWN', /cannot be asked now/],
  [
    'a page to log in at',
    document('text/html', Buffer.from('<html><body>Log in</body></html>')),
    '502 UNKNOWN',
    /something else answers/,
  ],
  [
    'a redirect to an address inside',
    answered(302, { headers: { location: 'http://169.254.169.254/latest' } }),
    '502 UNKNOWN',
    /something else answers/,
  ],
];

/** Of each case its own: one that limits us, or is too slow, is left alone for a while. */
const registryOf = (at: number): string => `r${at}.example.test`;

let bench: ServeBench;
before(async () => {
  bench = await startServeBench({
    limits: { manifestBytes: MANIFEST_BYTES },
    registries: ({ origin }) =>
      Object.fromEntries(MANIFESTS.map((_, at) => [registryOf(at), { endpoint: origin, credentials: 'none' }])),
  });
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => bench.upstream.clearFaults());

describe('a manifest', () => {
  for (const [at, [name, action, refusal, words]] of MANIFESTS.entries()) {
    test(`${name}: ${refusal}, by GET and by HEAD`, async () => {
      const repository = `manifests/r${at}`;
      bench.offer(noiseImage({ name: `manifest ${at}`, layerBytes: [100] }), repository);
      bench.upstream.fault(when({ repository, kind: 'manifest' }, action));
      const path = `/v2/${registryOf(at)}/${repository}/manifests/v1`;
      const { status, code, message } = errorOf(await bench.get(path));
      assert.equal(`${status} ${code}`, refusal);
      assert.match(message, words);
      assert.doesNotMatch(message, /127\.0\.0\.1|169\.254/, 'nothing of the configuration');
      assert.equal((await bench.head(path)).status, status);
    });
  }

  test('by a digest that its bytes do not have: 502, for they may be right the next time', async () => {
    const image = noiseImage({ name: 'other bytes', layerBytes: [100] });
    const base = bench.offer(image, 'manifests/other');
    const { digest } = image.root;
    bench.upstream.fault(when({ repository: 'manifests/other', kind: 'manifest' }, document(OCI_MANIFEST, json({}))));
    const { status, message } = errorOf(await bench.get(`${base}/manifests/${digest}`));
    assert.deepEqual([status, message.includes('other bytes')], [502, true], message);
    bench.upstream.clearFaults();
    assert.equal((await bench.get(`${base}/manifests/${digest}`)).status, 200);
  });
});

describe('a layer', () => {
  for (const [name, action, status] of [
    ['400', answered(400), 422],
    ['410', answered(410), 422],
    ['403', answered(403), 403],
    ['404', answered(404), 404],
    ['500', answered(500), 502],
    ['other bytes', { body: Buffer.alloc(5_000) }, 502],
  ] as const) {
    test(`${name}: ${status}`, async () => {
      const image = noiseImage({ name: `layer ${name}`, layerBytes: [5_000] });
      const repository = `layers/${name.replace(' ', '-')}`;
      const base = bench.offer(image, repository);
      const [layer = ''] = [...image.blobs].find(([, { byteLength }]) => byteLength === 5_000) ?? [];
      bench.upstream.fault(when({ repository, kind: 'blob', reference: layer }, action));
      assert.equal((await bench.get(`${base}/manifests/v1`)).status, 200);
      assert.equal(errorOf(await bench.get(`${base}/blobs/${layer}`)).status, status);
      await bench.settled();
    });
  }
});
