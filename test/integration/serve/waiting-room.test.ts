import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BusyError, CatalogError } from '../../../lib/errors/cache-error.ts';
import { dynamoClient } from '../../../lib/catalog/dynamo-client.ts';
import { dynamoWaitingRoom } from '../../../lib/serve/dynamo-waiting-room.ts';
import { processWaitingRoom, type WaitingRoom } from '../../../lib/serve/waiting-room.ts';
import { startFaultProxy, type FaultProxy } from '../../support/http-fault-proxy.ts';
import { serveCall } from '../../support/serve-call.ts';
import { startStack, type TestStack } from '../../support/stack.ts';

const warnings: string[] = [];
const call = serveCall((message) => void warnings.push(message));
const SEATS = 3;

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
  function room(): WaitingRoom {
    const { region, credentials, table } = stack;
    const client = dynamoClient({ endpoint: proxy.endpoint, region, credentials });
    resources.defer(() => client.destroy());
    return dynamoWaitingRoom({ client, table, seats: SEATS });
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
      // Callers that come at the same moment may see one another and all leave again; one after the other they do not.
      assert.ok(seats.length <= SEATS);
      for (const error of refused) assert.ok(error instanceof BusyError && error.retryAfterMs !== undefined);
      const others: AsyncDisposable[] = [];
      while (seats.length + others.length < SEATS) others.push(await rooms[0]!.enter(call));
      await assert.rejects(rooms[1]!.enter(call), BusyError);
      await seats[0]?.[Symbol.asyncDispose]();
      await others.pop()?.[Symbol.asyncDispose]();
      const again = await rooms[2]!.enter(call);
      await again[Symbol.asyncDispose]();
      for (const seat of [...seats.slice(1), ...others]) await seat[Symbol.asyncDispose]();
    });
  }

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
    assert.deepEqual(warnings, ['a seat of the waiting room was not given back']);
  });
});
