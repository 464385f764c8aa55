import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UpstreamRefusedError, UpstreamUnavailableError } from '../../../lib/errors/cache-error.ts';
import type { TestUpstream } from '../../support/upstream/upstream.ts';
import {
  addBlob,
  addManifest,
  openRepository,
  PATH,
  readBlob,
  soon,
  tagged,
  upstreamForTest,
} from './client-under-test.ts';

/*
 * Registries whose front redirects to another registry, which wants a token of its own: lscr.io leads to ghcr.io. The other one's token is anonymous, asked of a
 * realm that the other one may name, and sent to it alone.
 */

/** Redirects everything but `/v2/` to the other, under another name. */
function inFrontOf(front: TestUpstream, other: TestUpstream, kinds: readonly string[] = ['manifest', 'blob']): void {
  front.fault(({ kind, path }) =>
    kinds.includes(kind)
      ? { status: 307, headers: { location: `${other.origin}${path}` }, body: Buffer.from('') }
      : undefined,
  );
}

test('manifests and blobs come from behind the front, each repository with one anonymous token', async () => {
  const [front, other] = [
    await upstreamForTest(),
    await upstreamForTest({ auth: { kind: 'bearer', service: 'other' } }),
  ];
  const { descriptor } = addManifest(other);
  const blobs = [addBlob(other), addBlob(other), addBlob(other)];
  inFrontOf(front, other);
  const repository = await openRepository(front.origin, { settings: { redirects: [other.origin] } });
  assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
  assert.equal((await repository.readManifest(descriptor.digest, soon())).descriptor.size, descriptor.size);
  for (const blob of blobs) assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  assert.equal(repository.requests.token, 1);
  // After the first 401 the token goes along at once.
  assert.equal(
    other.requests.filter(({ headers, kind }) => kind !== 'token' && headers.authorization === undefined).length,
    1,
  );
  assert.ok(
    front.requests.every(({ headers }) => headers.authorization === undefined),
    'its token is not for the front',
  );
});

test('blobs alone, where the front answers manifests itself and has a login: no credential goes behind it', async () => {
  const users = { bob: 'correct horse' };
  const front = await upstreamForTest({ auth: { kind: 'basic', users } });
  const other = await upstreamForTest({ auth: { kind: 'bearer' } });
  addManifest(front);
  const blob = addBlob(other);
  inFrontOf(front, other, ['blob']);
  const { mkdtemp, rm, writeFile } = await import('node:fs/promises');
  const { tmpdir } = await import('node:os');
  const folder = await mkdtemp(`${tmpdir()}/entrepot-front-`);
  const dockerConfigPath = `${folder}/config.json`;
  const auth = Buffer.from('bob:correct horse').toString('base64');
  await writeFile(dockerConfigPath, JSON.stringify({ auths: { 'registry.example.test': { auth } } }));
  const settings = { credentials: { kind: 'docker' }, redirects: [other.origin] } as const;
  const repository = await openRepository(front.origin, { settings, dockerConfigPath });
  await repository.resolve(tagged(), soon());
  assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  assert.ok(other.requests.length > 0);
  for (const { headers, query, body } of other.requests) {
    assert.doesNotMatch(`${headers.authorization ?? ''} ${String(query)} ${body}`, /Basic|correct|horse/);
  }
  await rm(folder, { recursive: true });
});

test('a realm that the other registry may not name is not asked, and one that refuses is said', async () => {
  for (const challenge of [
    'Bearer realm="https://evil.example.test/token",service="x"',
    'Bearer realm="ftp://127.0.0.1/token"',
    'Bearer service="x"',
    'Basic realm="x"',
    'Negotiate',
  ]) {
    const [front, other] = [await upstreamForTest(), await upstreamForTest()];
    const blob = addBlob(other);
    inFrontOf(front, other);
    other.fault(() => ({ status: 401, headers: { 'www-authenticate': challenge }, body: Buffer.from('who are you') }));
    const repository = await openRepository(front.origin, {
      settings: { redirects: [other.origin] },
      limits: { attempts: 1 },
    });
    await assert.rejects(readBlob(repository, blob), (error: Error) => {
      assert.ok(error instanceof UpstreamRefusedError || error instanceof UpstreamUnavailableError, error.name);
      assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${other.port}`), 'who wants it');
      return true;
    });
    assert.equal(repository.requests.token, 0);
  }
});

test('a token is for the repository of the address that the front leads to', async () => {
  const [front, other] = [await upstreamForTest(), await upstreamForTest({ auth: { kind: 'bearer' } })];
  const bytes = Buffer.from('behind');
  const digest = other.putBlob('linuxserver/app', bytes);
  front.fault(({ kind }) =>
    kind === 'blob'
      ? {
          status: 302,
          headers: { location: `${other.origin}/v2/linuxserver/app/blobs/${digest}` },
          body: Buffer.from(''),
        }
      : undefined,
  );
  const repository = await openRepository(front.origin, { settings: { redirects: [other.origin] } });
  const descriptor = { mediaType: 'x/y', digest: digest as never, size: bytes.byteLength };
  assert.deepEqual(await readBlob(repository, { bytes, descriptor }), bytes);
  assert.deepEqual(
    other.requests.filter(({ kind }) => kind === 'token').map(({ query }) => query.get('scope')),
    ['repository:linuxserver/app:pull'],
  );
  assert.notEqual(PATH, 'linuxserver/app');
});

test('more requests at once than there are connections: refusals hold none of those that the token needs', async () => {
  const [front, other] = [await upstreamForTest(), await upstreamForTest({ auth: { kind: 'bearer' } })];
  const blobs = Array.from({ length: 8 }, () => addBlob(other));
  inFrontOf(front, other);
  other.fault(({ headers, kind }) =>
    kind === 'blob' && headers.authorization === undefined
      ? {
          status: 401,
          headers: { 'www-authenticate': `Bearer realm="${other.origin}/token"` },
          body: Buffer.alloc(300_000, 'x'),
        }
      : undefined,
  );
  const repository = await openRepository(front.origin, {
    settings: { redirects: [other.origin], maxConnections: 2 },
    limits: { headersTimeoutMs: 2_000 },
  });
  const read = await Promise.all(blobs.map((blob) => readBlob(repository, blob)));
  assert.deepEqual(
    read,
    blobs.map(({ bytes }) => bytes),
  );
});
