import type { Receipt } from '../pull/receipt.ts';
import type { PullFailure } from '../pull/failure.ts';

/** What the dashboard and the alarms count; each is one CloudWatch metric of the namespace `Entrepot`. */
export type MetricName =
  | 'Hits'
  | 'Misses'
  | 'BytesCopied'
  /** Bytes that were wanted and in the cache already. */
  | 'BytesSaved'
  | 'RegistryRequests'
  /** Answers of registries, 429 (too many requests): also those that a retry made good. */
  | 'RateLimited'
  /** Tasks that found the lock of their reference held. */
  | 'LeaseWaits'
  /** From the request to the receipt of a miss. */
  | 'FillMilliseconds'
  | 'PullsFailed'
  /** A registry refused our credentials, or they could not be read. */
  | 'CredentialsRejected'
  | 'OldestRunningPullSeconds';

/** Counts of one invocation; written out once, at its end. */
export interface Metrics {
  add(name: MetricName, value: number): void;
}

/** What other systems may want to know, on the event bus of the cache. Delivered at least once. */
export type Announcement =
  | {
      readonly type: 'Image Cached';
      readonly detail: { readonly pullId: string | null; readonly receipt: Receipt };
    }
  | {
      readonly type: 'Pull Failed';
      readonly detail: { readonly pullId: string; readonly reference: string; readonly error: PullFailure };
    }
  | {
      readonly type: 'Warmup Finished';
      readonly detail: WarmupSummary;
    };

/** What one run of a warm-up did. */
export interface WarmupSummary {
  readonly warmup: string;
  /** As the schedule named it, ISO 8601. */
  readonly scheduledTime: string;
  readonly checked: number;
  readonly unchanged: number;
  /** Ids of the pulls that were started or joined. */
  readonly pulls: readonly {
    readonly reference: string;
    readonly id: string;
    readonly outcome: 'succeeded' | 'failed' | 'running';
  }[];
  /** Entries that could not be looked at, each with its reason. */
  readonly failures: readonly { readonly entry: string; readonly message: string; readonly retryable: boolean }[];
}

export interface Announcer {
  /** @throws CacheError (retryable) if the bus did not take it. */
  announce(announcement: Announcement, signal: AbortSignal): Promise<void>;
}
