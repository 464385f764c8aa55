import { setTimeout as delay } from 'node:timers/promises';

interface Flight<T> {
  readonly promise: Promise<T>;
  readonly controller: AbortController;
  callers: number;
}

/** How long the last caller waits for aborted work to end. */
const GRACE_MS = 250;

/**
 * Runs the same work once for all callers at the same time. A caller whose signal fires leaves at once and
 * does not disturb the others. When the last one leaves, the work is aborted, and that caller waits up to
 * {@link GRACE_MS} for it to end.
 */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();

  /** Whether work with that key is running. */
  isRunning(key: string): boolean {
    return this.#flights.has(key);
  }

  /** @param key names the work: callers with the same key share one run. */
  async run(key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#start(key, work);
    flight.callers++;
    const left = Promise.withResolvers<never>();
    const leave = (): void => left.reject(signal.reason as Error);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([flight.promise, left.promise]);
    } finally {
      signal.removeEventListener('abort', leave);
      flight.callers--;
      if (flight.callers === 0 && this.#flights.get(key) === flight) {
        this.#flights.delete(key);
        flight.controller.abort(signal.reason);
        const ended = new AbortController();
        const end = (): void => ended.abort();
        flight.promise.then(end, end);
        // Rejects when the work has ended first.
        await delay(GRACE_MS, undefined, { signal: ended.signal }).catch(() => undefined);
      }
    }
  }

  #start(key: string, work: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const promise = work(controller.signal).finally(() => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    });
    const flight = { promise, controller, callers: 0 };
    this.#flights.set(key, flight);
    return flight;
  }
}
