/**
 * Group commit: calls share a sync. Each call resolves with a sync that began after it, and so covers its writes. Calls during a sync
 * share the next one.
 */
export function grouped(sync: () => Promise<void>): () => Promise<void> {
  let running: Promise<unknown> = Promise.resolve();
  let next: Promise<void> | undefined;
  return () => {
    next ??= running.then(() => {
      next = undefined;
      const synced = sync();
      // A failed sync is reported to its callers; the next one is tried all the same.
      running = synced.catch(() => undefined);
      return synced;
    });
    return next;
  };
}
