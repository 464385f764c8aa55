import { DeleteObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { AccessRule } from '../../../lib/access/access.ts';
import { pullLeaseName } from '../../../lib/table/keys.ts';
import { formatImageCursor, type ImagesDocument } from '../../../lib/http/control/images.ts';
import type { Problem } from '../../../lib/http/problem.ts';
import { acquire } from '../../../lib/lock/lease.ts';
import { hexOf, type Digest } from '../../../lib/oci/digest.ts';
import type { CachedImage } from '../../../lib/images/images.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { rebuild } from '../../../lib/repair/rebuild.ts';
import { blobObjectKey } from '../../../lib/store/keys.ts';
import type { Validation } from '../../../lib/repair/validate.ts';
import { openCache, rawS3, startBench, type Bench, type TestCache } from '../../support/cache.ts';
import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { multiArchImage, noiseImage, upstreamImage } from '../../support/images.ts';
import { startUpstream, type TestUpstream } from '../../support/upstream/upstream.ts';
import { api, signedBy, type Ask } from './api-bench.ts';

const REGISTRY = 'registry.example.test';

let bench: Bench;
let upstream: TestUpstream;
let s3Proxy: FaultProxy;
let cache: TestCache;
let s3: S3Client;
let ask: Ask;

/** Sorted as the list is: `secret` lies between what everybody may see. */
const NAMES = ['a/app', 'b/app', 'secret/one', 'secret/two', 'z/app'];
const TAGS = ['v1', 'v2', 'v3'];

before(async () => {
  bench = await startBench();
  upstream = await bench.use(startUpstream());
  s3Proxy = await bench.use(startFaultProxy(bench.stack.s3Endpoint));
  const registries = { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none' } };
  cache = await bench.use(openCache(bench.stack, { registries, s3Endpoint: s3Proxy.endpoint }));
  s3 = rawS3(bench.stack);
  ask = api(cache.services);
  const pulled = NAMES.map(async (name) => {
    upstream.addImage(name, upstreamImage(noiseImage({ name }), ...TAGS));
    for (const tag of TAGS) await cache.pull(`${REGISTRY}/${name}:${tag}`);
  });
  await Promise.all(pulled);
});
after(async () => {
  s3.destroy();
  await bench[Symbol.asyncDispose]();
});

/** All pages from the first to the last, and how many there were. */
async function list(door: Ask, query: Record<string, string>, authorizer?: object) {
  const references: string[] = [];
  let next: string | null = '';
  for (let pages = 1; pages <= 50; pages++) {
    const asked = new URLSearchParams({ ...query, ...(next === '' ? {} : { next }) }).toString();
    const { status, body, text } = await door({
      path: '/v1/images',
      query: asked,
      ...(authorizer === undefined ? {} : { authorizer }),
    });
    assert.equal(status, 200, text);
    const page = body as ImagesDocument;
    references.push(...page.images.map(({ reference }) => reference));
    next = page.next;
    if (next === null) return { references, pages };
  }
  throw new Error('a list without end');
}

const namesOf = (...names: string[]) => names.flatMap((name) => TAGS.map((tag) => `${REGISTRY}/${name}:${tag}`));

describe('GET /v1/images', () => {
  test('lists everything once, in pages of any size', async () => {
    for (const limit of [1, 4, 14, 15, 16]) {
      const { references, pages } = await list(ask, { limit: String(limit) });
      assert.deepEqual(references, namesOf(...NAMES), `limit ${limit}`);
      assert.equal(pages, Math.ceil(15 / limit), `limit ${limit}`);
    }
  });

  test('lists one repository', async () => {
    const { references, pages } = await list(ask, { limit: '2', repository: `${REGISTRY}/b/app` });
    assert.deepEqual(references, namesOf('b/app'));
    assert.equal(pages, 2);
    assert.deepEqual((await list(ask, { repository: `${REGISTRY}/b/ap` })).references, []);
  });

  test('says of each image what it is', async () => {
    const { body } = await ask({ path: '/v1/images', query: 'limit=1' });
    const [image] = (body as ImagesDocument).images;
    assert.ok(image !== undefined);
    assert.equal(image.resolved, image.digest);
    assert.deepEqual(
      image.platforms.map(({ platform, complete }) => [platform, complete]),
      [['linux/amd64', true]],
    );
    assert.ok(image.size !== null && image.size > 3_000);
    assert.ok(Math.abs(Date.parse(image.checkedAt ?? '') - Date.now()) < 60_000);
  });

  test('shows a caller what it may use, and neither names nor gaps of the rest', async () => {
    const rules: AccessRule[] = [
      { callers: ['arn:aws:iam::123456789012:role/dev'], repositories: [`${REGISTRY}/[abz]/**`] },
    ];
    const limited = api(cache.services, { rules });
    const dev = signedBy('arn:aws:sts::123456789012:assumed-role/dev/x');
    for (const limit of ['1', '6', '9']) {
      const { references, pages } = await list(limited, { limit }, dev);
      assert.deepEqual(references, namesOf('a/app', 'b/app', 'z/app'));
      assert.equal(pages, Math.ceil(9 / Number(limit)), 'no page is empty for what is hidden');
    }
    const stranger = signedBy('arn:aws:sts::123456789012:assumed-role/other/x');
    assert.deepEqual(await list(limited, {}, stranger), { references: [], pages: 1 });
  });

  test('a cursor is no way in: what it names is checked as well', async () => {
    const rules: AccessRule[] = [{ callers: ['**'], repositories: [`${REGISTRY}/a/**`] }];
    const limited = api(cache.services, { rules });
    const secret = parseReference(`${REGISTRY}/secret/one`).repository;
    const next = formatImageCursor({ repository: secret, pointer: 'a' }, undefined);
    const { status, body } = await limited({ path: '/v1/images', query: `next=${next}` });
    assert.deepEqual([status, body], [200, { images: [], next: null }]);
    const within = formatImageCursor({ repository: secret, pointer: 'a' }, secret);
    const query = `next=${within}&repository=${REGISTRY}/secret/one`;
    assert.equal((await limited({ path: '/v1/images', query })).status, 403);
  });

  test('refuses what makes no sense, by its field', async () => {
    const cases: [string, string][] = [
      ['limit=0', 'limit'],
      ['limit=101', 'limit'],
      ['limit=1e2', 'limit'],
      ['limit=', 'limit'],
      ['limit=1&limit=2', 'limit'],
      ['next=abc', 'next'],
      ['next=', 'next'],
      ['repository=alpine:3', 'repository'],
      [`repository=alpine@sha256:${'a'.repeat(64)}`, 'repository'],
      ['repository=UPPER', 'repository'],
      ['what=1', 'what'],
      ['reference=alpine&limit=1', 'limit'],
      ['reference=', 'reference'],
      ['reference=a%0d%0ax', 'reference'],
      [`x=${'a'.repeat(9_000)}`, 'query'],
    ];
    for (const [query, field] of cases) {
      const { status, body, text } = await ask({ path: '/v1/images', query });
      assert.equal(status, 400, query);
      assert.equal((body as Problem).field, field, text);
    }
  });
});

describe('GET /v1/images?reference=…', () => {
  test('tells of one image which platforms are complete', async () => {
    upstream.addImage('multi', upstreamImage(multiArchImage({ name: 'multi' }), 'v1'));
    const reference = `${REGISTRY}/multi:v1`;
    await cache.pull(reference, { platforms: ['linux/arm64'] });
    const { status, body } = await ask({ path: '/v1/images', query: `reference=${encodeURIComponent(reference)}` });
    assert.equal(status, 200);
    const image = body as CachedImage;
    assert.equal(image.reference, reference);
    assert.deepEqual(
      image.platforms.map(({ platform, complete }) => [platform, complete]),
      [
        ['linux/amd64', false],
        ['linux/arm64', true],
      ],
    );
  });

  test('404 for what is not cached, 403 for what may not be used', async () => {
    assert.equal((await ask({ path: '/v1/images', query: `reference=${REGISTRY}/multi:v2` })).status, 404);
    const limited = api(cache.services, { rules: [{ callers: ['**'], repositories: ['docker.io/**'] }] });
    for (const name of ['multi:v1', 'multi:v2', 'absent:v1']) {
      assert.equal((await limited({ path: '/v1/images', query: `reference=${REGISTRY}/${name}` })).status, 403);
    }
  });
});

describe('DELETE /v1/images?reference=…', () => {
  const remove = (reference: string, withinMs?: number) =>
    ask({
      method: 'DELETE',
      path: '/v1/images',
      query: `reference=${encodeURIComponent(reference)}`,
      ...(withinMs === undefined ? {} : { withinMs }),
    });
  const recordOf = async (name: string, pointer: string): Promise<boolean> => {
    const until = AbortSignal.timeout(5_000);
    return (await cache.services.pull.refs.find({ registry: REGISTRY, path: name, pointer }, until)) !== undefined;
  };
  const newImage = async (name: string): Promise<string> => {
    upstream.addImage(name, upstreamImage(noiseImage({ name }), 'v1', 'v2'));
    const reference = `${REGISTRY}/${name}:v1`;
    await cache.pull(reference);
    return reference;
  };

  test('takes the tag and its record, and leaves the content and other tags', async () => {
    const reference = await newImage('removed');
    await cache.pull(`${REGISTRY}/removed:v2`);
    assert.ok(await recordOf('removed', 'v1'));
    const { status, text, headers } = await remove(reference);
    assert.deepEqual([status, text, headers['content-type']], [204, '', undefined]);
    assert.ok(!(await recordOf('removed', 'v1')));
    assert.ok(await recordOf('removed', 'v2'));
    const rebuilt = await Array.fromAsync(rebuild(cache.services.pull, AbortSignal.timeout(20_000)));
    assert.ok(rebuilt.length > 0);
    assert.equal((await cache.validate(reference)).state, 'unknown', 'a rebuild does not bring it back');
    assert.equal((await cache.validate(`${REGISTRY}/removed:v2`, { deep: true })).state, 'complete');
    assert.equal((await remove(reference)).status, 404);

    upstream.requests.length = 0;
    assert.equal((await cache.pull(reference)).blobs.copied, 0);
    assert.equal(upstream.count({ kind: 'blob' }), 0);
    assert.ok(await recordOf('removed', 'v1'));
  });

  test('takes a pointer by digest', async () => {
    const { root } = noiseImage({ name: 'by-digest' });
    await newImage('by-digest');
    const reference = `${REGISTRY}/by-digest@${root.digest}`;
    await cache.pull(reference);
    assert.equal((await remove(reference)).status, 204);
    assert.equal((await remove(reference)).status, 404);
    assert.equal((await cache.validate(`${REGISTRY}/by-digest:v1`)).state, 'complete');
  });

  test('waits for the lock of a pull, and says when it did not get it', async () => {
    const reference = await newImage('locked');
    const name = pullLeaseName(parseReference(reference));
    const lock = await acquire(cache.services.pull.leases, name, AbortSignal.timeout(5_000));
    const refused = await remove(reference, 600);
    assert.equal(refused.status, 503);
    assert.match((refused.body as Problem).detail ?? '', /is being pulled/);
    assert.ok(refused.headers['retry-after']);
    assert.ok(await recordOf('locked', 'v1'));

    const waiting = remove(reference);
    await lock.release();
    assert.equal((await waiting).status, 204);
  });

  test('a removal that stopped half-way is ended by the next; names that nobody pulled leave nothing', async () => {
    const reference = await newImage('halfway');
    const key = `refs/${REGISTRY}/halfway/v1.json`;
    await s3.send(new DeleteObjectCommand({ Bucket: bench.stack.bucket, Key: key }));
    assert.equal((await remove(reference)).status, 204);
    assert.equal((await remove(`${REGISTRY}/never:v1`)).status, 404);
  });

  test('while the bucket cannot be reached the tag stays', { timeout: 300_000 }, async () => {
    const reference = await newImage('unreachable');
    s3Proxy.rules.push({
      method: 'PUT',
      path: /refs/,
      times: Infinity,
      action: { kind: 'answer', answer: { status: 503, body: '' } },
    });
    const { status } = await remove(reference);
    s3Proxy.rules.length = 0;
    assert.equal(status, 503);
    assert.equal((await cache.validate(reference)).state, 'complete');
    assert.equal((await remove(reference)).status, 204);
  });

  test('a record that is written anew again and again is not taken', async () => {
    const reference = await newImage('rewritten');
    s3Proxy.rules.push({
      method: 'PUT',
      path: /refs/,
      times: Infinity,
      action: { kind: 'answer', answer: { status: 412, body: '<Error><Code>PreconditionFailed</Code></Error>' } },
    });
    assert.equal((await remove(reference)).status, 503);
    s3Proxy.rules.length = 0;
    assert.ok(await recordOf('rewritten', 'v1'));
    assert.equal((await cache.validate(reference)).state, 'complete');
  });

  test('beside pulls of the same tag: the record is there exactly where the tag is', async () => {
    const reference = await newImage('raced');
    const forDigest = { path: '/v1/images', query: `reference=${encodeURIComponent(reference)}` };
    for (let round = 0; round < 4; round++) {
      const [, removed] = await Promise.all([cache.pull(reference, { alwaysPull: true }), remove(reference)]);
      assert.ok([204, 404].includes(removed.status), removed.text);
      const isListed = (await ask(forDigest)).status === 200;
      assert.equal(await recordOf('raced', 'v1'), isListed);
    }
  });

  test('is refused without the right, and lets nothing be known', async () => {
    const reference = await newImage('kept');
    const limited = api(cache.services, { rules: [{ callers: ['**'], repositories: ['docker.io/**'] }] });
    for (const name of [reference, `${REGISTRY}/kept:absent`]) {
      const query = `reference=${encodeURIComponent(name)}`;
      assert.equal((await limited({ method: 'DELETE', path: '/v1/images', query })).status, 403);
    }
    assert.equal((await ask({ method: 'DELETE', path: '/v1/images' })).status, 400);
    assert.equal((await cache.validate(reference)).state, 'complete');
  });
});

describe('POST /v1/validate', () => {
  const validate = (body: object, withinMs?: number) =>
    ask({ path: '/v1/validate', body, ...(withinMs === undefined ? {} : { withinMs }) });

  test('says what is there, deep what is really there', async () => {
    const image = noiseImage({ name: 'validated' });
    upstream.addImage('validated', upstreamImage(image, 'v1'));
    const reference = `${REGISTRY}/validated:v1`;
    assert.equal(((await validate({ reference })).body as Validation).state, 'unknown');
    await cache.pull(reference);
    const { status, body } = await validate({ reference, platforms: ['linux/amd64'] });
    assert.deepEqual([status, (body as Validation).state], [200, 'complete']);

    const [blob] = [...image.blobs.keys()] as Digest[];
    assert.ok(blob !== undefined && hexOf(blob) !== '');
    await s3.send(new DeleteObjectCommand({ Bucket: bench.stack.bucket, Key: blobObjectKey(blob) }));
    assert.equal(((await validate({ reference })).body as Validation).state, 'complete');
    const deep = (await validate({ reference, deep: true })).body as Validation;
    assert.equal(deep.state, 'incomplete');
    assert.deepEqual(
      deep.missing.map(({ digest }) => digest),
      [blob],
    );
  });

  test('is bounded by the deadline', async () => {
    s3Proxy.rules.push({ times: Infinity, action: { kind: 'delay', delayMs: 2_000 } });
    const startedMs = performance.now();
    const { status } = await validate({ reference: `${REGISTRY}/z/app:v1`, deep: true }, 500);
    s3Proxy.rules.length = 0;
    assert.equal(status, 503);
    assert.ok(performance.now() - startedMs < 2_000);
  });

  test('refuses bad input and foreign repositories', async () => {
    assert.equal(((await validate({ reference: 'a', alwaysPull: true })).body as Problem).field, 'alwaysPull');
    assert.equal(((await validate({ reference: 'a', deep: 'yes' })).body as Problem).field, 'deep');
    const limited = api(cache.services, { rules: [{ callers: ['**'], repositories: ['docker.io/**'] }] });
    const { status } = await limited({ path: '/v1/validate', body: { reference: `${REGISTRY}/z/app:v1` } });
    assert.equal(status, 403);
  });
});
