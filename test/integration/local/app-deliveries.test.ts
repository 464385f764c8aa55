import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startDeliveries, type Deliveries } from '../../../infra/local/app/deliveries.ts';
import { startEventBus } from '../../../infra/local/app/event-bus.ts';
import { startToys, type ToyFunctions } from '../../support/toy-functions.ts';
import { until } from '../../support/until.ts';

describe('events without anybody who waits', { timeout: 300_000 }, () => {
  let toys: ToyFunctions;
  let deliveries: Deliveries;
  before(async () => {
    toys = await startToys({ toy: {}, single: { concurrency: 1 } });
    deliveries = startDeliveries(toys.functions, toys.logs);
  });
  after(async () => {
    await toys.functions.close();
    await deliveries.close();
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

  test('a rule delivers what matches on its bus', async () => {
    const pattern = { source: ['team'], detail: { reference: [{ exists: true }] } };
    await using bus = await startEventBus({
      region: 'us-east-1',
      accountId: '000000000000',
      buses: ['own'],
      rules: [{ bus: 'own', pattern, functionName: 'toy' }],
      deliveries,
    });
    const event = { source: 'team', detail: { reference: 'a' }, note: note('matched') };
    bus.put('default', event);
    bus.put('own', { ...event, source: 'other' });
    bus.put('own', event);
    await until(async () => (await notes('matched')).length > 0);
    assert.equal((await notes('matched')).length, 1);
    assert.equal(bus.recent().length, 3);
    const other = await fetch(bus.endpoint, { method: 'POST', body: '{}', headers: { 'content-type': 'text/plain' } });
    assert.equal(other.status, 400);
  });
});
