import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { noiseImage } from '../../support/images.ts';
import { times, when } from '../../support/upstream/upstream.ts';
import { startPullBench, type PullBench } from './pull-bench.ts';

let bench: PullBench;
before(async () => {
  bench = await startPullBench({ limits: { parallelBlobs: 1 } });
});
after(() => bench[Symbol.asyncDispose]());
afterEach(() => bench.upstream.clearFaults());

test('a 429 is asked again after Retry-After', async () => {
  const reference = bench.offer(noiseImage({ name: 'limited' }), 'team/limited');
  bench.upstream.fault(times(1, when({ kind: 'blob' }, { status: 429, headers: { 'retry-after': '1' } })));
  const startedMs = performance.now();
  const receipt = await bench.succeeds(reference);
  assert.ok(performance.now() - startedMs >= 1_000);
  assert.equal(receipt.registryRequests.blob, 4);
  assert.equal(receipt.registryRequests.total, bench.upstream.requests.length);
});

test('a 429 that asks for more than we wait is told at once, with the time', async () => {
  const reference = bench.offer(noiseImage({ name: 'limited long' }), 'team/limited-long');
  bench.upstream.fault(when({ kind: 'manifest' }, { status: 429, headers: { 'retry-after': '3600' } }));
  await assert.rejects(bench.cache.pull(reference), {
    code: 'TOOMANYREQUESTS',
    retryable: true,
    retryAfterMs: 3_600_000,
  });
  assert.equal(bench.upstream.requests.length, 1);
  await bench.assertClean();
  bench.upstream.clearFaults();
  await bench.succeeds(reference);
});

test('a storm of 500s that passes costs tries, and nothing else', async () => {
  const image = noiseImage({ name: 'storm' });
  const reference = bench.offer(image, 'team/storm');
  // Every URL fails twice, with three tries allowed.
  const failures = new Map<string, number>();
  bench.upstream.fault(({ path }) => {
    const seen = failures.get(path) ?? 0;
    failures.set(path, seen + 1);
    return seen < 2 ? { status: [500, 503][seen]! } : undefined;
  });
  const receipt = await bench.succeeds(reference);
  // HEAD is the first try at the tag; GET, which then decides, brings the manifest along.
  assert.deepEqual(receipt.registryRequests, { total: 12, ping: 0, token: 0, manifest: 3, blob: 9, redirected: 0 });
  assert.equal(bench.upstream.requests.length, 12);
});

for (const kind of ['manifest', 'blob'] as const) {
  test(`a storm over ${kind}s that does not pass is given up`, async () => {
    const reference = bench.offer(noiseImage({ name: `storm ${kind}` }), `team/storm-${kind}`);
    bench.upstream.fault(when({ kind }, { status: 502 }));
    await bench.fails(reference, { name: 'UpstreamUnavailableError', code: undefined, message: /502/ });
    assert.equal(bench.upstream.count({ kind }), 3);
    bench.upstream.clearFaults();
    await bench.succeeds(reference);
  });
}

describe('with little patience', () => {
  let hasty: PullBench;
  before(async () => {
    hasty = await startPullBench({
      limits: { headersTimeoutSeconds: 1, bodyTimeoutSeconds: 1, attempts: 6, stalls: 6 },
    });
  });
  after(() => hasty[Symbol.asyncDispose]());
  afterEach(() => hasty.upstream.clearFaults());

  test('a slow start is tried again after the time limit', async () => {
    const reference = hasty.offer(noiseImage({ name: 'slow' }), 'team/slow');
    hasty.upstream.fault(times(1, when({ kind: 'blob' }, { delayMs: 20_000 })));
    const receipt = await hasty.succeeds(reference);
    assert.ok(receipt.registryRequests.blob >= 4);
    assert.equal(receipt.registryRequests.total, hasty.upstream.requests.length);
  });

  test('a body that stalls is gone on with at its byte', async () => {
    const reference = hasty.offer(noiseImage({ name: 'stall', layerBytes: [150_000] }), 'team/stall');
    hasty.upstream.fault(
      times(
        1,
        when({ kind: 'blob' }, ({ body }) => (body.byteLength === 150_000 ? { stallAfterBytes: 65_536 } : undefined)),
      ),
    );
    await hasty.succeeds(reference);
    assert.ok(hasty.upstream.requests.some(({ headers }) => headers.range === 'bytes=65536-'));
  });

  test('a registry that never answers is given up as timed out', async () => {
    await using silent = await startPullBench({ limits: { headersTimeoutSeconds: 1, attempts: 1 } });
    const reference = silent.offer(noiseImage({ name: 'silent' }), 'team/silent');
    silent.upstream.fault(when({ kind: 'manifest' }, { delayMs: 20_000 }));
    await assert.rejects(silent.cache.pull(reference), {
      name: 'UpstreamUnavailableError',
      timedOut: true,
      retryable: true,
    });
    await silent.assertClean();
  });
});

test('connections that are reset are made again', async () => {
  const reference = bench.offer(noiseImage({ name: 'reset' }), 'team/reset');
  bench.upstream.fault(times(1, when({ kind: 'manifest', method: 'HEAD' }, { reset: true })));
  bench.upstream.fault(times(1, when({ kind: 'manifest', method: 'GET' }, { dropAfterBytes: 10 })));
  bench.upstream.fault(times(1, when({ kind: 'blob' }, { reset: true })));
  const receipt = await bench.succeeds(reference);
  assert.deepEqual(receipt.registryRequests, { total: 7, ping: 0, token: 0, manifest: 3, blob: 4, redirected: 0 });
});
