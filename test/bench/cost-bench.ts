import type { Requests } from '../../infra/cost/counts.ts';
import { startSampleRegistry } from '../../infra/local/sample/sample-registry.ts';
import { startStates } from '../../infra/local/states/states.ts';
import { workflowDefinition } from '../../infra/workflow.ts';
import { sfnJobs } from '../../lib/jobs/sfn-jobs.ts';
import { waitForEnd } from '../../lib/jobs/jobs.ts';
import type { Image } from '../../infra/local/sample/image-builder.ts';
import { pull } from '../../lib/pull/pull.ts';
import type { PullRequest } from '../../lib/pull/pull-request.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import type { Announcer } from '../../lib/jobs/announcer.ts';
import type { Logger } from '../../lib/telemetry/logger.ts';
import { localRegistry } from '../../lib/cli/serve.ts';
import { runWarmup } from '../../lib/warmup/run-warmup.ts';
import { copyTask } from '../../lib/jobs/copy-task.ts';
import { planTask } from '../../lib/jobs/plan-task.ts';
import { publishTask } from '../../lib/jobs/publish-task.ts';
import { localDefinition } from '../integration/jobs/workflow-bench.ts';
import { openCache } from '../support/cache.ts';
import { sfnClientAt } from '../support/state-machine.ts';
import { startStack } from '../support/stack.ts';
import { REGISTRY } from './bench.ts';
import { startCapacityProxy } from './capacity-proxy.ts';
import { registryKind, s3Kind, startCountingProxy, type Traffic } from './counting-proxy.ts';
import { transitionsOf } from './state-transitions.ts';

/** The application on the embedded stack, with everything that costs money counted. */
export interface CostBench extends AsyncDisposable {
  /** The registry has the image now. Returns the reference. */
  offer(name: string, image: Image): string;
  /** What a pull through the workflow takes, from the request to the receipt. */
  miss(reference: string, signal: AbortSignal): Promise<Requests>;
  hit(reference: string, signal: AbortSignal): Promise<Requests>;
  /** What a request of the registry endpoint takes, in a process that has nothing in memory: `manifests/v1` of the image that was offered as `name`. */
  serve(name: string, rest: string): Promise<Requests>;
  /** One run over references that are all cached and unchanged. */
  warmUp(references: readonly string[], signal: AbortSignal): Promise<Requests>;
}

const forever = new AbortController().signal;
const SILENT: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  keep: () => undefined,
};
const S3_WRITES = /^(PutObject|UploadPart|CreateMultipartUpload|CompleteMultipartUpload|LIST)/;
const S3_READS = /^(GetObject|HeadObject)/;

export async function startCostBench(): Promise<CostBench> {
  const resources = new AsyncDisposableStack();
  const stack = resources.use(await startStack());
  const sample = resources.use(await startSampleRegistry());
  const registry = resources.use(await startCountingProxy(sample.origin, registryKind));
  const s3 = resources.use(await startCountingProxy(stack.s3Endpoint, s3Kind));
  const dynamo = resources.use(await startCapacityProxy(stack.dynamoEndpoint));
  const cache = resources.use(
    await openCache(stack, {
      registries: { [REGISTRY]: { endpoint: registry.origin, credentials: 'none', public: true } },
      limits: { leaseSeconds: 15 },
      s3Endpoint: s3.origin,
      dynamoEndpoint: dynamo.origin,
    }),
  );
  const { services } = cache;
  const metrics = { add: (): void => undefined };
  let invocations: Record<string, number> = {};
  let events = 0;
  const announcer: Announcer = {
    announce: () => {
      events += 1;
      return Promise.resolve();
    },
  };

  const { pull: pulls, records, plans, workflowLeases: leases, catalog, warmupRuns: runs } = services;
  const deps = { pull: pulls, records, leases, plans, announcer, metrics };
  const tasks = { plan: planTask, copy: copyTask, publish: publishTask };
  const definition = workflowDefinition();
  let batches = 0;
  const invoke = async (name: string, payload: unknown, signal: AbortSignal): Promise<unknown> => {
    invocations[name] = (invocations[name] ?? 0) + 1;
    if (name === 'copy') batches += 1;
    if (name in tasks) return await tasks[name as keyof typeof tasks](deps, payload, signal);
    throw new Error(`no pull of the bench may come to ${name}`);
  };
  const states = resources.use(
    await startStates({
      definition: localDefinition(),
      onEnded: () => undefined,
      invoke: async (name, payload, signal) => ({ payload: await invoke(name, payload, signal) }),
    }),
  );
  const client = sfnClientAt(states.endpoint);
  resources.defer(() => client.destroy());
  const jobs = sfnJobs({ records, leases, client, stateMachine: states.stateMachineArn });

  const sum = (traffic: ReadonlyMap<string, Traffic>, kind = /./): number =>
    [...traffic].reduce((total, [name, { requests }]) => (kind.test(name) ? total + requests : total), 0);
  const take = (executions: number): Requests => {
    const { requests: dynamoDbRequests, readUnits, writeUnits } = dynamo.take();
    const objects = s3.take();
    const taken = {
      ...{ dynamoDbRequests, readUnits, writeUnits },
      ...{ s3Writes: sum(objects, S3_WRITES), s3Reads: sum(objects, S3_READS) },
      ...{ registryRequests: sum(registry.take()), invocations, events },
      transitions: executions === 0 ? 0 : transitionsOf(definition, batches),
    };
    invocations = {};
    events = 0;
    batches = 0;
    return taken;
  };
  const requestOf = (reference: string): PullRequest => ({
    reference: parseReference(reference),
    ...{ platforms: [], alwaysPull: false, attestations: true },
  });

  return {
    offer(name, image) {
      sample.publish(`cost/${name}`, 'v1', image);
      return `${REGISTRY}/cost/${name}:v1`;
    },
    async miss(reference, signal) {
      const request = requestOf(reference);
      take(0);
      // As the API does: look, start, wait.
      invocations.api = 1;
      await catalog.find(request.reference, { consistent: false, signal });
      const record = await waitForEnd(records, await jobs.start(request, signal), signal);
      if (record.state !== 'succeeded') throw new Error(`the pull of ${reference} ended as ${record.state}`);
      return take(1);
    },
    async hit(reference, signal) {
      take(0);
      invocations.api = 1;
      const { outcome } = await pull(pulls, requestOf(reference), signal);
      if (outcome !== 'hit') throw new Error(`the pull of ${reference} was to be a hit, but is a ${outcome}`);
      return take(0);
    },
    async serve(name, rest) {
      take(0);
      invocations.registry = 1;
      const request = {
        method: 'GET',
        path: `/v2/${REGISTRY}/cost/${name}/${rest}`,
        query: '',
        header: () => undefined,
      };
      const { status } = await localRegistry(services, jobs)({ request, signal: forever, logger: SILENT, metrics });
      if (status !== 200 && status !== 307) throw new Error(`${request.path} was to be a hit, but is ${status}`);
      return take(0);
    },
    async warmUp(references, signal) {
      take(0);
      invocations.warmup = 1;
      const entries = references.map((reference) => ({
        what: { kind: 'reference' as const, reference: parseReference(reference) },
        ...{ platforms: [], attestations: true },
      }));
      const name = `of-${references.length}`;
      const settings = { name, schedule: 'rate(1 hour)', timeZone: 'UTC', parallel: 1, entries };
      const { upstreams, defaultPlatforms } = pulls;
      const failed = (entry: string, error: unknown): void => console.error(entry, error);
      const all = { ...{ catalog, upstreams, jobs, records, runs, announcer }, defaultPlatforms, metrics, failed };
      const time = { signal, endsAtMs: Date.now() + 60_000 };
      const summary = await runWarmup({ ...all, leases: pulls.leases }, settings, '2026-01-01T00:00:00Z', time);
      if (summary?.unchanged !== references.length) throw new Error('every entry of the warm-up was to be unchanged');
      return take(0);
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
