import assert from 'node:assert/strict';
import { test } from 'node:test';
import { succeed } from '../../../lib/jobs/ending.ts';
import type { PullRecord } from '../../../lib/jobs/pull-record.ts';
import type { Receipt } from '../../../lib/pull/receipt.ts';

const record = { id: 'one', createdMs: 0, request: {} } as PullRecord;
const receiptOf = (outcome: Receipt['outcome']): Receipt =>
  ({ outcome, bytes: { total: 0, present: 0, copied: 0, copiedElsewhere: 0 } }) as unknown as Receipt;

for (const outcome of ['pulled', 'hit'] as const) {
  test(`a pull (${outcome}) has its receipt before its lock is free, and the lock is free before the bus hears of it`, async () => {
    const steps: string[] = [];
    const step = (name: string): Promise<void> => {
      steps.push(name);
      return Promise.resolve();
    };
    await succeed(
      {
        records: {
          succeed: async (id: string, receipt: Receipt) => {
            await step('receipt');
            return { ...record, id, receipt };
          },
        } as never,
        metrics: { add: () => undefined },
        announcer: { announce: () => step('announced') },
      },
      record,
      receiptOf(outcome),
      new AbortController().signal,
      { release: () => step('released') },
    );
    assert.deepEqual(steps, ['receipt', 'released', ...(outcome === 'hit' ? [] : ['announced'])]);
  });
}
