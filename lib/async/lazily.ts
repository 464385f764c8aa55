type AsyncMethod = (...args: never[]) => Promise<unknown>;
/** An interface whose methods all return promises: only such an interface can wait for its implementation. */
type AsyncInterface<T> = { readonly [Name in keyof T]: AsyncMethod };

/** Something that is opened at its first use, and closed only if it was opened. */
export interface Lazy<T> {
  /** Opens it, once for all callers; after a failure the next caller tries again. */
  get(): Promise<T>;
  /** Closes it if it was opened, or is being opened now. */
  close(): Promise<void>;
}

/** Calls `open` at the first use. */
export function lazy<T>(open: () => Promise<T>, close: (opened: T) => Promise<void> | void = () => undefined): Lazy<T> {
  let opening: Promise<T> | undefined;
  const attempt = async (): Promise<T> => {
    try {
      return await open();
    } catch (error) {
      opening = undefined;
      throw error;
    }
  };
  return {
    get: () => (opening ??= attempt()),
    async close() {
      if (opening === undefined) return;
      const [outcome] = await Promise.allSettled([opening]);
      if (outcome.status === 'fulfilled') await close(outcome.value);
    },
  };
}

/** The value made by the first call from its argument; later calls get the same value, whatever their argument. */
export function once<A, T>(make: (argument: A) => T): (argument: A) => T {
  let made: { readonly value: T } | undefined;
  return (argument) => (made ??= { value: make(argument) }).value;
}

/**
 * An implementation that is loaded by the first call of one of its methods: a cold start does not pay for
 * what it does not use.
 *
 * @param methods names every method of the interface; the compiler finds a missing one.
 */
export function lazily<T extends AsyncInterface<T>>(
  open: () => Promise<T>,
  methods: { readonly [Name in keyof T]: true },
): T {
  const behind = lazy(open);
  const names = Object.keys(methods) as (keyof T & string)[];
  const forwarded = names.map((name) => [
    name,
    async (...args: never[]): Promise<unknown> => {
      const opened = await behind.get();
      return opened[name](...args);
    },
  ]);
  return Object.fromEntries(forwarded) as T;
}
