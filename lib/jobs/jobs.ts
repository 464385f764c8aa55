import type { PullRequest } from '../pull/pull-request.ts';
import type { PullRecord } from './pull-record.ts';

/** Work that goes on elsewhere, whether or not the caller stays: on AWS an execution of the state machine. */
export interface Jobs {
  /**
   * Joins the pull that is under way for the same request, or starts one; when this returns, its execution was accepted.
   *
   * A pull whose execution is seen not to run any more is ended as failed, and a new one takes its place. Calling it again is safe: a process that died
   * between the record and the execution leaves a record that the next caller starts.
   *
   * @throws CatalogError; JobUnavailableError if the workflow service cannot be reached or is throttled (retryable).
   */
  start(request: PullRequest, signal: AbortSignal): Promise<PullRecord>;
}
