/** Requests of one piece of work, counted. */
export interface Requests {
  readonly dynamoDbRequests: number;
  readonly readUnits: number;
  readonly writeUnits: number;
  /** PUT, POST, LIST: the expensive ones. */
  readonly s3Writes: number;
  /** GET and HEAD. */
  readonly s3Reads: number;
  readonly registryRequests: number;
  /** Of Step Functions. */
  readonly transitions: number;
  /** Invocations of Lambda, by function. */
  readonly invocations: Readonly<Record<string, number>>;
  /** Events put on the own bus. */
  readonly events: number;
}

/** infra/cost/counts.json: written by test/bench/cost-counts.ts, read by infra/cost.ts. */
export interface Counts {
  /** ISO 8601 day. */
  readonly countedOn: string;
  readonly sample: {
    readonly blobs: number;
    readonly manifests: number;
    readonly bytes: number;
  };
  /** A cached image, asked for by `POST /v1/pull`. */
  readonly hit: Requests;
  /** One request of the registry endpoint for a cached image, in a process with empty caches. */
  readonly served: {
    /** Of a tag that is fresh. */
    readonly tag: Requests;
    /** By digest. */
    readonly manifest: Requests;
    /** The redirect; what the client then reads from S3 is not in it. */
    readonly blob: Requests;
  };
  /** The sample image (two platforms with attestations) through the workflow, from `POST /v1/pull` to the receipt. */
  readonly miss: Requests;
  /** One more blob, of one part. */
  readonly missBlob: Requests;
  /** One more part of a multipart blob. */
  readonly missPart: Requests;
  /** One run of a warm-up, without its entries. */
  readonly warmupRun: Requests;
  /** One unchanged entry. A changed one costs a miss as well. */
  readonly warmupEntry: Requests;
  /** Metrics that alarms watch. */
  readonly alarmMetrics: number;
  readonly customMetrics: number;
}
