import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { warmupLeaseName } from '../../../lib/table/keys.ts';
import {
  CacheError,
  LeaseLostError,
  ManifestUnknownError,
  RateLimitedError,
  UnknownNameError,
} from '../../../lib/errors/cache-error.ts';
import { acquire } from '../../../lib/lock/lease.ts';
import { runWarmup } from '../../../lib/warmup/run-warmup.ts';
import { openCache, startBench, type Bench, type TestCache } from '../../support/cache.ts';
import { multiArchImage, noiseImage, upstreamImage } from '../../support/images.ts';
import { until } from '../../support/until.ts';
import { startUpstream, times, when, type TestUpstream } from '../../support/upstream/upstream.ts';
import { localJobs, timeOf, warmupBench, warmupOf, type WarmupBench } from './warmup-bench.ts';

const ONE = 'one.example.test';
const TWO = 'two.example.test';
const TIME = '2026-01-31T03:00:00.000Z';
const LATER = '2026-02-01T03:00:00.000Z';
const forever = new AbortController().signal;

let bench: Bench;
let one: TestUpstream;
let two: TestUpstream;
let cache: TestCache;
let warmups: WarmupBench;

before(async () => {
  bench = await startBench();
  [one, two] = [await bench.use(startUpstream()), await bench.use(startUpstream())];
  const registries = {
    [ONE]: { endpoint: one.origin, credentials: 'none' },
    [TWO]: { endpoint: two.origin, credentials: 'none' },
  };
  cache = await bench.use(openCache(bench.stack, { registries, limits: { attempts: 1, retryAfterMaxSeconds: 0 } }));
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(async () => {
  warmups = warmupBench(cache.services, await bench.use(localJobs(cache.services)));
  for (const upstream of [one, two]) {
    upstream.requests.length = 0;
    upstream.clearFaults();
  }
});

let images = 0;
/** A new image under these tags. */
function addImage(upstream: TestUpstream, repository: string, ...tags: string[]): string {
  const image = noiseImage({ name: `image-${++images}`, layerBytes: [1_000] });
  upstream.addImage(repository, upstreamImage(image, ...tags));
  return image.root.digest;
}

const names = (summary: { readonly pulls: readonly { readonly reference: string }[] }): string[] =>
  summary.pulls.map(({ reference }) => reference);

describe('a run', () => {
  test('pulls what is new, then only what moved, and asks for the rest by HEAD alone', async () => {
    addImage(one, 'team/a', 'v1');
    addImage(one, 'team/b', 'v1');
    const settings = warmupOf([{ reference: `${ONE}/team/a:v1` }, { reference: `${ONE}/team/b:v1` }]);
    const first = await warmups.run(settings, TIME);
    assert.deepEqual(names(first), [`${ONE}/team/a:v1`, `${ONE}/team/b:v1`]);
    assert.deepEqual([first.checked, first.unchanged, first.failures.length], [2, 0, 0]);
    assert.ok(first.pulls.every(({ outcome }) => outcome === 'succeeded'));

    const moved = addImage(one, 'team/b', 'v1');
    one.requests.length = 0;
    const second = await warmups.run(settings, LATER);
    assert.deepEqual(names(second), [`${ONE}/team/b:v1`]);
    assert.deepEqual([second.checked, second.unchanged], [2, 1]);
    assert.equal((await cache.pull(`${ONE}/team/b:v1`)).digest, moved);

    one.requests.length = 0;
    const third = await warmups.run(settings, '2026-02-02T03:00:00.000Z');
    assert.deepEqual([third.checked, third.unchanged, third.pulls.length], [2, 2, 0]);
    assert.deepEqual(
      one.requests.map(({ method, kind }) => `${method} ${kind}`),
      ['HEAD manifest', 'HEAD manifest'],
    );
    assert.deepEqual(
      warmups.announced.map(({ type }) => type),
      Array(3).fill('Warmup Finished'),
    );
    assert.deepEqual(warmups.announced[2]?.detail, third);
    assert.equal(warmups.counted.get('RegistryRequests'), 6);
  });

  test('brings a platform that is missing, though the tag did not move', async () => {
    one.addImage('team/multi', upstreamImage(multiArchImage({ name: 'warm-multi' }), 'v1'));
    const reference = `${ONE}/team/multi:v1`;
    await cache.pull(reference, { platforms: ['linux/amd64'] });
    const amd64 = await warmups.run(warmupOf([{ reference, platforms: ['linux/amd64'] }]), TIME);
    assert.equal(amd64.unchanged, 1);
    const both = await warmups.run(warmupOf([{ reference, platforms: ['linux/amd64', 'linux/arm64'] }]), TIME);
    assert.deepEqual(names(both), [reference]);
    assert.equal((await cache.pull(reference, { platforms: ['linux/arm64'] })).outcome, 'hit');
  });

  test('takes tags by rule, and each image once', async () => {
    for (const tag of ['1.0', '1.1', '1.2', '2.0-rc1', 'latest']) addImage(one, 'team/tagged', tag);
    const repository = `${ONE}/team/tagged`;
    const settings = warmupOf([
      { repository, tags: { semver: '>=1', newest: 2 } },
      { repository, tags: { glob: '1.*' } },
      { reference: `${repository}:1.1` },
    ]);
    const summary = await warmups.run(settings, TIME);
    assert.deepEqual(names(summary), [`${repository}:1.0`, `${repository}:1.1`, `${repository}:1.2`]);
    assert.equal(summary.checked, 3);
    assert.equal(one.count({ kind: 'tags' }), 2);
  });

  test('lets no more pulls run at the same time than it says', async () => {
    for (let index = 0; index < 6; index++) addImage(one, `team/many-${index}`, 'v1');
    warmups.jobs.delayMs = 50;
    const entries = Array.from({ length: 6 }, (_, index) => ({ reference: `${ONE}/team/many-${index}:v1` }));
    const summary = await warmups.run(warmupOf(entries, 2), TIME);
    assert.equal(summary.pulls.length, 6);
    assert.equal(warmups.jobs.mostAtOnce(), 2);
  });

  test('goes on past what is broken', async () => {
    addImage(one, 'team/fine', 'v1');
    const settings = warmupOf([
      { reference: `${ONE}/team/absent:v1` },
      { reference: 'unknown.example.test/team/app:v1' },
      { repository: `${ONE}/team/fine`, tags: { glob: 'none-*' } },
      { repository: `${ONE}/team/nowhere`, tags: { newest: 1 } },
      { reference: `${ONE}/team/fine:v1` },
    ]);
    const summary = await warmups.run(settings, TIME);
    assert.deepEqual(names(summary), [`${ONE}/team/fine:v1`]);
    assert.deepEqual(
      summary.failures.map(({ entry, retryable }) => [entry, retryable]),
      [
        [`${ONE}/team/absent:v1`, false],
        [`${ONE}/team/fine`, false],
        [`${ONE}/team/nowhere`, false],
        ['unknown.example.test/team/app:v1', false],
      ],
    );
    assert.match(summary.failures[1]?.message ?? '', /the rule matches none of the 1 tags of/);
    assert.ok(warmups.failed.get(`${ONE}/team/absent:v1`) instanceof ManifestUnknownError);
    assert.ok(warmups.failed.get('unknown.example.test/team/app:v1') instanceof UnknownNameError);
  });

  test('tells of a pull that failed, and that is not the end of the others', async () => {
    addImage(one, 'team/corrupt', 'v1');
    addImage(one, 'team/whole', 'v1');
    one.fault(when({ kind: 'blob', repository: 'team/corrupt' }, { body: Buffer.from('something else') }));
    const settings = warmupOf([{ reference: `${ONE}/team/corrupt:v1` }, { reference: `${ONE}/team/whole:v1` }]);
    const summary = await warmups.run(settings, TIME);
    assert.deepEqual(
      summary.pulls.map(({ outcome }) => outcome),
      ['failed', 'succeeded'],
    );
    assert.deepEqual(summary.failures, []);
  });
});

describe('a registry that limits our requests', () => {
  const limited = { status: 429, headers: { 'retry-after': '2' } };

  test('rests as long as it asks for, the others do not', async () => {
    for (const upstream of [one, two]) for (const name of ['a', 'b', 'c']) addImage(upstream, `limited/${name}`, 'v1');
    one.fault(times(1, when({ kind: 'manifest', method: 'HEAD' }, limited)));
    const entries = [ONE, TWO].flatMap((registry) =>
      ['a', 'b', 'c'].map((name) => ({ reference: `${registry}/limited/${name}:v1` })),
    );
    const summary = await warmups.run(warmupOf(entries), TIME);
    assert.deepEqual([summary.pulls.length, summary.failures.length], [6, 0]);
    const refusedMs = one.requests[0]?.arrivedMs ?? 0;
    const pulledMs = (upstream: TestUpstream): number[] =>
      upstream.requests.filter(({ kind }) => kind === 'blob').map(({ arrivedMs }) => arrivedMs);
    assert.ok(Math.min(...pulledMs(one)) >= refusedMs + 2000, 'it rested');
    assert.ok(Math.max(...pulledMs(two)) < refusedMs + 2000, 'the other registry was served meanwhile');
    assert.equal(warmups.counted.get('RateLimited'), 1);
  });

  test('whose rest does not fit into the run is left to the next one', async () => {
    for (const name of ['a', 'b', 'c', 'd', 'e', 'f']) addImage(one, `patient/${name}`, 'v1');
    addImage(two, 'patient/a', 'v1');
    one.fault(when({ kind: 'manifest' }, { status: 429, headers: { 'retry-after': '3600' } }));
    const entries = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => ({ reference: `${ONE}/patient/${name}:v1` }));
    const startedMs = performance.now();
    const summary = await warmups.run(warmupOf([...entries, { reference: `${TWO}/patient/a:v1` }]), TIME);
    assert.ok(performance.now() - startedMs < 5000, 'nobody waited for it');
    assert.deepEqual(names(summary), [`${TWO}/patient/a:v1`]);
    assert.equal(summary.failures.length, 6);
    assert.ok(
      summary.failures.every(
        ({ retryable, message }) => retryable && message.includes('limits our requests, and accepts none before'),
      ),
    );
    assert.ok(one.requests.length <= 4, 'at most what was under way');
    assert.ok(warmups.failed.get(`${ONE}/patient/f:v1`) instanceof RateLimitedError);
  });

  test('for GET alone, as Docker Hub does, is left alone until the time that it said', async () => {
    for (const name of ['a', 'b', 'c']) addImage(one, `hub/${name}`, 'v1');
    one.fault(when({ kind: 'manifest', method: 'GET' }, { status: 429, headers: { 'retry-after': '3600' } }));
    const entries = ['a', 'b', 'c'].map((name) => ({ reference: `${ONE}/hub/${name}:v1` }));
    const summary = await warmups.run(warmupOf(entries, 1), TIME);
    assert.deepEqual(
      summary.pulls.map(({ outcome }) => outcome),
      ['failed'],
    );
    assert.equal(summary.failures.length, 2);
    assert.equal(one.requests.filter(({ kind, method }) => kind === 'manifest' && method === 'GET').length, 1);
  });

  test('again and again is left alone', async () => {
    for (const name of ['a', 'b']) addImage(one, `stubborn/${name}`, 'v1');
    one.fault(when({ kind: 'manifest' }, { status: 429, headers: { 'retry-after': '0' } }));
    const entries = ['a', 'b'].map((name) => ({ reference: `${ONE}/stubborn/${name}:v1` }));
    const summary = await warmups.run(warmupOf(entries), TIME);
    assert.equal(summary.failures.length, 2);
    assert.ok(one.requests.length < 12, String(one.requests.length));
  });
});

describe('a run that is delivered again', () => {
  test('answers with what it did, and does nothing', async () => {
    addImage(one, 'again/a', 'v1');
    const settings = warmupOf([{ reference: `${ONE}/again/a:v1` }]);
    const first = await warmups.run(settings, TIME);
    one.requests.length = 0;
    assert.deepEqual(await warmups.run(settings, TIME), first);
    assert.equal(one.requests.length, 0);
    assert.equal(warmups.announced.length, 1);
  });

  test('while it runs is left to the process that runs it', async () => {
    addImage(one, 'again/slow', 'v1');
    warmups.jobs.delayMs = 2500;
    const settings = warmupOf([{ reference: `${ONE}/again/slow:v1` }]);
    const [first, second] = await Promise.all([
      warmups.run(settings, TIME),
      until(() => warmups.jobs.started.length === 1).then(() => runWarmup(warmups.deps, settings, TIME, timeOf())),
    ]);
    assert.equal(first.pulls.length, 1);
    assert.equal(second, undefined);
    assert.deepEqual(warmups.jobs.started, [`${ONE}/again/slow:v1`]);
    assert.equal(warmups.announced.length, 1);
  });

  test('after its process died goes on: pulls under way are joined', async () => {
    addImage(one, 'again/dead', 'v1');
    warmups.jobs.delayMs = 1000;
    const reference = `${ONE}/again/dead:v1`;
    const settings = warmupOf([{ reference }]);
    const { leases } = cache.services.pull;
    // What a process leaves that dies in the middle: its lease, and a pull under way.
    const dead = await acquire(leases, warmupLeaseName(settings.name, TIME), forever);
    await cache.services.warmupRuns.begin({ warmup: settings.name, scheduledTime: TIME }, dead, forever);
    await dead.letGo();
    const [entry] = settings.entries;
    assert.ok(entry?.what.kind === 'reference');
    await warmups.jobs.start(
      { reference: entry.what.reference, platforms: [], alwaysPull: true, attestations: true },
      forever,
    );

    const summary = await warmups.run(settings, TIME);
    assert.deepEqual([summary.checked, summary.failures.length], [1, 0]);
    assert.equal(warmups.jobs.started.length, 1, 'one pull for both');
  });

  test('after the announcement failed announces what it did, and asks nobody again', async () => {
    addImage(one, 'again/silent', 'v1');
    const settings = warmupOf([{ reference: `${ONE}/again/silent:v1` }]);
    const failure = new CacheError('the bus is away', { op: 'announce', origin: 'catalog', retryable: true });
    const mute = { ...warmups.deps, announcer: { announce: () => Promise.reject(failure) } };
    await assert.rejects(runWarmup(mute, settings, TIME, timeOf()), failure);
    one.requests.length = 0;
    const summary = await warmups.run(settings, TIME);
    assert.equal(summary.pulls.length, 1);
    assert.equal(one.requests.length, 0);
    assert.deepEqual(warmups.announced, [{ type: 'Warmup Finished', detail: summary }]);
  });

  test('and lost its lease says nothing: another process does', async () => {
    addImage(one, 'again/lost', 'v1');
    warmups.jobs.delayMs = 5000;
    const settings = warmupOf([{ reference: `${ONE}/again/lost:v1` }]);
    const { leases } = cache.services.pull;
    const stolen = {
      ...warmups.deps,
      leases: {
        tryAcquire: async (...args: Parameters<typeof leases.tryAcquire>) => {
          const lease = await leases.tryAcquire(...args);
          const lost = new AbortController();
          void until(() => warmups.jobs.started.length === 1).then(() =>
            lost.abort(new LeaseLostError('renew', 'stolen')),
          );
          return { ...lease, signal: lost.signal };
        },
      },
    };
    await assert.rejects(runWarmup(stolen, settings, TIME, timeOf()), LeaseLostError);
    assert.equal(warmups.announced.length, 0);
  });
});

describe('a run whose time is over', () => {
  test('reports what runs as running, and what it did not come to as to be tried again', async () => {
    addImage(one, 'late/slow', 'v1');
    addImage(two, 'late/hangs', 'v1');
    addImage(one, 'late/waits', 'v1');
    two.fault(when({ kind: 'manifest' }, { delayMs: 60_000 }));
    warmups.jobs.delayMs = 3000;
    const settings = warmupOf(
      [
        { reference: `${ONE}/late/slow:v1` },
        { reference: `${TWO}/late/hangs:v1` },
        { reference: `${ONE}/late/waits:v1` },
      ],
      1,
    );
    const summary = await warmups.run(settings, TIME, timeOf(1500));
    assert.deepEqual(
      summary.pulls.map(({ outcome }) => outcome),
      ['running'],
    );
    assert.equal(summary.failures.length, 2);
    assert.ok(
      summary.failures.every(
        ({ retryable, message }) => retryable && message.includes('not checked before the end of this run'),
      ),
    );
    assert.deepEqual(warmups.announced, [{ type: 'Warmup Finished', detail: summary }]);
    assert.deepEqual(await warmups.run(settings, TIME), summary, 'and this is what the run did');
  });
});
