/** What is remembered for a while of what was found out last. */
export interface Remembered<V> {
  /** Undefined where nothing is remembered, or no longer. */
  get(key: string): V | undefined;
  set(key: string, value: V): void;
}

/** Remembers at most `most` values, those that were asked for last, each for `forMs` from the moment that it was set. */
export function remembered<V>(most: number, forMs: number, now: () => number): Remembered<V> {
  const entries = new Map<string, { readonly value: V; readonly untilMs: number }>();
  return {
    get(key) {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      // A Map keeps the order in which its keys came: what is asked for moves to the end.
      entries.delete(key);
      if (now() >= entry.untilMs) return undefined;
      entries.set(key, entry);
      return entry.value;
    },
    set(key, value) {
      entries.delete(key);
      entries.set(key, { value, untilMs: now() + forMs });
      const [oldest] = entries.keys();
      if (entries.size > most && oldest !== undefined) entries.delete(oldest);
    },
  };
}
