import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { application } from '../../../infra/application.ts';
import { packageConfig } from '../../../infra/packaging/inputs.ts';
import { stackSettings } from '../../../infra/settings.ts';
import { openRegistry, type OpenRegistry, type RegistryAnswer } from '../../../lib/http/registry/open-registry.ts';
import { answerFetch, remoteFetcher } from '../../../lib/serve/fetch-document.ts';
import { upstreamFetcher } from '../../../lib/serve/upstream-fetcher.ts';
import { openCache } from '../../support/cache.ts';
import { inputOf, itemsOf, operationOf } from '../../support/dynamo-wire.ts';
import { type FaultProxy, type FaultRequest, startFaultProxy } from '../../support/http-fault-proxy.ts';
import { multiArchImage } from '../../support/images.ts';
import { LITTLE } from '../../support/packaged-config.ts';
import { REGISTRY, type ServeBench, startServeBench } from './serve-bench.ts';
import { quietCall } from './transport-under-test.ts';

/** An action of IAM on DynamoDB, and the partition that it meets. */
interface Access {
  readonly action: string;
  readonly partition: string;
}
interface Statement {
  readonly Effect: string;
  readonly Action: readonly string[];
  readonly Condition?: { readonly 'ForAllValues:StringLike'?: { readonly 'dynamodb:LeadingKeys': readonly string[] } };
}

let bench: ServeBench;
let bucket: FaultProxy;
/** What came to the table from the function. */
const sent: FaultRequest[] = [];
let open: OpenRegistry;

/** As functions/registry.ts composes it, with a way of its own to table and bucket; `fetch` and the workflow have theirs. */
before(async () => {
  bench = await startServeBench();
  const { stack, services, upstream, jobs } = bench;
  const table = await bench.use(
    startFaultProxy(stack.dynamoEndpoint, async (request, forward) => {
      sent.push(request);
      return { answer: await forward() };
    }),
  );
  bucket = await bench.use(startFaultProxy(stack.s3Endpoint));
  const registries = { [REGISTRY]: { endpoint: upstream.origin, credentials: 'none' } };
  const cache = await bench.use(
    openCache(stack, {
      registries,
      limits: { leaseSeconds: 10 },
      dynamoEndpoint: table.endpoint,
      s3Endpoint: bucket.endpoint,
    }),
  );
  const own = cache.services;
  const fetcher = upstreamFetcher(services.pull);
  open = openRegistry({
    ...own.pull,
    ...own,
    fetcher: remoteFetcher((question, signal) =>
      answerFetch(
        fetcher,
        JSON.parse(JSON.stringify(question)),
        { ...quietCall, signal },
        services.pull.requireAllowed,
      ).then((answer): unknown => JSON.parse(JSON.stringify(answer))),
    ),
    jobs: {
      async start(request, signal) {
        const { record } = await own.records.join(request, signal);
        await jobs.start(request, signal);
        return record;
      },
    },
  });
});
after(() => bench[Symbol.asyncDispose]());

const ask = (path: string, method = 'GET'): Promise<RegistryAnswer> => {
  const [at = '', query = ''] = path.split('?');
  const request = { method, path: at, query, header: () => undefined };
  return open({ request, limits: { bodyBytes: 4_000_000 } }, quietCall);
};

/** What IAM asks the policy for one request: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html */
function accessesOf(requests: readonly FaultRequest[]): readonly Access[] {
  return requests.flatMap((request): readonly Access[] => {
    const operation = operationOf(request);
    const input = inputOf(request) as ReturnType<typeof inputOf> & {
      ExpressionAttributeValues?: Record<string, { S?: string }>;
    };
    const one = (action: string, partition: string | undefined): Access => {
      assert.ok(partition !== undefined, `${action} of no partition`);
      return { action: `dynamodb:${action}`, partition };
    };
    if (operation === 'TransactWriteItems') {
      return (input.TransactItems ?? []).map((item) => {
        const [kind, { Key, Item }] = Object.entries(item)[0] ?? assert.fail();
        return one(kind === 'ConditionCheck' ? 'ConditionCheckItem' : `${kind}Item`, (Key ?? Item)?.pk?.S);
      });
    }
    if (operation === 'Query') return [one(operation, input.ExpressionAttributeValues?.[':pk']?.S)];
    return itemsOf(input).map(({ key }) => one(operation, key.pk?.S));
  });
}

async function statementsOfDoor(): Promise<readonly Statement[]> {
  const folder = await mkdtemp(join(tmpdir(), 'entrepot-policy-'));
  try {
    await writeFile(join(folder, 'entrepot.yaml'), LITTLE);
    const { resources } = application(stackSettings('dev', {}), packageConfig(folder, undefined));
    const [policy] = resources.Resources.RegistryRole?.Properties?.Policies as unknown as {
      PolicyDocument: { Statement: readonly Statement[] };
    }[];
    return policy?.PolicyDocument.Statement ?? [];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const isAllowed = (statements: readonly Statement[], { action, partition }: Access): boolean =>
  statements.some(({ Effect, Action, Condition }) => {
    const partitions = Condition?.['ForAllValues:StringLike']?.['dynamodb:LeadingKeys'];
    return (
      Effect === 'Allow' &&
      Action.includes(action) &&
      (partitions === undefined ||
        partitions.some(
          (one) => partition.startsWith(one.replace('*', '')) && (one.endsWith('*') || one === partition),
        ))
    );
  });

/** A client that wants all of the image. */
async function pullAll(image: ReturnType<typeof multiArchImage>, base: string): Promise<void> {
  assert.equal((await ask(`${base}/manifests/v1`)).status, 200);
  for (const child of image.children.values()) {
    const told = await ask(`${base}/manifests/${child.root.digest}`);
    assert.equal(told.status, 200, Buffer.from(told.body ?? []).toString());
    for (const digest of child.blobs.keys()) {
      assert.equal((await ask(`${base}/blobs/${digest}`, 'HEAD')).status, 200);
      assert.equal((await ask(`${base}/blobs/${digest}`)).status, 307);
    }
  }
}

test('whatever clients ask, the role of the function allows each request that it sends', async (context) => {
  const image = multiArchImage({ name: 'door', layerBytes: [40_000, 20_000] });
  const base = bench.offer(image, 'team/door');
  await Promise.all([pullAll(image, base), pullAll(image, base)]);
  await bench.settled();
  await pullAll(image, base);
  const [blob = ''] = image.blobs.keys();
  const unknown = `sha256:${'1'.repeat(64)}`;
  assert.equal((await ask(`${base}/referrers/${image.root.digest}`)).status, 200);
  assert.equal((await ask(`${base}/referrers/${unknown}`)).status, 200);
  assert.equal((await ask(`${base}/manifests/absent`)).status, 404);
  assert.equal((await ask(`${base}/manifests/absent`)).status, 404);
  assert.equal((await ask(`${base}/manifests/${unknown}`)).status, 404);
  assert.equal((await ask(`${base}/blobs/${unknown}`)).status, 404);
  assert.equal((await ask(`${base}/tags/list`)).status, 200);
  assert.equal((await ask('/v2/_catalog')).status, 200);
  // By its digest, of a repository that nobody asked for a manifest.
  const alone = multiArchImage({ name: 'alone', layerBytes: [7_000] });
  const [layer = ''] = alone.blobs.keys();
  assert.equal((await ask(`${bench.offer(alone, 'team/alone')}/blobs/${layer}`)).status, 307);
  await bench.settled();
  // Gone from the bucket: found out by who comes twice, and brought again.
  await bench.deleteObject(blob);
  for (let times = 0; times < 3; times += 1) assert.equal((await ask(`${base}/blobs/${blob}`)).status, 307);
  await bench.settled();

  const statements = await statementsOfDoor();
  const accesses = accessesOf(sent);
  const refused = accesses.filter((access) => !isAllowed(statements, access));
  assert.deepEqual([...new Set(refused.map(({ action, partition }) => `${action} ${partition}`))], []);
  const written = accesses.filter(({ action }) => !/^dynamodb:(?:BatchGetItem|GetItem|Query)$/.test(action));
  const kinds = new Set(written.map(({ partition }) => partition.replace(/#.*$/, '')));
  assert.deepEqual([...kinds].sort(), ['ACTIVE', 'LOCK', 'PULL', 'WAITING'], 'all that it may write was tried');
  const methods = new Set(bucket.log.map(({ method }) => method));
  assert.deepEqual(
    [...methods].filter((method) => method !== 'GET' && method !== 'HEAD'),
    [],
  );
  context.diagnostic(
    `${accesses.length} accesses to rows, ${written.length} of them writes; none that the role refuses`,
  );
});

test('the policy would refuse what says what a repository serves', async () => {
  const statements = await statementsOfDoor();
  for (const pk of [
    'TAG#a/b',
    'ROOT#x',
    'LINK#a/b',
    'BLOB#x',
    'CHILD#x',
    'EPOCH#0',
    'KEY',
    'REPO',
    'INCARNATION',
    'LOCKER',
  ]) {
    for (const action of ['UpdateItem', 'PutItem', 'DeleteItem', 'BatchWriteItem']) {
      assert.equal(isAllowed(statements, { action: `dynamodb:${action}`, partition: pk }), false, `${action} ${pk}`);
    }
  }
  assert.equal(isAllowed(statements, { action: 'dynamodb:UpdateItem', partition: 'LOCK#a' }), true);
});
