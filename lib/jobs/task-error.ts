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

/** Error names that the state machine retries (see tasks.ts). Every other name is final. */
export const LEASE_HELD = 'LeaseHeld';
export const PLAN_AGAIN = 'PlanAgain';
export const RETRYABLE = 'Retryable';

/** Longest wait between two tries of a task that throws {@link RETRYABLE}: infra/workflow.ts. */
export const LONGEST_RETRY_MS = 60_000;

/**
 * The error of a task. The state machine decides by its name. Its message is the failure as JSON for the fail task: Lambda and Step Functions pass on nothing else.
 */
export class TaskError extends Error {
  /** For the log. */
  readonly retryable: boolean;

  constructor(name: string, failure: PullFailure, cause?: unknown) {
    super(JSON.stringify(failure), { cause });
    this.name = name;
    this.retryable = [LEASE_HELD, PLAN_AGAIN, RETRYABLE].includes(name);
    // Step Functions cuts off a long cause, so the stack stays out of it; the cause here has one.
    this.stack = name;
  }
}

/** Runs `work`, counts its requests to registries, and turns every error into a {@link TaskError}. */
export async function asTask<T>(deps: JobDeps, work: (deps: JobDeps) => Promise<T>): Promise<T> {
  const upstreams = { ...deps.pull.upstreams, ...countedUpstreams(deps.pull.upstreams, deps.metrics) };
  try {
    return await work({ ...deps, pull: { ...deps.pull, upstreams } });
  } catch (error) {
    throw taskErrorOf(error);
  } finally {
    upstreams.report();
  }
}

/** The error under the name that the state machine knows. */
export function taskErrorOf(error: unknown): TaskError {
  if (error instanceof TaskError) return error;
  return new TaskError(nameOf(error), failureOf(error), error);
}

function nameOf(error: unknown): string {
  if (error instanceof LeaseHeldError) return LEASE_HELD;
  const stale =
    error instanceof ContentSweptError || error instanceof ContentLostError || error instanceof LeaseLostError;
  if (stale) return PLAN_AGAIN;
  // The registry asks for a longer wait than the state machine makes: the caller gets the time, and requests it again.
  const waitsTooLong = error instanceof RateLimitedError && (error.retryAfterMs ?? 0) > LONGEST_RETRY_MS;
  return error instanceof CacheError && error.retryable && !waitsTooLong ? RETRYABLE : failureOf(error).name;
}

/** A final error, even if it is retryable: there were enough tries. */
export const finalError = (error: CacheError): TaskError => new TaskError(error.name, failureOf(error), error);

/** An error after which the pull is planned again. */
export const planAgain = (error: CacheError): TaskError => new TaskError(PLAN_AGAIN, failureOf(error), error);

/** Too many tries without progress: ends the workflow, which would loop forever. */
export class NoProgressError extends CacheError {
  constructor(op: string, message: string, cause?: unknown) {
    super(message, { op, origin: 'upstream', retryable: true, cause });
  }
}

/** https://docs.aws.amazon.com/lambda/latest/dg/nodejs-exceptions.html */
const lambdaError = record({ errorMessage: string });

/**
 * The failure that a task threw, as Step Functions reports it: `error` is the name, `cause` the JSON of Lambda, possibly truncated. Other errors (a timeout, a process
 * that died, a fault of Lambda) get a message of their own.
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
    return `a task of the workflow timed out (${name})`;
  }
  if (name.startsWith('Runtime.') || name.startsWith('Sandbox.')) {
    return `the process of a task ended before its work did (${name}): it may need more memory`;
  }
  if (name.startsWith('Lambda.')) return `a function of the workflow could not be invoked (${name})`;
  return `a task of the workflow failed (${name}), see the log`;
}
