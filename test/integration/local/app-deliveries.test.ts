import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startDeliveries, type Deliveries } from '../../../infra/local/app/deliveries.ts';
import { startEventBus } from '../../../infra/local/app/event-bus.ts';
import { startQueues, type Queue, type Queues } from '../../../infra/local/app/queues.ts';
import { startToys, type ToyFunctions } from '../../support/toy-functions.ts';
import { until } from '../../support/until.ts';

/** Writes each batch down, and fails the messages that ask for it `fails` times: by their names, by a name that no message has, or by throwing. */
const PICKY = `
import { appendFileSync } from 'node:fs';
export async function handler({ Records }) {
  const events = Records.map(({ body }) => JSON.parse(body));
  appendFileSync(events[0].file, JSON.stringify(Records) + '\\n');
  const failed = Records.filter(({ attributes }, i) => Number(attributes.ApproximateReceiveCount) <= events[i].fails);
  const how = failed.length === 0 ? undefined : events.find(({ fails }) => fails > 0).how;
  if (how === 'throw') throw new Error('no use');
  if (how === 'wrong name') return { batchItemFailures: [{ itemIdentifier: 'of no message' }] };
  return failed.length === 0 ? null : { batchItemFailures: failed.map(({ messageId }) => ({ itemIdentifier: messageId })) };
}`;

interface SqsRecord {
  readonly messageId: string;
  readonly body: string;
  readonly eventSource: string;
  readonly eventSourceARN: string;
  readonly awsRegion: string;
}

describe('events without anybody who waits', { timeout: 300_000 }, () => {
  let toys: ToyFunctions;
  let deliveries: Deliveries;
  let queues: Queues;
  before(async () => {
    toys = await startToys({ toy: {}, single: { concurrency: 1 }, picky: { source: PICKY } });
    deliveries = startDeliveries(toys.functions, toys.logs);
    queues = startQueues(toys.functions, toys.logs);
  });
  after(async () => {
    await toys.functions.close();
    await deliveries.close();
    await queues.close();
    await toys[Symbol.asyncDispose]();
  });

  const notes = async (name: string): Promise<readonly string[]> => {
    const text = await readFile(join(toys.folder, name), 'utf8').catch(() => '');
    return text.split('\n').filter((line) => line !== '');
  };
  const note = (name: string, text = 'came'): object => ({ file: join(toys.folder, name), text });

  test('a failed event is tried again twice, and then is a dead letter', async () => {
    deliveries.deliver('toy', { note: note('failing'), fail: { name: 'Error', message: 'no use' } });
    const letters = join(toys.logs, 'dead-letters.log');
    await until(async () => (await readFile(letters, 'utf8').catch(() => '')).includes('no use'));
    assert.equal((await notes('failing')).length, 3);
    const letter = JSON.parse((await readFile(letters, 'utf8')).trim()) as { function: string; event: object };
    assert.deepEqual([letter.function, Object.keys(letter.event)], ['toy', ['note', 'fail']]);
  });

  test('a throttled one comes later', async () => {
    for (const text of ['a', 'b', 'c']) deliveries.deliver('single', { note: note('throttled', text), sleepMs: 50 });
    await until(async () => (await notes('throttled')).length === 3);
  });

  const queueOf = (name: string, more: Partial<Queue> = {}): Queue => ({
    arn: `arn:aws:sqs:us-east-1:000000000000:${name}`,
    functionName: 'picky',
    batchSize: 10,
    windowMs: 100,
    concurrency: 2,
    maxReceives: 2,
    ...more,
  });
  const message = (name: string, text: string, more: object = {}): object => ({
    file: join(toys.folder, name),
    text,
    fails: 0,
    ...more,
  });
  const batches = async (name: string): Promise<readonly (readonly SqsRecord[])[]> =>
    (await notes(name)).map((line) => JSON.parse(line) as readonly SqsRecord[]);
  const textsOf = async (name: string): Promise<readonly (readonly string[])[]> =>
    (await batches(name)).map((batch) => batch.map(({ body }) => (JSON.parse(body) as { text: string }).text));
  const lettersOf = async (name: string): Promise<readonly string[]> => {
    const lines = (await readFile(join(toys.logs, 'dead-letters.log'), 'utf8').catch(() => '')).trim().split('\n');
    const letters = lines
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { event: { file?: string; text: string } });
    return letters.filter(({ event }) => event.file === join(toys.folder, name)).map(({ event }) => event.text);
  };

  test('messages of a queue come in batches, as SQS has them', async () => {
    const queue = queueOf('batched', { batchSize: 3 });
    for (const text of ['a', 'b', 'c', 'd', 'e']) queues.send(queue, message('batched', text));
    await until(async () => (await textsOf('batched')).flat().length === 5);
    assert.deepEqual((await textsOf('batched')).map(({ length }) => length).sort(), [2, 3]);
    const [first] = (await batches('batched')).flat();
    assert.deepEqual(
      [first?.eventSource, first?.eventSourceARN, first?.awsRegion],
      ['aws:sqs', queue.arn, 'us-east-1'],
    );
  });

  test('a message that failed comes again, without those that did not; at last it is a dead letter', async () => {
    const queue = queueOf('failing-some');
    const all = [message('some', 'a'), message('some', 'once', { fails: 1 }), message('some', 'ever', { fails: 9 })];
    for (const one of all) queues.send(queue, one);
    await until(async () => (await lettersOf('some')).length > 0);
    assert.deepEqual(await textsOf('some'), [
      ['a', 'once', 'ever'],
      ['once', 'ever'],
    ]);
    assert.deepEqual(await lettersOf('some'), ['ever']);
  });

  for (const how of ['wrong name', 'throw']) {
    test(`a batch that fails by a ${how} comes again as a whole`, async () => {
      const name = `whole-${how.replace(' ', '-')}`;
      const queue = queueOf(name);
      for (const one of [message(name, 'a'), message(name, 'b', { fails: 1, how })]) queues.send(queue, one);
      await until(async () => (await textsOf(name)).length === 2);
      assert.deepEqual(await textsOf(name), [
        ['a', 'b'],
        ['a', 'b'],
      ]);
      assert.deepEqual(await lettersOf(name), []);
    });
  }

  test('what still waits when the application is stopped is a dead letter', async () => {
    const stopping = startQueues(toys.functions, toys.logs);
    stopping.send(queueOf('stopped', { windowMs: 60_000 }), message('stopped', 'a'));
    await stopping.close();
    assert.deepEqual(await lettersOf('stopped'), ['a']);
    assert.deepEqual(await textsOf('stopped'), []);
  });

  test('a rule delivers what matches on its bus', async () => {
    const pattern = { source: ['team'], detail: { reference: [{ exists: true }] } };
    await using bus = await startEventBus({
      region: 'us-east-1',
      accountId: '000000000000',
      buses: ['own'],
      rules: [
        { bus: 'own', pattern, target: 'toy' },
        { bus: 'own', pattern: { source: ['store'] }, target: queueOf('by-rule') },
      ],
      deliveries,
      queues,
    });
    const event = { source: 'team', detail: { reference: 'a' }, note: note('matched') };
    bus.put('default', event);
    bus.put('own', { ...event, source: 'other' });
    bus.put('own', event);
    await until(async () => (await notes('matched')).length > 0);
    assert.equal((await notes('matched')).length, 1);
    bus.put('own', { source: 'store', ...message('by-rule', 'a') });
    await until(async () => (await batches('by-rule')).length > 0);
    assert.equal(bus.recent().length, 4);
    const other = await fetch(bus.endpoint, { method: 'POST', body: '{}', headers: { 'content-type': 'text/plain' } });
    assert.equal(other.status, 400);
  });
});
