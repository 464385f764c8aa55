/*
 * Estimates that no count of requests gives: how long functions run on AWS, and who pulls how much. To be replaced by measurements of a deployed stack.
 */

export const HOURS_PER_MONTH = 730;
/** Memory as serverless.yml gives it to the functions; copy has what its windows of parts need. */
export const MEMORY_GB = {
  api: 1,
  registry: 1,
  fetch: 1,
  events: 0.5,
  plan: 1,
  copy: 1769 / 1024,
  publish: 1,
  warmup: 1,
  oversee: 0.5,
} as const;
/** Billed for an answer from a warm function; a cold start adds some 200 ms to few of them. */
export const HIT_SECONDS = 0.04;
export const PLAN_SECONDS = 2;
export const PUBLISH_SECONDS = 1.5;
export const COPY_START_SECONDS = 1;
export const COPY_MEGABYTES_PER_SECOND = 60;
/** The longest wait of `POST /v1/pull` for the workflow. */
export const MOST_WAITED_SECONDS = 20;
export const WARMUP_START_SECONDS = 1;
export const WARMUP_ENTRY_SECONDS = 0.1;
/** Every five minutes. */
export const OVERSEE_RUNS_PER_MONTH = HOURS_PER_MONTH * 12;
export const OVERSEE_SECONDS = 0.2;
/** Lambda looks into the queue of deletions by five long polls of 20 s: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html */
export const SQS_POLLS_PER_MONTH = HOURS_PER_MONTH * 5 * 180;
/** Of one invocation: Lambda's own three lines, one or two of ours, the metrics. */
export const LOG_BYTES = 2_500;
/** Logs are kept for a month by default. */
export const LOG_MONTHS = 1;
/** With the bucket key, one request of this many reaches KMS. */
export const S3_REQUESTS_PER_KMS_REQUEST = 100;
/** DynamoDB keeps a table's key for five minutes, for each caller. */
export const KMS_REQUESTS_OF_DYNAMODB = HOURS_PER_MONTH * 12 * Object.keys(MEMORY_GB).length;
/** Rows of one stored image: links, uses, blobs. */
export const TABLE_BYTES_PER_IMAGE = 30_000;

/** A usual image: one platform. */
export const IMAGE = { megabytes: 500, blobs: 12, parts: 63 } as const;

/** Requests of a client that pulls an image of one platform by tag, beside its blobs: `/v2/`, the index, the manifest. */
export const PULL_REQUESTS = { pings: 1, tags: 1, manifests: 1 } as const;

/** One team's month. */
export interface Team {
  readonly name: string;
  readonly people: string;
  readonly hits: number;
  /** Of usual images, all of their blobs, by the registry endpoint. */
  readonly served: number;
  /** Of usual images. */
  readonly misses: number;
  readonly warmupRuns: number;
  /** In each run. */
  readonly warmupEntries: number;
  readonly storedGb: number;
  /** Read from the bucket by another region. */
  readonly crossRegionGb: number;
}

export const TEAMS: readonly Team[] = [
  {
    name: 'small',
    people: '20 developers, one cluster',
    hits: 10_000,
    served: 5_000,
    misses: 300,
    warmupRuns: 30,
    warmupEntries: 30,
    storedGb: 100,
    crossRegionGb: 0,
  },
  {
    name: 'medium',
    people: '200 developers, CI all day',
    hits: 150_000,
    served: 100_000,
    misses: 3_000,
    warmupRuns: HOURS_PER_MONTH,
    warmupEntries: 100,
    storedGb: 1_000,
    crossRegionGb: 1_000,
  },
  {
    name: 'large',
    people: '2,000 developers, two regions',
    hits: 3_000_000,
    served: 1_000_000,
    misses: 30_000,
    warmupRuns: HOURS_PER_MONTH,
    warmupEntries: 500,
    storedGb: 10_000,
    crossRegionGb: 10_000,
  },
];
