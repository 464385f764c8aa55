import { DynamoDBClient, GetItemCommand } from '@aws-sdk/client-dynamodb';
import { marshall } from '@aws-sdk/util-dynamodb';
import { sampleImage, SAMPLE_REPOSITORY, SAMPLE_TAG } from '../../infra/local/sample/sample-image.ts';
import { startSampleRegistry } from '../../infra/local/sample/sample-registry.ts';
import { rootKey, tagKey } from '../../lib/table/keys.ts';
import { parseReference } from '../../lib/reference/reference.ts';
import type { Receipt } from '../../lib/pull/receipt.ts';
import { openCache } from '../support/cache.ts';
import { REGISTRY, type Bench } from './bench.ts';
import { dynamoKind, registryKind, s3Kind, startCountingProxy, type Traffic } from './counting-proxy.ts';
import { roundTripsSection } from './round-trips.ts';
import { median, printTable, printTitle } from './table.ts';

const REFERENCE = `${REGISTRY}/${SAMPLE_REPOSITORY}:${SAMPLE_TAG}`;
const SERVICES = ['registry', 'S3', 'DynamoDB'] as const;
const WARM_UP_HITS = 50;
const HITS = 200;

/** What kinds of requests the pulls of a real multi-arch image send, what a hit takes beside two bare reads, and how requests grow with the layers. */
export async function requestsSection(bench: Bench): Promise<void> {
  await using resources = new AsyncDisposableStack();
  const { stack, signal: deadline } = bench;
  const sample = resources.use(await startSampleRegistry());
  sample.publish(SAMPLE_REPOSITORY, SAMPLE_TAG, sampleImage());
  const registry = resources.use(await startCountingProxy(sample.origin, registryKind));
  const s3 = resources.use(await startCountingProxy(stack.s3Endpoint, s3Kind));
  const dynamo = resources.use(await startCountingProxy(stack.dynamoEndpoint, dynamoKind));
  const registries = { [REGISTRY]: { endpoint: registry.origin, credentials: 'none', public: true } };
  const counted = resources.use(
    await openCache(stack, {
      registries,
      limits: { leaseSeconds: 15 },
      s3Endpoint: s3.origin,
      dynamoEndpoint: dynamo.origin,
    }),
  );
  const take = (): Pull['traffic'] => ({ registry: registry.take(), S3: s3.take(), DynamoDB: dynamo.take() });
  const observe = async (name: string, pull: Promise<Receipt>): Promise<Pull> => {
    const receipt = await pull;
    return { name, receipt, traffic: take() };
  };

  const cold = await observe('cold, linux/amd64', counted.pull(REFERENCE, { platforms: ['linux/amd64'], deadline }));
  const pulls = [
    cold,
    await observe('then linux/arm64', counted.pull(REFERENCE, { platforms: ['linux/arm64'], deadline })),
    await observe('hit', counted.pull(REFERENCE, { deadline })),
    await observe('always pull, unchanged', counted.pull(REFERENCE, { alwaysPull: true, deadline })),
  ];
  printTitle('Requests of a pull (the sample image: two platforms with attestations)');
  printTable(['pull', 'outcome', 'blobs', ...SERVICES, 'KiB down', 'KiB up to S3'], pulls.map(pullRow));
  printTitle('The cold pull by kind of request');
  const kinds = SERVICES.flatMap((service) =>
    [...cold.traffic[service]].map(([kind, one]) => [
      `${service} ${kind}`,
      String(one.requests),
      kib(one.bytesUp),
      kib(one.bytesDown),
    ]),
  );
  printTable(['request', 'count', 'KiB up', 'KiB down'], kinds);

  const direct = resources.use(await openCache(stack, { registries }));
  await hits(bench, () => direct.pull(REFERENCE, { deadline }));
  await roundTripsSection(bench);
}

interface Pull {
  readonly name: string;
  readonly receipt: Receipt;
  readonly traffic: Record<(typeof SERVICES)[number], ReadonlyMap<string, Traffic>>;
}

const kib = (bytes: number): string => (bytes / 1024).toFixed(1);

const sum = (traffic: ReadonlyMap<string, Traffic>, figure: keyof Traffic): number =>
  [...traffic.values()].reduce((total, one) => total + one[figure], 0);

function pullRow({ name, receipt, traffic }: Pull): string[] {
  const requests = SERVICES.map((service) => String(sum(traffic[service], 'requests')));
  const moved = [sum(traffic.registry, 'bytesDown'), sum(traffic.S3, 'bytesUp')].map(kib);
  return [name, receipt.outcome, String(receipt.blobs.copied), ...requests, ...moved];
}

/** Taken in turns, so that both see the same noise. */
async function hits({ stack, signal }: Bench, pull: () => Promise<Receipt>): Promise<void> {
  const client = new DynamoDBClient(stack.dynamoConfig);
  const { digest } = await pull();
  if (digest === null) throw new Error('a hit has a digest');
  const keys = [tagKey(parseReference(REFERENCE)), rootKey(digest)].map((key) => marshall(key));
  const bare = async (): Promise<void> => {
    for (const Key of keys)
      await client.send(new GetItemCommand({ TableName: stack.table, Key }), { abortSignal: signal });
  };
  const times: Record<'hit' | 'bare', number[]> = { hit: [], bare: [] };
  const time = async (work: () => Promise<unknown>, into: number[]): Promise<void> => {
    const startedMs = performance.now();
    await work();
    into.push(performance.now() - startedMs);
  };
  for (let i = 0; i < WARM_UP_HITS; i++) {
    await pull();
    await bare();
  }
  for (let i = 0; i < HITS; i++) {
    await time(pull, times.hit);
    await time(bare, times.bare);
  }
  client.destroy();
  const [hit, floor] = [median(times.hit), median(times.bare)];
  printTitle(`A hit: median of ${HITS} in one process`);
  printTable(
    ['', 'ms', '× floor'],
    [
      ['two GetItem calls of the SDK', floor.toFixed(2), '1.00'],
      ['entrepot pull, hit', hit.toFixed(2), (hit / floor).toFixed(2)],
    ],
  );
}
