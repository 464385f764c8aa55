import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as errors from '../../../lib/errors/cache-error.ts';

const {
  BlobsFailedError,
  BlobSizeError,
  BlobUnknownError,
  BusyError,
  CacheError,
  CatalogError,
  ConfigError,
  ContentLostError,
  ContentMismatchError,
  CredentialsError,
  DeadlineError,
  DeniedError,
  FailedElsewhereError,
  JobUnavailableError,
  ForbiddenError,
  InvalidDigestError,
  InvalidManifestError,
  InvalidNameError,
  InvalidRequestError,
  ContentSweptError,
  LeaseHeldError,
  LeaseLostError,
  ManifestUnknownError,
  PlatformMissingError,
  RateLimitedError,
  StoreError,
  UnauthenticatedError,
  UnknownNameError,
  UpstreamRefusedError,
  SlowBlobError,
  UpstreamUnavailableError,
} = errors;

const OP = 'some work';
const WHY = 'asked this, found that, do so';

/** Each error, with its code, where its cause lies, and whether the same call may succeed later. */
const table = [
  [new InvalidNameError(WHY), 'NAME_INVALID', 'client', false],
  [new InvalidDigestError(WHY), 'DIGEST_INVALID', 'client', false],
  [new InvalidRequestError('images', WHY), undefined, 'client', false],
  [new UnknownNameError(WHY), 'NAME_UNKNOWN', 'client', false],
  [new InvalidManifestError(WHY), 'MANIFEST_INVALID', 'upstream', false],
  [new PlatformMissingError(WHY), 'MANIFEST_UNKNOWN', 'upstream', false],
  [new ManifestUnknownError(WHY), 'MANIFEST_UNKNOWN', 'upstream', false],
  [new BlobUnknownError(WHY), 'BLOB_UNKNOWN', 'upstream', false],
  [new BlobSizeError(WHY), undefined, 'upstream', false],
  [new DeniedError(OP, WHY), 'DENIED', 'upstream', false],
  [new RateLimitedError(OP, WHY), 'TOOMANYREQUESTS', 'upstream', true],
  [new UpstreamUnavailableError(OP, WHY), undefined, 'upstream', true],
  [new SlowBlobError(OP, WHY, 0, undefined), undefined, 'upstream', true],
  [new UpstreamRefusedError(OP, WHY), undefined, 'upstream', false],
  [new ContentMismatchError(OP, WHY), undefined, 'upstream', true],
  [new StoreError(OP, WHY), undefined, 'store', true],
  [new ContentLostError(OP, WHY), undefined, 'store', true],
  [new CatalogError(OP, WHY), undefined, 'catalog', true],
  [new ContentSweptError(OP, WHY), undefined, 'catalog', true],
  [new LeaseLostError(OP, WHY), undefined, 'lock', true],
  [new LeaseHeldError(OP, WHY), undefined, 'lock', true],
  [new JobUnavailableError(OP, WHY), undefined, 'catalog', true],
  [new BusyError(OP, WHY), 'TOOMANYREQUESTS', 'catalog', true],
  [new FailedElsewhereError(OP, WHY), undefined, 'upstream', true],
  [new UnauthenticatedError(WHY), 'UNAUTHORIZED', 'client', false],
  [new ForbiddenError(OP, WHY), 'DENIED', 'client', false],
  [new DeadlineError(WHY), undefined, 'client', true],
  [new ConfigError(WHY), undefined, 'client', false],
  [new CredentialsError(WHY), undefined, 'client', false],
] as const;

for (const [error, code, origin, retryable] of table) {
  test(`${error.name}: ${code ?? 'no code'}, ${origin}, ${retryable ? '' : 'not '}retryable`, () => {
    assert.ok(error instanceof CacheError);
    assert.equal(error.name, error.constructor.name);
    assert.equal(error.message, WHY);
    assert.notEqual(error.op, '');
    assert.deepEqual([error.code, error.origin, error.retryable], [code, origin, retryable]);
    assert.ok(!('cause' in error), 'absent where there is none');
  });
}

test('the table has every error', () => {
  // BlobsFailedError takes its fields from others: see below.
  const exported = Object.keys(errors).filter((name) => name.endsWith('Error') && !/^(?:Cache|BlobsFailed)/.test(name));
  assert.deepEqual(table.map(([error]) => error.name).sort(), exported.sort());
});

test('one blob that failed is its own error; several name each, and what no retry mends comes first', () => {
  const late = { digest: 'sha256:a', error: new UpstreamUnavailableError(OP, 'it answered 503', { retryAfterMs: 5 }) };
  const unknown = { digest: 'sha256:b', error: new BlobUnknownError('there is none') };
  const one = new BlobsFailedError([late]);
  assert.deepEqual(
    [one.name, one.message, one.code, one.retryable, one.retryAfterMs, one.failures],
    ['UpstreamUnavailableError', 'it answered 503', undefined, true, 5, [late]],
  );
  const two = new BlobsFailedError([late, unknown]);
  assert.deepEqual([two.name, two.code, two.retryable], ['BlobsFailedError', 'BLOB_UNKNOWN', false]);
  assert.equal(two.message, '2 blobs failed\n  sha256:a: it answered 503\n  sha256:b: there is none');
});

test('what comes along: causes, times, the field, whether time ran out', () => {
  const cause = new Error('below');
  assert.equal(new StoreError(OP, WHY, cause).cause, cause);
  assert.equal(new StoreError(OP, WHY, cause, false).retryable, false);
  assert.equal(new CatalogError(OP, WHY, undefined, false).retryable, false);
  // 0 is a value.
  assert.equal(new RateLimitedError(OP, WHY, 0).retryAfterMs, 0);
  assert.equal(new RateLimitedError(OP, WHY).retryAfterMs, undefined);
  const late = new UpstreamUnavailableError(OP, WHY, { cause, timedOut: true, retryAfterMs: 5 });
  assert.deepEqual([late.cause, late.timedOut, late.retryAfterMs, late.op], [cause, true, 5, OP]);
  assert.equal(new UpstreamUnavailableError(OP, WHY).timedOut, false);
  assert.equal(new InvalidRequestError('images[0]', WHY, cause).field, 'images[0]');
});
