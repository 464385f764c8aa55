import type { S3Client } from '@aws-sdk/client-s3';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { startStates } from '../../../infra/local/states/states.ts';
import { loadConfig } from '../../../lib/config/config.ts';
import type { PullRecord } from '../../../lib/jobs/pull-record.ts';
import { waitForEnd } from '../../../lib/jobs/jobs.ts';
import { pull } from '../../../lib/pull/pull.ts';
import { openServices, type Services } from '../../../lib/services.ts';
import { rawS3 } from '../../support/cache.ts';
import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { startStack } from '../../support/stack.ts';
import { oneTask } from '../../support/state-machine.ts';

const forever = new AbortController().signal;

/** What functions have around them that are told by events: a stack, a state machine whose one task is the whole pull, and a bus that keeps what it is told. */
export interface EventBench extends AsyncDisposable {
  readonly services: Services;
  readonly s3: S3Client;
  readonly bucket: string;
  /** Between the function and its table, and its bucket. */
  readonly table: FaultProxy;
  readonly objects: FaultProxy;
  /** Ids of the executions, in the order in which they began. */
  readonly executions: string[];
  /** Detail types and details. */
  readonly announced: (readonly [type: string, detail: unknown])[];
  /** From now on the state machine cannot be reached. Returns how to mend that. */
  cutOff(): () => void;
  ended(id: string): Promise<PullRecord>;
}

/** Starts it, and leaves the variables of a function in this process: handlers are imported after that. */
export async function startEventBench(configuration: object): Promise<EventBench> {
  const resources = new AsyncDisposableStack();
  const stack = await startStack();
  resources.defer(() => stack.close());
  const executions: string[] = [];
  const announced: (readonly [string, unknown])[] = [];

  const states = await startStates({
    definition: oneTask('plan'),
    onEnded: () => undefined,
    invoke: async (_name, payload, signal) => {
      const { id } = payload as { id: string };
      executions.push(id);
      const record = await services.records.find(id, signal);
      if (record === undefined) throw new Error(`there is no pull ${id}`);
      await services.records.succeed(id, await pull(services.pull, record.request, signal), signal);
      return { payload };
    },
  });
  resources.defer(() => states.close());
  const door = await startFaultProxy(states.endpoint);
  resources.defer(() => door.close());
  const table = await startFaultProxy(stack.dynamoEndpoint);
  resources.defer(() => table.close());
  const objects = await startFaultProxy(stack.s3Endpoint);
  resources.defer(() => objects.close());
  const bus = await startFaultProxy('http://127.0.0.1:1');
  resources.defer(() => bus.close());
  bus.rules.push({
    times: Infinity,
    action: {
      kind: 'answer',
      answer: ({ body }) => {
        const { Entries } = JSON.parse(body.toString('utf8')) as { Entries: { DetailType: string; Detail: string }[] };
        announced.push(
          ...Entries.map(({ DetailType, Detail }) => [DetailType, JSON.parse(Detail) as unknown] as const),
        );
        const answer = { FailedEntryCount: 0, Entries: Entries.map(() => ({ EventId: 'id' })) };
        return { status: 200, headers: { 'content-type': 'application/x-amz-json-1.1' }, body: JSON.stringify(answer) };
      },
    },
  });
  const file = join(stack.root, 'entrepot.yaml');
  writeFileSync(file, stringify({ limits: { leaseSeconds: 2, attempts: 1 }, ...configuration }));
  Object.assign(process.env, stack.environment, {
    ENTREPOT_CONFIG: file,
    ENTREPOT_STATE_MACHINE: states.stateMachineArn,
    ENTREPOT_BUS: 'entrepot',
    AWS_ENDPOINT_URL_DYNAMODB: table.endpoint,
    AWS_ENDPOINT_URL_S3: objects.endpoint,
    AWS_ENDPOINT_URL_SFN: door.endpoint,
    AWS_ENDPOINT_URL_EVENTBRIDGE: bus.endpoint,
  });
  const config = loadConfig();
  if (config.store.kind !== 'aws') throw new Error('the stack names a bucket and a table');
  const services = openServices(config, config.store);
  resources.defer(() => services.close());
  const s3 = rawS3(stack);
  resources.defer(() => s3.destroy());
  return {
    services,
    s3,
    bucket: stack.bucket,
    table,
    objects,
    executions,
    announced,
    cutOff() {
      const rule = { times: Infinity, action: { kind: 'answer', answer: { status: 503, body: '{}' } } } as const;
      door.rules.push(rule);
      return () => void door.rules.splice(door.rules.indexOf(rule), 1);
    },
    async ended(id) {
      const record = await services.records.find(id, forever);
      if (record === undefined) throw new Error(`there is no pull ${id}`);
      return await waitForEnd(services.records, record, AbortSignal.timeout(15_000));
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}
