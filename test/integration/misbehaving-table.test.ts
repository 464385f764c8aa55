import {
  BatchGetItemCommand,
  BatchWriteItemCommand,
  DeleteItemCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  TransactGetItemsCommand,
  TransactWriteItemsCommand,
  UpdateItemCommand,
  type TransactionCanceledException,
  type TransactWriteItem,
} from '@aws-sdk/client-dynamodb';
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { startEmbeddedDynamo } from '../support/embedded-dynamo.ts';
import { startMisbehavingTable, type MisbehavingTable, type Misbehaviour } from '../support/misbehaving-table.ts';
import { tableOn, type TableUnderTest } from '../support/table-under-test.ts';
import { until } from '../support/until.ts';

let under: TableUnderTest;
let dynamo: MisbehavingTable;
let client: DynamoDBClient;
let TableName: string;
before(async () => {
  under = await tableOn(await startEmbeddedDynamo());
  TableName = under.table;
  dynamo = await startMisbehavingTable(at());
  client = clientOf(dynamo);
});
afterEach(() => dynamo.misbehave({}));
after(async () => {
  client.destroy();
  await dynamo.close();
  await under[Symbol.asyncDispose]();
});

const at = () => {
  const { endpoint, region, accessKeyId, secretAccessKey } = under.server;
  return { dynamoEndpoint: endpoint, table: TableName, region, credentials: { accessKeyId, secretAccessKey } };
};
/** A client that reports what it is answered, without trying again. */
const clientOf = ({ endpoint }: MisbehavingTable): DynamoDBClient =>
  new DynamoDBClient({ ...at(), endpoint, maxAttempts: 1 });

const key = (pk: string) => ({ pk: { S: pk }, sk: { S: '-' } });
const check = (pk: string): TransactWriteItem => ({
  ConditionCheck: { TableName, Key: key(pk), ConditionExpression: 'attribute_not_exists(nothing)' },
});
const write = (pk: string): TransactWriteItem => ({
  Update: {
    TableName,
    Key: key(pk),
    UpdateExpression: 'ADD n :one',
    ExpressionAttributeValues: { ':one': { N: '1' } },
  },
});
const transact = (...TransactItems: TransactWriteItem[]) =>
  client.send(new TransactWriteItemsCommand({ TransactItems }));
const put = (pk: string, n: number) =>
  client.send(new PutItemCommand({ TableName, Item: { ...key(pk), n: { N: String(n) } } }));
const get = async (pk: string, ConsistentRead: boolean, by = client): Promise<string | undefined> =>
  (await by.send(new GetItemCommand({ TableName, Key: key(pk), ConsistentRead }))).Item?.n?.N;

const reasons = (error: unknown): (string | undefined)[] => {
  assert.equal((error as Error).name, 'TransactionCanceledException');
  return ((error as TransactionCanceledException).CancellationReasons ?? []).map(({ Code }) => Code);
};
const faults = (): (string | undefined)[] => dynamo.log.splice(0).flatMap(({ fault }) => fault ?? []);

/** A transaction that is under way, until it is let go. */
async function underWay(...items: TransactWriteItem[]): Promise<{ letGo(): Promise<unknown> }> {
  const gate = Promise.withResolvers<undefined>();
  const held = Promise.withResolvers<undefined>();
  await dynamo.misbehave({
    conflicts: {
      hold: () => {
        held.resolve(undefined);
        return gate.promise;
      },
    },
  });
  const sent = transact(...items);
  await held.promise;
  await dynamo.misbehave({ conflicts: { hold: 0 } });
  return {
    letGo() {
      gate.resolve(undefined);
      return sent;
    },
  };
}

for (const [held, met] of [
  [write, write],
  [write, check],
  [check, write],
  [check, check],
] as const) {
  const names = [held, met].map((one) => (one === write ? 'written' : 'checked')).join(' and ');
  test(`two transactions over one item, ${names}: the second is refused while the first is under way`, async () => {
    const one = `conflict-${names}`;
    const first = await underWay(write(`${one}-a`), held(one));
    await assert.rejects(transact(write(`${one}-b`), met(one), write(`${one}-c`)), (error) => {
      assert.deepEqual(reasons(error), ['None', 'TransactionConflict', 'None']);
      return true;
    });
    await transact(write(`${one}-b`)); // Others are not in its way.
    await first.letGo();
    await transact(write(`${one}-b`), met(one));
    assert.deepEqual([await get(`${one}-a`, true), await get(`${one}-b`, true)], ['1', '2']);
    assert.equal(await get(`${one}-c`, true), undefined);
  });
}

test('single writes, batches and TransactGetItems of an item of a transaction under way are refused, reads are not', async () => {
  await put('single', 1);
  const first = await underWay(check('single'));
  const values = { ExpressionAttributeValues: { ':one': { N: '1' } } };
  const Key = key('single');
  for (const single of [
    () => put('single', 9),
    () => client.send(new UpdateItemCommand({ TableName, Key, UpdateExpression: 'SET n = :one', ...values })),
    () => client.send(new DeleteItemCommand({ TableName, Key })),
  ]) {
    await assert.rejects(single(), { name: 'TransactionConflictException' });
  }
  const writes = ['single', 'batched'].map((pk) => ({ PutRequest: { Item: { ...key(pk), n: { N: '2' } } } }));
  const batch = await client.send(new BatchWriteItemCommand({ RequestItems: { [TableName]: writes } }));
  assert.deepEqual(batch.UnprocessedItems, { [TableName]: [writes[0]] });
  const read = new TransactGetItemsCommand({ TransactItems: [{ Get: { TableName, Key } }] });
  await assert.rejects(client.send(read), (error) => {
    assert.deepEqual(reasons(error), ['TransactionConflict']);
    return true;
  });
  assert.equal(await get('single', true), '1');
  assert.equal(await get('batched', true), '2');
  await first.letGo();
  assert.equal((await client.send(read)).Responses?.[0]?.Item?.n?.N, '1');
  await put('single', 3);
});

test('a transaction sent again under its token is in progress, and then not done twice', async () => {
  const first = Promise.withResolvers<undefined>();
  await dynamo.misbehave({ conflicts: { hold: () => first.promise } });
  const command = new TransactWriteItemsCommand({ TransactItems: [write('token')], ClientRequestToken: 'token-1' });
  dynamo.log.length = 0;
  const sent = client.send(command);
  await until(() => dynamo.log.length === 1);
  await assert.rejects(transact(write('token')), (error) => reasons(error).length === 1);
  await assert.rejects(client.send(command), { name: 'TransactionInProgressException' });
  first.resolve(undefined);
  await sent;
  await client.send(command);
  assert.equal(await get('token', true), '1');
});

test('what lags for ever gives eventually consistent reads the rows as they were, and consistent ones as they are', async () => {
  await put('old', 1);
  await put('gone', 1);
  await dynamo.misbehave({ late: { lagMs: Infinity } });
  await put('old', 2);
  await put('new', 2);
  await client.send(new DeleteItemCommand({ TableName, Key: key('gone') }));
  const pks = ['old', 'new', 'gone'];
  for (const [consistent, seen] of [
    [false, ['1', undefined, '1']],
    [true, ['2', '2', undefined]],
  ] as const) {
    assert.deepEqual(await Promise.all(pks.map((pk) => get(pk, consistent))), seen);
    const Keys = pks.map(key);
    const RequestItems = { [TableName]: { Keys, ConsistentRead: consistent } };
    const batch = await client.send(new BatchGetItemCommand({ RequestItems }));
    const found = new Map(batch.Responses?.[TableName]?.map((item) => [item.pk?.S, item.n?.N]));
    assert.deepEqual(
      pks.map((pk) => found.get(pk)),
      seen,
    );
    for (const [i, pk] of pks.entries()) {
      const query = new QueryCommand({
        TableName,
        KeyConditionExpression: 'pk = :pk',
        ExpressionAttributeValues: { ':pk': { S: pk } },
        ConsistentRead: consistent,
      });
      assert.equal((await client.send(query)).Items?.[0]?.n?.N, seen[i]);
    }
  }
  await dynamo.misbehave({});
  assert.equal(await get('old', false), '2');
});

test('what lags for a while catches up with every kind of write, and not before its time', async () => {
  await put('lag', 0);
  const lagMs = 100;
  await dynamo.misbehave({ late: { lagMs } });
  const request = { PutRequest: { Item: { ...key('lag'), n: { N: '9' } } } };
  const writes: [string | undefined, () => Promise<unknown>][] = [
    ['1', () => transact(write('lag'))],
    ['5', () => put('lag', 5)],
    ['9', () => client.send(new BatchWriteItemCommand({ RequestItems: { [TableName]: [request] } }))],
    [undefined, () => client.send(new DeleteItemCommand({ TableName, Key: key('lag') }))],
  ];
  for (const [value, send] of writes) {
    const startedMs = performance.now();
    await send();
    assert.equal(await get('lag', true), value);
    await until(async () => (await get('lag', false)) === value);
    assert.ok(performance.now() - startedMs >= lagMs, `${value} was seen too early`);
  }
});

test('a batch leaves half of its items unprocessed, and what is asked for again gets done', async () => {
  await dynamo.misbehave({ unprocessed: {} });
  const pks = Array.from({ length: 20 }, (_, i) => `unprocessed-${i}`);
  let writes = pks.map((pk) => ({ PutRequest: { Item: { ...key(pk), n: { N: '1' } } } }));
  const left: number[] = [];
  while (writes.length > 0) {
    const answer = await client.send(new BatchWriteItemCommand({ RequestItems: { [TableName]: writes } }));
    writes = (answer.UnprocessedItems?.[TableName] ?? []) as typeof writes;
    left.push(writes.length);
  }
  assert.deepEqual(left, [10, 5, 2, 1, 0]);
  let keys = pks.map(key);
  const found: (string | undefined)[] = [];
  while (keys.length > 0) {
    const RequestItems = { [TableName]: { Keys: keys, ConsistentRead: true } };
    const answer = await client.send(new BatchGetItemCommand({ RequestItems }));
    found.push(...(answer.Responses?.[TableName] ?? []).map((item) => item.pk?.S));
    keys = (answer.UnprocessedKeys?.[TableName]?.Keys ?? []) as typeof keys;
  }
  assert.deepEqual(found.sort(), pks.sort());
});

test('throttled requests did not happen, those whose answer is lost did', async () => {
  await put('refused', 1);
  await dynamo.misbehave({ throttled: {} });
  await assert.rejects(put('refused', 2), { name: /^(ProvisionedThroughputExceeded|Throttling)Exception$/ });
  await assert.rejects(transact(write('refused'), check('other')), (error) => {
    const codes = reasons(error).filter((code) => code !== 'None');
    assert.match(codes.join(), /^(ProvisionedThroughputExceeded|ThrottlingError)$/);
    return true;
  });
  dynamo.log.length = 0;
  await dynamo.misbehave({ lostAnswers: {} });
  await assert.rejects(transact(write('refused')));
  assert.deepEqual(faults(), ['lost-answer']);
  await dynamo.misbehave({});
  assert.equal(await get('refused', true), '2');
});

test('the same seed misbehaves in the same way, another one differs', async () => {
  const everything: Misbehaviour = {
    conflicts: { hold: 1, odds: 0.5 },
    late: { lagMs: 1, odds: 0.3 },
    unprocessed: { odds: 0.3 },
    throttled: { odds: 0.2 },
    lostAnswers: { odds: 0.2 },
  };
  const runs: string[] = [];
  for (const seed of [7, 7, 8]) {
    await using seeded = await startMisbehavingTable(at(), { seed, ...everything });
    const by = clientOf(seeded);
    for (let i = 0; i < 15; i++) {
      await get('seeded', false, by).catch(() => undefined);
      await by.send(new TransactWriteItemsCommand({ TransactItems: [write('seeded')] })).catch(() => undefined);
    }
    by.destroy();
    runs.push(seeded.log.map(({ fault }) => fault ?? '-').join(' '));
  }
  assert.equal(runs[0], runs[1]);
  assert.notEqual(runs[0], runs[2]);
  for (const fault of ['late', 'throttled', 'lost-answer']) assert.ok(runs[0]!.includes(fault), runs[0]);
});
