import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { IMAGE, TEAMS } from '../../../infra/cost/assumptions.ts';
import type { Counts } from '../../../infra/cost/counts.ts';
import {
  billOf,
  hitUsage,
  monthlyBill,
  sampleMissUsage,
  servedUsage,
  sumOf,
  usualMissUsage,
} from '../../../infra/cost/model.ts';
import { PRICE_NAMES, type PriceTable } from '../../../infra/cost/prices.ts';
import { COST_PAGE, renderCostPage } from '../../../infra/cost/page.ts';
import { workflowDefinition } from '../../../infra/workflow.ts';
import { transitionsOf } from '../../bench/state-transitions.ts';

const read = async (name: string): Promise<unknown> =>
  JSON.parse(await readFile(new URL(`../../../infra/cost/${name}`, import.meta.url), 'utf8')) as unknown;
const table = (await read('prices.json')) as PriceTable;
const counts = (await read('counts.json')) as Counts;
const close = (one: number, other: number): void => assert.ok(Math.abs(one - other) < 1e-12, `${one} is not ${other}`);

test('docs/cost.md is what the counts, the prices and the assumptions give: else run `npm run cost`', async () => {
  assert.equal(await readFile(COST_PAGE, 'utf8'), await renderCostPage());
});

test('the price table has each price that is asked for, and no other', () => {
  assert.deepEqual(Object.keys(table.prices), [...PRICE_NAMES]);
  for (const { usd, page } of Object.values(table.prices)) {
    assert.ok(usd > 0);
    assert.equal(new URL(page).host, 'aws.amazon.com');
  }
});

test('the transitions of a miss are those of the state machine: else run `npm run cost`', () => {
  const { transitions, invocations } = counts.miss;
  assert.equal(transitions, transitionsOf(workflowDefinition(), invocations.copy ?? 0));
});

test('transitions: Plan, IsPlanned, CopyBatches, Publish, Done, and three for each batch; three where nothing is to be copied', () => {
  assert.equal(transitionsOf(workflowDefinition(), 7), 5 + 3 * 7);
  assert.equal(transitionsOf(workflowDefinition(), 0), 3);
});

test('a hit is two requests to DynamoDB, one to the API and one invocation, and touches nothing else', () => {
  const { hit } = counts;
  assert.deepEqual([hit.dynamoDbRequests, hit.s3Reads, hit.s3Writes, hit.registryRequests], [2, 0, 0, 0]);
  const bill = billOf(table, hitUsage(counts));
  close(bill.get('DynamoDB requests') ?? 0, (hit.readUnits * 0.125) / 1_000_000);
  close(bill.get('HTTP API') ?? 0, 1 / 1_000_000);
  close(bill.get('Lambda') ?? 0, 0.2 / 1_000_000 + 0.04 * 0.0000133334);
  assert.equal(bill.get('Step Functions'), 0);
});

test('a pull by a client is one invocation and one request for each of its questions, and a read of S3 for each blob', () => {
  const { tag, manifest, blob } = counts.served;
  for (const one of [tag, manifest, blob])
    assert.deepEqual([one.writeUnits, one.registryRequests, one.s3Writes], [0, 0, 0]);
  assert.deepEqual([blob.dynamoDbRequests, blob.s3Reads], [1, 0]);
  const usage = servedUsage(counts);
  assert.equal(usage.httpApiRequest, 3 + IMAGE.blobs);
  assert.equal(usage.lambdaRequest, 3 + IMAGE.blobs);
  assert.equal(usage.s3Read, tag.s3Reads + manifest.s3Reads + IMAGE.blobs);
});

test('a month is the sum of its parts, and more of anything costs more', () => {
  const [small] = TEAMS;
  assert.ok(small !== undefined);
  const costs = (more: Partial<typeof small>): number => sumOf(monthlyBill(table, counts, { ...small, ...more }));
  const perHit = sumOf(billOf(table, hitUsage(counts)));
  close(costs({ hits: small.hits + 1_000 }) - costs({}), 1_000 * perHit);
  const perMiss = sumOf(billOf(table, usualMissUsage(counts)));
  close(costs({ misses: small.misses + 10 }) - costs({}), 10 * perMiss);
  assert.ok(perMiss > sumOf(billOf(table, sampleMissUsage(counts))));
  close(costs({ crossRegionGb: 100 }) - costs({}), 2);
  close(costs({ served: small.served + 1_000 }) - costs({}), 1_000 * sumOf(billOf(table, servedUsage(counts))));
  assert.ok(costs({ storedGb: small.storedGb + 1 }) > costs({}));
  assert.ok(costs({ warmupEntries: small.warmupEntries + 1 }) > costs({}));
});
