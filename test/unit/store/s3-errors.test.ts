import { S3ServiceException } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ContentLostError, StoreError } from '../../../lib/errors/cache-error.ts';
import { isConflict, isNotFound, isPreconditionFailed, raise, storeError } from '../../../lib/store/s3-client.ts';

const answered = (status: number, name: string): S3ServiceException =>
  new S3ServiceException({ name, message: 'said S3', $fault: 'client', $metadata: { httpStatusCode: status } });

test('only a 404 of an object or upload is "not found"', () => {
  assert.ok(isNotFound(answered(404, 'NoSuchKey')));
  assert.ok(isNotFound(answered(404, 'NotFound')));
  assert.ok(isNotFound(answered(404, 'NoSuchUpload')));
  for (const other of [answered(404, 'NoSuchBucket'), answered(403, 'AccessDenied'), answered(503, 'SlowDown')]) {
    assert.ok(!isNotFound(other));
  }
  assert.ok(!isNotFound(new Error('socket hang up')));
  assert.ok(!isNotFound('NotFound'));
});

test('412 and 409 are told apart', () => {
  assert.ok(isPreconditionFailed(answered(412, 'PreconditionFailed')));
  assert.ok(isConflict(answered(409, 'ConditionalRequestConflict')));
  assert.ok(!isConflict(answered(412, 'PreconditionFailed')));
});

test('whether a later try may help is decided by what was answered', () => {
  for (const [error, retryable] of [
    [answered(500, 'InternalError'), true],
    [answered(503, 'SlowDown'), true],
    [answered(409, 'ConditionalRequestConflict'), true],
    [answered(404, 'NoSuchUpload'), true],
    [new Error('socket hang up'), true],
    [answered(404, 'NoSuchBucket'), false],
    [answered(403, 'AccessDenied'), false],
    [answered(400, 'EntityTooSmall'), false],
    [Object.assign(new Error('none'), { name: 'CredentialsProviderError' }), false],
  ] as const) {
    const { retryable: found, message, cause } = storeError('find content', 's3://bucket/key', error);
    assert.equal(found, retryable, message);
    assert.match(message, /^find content s3:\/\/bucket\/key: /);
    assert.equal(cause, error);
  }
});

test('an abort surfaces as its reason, a domain error as itself', () => {
  const reason = new Error('the deadline');
  const lost = new ContentLostError('read content', 'gone');
  const aborted = AbortSignal.abort(reason);
  const { signal } = new AbortController();
  assert.throws(
    () => raise(new Error('AbortError'), 'op', 'where', aborted),
    (error) => error === reason,
  );
  assert.throws(
    () => raise(lost, 'op', 'where', signal),
    (error) => error === lost,
  );
  assert.throws(() => raise('odd', 'op', 'where', signal), StoreError);
});
