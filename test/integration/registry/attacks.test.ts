import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { CacheError, SlowBlobError, UpstreamUnavailableError } from '../../../lib/errors/cache-error.ts';
import { PUBLIC } from '../../../lib/reference/trust-domain.ts';
import { openBlob } from '../../../lib/registry/blobs.ts';
import type { Pace, RegistrySettings } from '../../../lib/registry/settings.ts';
import { CREDENTIALS_KEPT_MS } from '../../../lib/registry/credential-reader.ts';
import { Session } from '../../../lib/registry/session.ts';
import { Tokens, type TokenPurpose } from '../../../lib/registry/tokens.ts';
import { HostRules } from '../../../lib/registry/address.ts';
import { noRefusals, noRequests, Transport } from '../../../lib/registry/transport.ts';
import type { Upstream } from '../../../lib/registry/upstream.ts';
import { when, type Action, type TestUpstream } from '../../support/upstream/upstream.ts';
import {
  addBlob,
  addManifest,
  clientOf,
  collect,
  LIMITS,
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
  folder = await mkdtemp(join(tmpdir(), 'entrepot-attacks-'));
  dockerConfigPath = join(folder, 'config.json');
});
after(() => rm(folder, { recursive: true }));

/** Undefined logs out. */
async function logIn(username?: string, password = 'word'): Promise<void> {
  const auths = username === undefined ? {} : { [REGISTRY]: { username, password } };
  await writeFile(dockerConfigPath, JSON.stringify({ auths }));
}

/** Opens `team/app` as whoever is logged in, again and again; and makes the client read the credentials anew. */
function openings(context: TestContext, upstream: TestUpstream): { open: () => Promise<Upstream>; later: () => void } {
  const upstreams = clientOf(upstream.origin, { settings: { credentials: { kind: 'docker' } }, dockerConfigPath });
  let aheadMs = 0;
  const now = Date.now.bind(Date);
  context.mock.method(Date, 'now', () => now() + aheadMs);
  return {
    open: () => upstreams.open({ registry: REGISTRY, path: PATH }),
    later: () => (aheadMs += CREDENTIALS_KEPT_MS + 1000),
  };
}

const isChange = (error: unknown): boolean =>
  error instanceof CacheError && error.retryable && /credentials of .* changed/.test(error.message);

for (const kind of ['basic', 'bearer'] as const) {
  test(`${kind}: what was opened without credentials never fetches with them, nor the other way round (I9)`, async (context) => {
    const upstream = await upstreamForTest({ auth: { kind, users: { bob: 'word' } } });
    const { descriptor } = addManifest(upstream);
    const blob = addBlob(upstream);
    await logIn();
    const { open, later } = openings(context, upstream);
    const anonymous = await open();
    assert.equal(anonymous.domain, PUBLIC);

    await logIn('bob');
    later();
    await assert.rejects(anonymous.resolve(tagged(), soon()), isChange);
    await assert.rejects(anonymous.readManifest(descriptor.digest, soon()), isChange);
    await assert.rejects(anonymous.hasBlob(blob.descriptor, soon()), isChange);
    await assert.rejects(readBlob(anonymous, blob), isChange);
    assert.equal(upstream.count(), 0);

    const asBob = await open();
    assert.notEqual(asBob.domain, PUBLIC);
    assert.deepEqual(await readBlob(asBob, blob), blob.bytes);
    // The way to ask and a token for bob are known by now: neither is for the anonymous one.
    await assert.rejects(readBlob(anonymous, blob), isChange);

    await logIn('mallory');
    later();
    upstream.requests.length = 0;
    upstream.revokeTokens();
    await assert.rejects(readBlob(asBob, blob), isChange);
    assert.ok(upstream.requests.every(({ headers }) => !(headers.authorization ?? '').startsWith('Basic ')));
  });
}

test('a secret that is rotated while a pull is under way is the same identity', async (context) => {
  const upstream = await upstreamForTest({ auth: { kind: 'basic', users: { bob: 'new' } } });
  const blob = addBlob(upstream);
  await logIn('bob', 'old');
  const { open } = openings(context, upstream);
  const repository = await open();
  await logIn('bob', 'new');
  assert.deepEqual(await readBlob(repository, blob), blob.bytes);
});

const caller = { counts: noRequests(), refusals: noRefusals(), domain: PUBLIC, signal: new AbortController().signal };

function settingsOf(upstream: TestUpstream): RegistrySettings {
  return {
    name: REGISTRY,
    endpoint: new URL(upstream.origin),
    endpointMayBePrivate: true,
    mirrors: [],
    isPublic: true,
    credentials: { kind: 'none' },
    realms: [],
    redirects: [],
    passRedirects: [],
    allow: [],
    platforms: [],
    maxConnections: 2,
  };
}

function transportOf(upstream: TestUpstream): Transport {
  const transport = new Transport(settingsOf(upstream), LIMITS, undefined);
  after(() => transport.close());
  return transport;
}

/** Reads at a pace that a test can wait for. */
async function readPaced(upstream: TestUpstream, blob: SampleBlob, pace: Pace): Promise<Buffer> {
  const settings = settingsOf(upstream);
  const transport = transportOf(upstream);
  const endpoint = new Session({ settings, limits: LIMITS, transport, base: settings.endpoint });
  return await collect(await openBlob({ mirrors: [], endpoint }, PATH, blob.descriptor, 0, caller, { pace }));
}

test('a blob that trickles gives its place back, though no wait for a chunk is long', async () => {
  const upstream = await upstreamForTest();
  const blob = addBlob(upstream, 64 * 1024 * 20);
  upstream.fault(when({ kind: 'blob' }, { chunkDelayMs: 80 }));
  const pace = { windowMs: 100, leastBytes: 512 * 1024 };
  await assert.rejects(readPaced(upstream, blob, pace), (error) => {
    return error instanceof SlowBlobError && error.timedOut && /sent \d+ bytes in \d+ ms/.test(error.message);
  });
  assert.equal(upstream.count(), 1);
  // The same trickle is fast enough for a lower pace.
  assert.deepEqual(await readPaced(upstream, blob, { ...pace, leastBytes: 8 * 1024 }), blob.bytes);
});

test('a blob that comes in crumbs, one per connection, is too slow as a whole', async () => {
  const upstream = await upstreamForTest();
  const blob = addBlob(upstream, 1_000_000);
  upstream.fault(when({ kind: 'blob' }, { dropAfterBytes: 100 }));
  await assert.rejects(readPaced(upstream, blob, { windowMs: 300, leastBytes: 100_000 }), SlowBlobError);
});

test('a blob that keeps its pace is never given up, however often its connection breaks', async () => {
  const upstream = await upstreamForTest();
  const blob = addBlob(upstream, 150 * 70_000);
  upstream.fault(when({ kind: 'blob' }, { dropAfterBytes: 70_000 }));
  assert.deepEqual(await readPaced(upstream, blob, { windowMs: 60_000, leastBytes: 64 * 1024 }), blob.bytes);
  assert.ok(upstream.count() >= 150);
});

test('crumbs between stalls do not reset their count', async () => {
  const upstream = await upstreamForTest();
  const blob = addBlob(upstream, 10_000);
  let answers = 0;
  upstream.fault((request) =>
    request.kind === 'blob' ? { dropAfterBytes: answers++ % 2 === 0 ? 100 : 0 } : undefined,
  );
  await assert.rejects(readPaced(upstream, blob, { windowMs: 60_000, leastBytes: 1000 }), (error) => {
    return error instanceof UpstreamUnavailableError && error.message.includes('reconnects in a row');
  });
  assert.ok(upstream.count() <= 2 + 2 * LIMITS.stalls);
});

test('a realm under ever new service names does not fill the memory', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer' } });
  upstream.fault(when({ kind: 'token' }, { body: Buffer.from('{"token":"t","expires_in":3600}') }));
  const tokens = new Tokens({
    transport: transportOf(upstream),
    credentials: undefined,
    realms: new HostRules([]),
    redirects: 0,
  });
  const purpose = (service: string): TokenPurpose => ({
    realm: { url: new URL(`${upstream.origin}/token`), reach: 'configured' },
    service,
    scope: `repository:${PATH}:pull`,
  });
  for (let i = 0; i < 101; i++) await tokens.get(purpose(`service-${i}`), caller);
  assert.equal(upstream.count(), 101);
  await tokens.get(purpose('service-100'), caller);
  await tokens.get(purpose('service-1'), caller);
  assert.equal(upstream.count(), 101);
  await tokens.get(purpose('service-0'), caller);
  assert.equal(upstream.count(), 102);
});

test('credentials that take too long are a time-out, and a deadline ends the wait for them', async (context) => {
  await writeFile(dockerConfigPath, JSON.stringify({ credsStore: 'slow' }));
  await writeFile(join(folder, 'docker-credential-slow'), '#!/bin/sh\nexec sleep 60\n', { mode: 0o755 });
  const path = process.env.PATH ?? '';
  process.env.PATH = `${folder}:${path}`;
  context.after(() => (process.env.PATH = path));
  const upstreams = clientOf('http://127.0.0.1:9', { settings: { credentials: { kind: 'docker' } }, dockerConfigPath });
  const repository = { registry: REGISTRY, path: PATH };
  const reason = new Error('deadline');
  const stop = new AbortController();
  setTimeout(() => stop.abort(reason), 100);
  await assert.rejects(upstreams.open(repository, stop.signal), reason);

  const timeout = AbortSignal.timeout.bind(AbortSignal);
  context.mock.method(AbortSignal, 'timeout', (ms: number) => timeout(ms === 20_000 ? 100 : ms));
  await assert.rejects(upstreams.open(repository), (error) => {
    return error instanceof UpstreamUnavailableError && error.timedOut;
  });
});

/** Places of an answer where a registry can say something. */
const PLACES: Readonly<Record<string, (said: string, origin: string) => Action>> = {
  'its error': (said) => ({
    status: 403,
    body: Buffer.from(JSON.stringify({ errors: [{ code: said, message: `${'x'.repeat(190)} ${said} is wrong` }] })),
  }),
  'the realm of its challenge': (said) => ({
    status: 401,
    headers: { 'www-authenticate': `Bearer realm="https://${encodeURIComponent(said)}.example.test/${said}"` },
  }),
  'where it redirects': (said, origin) => ({
    status: 307,
    headers: { location: `${origin}/v2/${encodeURIComponent(said)}/x?${encodeURIComponent(said)}` },
  }),
  'the content encoding': (said) => ({ headers: { 'content-encoding': said.slice(0, 40) } }),
};
const SAID: readonly ((secret: string) => string)[] = [
  (secret) => secret,
  (secret) => Buffer.from(`bob:${secret}`).toString('base64'),
  (secret) => encodeURIComponent(secret),
  (secret) => Buffer.from(secret).toString('hex'),
  (secret) => JSON.stringify(`"${secret}"`).replaceAll('"', "'"),
];

for (const [place, action] of Object.entries(PLACES)) {
  test(`no error holds a password, of now or before, or a token that the registry says back in ${place} (I7)`, async (context) => {
    const [before, now] = ['CANARYxBEFORE/42', 'CANARYxNOW+42'];
    const upstream = await upstreamForTest({ auth: { kind: 'bearer', users: { bob: now } } });
    const { descriptor } = addManifest(upstream);
    const blob = addBlob(upstream);
    await logIn('bob', before);
    const { open, later } = openings(context, upstream);
    const repository = await open();
    await logIn('bob', now);
    later();
    await repository.resolve(tagged(), soon());
    const token = upstream.requests.findLast(({ kind }) => kind === 'manifest')?.headers.authorization?.slice(7) ?? '';
    assert.match(token, /^tok-/);
    for (const secret of [before, now, token]) {
      for (const make of SAID) {
        const said = make(secret);
        upstream.clearFaults();
        upstream.fault((request) =>
          request.kind === 'manifest' || request.kind === 'blob' ? action(said, upstream.origin) : undefined,
        );
        for (const ask of [
          () => repository.resolve(tagged(), soon()),
          () => repository.readManifest(descriptor.digest, soon()),
          () => readBlob(repository, blob),
        ]) {
          const error = await ask().then(
            () => undefined,
            (thrown: unknown) => thrown,
          );
          for (let one = error; one instanceof Error; one = one.cause) {
            const text = `${one.message} ${String(one.stack)}`;
            assert.ok(!text.includes(said) && !text.includes(encodeURIComponent(said)), text);
            assert.ok(!text.includes(secret), text);
          }
        }
      }
    }
  });
}
