import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseReference } from '../../../lib/reference/reference.ts';
import { pull } from '../../../lib/pull/pull.ts';
import { multiArchImage, noiseImage } from '../../support/images.ts';
import { gate } from '../../support/state-machine.ts';
import { until } from '../../support/until.ts';
import { when } from '../../support/upstream/upstream.ts';
import { errorOf, refusalOf, startServeBench, type ServeBench, type Told } from './serve-bench.ts';

const STALE = /^111 entrepot "Revalidation Failed"$/;

/** One repository for each policy. */
const SERVE = {
  freshness: [
    { repositories: ['**/revalidated/**'], ttlSeconds: 0, notFoundSeconds: 60 },
    { repositories: ['**/strict/**'], ttlSeconds: 0, staleIfErrorSeconds: 0, maxStaleOnDeniedSeconds: 0 },
    { repositories: ['**/forgotten/**'], ttlSeconds: 0, keepOnNotFound: false, notFoundSeconds: 1 },
    { repositories: ['**/brief/**'], tags: ['*-nightly'], ttlSeconds: 1 },
  ],
};

let bench: ServeBench;

before(async () => {
  bench = await startServeBench({ serve: SERVE });
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  bench.upstream.clearFaults();
  bench.upstream.requests.length = 0;
});

const asked = (): string[] => bench.upstream.requests.map(({ method, kind }) => `${method} ${kind}`);
const digestIn = (told: Told): unknown => {
  assert.equal(told.status, 200, told.body.toString());
  return told.headers['docker-content-digest'];
};
/** Each in a process of its own: nothing rests, nothing is remembered. */
const elsewhere = async (path: string): Promise<Told> => await (await bench.another()).get(path);

/** From now on the time of day stands still but for what it is told to pass; timers run on. */
function clockOf({ mock }: TestContext): (ms: number) => void {
  mock.timers.enable({ apis: ['Date'], now: Date.now() });
  return (ms) => mock.timers.tick(ms);
}

describe('the freshness of tags', { concurrency: false }, () => {
  test('within its time a tag is served without a request; digests always', async () => {
    const image = multiArchImage({ name: 'fresh' });
    const base = await bench.warm(image, 'fresh/app');
    for (let i = 0; i < 3; i++) {
      assert.equal(digestIn(await bench.get(`${base}/manifests/v1`)), image.root.digest);
      for (const digest of image.manifests.keys()) await bench.get(`${base}/manifests/${digest}`);
      for (const digest of image.blobs.keys()) assert.equal((await bench.get(`${base}/blobs/${digest}`)).status, 307);
    }
    await bench.settled();
    assert.deepEqual(asked(), []);
    // Also where another process has served it, and with the registry gone.
    bench.upstream.fault(when({}, { reset: true }));
    assert.equal(digestIn(await elsewhere(`${base}/manifests/v1`)), image.root.digest);
    assert.deepEqual(asked(), []);
  });

  test('a rule for tags holds for them alone, and is over when its time is', async (context) => {
    const image = noiseImage({ name: 'nightly' });
    const nightly = `${await bench.warm(image, 'brief/app', 'a-nightly')}/manifests/a-nightly`;
    const stable = `${await bench.warm(image, 'brief/app', 'v1')}/manifests/v1`;
    const pass = clockOf(context);
    pass(1_100);
    await bench.get(stable);
    assert.deepEqual(asked(), []);
    await bench.get(nightly);
    assert.deepEqual(asked(), ['HEAD manifest']);
    await bench.get(nightly);
    assert.deepEqual(asked(), ['HEAD manifest']);
  });

  test('afterwards one HEAD says whether it moved, and 30 who ask meanwhile are one', async () => {
    const image = multiArchImage({ name: 'revalidated' });
    const base = await bench.warm(image, 'revalidated/app');
    // Until all of them are there, on any machine.
    bench.upstream.fault(when({ method: 'HEAD' }, { delayMs: 1_000 }));
    const told = await Promise.all(Array.from({ length: 30 }, () => bench.get(`${base}/manifests/v1`)));
    for (const one of told) assert.equal(digestIn(one), image.root.digest);
    assert.deepEqual(asked(), ['HEAD manifest']);
    assert.ok(told.every(({ headers }) => headers.warning === undefined));
  });

  test('a tag that moved is served as it is now, by any process, and its content comes', async () => {
    const old = noiseImage({ name: 'moved, old' });
    const base = await bench.warm(old, 'revalidated/moved');
    const now = noiseImage({ name: 'moved, new' });
    bench.offer(now, 'revalidated/moved');
    assert.equal(digestIn(await bench.get(`${base}/manifests/v1`)), now.root.digest);
    for (const [digest, bytes] of now.blobs) {
      const all = await bench.follow(`${base}/blobs/${digest}`);
      assert.ok(all.at(-1)!.body.equals(Buffer.from(bytes)));
    }
    await bench.settled();
    assert.equal((await bench.cache.validate('registry.example.test/revalidated/moved:v1')).state, 'complete');
    assert.equal(digestIn(await bench.get(`${base}/manifests/${old.root.digest}`)), old.root.digest, 'still there');
    for (const digest of now.manifests.keys()) {
      assert.equal(bench.upstream.count({ reference: digest, kind: 'manifest', method: 'GET' }), 1);
    }
  });

  /** A pull in another process that has published, and holds the lock until the record is written: that waits for the gate. */
  const publishing = async (repository: string) => {
    const { pull: deps } = bench.services;
    const [published, recorded] = [gate(), gate()];
    const refs: typeof deps.refs = {
      ...deps.refs,
      write: async (...record) => {
        published.open();
        await recorded.opened;
        return await deps.refs.write(...record);
      },
    };
    const reference = parseReference(`registry.example.test/${repository}:v1`);
    const request = { reference, platforms: [], alwaysPull: true, attestations: true };
    const ended = pull({ ...deps, refs }, request, new AbortController().signal);
    await Promise.race([published.opened, ended]);
    return { ended, finish: () => recorded.open() };
  };

  test('a pull that has published is not waited for by its record: who comes then asks when the lock is free', async () => {
    for (const before of [undefined, noiseImage({ name: 'published before' })]) {
      const repository = `revalidated/publishing-${before === undefined ? 'first' : 'next'}`;
      if (before !== undefined) await bench.warm(before, repository);
      const image = noiseImage({ name: `${repository}, one` });
      const base = bench.offer(image, repository);
      const { ended, finish } = await publishing(repository);
      const pushed = noiseImage({ name: `${repository}, two` });
      bench.offer(pushed, repository);
      const told = elsewhere(`${base}/manifests/v1`);
      const early = await Promise.race([told, sleep(200)]);
      assert.equal(early, undefined, 'what is published may be old');
      finish();
      assert.equal(digestIn(await told), pushed.root.digest);
      await ended;
    }
  });

  test('one that published and does not free the lock is waited for briefly, and only just after that', async (context) => {
    const image = noiseImage({ name: 'published and dead' });
    const base = bench.offer(image, 'revalidated/dead');
    const { ended, finish } = await publishing('revalidated/dead');
    bench.upstream.requests.length = 0;
    const toldWithin = async (lockMs: number): Promise<number> => {
      const told = await (await bench.another(undefined, { lockMs })).get(`${base}/manifests/v1`);
      assert.deepEqual([digestIn(told), told.headers.warning], [image.root.digest, undefined]);
      return told.ms;
    };
    await toldWithin(500);
    clockOf(context)(9_000);
    assert.ok((await toldWithin(8_000)) < 8_000);
    assert.deepEqual(asked(), []);
    finish();
    await ended;
  });

  test('staleIfError: a registry that is down, fails or limits us takes nothing away', async () => {
    const image = noiseImage({ name: 'stale' });
    const base = await bench.warm(image, 'revalidated/stale');
    const strict = await bench.warm(noiseImage({ name: 'strict' }), 'strict/stale');
    const faults = [
      ['down', { reset: true }, '502 UNKNOWN'],
      ['500', { status: 500 }, '502 UNKNOWN'],
      ['503', { status: 503 }, '502 UNKNOWN'],
      ['429', { status: 429 }, '429 TOOMANYREQUESTS'],
    ] as const;
    for (const [name, action, refusal] of faults) {
      bench.upstream.clearFaults();
      bench.upstream.fault(when({}, action));
      const told = await elsewhere(`${base}/manifests/v1`);
      assert.equal(digestIn(told), image.root.digest, name);
      assert.match(String(told.headers.warning), STALE, name);
      assert.equal(refusalOf(await elsewhere(`${strict}/manifests/v1`)), refusal, name);
      // What was never there is not "not found" now (I6).
      assert.equal(refusalOf(await elsewhere(`${base}/manifests/never-seen`)), refusal, name);
      assert.equal(refusalOf(await elsewhere(`${base}/manifests/sha256:${'1'.repeat(64)}`)), refusal, name);
    }
    bench.upstream.clearFaults();
    const again = await elsewhere(`${base}/manifests/v1`);
    assert.deepEqual([digestIn(again), again.headers.warning], [image.root.digest, undefined]);
    assert.equal((await elsewhere(`${base}/manifests/never-seen`)).status, 404, 'and now it is not');
  });

  test('a registry that does not answer in time: what is there is served before the client gives up', async () => {
    const image = noiseImage({ name: 'slow' });
    const base = await bench.warm(image, 'revalidated/slow');
    bench.upstream.fault(when({}, { delayMs: 60_000 }));
    const process = await bench.another(bench.services, { staleAfterMs: 700, slowMs: 500 });
    const told = await process.get(`${base}/manifests/v1`);
    assert.equal(digestIn(told), image.root.digest);
    assert.match(String(told.headers.warning), STALE);
    assert.ok(told.ms >= 700 && told.ms < 5_000, `${told.ms} ms`);
    // It rests: who comes next does not wait for it.
    const next = await process.get(`${base}/manifests/v1`);
    assert.equal(digestIn(next), image.root.digest);
    assert.ok(next.ms < 1_000, `${next.ms} ms`);
  });

  test('a tag that moved to what cannot be fetched: what has landed is served, and that it may be stale is said', async () => {
    const old = noiseImage({ name: 'half-way, old' });
    const base = await bench.warm(old, 'revalidated/half-way');
    const now = noiseImage({ name: 'half-way, new' });
    bench.offer(now, 'revalidated/half-way');
    bench.upstream.fault(when({ method: 'GET', kind: 'manifest' }, { status: 503 }));
    await assert.rejects(bench.cache.pull('registry.example.test/revalidated/half-way:v1', { alwaysPull: true }));
    for (let i = 0; i < 2; i++) {
      const told = await elsewhere(`${base}/manifests/v1`);
      assert.equal(digestIn(told), old.root.digest);
      assert.match(String(told.headers.warning), STALE);
    }
    bench.upstream.clearFaults();
    const told = await elsewhere(`${base}/manifests/v1`);
    assert.deepEqual([digestIn(told), told.headers.warning], [now.root.digest, undefined]);
  });

  test('a tag that was looked up, and whose manifest never came, is not "not found" (I6)', async () => {
    const base = bench.offer(noiseImage({ name: 'never landed' }), 'revalidated/never-landed');
    bench.upstream.fault(when({ method: 'GET', kind: 'manifest' }, { status: 503 }));
    for (let i = 0; i < 3; i++) assert.equal(refusalOf(await elsewhere(`${base}/manifests/v1`)), '502 UNKNOWN');
    bench.upstream.clearFaults();
    assert.equal((await elsewhere(`${base}/manifests/v1`)).status, 200);
  });

  test('while its content comes, a tag is not held up by the lock of that pull', async () => {
    const image = noiseImage({ name: 'under way' });
    const base = bench.offer(image, 'revalidated/under-way');
    const { promise: restAfter, resolve: come } = Promise.withResolvers<undefined>();
    bench.upstream.fault(when({ method: 'GET', kind: 'blob' }, { restAfter }));
    const process = await bench.another(bench.services, { lockMs: 300 });
    assert.equal(digestIn(await process.get(`${base}/manifests/v1`)), image.root.digest);
    // Of this one: that of an earlier test may still be under way.
    await until(() => bench.upstream.count({ method: 'GET', kind: 'blob', repository: 'revalidated/under-way' }) > 0);
    assert.equal(process.jobs.running, 1);
    const told = await process.get(`${base}/manifests/v1`);
    assert.equal(digestIn(told), image.root.digest);
    assert.ok(told.ms >= 300 && told.ms < 4_000, `${told.ms} ms`);
    assert.equal(process.jobs.running, 1, 'it still comes');
    come(undefined);
    await process.settled();
  });

  test('a registry that says when to come back is left alone until then', async (context) => {
    const pass = clockOf(context);
    const image = noiseImage({ name: 'limited' });
    const base = await bench.warm(image, 'revalidated/limited');
    bench.upstream.fault(when({}, { status: 429, headers: { 'retry-after': '2' } }));
    const process = await bench.another();
    const first = await process.get(`${base}/manifests/unknown`);
    assert.deepEqual([refusalOf(first), first.headers['retry-after']], ['429 TOOMANYREQUESTS', '2']);
    const requests = asked().length;
    for (const path of ['unknown', 'other', `sha256:${'2'.repeat(64)}`]) {
      assert.equal(refusalOf(await process.get(`${base}/manifests/${path}`)), '429 TOOMANYREQUESTS');
    }
    assert.equal(digestIn(await process.get(`${base}/manifests/v1`)), image.root.digest);
    pass(1_100);
    assert.equal((await process.get(`${base}/manifests/other`)).headers['retry-after'], '1', 'what is left of it');
    assert.equal(asked().length, requests, 'not asked again');
    pass(1_000);
    bench.upstream.clearFaults();
    assert.equal((await process.get(`${base}/manifests/unknown`)).status, 404);
    assert.ok(asked().length > requests);
  });

  test('keepOnNotFound: what the registry deleted is served on; without it, it is gone, and believed gone for a while', async (context) => {
    const pass = clockOf(context);
    const image = noiseImage({ name: 'deleted' });
    const kept = await bench.warm(image, 'revalidated/deleted');
    const forgotten = await bench.warm(image, 'forgotten/deleted');
    bench.upstream.fault(when({ kind: 'manifest' }, { status: 404 }));
    const told = await bench.get(`${kept}/manifests/v1`);
    assert.equal(digestIn(told), image.root.digest);
    assert.match(String(told.headers.warning), /^110 entrepot /);
    assert.equal(digestIn(await bench.get(`${kept}/manifests/v1`)), image.root.digest);

    bench.upstream.requests.length = 0;
    assert.equal(refusalOf(await bench.get(`${forgotten}/manifests/v1`)), '404 MANIFEST_UNKNOWN');
    assert.deepEqual(asked(), ['HEAD manifest', 'GET manifest']);
    assert.equal(refusalOf(await bench.get(`${forgotten}/manifests/v1`)), '404 MANIFEST_UNKNOWN');
    assert.equal(refusalOf(await elsewhere(`${forgotten}/manifests/v1`)), '404 MANIFEST_UNKNOWN');
    assert.deepEqual(asked(), ['HEAD manifest', 'GET manifest'], 'believed by all processes');
    pass(1_100);
    bench.upstream.clearFaults();
    assert.equal(digestIn(await bench.get(`${forgotten}/manifests/v1`)), image.root.digest, 'and back again');
  });

  test('a 404 is believed; 401, 403, 429 and 5xx are asked again (I6)', async () => {
    const base = bench.offer(noiseImage({ name: 'negative' }), 'revalidated/negative');
    for (const status of [401, 403, 429, 500, 502, 503, 504]) {
      bench.upstream.clearFaults();
      bench.upstream.fault(when({}, { status }));
      const tag = `t${status}`;
      const refused = errorOf(await elsewhere(`${base}/manifests/${tag}`));
      assert.ok(refused.status !== 404 && refused.code !== 'MANIFEST_UNKNOWN', `${status}: ${refused.status}`);
      bench.upstream.clearFaults();
      const image = noiseImage({ name: `negative ${status}` });
      bench.offer(image, 'revalidated/negative', tag);
      assert.equal(digestIn(await elsewhere(`${base}/manifests/${tag}`)), image.root.digest, String(status));
    }
    assert.equal((await bench.get(`${base}/manifests/absent`)).status, 404);
    assert.equal((await elsewhere(`${base}/manifests/absent`)).status, 404);
    assert.equal(bench.upstream.count({ reference: 'absent' }), 2, 'HEAD and GET, once');
  });

  test('maxStaleOnDenied: a registry that refuses us takes away nothing for a while', async () => {
    const image = noiseImage({ name: 'denied' });
    const kept = await bench.warm(image, 'revalidated/denied');
    const strict = await bench.warm(image, 'strict/denied');
    for (const status of [401, 403]) {
      bench.upstream.clearFaults();
      bench.upstream.fault(when({}, { status }));
      const told = await elsewhere(`${kept}/manifests/v1`);
      assert.equal(digestIn(told), image.root.digest);
      assert.match(String(told.headers.warning), STALE);
      assert.equal(refusalOf(await elsewhere(`${strict}/manifests/v1`)), '403 DENIED');
    }
  });
});
