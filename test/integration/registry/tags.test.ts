import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CacheError,
  DeniedError,
  RateLimitedError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../../../lib/errors/cache-error.ts';
import { times, when, type Answer, type Fault, type TestUpstream } from '../../support/upstream/upstream.ts';
import { LIMITS, openRepository, PATH, soon, upstreamForTest } from './client-under-test.ts';

const json = (document: unknown, headers: Record<string, string> = {}): Answer => ({
  status: 200,
  headers: { 'content-type': 'application/json', ...headers },
  body: Buffer.from(typeof document === 'string' ? document : JSON.stringify(document)),
});

const answering = (answer: Answer): Fault => when({ kind: 'tags' }, answer);

/** A registry that gives `size` of the tags at a time, whatever is asked for, with `link` around the query of the next page. */
const paged =
  (all: readonly string[], size: number, link: (query: string) => string): Fault =>
  (request) => {
    if (request.kind !== 'tags') return undefined;
    const from = all.indexOf(request.query.get('last') ?? '') + 1;
    const tags = all.slice(from, from + size);
    const more = from + size < all.length;
    return json({ name: PATH, tags }, more ? { link: link(`n=${size}&last=${tags.at(-1)}`) } : {});
  };

const queries = (upstream: TestUpstream): string[] => upstream.requests.map(({ query }) => query.toString());

test('all pages, by Link, each tag once; asked for in thousands', async () => {
  const upstream = await upstreamForTest();
  const all = Array.from({ length: 7 }, (_, index) => `v${index}`);
  upstream.fault(paged(all, 3, (query) => `</v2/${PATH}/tags/list?${query}>; rel="next"`));
  const repository = await openRepository(upstream.origin);
  assert.deepEqual(await repository.listTags(soon()), all);
  assert.deepEqual(queries(upstream), ['n=1000', 'n=3&last=v2', 'n=3&last=v5']);
  assert.ok(upstream.requests.every(({ path }) => path === `/v2/${PATH}/tags/list`));
  assert.deepEqual(repository.requests, { total: 3, ping: 0, token: 0, manifest: 0, blob: 0, redirected: 0 });
});

test('of a Link only the query counts: never another host, scheme or repository', async () => {
  for (const target of [
    'https://elsewhere.example.test/v2/other/tags/list?',
    'http://127.0.0.1:1/?',
    '/v2/other/app/tags/list?',
    '?',
  ]) {
    const upstream = await upstreamForTest();
    upstream.fault(paged(['a', 'b', 'c'], 2, (query) => `<${target}${query}>; foo=bar; rel=next`));
    const repository = await openRepository(upstream.origin);
    assert.deepEqual(await repository.listTags(soon()), ['a', 'b', 'c'], target);
    assert.ok(upstream.requests.every(({ path }) => path === `/v2/${PATH}/tags/list`));
  }
});

test('a page of nonsense is looked at in no time, and one of too many entries not at all', async () => {
  const upstream = await upstreamForTest();
  upstream.fault(answering(json({ name: PATH, tags: Array.from({ length: 50_000 }, () => '') })));
  const repository = await openRepository(upstream.origin);
  assert.deepEqual(await repository.listTags(soon()), []);
  upstream.clearFaults();
  upstream.fault(answering(json({ name: PATH, tags: Array.from({ length: 50_001 }, () => '') })));
  await assert.rejects(repository.listTags(soon()), /has more than 50000 tags in one page/);
});

test('no tags, no Link, other links, tags outside the grammar', async () => {
  const cases: [Answer, string[]][] = [
    [json({ tags: null }), []],
    [json({ tags: [] }), []],
    [json('\ufeff{"tags":["a"]}'), ['a']],
    [json({ tags: ['a', 'b', 'a', '-x', '', 5, null, 'a/b'] }), ['a', 'b']],
    [json({ tags: ['a'] }, { link: '</v2/?n=1>; rel="first"' }), ['a']],
    [json({ tags: ['a'] }, { link: 'nonsense; rel="next"' }), ['a']],
    [json({ tags: ['a'] }, { link: '</v2/team/app/tags/list>; rel="next"' }), ['a']],
  ];
  for (const [answer, expected] of cases) {
    const upstream = await upstreamForTest();
    upstream.fault(answering(answer));
    assert.deepEqual(await (await openRepository(upstream.origin)).listTags(soon()), expected);
  }
});

test('a list without an end is left: circles, too many pages, too many tags, too many bytes', async () => {
  const upstream = await upstreamForTest();
  const repository = await openRepository(upstream.origin);
  const refused = async (fault: Fault, message: RegExp): Promise<void> => {
    const remove = upstream.fault(fault);
    await assert.rejects(
      repository.listTags(soon()),
      (error) => error instanceof UpstreamRefusedError && message.test(error.message),
    );
    remove();
  };
  await refused(answering(json({ tags: ['a'] }, { link: '<?n=1000>; rel="next"' })), /in a circle/);
  let page = 0;
  await refused(
    () => json({ tags: [] }, { link: `<?last=${++page}>; rel="next"` }),
    /more than 500 pages; name the references/,
  );
  await refused(
    answering(json({ tags: Array.from({ length: 50_001 }, (_, index) => `t${index}`) })),
    /more than 50000 tags/,
  );
  await refused(answering(json(' '.repeat(16 * 1024 * 1024 + 1))), /a page of more than/);
  await refused(
    answering(json({ tags: ['a'] }, { link: `<?last=${'x'.repeat(5000)}>; rel="next"` })),
    /too long a link/,
  );
  for (const text of ['<html>', '[]', '{"tags":{}}', '{}', 'null'])
    await refused(answering(json(text)), /did not answer with a list of tags/);
});

test('404 is a repository that is not there; 401, 429 and 5xx are not', async () => {
  const upstream = await upstreamForTest();
  const repository = await openRepository(upstream.origin, { limits: { attempts: 1 } });
  await assert.rejects(repository.listTags(soon()), (error) => {
    assert.ok(error instanceof CacheError);
    assert.deepEqual([error.code, error.origin, error.retryable], ['NAME_UNKNOWN', 'upstream', false]);
    return true;
  });
  for (const [status, type] of [
    [401, DeniedError],
    [403, DeniedError],
    [429, RateLimitedError],
    [503, UpstreamUnavailableError],
  ] as const) {
    const remove = upstream.fault(when({ kind: 'tags' }, { ...json({}), status }));
    await assert.rejects(repository.listTags(soon()), type, String(status));
    remove();
  }
});

test('a page that fails in passing is asked for again', async () => {
  const upstream = await upstreamForTest();
  upstream.fault(times(2, when({ kind: 'tags' }, { ...json({}), status: 503 })));
  upstream.fault(answering(json({ tags: ['a'] })));
  const repository = await openRepository(upstream.origin, { limits: { attempts: LIMITS.attempts } });
  assert.deepEqual(await repository.listTags(soon()), ['a']);
  assert.equal(upstream.count({ kind: 'tags' }), 3);
});

test('with a token of the repository, and never from a mirror', async () => {
  const upstream = await upstreamForTest({ auth: { kind: 'bearer' } });
  const mirror = await upstreamForTest();
  upstream.fault((request) =>
    request.kind === 'tags' && request.headers.authorization !== undefined ? json({ tags: ['a'] }) : undefined,
  );
  const repository = await openRepository(upstream.origin, { settings: { mirrors: [new URL(mirror.origin)] } });
  assert.deepEqual(await repository.listTags(soon()), ['a']);
  const [token] = upstream.requests.filter(({ kind }) => kind === 'token');
  assert.equal(token?.query.get('scope'), `repository:${PATH}:pull`);
  assert.equal(mirror.requests.length, 0);
});

test('an abort ends it with its reason', async () => {
  const upstream = await upstreamForTest();
  upstream.fault(when({ kind: 'tags' }, { delayMs: 60_000 }));
  const repository = await openRepository(upstream.origin);
  const reason = new Error('enough');
  const stop = new AbortController();
  setTimeout(() => stop.abort(reason), 50);
  await assert.rejects(repository.listTags(stop.signal), reason);
});
