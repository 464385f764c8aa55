import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  BlobUnknownError,
  CacheError,
  CatalogError,
  DeadlineError,
  DeniedError,
  FailedElsewhereError,
  InvalidManifestError,
  InvalidRequestError,
  LeaseLostError,
  ManifestUnknownError,
  RateLimitedError,
  UnknownNameError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../../../lib/errors/cache-error.ts';
import { statusOfError } from '../../../lib/errors/status.ts';
import type { Fence } from '../../../lib/lock/fence.ts';
import { digestOf } from '../../../lib/oci/digest.ts';
import { answerFetch, remoteFetcher } from '../../../lib/serve/fetch-document.ts';
import type { Fetcher } from '../../../lib/serve/fetcher.ts';
import type { LogFields } from '../../../lib/telemetry/logger.ts';
import { serveCall } from '../../support/serve-call.ts';

const repository = { registry: 'registry.example.test:5000', path: 'team/app' };
const digest = digestOf(Buffer.from('content'));
const lock: Fence = { name: 'pull:registry.example.test:5000/team/app:v1', holder: 'somebody', generation: 3 };
const descriptor = { mediaType: 'application/vnd.oci.image.index.v1+json', digest, size: 7 };

const logged: (readonly [string, LogFields | undefined])[] = [];
const call = serveCall((message, fields) => void logged.push([message, fields]));
const unasked = (): never => assert.fail('not asked for');
const fetcherOf = (some: Partial<Fetcher>): Fetcher => ({
  resolve: unasked,
  fetchManifest: unasked,
  fetchReferrers: unasked,
  listTags: unasked,
  confirm: unasked,
  findRedirect: unasked,
  markLost: unasked,
  sizeOfBlob: unasked,
  ...some,
});
/** A fetcher behind two documents, as between two functions. */
const remote = (some: Partial<Fetcher>, requireAllowed: () => void = () => undefined): Fetcher =>
  remoteFetcher(async (question) => {
    const answer = await answerFetch(fetcherOf(some), JSON.parse(JSON.stringify(question)), call, requireAllowed);
    return JSON.parse(JSON.stringify(answer)) as unknown;
  });

describe('a question and its answer come through as they are', () => {
  test('what a tag means, under a lock of which only the fence is told', async () => {
    const asked: unknown[] = [];
    const lease = { ...lock, signal: call.signal, secret: 'not told' };
    const fetcher = remote({
      resolve: (_call, ...given) => {
        asked.push(given);
        return Promise.resolve({ digest, checkedMs: 12, landed: { descriptor, bytes: Buffer.from('content') } });
      },
    });
    const meaning = await fetcher.resolve(call, { repository, tag: 'v1' }, lease, 7);
    assert.deepEqual(meaning, { digest, checkedMs: 12, landed: { descriptor } });
    assert.deepEqual(asked, [[{ repository, tag: 'v1' }, lock, 7]]);
    const known = remote({ resolve: () => Promise.resolve({ digest, checkedMs: 12 }) });
    assert.deepEqual(await known.resolve(call, { repository, tag: 'v1' }, lock, undefined), { digest, checkedMs: 12 });
  });

  test('the tags of a repository, and that there is none', async () => {
    const fetcher = remote({ listTags: (_call, one) => Promise.resolve(['v1', one.path]) });
    assert.deepEqual(await fetcher.listTags(call, repository), ['v1', 'team/app']);
    const fields = { code: 'NAME_UNKNOWN', op: 'list tags', origin: 'upstream', retryable: false } as const;
    const none = remote({ listTags: () => Promise.reject(new CacheError('no such repository', fields)) });
    await assert.rejects(none.listTags(call, repository), { code: 'NAME_UNKNOWN', status: 404 });
  });

  test('a manifest, a confirmation', async () => {
    const asked: unknown[] = [];
    const fetcher = remote({
      fetchManifest: (_call, ...given) => {
        asked.push(given);
        return Promise.resolve({ descriptor });
      },
      confirm: (_call, ...given) => {
        asked.push(given);
        return Promise.resolve(false);
      },
    });
    assert.deepEqual(await fetcher.fetchManifest(call, repository, digest), { descriptor });
    assert.equal(await fetcher.confirm(call, repository, digest), false);
    assert.deepEqual(asked, [
      [repository, digest],
      [repository, digest],
    ]);
  });

  test('what refers to a manifest: of the list its descriptor, or that there is none', async () => {
    const asked: unknown[] = [];
    const list = { descriptor, bytes: Buffer.from('content') };
    const fetcher = remote({
      fetchReferrers: (_call, ...given) => {
        asked.push(given);
        return Promise.resolve({ checkedMs: 12, list });
      },
    });
    const lease = { ...lock, signal: call.signal, secret: 'not told' };
    const said = { checkedMs: 12, list: { descriptor } };
    assert.deepEqual(await fetcher.fetchReferrers(call, repository, digest, 7, lease), said);
    assert.deepEqual(await fetcher.fetchReferrers(call, repository, digest, undefined, undefined), said);
    assert.deepEqual(asked, [
      [repository, digest, 7, lock],
      [repository, digest, undefined, undefined],
    ]);
    const none = remote({ fetchReferrers: () => Promise.resolve({ checkedMs: 0 }) });
    assert.deepEqual(await none.fetchReferrers(call, repository, digest, undefined, lock), { checkedMs: 0 });
  });

  test('content that seems to be gone, whichever repository has it', async () => {
    const asked: unknown[] = [];
    const refuse = (): never => assert.fail('of no repository');
    const markLost: Fetcher['markLost'] = (_call, one) => {
      asked.push(one);
      return Promise.resolve(asked.length === 1 ? 'the object is gone' : undefined);
    };
    const fetcher = remote({ markLost }, refuse);
    assert.equal(await fetcher.markLost(call, digest), 'the object is gone');
    assert.equal(await fetcher.markLost(call, digest), undefined);
    assert.deepEqual(asked, [digest, digest]);
  });

  test('where a registry redirects for a blob', async () => {
    const asked: unknown[] = [];
    const url = 'https://cdn.example.test/sha256/a%2Fb?signature=a%2Bb&expires=1';
    const fetcher = remote({
      findRedirect: (_call, ...given) => {
        asked.push(given);
        return Promise.resolve(new URL(url));
      },
    });
    assert.equal((await fetcher.findRedirect(call, repository, digest))?.href, url);
    assert.deepEqual(asked, [[repository, digest]]);
    const nowhere = remote({ findRedirect: () => Promise.resolve(undefined) });
    assert.equal(await nowhere.findRedirect(call, repository, digest), undefined);
  });
});

describe('the size of a blob', () => {
  test('comes through, and that there is none', async () => {
    const asked: unknown[] = [];
    const fetcher = remote({
      sizeOfBlob: (_call, ...given) => {
        asked.push(given);
        return Promise.resolve(0);
      },
    });
    assert.equal(await fetcher.sizeOfBlob(call, repository, digest), 0);
    assert.deepEqual(asked, [[repository, digest]]);
    const none = remote({ sizeOfBlob: () => Promise.reject(new BlobUnknownError('no such blob')) });
    await assert.rejects(none.sizeOfBlob(call, repository, digest), BlobUnknownError);
  });
});

describe('a failure is what it was', () => {
  const cases: readonly (readonly [CacheError, abstract new (...given: never[]) => CacheError])[] = [
    [new ManifestUnknownError('none'), ManifestUnknownError],
    [new DeniedError('read', 'no'), DeniedError],
    [new RateLimitedError('read', 'later', 5_000), RateLimitedError],
    [new UpstreamUnavailableError('read', 'down'), UpstreamUnavailableError],
    [new UpstreamUnavailableError('read', 'slow', { timedOut: true, retryAfterMs: 1_000 }), UpstreamUnavailableError],
    [new LeaseLostError('record', 'lost'), LeaseLostError],
    [new CatalogError('read', 'throttled'), FailedElsewhereError],
    [new InvalidManifestError('broken'), FailedElsewhereError],
    [new UpstreamRefusedError('read', 'private'), FailedElsewhereError],
  ];
  for (const [thrown, kind] of cases) {
    test(`${thrown.name}: ${thrown.message}`, async () => {
      const fetcher = remote({ fetchManifest: () => Promise.reject(thrown) });
      const failure: unknown = await fetcher.fetchManifest(call, repository, digest).catch((error: unknown) => error);
      assert.ok(failure instanceof kind, String(failure));
      assert.deepEqual(
        [failure.message, failure.code, failure.retryable, failure.retryAfterMs, statusOfError(failure)],
        [thrown.message, thrown.code, thrown.retryable, thrown.retryAfterMs, statusOfError(thrown)],
      );
    });
  }

  test('time that was over there is a registry that did not answer', async () => {
    const fetcher = remote({ confirm: () => Promise.reject(new DeadlineError('over')) });
    const failure: unknown = await fetcher.confirm(call, repository, digest).catch((error: unknown) => error);
    assert.ok(failure instanceof UpstreamUnavailableError && failure.timedOut);
  });

  test('a fault tells nothing but that, and is in the log', async () => {
    logged.length = 0;
    const fetcher = remote({ fetchManifest: () => Promise.reject(new TypeError('password=hunter2')) });
    const failure: unknown = await fetcher.fetchManifest(call, repository, digest).catch((error: unknown) => error);
    assert.ok(failure instanceof FailedElsewhereError);
    assert.ok(!failure.message.includes('hunter2'));
    assert.equal(failure.status, 500);
    assert.ok(logged.length > 0);
  });

  test('a repository that is not allowed is not asked for', async () => {
    const fetcher = remote({}, () => {
      throw new UnknownNameError('not allowed');
    });
    await assert.rejects(fetcher.fetchManifest(call, repository, digest), { code: 'NAME_UNKNOWN' });
  });
});

describe('documents that are none', () => {
  for (const [what, document] of Object.entries({
    'no object': 'resolve',
    'an unknown question': { ask: 'delete', repository: 'a.test/b', digest },
    'no repository': { ask: 'fetchManifest', digest },
    'a repository that is none': { ask: 'fetchManifest', repository: 'a.test/../b', digest },
    'no digest': { ask: 'fetchManifest', repository: 'a.test/b', digest: 'sha256:1' },
    'a tag that is none': { ask: 'resolve', repository: 'a.test/b', tag: '-', lock },
    'no lock': { ask: 'resolve', repository: 'a.test/b', tag: 'v1' },
    'lost content of no digest': { ask: 'markLost', digest: 'sha256:1' },
    'referrers under a lock without holder': {
      ask: 'fetchReferrers',
      repository: 'a.test/b',
      digest,
      lock: { ...lock, holder: 1 },
    },
    'referrers of no digest': { ask: 'fetchReferrers', repository: 'a.test/b', digest: 'sha256:1' },
    'a lock without holder': { ask: 'resolve', repository: 'a.test/b', tag: 'v1', lock: { ...lock, holder: 1 } },
  })) {
    test(`a question: ${what}`, async () => {
      await assert.rejects(
        answerFetch(fetcherOf({}), document, call, () => undefined),
        InvalidRequestError,
      );
    });
  }
  for (const [what, answer] of Object.entries({
    nothing: null,
    'another answer': {},
    'a descriptor that is none': { landed: { ...descriptor, size: -1 } },
    'a failure that is none': { failure: { name: 'X' } },
  })) {
    test(`an answer: ${what}`, async () => {
      const fetcher = remoteFetcher(() => Promise.resolve(answer));
      await assert.rejects(fetcher.fetchManifest(call, repository, digest), UpstreamUnavailableError);
      const asking = fetcher.fetchReferrers(call, repository, digest, undefined, lock);
      await assert.rejects(asking, UpstreamUnavailableError);
    });
  }
  for (const location of ['elsewhere', '', 5, {}]) {
    test(`a location: ${JSON.stringify(location)}`, async () => {
      const fetcher = remoteFetcher(() => Promise.resolve({ location }));
      await assert.rejects(fetcher.findRedirect(call, repository, digest), UpstreamUnavailableError);
    });
  }
});
