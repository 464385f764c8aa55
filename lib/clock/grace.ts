/**
 * Runs `work` with a signal that fires only `graceMs` after `signal` did, with its reason: for the one request that should still happen
 * when everything else stops.
 */
export async function withGrace<T>(
  signal: AbortSignal,
  graceMs: number,
  work: (late: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const start = (): void => {
    timer = setTimeout(() => late.abort(signal.reason), graceMs);
  };
  if (signal.aborted) start();
  else signal.addEventListener('abort', start, { once: true });
  try {
    return await work(late.signal);
  } finally {
    signal.removeEventListener('abort', start);
    clearTimeout(timer);
  }
}
