import type { PullFailure } from '../pull/failure.ts';
import type { Receipt } from '../pull/receipt.ts';

/** An event for other systems, on the event bus of the cache. Delivered at least once. */
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
  /** The time of the schedule, ISO 8601. */
  readonly scheduledTime: string;
  readonly checked: number;
  readonly unchanged: number;
  /** Ids of the pulls that were started or joined. */
  readonly pulls: readonly {
    readonly reference: string;
    readonly id: string;
    readonly outcome: 'succeeded' | 'failed' | 'running';
  }[];
  /** Entries that could not be checked, each with its reason. */
  readonly failures: readonly { readonly entry: string; readonly message: string; readonly retryable: boolean }[];
}

export interface Announcer {
  /** @throws CacheError (retryable) if the event bus did not accept it. */
  announce(announcement: Announcement, signal: AbortSignal): Promise<void>;
}
