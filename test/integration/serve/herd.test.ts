import assert from 'node:assert/strict';
import { after, afterEach, before, mock, test } from 'node:test';
import { pullLeaseName } from '../../../lib/table/keys.ts';
import { acquire } from '../../../lib/lock/lease.ts';
import { parseReference } from '../../../lib/reference/reference.ts';
import { noiseImage } from '../../support/images.ts';
import { forever } from '../../support/table-under-test.ts';
import { when } from '../../support/upstream/upstream.ts';
import { FAST_FRESHNESS, REGISTRY, startServeBench, type ServeBench } from './serve-bench.ts';

/*
 * Many processes, each with a client, ask for the same tag when the time of its last answer is over.
 */

const PROCESSES = 10;
const TTL_SECONDS = 2;

let bench: ServeBench;
before(async () => {
  bench = await startServeBench({ serve: { freshness: [{ ...FAST_FRESHNESS, ttlSeconds: TTL_SECONDS }] } });
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => {
  mock.timers.reset();
  bench.upstream.clearFaults();
  bench.upstream.requests.length = 0;
});

/** From now on the last answer of the registry is too old. */
function letItsTimePass(): void {
  mock.timers.enable({ apis: ['Date'], now: Date.now() + TTL_SECONDS * 1_000 + 100 });
}

test(`${PROCESSES} processes ask the registry once`, async () => {
  const base = await bench.warm(noiseImage({ name: 'herd' }), 'team/herd');
  bench.upstream.fault(when({ kind: 'manifest', method: 'HEAD' }, { delayMs: 300 }));
  const processes = await Promise.all(Array.from({ length: PROCESSES }, () => bench.another()));
  letItsTimePass();
  const told = await Promise.all(processes.map((one) => one.head(`${base}/manifests/v1`)));
  assert.deepEqual(new Set(told.map(({ status }) => status)), new Set([200]));
  assert.equal(bench.upstream.count({ method: 'HEAD' }), 1);
});

test('a client whose image is published does not wait for a pull that is under way, and hears no warning', async () => {
  const base = await bench.warm(noiseImage({ name: 'held' }), 'team/held');
  const process = await bench.another();
  letItsTimePass();
  const name = pullLeaseName(parseReference(`${REGISTRY}/team/held:v1`));
  await using _lock = await acquire(bench.services.pull.leases, name, forever);
  bench.upstream.requests.length = 0;
  for (let n = 0; n < 3; n++) {
    const { status, ms, headers } = await process.head(`${base}/manifests/v1`);
    assert.deepEqual([status, headers.warning], [200, undefined]);
    assert.ok(ms < 1_000, `it took ${Math.round(ms)} ms`);
  }
  assert.equal(bench.upstream.requests.length, 0);
});

test('of those who ask one process, too, one waits for the registry and the others have what is published', async () => {
  const base = await bench.warm(noiseImage({ name: 'one process' }), 'team/one-process');
  letItsTimePass();
  bench.upstream.fault(when({ kind: 'manifest', method: 'HEAD' }, { delayMs: 1_500 }));
  const told = await Promise.all(Array.from({ length: 10 }, () => bench.head(`${base}/manifests/v1`)));
  assert.deepEqual(new Set(told.map(({ status }) => status)), new Set([200]));
  assert.equal(told.filter(({ ms }) => ms > 1_000).length, 1, 'one asks');
  assert.equal(bench.upstream.count({ method: 'HEAD' }), 1);
});

test('a repository that breaks off, or answers 500, takes no neighbour of its registry with it', async () => {
  for (const [name, fault] of [
    ['resets', { reset: true }],
    ['fails', { status: 500 }],
  ] as const) {
    const process = await bench.another();
    const bad = bench.offer(noiseImage({ name: `bad ${name}` }), `bad/${name}`);
    const good = bench.offer(noiseImage({ name: `good ${name}` }), `good/${name}`);
    bench.upstream.fault(({ repository }) => (repository === `bad/${name}` ? fault : undefined));
    assert.ok((await process.get(`${bad}/manifests/v1`)).status >= 500);
    assert.equal((await process.get(`${good}/manifests/v1`)).status, 200);
    bench.upstream.clearFaults();
  }
});
