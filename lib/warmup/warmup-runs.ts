import { CacheError, DeadlineError } from '../errors/cache-error.ts';
import type { Fence } from '../lock/fence.ts';
import type { WarmupSummary } from '../jobs/announcer.ts';

/** Identifies one run of a warm-up: the same for every delivery of its event. */
export interface WarmupRun {
  readonly warmup: string;
  /** ISO 8601, in UTC. */
  readonly scheduledTime: string;
}

/** The stored result of a run. */
export interface EndedRun {
  readonly summary: WarmupSummary;
  /** Whether the event bus has accepted it. */
  readonly announced: boolean;
}

/** WARMUP rows, the results of runs. A row expires some days after its last write. Every failure is a CatalogError. */
export interface WarmupRuns {
  /** Undefined if the run has not ended. Consistent. */
  find(run: WarmupRun, signal: AbortSignal): Promise<EndedRun | undefined>;
  /** Records that the run begins, under its lease, and sets the expiry of its row. @throws LeaseLostError */
  begin(run: WarmupRun, lease: Fence, signal: AbortSignal): Promise<void>;
  /** Stores the summary, if we still hold the lease. @throws LeaseLostError */
  end(summary: WarmupSummary, lease: Fence, signal: AbortSignal): Promise<void>;
  /** Records that the event bus has accepted the summary. @throws LeaseLostError */
  announced(run: WarmupRun, lease: Fence, signal: AbortSignal): Promise<void>;
}

type StartedPull = WarmupSummary['pulls'][number];

const MAX_MESSAGE_CHARACTERS = 500;

/** The result of a run so far. */
export interface RunTally {
  unchanged(): void;
  changed(): void;
  pulled(pull: StartedPull): void;
  /** The entry, or one of its references, could not be checked, or its pull not be started. */
  failed(entry: string, error: unknown): void;
  /** Sorted by name. */
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
    failed: (entry, error) => void failures.push({ entry, ...reported(error) }),
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

/** The reported part of an error: the message of an unexpected one may hold a secret (I7). */
function reported(error: unknown): { readonly message: string; readonly retryable: boolean } {
  if (error instanceof DeadlineError) {
    return { message: 'not checked before the end of this run; the next run goes on', retryable: true };
  }
  if (!(error instanceof CacheError)) return { message: 'an internal error, see the log', retryable: true };
  return { message: error.message.slice(0, MAX_MESSAGE_CHARACTERS), retryable: error.retryable };
}
