import {
  COPY_MEGABYTES_PER_SECOND,
  COPY_START_SECONDS,
  HIT_SECONDS,
  HOURS_PER_MONTH,
  IMAGE,
  KMS_REQUESTS_OF_DYNAMODB,
  LOG_BYTES,
  LOG_MONTHS,
  MEMORY_GB,
  MOST_WAITED_SECONDS,
  OVERSEE_RUNS_PER_MONTH,
  OVERSEE_SECONDS,
  PLAN_SECONDS,
  PULL_REQUESTS,
  PUBLISH_SECONDS,
  S3_REQUESTS_PER_KMS_REQUEST,
  SQS_POLLS_PER_MONTH,
  TABLE_BYTES_PER_IMAGE,
  WARMUP_ENTRY_SECONDS,
  WARMUP_START_SECONDS,
  type Team,
} from './assumptions.ts';
import type { Counts, Requests } from './counts.ts';
import type { PriceName, PriceTable } from './prices.ts';

const GB = 1_000_000_000;

/** Quantities of priced units. */
export type Usage = Partial<Record<PriceName, number>>;

/** Dollars by what they are for. */
export type Bill = ReadonlyMap<string, number>;

/** The units of each line of the bill. */
const LINES: Readonly<Record<string, readonly PriceName[]>> = {
  Lambda: ['lambdaGbSecond', 'lambdaRequest'],
  'HTTP API': ['httpApiRequest'],
  'DynamoDB requests': ['dynamoDbReadUnit', 'dynamoDbWriteUnit'],
  'DynamoDB storage': ['dynamoDbGbMonth'],
  'S3 requests': ['s3Write', 's3Read'],
  'S3 storage': ['s3GbMonth'],
  'Step Functions': ['stepFunctionsTransition'],
  'EventBridge, Scheduler and SQS': ['eventBridgeEvent', 'schedulerInvocation', 'sqsRequest'],
  'Metrics, alarms, dashboard': ['customMetricMonth', 'alarmMetricMonth', 'dashboardMonth'],
  'Two secrets: a registry and signing': ['secretMonth'],
  'Logs, kept a month': ['logsGbIngested', 'logsGbMonth'],
  'KMS, with a key of your own': ['kmsKeyMonth', 'kmsRequest'],
  'Point-in-time recovery': ['dynamoDbPitrGbMonth'],
  'CloudTrail data events, if recorded': ['cloudTrailDataEvent'],
  'Egress to another region': ['crossRegionGb'],
};
/** Lines that every stack has; the others depend on settings. */
export const BASE_LINES = Object.keys(LINES).slice(0, 10);
export const EXTRA_LINES = Object.keys(LINES).slice(10);

export const sumOf = (bill: Bill, lines: Iterable<string> = bill.keys()): number =>
  [...lines].reduce((sum, line) => sum + (bill.get(line) ?? 0), 0);

/** What the usage costs, line by line. */
export function billOf({ prices }: PriceTable, usage: Usage): Bill {
  const of = (name: PriceName): number => (usage[name] ?? 0) * prices[name].usd;
  return new Map(Object.entries(LINES).map(([line, names]) => [line, names.reduce((sum, name) => sum + of(name), 0)]));
}

export function added(...usages: readonly Usage[]): Usage {
  const total: Usage = {};
  for (const usage of usages) {
    for (const [name, quantity] of Object.entries(usage) as [PriceName, number][]) {
      total[name] = (total[name] ?? 0) + quantity;
    }
  }
  return total;
}

export const times = (factor: number, usage: Usage): Usage =>
  Object.fromEntries(Object.entries(usage).map(([name, quantity]) => [name, quantity * factor]));

/** What the requests are billed as, those of Lambda and its logs left out. */
const requestsUsage = (requests: Requests): Usage => ({
  dynamoDbReadUnit: requests.readUnits,
  dynamoDbWriteUnit: requests.writeUnits,
  s3Write: requests.s3Writes,
  s3Read: requests.s3Reads,
  stepFunctionsTransition: requests.transitions,
  eventBridgeEvent: requests.events,
  kmsRequest: (requests.s3Writes + requests.s3Reads) / S3_REQUESTS_PER_KMS_REQUEST,
  cloudTrailDataEvent: requests.dynamoDbRequests + requests.s3Writes + requests.s3Reads,
});

const invocation = (name: keyof typeof MEMORY_GB, seconds: number, invocations = 1): Usage => ({
  lambdaRequest: invocations,
  lambdaGbSecond: MEMORY_GB[name] * seconds,
  logsGbIngested: (invocations * LOG_BYTES) / GB,
  logsGbMonth: (invocations * LOG_BYTES * LOG_MONTHS) / GB,
});

export const hitUsage = ({ hit }: Counts): Usage =>
  added(requestsUsage(hit), invocation('api', HIT_SECONDS), { httpApiRequest: 1 });

/** A container runtime pulls {@link IMAGE}, which is cached, through the HTTP API, and reads its blobs from S3. */
export function servedUsage({ served: { tag, manifest, blob } }: Counts): Usage {
  const { pings, tags, manifests } = PULL_REQUESTS;
  const requests = pings + tags + manifests + IMAGE.blobs;
  return added(
    times(tags, requestsUsage(tag)),
    times(manifests, requestsUsage(manifest)),
    times(IMAGE.blobs, added(requestsUsage(blob), { s3Read: 1, cloudTrailDataEvent: 1 })),
    invocation('registry', requests * HIT_SECONDS, requests),
    { httpApiRequest: requests },
  );
}

/** A miss of so many megabytes, by `POST /v1/pull`, that waits for the end. */
function missUsage(requests: Requests, megabytes: number): Usage {
  const { plan = 0, copy = 0, publish = 0 } = requests.invocations;
  const copySeconds = copy * COPY_START_SECONDS + megabytes / COPY_MEGABYTES_PER_SECOND;
  const waitedSeconds = Math.min(MOST_WAITED_SECONDS, PLAN_SECONDS + copySeconds + PUBLISH_SECONDS);
  return added(
    requestsUsage(requests),
    { httpApiRequest: 1 },
    invocation('api', waitedSeconds),
    invocation('plan', plan * PLAN_SECONDS, plan),
    invocation('copy', copySeconds, copy),
    invocation('publish', publish * PUBLISH_SECONDS, publish),
  );
}

export const sampleMissUsage = ({ miss, sample }: Counts): Usage => missUsage(miss, sample.bytes / 1_000_000);

/** A miss of {@link IMAGE}: that of the sample image, and what its further blobs and parts take. */
export function usualMissUsage(counts: Counts): Usage {
  const { miss, missBlob, missPart, sample } = counts;
  return added(
    missUsage(miss, IMAGE.megabytes),
    times(IMAGE.blobs - sample.blobs, requestsUsage(missBlob)),
    times(IMAGE.parts, requestsUsage(missPart)),
  );
}

/** One run that found nothing changed. */
export const warmupUsage = ({ warmupRun, warmupEntry }: Counts, entries: number): Usage =>
  added(
    requestsUsage(warmupRun),
    times(entries, requestsUsage(warmupEntry)),
    invocation('warmup', WARMUP_START_SECONDS + entries * WARMUP_ENTRY_SECONDS),
    { schedulerInvocation: 1 },
  );

/** A month of an idle stack. */
const idleUsage = (counts: Counts): Usage =>
  added(times(OVERSEE_RUNS_PER_MONTH, invocation('oversee', OVERSEE_SECONDS)), {
    sqsRequest: SQS_POLLS_PER_MONTH,
    customMetricMonth: counts.customMetrics,
    alarmMetricMonth: counts.alarmMetrics,
    dashboardMonth: 1,
    secretMonth: 2,
    kmsKeyMonth: 1,
    kmsRequest: KMS_REQUESTS_OF_DYNAMODB,
  });

export const idleBill = (table: PriceTable, counts: Counts): Bill => billOf(table, idleUsage(counts));

/** One team's month. */
export function monthlyBill(table: PriceTable, counts: Counts, team: Team): Bill {
  const tableGb = ((team.storedGb * 1000) / IMAGE.megabytes) * (TABLE_BYTES_PER_IMAGE / GB);
  return billOf(
    table,
    added(
      idleUsage(counts),
      times(team.hits, hitUsage(counts)),
      times(team.served, servedUsage(counts)),
      times(team.misses, usualMissUsage(counts)),
      times(team.warmupRuns, warmupUsage(counts, team.warmupEntries)),
      { s3GbMonth: team.storedGb, dynamoDbGbMonth: tableGb, dynamoDbPitrGbMonth: tableGb },
      { crossRegionGb: team.crossRegionGb },
    ),
  );
}

/** The same content in ECR, by its pull-through cache. */
export const ecrMonth = ({ prices }: PriceTable, team: Team): number =>
  team.storedGb * prices.ecrGbMonth.usd + team.crossRegionGb * prices.crossRegionGb.usd;

/** The same content on the disk of one small server that always runs. */
export const serverMonth = ({ prices }: PriceTable, team: Team): number =>
  HOURS_PER_MONTH * (prices.t4gSmallHour.usd + prices.ipv4Hour.usd) +
  team.storedGb * prices.gp3GbMonth.usd +
  team.crossRegionGb * prices.crossRegionGb.usd;
