import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Digest } from '../../../lib/oci/digest.ts';
import { upstreamFetcher } from '../../../lib/serve/upstream-fetcher.ts';
import { noise, noiseImage, upstreamImage } from '../../support/images.ts';
import { loseContent } from '../../support/lost-content.ts';
import { until } from '../../support/until.ts';
import { times, when, type Action, type TestUpstream } from '../../support/upstream/upstream.ts';
import { doorOf } from './transport-under-test.ts';
import {
  LAYER_BYTES,
  layerOf,
  LOGIN,
  PRIVATE,
  SILENT,
  startRedirectBench,
  type OnItsWay,
  type RedirectBench,
} from './redirect-bench.ts';
import { refusalOf, REGISTRY, type ServingProcess } from './serve-bench.ts';

const CDN = 'https://cdn.example.test/sha256/ab?expires=1&signature=s3cr3t';

let bench: RedirectBench;
let upstream: TestUpstream;
let mirror: TestUpstream;
let process: ServingProcess;

before(async () => {
  bench = await startRedirectBench();
  ({ upstream, mirror, process } = bench);
});
after(() => bench[Symbol.asyncDispose]());
beforeEach(() => {
  for (const one of [upstream, mirror, bench.company]) {
    one.clearFaults();
    one.requests.length = 0;
  }
});

const asked = (repository?: string): number =>
  upstream.count({ kind: 'blob', method: 'GET', ...(repository === undefined ? {} : { repository }) });
const redirect = (location: string): Action => ({ status: 307, headers: { location } });
/** To everything that the registry is asked about blobs of the repository, or of all. */
const answering = (action: Action, repository?: string): void => {
  const match = { kind: 'blob', method: 'GET', ...(repository === undefined ? {} : { repository }) } as const;
  upstream.fault(when(match, { body: Buffer.alloc(0), ...action }));
};

describe('a client is sent to where the registry would send it', { concurrency: false }, () => {
  test('by its URL alone, while the fill goes on; whoever comes later is served by the store', async () => {
    answering(redirect(CDN));
    const { path, layer, bytes, comes } = await bench.onItsWay('handed-out');
    const told = await process.get(path, { range: 'bytes=5-' });
    assert.equal(await bench.isPresent(layer), false);
    assert.deepEqual(
      [told.status, told.headers.location, told.headers['cache-control'], told.headers['docker-content-digest']],
      [307, CDN, 'no-store', layer],
    );
    assert.equal(told.body.byteLength, 0);
    comes();
    await process.settled();
    assert.ok(await bench.isPresent(layer));
    const later = await process.follow(path);
    assert.ok(later.at(-1)!.body.equals(bytes));
    assert.ok(bench.isAtStore(later[0]!));
    assert.equal(asked(), 1);
    assert.equal(mirror.count({ kind: 'blob', method: 'GET', reference: layer }), 1);
  });

  test('a blob of which no manifest is known, too, once the registry says that it has it', async () => {
    const bytes = noise(LAYER_BYTES, 'alone');
    const layer = mirror.putBlob('app/alone', bytes) as Digest;
    const comes = bench.hold(layer);
    answering(redirect(CDN), 'app/alone');
    const path = `/v2/${REGISTRY}/app/alone/blobs/${layer}`;
    const told = await process.get(path);
    assert.deepEqual([told.status, told.headers.location], [307, CDN]);
    comes();
    await process.settled();
    assert.ok((await process.follow(path)).at(-1)!.body.equals(Buffer.from(bytes)));
    assert.equal(mirror.count({ kind: 'blob', reference: layer }), 2, 'its size, its bytes');
  });

  test('HEAD is answered by us', async () => {
    answering(redirect(CDN));
    const { path, comes } = await bench.onItsWay('head');
    const told = await process.head(path);
    assert.deepEqual([told.status, told.headers['content-length']], [200, String(LAYER_BYTES)]);
    assert.equal(told.headers.location, undefined);
    comes();
    await process.settled();
    assert.equal(asked(), 0);
  });

  test('the fill has begun before, also where nothing but this request would begin it', async () => {
    answering(redirect(CDN));
    const { path, layer, bytes, comes } = await bench.onItsWay('lost');
    comes();
    await process.settled();
    await bench.deleteObject(layer);
    assert.equal(await loseContent(bench.services.pull, layer), true);
    mirror.clearFaults();
    const comesAgain = bench.hold(layer);
    assert.equal((await process.get(path)).headers.location, CDN);
    assert.ok(process.jobs.running > 0);
    comesAgain();
    await process.settled();
    assert.ok((await process.follow(path)).at(-1)!.body.equals(bytes));
    assert.equal(mirror.count({ kind: 'blob', method: 'GET', reference: layer }), 2);
  });

  test('20 clients at once are one question, and its answer is kept for nobody else', async () => {
    const late = { status: 302, headers: { location: CDN }, delayMs: 800 };
    upstream.fault(times(1, when({ kind: 'blob', method: 'GET' }, late)));
    answering({ status: 302, headers: { location: CDN } });
    const { path, comes } = await bench.onItsWay('at-once');
    const all = await Promise.all(Array.from({ length: 20 }, () => process.get(path)));
    assert.deepEqual(new Set(all.map(({ headers }) => headers.location)), new Set([CDN]));
    assert.equal(asked(), 1);
    assert.equal((await process.get(path)).headers.location, CDN);
    assert.equal(asked(), 2);
    comes();
    await process.settled();
  });

  test('with nothing of the credentials that the registry was asked with', async () => {
    const image = noiseImage({ name: 'private', layerBytes: [LAYER_BYTES] });
    const layer = layerOf(image);
    bench.company.addImage('team/app', upstreamImage(image, 'v1'));
    const { promise: restAfter, resolve: come } = Promise.withResolvers<undefined>();
    let gets = 0;
    // The first is that of the fill.
    bench.company.fault(({ kind, method, reference }, { status }) => {
      if (kind !== 'blob' || method !== 'GET' || reference !== layer || status !== 200) return undefined;
      return ++gets === 1
        ? { restAfter }
        : { status: 307, headers: { location: CDN }, body: Buffer.from('to the CDN') };
    });
    const base = `/v2/${PRIVATE}/team/app`;
    assert.equal((await process.get(`${base}/manifests/v1`)).status, 200);
    await until(() => gets === 1);
    const told = await process.get(`${base}/blobs/${layer}`);
    assert.equal(told.headers.location, CDN);
    const { authorization = '' } = bench.company.requests.at(-1)!.headers;
    assert.match(authorization, /^Bearer .{10}/);
    const everything = JSON.stringify([told.headers, told.body.toString(), process.log]);
    for (const secret of [authorization.slice('Bearer '.length), LOGIN.password, LOGIN.username]) {
      assert.ok(!everything.includes(secret));
    }
    assert.ok(!JSON.stringify(process.log).includes('s3cr3t'), 'nor is the URL in the log');
    come(undefined);
    await process.settled();
    assert.ok(bench.isAtStore(await process.get(`${base}/blobs/${layer}`)));
    assert.equal(gets, 2);
  });
});

describe('else it waits', { concurrency: false }, () => {
  /** One for each meaning; which redirects are refused is tested at the client of registries. */
  const cases: Readonly<Record<string, Action>> = {
    'the host is not named': redirect('https://other.example.test/x'),
    'one private address': redirect('https://mixed.blobs.example.test/x'),
    'the registry itself': redirect('/elsewhere'),
    'the bytes themselves': { body: Buffer.alloc(LAYER_BYTES), chunkDelayMs: 60 },
    'a limit': { status: 429, headers: { 'retry-after': '60' } },
    'a refusal': { status: 403 },
    'no such blob': { status: 404 },
    'a broken connection': { reset: true },
  };
  const says = async (why: string, action: Action): Promise<void> => {
    await using fresh = await bench.another();
    const name = why.toLowerCase().replaceAll(' ', '-');
    answering(action, `app/${name}`);
    const { path, bytes, comes } = await bench.onItsWay(name, { at: fresh });
    const following = fresh.follow(path);
    await until(() => asked(`app/${name}`) === 1);
    comes();
    const all = await following;
    const last = all.at(-1)!;
    assert.ok(last.body.equals(bytes), `${why}: ${last.status} ${last.body.toString().slice(0, 200)}`);
    for (const told of all.slice(0, -1)) {
      const isOurs = bench.isAtStore(told) || told.headers.location!.startsWith('/v2/');
      assert.ok(isOurs, `${why}: ${told.headers.location}`);
    }
    assert.equal(asked(`app/${name}`), 1, why);
    await fresh.settled();
  };

  /** The client is sent nowhere but back to us while the layer is on its way, and to the store when that is there. */
  const waits = async (at: ServingProcess, { path, bytes, comes }: OnItsWay): Promise<void> => {
    at.patienceMs = 400;
    const { location = '' } = (await at.get(path)).headers;
    assert.match(location, /^\/v2\/.*[?&]hop=1\./);
    at.patienceMs = 20_000;
    comes();
    const all = await at.follow(location);
    assert.ok(bench.isAtStore(all[0]!));
    assert.ok(all.at(-1)!.body.equals(bytes));
  };

  test('whatever else the registry says', async () => {
    const left = Object.entries(cases);
    const oneAfterTheOther = async (): Promise<void> => {
      for (let next = left.pop(); next !== undefined; next = left.pop()) await says(...next);
    };
    await Promise.all([oneAfterTheOther(), oneAfterTheOther(), oneAfterTheOther(), oneAfterTheOther()]);
    assert.equal(upstream.count({ kind: 'other' }), 0);
  });

  test('and the log says why, without the URL', async () => {
    answering(redirect('https://other.example.test/secret-path?signature=s3cr3t'));
    const { path, comes } = await bench.onItsWay('told');
    process.log.length = 0;
    const following = process.follow(path);
    await until(() => asked() === 1);
    comes();
    await following;
    const reasons = process.log.map(({ fields }) => String(fields.reason));
    assert.ok(reasons.some((reason) => /other\.example\.test.*"passRedirects" of the registry/.test(reason)));
    assert.ok(!/secret-path|s3cr3t/.test(JSON.stringify(process.log)));
    await process.settled();
  });

  test('a registry that fails at that is not asked for it again at once, and for manifests as ever', async () => {
    await using fresh = await bench.another();
    answering({ status: 429, headers: { 'retry-after': '60' } });
    const first = await bench.onItsWay('limited', { at: fresh });
    const following = fresh.follow(first.path);
    await until(() => asked() === 1);
    first.comes();
    await following;
    await waits(fresh, await bench.onItsWay('limited-again', { at: fresh }));
    assert.equal(asked(), 1);
    await fresh.settled();
  });

  test('a registry that is late is waited for no longer than a moment', async () => {
    await using fresh = await bench.another(bench.services, { redirectMs: 300 });
    upstream.fault(when({ kind: 'blob', method: 'GET' }, { delayMs: 15_000 }));
    const first = await bench.onItsWay('late', { at: fresh });
    const answer = fresh.get(first.path);
    await until(() => asked() === 1);
    first.comes();
    const told = await answer;
    assert.ok(bench.isAtStore(told));
    assert.ok(told.ms < 5_000, `${told.ms} ms`);
    assert.equal(asked(), 1);
    await fresh.settled();
  });

  test('and whoever comes back is not asked for again', async () => {
    await using fresh = await bench.another();
    answering({ body: Buffer.alloc(10) });
    const { path, bytes, comes } = await bench.onItsWay('comes-back', { at: fresh });
    fresh.patienceMs = 600;
    const hop = (await fresh.get(path)).headers.location!;
    assert.match(hop, /[?&]hop=1\./);
    assert.equal(asked(), 1);
    const following = fresh.follow(hop);
    comes();
    assert.ok((await following).at(-1)!.body.equals(bytes));
    assert.equal(asked(), 1);
    await fresh.settled();
  });

  test('a registry without "passRedirects", and every one where clients shall wait, is not asked', async () => {
    answering(redirect(CDN));
    await using fresh = await bench.another();
    await waits(fresh, await bench.onItsWay('silent', { at: fresh, registry: SILENT }));
    const serve = { ...bench.services.config.serve, onBlobMiss: 'wait' } as const;
    await using waiting = await bench.another({ ...bench.services, config: { ...bench.services.config, serve } });
    await waits(waiting, await bench.onItsWay('waits', { at: waiting }));
    await fresh.settled();
    await waiting.settled();
    assert.equal(asked(), 0);
  });

  test('a digest that the registry does not have for the repository is not found, whoever else has it (I9)', async () => {
    answering(redirect(CDN), 'app/elsewhere');
    const { base, comes } = await bench.onItsWay('strange');
    const other = await bench.onItsWay('elsewhere');
    await until(() => mirror.count({ kind: 'blob', reference: other.layer }) === 1);
    const told = await process.get(`${base}/blobs/${other.layer}`);
    assert.equal(refusalOf(told), '404 BLOB_UNKNOWN');
    assert.equal(upstream.count({ repository: 'app/elsewhere', kind: 'blob' }), 0);
    comes();
    other.comes();
    await process.settled();
  });
});

test('a redirect is checked again where it is handed out, and takes no permit to wait', async () => {
  const { services } = bench;
  const { path, comes } = await bench.onItsWay('looked-at');
  for (const [location, status] of [
    [CDN, 307],
    ['http://cdn.example.test/x', 429],
    ['https://other.example.test/x', 429],
    ['https://a:b@cdn.example.test/x', 429],
  ] as const) {
    const fetcher = { ...upstreamFetcher(services.pull), findRedirect: () => Promise.resolve(new URL(location)) };
    const door = doorOf({ services, jobs: process.jobs }, { fetcher, seats: 0 });
    const told = await door('GET', path);
    assert.equal(told.status, status, location);
    assert.equal(told.headers.location, status === 307 ? location : undefined);
  }
  comes();
  await process.settled();
});
