/**
 * Group commit: calls share a sync. Each call resolves with one that began after it, so that it covers what was written before the
 * call; while one runs, all who come wait for the next.
 */
export function grouped(sync: () => Promise<void>): () => Promise<void> {
  let running: Promise<unknown> = Promise.resolve();
  let next: Promise<void> | undefined;
  return () => {
    next ??= running.then(() => {
      next = undefined;
      const synced = sync();
      // One that fails is reported to those who waited for it; the next one is tried all the same.
      running = synced.catch(() => undefined);
      return synced;
    });
    return next;
  };
}
