import { LONGEST_RETRY_MS } from '../lib/jobs/task-error.ts';

/*
 * The state machine of a pull (lib/jobs/tasks.ts), in the Amazon States Language: https://states-language.net/spec.html
 *
 *   Plan ──done──► Done
 *     │  ▲
 *    copy└───────────── PlanAgain ─────────────┐
 *     ▼                                        │
 *   CopyBatches, side by side: ────────────────┤
 *     Copy ─► IsCopied ─done─► Copied          │
 *      ▲          │ partial                    │
 *      └── Wait ◄─┘                            │
 *     ▼                                        │
 *   Publish ───────────────────────────────────┘ ──► Done
 *
 *   anything else ─► Fail ─► Failed
 */

/** Batches that are copied at the same time. An inline Map is 40 wide at most. */
export const MAX_CONCURRENCY = 10;
const WIDEST_MAP = 40;

const HOUR_SECONDS = 3600;
/** Of a whole execution, with its waits for locks and rate limits. One that runs longer is stopped, and `oversee` ends its pull. */
const EXECUTION_SECONDS = 6 * HOUR_SECONDS;
/** A function runs for 900 s at most; this is for an answer that never comes. */
const TASK_SECONDS = 960;

interface Retrier {
  readonly ErrorEquals: readonly string[];
  readonly IntervalSeconds: number;
  readonly MaxAttempts: number;
  readonly BackoffRate: number;
  readonly MaxDelaySeconds: number;
  readonly JitterStrategy: 'FULL';
}

interface Catcher {
  readonly ErrorEquals: readonly string[];
  readonly ResultPath: string | null;
  readonly Next: string;
}

interface TaskState {
  readonly Type: 'Task';
  readonly Resource: string;
  readonly Parameters: Readonly<Record<string, unknown>>;
  readonly OutputPath: '$.Payload';
  readonly TimeoutSeconds: number;
  readonly Retry: readonly Retrier[];
  readonly Catch?: readonly Catcher[];
  readonly Next?: string;
}

interface ChoiceState {
  readonly Type: 'Choice';
  readonly Choices: readonly { readonly Variable: string; readonly StringEquals: string; readonly Next: string }[];
  readonly Default: string;
}

interface MapState {
  readonly Type: 'Map';
  readonly ItemsPath: string;
  readonly MaxConcurrency: number;
  readonly ItemProcessor: { readonly ProcessorConfig: { readonly Mode: 'INLINE' } } & States;
  readonly ResultPath: string;
  readonly Catch: readonly Catcher[];
  readonly Next: string;
}

interface WaitState {
  readonly Type: 'Wait';
  readonly SecondsPath: string;
  readonly Next: string;
}

type State =
  | TaskState
  | ChoiceState
  | MapState
  | WaitState
  | { readonly Type: 'Succeed' }
  | { readonly Type: 'Fail'; readonly Error: string; readonly Cause: string };

interface States {
  readonly StartAt: string;
  readonly States: Readonly<Record<string, State>>;
}

export interface WorkflowDefinition extends States {
  readonly Comment: string;
  readonly TimeoutSeconds: number;
}

const retrier = (
  errors: readonly string[],
  firstSeconds: number,
  attempts: number,
  longestSeconds: number,
): Retrier => ({
  ErrorEquals: errors,
  IntervalSeconds: firstSeconds,
  MaxAttempts: attempts,
  BackoffRate: 2,
  MaxDelaySeconds: longestSeconds,
  JitterStrategy: 'FULL',
});

/**
 * Throttled: nothing is wrong, so wait for long. The copying functions share one reservation. Few retries with long waits: each is three
 * events of the 25,000 that an execution may have, and there may be 200 batches.
 */
const THROTTLED = retrier(
  ['Lambda.TooManyRequestsException', 'Lambda.EC2ThrottledException', 'Lambda.KMSThrottlingException'],
  2,
  20,
  300,
);
/** Faults of Lambda itself, and lost answers: https://docs.aws.amazon.com/step-functions/latest/dg/bp-lambda-serviceexception.html */
const LAMBDA_FAULT = retrier(
  [
    'Lambda.ServiceException',
    'Lambda.AWSLambdaException',
    'Lambda.SdkClientException',
    'Lambda.ClientExecutionTimeoutException',
    'Lambda.Unknown',
  ],
  1,
  6,
  30,
);
/** The process died: killed, out of time, out of memory. Finished blobs are kept, so two retries are worth it. */
const PROCESS_DIED = retrier(
  [
    'Sandbox.Timedout',
    'Sandbox.Unknown',
    'Runtime.ExitError',
    'Runtime.OutOfMemory',
    'Runtime.Unknown',
    'States.Timeout',
  ],
  1,
  2,
  10,
);
/** Fewer than the plans that a pull may have, so that the last failure is the one reported. */
const LATER = retrier(['Retryable'], 2, 4, LONGEST_RETRY_MS / 1000);
/** Another pull of the same reference holds the lease. Every attempt waits some 20 s itself. */
const LEASE_HELD = retrier(['LeaseHeld'], 5, 150, 60);

const AGAIN: Catcher = { ErrorEquals: ['PlanAgain'], ResultPath: null, Next: 'Plan' };
const OTHERWISE: Catcher = { ErrorEquals: ['States.ALL'], ResultPath: '$.error', Next: 'Fail' };

/** One function as a task; its answer is the whole next state. */
const task = (functionArn: string, payload: Readonly<Record<string, unknown>>) => ({
  Type: 'Task' as const,
  Resource: 'arn:${Partition}:states:::lambda:invoke',
  Parameters: { FunctionName: functionArn, ...payload },
  OutputPath: '$.Payload' as const,
  TimeoutSeconds: TASK_SECONDS,
});

/**
 * The definition, with `${PlanFunctionArn}`, `${CopyFunctionArn}`, `${PublishFunctionArn}`, `${FailFunctionArn}` and `${Partition}` to be filled in. Of the
 * standard type; an execution is named by the id of its pull, and its input is `{"id"}` alone.
 *
 * @param maxConcurrency batches that one pull copies at the same time, 1 to 40.
 */
export function workflowDefinition(maxConcurrency = MAX_CONCURRENCY): WorkflowDefinition {
  if (!Number.isInteger(maxConcurrency) || maxConcurrency < 1 || maxConcurrency > WIDEST_MAP) {
    throw new RangeError(`maxConcurrency is ${maxConcurrency}; it must be a whole number from 1 to ${WIDEST_MAP}`);
  }
  return {
    Comment: 'Entrepot: one pull. Plans, copies the missing blobs in batches side by side, publishes.',
    TimeoutSeconds: EXECUTION_SECONDS,
    StartAt: 'Plan',
    States: {
      Plan: {
        ...task('${PlanFunctionArn}', { Payload: { 'id.$': '$.id' } }),
        Retry: [LEASE_HELD, LATER, THROTTLED, LAMBDA_FAULT, PROCESS_DIED],
        Catch: [AGAIN, OTHERWISE],
        Next: 'IsPlanned',
      },
      IsPlanned: {
        Type: 'Choice',
        Choices: [{ Variable: '$.outcome', StringEquals: 'copy', Next: 'CopyBatches' }],
        Default: 'Done',
      },
      CopyBatches: {
        Type: 'Map',
        ItemsPath: '$.batches',
        MaxConcurrency: maxConcurrency,
        ItemProcessor: { ProcessorConfig: { Mode: 'INLINE' }, ...copying() },
        ResultPath: '$.batches',
        Catch: [AGAIN, OTHERWISE],
        Next: 'Publish',
      },
      Publish: {
        ...task('${PublishFunctionArn}', { 'Payload.$': '$' }),
        Retry: [LATER, THROTTLED, LAMBDA_FAULT, PROCESS_DIED],
        Catch: [AGAIN, OTHERWISE],
        Next: 'Done',
      },
      Done: { Type: 'Succeed' },
      Fail: {
        ...task('${FailFunctionArn}', { Payload: { 'id.$': '$.id', 'error.$': '$.error' } }),
        Retry: [retrier(['States.ALL'], 2, 8, 60)],
        Next: 'Failed',
      },
      Failed: {
        Type: 'Fail',
        Error: 'PullFailed',
        Cause: 'The record of the pull says why: GET /v1/pulls/{id}, where the id is the name of this execution',
      },
    },
  };
}

/** One batch: repeated while it is partial. */
const copying = (): States => ({
  StartAt: 'Copy',
  States: {
    Copy: {
      ...task('${CopyFunctionArn}', { 'Payload.$': '$' }),
      Retry: [LATER, THROTTLED, LAMBDA_FAULT, PROCESS_DIED],
      Next: 'IsCopied',
    },
    IsCopied: {
      Type: 'Choice',
      Choices: [{ Variable: '$.outcome', StringEquals: 'partial', Next: 'Wait' }],
      Default: 'Copied',
    },
    Wait: { Type: 'Wait', SecondsPath: '$.waitSeconds', Next: 'Copy' },
    Copied: { Type: 'Succeed' },
  },
});
