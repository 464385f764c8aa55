import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { SkipError } from '../../../lib/doctor/check.ts';
import { errors, image, INDEX, NAME, OURS, TAG, type Lie, type LyingDoor, type Real } from './registry-bench.ts';

/*
 * Manifests and blobs behind a door, and an S3, that change them: each check finds it out.
 */

const forever = new AbortController().signal;
/** @param benchOf once it is there */
export function registryContentTests(benchOf: () => LyingDoor): void {
  let bench: LyingDoor;
  before(() => {
    bench = benchOf();
  });

  describe('manifests', () => {
    const byTag = new RegExp(`/manifests/${TAG}$`);
    const byDigest = new RegExp(`/manifests/${INDEX}$`);

    test('come as they are', async () => {
      const id = 'registry-manifest';
      const manifest = await bench.real('GET', `/v2/${NAME}/manifests/${TAG}`);
      const lie = (headers: Record<string, string>, path = byTag): Lie => ({
        path,
        ...manifest,
        headers: { ...manifest.headers, ...headers },
      });
      const base64 = Buffer.from(manifest.body).toString('base64');
      await bench.contradicted(
        id,
        { path: byTag, ...manifest, headers: OURS, body: base64 },
        /docker-content-digest: none; expected/,
      );
      await bench.contradicted(
        id,
        { ...lie({ 'content-length': String(base64.length) }), body: base64 },
        /docker-content-digest: sha256:\w+; expected sha256:/,
      );
      await bench.contradicted(id, lie({ 'content-type': 'text/plain;charset=UTF-8' }), /content-type: text\/plain/);
      const type = `${manifest.headers['content-type']}; charset=utf-8`;
      await bench.contradicted(id, lie({ 'content-type': type }), /charset=utf-8/);
      await bench.contradicted(id, lie({ etag: 'W/"x"' }), /etag: W\/"x"; expected "sha256:/);
      const { 'content-length': _, ...chunked } = manifest.headers;
      await bench.contradicted(
        id,
        { path: byTag, ...manifest, headers: chunked },
        /content-length: none; expected \d+/,
      );
      await bench.contradicted(
        id,
        { path: byDigest, status: 404, headers: OURS, body: errors('MANIFEST_UNKNOWN') },
        /404 MANIFEST_UNKNOWN/,
      );
      const [other = ''] = [...image.manifests.keys()].filter((digest) => digest !== INDEX);
      await bench.contradicted(
        id,
        { path: byDigest, ...(await bench.real('GET', `/v2/${NAME}/manifests/${other}`)) },
        /GET by digest/,
      );
    });

    test('are told by HEAD as GET gives them', async () => {
      const id = 'registry-manifest-head';
      const head = await bench.real('HEAD', `/v2/${NAME}/manifests/${INDEX}`);
      const lie = (headers: Record<string, string>): Lie => ({
        method: 'HEAD',
        ...head,
        headers: { ...head.headers, ...headers },
      });
      await bench.contradicted(id, lie({ 'content-length': '0' }), /content-length: 0; expected \d{3,}/);
      await bench.contradicted(id, lie({ 'docker-content-digest': 'x' }), /docker-content-digest: x/);
      await bench.contradicted(id, lie({ 'content-type': 'text/plain' }), /content-type: text\/plain/);
      await bench.contradicted(id, { ...lie({}), status: 405 }, /HEAD .*: 405/);
    });

    test('are not sent again to whoever has them', async () => {
      const id = 'registry-not-modified';
      const sent = { 'if-none-match': /sha256/ };
      const manifest = await bench.real('GET', `/v2/${NAME}/manifests/${INDEX}`);
      await bench.contradicted(id, { sent, ...manifest }, /200; expected 304/);
      const { etag = '', 'docker-content-digest': digest = '' } = manifest.headers;
      await bench.contradicted(id, { sent, status: 304, headers: { etag } }, /docker-content-digest: none/);
      await bench.contradicted(id, { sent, status: 304, headers: { 'docker-content-digest': digest } }, /etag: none/);
    });

    test('are given for any line of Accept', async () => {
      const id = 'registry-accept';
      const unknown = { status: 406, headers: OURS, body: errors('UNSUPPORTED') };
      const manifest = await bench.real('GET', `/v2/${NAME}/manifests/${INDEX}`);
      // As if the first or the last line alone had arrived.
      await bench.contradicted(
        id,
        { sent: { accept: /^application\/vnd.entrepot.*index/ }, ...unknown },
        /406 UNSUPPORTED/,
      );
      await bench.contradicted(id, { sent: { accept: /index.*doctor\+json$/ }, ...unknown }, /406 UNSUPPORTED/);
      // As if no header had arrived.
      await bench.contradicted(id, { sent: { accept: /json2$/ }, ...manifest }, /200; expected 406/);
    });
  });

  describe('blobs', () => {
    const path = /\/blobs\/sha256:/;
    /** What the checks ask for. */
    async function config() {
      bench.door.rules.length = 0;
      return (await bench.fixture().completeManifest(forever)).config;
    }
    /** The redirect to it, where it leads, and its bytes. */
    async function redirect(): Promise<{ lie: Real; location: URL; bytes: Uint8Array }> {
      const { digest } = await config();
      const lie = await bench.real('GET', `/v2/${NAME}/blobs/${digest}`);
      const bytes = image.blobs.get(digest);
      assert.ok(bytes !== undefined);
      return { lie, location: new URL(lie.headers.location ?? ''), bytes };
    }

    test('are told by HEAD with their size', async () => {
      const id = 'registry-blob-head';
      const { digest, size } = await config();
      const head = await bench.real('HEAD', `/v2/${NAME}/blobs/${digest}`);
      assert.equal(head.headers['content-length'], String(size));
      const lie: Lie = { method: 'HEAD', path, ...head };
      await bench.contradicted(
        id,
        { ...lie, headers: { ...head.headers, 'content-length': '0' } },
        /content-length: 0; expected \d{3}/,
      );
      const { 'content-length': _, ...without } = head.headers;
      await bench.contradicted(id, { ...lie, headers: without }, /content-length: none/);
      const other = { ...head.headers, 'docker-content-digest': INDEX };
      await bench.contradicted(id, { ...lie, headers: other }, /docker-content-digest: sha256/);
      await bench.contradicted(id, { ...lie, status: 307 }, /HEAD .*: 307/);
    });

    test('are redirected to the bucket, and nowhere else', async () => {
      const id = 'registry-blob-redirect';
      const { lie, location } = await redirect();
      const to = (url: string, headers: Record<string, string> = {}): Lie => ({
        path,
        ...lie,
        headers: { ...lie.headers, location: url, ...headers },
      });
      assert.match(await bench.look(id, [to(location.href)]), /^307 to 127\.0\.0\.1:\d+, cache-control: no-store$/);
      await bench.contradicted(id, { ...to(location.href), status: 302 }, /302; expected 307/);
      await bench.contradicted(id, to(location.href, { 'cache-control': 'max-age=60' }), /cache-control: max-age=60/);
      await bench.contradicted(
        id,
        to(location.href, { 'docker-content-digest': INDEX }),
        /docker-content-digest: sha256/,
      );
      const body = { 'content-length': '4' };
      await bench.contradicted(id, { ...to(location.href, body), body: 'here' }, /307 with a body of 4 bytes/);
      await bench.contradicted(
        id,
        to('https://evil.example.test/x?X-Amz-Signature=1'),
        /leads to evil\.example\.test; expected/,
      );
      await bench.contradicted(id, to(`${location.origin}/other/key${location.search}`), /but not to the blob/);
      await bench.contradicted(id, to(`${location.origin}${location.pathname}`), /not signed/);
      await bench.contradicted(id, to('/v2/again'), /not a URL/);
      const { location: _, ...without } = lie.headers;
      await bench.contradicted(id, { path, ...lie, headers: without }, /no Location/);
    });

    test('come from there byte for byte, whole, in ranges, and under the type that was signed', async () => {
      const { lie, location, bytes } = await redirect();
      // The door itself plays S3 here.
      const here: Lie = {
        path,
        ...lie,
        headers: { ...lie.headers, location: `${bench.door.endpoint}${location.pathname}?X-Amz-Signature=1` },
      };
      const s3 = (answer: Lie): Lie[] => [here, { path: new RegExp(`^${location.pathname}`), ...answer }];
      const denied = {
        status: 403,
        body: '<Error><Code>SignatureDoesNotMatch</Code><StringToSign>secret</StringToSign></Error>',
      };
      const other = Buffer.from(bytes);
      other[0] = 0;

      await bench.look('registry-blob-get', s3({ body: Buffer.from(bytes) }));
      await bench.contradicted('registry-blob-get', s3({ body: other }), /bytes of sha256:\w+; expected sha256:/);
      await bench.contradicted('registry-blob-get', s3(denied), /^127\.0\.0\.1:\d+: 403 SignatureDoesNotMatch$/);

      await bench.contradicted('registry-blob-range', s3({ body: Buffer.from(bytes) }), /200; expected 206/);
      const range = { 'content-range': `bytes 1-${bytes.byteLength - 1}/${bytes.byteLength}` };
      await bench.contradicted(
        'registry-blob-range',
        s3({ status: 206, body: other, headers: range }),
        /two ranges give/,
      );
      await bench.contradicted('registry-blob-range', s3({ status: 206, body: other }), /content-range: none/);
      await bench.contradicted('registry-blob-range', s3(denied), /SignatureDoesNotMatch/);

      const type = 'application/octet-stream';
      await bench.contradicted(
        'registry-blob-type',
        s3({ headers: { 'content-type': type } }),
        /content-type: application\/octet-stream/,
      );
      await bench.contradicted('registry-blob-type', s3(denied), /SignatureDoesNotMatch/);
    });

    test('are not asked for where none is complete, or the manifest is another one', async () => {
      const elsewhere = { ...bench.target, image: `${NAME}:other` };
      await assert.rejects(bench.look('registry-blob-head', [], elsewhere), (error) => error instanceof SkipError);
      const other = await bench.real('GET', `/v2/${NAME}/manifests/${TAG}`);
      await bench.contradicted(
        'registry-blob-head',
        { path: /manifests\/sha256/, ...other },
        /content with another digest/,
      );
    });
  });
}
