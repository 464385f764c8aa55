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
