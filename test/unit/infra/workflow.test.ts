import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';
import { MAX_CONCURRENCY, workflowDefinition } from '../../../infra/workflow.ts';
import { MAX_BATCHES } from '../../../lib/jobs/plan-document.ts';
import type { CopyAnswer, PlanAnswer } from '../../../lib/jobs/tasks.ts';

/** It has no types. */
const validate = createRequire(import.meta.url)('asl-validator') as (definition: object) => {
  readonly isValid: boolean;
  readonly errors: readonly unknown[];
};

/** Of Step Functions: https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html */
const MOST_EVENTS = 25_000;
const MOST_STATE_BYTES = 256 * 1024;

const filled = (definition: object): object =>
  JSON.parse(
    JSON.stringify(definition)
      .replaceAll('${Partition}', 'aws')
      .replace(
        /\$\{(\w+)FunctionArn\}/g,
        (_, name: string) => `arn:aws:lambda:eu-central-1:123456789012:function:entrepot-dev-${name.toLowerCase()}`,
      ),
  ) as object;

interface Retrier {
  readonly ErrorEquals: readonly string[];
  readonly MaxAttempts: number;
}

describe('the state machine', () => {
  test('is valid', () => {
    const { isValid, errors } = validate(filled(workflowDefinition()));
    assert.deepEqual(errors, []);
    assert.ok(isValid);
  });

  test('names four functions and the partition, and nothing else', () => {
    const names = [...JSON.stringify(workflowDefinition()).matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name);
    const expected = ['CopyFunctionArn', 'FailFunctionArn', 'Partition', 'PlanFunctionArn', 'PublishFunctionArn'];
    assert.deepEqual([...new Set(names)].sort(), expected);
  });

  test('copies as many batches side by side as it is told, within what a Map can', () => {
    const widthOf = (width?: number) => {
      const { CopyBatches: map } = workflowDefinition(width).States;
      return map?.Type === 'Map' ? map.MaxConcurrency : undefined;
    };
    assert.deepEqual([widthOf(), widthOf(1), widthOf(40)], [MAX_CONCURRENCY, 1, 40]);
    for (const width of [0, 41, 1.5]) assert.throws(() => workflowDefinition(width), /from 1 to 40/);
  });

  test('tries every task again that may succeed later, with full jitter, and lets nothing end without the fail task', () => {
    const { Plan, CopyBatches, Publish, Fail } = workflowDefinition().States;
    assert.ok(
      Plan?.Type === 'Task' && Publish?.Type === 'Task' && Fail?.Type === 'Task' && CopyBatches?.Type === 'Map',
    );
    const { Copy } = CopyBatches.ItemProcessor.States;
    assert.ok(Copy?.Type === 'Task');
    for (const { Retry, TimeoutSeconds } of [Plan, Copy, Publish]) {
      const errors = Retry.flatMap((retrier) => retrier.ErrorEquals);
      for (const error of ['Retryable', 'Lambda.TooManyRequestsException', 'Lambda.Unknown', 'Runtime.ExitError']) {
        assert.ok(errors.includes(error), error);
      }
      assert.equal(new Set(errors).size, errors.length, 'no error is retried by two rules');
      assert.ok(!errors.includes('States.ALL'), 'what is final is not tried again');
      for (const retrier of Retry) assert.equal(retrier.JitterStrategy, 'FULL');
      assert.ok(TimeoutSeconds > 900);
    }
    for (const { Catch } of [Plan, CopyBatches, Publish]) {
      assert.deepEqual(
        Catch?.map(({ ErrorEquals: [error], Next: next }) => [error, next]),
        [
          ['PlanAgain', 'Plan'],
          ['States.ALL', 'Fail'],
        ],
      );
    }
  });
});

describe('1,000 blobs, in as many batches as there can be,', () => {
  const batches = MAX_BATCHES;
  /** A task is entered, scheduled, started, ends and is left; a retry is scheduled, started and fails before. */
  const TASK_EVENTS = 5;
  const RETRY_EVENTS = 3;
  const CHOICE_EVENTS = 2;
  const SUCCEED_EVENTS = 2;
  const WAIT_EVENTS = 2;
  const MAP_EVENTS = 2;
  const once = MAP_EVENTS + TASK_EVENTS + CHOICE_EVENTS + SUCCEED_EVENTS;
  const round = WAIT_EVENTS + TASK_EVENTS + CHOICE_EVENTS;

  test('fit into the history: with every batch partial for each of its blobs, and some retries of each', () => {
    const around = 1 + 3 * TASK_EVENTS + 2 * CHOICE_EVENTS + 4 + SUCCEED_EVENTS + 1;
    const partial = (1_000 / batches) * round;
    const retries = 10 * RETRY_EVENTS;
    const events = around + batches * (once + partial + retries);
    assert.ok(events <= MOST_EVENTS, `${events} events`);
  });

  test('fit into the history when every batch is tried as often as it may be', () => {
    const { CopyBatches } = workflowDefinition().States;
    assert.ok(CopyBatches?.Type === 'Map');
    const { Copy } = CopyBatches.ItemProcessor.States;
    assert.ok(Copy?.Type === 'Task');
    const retries = (Copy.Retry as readonly Retrier[]).reduce((sum, { MaxAttempts }) => sum + MaxAttempts, 0);
    const events = 50 + batches * (once + retries * RETRY_EVENTS);
    assert.ok(events <= MOST_EVENTS, `${events} events`);
  });

  test('fit into the history even when they are planned five times, with a partial round for each batch', () => {
    const events = 5 * (TASK_EVENTS * 2 + batches * (once + round));
    assert.ok(events <= MOST_EVENTS, `${events} events`);
  });

  test('no task that went wrong is tried so often that the history ends before the patience does', () => {
    const { Plan } = workflowDefinition().States;
    assert.ok(Plan?.Type === 'Task');
    const attempts = (Plan.Retry as readonly Retrier[]).reduce((sum, { MaxAttempts }) => sum + MaxAttempts, 0);
    assert.ok(attempts * RETRY_EVENTS < MOST_EVENTS / 10);
  });

  test('fit into the state, before the Map and after it', () => {
    const id = '6c1b0d0e-0000-4000-8000-000000000001';
    const task = { id, plan: `plans/${id}/5.json`, idle: 1, waits: 8, keptBytes: Number.MAX_SAFE_INTEGER };
    const tally = { present: 10_000_000_000_000, copied: 10_000_000_000_000, copiedElsewhere: 10_000_000_000_000 };
    const many = 1_000_000;
    const requests = { total: many, ping: many, token: many, manifest: many, blob: many, redirected: many };
    const absent = [0, 11, 22, 33];
    const answers = Array.from({ length: batches }, (_, batch): CopyAnswer => {
      return { ...task, batch, outcome: 'partial', waitSeconds: 900, blobs: tally, bytes: tally, requests, absent };
    });
    const planned: PlanAnswer = { id, outcome: 'copy', plan: task.plan, batches: answers };
    const bytes = Buffer.byteLength(JSON.stringify(planned));
    assert.ok(bytes < MOST_STATE_BYTES / 2, `${bytes} bytes`);
  });
});
