import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeadlineError } from '../../../lib/errors/cache-error.ts';
import { multiArchImage, noiseImage, type Image } from '../../support/images.ts';
import { startPullBench, type PullBench } from './pull-bench.ts';

const MIB = 1024 * 1024;
const LEASE_MS = 20_000;

let bench: PullBench;
before(async () => {
  // Long leases: whoever had to wait for one to lapse would be noticed.
  bench = await startPullBench({ limits: { leaseSeconds: LEASE_MS / 1000, headersTimeoutSeconds: 30 } });
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => bench.upstream.clearFaults());

/** The deadline fires as soon as `when` says so. */
function deadlineWhen(when: () => boolean | Promise<boolean>): AbortSignal {
  const deadline = new AbortController();
  const watch = async (): Promise<void> => {
    for (let looks = 0; looks < 2_000; looks++) {
      if (await when()) break;
      await sleep(5);
    }
    deadline.abort(new DeadlineError('the time given to this test is over'));
  };
  watch().catch((error: unknown) => deadline.abort(error));
  return deadline.signal;
}

/** How many of the image's blobs the catalogue knows as present. */
async function presentOf(image: Image): Promise<number> {
  const rows = await bench.cache.services.catalog.findBlobs([...image.blobs.keys()], AbortSignal.timeout(5_000));
  return [...rows.values()].filter(({ state }) => state === 'present').length;
}

test('a pull that its deadline stops keeps finished blobs, frees everything, and is gone on with', async () => {
  const image = noiseImage({ name: 'late', layerBytes: [1_000, 2_000, 8 * MIB] });
  const reference = bench.offer(image, 'team/late');
  bench.upstream.fault(({ kind }, { body }) =>
    kind === 'blob' && body.byteLength === 8 * MIB ? { stallAfterBytes: 7 * MIB } : undefined,
  );
  const partial = await bench.cache.pull(reference, {
    deadline: deadlineWhen(async () => bench.upstream.count({ kind: 'blob' }) === 4 && (await presentOf(image)) === 3),
  });
  assert.equal(partial.outcome, 'partial');
  assert.equal(partial.digest, image.root.digest);
  assert.deepEqual(partial.blobs, { total: 4, present: 0, copied: 3, copiedElsewhere: 0 });
  assert.ok(partial.bytes.copied < partial.bytes.total);
  assert.deepEqual(
    partial.platforms.map(({ complete }) => complete),
    [false],
  );
  assert.equal(partial.registryRequests.total, bench.upstream.requests.length);
  await bench.assertClean();
  assert.equal((await bench.cache.validate(reference)).state, 'unknown');

  bench.upstream.clearFaults();
  bench.upstream.requests.length = 0;
  const startedMs = performance.now();
  const rest = await bench.succeeds(reference);
  assert.ok(performance.now() - startedMs < LEASE_MS / 2, 'no lease had to lapse');
  assert.deepEqual(rest.blobs, { total: 4, present: 3, copied: 1, copiedElsewhere: 0 });
  assert.equal(bench.upstream.count({ kind: 'blob' }), 1);
});

test('a platform that was complete stays so when another one runs out of time', async () => {
  const image = multiArchImage({ name: 'late platform' });
  const reference = bench.offer(image, 'team/late-platform');
  await bench.succeeds(reference, { platforms: ['linux/amd64'] });
  bench.upstream.fault(({ kind }) => (kind === 'blob' ? { stallAfterBytes: 0 } : undefined));
  bench.upstream.requests.length = 0;
  const partial = await bench.cache.pull(reference, {
    platforms: ['linux/arm64'],
    deadline: deadlineWhen(() => bench.upstream.count({ kind: 'blob' }) > 0),
  });
  assert.deepEqual([partial.outcome, partial.blobs.copied, partial.blobs.present], ['partial', 0, 1]);
  await bench.assertClean();
  assert.equal((await bench.cache.pull(reference, { platforms: ['linux/amd64'] })).outcome, 'hit');
});

test('a deadline before anything is known is told as partial, too', async () => {
  const reference = bench.offer(noiseImage({ name: 'at once' }), 'team/at-once');
  const over = AbortSignal.abort(new DeadlineError('over before it began'));
  const none = await bench.cache.pull(reference, { deadline: over });
  assert.deepEqual([none.outcome, none.digest, none.registryRequests.total], ['partial', null, 0]);
  assert.equal(bench.upstream.requests.length, 0);

  bench.upstream.fault(({ kind }) => (kind === 'manifest' ? { delayMs: 20_000 } : undefined));
  const early = await bench.cache.pull(reference, { deadline: deadlineWhen(() => bench.upstream.requests.length > 0) });
  assert.deepEqual([early.outcome, early.digest, early.registryRequests.total], ['partial', null, 1]);
  await bench.assertClean();
  bench.upstream.clearFaults();
  await bench.succeeds(reference);
});

test('a single image that is stopped while its config is read counts no more than it wants', async () => {
  const reference = bench.offer(noiseImage({ name: 'config only' }), 'team/config-only');
  bench.upstream.fault(({ kind }) => (kind === 'blob' ? { stallAfterBytes: 0 } : undefined));
  const partial = await bench.cache.pull(reference, {
    deadline: deadlineWhen(() => bench.upstream.count({ kind: 'blob' }) > 0),
  });
  assert.equal(partial.outcome, 'partial');
  const { total, present, copied, copiedElsewhere } = partial.blobs;
  assert.ok(present + copied + copiedElsewhere <= total);
  await bench.assertClean();
});

test('a signal that is no deadline is thrown as it is', async () => {
  const reference = bench.offer(noiseImage({ name: 'cancelled' }), 'team/cancelled');
  const reason = new Error('the caller went away');
  await assert.rejects(bench.cache.pull(reference, { deadline: AbortSignal.abort(reason) }), reason);
  bench.upstream.fault(({ kind }) => (kind === 'blob' ? { stallAfterBytes: 0 } : undefined));
  const caller = new AbortController();
  const pulling = bench.cache.pull(reference, { deadline: caller.signal });
  for (let looks = 0; looks < 500 && bench.upstream.count({ kind: 'blob' }) === 0; looks++) await sleep(5);
  caller.abort(reason);
  await assert.rejects(pulling, reason);
  await bench.assertClean();
});
