import { CacheError, DeadlineError } from '../errors/cache-error.ts';
import type { Fence } from '../lock/fence.ts';
import type { WarmupSummary } from '../jobs/announcer.ts';

/** One run of a warm-up: the same however often its event is delivered. */
export interface WarmupRun {
  readonly warmup: string;
  /** ISO 8601, in UTC. */
  readonly scheduledTime: string;
}

/** What is kept of a run that ended. */
export interface EndedRun {
  readonly summary: WarmupSummary;
  /** Whether the event bus took it. */
  readonly announced: boolean;
}

/** WARMUP rows: what runs did. A row expires some days after its last write. Every failure is a CatalogError. */
export interface WarmupRuns {
  /** Undefined where the run has not ended. Consistent. */
  find(run: WarmupRun, signal: AbortSignal): Promise<EndedRun | undefined>;
  /** The run begins, under its lease: from here on its row expires, also if nothing more is ever written. @throws LeaseLostError */
  begin(run: WarmupRun, lease: Fence, signal: AbortSignal): Promise<void>;
  /** Keeps what the run did, if its lease is still ours. @throws LeaseLostError */
  end(summary: WarmupSummary, lease: Fence, signal: AbortSignal): Promise<void>;
  /** The event bus took the summary. */
  announced(run: WarmupRun, lease: Fence, signal: AbortSignal): Promise<void>;
}

type StartedPull = WarmupSummary['pulls'][number];

const MAX_MESSAGE_CHARACTERS = 500;

/** What a run did so far. */
export interface RunTally {
  unchanged(): void;
  changed(): void;
  pulled(pull: StartedPull): void;
  /** The entry, or one of its references, could not be looked at, or its pull not be started. */
  failed(entry: string, error: unknown): void;
  /** In the order of their names, whatever the order in which they came. */
  summary(): WarmupSummary;
}

export function runTally({ warmup, scheduledTime }: WarmupRun): RunTally {
  let checked = 0;
  let unchanged = 0;
  const pulls: StartedPull[] = [];
  const failures: WarmupSummary['failures'][number][] = [];
  return {
    unchanged() {
      checked += 1;
      unchanged += 1;
    },
    changed() {
      checked += 1;
    },
    pulled: (pull) => void pulls.push(pull),
    failed: (entry, error) => void failures.push({ entry, ...told(error) }),
    summary: () => ({
      warmup,
      scheduledTime,
      checked,
      unchanged,
      pulls: pulls.toSorted((a, b) => order(a.reference, b.reference)),
      failures: failures.toSorted((a, b) => order(a.entry, b.entry)),
    }),
  };
}

const order = (a: string, b: string): number => (a < b ? -1 : Number(a > b));

/** What may be told of an error: those that were not thrown on purpose may hold anything (I7). */
function told(error: unknown): { readonly message: string; readonly retryable: boolean } {
  if (error instanceof DeadlineError) {
    return { message: 'the time of this run was over before; the next run goes on', retryable: true };
  }
  if (!(error instanceof CacheError)) return { message: 'an internal error, see the log', retryable: true };
  return { message: error.message.slice(0, MAX_MESSAGE_CHARACTERS), retryable: error.retryable };
}
