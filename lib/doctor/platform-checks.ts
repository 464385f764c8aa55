import { documentOf, shown } from './api-checks.ts';
import { must, SkipError, type Check } from './check.ts';
import type { HttpAnswer } from './sigv4-requests.ts';
import type { Target } from './target.ts';

/*
 * Checks of Lambda and CloudWatch. They need one request each, so they use no client of the SDK.
 */

interface PlatformFixture extends AsyncDisposable {
  readonly target: Target;
  readonly stage: string;
}

/** @returns SkipError if the names of the functions are not known. */
export function openPlatformFixture(target: Target): PlatformFixture | SkipError {
  const { deployment } = target;
  if (deployment instanceof SkipError) return deployment;
  const { stage } = deployment;
  if (stage === null) {
    return new SkipError('the names are not those of serverless.yml; check the functions and their metrics by hand');
  }
  return { target, stage, [Symbol.asyncDispose]: () => Promise.resolve() };
}

/** Named by serverless.yml. */
export const DEPLOYED_FUNCTIONS = [
  'api',
  'registry',
  'fetch',
  'pull',
  'plan',
  'copy',
  'publish',
  'fail',
  'oversee',
  'warmup',
  'events',
] as const;
const RUNTIME = 'nodejs24.x arm64';
const PERIOD_SECONDS = 300;
/** The metric is written every five minutes, and CloudWatch shows it some minutes later. */
const LOOK_BACK_SECONDS = 3600;

/** The configuration of a function: https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConfiguration.html */
interface FunctionConfiguration {
  readonly Runtime?: string;
  readonly Architectures?: readonly string[];
  readonly State?: string;
}

function ask(
  { requests, region }: Target,
  service: string,
  call: { readonly method: string; readonly path: string; readonly headers?: Record<string, string>; body?: string },
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const { path, ...rest } = call;
  const suffix = region.startsWith('cn-') ? '.cn' : '';
  const url = new URL(`https://${service}.${region}.amazonaws.com${suffix}${path}`);
  return requests.signed(service, { ...rest, url }, signal);
}

/** What Lambda and CloudWatch must do. */
export const PLATFORM_CHECKS: readonly Check<PlatformFixture>[] = [
  {
    id: 'lambda-runtime',
    claim: `every function runs on ${RUNTIME}`,
    awsOnly: 'its functions are processes of this machine',
    async run({ target, stage }, signal) {
      for (const name of DEPLOYED_FUNCTIONS) {
        const path = `/2015-03-31/functions/entrepot-${stage}-${name}/configuration`;
        const answer = await ask(target, 'lambda', { method: 'GET', path }, signal);
        must(answer.status === 200, `${name}: ${shown(answer)}`);
        const { Runtime = '', Architectures = [], State = '' } = documentOf(answer) as FunctionConfiguration;
        const seen = `${Runtime} ${Architectures.join('+')}`;
        // Lambda sets functions inactive that were not invoked for long.
        must(seen === RUNTIME && ['Active', 'Inactive'].includes(State), `${name}: ${seen} ${State}`);
      }
      return `${DEPLOYED_FUNCTIONS.length} functions on ${RUNTIME}`;
    },
  },
  {
    id: 'cloudwatch-emf',
    claim: 'metrics that functions write into their log arrive; the five-minute rule fires',
    awsOnly: 'its functions write to files',
    async run({ target, stage }, signal) {
      const nowSeconds = Math.floor(Date.now() / 1000);
      const body = JSON.stringify({
        Namespace: 'Entrepot',
        MetricName: 'OldestRunningPullSeconds',
        Dimensions: [{ Name: 'service', Value: `entrepot-${stage}` }],
        StartTime: nowSeconds - LOOK_BACK_SECONDS,
        EndTime: nowSeconds,
        Period: PERIOD_SECONDS,
        Statistics: ['SampleCount'],
      });
      const headers = {
        'content-type': 'application/x-amz-json-1.0',
        'x-amz-target': 'GraniteServiceVersion20100801.GetMetricStatistics',
      };
      const answer = await ask(target, 'monitoring', { method: 'POST', path: '/', headers, body }, signal);
      must(answer.status === 200, shown(answer));
      const { Datapoints: points = [] } = documentOf(answer) as { Datapoints?: readonly unknown[] };
      const seen = `${points.length} values of OldestRunningPullSeconds in the last hour`;
      must(points.length > 0, `${seen}; after the first deployment, wait a quarter of an hour`);
      return seen;
    },
  },
];
