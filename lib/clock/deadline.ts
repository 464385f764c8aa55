import { DeadlineError } from '../errors/cache-error.ts';

export interface Deadline extends Disposable {
  /** Aborts with a DeadlineError. */
  readonly signal: AbortSignal;
}

/** A deadline `afterMs` from now. Disposal stops its clock: Lambda would freeze a running one and wake it in the next invocation. */
export function startDeadline(afterMs: number): Deadline {
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(
      new DeadlineError(
        `the ${Math.round(afterMs / 1000)} s for this call are over; ask again, what was finished is kept`,
      ),
    );
  }, afterMs);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
    },
  };
}
