import { PutObjectCommand } from '@aws-sdk/client-s3';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import type { Plans } from '../../../lib/store/content-store.ts';
import { s3Client } from '../../../lib/store/s3-client.ts';
import { s3Plans } from '../../../lib/store/s3-plans.ts';
import { rawS3, startBench, type Bench } from '../../support/cache.ts';
import { startFaultProxy } from '../../support/http-fault-proxy.ts';
import { forever } from '../../support/table-under-test.ts';

let bench: Bench;
let plans: Plans;
const bytes = Buffer.from('{"a":"plan"}');

before(async () => {
  bench = await startBench();
  plans = plansAt(bench.stack.s3Endpoint);
});
after(() => bench[Symbol.asyncDispose]());

function plansAt(endpoint: string): Plans {
  const { bucket, region, credentials } = bench.stack;
  return s3Plans({ client: s3Client({ endpoint, region, credentials, forcePathStyle: true }), bucket });
}

test('a plan is written once under the id and number of its pull, and read back', async () => {
  const id = randomUUID();
  const key = await plans.write(id, 1, bytes, forever);
  assert.equal(key, `plans/${id}/1.json`);
  assert.deepEqual(Buffer.from(await plans.read(key, bytes.byteLength, forever)), bytes);
  assert.equal(await plans.write(id, 1, bytes, forever), key, 'the same again is no other plan');
  await assert.rejects(plans.write(id, 1, Buffer.from('{"another":1}'), forever), {
    name: 'StoreError',
    message: /holds another plan of that number/,
  });
  assert.deepEqual(Buffer.from(await plans.read(key, 1_000, forever)), bytes);
});

test('a write whose answer was lost is a success', async () => {
  const proxy = await bench.use(startFaultProxy(bench.stack.s3Endpoint));
  proxy.rules.push({ method: 'PUT', times: 1, action: { kind: 'lose-answer' } });
  const id = randomUUID();
  assert.equal(await plansAt(proxy.endpoint).write(id, 2, bytes, forever), `plans/${id}/2.json`);
});

test('a plan that is gone has to be made again; one that is too large is not read', async () => {
  const id = randomUUID();
  await assert.rejects(plans.read(`plans/${id}/1.json`, 100, forever), {
    name: 'ContentLostError',
    message: /is gone/,
  });
  const s3 = rawS3(bench.stack);
  const key = `plans/${id}/2.json`;
  await s3.send(
    new PutObjectCommand({ Bucket: bench.stack.bucket, Key: key, Body: Buffer.alloc(101), IfNoneMatch: '*' }),
  );
  s3.destroy();
  await assert.rejects(plans.read(key, 100, forever), { name: 'StoreError', retryable: false, message: /101 bytes/ });
});
