import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BusyError, CatalogError } from '../../../lib/errors/cache-error.ts';
import { dynamoClient } from '../../../lib/table/dynamo-client.ts';
import { dynamoTable } from '../../../lib/table/dynamo-table.ts';
import { waitingKey } from '../../../lib/table/keys.ts';
import { dynamoWaitingRoom } from '../../../lib/serve/dynamo-waiting-room.ts';
import { processWaitingRoom, type WaitingRoom } from '../../../lib/serve/waiting-room.ts';
import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { serveCall } from '../../support/serve-call.ts';
import { startStack, type TestStack } from '../../support/stack.ts';
import { until } from '../../support/until.ts';

const warnings: string[] = [];
const call = serveCall((message) => void warnings.push(message));
const SEATS = 3;

/** A seat for somebody who comes back until there is one: for a second a process may take a room for full that is not. */
async function enterSoon(room: WaitingRoom): Promise<AsyncDisposable> {
  let seat: AsyncDisposable | undefined;
  await until(async () => {
    seat = await room.enter(call).catch((error: unknown) => {
      assert.ok(error instanceof BusyError);
      return undefined;
    });
    return seat !== undefined;
  }, 5_000);
  return seat!;
}

describe('the waiting room', { timeout: 300_000 }, () => {
  let stack: TestStack;
  let proxy: FaultProxy;
  const resources = new AsyncDisposableStack();
  before(async () => {
    stack = await startStack();
    resources.defer(() => stack.close());
    proxy = resources.use(await startFaultProxy(stack.dynamoEndpoint));
  });
  after(() => resources.disposeAsync());

  /** As another process has it. */
  const room = (seats = SEATS): WaitingRoom =>
    dynamoWaitingRoom({ client: clientOf(), table: stack.table, waiting: seats });
  function clientOf(): DynamoDBClient {
    const { region, credentials } = stack;
    const client = dynamoClient({ endpoint: proxy.endpoint, region, credentials });
    resources.defer(() => client.destroy());
    return client;
  }

  for (const [name, roomsOf] of [
    ['of one process', () => new Array<WaitingRoom>(4).fill(processWaitingRoom(SEATS))],
    ['of all processes', () => [room(), room(), room(), room()]],
  ] as const) {
    test(`${name} has so many seats, and each is free again when somebody leaves`, async () => {
      const rooms = roomsOf();
      const outcomes = await Promise.allSettled(rooms.map((one) => one.enter(call)));
      const seats = outcomes.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
      const refused = outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []));
      assert.ok(seats.length <= SEATS);
      for (const error of refused) assert.ok(error instanceof BusyError && error.retryAfterMs !== undefined);
      const others: AsyncDisposable[] = [];
      while (seats.length + others.length < SEATS) others.push(await enterSoon(rooms[0]!));
      await assert.rejects(rooms[1]!.enter(call), BusyError);
      await seats[0]?.[Symbol.asyncDispose]();
      await others.pop()?.[Symbol.asyncDispose]();
      const again = await enterSoon(rooms[2]!);
      await again[Symbol.asyncDispose]();
      for (const seat of [...seats.slice(1), ...others]) await seat[Symbol.asyncDispose]();
    });
  }

  test('a permit that cannot be given back in time is a warning, and no failure of the request', async (context) => {
    // Whether the permit is taken for good depends on when the held request is dropped: in a period of its own no other test meets it.
    context.mock.timers.enable({ apis: ['Date'], now: Date.now() + 10_800_000 });
    warnings.length = 0;
    const seat = await room().enter(call);
    const gate = Promise.withResolvers<undefined>();
    const headers = { 'x-amz-target': /\.UpdateItem$/ };
    proxy.rules.push({ headers, times: 1, action: { kind: 'hold', until: gate.promise } });
    try {
      await seat[Symbol.asyncDispose]();
    } finally {
      gate.resolve(undefined);
      proxy.rules.length = 0;
    }
    assert.deepEqual(warnings.splice(0), ['a permit of the waiting room was not given back']);
  });

  test('many seats are spread over rows of eight at least, and all of them can be taken', async (context) => {
    context.mock.timers.enable({ apis: ['Date'], now: Date.now() + 7_200_000 });
    for (const [seats, rows] of [
      [12, 1],
      [16, 2],
      [29, 3],
    ] as const) {
      context.mock.timers.tick(120_000);
      const one = room(seats);
      const taken: AsyncDisposable[] = [];
      for (let attempt = 0; attempt < 100 * seats && taken.length < seats; attempt++) {
        // As every caller does who was turned away: it comes back after the count of before has aged.
        const seat = await one.enter(call).catch((error: unknown) => {
          assert.ok(error instanceof BusyError);
          context.mock.timers.tick(10);
        });
        if (seat !== undefined) taken.push(seat);
      }
      assert.equal(taken.length, seats);
      await assert.rejects(room(seats).enter(call), BusyError);
      const period = Math.floor(Date.now() / 30_000);
      const keys = Array.from({ length: seats }, (_, shard) => waitingKey(shard, period));
      const found = await dynamoTable(clientOf(), stack.table).getAll(keys, true, 'count rows', call.signal);
      assert.equal(found.length, rows);
      for (const seat of taken) await seat[Symbol.asyncDispose]();
    }
  });

  test('whom a full room turns away writes nothing; within a second he does not read either', async () => {
    const other = room();
    const taken = await Promise.all(Array.from({ length: SEATS }, () => room().enter(call)));
    proxy.log.length = 0;
    for (let i = 0; i < 5; i++) await assert.rejects(other.enter(call), BusyError);
    assert.deepEqual(
      proxy.log.map(({ headers }) => headers['x-amz-target']),
      ['DynamoDB_20120810.Query'],
    );
    for (const seat of taken) await seat[Symbol.asyncDispose]();
  });

  test('callers who died are forgotten with the period in which they came', async (context) => {
    const now = Date.now() + 3_600_000;
    context.mock.timers.enable({ apis: ['Date'], now });
    const one = room();
    for (let i = 0; i < SEATS; i++) await one.enter(call);
    await assert.rejects(one.enter(call), BusyError);
    context.mock.timers.setTime(now + 30_000);
    await assert.rejects(one.enter(call), BusyError);
    context.mock.timers.setTime(now + 60_000);
    const seat = await one.enter(call);
    await seat[Symbol.asyncDispose]();
  });

  test('a table that fails lets nobody in; a seat that cannot be given back harms nobody who leaves', async () => {
    const one = room();
    const seat = await one.enter(call);
    proxy.rules.push({
      times: Infinity,
      action: { kind: 'answer', answer: { status: 400, body: '{"__type":"AccessDeniedException"}' } },
    });
    await assert.rejects(one.enter(call), CatalogError);
    await seat[Symbol.asyncDispose]();
    proxy.rules.length = 0;
    assert.deepEqual(warnings.splice(0), ['a permit of the waiting room was not given back']);
  });
});
