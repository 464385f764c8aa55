import { ref, type Resource, type Resources, type Value } from '../cloudformation.ts';
import type { MetricName } from '../../lib/telemetry/telemetry.ts';
import { capitalised, FUNCTIONS, functionId, metricsService, type FunctionName } from '../names.ts';
import type { StackSettings } from '../settings.ts';
import { CONTENT_DELETED, FAILED_EVENTS, UNDELIVERED_EVENTS } from './queues.ts';

export const NAMESPACE = 'Entrepot';

/** One metric as CloudWatch names it. */
export interface Metric {
  readonly namespace: string;
  readonly name: string;
  readonly dimensions: Readonly<Record<string, Value>>;
  readonly statistic: string;
}

interface Alarm {
  readonly description: string;
  readonly metrics: readonly Metric[];
  readonly threshold: number;
  readonly periodSeconds?: number;
  /** Periods in a row. */
  readonly periods?: number;
}

/** Tasks throw on purpose, to be retried: a held lock, a rate limit. Only many in a row are a problem. */
const THROWS_ON_PURPOSE: readonly FunctionName[] = ['plan', 'copy', 'publish'];

export const ofFunction = (name: FunctionName, metric: string, statistic = 'Sum'): Metric => ({
  namespace: 'AWS/Lambda',
  name: metric,
  dimensions: { FunctionName: ref(functionId(name)) },
  statistic,
});
export const ofCache = (stage: string, name: MetricName, statistic = 'Sum'): Metric => ({
  namespace: NAMESPACE,
  name,
  dimensions: { service: metricsService(stage) },
  statistic,
});
export const ofWorkflow = (name: string, statistic = 'Sum'): Metric => ({
  namespace: 'AWS/States',
  name,
  dimensions: { StateMachineArn: ref('Workflow') },
  statistic,
});
export const ofApi = (name: string, statistic = 'Sum'): Metric => ({
  namespace: 'AWS/ApiGateway',
  name,
  dimensions: { ApiId: ref('HttpApi'), Stage: '$default' },
  statistic,
});
export const ofLoadBalancer = (name: string, statistic = 'Sum'): Metric => ({
  namespace: 'AWS/ApplicationELB',
  name,
  dimensions: { LoadBalancer: { 'Fn::GetAtt': ['LoadBalancer', 'LoadBalancerFullName'] } },
  statistic,
});
export const ofQueue = (id: string, name = 'ApproximateNumberOfMessagesVisible'): Metric => ({
  namespace: 'AWS/SQS',
  name,
  dimensions: { QueueName: { 'Fn::GetAtt': [id, 'QueueName'] } },
  statistic: 'Maximum',
});

/** What needs an operator; docs/operations.md says what to do about each alarm. */
export function alarms({ stage, alarmTopicArn, loadBalancer }: StackSettings): Resources {
  const all: Record<string, Alarm> = {
    ...Object.fromEntries(FUNCTIONS.map((name) => [`${capitalised(name)}ErrorsAlarm`, errorsOf(name)])),
    ThrottlesAlarm: {
      description: 'Lambda refused invocations: the account or the reserved concurrency is too small',
      // Throttles of copy are expected: the state machine waits for a free invocation.
      metrics: FUNCTIONS.filter((name) => name !== 'copy').map((name) => ofFunction(name, 'Throttles')),
      threshold: 1,
    },
    CopyThrottlesAlarm: {
      description: 'Copying waits for its reserved concurrency all the time',
      metrics: [ofFunction('copy', 'Throttles')],
      threshold: 100,
      periods: 3,
    },
    FailedEventsAlarm: {
      description: 'A function failed with an event, retries included',
      metrics: [ofQueue(FAILED_EVENTS)],
      threshold: 1,
    },
    UndeliveredEventsAlarm: {
      description: 'A rule or a schedule could not reach its function',
      metrics: [ofQueue(UNDELIVERED_EVENTS)],
      threshold: 1,
    },
    DeletionsWaitAlarm: {
      description: 'Deletions of content have waited for more than a quarter of an hour',
      // Two attempts take six minutes each: anything older keeps failing.
      metrics: [ofQueue(CONTENT_DELETED, 'ApproximateAgeOfOldestMessage')],
      threshold: 900,
    },
    CredentialsRejectedAlarm: {
      description: 'A registry refused our credentials',
      metrics: [ofCache(stage, 'CredentialsRejected')],
      threshold: 1,
    },
    OldestRunningPullAlarm: {
      description: 'A pull has been running for more than an hour',
      metrics: [ofCache(stage, 'OldestRunningPullSeconds', 'Maximum')],
      threshold: 3600,
      periods: 2,
    },
    PullsFailedAlarm: {
      description: 'Many pulls failed',
      metrics: [ofCache(stage, 'PullsFailed')],
      threshold: 5,
      periodSeconds: 900,
    },
    WorkflowFailedAlarm: {
      description: 'Many executions failed or were stopped',
      metrics: [ofWorkflow('ExecutionsFailed'), ofWorkflow('ExecutionsAborted')],
      threshold: 5,
      periodSeconds: 900,
    },
    WorkflowTimedOutAlarm: {
      description: 'An execution ran into its time-out',
      metrics: [ofWorkflow('ExecutionsTimedOut')],
      threshold: 1,
    },
    ApiFailuresAlarm: {
      description: 'The HTTP API answers 5xx',
      metrics: [ofApi('5xx')],
      threshold: 5,
    },
    ...(loadBalancer === undefined
      ? {}
      : {
          LoadBalancerFailuresAlarm: {
            description: 'The registry endpoint answers 5xx',
            metrics: [ofLoadBalancer('HTTPCode_ELB_5XX_Count'), ofLoadBalancer('HTTPCode_Target_5XX_Count')],
            threshold: 5,
          },
        }),
  };
  return Object.fromEntries(Object.entries(all).map(([id, alarm]) => [id, alarmResource(alarm, alarmTopicArn)]));
}

function errorsOf(name: FunctionName): Alarm {
  const metrics = [ofFunction(name, 'Errors')];
  return THROWS_ON_PURPOSE.includes(name)
    ? { description: `The function ${name} fails again and again`, metrics, threshold: 25, periods: 3 }
    : { description: `The function ${name} failed`, metrics, threshold: 1 };
}

function alarmResource(alarm: Alarm, topic: string | undefined): Resource {
  const { description, metrics, threshold, periodSeconds = 300, periods = 1 } = alarm;
  return {
    Type: 'AWS::CloudWatch::Alarm',
    Properties: {
      AlarmDescription: description,
      ComparisonOperator: 'GreaterThanOrEqualToThreshold',
      Threshold: threshold,
      EvaluationPeriods: periods,
      // Where nothing happened there is nothing to report.
      TreatMissingData: 'notBreaching',
      ...measured(metrics, periodSeconds),
      ...(topic === undefined ? {} : { AlarmActions: [topic], OKActions: [topic] }),
    },
  };
}

function measured(metrics: readonly Metric[], periodSeconds: number): Readonly<Record<string, Value>> {
  const [only, ...others] = metrics;
  if (only !== undefined && others.length === 0) {
    return { ...named(only), Statistic: only.statistic, Period: periodSeconds };
  }
  return {
    Metrics: [
      // A metric that was never written counts as nothing.
      { Id: 'total', Expression: 'SUM(FILL(METRICS(), 0))', Label: 'total', ReturnData: true },
      ...metrics.map((metric, index) => ({
        Id: `m${index}`,
        MetricStat: { Metric: named(metric), Stat: metric.statistic, Period: periodSeconds },
        ReturnData: false,
      })),
    ],
  };
}

const named = ({ namespace, name, dimensions }: Metric): Readonly<Record<string, Value>> => ({
  Namespace: namespace,
  MetricName: name,
  Dimensions: Object.entries(dimensions).map(([Name, Value]) => ({ Name, Value })),
});
