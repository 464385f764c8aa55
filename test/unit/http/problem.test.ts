import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  BlobSizeError,
  BlobsFailedError,
  BlobUnknownError,
  CacheError,
  CatalogError,
  ConfigError,
  ContentLostError,
  ContentMismatchError,
  DeadlineError,
  DeniedError,
  FailedElsewhereError,
  InvalidDigestError,
  InvalidManifestError,
  InvalidNameError,
  InvalidRequestError,
  LeaseLostError,
  ManifestUnknownError,
  PlatformMissingError,
  RateLimitedError,
  StoreError,
  UnknownNameError,
  UpstreamRefusedError,
  UpstreamUnavailableError,
} from '../../../lib/errors/cache-error.ts';
import { redacted } from '../../../lib/telemetry/logger.ts';
import { problemOf, retryAfterSecondsOf, httpStatusOf } from '../../../lib/http/problem.ts';

/** Of a pull: one blob for each reason. */
const blobsFailed = (...reasons: readonly [CacheError, ...CacheError[]]): BlobsFailedError => {
  const [first, ...others] = reasons.map((error, at) => ({ digest: `sha256:${at}`, error }));
  return new BlobsFailedError([first!, ...others]);
};

describe('the status of each error', () => {
  const table: [Error, number][] = [
    [new InvalidNameError('x'), 400],
    [new InvalidDigestError('x'), 400],
    [new InvalidManifestError('x'), 422],
    [new BlobSizeError('x'), 422],
    [new InvalidRequestError('reference', 'x'), 400],
    [new CacheError('x', { code: 'UNAUTHORIZED', op: 'x', origin: 'client', retryable: false }), 401],
    [new DeniedError('x', 'x'), 403],
    [new ManifestUnknownError('x'), 404],
    [new PlatformMissingError('x'), 404],
    [new BlobUnknownError('x'), 404],
    [new UnknownNameError('x'), 404],
    [new RateLimitedError('x', 'x'), 429],
    [new UpstreamUnavailableError('x', 'x'), 502],
    [new UpstreamUnavailableError('x', 'x', { timedOut: true }), 504],
    [new UpstreamRefusedError('x', 'x'), 502],
    [new UpstreamRefusedError('x', 'x', undefined, { saidByRegistry: true }), 422],
    [new FailedElsewhereError('x', 'x'), 503],
    ...[400, 403, 404, 422, 429, 500, 502, 503, 504].map((status): [Error, number] => [
      new FailedElsewhereError('x', 'x', { status, retryable: false }),
      status,
    ]),
    [blobsFailed(new StoreError('x', 'x')), 503],
    [blobsFailed(new ContentMismatchError('x', 'x'), new DeniedError('x', 'x')), 403],
    [blobsFailed(new UpstreamUnavailableError('x', 'x'), new UpstreamUnavailableError('x', 'x')), 502],
    [
      blobsFailed(
        new UpstreamUnavailableError('x', 'x'),
        new UpstreamRefusedError('x', 'x', undefined, { saidByRegistry: true }),
      ),
      422,
    ],
    [new ContentMismatchError('x', 'x'), 502],
    [new StoreError('x', 'x'), 503],
    [new ContentLostError('x', 'x'), 503],
    [new CatalogError('x', 'x'), 503],
    [new LeaseLostError('x', 'x'), 503],
    [new DeadlineError('x'), 503],
    [new ConfigError('x'), 500],
    [new TypeError('x'), 500],
  ];
  for (const [error, status] of table) {
    test(`${error.name} ${(error as Partial<CacheError>).code ?? ''} is ${status}`, () =>
      assert.equal(httpStatusOf(error), status));
  }
});

test('Retry-After is what the upstream said, in whole seconds; without a word only for 503', () => {
  assert.equal(retryAfterSecondsOf(429, 1500), 2);
  assert.equal(retryAfterSecondsOf(429, 0), 1);
  assert.equal(retryAfterSecondsOf(429, undefined), undefined);
  assert.equal(retryAfterSecondsOf(503, undefined), 5);
  assert.equal(retryAfterSecondsOf(503, 60_000), 60);
  assert.equal(retryAfterSecondsOf(403, 1500), undefined);
});

test('a problem has everything that a caller may know', () => {
  const cause = new InvalidNameError('inner');
  assert.deepEqual(problemOf(new InvalidRequestError('images[0].reference', 'outer', cause), 'id-1'), {
    type: 'about:blank',
    title: 'Bad Request',
    status: 400,
    detail: 'outer',
    code: 'NAME_INVALID',
    field: 'images[0].reference',
    retryable: false,
    requestId: 'id-1',
  });
});

test('a fault of our own tells nothing but its request id', () => {
  for (const error of [new TypeError('secret internals'), new ConfigError('/var/task/entrepot.yaml'), 'text']) {
    assert.deepEqual(problemOf(error, 'id-2'), {
      type: 'about:blank',
      title: 'Internal Server Error',
      status: 500,
      retryable: false,
      requestId: 'id-2',
    });
  }
});

test('what other people put into messages is taken out of the log', () => {
  assert.equal(redacted('GET https://me:pw@host/x'), 'GET https://[redacted]@host/x');
  assert.equal(redacted('authorization: Bearer abc.def-ghi=='), 'authorization: Bearer [redacted]');
  assert.equal(redacted('Basic dXNlcjpwYXNz rest'), 'Basic [redacted] rest');
  assert.equal(
    redacted('https://b.s3/x?X-Amz-Signature=abc&X-Amz-Expires=60&X-Amz-Credential=AK%2F'),
    'https://b.s3/x?X-Amz-Signature=[redacted]&X-Amz-Expires=60&X-Amz-Credential=[redacted]',
  );
  assert.equal(redacted('docker.io/library/alpine@sha256:12'), 'docker.io/library/alpine@sha256:12');
  assert.equal(redacted('x'.repeat(10_000)).length, 4096);
});
