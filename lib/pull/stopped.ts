import { CacheError, DeadlineError } from '../errors/cache-error.ts';

/** Time is over; an error that no later try can mend is told all the same. */
export const isStopped = (deadline: AbortSignal, error: unknown): boolean =>
  deadline.aborted && deadline.reason instanceof DeadlineError && !(error instanceof CacheError && !error.retryable);
