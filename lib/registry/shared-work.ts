import { setTimeout as delay } from 'node:timers/promises';

interface Run<T> {
  readonly promise: Promise<T>;
  readonly controller: AbortController;
  callers: number;
}

/** Work that follows its signal ends within it; what does not must not hold a caller beyond its own. */
const GRACE_MS = 250;

/**
 * One run of some work for all who ask while it runs. A caller whose signal fires leaves at once without harm to the others;
 * when the last one has left, the work is aborted, and that caller waits a moment for it to end: {@link GRACE_MS} at most.
 */
export class SharedWork<T> {
  #running: Run<T> | undefined;

  async run(signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const running = (this.#running ??= this.#start(work));
    running.callers++;
    const left = Promise.withResolvers<never>();
    const leave = (): void => left.reject(signal.reason as Error);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([running.promise, left.promise]);
    } finally {
      signal.removeEventListener('abort', leave);
      running.callers--;
      if (running.callers === 0 && this.#running === running) {
        this.#running = undefined;
        running.controller.abort(signal.reason);
        const ended = new AbortController();
        const end = (): void => ended.abort();
        running.promise.then(end, end);
        // Rejects when the work has ended first.
        await delay(GRACE_MS, undefined, { signal: ended.signal }).catch(() => undefined);
      }
    }
  }

  #start(work: (signal: AbortSignal) => Promise<T>): Run<T> {
    const controller = new AbortController();
    const promise = work(controller.signal).finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    const running = { promise, controller, callers: 0 };
    return running;
  }
}
