interface Run<T> {
  readonly promise: Promise<T>;
  readonly controller: AbortController;
  callers: number;
}

/**
 * One run of some work for all who ask while it runs. A caller whose signal fires leaves at once without harm to the others;
 * when the last one has left, the work is aborted, and that caller waits until it has ended.
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
        await running.promise.catch(() => undefined);
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
