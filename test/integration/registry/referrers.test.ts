import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DeniedError,
  InvalidManifestError,
  RateLimitedError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../../../lib/errors/cache-error.ts';
import { digestOf, hexOf } from '../../../lib/oci/digest.ts';
import { OCI_INDEX, OCI_MANIFEST } from '../../../lib/oci/media-type.ts';
import { times, when, type Answer, type Fault, type TestUpstream } from '../../support/upstream/upstream.ts';
import { LIMITS, openRepository, PATH, soon, upstreamForTest } from './client-under-test.ts';

const SUBJECT = digestOf(Buffer.from('subject'));
const LIST = `/v2/${PATH}/referrers/${SUBJECT}`;

const referrer = (name: string) => ({ mediaType: OCI_MANIFEST, digest: digestOf(Buffer.from(name)), size: 7 });
const referrers = (count: number, from = 0) => Array.from({ length: count }, (_, i) => referrer(`${from + i}`));
const sorted = (all: readonly { digest: string }[]): string[] => all.map(({ digest }) => digest).sort();

const page = (manifests: readonly object[], headers: Record<string, string> = {}): Answer => ({
  status: 200,
  headers: { 'content-type': OCI_INDEX, ...headers },
  body: Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: OCI_INDEX, manifests })),
});
const answering = (answer: Answer): Fault => when({ kind: 'referrers' }, answer);
const linkTo = (target: string) => ({ link: `<${target}>; rel="next"` });

async function digestsAt(upstream: TestUpstream): Promise<string[]> {
  const { manifests } = await (await openRepository(upstream.origin)).listReferrers(SUBJECT, soon());
  return manifests.map(({ digest }) => digest);
}

test('one list of all pages: each once, in the order of the digests', async () => {
  const upstream = await upstreamForTest();
  upstream.putReferrers(PATH, SUBJECT, [...referrers(7), ...referrers(3)], 3);
  const repository = await openRepository(upstream.origin);
  const index = await repository.listReferrers(SUBJECT, soon());
  assert.deepEqual([index.schemaVersion, index.mediaType], [2, OCI_INDEX]);
  assert.deepEqual(
    index.manifests.map(({ digest }) => digest),
    sorted(referrers(7)),
  );
  const queries = upstream.requests.map(({ query }) => query.toString());
  assert.deepEqual(queries, ['', 'page=1', 'page=2', 'page=3']);
  assert.ok(upstream.requests.every(({ path, headers }) => path === LIST && headers.accept === OCI_INDEX));
  assert.equal(repository.requests.total, 4);
});

test('a Link to another host, scheme or repository leads nowhere but to the next page here, and takes no credential along', async () => {
  const elsewhere = await upstreamForTest();
  for (const target of [
    `${elsewhere.origin}/v2/other/referrers/${SUBJECT}?`,
    'https://elsewhere.example.test/?',
    '//elsewhere.example.test/?',
    `/v2/other/app/referrers/${SUBJECT}?`,
    '?',
  ]) {
    const upstream = await upstreamForTest({ auth: { kind: 'bearer' } });
    upstream.fault((request) => {
      if (request.kind !== 'referrers' || request.headers.authorization === undefined) return undefined;
      return request.query.has('last')
        ? page([referrer('b')])
        : page([referrer('a')], { link: `<${target}last=a>; foo=bar; rel=next` });
    });
    assert.deepEqual(await digestsAt(upstream), sorted([referrer('a'), referrer('b')]), target);
    const asked = upstream.requests.filter(({ kind, headers }) => kind === 'referrers' && headers.authorization);
    assert.deepEqual(
      asked.map(({ path, query }) => `${path}?${query.toString()}`),
      [`${LIST}?`, `${LIST}?last=a`],
    );
  }
  assert.equal(elsewhere.requests.length, 0);
});

test('where pages end without an end, or one of them is no page, half of the list is not served as all', async () => {
  const upstream = await upstreamForTest();
  const repository = await openRepository(upstream.origin, { limits: { attempts: 1 } });
  const refused = async (fault: Fault, message: RegExp): Promise<void> => {
    const remove = upstream.fault(fault);
    await assert.rejects(repository.listReferrers(SUBJECT, soon()), (error) => {
      assert.ok(error instanceof UpstreamRefusedError, String(error));
      assert.match(error.message, message);
      assert.ok(error.message.includes(SUBJECT));
      return true;
    });
    remove();
  };
  const second =
    (answer: Answer): Fault =>
    (request) =>
      request.query.has('p') ? answer : page([referrer('a')], linkTo('?p=1'));
  await refused(second(page([referrer('b')], linkTo('?p=1'))), /in a circle/);
  let count = 0;
  await refused(() => page([referrer('a')], linkTo(`?p=${++count}`)), /more than 100 pages/);
  assert.equal(count, 100);
  await refused(second({ ...page([]), status: 404 }), /answered 404/);
  await refused(second(page([], { 'content-type': 'application/json' })), /a page that is not an image index/);
  await refused(answering(page([referrer('a')], linkTo(LIST))), /a next page that cannot be requested/);
  await refused(answering(page([referrer('a')], { link: 'nonsense; rel="next"' })), /cannot be requested/);
  await refused(
    answering(page([referrer('a')], linkTo(`?p=${'x'.repeat(5_000)}`))),
    /has too long a link to its next page/,
  );
  await refused(answering(page([referrer('a')], { 'oci-filters-applied': 'artifactType' })), /came filtered/);
});

test('what is too much is refused, over all pages: bytes and entries', async () => {
  const upstream = await upstreamForTest();
  const some = referrers(100);
  const bytes = page(some).body.byteLength;
  upstream.putReferrers(PATH, SUBJECT, [...some, ...some], 100);
  const limited = (manifestBytes: number) => openRepository(upstream.origin, { limits: { manifestBytes } });
  assert.equal((await (await limited(2 * bytes)).listReferrers(SUBJECT, soon())).manifests.length, 100);
  await assert.rejects((await limited(2 * bytes - 1)).listReferrers(SUBJECT, soon()), (error) => {
    assert.ok(error instanceof UpstreamRefusedError);
    assert.match(error.message, /more than \d+ bytes \("manifestBytes" of "limits"\)/);
    return true;
  });
  upstream.putReferrers(
    PATH,
    SUBJECT,
    Array.from({ length: 10_001 }, () => referrer('one')),
    5_000,
  );
  await assert.rejects((await limited(4 * 1024 * 1024)).listReferrers(SUBJECT, soon()), /more than 10000 entries/);
  upstream.putReferrers(
    PATH,
    SUBJECT,
    Array.from({ length: 10_001 }, () => referrer('one')),
  );
  await assert.rejects((await limited(4 * 1024 * 1024)).listReferrers(SUBJECT, soon()), InvalidManifestError);
});

test('the tag of a subject by SHA-512 has as many hex digits as a tag has room for', async () => {
  const upstream = await upstreamForTest();
  const subject = digestOf(Buffer.from('subject'), 'sha512');
  upstream.putManifest(PATH, `sha512-${hexOf(subject).slice(0, 64)}`, page([referrer('a')]).body, OCI_INDEX);
  const repository = await openRepository(upstream.origin);
  const { manifests } = await repository.listReferrers(subject, soon());
  assert.deepEqual(
    manifests.map(({ digest }) => digest),
    sorted([referrer('a')]),
  );
});

for (const status of [400, 404, 405, 406, 501]) {
  test(`a registry that answers ${status} has no such API: the tag schema is asked`, async () => {
    const upstream = await upstreamForTest();
    upstream.putManifest(PATH, SUBJECT.replace(':', '-'), page([referrer('a')]).body, OCI_INDEX);
    upstream.fault(({ kind }) => (kind === 'referrers' ? { status } : undefined));
    assert.deepEqual(await digestsAt(upstream), sorted([referrer('a')]));
    assert.equal(upstream.count({ kind: 'referrers' }), 1);
  });
}

test('none: an empty list; a registry without the API: the tag schema, and nothing there is an empty list, too', async () => {
  const upstream = await upstreamForTest();
  assert.deepEqual(await digestsAt(upstream), []);
  assert.deepEqual(
    upstream.requests.map(({ method, kind }) => `${method} ${kind}`),
    ['GET referrers', 'GET manifest'],
  );
  const index = page([referrer('b'), referrer('a')]).body;
  upstream.putManifest(PATH, SUBJECT.replace(':', '-'), index, OCI_INDEX);
  assert.deepEqual(await digestsAt(upstream), sorted([referrer('a'), referrer('b')]));
  upstream.fault(answering({ ...page([]), headers: { 'content-type': 'text/html' } }));
  assert.equal((await digestsAt(upstream)).length, 2, 'a page that is no list is no API');
  upstream.putReferrers(PATH, SUBJECT, []);
  upstream.clearFaults();
  upstream.requests.length = 0;
  assert.deepEqual(await digestsAt(upstream), []);
  assert.equal(upstream.requests.length, 1);
});

test('a page that fails in passing is asked for again; what goes on failing is what it means (I6)', async () => {
  const upstream = await upstreamForTest();
  upstream.putReferrers(PATH, SUBJECT, referrers(4), 2);
  upstream.fault(times(1, (request) => (request.query.has('page') ? { status: 503 } : undefined)));
  assert.deepEqual(await digestsAt(upstream), sorted(referrers(4)));
  assert.equal(upstream.count({ kind: 'referrers' }), 3);
  for (const [status, type] of [
    [401, DeniedError],
    [403, DeniedError],
    [429, RateLimitedError],
    [503, UpstreamUnavailableError],
  ] as const) {
    for (const query of [undefined, '1']) {
      const remove = upstream.fault((request) =>
        (request.query.get('page') ?? undefined) === query ? { status } : undefined,
      );
      const repository = await openRepository(upstream.origin, { limits: { ...LIMITS, attempts: 1 } });
      await assert.rejects(repository.listReferrers(SUBJECT, soon()), type, `${status} ${query}`);
      remove();
    }
  }
});

test('an abort ends it with its reason', async () => {
  const upstream = await upstreamForTest();
  upstream.putReferrers(PATH, SUBJECT, referrers(4), 2);
  upstream.fault((request) => (request.query.has('page') ? { delayMs: 60_000 } : undefined));
  const repository = await openRepository(upstream.origin, { limits: { headersTimeoutMs: 30_000 } });
  const reason = new Error('enough');
  const stop = new AbortController();
  setTimeout(() => stop.abort(reason), 50);
  await assert.rejects(repository.listReferrers(SUBJECT, stop.signal), reason);
});
