import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { localRegistry } from '../../lib/cli/serve.ts';
import { registryServer } from '../../lib/http/registry/registry-server.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import { copyTask } from '../../lib/jobs/copy-task.ts';
import { localJobs } from '../../lib/jobs/local-jobs.ts';
import { planTask } from '../../lib/jobs/plan-task.ts';
import { publishTask } from '../../lib/jobs/publish-task.ts';
import type { CopyAnswer } from '../../lib/jobs/tasks.ts';
import type { JobDeps } from '../../lib/jobs/jobs.ts';
import { openCache, type TestCache } from '../support/cache.ts';
import { buildImage, noiseLayer, upstreamImage, type Image } from '../support/images.ts';
import { serveCall } from '../support/serve-call.ts';
import { until } from '../support/until.ts';
import { startUpstream } from '../support/upstream/upstream.ts';
import { REGISTRY, type Bench } from './bench.ts';
import { dynamoKind, registryKind, s3Kind, startCountingProxy, type Traffic } from './counting-proxy.ts';
import { printTable, printTitle } from './table.ts';

const LAYERS = [1, 10, 25, 100, 500];
const LAYER_BYTES = 1_000;
const SERVED_WITHIN_MS = 120_000;

/** Requests of each kind, by service. */
type Counts = Readonly<Record<string, ReadonlyMap<string, Traffic>>>;
/** Does `work`, and keeps what it sent under the name. */
type Count = (name: string, work: () => Promise<void>) => Promise<void>;

/** How many requests pulls, tasks of the workflow and serving send to each service, by the number of layers. */
export async function roundTripsSection(bench: Bench): Promise<void> {
  await using resources = new AsyncDisposableStack();
  const { stack } = bench;
  const upstream = resources.use(await startUpstream());
  const registry = resources.use(await startCountingProxy(upstream.origin, registryKind));
  const s3 = resources.use(await startCountingProxy(stack.s3Endpoint, s3Kind));
  const dynamo = resources.use(await startCountingProxy(stack.dynamoEndpoint, dynamoKind));
  const cache = resources.use(
    await openCache(stack, {
      registries: { [REGISTRY]: { endpoint: registry.origin, credentials: 'none', public: true } },
      limits: { leaseSeconds: 60 }, // No renewal: their number would depend on the machine.
      s3Endpoint: s3.origin,
      dynamoEndpoint: dynamo.origin,
    }),
  );
  const take = (): Counts => ({ DynamoDB: dynamo.take(), S3: s3.take(), registry: registry.take() });

  const seen = new Map<string, Counts[]>();
  for (const layers of LAYERS) {
    const count: Count = async (name, work) => {
      take();
      await work();
      seen.set(name, [...(seen.get(name) ?? []), take()]);
    };
    const publish = (repository: string, image: Image, ...tags: string[]): void =>
      upstream.addImage(repository, upstreamImage(image, ...tags));
    await roundTrips({ cache, publish, count, layers, signal: bench.signal });
  }
  printTitle(`Requests by the number of layers (${LAYER_BYTES.toLocaleString('en')} bytes each, and a config)`);
  printTable(
    ['', ...LAYERS.map(String)],
    [...seen].flatMap(([name, counts]) => rowsOf(name, counts)),
  );
}

interface RoundTrips {
  readonly cache: TestCache;
  readonly publish: (repository: string, image: Image, ...tags: string[]) => void;
  readonly count: Count;
  readonly layers: number;
  readonly signal: AbortSignal;
}

async function roundTrips({ cache, publish, count, layers, signal }: RoundTrips): Promise<void> {
  const layersOf = (seed: string) =>
    Array.from({ length: layers }, (_, i) => noiseLayer(LAYER_BYTES, `${seed}/${layers}/${i}`));
  const imageOf = (own: ReturnType<typeof layersOf>): Image => buildImage({ platform: 'linux/amd64', layers: own });
  const own = layersOf('pulled');
  const nightly = imageOf([...own.slice(0, -1), noiseLayer(LAYER_BYTES, `nightly/${layers}`)]);
  const repository = `trips/${layers}`;
  const pulls = (name: string, outcome: string, reference: string, alwaysPull = false): Promise<void> =>
    count(name, async () => {
      const receipt = await cache.pull(`${REGISTRY}/${reference}`, { alwaysPull, deadline: signal });
      assert.equal(receipt.outcome, outcome, name);
    });

  publish(repository, imageOf(own), 'v1', 'other');
  await pulls('cold pull', 'pulled', `${repository}:v1`);
  await pulls('hit', 'hit', `${repository}:v1`);
  await pulls('alwaysPull, nothing changed', 'hit', `${repository}:v1`, true);
  await pulls('another tag of the same digest', 'pulled', `${repository}:other`);
  publish(repository, nightly, 'v1');
  await pulls('alwaysPull, the tag moved, one layer is new', 'pulled', `${repository}:v1`, true);
  publish(`${repository}-b`, imageOf(own), 'v1');
  await pulls('the same image in another repository', 'pulled', `${repository}-b:v1`);
  publish(`${repository}-w`, imageOf(layersOf('workflow')), 'v1');
  await count('cold pull by the tasks of the workflow', () =>
    byTasks(jobDeps(cache), `${REGISTRY}/${repository}-w:v1`, signal),
  );

  const base = `/v2/${REGISTRY}/${repository}`;
  const manifest = `${base}/manifests/${nightly.root.digest}`;
  const blob = `${base}/blobs/${[...nightly.blobs.keys()].at(-1)}`;
  await serving(cache, async (ask) => {
    await count('serve in a new process: HEAD of the tag', () => ask('HEAD', `${base}/manifests/v1`, 200));
    await count('serve: then GET of the digest', () => ask('GET', manifest, 200));
    await count('serve: then GET of the tag', () => ask('GET', `${base}/manifests/v1`, 200));
  });
  await serving(cache, async (ask) => {
    await count('serve in a new process: GET of the digest', () => ask('GET', manifest, 200));
    await count('serve: then GET of a blob', () => ask('GET', blob, 307));
    await count('serve: then HEAD of the blob', () => ask('HEAD', blob, 200));
  });
  publish(`${repository}-s`, imageOf(layersOf('served')), 'v1');
  await count('serve: GET of a cold tag, and the pull that follows', () =>
    serving(cache, async (ask, isIdle) => {
      await ask('GET', `/v2/${REGISTRY}/${repository}-s/manifests/v1`, 200);
      await until(isIdle, SERVED_WITHIN_MS);
    }),
  );
}

function jobDeps({ services: { pull, records, plans, workflowLeases: leases } }: TestCache): JobDeps {
  const announcer = { announce: () => Promise.resolve() };
  return { pull, records, plans, leases, announcer, metrics: { add: () => undefined } };
}

async function byTasks(deps: JobDeps, reference: string, signal: AbortSignal): Promise<void> {
  const request = { reference: parseReference(reference), platforms: [], alwaysPull: false, attestations: true };
  const { record } = await deps.records.join(request, signal);
  const planned = await planTask(deps, { id: record.id }, signal);
  assert.equal(planned.outcome, 'copy');
  const { plan, batches } = planned;
  const copied: CopyAnswer[] = [];
  for (const batch of batches) copied.push(await copyTask(deps, batch, signal));
  assert.ok(copied.every(({ outcome }) => outcome === 'done'));
  await publishTask(deps, { id: record.id, plan, batches: copied }, signal);
}

/** What `entrepot serve` is made of, with nothing in memory yet. */
async function serving(
  cache: TestCache,
  work: (ask: (method: string, path: string, status: number) => Promise<void>, isIdle: () => boolean) => Promise<void>,
): Promise<void> {
  await using jobs = localJobs(jobDeps(cache), (id, error) => console.error(`pull ${id} stopped`, error));
  const registry = localRegistry(cache.services, jobs);
  const server = registryServer((request, left) => registry({ ...serveCall(), request, signal: left }));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    await work(
      async (method, path, status) => {
        const answer = await fetch(origin + path, { method, redirect: 'manual' });
        await answer.arrayBuffer();
        assert.equal(answer.status, status, `${method} ${path}`);
      },
      () => jobs.running === 0,
    );
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** The name, the sum of each service that was asked, and its requests by kind. */
function rowsOf(name: string, counts: readonly Counts[]): string[][] {
  const rows = [[name, ...counts.map(() => '')]];
  for (const service of ['DynamoDB', 'S3', 'registry']) {
    const kinds = [...new Set(counts.flatMap((one) => [...(one[service]?.keys() ?? [])]))].sort();
    const requests = (one: Counts, kind: string): number => one[service]?.get(kind)?.requests ?? 0;
    const sum = (one: Counts): number => kinds.reduce((total, kind) => total + requests(one, kind), 0);
    rows.push([`  ${service}`, ...counts.map((one) => String(sum(one)))]);
    for (const kind of kinds) rows.push([`    ${kind}`, ...counts.map((one) => String(requests(one, kind)))]);
  }
  return rows;
}
