import type { Resources, Value } from '../cloudformation.ts';
import { FUNCTIONS, stackName } from '../names.ts';
import { ofApi, ofCache, ofFunction, ofQueue, ofWorkflow, type Metric } from './alarms.ts';
import { CONTENT_DELETED, FAILED_EVENTS, UNDELIVERED_EVENTS } from './queues.ts';

interface Widget {
  readonly title: string;
  readonly metrics: readonly Metric[];
}

const COLUMNS = 3;
const WIDTH = 24 / COLUMNS;
const HEIGHT = 6;

/** The state of the cache on one page. */
export function dashboard(stage: string): Resources {
  const widgets: Widget[] = [
    { title: 'Hits and misses', metrics: [ofCache(stage, 'Hits'), ofCache(stage, 'Misses')] },
    { title: 'Bytes', metrics: [ofCache(stage, 'BytesCopied'), ofCache(stage, 'BytesSaved')] },
    { title: 'Fill time, ms', metrics: ['p50', 'p90', 'p99'].map((p) => ofCache(stage, 'FillMilliseconds', p)) },
    {
      title: 'Registries',
      metrics: [
        ofCache(stage, 'RegistryRequests'),
        ofCache(stage, 'RateLimited'),
        ofCache(stage, 'CredentialsRejected'),
      ],
    },
    {
      title: 'Pulls',
      metrics: [ofWorkflow('ExecutionsStarted'), ofCache(stage, 'PullsFailed'), ofCache(stage, 'LeaseWaits')],
    },
    { title: 'Oldest running pull, s', metrics: [ofCache(stage, 'OldestRunningPullSeconds', 'Maximum')] },
    { title: 'API answers', metrics: [ofApi('Count'), ofApi('4xx'), ofApi('5xx')] },
    { title: 'API latency, ms', metrics: [ofApi('Latency', 'p50'), ofApi('Latency', 'p99')] },
    {
      title: 'Messages in queues',
      metrics: [FAILED_EVENTS, UNDELIVERED_EVENTS, CONTENT_DELETED].map((id) => ofQueue(id)),
    },
    { title: 'Errors', metrics: FUNCTIONS.map((name) => ofFunction(name, 'Errors')) },
    { title: 'Throttles', metrics: FUNCTIONS.map((name) => ofFunction(name, 'Throttles')) },
    { title: 'Concurrency', metrics: FUNCTIONS.map((name) => ofFunction(name, 'ConcurrentExecutions', 'Maximum')) },
  ];
  // Intrinsics within JSON text: each becomes a variable of one Fn::Sub.
  const variables: Record<string, Value> = {};
  const body = JSON.stringify({
    widgets: widgets.map((widget, index) => ({
      type: 'metric',
      x: (index % COLUMNS) * WIDTH,
      y: Math.floor(index / COLUMNS) * HEIGHT,
      width: WIDTH,
      height: HEIGHT,
      properties: {
        title: widget.title,
        region: '${AWS::Region}',
        period: 300,
        metrics: widget.metrics.map((metric) => line(metric, variables)),
      },
    })),
  });
  return {
    Dashboard: {
      Type: 'AWS::CloudWatch::Dashboard',
      Properties: {
        // Dashboards belong to the account, not to a region.
        DashboardName: { 'Fn::Sub': `${stackName(stage)}-\${AWS::Region}` },
        DashboardBody: { 'Fn::Sub': [body, variables] },
      },
    },
  };
}

function line({ namespace, name, dimensions, statistic }: Metric, variables: Record<string, Value>): readonly Value[] {
  const shown = Object.entries(dimensions).flatMap(([dimension, value]) => [
    dimension,
    typeof value === 'string' ? value : placeholder(value, variables),
  ]);
  return [namespace, name, ...shown, { stat: statistic }];
}

function placeholder(value: Value, variables: Record<string, Value>): string {
  const known = Object.entries(variables).find(([, other]) => JSON.stringify(other) === JSON.stringify(value));
  const name = known?.[0] ?? `V${Object.keys(variables).length}`;
  variables[name] = value;
  return `\${${name}}`;
}
