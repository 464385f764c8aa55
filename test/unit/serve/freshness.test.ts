import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Pointer } from '../../../lib/catalog/catalog.ts';
import {
  CatalogError,
  ConfigError,
  ContentMismatchError,
  CredentialsError,
  DeadlineError,
  DeniedError,
  FailedElsewhereError,
  InvalidManifestError,
  ManifestUnknownError,
  RateLimitedError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../../../lib/errors/cache-error.ts';
import { digestOf } from '../../../lib/oci/digest.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { freshnessOf, staleOf, verdictOf } from '../../../lib/serve/freshness.ts';
import type { Freshness } from '../../../lib/serve/settings.ts';

const [OLD, NEW, BEFORE] = ['old', 'new', 'before'].map((text) => digestOf(Buffer.from(text)));
const NOW = 1_000_000_000;
const FRESHNESS: Freshness = {
  ttlMs: 60_000,
  staleIfErrorMs: 3_600_000,
  keepOnNotFound: true,
  maxStaleOnDeniedMs: 600_000,
  notFoundMs: 10_000,
};
const pointer = (more: Partial<Pointer>): Pointer => ({ generation: 1, resolved: NEW!, checkedMs: NOW, ...more });

test('the first rule that matches repository and tag holds', () => {
  const rule = (repositories: string[], tags: string[], ttlMs: number) => ({
    repositories,
    tags,
    freshness: { ...FRESHNESS, ttlMs },
  });
  const of = freshnessOf([
    rule(['ghcr.io/org/**'], ['*-nightly'], 1),
    rule(['ghcr.io/org/**'], [], 2),
    rule(['**'], [], 3),
  ]);
  const ttl = (name: string): number => of(parseReference(name)).ttlMs;
  assert.deepEqual(
    ['ghcr.io/org/a/b:x-nightly', 'ghcr.io/org/a:v1', 'alpine', 'ghcr.io/other/a:x-nightly'].map(ttl),
    [1, 2, 3, 3],
  );
});

describe('the verdict on a tag', () => {
  const cases: [string, Pointer | undefined, Partial<Freshness>, object][] = [
    ['nothing is known', undefined, {}, { kind: 'unknown' }],
    ['asked a moment ago', pointer({ checkedMs: NOW - 59_999 }), {}, { kind: 'fresh', digest: NEW }],
    ['asked too long ago', pointer({ checkedMs: NOW - 60_000 }), {}, { kind: 'unknown' }],
    ['a clock far ahead makes nothing fresh', pointer({ checkedMs: NOW + 60_000 }), {}, { kind: 'unknown' }],
    ['a ttl of 0 is always asked', pointer({}), { ttlMs: 0 }, { kind: 'unknown' }],
    ['gone a moment ago, kept or not', pointer({ missingMs: NOW - 1 }), {}, { kind: 'missing' }],
    ['gone, and not kept', pointer({ missingMs: NOW - 1 }), { keepOnNotFound: false }, { kind: 'missing' }],
    ['never there', { generation: 0, missingMs: NOW - 9_999 }, {}, { kind: 'missing' }],
    ['not found too long ago', { generation: 0, missingMs: NOW - 10_000 }, {}, { kind: 'unknown' }],
  ];
  for (const [name, known, more, verdict] of cases) {
    test(name, () => assert.deepEqual(verdictOf(known, { ...FRESHNESS, ...more }, NOW), verdict));
  }
});

describe('what is served in place of an answer', () => {
  const known = pointer({ checkedMs: NOW - 500_000, published: OLD!, previous: BEFORE! });
  const digests = [OLD, NEW, BEFORE];
  const served = (failure: unknown, more: Partial<Freshness> = {}, of: Pointer | undefined = known) =>
    staleOf(of, { ...FRESHNESS, ...more }, failure, NOW)?.digests;

  test('what has landed first, for faults that may pass', () => {
    for (const failure of [
      new UpstreamUnavailableError('x', 'down'),
      new RateLimitedError('x', 'later'),
      new DeadlineError('too slow'),
      new InvalidManifestError('makes no sense'),
      new ContentMismatchError('x', 'another digest'),
      new UpstreamRefusedError('x', 'a private address'),
      new CredentialsError('the secret is gone'),
      new FailedElsewhereError('x', 'what asks registries for us failed'),
    ]) {
      assert.deepEqual(served(failure), digests, failure.name);
      assert.equal(served(failure, { staleIfErrorMs: 500_000 }), undefined, failure.name);
    }
  });
  test('a name that is gone, if it is kept; a refusal, for a while', () => {
    assert.deepEqual(served(new ManifestUnknownError('gone')), digests);
    assert.equal(served(new ManifestUnknownError('gone'), { keepOnNotFound: false }), undefined);
    assert.deepEqual(served(new DeniedError('x', 'no')), digests);
    assert.equal(served(new DeniedError('x', 'no'), { maxStaleOnDeniedMs: 500_000 }), undefined);
  });
  test('nothing, for what is wrong with ourselves, or where nothing is known', () => {
    assert.equal(served(new ConfigError('x')), undefined);
    assert.equal(served(new CatalogError('x', 'throttled')), undefined);
    assert.equal(served(new TypeError('a fault')), undefined);
    assert.equal(served(new UpstreamUnavailableError('x', 'down'), {}, { generation: 0 }), undefined);
  });
});
