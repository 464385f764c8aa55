import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { setTimeout as sleep } from 'node:timers/promises';
import { after, before, beforeEach, describe, test } from 'node:test';
import { allImages } from '../../../lib/images/images.ts';
import { digestOf, type Digest } from '../../../lib/oci/digest.ts';
import { OCTET_STREAM } from '../../../lib/oci/media-type.ts';
import { listing, noise, noiseImage, noiseLayer, upstreamImage } from '../../support/images.ts';
import { loseContent } from '../../support/lost-content.ts';
import { itemsOf, rowsOf } from '../../support/table-rows.ts';
import { forever } from '../../support/table-under-test.ts';
import { until } from '../../support/until.ts';
import { startUpstream, times, when, type Action, type TestUpstream } from '../../support/upstream/upstream.ts';
import { answerFetch, remoteFetcher } from '../../../lib/serve/fetch-document.ts';
import { upstreamFetcher } from '../../../lib/serve/upstream-fetcher.ts';
import { doorOf, quietCall } from './transport-under-test.ts';
import { errorOf, refusalOf, REGISTRY, startServeBench, type ServeBench, type Told } from './serve-bench.ts';

/** Anyone on the internet can have what it gives. */
const PUBLIC = 'public.example.test';
/** With a password: what it gives is its own. */
const PRIVATE = 'private.example.test';
const LOGIN = { username: 'alice', password: 'the secret of alice' };
/** Everything that a pull may bring. */
const MOST_BYTES = 300_000;
/** Questions about what nothing here names, at the same time. */
const MOST_QUESTIONS = 8;

let bench: ServeBench;
let company: TestUpstream;

before(async () => {
  company = await startUpstream({ auth: { kind: 'basic', users: { [LOGIN.username]: LOGIN.password } } });
  bench = await startServeBench({
    registries: ({ origin }) => ({
      [PRIVATE]: { endpoint: company.origin, credentials: 'docker' },
      [PUBLIC]: { endpoint: origin, credentials: 'none', public: true },
    }),
    limits: { totalBytes: MOST_BYTES, manifestBytes: 65_536 },
    serve: { waiting: 60 },
  });
  const logins = JSON.stringify({ auths: { [PRIVATE]: LOGIN } });
  await writeFile(join(bench.cache.environment.DOCKER_CONFIG!, 'config.json'), logins);
});
after(async () => {
  await bench[Symbol.asyncDispose]();
  await company.close();
});
beforeEach(() => {
  bench.patienceMs = 20_000;
  for (const upstream of [bench.upstream, company]) {
    upstream.clearFaults();
    upstream.requests.length = 0;
  }
});

interface Offered {
  readonly path: string;
  readonly digest: Digest;
  readonly bytes: Buffer;
}

/** The registry has the blob; no manifest names it. */
function offered(
  name: string,
  size = 3_000,
  { at = bench.upstream, registry = REGISTRY, repository = 'team/blobs' } = {},
): Offered {
  const bytes = Buffer.from(noise(size, name));
  const digest = at.putBlob(repository, bytes) as Digest;
  return { path: `/v2/${registry}/${repository}/blobs/${digest}`, digest, bytes };
}

const requestsFor = ({ digest }: Offered, upstream = bench.upstream): string[] =>
  upstream.requests.filter(({ reference }) => reference === digest).map(({ method, kind }) => `${method} ${kind}`);

function assertBytes(all: readonly Told[], { bytes }: Offered): void {
  const { status, body } = all.at(-1)!;
  assert.equal(status, 200, body.toString().slice(0, 300));
  assert.ok(body.equals(bytes));
}

const linkOf = async ({ digest }: Offered, repository = 'team/blobs', registry = REGISTRY) =>
  (await bench.services.catalog.findLinks({ registry, path: repository }, [digest], forever)).get(digest);

/** All that is kept: rows of the table but those of pulls and locks, which end by themselves; objects of the bucket. */
async function kept(): Promise<{ rows: string[]; objects: number }> {
  const { KeyCount = 0 } = await bench.s3.send(new ListObjectsV2Command({ Bucket: bench.stack.bucket }));
  return { rows: await rowsOf(bench.stack), objects: KeyCount };
}

/** One half of it comes, the other when the test calls what this returns. */
function hold({ digest }: Offered): () => void {
  const { promise: restAfter, resolve } = Promise.withResolvers<undefined>();
  bench.upstream.fault(when({ kind: 'blob', method: 'GET', reference: digest }, { restAfter }));
  return () => resolve(undefined);
}

describe('a blob that no manifest here names', { concurrency: false }, () => {
  test('is brought by HEAD and GET, linked and served; it is no image, and nothing else stays', async () => {
    const blob = offered('alone');
    const before = await kept();
    assertBytes(await bench.follow(blob.path), blob);
    await bench.settled();
    assert.deepEqual(requestsFor(blob), ['HEAD blob', 'GET blob']);
    assert.equal(bench.upstream.requests.length, 2);
    assert.deepEqual(await linkOf(blob), { mediaType: OCTET_STREAM, digest: blob.digest, size: blob.bytes.byteLength });
    const passing = /^(?:PULL|ACTIVE|LOCK)#/;
    const rows = (await kept()).rows.filter((row) => !before.rows.includes(row) && !passing.test(row));
    const name = `${REGISTRY}/team/blobs`;
    assert.deepEqual(rows, [`BLOB#${blob.digest} BLOB`, `LINK#${name} ${blob.digest}`, `REPO ${name}`]);
    for (const row of await itemsOf(bench.stack)) {
      if (passing.test(row.pk)) assert.equal(typeof row.expiresSeconds, 'number', row.pk);
    }
    const reference = `${name}@${blob.digest}`;
    assert.equal((await bench.cache.validate(reference)).state, 'unknown');
    const images = await Array.fromAsync(allImages(bench.services.catalog, forever));
    assert.ok(images.every(({ reference: { repository } }) => repository.path !== 'team/blobs'));

    // And again, here and in another process, without its registry.
    for (const process of [bench, await bench.another()]) {
      assertBytes(await process.follow(blob.path), blob);
      assert.equal((await process.head(blob.path)).headers['content-length'], String(blob.bytes.byteLength));
    }
    assert.equal(bench.upstream.requests.length, 2);
  });

  test('HEAD says its size by the word of the registry and brings nothing; GET does not ask for the size again', async () => {
    const blob = offered('head first');
    const before = await kept();
    const head = await bench.head(blob.path);
    assert.deepEqual([head.status, head.headers['content-length']], [200, String(blob.bytes.byteLength)]);
    assert.equal(head.headers['docker-content-digest'], blob.digest);
    assert.deepEqual(await kept(), before);
    assertBytes(await bench.follow(blob.path), blob);
    assert.deepEqual(requestsFor(blob), ['HEAD blob', 'GET blob']);
  });

  test('is asked for and copied once for all who ask at once, in two processes', async () => {
    const blob = offered('at once');
    const other = await bench.another();
    const clients = Array.from({ length: 12 }, (_, i) => (i % 2 === 0 ? bench : other).follow(blob.path));
    for (const all of await Promise.all(clients)) assertBytes(all, blob);
    assert.equal(bench.upstream.count({ method: 'GET', reference: blob.digest }), 1);
    // One for each process, and one more where a client comes between the row of the blob and its link.
    assert.ok(bench.upstream.count({ method: 'HEAD', reference: blob.digest }) <= 4);
  });

  test('is not made up: 404 leaves nothing, and the registry is not asked again for a while', async () => {
    const process = await bench.another(bench.services, { sizeMs: 1_500 });
    const before = await kept();
    const digests = Array.from({ length: 20 }, (_, i) => digestOf(Buffer.from(`made up ${i}`)));
    const pathOf = (digest: Digest): string => `/v2/${REGISTRY}/team/blobs/blobs/${digest}`;
    const ask = (digest: Digest): Promise<Told> => process.get(pathOf(digest));
    const askedMs = Date.now();
    const told = await Promise.all(digests.flatMap((digest) => [ask(digest), ask(digest)]));
    for (const one of told) {
      assert.equal(refusalOf(one), '404 BLOB_UNKNOWN');
      assert.ok(!errorOf(one).message.includes(bench.upstream.host), 'no host of the configuration');
    }
    const askedOnce = bench.upstream.requests.length;
    // A HEAD is a hint, and a GET says that there is none.
    assert.equal(askedOnce, 2 * digests.length);
    const [first] = digests as [Digest];
    assert.equal((await process.head(pathOf(first))).status, 404);
    if (Date.now() - askedMs < 1_500) assert.equal(bench.upstream.requests.length, askedOnce);
    await process.settled();
    assert.deepEqual(await kept(), before);

    // Somebody pushes it.
    bench.upstream.putBlob('team/blobs', Buffer.from('made up 0'));
    await until(async () => (await process.head(pathOf(first))).status === 200, 10_000);
    assert.equal((await process.follow(pathOf(first))).at(-1)!.body.toString(), 'made up 0');
  });

  test('more at once than may be asked about wait for their turn; where the registry is silent they are told so', async () => {
    const blobs = Array.from({ length: 3 * MOST_QUESTIONS }, (_, i) => offered(`many ${i}`, 100));
    let [now, most] = [0, 0];
    bench.upstream.fault((request) => {
      if (request.method !== 'HEAD') return undefined;
      most = Math.max(most, ++now);
      setTimeout(() => (now -= 1), 90);
      return { delayMs: 100 };
    });
    const all = await Promise.all(blobs.map(({ path }) => bench.follow(path)));
    blobs.forEach((blob, i) => assertBytes(all[i]!, blob));
    assert.ok(most <= MOST_QUESTIONS, `${most} at the same time`);

    const process = await bench.another(bench.services, { permitMs: 300 });
    bench.upstream.clearFaults();
    bench.upstream.fault(when({ kind: 'blob' }, { delayMs: 3_000 }));
    const silent = Array.from({ length: MOST_QUESTIONS }, (_, i) => offered(`silent ${i}`, 100));
    const asked = bench.upstream.requests.length;
    const waiting = silent.map(({ path }) => process.head(path));
    await until(() => bench.upstream.requests.length === asked + MOST_QUESTIONS, 10_000);
    const turnedAway = await process.get(offered('one too many', 100).path);
    assert.equal(refusalOf(turnedAway), '429 TOOMANYREQUESTS');
    assert.match(String(turnedAway.headers['retry-after']), /^[1-9]\d*$/);
    // Another registry answers meanwhile.
    const elsewhere = offered('of another registry', 100, { at: company, registry: PRIVATE });
    assertBytes(await process.follow(elsewhere.path), elsewhere);
    for (const one of await Promise.all(waiting)) assert.equal(one.status, 200);
  });

  test('by SHA-512', async () => {
    const bytes = Buffer.from(noise(5_000, 'by sha512'));
    const digest = digestOf(bytes, 'sha512');
    bench.upstream.putBlob('team/blobs', bytes, digest);
    const blob = { path: `/v2/${REGISTRY}/team/blobs/blobs/${digest}`, digest, bytes };
    assertBytes(await bench.follow(blob.path), blob);
    assert.deepEqual(requestsFor(blob), ['HEAD blob', 'GET blob']);
  });

  test('of no bytes', async () => {
    const blob = offered('empty', 0);
    assert.equal((await bench.head(blob.path)).headers['content-length'], '0');
    assertBytes(await bench.follow(blob.path), blob);
  });
});

describe('what a registry says of a blob alone', { concurrency: false }, () => {
  const heads: { name: string; action: Action }[] = [
    { name: '405', action: { status: 405 } },
    { name: '400', action: { status: 400 } },
    { name: '403', action: { status: 403 } },
    { name: '404, as a cache of its own that has it not yet', action: { status: 404 } },
    { name: '500', action: { status: 500 } },
    { name: 'a broken connection', action: { reset: true } },
    { name: 'no length', action: { chunked: true } },
    { name: 'a length of 0', action: { headers: { 'content-length': '0' } } },
    { name: 'a length that is none', action: { headers: { 'content-length': undefined, 'x-length': 'many' } } },
    { name: 'a redirect', action: { status: 307, headers: { location: '/elsewhere' } } },
  ];
  for (const [at, { name, action }] of heads.entries()) {
    test(`HEAD says ${name}: GET decides`, async () => {
      const blob = offered(`head ${at}`);
      bench.upstream.fault(when({ method: 'HEAD', reference: blob.digest }, action));
      assertBytes(await bench.follow(blob.path), blob);
    });
  }

  test('no length at all: it is counted where it is small, else refused, and not for what is missing', async () => {
    for (const method of ['HEAD', 'GET']) bench.upstream.fault(when({ method, kind: 'blob' }, { chunked: true }));
    const small = offered('counted');
    assert.equal((await bench.head(small.path)).headers['content-length'], String(small.bytes.byteLength));
    assertBytes(await bench.follow(small.path), small);
    const large = offered('not counted', 200_000);
    const told = await bench.get(large.path);
    assert.equal(refusalOf(told), '422 UNKNOWN');
    assert.match(errorOf(told).message, /does not say how large it is/);
  });

  test('a Content-Encoding: the digest tells whether it is a label or a coding, and the size is that of the blob', async () => {
    const label = { 'content-encoding': 'gzip' };
    const labelled = offered('labelled');
    bench.upstream.fault(when({ kind: 'blob', reference: labelled.digest }, { headers: label }));
    const bytes = Buffer.alloc(9_000, 'text');
    const digest = bench.upstream.putBlob('team/blobs', bytes) as Digest;
    const coded = { path: `/v2/${REGISTRY}/team/blobs/blobs/${digest}`, digest, bytes };
    bench.upstream.fault(when({ kind: 'blob', reference: digest }, { headers: label, body: gzipSync(bytes) }));
    for (const blob of [labelled, coded]) {
      assert.equal((await bench.head(blob.path)).headers['content-length'], String(blob.bytes.byteLength));
      assertBytes(await bench.follow(blob.path), blob);
    }
  });

  test('more bytes than a pull may bring: refused, and none of them is asked for', async () => {
    const blob = offered('too large', MOST_BYTES + 1);
    for (const method of ['GET', 'HEAD', 'GET']) {
      const told = await bench.ask(blob.path, { method });
      assert.equal(told.status, 422);
      if (method === 'GET') assert.match(errorOf(told).message, /larger than the cache may take/);
    }
    assert.deepEqual(requestsFor(blob), ['HEAD blob']);
    const most = offered('just not too large', MOST_BYTES);
    assertBytes(await bench.follow(most.path), most);
  });

  test('a lie about its length: nothing is kept, and the next request brings it', async () => {
    const blob = offered('lied about');
    bench.upstream.fault(when({ method: 'HEAD', reference: blob.digest }, { headers: { 'content-length': '12' } }));
    const told = await bench.get(blob.path);
    assert.ok(told.status >= 500, told.body.toString());
    assert.equal(await linkOf(blob), undefined);
    await bench.settled();
    bench.upstream.clearFaults();
    const process = await bench.another();
    assertBytes(await process.follow(blob.path), blob);
  });

  test('wrong bytes of the right length: never served, and mended by the next try', async () => {
    const blob = offered('wrong bytes');
    const wrong = Buffer.from(noise(blob.bytes.byteLength, 'others'));
    bench.upstream.fault(when({ method: 'GET', reference: blob.digest }, { body: wrong }));
    assert.equal(refusalOf(await bench.get(blob.path)), '502 UNKNOWN');
    await bench.settled();
    assert.equal(await linkOf(blob), undefined);
    bench.upstream.clearFaults();
    assertBytes(await bench.follow(blob.path), blob);
  });

  test('that it cannot say: that is not "absent" (I6), and the next who asks after a moment gets it', async () => {
    const cases: [Action, string][] = [
      [{ status: 401 }, '403 DENIED'],
      [{ status: 403 }, '403 DENIED'],
      [{ status: 500 }, '502 UNKNOWN'],
      [{ reset: true }, '502 UNKNOWN'],
    ];
    for (const [action, refusal] of cases) {
      const blob = offered(JSON.stringify(action));
      bench.upstream.fault(when({ kind: 'blob', reference: blob.digest }, action));
      const process = await bench.another();
      assert.equal(refusalOf(await process.get(blob.path)), refusal);
      assert.equal((await process.head(blob.path)).status, Number(refusal.slice(0, 3)));
      bench.upstream.clearFaults();
      const other = await bench.another();
      assertBytes(await other.follow(blob.path), blob);
    }
    // Of a registry that limits us nothing is asked for as long as it says.
    const limited = offered('limited');
    const process = await bench.another();
    bench.upstream.fault(
      when({ kind: 'blob', reference: limited.digest }, { status: 429, headers: { 'retry-after': '7' } }),
    );
    const told = await process.get(limited.path);
    assert.equal(refusalOf(told), '429 TOOMANYREQUESTS');
    assert.ok(Number(told.headers['retry-after']) >= 5);
  });

  test('that it is somewhere else: redirects are followed for its bytes', async () => {
    const blob = offered('at a CDN', 10_000);
    const location = `${bench.upstream.origin}/storage/${blob.digest}`;
    bench.upstream.fault(
      when({ kind: 'blob', reference: blob.digest }, { status: 307, body: Buffer.alloc(0), headers: { location } }),
    );
    bench.upstream.fault((request) =>
      request.path.startsWith('/storage/')
        ? { status: 200, body: blob.bytes, headers: { 'content-type': OCTET_STREAM } }
        : undefined,
    );
    assertBytes(await bench.follow(blob.path), blob);
  });
});

describe('knowing the digest of a blob is not owning it (I9)', { concurrency: false }, () => {
  test('what the cache has of others is not found by its digest alone, and nothing tells that it is there', async () => {
    const secret = offered('secret of the company', 4_000, { at: company, registry: PRIVATE });
    assertBytes(await bench.follow(secret.path), secret);
    const elsewhere = `/v2/${REGISTRY}/team/thief/blobs/${secret.digest}`;
    const unknown = `/v2/${REGISTRY}/team/thief/blobs/${digestOf(Buffer.from('nobody has it'))}`;
    for (const method of ['GET', 'HEAD']) {
      const [told, other] = [await bench.ask(elsewhere, { method }), await bench.ask(unknown, { method })];
      assert.deepEqual([told.status, told.body.byteLength], [404, other.body.byteLength]);
    }
    // The same credential, and another repository, whose registry says that it has none.
    const sibling = `/v2/${PRIVATE}/team/sibling/blobs/${secret.digest}`;
    assert.equal(refusalOf(await bench.get(sibling)), '404 BLOB_UNKNOWN');
    // A repository that claims to have it, and gives something else.
    bench.upstream.putBlob('team/liar', noise(secret.bytes.byteLength, 'anything'), secret.digest);
    const liar = await bench.get(`/v2/${REGISTRY}/team/liar/blobs/${secret.digest}`);
    assert.equal(refusalOf(liar), '502 UNKNOWN');
    await bench.settled();
    for (const repository of ['team/thief', 'team/liar']) assert.equal(await linkOf(secret, repository), undefined);
    assert.equal(await linkOf(secret, 'team/sibling', PRIVATE), undefined);
  });

  test('a repository that proves it by its bytes gets it, and they are not stored twice', async () => {
    const shared = offered('of two registries', 4_000, { at: company, registry: PRIVATE });
    assertBytes(await bench.follow(shared.path), shared);
    const { objects } = await kept();
    const also = offered('of two registries', 4_000, { repository: 'team/also' });
    assertBytes(await bench.follow(also.path), also);
    await bench.settled();
    assert.deepEqual(requestsFor(also), ['HEAD blob', 'GET blob']);
    assert.equal((await kept()).objects, objects);
  });

  test('what anyone can have is not copied again, and only where the registry has it for the repository', async () => {
    const shared = offered('of the internet', 4_000, { registry: PUBLIC });
    assertBytes(await bench.follow(shared.path), shared);
    const also = offered('of the internet', 4_000, { registry: PUBLIC, repository: 'team/also' });
    bench.upstream.requests.length = 0;
    assertBytes(await bench.follow(also.path), also);
    assert.deepEqual(requestsFor(also), ['HEAD blob']);
    assert.notEqual(await linkOf(also, 'team/also', PUBLIC), undefined);
    const not = `/v2/${PUBLIC}/team/not/blobs/${shared.digest}`;
    for (const path of [not, `${not}?hop=1`]) assert.equal(refusalOf(await bench.get(path)), '404 BLOB_UNKNOWN');
    assert.equal(await linkOf(shared, 'team/not', PUBLIC), undefined);
  });

  test('one credential, another repository that has it: a HEAD confirms it, and nothing is copied', async () => {
    const shared = offered('of one registry', 4_000, { at: company, registry: PRIVATE });
    assertBytes(await bench.follow(shared.path), shared);
    const also = offered('of one registry', 4_000, { at: company, registry: PRIVATE, repository: 'team/also' });
    company.requests.length = 0;
    assertBytes(await bench.follow(also.path), also);
    assert.equal(company.count({ method: 'GET', reference: also.digest }), 0);
  });
});

describe('a blob alone, and manifests', { concurrency: false }, () => {
  test('an image that names it is pulled later without copying it, and is whole', async () => {
    const image = noiseImage({ name: 'named later', layerBytes: [7_000, 8_000] });
    const base = bench.offer(image, 'team/later');
    const [layer, bytes] = [...image.blobs].find(([, { byteLength }]) => byteLength === 7_000)!;
    assert.ok((await bench.follow(`${base}/blobs/${layer}`)).at(-1)!.body.equals(Buffer.from(bytes)));
    await bench.settled();
    const receipt = await bench.cache.pull(`${REGISTRY}/team/later:v1`);
    assert.deepEqual([receipt.blobs.present, receipt.blobs.total], [1, image.blobs.size]);
    assert.equal(bench.upstream.count({ method: 'GET', reference: layer }), 1);
    assert.equal((await bench.cache.validate(`${REGISTRY}/team/later:v1`, { deep: true })).state, 'complete');
    const named = (
      await bench.services.catalog.findLinks({ registry: REGISTRY, path: 'team/later' }, [layer], forever)
    ).get(layer);
    assert.notEqual(named?.neededBy, undefined);
  });

  test('the digest of a manifest, at a registry that gives it as a blob, too: it is both, and the image is pulled as a whole', async () => {
    const image = noiseImage({ name: 'manifest as blob' });
    const base = bench.offer(image, 'team/both');
    const { digest } = image.root;
    const { bytes } = image.manifests.get(digest)!;
    bench.upstream.putBlob('team/both', bytes);
    assert.ok((await bench.follow(`${base}/blobs/${digest}`)).at(-1)!.body.equals(Buffer.from(bytes)));
    await bench.settled();
    const told = await bench.get(`${base}/manifests/${digest}`);
    assert.deepEqual([told.status, told.headers['content-type']], [200, image.root.mediaType]);
    await bench.settled();
    for (const one of [`${REGISTRY}/team/both@${digest}`, `${REGISTRY}/team/both:v1`]) {
      await bench.cache.pull(one);
      assert.equal((await bench.cache.validate(one, { deep: true })).state, 'complete');
    }
    for (const layer of image.blobs.keys())
      assert.equal((await bench.follow(`${base}/blobs/${layer}`)).at(-1)!.status, 200);
    assert.equal((await bench.follow(`${base}/blobs/${digest}`)).at(-1)!.status, 200);
  });

  test('the digest of a blob asked for as a manifest is none, cached or not', async () => {
    const blob = offered('no manifest');
    assertBytes(await bench.follow(blob.path), blob);
    const told = await bench.get(`/v2/${REGISTRY}/team/blobs/manifests/${blob.digest}`);
    assert.equal(refusalOf(told), '404 MANIFEST_UNKNOWN');
    await assert.rejects(bench.cache.pull(`${REGISTRY}/team/blobs@${blob.digest}`), { name: 'ManifestUnknownError' });
  });

  test('an entry of an index that does not say what it is: a manifest is read as one, though a client had it as a blob before', async () => {
    const child = noiseImage({ name: 'untyped child' });
    const { bytes, mediaType: contentType } = child.root;
    const index = listing([{ bytes, as: 'manifest', contentType }]);
    const base = bench.offer({ ...index, blobs: child.blobs }, 'team/untyped');
    bench.upstream.putBlob('team/untyped', bytes);
    assert.equal((await bench.follow(`${base}/blobs/${child.root.digest}`)).at(-1)!.status, 200);
    await bench.settled();
    const receipt = await bench.cache.pull(`${REGISTRY}/team/untyped:v1`);
    assert.equal(receipt.blobs.total, child.blobs.size);
    for (const layer of child.blobs.keys())
      assert.equal((await bench.follow(`${base}/blobs/${layer}`)).at(-1)!.status, 200);
  });
});

describe('a blob alone, in time', { concurrency: false }, () => {
  test('a client that waits is sent back, and the registry is not asked for that; Range goes along to the bytes', async () => {
    const blob = offered('slow', 100_000);
    const comes = hold(blob);
    bench.patienceMs = 500;
    const [whole, part] = [bench.follow(blob.path), bench.follow(blob.path, { range: 'bytes=1000-1999' })];
    await sleep(1_400);
    comes();
    const [all, ranged] = await Promise.all([whole, part]);
    assertBytes(all, blob);
    assert.ok(all.length >= 4, 'hops');
    const { status, headers, body } = ranged.at(-1)!;
    assert.deepEqual([status, headers['content-range']], [206, 'bytes 1000-1999/100000']);
    assert.ok(body.equals(blob.bytes.subarray(1_000, 2_000)));
    assert.deepEqual(requestsFor(blob), ['HEAD blob', 'GET blob']);
  });

  test('the first request may have a Range of any form', async () => {
    const forms: [string, number, (bytes: Buffer) => Buffer][] = [
      ['bytes=0-', 206, (bytes) => bytes],
      ['bytes=0-0', 206, (bytes) => bytes.subarray(0, 1)],
      ['bytes=1500-', 206, (bytes) => bytes.subarray(1_500)],
      ['bytes=-100', 206, (bytes) => bytes.subarray(-100)],
      ['bytes=100-99999', 206, (bytes) => bytes.subarray(100)],
      ['items=1-2', 200, (bytes) => bytes],
    ];
    for (const [range, expected, part] of forms) {
      const blob = offered(`cold ${range}`);
      const { status, headers, body } = (await bench.follow(blob.path, { range })).at(-1)!;
      assert.equal(status, expected, range);
      assert.ok(body.equals(part(blob.bytes)), range);
      assert.equal(headers['accept-ranges'], 'bytes');
      // The whole blob was asked for upstream, and only once.
      assert.equal(bench.upstream.requests.filter(({ headers: sent }) => sent.range !== undefined).length, 0);
    }
    const past = offered('past its end');
    assert.equal((await bench.follow(past.path, { range: 'bytes=3000-' })).at(-1)!.status, 416);
    assertBytes(await bench.follow(past.path), past);
  });

  test('bytes that vanish from the store come again', async () => {
    const blob = offered('vanishes');
    assertBytes(await bench.follow(blob.path), blob);
    await bench.settled();
    await bench.deleteObject(blob.digest);
    assert.equal(await loseContent(bench.services.pull, blob.digest), true);
    assertBytes(await (await bench.another()).follow(blob.path), blob);
    // Nobody says so; the client comes back.
    const process = await bench.another();
    await bench.deleteObject(blob.digest);
    assert.equal((await process.follow(blob.path)).at(-1)!.status, 404);
    assertBytes(await process.follow(blob.path), blob);
  });

  test('a process that dies in the middle: the next goes on', async () => {
    const blob = offered('killed', 100_000);
    const dying = await bench.another();
    const comes = hold(blob);
    const left = new AbortController();
    const asked = dying.ask(blob.path, { signal: left.signal });
    await until(() => bench.upstream.count({ method: 'GET', reference: blob.digest }) === 1, 10_000);
    left.abort();
    await assert.rejects(asked);
    await dying[Symbol.asyncDispose]();
    bench.upstream.clearFaults();
    assertBytes(await bench.follow(blob.path), blob);
    comes();
  });

  test('a registry that fails once is asked again within the same request', async () => {
    const blob = offered('fails once');
    bench.upstream.fault(times(1, when({ method: 'GET', reference: blob.digest }, { status: 503 })));
    assertBytes(await bench.follow(blob.path), blob);
  });

  test('what the registry takes back after its HEAD is 404, and is not tried again for a minute', async () => {
    const blob = offered('taken back');
    bench.upstream.fault(when({ method: 'GET', reference: blob.digest }, { status: 404 }));
    assert.equal(refusalOf(await bench.get(blob.path)), '404 BLOB_UNKNOWN');
    await bench.settled();
    const asked = bench.upstream.requests.length;
    assert.equal(refusalOf(await bench.get(blob.path)), '404 BLOB_UNKNOWN');
    assert.equal(bench.upstream.requests.length, asked);
  });
});

describe('the registry is asked by another function', { concurrency: false }, () => {
  /** As JSON, there and back. */
  const elsewhere = () => {
    const { pull } = bench.services;
    const inProcess = upstreamFetcher(pull);
    return remoteFetcher(async (question) => {
      const heard: unknown = JSON.parse(JSON.stringify(question));
      return JSON.parse(JSON.stringify(await answerFetch(inProcess, heard, quietCall, pull.requireAllowed))) as unknown;
    });
  };

  test('what it says is what the client gets: the size, the bytes, that there is none, or that it is too large', async () => {
    const ask = doorOf(bench, { fetcher: elsewhere() });
    const blob = offered('by fetch');
    const head = await ask('HEAD', blob.path);
    assert.deepEqual([head.status, head.headers['content-length']], [200, String(blob.bytes.byteLength)]);
    const sentOn = await ask('GET', blob.path);
    assert.equal(sentOn.status, 307);
    assertBytes(await bench.follow(sentOn.headers.location!), blob);
    assert.deepEqual(requestsFor(blob), ['HEAD blob', 'GET blob']);

    const large = offered('too large by fetch', MOST_BYTES + 1);
    const none = `/v2/${REGISTRY}/team/blobs/blobs/${digestOf(Buffer.from('none by fetch'))}`;
    for (const [path, status, words] of [
      [large.path, 422, /larger than the cache may take/],
      [none, 404, /its registry has no such blob/],
    ] as const) {
      const answer = await ask('GET', path);
      const text = Buffer.from(answer.body ?? []).toString();
      assert.equal(answer.status, status, text);
      assert.match(text, words);
      assert.ok(!text.includes(bench.upstream.host));
      assert.equal((await ask('HEAD', path)).status, status);
    }
    assert.equal(bench.upstream.requests.length, 2 + 1 + 2, 'each answer is remembered');
  });
});

test('an image of which the client has the manifest already: all its blobs at once, each by itself', async () => {
  const image = noiseImage({
    name: 'own manifest',
    layerBytes: Array.from({ length: 20 }, (_, i) => 2_000 + i),
    sharedLayers: [noiseLayer(50, 'x')],
  });
  bench.upstream.addImage('team/own', upstreamImage(image, 'v1'));
  const base = `/v2/${REGISTRY}/team/own`;
  const told = await Promise.all([...image.blobs.keys()].map((digest) => bench.follow(`${base}/blobs/${digest}`)));
  [...image.blobs.values()].forEach((bytes, i) => assert.ok(told[i]!.at(-1)!.body.equals(Buffer.from(bytes))));
  assert.equal(bench.upstream.count({ kind: 'manifest' }), 0);
  assert.equal(bench.upstream.count({ kind: 'blob', method: 'GET' }), image.blobs.size);
});
