import type { Fence } from '../lock/fence.ts';
import type { WarmupSummary } from '../telemetry/telemetry.ts';

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
