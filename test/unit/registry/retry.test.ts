import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DeniedError, RateLimitedError, UpstreamUnavailableError } from '../../../lib/errors/cache-error.ts';
import { clean } from '../../../lib/registry/failure.ts';
import { backoffMs, parseRetryAfterMs, withRetries } from '../../../lib/registry/retry.ts';

const NOW_MS = Date.UTC(2030, 0, 1, 12, 0, 0);
const forever = new AbortController().signal;

test('Retry-After: seconds, dates, and nonsense', () => {
  assert.equal(parseRetryAfterMs('0', NOW_MS), 0);
  assert.equal(parseRetryAfterMs(' 120 ', NOW_MS), 120_000);
  assert.equal(parseRetryAfterMs('Tue, 01 Jan 2030 12:00:30 GMT', NOW_MS), 30_000);
  assert.equal(parseRetryAfterMs('Tue, 01 Jan 2030 11:00:00 GMT', NOW_MS), 0);
  for (const text of [undefined, '', 'soon', '-5', '1.5', '2030-01-01']) {
    assert.equal(parseRetryAfterMs(text, NOW_MS), undefined, text);
  }
});

test('backoff grows to a limit', () => {
  for (let tries = 1; tries < 60; tries++) {
    const ms = backoffMs(tries);
    assert.ok(ms >= 0 && ms <= Math.min(10_000, 200 * 2 ** (tries - 1)));
  }
});

const limits = { attempts: 3, retryAfterMaxMs: 1000 };

test('retries: transient errors are tried again, the last is thrown', async () => {
  let tries = 0;
  const failing = withRetries(limits, forever, () => {
    tries++;
    return Promise.reject(new UpstreamUnavailableError('read', `try ${tries}`));
  });
  await assert.rejects(failing, /try 3/);
});

test('retries: other errors are thrown at once', async () => {
  let tries = 0;
  const failing = withRetries(limits, forever, () => {
    tries++;
    return Promise.reject(new DeniedError('read', 'no'));
  });
  await assert.rejects(failing, DeniedError);
  assert.equal(tries, 1);
});

test('retries: a Retry-After above the limit fails at once, as what it is: 429 or 503', async () => {
  for (const error of [
    new RateLimitedError('read', 'slow down', 5000),
    new UpstreamUnavailableError('read', 'maintenance', { retryAfterMs: 5000 }),
  ]) {
    let tries = 0;
    const failing = withRetries(limits, forever, () => {
      tries++;
      return Promise.reject(error);
    });
    await assert.rejects(failing, (thrown) => thrown === error);
    assert.equal(tries, 1);
  }
});

test('retries: the sleep ends with the signal, and its reason is thrown', async () => {
  const controller = new AbortController();
  const reason = new Error('deadline');
  const started = Date.now();
  const failing = withRetries({ attempts: 3, retryAfterMaxMs: 60_000 }, controller.signal, () => {
    setImmediate(() => controller.abort(reason));
    return Promise.reject(new RateLimitedError('read', 'slow down', 30_000));
  });
  await assert.rejects(failing, (error) => error === reason);
  assert.ok(Date.now() - started < 5000);
});

test('clean: one line, short, without secrets', () => {
  assert.equal(
    clean('see https://bob:pw@s.test/x?X-Amz-Signature=abc for\r\nmore\u0000'),
    'see https://s.test/x?… for more',
  );
  assert.equal(clean('got Bearer abc.def-ghi and Basic dTpw'), 'got Bearer … and Basic …');
  assert.equal(clean('token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.sig rejected'), 'token … rejected');
  assert.equal(clean(`blob sha256:${'a'.repeat(64)}`), `blob sha256:${'a'.repeat(64)}`);
  assert.equal(clean('x '.repeat(500)).length, 201);
});
