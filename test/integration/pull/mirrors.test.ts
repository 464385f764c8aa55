import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { parseReference } from '../../../lib/reference/reference.ts';
import { noise, noiseImage, upstreamImage, type Image } from '../../support/images.ts';
import { startUpstream, when, type Action, type Fault, type TestUpstream } from '../../support/upstream/upstream.ts';
import { REGISTRY, startPullBench, type PullBench } from './pull-bench.ts';

const LOGIN = { username: 'bob', password: 'correct horse' };

const soon = (): AbortSignal => AbortSignal.timeout(15_000);

let mirror: TestUpstream;
let dead: TestUpstream;
let bench: PullBench;
before(async () => {
  [mirror, dead] = await Promise.all([startUpstream(), startUpstream()]);
  await dead.close();
  bench = await startPullBench({ registry: { mirrors: [dead.origin, mirror.origin] } });
});
after(async () => {
  await bench[Symbol.asyncDispose]();
  await mirror.close();
});

function offer(image: Image, repository: string): string {
  mirror.clearFaults();
  mirror.requests.length = 0;
  mirror.addImage(repository, upstreamImage(image, 'v1'));
  return bench.offer(image, repository);
}

test('the first mirror that lives serves the whole pull', async () => {
  const receipt = await bench.succeeds(offer(noiseImage({ name: 'mirrored' }), 'team/mirrored'));
  assert.equal(receipt.blobs.copied, 3);
  assert.equal(bench.upstream.requests.length, 0);
  assert.equal(mirror.requests.length, 5);
});

test('what the mirror does not have, or has wrong, comes from the registry', async () => {
  const image = noiseImage({ name: 'half mirrored', layerBytes: [3_000] });
  const reference = offer(image, 'team/half');
  const [config, layer] = [...image.blobs.keys()];
  mirror.deleteBlob('team/half', config!);
  mirror.fault(when({ kind: 'blob', reference: layer! }, { dropAfterBytes: 1_000 }));
  await bench.succeeds(reference);
  const fromRegistry = bench.upstream.requests
    .filter(({ kind }) => kind === 'blob')
    .map((request) => [request.reference, request.headers.range]);
  assert.deepEqual(
    fromRegistry.filter(([, range]) => range !== undefined),
    [[layer, 'bytes=1000-']],
  );
  assert.ok(fromRegistry.some(([digest]) => digest === config));
});

test('a mirror that lies about a manifest is not believed', async () => {
  const image = noiseImage({ name: 'lying mirror' });
  const reference = offer(image, 'team/lying');
  mirror.fault(when({ kind: 'manifest', method: 'GET' }, { body: noise(100, 'lie') }));
  assert.equal((await bench.succeeds(reference)).digest, image.root.digest);
});

test('a mirror that fails with 5xx leads on to the registry, whose word is final', async () => {
  const image = noiseImage({ name: 'broken mirror' });
  const reference = offer(image, 'team/broken');
  mirror.fault(when({}, { status: 503 }));
  await bench.succeeds(reference);
  await bench.fails(`${REGISTRY}/team/nobody:v1`, { name: 'ManifestUnknownError', code: 'MANIFEST_UNKNOWN' });
});

test('a mirror is asked for the registry that it mirrors, by ?ns=, as containerd asks', async () => {
  await using fresh = await startPullBench({ registry: { mirrors: [mirror.origin] } });
  const named = noiseImage({ name: 'named' });
  offer(named, 'team/named');
  await fresh.succeeds(fresh.offer(named, 'team/named'));
  const names = mirror.requests.filter(({ kind }) => kind !== 'token').map(({ query }) => query.get('ns'));
  assert.ok(names.length > 0);
  assert.deepEqual(new Set(names), new Set([REGISTRY]));
  mirror.fault(when({}, { status: 404 }));
  await bench.succeeds(offer(noiseImage({ name: 'unnamed' }), 'team/unnamed'));
  assert.ok(
    bench.upstream.requests.every(({ query }) => !query.has('ns')),
    'the registry itself is not',
  );
});

const page = Buffer.from('<!doctype html><title>Welcome</title>');
const otherManifest = Buffer.from('{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"');
/** What a mirror may send in place of what it was asked for; none of it is recorded as what a tag means. */
const lies: Record<string, Action | Fault> = {
  'a page with 200': { status: 200, body: page, headers: { 'content-type': 'text/html' } },
  'a page with 200 that calls itself a manifest': { status: 200, body: page },
  'other JSON': { status: 200, body: Buffer.from('{"status":"ok"}'), headers: { 'content-type': 'application/json' } },
  'other JSON that calls itself a manifest, and no HEAD': ({ method, kind }) => {
    if (kind !== 'manifest') return undefined;
    return method === 'HEAD' ? { status: 405 } : { status: 200, body: Buffer.from('{"status":"ok"}') };
  },
  'an index with nothing in it, and no digest': ({ method, kind }) => {
    if (kind !== 'manifest') return undefined;
    const nothing = { headers: { 'docker-content-digest': undefined } };
    return method === 'HEAD' ? nothing : { ...nothing, body: Buffer.from('{"schemaVersion":2,"manifests":[]}') };
  },
  'half a manifest': { status: 200, body: otherManifest },
  'wrong bytes of the right length': ({ kind, method }, { body }) =>
    kind === 'blob' || method === 'GET' ? { status: 200, body: Buffer.alloc(body.byteLength, 'x') } : undefined,
  'a HEAD with a digest that it does not have': ({ method }) =>
    method === 'HEAD' ? { status: 200, headers: { 'docker-content-digest': `sha256:${'b'.repeat(64)}` } } : undefined,
  'a digest of its own, and no manifest for it': ({ method, kind }) => {
    if (kind !== 'manifest') return undefined;
    if (method === 'HEAD') return { status: 200, headers: { 'docker-content-digest': `sha256:${'c'.repeat(64)}` } };
    return { status: 404 };
  },
  'a challenge without a realm': { status: 401, headers: { 'www-authenticate': 'Bearer service="x"' } },
  'a realm at another host': {
    status: 401,
    headers: { 'www-authenticate': 'Bearer realm="https://evil.example.test/token"' },
  },
  'a redirect into the dark': { status: 307, headers: { location: 'http://10.0.0.1/' } },
};
for (const [what, lie] of Object.entries(lies)) {
  test(`a mirror that sends ${what} leads on to the registry`, async () => {
    const image = noiseImage({ name: what, layerBytes: [3_000] });
    const repository = `team/${what.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-')}`;
    // A mirror that failed is left alone for a while: each has its own.
    await using fresh = await startPullBench({ registry: { mirrors: [mirror.origin] } });
    offer(image, repository);
    mirror.fault(typeof lie === 'function' ? lie : () => lie);
    const reference = fresh.offer(image, repository);
    assert.equal((await fresh.succeeds(reference)).digest, image.root.digest);
    assert.ok(mirror.count() > 0);
    const { catalog } = fresh.cache.services.pull;
    const pointer = await catalog.findPointer(parseReference(reference), { consistent: true, signal: soon() });
    assert.equal(pointer?.resolved, image.root.digest);
  });
}

for (const [path, asked] of [
  ['/docker', '/docker/v2/team/'],
  ['/artifactory/api/docker/hub/', '/artifactory/api/docker/hub/v2/team/'],
  ['/v2/proxy', '/v2/proxy/team/'],
]) {
  test(`a mirror at ${path} is asked below ${asked}`, async () => {
    await using behind = await startPullBench({ registry: { mirrors: [`${mirror.origin}${path}`] } });
    const image = noiseImage({ name: `at ${path}`, layerBytes: [2_000] });
    offer(image, 'team/below');
    const seen = mirror.requests.length;
    await behind.succeeds(behind.offer(image, 'team/below'));
    const paths = mirror.requests.slice(seen).map((request) => request.path);
    assert.ok(paths.length > 0);
    for (const one of paths) assert.ok(one.startsWith(asked!), one);
  });
}

test('where we have credentials, what a mirror holds proves nothing, and it is not asked (I9)', async () => {
  await using secured = await startPullBench({
    registry: { credentials: 'docker', mirrors: [mirror.origin] },
    upstream: { auth: { kind: 'basic', users: { [LOGIN.username]: LOGIN.password } } },
  });
  await secured.login({ [REGISTRY]: LOGIN });
  const image = noiseImage({ name: 'secured' });
  offer(image, 'team/secured');
  const receipt = await secured.succeeds(secured.offer(image, 'team/secured'));
  assert.equal(receipt.registryRequests.total, secured.upstream.requests.length);
  assert.equal(mirror.requests.length, 0);
});
