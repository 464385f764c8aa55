import { Logger as PowertoolsLogger } from '@aws-lambda-powertools/logger';
import { Metrics as PowertoolsMetrics } from '@aws-lambda-powertools/metrics';
import { describedError, type LogFields, type Logger, redacted } from './logger.ts';
import type { MetricName, Metrics } from './telemetry.ts';

/** Lines of JSON by Powertools: its level is `POWERTOOLS_LOG_LEVEL`, its service `POWERTOOLS_SERVICE_NAME`. One for the life of a process. */
export function powertoolsLogger(): PowertoolsLogger {
  // Not only our own fields pass here: whatever a line holds, no text of it keeps a secret (I7).
  return new PowertoolsLogger({
    jsonReplacerFn: (_key, value) => (typeof value === 'string' ? redacted(value) : value),
  });
}

/** The log of one invocation: `fields` stand in each of its lines. */
export function invocationLogger(powertools: PowertoolsLogger, fields: LogFields): Logger {
  let kept = fields;
  return {
    debug: (message, more) => powertools.debug(message, { ...kept, ...more }),
    info: (message, more) => powertools.info(message, { ...kept, ...more }),
    warn: (message, more) => powertools.warn(message, { ...kept, ...more }),
    error: (message, error, more) => powertools.error(message, { ...kept, ...more, error: describedError(error) }),
    keep(more) {
      kept = { ...kept, ...more };
    },
  };
}

type Unit = Parameters<PowertoolsMetrics['addMetric']>[1];

/** What several values of one invocation become: counts are summed up; of measurements each one is kept. */
type Several = 'sum' | 'each';

const METRICS: Readonly<Record<MetricName, readonly [unit: Unit, several: Several]>> = {
  Hits: ['Count', 'sum'],
  Misses: ['Count', 'sum'],
  BytesCopied: ['Bytes', 'sum'],
  BytesSaved: ['Bytes', 'sum'],
  RegistryRequests: ['Count', 'sum'],
  RateLimited: ['Count', 'sum'],
  LeaseWaits: ['Count', 'sum'],
  FillMilliseconds: ['Milliseconds', 'each'],
  PullsFailed: ['Count', 'sum'],
  CredentialsRejected: ['Count', 'sum'],
  OldestRunningPullSeconds: ['Seconds', 'each'],
};
/** Of one metric in one line of EMF: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html */
const MAX_VALUES = 99;

/** The counts of one invocation, to be written out once. */
export interface InvocationMetrics extends Metrics {
  /** Writes what was counted as one line of EMF, and nothing if nothing was; what is counted later belongs to the next line. */
  flush(): void;
}

/** Metrics of the namespace `POWERTOOLS_METRICS_NAMESPACE`, with `POWERTOOLS_SERVICE_NAME` as the dimension `service`. One for the life of a process. */
export const powertoolsMetrics = (): PowertoolsMetrics => new PowertoolsMetrics();

/** Counts in memory: two invocations of one process at the same time do not see each other's. */
export function invocationMetrics(powertools: PowertoolsMetrics): InvocationMetrics {
  const counted = new Map<MetricName, number[]>();
  return {
    add(name, value) {
      const values = counted.get(name) ?? [];
      const [, several] = METRICS[name];
      if (several === 'sum') values[0] = (values[0] ?? 0) + value;
      else if (values.length < MAX_VALUES) values.push(value);
      counted.set(name, values);
    },
    flush() {
      if (counted.size === 0) return;
      for (const [name, values] of counted) {
        for (const value of values) powertools.addMetric(name, METRICS[name][0], value);
      }
      counted.clear();
      powertools.publishStoredMetrics();
    },
  };
}
