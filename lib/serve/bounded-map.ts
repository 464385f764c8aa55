/** What was asked for last stays. */
export interface BoundedMap<V> {
  get(key: string): V | undefined;
  set(key: string, value: V): void;
  delete(key: string): void;
}

/**
 * A map that forgets what was not asked for the longest as soon as it holds more than `most` of weight. What weighs more than that alone is not kept.
 *
 * @param weigh of one entry; without it each weighs 1.
 */
export function boundedMap<V>(most: number, weigh: (value: V) => number = () => 1): BoundedMap<V> {
  const entries = new Map<string, V>();
  let total = 0;
  const remove = (key: string): void => {
    const value = entries.get(key);
    if (value === undefined) return;
    entries.delete(key);
    total -= weigh(value);
  };
  return {
    get(key) {
      const value = entries.get(key);
      if (value !== undefined) {
        entries.delete(key);
        entries.set(key, value);
      }
      return value;
    },
    set(key, value) {
      remove(key);
      const weight = weigh(value);
      if (weight > most) return;
      entries.set(key, value);
      total += weight;
      for (const [oldest] of entries) {
        if (total <= most) break;
        remove(oldest);
      }
    },
    delete: remove,
  };
}
