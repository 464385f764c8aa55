import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type LookupFunction } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { UpstreamRefusedError, UpstreamUnavailableError } from '../../../lib/errors/cache-error.ts';
import { selfSigned } from '../../support/upstream/certificate.ts';
import { blobAnswer, times, when, type TestUpstream } from '../../support/upstream/upstream.ts';
import {
  addBlob,
  addManifest,
  clientOf,
  collect,
  LIMITS,
  openRepository,
  PATH,
  readBlob,
  REGISTRY,
  soon,
  tagged,
  upstreamForTest,
  type SampleBlob,
} from './client-under-test.ts';

let folder = '';
let dockerConfigPath = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'entrepot-redirect-'));
  dockerConfigPath = join(folder, 'config.json');
  await writeFile(dockerConfigPath, JSON.stringify({ auths: { [REGISTRY]: { username: 'bob', password: 'word' } } }));
});
after(() => rm(folder, { recursive: true }));

const login = { kind: 'docker' } as const;

/** A CDN that serves the blob at any address. */
async function cdnFor(blob: SampleBlob, tls?: { key: string; cert: string }): Promise<TestUpstream> {
  const cdn = await upstreamForTest(tls === undefined ? {} : { tls });
  cdn.fault((request) => (request.kind === 'other' ? blobAnswer(blob.bytes, request) : undefined));
  return cdn;
}

const redirectTo = (upstream: TestUpstream, location: string, status = 307): void =>
  void upstream.fault((_request, answer) =>
    answer.status < 300 && _request.kind === 'blob'
      ? { status, headers: { location }, body: Buffer.alloc(0) }
      : undefined,
  );

test('a redirect to another origin is followed without Authorization (I7), and resumed from the start', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer', users: { bob: 'word' } } });
  const blob = addBlob(upstream, 300_000);
  const cdn = await cdnFor(blob);
  redirectTo(upstream, `${cdn.origin}/blob?signature=s3cr3t`);
  cdn.clearFaults();
  cdn.fault(times(1, (request) => ({ ...blobAnswer(blob.bytes, request), dropAfterBytes: 100_000 })));
  cdn.fault((request) => blobAnswer(blob.bytes, request));
  const repository = await openRepository(upstream.origin, {
    settings: { credentials: login, redirects: [cdn.origin] },
    dockerConfigPath,
  });
  assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  assert.deepEqual(repository.requests, { total: 6, ping: 1, token: 1, manifest: 0, blob: 2, redirected: 2 });
  assert.equal(cdn.count(), 2);
  for (const { headers } of cdn.requests) {
    assert.deepEqual(
      Object.keys(headers).filter((name) => /auth|cookie|token/i.test(name)),
      [],
    );
    assert.ok(!JSON.stringify(headers).includes('word'));
  }
  assert.equal(cdn.requests[1]?.headers.range, 'bytes=100000-');
});

test('a redirect within the origin keeps Authorization; once the origin was left it does not come back', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'basic', users: { bob: 'word' } } });
  const blob = addBlob(upstream);
  const cdn = await upstreamForTest();
  cdn.fault(when({}, { status: 302, headers: { location: `${upstream.origin}/stored/again` } }));
  let first = `/stored/blob`;
  upstream.fault((request) => {
    if (request.kind === 'blob') return { status: 307, headers: { location: first } };
    return request.kind === 'other' ? blobAnswer(blob.bytes, request) : undefined;
  });
  const open = async (): Promise<Buffer> =>
    readBlob(
      await openRepository(upstream.origin, {
        settings: { credentials: login, redirects: [cdn.origin] },
        dockerConfigPath,
      }),
      blob,
    );
  assert.deepEqual(await open(), blob.bytes);
  assert.match(upstream.requests.at(-1)?.headers.authorization ?? '', /^Basic /);
  first = `${cdn.origin}/away`;
  assert.deepEqual(await open(), blob.bytes);
  assert.equal(upstream.requests.at(-1)?.path, '/stored/again');
  assert.equal(upstream.requests.at(-1)?.headers.authorization, undefined);
});

test('redirects are counted to a limit', async () => {
  const upstream = await upstreamForTest();
  const blob = addBlob(upstream);
  upstream.fault(when({}, { status: 307, headers: { location: '/again' } }));
  const repository = await openRepository(upstream.origin);
  await assert.rejects(readBlob(repository, blob), /more than 3 times/);
  assert.deepEqual(repository.requests, {
    total: 4,
    ping: 0,
    token: 0,
    manifest: 0,
    blob: 1,
    redirected: LIMITS.redirects,
  });
});

test('refused: no Location, other schemes, user parts, plain http to another origin', async () => {
  const upstream = await upstreamForTest();
  const victim = await upstreamForTest();
  const blob = addBlob(upstream);
  for (const location of [
    undefined,
    'http://[',
    'file:///etc/passwd',
    'ftp://cdn.example.test/x',
    'https://user:word@cdn.example.test/x',
    `${victim.origin}/x`,
    `http://localhost:${victim.port}/x`,
  ]) {
    const remove = upstream.fault(when({}, { status: 302, headers: { location } }));
    const repository = await openRepository(upstream.origin);
    await assert.rejects(readBlob(repository, blob), UpstreamRefusedError, location);
    remove();
  }
  assert.equal(victim.count(), 0);
});

test('refused: https to private addresses in every spelling, unless the configuration names them (I8)', async () => {
  const tls = selfSigned('127.0.0.1');
  const upstream = await upstreamForTest();
  const blob = addBlob(upstream);
  const cdn = await cdnFor(blob, tls);
  const { port } = cdn;
  for (const host of [
    '127.0.0.1',
    '2130706433',
    '0x7f.1',
    '127.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '10.0.0.1',
    '169.254.169.254',
    '100.64.0.1',
    '0.0.0.0',
  ]) {
    const remove = upstream.fault(when({}, { status: 307, headers: { location: `https://${host}:${port}/x` } }));
    const repository = await openRepository(upstream.origin, { settings: { ca: tls.cert } });
    await assert.rejects(readBlob(repository, blob), (error) => {
      return error instanceof UpstreamRefusedError && error.message.includes('not a public address');
    });
    assert.equal(repository.requests.total, 2, 'refused is not tried again');
    remove();
  }
  assert.equal(cdn.count(), 0);
  redirectTo(upstream, `https://127.0.0.1:${port}/x`);
  for (const redirects of [['127.0.0.1'], ['127.0.0.0/8'], [`127.0.0.1:${port}`]]) {
    const repository = await openRepository(upstream.origin, { settings: { ca: tls.cert, redirects } });
    assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  }
});

test('refused: names of private addresses, also when they change between two looks (rebinding)', async () => {
  const tls = selfSigned('cdn.example.test');
  const upstream = await upstreamForTest();
  const blob = addBlob(upstream);
  const cdn = await cdnFor(blob, tls);
  redirectTo(upstream, `https://cdn.example.test:${cdn.port}/x`);
  const settings = { ca: tls.cert };
  const private4 = await openRepository(upstream.origin, { settings, names: { 'cdn.example.test': ['127.0.0.1'] } });
  await assert.rejects(readBlob(private4, blob), UpstreamRefusedError);
  const mapped = await openRepository(upstream.origin, {
    settings,
    names: { 'cdn.example.test': ['::ffff:127.0.0.1'] },
  });
  await assert.rejects(readBlob(mapped, blob), UpstreamRefusedError);

  // Permitted at the first look (by a range; nobody lives there), private from then on: each connection is judged by its own look.
  let looks = 0;
  const rebinding: LookupFunction = (_host, options, callback) => {
    const address = looks++ === 0 ? '192.0.2.1' : '127.0.0.1';
    if (options.all === true) callback(null, [{ address, family: 4 }]);
    else callback(null, address, 4);
  };
  const rebound = await openRepository(upstream.origin, {
    settings: { ...settings, redirects: ['192.0.2.0/24'] },
    lookup: rebinding,
    limits: { connectTimeoutMs: 200 },
  });
  await assert.rejects(readBlob(rebound, blob), UpstreamRefusedError);
  assert.equal(looks, 2);
  // A name with both kinds of address is dialled at the permitted one alone.
  const mixed = await openRepository(upstream.origin, {
    settings: { ...settings, redirects: ['192.0.2.0/24'] },
    names: { 'cdn.example.test': ['127.0.0.1', '192.0.2.1'] },
    limits: { connectTimeoutMs: 200, attempts: 1 },
  });
  await assert.rejects(readBlob(mixed, blob), UpstreamUnavailableError);
  assert.equal(cdn.count(), 0);

  for (const redirects of [['cdn.example.test'], ['127.0.0.0/8']]) {
    const allowed = await openRepository(upstream.origin, {
      settings: { ...settings, redirects },
      names: { 'cdn.example.test': ['127.0.0.1'] },
    });
    assert.deepEqual(await readBlob(allowed, blob), blob.bytes);
  }
});

test('refused: a registry whose endpoint was not written, at a private address; not a byte is sent (I8)', async () => {
  const tls = selfSigned(REGISTRY);
  const upstream = await upstreamForTest({ tls });
  const { descriptor } = addManifest(upstream);
  const blob = addBlob(upstream);
  let connections = 0;
  const listener = createServer((socket) => {
    connections++;
    socket.destroy();
  });
  await once(listener.listen(0, '127.0.0.1'), 'listening');
  after(() => listener.close());
  const { port } = listener.address() as AddressInfo;
  for (const address of ['127.0.0.1', '10.1.2.3', '::1', '::ffff:127.0.0.1', '169.254.169.254']) {
    for (const credentials of [login, { kind: 'none' } as const]) {
      const repository = await openRepository(`https://${REGISTRY}:${port}`, {
        settings: { endpointMayBePrivate: false, credentials },
        names: { [REGISTRY]: [address] },
        dockerConfigPath,
      });
      const isRefused = (error: unknown): boolean =>
        error instanceof UpstreamRefusedError &&
        error.message.includes(address) &&
        error.message.includes(`write "endpoint: https://${REGISTRY}:${port}" for the registry`);
      await assert.rejects(repository.resolve(tagged(), soon()), isRefused);
      await assert.rejects(repository.readManifest(descriptor.digest, soon()), isRefused);
      await assert.rejects(repository.hasBlob(blob.descriptor, soon()), isRefused);
      await assert.rejects(readBlob(repository, blob), isRefused);
    }
  }
  const literal = await openRepository(`https://127.0.0.1:${port}`, { settings: { endpointMayBePrivate: false } });
  await assert.rejects(readBlob(literal, blob), UpstreamRefusedError);
  assert.equal(connections, 0);

  const names = { [REGISTRY]: ['127.0.0.1'] };
  for (const permission of [
    { endpointMayBePrivate: true },
    { redirects: ['127.0.0.0/8'] },
    { redirects: [REGISTRY] },
  ]) {
    const settings = { endpointMayBePrivate: false, ca: tls.cert, ...permission };
    const repository = await openRepository(`https://${REGISTRY}:${upstream.port}`, { settings, names });
    assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
    assert.ok(await repository.hasBlob(blob.descriptor, soon()));
    assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  }
});

test('a CDN whose signed address expired gives another chance; one without the blob does not say "absent" by 403', async () => {
  const upstream = await upstreamForTest();
  const blob = addBlob(upstream);
  const cdn = await upstreamForTest();
  redirectTo(upstream, `${cdn.origin}/x`);
  cdn.fault(times(1, when({}, { status: 403 })));
  cdn.fault(times(1, (request) => blobAnswer(blob.bytes, request)));
  cdn.fault(when({}, { status: 403 }));
  const repository = await openRepository(upstream.origin, { settings: { redirects: [cdn.origin] } });
  assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  await assert.rejects(readBlob(repository, blob), UpstreamUnavailableError);
});

test('mirrors come first, and are left on errors', async () => {
  const mirror = await upstreamForTest();
  const second = await upstreamForTest();
  const upstream = await upstreamForTest();
  const { descriptor } = addManifest(mirror);
  const blob = addBlob(mirror, 200_000);
  upstream.putBlob(PATH, blob.bytes);
  addManifest(upstream);
  const upstreams = clientOf(upstream.origin, {
    settings: { mirrors: [new URL(mirror.origin), new URL(second.origin)] },
  });
  const repository = await upstreams.open({ registry: REGISTRY, path: PATH });
  assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
  assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  assert.equal(upstream.count() + second.count(), 0);

  // It breaks off in the middle of a blob: the rest comes from the next that has it.
  mirror.fault(times(1, when({ kind: 'blob' }, { dropAfterBytes: 50_000 })));
  assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  assert.equal(upstream.requests.at(-1)?.headers.range, 'bytes=50000-');

  // 404 and wrong content of a mirror lead on; 404 of the registry is final.
  mirror.deleteBlob(PATH, blob.descriptor.digest);
  assert.deepEqual(await readBlob(repository, blob), blob.bytes);
  mirror.fault(when({ kind: 'manifest' }, { body: Buffer.from('evil') }));
  assert.equal((await repository.readManifest(descriptor.digest, soon())).descriptor.digest, descriptor.digest);
  mirror.clearFaults();
  await assert.rejects(repository.resolve(tagged('absent'), soon()), { name: 'ManifestUnknownError' });

  // 5xx and silence: left at once, and not asked again for a while.
  mirror.requests.length = 0;
  mirror.fault(when({}, { status: 500 }));
  await second.close();
  assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
  assert.equal((await repository.resolve(tagged(), soon())).digest, descriptor.digest);
  assert.equal(mirror.count(), 1);
});

test('mirrors are not asked for a registry with credentials: they prove nothing about its repositories (I9)', async () => {
  const mirror = await upstreamForTest();
  const upstream = await upstreamForTest({ auth: { kind: 'basic', users: { bob: 'word' } } });
  const { descriptor } = addManifest(mirror);
  const blob = addBlob(mirror);
  const repository = await openRepository(upstream.origin, {
    settings: { credentials: login, mirrors: [new URL(mirror.origin)] },
    dockerConfigPath,
  });
  await assert.rejects(repository.resolve(tagged(), soon()), { name: 'ManifestUnknownError' });
  await assert.rejects(repository.readManifest(descriptor.digest, soon()), { name: 'ManifestUnknownError' });
  await assert.rejects(readBlob(repository, blob), { name: 'BlobUnknownError' });
  assert.equal(mirror.count(), 0);
});

test('a mirror that is too slow is left for the registry, which is as fast as it is', async () => {
  const [mirror, upstream] = [await upstreamForTest(), await upstreamForTest()];
  const blob = addBlob(mirror, 64 * 1024 * 20);
  upstream.putBlob(PATH, blob.bytes);
  mirror.fault(when({ kind: 'blob' }, { chunkDelayMs: 500 }));
  const upstreams = clientOf(upstream.origin, { settings: { mirrors: [new URL(mirror.origin)] } });
  const repository = await upstreams.open({ registry: REGISTRY, path: PATH });
  const pace = { windowMs: 200, leastBytes: 512 * 1024 };
  const chunks = await repository.openBlob(blob.descriptor, 0, soon(), { pace });
  assert.deepEqual(await collect(chunks), blob.bytes);
  assert.match(upstream.requests.at(-1)?.headers.range ?? '', /^bytes=\d+-$/);
});

test('hasBlob asks the registry itself, whatever a mirror holds', async () => {
  const mirror = await upstreamForTest();
  const upstream = await upstreamForTest();
  const blob = addBlob(mirror);
  const repository = await openRepository(upstream.origin, { settings: { mirrors: [new URL(mirror.origin)] } });
  assert.equal(await repository.hasBlob(blob.descriptor, soon()), false);
  assert.equal(mirror.count(), 0);
});
