import { type PullFailure, failureOf, pullFailure } from '../pull/failure.ts';
import {
  CacheError,
  ContentLostError,
  ContentSweptError,
  LeaseHeldError,
  LeaseLostError,
  RateLimitedError,
} from '../errors/cache-error.ts';
import { countedUpstreams } from '../telemetry/counted-upstreams.ts';
import { decode, record, ShapeError, string } from '../oci/schemas.ts';
import type { JobDeps } from './jobs.ts';

/** What the state machine does about an error. Every other name is final. */
export const LEASE_HELD = 'LeaseHeld';
export const PLAN_AGAIN = 'PlanAgain';
export const RETRYABLE = 'Retryable';

/** Between two tries of a task that throws {@link RETRYABLE}: infra/workflow.ts. */
export const LONGEST_RETRY_MS = 60_000;

/**
 * What a task throws. Its name is what the state machine decides by; its message is the failure as JSON, so that the fail task knows the error itself:
 * Lambda and Step Functions carry nothing else.
 */
export class TaskError extends Error {
  /** For the log. */
  readonly retryable: boolean;

  constructor(name: string, failure: PullFailure, cause?: unknown) {
    super(JSON.stringify(failure), { cause });
    this.name = name;
    this.retryable = [LEASE_HELD, PLAN_AGAIN, RETRYABLE].includes(name);
    // The cause has a stack; here it would make the cause that Step Functions gets too long.
    this.stack = name;
  }
}

/** Gives back what `work` does, and counts what it asked of registries; whatever it throws becomes a {@link TaskError}. */
export async function asTask<T>(deps: JobDeps, work: (deps: JobDeps) => Promise<T>): Promise<T> {
  const upstreams = { ...deps.pull.upstreams, ...countedUpstreams(deps.pull.upstreams, deps.metrics) };
  try {
    return await work({ ...deps, pull: { ...deps.pull, upstreams } });
  } catch (error) {
    throw taskErrorOf(error);
  } finally {
    upstreams.tell();
  }
}

/** The error as the state machine tells it apart. */
export function taskErrorOf(error: unknown): TaskError {
  if (error instanceof TaskError) return error;
  return new TaskError(nameOf(error), failureOf(error), error);
}

function nameOf(error: unknown): string {
  if (error instanceof LeaseHeldError) return LEASE_HELD;
  const stale =
    error instanceof ContentSweptError || error instanceof ContentLostError || error instanceof LeaseLostError;
  if (stale) return PLAN_AGAIN;
  // What the registry wants is longer than the state machine waits: the caller hears for how long, and asks again.
  const rests = error instanceof RateLimitedError && (error.retryAfterMs ?? 0) > LONGEST_RETRY_MS;
  return error instanceof CacheError && error.retryable && !rests ? RETRYABLE : failureOf(error).name;
}

/** The error is final, whatever it is otherwise: enough was tried. */
export const finalError = (error: CacheError): TaskError => new TaskError(error.name, failureOf(error), error);

/** Planning again may help, whatever the error is otherwise. */
export const planAgain = (error: CacheError): TaskError => new TaskError(PLAN_AGAIN, failureOf(error), error);

/** Again and again, and nothing came of it: a workflow must not go round for ever. */
export class NoProgressError extends CacheError {
  constructor(op: string, message: string, cause?: unknown) {
    super(message, { op, origin: 'upstream', retryable: true, cause });
  }
}

/** https://docs.aws.amazon.com/lambda/latest/dg/nodejs-exceptions.html */
const lambdaError = record({ errorMessage: string });

/**
 * The failure that a task threw, from what Step Functions says of it: `error` is the name, `cause` the JSON that Lambda wrote, cut off where it was long. What
 * no task of ours threw (a time-out, a process that died, a fault of Lambda) becomes a plain sentence.
 */
export function failureFrom(error: string, cause: string): PullFailure {
  try {
    const { errorMessage } = decode(lambdaError, JSON.parse(cause), 'cause');
    return decode(pullFailure, JSON.parse(errorMessage), 'failure');
  } catch (unreadable) {
    if (!(unreadable instanceof ShapeError || unreadable instanceof SyntaxError)) throw unreadable;
    return foreignFailure(error);
  }
}

function foreignFailure(error: string): PullFailure {
  const name = /^[\w.]{1,100}$/.test(error) ? error : 'an unknown error';
  return { name: 'WorkflowError', message: `${sentenceOf(name)}; pull again`, status: 503, retryable: true };
}

function sentenceOf(name: string): string {
  if (name === 'States.Timeout' || name === 'Sandbox.Timedout') {
    return `a task of the workflow did not end in its time (${name})`;
  }
  if (name.startsWith('Runtime.') || name.startsWith('Sandbox.')) {
    return `the process of a task ended before its work did (${name}): it may need more memory`;
  }
  if (name.startsWith('Lambda.')) return `a function of the workflow could not be invoked (${name})`;
  return `a task of the workflow failed (${name}), see the log`;
}
