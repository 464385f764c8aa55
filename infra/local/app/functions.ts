import { boundLog } from '../logs.ts';
import { logNameOf, startEnvironment, type EnvironmentSpec, type ExecutionEnvironment } from './environment.ts';
import type { FunctionError, Outcome } from './runtime-api.ts';

/** A function, and how many events it handles at the same time; more are throttled. */
export interface FunctionSpec extends EnvironmentSpec {
  readonly concurrency: number;
}

/** One environment, as it is listed. */
export interface EnvironmentStatus {
  readonly function: string;
  readonly pid: number;
  readonly state: 'busy' | 'idle';
}

/**
 * Runs functions like Lambda: warm environments first, a cold start when all are busy. One machine has few processors: above
 * {@link MAX_PROCESSES} of a function, events wait for one of them.
 */
export interface Functions extends AsyncDisposable {
  /**
   * Runs the function with the event, and returns its answer.
   *
   * @throws FunctionFailedError with the function's error; ThrottledError above its concurrency; Error if there is no such function.
   */
  invoke(name: string, event: unknown): Promise<unknown>;
  environments(): readonly EnvironmentStatus[];
  /** Kills all environments; waiting calls fail. Idempotent. */
  close(): Promise<void>;
}

/** The handler threw, or its process ended. */
export class FunctionFailedError extends Error {
  readonly function: string;
  readonly error: FunctionError;

  constructor(name: string, error: FunctionError) {
    super(`${name} failed with ${error.errorType}: ${error.errorMessage}`);
    this.name = 'FunctionFailedError';
    this.function = name;
    this.error = error;
  }
}

/** The function already handles as many events as it may. */
export class ThrottledError extends Error {
  constructor(name: string, concurrency: number) {
    super(`${name} works on ${concurrency} events already, which is its concurrency; try again later`);
    this.name = 'ThrottledError';
  }
}

interface Pooled {
  readonly environment: ExecutionEnvironment;
  readonly name: string;
  busy: boolean;
  idleSinceMs: number;
}

/** Of one function. */
export const MAX_PROCESSES = 8;
/** Lambda keeps idle environments for some minutes. */
const IDLE_MS = 5 * 60_000;
const REAP_EVERY_MS = 10_000;

/** Functions by name. Processes start on demand. */
export function startFunctions(specs: readonly FunctionSpec[]): Functions {
  const byName = new Map(specs.map((spec) => [spec.name, { spec, slots: slotsOf(spec) }]));
  const pool = new Set<Pooled>();
  let closed = false;

  const discard = async (pooled: Pooled): Promise<void> => {
    pool.delete(pooled);
    await pooled.environment.stop();
  };
  const reaping = setInterval(() => {
    const idle = [...pool].filter(({ busy, idleSinceMs }) => !busy && performance.now() - idleSinceMs > IDLE_MS);
    for (const pooled of idle) void discard(pooled);
  }, REAP_EVERY_MS).unref();

  const start = async (spec: FunctionSpec): Promise<Pooled> => {
    boundLog(spec.logs, logNameOf(spec.name));
    const pooled: Pooled = { environment: await startEnvironment(spec), name: spec.name, busy: true, idleSinceMs: 0 };
    pool.add(pooled);
    if (!closed) return pooled;
    await discard(pooled);
    throw stopped(spec.name);
  };

  /** Reserved for this call when this returns. */
  const take = async (spec: FunctionSpec): Promise<Pooled> => {
    for (const pooled of pool) {
      if (pooled.name !== spec.name || pooled.busy) continue;
      if (pooled.environment.isUsable()) {
        pooled.busy = true;
        return pooled;
      }
      await discard(pooled);
    }
    return await start(spec);
  };

  const handle = async (spec: FunctionSpec, payload: Uint8Array): Promise<Outcome> => {
    const pooled = await take(spec);
    try {
      return await pooled.environment.invoke(payload);
    } finally {
      pooled.busy = false;
      pooled.idleSinceMs = performance.now();
      if (!pooled.environment.isUsable()) await discard(pooled);
    }
  };

  const invoke = async (name: string, event: unknown): Promise<unknown> => {
    const known = byName.get(name);
    if (known === undefined)
      throw new Error(`there is no function ${name}; there are ${[...byName.keys()].join(', ')}`);
    const { spec, slots } = known;
    const payload = Buffer.from(JSON.stringify(event));
    using _slot = await slots.take();
    if (closed) throw stopped(name);
    const outcome = await handle(spec, payload);
    if (outcome.kind === 'failed') throw new FunctionFailedError(name, outcome.error);
    return outcome.payload.byteLength === 0 ? null : (JSON.parse(outcome.payload.toString('utf8')) as unknown);
  };

  const close = async (): Promise<void> => {
    closed = true;
    clearInterval(reaping);
    await Promise.all([...pool].map(discard));
  };
  return {
    invoke,
    environments: () =>
      [...pool].map(({ name, environment: { pid }, busy }) => ({ function: name, pid, state: busy ? 'busy' : 'idle' })),
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** One permit for each process of the function, in the order of the calls. */
function slotsOf({ name, concurrency }: FunctionSpec): { take(): Promise<Disposable> } {
  const waiting: (() => void)[] = [];
  let taken = 0;
  const giveBack = (): void => {
    const next = waiting.shift();
    if (next === undefined) taken -= 1;
    else next();
  };
  return {
    take: async () => {
      if (taken + waiting.length >= concurrency) throw new ThrottledError(name, concurrency);
      if (taken < MAX_PROCESSES) taken += 1;
      else await new Promise<void>((resolve) => waiting.push(resolve));
      return { [Symbol.dispose]: giveBack };
    },
  };
}

const stopped = (name: string): Error => new Error(`${name} was not run: the application is being stopped`);
