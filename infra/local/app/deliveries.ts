import { appendFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { boundLog, logFile } from '../logs.ts';
import { ThrottledError, type Functions } from './functions.ts';

/** Asynchronous invocations: the caller does not wait, and a failed invocation is retried twice. */
export interface Deliveries extends AsyncDisposable {
  /** Queues the event for the function. Never throws. */
  deliver(functionName: string, event: unknown): void;
  /** Running invocations end with their function; the remaining events become dead letters. Idempotent. */
  close(): Promise<void>;
}

/** Lambda waits one minute, then two; locally that is too long. */
const RETRY_AFTER_MS = [1_000, 2_000] as const;
/** Lambda retries a throttled event for six hours. */
const THROTTLED_FOR_MS = 60_000;
const THROTTLED_RETRY_MS = 500;
const DEAD_LETTERS = 'dead-letters';

/** Events that failed in every attempt are written to `dead-letters.log` in `logs`, one a line. */
export function startDeliveries(functions: Functions, logs: string): Deliveries {
  const closing = new AbortController();
  const underWay = new Set<Promise<void>>();

  const once = async (functionName: string, event: unknown): Promise<void> => {
    const start = performance.now();
    for (;;) {
      try {
        await functions.invoke(functionName, event);
        return;
      } catch (error) {
        if (!(error instanceof ThrottledError) || performance.now() - start > THROTTLED_FOR_MS) throw error;
      }
      await sleep(THROTTLED_RETRY_MS, undefined, { signal: closing.signal });
    }
  };
  const untilDelivered = async (functionName: string, event: unknown): Promise<void> => {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await once(functionName, event);
        return;
      } catch (error) {
        const waitMs = RETRY_AFTER_MS[attempt];
        if (waitMs === undefined || closing.signal.aborted) throw error;
        await sleep(waitMs, undefined, { signal: closing.signal });
      }
    }
  };

  const close = async (): Promise<void> => {
    closing.abort();
    await Promise.all(underWay);
  };
  return {
    deliver: (functionName, event) => {
      const delivery = untilDelivered(functionName, event)
        .catch((error: unknown) => bury(logs, functionName, event, error))
        .finally(() => underWay.delete(delivery));
      underWay.add(delivery);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** Adds an event that failed in every attempt to the dead letters. */
export function bury(logs: string, functionName: string, event: unknown, error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  boundLog(logs, DEAD_LETTERS);
  const letter = { time: new Date().toISOString(), function: functionName, error: message, event };
  appendFileSync(logFile(logs, DEAD_LETTERS), `${JSON.stringify(letter)}\n`, { mode: 0o600 });
}
