import { StartExecutionCommand, StopExecutionCommand } from '@aws-sdk/client-sfn';
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startStates, statusChangeEvent, type Execution, type States } from '../../../infra/local/states/states.ts';
import type * as OverseeFunction from '../../../functions/oversee.ts';
import { dynamoClient } from '../../../lib/table/dynamo-client.ts';
import { dynamoPullRecords } from '../../../lib/jobs/dynamo-pull-records.ts';
import { freshRequest } from '../../conformance/pull-records-subject.ts';
import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { lambdaContext } from '../../support/http-event.ts';
import { startStack, type TestStack } from '../../support/stack.ts';
import { oneTask, sfnClientAt } from '../../support/state-machine.ts';
import { forever } from '../../support/table-under-test.ts';

let stack: TestStack;
let states: States;
/** Takes what is announced. */
let bus: FaultProxy;
let handler: typeof OverseeFunction.handler;
const announced: unknown[] = [];
const ended: Execution[] = [];

before(async () => {
  stack = await startStack();
  states = await startStates({
    definition: oneTask('plan'),
    onEnded: (execution) => ended.push(execution),
    invoke: async (_name, payload, signal) => {
      await sleep(60_000, undefined, { signal });
      return { payload };
    },
  });
  bus = await startFaultProxy('http://127.0.0.1:1');
  bus.rules.push({
    times: Infinity,
    action: {
      kind: 'answer',
      answer: ({ body }) => {
        const { Entries } = JSON.parse(body.toString('utf8')) as { Entries: { DetailType: string; Detail: string }[] };
        announced.push(...Entries.map(({ DetailType, Detail }) => [DetailType, JSON.parse(Detail)] as const));
        const answer = { FailedEntryCount: 0, Entries: Entries.map(() => ({ EventId: 'id' })) };
        return { status: 200, headers: { 'content-type': 'application/x-amz-json-1.1' }, body: JSON.stringify(answer) };
      },
    },
  });
  const config = join(stack.root, 'entrepot.yaml');
  writeFileSync(config, 'registries: {"registry.example.test": {credentials: none}}\n');
  Object.assign(process.env, stack.environment, {
    ENTREPOT_CONFIG: config,
    ENTREPOT_STATE_MACHINE: states.stateMachineArn,
    ENTREPOT_BUS: 'entrepot',
    AWS_ENDPOINT_URL_SFN: states.endpoint,
    AWS_ENDPOINT_URL_EVENTBRIDGE: bus.endpoint,
  });
  ({ handler } = await import('../../../functions/oversee.ts'));
});

after(async () => {
  await states.close();
  await bus.close();
  await stack.close();
});

describe('functions/oversee', () => {
  test('measures, and ends the pull of an execution that was stopped', async () => {
    const request = freshRequest();
    const table = dynamoClient(stack.dynamoConfig as object);
    const client = sfnClientAt(states.endpoint);
    try {
      const records = dynamoPullRecords({ client: table, table: stack.environment.ENTREPOT_TABLE! });
      const { id } = (await records.join(request, forever)).record;
      const input = JSON.stringify({ id });
      const { stateMachineArn } = states;
      const { executionArn } = await client.send(new StartExecutionCommand({ stateMachineArn, name: id, input }));
      const schedule = { 'detail-type': 'Scheduled Event', source: 'aws.events', detail: {} };
      const { oldestRunningPullSeconds } = (await handler(schedule, lambdaContext())) as Record<string, number>;
      assert.ok(oldestRunningPullSeconds! < 60);

      await client.send(new StopExecutionCommand({ executionArn }));
      const answer = await handler(statusChangeEvent(ended[0]!), lambdaContext());
      assert.deepEqual(answer, { pullId: id, outcome: 'ended' });
      const { failure } = (await records.find(id, forever))!;
      assert.partialDeepStrictEqual(announced, [['Pull Failed', { pullId: id, error: failure }]]);
      await assert.rejects(handler({ 'detail-type': 'Other' }, lambdaContext()), { name: 'InvalidRequestError' });
    } finally {
      table.destroy();
      client.destroy();
    }
  });
});
