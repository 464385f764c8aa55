import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, beforeEach, describe, test } from 'node:test';
import { noiseImage } from '../../support/images.ts';
import { when } from '../../support/upstream/upstream.ts';
import { errorOf, startServeBench, type ServeBench, type Told } from './serve-bench.ts';

const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const COSIGN = 'application/vnd.dev.cosign.artifact.sig.v1+json';
const SPDX = 'application/spdx+json';
const TTL_SECONDS = 1;

interface Index {
  readonly schemaVersion: number;
  readonly mediaType: string;
  readonly manifests: readonly { readonly digest: string; readonly artifactType?: string }[];
}

let bench: ServeBench;
let app: string;
const image = noiseImage({ name: 'signed' });
const subject = image.root.digest;

before(async () => {
  bench = await startServeBench({ serve: { referrersTtlSeconds: TTL_SECONDS } });
  app = await bench.warm(image, 'team/app');
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  bench.upstream.clearFaults();
  bench.upstream.requests.length = 0;
});

const shaOf = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const sorted = (...names: string[]): string[] => names.map(shaOf).sort();
const referrer = (name: string, artifactType: string) => ({
  mediaType: OCI_MANIFEST,
  digest: shaOf(name),
  size: 7,
  artifactType,
  annotations: { 'org.opencontainers.image.created': '2026-01-01T00:00:00Z' },
  // Not of a descriptor that anybody should pass on.
  urls: ['http://evil.example.test/'],
});
const indexOf = (...manifests: object[]): Buffer =>
  Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }));

/** The upstream has the referrers API. */
const withApi = (of: string, index: Buffer): (() => void) =>
  bench.upstream.fault(
    when({ kind: 'referrers', reference: of }, { status: 200, headers: { 'content-type': OCI_INDEX }, body: index }),
  );

function listed(told: Told): Index {
  assert.deepEqual([told.status, told.headers['content-type']], [200, OCI_INDEX]);
  const index = JSON.parse(told.body.toString()) as Index;
  assert.deepEqual([index.schemaVersion, index.mediaType], [2, OCI_INDEX]);
  return index;
}
const digestsIn = (told: Told): string[] => listed(told).manifests.map(({ digest }) => digest);
const asked = (): string[] => bench.upstream.requests.map(({ method, kind }) => `${method} ${kind}`);

describe('referrers', { concurrency: false }, () => {
  test('by the API of the registry, in the order of their digests, filtered by us, once in their time', async () => {
    withApi(subject, indexOf(referrer('a', COSIGN), referrer('b', SPDX), referrer('c', COSIGN)));
    const path = `${app}/referrers/${subject}`;
    const all = await bench.get(path);
    assert.deepEqual(digestsIn(all), sorted('a', 'b', 'c'));
    assert.equal(all.headers['oci-filters-applied'], undefined);
    assert.ok(!all.body.includes('evil'), 'URLs of descriptors are not passed on');
    assert.ok(all.body.includes('org.opencontainers.image.created'));

    const filtered = await bench.get(`${path}?artifactType=${encodeURIComponent(COSIGN)}`);
    assert.equal(filtered.headers['oci-filters-applied'], 'artifactType');
    assert.deepEqual(digestsIn(filtered), sorted('a', 'c'));
    assert.deepEqual(digestsIn(await bench.get(`${path}?artifactType=none/such`)), []);
    assert.equal((await bench.head(path)).headers['content-length'], String(all.body.byteLength));
    assert.deepEqual(asked(), ['GET referrers']);
  });

  test('one that comes later is there after the time, and 20 who ask then are one request', async () => {
    await sleep(TTL_SECONDS * 1_000);
    withApi(subject, indexOf(referrer('a', COSIGN), referrer('later', COSIGN)));
    const path = `${app}/referrers/${subject}`;
    const told = await Promise.all(Array.from({ length: 20 }, () => bench.get(path)));
    for (const one of told) assert.deepEqual(digestsIn(one), sorted('a', 'later'));
    assert.deepEqual(asked(), ['GET referrers']);
  });

  test('by the tag schema where the registry has no such API', async () => {
    const signed = noiseImage({ name: 'signed by tag' });
    const base = bench.offer(signed, 'team/by-tag');
    const tag = signed.root.digest.replace(':', '-');
    bench.upstream.putManifest('team/by-tag', tag, indexOf(referrer('t', COSIGN)), OCI_INDEX);
    assert.deepEqual(digestsIn(await bench.get(`${base}/referrers/${signed.root.digest}`)), [shaOf('t')]);
    // The tag of the schema is one like any other, too: older clients ask for it themselves.
    assert.equal((await bench.get(`${base}/manifests/${tag}`)).status, 200);
  });

  test('none is an empty list, believed for its time', async () => {
    const base = bench.offer(noiseImage({ name: 'unsigned' }), 'team/unsigned');
    const path = `${base}/referrers/${shaOf('unsigned')}`;
    assert.deepEqual(digestsIn(await bench.get(path)), []);
    const first = asked().length;
    assert.deepEqual(digestsIn(await bench.get(path)), []);
    assert.equal(asked().length, first, 'no more requests');
  });

  test('"none" ends with the first tag of the subject that is seen, long before its time', async () => {
    await using patient = await startServeBench({ serve: { referrersTtlSeconds: 3_600 } });
    const { upstream } = patient;
    const noSuchApi = { status: 404, body: Buffer.from('{}') };
    /** Nothing refers to it, as everybody is told. */
    const unsigned = async (name: string, isPulled: boolean) => {
      const made = noiseImage({ name });
      const repository = `team/${name}`;
      const base = isPulled ? await patient.warm(made, repository) : patient.offer(made, repository);
      const { digest } = made.root;
      upstream.fault(when({ kind: 'referrers', reference: digest }, noSuchApi));
      const path = `${base}/referrers/${digest}`;
      for (let i = 0; i < 2; i++) assert.deepEqual(digestsIn(await patient.get(path)), []);
      return { base, repository, path, tag: digest.replace(':', '-') };
    };
    const signature = (name: string): Buffer =>
      Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests: [], annotations: { name } }));
    let index = 0;
    for (const isPulled of [true, false]) {
      for (const seen of ['list by its tag', 'signature by its tag', 'attestation by HEAD', 'list of tags'] as const) {
        const { base, repository, path, tag } = await unsigned(`seen-${index++}`, isPulled);
        upstream.putManifest(repository, tag, indexOf(referrer(seen, COSIGN)), OCI_INDEX);
        for (const more of ['.sig', '.att']) upstream.putManifest(repository, tag + more, signature(seen), OCI_INDEX);
        assert.deepEqual(digestsIn(await patient.get(path)), [], 'nobody saw it yet');
        if (seen === 'list by its tag') await patient.get(`${base}/manifests/${tag}`);
        else if (seen === 'signature by its tag') await patient.get(`${base}/manifests/${tag}.sig`);
        else if (seen === 'attestation by HEAD') await patient.head(`${base}/manifests/${tag}.att`);
        else await patient.get(`${base}/tags/list`);
        assert.deepEqual(digestsIn(await patient.get(path)), [shaOf(seen)], `${seen}, ${isPulled ? '' : 'not '}pulled`);
        const requests = upstream.requests.length;
        await patient.get(path);
        assert.equal(upstream.requests.length, requests, `${seen}: the new list is believed`);
      }
    }
  });

  test('the tags of another manifest say nothing', async () => {
    await using patient = await startServeBench({ serve: { referrersTtlSeconds: 3_600 } });
    const made = noiseImage({ name: 'alone' });
    const base = await patient.warm(made, 'team/alone');
    const path = `${base}/referrers/${made.root.digest}`;
    assert.deepEqual(digestsIn(await patient.get(path)), []);
    const other = shaOf('somebody else').replace(':', '-');
    patient.upstream.putManifest('team/alone', other, indexOf(referrer('t', COSIGN)), OCI_INDEX);
    await patient.get(`${base}/manifests/${other}`);
    await patient.get(`${base}/tags/list`);
    const requests = patient.upstream.requests.length;
    assert.deepEqual(digestsIn(await patient.get(path)), []);
    assert.equal(patient.upstream.requests.length, requests);
  });

  test('a registry that cannot say: what is known stays, with a warning; else its failure, and never "none" (I6)', async () => {
    withApi(subject, indexOf(referrer('a', COSIGN)));
    await sleep(TTL_SECONDS * 1_000);
    await bench.get(`${app}/referrers/${subject}`);
    await sleep(TTL_SECONDS * 1_000);
    for (const [status, expected] of [
      [500, '502 UNKNOWN'],
      [429, '429 TOOMANYREQUESTS'],
      [403, '403 DENIED'],
    ] as const) {
      bench.upstream.clearFaults();
      bench.upstream.fault(when({}, { status, headers: { 'retry-after': '1' } }));
      const fresh = await bench.another();
      const stale = await fresh.get(`${app}/referrers/${subject}`);
      assert.deepEqual(digestsIn(stale), [shaOf('a')], String(status));
      assert.match(String(stale.headers.warning), /^111 entrepot /);
      const told = errorOf(await (await bench.another()).get(`${app}/referrers/${shaOf(`new ${status}`)}`));
      assert.equal(`${told.status} ${told.code}`, expected);
    }
  });

  test('a list that is none is refused, and what it names is not believed', async () => {
    const bodies = [
      Buffer.from('not JSON'),
      Buffer.from('{}'),
      indexOf({ mediaType: OCI_MANIFEST, digest: 'sha256:abc', size: 1 }),
      indexOf({ mediaType: OCI_MANIFEST, digest: shaOf('x'), size: -1 }),
    ];
    for (const [at, body] of bodies.entries()) {
      const of = shaOf(`broken ${at}`);
      withApi(of, body);
      assert.equal(errorOf(await bench.get(`${app}/referrers/${of}`)).code, 'MANIFEST_INVALID');
    }
  });

  test('all pages of the registry are one list', async () => {
    const many = noiseImage({ name: 'many' });
    const base = await bench.warm(many, 'team/many');
    const names = Array.from({ length: 25 }, (_, i) => `many ${i}`);
    const referrers = names.map((name) => referrer(name, COSIGN));
    bench.upstream.putReferrers('team/many', many.root.digest, referrers, 10);
    assert.deepEqual(digestsIn(await bench.get(`${base}/referrers/${many.root.digest}`)), sorted(...names));
    assert.deepEqual(asked(), ['GET referrers', 'GET referrers', 'GET referrers']);
    // One that goes on without an end is no list.
    const { upstream } = bench;
    let page = 0;
    const endless = shaOf('endless');
    upstream.putReferrers('team/many', endless, referrers);
    upstream.fault(when({ reference: endless }, () => ({ headers: { link: `<?page=${++page}>; rel="next"` } })));
    const told = await bench.get(`${base}/referrers/${endless}`);
    assert.deepEqual([told.status, errorOf(told).code], [502, 'UNKNOWN']);
  });

  test('what refers is pulled like any other manifest', async () => {
    const signature = noiseImage({ name: 'signature', layerBytes: [100] });
    const base = bench.offer(signature, 'team/app', 'sig');
    withApi(subject, indexOf({ ...signature.root, artifactType: COSIGN }));
    const [one] = listed(await bench.get(`${base}/referrers/${subject}`)).manifests;
    assert.ok(one !== undefined);
    const told = await bench.get(`${base}/manifests/${signature.root.digest}`);
    assert.equal(told.status, 200);
    const [layer] = [...signature.blobs].find(([, bytes]) => bytes.byteLength === 100)!;
    assert.equal((await bench.follow(`${base}/blobs/${layer}`)).at(-1)!.body.byteLength, 100);
  });
});
