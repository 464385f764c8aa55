import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  CatalogError,
  ConfigError,
  ContentLostError,
  ContentSweptError,
  DeadlineError,
  DeniedError,
  LeaseHeldError,
  LeaseLostError,
  PlatformMissingError,
  RateLimitedError,
  StoreError,
  UpstreamUnavailableError,
} from '../../../lib/errors/cache-error.ts';
import { failureOf } from '../../../lib/pull/failure.ts';
import { failureFrom, finalError, taskErrorOf } from '../../../lib/jobs/task-error.ts';

/** As Lambda writes an error down for Step Functions. */
const causeOf = (error: Error): string =>
  JSON.stringify({ errorType: error.name, errorMessage: error.message, trace: error.stack?.split('\n') });

describe('the name of a task error', () => {
  const cases: [Error, string][] = [
    [new LeaseHeldError('lock', 'held'), 'LeaseHeld'],
    [new LeaseLostError('renew', 'lost'), 'PlanAgain'],
    [new ContentSweptError('publish', 'swept'), 'PlanAgain'],
    [new ContentLostError('read', 'gone'), 'PlanAgain'],
    [new CatalogError('read', 'throttled'), 'Retryable'],
    [new DeadlineError('over'), 'Retryable'],
    [new RateLimitedError('read', 'later', 5_000), 'Retryable'],
    [new UpstreamUnavailableError('read', 'down'), 'Retryable'],
    [new StoreError('read', 'refused', undefined, false), 'StoreError'],
    [new DeniedError('read', 'no'), 'DeniedError'],
    [new PlatformMissingError('none'), 'PlatformMissingError'],
    [new ConfigError('wrong'), 'InternalError'],
    [new TypeError('a fault'), 'InternalError'],
  ];
  for (const [error, name] of cases) {
    test(`of ${error.name} (${error.message}) is ${name}`, () => {
      const thrown = taskErrorOf(error);
      assert.equal(thrown.name, name);
      assert.equal(thrown.cause, error);
      assert.equal(thrown.retryable, ['LeaseHeld', 'PlanAgain', 'Retryable'].includes(name));
      assert.equal(taskErrorOf(thrown), thrown);
      assert.deepEqual(failureFrom(thrown.name, causeOf(thrown)), failureOf(error));
    });
  }

  test('is its own where enough was tried', () => {
    const error = new RateLimitedError('read blob', 'the registry said so');
    const thrown = finalError(error);
    assert.equal(thrown.name, 'RateLimitedError');
    const expected = { name: 'RateLimitedError', message: 'the registry said so', code: 'TOOMANYREQUESTS' };
    assert.deepEqual(failureFrom(thrown.name, causeOf(thrown)), { ...expected, status: 429, retryable: true });
  });
});

test('a fault of ours tells its caller nothing but that', () => {
  const { name, message, status } = failureOf(new Error('password=hunter2 in a stack'));
  assert.deepEqual([name, status], ['InternalError', 500]);
  assert.doesNotMatch(message, /hunter2/);
});

test('a long message is cut, so that the cause stays readable', () => {
  const thrown = taskErrorOf(new PlatformMissingError('x'.repeat(100_000)));
  const cause = causeOf(thrown);
  assert.ok(cause.length < 32_768);
  const failure = failureFrom(thrown.name, cause);
  assert.equal(failure.name, 'PlatformMissingError');
  assert.equal(failure.message.length, 4_001);
});

describe('what no task threw', () => {
  const foreign: [string, string, RegExp][] = [
    ['States.Timeout', '', /timed out \(States\.Timeout\)/],
    [
      'Sandbox.Timedout',
      '{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 1 Error: Task timed out"}',
      /timed out/,
    ],
    ['Runtime.ExitError', '{"errorType":"Runtime.ExitError","errorMessage":"signal: killed"}', /more memory/],
    ['Lambda.TooManyRequestsException', 'Rate Exceeded.', /could not be invoked/],
    [
      'Error',
      '{"errorType":"Error","errorMessage":"{\\"name\\":',
      /a task of the workflow failed \(Error\), see the log/,
    ],
    ['PlatformMissingError', '{"errorType":"PlatformMissingError","errorMe', /failed \(PlatformMissingError\)/],
    ['<script>'.repeat(50), 'null', /an unknown error/],
    [
      'Error',
      '{"errorMessage":"{\\"name\\":\\"X\\",\\"message\\":\\"m\\",\\"code\\":\\"WHATEVER\\",\\"status\\":1,\\"retryable\\":true}"}',
      /see the log/,
    ],
  ];
  for (const [error, cause, message] of foreign) {
    test(`becomes a plain sentence: ${error.slice(0, 40)} ${cause.slice(0, 30)}`, () => {
      const failure = failureFrom(error, cause);
      assert.deepEqual([failure.name, failure.status, failure.retryable], ['WorkflowError', 503, true]);
      assert.match(failure.message, message);
    });
  }
});

test('a rest that a registry asks for is a retry while the state machine waits that long, and else the end, which says for how long', () => {
  const limited = (retryAfterMs?: number) => taskErrorOf(new RateLimitedError('read', 'later', retryAfterMs));
  assert.deepEqual(
    [limited().name, limited(60_000).name, limited(60_001).name],
    ['Retryable', 'Retryable', 'RateLimitedError'],
  );
  assert.equal(failureFrom('RateLimitedError', causeOf(limited(90_000))).retryAfterMs, 90_000);
});
