import { setTimeout as delay } from 'node:timers/promises';

interface Flight<T> {
  readonly promise: Promise<T>;
  readonly controller: AbortController;
  callers: number;
}

/** Work that follows its signal ends within it; what does not must not hold a caller beyond its own. */
const GRACE_MS = 250;

/**
 * One run of the same work for all who ask while it runs. A caller whose signal fires leaves at once without harm to the others;
 * when the last one has left, the work is aborted, and that caller waits a moment for it to end: {@link GRACE_MS} at most.
 */
export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();

  /** Whether {@link run} runs the work of that key now. */
  isRunning(key: string): boolean {
    return this.#flights.has(key);
  }

  /** @param key names the work: whoever brings the same one shares it. */
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
